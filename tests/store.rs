//! The registry across processes: what was acknowledged survives `kill -9`, and the lock does not.

#![allow(clippy::unwrap_used)]

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Child, ChildStdout, Command, Stdio},
    time::{Instant, SystemTime, UNIX_EPOCH},
};

use rusqlite::{Connection, OpenFlags};
use switchboard::{
    ids::{ClientId, SessionId},
    model::ClientKind,
    registry::{EventKind, EventRecord, ExportRequest, ExportTable, LoginRecord, LogoutRecord},
    store::{Store, StoreError},
    time::Wall,
};

/// Names the database to a child process; without it, `child` has nothing to do.
const DATABASE: &str = "SWITCHBOARD_TEST_DATABASE";
/// Clients that come and go together in the child.
const FLEET: usize = 20;

fn now() -> Wall {
    Wall(i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos()).unwrap())
}

fn login(client: &str) -> LoginRecord {
    LoginRecord {
        client: ClientId::new(client).unwrap(),
        kind: ClientKind::Robot,
        name: client.to_owned(),
        host_name: "host".to_owned(),
        software_version: "0.1.0".to_owned(),
        ros_distro: "jazzy".to_owned(),
        address: "192.0.2.1:40000".parse().unwrap(),
        at: now(),
    }
}

fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    // The line break in front ends whatever the test harness has begun.
    writeln!(out, "\n{line}").unwrap();
    out.flush().unwrap();
}

/// The server that gets killed: a fleet comes and goes for ever, and every acknowledgement is told.
#[test]
#[ignore = "the child process of the tests below"]
fn child() {
    let Ok(database) = std::env::var(DATABASE) else { return };
    let store = Store::open(Path::new(&database), now()).unwrap();
    say(&format!("repaired {}", store.sessions_repaired()));
    let handle = store.handle();
    loop {
        let logins: Vec<_> = (0..FLEET).map(|n| handle.login(login(&format!("r{n}")))).collect();
        let sessions: Vec<SessionId> = logins
            .into_iter()
            .map(|answer| {
                let session = answer.wait().unwrap();
                say(&format!("in {session}"));
                session
            })
            .collect();
        let logouts: Vec<_> = sessions
            .into_iter()
            .map(|session| (session, handle.logout(LogoutRecord { session, at: now(), reason: "left".to_owned() })))
            .collect();
        for (session, answer) in logouts {
            answer.wait().unwrap();
            say(&format!("out {session}"));
        }
    }
}

fn spawn(database: &Path) -> (Child, BufReader<ChildStdout>) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child", "--ignored", "--nocapture"])
        .env(DATABASE, database)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap());
    (child, lines)
}

/// The next line of the form `word number`.
fn next(lines: &mut impl BufRead) -> Option<(String, i64)> {
    let mut line = String::new();
    while lines.read_line(&mut line).unwrap() > 0 {
        if let Some((word, number)) = line.trim().split_once(' ')
            && let Ok(number) = number.parse()
        {
            return Some((word.to_owned(), number));
        }
        line.clear();
    }
    None
}

#[test]
fn every_acknowledged_row_survives_kill_9() {
    let folder = tempfile::tempdir().unwrap();
    let database = folder.path().join("registry.db");
    // Session → whether its end was acknowledged too.
    let mut acknowledged: BTreeMap<i64, bool> = BTreeMap::new();
    for round in 0..8 {
        let (mut child, mut lines) = spawn(&database);
        // Killed at another point of the cycle each time: amid logins, amid logouts, between.
        for _ in 0..40 + round * 13 {
            note(&mut acknowledged, next(&mut lines).expect("the child has died"));
        }
        child.kill().unwrap();
        child.wait().unwrap();
        while let Some(told) = next(&mut lines) {
            note(&mut acknowledged, told);
        }
        check(&database, &acknowledged);
    }
    assert!(acknowledged.len() > 200, "{}", acknowledged.len());

    let store = Store::open(&database, now()).unwrap();
    let open_ones = acknowledged.values().filter(|ended| !**ended).count();
    assert!(open_ones > 0, "no kill hit an open session");
    assert_eq!(store.handle().clients().wait().unwrap().len(), FLEET);
    store.close().unwrap();
    let db = Connection::open(&database).unwrap();
    let number = |sql: &str| db.query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap();
    assert_eq!(number("SELECT count(*) FROM sessions WHERE disconnected_at IS NULL"), 0);
    assert!(number("SELECT count(*) FROM sessions WHERE reason = 'the server stopped without closing'") > 0);
    let verdict: String = db.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(verdict, "ok");
}

fn note(acknowledged: &mut BTreeMap<i64, bool>, (word, number): (String, i64)) {
    match word.as_str() {
        "in" => {
            assert_eq!(acknowledged.insert(number, false), None, "a session id was used twice");
        }
        "out" => {
            acknowledged.insert(number, true);
        }
        _ => {}
    }
}

fn check(database: &Path, acknowledged: &BTreeMap<i64, bool>) {
    let db = Connection::open_with_flags(database, OpenFlags::SQLITE_OPEN_READ_WRITE).unwrap();
    for (session, ended) in acknowledged {
        let reason: String = db
            .query_row("SELECT reason FROM sessions WHERE id = ?1", [session], |row| row.get(0))
            .unwrap_or_else(|error| panic!("session {session} was acknowledged and is lost: {error}"));
        assert!(!ended || reason == "left", "the end of session {session} was acknowledged and is lost: {reason:?}");
    }
}

#[test]
fn the_lock_of_another_process_holds_and_goes_with_it() {
    let folder = tempfile::tempdir().unwrap();
    let database = folder.path().join("registry.db");
    let (mut child, mut lines) = spawn(&database);
    next(&mut lines).expect("the child has died");
    let refused = Store::open(&database, now()).unwrap_err();
    assert!(matches!(refused, StoreError::InUse { .. }), "{refused}");
    assert!(refused.to_string().contains(&format!("process {}", child.id())), "{refused}");
    child.kill().unwrap();
    child.wait().unwrap();
    Store::open(&database, now()).unwrap();
}

/// `cargo test --release --no-default-features --test store -- --ignored --nocapture figures`
#[test]
#[ignore = "a measurement"]
fn figures() {
    let folder =
        tempfile::tempdir_in(std::env::var("SWITCHBOARD_FIGURES_DIR").unwrap_or_else(|_| ".".to_owned())).unwrap();
    let store = Store::open(&folder.path().join("registry.db"), now()).unwrap();
    let handle = store.handle();
    let per_second = |count: usize, begun: Instant| count as f64 / begun.elapsed().as_secs_f64();

    let begun = Instant::now();
    for n in 0..500 {
        handle.login(login(&format!("r{n}"))).wait().unwrap();
    }
    println!("one login after the other: {:.0}/s", per_second(500, begun));

    let before = handle.counters();
    let begun = Instant::now();
    for _ in 0..20 {
        let answers: Vec<_> = (0..1000).map(|n| handle.login(login(&format!("r{n}")))).collect();
        for answer in answers {
            answer.wait().unwrap();
        }
    }
    let batches = handle.counters().batches - before.batches;
    println!("1000 logins at once, 20 times: {:.0}/s in {batches} commits", per_second(20_000, begun));

    for _ in 0..400 {
        let answers: Vec<_> = (0..1000)
            .map(|_| {
                let detail = "a line of the event log as it may be".to_owned();
                handle.event(EventRecord { at: now(), kind: EventKind::Port, client: None, address: None, detail })
            })
            .collect();
        answers.into_iter().for_each(|answer| answer.wait().unwrap());
    }
    let request =
        |table| ExportRequest { table, file_name: String::new(), start: None, end: None, overwrite: true, now: now() };
    let begun = Instant::now();
    let export = handle.export(request(ExportTable::Events), folder.path());
    let mut slowest = std::time::Duration::ZERO;
    let mut logins = 0;
    let (done, is_done) = std::sync::mpsc::channel();
    let waiter = std::thread::spawn(move || done.send((export.wait().unwrap(), begun.elapsed())));
    let (exported, took) = loop {
        if let Ok(result) = is_done.try_recv() {
            break result;
        }
        let asked = Instant::now();
        handle.login(login("r1")).wait().unwrap();
        slowest = slowest.max(asked.elapsed());
        logins += 1;
    };
    waiter.join().unwrap().unwrap();
    println!("export of {} events: {took:?}; {logins} logins meanwhile, the slowest took {slowest:?}", exported.rows);
}
