//! The ROS node of the exchange: services, parameters, status, diagnostics, markers.

use std::{
    sync::{
        Arc, Mutex as StdMutex,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use r2r::{
    Node, Publisher, QosProfile,
    diagnostic_msgs::msg::DiagnosticArray,
    switchboard::{
        msg::{ConnectionStatus, Traffic},
        srv::{Close, DisconnectClient, ExportCsv, ListClients, Open},
    },
    visualization_msgs::msg::MarkerArray,
};
use tokio::{runtime::Handle, sync::mpsc};

use super::{
    convert,
    desk::{Desk, Query, serve},
    diagnostics,
    error::RosError,
    markers,
    parameters::ServerParameters,
    typed_node::{self, Names, NodeOptions, Spinner, failed, lock},
};
use crate::{
    admin::{AdminReply, AdminRequest},
    defaults,
    status::ServerStatus,
    traffic::TrafficReport,
};

/// A request of an administrator, and where its answer goes.
pub type AdminQuery = Query<AdminRequest, AdminReply>;

/// The node. It serves until it is dropped, which has to happen before the program ends.
pub struct ServerNode {
    // First, so that the node is gone before what its tasks use.
    _spinner: Spinner,
    names: Names,
    parameters: Arc<StdMutex<ServerParameters>>,
    publishers: Mutex<Publishers>,
    desk: Arc<Desk<AdminRequest, AdminReply>>,
    /// Whether the port should be open, as far as administrators and parameters say.
    wanted_open: Arc<AtomicBool>,
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
        let wanted_open = Arc::new(AtomicBool::new(lock(&parameters).open_on_start));
        let wanted = wanted_open.clone();
        let desk = Desk::new(requests, "the exchange", move |reply: &AdminReply| match reply {
            AdminReply::Opened(_) => wanted.store(true, Ordering::Relaxed),
            AdminReply::Closed { .. } => wanted.store(false, Ordering::Relaxed),
            _ => {}
        });
        tasks.push(serve::<Open::Service>(&mut node, &names, &runtime, &desk)?);
        tasks.push(serve::<Close::Service>(&mut node, &names, &runtime, &desk)?);
        tasks.push(serve::<ExportCsv::Service>(&mut node, &names, &runtime, &desk)?);
        tasks.push(serve::<ListClients::Service>(&mut node, &names, &runtime, &desk)?);
        tasks.push(serve::<DisconnectClient::Service>(&mut node, &names, &runtime, &desk)?);
        let publishers = Mutex::new(Publishers::create(&mut node, &names)?);
        let spinner = Spinner::start(node, SPIN, tasks)?;
        Ok(ServerNode { _spinner: spinner, names, parameters, publishers, desk, wanted_open })
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
        publishers.diagnose(&self.names.name, status, self.wanted_open.load(Ordering::Relaxed))
    }
}

impl ServerNode {
    /// Publishes `~/traffic`, and what was dropped since the last time to `/diagnostics`.
    ///
    /// # Errors
    /// If the middleware refuses.
    pub fn publish_traffic(&self, report: &TrafficReport) -> Result<(), RosError> {
        let Publishers { traffic, diagnostics, memory, .. } = &mut *self.publishers.lock();
        typed_node::publish_traffic(traffic, diagnostics, &self.names.name, report, memory)
    }
}

impl Drop for ServerNode {
    fn drop(&mut self) {
        self.desk.wait_for_last_answers();
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

/// How long the node's thread sleeps at most. Requests wake it.
const SPIN: Duration = Duration::from_millis(100);
/// Shortest time between two diagnostics: a little less than a second, so that a status that comes once a second always
/// passes.
const DIAGNOSTICS_PERIOD: Duration = Duration::from_millis(900);
