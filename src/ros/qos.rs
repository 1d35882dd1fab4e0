//! QoS between our words and the middleware's.

use r2r_rcl as ffi;

use crate::{
    defaults,
    model::{Durability, Qos, Reliability},
};

/// QoS of a reader. Depth 0 makes it KEEP_ALL: then it pushes back to reliable publishers instead of losing their oldest
/// samples when nobody takes them.
pub(super) fn reader_profile(base: ffi::rmw_qos_profile_t, qos: &Qos) -> ffi::rmw_qos_profile_t {
    let mut profile = policies(base, qos);
    if qos.depth == 0 {
        profile.history = ffi::rmw_qos_history_policy_t::RMW_QOS_POLICY_HISTORY_KEEP_ALL;
        profile.depth = 0;
    }
    profile
}

/// QoS of a writer. It always keeps a bounded history, so that publishing never waits for a slow subscriber: depth 0
/// means [`defaults::BURST_DEPTH`] where samples are sent again until they arrive, else [`defaults::UNKNOWN_DEPTH`].
pub(super) fn writer_profile(base: ffi::rmw_qos_profile_t, qos: &Qos) -> ffi::rmw_qos_profile_t {
    let mut profile = policies(base, qos);
    if qos.depth == 0 && qos.reliability == Reliability::Reliable && qos.durability == Durability::Volatile {
        profile.depth = defaults::BURST_DEPTH as usize;
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
    }
}

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
                let qos = Qos { reliability, durability, depth: 7 };
                assert_eq!(discovered(&reader_profile(base(), &qos)), qos);
                assert_eq!(discovered(&writer_profile(base(), &qos)), qos);
            }
        }
    }

    #[test]
    fn depth_zero_keeps_all_in_a_reader_and_stays_bounded_in_a_writer() {
        let qos = Qos { depth: 0, ..Qos::default() };
        assert_eq!(
            reader_profile(base(), &qos).history,
            ffi::rmw_qos_history_policy_t::RMW_QOS_POLICY_HISTORY_KEEP_ALL
        );
        assert_eq!(writer_profile(base(), &qos).depth, defaults::BURST_DEPTH as usize);
        let qos = Qos { reliability: Reliability::BestEffort, ..qos };
        assert_eq!(writer_profile(base(), &qos).depth, defaults::UNKNOWN_DEPTH as usize);
    }

    #[test]
    fn a_depth_beyond_the_limit_is_cut() {
        let qos = Qos { depth: u32::MAX, ..Qos::default() };
        assert_eq!(reader_profile(base(), &qos).depth, defaults::DEPTH_MAX as usize);
    }
}
