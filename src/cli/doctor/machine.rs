//! Checks of the machine: its clock and the memory that DDS shares.

use std::{path::Path, process::Command};

use super::check::Check;
use crate::{cli::units, net::now, time::Wall};

/// Any time before this means that the clock was never set: 2025-01-01.
const CLOCK_MIN: Wall = Wall(1_735_689_600_000_000_000);
/// Where Linux keeps shared memory, which Fast DDS uses between processes of one machine.
const SHARED_MEMORY: &str = "/dev/shm";
/// Less than this holds no few participants' segments, half a megabyte each.
const SHARED_MEMORY_MIN: u64 = 16_000_000;

/// All of them.
pub(super) fn checks() -> Vec<Check> {
    vec![clock(now().wall, is_synchronised()), shared_memory(free_bytes(Path::new(SHARED_MEMORY)))]
}

fn clock(now: Wall, synchronised: Option<bool>) -> Check {
    const WHAT: &str = "clock";
    let time = units::rfc3339(now);
    match synchronised {
        _ if now < CLOCK_MIN => Check::fail(
            WHAT,
            format!("it is {time} here, so the clock was never set"),
            "set it: timedatectl set-ntp true, or date --set",
        ),
        Some(true) => Check::ok(WHAT, format!("{time}, synchronised")),
        Some(false) => Check::warn(
            WHAT,
            format!("{time}, not synchronised: stamps of different machines cannot be compared"),
            "timedatectl set-ntp true, or install chrony",
        ),
        None => Check::ok(WHAT, format!("{time}; whether it is synchronised is not known (no timedatectl)")),
    }
}

/// Whether systemd says that the clock is synchronised; `None` where nothing can be said, as in containers.
fn is_synchronised() -> Option<bool> {
    let output = Command::new("timedatectl").args(["show", "--property=NTPSynchronized", "--value"]).output().ok()?;
    match String::from_utf8_lossy(&output.stdout).trim() {
        "yes" => Some(true),
        "no" => Some(false),
        _ => None,
    }
}

fn free_bytes(folder: &Path) -> Option<u64> {
    let state = rustix::fs::statvfs(folder).ok()?;
    Some(state.f_bavail.saturating_mul(state.f_frsize))
}

fn shared_memory(free: Option<u64>) -> Check {
    const WHAT: &str = "shared memory";
    match free {
        None => Check::warn(
            WHAT,
            format!("{SHARED_MEMORY} cannot be looked at; Fast DDS then uses UDP on this machine too"),
            "in a container, run it with --ipc=host or --shm-size=256m",
        ),
        Some(free) if free < SHARED_MEMORY_MIN => Check::warn(
            WHAT,
            format!(
                "only {} are free in {SHARED_MEMORY}: participants of Fast DDS may fail to start",
                units::bytes(free)
            ),
            format!(
                "remove what crashed nodes left there (rm {SHARED_MEMORY}/fastrtps_*, while no node runs), or enlarge it"
            ),
        ),
        Some(free) => Check::ok(WHAT, format!("{} free in {SHARED_MEMORY}", units::bytes(free))),
    }
}

#[cfg(test)]
mod tests {
    use super::{super::check::Verdict, *};

    #[test]
    fn a_clock_that_was_never_set_fails() {
        assert_eq!(clock(Wall(0), Some(true)).verdict, Verdict::Fail);
        assert_eq!(clock(CLOCK_MIN, Some(true)).verdict, Verdict::Ok);
        assert_eq!(clock(CLOCK_MIN, Some(false)).verdict, Verdict::Warn);
        assert_eq!(clock(CLOCK_MIN, None).verdict, Verdict::Ok);
    }

    #[test]
    fn little_shared_memory_is_a_warning() {
        assert_eq!(shared_memory(Some(1_000_000)).verdict, Verdict::Warn);
        assert_eq!(shared_memory(Some(1_000_000_000)).verdict, Verdict::Ok);
        assert_eq!(shared_memory(None).verdict, Verdict::Warn);
        assert!(free_bytes(Path::new("/")).is_some());
        assert_eq!(free_bytes(Path::new("/no/such/folder")), None);
    }
}
