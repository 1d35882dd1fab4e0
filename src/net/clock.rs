//! The clocks of this process.

use std::{
    sync::OnceLock,
    time::{Instant, SystemTime, UNIX_EPOCH},
};

use crate::time::{Mono, Now, Wall};

/// The present, on both clocks.
pub fn now() -> Now {
    static BEGAN: OnceLock<Instant> = OnceLock::new();
    let mono = Mono(BEGAN.get_or_init(Instant::now).elapsed());
    let wall = match SystemTime::now().duration_since(UNIX_EPOCH) {
        Ok(since) => i64::try_from(since.as_nanos()).unwrap_or(i64::MAX),
        Err(before) => i64::try_from(before.duration().as_nanos()).map_or(i64::MIN, |nanos| -nanos),
    };
    Now { mono, wall: Wall(wall) }
}

/// When tokio's timers show `deadline`; what is over already is now.
pub fn instant(deadline: Mono) -> tokio::time::Instant {
    tokio::time::Instant::now() + deadline.since(now().mono)
}
