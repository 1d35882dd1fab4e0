//! Services and actions through the raw bridge, against real rcl and DDS: between two bridges, and with rclpy at the other
//! end.
#![cfg(feature = "ros")]
#![allow(clippy::unwrap_used)]

#[path = "ros_services/peer.rs"]
mod peer;
mod ros_process;
#[path = "ros_services/side.rs"]
mod side;
#[path = "ros_services/with_peers.rs"]
mod with_peers;

use std::time::{Duration, Instant};

use ros_process::alone;
use side::Side;
use switchboard::{
    defaults,
    ids::{CallId, CallerId, ReaderId, ServerId, WriterId},
    model::{Qos, ServiceInfo, TopicInfo},
    ros::{CallCounters, RequestId, RosError, installed_type_hash},
    routes::graph::LocalGraph,
};

const SET_BOOL: &str = "std_srvs/srv/SetBool";
const TRIGGER: &str = "std_srvs/srv/Trigger";

fn name_of(name: &str) -> String {
    // The process id keeps tests of the same domain apart.
    format!("/t{}/{name}", std::process::id())
}

fn service(name: &str, type_name: &str) -> ServiceInfo {
    ServiceInfo { name: name_of(name), type_name: type_name.to_owned(), type_hash: String::new() }
}

/// `std_srvs/srv/SetBool_Request` in CDR, little endian.
fn set_bool(data: bool) -> Vec<u8> {
    vec![0, 1, 0, 0, u8::from(data)]
}

/// `std_srvs/srv/Trigger_Request`, whose only byte stands for nothing.
fn trigger() -> Vec<u8> {
    vec![0, 1, 0, 0, 0]
}

/// The response of either.
fn outcome(success: bool, message: &str) -> Vec<u8> {
    let mut bytes = vec![0, 1, 0, 0, u8::from(success), 0, 0, 0];
    bytes.extend(u32::try_from(message.len() + 1).unwrap().to_le_bytes());
    bytes.extend(message.as_bytes());
    bytes.push(0);
    bytes
}

/// Fast CDR fills messages of types with a largest size up with zeros.
fn assert_same(payload: &[u8], expected: &[u8]) {
    let filled = [expected, &[0; 3][..]].concat();
    assert!(filled.starts_with(payload) && payload.len() >= expected.len(), "{payload:?} is not {expected:?}");
}

/// A bridge that serves as server 1, and another that calls as caller 1 and knows it.
fn pair(name: &str, about: &ServiceInfo) -> (Side, Side) {
    let there = Side::start(&format!("{name}_server"), 256);
    let mut here = Side::start(&format!("{name}_caller"), 256);
    there.bridge.create_server(ServerId(1), about).unwrap();
    here.until_served(&about.name);
    here.bridge.create_caller(CallerId(1), about).unwrap();
    (there, here)
}

#[test]
fn a_call_goes_there_and_its_answer_comes_back() {
    alone("a_call_goes_there_and_its_answer_comes_back", &[], || {
        let about = service("set", SET_BOOL);
        let (mut there, mut here) = pair("plain", &about);
        let large = "x".repeat(3_000_000);
        for (n, words) in ["done", "", &large].into_iter().enumerate() {
            let call = CallId(n as u64 + 7);
            here.bridge.call(CallerId(1), call, &set_bool(true)).unwrap();
            let (server, request, payload) = there.next_request();
            assert_eq!(server, ServerId(1));
            assert_same(&payload, &set_bool(true));
            there.bridge.respond(server, request, &outcome(true, words)).unwrap();
            let (caller, answered, payload) = here.next_response();
            assert_eq!((caller, answered), (CallerId(1), call));
            assert!(payload == outcome(true, words));
            // It has its answer.
            let again = there.bridge.respond(server, request, &outcome(true, words)).unwrap_err();
            assert!(matches!(again, RosError::UnknownRequest { .. }), "{again}");
            assert!(again.to_string().contains(&about.name), "{again}");
        }
        assert_eq!(here.bridge.call_counters(), CallCounters::default());
    });
}

#[test]
fn the_graph_shows_services_with_their_servers() {
    alone("the_graph_shows_services_with_their_servers", &[], || {
        let about = service("shown", SET_BOOL);
        let (mut there, mut here) = pair("shown", &about);
        there.until_served_by_own(&about.name);
        for (side, own) in [(&mut there, true), (&mut here, false)] {
            side.until("the name of the server's node, and its type", |side| {
                side.service(&about.name)
                    .is_some_and(|s| s.servers[0].node == "/shown_server" && !s.servers[0].type_hash.is_empty())
            });
            let seen = side.service(&about.name).unwrap();
            assert_eq!(seen.servers.len(), 1);
            assert_eq!(seen.servers[0].own, own);
            assert_eq!(seen.servers[0].type_name, SET_BOOL);
            // That of the service, although DDS carries those of the request and the response.
            assert_eq!(seen.servers[0].type_hash, installed_type_hash(SET_BOOL).unwrap());
            let names: Vec<_> = side.graph.services.iter().map(|s| s.name.clone()).collect();
            assert!(names.is_sorted());
            let hidden = |graph: &LocalGraph| graph.topics.iter().any(|t| t.name.contains("shownRe"));
            assert!(!hidden(&side.graph), "what is below a service is no topic");
        }
        // Two servers of one name are two.
        let second = Side::start("shown_second", 256);
        second.bridge.create_server(ServerId(1), &about).unwrap();
        here.until("the second server", |side| side.service(&about.name).is_some_and(|s| s.servers.len() == 2));
        let servers = &here.service(&about.name).unwrap().servers;
        assert!(servers[0].gid < servers[1].gid);
        second.bridge.destroy_server(ServerId(1));
        there.bridge.destroy_server(ServerId(1));
        here.until("their end", |side| side.service(&about.name).is_none());
    });
}

#[test]
fn wrong_bytes_are_refused_and_the_request_stays_open() {
    alone("wrong_bytes_are_refused_and_the_request_stays_open", &[], || {
        let about = service("wrong", SET_BOOL);
        let (mut there, mut here) = pair("wrong", &about);
        for wrong in [&[][..], &[1, 2], &[0, 1, 0, 0]] {
            let error = here.bridge.call(CallerId(1), CallId(1), wrong).unwrap_err();
            assert!(matches!(&error, RosError::NotAMessage { length, .. } if *length == wrong.len()), "{error}");
            assert!(error.to_string().contains("std_srvs/srv/SetBool_Request"), "{error}");
        }
        here.bridge.call(CallerId(1), CallId(2), &set_bool(false)).unwrap();
        let (server, request, _) = there.next_request();
        for wrong in [&[][..], &[0, 1, 0, 0, 1], &[0, 1, 0, 0, 1, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0, 0]] {
            let error = there.bridge.respond(server, request, wrong).unwrap_err();
            assert!(matches!(error, RosError::NotAMessage { .. }), "{error}");
        }
        assert_eq!(there.bridge.respond_failure(server, request, "the answer was broken"), Ok(true));
        let (_, call, payload) = here.next_response();
        assert_eq!(call, CallId(2), "the wrong calls were not sent");
        assert_eq!(payload, outcome(false, "switchboard: the answer was broken"));
    });
}

#[test]
fn a_server_that_goes_away_makes_calls_fail_at_once() {
    alone("a_server_that_goes_away_makes_calls_fail_at_once", &[], || {
        let about = service("leaving", TRIGGER);
        let (mut there, mut here) = pair("leaving", &about);
        here.bridge.call(CallerId(1), CallId(1), &trigger()).unwrap();
        there.next_request();
        there.bridge.destroy_server(ServerId(1));
        let told = outcome(false, "switchboard: the service is not there any more");
        assert_eq!(here.next_response(), (CallerId(1), CallId(1), told.into()), "whoever waits is not left alone");
        here.until("the end of the server", |side| side.service(&about.name).is_none());
        // A new client waits for at most 100 ms, all of its calls together.
        here.until("the youth of the client to be over", |side| {
            let begun = Instant::now();
            let error = side.bridge.call(CallerId(1), CallId(2), &trigger()).unwrap_err();
            assert_eq!(error, RosError::NoServer(about.name.clone()));
            begun.elapsed() < Duration::from_millis(20)
        });
        let begun = Instant::now();
        here.bridge.create_caller(CallerId(2), &service("never_there", TRIGGER)).unwrap();
        let error = here.bridge.call(CallerId(2), CallId(2), &trigger()).unwrap_err();
        assert!(matches!(error, RosError::NoServer(_)), "{error}");
        assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
        // It comes back, and is called by the same client.
        there.bridge.create_server(ServerId(2), &about).unwrap();
        here.until("the new server", |side| side.bridge.call(CallerId(1), CallId(3), &trigger()).is_ok());
        let (server, request, _) = there.next_request();
        there.bridge.respond(server, request, &outcome(true, "back")).unwrap();
        assert_eq!(here.next_response(), (CallerId(1), CallId(3), outcome(true, "back").into()));
    });
}

#[test]
fn a_hundred_calls_at_a_time_get_each_its_own_answer_in_any_order() {
    alone("a_hundred_calls_at_a_time_get_each_its_own_answer_in_any_order", &[], || {
        let about = service("crowd", SET_BOOL);
        let (mut there, mut here) = pair("crowd", &about);
        for call in 0..100 {
            here.bridge.call(CallerId(1), CallId(call), &set_bool(call % 2 == 0)).unwrap();
        }
        let mut requests: Vec<_> = (0..100).map(|_| there.next_request()).collect();
        // Requests of one client come in order, so the n-th is call n.
        let mut numbered: Vec<(usize, RequestId)> =
            requests.drain(..).enumerate().map(|(n, (_, request, _))| (n, request)).collect();
        numbered.reverse();
        numbered.swap(3, 60);
        for (n, request) in &numbered {
            there.bridge.respond(ServerId(1), *request, &outcome(true, &format!("answer {n}"))).unwrap();
        }
        let mut answered = Vec::new();
        for _ in 0..100 {
            let (_, call, payload) = here.next_response();
            assert_eq!(payload, outcome(true, &format!("answer {call}")));
            answered.push(call);
        }
        let order: Vec<_> = numbered.iter().map(|(n, _)| CallId(*n as u64)).collect();
        assert_eq!(answered, order);
    });
}

#[test]
fn the_late_answer_to_a_forgotten_call_is_dropped() {
    alone("the_late_answer_to_a_forgotten_call_is_dropped", &[], || {
        let about = service("forgotten", TRIGGER);
        let (mut there, mut here) = pair("forgotten", &about);
        for call in 1..=2 {
            here.bridge.call(CallerId(1), CallId(call), &trigger()).unwrap();
        }
        here.bridge.forget_call(CallerId(1), CallId(1));
        // Neither is known.
        here.bridge.forget_call(CallerId(1), CallId(99));
        here.bridge.forget_call(CallerId(9), CallId(1));
        for words in ["late", "wanted"] {
            let (server, request, _) = there.next_request();
            there.bridge.respond(server, request, &outcome(true, words)).unwrap();
        }
        assert_eq!(here.next_response(), (CallerId(1), CallId(2), outcome(true, "wanted").into()));
        assert_eq!(here.bridge.call_counters(), CallCounters { unwanted: 1, ..CallCounters::default() });
    });
}

#[test]
fn failure_is_told_in_the_words_of_the_type() {
    alone("failure_is_told_in_the_words_of_the_type", &[], || {
        let words = "switchboard: r2 is gone";
        let rejected = [&[0, 1, 0, 0, 1, 0, 0, 0][..], &[0; 4]].concat();
        let empty = vec![0, 1, 0, 0, 0];
        let cases = [
            (SET_BOOL, set_bool(true), outcome(false, words), true),
            (TRIGGER, trigger(), outcome(false, words), true),
            ("action_msgs/srv/CancelGoal", [&[0, 1, 0, 0][..], &[0; 24]].concat(), rejected, true),
            ("std_srvs/srv/Empty", empty.clone(), empty, false),
        ];
        let mut there = Side::start("failing_server", 256);
        let mut here = Side::start("failing_caller", 256);
        for (n, (type_name, request, response, tells)) in cases.into_iter().enumerate() {
            let (n, about) = (n as u64, service(&format!("failing_{n}"), type_name));
            there.bridge.create_server(ServerId(n), &about).unwrap();
            here.until_served(&about.name);
            here.bridge.create_caller(CallerId(n), &about).unwrap();
            here.bridge.call(CallerId(n), CallId(n), &request).unwrap();
            let (server, asked, payload) = there.next_request();
            assert_same(&payload, &request);
            assert_eq!(there.bridge.respond_failure(server, asked, "r2 is gone"), Ok(tells), "{type_name}");
            let (caller, call, payload) = here.next_response();
            assert_eq!((caller, call), (CallerId(n), CallId(n)));
            assert_same(&payload, &response);
        }
    });
}

#[test]
fn what_waits_is_bounded_in_both_directions() {
    alone("what_waits_is_bounded_in_both_directions", &[], || {
        let about = service("bounded", SET_BOOL);
        let (mut there, mut here) = pair("bounded", &about);
        // A second bridge that calls the same server, so that its table is full before those of the callers.
        let mut other = Side::start("bounded_other", 256);
        other.until_served(&about.name);
        other.bridge.create_caller(CallerId(1), &about).unwrap();
        let most = defaults::CALLS_PENDING_MAX as u64;
        for call in 0..most {
            here.bridge.call(CallerId(1), CallId(call), &set_bool(true)).unwrap();
            // Taken in between: what is tested is the table, not the queue.
            there.turn();
        }
        let error = here.bridge.call(CallerId(1), CallId(most), &set_bool(true)).unwrap_err();
        assert!(matches!(error, RosError::CallsFull { .. }), "{error}");
        assert!(error.to_string().contains("1024") && error.to_string().contains(&about.name), "{error}");
        there.until("all requests", |side| side.requests.len() == most as usize);

        other.bridge.call(CallerId(1), CallId(5), &set_bool(true)).unwrap();
        let (_, call, payload) = other.next_response();
        assert_eq!(call, CallId(5));
        assert_eq!(payload, outcome(false, "switchboard: 1024 requests wait for their answers already"));
        assert_eq!(there.bridge.call_counters().refused, 1);

        // An answer makes room on both sides, as does a call that is forgotten.
        let (server, request, _) = there.next_request();
        there.bridge.respond(server, request, &outcome(true, "")).unwrap();
        here.next_response();
        here.bridge.call(CallerId(1), CallId(most), &set_bool(true)).unwrap();
        here.bridge.forget_call(CallerId(1), CallId(most - 1));
        here.bridge.call(CallerId(1), CallId(most + 1), &set_bool(true)).unwrap();
        // And so does the end of a caller.
        assert!(here.bridge.call(CallerId(1), CallId(most + 2), &set_bool(true)).is_err());
        here.bridge.destroy_caller(CallerId(1));
        here.bridge.create_caller(CallerId(2), &about).unwrap();
        here.until("room for calls", |side| side.bridge.call(CallerId(2), CallId(1), &set_bool(true)).is_ok());
    });
}

#[test]
fn a_full_queue_loses_neither_requests_nor_responses() {
    alone("a_full_queue_loses_neither_requests_nor_responses", &[], || {
        const COUNT: u64 = 300;
        let about = service("pressed", SET_BOOL);
        // Room for four events.
        let mut there = Side::start("pressed_server", 4);
        let mut here = Side::start("pressed_caller", 4);
        there.bridge.create_server(ServerId(1), &about).unwrap();
        here.until_served(&about.name);
        here.bridge.create_caller(CallerId(1), &about).unwrap();
        // Everything is asked before anything is taken, and answered before any answer is.
        for call in 0..COUNT {
            here.bridge.call(CallerId(1), CallId(call), &set_bool(true)).unwrap();
        }
        for call in 0..COUNT {
            let (server, request, _) = there.next_request();
            there.bridge.respond(server, request, &outcome(true, &call.to_string())).unwrap();
        }
        for call in 0..COUNT {
            assert_eq!(here.next_response(), (CallerId(1), CallId(call), outcome(true, &call.to_string()).into()));
        }
    });
}

#[test]
fn a_flood_of_samples_does_not_hold_calls_up() {
    alone("a_flood_of_samples_does_not_hold_calls_up", &[], || {
        let about = service("beside", TRIGGER);
        let flood = TopicInfo {
            name: name_of("flood"),
            type_name: "std_msgs/msg/Empty".to_owned(),
            type_hash: String::new(),
            qos: Qos { depth: 0, ..Qos::default() },
        };
        let mut other = Side::start("beside_other", 64);
        // Room for two samples.
        let mut flooded = Side::start("beside_flooded", 10);
        flooded.bridge.create_reader(ReaderId(1), &flood).unwrap();
        flooded.bridge.create_server(ServerId(1), &about).unwrap();
        other.bridge.create_writer(WriterId(1), &flood).unwrap();
        other.until_served(&about.name);
        other.bridge.create_caller(CallerId(1), &about).unwrap();
        // Samples that are kept keep their room.
        flooded.until("as many samples as there is room for", |side| {
            other.bridge.publish(WriterId(1), vec![0, 1, 0, 0, 0]).unwrap();
            side.samples.len() == 2
        });
        for _ in 0..50 {
            other.bridge.publish(WriterId(1), vec![0, 1, 0, 0, 0]).unwrap();
        }
        for call in 0..10 {
            other.bridge.call(CallerId(1), CallId(call), &trigger()).unwrap();
            let (server, request, _) = flooded.next_request();
            flooded.bridge.respond(server, request, &outcome(true, "")).unwrap();
            assert_eq!(other.next_response().1, CallId(call));
        }
        assert_eq!(flooded.samples.len(), 2);
        // They were waiting all the time.
        flooded.samples.clear();
        flooded.until("the other samples", |side| !side.samples.is_empty());
    });
}

#[test]
fn dropping_ends_the_threads_with_calls_and_requests_open() {
    alone("dropping_ends_the_threads_with_calls_and_requests_open", &[], || {
        let about = service("dropped", SET_BOOL);
        // Room for one event, which the graph may take.
        let there = Side::start("dropped_server", 1);
        let mut here = Side::start("dropped_caller", 256);
        there.bridge.create_server(ServerId(1), &about).unwrap();
        here.until_served(&about.name);
        here.bridge.create_caller(CallerId(1), &about).unwrap();
        for call in 0..50 {
            here.bridge.call(CallerId(1), CallId(call), &set_bool(true)).unwrap();
        }
        for side in [there, here] {
            let Side { bridge, events, .. } = side;
            let begun = Instant::now();
            drop(bridge);
            assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
            assert_eq!(events.sender_strong_count(), 0, "the threads hold the other ends");
        }
    });
}

#[test]
fn calls_from_several_threads_get_each_its_own_answer() {
    alone("calls_from_several_threads_get_each_its_own_answer", &[], || {
        let about = service("threads", SET_BOOL);
        let (mut there, mut here) = pair("threads", &about);
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let bridge = &here.bridge;
                scope.spawn(move || {
                    for n in 0..50 {
                        bridge
                            .call(CallerId(1), CallId(2 * (thread * 50 + n) + thread % 2), &set_bool(thread % 2 == 1))
                            .unwrap();
                    }
                });
            }
        });
        for _ in 0..200 {
            let (server, request, payload) = there.next_request();
            there.bridge.respond(server, request, &outcome(payload[4] == 1, "")).unwrap();
        }
        for _ in 0..200 {
            let (_, call, payload) = here.next_response();
            assert_eq!(payload, outcome(call.0 % 2 == 1, ""), "call {call}");
        }
    });
}

#[test]
fn a_call_of_ours_does_not_reach_our_own_server_of_the_same_name() {
    alone("a_call_of_ours_does_not_reach_our_own_server_of_the_same_name", &[], || {
        let about = service("looped", TRIGGER);
        let (mut real, mut looped) = pair("looped", &about);
        looped.bridge.create_server(ServerId(1), &about).unwrap();
        looped.until_served_by_own(&about.name);
        for call in 0..20 {
            looped.bridge.call(CallerId(1), CallId(call), &trigger()).unwrap();
            let (server, request, _) = real.next_request();
            real.bridge.respond(server, request, &outcome(true, "real")).unwrap();
            assert_eq!(looped.next_response(), (CallerId(1), CallId(call), outcome(true, "real").into()));
        }
        assert!(looped.requests.is_empty(), "{:?}", looped.requests);
    });
}

#[test]
fn what_cannot_be_is_refused_with_words() {
    alone("what_cannot_be_is_refused_with_words", &[], || {
        let side = Side::start("refusing", 64);
        let unknown = service("unknown", "no_such_srvs/srv/Thing");
        for error in [
            side.bridge.create_server(ServerId(1), &unknown).unwrap_err(),
            side.bridge.create_caller(CallerId(1), &unknown).unwrap_err(),
        ] {
            assert!(matches!(&error, RosError::UnknownType { package, .. } if package == "no_such_srvs"), "{error}");
        }
        let known = service("known", SET_BOOL);
        let badly_named = ServiceInfo { name: "/not a/name!".to_owned(), ..known.clone() };
        assert!(side.bridge.create_server(ServerId(1), &badly_named).unwrap_err().to_string().contains("/not a/name!"));
        side.bridge.create_server(ServerId(1), &known).unwrap();
        assert_eq!(side.bridge.create_server(ServerId(1), &known), Err(RosError::DuplicateServer(ServerId(1))));
        side.bridge.create_caller(CallerId(1), &known).unwrap();
        assert_eq!(side.bridge.create_caller(CallerId(1), &known), Err(RosError::DuplicateCaller(CallerId(1))));
        assert_eq!(
            side.bridge.call(CallerId(9), CallId(1), &set_bool(true)),
            Err(RosError::UnknownCaller(CallerId(9)))
        );
        assert_eq!(
            side.bridge.respond(ServerId(9), RequestId(1), &outcome(true, "")),
            Err(RosError::UnknownServer(ServerId(9)))
        );
        let error = side.bridge.respond_failure(ServerId(1), RequestId(77), "x").unwrap_err();
        assert!(matches!(error, RosError::UnknownRequest { .. }), "{error}");
        // None of them is known, which does no harm.
        side.bridge.destroy_server(ServerId(9));
        side.bridge.destroy_caller(CallerId(9));
    });
}

#[test]
fn another_type_of_the_same_name_is_refused_with_both_hashes() {
    alone("another_type_of_the_same_name_is_refused_with_both_hashes", &[], || {
        let side = Side::start("agreeing", 64);
        let theirs = "RIHS01_beef";
        let about = ServiceInfo { type_hash: theirs.to_owned(), ..service("other", SET_BOOL) };
        let topic = TopicInfo {
            name: name_of("other_topic"),
            type_name: "std_msgs/msg/String".to_owned(),
            type_hash: theirs.to_owned(),
            qos: Qos::default(),
        };
        for (type_name, error) in [
            (SET_BOOL, side.bridge.create_server(ServerId(1), &about).unwrap_err()),
            (SET_BOOL, side.bridge.create_caller(CallerId(1), &about).unwrap_err()),
            ("std_msgs/msg/String", side.bridge.create_reader(ReaderId(1), &topic).unwrap_err()),
            ("std_msgs/msg/String", side.bridge.create_writer(WriterId(1), &topic).unwrap_err()),
        ] {
            let ours = installed_type_hash(type_name).unwrap();
            let expected = RosError::TypeMismatch {
                type_name: type_name.to_owned(),
                theirs: theirs.to_owned(),
                ours: ours.clone(),
            };
            assert_eq!(error, expected);
            let words = error.to_string();
            assert!(words.contains(theirs) && words.contains(&ours) && words.contains("install"), "{words}");
        }
        let right = ServiceInfo { type_hash: installed_type_hash(SET_BOOL).unwrap(), ..about };
        side.bridge.create_server(ServerId(1), &right).unwrap();
    });
}

#[test]
fn endpoints_come_and_go_while_calls_flow() {
    alone("endpoints_come_and_go_while_calls_flow", &[], || {
        let about = service("churn", TRIGGER);
        let mut there = Side::start("churn_server", 64);
        let mut here = Side::start("churn_caller", 64);
        for round in 1..=20 {
            there.bridge.create_server(ServerId(round), &about).unwrap();
            here.until_served(&about.name);
            here.bridge.create_caller(CallerId(round), &about).unwrap();
            here.until("a server", |side| side.bridge.call(CallerId(round), CallId(round), &trigger()).is_ok());
            let (server, request, _) = there.next_request();
            assert_eq!(server, ServerId(round));
            there.bridge.respond(server, request, &outcome(true, "x")).unwrap();
            // A caller that is gone may still hear that its server has gone, too.
            let mut answers = std::iter::repeat_with(|| here.next_response());
            let answer = answers.find(|(caller, ..)| *caller == CallerId(round)).unwrap();
            assert_eq!(answer, (CallerId(round), CallId(round), outcome(true, "x").into()));
            // One with a pending call, one with a pending request.
            here.bridge.call(CallerId(round), CallId(0), &trigger()).unwrap();
            there.next_request();
            here.bridge.destroy_caller(CallerId(round));
            there.bridge.destroy_server(ServerId(round));
            // The next call must not reach the server that has just gone.
            here.until("the end of the server", |side| side.graph.services.iter().all(|it| it.name != about.name));
        }
    });
}
