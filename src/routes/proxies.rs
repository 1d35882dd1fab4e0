//! The services of others, served in the local graph by servers of our own, which pass the calls on.

use std::collections::{BTreeMap, HashMap};

use bytes::Bytes;

use super::{
    RouteCommand, Rule, Rules, Section, Thing,
    failure::Failure,
    names,
    output::Output,
    report::{Direction, Finding},
    waiting::{Asker, Waiting},
};
use crate::{
    defaults,
    ids::{ClientId, FeedId, RequestId, ServerId},
    model::ServiceInfo,
    time::Mono,
    wire::{CallFailure, Response, ServiceFeed, is_topic_name},
};

/// Every service that the exchange told us of, and every request at our own servers that waits for its answer.
///
/// A server of ours is there while the real one is announced, and until the requests that it has are answered. Every
/// request is answered: with the response, or with its type's word for failure.
#[derive(Debug, Default)]
pub(super) struct Proxies {
    proxies: BTreeMap<Key, Proxy>,
    by_feed: HashMap<FeedId, Key>,
    by_server: HashMap<ServerId, Key>,
    waiting: Waiting,
    /// Whether a server has gone since others were looked at that its name may have kept out.
    freed: bool,
}

/// What makes two announcements the same service.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Key {
    pub(super) origin: ClientId,
    pub(super) name: String,
    pub(super) type_name: String,
}

#[derive(Debug)]
struct Proxy {
    /// The exchange's number for it; `None` once the real one is not announced any more.
    feed: Option<FeedId>,
    announced: ServiceInfo,
    /// `None` while no rule lets it in. It is remembered all the same, for the rules may change.
    route: Option<Route>,
    /// The name that a rule would give it, if that is none.
    misnamed: Option<String>,
}

/// A service that a rule lets in.
#[derive(Debug)]
struct Route {
    rule: Rule,
    /// The service as it is called in our own graph.
    local: ServiceInfo,
    server: Option<ServerId>,
    /// Why it cannot be made.
    failure: Option<Failure>,
    /// Whose service of the same name is served already.
    rival: Option<Key>,
    /// Requests so far.
    calls: u64,
}

impl Proxies {
    /// Requests that had no answer, and answers that came too late.
    pub(super) fn counters(&self) -> (u64, u64) {
        self.waiting.counters()
    }

    /// When [`Proxies::handle_timeout`] is due.
    pub(super) fn poll_timeout(&self) -> Option<Mono> {
        self.waiting.poll_timeout()
    }

    pub(super) fn open(&mut self, announced: ServiceFeed, rules: &Rules, output: &mut Output) {
        let ServiceFeed { feed, origin, service } = announced;
        let key = Key { origin, name: service.name.clone(), type_name: service.type_name.clone() };
        if let Some(other) = self.by_feed.insert(feed, key.clone()).filter(|other| *other != key) {
            self.forget_feed(&other, feed, output);
        }
        if let Some(proxy) = self.proxies.get_mut(&key) {
            if let Some(old) = proxy.feed.replace(feed).filter(|&old| old != feed) {
                self.by_feed.remove(&old);
            }
            if proxy.announced == service {
                // Its server is still there, for requests that wait for the real one to come back.
                return self.settle(&key, rules, output);
            }
            proxy.announced = service;
            self.end_route(&key, "another version of the service has taken its place", output);
        } else {
            self.proxies
                .insert(key.clone(), Proxy { feed: Some(feed), announced: service, route: None, misnamed: None });
        }
        self.settle(&key, rules, output);
    }

    pub(super) fn close(&mut self, feed: FeedId, output: &mut Output) {
        if let Some(key) = self.by_feed.remove(&feed) {
            self.forget_feed(&key, feed, output);
        }
    }

    pub(super) fn handle_connected(&mut self) {
        self.waiting.handle_connected();
    }

    /// Whoever waits is told that the line is gone, but for those who wait for a result.
    pub(super) fn handle_disconnected(&mut self, output: &mut Output) {
        self.by_feed.clear();
        self.waiting.handle_disconnected(output);
        let keys: Vec<Key> = self.proxies.keys().cloned().collect();
        for key in keys {
            if let Some(proxy) = self.proxies.get_mut(&key) {
                proxy.feed = None;
            }
            self.end_if_idle(&key, output);
        }
    }

    /// The rules have changed: what they let in otherwise than before is made anew.
    pub(super) fn handle_rules(&mut self, rules: &Rules, output: &mut Output) {
        let keys: Vec<Key> = self.proxies.keys().cloned().collect();
        for key in &keys {
            let Some(route) = self.proxies.get(key).and_then(|proxy| proxy.route.as_ref()) else { continue };
            if rule_for(key, rules).is_none_or(|(rule, _)| *rule != route.rule) {
                self.end_route(key, "the rules do not let it in any more", output);
                self.end_if_idle(key, output);
            }
        }
        for key in &keys {
            self.settle(key, rules, output);
        }
    }

    pub(super) fn handle_server_failed(&mut self, server: ServerId, reason: &str, output: &mut Output) {
        let Some(key) = self.by_server.remove(&server) else { return };
        if let Some(route) = self.proxies.get_mut(&key).and_then(|proxy| proxy.route.as_mut()) {
            route.server = None;
            route.failure = Some(Failure::new(reason));
        }
        self.waiting.fail_all_of(&key, reason, output);
    }

    /// Somebody in the local graph calls one of our servers.
    pub(super) fn handle_request(
        &mut self,
        server: ServerId,
        request: RequestId,
        payload: Bytes,
        now: Mono,
        output: &mut Output,
    ) {
        let Some((key, proxy)) = self.by_server.get(&server).and_then(|key| Some((key, self.proxies.get_mut(key)?)))
        else {
            // It came when its server was being destroyed, which answers what is left.
            let reason = "the service is not announced any more".to_owned();
            return output.push(RouteCommand::RespondFailure(server, request, reason));
        };
        let Some(route) = &mut proxy.route else { return };
        route.calls += 1;
        let has_limit = !names::is_get_result(&proxy.announced.name);
        let limit = has_limit.then(|| route.rule.timeout.unwrap_or(defaults::CALL_TIMEOUT));
        let asker = Asker { key: key.clone(), local: route.local.name.clone(), server, request };
        self.waiting.ask(asker, proxy.feed, payload, limit, now, output);
    }

    pub(super) fn handle_response(&mut self, response: Response, now: Mono, output: &mut Output) {
        if let Some(key) = self.waiting.handle_response(response, now, output) {
            self.end_if_idle(&key, output);
        }
    }

    pub(super) fn handle_failure(&mut self, failure: &CallFailure, now: Mono, output: &mut Output) {
        if let Some(key) = self.waiting.handle_failure(failure, now, output) {
            self.end_if_idle(&key, output);
        }
    }

    /// Gives up what has waited for too long.
    pub(super) fn handle_timeout(&mut self, now: Mono, output: &mut Output) {
        let proxies = &self.proxies;
        let ended = self.waiting.handle_timeout(now, |key| proxies.get(key).and_then(|proxy| proxy.feed), output);
        for key in ended {
            self.end_if_idle(&key, output);
        }
    }

    /// Tries again what failed some time ago. Returns whether there was such a thing.
    pub(super) fn handle_retry(&mut self, now: Mono, rules: &Rules, output: &mut Output) -> bool {
        let due = |route: &mut Route| route.failure.as_mut().is_some_and(|failure| failure.is_due(now));
        let failed = self
            .proxies
            .iter_mut()
            .filter_map(|(key, proxy)| proxy.route.as_mut().is_some_and(due).then(|| key.clone()));
        let failed: Vec<Key> = failed.collect();
        for key in &failed {
            self.settle(key, rules, output);
        }
        !failed.is_empty()
    }

    /// Everything that was to be done is done: what was tried again and did not fail is in order.
    pub(super) fn settle_failures(&mut self) {
        for route in self.proxies.values_mut().filter_map(|proxy| proxy.route.as_mut()) {
            route.failure.take_if(|failure| failure.is_over());
        }
    }

    /// Every service that the exchange announced.
    pub(super) fn findings(&self) -> Vec<Finding> {
        let finding = |(key, proxy): (&Key, &Proxy)| {
            let mut finding = proxy.finding(key);
            finding.status.dropped = self.waiting.failed_of(key);
            finding
        };
        self.proxies.iter().map(finding).collect()
    }

    /// Makes what is missing of a proxy, and asks again what waited for it.
    fn settle(&mut self, key: &Key, rules: &Rules, output: &mut Output) {
        self.let_in(key, rules, output);
        if let Some(feed) = self.proxies.get(key).and_then(|proxy| proxy.feed) {
            self.waiting.ask_again(key, feed, output);
        }
    }

    fn let_in(&mut self, key: &Key, rules: &Rules, output: &mut Output) {
        let Some(proxy) = self.proxies.get(key).filter(|proxy| proxy.feed.is_some()) else { return };
        if proxy.route.as_ref().is_some_and(|route| route.server.is_some()) {
            return;
        }
        let Some((rule, public_name)) = rule_for(key, rules) else { return };
        let name = rule.renamed(&public_name);
        if !is_topic_name(&name) {
            if let Some(proxy) = self.proxies.get_mut(key) {
                proxy.misnamed = Some(name);
            }
            return;
        }
        let mut others = self.proxies.iter().filter(|(other, _)| *other != key);
        let rival = others.find(|(_, other)| {
            other.route.as_ref().is_some_and(|route| route.server.is_some() && route.local.name == name)
        });
        let rival = rival.map(|(rival, _)| rival.clone());
        let server = rival.is_none().then(|| ServerId(u64::from(output.number())));
        let local = ServiceInfo { name, ..proxy.announced.clone() };
        let rule = rule.clone();
        if let Some(server) = server {
            self.by_server.insert(server, key.clone());
            output.push(RouteCommand::CreateServer(server, local.clone()));
        }
        if let Some(proxy) = self.proxies.get_mut(key) {
            let before = proxy.route.take();
            let calls = before.as_ref().map_or(0, |route| route.calls);
            let mut failure = before.and_then(|route| route.failure);
            failure.iter_mut().for_each(Failure::try_again);
            proxy.misnamed = None;
            proxy.route = Some(Route { rule, local, server, failure, rival, calls });
        }
    }

    /// Whoever was kept out by a name that has become free gets it. To be called after everything else.
    /// Returns whether there was such a name.
    pub(super) fn fill_gaps(&mut self, rules: &Rules, output: &mut Output) -> bool {
        if !std::mem::take(&mut self.freed) {
            return false;
        }
        let is_kept_out = |proxy: &Proxy| proxy.route.as_ref().is_some_and(|route| route.rival.is_some());
        let keys: Vec<Key> =
            self.proxies.iter().filter(|(_, proxy)| is_kept_out(proxy)).map(|(key, _)| key.clone()).collect();
        for key in keys {
            self.let_in(&key, rules, output);
        }
        true
    }

    fn forget_feed(&mut self, key: &Key, feed: FeedId, output: &mut Output) {
        if let Some(proxy) = self.proxies.get_mut(key).filter(|proxy| proxy.feed == Some(feed)) {
            proxy.feed = None;
            // The exchange or the owner has a word for each call that waits, and it comes behind this one.
            self.end_if_idle(key, output);
        }
    }

    fn end_route(&mut self, key: &Key, reason: &str, output: &mut Output) {
        self.waiting.fail_all_of(key, reason, output);
        if let Some(route) = self.proxies.get_mut(key).and_then(|proxy| proxy.route.take())
            && let Some(server) = route.server
        {
            self.by_server.remove(&server);
            self.freed = true;
            output.push(RouteCommand::DestroyServer(server));
        }
    }

    /// The server goes with the last request that waits, once the real one is gone.
    fn end_if_idle(&mut self, key: &Key, output: &mut Output) {
        if self.proxies.get(key).is_some_and(|proxy| proxy.feed.is_none()) && !self.waiting.has(key) {
            self.end_route(key, "", output);
            self.waiting.forget_count(key);
            self.proxies.remove(key);
        }
    }
}

impl Proxy {
    fn finding(&self, key: &Key) -> Finding {
        let exchange_name = format!("/{}{}", key.origin, key.name);
        let local_name = self.route.as_ref().map_or(&exchange_name, |route| &route.local.name).clone();
        let mut finding = Finding::service(Direction::In, &local_name, exchange_name, &key.type_name);
        finding.status.type_hash.clone_from(&self.announced.type_hash);
        finding.status.peer = Some(key.origin.clone());
        match (&self.route, &self.misnamed) {
            (Some(route), _) => {
                finding.status.rule.clone_from(&route.rule.text);
                finding.status.messages = route.calls;
                if let Some(rival) = &route.rival {
                    finding.close_with_problem(&format!(
                        "that of {} is not served here, for that of {} has the name; rename one of them with \"as\"",
                        key.origin, rival.origin
                    ));
                }
                if let Some(failure) = &route.failure {
                    finding.close_with_problem(&format!("it cannot be served here: {}", failure.reason()));
                }
                if self.feed.is_none() {
                    finding.close("it is not announced any more; results that were asked for wait for it");
                }
            }
            (None, Some(name)) => {
                finding.close_with_problem(&format!("it would be {name} here, which is no valid name: is it too long?"))
            }
            (None, None) => finding.close("no rule in \"want\" lets it in"),
        }
        finding
    }
}

/// The rule that lets a service in, and the name that the rule knows it by.
fn rule_for<'a>(key: &Key, rules: &'a Rules) -> Option<(&'a Rule, String)> {
    let name = format!("/{}{}", key.origin, key.name);
    let rule = rules.find(Section::Want, &Thing::service(&name, &key.type_name))?;
    Some((rule, name))
}
