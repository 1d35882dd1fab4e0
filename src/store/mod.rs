//! The registry in SQLite, on a thread of its own.
//!
//! [`Store::open`] takes the database for itself, brings its tables up to date and starts the thread. Everybody else
//! holds a [`StoreHandle`]: each of its methods queues a request without waiting and gives back an [`Answer`], a future.
//! The thread takes whatever is queued, carries it out in the order of asking, commits it in one transaction and answers
//! only then. So what was acknowledged survives the death of the process and of the machine (WAL, `synchronous=FULL`),
//! and a fleet that comes back at once costs a few commits instead of hundreds.
//!
//! | file | what it holds |
//! |---|---|
//! | `open` | the lock against a second server, the connection's settings, repair after a crash |
//! | `schema` | tables and migrations |
//! | `writer` | the requests and the group commit |
//! | `export`, `export_file` | tables to CSV files, read through connections of their own |

mod error;
mod export;
mod export_file;
mod open;
mod schema;
mod writer;

use std::{
    future::Future,
    path::{Path, PathBuf},
    pin::Pin,
    sync::{
        Arc,
        mpsc::{Receiver, SyncSender, TrySendError, sync_channel},
    },
    task::{Context, Poll},
    thread::JoinHandle,
};

use tokio::sync::oneshot;

use self::{
    export::ExportSlots,
    writer::{Counters, Reply, Request, Writer},
};
use crate::{
    defaults,
    ids::{ClientId, SessionId},
    registry::{EventRecord, ExportRequest, Exported, KnownClient, LoginRecord, LogoutRecord},
    time::Wall,
};

pub use self::{error::StoreError, writer::StoreCounters};

/// The open registry. Whoever holds it decides when it closes; dropping it closes it too.
#[derive(Debug)]
pub struct Store {
    handle: StoreHandle,
    thread: Option<JoinHandle<Result<(), StoreError>>>,
    sessions_repaired: u64,
}

impl Store {
    /// Opens the database `path`, or creates it together with its parent folders, and starts the thread that writes to
    /// it. Sessions that a crash left open are ended at the last sign of life of their client, and an event dated `now`
    /// tells of it.
    ///
    /// # Errors
    /// [`StoreError::InUse`] while another server has the database open; [`StoreError::NewerVersion`] and
    /// [`StoreError::Foreign`] for a database that this version must not touch; [`StoreError::Failed`] for everything
    /// that the file system or SQLite refuses.
    pub fn open(path: &Path, now: Wall) -> Result<Store, StoreError> {
        let opened = open::open(path, now)?;
        let counters = Arc::new(Counters::default());
        let (queue, requests) = sync_channel(defaults::STORE_QUEUE);
        let handle = StoreHandle {
            queue,
            counters: counters.clone(),
            exports: Arc::new(ExportSlots::new(defaults::EXPORTS_MAX)),
            path: Arc::new(opened.path.clone()),
        };
        let sessions_repaired = opened.sessions_repaired;
        let writer = Writer::new(opened, writer::Bounds::DEFAULT, counters);
        let thread = std::thread::Builder::new()
            .name("store".to_owned())
            .spawn(move || run(writer, &requests))
            .map_err(|error| StoreError::io("start the thread for", &handle.path, &error))?;
        Ok(Store { handle, thread: Some(thread), sessions_repaired })
    }

    /// A handle to ask with. Handles outlive the store; after it has closed they answer [`StoreError::Stopped`].
    pub fn handle(&self) -> StoreHandle {
        self.handle.clone()
    }

    /// Sessions that had been left open by a crash and were ended when the store was opened.
    pub fn sessions_repaired(&self) -> u64 {
        self.sessions_repaired
    }

    /// Carries out what is queued, ends running exports (they fail, and leave no file), moves the write-ahead log into
    /// the database and closes it. Blocks for as long as that takes, normally some milliseconds.
    ///
    /// # Errors
    /// What SQLite said to the last step. Everything acknowledged is in the database or its write-ahead log either way.
    pub fn close(mut self) -> Result<(), StoreError> {
        self.stop()
    }

    fn stop(&mut self) -> Result<(), StoreError> {
        let Some(thread) = self.thread.take() else { return Ok(()) };
        self.handle.exports.stop();
        // Fails only if the thread has ended, and then there is nothing to stop.
        let _ = self.handle.queue.send(Request::Stop);
        thread.join().unwrap_or(Err(StoreError::Stopped))
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        if let Err(error) = self.stop() {
            tracing::warn!("closing the registry: {error}");
        }
    }
}

/// Asks the store for things. Cheap to clone; no method waits for the disk.
///
/// Requests are carried out in the order in which they were made. When [`defaults::STORE_QUEUE`] of them are waiting,
/// the next one is answered with [`StoreError::Busy`] and counted.
#[derive(Debug, Clone)]
pub struct StoreHandle {
    queue: SyncSender<Request>,
    counters: Arc<Counters>,
    exports: Arc<ExportSlots>,
    path: Arc<PathBuf>,
}

impl StoreHandle {
    /// Records that a client has come: the client itself, new or changed, and a new session. Acknowledged when it is
    /// committed. A session of the same client that is still open ends here. If the answer is dropped before it
    /// arrives, the session is taken back: it ends at once.
    pub fn login(&self, record: LoginRecord) -> Answer<SessionId> {
        self.ask(|reply| Request::Login(record, reply))
    }

    /// Records the end of a session. It never ends before it began, even if the clock was set back in between.
    /// [`StoreError::UnknownSession`] if there is no such open session.
    pub fn logout(&self, record: LogoutRecord) -> Answer<()> {
        self.ask(|reply| Request::Logout(record, reply))
    }

    /// Adds a line to the event log. The answer may be dropped: a failure is counted and logged by the store.
    pub fn event(&self, record: EventRecord) -> Answer<()> {
        self.ask(|reply| Request::Event(record, reply))
    }

    /// Records when connected clients were last heard of. After a crash their sessions end at that time, so it is worth
    /// doing every ten seconds or so. Unknown clients are ignored. The answer may be dropped.
    pub fn touch(&self, clients: Vec<(ClientId, Wall)>) -> Answer<()> {
        self.ask(|reply| Request::Touch(clients, reply))
    }

    /// Every client that the registry knows, ordered by id.
    pub fn clients(&self) -> Answer<Vec<KnownClient>> {
        self.ask(Request::Clients)
    }

    /// Writes a table to a CSV file in `directory`, which is created if it is missing. The file holds everything that
    /// was asked of the store before; it appears whole or not at all. Runs beside the writing thread, at most
    /// [`defaults::EXPORTS_MAX`] at a time.
    pub fn export(&self, request: ExportRequest, directory: &Path) -> Answer<Exported> {
        let (reply, answer) = oneshot::channel();
        let queued = self.ask(Request::Flush);
        export::start(&self.exports, queued, self.path.clone(), request, directory.to_owned(), reply);
        Answer(answer)
    }

    /// What the store has done and refused since it was opened.
    pub fn counters(&self) -> StoreCounters {
        self.counters.read()
    }

    /// The database file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn ask<T>(&self, request: impl FnOnce(Reply<T>) -> Request) -> Answer<T> {
        let (reply, answer) = oneshot::channel();
        match self.queue.try_send(request(reply)) {
            Ok(()) => Answer(answer),
            Err(TrySendError::Full(_)) => {
                self.counters.count_busy();
                Answer::ready(Err(StoreError::Busy))
            }
            Err(TrySendError::Disconnected(_)) => Answer::ready(Err(StoreError::Stopped)),
        }
    }
}

/// The answer of the store, as a future. Dropping it takes nothing back except a login (see [`StoreHandle::login`]).
#[derive(Debug)]
pub struct Answer<T>(oneshot::Receiver<Result<T, StoreError>>);

impl<T> Answer<T> {
    /// Blocks until the answer is there. For threads outside of an asynchronous runtime.
    ///
    /// # Errors
    /// What the request was answered with; [`StoreError::Stopped`] if the store closed before.
    pub fn wait(self) -> Result<T, StoreError> {
        futures::executor::block_on(self)
    }

    fn ready(result: Result<T, StoreError>) -> Self {
        let (reply, answer) = oneshot::channel();
        // The receiver is right here.
        let _ = reply.send(result);
        Answer(answer)
    }
}

impl<T> Future for Answer<T> {
    type Output = Result<T, StoreError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(context).map(|answer| answer.unwrap_or(Err(StoreError::Stopped)))
    }
}

/// The thread: takes what is queued as one batch, until it is told to stop.
fn run(mut writer: Writer, requests: &Receiver<Request>) -> Result<(), StoreError> {
    let mut stopping = false;
    while !stopping {
        let Ok(first) = requests.recv() else { break };
        let mut batch = Vec::with_capacity(16);
        batch.push(first);
        batch.extend(requests.try_iter().take(defaults::STORE_QUEUE - 1));
        stopping = batch.iter().any(|request| matches!(request, Request::Stop));
        if stopping {
            // Whoever asked while the order to stop was waiting is served too.
            batch.extend(requests.try_iter().take(defaults::STORE_QUEUE));
        }
        writer.commit(batch);
    }
    writer.close()
}

#[cfg(test)]
mod tests;
