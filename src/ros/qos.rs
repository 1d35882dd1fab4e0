//! QoS between our words and the middleware's.

use std::time::Duration;

use r2r_rcl as ffi;

use crate::{
    defaults,
    model::{Durability, Liveliness, Qos, Reliability},
};

/// QoS of a reader. Depth 0 makes it KEEP_ALL: then it pushes back to reliable publishers instead of losing their oldest
/// samples when nobody takes them. So does transient_local, where the depth counts for each publisher and what all of them
/// keep comes at once.
pub(super) fn reader_profile(base: ffi::rmw_qos_profile_t, qos: &Qos) -> ffi::rmw_qos_profile_t {
    let mut profile = policies(base, qos);
    let keeps_all = qos.reliability == Reliability::Reliable && qos.durability == Durability::TransientLocal;
    if qos.depth == 0 || keeps_all {
        profile.history = ffi::rmw_qos_history_policy_t::RMW_QOS_POLICY_HISTORY_KEEP_ALL;
        profile.depth = 0;
    }
    profile
}

/// QoS of a writer. Depth 0 makes it KEEP_ALL where samples are sent again until they arrive and nobody joins late, so that
/// it loses nothing that its subscribers could still take (`lane`), else it means [`defaults::UNKNOWN_DEPTH`].
pub(super) fn writer_profile(base: ffi::rmw_qos_profile_t, qos: &Qos) -> ffi::rmw_qos_profile_t {
    let mut profile = policies(base, qos);
    profile.deadline = rmw_time(qos.deadline);
    profile.lifespan = rmw_time(qos.lifespan);
    profile.liveliness = match qos.liveliness {
        Liveliness::Automatic => ffi::rmw_qos_liveliness_policy_t::RMW_QOS_POLICY_LIVELINESS_AUTOMATIC,
        Liveliness::ManualByTopic => ffi::rmw_qos_liveliness_policy_t::RMW_QOS_POLICY_LIVELINESS_MANUAL_BY_TOPIC,
    };
    profile.liveliness_lease_duration = rmw_time(qos.lease);
    if qos.depth == 0 && qos.reliability == Reliability::Reliable && qos.durability == Durability::Volatile {
        profile.history = ffi::rmw_qos_history_policy_t::RMW_QOS_POLICY_HISTORY_KEEP_ALL;
        profile.depth = 0;
    }
    profile
}

fn policies(mut profile: ffi::rmw_qos_profile_t, qos: &Qos) -> ffi::rmw_qos_profile_t {
    profile.reliability = match qos.reliability {
        Reliability::Reliable => ffi::rmw_qos_reliability_policy_t::RMW_QOS_POLICY_RELIABILITY_RELIABLE,
        Reliability::BestEffort => ffi::rmw_qos_reliability_policy_t::RMW_QOS_POLICY_RELIABILITY_BEST_EFFORT,
    };
    profile.durability = match qos.durability {
        Durability::TransientLocal => ffi::rmw_qos_durability_policy_t::RMW_QOS_POLICY_DURABILITY_TRANSIENT_LOCAL,
        Durability::Volatile => ffi::rmw_qos_durability_policy_t::RMW_QOS_POLICY_DURABILITY_VOLATILE,
    };
    profile.history = ffi::rmw_qos_history_policy_t::RMW_QOS_POLICY_HISTORY_KEEP_LAST;
    let depth = if qos.depth == 0 { defaults::UNKNOWN_DEPTH } else { qos.depth.min(defaults::DEPTH_MAX) };
    profile.depth = depth as usize;
    profile
}

/// QoS of an endpoint as discovered. Middlewares that do not carry the history in discovery give depth 0.
pub(super) fn discovered(profile: &ffi::rmw_qos_profile_t) -> Qos {
    Qos {
        reliability: match profile.reliability {
            ffi::rmw_qos_reliability_policy_t::RMW_QOS_POLICY_RELIABILITY_RELIABLE => Reliability::Reliable,
            _ => Reliability::BestEffort,
        },
        durability: match profile.durability {
            ffi::rmw_qos_durability_policy_t::RMW_QOS_POLICY_DURABILITY_TRANSIENT_LOCAL => Durability::TransientLocal,
            _ => Durability::Volatile,
        },
        depth: match profile.history {
            ffi::rmw_qos_history_policy_t::RMW_QOS_POLICY_HISTORY_KEEP_LAST => {
                u32::try_from(profile.depth).unwrap_or(defaults::DEPTH_MAX).min(defaults::DEPTH_MAX)
            }
            _ => 0,
        },
        deadline: duration(&profile.deadline),
        lifespan: duration(&profile.lifespan),
        liveliness: match profile.liveliness {
            ffi::rmw_qos_liveliness_policy_t::RMW_QOS_POLICY_LIVELINESS_MANUAL_BY_TOPIC => Liveliness::ManualByTopic,
            _ => Liveliness::Automatic,
        },
        lease: duration(&profile.liveliness_lease_duration),
    }
}

/// Zero is rmw's word for "the default of the middleware", which is no limit.
fn rmw_time(limit: Option<Duration>) -> ffi::rmw_time_t {
    limit.map_or(ffi::rmw_time_t { sec: 0, nsec: 0 }, |limit| ffi::rmw_time_t {
        sec: limit.as_secs(),
        nsec: u64::from(limit.subsec_nanos()),
    })
}

/// Middlewares say "for ever" in several ways; nobody means a limit of a year.
fn duration(time: &ffi::rmw_time_t) -> Option<Duration> {
    let limit = Duration::from_secs(time.sec).saturating_add(Duration::from_nanos(time.nsec));
    (!limit.is_zero() && limit < FOREVER).then_some(limit)
}

const FOREVER: Duration = Duration::from_secs(365 * 24 * 3_600);

#[cfg(test)]
mod tests {
    use super::*;

    fn base() -> ffi::rmw_qos_profile_t {
        // SAFETY: takes nothing and returns plain values.
        unsafe { ffi::rcl_subscription_get_default_options().qos }
    }

    #[test]
    fn a_profile_says_back_what_it_was_made_from() {
        for reliability in [Reliability::Reliable, Reliability::BestEffort] {
            for durability in [Durability::Volatile, Durability::TransientLocal] {
                let qos = Qos { reliability, durability, depth: 7, ..Qos::default() };
                let keeps_all = (reliability, durability) == (Reliability::Reliable, Durability::TransientLocal);
                let depth = if keeps_all { 0 } else { 7 };
                assert_eq!(discovered(&reader_profile(base(), &qos)), Qos { depth, ..qos });
                assert_eq!(discovered(&writer_profile(base(), &qos)), qos);
            }
        }
    }

    #[test]
    fn a_writer_promises_what_its_publishers_promised() {
        let qos = Qos {
            deadline: Some(Duration::from_millis(1_500)),
            lifespan: Some(Duration::from_secs(2)),
            liveliness: Liveliness::ManualByTopic,
            lease: Some(Duration::from_nanos(7)),
            ..Qos::default()
        };
        assert_eq!(discovered(&writer_profile(base(), &qos)), qos);
        assert_eq!(discovered(&reader_profile(base(), &qos)), Qos::default(), "a reader asks for none of it");
    }

    #[test]
    fn depth_zero_keeps_all_where_the_middleware_pushes_back_and_is_bounded_elsewhere() {
        let qos = Qos { depth: 0, ..Qos::default() };
        assert_eq!(
            reader_profile(base(), &qos).history,
            ffi::rmw_qos_history_policy_t::RMW_QOS_POLICY_HISTORY_KEEP_ALL
        );
        assert_eq!(
            writer_profile(base(), &qos).history,
            ffi::rmw_qos_history_policy_t::RMW_QOS_POLICY_HISTORY_KEEP_ALL
        );
        for qos in
            [Qos { reliability: Reliability::BestEffort, ..qos }, Qos { durability: Durability::TransientLocal, ..qos }]
        {
            assert_eq!(writer_profile(base(), &qos).depth, defaults::UNKNOWN_DEPTH as usize);
        }
    }

    #[test]
    fn a_depth_beyond_the_limit_is_cut() {
        let qos = Qos { depth: u32::MAX, ..Qos::default() };
        assert_eq!(reader_profile(base(), &qos).depth, defaults::DEPTH_MAX as usize);
    }
}
