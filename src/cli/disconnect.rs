//! `switchboard disconnect`: ends a client's session.

use clap::Args;

use super::{
    Outcome,
    exchange::{ExchangeFlags, with_exchange},
    terminal,
};
use crate::{admin::AdminRequest, ids::ClientId};

#[derive(Debug, Clone, PartialEq, Args)]
#[command(after_help = "Example:\n  switchboard disconnect r1 --reason \"wrong robot\"")]
pub(super) struct Flags {
    /// Which client
    #[arg(value_name = "ID")]
    id: ClientId,
    /// What it is told
    #[arg(long, value_name = "WORDS", default_value = "disconnected by the administrator")]
    reason: String,
    #[command(flatten)]
    exchange: ExchangeFlags,
}

pub(super) fn run(flags: Flags) -> anyhow::Result<Outcome> {
    with_exchange(&flags.exchange, async |exchange| {
        let request = AdminRequest::DisconnectClient { id: flags.id.clone(), reason: flags.reason.clone() };
        exchange.ask(request).await?;
        terminal::print_line(&format!("{} was disconnected; it comes back if it still wants to", flags.id))?;
        Ok(Outcome::Fine)
    })
}
