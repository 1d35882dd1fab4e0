//! Finds out how many samples each publisher of a transient_local topic keeps for late joiners, which DDS does not tell.

use crate::{
    defaults,
    model::{Durability, Qos},
    routes::graph::Gid,
    time::Wall,
};

/// What is known of the publishers of one topic that we read.
///
/// What was published before our reader was made is what a publisher keeps. If the first of it is not the first that it
/// ever published, older ones were dropped, so it keeps just as many as have come; otherwise it may keep more.
#[derive(Debug)]
pub(super) struct Keeps {
    /// When our reader was made.
    made: Wall,
    is_transient_local: bool,
    /// What a rule says.
    ruled: Option<u16>,
    publishers: Vec<(Gid, Kept)>,
}

#[derive(Debug, Clone, Copy)]
struct Kept {
    /// How much of what was published before has come.
    before: u16,
    /// Whether older samples were dropped.
    is_full: bool,
    /// Whether anything has come that was published since.
    is_over: bool,
}

impl Keeps {
    /// For a reader with `qos` that was made at `made`. Its depth, if it is not 0, holds for every publisher.
    pub(super) fn new(qos: &Qos, made: Wall) -> Keeps {
        let ruled = (qos.depth != 0).then(|| qos.depth.min(defaults::DEPTH_MAX) as u16);
        let is_transient_local = qos.durability == Durability::TransientLocal;
        Keeps { made, is_transient_local, ruled, publishers: Vec::new() }
    }

    /// How many samples `publisher` keeps, now that the one with this number, published at `source_time`, has come; 0 if
    /// that is not known yet, and for volatile topics. What is said before all that it keeps has come is a lower bound, so
    /// that nobody drops what is still wanted.
    pub(super) fn keep(&mut self, publisher: Gid, sequence: Option<u64>, source_time: Wall) -> u16 {
        if !self.is_transient_local {
            return 0;
        }
        if let Some(ruled) = self.ruled {
            return ruled;
        }
        let index = self.publishers.iter().position(|(gid, _)| *gid == publisher);
        let index = index.unwrap_or_else(|| {
            if self.publishers.len() >= defaults::PUBLISHERS_MAX {
                self.publishers.remove(0);
            }
            let is_full = sequence.is_some_and(|sequence| sequence > 1);
            self.publishers.push((publisher, Kept { before: 0, is_full, is_over: false }));
            self.publishers.len() - 1
        });
        let (_, kept) = &mut self.publishers[index];
        if source_time < self.made && !kept.is_over {
            kept.before = kept.before.saturating_add(1).min(defaults::DEPTH_MAX as u16);
        } else {
            kept.is_over = true;
        }
        let exact = kept.is_over && kept.is_full;
        let says_more = u32::from(kept.before) > defaults::UNKNOWN_DEPTH;
        if exact || says_more { kept.before } else { 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Reliability;

    const ONE: Gid = Gid([1; 24]);
    const TWO: Gid = Gid([2; 24]);

    fn transient_local(depth: u32) -> Keeps {
        let qos =
            Qos { durability: Durability::TransientLocal, reliability: Reliability::Reliable, depth, ..Qos::default() };
        Keeps::new(&qos, Wall(100))
    }

    #[test]
    fn what_came_before_is_counted_once_something_new_has_come() {
        let mut keeps = transient_local(0);
        assert_eq!([5, 6, 7].map(|number| keeps.keep(ONE, Some(number), Wall(50))), [0; 3], "more may come");
        assert_eq!(keeps.keep(TWO, Some(90), Wall(60)), 0);
        assert_eq!(keeps.keep(ONE, Some(8), Wall(101)), 3);
        assert_eq!(keeps.keep(TWO, Some(91), Wall(102)), 1, "each publisher by itself");
        assert_eq!(keeps.keep(ONE, Some(9), Wall(50)), 3, "a clock that jumps changes nothing");
    }

    #[test]
    fn whoever_has_dropped_nothing_yet_may_keep_more() {
        let mut keeps = transient_local(0);
        assert_eq!([1, 2].map(|number| keeps.keep(ONE, Some(number), Wall(50))), [0; 2]);
        assert_eq!(keeps.keep(ONE, Some(3), Wall(101)), 0);
        assert_eq!(keeps.keep(TWO, Some(7), Wall(101)), 0, "of somebody who came later nothing is known");
        assert_eq!(keeps.keep(Gid([3; 24]), None, Wall(50)), 0, "nor where samples have no numbers");
    }

    #[test]
    fn more_than_the_default_is_never_understated() {
        let mut keeps = transient_local(0);
        let said: Vec<u16> = (4..54).map(|number| keeps.keep(ONE, Some(number), Wall(50))).collect();
        for (index, said) in said.into_iter().enumerate() {
            assert!(said == 0 && index < defaults::UNKNOWN_DEPTH as usize || usize::from(said) == index + 1);
        }
    }

    #[test]
    fn a_rule_knows_better_and_volatile_topics_keep_nothing() {
        assert_eq!(transient_local(4).keep(ONE, Some(8), Wall(50)), 4);
        assert_eq!(Keeps::new(&Qos::default(), Wall(100)).keep(ONE, Some(8), Wall(50)), 0);
    }

    #[test]
    fn the_table_is_bounded() {
        let mut keeps = transient_local(0);
        for n in 0..=255 {
            keeps.keep(Gid([n; 24]), Some(2), Wall(50));
        }
        assert_eq!(keeps.publishers.len(), defaults::PUBLISHERS_MAX);
    }
}
