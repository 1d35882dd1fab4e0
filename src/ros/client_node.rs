//! The typed ROS node of a robot or an operator: parameters, the state of its line, the client table, diagnostics.

use std::{
    sync::{Arc, Mutex as StdMutex},
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use r2r::{
    Publisher, QosProfile,
    diagnostic_msgs::msg::DiagnosticArray,
    switchboard::{
        msg::{Clients, Connection, Traffic},
        srv::{AddRule, ListRoutes, ReleaseTopic, RemoveRule},
    },
};
use tokio::{runtime::Handle, sync::mpsc};

use super::{
    convert,
    desk::{Desk, serve},
    diagnostics,
    error::RosError,
    parameters::{ClientParameters, OperatorParameters, RobotParameters},
    route_services::RouteQuery,
    typed_node::{self, Names, NodeOptions, Spinner, failed, lock},
};
use crate::{
    routes::{RouteReply, RouteRequest},
    status::{ClientStatus, LineStatus},
    time::Wall,
    traffic::TrafficReport,
};

/// The node. It serves until it is dropped, which has to happen before the program ends.
pub struct ClientNode {
    // First, so that the node is gone before what its tasks use.
    _spinner: Spinner,
    names: Names,
    parameters: Declared,
    publishers: Mutex<Publishers>,
    desk: Arc<Desk<RouteRequest, RouteReply>>,
}

enum Declared {
    Robot(Arc<StdMutex<RobotParameters>>),
    Operator(Arc<StdMutex<OperatorParameters>>),
}

struct Publishers {
    connection: Publisher<Connection>,
    clients: Publisher<Clients>,
    traffic: Publisher<Traffic>,
    diagnostics: Publisher<DiagnosticArray>,
    diagnosed: Option<(Instant, bool)>,
    memory: diagnostics::Memory,
}

impl ClientNode {
    /// Joins the ROS graph and starts to serve, on the tokio runtime that this is called in. `parameters` are the values
    /// that the ROS parameters are declared with; `requests` takes what is asked about routes and rules.
    ///
    /// # Errors
    /// If ROS does not start, the ROS arguments of the command line are wrong, or a parameter has a wrong type.
    pub fn start(
        options: NodeOptions,
        parameters: ClientParameters,
        requests: mpsc::Sender<RouteQuery>,
    ) -> Result<ClientNode, RosError> {
        let runtime = Handle::try_current().map_err(|_| RosError::NoRuntime)?;
        let (mut node, names) = typed_node::create(&options)?;
        let (parameters, task) = if parameters.kind.is_some() {
            let declared = Arc::new(StdMutex::new(OperatorParameters::from(parameters)));
            let task = typed_node::declare(&mut node, &runtime, &declared)?;
            (Declared::Operator(declared), task)
        } else {
            let declared = Arc::new(StdMutex::new(RobotParameters::from(parameters)));
            let task = typed_node::declare(&mut node, &runtime, &declared)?;
            (Declared::Robot(declared), task)
        };
        let latched = || QosProfile::default().keep_last(1).reliable().transient_local();
        let action = |topic: &str| format!("publish {topic}");
        let connection = format!("{}/connection", names.full);
        let clients = format!("{}/clients", names.full);
        let traffic = format!("{}/traffic", names.full);
        let publishers = Mutex::new(Publishers {
            connection: node
                .create_publisher(&connection, latched())
                .map_err(|error| failed(action(&connection), error))?,
            clients: node.create_publisher(&clients, latched()).map_err(|error| failed(action(&clients), error))?,
            traffic: node
                .create_publisher(&traffic, QosProfile::default().keep_last(1))
                .map_err(|error| failed(action(&traffic), error))?,
            diagnostics: node
                .create_publisher("/diagnostics", QosProfile::default().keep_last(10))
                .map_err(|error| failed(action("/diagnostics"), error))?,
            diagnosed: None,
            memory: diagnostics::Memory::default(),
        });
        let desk = Desk::new(requests, "this client", |_| {});
        let tasks = vec![
            task,
            serve::<ListRoutes::Service>(&mut node, &names, &runtime, &desk)?,
            serve::<AddRule::Service>(&mut node, &names, &runtime, &desk)?,
            serve::<RemoveRule::Service>(&mut node, &names, &runtime, &desk)?,
            serve::<ReleaseTopic::Service>(&mut node, &names, &runtime, &desk)?,
        ];
        let spinner = Spinner::start(node, SPIN, tasks)?;
        Ok(ClientNode { _spinner: spinner, names, parameters, publishers, desk })
    }

    /// The parameters as they are now: overridden by the ROS arguments, and as changed since.
    pub fn parameters(&self) -> ClientParameters {
        match &self.parameters {
            Declared::Robot(parameters) => lock(parameters).clone().into(),
            Declared::Operator(parameters) => lock(parameters).clone().into(),
        }
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

    /// Publishes `~/traffic`, and what was dropped since the last time to `/diagnostics`.
    ///
    /// # Errors
    /// If the middleware refuses.
    pub fn publish_traffic(&self, report: &TrafficReport) -> Result<(), RosError> {
        let Publishers { traffic, diagnostics, memory, .. } = &mut *self.publishers.lock();
        typed_node::publish_traffic(traffic, diagnostics, &self.names.name, report, memory)
    }

    /// Publishes `~/connection`, and `/diagnostics` at most once a second, or at once when the line comes or goes.
    ///
    /// # Errors
    /// If the middleware refuses.
    pub fn publish_connection(&self, line: &LineStatus) -> Result<(), RosError> {
        let mut publishers = self.publishers.lock();
        publishers
            .connection
            .publish(&convert::line_message(line))
            .map_err(|error| failed("publish the state of the line", error))?;
        let settled = publishers
            .diagnosed
            .is_some_and(|(at, connected)| connected == line.connected && at.elapsed() < DIAGNOSTICS_PERIOD);
        if settled {
            return Ok(());
        }
        publishers.diagnosed = Some((Instant::now(), line.connected));
        let array = diagnostics::of_line(&self.names.name, line, &mut publishers.memory);
        publishers.diagnostics.publish(&array).map_err(|error| failed("publish the diagnostics", error))
    }

    /// Publishes `~/clients`.
    ///
    /// # Errors
    /// If the middleware refuses.
    pub fn publish_clients(&self, clients: &[ClientStatus], stamp: Wall) -> Result<(), RosError> {
        self.publishers
            .lock()
            .clients
            .publish(&convert::clients_message(clients, stamp))
            .map_err(|error| failed("publish the client table", error))
    }
}

impl Drop for ClientNode {
    fn drop(&mut self) {
        self.desk.wait_for_last_answers();
    }
}

/// How long the node's thread sleeps at most. Requests wake it.
const SPIN: Duration = Duration::from_millis(100);
/// Shortest time between two diagnostics: a little less than a second, so that a status that comes once a second always
/// passes.
const DIAGNOSTICS_PERIOD: Duration = Duration::from_millis(900);
