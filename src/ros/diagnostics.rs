//! `/diagnostics` as rqt_robot_monitor and diagnostic_aggregator read it: one entry for the exchange, one per client.

use std::collections::HashMap;

use r2r::diagnostic_msgs::msg::{DiagnosticArray, DiagnosticStatus, KeyValue};

use super::convert;
use crate::{
    defaults,
    ids::ClientId,
    status::{ClientState, ClientStatus, LineStatus, ServerStatus},
    time::Wall,
    traffic::{Cause, Drops, MeterName, TrafficReport},
};

/// What earlier diagnostics said, to tell what is getting worse from what once was.
#[derive(Debug, Default)]
pub(super) struct Memory {
    dropped: HashMap<ClientId, u64>,
    line_dropped: u64,
    topics: HashMap<MeterName, Drops>,
}

/// Diagnostics of the topics: one entry, which names those that drop messages now and why.
pub(super) fn of_traffic(node: &str, report: &TrafficReport, memory: &mut Memory) -> DiagnosticArray {
    let mut dropping = Vec::new();
    for topic in &report.topics {
        // Figures begin with zero, so what is seen for the first time was dropped just now.
        let now = topic.dropped.since(&memory.topics.get(&topic.name).copied().unwrap_or_default());
        if now.total() > 0 {
            dropping.push(format!("{} of {}: {now}", topic.name.topic, topic.name.client));
        }
    }
    memory.topics = report.topics.iter().map(|topic| (topic.name.clone(), topic.dropped)).collect();
    let mut all = Drops::default();
    report.topics.iter().for_each(|topic| all.add_all(&topic.dropped));
    let rate: f64 = report.topics.iter().map(|topic| topic.rate).sum();
    let (level, message) = if dropping.is_empty() {
        (Level::Ok, format!("{} topics, nothing dropped just now", report.topics.len()))
    } else {
        let more = dropping.len().saturating_sub(DROPPING_NAMED);
        dropping.truncate(DROPPING_NAMED);
        let more = if more > 0 { format!("; and {more} more topics") } else { String::new() };
        (Level::Warn, format!("dropped just now: {}{more}", dropping.join("; ")))
    };
    let mut values = vec![value("topics", report.topics.len()), value("messages [1/s]", format!("{rate:.1}"))];
    values.extend(Cause::ALL.map(|cause| value(&format!("dropped: {}", cause.as_str()), all.of(cause))));
    DiagnosticArray {
        header: convert::header(report.stamp),
        status: vec![entry(level, format!("{node}: traffic"), message, "switchboard", values)],
    }
}

/// Topics that one diagnostic message names: more do not fit a line.
const DROPPING_NAMED: usize = 8;

/// Diagnostics of the exchange. `node` is the name of its node, `wanted_open` whether the port should be open: closed on
/// request is a warning, closed otherwise an error.
pub(super) fn of_exchange(
    node: &str,
    status: &ServerStatus,
    wanted_open: bool,
    memory: &mut Memory,
) -> DiagnosticArray {
    let mut entries = Vec::with_capacity(status.clients.len() + 1);
    entries.push(exchange(node, status, wanted_open));
    entries.extend(status.clients.iter().map(|c| client(node, c, status.stamp, memory.dropped.get(&c.id).copied())));
    memory.dropped = status.clients.iter().map(|c| (c.id.clone(), c.traffic.messages_dropped)).collect();
    DiagnosticArray { header: convert::header(status.stamp), status: entries }
}

/// Diagnostics of a client's own line.
pub(super) fn of_line(node: &str, line: &LineStatus, memory: &mut Memory) -> DiagnosticArray {
    let dropping = line.messages_dropped.saturating_sub(memory.line_dropped);
    memory.line_dropped = line.messages_dropped;
    let (level, message) = match (line.connected, dropping) {
        (false, _) => (Level::Error, format!("not connected to {}: {}", line.server, line.reason)),
        (true, 0) => (Level::Ok, format!("connected to {}", line.server)),
        (true, n) => (Level::Warn, format!("connected to {}, {n} messages dropped just now", line.server)),
    };
    let (level, message) = with_clock(level, message, line.clock_offset.map(i64::saturating_neg));
    let (level, message) = with_problems(level, message, &line.problems);
    let mut values = vec![
        value("id", line.id.as_str()),
        value("server", &line.server),
        value("attempts", line.attempts),
        value("since [s]", age(line.since, line.stamp)),
        value("round trip [ms]", milliseconds(convert::seconds(line.round_trip))),
        value("clock offset [ms]", milliseconds(convert::offset_seconds(line.clock_offset))),
        value("messages dropped", line.messages_dropped),
    ];
    values.extend(problem_values(&line.problems));
    DiagnosticArray {
        header: convert::header(line.stamp),
        status: vec![entry(level, format!("{node}: line"), message, line.id.as_str(), values)],
    }
}

fn exchange(node: &str, status: &ServerStatus, wanted_open: bool) -> DiagnosticStatus {
    let on = status.clients.iter().filter(|client| client.state != ClientState::Off).count();
    let (level, message) = match (status.endpoint, wanted_open) {
        (Some(endpoint), _) => {
            (Level::Ok, format!("open on {endpoint}, {on} of {} clients connected", status.clients.len()))
        }
        (None, false) => (Level::Warn, format!("closed: {}", status.closed_reason)),
        (None, true) => (Level::Error, format!("closed, but should be open: {}", status.closed_reason)),
    };
    let values = vec![
        value("address", status.endpoint.map(|endpoint| endpoint.to_string()).unwrap_or_default()),
        value("clients connected", on),
        value("clients known", status.clients.len()),
        value("connections refused", status.refused),
        value("log lines suppressed", status.suppressed),
    ];
    entry(level, format!("{node}: exchange"), message, "switchboard", values)
}

fn client(node: &str, client: &ClientStatus, stamp: Wall, dropped_before: Option<u64>) -> DiagnosticStatus {
    // A new session counts from zero again, and a client that is seen for the first time has no history.
    let dropping = dropped_before.map_or(0, |before| client.traffic.messages_dropped.saturating_sub(before));
    let state = client.state.as_str();
    let (level, message) = match (client.state, &client.peer, dropping) {
        (ClientState::Off, _, _) => (Level::Stale, format!("OFF: {}", client.reason)),
        (_, _, n) if n > 0 => (Level::Warn, format!("{state}, line too slow: {n} messages dropped just now")),
        _ if !client.contested.is_empty() => {
            (Level::Warn, format!("{state}, commanded by several: {}", client.contested.join("; ")))
        }
        (_, Some(peer), _) => (Level::Ok, format!("{state} with {peer}")),
        _ => (Level::Ok, state.to_owned()),
    };
    let (level, message) = with_clock(level, message, client.clock_offset);
    let (level, message) = with_problems(level, message, &client.problems);
    let mut values = vec![
        value("name", &client.name),
        value("kind", client.kind),
        value("address", client.address),
        value("host name", &client.host_name),
        value("software version", &client.software_version),
        value("ROS distribution", &client.ros_distro),
        value("connected for [s]", client.connected_since.map(|since| age(since, stamp)).unwrap_or_default()),
        value("last seen [s ago]", age(client.last_seen, stamp)),
        value("round trip [ms]", milliseconds(convert::seconds(client.round_trip))),
        value("clock offset [ms]", milliseconds(convert::offset_seconds(client.clock_offset))),
        value("messages in", client.traffic.messages_in),
        value("messages out", client.traffic.messages_out),
        value("messages dropped", client.traffic.messages_dropped),
        value("messages late", client.traffic.messages_late),
        value("commanded by several", client.contested.join("; ")),
        value("bytes in", client.traffic.bytes_in),
        value("bytes out", client.traffic.bytes_out),
    ];
    values.extend(problem_values(&client.problems));
    entry(level, format!("{node}: client {}", client.id), message, client.id.as_str(), values)
}

/// A clock that differs is a warning, unless there is worse: transforms and stamps of one robot make no sense to another.
/// `offset` is the client's clock minus the server's in nanoseconds.
fn with_clock(level: Level, message: String, offset: Option<i64>) -> (Level, String) {
    let Some(offset) =
        offset.filter(|offset| u128::from(offset.unsigned_abs()) >= defaults::CLOCK_OFFSET_WARN.as_nanos())
    else {
        return (level, message);
    };
    let (seconds, way) = (offset.unsigned_abs() as f64 * 1e-9, if offset > 0 { "ahead of" } else { "behind" });
    let words = format!("{message}; its clock is {seconds:.3} s {way} the server's: set it (chrony, NTP)");
    (if matches!(level, Level::Ok) { Level::Warn } else { level }, words)
}

/// What is in the way of routes is a warning, unless there is worse.
fn with_problems(level: Level, message: String, problems: &[String]) -> (Level, String) {
    let words = match problems {
        [] => return (level, message),
        [only] => format!("{message}; {only}"),
        [first, others @ ..] => format!("{message}; {first} (and {} more)", others.len()),
    };
    (if matches!(level, Level::Ok) { Level::Warn } else { level }, words)
}

fn problem_values(problems: &[String]) -> impl Iterator<Item = KeyValue> {
    problems.iter().enumerate().map(|(index, problem)| value(&format!("problem {}", index + 1), problem))
}

#[derive(Clone, Copy)]
enum Level {
    Ok,
    Warn,
    Error,
    Stale,
}

fn entry(level: Level, name: String, message: String, hardware_id: &str, values: Vec<KeyValue>) -> DiagnosticStatus {
    DiagnosticStatus {
        level: match level {
            Level::Ok => DiagnosticStatus::OK as u8,
            Level::Warn => DiagnosticStatus::WARN as u8,
            Level::Error => DiagnosticStatus::ERROR as u8,
            Level::Stale => DiagnosticStatus::STALE as u8,
        },
        name: convert::text(&name),
        message: convert::text(&message),
        hardware_id: convert::text(hardware_id),
        values,
    }
}

fn value(key: &str, value: impl std::fmt::Display) -> KeyValue {
    KeyValue { key: key.to_owned(), value: convert::text(&value.to_string()) }
}

fn age(since: Wall, now: Wall) -> String {
    format!("{:.1}", now.nanos_since(since) as f64 * 1e-9)
}

fn milliseconds(seconds: f64) -> String {
    if seconds.is_nan() { "not measured".to_owned() } else { format!("{:.3}", seconds * 1e3) }
}

#[cfg(test)]
mod tests {
    use super::{
        super::convert::tests::{a_server, a_topic},
        *,
    };

    fn a_client(id: &str, state: ClientState) -> ClientStatus {
        ClientStatus { problems: Vec::new(), ..super::super::convert::tests::a_client(id, state) }
    }

    fn levels(array: &DiagnosticArray) -> Vec<(&str, u8)> {
        array.status.iter().map(|status| (status.name.as_str(), status.level)).collect()
    }

    const OK: u8 = DiagnosticStatus::OK as u8;
    const WARN: u8 = DiagnosticStatus::WARN as u8;
    const ERROR: u8 = DiagnosticStatus::ERROR as u8;
    const STALE: u8 = DiagnosticStatus::STALE as u8;

    #[test]
    fn one_entry_for_the_exchange_and_one_per_client() {
        let mut status = a_server(vec![a_client("r1", ClientState::On), a_client("r2", ClientState::Off)]);
        status.clients[0].contested.clear();
        let array = of_exchange("switchboard", &status, true, &mut Memory::default());
        assert_eq!(
            levels(&array),
            [("switchboard: exchange", OK), ("switchboard: client r1", OK), ("switchboard: client r2", STALE)]
        );
        assert_eq!(array.status[0].message, "open on 127.0.0.1:7420, 1 of 2 clients connected");
        assert_eq!(array.status[2].message, "OFF: goodbye");
        assert!(array.status.iter().all(|status| !status.hardware_id.is_empty() && !status.values.is_empty()));
    }

    #[test]
    fn a_clock_that_differs_is_a_warning_with_the_difference_and_the_cure() {
        let mut client = ClientStatus { contested: Vec::new(), ..a_client("r1", ClientState::On) };
        let mut look = |offset| {
            client.clock_offset = offset;
            let array = of_exchange("n", &a_server(vec![client.clone()]), true, &mut Memory::default());
            (array.status[1].level, array.status[1].message.clone())
        };
        assert_eq!(look(Some(99_000_000)), (OK, "ON".to_owned()));
        assert_eq!(look(None).0, OK);
        let cure = "the server's: set it (chrony, NTP)";
        assert_eq!(look(Some(100_000_000)), (WARN, format!("ON; its clock is 0.100 s ahead of {cure}")));
        assert_eq!(look(Some(-2_500_000_000)), (WARN, format!("ON; its clock is 2.500 s behind {cure}")));
    }

    #[test]
    fn a_topic_that_several_command_is_a_warning() {
        let mut client = a_client("r1", ClientState::On);
        let mut look = |contested: &[&str]| {
            client.contested = contested.iter().map(|topic| (*topic).to_owned()).collect();
            let array = of_exchange("n", &a_server(vec![client.clone()]), true, &mut Memory::default());
            (array.status[1].level, array.status[1].message.clone())
        };
        assert_eq!(look(&[]), (OK, "ON".to_owned()));
        let (level, message) = look(&["/cmd_vel: alice, bob"]);
        assert_eq!((level, message.as_str()), (WARN, "ON, commanded by several: /cmd_vel: alice, bob"));
    }

    #[test]
    fn what_a_topic_drops_is_named_with_its_cause_while_it_drops() {
        let mut memory = Memory::default();
        let mut look = |late: u64| {
            let topics = vec![a_topic("/r1/cmd_vel", late), a_topic("/r2/odom", 0)];
            let array = of_traffic("n", &TrafficReport { stamp: Wall(0), topics }, &mut memory);
            (array.status[0].level, array.status[0].message.clone())
        };
        assert_eq!(look(0).0, WARN, "the first look sees everything since the start");
        assert_eq!(look(0).0, OK);
        let (level, message) = look(3);
        assert_eq!((level, message.as_str()), (WARN, "dropped just now: /r1/cmd_vel of r1: 3 late"));
        assert_eq!(look(3).0, OK);
    }

    #[test]
    fn dropping_is_a_warning_while_it_lasts() {
        let mut memory = Memory::default();
        let mut client = a_client("r1", ClientState::On);
        client.contested.clear();
        let mut status = a_server(vec![client]);
        let mut level = |status: &ServerStatus| of_exchange("n", status, true, &mut memory).status[1].level;
        assert_eq!(level(&status), OK, "what was dropped before we looked is history");
        status.clients[0].traffic.messages_dropped += 7;
        assert_eq!(level(&status), WARN);
        assert_eq!(level(&status), OK);
        status.clients[0].traffic.messages_dropped = 0;
        assert_eq!(level(&status), OK, "a new session");
    }

    #[test]
    fn what_is_in_the_way_of_routes_is_a_warning_with_words() {
        let mut status = a_server(vec![a_client("r1", ClientState::On), a_client("r2", ClientState::Off)]);
        status.clients[0].problems = vec!["/map: differs".to_owned(), "/odom: gets nothing".to_owned()];
        status.clients[1].problems.clear();
        let array = of_exchange("n", &status, true, &mut Memory::default());
        let both = "ON, commanded by several: /cmd_vel: alice, bob; /map: differs (and 1 more)";
        assert_eq!(array.status[1].message, both, "neither hides the other");
        status.clients[0].contested.clear();
        let array = of_exchange("n", &status, true, &mut Memory::default());
        assert_eq!(levels(&array), [("n: exchange", OK), ("n: client r1", WARN), ("n: client r2", STALE)]);
        assert_eq!(array.status[1].message, "ON; /map: differs (and 1 more)");
        assert!(array.status[1].values.iter().any(|v| v.key == "problem 2" && v.value == "/odom: gets nothing"));
    }

    #[test]
    fn closed_on_request_is_a_warning_and_closed_otherwise_an_error() {
        let status = ServerStatus { endpoint: None, closed_reason: "why".to_owned(), ..a_server(Vec::new()) };
        let level = |wanted| of_exchange("n", &status, wanted, &mut Memory::default()).status[0].level;
        assert_eq!((level(false), level(true)), (WARN, ERROR));
    }

    #[test]
    fn a_line_is_fine_slow_or_down() {
        let mut memory = Memory::default();
        let mut line = LineStatus {
            stamp: Wall(10_000_000_000),
            id: ClientId::new("r1").unwrap(),
            connected: true,
            server: "host:7420".to_owned(),
            since: Wall(0),
            reason: String::new(),
            attempts: 0,
            round_trip: None,
            clock_offset: None,
            messages_dropped: 0,
            problems: Vec::new(),
        };
        let mut level = |line: &LineStatus| of_line("n", line, &mut memory).status[0].level;
        assert_eq!(level(&line), OK);
        line.messages_dropped = 1;
        assert_eq!(level(&line), WARN);
        assert_eq!(level(&line), OK);
        line.problems.push("/map: differs".to_owned());
        assert_eq!(level(&line), WARN);
        line.connected = false;
        assert_eq!(level(&line), ERROR);
    }
}
