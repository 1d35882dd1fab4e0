//! What of others is published: commands, stop messages, frame ids, and the figures.

use std::time::Duration;

use bytes::Bytes;

use super::*;
use crate::{
    time::{Now, Wall},
    traffic::{Cause, Direction, TopicTraffic},
};

const TF: &str = "tf2_msgs/msg/TFMessage";
const ALICE: FeedId = FeedId(1);
const BOB: FeedId = FeedId(2);

fn at(millis: u64) -> Now {
    // The exchange's clock is 5 s ahead of this one in all of these tests.
    Now { wall: Wall(1_000_000_000_000), ..Now::default() }.plus(Duration::from_millis(millis))
}

const GID: Gid = Gid([0; 24]);
const OFFSET: i64 = 5_000_000_000;

/// A time of ours on the exchange's clock.
fn there(now: Now) -> Wall {
    Wall(now.wall.0 + OFFSET)
}

/// r1, which accepts commands by `accept`, with alice and bob connected and ready to drive it.
fn driven(accept: Rule) -> Routes {
    let mut rules = Rules::default();
    rules.add(Section::Accept, accept, false).unwrap();
    let mut routes = Routes::new(id("r1"), ClientKind::Robot, rules);
    routes.handle_connected();
    routes.handle_feeds_open(vec![command(ALICE, "alice"), command(BOB, "bob")]);
    drain(&mut routes);
    routes
}

fn command(number: FeedId, origin: &str) -> Feed {
    let flow = Flow::Command { to: id("r1") };
    Feed { origin: id(origin), ..feed(number.0, flow, "/cmd_vel", TWIST) }
}

fn stopping() -> Rule {
    Rule { stop: true, ..rule("/cmd_vel") }
}

/// Hands in a command that is `age` old, and says whether it is published.
fn drive(routes: &mut Routes, feed: FeedId, age: Duration, now: Now) -> bool {
    let source_time = Wall(there(now).0 - age.as_nanos() as i64);
    let passed = routes.let_through(feed, Bytes::from_static(b"cdr"), source_time, Some(OFFSET), now);
    if let Some(passed) = &passed {
        assert_eq!(passed.age, Some(age));
        routes.handle_published(feed, passed.payload.len(), passed.age, now.mono);
    }
    passed.is_some()
}

fn stops(commands: &[RouteCommand]) -> usize {
    commands.iter().filter(|command| matches!(command, RouteCommand::PublishStop(_))).count()
}

fn only(routes: &Routes, now: Now) -> TopicTraffic {
    let [topic] = &routes.traffic(now).topics[..] else { panic!("{:?}", routes.traffic(now)) };
    topic.clone()
}

#[test]
fn a_command_that_is_too_old_by_the_exchanges_clock_is_dropped_and_counted() {
    let mut routes = driven(Rule { max_age: Some(Duration::from_millis(100)), ..rule("/cmd_vel") });
    assert!(drive(&mut routes, ALICE, Duration::from_millis(100), at(0)));
    assert!(!drive(&mut routes, ALICE, Duration::from_millis(101), at(10)));
    // Before the first ping is answered nothing is known of the other clock: what arrives counts as new.
    let passed = routes.let_through(ALICE, Bytes::new(), Wall(0), None, at(20)).unwrap();
    routes.handle_published(ALICE, 0, passed.age, at(20).mono);
    let traffic = only(&routes, at(20));
    assert_eq!((traffic.received, traffic.sent, traffic.dropped.of(Cause::Late)), (3, 2, 1));
    assert_eq!(traffic.latency_p99, Some(Duration::from_millis(100)));
    assert_eq!(routes.dropped().total(), 1);
    assert_eq!(drain(&mut routes), [], "a late command is for the counters, not for the log");
}

#[test]
fn the_stop_comes_before_the_end_of_the_writer_whatever_ends_the_commander() {
    type Loss = fn(&mut Routes);
    let losses: [Loss; 3] = [
        |routes| routes.handle_disconnected(),
        |routes| routes.handle_feeds_closed(&[ALICE]),
        |routes| {
            let accept = routes.rules().accept[0].id;
            routes.remove_rule(accept).unwrap();
        },
    ];
    for loss in losses {
        let mut routes = driven(stopping());
        let writer = routes.incoming(ALICE, PublisherId(0), 0).unwrap();
        assert!(drive(&mut routes, ALICE, Duration::ZERO, at(0)));
        loss(&mut routes);
        let commands = drain(&mut routes);
        let place = commands.iter().position(|command| *command == RouteCommand::PublishStop(writer));
        let place = place.unwrap_or_else(|| panic!("{commands:?}"));
        assert_eq!(commands[place + 1], RouteCommand::DestroyWriter(writer));
        assert_eq!(stops(&commands), 1, "bob never said anything: {commands:?}");
    }
}

#[test]
fn a_stop_is_published_only_where_a_rule_says_so_and_something_was_commanded() {
    let mut silent = driven(stopping());
    assert!(!drive(&mut silent, ALICE, Duration::from_secs(60), at(0)), "too old to have moved anything");
    silent.handle_disconnected();
    assert_eq!(stops(&drain(&mut silent)), 0);

    let mut unasked = driven(rule("/cmd_vel"));
    assert!(drive(&mut unasked, ALICE, Duration::ZERO, at(0)));
    unasked.handle_disconnected();
    assert_eq!(stops(&drain(&mut unasked)), 0);
}

#[test]
fn with_two_commanders_the_robot_stops_when_the_one_goes_whom_it_follows() {
    let mut routes = driven(stopping());
    assert!(drive(&mut routes, BOB, Duration::ZERO, at(0)));
    assert!(drive(&mut routes, ALICE, Duration::ZERO, at(1)));
    routes.handle_feeds_closed(&[BOB]);
    assert_eq!(stops(&drain(&mut routes)), 0, "bob was idle");
    routes.handle_disconnected();
    assert_eq!(stops(&drain(&mut routes)), 1);
    routes.handle_disconnected();
    assert_eq!(stops(&drain(&mut routes)), 0, "once for each loss");
}

#[test]
fn an_exclusive_topic_has_one_commander_and_the_other_is_told_once() {
    let mut routes = driven(Rule { exclusive: Some(Duration::from_secs(2)), ..rule("/cmd_vel") });
    assert!(drive(&mut routes, ALICE, Duration::ZERO, at(0)));
    assert!(!drive(&mut routes, BOB, Duration::ZERO, at(1)));
    assert!(!drive(&mut routes, BOB, Duration::ZERO, at(2)));
    let commands = drain(&mut routes);
    let told = "/cmd_vel: commands of bob are refused, alice commands it alone";
    assert!(
        matches!(&commands[..], [RouteCommand::Warn(words), RouteCommand::Send(Frame::Problems(sent))]
            if words.starts_with(told) && sent.problems == [words.as_str()]),
        "{commands:?}"
    );
    assert_eq!(routes.problems().len(), 1);
    let traffic = only(&routes, at(2));
    assert_eq!((traffic.name.topic.as_str(), traffic.name.direction), ("/r1/cmd_vel", Direction::In));
    assert_eq!((traffic.received, traffic.sent, traffic.dropped.of(Cause::Refused)), (3, 1, 2));
    assert!(routes.release("/arm").is_err());
    assert_eq!(routes.release("/cmd_vel"), Ok(id("alice")));
    drain(&mut routes);
    assert_eq!(routes.problems(), [""; 0]);
    assert!(drive(&mut routes, BOB, Duration::ZERO, at(3)));
}

/// A TF message of one transform from `odom` to `base`, as a middleware serializes it.
fn transform() -> Bytes {
    let mut message = vec![0, 1, 0, 0, 1, 0, 0, 0];
    message.extend([0; 8]);
    message.extend(b"\x05\0\0\0odom\0\0\0\0\x05\0\0\0base\0");
    message.resize(4 + 40 + 7 * 8, 0);
    message.into()
}

fn wanting(want: Rule) -> Routes {
    let mut rules = Rules::default();
    rules.add(Section::Want, want, false).unwrap();
    let mut routes = Routes::new(id("alice"), ClientKind::Operator, rules);
    routes.handle_connected();
    routes.handle_feeds_open(vec![feed(7, Flow::State, "/tf", TF), feed(8, Flow::State, "/odom", ODOM)]);
    drain(&mut routes);
    routes
}

fn arriving(routes: &mut Routes, feed: u32, payload: &Bytes) -> Option<Bytes> {
    let passed = routes.let_through(FeedId(feed), payload.clone(), there(at(0)), Some(OFFSET), at(0));
    passed.map(|passed| passed.payload)
}

#[test]
fn frame_ids_of_others_are_told_apart_unless_a_rule_says_no() {
    let mut routes = wanting(rule("/**"));
    let prefixed = arriving(&mut routes, 7, &transform()).unwrap();
    let has = |bytes: &[u8], text: &[u8]| bytes.windows(text.len()).any(|window| window == text);
    assert!(has(&prefixed, b"\x08\0\0\0r2/odom\0") && has(&prefixed, b"\x08\0\0\0r2/base\0"), "{prefixed:?}");
    assert_eq!(arriving(&mut routes, 8, &transform()), Some(transform()), "other types are not touched");

    let mut plain = wanting(Rule { prefix_frames: Some(false), ..rule("/**") });
    assert_eq!(arriving(&mut plain, 7, &transform()), Some(transform()));
}

#[test]
fn a_tf_message_that_is_none_does_not_get_into_the_tree() {
    let mut routes = wanting(rule("/**"));
    assert_eq!(arriving(&mut routes, 7, &Bytes::from_static(b"\0\x01\0\0\xff\xff\xff\xff")), None);
    let commands = drain(&mut routes);
    assert!(
        matches!(&commands[..], [RouteCommand::Warn(words)] if words.contains("/r2/tf") && words.contains("middle")),
        "{commands:?}"
    );
    assert_eq!(only(&routes, at(0)).dropped.of(Cause::Refused), 1);
}

#[test]
fn state_has_a_highest_age_only_if_its_rule_gives_one() {
    let mut limited = wanting(Rule { max_age: Some(Duration::from_secs(1)), ..rule("/**") });
    let mut unlimited = wanting(rule("/**"));
    let old = Wall(there(at(0)).0 - 1_500_000_000);
    let passes = |routes: &mut Routes| routes.let_through(FeedId(8), Bytes::new(), old, Some(OFFSET), at(0)).is_some();
    assert!(!passes(&mut limited) && passes(&mut unlimited));
    assert_eq!(only(&limited, at(0)).dropped.of(Cause::Late), 1);
}

#[test]
fn what_is_read_is_counted_whether_it_goes_on_or_not() {
    let mut routes = connected();
    routes.handle_graph(graph(&[("/odom", ODOM, true, false)]));
    let channel = offers(&drain(&mut routes))[0].channel;
    routes.handle_demands(&[demand(channel, true)]);
    let commands = drain(&mut routes);
    let [RouteCommand::CreateReader(reader, _)] = commands[..] else { panic!("{commands:?}") };
    let mut went = 0;
    for millis in 0..20 {
        let now = at(millis * 50);
        if routes.outgoing(reader, GID, now.mono).is_some() {
            let source_time = Wall(now.wall.0 - 2_000_000);
            routes.handle_sent(reader, 100, source_time, now);
            went += 1;
        }
    }
    routes.handle_unsendable(reader, "too large");
    routes.handle_reader_losses(reader, 3, 1, at(950).mono);
    routes.handle_overflow(channel, 2);
    let traffic = only(&routes, at(1_000));
    assert_eq!((traffic.name.topic.as_str(), traffic.name.direction), ("/r1/odom", Direction::Out));
    // Twenty came and one could not be taken; the rule says 10 Hz; two of those did not leave the outbox.
    assert!((10..=11).contains(&went));
    assert_eq!((traffic.received, traffic.sent, traffic.thinned), (21, went - 2, 20 - went));
    assert_eq!(traffic.dropped.to_string(), "3 lost, 2 overflow, 1 refused, 1 failed");
    assert_eq!(traffic.latency_p50, Some(Duration::from_millis(2)));

    // What comes from a reader that is being destroyed belongs nowhere; the figures stay.
    routes.handle_demands(&[demand(channel, false)]);
    assert_eq!(routes.outgoing(reader, GID, at(2_000).mono), None);
    assert_eq!(only(&routes, at(2_000)).received, 21);
}

#[test]
fn a_message_that_the_middleware_refuses_is_counted() {
    let mut routes = wanting(rule("/**"));
    let writer = routes.incoming(FeedId(8), PublisherId(0), 0).unwrap();
    assert!(arriving(&mut routes, 8, &Bytes::from_static(b"cdr")).is_some());
    routes.handle_unpublishable(writer, "no");
    let traffic = only(&routes, at(0));
    assert_eq!((traffic.received, traffic.sent, traffic.dropped.of(Cause::Failed)), (1, 0, 1));
}
