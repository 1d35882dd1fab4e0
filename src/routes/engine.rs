//! What a client reads from its graph, writes into it, offers and subscribes to, worked out from the graph, the rules,
//! the client table and the exchange.

use std::collections::BTreeSet;

use super::{
    Gid, LocalGraph, Outgoing, RouteCommand, Rule, Rules, Section,
    feeds::Feeds,
    offers::{Offers, World},
    output::Output,
    rules::TooManyRules,
};
use crate::{
    ids::{ClientId, FeedId, PublisherId, ReaderId, RuleId, WriterId},
    model::ClientKind,
    outbox::Class,
    time::Mono,
    wire::{Demand, Feed, Frame, Interests},
};

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
    offers: Offers,
    feeds: Feeds,
    output: Output,
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
            offers: Offers::default(),
            feeds: Feeds::default(),
            output: Output::default(),
        }
    }

    /// The next thing to do.
    pub fn poll_command(&mut self) -> Option<RouteCommand> {
        self.output.poll()
    }

    /// The rules in force.
    pub fn rules(&self) -> &Rules {
        &self.rules
    }

    /// Puts a rule in force, behind the others of its section or in front of them.
    ///
    /// # Errors
    /// [`TooManyRules`]
    pub fn add_rule(&mut self, section: Section, rule: Rule, first: bool) -> Result<RuleId, TooManyRules> {
        let id = self.rules.add(section, rule, first)?;
        self.rules_changed();
        Ok(id)
    }

    /// Takes a rule out of force; `None` if there is no such one.
    pub fn remove_rule(&mut self, id: RuleId) -> Option<(Section, Rule)> {
        let removed = self.rules.remove(id)?;
        self.rules_changed();
        Some(removed)
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
        self.send_interests();
        self.output.send_list(&self.offers.all(), Frame::Offers);
        self.work_out();
    }

    /// The line is down: nobody demands anything, and nothing comes.
    pub fn handle_disconnected(&mut self) {
        self.connected = false;
        self.offers.handle_disconnected(&mut self.output);
        self.feeds.handle_disconnected(&mut self.output);
    }

    /// The exchange has topics of others for us.
    pub fn handle_feeds_open(&mut self, feeds: Vec<Feed>) {
        for feed in feeds {
            self.feeds.open(feed, &self.me, &self.rules, &mut self.output);
        }
        self.work_out();
    }

    /// Topics of others are gone.
    pub fn handle_feeds_closed(&mut self, feeds: &[FeedId]) {
        for &feed in feeds {
            self.feeds.close(feed, &mut self.output);
        }
    }

    /// Somebody wants, or nobody wants any more, what we offer.
    pub fn handle_demands(&mut self, demands: &[Demand]) {
        for demand in demands {
            self.offers.handle_demand(demand, &mut self.output);
        }
    }

    /// Everything is taken that `reader` has of publishers that are gone.
    pub fn handle_reader_done(&mut self, reader: ReaderId) {
        self.offers.handle_reader_done(reader, &mut self.output);
    }

    /// A local topic cannot be read. It is tried again when the demand or the topic changes.
    pub fn handle_reader_failed(&mut self, reader: ReaderId, reason: &str) {
        self.offers.handle_reader_failed(reader, reason, &mut self.output);
    }

    /// A local topic cannot be published. It is tried again when the feed opens again.
    pub fn handle_writer_failed(&mut self, writer: WriterId, reason: &str) {
        self.feeds.handle_writer_failed(writer, reason, &mut self.output);
        self.work_out();
    }

    /// A sample of `reader` could not be sent.
    pub fn handle_unsendable(&mut self, reader: ReaderId, reason: &str) {
        if let Some(name) = self.offers.name_of(reader) {
            let warning = format!("a message of {name} was not sent: {reason}");
            self.output.warn(warning);
        }
    }

    /// A message for `writer` could not be published.
    pub fn handle_unpublishable(&mut self, writer: WriterId, reason: &str) {
        if let Some(name) = self.feeds.name_of(writer) {
            let warning = format!("a message for {name} was not published: {reason}");
            self.output.warn(warning);
        }
    }

    /// The line took a sample of `reader`, but has no room for more.
    pub fn handle_congested(&mut self, reader: ReaderId) {
        self.offers.handle_congested(reader, &mut self.output);
    }

    /// The line has room for messages of `class` again.
    pub fn handle_relieved(&mut self, class: Class) {
        self.offers.handle_relieved(class, &mut self.output);
    }

    /// What subscribes to `writer` cannot take more for now, or can again.
    pub fn handle_writer_congested(&mut self, writer: WriterId, congested: bool) {
        self.feeds.handle_writer_congested(writer, congested, &mut self.output);
    }

    /// Where a sample that `publisher` made and `reader` took goes, how urgent it is, and its number there; `None` if the
    /// rules or a rate limit hold it back, or the route is gone.
    pub fn outgoing(&mut self, reader: ReaderId, publisher: Gid, now: Mono) -> Option<Outgoing> {
        self.offers.outgoing(reader, publisher, now)
    }

    /// Samples that were not sent since the rules hold their publishers back.
    pub fn refused(&self) -> u64 {
        self.offers.refused()
    }

    /// Where a message of `feed` is published that comes from `publisher` there, which keeps `keep` of them for late
    /// joiners (0: not known); `None` if the route is gone. The writer may be a new one: carry out the commands before it
    /// is used.
    pub fn incoming(&mut self, feed: FeedId, publisher: PublisherId, keep: u16) -> Option<WriterId> {
        self.feeds.incoming(feed, publisher, keep, &mut self.output)
    }

    fn rules_changed(&mut self) {
        if self.connected {
            self.send_interests();
        }
        self.feeds.handle_rules(&self.me, &self.rules, &mut self.output);
        self.work_out();
    }

    fn send_interests(&mut self) {
        // A rule of `never` asks for nothing.
        let rules = |section| self.rules.section(section).iter().filter(|rule: &&Rule| !rule.never);
        let interests = Interests {
            wants: rules(Section::Want).flat_map(Rule::topic_patterns).collect(),
            accepts: rules(Section::Accept).flat_map(Rule::topic_patterns).collect(),
            services: rules(Section::Want).flat_map(Rule::service_patterns).collect(),
        };
        self.output.send(Frame::Interests(interests));
    }

    /// Brings offers and subscriptions in line with the graph, the rules and the client table.
    fn work_out(&mut self) {
        if !self.only_looks {
            let world = World { me: &self.me, rules: &self.rules, graph: &self.graph, clients: &self.clients };
            self.offers.work_out(&world, self.connected, &mut self.output);
        }
        if self.connected {
            self.feeds.work_out(&self.graph, &mut self.output);
        }
    }
}
