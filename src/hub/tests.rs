//! The hub, from inputs to commands.

mod counting;
mod problems;

use std::{net::SocketAddr, time::Duration};

use bytes::{Bytes, BytesMut};

use super::*;
use crate::{
    defaults,
    ids::{ChannelId, ClientId, ConnectionId, FeedId, PublisherId, SessionId},
    model::{ClientKind, Durability, Qos, TopicInfo},
    outbox::Class,
    registry::EventKind,
    session::End,
    status::ClientState,
    time::{Now, Wall},
    wire::{
        Cause, Data, Decoder, Demand, Farewell, Feed, Flow, Frame, Interests, Item, Login, Offer, Packet, Subscription,
    },
};

mod calls;
mod flow;

/// A hub, a clock, and everything that the hub has said so far.
struct Exchange {
    hub: Hub,
    now: Now,
    commands: Vec<Command>,
    next_session: i64,
}

const A: ConnectionId = ConnectionId(1);
const B: ConnectionId = ConnectionId(2);
const C: ConnectionId = ConnectionId(3);

impl Exchange {
    fn new() -> Self {
        Exchange::for_clients(3)
    }

    fn for_clients(clients_max: usize) -> Self {
        let mut hub = Hub::new(Limits { clients_max }, "0.1.0", vec![]);
        hub.handle_opened("127.0.0.1:7420".parse().unwrap(), Now::default());
        let mut exchange = Exchange { hub, now: Now::default(), commands: vec![], next_session: 1 };
        exchange.drain();
        exchange
    }

    fn drain(&mut self) -> Vec<Command> {
        let commands: Vec<_> = std::iter::from_fn(|| self.hub.poll_command()).collect();
        self.commands.extend(commands.iter().cloned());
        commands
    }

    fn later(&mut self, by: Duration) {
        self.now = self.now.plus(by);
    }

    fn login(&mut self, from: ConnectionId, id: &str) -> Vec<Command> {
        self.hub.handle_login(from, login(id), address(from), self.now);
        self.drain()
    }

    /// Logs in all the way.
    fn join(&mut self, from: ConnectionId, id: &str) -> Vec<Command> {
        self.login(from, id);
        self.next_session += 1;
        self.hub.handle_recorded(from, Ok(SessionId(self.next_session)), self.now);
        self.drain()
    }

    fn leave(&mut self, from: ConnectionId, was_ready: bool) -> Vec<Command> {
        let end = End { farewell: Farewell::new(Cause::Stopping, "bye"), ours: false, was_ready, was_probe: false };
        self.hub.handle_ended(from, address(from), &end, self.now);
        self.drain()
    }

    fn frame(&mut self, from: ConnectionId, frame: Frame) -> Vec<Command> {
        self.hub.handle_frame(from, frame, self.now);
        self.drain()
    }

    fn interests(&mut self, from: ConnectionId, wants: &[&str], accepts: &[&str]) -> Vec<Command> {
        let texts = |patterns: &[&str]| patterns.iter().map(|&pattern| pattern.to_owned()).collect();
        self.frame(from, Frame::Interests(Interests { wants: texts(wants), accepts: texts(accepts), services: vec![] }))
    }

    fn offer(&mut self, from: ConnectionId, channel: u32, flow: Flow, name: &str) -> Vec<Command> {
        let topic = topic(name);
        self.frame(from, Frame::Offers(vec![Offer { channel: ChannelId(channel), flow, topic }]))
    }

    /// Sends a message, and says who got it.
    fn send(&mut self, from: ConnectionId, channel: u32) -> Vec<ConnectionId> {
        let data = Data {
            id: channel,
            publisher: PublisherId(0),
            keep: 2,
            sequence: 0,
            source_time: Wall(0),
            payload: Bytes::from_static(b"cdr"),
        };
        let mut receivers = vec![];
        self.hub.route(from, data, self.now, |to, _, _| {
            receivers.push(to);
            false
        });
        receivers
    }

    fn state_of(&self, id: &str) -> ClientState {
        let status = self.hub.status(self.now, |_| LineFigures::default());
        status.clients.into_iter().find(|client| client.id.as_str() == id).map_or(ClientState::Off, |c| c.state)
    }
}

fn address(of: ConnectionId) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 40_000 + of.0 as u16))
}

fn login(id: &str) -> Login {
    Login {
        id: ClientId::new(id).unwrap(),
        kind: ClientKind::Robot,
        name: id.to_uppercase(),
        host_name: "host".to_owned(),
        software_version: "0.1.0".to_owned(),
        ros_distro: "jazzy".to_owned(),
        capabilities: vec!["topics".to_owned()],
    }
}

fn topic(name: &str) -> TopicInfo {
    TopicInfo {
        name: name.to_owned(),
        type_name: "nav_msgs/msg/Odometry".to_owned(),
        type_hash: String::new(),
        qos: Qos::default(),
    }
}

/// The frames that `commands` send to `to`, in order.
fn frames_to(commands: &[Command], to: ConnectionId) -> Vec<Frame> {
    commands
        .iter()
        .filter_map(|command| match command {
            Command::Send { to: receiver, packet, .. }
            | Command::SendBehind { to: receiver, packet, .. }
            | Command::Deliver { to: receiver, packet, .. }
                if *receiver == to =>
            {
                Some(decode(packet))
            }
            _ => None,
        })
        .collect()
}

fn decode(packet: &Packet) -> Frame {
    let mut buffer = BytesMut::from(&crate::wire::Version::CURRENT.preamble()[..]);
    buffer.extend_from_slice(&packet.head);
    buffer.extend_from_slice(&packet.body);
    let mut decoder = Decoder::new();
    decoder.login_done();
    decoder.next(&mut buffer).unwrap();
    match decoder.next(&mut buffer).unwrap() {
        Some(Item::Frame(frame)) => frame,
        other => panic!("{other:?}"),
    }
}

fn opened(commands: &[Command], to: ConnectionId) -> Vec<Feed> {
    let frames = frames_to(commands, to).into_iter();
    frames.flat_map(|frame| if let Frame::FeedsOpen(feeds) = frame { feeds } else { vec![] }).collect()
}

fn demands(commands: &[Command], to: ConnectionId) -> Vec<Demand> {
    let frames = frames_to(commands, to).into_iter();
    frames.flat_map(|frame| if let Frame::Demands(demands) = frame { demands } else { vec![] }).collect()
}

#[test]
fn a_login_is_recorded_before_it_is_welcomed_and_the_table_follows_the_welcome() {
    let mut exchange = Exchange::new();
    let commands = exchange.login(A, "r1");
    assert!(matches!(&commands[..], [Command::Record { from: A, login }] if login.address == address(A)));
    assert_eq!(exchange.state_of("r1"), ClientState::Off, "nobody is ON before the registry has it");

    exchange.hub.handle_recorded(A, Ok(SessionId(7)), exchange.now);
    let commands = exchange.drain();
    let welcomed = commands.iter().position(|c| matches!(c, Command::Welcome { to: A, .. })).unwrap();
    let Command::Welcome { packet, .. } = &commands[welcomed] else { unreachable!() };
    assert!(matches!(decode(packet), Frame::Welcome(welcome) if welcome.session == SessionId(7)));
    let first_send = commands.iter().position(|c| matches!(c, Command::Send { .. })).unwrap();
    assert!(welcomed < first_send, "nothing comes before the welcome");
    let frames = frames_to(&commands, A);
    assert!(matches!(&frames[0], Frame::Clients(update) if update.reset && update.clients[0].state == ClientState::On));
    assert_eq!(exchange.state_of("r1"), ClientState::On);
}

#[test]
fn every_client_hears_who_comes_and_goes() {
    let mut exchange = Exchange::new();
    exchange.join(A, "r1");
    let commands = exchange.join(B, "r2");
    let heard = |commands: &[Command]| match &frames_to(commands, A)[..] {
        [Frame::Clients(update)] if !update.reset => (update.clients[0].id.to_string(), update.clients[0].state),
        other => panic!("{other:?}"),
    };
    assert_eq!(heard(&commands), ("r2".to_owned(), ClientState::On));
    let commands = exchange.leave(B, true);
    assert_eq!(heard(&commands), ("r2".to_owned(), ClientState::Off));
    assert!(commands.iter().any(|c| matches!(c, Command::Logout(logout) if logout.reason == "bye")));
}

#[test]
fn a_table_of_the_largest_clients_that_are_let_in_still_fits_its_frames() {
    let largest = "x".repeat(defaults::TEXT_MAX);
    let mut hub = Hub::new(Limits::default(), &largest, vec![]);
    hub.handle_opened("127.0.0.1:7420".parse().unwrap(), Now::default());
    let clients = defaults::LIST_CHUNK as u64 + 1;
    for number in 0..clients {
        let mut login = login(&format!("c{number:0>width$}", width = defaults::CLIENT_ID_MAX - 1));
        login.name.clone_from(&largest);
        login.host_name.clone_from(&largest);
        login.software_version.clone_from(&largest);
        login.ros_distro.clone_from(&largest);
        login.capabilities = vec!["x".repeat(defaults::CAPABILITY_MAX); defaults::CAPABILITIES_MAX];
        let connection = ConnectionId(number);
        hub.handle_login(connection, login, address(connection), Now::default());
        hub.handle_recorded(connection, Ok(SessionId(1)), Now::default());
        let farewell = Farewell::new(Cause::Stopping, "x".repeat(defaults::REASON_MAX));
        let end = End { farewell, ours: false, was_ready: true, was_probe: false };
        if number + 1 < clients {
            hub.handle_ended(connection, address(connection), &end, Now::default());
        }
    }
    let commands: Vec<_> = std::iter::from_fn(|| hub.poll_command()).collect();
    let told: usize = frames_to(&commands, ConnectionId(clients - 1))
        .iter()
        .map(|frame| if let Frame::Clients(update) = frame { update.clients.len() } else { 0 })
        .sum();
    // The whole table, and the news of itself.
    assert_eq!(told as u64, clients + 1);
}

#[test]
fn a_second_client_of_the_same_id_is_refused_in_words_and_the_first_stays() {
    let mut exchange = Exchange::new();
    exchange.join(A, "r1");
    for stage in ["ready", "recording"] {
        let (first, id) = if stage == "ready" { (A, "r1") } else { (B, "r2") };
        if stage == "recording" {
            exchange.login(B, "r2");
        }
        let commands = exchange.login(C, id);
        match &commands[..] {
            [Command::Refuse { to: C, farewell }] => {
                assert_eq!(farewell.cause, Cause::DuplicateId);
                assert!(farewell.reason.contains(&address(first).to_string()), "{farewell}");
            }
            other => panic!("{stage}: {other:?}"),
        }
    }
    assert_eq!(exchange.state_of("r1"), ClientState::On);
}

#[test]
fn a_full_or_closed_exchange_says_so() {
    let mut exchange = Exchange::new();
    for (connection, id) in [(A, "a"), (B, "b"), (C, "c")] {
        exchange.join(connection, id);
    }
    let refusal = |commands: Vec<Command>| match commands.into_iter().next() {
        Some(Command::Refuse { farewell, .. }) => farewell,
        other => panic!("{other:?}"),
    };
    let farewell = refusal(exchange.login(ConnectionId(4), "d"));
    assert!(farewell.cause == Cause::Full && farewell.reason.contains("max_clients"), "{farewell}");
    exchange.hub.handle_port_closed("lunch", exchange.now);
    exchange.drain();
    let farewell = refusal(exchange.login(ConnectionId(5), "e"));
    assert!(farewell.cause == Cause::PortClosed && farewell.reason.contains("lunch"), "{farewell}");
}

#[test]
fn a_client_that_goes_while_it_is_recorded_leaves_no_open_session() {
    let mut exchange = Exchange::new();
    exchange.login(A, "r1");
    exchange.leave(A, false);
    // It may come back at once, ...
    assert!(matches!(&exchange.login(B, "r1")[..], [Command::Record { from: B, .. }]));
    // ... and the first session is closed as soon as the registry has given it a number.
    exchange.hub.handle_recorded(A, Ok(SessionId(3)), exchange.now);
    assert!(matches!(&exchange.drain()[..], [Command::Logout(logout)] if logout.session == SessionId(3)));
    exchange.hub.handle_recorded(B, Ok(SessionId(4)), exchange.now);
    assert_eq!(exchange.state_of("r1"), ClientState::On);
}

#[test]
fn a_registry_that_fails_turns_the_client_away_and_the_next_attempt_works() {
    let mut exchange = Exchange::new();
    exchange.login(A, "r1");
    exchange.hub.handle_recorded(A, Err("the disk is full".to_owned()), exchange.now);
    match &exchange.drain()[..] {
        [Command::Refuse { farewell, .. }] => assert!(farewell.reason.contains("disk is full")),
        other => panic!("{other:?}"),
    }
    exchange.join(B, "r1");
    assert_eq!(exchange.state_of("r1"), ClientState::On);
}

#[test]
fn a_topic_flows_to_those_who_want_it_and_only_while_they_do() {
    let mut exchange = Exchange::new();
    exchange.join(A, "r1");
    exchange.join(B, "r2");
    exchange.join(C, "op");
    exchange.interests(B, &["/*/odom"], &[]);
    let commands = exchange.offer(A, 5, Flow::State, "/odom");
    let feed = opened(&commands, B)[0].clone();
    assert_eq!((feed.origin.as_str(), feed.topic.name.as_str()), ("r1", "/odom"));
    assert_eq!(opened(&commands, A), [], "nobody hears of its own topics");
    assert_eq!(opened(&commands, C), [], "nobody hears of what it did not ask for");
    assert_eq!(exchange.send(A, 5), [], "and nothing is sent before somebody subscribes");

    let subscribe = |feed| Frame::Subscribe(vec![Subscription { feed, max_rate_millihertz: 0, latest_only: false }]);
    let commands = exchange.frame(B, subscribe(feed.feed));
    assert_eq!(
        demands(&commands, A),
        [Demand { channel: ChannelId(5), wanted: true, max_rate_millihertz: 0, held: false }],
        "its origin is told under its own number"
    );
    assert_eq!(exchange.send(A, 5), [B]);
    exchange.frame(C, subscribe(feed.feed));
    assert_eq!(exchange.send(A, 5), [B], "a feed that somebody was not told of cannot be taken");

    let commands = exchange.frame(B, Frame::Unsubscribe(vec![feed.feed]));
    assert!(!demands(&commands, A)[0].wanted);
    assert_eq!(exchange.send(A, 5), []);
}

#[test]
fn interests_that_come_after_the_offers_find_them_too_and_narrower_ones_end_feeds() {
    let mut exchange = Exchange::new();
    exchange.join(A, "r1");
    exchange.join(B, "r2");
    exchange.offer(A, 1, Flow::State, "/odom");
    exchange.offer(A, 2, Flow::State, "/scan");
    let feeds = opened(&exchange.interests(B, &["/r1/**"], &[]), B);
    assert_eq!(feeds.len(), 2);
    for feed in &feeds {
        let subscription = Subscription { feed: feed.feed, max_rate_millihertz: 0, latest_only: false };
        exchange.frame(B, Frame::Subscribe(vec![subscription]));
    }
    let commands = exchange.interests(B, &["/r1/scan"], &[]);
    assert!(matches!(&frames_to(&commands, B)[..], [Frame::FeedsClosed(closed)] if closed[..] == [feeds[0].feed]));
    assert!(!demands(&commands, A)[0].wanted);
    assert_eq!((exchange.send(A, 1), exchange.send(A, 2)), (vec![], vec![B]));
}

#[test]
fn a_command_reaches_only_the_client_that_accepts_it() {
    let mut exchange = Exchange::new();
    exchange.join(A, "r1");
    exchange.join(B, "r2");
    exchange.join(C, "op");
    exchange.interests(A, &[], &["/cmd_vel"]);
    exchange.interests(B, &["/**"], &["/cmd_vel"]);
    let r1 = ClientId::new("r1").unwrap();
    let commands = exchange.offer(C, 1, Flow::Command { to: r1.clone() }, "/cmd_vel");
    assert_eq!(opened(&commands, B), [], "not even to somebody who wants everything");
    let feed = opened(&commands, A)[0].clone();
    exchange
        .frame(A, Frame::Subscribe(vec![Subscription { feed: feed.feed, max_rate_millihertz: 0, latest_only: false }]));
    let mut classes = vec![];
    let data =
        Data { id: 1, publisher: PublisherId(0), keep: 2, sequence: 0, source_time: Wall(0), payload: Bytes::new() };
    exchange.hub.route(C, data, exchange.now, |to, label, _| {
        classes.push((to, label.class));
        false
    });
    assert_eq!(classes, [(A, Class::Command)]);
    let commands = exchange.offer(C, 2, Flow::Command { to: r1 }, "/other");
    assert_eq!(opened(&commands, A), [], "what is not accepted is not announced");
}

#[test]
fn each_subscriber_gets_its_own_rate_and_the_origin_is_asked_for_the_highest() {
    let mut exchange = Exchange::new();
    exchange.join(A, "r1");
    exchange.join(B, "slow");
    exchange.join(C, "fast");
    exchange.interests(B, &["/**"], &[]);
    exchange.interests(C, &["/**"], &[]);
    let feed = opened(&exchange.offer(A, 1, Flow::State, "/odom"), B)[0].feed;
    let subscribe = |rate| Frame::Subscribe(vec![Subscription { feed, max_rate_millihertz: rate, latest_only: false }]);
    assert_eq!(demands(&exchange.frame(B, subscribe(5_000)), A)[0].max_rate_millihertz, 5_000);
    assert_eq!(demands(&exchange.frame(C, subscribe(20_000)), A)[0].max_rate_millihertz, 20_000);
    let (mut to_slow, mut to_fast) = (0, 0);
    for _ in 0..200 {
        exchange.later(Duration::from_millis(50));
        let receivers = exchange.send(A, 1);
        to_slow += u32::from(receivers.contains(&B));
        to_fast += u32::from(receivers.contains(&C));
    }
    assert_eq!(to_fast, 200);
    assert!((49..=51).contains(&to_slow), "{to_slow}");
    assert_eq!(demands(&exchange.leave(C, true), A)[0].max_rate_millihertz, 5_000);
}

#[test]
fn what_a_client_had_goes_with_it_on_both_sides() {
    let mut exchange = Exchange::new();
    exchange.join(A, "r1");
    exchange.join(B, "r2");
    exchange.interests(B, &["/**"], &[]);
    let feed = opened(&exchange.offer(A, 1, Flow::State, "/odom"), B)[0].feed;
    exchange.frame(B, Frame::Subscribe(vec![Subscription { feed, max_rate_millihertz: 0, latest_only: false }]));
    assert!(!demands(&exchange.leave(B, true), A)[0].wanted);
    exchange.join(C, "r3");
    exchange.interests(C, &["/**"], &[]);
    let commands = exchange.leave(A, true);
    assert!(frames_to(&commands, C).contains(&Frame::FeedsClosed(vec![feed])));
    // A new connection of the same client begins with nothing, and may use its old numbers.
    exchange.join(ConnectionId(9), "r1");
    let commands = exchange.offer(ConnectionId(9), 1, Flow::State, "/odom");
    assert_ne!(opened(&commands, C)[0].feed, feed, "a feed number is not used again");
}

#[test]
fn a_client_that_breaks_the_rules_is_ended_and_told_why() {
    let expect = |commands: Vec<Command>, words: &str| match commands.last() {
        Some(Command::End { to: A, farewell }) => {
            assert_eq!(farewell.cause, Cause::Violation);
            assert!(farewell.reason.contains(words), "{farewell}");
        }
        other => panic!("{other:?}"),
    };
    let mut exchange = Exchange::new();
    exchange.join(A, "r1");
    expect(exchange.frame(A, Frame::FeedsClosed(vec![FeedId(1)])), "only sent by the server");
    expect(exchange.interests(A, &["/{a"], &[]), "/{a");
    exchange.offer(A, 1, Flow::State, "/odom");
    expect(exchange.offer(A, 1, Flow::State, "/odom"), "offered twice");
    let r1 = ClientId::new("r1").unwrap();
    expect(exchange.offer(A, 2, Flow::Command { to: r1 }, "/cmd_vel"), "to oneself");
    for channel in 0..=defaults::CHANNELS_MAX as u32 {
        exchange.offer(A, 10 + channel, Flow::State, "/odom");
    }
    let commands = std::mem::take(&mut exchange.commands);
    expect(commands, "narrow the offer rules");
}

#[test]
fn a_late_joiner_gets_the_last_messages_of_a_transient_local_topic_once_and_before_new_ones() {
    let mut exchange = Exchange::new();
    for (connection, id) in [(A, "r1"), (B, "r2"), (C, "op")] {
        exchange.join(connection, id);
        exchange.interests(connection, &["/**"], &[]);
    }
    let qos = Qos { durability: Durability::TransientLocal, depth: 2, ..Qos::default() };
    let offer = Offer { channel: ChannelId(1), flow: Flow::State, topic: TopicInfo { qos, ..topic("/map") } };
    let feed = opened(&exchange.frame(A, Frame::Offers(vec![offer])), B)[0].feed;
    let subscribe = Frame::Subscribe(vec![Subscription { feed, max_rate_millihertz: 0, latest_only: false }]);
    let sequences = |commands: &[Command], to| {
        let frames = frames_to(commands, to).into_iter();
        frames.filter_map(|f| if let Frame::Data(data) = f { Some(data.sequence) } else { None }).collect::<Vec<_>>()
    };
    const NOTHING: [u64; 0] = [];
    let publish = |exchange: &mut Exchange, sequence| {
        let data = Data {
            id: 1,
            publisher: PublisherId(0),
            keep: 2,
            sequence,
            source_time: Wall(0),
            payload: Bytes::from_static(b"cdr"),
        };
        exchange.frame(A, Frame::Data(data))
    };
    exchange.frame(B, subscribe.clone());
    for sequence in 0..3 {
        publish(&mut exchange, sequence);
    }
    assert_eq!(sequences(&exchange.frame(C, subscribe.clone()), C), [1, 2], "as many as its depth");
    assert_eq!(sequences(&exchange.frame(C, subscribe.clone()), C), NOTHING, "but not again to the same one");
    assert_eq!(sequences(&publish(&mut exchange, 3), C), [3]);
    // When nobody takes it any more its origin stops reading: what was kept may be out of date.
    exchange.frame(B, Frame::Unsubscribe(vec![feed]));
    exchange.frame(C, Frame::Unsubscribe(vec![feed]));
    let commands = exchange.frame(B, subscribe);
    assert_eq!(sequences(&commands, B), NOTHING);
    assert!(demands(&commands, A)[0].wanted);
}

#[test]
fn an_observer_that_offers_or_commands_is_ended() {
    let mut exchange = Exchange::new();
    let mut eve = login("eve");
    eve.kind = ClientKind::Observer;
    exchange.hub.handle_login(A, eve, address(A), exchange.now);
    exchange.hub.handle_recorded(A, Ok(SessionId(1)), exchange.now);
    exchange.drain();
    let commands = exchange.offer(A, 1, Flow::State, "/odom");
    assert!(
        matches!(&commands[..], [Command::End { to: A, farewell }] if farewell.reason.contains("only looks")),
        "{commands:?}"
    );
}

#[test]
fn a_flood_of_strangers_is_counted_but_fills_no_log() {
    let mut exchange = Exchange::new();
    for stranger in 0..1_000 {
        exchange.leave(ConnectionId(100 + stranger), false);
    }
    let events = exchange.commands.iter().filter(|c| matches!(c, Command::Event(e) if e.kind == EventKind::Refused));
    assert_eq!(events.count() as u32, defaults::REFUSALS_LOGGED_PER_MINUTE);
    let status = exchange.hub.status(exchange.now, |_| LineFigures::default());
    assert_eq!(status.refused, 1_000);
    assert_eq!(status.suppressed, 1_000 - u64::from(defaults::REFUSALS_LOGGED_PER_MINUTE));
}

#[test]
fn somebody_who_only_looks_whether_the_port_is_open_is_no_stranger() {
    let mut exchange = Exchange::new();
    let farewell = Farewell::new(Cause::KeepAlive, "the connection broke");
    let end = End { farewell, ours: false, was_ready: false, was_probe: true };
    exchange.hub.handle_ended(A, address(A), &end, exchange.now);
    assert_eq!(exchange.drain(), []);
    assert_eq!(exchange.hub.status(exchange.now, |_| LineFigures::default()).refused, 0);
}

#[test]
fn disconnecting_names_who_is_known_when_the_id_is_not() {
    let mut exchange = Exchange::new();
    exchange.join(A, "r1");
    let error = exchange.hub.disconnect(&ClientId::new("r9").unwrap(), "", exchange.now).unwrap_err();
    assert!(error.contains("r9") && error.contains("r1"), "{error}");
    exchange.hub.disconnect(&ClientId::new("r1").unwrap(), "maintenance", exchange.now).unwrap();
    assert!(matches!(&exchange.drain()[0], Command::End { to: A, farewell } if farewell.reason == "maintenance"));
    exchange.leave(A, true);
    let error = exchange.hub.disconnect(&ClientId::new("r1").unwrap(), "", exchange.now).unwrap_err();
    assert!(error.contains("not connected"), "{error}");
}

mod any_order {
    use proptest::prelude::*;

    use super::*;

    /// Something that a client, an administrator or the store does.
    #[derive(Debug, Clone)]
    enum Step {
        Login { from: u64, id: u8 },
        Recorded { from: u64, fine: bool },
        Ended { from: u64 },
        Interests { from: u64, everything: bool },
        Offer { from: u64, channel: u32, command_to: Option<u8> },
        Withdraw { from: u64, channel: u32 },
        Subscribe { from: u64, feed: u32, rate: u32 },
        Unsubscribe { from: u64, feed: u32 },
        Data { from: u64, channel: u32 },
        Disconnect { id: u8 },
    }

    fn step() -> impl Strategy<Value = Step> {
        let (from, id, channel, feed) = (1..6_u64, 0..3_u8, 0..4_u32, 0..12_u32);
        prop_oneof![
            3 => (from.clone(), id.clone()).prop_map(|(from, id)| Step::Login { from, id }),
            3 => (from.clone(), any::<bool>()).prop_map(|(from, fine)| Step::Recorded { from, fine }),
            1 => from.clone().prop_map(|from| Step::Ended { from }),
            2 => (from.clone(), any::<bool>()).prop_map(|(from, everything)| Step::Interests { from, everything }),
            3 => (from.clone(), channel.clone(), prop::option::of(id.clone()))
                .prop_map(|(from, channel, command_to)| Step::Offer { from, channel, command_to }),
            1 => (from.clone(), channel.clone()).prop_map(|(from, channel)| Step::Withdraw { from, channel }),
            3 => (from.clone(), feed.clone(), any::<u32>())
                .prop_map(|(from, feed, rate)| Step::Subscribe { from, feed, rate }),
            1 => (from.clone(), feed).prop_map(|(from, feed)| Step::Unsubscribe { from, feed }),
            3 => (from, channel).prop_map(|(from, channel)| Step::Data { from, channel }),
            1 => id.prop_map(|id| Step::Disconnect { id }),
        ]
    }

    fn name(id: u8) -> ClientId {
        ClientId::new(&format!("c{id}")).unwrap()
    }

    /// The sessions that the hub has closed since this was asked last.
    fn closed_sessions(exchange: &mut Exchange) -> Vec<SessionId> {
        let closed = std::mem::take(&mut exchange.commands).into_iter();
        closed.filter_map(|c| if let Command::Logout(logout) = c { Some(logout.session) } else { None }).collect()
    }

    proptest! {
        #[test]
        fn whatever_happens_in_any_order_the_hub_keeps_its_books(steps in proptest::collection::vec(step(), 0..200)) {
            let mut exchange = Exchange::new();
            // Connections that have ended, and sessions that were given out and not closed.
            let mut gone = std::collections::BTreeSet::new();
            let mut recording = std::collections::BTreeSet::new();
            let mut open = std::collections::BTreeSet::new();
            let mut next_session = 100;
            for step in steps {
                exchange.later(Duration::from_millis(10));
                match step {
                    Step::Login { from, id } => {
                        let from = ConnectionId(from);
                        // The session state machine lets one login through for each connection.
                        if !gone.contains(&from) && !exchange.hub.status(exchange.now, |_| LineFigures::default()).clients
                            .iter().any(|client| client.address == address(from) && client.state == ClientState::On)
                            && !recording.contains(&from)
                        {
                            let commands = exchange.login(from, name(id).as_str());
                            if matches!(commands.last(), Some(Command::Record { .. })) {
                                recording.insert(from);
                            }
                        }
                    }
                    Step::Recorded { from, fine } => {
                        let from = ConnectionId(from);
                        if recording.remove(&from) {
                            next_session += 1;
                            let outcome = if fine { Ok(SessionId(next_session)) } else { Err("full".to_owned()) };
                            if fine {
                                open.insert(SessionId(next_session));
                            }
                            exchange.hub.handle_recorded(from, outcome, exchange.now);
                        }
                    }
                    Step::Ended { from } => {
                        let from = ConnectionId(from);
                        if gone.insert(from) {
                            let was_ready = !recording.contains(&from);
                            exchange.leave(from, was_ready);
                        }
                    }
                    Step::Interests { from, everything } => {
                        let wants: &[&str] = if everything { &["/**"] } else { &[] };
                        exchange.interests(ConnectionId(from), wants, wants);
                    }
                    Step::Offer { from, channel, command_to } => {
                        let flow = command_to.map_or(Flow::State, |id| Flow::Command { to: name(id) });
                        exchange.offer(ConnectionId(from), channel, flow, "/odom");
                    }
                    Step::Withdraw { from, channel } => {
                        exchange.frame(ConnectionId(from), Frame::Withdraw(vec![ChannelId(channel)]));
                    }
                    Step::Subscribe { from, feed, rate } => {
                        let subscription = Subscription { feed: FeedId(feed), max_rate_millihertz: rate, latest_only: false };
                        exchange.frame(ConnectionId(from), Frame::Subscribe(vec![subscription]));
                    }
                    Step::Unsubscribe { from, feed } => {
                        exchange.frame(ConnectionId(from), Frame::Unsubscribe(vec![FeedId(feed)]));
                    }
                    Step::Data { from, channel } => {
                        let receivers = exchange.send(ConnectionId(from), channel);
                        prop_assert!(!receivers.contains(&ConnectionId(from)), "a message came back to its origin");
                    }
                    Step::Disconnect { id } => {
                        let _ = exchange.hub.disconnect(&name(id), "out", exchange.now);
                    }
                }
                exchange.drain();
                for session in closed_sessions(&mut exchange) {
                    prop_assert!(open.remove(&session), "session {} was closed twice", session);
                }
            }
            // When everybody has gone, every session that was given out is closed, exactly once.
            for from in 1..6 {
                let from = ConnectionId(from);
                if gone.insert(from) {
                    let was_ready = !recording.contains(&from);
                    exchange.leave(from, was_ready);
                }
                if recording.remove(&from) {
                    next_session += 1;
                    open.insert(SessionId(next_session));
                    exchange.hub.handle_recorded(from, Ok(SessionId(next_session)), exchange.now);
                }
            }
            exchange.drain();
            for session in closed_sessions(&mut exchange) {
                prop_assert!(open.remove(&session), "session {} was closed twice", session);
            }
            prop_assert!(open.is_empty(), "sessions left open: {open:?}");
            prop_assert_eq!(exchange.hub.connected(), 0);
        }
    }
}
