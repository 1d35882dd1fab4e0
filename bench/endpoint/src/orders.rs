//! What the orchestrator says: one word a line on standard input, whose end means that it is gone.

use std::{
    io::BufRead as _,
    sync::mpsc::{Receiver, RecvTimeoutError, TryRecvError, channel},
    time::Duration,
};

use anyhow::bail;

/// Lines of standard input, read by a thread of their own.
pub(crate) struct Orders(Receiver<String>);

impl Orders {
    /// Begins to read.
    pub(crate) fn listen() -> Orders {
        let (sender, receiver) = channel();
        std::thread::spawn(move || {
            for line in std::io::stdin().lock().lines() {
                let Ok(line) = line else { break };
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        Orders(receiver)
    }

    /// The next line, if there is one.
    ///
    /// # Errors
    /// If the orchestrator is gone.
    pub(crate) fn now(&self) -> anyhow::Result<Option<String>> {
        match self.0.try_recv() {
            Ok(line) => Ok(Some(line)),
            Err(TryRecvError::Empty) => Ok(None),
            Err(TryRecvError::Disconnected) => bail!("standard input has ended"),
        }
    }

    /// The next line, if it comes within `limit`.
    ///
    /// # Errors
    /// If the orchestrator is gone.
    pub(crate) fn within(&self, limit: Duration) -> anyhow::Result<Option<String>> {
        match self.0.recv_timeout(limit) {
            Ok(line) => Ok(Some(line)),
            Err(RecvTimeoutError::Timeout) => Ok(None),
            Err(RecvTimeoutError::Disconnected) => bail!("standard input has ended"),
        }
    }
}
