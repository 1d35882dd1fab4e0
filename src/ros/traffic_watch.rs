//! The traffic of a node as it tells it, for the command line.

use std::{sync::Arc, time::Duration};

use futures::StreamExt;
use r2r::{QosProfile, switchboard::msg::Traffic};
use tokio::{runtime::Handle, sync::watch, time::timeout};

use super::{
    convert,
    error::RosError,
    typed_node::{self, NodeOptions, Spinner, failed},
};
use crate::traffic::TrafficReport;

/// Listens to `~/traffic` of a node.
pub struct TrafficWatch {
    _spinner: Spinner,
    topic: String,
    reports: watch::Receiver<Option<Arc<TrafficReport>>>,
}

impl TrafficWatch {
    /// Joins the ROS graph with a hidden node, on the tokio runtime that this is called in. `node` is the name of a server's
    /// or client's node, such as `/switchboard`.
    ///
    /// # Errors
    /// If ROS does not start or the name is none.
    pub fn connect(node: &str) -> Result<TrafficWatch, RosError> {
        let runtime = Handle::try_current().map_err(|_| RosError::NoRuntime)?;
        let topic = format!("/{}/traffic", node.trim_matches('/'));
        let options =
            NodeOptions { name: format!("_switchboard_cli_{}", std::process::id()), namespace: "/".to_owned() };
        let (mut node, _) = typed_node::create(&options)?;
        let mut messages = node
            .subscribe::<Traffic>(&topic, QosProfile::default().keep_last(1))
            .map_err(|error| failed(format!("subscribe to {topic}"), error))?;
        let (sender, reports) = watch::channel(None);
        let task = runtime.spawn(async move {
            while let Some(message) = messages.next().await {
                match convert::traffic_report(&message) {
                    Ok(report) => drop(sender.send_replace(Some(Arc::new(report)))),
                    Err(error) => tracing::warn!("{error}"),
                }
            }
        });
        Ok(TrafficWatch { _spinner: Spinner::start(node, SPIN, vec![task])?, topic, reports })
    }

    /// The next report, waiting for it for at most `patience`.
    ///
    /// # Errors
    /// [`RosError::Timeout`] if none comes.
    pub async fn next(&mut self, patience: Duration) -> Result<Arc<TrafficReport>, RosError> {
        let nobody = || RosError::Timeout(format!("nobody publishes {}", self.topic));
        timeout(patience, self.reports.changed()).await.map_err(|_| nobody())?.map_err(|_| nobody())?;
        self.reports.borrow_and_update().clone().ok_or_else(nobody)
    }
}

/// How long the node's thread sleeps at most.
const SPIN: Duration = Duration::from_millis(50);
