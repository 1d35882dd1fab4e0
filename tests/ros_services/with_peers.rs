//! With rclpy at the other end.

use std::time::{Duration, Instant};

use switchboard::{
    ids::{CallId, CallerId, ReaderId, ServerId, WriterId},
    model::{Durability, Qos, ServiceInfo, TopicInfo},
    ros::{RequestId, installed_type_hash},
};

use super::{
    SET_BOOL, TRIGGER, assert_same, name_of, outcome,
    peer::{Peer, test_interfaces},
    ros_process::{alone, alone_with},
    service, set_bool,
    side::Side,
    trigger,
};

#[test]
fn rclpy_is_called_and_calls() {
    alone("with_peers::rclpy_is_called_and_calls", &[], || {
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
    alone("with_peers::a_slow_server_with_the_default_depth_answers_everything_while_ten_wait", &[], || {
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
    let test = "with_peers::a_service_type_built_after_the_program_passes_with_everything_in_it";
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
    alone_with("with_peers::an_action_is_three_services_and_two_topics_of_any_type", &[], test_interfaces, || {
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
fn a_graph_of_three_hundred_services_is_read_quickly() {
    alone("with_peers::a_graph_of_three_hundred_services_is_read_quickly", &[], || {
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
