//! The administrator's end of the services, for the command line.

use std::{sync::Arc, time::Duration};

use futures::StreamExt;
use r2r::{
    Client, QosProfile,
    switchboard::{
        msg::ConnectionStatus,
        srv::{Close, DisconnectClient, ExportCsv, ListClients, Open},
    },
};
use tokio::{
    runtime::Handle,
    sync::watch,
    time::{Instant, timeout_at},
};

use super::{
    convert,
    desk::{self, DeskService},
    error::RosError,
    typed_node::{self, NodeOptions, Spinner, failed},
};
use crate::{
    admin::{AdminError, AdminReply, AdminRequest},
    status::ServerStatus,
    time::Wall,
};

/// Why a request of ours has no good end.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AskError {
    /// The exchange was not reached or not understood.
    #[error(transparent)]
    Ros(#[from] RosError),
    /// The exchange says no.
    #[error(transparent)]
    Refused(#[from] AdminError),
}

/// Talks to the node of an exchange through ROS.
pub struct AdminClient {
    // First, so that the node's thread ends before the clients.
    _spinner: Spinner,
    server: String,
    open: Client<Open::Service>,
    close: Client<Close::Service>,
    export_csv: Client<ExportCsv::Service>,
    list_clients: Client<ListClients::Service>,
    disconnect_client: Client<DisconnectClient::Service>,
    status: watch::Receiver<Option<Arc<ServerStatus>>>,
}

impl AdminClient {
    /// Joins the ROS graph with a hidden node, on the tokio runtime that this is called in. `server_node` is the name of
    /// the exchange's node, such as `/switchboard`. Whether it is there shows when it is asked.
    ///
    /// # Errors
    /// If ROS does not start or the name is none.
    pub fn connect(server_node: &str) -> Result<AdminClient, RosError> {
        let runtime = Handle::try_current().map_err(|_| RosError::NoRuntime)?;
        let server = format!("/{}", server_node.trim_matches('/'));
        let options =
            NodeOptions { name: format!("_switchboard_cli_{}", std::process::id()), namespace: "/".to_owned() };
        let (mut node, _) = typed_node::create(&options)?;
        let topic = format!("{server}/connection_status");
        let mut statuses = node
            .subscribe::<ConnectionStatus>(&topic, QosProfile::default().keep_last(1).reliable().transient_local())
            .map_err(|error| failed(format!("subscribe to {topic}"), error))?;
        let (sender, status) = watch::channel(None);
        let task = runtime.spawn(async move {
            while let Some(message) = statuses.next().await {
                match convert::server_status(&message) {
                    Ok(status) => drop(sender.send_replace(Some(Arc::new(status)))),
                    Err(error) => tracing::warn!("{error}"),
                }
            }
        });
        Ok(AdminClient {
            open: desk::client(&mut node, &server)?,
            close: desk::client(&mut node, &server)?,
            export_csv: desk::client(&mut node, &server)?,
            list_clients: desk::client(&mut node, &server)?,
            disconnect_client: desk::client(&mut node, &server)?,
            server,
            status,
            _spinner: Spinner::start(node, SPIN, vec![task])?,
        })
    }

    /// Asks the exchange, waiting for it to appear and to answer for at most `patience`. The `now` of an export is the
    /// exchange's own.
    ///
    /// # Errors
    /// [`AskError::Ros`] if there is no such exchange or no answer, [`AskError::Refused`] if it says no.
    pub async fn ask(&self, request: AdminRequest, patience: Duration) -> Result<AdminReply, AskError> {
        let until = Instant::now() + patience;
        match request {
            AdminRequest::Open { address, port } => {
                let request = Open::Request { address: text(address.unwrap_or_default()), port: port.unwrap_or(0) };
                self.call(&self.open, request, until).await
            }
            AdminRequest::Close { reason } => {
                self.call(&self.close, Close::Request { reason: text(reason) }, until).await
            }
            AdminRequest::Export(export) => {
                let time = |wall: Option<Wall>| convert::time(wall.unwrap_or_default());
                let request = ExportCsv::Request {
                    table: export.table.as_str().to_owned(),
                    file_name: text(export.file_name),
                    start: time(export.start),
                    end: time(export.end),
                    overwrite: export.overwrite,
                };
                self.call(&self.export_csv, request, until).await
            }
            AdminRequest::ListClients { connected_only } => {
                self.call(&self.list_clients, ListClients::Request { connected_only }, until).await
            }
            AdminRequest::DisconnectClient { id, reason } => {
                let request = DisconnectClient::Request { id: id.as_str().to_owned(), reason: text(reason) };
                self.call(&self.disconnect_client, request, until).await
            }
        }
    }

    /// The latest status of the exchange, waiting for the first for at most `patience`.
    ///
    /// # Errors
    /// If none comes.
    pub async fn wait_for_status(&self, patience: Duration) -> Result<Arc<ServerStatus>, RosError> {
        let mut status = self.status.clone();
        let first = timeout_at(Instant::now() + patience, status.wait_for(Option::is_some)).await;
        match first {
            Ok(Ok(status)) => status.clone().ok_or_else(|| self.nobody()),
            _ => Err(self.nobody()),
        }
    }

    /// The status as it changes, `None` until the first has come.
    pub fn status(&self) -> watch::Receiver<Option<Arc<ServerStatus>>> {
        self.status.clone()
    }

    async fn call<S: DeskService>(
        &self,
        client: &Client<S>,
        request: S::Request,
        until: Instant,
    ) -> Result<S::Answered, AskError> {
        desk::call(client, &self.server, request, until, || self.nobody()).await
    }

    fn nobody(&self) -> RosError {
        let domain = std::env::var("ROS_DOMAIN_ID").unwrap_or_default();
        let domain = if domain.is_empty() { "0" } else { &domain };
        RosError::Timeout(format!(
            "no exchange answers as {} in ROS domain {domain}; start it with \"switchboard server\", or check its node \
             name, ROS_DOMAIN_ID and ROS_AUTOMATIC_DISCOVERY_RANGE",
            self.server
        ))
    }
}

fn text(text: String) -> String {
    convert::text(&text)
}

/// How long the node's thread sleeps at most: r2r looks for services only between two sleeps.
const SPIN: Duration = Duration::from_millis(10);
