//! The last messages of transient_local topics, for those who join late.

use std::collections::{BTreeMap, VecDeque};

use crate::{defaults, ids::PublisherId, wire::Packet};

/// Bytes that all histories of the exchange hold together.
#[derive(Debug, Default)]
pub(super) struct Budget {
    used: usize,
}

/// The last messages of one feed, encoded: of each of its publishers as many as that one keeps, so that a chatty one does
/// not crowd a quiet one out.
#[derive(Debug, Default)]
pub(super) struct History {
    /// With the number of each message in the order of arrival.
    publishers: BTreeMap<PublisherId, Kept>,
    next_number: u64,
    bytes: usize,
    /// Whether the lack of room was told already.
    pub(super) lack_told: bool,
}

#[derive(Debug, Default)]
struct Kept {
    packets: VecDeque<(u64, Packet)>,
    bytes: usize,
}

impl History {
    /// Keeps `packet` in place of the oldest ones of its publisher, which keeps `keep` of them; 0 stands for
    /// [`defaults::UNKNOWN_DEPTH`]. Where bytes run short, whoever has most of them gives its oldest. `false` if the
    /// exchange has no room for it: then late joiners do not get it.
    pub(super) fn keep(&mut self, publisher: PublisherId, keep: u16, packet: &Packet, budget: &mut Budget) -> bool {
        let depth = if keep == 0 { defaults::UNKNOWN_DEPTH } else { u32::from(keep).min(defaults::DEPTH_MAX) };
        while self.publishers.get(&publisher).is_some_and(|kept| kept.packets.len() >= depth as usize) {
            self.drop_oldest(publisher, budget);
        }
        while self.bytes + cost(packet) > defaults::HISTORY_FEED_BYTES
            && let Some((&largest, _)) = self.publishers.iter().max_by_key(|(_, kept)| kept.bytes)
        {
            self.drop_oldest(largest, budget);
        }
        if budget.used + cost(packet) > defaults::HISTORY_BYTES {
            return false;
        }
        budget.used += cost(packet);
        self.bytes += cost(packet);
        let kept = self.publishers.entry(publisher).or_default();
        kept.bytes += cost(packet);
        kept.packets.push_back((self.next_number, packet.clone()));
        self.next_number += 1;
        true
    }

    /// Forgets everything.
    pub(super) fn clear(&mut self, budget: &mut Budget) {
        budget.used -= self.bytes;
        self.bytes = 0;
        self.publishers.clear();
    }

    /// What is kept, in the order of arrival.
    pub(super) fn packets(&self) -> Vec<Packet> {
        let mut packets: Vec<_> = self.publishers.values().flat_map(|kept| &kept.packets).collect();
        packets.sort_unstable_by_key(|(number, _)| *number);
        packets.into_iter().map(|(_, packet)| packet.clone()).collect()
    }

    fn drop_oldest(&mut self, publisher: PublisherId, budget: &mut Budget) {
        let Some(kept) = self.publishers.get_mut(&publisher) else { return };
        if let Some((_, packet)) = kept.packets.pop_front() {
            kept.bytes -= cost(&packet);
            self.bytes -= cost(&packet);
            budget.used -= cost(&packet);
        }
        if kept.packets.is_empty() {
            self.publishers.remove(&publisher);
        }
    }
}

/// The memory that a kept packet takes [bytes].
fn cost(packet: &Packet) -> usize {
    packet.len() + defaults::PACKET_OVERHEAD
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    const ONE: PublisherId = PublisherId(1);
    const TWO: PublisherId = PublisherId(2);

    fn packet(tag: u8, length: usize) -> Packet {
        Packet { head: Bytes::from(vec![tag]), body: Bytes::from(vec![0; length]) }
    }

    fn tags(history: &History) -> Vec<u8> {
        history.packets().iter().map(|packet| packet.head[0]).collect()
    }

    #[test]
    fn each_publisher_has_as_many_as_it_keeps_and_all_come_in_the_order_of_arrival() {
        let (mut history, mut budget) = (History::default(), Budget::default());
        assert!(history.keep(ONE, 1, &packet(1, 10), &mut budget));
        for tag in 2..100 {
            assert!(history.keep(TWO, 3, &packet(tag, 10), &mut budget));
        }
        assert_eq!(tags(&history), [1, 97, 98, 99], "the quiet one is still there");
        assert!(history.keep(ONE, 1, &packet(100, 10), &mut budget));
        assert_eq!(tags(&history), [97, 98, 99, 100]);
        assert!(history.keep(TWO, 1, &packet(101, 10), &mut budget));
        assert_eq!(tags(&history), [100, 101], "the latest word about how many it keeps counts");
        history.clear(&mut budget);
        assert_eq!((tags(&history), budget.used, history.bytes), (vec![], 0, 0));
    }

    #[test]
    fn a_publisher_that_does_not_say_how_many_it_keeps_has_the_default() {
        let (mut history, mut budget) = (History::default(), Budget::default());
        for tag in 0..100 {
            history.keep(ONE, 0, &packet(tag, 1), &mut budget);
        }
        assert_eq!(tags(&history).len(), defaults::UNKNOWN_DEPTH as usize);
    }

    #[test]
    fn whoever_has_most_bytes_gives_its_oldest_and_one_of_any_size_is_kept() {
        let (mut history, mut budget) = (History::default(), Budget::default());
        assert!(history.keep(ONE, 5, &packet(1, 10), &mut budget));
        for tag in 2..=5 {
            assert!(history.keep(TWO, 5, &packet(tag, defaults::HISTORY_FEED_BYTES / 3), &mut budget));
        }
        assert_eq!(tags(&history), [1, 4, 5]);
        assert!(history.keep(TWO, 5, &packet(6, defaults::HISTORY_FEED_BYTES), &mut budget));
        assert_eq!(tags(&history), [6], "a map larger than the share of a feed is kept alone");
        assert_eq!((budget.used, history.bytes), (cost(&packet(6, defaults::HISTORY_FEED_BYTES)), budget.used));
    }

    #[test]
    fn says_when_the_exchange_has_no_room() {
        let mut budget = Budget { used: defaults::HISTORY_BYTES - 5 };
        assert!(!History::default().keep(ONE, 1, &packet(1, 10), &mut budget));
        assert_eq!(budget.used, defaults::HISTORY_BYTES - 5);
    }
}
