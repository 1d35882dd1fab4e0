//! The messages that the frames carry, encoded with postcard, each with the limits that a receiver holds it to.

use serde::{Deserialize, Serialize};

use super::{FrameKind, WireError, is_topic_name, is_type_name};
use crate::{
    defaults,
    ids::{ChannelId, ClientId, FeedId, SessionId},
    model::{ClientKind, TopicInfo},
    status::ClientStatus,
    time::Wall,
};

/// Client → server, the first frame: who I am.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Login {
    /// Id on the exchange.
    pub id: ClientId,
    /// Robot, operator or observer.
    pub kind: ClientKind,
    /// Display name.
    pub name: String,
    /// Host name of the machine.
    pub host_name: String,
    /// Switchboard version.
    pub software_version: String,
    /// ROS distribution, such as `jazzy`.
    pub ros_distro: String,
    /// What this client can do, such as `topics`.
    pub capabilities: Vec<String>,
}

/// Server → client: the login is accepted and recorded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Welcome {
    /// The session as the registry numbers it.
    pub session: SessionId,
    /// Switchboard version of the server.
    pub software_version: String,
    /// When the server recorded the login.
    pub at: Wall,
}

/// Either way: the last frame of a connection, and why it ends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Farewell {
    /// For programs.
    pub cause: Cause,
    /// For people: what happened, to what, and what to do.
    pub reason: String,
}

/// Why a connection ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Cause {
    /// The two ends speak different major versions.
    Version,
    /// Bytes that are not the protocol.
    Malformed,
    /// A frame over its limit.
    Oversized,
    /// A frame that the protocol does not allow at this point.
    Violation,
    /// The login did not come in time.
    LoginTimeout,
    /// A client of that id is connected already.
    DuplicateId,
    /// No room for another client.
    Full,
    /// The registry could not record the login.
    Registry,
    /// An administrator closed the port.
    PortClosed,
    /// An administrator ended this session.
    Disconnected,
    /// Nothing was heard for too long.
    KeepAlive,
    /// The peer does not read what it is sent.
    TooSlow,
    /// The program at this end is stopping.
    Stopping,
}

impl Farewell {
    /// A farewell whose reason is one line of at most [`defaults::REASON_MAX`] bytes: it goes into logs and tables.
    pub fn new(cause: Cause, reason: impl Into<String>) -> Self {
        let mut reason: String = reason.into();
        if reason.chars().any(char::is_control) {
            reason = reason.replace(char::is_control, " ");
        }
        if reason.len() > defaults::REASON_MAX {
            let end = (0..=defaults::REASON_MAX).rev().find(|&i| reason.is_char_boundary(i)).unwrap_or(0);
            reason.truncate(end);
        }
        Farewell { cause, reason }
    }
}

impl std::fmt::Display for Farewell {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.reason)
    }
}

/// Either way: are you there, and what is your clock?
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ping {
    /// Comes back in the [`Pong`].
    pub nonce: u32,
    /// The sender's clock when it sent this.
    pub sent: Wall,
}

/// Either way: the answer to a [`Ping`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pong {
    /// Of the ping.
    pub nonce: u32,
    /// Of the ping.
    pub sent: Wall,
    /// The answerer's clock when the ping came.
    pub received: Wall,
    /// The answerer's clock when it sent this.
    pub replied: Wall,
}

/// Server → client: the client table, or what changed in it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ClientsUpdate {
    /// Whether what was sent before is to be forgotten.
    pub reset: bool,
    /// New or changed clients. Traffic figures stay at the server.
    pub clients: Vec<ClientStatus>,
}

/// Client → server: which feeds this client wants to hear of. Replaces what it sent before.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Interests {
    /// Patterns on exchange names (`/*/odom`) of other clients' topics.
    pub wants: Vec<String>,
    /// Patterns on this client's own topics (`/cmd_vel`) that others may publish to.
    pub accepts: Vec<String>,
}

/// Which way the messages of a channel go.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Flow {
    /// From its origin to whoever wants it: `/odom` of r1 is `/r1/odom` elsewhere.
    State,
    /// From its origin to one client that accepts it: what is published to `/r1/cmd_vel` arrives at r1 as `/cmd_vel`.
    Command {
        /// That client.
        to: ClientId,
    },
}

/// Client → server: a topic that I could send.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Offer {
    /// My number for it.
    pub channel: ChannelId,
    /// Which way it goes.
    pub flow: Flow,
    /// The topic, named as in the graph of the origin (state) or of the target (command).
    pub topic: TopicInfo,
}

/// Server → client: a topic of somebody else that matches your interests.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Feed {
    /// The server's number for it, in every frame about it.
    pub feed: FeedId,
    /// Whose it is.
    pub origin: ClientId,
    /// Which way it goes.
    pub flow: Flow,
    /// The topic as its origin offered it.
    pub topic: TopicInfo,
}

/// Client → server: send me this feed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subscription {
    /// Which.
    pub feed: FeedId,
    /// At most so often [mHz]; 0 without a limit. An integer, so that every value on the wire can be compared.
    pub max_rate_millihertz: u32,
}

/// Server → client: whether anybody wants a channel that you offered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Demand {
    /// Your number for it.
    pub channel: ChannelId,
    /// Whether to send it.
    pub wanted: bool,
    /// The highest rate that anybody wants [mHz]; 0 without a limit.
    pub max_rate_millihertz: u32,
}

impl Farewell {
    pub(super) fn check(&self, kind: FrameKind) -> Result<(), WireError> {
        check_length(kind, "reason", &self.reason, defaults::REASON_MAX)?;
        check_text_of(kind, "reason", &self.reason)
    }
}

impl Login {
    pub(super) fn check(&self) -> Result<(), WireError> {
        for (what, text) in [
            ("name", &self.name),
            ("host name", &self.host_name),
            ("software version", &self.software_version),
            ("ROS distribution", &self.ros_distro),
        ] {
            check_text(FrameKind::Login, what, text)?;
        }
        if self.capabilities.len() > defaults::CAPABILITIES_MAX {
            return Err(too_many(
                FrameKind::Login,
                "capabilities",
                self.capabilities.len(),
                defaults::CAPABILITIES_MAX,
            ));
        }
        self.capabilities.iter().try_for_each(|capability| {
            check_length(FrameKind::Login, "capability", capability, defaults::CAPABILITY_MAX)?;
            check_text(FrameKind::Login, "capability", capability)
        })
    }
}

impl Interests {
    pub(super) fn check(&self) -> Result<(), WireError> {
        let count = self.wants.len() + self.accepts.len();
        if count > defaults::INTERESTS_MAX {
            return Err(too_many(FrameKind::Interests, "patterns", count, defaults::INTERESTS_MAX));
        }
        for pattern in self.wants.iter().chain(&self.accepts) {
            check_length(FrameKind::Interests, "pattern", pattern, defaults::NAME_MAX)?;
        }
        Ok(())
    }
}

pub(super) fn check_topic(kind: FrameKind, topic: &TopicInfo) -> Result<(), WireError> {
    let invalid = |what, text: &str| WireError::Invalid {
        kind,
        what,
        fault: format!("is not valid: {:?}", text.chars().take(80).collect::<String>()),
    };
    if !is_topic_name(&topic.name) {
        return Err(invalid("topic name", &topic.name));
    }
    if !is_type_name(&topic.type_name) {
        return Err(invalid("type name", &topic.type_name));
    }
    check_length(kind, "type hash", &topic.type_hash, defaults::TEXT_MAX)
}

fn check_text(kind: FrameKind, what: &'static str, text: &str) -> Result<(), WireError> {
    check_length(kind, what, text, defaults::TEXT_MAX)?;
    check_text_of(kind, what, text)
}

/// Texts of peers go to terminals and logs: none may move the cursor or begin a new line there.
fn check_text_of(kind: FrameKind, what: &'static str, text: &str) -> Result<(), WireError> {
    if text.chars().any(char::is_control) {
        return Err(WireError::Invalid { kind, what, fault: "has control characters".to_owned() });
    }
    Ok(())
}

fn check_length(kind: FrameKind, what: &'static str, text: &str, limit: usize) -> Result<(), WireError> {
    if text.len() > limit {
        return Err(WireError::Invalid {
            kind,
            what,
            fault: format!("has {} bytes, at most {limit} are allowed", text.len()),
        });
    }
    Ok(())
}

fn too_many(kind: FrameKind, what: &'static str, count: usize, limit: usize) -> WireError {
    WireError::Invalid { kind, what, fault: format!("number {count}, at most {limit} are allowed") }
}
