//! The counting of what goes through the exchange, and the ages of messages.

use std::time::Duration;

use super::{Hub, Line};
use crate::{
    ids::{ConnectionId, FeedId},
    session::{ClockReading, to_local},
    time::Now,
    traffic::{self, Cause, Direction, Meter, MeterName, TrafficReport},
    wire::{Data, Flow},
};

/// Puts the source time of a message onto the exchange's clock, and says how old it is. While the clock of its origin is
/// not known, it counts from its arrival.
pub(super) fn translate(data: &mut Data, clock: Option<ClockReading>, now: Now) -> Option<Duration> {
    let Some(ClockReading { offset, .. }) = clock else {
        data.source_time = now.wall;
        return None;
    };
    data.source_time = to_local(data.source_time, offset);
    Some(traffic::age(data.source_time, 0, now))
}

impl Hub {
    /// What went over every feed: in from its origin, out to each client that takes it.
    pub fn traffic(&self, now: Now) -> TrafficReport {
        self.ledger.report(now)
    }

    /// The outbox of `to` gave up `messages` of `feed` that were put into it: because it was full
    /// ([`Cause::Overflow`]) or because they had grown too old ([`Cause::Late`]).
    pub fn handle_given_up(&mut self, to: ConnectionId, feed: FeedId, cause: Cause, messages: u64) {
        if let Some(line) = self.lines.get_mut(&to).filter(|_| cause == Cause::Late) {
            line.messages_late = line.messages_late.saturating_add(messages);
        }
        if let Some(meter) = self.ledger.known(&(feed, to)) {
            meter.dropped_later(cause, messages);
        }
    }

    /// The outbox of `to` left out `messages` of `feed`, since only the newest was to wait there.
    pub fn handle_thinned(&mut self, to: ConnectionId, feed: FeedId, messages: u64) {
        if let Some(meter) = self.ledger.known(&(feed, to)) {
            meter.thinned_later(messages);
        }
    }

    /// A message of `feed` came from its origin.
    pub(super) fn count_in(&mut self, feed: FeedId, from: ConnectionId, bytes: usize, age: Option<Duration>, now: Now) {
        if let Some(meter) = self.meter(feed, from, Direction::In, now) {
            meter.received(now.mono);
            meter.sent(bytes, age, now.mono);
        }
    }

    /// A message of `feed` was put into the outbox of `to`.
    pub(super) fn count_out(&mut self, feed: FeedId, to: ConnectionId, bytes: usize, age: Option<Duration>, now: Now) {
        if let Some(meter) = self.meter(feed, to, Direction::Out, now) {
            meter.received(now.mono);
            meter.sent(bytes, age, now.mono);
        }
    }

    /// A message of `feed` was not due for `to`.
    pub(super) fn count_thinned(&mut self, feed: FeedId, to: ConnectionId, now: Now) {
        if let Some(meter) = self.meter(feed, to, Direction::Out, now) {
            meter.received(now.mono);
            meter.thinned();
        }
    }

    /// The meter of `feed` on the line `connection`. Feeds and connections are not numbered twice, so what is known of
    /// them holds.
    fn meter(&mut self, feed: FeedId, connection: ConnectionId, direction: Direction, now: Now) -> Option<&mut Meter> {
        let Hub { ledger, feeds, lines, .. } = self;
        ledger.meter((feed, connection), now.mono, || {
            let announced = feeds.announced(feed)?;
            let owner = match &announced.flow {
                Flow::State => &announced.origin,
                Flow::Command { to } => to,
            };
            Some(MeterName {
                topic: format!("/{owner}{}", announced.topic.name),
                client: lines.get(&connection).map(|line: &Line| line.client.clone())?,
                direction,
                type_name: announced.topic.type_name.clone(),
            })
        })
    }
}
