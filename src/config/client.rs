//! The configuration of a robot or an operator.

use std::{fmt, path::PathBuf, str::FromStr, time::Duration};

use super::{
    ConfigError, Environment, RulesOrigin,
    flags::{ClientFlags, OperatorFlags},
    rules_file,
    values::{self, Given, non_empty},
};
use crate::{defaults, ids::ClientId, model::ClientKind, routes::rules::Rules};

/// Values of a client's ROS parameters, unchecked. An empty string or a time of 0 stands for the default.
#[derive(Debug, Clone, PartialEq)]
pub struct RawClient {
    /// Unique name on the exchange.
    pub client_id: String,
    /// Name shown to people.
    pub display_name: String,
    /// `operator` or `observer`; robots have no such parameter.
    pub kind: String,
    /// Where the exchange is.
    pub server: String,
    /// Rules file.
    pub rules: String,
    /// How often the server is pinged, in seconds.
    pub ping_period: f64,
    /// Silence after which the server is taken for gone, in seconds.
    pub keep_alive_timeout: f64,
}

impl Default for RawClient {
    /// What the parameters are declared with, so that `ros2 param get` shows the values in force where that is possible.
    fn default() -> Self {
        RawClient {
            client_id: String::new(),
            display_name: String::new(),
            kind: String::new(),
            server: ServerAddress::default().to_string(),
            rules: String::new(),
            ping_period: defaults::PING_PERIOD.as_secs_f64(),
            keep_alive_timeout: defaults::KEEP_ALIVE_TIMEOUT.as_secs_f64(),
        }
    }
}

/// A checked configuration of a client.
#[derive(Debug, Clone, PartialEq)]
pub struct ClientConfig {
    /// Unique name on the exchange.
    pub id: ClientId,
    /// Robot, operator or observer.
    pub kind: ClientKind,
    /// Name shown to people.
    pub display_name: String,
    /// Name of this machine, cut to [`defaults::TEXT_MAX`] bytes.
    pub host_name: String,
    /// Where the exchange is.
    pub server: ServerAddress,
    /// What is offered, wanted and accepted.
    pub rules: Rules,
    /// Where the rules come from.
    pub rules_origin: RulesOrigin,
    /// How often the server is pinged.
    pub ping_period: Duration,
    /// Silence after which the server is taken for gone; longer than `ping_period`.
    pub keep_alive_timeout: Duration,
    /// What was chosen because nobody said otherwise, in words, for the log.
    pub remarks: Vec<String>,
}

impl ClientConfig {
    /// A robot's configuration: flags over parameters over defaults. Reads the rules file.
    ///
    /// # Errors
    /// [`ConfigError`] names the first setting that cannot be used.
    pub fn robot(flags: &ClientFlags, raw: &RawClient, environment: &Environment) -> Result<Self, ConfigError> {
        Self::new(ClientKind::Robot, flags, raw, environment)
    }

    /// An operator's or observer's configuration: flags over parameters over defaults. Reads the rules file.
    ///
    /// # Errors
    /// [`ConfigError`] names the first setting that cannot be used.
    pub fn operator(flags: &OperatorFlags, raw: &RawClient, environment: &Environment) -> Result<Self, ConfigError> {
        Self::new(operator_kind(flags, raw)?, &flags.client, raw, environment)
    }

    fn new(
        kind: ClientKind,
        flags: &ClientFlags,
        raw: &RawClient,
        environment: &Environment,
    ) -> Result<Self, ConfigError> {
        let mut remarks = Vec::new();
        let id = id(kind, flags, raw, environment, &mut remarks)?;
        let name = Given::choose("display_name", ("--name", flags.name.clone()), non_empty(&raw.display_name), || {
            id.to_string()
        });
        let (ping_period, keep_alive_timeout) = values::keep_alive(raw.ping_period, raw.keep_alive_timeout)?;
        let (rules, rules_origin) = rules(kind, flags, raw, environment, &mut remarks)?;
        Ok(ClientConfig {
            kind,
            display_name: values::text(name)?,
            host_name: cut(&environment.host_name, defaults::TEXT_MAX).to_owned(),
            server: server(flags, raw)?,
            rules,
            rules_origin,
            ping_period,
            keep_alive_timeout,
            id,
            remarks,
        })
    }
}

/// Host and port of the exchange.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerAddress {
    /// Host name or IP address, without brackets.
    pub host: String,
    /// TCP port, never 0.
    pub port: u16,
}

impl Default for ServerAddress {
    fn default() -> Self {
        ServerAddress { host: defaults::ADDRESS.to_owned(), port: defaults::PORT }
    }
}

impl fmt::Display for ServerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// Why a text is not a [`ServerAddress`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{given:?} {fault}; use HOST, HOST:PORT or [IPV6]:PORT, such as exchange.example:{port}", port = defaults::PORT)]
pub struct InvalidServerAddress {
    given: String,
    fault: &'static str,
}

impl FromStr for ServerAddress {
    type Err = InvalidServerAddress;

    /// Takes `host`, `host:port`, `[v6]`, `[v6]:port` and a bare IPv6 address; without a port it is [`defaults::PORT`].
    fn from_str(text: &str) -> Result<Self, InvalidServerAddress> {
        let invalid = |fault| InvalidServerAddress { given: text.chars().take(defaults::HOST_MAX).collect(), fault };
        let (host, port) = if let Some(rest) = text.strip_prefix('[') {
            let (host, rest) = rest.split_once(']').ok_or_else(|| invalid("has a [ without its ]"))?;
            host.parse::<std::net::Ipv6Addr>().map_err(|_| invalid("has no IPv6 address between its brackets"))?;
            match rest {
                "" => (host, None),
                _ => (
                    host,
                    Some(rest.strip_prefix(':').ok_or_else(|| invalid("has something other than :PORT after its ]"))?),
                ),
            }
        } else if text.parse::<std::net::Ipv6Addr>().is_ok() {
            (text, None)
        } else {
            text.split_once(':').map_or((text, None), |(host, port)| (host, Some(port)))
        };
        if !values::is_host(host) {
            return Err(invalid("has neither a host name nor an IP address in it"));
        }
        let port = match port {
            None => defaults::PORT,
            Some(digits) => digits
                .parse::<u16>()
                .ok()
                .filter(|&port| port != 0)
                .ok_or_else(|| invalid("has no port from 1 to 65535 after its colon"))?,
        };
        Ok(ServerAddress { host: host.to_owned(), port })
    }
}

fn operator_kind(flags: &OperatorFlags, raw: &RawClient) -> Result<ClientKind, ConfigError> {
    let word = Given::choose("kind", ("--kind", flags.kind.map(|kind| kind.to_string())), non_empty(&raw.kind), || {
        ClientKind::Operator.to_string()
    });
    match word.value.parse() {
        Ok(ClientKind::Robot) => {
            Err(word.fault("an operator cannot be a robot; use operator or observer, or start the program robot"))
        }
        Ok(kind) => Ok(kind),
        Err(unknown) => Err(word.fault(unknown.to_string())),
    }
}

fn id(
    kind: ClientKind,
    flags: &ClientFlags,
    raw: &RawClient,
    environment: &Environment,
    remarks: &mut Vec<String>,
) -> Result<ClientId, ConfigError> {
    let given = Given::choose("client_id", ("--id", flags.id.clone()), non_empty(&raw.client_id), || {
        let chosen = id_from_host_name(&environment.host_name, kind);
        remarks.push(format!(
            "no id was given: this {kind} is called {chosen:?} after the host name {:?}; give an id to call it otherwise",
            environment.host_name
        ));
        chosen
    });
    ClientId::new(&given.value).map_err(|invalid| given.fault(invalid.to_string()))
}

/// A valid id that resembles the host name. Operators get their kind added, since they often share a host with a robot.
fn id_from_host_name(host_name: &str, kind: ClientKind) -> String {
    let label = host_name.split('.').next().unwrap_or_default();
    let words: Vec<&str> = label.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty()).collect();
    let mut id = words.join("_").to_ascii_lowercase();
    if !id.starts_with(|c: char| c.is_ascii_alphabetic()) {
        id = if id.is_empty() { "host".to_owned() } else { format!("host_{id}") };
    }
    let suffix = match kind {
        ClientKind::Robot => "",
        ClientKind::Operator => "_operator",
        ClientKind::Observer => "_observer",
    };
    let head = cut(&id, defaults::CLIENT_ID_MAX - suffix.len()).trim_end_matches('_');
    format!("{head}{suffix}")
}

fn server(flags: &ClientFlags, raw: &RawClient) -> Result<ServerAddress, ConfigError> {
    let given = Given::choose("server", ("--server", flags.server.clone()), non_empty(&raw.server), || {
        ServerAddress::default().to_string()
    });
    given.value.parse().map_err(|invalid: InvalidServerAddress| given.fault(invalid.to_string()))
}

fn rules(
    kind: ClientKind,
    flags: &ClientFlags,
    raw: &RawClient,
    environment: &Environment,
    remarks: &mut Vec<String>,
) -> Result<(Rules, RulesOrigin), ConfigError> {
    let given = Given::choose(
        "rules",
        ("--rules", flags.rules.clone()),
        non_empty(&raw.rules).map(PathBuf::from),
        PathBuf::new,
    );
    if given.value.as_os_str().is_empty() {
        remarks.push(format!("no rules file was given: the built-in rules for kind {kind} apply"));
        return Ok((rules_file::built_in(kind)?, RulesOrigin::BuiltIn));
    }
    let path = values::path(&given, environment)?;
    Ok((rules_file::read(&path)?, RulesOrigin::File(path)))
}

/// The longest head of `text` that has at most `most` bytes.
fn cut(text: &str, most: usize) -> &str {
    let mut end = text.len().min(most);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::routes::{Section, Thing};

    fn environment() -> Environment {
        Environment { home: Some("/home/ada".into()), ros_home: None, host_name: "turtle-7.lab.example".to_owned() }
    }

    fn robot_with(change: impl FnOnce(&mut ClientFlags, &mut RawClient)) -> Result<ClientConfig, ConfigError> {
        let (mut flags, mut raw) = (ClientFlags::default(), RawClient::default());
        change(&mut flags, &mut raw);
        ClientConfig::robot(&flags, &raw, &environment())
    }

    fn operator_with(change: impl FnOnce(&mut OperatorFlags, &mut RawClient)) -> Result<ClientConfig, ConfigError> {
        let (mut flags, mut raw) = (OperatorFlags::default(), RawClient::default());
        change(&mut flags, &mut raw);
        ClientConfig::operator(&flags, &raw, &environment())
    }

    #[test]
    fn without_flags_and_parameters_a_robot_is_called_after_its_host_and_says_so() {
        let config = robot_with(|_, _| {}).unwrap();
        assert_eq!((config.id.as_str(), config.display_name.as_str()), ("turtle_7", "turtle_7"));
        assert_eq!(config.kind, ClientKind::Robot);
        assert_eq!(config.server.to_string(), "127.0.0.1:7420");
        assert_eq!(config.host_name, "turtle-7.lab.example");
        assert_eq!(config.rules_origin, RulesOrigin::BuiltIn);
        assert_eq!(config.rules, rules_file::built_in(ClientKind::Robot).unwrap());
        assert_eq!(
            config.remarks,
            [
                r#"no id was given: this robot is called "turtle_7" after the host name "turtle-7.lab.example"; give an id to call it otherwise"#,
                "no rules file was given: the built-in rules for kind robot apply",
            ]
        );
    }

    #[test]
    fn empty_strings_and_zero_times_stand_for_the_defaults() {
        let emptied = robot_with(|_, raw| {
            raw.server = String::new();
            raw.ping_period = 0.0;
            raw.keep_alive_timeout = 0.0;
        });
        assert_eq!(emptied, robot_with(|_, _| {}));
    }

    #[test]
    fn any_host_name_gives_a_valid_id() {
        for (host, id) in [
            ("turtle-7.lab", "turtle_7"),
            ("R2D2", "r2d2"),
            ("7of9", "host_7of9"),
            ("--a--b--", "a_b"),
            ("", "host"),
            ("...", "host"),
            ("ünï", "n"),
            (&"x".repeat(300), &"x".repeat(defaults::CLIENT_ID_MAX)),
            (&"a-".repeat(100), &"a_".repeat(defaults::CLIENT_ID_MAX / 2)[..defaults::CLIENT_ID_MAX - 1]),
        ] {
            assert_eq!(id_from_host_name(host, ClientKind::Robot), id, "{host}");
            for kind in [ClientKind::Robot, ClientKind::Operator, ClientKind::Observer] {
                ClientId::new(&id_from_host_name(host, kind)).unwrap();
            }
        }
        assert_eq!(id_from_host_name("desk", ClientKind::Operator), "desk_operator");
    }

    #[test]
    fn flags_win_over_parameters() {
        let config = operator_with(|flags, raw| {
            raw.client_id = "parameter".to_owned();
            raw.display_name = "Parameter".to_owned();
            raw.kind = "operator".to_owned();
            raw.server = "parameter:1".to_owned();
            flags.client.id = Some("alice".to_owned());
            flags.client.server = Some("[::1]:2".to_owned());
            flags.kind = Some(ClientKind::Observer);
        })
        .unwrap();
        assert_eq!((config.id.as_str(), config.display_name.as_str()), ("alice", "Parameter"));
        assert_eq!(config.kind, ClientKind::Observer);
        assert_eq!(config.server, ServerAddress { host: "::1".to_owned(), port: 2 });
    }

    #[test]
    fn a_rules_file_is_read_from_the_flag_or_the_parameter() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("rules.yaml");
        std::fs::write(&file, "offer: [/odom]").unwrap();
        let of_flag = robot_with(|flags, _| flags.rules = Some(file.clone())).unwrap();
        let of_parameter = robot_with(|_, raw| raw.rules = file.to_str().unwrap().to_owned()).unwrap();
        assert_eq!(of_flag.rules_origin, RulesOrigin::File(file));
        assert!(of_flag.rules.find(Section::Offer, &Thing::topic("/odom", "nav_msgs/msg/Odometry")).is_some());
        assert_eq!(of_flag, of_parameter);
    }

    #[test]
    fn server_addresses_are_read_in_every_form() {
        for (text, host, port) in [
            ("host", "host", defaults::PORT),
            ("host.example:80", "host.example", 80),
            ("10.0.0.1", "10.0.0.1", defaults::PORT),
            ("10.0.0.1:65535", "10.0.0.1", 65_535),
            ("::1", "::1", defaults::PORT),
            ("[::1]", "::1", defaults::PORT),
            ("[fe80::1]:9", "fe80::1", 9),
        ] {
            let address: ServerAddress = text.parse().unwrap();
            assert_eq!((address.host.as_str(), address.port), (host, port), "{text}");
            assert_eq!(address.to_string().parse(), Ok(address));
        }
    }

    #[test]
    fn what_is_wrong_is_named_with_its_cure_and_its_source() {
        type Change = fn(&mut OperatorFlags, &mut RawClient);
        const FORM: &str =
            "; use HOST, HOST:PORT or [IPV6]:PORT, such as exchange.example:7420 (from the flag --server)";
        let cases: [(Change, String); 15] = [
            (
                |flags, _| flags.client.id = Some("r 1".to_owned()),
                r#"client_id: client id "r 1" has a character that ROS names do not allow; use a letter followed by letters, digits or single underscores, at most 64 characters, such as "r1" (from the flag --id)"#.to_owned(),
            ),
            (
                |_, raw| raw.client_id = "1r".to_owned(),
                r#"client_id: client id "1r" does not start with a letter; use a letter followed by letters, digits or single underscores, at most 64 characters, such as "r1" (from the parameter client_id)"#.to_owned(),
            ),
            (
                |_, raw| raw.display_name = "x".repeat(300),
                "display_name: the text has 300 bytes; use at most 256 (from the parameter display_name)".to_owned(),
            ),
            (
                |flags, _| flags.client.name = Some("a\nb".to_owned()),
                r#"display_name: "a\nb" has a control character such as a line break; use printable characters (from the flag --name)"#.to_owned(),
            ),
            (
                |flags, _| flags.kind = Some(ClientKind::Robot),
                "kind: an operator cannot be a robot; use operator or observer, or start the program robot (from the flag --kind)".to_owned(),
            ),
            (
                |_, raw| raw.kind = "boss".to_owned(),
                r#"kind: unknown client kind "boss"; use robot, operator or observer (from the parameter kind)"#.to_owned(),
            ),
            (
                |_, raw| raw.keep_alive_timeout = 0.2,
                "keep_alive_timeout: a keep_alive_timeout of 0.2 s is not longer than the ping_period of 1 s, so every line would be taken for dead; use a keep_alive_timeout of several ping_periods (from the parameter keep_alive_timeout)".to_owned(),
            ),
            (
                |_, raw| raw.rules = "~bob/rules.yaml".to_owned(),
                "rules: ~bob/rules.yaml names another user's home directory; write the whole path, or ~/ for your own (from the parameter rules)".to_owned(),
            ),
            (
                |flags, _| flags.client.server = Some("host:0".to_owned()),
                format!(r#"server: "host:0" has no port from 1 to 65535 after its colon{FORM}"#),
            ),
            (
                |flags, _| flags.client.server = Some("host:http".to_owned()),
                format!(r#"server: "host:http" has no port from 1 to 65535 after its colon{FORM}"#),
            ),
            (
                |flags, _| flags.client.server = Some("[::1".to_owned()),
                format!(r#"server: "[::1" has a [ without its ]{FORM}"#),
            ),
            (
                |flags, _| flags.client.server = Some("[host]:1".to_owned()),
                format!(r#"server: "[host]:1" has no IPv6 address between its brackets{FORM}"#),
            ),
            (
                |flags, _| flags.client.server = Some("[::1]7".to_owned()),
                format!(r#"server: "[::1]7" has something other than :PORT after its ]{FORM}"#),
            ),
            (
                |flags, _| flags.client.server = Some("tcp://host".to_owned()),
                format!(r#"server: "tcp://host" has no port from 1 to 65535 after its colon{FORM}"#),
            ),
            (
                |flags, _| flags.client.server = Some(":7420".to_owned()),
                format!(r#"server: ":7420" has neither a host name nor an IP address in it{FORM}"#),
            ),
        ];
        for (change, expected) in cases {
            assert_eq!(operator_with(change).unwrap_err().to_string(), expected);
        }
    }
}
