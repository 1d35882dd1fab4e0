//! What of others is brought into the local graph, and taken while somebody there subscribes to it.

use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use bytes::Bytes;

use super::{
    LocalGraph, RouteCommand, Rule, Rules, Section, Thing, frames,
    gate::{self, Attempt, Gate, Verdict},
    output::Output,
    qos,
};
use crate::{
    ids::{ClientId, FeedId, WriterId},
    model::{Durability, TopicInfo},
    pace::millihertz,
    time::Mono,
    traffic::Cause,
    wire::{Feed, Flow, Frame, Subscription, is_topic_name},
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
}

/// A feed that a rule lets in.
#[derive(Debug)]
struct Route {
    rule: Rule,
    /// The topic as it is called in our own graph.
    local: TopicInfo,
    writer: Option<WriterId>,
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

    pub(super) fn handle_writer_failed(&mut self, writer: WriterId, reason: &str, output: &mut Output) {
        let feed = self.by_writer.remove(&writer);
        if let Some(route) = feed.and_then(|feed| self.feeds.get_mut(&feed)?.route.as_mut()) {
            route.writer = None;
            output.warn(format!("{} cannot be published here: {reason}", route.local.name));
        }
    }

    /// The local name of what `writer` publishes.
    pub(super) fn name_of(&self, writer: WriterId) -> Option<&str> {
        let state = self.feeds.get(self.by_writer.get(&writer)?)?;
        Some(&state.route.as_ref()?.local.name)
    }

    pub(super) fn incoming(&self, feed: FeedId) -> Option<WriterId> {
        self.feeds.get(&feed)?.route.as_ref()?.writer
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
        let FeedState { announced, route } = self.feeds.get(&feed)?;
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
            Verdict::Refused { holder, is_news } => {
                if is_news {
                    output.warn(format!(
                        "commands of {} to {} are refused: {holder} commands it alone; ~/release_topic lets go of it",
                        announced.origin, route.local.name
                    ));
                }
                Err(Cause::Refused)
            }
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
    pub(super) fn problems(&self) -> Vec<String> {
        self.gate.problems()
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
                if let Some(old) = route.writer.take() {
                    self.by_writer.remove(&old);
                    output.push(RouteCommand::DestroyWriter(old));
                }
                create_writer(feed, route, &mut self.by_writer, output);
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
        let route = state.route.insert(Route { rule: rule.clone(), local, writer: None, subscribed: false });
        create_writer(feed, route, &mut self.by_writer, output);
    }

    fn end_route(&mut self, feed: FeedId, route: Option<Route>, output: &mut Output) {
        let Some(route) = route else { return };
        let is_loss = self.gate.close(&route.local.name, feed);
        if let Some(writer) = route.writer {
            self.by_writer.remove(&writer);
            if is_loss && route.rule.stop {
                output.push(RouteCommand::PublishStop(writer));
            }
            output.push(RouteCommand::DestroyWriter(writer));
        }
    }
}

fn create_writer(feed: FeedId, route: &mut Route, by_writer: &mut HashMap<WriterId, FeedId>, output: &mut Output) {
    let writer = WriterId(u64::from(output.number()));
    route.writer = Some(writer);
    by_writer.insert(writer, feed);
    output.push(RouteCommand::CreateWriter(writer, route.local.clone()));
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
