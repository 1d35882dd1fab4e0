//! The requests at our own servers that wait for their answers.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    time::Duration,
};

use bytes::Bytes;

use super::{RouteCommand, output::Output, proxies::Key};
use crate::{
    defaults,
    ids::{CallId, FeedId, RequestId, ServerId},
    time::Mono,
    wire::{CallCause, CallFailure, Frame, Request, Response},
};

/// Who asks for what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Asker {
    pub(super) key: Key,
    /// What the service is called in our own graph.
    pub(super) local: String,
    pub(super) server: ServerId,
    pub(super) request: RequestId,
}

/// Every request that waits. What goes in is answered exactly once: by a response, or by the type's word for failure.
///
/// Requests for the result of a goal have no limit and outlive lines: when the line, the owner or the service goes they
/// are *lost*, and asked again when it is back.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    calls: BTreeMap<Ticket, Call>,
    by_key: BTreeMap<Key, BTreeSet<Ticket>>,
    by_number: HashMap<CallId, Ticket>,
    due: BTreeSet<(Mono, Ticket)>,
    /// Those that began to be lost when nobody told the time.
    unstamped: BTreeSet<Ticket>,
    offline: bool,
    next: u64,
    failed: u64,
    /// Of each service that is served here.
    failed_of: HashMap<Key, u64>,
    late: u64,
    log: Log,
}

/// Our own number for a request, which stays the same when it is asked again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Ticket(u64);

#[derive(Debug)]
struct Call {
    asker: Asker,
    /// The number under which it was asked last.
    number: Option<CallId>,
    /// `None` for the result of a goal.
    limit: Option<Duration>,
    /// What to ask again, for the result of a goal.
    question: Option<Bytes>,
    lost: Option<Lost>,
    /// Its place in [`Waiting::due`].
    due: Option<Mono>,
}

/// Since when a request for a result has nobody who could answer it.
#[derive(Debug, Clone, PartialEq)]
struct Lost {
    patience: Duration,
    /// `None` while the line is down, or until somebody tells the time.
    until: Option<Mono>,
    reason: String,
}

/// How many failures were told in the present minute.
#[derive(Debug, Default)]
struct Log {
    now: Mono,
    minute: Mono,
    told: u32,
}

impl Waiting {
    /// Requests that had no answer, and answers that came when nobody waited for them.
    pub(super) fn counters(&self) -> (u64, u64) {
        (self.failed, self.late)
    }

    /// Requests for that service that had no answer.
    pub(super) fn failed_of(&self, key: &Key) -> u64 {
        self.failed_of.get(key).copied().unwrap_or_default()
    }

    /// The service is not served any more.
    pub(super) fn forget_count(&mut self, key: &Key) {
        self.failed_of.remove(key);
    }

    /// Whether anybody waits for an answer of that service.
    pub(super) fn has(&self, key: &Key) -> bool {
        self.by_key.contains_key(key)
    }

    pub(super) fn poll_timeout(&self) -> Option<Mono> {
        if !self.offline && !self.unstamped.is_empty() {
            return Some(Mono::default());
        }
        self.due.first().map(|&(at, _)| at)
    }

    /// Takes a request in, and passes it on to `feed` if that is there.
    pub(super) fn ask(
        &mut self,
        asker: Asker,
        feed: Option<FeedId>,
        payload: Bytes,
        limit: Option<Duration>,
        now: Mono,
        output: &mut Output,
    ) {
        self.log.now = self.log.now.max(now);
        let refusal = if self.calls.len() >= defaults::CALLS_PENDING_MAX {
            Some(format!("{} calls wait for their answers already", defaults::CALLS_PENDING_MAX))
        } else if payload.len() > defaults::MESSAGE_MAX {
            Some(format!("the request has {} bytes; at most {} go over the line", payload.len(), defaults::MESSAGE_MAX))
        } else if feed.is_none() && limit.is_some() {
            Some(self.absence(&asker.key))
        } else {
            None
        };
        if let Some(reason) = refusal {
            return self.answer_with_failure(&asker, &reason, output);
        }
        let ticket = Ticket(self.next);
        self.next += 1;
        self.by_key.entry(asker.key.clone()).or_default().insert(ticket);
        let question = limit.is_none().then(|| payload.clone());
        let mut call = Call { asker, number: None, limit, question, lost: None, due: None };
        match feed {
            Some(feed) => {
                let number = CallId(self.next);
                self.next += 1;
                self.by_number.insert(number, ticket);
                call.number = Some(number);
                call.due = limit.map(|limit| now + limit);
                self.due.extend(call.due.map(|at| (at, ticket)));
                let limit_millis = limit.map_or(0, millis);
                output.push(RouteCommand::SendCall(Frame::Request(Request {
                    id: feed.0,
                    call: number,
                    limit_millis,
                    payload,
                })));
                self.calls.insert(ticket, call);
            }
            None => {
                let reason = self.absence(&call.asker.key);
                self.calls.insert(ticket, call);
                self.lose(ticket, defaults::RESULT_PATIENCE, reason);
            }
        }
    }

    /// The service is there again: asks for every result that waits for it.
    pub(super) fn ask_again(&mut self, key: &Key, feed: FeedId, output: &mut Output) {
        let tickets = self.by_key.get(key).into_iter().flatten().copied();
        let lost: Vec<Ticket> =
            tickets.filter(|ticket| self.calls.get(ticket).is_some_and(|call| call.lost.is_some())).collect();
        for ticket in lost {
            self.ask_once_more(ticket, feed, output);
        }
    }

    /// Returns the service of the request that this answers.
    pub(super) fn handle_response(&mut self, response: Response, now: Mono, output: &mut Output) -> Option<Key> {
        self.log.now = self.log.now.max(now);
        let Some(call) = self.by_number.get(&response.call).copied().and_then(|ticket| self.remove(ticket)) else {
            self.late += 1;
            return None;
        };
        let Asker { key, server, request, .. } = call.asker;
        output.push(RouteCommand::Respond(server, request, response.payload));
        Some(key)
    }

    /// Returns the service of the request that this ends.
    pub(super) fn handle_failure(&mut self, failure: &CallFailure, now: Mono, output: &mut Output) -> Option<Key> {
        self.log.now = self.log.now.max(now);
        let Some((&ticket, call)) =
            self.by_number.get(&failure.call).and_then(|ticket| Some((ticket, self.calls.get_mut(ticket)?)))
        else {
            self.late += 1;
            return None;
        };
        let key = call.asker.key.clone();
        let patience = match failure.cause {
            CallCause::PeerGone => defaults::RESULT_PATIENCE_OFFLINE,
            CallCause::NoService => defaults::RESULT_PATIENCE,
            CallCause::Timeout | CallCause::Busy | CallCause::Failed => Duration::ZERO,
        };
        if call.question.is_some() && !patience.is_zero() {
            self.lose(ticket, patience, failure.reason.clone());
        } else {
            self.fail(ticket, &failure.reason, output);
        }
        Some(key)
    }

    pub(super) fn handle_connected(&mut self) {
        self.offline = false;
    }

    /// Requests for results wait for the line to come back; the others have failed.
    pub(super) fn handle_disconnected(&mut self, output: &mut Output) {
        self.offline = true;
        let tickets: Vec<Ticket> = self.calls.keys().copied().collect();
        for ticket in tickets {
            let reason = "the line to the exchange is down";
            if self.calls.get(&ticket).is_some_and(|call| call.question.is_some()) {
                self.lose(ticket, defaults::RESULT_PATIENCE_OFFLINE, reason.to_owned());
            } else {
                self.fail(ticket, reason, output);
            }
        }
    }

    /// Gives up what has waited for too long, and asks again what was lost though `feed_of` its service is there. Returns
    /// the services of those that are given up.
    pub(super) fn handle_timeout(
        &mut self,
        now: Mono,
        feed_of: impl Fn(&Key) -> Option<FeedId>,
        output: &mut Output,
    ) -> Vec<Key> {
        self.log.now = self.log.now.max(now);
        if !self.offline {
            self.stamp(now, &feed_of);
        }
        let mut ended = Vec::new();
        while let Some(&(at, ticket)) = self.due.first()
            && at <= now
        {
            self.due.pop_first();
            let Some(call) = self.calls.get_mut(&ticket) else { continue };
            call.due = None;
            let feed = feed_of(&call.asker.key);
            match (&call.lost, feed) {
                (Some(_), Some(feed)) => self.ask_once_more(ticket, feed, output),
                (Some(Lost { until: Some(until), .. }), None) if *until > now => {
                    call.due = Some(*until);
                    self.due.insert((*until, ticket));
                }
                (Some(lost), None) => {
                    let reason =
                        format!("{}, and has not come back within {} s", lost.reason, lost.patience.as_secs_f64());
                    ended.push(call.asker.key.clone());
                    self.fail(ticket, &reason, output);
                }
                (None, _) => {
                    let limit = call.limit.unwrap_or_default().as_secs_f64();
                    let reason = format!("{} did not answer within {limit} s", call.asker.key.origin);
                    ended.push(call.asker.key.clone());
                    self.abandon(ticket, output);
                    self.fail(ticket, &reason, output);
                }
            }
        }
        ended
    }

    /// Ends every request for that service.
    pub(super) fn fail_all_of(&mut self, key: &Key, reason: &str, output: &mut Output) {
        let tickets: Vec<Ticket> = self.by_key.get(key).into_iter().flatten().copied().collect();
        for ticket in tickets {
            self.abandon(ticket, output);
            self.fail(ticket, reason, output);
        }
    }

    /// Why a service that we serve cannot be called.
    fn absence(&self, key: &Key) -> String {
        if self.offline {
            "the line to the exchange is down".to_owned()
        } else {
            format!("{} of {} is not announced any more", key.name, key.origin)
        }
    }

    /// Gives what was lost without anybody telling the time its deadline.
    fn stamp(&mut self, now: Mono, feed_of: &impl Fn(&Key) -> Option<FeedId>) {
        for ticket in std::mem::take(&mut self.unstamped) {
            let Some(call) = self.calls.get_mut(&ticket) else { continue };
            let Some(lost) = &mut call.lost else { continue };
            let until = now + lost.patience;
            lost.until = Some(until);
            // While the service is announced, the word that it has gone may be older than the announcement.
            let at = if feed_of(&call.asker.key).is_some() { now + defaults::RESULT_RETRY } else { until };
            call.due = Some(at);
            self.due.insert((at, ticket));
        }
    }

    fn lose(&mut self, ticket: Ticket, patience: Duration, reason: String) {
        let Some(call) = self.calls.get_mut(&ticket) else { return };
        if let Some(due) = call.due.take() {
            self.due.remove(&(due, ticket));
        }
        if let Some(number) = call.number.take() {
            self.by_number.remove(&number);
        }
        call.lost = Some(Lost { patience, until: None, reason });
        self.unstamped.insert(ticket);
    }

    fn ask_once_more(&mut self, ticket: Ticket, feed: FeedId, output: &mut Output) {
        let Some(call) = self.calls.get_mut(&ticket) else { return };
        let Some(payload) = call.question.clone() else { return };
        if let Some(due) = call.due.take() {
            self.due.remove(&(due, ticket));
        }
        self.unstamped.remove(&ticket);
        let number = CallId(self.next);
        self.next += 1;
        call.lost = None;
        call.number = Some(number);
        self.by_number.insert(number, ticket);
        output.push(RouteCommand::SendCall(Frame::Request(Request {
            id: feed.0,
            call: number,
            limit_millis: 0,
            payload,
        })));
    }

    /// Tells the exchange that nobody waits for the answer any more.
    fn abandon(&mut self, ticket: Ticket, output: &mut Output) {
        if let Some(number) = self.calls.get(&ticket).and_then(|call| call.number).filter(|_| !self.offline) {
            output.push(RouteCommand::SendCall(Frame::Abandon(vec![number])));
        }
    }

    fn fail(&mut self, ticket: Ticket, reason: &str, output: &mut Output) {
        if let Some(call) = self.remove(ticket) {
            self.answer_with_failure(&call.asker, reason, output);
        }
    }

    fn answer_with_failure(&mut self, asker: &Asker, reason: &str, output: &mut Output) {
        self.failed += 1;
        *self.failed_of.entry(asker.key.clone()).or_default() += 1;
        if self.log.has_room() {
            let warning = format!("a call of {} has failed: {reason}", asker.local);
            output.push(RouteCommand::Warn(warning));
        }
        output.push(RouteCommand::RespondFailure(asker.server, asker.request, reason.to_owned()));
    }

    fn remove(&mut self, ticket: Ticket) -> Option<Call> {
        let call = self.calls.remove(&ticket)?;
        if let Some(due) = call.due {
            self.due.remove(&(due, ticket));
        }
        if let Some(number) = call.number {
            self.by_number.remove(&number);
        }
        self.unstamped.remove(&ticket);
        if let Some(tickets) = self.by_key.get_mut(&call.asker.key) {
            tickets.remove(&ticket);
            if tickets.is_empty() {
                self.by_key.remove(&call.asker.key);
            }
        }
        Some(call)
    }
}

impl Log {
    fn has_room(&mut self) -> bool {
        const MINUTE: Duration = Duration::from_secs(60);
        if self.now.since(self.minute) >= MINUTE {
            self.minute = self.now;
            self.told = 0;
        }
        self.told = self.told.saturating_add(1);
        self.told <= defaults::CALL_FAILURES_LOGGED_PER_MINUTE
    }
}

/// At least one: 0 stands for no limit.
fn millis(limit: Duration) -> u32 {
    u32::try_from(limit.as_millis()).unwrap_or(u32::MAX).max(1)
}
