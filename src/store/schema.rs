//! The tables, and how a database of an older version is brought up to date.

use std::path::Path;

use rusqlite::{Connection, TransactionBehavior};

use super::StoreError;

/// Marks the file as ours in its header (`file` and SQLite show it): "SwBd".
const APPLICATION_ID: i64 = 0x5377_4264;

/// One script per version: the first makes version 1 out of an empty database, and so on. A script that was released is
/// never changed; changes are a further script.
///
/// Times are nanoseconds since the Unix epoch. Ids of sessions and events are never used twice (AUTOINCREMENT), so that
/// their order is the order of recording and pruning needs no count.
const MIGRATIONS: &[&str] = &["
    CREATE TABLE clients (
        id               TEXT    NOT NULL PRIMARY KEY,
        kind             TEXT    NOT NULL,  -- robot, operator, observer
        name             TEXT    NOT NULL,
        host_name        TEXT    NOT NULL,
        software_version TEXT    NOT NULL,
        ros_distro       TEXT    NOT NULL,
        first_seen       INTEGER NOT NULL,
        last_seen        INTEGER NOT NULL,  -- login, heartbeat or logout
        last_address     TEXT    NOT NULL,
        last_port        INTEGER NOT NULL,
        last_reason      TEXT    NOT NULL   -- why the last session ended, empty while one is open
    ) STRICT, WITHOUT ROWID;

    CREATE TABLE sessions (
        id              INTEGER PRIMARY KEY AUTOINCREMENT,
        client          TEXT    NOT NULL REFERENCES clients (id) ON DELETE CASCADE,
        connected_at    INTEGER NOT NULL,
        disconnected_at INTEGER CHECK (disconnected_at >= connected_at),  -- NULL while open
        address         TEXT    NOT NULL,
        port            INTEGER NOT NULL,
        reason          TEXT    NOT NULL DEFAULT ''
    ) STRICT;
    CREATE INDEX sessions_by_client ON sessions (client);
    CREATE INDEX sessions_by_time ON sessions (connected_at);
    -- A client has one open session at most.
    CREATE UNIQUE INDEX sessions_open ON sessions (client) WHERE disconnected_at IS NULL;

    CREATE TABLE events (
        id      INTEGER PRIMARY KEY AUTOINCREMENT,
        at      INTEGER NOT NULL,
        kind    TEXT    NOT NULL,
        client  TEXT,               -- no reference: strangers that were turned away are in here too
        address TEXT,
        port    INTEGER,
        detail  TEXT    NOT NULL
    ) STRICT;
    CREATE INDEX events_by_time ON events (at);
"];

/// Brings the database up to the newest version.
///
/// # Errors
/// See [`super::Store::open`]. The database is then as it was.
pub(super) fn migrate(db: &mut Connection, path: &Path) -> Result<(), StoreError> {
    migrate_with(db, path, MIGRATIONS)
}

fn migrate_with(db: &mut Connection, path: &Path, migrations: &[&str]) -> Result<(), StoreError> {
    let failed = |error: rusqlite::Error| StoreError::sqlite("bring up to date the tables of", path, &error);
    let transaction = db.transaction_with_behavior(TransactionBehavior::Immediate).map_err(failed)?;
    let number = |sql: &str| transaction.query_row(sql, [], |row| row.get::<_, i64>(0)).map_err(failed);

    let found = number("PRAGMA user_version")?;
    let known = i64::try_from(migrations.len()).unwrap_or(i64::MAX);
    let empty = number("SELECT count(*) FROM sqlite_schema")? == 0;
    let ours = number("PRAGMA application_id")? == APPLICATION_ID;
    let new = empty && found == 0;
    if !ours && !new {
        return Err(StoreError::Foreign { path: path.to_owned() });
    }
    let done = match usize::try_from(found) {
        Ok(done) if done <= migrations.len() => done,
        _ => return Err(StoreError::NewerVersion { path: path.to_owned(), found, known }),
    };
    if done < migrations.len() {
        for script in &migrations[done..] {
            transaction.execute_batch(script).map_err(failed)?;
        }
        transaction.pragma_update(None, "application_id", APPLICATION_ID).map_err(failed)?;
        transaction.pragma_update(None, "user_version", known).map_err(failed)?;
    }
    transaction.commit().map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(db: &Connection) -> i64 {
        db.query_row("PRAGMA user_version", [], |row| row.get(0)).unwrap()
    }

    fn tables(db: &Connection) -> Vec<String> {
        let mut statement = db
            .prepare("SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%' ORDER BY name")
            .unwrap();
        statement.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
    }

    #[test]
    fn an_empty_database_gets_every_table() {
        let mut db = Connection::open_in_memory().unwrap();
        migrate(&mut db, Path::new("x.db")).unwrap();
        assert_eq!(tables(&db), ["clients", "events", "sessions"]);
        assert_eq!(version(&db), MIGRATIONS.len() as i64);
        migrate(&mut db, Path::new("x.db")).unwrap();
    }

    #[test]
    fn an_older_database_keeps_its_rows() {
        let mut db = Connection::open_in_memory().unwrap();
        migrate_with(&mut db, Path::new("x.db"), &["CREATE TABLE a (x INTEGER) STRICT"]).unwrap();
        db.execute("INSERT INTO a VALUES (7)", []).unwrap();
        let scripts = ["CREATE TABLE a (x INTEGER) STRICT", "ALTER TABLE a ADD y INTEGER", "UPDATE a SET y = x + 1"];
        migrate_with(&mut db, Path::new("x.db"), &scripts).unwrap();
        assert_eq!(version(&db), 3);
        assert_eq!(db.query_row("SELECT y FROM a", [], |row| row.get::<_, i64>(0)).unwrap(), 8);
    }

    #[test]
    fn a_migration_that_fails_half_way_changes_nothing() {
        let mut db = Connection::open_in_memory().unwrap();
        let scripts = ["CREATE TABLE a (x INTEGER) STRICT", "CREATE TABLE b (x INTEGER) STRICT; no such words"];
        assert!(matches!(migrate_with(&mut db, Path::new("x.db"), &scripts), Err(StoreError::Failed { .. })));
        assert_eq!((version(&db), tables(&db).len()), (0, 0));
    }

    #[test]
    fn a_newer_database_is_refused_with_what_to_do() {
        let mut db = Connection::open_in_memory().unwrap();
        migrate(&mut db, Path::new("x.db")).unwrap();
        db.pragma_update(None, "user_version", 99).unwrap();
        let message = migrate(&mut db, Path::new("x.db")).unwrap_err().to_string();
        assert!(message.contains("x.db has version 99") && message.contains("run the newer"), "{message}");
        assert_eq!(version(&db), 99);
    }

    #[test]
    fn the_database_of_another_program_is_left_alone() {
        let mut db = Connection::open_in_memory().unwrap();
        db.execute_batch("CREATE TABLE recipes (x)").unwrap();
        assert!(matches!(migrate(&mut db, Path::new("x.db")), Err(StoreError::Foreign { .. })));
        assert_eq!(tables(&db), ["recipes"]);
    }
}
