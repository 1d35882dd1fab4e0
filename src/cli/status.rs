//! `switchboard status`: who is connected and what goes through.

use std::{sync::Arc, time::Duration};

use clap::Args;
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::{
    Outcome,
    exchange::{Exchange, ExchangeFlags, with_exchange},
    report::StatusReport,
    terminal::{self, Screen, Terminal},
};
use crate::{node::signals::asked_to_stop, status::ServerStatus};

/// How often the picture is drawn anew, so that a server that fell silent is noticed.
const REDRAW_PERIOD: Duration = Duration::from_secs(1);
/// Silence after which the picture says that it is old: the server publishes at least once a second by default.
const SILENCE: Duration = Duration::from_secs(3);

const EXAMPLES: &str = "\
Examples:
  switchboard status
  switchboard status --watch
  switchboard status --json | jq '.clients[] | select(.state == \"ON\") | .id'

A state with an exclamation mark, such as ON!, has problems that are listed below the table.
On a narrow terminal NOTE is cut short first; then NOTE, ADDRESS, RTT, OUT, IN, DROP, FOR and KIND are left out, in
this order.";

#[derive(Debug, Clone, PartialEq, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Flags {
    /// Keep showing it, with traffic per second, until Ctrl-C
    #[arg(long)]
    watch: bool,
    /// Write JSON, one line per status with --watch: times in RFC 3339, lengths of time in seconds
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    exchange: ExchangeFlags,
}

pub(super) fn run(flags: &Flags) -> anyhow::Result<Outcome> {
    with_exchange(&flags.exchange, async |exchange| {
        let first = exchange.status().await?;
        if flags.watch {
            tokio::select! {
                () = asked_to_stop() => {}
                outcome = watch(&exchange, &first, flags) => outcome?,
            }
        } else if flags.json {
            terminal::print_line(&serde_json::to_string_pretty(&StatusReport::from(&*first))?)?;
        } else {
            let terminal = Terminal::of_this_process();
            terminal::print(&StatusReport::from(&*first).render(None, terminal.width, terminal.colour))?;
        }
        Ok(Outcome::Fine)
    })
}

async fn watch(exchange: &Exchange, first: &Arc<ServerStatus>, flags: &Flags) -> anyhow::Result<()> {
    let mut statuses = exchange.client.status();
    let mut picture = Picture::new(StatusReport::from(&**first), flags.json);
    picture.show()?;
    statuses.mark_changed();
    let mut tick = interval(REDRAW_PERIOD);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            changed = statuses.changed() => {
                changed.map_err(|_| anyhow::anyhow!("the ROS side has stopped"))?;
                let latest = statuses.borrow_and_update().clone();
                if let Some(latest) = latest.filter(|latest| latest.stamp != picture.latest.stamp) {
                    picture.handle_status(StatusReport::from(&*latest));
                    picture.show()?;
                }
            }
            _ = tick.tick() => picture.show_silence()?,
        }
    }
}

/// What `--watch` shows.
struct Picture {
    latest: StatusReport,
    /// About a second older than the latest, for traffic per second.
    earlier: Option<StatusReport>,
    arrived: Instant,
    json: bool,
    screen: Screen,
}

impl Picture {
    fn new(latest: StatusReport, json: bool) -> Self {
        Picture { latest, earlier: None, arrived: Instant::now(), json, screen: Screen::default() }
    }

    fn handle_status(&mut self, latest: StatusReport) {
        // A status that follows at once, because something changed, is too near for a rate.
        let nanos = self.earlier.as_ref().map_or(i64::MAX, |earlier| self.latest.stamp.nanos_since(earlier.stamp));
        let previous = std::mem::replace(&mut self.latest, latest);
        if nanos >= 900_000_000 {
            self.earlier = Some(previous);
        }
        self.arrived = Instant::now();
    }

    fn show(&mut self) -> anyhow::Result<()> {
        if self.json {
            terminal::print_line(&serde_json::to_string(&self.latest)?)?;
            return Ok(());
        }
        let terminal = Terminal::of_this_process();
        let mut text = self.latest.render(self.earlier.as_ref(), terminal.width, terminal.colour);
        let silence = self.arrived.elapsed();
        if silence > SILENCE {
            text.push_str(&format!("\nno status for {:.0} s: has the server stopped?\n", silence.as_secs_f64()));
        }
        if terminal.is_terminal {
            self.screen.draw(&text, terminal)?;
        } else {
            terminal::print_line(&text)?;
        }
        Ok(())
    }

    fn show_silence(&mut self) -> anyhow::Result<()> {
        if self.arrived.elapsed() > SILENCE && !self.json { self.show() } else { Ok(()) }
    }
}
