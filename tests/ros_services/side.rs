//! One bridge with everything that it has told.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use bytes::Bytes;
use switchboard::{
    ids::{CallId, CallerId, ServerId},
    ros::{Bridge, BridgeEvent, BridgeOptions, RequestId, Sample},
    routes::graph::{LocalGraph, LocalService},
};
use tokio::sync::mpsc;

/// Generous, since the machine may be busy.
const LIMIT: Duration = Duration::from_secs(30);

pub(crate) struct Side {
    pub(crate) bridge: Bridge,
    pub(crate) events: mpsc::Receiver<BridgeEvent>,
    pub(crate) graph: LocalGraph,
    pub(crate) samples: Vec<Sample>,
    pub(crate) requests: VecDeque<(ServerId, RequestId, Bytes)>,
    pub(crate) responses: VecDeque<(CallerId, CallId, Bytes)>,
}

impl Side {
    pub(crate) fn start(name: &str, queue: usize) -> Side {
        let (sender, events) = mpsc::channel(queue);
        let options = BridgeOptions { node_name: name.to_owned(), namespace: "/".to_owned() };
        let bridge = Bridge::start(options, sender).unwrap();
        Side {
            bridge,
            events,
            graph: LocalGraph::default(),
            samples: Vec::new(),
            requests: VecDeque::new(),
            responses: VecDeque::new(),
        }
    }

    /// Takes in what has come.
    pub(crate) fn turn(&mut self) {
        while let Ok(event) = self.events.try_recv() {
            match event {
                BridgeEvent::Graph(graph) => self.graph = graph,
                BridgeEvent::Sample(sample) => self.samples.push(sample),
                BridgeEvent::Request { server, request, payload } => {
                    self.requests.push_back((server, request, payload));
                }
                BridgeEvent::Response { caller, call, payload } => self.responses.push_back((caller, call, payload)),
                other => panic!("{other:?}"),
            }
        }
    }

    pub(crate) fn until(&mut self, what: &str, mut done: impl FnMut(&mut Side) -> bool) {
        let end = Instant::now() + LIMIT;
        loop {
            self.turn();
            if done(self) {
                return;
            }
            assert!(
                Instant::now() < end,
                "waited in vain for: {what}; {:?}; services: {:?}",
                self.bridge.call_counters(),
                self.graph.services.iter().map(|service| &service.name).collect::<Vec<_>>()
            );
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    pub(crate) fn service(&self, name: &str) -> Option<&LocalService> {
        self.graph.services.iter().find(|service| service.name == name)
    }

    /// Waits until somebody else serves `name`.
    pub(crate) fn until_served(&mut self, name: &str) {
        self.until("a foreign server", |side| side.service(name).is_some_and(|s| s.servers.iter().any(|s| !s.own)));
    }

    /// Waits until the graph shows that we serve `name`.
    pub(crate) fn until_served_by_own(&mut self, name: &str) {
        self.until("our server", |side| side.service(name).is_some_and(|s| s.servers.iter().any(|s| s.own)));
    }

    pub(crate) fn next_request(&mut self) -> (ServerId, RequestId, Bytes) {
        self.until("a request", |side| !side.requests.is_empty());
        self.requests.pop_front().unwrap()
    }

    pub(crate) fn next_response(&mut self) -> (CallerId, CallId, Bytes) {
        self.until("a response", |side| !side.responses.is_empty());
        self.responses.pop_front().unwrap()
    }
}
