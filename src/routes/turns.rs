//! How many calls of one local service are made at a time.

use std::{collections::VecDeque, time::Duration};

use bytes::Bytes;

use crate::{defaults, ids::CallId, time::Mono};

/// The calls of one service that are made, and those that wait for their turn.
///
/// A ROS server keeps [`defaults::CALLS_AT_A_TIME`] requests by default and drops the oldest of more without a word. So no
/// more are made at a time, unless the server shows that it takes as many at once: if the last of them is answered in about
/// the time of a call that was alone, they did not wait for each other.
#[derive(Debug)]
pub(super) struct Turns {
    most: usize,
    made: usize,
    fastest: Option<Duration>,
    waiting: VecDeque<(CallId, Bytes)>,
    bytes: usize,
}

/// The turn of one call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    /// It waits for it.
    Waits,
    /// It was made.
    Made {
        /// When.
        at: Mono,
        /// How many there were then, itself included.
        among: usize,
    },
    /// It was made at once and does not count: it may take hours, and servers do not let others wait for it.
    Apart,
}

impl Default for Turns {
    fn default() -> Self {
        Turns { most: defaults::CALLS_AT_A_TIME, made: 0, fastest: None, waiting: VecDeque::new(), bytes: 0 }
    }
}

impl Turns {
    /// Whether one more may be made. If so it counts.
    pub(super) fn begin(&mut self, now: Mono) -> Option<Turn> {
        if !self.is_free() {
            return None;
        }
        self.made += 1;
        Some(Turn::Made { at: now, among: self.made })
    }

    /// Whether one more call may be made now.
    pub(super) fn is_free(&self) -> bool {
        self.made < self.most
    }

    /// Bytes of the requests that wait.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Lets a call wait.
    pub(super) fn wait(&mut self, call: CallId, payload: Bytes) {
        self.bytes += payload.len();
        self.waiting.push_back((call, payload));
    }

    /// The next call whose turn it is, with that turn.
    pub(super) fn next(&mut self, now: Mono) -> Option<(CallId, Bytes, Turn)> {
        if self.waiting.is_empty() {
            return None;
        }
        let turn = self.begin(now)?;
        let (call, payload) = self.waiting.pop_front()?;
        self.bytes -= payload.len();
        Some((call, payload, turn))
    }

    /// A call is answered.
    pub(super) fn answered(&mut self, turn: Turn, now: Mono) {
        let Turn::Made { at, among } = turn else { return };
        self.made -= 1;
        let took = now.since(at);
        let fastest = self.fastest.map_or(took, |fastest| fastest.min(took));
        self.fastest = Some(fastest);
        // If all threads of the server are busy with those that there are, it keeps as many again as come on top.
        if among >= self.most && fastest >= SLOW && took * 2 <= fastest * 3 {
            self.most = (self.most + defaults::CALLS_AT_A_TIME).min(defaults::CALLS_PENDING_MAX);
        }
    }

    /// A call will not be answered.
    pub(super) fn given_up(&mut self, call: CallId, turn: Turn) {
        match turn {
            Turn::Made { .. } => {
                self.made -= 1;
                // Perhaps the server has dropped it because there were too many.
                self.most = defaults::CALLS_AT_A_TIME;
            }
            Turn::Waits => {
                let index = self.waiting.iter().position(|(waiting, _)| *waiting == call);
                if let Some((_, payload)) = index.and_then(|index| self.waiting.remove(index)) {
                    self.bytes -= payload.len();
                }
            }
            Turn::Apart => {}
        }
    }

    /// Nobody gets a turn any more.
    pub(super) fn clear(&mut self) {
        self.waiting.clear();
        self.bytes = 0;
    }
}

/// A service whose fastest answer takes less is fast enough without more at a time.
const SLOW: Duration = Duration::from_millis(20);

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: usize = defaults::CALLS_AT_A_TIME;

    fn at(millis: u64) -> Mono {
        Mono(Duration::from_millis(millis))
    }

    /// Calls of a server that takes `takes` ms for each and answers `parallel` at a time, keeps as many requests as servers do
    /// and drops the oldest of more. Returns how many of `calls` it answers, and after how long [ms].
    fn served(calls: u64, takes: u64, parallel: usize) -> (usize, u64) {
        let mut turns = Turns::default();
        let (mut answered, mut now) = (0, 0);
        let (mut kept, mut working) = (VecDeque::new(), Vec::new());
        for call in 0..calls {
            turns.wait(CallId(call), Bytes::from_static(b"cdr"));
        }
        loop {
            while let Some((_, _, turn)) = turns.next(at(now)) {
                kept.push_back(turn);
                while working.len() < parallel {
                    let Some(turn) = kept.pop_front() else { break };
                    working.push((now + takes, turn));
                }
                if kept.len() > FIRST {
                    kept.pop_front();
                }
            }
            while working.len() < parallel {
                let Some(turn) = kept.pop_front() else { break };
                working.push((now + takes, turn));
            }
            let Some(done) = working.iter().map(|(done, _)| *done).min() else { return (answered, now) };
            now = done;
            for (_, turn) in working.extract_if(.., |(done, _)| *done <= now) {
                turns.answered(turn, at(now));
                answered += 1;
            }
        }
    }

    #[test]
    fn a_server_that_answers_one_after_the_other_loses_nothing() {
        for takes in [1, 5, 20, 1_000] {
            assert_eq!(served(100, takes, 1), (100, 100 * takes));
        }
        for threads in [3, 10, 15, 20, 35] {
            assert_eq!(served(300, 100, threads).0, 300, "{threads} threads");
        }
    }

    #[test]
    fn a_server_that_answers_many_at_a_time_gets_more() {
        let (answered, after) = served(1_000, 1_000, 1_000);
        assert_eq!(answered, 1_000);
        // 10, 20, 30 … at a time, instead of 100 times 10.
        assert!(after <= 15_000, "{after} ms");
        assert_eq!(served(10, 1_000, 1_000), (10, 1_000));
    }

    #[test]
    fn what_is_given_up_makes_room_and_its_bytes_go() {
        let mut turns = Turns::default();
        for call in 0..=FIRST as u64 + 1 {
            turns.wait(CallId(call), Bytes::from_static(b"cdr"));
        }
        let made: Vec<_> = std::iter::from_fn(|| turns.next(at(1))).collect();
        assert_eq!((made.len(), turns.bytes()), (FIRST, 6));
        turns.given_up(CallId(FIRST as u64), Turn::Waits);
        assert_eq!((turns.bytes(), turns.next(at(1)).is_none()), (3, true));
        turns.given_up(CallId(0), made[0].2);
        assert!(turns.next(at(1)).is_some_and(|(call, _, _)| call == CallId(FIRST as u64 + 1)));
        assert_eq!(turns.bytes(), 0);
    }
}
