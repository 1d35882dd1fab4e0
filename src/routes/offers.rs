//! What of the local graph is offered to the exchange, and read while somebody wants it.

use std::collections::{BTreeMap, HashMap};

use super::{
    Gid, RouteCommand,
    failure::Failure,
    output::Output,
    report::{Finding, RouteState},
    wanted::{OfferKey, Outcome, Seen, Wanted, World, wanted_offers},
};
use crate::{
    defaults,
    ids::{ChannelId, ClientId, PublisherId, ReaderId},
    model::{Reliability, TopicInfo},
    outbox::Class,
    pace::{Pace, lower_limit, millihertz},
    time::Mono,
    wire::{Demand, Flow, Frame, Offer},
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

/// What becomes of a sample.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Passing {
    /// It is sent.
    Goes(Outgoing),
    /// A rate limit leaves it out.
    Thinned,
    /// The rules hold its publisher back.
    Refused,
}

/// Everything that is offered.
#[derive(Debug, Default)]
pub(super) struct Offers {
    channels: HashMap<ChannelId, OfferState>,
    by_key: BTreeMap<OfferKey, ChannelId>,
    by_reader: HashMap<ReaderId, ChannelId>,
    /// What the rules let through and is not offered all the same.
    closed: Vec<Finding>,
}

#[derive(Debug)]
struct OfferState {
    channel: ChannelId,
    key: OfferKey,
    wanted: Wanted,
    seen: Seen,
    class: Class,
    /// Whether the exchange wants it.
    demanded: bool,
    reader: Option<ReaderId>,
    failure: Option<Failure>,
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
            let Some(state) = self.channels.get_mut(channel) else { continue };
            state.demanded = false;
            state.failure = None;
            if let Some(reader) = state.take_reader() {
                output.push(RouteCommand::DestroyReader(reader));
            }
        }
    }

    pub(super) fn handle_demand(&mut self, demand: &Demand, output: &mut Output) {
        let Some(state) = self.channels.get_mut(&demand.channel) else {
            return; // Withdrawn while this was under way.
        };
        state.pace = Pace::new(lower_limit(state.max_rate(), demand.max_rate_millihertz));
        state.demanded = demand.wanted;
        match (demand.wanted, state.reader) {
            (true, None) => state.create_reader(&mut self.by_reader, output),
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
        if !demand.wanted {
            // Nobody misses it now, and whether it would fail again is not known.
            state.failure = None;
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

    pub(super) fn handle_reader_failed(&mut self, reader: ReaderId, reason: &str, output: &mut Output) {
        let channel = self.by_reader.remove(&reader);
        if let Some(state) = channel.and_then(|channel| self.channels.get_mut(&channel)) {
            state.take_reader();
            state.failure = Some(Failure::new(reason));
            output.push(RouteCommand::DestroyReader(reader));
            if state.ending {
                let channel = state.channel;
                self.withdraw(channel, output);
            }
        }
    }

    /// Tries again what failed some time ago. Returns whether there was such a thing.
    pub(super) fn handle_retry(&mut self, now: Mono, output: &mut Output) -> bool {
        let mut tried = false;
        for state in self.channels.values_mut() {
            let due = state.failure.as_mut().is_some_and(|failure| failure.is_due(now));
            if due && state.demanded && state.reader.is_none() {
                state.create_reader(&mut self.by_reader, output);
                tried = true;
            }
        }
        tried
    }

    /// Everything that was to be done is done: what was tried again and did not fail is in order.
    pub(super) fn settle(&mut self) {
        for state in self.channels.values_mut() {
            if state.failure.as_ref().is_some_and(Failure::is_over) {
                state.failure = None;
            }
        }
    }

    /// Every offer, and what is not offered though the rules let it through.
    pub(super) fn findings(&self, me: &ClientId, connected: bool) -> Vec<Finding> {
        let states = self.by_key.values().filter_map(|channel| self.channels.get(channel));
        states.map(|state| state.finding(me, connected)).chain(self.closed.iter().cloned()).collect()
    }

    /// The local name of what `reader` reads.
    pub(super) fn name_of(&self, reader: ReaderId) -> Option<&str> {
        let state = self.channels.get(self.by_reader.get(&reader)?)?;
        Some(&state.wanted.local.name)
    }

    /// The name on the exchange of what `reader` reads, and its type.
    pub(super) fn exchange_name(&self, reader: ReaderId, me: &ClientId) -> Option<(String, String)> {
        let key = &self.channels.get(self.by_reader.get(&reader)?)?.key;
        let owner = key.command_to.as_ref().unwrap_or(me);
        Some((format!("/{owner}{}", key.name), key.type_name.clone()))
    }

    /// The reader of `channel`.
    pub(super) fn reader_of(&self, channel: ChannelId) -> Option<ReaderId> {
        self.channels.get(&channel)?.reader
    }

    pub(super) fn outgoing(&mut self, reader: ReaderId, publisher: Gid, now: Mono) -> Option<Passing> {
        let state = self.channels.get_mut(self.by_reader.get(&reader)?)?;
        if state.wanted.only.as_ref().is_some_and(|only| !only.contains(&publisher)) {
            return Some(Passing::Refused);
        }
        if !state.pace.is_due(now) {
            return Some(Passing::Thinned);
        }
        let sequence = state.next_sequence;
        state.next_sequence += 1;
        Some(Passing::Goes(Outgoing {
            channel: state.channel,
            class: state.class,
            sequence,
            publisher: state.number_of(publisher),
            reliable: state.wanted.local.qos.reliability == Reliability::Reliable,
            latest_only: state.wanted.rule.as_ref().is_some_and(|rule| rule.latest_only),
        }))
    }

    /// Brings the offers in line with the world.
    pub(super) fn work_out(&mut self, world: &World<'_>, connected: bool, output: &mut Output) {
        let Outcome { mut wanted, mut closed } = wanted_offers(world);
        let mut withdrawn = Vec::new();
        self.by_key.retain(|key, channel| {
            let stays = self.channels.get_mut(channel).is_some_and(|state| match wanted.get(key) {
                Some((wanted, _)) => {
                    state.ending = false;
                    state.wanted.become_like(wanted)
                }
                // What its publishers have published is still to come.
                None => state.end(output),
            });
            if stays {
                // Taken out: what is left is new.
                if let (Some((_, seen)), Some(state)) = (wanted.remove(key), self.channels.get_mut(channel)) {
                    state.seen = seen;
                }
            } else {
                withdrawn.push(*channel);
                if let Some(reader) = self.channels.remove(channel).and_then(|mut state| state.take_reader()) {
                    self.by_reader.remove(&reader);
                    output.push(RouteCommand::DestroyReader(reader));
                }
            }
            stays
        });
        let mut fresh = Vec::new();
        let mut left_out = 0;
        for (key, (wanted, seen)) in wanted {
            if self.by_key.len() >= defaults::CHANNELS_MAX {
                let mut finding = key.finding(world.me, &wanted.local.name);
                let most = defaults::CHANNELS_MAX;
                finding.close(format!("the exchange takes no more than {most} topics of a client; narrow the rules"));
                if left_out == 0 {
                    finding.problems.push(format!(
                        "{} and more topics are not offered: {most} is the most that the exchange takes; narrow the rules",
                        wanted.local.name,
                    ));
                }
                left_out += 1;
                closed.push(finding);
                continue;
            }
            let channel = ChannelId(output.number());
            let state = OfferState::new(channel, key.clone(), wanted, seen);
            fresh.push(state.offer());
            self.channels.insert(channel, state);
            self.by_key.insert(key, channel);
        }
        self.closed = closed;
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
    fn new(channel: ChannelId, key: OfferKey, wanted: Wanted, seen: Seen) -> Self {
        let class = match key.command_to {
            Some(_) => Class::Command,
            None => Class::of_type(&key.type_name),
        };
        OfferState {
            channel,
            key,
            wanted,
            seen,
            class,
            demanded: false,
            reader: None,
            failure: None,
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

    fn create_reader(&mut self, by_reader: &mut HashMap<ReaderId, ChannelId>, output: &mut Output) {
        let reader = ReaderId(u64::from(output.number()));
        self.reader = Some(reader);
        if let Some(failure) = &mut self.failure {
            failure.try_again();
        }
        by_reader.insert(reader, self.channel);
        output.push(RouteCommand::CreateReader(reader, self.wanted.local.clone()));
    }

    fn finding(&self, me: &ClientId, connected: bool) -> Finding {
        let mut finding = self.key.finding(me, &self.wanted.local.name);
        finding.status.type_hash.clone_from(&self.wanted.local.type_hash);
        finding.status.graph_qos.clone_from(&self.seen.profiles);
        finding.status.own_qos = self.wanted.local.qos.to_string();
        finding.status.rule = self.wanted.rule.as_ref().map_or_else(String::new, |rule| rule.text.clone());
        if self.paused {
            finding.status.state = RouteState::Held;
            finding.status.reason = "a receiver has to catch up first".to_owned();
        } else if self.reader.is_some() {
            finding.status.state = RouteState::Open;
        }
        if !connected {
            finding.close("the line to the exchange is down");
        }
        if self.seen.all_refuse {
            finding.close(self.seen.refusals.first().map_or_else(String::new, Clone::clone));
        }
        finding
            .problems
            .extend(self.seen.refusals.iter().map(|refusal| format!("{}: {refusal}", self.wanted.local.name)));
        if let Some(failure) = &self.failure {
            finding.close_with_problem(&format!("it cannot be read here: {}", failure.reason()));
        }
        finding
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
