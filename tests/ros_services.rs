//! Services and actions through the raw bridge, against real rcl and DDS: between two bridges, and with rclpy at the other
//! end.
#![cfg(feature = "ros")]
#![allow(clippy::unwrap_used)]

#[path = "ros_services/peer.rs"]
mod peer;
mod ros_process;
#[path = "ros_services/side.rs"]
mod side;

use std::time::{Duration, Instant};

use peer::{Peer, test_interfaces};
use ros_process::{alone, alone_with};
use side::Side;
use switchboard::{
    defaults,
    ids::{CallId, CallerId, ReaderId, ServerId, WriterId},
    model::{Durability, Qos, ServiceInfo, TopicInfo},
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
fn rclpy_is_called_and_calls() {
    alone("rclpy_is_called_and_calls", &[], || {
        let mut here = Side::start("with_rclpy", 256);
        let mut server = Peer::start("serve", &[&name_of("peer")]);
        server.next();
        for (n, (service_name, type_name, request, response)) in [
            ("peer/set", SET_BOOL, set_bool(true), outcome(true, "rclpy was told True")),
            ("peer/trigger", TRIGGER, trigger(), outcome(true, &"x".repeat(1_000_000))),
        ]
        .into_iter()
        .enumerate()
        {
            let (n, about) = (n as u64, service(service_name, type_name));
            here.until_served(&about.name);
            here.bridge.create_caller(CallerId(n), &about).unwrap();
            // At once: it is not certain that the server knows the client by now.
            here.bridge.call(CallerId(n), CallId(n), &request).unwrap();
            assert!(here.next_response() == (CallerId(n), CallId(n), response.into()), "{service_name}");
        }

        here.bridge.create_server(ServerId(1), &service("ours/set", SET_BOOL)).unwrap();
        here.bridge.create_server(ServerId(2), &service("ours/trigger", TRIGGER)).unwrap();
        let mut client = Peer::start("call", &[&name_of("ours")]);
        let (server, request, payload) = here.next_request();
        assert_eq!(server, ServerId(1));
        assert_same(&payload, &set_bool(true));
        here.bridge.respond_failure(server, request, "no").unwrap();
        assert_eq!(
            client.next(),
            serde_json::json!({"service": "set", "success": false, "message": "switchboard: no"})
        );
        let large = "y".repeat(500_000);
        let (server, request, payload) = here.next_request();
        assert_eq!(server, ServerId(2));
        assert_same(&payload, &trigger());
        here.bridge.respond(server, request, &outcome(true, &large)).unwrap();
        assert_eq!(client.next(), serde_json::json!({"service": "trigger", "success": true, "message": large}));
    });
}

#[test]
fn a_slow_server_with_the_default_depth_answers_everything_while_ten_wait() {
    alone("a_slow_server_with_the_default_depth_answers_everything_while_ten_wait", &[], || {
        let mut here = Side::start("patient", 256);
        let mut server = Peer::start("serve_slowly", &[&name_of("slow")]);
        server.next();
        let about = service("slow/set", SET_BOOL);
        here.until_served(&about.name);
        here.bridge.create_caller(CallerId(1), &about).unwrap();
        let mut answered = Vec::new();
        for call in 0..40 {
            if call >= 10 {
                answered.push(here.next_response().1);
            }
            here.bridge.call(CallerId(1), CallId(call), &set_bool(true)).unwrap();
        }
        answered.extend((0..10).map(|_| here.next_response().1));
        assert_eq!(answered, (0..40).map(CallId).collect::<Vec<_>>());
    });
}

#[test]
fn a_service_type_built_after_the_program_passes_with_everything_in_it() {
    let test = "a_service_type_built_after_the_program_passes_with_everything_in_it";
    alone_with(test, &[], test_interfaces, || {
        let type_name = "switchboard_test_interfaces/srv/Exchange";
        let mut there = Side::start("late_server", 64);
        let mut here = Side::start("late_caller", 64);
        there.bridge.create_server(ServerId(1), &service("late/there", type_name)).unwrap();
        // It calls `there` and serves `here`: a call goes through both bridges and comes back to it.
        let mut peer = Peer::start("exchange", &[&name_of("late")]);
        peer.next();
        let real = service("late/here", type_name);
        here.until_served(&real.name);
        here.bridge.create_caller(CallerId(1), &real).unwrap();
        let (server, request, payload) = there.next_request();
        here.bridge.call(CallerId(1), CallId(1), &payload).unwrap();
        let (_, _, payload) = here.next_response();
        there.bridge.respond(server, request, &payload).unwrap();
        assert_eq!(
            peer.next(),
            serde_json::json!(
                {"success": true, "count": 3, "message": "wüde 🤖!", "reason": "brief", "same": true}
            )
        );
        // The default of `success` is true, and `reason` holds 20 letters.
        let (server, request, _) = there.next_request();
        assert_eq!(there.bridge.respond_failure(server, request, "the robot is asleep"), Ok(true));
        assert_eq!(
            peer.next(),
            serde_json::json!({
                "success": false, "count": 0, "message": "switchboard: the robot is asleep",
                "reason": "switchboard: the rob", "same": false
            })
        );
    });
}

#[test]
fn an_action_is_three_services_and_two_topics_of_any_type() {
    alone_with("an_action_is_three_services_and_two_topics_of_any_type", &[], test_interfaces, || {
        const ACTION: &str = "switchboard_test_interfaces/action/Count";
        let mut robot = Side::start("action_robot", 256);
        let mut operator = Side::start("action_operator", 256);
        let mut server = Peer::start("serve_action", &[&name_of("real")]);
        server.next();
        let services = [
            ("send_goal", format!("{ACTION}_SendGoal")),
            ("cancel_goal", "action_msgs/srv/CancelGoal".to_owned()),
            ("get_result", format!("{ACTION}_GetResult")),
        ];
        for (n, (name, type_name)) in services.iter().enumerate() {
            let (real, n) = (service(&format!("real/_action/{name}"), type_name), n as u64);
            robot.until("a server whose type is known", |side| {
                side.service(&real.name).is_some_and(|s| !s.servers[0].type_hash.is_empty())
            });
            let seen = &robot.service(&real.name).unwrap().servers[0];
            assert_eq!(&seen.type_name, type_name);
            assert_eq!(seen.type_hash, installed_type_hash(type_name).unwrap());
            let real = ServiceInfo { type_hash: seen.type_hash.clone(), ..real };
            robot.bridge.create_caller(CallerId(n), &real).unwrap();
            let proxy = ServiceInfo { name: name_of(&format!("proxy/_action/{name}")), ..real };
            operator.bridge.create_server(ServerId(n), &proxy).unwrap();
        }
        let latched = Qos { durability: Durability::TransientLocal, depth: 1, ..Qos::default() };
        let topics = [
            ("feedback", format!("{ACTION}_FeedbackMessage"), Qos::default()),
            ("status", "action_msgs/msg/GoalStatusArray".to_owned(), latched),
        ];
        for (n, (name, type_name, qos)) in topics.iter().enumerate() {
            let topic = |action: &str| TopicInfo {
                name: name_of(&format!("{action}/_action/{name}")),
                type_name: type_name.clone(),
                type_hash: installed_type_hash(type_name).unwrap(),
                qos: *qos,
            };
            robot.bridge.create_reader(ReaderId(n as u64), &topic("real")).unwrap();
            operator.bridge.create_writer(WriterId(n as u64), &topic("proxy")).unwrap();
        }
        let mut client = Peer::start("act", &[&name_of("proxy")]);
        let mut told = Vec::new();
        // Calls are answered in another order than they were made: a result waits until its goal has ended.
        robot.until("what the client of the action says", |robot| {
            operator.turn();
            for (server, request, payload) in operator.requests.drain(..) {
                robot.bridge.call(CallerId(server.0), CallId(request.0), &payload).unwrap();
            }
            for (caller, call, payload) in robot.responses.drain(..) {
                operator.bridge.respond(ServerId(caller.0), RequestId(call.0), &payload).unwrap();
            }
            for sample in robot.samples.drain(..) {
                operator.bridge.publish(WriterId(sample.reader.0), &sample.payload).unwrap();
            }
            told.extend(client.try_next());
            told.len() == 3
        });
        assert_eq!(
            told,
            [
                serde_json::json!({"found": true}),
                serde_json::json!({"accepted": true, "status": 4, "counted": [0, 1, 2, 3, 4], "heard": true}),
                serde_json::json!({"canceling": 1, "status": 5}),
            ]
        );
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
        }
    });
}

#[test]
fn a_graph_of_three_hundred_services_is_read_quickly() {
    alone("a_graph_of_three_hundred_services_is_read_quickly", &[], || {
        let mut here = Side::start("crowd_watcher", 64);
        // A process of 20 nodes.
        let mut peer = Peer::start("crowd", &[&name_of("crowd"), "20", "300"]);
        peer.next();
        here.until("all of them", |side| {
            let prefix = name_of("crowd/");
            side.graph.services.iter().filter(|service| service.name.starts_with(&prefix)).count() == 300
        });
        // What one look at it takes shows in how long a change takes to be seen, which has to settle first.
        let mut slowest = Duration::ZERO;
        for n in 0..5 {
            let about = service(&format!("one_more_{n}"), TRIGGER);
            let begun = Instant::now();
            here.bridge.create_server(ServerId(n), &about).unwrap();
            here.until_served_by_own(&about.name);
            slowest = slowest.max(begun.elapsed());
        }
        println!("a change in a graph of 300 services is seen within {slowest:?}");
        assert!(slowest < Duration::from_secs(2), "{slowest:?}");
    });
}
