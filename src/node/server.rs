//! The server program: the exchange and its ROS side.

use std::{path::PathBuf, sync::Arc};

use anyhow::Context as _;
use tokio::sync::{mpsc, watch};

use super::{
    exchange::{self, AdminQuery},
    signals::asked_to_stop,
};
use crate::{config::ServerConfig, net::now, ros::ServerNode, status::ServerStatus, store::Store};

/// Runs the exchange until the program is asked to stop. `node` is its ROS node, whose parameters made `config`;
/// `admin` is where the node's services put their requests.
///
/// # Errors
/// If the registry cannot be opened or closed.
pub async fn run(config: ServerConfig, node: ServerNode, admin: mpsc::Receiver<AdminQuery>) -> anyhow::Result<()> {
    let store = open_store(config.database.clone()).await?;
    let (status_sender, status) = watch::channel(Arc::new(ServerStatus {
        stamp: now().wall,
        endpoint: None,
        closed_reason: "not opened yet".to_owned(),
        clients: Vec::new(),
        refused: 0,
        suppressed: 0,
    }));
    let publishing = tokio::spawn(publish(node, status));
    exchange::run(&config, store.handle(), admin, status_sender, asked_to_stop()).await;
    // The last status, with everybody OFF, is out when this ends: the sender is gone.
    publishing.await.context("the ROS side failed")?;
    tokio::task::spawn_blocking(|| store.close()).await?.context("the registry could not be closed in order")
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
async fn publish(node: ServerNode, mut status: watch::Receiver<Arc<ServerStatus>>) {
    while status.changed().await.is_ok() {
        let latest = Arc::clone(&status.borrow_and_update());
        if let Err(error) = node.publish_status(&latest) {
            tracing::warn!("the status could not be published: {error}");
        }
    }
}
