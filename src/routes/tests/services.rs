//! Services, from inputs to commands.

use std::{collections::BTreeMap, time::Duration};

use bytes::Bytes;
use proptest::prelude::*;

use crate::routes::*;
use crate::{
    defaults,
    ids::{CallId, CallerId, ChannelId, ClientId, FeedId, RequestId, ServerId},
    model::{ClientKind, Qos, ServiceInfo},
    time::Mono,
    wire::{CallCause, CallFailure, Frame, Request, Response, ServiceFeed, ServiceOffer},
};

const SET_BOOL: &str = "std_srvs/srv/SetBool";
const SPIN_RESULT: &str = "nav2_msgs/action/Spin_GetResult";
const RESULT: &str = "/spin/_action/get_result";

fn id(text: &str) -> ClientId {
    ClientId::new(text).unwrap()
}

fn rule(subject: Subject, name: &str) -> Rule {
    Rule::new(subject, Pattern::new(name).unwrap())
}

fn rules() -> Rules {
    let mut rules = Rules::default();
    for (section, rule) in [
        (Section::Offer, rule(Subject::Service, "/set_mode")),
        (Section::Offer, rule(Subject::Service, "/r9/**")),
        (Section::Offer, rule(Subject::Action, "/spin")),
        (Section::Want, Rule { timeout: Some(Duration::from_secs(5)), ..rule(Subject::Service, "/*/set_mode") }),
        (Section::Want, rule(Subject::Action, "/*/spin")),
    ] {
        rules.add(section, rule, false).unwrap();
    }
    rules
}

fn server(type_name: &str, own: bool, gid: u8) -> Endpoint {
    Endpoint {
        gid: Gid([gid; 24]),
        node: "/node".to_owned(),
        type_name: type_name.to_owned(),
        type_hash: "RIHS01_00".to_owned(),
        qos: Qos::default(),
        own,
    }
}

/// A graph of services with one server each: `(name, type, own, gid)`.
fn graph(services: &[(&str, &str, bool, u8)]) -> LocalGraph {
    let mut services: Vec<LocalService> = services
        .iter()
        .map(|&(name, type_name, own, gid)| LocalService {
            name: name.to_owned(),
            servers: vec![server(type_name, own, gid)],
        })
        .collect();
    services.sort_by(|a, b| a.name.cmp(&b.name));
    LocalGraph { topics: Vec::new(), services }
}

fn at(seconds: u64) -> Mono {
    Mono(Duration::from_secs(seconds))
}

fn cdr() -> Bytes {
    Bytes::from_static(b"\0\x01\0\0\x01")
}

fn drain(routes: &mut Routes) -> Vec<RouteCommand> {
    let is_report = |command: &RouteCommand| matches!(command, RouteCommand::Send(Frame::Problems(_)));
    std::iter::from_fn(|| routes.poll_command()).filter(|command| !is_report(command)).collect()
}

fn connected_as(kind: ClientKind) -> Routes {
    let mut routes = Routes::new(id("r1"), kind, rules());
    routes.handle_clients([id("r1"), id("r2"), id("r9")]);
    routes.handle_connected();
    drain(&mut routes);
    routes
}

fn connected() -> Routes {
    connected_as(ClientKind::Robot)
}

fn feed(number: u32, name: &str, type_name: &str) -> ServiceFeed {
    let service =
        ServiceInfo { name: name.to_owned(), type_name: type_name.to_owned(), type_hash: "RIHS01_00".to_owned() };
    ServiceFeed { feed: FeedId(number), origin: id("r2"), service }
}

fn offers(commands: &[RouteCommand]) -> Vec<ServiceOffer> {
    let lists = commands.iter().filter_map(|command| match command {
        RouteCommand::Send(Frame::ServiceOffers(list)) => Some(list.clone()),
        _ => None,
    });
    lists.flatten().collect()
}

fn requests(commands: &[RouteCommand]) -> Vec<Request> {
    let requests = commands.iter().filter_map(|command| match command {
        RouteCommand::SendCall(Frame::Request(request)) => Some(request.clone()),
        _ => None,
    });
    requests.collect()
}

fn failures(commands: &[RouteCommand]) -> Vec<CallFailure> {
    let failures = commands.iter().filter_map(|command| match command {
        RouteCommand::SendCall(Frame::CallFailed(failure)) => Some(failure.clone()),
        _ => None,
    });
    failures.collect()
}

/// The words of the failures that callers in the local graph were answered with.
fn refusals(commands: &[RouteCommand]) -> Vec<(RequestId, String)> {
    let refusals = commands.iter().filter_map(|command| match command {
        RouteCommand::RespondFailure(_, request, reason) => Some((*request, reason.clone())),
        _ => None,
    });
    refusals.collect()
}

/// Opens a feed at `routes` and returns the server that it makes of it.
fn open(routes: &mut Routes, feed: ServiceFeed) -> ServerId {
    routes.handle_services_open(vec![feed]);
    let commands = drain(routes);
    let [RouteCommand::CreateServer(server, _)] = &commands[..] else { panic!("{commands:?}") };
    *server
}

/// Calls `server` and returns what goes to the exchange.
fn ask(routes: &mut Routes, server: ServerId, request: u64, now: Mono) -> Request {
    routes.handle_local_request(server, RequestId(request), cdr(), now);
    requests(&drain(routes)).remove(0)
}

fn lost(call: CallId, cause: CallCause) -> CallFailure {
    CallFailure::new(call, cause, "r2 is gone")
}

#[test]
fn what_others_serve_and_a_rule_allows_is_offered_until_it_goes() {
    let mut routes = connected();
    routes.handle_graph(graph(&[
        ("/set_mode", SET_BOOL, false, 1),
        ("/reset", "std_srvs/srv/Trigger", false, 2),
        (RESULT, SPIN_RESULT, false, 3),
        ("/r2/set_mode", SET_BOOL, true, 4),
    ]));
    let offered = offers(&drain(&mut routes));
    let names: Vec<&str> = offered.iter().map(|offer| offer.service.name.as_str()).collect();
    assert_eq!(names, ["/set_mode", RESULT]);
    routes.handle_disconnected();
    routes.handle_connected();
    assert_eq!(offers(&drain(&mut routes)), offered, "an exchange that knows nothing is told again");
    routes.handle_graph(graph(&[(RESULT, SPIN_RESULT, false, 3)]));
    assert_eq!(drain(&mut routes), [RouteCommand::Send(Frame::Withdraw(vec![offered[0].channel]))]);
}

#[test]
fn services_under_the_id_of_a_client_are_not_offered_and_neither_are_our_own_servers() {
    let mut routes = connected();
    routes.handle_graph(graph(&[("/r9/anything", SET_BOOL, false, 1), ("/set_mode", SET_BOOL, true, 2)]));
    let commands = drain(&mut routes);
    let [RouteCommand::Warn(warning)] = &commands[..] else { panic!("{commands:?}") };
    assert!(warning.contains("/r9/anything") && warning.contains("client r9"), "{warning}");
}

#[test]
fn an_offered_service_has_the_name_that_its_rule_gives_it_and_is_called_by_its_own() {
    let mut rules = Rules::default();
    let name = Pattern::new("/base/set_mode").unwrap();
    let rename = Rename::new(&name, "/mode").unwrap();
    rules.add(Section::Offer, Rule { rename: Some(rename), ..Rule::new(Subject::Service, name) }, false).unwrap();
    let mut routes = Routes::new(id("r1"), ClientKind::Robot, rules);
    routes.handle_connected();
    drain(&mut routes);
    routes.handle_graph(graph(&[("/base/set_mode", SET_BOOL, false, 1)]));
    let offered = offers(&drain(&mut routes));
    assert_eq!(offered[0].service.name, "/mode");
    routes
        .handle_request(Request { id: offered[0].channel.0, call: CallId(1), limit_millis: 0, payload: cdr() }, at(1));
    let commands = drain(&mut routes);
    assert!(
        matches!(&commands[0], RouteCommand::CreateCaller(_, service) if service.name == "/base/set_mode"),
        "{commands:?}"
    );
}

/// A client that offers `/set_mode`, and its channel.
fn owner() -> (Routes, ChannelId) {
    let mut routes = connected();
    routes.handle_graph(graph(&[("/set_mode", SET_BOOL, false, 1)]));
    let channel = offers(&drain(&mut routes))[0].channel;
    (routes, channel)
}

fn request(channel: ChannelId, call: u64, limit_millis: u32) -> Request {
    Request { id: channel.0, call: CallId(call), limit_millis, payload: cdr() }
}

/// Hands a request to its owner and returns what is called with it.
fn pass_on(routes: &mut Routes, channel: ChannelId, call: u64, now: Mono) -> (CallerId, CallId) {
    routes.handle_request(request(channel, call, 5_000), now);
    let commands = drain(routes);
    let Some(RouteCommand::Call(caller, call, payload)) = commands.last() else { panic!("{commands:?}") };
    assert_eq!(*payload, cdr());
    (*caller, *call)
}

#[test]
fn a_call_reaches_the_local_service_and_its_answer_goes_back_under_the_number_of_the_exchange() {
    let (mut routes, channel) = owner();
    let (caller, first) = pass_on(&mut routes, channel, 70, at(1));
    let (same, second) = pass_on(&mut routes, channel, 71, at(1));
    assert_eq!(caller, same, "one client of a service for all of its calls");
    for (call, number) in [(second, 71), (first, 70)] {
        routes.handle_local_response(call, cdr(), at(2));
        let response = Response { call: CallId(number), payload: cdr() };
        assert_eq!(drain(&mut routes), [RouteCommand::SendCall(Frame::Response(response))]);
    }
    routes.handle_local_response(first, cdr(), at(2));
    assert_eq!(drain(&mut routes), []);
    assert_eq!(routes.call_counters().late, 1, "an answer that nobody waits for is counted");

    let until = routes.poll_timeout().unwrap();
    assert_eq!(until, at(2) + defaults::CALLER_KEPT);
    routes.handle_timeout(until);
    assert_eq!(drain(&mut routes), [RouteCommand::DestroyCaller(caller)]);
    assert_eq!(routes.poll_timeout(), None);
    assert_ne!(pass_on(&mut routes, channel, 72, at(100)).0, caller, "and made anew when it is needed");
}

#[test]
fn a_service_that_does_not_answer_fails_the_call_at_its_limit() {
    let (mut routes, channel) = owner();
    let (caller, call) = pass_on(&mut routes, channel, 70, at(1));
    assert_eq!(routes.poll_timeout(), Some(at(6)));
    routes.handle_timeout(at(6));
    let commands = drain(&mut routes);
    assert_eq!(commands[0], RouteCommand::ForgetCall(caller, call));
    let failure = &failures(&commands)[0];
    assert_eq!((failure.call, failure.cause), (CallId(70), CallCause::Timeout));
    assert!(failure.reason.contains("/set_mode of r1 did not answer within 5 s"), "{}", failure.reason);
}

#[test]
fn calls_fail_at_once_when_the_server_goes_or_another_takes_its_place() {
    for after in [vec![], vec![("/set_mode", SET_BOOL, false, 2)], vec![("/set_mode", "x/srv/Y", false, 1)]] {
        let (mut routes, channel) = owner();
        pass_on(&mut routes, channel, 70, at(1));
        routes.handle_graph(graph(&after));
        let failures = failures(&drain(&mut routes));
        assert_eq!(failures.len(), 1, "{after:?}");
        assert_eq!((failures[0].call, failures[0].cause), (CallId(70), CallCause::NoService));
    }
    let (mut routes, channel) = owner();
    pass_on(&mut routes, channel, 70, at(1));
    let mut both = graph(&[("/set_mode", SET_BOOL, false, 1)]);
    both.services[0].servers.push(server(SET_BOOL, false, 2));
    routes.handle_graph(both);
    assert_eq!(drain(&mut routes), [], "the one that was called is still there");
}

#[test]
fn what_cannot_be_called_is_said() {
    let (mut routes, channel) = owner();
    routes.handle_request(request(ChannelId(999), 1, 0), at(1));
    assert_eq!(failures(&drain(&mut routes))[0].cause, CallCause::NoService);

    let (caller, _) = pass_on(&mut routes, channel, 2, at(1));
    let (_, call) = pass_on(&mut routes, channel, 3, at(1));
    routes.handle_call_failed(call, "not a request of std_srvs/srv/SetBool");
    let told = failures(&drain(&mut routes));
    assert_eq!((told[0].call, told[0].cause), (CallId(3), CallCause::Failed));
    assert!(told[0].reason.contains("not a request"));
    routes.handle_caller_failed(caller, "std_srvs is not installed");
    let commands = drain(&mut routes);
    assert_eq!(failures(&commands)[0].call, CallId(2));
    assert!(commands.iter().any(|it| matches!(it, RouteCommand::Warn(words) if words.contains("not installed"))));
    assert_ne!(pass_on(&mut routes, channel, 4, at(1)).0, caller, "the next call tries again");
}

#[test]
fn a_service_is_not_called_more_often_at_a_time_than_servers_keep_requests() {
    let (mut routes, channel) = owner();
    let made = |commands: &[RouteCommand]| {
        let calls = commands.iter().filter_map(|command| match command {
            RouteCommand::Call(_, call, _) => Some(*call),
            _ => None,
        });
        calls.collect::<Vec<_>>()
    };
    for number in 0..30 {
        routes.handle_request(request(channel, number, 5_000), at(1));
    }
    let first = made(&drain(&mut routes));
    assert_eq!(first.len(), defaults::CALLS_AT_A_TIME);
    routes.handle_local_response(first[0], cdr(), at(2));
    routes.handle_abandon(&[CallId(1), CallId(20)]);
    let commands = drain(&mut routes);
    assert_eq!(made(&commands).len(), 2, "the next two have their turn: {commands:?}");
    let forgotten = commands.iter().filter(|command| matches!(command, RouteCommand::ForgetCall(..)));
    assert_eq!(forgotten.count(), 1, "one of the two was not made yet");
    // Those whose turn never comes fail at their limit, too.
    routes.handle_timeout(at(6));
    let commands = drain(&mut routes);
    assert_eq!(failures(&commands).len(), 27);
    routes.handle_graph(graph(&[]));
    assert!(drain(&mut routes).iter().all(|command| !matches!(command, RouteCommand::Call(..))));
}

#[test]
fn requests_for_results_wait_for_nobody() {
    let mut routes = connected();
    routes.handle_graph(graph(&[(RESULT, SPIN_RESULT, false, 1)]));
    let channel = offers(&drain(&mut routes))[0].channel;
    for number in 0..30 {
        routes.handle_request(request(channel, number, 0), at(1));
    }
    let made = drain(&mut routes).iter().filter(|command| matches!(command, RouteCommand::Call(..))).count();
    assert_eq!(made, 30);
}

#[test]
fn more_calls_than_may_wait_are_refused() {
    let (mut routes, channel) = owner();
    for number in 0..=defaults::CALLS_PENDING_MAX as u64 {
        routes.handle_request(request(channel, number, 0), at(1));
    }
    let refused = failures(&drain(&mut routes));
    assert_eq!(refused.len(), 1);
    assert_eq!((refused[0].call.0, refused[0].cause), (defaults::CALLS_PENDING_MAX as u64, CallCause::Busy));
}

#[test]
fn an_abandoned_call_is_forgotten_and_so_is_every_call_of_a_line_that_is_gone() {
    let (mut routes, channel) = owner();
    let (caller, first) = pass_on(&mut routes, channel, 70, at(1));
    let (_, second) = pass_on(&mut routes, channel, 71, at(1));
    routes.handle_abandon(&[CallId(70), CallId(12)]);
    assert_eq!(drain(&mut routes), [RouteCommand::ForgetCall(caller, first)]);
    routes.handle_disconnected();
    assert_eq!(drain(&mut routes), [RouteCommand::ForgetCall(caller, second)]);
    routes.handle_connected();
    drain(&mut routes);
    routes.handle_local_response(second, cdr(), at(2));
    assert_eq!(drain(&mut routes), [], "the exchange has given up that number");
}

#[test]
fn a_service_of_others_is_served_while_it_is_announced_and_a_rule_lets_it_in() {
    let mut routes = connected();
    routes.handle_services_open(vec![feed(1, "/set_mode", SET_BOOL), feed(2, "/reset", "std_srvs/srv/Trigger")]);
    let commands = drain(&mut routes);
    let [RouteCommand::CreateServer(server, service)] = &commands[..] else { panic!("{commands:?}") };
    assert_eq!((service.name.as_str(), service.type_name.as_str()), ("/r2/set_mode", SET_BOOL));
    routes.handle_feeds_closed(&[FeedId(1), FeedId(2)]);
    assert_eq!(drain(&mut routes), [RouteCommand::DestroyServer(*server)]);
}

#[test]
fn who_only_looks_serves_and_asks_for_nothing() {
    let mut routes = Routes::new(id("o"), ClientKind::Observer, rules());
    routes.handle_connected();
    let commands = drain(&mut routes);
    let asked = commands.iter().find_map(|command| match command {
        RouteCommand::Send(Frame::Interests(interests)) => Some(interests.clone()),
        _ => None,
    });
    let asked = asked.unwrap();
    assert_eq!((asked.services.len(), asked.wants.len()), (0, 1), "feedback and status of actions are to be seen");
    routes.handle_graph(graph(&[("/set_mode", SET_BOOL, false, 1)]));
    assert_eq!(drain(&mut routes), []);
}

#[test]
fn a_request_goes_to_the_exchange_with_the_limit_of_its_rule_and_comes_back() {
    let mut routes = connected();
    let server = open(&mut routes, feed(1, "/set_mode", SET_BOOL));
    let first = ask(&mut routes, server, 40, at(1));
    let second = ask(&mut routes, server, 41, at(1));
    assert_eq!((first.id, first.limit_millis), (1, 5_000));
    assert_ne!(first.call, second.call);
    for (call, request) in [(second.call, 41), (first.call, 40)] {
        routes.handle_response(Response { call, payload: cdr() }, at(2));
        assert_eq!(drain(&mut routes), [RouteCommand::Respond(server, RequestId(request), cdr())]);
    }
    routes.handle_response(Response { call: first.call, payload: cdr() }, at(2));
    assert_eq!((drain(&mut routes), routes.call_counters()), (vec![], CallCounters { failed: 0, late: 1 }));
    assert_eq!(routes.poll_timeout(), None);
}

#[test]
fn whoever_waits_too_long_is_told_at_the_limit() {
    let mut routes = connected();
    let server = open(&mut routes, feed(1, "/set_mode", SET_BOOL));
    let asked = ask(&mut routes, server, 40, at(1));
    assert_eq!(routes.poll_timeout(), Some(at(6)));
    routes.handle_timeout(at(6));
    let commands = drain(&mut routes);
    assert_eq!(commands[0], RouteCommand::SendCall(Frame::Abandon(vec![asked.call])));
    let told = refusals(&commands);
    assert_eq!(told, [(RequestId(40), "r2 did not answer within 5 s".to_owned())]);
    assert!(commands.iter().any(|it| matches!(it, RouteCommand::Warn(words) if words.contains("/r2/set_mode"))));
    assert_eq!(routes.call_counters().failed, 1);
}

#[test]
fn whoever_waits_is_told_when_the_exchange_says_that_there_will_be_no_answer() {
    for cause in [CallCause::NoService, CallCause::PeerGone, CallCause::Timeout, CallCause::Busy, CallCause::Failed] {
        let mut routes = connected();
        let server = open(&mut routes, feed(1, "/set_mode", SET_BOOL));
        let asked = ask(&mut routes, server, 40, at(1));
        routes.handle_failure(&lost(asked.call, cause), at(2));
        assert_eq!(refusals(&drain(&mut routes)), [(RequestId(40), "r2 is gone".to_owned())]);
    }
}

#[test]
fn whoever_waits_is_told_at_once_when_the_line_goes() {
    let mut routes = connected();
    let server = open(&mut routes, feed(1, "/set_mode", SET_BOOL));
    ask(&mut routes, server, 40, at(1));
    routes.handle_disconnected();
    let commands = drain(&mut routes);
    assert_eq!(refusals(&commands), [(RequestId(40), "the line to the exchange is down".to_owned())]);
    assert_eq!(commands.last(), Some(&RouteCommand::DestroyServer(server)), "answered before its server goes");
}

#[test]
fn a_word_that_is_overtaken_by_the_closing_of_the_service_still_reaches_the_caller() {
    let mut routes = connected();
    let server = open(&mut routes, feed(1, "/set_mode", SET_BOOL));
    let asked = ask(&mut routes, server, 40, at(1));
    routes.handle_feeds_closed(&[FeedId(1)]);
    assert_eq!(drain(&mut routes), [], "its word is under way");
    routes.handle_local_request(server, RequestId(41), cdr(), at(1));
    let told = refusals(&drain(&mut routes));
    assert_eq!(told.len(), 1);
    assert!(told[0].1.contains("/set_mode of r2 is not announced any more"), "{}", told[0].1);
    routes.handle_response(Response { call: asked.call, payload: cdr() }, at(2));
    assert_eq!(
        drain(&mut routes),
        [RouteCommand::Respond(server, RequestId(40), cdr()), RouteCommand::DestroyServer(server)]
    );
}

#[test]
fn the_result_of_a_goal_has_no_limit_and_is_asked_for_again_after_the_line_was_down() {
    let mut routes = connected();
    let server = open(&mut routes, feed(1, RESULT, SPIN_RESULT));
    let asked = ask(&mut routes, server, 40, at(1));
    assert_eq!(asked.limit_millis, 0);
    assert_eq!(routes.poll_timeout(), None);
    routes.handle_disconnected();
    assert_eq!(drain(&mut routes), [], "its server stays, for only a server that got the request can answer it");
    assert_eq!(routes.poll_timeout(), None, "for as long as the line is down");
    routes.handle_connected();
    drain(&mut routes);
    assert!(routes.poll_timeout().is_some());
    routes.handle_timeout(at(7_200));
    routes.handle_services_open(vec![feed(900, RESULT, SPIN_RESULT)]);
    let commands = drain(&mut routes);
    let [RouteCommand::SendCall(Frame::Request(again))] = &commands[..] else { panic!("{commands:?}") };
    assert_eq!((again.id, &again.payload), (900, &cdr()));
    assert_ne!(again.call, asked.call);
    routes.handle_response(Response { call: again.call, payload: cdr() }, at(9_000));
    assert_eq!(drain(&mut routes), [RouteCommand::Respond(server, RequestId(40), cdr())]);
    routes.handle_feeds_closed(&[FeedId(900)]);
    assert_eq!(drain(&mut routes), [RouteCommand::DestroyServer(server)]);
}

#[test]
fn the_result_of_a_goal_is_asked_for_again_when_its_owner_was_gone() {
    let mut routes = connected();
    let server = open(&mut routes, feed(1, RESULT, SPIN_RESULT));
    let asked = ask(&mut routes, server, 40, at(1));
    routes.handle_feeds_closed(&[FeedId(1)]);
    routes.handle_failure(&lost(asked.call, CallCause::PeerGone), at(1));
    routes.handle_timeout(at(1));
    assert_eq!(drain(&mut routes), []);
    assert_eq!(routes.poll_timeout(), Some(at(1) + defaults::RESULT_PATIENCE_OFFLINE));
    routes.handle_services_open(vec![feed(2, RESULT, SPIN_RESULT)]);
    assert_eq!(requests(&drain(&mut routes)).len(), 1);
    assert_eq!(routes.poll_timeout(), None);
}

#[test]
fn a_result_that_nobody_will_give_ends_in_failure_when_patience_does() {
    let mut routes = connected();
    let server = open(&mut routes, feed(1, RESULT, SPIN_RESULT));
    let asked = ask(&mut routes, server, 40, at(1));
    routes.handle_feeds_closed(&[FeedId(1)]);
    routes.handle_failure(&lost(asked.call, CallCause::NoService), at(1));
    routes.handle_timeout(at(1));
    let until = at(1) + defaults::RESULT_PATIENCE;
    assert_eq!((drain(&mut routes), routes.poll_timeout()), (vec![], Some(until)));
    routes.handle_timeout(until);
    let commands = drain(&mut routes);
    let told = refusals(&commands);
    assert!(told[0].1.contains("has not come back within 60 s"), "{}", told[0].1);
    assert_eq!(commands.last(), Some(&RouteCommand::DestroyServer(server)));
}

#[test]
fn a_result_that_was_lost_while_the_service_is_announced_is_asked_for_again_soon() {
    let mut routes = connected();
    let server = open(&mut routes, feed(1, RESULT, SPIN_RESULT));
    let asked = ask(&mut routes, server, 40, at(1));
    routes.handle_failure(&lost(asked.call, CallCause::NoService), at(1));
    routes.handle_timeout(at(1));
    assert_eq!(routes.poll_timeout(), Some(at(1) + defaults::RESULT_RETRY));
    routes.handle_timeout(at(1) + defaults::RESULT_RETRY);
    assert_eq!(requests(&drain(&mut routes)).len(), 1);
}

#[test]
fn two_services_of_one_name_are_not_both_served_and_the_second_gets_the_name_when_it_is_free() {
    let mut rules = Rules::default();
    for from in ["/r2/set_mode", "/r3/set_mode"] {
        let name = Pattern::new(from).unwrap();
        let rename = Rename::new(&name, "/set_mode").unwrap();
        rules.add(Section::Want, Rule { rename: Some(rename), ..Rule::new(Subject::Service, name) }, false).unwrap();
    }
    let mut routes = Routes::new(id("r1"), ClientKind::Robot, rules);
    routes.handle_connected();
    drain(&mut routes);
    let first = open(&mut routes, feed(1, "/set_mode", SET_BOOL));
    routes.handle_services_open(vec![ServiceFeed { origin: id("r3"), ..feed(2, "/set_mode", SET_BOOL) }]);
    let commands = drain(&mut routes);
    let [RouteCommand::Warn(warning)] = &commands[..] else { panic!("{commands:?}") };
    assert!(warning.contains("r2") && warning.contains("r3"), "{warning}");
    routes.handle_feeds_closed(&[FeedId(1)]);
    let commands = drain(&mut routes);
    assert_eq!(commands[0], RouteCommand::DestroyServer(first));
    assert!(matches!(&commands[1], RouteCommand::CreateServer(_, service) if service.name == "/set_mode"));
}

#[test]
fn rules_that_change_end_what_they_do_not_let_in_and_begin_what_they_do() {
    let mut routes = connected();
    let server = open(&mut routes, feed(1, "/set_mode", SET_BOOL));
    let asked = ask(&mut routes, server, 40, at(1));
    let number = routes.rules().want[0].id;
    let (section, rule) = routes.remove_rule(number).unwrap();
    let commands = drain(&mut routes);
    assert_eq!(refusals(&commands).len(), 1);
    assert!(commands.contains(&RouteCommand::SendCall(Frame::Abandon(vec![asked.call]))));
    assert_eq!(commands.last(), Some(&RouteCommand::DestroyServer(server)));
    routes.add_rule(section, rule, false).unwrap();
    let commands = drain(&mut routes);
    assert!(commands.iter().any(|it| matches!(it, RouteCommand::CreateServer(_, _))), "{commands:?}");
}

#[test]
fn every_service_says_what_it_is_and_what_is_in_its_way() {
    let mut routes = connected();
    let server = open(&mut routes, feed(1, "/set_mode", SET_BOOL));
    routes.handle_services_open(vec![feed(2, "/reset", "std_srvs/srv/Trigger")]);
    ask(&mut routes, server, 40, at(1));
    routes.handle_graph(graph(&[("/set_mode", SET_BOOL, false, 1), ("/r9/anything", SET_BOOL, false, 2)]));
    let channel = offers(&drain(&mut routes))[0].channel;
    let report = |routes: &Routes| {
        let report = routes.report().into_iter().map(|it| {
            assert_eq!(it.kind, RouteKind::Service);
            (it.exchange_name, it.direction, it.state, (it.messages, it.dropped), it.reason)
        });
        report.collect::<Vec<_>>()
    };
    let told = report(&routes);
    let states: Vec<_> = told.iter().map(|it| (it.0.as_str(), it.1, it.2, it.3)).collect();
    assert_eq!(
        states,
        [
            ("/r1/r9/anything", Direction::Out, RouteState::Closed, (0, 0)),
            ("/r1/set_mode", Direction::Out, RouteState::Open, (0, 0)),
            ("/r2/reset", Direction::In, RouteState::Closed, (0, 0)),
            ("/r2/set_mode", Direction::In, RouteState::Open, (1, 0)),
        ]
    );
    assert!(told[0].4.contains("belong to the client r9") && told[2].4.contains("no rule"), "{told:?}");
    let (caller, _) = pass_on(&mut routes, channel, 70, at(1));
    routes.handle_caller_failed(caller, "std_srvs is not installed");
    routes.handle_server_failed(server, "std_srvs is not installed");
    drain(&mut routes);
    let told = report(&routes);
    assert_eq!((told[1].2, told[3].2), (RouteState::Closed, RouteState::Closed));
    assert_eq!((told[1].3, told[3].3), ((1, 1), (1, 1)), "calls, and those that failed");
    assert_eq!(routes.problems().len(), 3);
    routes.handle_retry(at(10));
    routes.handle_retry(at(10) + defaults::RETRY_CLOSED);
    let commands = drain(&mut routes);
    assert!(matches!(&commands[..], [RouteCommand::CreateServer(..)]), "tried again: {commands:?}");
    assert_eq!(report(&routes)[3].2, RouteState::Open);
}

#[test]
fn servers_that_do_not_agree_about_their_type_are_not_offered() {
    let mut routes = connected();
    let mut graph = graph(&[("/set_mode", SET_BOOL, false, 1)]);
    let other = Endpoint { type_hash: "RIHS01_11".to_owned(), ..server(SET_BOOL, false, 2) };
    graph.services[0].servers.push(other);
    routes.handle_graph(graph);
    let commands = drain(&mut routes);
    let [RouteCommand::Warn(warning)] = &commands[..] else { panic!("{commands:?}") };
    assert!(warning.contains("RIHS01_00, RIHS01_11"), "{warning}");
}

#[test]
fn a_server_that_cannot_be_made_is_told_and_tried_again_when_it_is_announced_again() {
    let mut routes = connected();
    let server = open(&mut routes, feed(1, "/set_mode", SET_BOOL));
    routes.handle_server_failed(server, "std_srvs is not installed");
    let commands = drain(&mut routes);
    assert!(matches!(&commands[..], [RouteCommand::Warn(words)] if words.contains("/r2/set_mode")), "{commands:?}");
    routes.handle_feeds_closed(&[FeedId(1)]);
    assert_eq!(drain(&mut routes), []);
    assert_ne!(open(&mut routes, feed(2, "/set_mode", SET_BOOL)), server);
}

#[test]
fn failures_are_logged_no_more_often_than_a_minute_allows() {
    let mut routes = connected();
    let server = open(&mut routes, feed(1, "/set_mode", SET_BOOL));
    let mut logged = |from: u64, now| {
        let mut warnings = 0;
        for request in from..from + 100 {
            let asked = ask(&mut routes, server, request, now);
            routes.handle_failure(&lost(asked.call, CallCause::Failed), now);
            warnings += drain(&mut routes).iter().filter(|it| matches!(it, RouteCommand::Warn(_))).count();
        }
        warnings
    };
    let most = defaults::CALL_FAILURES_LOGGED_PER_MINUTE as usize;
    assert_eq!([logged(0, at(100)), logged(200, at(110)), logged(400, at(160))], [most, 0, most]);
    assert_eq!(routes.call_counters().failed, 300, "but each is counted");
}

/// What may happen to a client that calls others.
#[derive(Debug, Clone, Copy)]
enum Step {
    Ask { result: bool },
    Answer { nth: usize },
    Fail { nth: usize, cause: CallCause },
    Close { result: bool },
    Open { result: bool },
    Cut,
    Connect,
    Later { seconds: u64 },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let causes = [CallCause::NoService, CallCause::PeerGone, CallCause::Timeout, CallCause::Busy, CallCause::Failed];
    let step = prop_oneof![
        6 => any::<bool>().prop_map(|result| Step::Ask { result }),
        3 => (0..8_usize).prop_map(|nth| Step::Answer { nth }),
        3 => ((0..8_usize), proptest::sample::select(causes.to_vec()))
            .prop_map(|(nth, cause)| Step::Fail { nth, cause }),
        1 => any::<bool>().prop_map(|result| Step::Close { result }),
        2 => any::<bool>().prop_map(|result| Step::Open { result }),
        1 => Just(Step::Cut),
        2 => Just(Step::Connect),
        2 => (0..40_u64).prop_map(|seconds| Step::Later { seconds }),
    ];
    proptest::collection::vec(step, 0..120)
}

/// A client, and what the bridge and the exchange know.
struct Model {
    routes: Routes,
    now: Mono,
    online: bool,
    feeds: [Option<u32>; 2],
    next_feed: u32,
    servers: BTreeMap<ServerId, bool>,
    asked: Vec<CallId>,
    next_request: u64,
    /// How many answers each request has had.
    answers: BTreeMap<RequestId, u32>,
}

impl Model {
    fn carry_out(&mut self) {
        while let Some(command) = self.routes.poll_command() {
            match command {
                RouteCommand::CreateServer(server, service) => {
                    assert!(!self.servers.values().any(|&result| result == service.name.contains("spin")));
                    self.servers.insert(server, service.name.contains("spin"));
                }
                RouteCommand::DestroyServer(server) => assert!(self.servers.remove(&server).is_some()),
                RouteCommand::Respond(server, request, _) | RouteCommand::RespondFailure(server, request, _) => {
                    assert!(self.servers.contains_key(&server), "{server} is gone before it has answered {request}");
                    *self.answers.get_mut(&request).unwrap() += 1;
                }
                RouteCommand::SendCall(Frame::Request(request)) => {
                    assert!(self.online && self.feeds.contains(&Some(request.id)), "asked of nobody");
                    self.asked.push(request.call);
                }
                RouteCommand::SendCall(Frame::Abandon(calls)) => self.asked.retain(|call| !calls.contains(call)),
                RouteCommand::SendCall(other) => panic!("{other:?}"),
                _ => {}
            }
        }
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Ask { result } => {
                if let Some((&server, _)) = self.servers.iter().find(|(_, is_result)| **is_result == result) {
                    let request = RequestId(self.next_request);
                    self.next_request += 1;
                    self.answers.insert(request, 0);
                    self.routes.handle_local_request(server, request, cdr(), self.now);
                }
            }
            Step::Answer { nth } => {
                if nth < self.asked.len() {
                    let call = self.asked.remove(nth);
                    self.routes.handle_response(Response { call, payload: cdr() }, self.now);
                }
            }
            Step::Fail { nth, cause } => {
                if nth < self.asked.len() {
                    let call = self.asked.remove(nth);
                    self.routes.handle_failure(&lost(call, cause), self.now);
                }
            }
            Step::Close { result } => {
                if let Some(feed) = self.feeds[usize::from(result)].take() {
                    self.routes.handle_feeds_closed(&[FeedId(feed)]);
                }
            }
            Step::Open { result } if self.online => {
                let number = self.next_feed;
                self.next_feed += 1;
                self.feeds[usize::from(result)] = Some(number);
                let (name, type_name) = if result { (RESULT, SPIN_RESULT) } else { ("/set_mode", SET_BOOL) };
                self.routes.handle_services_open(vec![feed(number, name, type_name)]);
            }
            Step::Cut if self.online => {
                self.online = false;
                self.feeds = [None; 2];
                self.asked.clear();
                self.routes.handle_disconnected();
            }
            Step::Connect if !self.online => {
                self.online = true;
                self.routes.handle_connected();
            }
            Step::Later { seconds } => self.later(Duration::from_secs(seconds)),
            Step::Open { .. } | Step::Cut | Step::Connect => {}
        }
        self.carry_out();
    }

    fn later(&mut self, by: Duration) {
        let end = self.now + by;
        while let Some(due) = self.routes.poll_timeout().filter(|&due| due <= end) {
            self.now = self.now.max(due);
            self.routes.handle_timeout(self.now);
            self.carry_out();
            assert!(self.routes.poll_timeout().is_none_or(|next| next > due || due < self.now), "it never rests");
        }
        self.now = end;
    }
}

proptest! {
    #[test]
    fn every_request_has_exactly_one_answer_whatever_happens(steps in steps()) {
        let mut model = Model {
            routes: connected(),
            now: at(1),
            online: true,
            feeds: [None; 2],
            next_feed: 0,
            servers: BTreeMap::new(),
            asked: vec![],
            next_request: 0,
            answers: BTreeMap::new(),
        };
        for result in [false, true] {
            model.step(Step::Open { result });
        }
        for step in steps {
            model.step(step);
            prop_assert!(model.answers.values().all(|&answers| answers <= 1));
        }
        // The exchange has a word for every call of a service that is gone; then nobody comes back.
        model.step(Step::Connect);
        for result in [false, true] {
            model.step(Step::Close { result });
        }
        while !model.asked.is_empty() {
            model.step(Step::Fail { nth: 0, cause: CallCause::PeerGone });
        }
        model.later(defaults::RESULT_PATIENCE_OFFLINE * 2);
        prop_assert!(model.answers.values().all(|&answers| answers == 1), "{:?}", model.answers);
        prop_assert!(model.servers.is_empty(), "{:?}", model.servers);
        prop_assert_eq!(model.routes.poll_timeout(), None);
    }
}
