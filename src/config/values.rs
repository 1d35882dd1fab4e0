//! One setting: the flag over the parameter over the default, and the checks that several settings share.

use std::{path::PathBuf, time::Duration};

use super::{ConfigError, Environment, Origin};
use crate::defaults;

/// A value together with where it was given.
pub(super) struct Given<T> {
    pub(super) key: &'static str,
    pub(super) value: T,
    pub(super) origin: Origin,
}

impl<T> Given<T> {
    /// `flag` if it was given, else `parameter` if it is not its "use the default" value, else `default`.
    pub(super) fn choose(
        key: &'static str,
        (flag_name, flag): (&'static str, Option<T>),
        parameter: Option<T>,
        default: impl FnOnce() -> T,
    ) -> Self {
        let (value, origin) = match (flag, parameter) {
            (Some(value), _) => (value, Origin::Flag(flag_name)),
            (None, Some(value)) => (value, Origin::Parameter(key)),
            (None, None) => (default(), Origin::Default),
        };
        Given { key, value, origin }
    }

    /// A setting that has no flag.
    pub(super) fn parameter(key: &'static str, parameter: Option<T>, default: impl FnOnce() -> T) -> Self {
        Self::choose(key, ("", None), parameter, default)
    }

    pub(super) fn fault(&self, fault: impl Into<String>) -> ConfigError {
        ConfigError::Value { key: self.key, fault: fault.into(), origin: self.origin.clone() }
    }
}

/// `None` for the empty string, which means "the default" in a ROS parameter.
pub(super) fn non_empty(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

/// A period or timeout that is given in seconds, 0 for its default.
pub(super) fn seconds(key: &'static str, parameter: f64, default: Duration) -> Result<Given<Duration>, ConfigError> {
    let given = Given::parameter(key, (parameter != 0.0).then_some(parameter), || default.as_secs_f64());
    let (least, most) = (defaults::PERIOD_MIN, defaults::PERIOD_MAX);
    let value = Duration::try_from_secs_f64(given.value)
        .ok()
        .filter(|value| (least..=most).contains(value))
        .ok_or_else(|| {
            given.fault(format!(
                "{} is not a time in seconds; use {} to {}, or 0 for {}",
                given.value,
                least.as_secs_f64(),
                most.as_secs_f64(),
                default.as_secs_f64()
            ))
        })?;
    Ok(Given { key, value, origin: given.origin })
}

/// How often to ping and how long to wait for a sign of life: the second has to exceed the first.
pub(super) fn keep_alive(ping_period: f64, keep_alive_timeout: f64) -> Result<(Duration, Duration), ConfigError> {
    let ping = seconds("ping_period", ping_period, defaults::PING_PERIOD)?;
    let timeout = seconds("keep_alive_timeout", keep_alive_timeout, defaults::KEEP_ALIVE_TIMEOUT)?;
    if timeout.value <= ping.value {
        // The one that was given is the one to change.
        let blamed = if timeout.origin == Origin::Default { &ping } else { &timeout };
        return Err(blamed.fault(format!(
            "a keep_alive_timeout of {} s is not longer than the ping_period of {} s, so every line would be taken for dead; \
             use a keep_alive_timeout of several ping_periods",
            timeout.value.as_secs_f64(),
            ping.value.as_secs_f64()
        )));
    }
    Ok((ping.value, timeout.value))
}

/// A path, with `~` written out.
pub(super) fn path(given: &Given<PathBuf>, environment: &Environment) -> Result<PathBuf, ConfigError> {
    environment.expand(&given.value).map_err(|fault| given.fault(fault))
}

/// A short text for people: no control characters, at most [`defaults::TEXT_MAX`] bytes.
pub(super) fn text(given: Given<String>) -> Result<String, ConfigError> {
    if given.value.len() > defaults::TEXT_MAX {
        return Err(given.fault(format!(
            "the text has {} bytes; use at most {}",
            given.value.len(),
            defaults::TEXT_MAX
        )));
    }
    if given.value.chars().any(char::is_control) {
        return Err(given.fault(format!(
            "{:?} has a control character such as a line break; use printable characters",
            given.value
        )));
    }
    Ok(given.value)
}

/// Whether `host` can be a host name or an IP address.
pub(super) fn is_host(host: &str) -> bool {
    host.parse::<std::net::IpAddr>().is_ok()
        || (!host.is_empty()
            && host.len() <= defaults::HOST_MAX
            && host.chars().all(|c| c.is_ascii_alphanumeric() || "-._".contains(c)))
}
