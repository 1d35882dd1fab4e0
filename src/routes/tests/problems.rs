//! What is in the way of routes is told while it holds, and in words that help.

use std::time::Duration;

use super::*;
use crate::{defaults, wire::Problems};

fn at(seconds: u64) -> Mono {
    Mono(Duration::from_secs(seconds))
}

fn problems(commands: &[RouteCommand]) -> Vec<Vec<String>> {
    let told = commands.iter().filter_map(|command| match command {
        RouteCommand::Send(Frame::Problems(Problems { problems })) => Some(problems.clone()),
        _ => None,
    });
    told.collect()
}

fn warnings(commands: &[RouteCommand]) -> Vec<&str> {
    let told = commands.iter().filter_map(|command| match command {
        RouteCommand::Warn(warning) => Some(warning.as_str()),
        _ => None,
    });
    told.collect()
}

/// The only route of `routes`.
fn the_route(routes: &Routes) -> RouteStatus {
    let mut report = routes.report();
    assert_eq!(report.len(), 1, "{report:#?}");
    report.remove(0)
}

fn local(name: &str, publishers: Vec<Endpoint>, subscribers: Vec<Endpoint>) -> LocalGraph {
    LocalGraph { topics: vec![LocalTopic { name: name.to_owned(), publishers, subscribers }], services: Vec::new() }
}

fn with_hash(hash: char) -> Endpoint {
    Endpoint { type_hash: format!("RIHS01_{}", hash.to_string().repeat(64)), ..endpoint(ODOM, false, Qos::default()) }
}

fn best_effort() -> Qos {
    Qos { reliability: Reliability::BestEffort, ..Qos::default() }
}

#[test]
fn an_offer_is_idle_until_somebody_wants_it_and_open_while_it_is_read() {
    let mut routes = connected();
    routes.handle_graph(graph(&[("/odom", ODOM, true, false)]));
    let channel = offers(&drain(&mut routes))[0].channel;
    let route = the_route(&routes);
    assert_eq!((route.kind, route.direction, route.state), (RouteKind::Topic, Direction::Out, RouteState::Idle));
    assert_eq!((route.local_name.as_str(), route.exchange_name.as_str()), ("/odom", "/r1/odom"));
    assert_eq!((route.type_name.as_str(), route.rule.as_str()), (ODOM, "{topic: /odom}"));
    assert_eq!(route.graph_qos, "reliable, volatile, keep_last 10");
    assert_eq!(route.own_qos, "reliable, volatile, keep_last 10");
    routes.handle_demands(&[demand(channel, true)]);
    drain(&mut routes);
    assert_eq!(the_route(&routes).state, RouteState::Open);
    routes.handle_disconnected();
    drain(&mut routes);
    assert_eq!(
        (the_route(&routes).state, the_route(&routes).reason.as_str()),
        (RouteState::Closed, "the line to the exchange is down")
    );
    assert_eq!(routes.problems(), [""; 0], "that the line is down is told elsewhere");
}

#[test]
fn a_feed_without_a_rule_is_closed_and_no_problem() {
    let mut routes = connected();
    routes.handle_feeds_open(vec![feed(1, Flow::State, "/scan", "sensor_msgs/msg/LaserScan")]);
    assert_eq!(drain(&mut routes), []);
    let route = the_route(&routes);
    assert_eq!((route.direction, route.state), (Direction::In, RouteState::Closed));
    assert_eq!(route.reason, "no rule in \"want\" lets it in");
    assert_eq!((route.exchange_name.as_str(), route.peer), ("/r2/scan", Some(id("r2"))));
    // And a rule that is added while it runs lets it in.
    let rule_id = routes.add_rule(Section::Want, rule("/*/scan"), false).unwrap();
    routes.handle_graph(graph(&[("/r2/scan", "sensor_msgs/msg/LaserScan", false, false)]));
    let commands = drain(&mut routes);
    assert!(commands.iter().any(|command| matches!(command, RouteCommand::CreateWriter(..))), "{commands:?}");
    let route = the_route(&routes);
    assert_eq!((route.state, route.rule.as_str()), (RouteState::Open, "{topic: /*/scan}"));
    routes.remove_rule(rule_id).unwrap();
    let commands = drain(&mut routes);
    assert!(commands.contains(&RouteCommand::Send(Frame::Unsubscribe(vec![FeedId(1)]))), "{commands:?}");
    assert_eq!(the_route(&routes).state, RouteState::Closed);
}

#[test]
fn a_subscription_that_asks_for_more_is_told_with_both_profiles_while_it_is_there() {
    let mut routes = connected();
    let mut weak = feed(7, Flow::State, "/odom", ODOM);
    weak.topic.qos = best_effort();
    routes.handle_feeds_open(vec![weak]);
    routes.handle_graph(graph(&[("/r2/odom", ODOM, false, false)]));
    let commands = drain(&mut routes);
    let expected = "/r2/odom: /node gets nothing: the reliability that it asks for is not offered; it asks for reliable, \
                    volatile, keep_last 10, the publishers offer best_effort, volatile, keep_last 10";
    assert_eq!(problems(&commands), [[expected]]);
    assert_eq!(warnings(&commands), [expected]);
    let route = the_route(&routes);
    assert_eq!((route.state, route.reason.as_str()), (RouteState::Closed, &expected["/r2/odom: ".len()..]));
    // Another one, which is content: the route is open, and the first one is told of all the same.
    let content = endpoint(ODOM, false, best_effort());
    let asking = endpoint(ODOM, false, Qos::default());
    routes.handle_graph(local("/r2/odom", vec![], vec![asking, content.clone()]));
    let commands = drain(&mut routes);
    assert!(matches!(&commands[..], [RouteCommand::Send(Frame::Subscribe(_))]), "{commands:?}");
    assert_eq!(the_route(&routes).state, RouteState::Open);
    assert_eq!(routes.problems(), [expected]);
    // When it goes, so does the problem.
    routes.handle_graph(local("/r2/odom", vec![], vec![content]));
    assert_eq!(drain(&mut routes), [RouteCommand::Send(Frame::Problems(Problems::default()))]);
    assert_eq!(routes.problems(), [""; 0]);
}

#[test]
fn publishers_of_different_types_under_one_name_are_not_offered() {
    let mut routes = connected();
    routes.handle_graph(local("/odom", vec![with_hash('a')], vec![]));
    let offered = offers(&drain(&mut routes));
    assert_eq!(offered[0].topic.type_hash, with_hash('a').type_hash);
    routes.handle_graph(local("/odom", vec![with_hash('a'), with_hash('b')], vec![]));
    let commands = drain(&mut routes);
    assert_eq!(commands[0], RouteCommand::Send(Frame::Withdraw(vec![offered[0].channel])));
    let route = the_route(&routes);
    assert_eq!(route.state, RouteState::Closed);
    for hash in ['a', 'b'] {
        assert!(route.reason.contains(&with_hash(hash).type_hash), "{}", route.reason);
        assert!(
            routes.problems()[0].contains(&format!("RIHS01_{}…", hash.to_string().repeat(12))),
            "{:?}",
            routes.problems()
        );
    }
    routes.handle_graph(local("/odom", vec![with_hash('b')], vec![]));
    assert_eq!(offers(&drain(&mut routes))[0].topic.type_hash, with_hash('b').type_hash);
    assert_eq!(routes.problems(), [""; 0]);
}

#[test]
fn a_subscription_with_another_type_hash_closes_the_route() {
    let mut routes = connected();
    let mut hashed = feed(7, Flow::State, "/odom", ODOM);
    hashed.topic.type_hash = with_hash('a').type_hash;
    routes.handle_feeds_open(vec![hashed]);
    routes.handle_graph(local("/r2/odom", vec![], vec![with_hash('a')]));
    assert!(drain(&mut routes).iter().any(|command| matches!(command, RouteCommand::Send(Frame::Subscribe(_)))));
    routes.handle_graph(local("/r2/odom", vec![], vec![with_hash('a'), with_hash('b')]));
    let commands = drain(&mut routes);
    assert_eq!(commands[0], RouteCommand::Send(Frame::Unsubscribe(vec![FeedId(7)])));
    let route = the_route(&routes);
    assert_eq!(route.state, RouteState::Closed);
    assert!(route.reason.contains(&with_hash('a').type_hash) && route.reason.contains(&with_hash('b').type_hash));
    assert!(problems(&commands)[0][0].starts_with("/r2/odom: /node does not agree what"), "{commands:?}");
    // Endpoints whose distribution has no hashes are believed.
    routes.handle_graph(local("/r2/odom", vec![], vec![endpoint(ODOM, false, Qos::default())]));
    drain(&mut routes);
    assert_eq!(the_route(&routes).state, RouteState::Open);
}

#[test]
fn what_failed_is_tried_again_after_a_while_and_told_until_it_works() {
    let mut routes = connected();
    routes.handle_graph(graph(&[("/odom", ODOM, true, false), ("/r2/odom", ODOM, false, false)]));
    let channel = offers(&drain(&mut routes))[0].channel;
    routes.handle_demands(&[demand(channel, true)]);
    routes.handle_feeds_open(vec![feed(7, Flow::State, "/odom", ODOM)]);
    // Everything fails as soon as it is tried.
    let fail_all = |routes: &mut Routes| {
        let mut commands = Vec::new();
        while let Some(command) = routes.poll_command() {
            match &command {
                RouteCommand::CreateReader(reader, _) => routes.handle_reader_failed(*reader, "not installed"),
                RouteCommand::CreateWriter(writer, _) => routes.handle_writer_failed(*writer, "not installed"),
                _ => {}
            }
            commands.push(command);
        }
        commands
    };
    fail_all(&mut routes);
    let told = ["/odom: it cannot be read here: not installed", "/r2/odom: it cannot be published here: not installed"];
    assert_eq!(routes.problems(), told);
    let wait = defaults::RETRY_CLOSED.as_secs();
    routes.handle_retry(at(100));
    routes.handle_retry(at(100 + wait - 1));
    assert_eq!(drain(&mut routes), []);
    routes.handle_retry(at(100 + wait));
    let commands = fail_all(&mut routes);
    let tries = commands
        .iter()
        .filter(|command| matches!(command, RouteCommand::CreateReader(..) | RouteCommand::CreateWriter(..)))
        .count();
    assert_eq!(tries, 2);
    assert_eq!((problems(&commands).len(), warnings(&commands).len()), (0, 0), "nothing new: {commands:?}");
    assert!(!commands.iter().any(|command| matches!(command, RouteCommand::Send(Frame::Subscribe(_)))), "{commands:?}");
    // The package was installed.
    routes.handle_retry(at(200));
    routes.handle_retry(at(200 + wait));
    let commands = drain(&mut routes);
    assert_eq!(problems(&commands), [vec![""; 0]]);
    assert!(commands.iter().any(|command| matches!(command, RouteCommand::Send(Frame::Subscribe(_)))), "{commands:?}");
    assert!(routes.report().iter().all(|route| route.state == RouteState::Open), "{:#?}", routes.report());
}

#[test]
fn a_rule_that_asks_for_more_than_a_publisher_offers_is_told_with_both_profiles() {
    let mut rules = Rules::default();
    let qos = QosOverride { reliability: Some(Reliability::Reliable), ..QosOverride::default() };
    rules.add(Section::Offer, Rule { qos, ..rule("/odom") }, false).unwrap();
    let mut routes = Routes::new(id("r1"), ClientKind::Robot, rules);
    routes.handle_connected();
    routes.handle_graph(local("/odom", vec![endpoint(ODOM, false, best_effort())], vec![]));
    drain(&mut routes);
    let reason = "nothing of /node is read: its rule asks for more reliability than it offers; the rule asks for reliable, \
                  volatile, keep_last 10, it offers best_effort, volatile, keep_last 10";
    let route = the_route(&routes);
    assert_eq!((route.state, route.reason.as_str()), (RouteState::Closed, reason));
    assert_eq!(routes.problems(), [format!("/odom: {reason}")]);
}

#[test]
fn a_depth_in_a_rule_is_that_of_each_publisher_of_a_latched_topic() {
    let depth_of = |durability, depth| {
        let mut rules = Rules::default();
        let qos = QosOverride { depth: Some(depth), ..QosOverride::default() };
        rules.add(Section::Offer, Rule { qos, ..rule("/odom") }, false).unwrap();
        let mut routes = Routes::new(id("r1"), ClientKind::Robot, rules);
        routes.handle_connected();
        let publisher = || endpoint(ODOM, false, Qos { durability, depth: 0, ..Qos::default() });
        routes.handle_graph(local("/odom", vec![publisher(), publisher(), publisher()], vec![]));
        offers(&drain(&mut routes))[0].topic.qos.depth
    };
    assert_eq!(depth_of(Durability::TransientLocal, 1), 1);
    assert_eq!(depth_of(Durability::Volatile, 1), 1);
}

#[test]
fn a_name_that_is_taken_or_too_long_is_told() {
    let mut rules = Rules::default();
    let renamed = |name: &str, to: &str| Rule { rename: Rename::new(&pattern(name), to).ok(), ..rule(name) };
    rules.add(Section::Offer, renamed("/a", "/odom"), false).unwrap();
    rules.add(Section::Offer, rule("/odom"), false).unwrap();
    let tree = format!("/{}/**", "x".repeat(240));
    rules.add(Section::Offer, renamed("/b/**", &tree), false).unwrap();
    let mut routes = Routes::new(id("r1"), ClientKind::Robot, rules);
    routes.handle_connected();
    let long = format!("/b/{}", "y".repeat(20));
    routes.handle_graph(graph(&[("/a", ODOM, true, false), (&long, ODOM, true, false), ("/odom", ODOM, true, false)]));
    drain(&mut routes);
    let told = routes.problems();
    assert!(told[0].starts_with(&format!("{long}: it is not offered as /xx")), "{told:?}");
    assert_eq!(told[1], "/odom: /a is offered under the same name already");
    assert_eq!(routes.report().iter().filter(|route| route.state == RouteState::Closed).count(), 2);
}

#[test]
fn an_exchange_that_comes_back_is_told_what_is_in_the_way() {
    let mut routes = connected();
    routes.handle_graph(local("/odom", vec![with_hash('a'), with_hash('b')], vec![]));
    let told = problems(&drain(&mut routes));
    routes.handle_disconnected();
    drain(&mut routes);
    routes.handle_connected();
    let commands = drain(&mut routes);
    assert_eq!(problems(&commands), told);
    assert_eq!(warnings(&commands), [""; 0], "it was said before");
}
