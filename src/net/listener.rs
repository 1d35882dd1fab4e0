//! The server's open port.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::mpsc,
    task::JoinHandle,
    time::sleep,
};

use super::{
    NetError,
    connection::{Event, Handle, What, drive},
    now,
};
use crate::{
    defaults,
    ids::ConnectionId,
    session::{Session, Timing},
    wire::{Cause, Farewell},
};

/// Numbers the connections of a process, across openings of the port.
#[derive(Debug, Default)]
pub struct Numbers(AtomicU64);

impl Numbers {
    /// One that was never given before.
    pub fn next(&self) -> ConnectionId {
        ConnectionId(self.0.fetch_add(1, Ordering::Relaxed))
    }
}

/// An open port. Dropping it closes the port; connections that were accepted live on.
#[derive(Debug)]
pub struct Listener {
    endpoint: SocketAddr,
    task: JoinHandle<()>,
    logging_in: Arc<LoggingIn>,
}

impl Listener {
    /// Opens the port. Port 0 lets the system choose one.
    ///
    /// # Errors
    /// [`NetError`] if the name cannot be resolved or the port cannot be had.
    pub async fn open(
        address: &str,
        port: u16,
        timing: Timing,
        numbers: Arc<Numbers>,
        events: mpsc::Sender<Event>,
    ) -> Result<Listener, NetError> {
        let bind_error = |source| NetError::Bind { address: address.to_owned(), port, source };
        let resolved = tokio::net::lookup_host((address, port))
            .await
            .map_err(|source| NetError::Resolve { host: address.to_owned(), source })?;
        let resolved: Vec<SocketAddr> = resolved.collect();
        let socket = TcpListener::bind(resolved.as_slice()).await.map_err(bind_error)?;
        let endpoint = socket.local_addr().map_err(bind_error)?;
        let logging_in = Arc::new(LoggingIn::default());
        let task = tokio::spawn(accept_all(socket, timing, numbers, events, Arc::clone(&logging_in)));
        Ok(Listener { endpoint, task, logging_in })
    }

    /// Where the port is open.
    pub fn endpoint(&self) -> SocketAddr {
        self.endpoint
    }

    /// Closes the port, and returns when it is free again.
    pub async fn close(mut self) {
        self.task.abort();
        // A task that was aborted ends with the error that says so.
        let _ = (&mut self.task).await;
    }

    /// `connection` has logged in: it no longer counts among those who try to.
    pub fn logged_in(&self, connection: ConnectionId) {
        self.logging_in.remove(connection);
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Connections that have not logged in yet, the oldest first.
#[derive(Debug, Default)]
struct LoggingIn(Mutex<BTreeMap<ConnectionId, Handle>>);

impl LoggingIn {
    /// Adds one. If there are too many the oldest has to go: strangers who stall wait longest, while a client that means
    /// it is through in milliseconds.
    fn add(&self, connection: ConnectionId, handle: Handle) {
        let mut pending = self.0.lock();
        if pending.len() >= defaults::PENDING_LOGINS_MAX
            && let Some((_, oldest)) = pending.pop_first()
        {
            oldest.stop(Farewell::new(Cause::Full, "too many connections that have not logged in; try again"));
        }
        pending.insert(connection, handle);
    }

    fn remove(&self, connection: ConnectionId) {
        self.0.lock().remove(&connection);
    }
}

async fn accept_all(
    socket: TcpListener,
    timing: Timing,
    numbers: Arc<Numbers>,
    events: mpsc::Sender<Event>,
    logging_in: Arc<LoggingIn>,
) {
    loop {
        match socket.accept().await {
            Ok((stream, address)) => {
                let connection = numbers.next();
                tokio::spawn(serve(connection, stream, address, timing, events.clone(), Arc::clone(&logging_in)));
            }
            // Out of file descriptors, most likely. They come back when connections end.
            Err(error) => {
                tracing::warn!("cannot accept a connection: {error}");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// How long to wait after a failed accept.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

async fn serve(
    connection: ConnectionId,
    stream: TcpStream,
    address: SocketAddr,
    timing: Timing,
    events: mpsc::Sender<Event>,
    logging_in: Arc<LoggingIn>,
) {
    tune(&stream, timing);
    let (handle, orders) = Handle::new();
    logging_in.add(connection, handle.clone());
    let opened = What::Opened { address, handle: handle.clone() };
    if events.send(Event { connection, what: opened }).await.is_ok() {
        drive(connection, stream, Session::accept(timing, now()), handle, orders, &events).await;
    }
    logging_in.remove(connection);
}

/// Sets the options of a connection: no delay for small packets (Nagle's algorithm would hold a command back for the
/// sake of fewer packets), and an end to retransmission when the keep-alive has given the peer up.
pub(super) fn tune(stream: &TcpStream, timing: Timing) {
    let socket = socket2::SockRef::from(stream);
    let outcome = socket.set_tcp_nodelay(true);
    #[cfg(target_os = "linux")]
    let outcome = outcome.and_then(|()| socket.set_tcp_user_timeout(Some(timing.keep_alive_timeout)));
    if let Err(error) = outcome {
        tracing::debug!("a TCP option could not be set: {error}");
    }
}
