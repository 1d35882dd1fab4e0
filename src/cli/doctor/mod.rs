//! `switchboard doctor`: what is wrong here, and what to do about it.

use clap::Args;

use self::check::{Check, Verdict, verdict_line};
use super::{
    Outcome,
    exchange::{ExchangeFlags, Surroundings, quiet_logging, runtime},
    terminal::{self, Terminal},
};
use crate::config::ServerAddress;

mod check;
mod environment;
mod exchange;
mod machine;

const EXAMPLES: &str = "\
Examples:
  switchboard doctor
  switchboard doctor --server exchange.example:7420     can this machine reach that server?
  ROS_DOMAIN_ID=60 switchboard doctor                   as seen from another domain

Each check is ok, warn or FAIL, and says what to do. The exit code is 1 if something fails.";

#[derive(Debug, Clone, PartialEq, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Flags {
    /// A server that clients on this machine shall reach: HOST, HOST:PORT or `[IPV6]:PORT`
    #[arg(long, value_name = "HOST:PORT")]
    server: Option<ServerAddress>,
    #[command(flatten)]
    exchange: ExchangeFlags,
}

pub(super) fn run(flags: &Flags) -> anyhow::Result<Outcome> {
    quiet_logging()?;
    let terminal = Terminal::of_this_process();
    let mut checks: Vec<Check> = Vec::new();
    // Each group is shown at once: the last ones take seconds.
    let mut show = |group: Vec<Check>| -> anyhow::Result<()> {
        for check in &group {
            terminal::print(&check.render(terminal.width, terminal.colour))?;
        }
        checks.extend(group);
        Ok(())
    };
    show(environment::checks(
        &|name| std::env::var(name).ok(),
        crate::ros::distro(),
        &crate::ros::rmw_implementation(),
    ))?;
    show(environment::interfaces(&|type_name| {
        crate::ros::installed_type_hash(type_name).map_err(|error| error.to_string())
    }))?;
    show(machine::checks())?;
    let runtime = runtime()?;
    let (seen, endpoint) = runtime.block_on(exchange::of_the_graph(&flags.exchange, &Surroundings::of_this_process()));
    show(seen)?;
    show(runtime.block_on(exchange::of_the_network(flags.server.as_ref(), endpoint)))?;
    terminal::print_line(&verdict_line(&checks))?;
    let failed = checks.iter().any(|check| check.verdict == Verdict::Fail);
    Ok(if failed { Outcome::Failed } else { Outcome::Fine })
}
