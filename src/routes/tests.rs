//! Routes, from inputs to commands.

mod passage;

use super::*;
use crate::{
    ids::{ChannelId, ClientId, FeedId, PublisherId, ReaderId, WriterId},
    model::{ClientKind, Durability, Qos, Reliability, TopicInfo},
    outbox::Class,
    time::Mono,
    wire::{Demand, Feed, Flow, Frame, Interests, Offer, Subscription},
};

mod problems;
mod services;

const ODOM: &str = "nav_msgs/msg/Odometry";
const TWIST: &str = "geometry_msgs/msg/Twist";

fn id(text: &str) -> ClientId {
    ClientId::new(text).unwrap()
}

fn pattern(text: &str) -> Pattern {
    Pattern::new(text).unwrap()
}

fn rule(name: &str) -> Rule {
    Rule::new(Subject::Topic, pattern(name))
}

fn rules() -> Rules {
    let mut rules = Rules::default();
    rules.add(Section::Offer, Rule { max_rate: Some(10.0), ..rule("/odom") }, false).unwrap();
    rules.add(Section::Offer, rule("/r9/**"), false).unwrap();
    let odom = Some(pattern(ODOM));
    rules.add(Section::Want, Rule { type_name: odom, max_rate: Some(5.0), ..rule("/*/odom") }, false).unwrap();
    rules.add(Section::Accept, Rule { type_name: Some(pattern(TWIST)), ..rule("/cmd_vel") }, false).unwrap();
    rules
}

fn endpoint(type_name: &str, own: bool, qos: Qos) -> Endpoint {
    Endpoint {
        gid: Gid([0; 24]),
        node: "/node".to_owned(),
        type_name: type_name.to_owned(),
        type_hash: String::new(),
        qos,
        own,
    }
}

mod flow;

/// A graph of `(topic, type, publishes, own)`.
fn graph(entries: &[(&str, &str, bool, bool)]) -> LocalGraph {
    let mut names: Vec<&str> = entries.iter().map(|entry| entry.0).collect();
    names.sort_unstable();
    names.dedup();
    let endpoints = |name: &str, publishes: bool| {
        let matching = entries.iter().filter(|entry| entry.0 == name && entry.2 == publishes);
        matching.map(|entry| endpoint(entry.1, entry.3, Qos::default())).collect()
    };
    LocalGraph {
        topics: names
            .into_iter()
            .map(|name| LocalTopic {
                name: name.to_owned(),
                publishers: endpoints(name, true),
                subscribers: endpoints(name, false),
            })
            .collect(),
        services: Vec::new(),
    }
}

fn topic(name: &str, type_name: &str) -> TopicInfo {
    TopicInfo { name: name.to_owned(), type_name: type_name.to_owned(), type_hash: String::new(), qos: Qos::default() }
}

fn drain(routes: &mut Routes) -> Vec<RouteCommand> {
    std::iter::from_fn(|| routes.poll_command()).collect()
}

fn connected() -> Routes {
    let mut routes = Routes::new(id("r1"), ClientKind::Robot, rules());
    routes.handle_clients([id("r1"), id("r2")]);
    routes.handle_connected();
    drain(&mut routes);
    routes
}

fn offers(commands: &[RouteCommand]) -> Vec<Offer> {
    let mut offers = vec![];
    for command in commands {
        if let RouteCommand::Send(Frame::Offers(list)) = command {
            offers.extend(list.iter().cloned());
        }
    }
    offers
}

fn demand(channel: ChannelId, wanted: bool) -> Demand {
    Demand { channel, wanted, max_rate_millihertz: 0, held: false }
}

fn feed(number: u32, flow: Flow, name: &str, type_name: &str) -> Feed {
    Feed { feed: FeedId(number), origin: id("r2"), flow, topic: topic(name, type_name) }
}

#[test]
fn what_others_publish_and_a_rule_allows_is_offered_and_read_only_on_demand() {
    let mut routes = connected();
    routes.handle_graph(graph(&[("/odom", ODOM, true, false), ("/scan", "sensor_msgs/msg/LaserScan", true, false)]));
    let commands = drain(&mut routes);
    let offered = offers(&commands);
    assert_eq!(commands.len(), 1, "nothing is read before somebody wants it");
    assert_eq!((offered.len(), offered[0].topic.name.as_str(), &offered[0].flow), (1, "/odom", &Flow::State));

    let channel = offered[0].channel;
    routes.handle_demands(&[demand(channel, true)]);
    let commands = drain(&mut routes);
    let [RouteCommand::CreateReader(reader, read)] = &commands[..] else { panic!("{commands:?}") };
    assert_eq!(read.name, "/odom");
    let at = |millis| Mono(std::time::Duration::from_millis(millis));
    assert_eq!(
        routes.outgoing(*reader, Gid([0; 24]), at(1_000)).map(|out| (out.channel, out.class, out.sequence)),
        Some((channel, Class::State, 0))
    );
    assert_eq!(routes.outgoing(*reader, Gid([0; 24]), at(1_010)), None, "the rule says 10 Hz");
    assert_eq!(
        routes.outgoing(*reader, Gid([0; 24]), at(1_100)).map(|out| (out.channel, out.class, out.sequence)),
        Some((channel, Class::State, 1))
    );
    routes.handle_demands(&[demand(channel, false)]);
    assert_eq!(drain(&mut routes), [RouteCommand::DestroyReader(*reader)]);
    assert_eq!(routes.outgoing(*reader, Gid([0; 24]), at(2_000)), None);
}

#[test]
fn an_offer_ends_with_its_last_publisher_and_comes_back_with_a_new_one() {
    let mut routes = connected();
    routes.handle_graph(graph(&[("/odom", ODOM, true, false)]));
    let first = offers(&drain(&mut routes))[0].channel;
    routes.handle_demands(&[demand(first, true)]);
    drain(&mut routes);
    // Our own reader keeps the topic in the graph.
    routes.handle_graph(graph(&[("/odom", ODOM, false, true)]));
    let commands = drain(&mut routes);
    let [RouteCommand::FinishReader(reader)] = commands[..] else { panic!("{commands:?}") };
    assert!(routes.outgoing(reader, Gid([0; 24]), Mono::default()).is_some(), "what it published still comes");
    routes.handle_graph(graph(&[("/odom", ODOM, false, true)]));
    assert_eq!(drain(&mut routes), []);
    routes.handle_reader_done(reader);
    let commands = drain(&mut routes);
    assert!(
        matches!(&commands[..], [RouteCommand::DestroyReader(_), RouteCommand::SendBehind(Class::State, Frame::Withdraw(gone))] if gone[..] == [first]),
        "{commands:?}"
    );
    routes.handle_graph(graph(&[("/odom", ODOM, true, false)]));
    assert_ne!(offers(&drain(&mut routes))[0].channel, first);
    routes.handle_demands(&[demand(first, true)]);
    assert_eq!(drain(&mut routes), [], "a demand for what was withdrawn is late, not an error");
}

#[test]
fn our_own_publishers_and_names_of_clients_are_never_offered() {
    let mut routes = connected();
    routes.handle_clients([id("r9")]);
    routes.handle_graph(graph(&[("/odom", ODOM, true, true), ("/r9/odom", ODOM, true, true)]));
    assert_eq!(offers(&drain(&mut routes)), []);
    // What somebody else publishes under the id of a client is a command to that client, whatever the offer rules say.
    routes.handle_graph(graph(&[("/r9/odom", ODOM, true, false), ("/r1/odom", ODOM, true, false)]));
    let offered = offers(&drain(&mut routes));
    assert_eq!(offered.len(), 1);
    assert_eq!((&offered[0].flow, offered[0].topic.name.as_str()), (&Flow::Command { to: id("r9") }, "/odom"));
}

#[test]
fn a_topic_under_the_name_of_a_new_client_is_withdrawn_with_a_warning() {
    let mut routes = Routes::new(id("r1"), ClientKind::Robot, rules());
    routes.handle_connected();
    routes.handle_graph(graph(&[("/r9/x", ODOM, true, false)]));
    assert_eq!(offers(&drain(&mut routes))[0].flow, Flow::State);
    routes.handle_clients([id("r9")]);
    let commands = drain(&mut routes);
    assert!(matches!(&commands[0], RouteCommand::Send(Frame::Withdraw(_))), "{commands:?}");
    assert_eq!(offers(&commands)[0].flow, Flow::Command { to: id("r9") });

    // Under our own id nothing can be sent to anybody: that deserves a word.
    let mut own = Rules::default();
    own.add(Section::Offer, rule("/**"), false).unwrap();
    let mut routes = Routes::new(id("r1"), ClientKind::Robot, own);
    routes.handle_graph(graph(&[("/r1/odom", ODOM, true, false)]));
    let commands = drain(&mut routes);
    assert!(
        matches!(&commands[..], [RouteCommand::Warn(warning)] if warning.contains("/r1/odom") && warning.contains("rename")),
        "{commands:?}"
    );
    routes.handle_graph(graph(&[("/r1/odom", ODOM, true, false)]));
    assert_eq!(drain(&mut routes), [], "once is enough");
}

#[test]
fn a_feed_is_published_at_once_and_taken_only_while_somebody_here_subscribes() {
    let mut routes = connected();
    routes.handle_feeds_open(vec![feed(7, Flow::State, "/odom", ODOM)]);
    let commands = drain(&mut routes);
    let [RouteCommand::CreateWriter(writer, local)] = &commands[..] else { panic!("{commands:?}") };
    assert_eq!(local.name, "/r2/odom");
    assert_eq!(routes.incoming(FeedId(7), PublisherId(0), 0), Some(*writer));
    let subscription = Subscription { feed: FeedId(7), max_rate_millihertz: 5_000, latest_only: false };
    routes.handle_graph(graph(&[("/r2/odom", ODOM, true, true), ("/r2/odom", ODOM, false, false)]));
    assert_eq!(drain(&mut routes), [RouteCommand::Send(Frame::Subscribe(vec![subscription]))]);
    // Subscribers of ours, or of another type, do not count.
    routes.handle_graph(graph(&[("/r2/odom", ODOM, false, true), ("/r2/odom", TWIST, false, false)]));
    assert_eq!(drain(&mut routes)[0], RouteCommand::Send(Frame::Unsubscribe(vec![FeedId(7)])));
    routes.handle_feeds_closed(&[FeedId(7)]);
    assert_eq!(drain(&mut routes)[0], RouteCommand::DestroyWriter(*writer));
    assert_eq!(routes.incoming(FeedId(7), PublisherId(0), 0), None);
}

#[test]
fn what_no_rule_wants_or_accepts_is_not_let_in() {
    let mut routes = connected();
    let to = |client| Flow::Command { to: id(client) };
    routes.handle_feeds_open(vec![
        feed(1, Flow::State, "/scan", "sensor_msgs/msg/LaserScan"),
        feed(2, Flow::State, "/odom", TWIST),
        feed(3, to("r1"), "/cmd_vel", ODOM),
        feed(4, to("r1"), "/arm", TWIST),
        feed(5, to("r3"), "/cmd_vel", TWIST),
    ]);
    assert_eq!(drain(&mut routes), []);
    routes.handle_feeds_open(vec![feed(6, to("r1"), "/cmd_vel", TWIST)]);
    let commands = drain(&mut routes);
    assert!(
        matches!(&commands[..], [RouteCommand::CreateWriter(_, local)] if local.name == "/cmd_vel"),
        "{commands:?}"
    );
}

#[test]
fn after_a_cut_everything_is_told_and_worked_out_again() {
    let mut routes = connected();
    let whole = graph(&[("/odom", ODOM, true, false), ("/r2/odom", ODOM, false, false)]);
    routes.handle_graph(whole);
    let channel = offers(&drain(&mut routes))[0].channel;
    routes.handle_demands(&[demand(channel, true)]);
    routes.handle_feeds_open(vec![feed(7, Flow::State, "/odom", ODOM)]);
    drain(&mut routes);
    routes.handle_disconnected();
    let commands = drain(&mut routes);
    assert!(matches!(&commands[..], [RouteCommand::DestroyReader(_), RouteCommand::DestroyWriter(_)]), "{commands:?}");
    routes.handle_graph(graph(&[("/r2/odom", ODOM, false, false)]));
    routes.handle_graph(graph(&[("/odom", ODOM, true, false), ("/r2/odom", ODOM, false, false)]));
    assert_eq!(drain(&mut routes), [], "nothing can be said while the line is down");

    routes.handle_connected();
    let commands = drain(&mut routes);
    let interests =
        Interests { wants: vec!["/*/odom".to_owned()], accepts: vec!["/cmd_vel".to_owned()], services: vec![] };
    assert_eq!(commands[0], RouteCommand::Send(Frame::Interests(interests)));
    assert_eq!(offers(&commands).len(), 1);
    routes.handle_feeds_open(vec![feed(70, Flow::State, "/odom", ODOM)]);
    let commands = drain(&mut routes);
    assert!(
        matches!(&commands[..], [RouteCommand::CreateWriter(..), RouteCommand::Send(Frame::Subscribe(_))]),
        "{commands:?}"
    );
}

#[test]
fn a_type_that_is_not_installed_is_reported_once_and_not_tried_again_for_ever() {
    let mut routes = connected();
    routes.handle_graph(graph(&[("/odom", ODOM, true, false)]));
    let channel = offers(&drain(&mut routes))[0].channel;
    routes.handle_demands(&[demand(channel, true)]);
    let commands = drain(&mut routes);
    let [RouteCommand::CreateReader(reader, _)] = &commands[..] else { panic!("{commands:?}") };
    routes.handle_reader_failed(*reader, "not installed");
    let commands = drain(&mut routes);
    assert!(
        matches!(
            &commands[..],
            [RouteCommand::DestroyReader(_), RouteCommand::Warn(_), RouteCommand::Send(Frame::Problems(_))]
        ),
        "{commands:?}"
    );
    routes.handle_graph(graph(&[("/odom", ODOM, true, false)]));
    assert_eq!(drain(&mut routes), []);

    routes.handle_feeds_open(vec![feed(7, Flow::State, "/odom", ODOM)]);
    let commands = drain(&mut routes);
    let [RouteCommand::CreateWriter(writer, _)] = &commands[..] else { panic!("{commands:?}") };
    routes.handle_writer_failed(*writer, "not installed");
    drain(&mut routes);
    routes.handle_graph(graph(&[("/odom", ODOM, true, false), ("/r2/odom", ODOM, false, false)]));
    assert_eq!(drain(&mut routes), [], "and what cannot be published is not asked for");
    assert_eq!(routes.incoming(FeedId(7), PublisherId(0), 0), None);
}

#[test]
fn a_route_promises_only_what_all_its_publishers_promise() {
    let qos = |reliability, durability, depth| Qos { reliability, durability, depth, ..Qos::default() };
    let publishers = |list: &[Qos]| LocalGraph {
        topics: vec![LocalTopic {
            name: "/odom".to_owned(),
            publishers: list.iter().map(|&qos| endpoint(ODOM, false, qos)).collect(),
            subscribers: vec![],
        }],
        services: Vec::new(),
    };
    let offered = |list: &[Qos]| {
        let mut routes = connected();
        routes.handle_graph(publishers(list));
        offers(&drain(&mut routes))[0].topic.qos
    };
    use Durability::{TransientLocal, Volatile};
    use Reliability::{BestEffort, Reliable};
    let strong = qos(Reliable, TransientLocal, 5);
    let deeper = qos(Reliable, TransientLocal, 7);
    assert_eq!(offered(&[strong, deeper]), deeper, "that of each publisher");
    assert_eq!(offered(&[strong, qos(BestEffort, Volatile, 1)]), qos(BestEffort, Volatile, 6));
    assert_eq!(
        offered(&[qos(Reliable, Volatile, 0), strong]),
        qos(Reliable, Volatile, 0),
        "an unknown depth keeps all"
    );
    assert_eq!(offered(&[qos(Reliable, TransientLocal, 0), strong]), qos(Reliable, TransientLocal, 0));
    assert_eq!(offered(&[qos(BestEffort, Volatile, 0)]), qos(BestEffort, Volatile, 10));
    assert_eq!(offered(&[qos(Reliable, Volatile, u32::MAX), strong]).depth, crate::defaults::DEPTH_MAX);

    // When a publisher joins that promises less, the offer is made anew.
    let mut routes = connected();
    routes.handle_graph(publishers(&[strong]));
    drain(&mut routes);
    routes.handle_graph(publishers(&[strong, qos(BestEffort, Volatile, 1)]));
    let commands = drain(&mut routes);
    assert!(matches!(&commands[0], RouteCommand::Send(Frame::Withdraw(_))), "{commands:?}");
    assert_eq!(offers(&commands)[0].topic.qos.reliability, BestEffort);
}

#[test]
fn ids_of_readers_and_writers_that_are_gone_lead_nowhere() {
    let mut routes = connected();
    assert_eq!(routes.outgoing(ReaderId(99), Gid([0; 24]), Mono::default()), None);
    assert_eq!(routes.incoming(FeedId(99), PublisherId(0), 0), None);
    routes.handle_reader_failed(ReaderId(99), "");
    routes.handle_writer_failed(WriterId(99), "");
    routes.handle_feeds_closed(&[FeedId(99)]);
    assert_eq!(drain(&mut routes), []);
}

#[test]
fn an_observer_offers_and_commands_nothing() {
    let mut routes = Routes::new(id("eve"), ClientKind::Observer, rules());
    routes.handle_clients([id("r2")]);
    routes.handle_connected();
    routes.handle_graph(graph(&[("/odom", ODOM, true, false), ("/r2/cmd_vel", TWIST, true, false)]));
    assert_eq!(offers(&drain(&mut routes)), []);
}

#[test]
fn a_second_run_of_a_subscriber_does_not_get_a_latched_message_twice() {
    let mut routes = connected();
    let mut latched = feed(7, Flow::State, "/odom", ODOM);
    latched.topic.qos.durability = Durability::TransientLocal;
    routes.handle_feeds_open(vec![latched]);
    let commands = drain(&mut routes);
    let [RouteCommand::CreateWriter(first, _)] = &commands[..] else { panic!("{commands:?}") };
    routes.handle_graph(graph(&[("/r2/odom", ODOM, false, false)]));
    drain(&mut routes);
    routes.handle_graph(graph(&[]));
    let commands = drain(&mut routes);
    let [
        RouteCommand::DestroyWriter(old),
        RouteCommand::CreateWriter(new, _),
        RouteCommand::Send(Frame::Unsubscribe(_)),
    ] = &commands[..]
    else {
        panic!("{commands:?}")
    };
    assert!(old == first && new != first && routes.incoming(FeedId(7), PublisherId(0), 0) == Some(*new));
}
