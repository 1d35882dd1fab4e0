//! Between our words and the messages in `msg/`.

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use r2r::{builtin_interfaces::msg::Time, std_msgs::msg::Header, switchboard::msg};

use super::error::RosError;
use crate::{
    ids::ClientId,
    model::ClientKind,
    status::{ClientState, ClientStatus, LineStatus, ServerStatus, Traffic},
    time::Wall,
    traffic::{Cause, Direction, Drops, MeterName, TopicTraffic, TrafficReport},
};

/// Text without NUL bytes, which ROS strings cannot hold. Names and reasons come from remote peers.
pub(super) fn text(text: &str) -> String {
    if text.contains('\0') { text.replace('\0', "\u{fffd}") } else { text.to_owned() }
}

pub(super) fn time(wall: Wall) -> Time {
    let (seconds, nanosec) = wall.split();
    // builtin_interfaces/Time ends in 2038 (REP 103 leaves it at int32).
    let sec = i32::try_from(seconds).unwrap_or(if seconds < 0 { i32::MIN } else { i32::MAX });
    Time { sec, nanosec }
}

pub(super) fn wall(time: &Time) -> Wall {
    Wall::join(i64::from(time.sec), time.nanosec)
}

/// Zero stands for no time.
pub(super) fn optional_wall(time: &Time) -> Option<Wall> {
    (time.sec != 0 || time.nanosec != 0).then(|| wall(time))
}

/// A header with a time and without a frame.
pub(super) fn header(stamp: Wall) -> Header {
    Header { stamp: time(stamp), frame_id: String::new() }
}

pub(super) fn seconds(duration: Option<Duration>) -> f64 {
    duration.map_or(f64::NAN, |duration| duration.as_secs_f64())
}

fn duration(seconds: f64) -> Option<Duration> {
    Duration::try_from_secs_f64(seconds).ok()
}

pub(super) fn offset_seconds(nanos: Option<i64>) -> f64 {
    nanos.map_or(f64::NAN, |nanos| nanos as f64 * 1e-9)
}

fn offset_nanos(seconds: f64) -> Option<i64> {
    // Conversion of floats saturates, so a mad value stays a mad value.
    (!seconds.is_nan()).then(|| (seconds * 1e9).round() as i64)
}

fn kind_number(kind: ClientKind) -> u8 {
    match kind {
        ClientKind::Robot => msg::ClientStatus::KIND_ROBOT as u8,
        ClientKind::Operator => msg::ClientStatus::KIND_OPERATOR as u8,
        ClientKind::Observer => msg::ClientStatus::KIND_OBSERVER as u8,
    }
}

fn state_number(state: ClientState) -> u8 {
    match state {
        ClientState::Off => msg::ClientStatus::STATE_OFF as u8,
        ClientState::On => msg::ClientStatus::STATE_ON as u8,
        ClientState::Calling => msg::ClientStatus::STATE_CALLING as u8,
        ClientState::InCall => msg::ClientStatus::STATE_IN_CALL as u8,
    }
}

pub(super) fn client_message(client: &ClientStatus) -> msg::ClientStatus {
    msg::ClientStatus {
        id: client.id.as_str().to_owned(),
        name: text(&client.name),
        kind: kind_number(client.kind),
        state: state_number(client.state),
        peer: client.peer.as_ref().map(|peer| peer.as_str().to_owned()).unwrap_or_default(),
        address: client.address.ip().to_string(),
        port: client.address.port(),
        host_name: text(&client.host_name),
        software_version: text(&client.software_version),
        ros_distro: text(&client.ros_distro),
        capabilities: client.capabilities.iter().map(|capability| text(capability)).collect(),
        first_seen: time(client.first_seen),
        last_seen: time(client.last_seen),
        connected_since: client.connected_since.map_or(Time { sec: 0, nanosec: 0 }, time),
        reason: text(&client.reason),
        round_trip: seconds(client.round_trip),
        clock_offset: offset_seconds(client.clock_offset),
        messages_in: client.traffic.messages_in,
        messages_out: client.traffic.messages_out,
        bytes_in: client.traffic.bytes_in,
        bytes_out: client.traffic.bytes_out,
        messages_dropped: client.traffic.messages_dropped,
        messages_late: client.traffic.messages_late,
        calls_in: client.traffic.calls_in,
        calls_out: client.traffic.calls_out,
        calls_failed: client.traffic.calls_failed,
        contested: client.contested.iter().map(|topic| text(topic)).collect(),
        problems: client.problems.iter().map(|problem| text(problem)).collect(),
    }
}

/// The inverse of [`client_message`].
pub(super) fn client_status(message: &msg::ClientStatus) -> Result<ClientStatus, RosError> {
    let id = client_id(&message.id)?;
    let unknown = |what: &str, value: &dyn std::fmt::Display| {
        RosError::Message(format!("the {what} of client {id} is {value}, which this version does not know"))
    };
    let kind = [ClientKind::Robot, ClientKind::Operator, ClientKind::Observer]
        .into_iter()
        .find(|kind| kind_number(*kind) == message.kind)
        .ok_or_else(|| unknown("kind", &message.kind))?;
    let state = [ClientState::Off, ClientState::On, ClientState::Calling, ClientState::InCall]
        .into_iter()
        .find(|state| state_number(*state) == message.state)
        .ok_or_else(|| unknown("state", &message.state))?;
    let address: IpAddr = message.address.parse().map_err(|_| unknown("address", &message.address))?;
    let peer = if message.peer.is_empty() { None } else { Some(client_id(&message.peer)?) };
    Ok(ClientStatus {
        id,
        name: message.name.clone(),
        kind,
        state,
        peer,
        address: SocketAddr::new(address, message.port),
        host_name: message.host_name.clone(),
        software_version: message.software_version.clone(),
        ros_distro: message.ros_distro.clone(),
        capabilities: message.capabilities.clone(),
        first_seen: wall(&message.first_seen),
        last_seen: wall(&message.last_seen),
        connected_since: optional_wall(&message.connected_since),
        reason: message.reason.clone(),
        round_trip: duration(message.round_trip),
        clock_offset: offset_nanos(message.clock_offset),
        traffic: Traffic {
            messages_in: message.messages_in,
            messages_out: message.messages_out,
            bytes_in: message.bytes_in,
            bytes_out: message.bytes_out,
            messages_dropped: message.messages_dropped,
            messages_late: message.messages_late,
            calls_in: message.calls_in,
            calls_out: message.calls_out,
            calls_failed: message.calls_failed,
        },
        contested: message.contested.clone(),
        problems: message.problems.clone(),
    })
}

pub(super) fn clients_message(clients: &[ClientStatus], stamp: Wall) -> msg::Clients {
    msg::Clients { header: header(stamp), clients: clients.iter().map(client_message).collect() }
}

pub(super) fn server_message(status: &ServerStatus) -> msg::ConnectionStatus {
    msg::ConnectionStatus {
        header: header(status.stamp),
        open: status.endpoint.is_some(),
        address: status.endpoint.map(|endpoint| endpoint.ip().to_string()).unwrap_or_default(),
        port: status.endpoint.map_or(0, |endpoint| endpoint.port()),
        reason: text(&status.closed_reason),
        refused: status.refused,
        suppressed: status.suppressed,
        clients: status.clients.iter().map(client_message).collect(),
    }
}

/// The inverse of [`server_message`].
pub(super) fn server_status(message: &msg::ConnectionStatus) -> Result<ServerStatus, RosError> {
    let endpoint = if message.open { Some(endpoint(&message.address, message.port)?) } else { None };
    Ok(ServerStatus {
        stamp: wall(&message.header.stamp),
        endpoint,
        closed_reason: message.reason.clone(),
        clients: message.clients.iter().map(client_status).collect::<Result<_, _>>()?,
        refused: message.refused,
        suppressed: message.suppressed,
    })
}

pub(super) fn endpoint(address: &str, port: u16) -> Result<SocketAddr, RosError> {
    let ip: IpAddr = address.parse().map_err(|_| {
        RosError::Message(format!("the address of the exchange is {address:?}, which is no IP address"))
    })?;
    Ok(SocketAddr::new(ip, port))
}

pub(super) fn line_message(line: &LineStatus) -> msg::Connection {
    msg::Connection {
        header: header(line.stamp),
        connected: line.connected,
        id: line.id.as_str().to_owned(),
        server: text(&line.server),
        since: time(line.since),
        reason: text(&line.reason),
        attempts: line.attempts,
        round_trip: seconds(line.round_trip),
        clock_offset: offset_seconds(line.clock_offset),
        messages_dropped: line.messages_dropped,
        problems: line.problems.iter().map(|problem| text(problem)).collect(),
    }
}

pub(super) fn traffic_message(report: &TrafficReport) -> msg::Traffic {
    msg::Traffic { header: header(report.stamp), topics: report.topics.iter().map(topic_message).collect() }
}

/// The inverse of [`traffic_message`].
pub(super) fn traffic_report(message: &msg::Traffic) -> Result<TrafficReport, RosError> {
    let topics = message.topics.iter().map(topic_traffic).collect::<Result<_, _>>()?;
    Ok(TrafficReport { stamp: wall(&message.header.stamp), topics })
}

fn topic_message(topic: &TopicTraffic) -> msg::TopicTraffic {
    msg::TopicTraffic {
        client: topic.name.client.as_str().to_owned(),
        topic: text(&topic.name.topic),
        type_name: text(&topic.name.type_name),
        direction: match topic.name.direction {
            Direction::Out => msg::TopicTraffic::DIRECTION_OUT as u8,
            Direction::In => msg::TopicTraffic::DIRECTION_IN as u8,
        },
        received: topic.received,
        sent: topic.sent,
        bytes: topic.bytes,
        thinned: topic.thinned,
        dropped_lost: topic.dropped.of(Cause::Lost),
        dropped_overflow: topic.dropped.of(Cause::Overflow),
        dropped_late: topic.dropped.of(Cause::Late),
        dropped_refused: topic.dropped.of(Cause::Refused),
        dropped_failed: topic.dropped.of(Cause::Failed),
        rate: topic.rate,
        latency_p50: seconds(topic.latency_p50),
        latency_p99: seconds(topic.latency_p99),
    }
}

fn topic_traffic(message: &msg::TopicTraffic) -> Result<TopicTraffic, RosError> {
    let direction = match message.direction {
        d if d == msg::TopicTraffic::DIRECTION_OUT as u8 => Direction::Out,
        d if d == msg::TopicTraffic::DIRECTION_IN as u8 => Direction::In,
        other => {
            return Err(RosError::Message(format!(
                "the direction of {} is {other}, which this version does not know",
                message.topic
            )));
        }
    };
    let mut dropped = Drops::default();
    dropped.add(Cause::Lost, message.dropped_lost);
    dropped.add(Cause::Overflow, message.dropped_overflow);
    dropped.add(Cause::Late, message.dropped_late);
    dropped.add(Cause::Refused, message.dropped_refused);
    dropped.add(Cause::Failed, message.dropped_failed);
    Ok(TopicTraffic {
        name: MeterName {
            topic: message.topic.clone(),
            client: client_id(&message.client)?,
            direction,
            type_name: message.type_name.clone(),
        },
        received: message.received,
        sent: message.sent,
        bytes: message.bytes,
        thinned: message.thinned,
        dropped,
        rate: message.rate,
        latency_p50: duration(message.latency_p50),
        latency_p99: duration(message.latency_p99),
    })
}

/// An id in a message of ours.
fn client_id(id: &str) -> Result<ClientId, RosError> {
    ClientId::new(id).map_err(|error| RosError::Message(error.to_string()))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::ros) fn a_client(id: &str, state: ClientState) -> ClientStatus {
        let on = state != ClientState::Off;
        ClientStatus {
            id: ClientId::new(id).unwrap(),
            name: format!("Robot {id}"),
            kind: ClientKind::Robot,
            state,
            peer: (state == ClientState::InCall).then(|| ClientId::new("alice").unwrap()),
            address: "[2001:db8::7]:40123".parse().unwrap(),
            host_name: "host".to_owned(),
            software_version: "0.1.0".to_owned(),
            ros_distro: "jazzy".to_owned(),
            capabilities: vec!["topics".to_owned()],
            first_seen: Wall(1_700_000_000_123_456_789),
            last_seen: Wall(1_700_000_500_000_000_001),
            connected_since: on.then_some(Wall(1_700_000_400_000_000_000)),
            reason: if on { String::new() } else { "goodbye".to_owned() },
            round_trip: on.then_some(Duration::from_millis(12)),
            clock_offset: on.then_some(-1_500_000),
            traffic: Traffic {
                messages_in: 1,
                messages_out: 2,
                bytes_in: 3,
                bytes_out: 4,
                messages_dropped: 5,
                messages_late: 6,
                calls_in: 7,
                calls_out: 8,
                calls_failed: 9,
            },
            contested: vec!["/cmd_vel: alice, bob".to_owned()],
            problems: vec!["/map: differs".to_owned()],
        }
    }

    pub(in crate::ros) fn a_server(clients: Vec<ClientStatus>) -> ServerStatus {
        ServerStatus {
            stamp: Wall(1_700_000_501_000_000_000),
            endpoint: Some("127.0.0.1:7420".parse().unwrap()),
            closed_reason: String::new(),
            clients,
            refused: 3,
            suppressed: 1,
        }
    }

    pub(in crate::ros) fn a_topic(topic: &str, late: u64) -> TopicTraffic {
        let mut dropped = Drops::default();
        for (cause, n) in [(Cause::Lost, 1), (Cause::Overflow, 2), (Cause::Late, late), (Cause::Refused, 4)] {
            dropped.add(cause, n);
        }
        dropped.add(Cause::Failed, 5);
        TopicTraffic {
            name: MeterName {
                topic: topic.to_owned(),
                client: ClientId::new("r1").unwrap(),
                direction: Direction::In,
                type_name: "nav_msgs/msg/Odometry".to_owned(),
            },
            received: 100,
            sent: 80,
            bytes: 8_000,
            thinned: 7,
            dropped,
            rate: 10.0,
            latency_p50: Some(Duration::from_millis(3)),
            latency_p99: None,
        }
    }

    #[test]
    fn traffic_is_the_same_after_there_and_back() {
        let report = TrafficReport { stamp: Wall(5), topics: vec![a_topic("/r1/odom", 3)] };
        let mut message = traffic_message(&report);
        assert_eq!(traffic_report(&message).unwrap(), report);
        assert!(message.topics[0].latency_p99.is_nan(), "what is not measured is no zero");
        message.topics[0].direction = 9;
        let error = traffic_report(&message).unwrap_err().to_string();
        assert!(error.contains("the direction of /r1/odom is 9"), "{error}");
    }

    const STATES: [ClientState; 4] = [ClientState::Off, ClientState::On, ClientState::Calling, ClientState::InCall];

    #[test]
    fn a_status_is_the_same_after_there_and_back() {
        let open = a_server(STATES.map(|state| a_client("r1", state)).to_vec());
        assert_eq!(server_status(&server_message(&open)).unwrap(), open);
        let closed = ServerStatus { endpoint: None, closed_reason: "closed by the administrator".to_owned(), ..open };
        assert_eq!(server_status(&server_message(&closed)).unwrap(), closed);
    }

    #[test]
    fn what_is_not_measured_is_nan() {
        let message = client_message(&a_client("r1", ClientState::Off));
        assert!(message.round_trip.is_nan() && message.clock_offset.is_nan());
        assert_eq!(message.connected_since, Time { sec: 0, nanosec: 0 });
    }

    #[test]
    fn a_nul_byte_in_a_name_becomes_a_mark() {
        let client = ClientStatus { name: "a\0b".to_owned(), ..a_client("r1", ClientState::On) };
        assert_eq!(client_message(&client).name, "a\u{fffd}b");
    }

    #[test]
    fn a_message_that_makes_no_sense_is_refused_with_words() {
        let good = client_message(&a_client("r1", ClientState::On));
        for (bad, words) in [
            (msg::ClientStatus { kind: 9, ..good.clone() }, "the kind of client r1 is 9"),
            (msg::ClientStatus { state: 9, ..good.clone() }, "the state of client r1 is 9"),
            (msg::ClientStatus { address: "here".to_owned(), ..good.clone() }, "the address of client r1 is here"),
            (msg::ClientStatus { id: "1r".to_owned(), ..good.clone() }, "1r"),
        ] {
            let message = client_status(&bad).unwrap_err().to_string();
            assert!(message.contains(words), "{message}");
        }
    }

    #[test]
    fn times_beyond_what_ros_can_hold_stop_at_its_ends() {
        assert_eq!(time(Wall(i64::MAX)).sec, i32::MAX);
        assert_eq!(time(Wall(i64::MIN)).sec, i32::MIN);
        assert_eq!(wall(&time(Wall(-1))), Wall(-1));
    }

    #[test]
    fn a_line_says_what_it_is() {
        let line = LineStatus {
            stamp: Wall(5),
            id: ClientId::new("r1").unwrap(),
            connected: false,
            server: "exchange.local:7420".to_owned(),
            since: Wall(2_000_000_003),
            reason: "refused".to_owned(),
            attempts: 4,
            round_trip: None,
            clock_offset: Some(2_000_000),
            messages_dropped: 6,
            problems: Vec::new(),
        };
        let message = line_message(&line);
        assert_eq!((message.id.as_str(), message.server.as_str()), ("r1", "exchange.local:7420"));
        assert_eq!((message.connected, message.reason.as_str(), message.attempts), (false, "refused", 4));
        assert_eq!(wall(&message.since), line.since);
        assert!((message.clock_offset - 0.002).abs() < 1e-12 && message.round_trip.is_nan());
        assert_eq!(message.messages_dropped, 6);
    }
}
