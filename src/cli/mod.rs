//! The command line, one file per verb.
//!
//! Exit codes: 0 fine, 1 failed, 2 used wrongly. Results go to standard output, messages about them to standard error.

use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::{
    config::{
        ConfigError,
        flags::{ClientFlags, OperatorFlags, ServerFlags},
        logging::LogLevel,
        ros_args::{self, SplitArgs},
    },
    ros,
};

mod clients;
mod close;
mod demo;
mod demo_driver;
mod disconnect;
mod doctor;
mod exchange;
mod export;
mod open;
mod parent;
mod release;
mod report;
mod roles;
mod routes;
mod routes_report;
mod rule;
mod simulate;
mod status;
mod stop;
mod table;
mod terminal;
mod traffic;
mod units;

const EXAMPLES: &str = "\
Examples:
  switchboard demo                              two robots and an operator on this machine
  switchboard server --address 0.0.0.0          the exchange, for every network
  switchboard robot --id r1 --server host:7420  a robot's line to it
  switchboard status --watch                    who is there, and what goes through
  switchboard export sessions --from 2026-11-01
  switchboard routes                            what goes over the line of this robot, what does not, and why
  switchboard doctor                            what is wrong, and what to do about it

status, traffic, open, close, export, clients and disconnect talk to the exchange's node: they work in every shell that
sees the server's graph (same ROS_DOMAIN_ID). routes, rule and release do the same in the graph of a robot or an operator.
ROS arguments go after --ros-args, as in every ROS program.";
const SERVER_EXAMPLES: &str = "\
Examples:
  switchboard server                                   for this machine only
  switchboard server --address 0.0.0.0 --port 7420     for every network
  ros2 run switchboard server --ros-args --params-file server.yaml

Every setting is a ROS parameter too; flags win. The services of the node /switchboard open and close the port, list and
disconnect clients, and export the registry.";
const ROBOT_EXAMPLES: &str = "\
Examples:
  switchboard robot --id r1 --server exchange.example:7420
  switchboard robot --id r1 --rules rules.yaml
  ros2 run switchboard robot --ros-args --params-file robot.yaml

Others see /odom of r1 as /r1/odom. What is offered, wanted and accepted is in the rules; config/robot_rules.yaml of the
package explains them.";
const OPERATOR_EXAMPLES: &str = "\
Examples:
  switchboard operator --id alice --server exchange.example:7420
  switchboard operator --id screen --kind observer
  ros2 topic pub -r 10 /r1/cmd_vel geometry_msgs/msg/Twist '{linear: {x: 0.2}}'     drives r1, if it accepts that

What is wanted is in the rules; config/operator_rules.yaml of the package explains them.";

/// Every robot a line, one exchange, any operator on the call.
#[derive(Debug, Parser)]
#[command(name = "switchboard", version, after_help = EXAMPLES, max_term_width = 120)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
    #[command(flatten)]
    parent: ParentFlags,
}

/// A program of one role.
#[derive(Debug, Parser)]
#[command(version, max_term_width = 120)]
struct RoleCli<F: Args> {
    #[command(flatten)]
    flags: F,
    #[command(flatten)]
    parent: ParentFlags,
}

/// What a program that starts others passes on to them.
#[derive(Debug, Clone, Default, Args)]
struct ParentFlags {
    /// End when standard input ends, so that nothing stays behind when whoever started this is gone
    #[arg(long, global = true, hide = true)]
    exit_with_parent: bool,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Run the exchange
    #[command(after_help = SERVER_EXAMPLES)]
    Server(ServerFlags),
    /// Run a robot's line to the exchange
    #[command(after_help = ROBOT_EXAMPLES)]
    Robot(ClientFlags),
    /// Run an operator's line to the exchange
    #[command(after_help = OPERATOR_EXAMPLES)]
    Operator(OperatorFlags),
    /// Show who is connected and what goes through
    Status(status::Flags),
    /// Show what goes over each topic, how old it is, and what is dropped
    Traffic(traffic::Flags),
    /// Let go of a topic that one client commands alone
    Release(release::Flags),
    /// Open the exchange's port
    Open(open::Flags),
    /// Say goodbye to every client and close the port
    Close(close::Flags),
    /// Write a table of the registry to a CSV file
    Export(export::Flags),
    /// List the clients that the registry knows
    Clients(clients::Flags),
    /// End a client's session; a client that still wants to be connected comes back
    Disconnect(disconnect::Flags),
    /// Show what goes over a client's line, what does not, and why
    Routes(routes::Flags),
    /// Add a rule to those of a running client, or remove one
    Rule(rule::Flags),
    /// Check ROS, the network and the clock, and say what to do
    Doctor(doctor::Flags),
    /// Run a simulated robot: an ordinary ROS node that knows nothing of Switchboard
    Simulate(simulate::Flags),
    /// Show a server, robots and an operator, each in its own ROS graph
    Demo(demo::Flags),
    /// Drive a robot of the demo
    #[command(hide = true)]
    DemoDriver(demo_driver::Flags),
}

/// How a verb ended, if it did not fail with an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Fine,
    /// What was wrong has been shown already.
    Failed,
}

/// A command line that cannot be carried out as it is, found after clap was satisfied.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct UsageError(String);

/// The program `switchboard`.
pub fn main() -> ExitCode {
    let (cli, args) = parse::<Cli>(|command| command);
    cli.parent.obey();
    let ros_level = args.log_level();
    finish(match cli.verb {
        Verb::Server(flags) => roles::server(flags, ros_level),
        Verb::Robot(flags) => roles::robot(flags, ros_level),
        Verb::Operator(flags) => roles::operator(flags, ros_level),
        Verb::Status(flags) => status::run(&flags),
        Verb::Traffic(flags) => traffic::run(&flags),
        Verb::Release(flags) => release::run(flags),
        Verb::Open(flags) => open::run(flags),
        Verb::Close(flags) => close::run(flags),
        Verb::Export(flags) => export::run(&flags),
        Verb::Clients(flags) => clients::run(&flags),
        Verb::Disconnect(flags) => disconnect::run(flags),
        Verb::Routes(flags) => routes::run(&flags),
        Verb::Rule(flags) => rule::run(flags),
        Verb::Doctor(flags) => doctor::run(&flags),
        Verb::Simulate(flags) => simulate::run(&flags, ros_level),
        Verb::Demo(flags) => demo::run(&flags),
        Verb::DemoDriver(flags) => demo_driver::run(&flags, ros_level),
    })
}

/// The program `server`: the verb of the same name.
pub fn server() -> ExitCode {
    role(SERVER_EXAMPLES, roles::server)
}

/// The program `robot`: the verb of the same name.
pub fn robot() -> ExitCode {
    role(ROBOT_EXAMPLES, roles::robot)
}

/// The program `operator`: the verb of the same name.
pub fn operator() -> ExitCode {
    role(OPERATOR_EXAMPLES, roles::operator)
}

fn role<F: Args>(examples: &'static str, run: fn(F, Option<LogLevel>) -> anyhow::Result<Outcome>) -> ExitCode {
    let (cli, args) = parse::<RoleCli<F>>(|command| command.after_help(examples));
    cli.parent.obey();
    finish(run(cli.flags, args.log_level()))
}

/// Reads the command line without its ROS arguments. Ends the process if there is nothing to run: with 2 for a mistake,
/// with 0 after help.
fn parse<C: Parser>(adapt: impl FnOnce(clap::Command) -> clap::Command) -> (C, SplitArgs) {
    let args = ros_args::split(std::env::args_os());
    let matches = adapt(C::command()).get_matches_from(&args.own);
    (C::from_arg_matches(&matches).unwrap_or_else(|error| error.exit()), args)
}

fn finish(outcome: anyhow::Result<Outcome>) -> ExitCode {
    ros::exit(exit_code(outcome))
}

fn exit_code(outcome: anyhow::Result<Outcome>) -> i32 {
    let error = match outcome {
        Ok(Outcome::Fine) => return 0,
        Ok(Outcome::Failed) => return 1,
        Err(error) => error,
    };
    if is_broken_pipe(&error) {
        // Whoever reads, such as `head`, has seen enough.
        return 0;
    }
    eprintln!("error: {error:#}");
    if error.is::<UsageError>() || error.is::<ConfigError>() { 2 } else { 1 }
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<std::io::Error>().is_some_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe)
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory as _, error::ErrorKind};

    use super::*;

    fn parsed(line: &str) -> Result<Cli, clap::Error> {
        Cli::try_parse_from(line.split_whitespace())
    }

    fn refusal(line: &str) -> String {
        let error = parsed(line).unwrap_err();
        assert_eq!(error.exit_code(), 2, "{line}");
        error.to_string()
    }

    #[test]
    fn the_definitions_are_sound_and_every_verb_and_flag_has_its_help() {
        let mut command = Cli::command();
        command.build();
        command.clone().debug_assert();
        for verb in command.get_subcommands() {
            assert!(verb.get_about().is_some(), "{} has no help", verb.get_name());
            for flag in verb.get_arguments() {
                assert!(flag.get_help().is_some(), "{} {} has no help", verb.get_name(), flag.get_id());
            }
        }
    }

    #[test]
    fn every_example_of_the_help_is_understood() {
        let mut examples = 0;
        for line in EXAMPLES.lines().filter_map(|line| line.strip_prefix("  switchboard")) {
            let line = line.split("  ").next().unwrap();
            parsed(&format!("switchboard{line}")).unwrap_or_else(|error| panic!("{line}: {error}"));
            examples += 1;
        }
        assert_eq!(examples, 7);
    }

    #[test]
    fn the_roles_are_verbs_and_programs_alike() {
        let Verb::Robot(flags) = parsed("switchboard robot --id r1 --exit-with-parent").unwrap().verb else {
            panic!("another verb")
        };
        let program = RoleCli::<ClientFlags>::try_parse_from(["robot", "--id", "r1", "--exit-with-parent"]).unwrap();
        assert_eq!(flags, program.flags);
        assert!(program.parent.exit_with_parent);
    }

    #[test]
    fn mistakes_are_answered_with_what_to_write() {
        assert!(refusal("switchboard fly").contains("unrecognized subcommand 'fly'"));
        assert!(refusal("switchboard export planets").contains("use clients, sessions or events"));
        assert!(refusal("switchboard status --timeout 0").contains("use 0.1 to 3600"));
        assert!(refusal("switchboard export --from yesterday").contains("use RFC 3339 such as"));
        assert!(refusal("switchboard disconnect r__1").contains("two underscores"));
        assert!(refusal("switchboard demo --robots 0").contains("0 is not in 1..=30"));
        assert!(refusal("switchboard simulate --id r1 --rate 0").contains("use 1 to 1000"));
        assert!(refusal("switchboard simulate").contains("--id"));
    }

    #[test]
    fn help_is_no_mistake() {
        let help = parsed("switchboard --help").unwrap_err();
        assert_eq!((help.kind(), help.exit_code()), (ErrorKind::DisplayHelp, 0));
        assert!(!help.to_string().contains("demo-driver"), "hidden verbs are hidden");
        let version = parsed("switchboard --version").unwrap_err();
        assert_eq!(version.to_string().trim(), format!("switchboard {}", env!("CARGO_PKG_VERSION")));
    }
}
