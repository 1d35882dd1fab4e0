//! Who holds a reliable feed back, and for how long it may.

use crate::{defaults, time::Mono};

/// Why a subscriber cannot take more of a feed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cause {
    /// Its link has not enough room ([`crate::outbox::Outbox::push_message`]).
    Link,
    /// It said so itself.
    Word,
}

/// What one subscriber of a feed has to do with holding it back.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Hold {
    by_link: bool,
    by_word: bool,
    since: Mono,
    /// It has held the feed too long, and loses messages until it has caught up.
    overruled: bool,
}

impl Hold {
    /// Whether it cannot take more.
    pub(super) fn is_on(&self) -> bool {
        self.by_link || self.by_word
    }

    /// It cannot take more, or it can, as far as `cause` goes. Whoever has caught up has its right back.
    pub(super) fn set(&mut self, cause: Cause, on: bool, now: Mono) {
        let was_on = self.is_on();
        match cause {
            Cause::Link => self.by_link = on,
            Cause::Word => self.by_word = on,
        }
        if self.is_on() && !was_on {
            self.since = now;
        }
        self.overruled &= self.is_on();
    }

    fn right_ends(&self, disputed_since: Mono) -> Mono {
        self.since.max(disputed_since) + defaults::HOLD_MAX
    }
}

/// What the subscribers of one feed make of their holds together.
#[derive(Debug, Default)]
pub(super) struct Dispute {
    /// Since when some could go on while others hold.
    since: Option<Mono>,
}

/// Whether a feed is held, and when to look again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Verdict {
    pub(super) held: bool,
    pub(super) until: Option<Mono>,
}

impl Dispute {
    /// While all hold, the feed waits for the first of them. While some hold and others could go on, it waits for the slow
    /// ones, but for none longer than [`defaults::HOLD_MAX`]: that one is overruled.
    pub(super) fn judge<'a>(&mut self, holds: impl Iterator<Item = &'a mut Hold>, now: Mono) -> Verdict {
        let (mut on, mut off) = (Vec::new(), 0);
        for hold in holds {
            if hold.is_on() { on.push(hold) } else { off += 1 }
        }
        if on.is_empty() || off == 0 {
            self.since = None;
            return Verdict { held: !on.is_empty(), until: None };
        }
        let since = *self.since.get_or_insert(now);
        for hold in &mut on {
            hold.overruled |= hold.right_ends(since) <= now;
        }
        let until = on.iter().filter(|hold| !hold.overruled).map(|hold| hold.right_ends(since)).min();
        Verdict { held: until.is_some(), until }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn at(millis: u64) -> Mono {
        Mono(Duration::from_millis(millis))
    }

    fn holding(since: Mono) -> Hold {
        let mut hold = Hold::default();
        hold.set(Cause::Link, true, since);
        hold
    }

    const HELD: Verdict = Verdict { held: true, until: None };
    const FREE: Verdict = Verdict { held: false, until: None };

    #[test]
    fn a_feed_waits_for_its_only_subscriber_for_ever() {
        let (mut dispute, mut hold) = (Dispute::default(), holding(at(0)));
        assert_eq!(dispute.judge([&mut hold].into_iter(), at(0)), HELD);
        assert_eq!(dispute.judge([&mut hold].into_iter(), at(3_600_000)), HELD);
        hold.set(Cause::Link, false, at(3_600_001));
        assert_eq!(dispute.judge([&mut hold].into_iter(), at(3_600_001)), FREE);
    }

    #[test]
    fn who_holds_too_long_while_another_could_go_on_is_overruled_until_it_has_caught_up() {
        let (mut dispute, mut slow, mut fast) = (Dispute::default(), holding(at(0)), Hold::default());
        let mut judge = |slow: &mut Hold, fast: &mut Hold, now| dispute.judge([slow, fast].into_iter(), now);
        assert_eq!(judge(&mut slow, &mut fast, at(0)), Verdict { held: true, until: Some(at(2_000)) });
        assert_eq!(judge(&mut slow, &mut fast, at(1_999)), Verdict { held: true, until: Some(at(2_000)) });
        assert_eq!(judge(&mut slow, &mut fast, at(2_000)), FREE);
        slow.set(Cause::Link, true, at(2_500));
        assert_eq!(judge(&mut slow, &mut fast, at(2_500)), FREE, "it has no right to hold yet");
        slow.set(Cause::Link, false, at(3_000));
        assert_eq!(judge(&mut slow, &mut fast, at(3_000)), FREE);
        slow.set(Cause::Word, true, at(4_000));
        assert_eq!(judge(&mut slow, &mut fast, at(4_000)), Verdict { held: true, until: Some(at(6_000)) });
    }

    #[test]
    fn the_time_that_all_hold_together_does_not_count() {
        let (mut dispute, mut one, mut other) = (Dispute::default(), holding(at(0)), holding(at(10)));
        assert_eq!(dispute.judge([&mut one, &mut other].into_iter(), at(60_000)), HELD);
        other.set(Cause::Link, false, at(60_000));
        let verdict = dispute.judge([&mut one, &mut other].into_iter(), at(60_000));
        assert_eq!(verdict, Verdict { held: true, until: Some(at(62_000)) });
    }

    #[test]
    fn a_subscriber_holds_until_every_cause_is_gone() {
        let mut hold = holding(at(0));
        hold.set(Cause::Word, true, at(1));
        hold.set(Cause::Link, false, at(2));
        assert!(hold.is_on());
        hold.set(Cause::Word, false, at(3));
        assert!(!hold.is_on());
    }
}
