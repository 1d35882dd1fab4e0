//! The raw bridge: topics of any installed type, as serialized bytes, and the local graph.

use std::{
    collections::{HashMap, hash_map::Entry},
    mem::ManuallyDrop,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::JoinHandle,
};

use bytes::Bytes;
use parking_lot::{Mutex, RwLock};
use tokio::sync::mpsc;

use super::{
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
    ids::{ReaderId, WriterId},
    model::TopicInfo,
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
    /// For what writers have to tell.
    events: mpsc::Sender<BridgeEvent>,
    /// Threads of writers that are gone.
    ending: Mutex<Vec<JoinHandle<()>>>,
    /// Samples that writers which are gone gave up.
    dropped_before: AtomicU64,
    wakes: [Arc<GuardCondition>; 2],
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
    /// Joins the ROS graph with a context and a node of its own, and starts two threads: one that takes samples, one that
    /// watches the graph.
    ///
    /// The queue behind `events` decides how many samples may wait. While it is full, or holds more than
    /// [`defaults::SAMPLE_QUEUE_BYTES`], samples stay in the middleware: KEEP_LAST readers lose their oldest, KEEP_ALL
    /// readers (depth 0) push back to their publishers.
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
        let watch_waits = WaitSet::create(&context, wake_watch.clone(), Some(node.clone()))?;
        let pump = Pump::new(shared.clone(), events.clone(), room, pump_waits);
        let watch = GraphWatch::new(shared.clone(), events.clone(), node.clone(), watch_waits);

        let mut parts = Parts {
            shared,
            node,
            writers: RwLock::default(),
            events,
            ending: Mutex::default(),
            dropped_before: AtomicU64::new(0),
            wakes: [wake_pump, wake_watch],
            threads: Vec::new(),
        };
        // If the second thread cannot be started, dropping the parts ends the first.
        parts.threads.push(spawn("ros-samples", move || pump.run())?);
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

    /// Tells with [`BridgeEvent::ReaderDone`], behind its samples, when a reader has no more of them; not while it is held.
    /// Unknown ids are ignored.
    pub fn finish_reader(&self, id: ReaderId) {
        let reader = self.parts.shared.readers.lock().get(&id).cloned();
        if let Some(reader) = reader {
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
    }
}

/// Places in the queue of events that samples may not take.
const EVENTS_RESERVED: usize = 8;

fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, RosError> {
    std::thread::Builder::new().name(name.to_owned()).spawn(run).map_err(|error| RosError::Thread(error.to_string()))
}
