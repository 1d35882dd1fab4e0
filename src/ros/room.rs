//! How many samples may wait for the node's loop, in number and in bytes, and who is told when there is room again.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

/// The room that waiting samples share. One thread fills it; anybody empties it by dropping [`Share`]s.
pub(super) struct Room {
    samples: AtomicUsize,
    bytes: AtomicUsize,
    samples_max: usize,
    bytes_max: usize,
    /// The filling thread sleeps until there is room.
    waiting: AtomicBool,
    wake: Box<dyn Fn() + Send + Sync>,
}

impl Room {
    /// `wake` is called once, from whichever thread drops the share that brings the room down to half, after
    /// [`Room::wait`] said that there is none.
    pub(super) fn new(samples_max: usize, bytes_max: usize, wake: impl Fn() + Send + Sync + 'static) -> Arc<Room> {
        Arc::new(Room {
            samples: AtomicUsize::new(0),
            bytes: AtomicUsize::new(0),
            samples_max: samples_max.max(1),
            bytes_max,
            waiting: AtomicBool::new(false),
            wake: Box::new(wake),
        })
    }

    /// Whether another sample may come. One of any size is let in, so that none is too large for ever.
    pub(super) fn is_free(&self) -> bool {
        self.samples.load(Ordering::SeqCst) < self.samples_max && self.bytes.load(Ordering::SeqCst) < self.bytes_max
    }

    /// Asks to be woken. `true` if there is room after all.
    pub(super) fn wait(&self) -> bool {
        self.waiting.store(true, Ordering::SeqCst);
        // A share that was dropped before the line above has woken nobody: look again.
        if self.is_half_empty() {
            self.waiting.store(false, Ordering::SeqCst);
            return true;
        }
        false
    }

    /// Takes room for a sample of `bytes`.
    pub(super) fn share(self: &Arc<Self>, bytes: usize) -> Share {
        self.samples.fetch_add(1, Ordering::SeqCst);
        self.bytes.fetch_add(bytes, Ordering::SeqCst);
        Share { room: self.clone(), bytes }
    }

    /// Waking at half and not at the first free place spares a switch of threads per sample.
    fn is_half_empty(&self) -> bool {
        self.samples.load(Ordering::SeqCst) <= self.samples_max / 2
            && self.bytes.load(Ordering::SeqCst) <= self.bytes_max / 2
    }
}

/// The room that one sample takes, given back when it is dropped.
pub(super) struct Share {
    room: Arc<Room>,
    bytes: usize,
}

impl std::fmt::Debug for Share {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Share({} bytes)", self.bytes)
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.room.samples.fetch_sub(1, Ordering::SeqCst);
        self.room.bytes.fetch_sub(self.bytes, Ordering::SeqCst);
        if self.room.waiting.load(Ordering::SeqCst)
            && self.room.is_half_empty()
            && self.room.waiting.swap(false, Ordering::SeqCst)
        {
            (self.room.wake)();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn room(samples: usize, bytes: usize) -> (Arc<Room>, Arc<AtomicUsize>) {
        let woken = Arc::new(AtomicUsize::new(0));
        let count = woken.clone();
        (Room::new(samples, bytes, move || drop(count.fetch_add(1, Ordering::SeqCst))), woken)
    }

    #[test]
    fn is_full_by_number_and_by_bytes() {
        let (room, _) = room(3, 100);
        let first = room.share(10);
        let second = room.share(10);
        assert!(room.is_free());
        let third = room.share(10);
        assert!(!room.is_free());
        drop((first, second, third));
        let _large = room.share(1_000_000);
        assert!(!room.is_free());
    }

    #[test]
    fn wakes_once_and_only_whom_it_told_to_wait() {
        let (room, woken) = room(4, 1_000);
        let mut shares: Vec<_> = (0..4).map(|_| room.share(1)).collect();
        shares.pop();
        assert_eq!(woken.load(Ordering::SeqCst), 0, "nobody waits");
        assert!(!room.wait());
        shares.pop();
        assert_eq!(woken.load(Ordering::SeqCst), 1);
        shares.clear();
        assert_eq!(woken.load(Ordering::SeqCst), 1);
    }

    #[test]
    fn whoever_comes_too_late_to_wait_is_told_at_once() {
        let (room, woken) = room(2, 1_000);
        drop((room.share(1), room.share(1)));
        assert!(room.wait());
        assert_eq!(woken.load(Ordering::SeqCst), 0);
    }
}
