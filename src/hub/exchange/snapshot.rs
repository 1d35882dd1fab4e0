//! The exchange as it is at one moment, for people and for the other clients.

use super::{Client, Hub, Line, LineFigures, Stage};
use crate::{
    defaults,
    ids::ConnectionId,
    status::{ClientState, ClientStatus, ServerStatus, Traffic},
    time::Now,
};

impl Hub {
    /// The exchange as it is now. `figures` tells what the network knows of a connection.
    pub fn status(&self, now: Now, figures: impl Fn(ConnectionId) -> LineFigures) -> ServerStatus {
        ServerStatus {
            stamp: now.wall,
            endpoint: self.endpoint,
            closed_reason: self.closed_reason.clone(),
            clients: self.clients.values().map(|client| self.full_status(client, &figures)).collect(),
            refused: self.refused,
            suppressed: self.floodgate.held_back(),
        }
    }

    /// What other clients are told of a client: everything but its traffic, which changes all the time.
    pub(super) fn public_status(&self, client: &Client) -> ClientStatus {
        self.client_status(client, &|_| LineFigures::default()).without_traffic()
    }

    fn full_status(&self, client: &Client, figures: &impl Fn(ConnectionId) -> LineFigures) -> ClientStatus {
        let mut status = self.client_status(client, figures);
        if let Some(line) = client.connection.and_then(|connection| self.lines.get(&connection)) {
            status.contested = self.contested(line);
            status.traffic.messages_late = line.messages_late;
        }
        status
    }

    /// Its topics that several clients command, in words, such as `/cmd_vel: alice, bob`.
    fn contested(&self, line: &Line) -> Vec<String> {
        let contested = self.feeds.contested(&line.client, &line.interests);
        let words = contested.iter().take(defaults::CONTESTED_MAX).map(|(topic, commanders)| {
            let named: Vec<&str> = commanders.iter().take(defaults::CONTESTED_MAX).map(|id| id.as_str()).collect();
            let more = commanders.len() - named.len();
            let more = if more > 0 { format!(" and {more} more") } else { String::new() };
            format!("{topic}: {}{more}", named.join(", "))
        });
        words.collect()
    }

    fn client_status(&self, client: &Client, figures: &impl Fn(ConnectionId) -> LineFigures) -> ClientStatus {
        let known = &client.known;
        let line = client.connection.and_then(|connection| Some((connection, self.lines.get(&connection)?)));
        let mut status = ClientStatus {
            id: known.client.clone(),
            name: known.name.clone(),
            kind: known.kind,
            state: ClientState::Off,
            peer: None,
            address: known.last_address,
            host_name: known.host_name.clone(),
            software_version: known.software_version.clone(),
            ros_distro: known.ros_distro.clone(),
            capabilities: client.capabilities.clone(),
            first_seen: known.first_seen,
            last_seen: known.last_seen,
            connected_since: None,
            reason: known.last_reason.clone(),
            round_trip: None,
            clock_offset: None,
            traffic: Traffic::default(),
            contested: Vec::new(),
            problems: Vec::new(),
        };
        if let Some((connection, line)) = line
            && let Stage::Ready { since, .. } = line.stage
        {
            let figures = figures(connection);
            let calls = self.calls.tally(connection);
            status.state = ClientState::On;
            status.address = line.address;
            status.last_seen = line.last_seen;
            status.connected_since = Some(since);
            status.reason.clear();
            status.round_trip = line.clock.map(|clock| clock.round_trip);
            status.clock_offset = line.clock.map(|clock| clock.offset);
            status.problems.clone_from(&line.problems);
            status.traffic = Traffic {
                messages_in: line.messages_in,
                messages_out: line.messages_out,
                bytes_in: figures.bytes_in,
                bytes_out: figures.bytes_out,
                messages_dropped: figures.messages_dropped,
                calls_in: calls.calls_in,
                calls_out: calls.calls_out,
                calls_failed: calls.failed,
                ..Traffic::default()
            };
        }
        status
    }
}
