//! The messages that the frames carry, encoded with postcard, each with the limits that a receiver holds it to.

use serde::{Deserialize, Serialize};

use super::{FrameKind, WireError, is_topic_name, is_type_name};
use crate::{
    defaults,
    ids::{CallId, ChannelId, ClientId, FeedId, SessionId},
    model::{ClientKind, ServiceInfo, TopicInfo},
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
    /// Patterns on exchange names (`/*/set_mode`) of other clients' services.
    pub services: Vec<String>,
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
    /// Whether only the newest message may wait for us.
    pub latest_only: bool,
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
    /// Whether to pause: a receiver has to catch up first. Only said of reliable topics.
    pub held: bool,
}

/// Client → server: whether I can keep up with this feed. Only said of reliable topics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Congestion {
    /// Which.
    pub feed: FeedId,
    /// Whether to pause it.
    pub congested: bool,
}

/// Client → server: a service that others may call here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceOffer {
    /// My number for it, from the same numbers as those of topics; withdrawn as they are.
    pub channel: ChannelId,
    /// The service, named as in the graph of its owner.
    pub service: ServiceInfo,
}

/// Server → client: a service of somebody else that matches your interests.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceFeed {
    /// The server's number for it, from the same numbers as those of topics; closed as they are.
    pub feed: FeedId,
    /// Whose it is.
    pub origin: ClientId,
    /// The service as its owner offered it.
    pub service: ServiceInfo,
}

/// Either way, towards the caller: a call has no answer, and will have none.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CallFailure {
    /// Which call, in the numbers of the receiver of this.
    pub call: CallId,
    /// For programs.
    pub cause: CallCause,
    /// For people: what happened, to what, and what to do.
    pub reason: String,
}

/// Why a call has no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum CallCause {
    /// There is no such service, or no longer.
    NoService,
    /// The client that has it is not connected, or no longer.
    PeerGone,
    /// The answer did not come in time.
    Timeout,
    /// Too many calls wait already.
    Busy,
    /// The owner could not make the call, such as for bytes that are no request of that type.
    Failed,
}

impl CallFailure {
    /// A failure whose reason is one line of at most [`defaults::REASON_MAX`] bytes.
    pub fn new(call: CallId, cause: CallCause, reason: impl Into<String>) -> Self {
        CallFailure { call, cause, reason: Farewell::new(Cause::Violation, reason).reason }
    }

    pub(super) fn check(&self) -> Result<(), WireError> {
        check_length(FrameKind::CallFailed, "reason", &self.reason, defaults::REASON_MAX)?;
        check_text_of(FrameKind::CallFailed, "reason", &self.reason)
    }
}

/// Client → server: what is in the way of my routes, in words, for the status. Replaces what it sent before.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Problems {
    /// At most [`defaults::PROBLEMS_MAX`] lines.
    pub problems: Vec<String>,
}

impl Problems {
    pub(super) fn check(&self) -> Result<(), WireError> {
        if self.problems.len() > defaults::PROBLEMS_MAX {
            return Err(too_many(FrameKind::Problems, "problems", self.problems.len(), defaults::PROBLEMS_MAX));
        }
        self.problems.iter().try_for_each(|problem| check_text(FrameKind::Problems, "problem", problem))
    }
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
        let count = self.wants.len() + self.accepts.len() + self.services.len();
        if count > defaults::INTERESTS_MAX {
            return Err(too_many(FrameKind::Interests, "patterns", count, defaults::INTERESTS_MAX));
        }
        for pattern in self.wants.iter().chain(&self.accepts).chain(&self.services) {
            check_length(FrameKind::Interests, "pattern", pattern, defaults::NAME_MAX)?;
        }
        Ok(())
    }
}

pub(super) fn check_topic(kind: FrameKind, topic: &TopicInfo) -> Result<(), WireError> {
    check_interface(kind, "topic name", &topic.name, &topic.type_name, &topic.type_hash)
}

pub(super) fn check_service(kind: FrameKind, service: &ServiceInfo) -> Result<(), WireError> {
    check_interface(kind, "service name", &service.name, &service.type_name, &service.type_hash)
}

fn check_interface(
    kind: FrameKind,
    what: &'static str,
    name: &str,
    type_name: &str,
    type_hash: &str,
) -> Result<(), WireError> {
    let invalid = |what, text: &str| WireError::Invalid {
        kind,
        what,
        fault: format!("is not valid: {:?}", text.chars().take(80).collect::<String>()),
    };
    if !is_topic_name(name) {
        return Err(invalid(what, name));
    }
    if !is_type_name(type_name) {
        return Err(invalid("type name", type_name));
    }
    check_text(kind, "type hash", type_hash)
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
