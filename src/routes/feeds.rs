//! What of others is brought into the local graph, and taken while somebody there subscribes to it.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::{LocalGraph, RouteCommand, Rule, Rules, Section, Thing, output::Output, qos};
use crate::{
    defaults,
    ids::{ClientId, FeedId, PublisherId, WriterId},
    model::{Durability, Qos, TopicInfo},
    pace::millihertz,
    wire::{Congestion, Feed, Flow, Frame, Subscription, is_topic_name},
};

/// Every feed that the exchange told us of.
#[derive(Debug, Default)]
pub(super) struct Feeds {
    feeds: BTreeMap<FeedId, FeedState>,
    by_writer: HashMap<WriterId, FeedId>,
}

#[derive(Debug)]
struct FeedState {
    announced: Feed,
    /// `None` while no rule lets it in. It is remembered all the same, for the rules may change.
    route: Option<Route>,
}

/// A feed that a rule lets in.
#[derive(Debug)]
struct Route {
    rule: Rule,
    /// The topic as it is called in our own graph.
    local: TopicInfo,
    /// Shows the topic in the graph before anything comes, and publishes all of it unless it is transient_local.
    writer: Option<WriterId>,
    /// Of a transient_local topic, who publishes the messages of whom: each remote publisher has a writer of its own, which
    /// keeps as much as it does, so that a chatty one does not crowd a quiet one out.
    writers: BTreeMap<PublisherId, WriterId>,
    subscribed: bool,
}

impl Feeds {
    pub(super) fn open(&mut self, feed: Feed, me: &ClientId, rules: &Rules, output: &mut Output) {
        let id = feed.feed;
        self.close(id, output);
        self.feeds.insert(id, FeedState { announced: feed, route: None });
        self.let_in(id, me, rules, output);
    }

    pub(super) fn close(&mut self, feed: FeedId, output: &mut Output) {
        if let Some(state) = self.feeds.remove(&feed) {
            self.end_route(state.route, output);
        }
    }

    pub(super) fn handle_disconnected(&mut self, output: &mut Output) {
        for state in std::mem::take(&mut self.feeds).into_values() {
            self.end_route(state.route, output);
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
                self.end_route(Some(route), output);
            }
            self.let_in(id, me, rules, output);
        }
    }

    pub(super) fn handle_writer_failed(&mut self, writer: WriterId, reason: &str, output: &mut Output) {
        let feed = self.by_writer.remove(&writer);
        if let Some(route) = feed.and_then(|feed| self.feeds.get_mut(&feed)?.route.as_mut()) {
            if route.writer == Some(writer) {
                route.writer = None;
            }
            // Whoever had it shares the first one from now on.
            match route.writer {
                Some(first) => route.writers.values_mut().filter(|it| **it == writer).for_each(|it| *it = first),
                None => route.writers.retain(|_, it| *it != writer),
            }
            output.warn(format!("{} cannot be published here: {reason}", route.local.name));
        }
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

    /// Takes what somebody in the graph subscribes to, and nothing else.
    pub(super) fn work_out(&mut self, graph: &LocalGraph, output: &mut Output) {
        let (mut begin, mut end, mut renewed) = (Vec::new(), Vec::new(), Vec::new());
        for (&feed, state) in &mut self.feeds {
            let Some(route) = &mut state.route else { continue };
            let needed = route.writer.is_some() && is_subscribed_by_others(graph, &route.local, output);
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
        let Some((rule, public_name)) = rule_for(&state.announced, me, rules) else { return };
        let name = rule.renamed(&public_name);
        if !is_topic_name(&name) {
            return output.warn(format!("{name} is not a valid topic name here: is it too long?"));
        }
        let offered = &state.announced.topic;
        let local = TopicInfo { name, qos: rule.qos.apply(offered.qos), ..offered.clone() };
        let writer = Some(create_writer(feed, local.clone(), &mut self.by_writer, output));
        state.route = Some(Route { rule: rule.clone(), local, writer, writers: BTreeMap::new(), subscribed: false });
    }

    fn end_route(&mut self, route: Option<Route>, output: &mut Output) {
        for writer in route.into_iter().flat_map(|mut route| route.take_writers()) {
            self.by_writer.remove(&writer);
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

/// Whether anybody subscribes who can get something from us. Those who cannot are told about.
fn is_subscribed_by_others(graph: &LocalGraph, topic: &TopicInfo, output: &mut Output) -> bool {
    let Ok(index) = graph.topics.binary_search_by(|candidate| candidate.name.as_str().cmp(&topic.name)) else {
        return false;
    };
    let others = graph.topics[index].subscribers.iter();
    let others = others.filter(|subscriber| !subscriber.own && subscriber.type_name == topic.type_name);
    let mut served = false;
    for subscriber in others {
        match qos::incompatibility(&topic.qos, &subscriber.qos) {
            None => served = true,
            Some(policy) => output.warn(format!(
                "{} of {} gets nothing: the {policy} that it asks for does not match; it asks for {}, the publishers offer {}",
                subscriber.node, topic.name, subscriber.qos, topic.qos
            )),
        }
    }
    served
}
