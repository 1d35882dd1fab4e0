//! Newtypes for everything that is looked up by an id, so that one kind of id cannot be taken for another.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::defaults;

/// Name of a client on the exchange, unique while it is connected: `r1`, `alice`.
///
/// It becomes the first segment of ROS names (`/r1/odom`) and the prefix of frame ids, so it has to be a valid ROS name
/// token: a letter first, then letters, digits and single underscores, at most [`defaults::CLIENT_ID_MAX`] characters.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ClientId(std::sync::Arc<str>);

/// Why a string is not a [`ClientId`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "client id {given:?} {fault}; use a letter followed by letters, digits or single underscores, at most {max} characters, such as \"r1\"",
    max = defaults::CLIENT_ID_MAX
)]
pub struct InvalidClientId {
    given: String,
    fault: &'static str,
}

impl ClientId {
    /// Checks and wraps `id`.
    ///
    /// # Errors
    /// [`InvalidClientId`] names the value and the rule that it breaks.
    pub fn new(id: &str) -> Result<Self, InvalidClientId> {
        match fault_of(id) {
            None => Ok(Self(id.into())),
            // A hostile peer chooses this string: only its head goes into messages and logs.
            Some(fault) => Err(InvalidClientId { given: id.chars().take(defaults::CLIENT_ID_MAX).collect(), fault }),
        }
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn fault_of(id: &str) -> Option<&'static str> {
    let first = match id.chars().next() {
        None => return Some("is empty"),
        Some(first) => first,
    };
    if id.len() > defaults::CLIENT_ID_MAX {
        Some("is too long")
    } else if !first.is_ascii_alphabetic() {
        Some("does not start with a letter")
    } else if !id.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
        Some("has a character that ROS names do not allow")
    } else if id.contains("__") {
        Some("has two underscores in a row, which ROS reserves")
    } else {
        None
    }
}

impl TryFrom<String> for ClientId {
    type Error = InvalidClientId;

    fn try_from(id: String) -> Result<Self, InvalidClientId> {
        Self::new(&id)
    }
}

impl std::str::FromStr for ClientId {
    type Err = InvalidClientId;

    fn from_str(id: &str) -> Result<Self, InvalidClientId> {
        Self::new(id)
    }
}

impl From<ClientId> for String {
    fn from(id: ClientId) -> Self {
        id.0.as_ref().to_owned()
    }
}

impl fmt::Display for ClientId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

macro_rules! number_id {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}", self.0)
            }
        }
    };
}

number_id!(
    /// One TCP connection of the server, from accept to close. Never used again in the same process.
    ConnectionId(u64)
);
number_id!(
    /// One stay of a client at the exchange: the primary key of the registry's `sessions` table.
    SessionId(i64)
);
number_id!(
    /// A topic that one client offers, numbered by that client, valid for its connection.
    ChannelId(u32)
);
number_id!(
    /// A channel as the exchange passes it on, numbered by the server, the same for every receiver of it.
    FeedId(u32)
);
number_id!(
    /// A subscription of our own in the local ROS graph.
    ReaderId(u64)
);
number_id!(
    /// A publisher of our own in the local ROS graph.
    WriterId(u64)
);
number_id!(
    /// A service server of our own in the local ROS graph, which stands for one elsewhere.
    ServerId(u64)
);
number_id!(
    /// A service client of our own in the local ROS graph, which calls for others.
    CallerId(u64)
);
number_id!(
    /// One service call, numbered by whoever passes it on, valid for its connection.
    CallId(u64)
);
number_id!(
    /// A request that one of our own servers got, in the bridge's own numbering. Never used again in the same process.
    RequestId(u64)
);
number_id!(
    /// One of several publishers behind a channel, numbered by its origin, valid for its connection.
    PublisherId(u16)
);
number_id!(
    /// A rule in force. Never used again in the same process.
    RuleId(u32)
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_what_ros_accepts_as_a_name_token() {
        for id in ["r1", "R2_arm", "a", "turtle_bot_3"] {
            assert_eq!(ClientId::new(id).unwrap().as_str(), id);
        }
    }

    #[test]
    fn names_the_value_and_the_fault() {
        for (id, fault) in [
            ("", "is empty"),
            ("1r", "does not start with a letter"),
            ("_r", "does not start with a letter"),
            ("r 1", "has a character"),
            ("r/1", "has a character"),
            ("r__1", "two underscores"),
            (&"r".repeat(defaults::CLIENT_ID_MAX + 1), "is too long"),
        ] {
            let message = ClientId::new(id).unwrap_err().to_string();
            assert!(message.contains(fault), "{message}");
        }
    }

    #[test]
    fn a_hostile_id_is_cut_short_in_the_message() {
        let message = ClientId::new(&"x".repeat(100_000)).unwrap_err().to_string();
        assert!(message.len() < 400, "{}", message.len());
    }

    #[test]
    fn deserialising_checks_too() {
        let bytes = postcard::to_stdvec("not an id").unwrap();
        assert!(postcard::from_bytes::<ClientId>(&bytes).is_err());
    }
}
