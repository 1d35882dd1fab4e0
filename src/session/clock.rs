//! Round trip and clock offset to the other end, from pings (the arithmetic is NTP's, RFC 5905 §8).

use std::{collections::VecDeque, time::Duration};

use crate::{
    defaults,
    time::{Mono, Now, Wall},
    wire::{Ping, Pong},
};

/// What is known about the other end's clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClockReading {
    /// Lowest round trip of the recent pings.
    pub round_trip: Duration,
    /// The other end's clock minus ours, from the ping of that lowest round trip [ns]. Its error is at most half the
    /// round trip.
    pub offset: i64,
}

impl ClockReading {
    /// Whether both can be readings of clocks that nobody has set in between: each is wrong by half of its round trip at
    /// most, and a little for what the clocks drift.
    fn agrees_with(&self, other: &ClockReading) -> bool {
        let doubt = (self.round_trip + other.round_trip) / 2 + defaults::CLOCK_DRIFT;
        u128::from(self.offset.abs_diff(other.offset)) <= doubt.as_nanos()
    }
}

/// Sends pings and learns from the pongs. Queueing only ever makes a round trip longer, so the quickest of the last
/// [`defaults::CLOCK_WINDOW`] is the one to trust.
#[derive(Debug, Default)]
pub struct PeerClock {
    next_nonce: u32,
    outstanding: VecDeque<(u32, Mono)>,
    samples: VecDeque<ClockReading>,
}

/// Pings that may be unanswered at once; older ones are forgotten.
const OUTSTANDING_MAX: usize = 8;

impl PeerClock {
    /// The ping to send now.
    pub fn ping(&mut self, now: Now) -> Ping {
        let nonce = self.next_nonce;
        self.next_nonce = self.next_nonce.wrapping_add(1);
        if self.outstanding.len() == OUTSTANDING_MAX {
            self.outstanding.pop_front();
        }
        self.outstanding.push_back((nonce, now.mono));
        Ping { nonce, sent: now.wall }
    }

    /// The answer to the other end's `ping`.
    pub fn pong(ping: Ping, now: Now) -> Pong {
        Pong { nonce: ping.nonce, sent: ping.sent, received: now.wall, replied: now.wall }
    }

    /// Learns from a pong. One that answers no ping of ours is ignored: the peer's word is not taken for our own clock.
    pub fn handle_pong(&mut self, pong: Pong, now: Now) -> Option<ClockReading> {
        let at = self.outstanding.iter().position(|&(nonce, _)| nonce == pong.nonce)?;
        let (_, sent) = self.outstanding.remove(at)?;
        let held = pong.replied.nanos_since(pong.received).max(0);
        let round_trip = now.mono.since(sent).saturating_sub(Duration::from_nanos(held.unsigned_abs()));
        let offset = midpoint(pong.received.nanos_since(pong.sent), pong.replied.nanos_since(now.wall));
        let sample = ClockReading { round_trip, offset };
        // A clock that was set makes every earlier sample wrong. Left in the window, the quickest of them would make
        // commands look seconds old, or old ones new, for half a minute.
        self.samples.retain(|earlier| earlier.agrees_with(&sample));
        if self.samples.len() == defaults::CLOCK_WINDOW {
            self.samples.pop_front();
        }
        self.samples.push_back(sample);
        self.reading()
    }

    /// The best recent reading.
    pub fn reading(&self) -> Option<ClockReading> {
        self.samples.iter().min_by_key(|sample| sample.round_trip).copied()
    }
}

fn midpoint(a: i64, b: i64) -> i64 {
    a / 2 + b / 2 + (a % 2 + b % 2) / 2
}

/// `time` of the other end, on our clock.
pub fn to_local(time: Wall, offset: i64) -> Wall {
    Wall(time.0.saturating_sub(offset))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Now {
        Now::default().plus(Duration::from_millis(millis))
    }

    #[test]
    fn finds_the_offset_of_a_clock_that_is_ahead() {
        let mut clock = PeerClock::default();
        let ping = clock.ping(at(1_000));
        let peer = |millis: u64| Now { wall: Wall(at(millis).wall.0 + 5_000_000_000), ..at(millis) };
        let pong = PeerClock::pong(ping, peer(1_010));
        let reading = clock.handle_pong(pong, at(1_020)).unwrap();
        assert_eq!(reading, ClockReading { round_trip: Duration::from_millis(20), offset: 5_000_000_000 });
        assert_eq!(to_local(peer(2_000).wall, reading.offset), at(2_000).wall);
    }

    #[test]
    fn the_quickest_recent_round_trip_is_trusted_and_old_ones_are_forgotten() {
        let mut clock = PeerClock::default();
        let mut time = 0;
        let mut exchange = |out: u64, back: u64| {
            let ping = clock.ping(at(time));
            let pong = PeerClock::pong(ping, at(time + out));
            time += out + back;
            clock.handle_pong(pong, at(time)).unwrap()
        };
        assert_eq!(exchange(1, 1).offset, 0);
        // A queue on the way out alone looks like an offset of 50 ms.
        assert_eq!(exchange(101, 1), ClockReading { round_trip: Duration::from_millis(2), offset: 0 });
        for _ in 0..defaults::CLOCK_WINDOW {
            exchange(5, 5);
        }
        assert_eq!(exchange(5, 5).round_trip, Duration::from_millis(10));
    }

    #[test]
    fn a_clock_that_was_set_is_believed_at_once() {
        let mut clock = PeerClock::default();
        let mut exchange = |sent: u64, ahead: i64, way: u64| {
            let ping = clock.ping(at(sent));
            let arrived = at(sent + way);
            let pong = PeerClock::pong(ping, Now { wall: Wall(arrived.wall.0 + ahead), ..arrived });
            clock.handle_pong(pong, at(sent + 2 * way)).unwrap().offset
        };
        assert_eq!(exchange(0, 0, 1), 0);
        // A slower round trip says nothing new about a clock that nobody has touched.
        assert_eq!(exchange(1_000, 1_000_000, 20), 0);
        // NTP sets the other clock, and the line happens to be slow.
        assert_eq!(exchange(2_000, 10_000_000_000, 30), 10_000_000_000);
        assert_eq!(exchange(3_000, 10_000_000_000, 40), 10_000_000_000);
        assert_eq!(exchange(4_000, 0, 30), 0);
    }

    #[test]
    fn a_pong_that_nobody_asked_for_is_ignored() {
        let mut clock = PeerClock::default();
        let ping = clock.ping(at(0));
        let pong = PeerClock::pong(Ping { nonce: 99, ..ping }, at(1));
        assert_eq!(clock.handle_pong(pong, at(2)), None);
        let pong = PeerClock::pong(ping, at(1));
        assert!(clock.handle_pong(pong, at(2)).is_some());
        assert_eq!(clock.handle_pong(pong, at(3)), None, "a second answer to the same ping");
    }

    #[test]
    fn absurd_times_of_a_peer_do_not_overflow() {
        let mut clock = PeerClock::default();
        let ping = clock.ping(at(0));
        let pong = Pong { nonce: ping.nonce, sent: Wall(i64::MIN), received: Wall(i64::MAX), replied: Wall(i64::MIN) };
        clock.handle_pong(pong, at(1));
    }
}
