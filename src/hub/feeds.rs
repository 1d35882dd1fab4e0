//! Who offers what, who is told of it, and who gets it.

use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use crate::{
    ids::{ChannelId, ClientId, ConnectionId, FeedId},
    outbox::Class,
    routes::Pattern,
    time::Mono,
    wire::{Demand, Feed, Flow, Interests, Offer, Subscription},
};

/// One offered channel and everybody who takes it.
#[derive(Debug)]
pub(super) struct FeedEntry {
    pub(super) origin: ConnectionId,
    pub(super) channel: ChannelId,
    pub(super) class: Class,
    announcement: Feed,
    subscribers: BTreeMap<ConnectionId, Pace>,
    demand: Demand,
}

/// How often one subscriber gets a message.
#[derive(Debug)]
struct Pace {
    max_rate_millihertz: u32,
    due: Mono,
}

/// What a client wants to hear of, compiled.
#[derive(Debug, Default)]
pub(super) struct CompiledInterests {
    wants: Vec<Pattern>,
    accepts: Vec<Pattern>,
}

impl CompiledInterests {
    /// Compiles `interests`.
    pub(super) fn new(interests: &Interests) -> Result<Self, crate::routes::InvalidPattern> {
        let compile =
            |patterns: &[String]| patterns.iter().map(|pattern| Pattern::new(pattern)).collect::<Result<_, _>>();
        Ok(CompiledInterests { wants: compile(&interests.wants)?, accepts: compile(&interests.accepts)? })
    }

    /// Whether `me` wants to hear of `feed`.
    fn match_feed(&self, me: &ClientId, feed: &Feed) -> bool {
        match &feed.flow {
            Flow::State => {
                let name = format!("/{}{}", feed.origin, feed.topic.name);
                feed.origin != *me && self.wants.iter().any(|pattern| pattern.matches(&name))
            }
            Flow::Command { to } => {
                to == me && feed.origin != *me && self.accepts.iter().any(|pattern| pattern.matches(&feed.topic.name))
            }
        }
    }
}

/// Every feed of the exchange.
#[derive(Debug, Default)]
pub(super) struct Feeds {
    next: u32,
    entries: BTreeMap<FeedId, FeedEntry>,
    by_channel: HashMap<(ConnectionId, ChannelId), FeedId>,
}

/// A client's demand changed: tell the origin.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct DemandChange {
    pub(super) origin: ConnectionId,
    pub(super) demand: Demand,
}

impl Feeds {
    /// How many channels `origin` offers.
    pub(super) fn count_of(&self, origin: ConnectionId) -> usize {
        self.by_channel.keys().filter(|(connection, _)| *connection == origin).count()
    }

    /// Takes up an offer. `None` if `origin` uses that channel number already.
    pub(super) fn open(&mut self, origin: ConnectionId, client: &ClientId, offer: Offer) -> Option<FeedId> {
        let key = (origin, offer.channel);
        if self.by_channel.contains_key(&key) {
            return None;
        }
        // Numbers are used again only after four billion feeds, and never one that is in use.
        let feed = loop {
            let candidate = FeedId(self.next);
            self.next = self.next.wrapping_add(1);
            if !self.entries.contains_key(&candidate) {
                break candidate;
            }
        };
        let class = match offer.flow {
            Flow::State => Class::of_type(&offer.topic.type_name),
            Flow::Command { .. } => Class::Command,
        };
        let demand = Demand { channel: offer.channel, wanted: false, max_rate_millihertz: 0 };
        let announcement = Feed { feed, origin: client.clone(), flow: offer.flow, topic: offer.topic };
        self.entries.insert(
            feed,
            FeedEntry { origin, channel: offer.channel, class, announcement, subscribers: BTreeMap::new(), demand },
        );
        self.by_channel.insert(key, feed);
        Some(feed)
    }

    /// Ends a channel of `origin`.
    pub(super) fn close(&mut self, origin: ConnectionId, channel: ChannelId) -> Option<FeedId> {
        let feed = self.by_channel.remove(&(origin, channel))?;
        self.entries.remove(&feed);
        Some(feed)
    }

    /// Ends every channel of `origin`.
    pub(super) fn close_all(&mut self, origin: ConnectionId) -> Vec<FeedId> {
        let closed: Vec<FeedId> =
            self.entries.iter().filter(|(_, entry)| entry.origin == origin).map(|(&feed, _)| feed).collect();
        for feed in &closed {
            self.entries.remove(feed);
        }
        self.by_channel.retain(|(connection, _), _| *connection != origin);
        closed
    }

    /// The feeds that `interests` of `me` match.
    pub(super) fn matching(&self, me: &ClientId, interests: &CompiledInterests) -> Vec<Feed> {
        let feeds = self.entries.values().map(|entry| &entry.announcement);
        feeds.filter(|feed| interests.match_feed(me, feed)).cloned().collect()
    }

    /// The announcement of `feed`, if `interests` of `me` match it.
    pub(super) fn announcement(&self, feed: FeedId, me: &ClientId, interests: &CompiledInterests) -> Option<Feed> {
        let announcement = &self.entries.get(&feed)?.announcement;
        interests.match_feed(me, announcement).then(|| announcement.clone())
    }

    /// `subscriber` takes a feed, if its `interests` match it.
    pub(super) fn subscribe(
        &mut self,
        subscriber: ConnectionId,
        me: &ClientId,
        interests: &CompiledInterests,
        subscription: Subscription,
    ) -> Option<DemandChange> {
        let entry = self.entries.get_mut(&subscription.feed)?;
        if !interests.match_feed(me, &entry.announcement) {
            return None;
        }
        let pace = Pace { max_rate_millihertz: subscription.max_rate_millihertz, due: Mono::default() };
        entry.subscribers.insert(subscriber, pace);
        entry.demand_change()
    }

    /// `subscriber` takes a feed no more.
    pub(super) fn unsubscribe(&mut self, subscriber: ConnectionId, feed: FeedId) -> Option<DemandChange> {
        let entry = self.entries.get_mut(&feed)?;
        entry.subscribers.remove(&subscriber)?;
        entry.demand_change()
    }

    /// `subscriber` takes nothing any more.
    pub(super) fn unsubscribe_all(&mut self, subscriber: ConnectionId) -> Vec<DemandChange> {
        let entries = self.entries.values_mut();
        entries.filter_map(|entry| entry.subscribers.remove(&subscriber).and_then(|_| entry.demand_change())).collect()
    }

    /// Takes away every subscription of `subscriber` that its new `interests` do not cover.
    pub(super) fn narrow(
        &mut self,
        subscriber: ConnectionId,
        me: &ClientId,
        interests: &CompiledInterests,
    ) -> Vec<DemandChange> {
        let entries = self.entries.values_mut().filter(|entry| !interests.match_feed(me, &entry.announcement));
        entries.filter_map(|entry| entry.subscribers.remove(&subscriber).and_then(|_| entry.demand_change())).collect()
    }

    /// Who gets a message on `channel` of `origin` at `now`: calls `deliver` for each, and returns the feed and its class.
    pub(super) fn route(
        &mut self,
        origin: ConnectionId,
        channel: ChannelId,
        now: Mono,
        mut deliver: impl FnMut(ConnectionId),
    ) -> Option<(FeedId, Class)> {
        let feed = *self.by_channel.get(&(origin, channel))?;
        let entry = self.entries.get_mut(&feed)?;
        for (&subscriber, pace) in &mut entry.subscribers {
            if pace.is_due(now) {
                deliver(subscriber);
            }
        }
        Some((feed, entry.class))
    }
}

impl FeedEntry {
    /// The demand, if it is another one than the origin was told last.
    fn demand_change(&mut self) -> Option<DemandChange> {
        let rates = || self.subscribers.values().map(|pace| pace.max_rate_millihertz);
        let unlimited = rates().any(|rate| rate == 0);
        let demand = Demand {
            channel: self.channel,
            wanted: !self.subscribers.is_empty(),
            max_rate_millihertz: if unlimited { 0 } else { rates().max().unwrap_or(0) },
        };
        if demand == self.demand {
            return None;
        }
        self.demand = demand;
        Some(DemandChange { origin: self.origin, demand })
    }
}

impl Pace {
    /// Whether a message may go at `now`. Messages that come a little early still pass: `due` moves on by whole
    /// intervals, so that a 30 Hz source behind a limit of 30 Hz keeps all of its messages in spite of jitter.
    fn is_due(&mut self, now: Mono) -> bool {
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

/// The part of an interval by which a message may come early: half, the most that keeps the average rate at the limit.
const EARLY: f64 = 0.5;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_limit_keeps_a_jittery_source_of_that_rate_whole_and_halves_one_of_twice_the_rate() {
        let count = |rate_hz: f64, jitter_ms: &[i64]| {
            let mut pace = Pace { max_rate_millihertz: 30_000, due: Mono::default() };
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
        let mut pace = Pace { max_rate_millihertz: 10_000, due: Mono::default() };
        let at = |millis| Mono(Duration::from_millis(millis));
        assert!(pace.is_due(at(0)));
        let passed = (0..50).filter(|i| pace.is_due(at(10_000 + i))).count();
        assert!(passed <= 2, "{passed}");
    }
}
