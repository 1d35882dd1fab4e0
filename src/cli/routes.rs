//! `switchboard routes`: what goes over a client's line, what does not, and why.

use std::{future::Future, time::Duration};

use anyhow::Context as _;
use clap::Args;

use super::{
    Outcome,
    exchange::{Surroundings, parse_node, parse_timeout, quiet_logging, runtime},
    routes_report::RoutesReport,
    terminal::{self, Terminal},
};
use crate::{
    ros::{AskError, RosError, RouteClient},
    routes::{RouteReply, RouteRequest},
};

const EXAMPLES: &str = "\
Examples:
  switchboard routes
  switchboard routes --rules                    also the rules in force, with their numbers
  switchboard routes --node /switchboard_robot  one of several
  switchboard routes --json | jq '.routes[] | select(.state == \"closed\")'

It is asked in the graph of the robot or the operator (same ROS_DOMAIN_ID). An arrow to the right is what goes to the
exchange, one to the left what comes from it. QoS is that of the local publishers or subscriptions, OWN that of our own end
of the route: rel or be (reliable, best_effort), vol or tl (volatile, transient_local), and the depth if it is known. HERE is
the name in this graph where it is another one. On a narrow terminal HERE and TYPE are cut short first; then TYPE, DROP,
OWN, QOS, PEER, HERE and RATE are left out, in this order.";

#[derive(Debug, Clone, PartialEq, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Flags {
    /// Show the rules in force too
    #[arg(long)]
    rules: bool,
    /// Write JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    client: ClientFlags,
}

/// Where the client is in the ROS graph.
#[derive(Debug, Clone, PartialEq, Args)]
pub(super) struct ClientFlags {
    /// The robot's or operator's node; the only one of the graph is found without it
    #[arg(long, value_name = "NAME", value_parser = parse_node)]
    node: Option<String>,
    /// How long to wait for it [s]
    #[arg(long, value_name = "S", default_value = "5", value_parser = parse_timeout)]
    timeout: Duration,
}

pub(super) fn run(flags: &Flags) -> anyhow::Result<Outcome> {
    with_client(&flags.client, async |client| {
        let RouteReply::Listed(list) = client.ask(RouteRequest::List).await? else {
            anyhow::bail!("{} answered something else", client.node());
        };
        let report = RoutesReport::new(client.node(), &list);
        if flags.json {
            terminal::print_line(&serde_json::to_string_pretty(&report)?)?;
        } else {
            let terminal = Terminal::of_this_process();
            terminal::print(&report.render(flags.rules, terminal.width, terminal.colour))?;
        }
        Ok(Outcome::Fine)
    })
}

/// A client's node, seen from this program's ROS graph.
pub(super) struct Client {
    client: RouteClient,
    flags: ClientFlags,
}

impl Client {
    /// The full name of the node.
    pub(super) fn node(&self) -> &str {
        self.client.server()
    }

    /// Asks it.
    pub(super) async fn ask(&self, request: RouteRequest) -> anyhow::Result<RouteReply> {
        self.client.ask(request, self.flags.timeout).await.map_err(|error| match error {
            AskError::Ros(error) => explained(error, &self.flags),
            AskError::Refused(refusal) => anyhow::anyhow!("{} refuses: {refusal}", self.node()),
        })
    }
}

/// Runs `verb` with the client that the flags name, or the only one there is.
pub(super) fn with_client<F: Future<Output = anyhow::Result<Outcome>>>(
    flags: &ClientFlags,
    verb: impl FnOnce(Client) -> F,
) -> anyhow::Result<Outcome> {
    quiet_logging()?;
    runtime()?.block_on(async {
        let connected = RouteClient::connect(flags.node.as_deref(), flags.timeout).await;
        let client = connected.map_err(|error| explained(error, flags)).context("the client cannot be asked")?;
        verb(Client { client, flags: flags.clone() }).await
    })
}

fn explained(error: RosError, flags: &ClientFlags) -> anyhow::Error {
    match error {
        RosError::Timeout(reason) => {
            let node = flags.node.as_deref().unwrap_or("of a robot or an operator");
            let looked = Surroundings::of_this_process().explain(node, "/…/switchboard_robot");
            anyhow::anyhow!("{reason}\n{looked}")
        }
        other => other.into(),
    }
}
