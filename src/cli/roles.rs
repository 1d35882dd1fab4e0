//! `switchboard server`, `robot` and `operator`, and the programs of the same names.

use std::future::Future;

use anyhow::Context as _;
use tokio::runtime::{Builder, Runtime};

use super::{Outcome, exchange::runtime};
use crate::{
    config::{
        flags::{ClientFlags, LogFlags, OperatorFlags, ServerFlags},
        logging::{self, LogLevel, LogSources},
    },
    node,
};

/// Runs the exchange. It has a connection for each client, so its tasks have several threads. The loop is one of these
/// tasks: then it runs on the thread that has just read what it is to relay, and so does the writer after it.
pub(super) fn server(flags: ServerFlags, ros_level: Option<LogLevel>) -> anyhow::Result<Outcome> {
    start_log(&flags.log, ros_level)?;
    let runtime = runtime()?;
    let exchange = runtime.spawn(node::server::run(flags));
    runtime.block_on(exchange).context("the exchange failed")??;
    Ok(Outcome::Fine)
}

/// Runs a robot's line.
pub(super) fn robot(flags: ClientFlags, ros_level: Option<LogLevel>) -> anyhow::Result<Outcome> {
    start_log(&flags.log, ros_level)?;
    run_client(node::client::run_robot(flags))
}

/// Runs an operator's line.
pub(super) fn operator(flags: OperatorFlags, ros_level: Option<LogLevel>) -> anyhow::Result<Outcome> {
    start_log(&flags.client.log, ros_level)?;
    run_client(node::client::run_operator(flags))
}

fn start_log(log: &LogFlags, ros_level: Option<LogLevel>) -> anyhow::Result<()> {
    logging::start(LogSources::of_this_process(log.log_level, ros_level).filter()?);
    Ok(())
}

/// A client has one connection: its loop, reader and writer share one thread, so that a message does not wait for another
/// one to wake up between them, which is most of the time that it spends here.
fn run_client(role: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<Outcome> {
    one_thread()?.block_on(role)?;
    Ok(Outcome::Fine)
}

fn one_thread() -> anyhow::Result<Runtime> {
    Builder::new_current_thread().enable_all().build().context("the program's tasks cannot be started")
}
