//! The words that the wire, the hub, the routes and the ROS side share: who a client is, what a topic is.

use std::{fmt, time::Duration};

use serde::{Deserialize, Serialize};

/// What stands at the end of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ClientKind {
    /// A robot with its own ROS graph.
    Robot,
    /// A person who sees and drives.
    Operator,
    /// Somebody who only looks.
    Observer,
}

impl ClientKind {
    /// Lower-case word, as it stands in the database, on the command line and in logs.
    pub fn as_str(self) -> &'static str {
        match self {
            ClientKind::Robot => "robot",
            ClientKind::Operator => "operator",
            ClientKind::Observer => "observer",
        }
    }
}

impl fmt::Display for ClientKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl std::str::FromStr for ClientKind {
    type Err = UnknownKind;

    fn from_str(word: &str) -> Result<Self, UnknownKind> {
        match word {
            "robot" => Ok(ClientKind::Robot),
            "operator" => Ok(ClientKind::Operator),
            "observer" => Ok(ClientKind::Observer),
            other => Err(UnknownKind(other.to_owned())),
        }
    }
}

/// A word that is no [`ClientKind`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown client kind {0:?}; use robot, operator or observer")]
pub struct UnknownKind(String);

/// How much a publisher or subscription promises about delivery (DDS RELIABILITY).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reliability {
    /// Samples may be lost.
    BestEffort,
    /// Samples are sent again until they arrive.
    Reliable,
}

/// Whether late joiners get what was published before (DDS DURABILITY).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Durability {
    /// Only what comes after they joined.
    Volatile,
    /// The last `depth` samples of each publisher too.
    TransientLocal,
}

/// Who says that a publisher is alive (DDS LIVELINESS).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Liveliness {
    /// The middleware, as long as its process runs.
    Automatic,
    /// The publisher itself, by publishing.
    ManualByTopic,
}

/// The part of a ROS QoS profile that a route needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Qos {
    /// DDS RELIABILITY.
    pub reliability: Reliability,
    /// DDS DURABILITY.
    pub durability: Durability,
    /// Samples kept by a reader or writer; 0 means KEEP_ALL (or unknown: discovery does not carry the depth in every
    /// middleware).
    pub depth: u32,
    /// DDS DEADLINE: the longest time between two samples that a publisher promises or a subscription asks for.
    pub deadline: Option<Duration>,
    /// DDS LIFESPAN: how long a sample is worth delivering. Only publishers have one.
    pub lifespan: Option<Duration>,
    /// DDS LIVELINESS.
    pub liveliness: Liveliness,
    /// How long a publisher may be silent about being alive; `None`: for ever.
    pub lease: Option<Duration>,
}

impl Default for Qos {
    /// The ROS default profile: reliable, volatile, KEEP_LAST 10, without time limits.
    fn default() -> Self {
        Qos {
            reliability: Reliability::Reliable,
            durability: Durability::Volatile,
            depth: 10,
            deadline: None,
            lifespan: None,
            liveliness: Liveliness::Automatic,
            lease: None,
        }
    }
}

impl fmt::Display for Qos {
    /// As people write it: `reliable, transient_local, keep_last 10, deadline 0.5 s`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.reliability {
            Reliability::Reliable => "reliable",
            Reliability::BestEffort => "best_effort",
        })?;
        f.write_str(match self.durability {
            Durability::TransientLocal => ", transient_local",
            Durability::Volatile => ", volatile",
        })?;
        if self.depth != 0 {
            write!(f, ", keep_last {}", self.depth)?;
        }
        for (name, time) in [("deadline", self.deadline), ("lifespan", self.lifespan)] {
            if let Some(time) = time {
                write!(f, ", {name} {} s", time.as_secs_f64())?;
            }
        }
        if self.liveliness == Liveliness::ManualByTopic {
            f.write_str(", manual_by_topic")?;
        }
        match self.lease {
            Some(lease) => write!(f, ", lease {} s", lease.as_secs_f64()),
            None => Ok(()),
        }
    }
}

/// What a topic carries and how: enough to make a reader or a writer of it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct TopicInfo {
    /// Fully qualified name in the graph of the client that it belongs to, such as `/odom`.
    pub name: String,
    /// Full type name, such as `nav_msgs/msg/Odometry`.
    pub type_name: String,
    /// REP 2011 type hash (`RIHS01_…`), empty where the distribution has none.
    pub type_hash: String,
    /// QoS of the route.
    pub qos: Qos,
}

/// A service: enough to make a client or a server of it. An action is three of them and two topics (its hidden names
/// below `/_action/`).
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ServiceInfo {
    /// Fully qualified name in the graph of the client that it belongs to, such as `/set_mode`.
    pub name: String,
    /// Full type name, such as `std_srvs/srv/SetBool` or `nav2_msgs/action/Spin_SendGoal`.
    pub type_name: String,
    /// REP 2011 type hash (`RIHS01_…`), empty where the distribution has none.
    pub type_hash: String,
}
