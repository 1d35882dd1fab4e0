//! What of the local graph should be offered, by the rules and the client table.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    Endpoint, Gid, LocalGraph, LocalTopic, Rule, Rules, Section, Thing, qos,
    report::{Direction, Finding, profiles, short_hash},
};
use crate::{
    ids::ClientId,
    model::{Durability, Qos, TopicInfo},
    wire::is_topic_name,
};

/// What offers are worked out from.
pub(super) struct World<'a> {
    pub(super) me: &'a ClientId,
    pub(super) rules: &'a Rules,
    pub(super) graph: &'a LocalGraph,
    pub(super) clients: &'a BTreeSet<ClientId>,
}

/// What makes two offers the same one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct OfferKey {
    /// `None` for state.
    pub(super) command_to: Option<ClientId>,
    /// As in [`Offer::topic`].
    pub(super) name: String,
    pub(super) type_name: String,
}

/// What should be offered.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Wanted {
    /// The topic as it is called in our own graph, with the QoS of the route.
    pub(super) local: TopicInfo,
    /// The rule under which it goes; commands go without one.
    pub(super) rule: Option<Rule>,
    /// The publishers that the rules let through, if they hold others back.
    pub(super) only: Option<BTreeSet<Gid>>,
    /// Of a transient_local topic, whose last messages late joiners get.
    pub(super) latched: BTreeSet<Gid>,
}

/// What the publishers behind an offer are like. It may change without the offer being another one.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// Their profiles.
    pub(super) profiles: String,
    /// Nobody of them can be heard with the QoS of the route.
    pub(super) all_refuse: bool,
    /// Those that cannot be heard, in words.
    pub(super) refusals: Vec<String>,
}

/// What should be offered, and what cannot be.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    pub(super) wanted: BTreeMap<OfferKey, (Wanted, Seen)>,
    pub(super) closed: Vec<Finding>,
}

/// The known client under whose id `name` lies, and the rest of the name.
pub(super) fn owner_of<'a, 'b>(clients: &'a BTreeSet<ClientId>, name: &'b str) -> Option<(&'a ClientId, &'b str)> {
    let bare = name.strip_prefix('/')?;
    let (first, _) = bare.split_once('/')?;
    let owner = clients.iter().find(|id| id.as_str() == first)?;
    Some((owner, &bare[first.len()..]))
}

pub(super) fn wanted_offers(world: &World<'_>) -> Outcome {
    let mut outcome = Outcome::default();
    for topic in &world.graph.topics {
        for (type_name, publishers) in by_type(topic) {
            match owner_of(world.clients, &topic.name) {
                Some((owner, rest)) if owner != world.me && is_topic_name(rest) => {
                    let key = OfferKey {
                        command_to: Some(owner.clone()),
                        name: rest.to_owned(),
                        type_name: type_name.to_owned(),
                    };
                    outcome.offer(world.me, key, topic, &publishers, None, None);
                }
                Some((owner, _)) => {
                    let thing = Thing::topic(&topic.name, type_name);
                    if publishers.iter().any(|publisher| is_offered(world.rules, thing.of_node(&publisher.node))) {
                        let mut finding = Finding::topic(
                            Direction::Out,
                            &topic.name,
                            format!("/{}{}", world.me, topic.name),
                            type_name,
                        );
                        finding.close_with_problem(&format!(
                            "a rule offers it, but names under /{owner} belong to the client {owner} of the exchange; rename the topic or the client"
                        ));
                        outcome.closed.push(finding);
                    }
                }
                None => offer_by_rule(world, topic, type_name, &publishers, &mut outcome),
            }
        }
    }
    outcome
}

fn is_offered(rules: &Rules, thing: Thing<'_>) -> bool {
    rules.find(Section::Offer, &thing).is_some()
}

/// What the rules let through of a topic's publishers of one type. Rules may speak of nodes, so each publisher is asked about;
/// the rule of the first that passes says how.
fn offer_by_rule(
    world: &World<'_>,
    topic: &LocalTopic,
    type_name: &str,
    publishers: &[&Endpoint],
    outcome: &mut Outcome,
) {
    let thing = Thing::topic(&topic.name, type_name);
    let passing: Vec<&Endpoint> = publishers
        .iter()
        .copied()
        .filter(|publisher| is_offered(world.rules, thing.of_node(&publisher.node)))
        .collect();
    let rule = passing.first().and_then(|first| world.rules.find(Section::Offer, &thing.of_node(&first.node)));
    let Some(rule) = rule else { return };
    let name = rule.renamed(&topic.name);
    let only = (passing.len() < publishers.len()).then(|| passing.iter().map(|publisher| publisher.gid).collect());
    let key = OfferKey { command_to: None, name, type_name: type_name.to_owned() };
    if !is_topic_name(&key.name) {
        let mut finding = key.finding(world.me, &topic.name);
        finding
            .close_with_problem(&format!("it is not offered as {}, which is no valid name: is it too long?", key.name));
        return outcome.closed.push(finding);
    }
    outcome.offer(world.me, key, topic, &passing, Some(rule), only);
}

impl Outcome {
    fn offer(
        &mut self,
        me: &ClientId,
        key: OfferKey,
        topic: &LocalTopic,
        publishers: &[&Endpoint],
        rule: Option<&Rule>,
        only: Option<BTreeSet<Gid>>,
    ) {
        if let Some(other) = self.wanted.get(&key) {
            let mut finding = key.finding(me, &topic.name);
            finding.close_with_problem(&format!("{} is offered under the same name already", other.0.local.name));
            return self.closed.push(finding);
        }
        if let Some(differs) = hashes_differ(publishers) {
            let mut finding = key.finding(me, &topic.name);
            finding.close(differs(false));
            finding.problems.push(format!("{}: {}", topic.name, differs(true)));
            return self.closed.push(finding);
        }
        let wanted = Wanted::new(topic, publishers, rule, only);
        let seen = Seen::new(publishers, &wanted.local.qos);
        self.wanted.insert(key, (wanted, seen));
    }
}

impl OfferKey {
    pub(super) fn finding(&self, me: &ClientId, local_name: &str) -> Finding {
        let owner = self.command_to.as_ref().unwrap_or(me);
        let exchange_name = format!("/{owner}{}", self.name);
        let mut finding = Finding::topic(Direction::Out, local_name, exchange_name, &self.type_name);
        finding.status.peer.clone_from(&self.command_to);
        finding
    }
}

/// Why publishers of one type name do not publish the same type, in full or with hashes cut short; `None` if they do, as far
/// as the distribution tells.
fn hashes_differ<'a>(publishers: &[&'a Endpoint]) -> Option<impl Fn(bool) -> String + use<'a>> {
    let mut hashed = publishers.iter().copied().filter(|publisher| !publisher.type_hash.is_empty());
    let first = hashed.next()?;
    let other = hashed.find(|publisher| publisher.type_hash != first.type_hash)?;
    Some(move |short: bool| {
        let hash =
            |endpoint: &Endpoint| if short { short_hash(&endpoint.type_hash) } else { endpoint.type_hash.clone() };
        format!(
            "its publishers do not agree what {} is: type hash {} of {}, {} of {}; build both from the same version of the package",
            first.type_name,
            hash(first),
            first.node,
            hash(other),
            other.node
        )
    })
}

impl Wanted {
    /// Takes over what can change without the exchange noticing: whose messages pass. `false` if anything else differs, or
    /// if a publisher has gone whose last messages the exchange would still give to late joiners.
    pub(super) fn become_like(&mut self, other: &Wanted) -> bool {
        let same = self.local == other.local && self.rule == other.rule && self.latched.is_subset(&other.latched);
        if same && (self.only != other.only || self.latched != other.latched) {
            self.only.clone_from(&other.only);
            self.latched.clone_from(&other.latched);
        }
        same
    }

    fn new(topic: &LocalTopic, publishers: &[&Endpoint], rule: Option<&Rule>, only: Option<BTreeSet<Gid>>) -> Self {
        let qos = route_qos(publishers, rule);
        let latched = match qos.durability {
            Durability::TransientLocal => publishers.iter().map(|publisher| publisher.gid).collect(),
            Durability::Volatile => BTreeSet::new(),
        };
        Wanted {
            local: TopicInfo {
                name: topic.name.clone(),
                type_name: publishers.first().map_or_else(String::new, |publisher| publisher.type_name.clone()),
                type_hash: publishers
                    .iter()
                    .map(|publisher| publisher.type_hash.clone())
                    .find(|hash| !hash.is_empty())
                    .unwrap_or_default(),
                qos,
            },
            rule: rule.cloned(),
            only,
            latched,
        }
    }
}

/// What the publishers promise together, with what the rule replaces.
fn route_qos(publishers: &[&Endpoint], rule: Option<&Rule>) -> Qos {
    let replace = rule.map(|rule| rule.qos).unwrap_or_default();
    let each: Vec<Qos> = publishers.iter().map(|publisher| replace.apply(publisher.qos)).collect();
    let together = qos::for_all(each.iter());
    let together = qos::limited(together, rule.and_then(|rule| rule.max_rate));
    match replace.depth {
        Some(depth) if together.durability == Durability::Volatile => Qos { depth, ..together },
        _ => together,
    }
}

impl Seen {
    fn new(publishers: &[&Endpoint], own: &Qos) -> Seen {
        let refusals: Vec<String> = publishers
            .iter()
            .filter_map(|publisher| {
                let policy = qos::incompatibility(&publisher.qos, own)?;
                Some(format!(
                    "nothing of {} is read: its rule asks for more {policy} than it offers; the rule asks for {own}, it offers {}",
                    publisher.node, publisher.qos
                ))
            })
            .collect();
        Seen {
            profiles: profiles(publishers.iter().map(|publisher| &publisher.qos)),
            all_refuse: !refusals.is_empty() && refusals.len() == publishers.len(),
            refusals,
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
