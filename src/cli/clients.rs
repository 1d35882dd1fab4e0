//! `switchboard clients`: lists the clients that the registry knows.

use clap::Args;

use super::{
    Outcome,
    exchange::{ExchangeFlags, with_exchange},
    report::{ClientReport, clients_table},
    terminal::{self, Terminal},
};
use crate::{
    admin::{AdminReply, AdminRequest},
    net::now,
};

#[derive(Debug, Clone, PartialEq, Args)]
#[command(after_help = "Examples:\n  switchboard clients --connected\n  switchboard clients --json | jq -r '.[].id'")]
pub(super) struct Flags {
    /// Leave out those that are not connected
    #[arg(long)]
    connected: bool,
    /// Write JSON: a list of clients, times in RFC 3339, lengths of time in seconds
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    exchange: ExchangeFlags,
}

pub(super) fn run(flags: &Flags) -> anyhow::Result<Outcome> {
    with_exchange(&flags.exchange, async |exchange| {
        let request = AdminRequest::ListClients { connected_only: flags.connected };
        if let AdminReply::Clients(clients) = exchange.ask(request).await? {
            let clients: Vec<ClientReport> = clients.iter().map(ClientReport::from).collect();
            if flags.json {
                terminal::print_line(&serde_json::to_string_pretty(&clients)?)?;
            } else if clients.is_empty() {
                terminal::print_line(if flags.connected {
                    "no client is connected"
                } else {
                    "no client is known yet"
                })?;
            } else {
                let terminal = Terminal::of_this_process();
                let table = clients_table(&clients, now().wall, None);
                terminal::print(&table.render(terminal.width, terminal.colour))?;
            }
        }
        Ok(Outcome::Fine)
    })
}
