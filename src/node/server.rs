//! The server program: the exchange and its ROS side.

use std::{path::PathBuf, sync::Arc};

use anyhow::Context as _;
use tokio::sync::{mpsc, watch};

use super::{
    exchange::{self, AdminQuery},
    parameters::{raw_server, server_defaults},
    signals::asked_to_stop,
};
use crate::{
    admin::{AdminError, AdminRequest},
    config::{Environment, ServerConfig, flags::ServerFlags},
    net::now,
    ros::{NodeOptions, ServerNode},
    status::ServerStatus,
    store::Store,
    traffic::TrafficReport,
};

/// Name of the node, unless it is remapped.
pub const NODE_NAME: &str = "switchboard";

/// Runs the exchange until the program is asked to stop.
///
/// # Errors
/// If ROS does not start, a setting cannot be used, or the registry cannot be opened or closed.
pub async fn run(flags: ServerFlags) -> anyhow::Result<()> {
    let (from_services, requests) = mpsc::channel(REQUESTS);
    let (to_exchange, admin) = mpsc::channel(REQUESTS);
    let options = NodeOptions { name: NODE_NAME.to_owned(), namespace: "/".to_owned() };
    let node = Arc::new(ServerNode::start(options, server_defaults(), from_services)?);
    let environment = Environment::of_this_process();
    let config = ServerConfig::new(&flags, &raw_server(node.parameters()), &environment)?;
    let store = open_store(config.database.clone()).await?;
    tracing::info!(
        node = node.fully_qualified_name(),
        registry = %config.database.display(),
        exports = %config.export_directory.display(),
        "the exchange starts"
    );
    let (status_sender, status) = watch::channel(Arc::new(ServerStatus {
        stamp: now().wall,
        endpoint: None,
        closed_reason: "not opened yet".to_owned(),
        clients: Vec::new(),
        refused: 0,
        suppressed: 0,
    }));
    let (traffic_sender, traffic) = watch::channel(Arc::default());
    let publishing = tokio::spawn(publish(Arc::clone(&node), status));
    let publishing_traffic = tokio::spawn(publish_traffic(Arc::clone(&node), traffic));
    let settling = tokio::spawn(settle_requests(node, flags, environment, requests, to_exchange));
    exchange::run(&config, store.handle(), admin, status_sender, traffic_sender, asked_to_stop()).await;
    // The last status, with everybody OFF, is out when this ends: the sender is gone.
    publishing.await.context("the ROS side failed")?;
    publishing_traffic.await.context("the ROS side failed")?;
    settling.abort();
    tokio::task::spawn_blocking(|| store.close()).await?.context("the registry could not be closed in order")
}

/// Requests of administrators that may wait; the ROS services answer "busy" beyond it.
const REQUESTS: usize = 16;

/// Hands the requests of the ROS services to the exchange. Parameters may have been changed since the start, and an open
/// request without an address or port means their present values.
async fn settle_requests(
    node: Arc<ServerNode>,
    flags: ServerFlags,
    environment: Environment,
    mut requests: mpsc::Receiver<AdminQuery>,
    exchange: mpsc::Sender<AdminQuery>,
) {
    while let Some((request, reply)) = requests.recv().await {
        let request = match request {
            AdminRequest::Open { address, port } => {
                match ServerConfig::new(&flags, &raw_server(node.parameters()), &environment) {
                    Ok(config) => AdminRequest::Open {
                        address: Some(address.unwrap_or(config.address)),
                        port: Some(port.unwrap_or(config.port)),
                    },
                    Err(error) => {
                        // Whoever asked may have gone.
                        let _ = reply.send(Err(AdminError(error.to_string())));
                        continue;
                    }
                }
            }
            other => other,
        };
        if exchange.send((request, reply)).await.is_err() {
            return;
        }
    }
}

async fn open_store(database: PathBuf) -> anyhow::Result<Store> {
    let store = tokio::task::spawn_blocking(move || Store::open(&database, now().wall)).await??;
    if store.sessions_repaired() > 0 {
        tracing::warn!(
            "{} sessions were open when the server stopped last time, and were closed",
            store.sessions_repaired()
        );
    }
    Ok(store)
}

/// Publishes every new status until there will be no more.
async fn publish(node: Arc<ServerNode>, mut status: watch::Receiver<Arc<ServerStatus>>) {
    while status.changed().await.is_ok() {
        let latest = Arc::clone(&status.borrow_and_update());
        if let Err(error) = node.publish_status(&latest) {
            tracing::warn!("the status could not be published: {error}");
        }
    }
}

/// Publishes the traffic until there will be no more.
async fn publish_traffic(node: Arc<ServerNode>, mut traffic: watch::Receiver<Arc<TrafficReport>>) {
    while traffic.changed().await.is_ok() {
        let latest = Arc::clone(&traffic.borrow_and_update());
        if let Err(error) = node.publish_traffic(&latest) {
            tracing::warn!("the traffic could not be published: {error}");
        }
    }
}
