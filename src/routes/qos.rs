//! What one route promises for all its publishers, and whether a subscription is content with it.

use std::time::Duration;

use crate::{
    defaults,
    model::{Durability, Liveliness, Qos, Reliability},
};

/// The QoS of a route: no more than every one of `publishers` promises, since a subscription that asks for more than a
/// publisher offers gets nothing from it; as deep as all of them together.
///
/// Where a publisher's depth is not known (discovery does not carry it in DDS), a reliable and volatile route is made
/// KEEP_ALL, so that our own queue is never the one that loses. The depth of a transient_local route is that of each of its
/// publishers, the largest if they differ, and 0 where one is not known: then it is found out from what they keep.
pub fn for_all<'a>(publishers: impl Iterator<Item = &'a Qos> + Clone) -> Qos {
    let all = |test: &dyn Fn(&Qos) -> bool| publishers.clone().all(test);
    let reliability = match all(&|qos| qos.reliability == Reliability::Reliable) {
        true => Reliability::Reliable,
        false => Reliability::BestEffort,
    };
    let durability = match all(&|qos| qos.durability == Durability::TransientLocal) {
        true => Durability::TransientLocal,
        false => Durability::Volatile,
    };
    let liveliness = match all(&|qos| qos.liveliness == Liveliness::ManualByTopic) {
        true => Liveliness::ManualByTopic,
        false => Liveliness::Automatic,
    };
    let unknown = !all(&|qos| qos.depth != 0);
    let depth_of = |qos: &Qos| if qos.depth == 0 { defaults::UNKNOWN_DEPTH } else { qos.depth };
    let depth = if durability == Durability::TransientLocal {
        let deepest = publishers.clone().map(|qos| qos.depth).max().unwrap_or(0);
        if unknown { 0 } else { deepest.min(defaults::DEPTH_MAX) }
    } else if unknown && reliability == Reliability::Reliable {
        0
    } else {
        publishers.clone().map(depth_of).fold(0, u32::saturating_add).min(defaults::DEPTH_MAX)
    };
    // A limit holds for all only if all have one, and then it is the longest.
    let longest = |limit: &dyn Fn(&Qos) -> Option<Duration>| -> Option<Duration> {
        publishers.clone().map(limit).collect::<Option<Vec<_>>>()?.into_iter().max()
    };
    Qos {
        reliability,
        durability,
        depth,
        deadline: longest(&|qos| qos.deadline),
        lifespan: longest(&|qos| qos.lifespan),
        liveliness,
        lease: longest(&|qos| qos.lease),
    }
}

/// `qos` behind a rate limit [Hz]: a deadline that it makes impossible is not promised.
pub fn limited(qos: Qos, max_rate: Option<f64>) -> Qos {
    let longest =
        max_rate.map_or(Duration::ZERO, |rate| Duration::try_from_secs_f64(1.0 / rate).unwrap_or(Duration::MAX));
    Qos { deadline: qos.deadline.filter(|deadline| longest <= *deadline), ..qos }
}

/// Why a subscription that asks for `requested` gets nothing from a publisher that offers `offered` (DDS 1.4, 2.2.3:
/// requested against offered); `None` if they match.
pub fn incompatibility(offered: &Qos, requested: &Qos) -> Option<&'static str> {
    let longer = |offered: Option<Duration>, requested: Option<Duration>| match (offered, requested) {
        (_, None) => false,
        (None, Some(_)) => true,
        (Some(offered), Some(requested)) => offered > requested,
    };
    if offered.reliability < requested.reliability {
        Some("reliability")
    } else if offered.durability < requested.durability {
        Some("durability")
    } else if longer(offered.deadline, requested.deadline) {
        Some("deadline")
    } else if offered.liveliness < requested.liveliness || longer(offered.lease, requested.lease) {
        Some("liveliness")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(limits: [Option<u64>; 2]) -> [Option<Duration>; 2] {
        limits.map(|limit| limit.map(Duration::from_secs))
    }

    #[test]
    fn a_limit_holds_only_if_every_publisher_promises_one() {
        for (limits, expected) in [([Some(1), Some(3)], Some(3)), ([Some(1), None], None), ([None, None], None)] {
            let publishers = seconds(limits).map(|deadline| Qos { deadline, lease: deadline, ..Qos::default() });
            let merged = for_all(publishers.iter());
            assert_eq!([merged.deadline, merged.lease], [expected.map(Duration::from_secs); 2], "{limits:?}");
        }
    }

    #[test]
    fn a_deadline_that_a_rate_limit_makes_impossible_is_not_promised() {
        let qos = Qos { deadline: Some(Duration::from_millis(100)), ..Qos::default() };
        assert_eq!(limited(qos, None), qos);
        assert_eq!(limited(qos, Some(10.0)), qos);
        assert_eq!(limited(qos, Some(9.0)).deadline, None);
        assert_eq!(limited(qos, Some(1e-300)).deadline, None);
    }

    #[test]
    fn a_subscription_gets_nothing_if_it_asks_for_more_than_is_offered() {
        let weak = Qos { reliability: Reliability::BestEffort, ..Qos::default() };
        let strong = Qos { durability: Durability::TransientLocal, ..Qos::default() };
        let limited = |limit| Qos { deadline: Some(Duration::from_secs(limit)), ..Qos::default() };
        let manual = Qos { liveliness: Liveliness::ManualByTopic, ..Qos::default() };
        for (offered, requested, expected) in [
            (&weak, &Qos::default(), Some("reliability")),
            (&Qos::default(), &weak, None),
            (&Qos::default(), &strong, Some("durability")),
            (&strong, &Qos::default(), None),
            (&Qos::default(), &limited(1), Some("deadline")),
            (&limited(2), &limited(1), Some("deadline")),
            (&limited(1), &limited(2), None),
            (&Qos::default(), &manual, Some("liveliness")),
        ] {
            assert_eq!(incompatibility(offered, requested), expected, "{offered} for {requested}");
        }
    }

    #[test]
    fn a_profile_is_written_as_people_write_it() {
        let qos = Qos { depth: 0, deadline: Some(Duration::from_millis(500)), ..Qos::default() };
        assert_eq!(qos.to_string(), "reliable, volatile, deadline 0.5 s");
        assert_eq!(Qos::default().to_string(), "reliable, volatile, keep_last 10");
    }
}
