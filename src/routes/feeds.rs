//! What of others is brought into the local graph, and taken while somebody there subscribes to it.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    time::Duration,
};

use bytes::Bytes;

use super::{
    Endpoint, LocalGraph, RouteCommand, Rule, Rules, Section, Thing,
    failure::Failure,
    frames,
    gate::{self, Attempt, Gate, Verdict},
    output::Output,
    qos,
    report::{Direction, Finding, RouteState, profiles, short_hash},
};
use crate::{
    defaults,
    ids::{ClientId, FeedId, PublisherId, WriterId},
    model::{Durability, Qos, TopicInfo},
    pace::millihertz,
    time::Mono,
    traffic::Cause,
    wire::{Congestion, Feed, Flow, Frame, Subscription, is_topic_name},
};

/// Every feed that the exchange told us of.
#[derive(Debug, Default)]
pub(super) struct Feeds {
    feeds: BTreeMap<FeedId, FeedState>,
    by_writer: HashMap<WriterId, FeedId>,
    gate: Gate,
}

#[derive(Debug)]
struct FeedState {
    announced: Feed,
    /// `None` while no rule lets it in. It is remembered all the same, for the rules may change.
    route: Option<Route>,
    /// The name that a rule would give it, if that is none.
    misnamed: Option<String>,
}

/// A feed that a rule lets in.
#[derive(Debug)]
struct Route {
    rule: Rule,
    /// The topic as it is called in our own graph.
    local: TopicInfo,
    /// Shows the topic in the graph before anything comes, and publishes all of it unless it is transient_local.
    writer: Option<WriterId>,
    failure: Option<Failure>,
    /// Of a transient_local topic, who publishes the messages of whom: each remote publisher has a writer of its own, which
    /// keeps as much as it does, so that a chatty one does not crowd a quiet one out.
    writers: BTreeMap<PublisherId, WriterId>,
    subscribed: bool,
    seen: Seen,
}

/// The local subscriptions to a feed.
#[derive(Debug, Default)]
struct Seen {
    /// Their profiles.
    profiles: String,
    /// Whether anybody of them can get something from us.
    served: bool,
    /// Why the feed may not be taken at all, in full.
    forbidden: Option<String>,
    /// Why somebody of them gets nothing.
    refusals: Vec<String>,
}

impl Feeds {
    pub(super) fn open(&mut self, feed: Feed, me: &ClientId, rules: &Rules, output: &mut Output) {
        let id = feed.feed;
        self.close(id, output);
        self.feeds.insert(id, FeedState { announced: feed, route: None, misnamed: None });
        self.let_in(id, me, rules, output);
    }

    pub(super) fn close(&mut self, feed: FeedId, output: &mut Output) {
        if let Some(state) = self.feeds.remove(&feed) {
            self.end_route(feed, state.route, output);
        }
    }

    pub(super) fn handle_disconnected(&mut self, output: &mut Output) {
        for (feed, state) in std::mem::take(&mut self.feeds) {
            self.end_route(feed, state.route, output);
        }
    }

    /// The rules have changed: what they let in otherwise than before is made anew.
    pub(super) fn handle_rules(&mut self, me: &ClientId, rules: &Rules, output: &mut Output) {
        let ids: Vec<FeedId> = self.feeds.keys().copied().collect();
        for id in ids {
            let Some(state) = self.feeds.get_mut(&id) else { continue };
            let rule = rule_for(&state.announced, me, rules).map(|(rule, _)| rule);
            if rule == state.route.as_ref().map(|route| &route.rule) {
                continue;
            }
            if let Some(route) = state.route.take() {
                if route.subscribed {
                    output.send(Frame::Unsubscribe(vec![id]));
                }
                self.end_route(id, Some(route), output);
            }
            self.let_in(id, me, rules, output);
        }
    }

    pub(super) fn handle_writer_failed(&mut self, writer: WriterId, reason: &str) {
        let feed = self.by_writer.remove(&writer);
        if let Some(route) = feed.and_then(|feed| self.feeds.get_mut(&feed)?.route.as_mut()) {
            if route.writer == Some(writer) {
                route.writer = None;
                route.failure = Some(Failure::new(reason));
            }
            // Whoever had it shares the first one from now on.
            match route.writer {
                Some(first) => route.writers.values_mut().filter(|it| **it == writer).for_each(|it| *it = first),
                None => route.writers.retain(|_, it| *it != writer),
            }
        }
    }

    /// Tries again what failed some time ago. Returns whether there was such a thing.
    pub(super) fn handle_retry(&mut self, now: Mono, output: &mut Output) -> bool {
        let mut tried = false;
        for (&feed, state) in &mut self.feeds {
            let Some(route) = &mut state.route else { continue };
            let due = route.failure.as_mut().is_some_and(|failure| failure.is_due(now));
            if due && route.writer.is_none() {
                if let Some(failure) = &mut route.failure {
                    failure.try_again();
                }
                route.writer = Some(create_writer(feed, route.local.clone(), &mut self.by_writer, output));
                tried = true;
            }
        }
        tried
    }

    /// Everything that was to be done is done: what was tried again and did not fail is in order. Returns whether there was
    /// such a thing, which may be taken now.
    pub(super) fn settle(&mut self) -> bool {
        let mut mended = false;
        for route in self.feeds.values_mut().filter_map(|state| state.route.as_mut()) {
            if route.failure.as_ref().is_some_and(Failure::is_over) {
                route.failure = None;
                mended = true;
            }
        }
        mended
    }

    /// Every feed that the exchange announced.
    pub(super) fn findings(&self, me: &ClientId) -> Vec<Finding> {
        self.feeds.values().map(|state| state.finding(me)).collect()
    }

    /// The local name of what `writer` publishes.
    pub(super) fn name_of(&self, writer: WriterId) -> Option<&str> {
        let state = self.feeds.get(self.by_writer.get(&writer)?)?;
        Some(&state.route.as_ref()?.local.name)
    }

    pub(super) fn incoming(
        &mut self,
        feed: FeedId,
        publisher: PublisherId,
        keep: u16,
        output: &mut Output,
    ) -> Option<WriterId> {
        let route = self.feeds.get_mut(&feed)?.route.as_mut()?;
        let first = route.writer?;
        if route.local.qos.durability == Durability::Volatile {
            return Some(first);
        }
        if let Some(&writer) = route.writers.get(&publisher) {
            return Some(writer);
        }
        if route.writers.len() >= defaults::PUBLISHERS_MAX {
            return Some(first);
        }
        let depth = route.rule.qos.depth.unwrap_or(u32::from(keep));
        let is_first = route.writers.is_empty();
        let writer = if is_first && kept(depth) == kept(route.local.qos.depth) {
            first
        } else {
            let topic = TopicInfo { qos: Qos { depth, ..route.local.qos }, ..route.local.clone() };
            let writer = create_writer(feed, topic, &mut self.by_writer, output);
            // The first one has published nothing so far.
            if is_first {
                route.writer = Some(writer);
                self.by_writer.remove(&first);
                output.push(RouteCommand::DestroyWriter(first));
            }
            writer
        };
        route.writers.insert(publisher, writer);
        Some(writer)
    }

    pub(super) fn handle_writer_congested(&mut self, writer: WriterId, congested: bool, output: &mut Output) {
        if let Some(&feed) = self.by_writer.get(&writer) {
            output.send(Frame::Congested(vec![Congestion { feed, congested }]));
        }
    }

    /// What of a message is published: all of it, with the frame ids told apart, or nothing, for a cause. `None` if the
    /// route is gone. `age` is `None` while the clock of the other end is not known.
    pub(super) fn let_through(
        &mut self,
        feed: FeedId,
        payload: Bytes,
        age: Option<Duration>,
        now: Mono,
        output: &mut Output,
    ) -> Option<Result<Bytes, Cause>> {
        let FeedState { announced, route, .. } = self.feeds.get(&feed)?;
        let route = route.as_ref().filter(|route| route.writer.is_some())?;
        if announced.flow == Flow::State {
            if gate::is_late(route.rule.max_age, age) {
                return Some(Err(Cause::Late));
            }
            if announced.topic.type_name != frames::TF_MESSAGE || route.rule.prefix_frames == Some(false) {
                return Some(Ok(payload));
            }
            return Some(frames::prefixed(&payload, &announced.origin).map_err(|error| {
                output.warn(format!("a message for {} was not published: {error}", route.local.name));
                Cause::Refused
            }));
        }
        let attempt = Attempt {
            topic: &route.local.name,
            type_name: &route.local.type_name,
            from: &announced.origin,
            feed,
            rule: &route.rule,
            age,
        };
        Some(match self.gate.judge(&attempt, now) {
            Verdict::Passes => Ok(payload),
            Verdict::Late => Err(Cause::Late),
            Verdict::Refused => Err(Cause::Refused),
        })
    }

    /// Lets go of a topic that one client commands alone. Returns who held it.
    ///
    /// # Errors
    /// In words, if nobody does.
    pub(super) fn release(&mut self, topic: &str) -> Result<ClientId, String> {
        self.gate.release(topic)
    }

    /// Who is kept out of commanding what, in words.
    pub(super) fn refusals(&self) -> Vec<String> {
        self.gate.problems()
    }

    /// Whether that has changed since this was asked last.
    pub(super) fn take_refusals_changed(&mut self) -> bool {
        self.gate.take_changed()
    }

    /// The name on the exchange of what comes with `feed`, and its type.
    pub(super) fn exchange_name(&self, feed: FeedId, me: &ClientId) -> Option<(String, String)> {
        let Feed { origin, flow, topic, .. } = &self.feeds.get(&feed)?.announced;
        let owner = if *flow == Flow::State { origin } else { me };
        Some((format!("/{owner}{}", topic.name), topic.type_name.clone()))
    }

    /// The feed that `writer` publishes.
    pub(super) fn feed_of(&self, writer: WriterId) -> Option<FeedId> {
        self.by_writer.get(&writer).copied()
    }

    /// Takes what somebody in the graph subscribes to, and nothing else.
    pub(super) fn work_out(&mut self, graph: &LocalGraph, output: &mut Output) {
        let (mut begin, mut end, mut renewed) = (Vec::new(), Vec::new(), Vec::new());
        for (&feed, state) in &mut self.feeds {
            let Some(route) = &mut state.route else { continue };
            route.seen = Seen::new(graph, &route.local);
            // A writer that is being tried again may fail again: until it is certain, nothing is asked for.
            let stands = route.writer.is_some() && route.failure.is_none();
            let needed = stands && route.seen.served && route.seen.forbidden.is_none();
            if needed && !route.subscribed {
                begin.push(Subscription {
                    feed,
                    max_rate_millihertz: millihertz(route.rule.max_rate),
                    latest_only: route.rule.latest_only,
                });
            } else if !needed && route.subscribed {
                end.push(feed);
                // What a transient_local writer keeps would reach the next subscriber twice: from it, and from the
                // exchange, which sends its history to whoever subscribes anew.
                if route.local.qos.durability == Durability::TransientLocal {
                    renewed.push(feed);
                }
            }
            route.subscribed = needed;
        }
        for feed in renewed {
            if let Some(route) = self.feeds.get_mut(&feed).and_then(|state| state.route.as_mut()) {
                for old in route.take_writers() {
                    self.by_writer.remove(&old);
                    output.push(RouteCommand::DestroyWriter(old));
                }
                route.writer = Some(create_writer(feed, route.local.clone(), &mut self.by_writer, output));
            }
        }
        output.send_list(&begin, Frame::Subscribe);
        output.send_list(&end, Frame::Unsubscribe);
    }

    fn let_in(&mut self, feed: FeedId, me: &ClientId, rules: &Rules, output: &mut Output) {
        let Some(state) = self.feeds.get_mut(&feed) else { return };
        state.misnamed = None;
        let Some((rule, public_name)) = rule_for(&state.announced, me, rules) else { return };
        let name = rule.renamed(&public_name);
        if !is_topic_name(&name) {
            state.misnamed = Some(name);
            return;
        }
        let offered = &state.announced.topic;
        let promised = qos::limited(rule.qos.apply(offered.qos), rule.max_rate);
        let local = TopicInfo { name, qos: promised, ..offered.clone() };
        let writer = Some(create_writer(feed, local.clone(), &mut self.by_writer, output));
        state.route = Some(Route {
            rule: rule.clone(),
            local,
            writer,
            failure: None,
            writers: BTreeMap::new(),
            subscribed: false,
            seen: Seen::default(),
        });
    }

    fn end_route(&mut self, feed: FeedId, route: Option<Route>, output: &mut Output) {
        let Some(mut route) = route else { return };
        let is_loss = self.gate.close(&route.local.name, feed);
        let main = route.writer;
        for writer in route.take_writers() {
            self.by_writer.remove(&writer);
            if is_loss && route.rule.stop && main == Some(writer) {
                output.push(RouteCommand::PublishStop(writer));
            }
            output.push(RouteCommand::DestroyWriter(writer));
        }
    }
}

impl Route {
    /// Every writer, each once.
    fn take_writers(&mut self) -> BTreeSet<WriterId> {
        self.writer.take().into_iter().chain(std::mem::take(&mut self.writers).into_values()).collect()
    }
}

/// How many messages a transient_local writer of that depth keeps.
fn kept(depth: u32) -> u32 {
    if depth == 0 { defaults::UNKNOWN_DEPTH } else { depth }
}

fn create_writer(
    feed: FeedId,
    topic: TopicInfo,
    by_writer: &mut HashMap<WriterId, FeedId>,
    output: &mut Output,
) -> WriterId {
    let writer = WriterId(u64::from(output.number()));
    by_writer.insert(writer, feed);
    output.push(RouteCommand::CreateWriter(writer, topic));
    writer
}

impl FeedState {
    fn finding(&self, me: &ClientId) -> Finding {
        let announced = &self.announced;
        let (section, owner) = match &announced.flow {
            Flow::State => (Section::Want, &announced.origin),
            Flow::Command { .. } => (Section::Accept, me),
        };
        let exchange_name = format!("/{owner}{}", announced.topic.name);
        let local_name = match (&self.route, &announced.flow) {
            (Some(route), _) => route.local.name.clone(),
            (None, Flow::State) => exchange_name.clone(),
            (None, Flow::Command { .. }) => announced.topic.name.clone(),
        };
        let mut finding = Finding::topic(Direction::In, &local_name, exchange_name, &announced.topic.type_name);
        finding.status.type_hash.clone_from(&announced.topic.type_hash);
        finding.status.peer = Some(announced.origin.clone());
        match (&self.route, &self.misnamed) {
            (Some(route), _) => route.describe(&mut finding),
            (None, Some(name)) => {
                finding.close_with_problem(&format!("it would be {name} here, which is no valid name: is it too long?"))
            }
            (None, None) => finding.close(format!("no rule in \"{}\" lets it in", section.as_str())),
        }
        finding
    }
}

impl Route {
    fn describe(&self, finding: &mut Finding) {
        finding.status.rule.clone_from(&self.rule.text);
        finding.status.own_qos = self.local.qos.to_string();
        finding.status.graph_qos.clone_from(&self.seen.profiles);
        if self.subscribed {
            finding.status.state = RouteState::Open;
        }
        finding.problems.extend(self.seen.refusals.iter().map(|refusal| format!("{}: {refusal}", self.local.name)));
        if let (false, Some(refusal)) = (self.seen.served, self.seen.refusals.first()) {
            finding.close(refusal.as_str());
        }
        if let Some(reason) = &self.seen.forbidden {
            finding.close(reason.as_str());
        }
        if let Some(failure) = &self.failure {
            finding.close_with_problem(&format!("it cannot be published here: {}", failure.reason()));
        }
    }
}

/// The rule that lets `feed` in, and the name that the rule knows it by.
fn rule_for<'a>(feed: &Feed, me: &ClientId, rules: &'a Rules) -> Option<(&'a Rule, String)> {
    let (section, name) = match &feed.flow {
        Flow::State => (Section::Want, format!("/{}{}", feed.origin, feed.topic.name)),
        Flow::Command { to } if to == me => (Section::Accept, feed.topic.name.clone()),
        Flow::Command { .. } => return None,
    };
    let rule = rules.find(section, &Thing::topic(&name, &feed.topic.type_name))?;
    Some((rule, name))
}

impl Seen {
    /// Looks who subscribes to `topic` beside ourselves, who of them can get something from us, and why others cannot.
    fn new(graph: &LocalGraph, topic: &TopicInfo) -> Seen {
        let found = graph.topics.binary_search_by(|candidate| candidate.name.as_str().cmp(&topic.name));
        let Ok(index) = found else { return Seen::default() };
        let others = || graph.topics[index].subscribers.iter().filter(|subscriber| !subscriber.own);
        let mut seen = Seen { profiles: profiles(others().map(|subscriber| &subscriber.qos)), ..Seen::default() };
        for subscriber in others() {
            match seen.judge(subscriber, topic) {
                None => seen.served = true,
                Some(refusal) => seen.refusals.push(refusal),
            }
        }
        seen
    }

    /// Why `subscriber` gets nothing; `None` if it does.
    fn judge(&mut self, subscriber: &Endpoint, topic: &TopicInfo) -> Option<String> {
        let node = &subscriber.node;
        if subscriber.type_name != topic.type_name {
            return Some(format!(
                "{node} gets nothing: it subscribes to {}, and what comes is {}",
                subscriber.type_name, topic.type_name
            ));
        }
        let (theirs, ours) = (&subscriber.type_hash, &topic.type_hash);
        if !theirs.is_empty() && !ours.is_empty() && theirs != ours {
            let words = |theirs: &str, ours: &str| {
                format!(
                    "{node} does not agree what {} is: it has type hash {theirs}, what comes has {ours}; build both from the same version of the package",
                    topic.type_name
                )
            };
            // Middlewares that do not look at hashes would hand it bytes of another type.
            self.forbidden = Some(words(theirs, ours));
            return Some(words(&short_hash(theirs), &short_hash(ours)));
        }
        let policy = qos::incompatibility(&topic.qos, &subscriber.qos)?;
        Some(format!(
            "{node} gets nothing: the {policy} that it asks for is not offered; it asks for {}, the publishers offer {}",
            subscriber.qos, topic.qos
        ))
    }
}
