//! What a client reads from its graph, writes into it, offers and subscribes to, worked out from the graph, the rules,
//! the client table and the exchange.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::{Endpoint, LocalGraph, LocalTopic, Rules, qos};
use crate::{
    defaults,
    ids::{ChannelId, ClientId, FeedId, ReaderId, WriterId},
    model::{ClientKind, Durability, TopicInfo},
    outbox::Class,
    pace::{Pace, lower_limit, millihertz},
    time::Mono,
    wire::{Demand, Feed, Flow, Frame, Interests, Offer, Subscription, is_topic_name},
};

/// What the driver of [`Routes`] is to do.
#[derive(Debug, Clone, PartialEq)]
pub enum RouteCommand {
    /// Send this frame to the exchange.
    Send(Frame),
    /// Begin to read a local topic. If that fails, say so with [`Routes::handle_reader_failed`].
    CreateReader(ReaderId, TopicInfo),
    /// Read it no more.
    DestroyReader(ReaderId),
    /// Begin to publish a local topic. If that fails, say so with [`Routes::handle_writer_failed`].
    CreateWriter(WriterId, TopicInfo),
    /// Publish it no more.
    DestroyWriter(WriterId),
    /// Tell the user why a topic does not go the way that the rules say.
    Warn(String),
}

/// The routes of one client.
///
/// Contract: hand it what happens with the `handle_*` methods, and after each call [`Routes::poll_command`] until it says
/// `None`. It is lazy: a local topic is read only while the exchange demands it, and a feed is taken only while somebody
/// in the local graph subscribes to it.
///
/// Loops cannot come about, for three reasons that each suffice: only endpoints that are not our own make an offer or a
/// subscription; what lies under the id of a known client is not offered under our own; and the exchange never returns
/// anything to its origin.
#[derive(Debug)]
pub struct Routes {
    me: ClientId,
    /// Whether nothing is ever offered or commanded.
    only_looks: bool,
    rules: Rules,
    graph: LocalGraph,
    clients: BTreeSet<ClientId>,
    connected: bool,
    offers: BTreeMap<OfferKey, OfferState>,
    feeds: BTreeMap<FeedId, FeedState>,
    next_id: u32,
    commands: VecDeque<RouteCommand>,
    /// Warnings that hold, so that each is given once.
    warned: BTreeSet<String>,
}

/// What makes two offers the same one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct OfferKey {
    /// `None` for state.
    command_to: Option<ClientId>,
    /// As in [`Offer::topic`].
    name: String,
    type_name: String,
}

#[derive(Debug)]
struct OfferState {
    channel: ChannelId,
    /// The topic as it is called in our own graph.
    local: TopicInfo,
    class: Class,
    max_rate_millihertz: u32,
    reader: Option<ReaderId>,
    pace: Pace,
    next_sequence: u64,
}

#[derive(Debug)]
struct FeedState {
    /// The topic as it is called in our own graph.
    local: TopicInfo,
    writer: Option<WriterId>,
    max_rate_millihertz: u32,
    subscribed: bool,
}

impl Routes {
    /// The routes of `me`, not connected, with an empty graph.
    pub fn new(me: ClientId, kind: ClientKind, rules: Rules) -> Self {
        Routes {
            only_looks: kind == ClientKind::Observer,
            clients: BTreeSet::from([me.clone()]),
            me,
            rules,
            graph: LocalGraph::default(),
            connected: false,
            offers: BTreeMap::new(),
            feeds: BTreeMap::new(),
            next_id: 0,
            commands: VecDeque::new(),
            warned: BTreeSet::new(),
        }
    }

    /// The next thing to do.
    pub fn poll_command(&mut self) -> Option<RouteCommand> {
        self.commands.pop_front()
    }

    /// The local graph changed.
    pub fn handle_graph(&mut self, graph: LocalGraph) {
        self.graph = graph;
        self.work_out();
    }

    /// The client table changed: `ids` are known to the exchange, connected or not.
    pub fn handle_clients(&mut self, ids: impl IntoIterator<Item = ClientId>) {
        let before = self.clients.len();
        self.clients.extend(ids);
        if self.clients.len() != before {
            self.work_out();
        }
    }

    /// The line is up: everything that is wanted and offered is told to the exchange, which knows nothing of us yet.
    pub fn handle_connected(&mut self) {
        self.connected = true;
        let texts = |patterns: &mut dyn Iterator<Item = &super::Pattern>| {
            patterns.map(|pattern| pattern.as_str().to_owned()).collect()
        };
        let interests = Interests {
            wants: texts(&mut self.rules.want.iter().map(|rule| &rule.topic)),
            accepts: texts(&mut self.rules.accept.iter().map(|rule| &rule.topic)),
        };
        self.commands.push_back(RouteCommand::Send(Frame::Interests(interests)));
        let offers: Vec<Offer> = self.offers.iter().map(|(key, state)| key.offer(state)).collect();
        self.send_offers(&offers);
        self.work_out();
    }

    /// The line is down: nobody demands anything, and nothing comes.
    pub fn handle_disconnected(&mut self) {
        self.connected = false;
        for state in self.offers.values_mut() {
            if let Some(reader) = state.reader.take() {
                self.commands.push_back(RouteCommand::DestroyReader(reader));
            }
        }
        for feed in std::mem::take(&mut self.feeds).into_values() {
            self.commands.extend(feed.writer.map(RouteCommand::DestroyWriter));
        }
    }

    /// The exchange has topics of others for us.
    pub fn handle_feeds_open(&mut self, feeds: Vec<Feed>) {
        for feed in feeds {
            self.open_feed(feed);
        }
        self.work_out();
    }

    /// Topics of others are gone.
    pub fn handle_feeds_closed(&mut self, feeds: &[FeedId]) {
        for feed in feeds {
            if let Some(state) = self.feeds.remove(feed) {
                self.commands.extend(state.writer.map(RouteCommand::DestroyWriter));
            }
        }
    }

    /// Somebody wants, or nobody wants any more, what we offer.
    pub fn handle_demands(&mut self, demands: &[Demand]) {
        for demand in demands {
            let Some(state) = self.offers.values_mut().find(|state| state.channel == demand.channel) else {
                continue; // Withdrawn while this was under way.
            };
            state.pace = Pace::new(lower_limit(state.max_rate_millihertz, demand.max_rate_millihertz));
            match (demand.wanted, state.reader) {
                (true, None) => {
                    let reader = ReaderId(u64::from(self.next_id));
                    self.next_id += 1;
                    state.reader = Some(reader);
                    self.commands.push_back(RouteCommand::CreateReader(reader, state.local.clone()));
                }
                (false, Some(reader)) => {
                    state.reader = None;
                    self.commands.push_back(RouteCommand::DestroyReader(reader));
                }
                _ => {}
            }
        }
    }

    /// A local topic cannot be read. It is tried again when the demand or the topic changes.
    pub fn handle_reader_failed(&mut self, reader: ReaderId, reason: &str) {
        if let Some(state) = self.offers.values_mut().find(|state| state.reader == Some(reader)) {
            state.reader = None;
            let name = state.local.name.clone();
            self.commands.push_back(RouteCommand::DestroyReader(reader));
            self.warn(format!("{name} cannot be read: {reason}"));
        }
    }

    /// A local topic cannot be published. It is tried again when the feed opens again.
    pub fn handle_writer_failed(&mut self, writer: WriterId, reason: &str) {
        if let Some(state) = self.feeds.values_mut().find(|state| state.writer == Some(writer)) {
            state.writer = None;
            let name = state.local.name.clone();
            self.warn(format!("{name} cannot be published here: {reason}"));
            self.work_out();
        }
    }

    /// A sample of `reader` could not be sent.
    pub fn handle_unsendable(&mut self, reader: ReaderId, reason: &str) {
        if let Some(state) = self.offers.values().find(|state| state.reader == Some(reader)) {
            let warning = format!("a message of {} was not sent: {reason}", state.local.name);
            self.warn(warning);
        }
    }

    /// A message for `writer` could not be published.
    pub fn handle_unpublishable(&mut self, writer: WriterId, reason: &str) {
        if let Some(state) = self.feeds.values().find(|state| state.writer == Some(writer)) {
            let warning = format!("a message for {} was not published: {reason}", state.local.name);
            self.warn(warning);
        }
    }

    /// Where a sample of `reader` goes, how urgent it is, and its number there; `None` if the rate limit holds it back or
    /// the route is gone.
    pub fn outgoing(&mut self, reader: ReaderId, now: Mono) -> Option<(ChannelId, Class, u64)> {
        let state = self.offers.values_mut().find(|state| state.reader == Some(reader))?;
        if !state.pace.is_due(now) {
            return None;
        }
        let sequence = state.next_sequence;
        state.next_sequence += 1;
        Some((state.channel, state.class, sequence))
    }

    /// Where a message of `feed` is published; `None` if the route is gone.
    pub fn incoming(&self, feed: FeedId) -> Option<WriterId> {
        self.feeds.get(&feed)?.writer
    }

    fn open_feed(&mut self, feed: Feed) {
        let (local_name, max_rate) = match &feed.flow {
            Flow::State => {
                let name = format!("/{}{}", feed.origin, feed.topic.name);
                match self.rules.wants(&name, &feed.topic.type_name) {
                    Some(rule) => (name, rule.max_rate),
                    None => return,
                }
            }
            Flow::Command { to } if *to == self.me => {
                match self.rules.accepts(&feed.topic.name, &feed.topic.type_name) {
                    Some(_) => (feed.topic.name.clone(), None),
                    None => return,
                }
            }
            Flow::Command { .. } => return,
        };
        if !is_topic_name(&local_name) {
            return self.warn(format!("{local_name} is not a valid topic name here: is it too long?"));
        }
        let writer = WriterId(u64::from(self.next_id));
        self.next_id += 1;
        let local = TopicInfo { name: local_name, ..feed.topic };
        self.commands.push_back(RouteCommand::CreateWriter(writer, local.clone()));
        let state =
            FeedState { local, writer: Some(writer), max_rate_millihertz: millihertz(max_rate), subscribed: false };
        if let Some(FeedState { writer: Some(old), .. }) = self.feeds.insert(feed.feed, state) {
            self.commands.push_back(RouteCommand::DestroyWriter(old));
        }
    }

    /// Brings offers and subscriptions in line with the graph, the rules and the client table.
    fn work_out(&mut self) {
        self.work_out_offers();
        if self.connected {
            self.work_out_subscriptions();
        }
    }

    fn work_out_offers(&mut self) {
        let wanted = self.wanted_offers();
        let mut withdrawn = Vec::new();
        let commands = &mut self.commands;
        self.offers.retain(|key, state| {
            let stays = wanted.get(key).is_some_and(|(topic, _)| *topic == state.local);
            if !stays {
                withdrawn.push(state.channel);
                commands.extend(state.reader.take().map(RouteCommand::DestroyReader));
            }
            stays
        });
        if self.connected {
            for chunk in withdrawn.chunks(defaults::LIST_CHUNK) {
                self.commands.push_back(RouteCommand::Send(Frame::Withdraw(chunk.to_vec())));
            }
        }
        let mut fresh = Vec::new();
        for (key, (local, max_rate)) in wanted {
            if self.offers.contains_key(&key) {
                continue;
            }
            if self.offers.len() >= defaults::CHANNELS_MAX {
                self.warn(format!(
                    "{} and more topics are not offered: {} is the most that the exchange takes; narrow the rules",
                    local.name,
                    defaults::CHANNELS_MAX
                ));
                break;
            }
            let class = match key.command_to {
                Some(_) => Class::Command,
                None => Class::of_type(&key.type_name),
            };
            let state = OfferState {
                channel: ChannelId(self.next_id),
                local,
                class,
                max_rate_millihertz: millihertz(max_rate),
                reader: None,
                pace: Pace::new(0),
                next_sequence: 0,
            };
            self.next_id += 1;
            fresh.push(key.offer(&state));
            self.offers.insert(key, state);
        }
        self.send_offers(&fresh);
    }

    /// What should be offered: the topic as our graph calls it, and its rate limit [Hz].
    fn wanted_offers(&mut self) -> BTreeMap<OfferKey, (TopicInfo, Option<f64>)> {
        let mut wanted = BTreeMap::new();
        let mut warnings = Vec::new();
        if self.only_looks {
            return wanted;
        }
        for topic in &self.graph.topics {
            for info in topics_published_by_others(topic) {
                let rule = self.rules.offers(&info.name, &info.type_name);
                match self.owner_of(&info.name) {
                    Some((owner, rest)) if *owner != self.me && is_topic_name(rest) => {
                        let key = OfferKey {
                            command_to: Some(owner.clone()),
                            name: rest.to_owned(),
                            type_name: info.type_name.clone(),
                        };
                        wanted.insert(key, (info, None));
                    }
                    Some((owner, _)) if rule.is_some() => warnings.push(format!(
                        "{} matches an offer rule but is not offered: names under /{owner} belong to the client {owner} of the exchange; rename the topic or the client",
                        info.name
                    )),
                    Some(_) => {}
                    None => {
                        if let Some(rule) = rule {
                            let key = OfferKey {
                                command_to: None,
                                name: info.name.clone(),
                                type_name: info.type_name.clone(),
                            };
                            wanted.insert(key, (info, rule.max_rate));
                        }
                    }
                }
            }
        }
        for warning in warnings {
            self.warn(warning);
        }
        wanted
    }

    /// The known client under whose id `name` lies, and the rest of the name.
    fn owner_of<'a>(&self, name: &'a str) -> Option<(&ClientId, &'a str)> {
        let bare = name.strip_prefix('/')?;
        let (first, _) = bare.split_once('/')?;
        let owner = self.clients.iter().find(|id| id.as_str() == first)?;
        Some((owner, &bare[first.len()..]))
    }

    fn work_out_subscriptions(&mut self) {
        let (mut begin, mut end, mut renewed) = (Vec::new(), Vec::new(), Vec::new());
        for (&feed, state) in &mut self.feeds {
            let needed = state.writer.is_some() && is_subscribed_by_others(&self.graph, &state.local);
            if needed && !state.subscribed {
                begin.push(Subscription { feed, max_rate_millihertz: state.max_rate_millihertz });
            } else if !needed && state.subscribed {
                end.push(feed);
                // What a transient_local writer keeps would reach the next subscriber twice: from it, and from the
                // exchange, which sends its history to whoever subscribes anew.
                if state.local.qos.durability == Durability::TransientLocal
                    && let Some(writer) = state.writer
                {
                    renewed.push((feed, writer));
                }
            }
            state.subscribed = needed;
        }
        for (feed, old) in renewed {
            let writer = WriterId(u64::from(self.next_id));
            self.next_id += 1;
            self.commands.push_back(RouteCommand::DestroyWriter(old));
            if let Some(state) = self.feeds.get_mut(&feed) {
                state.writer = Some(writer);
                self.commands.push_back(RouteCommand::CreateWriter(writer, state.local.clone()));
            }
        }
        for chunk in begin.chunks(defaults::LIST_CHUNK) {
            self.commands.push_back(RouteCommand::Send(Frame::Subscribe(chunk.to_vec())));
        }
        for chunk in end.chunks(defaults::LIST_CHUNK) {
            self.commands.push_back(RouteCommand::Send(Frame::Unsubscribe(chunk.to_vec())));
        }
    }

    fn send_offers(&mut self, offers: &[Offer]) {
        if self.connected {
            for chunk in offers.chunks(defaults::LIST_CHUNK) {
                self.commands.push_back(RouteCommand::Send(Frame::Offers(chunk.to_vec())));
            }
        }
    }

    fn warn(&mut self, warning: String) {
        if self.warned.len() < defaults::ROUTE_WARNINGS_MAX && self.warned.insert(warning.clone()) {
            self.commands.push_back(RouteCommand::Warn(warning));
        }
    }
}

impl OfferKey {
    fn offer(&self, state: &OfferState) -> Offer {
        let flow = match &self.command_to {
            None => Flow::State,
            Some(to) => Flow::Command { to: to.clone() },
        };
        Offer { channel: state.channel, flow, topic: TopicInfo { name: self.name.clone(), ..state.local.clone() } }
    }
}

/// `topic` once for each type that others publish on it, with the QoS that suits all publishers of that type.
fn topics_published_by_others(topic: &LocalTopic) -> Vec<TopicInfo> {
    let mut by_type: BTreeMap<(&str, &str), Vec<&Endpoint>> = BTreeMap::new();
    for publisher in topic.publishers.iter().filter(|publisher| !publisher.own) {
        by_type.entry((&publisher.type_name, &publisher.type_hash)).or_default().push(publisher);
    }
    let infos = by_type.into_iter().map(|((type_name, type_hash), publishers)| TopicInfo {
        name: topic.name.clone(),
        type_name: type_name.to_owned(),
        type_hash: type_hash.to_owned(),
        qos: qos::for_all(publishers.iter().map(|publisher| &publisher.qos)),
    });
    infos.collect()
}

fn is_subscribed_by_others(graph: &LocalGraph, topic: &TopicInfo) -> bool {
    let Ok(index) = graph.topics.binary_search_by(|candidate| candidate.name.as_str().cmp(&topic.name)) else {
        return false;
    };
    graph.topics[index].subscribers.iter().any(|subscriber| !subscriber.own && subscriber.type_name == topic.type_name)
}
