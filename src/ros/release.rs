//! `~/release_topic`: lets go of a topic that one client commands alone.

use futures::{Stream, StreamExt};
use r2r::{Node, QosProfile, ServiceRequest, switchboard::srv::ReleaseTopic};
use tokio::{
    runtime::Handle,
    sync::{mpsc, oneshot},
};

use super::{
    error::RosError,
    typed_node::{Names, failed},
};
use crate::{defaults, ids::ClientId};

/// The local name of a topic that is to be let go, and where the answer goes: who held it, or why nobody let go.
pub type ReleaseQuery = (String, oneshot::Sender<Result<ClientId, String>>);

/// Offers the service. What is asked comes out of the receiver.
pub(super) fn serve(
    node: &mut Node,
    names: &Names,
    runtime: &Handle,
) -> Result<(tokio::task::JoinHandle<()>, mpsc::Receiver<ReleaseQuery>), RosError> {
    let name = format!("{}/release_topic", names.full);
    let requests = node
        .create_service::<ReleaseTopic::Service>(&name, QosProfile::services_default())
        .map_err(|error| failed(format!("offer the service {name}"), error))?;
    let (sender, queries) = mpsc::channel(defaults::ADMIN_PENDING_MAX);
    Ok((runtime.spawn(answer_all(requests, sender)), queries))
}

async fn answer_all(
    mut requests: impl Stream<Item = ServiceRequest<ReleaseTopic::Service>> + Unpin,
    queries: mpsc::Sender<ReleaseQuery>,
) {
    while let Some(request) = requests.next().await {
        // r2r holds only a few requests and drops the rest, so this loop must not wait.
        let (sender, answer) = oneshot::channel();
        let asked = queries.try_send((request.message.topic.clone(), sender));
        tokio::spawn(async move {
            let outcome = match asked {
                Ok(()) => answer.await.unwrap_or_else(|_| Err(STOPPING.to_owned())),
                Err(mpsc::error::TrySendError::Full(_)) => Err(BUSY.to_owned()),
                Err(mpsc::error::TrySendError::Closed(_)) => Err(STOPPING.to_owned()),
            };
            let response = match outcome {
                Ok(holder) => {
                    ReleaseTopic::Response { success: true, message: String::new(), holder: holder.as_str().to_owned() }
                }
                Err(message) => ReleaseTopic::Response { success: false, message, holder: String::new() },
            };
            if let Err(error) = request.respond(response) {
                tracing::warn!("the answer to ~/release_topic could not be sent: {}", failed("answer", error));
            }
        });
    }
}

const BUSY: &str = "the client is busy with other requests; try again";
const STOPPING: &str = "the client is stopping";
