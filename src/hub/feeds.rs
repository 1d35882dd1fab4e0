//! Who offers what, who is told of it, and who gets it.

use std::collections::{BTreeMap, HashMap};

use crate::{
    ids::{ChannelId, ClientId, ConnectionId, FeedId},
    outbox::Class,
    pace::Pace,
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
        let pace = Pace::new(subscription.max_rate_millihertz);
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
        let rates = || self.subscribers.values().map(|pace| pace.max_rate_millihertz());
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
