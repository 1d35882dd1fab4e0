//! How long to wait before dialling again.

use std::time::Duration;

use crate::defaults;

/// Exponential back-off with jitter. Without jitter a fleet that lost its server would come back in step and knock all at
/// once; "equal jitter" keeps half of the delay, so that an attempt is never immediate.
#[derive(Debug, Default)]
pub struct Backoff {
    attempts: u32,
}

impl Backoff {
    /// Attempts since the last success.
    pub fn attempts(&self) -> u32 {
        self.attempts
    }

    /// The delay before the next attempt; `random` is uniform in `0.0..1.0`.
    pub fn next_delay(&mut self, random: f64) -> Duration {
        let doubled =
            defaults::BACKOFF_FIRST.saturating_mul(1_u32.checked_shl(self.attempts.min(16)).unwrap_or(u32::MAX));
        self.attempts = self.attempts.saturating_add(1);
        doubled.min(defaults::BACKOFF_MAX).mul_f64(0.5 + 0.5 * random.clamp(0.0, 1.0))
    }

    /// The line is up: begin anew next time.
    pub fn reset(&mut self) {
        self.attempts = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grows_to_its_limit_and_stays_there_for_ever() {
        let mut backoff = Backoff::default();
        let delays: Vec<_> = (0..40).map(|_| backoff.next_delay(1.0)).collect();
        assert_eq!(delays[0], defaults::BACKOFF_FIRST);
        assert!(delays.windows(2).all(|pair| pair[0] <= pair[1]));
        assert_eq!(delays[39], defaults::BACKOFF_MAX);
        backoff.reset();
        assert_eq!(backoff.next_delay(1.0), defaults::BACKOFF_FIRST);
    }

    #[test]
    fn jitter_takes_away_at_most_half() {
        for random in [0.0, 0.3, 0.999, 7.0, -1.0] {
            let delay = Backoff::default().next_delay(random);
            assert!(delay >= defaults::BACKOFF_FIRST / 2 && delay <= defaults::BACKOFF_FIRST, "{delay:?}");
        }
    }
}
