//! The typed nodes against real ROS: services, parameters, status, diagnostics, markers.
#![cfg(feature = "ros")]
#![allow(clippy::unwrap_used)]

mod ros_process;

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use r2r::{
    WrappedTypesupport, diagnostic_msgs::msg::DiagnosticArray, switchboard::msg, visualization_msgs::msg::MarkerArray,
};
use ros_process::alone;
use switchboard::{
    admin::{AdminError, AdminReply, AdminRequest},
    ids::{ClientId, ReaderId, RuleId},
    model::{ClientKind, Durability, Qos, TopicInfo},
    registry::{ExportRequest, ExportTable, Exported},
    ros::{
        AdminClient, AdminQuery, AskError, Bridge, BridgeEvent, BridgeOptions, ClientNode, ClientParameters,
        NodeOptions, RosError, RouteClient, RouteQuery, ServerNode, ServerParameters,
    },
    routes::{Direction, RouteKind, RouteList, RouteReply, RouteRequest, RouteState, RouteStatus, RuleStatus, Section},
    status::{ClientState, ClientStatus, LineStatus, ServerStatus, Traffic},
    time::Wall,
};
use tokio::sync::mpsc;

/// Generous, since the machine may be busy.
const LIMIT: Duration = Duration::from_secs(20);

fn server_parameters() -> ServerParameters {
    ServerParameters {
        address: "127.0.0.1".to_owned(),
        port: 7420,
        open_on_start: true,
        database: String::new(),
        export_directory: String::new(),
        max_clients: 1_000,
        login_timeout: 5.0,
        ping_period: 1.0,
        keep_alive_timeout: 4.0,
        status_period: 1.0,
        frame_id: "map".to_owned(),
    }
}

fn client_parameters(kind: Option<&str>) -> ClientParameters {
    ClientParameters {
        client_id: String::new(),
        display_name: String::new(),
        kind: kind.map(str::to_owned),
        server: "localhost:7420".to_owned(),
        rules: String::new(),
        ping_period: 1.0,
        keep_alive_timeout: 4.0,
    }
}

/// For nodes that are not asked about their routes.
fn nobody_asks() -> mpsc::Sender<RouteQuery> {
    mpsc::channel(1).0
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

/// The node's name, apart from those of other tests in the same domain.
fn options(name: &str) -> NodeOptions {
    NodeOptions { name: name.to_owned(), namespace: format!("/t{}", std::process::id()) }
}

fn a_client(id: &str, state: ClientState) -> ClientStatus {
    ClientStatus {
        id: ClientId::new(id).unwrap(),
        name: "with a \0 in it".to_owned(),
        kind: ClientKind::Robot,
        state,
        peer: None,
        address: "127.0.0.1:40123".parse().unwrap(),
        host_name: "host".to_owned(),
        software_version: "0.1.0".to_owned(),
        ros_distro: "jazzy".to_owned(),
        capabilities: vec!["topics".to_owned()],
        first_seen: Wall(1_000_000_000),
        last_seen: Wall(2_000_000_000),
        connected_since: None,
        reason: "goodbye".to_owned(),
        round_trip: None,
        clock_offset: None,
        traffic: Traffic::default(),
        contested: Vec::new(),
        problems: Vec::new(),
    }
}

fn a_status(clients: Vec<ClientStatus>) -> ServerStatus {
    ServerStatus {
        stamp: Wall(3_000_000_000),
        endpoint: Some("127.0.0.1:7420".parse().unwrap()),
        closed_reason: String::new(),
        clients,
        refused: 2,
        suppressed: 1,
    }
}

/// Listens to one topic with a raw reader, from the outside.
struct Ear {
    _bridge: Bridge,
    events: mpsc::Receiver<BridgeEvent>,
}

impl Ear {
    fn latched(name: &str, type_name: &str) -> Ear {
        Ear::to(name, type_name, Durability::TransientLocal)
    }

    fn to(name: &str, type_name: &str, durability: Durability) -> Ear {
        let (sender, events) = mpsc::channel(256);
        let bridge =
            Bridge::start(BridgeOptions { node_name: "ear".to_owned(), namespace: "/".to_owned() }, sender).unwrap();
        let topic = TopicInfo {
            name: name.to_owned(),
            type_name: type_name.to_owned(),
            type_hash: String::new(),
            qos: Qos { durability, ..Qos::default() },
        };
        bridge.create_reader(ReaderId(1), &topic).unwrap();
        Ear { _bridge: bridge, events }
    }

    async fn next<T: WrappedTypesupport>(&mut self) -> T {
        let wait = async {
            loop {
                match self.events.recv().await {
                    Some(BridgeEvent::Sample(sample)) => return T::from_serialized_bytes(&sample.payload).unwrap(),
                    Some(_) => {}
                    None => panic!("the bridge is gone"),
                }
            }
        };
        tokio::time::timeout(LIMIT, wait).await.expect("nothing was heard")
    }
}

/// Stands where the exchange stands: answers each request with what `answer` makes of it.
fn exchange(
    mut requests: mpsc::Receiver<AdminQuery>,
    answer: impl Fn(AdminRequest) -> Result<AdminReply, AdminError> + Send + 'static,
) {
    tokio::spawn(async move {
        while let Some((request, sender)) = requests.recv().await {
            let _ = sender.send(answer(request));
        }
    });
}

#[test]
fn every_service_carries_its_request_and_its_answer() {
    alone("every_service_carries_its_request_and_its_answer", &[], || {
        runtime().block_on(every_service_carries_its_request_and_its_answer_here())
    });
}

async fn every_service_carries_its_request_and_its_answer_here() {
    let (sender, requests) = mpsc::channel(8);
    let node = ServerNode::start(options("switchboard"), server_parameters(), sender).unwrap();
    let endpoint: SocketAddr = "127.0.0.1:9000".parse().unwrap();
    exchange(requests, move |request| match request {
        AdminRequest::Open { address, port } => {
            assert_eq!((address.as_deref(), port), (Some("127.0.0.1"), Some(9_000)));
            Ok(AdminReply::Opened(endpoint))
        }
        AdminRequest::Close { reason } if reason == "lunch" => Ok(AdminReply::Closed { clients: 2 }),
        AdminRequest::Close { reason } => Err(AdminError(format!("not because of {reason:?}"))),
        AdminRequest::Export(export) => {
            assert_eq!((export.table, export.start, export.end), (ExportTable::Sessions, Some(Wall(5)), None));
            assert!(export.now > Wall(1_600_000_000_000_000_000), "the time is the node's");
            Ok(AdminReply::Exported(Exported { path: format!("/tmp/{}", export.file_name).into(), rows: 7 }))
        }
        AdminRequest::ListClients { connected_only } => {
            assert!(connected_only);
            Ok(AdminReply::Clients(vec![ClientStatus { name: "r1".to_owned(), ..a_client("r1", ClientState::On) }]))
        }
        AdminRequest::DisconnectClient { id, reason } => {
            assert_eq!((id.as_str(), reason.as_str()), ("r1", "disconnected by the administrator"));
            Ok(AdminReply::Disconnected)
        }
    });
    let admin = AdminClient::connect(node.fully_qualified_name()).unwrap();

    let open = AdminRequest::Open { address: Some("127.0.0.1".to_owned()), port: Some(9_000) };
    assert_eq!(admin.ask(open, LIMIT).await, Ok(AdminReply::Opened(endpoint)));
    let close = |reason: &str| AdminRequest::Close { reason: reason.to_owned() };
    assert_eq!(admin.ask(close("lunch"), LIMIT).await, Ok(AdminReply::Closed { clients: 2 }));
    assert_eq!(
        admin.ask(close(""), LIMIT).await,
        Err(AskError::Refused(AdminError("not because of \"closed by the administrator\"".to_owned())))
    );
    let export = ExportRequest {
        table: ExportTable::Sessions,
        file_name: "x.csv".to_owned(),
        start: Some(Wall(5)),
        end: None,
        overwrite: true,
        now: Wall(0),
    };
    assert_eq!(
        admin.ask(AdminRequest::Export(export), LIMIT).await,
        Ok(AdminReply::Exported(Exported { path: "/tmp/x.csv".into(), rows: 7 }))
    );
    let listed = admin.ask(AdminRequest::ListClients { connected_only: true }, LIMIT).await.unwrap();
    assert!(matches!(listed, AdminReply::Clients(clients) if clients.len() == 1 && clients[0].id.as_str() == "r1"));
    let disconnect = AdminRequest::DisconnectClient { id: ClientId::new("r1").unwrap(), reason: String::new() };
    assert_eq!(admin.ask(disconnect, LIMIT).await, Ok(AdminReply::Disconnected));
    drop(admin);
    drop(node);
}

#[test]
fn every_request_is_answered_even_when_the_exchange_is_busy_slow_or_gone() {
    alone("every_request_is_answered_even_when_the_exchange_is_busy_slow_or_gone", &[], || {
        runtime().block_on(every_request_is_answered_even_when_the_exchange_is_busy_slow_or_gone_here())
    });
}

async fn every_request_is_answered_even_when_the_exchange_is_busy_slow_or_gone_here() {
    // Nobody takes requests out, and only one has room.
    let (sender, requests) = mpsc::channel(1);
    let node = ServerNode::start(options("switchboard"), server_parameters(), sender).unwrap();
    let admin = AdminClient::connect(node.fully_qualified_name()).unwrap();
    let list = || admin.ask(AdminRequest::ListClients { connected_only: false }, LIMIT);
    let close = || admin.ask(AdminRequest::Close { reason: String::new() }, LIMIT);
    let (first, others) = tokio::join!(list(), async {
        // One of these is refused for sure; then the exchange ends, and with it all that waited.
        let mut refused = Vec::new();
        for _ in 0..3 {
            match tokio::time::timeout(Duration::from_secs(1), close()).await {
                Ok(outcome) => refused.push(outcome.unwrap_err().to_string()),
                Err(_) => refused.push("waits".to_owned()),
            }
        }
        drop(requests);
        refused
    });
    assert!(others.iter().any(|words| words.contains("busy")), "{others:?}");
    let first = first.unwrap_err().to_string();
    assert!(first.contains("stopping") || first.contains("busy"), "{first}");
    assert_eq!(list().await.unwrap_err().to_string(), "the exchange is stopping");
    drop(admin);
    drop(node);
}

#[test]
fn without_an_exchange_the_administrator_is_told_what_to_do() {
    alone("without_an_exchange_the_administrator_is_told_what_to_do", &[], || {
        runtime().block_on(without_an_exchange_the_administrator_is_told_what_to_do_here())
    });
}

async fn without_an_exchange_the_administrator_is_told_what_to_do_here() {
    let admin = AdminClient::connect(&format!("/t{}/nobody", std::process::id())).unwrap();
    let patience = Duration::from_millis(300);
    let asked = admin.ask(AdminRequest::ListClients { connected_only: false }, patience).await.unwrap_err();
    let waited = admin.wait_for_status(patience).await.unwrap_err();
    for words in [asked.to_string(), waited.to_string()] {
        assert!(words.contains("/nobody") && words.contains("switchboard server"), "{words}");
    }
    assert!(AdminClient::connect("not a name").is_err());
}

#[test]
fn a_status_is_published_as_status_diagnostics_and_markers() {
    alone("a_status_is_published_as_status_diagnostics_and_markers", &[], || {
        runtime().block_on(a_status_is_published_as_status_diagnostics_and_markers_here())
    });
}

async fn a_status_is_published_as_status_diagnostics_and_markers_here() {
    let (sender, _requests) = mpsc::channel(8);
    let node = ServerNode::start(options("switchboard"), server_parameters(), sender).unwrap();
    let full = node.fully_qualified_name().to_owned();
    let mut diagnostics = Ear::to("/diagnostics", "diagnostic_msgs/msg/DiagnosticArray", Durability::Volatile);
    let two = a_status(vec![a_client("r1", ClientState::On), a_client("r2", ClientState::Off)]);
    node.publish_status(&two).unwrap();

    // Late joiners get them too.
    let admin = AdminClient::connect(&full).unwrap();
    let seen = admin.wait_for_status(LIMIT).await.unwrap();
    assert_eq!(seen.clients.len(), 2);
    assert_eq!(seen.clients[0].name, "with a \u{fffd} in it");
    assert_eq!((seen.endpoint, seen.refused, seen.suppressed), (two.endpoint, 2, 1));
    let mut status = Ear::latched(&format!("{full}/connection_status"), "switchboard/msg/ConnectionStatus");
    let message: msg::ConnectionStatus = status.next().await;
    assert!(message.open && message.port == 7_420 && message.clients.len() == 2);
    let mut markers = Ear::latched(&format!("{full}/markers"), "visualization_msgs/msg/MarkerArray");
    assert_eq!(markers.next::<MarkerArray>().await.markers.len(), 4);

    // One less: its markers are deleted. The same again: nothing new to show, so the next array is of the third.
    let one = a_status(vec![a_client("r1", ClientState::On)]);
    node.publish_status(&one).unwrap();
    let array: MarkerArray = markers.next().await;
    let actions: Vec<_> = array.markers.iter().map(|marker| marker.action).collect();
    assert_eq!(actions, [0, 0, 2, 2]);

    // Discovery takes a while, and diagnostics come once a second.
    let array = loop {
        node.publish_status(&one).unwrap();
        let heard = tokio::time::timeout(Duration::from_millis(200), diagnostics.next::<DiagnosticArray>()).await;
        match heard {
            Ok(array) if array.status.len() == 2 => break array,
            _ => {}
        }
    };
    assert_eq!(array.status[0].name, "switchboard: exchange");
    assert_eq!(array.status[1].name, "switchboard: client r1");
    drop((admin, status, markers, diagnostics));
    drop(node);
}

#[test]
fn names_and_parameters_follow_the_ros_arguments() {
    let arguments = [
        "--ros-args",
        "-r",
        "__node:=exchange",
        "-r",
        "__ns:=/fleet",
        "-p",
        "port:=9001",
        "-p",
        "login_timeout:=2.5",
        "-p",
        "prot:=1",
    ];
    alone("names_and_parameters_follow_the_ros_arguments", &arguments, || {
        runtime().block_on(names_and_parameters_follow_the_ros_arguments_here())
    });
}

async fn names_and_parameters_follow_the_ros_arguments_here() {
    let (sender, _requests) = mpsc::channel(8);
    let node = ServerNode::start(options("switchboard"), server_parameters(), sender).unwrap();
    assert_eq!((node.name(), node.namespace(), node.fully_qualified_name()), ("exchange", "/fleet", "/fleet/exchange"));
    let expected = ServerParameters { port: 9_001, login_timeout: 2.5, ..server_parameters() };
    assert_eq!(node.parameters(), expected);

    // And they follow `ros2 param set`.
    let context = r2r::Context::create().unwrap();
    let mut other = r2r::Node::create(context, "setter", "/").unwrap();
    let client = other
        .create_client::<r2r::rcl_interfaces::srv::SetParameters::Service>(
            "/fleet/exchange/set_parameters",
            r2r::QosProfile::services_default(),
        )
        .unwrap();
    let there = r2r::Node::is_available(&client).unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let stopped = stop.clone();
    let spin = tokio::task::spawn_blocking(move || {
        while !stopped.load(Ordering::SeqCst) {
            other.spin_once(Duration::from_millis(20));
        }
    });
    tokio::time::timeout(LIMIT, there).await.unwrap().unwrap();
    let mut parameter = r2r::rcl_interfaces::msg::Parameter { name: "frame_id".to_owned(), ..Default::default() };
    parameter.value.type_ = 4;
    parameter.value.string_value = "world".to_owned();
    let request = r2r::rcl_interfaces::srv::SetParameters::Request { parameters: vec![parameter] };
    let response = tokio::time::timeout(LIMIT, client.request(&request).unwrap()).await.unwrap().unwrap();
    assert!(response.results[0].successful);
    assert_eq!(node.parameters().frame_id, "world");
    stop.store(true, Ordering::SeqCst);
    spin.await.unwrap();
    drop(node);
}

#[test]
fn wrong_ros_arguments_are_refused_with_words() {
    alone("wrong_ros_arguments_are_refused_with_words", &["--ros-args", "-p", "server"], || {
        runtime().block_on(wrong_ros_arguments_are_refused_with_words_here())
    });
}

async fn wrong_ros_arguments_are_refused_with_words_here() {
    let error = ClientNode::start(options("robot"), client_parameters(None), nobody_asks()).err().unwrap();
    assert!(matches!(error, RosError::Arguments(_)), "{error}");
}

#[test]
fn a_parameter_of_the_wrong_type_is_refused_with_its_name() {
    alone("a_parameter_of_the_wrong_type_is_refused_with_its_name", &["--ros-args", "-p", "server:=7"], || {
        runtime().block_on(a_parameter_of_the_wrong_type_is_refused_with_its_name_here())
    });
}

async fn a_parameter_of_the_wrong_type_is_refused_with_its_name_here() {
    let error = ClientNode::start(options("robot"), client_parameters(None), nobody_asks()).err().unwrap();
    assert!(error.to_string().contains("server"), "{error}");
}

#[test]
fn a_client_shows_its_line_and_the_table() {
    let arguments = ["--ros-args", "-p", "kind:=observer", "-p", "client_id:=eve"];
    alone("a_client_shows_its_line_and_the_table", &arguments, || {
        runtime().block_on(a_client_shows_its_line_and_the_table_here())
    });
}

async fn a_client_shows_its_line_and_the_table_here() {
    let node = ClientNode::start(options("operator"), client_parameters(Some("operator")), nobody_asks()).unwrap();
    let parameters = node.parameters();
    assert_eq!((parameters.kind.as_deref(), parameters.client_id.as_str()), (Some("observer"), "eve"));
    let full = node.fully_qualified_name().to_owned();
    let line = LineStatus {
        stamp: Wall(3_000_000_000),
        id: ClientId::new("eve").unwrap(),
        connected: false,
        server: "localhost:7420".to_owned(),
        since: Wall(2_000_000_000),
        reason: "refused".to_owned(),
        attempts: 3,
        round_trip: None,
        clock_offset: None,
        messages_dropped: 0,
        problems: Vec::new(),
    };
    node.publish_connection(&line).unwrap();
    node.publish_clients(&[a_client("r1", ClientState::On)], Wall(4_000_000_000)).unwrap();
    let mut connection = Ear::latched(&format!("{full}/connection"), "switchboard/msg/Connection");
    let message: msg::Connection = connection.next().await;
    assert_eq!((message.id.as_str(), message.reason.as_str(), message.attempts), ("eve", "refused", 3));
    let mut clients = Ear::latched(&format!("{full}/clients"), "switchboard/msg/Clients");
    let message: msg::Clients = clients.next().await;
    assert_eq!((message.clients.len(), message.header.stamp.sec), (1, 4));
    drop((connection, clients));
    drop(node);
}

fn a_list() -> RouteList {
    let route = RouteStatus {
        kind: RouteKind::Topic,
        direction: Direction::Out,
        state: RouteState::Closed,
        reason: "why".to_owned(),
        local_name: "/odom".to_owned(),
        exchange_name: "/r1/odom".to_owned(),
        type_name: "nav_msgs/msg/Odometry".to_owned(),
        type_hash: String::new(),
        peer: ClientId::new("r2").ok(),
        graph_qos: "reliable, volatile".to_owned(),
        own_qos: "best_effort, volatile".to_owned(),
        rule: "{topic: /odom}".to_owned(),
        rate: 1.5,
        messages: 3,
        dropped: 2,
    };
    let rule = RuleStatus { id: RuleId(7), section: Section::Offer, rule: "{topic: /odom}".to_owned() };
    RouteList { routes: vec![route], rules: vec![rule] }
}

#[test]
fn a_client_is_asked_about_its_routes_and_rules() {
    alone("a_client_is_asked_about_its_routes_and_rules", &[], || {
        runtime().block_on(a_client_is_asked_about_its_routes_and_rules_here())
    });
}

async fn a_client_is_asked_about_its_routes_and_rules_here() {
    let (sender, mut requests) = mpsc::channel::<RouteQuery>(8);
    let node = ClientNode::start(options("robot"), client_parameters(None), sender).unwrap();
    let full = node.fully_qualified_name().to_owned();
    tokio::spawn(async move {
        while let Some((request, reply)) = requests.recv().await {
            let answer = match request {
                RouteRequest::List => Ok(RouteReply::Listed(a_list())),
                RouteRequest::AddRule { section: Section::Want, rule, first: true } if rule == "/*/odom" => {
                    Ok(RouteReply::Added(RuleId(8)))
                }
                RouteRequest::AddRule { rule, .. } => Err(AdminError(format!("not {rule}"))),
                RouteRequest::RemoveRule(id) => Ok(RouteReply::Removed(format!("rule {id}"))),
                RouteRequest::Release(topic) => {
                    assert_eq!(topic, "/cmd_vel");
                    Ok(RouteReply::Released(ClientId::new("alice").unwrap()))
                }
            };
            let _ = reply.send(answer);
        }
    });
    let client = RouteClient::connect(Some(&full), LIMIT).await.unwrap();
    assert_eq!(client.server(), full);
    assert_eq!(client.ask(RouteRequest::List, LIMIT).await, Ok(RouteReply::Listed(a_list())));
    let add = |section, rule: &str| RouteRequest::AddRule { section, rule: rule.to_owned(), first: true };
    assert_eq!(client.ask(add(Section::Want, "/*/odom"), LIMIT).await, Ok(RouteReply::Added(RuleId(8))));
    let refused = client.ask(add(Section::Offer, "/x"), LIMIT).await;
    assert_eq!(refused, Err(AskError::Refused(AdminError("not /x".to_owned()))));
    let removed = client.ask(RouteRequest::RemoveRule(RuleId(8)), LIMIT).await;
    assert_eq!(removed, Ok(RouteReply::Removed("rule 8".to_owned())));
    let released = client.ask(RouteRequest::Release("/cmd_vel".to_owned()), LIMIT).await;
    assert_eq!(released, Ok(RouteReply::Released(ClientId::new("alice").unwrap())));
    drop(client);
    drop(node);
}

#[test]
fn the_only_client_of_a_graph_is_found_and_several_are_named() {
    alone("the_only_client_of_a_graph_is_found_and_several_are_named", &[], || {
        runtime().block_on(the_only_client_of_a_graph_is_found_and_several_are_named_here())
    });
}

async fn the_only_client_of_a_graph_is_found_and_several_are_named_here() {
    let patience = Duration::from_millis(300);
    let nobody = RouteClient::connect(None, patience).await.err().unwrap();
    assert!(matches!(&nobody, RosError::Timeout(words) if words.contains("no client")), "{nobody}");
    let first = ClientNode::start(options("robot"), client_parameters(None), nobody_asks()).unwrap();
    let found = RouteClient::connect(None, LIMIT).await.unwrap();
    assert_eq!(found.server(), first.fully_qualified_name());
    drop(found);
    let second = ClientNode::start(options("other"), client_parameters(None), nobody_asks()).unwrap();
    let both = [second.fully_qualified_name().to_owned(), first.fully_qualified_name().to_owned()];
    // Discovery may show the second one late.
    let several = async {
        loop {
            match RouteClient::connect(None, LIMIT).await {
                Err(RosError::Several(names)) => return names,
                Err(error) => panic!("{error}"),
                Ok(_) => {}
            }
        }
    };
    let names = tokio::time::timeout(LIMIT, several).await.unwrap();
    assert_eq!(names, both);
    drop((first, second));
}

#[test]
fn a_node_without_a_runtime_is_refused() {
    let error = ClientNode::start(options("robot"), client_parameters(None), nobody_asks()).err().unwrap();
    assert_eq!(error, RosError::NoRuntime);
}

#[test]
fn every_handle_may_be_shared_between_threads() {
    fn shared<T: Send + Sync>() {}
    shared::<Bridge>();
    shared::<ServerNode>();
    shared::<ClientNode>();
    shared::<AdminClient>();
}
