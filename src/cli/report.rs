//! What the command line shows of the exchange and its clients: as JSON for programs, as tables for people.

use std::{net::SocketAddr, time::Duration};

use serde::{Deserialize, Serialize};

use super::{
    table::{Align, Cell, Column, Paint, Table, cut, harmless, wrapped},
    units,
};
use crate::{
    ids::ClientId,
    model::ClientKind,
    status::{ClientState, ClientStatus, ServerStatus},
    time::Wall,
};

/// The exchange as `--json` shows it. Times are in RFC 3339, lengths of time in seconds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct StatusReport {
    #[serde(with = "time")]
    pub(super) stamp: Wall,
    pub(super) open: bool,
    /// Where the port is open.
    pub(super) endpoint: Option<SocketAddr>,
    pub(super) closed_reason: String,
    pub(super) refused: u64,
    pub(super) suppressed: u64,
    pub(super) clients: Vec<ClientReport>,
}

/// A client as `--json` shows it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct ClientReport {
    pub(super) id: ClientId,
    pub(super) name: String,
    pub(super) kind: ClientKind,
    #[serde(with = "state")]
    pub(super) state: ClientState,
    pub(super) peer: Option<ClientId>,
    pub(super) address: SocketAddr,
    pub(super) host_name: String,
    pub(super) software_version: String,
    pub(super) ros_distro: String,
    pub(super) capabilities: Vec<String>,
    #[serde(with = "time")]
    pub(super) first_seen: Wall,
    #[serde(with = "time")]
    pub(super) last_seen: Wall,
    #[serde(with = "optional_time")]
    pub(super) connected_since: Option<Wall>,
    pub(super) reason: String,
    pub(super) round_trip: Option<f64>,
    pub(super) clock_offset: Option<f64>,
    pub(super) messages_in: u64,
    pub(super) messages_out: u64,
    pub(super) bytes_in: u64,
    pub(super) bytes_out: u64,
    pub(super) messages_dropped: u64,
    /// What is in the way of its routes.
    pub(super) problems: Vec<String>,
}

impl From<&ServerStatus> for StatusReport {
    fn from(status: &ServerStatus) -> Self {
        StatusReport {
            stamp: status.stamp,
            open: status.endpoint.is_some(),
            endpoint: status.endpoint,
            closed_reason: status.closed_reason.clone(),
            refused: status.refused,
            suppressed: status.suppressed,
            clients: status.clients.iter().map(ClientReport::from).collect(),
        }
    }
}

impl From<&ClientStatus> for ClientReport {
    fn from(client: &ClientStatus) -> Self {
        ClientReport {
            id: client.id.clone(),
            name: client.name.clone(),
            kind: client.kind,
            state: client.state,
            peer: client.peer.clone(),
            address: client.address,
            host_name: client.host_name.clone(),
            software_version: client.software_version.clone(),
            ros_distro: client.ros_distro.clone(),
            capabilities: client.capabilities.clone(),
            first_seen: client.first_seen,
            last_seen: client.last_seen,
            connected_since: client.connected_since,
            reason: client.reason.clone(),
            round_trip: client.round_trip.map(|time| time.as_secs_f64()),
            clock_offset: client.clock_offset.map(|nanos| nanos as f64 / 1e9),
            messages_in: client.traffic.messages_in,
            messages_out: client.traffic.messages_out,
            bytes_in: client.traffic.bytes_in,
            bytes_out: client.traffic.bytes_out,
            messages_dropped: client.traffic.messages_dropped,
            problems: client.problems.clone(),
        }
    }
}

impl StatusReport {
    /// Clients that are connected.
    pub(super) fn connected(&self) -> usize {
        self.clients.iter().filter(|client| client.state != ClientState::Off).count()
    }

    /// The client `id`, if it is known.
    pub(super) fn client(&self, id: &str) -> Option<&ClientReport> {
        self.clients.iter().find(|client| client.id.as_str() == id)
    }

    /// A line about the exchange and a table of its clients, for a terminal of `width` columns. With the status of
    /// `earlier`, traffic is shown per second.
    pub(super) fn render(&self, earlier: Option<&StatusReport>, width: usize, colour: bool) -> String {
        let clients = clients_table(&self.clients, self.stamp, earlier).render(width, colour);
        let clients = if self.clients.is_empty() { "no client is known yet\n" } else { &clients };
        format!("{}\n\n{clients}{}", self.headline(width, colour), self.problems(width, colour))
    }

    /// What is in the way of routes; nothing if nothing is.
    fn problems(&self, width: usize, colour: bool) -> String {
        let lines = self.clients.iter().flat_map(|client| {
            client.problems.iter().map(|problem| wrapped(&format!("{} {}", client.id, harmless(problem)), width))
        });
        let lines: String = lines.collect();
        if lines.is_empty() {
            return String::new();
        }
        let title = cut("problems (\"switchboard routes\" in the graph of the client says more):", width);
        format!("\n{}\n{lines}", Paint::Doubtful.apply(&title, colour))
    }

    /// One line, cut to `width` columns: a line that the terminal breaks would stay behind when the picture is redrawn.
    fn headline(&self, width: usize, colour: bool) -> String {
        let (word, paint, place) = match self.endpoint {
            Some(endpoint) => ("open", Paint::Good, format!(" on {endpoint}")),
            None => ("closed", Paint::Bad, String::new()),
        };
        let clients = format!(", {} of {} clients connected", self.connected(), self.clients.len());
        let refused = match (self.refused, self.suppressed) {
            (0, 0) => String::new(),
            (refused, 0) => format!(", {refused} refused"),
            (refused, suppressed) => format!(", {refused} refused ({suppressed} not logged)"),
        };
        let reason = match self.endpoint {
            Some(_) => String::new(),
            None => format!(": {}", harmless(&self.closed_reason)),
        };
        let begin = "exchange ";
        let rest = cut(&format!("{place}{clients}{refused}{reason}"), width.saturating_sub(begin.len() + word.len()));
        format!("{begin}{}{rest}", paint.apply(word, colour))
    }
}

/// A table of clients as they were at `now`. Columns are dropped from the back of this list when the terminal is
/// narrow: ID, STATE, KIND, FOR, DROP, IN, OUT, RTT, ADDRESS, NOTE.
pub(super) fn clients_table(clients: &[ClientReport], now: Wall, earlier: Option<&StatusReport>) -> Table {
    let rates = earlier.is_some();
    let mut table = Table::new([
        Column::new("ID", Align::Left, 0),
        Column::new("KIND", Align::Left, 8),
        Column::new("STATE", Align::Left, 0),
        Column::new("FOR", Align::Right, 7),
        Column::new("RTT", Align::Right, 3),
        Column::new(if rates { "IN/s" } else { "IN" }, Align::Right, 5),
        Column::new(if rates { "OUT/s" } else { "OUT" }, Align::Right, 4),
        Column::new("DROP", Align::Right, 6),
        Column::new("ADDRESS", Align::Left, 2),
        Column::new("NOTE", Align::Left, 1).flexible(),
    ]);
    for client in clients {
        let before =
            earlier.and_then(|earlier| earlier.client(client.id.as_str()).map(|before| (before, earlier.stamp)));
        table.push(client.cells(now, rates, before));
    }
    table
}

impl ClientReport {
    fn cells(&self, now: Wall, rates: bool, before: Option<(&ClientReport, Wall)>) -> Vec<Cell> {
        let is_on = self.state != ClientState::Off;
        let faint = if is_on { Paint::Plain } else { Paint::Faint };
        let if_on = |text: String| if is_on { Cell::new(text) } else { Cell::default() };
        let amount = |total: u64, earlier: fn(&ClientReport) -> u64| match (rates, before) {
            (false, _) => units::bytes(total),
            (true, None) => String::new(),
            (true, Some((before, at))) => {
                // A new session counts from zero again.
                let more = total.saturating_sub(if before.connected_since == self.connected_since {
                    earlier(before)
                } else {
                    0
                });
                units::bytes((more as f64 / seconds_between(at, now).max(1e-3)).round() as u64)
            }
        };
        vec![
            Cell::painted(self.id.as_str(), if is_on { Paint::Strong } else { Paint::Faint }),
            Cell::painted(self.kind.as_str(), faint),
            Cell::painted(self.state_words(), self.state_paint()),
            Cell::painted(self.since(now), faint),
            if_on(self.round_trip.map_or_else(String::new, |time| {
                units::round_trip(Duration::try_from_secs_f64(time).unwrap_or_default())
            })),
            if_on(amount(self.bytes_in, |client| client.bytes_in)),
            if_on(amount(self.bytes_out, |client| client.bytes_out)),
            if is_on {
                let paint = if self.messages_dropped > 0 { Paint::Bad } else { Paint::Plain };
                Cell::painted(self.messages_dropped.to_string(), paint)
            } else {
                Cell::default()
            },
            Cell::painted(self.address.to_string(), faint),
            Cell::painted(self.note(), faint),
        ]
    }

    fn state_words(&self) -> String {
        let mark = if self.problems.is_empty() { "" } else { "!" };
        match &self.peer {
            Some(peer) => format!("{}{mark} {peer}", self.state.as_str()),
            None => format!("{}{mark}", self.state.as_str()),
        }
    }

    fn state_paint(&self) -> Paint {
        if self.problems.is_empty() { state_paint(self.state) } else { Paint::Doubtful }
    }

    /// How long it has been connected, or not.
    fn since(&self, now: Wall) -> String {
        let since = self.connected_since.unwrap_or(self.last_seen);
        units::span(Duration::from_secs_f64(seconds_between(since, now).max(0.0)))
    }

    fn note(&self) -> &str {
        if self.state == ClientState::Off {
            &self.reason
        } else if self.name != self.id.as_str() {
            &self.name
        } else {
            ""
        }
    }
}

fn state_paint(state: ClientState) -> Paint {
    match state {
        ClientState::Off => Paint::Faint,
        ClientState::On | ClientState::InCall => Paint::Good,
        ClientState::Calling => Paint::Doubtful,
    }
}

fn seconds_between(earlier: Wall, later: Wall) -> f64 {
    later.nanos_since(earlier) as f64 / 1e9
}

mod time {
    use serde::{Deserialize as _, Deserializer, Serializer};

    use super::{Wall, units};

    pub(super) fn serialize<S: Serializer>(time: &Wall, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&units::rfc3339(*time))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Wall, D::Error> {
        parse(&String::deserialize(deserializer)?)
    }

    pub(super) fn parse<E: serde::de::Error>(text: &str) -> Result<Wall, E> {
        units::parse_time(text, units::DayEnd::Begin, &jiff::tz::TimeZone::UTC).map_err(E::custom)
    }
}

mod optional_time {
    use serde::{Deserialize as _, Deserializer, Serializer};

    use super::{Wall, time, units};

    pub(super) fn serialize<S: Serializer>(time: &Option<Wall>, serializer: S) -> Result<S::Ok, S::Error> {
        match time {
            Some(time) => serializer.serialize_some(&units::rfc3339(*time)),
            None => serializer.serialize_none(),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Wall>, D::Error> {
        Option::<String>::deserialize(deserializer)?.map(|text| time::parse(&text)).transpose()
    }
}

mod state {
    use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};

    use super::ClientState;

    const ALL: [ClientState; 4] = [ClientState::Off, ClientState::On, ClientState::Calling, ClientState::InCall];

    pub(super) fn serialize<S: Serializer>(state: &ClientState, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(state.as_str())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<ClientState, D::Error> {
        let word = String::deserialize(deserializer)?;
        ALL.into_iter()
            .find(|state| state.as_str() == word)
            .ok_or_else(|| D::Error::custom(format!("unknown state {word:?}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::Traffic;

    const NOW: Wall = Wall(1_795_357_800_000_000_000);

    fn client(id: &str, state: ClientState) -> ClientStatus {
        let on = state != ClientState::Off;
        ClientStatus {
            id: ClientId::new(id).unwrap(),
            name: format!("Robot {}", &id[1..]),
            kind: ClientKind::Robot,
            state,
            peer: None,
            address: "127.0.0.1:40112".parse().unwrap(),
            host_name: "lab".to_owned(),
            software_version: "0.1.0".to_owned(),
            ros_distro: "jazzy".to_owned(),
            capabilities: vec!["topics".to_owned()],
            first_seen: Wall(NOW.0 - 7_200_000_000_000),
            last_seen: Wall(NOW.0 - 125_000_000_000),
            connected_since: on.then_some(Wall(NOW.0 - 62_000_000_000)),
            reason: if on { String::new() } else { "its line was silent for 4 s".to_owned() },
            round_trip: on.then_some(Duration::from_micros(240)),
            clock_offset: on.then_some(-1_500),
            traffic: Traffic {
                messages_in: 900,
                messages_out: 450,
                bytes_in: 1_234_567,
                bytes_out: 4_321,
                messages_dropped: 0,
                ..Traffic::default()
            },
            contested: Vec::new(),
            problems: Vec::new(),
        }
    }

    fn status() -> StatusReport {
        StatusReport::from(&ServerStatus {
            stamp: NOW,
            endpoint: Some("127.0.0.1:7420".parse().unwrap()),
            closed_reason: String::new(),
            clients: vec![client("r1", ClientState::On), client("r2", ClientState::Off)],
            refused: 3,
            suppressed: 0,
        })
    }

    #[test]
    fn the_status_fits_eighty_columns() {
        assert_eq!(
            status().render(None, 80, false),
            "exchange open on 127.0.0.1:7420, 1 of 2 clients connected, 3 refused\n\
             \n\
             ID  KIND   STATE    FOR     RTT      IN     OUT  DROP  ADDRESS          NOTE\n\
             r1  robot  ON     1m02s  0.24ms  1.2 MB  4.3 kB     0  127.0.0.1:40112  Robot 1\n\
             r2  robot  OFF    2m05s                                127.0.0.1:40112  its lin…\n"
        );
    }

    #[test]
    fn problems_are_marked_and_listed() {
        let mut status = status();
        status.clients[0].problems =
            vec![format!("/odom: /viewer gets nothing {}", "x".repeat(80)), "/map: differs".to_owned()];
        let text = status.render(None, 80, false);
        assert!(text.contains("\nr1  robot  ON!    1m02s"), "{text}");
        let (_, problems) = text.split_once("\n\nproblems").unwrap();
        let lines: Vec<&str> = problems.lines().skip(1).collect();
        assert_eq!(lines[0], "r1 /odom: /viewer gets nothing");
        assert!(lines[1].starts_with("    xxx") && lines[1].ends_with('…'), "{text}");
        assert_eq!((lines.len(), lines[2]), (3, "r1 /map: differs"));
        assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
    }

    #[test]
    fn a_narrow_terminal_keeps_who_is_there() {
        assert!(status().render(None, 12, false).ends_with("ID  STATE\nr1  ON\nr2  OFF\n"));
    }

    #[test]
    fn traffic_per_second_is_what_came_since_the_earlier_status() {
        let mut earlier = status();
        earlier.stamp = Wall(NOW.0 - 2_000_000_000);
        earlier.clients[0].bytes_in -= 24_000;
        earlier.clients[0].bytes_out = 4_321;
        let text = status().render(Some(&earlier), 100, false);
        let row = text.lines().find(|line| line.starts_with("r1")).unwrap();
        assert!(row.contains("12.0 kB") && row.contains("  0 B"), "{row}");
        // A session that began in between counts from its begin.
        earlier.clients[0].connected_since = None;
        let text = status().render(Some(&earlier), 100, false);
        assert!(text.lines().any(|line| line.starts_with("r1") && line.contains("617 kB")), "{text}");
    }

    #[test]
    fn a_closed_exchange_says_why() {
        let mut closed = status();
        (closed.endpoint, closed.open, closed.closed_reason) = (None, false, "maintenance\x1b[31m".to_owned());
        let text = closed.render(None, 80, false);
        let headline = "exchange closed, 1 of 2 clients connected, 3 refused: maintenance\u{fffd}[31m\n";
        assert!(text.starts_with(headline), "{text}");
    }

    #[test]
    fn a_headline_that_the_terminal_would_break_once_stayed_behind_at_each_redraw() {
        let mut closed = status();
        (closed.endpoint, closed.open, closed.closed_reason) = (None, false, "maintenance ".repeat(30));
        for status in [status(), closed] {
            for width in [20, 40, 60, 80] {
                let text = status.render(None, width, false);
                let headline = text.lines().next().unwrap();
                assert!(headline.chars().count() <= width, "{width}: {headline}");
            }
        }
    }

    #[test]
    fn json_survives_the_way_there_and_back() {
        let json = serde_json::to_string(&status()).unwrap();
        assert!(json.contains(r#""stamp":"2026-11-22T14:30:00.000Z""#), "{json}");
        assert!(json.contains(r#""state":"OFF""#) && json.contains(r#""connected_since":null"#), "{json}");
        assert_eq!(serde_json::from_str::<StatusReport>(&json).unwrap(), status());
        assert!(serde_json::from_str::<StatusReport>(&json.replace("\"OFF\"", "\"AWAY\"")).is_err());
    }
}
