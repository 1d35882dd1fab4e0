//! `switchboard demo`: a server, robots and an operator on this machine, each in its own ROS graph.
//!
//! Everything that is shown comes from real processes: the roles of this program, the simulated robots and a driver,
//! which know nothing of Switchboard, and `switchboard status --watch --json` in the server's graph.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::Context as _;
use clap::Args;
use tokio::{
    sync::mpsc,
    time::{Instant, MissedTickBehavior, interval, sleep_until, timeout},
};

use self::{
    plan::{Part, Plan},
    processes::{Line, Processes},
    state::{Check, State},
};
use super::{
    Outcome, UsageError,
    exchange::{quiet_logging, runtime},
    simulate::parse_seconds,
    table::Paint,
    terminal::{self, Screen, Terminal},
};
use crate::{node::signals::asked_to_stop, ros};

mod plan;
mod processes;
mod state;
mod view;

const EXAMPLES: &str = "\
Examples:
  switchboard demo                   until Ctrl-C
  switchboard demo --seconds 30      ends by itself; exit code 0 if everything worked
  switchboard demo --robots 5 --port 7420

Each graph is a ROS_DOMAIN_ID of its own, seen on this machine only. What is printed at the beginning shows how to look
into each of them from another terminal.";

#[derive(Debug, Clone, PartialEq, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Flags {
    /// Simulated robots: r1, r2, …
    #[arg(long, value_name = "N", default_value = "2", value_parser = clap::value_parser!(u16).range(1..=plan::ROBOTS_MAX as i64))]
    robots: u16,
    /// End after so many seconds, with a summary [default: at Ctrl-C]
    #[arg(long, value_name = "S", value_parser = parse_seconds)]
    seconds: Option<Duration>,
    /// TCP port of the exchange; 0 takes any free one
    #[arg(long, value_name = "PORT", default_value = "0")]
    port: u16,
    /// ROS_DOMAIN_ID of the server; the robots and the operator get the next ones [default: the first free ones from 60]
    #[arg(long, value_name = "ID")]
    domain_base: Option<u16>,
    /// Keep the database, the exports and the logs even if everything worked
    #[arg(long)]
    keep: bool,
}

/// How often the picture is drawn, and how often it is looked whether all processes live.
const TICK: Duration = Duration::from_millis(500);
/// How long the server may take to open its port. ROS starts within a second; a loaded machine takes longer.
const SERVER_PATIENCE: Duration = Duration::from_secs(30);
/// How long a server that runs may take to open its port.
const OPENING_PATIENCE: Duration = Duration::from_secs(3);
/// How long one export may take, and how long after a failed one the next is tried.
const EXPORT_PATIENCE: Duration = Duration::from_secs(15);
const EXPORT_RETRY: Duration = Duration::from_secs(3);
/// Time after which everything has usually worked once.
const TIME_NEEDED: Duration = Duration::from_secs(12);
/// Lines of the processes that wait to be looked at.
const LINES_WAITING: usize = 256;
/// Lines of a log that are shown when something failed.
const TAIL: usize = 15;

pub(super) fn run(flags: &Flags) -> anyhow::Result<Outcome> {
    quiet_logging()?;
    let plan = Plan::new(flags.robots, flags.port, flags.domain_base, plan::domain_is_free, ros::distro())
        .map_err(UsageError)?;
    let folder = tempfile::Builder::new()
        .prefix("switchboard-demo-")
        .tempdir()
        .context("a temporary folder cannot be made; set TMPDIR to a folder that can be written to")?;
    plan.write_files(folder.path()).context("the demo's files cannot be written")?;
    let outcome = runtime()?.block_on(Demo::new(plan, folder.path()).run(flags.seconds))?;
    if flags.keep || outcome == Outcome::Failed {
        let kept = folder.keep();
        terminal::print_line(&format!("database, exports and logs are kept in {}", kept.display()))?;
    }
    Ok(outcome)
}

struct Demo<'a> {
    plan: Plan,
    folder: &'a Path,
    processes: Processes,
    lines: mpsc::Receiver<Line>,
    state: State,
    begun: Instant,
    screen: Screen,
}

/// How the waiting for something ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wait {
    Over,
    Interrupted,
}

impl<'a> Demo<'a> {
    fn new(plan: Plan, folder: &'a Path) -> Self {
        let (sender, lines) = mpsc::channel(LINES_WAITING);
        Demo {
            state: State::new(plan.robots.iter().map(|robot| robot.id.clone())),
            processes: Processes::new(folder.join("logs"), sender),
            plan,
            folder,
            lines,
            begun: Instant::now(),
            screen: Screen::default(),
        }
    }

    async fn run(mut self, limit: Option<Duration>) -> anyhow::Result<Outcome> {
        let mut stop = std::pin::pin!(asked_to_stop());
        let played = tokio::select! {
            () = &mut stop => Ok(Wait::Interrupted),
            played = self.play(limit) => played,
        };
        // However it ended: nothing stays behind.
        if let Ok(Wait::Interrupted) = played {
            self.note("asked to stop")?;
        }
        let ended_alone = self.processes.ended_alone();
        self.processes.stop_all().await;
        played?;
        self.summarise(&ended_alone)
    }

    async fn play(&mut self, limit: Option<Duration>) -> anyhow::Result<Wait> {
        self.note(&format!("logs and database are in {}", self.folder.display()))?;
        if let Some(warning) = &self.plan.warning {
            eprintln!("warning: {warning}");
        }
        for part in [Part::Server, Part::Watcher] {
            self.processes.start(&self.plan.command(&part, None))?;
        }
        if self.wait_for_port().await?.is_none() {
            return Ok(Wait::Over);
        }
        let endpoint = self.state.endpoint().context("the server has no port")?;
        for part in self.plan.parts_with_line() {
            self.processes.start(&self.plan.command(&part, Some(endpoint)))?;
        }
        terminal::print(&view::addresses(&self.plan, endpoint, Terminal::of_this_process()))?;
        self.watch(limit.map(|limit| Instant::now() + limit)).await?;
        Ok(Wait::Over)
    }

    /// Waits until the server's port is open; `None` if it will not be.
    async fn wait_for_port(&mut self) -> anyhow::Result<Option<()>> {
        let mut until = Instant::now() + SERVER_PATIENCE;
        let mut tick = interval(TICK);
        while self.state.endpoint().is_none() {
            tokio::select! {
                Some(line) = self.lines.recv() => {
                    self.handle_line(&line)?;
                    if self.state.closed_reason().is_some() {
                        // It runs but does not listen: unless that changes at once, it could not open its port.
                        until = until.min(Instant::now() + OPENING_PATIENCE);
                    }
                }
                _ = tick.tick() => {
                    if !self.processes.ended_alone().is_empty() {
                        return Ok(None);
                    }
                }
                () = sleep_until(until) => return Ok(None),
            }
        }
        Ok(Some(()))
    }

    async fn watch(&mut self, end: Option<Instant>) -> anyhow::Result<()> {
        let (exports_sender, mut exports) = mpsc::channel::<Result<PathBuf, String>>(1);
        let mut next_export = Instant::now();
        let mut exporting = false;
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = sleep_until(end.unwrap_or_else(Instant::now)), if end.is_some() => return Ok(()),
                Some(line) = self.lines.recv() => self.handle_line(&line)?,
                Some(outcome) = exports.recv() => {
                    exporting = false;
                    next_export = Instant::now() + EXPORT_RETRY;
                    if let Ok(path) = &outcome {
                        self.note(&format!("exported {}", path.display()))?;
                    }
                    self.state.handle_export(outcome);
                }
                _ = tick.tick() => {
                    if !self.processes.ended_alone().is_empty() {
                        return Ok(());
                    }
                    self.draw(end)?;
                    if self.state.everybody_was_on() && !self.state.is_exported() && !exporting && Instant::now() >= next_export {
                        exporting = true;
                        let export = export(self.plan.export_command(), self.plan.export_file(self.folder), self.state.ids());
                        let sender = exports_sender.clone();
                        tokio::spawn(async move {
                            let outcome = timeout(EXPORT_PATIENCE, export).await;
                            // Nobody waits for it if the demo is over.
                            let _ = sender.send(outcome.unwrap_or_else(|_| Err("the export took too long".to_owned()))).await;
                        });
                    }
                }
            }
        }
    }

    fn handle_line(&mut self, line: &Line) -> anyhow::Result<()> {
        for news in self.state.handle_line(&line.part, &line.text) {
            self.note(&news)?;
        }
        Ok(())
    }

    /// Tells what happened, where the picture does not show it.
    fn note(&self, news: &str) -> anyhow::Result<()> {
        if !Terminal::of_this_process().is_terminal || self.state.endpoint().is_none() {
            terminal::print_line(&format!("{:6.1} s  {news}", self.begun.elapsed().as_secs_f64()))?;
        }
        Ok(())
    }

    fn draw(&mut self, end: Option<Instant>) -> anyhow::Result<()> {
        let terminal = Terminal::of_this_process();
        if terminal.is_terminal {
            let left = end.map(|end| end.saturating_duration_since(Instant::now()));
            let picture = view::picture(&self.state, left, terminal);
            self.screen.draw(&picture, terminal)?;
        }
        Ok(())
    }

    fn summarise(&self, ended_alone: &[String]) -> anyhow::Result<Outcome> {
        let terminal = Terminal::of_this_process();
        let mut checks = self.state.checks();
        checks.insert(0, Check::all_stayed(ended_alone));
        let mut text = format!("\nsummary after {:.0} s:\n", self.begun.elapsed().as_secs_f64());
        let mut suspects: Vec<Part> = Vec::new();
        for check in &checks {
            let (word, paint) = if check.passed { ("ok  ", Paint::Good) } else { ("FAIL", Paint::Bad) };
            text.push_str(&format!("  {}  {}: {}\n", paint.apply(word, terminal.colour), check.what, check.finding));
            if !check.passed {
                suspects
                    .extend(check.suspects.iter().filter(|part| !suspects.contains(part)).cloned().collect::<Vec<_>>());
            }
        }
        terminal::print(&text)?;
        if checks.iter().all(|check| check.passed) {
            terminal::print_line("everything worked")?;
            return Ok(Outcome::Fine);
        }
        if ended_alone.is_empty() && self.state.endpoint().is_some() && self.begun.elapsed() < TIME_NEEDED {
            let needed = TIME_NEEDED.as_secs();
            terminal::print_line(&format!("the demo needs about {needed} s to show everything; give it more time"))?;
        }
        for part in suspects {
            self.show_log(&part)?;
        }
        Ok(Outcome::Failed)
    }

    fn show_log(&self, part: &Part) -> anyhow::Result<()> {
        let path = self.processes.log_of(&part.to_string());
        let Ok(log) = std::fs::read_to_string(&path) else { return Ok(()) };
        let lines: Vec<&str> = log.lines().collect();
        terminal::print_line(&format!("\nthe end of {}:", path.display()))?;
        for line in &lines[lines.len().saturating_sub(TAIL)..] {
            terminal::print_line(&format!("  {}", super::table::harmless(line)))?;
        }
        Ok(())
    }
}

/// Exports the client table with the command line, as a person would, and looks at the file.
async fn export(command: processes::Start, file: PathBuf, ids: Vec<String>) -> Result<PathBuf, String> {
    let output = processes::run_to_end(&command).await.map_err(|error| format!("{error:#}"))?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).trim().to_owned());
    }
    let text = tokio::fs::read_to_string(&file).await.map_err(|error| format!("{}: {error}", file.display()))?;
    state::missing_from_csv(&text, &ids).map_or(Ok(file), Err)
}
