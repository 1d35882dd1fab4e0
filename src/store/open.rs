//! Taking a database file: the lock, the connection and the repair after a crash.

use std::{
    fs::{self, File, TryLockError},
    io::{self, Read, Seek, Write},
    path::{Path, PathBuf},
};

use rusqlite::{Connection, OpenFlags, params};

use super::{StoreError, schema};
use crate::{defaults, registry::EventKind, time::Wall};

/// What a session that a crash left open gets as its reason.
pub(super) const CRASHED: &str = "the server stopped without closing";

/// A database that is ready to be written to.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) db: Connection,
    /// Absolute, without symbolic links.
    pub(super) path: PathBuf,
    pub(super) sessions_repaired: u64,
    /// Held for as long as the database is open.
    pub(super) lock: File,
}

/// Opens or creates the database; see [`super::Store::open`].
pub(super) fn open(path: &Path, now: Wall) -> Result<Opened, StoreError> {
    let path = resolve(path)?;
    let lock = lock(&path)?;
    let mut db = connect(&path)?;
    schema::migrate(&mut db, &path)?;
    let sessions_repaired =
        repair(&mut db, now).map_err(|error| StoreError::sqlite("end the open sessions in", &path, &error))?;
    Ok(Opened { db, path, sessions_repaired, lock })
}

/// Makes the parent folders, and the path absolute and free of symbolic links, so that two ways to the same file meet
/// the same lock.
fn resolve(path: &Path) -> Result<PathBuf, StoreError> {
    let name = path.file_name().ok_or_else(|| {
        StoreError::io("use as a database", path, &io::Error::new(io::ErrorKind::InvalidFilename, "it names no file"))
    })?;
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    fs::create_dir_all(folder).map_err(|error| StoreError::io("create the folder", folder, &error))?;
    match fs::canonicalize(path) {
        Ok(path) => Ok(path),
        Err(error) if error.kind() == io::ErrorKind::NotFound => fs::canonicalize(folder)
            .map(|folder| folder.join(name))
            .map_err(|error| StoreError::io("open the folder", folder, &error)),
        Err(error) => Err(StoreError::io("open the database", path, &error)),
    }
}

/// Takes `<database>.lock` for this process. The kernel lets go of it when the process ends, however it ends; the file
/// itself stays, because removing it would let two servers lock two files of the same name. (The database file itself
/// is no place for this lock: SQLite keeps its own locks there, and closing any other handle of it would drop them.)
fn lock(database: &Path) -> Result<File, StoreError> {
    let mut path = database.as_os_str().to_owned();
    path.push(".lock");
    let path = PathBuf::from(path);
    let failed = |error: io::Error| StoreError::io("lock", &path, &error);
    let mut file = File::options().read(true).write(true).create(true).truncate(false).open(&path).map_err(failed)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut holder = String::new();
            // Only for the message; the file may be empty for a moment.
            let _ = (&mut file).take(20).read_to_string(&mut holder);
            let holder = match holder.trim().parse::<u32>() {
                Ok(process) => format!(" (process {process})"),
                Err(_) => String::new(),
            };
            return Err(StoreError::InUse { path: database.to_owned(), holder });
        }
        Err(TryLockError::Error(error)) => return Err(failed(error)),
    }
    file.set_len(0).and_then(|()| file.rewind()).map_err(failed)?;
    writeln!(file, "{}", std::process::id()).map_err(failed)?;
    Ok(file)
}

fn connect(path: &Path) -> Result<Connection, StoreError> {
    let failed = |error: rusqlite::Error| StoreError::sqlite("open the database", path, &error);
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let db = Connection::open_with_flags(path, flags).map_err(failed)?;
    db.busy_timeout(defaults::STORE_BUSY_TIMEOUT).map_err(failed)?;
    let mode: String = db.query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0)).map_err(failed)?;
    if mode != "wal" {
        return Err(StoreError::Failed {
            doing: "open the database",
            path: path.to_owned(),
            cause: format!("its file system allows no write-ahead log (journal mode {mode:?})"),
            cure: "put the database on a local disk",
        });
    }
    // FULL: a commit is on the disk, not only in the system's cache, before it is acknowledged.
    db.pragma_update(None, "synchronous", "FULL").map_err(failed)?;
    db.pragma_update(None, "foreign_keys", true).map_err(failed)?;
    db.query_row(&format!("PRAGMA journal_size_limit = {}", defaults::STORE_LOG_KEPT), [], |_| Ok(()))
        .map_err(failed)?;
    db.set_prepared_statement_cache_capacity(32);
    Ok(db)
}

/// Ends the sessions that a crash left open. The last sign of life is the client's last heartbeat.
fn repair(db: &mut Connection, now: Wall) -> rusqlite::Result<u64> {
    let transaction = db.transaction()?;
    transaction.execute(
        "UPDATE clients SET last_reason = ?1
         WHERE id IN (SELECT client FROM sessions WHERE disconnected_at IS NULL)",
        [CRASHED],
    )?;
    let sessions = transaction.execute(
        "UPDATE sessions SET reason = ?1, disconnected_at =
             max(connected_at, (SELECT last_seen FROM clients WHERE clients.id = sessions.client))
         WHERE disconnected_at IS NULL",
        [CRASHED],
    )?;
    if sessions > 0 {
        transaction.execute(
            "INSERT INTO events (at, kind, detail) VALUES (?1, ?2, ?3)",
            params![
                now.0,
                EventKind::Server.as_str(),
                format!("ended {sessions} sessions that were left open: {CRASHED}")
            ],
        )?;
    }
    transaction.commit()?;
    Ok(sessions as u64)
}
