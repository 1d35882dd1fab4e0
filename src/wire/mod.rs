//! The bytes on the line: preamble, framing, frame numbers, control messages and their limits (docs/protocol.md).
//!
//! [`Decoder`] turns received bytes into [`Item`]s and [`Frame::encode`] turns frames into [`Packet`]s. Both are pure:
//! too few bytes are `Ok(None)`, wrong ones are a [`WireError`], and neither ever panics or holds more than the limits
//! of [`crate::defaults`] allow.

mod control;
mod decoder;
mod frame;

pub use control::{
    CallCause, CallFailure, Cause, ClientsUpdate, Congestion, Demand, Farewell, Feed, Flow, Interests, Login, Offer,
    Ping, Pong, Problems, ServiceFeed, ServiceOffer, Subscription, Welcome,
};
pub use decoder::{Decoder, Item};
pub use frame::{Data, Frame, FrameKind, Packet, Request, Response};

use crate::defaults;

/// First bytes of every connection, in both directions.
pub const MAGIC: [u8; 4] = *b"SWBD";
/// Length of the preamble: magic, major, minor, two reserved bytes [bytes].
pub const PREAMBLE_LEN: usize = 8;
/// Length of a frame's header: payload length and kind [bytes].
pub const HEADER_LEN: usize = 5;

/// Version of the protocol. Ends with different `major` do not understand each other; `minor` grows with additions
/// that an older end may ignore.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    /// Incompatible changes.
    pub major: u8,
    /// Compatible additions.
    pub minor: u8,
}

impl Version {
    /// The version that this program speaks.
    pub const CURRENT: Version = Version { major: 2, minor: 0 };

    /// The preamble that announces this version.
    pub fn preamble(self) -> [u8; PREAMBLE_LEN] {
        let [m0, m1, m2, m3] = MAGIC;
        [m0, m1, m2, m3, self.major, self.minor, 0, 0]
    }

    /// Whether this program can talk to an end of that version.
    pub fn is_compatible(self) -> bool {
        self.major == Version::CURRENT.major
    }
}

impl std::fmt::Display for Version {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

/// Why received bytes are not the protocol. Never carries more than a few bytes of what the peer sent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// The connection does not begin with [`MAGIC`].
    #[error("not a Switchboard peer: the connection begins with {0:02x?} instead of \"SWBD\"")]
    NotSwitchboard([u8; 4]),
    /// A frame number that this version does not have.
    #[error("unknown frame kind 0x{0:02x}")]
    UnknownKind(u8),
    /// A frame that is longer than its kind may be at this stage.
    #[error("{kind:?} frame of {length} bytes where at most {limit} are allowed")]
    Oversized {
        /// Kind of the frame.
        kind: FrameKind,
        /// Length it announced [bytes].
        length: usize,
        /// Largest length allowed [bytes].
        limit: usize,
    },
    /// A frame that may not come before the login is done.
    #[error("{0:?} frame before login")]
    TooEarly(FrameKind),
    /// A frame whose payload is not what its kind says.
    #[error("malformed {0:?} frame")]
    Malformed(FrameKind),
    /// A text or list in a frame that is longer than allowed, or not well formed.
    #[error("{what} in the {kind:?} frame {fault}")]
    Invalid {
        /// Kind of the frame.
        kind: FrameKind,
        /// The field.
        what: &'static str,
        /// What is wrong with it.
        fault: String,
    },
}

impl WireError {
    /// The cause that the peer is told.
    pub fn cause(&self) -> Cause {
        match self {
            WireError::Oversized { .. } => Cause::Oversized,
            _ => Cause::Malformed,
        }
    }
}

/// Whether `name` is a fully qualified ROS topic name as rcl accepts it: `/` then segments of letters, digits and
/// underscores that do not start with a digit, at most [`defaults::NAME_MAX`] bytes.
pub fn is_topic_name(name: &str) -> bool {
    name.len() <= defaults::NAME_MAX
        && name.strip_prefix('/').is_some_and(|rest| {
            rest.split('/').all(|segment| {
                segment.chars().next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_')
                    && segment.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
                    && !segment.contains("__")
            })
        })
}

/// Whether `name` is a full message type name: `package/msg/Type`.
pub fn is_type_name(name: &str) -> bool {
    let mut parts = name.split('/');
    let ok = |part: Option<&str>| {
        part.is_some_and(|part| {
            part.chars().next().is_some_and(|c| c.is_ascii_alphabetic())
                && part.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
        })
    };
    name.len() <= defaults::NAME_MAX
        && ok(parts.next())
        && parts.next().is_some_and(|middle| matches!(middle, "msg" | "srv" | "action"))
        && ok(parts.next())
        && parts.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topic_names_are_those_of_rcl() {
        for name in ["/odom", "/a/b_c/d1", "/_hidden/topic"] {
            assert!(is_topic_name(name), "{name}");
        }
        for name in ["", "/", "odom", "/a//b", "/a/", "/1a", "/a b", "/a__b", "/ä", &format!("/{}", "a".repeat(256))] {
            assert!(!is_topic_name(name), "{name}");
        }
    }

    #[test]
    fn type_names_have_three_parts() {
        assert!(is_type_name("nav_msgs/msg/Odometry"));
        for name in ["", "Odometry", "nav_msgs/Odometry", "nav_msgs/msg/", "/msg/X", "a/b/C", "a/msg/C/d", "a/msg/C;"] {
            assert!(!is_type_name(name), "{name}");
        }
    }
}
