//! Services and calls, from inputs to commands.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;
use crate::{
    ids::CallId,
    model::ServiceInfo,
    status::Traffic,
    wire::{CallCause, CallFailure, Request, Response, ServiceFeed, ServiceOffer},
};

fn service(name: &str) -> ServiceInfo {
    ServiceInfo { name: name.to_owned(), type_name: "std_srvs/srv/SetBool".to_owned(), type_hash: String::new() }
}

fn request(feed: u32, call: u64, limit_millis: u32) -> Frame {
    Frame::Request(Request { id: feed, call: CallId(call), limit_millis, payload: Bytes::from_static(b"request") })
}

fn response(call: CallId) -> Frame {
    Frame::Response(Response { call, payload: Bytes::from_static(b"response") })
}

fn failed(frames: &[Frame]) -> Vec<(CallId, CallCause)> {
    let failures = frames.iter().filter_map(|frame| match frame {
        Frame::CallFailed(failure) => Some((failure.call, failure.cause)),
        _ => None,
    });
    failures.collect()
}

impl Exchange {
    fn serve(&mut self, from: ConnectionId, channel: u32, name: &str) -> Vec<Command> {
        let offer = ServiceOffer { channel: ChannelId(channel), service: service(name) };
        self.frame(from, Frame::ServiceOffers(vec![offer]))
    }

    fn want_services(&mut self, from: ConnectionId, patterns: &[&str]) -> Vec<Command> {
        let services = patterns.iter().map(|&pattern| pattern.to_owned()).collect();
        self.frame(from, Frame::Interests(Interests { services, ..Interests::default() }))
    }

    fn traffic_of(&self, id: &str) -> Traffic {
        let status = self.hub.status(self.now, |_| LineFigures::default());
        status.clients.into_iter().find(|client| client.id.as_str() == id).map_or_else(Traffic::default, |c| c.traffic)
    }

    /// Passes a call of `feed` from `from` to `to`, and returns the exchange's number for it.
    fn call(&mut self, from: ConnectionId, to: ConnectionId, feed: u32, call: u64) -> CallId {
        let frames = frames_to(&self.frame(from, request(feed, call, 5_000)), to);
        let [Frame::Request(passed_on)] = &frames[..] else { panic!("{frames:?}") };
        passed_on.call
    }
}

/// r1 serves `/set_mode` as its channel 4; r2 wants it. Returns the feed.
fn served() -> (Exchange, u32) {
    let mut exchange = Exchange::new();
    exchange.join(A, "r1");
    exchange.join(B, "r2");
    exchange.want_services(B, &["/*/set_mode"]);
    let frames = frames_to(&exchange.serve(A, 4, "/set_mode"), B);
    let [Frame::ServicesOpen(feeds)] = &frames[..] else { panic!("{frames:?}") };
    let feed = feeds[0].feed.0;
    (exchange, feed)
}

#[test]
fn a_service_is_announced_to_whom_it_may_concern_until_it_is_withdrawn() {
    let (mut exchange, feed) = served();
    let announcement =
        ServiceFeed { feed: FeedId(feed), origin: ClientId::new("r1").unwrap(), service: service("/set_mode") };
    assert!(exchange.serve(A, 5, "/other").iter().all(|command| !matches!(command, Command::Send { .. })));
    exchange.join(C, "r3");
    let told = frames_to(&exchange.want_services(C, &["/r1/**"]), C);
    let [Frame::ServicesOpen(feeds)] = &told[..] else { panic!("{told:?}") };
    assert_eq!(feeds.len(), 2);
    assert!(feeds.contains(&announcement));
    let told = frames_to(&exchange.want_services(C, &["/r1/other"]), C);
    assert_eq!(told, [Frame::FeedsClosed(vec![FeedId(feed)])]);
    assert_eq!(frames_to(&exchange.want_services(A, &["/**"]), A), [], "never of its own");
    let commands = exchange.frame(A, Frame::Withdraw(vec![ChannelId(4)]));
    assert_eq!(frames_to(&commands, B), [Frame::FeedsClosed(vec![FeedId(feed)])]);
    assert_eq!(frames_to(&commands, C), []);
}

#[test]
fn topics_and_services_share_no_number() {
    let (mut exchange, feed) = served();
    exchange.interests(B, &["/*/odom"], &[]);
    let frames = frames_to(&exchange.offer(A, 9, Flow::State, "/odom"), B);
    let [Frame::FeedsOpen(feeds)] = &frames[..] else { panic!("{frames:?}") };
    assert_ne!(feeds[0].feed.0, feed);
    for (channel, is_service) in [(9, true), (4, false), (4, true), (9, false)] {
        let (mut exchange, _) = served();
        exchange.offer(A, 9, Flow::State, "/odom");
        let commands = match is_service {
            true => exchange.serve(A, channel, "/again"),
            false => exchange.offer(A, channel, Flow::State, "/again"),
        };
        let told = commands.iter().find_map(|command| match command {
            Command::End { to, farewell } if *to == A => Some(farewell.reason.clone()),
            _ => None,
        });
        assert_eq!(told.as_deref(), Some(format!("channel {channel} was offered twice").as_str()));
    }
}

#[test]
fn a_call_goes_to_its_owner_and_the_answer_back_in_the_numbers_of_each() {
    let (mut exchange, feed) = served();
    let frames = frames_to(&exchange.frame(B, request(feed, 77, 5_000)), A);
    let [Frame::Request(passed_on)] = &frames[..] else { panic!("{frames:?}") };
    assert_eq!((passed_on.id, passed_on.limit_millis), (4, 5_000));
    assert_eq!(passed_on.payload, Bytes::from_static(b"request"));
    let commands = exchange.frame(A, response(passed_on.call));
    assert_eq!(frames_to(&commands, B), [response(CallId(77))]);
    assert!(commands.iter().all(|it| !matches!(it, Command::Send { class, .. } if *class != Class::Command)));
    assert_eq!(exchange.frame(A, response(passed_on.call)), [], "an answer that nobody waits for");
    assert_eq!(exchange.hub.answers_dropped(), 1);
    assert_eq!(exchange.hub.poll_timeout(), None);
    assert_eq!((exchange.traffic_of("r2").calls_in, exchange.traffic_of("r2").calls_failed), (1, 0));
    assert_eq!(exchange.traffic_of("r1").calls_out, 1);
}

#[test]
fn nobody_answers_for_another() {
    let (mut exchange, feed) = served();
    exchange.join(C, "r3");
    let call = exchange.call(B, A, feed, 1);
    assert_eq!(exchange.frame(C, response(call)), []);
    let lie = CallFailure::new(call, CallCause::Failed, "a lie");
    assert_eq!(exchange.frame(C, Frame::CallFailed(lie)), []);
    assert_eq!(exchange.frame(C, Frame::Abandon(vec![CallId(1)])), []);
    assert_eq!(frames_to(&exchange.frame(A, response(call)), B), [response(CallId(1))]);
}

#[test]
fn a_failure_of_the_owner_reaches_the_caller_with_its_words() {
    let (mut exchange, feed) = served();
    let call = exchange.call(B, A, feed, 1);
    let words = "not a request of std_srvs/srv/SetBool";
    let commands = exchange.frame(A, Frame::CallFailed(CallFailure::new(call, CallCause::Failed, words)));
    assert_eq!(frames_to(&commands, B), [Frame::CallFailed(CallFailure::new(CallId(1), CallCause::Failed, words))]);
    assert_eq!(exchange.traffic_of("r2").calls_failed, 1);
}

#[test]
fn calls_of_what_is_not_announced_fail() {
    let (mut exchange, feed) = served();
    exchange.join(C, "r3");
    assert_eq!(failed(&frames_to(&exchange.frame(B, request(12_345, 1, 0)), B)), [(CallId(1), CallCause::NoService)]);
    let told = frames_to(&exchange.frame(C, request(feed, 1, 0)), C);
    assert_eq!(failed(&told), [(CallId(1), CallCause::NoService)], "guessed, not announced");
    exchange.frame(A, Frame::Withdraw(vec![ChannelId(4)]));
    assert_eq!(failed(&frames_to(&exchange.frame(B, request(feed, 2, 0)), B)), [(CallId(2), CallCause::NoService)]);
    assert_eq!(exchange.traffic_of("r2").calls_failed, 2);
}

#[test]
fn every_call_of_an_owner_that_goes_fails_at_once() {
    let (mut exchange, feed) = served();
    for call in 1..=3 {
        exchange.call(B, A, feed, call);
    }
    let told = frames_to(&exchange.leave(A, true), B);
    let expected: Vec<_> = (1..=3).map(|call| (CallId(call), CallCause::PeerGone)).collect();
    assert_eq!(failed(&told), expected);
    assert!(told.contains(&Frame::FeedsClosed(vec![FeedId(feed)])));
    assert_eq!(exchange.hub.poll_timeout(), None);
}

#[test]
fn the_owner_is_told_when_a_caller_goes_or_does_not_wait_any_more() {
    let (mut exchange, feed) = served();
    let first = exchange.call(B, A, feed, 1);
    let second = exchange.call(B, A, feed, 2);
    let third = exchange.call(B, A, feed, 3);
    let commands = exchange.frame(B, Frame::Abandon(vec![CallId(2), CallId(99)]));
    assert_eq!(frames_to(&commands, A), [Frame::Abandon(vec![second])]);
    let commands = exchange.leave(B, true);
    assert!(frames_to(&commands, A).contains(&Frame::Abandon(vec![first, third])));
    assert_eq!(exchange.frame(A, response(first)), []);
}

#[test]
fn a_call_that_neither_end_ends_fails_a_little_after_its_limit() {
    let (mut exchange, feed) = served();
    let call = exchange.call(B, A, feed, 1);
    let due = exchange.hub.poll_timeout().unwrap();
    assert_eq!(due, exchange.now.mono + Duration::from_secs(5) + defaults::CALL_GRACE);
    exchange.later(Duration::from_secs(6));
    exchange.hub.handle_timeout(exchange.now);
    assert_eq!(exchange.drain(), []);
    exchange.later(Duration::from_secs(1));
    exchange.hub.handle_timeout(exchange.now);
    let commands = exchange.drain();
    assert_eq!(failed(&frames_to(&commands, B)), [(CallId(1), CallCause::Timeout)]);
    assert_eq!(frames_to(&commands, A), [Frame::Abandon(vec![call])]);
    exchange.frame(B, request(feed, 2, 0));
    assert_eq!(exchange.hub.poll_timeout(), None, "a limit of 0 is none");
}

#[test]
fn an_observer_may_not_call_and_is_told_so() {
    let (mut exchange, feed) = served();
    let observer = Login { kind: ClientKind::Observer, ..login("o") };
    exchange.hub.handle_login(C, observer, address(C), exchange.now);
    exchange.drain();
    exchange.hub.handle_recorded(C, Ok(SessionId(9)), exchange.now);
    exchange.drain();
    exchange.want_services(C, &["/**"]);
    let told = frames_to(&exchange.frame(C, request(feed, 1, 0)), C);
    let [Frame::CallFailed(failure)] = &told[..] else { panic!("{told:?}") };
    assert!(failure.reason.contains("only looks"), "{}", failure.reason);
    let commands = exchange.serve(C, 1, "/set_mode");
    assert!(matches!(&commands[..], [Command::End { to, .. }] if *to == C), "{commands:?}");
}

#[test]
fn one_client_cannot_have_more_calls_waiting_than_the_limit() {
    let (mut exchange, feed) = served();
    let most = defaults::CALLS_PENDING_MAX as u64;
    for call in 0..most {
        exchange.call(B, A, feed, call);
    }
    let told = frames_to(&exchange.frame(B, request(feed, most, 0)), B);
    assert_eq!(failed(&told), [(CallId(most), CallCause::Busy)]);
    exchange.frame(B, Frame::Abandon(vec![CallId(0)]));
    exchange.call(B, A, feed, most);
}

#[test]
fn a_number_that_is_used_twice_and_patterns_that_are_none_end_the_connection() {
    let (mut exchange, feed) = served();
    exchange.call(B, A, feed, 1);
    let commands = exchange.frame(B, request(feed, 1, 0));
    assert!(matches!(&commands[..], [Command::End { to, .. }] if *to == B), "{commands:?}");
    let commands = exchange.want_services(A, &["/{a"]);
    assert!(matches!(&commands[..], [Command::End { to, .. }] if *to == A), "{commands:?}");
}

#[test]
fn a_client_cannot_offer_more_services_than_the_limit() {
    let (mut exchange, _) = served();
    let offers = |from: u32, count: u32| {
        let offer = |n| ServiceOffer { channel: ChannelId(n), service: service(&format!("/s{n}")) };
        Frame::ServiceOffers((from..from + count).map(offer).collect())
    };
    let commands = exchange.frame(A, offers(100, defaults::SERVICES_MAX as u32 - 1));
    assert!(!commands.iter().any(|it| matches!(it, Command::End { .. })));
    let commands = exchange.frame(A, offers(5_000, 1));
    assert!(commands.iter().any(|it| matches!(it, Command::End { to, .. } if *to == A)));
}

/// What may happen between three clients that all serve and call.
#[derive(Debug, Clone, Copy)]
enum Step {
    Call { from: usize, to: usize, limited: bool },
    Answer { nth: usize, fails: bool },
    Abandon { from: usize, nth: usize },
    Leave { who: usize },
    Join { who: usize },
    Withdraw { who: usize },
    Serve { who: usize },
    Later { seconds: u64 },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let who = || 0..3_usize;
    let step = prop_oneof![
        8 => (who(), who(), any::<bool>()).prop_map(|(from, to, limited)| Step::Call { from, to, limited }),
        5 => (0..8_usize, any::<bool>()).prop_map(|(nth, fails)| Step::Answer { nth, fails }),
        1 => (who(), 0..4_usize).prop_map(|(from, nth)| Step::Abandon { from, nth }),
        1 => who().prop_map(|who| Step::Leave { who }),
        2 => who().prop_map(|who| Step::Join { who }),
        1 => who().prop_map(|who| Step::Withdraw { who }),
        2 => who().prop_map(|who| Step::Serve { who }),
        1 => (0..6_u64).prop_map(|seconds| Step::Later { seconds }),
    ];
    proptest::collection::vec(step, 0..150)
}

/// The hub, and what each client knows.
struct Model {
    exchange: Exchange,
    connections: [Option<ConnectionId>; 3],
    next_connection: u64,
    next_call: u64,
    next_channel: u32,
    channels: [Option<u32>; 3],
    /// The feed of each client's service, as the others know it.
    feeds: BTreeMap<(ConnectionId, String), u32>,
    /// Calls that wait at their owners: owner, number.
    owed: Vec<(ConnectionId, CallId)>,
    /// Calls that wait at their callers.
    waiting: BTreeSet<(ConnectionId, CallId)>,
}

const IDS: [&str; 3] = ["r1", "r2", "r3"];

impl Model {
    fn take_up(&mut self, commands: &[Command]) {
        for command in commands {
            let Command::Send { to, packet, .. } = command else { continue };
            match decode(packet) {
                Frame::ServicesOpen(feeds) => {
                    for feed in feeds {
                        self.feeds.insert((*to, feed.origin.to_string()), feed.feed.0);
                    }
                }
                Frame::Request(request) => self.owed.push((*to, request.call)),
                Frame::Response(Response { call, .. }) | Frame::CallFailed(CallFailure { call, .. }) => {
                    assert!(self.waiting.remove(&(*to, call)), "{to} does not wait for {call}");
                }
                Frame::Abandon(calls) => self.owed.retain(|(owner, call)| owner != to || !calls.contains(call)),
                _ => {}
            }
        }
    }

    fn step(&mut self, step: Step) {
        let commands = match step {
            Step::Call { from, to, limited } => {
                let Some(caller) = self.connections[from] else { return };
                let feed = self.feeds.get(&(caller, IDS[to].to_owned())).copied().unwrap_or(99);
                let call = CallId(self.next_call);
                self.next_call += 1;
                self.waiting.insert((caller, call));
                self.exchange.frame(caller, request(feed, call.0, if limited { 3_000 } else { 0 }))
            }
            Step::Answer { nth, fails } => {
                if nth >= self.owed.len() {
                    return;
                }
                let (owner, call) = self.owed.remove(nth);
                let failure = CallFailure::new(call, CallCause::Failed, "no");
                self.exchange.frame(owner, if fails { Frame::CallFailed(failure) } else { response(call) })
            }
            Step::Abandon { from, nth } => {
                let Some(caller) = self.connections[from] else { return };
                let mine = self.waiting.iter().filter(|(who, _)| *who == caller).nth(nth).copied();
                let Some((_, call)) = mine else { return };
                self.waiting.remove(&(caller, call));
                self.exchange.frame(caller, Frame::Abandon(vec![call]))
            }
            Step::Leave { who } => {
                let Some(connection) = self.connections[who].take() else { return };
                self.waiting.retain(|(caller, _)| *caller != connection);
                self.owed.retain(|(owner, _)| *owner != connection);
                self.channels[who] = None;
                self.exchange.leave(connection, true)
            }
            Step::Join { who } => {
                if self.connections[who].is_some() {
                    return;
                }
                let connection = ConnectionId(self.next_connection);
                self.next_connection += 1;
                self.connections[who] = Some(connection);
                let commands = self.exchange.join(connection, IDS[who]);
                self.take_up(&commands);
                self.exchange.want_services(connection, &["/**"])
            }
            Step::Withdraw { who } => {
                let (Some(connection), Some(channel)) = (self.connections[who], self.channels[who].take()) else {
                    return;
                };
                self.exchange.frame(connection, Frame::Withdraw(vec![ChannelId(channel)]))
            }
            Step::Serve { who } => {
                let Some(connection) = self.connections[who].filter(|_| self.channels[who].is_none()) else { return };
                self.next_channel += 1;
                self.channels[who] = Some(self.next_channel);
                self.exchange.serve(connection, self.next_channel, "/set_mode")
            }
            Step::Later { seconds } => {
                self.exchange.later(Duration::from_secs(seconds));
                self.exchange.hub.handle_timeout(self.exchange.now);
                self.exchange.drain()
            }
        };
        self.take_up(&commands);
    }
}

proptest! {
    #[test]
    fn every_call_ends_in_exactly_one_word_to_its_caller_whatever_happens(steps in steps()) {
        let mut model = Model {
            exchange: Exchange::new(),
            connections: [None; 3],
            next_connection: 10,
            next_call: 0,
            next_channel: 0,
            channels: [None; 3],
            feeds: BTreeMap::new(),
            owed: vec![],
            waiting: BTreeSet::new(),
        };
        for who in 0..3 {
            model.step(Step::Join { who });
            model.step(Step::Serve { who });
        }
        for step in steps {
            model.step(step);
        }
        // Who still waits is told when those go that owe the answers.
        while !model.owed.is_empty() {
            model.step(Step::Answer { nth: 0, fails: true });
        }
        prop_assert!(model.waiting.is_empty(), "{:?}", model.waiting);
        for who in 0..3 {
            model.step(Step::Leave { who });
        }
        prop_assert_eq!(model.exchange.hub.poll_timeout(), None);
    }
}
