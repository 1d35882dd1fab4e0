//! The exchange's configuration.

use std::{path::PathBuf, time::Duration};

use super::{
    ConfigError, Environment,
    flags::ServerFlags,
    values::{self, Given, non_empty},
};
use crate::defaults;

/// Values of the server's ROS parameters, unchecked. An empty string or a time of 0 stands for the default.
#[derive(Debug, Clone, PartialEq)]
pub struct RawServer {
    /// IP address or host name to listen on.
    pub address: String,
    /// TCP port to listen on; 0 lets the system choose.
    pub port: i64,
    /// Whether the port is opened when the server starts.
    pub open_on_start: bool,
    /// SQLite file of the registry.
    pub database: String,
    /// Folder that CSV exports are written to.
    pub export_directory: String,
    /// Clients that may be connected at once; 0 for the default.
    pub max_clients: i64,
    /// How long a connection may take to log in, in seconds.
    pub login_timeout: f64,
    /// How often each client is pinged, in seconds.
    pub ping_period: f64,
    /// Silence after which a client is taken for gone, in seconds.
    pub keep_alive_timeout: f64,
    /// How often the status is published without a change, in seconds.
    pub status_period: f64,
    /// TF frame of the markers.
    pub frame_id: String,
}

impl Default for RawServer {
    /// What the parameters are declared with, so that `ros2 param get` shows the values in force where that is possible.
    fn default() -> Self {
        RawServer {
            address: defaults::ADDRESS.to_owned(),
            port: i64::from(defaults::PORT),
            open_on_start: true,
            database: String::new(),
            export_directory: String::new(),
            max_clients: defaults::CLIENTS_MAX as i64,
            login_timeout: defaults::LOGIN_TIMEOUT.as_secs_f64(),
            ping_period: defaults::PING_PERIOD.as_secs_f64(),
            keep_alive_timeout: defaults::KEEP_ALIVE_TIMEOUT.as_secs_f64(),
            status_period: defaults::STATUS_PERIOD.as_secs_f64(),
            frame_id: defaults::FRAME_ID.to_owned(),
        }
    }
}

/// A checked configuration of the exchange.
#[derive(Debug, Clone, PartialEq)]
pub struct ServerConfig {
    /// IP address or host name to listen on.
    pub address: String,
    /// TCP port to listen on; 0 lets the system choose.
    pub port: u16,
    /// Whether the port is opened when the server starts.
    pub open_on_start: bool,
    /// SQLite file of the registry.
    pub database: PathBuf,
    /// Folder that CSV exports are written to.
    pub export_directory: PathBuf,
    /// Clients that may be connected at once, at least 1.
    pub max_clients: usize,
    /// How long a connection may take to log in.
    pub login_timeout: Duration,
    /// How often each client is pinged.
    pub ping_period: Duration,
    /// Silence after which a client is taken for gone; longer than `ping_period`.
    pub keep_alive_timeout: Duration,
    /// How often the status is published without a change.
    pub status_period: Duration,
    /// TF frame of the markers, without a leading slash.
    pub frame_id: String,
}

impl ServerConfig {
    /// Flags over parameters over defaults.
    ///
    /// # Errors
    /// [`ConfigError`] names the first setting that cannot be used.
    pub fn new(flags: &ServerFlags, raw: &RawServer, environment: &Environment) -> Result<Self, ConfigError> {
        let (ping_period, keep_alive_timeout) = values::keep_alive(raw.ping_period, raw.keep_alive_timeout)?;
        Ok(ServerConfig {
            address: address(flags, raw)?,
            port: port(flags, raw)?,
            open_on_start: raw.open_on_start && !flags.closed,
            database: file(
                "database",
                ("--database", &flags.database),
                &raw.database,
                environment.data_directory().join("registry.db"),
                environment,
            )?,
            export_directory: file(
                "export_directory",
                ("--export-directory", &flags.export_directory),
                &raw.export_directory,
                environment.data_directory().join("export"),
                environment,
            )?,
            max_clients: max_clients(raw)?,
            login_timeout: values::seconds("login_timeout", raw.login_timeout, defaults::LOGIN_TIMEOUT)?.value,
            ping_period,
            keep_alive_timeout,
            status_period: values::seconds("status_period", raw.status_period, defaults::STATUS_PERIOD)?.value,
            frame_id: frame_id(raw)?,
        })
    }
}

fn address(flags: &ServerFlags, raw: &RawServer) -> Result<String, ConfigError> {
    let given = Given::choose("address", ("--address", flags.address.clone()), non_empty(&raw.address), || {
        defaults::ADDRESS.to_owned()
    });
    if values::is_host(&given.value) {
        Ok(given.value)
    } else if given.value.parse::<std::net::SocketAddr>().is_ok() {
        Err(given.fault(format!("{:?} has a port in it; give the port by itself, as \"port\"", given.value)))
    } else {
        Err(given.fault(format!(
            "{:?} is neither an IP address nor a host name; use 127.0.0.1 for this machine only, 0.0.0.0 or :: for every network",
            given.value
        )))
    }
}

fn port(flags: &ServerFlags, raw: &RawServer) -> Result<u16, ConfigError> {
    let given = Given::choose("port", ("--port", flags.port), Some(raw.port), || i64::from(defaults::PORT));
    u16::try_from(given.value)
        .map_err(|_| given.fault(format!("{} is not a TCP port; use 1 to 65535, or 0 for any free one", given.value)))
}

fn max_clients(raw: &RawServer) -> Result<usize, ConfigError> {
    let given = Given::parameter("max_clients", (raw.max_clients != 0).then_some(raw.max_clients), || {
        defaults::CLIENTS_MAX as i64
    });
    usize::try_from(given.value).ok().filter(|most| (1..=defaults::CLIENTS_MAX).contains(most)).ok_or_else(|| {
        given.fault(format!("{} clients cannot be served; use 1 to {}", given.value, defaults::CLIENTS_MAX))
    })
}

fn file(
    key: &'static str,
    (flag_name, flag): (&'static str, &Option<PathBuf>),
    parameter: &str,
    default: PathBuf,
    environment: &Environment,
) -> Result<PathBuf, ConfigError> {
    let given = Given::choose(key, (flag_name, flag.clone()), non_empty(parameter).map(PathBuf::from), || default);
    if given.value.as_os_str().is_empty() {
        return Err(given.fault("the path is empty; give one, or leave it out for the default"));
    }
    values::path(&given, environment)
}

fn frame_id(raw: &RawServer) -> Result<String, ConfigError> {
    let given = Given::parameter("frame_id", non_empty(&raw.frame_id), || defaults::FRAME_ID.to_owned());
    if let Some(bare) = given.value.strip_prefix('/') {
        return Err(given.fault(format!("{:?} begins with a slash, which tf2 refuses; use {bare:?}", given.value)));
    }
    if given.value.contains(char::is_whitespace) {
        return Err(given.fault(format!("{:?} has a space in it; use a TF frame such as \"map\"", given.value)));
    }
    values::text(given)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment() -> Environment {
        Environment { home: Some("/home/ada".into()), ros_home: None, host_name: "host".to_owned() }
    }

    fn with(change: impl FnOnce(&mut ServerFlags, &mut RawServer)) -> Result<ServerConfig, ConfigError> {
        let (mut flags, mut raw) = (ServerFlags::default(), RawServer::default());
        change(&mut flags, &mut raw);
        ServerConfig::new(&flags, &raw, &environment())
    }

    #[test]
    fn without_flags_and_parameters_the_defaults_hold() {
        let config = with(|_, _| {}).unwrap();
        assert_eq!(
            config,
            ServerConfig {
                address: "127.0.0.1".to_owned(),
                port: defaults::PORT,
                open_on_start: true,
                database: "/home/ada/.ros/switchboard/registry.db".into(),
                export_directory: "/home/ada/.ros/switchboard/export".into(),
                max_clients: defaults::CLIENTS_MAX,
                login_timeout: defaults::LOGIN_TIMEOUT,
                ping_period: defaults::PING_PERIOD,
                keep_alive_timeout: defaults::KEEP_ALIVE_TIMEOUT,
                status_period: defaults::STATUS_PERIOD,
                frame_id: "map".to_owned(),
            }
        );
    }

    #[test]
    fn empty_strings_and_zero_times_stand_for_the_defaults() {
        let emptied = with(|_, raw| {
            *raw = RawServer {
                address: String::new(),
                port: i64::from(defaults::PORT),
                open_on_start: true,
                database: String::new(),
                export_directory: String::new(),
                max_clients: 0,
                login_timeout: 0.0,
                ping_period: 0.0,
                keep_alive_timeout: 0.0,
                status_period: 0.0,
                frame_id: String::new(),
            }
        });
        assert_eq!(emptied, with(|_, _| {}));
    }

    #[test]
    fn flags_win_over_parameters() {
        let config = with(|flags, raw| {
            raw.address = "10.0.0.1".to_owned();
            raw.port = 1;
            raw.database = "/parameter.db".to_owned();
            raw.export_directory = "~/parameter".to_owned();
            flags.address = Some("::".to_owned());
            flags.port = Some(0);
            flags.database = Some("~/flag.db".into());
            flags.closed = true;
        })
        .unwrap();
        assert_eq!((config.address.as_str(), config.port, config.open_on_start), ("::", 0, false));
        assert_eq!(config.database, PathBuf::from("/home/ada/flag.db"));
        assert_eq!(config.export_directory, PathBuf::from("/home/ada/parameter"));
    }

    #[test]
    fn ros_home_is_honoured_and_a_missing_home_matters_only_where_it_is_needed() {
        let new = |environment| ServerConfig::new(&ServerFlags::default(), &RawServer::default(), &environment);
        let moved = new(Environment { ros_home: Some("/var/ros".into()), ..Environment::default() }).unwrap();
        assert_eq!(moved.database, PathBuf::from("/var/ros/switchboard/registry.db"));
        assert_eq!(
            new(Environment::default()).unwrap_err().to_string(),
            "database: ~/.ros/switchboard/registry.db needs the home directory, and HOME is not set; \
             set HOME or ROS_HOME, or give a path that begins with / (from the default)"
        );
    }

    #[test]
    fn what_is_wrong_is_named_with_its_cure_and_its_source() {
        type Change = fn(&mut ServerFlags, &mut RawServer);
        let cases: [(Change, &str); 15] = [
            (
                |_, raw| raw.port = 70_000,
                "port: 70000 is not a TCP port; use 1 to 65535, or 0 for any free one (from the parameter port)",
            ),
            (
                |flags, _| flags.port = Some(-1),
                "port: -1 is not a TCP port; use 1 to 65535, or 0 for any free one (from the flag --port)",
            ),
            (
                |flags, _| flags.address = Some("0.0.0.0:7420".to_owned()),
                r#"address: "0.0.0.0:7420" has a port in it; give the port by itself, as "port" (from the flag --address)"#,
            ),
            (
                |_, raw| raw.address = "not a host".to_owned(),
                r#"address: "not a host" is neither an IP address nor a host name; use 127.0.0.1 for this machine only, 0.0.0.0 or :: for every network (from the parameter address)"#,
            ),
            (
                |flags, _| flags.database = Some(PathBuf::new()),
                "database: the path is empty; give one, or leave it out for the default (from the flag --database)",
            ),
            (
                |_, raw| raw.export_directory = "~bob/export".to_owned(),
                "export_directory: ~bob/export names another user's home directory; write the whole path, or ~/ for your own (from the parameter export_directory)",
            ),
            (
                |_, raw| raw.max_clients = -3,
                "max_clients: -3 clients cannot be served; use 1 to 1000 (from the parameter max_clients)",
            ),
            (
                |_, raw| raw.max_clients = 1_001,
                "max_clients: 1001 clients cannot be served; use 1 to 1000 (from the parameter max_clients)",
            ),
            (
                |_, raw| raw.login_timeout = -1.0,
                "login_timeout: -1 is not a time in seconds; use 0.01 to 3600, or 0 for 5 (from the parameter login_timeout)",
            ),
            (
                |_, raw| raw.status_period = f64::NAN,
                "status_period: NaN is not a time in seconds; use 0.01 to 3600, or 0 for 1 (from the parameter status_period)",
            ),
            (
                |_, raw| raw.ping_period = 1e9,
                "ping_period: 1000000000 is not a time in seconds; use 0.01 to 3600, or 0 for 1 (from the parameter ping_period)",
            ),
            (
                |_, raw| raw.keep_alive_timeout = 0.5,
                "keep_alive_timeout: a keep_alive_timeout of 0.5 s is not longer than the ping_period of 1 s, so every line would be taken for dead; use a keep_alive_timeout of several ping_periods (from the parameter keep_alive_timeout)",
            ),
            (
                |_, raw| (raw.ping_period, raw.keep_alive_timeout) = (10.0, 0.0),
                "ping_period: a keep_alive_timeout of 4 s is not longer than the ping_period of 10 s, so every line would be taken for dead; use a keep_alive_timeout of several ping_periods (from the parameter ping_period)",
            ),
            (
                |_, raw| raw.frame_id = "/map".to_owned(),
                r#"frame_id: "/map" begins with a slash, which tf2 refuses; use "map" (from the parameter frame_id)"#,
            ),
            (
                |_, raw| raw.frame_id = "my map".to_owned(),
                r#"frame_id: "my map" has a space in it; use a TF frame such as "map" (from the parameter frame_id)"#,
            ),
        ];
        for (change, expected) in cases {
            assert_eq!(with(change).unwrap_err().to_string(), expected);
        }
    }
}
