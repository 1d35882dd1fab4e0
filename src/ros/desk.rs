//! Services whose requests are answered by the loop of their program, at both ends.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use futures::{Stream, StreamExt};
use r2r::{Client, Node, QosProfile, ServiceRequest, WrappedServiceTypeSupport};
use tokio::{
    runtime::Handle,
    sync::{mpsc, oneshot},
    time::timeout_at,
};

use super::{
    admin_client::AskError,
    error::RosError,
    typed_node::{Names, failed},
};
use crate::{admin::AdminError, defaults, time::Wall};

/// A request, and where its answer goes.
pub(super) type Query<Q, A> = (Q, oneshot::Sender<Result<A, AdminError>>);

/// A service of `srv/`, and the requests and answers in our words that it stands for.
pub(super) trait DeskService: WrappedServiceTypeSupport + 'static {
    /// Requests in our words.
    type Asked: Send + 'static;
    /// Answers in our words.
    type Answered: Send + 'static;
    /// Last part of its name.
    const NAME: &'static str;

    /// At the server: what is asked for, or why it cannot be.
    fn request(message: &Self::Request, now: Wall) -> Result<Self::Asked, AdminError>;

    /// At the server: the answer.
    fn response(outcome: Result<Self::Answered, AdminError>) -> Self::Response;

    /// At the client: the answer in our words.
    fn reply(response: Self::Response) -> Result<Result<Self::Answered, AdminError>, RosError>;
}

/// Where the services of a node hand in their requests.
pub(super) struct Desk<Q, A> {
    requests: mpsc::Sender<Query<Q, A>>,
    /// Requests without an answer yet.
    pending: AtomicUsize,
    /// Who answers, for messages.
    who: &'static str,
    /// Hears of every good answer.
    answered: Box<dyn Fn(&A) + Send + Sync>,
}

impl<Q, A> Desk<Q, A> {
    pub(super) fn new(
        requests: mpsc::Sender<Query<Q, A>>,
        who: &'static str,
        answered: impl Fn(&A) + Send + Sync + 'static,
    ) -> Arc<Self> {
        Arc::new(Desk { requests, pending: AtomicUsize::new(0), who, answered: Box::new(answered) })
    }

    /// Blocks for a moment while answers are on their way, so that they still find the node. Once the program's loop is
    /// gone, they come at once.
    pub(super) fn wait_for_last_answers(&self) {
        let end = Instant::now() + LAST_ANSWERS;
        while self.pending.load(Ordering::SeqCst) > 0 && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    async fn ask(&self, request: Q) -> Result<A, AdminError> {
        let (sender, answer) = oneshot::channel();
        self.requests.try_send((request, sender)).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => self.busy(),
            mpsc::error::TrySendError::Closed(_) => self.stopping(),
        })?;
        let reply = match tokio::time::timeout(defaults::ADMIN_TIMEOUT, answer).await {
            Ok(Ok(outcome)) => outcome?,
            Ok(Err(_)) => return Err(self.stopping()),
            Err(_) => {
                let seconds = defaults::ADMIN_TIMEOUT.as_secs();
                return Err(AdminError(format!("{} did not answer within {seconds} s; see its log", self.who)));
            }
        };
        (self.answered)(&reply);
        Ok(reply)
    }

    fn busy(&self) -> AdminError {
        AdminError(format!("{} is busy with other requests; try again", self.who))
    }

    fn stopping(&self) -> AdminError {
        AdminError(format!("{} is stopping", self.who))
    }
}

/// Offers a service and answers its requests, each in a task of its own.
pub(super) fn serve<S: DeskService>(
    node: &mut Node,
    names: &Names,
    runtime: &Handle,
    desk: &Arc<Desk<S::Asked, S::Answered>>,
) -> Result<tokio::task::JoinHandle<()>, RosError>
where
    S::Request: Send,
    S::Response: Send,
{
    let name = format!("{}/{}", names.full, S::NAME);
    let requests = node
        .create_service::<S>(&name, QosProfile::services_default())
        .map_err(|error| failed(format!("offer the service {name}"), error))?;
    Ok(runtime.spawn(answer_all(requests, desk.clone())))
}

async fn answer_all<S: DeskService>(
    mut requests: impl Stream<Item = ServiceRequest<S>> + Unpin,
    desk: Arc<Desk<S::Asked, S::Answered>>,
) where
    S::Request: Send,
    S::Response: Send,
{
    while let Some(request) = requests.next().await {
        let desk = desk.clone();
        let pending = desk.pending.fetch_add(1, Ordering::SeqCst);
        // r2r holds only a few requests and drops the rest, so this loop must not wait.
        tokio::spawn(async move {
            let outcome = match S::request(&request.message, wall_now()) {
                Ok(_) if pending >= defaults::ADMIN_PENDING_MAX => Err(desk.busy()),
                Ok(asked) => desk.ask(asked).await,
                Err(error) => Err(error),
            };
            if let Err(error) = &outcome {
                tracing::info!(service = S::NAME, "refused: {error}");
            }
            if let Err(error) = request.respond(S::response(outcome)) {
                tracing::warn!(service = S::NAME, "the answer could not be sent: {}", failed("answer", error));
            }
            desk.pending.fetch_sub(1, Ordering::SeqCst);
        });
    }
}

/// A client of the service of `server`, the full name of a node.
pub(super) fn client<S: DeskService>(node: &mut Node, server: &str) -> Result<Client<S>, RosError> {
    let name = format!("{server}/{}", S::NAME);
    node.create_client::<S>(&name, QosProfile::services_default())
        .map_err(|error| failed(format!("make a client of {name}"), error))
}

/// Calls a service of `server`, waiting for it to appear and to answer until `until`. `nobody` says that it is not there.
pub(super) async fn call<S: DeskService>(
    client: &Client<S>,
    server: &str,
    request: S::Request,
    until: tokio::time::Instant,
    nobody: impl FnOnce() -> RosError,
) -> Result<S::Answered, AskError> {
    let service = format!("{server}/{}", S::NAME);
    let calling = |error| failed(format!("call {service}"), error);
    let there = Node::is_available(client).map_err(calling)?;
    timeout_at(until, there).await.map_err(|_| nobody())?.map_err(calling)?;
    let answer = client.request(&request).map_err(calling)?;
    let response = timeout_at(until, answer)
        .await
        .map_err(|_| RosError::Timeout(format!("{service} is there but did not answer in time; see its log")))?
        .map_err(calling)?;
    Ok(S::reply(response)??)
}

/// How long the end of a node waits for answers that are on their way.
const LAST_ANSWERS: Duration = Duration::from_millis(500);

fn wall_now() -> Wall {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Wall(i64::try_from(since.as_nanos()).unwrap_or(i64::MAX))
}
