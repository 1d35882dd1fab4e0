//! The services of the local graph that others may call, and the calls that they make.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;

use super::{
    Endpoint, Gid, LocalService, RouteCommand, Rule, Section, Thing, names,
    output::Output,
    report::{Direction, Finding, short_hash},
    turns::{Turn, Turns},
    wanted::{World, owner_of},
};
use crate::{
    defaults,
    ids::{CallId, CallerId, ChannelId, ClientId},
    model::ServiceInfo,
    time::Mono,
    wire::{CallCause, CallFailure, Frame, Request, Response, ServiceOffer, is_topic_name},
};

/// Every service that is offered, and every call that waits for the answer of one.
#[derive(Debug, Default)]
pub(super) struct Services {
    offered: BTreeMap<Key, Offered>,
    by_channel: HashMap<ChannelId, Key>,
    calls: HashMap<CallId, Call>,
    /// Our number of a call for the exchange's.
    by_number: HashMap<CallId, CallId>,
    deadlines: BTreeSet<(Mono, CallId)>,
    next_call: u64,
    late: u64,
    now: Mono,
    /// What the rules let through and is not offered all the same.
    closed: Vec<Finding>,
}

/// What makes two offers the same one: the name under which others know it, without our id, and the type.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    name: String,
    type_name: String,
}

#[derive(Debug)]
struct Offered {
    channel: ChannelId,
    /// As it is called in our own graph.
    local: ServiceInfo,
    servers: Arc<BTreeSet<Gid>>,
    /// The rule under which it is offered, as it stands in a rules file.
    rule: String,
    caller: Option<Caller>,
    turns: Turns,
    /// Why the last caller could not be made.
    failure: Option<String>,
    /// Requests so far.
    calls: u64,
    /// Of them without an answer.
    failed: u64,
}

/// Our client of a local service: there from its first call until a while after its last one.
#[derive(Debug)]
struct Caller {
    id: CallerId,
    pending: usize,
    last_used: Mono,
}

/// A call that was passed on to the local service.
#[derive(Debug)]
struct Call {
    key: Key,
    /// The exchange's number for it.
    number: CallId,
    caller: CallerId,
    deadline: Option<Mono>,
    limit: Duration,
    turn: Turn,
    /// Who served when it was made. Once all of them have gone nobody answers.
    servers: Arc<BTreeSet<Gid>>,
}

impl Services {
    /// Every offer, for an exchange that knows none.
    pub(super) fn all(&self) -> Vec<ServiceOffer> {
        self.offered.iter().map(|(key, offered)| offered.offer(key)).collect()
    }

    /// Answers that came when nobody waited for them any more.
    pub(super) fn late(&self) -> u64 {
        self.late
    }

    /// The exchange has told whoever called that the line is gone.
    pub(super) fn handle_disconnected(&mut self, output: &mut Output) {
        let calls: Vec<CallId> = self.calls.keys().copied().collect();
        self.offered.values_mut().for_each(|offered| offered.turns.clear());
        for call in calls {
            self.forget(call, output);
        }
    }

    /// Somebody calls a service of ours.
    pub(super) fn handle_request(&mut self, me: &ClientId, request: Request, now: Mono, output: &mut Output) {
        self.now = self.now.max(now);
        let number = request.call;
        let refuse = |cause, reason: String| Frame::CallFailed(CallFailure::new(number, cause, reason));
        let queued: usize = self.offered.values().map(|offered| offered.turns.bytes()).sum();
        let key = self.by_channel.get(&ChannelId(request.id));
        let Some((key, offered)) = key.and_then(|key| Some((key, self.offered.get_mut(key)?))) else {
            let reason = format!("the service is not offered by {me} any more");
            return output.push(RouteCommand::SendCall(refuse(CallCause::NoService, reason)));
        };
        if self.calls.len() >= defaults::CALLS_PENDING_MAX {
            let reason = format!("{me} has {} calls waiting for their answers", defaults::CALLS_PENDING_MAX);
            return output.push(RouteCommand::SendCall(refuse(CallCause::Busy, reason)));
        }
        if self.by_number.contains_key(&number) {
            let reason = format!("call {number} waits for its answer already");
            return output.push(RouteCommand::SendCall(refuse(CallCause::Failed, reason)));
        }
        let is_apart = names::is_get_result(&offered.local.name);
        if !is_apart && !offered.turns.is_free() && queued + request.payload.len() > defaults::CALLS_QUEUE_BYTES {
            let reason = format!("requests of {queued} bytes wait at {me} already");
            return output.push(RouteCommand::SendCall(refuse(CallCause::Busy, reason)));
        }
        let key = key.clone();
        offered.calls += 1;
        let caller = offered.caller.get_or_insert_with(|| {
            let id = CallerId(u64::from(output.number()));
            offered.failure = None;
            output.push(RouteCommand::CreateCaller(id, offered.local.clone()));
            Caller { id, pending: 0, last_used: now }
        });
        caller.pending += 1;
        let caller = caller.id;
        let call = CallId(self.next_call);
        self.next_call += 1;
        let limit = Duration::from_millis(u64::from(request.limit_millis));
        let deadline = (!limit.is_zero()).then(|| now + limit);
        self.deadlines.extend(deadline.map(|deadline| (deadline, call)));
        let servers = offered.servers.clone();
        let turn = if is_apart { Some(Turn::Apart) } else { offered.turns.begin(now) };
        match turn {
            Some(_) => output.push(RouteCommand::Call(caller, call, request.payload)),
            None => offered.turns.wait(call, request.payload),
        }
        let turn = turn.unwrap_or(Turn::Waits);
        self.calls.insert(call, Call { key, number, caller, deadline, limit, turn, servers });
        self.by_number.insert(number, call);
    }

    /// Nobody waits for the answers to these any more.
    pub(super) fn handle_abandon(&mut self, numbers: &[CallId], output: &mut Output) {
        for number in numbers {
            // Those that are not known have their answers, which are under way.
            if let Some(&call) = self.by_number.get(number) {
                self.forget(call, output);
            }
        }
    }

    /// The local service has answered.
    pub(super) fn handle_answer(
        &mut self,
        me: &ClientId,
        call: CallId,
        payload: Bytes,
        now: Mono,
        output: &mut Output,
    ) {
        self.now = self.now.max(now);
        if payload.len() > defaults::MESSAGE_MAX {
            let reason = format!(
                "the answer of {me} has {} bytes; at most {} go over the line",
                payload.len(),
                defaults::MESSAGE_MAX
            );
            return self.fail(call, CallCause::Failed, &reason, output);
        }
        match self.remove(call, true) {
            Some(Call { number, key, .. }) => {
                self.next_turns(&key, output);
                output.push(RouteCommand::SendCall(Frame::Response(Response { call: number, payload })));
            }
            None => self.late += 1,
        }
    }

    /// The local service cannot be called at all.
    pub(super) fn handle_caller_failed(&mut self, caller: CallerId, reason: &str, output: &mut Output) {
        let mut offered = self.offered.values_mut();
        let Some(offered) = offered.find(|it| it.caller.as_ref().is_some_and(|it| it.id == caller)) else { return };
        offered.failure = Some(reason.to_owned());
        offered.turns.clear();
        let of_it = |call: &Call| call.caller == caller;
        for call in self.calls_where(of_it) {
            self.fail(call, CallCause::Failed, reason, output);
        }
        // The next call tries it again.
        for offered in self.offered.values_mut() {
            offered.caller.take_if(|it| it.id == caller);
        }
    }

    /// One call could not be made.
    pub(super) fn handle_call_failed(&mut self, call: CallId, reason: &str, output: &mut Output) {
        self.fail(call, CallCause::Failed, reason, output);
    }

    /// When [`Services::handle_timeout`] is due.
    pub(super) fn poll_timeout(&self) -> Option<Mono> {
        let deadline = self.deadlines.first().map(|&(deadline, _)| deadline);
        let callers = self.offered.values().filter_map(|offered| offered.caller.as_ref());
        let idle = callers.filter(|caller| caller.pending == 0).map(Caller::kept_until);
        idle.chain(deadline).min()
    }

    /// Gives up the calls whose time is over, and the callers that nobody has needed for a while.
    pub(super) fn handle_timeout(&mut self, me: &ClientId, now: Mono, output: &mut Output) {
        self.now = self.now.max(now);
        while let Some(&(deadline, call)) = self.deadlines.first()
            && deadline <= now
        {
            self.deadlines.pop_first();
            let Some(late) = self.calls.get(&call) else { continue };
            let name = self.offered.get(&late.key).map_or(&late.key.name, |offered| &offered.local.name);
            let reason = format!("{name} of {me} did not answer within {} s", late.limit.as_secs_f64());
            self.fail(call, CallCause::Timeout, &reason, output);
        }
        for offered in self.offered.values_mut() {
            if let Some(idle) = offered.caller.take_if(|it| it.pending == 0 && it.kept_until() <= now) {
                output.push(RouteCommand::DestroyCaller(idle.id));
            }
        }
    }

    /// Brings the offers in line with the world, and ends the calls whose servers have gone.
    pub(super) fn work_out(&mut self, world: &World<'_>, connected: bool, output: &mut Output) {
        let Outcome { mut wanted, closed } = wanted_offers(world);
        self.closed = closed;
        let gone = |key: &Key, offered: &Offered| wanted.get(key).is_none_or(|wanted| wanted.local != offered.local);
        let gone: Vec<Key> =
            self.offered.iter().filter(|(key, offered)| gone(key, offered)).map(|(key, _)| key.clone()).collect();
        let mut withdrawn = Vec::new();
        for key in gone {
            let reason = format!("{} is not served or not offered by {} any more", key.name, world.me);
            if let Some(offered) = self.offered.get_mut(&key) {
                offered.turns.clear();
            }
            for call in self.calls_where(|call| call.key == key) {
                self.fail(call, CallCause::NoService, &reason, output);
            }
            let Some(offered) = self.offered.remove(&key) else { continue };
            self.by_channel.remove(&offered.channel);
            withdrawn.push(offered.channel);
            if let Some(caller) = offered.caller {
                output.push(RouteCommand::DestroyCaller(caller.id));
            }
        }
        for (key, offered) in &mut self.offered {
            let Some(Wanted { servers, rule, .. }) = wanted.remove(key) else { continue };
            offered.rule = rule;
            if *offered.servers != servers {
                offered.servers = Arc::new(servers);
            }
        }
        self.end_calls_without_server(world.me, output);
        let mut fresh = Vec::new();
        let mut is_told = false;
        for (key, Wanted { local, rule, servers }) in wanted {
            if self.offered.len() >= defaults::SERVICES_MAX {
                let mut finding = key.finding(world.me, &local.name);
                let most = defaults::SERVICES_MAX;
                finding.close(format!("the exchange takes no more than {most} services of a client; narrow the rules"));
                if !std::mem::replace(&mut is_told, true) {
                    finding.problems.push(format!(
                        "{} and more services are not offered: {most} is the most that the exchange takes; narrow the rules",
                        local.name
                    ));
                }
                self.closed.push(finding);
                continue;
            }
            let channel = ChannelId(output.number());
            let servers = Arc::new(servers);
            let offered = Offered {
                channel,
                local,
                servers,
                rule,
                caller: None,
                turns: Turns::default(),
                failure: None,
                calls: 0,
                failed: 0,
            };
            fresh.push(offered.offer(&key));
            self.by_channel.insert(channel, key.clone());
            self.offered.insert(key, offered);
        }
        if connected {
            output.send_list(&withdrawn, Frame::Withdraw);
            output.send_list(&fresh, Frame::ServiceOffers);
        }
    }

    /// Every service that a rule offers.
    pub(super) fn findings(&self, me: &ClientId, connected: bool) -> Vec<Finding> {
        let offered = self.offered.iter().map(|(key, offered)| offered.finding(key, me, connected));
        offered.chain(self.closed.iter().cloned()).collect()
    }

    /// A server that started again between two looks at the graph knows nothing of the calls to the one before.
    fn end_calls_without_server(&mut self, me: &ClientId, output: &mut Output) {
        let offered = &self.offered;
        let is_left = |call: &Call| {
            offered.get(&call.key).is_some_and(|offered| call.servers.iter().any(|gid| offered.servers.contains(gid)))
        };
        for call in self.calls_where(|call| !is_left(call)) {
            let reason = format!("the server of {me} that was called has gone before it answered");
            self.fail(call, CallCause::NoService, &reason, output);
        }
    }

    fn calls_where(&self, condition: impl Fn(&Call) -> bool) -> Vec<CallId> {
        let mut calls: Vec<CallId> =
            self.calls.iter().filter(|(_, call)| condition(call)).map(|(&call, _)| call).collect();
        calls.sort_unstable();
        calls
    }

    fn fail(&mut self, call: CallId, cause: CallCause, reason: &str, output: &mut Output) {
        if let Some(Call { number, caller, key, turn, .. }) = self.remove(call, false) {
            if let Some(offered) = self.offered.get_mut(&key) {
                offered.failed += 1;
            }
            if turn != Turn::Waits {
                output.push(RouteCommand::ForgetCall(caller, call));
            }
            output.push(RouteCommand::SendCall(Frame::CallFailed(CallFailure::new(number, cause, reason))));
            self.next_turns(&key, output);
        }
    }

    fn forget(&mut self, call: CallId, output: &mut Output) {
        if let Some(Call { caller, key, turn, .. }) = self.remove(call, false) {
            if turn != Turn::Waits {
                output.push(RouteCommand::ForgetCall(caller, call));
            }
            self.next_turns(&key, output);
        }
    }

    /// Makes the calls whose turn has come.
    fn next_turns(&mut self, key: &Key, output: &mut Output) {
        let Some(offered) = self.offered.get_mut(key) else { return };
        while let Some((call, payload, turn)) = offered.turns.next(self.now) {
            if let Some(waiting) = self.calls.get_mut(&call) {
                waiting.turn = turn;
                output.push(RouteCommand::Call(waiting.caller, call, payload));
            }
        }
    }

    fn remove(&mut self, call: CallId, is_answered: bool) -> Option<Call> {
        let removed = self.calls.remove(&call)?;
        self.by_number.remove(&removed.number);
        if let Some(deadline) = removed.deadline {
            self.deadlines.remove(&(deadline, call));
        }
        if let Some(offered) = self.offered.get_mut(&removed.key) {
            match is_answered {
                true => offered.turns.answered(removed.turn, self.now),
                false => offered.turns.given_up(call, removed.turn),
            }
            if let Some(caller) = &mut offered.caller {
                caller.pending -= 1;
                caller.last_used = self.now;
            }
        }
        Some(removed)
    }
}

impl Offered {
    fn finding(&self, key: &Key, me: &ClientId, connected: bool) -> Finding {
        let mut finding = key.finding(me, &self.local.name);
        finding.status.type_hash.clone_from(&self.local.type_hash);
        finding.status.rule.clone_from(&self.rule);
        finding.status.messages = self.calls;
        finding.status.dropped = self.failed;
        if !connected {
            finding.close("the line to the exchange is down");
        }
        if let Some(reason) = &self.failure {
            finding.close_with_problem(&format!("it cannot be called here: {reason}"));
        }
        finding
    }

    fn offer(&self, key: &Key) -> ServiceOffer {
        let service = ServiceInfo { name: key.name.clone(), ..self.local.clone() };
        ServiceOffer { channel: self.channel, service }
    }
}

impl Key {
    fn finding(&self, me: &ClientId, local_name: &str) -> Finding {
        Finding::service(Direction::Out, local_name, format!("/{me}{}", self.name), &self.type_name)
    }
}

impl Caller {
    fn kept_until(&self) -> Mono {
        self.last_used + defaults::CALLER_KEPT
    }
}

/// What should be offered, and what is in the way of the rest.
#[derive(Debug, Default)]
struct Outcome {
    wanted: BTreeMap<Key, Wanted>,
    closed: Vec<Finding>,
}

#[derive(Debug)]
struct Wanted {
    local: ServiceInfo,
    rule: String,
    servers: BTreeSet<Gid>,
}

fn wanted_offers(world: &World<'_>) -> Outcome {
    let mut outcome = Outcome::default();
    for service in &world.graph.services {
        for (rule, servers) in offered_by_rule(world, service) {
            outcome.offer(world, service, rule, &servers);
        }
    }
    outcome
}

/// What the rules let through of the servers of one service, by type, with the rule of the first that passes.
fn offered_by_rule<'a>(world: &World<'a>, service: &'a LocalService) -> Vec<(&'a Rule, Vec<&'a Endpoint>)> {
    let mut offered: BTreeMap<&str, (&Rule, Vec<&Endpoint>)> = BTreeMap::new();
    for server in service.servers.iter().filter(|server| !server.own) {
        let thing = Thing::service(&service.name, &server.type_name).of_node(&server.node);
        if let Some(rule) = world.rules.find(Section::Offer, &thing) {
            offered.entry(&server.type_name).or_insert_with(|| (rule, Vec::new())).1.push(server);
        }
    }
    offered.into_values().collect()
}

impl Outcome {
    /// Offers one service as all of `servers`, which are of one type, serve it.
    fn offer(&mut self, world: &World<'_>, service: &LocalService, rule: &Rule, servers: &[&Endpoint]) {
        let Some(first) = servers.first() else { return };
        let key = Key { name: rule.renamed(&service.name), type_name: first.type_name.clone() };
        let hashes: BTreeSet<&str> =
            servers.iter().map(|server| server.type_hash.as_str()).filter(|hash| !hash.is_empty()).collect();
        let problem = if let Some((owner, _)) = owner_of(world.clients, &service.name) {
            Some(format!(
                "a rule offers it, but names under /{owner} belong to the client {owner} of the exchange; rename the service or the client"
            ))
        } else if !is_topic_name(&key.name) {
            Some(format!("it is not offered as {}, which is no valid name: is it too long?", key.name))
        } else if let Some(other) = self.wanted.get(&key) {
            Some(format!("{} is offered under the same name already", other.local.name))
        } else if hashes.len() > 1 {
            let hashes: Vec<String> = hashes.iter().map(|hash| short_hash(hash)).collect();
            Some(format!(
                "its servers do not agree what {} is: type hashes {}; build all of them from the same version of the package",
                key.type_name,
                hashes.join(", ")
            ))
        } else {
            None
        };
        if let Some(problem) = problem {
            let mut finding = key.finding(world.me, &service.name);
            finding.close_with_problem(&problem);
            return self.closed.push(finding);
        }
        let local = ServiceInfo {
            name: service.name.clone(),
            type_name: first.type_name.clone(),
            type_hash: hashes.first().map_or_else(String::new, |&hash| hash.to_owned()),
        };
        let servers = servers.iter().map(|server| server.gid).collect();
        self.wanted.insert(key, Wanted { local, rule: rule.text.clone(), servers });
    }
}
