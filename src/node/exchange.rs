//! The exchange without its ROS side: the hub, its port and its registry, in one loop.

use std::{collections::HashMap, future::Future, net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use futures::{FutureExt, StreamExt, future::BoxFuture, stream::FuturesUnordered};
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::{Instant, MissedTickBehavior, interval, sleep_until, timeout},
};

use crate::{
    admin::{AdminError, AdminReply, AdminRequest},
    config::ServerConfig,
    defaults,
    hub::{Command, Hub, Limits, LineFigures},
    ids::{ConnectionId, FeedId, SessionId},
    net::{Event, Handle, Listener, Numbers, What, instant, now},
    registry::{EventKind, EventRecord},
    session::Timing,
    status::{ClientState, ServerStatus},
    store::StoreHandle,
    traffic::{self, TrafficReport},
    wire::{Cause, Farewell, Frame},
};

/// A request of an administrator, and where its answer goes.
pub type AdminQuery = (AdminRequest, oneshot::Sender<Result<AdminReply, AdminError>>);

/// Runs the exchange until `stop` is done, then says goodbye to everybody.
///
/// Every change of its status goes to `status`, and so does its present state once per
/// [`ServerConfig::status_period`]. What went over its topics goes to `traffic` once per [`defaults::STATUS_PERIOD`].
pub async fn run(
    config: &ServerConfig,
    store: StoreHandle,
    mut admin: mpsc::Receiver<AdminQuery>,
    status: watch::Sender<Arc<ServerStatus>>,
    traffic: watch::Sender<Arc<TrafficReport>>,
    stop: impl Future<Output = ()>,
) {
    let known = match store.clients().await {
        Ok(known) => known,
        Err(error) => {
            tracing::error!("the registry cannot be read, so offline clients are not listed: {error}");
            Vec::new()
        }
    };
    let hub = Hub::new(Limits { clients_max: config.max_clients }, env!("CARGO_PKG_VERSION"), known);
    let (event_sender, mut events) = mpsc::channel(defaults::INBOUND_QUEUE);
    let (opening_sender, mut openings) = mpsc::channel(1);
    let mut exchange = Exchange {
        timing: Timing {
            login_timeout: config.login_timeout,
            ping_period: config.ping_period,
            keep_alive_timeout: config.keep_alive_timeout,
        },
        address: config.address.clone(),
        port: config.port,
        export_directory: config.export_directory.clone(),
        hub,
        store,
        numbers: Arc::new(Numbers::default()),
        listener: None,
        opening: false,
        openings: opening_sender,
        events: event_sender,
        peers: HashMap::new(),
        recording: FuturesUnordered::new(),
        status_due: None,
    };
    exchange.event(EventKind::Server, format!("started, version {}", env!("CARGO_PKG_VERSION")));
    if config.open_on_start {
        exchange.open(None, None, None);
    }
    let mut status_tick = interval(config.status_period);
    status_tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut traffic_tick = interval(defaults::STATUS_PERIOD);
    traffic_tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut life_tick = interval(SIGN_OF_LIFE_PERIOD);
    life_tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut stop = std::pin::pin!(stop);

    loop {
        exchange.carry_out();
        let due = exchange.status_due;
        let hub_due = exchange.hub.poll_timeout().map(instant);
        tokio::select! {
            // In order of importance: what people ask for comes before what clients send.
            biased;
            () = &mut stop => break,
            Some((request, reply)) = admin.recv() => exchange.administer(request, reply),
            Some(opening) = openings.recv() => exchange.handle_opening(opening).await,
            Some((connection, outcome)) = exchange.recording.next(), if !exchange.recording.is_empty() => {
                exchange.handle_recorded(connection, outcome);
            }
            () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {
                exchange.status_due = None;
                status.send_replace(Arc::new(exchange.status()));
            }
            () = sleep_until(hub_due.unwrap_or_else(Instant::now)), if hub_due.is_some() => {
                exchange.hub.handle_timeout(now());
            }
            _ = status_tick.tick() => {
                status.send_replace(Arc::new(exchange.status()));
            }
            _ = traffic_tick.tick() => {
                exchange.attribute_drops();
                traffic.send_replace(Arc::new(exchange.hub.traffic(now())));
            }
            _ = life_tick.tick() => exchange.record_signs_of_life(),
            Some(event) = events.recv() => exchange.handle_event(event),
        }
    }
    exchange.say_goodbye(&mut events).await;
    status.send_replace(Arc::new(exchange.status()));
}

/// How often the registry learns who is still there; after a crash a session ends at its last sign of life.
const SIGN_OF_LIFE_PERIOD: Duration = Duration::from_secs(10);
/// How long the goodbye of a stopping server may take in all.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(2);

type Reply = oneshot::Sender<Result<AdminReply, AdminError>>;
type Recorded = (ConnectionId, Result<SessionId, String>);

struct Exchange {
    timing: Timing,
    address: String,
    port: u16,
    export_directory: PathBuf,
    hub: Hub,
    store: StoreHandle,
    numbers: Arc<Numbers>,
    listener: Option<Listener>,
    /// Whether a listener is being opened.
    opening: bool,
    openings: mpsc::Sender<Opening>,
    events: mpsc::Sender<Event>,
    peers: HashMap<ConnectionId, Peer>,
    recording: FuturesUnordered<BoxFuture<'static, Recorded>>,
    /// When the status is to be published, because it has changed.
    status_due: Option<Instant>,
}

struct Peer {
    handle: Handle,
    address: SocketAddr,
}

/// The outcome of opening the port, which may take as long as a name look-up.
struct Opening {
    outcome: Result<Listener, String>,
    reply: Option<Reply>,
}

/// Whether a request to open `address` and `port` is fulfilled by a port that is open on `endpoint`.
fn is_endpoint(endpoint: SocketAddr, address: Option<&str>, port: Option<u16>) -> bool {
    let same_address = address.is_none_or(|address| address.parse() == Ok(endpoint.ip()));
    same_address && port.is_none_or(|port| port == 0 || port == endpoint.port())
}

impl Exchange {
    fn status(&self) -> ServerStatus {
        self.hub.status(now(), |connection| {
            self.peers.get(&connection).map_or_else(LineFigures::default, |peer| peer.handle.link().figures())
        })
    }

    /// Does what the hub says.
    fn carry_out(&mut self) {
        while let Some(command) = self.hub.poll_command() {
            match command {
                Command::Welcome { to, packet } => {
                    if let Some(listener) = &self.listener {
                        listener.logged_in(to);
                    }
                    if let Some(peer) = self.peers.get(&to) {
                        peer.handle.welcome(packet);
                    }
                }
                Command::Refuse { to, farewell } => {
                    if let Some(peer) = self.peers.get(&to) {
                        peer.handle.refuse(farewell);
                    }
                }
                Command::Deliver { to, label, packet } => {
                    let congested =
                        self.peers.get(&to).is_some_and(|peer| peer.handle.link().send_message(label, packet));
                    if congested {
                        self.hub.handle_congested(to, FeedId(label.tag), now());
                    }
                }
                Command::SendBehind { to, class, packet } => {
                    if let Some(peer) = self.peers.get(&to) {
                        peer.handle.link().send_packet_behind(class, packet);
                    }
                }
                Command::Send { to, class, packet } => {
                    if let Some(peer) = self.peers.get(&to) {
                        peer.handle.link().send(class, packet);
                    }
                }
                Command::End { to, farewell } => {
                    if let Some(peer) = self.peers.get(&to) {
                        peer.handle.stop(farewell);
                    }
                }
                Command::Record { from, login } => {
                    let answer = self.store.login(login);
                    let recorded = answer.map(move |outcome| (from, outcome.map_err(|error| error.to_string())));
                    self.recording.push(recorded.boxed());
                }
                Command::Logout(logout) => {
                    let client = logout.session;
                    let answer = self.store.logout(logout);
                    tokio::spawn(async move {
                        if let Err(error) = answer.await {
                            tracing::error!("the end of session {client} could not be recorded: {error}");
                        }
                    });
                }
                Command::Event(event) => self.record_event(event),
            }
        }
        if self.hub.take_changed() && self.status_due.is_none() {
            self.status_due = Some(Instant::now() + defaults::STATUS_SETTLE);
        }
    }

    fn handle_event(&mut self, event: Event) {
        let Event { connection, what } = event;
        match what {
            What::Opened { address, handle } => {
                if self.listener.is_none() {
                    // Accepted in the very moment in which the port was closed.
                    handle.stop(Farewell::new(Cause::PortClosed, "the port is closed"));
                }
                self.peers.insert(connection, Peer { handle, address });
            }
            What::Login(login) => {
                if let Some(peer) = self.peers.get(&connection) {
                    self.hub.handle_login(connection, login, peer.address, now());
                }
            }
            What::Frame(Frame::Data(data)) => {
                let peers = &self.peers;
                self.hub.route(connection, data, now(), |to, label, packet| {
                    peers.get(&to).is_some_and(|peer| peer.handle.link().send_message(label, packet))
                });
            }
            What::Frame(frame) => self.hub.handle_frame(connection, frame, now()),
            What::Clock(reading) => self.hub.handle_clock(connection, reading, now()),
            What::Relieved(class) => self.hub.handle_relieved(connection, class, now()),
            What::Ended(end) => {
                self.attribute_drops();
                if let Some(peer) = self.peers.remove(&connection) {
                    self.hub.handle_ended(connection, peer.address, &end, now());
                }
            }
            // These only happen to clients.
            What::Failed { .. } | What::Welcomed(_) => {}
        }
    }

    /// Tells the hub which topics the outboxes gave messages of up.
    fn attribute_drops(&mut self) {
        for (&to, peer) in &self.peers {
            for (feed, messages) in peer.handle.link().take_drops() {
                self.hub.handle_given_up(to, FeedId(feed), traffic::Cause::Overflow, messages);
            }
        }
    }

    fn handle_recorded(&mut self, connection: ConnectionId, outcome: Result<SessionId, String>) {
        self.hub.handle_recorded(connection, outcome, now());
    }

    fn administer(&mut self, request: AdminRequest, reply: Reply) {
        let answer = match request {
            AdminRequest::Open { address, port } => return self.open(address, port, Some(reply)),
            AdminRequest::Export(request) => {
                let answer = self.store.export(request, &self.export_directory);
                tokio::spawn(async move {
                    let answer = answer.await;
                    let _ = reply.send(answer.map(AdminReply::Exported).map_err(|error| AdminError(error.to_string())));
                });
                return;
            }
            AdminRequest::Close { reason } => return self.close(&reason, reply),
            AdminRequest::ListClients { connected_only } => {
                let mut clients = self.status().clients;
                clients.retain(|client| !connected_only || client.state != ClientState::Off);
                Ok(AdminReply::Clients(clients))
            }
            AdminRequest::DisconnectClient { id, reason } => {
                let outcome = self.hub.disconnect(&id, &reason, now());
                outcome.map(|()| AdminReply::Disconnected).map_err(AdminError)
            }
        };
        // Whoever asked may have gone.
        let _ = reply.send(answer);
    }

    /// Opens the port in the background; [`Exchange::handle_opening`] goes on.
    fn open(&mut self, address: Option<String>, port: Option<u16>, reply: Option<Reply>) {
        if let Some(endpoint) = self.listener.as_ref().map(Listener::endpoint)
            && is_endpoint(endpoint, address.as_deref(), port)
        {
            if let Some(reply) = reply {
                let _ = reply.send(Ok(AdminReply::Opened(endpoint)));
            }
            return;
        }
        let refusal = match (&self.listener, self.opening) {
            (Some(listener), _) => {
                Some(format!("the port is open already, on {}; close it first", listener.endpoint()))
            }
            (None, true) => Some("the port is being opened already".to_owned()),
            (None, false) => None,
        };
        if let Some(refusal) = refusal {
            if let Some(reply) = reply {
                let _ = reply.send(Err(AdminError(refusal)));
            }
            return;
        }
        self.opening = true;
        let address = address.unwrap_or_else(|| self.address.clone());
        let port = port.unwrap_or(self.port);
        let (timing, numbers) = (self.timing, Arc::clone(&self.numbers));
        let (events, openings) = (self.events.clone(), self.openings.clone());
        tokio::spawn(async move {
            let outcome = Listener::open(&address, port, timing, numbers, events).await;
            let outcome = outcome.map_err(|error| error.to_string());
            let _ = openings.send(Opening { outcome, reply }).await;
        });
    }

    async fn handle_opening(&mut self, Opening { outcome, reply }: Opening) {
        self.opening = false;
        let answer = match outcome {
            Ok(listener) => {
                let endpoint = listener.endpoint();
                self.listener = Some(listener);
                self.hub.handle_opened(endpoint, now());
                Ok(AdminReply::Opened(endpoint))
            }
            Err(error) => {
                tracing::error!("the port could not be opened: {error}");
                self.hub.handle_port_closed(&error, now());
                Err(AdminError(error))
            }
        };
        if let Some(reply) = reply {
            let _ = reply.send(answer);
        }
    }

    fn close(&mut self, reason: &str, reply: Reply) {
        let Some(listener) = self.listener.take() else {
            let _ = reply.send(Err(AdminError("the port is closed already".to_owned())));
            return;
        };
        let clients = u32::try_from(self.hub.connected()).unwrap_or(u32::MAX);
        self.hub.handle_port_closed(reason, now());
        self.stop_everybody(Cause::PortClosed, reason);
        tokio::spawn(async move {
            // Only when the port is free again can it be opened again.
            listener.close().await;
            let _ = reply.send(Ok(AdminReply::Closed { clients }));
        });
    }

    fn stop_everybody(&self, cause: Cause, reason: &str) {
        for peer in self.peers.values() {
            peer.handle.stop(Farewell::new(cause, reason));
        }
    }

    async fn say_goodbye(&mut self, events: &mut mpsc::Receiver<Event>) {
        if let Some(listener) = self.listener.take() {
            listener.close().await;
            self.hub.handle_port_closed("the server is stopping", now());
        }
        self.stop_everybody(Cause::Stopping, "the server is stopping");
        let everybody_gone = async {
            while !self.peers.is_empty() {
                let Some(event) = events.recv().await else { break };
                self.handle_event(event);
                self.carry_out();
            }
        };
        if timeout(SHUTDOWN_TIMEOUT, everybody_gone).await.is_err() {
            tracing::warn!("{} connections did not end in time", self.peers.len());
        }
        self.event(EventKind::Server, "stopped".to_owned());
        self.carry_out();
    }

    fn record_signs_of_life(&self) {
        let signs = self.hub.signs_of_life();
        if signs.is_empty() {
            return;
        }
        let answer = self.store.touch(signs);
        tokio::spawn(async move {
            if let Err(error) = answer.await {
                tracing::warn!("signs of life could not be recorded: {error}");
            }
        });
    }

    fn event(&self, kind: EventKind, detail: String) {
        self.record_event(EventRecord { at: now().wall, kind, client: None, address: None, detail });
    }

    fn record_event(&self, event: EventRecord) {
        let client = event.client.as_ref().map_or("-", |client| client.as_str());
        let address = event.address.map_or_else(|| "-".to_owned(), |address| address.to_string());
        match event.kind {
            EventKind::Refused | EventKind::Problem => {
                tracing::warn!(client, address, "{}: {}", event.kind.as_str(), event.detail);
            }
            kind => tracing::info!(client, address, "{}: {}", kind.as_str(), event.detail),
        }
        let answer = self.store.event(event);
        tokio::spawn(async move {
            if let Err(error) = answer.await {
                tracing::warn!("an event could not be recorded: {error}");
            }
        });
    }
}
