//! A robot or an operator: its line, its routes and its ROS side, in one loop.

use std::{
    collections::{BTreeMap, BTreeSet},
    future::Future,
    time::Duration,
};

use anyhow::Context as _;
use tokio::{
    sync::mpsc,
    time::{MissedTickBehavior, interval},
};

use super::{
    parameters::{client_defaults, raw_client},
    signals::asked_to_stop,
};
use crate::{
    config::{
        ClientConfig, Environment,
        flags::{ClientFlags, OperatorFlags},
    },
    defaults,
    ids::{ClientId, ConnectionId, FeedId, WriterId},
    net::{Dial, Dialler, Event, Handle, What, now},
    outbox::Label,
    ros::{self, Bridge, BridgeEvent, BridgeOptions, ClientNode, NodeOptions, Published, Sample},
    routes::{Outgoing, RouteCommand, Routes},
    session::{ClockReading, Timing},
    status::{ClientStatus, LineStatus},
    time::Wall,
    wire::{Cause, ClientsUpdate, Data, Farewell, Frame, Login},
};

/// Name of a robot's node, unless it is remapped.
pub const ROBOT_NODE_NAME: &str = "switchboard_robot";
/// Name of an operator's node, unless it is remapped.
pub const OPERATOR_NODE_NAME: &str = "switchboard_operator";

/// Runs a robot's client until the program is asked to stop.
///
/// # Errors
/// If ROS does not start or fails, or a setting cannot be used.
pub async fn run_robot(flags: ClientFlags) -> anyhow::Result<()> {
    let node = start_node(ROBOT_NODE_NAME, false)?;
    let environment = Environment::of_this_process();
    let config = ClientConfig::robot(&flags, &raw_client(node.parameters()), &environment)?;
    run_until(config, node, asked_to_stop()).await
}

/// Runs an operator's or observer's client until the program is asked to stop.
///
/// # Errors
/// If ROS does not start or fails, or a setting cannot be used.
pub async fn run_operator(flags: OperatorFlags) -> anyhow::Result<()> {
    let node = start_node(OPERATOR_NODE_NAME, true)?;
    let environment = Environment::of_this_process();
    let config = ClientConfig::operator(&flags, &raw_client(node.parameters()), &environment)?;
    run_until(config, node, asked_to_stop()).await
}

fn start_node(name: &str, has_kind: bool) -> anyhow::Result<ClientNode> {
    let options = NodeOptions { name: name.to_owned(), namespace: "/".to_owned() };
    Ok(ClientNode::start(options, client_defaults(has_kind))?)
}

async fn run_until(config: ClientConfig, node: ClientNode, stop: impl Future<Output = ()>) -> anyhow::Result<()> {
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
        routes: Routes::new(config.id.clone(), config.kind, config.rules.clone()),
        line: Line::new(&config),
        bridge,
        node,
        table: BTreeMap::new(),
        congested: BTreeSet::new(),
        unpublished: 0,
        unsent: 0,
    };
    client.publish_line();
    client.publish_table();
    let mut tick = interval(defaults::STATUS_PERIOD);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut stop = std::pin::pin!(stop);

    let outcome = loop {
        client.carry_out();
        tokio::select! {
            () = &mut stop => break Ok(()),
            Some(event) = line_events.recv() => client.handle_line(event),
            Some(event) = bridge_events.recv() => {
                if let Err(reason) = client.handle_bridge(event) {
                    break Err(anyhow::anyhow!("the bridge has left the ROS graph: {reason}"));
                }
            }
            _ = tick.tick() => client.publish_line(),
        }
    };
    client.say_goodbye(&mut line_events).await;
    drop(dialler);
    outcome
}

struct Client {
    routes: Routes,
    line: Line,
    bridge: Bridge,
    node: ClientNode,
    table: BTreeMap<ClientId, ClientStatus>,
    /// Writers whose subscribers cannot keep up.
    congested: BTreeSet<WriterId>,
    /// Messages of the exchange that could not be published here.
    unpublished: u64,
    /// Messages of the local graph that could not be sent.
    unsent: u64,
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
                    if let Err(error) = self.bridge.create_reader(reader, &topic) {
                        self.routes.handle_reader_failed(reader, &error.to_string());
                    }
                }
                RouteCommand::HoldReader(reader, hold) => self.bridge.hold_reader(reader, hold),
                RouteCommand::DestroyReader(reader) => self.bridge.destroy_reader(reader),
                RouteCommand::CreateWriter(writer, topic) => {
                    tracing::debug!(topic = topic.name, "publishing for the exchange");
                    if let Err(error) = self.bridge.create_writer(writer, &topic) {
                        self.routes.handle_writer_failed(writer, &error.to_string());
                    }
                }
                RouteCommand::DestroyWriter(writer) => {
                    self.congested.remove(&writer);
                    self.bridge.destroy_writer(writer);
                }
                RouteCommand::Warn(warning) => tracing::warn!("{warning}"),
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
        let data = Data { id: channel.0, publisher, keep, sequence, source_time, payload };
        match Frame::Data(data).encode() {
            Ok(packet) => {
                if handle.link().send_message(Label { class, tag: channel.0, reliable, latest_only }, packet) {
                    self.routes.handle_congested(reader);
                }
            }
            Err(error) => {
                self.unsent += 1;
                self.routes.handle_unsendable(reader, &error.to_string());
            }
        }
    }

    /// From the exchange into the local graph.
    fn publish_message(&mut self, data: Data) {
        let Some(writer) = self.routes.incoming(FeedId(data.id), data.publisher, data.keep) else { return };
        // It may have to be made first.
        self.carry_out();
        match self.bridge.publish(writer, data.payload) {
            Ok(Published::Done) => {}
            Ok(Published::Congested) => self.writer_congested(writer, true),
            Err(error) => {
                self.unpublished += 1;
                self.routes.handle_unpublishable(writer, &error.to_string());
            }
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

    fn line_is_down(&mut self, reason: String) {
        if self.line.go_down(reason) {
            tracing::warn!(server = self.line.server, "not connected: {}", self.line.reason);
            self.publish_line();
        }
    }

    fn publish_line(&self) {
        let status = self.line.status(self.unpublished + self.unsent + self.bridge.overrun());
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
            capabilities: vec!["topics".to_owned()],
        },
        timing: Timing {
            login_timeout: defaults::LOGIN_TIMEOUT,
            ping_period: config.ping_period,
            keep_alive_timeout: config.keep_alive_timeout,
        },
    }
}
