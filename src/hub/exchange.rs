//! The state of the exchange, and how it answers what happens.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    net::SocketAddr,
};

use metering::translate;

use super::{
    calls::{Calls, ServiceInterests, Word},
    feeds::{CompiledInterests, Feeds},
    floodgate::Floodgate,
    holds,
};
use crate::{
    defaults,
    ids::{ChannelId, ClientId, ConnectionId, FeedId, SessionId},
    model::ClientKind,
    outbox::{Class, Label},
    registry::{EventKind, EventRecord, KnownClient, LoginRecord, LogoutRecord},
    session::{ClockReading, End},
    status::ClientStatus,
    time::{Now, Wall},
    traffic::Ledger,
    wire::{Cause, ClientsUpdate, Data, Farewell, Frame, Packet, Problems},
};

mod logins;
mod metering;
mod pauses;
mod services;
mod snapshot;
mod topics;

/// What the driver of the hub is to do.
#[derive(Debug, Clone, PartialEq)]
pub enum Command {
    /// Take a client in. The packet is the first that it gets, before anything that its session sends by itself.
    Welcome {
        /// Which connection.
        to: ConnectionId,
        /// The welcome.
        packet: Packet,
    },
    /// Turn a client away.
    Refuse {
        /// Which connection.
        to: ConnectionId,
        /// What it is told.
        farewell: Farewell,
    },
    /// Put a topic message into a connection's outbox. If that says that the topic should pause, tell
    /// [`Hub::handle_congested`].
    Deliver {
        /// Which connection.
        to: ConnectionId,
        /// What the outbox has to know of it; its tag is the [`FeedId`].
        label: Label,
        /// What.
        packet: Packet,
    },
    /// Put a control frame into a connection's outbox, behind the topic messages of a class that wait there.
    SendBehind {
        /// Which connection.
        to: ConnectionId,
        /// Behind what.
        class: Class,
        /// What.
        packet: Packet,
    },
    /// Put another packet into a connection's outbox.
    Send {
        /// Which connection.
        to: ConnectionId,
        /// How urgent it is.
        class: Class,
        /// What.
        packet: Packet,
    },
    /// End a ready session.
    End {
        /// Which connection.
        to: ConnectionId,
        /// What it is told.
        farewell: Farewell,
    },
    /// Record a login; the answer comes back through [`Hub::handle_recorded`].
    Record {
        /// Which connection.
        from: ConnectionId,
        /// What to record.
        login: LoginRecord,
    },
    /// Record the end of a session.
    Logout(LogoutRecord),
    /// Write an event to the log and the registry.
    Event(EventRecord),
}

/// The limits that can be configured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Clients connected at once.
    pub clients_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits { clients_max: defaults::CLIENTS_MAX }
    }
}

/// What only the network knows of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LineFigures {
    /// Bytes read from it.
    pub bytes_in: u64,
    /// Bytes written to it.
    pub bytes_out: u64,
    /// Topic messages that its outbox gave up.
    pub messages_dropped: u64,
}

/// The exchange.
#[derive(Debug)]
pub struct Hub {
    limits: Limits,
    software_version: String,
    endpoint: Option<SocketAddr>,
    closed_reason: String,
    clients: BTreeMap<ClientId, Client>,
    lines: BTreeMap<ConnectionId, Line>,
    feeds: Feeds,
    calls: Calls,
    commands: VecDeque<Command>,
    refused: u64,
    floodgate: Floodgate,
    changed: bool,
    /// What went over each feed: in from its origin, out to each who takes it.
    ledger: Ledger<(FeedId, ConnectionId)>,
}

/// A client, connected or not.
#[derive(Debug)]
struct Client {
    known: KnownClient,
    capabilities: Vec<String>,
    /// Its connection, while it is ready.
    connection: Option<ConnectionId>,
}

/// A connection that has logged in.
#[derive(Debug)]
struct Line {
    client: ClientId,
    kind: ClientKind,
    capabilities: Vec<String>,
    address: SocketAddr,
    stage: Stage,
    last_seen: Wall,
    clock: Option<ClockReading>,
    interests: CompiledInterests,
    /// Feeds that it was told of.
    announced: BTreeSet<FeedId>,
    service_interests: ServiceInterests,
    /// Services that it was told of.
    announced_services: BTreeSet<FeedId>,
    messages_in: u64,
    messages_out: u64,
    /// Of those, what its outbox gave up because it had grown too old.
    messages_late: u64,
    /// What it says is in the way of its routes.
    problems: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Stage {
    /// The store is recording the login.
    Recording(LoginRecord),
    /// The connection ended while the store was recording: the session has to be closed as soon as it has a number.
    Abandoned { reason: String },
    /// Welcomed.
    Ready { session: SessionId, since: Wall },
}

impl Hub {
    /// An exchange whose port is closed. `known` are the clients of the registry.
    pub fn new(limits: Limits, software_version: &str, known: Vec<KnownClient>) -> Self {
        let clients = known
            .into_iter()
            .map(|known| (known.client.clone(), Client { known, capabilities: Vec::new(), connection: None }))
            .collect();
        Hub {
            limits,
            software_version: software_version.to_owned(),
            endpoint: None,
            closed_reason: "not opened yet".to_owned(),
            clients,
            lines: BTreeMap::new(),
            feeds: Feeds::default(),
            calls: Calls::default(),
            commands: VecDeque::new(),
            refused: 0,
            floodgate: Floodgate::new(defaults::REFUSALS_LOGGED_PER_MINUTE),
            changed: true,
            ledger: Ledger::default(),
        }
    }

    /// The next thing to do.
    pub fn poll_command(&mut self) -> Option<Command> {
        self.commands.pop_front()
    }

    /// Whether the status has changed since this was asked last.
    pub fn take_changed(&mut self) -> bool {
        std::mem::take(&mut self.changed)
    }

    /// Where the port is open.
    pub fn endpoint(&self) -> Option<SocketAddr> {
        self.endpoint
    }

    /// Clients that are connected.
    pub fn connected(&self) -> usize {
        self.clients.values().filter(|client| client.connection.is_some()).count()
    }

    /// The port was opened.
    pub fn handle_opened(&mut self, endpoint: SocketAddr, now: Now) {
        self.endpoint = Some(endpoint);
        self.closed_reason.clear();
        self.changed = true;
        self.event(now, EventKind::Port, None, Some(endpoint), format!("opened on {endpoint}"));
    }

    /// The port was closed. The connections are ended by whoever closed it, and reported as they end.
    pub fn handle_port_closed(&mut self, reason: &str, now: Now) {
        self.endpoint = None;
        self.closed_reason = reason.to_owned();
        self.changed = true;
        self.event(now, EventKind::Port, None, None, format!("closed ({reason})"));
    }

    /// A connection is over, logged in or not.
    pub fn handle_ended(&mut self, from: ConnectionId, address: SocketAddr, end: &End, now: Now) {
        let reason = end.farewell.reason.as_str();
        if !end.was_ready && !end.was_probe {
            self.refused += 1;
            self.changed = true;
            if self.floodgate.passes(now.mono) {
                let client = self.lines.get(&from).map(|line| line.client.clone());
                self.event(now, EventKind::Refused, client, Some(address), reason.to_owned());
            }
        }
        let Some(line) = self.lines.get_mut(&from) else { return };
        match &mut line.stage {
            Stage::Recording(_) => line.stage = Stage::Abandoned { reason: reason.to_owned() },
            Stage::Abandoned { .. } => {}
            Stage::Ready { session, .. } => {
                let session = *session;
                let client = line.client.clone();
                self.lines.remove(&from);
                self.commands.push_back(Command::Logout(LogoutRecord {
                    session,
                    at: now.wall,
                    reason: reason.to_owned(),
                }));
                self.event(now, EventKind::Disconnected, Some(client.clone()), Some(address), reason.to_owned());
                self.forget(from, &client, reason, now);
            }
        }
    }

    /// A frame of a ready session. Messages come through [`Hub::route`] instead.
    pub fn handle_frame(&mut self, from: ConnectionId, frame: Frame, now: Now) {
        if !self.is_ready(from) {
            return;
        }
        match frame {
            Frame::Interests(interests) => self.handle_interests(from, &interests, now.mono),
            Frame::Offers(offers) => self.handle_offers(from, offers),
            Frame::Withdraw(channels) => {
                let services = channels.iter().filter_map(|&channel| self.calls.close(from, channel)).collect();
                let closed = channels.into_iter().filter_map(|channel| self.feeds.close(from, channel)).collect();
                self.announce_closed(closed);
                self.announce_services_closed(services);
            }
            Frame::Subscribe(subscriptions) => {
                for subscription in subscriptions {
                    let Some(line) = self.lines.get(&from) else { return };
                    let feed = subscription.feed;
                    let subscribed = self.feeds.subscribe(from, &line.client, &line.interests, subscription, now.mono);
                    self.handle_subscribed(from, feed, subscribed, now);
                }
            }
            Frame::Unsubscribe(feeds) => {
                for feed in feeds {
                    let change = self.feeds.unsubscribe(from, feed, now.mono);
                    self.tell_demand(change);
                }
            }
            Frame::Congested(congestions) => {
                for it in congestions {
                    let change = self.feeds.hold(from, it.feed, holds::Cause::Word, it.congested, now.mono);
                    self.tell_demand(change);
                }
            }
            Frame::ServiceOffers(offers) => self.handle_service_offers(from, offers),
            Frame::Request(request) => self.handle_request(from, request, now),
            Frame::Response(response) => {
                let word = self.calls.response(from, response);
                self.pass_on(word);
            }
            Frame::CallFailed(failure) => {
                let word = self.calls.failure(from, failure);
                self.pass_on(word);
            }
            Frame::Abandon(calls) => {
                let words = self.calls.abandon(from, &calls);
                self.pass_on(words);
            }
            Frame::Problems(Problems { problems }) => self.handle_problems(from, problems, now),
            Frame::Data(data) => {
                // Only a driver that does not use `route` comes here; it gets the same.
                self.route_by_command(from, data, now);
            }
            other => self.violation(from, &format!("a {:?} frame is only sent by the server", other.kind())),
        }
    }

    /// Finds out who gets a message, and calls `deliver` for each with the packet, whose payload is shared. `deliver` says
    /// whether that connection wants the topic to pause ([`crate::outbox::Outbox::push_message`]).
    pub fn route(
        &mut self,
        from: ConnectionId,
        mut data: Data,
        now: Now,
        mut deliver: impl FnMut(ConnectionId, Label, Packet) -> bool,
    ) {
        let Some(line) = self.lines.get_mut(&from) else { return };
        line.messages_in += 1;
        let age = translate(&mut data, line.clock, now);
        let mut receivers = Vec::new();
        let mut thinned = Vec::new();
        let channel = ChannelId(data.id);
        // A message on a channel that was just withdrawn, or that nobody wants any more, was under way: not a fault.
        let taken = self.feeds.route(from, channel, now.mono, |to, label| match label {
            Some(label) => receivers.push((to, label)),
            None => thinned.push(to),
        });
        let Some(feed) = taken else { return };
        let (bytes, publisher, keep) = (data.payload.len(), data.publisher, data.keep);
        self.count_in(feed, from, bytes, age, now);
        for to in thinned {
            self.count_thinned(feed, to, now);
        }
        let Ok(packet) = Frame::Data(Data { id: feed.0, ..data }).encode() else { return };
        if let Some(topic) = self.feeds.remember(feed, publisher, keep, &packet) {
            let detail = format!(
                "/{}{} is not kept for late joiners any more: the exchange keeps {} MiB of transient_local messages, and they are full",
                topic.origin,
                topic.topic.name,
                defaults::HISTORY_BYTES / (1024 * 1024)
            );
            let client = Some(topic.origin.clone());
            self.event(now, EventKind::Server, client, None, detail);
        }
        for (to, label) in receivers {
            if let Some(line) = self.lines.get_mut(&to) {
                line.messages_out += 1;
                let congested = deliver(to, label, packet.clone());
                self.count_out(feed, to, bytes, age, now);
                if congested {
                    self.handle_congested(to, feed, now);
                }
            }
        }
    }

    /// A new reading of a client's clock.
    pub fn handle_clock(&mut self, from: ConnectionId, reading: ClockReading, now: Now) {
        if let Some(line) = self.lines.get_mut(&from) {
            line.clock = Some(reading);
            line.last_seen = now.wall;
        }
    }

    /// An administrator wants `id` to go.
    ///
    /// # Errors
    /// In words, if no such client is connected.
    pub fn disconnect(&mut self, id: &ClientId, reason: &str, now: Now) -> Result<(), String> {
        let client = self.clients.get(id).ok_or_else(|| {
            let known: Vec<_> = self.clients.keys().take(10).map(ClientId::as_str).collect();
            format!("no client {id:?} is known; known are: {}", known.join(", "), id = id.as_str())
        })?;
        let to = client.connection.ok_or_else(|| format!("client {:?} is not connected", id.as_str()))?;
        self.commands.push_back(Command::End { to, farewell: Farewell::new(Cause::Disconnected, reason) });
        self.event(now, EventKind::Administration, Some(id.clone()), None, format!("disconnected: {reason}"));
        Ok(())
    }

    /// Every client that is connected now, for [`crate::registry`]'s sign of life.
    pub fn signs_of_life(&self) -> Vec<(ClientId, Wall)> {
        let ready = self.lines.values().filter(|line| matches!(line.stage, Stage::Ready { .. }));
        ready.map(|line| (line.client.clone(), line.last_seen)).collect()
    }

    /// Each new problem is an event, and all that hold are in the status.
    fn handle_problems(&mut self, from: ConnectionId, problems: Vec<String>, now: Now) {
        let Some(line) = self.lines.get_mut(&from) else { return };
        let before = std::mem::replace(&mut line.problems, problems.clone());
        self.changed |= before != problems;
        let (client, address) = (line.client.clone(), line.address);
        for problem in problems.into_iter().filter(|problem| !before.contains(problem)) {
            if self.floodgate.passes(now.mono) {
                self.event(now, EventKind::Problem, Some(client.clone()), Some(address), problem);
            }
        }
    }

    fn route_by_command(&mut self, from: ConnectionId, data: Data, now: Now) {
        let mut sends = Vec::new();
        self.route(from, data, now, |to, label, packet| {
            sends.push(Command::Deliver { to, label, packet });
            false
        });
        self.commands.extend(sends);
    }

    fn violation(&mut self, to: ConnectionId, what: &str) {
        self.commands.push_back(Command::End { to, farewell: Farewell::new(Cause::Violation, what) });
    }

    fn send(&mut self, to: ConnectionId, frame: &Frame) {
        // A control frame over its limit cannot come about: lists are cut to `LIST_CHUNK` and texts were checked.
        if let Ok(packet) = frame.encode() {
            self.commands.push_back(Command::Send { to, class: Class::Control, packet });
        }
    }

    fn send_list<T: Clone>(&mut self, to: ConnectionId, list: &[T], frame: impl Fn(Vec<T>) -> Frame) {
        for chunk in list.chunks(defaults::LIST_CHUNK) {
            self.send(to, &frame(chunk.to_vec()));
        }
    }

    fn send_table(&mut self, to: ConnectionId) {
        let table: Vec<ClientStatus> = self.clients.values().map(|client| self.public_status(client)).collect();
        for (index, chunk) in table.chunks(defaults::LIST_CHUNK).enumerate() {
            self.send(to, &Frame::Clients(ClientsUpdate { reset: index == 0, clients: chunk.to_vec() }));
        }
    }

    fn broadcast_client(&mut self, id: &ClientId) {
        let Some(client) = self.clients.get(id) else { return };
        let update = ClientsUpdate { reset: false, clients: vec![self.public_status(client)] };
        let Ok(packet) = Frame::Clients(update).encode() else { return };
        let ready = self.lines.iter().filter(|(_, line)| line.is_ready()).map(|(&to, _)| to);
        let sends = ready.map(|to| Command::Send { to, class: Class::Control, packet: packet.clone() });
        self.commands.extend(sends.collect::<Vec<_>>());
    }

    fn is_ready(&self, connection: ConnectionId) -> bool {
        self.lines.get(&connection).is_some_and(Line::is_ready)
    }

    fn event(
        &mut self,
        now: Now,
        kind: EventKind,
        client: Option<ClientId>,
        address: Option<SocketAddr>,
        detail: String,
    ) {
        self.commands.push_back(Command::Event(EventRecord { at: now.wall, kind, client, address, detail }));
    }
}

impl Line {
    fn is_ready(&self) -> bool {
        matches!(self.stage, Stage::Ready { .. })
    }

    fn is_abandoned(&self) -> bool {
        matches!(self.stage, Stage::Abandoned { .. })
    }
}
