//! What the registry records and answers: the words between the hub, which decides, and the store, which keeps.

use std::{net::SocketAddr, path::PathBuf};

use crate::{
    ids::{ClientId, SessionId},
    model::ClientKind,
    time::Wall,
};

/// A login to be recorded before the client is welcomed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoginRecord {
    /// Who.
    pub client: ClientId,
    /// Robot, operator or observer.
    pub kind: ClientKind,
    /// Display name.
    pub name: String,
    /// Host name of its machine.
    pub host_name: String,
    /// Version of the Switchboard it runs.
    pub software_version: String,
    /// ROS distribution it runs, such as `jazzy`.
    pub ros_distro: String,
    /// Where the connection came from.
    pub address: SocketAddr,
    /// When.
    pub at: Wall,
}

/// The end of a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogoutRecord {
    /// Which session.
    pub session: SessionId,
    /// When it ended.
    pub at: Wall,
    /// Why, in words.
    pub reason: String,
}

/// A line of the event log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventRecord {
    /// When it happened.
    pub at: Wall,
    /// What kind of event.
    pub kind: EventKind,
    /// The client it is about, if any.
    pub client: Option<ClientId>,
    /// The address it came from, if any.
    pub address: Option<SocketAddr>,
    /// What happened, in words.
    pub detail: String,
}

/// Kinds of events, as they stand in the `events` table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EventKind {
    /// The server program started or stopped.
    Server,
    /// The port was opened or closed.
    Port,
    /// A client came.
    Connected,
    /// A client went.
    Disconnected,
    /// Somebody was turned away.
    Refused,
    /// An administrator did something.
    Administration,
    /// Something is in the way of a client's routes.
    Problem,
}

impl EventKind {
    /// The word in the table.
    pub fn as_str(self) -> &'static str {
        match self {
            EventKind::Server => "server",
            EventKind::Port => "port",
            EventKind::Connected => "connected",
            EventKind::Disconnected => "disconnected",
            EventKind::Refused => "refused",
            EventKind::Administration => "administration",
            EventKind::Problem => "problem",
        }
    }
}

/// A client as the registry knows it, connected or not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownClient {
    /// Its id.
    pub client: ClientId,
    /// Robot, operator or observer.
    pub kind: ClientKind,
    /// Display name at its last login.
    pub name: String,
    /// Host name at its last login.
    pub host_name: String,
    /// Switchboard version at its last login.
    pub software_version: String,
    /// ROS distribution at its last login.
    pub ros_distro: String,
    /// Address of its last connection.
    pub last_address: SocketAddr,
    /// First login ever.
    pub first_seen: Wall,
    /// Last sign of life that was recorded: login, heartbeat or logout.
    pub last_seen: Wall,
    /// Why its last session ended; empty while one is open.
    pub last_reason: String,
}

/// The tables that can be exported.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ExportTable {
    /// One row per client.
    Clients,
    /// One row per session.
    Sessions,
    /// The event log.
    Events,
}

impl ExportTable {
    /// Every table, in the order that help texts list them.
    pub const ALL: [ExportTable; 3] = [ExportTable::Clients, ExportTable::Sessions, ExportTable::Events];

    /// The word for it in services and on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            ExportTable::Clients => "clients",
            ExportTable::Sessions => "sessions",
            ExportTable::Events => "events",
        }
    }
}

impl std::str::FromStr for ExportTable {
    type Err = UnknownTable;

    fn from_str(word: &str) -> Result<Self, UnknownTable> {
        ExportTable::ALL
            .into_iter()
            .find(|table| table.as_str() == word)
            .ok_or_else(|| UnknownTable(word.chars().take(40).collect()))
    }
}

/// A word that is no [`ExportTable`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown table {0:?}; use clients, sessions or events")]
pub struct UnknownTable(String);

/// What to export, and to where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExportRequest {
    /// Which table.
    pub table: ExportTable,
    /// File name inside the export directory; empty means `<table>_YYYY-MM-DD.csv` with the local date of `now`.
    pub file_name: String,
    /// Only rows that touch the time from here on; `None`: from the beginning.
    pub start: Option<Wall>,
    /// Only rows that touch the time up to here; `None`: to the end.
    pub end: Option<Wall>,
    /// Whether an existing file may be replaced.
    pub overwrite: bool,
    /// The time of the request, which dates the default file name.
    pub now: Wall,
}

/// What was exported.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exported {
    /// The file.
    pub path: PathBuf,
    /// Rows in it, the header not counted.
    pub rows: u64,
}
