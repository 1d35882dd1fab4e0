//! Pauses, publishers, and who publishes what for late joiners.

use super::*;
use crate::{defaults, traffic::Cause, wire::Congestion};

const ONE: Gid = Gid([1; 24]);
const TWO: Gid = Gid([2; 24]);

/// A client that reads `/odom`, which the exchange wants, and its channel.
fn reading() -> (Routes, ReaderId, ChannelId) {
    let mut routes = connected();
    routes.handle_graph(graph(&[("/odom", ODOM, true, false)]));
    let channel = offers(&drain(&mut routes))[0].channel;
    let reader = demanded(&mut routes, demand(channel, true));
    (routes, reader, channel)
}

fn demanded(routes: &mut Routes, demand: Demand) -> ReaderId {
    routes.handle_demands(&[demand]);
    match &drain(routes)[0] {
        RouteCommand::CreateReader(reader, _) => *reader,
        other => panic!("{other:?}"),
    }
}

const NOTHING: [RouteCommand; 0] = [];

#[test]
fn a_reader_pauses_while_the_exchange_or_the_own_line_wants_it() {
    let (mut routes, reader, channel) = reading();
    let held = Demand { held: true, ..demand(channel, true) };
    routes.handle_demands(&[held]);
    assert_eq!(drain(&mut routes), [RouteCommand::HoldReader(reader, true)]);
    assert!(routes.outgoing(reader, ONE, Mono::default()).is_some(), "what is on its way goes on");
    routes.handle_congested(reader);
    routes.handle_demands(&[demand(channel, true)]);
    assert_eq!(drain(&mut routes), NOTHING, "one of two reasons is left");
    routes.handle_relieved(Class::Command);
    assert_eq!(drain(&mut routes), NOTHING, "another class");
    routes.handle_relieved(Class::State);
    assert_eq!(drain(&mut routes), [RouteCommand::HoldReader(reader, false)]);
    routes.handle_relieved(Class::State);
    assert_eq!(drain(&mut routes), NOTHING);
}

#[test]
fn a_new_reader_knows_of_no_pause_but_those_that_hold() {
    let (mut routes, reader, channel) = reading();
    routes.handle_congested(reader);
    drain(&mut routes);
    routes.handle_demands(&[demand(channel, false)]);
    assert_eq!(drain(&mut routes), [RouteCommand::DestroyReader(reader)]);
    let second = demanded(&mut routes, demand(channel, true));
    assert_eq!(drain(&mut routes), NOTHING);
    routes.handle_demands(&[demand(channel, false)]);
    drain(&mut routes);
    routes.handle_demands(&[Demand { held: true, ..demand(channel, true) }]);
    let commands = drain(&mut routes);
    assert!(
        matches!(&commands[..], [RouteCommand::CreateReader(new, _), RouteCommand::HoldReader(held, true)] if new == held && *new != second),
        "{commands:?}"
    );
    // A connection that is gone holds nothing.
    routes.handle_disconnected();
    drain(&mut routes);
    routes.handle_connected();
    drain(&mut routes);
    demanded(&mut routes, demand(channel, true));
    assert_eq!(drain(&mut routes), NOTHING);
}

#[test]
fn a_publisher_that_comes_back_before_all_is_taken_goes_on_in_the_same_offer() {
    let (mut routes, reader, channel) = reading();
    routes.handle_graph(graph(&[("/odom", ODOM, false, true)]));
    assert_eq!(drain(&mut routes), [RouteCommand::FinishReader(reader)]);
    routes.handle_graph(graph(&[("/odom", ODOM, true, false)]));
    routes.handle_reader_done(reader);
    assert_eq!(drain(&mut routes), NOTHING);
    routes.handle_graph(graph(&[("/odom", ODOM, false, true)]));
    drain(&mut routes);
    routes.handle_demands(&[demand(channel, false)]);
    let gone = RouteCommand::SendBehind(Class::State, Frame::Withdraw(vec![channel]));
    assert_eq!(drain(&mut routes), [RouteCommand::DestroyReader(reader), gone], "nobody wants the rest");
}

#[test]
fn publishers_are_numbered_and_those_beyond_the_bound_share_the_last_number() {
    let (mut routes, reader, _) = reading();
    let mut number = |gid| {
        // The rule says 10 Hz.
        static SECONDS: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(1);
        let second = SECONDS.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        routes.outgoing(reader, gid, Mono(std::time::Duration::from_secs(second))).unwrap().publisher.0
    };
    assert_eq!([number(ONE), number(TWO), number(ONE)], [0, 1, 0]);
    for n in 3..=255 {
        assert_eq!(number(Gid([n; 24])), u16::from(n - 1).min(defaults::PUBLISHERS_MAX as u16 - 1));
    }
    assert_eq!(number(TWO), 1);
}

#[test]
fn only_what_the_rules_let_through_is_sent_and_the_rest_is_counted() {
    let mut rules = Rules::default();
    rules.add(Section::Offer, Rule { node: Some(pattern("/good")), ..rule("/odom") }, false).unwrap();
    let mut routes = Routes::new(id("r1"), ClientKind::Robot, rules);
    routes.handle_connected();
    let of = |gid, node: &str| Endpoint { gid, node: node.to_owned(), ..endpoint(ODOM, false, Qos::default()) };
    let graph = |publishers| LocalGraph {
        topics: vec![LocalTopic { name: "/odom".to_owned(), publishers, subscribers: vec![] }],
        services: Vec::new(),
    };
    routes.handle_graph(graph(vec![of(ONE, "/good")]));
    let channel = offers(&drain(&mut routes))[0].channel;
    let reader = demanded(&mut routes, demand(channel, true));
    assert!(routes.outgoing(reader, ONE, Mono::default()).is_some());
    routes.handle_graph(graph(vec![of(ONE, "/good"), of(TWO, "/bad")]));
    assert_eq!(drain(&mut routes), NOTHING, "the offer stays as it is");
    assert!(routes.outgoing(reader, ONE, Mono::default()).is_some());
    assert_eq!(routes.outgoing(reader, TWO, Mono::default()), None);
    assert_eq!(routes.dropped().of(Cause::Refused), 1);
}

/// A client in whose graph somebody subscribes to the transient_local `/r2/odom`, which the exchange has, and the writer of
/// it, with the depth that the origin told.
fn taking(rule_depth: Option<u32>, depth: u32) -> (Routes, WriterId) {
    let mut rules = Rules::default();
    let mut want = rule("/*/odom");
    want.qos.depth = rule_depth;
    rules.add(Section::Want, want, false).unwrap();
    let mut routes = Routes::new(id("r1"), ClientKind::Robot, rules);
    routes.handle_connected();
    routes.handle_graph(graph(&[("/r2/odom", ODOM, false, false)]));
    let mut feed = feed(7, Flow::State, "/odom", ODOM);
    feed.topic.qos = Qos { durability: Durability::TransientLocal, depth, ..Qos::default() };
    drain(&mut routes);
    routes.handle_feeds_open(vec![feed]);
    match &drain(&mut routes)[..] {
        [RouteCommand::CreateWriter(writer, _), RouteCommand::Send(Frame::Subscribe(_))] => (routes, *writer),
        other => panic!("{other:?}"),
    }
}

#[test]
fn each_publisher_of_a_transient_local_topic_has_a_writer_that_keeps_as_much_as_it_does() {
    let (mut routes, first) = taking(None, 0);
    let mut writer_of = |publisher, keep| {
        let writer = routes.incoming(FeedId(7), PublisherId(publisher), keep).unwrap();
        (writer, drain(&mut routes))
    };
    let (chatty, commands) = writer_of(0, 3);
    let made = |command: &RouteCommand| match command {
        RouteCommand::CreateWriter(writer, topic) => (*writer, topic.qos.depth),
        other => panic!("{other:?}"),
    };
    assert_eq!((made(&commands[0]), &commands[1..]), ((chatty, 3), &[RouteCommand::DestroyWriter(first)][..]));
    let (quiet, commands) = writer_of(1, 1);
    assert_eq!((made(&commands[0]), commands.len()), ((quiet, 1), 1));
    let (unknown, commands) = writer_of(2, 0);
    assert_eq!((made(&commands[0]), commands.len()), ((unknown, 0), 1));
    assert_eq!((writer_of(0, 3), writer_of(1, 1)), ((chatty, vec![]), (quiet, vec![])));
    for publisher in 3..200 {
        writer_of(publisher, 1);
    }
    assert_eq!(writer_of(199, 1), (chatty, vec![]), "beyond the bound they share the first one");
    // All are made anew when the last subscriber goes: the next one gets everything from the exchange.
    routes.handle_graph(graph(&[]));
    let commands = drain(&mut routes);
    let destroyed = commands.iter().filter(|command| matches!(command, RouteCommand::DestroyWriter(_))).count();
    let created = commands.iter().filter(|command| matches!(command, RouteCommand::CreateWriter(..))).count();
    assert_eq!((destroyed, created), (defaults::PUBLISHERS_MAX, 1));
}

#[test]
fn the_writer_that_shows_the_topic_is_the_first_publishers_where_it_fits() {
    for (rule_depth, depth, keep) in [(None, 0, 0), (None, 4, 4), (None, 0, 10), (Some(3), 0, 1)] {
        let (mut routes, first) = taking(rule_depth, depth);
        assert_eq!(routes.incoming(FeedId(7), PublisherId(5), keep), Some(first), "{rule_depth:?} {depth} {keep}");
        assert_eq!(drain(&mut routes), NOTHING);
    }
}

#[test]
fn whose_writer_cannot_be_made_shares_the_first() {
    let (mut routes, first) = taking(None, 0);
    routes.incoming(FeedId(7), PublisherId(0), 0);
    let failing = routes.incoming(FeedId(7), PublisherId(1), 0).unwrap();
    drain(&mut routes);
    routes.handle_writer_failed(failing, "no room");
    assert_eq!(routes.incoming(FeedId(7), PublisherId(1), 0), Some(first));
    routes.handle_feeds_closed(&[FeedId(7)]);
    let destroyed = drain(&mut routes).into_iter().filter(|it| matches!(it, RouteCommand::DestroyWriter(_)));
    assert_eq!(destroyed.collect::<Vec<_>>(), [RouteCommand::DestroyWriter(first)]);
}

#[test]
fn the_exchange_is_told_which_feed_a_subscriber_cannot_keep_up_with() {
    let (mut routes, writer) = taking(None, 0);
    for congested in [true, false] {
        routes.handle_writer_congested(writer, congested);
        let told = RouteCommand::Send(Frame::Congested(vec![Congestion { feed: FeedId(7), congested }]));
        assert_eq!(drain(&mut routes), [told]);
    }
    routes.handle_writer_congested(WriterId(99), true);
    assert_eq!(drain(&mut routes), NOTHING);
}

#[test]
fn a_latched_topic_is_offered_anew_when_a_publisher_goes_so_that_nobody_gets_its_last_words() {
    let latched = Qos { durability: Durability::TransientLocal, depth: 1, ..Qos::default() };
    let graph = |gids: &[Gid], qos| LocalGraph {
        topics: vec![LocalTopic {
            name: "/odom".to_owned(),
            publishers: gids.iter().map(|&gid| Endpoint { gid, ..endpoint(ODOM, false, qos) }).collect(),
            subscribers: vec![],
        }],
        services: Vec::new(),
    };
    let mut routes = connected();
    routes.handle_graph(graph(&[ONE], latched));
    drain(&mut routes);
    routes.handle_graph(graph(&[ONE, TWO], latched));
    assert_eq!(drain(&mut routes), NOTHING, "one more changes nothing for those who are there");
    routes.handle_graph(graph(&[TWO], latched));
    let commands = drain(&mut routes);
    assert!(matches!(&commands[0], RouteCommand::Send(Frame::Withdraw(_))), "{commands:?}");
    assert_eq!(offers(&commands).len(), 1);

    let mut routes = connected();
    routes.handle_graph(graph(&[ONE, TWO], Qos { depth: 0, ..Qos::default() }));
    drain(&mut routes);
    routes.handle_graph(graph(&[TWO], Qos { depth: 0, ..Qos::default() }));
    assert_eq!(drain(&mut routes), NOTHING, "nothing is kept of a volatile topic");
}
