//! Tables to CSV files (RFC 4180, a header line, UTF-8): each export on a short-lived thread with a read-only connection
//! of its own, so that no login waits for it. Rows go straight from the database to the file.
//!
//! Times are RFC 3339 in UTC, empty for none. A text that a spreadsheet would run as a formula gets an apostrophe in
//! front: names, reasons and details come from strangers.

use std::{
    borrow::Cow,
    path::{Path, PathBuf},
    sync::Arc,
};

use jiff::{Timestamp, tz::TimeZone};
use parking_lot::{Condvar, Mutex};
use rusqlite::{Connection, OpenFlags, Row, types::ValueRef};

use super::{
    Answer, StoreError,
    export_file::{ExportFile, checked_name},
    writer::Reply,
};
use crate::{
    defaults,
    registry::{ExportRequest, ExportTable, Exported},
    time::Wall,
};

/// Starts an export, or answers why not. `queued` is answered when everything asked before is committed.
pub(super) fn start(
    slots: &Arc<ExportSlots>,
    queued: Answer<()>,
    database: Arc<PathBuf>,
    request: ExportRequest,
    directory: PathBuf,
    reply: Reply<Exported>,
) {
    let slot = match slots.clone().take() {
        Ok(slot) => slot,
        Err(error) => {
            // Nobody may be waiting for the answer.
            let _ = reply.send(Err(error));
            return;
        }
    };
    let path = database.clone();
    // The reply is handed over only once the thread runs: if there is none, it is still here to tell so.
    let (hand_over, take_over) = std::sync::mpsc::sync_channel::<Reply<Exported>>(1);
    let thread = std::thread::Builder::new().name("export".to_owned()).spawn(move || {
        let Ok(reply) = take_over.recv() else { return };
        let result = match queued.wait() {
            Err(error @ (StoreError::Busy | StoreError::Stopped)) => Err(error),
            // Whatever else kept the last requests from being committed, the rows before them can be exported.
            Ok(()) | Err(_) => export(&database, &request, &directory, &|| slot.is_stopping()),
        };
        drop(slot);
        let _ = reply.send(result);
    });
    let _ = match thread {
        Ok(_) => hand_over.send(reply).map_err(drop),
        Err(error) => reply.send(Err(StoreError::io("start an export of", &path, &error))).map_err(drop),
    };
}

/// Writes what `request` asks for into `directory`, unless `stopping` says to give up.
fn export(
    database: &Path,
    request: &ExportRequest,
    directory: &Path,
    stopping: &dyn Fn() -> bool,
) -> Result<Exported, StoreError> {
    if let (Some(start), Some(end)) = (request.start, request.end)
        && end < start
    {
        return Err(StoreError::BackwardRange { start: rfc3339(start), end: rfc3339(end) });
    }
    let name = checked_name(request, &TimeZone::system())?;
    let mut file = ExportFile::create(directory, &name, request.overwrite)?;
    let rows = write_rows(database, request, &mut file, stopping)?;
    Ok(Exported { path: file.finish()?, rows })
}

/// A column, and what its integers are.
enum Column {
    /// Nanoseconds since the epoch.
    Time(&'static str),
    /// Text, or a number that is just that.
    Plain(&'static str),
}

impl Column {
    fn name(&self) -> &'static str {
        match self {
            Column::Time(name) | Column::Plain(name) => name,
        }
    }
}

/// How a table is exported.
struct Sheet {
    /// In the order of the query.
    columns: &'static [Column],
    /// Parameters: ?1 start and ?2 end of the range, ?3 the time of the request, up to which open sessions last.
    query: &'static str,
}

use Column::{Plain, Time};

const CLIENTS: Sheet = Sheet {
    columns: &[
        Plain("id"),
        Plain("kind"),
        Plain("name"),
        Plain("host_name"),
        Plain("software_version"),
        Plain("ros_distro"),
        Time("first_seen"),
        Time("last_seen"),
        Plain("last_address"),
        Plain("last_port"),
        Plain("last_reason"),
    ],
    query: "SELECT id, kind, name, host_name, software_version, ros_distro, first_seen, last_seen, last_address,
                last_port, last_reason
            FROM clients WHERE first_seen <= ?2 AND (last_seen >= ?1 OR ?3 >= ?1 AND EXISTS
                (SELECT 1 FROM sessions WHERE client = clients.id AND disconnected_at IS NULL))
            ORDER BY id",
};

const SESSIONS: Sheet = Sheet {
    columns: &[
        Plain("id"),
        Plain("client"),
        Time("connected_at"),
        Time("disconnected_at"),
        Plain("address"),
        Plain("port"),
        Plain("reason"),
    ],
    query: "SELECT id, client, connected_at, disconnected_at, address, port, reason
            FROM sessions WHERE connected_at <= ?2 AND ifnull(disconnected_at, max(connected_at, ?3)) >= ?1
            ORDER BY connected_at, id",
};

const EVENTS: Sheet = Sheet {
    columns: &[
        Plain("id"),
        Time("at"),
        Plain("kind"),
        Plain("client"),
        Plain("address"),
        Plain("port"),
        Plain("detail"),
    ],
    query: "SELECT id, at, kind, client, address, port, detail
            FROM events WHERE at BETWEEN ?1 AND ?2 ORDER BY at, id",
};

fn write_rows(
    database: &Path,
    request: &ExportRequest,
    file: &mut ExportFile,
    stopping: &dyn Fn() -> bool,
) -> Result<u64, StoreError> {
    let sheet = match request.table {
        ExportTable::Clients => CLIENTS,
        ExportTable::Sessions => SESSIONS,
        ExportTable::Events => EVENTS,
    };
    let unreadable = |error: rusqlite::Error| StoreError::sqlite("read", database, &error);
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let db = Connection::open_with_flags(database, flags).map_err(unreadable)?;
    db.busy_timeout(defaults::STORE_BUSY_TIMEOUT).map_err(unreadable)?;
    let range =
        [request.start.map_or(i64::MIN, |start| start.0), request.end.map_or(i64::MAX, |end| end.0), request.now.0];
    let mut statement = db.prepare(sheet.query).map_err(unreadable)?;
    let parameters = statement.parameter_count().min(range.len());
    let mut rows = statement.query(rusqlite::params_from_iter(&range[..parameters])).map_err(unreadable)?;

    let path = file.path().to_owned();
    let unwritable = |error: csv::Error| StoreError::io("write", &path, &error.into());
    let mut csv = csv::WriterBuilder::new().terminator(csv::Terminator::CRLF).from_writer(file);
    csv.write_record(sheet.columns.iter().map(Column::name)).map_err(unwritable)?;
    let mut count = 0_u64;
    while let Some(row) = rows.next().map_err(unreadable)? {
        if stopping() {
            return Err(StoreError::Stopped);
        }
        for (index, column) in sheet.columns.iter().enumerate() {
            csv.write_field(cell(row, index, column).map_err(unreadable)?.as_ref()).map_err(unwritable)?;
        }
        csv.write_record(None::<&[u8]>).map_err(unwritable)?;
        count += 1;
    }
    csv.flush().map_err(|error| StoreError::io("write", &path, &error))?;
    Ok(count)
}

fn cell<'row>(row: &'row Row<'_>, index: usize, column: &Column) -> rusqlite::Result<Cow<'row, str>> {
    Ok(match (row.get_ref(index)?, column) {
        (ValueRef::Integer(nanos), Time(_)) => Cow::Owned(rfc3339(Wall(nanos))),
        (ValueRef::Integer(number), Plain(_)) => Cow::Owned(number.to_string()),
        (ValueRef::Text(text), _) => match String::from_utf8_lossy(text) {
            Cow::Borrowed(text) => disarm(text),
            Cow::Owned(text) => Cow::Owned(disarm(&text).into_owned()),
        },
        // The tables are STRICT and have no other types.
        (ValueRef::Null | ValueRef::Real(_) | ValueRef::Blob(_), _) => Cow::Borrowed(""),
    })
}

/// Puts an apostrophe in front of what a spreadsheet would run as a formula: a text that starts with `=`, `+`, `-` or
/// `@` (or their full-width forms), a tab or a carriage return, also after characters that a spreadsheet may strip.
fn disarm(text: &str) -> Cow<'_, str> {
    let stripped = |c: char| c.is_whitespace() || c.is_control() || matches!(c, '\u{feff}' | '\u{200b}'..='\u{200f}');
    let runs = matches!(
        text.trim_start_matches(stripped).chars().next(),
        Some('=' | '+' | '-' | '@' | '\u{ff1d}' | '\u{ff0b}' | '\u{ff0d}' | '\u{ff20}')
    );
    if runs || text.starts_with(['\t', '\r']) { Cow::Owned(format!("'{text}")) } else { Cow::Borrowed(text) }
}

fn rfc3339(time: Wall) -> String {
    let (seconds, nanoseconds) = time.split();
    // Every `Wall` is in the range of a `Timestamp`; the number is better than nothing.
    Timestamp::new(seconds, nanoseconds as i32).map_or_else(|_| time.0.to_string(), |time| time.to_string())
}

/// How many exports run, and whether they should stop.
#[derive(Debug)]
pub(super) struct ExportSlots {
    max: usize,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    running: usize,
    stopping: bool,
}

impl ExportSlots {
    pub(super) fn new(max: usize) -> Self {
        ExportSlots { max, state: Mutex::default(), changed: Condvar::new() }
    }

    fn take(self: Arc<Self>) -> Result<Slot, StoreError> {
        let mut state = self.state.lock();
        if state.stopping {
            return Err(StoreError::Stopped);
        }
        if state.running >= self.max {
            return Err(StoreError::ExportsBusy);
        }
        state.running += 1;
        drop(state);
        Ok(Slot(self))
    }

    /// Lets no export begin any more, tells the running ones to give up, and waits until they have.
    pub(super) fn stop(&self) {
        let mut state = self.state.lock();
        state.stopping = true;
        while state.running > 0 {
            self.changed.wait(&mut state);
        }
    }
}

/// The right to run one export, given back when dropped.
#[derive(Debug)]
struct Slot(Arc<ExportSlots>);

impl Slot {
    fn is_stopping(&self) -> bool {
        self.0.state.lock().stopping
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.state.lock().running -= 1;
        self.0.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formulas_are_disarmed() {
        for text in [
            "=1+1",
            "+1",
            "-1",
            "@SUM(A1)",
            "\t=1",
            "\tx",
            "\rx",
            "  =1",
            "\u{a0}=1",
            "\n=1",
            "\u{feff}=1",
            "\0=1",
            "\u{ff1d}1",
            "=HYPERLINK(\"http://x\",\"y\")",
        ] {
            assert_eq!(disarm(text), format!("'{text}"), "{text:?}");
        }
    }

    #[test]
    fn ordinary_texts_stay_as_they_are() {
        for text in ["", " ", "r1", "a=b", "'quoted'", "Zoë", "::1", "1-2", "  indented"] {
            assert_eq!(disarm(text), text);
        }
    }

    #[test]
    fn times_are_utc_on_both_sides_of_the_epoch_and_at_the_ends_of_the_range() {
        for (nanos, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (1_767_225_000_123_456_789, "2025-12-31T23:50:00.123456789Z"),
            (-1, "1969-12-31T23:59:59.999999999Z"),
            (i64::MAX, "2262-04-11T23:47:16.854775807Z"),
            (i64::MIN, "1677-09-21T00:12:43.145224192Z"),
        ] {
            assert_eq!(rfc3339(Wall(nanos)), text);
        }
    }

    #[test]
    fn no_more_exports_run_than_may_and_none_after_the_stop() {
        let slots = Arc::new(ExportSlots::new(2));
        let first = slots.clone().take().unwrap();
        let second = slots.clone().take().unwrap();
        assert_eq!(slots.clone().take().unwrap_err(), StoreError::ExportsBusy);
        drop(first);
        let third = slots.clone().take().unwrap();
        let stopper = std::thread::spawn({
            let slots = slots.clone();
            move || slots.stop()
        });
        while !third.is_stopping() {
            std::thread::yield_now();
        }
        assert!(!stopper.is_finished());
        drop((second, third));
        stopper.join().unwrap();
        assert_eq!(slots.take().unwrap_err(), StoreError::Stopped);
    }
}
