//! What of the local graph is offered to the exchange, and read while somebody wants it.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::{Endpoint, Gid, LocalGraph, LocalTopic, RouteCommand, Rule, Rules, Section, Thing, output::Output, qos};
use crate::{
    defaults,
    ids::{ChannelId, ClientId, PublisherId, ReaderId},
    model::{Reliability, TopicInfo},
    outbox::Class,
    pace::{Pace, lower_limit, millihertz},
    time::Mono,
    wire::{Demand, Flow, Frame, Offer, is_topic_name},
};

/// Where a sample goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outgoing {
    /// On which channel.
    pub channel: ChannelId,
    /// How urgent it is.
    pub class: Class,
    /// Its number there.
    pub sequence: u64,
    /// Which of the publishers behind the channel it comes from.
    pub publisher: PublisherId,
    /// Whether nothing of the topic may be lost.
    pub reliable: bool,
    /// Whether only the newest message of the topic may wait.
    pub latest_only: bool,
}

/// What offers are worked out from.
pub(super) struct World<'a> {
    pub(super) me: &'a ClientId,
    pub(super) rules: &'a Rules,
    pub(super) graph: &'a LocalGraph,
    pub(super) clients: &'a BTreeSet<ClientId>,
}

/// Everything that is offered.
#[derive(Debug, Default)]
pub(super) struct Offers {
    channels: HashMap<ChannelId, OfferState>,
    by_key: BTreeMap<OfferKey, ChannelId>,
    by_reader: HashMap<ReaderId, ChannelId>,
    /// Samples of publishers that the rules hold back.
    refused: u64,
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

/// What should be offered.
#[derive(Debug, Clone, PartialEq)]
struct Wanted {
    /// The topic as it is called in our own graph, with the QoS of the route.
    local: TopicInfo,
    /// The rule under which it goes; commands go without one.
    rule: Option<Rule>,
    /// The publishers that the rules let through, if they hold others back.
    only: Option<BTreeSet<Gid>>,
}

#[derive(Debug)]
struct OfferState {
    channel: ChannelId,
    key: OfferKey,
    wanted: Wanted,
    class: Class,
    reader: Option<ReaderId>,
    pace: Pace,
    next_sequence: u64,
    publishers: HashMap<Gid, PublisherId>,
    /// Whether the exchange wants a pause.
    held: bool,
    /// Whether our own line has no room for more.
    congested: bool,
    /// Whether the reader was told to pause.
    paused: bool,
    /// Whether the last publisher is gone, and the offer goes too once all that it published is taken.
    ending: bool,
}

impl Offers {
    /// Every offer, for an exchange that knows none.
    pub(super) fn all(&self) -> Vec<Offer> {
        self.by_key.values().filter_map(|channel| Some(self.channels.get(channel)?.offer())).collect()
    }

    pub(super) fn handle_disconnected(&mut self, output: &mut Output) {
        self.by_reader.clear();
        for channel in self.by_key.values() {
            if let Some(reader) = self.channels.get_mut(channel).and_then(OfferState::take_reader) {
                output.push(RouteCommand::DestroyReader(reader));
            }
        }
    }

    pub(super) fn handle_demand(&mut self, demand: &Demand, output: &mut Output) {
        let Some(state) = self.channels.get_mut(&demand.channel) else {
            return; // Withdrawn while this was under way.
        };
        state.pace = Pace::new(lower_limit(state.max_rate(), demand.max_rate_millihertz));
        match (demand.wanted, state.reader) {
            (true, None) => {
                let reader = ReaderId(u64::from(output.number()));
                state.reader = Some(reader);
                self.by_reader.insert(reader, demand.channel);
                output.push(RouteCommand::CreateReader(reader, state.wanted.local.clone()));
            }
            (false, Some(reader)) => {
                state.take_reader();
                let ending = state.ending;
                self.by_reader.remove(&reader);
                output.push(RouteCommand::DestroyReader(reader));
                if ending {
                    return self.withdraw(demand.channel, output);
                }
            }
            _ => {}
        }
        state.held = demand.held && demand.wanted;
        state.pause(output);
    }

    pub(super) fn handle_reader_done(&mut self, reader: ReaderId, output: &mut Output) {
        let Some(&channel) = self.by_reader.get(&reader) else { return };
        if self.channels.get(&channel).is_some_and(|state| state.ending) {
            self.by_reader.remove(&reader);
            output.push(RouteCommand::DestroyReader(reader));
            self.withdraw(channel, output);
        }
    }

    pub(super) fn handle_congested(&mut self, reader: ReaderId, output: &mut Output) {
        let channel = self.by_reader.get(&reader);
        if let Some(state) = channel.and_then(|channel| self.channels.get_mut(channel)) {
            state.congested = true;
            state.pause(output);
        }
    }

    pub(super) fn handle_relieved(&mut self, class: Class, output: &mut Output) {
        for state in self.channels.values_mut().filter(|state| state.class == class && state.congested) {
            state.congested = false;
            state.pause(output);
        }
    }

    /// Samples that were not sent since the rules hold their publishers back.
    pub(super) fn refused(&self) -> u64 {
        self.refused
    }

    pub(super) fn handle_reader_failed(&mut self, reader: ReaderId, reason: &str, output: &mut Output) {
        let channel = self.by_reader.remove(&reader);
        if let Some(state) = channel.and_then(|channel| self.channels.get_mut(&channel)) {
            state.take_reader();
            output.push(RouteCommand::DestroyReader(reader));
            output.warn(format!("{} cannot be read: {reason}", state.wanted.local.name));
            if state.ending {
                let channel = state.channel;
                self.withdraw(channel, output);
            }
        }
    }

    /// The local name of what `reader` reads.
    pub(super) fn name_of(&self, reader: ReaderId) -> Option<&str> {
        let state = self.channels.get(self.by_reader.get(&reader)?)?;
        Some(&state.wanted.local.name)
    }

    pub(super) fn outgoing(&mut self, reader: ReaderId, publisher: Gid, now: Mono) -> Option<Outgoing> {
        let state = self.channels.get_mut(self.by_reader.get(&reader)?)?;
        if state.wanted.only.as_ref().is_some_and(|only| !only.contains(&publisher)) {
            self.refused += 1;
            return None;
        }
        if !state.pace.is_due(now) {
            return None;
        }
        let sequence = state.next_sequence;
        state.next_sequence += 1;
        Some(Outgoing {
            channel: state.channel,
            class: state.class,
            sequence,
            publisher: state.number_of(publisher),
            reliable: state.wanted.local.qos.reliability == Reliability::Reliable,
            latest_only: state.wanted.rule.as_ref().is_some_and(|rule| rule.latest_only),
        })
    }

    /// Brings the offers in line with the world.
    pub(super) fn work_out(&mut self, world: &World<'_>, connected: bool, output: &mut Output) {
        let wanted = wanted_offers(world, output);
        let mut withdrawn = Vec::new();
        self.by_key.retain(|key, channel| {
            let stays = self.channels.get_mut(channel).is_some_and(|state| match wanted.get(key) {
                Some(wanted) => {
                    state.ending = false;
                    state.wanted.become_like(wanted)
                }
                // What its publishers have published is still to come.
                None => state.end(output),
            });
            if !stays {
                withdrawn.push(*channel);
                if let Some(reader) = self.channels.remove(channel).and_then(|mut state| state.take_reader()) {
                    self.by_reader.remove(&reader);
                    output.push(RouteCommand::DestroyReader(reader));
                }
            }
            stays
        });
        let mut fresh = Vec::new();
        for (key, wanted) in wanted {
            if self.by_key.contains_key(&key) {
                continue;
            }
            if self.by_key.len() >= defaults::CHANNELS_MAX {
                output.warn(format!(
                    "{} and more topics are not offered: {} is the most that the exchange takes; narrow the rules",
                    wanted.local.name,
                    defaults::CHANNELS_MAX
                ));
                break;
            }
            let channel = ChannelId(output.number());
            let state = OfferState::new(channel, key.clone(), wanted);
            fresh.push(state.offer());
            self.channels.insert(channel, state);
            self.by_key.insert(key, channel);
        }
        if connected {
            output.send_list(&withdrawn, Frame::Withdraw);
            output.send_list(&fresh, Frame::Offers);
        }
    }

    /// Ends an offer whose messages have all been sent.
    fn withdraw(&mut self, channel: ChannelId, output: &mut Output) {
        if let Some(state) = self.channels.remove(&channel) {
            self.by_key.remove(&state.key);
            output.push(RouteCommand::SendBehind(state.class, Frame::Withdraw(vec![channel])));
        }
    }
}

impl OfferState {
    fn new(channel: ChannelId, key: OfferKey, wanted: Wanted) -> Self {
        let class = match key.command_to {
            Some(_) => Class::Command,
            None => Class::of_type(&key.type_name),
        };
        OfferState {
            channel,
            key,
            wanted,
            class,
            reader: None,
            pace: Pace::new(0),
            next_sequence: 0,
            publishers: HashMap::new(),
            held: false,
            congested: false,
            paused: false,
            ending: false,
        }
    }

    /// The reader, which is there no more. Another one begins without a pause.
    fn take_reader(&mut self) -> Option<ReaderId> {
        (self.held, self.congested, self.paused) = (false, false, false);
        self.reader.take()
    }

    /// The last publisher is gone. Returns whether there is still something to take.
    fn end(&mut self, output: &mut Output) -> bool {
        let Some(reader) = self.reader else { return false };
        if !std::mem::replace(&mut self.ending, true) {
            output.push(RouteCommand::FinishReader(reader));
        }
        true
    }

    /// Tells the reader to pause or to go on, if it was told otherwise before.
    fn pause(&mut self, output: &mut Output) {
        let pause = self.held || self.congested;
        if let Some(reader) = self.reader.filter(|_| pause != self.paused) {
            self.paused = pause;
            output.push(RouteCommand::HoldReader(reader, pause));
        }
    }

    fn number_of(&mut self, publisher: Gid) -> PublisherId {
        let next = self.publishers.len();
        if let Some(&known) = self.publishers.get(&publisher) {
            return known;
        }
        if next >= defaults::PUBLISHERS_MAX {
            return PublisherId(defaults::PUBLISHERS_MAX as u16 - 1);
        }
        let number = PublisherId(next as u16);
        self.publishers.insert(publisher, number);
        number
    }

    fn max_rate(&self) -> u32 {
        millihertz(self.wanted.rule.as_ref().and_then(|rule| rule.max_rate))
    }

    fn offer(&self) -> Offer {
        let flow = match &self.key.command_to {
            None => Flow::State,
            Some(to) => Flow::Command { to: to.clone() },
        };
        let topic = TopicInfo { name: self.key.name.clone(), ..self.wanted.local.clone() };
        Offer { channel: self.channel, flow, topic }
    }
}

/// The known client under whose id `name` lies, and the rest of the name.
pub(super) fn owner_of<'a, 'b>(clients: &'a BTreeSet<ClientId>, name: &'b str) -> Option<(&'a ClientId, &'b str)> {
    let bare = name.strip_prefix('/')?;
    let (first, _) = bare.split_once('/')?;
    let owner = clients.iter().find(|id| id.as_str() == first)?;
    Some((owner, &bare[first.len()..]))
}

fn wanted_offers(world: &World<'_>, output: &mut Output) -> BTreeMap<OfferKey, Wanted> {
    let mut wanted = BTreeMap::new();
    for topic in &world.graph.topics {
        for (type_name, publishers) in by_type(topic) {
            match owner_of(world.clients, &topic.name) {
                Some((owner, rest)) if owner != world.me && is_topic_name(rest) => {
                    let key = OfferKey {
                        command_to: Some(owner.clone()),
                        name: rest.to_owned(),
                        type_name: type_name.to_owned(),
                    };
                    wanted.insert(key, Wanted::new(topic, &publishers, None, None));
                }
                Some((owner, _)) => {
                    let thing = Thing::topic(&topic.name, type_name);
                    if publishers.iter().any(|publisher| is_offered(world.rules, thing.of_node(&publisher.node))) {
                        output.warn(format!(
                            "{} matches an offer rule but is not offered: names under /{owner} belong to the client {owner} of the exchange; rename the topic or the client",
                            topic.name
                        ));
                    }
                }
                None => {
                    if let Some((key, route)) = offer_by_rule(world.rules, topic, type_name, &publishers, output) {
                        wanted.insert(key, route);
                    }
                }
            }
        }
    }
    wanted
}

fn is_offered(rules: &Rules, thing: Thing<'_>) -> bool {
    rules.find(Section::Offer, &thing).is_some()
}

/// What the rules let through of a topic's publishers of one type. Rules may speak of nodes, so each publisher is asked about;
/// the rule of the first that passes says how.
fn offer_by_rule(
    rules: &Rules,
    topic: &LocalTopic,
    type_name: &str,
    publishers: &[&Endpoint],
    output: &mut Output,
) -> Option<(OfferKey, Wanted)> {
    let thing = Thing::topic(&topic.name, type_name);
    let passing: Vec<&Endpoint> =
        publishers.iter().copied().filter(|publisher| is_offered(rules, thing.of_node(&publisher.node))).collect();
    let rule = rules.find(Section::Offer, &thing.of_node(&passing.first()?.node))?;
    let name = rule.renamed(&topic.name);
    if !is_topic_name(&name) {
        output.warn(format!("{} is not offered as {name}, which is no valid topic name: is it too long?", topic.name));
        return None;
    }
    let only = (passing.len() < publishers.len()).then(|| passing.iter().map(|publisher| publisher.gid).collect());
    let key = OfferKey { command_to: None, name, type_name: type_name.to_owned() };
    Some((key, Wanted::new(topic, &passing, Some(rule), only)))
}

impl Wanted {
    /// Takes over what can change without the exchange noticing: whose messages pass. `false` if anything else differs.
    fn become_like(&mut self, other: &Wanted) -> bool {
        let same = self.local == other.local && self.rule == other.rule;
        if same && self.only != other.only {
            self.only.clone_from(&other.only);
        }
        same
    }

    fn new(topic: &LocalTopic, publishers: &[&Endpoint], rule: Option<&Rule>, only: Option<BTreeSet<Gid>>) -> Self {
        let found = qos::for_all(publishers.iter().map(|publisher| &publisher.qos));
        Wanted {
            local: TopicInfo {
                name: topic.name.clone(),
                type_name: publishers.first().map_or_else(String::new, |publisher| publisher.type_name.clone()),
                type_hash: publishers.first().map_or_else(String::new, |publisher| publisher.type_hash.clone()),
                qos: rule.map_or(found, |rule| rule.qos.apply(found)),
            },
            rule: rule.cloned(),
            only,
        }
    }
}

/// The publishers of `topic` that are not our own, by type.
fn by_type(topic: &LocalTopic) -> BTreeMap<&str, Vec<&Endpoint>> {
    let mut by_type: BTreeMap<&str, Vec<&Endpoint>> = BTreeMap::new();
    for publisher in topic.publishers.iter().filter(|publisher| !publisher.own) {
        by_type.entry(&publisher.type_name).or_default().push(publisher);
    }
    by_type
}
