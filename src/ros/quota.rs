//! How many of something may be there at a time.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

/// A number of tickets. Whoever holds one counts.
pub(super) struct Quota {
    held: Arc<AtomicUsize>,
    most: usize,
}

/// Given back when it is dropped.
#[derive(Debug)]
pub(super) struct Ticket(Arc<AtomicUsize>);

impl Quota {
    pub(super) fn new(most: usize) -> Quota {
        Quota { held: Arc::default(), most }
    }

    /// `None` if all are held.
    pub(super) fn ticket(&self) -> Option<Ticket> {
        let taken =
            self.held.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |held| (held < self.most).then_some(held + 1));
        taken.ok().map(|_| Ticket(self.held.clone()))
    }

    pub(super) fn most(&self) -> usize {
        self.most
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gives_no_more_than_there_are_and_takes_them_back() {
        let quota = Quota::new(2);
        let first = quota.ticket().unwrap();
        let _second = quota.ticket().unwrap();
        assert!(quota.ticket().is_none());
        drop(first);
        assert!(quota.ticket().is_some());
    }
}
