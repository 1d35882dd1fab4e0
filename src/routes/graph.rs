//! A snapshot of the local ROS graph, as the routes need it.

use crate::model::Qos;

/// Every topic and service of the local graph, ordered by name.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LocalGraph {
    /// The topics.
    pub topics: Vec<LocalTopic>,
    /// The services, those of actions included, ordered by name.
    pub services: Vec<LocalService>,
}

/// One service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalService {
    /// Fully qualified name, such as `/set_mode`.
    pub name: String,
    /// Who serves it: the readers of its requests. Their QoS means nothing.
    pub servers: Vec<Endpoint>,
}

/// One topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalTopic {
    /// Fully qualified name, such as `/odom`.
    pub name: String,
    /// Who publishes it.
    pub publishers: Vec<Endpoint>,
    /// Who subscribes to it.
    pub subscribers: Vec<Endpoint>,
}

/// A publisher or subscription.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// What the middleware knows it by. Node names repeat and topics are shared: only this is unique.
    pub gid: Gid,
    /// Fully qualified name of its node, for messages to people.
    pub node: String,
    /// Full type name, such as `nav_msgs/msg/Odometry`.
    pub type_name: String,
    /// REP 2011 type hash (`RIHS01_…`), empty where the distribution has none.
    pub type_hash: String,
    /// Its QoS as discovered.
    pub qos: Qos,
    /// Whether it is one of our own readers or writers.
    pub own: bool,
}

/// Globally unique id of a DDS endpoint (`RMW_GID_STORAGE_SIZE` is 16 bytes, 24 before Jazzy; shorter ones are padded).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Gid(pub [u8; 24]);
