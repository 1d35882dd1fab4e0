//! Something that could not be made, and when it is tried again.

use crate::{defaults, time::Mono};

/// A reader or writer that could not be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Failure {
    reason: String,
    /// `None` until the time is known, and while it is being tried again.
    retry_at: Option<Mono>,
    /// Whether a new attempt is under way. If nobody says that it failed too, it did not.
    tried: bool,
}

impl Failure {
    pub(super) fn new(reason: &str) -> Failure {
        Failure { reason: reason.to_owned(), retry_at: None, tried: false }
    }

    pub(super) fn reason(&self) -> &str {
        &self.reason
    }

    /// Whether it is time for a new attempt.
    pub(super) fn is_due(&mut self, now: Mono) -> bool {
        if self.tried {
            return false;
        }
        *self.retry_at.get_or_insert(now + defaults::RETRY_CLOSED) <= now
    }

    /// A new attempt is under way.
    pub(super) fn try_again(&mut self) {
        self.tried = true;
        self.retry_at = None;
    }

    /// Whether the last attempt was made and nobody said that it failed.
    pub(super) fn is_over(&self) -> bool {
        self.tried
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_due_some_time_after_it_is_seen_and_over_when_nothing_more_is_heard() {
        let at = |seconds| Mono(std::time::Duration::from_secs(seconds));
        let mut failure = Failure::new("why");
        assert!(!failure.is_due(at(5)) && !failure.is_due(at(14)) && failure.is_due(at(15)));
        assert!(!failure.is_over());
        failure.try_again();
        assert!(!failure.is_due(at(100)) && failure.is_over());
    }
}
