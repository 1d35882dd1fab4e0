//! The two clocks, as values. Pure modules never read a clock: they are handed a [`Now`].

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Monotonic time since the process (or the simulation) began. Never jumps, so deadlines are kept in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Mono(pub Duration);

impl Mono {
    /// The time from `earlier` to `self`, zero if `earlier` is later.
    pub fn since(self, earlier: Mono) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

impl std::ops::Add<Duration> for Mono {
    type Output = Mono;

    fn add(self, by: Duration) -> Mono {
        Mono(self.0.saturating_add(by))
    }
}

/// Wall-clock time in nanoseconds since the Unix epoch (ROS system time). It may jump, so it is only for showing and
/// recording, never for deadlines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Wall(pub i64);

impl Wall {
    /// Whole seconds and the nanoseconds past them, as `builtin_interfaces/Time` holds them. Times before the epoch
    /// round down, so the nanoseconds are always in `0..1_000_000_000`.
    pub fn split(self) -> (i64, u32) {
        (self.0.div_euclid(NANOS), self.0.rem_euclid(NANOS) as u32)
    }

    /// The inverse of [`Wall::split`], saturating at the ends of the range.
    pub fn join(seconds: i64, nanoseconds: u32) -> Wall {
        Wall(seconds.saturating_mul(NANOS).saturating_add(i64::from(nanoseconds)))
    }

    /// Nanoseconds from `earlier` to `self`, negative if `earlier` is later.
    pub fn nanos_since(self, earlier: Wall) -> i64 {
        self.0.saturating_sub(earlier.0)
    }
}

const NANOS: i64 = 1_000_000_000;

/// One instant on both clocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Now {
    /// For deadlines and intervals.
    pub mono: Mono,
    /// For showing and recording.
    pub wall: Wall,
}

impl Now {
    /// The same instant `by` later on both clocks (for tests and simulations).
    pub fn plus(self, by: Duration) -> Now {
        let nanos = i64::try_from(by.as_nanos()).unwrap_or(i64::MAX);
        Now { mono: self.mono + by, wall: Wall(self.wall.0.saturating_add(nanos)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn splitting_and_joining_round_trips_on_both_sides_of_the_epoch() {
        for nanos in [0, 1, -1, 1_700_000_000_123_456_789, -1_500_000_000] {
            let (seconds, rest) = Wall(nanos).split();
            assert_eq!(Wall::join(seconds, rest), Wall(nanos));
        }
        assert_eq!(Wall(-1).split(), (-1, 999_999_999));
    }
}
