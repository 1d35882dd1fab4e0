//! The raw bridge against real rcl and DDS. Two bridges are two DDS participants, so each is a stranger to the other.
#![cfg(feature = "ros")]
#![allow(clippy::unwrap_used)]

mod ros_process;

use std::time::{Duration, Instant};

use ros_process::alone;
use switchboard::{
    ids::{ReaderId, WriterId},
    model::{Durability, Qos, Reliability, TopicInfo},
    ros::{Bridge, BridgeEvent, BridgeOptions, RosError, Sample, installed_type_hash},
    routes::graph::LocalGraph,
};
use tokio::sync::mpsc;

/// Generous, since the machine may be busy.
const LIMIT: Duration = Duration::from_secs(20);

struct Side {
    bridge: Bridge,
    events: mpsc::Receiver<BridgeEvent>,
    graph: LocalGraph,
    samples: Vec<Sample>,
    done: usize,
}

impl Side {
    fn start(name: &str, queue: usize) -> Side {
        let (sender, events) = mpsc::channel(queue);
        let options = BridgeOptions { node_name: name.to_owned(), namespace: "/".to_owned() };
        let bridge = Bridge::start(options, sender).unwrap();
        Side { bridge, events, graph: LocalGraph::default(), samples: Vec::new(), done: 0 }
    }

    /// Takes in what has come.
    fn turn(&mut self) {
        while let Ok(event) = self.events.try_recv() {
            match event {
                BridgeEvent::Graph(graph) => self.graph = graph,
                BridgeEvent::Sample(sample) => self.samples.push(sample),
                BridgeEvent::WriterRelieved { .. } => {}
                BridgeEvent::ReaderDone { .. } => self.done += 1,
                other => panic!("{other:?}"),
            }
        }
    }

    fn until(&mut self, what: &str, mut done: impl FnMut(&mut Side) -> bool) {
        let end = Instant::now() + LIMIT;
        loop {
            self.turn();
            if done(self) {
                return;
            }
            assert!(
                Instant::now() < end,
                "waited in vain for: {what}; reader 1: {:?}; graph: {:#?}",
                self.bridge.reader_counters(ReaderId(1)),
                self.graph
            );
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Waits until somebody else subscribes to `topic`.
    fn until_heard(&mut self, topic: &str) {
        self.until("a foreign subscription", |side| {
            side.graph.topics.iter().any(|t| t.name == topic && t.subscribers.iter().any(|s| !s.own))
        });
    }
}

fn topic(name: &str, type_name: &str, qos: Qos) -> TopicInfo {
    // The process id keeps tests of the same domain apart.
    TopicInfo {
        name: format!("/t{}/{name}", std::process::id()),
        type_name: type_name.to_owned(),
        type_hash: String::new(),
        qos,
    }
}

/// `std_msgs/msg/String` in CDR, little endian.
fn string_message(text: &str) -> Vec<u8> {
    let mut bytes = vec![0, 1, 0, 0];
    bytes.extend(u32::try_from(text.len() + 1).unwrap().to_le_bytes());
    bytes.extend(text.as_bytes());
    bytes.push(0);
    bytes
}

fn keep_all() -> Qos {
    Qos { depth: 0, ..Qos::default() }
}

#[test]
fn samples_arrive_unchanged_with_their_time() {
    alone("samples_arrive_unchanged_with_their_time", &[], || {
        let about = topic("chatter", "std_msgs/msg/String", keep_all());
        let mut sender = Side::start("unchanged_sender", 64);
        let mut receiver = Side::start("unchanged_receiver", 64);
        receiver.bridge.create_reader(ReaderId(1), &about).unwrap();
        sender.bridge.create_writer(WriterId(1), &about).unwrap();
        sender.until_heard(&about.name);
        let before = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos() as i64;
        // One that is copied and one whose buffer is handed on.
        let sent = [string_message("hello"), string_message(&"x".repeat(300_000))];
        for message in &sent {
            sender.bridge.publish(WriterId(1), message.clone()).unwrap();
        }
        receiver.until("both samples", |side| side.samples.len() == 2);
        for (sample, message) in receiver.samples.iter().zip(&sent) {
            assert_eq!(sample.reader, ReaderId(1));
            assert!(sample.payload == message.as_slice());
            assert!((sample.source_time.0 - before).abs() < 60_000_000_000, "{:?}", sample.source_time);
        }
        let counters = receiver.bridge.reader_counters(ReaderId(1)).unwrap();
        assert_eq!((counters.taken, counters.lost, counters.failed), (2, 0, 0));
    });
}

#[test]
fn a_type_that_the_program_was_not_compiled_with_passes_too() {
    alone("a_type_that_the_program_was_not_compiled_with_passes_too", &[], || {
        // stereo_msgs is not among the packages that r2r is built with.
        let type_name = "stereo_msgs/msg/DisparityImage";
        if let Err(error) = installed_type_hash(type_name) {
            panic!("the test needs stereo_msgs (part of common_interfaces): {error}");
        }
        let about = topic("disparity", type_name, keep_all());
        let mut sender = Side::start("untyped_sender", 64);
        let mut receiver = Side::start("untyped_receiver", 64);
        receiver.bridge.create_reader(ReaderId(1), &about).unwrap();
        sender.bridge.create_writer(WriterId(1), &about).unwrap();
        sender.until_heard(&about.name);
        // A whole message of nothing but zeros and empty strings and sequences has these lengths.
        let message = [&[0, 1, 0, 0][..], &[0; 400]].concat();
        sender.bridge.publish(WriterId(1), message.to_vec()).unwrap();
        receiver.until("the sample", |side| side.samples.len() == 1);
        assert!(receiver.samples[0].payload == message.as_slice());
    });
}

#[test]
fn own_publications_are_not_heard() {
    alone("own_publications_are_not_heard", &[], || {
        let about = topic("loop", "std_msgs/msg/String", keep_all());
        let mut looped = Side::start("looped", 64);
        let mut other = Side::start("looped_other", 64);
        looped.bridge.create_reader(ReaderId(1), &about).unwrap();
        looped.bridge.create_writer(WriterId(1), &about).unwrap();
        other.bridge.create_reader(ReaderId(1), &about).unwrap();
        other.bridge.create_writer(WriterId(1), &about).unwrap();
        looped.until_heard(&about.name);
        other.until_heard(&about.name);
        for n in 0..20 {
            looped.bridge.publish(WriterId(1), string_message(&format!("own {n}"))).unwrap();
        }
        other.until("what the first published", |side| side.samples.len() == 20);
        other.bridge.publish(WriterId(1), string_message("foreign")).unwrap();
        looped.until("what the other published", |side| !side.samples.is_empty());
        assert_eq!(looped.samples.len(), 1);
        assert!(looped.samples[0].payload == string_message("foreign").as_slice());
        assert_eq!(looped.bridge.reader_counters(ReaderId(1)).unwrap().taken, 1);
    });
}

#[test]
fn the_graph_tells_own_endpoints_from_others() {
    alone("the_graph_tells_own_endpoints_from_others", &[], || {
        let qos = Qos { durability: Durability::TransientLocal, depth: 3, ..Qos::default() };
        let about = topic("graph", "nav_msgs/msg/Odometry", qos);
        let mut left = Side::start("same_name", 64);
        // The name of the node must not matter.
        let mut right = Side::start("same_name", 64);
        left.bridge.create_writer(WriterId(1), &about).unwrap();
        right.bridge.create_reader(ReaderId(1), &about).unwrap();
        for (side, publisher_is_own) in [(&mut left, true), (&mut right, false)] {
            side.until("both endpoints with the names of their nodes", |side| {
                side.graph.topics.iter().any(|t| {
                    t.name == about.name
                        && t.publishers.len() == 1
                        && t.subscribers.len() == 1
                        && t.publishers.iter().chain(&t.subscribers).all(|e| e.node == "/same_name")
                })
            });
            let seen = side.graph.topics.iter().find(|t| t.name == about.name).unwrap();
            assert_eq!(seen.publishers[0].own, publisher_is_own);
            assert_eq!(seen.subscribers[0].own, !publisher_is_own);
            assert_eq!(seen.publishers[0].type_name, about.type_name);
            assert_eq!(seen.publishers[0].type_hash, installed_type_hash(&about.type_name).unwrap());
            assert_eq!(seen.publishers[0].qos.durability, Durability::TransientLocal);
            assert_eq!(seen.publishers[0].qos.reliability, Reliability::Reliable);
        }
        // An end is a change too.
        drop(right);
        left.until("the end of the other", |side| {
            side.graph
                .topics
                .iter()
                .any(|t| t.name == about.name && t.subscribers.is_empty() && t.publishers.len() == 1)
        });
    });
}

#[test]
fn a_full_queue_loses_nothing_of_a_reader_that_keeps_all() {
    alone("a_full_queue_loses_nothing_of_a_reader_that_keeps_all", &[], || {
        const COUNT: u32 = 600;
        let about = topic("pressure", "std_msgs/msg/String", Qos { depth: 1_000, ..Qos::default() });
        let mut sender = Side::start("pressure_sender", 64);
        // Samples have 2 places in this queue.
        let mut receiver = Side::start("pressure_receiver", 10);
        receiver.bridge.create_reader(ReaderId(1), &TopicInfo { qos: keep_all(), ..about.clone() }).unwrap();
        sender.bridge.create_writer(WriterId(1), &about).unwrap();
        sender.until_heard(&about.name);
        // Everything is published before anything is received.
        for n in 0..COUNT {
            sender.bridge.publish(WriterId(1), string_message(&n.to_string())).unwrap();
        }
        let mut next = 0;
        receiver.until("every sample", |side| {
            for sample in side.samples.drain(..) {
                assert!(sample.payload == string_message(&next.to_string()).as_slice(), "sample {next} is missing");
                next += 1;
            }
            next == COUNT
        });
        assert_eq!(receiver.bridge.reader_counters(ReaderId(1)).unwrap().lost, 0);
    });
}

/// Takes what has come, which has to be the numbers from `next` on.
fn take_numbers(side: &mut Side, next: &mut usize) {
    for sample in side.samples.drain(..) {
        assert!(sample.payload == string_message(&next.to_string()).as_slice(), "sample {next} is missing");
        *next += 1;
    }
}

#[test]
fn a_held_reader_takes_nothing_and_loses_nothing() {
    alone("a_held_reader_takes_nothing_and_loses_nothing", &[], || {
        // Within what a KEEP_ALL reader of Fast DDS holds: beyond that, two participants of one process, which pass samples
        // on without a network between them, lose some. Between processes it pushes back (tests/e2e/test_flow.py).
        const COUNT: usize = 4_000;
        let about = topic("held", "std_msgs/msg/String", keep_all());
        let mut sender = Side::start("held_sender", 64);
        let mut receiver = Side::start("held_receiver", 64);
        receiver.bridge.create_reader(ReaderId(1), &about).unwrap();
        sender.bridge.create_writer(WriterId(1), &about).unwrap();
        sender.until_heard(&about.name);
        receiver.bridge.hold_reader(ReaderId(1), true);
        for n in 0..COUNT {
            sender.bridge.publish(WriterId(1), string_message(&n.to_string())).unwrap();
        }
        let mut next = 0;
        receiver.turn();
        take_numbers(&mut receiver, &mut next);
        // What was on its way when the reader was told.
        assert!(next < COUNT / 10, "{next} of {COUNT} came through a held reader");
        receiver.bridge.hold_reader(ReaderId(1), false);
        receiver.until("everything", |side| {
            take_numbers(side, &mut next);
            next == COUNT
        });
        assert_eq!((receiver.bridge.reader_counters(ReaderId(1)).unwrap().lost, sender.bridge.overrun()), (0, 0));
    });
}

#[test]
fn what_a_publisher_left_behind_is_taken_before_the_reader_is_done() {
    alone("what_a_publisher_left_behind_is_taken_before_the_reader_is_done", &[], || {
        const COUNT: usize = 1_000;
        let about = topic("left", "std_msgs/msg/String", keep_all());
        let mut sender = Side::start("left_sender", 64);
        let mut receiver = Side::start("left_receiver", 64);
        receiver.bridge.create_reader(ReaderId(1), &about).unwrap();
        sender.bridge.create_writer(WriterId(1), &about).unwrap();
        sender.until_heard(&about.name);
        receiver.bridge.hold_reader(ReaderId(1), true);
        for n in 0..COUNT {
            sender.bridge.publish(WriterId(1), string_message(&n.to_string())).unwrap();
        }
        let publishers = |side: &Side| {
            let seen = side.graph.topics.iter().find(|t| t.name == about.name);
            seen.map_or(0, |topic| topic.publishers.len())
        };
        receiver.until("the publisher", |side| publishers(side) == 1);
        sender.bridge.destroy_writer(WriterId(1));
        receiver.until("its end", |side| publishers(side) == 0);
        receiver.bridge.finish_reader(ReaderId(1));
        receiver.bridge.hold_reader(ReaderId(1), false);
        let mut next = 0;
        receiver.until("the end of the reader", |side| {
            take_numbers(side, &mut next);
            side.done == 1
        });
        take_numbers(&mut receiver, &mut next);
        assert_eq!(next, COUNT);
    });
}

#[test]
fn how_many_samples_a_publisher_keeps_is_found_out() {
    alone("how_many_samples_a_publisher_keeps_is_found_out", &[], || {
        let latched = |depth| Qos { durability: Durability::TransientLocal, depth, ..Qos::default() };
        let about = topic("keeps", "std_msgs/msg/String", latched(3));
        let sender = Side::start("keeps_sender", 64);
        let mut receiver = Side::start("keeps_receiver", 64);
        sender.bridge.create_writer(WriterId(1), &about).unwrap();
        for n in 0..10 {
            sender.bridge.publish(WriterId(1), string_message(&n.to_string())).unwrap();
        }
        receiver.bridge.create_reader(ReaderId(1), &TopicInfo { qos: latched(0), ..about.clone() }).unwrap();
        receiver.until("what was published before", |side| side.samples.len() == 3);
        sender.bridge.publish(WriterId(1), string_message("new")).unwrap();
        receiver.until("something new", |side| side.samples.len() == 4);
        let keeps: Vec<u16> = receiver.samples.iter().map(|sample| sample.keep).collect();
        assert_eq!(keeps, [0, 0, 0, 3]);
        receiver.samples.clear();
        receiver.bridge.create_reader(ReaderId(2), &TopicInfo { qos: latched(7), ..about }).unwrap();
        receiver.until("as much as there is", |side| side.samples.len() == 3);
        assert!(receiver.samples.iter().all(|sample| sample.keep == 7), "a rule knows better");
    });
}

#[test]
fn a_full_queue_costs_a_reader_that_keeps_the_last_its_oldest_and_they_are_counted() {
    alone("a_full_queue_costs_a_reader_that_keeps_the_last_its_oldest_and_they_are_counted", &[], || {
        const COUNT: u32 = 200;
        let about = topic("overflow", "std_msgs/msg/String", Qos { depth: 5, ..Qos::default() });
        let mut sender = Side::start("overflow_sender", 64);
        let mut receiver = Side::start("overflow_receiver", 10);
        receiver.bridge.create_reader(ReaderId(1), &about).unwrap();
        sender.bridge.create_writer(WriterId(1), &about).unwrap();
        sender.until_heard(&about.name);
        // Only what is missing after a first sample can be counted: who joins late has lost nothing.
        sender.bridge.publish(WriterId(1), string_message("0")).unwrap();
        receiver.until("the first sample", |side| side.samples.len() == 1);
        for n in 1..COUNT {
            sender.bridge.publish(WriterId(1), string_message(&n.to_string())).unwrap();
        }
        let last = string_message(&(COUNT - 1).to_string());
        let mut received = 0;
        receiver.until("the newest sample", |side| {
            let samples: Vec<_> = side.samples.drain(..).collect();
            received += samples.len() as u64;
            samples.iter().any(|sample| sample.payload == last.as_slice())
        });
        let counters = receiver.bridge.reader_counters(ReaderId(1)).unwrap();
        assert!(counters.lost > 0, "{counters:?}");
        assert_eq!(counters.taken, received);
        assert_eq!(counters.taken + counters.lost, u64::from(COUNT), "{counters:?}");
    });
}

#[test]
fn late_joiners_get_what_is_transient_local() {
    alone("late_joiners_get_what_is_transient_local", &[], || {
        let qos = Qos { durability: Durability::TransientLocal, depth: 1, ..Qos::default() };
        let about = topic("latched", "std_msgs/msg/String", qos);
        let sender = Side::start("latched_sender", 64);
        sender.bridge.create_writer(WriterId(1), &about).unwrap();
        sender.bridge.publish(WriterId(1), string_message("map")).unwrap();
        let mut receiver = Side::start("latched_receiver", 64);
        receiver.bridge.create_reader(ReaderId(1), &about).unwrap();
        receiver.until("the last value", |side| side.samples.len() == 1);
        assert!(receiver.samples[0].payload == string_message("map").as_slice());
    });
}

#[test]
fn what_cannot_be_is_refused_with_words() {
    alone("what_cannot_be_is_refused_with_words", &[], || {
        let side = Side::start("refusing", 64);
        let unknown = topic("unknown", "no_such_msgs/msg/Thing", Qos::default());
        for error in [
            side.bridge.create_reader(ReaderId(1), &unknown).unwrap_err(),
            side.bridge.create_writer(WriterId(1), &unknown).unwrap_err(),
        ] {
            assert!(matches!(&error, RosError::UnknownType { package, .. } if package == "no_such_msgs"), "{error}");
            assert!(error.to_string().contains("install the ROS package no_such_msgs"), "{error}");
        }
        let known = topic("known", "std_msgs/msg/String", Qos::default());
        let badly_named = TopicInfo { name: "/not a/name!".to_owned(), ..known.clone() };
        let error = side.bridge.create_reader(ReaderId(1), &badly_named).unwrap_err().to_string();
        assert!(error.contains("/not a/name!"), "{error}");
        side.bridge.create_reader(ReaderId(1), &known).unwrap();
        assert_eq!(side.bridge.create_reader(ReaderId(1), &known), Err(RosError::DuplicateReader(ReaderId(1))));
        assert_eq!(side.bridge.publish(WriterId(9), string_message("x")), Err(RosError::UnknownWriter(WriterId(9))));
        side.bridge.create_writer(WriterId(1), &known).unwrap();
        assert!(matches!(
            side.bridge.publish(WriterId(1), vec![1, 2, 3]),
            Err(RosError::PayloadTooShort { length: 3, .. })
        ));
        side.bridge.publish(WriterId(1), string_message("still works")).unwrap();
        let error = Bridge::start(
            BridgeOptions { node_name: "not a name".to_owned(), namespace: "/".to_owned() },
            mpsc::channel(8).0,
        )
        .err()
        .unwrap();
        assert!(error.to_string().contains("not a name"), "{error}");
    });
}

#[test]
fn one_type_per_topic_and_payload_garbage_do_no_harm() {
    alone("one_type_per_topic_and_payload_garbage_do_no_harm", &[], || {
        let about = topic("garbage", "nav_msgs/msg/Odometry", keep_all());
        let mut sender = Side::start("garbage_sender", 64);
        let mut receiver = Side::start("garbage_receiver", 64);
        receiver.bridge.create_reader(ReaderId(1), &about).unwrap();
        sender.bridge.create_writer(WriterId(1), &about).unwrap();
        sender.until_heard(&about.name);
        // Never decoded, so passed on or refused by the middleware, but without harm.
        for length in [4, 5, 64, 10_000] {
            let _ = sender.bridge.publish(WriterId(1), vec![0xff; length]);
        }
        let message = [&[0, 1, 0, 0][..], &[0; 712]].concat();
        sender.bridge.publish(WriterId(1), message.to_vec()).unwrap();
        receiver.until("the good one", |side| side.samples.iter().any(|sample| sample.payload == message.as_slice()));
    });
}

#[test]
fn readers_come_and_go_while_samples_flow() {
    alone("readers_come_and_go_while_samples_flow", &[], || {
        let about = topic("churn", "std_msgs/msg/String", keep_all());
        let mut sender = Side::start("churn_sender", 64);
        let mut receiver = Side::start("churn_receiver", 64);
        sender.bridge.create_writer(WriterId(1), &about).unwrap();
        for round in 1..=20 {
            receiver.bridge.create_reader(ReaderId(round), &about).unwrap();
            let end = Instant::now() + LIMIT;
            loop {
                sender.turn();
                sender.bridge.publish(WriterId(1), string_message("x")).unwrap();
                receiver.turn();
                if receiver.samples.drain(..).any(|sample| sample.reader == ReaderId(round)) {
                    break;
                }
                assert!(Instant::now() < end, "reader {round} hears nothing");
                std::thread::sleep(Duration::from_millis(2));
            }
            receiver.bridge.destroy_reader(ReaderId(round));
            assert_eq!(receiver.bridge.reader_counters(ReaderId(round)), None);
        }
    });
}

#[test]
fn dropping_ends_the_threads_even_when_nobody_listens_and_samples_outlive_it() {
    alone("dropping_ends_the_threads_even_when_nobody_listens_and_samples_outlive_it", &[], || {
        let about = topic("drop", "std_msgs/msg/Empty", keep_all());
        let message = [0, 1, 0, 0, 0];
        let Side { bridge: sender, events: sender_events, .. } = Side::start("drop_sender", 64);
        sender.create_writer(WriterId(1), &about).unwrap();
        // Room for one sample.
        let Side { bridge: receiver, events: mut receiver_events, .. } = Side::start("drop_receiver", 9);
        receiver.create_reader(ReaderId(1), &about).unwrap();
        let end = Instant::now() + LIMIT;
        let sample = loop {
            sender.publish(WriterId(1), message.to_vec()).unwrap();
            match receiver_events.try_recv() {
                Ok(BridgeEvent::Sample(sample)) => break sample,
                _ => std::thread::sleep(Duration::from_millis(2)),
            }
            assert!(Instant::now() < end, "no sample came");
        };
        // Its place in the queue is not given back, so the receiver waits for room from here on.
        for _ in 0..50 {
            sender.publish(WriterId(1), message.to_vec()).unwrap();
        }
        for (bridge, events) in [(receiver, receiver_events), (sender, sender_events)] {
            let begun = Instant::now();
            drop(bridge);
            assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
            // The threads held the other ends.
            assert_eq!(events.sender_strong_count(), 0);
        }
        assert!(sample.payload == message.as_slice());
    });
}

#[test]
fn a_stop_message_arrives_although_its_writer_ends_soon() {
    alone("a_stop_message_arrives_although_its_writer_ends_soon", &[], || {
        let (mut robot, bridge) = (Side::start("robot", 64), Side::start("bridge", 64));
        let stamped = topic("stop", "geometry_msgs/msg/TwistStamped", Qos::default());
        let writer = WriterId(1);
        bridge.bridge.create_writer(writer, &stamped).unwrap();
        assert_eq!(bridge.bridge.topic_of(writer).as_deref(), Some(stamped.name.as_str()));
        robot.bridge.create_reader(ReaderId(1), &stamped).unwrap();
        let mut bridge = bridge;
        bridge.until_heard(&stamped.name);
        let now = switchboard::time::Wall(1_700_000_000_000_000_005);
        bridge.bridge.publish_default(writer, now).unwrap();
        assert!(bridge.bridge.wait_until_acknowledged(writer, LIMIT));
        bridge.bridge.destroy_writer(writer);
        robot.until("the stop message", |side| !side.samples.is_empty());
        let payload = &robot.samples[0].payload;
        // Header, stamp, an empty frame id, and six zeros.
        assert_eq!(payload[4..8], 1_700_000_000_i32.to_le_bytes());
        assert_eq!(payload[8..12], 5_u32.to_le_bytes());
        assert!(payload[payload.len() - 48..].iter().all(|byte| *byte == 0));
        let unknown = bridge.bridge.publish_default(writer, now).unwrap_err();
        assert_eq!(unknown, RosError::UnknownWriter(writer));
        assert!(!bridge.bridge.wait_until_acknowledged(writer, LIMIT));
    });
}
