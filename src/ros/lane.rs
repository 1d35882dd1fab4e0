//! Publishes for a writer that may have to wait for its subscribers, without making the caller wait.
//!
//! A KEEP_ALL writer loses nothing: when it is full of samples that somebody has not acknowledged, publishing blocks, by
//! default for 100 ms, and then fails. As long as it cannot be full, samples are published on the thread of the caller.
//! From then on they go through a queue and a thread of the writer, until all that was published is acknowledged and
//! nothing waits. DDS only tells whether *all* is acknowledged, and Fast DDS asks its readers only every 3 s unless much is
//! published, so that moment may be long in coming while nothing is wrong: the thread is no sign of trouble, a queue that
//! fills up is.

use std::{
    collections::VecDeque,
    sync::Arc,
    thread::JoinHandle,
    time::{Duration, Instant},
};

use bytes::Bytes;
use parking_lot::{Condvar, Mutex};

use super::error::RosError;
use crate::defaults;

/// What a lane publishes with.
pub(super) trait Outlet: Send + Sync + 'static {
    /// Publishes one sample, or fails when it could not within the middleware's limit of time.
    fn publish(&self, payload: &[u8]) -> Result<(), RosError>;
    /// Whether every subscriber has acknowledged all that was published.
    fn is_acknowledged(&self) -> bool;
    /// Goes on without waiting for anybody: who does not take samples in time loses the oldest.
    fn overrun(&self) -> Result<(), RosError>;
    /// Whether the graph is being left: nothing is worth waiting for.
    fn is_abandoned(&self) -> bool;
    /// There is room in the queue again.
    fn relieved(&self);
}

/// What became of a sample.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Published {
    /// It is published, or will be.
    Done,
    /// So it is, but more should not come until [`super::BridgeEvent::WriterRelieved`].
    Congested,
}

/// See the module.
pub(super) struct Lane<O> {
    inner: Arc<Inner<O>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

struct Inner<O> {
    outlet: O,
    state: Mutex<State>,
    filled: Condvar,
}

#[derive(Default)]
struct State {
    /// Samples published since all were acknowledged.
    count: usize,
    /// Their bytes.
    bytes: usize,
    queue: VecDeque<Bytes>,
    queue_bytes: usize,
    /// Whether the thread runs; then everything goes through the queue.
    running: bool,
    congested: bool,
    /// Nobody is waited for any more.
    overrun: bool,
    dropped: u64,
    closing: bool,
}

impl<O: Outlet> Lane<O> {
    pub(super) fn new(outlet: O) -> Self {
        let inner = Inner { outlet, state: Mutex::default(), filled: Condvar::new() };
        Lane { inner: Arc::new(inner), thread: Mutex::new(None) }
    }

    /// Publishes a sample, now or when there is room for it. Never waits.
    pub(super) fn publish(&self, payload: Bytes) -> Result<Published, RosError> {
        let mut state = self.inner.state.lock();
        if state.overrun && !state.running {
            drop(state);
            self.inner.outlet.publish(&payload)?;
            return Ok(Published::Done);
        }
        if !state.running {
            if state.is_unsure() && self.inner.outlet.is_acknowledged() {
                (state.count, state.bytes) = (0, 0);
            }
            if !state.is_unsure() {
                state.note(payload.len());
                drop(state);
                self.inner.outlet.publish(&payload)?;
                return Ok(Published::Done);
            }
            self.start(&mut state)?;
        }
        state.enqueue(payload);
        self.inner.filled.notify_one();
        Ok(if state.congested { Published::Congested } else { Published::Done })
    }

    pub(super) fn outlet(&self) -> &O {
        &self.inner.outlet
    }

    /// Samples that were given up.
    pub(super) fn dropped(&self) -> u64 {
        self.inner.state.lock().dropped
    }

    /// Ends it when all is published and acknowledged, or nobody has taken anything for a while. Returns the
    /// thread that sees to that, if there is one, so that somebody can wait for its end.
    pub(super) fn close(&self) -> Option<JoinHandle<()>> {
        let mut state = self.inner.state.lock();
        state.closing = true;
        let needs_none = state.running || state.count == 0 || self.inner.outlet.is_abandoned();
        if !needs_none && let Err(error) = self.start(&mut state) {
            tracing::warn!("a writer ends at once, and what was not acknowledged with it: {error}");
        }
        drop(state);
        self.inner.filled.notify_all();
        self.thread.lock().take()
    }

    fn start(&self, state: &mut State) -> Result<(), RosError> {
        let inner = self.inner.clone();
        let spawned = std::thread::Builder::new().name("ros-publish".to_owned()).spawn(move || inner.run());
        *self.thread.lock() = Some(spawned.map_err(|error| RosError::Thread(error.to_string()))?);
        state.running = true;
        Ok(())
    }
}

impl<O: Outlet> Inner<O> {
    fn run(&self) {
        let mut progress = Instant::now();
        let mut state = self.state.lock();
        while !(state.closing && self.outlet.is_abandoned()) {
            let Some(payload) = state.queue.front().cloned() else {
                // Under the lock, so that what comes next goes directly and behind all of this.
                if state.overrun || self.outlet.is_acknowledged() {
                    (state.count, state.bytes) = (0, 0);
                    state.running = false;
                    return;
                }
                if !state.closing {
                    self.filled.wait_for(&mut state, IDLE);
                    progress = Instant::now();
                    continue;
                }
                if progress.elapsed() >= ACKNOWLEDGED_WITHIN {
                    state.running = false;
                    return;
                }
                self.filled.wait_for(&mut state, LOOK_AGAIN);
                continue;
            };
            if state.bytes >= BYTES_UNSURE && !state.overrun {
                if self.outlet.is_acknowledged() {
                    (state.count, state.bytes) = (0, 0);
                } else {
                    // A little more makes the middleware ask its readers; too much more would fill the memory.
                    self.filled.wait_for(&mut state, LOOK_AGAIN);
                }
            }
            let published = if state.bytes < 2 * BYTES_UNSURE || state.overrun {
                parking_lot::MutexGuard::unlocked(&mut state, || self.outlet.publish(&payload))
            } else {
                Err(RosError::NotAcknowledged)
            };
            match published {
                Ok(()) => {
                    progress = Instant::now();
                    state.note(payload.len());
                    state.dequeue();
                    if state.take_relief() {
                        parking_lot::MutexGuard::unlocked(&mut state, || self.outlet.relieved());
                    }
                }
                Err(error) if state.overrun => {
                    tracing::debug!("a sample could not be published: {error}");
                    state.dropped += 1;
                    state.dequeue();
                }
                Err(_) if progress.elapsed() < defaults::HOLD_MAX => {
                    // Where the middleware refuses at once, it is not asked in a loop.
                    self.filled.wait_for(&mut state, LOOK_AGAIN);
                }
                Err(_) => {
                    state.overrun = true;
                    state.dropped += state.count as u64;
                    if let Err(error) = self.outlet.overrun() {
                        tracing::error!("a writer that waits in vain cannot be replaced: {error}");
                    }
                }
            }
        }
        state.running = false;
    }
}

impl State {
    /// Whether the writer may be full, or hold too much.
    fn is_unsure(&self) -> bool {
        self.count >= COUNT_UNSURE || self.bytes >= BYTES_UNSURE
    }

    fn note(&mut self, length: usize) {
        self.count = self.count.saturating_add(1);
        self.bytes = self.bytes.saturating_add(length);
    }

    fn enqueue(&mut self, payload: Bytes) {
        let cost = payload.len() + defaults::PACKET_OVERHEAD;
        while !self.queue.is_empty() && self.queue_bytes + cost > defaults::DATA_QUEUE_BYTES {
            self.dropped += 1;
            self.dequeue();
        }
        self.queue_bytes += cost;
        self.queue.push_back(payload);
        if self.queue.len() > 1
            && (self.queue_bytes >= defaults::CONGESTED_BYTES || self.queue.len() >= defaults::CONGESTED_PACKETS)
        {
            self.congested = true;
        }
    }

    fn dequeue(&mut self) {
        if let Some(payload) = self.queue.pop_front() {
            self.queue_bytes -= payload.len() + defaults::PACKET_OVERHEAD;
        }
    }

    fn take_relief(&mut self) -> bool {
        let relieved = self.congested
            && self.queue_bytes <= defaults::RELIEVED_BYTES
            && self.queue.len() <= defaults::RELIEVED_PACKETS;
        self.congested &= !relieved;
        relieved
    }
}

/// Samples after which a writer may be full: a KEEP_ALL writer of Fast DDS has room for 5,000.
const COUNT_UNSURE: usize = 4_500;
/// Bytes after which a writer holds enough that nobody may have taken.
const BYTES_UNSURE: usize = defaults::DATA_QUEUE_BYTES;
/// How long an idle thread waits before it looks whether all is acknowledged.
const IDLE: Duration = Duration::from_millis(500);
/// How long a writer that ends waits for acknowledgements: Fast DDS asks for them every 3 s.
const ACKNOWLEDGED_WITHIN: Duration = Duration::from_secs(4);
/// Pause before a writer that had no room is tried again.
const LOOK_AGAIN: Duration = Duration::from_millis(5);

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

    use super::*;

    /// A subscriber that takes as many samples as it is let.
    #[derive(Default)]
    struct Subscriber {
        room: AtomicUsize,
        taken: Mutex<Vec<Bytes>>,
        relieved: AtomicBool,
        overrun: AtomicBool,
    }

    impl Outlet for Arc<Subscriber> {
        fn publish(&self, payload: &[u8]) -> Result<(), RosError> {
            let less = |room: usize| room.checked_sub(1);
            if !self.overrun.load(Ordering::SeqCst)
                && self.room.fetch_update(Ordering::SeqCst, Ordering::SeqCst, less).is_err()
            {
                std::thread::sleep(Duration::from_millis(1));
                return Err(RosError::NotAcknowledged);
            }
            self.taken.lock().push(Bytes::copy_from_slice(payload));
            Ok(())
        }

        fn is_acknowledged(&self) -> bool {
            false
        }

        fn overrun(&self) -> Result<(), RosError> {
            self.overrun.store(true, Ordering::SeqCst);
            Ok(())
        }

        fn is_abandoned(&self) -> bool {
            true
        }

        fn relieved(&self) {
            self.relieved.store(true, Ordering::SeqCst);
        }
    }

    fn until(what: &str, done: impl Fn() -> bool) {
        let end = Instant::now() + Duration::from_secs(20);
        while !done() {
            assert!(Instant::now() < end, "waited in vain for {what}");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    fn sample(number: usize) -> Bytes {
        Bytes::copy_from_slice(&number.to_le_bytes())
    }

    #[test]
    fn what_a_slow_subscriber_can_still_take_waits_for_it_in_order_and_the_sender_is_told_to_pause() {
        let subscriber = Arc::new(Subscriber::default());
        subscriber.room.store(COUNT_UNSURE, Ordering::SeqCst);
        let lane = Lane::new(subscriber.clone());
        let count = COUNT_UNSURE + defaults::CONGESTED_PACKETS;
        let told: Vec<_> = (0..count).map(|number| lane.publish(sample(number)).unwrap()).collect();
        assert_eq!((told[COUNT_UNSURE], told[count - 1]), (Published::Done, Published::Congested));
        subscriber.room.store(count, Ordering::SeqCst);
        until("everything", || subscriber.taken.lock().len() == count);
        assert!(subscriber.taken.lock().iter().enumerate().all(|(number, taken)| *taken == sample(number)));
        until("the end of the pause", || subscriber.relieved.load(Ordering::SeqCst));
        assert_eq!(lane.dropped(), 0);
        lane.close().unwrap().join().unwrap();
    }

    #[test]
    fn a_stuck_subscriber_is_not_waited_for_any_more_after_a_while() {
        let subscriber = Arc::new(Subscriber::default());
        subscriber.room.store(COUNT_UNSURE, Ordering::SeqCst);
        let lane = Lane::new(subscriber.clone());
        let began = Instant::now();
        for number in 0..COUNT_UNSURE + 10 {
            lane.publish(sample(number)).unwrap();
        }
        until("the others' samples", || subscriber.taken.lock().len() == COUNT_UNSURE + 10);
        assert!(began.elapsed() >= defaults::HOLD_MAX);
        assert!(lane.dropped() > 0, "and that is counted");
        lane.close();
    }

    #[test]
    fn the_queue_is_bounded_and_what_it_gives_up_is_counted() {
        let mut state = State::default();
        for _ in 0..5 {
            state.enqueue(Bytes::from(vec![0; defaults::DATA_QUEUE_BYTES / 4]));
        }
        assert_eq!((state.queue.len(), state.dropped), (3, 2));
        assert!(state.queue_bytes <= defaults::DATA_QUEUE_BYTES);
    }
}
