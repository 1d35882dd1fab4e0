//! `switchboard close`: says goodbye to every client and closes the port.

use clap::Args;

use super::{
    Outcome,
    exchange::{ExchangeFlags, with_exchange},
    terminal,
};
use crate::admin::{AdminReply, AdminRequest};

#[derive(Debug, Clone, PartialEq, Args)]
#[command(after_help = "Example:\n  switchboard close --reason \"maintenance until noon\"\n\n\
                        The server keeps running; switchboard open takes the clients back.")]
pub(super) struct Flags {
    /// What the clients are told
    #[arg(long, value_name = "WORDS", default_value = "closed by the administrator")]
    reason: String,
    #[command(flatten)]
    exchange: ExchangeFlags,
}

pub(super) fn run(flags: Flags) -> anyhow::Result<Outcome> {
    with_exchange(&flags.exchange, async |exchange| {
        let request = AdminRequest::Close { reason: flags.reason.clone() };
        if let AdminReply::Closed { clients } = exchange.ask(request).await? {
            let told = match clients {
                1 => "1 client was told".to_owned(),
                _ => format!("{clients} clients were told"),
            };
            terminal::print_line(&format!("closed; {told}"))?;
        }
        Ok(Outcome::Fine)
    })
}
