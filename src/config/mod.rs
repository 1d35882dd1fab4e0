//! ROS parameters, YAML and flags in, one validated value out.
//!
//! Each setting is looked for in this order: the flag on the command line, the ROS parameter, the default in
//! [`crate::defaults`]. What comes out ([`ServerConfig`], [`ClientConfig`]) needs no further checks; what is wrong comes
//! out as a [`ConfigError`] that names the key, the value, the cure and where the value was given.

use std::{fmt, path::PathBuf};

mod client;
mod environment;
pub mod flags;
pub mod logging;
pub mod ros_args;
pub mod rules_file;
mod server;
mod values;

pub use client::{ClientConfig, RawClient, ServerAddress};
pub use environment::Environment;
pub use server::{RawServer, ServerConfig};

/// Why a configuration cannot be used.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ConfigError {
    /// A value that is out of range or cannot be understood.
    #[error("{key}: {fault} ({origin})")]
    Value {
        /// Name of the setting, as the ROS parameter has it.
        key: &'static str,
        /// The value, what is wrong with it and what to give instead.
        fault: String,
        /// Where it was given.
        origin: Origin,
    },
    /// A rules file that cannot be read or understood.
    #[error(transparent)]
    Rules(#[from] rules_file::RulesFileError),
}

/// Where a value was given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// A flag on the command line.
    Flag(&'static str),
    /// A ROS parameter.
    Parameter(&'static str),
    /// An environment variable.
    Variable(&'static str),
    /// Nowhere: the default.
    Default,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Flag(name) => write!(f, "from the flag {name}"),
            Origin::Parameter(name) => write!(f, "from the parameter {name}"),
            Origin::Variable(name) => write!(f, "from the environment variable {name}"),
            Origin::Default => f.write_str("from the default"),
        }
    }
}

/// Where the rules of a client come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RulesOrigin {
    /// A file.
    File(PathBuf),
    /// No file was named: the rules that every build carries.
    BuiltIn,
}

/// The files in `config/` that are installed with the package.
#[cfg(test)]
mod shipped_files {
    use serde::{Deserialize, de::DeserializeOwned};

    use super::*;
    use crate::{
        model::ClientKind,
        routes::{Section, Thing},
    };

    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct ParameterFile<T> {
        #[serde(rename = "/**")]
        every_node: Node<T>,
    }

    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Node<T> {
        #[serde(rename = "ros__parameters")]
        parameters: T,
    }

    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct ServerParameters {
        address: String,
        port: i64,
        open_on_start: bool,
        database: String,
        export_directory: String,
        max_clients: i64,
        login_timeout: f64,
        ping_period: f64,
        keep_alive_timeout: f64,
        status_period: f64,
        frame_id: String,
    }

    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct ClientParameters {
        client_id: String,
        display_name: String,
        #[serde(default)]
        kind: Option<String>,
        server: String,
        rules: String,
        ping_period: f64,
        keep_alive_timeout: f64,
    }

    fn parameters<T: DeserializeOwned>(text: &str) -> T {
        serde_saphyr::from_str::<ParameterFile<T>>(text).unwrap().every_node.parameters
    }

    #[test]
    fn server_yaml_holds_every_parameter_with_its_default() {
        let text = include_str!("../../config/server.yaml");
        let p: ServerParameters = parameters(text);
        let given = RawServer {
            address: p.address,
            port: p.port,
            open_on_start: p.open_on_start,
            database: p.database,
            export_directory: p.export_directory,
            max_clients: p.max_clients,
            login_timeout: p.login_timeout,
            ping_period: p.ping_period,
            keep_alive_timeout: p.keep_alive_timeout,
            status_period: p.status_period,
            frame_id: p.frame_id,
        };
        assert_eq!(given, RawServer::default());
        // rcl takes 1 for an integer, and a floating-point parameter then refuses it.
        for key in ["login_timeout", "ping_period", "keep_alive_timeout", "status_period"] {
            let line = text.lines().find(|line| line.trim_start().starts_with(&format!("{key}:"))).unwrap();
            assert!(line.contains('.'), "{line}");
        }
    }

    #[test]
    fn robot_yaml_and_operator_yaml_hold_every_parameter_with_its_default() {
        for (text, kind) in [
            (include_str!("../../config/robot.yaml"), None),
            (include_str!("../../config/operator.yaml"), Some("operator".to_owned())),
        ] {
            let p: ClientParameters = parameters(text);
            assert_eq!(p.kind, kind);
            let given = RawClient {
                client_id: p.client_id,
                display_name: p.display_name,
                kind: String::new(),
                server: p.server,
                rules: p.rules,
                ping_period: p.ping_period,
                keep_alive_timeout: p.keep_alive_timeout,
            };
            assert_eq!(given, RawClient::default());
        }
    }

    #[test]
    fn the_built_in_rules_let_robots_be_seen_and_never_driven() {
        let robot = rules_file::built_in(ClientKind::Robot).unwrap();
        for (topic, type_name) in [
            ("/tf", "tf2_msgs/msg/TFMessage"),
            ("/odom", "nav_msgs/msg/Odometry"),
            ("/camera/front/compressed", "sensor_msgs/msg/CompressedImage"),
        ] {
            assert!(robot.find(Section::Offer, &Thing::topic(topic, type_name)).is_some(), "{topic}");
        }
        assert!(robot.find(Section::Offer, &Thing::topic("/camera/front/raw", "sensor_msgs/msg/Image")).is_none());
        assert!(robot.find(Section::Accept, &Thing::topic("/cmd_vel", "geometry_msgs/msg/Twist")).is_none());
        let served = |name| Thing::service(name, "std_srvs/srv/SetBool");
        assert!(robot.find(Section::Offer, &served("/set_mode")).is_none(), "nobody is authenticated yet");
        for topic in ["/tf_static", "/robot_description"] {
            let rule = robot.find(Section::Offer, &Thing::topic(topic, "x/msg/X")).unwrap();
            assert_eq!(rule.qos.depth, Some(1), "{topic}");
        }
        let operator = rules_file::built_in(ClientKind::Operator).unwrap();
        assert!(operator.find(Section::Want, &served("/r1/set_mode")).is_some());
        let part = Thing::service("/r1/dock/_action/send_goal", "p/action/Dock_SendGoal");
        assert!(operator.find(Section::Want, &part).is_some());
        assert!(operator.find(Section::Want, &Thing::topic("/r1/odom", "nav_msgs/msg/Odometry")).is_some());
        let observer = rules_file::built_in(ClientKind::Observer).unwrap();
        assert!(observer.offer.is_empty());
        assert!(observer.find(Section::Want, &Thing::topic("/r1/odom", "nav_msgs/msg/Odometry")).is_some());
        assert!(observer.find(Section::Want, &served("/r1/set_mode")).is_none(), "who only looks calls nothing");
    }

    #[test]
    fn the_rules_of_the_demo_fit_each_other() {
        let robot = rules_file::parse("r", include_str!("../../config/demo_robot_rules.yaml")).unwrap();
        let operator = rules_file::parse("o", include_str!("../../config/demo_operator_rules.yaml")).unwrap();
        for (topic, type_name) in [
            ("/odom", "nav_msgs/msg/Odometry"),
            ("/tf", "tf2_msgs/msg/TFMessage"),
            ("/tf_static", "tf2_msgs/msg/TFMessage"),
            ("/battery_state", "sensor_msgs/msg/BatteryState"),
            ("/camera/image/compressed", "sensor_msgs/msg/CompressedImage"),
        ] {
            assert!(robot.find(Section::Offer, &Thing::topic(topic, type_name)).is_some(), "{topic} is not offered");
            assert!(
                operator.find(Section::Want, &Thing::topic(&format!("/r1{topic}"), type_name)).is_some(),
                "{topic} is not wanted"
            );
        }
        assert!(robot.find(Section::Want, &Thing::topic("/r2/odom", "nav_msgs/msg/Odometry")).is_some());
        assert!(robot.find(Section::Accept, &Thing::topic("/cmd_vel", "geometry_msgs/msg/Twist")).is_some());
    }
}
