//! Who offers what, who is told of it, and who gets it.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::{
    calls::SERVICE_BIT,
    history::{Budget, History},
    holds::{Cause, Dispute, Hold},
};
use crate::{
    ids::{ChannelId, ClientId, ConnectionId, FeedId, PublisherId},
    model::{Durability, Reliability},
    outbox::{Class, Label},
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
    subscribers: BTreeMap<ConnectionId, Subscriber>,
    dispute: Dispute,
    demand: Demand,
    /// For transient_local topics.
    history: Option<History>,
}

/// Somebody who takes a feed.
#[derive(Debug)]
struct Subscriber {
    pace: Pace,
    latest_only: bool,
    hold: Hold,
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
    /// Feeds that somebody holds back while others could go on, and when that ends.
    disputed: BTreeMap<FeedId, Mono>,
    /// Feeds that a subscriber holds back since its link is congested.
    behind: BTreeMap<ConnectionId, BTreeSet<FeedId>>,
}

/// Somebody has taken a feed.
#[derive(Debug)]
pub(super) struct Subscribed {
    pub(super) label: Label,
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
        let history = is_kept.then(History::default);
        let announcement = Feed { feed, origin: client.clone(), flow: offer.flow, topic: offer.topic };
        let subscribers = BTreeMap::new();
        self.entries.insert(
            feed,
            FeedEntry {
                origin,
                channel: offer.channel,
                class,
                announcement,
                subscribers,
                dispute: Dispute::default(),
                demand,
                history,
            },
        );
        self.by_channel.insert(key, feed);
        Some(feed)
    }

    /// Ends a channel of `origin`. Returns the feed and the class of its messages.
    pub(super) fn close(&mut self, origin: ConnectionId, channel: ChannelId) -> Option<(FeedId, Class)> {
        let feed = self.by_channel.remove(&(origin, channel))?;
        Some((feed, self.remove(feed)?))
    }

    /// Ends every channel of `origin`.
    pub(super) fn close_all(&mut self, origin: ConnectionId) -> Vec<(FeedId, Class)> {
        let closed = self.entries.iter().filter(|(_, entry)| entry.origin == origin);
        let closed: Vec<_> = closed.map(|(&feed, entry)| (feed, entry.class)).collect();
        for (feed, _) in &closed {
            self.remove(*feed);
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
        now: Mono,
    ) -> Option<Subscribed> {
        let feed = subscription.feed;
        let entry = self.entries.get_mut(&feed)?;
        if !interests.match_feed(me, &entry.announcement) {
            return None;
        }
        let pace = Pace::new(subscription.max_rate_millihertz);
        let latest_only = subscription.latest_only;
        // Whoever subscribes anew, with another rate, holds back what it held before.
        let old = entry.subscribers.remove(&subscriber);
        let is_new = old.is_none();
        let hold = old.map_or_else(Hold::default, |old| old.hold);
        entry.subscribers.insert(subscriber, Subscriber { pace, latest_only, hold });
        let history = entry.history.iter().filter(|_| is_new);
        let missed = history.flat_map(History::packets).collect();
        // All that was missed has to come, even to somebody who otherwise wants the newest only.
        let label = Label { latest_only: false, ..entry.label(feed, latest_only) };
        Some(Subscribed { label, missed, change: self.settle(feed, now) })
    }

    /// `subscriber` takes a feed no more.
    pub(super) fn unsubscribe(&mut self, subscriber: ConnectionId, feed: FeedId, now: Mono) -> Option<DemandChange> {
        self.entries.get_mut(&feed)?.subscribers.remove(&subscriber)?;
        self.forget_behind(subscriber, feed);
        self.settle(feed, now)
    }

    /// `subscriber` takes nothing any more.
    pub(super) fn unsubscribe_all(&mut self, subscriber: ConnectionId, now: Mono) -> Vec<DemandChange> {
        let taken = self.entries.iter().filter(|(_, entry)| entry.subscribers.contains_key(&subscriber));
        let taken: Vec<FeedId> = taken.map(|(&feed, _)| feed).collect();
        taken.into_iter().filter_map(|feed| self.unsubscribe(subscriber, feed, now)).collect()
    }

    /// Takes away every subscription of `subscriber` that its new `interests` do not cover.
    pub(super) fn narrow(
        &mut self,
        subscriber: ConnectionId,
        me: &ClientId,
        interests: &CompiledInterests,
        now: Mono,
    ) -> Vec<DemandChange> {
        let entries = self.entries.iter().filter(|(_, entry)| !interests.match_feed(me, &entry.announcement));
        let lost: Vec<FeedId> = entries.map(|(&feed, _)| feed).collect();
        lost.into_iter().filter_map(|feed| self.unsubscribe(subscriber, feed, now)).collect()
    }

    /// Who gets a message on `channel` of `origin` at `now`: calls `deliver` for each who takes it, with how it is sent, or
    /// `None` if it is not due by the rate that was asked for, and returns the feed.
    pub(super) fn route(
        &mut self,
        origin: ConnectionId,
        channel: ChannelId,
        now: Mono,
        mut deliver: impl FnMut(ConnectionId, Option<Label>),
    ) -> Option<FeedId> {
        let feed = *self.by_channel.get(&(origin, channel))?;
        let entry = self.entries.get_mut(&feed)?;
        let label = entry.label(feed, false);
        for (&to, subscriber) in &mut entry.subscribers {
            let due = subscriber.pace.is_due(now);
            deliver(to, due.then_some(Label { latest_only: subscriber.latest_only, ..label }));
        }
        Some(feed)
    }

    /// Keeps a message for late joiners, if `feed` is transient_local. Returns the topic if there is no room for it, once.
    pub(super) fn remember(
        &mut self,
        feed: FeedId,
        publisher: PublisherId,
        keep: u16,
        packet: &Packet,
    ) -> Option<&Feed> {
        let entry = self.entries.get_mut(&feed)?;
        let history = entry.history.as_mut()?;
        if history.keep(publisher, keep, packet, &mut self.budget) || std::mem::replace(&mut history.lack_told, true) {
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

    /// `subscriber` cannot take more of `feed`, or it can. Best-effort feeds wait for nobody.
    pub(super) fn hold(
        &mut self,
        subscriber: ConnectionId,
        feed: FeedId,
        cause: Cause,
        on: bool,
        now: Mono,
    ) -> Option<DemandChange> {
        let entry = self.entries.get_mut(&feed)?;
        if on && !entry.is_reliable() {
            return None;
        }
        entry.subscribers.get_mut(&subscriber)?.hold.set(cause, on, now);
        if on && cause == Cause::Link {
            self.behind.entry(subscriber).or_default().insert(feed);
        }
        self.settle(feed, now)
    }

    /// The link of `subscriber` has room for messages of `class` again.
    pub(super) fn relieve(&mut self, subscriber: ConnectionId, class: Class, now: Mono) -> Vec<DemandChange> {
        let behind = self.behind.get(&subscriber).into_iter().flatten().copied();
        let relieved = |feed: &FeedId| self.entries.get(feed).is_some_and(|entry| entry.class == class);
        let relieved: Vec<FeedId> = behind.filter(relieved).collect();
        for &feed in &relieved {
            self.forget_behind(subscriber, feed);
        }
        relieved.into_iter().filter_map(|feed| self.hold(subscriber, feed, Cause::Link, false, now)).collect()
    }

    /// When [`Feeds::overrule`] has something to do.
    pub(super) fn next_overrule(&self) -> Option<Mono> {
        self.disputed.values().min().copied()
    }

    /// Ends the right of those who have held a feed too long while others could go on.
    pub(super) fn overrule(&mut self, now: Mono) -> Vec<DemandChange> {
        let due = self.disputed.iter().filter(|(_, until)| **until <= now);
        let due: Vec<FeedId> = due.map(|(&feed, _)| feed).collect();
        due.into_iter().filter_map(|feed| self.settle(feed, now)).collect()
    }

    fn forget_behind(&mut self, subscriber: ConnectionId, feed: FeedId) {
        if let Some(behind) = self.behind.get_mut(&subscriber) {
            behind.remove(&feed);
            if behind.is_empty() {
                self.behind.remove(&subscriber);
            }
        }
    }

    fn remove(&mut self, feed: FeedId) -> Option<Class> {
        self.disputed.remove(&feed);
        let entry = self.entries.remove(&feed)?;
        for subscriber in entry.subscribers.into_keys() {
            self.forget_behind(subscriber, feed);
        }
        if let Some(mut history) = entry.history {
            history.clear(&mut self.budget);
        }
        Some(entry.class)
    }

    /// Works the demand for `feed` out anew. Returns it if it is another one than the origin was told last.
    fn settle(&mut self, feed: FeedId, now: Mono) -> Option<DemandChange> {
        let entry = self.entries.get_mut(&feed)?;
        let verdict = entry.dispute.judge(entry.subscribers.values_mut().map(|subscriber| &mut subscriber.hold), now);
        match verdict.until {
            Some(until) => self.disputed.insert(feed, until),
            None => self.disputed.remove(&feed),
        };
        let demand = entry.demand(verdict.held);
        if demand == entry.demand {
            return None;
        }
        entry.demand = demand;
        // While nobody takes it nobody reads it either: what was kept grows old. The first who wants it again makes the
        // origin read it anew, with everything that its publishers keep.
        if let Some(history) = entry.history.as_mut().filter(|_| !demand.wanted) {
            history.clear(&mut self.budget);
        }
        Some(DemandChange { origin: entry.origin, demand })
    }
}

impl FeedEntry {
    fn is_reliable(&self) -> bool {
        self.announcement.topic.qos.reliability == Reliability::Reliable
    }

    fn label(&self, feed: FeedId, latest_only: bool) -> Label {
        Label { class: self.class, tag: feed.0, reliable: self.is_reliable(), latest_only }
    }

    /// What its subscribers want together.
    fn demand(&self, held: bool) -> Demand {
        let rates = || self.subscribers.values().map(|subscriber| subscriber.pace.max_rate_millihertz());
        let unlimited = rates().any(|rate| rate == 0);
        Demand {
            channel: self.channel,
            wanted: !self.subscribers.is_empty(),
            max_rate_millihertz: if unlimited { 0 } else { rates().max().unwrap_or(0) },
            held,
        }
    }
}
