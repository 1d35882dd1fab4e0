//! The client's line to the server: dials, and dials again, for ever.

use std::{sync::Arc, time::Duration};

use tokio::{
    net::TcpStream,
    sync::mpsc,
    task::JoinHandle,
    time::{sleep, timeout},
};

use super::{
    NetError, Numbers,
    connection::{Event, Handle, What, drive},
    listener::tune,
    now,
};
use crate::{
    defaults,
    session::{Backoff, Session, Timing},
    wire::Login,
};

/// Whom to dial, and as whom.
#[derive(Debug, Clone)]
pub struct Dial {
    /// Host name or address of the server.
    pub host: String,
    /// TCP port of the server.
    pub port: u16,
    /// Who we are.
    pub login: Login,
    /// Periods and limits.
    pub timing: Timing,
}

/// Keeps one line up. Dropping it ends the line without a goodbye; to say one, stop the connection first.
#[derive(Debug)]
pub struct Dialler {
    task: JoinHandle<()>,
}

impl Dialler {
    /// Begins to dial.
    pub fn start(dial: Dial, events: mpsc::Sender<Event>) -> Dialler {
        Dialler { task: tokio::spawn(run(dial, events)) }
    }
}

impl Drop for Dialler {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn run(dial: Dial, events: mpsc::Sender<Event>) {
    let numbers = Arc::new(Numbers::default());
    let mut backoff = Backoff::default();
    while !events.is_closed() {
        let connection = numbers.next();
        match connect(&dial).await {
            Ok(stream) => {
                let began = now();
                let (handle, orders) = Handle::new();
                let Ok(address) = stream.peer_addr() else { continue };
                let opened = What::Opened { address, handle: handle.clone() };
                if events.send(Event { connection, what: opened }).await.is_err() {
                    return;
                }
                let session = Session::dial(dial.timing, dial.login.clone(), began);
                drive(connection, stream, session, handle, orders, &events).await;
                if now().mono.since(began.mono) >= LASTED {
                    backoff.reset();
                }
            }
            Err(reason) => {
                if events.send(Event { connection, what: What::Failed { reason } }).await.is_err() {
                    return;
                }
            }
        }
        sleep(backoff.next_delay(fastrand::f64())).await;
    }
}

/// A line that held this long was a good one: after it the next attempt comes soon.
const LASTED: Duration = Duration::from_secs(2);

async fn connect(dial: &Dial) -> Result<TcpStream, String> {
    let Dial { host, port, .. } = dial;
    match timeout(defaults::DIAL_TIMEOUT, dial_once(dial)).await {
        Ok(connected) => connected,
        Err(_) => Err(format!(
            "no answer from {host}:{port} within {} s: is it on, and can this machine reach it?",
            defaults::DIAL_TIMEOUT.as_secs()
        )),
    }
}

async fn dial_once(dial: &Dial) -> Result<TcpStream, String> {
    let Dial { host, port, .. } = dial;
    let resolved = tokio::net::lookup_host((host.as_str(), *port))
        .await
        .map_err(|source| NetError::Resolve { host: host.clone(), source }.to_string())?;
    let mut last = format!("{host:?} resolves to no address");
    for address in resolved {
        match TcpStream::connect(address).await {
            Ok(stream) => {
                tune(&stream, dial.timing);
                return Ok(stream);
            }
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionRefused => {
                last = format!("{address} refuses connections: is the server running, and its port open?");
            }
            Err(error) => last = format!("cannot connect to {address}: {error}"),
        }
    }
    Err(last)
}
