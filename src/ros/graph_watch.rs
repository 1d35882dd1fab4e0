//! The thread that watches the graph. It is apart from the one that takes samples, so that a burst of changes in a large
//! graph, which costs milliseconds to read, does not hold samples up.

use std::{
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use tokio::sync::mpsc::{self, error::TrySendError};

use super::{
    bridge::{BridgeEvent, Shared},
    graph,
    rcl::Node,
    service_graph::ServerTypes,
    wait_set::{Endpoints, Ready, WaitSet},
};
use crate::{defaults, routes::graph::LocalGraph};

/// Sends a snapshot after the start and after each change.
pub(super) struct GraphWatch {
    shared: Arc<Shared>,
    events: mpsc::Sender<BridgeEvent>,
    node: Arc<Node>,
    waits: WaitSet,
    server_types: ServerTypes,
    sent: Option<LocalGraph>,
    failures: u32,
}

/// What the next turn has to do.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Next {
    /// Wait for a change.
    Wait,
    /// Look once more at this time.
    LookAt(Instant),
    /// Stop: nobody listens any more.
    End,
}

impl GraphWatch {
    pub(super) fn new(
        shared: Arc<Shared>,
        events: mpsc::Sender<BridgeEvent>,
        node: Arc<Node>,
        waits: WaitSet,
    ) -> GraphWatch {
        GraphWatch { shared, events, node, waits, server_types: ServerTypes::default(), sent: None, failures: 0 }
    }

    /// Runs until the bridge stops, nobody listens, or ROS fails again and again.
    pub(super) fn run(mut self) {
        let mut ready = Ready::default();
        let mut next = Next::LookAt(Instant::now() + defaults::GRAPH_SETTLE);
        while next != Next::End && !self.shared.stop.load(Ordering::SeqCst) {
            let now = Instant::now();
            let timeout = match next {
                Next::LookAt(due) => due.saturating_duration_since(now),
                _ => LOOK_UP,
            };
            if timeout.is_zero() {
                next = self.look();
                continue;
            }
            match self.waits.wait(Endpoints::default(), timeout, &mut ready) {
                // A change while one is settling changes nothing: both are in the snapshot.
                Ok(()) if ready.graph && next == Next::Wait => {
                    next = Next::LookAt(Instant::now() + defaults::GRAPH_SETTLE);
                }
                Ok(()) => {}
                Err(error) => next = self.failed(&error.to_string()),
            }
        }
    }

    fn look(&mut self) -> Next {
        let graph = match graph::snapshot(&self.node, &self.shared.ownership, &mut self.server_types) {
            Ok(graph) => graph,
            Err(error) => return self.failed(&error.to_string()),
        };
        self.failures = 0;
        if self.sent.as_ref() == Some(&graph) {
            return Next::Wait;
        }
        match self.events.try_send(BridgeEvent::Graph(graph.clone())) {
            Ok(()) => {
                self.sent = Some(graph);
                Next::Wait
            }
            // By then there may be a newer one.
            Err(TrySendError::Full(_)) => Next::LookAt(Instant::now() + RETRY),
            Err(TrySendError::Closed(_)) => Next::End,
        }
    }

    fn failed(&mut self, reason: &str) -> Next {
        self.failures += 1;
        if self.failures == 1 {
            tracing::warn!(reason, "the ROS graph cannot be read");
        }
        if self.failures < defaults::ROS_FAILURES_MAX {
            return Next::LookAt(Instant::now() + RETRY);
        }
        tracing::error!(reason, "the ROS bridge gives the graph up");
        let mut event = BridgeEvent::Failed { reason: reason.to_owned() };
        while !self.shared.stop.load(Ordering::SeqCst) {
            match self.events.try_send(event) {
                Err(TrySendError::Full(again)) => event = again,
                _ => break,
            }
            std::thread::sleep(RETRY);
        }
        Next::End
    }
}

/// How often the thread looks up without being woken. Everything wakes it; this is for the case that a wake-up fails.
const LOOK_UP: Duration = Duration::from_secs(1);
/// Pause before something that was refused is tried again.
const RETRY: Duration = Duration::from_millis(20);
