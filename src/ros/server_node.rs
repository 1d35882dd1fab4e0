//! The ROS node of the exchange: services, parameters, status, diagnostics, markers.

use std::{
    sync::{
        Arc, Mutex as StdMutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use futures::{Stream, StreamExt};
use parking_lot::Mutex;
use r2r::{
    Node, Publisher, QosProfile, ServiceRequest,
    diagnostic_msgs::msg::DiagnosticArray,
    switchboard::{
        msg::{ConnectionStatus, Traffic},
        srv::{Close, DisconnectClient, ExportCsv, ListClients, Open},
    },
    visualization_msgs::msg::MarkerArray,
};
use tokio::{
    runtime::Handle,
    sync::{mpsc, oneshot},
};

use super::{
    convert, diagnostics,
    error::RosError,
    markers,
    parameters::ServerParameters,
    services::AdminService,
    typed_node::{self, Names, NodeOptions, Spinner, failed, lock},
};
use crate::{
    admin::{AdminError, AdminReply, AdminRequest},
    defaults,
    status::ServerStatus,
    time::Wall,
    traffic::TrafficReport,
};

/// A request of an administrator, and where its answer goes.
pub type AdminQuery = (AdminRequest, oneshot::Sender<Result<AdminReply, AdminError>>);

/// The node. It serves until it is dropped, which has to happen before the program ends.
pub struct ServerNode {
    // First, so that the node is gone before what its tasks use.
    _spinner: Spinner,
    names: Names,
    parameters: Arc<StdMutex<ServerParameters>>,
    publishers: Mutex<Publishers>,
    desk: Arc<Desk>,
}

struct Publishers {
    status: Publisher<ConnectionStatus>,
    traffic: Publisher<Traffic>,
    diagnostics: Publisher<DiagnosticArray>,
    markers: Publisher<MarkerArray>,
    diagnosed: Option<Instant>,
    memory: diagnostics::Memory,
    shown: MarkerArray,
    shown_clients: usize,
}

/// Where the services hand in their requests.
struct Desk {
    requests: mpsc::Sender<AdminQuery>,
    /// Requests without an answer yet.
    pending: AtomicUsize,
    /// Whether the port should be open, as far as administrators and parameters say.
    wanted_open: AtomicBool,
}

impl ServerNode {
    /// Joins the ROS graph and starts to serve, on the tokio runtime that this is called in. `parameters` are the
    /// values that the ROS parameters are declared with.
    ///
    /// # Errors
    /// If ROS does not start, the ROS arguments of the command line are wrong, or a parameter has a wrong type.
    pub fn start(
        options: NodeOptions,
        parameters: ServerParameters,
        requests: mpsc::Sender<AdminQuery>,
    ) -> Result<ServerNode, RosError> {
        let runtime = Handle::try_current().map_err(|_| RosError::NoRuntime)?;
        let (mut node, names) = typed_node::create(&options)?;
        let parameters = Arc::new(StdMutex::new(parameters));
        let mut tasks = vec![typed_node::declare(&mut node, &runtime, &parameters)?];
        let desk = Arc::new(Desk {
            requests,
            pending: AtomicUsize::new(0),
            wanted_open: AtomicBool::new(lock(&parameters).open_on_start),
        });
        tasks.push(serve::<Open::Service>(&mut node, &names, &runtime, &desk)?);
        tasks.push(serve::<Close::Service>(&mut node, &names, &runtime, &desk)?);
        tasks.push(serve::<ExportCsv::Service>(&mut node, &names, &runtime, &desk)?);
        tasks.push(serve::<ListClients::Service>(&mut node, &names, &runtime, &desk)?);
        tasks.push(serve::<DisconnectClient::Service>(&mut node, &names, &runtime, &desk)?);
        let publishers = Mutex::new(Publishers::create(&mut node, &names)?);
        let spinner = Spinner::start(node, SPIN, tasks)?;
        Ok(ServerNode { _spinner: spinner, names, parameters, publishers, desk })
    }

    /// The parameters as they are now: overridden by the ROS arguments, and as changed since.
    pub fn parameters(&self) -> ServerParameters {
        lock(&self.parameters).clone()
    }

    /// Name after remapping.
    pub fn name(&self) -> &str {
        &self.names.name
    }

    /// Namespace after remapping, `/` for none.
    pub fn namespace(&self) -> &str {
        &self.names.namespace
    }

    /// Namespace and name.
    pub fn fully_qualified_name(&self) -> &str {
        &self.names.full
    }

    /// Publishes `~/connection_status`, `/diagnostics` at most once a second, and `~/markers` when they change.
    ///
    /// # Errors
    /// If the middleware refuses.
    pub fn publish_status(&self, status: &ServerStatus) -> Result<(), RosError> {
        let frame_id = match lock(&self.parameters).frame_id.as_str() {
            "" => defaults::FRAME_ID.to_owned(),
            frame_id => frame_id.to_owned(),
        };
        let mut publishers = self.publishers.lock();
        publishers
            .status
            .publish(&convert::server_message(status))
            .map_err(|error| failed("publish the connection status", error))?;
        publishers.show(status, &frame_id)?;
        publishers.diagnose(&self.names.name, status, self.desk.wanted_open.load(Ordering::Relaxed))
    }
}

impl ServerNode {
    /// Publishes `~/traffic`, and what was dropped since the last time to `/diagnostics`.
    ///
    /// # Errors
    /// If the middleware refuses.
    pub fn publish_traffic(&self, report: &TrafficReport) -> Result<(), RosError> {
        let mut publishers = self.publishers.lock();
        publishers
            .traffic
            .publish(&convert::traffic_message(report))
            .map_err(|error| failed("publish the traffic", error))?;
        let array = diagnostics::of_traffic(&self.names.name, report, &mut publishers.memory);
        publishers.diagnostics.publish(&array).map_err(|error| failed("publish the diagnostics", error))
    }
}

impl Drop for ServerNode {
    fn drop(&mut self) {
        // The answers that are on their way still find the node; once the exchange is gone, they come at once.
        let end = Instant::now() + LAST_ANSWERS;
        while self.desk.pending.load(Ordering::SeqCst) > 0 && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Publishers {
    fn create(node: &mut Node, names: &Names) -> Result<Publishers, RosError> {
        let latched = || QosProfile::default().keep_last(1).reliable().transient_local();
        let action = |topic: &str| format!("publish {topic}");
        let status = format!("{}/connection_status", names.full);
        let shown = format!("{}/markers", names.full);
        let traffic = format!("{}/traffic", names.full);
        Ok(Publishers {
            status: node.create_publisher(&status, latched()).map_err(|error| failed(action(&status), error))?,
            traffic: node
                .create_publisher(&traffic, QosProfile::default().keep_last(1))
                .map_err(|error| failed(action(&traffic), error))?,
            diagnostics: node
                .create_publisher("/diagnostics", QosProfile::default().keep_last(10))
                .map_err(|error| failed(action("/diagnostics"), error))?,
            markers: node.create_publisher(&shown, latched()).map_err(|error| failed(action(&shown), error))?,
            diagnosed: None,
            memory: diagnostics::Memory::default(),
            shown: MarkerArray { markers: Vec::new() },
            shown_clients: 0,
        })
    }

    fn show(&mut self, status: &ServerStatus, frame_id: &str) -> Result<(), RosError> {
        let markers = markers::of_clients(&status.clients, frame_id, self.shown_clients);
        if markers != self.shown {
            self.markers.publish(&markers).map_err(|error| failed("publish the markers", error))?;
            self.shown = markers;
            self.shown_clients = status.clients.len();
        }
        Ok(())
    }

    fn diagnose(&mut self, node: &str, status: &ServerStatus, wanted_open: bool) -> Result<(), RosError> {
        if self.diagnosed.is_some_and(|last| last.elapsed() < DIAGNOSTICS_PERIOD) {
            return Ok(());
        }
        self.diagnosed = Some(Instant::now());
        let array = diagnostics::of_exchange(node, status, wanted_open, &mut self.memory);
        self.diagnostics.publish(&array).map_err(|error| failed("publish the diagnostics", error))
    }
}

/// Offers a service and answers its requests, each in a task of its own.
fn serve<S: AdminService>(
    node: &mut Node,
    names: &Names,
    runtime: &Handle,
    desk: &Arc<Desk>,
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

async fn answer_all<S: AdminService>(mut requests: impl Stream<Item = ServiceRequest<S>> + Unpin, desk: Arc<Desk>)
where
    S::Request: Send,
    S::Response: Send,
{
    while let Some(request) = requests.next().await {
        let desk = desk.clone();
        let pending = desk.pending.fetch_add(1, Ordering::SeqCst);
        // r2r holds only a few requests and drops the rest, so this loop must not wait.
        tokio::spawn(async move {
            let outcome = match S::request(&request.message, wall_now()) {
                Ok(_) if pending >= defaults::ADMIN_PENDING_MAX => Err(AdminError(BUSY.to_owned())),
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

impl Desk {
    async fn ask(&self, request: AdminRequest) -> Result<AdminReply, AdminError> {
        let (sender, answer) = oneshot::channel();
        self.requests.try_send((request, sender)).map_err(|error| {
            AdminError(match error {
                mpsc::error::TrySendError::Full(_) => BUSY.to_owned(),
                mpsc::error::TrySendError::Closed(_) => STOPPING.to_owned(),
            })
        })?;
        let reply = match tokio::time::timeout(defaults::ADMIN_TIMEOUT, answer).await {
            Ok(Ok(outcome)) => outcome?,
            Ok(Err(_)) => return Err(AdminError(STOPPING.to_owned())),
            Err(_) => {
                let seconds = defaults::ADMIN_TIMEOUT.as_secs();
                return Err(AdminError(format!("the exchange did not answer within {seconds} s; see its log")));
            }
        };
        match reply {
            AdminReply::Opened(_) => self.wanted_open.store(true, Ordering::Relaxed),
            AdminReply::Closed { .. } => self.wanted_open.store(false, Ordering::Relaxed),
            _ => {}
        }
        Ok(reply)
    }
}

const BUSY: &str = "the exchange is busy with other requests; try again";
const STOPPING: &str = "the exchange is stopping";
/// How long the node's thread sleeps at most. Requests wake it.
const SPIN: Duration = Duration::from_millis(100);
/// How long the end of the node waits for answers that are on their way.
const LAST_ANSWERS: Duration = Duration::from_millis(500);
/// Shortest time between two diagnostics: a little less than a second, so that a status that comes once a second always
/// passes.
const DIAGNOSTICS_PERIOD: Duration = Duration::from_millis(900);

fn wall_now() -> Wall {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Wall(i64::try_from(since.as_nanos()).unwrap_or(i64::MAX))
}
