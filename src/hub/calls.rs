//! Who serves what, who may call it, and which calls wait for their answers.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    time::Duration,
};

use crate::{
    defaults,
    ids::{CallId, ChannelId, ClientId, ConnectionId, FeedId},
    routes::{InvalidPattern, Pattern},
    time::Mono,
    wire::{CallCause, CallFailure, Frame, Request, Response, ServiceFeed, ServiceOffer},
};

/// The numbers of services have this bit, those of topics do not: so no number stands for both.
pub(super) const SERVICE_BIT: u32 = 1 << 31;

/// The services that a client wants to hear of, compiled.
#[derive(Debug, Default)]
pub(super) struct ServiceInterests(Vec<Pattern>);

impl ServiceInterests {
    pub(super) fn new(patterns: &[String]) -> Result<Self, InvalidPattern> {
        patterns.iter().map(|pattern| Pattern::new(pattern)).collect::<Result<_, _>>().map(ServiceInterests)
    }

    fn match_service(&self, me: &ClientId, announcement: &ServiceFeed) -> bool {
        let name = format!("/{}{}", announcement.origin, announcement.service.name);
        announcement.origin != *me && self.0.iter().any(|pattern| pattern.matches(&name))
    }
}

/// Every service and every call of the exchange.
///
/// A call that is passed on ends in exactly one frame to its caller, a response or a failure, unless the caller goes or
/// does not want it any more.
#[derive(Debug, Default)]
pub(super) struct Calls {
    services: BTreeMap<FeedId, Service>,
    by_channel: BTreeMap<(ConnectionId, ChannelId), FeedId>,
    next_feed: u32,
    pending: HashMap<CallId, Pending>,
    /// Ours for the caller's number of a call.
    by_caller: BTreeMap<(ConnectionId, CallId), CallId>,
    by_owner: BTreeSet<(ConnectionId, CallId)>,
    deadlines: BTreeSet<(Mono, CallId)>,
    next_call: u64,
    tallies: HashMap<ConnectionId, Tally>,
    late: u64,
}

#[derive(Debug)]
struct Service {
    owner: ConnectionId,
    channel: ChannelId,
    announcement: ServiceFeed,
}

/// A call that was passed on.
#[derive(Debug)]
struct Pending {
    caller: ConnectionId,
    /// The caller's number for it.
    number: CallId,
    owner: ConnectionId,
    origin: ClientId,
    deadline: Option<Mono>,
}

/// What a client called, and was called for, since it connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Tally {
    /// Calls from it.
    pub(super) calls_in: u64,
    /// Calls to it.
    pub(super) calls_out: u64,
    /// Calls from it that had no answer.
    pub(super) failed: u64,
    pending: usize,
}

/// A frame about a call, for one client.
pub(super) type Word = (ConnectionId, Frame);

/// The client uses a number for two things.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct UsedTwice;

impl Calls {
    /// Answers that came when nobody waited for them any more.
    pub(super) fn late(&self) -> u64 {
        self.late
    }

    pub(super) fn tally(&self, of: ConnectionId) -> Tally {
        self.tallies.get(&of).copied().unwrap_or_default()
    }

    /// How many services `owner` offers.
    pub(super) fn count_of(&self, owner: ConnectionId) -> usize {
        self.by_channel.range(channels_of(owner)).count()
    }

    pub(super) fn has_channel(&self, owner: ConnectionId, channel: ChannelId) -> bool {
        self.by_channel.contains_key(&(owner, channel))
    }

    /// Takes up an offer.
    pub(super) fn open(
        &mut self,
        owner: ConnectionId,
        client: &ClientId,
        offer: ServiceOffer,
    ) -> Result<FeedId, UsedTwice> {
        let key = (owner, offer.channel);
        if self.by_channel.contains_key(&key) {
            return Err(UsedTwice);
        }
        let feed = loop {
            let candidate = FeedId(self.next_feed | SERVICE_BIT);
            self.next_feed = self.next_feed.wrapping_add(1);
            if !self.services.contains_key(&candidate) {
                break candidate;
            }
        };
        let announcement = ServiceFeed { feed, origin: client.clone(), service: offer.service };
        self.services.insert(feed, Service { owner, channel: offer.channel, announcement });
        self.by_channel.insert(key, feed);
        Ok(feed)
    }

    /// Ends a service of `owner`. Its owner has a word of its own for each call that waits.
    pub(super) fn close(&mut self, owner: ConnectionId, channel: ChannelId) -> Option<FeedId> {
        let feed = self.by_channel.remove(&(owner, channel))?;
        self.services.remove(&feed);
        Some(feed)
    }

    /// Ends every service of `owner`.
    pub(super) fn close_all(&mut self, owner: ConnectionId) -> Vec<FeedId> {
        let channels: Vec<_> = self.by_channel.range(channels_of(owner)).map(|(&(_, channel), _)| channel).collect();
        channels.into_iter().filter_map(|channel| self.close(owner, channel)).collect()
    }

    /// The services that `interests` of `me` match.
    pub(super) fn matching(&self, me: &ClientId, interests: &ServiceInterests) -> Vec<ServiceFeed> {
        let announcements = self.services.values().map(|service| &service.announcement);
        announcements.filter(|announcement| interests.match_service(me, announcement)).cloned().collect()
    }

    /// The announcement of `feed`, if `interests` of `me` match it.
    pub(super) fn announcement(
        &self,
        feed: FeedId,
        me: &ClientId,
        interests: &ServiceInterests,
    ) -> Option<ServiceFeed> {
        let announcement = &self.services.get(&feed)?.announcement;
        interests.match_service(me, announcement).then(|| announcement.clone())
    }

    /// `caller` calls a service. Returns whom to tell what; `announced` are the feeds that it was told of.
    pub(super) fn request(
        &mut self,
        caller: ConnectionId,
        request: Request,
        announced: &BTreeSet<FeedId>,
        now: Mono,
    ) -> Result<Word, UsedTwice> {
        if self.by_caller.contains_key(&(caller, request.call)) {
            return Err(UsedTwice);
        }
        let tally = self.tallies.entry(caller).or_default();
        tally.calls_in += 1;
        let feed = FeedId(request.id);
        let Some(service) = self.services.get(&feed).filter(|_| announced.contains(&feed)) else {
            let reason = format!("service {feed} is not announced, or no longer");
            return Ok(self.refuse(caller, request.call, CallCause::NoService, reason));
        };
        if tally.pending >= defaults::CALLS_PENDING_MAX {
            let reason = format!("{} calls of this client wait for their answers", defaults::CALLS_PENDING_MAX);
            return Ok(self.refuse(caller, request.call, CallCause::Busy, reason));
        }
        tally.pending += 1;
        let (owner, channel) = (service.owner, service.channel);
        let origin = service.announcement.origin.clone();
        self.tallies.entry(owner).or_default().calls_out += 1;
        let call = CallId(self.next_call);
        self.next_call += 1;
        let limit = Duration::from_millis(u64::from(request.limit_millis));
        let deadline = (!limit.is_zero()).then(|| now + limit + defaults::CALL_GRACE);
        self.deadlines.extend(deadline.map(|deadline| (deadline, call)));
        self.by_caller.insert((caller, request.call), call);
        self.by_owner.insert((owner, call));
        self.pending.insert(call, Pending { caller, number: request.call, owner, origin, deadline });
        Ok((owner, Frame::Request(Request { id: channel.0, call, ..request })))
    }

    /// A call that was not passed on.
    pub(super) fn refuse(&mut self, caller: ConnectionId, call: CallId, cause: CallCause, reason: String) -> Word {
        self.tallies.entry(caller).or_default().failed += 1;
        (caller, Frame::CallFailed(CallFailure::new(call, cause, reason)))
    }

    /// `owner` has answered.
    pub(super) fn response(&mut self, owner: ConnectionId, response: Response) -> Option<Word> {
        let Pending { caller, number, .. } = self.remove_of(owner, response.call)?;
        Some((caller, Frame::Response(Response { call: number, ..response })))
    }

    /// `owner` has no answer.
    pub(super) fn failure(&mut self, owner: ConnectionId, failure: CallFailure) -> Option<Word> {
        let Pending { caller, number, .. } = self.remove_of(owner, failure.call)?;
        Some(self.refuse(caller, number, failure.cause, failure.reason))
    }

    /// `caller` does not wait any more.
    pub(super) fn abandon(&mut self, caller: ConnectionId, numbers: &[CallId]) -> Vec<Word> {
        let calls: Vec<CallId> =
            numbers.iter().filter_map(|number| self.by_caller.get(&(caller, *number)).copied()).collect();
        self.tallies.entry(caller).or_default().failed += calls.len() as u64;
        self.give_up(calls)
    }

    /// A client is gone: whoever waits for its answers is told, and so is whoever works for it.
    pub(super) fn gone(&mut self, client: ConnectionId) -> Vec<Word> {
        let made = self.by_caller.range((client, CallId(0))..=(client, CallId(u64::MAX)));
        let made: Vec<CallId> = made.map(|(_, &call)| call).collect();
        let mut words = self.give_up(made);
        let owed = self.by_owner.range((client, CallId(0))..=(client, CallId(u64::MAX)));
        let owed: Vec<CallId> = owed.map(|&(_, call)| call).collect();
        for call in owed {
            if let Some(Pending { caller, number, origin, .. }) = self.remove(call) {
                let reason = format!("{origin} is not connected any more");
                words.push(self.refuse(caller, number, CallCause::PeerGone, reason));
            }
        }
        self.tallies.remove(&client);
        words
    }

    pub(super) fn poll_timeout(&self) -> Option<Mono> {
        self.deadlines.first().map(|&(deadline, _)| deadline)
    }

    /// Ends the calls that neither end has ended in time.
    pub(super) fn handle_timeout(&mut self, now: Mono) -> Vec<Word> {
        let mut words = Vec::new();
        while let Some(&(deadline, call)) = self.deadlines.first()
            && deadline <= now
        {
            self.deadlines.pop_first();
            if let Some(Pending { caller, number, owner, origin, .. }) = self.remove(call) {
                let reason = format!("{origin} did not answer in time");
                words.push(self.refuse(caller, number, CallCause::Timeout, reason));
                words.push((owner, Frame::Abandon(vec![call])));
            }
        }
        words
    }

    /// Tells the owners of `calls` that nobody waits any more.
    fn give_up(&mut self, calls: Vec<CallId>) -> Vec<Word> {
        let mut by_owner: BTreeMap<ConnectionId, Vec<CallId>> = BTreeMap::new();
        for call in calls {
            if let Some(Pending { owner, .. }) = self.remove(call) {
                by_owner.entry(owner).or_default().push(call);
            }
        }
        by_owner.into_iter().map(|(owner, calls)| (owner, Frame::Abandon(calls))).collect()
    }

    /// Takes a call out, if `owner` is the one who is to answer it.
    fn remove_of(&mut self, owner: ConnectionId, call: CallId) -> Option<Pending> {
        if self.pending.get(&call).is_some_and(|pending| pending.owner == owner) {
            return self.remove(call);
        }
        self.late += 1;
        None
    }

    fn remove(&mut self, call: CallId) -> Option<Pending> {
        let pending = self.pending.remove(&call)?;
        self.by_caller.remove(&(pending.caller, pending.number));
        self.by_owner.remove(&(pending.owner, call));
        if let Some(deadline) = pending.deadline {
            self.deadlines.remove(&(deadline, call));
        }
        if let Some(tally) = self.tallies.get_mut(&pending.caller) {
            tally.pending = tally.pending.saturating_sub(1);
        }
        Some(pending)
    }
}

fn channels_of(owner: ConnectionId) -> std::ops::RangeInclusive<(ConnectionId, ChannelId)> {
    (owner, ChannelId(0))..=(owner, ChannelId(u32::MAX))
}
