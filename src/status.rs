//! Snapshots of what the exchange and its lines look like right now: plain values for the ROS side, the command line and
//! the console to show.

use std::{net::SocketAddr, time::Duration};

use serde::{Deserialize, Serialize};

use crate::{ids::ClientId, model::ClientKind, time::Wall};

/// Whether a client is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub enum ClientState {
    /// Not connected.
    #[default]
    Off,
    /// Connected.
    On,
    /// Connected, and a call is being set up.
    Calling,
    /// Connected, and in a call.
    InCall,
}

impl ClientState {
    /// The word that tables and logs show.
    pub fn as_str(self) -> &'static str {
        match self {
            ClientState::Off => "OFF",
            ClientState::On => "ON",
            ClientState::Calling => "CALLING",
            ClientState::InCall => "IN_CALL",
        }
    }
}

/// What went through a line since it connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Traffic {
    /// Topic messages from the client.
    pub messages_in: u64,
    /// Topic messages to the client.
    pub messages_out: u64,
    /// Bytes from the client, framing included.
    pub bytes_in: u64,
    /// Bytes to the client, framing included.
    pub bytes_out: u64,
    /// Topic messages to the client that were given up because its line was too slow.
    pub messages_dropped: u64,
    /// Topic messages to the client that were given up because they were too old.
    pub messages_late: u64,
    /// Service calls from the client.
    pub calls_in: u64,
    /// Service calls to the client.
    pub calls_out: u64,
    /// Service calls from the client that had no answer.
    pub calls_failed: u64,
}

/// A client, connected or not.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ClientStatus {
    /// Its id.
    pub id: ClientId,
    /// Display name.
    pub name: String,
    /// Robot, operator or observer.
    pub kind: ClientKind,
    /// Whether it is there.
    pub state: ClientState,
    /// The other end of its call, if it is in one.
    pub peer: Option<ClientId>,
    /// Address of its connection, or of its last one.
    pub address: SocketAddr,
    /// Host name of its machine.
    pub host_name: String,
    /// Switchboard version that it runs.
    pub software_version: String,
    /// ROS distribution that it runs.
    pub ros_distro: String,
    /// What it can do, such as `topics`.
    pub capabilities: Vec<String>,
    /// First login ever.
    pub first_seen: Wall,
    /// Last sign of life.
    pub last_seen: Wall,
    /// Start of the present session; `None` while OFF.
    pub connected_since: Option<Wall>,
    /// Why it is OFF; empty while connected.
    pub reason: String,
    /// Lowest recent round trip between the server and it.
    pub round_trip: Option<Duration>,
    /// Its clock minus the server's, in nanoseconds.
    pub clock_offset: Option<i64>,
    /// What went through its line in the present session.
    pub traffic: Traffic,
    /// Its topics that more than one client commands, such as `/cmd_vel: alice, bob`.
    pub contested: Vec<String>,
    /// What is in the way of its routes, in words.
    pub problems: Vec<String>,
}

impl ClientStatus {
    /// The same without what changes all the time: traffic and link figures.
    pub fn without_traffic(self) -> Self {
        ClientStatus {
            traffic: Traffic::default(),
            round_trip: None,
            clock_offset: None,
            contested: Vec::new(),
            problems: Vec::new(),
            ..self
        }
    }
}

/// The exchange as a whole.
#[derive(Debug, Clone, PartialEq)]
pub struct ServerStatus {
    /// When this was true.
    pub stamp: Wall,
    /// Where the port is open; `None` while closed.
    pub endpoint: Option<SocketAddr>,
    /// Why the port is closed; empty while open.
    pub closed_reason: String,
    /// Every known client, ordered by id.
    pub clients: Vec<ClientStatus>,
    /// Connections that were turned away since the server started.
    pub refused: u64,
    /// Log lines and registry events that were left out to keep a flood of refusals from filling the disk.
    pub suppressed: u64,
}

/// A client's own view of its line.
#[derive(Debug, Clone, PartialEq)]
pub struct LineStatus {
    /// When this was true.
    pub stamp: Wall,
    /// Its own id.
    pub id: ClientId,
    /// Whether it is connected.
    pub connected: bool,
    /// The server as configured, `host:port`.
    pub server: String,
    /// Since when it has been connected or not.
    pub since: Wall,
    /// Why it is not connected; empty while it is.
    pub reason: String,
    /// Attempts since the line was last up.
    pub attempts: u32,
    /// Lowest recent round trip to the server.
    pub round_trip: Option<Duration>,
    /// The server's clock minus ours, in nanoseconds.
    pub clock_offset: Option<i64>,
    /// Topic messages that could not be sent or published, since the program started.
    pub messages_dropped: u64,
    /// What is in the way of its routes, in words.
    pub problems: Vec<String>,
}
