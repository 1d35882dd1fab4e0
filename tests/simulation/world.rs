//! Simulated time, wires, graphs and registry around the real state machines.

mod flow;

use std::{
    collections::{BTreeMap, BinaryHeap},
    net::SocketAddr,
    ops::Range,
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use flow::{Flow, How, Source};
use switchboard::{
    hub::{Command, Hub, Limits},
    ids::{CallId, CallerId, ClientId, ConnectionId, FeedId, ReaderId, RequestId, ServerId, SessionId, WriterId},
    model::{ClientKind, Qos, ServiceInfo, TopicInfo},
    registry::{KnownClient, LoginRecord},
    routes::{
        Endpoint, Gid, LocalGraph, LocalService, LocalTopic, Outgoing, Pattern, RouteCommand, Routes, Rule, Rules,
        Section, Subject,
    },
    session::{Backoff, Output, Session, Timing},
    time::{Mono, Now, Wall},
    traffic::TrafficReport,
    wire::{Data, Decoder, Frame, Login, Packet, Version},
};

/// What can go wrong.
pub(crate) enum Fault<'a> {
    /// The connection breaks, and both ends are told.
    Cut(&'a str),
    /// The connection is dead, and nobody is told.
    HalfOpen(&'a str),
    /// The client's process dies and starts again.
    RestartClient(&'a str),
    /// The server's process dies and starts again.
    RestartServer,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Server,
    Client,
}

enum Happening {
    Bytes {
        connection: ConnectionId,
        to: Side,
        bytes: Bytes,
    },
    Broken {
        connection: ConnectionId,
        side: Side,
    },
    Dial {
        client: usize,
        life: u64,
    },
    Recorded {
        life: u64,
        connection: ConnectionId,
        session: SessionId,
    },
    GraphSettled {
        client: usize,
    },
    /// A local service of a client answers a call.
    Answered {
        client: usize,
        life: u64,
        caller: CallerId,
        call: CallId,
    },
    Source(Source),
    Drain,
}

/// What became of a request in a local graph.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Nothing yet.
    Waits,
    /// The response came.
    Answered,
    /// The type's word for failure came.
    Failed,
    /// The process that had it died.
    Dead,
}

struct Asked {
    client: usize,
    server: ServerId,
    outcome: Outcome,
}

struct Entry {
    at: Mono,
    order: u64,
    what: Happening,
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.order == other.order
    }
}
impl Eq for Entry {}
impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Entry {
    /// The earliest first: `BinaryHeap` takes the greatest.
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (other.at, other.order).cmp(&(self.at, self.order))
    }
}

/// One end of a connection.
struct End {
    session: Session,
    decoder: Decoder,
    buffer: BytesMut,
}

impl End {
    fn new(session: Session) -> Self {
        End { session, decoder: Decoder::new(), buffer: BytesMut::new() }
    }
}

/// Nodes of a robot other than ours, and our own readers and writers.
#[derive(Default)]
pub(crate) struct Graph {
    publishers: Vec<(String, String)>,
    subscribers: Vec<(String, String)>,
    readers: BTreeMap<ReaderId, TopicInfo>,
    writers: BTreeMap<WriterId, TopicInfo>,
    services: Vec<(String, String)>,
    servers: BTreeMap<ServerId, ServiceInfo>,
    callers: BTreeMap<CallerId, ServiceInfo>,
}

impl Graph {
    /// Somebody publishes a topic.
    pub(crate) fn publish(&mut self, name: &str, type_name: &str) {
        self.publishers.push((name.to_owned(), type_name.to_owned()));
    }

    /// Somebody subscribes to a topic.
    pub(crate) fn subscribe(&mut self, name: &str, type_name: &str) {
        self.subscribers.push((name.to_owned(), type_name.to_owned()));
    }

    /// Somebody serves a service.
    pub(crate) fn serve(&mut self, name: &str, type_name: &str) {
        self.services.push((name.to_owned(), type_name.to_owned()));
    }

    /// Nobody serves it any more.
    pub(crate) fn stop_serving(&mut self, name: &str) {
        self.services.retain(|(service, _)| service != name);
    }

    /// Names of the services of others that we serve.
    pub(crate) fn served(&self) -> Vec<&str> {
        self.servers.values().map(|service| service.name.as_str()).collect()
    }

    fn service_snapshot(&self) -> Vec<LocalService> {
        let mut services: BTreeMap<&str, Vec<Endpoint>> = BTreeMap::new();
        let mut add = |name, type_name: &str, own| services.entry(name).or_default().push(endpoint(type_name, own));
        for (name, type_name) in &self.services {
            add(name, type_name, false);
        }
        for service in self.servers.values() {
            add(&service.name, &service.type_name, true);
        }
        let services = services.into_iter();
        services.map(|(name, servers)| LocalService { name: name.to_owned(), servers }).collect()
    }

    fn snapshot(&self) -> LocalGraph {
        let mut topics: BTreeMap<&str, LocalTopic> = BTreeMap::new();
        let mut add = |name: &'_ str, type_name: &str, own: bool, publishes: bool| {
            // The names live as long as the graph.
            let key: &str = self.name_of(name);
            let topic = topics.entry(key).or_insert_with(|| LocalTopic {
                name: name.to_owned(),
                publishers: vec![],
                subscribers: vec![],
            });
            let endpoint = endpoint(type_name, own);
            if publishes { topic.publishers.push(endpoint) } else { topic.subscribers.push(endpoint) }
        };
        for (name, type_name) in &self.publishers {
            add(name, type_name, false, true);
        }
        for (name, type_name) in &self.subscribers {
            add(name, type_name, false, false);
        }
        for topic in self.writers.values() {
            add(&topic.name, &topic.type_name, true, true);
        }
        for topic in self.readers.values() {
            add(&topic.name, &topic.type_name, true, false);
        }
        LocalGraph { topics: topics.into_values().collect(), services: self.service_snapshot() }
    }

    fn name_of(&self, name: &str) -> &str {
        let plain = self.publishers.iter().chain(&self.subscribers).map(|(name, _)| name);
        let own = self.readers.values().chain(self.writers.values()).map(|topic| &topic.name);
        plain.chain(own).find(|known| *known == name).unwrap()
    }
}

struct Client {
    id: ClientId,
    routes: Routes,
    graph: Graph,
    end: Option<(ConnectionId, End)>,
    backoff: Backoff,
    /// The server's clock minus its own.
    offset: Option<i64>,
    /// Counts restarts: what was planned for an earlier life does not happen.
    life: u64,
    settling: bool,
}

/// Everything.
pub(crate) struct World {
    now: Now,
    rng: fastrand::Rng,
    queue: BinaryHeap<Entry>,
    order: u64,
    hub: Hub,
    server_life: u64,
    server_ends: BTreeMap<ConnectionId, End>,
    clients: Vec<Client>,
    next_connection: u64,
    /// When the last bytes of a direction arrive: TCP keeps order.
    busy_until: BTreeMap<(ConnectionId, bool), Mono>,
    dead_wires: Vec<ConnectionId>,
    /// Sessions of the registry: client, and whether it has ended.
    registry: BTreeMap<SessionId, (LoginRecord, bool)>,
    deliveries: Vec<(String, String)>,
    asked: Vec<Asked>,
    /// Longest time that a service takes to answer [ms].
    pub(crate) service_takes: u64,
    /// Stop messages: at which client, on which topic.
    stops: Vec<(String, String)>,
    flow: Flow,
}

impl World {
    pub(crate) fn new(seed: u64) -> Self {
        World {
            now: Now { mono: Mono(Duration::from_secs(1)), wall: Wall(1_000_000_000) },
            rng: fastrand::Rng::with_seed(seed),
            queue: BinaryHeap::new(),
            order: 0,
            hub: open_hub(vec![], Now::default()),
            server_life: 0,
            server_ends: BTreeMap::new(),
            clients: vec![],
            next_connection: 0,
            busy_until: BTreeMap::new(),
            dead_wires: vec![],
            registry: BTreeMap::new(),
            deliveries: vec![],
            asked: vec![],
            service_takes: 100,
            stops: vec![],
            flow: Flow::default(),
        }
    }

    /// A client that offers, wants and accepts everything.
    pub(crate) fn add_client(&mut self, id: &str) {
        let id = ClientId::new(id).unwrap();
        let client = Client {
            routes: Routes::new(id.clone(), ClientKind::Robot, everything()),
            id,
            graph: Graph::default(),
            end: None,
            backoff: Backoff::default(),
            offset: None,
            life: 0,
            settling: false,
        };
        self.clients.push(client);
        let index = self.clients.len() - 1;
        self.dial_later(index, Duration::ZERO);
        self.graph_changed(index);
    }

    pub(crate) fn graph(&mut self, id: &str) -> &mut Graph {
        let index = self.index(id);
        self.graph_changed(index);
        &mut self.clients[index].graph
    }

    pub(crate) fn random(&mut self, range: Range<u64>) -> u64 {
        self.rng.u64(range)
    }

    pub(crate) fn is_connected(&self, id: &str) -> bool {
        self.clients[self.index(id)].end.as_ref().is_some_and(|(_, end)| end.session.is_ready())
    }

    /// Another node of `id` publishes a message.
    pub(crate) fn publish(&mut self, id: &str, name: &str, type_name: &str) {
        let index = self.index(id);
        assert!(self.clients[index].graph.publishers.contains(&(name.to_owned(), type_name.to_owned())));
        let readers: Vec<ReaderId> = self.clients[index]
            .graph
            .readers
            .iter()
            .filter(|(_, topic)| topic.name == name && topic.type_name == type_name)
            .map(|(&reader, _)| reader)
            .collect();
        self.deliver_locally(index, name, type_name);
        for reader in readers {
            self.send_sample(index, reader, Bytes::from_static(b"cdr"));
        }
    }

    fn send_sample(&mut self, client: usize, reader: ReaderId, payload: Bytes) {
        let routes = &mut self.clients[client].routes;
        let Some(outgoing) = routes.outgoing(reader, Gid([0; 24]), self.now.mono) else { return };
        let Outgoing { channel, sequence, publisher, .. } = outgoing;
        let (bytes, source_time) = (payload.len(), self.now.wall);
        let data = Data { id: channel.0, publisher, keep: 0, sequence, source_time, payload };
        self.send_from_client(client, &Frame::Data(data));
        self.clients[client].routes.handle_sent(reader, bytes, source_time, self.now);
    }

    /// Another node of `id` calls `service`, if it is served there. Returns its number.
    pub(crate) fn call(&mut self, id: &str, service: &str) -> Option<usize> {
        let client = self.index(id);
        let servers = &self.clients[client].graph.servers;
        let (&server, _) = servers.iter().find(|(_, info)| info.name == service)?;
        let request = RequestId(self.asked.len() as u64);
        self.asked.push(Asked { client, server, outcome: Outcome::Waits });
        let now = self.now.mono;
        self.clients[client].routes.handle_local_request(server, request, Bytes::from_static(b"request"), now);
        self.carry_out_routes(client);
        Some(request.0 as usize)
    }

    /// What became of a call.
    pub(crate) fn outcome(&self, call: usize) -> Outcome {
        self.asked[call].outcome
    }

    fn end_call(&mut self, client: usize, server: ServerId, request: RequestId, outcome: Outcome) {
        assert!(self.clients[client].graph.servers.contains_key(&server), "answered by a server that is gone");
        let asked = &mut self.asked[request.0 as usize];
        assert_eq!((asked.client, asked.server), (client, server));
        assert_eq!(asked.outcome, Outcome::Waits, "request {request} is answered twice");
        asked.outcome = outcome;
    }

    pub(crate) fn forget_deliveries(&mut self) {
        self.deliveries.clear();
    }

    /// Messages that other nodes of `id` have got on `name`.
    pub(crate) fn delivered(&self, id: &str, name: &str) -> usize {
        self.deliveries.iter().filter(|(at, topic)| at == id && topic == name).count()
    }

    pub(crate) fn deliveries(&self) -> usize {
        self.deliveries.len()
    }

    pub(crate) fn take_stops(&mut self) -> Vec<(String, String)> {
        std::mem::take(&mut self.stops)
    }

    /// The traffic of `id`, as it counts it.
    pub(crate) fn traffic(&self, id: &str) -> TrafficReport {
        self.clients[self.index(id)].routes.traffic(self.now)
    }

    /// The traffic of the server.
    pub(crate) fn traffic_of_server(&self) -> TrafficReport {
        self.hub.traffic(self.now)
    }

    /// Every client has exactly one open session in the registry.
    pub(crate) fn check_registry(&self, seed: u64) {
        for client in &self.clients {
            let open = self.registry.values().filter(|(login, ended)| login.client == client.id && !ended).count();
            assert_eq!(open, 1, "seed {seed}: open sessions of {}", client.id);
        }
    }

    pub(crate) fn inject(&mut self, fault: Fault<'_>) {
        match fault {
            Fault::Cut(id) => {
                if let Some((connection, _)) = self.clients[self.index(id)].end {
                    self.dead_wires.push(connection);
                    for side in [Side::Server, Side::Client] {
                        let delay = Duration::from_millis(self.random(0..500));
                        self.plan(delay, Happening::Broken { connection, side });
                    }
                }
            }
            Fault::HalfOpen(id) => {
                if let Some((connection, _)) = self.clients[self.index(id)].end {
                    self.dead_wires.push(connection);
                }
            }
            Fault::RestartClient(id) => {
                let index = self.index(id);
                let client = &mut self.clients[index];
                client.routes = Routes::new(client.id.clone(), ClientKind::Robot, everything());
                client.graph.readers.clear();
                client.graph.writers.clear();
                client.graph.servers.clear();
                client.graph.callers.clear();
                let lost = self.asked.iter_mut().filter(|asked| asked.client == index);
                lost.filter(|asked| asked.outcome == Outcome::Waits).for_each(|asked| asked.outcome = Outcome::Dead);
                client.backoff = Backoff::default();
                client.life += 1;
                if let Some((connection, _)) = client.end.take() {
                    self.dead_wires.push(connection);
                    self.plan(Duration::from_millis(1), Happening::Broken { connection, side: Side::Server });
                }
                let start = Duration::from_millis(self.random(0..2_000));
                self.dial_later(index, start);
                self.graph_changed(index);
            }
            Fault::RestartServer => {
                self.server_life += 1;
                for (connection, _) in std::mem::take(&mut self.server_ends) {
                    self.dead_wires.push(connection);
                    self.plan(Duration::from_millis(1), Happening::Broken { connection, side: Side::Client });
                }
                // What the store does with sessions that a crash left open.
                self.registry.values_mut().for_each(|(_, ended)| *ended = true);
                let known = self.registry.values().map(|(login, _)| known(login)).collect();
                self.hub = open_hub(known, self.now);
            }
        }
    }

    /// Lets time pass.
    pub(crate) fn run(&mut self, duration: Duration) {
        let end = self.now.mono + duration;
        let mut steps = 0;
        loop {
            let next = self.queue.peek().map(|entry| entry.at).into_iter().chain(self.next_timeout()).min();
            let Some(next) = next.filter(|&next| next <= end) else { break };
            self.advance(next);
            steps += 1;
            assert!(steps < 1_000_000, "the exchange never comes to rest: a loop");
            while self.queue.peek().is_some_and(|entry| entry.at <= self.now.mono) {
                let entry = self.queue.pop().unwrap();
                self.happen(entry.what);
            }
            self.handle_timeouts();
        }
        self.advance(end);
    }

    fn happen(&mut self, what: Happening) {
        match what {
            Happening::Bytes { connection, to, bytes } => {
                if self.dead_wires.contains(&connection) {
                    return;
                }
                if let Some(end) = self.end_of(connection, to) {
                    end.buffer.extend_from_slice(&bytes);
                    self.work(connection, to);
                }
            }
            Happening::Broken { connection, side } => {
                if let Some(end) = self.end_of(connection, side) {
                    end.session.handle_broken("cut");
                    self.work(connection, side);
                }
            }
            Happening::Dial { client, life } => {
                if self.clients[client].life == life && self.clients[client].end.is_none() {
                    let connection = ConnectionId(self.next_connection);
                    self.next_connection += 1;
                    let login = login(&self.clients[client].id);
                    let session = Session::dial(Timing::default(), login, self.now);
                    self.clients[client].end = Some((connection, End::new(session)));
                    self.server_ends.insert(connection, End::new(Session::accept(Timing::default(), self.now)));
                    self.work(connection, Side::Client);
                }
            }
            Happening::Recorded { life, connection, session } => {
                if life == self.server_life {
                    self.hub.handle_recorded(connection, Ok(session), self.now);
                    self.carry_out_hub();
                }
            }
            Happening::Source(source) => self.publish_from(source),
            Happening::Drain => self.drain_slow_links(),
            Happening::GraphSettled { client } => {
                self.clients[client].settling = false;
                let snapshot = self.clients[client].graph.snapshot();
                self.clients[client].routes.handle_graph(snapshot);
                self.carry_out_routes(client);
            }
            Happening::Answered { client: index, life, caller, call } => {
                let client = &mut self.clients[index];
                let Some(service) = client.graph.callers.get(&caller).filter(|_| client.life == life) else { return };
                // A server that has gone answers nothing.
                if client.graph.services.iter().any(|(name, _)| *name == service.name) {
                    client.routes.handle_local_response(call, Bytes::from_static(b"response"), self.now.mono);
                    self.carry_out_routes(index);
                }
            }
        }
    }

    /// Does everything that one end of a connection has to do.
    fn work(&mut self, connection: ConnectionId, side: Side) {
        loop {
            let now = self.now;
            let Some(end) = self.end_of(connection, side) else { return };
            if let Some(output) = end.session.poll_output() {
                self.handle_output(connection, side, output);
                continue;
            }
            if end.session.is_ready() {
                end.decoder.login_done();
            }
            let mut buffer = std::mem::take(&mut end.buffer);
            let item = end.decoder.next(&mut buffer);
            end.buffer = buffer;
            match item {
                Ok(Some(item)) => end.session.handle_item(item, now),
                Ok(None) => return,
                Err(error) => end.session.handle_wire_error(&error),
            }
        }
    }

    fn handle_output(&mut self, connection: ConnectionId, side: Side, output: Output) {
        match (side, output) {
            (_, Output::SendPreamble) => {
                let preamble = Bytes::copy_from_slice(&Version::CURRENT.preamble());
                self.transmit(connection, other(side), &preamble);
            }
            (_, Output::Send(frame)) => self.transmit_frame(connection, other(side), &frame),
            (Side::Server, Output::Login(login)) => {
                self.hub.handle_login(connection, login, address(connection), self.now);
                self.carry_out_hub();
            }
            (Side::Server, Output::Frame(frame)) => {
                self.hub.handle_frame(connection, frame, self.now);
                self.carry_out_hub();
            }
            (Side::Server, Output::Clock(reading)) => self.hub.handle_clock(connection, reading, self.now),
            (Side::Server, Output::Ended(end)) => {
                self.server_ends.remove(&connection);
                self.hub.handle_ended(connection, address(connection), &end, self.now);
                self.carry_out_hub();
                let delay = Duration::from_millis(self.random(1..20));
                self.plan(delay, Happening::Broken { connection, side: Side::Client });
            }
            (Side::Client, output) => self.handle_client_output(connection, output),
            (Side::Server, Output::Welcomed(_)) => unreachable!(),
        }
    }

    fn handle_client_output(&mut self, connection: ConnectionId, output: Output) {
        let index = self.client_of(connection).unwrap();
        let client = &mut self.clients[index];
        match output {
            Output::Welcomed(_) => {
                client.backoff.reset();
                client.routes.handle_connected();
            }
            Output::Frame(Frame::Clients(update)) => {
                client.routes.handle_clients(update.clients.into_iter().map(|client| client.id));
            }
            Output::Frame(Frame::FeedsOpen(feeds)) => client.routes.handle_feeds_open(feeds),
            Output::Frame(Frame::ServicesOpen(feeds)) => client.routes.handle_services_open(feeds),
            Output::Frame(Frame::Request(request)) => client.routes.handle_request(request, self.now.mono),
            Output::Frame(Frame::Response(response)) => client.routes.handle_response(response, self.now.mono),
            Output::Frame(Frame::CallFailed(failure)) => client.routes.handle_failure(&failure, self.now.mono),
            Output::Frame(Frame::Abandon(calls)) => client.routes.handle_abandon(&calls),
            Output::Frame(Frame::FeedsClosed(feeds)) => client.routes.handle_feeds_closed(&feeds),
            Output::Frame(Frame::Demands(demands)) => client.routes.handle_demands(&demands),
            Output::Frame(Frame::Data(data)) => {
                let (feed, publisher, keep) = (FeedId(data.id), data.publisher, data.keep);
                let passed = client.routes.let_through(feed, data.payload, data.source_time, client.offset, self.now);
                if let (Some(passed), Some(writer)) = (passed, client.routes.incoming(feed, publisher, keep)) {
                    let topic = client.graph.writers[&writer].clone();
                    client.routes.handle_published(feed, passed.payload.len(), passed.age, self.now.mono);
                    // Our own readers of that topic do not hear our own writers.
                    self.deliver_locally(index, &topic.name, &topic.type_name);
                    self.note_arrival(index, &topic.name, &passed.payload);
                }
            }
            Output::Ended(end) => {
                client.end = None;
                client.offset = None;
                if end.was_ready {
                    client.routes.handle_disconnected();
                }
                let delay = client.backoff.next_delay(self.rng.f64());
                self.dial_later(index, delay);
                let delay = Duration::from_millis(self.random(1..20));
                self.plan(delay, Happening::Broken { connection, side: Side::Server });
            }
            Output::Clock(reading) => client.offset = Some(reading.offset),
            other => panic!("a client got {other:?}"),
        }
        self.carry_out_routes(index);
    }

    fn carry_out_hub(&mut self) {
        while let Some(command) = self.hub.poll_command() {
            match command {
                Command::Welcome { to, packet } => {
                    self.transmit_packet(to, Side::Client, &packet);
                    if let Some(end) = self.server_ends.get_mut(&to) {
                        end.session.handle_decision(Ok(()), self.now);
                    }
                }
                Command::Refuse { to, farewell } => {
                    if let Some(end) = self.server_ends.get_mut(&to) {
                        end.session.handle_decision(Err(farewell), self.now);
                    }
                }
                Command::Deliver { to, label, packet } => self.send_to_client(to, packet, How::Message(label)),
                Command::SendBehind { to, class, packet } => self.send_to_client(to, packet, How::Behind(class)),
                Command::Send { to, class, packet } => self.send_to_client(to, packet, How::Control(class)),
                Command::End { to, farewell } => {
                    if let Some(end) = self.server_ends.get_mut(&to) {
                        end.session.handle_stop(farewell);
                        self.work(to, Side::Server);
                    }
                }
                Command::Record { from, login } => {
                    let session = SessionId(self.registry.len() as i64);
                    self.registry.insert(session, (login, false));
                    let delay = Duration::from_millis(self.random(1..30));
                    self.plan(delay, Happening::Recorded { life: self.server_life, connection: from, session });
                }
                Command::Logout(logout) => self.registry.get_mut(&logout.session).unwrap().1 = true,
                Command::Event(_) => {}
            }
        }
        // Decisions may have made sessions ready, or ended them.
        let waiting: Vec<ConnectionId> = self.server_ends.keys().copied().collect();
        for connection in waiting {
            if let Some(end) = self.server_ends.get_mut(&connection)
                && let Some(output) = end.session.poll_output()
            {
                self.handle_output(connection, Side::Server, output);
                self.work(connection, Side::Server);
            }
        }
    }

    fn carry_out_routes(&mut self, index: usize) {
        while let Some(command) = self.clients[index].routes.poll_command() {
            let graph = &mut self.clients[index].graph;
            let changed = match command {
                RouteCommand::Send(frame) | RouteCommand::SendCall(frame) | RouteCommand::SendBehind(_, frame) => {
                    self.send_from_client(index, &frame);
                    false
                }
                RouteCommand::FinishReader(reader) => {
                    self.clients[index].routes.handle_reader_done(reader);
                    false
                }
                RouteCommand::CreateReader(reader, topic) => graph.readers.insert(reader, topic).is_none(),
                RouteCommand::HoldReader(reader, hold) => {
                    match hold {
                        true => self.flow.held.insert(reader),
                        false => self.flow.held.remove(&reader),
                    };
                    false
                }
                RouteCommand::DestroyReader(reader) => graph.readers.remove(&reader).is_some(),
                RouteCommand::CreateWriter(writer, topic) => graph.writers.insert(writer, topic).is_none(),
                RouteCommand::PublishStop(writer) => {
                    let name = graph.writers[&writer].name.clone();
                    let id = self.clients[index].id.to_string();
                    self.stops.push((id, name));
                    false
                }
                RouteCommand::DestroyWriter(writer) => graph.writers.remove(&writer).is_some(),
                RouteCommand::CreateServer(server, service) => graph.servers.insert(server, service).is_none(),
                RouteCommand::DestroyServer(server) => {
                    let mut waiting = self.asked.iter().filter(|asked| asked.outcome == Outcome::Waits);
                    assert!(!waiting.any(|asked| (asked.client, asked.server) == (index, server)), "not answered");
                    graph.servers.remove(&server).is_some()
                }
                RouteCommand::Respond(server, request, payload) => {
                    assert_eq!(payload, Bytes::from_static(b"response"));
                    self.end_call(index, server, request, Outcome::Answered);
                    false
                }
                RouteCommand::RespondFailure(server, request, reason) => {
                    assert!(!reason.is_empty());
                    self.end_call(index, server, request, Outcome::Failed);
                    false
                }
                RouteCommand::CreateCaller(caller, service) => {
                    graph.callers.insert(caller, service);
                    false
                }
                RouteCommand::DestroyCaller(caller) => {
                    graph.callers.remove(&caller);
                    false
                }
                RouteCommand::Call(caller, call, _) => {
                    assert!(graph.callers.contains_key(&caller));
                    let life = self.clients[index].life;
                    let takes = Duration::from_millis(self.random(1..self.service_takes + 1));
                    self.plan(takes, Happening::Answered { client: index, life, caller, call });
                    false
                }
                RouteCommand::ForgetCall(..) => false,
                // Calls fail when lines do.
                RouteCommand::Warn(warning) if warning.contains("has failed") => false,
                RouteCommand::Warn(warning) => panic!("{}: {warning}", self.clients[index].id),
            };
            if changed {
                self.graph_changed(index);
            }
        }
    }

    fn send_from_client(&mut self, index: usize, frame: &Frame) {
        if let Some((connection, _)) = self.clients[index].end {
            self.transmit_frame(connection, Side::Server, frame);
        }
    }

    fn transmit_frame(&mut self, connection: ConnectionId, to: Side, frame: &Frame) {
        self.transmit_packet(connection, to, &frame.encode().unwrap());
    }

    fn transmit_packet(&mut self, connection: ConnectionId, to: Side, packet: &Packet) {
        self.transmit(connection, to, &[packet.head.as_ref(), packet.body.as_ref()].concat().into());
    }

    /// Puts bytes on the wire, in random pieces with random delays, in order.
    fn transmit(&mut self, connection: ConnectionId, to: Side, bytes: &Bytes) {
        let mut rest = bytes.clone();
        while !rest.is_empty() {
            let piece = rest.split_to(self.rng.usize(1..=rest.len()));
            let arrival = self.now.mono + Duration::from_micros(self.rng.u64(100..20_000));
            let busy = self.busy_until.entry((connection, to == Side::Server)).or_default();
            *busy = (*busy).max(arrival);
            let delay = busy.since(self.now.mono);
            self.plan(delay, Happening::Bytes { connection, to, bytes: piece });
        }
    }

    fn deliver_locally(&mut self, index: usize, name: &str, type_name: &str) {
        let client = &self.clients[index];
        let matching = client.graph.subscribers.iter().filter(|(topic, kind)| topic == name && kind == type_name);
        let delivered = matching.map(|_| (client.id.to_string(), name.to_owned()));
        self.deliveries.extend(delivered);
    }

    fn graph_changed(&mut self, client: usize) {
        if !std::mem::replace(&mut self.clients[client].settling, true) {
            self.plan(Duration::from_millis(50), Happening::GraphSettled { client });
        }
    }

    fn dial_later(&mut self, client: usize, delay: Duration) {
        let life = self.clients[client].life;
        self.plan(delay, Happening::Dial { client, life });
    }

    fn plan(&mut self, delay: Duration, what: Happening) {
        self.order += 1;
        self.queue.push(Entry { at: self.now.mono + delay, order: self.order, what });
    }

    fn next_timeout(&self) -> Option<Mono> {
        let server = self.server_ends.values().filter_map(|end| end.session.poll_timeout());
        let clients = self.clients.iter().filter_map(|client| client.end.as_ref()?.1.session.poll_timeout());
        let routes = self.clients.iter().filter_map(|client| client.routes.poll_timeout());
        let calls = routes.chain(self.hub.poll_timeout()).map(|at| at.max(self.now.mono));
        server.chain(clients).chain(calls).min()
    }

    fn handle_timeouts(&mut self) {
        if self.hub.poll_timeout().is_some_and(|at| at <= self.now.mono) {
            self.hub.handle_timeout(self.now);
            self.carry_out_hub();
        }
        let mut due: Vec<(ConnectionId, Side)> = vec![];
        let is_due = |end: &End| end.session.poll_timeout().is_some_and(|at| at <= self.now.mono);
        due.extend(self.server_ends.iter().filter(|(_, end)| is_due(end)).map(|(&id, _)| (id, Side::Server)));
        let ends = self.clients.iter().filter_map(|client| client.end.as_ref());
        due.extend(ends.filter(|(_, end)| is_due(end)).map(|(id, _)| (*id, Side::Client)));
        let now = self.now;
        for (connection, side) in due {
            if let Some(end) = self.end_of(connection, side) {
                end.session.handle_timeout(now);
                self.work(connection, side);
            }
        }
        if self.hub.poll_timeout().is_some_and(|at| at <= now.mono) {
            self.hub.handle_timeout(now);
            self.carry_out_hub();
        }
        for index in 0..self.clients.len() {
            if self.clients[index].routes.poll_timeout().is_some_and(|at| at <= now.mono) {
                self.clients[index].routes.handle_timeout(now.mono);
                self.carry_out_routes(index);
            }
        }
    }

    fn advance(&mut self, to: Mono) {
        self.now = self.now.plus(to.since(self.now.mono));
    }

    fn end_of(&mut self, connection: ConnectionId, side: Side) -> Option<&mut End> {
        match side {
            Side::Server => self.server_ends.get_mut(&connection),
            Side::Client => {
                let index = self.client_of(connection)?;
                self.clients[index].end.as_mut().map(|(_, end)| end)
            }
        }
    }

    fn client_of(&self, connection: ConnectionId) -> Option<usize> {
        self.clients.iter().position(|client| client.end.as_ref().is_some_and(|(id, _)| *id == connection))
    }

    fn index(&self, id: &str) -> usize {
        self.clients.iter().position(|client| client.id.as_str() == id).unwrap()
    }
}

fn endpoint(type_name: &str, own: bool) -> Endpoint {
    Endpoint {
        gid: Gid([0; 24]),
        node: "/node".to_owned(),
        type_name: type_name.to_owned(),
        type_hash: String::new(),
        qos: Qos::default(),
        own,
    }
}

fn other(side: Side) -> Side {
    if side == Side::Server { Side::Client } else { Side::Server }
}

fn address(connection: ConnectionId) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 1_024 + (connection.0 % 60_000) as u16))
}

fn open_hub(known: Vec<KnownClient>, now: Now) -> Hub {
    let mut hub = Hub::new(Limits::default(), "0.1.0", known);
    hub.handle_opened("127.0.0.1:7420".parse().unwrap(), now);
    while hub.poll_command().is_some() {}
    hub
}

fn everything() -> Rules {
    let all = Pattern::new("/**").unwrap();
    let mut rules = Rules::default();
    for section in Section::ALL {
        let rule = Rule { stop: section == Section::Accept, ..Rule::new(Subject::Topic, all.clone()) };
        rules.add(section, rule, false).unwrap();
    }
    for section in [Section::Offer, Section::Want] {
        rules.add(section, Rule::new(Subject::Service, all.clone()), false).unwrap();
        rules.add(section, Rule::new(Subject::Action, all.clone()), false).unwrap();
    }
    rules
}

fn login(id: &ClientId) -> Login {
    Login {
        id: id.clone(),
        kind: ClientKind::Robot,
        name: id.to_string(),
        host_name: "host".to_owned(),
        software_version: "0.1.0".to_owned(),
        ros_distro: "jazzy".to_owned(),
        capabilities: vec![],
    }
}

fn known(login: &LoginRecord) -> KnownClient {
    KnownClient {
        client: login.client.clone(),
        kind: login.kind,
        name: login.name.clone(),
        host_name: login.host_name.clone(),
        software_version: login.software_version.clone(),
        ros_distro: login.ros_distro.clone(),
        last_address: login.address,
        first_seen: login.at,
        last_seen: login.at,
        last_reason: String::new(),
    }
}
