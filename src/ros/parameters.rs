//! The ROS parameters of our nodes. They are only typed here; `config` checks their values.
//!
//! The first line of each field's comment is its description in `ros2 param describe`.

use r2r::RosParams;

/// Parameters of the exchange.
#[derive(Debug, Clone, PartialEq, RosParams)]
pub struct ServerParameters {
    /// IP address or host name to listen on.
    pub address: String,
    /// TCP port to listen on; 0 lets the system choose.
    pub port: i64,
    /// Whether the port is opened when the server starts.
    pub open_on_start: bool,
    /// SQLite file of the registry; empty: registry.db in the switchboard folder of ROS_HOME.
    pub database: String,
    /// Folder that CSV exports are written to; empty: export in the switchboard folder of ROS_HOME.
    pub export_directory: String,
    /// Clients that may be connected at once; 0: the default.
    pub max_clients: i64,
    /// How long a connection may take to log in [s].
    pub login_timeout: f64,
    /// How often each client is pinged [s].
    pub ping_period: f64,
    /// Silence after which a client is taken for gone [s].
    pub keep_alive_timeout: f64,
    /// How often ~/connection_status is published without a change [s].
    pub status_period: f64,
    /// TF frame of ~/markers.
    pub frame_id: String,
}

/// Parameters of a robot or an operator.
#[derive(Debug, Clone, PartialEq)]
pub struct ClientParameters {
    /// Unique name on the exchange.
    pub client_id: String,
    /// Name shown to people.
    pub display_name: String,
    /// `operator` or `observer`. `None` for robots, which have no such parameter.
    pub kind: Option<String>,
    /// Where the exchange is, `host:port`.
    pub server: String,
    /// Rules file.
    pub rules: String,
    /// How often the server is pinged [s].
    pub ping_period: f64,
    /// Silence after which the server is taken for gone [s].
    pub keep_alive_timeout: f64,
}

/// [`ClientParameters`] as a robot declares them.
#[derive(Debug, Clone, RosParams)]
pub(super) struct RobotParameters {
    /// Unique name on the exchange, first segment of this client's topics elsewhere; empty: made of the host name.
    client_id: String,
    /// Name shown to people; empty: the id.
    display_name: String,
    /// Where the exchange is, host:port.
    server: String,
    /// YAML file of rules: what is offered, wanted and accepted; empty: the built-in rules.
    rules: String,
    /// How often the server is pinged [s].
    ping_period: f64,
    /// Silence after which the server is taken for gone [s].
    keep_alive_timeout: f64,
}

/// [`ClientParameters`] as an operator declares them.
#[derive(Debug, Clone, RosParams)]
pub(super) struct OperatorParameters {
    /// Unique name on the exchange, first segment of this client's topics elsewhere; empty: made of the user's name.
    client_id: String,
    /// Name shown to people; empty: the id.
    display_name: String,
    /// operator or observer.
    kind: String,
    /// Where the exchange is, host:port.
    server: String,
    /// YAML file of rules: what is offered, wanted and accepted; empty: the built-in rules.
    rules: String,
    /// How often the server is pinged [s].
    ping_period: f64,
    /// Silence after which the server is taken for gone [s].
    keep_alive_timeout: f64,
}

impl From<ClientParameters> for RobotParameters {
    fn from(p: ClientParameters) -> Self {
        RobotParameters {
            client_id: p.client_id,
            display_name: p.display_name,
            server: p.server,
            rules: p.rules,
            ping_period: p.ping_period,
            keep_alive_timeout: p.keep_alive_timeout,
        }
    }
}

impl From<RobotParameters> for ClientParameters {
    fn from(p: RobotParameters) -> Self {
        ClientParameters {
            client_id: p.client_id,
            display_name: p.display_name,
            kind: None,
            server: p.server,
            rules: p.rules,
            ping_period: p.ping_period,
            keep_alive_timeout: p.keep_alive_timeout,
        }
    }
}

impl From<ClientParameters> for OperatorParameters {
    fn from(p: ClientParameters) -> Self {
        OperatorParameters {
            client_id: p.client_id,
            display_name: p.display_name,
            kind: p.kind.unwrap_or_default(),
            server: p.server,
            rules: p.rules,
            ping_period: p.ping_period,
            keep_alive_timeout: p.keep_alive_timeout,
        }
    }
}

impl From<OperatorParameters> for ClientParameters {
    fn from(p: OperatorParameters) -> Self {
        ClientParameters {
            client_id: p.client_id,
            display_name: p.display_name,
            kind: Some(p.kind),
            server: p.server,
            rules: p.rules,
            ping_period: p.ping_period,
            keep_alive_timeout: p.keep_alive_timeout,
        }
    }
}

#[cfg(test)]
mod tests {
    use r2r::{Parameter, ParameterValue, indexmap::IndexMap};

    use super::*;

    fn client(kind: Option<&str>) -> ClientParameters {
        ClientParameters {
            client_id: "r1".to_owned(),
            display_name: "Robot one".to_owned(),
            kind: kind.map(str::to_owned),
            server: "localhost:7420".to_owned(),
            rules: "rules.yaml".to_owned(),
            ping_period: 1.0,
            keep_alive_timeout: 4.0,
        }
    }

    #[test]
    fn client_parameters_survive_both_forms() {
        assert_eq!(ClientParameters::from(RobotParameters::from(client(None))), client(None));
        let operator = client(Some("observer"));
        assert_eq!(ClientParameters::from(OperatorParameters::from(operator.clone())), operator);
    }

    #[test]
    fn overrides_apply_and_every_parameter_has_a_description() {
        let mut overrides = IndexMap::new();
        overrides.insert("server".to_owned(), Parameter::new(ParameterValue::String("other:1".to_owned())));
        let mut parameters = OperatorParameters::from(client(Some("operator")));
        parameters.register_parameters("", None, &mut overrides).unwrap();
        assert_eq!(parameters.server, "other:1");
        assert_eq!(overrides.len(), 7);
        assert!(overrides.values().all(|parameter| parameter.description.len() > 10));
    }

    #[test]
    fn a_value_of_another_type_is_refused() {
        let mut overrides = IndexMap::new();
        overrides.insert("server".to_owned(), Parameter::new(ParameterValue::Integer(7)));
        let error = RobotParameters::from(client(None)).register_parameters("", None, &mut overrides).unwrap_err();
        assert!(error.to_string().contains("server"), "{error}");
    }
}
