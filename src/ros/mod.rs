//! The only room that knows ROS.
//!
//! It has two halves. The *raw bridge* ([`Bridge`]) carries topics of any installed type as serialized bytes: its own rcl
//! context and node, with type support loaded at run time, because r2r only knows the types that it was compiled with,
//! drops messages silently and hears its own publications. The *typed nodes* speak our own interfaces through r2r:
//! services, parameters, status, diagnostics and markers.

mod bridge;
mod error;
mod graph;
mod graph_watch;
mod ownership;
mod pump;
mod qos;
mod rcl;
mod reader;
mod room;
mod sequences;
mod types;
mod wait_set;
mod writer;

pub use bridge::{Bridge, BridgeEvent, BridgeOptions, ReaderCounters, Sample};
pub use error::RosError;
pub use rcl::{distro, rmw_implementation};
pub use types::installed_type_hash;
