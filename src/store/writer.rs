//! The requests, and the group commit that carries them out.

use std::{
    fs::File,
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use rusqlite::{Connection, OptionalExtension, Row, params};
use tokio::sync::oneshot;

use super::{StoreError, open::Opened};
use crate::{
    defaults,
    ids::{ClientId, SessionId},
    registry::{EventRecord, KnownClient, LoginRecord, LogoutRecord},
    time::Wall,
};

/// Where the answer goes. Nobody may be waiting for it any more.
pub(super) type Reply<T> = oneshot::Sender<Result<T, StoreError>>;

/// What the thread can be asked for.
#[derive(Debug)]
pub(super) enum Request {
    Login(LoginRecord, Reply<SessionId>),
    Logout(LogoutRecord, Reply<()>),
    Event(EventRecord, Reply<()>),
    Touch(Vec<(ClientId, Wall)>, Reply<()>),
    Clients(Reply<Vec<KnownClient>>),
    /// Answered when everything before it is committed.
    Flush(Reply<()>),
    /// The last request: whatever is queued is carried out, and the thread ends.
    Stop,
}

impl Request {
    fn writes(&self) -> bool {
        !matches!(self, Request::Clients(_) | Request::Flush(_) | Request::Stop)
    }
}

/// How much the tables may hold.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    // Signed, as SQLite counts.
    pub(super) clients: i64,
    pub(super) sessions: i64,
    pub(super) events: i64,
    pub(super) prune_every: u64,
}

impl Bounds {
    pub(super) const DEFAULT: Bounds = Bounds {
        clients: defaults::CLIENTS_KEPT as i64,
        sessions: defaults::SESSIONS_KEPT as i64,
        events: defaults::EVENTS_KEPT as i64,
        prune_every: defaults::PRUNE_EVERY,
    };
}

/// Reason of a session that was still open when its client came again.
pub(super) const REPLACED: &str = "replaced by a new session of the same client";
/// Reason of a session whose login nobody was waiting for any more.
pub(super) const ABANDONED: &str = "gone before the login was recorded";

/// Tells one asker how it went, given how the commit went. Comes back with the end of a session that nobody wants.
type Acknowledge = Box<dyn FnOnce(&Result<(), StoreError>, &Counters) -> Option<LogoutRecord>>;

/// A batch whose transaction is over.
pub(super) struct Settled {
    acknowledgements: Vec<Acknowledge>,
    fate: Result<(), StoreError>,
}

/// The one connection that writes. Free of threads and queues: [`Writer::commit`] is handed a batch.
#[derive(Debug)]
pub(super) struct Writer {
    // Fields are dropped in this order: the lock goes last.
    pub(super) db: Connection,
    path: PathBuf,
    bounds: Bounds,
    /// Rows since the last pruning.
    new_sessions: u64,
    new_events: u64,
    /// The first failure of the present batch.
    trouble: Option<StoreError>,
    /// Whether the last batch that wrote had trouble, so that a disk that stays full is logged once.
    troubled: bool,
    pub(super) counters: Arc<Counters>,
    lock: File,
}

impl Writer {
    pub(super) fn new(opened: Opened, bounds: Bounds, counters: Arc<Counters>) -> Writer {
        let Opened { db, path, lock, .. } = opened;
        // The first batch prunes, in case the bounds were lowered since the last run.
        let (new_sessions, new_events) = (bounds.prune_every, bounds.prune_every);
        Writer { db, path, bounds, new_sessions, new_events, trouble: None, troubled: false, counters, lock }
    }

    /// Carries out the batch in one transaction and then answers each request. A request that fails is undone and
    /// answered with its error, and the others are not touched by it; if the transaction itself fails, all are answered
    /// with that error, and the next batch starts afresh.
    pub(super) fn commit(&mut self, batch: Vec<Request>) {
        let settled = self.carry_out(batch);
        self.acknowledge(settled);
    }

    /// The first half of [`Writer::commit`]: up to the end of the transaction.
    pub(super) fn carry_out(&mut self, batch: Vec<Request>) -> Settled {
        let writes = batch.iter().any(Request::writes);
        let mut fate = self.execute(if writes { "BEGIN IMMEDIATE" } else { "BEGIN" });
        let acknowledgements = batch.into_iter().map(|request| self.perform(request, &mut fate)).collect();
        if fate.is_ok() {
            fate = self.prune().and_then(|()| self.execute("COMMIT"));
        }
        if fate.is_err() && !self.db.is_autocommit() {
            // Its failure says nothing new: the next BEGIN will fail as well and say so.
            let _ = self.execute("ROLLBACK");
        }
        self.counters.batches.fetch_add(1, Ordering::Relaxed);
        self.report(&fate, writes);
        Settled { acknowledgements, fate }
    }

    /// The second half: the answers. Ends the sessions that nobody waits for any more.
    pub(super) fn acknowledge(&mut self, settled: Settled) {
        let Settled { acknowledgements, fate } = settled;
        let abandoned: Vec<Request> = acknowledgements
            .into_iter()
            .filter_map(|acknowledge| acknowledge(&fate, &self.counters))
            .map(|record| Request::Logout(record, oneshot::channel().0))
            .collect();
        if !abandoned.is_empty() {
            let settled = self.carry_out(abandoned);
            // A logout leaves nothing behind to be taken back.
            self.acknowledge(settled);
        }
    }

    fn perform(&mut self, request: Request, fate: &mut Result<(), StoreError>) -> Acknowledge {
        match request {
            Request::Login(record, reply) => {
                if reply.is_closed() {
                    return Box::new(|_, _| None);
                }
                let outcome = self.guarded(fate, |writer| writer.login(&record));
                self.new_sessions += 1;
                Box::new(move |fate, counters| {
                    let outcome = settle(outcome, fate, counters);
                    let session = outcome.as_ref().ok().copied();
                    match (reply.send(outcome), session) {
                        (Err(_), Some(session)) => {
                            Some(LogoutRecord { session, at: record.at, reason: ABANDONED.to_owned() })
                        }
                        _ => None,
                    }
                })
            }
            Request::Logout(record, reply) => answer(reply, self.guarded(fate, |writer| writer.logout(&record))),
            Request::Event(record, reply) => {
                self.new_events += 1;
                answer(reply, self.guarded(fate, |writer| writer.event(&record)))
            }
            Request::Touch(clients, reply) => answer(reply, self.guarded(fate, |writer| writer.touch(&clients))),
            Request::Clients(reply) => answer(reply, self.guarded(fate, |writer| writer.clients())),
            Request::Flush(reply) => answer(reply, Ok(())),
            Request::Stop => Box::new(|_, _| None),
        }
    }

    /// Does `work` so that nothing of it stays if it fails. SQLite gives up the whole transaction on some errors (disk
    /// full, I/O); `fate` then holds the error for everybody else in the batch.
    fn guarded<T>(
        &mut self,
        fate: &mut Result<(), StoreError>,
        work: impl FnOnce(&Self) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        fate.clone()?;
        let outcome = self.execute("SAVEPOINT request").and_then(|()| work(self));
        if let Err(error @ StoreError::Failed { .. }) = &outcome {
            self.trouble.get_or_insert_with(|| error.clone());
        }
        if self.db.is_autocommit() {
            *fate = Err(match &outcome {
                Err(error) => error.clone(),
                Ok(_) => StoreError::sqlite("write to", &self.path, &rusqlite::Error::InvalidQuery),
            });
            return outcome;
        }
        if outcome.is_err() {
            *fate = self.execute("ROLLBACK TO request");
        }
        if fate.is_ok() {
            *fate = self.execute("RELEASE request");
        }
        outcome
    }

    fn login(&self, record: &LoginRecord) -> Result<SessionId, StoreError> {
        let (id, at) = (record.client.as_str(), record.at.0);
        let (address, port) = (record.address.ip().to_string(), record.address.port());
        let known = self.query("SELECT 1 FROM clients WHERE id = ?1", [id], |_| Ok(()))?.is_some();
        if !known {
            let clients = self.query("SELECT count(*) FROM clients", [], |row| row.get::<_, i64>(0))?;
            if clients.unwrap_or(0) >= self.bounds.clients {
                let database = self.path.file_name().unwrap_or_default().to_string_lossy().into_owned();
                let client = record.client.clone();
                return Err(StoreError::ClientsFull { client, max: self.bounds.clients.unsigned_abs(), database });
            }
        }
        self.change(
            "INSERT INTO clients (id, kind, name, host_name, software_version, ros_distro, first_seen, last_seen,
                 last_address, last_port, last_reason)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?7, ?8, ?9, '')
             ON CONFLICT (id) DO UPDATE SET kind = excluded.kind, name = excluded.name,
                 host_name = excluded.host_name, software_version = excluded.software_version,
                 ros_distro = excluded.ros_distro, last_seen = excluded.last_seen,
                 last_address = excluded.last_address, last_port = excluded.last_port, last_reason = ''",
            params![
                id,
                record.kind.as_str(),
                cut(&record.name, defaults::TEXT_MAX),
                cut(&record.host_name, defaults::TEXT_MAX),
                cut(&record.software_version, defaults::TEXT_MAX),
                cut(&record.ros_distro, defaults::TEXT_MAX),
                at,
                address,
                port
            ],
        )?;
        self.change(
            "UPDATE sessions SET disconnected_at = max(connected_at, ?2), reason = ?3
             WHERE client = ?1 AND disconnected_at IS NULL",
            params![id, at, REPLACED],
        )?;
        self.change(
            "INSERT INTO sessions (client, connected_at, address, port) VALUES (?1, ?2, ?3, ?4)",
            params![id, at, address, port],
        )?;
        Ok(SessionId(self.db.last_insert_rowid()))
    }

    fn logout(&self, record: &LogoutRecord) -> Result<(), StoreError> {
        let reason = cut(&record.reason, defaults::REASON_MAX);
        let ended = self.query(
            "UPDATE sessions SET disconnected_at = max(connected_at, ?2), reason = ?3
             WHERE id = ?1 AND disconnected_at IS NULL RETURNING client, disconnected_at",
            params![record.session.0, record.at.0, reason],
            |row| Ok((row.get::<_, String>(0)?, row.get::<_, i64>(1)?)),
        )?;
        let (client, at) = ended.ok_or(StoreError::UnknownSession(record.session))?;
        self.change("UPDATE clients SET last_seen = ?2, last_reason = ?3 WHERE id = ?1", params![client, at, reason])?;
        Ok(())
    }

    fn event(&self, record: &EventRecord) -> Result<(), StoreError> {
        self.change(
            "INSERT INTO events (at, kind, client, address, port, detail) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            params![
                record.at.0,
                record.kind.as_str(),
                record.client.as_ref().map(ClientId::as_str),
                record.address.map(|address| address.ip().to_string()),
                record.address.map(|address| address.port()),
                cut(&record.detail, defaults::REASON_MAX)
            ],
        )?;
        Ok(())
    }

    fn touch(&self, clients: &[(ClientId, Wall)]) -> Result<(), StoreError> {
        for (client, at) in clients {
            self.change("UPDATE clients SET last_seen = ?2 WHERE id = ?1", params![client.as_str(), at.0])?;
        }
        Ok(())
    }

    fn clients(&self) -> Result<Vec<KnownClient>, StoreError> {
        let failed = |error: rusqlite::Error| StoreError::sqlite("read", &self.path, &error);
        let mut statement = self
            .db
            .prepare_cached(
                "SELECT id, kind, name, host_name, software_version, ros_distro, first_seen, last_seen,
                     last_address, last_port, last_reason FROM clients ORDER BY id",
            )
            .map_err(failed)?;
        let mut rows = statement.query([]).map_err(failed)?;
        let mut clients = Vec::new();
        while let Some(row) = rows.next().map_err(failed)? {
            clients.push(self.known_client(row)?);
        }
        Ok(clients)
    }

    fn known_client(&self, row: &Row<'_>) -> Result<KnownClient, StoreError> {
        let failed = |error: rusqlite::Error| StoreError::sqlite("read", &self.path, &error);
        let text = |column: &str| row.get::<_, String>(column).map_err(failed);
        let time = |column: &str| row.get::<_, i64>(column).map(Wall).map_err(failed);
        let id = text("id")?;
        let bad = |column, value: &str| StoreError::BadRow {
            path: self.path.clone(),
            client: id.clone(),
            column,
            value: value.to_owned(),
        };
        let kind = text("kind")?;
        let address = text("last_address")?;
        let port: i64 = row.get("last_port").map_err(failed)?;
        Ok(KnownClient {
            client: ClientId::new(&id).map_err(|_| bad("id", &id))?,
            kind: kind.parse().map_err(|_| bad("kind", &kind))?,
            name: text("name")?,
            host_name: text("host_name")?,
            software_version: text("software_version")?,
            ros_distro: text("ros_distro")?,
            last_address: SocketAddr::new(
                address.parse::<IpAddr>().map_err(|_| bad("last_address", &address))?,
                u16::try_from(port).map_err(|_| bad("last_port", &port.to_string()))?,
            ),
            first_seen: time("first_seen")?,
            last_seen: time("last_seen")?,
            last_reason: text("last_reason")?,
        })
    }

    /// Deletes the oldest rows beyond the bounds, every [`Bounds::prune_every`] rows. Ids only grow, so the bound is a
    /// comparison of ids and needs no count. A failure is logged, and costs the batch only if the transaction went with
    /// it; the next try is after as many rows again.
    fn prune(&mut self) -> Result<(), StoreError> {
        let mut due = Vec::new();
        if self.new_sessions >= self.bounds.prune_every {
            self.new_sessions = 0;
            due.push((
                "DELETE FROM sessions WHERE disconnected_at IS NOT NULL
                     AND id <= (SELECT max(id) FROM sessions) - ?1",
                self.bounds.sessions,
            ));
        }
        if self.new_events >= self.bounds.prune_every {
            self.new_events = 0;
            due.push(("DELETE FROM events WHERE id <= (SELECT max(id) FROM events) - ?1", self.bounds.events));
        }
        let mut fate = Ok(());
        for (sql, kept) in due {
            // Its failure is reported with the batch.
            let _ = self.guarded(&mut fate, |writer| writer.change(sql, [kept]));
        }
        fate
    }

    fn execute(&self, sql: &str) -> Result<(), StoreError> {
        self.change(sql, []).map(drop)
    }

    fn change(&self, sql: &str, values: impl rusqlite::Params) -> Result<usize, StoreError> {
        self.db
            .prepare_cached(sql)
            .and_then(|mut statement| statement.execute(values))
            .map_err(|error| StoreError::sqlite("write to", &self.path, &error))
    }

    fn query<T>(
        &self,
        sql: &str,
        values: impl rusqlite::Params,
        read: impl FnOnce(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Option<T>, StoreError> {
        self.db
            .prepare_cached(sql)
            .and_then(|mut statement| statement.query_row(values, read).optional())
            .map_err(|error| StoreError::sqlite("use", &self.path, &error))
    }

    fn report(&mut self, fate: &Result<(), StoreError>, writes: bool) {
        let trouble = self.trouble.take().or_else(|| fate.as_ref().err().cloned());
        match &trouble {
            Some(error) if !self.troubled => tracing::error!("{error}"),
            None if self.troubled && writes => tracing::info!("the registry is being written again"),
            _ => {}
        }
        if writes || trouble.is_some() {
            self.troubled = trouble.is_some();
        }
    }

    /// Moves the write-ahead log into the database and closes it.
    pub(super) fn close(self) -> Result<(), StoreError> {
        let Writer { db, path, lock, .. } = self;
        let failed = |error: rusqlite::Error| StoreError::sqlite("close", &path, &error);
        db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).map_err(failed)?;
        db.close().map_err(|(_, error)| failed(error))?;
        drop(lock);
        Ok(())
    }
}

fn answer<T: 'static>(reply: Reply<T>, outcome: Result<T, StoreError>) -> Acknowledge {
    Box::new(move |fate, counters| {
        // Events and heartbeats are often sent without waiting for the answer.
        let _ = reply.send(settle(outcome, fate, counters));
        None
    })
}

/// What the asker is told: his own outcome counts only if the batch was committed.
fn settle<T>(
    outcome: Result<T, StoreError>,
    fate: &Result<(), StoreError>,
    counters: &Counters,
) -> Result<T, StoreError> {
    let outcome = fate.clone().and(outcome);
    let counter = if outcome.is_ok() { &counters.done } else { &counters.failed };
    counter.fetch_add(1, Ordering::Relaxed);
    outcome
}

/// The longest beginning of `text` that has at most `max` bytes.
fn cut(text: &str, max: usize) -> &str {
    let mut end = max.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

/// What the store has done and refused since it was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct StoreCounters {
    /// Requests carried out.
    pub done: u64,
    /// Requests that failed; each was answered with its error.
    pub failed: u64,
    /// Requests turned away because the queue was full.
    pub busy: u64,
    /// Transactions: the fewer there are for the requests, the more the group commit saved.
    pub batches: u64,
}

#[derive(Debug, Default)]
pub(super) struct Counters {
    done: AtomicU64,
    failed: AtomicU64,
    busy: AtomicU64,
    batches: AtomicU64,
}

impl Counters {
    pub(super) fn count_busy(&self) {
        self.busy.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn read(&self) -> StoreCounters {
        StoreCounters {
            done: self.done.load(Ordering::Relaxed),
            failed: self.failed.load(Ordering::Relaxed),
            busy: self.busy.load(Ordering::Relaxed),
            batches: self.batches.load(Ordering::Relaxed),
        }
    }
}
