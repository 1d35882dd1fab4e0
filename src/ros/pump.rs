//! The thread that takes samples out of the middleware and queues them for the node's loop.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use tokio::sync::mpsc::{self, error::TrySendError};

use super::{
    bridge::{BridgeEvent, Sample, Shared},
    reader::{Reader, Taken},
    room::Room,
    wait_set::{Endpoints, Ready, WaitSet},
};
use crate::{defaults, ids::ReaderId};

/// Takes in turns from all readers that have something.
pub(super) struct Pump {
    shared: Arc<Shared>,
    events: mpsc::Sender<BridgeEvent>,
    room: Arc<Room>,
    waits: WaitSet,
    /// Those that are waited for, ordered by id.
    readers: Vec<Arc<Reader>>,
    generation: Option<u64>,
    /// What still has to be told. At most two entries per reader.
    untold: Vec<BridgeEvent>,
}

/// How a look at a reader ended.
enum Drained {
    /// It is empty, or has had its turn.
    Done,
    /// No sample may come now.
    Paused(Pause),
    /// Nobody listens any more.
    Closed,
}

/// Why no samples are taken.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Pause {
    /// Too many samples wait, or too large ones. There is a wake-up when there is room again.
    Room,
    /// The queue is full of other events. There is no wake-up for that.
    Queue,
}

impl Pump {
    pub(super) fn new(shared: Arc<Shared>, events: mpsc::Sender<BridgeEvent>, room: Arc<Room>, waits: WaitSet) -> Pump {
        Pump { shared, events, room, waits, readers: Vec::new(), generation: None, untold: Vec::new() }
    }

    /// Runs until the bridge stops, nobody listens, or waiting fails again and again.
    pub(super) fn run(mut self) {
        let mut ready = Ready::default();
        let mut pause = None;
        let mut failed_waits = 0;
        let mut turn: usize = 0;
        while !self.shared.stop.load(Ordering::SeqCst) {
            self.refresh();
            if !self.tell() {
                return;
            }
            if pause == Some(Pause::Room) && self.room.wait() {
                pause = None;
            }
            // During a pause nothing is waited for but the wake-up: the samples stay where they are.
            let readers: &[Arc<Reader>] = if pause.is_some() { &[] } else { &self.readers };
            let finishing = readers.iter().any(|reader| reader.finishing.load(Ordering::SeqCst));
            let timeout = if pause.is_some() || !self.untold.is_empty() || finishing { RETRY } else { LOOK_UP };
            let endpoints = Endpoints { readers, ..Endpoints::default() };
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
            if let Some(reason) = pause {
                let over = reason == Pause::Queue || self.room.is_free();
                pause = if over { None } else { pause };
                continue;
            }
            // Those that may have nothing more are asked too.
            for (index, reader) in self.readers.iter().enumerate() {
                if reader.finishing.load(Ordering::SeqCst) && !ready.readers.contains(&index) {
                    ready.readers.push(index);
                }
            }
            // The first in line is another one each time: when room is short, it is shared.
            turn = turn.wrapping_add(1);
            let first = if ready.readers.is_empty() { 0 } else { turn % ready.readers.len() };
            for index in ready.readers[first..].iter().chain(&ready.readers[..first]) {
                match self.drain(*index) {
                    Drained::Done => {}
                    Drained::Paused(reason) => {
                        pause = Some(reason);
                        break;
                    }
                    Drained::Closed => return,
                }
            }
        }
    }

    /// Follows the changes of the table of readers.
    fn refresh(&mut self) {
        let generation = self.shared.generation.load(Ordering::SeqCst);
        if self.generation == Some(generation) {
            return;
        }
        self.generation = Some(generation);
        let mut readers: Vec<Arc<Reader>> = {
            let table = self.shared.readers.lock();
            table.values().filter(|reader| reader.is_waited_for()).cloned().collect()
        };
        readers.sort_unstable_by_key(|reader| reader.id);
        // Those that were destroyed end here, outside the lock.
        self.readers = readers;
    }

    fn drain(&mut self, index: usize) -> Drained {
        let reader = self.readers[index].clone();
        for _ in 0..defaults::TAKES_PER_TURN {
            if !reader.is_waited_for() {
                return Drained::Done;
            }
            if !self.room.is_free() {
                return Drained::Paused(Pause::Room);
            }
            let permit = match self.events.try_reserve() {
                Ok(permit) => permit,
                Err(TrySendError::Full(())) => return Drained::Paused(Pause::Queue),
                Err(TrySendError::Closed(())) => return Drained::Closed,
            };
            match reader.take(&self.shared.ownership) {
                Taken::Sample { publisher, payload, source_time, keep } => {
                    reader.failures.store(0, Ordering::Relaxed);
                    let _share = self.room.share(payload.len());
                    permit.send(BridgeEvent::Sample(Sample {
                        reader: reader.id,
                        publisher,
                        payload,
                        source_time,
                        keep,
                        _share,
                    }));
                }
                Taken::Own => {}
                Taken::Nothing => {
                    if reader.finishing.load(Ordering::SeqCst) && reader.is_done() {
                        reader.finishing.store(false, Ordering::SeqCst);
                        self.untold.push(BridgeEvent::ReaderDone { reader: reader.id });
                    }
                    return Drained::Done;
                }
                // One failure per turn: others get theirs, and a middleware that always fails is not asked in a loop.
                Taken::Failed(reason) => {
                    drop(permit);
                    self.failed(&reader, reason);
                    return Drained::Done;
                }
            }
        }
        Drained::Done
    }

    fn failed(&mut self, reader: &Reader, reason: String) {
        let failures = reader.failures.fetch_add(1, Ordering::Relaxed) + 1;
        if failures == 1 {
            tracing::warn!(topic = reader.topic, reason, "a sample could not be taken");
        }
        if failures >= defaults::ROS_FAILURES_MAX {
            reader.given_up.store(true, Ordering::Relaxed);
            // Makes `refresh` leave it out.
            self.generation = None;
            let reason = format!("reading {} failed {failures} times in a row: {reason}", reader.topic);
            tracing::error!(topic = reader.topic, reason, "gave a reader up");
            self.untold_reader(reader.id, reason);
        }
    }

    fn untold_reader(&mut self, reader: ReaderId, reason: String) {
        self.untold.push(BridgeEvent::ReaderFailed { reader, reason });
    }

    /// Tells what there is to tell as far as the queue has room. `false` if nobody listens any more.
    fn tell(&mut self) -> bool {
        while let Some(event) = self.untold.pop() {
            match self.events.try_send(event) {
                Ok(()) => {}
                Err(TrySendError::Full(event)) => {
                    self.untold.push(event);
                    break;
                }
                Err(TrySendError::Closed(_)) => return false,
            }
        }
        true
    }

    fn give_up(&mut self, reason: String) {
        tracing::error!(reason, "the ROS bridge gives up");
        self.untold = vec![BridgeEvent::Failed { reason }];
        while !self.shared.stop.load(Ordering::SeqCst) && self.tell() && !self.untold.is_empty() {
            std::thread::sleep(RETRY);
        }
    }
}

/// How often the thread looks up without being woken. Everything wakes it; this is for the case that a wake-up fails.
const LOOK_UP: Duration = Duration::from_secs(1);
/// Pause before something that was refused is tried again.
const RETRY: Duration = Duration::from_millis(20);
