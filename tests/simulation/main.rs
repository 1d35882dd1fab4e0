//! The whole exchange in simulated time: real sessions, hub, routes and bytes on simulated wires, with cuts, half-open
//! connections, restarts, and byte streams that arrive in arbitrary pieces.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod world;

use std::time::Duration;

use switchboard::traffic::{Direction, MeterName, TrafficReport};
use world::{Fault, Outcome, World};

const ODOM: &str = "nav_msgs/msg/Odometry";
const TWIST: &str = "geometry_msgs/msg/Twist";

/// Three robots that publish their odometry and listen to everybody's, and an operator who drives r1. Everybody offers,
/// wants and accepts everything: the worst rules there are for loops.
fn a_fleet(seed: u64) -> World {
    let mut world = World::new(seed);
    for id in ["r1", "r2", "r3", "op"] {
        world.add_client(id);
    }
    for robot in ["r1", "r2", "r3"] {
        world.graph(robot).publish("/odom", ODOM);
        world.graph(robot).subscribe("/cmd_vel", TWIST);
        for other in ["r1", "r2", "r3"] {
            world.graph(robot).subscribe(&format!("/{other}/odom"), ODOM);
        }
        world.graph("op").subscribe(&format!("/{robot}/odom"), ODOM);
    }
    world.graph("op").publish("/r1/cmd_vel", TWIST);
    // A joystick on the robot itself, on the very topic that it accepts commands on and offers.
    world.graph("r1").publish("/cmd_vel", TWIST);
    world.graph("r2").subscribe("/r1/cmd_vel", TWIST);
    world
}

/// Publishes one message of each source and checks who got how many copies.
fn check(world: &mut World, seed: u64) {
    for robot in ["r1", "r2", "r3"] {
        world.forget_deliveries();
        world.publish(robot, "/odom", ODOM);
        world.run(Duration::from_secs(2));
        let name = format!("/{robot}/odom");
        for listener in ["r1", "r2", "r3", "op"] {
            let expected = usize::from(listener != robot);
            assert_eq!(world.delivered(listener, &name), expected, "seed {seed}: {name} at {listener}");
        }
        assert_eq!(world.deliveries(), 3, "seed {seed}: and nowhere else");
    }
    world.forget_deliveries();
    world.publish("op", "/r1/cmd_vel", TWIST);
    world.run(Duration::from_secs(2));
    assert_eq!(world.delivered("r1", "/cmd_vel"), 1, "seed {seed}: the command arrives once");
    assert_eq!(world.deliveries(), 1, "seed {seed}: a command is not offered again by its receiver");
    world.forget_deliveries();
    world.publish("r1", "/cmd_vel", TWIST);
    world.run(Duration::from_secs(2));
    // Its own subscriber hears the joystick directly, r2 through the exchange.
    assert_eq!((world.delivered("r1", "/cmd_vel"), world.delivered("r2", "/r1/cmd_vel")), (1, 1), "seed {seed}");
    assert_eq!(world.deliveries(), 2, "seed {seed}");
}

#[test]
fn everything_flows_once_and_nothing_loops_even_if_everybody_wants_everything() {
    for seed in 0..20 {
        let mut world = a_fleet(seed);
        world.run(Duration::from_secs(10));
        check(&mut world, seed);
    }
}

#[test]
fn after_any_faults_everything_flows_once_again() {
    for seed in 0..60 {
        let mut world = a_fleet(seed);
        for _ in 0..world.random(1..12) {
            let pause = Duration::from_millis(world.random(0..6_000));
            world.run(pause);
            let client = ["r1", "r2", "r3", "op"][world.random(0..4) as usize];
            let fault = match world.random(0..4) {
                0 => Fault::Cut(client),
                1 => Fault::HalfOpen(client),
                2 => Fault::RestartClient(client),
                _ => Fault::RestartServer,
            };
            world.inject(fault);
        }
        world.run(Duration::from_secs(30));
        check(&mut world, seed);
        world.check_registry(seed);
    }
}

#[test]
fn a_half_open_line_is_found_and_healed_within_the_keep_alive() {
    for seed in 0..10 {
        let mut world = a_fleet(seed);
        world.run(Duration::from_secs(10));
        world.inject(Fault::HalfOpen("r1"));
        assert!(world.is_connected("r1"));
        // 4 s of silence at either end, then at most 1.5 s of back-off until the server has found it too.
        world.run(Duration::from_millis(7_500));
        check(&mut world, seed);
    }
}

#[test]
fn when_the_commander_or_a_line_goes_the_robot_is_stopped_exactly_once() {
    for seed in 0..30 {
        let mut world = a_fleet(seed);
        world.run(Duration::from_secs(10));
        for _ in 0..4 {
            world.forget_deliveries();
            world.publish("op", "/r1/cmd_vel", TWIST);
            world.run(Duration::from_secs(1));
            assert_eq!(world.delivered("r1", "/cmd_vel"), 1, "seed {seed}");
            assert_eq!(world.take_stops(), [], "seed {seed}: everybody is there");
            let which = world.random(0..6) as usize;
            let faults = [
                Fault::Cut("r1"),
                Fault::HalfOpen("r1"),
                Fault::Cut("op"),
                Fault::HalfOpen("op"),
                Fault::RestartClient("op"),
                Fault::RestartServer,
            ];
            world.inject(faults.into_iter().nth(which).unwrap());
            world.run(Duration::from_secs(15));
            let stop = ("r1".to_owned(), "/cmd_vel".to_owned());
            assert_eq!(world.take_stops(), [stop], "seed {seed}, fault {which}");
            // A second loss before the next command is none.
            world.inject(Fault::Cut("op"));
            world.run(Duration::from_secs(15));
            assert_eq!(world.take_stops(), [], "seed {seed}: nobody commanded");
        }
    }
}

#[test]
fn the_figures_of_all_nodes_add_up_to_what_was_published() {
    for seed in 0..10 {
        let mut world = a_fleet(seed);
        world.run(Duration::from_secs(10));
        for _ in 0..50 {
            world.publish("r1", "/odom", ODOM);
            world.run(Duration::from_millis(100));
        }
        world.run(Duration::from_secs(1));
        let of = |report: &TrafficReport, client: &str, direction| {
            let is_meant = |name: &MeterName| {
                name.topic == "/r1/odom" && name.client.as_str() == client && name.direction == direction
            };
            let topic = report.topics.iter().find(|topic| is_meant(&topic.name)).unwrap();
            assert_eq!((topic.received, topic.sent, topic.dropped.total()), (50, 50, 0), "seed {seed}, {client}");
            assert_eq!(topic.bytes, 150);
            topic.latency_p50.unwrap()
        };
        let server = world.traffic_of_server();
        assert_eq!(of(&world.traffic("r1"), "r1", Direction::Out), Duration::ZERO);
        let half_way = of(&server, "r1", Direction::In);
        assert!(!half_way.is_zero());
        for client in ["r2", "r3", "op"] {
            assert_eq!(of(&server, client, Direction::Out), half_way);
            let there = of(&world.traffic(client), client, Direction::In);
            assert!(there > half_way, "seed {seed}: the way there takes time");
        }
    }
}

/// Three robots that each serve a mode and an action, slowly, and an operator who serves nothing.
fn a_serving_fleet(seed: u64) -> World {
    let mut world = World::new(seed);
    world.service_takes = 3_000;
    for id in ["r1", "r2", "r3", "op"] {
        world.add_client(id);
    }
    for robot in ["r1", "r2", "r3"] {
        world.graph(robot).serve("/set_mode", SET_BOOL);
        world.graph(robot).serve(RESULT, "nav2_msgs/action/Spin_GetResult");
    }
    world
}

const SET_BOOL: &str = "std_srvs/srv/SetBool";
const RESULT: &str = "/spin/_action/get_result";
/// Longer than every limit, with back-off and grace.
const EVERY_LIMIT: Duration = Duration::from_secs(45);

/// A random fault of a random client, or of the server.
fn a_fault(world: &mut World) -> Fault<'static> {
    let client = ["r1", "r2", "r3", "op"][world.random(0..4) as usize];
    match world.random(0..4) {
        0 => Fault::Cut(client),
        1 => Fault::HalfOpen(client),
        2 => Fault::RestartClient(client),
        _ => Fault::RestartServer,
    }
}

/// Everybody calls everybody, and everybody answers; everything of the others is served, and nothing else.
fn check_services(world: &mut World, seed: u64) {
    for caller in ["r1", "r2", "r3", "op"] {
        for owner in ["r1", "r2", "r3"] {
            for service in ["/set_mode", RESULT] {
                let call = world.call(caller, &format!("/{owner}{service}"));
                assert_eq!(call.is_some(), caller != owner, "seed {seed}: {service} of {owner} at {caller}");
                if let Some(call) = call {
                    world.run(Duration::from_secs(5));
                    assert_eq!(world.outcome(call), Outcome::Answered, "seed {seed}: {service} of {owner} at {caller}");
                }
            }
        }
        let others = if caller == "op" { 3 } else { 2 };
        assert_eq!(world.graph(caller).served().len(), 2 * others, "seed {seed}: {caller} serves more, or less");
    }
}

#[test]
fn every_call_is_answered_while_nothing_fails() {
    for seed in 0..5 {
        let mut world = a_serving_fleet(seed);
        world.run(Duration::from_secs(10));
        check_services(&mut world, seed);
    }
}

#[test]
fn every_call_ends_within_its_limit_whatever_fails_and_results_outlive_all_but_their_caller() {
    let (mut answered, mut failed) = (0, 0);
    for seed in 0..60 {
        let mut world = a_serving_fleet(seed);
        world.run(Duration::from_secs(10));
        let (mut calls, mut results) = (vec![], vec![]);
        for _ in 0..world.random(1..10) {
            for _ in 0..world.random(0..20) {
                let caller = ["r1", "r2", "r3", "op"][world.random(0..4) as usize];
                let owner = ["r1", "r2", "r3"][world.random(0..3) as usize];
                calls.extend(world.call(caller, &format!("/{owner}/set_mode")));
                results.extend(world.call(caller, &format!("/{owner}{RESULT}")));
                let pause = Duration::from_millis(world.random(0..500));
                world.run(pause);
            }
            let fault = a_fault(&mut world);
            world.inject(fault);
        }
        world.run(EVERY_LIMIT);
        for call in calls {
            match world.outcome(call) {
                Outcome::Waits => panic!("seed {seed}: call {call} hangs"),
                Outcome::Answered => answered += 1,
                Outcome::Failed => failed += 1,
                Outcome::Dead => {}
            }
        }
        for result in results {
            let outcome = world.outcome(result);
            assert!(matches!(outcome, Outcome::Answered | Outcome::Dead), "seed {seed}: result {result}: {outcome:?}");
        }
        check_services(&mut world, seed);
    }
    assert!(answered > 100 && failed > 20, "{answered} answered, {failed} failed: the faults hit nothing");
}

#[test]
fn a_service_that_stops_takes_its_calls_and_its_proxies_with_it() {
    for seed in 0..10 {
        let mut world = a_serving_fleet(seed);
        world.run(Duration::from_secs(10));
        world.service_takes = 3_600_000;
        let call = world.call("op", "/r1/set_mode").unwrap();
        world.run(Duration::from_millis(500));
        assert_eq!(world.outcome(call), Outcome::Waits);
        world.graph("r1").stop_serving("/set_mode");
        world.run(Duration::from_secs(1));
        assert_eq!(world.outcome(call), Outcome::Failed, "seed {seed}: at once, not at its limit");
        assert!(!world.graph("op").served().contains(&"/r1/set_mode"), "seed {seed}");
        world.graph("r1").serve("/set_mode", SET_BOOL);
        world.service_takes = 100;
        world.run(Duration::from_secs(1));
        check_services(&mut world, seed);
    }
}

const COUNT: u64 = 6_000;

/// A robot that publishes as fast as it may, and two who listen, one of them over a link that takes `rate` messages in 10 ms.
fn a_flood(seed: u64, with_fast: bool, rate: usize) -> World {
    let mut world = World::new(seed);
    for id in ["r1", "slow", "fast"] {
        world.add_client(id);
    }
    world.graph("r1").publish("/odom", ODOM);
    world.graph("slow").subscribe("/r1/odom", ODOM);
    if with_fast {
        world.graph("fast").subscribe("/r1/odom", ODOM);
    }
    world.run(Duration::from_secs(3));
    world.set_rate("slow", rate);
    world.flood("r1", "/odom", ODOM, COUNT);
    world
}

fn assert_whole(world: &World, id: &str, seed: u64) {
    let arrived = world.arrived(id, "/r1/odom");
    let gap = arrived.iter().zip(0..).find(|(arrived, expected)| **arrived != *expected);
    assert_eq!((arrived.len() as u64, gap), (COUNT, None), "seed {seed}: at {id}");
}

#[test]
fn a_flood_over_a_slow_link_arrives_whole_for_the_publisher_waits() {
    for seed in 0..3 {
        for with_fast in [false, true] {
            // A third of what the publisher could do: it is pushed back again and again, never for long.
            let mut world = a_flood(seed, with_fast, 30);
            world.run(Duration::from_secs(1));
            assert!(world.arrived("slow", "/r1/odom").len() < COUNT as usize / 2, "the link is slow");
            world.run(Duration::from_secs(10));
            assert_whole(&world, "slow", seed);
            if with_fast {
                assert_whole(&world, "fast", seed);
            }
            assert_eq!(world.dropped("slow"), 0, "seed {seed}");
        }
    }
}

#[test]
fn a_link_that_takes_nothing_costs_the_others_two_seconds_and_is_told_what_it_can_be_told() {
    for seed in 0..3 {
        let mut world = a_flood(seed, true, 0);
        world.run(Duration::from_secs(1));
        let early = world.arrived("fast", "/r1/odom").len();
        assert!(early > 0 && early < COUNT as usize / 2, "seed {seed}: held back at {early}");
        world.run(Duration::from_secs(4));
        assert_whole(&world, "fast", seed);
        world.set_rate("slow", 100);
        world.run(Duration::from_secs(5));
        let late = world.arrived("slow", "/r1/odom");
        assert!(late.is_sorted() && late.last() == Some(&(COUNT - 1)), "seed {seed}");
        assert_eq!(late.len() as u64 + world.dropped("slow"), COUNT, "seed {seed}: arrived or counted");
    }
}

#[test]
fn a_publisher_waits_for_its_only_listener_as_long_as_it_lives_and_not_longer() {
    for seed in 0..3 {
        let mut world = a_flood(seed, false, 0);
        world.run(Duration::from_secs(60));
        assert_eq!((world.arrived("slow", "/r1/odom").len(), world.dropped("slow")), (0, 0), "seed {seed}");
        world.set_rate("slow", 100);
        world.run(Duration::from_secs(5));
        assert_whole(&world, "slow", seed);
        world.flood("r1", "/odom", ODOM, COUNT);
        world.set_rate("slow", 0);
        world.run(Duration::from_secs(10));
        world.inject(Fault::Cut("slow"));
        world.graph("fast").subscribe("/r1/odom", ODOM);
        world.run(Duration::from_secs(10));
        assert!(world.arrived("fast", "/r1/odom").last() == Some(&(COUNT - 1)), "seed {seed}: it goes on without it");
    }
}
