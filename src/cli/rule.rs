//! `switchboard rule`: adds a rule to those of a running client, or removes one.

use clap::{Args, Subcommand};

use super::{
    Outcome,
    routes::{ClientFlags, with_client},
    terminal,
};
use crate::{
    ids::RuleId,
    routes::{RouteReply, RouteRequest, Section},
};

const EXAMPLES: &str = "\
Examples:
  switchboard rule add offer /scan
  switchboard rule add want '{topic: /*/odom, rate: 5}'
  switchboard rule add offer '{never: /camera/cabin/**}'
  switchboard rule remove 3               the number is in: switchboard routes --rules

A rule counts at once, until it is removed or the program ends. One that is to stay belongs into the rules file;
config/robot_rules.yaml of the package explains every key.";

#[derive(Debug, Clone, PartialEq, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Flags {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Clone, PartialEq, Subcommand)]
enum Verb {
    /// Put a rule in force
    Add {
        /// offer, want or accept
        #[arg(value_name = "SECTION")]
        section: Section,
        /// As in a rules file: a name, or keys in braces
        #[arg(value_name = "RULE")]
        rule: String,
        /// Try it before the other rules of its section instead of after them
        #[arg(long)]
        first: bool,
        #[command(flatten)]
        client: ClientFlags,
    },
    /// Take a rule out of force, wherever it came from
    Remove {
        /// Its number
        #[arg(value_name = "ID")]
        id: u32,
        #[command(flatten)]
        client: ClientFlags,
    },
}

pub(super) fn run(flags: Flags) -> anyhow::Result<Outcome> {
    let (client, request) = match flags.verb {
        Verb::Add { section, rule, first, client } => (client, RouteRequest::AddRule { section, rule, first }),
        Verb::Remove { id, client } => (client, RouteRequest::RemoveRule(RuleId(id))),
    };
    with_client(&client, async |client| {
        match client.ask(request).await? {
            RouteReply::Added(id) => terminal::print_line(&format!("rule {id} is in force at {}", client.node()))?,
            RouteReply::Removed(rule) => terminal::print_line(&format!("removed from {}: {rule}", client.node()))?,
            RouteReply::Listed(_) | RouteReply::Released(_) => {
                anyhow::bail!("{} answered something else", client.node())
            }
        }
        Ok(Outcome::Fine)
    })
}
