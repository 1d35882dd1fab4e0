//! Rate limits that keep the freshest messages.

use std::time::Duration;

use crate::time::Mono;

/// Lets messages through at most so often.
///
/// Messages that come a little early still pass, and the due time moves on by whole intervals: a 30 Hz source behind a
/// limit of 30 Hz keeps all of its messages in spite of jitter, and the average never exceeds the limit.
#[derive(Debug, Clone)]
pub struct Pace {
    max_rate_millihertz: u32,
    due: Mono,
}

/// The part of an interval by which a message may come early.
const EARLY: f64 = 0.5;

impl Pace {
    /// A limit of `max_rate_millihertz` thousandths of a message per second; 0 is none.
    pub fn new(max_rate_millihertz: u32) -> Self {
        Pace { max_rate_millihertz, due: Mono::default() }
    }

    /// The limit [mHz]; 0 is none.
    pub fn max_rate_millihertz(&self) -> u32 {
        self.max_rate_millihertz
    }

    /// Whether a message may go at `now`.
    pub fn is_due(&mut self, now: Mono) -> bool {
        if self.max_rate_millihertz == 0 {
            return true;
        }
        let interval = Duration::from_secs_f64(1_000.0 / f64::from(self.max_rate_millihertz));
        if now + interval.mul_f64(EARLY) < self.due {
            return false;
        }
        // After a pause the next interval begins now: no burst makes up for what was not sent.
        self.due = if now.since(self.due) > interval { now + interval } else { self.due + interval };
        true
    }
}

/// `rate` [Hz] in thousandths, at least one of them, since 0 stands for no limit.
pub fn millihertz(rate: Option<f64>) -> u32 {
    // The cast saturates, and NaN becomes 0, which the lower bound mends.
    rate.map_or(0, |rate| ((rate * 1_000.0).round() as u32).max(1))
}

/// The lower of two limits, of which 0 is none.
pub fn lower_limit(a: u32, b: u32) -> u32 {
    match (a, b) {
        (0, limit) | (limit, 0) => limit,
        (a, b) => a.min(b),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_limit_keeps_a_jittery_source_of_that_rate_whole_and_halves_one_of_twice_the_rate() {
        let count = |rate_hz: f64, jitter_ms: &[i64]| {
            let mut pace = Pace::new(30_000);
            (0..300)
                .filter(|&i| {
                    let at = 1_000_000.0 + 1e6 * f64::from(i) / rate_hz;
                    let at = at as i64 + 1_000 * jitter_ms[i as usize % jitter_ms.len()];
                    pace.is_due(Mono(Duration::from_micros(at as u64)))
                })
                .count()
        };
        assert_eq!(count(30.0, &[0, 9, -8, 3]), 300);
        assert!((149..=151).contains(&count(60.0, &[0])), "{}", count(60.0, &[0]));
        assert!((29..=31).contains(&count(300.0, &[0])), "{}", count(300.0, &[0]));
    }

    #[test]
    fn after_a_pause_no_burst_makes_up_for_it() {
        let mut pace = Pace::new(10_000);
        let at = |millis| Mono(Duration::from_millis(millis));
        assert!(pace.is_due(at(0)));
        let passed = (0..50).filter(|i| pace.is_due(at(10_000 + i))).count();
        assert!(passed <= 2, "{passed}");
    }

    #[test]
    fn limits_combine_to_the_lower_one_and_no_limit_is_none() {
        assert_eq!([lower_limit(0, 5), lower_limit(5, 0), lower_limit(3, 5), lower_limit(0, 0)], [5, 5, 3, 0]);
        assert_eq!([millihertz(None), millihertz(Some(2.5)), millihertz(Some(1e-9))], [0, 2_500, 1]);
    }
}
