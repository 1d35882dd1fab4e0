//! `switchboard release`: lets go of a topic that one client commands alone.

use clap::Args;

use super::{
    Outcome,
    routes::{ClientFlags, with_client},
    terminal,
};
use crate::routes::{RouteReply, RouteRequest};

const EXAMPLES: &str = "\
Examples:
  switchboard release /cmd_vel

It is asked in the graph of the robot that is commanded (same ROS_DOMAIN_ID). Whoever commands next holds the topic, which
may be the same client again.";

#[derive(Debug, Clone, PartialEq, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Flags {
    /// The topic in the robot's graph
    topic: String,
    #[command(flatten)]
    client: ClientFlags,
}

pub(super) fn run(flags: Flags) -> anyhow::Result<Outcome> {
    let Flags { topic, client } = flags;
    with_client(&client, async |client| {
        let RouteReply::Released(holder) = client.ask(RouteRequest::Release(topic.clone())).await? else {
            anyhow::bail!("{} answered something else", client.node());
        };
        terminal::print_line(&format!("{holder} commands {topic} alone no more"))?;
        Ok(Outcome::Fine)
    })
}
