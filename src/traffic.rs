//! What went over each topic: counted, with the present rate and how old messages are when they go on.
//!
//! A [`Meter`] counts one topic in one direction over one line. A [`Ledger`] holds the meters of a node, keeps them while
//! routes come and go, and is bounded.
//!
//! Every message that is received goes on or is dropped for a cause that is counted:
//! `received = sent + thinned + overflow + late + refused + failed`. What is `lost` never came.

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    hash::Hash,
    time::Duration,
};

use crate::{
    defaults,
    ids::ClientId,
    time::{Mono, Now, Wall},
};

/// Which way messages go, as seen from the exchange.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Direction {
    /// At a client: from its graph to the exchange. At the server: from the exchange to the client.
    Out,
    /// At a client: from the exchange into its graph. At the server: from the client to the exchange.
    In,
}

/// Why a message did not go on although somebody wanted it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Cause {
    /// It was published but never came to us.
    Lost,
    /// A queue was full.
    Overflow,
    /// It was too old.
    Late,
    /// It was not let through: somebody else holds the topic, it is too large, or it is not what its type says.
    Refused,
    /// The middleware did not take it.
    Failed,
}

impl Cause {
    /// All of them, in the order of `msg/TopicTraffic.msg`.
    pub const ALL: [Cause; 5] = [Cause::Lost, Cause::Overflow, Cause::Late, Cause::Refused, Cause::Failed];

    /// As it is shown.
    pub fn as_str(self) -> &'static str {
        match self {
            Cause::Lost => "lost",
            Cause::Overflow => "overflow",
            Cause::Late => "late",
            Cause::Refused => "refused",
            Cause::Failed => "failed",
        }
    }
}

/// Messages that were dropped, by cause.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Drops([u64; Cause::ALL.len()]);

impl Drops {
    /// Those of one cause.
    pub fn of(&self, cause: Cause) -> u64 {
        self.0[cause as usize]
    }

    /// All of them.
    pub fn total(&self) -> u64 {
        self.0.iter().fold(0, |sum, n| sum.saturating_add(*n))
    }

    /// Counts `n` more.
    pub fn add(&mut self, cause: Cause, n: u64) {
        let count = &mut self.0[cause as usize];
        *count = count.saturating_add(n);
    }

    /// Counts all of `more`.
    pub fn add_all(&mut self, more: &Drops) {
        for cause in Cause::ALL {
            self.add(cause, more.of(cause));
        }
    }

    /// What came on top of `earlier`.
    pub fn since(&self, earlier: &Drops) -> Drops {
        Drops(Cause::ALL.map(|cause| self.of(cause).saturating_sub(earlier.of(cause))))
    }
}

impl fmt::Display for Drops {
    /// As people read it: `3 late, 1 refused`; nothing if there are none.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counted = Cause::ALL.into_iter().filter(|cause| self.of(*cause) > 0);
        for (index, cause) in counted.enumerate() {
            write!(f, "{}{} {}", if index == 0 { "" } else { ", " }, self.of(cause), cause.as_str())?;
        }
        Ok(())
    }
}

/// What a meter belongs to. Ordered as it is shown.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MeterName {
    /// Name on the exchange, such as `/r1/odom`.
    pub topic: String,
    /// Whose line it goes over.
    pub client: ClientId,
    /// Which way.
    pub direction: Direction,
    /// Full type name.
    pub type_name: String,
}

/// What one meter says. As `msg/TopicTraffic.msg`.
#[derive(Debug, Clone, PartialEq)]
pub struct TopicTraffic {
    /// What it belongs to.
    pub name: MeterName,
    /// Messages that came.
    pub received: u64,
    /// Messages that went on.
    pub sent: u64,
    /// Payload bytes of those that went on; those that were given up in a queue later are still in it.
    pub bytes: u64,
    /// Messages left out as the rules want it: rate limits, `latest_only`.
    pub thinned: u64,
    /// Messages that were dropped.
    pub dropped: Drops,
    /// Messages that went on in the last second [1/s].
    pub rate: f64,
    /// Median age of recent messages when they went on; `None` if it was not measured.
    pub latency_p50: Option<Duration>,
    /// 99th percentile of the same.
    pub latency_p99: Option<Duration>,
}

/// The traffic of a node at one moment. As `msg/Traffic.msg`.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct TrafficReport {
    /// When this was true.
    pub stamp: Wall,
    /// Ordered by topic, client and direction.
    pub topics: Vec<TopicTraffic>,
}

/// The age of a message of `source` time, on a clock that is `offset` nanoseconds ahead of ours. What seems to come from
/// the future is new: clocks are never known to the microsecond.
pub fn age(source: Wall, offset: i64, now: Now) -> Duration {
    let here = Wall(source.0.saturating_sub(offset));
    Duration::from_nanos(u64::try_from(now.wall.nanos_since(here)).unwrap_or(0))
}

/// Counts one topic in one direction over one line.
#[derive(Debug, Clone, Default)]
pub struct Meter {
    received: u64,
    sent: u64,
    bytes: u64,
    thinned: u64,
    dropped: Drops,
    rate: RateWindow,
    /// The last ages [µs], the oldest overwritten first. A ring of the ages themselves, since 256 numbers are a kilobyte
    /// and give exact percentiles; a histogram would be as large and would have to forget by itself.
    ages: Vec<u32>,
    next_age: usize,
    used: Mono,
}

impl Meter {
    /// A message came.
    pub fn received(&mut self, now: Mono) {
        self.received += 1;
        self.used = now;
    }

    /// A message went on. `age` is how old it was by its source timestamp, if that is known.
    pub fn sent(&mut self, bytes: usize, age: Option<Duration>, now: Mono) {
        self.sent += 1;
        self.bytes = self.bytes.saturating_add(bytes as u64);
        self.rate.count(now);
        self.used = now;
        let Some(age) = age else { return };
        let micros = u32::try_from(age.as_micros()).unwrap_or(u32::MAX);
        if self.ages.len() < defaults::LATENCY_WINDOW {
            self.ages.push(micros);
        } else {
            self.ages[self.next_age] = micros;
            self.next_age = (self.next_age + 1) % self.ages.len();
        }
    }

    /// A message was left out as the rules want it.
    pub fn thinned(&mut self) {
        self.thinned += 1;
    }

    /// `n` messages that had gone on were left out of a queue later, as the rules want it.
    pub fn thinned_later(&mut self, n: u64) {
        self.sent = self.sent.saturating_sub(n);
        self.thinned = self.thinned.saturating_add(n);
    }

    /// `n` messages that came were dropped before they went on.
    pub fn dropped(&mut self, cause: Cause, n: u64) {
        self.dropped.add(cause, n);
    }

    /// `n` messages that had gone on, into a queue, were given up there because it was full or its connection ended.
    pub fn overflow(&mut self, n: u64) {
        self.dropped_later(Cause::Overflow, n);
    }

    /// `n` messages that had gone on, into a queue, were given up there.
    pub fn dropped_later(&mut self, cause: Cause, n: u64) {
        self.sent = self.sent.saturating_sub(n);
        self.dropped.add(cause, n);
    }

    /// `n` messages came, but could not be taken.
    pub fn not_taken(&mut self, n: u64) {
        self.received = self.received.saturating_add(n);
        self.dropped.add(Cause::Failed, n);
    }

    /// What it says now.
    pub fn snapshot(&self, name: MeterName, now: Mono) -> TopicTraffic {
        let mut ages = self.ages.clone();
        let mut percentile = |part: f64| {
            let index = ((ages.len() as f64 * part).ceil() as usize).saturating_sub(1);
            (!ages.is_empty()).then(|| Duration::from_micros(u64::from(*ages.select_nth_unstable(index).1)))
        };
        TopicTraffic {
            name,
            received: self.received,
            sent: self.sent,
            bytes: self.bytes,
            thinned: self.thinned,
            dropped: self.dropped,
            rate: self.rate.per_second(now),
            latency_p50: percentile(0.5),
            latency_p99: percentile(0.99),
        }
    }
}

/// Events in the last second, in tenths: exact, and ten numbers.
#[derive(Debug, Clone, Default)]
struct RateWindow {
    /// The tenth that is under way, and the ten before it.
    tenths: [u32; 11],
    /// Number of the tenth that is under way, since time began.
    at: u64,
}

impl RateWindow {
    fn count(&mut self, now: Mono) {
        let tenth = tenth_of(now);
        if tenth > self.at {
            for skipped in self.at + 1..=tenth.min(self.at + self.tenths.len() as u64) {
                self.tenths[Self::place(skipped)] = 0;
            }
            if tenth - self.at > self.tenths.len() as u64 {
                self.tenths = Default::default();
            }
            self.at = tenth;
        }
        let count = &mut self.tenths[Self::place(self.at)];
        *count = count.saturating_add(1);
    }

    /// In the ten tenths before the one that is under way.
    fn per_second(&self, now: Mono) -> f64 {
        let tenth = tenth_of(now);
        let kept = self.at.saturating_sub(self.tenths.len() as u64 - 1)..=self.at;
        let wanted = tenth.saturating_sub(10)..tenth;
        let counted = kept.filter(|index| wanted.contains(index));
        counted.map(|index| u64::from(self.tenths[Self::place(index)])).sum::<u64>() as f64
    }

    fn place(tenth: u64) -> usize {
        (tenth % 11) as usize
    }
}

fn tenth_of(now: Mono) -> u64 {
    u64::try_from(now.0.as_millis() / 100).unwrap_or(u64::MAX)
}

/// The meters of a node. `K` is how a route is known while it stands; its meter outlives it, so that the figures of a
/// topic go on after a cut.
///
/// There are at most [`defaults::METERS_MAX`] meters. When another one is needed, one that was idle for
/// [`defaults::METER_IDLE`] makes room; if there is none, the topics beyond are counted together and show in
/// [`Ledger::dropped`] only.
#[derive(Debug)]
pub struct Ledger<K> {
    entries: Vec<(MeterName, Meter)>,
    by_name: BTreeMap<MeterName, usize>,
    by_route: HashMap<K, usize>,
    /// For topics beyond the bound.
    rest: Meter,
    /// Drops of meters that made room.
    before: Drops,
}

impl<K> Default for Ledger<K> {
    fn default() -> Self {
        Ledger {
            entries: Vec::new(),
            by_name: BTreeMap::new(),
            by_route: HashMap::new(),
            rest: Meter::default(),
            before: Drops::default(),
        }
    }
}

impl<K: Eq + Hash> Ledger<K> {
    /// The meter of `route`. `name` is asked when it is not known yet; `None` if there is no such route.
    pub fn meter(&mut self, route: K, now: Mono, name: impl FnOnce() -> Option<MeterName>) -> Option<&mut Meter> {
        let index = match self.by_route.get(&route) {
            Some(&index) => index,
            None => {
                let index = self.index_of(name()?, now);
                // Only routes that are gone can be so many: those that stand are found again by their names.
                if self.by_route.len() >= 2 * defaults::METERS_MAX {
                    self.by_route.clear();
                }
                self.by_route.insert(route, index);
                index
            }
        };
        Some(self.entries.get_mut(index).map_or(&mut self.rest, |(_, meter)| meter))
    }

    /// The meter of a route that was metered before.
    pub fn known(&mut self, route: &K) -> Option<&mut Meter> {
        let index = *self.by_route.get(route)?;
        Some(self.entries.get_mut(index).map_or(&mut self.rest, |(_, meter)| meter))
    }

    /// The ids of routes mean something else from now on.
    pub fn forget_routes(&mut self) {
        self.by_route.clear();
    }

    /// What all meters say, ordered by topic, client and direction.
    pub fn report(&self, now: Now) -> TrafficReport {
        let entries = self.by_name.values().filter_map(|&index| self.entries.get(index));
        let topics = entries.map(|(name, meter)| meter.snapshot(name.clone(), now.mono)).collect();
        TrafficReport { stamp: now.wall, topics }
    }

    /// Everything that was dropped since the start.
    pub fn dropped(&self) -> Drops {
        let mut drops = self.before;
        for meter in self.entries.iter().map(|(_, meter)| meter).chain([&self.rest]) {
            drops.add_all(&meter.dropped);
        }
        drops
    }

    fn index_of(&mut self, name: MeterName, now: Mono) -> usize {
        if let Some(&index) = self.by_name.get(&name) {
            return index;
        }
        let meter = Meter { used: now, ..Meter::default() };
        if self.entries.len() < defaults::METERS_MAX {
            let index = self.entries.len();
            self.entries.push((name.clone(), meter));
            self.by_name.insert(name, index);
            return index;
        }
        let oldest = self.entries.iter().enumerate().min_by_key(|(_, (_, meter))| meter.used);
        match oldest.map(|(index, (_, meter))| (index, now.since(meter.used))) {
            Some((index, idle)) if idle >= defaults::METER_IDLE => {
                let (old_name, old) = std::mem::replace(&mut self.entries[index], (name.clone(), meter));
                self.before.add_all(&old.dropped);
                self.by_name.remove(&old_name);
                self.by_route.retain(|_, other| *other != index);
                self.by_name.insert(name, index);
                index
            }
            _ => REST,
        }
    }
}

/// Where no entry is.
const REST: usize = usize::MAX;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(millis: u64) -> Mono {
        Mono(Duration::from_millis(millis))
    }

    fn name(topic: &str) -> MeterName {
        MeterName {
            topic: topic.to_owned(),
            client: ClientId::new("r1").unwrap(),
            direction: Direction::Out,
            type_name: "x/msg/X".to_owned(),
        }
    }

    fn reading(meter: &Meter, now: Mono) -> TopicTraffic {
        meter.snapshot(name("/r1/x"), now)
    }

    #[test]
    fn the_rate_is_what_went_on_in_the_last_second() {
        let mut meter = Meter::default();
        for millis in (0..3_000).step_by(20) {
            meter.sent(10, None, at(millis));
        }
        assert_eq!(reading(&meter, at(3_000)).rate, 50.0);
        assert_eq!(reading(&meter, at(3_500)).rate, 25.0);
        assert_eq!(reading(&meter, at(4_000)).rate, 0.0);
        assert_eq!(reading(&meter, at(3_600_000)).rate, 0.0);
        meter.sent(10, None, at(3_600_050));
        assert_eq!(reading(&meter, at(3_600_100)).rate, 1.0, "what is old does not come back");
        assert_eq!(reading(&meter, at(3_600_100)).bytes, 1_510);
    }

    #[test]
    fn percentiles_are_those_of_the_recent_messages() {
        let mut meter = Meter::default();
        assert_eq!(reading(&meter, at(0)).latency_p50, None);
        meter.sent(1, None, at(0));
        assert_eq!(reading(&meter, at(0)).latency_p99, None, "not measured is not zero");
        for millis in 1..=100 {
            meter.sent(1, Some(Duration::from_millis(millis)), at(0));
        }
        let traffic = reading(&meter, at(0));
        assert_eq!(traffic.latency_p50, Some(Duration::from_millis(50)));
        assert_eq!(traffic.latency_p99, Some(Duration::from_millis(99)));
        for _ in 0..defaults::LATENCY_WINDOW {
            meter.sent(1, Some(Duration::from_millis(3)), at(0));
        }
        let traffic = reading(&meter, at(0));
        assert_eq!((traffic.latency_p50, traffic.latency_p99), (Some(ms(3)), Some(ms(3))), "the slow ones are past");
        meter.sent(1, Some(Duration::MAX), at(0));
        assert_eq!(meter.ages.len(), defaults::LATENCY_WINDOW);
    }

    fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn what_a_queue_gave_up_did_not_go_on() {
        let mut meter = Meter::default();
        for _ in 0..5 {
            meter.received(at(0));
            meter.sent(1, None, at(0));
        }
        meter.overflow(2);
        meter.thinned_later(1);
        let traffic = reading(&meter, at(0));
        assert_eq!((traffic.received, traffic.sent, traffic.thinned), (5, 2, 1));
        assert_eq!(traffic.dropped.of(Cause::Overflow), 2);
        assert_eq!(traffic.dropped.to_string(), "2 overflow");
    }

    #[test]
    fn an_age_is_told_on_our_clock() {
        let now = Now { mono: at(0), wall: Wall(10_000_000_000) };
        // The other clock is 5 s ahead.
        assert_eq!(age(Wall(14_000_000_000), 5_000_000_000, now), Duration::from_secs(1));
        assert_eq!(age(Wall(16_000_000_000), 5_000_000_000, now), Duration::ZERO);
        assert_eq!(age(Wall(i64::MAX), i64::MIN, now), Duration::ZERO);
        age(Wall(i64::MIN), i64::MAX, now);
    }

    #[test]
    fn a_meter_outlives_its_route_and_goes_on_under_the_next_one() {
        let mut ledger = Ledger::<u32>::default();
        ledger.meter(1, at(0), || Some(name("/r1/b"))).unwrap().dropped(Cause::Late, 3);
        assert!(ledger.meter(2, at(0), || None).is_none());
        ledger.meter(1, at(0), || None).unwrap().received(at(0));
        ledger.forget_routes();
        assert!(ledger.known(&1).is_none());
        ledger.meter(1, at(0), || Some(name("/r1/a"))).unwrap().received(at(0));
        ledger.meter(7, at(0), || Some(name("/r1/b"))).unwrap().received(at(0));
        let report = ledger.report(Now::default());
        let figures: Vec<_> = report.topics.iter().map(|t| (t.name.topic.as_str(), t.received)).collect();
        assert_eq!(figures, [("/r1/a", 1), ("/r1/b", 2)]);
        assert_eq!(ledger.dropped().total(), 3);
    }

    #[test]
    fn a_ledger_that_is_full_makes_room_by_what_is_idle_and_counts_the_rest_together() {
        let mut ledger = Ledger::<usize>::default();
        let topic = |n: usize| Some(name(&format!("/r1/t{n}")));
        for n in 0..defaults::METERS_MAX + 2 {
            ledger.meter(n, at(0), || topic(n)).unwrap().dropped(Cause::Failed, 1);
        }
        assert_eq!(ledger.report(Now::default()).topics.len(), defaults::METERS_MAX);
        assert_eq!(ledger.dropped().of(Cause::Failed), defaults::METERS_MAX as u64 + 2);
        let later = Mono(defaults::METER_IDLE);
        ledger.meter(usize::MAX, later, || Some(name("/r1/new"))).unwrap().received(later);
        let report = ledger.report(Now::default());
        assert_eq!(report.topics.len(), defaults::METERS_MAX);
        assert!(report.topics.iter().any(|topic| topic.name.topic == "/r1/new"));
        assert_eq!(ledger.dropped().of(Cause::Failed), defaults::METERS_MAX as u64 + 2, "nothing is forgotten");
    }

    proptest! {
        #[test]
        fn every_message_that_came_is_accounted_for(steps in proptest::collection::vec(0..8_u8, 0..300)) {
            let mut meter = Meter::default();
            for step in steps {
                if step < 6 {
                    meter.received(at(0));
                }
                match step {
                    0 | 1 => meter.sent(1, None, at(0)),
                    2 => meter.thinned(),
                    3 => meter.dropped(Cause::Late, 1),
                    4 => meter.dropped(Cause::Refused, 1),
                    5 => { meter.sent(1, None, at(0)); meter.overflow(1); }
                    6 => meter.not_taken(1),
                    _ => meter.dropped(Cause::Lost, 1),
                }
            }
            let t = reading(&meter, at(0));
            let came = t.dropped.total() - t.dropped.of(Cause::Lost);
            prop_assert_eq!(t.received, t.sent + t.thinned + came);
        }

        #[test]
        fn the_rate_never_counts_more_than_came_in_eleven_tenths(gaps in proptest::collection::vec(0..700_u64, 1..60)) {
            let mut meter = Meter::default();
            let mut times = Vec::new();
            let mut time = 0;
            for gap in gaps {
                time += gap;
                times.push(time);
                meter.sent(1, None, at(time));
                let now = time / 100 * 100;
                let expected = times.iter().filter(|&&t| t < now && t + 1_000 >= now).count();
                prop_assert_eq!(reading(&meter, at(time)).rate, expected as f64);
            }
        }
    }
}
