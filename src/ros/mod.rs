//! The only room that knows ROS.
//!
//! It has two halves. The *raw bridge* ([`Bridge`]) carries topics of any installed type as serialized bytes: its own rcl
//! context and node, with type support loaded at run time, because r2r only knows the types that it was compiled with,
//! drops messages silently and hears its own publications. The *typed nodes* speak our own interfaces through r2r:
//! services, parameters, status, diagnostics and markers.

mod admin_client;
mod bridge;
mod client_node;
mod convert;
mod demo_driver;
mod diagnostics;
mod error;
mod graph;
mod graph_watch;
mod keeps;
mod lane;
mod markers;
mod ownership;
mod parameters;
mod pump;
mod qos;
mod rcl;
mod reader;
mod room;
mod sequences;
mod server_node;
mod services;
mod simulated_robot;
mod teardown;
mod typed_node;
mod types;
mod wait_set;
mod writer;

pub use admin_client::{AdminClient, AskError};
pub use bridge::{Bridge, BridgeEvent, BridgeOptions, ReaderCounters, Sample};
pub use client_node::ClientNode;
pub use demo_driver::{DemoDriver, drive};
pub use error::RosError;
pub use lane::Published;
pub use parameters::{ClientParameters, ServerParameters};
pub use rcl::{distro, rmw_implementation};
pub use server_node::{AdminQuery, ServerNode};
pub use simulated_robot::{SimulatedRobot, simulate};
pub use teardown::exit;
pub use typed_node::NodeOptions;
pub use types::installed_type_hash;
