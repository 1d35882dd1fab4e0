//! What an administrator can ask of the exchange, and what it answers. The ROS services ask in these words today, the
//! web console and remote administrators will.

use std::net::SocketAddr;

use crate::{
    ids::ClientId,
    registry::{ExportRequest, Exported},
    status::ClientStatus,
};

/// A request of an administrator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AdminRequest {
    /// Open the port. `None` means the configured value.
    Open {
        /// Host name or address to listen on.
        address: Option<String>,
        /// TCP port to listen on.
        port: Option<u16>,
    },
    /// Say goodbye to every client and close the port.
    Close {
        /// What the clients are told.
        reason: String,
    },
    /// Write a table to a CSV file.
    Export(ExportRequest),
    /// List the known clients.
    ListClients {
        /// Leave out those that are OFF.
        connected_only: bool,
    },
    /// End one client's session. It may come back.
    DisconnectClient {
        /// Which.
        id: ClientId,
        /// What it is told.
        reason: String,
    },
}

/// The answer to an [`AdminRequest`].
#[derive(Debug, Clone, PartialEq)]
pub enum AdminReply {
    /// The port is open here.
    Opened(SocketAddr),
    /// The port is closed, and so many clients were told.
    Closed {
        /// Clients that were connected.
        clients: u32,
    },
    /// The file was written.
    Exported(Exported),
    /// The clients, ordered by id.
    Clients(Vec<ClientStatus>),
    /// The client was told to go.
    Disconnected,
}

/// Why a request was not carried out, in words for the administrator.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct AdminError(pub String);
