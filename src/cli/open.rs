//! `switchboard open`: opens the exchange's port.

use clap::Args;

use super::{
    Outcome,
    exchange::{ExchangeFlags, with_exchange},
    terminal,
};
use crate::admin::{AdminReply, AdminRequest};

#[derive(Debug, Clone, PartialEq, Args)]
#[command(after_help = "Examples:\n  switchboard open\n  switchboard open --address 0.0.0.0 --port 7421")]
pub(super) struct Flags {
    /// IP address or host name to listen on [default: the server's parameter "address"]
    #[arg(long, value_name = "ADDRESS")]
    address: Option<String>,
    /// TCP port to listen on [default: the server's parameter "port"]
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    port: Option<u16>,
    #[command(flatten)]
    exchange: ExchangeFlags,
}

pub(super) fn run(flags: Flags) -> anyhow::Result<Outcome> {
    with_exchange(&flags.exchange, async |exchange| {
        let request = AdminRequest::Open { address: flags.address.clone(), port: flags.port };
        if let AdminReply::Opened(endpoint) = exchange.ask(request).await? {
            terminal::print_line(&format!("open on {endpoint}"))?;
        }
        Ok(Outcome::Fine)
    })
}
