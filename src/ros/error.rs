//! What can go wrong between us and ROS.

use crate::ids::{ReaderId, WriterId};

/// An error of the ROS side, in words that name the thing, the value and, where there is one, the cure.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RosError {
    /// A string that is no message type name.
    #[error("{0:?} is not the name of a message type; write it as package/msg/Type, such as \"nav_msgs/msg/Odometry\"")]
    InvalidTypeName(String),
    /// A message type that this installation does not have.
    #[error(
        "message type {type_name} is not installed here ({reason}); install the ROS package {package} or source the workspace that contains it, and start again"
    )]
    UnknownType {
        /// The type as asked for.
        type_name: String,
        /// The package that would bring it.
        package: String,
        /// Where it was looked for and what was found.
        reason: String,
    },
    /// A reader id that is in use.
    #[error("reader {0} exists already; destroy it first")]
    DuplicateReader(ReaderId),
    /// A writer id that is in use.
    #[error("writer {0} exists already; destroy it first")]
    DuplicateWriter(WriterId),
    /// A writer id that nobody created, or that was destroyed.
    #[error("there is no writer {0}")]
    UnknownWriter(WriterId),
    /// Bytes that cannot be a serialized message.
    #[error(
        "a payload of {length} bytes for {topic} is too short to be a serialized message, which begins with 4 bytes of encapsulation"
    )]
    PayloadTooShort {
        /// The topic it was meant for.
        topic: String,
        /// Its length [bytes].
        length: usize,
    },
    /// The arguments after `--ros-args` are wrong.
    #[error("the ROS arguments of the command line are not valid: {0}")]
    Arguments(String),
    /// A ROS_DOMAIN_ID that cannot be.
    #[error("ROS_DOMAIN_ID is {given:?}, which is no domain; use a number from 0 to {most}")]
    Domain {
        /// As set.
        given: String,
        /// The largest one.
        most: u32,
    },
    /// A name or value with a NUL byte, which ROS cannot take.
    #[error("{what} {value:?} contains a NUL byte")]
    Nul {
        /// What it is.
        what: &'static str,
        /// The value.
        value: String,
    },
    /// rcl or the middleware refused.
    #[error("cannot {action}: {reason}")]
    Rcl {
        /// What was tried.
        action: String,
        /// What rcl said.
        reason: String,
    },
    /// A writer keeps as much as it may that nobody has acknowledged.
    #[error("the subscriptions have not acknowledged what was published before")]
    NotAcknowledged,
    /// A thread could not be started.
    #[error("cannot start a thread for ROS: {0}")]
    Thread(String),
    /// A node, service or topic did not answer in time.
    #[error("{0}")]
    Timeout(String),
    /// A ROS parameter has a value of the wrong type.
    #[error("a ROS parameter is not valid: {0}")]
    Parameter(String),
    /// A message that does not mean anything to this version.
    #[error("a message cannot be understood: {0}")]
    Message(String),
    /// Nodes need a tokio runtime for their services.
    #[error("a ROS node has to be started inside a tokio runtime")]
    NoRuntime,
}
