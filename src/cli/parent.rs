//! Ending with whoever started this program, however that ended.

use std::{io::Read as _, process, thread, time::Duration};

use super::ParentFlags;

/// How long an orderly end may take once the parent is gone: nobody is left to end this program by force.
const END_TIMEOUT: Duration = Duration::from_secs(10);

impl ParentFlags {
    /// If it was asked for, ends this program as SIGTERM does when standard input ends. The parent holds the other end of
    /// the pipe, and the system closes it even if the parent is killed.
    pub(super) fn obey(&self) {
        if !self.exit_with_parent {
            return;
        }
        let watcher = thread::Builder::new().name("parent".to_owned()).spawn(|| {
            wait_for_end_of_input();
            if rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::TERM).is_ok() {
                thread::sleep(END_TIMEOUT);
            }
            process::exit(1);
        });
        if let Err(error) = watcher {
            eprintln!("error: the parent cannot be watched, so this program ends: {error}");
            process::exit(1);
        }
    }
}

fn wait_for_end_of_input() {
    let mut input = std::io::stdin().lock();
    let mut ignored = [0; 64];
    loop {
        match input.read(&mut ignored) {
            Ok(0) => return,
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(_) => return,
        }
    }
}
