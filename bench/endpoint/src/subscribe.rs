//! The receiving end.

use std::time::{Duration, Instant};

use anyhow::ensure;
use serde_json::{Value, json};

use crate::{
    Subscribe,
    message::{Received, parse},
    orders::Orders,
    ros::{Node, steady_now},
    tell,
};

/// Pause after a sample that is none.
const AFTER_BROKEN: Duration = Duration::from_millis(1);
/// Messages taken before the subscriber looks for orders.
const TAKES: usize = 1_000;
/// How often the subscriber looks for orders while no message comes.
const LOOK_UP: Duration = Duration::from_millis(50);
/// Silence after which nothing is expected any more, once the orchestrator has said how many messages were sent. Longer
/// than the 3 s after which Fast DDS asks again whether everything has arrived.
const QUIET: Duration = Duration::from_secs(4);
/// What comes later than this after the last message was sent does not count: a line that is so far behind has failed.
const PATIENCE: Duration = Duration::from_secs(20);
/// Part of what came whose rate is told. The last messages may have had to be sent again after seconds, which says
/// nothing about the rate.
const RATED: f64 = 0.95;

/// Tells when the first message is there, then receives until as many have come as were sent (the orchestrator says how
/// many: a number on a line), or nothing comes any more, and tells what came.
pub(crate) fn run(settings: &Subscribe) -> anyhow::Result<()> {
    let orders = Orders::listen();
    let node = Node::join("bench_subscriber")?;
    let mut subscription = node.subscription(&settings.topic, settings.history)?;
    let deadline = Instant::now() + Duration::from_secs(settings.limit);
    let mut tally = Tally::new(settings.count)?;
    let mut sent: Option<(u64, Instant)> = None;
    let mut heard = Instant::now();

    tell(&json!({ "event": "ready" }));
    let mut greeted = false;
    while Instant::now() < deadline {
        subscription.wait(LOOK_UP)?;
        for _ in 0..TAKES {
            let Some(bytes) = subscription.take()? else { break };
            let now = steady_now()?;
            heard = Instant::now();
            match parse(bytes) {
                Some(Received::Numbered { number, stamp }) => tally.count(number, stamp, now),
                Some(Received::WarmUp) if !greeted => {
                    greeted = true;
                    tell(&json!({ "event": "first" }));
                }
                Some(Received::WarmUp) => {}
                // Fast DDS can hand out an empty sample of a foreign middleware again and again, as fast as it is asked.
                None => {
                    tally.broken += 1;
                    std::thread::sleep(AFTER_BROKEN);
                    break;
                }
            }
        }
        if let Some(line) = orders.now()? {
            sent = Some((line.trim().parse()?, Instant::now()));
            heard = Instant::now();
        }
        if let Some((sent, since)) = sent
            && (tally.delivered() >= sent || heard.elapsed() >= QUIET || since.elapsed() >= PATIENCE)
        {
            break;
        }
    }
    tell(&tally.report());
    Ok(())
}

/// What has come.
struct Tally {
    /// By number, whether it has come.
    seen: Vec<bool>,
    /// One-way times [ns].
    latencies: Vec<u64>,
    /// When they came [ns].
    arrivals: Vec<u64>,
    duplicates: u64,
    disordered: u64,
    broken: u64,
    last: Option<u64>,
}

/// Most messages of a run: a table of them is kept.
const COUNT_MAX: usize = 10_000_000;

impl Tally {
    fn new(count: usize) -> anyhow::Result<Tally> {
        ensure!(count <= COUNT_MAX, "--count has to be at most {COUNT_MAX}");
        Ok(Tally {
            seen: vec![false; count],
            latencies: Vec::with_capacity(count),
            arrivals: Vec::with_capacity(count),
            duplicates: 0,
            disordered: 0,
            broken: 0,
            last: None,
        })
    }

    fn count(&mut self, number: u64, stamp: u64, now: u64) {
        let Some(seen) = usize::try_from(number).ok().and_then(|index| self.seen.get_mut(index)) else {
            self.broken += 1;
            return;
        };
        if std::mem::replace(seen, true) {
            self.duplicates += 1;
            return;
        }
        if self.last.is_some_and(|last| number < last) {
            self.disordered += 1;
        }
        self.last = Some(number);
        self.latencies.push(now.saturating_sub(stamp));
        self.arrivals.push(now);
    }

    fn delivered(&self) -> u64 {
        self.latencies.len() as u64
    }

    fn report(&mut self) -> Value {
        self.latencies.sort_unstable();
        json!({
            "event": "received",
            "delivered": self.delivered(),
            "duplicates": self.duplicates,
            "disordered": self.disordered,
            "broken": self.broken,
            "p50_us": quantile(&self.latencies, 0.5),
            "p99_us": quantile(&self.latencies, 0.99),
            "max_us": quantile(&self.latencies, 1.0),
            "rate_hz": self.rate(),
        })
    }

    /// Messages per second, of the first [`RATED`] that came.
    fn rate(&self) -> Option<f64> {
        let rated = ((self.arrivals.len() as f64 * RATED).ceil() as usize).max(2);
        let (first, last) = (*self.arrivals.first()?, *self.arrivals.get(rated - 1)?);
        (last > first).then(|| (rated - 1) as f64 / ((last - first) as f64 / 1e9))
    }
}

/// The value below which that part of `sorted` lies [µs] (nearest rank).
fn quantile(sorted: &[u64], part: f64) -> Option<f64> {
    let rank = (part * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).map(|&nanos| nanos as f64 / 1e3)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_of_the_nearest_rank() {
        let sorted: Vec<u64> = (1..=100).map(|n| n * 1_000).collect();
        assert_eq!(quantile(&sorted, 0.5), Some(50.0));
        assert_eq!(quantile(&sorted, 0.99), Some(99.0));
        assert_eq!(quantile(&sorted, 1.0), Some(100.0));
        assert_eq!(quantile(&[], 0.5), None);
    }

    #[test]
    fn a_message_counts_once() {
        let mut tally = Tally::new(3).unwrap();
        for (number, now) in [(0, 1_000), (2, 501_000), (2, 502_000), (1, 1_001_000), (9, 2_000_000)] {
            tally.count(number, 0, now);
        }
        assert_eq!((tally.delivered(), tally.duplicates, tally.disordered, tally.broken), (3, 1, 1, 1));
        assert_eq!(tally.rate(), Some(2_000.0));
    }

    #[test]
    fn a_straggler_does_not_change_the_rate() {
        let mut tally = Tally::new(100).unwrap();
        for number in 0..99 {
            tally.count(number, 0, number * 1_000_000);
        }
        tally.count(99, 0, 3_000_000_000);
        assert_eq!(tally.rate(), Some(1_000.0));
    }
}
