//! The flags of the three roles. The programs `server`, `robot` and `operator` and the verbs of the same names of the
//! command line take the same ones.

use std::path::PathBuf;

use clap::Args;

use super::logging::LogLevel;
use crate::model::ClientKind;

/// Flags that every role has.
#[derive(Debug, Clone, Default, PartialEq, Args)]
pub struct LogFlags {
    /// How much is logged: error, warn, info, debug or trace [default: info, or what SWITCHBOARD_LOG or RUST_LOG says]
    #[arg(long, value_name = "LEVEL")]
    pub log_level: Option<LogLevel>,
}

/// Flags of the exchange.
#[derive(Debug, Clone, Default, PartialEq, Args)]
pub struct ServerFlags {
    /// IP address or host name to listen on; 0.0.0.0 lets every network in [default: 127.0.0.1]
    #[arg(long, value_name = "ADDRESS")]
    pub address: Option<String>,
    /// TCP port to listen on; 0 takes any free one [default: 7420]
    #[arg(long, value_name = "PORT", allow_negative_numbers = true)]
    pub port: Option<i64>,
    /// Start with the port closed; the service ~/open opens it
    #[arg(long)]
    pub closed: bool,
    /// SQLite file of the registry [default: $ROS_HOME/switchboard/registry.db]
    #[arg(long, value_name = "FILE")]
    pub database: Option<PathBuf>,
    /// Folder that CSV exports are written to [default: $ROS_HOME/switchboard/export]
    #[arg(long, value_name = "FOLDER")]
    pub export_directory: Option<PathBuf>,
    #[allow(missing_docs)]
    #[command(flatten)]
    pub log: LogFlags,
}

/// Flags of a client of the exchange. All there are for a robot.
#[derive(Debug, Clone, Default, PartialEq, Args)]
pub struct ClientFlags {
    /// Unique name on the exchange, and first segment of this client's topics elsewhere [default: from the host name]
    #[arg(long, value_name = "ID")]
    pub id: Option<String>,
    /// Name shown to people [default: the id]
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
    /// Where the exchange is: HOST, HOST:PORT or `[IPV6]:PORT` [default: 127.0.0.1:7420]
    #[arg(long, value_name = "HOST:PORT")]
    pub server: Option<String>,
    /// YAML file that says what is offered, wanted and accepted [default: the rules of the role that come with the program]
    #[arg(long, value_name = "FILE")]
    pub rules: Option<PathBuf>,
    #[allow(missing_docs)]
    #[command(flatten)]
    pub log: LogFlags,
}

/// Flags of an operator.
#[derive(Debug, Clone, Default, PartialEq, Args)]
pub struct OperatorFlags {
    #[allow(missing_docs)]
    #[command(flatten)]
    pub client: ClientFlags,
    /// operator, or observer for somebody who only looks [default: operator]
    #[arg(long, value_name = "KIND")]
    pub kind: Option<ClientKind>,
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory as _, Parser};

    use super::*;

    #[derive(Debug, Parser)]
    struct Server {
        #[command(flatten)]
        flags: ServerFlags,
    }

    #[derive(Debug, Parser)]
    struct Operator {
        #[command(flatten)]
        flags: OperatorFlags,
    }

    #[test]
    fn every_flag_is_read() {
        let line = "server --address :: --port -1 --closed --database /d --export-directory /e --log-level WARN";
        let server = Server::try_parse_from(line.split(' ')).unwrap().flags;
        assert_eq!(
            server,
            ServerFlags {
                address: Some("::".to_owned()),
                port: Some(-1),
                closed: true,
                database: Some("/d".into()),
                export_directory: Some("/e".into()),
                log: LogFlags { log_level: Some(LogLevel::Warn) },
            }
        );
        let line = "operator --id alice --name Alice --server host:1 --rules /r --kind observer --log-level debug";
        let operator = Operator::try_parse_from(line.split(' ')).unwrap().flags;
        assert_eq!(
            operator,
            OperatorFlags {
                client: ClientFlags {
                    id: Some("alice".to_owned()),
                    name: Some("Alice".to_owned()),
                    server: Some("host:1".to_owned()),
                    rules: Some("/r".into()),
                    log: LogFlags { log_level: Some(LogLevel::Debug) },
                },
                kind: Some(ClientKind::Observer),
            }
        );
    }

    #[test]
    fn wrong_words_are_answered_with_the_right_ones() {
        let refusal = |line: &str| Operator::try_parse_from(line.split(' ')).unwrap_err().to_string();
        assert!(
            refusal("operator --kind boss").contains(r#"unknown client kind "boss"; use robot, operator or observer"#)
        );
        assert!(refusal("operator --log-level loud").contains(r#"unknown log level "loud"; use error, warn"#));
    }

    #[test]
    fn the_definitions_are_sound_and_every_flag_has_its_help() {
        for command in [Server::command(), Operator::command()] {
            command.clone().debug_assert();
            for flag in command.get_arguments() {
                assert!(flag.get_help().is_some(), "{} has no help", flag.get_id());
            }
        }
    }

    #[test]
    fn the_defaults_that_the_help_names_are_the_defaults() {
        let help =
            Server::command().render_long_help().to_string() + &Operator::command().render_long_help().to_string();
        for expected in [
            format!("[default: {}]", crate::defaults::ADDRESS),
            format!("[default: {}]", crate::defaults::PORT),
            format!("[default: {}:{}]", crate::defaults::ADDRESS, crate::defaults::PORT),
        ] {
            assert!(help.contains(&expected), "{expected} not in {help}");
        }
    }
}
