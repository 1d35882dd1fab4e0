//! The raw bridge: topics and services of any installed type, as serialized bytes, and the local graph.

use std::{
    collections::{HashMap, hash_map::Entry},
    mem::ManuallyDrop,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use bytes::Bytes;
use parking_lot::{Mutex, RwLock};
use tokio::sync::mpsc;

use super::{
    call_pump::CallPump,
    calls::{CallCounters, Calls},
    error::RosError,
    graph_watch::GraphWatch,
    lane::Published,
    ownership::Ownership,
    pump::Pump,
    rcl::{Context, GuardCondition, Node},
    reader::Reader,
    room::{Room, Share},
    teardown,
    wait_set::WaitSet,
    writer::Writer,
};
use crate::{
    defaults,
    ids::{CallId, CallerId, ReaderId, RequestId, ServerId, WriterId},
    model::{ServiceInfo, TopicInfo},
    routes::graph::{Gid, LocalGraph},
    time::Wall,
};

/// How the bridge appears in the graph.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BridgeOptions {
    /// Name of its node, such as `switchboard_robot_bridge`. Remappings do not apply to it.
    pub node_name: String,
    /// Namespace of its node, `/` for none.
    pub namespace: String,
}

/// What the bridge tells the node's loop.
#[derive(Debug)]
pub enum BridgeEvent {
    /// The local graph: once after the start and then after each change, settled for [`defaults::GRAPH_SETTLE`].
    Graph(LocalGraph),
    /// A sample of a topic that is read.
    Sample(Sample),
    /// A reader failed again and again and is not waited for any more. It should be destroyed.
    ReaderFailed {
        /// Which.
        reader: ReaderId,
        /// Why, with the topic.
        reason: String,
    },
    /// Everything is taken that a reader had when [`Bridge::finish_reader`] was called.
    ReaderDone {
        /// Which.
        reader: ReaderId,
    },
    /// A writer that was congested ([`Published::Congested`]) has room again.
    WriterRelieved {
        /// Which.
        writer: WriterId,
    },
    /// Somebody calls one of our servers. Answer with [`Bridge::respond`] or [`Bridge::respond_failure`].
    Request {
        /// Which server. May be one that was destroyed in the meantime.
        server: ServerId,
        /// What to answer.
        request: RequestId,
        /// The request in CDR, encapsulation header included.
        payload: Bytes,
    },
    /// The answer to a call.
    Response {
        /// Who called. May be one that was destroyed in the meantime.
        caller: CallerId,
        /// Which call. May be one that was forgotten while the answer waited in the queue.
        call: CallId,
        /// The response in CDR, encapsulation header included.
        payload: Bytes,
    },
    /// A thread of the bridge has ended because ROS fails altogether. Nothing more will come.
    Failed {
        /// Why.
        reason: String,
    },
}

/// A serialized message out of the local graph.
///
/// It takes room in the queue ([`defaults::SAMPLE_QUEUE_BYTES`]) until it is dropped: move its parts out soon.
#[derive(Debug)]
pub struct Sample {
    /// Whose. May be one that was destroyed in the meantime.
    pub reader: ReaderId,
    /// Who published it.
    pub publisher: Gid,
    /// The message in CDR, encapsulation header included, unchanged.
    pub payload: Bytes,
    /// When it was published.
    pub source_time: Wall,
    /// How many of its last samples its publisher keeps for late joiners; 0 if that is not known, and for volatile topics.
    pub keep: u16,
    pub(super) _share: Share,
}

/// What became of the samples of a reader since it was created.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ReaderCounters {
    /// Samples taken.
    pub taken: u64,
    /// Samples that were published but never came to us, because the network lost them or because nobody took them in
    /// time: gaps in the sequence of their publisher. Always 0 where the middleware does not number samples (Cyclone DDS).
    pub lost: u64,
    /// Samples that could not be taken or had no content.
    pub failed: u64,
}

/// The bridge. Every function may be called from any thread. Dropping it stops its threads and takes it off the graph,
/// which has to happen before the program ends: middlewares do not survive the end of a program that still uses them.
pub struct Bridge {
    // Taken out by the drop only.
    parts: ManuallyDrop<Parts>,
}

struct Parts {
    shared: Arc<Shared>,
    node: Arc<Node>,
    writers: RwLock<HashMap<WriterId, Arc<Writer>>>,
    calls: Arc<Calls>,
    /// For what writers have to tell.
    events: mpsc::Sender<BridgeEvent>,
    /// Threads of writers that are gone.
    ending: Mutex<Vec<JoinHandle<()>>>,
    /// Samples that writers which are gone gave up.
    dropped_before: AtomicU64,
    wakes: [Arc<GuardCondition>; 3],
    threads: Vec<JoinHandle<()>>,
}

/// What the handle and the threads share.
pub(super) struct Shared {
    pub(super) readers: Mutex<HashMap<ReaderId, Arc<Reader>>>,
    /// Goes up with each change of `readers`.
    pub(super) generation: AtomicU64,
    pub(super) stop: AtomicBool,
    pub(super) ownership: Ownership,
}

impl Bridge {
    /// Joins the ROS graph with a context and a node of its own, and starts three threads: one that takes samples, one that
    /// takes requests and responses, one that watches the graph.
    ///
    /// The queue behind `events` decides how many samples may wait. While it is full, or holds more than
    /// [`defaults::SAMPLE_QUEUE_BYTES`], samples stay in the middleware: KEEP_LAST readers lose their oldest, KEEP_ALL
    /// readers (depth 0) push back to their publishers. Requests and responses stay there, too, as many as
    /// [`defaults::CALLS_PENDING_MAX`] for each server and caller.
    ///
    /// # Errors
    /// If ROS does not start or refuses the name.
    pub fn start(options: BridgeOptions, events: mpsc::Sender<BridgeEvent>) -> Result<Bridge, RosError> {
        let context = Context::start()?;
        let node = Node::create(&context, &options.node_name, &options.namespace)?;
        let ownership = Ownership::find_out(&node)?;
        tracing::debug!(node = node.name(), ?ownership, "the ROS bridge is up");
        let shared = Arc::new(Shared {
            readers: Mutex::default(),
            generation: AtomicU64::new(0),
            stop: AtomicBool::new(false),
            ownership,
        });

        let wake_pump = GuardCondition::create(&context)?;
        let wake_calls = GuardCondition::create(&context)?;
        let wake_watch = GuardCondition::create(&context)?;
        // Weak, so that a sample that outlives the bridge does not keep its participant on the graph.
        let wake = Arc::downgrade(&wake_pump);
        // A few places of the queue are kept for what is not a sample, so that a flood does not hold the graph up.
        let samples_max = events.max_capacity().saturating_sub(EVENTS_RESERVED).max(1);
        let room = Room::new(samples_max, defaults::SAMPLE_QUEUE_BYTES, move || {
            if let Some(wake) = wake.upgrade() {
                wake.trigger();
            }
        });
        let pump_waits = WaitSet::create(&context, wake_pump.clone(), None)?;
        let call_waits = WaitSet::create(&context, wake_calls.clone(), None)?;
        let watch_waits = WaitSet::create(&context, wake_watch.clone(), Some(node.clone()))?;
        let pump = Pump::new(shared.clone(), events.clone(), room, pump_waits);
        let calls = Arc::new(Calls::new(wake_calls.clone()));
        let call_pump = CallPump::new(shared.clone(), calls.clone(), events.clone(), call_waits);
        let watch = GraphWatch::new(shared.clone(), events.clone(), node.clone(), watch_waits);

        let mut parts = Parts {
            shared,
            node,
            writers: RwLock::default(),
            calls,
            events,
            ending: Mutex::default(),
            dropped_before: AtomicU64::new(0),
            wakes: [wake_pump, wake_calls, wake_watch],
            threads: Vec::new(),
        };
        // If one cannot be started, dropping the parts ends those before it.
        parts.threads.push(spawn("ros-samples", move || pump.run())?);
        parts.threads.push(spawn("ros-calls", move || call_pump.run())?);
        parts.threads.push(spawn("ros-graph", move || watch.run())?);
        Ok(Bridge { parts: ManuallyDrop::new(parts) })
    }

    /// Fully qualified name of the bridge's node.
    pub fn node_name(&self) -> &str {
        self.parts.node.name()
    }

    /// Starts reading `topic`. Takes about a millisecond; the first use of a package loads its libraries.
    ///
    /// # Errors
    /// If the id is in use, the type is not installed, or ROS refuses the name.
    pub fn create_reader(&self, id: ReaderId, topic: &TopicInfo) -> Result<(), RosError> {
        if self.parts.shared.readers.lock().contains_key(&id) {
            return Err(RosError::DuplicateReader(id));
        }
        // Made outside the lock: the thread that takes samples needs it.
        let reader = Arc::new(Reader::create(&self.parts.node, id, topic)?);
        match self.parts.shared.readers.lock().entry(id) {
            Entry::Occupied(_) => return Err(RosError::DuplicateReader(id)),
            Entry::Vacant(place) => drop(place.insert(reader)),
        }
        self.readers_changed();
        Ok(())
    }

    /// Stops reading. Samples that are already waiting may still come. Unknown ids are ignored.
    pub fn destroy_reader(&self, id: ReaderId) {
        let removed = self.parts.shared.readers.lock().remove(&id);
        if removed.is_some() {
            self.readers_changed();
        }
    }

    /// Takes no more samples of a reader (`true`), or goes on. Held samples stay in the middleware: a KEEP_ALL reader pushes
    /// back to its reliable publishers, a KEEP_LAST one loses its oldest. Samples that are already on their way still come.
    /// Unknown ids are ignored.
    pub fn hold_reader(&self, id: ReaderId, hold: bool) {
        let was = self.parts.shared.readers.lock().get(&id).map(|reader| reader.held.swap(hold, Ordering::SeqCst));
        if was == Some(!hold) {
            self.readers_changed();
        }
    }

    /// Tells with [`BridgeEvent::ReaderDone`], behind its samples, when a reader has no more of them and nobody publishes, or
    /// after a moment all the same; not while it is held.
    /// Unknown ids are ignored.
    pub fn finish_reader(&self, id: ReaderId) {
        let reader = self.parts.shared.readers.lock().get(&id).cloned();
        if let Some(reader) = reader {
            reader.found_empty.store(0, Ordering::SeqCst);
            reader.finishing.store(true, Ordering::SeqCst);
            self.readers_changed();
        }
    }

    /// What became of the samples of a reader; `None` for unknown ids.
    pub fn reader_counters(&self, id: ReaderId) -> Option<ReaderCounters> {
        let readers = self.parts.shared.readers.lock();
        let counters = &readers.get(&id)?.counters;
        Some(ReaderCounters {
            taken: counters.taken.load(Ordering::Relaxed),
            lost: counters.lost.load(Ordering::Relaxed),
            failed: counters.failed.load(Ordering::Relaxed),
        })
    }

    /// Makes a writer of `topic`. Takes about a millisecond; the first use of a package loads its libraries.
    ///
    /// # Errors
    /// If the id is in use, the type is not installed, or ROS refuses the name.
    pub fn create_writer(&self, id: WriterId, topic: &TopicInfo) -> Result<(), RosError> {
        if self.parts.writers.read().contains_key(&id) {
            return Err(RosError::DuplicateWriter(id));
        }
        let writer = Arc::new(Writer::create(
            &self.parts.node,
            id,
            topic,
            self.parts.shared.clone(),
            self.parts.events.clone(),
        )?);
        match self.parts.writers.write().entry(id) {
            Entry::Occupied(_) => Err(RosError::DuplicateWriter(id)),
            Entry::Vacant(place) => {
                place.insert(writer);
                Ok(())
            }
        }
    }

    /// Takes a writer off the graph, when its subscribers have taken all that they can. Unknown ids are ignored.
    pub fn destroy_writer(&self, id: WriterId) {
        let Some(removed) = self.parts.writers.write().remove(&id) else { return };
        self.parts.dropped_before.fetch_add(removed.dropped(), Ordering::Relaxed);
        let mut ending = self.parts.ending.lock();
        ending.retain(|thread| !thread.is_finished());
        ending.extend(removed.close());
        // Its end talks to the middleware: outside the locks.
        drop(ending);
        drop(removed);
    }

    /// Messages that were not published, or published over subscribers that had not taken earlier ones, since a subscriber
    /// took nothing for [`defaults::HOLD_MAX`].
    pub fn overrun(&self) -> u64 {
        let now: u64 = self.parts.writers.read().values().map(|writer| writer.dropped()).sum();
        self.parts.dropped_before.load(Ordering::Relaxed) + now
    }

    /// Publishes a serialized message, encapsulation header included. It never waits for slow subscribers. Writers of depth 0
    /// that are reliable and volatile lose nothing that their subscribers could still take: beyond what the middleware
    /// keeps, messages wait here, and the caller is told to pause. Other writers lose their oldest.
    ///
    /// # Errors
    /// If the writer is unknown, the payload cannot be a message, or the middleware refuses it.
    pub fn publish(&self, id: WriterId, payload: impl Into<Bytes>) -> Result<Published, RosError> {
        let writer = self.parts.writers.read().get(&id).cloned();
        writer.ok_or(RosError::UnknownWriter(id))?.publish(payload.into())
    }

    /// Name of the topic of a writer; `None` for unknown ids.
    pub fn topic_of(&self, id: WriterId) -> Option<String> {
        Some(self.parts.writers.read().get(&id)?.topic())
    }

    /// Publishes a message with the default values of its type: zeros, or what the definition gives. A header at its top is
    /// stamped with `now`.
    ///
    /// # Errors
    /// As [`Bridge::publish`]
    pub fn publish_default(&self, id: WriterId, now: Wall) -> Result<(), RosError> {
        let writer = self.parts.writers.read().get(&id).cloned();
        writer.ok_or(RosError::UnknownWriter(id))?.publish_default(now)
    }

    /// Waits, on the thread of the caller, until every subscriber has what was published reliably. `false` if that takes
    /// longer than `limit`, if the middleware cannot tell, or if there is no such writer.
    pub fn wait_until_acknowledged(&self, id: WriterId, limit: Duration) -> bool {
        let writer = self.parts.writers.read().get(&id).cloned();
        writer.is_some_and(|writer| writer.wait_until_acknowledged(limit))
    }

    /// Makes a server that stands for one elsewhere: whoever calls it makes a [`BridgeEvent::Request`]. Takes about a
    /// millisecond; the first use of a package loads its libraries.
    ///
    /// # Errors
    /// If the id is in use, the type is not installed or is another one here, or ROS refuses the name.
    pub fn create_server(&self, id: ServerId, service: &ServiceInfo) -> Result<(), RosError> {
        self.parts.calls.create_server(&self.parts.node, id, service)
    }

    /// Takes a server off the graph. Requests that it has not answered are answered with failure, those that wait in the
    /// queue too, which may still come. Unknown ids are ignored.
    pub fn destroy_server(&self, id: ServerId) {
        self.parts.calls.destroy_server(id, &self.parts.shared.ownership);
    }

    /// Answers a request with a serialized response, encapsulation header included.
    ///
    /// The middleware may wait for up to 100 ms, on the thread of the caller, for a client that is not matched yet.
    ///
    /// # Errors
    /// If the server or the request is unknown, the request has its answer, the payload is no response of the type (then
    /// the request stays open), or the middleware cannot send it, because the client has gone for example.
    pub fn respond(&self, id: ServerId, request: RequestId, response: &[u8]) -> Result<(), RosError> {
        self.parts.calls.respond(id, request, response)
    }

    /// Answers a request with the type's own word for failure: a response with default values in which flags such as
    /// `success` are false and texts such as `message` say `switchboard: {reason}`. Services have no errors of their own.
    /// Returns whether the type has such a field; if not, an empty response was sent.
    ///
    /// The middleware may wait as in [`Bridge::respond`].
    ///
    /// # Errors
    /// If the server or the request is unknown, the request has its answer, or the middleware cannot send it.
    pub fn respond_failure(&self, id: ServerId, request: RequestId, reason: &str) -> Result<bool, RosError> {
        self.parts.calls.respond_failure(id, request, reason)
    }

    /// Makes a client that calls a server of the local graph for others. Does not wait for that server; see
    /// [`Bridge::call`]. Takes about a millisecond; the first use of a package loads its libraries.
    ///
    /// # Errors
    /// If the id is in use, the type is not installed or is another one here, or ROS refuses the name.
    pub fn create_caller(&self, id: CallerId, service: &ServiceInfo) -> Result<(), RosError> {
        self.parts.calls.create_caller(&self.parts.node, id, service)
    }

    /// Takes a client off the graph. Its pending calls are forgotten. Unknown ids are ignored.
    pub fn destroy_caller(&self, id: CallerId) {
        self.parts.calls.destroy_caller(id);
    }

    /// Calls with a serialized request, encapsulation header included. The answer comes as [`BridgeEvent::Response`] with
    /// the same `call`, in any order with others, or never: there is no limit of time here, see [`Bridge::forget_call`].
    ///
    /// A server keeps ten requests unless it was made otherwise, and forgets the oldest beyond that without a word: ordinary
    /// servers, which work on one at a time, should have no more unanswered. Requests for the result of a goal are an
    /// exception: action servers put them aside.
    ///
    /// A client that is younger than 100 ms waits, until it is as old as that, for a server to be matched with it; so all
    /// of its calls together wait for at most 100 ms on the thread of the caller. Later, and in most cases at once, no call
    /// waits.
    ///
    /// # Errors
    /// [`RosError::UnknownCaller`]; [`RosError::CallsFull`] if [`defaults::CALLS_PENDING_MAX`] calls are pending;
    /// [`RosError::NotAMessage`] if the payload is no request of the type; [`RosError::NoServer`]; or the middleware
    /// refuses it.
    pub fn call(&self, id: CallerId, call: CallId, request: &[u8]) -> Result<(), RosError> {
        self.parts.calls.call(id, call, request)
    }

    /// Forgets a pending call: its late answer is dropped, unless it waits in the queue already. Unknown ones are ignored.
    pub fn forget_call(&self, id: CallerId, call: CallId) {
        self.parts.calls.forget_call(id, call);
    }

    /// What became of calls and requests.
    pub fn call_counters(&self) -> CallCounters {
        self.parts.calls.counters()
    }

    fn readers_changed(&self) {
        self.parts.shared.generation.fetch_add(1, Ordering::SeqCst);
        self.parts.wakes[0].trigger();
    }
}

impl Drop for Bridge {
    fn drop(&mut self) {
        // SAFETY: the parts are taken here only, and nothing uses the bridge after its drop.
        let parts = unsafe { ManuallyDrop::take(&mut self.parts) };
        teardown::within_limit("the ROS bridge", move || drop(parts));
    }
}

impl Drop for Parts {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        for wake in &self.wakes {
            wake.trigger();
        }
        let writers: Vec<Arc<Writer>> = self.writers.get_mut().drain().map(|(_, writer)| writer).collect();
        self.threads.extend(writers.iter().filter_map(|writer| writer.close()));
        self.threads.append(self.ending.get_mut());
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                tracing::error!("a thread of the ROS bridge panicked");
            }
        }
        // Threads and handle may have been dropped in either order: the endpoints go now, with their node.
        self.shared.readers.lock().clear();
        self.calls.clear(&self.shared.ownership);
    }
}

/// Places in the queue of events that samples may not take.
const EVENTS_RESERVED: usize = 8;

fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, RosError> {
    std::thread::Builder::new().name(name.to_owned()).spawn(run).map_err(|error| RosError::Thread(error.to_string()))
}
