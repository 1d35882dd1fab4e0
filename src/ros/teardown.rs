//! Leaving the graph within a limit of time, and ending the program after that.
//!
//! Fast DDS can hang for ever, on a busy core, when a participant ends while it hears of another's end (eProsima/Fast-DDS
//! issue 6513): just what happens when everything on a machine is stopped at once. Nobody else may wait for it then.

use std::{
    io::Write,
    mem::ManuallyDrop,
    ops::{Deref, DerefMut},
    sync::{
        atomic::{AtomicBool, Ordering},
        mpsc::{Receiver, channel},
    },
    time::Duration,
};

/// How long something may take to leave the graph. It takes milliseconds, or for ever.
const LIMIT: Duration = Duration::from_secs(2);

/// Something did not end in time, and a thread is still in the middleware.
static GIVEN_UP: AtomicBool = AtomicBool::new(false);

/// Ends the program. If the middleware hangs (see the log), its libraries are not asked to clean up: that would hang too,
/// or crash.
///
/// Programs that use ROS should end like this, after everything of theirs has been dropped.
pub fn exit(code: i32) -> ! {
    if GIVEN_UP.load(Ordering::SeqCst) {
        // What cannot be written any more is lost either way.
        let _ = std::io::stdout().flush();
        let _ = std::io::stderr().flush();
        exit_at_once(code);
    }
    std::process::exit(code)
}

fn exit_at_once(code: i32) -> ! {
    unsafe extern "C" {
        fn _exit(code: std::ffi::c_int) -> !;
    }
    // SAFETY: POSIX's `_exit` ends the process from any thread at any time.
    unsafe { _exit(code) }
}

/// A node of r2r that is spun where it is, and leaves the graph within the limit when it is dropped.
pub(super) struct Leaving(ManuallyDrop<r2r::Node>);

impl Leaving {
    pub(super) fn new(node: r2r::Node) -> Leaving {
        Leaving(ManuallyDrop::new(node))
    }
}

impl Deref for Leaving {
    type Target = r2r::Node;

    fn deref(&self) -> &r2r::Node {
        &self.0
    }
}

impl DerefMut for Leaving {
    fn deref_mut(&mut self) -> &mut r2r::Node {
        &mut self.0
    }
}

impl Drop for Leaving {
    fn drop(&mut self) {
        // SAFETY: the node is taken here only, and nothing uses it after this drop.
        let node = unsafe { ManuallyDrop::take(&mut self.0) };
        within_limit("the ROS node", move || drop(node));
    }
}

/// Does `work`, which ends `what`, and comes back when it is done or has been given up.
pub(super) fn within_limit(what: &'static str, work: impl FnOnce() + Send + 'static) {
    let (done, wait) = channel::<()>();
    let thread = std::thread::Builder::new().name("ros-end".to_owned()).spawn(move || {
        work();
        drop(done);
    });
    match thread {
        Ok(_) => wait_for(what, &wait),
        Err(error) => tracing::error!("{what} is left as it is, since no thread can be started to end it: {error}"),
    }
}

/// Waits until the other end of `done` is dropped, by whoever ends `what`, or gives it up.
pub(super) fn wait_for(what: &'static str, done: &Receiver<()>) {
    if done.recv_timeout(LIMIT) == Err(std::sync::mpsc::RecvTimeoutError::Timeout) {
        GIVEN_UP.store(true, Ordering::SeqCst);
        tracing::warn!("{what} did not leave the ROS graph within {LIMIT:?}: the middleware hangs, and is left alone");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comes_back_when_the_work_is_done_and_also_when_it_hangs() {
        let begun = std::time::Instant::now();
        within_limit("a quick thing", || {});
        assert!(begun.elapsed() < LIMIT);
        assert!(!GIVEN_UP.load(Ordering::SeqCst));
        let (release, hang) = channel::<()>();
        within_limit("a hanging thing", move || _ = hang.recv());
        assert!(begun.elapsed() >= LIMIT);
        assert!(GIVEN_UP.load(Ordering::SeqCst));
        drop(release);
    }
}
