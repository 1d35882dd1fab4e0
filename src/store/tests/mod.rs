//! Tests of the store as a whole, and what they share.

mod export;
mod store;
mod writer;

use std::path::PathBuf;

use rusqlite::Connection;
use tempfile::TempDir;

use super::{
    writer::{Bounds, Request, Writer},
    *,
};
use crate::{
    model::ClientKind,
    registry::{EventKind, ExportTable},
};

const SECOND: i64 = 1_000_000_000;
/// 2025-12-31T12:00:00Z, the beginning of every test.
const NOON: i64 = 1_767_182_400;

fn at(seconds: i64) -> Wall {
    Wall((NOON + seconds) * SECOND)
}

fn id(client: &str) -> ClientId {
    ClientId::new(client).unwrap()
}

fn login(client: &str, seconds: i64) -> LoginRecord {
    LoginRecord {
        client: id(client),
        kind: ClientKind::Robot,
        name: format!("Robot {client}"),
        host_name: "host".to_owned(),
        software_version: "0.1.0".to_owned(),
        ros_distro: "jazzy".to_owned(),
        address: "192.0.2.1:40000".parse().unwrap(),
        at: at(seconds),
    }
}

fn logout(session: SessionId, seconds: i64, reason: &str) -> LogoutRecord {
    LogoutRecord { session, at: at(seconds), reason: reason.to_owned() }
}

fn event(seconds: i64, detail: &str) -> EventRecord {
    EventRecord { at: at(seconds), kind: EventKind::Port, client: None, address: None, detail: detail.to_owned() }
}

struct Place {
    folder: TempDir,
    database: PathBuf,
}

impl Place {
    fn new() -> Place {
        let folder = tempfile::tempdir().unwrap();
        let database = folder.path().join("made/on/the/way/registry.db");
        Place { folder, database }
    }

    fn open(&self) -> Store {
        Store::open(&self.database, at(1000)).unwrap()
    }

    /// A writer without its thread.
    fn writer(&self, bounds: Bounds) -> Writer {
        Writer::new(open::open(&self.database, at(0)).unwrap(), bounds, Arc::default())
    }

    /// A second look at the database, past the store.
    fn look(&self) -> Connection {
        Connection::open(&self.database).unwrap()
    }

    fn number(&self, sql: &str) -> i64 {
        self.look().query_row(sql, [], |row| row.get(0)).unwrap()
    }

    /// The end and the reason of each session, in the order of their ids.
    fn endings(&self) -> Vec<(String, Option<i64>, String)> {
        let db = self.look();
        let mut statement =
            db.prepare("SELECT client, disconnected_at / 1000000000, reason FROM sessions ORDER BY id").unwrap();
        let rows = statement
            .query_map([], |row| {
                Ok((row.get(0)?, row.get::<_, Option<i64>>(1)?.map(|seconds| seconds - NOON), row.get(2)?))
            })
            .unwrap();
        rows.map(Result::unwrap).collect()
    }
}

/// A request and where its answer will be.
fn asked<T>(request: impl FnOnce(Reply<T>) -> Request) -> (Request, Answer<T>) {
    let (reply, answer) = oneshot::channel();
    (request(reply), Answer(answer))
}

fn export(table: ExportTable) -> ExportRequest {
    ExportRequest {
        table,
        file_name: format!("{}.csv", table.as_str()),
        start: None,
        end: None,
        overwrite: true,
        now: at(1000),
    }
}
