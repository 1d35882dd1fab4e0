//! What becomes of each message that goes over a route, and the counting of it.

use std::time::Duration;

use bytes::Bytes;

use super::{RouteKind, RouteStatus, Routes};
use crate::{
    ids::{ChannelId, ClientId, FeedId, ReaderId},
    time::{Mono, Now, Wall},
    traffic::{self, Cause, Direction, Drops, Meter, MeterName, TrafficReport},
};

/// The local end of a route: its meter is found by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum End {
    Reader(ReaderId),
    Feed(FeedId),
}

/// A message of the exchange that is to be published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Passed {
    /// What is published.
    pub payload: Bytes,
    /// How old it is; `None` if that cannot be known.
    pub age: Option<Duration>,
}

impl Routes {
    /// Judges a message of `feed` before it is published: whether it is too old, whether its commander may, and what its
    /// frame ids become. `source_time` is on the clock of the exchange, which is `offset` nanoseconds ahead of ours;
    /// without an offset a message is as old as it arrives, new. `None` if it is not published, which is counted, or if the
    /// route is gone.
    ///
    /// Say afterwards what became of it: [`Routes::handle_published`] or [`Routes::handle_unpublishable`].
    pub fn let_through(
        &mut self,
        feed: FeedId,
        payload: Bytes,
        source_time: Wall,
        offset: Option<i64>,
        now: Now,
    ) -> Option<Passed> {
        let age = offset.map(|offset| traffic::age(source_time, offset, now));
        let outcome = self.feeds.let_through(feed, payload, age, now.mono, &mut self.output)?;
        self.unsettled |= self.feeds.take_refusals_changed();
        let meter = self.meter(End::Feed(feed), now.mono)?;
        meter.received(now.mono);
        match outcome {
            Ok(payload) => Some(Passed { payload, age }),
            Err(cause) => {
                meter.dropped(cause, 1);
                None
            }
        }
    }

    /// A message of `feed` was published.
    pub fn handle_published(&mut self, feed: FeedId, bytes: usize, age: Option<Duration>, now: Mono) {
        if let Some(meter) = self.meter(End::Feed(feed), now) {
            meter.sent(bytes, age, now);
        }
    }

    /// A sample of `reader` was put into the outbox, published at `source_time` of our own clock.
    pub fn handle_sent(&mut self, reader: ReaderId, bytes: usize, source_time: Wall, now: Now) {
        if let Some(meter) = self.meter(End::Reader(reader), now.mono) {
            meter.sent(bytes, Some(traffic::age(source_time, 0, now)), now.mono);
        }
    }

    /// Samples of `reader` never came, or could not be taken, since this was told last.
    pub fn handle_reader_losses(&mut self, reader: ReaderId, lost: u64, not_taken: u64, now: Mono) {
        if let Some(meter) = self.meter(End::Reader(reader), now).filter(|_| lost + not_taken > 0) {
            meter.dropped(Cause::Lost, lost);
            meter.not_taken(not_taken);
        }
    }

    /// Messages of `channel` that waited in the outbox were given up there.
    pub fn handle_overflow(&mut self, channel: ChannelId, messages: u64) {
        let reader = self.offers.reader_of(channel);
        if let Some(meter) = reader.and_then(|reader| self.ledger.known(&End::Reader(reader))) {
            meter.overflow(messages);
        }
    }

    /// Lets go of a local topic that one client commands alone (a rule with `exclusive`). Returns who held it.
    ///
    /// # Errors
    /// In words, if nobody does.
    pub fn release(&mut self, topic: &str) -> Result<ClientId, String> {
        let released = self.feeds.release(topic);
        self.unsettled |= self.feeds.take_refusals_changed();
        released
    }

    /// What went over every route.
    pub fn traffic(&self, now: Now) -> TrafficReport {
        self.ledger.report(now)
    }

    /// Everything that was dropped since the start.
    pub fn dropped(&self) -> Drops {
        self.ledger.dropped()
    }

    /// Puts the figures of the meters into the routes of topics that [`Routes::report`] gave.
    pub fn add_figures(&self, routes: &mut [RouteStatus], now: Now) {
        let report = self.traffic(now);
        for route in routes.iter_mut().filter(|route| route.kind == RouteKind::Topic) {
            let meant = report.topics.iter().find(|topic| {
                topic.name.topic == route.exchange_name
                    && topic.name.direction == route.direction
                    && topic.name.type_name == route.type_name
            });
            if let Some(topic) = meant {
                (route.rate, route.messages, route.dropped) = (topic.rate, topic.sent, topic.dropped.total());
            }
        }
    }

    /// A sample of `reader` came; `due` if it goes on.
    pub(super) fn count_taken(&mut self, reader: ReaderId, due: bool, now: Mono) {
        // Samples that were on their way when their reader was destroyed belong nowhere.
        if !due && self.offers.name_of(reader).is_none() {
            return;
        }
        if let Some(meter) = self.meter(End::Reader(reader), now) {
            meter.received(now);
            if !due {
                meter.thinned();
            }
        }
    }

    /// A sample of `reader` came from a publisher that the rules hold back.
    pub(super) fn count_refused(&mut self, reader: ReaderId, now: Mono) {
        if let Some(meter) = self.meter(End::Reader(reader), now) {
            meter.received(now);
            meter.dropped(Cause::Refused, 1);
        }
    }

    pub(super) fn count_drop(&mut self, end: End, cause: Cause) {
        if let Some(meter) = self.ledger.known(&end) {
            meter.dropped(cause, 1);
        }
    }

    fn meter(&mut self, end: End, now: Mono) -> Option<&mut Meter> {
        let Routes { ledger, offers, feeds, me, .. } = self;
        ledger.meter(end, now, || {
            let (direction, (topic, type_name)) = match end {
                End::Reader(reader) => (Direction::Out, offers.exchange_name(reader, me)?),
                End::Feed(feed) => (Direction::In, feeds.exchange_name(feed, me)?),
            };
            Some(MeterName { topic, client: me.clone(), direction, type_name })
        })
    }
}
