//! Checks of the exchange: as the ROS graph shows it, and over the network.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use tokio::{
    net::{TcpListener, TcpStream, lookup_host},
    time::timeout,
};

use super::check::Check;
use crate::{
    cli::{
        exchange::{ExchangeFlags, Surroundings},
        units,
    },
    config::ServerAddress,
    defaults,
    ros::AdminClient,
    status::{ClientState, ServerStatus},
};

/// How long a server may take to be reached.
const DIAL_PATIENCE: Duration = Duration::from_secs(3);
/// Difference between two clocks that matters for commands and stamps [s].
const OFFSET_MAX: f64 = 0.5;

/// What the ROS graph shows, and where the exchange is open, if it is.
pub(super) async fn of_the_graph(
    flags: &ExchangeFlags,
    surroundings: &Surroundings,
) -> (Vec<Check>, Option<SocketAddr>) {
    const WHAT: &str = "ROS graph";
    let client = match AdminClient::connect(&flags.node) {
        Ok(client) => client,
        Err(error) => {
            let cure = "see the checks above; RCUTILS_LOGGING_USE_STDOUT=1 and --ros-args --log-level debug show more";
            return (vec![Check::fail(WHAT, format!("it cannot be joined: {error}"), cure)], None);
        }
    };
    let mut checks = vec![Check::ok(WHAT, "a node can be started")];
    match client.wait_for_status(flags.timeout).await {
        Ok(status) => {
            checks.push(exchange(&flags.node, &status));
            checks.extend(clients(&status));
            (checks, status.endpoint)
        }
        Err(_) => {
            checks.push(not_seen(&flags.node, surroundings));
            (checks, None)
        }
    }
}

/// What the network shows: whether `server` can be reached, or the one that was seen in the graph, or else whether there
/// could be one here.
pub(super) async fn of_the_network(server: Option<&ServerAddress>, seen: Option<SocketAddr>) -> Vec<Check> {
    vec![match (server, seen) {
        (Some(server), _) => reach(&server.to_string(), true).await,
        (None, Some(endpoint)) => reach(&reachable(endpoint).to_string(), false).await,
        (None, None) => free_port().await,
    }]
}

fn exchange(node: &str, status: &ServerStatus) -> Check {
    const WHAT: &str = "exchange";
    let connected = status.clients.iter().filter(|client| client.state != ClientState::Off).count();
    match status.endpoint {
        Some(endpoint) => Check::ok(
            WHAT,
            format!("{node} is open on {endpoint}, {connected} of {} clients connected", status.clients.len()),
        ),
        None => Check::warn(
            WHAT,
            format!("{node} runs, but its port is closed: {}", status.closed_reason),
            "open it: switchboard open",
        ),
    }
}

fn clients(status: &ServerStatus) -> Option<Check> {
    const WHAT: &str = "clients";
    let on: Vec<_> = status.clients.iter().filter(|client| client.state != ClientState::Off).collect();
    let wrong_clocks: Vec<String> = on
        .iter()
        .filter_map(|client| Some((client, client.clock_offset? as f64 / 1e9)))
        .filter(|(_, offset)| offset.abs() > OFFSET_MAX)
        .map(|(client, offset)| format!("{} by {offset:+.1} s", client.id))
        .collect();
    let other_versions: Vec<String> = on
        .iter()
        .filter(|client| client.software_version != env!("CARGO_PKG_VERSION"))
        .map(|client| format!("{} runs {}", client.id, client.software_version))
        .collect();
    if !wrong_clocks.is_empty() {
        return Some(Check::warn(
            WHAT,
            format!("clocks differ from the server's: {}", wrong_clocks.join(", ")),
            "synchronise the machines' clocks with NTP: timedatectl set-ntp true, or chrony",
        ));
    }
    if !other_versions.is_empty() {
        return Some(Check::warn(
            WHAT,
            format!("versions differ from this one, {}: {}", env!("CARGO_PKG_VERSION"), other_versions.join(", ")),
            "install the same version everywhere",
        ));
    }
    (!on.is_empty()).then(|| Check::ok(WHAT, "clocks and versions agree"))
}

fn not_seen(node: &str, surroundings: &Surroundings) -> Check {
    let domain = surroundings.domain.as_deref().unwrap_or("0");
    let where_else = if surroundings.only_this_machine() {
        "; if it is on another machine, ROS_AUTOMATIC_DISCOVERY_RANGE=SUBNET on both"
    } else {
        ""
    };
    Check::warn(
        "exchange",
        format!(
            "no server is seen as {node} in ROS_DOMAIN_ID {domain}; only status, open, close, export, clients and disconnect need it"
        ),
        format!(
            "start one with switchboard server; or set ROS_DOMAIN_ID to the server's; or give its --node{where_else}"
        ),
    )
}

async fn reach(server: &str, was_asked_for: bool) -> Check {
    const WHAT: &str = "TCP";
    match timeout(DIAL_PATIENCE, dial(server)).await {
        Ok(Ok(address)) => Check::ok(WHAT, format!("{server} accepts connections ({address})")),
        outcome => {
            let reason = match outcome {
                Ok(Err(error)) => error.to_string(),
                _ => format!("no answer within {}", units::span(DIAL_PATIENCE)),
            };
            let finding = format!("{server} cannot be reached from this machine: {reason}");
            let cure = "is the port open (switchboard open), on an address that others can reach (--address 0.0.0.0), and \
                        let through by the firewall?";
            if was_asked_for { Check::fail(WHAT, finding, cure) } else { Check::warn(WHAT, finding, cure) }
        }
    }
}

async fn dial(server: &str) -> std::io::Result<SocketAddr> {
    let mut last = std::io::Error::new(std::io::ErrorKind::NotFound, "the name has no address");
    for address in lookup_host(server).await? {
        match TcpStream::connect(address).await {
            Ok(_) => return Ok(address),
            Err(error) => last = error,
        }
    }
    Err(last)
}

async fn free_port() -> Check {
    const WHAT: &str = "TCP";
    let port = defaults::PORT;
    match TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).await {
        Ok(_) => Check::ok(WHAT, format!("port {port} is free for a server on this machine")),
        Err(error) => Check::warn(
            WHAT,
            format!("port {port} cannot be used on this machine: {error}"),
            "a server of another domain may have it: see ss -ltnp, or start with another --port",
        ),
    }
}

/// Where a server that listens on `endpoint` is, for programs of its machine.
fn reachable(endpoint: SocketAddr) -> SocketAddr {
    let ip = match endpoint.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    SocketAddr::new(ip, endpoint.port())
}

#[cfg(test)]
mod tests {
    use super::{super::check::Verdict, *};
    use crate::{ids::ClientId, model::ClientKind, status::ClientStatus, time::Wall};

    fn status(offset: i64, version: &str) -> ServerStatus {
        let client = ClientStatus {
            id: ClientId::new("r1").unwrap(),
            name: String::new(),
            kind: ClientKind::Robot,
            state: ClientState::On,
            peer: None,
            address: "127.0.0.1:1".parse().unwrap(),
            host_name: String::new(),
            software_version: version.to_owned(),
            ros_distro: String::new(),
            capabilities: Vec::new(),
            first_seen: Wall(0),
            last_seen: Wall(0),
            connected_since: Some(Wall(0)),
            reason: String::new(),
            round_trip: None,
            clock_offset: Some(offset),
            traffic: crate::status::Traffic::default(),
            contested: Vec::new(),
            problems: Vec::new(),
        };
        ServerStatus {
            stamp: Wall(0),
            endpoint: Some("0.0.0.0:7420".parse().unwrap()),
            closed_reason: String::new(),
            clients: vec![client],
            refused: 0,
            suppressed: 0,
        }
    }

    #[test]
    fn an_open_exchange_is_well_and_a_closed_one_is_told_how_to_open() {
        let mut status = status(0, env!("CARGO_PKG_VERSION"));
        assert_eq!(exchange("/switchboard", &status).verdict, Verdict::Ok);
        status.endpoint = None;
        let closed = exchange("/switchboard", &status);
        assert_eq!((closed.verdict, closed.cure.as_str()), (Verdict::Warn, "open it: switchboard open"));
    }

    #[test]
    fn clocks_and_versions_that_differ_are_named() {
        assert_eq!(clients(&status(400_000_000, env!("CARGO_PKG_VERSION"))).unwrap().verdict, Verdict::Ok);
        let late = clients(&status(-1_200_000_000, env!("CARGO_PKG_VERSION"))).unwrap();
        assert!(late.verdict == Verdict::Warn && late.finding.contains("r1 by -1.2 s"), "{late:?}");
        let old = clients(&status(0, "0.0.1")).unwrap();
        assert!(old.verdict == Verdict::Warn && old.finding.contains("r1 runs 0.0.1"), "{old:?}");
    }

    #[test]
    fn a_server_that_listens_everywhere_is_reached_here() {
        assert_eq!(reachable("0.0.0.0:1".parse().unwrap()), "127.0.0.1:1".parse().unwrap());
        assert_eq!(reachable("[::]:1".parse().unwrap()), "[::1]:1".parse().unwrap());
        assert_eq!(reachable("10.0.0.1:1".parse().unwrap()), "10.0.0.1:1".parse().unwrap());
    }

    #[tokio::test]
    async fn a_port_that_is_open_can_be_reached_and_one_that_is_not_cannot() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = listener.local_addr().unwrap().to_string();
        assert_eq!(reach(&server, true).await.verdict, Verdict::Ok);
        drop(listener);
        assert_eq!(reach(&server, true).await.verdict, Verdict::Fail);
        assert_eq!(reach(&server, false).await.verdict, Verdict::Warn);
    }
}
