//! `switchboard server`, `robot` and `operator`, and the programs of the same names.

use std::future::Future;

use super::{Outcome, exchange::runtime};
use crate::{
    config::{
        flags::{ClientFlags, LogFlags, OperatorFlags, ServerFlags},
        logging::{self, LogLevel, LogSources},
    },
    node,
};

/// Runs the exchange.
pub(super) fn server(flags: ServerFlags, ros_level: Option<LogLevel>) -> anyhow::Result<Outcome> {
    run(&flags.log.clone(), ros_level, node::server::run(flags))
}

/// Runs a robot's line.
pub(super) fn robot(flags: ClientFlags, ros_level: Option<LogLevel>) -> anyhow::Result<Outcome> {
    run(&flags.log.clone(), ros_level, node::client::run_robot(flags))
}

/// Runs an operator's line.
pub(super) fn operator(flags: OperatorFlags, ros_level: Option<LogLevel>) -> anyhow::Result<Outcome> {
    run(&flags.client.log.clone(), ros_level, node::client::run_operator(flags))
}

fn run(
    log: &LogFlags,
    ros_level: Option<LogLevel>,
    role: impl Future<Output = anyhow::Result<()>>,
) -> anyhow::Result<Outcome> {
    logging::start(LogSources::of_this_process(log.log_level, ros_level).filter()?);
    runtime()?.block_on(role)?;
    Ok(Outcome::Fine)
}
