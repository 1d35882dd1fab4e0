//! Who comes in and who goes.

use std::{collections::BTreeSet, net::SocketAddr};

use super::{Client, Command, Hub, Line, Stage};
use crate::{
    hub::{calls::ServiceInterests, feeds::CompiledInterests},
    ids::{ClientId, ConnectionId, SessionId},
    registry::{EventKind, KnownClient, LoginRecord, LogoutRecord},
    time::Now,
    wire::{Cause, Farewell, Frame, Login, Welcome},
};

impl Hub {
    /// A connection wants to log in.
    pub fn handle_login(&mut self, from: ConnectionId, login: Login, address: SocketAddr, now: Now) {
        if let Err(farewell) = self.judge(&login) {
            self.commands.push_back(Command::Refuse { to: from, farewell });
            return;
        }
        let record = LoginRecord {
            client: login.id.clone(),
            kind: login.kind,
            name: login.name,
            host_name: login.host_name,
            software_version: login.software_version,
            ros_distro: login.ros_distro,
            address,
            at: now.wall,
        };
        let line = Line {
            client: login.id,
            kind: login.kind,
            capabilities: login.capabilities,
            address,
            stage: Stage::Recording(record.clone()),
            last_seen: now.wall,
            clock: None,
            interests: CompiledInterests::default(),
            announced: BTreeSet::new(),
            service_interests: ServiceInterests::default(),
            announced_services: BTreeSet::new(),
            messages_in: 0,
            messages_out: 0,
            messages_late: 0,
            problems: Vec::new(),
        };
        self.lines.insert(from, line);
        self.commands.push_back(Command::Record { from, login: record });
    }

    /// The store has recorded a login, or not.
    pub fn handle_recorded(&mut self, from: ConnectionId, outcome: Result<SessionId, String>, now: Now) {
        let Some(line) = self.lines.get_mut(&from) else { return };
        match (std::mem::replace(&mut line.stage, Stage::Abandoned { reason: String::new() }), outcome) {
            (Stage::Recording(record), Ok(session)) => {
                line.stage = Stage::Ready { session, since: record.at };
                self.welcome(from, session, record, now);
            }
            (Stage::Recording(_), Err(error)) => {
                self.lines.remove(&from);
                let farewell = Farewell::new(Cause::Registry, format!("the login could not be recorded: {error}"));
                self.commands.push_back(Command::Refuse { to: from, farewell });
            }
            (Stage::Abandoned { reason }, Ok(session)) => {
                self.lines.remove(&from);
                self.commands.push_back(Command::Logout(LogoutRecord { session, at: now.wall, reason }));
            }
            (Stage::Abandoned { .. }, Err(_)) => {
                self.lines.remove(&from);
            }
            (ready @ Stage::Ready { .. }, _) => line.stage = ready,
        }
    }

    pub(super) fn judge(&self, login: &Login) -> Result<(), Farewell> {
        if self.endpoint.is_none() {
            return Err(Farewell::new(Cause::PortClosed, format!("the port is closed: {}", self.closed_reason)));
        }
        let same = self.lines.values().find(|line| line.client == login.id && !line.is_abandoned());
        if let Some(other) = same {
            return Err(Farewell::new(
                Cause::DuplicateId,
                format!(
                    "client id {:?} is connected already, from {}; give this one another id, or stop the other",
                    login.id.as_str(),
                    other.address
                ),
            ));
        }
        if self.lines.len() >= self.limits.clients_max {
            let max = self.limits.clients_max;
            return Err(Farewell::new(
                Cause::Full,
                format!("{max} clients are connected, which is the limit; raise the server's parameter max_clients"),
            ));
        }
        Ok(())
    }

    pub(super) fn welcome(&mut self, to: ConnectionId, session: SessionId, record: LoginRecord, now: Now) {
        self.event(
            now,
            EventKind::Connected,
            Some(record.client.clone()),
            Some(record.address),
            format!("{} {} on {}", record.kind, record.client, record.host_name),
        );
        let capabilities = self.lines.get(&to).map(|line| line.capabilities.clone()).unwrap_or_default();
        let first_seen = self.clients.get(&record.client).map_or(record.at, |client| client.known.first_seen);
        let id = record.client.clone();
        let known = KnownClient {
            client: record.client,
            kind: record.kind,
            name: record.name,
            host_name: record.host_name,
            software_version: record.software_version,
            ros_distro: record.ros_distro,
            last_address: record.address,
            first_seen,
            last_seen: record.at,
            last_reason: String::new(),
        };
        self.clients.insert(id.clone(), Client { known, capabilities, connection: Some(to) });
        let welcome = Welcome { session, software_version: self.software_version.clone(), at: now.wall };
        // Its fields are small: it always fits.
        if let Ok(packet) = Frame::Welcome(welcome).encode() {
            self.commands.push_back(Command::Welcome { to, packet });
        }
        self.send_table(to);
        self.broadcast_client(&id);
        self.changed = true;
    }

    /// Clears up behind a client that is gone.
    pub(super) fn forget(&mut self, from: ConnectionId, id: &ClientId, reason: &str, now: Now) {
        let closed = self.feeds.close_all(from);
        self.announce_closed(closed);
        let closed = self.calls.close_all(from);
        self.announce_services_closed(closed);
        let words = self.calls.gone(from);
        self.pass_on(words);
        for change in self.feeds.unsubscribe_all(from, now.mono) {
            self.tell_demand(Some(change));
        }
        if let Some(client) = self.clients.get_mut(id)
            && client.connection == Some(from)
        {
            client.connection = None;
            client.known.last_seen = now.wall;
            reason.clone_into(&mut client.known.last_reason);
        }
        self.broadcast_client(id);
        self.changed = true;
    }
}
