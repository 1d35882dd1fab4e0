//! A flag that goes up when the program is asked to stop, for verbs that run on one thread of their own.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use anyhow::Context as _;

use crate::node::signals::asked_to_stop;

/// Goes up at SIGINT, SIGTERM or SIGHUP, or after `limit` if there is one.
pub(super) fn stop_flag(limit: Option<Duration>) -> anyhow::Result<Arc<AtomicBool>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("no signals")?;
    let flag = Arc::new(AtomicBool::new(false));
    let raised = Arc::clone(&flag);
    thread::Builder::new().name("signals".to_owned()).spawn(move || {
        runtime.block_on(async {
            match limit {
                Some(limit) => {
                    let _ = tokio::time::timeout(limit, asked_to_stop()).await;
                }
                None => asked_to_stop().await,
            }
        });
        raised.store(true, Ordering::Relaxed);
    })?;
    Ok(flag)
}
