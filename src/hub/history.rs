//! The last messages of transient_local topics, for those who join late.

use std::collections::VecDeque;

use crate::{defaults, wire::Packet};

/// Bytes that all histories of the exchange hold together.
#[derive(Debug, Default)]
pub(super) struct Budget {
    used: usize,
}

/// The last messages of one feed, encoded, at most as many as its depth.
#[derive(Debug)]
pub(super) struct History {
    depth: usize,
    packets: VecDeque<Packet>,
    bytes: usize,
    /// Whether the lack of room was told already.
    pub(super) lack_told: bool,
}

impl History {
    /// An empty one. Depth 0 stands for [`defaults::UNKNOWN_DEPTH`].
    pub(super) fn new(depth: u32) -> Self {
        let depth = if depth == 0 { defaults::UNKNOWN_DEPTH } else { depth.min(defaults::DEPTH_MAX) };
        History { depth: depth as usize, packets: VecDeque::new(), bytes: 0, lack_told: false }
    }

    /// Keeps `packet` in place of the oldest ones. `false` if the exchange has no room for it: then late joiners do not
    /// get it.
    pub(super) fn keep(&mut self, packet: &Packet, budget: &mut Budget) -> bool {
        while self.packets.len() >= self.depth
            || (!self.packets.is_empty() && self.bytes + packet.len() > defaults::HISTORY_FEED_BYTES)
        {
            self.drop_oldest(budget);
        }
        if budget.used + packet.len() > defaults::HISTORY_BYTES {
            return false;
        }
        budget.used += packet.len();
        self.bytes += packet.len();
        self.packets.push_back(packet.clone());
        true
    }

    /// Forgets everything.
    pub(super) fn clear(&mut self, budget: &mut Budget) {
        while !self.packets.is_empty() {
            self.drop_oldest(budget);
        }
    }

    /// What is kept, the oldest first.
    pub(super) fn packets(&self) -> impl Iterator<Item = &Packet> {
        self.packets.iter()
    }

    fn drop_oldest(&mut self, budget: &mut Budget) {
        if let Some(packet) = self.packets.pop_front() {
            self.bytes -= packet.len();
            budget.used -= packet.len();
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn packet(tag: u8, length: usize) -> Packet {
        Packet { head: Bytes::from(vec![tag]), body: Bytes::from(vec![0; length]) }
    }

    fn tags(history: &History) -> Vec<u8> {
        history.packets().map(|packet| packet.head[0]).collect()
    }

    #[test]
    fn keeps_as_many_as_the_depth_and_the_bytes_allow_and_at_least_one() {
        let (mut history, mut budget) = (History::new(2), Budget::default());
        for tag in 1..=3 {
            assert!(history.keep(&packet(tag, 10), &mut budget));
        }
        assert_eq!((tags(&history), budget.used), (vec![2, 3], 22));
        assert!(history.keep(&packet(4, defaults::HISTORY_FEED_BYTES), &mut budget));
        assert_eq!(tags(&history), [4], "a map larger than the share of a feed is kept alone");
        history.clear(&mut budget);
        assert_eq!((tags(&history), budget.used), (vec![], 0));
    }

    #[test]
    fn says_when_the_exchange_has_no_room() {
        let mut budget = Budget { used: defaults::HISTORY_BYTES - 5 };
        assert!(!History::new(1).keep(&packet(1, 10), &mut budget));
        assert_eq!(budget.used, defaults::HISTORY_BYTES - 5);
    }
}
