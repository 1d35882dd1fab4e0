//! The publishing end.

use std::time::{Duration, Instant};

use anyhow::ensure;
use serde_json::json;

use crate::{
    Publish, message,
    message::Message,
    orders::Orders,
    ros::{History, Node, Publisher, steady_now},
    tell,
};

/// Pause between messages that only ask whether the way is there.
const ASK_PERIOD: Duration = Duration::from_millis(100);
/// How long messages are sent that do not count, at the rate of those that do, before these: caches and buffers are warm
/// then, and threads settled.
const WARM_UP: Duration = Duration::from_millis(700);
/// Silence before the first message that counts: nothing of the warm-up is on the way any more.
const SETTLE: Duration = Duration::from_millis(300);

/// Sends messages that do not count until the orchestrator says `go`, then those that do, and tells how many the
/// middleware took.
pub(crate) fn run(settings: &Publish) -> anyhow::Result<()> {
    ensure!(settings.size >= message::SIZE_MIN, "--size has to be at least {}", message::SIZE_MIN);
    let orders = Orders::listen();
    let node = Node::join("bench_publisher")?;
    let publisher = node.publisher(&settings.topic, settings.history)?;
    let mut message = Message::new(settings.size);
    let deadline = Instant::now() + Duration::from_secs(settings.limit);

    tell(&json!({ "event": "ready" }));
    while orders.within(ASK_PERIOD)?.is_none() {
        ensure!(Instant::now() < deadline, "nobody said go within {} s", settings.limit);
        if publisher.matched() > 0 {
            publisher.publish(message.warm_up());
        }
    }
    let period = settings.rate.map(|rate| Duration::from_secs_f64(1.0 / rate));
    if let Some(period) = period {
        let mut pace = Pace::new(period);
        let until = Instant::now() + WARM_UP;
        while Instant::now() < until {
            pace.wait();
            publisher.publish(message.warm_up());
        }
    }
    std::thread::sleep(SETTLE);

    let began = Instant::now();
    let mut pace = period.map(Pace::new);
    let mut sent = 0;
    let mut refused: u64 = 0;
    for number in 0..settings.count {
        if let Some(pace) = &mut pace {
            pace.wait();
        }
        if send(&publisher, &mut message, number, settings.history, deadline, &mut refused)? {
            sent += 1;
        }
        if orders.now()?.is_some() || Instant::now() >= deadline {
            break;
        }
    }
    let seconds = began.elapsed().as_secs_f64();
    tell(&json!({ "event": "sent", "sent": sent, "refused": refused, "seconds": seconds }));
    // Whoever has not got the last messages yet still needs the publisher.
    while orders.within(ASK_PERIOD)?.is_none() && Instant::now() < deadline {}
    Ok(())
}

/// Publishes a message that counts. A KEEP_ALL publisher tries again until the middleware has taken it, each time with
/// the stamp of the first attempt.
fn send(
    publisher: &Publisher<'_>,
    message: &mut Message,
    number: u64,
    history: History,
    deadline: Instant,
    refused: &mut u64,
) -> anyhow::Result<bool> {
    let bytes = message.numbered(number, steady_now()?);
    loop {
        if publisher.publish(bytes) {
            return Ok(true);
        }
        *refused += 1;
        if history == History::KeepLast || Instant::now() >= deadline {
            return Ok(false);
        }
    }
}

/// Keeps a rate by the clock, without drift.
struct Pace {
    period: Duration,
    next: Instant,
}

impl Pace {
    fn new(period: Duration) -> Pace {
        Pace { period, next: Instant::now() }
    }

    fn wait(&mut self) {
        std::thread::sleep(self.next.saturating_duration_since(Instant::now()));
        self.next += self.period;
    }
}
