//! What our typed r2r nodes have in common: a name, parameters, and a thread that spins.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
        mpsc::{Receiver, channel},
    },
    time::Duration,
};

use futures::FutureExt;
use r2r::{Node, Publisher, RosParams, diagnostic_msgs::msg::DiagnosticArray, switchboard::msg::Traffic};
use tokio::runtime::Handle;

use super::{
    convert, diagnostics,
    error::RosError,
    rcl::{c_string, check_arguments, last_error, one_at_a_time},
    teardown,
};
use crate::traffic::TrafficReport;

/// How a node appears in the graph, unless `--ros-args` say otherwise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeOptions {
    /// Node name.
    pub name: String,
    /// Namespace, `/` for none.
    pub namespace: String,
}

/// What a node is called after remapping.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Names {
    pub(super) name: String,
    pub(super) namespace: String,
    pub(super) full: String,
}

/// Creates a node in the context that all typed nodes of the process share, which takes the ROS arguments of the command
/// line.
pub(super) fn create(options: &NodeOptions) -> Result<(Node, Names), RosError> {
    // r2r panics on both.
    check_arguments()?;
    c_string("node name", &options.name)?;
    c_string("namespace", &options.namespace)?;
    one_at_a_time(|| {
        let action = || format!("create the ROS node {:?} in namespace {:?}", options.name, options.namespace);
        let context = r2r::Context::create().map_err(|error| failed("start ROS", error))?;
        let node = Node::create(context, &options.name, &options.namespace).map_err(|error| failed(action(), error))?;
        let names = Names {
            name: node.name().map_err(|error| failed(action(), error))?,
            namespace: node.namespace().map_err(|error| failed(action(), error))?,
            full: node.fully_qualified_name().map_err(|error| failed(action(), error))?,
        };
        Ok((node, names))
    })
}

/// An error of r2r with what was tried, and with the words of rcl, which r2r leaves out.
pub(super) fn failed(action: impl Into<String>, error: r2r::Error) -> RosError {
    let words = last_error(0);
    let reason = if words.starts_with("return code") { error.to_string() } else { format!("{error}: {words}") };
    RosError::Rcl { action: action.into(), reason }
}

/// Declares `parameters` on the node, with the overrides of the command line applied, and serves them on `runtime` until
/// the returned task is aborted.
pub(super) fn declare<P: RosParams + Send + 'static>(
    node: &mut Node,
    runtime: &Handle,
    parameters: &Arc<Mutex<P>>,
) -> Result<tokio::task::JoinHandle<()>, RosError> {
    let given: Vec<String> = lock(&node.params).keys().cloned().collect();
    let (serve, _changes) = node
        .make_derived_parameter_handler(parameters.clone())
        .map_err(|error| RosError::Parameter(error.to_string()))?;
    for name in given {
        let known = lock(parameters).get_parameter(&name).is_ok() || name == "use_sim_time";
        if !known && !name.starts_with("qos_overrides.") {
            tracing::warn!("there is no ROS parameter {name:?}: its value is not used");
        }
    }
    // r2r panics when it cannot answer a request. That must not go unnoticed.
    let serve = std::panic::AssertUnwindSafe(serve).catch_unwind();
    Ok(runtime.spawn(async move {
        if serve.await.is_err() {
            tracing::error!("the parameter services of this node failed; they no longer answer");
        }
    }))
}

/// Publishes `~/traffic`, and what was dropped since the last time to `/diagnostics`.
pub(super) fn publish_traffic(
    traffic: &Publisher<Traffic>,
    diagnostics: &Publisher<DiagnosticArray>,
    node: &str,
    report: &TrafficReport,
    memory: &mut diagnostics::Memory,
) -> Result<(), RosError> {
    traffic.publish(&convert::traffic_message(report)).map_err(|error| failed("publish the traffic", error))?;
    let array = diagnostics::of_traffic(node, report, memory);
    diagnostics.publish(&array).map_err(|error| failed("publish the diagnostics", error))
}

/// Locks r2r's mutexes, whose data stay whole if a holder panics.
pub(super) fn lock<T: ?Sized>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// The thread that owns a node. Dropping it ends the thread and takes the node off the graph.
pub(super) struct Spinner {
    stop: Arc<AtomicBool>,
    /// Its other end is dropped when the node is gone.
    done: parking_lot::Mutex<Receiver<()>>,
    /// Tasks that serve the node; they end before it does.
    tasks: Vec<tokio::task::JoinHandle<()>>,
}

impl Spinner {
    /// `period` is how long the thread sleeps at most when nothing comes, and so how long its end may take.
    pub(super) fn start(
        node: Node,
        period: Duration,
        tasks: Vec<tokio::task::JoinHandle<()>>,
    ) -> Result<Spinner, RosError> {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let (alive, done) = channel::<()>();
        std::thread::Builder::new()
            .name("ros-node".to_owned())
            .spawn(move || {
                // Dropped last, also when the thread panics.
                let _alive = alive;
                let mut node = node;
                while !stopped.load(Ordering::SeqCst) {
                    node.spin_once(period);
                }
            })
            .map_err(|error| RosError::Thread(error.to_string()))?;
        Ok(Spinner { stop, done: parking_lot::Mutex::new(done), tasks })
    }
}

impl Drop for Spinner {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
        self.stop.store(true, Ordering::SeqCst);
        teardown::wait_for("the ROS node", self.done.get_mut());
    }
}
