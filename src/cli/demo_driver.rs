//! `switchboard demo-driver`: drives a robot of the demo from the operator's graph, and tells how that goes.

use std::sync::atomic::Ordering;

use clap::Args;

use super::{Outcome, stop::stop_flag, terminal};
use crate::{
    config::logging::{self, LogLevel, LogSources},
    ids::ClientId,
    ros::{DemoDriver, drive},
};

#[derive(Debug, Clone, PartialEq, Args)]
pub(super) struct Flags {
    /// The robot to drive
    #[arg(long, value_name = "ID")]
    robot: ClientId,
    /// The robots to watch, separated by commas
    #[arg(long, value_name = "ID,…", value_delimiter = ',')]
    watch: Vec<ClientId>,
}

pub(super) fn run(flags: &Flags, ros_level: Option<LogLevel>) -> anyhow::Result<Outcome> {
    logging::start(LogSources::of_this_process(None, ros_level).filter()?);
    let driver = DemoDriver { robot: flags.robot.clone(), watch: flags.watch.clone() };
    let stop = stop_flag(None)?;
    drive(&driver, &stop, |report| {
        let told = serde_json::to_string(report).map_err(std::io::Error::from);
        if told.and_then(|json| terminal::print_line(&json)).is_err() {
            stop.store(true, Ordering::Relaxed);
        }
    })?;
    Ok(Outcome::Fine)
}
