//! Who waits for whom: congested links, slow clients, late joiners, and times.

use super::*;
use crate::{model::Reliability, session::ClockReading, wire::Congestion};

const D: ConnectionId = ConnectionId(4);

/// r1 at A offers `/odom` on channel 1 with `qos`, and everybody of `subscribers` takes it. Returns the feed.
fn feed_of(exchange: &mut Exchange, qos: Qos, subscribers: &[ConnectionId]) -> FeedId {
    exchange.join(A, "r1");
    for &to in subscribers {
        exchange.join(to, &format!("c{to}"));
        exchange.interests(to, &["/**"], &[]);
    }
    let topic = TopicInfo { qos, ..topic("/odom") };
    let offer = Offer { channel: ChannelId(1), flow: Flow::State, topic };
    let feed = opened(&exchange.frame(A, Frame::Offers(vec![offer])), subscribers[0])[0].feed;
    for &to in subscribers {
        subscribe(exchange, to, feed);
    }
    feed
}

fn subscribe(exchange: &mut Exchange, to: ConnectionId, feed: FeedId) -> Vec<Command> {
    exchange.frame(to, Frame::Subscribe(vec![Subscription { feed, max_rate_millihertz: 0, latest_only: false }]))
}

fn message(publisher: u16, keep: u16, sequence: u64) -> Data {
    let payload = Bytes::from_static(b"cdr");
    Data { id: 1, publisher: PublisherId(publisher), keep, sequence, source_time: Wall(5), payload }
}

/// Sends a message while the links of `congested` have no room, and says what the origin is told: to pause, or to go on.
fn send_to(exchange: &mut Exchange, congested: &[ConnectionId]) -> Vec<bool> {
    exchange.hub.route(A, message(0, 0, 0), exchange.now, |to, _, _| congested.contains(&to));
    told(&exchange.drain())
}

fn told(commands: &[Command]) -> Vec<bool> {
    demands(commands, A).iter().map(|demand| demand.held).collect()
}

fn relieve(exchange: &mut Exchange, connection: ConnectionId) -> Vec<bool> {
    exchange.hub.handle_relieved(connection, Class::State, exchange.now);
    told(&exchange.drain())
}

/// Lets time pass, with what the hub wants done at its own times.
fn wait(exchange: &mut Exchange, by: Duration) -> Vec<bool> {
    let end = exchange.now.plus(by);
    while let Some(due) = exchange.hub.poll_timeout().filter(|due| *due <= end.mono) {
        exchange.now = exchange.now.plus(due.since(exchange.now.mono));
        exchange.hub.handle_timeout(exchange.now);
    }
    exchange.now = exchange.now.plus(end.mono.since(exchange.now.mono));
    told(&exchange.drain())
}

const NOTHING: [bool; 0] = [];

#[test]
fn the_origin_of_a_reliable_topic_pauses_while_the_only_receiver_has_no_room() {
    let mut exchange = Exchange::for_clients(4);
    feed_of(&mut exchange, Qos::default(), &[B]);
    assert_eq!(send_to(&mut exchange, &[]), NOTHING);
    assert_eq!(send_to(&mut exchange, &[B]), [true]);
    assert_eq!(send_to(&mut exchange, &[B]), NOTHING, "what was under way tells nothing new");
    assert_eq!(
        wait(&mut exchange, Duration::from_secs(600)),
        NOTHING,
        "nobody else waits, so it holds as long as it lives"
    );
    exchange.hub.handle_relieved(B, Class::Command, exchange.now);
    assert_eq!(told(&exchange.drain()), NOTHING, "another class");
    assert_eq!(relieve(&mut exchange, B), [false]);
    assert_eq!(relieve(&mut exchange, B), NOTHING);
}

#[test]
fn a_best_effort_topic_waits_for_nobody() {
    let mut exchange = Exchange::for_clients(4);
    let qos = Qos { reliability: Reliability::BestEffort, ..Qos::default() };
    let feed = feed_of(&mut exchange, qos, &[B]);
    assert_eq!(send_to(&mut exchange, &[B]), NOTHING);
    assert_eq!(told(&exchange.frame(B, Frame::Congested(vec![Congestion { feed, congested: true }]))), NOTHING);
}

#[test]
fn a_receiver_can_ask_for_a_pause_itself() {
    let mut exchange = Exchange::for_clients(4);
    let feed = feed_of(&mut exchange, Qos::default(), &[B]);
    let say = |congested| Frame::Congested(vec![Congestion { feed, congested }]);
    assert_eq!(told(&exchange.frame(C, say(true))), NOTHING, "a stranger has no say");
    assert_eq!(told(&exchange.frame(B, say(true))), [true]);
    assert_eq!(send_to(&mut exchange, &[B]), NOTHING);
    assert_eq!(relieve(&mut exchange, B), NOTHING, "its link has room, but it does not want more");
    assert_eq!(told(&exchange.frame(B, say(false))), [false]);
}

#[test]
fn a_slow_receiver_costs_the_others_two_seconds_and_then_only_itself() {
    let mut exchange = Exchange::for_clients(4);
    feed_of(&mut exchange, Qos::default(), &[B, C]);
    assert_eq!(send_to(&mut exchange, &[B]), [true]);
    assert_eq!(wait(&mut exchange, defaults::HOLD_MAX - Duration::from_millis(1)), NOTHING);
    assert_eq!(wait(&mut exchange, Duration::from_millis(1)), [false]);
    assert_eq!(send_to(&mut exchange, &[B]), NOTHING);
    assert_eq!(wait(&mut exchange, Duration::from_secs(60)), NOTHING);
    // The other one is not deprived of its right, ...
    assert_eq!(send_to(&mut exchange, &[B, C]), [true]);
    assert_eq!(relieve(&mut exchange, C), [false]);
    // ... and the slow one has its own back when it has caught up.
    assert_eq!(relieve(&mut exchange, B), NOTHING);
    assert_eq!(send_to(&mut exchange, &[B]), [true]);
}

#[test]
fn whoever_goes_holds_nothing_any_more() {
    for way in ["unsubscribed", "gone", "not interested"] {
        let mut exchange = Exchange::for_clients(4);
        let feed = feed_of(&mut exchange, Qos::default(), &[B, C]);
        assert_eq!(send_to(&mut exchange, &[B]), [true]);
        let commands = match way {
            "unsubscribed" => exchange.frame(B, Frame::Unsubscribe(vec![feed])),
            "gone" => exchange.leave(B, true),
            _ => exchange.interests(B, &[], &[]),
        };
        assert_eq!(told(&commands), [false], "{way}");
        assert_eq!(exchange.hub.poll_timeout(), None);
        assert_eq!(relieve(&mut exchange, B), NOTHING, "{way}");
    }
}

#[test]
fn a_subscription_with_another_rate_goes_on_holding() {
    let mut exchange = Exchange::for_clients(4);
    let feed = feed_of(&mut exchange, Qos::default(), &[B]);
    assert_eq!(send_to(&mut exchange, &[B]), [true]);
    let slower = Subscription { feed, max_rate_millihertz: 1, latest_only: false };
    assert_eq!(told(&exchange.frame(B, Frame::Subscribe(vec![slower]))), [true], "the rate is news, the pause stays");
    assert_eq!(relieve(&mut exchange, B), [false]);
}

#[test]
fn what_is_kept_for_late_joiners_is_counted_for_each_publisher_and_replayed_in_order() {
    let mut exchange = Exchange::for_clients(4);
    let qos = Qos { durability: Durability::TransientLocal, depth: 0, ..Qos::default() };
    let feed = feed_of(&mut exchange, qos, &[B]);
    exchange.frame(A, Frame::Data(message(7, 1, 0)));
    for sequence in 1..500 {
        exchange.frame(A, Frame::Data(message(8, 2, sequence)));
    }
    for (connection, id) in [(C, "late"), (D, "later")] {
        exchange.join(connection, id);
        exchange.interests(connection, &["/**"], &[]);
        let frames = frames_to(&subscribe(&mut exchange, connection, feed), connection);
        let got: Vec<_> = frames
            .iter()
            .filter_map(|f| if let Frame::Data(d) = f { Some((d.publisher.0, d.sequence)) } else { None })
            .collect();
        assert_eq!(got, [(7, 0), (8, 498), (8, 499)], "{id}");
    }
}

#[test]
fn times_of_an_origin_are_told_on_the_clock_of_the_server() {
    let mut exchange = Exchange::for_clients(4);
    feed_of(&mut exchange, Qos::default(), &[B]);
    exchange.later(Duration::from_secs(100));
    let time = |exchange: &mut Exchange| match &frames_to(&exchange.frame(A, Frame::Data(message(0, 0, 0))), B)[..] {
        [Frame::Data(data)] => data.source_time,
        other => panic!("{other:?}"),
    };
    assert_eq!(time(&mut exchange), exchange.now.wall, "while its clock is not known: the time of arrival");
    let reading = ClockReading { round_trip: Duration::ZERO, offset: 2 };
    exchange.hub.handle_clock(A, reading, exchange.now);
    assert_eq!(time(&mut exchange), Wall(3), "it is 2 ns ahead");
}

mod any_order {
    use proptest::prelude::*;

    use super::*;

    #[derive(Debug, Clone)]
    enum Step {
        Send { congested: Vec<bool> },
        Relieve(usize),
        Say(usize, bool),
        Leave(usize),
        Take(usize),
        Wait(u64),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            4 => proptest::collection::vec(any::<bool>(), 3).prop_map(|congested| Step::Send { congested }),
            2 => (0..3_usize).prop_map(Step::Relieve),
            2 => (0..3_usize, any::<bool>()).prop_map(|(who, on)| Step::Say(who, on)),
            1 => (0..3_usize).prop_map(Step::Leave),
            1 => (0..3_usize).prop_map(Step::Take),
            3 => (0..3_000_u64).prop_map(Step::Wait),
        ]
    }

    proptest! {
        #[test]
        fn a_feed_is_held_only_by_those_who_take_it_and_never_for_long_against_others(
            steps in proptest::collection::vec(step(), 0..60)
        ) {
            let subscribers = [B, C, D];
            let mut exchange = Exchange::for_clients(4);
            let feed = feed_of(&mut exchange, Qos::default(), &subscribers);
            let mut held = false;
            let follow = |told: Vec<bool>, held: &mut bool| if let Some(last) = told.last() { *held = *last };
            // Who takes the feed, has no room on its link, has asked for a pause.
            let (mut takes, mut link, mut word) = ([true; 3], [false; 3], [false; 3]);
            for step in steps {
                match step {
                    Step::Send { congested } => {
                        let full: Vec<_> = (0..3).filter(|&i| congested[i]).map(|i| subscribers[i]).collect();
                        follow(send_to(&mut exchange, &full), &mut held);
                        (0..3).filter(|&i| takes[i] && congested[i]).for_each(|i| link[i] = true);
                    }
                    Step::Relieve(who) => {
                        follow(relieve(&mut exchange, subscribers[who]), &mut held);
                        link[who] = false;
                    }
                    Step::Say(who, on) => {
                        let say = Frame::Congested(vec![Congestion { feed, congested: on }]);
                        follow(told(&exchange.frame(subscribers[who], say)), &mut held);
                        word[who] = on && takes[who];
                    }
                    Step::Leave(who) => {
                        let leave = Frame::Unsubscribe(vec![feed]);
                        follow(told(&exchange.frame(subscribers[who], leave)), &mut held);
                        (takes[who], link[who], word[who]) = (false, false, false);
                    }
                    Step::Take(who) => {
                        follow(told(&subscribe(&mut exchange, subscribers[who], feed)), &mut held);
                        takes[who] = true;
                    }
                    Step::Wait(millis) => follow(wait(&mut exchange, Duration::from_millis(millis)), &mut held),
                }
                let holds: Vec<bool> = (0..3).filter(|&i| takes[i]).map(|i| link[i] || word[i]).collect();
                if held {
                    prop_assert!(holds.contains(&true), "nobody holds it");
                }
                if !holds.is_empty() && holds.iter().all(|&holds| holds) {
                    prop_assert!(held, "nobody can take more");
                }
                if held && holds.contains(&false) {
                    let until = exchange.hub.poll_timeout();
                    prop_assert!(until.is_some_and(|until| until.since(exchange.now.mono) <= defaults::HOLD_MAX));
                }
            }
        }
    }
}
