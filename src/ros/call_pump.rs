//! The thread that takes requests and responses out of the middleware and queues them for the node's loop. It is apart from
//! the one that takes samples, so that a flood of those does not hold calls up.

use std::{
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use tokio::sync::mpsc::{self, error::TrySendError};

use super::{
    bridge::{BridgeEvent, Shared},
    caller::{Caller, TakenResponse},
    calls::Calls,
    room::Room,
    server::{Server, TakenRequest},
    wait_set::{Endpoints, Ready, WaitSet},
};
use crate::defaults;

/// Takes in turns from all servers and callers that have something.
pub(super) struct CallPump {
    shared: Arc<Shared>,
    calls: Arc<Calls>,
    events: mpsc::Sender<BridgeEvent>,
    /// Large payloads take room until they are dropped.
    room: Arc<Room>,
    waits: WaitSet,
    servers: Watched<Server>,
    callers: Watched<Caller>,
    generation: Option<u64>,
}

/// Endpoints of one sort, with those that fail again and again resting.
struct Watched<T> {
    all: Vec<Health<T>>,
    /// Those that are waited for.
    awake: Vec<Arc<T>>,
    /// Where each of them stands in `all`.
    places: Vec<usize>,
}

struct Health<T> {
    endpoint: Arc<T>,
    /// Failed takes in a row.
    failures: u32,
    rests_until: Option<Instant>,
}

/// One endpoint that has something.
#[derive(Clone, Copy)]
enum Work {
    Server(usize),
    Caller(usize),
}

/// How a look at an endpoint ended.
enum Drained {
    /// It is empty, or has had its turn.
    Done,
    /// There is no room for more.
    Full,
    /// It failed.
    Failed(String),
    /// Nobody listens any more.
    Closed,
}

impl CallPump {
    pub(super) fn new(
        shared: Arc<Shared>,
        calls: Arc<Calls>,
        events: mpsc::Sender<BridgeEvent>,
        waits: WaitSet,
    ) -> CallPump {
        // Their number is bounded by the queue; nobody is woken, since it is looked again soon.
        let room = Room::new(usize::MAX, defaults::SAMPLE_QUEUE_BYTES, || {});
        let (servers, callers) = (Watched::new(Vec::new()), Watched::new(Vec::new()));
        CallPump { shared, calls, events, room, waits, servers, callers, generation: None }
    }

    /// Runs until the bridge stops, nobody listens, or waiting fails again and again.
    pub(super) fn run(mut self) {
        let mut ready = Ready::default();
        let mut full = false;
        let mut failed_waits = 0;
        let mut turn: usize = 0;
        while !self.shared.stop.load(Ordering::SeqCst) {
            self.refresh();
            // While there is no room nothing is waited for but the wake-up: requests and responses stay where they are.
            let endpoints = if full {
                Endpoints::default()
            } else {
                Endpoints { servers: &self.servers.awake, callers: &self.callers.awake, ..Endpoints::default() }
            };
            let timeout = if full { RETRY } else { LOOK_UP };
            if let Err(error) = self.waits.wait(endpoints, timeout, &mut ready) {
                failed_waits += 1;
                if failed_waits >= defaults::ROS_FAILURES_MAX {
                    self.give_up(error.to_string());
                    return;
                }
                std::thread::sleep(RETRY);
                continue;
            }
            failed_waits = 0;
            if full {
                full = false;
                continue;
            }
            let mut work: Vec<Work> = ready.callers.iter().map(|&index| Work::Caller(index)).collect();
            work.extend(ready.servers.iter().map(|&index| Work::Server(index)));
            // The first in line is another one each time: when room is short, it is shared.
            turn = turn.wrapping_add(1);
            let first = if work.is_empty() { 0 } else { turn % work.len() };
            work.rotate_left(first);
            for one in work {
                match self.look(one) {
                    Drained::Done => {}
                    Drained::Full => {
                        full = true;
                        break;
                    }
                    Drained::Failed(reason) => self.failed(one, reason),
                    Drained::Closed => return,
                }
            }
        }
    }

    /// Follows the changes of the tables, and lets those wake up that have rested.
    fn refresh(&mut self) {
        let generation = self.calls.generation();
        if self.generation != Some(generation) {
            self.generation = Some(generation);
            let (servers, callers) = self.calls.all();
            // Those that were destroyed end here, outside the locks.
            self.servers = Watched::new(servers);
            self.callers = Watched::new(callers);
        }
        let now = Instant::now();
        self.servers.refresh(now);
        self.callers.refresh(now);
    }

    fn look(&mut self, one: Work) -> Drained {
        let drained = match one {
            Work::Server(index) => self.drain_server(&self.servers.awake[index]),
            Work::Caller(index) => self.drain_caller(&self.callers.awake[index]),
        };
        if matches!(drained, Drained::Done) {
            match one {
                Work::Server(index) => self.servers.health(index).failures = 0,
                Work::Caller(index) => self.callers.health(index).failures = 0,
            }
        }
        drained
    }

    fn drain_server(&self, server: &Server) -> Drained {
        for _ in 0..defaults::TAKES_PER_TURN {
            let permit = match self.permit() {
                Ok(permit) => permit,
                Err(drained) => return drained,
            };
            match server.take(&self.shared.ownership, &self.room) {
                TakenRequest::Request(from, payload) => match self.calls.requests.ticket() {
                    Some(ticket) => {
                        let request = self.calls.next_request();
                        server.remember(request, from, ticket);
                        permit.send(BridgeEvent::Request { server: server.id, request, payload });
                    }
                    None => {
                        drop(permit);
                        self.refuse(server, from);
                    }
                },
                TakenRequest::Own => {}
                TakenRequest::Nothing => return Drained::Done,
                TakenRequest::Failed(reason) => return Drained::Failed(reason),
            }
        }
        Drained::Done
    }

    fn drain_caller(&self, caller: &Caller) -> Drained {
        for _ in 0..defaults::TAKES_PER_TURN {
            let permit = match self.permit() {
                Ok(permit) => permit,
                Err(drained) => return drained,
            };
            match caller.take(&self.room) {
                TakenResponse::Response(call, payload) => {
                    permit.send(BridgeEvent::Response { caller: caller.id, call, payload });
                }
                TakenResponse::Unwanted => {
                    self.calls.unwanted.fetch_add(1, Ordering::Relaxed);
                    tracing::debug!(service = caller.service, "a response came that nobody waits for");
                }
                TakenResponse::Nothing => return Drained::Done,
                TakenResponse::Failed(reason) => return Drained::Failed(reason),
            }
        }
        Drained::Done
    }

    fn permit(&self) -> Result<mpsc::Permit<'_, BridgeEvent>, Drained> {
        if !self.room.is_free() {
            return Err(Drained::Full);
        }
        self.events.try_reserve().map_err(|error| match error {
            TrySendError::Full(()) => Drained::Full,
            TrySendError::Closed(()) => Drained::Closed,
        })
    }

    fn refuse(&self, server: &Server, from: r2r_rcl::rmw_request_id_t) {
        let most = self.calls.requests.most();
        if self.calls.refused.fetch_add(1, Ordering::Relaxed) == 0 {
            tracing::warn!(
                service = server.service,
                "{most} requests wait for their answers; more are answered with failure at once"
            );
        }
        if let Err(error) = server.refuse(from, &format!("{most} requests wait for their answers already")) {
            tracing::debug!("a request was refused without words: {error}");
        }
    }

    fn failed(&mut self, one: Work, reason: String) {
        self.calls.failed.fetch_add(1, Ordering::Relaxed);
        let (service, failures) = match one {
            Work::Server(index) => (self.servers.awake[index].service.clone(), self.servers.health(index).fail()),
            Work::Caller(index) => (self.callers.awake[index].service.clone(), self.callers.health(index).fail()),
        };
        if failures == 1 {
            tracing::warn!(service, reason, "a request or response could not be taken");
        } else if failures == defaults::ROS_FAILURES_MAX {
            tracing::error!(
                service,
                reason,
                "taking failed {failures} times in a row; from now on tried every {REST:?}"
            );
        }
    }

    fn give_up(&mut self, reason: String) {
        tracing::error!(reason, "the ROS bridge gives up");
        let mut event = BridgeEvent::Failed { reason };
        while !self.shared.stop.load(Ordering::SeqCst) {
            match self.events.try_send(event) {
                Err(TrySendError::Full(again)) => event = again,
                _ => return,
            }
            std::thread::sleep(RETRY);
        }
    }
}

impl<T> Watched<T> {
    fn new(endpoints: Vec<Arc<T>>) -> Watched<T> {
        let all = endpoints.into_iter().map(|endpoint| Health { endpoint, failures: 0, rests_until: None }).collect();
        Watched { all, awake: Vec::new(), places: Vec::new() }
    }

    fn refresh(&mut self, now: Instant) {
        self.awake.clear();
        self.places.clear();
        for (place, health) in self.all.iter().enumerate() {
            if health.rests_until.is_none_or(|until| until <= now) {
                self.awake.push(health.endpoint.clone());
                self.places.push(place);
            }
        }
    }

    fn health(&mut self, index: usize) -> &mut Health<T> {
        &mut self.all[self.places[index]]
    }
}

impl<T> Health<T> {
    /// Takes note of a failure and returns how many there were in a row.
    fn fail(&mut self) -> u32 {
        self.failures = self.failures.saturating_add(1);
        if self.failures >= defaults::ROS_FAILURES_MAX {
            self.rests_until = Some(Instant::now() + REST);
        }
        self.failures
    }
}

/// How often the thread looks up without being woken. Everything wakes it; this is for the case that a wake-up fails.
const LOOK_UP: Duration = Duration::from_secs(1);
/// Pause before something that was refused is tried again.
const RETRY: Duration = Duration::from_millis(20);
/// How often an endpoint that always fails is tried again.
const REST: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_always_fails_rests_and_the_others_go_on() {
        let mut watched = Watched::new(vec![Arc::new("good"), Arc::new("bad")]);
        let begun = Instant::now();
        watched.refresh(begun);
        assert_eq!(watched.awake.len(), 2);
        for n in 1..=defaults::ROS_FAILURES_MAX {
            assert_eq!(watched.health(1).fail(), n);
        }
        watched.refresh(Instant::now());
        assert_eq!(watched.awake, [Arc::new("good")]);
        watched.refresh(Instant::now() + REST);
        assert_eq!(watched.awake, [Arc::new("good"), Arc::new("bad")]);
        // It failed all the time until now: the next failure sends it to rest again.
        watched.health(1).fail();
        watched.refresh(Instant::now());
        assert_eq!(watched.awake.len(), 1);
        assert_eq!(watched.health(0).failures, 0);
    }
}
