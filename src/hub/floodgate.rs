//! Lets through a bounded number of things per minute and counts the rest.

use std::time::Duration;

use crate::time::Mono;

const WINDOW: Duration = Duration::from_secs(60);

/// Keeps a flood of strangers from filling logs and disks.
#[derive(Debug)]
pub(super) struct Floodgate {
    per_minute: u32,
    window_began: Option<Mono>,
    passed: u32,
    held_back: u64,
}

impl Floodgate {
    pub(super) fn new(per_minute: u32) -> Self {
        Floodgate { per_minute, window_began: None, passed: 0, held_back: 0 }
    }

    /// Whether one more may pass at `now`.
    pub(super) fn passes(&mut self, now: Mono) -> bool {
        if self.window_began.is_none_or(|began| now.since(began) >= WINDOW) {
            self.window_began = Some(now);
            self.passed = 0;
        }
        if self.passed < self.per_minute {
            self.passed += 1;
            true
        } else {
            self.held_back += 1;
            false
        }
    }

    /// How many did not pass.
    pub(super) fn held_back(&self) -> u64 {
        self.held_back
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_what_it_holds_back_and_opens_again_after_a_minute() {
        let mut gate = Floodgate::new(2);
        let at = |seconds| Mono(Duration::from_secs(seconds));
        assert!(gate.passes(at(10)) && gate.passes(at(11)));
        assert!(!gate.passes(at(12)) && !gate.passes(at(69)));
        assert!(gate.passes(at(70)));
        assert_eq!(gate.held_back(), 2);
    }
}
