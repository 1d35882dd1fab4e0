//! What can go wrong in the store, in words that name the file and the cure.

use std::{
    io,
    path::{Path, PathBuf},
};

use rusqlite::ErrorCode;

use crate::{
    defaults,
    ids::{ClientId, SessionId},
};

/// SQL that removes clients not seen for 90 days, with their sessions: the cure for a full registry.
pub(super) const FORGET_OLD_CLIENTS: &str = "PRAGMA foreign_keys=ON; \
     DELETE FROM clients WHERE last_seen < unixepoch('now','-90 days')*1000000000";

/// Why the store did not do what it was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// The file system or SQLite refused.
    #[error("cannot {doing} {}: {cause}; {cure}", path.display())]
    Failed {
        /// What was being done, as in "cannot … the file".
        doing: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        cause: String,
        /// What to do about it.
        cure: &'static str,
    },
    /// Another server has the database open.
    #[error(
        "the registry {} is in use by another server{holder}; stop that one, or give this one another database file",
        path.display()
    )]
    InUse {
        /// The database.
        path: PathBuf,
        /// ` (process 123)`, or empty if unknown.
        holder: String,
    },
    /// The database was written by a newer version.
    #[error(
        "the registry {} has version {found} of the tables and this Switchboard knows versions up to {known}; \
         run the newer Switchboard again, or give this one another database file",
        path.display()
    )]
    NewerVersion {
        /// The database.
        path: PathBuf,
        /// Its version.
        found: i64,
        /// The newest version that this program knows.
        known: i64,
    },
    /// The database belongs to another program.
    #[error("{} is a database of another program; give the server another database file", path.display())]
    Foreign {
        /// The database.
        path: PathBuf,
    },
    /// The queue is full.
    #[error(
        "the registry is busy: {max} requests are waiting for the disk; try again in a second, and check the disk if it stays so",
        max = defaults::STORE_QUEUE
    )]
    Busy,
    /// The store has been closed.
    #[error("the registry is closed because the server is stopping; ask again when it runs")]
    Stopped,
    /// The registry has as many clients as it may have.
    #[error(
        "the registry knows {max} clients already and {client} would be one more; an administrator removes those not \
         seen for 90 days with: sqlite3 {database} \"{FORGET_OLD_CLIENTS}\""
    )]
    ClientsFull {
        /// Who wanted in.
        client: ClientId,
        /// The bound.
        max: u64,
        /// Name of the database file.
        database: String,
    },
    /// There is no such open session.
    #[error("session {0} is not open in the registry; it has ended already or was never recorded")]
    UnknownSession(SessionId),
    /// A row that cannot be read, because somebody edited it by hand.
    #[error("in {}, {column} of client {client:?} is {value:?}; correct it with sqlite3 or delete the row", path.display())]
    BadRow {
        /// The database.
        path: PathBuf,
        /// Primary key of the row.
        client: String,
        /// The column.
        column: &'static str,
        /// What it holds.
        value: String,
    },
    /// Not a name that an export may have.
    #[error(
        "file name {name:?} {fault}; give a plain name such as \"clients_2026-01-31.csv\", which is put into the export directory"
    )]
    BadFileName {
        /// The name, cut to a reasonable length.
        name: String,
        /// What is wrong with it.
        fault: &'static str,
    },
    /// The file is there already.
    #[error("{} exists already; choose another file name, or ask for it to be overwritten (overwrite: true, --overwrite)", .0.display())]
    Exists(PathBuf),
    /// The end of the time range is before its start.
    #[error("the time range ends at {end}, before it starts at {start}; exchange the two")]
    BackwardRange {
        /// RFC 3339.
        start: String,
        /// RFC 3339.
        end: String,
    },
    /// As many exports are running as may.
    #[error("{max} exports are running already; try again when one of them is done", max = defaults::EXPORTS_MAX)]
    ExportsBusy,
}

impl StoreError {
    /// An error of SQLite while `doing` something with `path`.
    pub(super) fn sqlite(doing: &'static str, path: &Path, error: &rusqlite::Error) -> Self {
        let cure = match error.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => "free some space on its file system",
            Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied | ErrorCode::CannotOpen) => {
                "make the file and its folder writable for the user who runs the server"
            }
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
                "another program holds it locked: end its transaction or the program"
            }
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
                "stop the server and move the file away (a new one is made); sqlite3's .recover saves what can be saved"
            }
            Some(ErrorCode::SystemIoFailure) => "check the disk and its file system, for instance with dmesg",
            _ => "if the file was changed by hand, put it back; otherwise please report this",
        };
        StoreError::Failed { doing, path: path.to_owned(), cause: error.to_string(), cure }
    }

    /// An error of the file system while `doing` something with `path`.
    pub(super) fn io(doing: &'static str, path: &Path, error: &io::Error) -> Self {
        let cure = match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => "free some space on its file system",
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                "make it writable for the user who runs the server, or choose another place"
            }
            io::ErrorKind::NotADirectory | io::ErrorKind::IsADirectory | io::ErrorKind::AlreadyExists => {
                "something else has that name: remove it or choose another name"
            }
            io::ErrorKind::InvalidFilename | io::ErrorKind::InvalidInput => "choose another name",
            _ => "check that the folder exists and that its disk works",
        };
        StoreError::Failed { doing, path: path.to_owned(), cause: error.to_string(), cure }
    }
}
