//! `switchboard traffic`: what goes over each topic, how old it is, and what is dropped.

use std::time::Duration;

use clap::Args;
use serde::{Deserialize, Serialize};

use super::{
    Outcome,
    exchange::{ExchangeFlags, Surroundings, quiet_logging, runtime},
    table::{Align, Cell, Column, Paint, Table},
    terminal::{self, Screen, Terminal},
    units,
};
use crate::{
    node::signals::asked_to_stop,
    ros::{RosError, TrafficWatch},
    traffic::{Cause, Direction, Drops, TopicTraffic, TrafficReport},
};

const EXAMPLES: &str = "\
Examples:
  switchboard traffic                            the exchange: each topic in, and out to each client
  switchboard traffic --watch
  switchboard traffic --node /switchboard_robot  a client, in its own graph
  switchboard traffic --json | jq '.topics[] | select(.dropped_late > 0)'

Ages are those of recent messages when they went on, by the time at which they were published. On a narrow terminal topics
are cut short first; then THIN, BYTES, MESSAGES, P99, DROPPED and AGE are left out, in this order.";

#[derive(Debug, Clone, PartialEq, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Flags {
    /// Keep showing it until Ctrl-C
    #[arg(long)]
    watch: bool,
    /// Write JSON, one line per report with --watch: lengths of time in seconds
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    exchange: ExchangeFlags,
}

pub(super) fn run(flags: &Flags) -> anyhow::Result<Outcome> {
    quiet_logging()?;
    runtime()?.block_on(async {
        let mut reports = TrafficWatch::connect(&flags.exchange.node)?;
        let mut screen = Screen::default();
        loop {
            let report = tokio::select! {
                () = asked_to_stop() => return Ok(Outcome::Fine),
                report = reports.next(flags.exchange.timeout) => report.map_err(|error| explained(error, flags))?,
            };
            show(&report, flags, &mut screen)?;
            if !flags.watch {
                return Ok(Outcome::Fine);
            }
        }
    })
}

fn explained(error: RosError, flags: &Flags) -> anyhow::Error {
    match error {
        RosError::Timeout(reason) => {
            let looked = Surroundings::of_this_process().explain(&flags.exchange.node, "/…/switchboard");
            anyhow::anyhow!("{reason}\n{looked}")
        }
        other => other.into(),
    }
}

fn show(report: &TrafficReport, flags: &Flags, screen: &mut Screen) -> anyhow::Result<()> {
    let shown = ShownReport::from(report);
    if flags.json {
        let json = if flags.watch { serde_json::to_string(&shown) } else { serde_json::to_string_pretty(&shown) };
        terminal::print_line(&json?)?;
        return Ok(());
    }
    let terminal = Terminal::of_this_process();
    let text = shown.render(terminal.width, terminal.colour);
    if flags.watch && terminal.is_terminal {
        screen.draw(&text, terminal)?;
    } else {
        terminal::print(&text)?;
    }
    Ok(())
}

/// Traffic as `--json` shows it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct ShownReport {
    stamp: String,
    topics: Vec<ShownTopic>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct ShownTopic {
    topic: String,
    client: String,
    type_name: String,
    /// in, out
    direction: String,
    received: u64,
    sent: u64,
    bytes: u64,
    thinned: u64,
    dropped_lost: u64,
    dropped_overflow: u64,
    dropped_late: u64,
    dropped_refused: u64,
    dropped_failed: u64,
    rate: f64,
    latency_p50: Option<f64>,
    latency_p99: Option<f64>,
    #[serde(skip)]
    drops: String,
}

impl From<&TrafficReport> for ShownReport {
    fn from(report: &TrafficReport) -> Self {
        ShownReport {
            stamp: units::rfc3339(report.stamp),
            topics: report.topics.iter().map(ShownTopic::from).collect(),
        }
    }
}

impl From<&TopicTraffic> for ShownTopic {
    fn from(traffic: &TopicTraffic) -> Self {
        let TopicTraffic { name, received, sent, bytes, thinned, dropped, rate, latency_p50, latency_p99 } = traffic;
        let of = |cause| Drops::of(dropped, cause);
        ShownTopic {
            topic: name.topic.clone(),
            client: name.client.as_str().to_owned(),
            type_name: name.type_name.clone(),
            direction: if name.direction == Direction::In { "in" } else { "out" }.to_owned(),
            received: *received,
            sent: *sent,
            bytes: *bytes,
            thinned: *thinned,
            dropped_lost: of(Cause::Lost),
            dropped_overflow: of(Cause::Overflow),
            dropped_late: of(Cause::Late),
            dropped_refused: of(Cause::Refused),
            dropped_failed: of(Cause::Failed),
            rate: *rate,
            latency_p50: latency_p50.map(|age| age.as_secs_f64()),
            latency_p99: latency_p99.map(|age| age.as_secs_f64()),
            drops: dropped.to_string(),
        }
    }
}

impl ShownReport {
    fn render(&self, width: usize, colour: bool) -> String {
        if self.topics.is_empty() {
            return "nothing has gone over any topic yet: nobody subscribes to what others publish\n".to_owned();
        }
        let mut table = Table::new([
            Column::new("TOPIC", Align::Left, 0).flexible(),
            Column::new("", Align::Left, 0),
            Column::new("CLIENT", Align::Left, 0),
            Column::new("RATE", Align::Right, 0),
            Column::new("MESSAGES", Align::Right, 3),
            Column::new("BYTES", Align::Right, 2),
            Column::new("THIN", Align::Right, 1),
            Column::new("AGE", Align::Right, 6),
            Column::new("P99", Align::Right, 4),
            Column::new("DROPPED", Align::Left, 5),
        ]);
        for topic in &self.topics {
            table.push(topic.cells());
        }
        table.render(width, colour)
    }
}

impl ShownTopic {
    fn cells(&self) -> Vec<Cell> {
        let age = |age: Option<f64>| {
            age.and_then(|age| Duration::try_from_secs_f64(age).ok()).map_or_else(String::new, units::round_trip)
        };
        vec![
            Cell::painted(&self.topic, Paint::Strong),
            // As seen from the node that is asked.
            Cell::new(if self.direction == "in" { "←" } else { "→" }),
            Cell::new(&self.client),
            Cell::new(format!("{:.1}", self.rate)),
            Cell::new(self.sent.to_string()),
            Cell::new(units::bytes(self.bytes)),
            Cell::painted(if self.thinned > 0 { self.thinned.to_string() } else { String::new() }, Paint::Faint),
            Cell::new(age(self.latency_p50)),
            Cell::new(age(self.latency_p99)),
            Cell::painted(&self.drops, Paint::Bad),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        ids::ClientId,
        time::Wall,
        traffic::{Meter, MeterName},
    };

    fn report() -> TrafficReport {
        let name = |topic: &str, direction| MeterName {
            topic: topic.to_owned(),
            client: ClientId::new("r1").unwrap(),
            direction,
            type_name: "nav_msgs/msg/Odometry".to_owned(),
        };
        let now = crate::time::Mono(Duration::from_secs(1));
        let mut busy = Meter::default();
        for _ in 0..20 {
            busy.received(now);
            busy.sent(720, Some(Duration::from_millis(3)), now);
        }
        busy.dropped(Cause::Late, 2);
        let later = crate::time::Mono(Duration::from_millis(1_500));
        TrafficReport {
            stamp: Wall(1_795_357_800_000_000_000),
            topics: vec![
                busy.snapshot(name("/r1/odom", Direction::Out), later),
                Meter::default().snapshot(name("/r1/scan", Direction::In), later),
            ],
        }
    }

    #[test]
    fn the_table_names_topics_ages_and_causes() {
        assert_eq!(
            ShownReport::from(&report()).render(100, false),
            "TOPIC        CLIENT  RATE  MESSAGES    BYTES  THIN     AGE     P99  DROPPED\n\
             /r1/odom  →  r1      20.0        20  14.4 kB        3.00ms  3.00ms  2 late\n\
             /r1/scan  ←  r1       0.0         0      0 B\n"
        );
        let empty = ShownReport::from(&TrafficReport::default()).render(80, false);
        assert!(empty.contains("nobody subscribes"), "{empty}");
    }

    #[test]
    fn json_has_every_figure() {
        let json = serde_json::to_value(ShownReport::from(&report())).unwrap();
        assert_eq!((&json["topics"][0]["dropped_late"], &json["topics"][0]["sent"]), (&2.into(), &20.into()));
        assert_eq!(json["topics"][0]["latency_p50"], 0.003);
        assert!(json["topics"][1]["latency_p50"].is_null());
        assert_eq!(json["topics"][1]["direction"], "in");
    }
}
