//! Finds lost samples by the gaps in their publishers' sequence numbers.

use crate::routes::graph::Gid;

/// Publishers of one topic whose sequence is followed; the one heard of longest ago is forgotten beyond that, and its
/// next sample begins anew.
const PUBLISHERS_MAX: usize = 64;

/// The last sequence number of each publisher of one topic, the latest heard last.
#[derive(Debug, Default)]
pub(super) struct Sequences {
    last: Vec<(Gid, u64)>,
}

impl Sequences {
    /// Takes note of a sample and returns how many of the same publisher are missing before it. The first sample of a
    /// publisher misses none: we may have joined late.
    pub(super) fn missing_before(&mut self, publisher: Gid, sequence: u64) -> u64 {
        let missing = match self.last.iter().position(|(known, _)| *known == publisher) {
            Some(index) => {
                let (_, last) = self.last.remove(index);
                sequence.saturating_sub(last).saturating_sub(1)
            }
            None => 0,
        };
        if self.last.len() >= PUBLISHERS_MAX {
            self.last.remove(0);
        }
        self.last.push((publisher, sequence));
        missing
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gid(n: u8) -> Gid {
        Gid([n; 24])
    }

    #[test]
    fn gaps_are_counted_per_publisher() {
        let mut sequences = Sequences::default();
        assert_eq!(sequences.missing_before(gid(1), 5), 0);
        assert_eq!(sequences.missing_before(gid(2), 900), 0);
        assert_eq!(sequences.missing_before(gid(1), 6), 0);
        assert_eq!(sequences.missing_before(gid(1), 10), 3);
        assert_eq!(sequences.missing_before(gid(2), 901), 0);
    }

    #[test]
    fn going_back_is_no_loss() {
        let mut sequences = Sequences::default();
        sequences.missing_before(gid(1), 100);
        assert_eq!(sequences.missing_before(gid(1), 1), 0);
        assert_eq!(sequences.missing_before(gid(1), 2), 0);
    }

    #[test]
    fn the_table_stays_bounded() {
        let mut sequences = Sequences::default();
        for n in 0..=255 {
            sequences.missing_before(gid(n), 1);
        }
        assert_eq!(sequences.last.len(), PUBLISHERS_MAX);
        // The latest are the ones that are kept.
        assert_eq!(sequences.missing_before(gid(255), 3), 1);
    }
}
