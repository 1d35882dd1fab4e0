//! What can go wrong between us and ROS.

use crate::ids::{CallerId, ReaderId, RequestId, ServerId, WriterId};

/// An error of the ROS side, in words that name the thing, the value and, where there is one, the cure.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RosError {
    /// A string that is no type name.
    #[error(
        "{0:?} is not the name of a type; write it as package/msg/Type or package/srv/Type, such as \"nav_msgs/msg/Odometry\""
    )]
    InvalidTypeName(String),
    /// A type that this installation does not have.
    #[error(
        "type {type_name} is not installed here ({reason}); install the ROS package {package} or source the workspace that contains it, and start again"
    )]
    UnknownType {
        /// The type as asked for.
        type_name: String,
        /// The package that would bring it.
        package: String,
        /// Where it was looked for and what was found.
        reason: String,
    },
    /// A type that both ends have, but not the same.
    #[error(
        "{type_name} is another type there ({theirs}) than here ({ours}); install the same version of its package at both ends, and start again"
    )]
    TypeMismatch {
        /// The type.
        type_name: String,
        /// Its hash at the other end.
        theirs: String,
        /// Its hash as it is installed here.
        ours: String,
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
    /// A server id that is in use.
    #[error("server {0} exists already; destroy it first")]
    DuplicateServer(ServerId),
    /// A caller id that is in use.
    #[error("caller {0} exists already; destroy it first")]
    DuplicateCaller(CallerId),
    /// A server id that nobody created, or that was destroyed.
    #[error("there is no server {0}")]
    UnknownServer(ServerId),
    /// A caller id that nobody created, or that was destroyed.
    #[error("there is no caller {0}")]
    UnknownCaller(CallerId),
    /// A request that nobody made, or that has its answer.
    #[error("{service} waits for no answer to request {request}")]
    UnknownRequest {
        /// The service.
        service: String,
        /// Which.
        request: RequestId,
    },
    /// Nobody serves it.
    #[error("no server of {0} is there; start the node that serves it")]
    NoServer(String),
    /// Too many calls wait for their answers.
    #[error("{service} cannot be called: {most} calls of this client wait for their answers already; try again later")]
    CallsFull {
        /// The service.
        service: String,
        /// The most at a time.
        most: usize,
    },
    /// Bytes that are no message of the type.
    #[error("{length} bytes are no {type_name}: {reason}")]
    NotAMessage {
        /// The type that they should be of.
        type_name: String,
        /// How many [bytes].
        length: usize,
        /// What the middleware said.
        reason: String,
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
    /// There are several nodes, and it is not said which is meant.
    #[error("there are several: {}; say which is meant with --node", .0.join(", "))]
    Several(Vec<String>),
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
