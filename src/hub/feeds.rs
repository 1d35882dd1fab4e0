//! Who offers what, who is told of it, and who gets it.

use std::collections::{BTreeMap, HashMap};

use super::{
    calls::SERVICE_BIT,
    history::{Budget, History},
};
use crate::{
    ids::{ChannelId, ClientId, ConnectionId, FeedId},
    model::Durability,
    outbox::Class,
    pace::Pace,
    routes::Pattern,
    time::Mono,
    wire::{Demand, Feed, Flow, Interests, Offer, Packet, Subscription},
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
    /// For transient_local topics.
    history: Option<History>,
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
    budget: Budget,
}

/// Somebody has taken a feed.
#[derive(Debug)]
pub(super) struct Subscribed {
    pub(super) class: Class,
    /// The last messages of a transient_local topic, for somebody who joins late.
    pub(super) missed: Vec<Packet>,
    pub(super) change: Option<DemandChange>,
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

    /// Whether `origin` offers a channel of that number.
    pub(super) fn has_channel(&self, origin: ConnectionId, channel: ChannelId) -> bool {
        self.by_channel.contains_key(&(origin, channel))
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
            self.next = self.next.wrapping_add(1) & !SERVICE_BIT;
            if !self.entries.contains_key(&candidate) {
                break candidate;
            }
        };
        let class = match offer.flow {
            Flow::State => Class::of_type(&offer.topic.type_name),
            Flow::Command { .. } => Class::Command,
        };
        let demand = Demand { channel: offer.channel, wanted: false, max_rate_millihertz: 0, held: false };
        // A command is for now: one that was given earlier is not given again to a robot that comes back.
        let is_kept = offer.topic.qos.durability == Durability::TransientLocal && offer.flow == Flow::State;
        let history = is_kept.then(|| History::new(offer.topic.qos.depth));
        let announcement = Feed { feed, origin: client.clone(), flow: offer.flow, topic: offer.topic };
        let subscribers = BTreeMap::new();
        self.entries.insert(
            feed,
            FeedEntry { origin, channel: offer.channel, class, announcement, subscribers, demand, history },
        );
        self.by_channel.insert(key, feed);
        Some(feed)
    }

    /// Ends a channel of `origin`.
    pub(super) fn close(&mut self, origin: ConnectionId, channel: ChannelId) -> Option<FeedId> {
        let feed = self.by_channel.remove(&(origin, channel))?;
        self.remove(feed);
        Some(feed)
    }

    /// Ends every channel of `origin`.
    pub(super) fn close_all(&mut self, origin: ConnectionId) -> Vec<FeedId> {
        let closed: Vec<FeedId> =
            self.entries.iter().filter(|(_, entry)| entry.origin == origin).map(|(&feed, _)| feed).collect();
        for &feed in &closed {
            self.remove(feed);
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

    /// `subscriber` takes a feed, if its `interests` match it. Returns what it missed, too.
    pub(super) fn subscribe(
        &mut self,
        subscriber: ConnectionId,
        me: &ClientId,
        interests: &CompiledInterests,
        subscription: Subscription,
    ) -> Option<Subscribed> {
        let entry = self.entries.get_mut(&subscription.feed)?;
        if !interests.match_feed(me, &entry.announcement) {
            return None;
        }
        let pace = Pace::new(subscription.max_rate_millihertz);
        let is_new = entry.subscribers.insert(subscriber, pace).is_none();
        let history = entry.history.iter().filter(|_| is_new);
        let missed = history.flat_map(History::packets).cloned().collect();
        Some(Subscribed { class: entry.class, missed, change: entry.demand_change(&mut self.budget) })
    }

    /// `subscriber` takes a feed no more.
    pub(super) fn unsubscribe(&mut self, subscriber: ConnectionId, feed: FeedId) -> Option<DemandChange> {
        self.entries.get_mut(&feed)?.leave(subscriber, &mut self.budget)
    }

    /// `subscriber` takes nothing any more.
    pub(super) fn unsubscribe_all(&mut self, subscriber: ConnectionId) -> Vec<DemandChange> {
        let budget = &mut self.budget;
        self.entries.values_mut().filter_map(|entry| entry.leave(subscriber, budget)).collect()
    }

    /// Takes away every subscription of `subscriber` that its new `interests` do not cover.
    pub(super) fn narrow(
        &mut self,
        subscriber: ConnectionId,
        me: &ClientId,
        interests: &CompiledInterests,
    ) -> Vec<DemandChange> {
        let budget = &mut self.budget;
        let entries = self.entries.values_mut().filter(|entry| !interests.match_feed(me, &entry.announcement));
        entries.filter_map(|entry| entry.leave(subscriber, budget)).collect()
    }

    /// Who gets a message on `channel` of `origin` at `now`: calls `deliver` for each who takes it, with whether it is due by
    /// the rate that was asked for, and returns the feed and its class.
    pub(super) fn route(
        &mut self,
        origin: ConnectionId,
        channel: ChannelId,
        now: Mono,
        mut deliver: impl FnMut(ConnectionId, bool),
    ) -> Option<(FeedId, Class)> {
        let feed = *self.by_channel.get(&(origin, channel))?;
        let entry = self.entries.get_mut(&feed)?;
        for (&subscriber, pace) in &mut entry.subscribers {
            deliver(subscriber, pace.is_due(now));
        }
        Some((feed, entry.class))
    }

    /// Keeps a message for late joiners, if `feed` is transient_local. Returns the topic if there is no room for it, once.
    pub(super) fn remember(&mut self, feed: FeedId, packet: &Packet) -> Option<&Feed> {
        let entry = self.entries.get_mut(&feed)?;
        let history = entry.history.as_mut()?;
        if history.keep(packet, &mut self.budget) || std::mem::replace(&mut history.lack_told, true) {
            return None;
        }
        Some(&entry.announcement)
    }

    /// What is known of `feed`.
    pub(super) fn announced(&self, feed: FeedId) -> Option<&Feed> {
        Some(&self.entries.get(&feed)?.announcement)
    }

    /// Topics of `me` that `interests` accept commands on and that several clients offer commands for: name and clients.
    pub(super) fn contested(&self, me: &ClientId, interests: &CompiledInterests) -> Vec<(&str, Vec<&ClientId>)> {
        let mut commanders: BTreeMap<&str, Vec<&ClientId>> = BTreeMap::new();
        let commands = self.entries.values().map(|entry| &entry.announcement).filter(|feed| feed.flow != Flow::State);
        for feed in commands.filter(|feed| interests.match_feed(me, feed)) {
            let clients = commanders.entry(&feed.topic.name).or_default();
            if let Err(place) = clients.binary_search(&&feed.origin) {
                clients.insert(place, &feed.origin);
            }
        }
        commanders.into_iter().filter(|(_, clients)| clients.len() > 1).collect()
    }

    fn remove(&mut self, feed: FeedId) {
        if let Some(FeedEntry { history: Some(mut history), .. }) = self.entries.remove(&feed) {
            history.clear(&mut self.budget);
        }
    }
}

impl FeedEntry {
    /// `subscriber` takes it no more, if it did.
    fn leave(&mut self, subscriber: ConnectionId, budget: &mut Budget) -> Option<DemandChange> {
        self.subscribers.remove(&subscriber)?;
        self.demand_change(budget)
    }

    /// The demand, if it is another one than the origin was told last.
    fn demand_change(&mut self, budget: &mut Budget) -> Option<DemandChange> {
        let rates = || self.subscribers.values().map(|pace| pace.max_rate_millihertz());
        let unlimited = rates().any(|rate| rate == 0);
        let demand = Demand {
            channel: self.channel,
            wanted: !self.subscribers.is_empty(),
            max_rate_millihertz: if unlimited { 0 } else { rates().max().unwrap_or(0) },
            held: false,
        };
        if demand == self.demand {
            return None;
        }
        self.demand = demand;
        // While nobody takes it nobody reads it either: what was kept grows old. The first who wants it again makes the
        // origin read it anew, with everything that its publishers keep.
        if let Some(history) = self.history.as_mut().filter(|_| !demand.wanted) {
            history.clear(budget);
        }
        Some(DemandChange { origin: self.origin, demand })
    }
}
