//! The whole exchange in simulated time: real sessions, hub, routes and bytes on simulated wires, with cuts, half-open
//! connections, restarts, and byte streams that arrive in arbitrary pieces.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod world;

use std::time::Duration;

use world::{Fault, World};

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
