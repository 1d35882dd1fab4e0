//! Times and amounts as people write and read them.

use std::time::Duration;

use jiff::{
    Timestamp,
    civil::{Date, DateTime},
    tz::TimeZone,
};

use crate::time::Wall;

/// A text that is no time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is not a time; use RFC 3339 such as 2026-11-22T14:30:00Z, a local time such as 2026-11-22T14:30, or a date \
     such as 2026-11-22"
)]
pub(super) struct InvalidTime(String);

/// Which end of a day a bare date stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum DayEnd {
    Begin,
    End,
}

/// The time that `text` names: RFC 3339 with its offset, or a date and time or a date in `zone`.
pub(super) fn parse_time(text: &str, end: DayEnd, zone: &TimeZone) -> Result<Wall, InvalidTime> {
    let invalid = || InvalidTime(text.chars().take(40).collect());
    let trimmed = text.trim();
    let timestamp = if let Ok(timestamp) = trimmed.parse::<Timestamp>() {
        timestamp
    } else if trimmed.contains([':', 'T', 't']) {
        let local: DateTime = trimmed.parse().map_err(|_| invalid())?;
        local.to_zoned(zone.clone()).map_err(|_| invalid())?.timestamp()
    } else {
        let date: Date = trimmed.parse().map_err(|_| invalid())?;
        let day = date.to_zoned(zone.clone()).map_err(|_| invalid())?;
        match end {
            DayEnd::Begin => day.timestamp(),
            DayEnd::End => day.end_of_day().map_err(|_| invalid())?.timestamp(),
        }
    };
    i64::try_from(timestamp.as_nanosecond()).map(Wall).map_err(|_| invalid())
}

/// `time` in RFC 3339, in UTC, to the millisecond.
pub(super) fn rfc3339(time: Wall) -> String {
    let timestamp = Timestamp::from_nanosecond(i128::from(time.0)).unwrap_or_default();
    format!("{timestamp:.3}")
}

/// An amount of bytes in at most seven characters.
pub(super) fn bytes(amount: u64) -> String {
    const UNITS: [&str; 5] = ["kB", "MB", "GB", "TB", "PB"];
    if amount < 1_000 {
        return format!("{amount} B");
    }
    let mut scaled = amount as f64 / 1_000.0;
    let mut unit = 0;
    // 999.95 would be shown as 1000.0.
    while scaled >= 999.95 && unit + 1 < UNITS.len() {
        scaled /= 1_000.0;
        unit += 1;
    }
    if scaled < 99.95 { format!("{scaled:.1} {}", UNITS[unit]) } else { format!("{scaled:.0} {}", UNITS[unit]) }
}

/// A length of time in at most six characters: its two largest units.
pub(super) fn span(time: Duration) -> String {
    let seconds = time.as_secs();
    let (minutes, hours, days) = (seconds / 60, seconds / 3_600, seconds / 86_400);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds}s"),
        (0, 0, _) => format!("{minutes}m{:02}s", seconds % 60),
        (0, _, _) => format!("{hours}h{:02}m", minutes % 60),
        (1..100, _, _) => format!("{days}d{:02}h", hours % 24),
        _ => format!("{days}d"),
    }
}

/// A round trip in at most six characters.
pub(super) fn round_trip(time: Duration) -> String {
    let millis = time.as_secs_f64() * 1e3;
    if millis < 9.995 {
        format!("{millis:.2}ms")
    } else if millis < 999.5 {
        format!("{millis:.0}ms")
    } else {
        format!("{:.1}s", millis / 1e3)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn zone() -> TimeZone {
        TimeZone::fixed(jiff::tz::offset(2))
    }

    fn parsed(text: &str, end: DayEnd) -> String {
        rfc3339(parse_time(text, end, &zone()).unwrap())
    }

    #[test]
    fn times_with_an_offset_are_taken_at_their_word() {
        assert_eq!(parsed("2026-11-22T14:30:00Z", DayEnd::Begin), "2026-11-22T14:30:00.000Z");
        assert_eq!(parsed("2026-11-22T14:30:00.25-05:00", DayEnd::End), "2026-11-22T19:30:00.250Z");
    }

    #[test]
    fn times_without_one_are_local() {
        assert_eq!(parsed("2026-11-22T14:30", DayEnd::Begin), "2026-11-22T12:30:00.000Z");
        assert_eq!(parsed("2026-11-22 14:30:05", DayEnd::End), "2026-11-22T12:30:05.000Z");
    }

    #[test]
    fn a_date_is_its_whole_day() {
        assert_eq!(parsed("2026-11-22", DayEnd::Begin), "2026-11-21T22:00:00.000Z");
        assert_eq!(parsed("2026-11-22", DayEnd::End), "2026-11-22T21:59:59.999Z");
    }

    #[test]
    fn nonsense_is_named_with_what_to_write() {
        for text in ["", "yesterday", "2026-13-01", "22.11.2026", "14:30", "2026-11-22T25:00", "9999-12-31"] {
            let message = parse_time(text, DayEnd::Begin, &zone()).unwrap_err().to_string();
            assert!(message.starts_with(&format!("{text:?} is not a time; use RFC 3339")), "{message}");
        }
    }

    #[test]
    fn amounts_of_bytes_stay_short() {
        for (amount, text) in [
            (0, "0 B"),
            (999, "999 B"),
            (1_000, "1.0 kB"),
            (99_949, "99.9 kB"),
            (99_951, "100 kB"),
            (999_960, "1.0 MB"),
            (12_345_678, "12.3 MB"),
            (u64::MAX, "18447 PB"),
        ] {
            assert_eq!(bytes(amount), text);
        }
    }

    #[test]
    fn spans_show_their_two_largest_units() {
        for (seconds, text) in [
            (0, "0s"),
            (59, "59s"),
            (61, "1m01s"),
            (3_599, "59m59s"),
            (3_661, "1h01m"),
            (90_000, "1d01h"),
            (9_000_000, "104d"),
        ] {
            assert_eq!(span(Duration::from_secs(seconds)), text);
        }
    }

    #[test]
    fn round_trips_keep_their_unit() {
        for (micros, text) in [(80, "0.08ms"), (9_990, "9.99ms"), (12_400, "12ms"), (1_234_000, "1.2s")] {
            assert_eq!(round_trip(Duration::from_micros(micros)), text);
        }
    }
}
