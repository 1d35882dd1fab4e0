//! A robot or an operator: its line, its routes and its ROS side, in one loop.

use std::{
    collections::{BTreeMap, BTreeSet},
    future::Future,
    time::Duration,
};

use anyhow::Context as _;
use tokio::{
    sync::mpsc,
    time::{Instant, MissedTickBehavior, interval, sleep_until},
};

use super::{
    endpoints::Endpoints,
    parameters::{client_defaults, raw_client},
    signals::asked_to_stop,
};
use crate::{
    admin::AdminError,
    config::{
        ClientConfig, Environment,
        flags::{ClientFlags, OperatorFlags},
        rules_file,
    },
    defaults,
    ids::{ChannelId, ClientId, ConnectionId, FeedId, WriterId},
    model::ClientKind,
    net::{Dial, Dialler, Event, Handle, What, instant, now},
    outbox::Label,
    ros::{self, Bridge, BridgeEvent, BridgeOptions, ClientNode, NodeOptions, Published, RouteQuery, Sample},
    routes::{Outgoing, Passed, RouteCommand, RouteList, RouteReply, RouteRequest, Routes, RuleStatus, Section},
    session::{ClockReading, Timing},
    status::{ClientStatus, LineStatus},
    time::Wall,
    traffic,
    wire::{Cause, ClientsUpdate, Data, Farewell, Frame, Login},
};

mod calls;

/// Name of a robot's node, unless it is remapped.
pub const ROBOT_NODE_NAME: &str = "switchboard_robot";
/// Name of an operator's node, unless it is remapped.
pub const OPERATOR_NODE_NAME: &str = "switchboard_operator";

/// Runs a robot's client until the program is asked to stop.
///
/// # Errors
/// If ROS does not start or fails, or a setting cannot be used.
pub async fn run_robot(flags: ClientFlags) -> anyhow::Result<()> {
    let (node, requests) = start_node(ROBOT_NODE_NAME, false)?;
    let environment = Environment::of_this_process();
    let config = ClientConfig::robot(&flags, &raw_client(node.parameters()), &environment)?;
    run_until(config, node, requests, asked_to_stop()).await
}

/// Runs an operator's or observer's client until the program is asked to stop.
///
/// # Errors
/// If ROS does not start or fails, or a setting cannot be used.
pub async fn run_operator(flags: OperatorFlags) -> anyhow::Result<()> {
    let (node, requests) = start_node(OPERATOR_NODE_NAME, true)?;
    let environment = Environment::of_this_process();
    let config = ClientConfig::operator(&flags, &raw_client(node.parameters()), &environment)?;
    run_until(config, node, requests, asked_to_stop()).await
}

fn start_node(name: &str, has_kind: bool) -> anyhow::Result<(ClientNode, mpsc::Receiver<RouteQuery>)> {
    let options = NodeOptions { name: name.to_owned(), namespace: "/".to_owned() };
    let (sender, requests) = mpsc::channel(REQUESTS);
    Ok((ClientNode::start(options, client_defaults(has_kind), sender)?, requests))
}

/// Requests about routes and rules that may wait; the ROS services answer "busy" beyond it.
const REQUESTS: usize = 16;

async fn run_until(
    config: ClientConfig,
    node: ClientNode,
    mut requests: mpsc::Receiver<RouteQuery>,
    stop: impl Future<Output = ()>,
) -> anyhow::Result<()> {
    let (bridge_sender, mut bridge_events) = mpsc::channel(defaults::SAMPLE_QUEUE);
    // Hidden, as nodes are whose names begin with an underscore: it has no parameters and no services of its own.
    let options =
        BridgeOptions { node_name: format!("_{}_bridge", node.name()), namespace: node.namespace().to_owned() };
    let bridge = Bridge::start(options, bridge_sender).context("the bridge cannot join the ROS graph")?;
    for remark in &config.remarks {
        tracing::info!("{remark}");
    }
    tracing::info!(
        node = node.fully_qualified_name(),
        id = config.id.as_str(),
        server = %config.server,
        "the {} starts",
        config.kind
    );
    let (line_sender, mut line_events) = mpsc::channel(defaults::INBOUND_QUEUE);
    let dialler = Dialler::start(dial(&config), line_sender);
    let mut client = Client {
        kind: config.kind,
        routes: Routes::new(config.id.clone(), config.kind, config.rules.clone()),
        line: Line::new(&config),
        bridge,
        node,
        table: BTreeMap::new(),
        endpoints: Endpoints::default(),
        congested: BTreeSet::new(),
    };
    client.publish_line();
    client.publish_table();
    let mut tick = interval(defaults::STATUS_PERIOD);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut stop = std::pin::pin!(stop);

    let outcome = loop {
        client.carry_out();
        let call_due = client.routes.poll_timeout().map(instant);
        tokio::select! {
            () = &mut stop => break Ok(()),
            Some(event) = line_events.recv() => client.handle_line(event),
            Some(event) = bridge_events.recv() => {
                if let Err(reason) = client.handle_bridge(event) {
                    break Err(anyhow::anyhow!("the bridge has left the ROS graph: {reason}"));
                }
            }
            Some((request, reply)) = requests.recv() => {
                // Whoever asked may have gone.
                let _ = reply.send(client.answer(request));
            }
            () = sleep_until(call_due.unwrap_or_else(Instant::now)), if call_due.is_some() => {
                client.routes.handle_timeout(now().mono);
            }
            _ = tick.tick() => client.handle_tick(),
        }
    };
    client.say_goodbye(&mut line_events).await;
    drop(dialler);
    outcome
}

struct Client {
    kind: ClientKind,
    routes: Routes,
    line: Line,
    bridge: Bridge,
    node: ClientNode,
    table: BTreeMap<ClientId, ClientStatus>,
    endpoints: Endpoints,
    /// Writers whose subscribers cannot keep up.
    congested: BTreeSet<WriterId>,
}

/// What is known of the line to the exchange.
struct Line {
    id: ClientId,
    server: String,
    connection: Option<(ConnectionId, Handle)>,
    connected: bool,
    since: Wall,
    reason: String,
    attempts: u32,
    clock: Option<ClockReading>,
    /// Messages that earlier connections gave up.
    dropped_before: u64,
}

impl Client {
    /// Does what the routes say.
    fn carry_out(&mut self) {
        while let Some(command) = self.routes.poll_command() {
            match command {
                RouteCommand::Send(frame) => {
                    if let Some((_, handle)) = &self.line.connection {
                        handle.link().send_control(&frame);
                    }
                }
                RouteCommand::SendBehind(class, frame) => {
                    if let Some((_, handle)) = &self.line.connection {
                        handle.link().send_behind(class, &frame);
                    }
                }
                RouteCommand::FinishReader(reader) => self.bridge.finish_reader(reader),
                RouteCommand::CreateReader(reader, topic) => {
                    tracing::debug!(topic = topic.name, "reading, since somebody wants it");
                    match self.bridge.create_reader(reader, &topic) {
                        Ok(()) => self.endpoints.reader_created(reader),
                        Err(error) => self.routes.handle_reader_failed(reader, &error.to_string()),
                    }
                }
                RouteCommand::DestroyReader(reader) => {
                    if let Some((reader, lost, failed)) = self.endpoints.destroy_reader(reader, &self.bridge) {
                        self.routes.handle_reader_losses(reader, lost, failed, now().mono);
                    }
                }
                RouteCommand::HoldReader(reader, hold) => self.bridge.hold_reader(reader, hold),
                RouteCommand::CreateWriter(writer, topic) => {
                    tracing::debug!(topic = topic.name, "publishing for the exchange");
                    if let Err(error) = self.bridge.create_writer(writer, &topic) {
                        self.routes.handle_writer_failed(writer, &error.to_string());
                    }
                }
                RouteCommand::PublishStop(writer) => self.endpoints.publish_stop(writer, &self.bridge, now()),
                RouteCommand::DestroyWriter(writer) => {
                    self.congested.remove(&writer);
                    self.endpoints.destroy_writer(writer, &self.bridge, now().mono);
                }
                RouteCommand::Warn(warning) => tracing::warn!("{warning}"),
                other => self.carry_out_call(other),
            }
        }
    }

    fn handle_line(&mut self, Event { connection, what }: Event) {
        match what {
            What::Failed { reason } => {
                self.line.attempts = self.line.attempts.saturating_add(1);
                self.line_is_down(reason);
            }
            What::Opened { handle, .. } => self.line.connection = Some((connection, handle)),
            What::Welcomed(welcome) => {
                tracing::info!(session = welcome.session.0, server = self.line.server, "connected");
                self.line.come_up();
                self.routes.handle_connected();
                self.publish_line();
            }
            What::Frame(Frame::Data(data)) => self.publish_message(data),
            What::Frame(frame) => self.handle_frame(frame),
            What::Clock(reading) => self.line.clock = Some(reading),
            What::Relieved(class) => self.routes.handle_relieved(class),
            What::Ended(end) => {
                if let Some((_, handle)) = self.line.connection.take() {
                    self.line.dropped_before += handle.link().figures().messages_dropped;
                }
                if end.was_ready {
                    self.routes.handle_disconnected();
                    self.line.attempts = 0;
                } else {
                    self.line.attempts = self.line.attempts.saturating_add(1);
                }
                self.line_is_down(end.farewell.reason);
            }
            // Only happens to servers.
            What::Login(_) => {}
        }
    }

    fn handle_frame(&mut self, frame: Frame) {
        match frame {
            Frame::Clients(update) => self.handle_clients(update),
            Frame::FeedsOpen(feeds) => self.routes.handle_feeds_open(feeds),
            Frame::ServicesOpen(feeds) => self.routes.handle_services_open(feeds),
            Frame::Request(request) => self.routes.handle_request(request, now().mono),
            Frame::Response(response) => self.routes.handle_response(response, now().mono),
            Frame::CallFailed(failure) => self.routes.handle_failure(&failure, now().mono),
            Frame::Abandon(calls) => self.routes.handle_abandon(&calls),
            Frame::FeedsClosed(feeds) => self.routes.handle_feeds_closed(&feeds),
            Frame::Demands(demands) => self.routes.handle_demands(&demands),
            other => tracing::warn!("a {:?} frame of the server was ignored", other.kind()),
        }
    }

    fn handle_clients(&mut self, update: ClientsUpdate) {
        if update.reset {
            self.table.clear();
        }
        self.table.extend(update.clients.into_iter().map(|client| (client.id.clone(), client)));
        self.routes.handle_clients(self.table.keys().cloned());
        self.publish_table();
    }

    fn handle_bridge(&mut self, event: BridgeEvent) -> Result<(), String> {
        match event {
            BridgeEvent::Graph(graph) => self.routes.handle_graph(graph),
            BridgeEvent::Sample(sample) => self.send_message(sample),
            BridgeEvent::ReaderDone { reader } => self.routes.handle_reader_done(reader),
            BridgeEvent::WriterRelieved { writer } => self.writer_congested(writer, false),
            BridgeEvent::ReaderFailed { reader, reason } => self.routes.handle_reader_failed(reader, &reason),
            BridgeEvent::Request { server, request, payload } => {
                self.routes.handle_local_request(server, request, payload, now().mono);
            }
            BridgeEvent::Response { call, payload, .. } => {
                self.routes.handle_local_response(call, payload, now().mono);
            }
            BridgeEvent::Failed { reason } => return Err(reason),
        }
        Ok(())
    }

    /// From the local graph to the exchange.
    fn send_message(&mut self, sample: Sample) {
        let Sample { reader, publisher, keep, payload, source_time, .. } = sample;
        let Some((_, handle)) = &self.line.connection else { return };
        let Some(outgoing) = self.routes.outgoing(reader, publisher, now().mono) else { return };
        let Outgoing { channel, class, sequence, publisher, reliable, latest_only } = outgoing;
        let bytes = payload.len();
        let data = Data { id: channel.0, publisher, keep, sequence, source_time, payload };
        match Frame::Data(data).encode() {
            Ok(packet) => {
                if handle.link().send_message(Label { class, tag: channel.0, reliable, latest_only }, packet) {
                    self.routes.handle_congested(reader);
                }
                self.routes.handle_sent(reader, bytes, source_time, now());
            }
            Err(error) => self.routes.handle_unsendable(reader, &error.to_string()),
        }
    }

    /// From the exchange into the local graph.
    fn publish_message(&mut self, data: Data) {
        let feed = FeedId(data.id);
        let offset = self.line.clock.map(|clock| clock.offset);
        let passed = self.routes.let_through(feed, data.payload, data.source_time, offset, now());
        let Some(Passed { payload, age }) = passed else { return };
        let Some(writer) = self.routes.incoming(feed, data.publisher, data.keep) else { return };
        // It may have to be made first.
        self.carry_out();
        let bytes = payload.len();
        match self.bridge.publish(writer, payload) {
            Ok(published) => {
                self.routes.handle_published(feed, bytes, age, now().mono);
                if published == Published::Congested {
                    self.writer_congested(writer, true);
                }
            }
            Err(error) => self.routes.handle_unpublishable(writer, &error.to_string()),
        }
    }

    /// Tells the exchange that what subscribes to `writer` cannot keep up, or can again.
    fn writer_congested(&mut self, writer: WriterId, congested: bool) {
        let told = match congested {
            true => self.congested.insert(writer),
            false => self.congested.remove(&writer),
        };
        if told {
            self.routes.handle_writer_congested(writer, congested);
        }
    }

    fn handle_tick(&mut self) {
        self.endpoints.handle_tick(&self.bridge, now().mono);
        for (reader, lost, failed) in self.endpoints.losses(&self.bridge) {
            self.routes.handle_reader_losses(reader, lost, failed, now().mono);
        }
        if let Some((_, handle)) = &self.line.connection {
            for (tag, messages) in handle.link().take_drops() {
                self.routes.handle_overflow(ChannelId(tag), messages);
            }
        }
        self.routes.handle_retry(now().mono);
        self.publish_line();
        if let Err(error) = self.node.publish_traffic(&self.routes.traffic(now())) {
            tracing::warn!("the traffic could not be published: {error}");
        }
    }

    /// Answers what is asked about routes and rules. Changes count at once.
    fn answer(&mut self, request: RouteRequest) -> Result<RouteReply, AdminError> {
        match request {
            RouteRequest::List => {
                let rules = Section::ALL.into_iter().flat_map(|section| {
                    let rules = self.routes.rules().section(section).iter();
                    rules.map(move |rule| RuleStatus { id: rule.id, section, rule: rule.text.clone() })
                });
                let mut routes = self.routes.report();
                self.routes.add_figures(&mut routes, now());
                Ok(RouteReply::Listed(RouteList { rules: rules.collect(), routes }))
            }
            RouteRequest::AddRule { section: Section::Offer, .. } if self.kind == ClientKind::Observer => {
                Err(AdminError("an observer only looks: it offers nothing; run it as an operator".to_owned()))
            }
            RouteRequest::AddRule { section, rule, first } => {
                let rule = rules_file::parse_rule(section, &rule).map_err(|error| AdminError(error.to_string()))?;
                let text = rule.text.clone();
                let id = self.routes.add_rule(section, rule, first).map_err(|error| AdminError(error.to_string()))?;
                tracing::info!(id = id.0, section = section.as_str(), "rule added: {text}");
                Ok(RouteReply::Added(id))
            }
            RouteRequest::RemoveRule(id) => {
                let (section, rule) = self.routes.remove_rule(id).ok_or_else(|| {
                    AdminError(format!("there is no rule {id}; \"switchboard routes --rules\" lists them"))
                })?;
                tracing::info!(id = id.0, section = section.as_str(), "rule removed: {}", rule.text);
                Ok(RouteReply::Removed(rule.text))
            }
            RouteRequest::Release(topic) => {
                let holder = self.routes.release(&topic).map_err(AdminError)?;
                tracing::info!(topic, "{holder} commands it alone no more");
                Ok(RouteReply::Released(holder))
            }
        }
    }

    fn line_is_down(&mut self, reason: String) {
        if self.line.go_down(reason) {
            tracing::warn!(server = self.line.server, "not connected: {}", self.line.reason);
            self.publish_line();
        }
    }

    fn publish_line(&self) {
        let drops = self.routes.dropped();
        let dropped_here = drops.total() - drops.of(traffic::Cause::Overflow) + self.bridge.overrun();
        let mut status = self.line.status(dropped_here);
        status.problems = self.routes.problems().to_vec();
        if let Err(error) = self.node.publish_connection(&status) {
            tracing::warn!("the state of the line could not be published: {error}");
        }
    }

    fn publish_table(&self) {
        let clients: Vec<ClientStatus> = self.table.values().cloned().collect();
        if let Err(error) = self.node.publish_clients(&clients, now().wall) {
            tracing::warn!("the client table could not be published: {error}");
        }
    }

    async fn say_goodbye(&mut self, line_events: &mut mpsc::Receiver<Event>) {
        // With the line goes whoever commands this graph.
        self.routes.handle_disconnected();
        self.carry_out();
        self.endpoints.finish(&self.bridge);
        let Some((_, handle)) = self.line.connection.take() else { return };
        handle.stop(Farewell::new(Cause::Stopping, format!("client {} is stopping", self.line.id)));
        let ended = async {
            while let Some(event) = line_events.recv().await {
                if matches!(event.what, What::Ended(_)) {
                    break;
                }
            }
        };
        if tokio::time::timeout(GOODBYE_PATIENCE, ended).await.is_err() {
            tracing::debug!("the goodbye was not answered");
        }
    }
}

/// How long a stopping client waits for its goodbye to be sent and the connection to be closed.
const GOODBYE_PATIENCE: Duration = Duration::from_secs(1);

impl Line {
    fn new(config: &ClientConfig) -> Self {
        Line {
            id: config.id.clone(),
            server: config.server.to_string(),
            connection: None,
            connected: false,
            since: now().wall,
            reason: "dialling for the first time".to_owned(),
            attempts: 0,
            clock: None,
            dropped_before: 0,
        }
    }

    fn come_up(&mut self) {
        self.connected = true;
        self.since = now().wall;
        self.reason.clear();
        self.attempts = 0;
    }

    /// Returns whether that is news: a log line for each attempt of an outage would say the same a thousand times.
    fn go_down(&mut self, reason: String) -> bool {
        let news = self.connected || reason != self.reason;
        if self.connected {
            self.since = now().wall;
        }
        self.connected = false;
        self.clock = None;
        self.reason = reason;
        news
    }

    /// `dropped_here` is what did not get into an outbox, or out of the exchange's messages into the local graph.
    fn status(&self, dropped_here: u64) -> LineStatus {
        let dropped = self.connection.as_ref().map_or(0, |(_, handle)| handle.link().figures().messages_dropped);
        LineStatus {
            stamp: now().wall,
            id: self.id.clone(),
            connected: self.connected,
            server: self.server.clone(),
            since: self.since,
            reason: self.reason.clone(),
            attempts: self.attempts,
            round_trip: self.clock.map(|clock| clock.round_trip),
            clock_offset: self.clock.map(|clock| clock.offset),
            messages_dropped: self.dropped_before + dropped + dropped_here,
            problems: Vec::new(),
        }
    }
}

fn dial(config: &ClientConfig) -> Dial {
    Dial {
        host: config.server.host.clone(),
        port: config.server.port,
        login: Login {
            id: config.id.clone(),
            kind: config.kind,
            name: config.display_name.clone(),
            host_name: config.host_name.clone(),
            software_version: env!("CARGO_PKG_VERSION").to_owned(),
            ros_distro: ros::distro().to_owned(),
            capabilities: vec!["topics".to_owned(), "services".to_owned()],
        },
        timing: Timing {
            login_timeout: defaults::LOGIN_TIMEOUT,
            ping_period: config.ping_period,
            keep_alive_timeout: config.keep_alive_timeout,
        },
    }
}
