//! The only room that knows ROS.
//!
//! It has two halves. The *raw bridge* ([`Bridge`]) carries topics and services of any installed type as serialized bytes:
//! its own rcl context and node, with type support loaded at run time, because r2r only knows the types that it was compiled
//! with, drops messages silently and hears its own publications. The *typed nodes* speak our own interfaces through r2r:
//! services, parameters, status, diagnostics and markers.

mod admin_client;
mod bridge;
mod buffer;
mod call_pump;
mod caller;
mod calls;
mod client_node;
mod convert;
mod default_message;
mod demo_driver;
mod desk;
mod diagnostics;
mod error;
mod graph;
mod graph_watch;
mod keeps;
mod lane;
mod markers;
mod message;
mod ownership;
mod parameters;
mod pump;
mod qos;
mod quota;
mod rcl;
mod reader;
mod room;
mod route_client;
mod route_services;
mod sequences;
mod server;
mod server_node;
mod service_graph;
mod service_types;
mod services;
mod simulated_robot;
mod teardown;
mod traffic_watch;
mod typed_node;
mod types;
mod wait_set;
mod writer;

pub use crate::ids::RequestId;
pub use admin_client::{AdminClient, AskError};
pub use bridge::{Bridge, BridgeEvent, BridgeOptions, ReaderCounters, Sample};
pub use calls::CallCounters;
pub use client_node::ClientNode;
pub use demo_driver::{DemoDriver, drive};
pub use error::RosError;
pub use lane::Published;
pub use parameters::{ClientParameters, ServerParameters};
pub use rcl::{distro, rmw_implementation};
pub use route_client::RouteClient;
pub use route_services::RouteQuery;
pub use server_node::{AdminQuery, ServerNode};
pub use simulated_robot::{SimulatedRobot, simulate};
pub use teardown::exit;
pub use traffic_watch::TrafficWatch;
pub use typed_node::NodeOptions;
pub use types::installed_type_hash;
