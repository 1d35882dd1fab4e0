//! What a client reads from its graph, writes into it, offers, subscribes to and calls, worked out from the graph, the
//! rules, the client table and the exchange.

use std::collections::BTreeSet;

use bytes::Bytes;

use super::{
    Gid, LocalGraph, Outgoing, RouteCommand, RouteStatus, Rule, Rules, Section,
    feeds::Feeds,
    offers::{Offers, Passing},
    output::Output,
    passage::End,
    proxies::Proxies,
    report::{Finding, problem_list},
    rules::TooManyRules,
    services::Services,
    wanted::World,
};
use crate::{
    ids::{CallId, CallerId, ClientId, FeedId, PublisherId, ReaderId, RequestId, RuleId, ServerId, WriterId},
    model::ClientKind,
    outbox::Class,
    time::Mono,
    traffic::{Cause, Ledger},
    wire::{CallFailure, Demand, Feed, Frame, Interests, Problems, Request, Response, ServiceFeed},
};

/// The routes of one client.
///
/// Contract: hand it what happens with the `handle_*` methods, and after each call [`Routes::poll_command`] until it says
/// `None`. It is lazy: a local topic is read only while the exchange demands it, and a feed is taken only while somebody
/// in the local graph subscribes to it. A service of others is served in the local graph only while it is announced. Call
/// [`Routes::handle_timeout`] when [`Routes::poll_timeout`] says so.
///
/// Loops cannot come about, for three reasons that each suffice: only endpoints that are not our own make an offer or a
/// subscription; what lies under the id of a known client is not offered under our own; and the exchange never returns
/// anything to its origin.
#[derive(Debug)]
pub struct Routes {
    pub(super) me: ClientId,
    /// Whether nothing is ever offered or commanded.
    only_looks: bool,
    rules: Rules,
    graph: LocalGraph,
    clients: BTreeSet<ClientId>,
    connected: bool,
    pub(super) offers: Offers,
    pub(super) feeds: Feeds,
    services: Services,
    proxies: Proxies,
    pub(super) output: Output,
    /// What went over the routes.
    pub(super) ledger: Ledger<End>,
    /// What is in the way, as it was told last.
    problems: Vec<String>,
    /// Whether something has happened since.
    pub(super) unsettled: bool,
}

/// What became of service calls, since the program started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CallCounters {
    /// Calls of the local graph that had no answer but their type's word for failure.
    pub failed: u64,
    /// Answers that came when nobody waited for them any more.
    pub late: u64,
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
            services: Services::default(),
            proxies: Proxies::default(),
            output: Output::default(),
            ledger: Ledger::default(),
            problems: Vec::new(),
            unsettled: false,
        }
    }

    /// The next thing to do.
    pub fn poll_command(&mut self) -> Option<RouteCommand> {
        loop {
            if let Some(command) = self.output.poll() {
                return Some(command);
            }
            if !std::mem::take(&mut self.unsettled) {
                return None;
            }
            // What could not be done has been said by now.
            self.settle();
        }
    }

    /// Every way between the local graph and the exchange, ordered by its name on the exchange: what is offered, what the
    /// exchange announced, and what is in the way of those that are closed.
    pub fn report(&self) -> Vec<RouteStatus> {
        let mut routes: Vec<RouteStatus> = self.findings().into_iter().map(|finding| finding.status).collect();
        routes.sort_by(|a, b| {
            let key = |route: &RouteStatus| (route.kind, route.direction, route.peer.clone());
            a.exchange_name.cmp(&b.exchange_name).then_with(|| key(a).cmp(&key(b)))
        });
        routes
    }

    /// What is in the way of the routes, in words: at most [`crate::defaults::PROBLEMS_MAX`] lines.
    pub fn problems(&self) -> &[String] {
        &self.problems
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
        self.proxies.handle_connected();
        // The exchange numbers its feeds anew.
        self.ledger.forget_routes();
        self.output.forget_warnings();
        if !self.problems.is_empty() {
            self.output.send(Frame::Problems(Problems { problems: self.problems.clone() }));
        }
        self.send_interests();
        self.output.send_list(&self.offers.all(), Frame::Offers);
        self.output.send_list(&self.services.all(), Frame::ServiceOffers);
        self.work_out();
    }

    /// The line is down: nobody demands anything, and nothing comes.
    pub fn handle_disconnected(&mut self) {
        self.connected = false;
        self.offers.handle_disconnected(&mut self.output);
        self.feeds.handle_disconnected(&mut self.output);
        self.services.handle_disconnected(&mut self.output);
        self.proxies.handle_disconnected(&mut self.output);
        self.unsettled = true;
    }

    /// The exchange has topics of others for us.
    pub fn handle_feeds_open(&mut self, feeds: Vec<Feed>) {
        for feed in feeds {
            self.feeds.open(feed, &self.me, &self.rules, &mut self.output);
        }
        self.work_out();
    }

    /// The exchange has services of others for us.
    pub fn handle_services_open(&mut self, feeds: Vec<ServiceFeed>) {
        for feed in feeds {
            self.proxies.open(feed, &self.rules, &mut self.output);
        }
        self.unsettled = true;
    }

    /// Topics and services of others are gone.
    pub fn handle_feeds_closed(&mut self, feeds: &[FeedId]) {
        for &feed in feeds {
            self.feeds.close(feed, &mut self.output);
            self.proxies.close(feed, &mut self.output);
        }
        self.fill_gaps();
        self.unsettled = true;
    }

    /// Somebody in the local graph calls one of our servers.
    pub fn handle_local_request(&mut self, server: ServerId, request: RequestId, payload: Bytes, now: Mono) {
        self.proxies.handle_request(server, request, payload, now, &mut self.output);
    }

    /// A local service has answered one of our calls.
    pub fn handle_local_response(&mut self, call: CallId, payload: Bytes, now: Mono) {
        self.services.handle_answer(&self.me, call, payload, now, &mut self.output);
    }

    /// Somebody elsewhere calls a service that we offer.
    pub fn handle_request(&mut self, request: Request, now: Mono) {
        self.services.handle_request(&self.me, request, now, &mut self.output);
    }

    /// The answer to a request that we sent.
    pub fn handle_response(&mut self, response: Response, now: Mono) {
        self.proxies.handle_response(response, now, &mut self.output);
        self.fill_gaps();
    }

    /// A request that we sent has no answer, and will have none.
    pub fn handle_failure(&mut self, failure: &CallFailure, now: Mono) {
        self.proxies.handle_failure(failure, now, &mut self.output);
        self.fill_gaps();
    }

    /// Nobody waits any more for the answers to requests that we got.
    pub fn handle_abandon(&mut self, calls: &[CallId]) {
        self.services.handle_abandon(calls, &mut self.output);
    }

    /// A service of others cannot be served here. It is tried again when it is announced again, and after a while.
    pub fn handle_server_failed(&mut self, server: ServerId, reason: &str) {
        self.proxies.handle_server_failed(server, reason, &mut self.output);
        self.unsettled = true;
    }

    /// A local service cannot be called for others. It is tried again with the next call.
    pub fn handle_caller_failed(&mut self, caller: CallerId, reason: &str) {
        self.services.handle_caller_failed(caller, reason, &mut self.output);
        self.unsettled = true;
    }

    /// One call of a local service could not be made.
    pub fn handle_call_failed(&mut self, call: CallId, reason: &str) {
        self.services.handle_call_failed(call, reason, &mut self.output);
    }

    /// When [`Routes::handle_timeout`] is due, if nothing else happens before.
    pub fn poll_timeout(&self) -> Option<Mono> {
        self.services.poll_timeout().into_iter().chain(self.proxies.poll_timeout()).min()
    }

    /// Gives up the calls whose time is over.
    pub fn handle_timeout(&mut self, now: Mono) {
        self.services.handle_timeout(&self.me, now, &mut self.output);
        self.proxies.handle_timeout(now, &mut self.output);
        self.fill_gaps();
    }

    /// What became of calls.
    pub fn call_counters(&self) -> CallCounters {
        let (failed, late) = self.proxies.counters();
        CallCounters { failed, late: late + self.services.late() }
    }

    /// Somebody wants, or nobody wants any more, what we offer.
    pub fn handle_demands(&mut self, demands: &[Demand]) {
        for demand in demands {
            self.offers.handle_demand(demand, &mut self.output);
        }
        self.unsettled = true;
    }

    /// Everything is taken that `reader` has of publishers that are gone.
    pub fn handle_reader_done(&mut self, reader: ReaderId) {
        self.offers.handle_reader_done(reader, &mut self.output);
    }

    /// A local topic cannot be read. It is tried again when the demand or the topic changes, and after a while.
    pub fn handle_reader_failed(&mut self, reader: ReaderId, reason: &str) {
        self.offers.handle_reader_failed(reader, reason, &mut self.output);
        self.unsettled = true;
    }

    /// A local topic cannot be published. It is tried again when the feed opens again, and after a while.
    pub fn handle_writer_failed(&mut self, writer: WriterId, reason: &str) {
        self.feeds.handle_writer_failed(writer, reason);
        self.work_out();
    }

    /// Time has passed: what could not be opened [`crate::defaults::RETRY_CLOSED`] ago is tried again. To be called about
    /// once a second.
    pub fn handle_retry(&mut self, now: Mono) {
        let readers = self.offers.handle_retry(now, &mut self.output);
        let writers = self.feeds.handle_retry(now, &mut self.output);
        let servers = self.proxies.handle_retry(now, &self.rules, &mut self.output);
        self.unsettled |= readers || writers || servers;
    }

    /// A sample of `reader` could not be sent.
    pub fn handle_unsendable(&mut self, reader: ReaderId, reason: &str) {
        self.count_drop(End::Reader(reader), Cause::Refused);
        if let Some(name) = self.offers.name_of(reader) {
            let warning = format!("a message of {name} was not sent: {reason}");
            self.output.warn(warning);
        }
    }

    /// A message for `writer` could not be published.
    pub fn handle_unpublishable(&mut self, writer: WriterId, reason: &str) {
        if let Some(feed) = self.feeds.feed_of(writer) {
            self.count_drop(End::Feed(feed), Cause::Failed);
        }
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
        match self.offers.outgoing(reader, publisher, now)? {
            Passing::Goes(outgoing) => {
                self.count_taken(reader, true, now);
                Some(outgoing)
            }
            Passing::Thinned => {
                self.count_taken(reader, false, now);
                None
            }
            Passing::Refused => {
                self.count_refused(reader, now);
                None
            }
        }
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
        self.proxies.handle_rules(&self.rules, &mut self.output);
        self.work_out();
    }

    fn fill_gaps(&mut self) {
        self.unsettled |= self.proxies.fill_gaps(&self.rules, &mut self.output);
    }

    fn send_interests(&mut self) {
        // A rule of `never` asks for nothing.
        let rules = |section| self.rules.section(section).iter().filter(|rule: &&Rule| !rule.never);
        // Who only looks calls nothing, so a server here would not keep its promise.
        let services = rules(Section::Want).filter(|_| !self.only_looks);
        let interests = Interests {
            wants: rules(Section::Want).flat_map(Rule::topic_patterns).collect(),
            accepts: rules(Section::Accept).flat_map(Rule::topic_patterns).collect(),
            services: services.flat_map(Rule::service_patterns).collect(),
        };
        self.output.send(Frame::Interests(interests));
    }

    fn findings(&self) -> Vec<Finding> {
        let mut findings = self.offers.findings(&self.me, self.connected);
        findings.extend(self.feeds.findings(&self.me));
        findings.extend(self.services.findings(&self.me, self.connected));
        findings.extend(self.proxies.findings());
        findings
    }

    /// Takes what was mended, and tells what is in the way if that has changed.
    fn settle(&mut self) {
        self.offers.settle();
        self.proxies.settle_failures();
        if self.feeds.settle() {
            self.work_out();
        }
        let findings = self.findings();
        let refusals = self.feeds.refusals();
        let found = findings.iter().flat_map(|finding| &finding.problems).chain(&refusals);
        let problems = problem_list(found.map(String::as_str));
        if problems == self.problems {
            return;
        }
        for problem in problems.iter().filter(|problem| !self.problems.contains(problem)) {
            self.output.push(RouteCommand::Warn(problem.clone()));
        }
        self.problems = problems;
        if self.connected {
            self.output.send(Frame::Problems(Problems { problems: self.problems.clone() }));
        }
    }

    /// Brings offers and subscriptions in line with the graph, the rules and the client table.
    fn work_out(&mut self) {
        self.unsettled = true;
        if !self.only_looks {
            let world = World { me: &self.me, rules: &self.rules, graph: &self.graph, clients: &self.clients };
            self.offers.work_out(&world, self.connected, &mut self.output);
            self.services.work_out(&world, self.connected, &mut self.output);
        }
        if self.connected {
            self.feeds.work_out(&self.graph, &mut self.output);
        }
    }
}
