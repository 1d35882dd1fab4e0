//! The two ends of the benchmark, the same for every way between them. What they have to say goes to standard output, a
//! JSON object a line; `bench/bridge.py` tells them on standard input how to go on.

use std::io::Write as _;

use clap::{Args, Parser, Subcommand};

mod message;
mod orders;
mod publish;
mod ros;
mod subscribe;

use ros::History;

#[derive(Parser)]
#[command(about)]
struct Arguments {
    #[command(subcommand)]
    end: End,
}

#[derive(Subcommand)]
enum End {
    /// Sends numbered messages with stamps
    Publish(Publish),
    /// Counts them and measures how long they took
    Subscribe(Subscribe),
}

#[derive(Args)]
struct Publish {
    /// Topic
    #[arg(long)]
    topic: String,
    /// Content of a message [bytes]
    #[arg(long)]
    size: usize,
    /// Messages that count
    #[arg(long)]
    count: u64,
    /// Messages per second; as fast as it goes without
    #[arg(long)]
    rate: Option<f64>,
    /// How much the publisher keeps
    #[arg(long, value_enum)]
    history: History,
    /// End after so many seconds whatever happens
    #[arg(long, default_value_t = 120)]
    limit: u64,
}

#[derive(Args)]
struct Subscribe {
    /// Topic
    #[arg(long)]
    topic: String,
    /// Messages that count
    #[arg(long)]
    count: usize,
    /// How much the subscription keeps
    #[arg(long, value_enum)]
    history: History,
    /// End after so many seconds whatever happens
    #[arg(long, default_value_t = 120)]
    limit: u64,
}

fn main() -> anyhow::Result<()> {
    match Arguments::parse().end {
        End::Publish(settings) => publish::run(&settings),
        End::Subscribe(settings) => subscribe::run(&settings),
    }
}

/// Says something to the orchestrator.
fn tell(what: &serde_json::Value) {
    let mut out = std::io::stdout().lock();
    // If nobody reads any more, the end of standard input ends this program.
    let _ = writeln!(out, "{what}").and_then(|()| out.flush());
}
