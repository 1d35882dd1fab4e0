//! The group commit, with batches made by hand.

use super::*;
use crate::store::{error::FORGET_OLD_CLIENTS, writer::ABANDONED};

#[test]
fn a_commit_is_on_the_disk_before_it_is_acknowledged() {
    let opened = open::open(&Place::new().database, at(0)).unwrap();
    let pragma = |name| opened.db.query_row(&format!("PRAGMA {name}"), [], |row| row.get::<_, i64>(0)).unwrap();
    assert_eq!(pragma("synchronous"), 2, "FULL");
    assert_eq!(pragma("foreign_keys"), 1);
    let mode: String = opened.db.query_row("PRAGMA journal_mode", [], |row| row.get(0)).unwrap();
    assert_eq!(mode, "wal");
}

#[test]
fn a_batch_is_one_commit_and_a_failing_request_costs_the_others_nothing() {
    let place = Place::new();
    let mut writer = place.writer(Bounds::DEFAULT);
    let counters = writer.counters.clone();
    let (r1, r1_answer) = asked(|reply| Request::Login(login("r1", 1), reply));
    let (bad, bad_answer) = asked(|reply| Request::Logout(logout(SessionId(77), 1, "?"), reply));
    let (line, line_answer) = asked(|reply| Request::Event(event(1, "opened"), reply));
    let (r2, r2_answer) = asked(|reply| Request::Login(login("r2", 2), reply));
    let (list, list_answer) = asked(Request::Clients);
    writer.commit(vec![r1, bad, line, r2, list]);

    assert_eq!(r1_answer.wait(), Ok(SessionId(1)));
    assert_eq!(bad_answer.wait(), Err(StoreError::UnknownSession(SessionId(77))));
    assert_eq!(line_answer.wait(), Ok(()));
    assert_eq!(r2_answer.wait(), Ok(SessionId(2)));
    assert_eq!(list_answer.wait().unwrap().len(), 2, "a request sees what was asked before it");
    let counters = counters.read();
    assert_eq!((counters.batches, counters.done, counters.failed), (1, 4, 1));
    assert_eq!(place.number("SELECT (SELECT count(*) FROM sessions) * 10 + (SELECT count(*) FROM events)"), 21);
}

#[test]
fn a_request_that_fails_half_way_leaves_nothing() {
    let place = Place::new();
    let mut writer = place.writer(Bounds::DEFAULT);
    // The client's row is written first, the session's row is then refused.
    writer
        .db
        .execute_batch("CREATE TRIGGER no BEFORE INSERT ON sessions BEGIN SELECT raise(ABORT, 'no'); END")
        .unwrap();
    let (r1, r1_answer) = asked(|reply| Request::Login(login("r1", 1), reply));
    let (line, line_answer) = asked(|reply| Request::Event(event(1, "opened"), reply));
    writer.commit(vec![r1, line]);
    assert!(matches!(r1_answer.wait(), Err(StoreError::Failed { .. })));
    assert_eq!(line_answer.wait(), Ok(()));
    assert_eq!(place.number("SELECT (SELECT count(*) FROM clients) * 10 + (SELECT count(*) FROM events)"), 1);
}

#[test]
fn a_full_disk_is_told_and_survived() {
    let place = Place::new();
    let mut writer = place.writer(Bounds::DEFAULT);
    let pages = |writer: &Writer, pages: i64| {
        writer.db.query_row(&format!("PRAGMA max_page_count = {pages}"), [], |_| Ok(())).unwrap();
    };
    pages(&writer, 1);
    let mut committed = 0;
    let error = loop {
        let (line, answer) = asked(|reply| Request::Event(event(1, &"x".repeat(1000)), reply));
        writer.commit(vec![line]);
        match answer.wait() {
            Ok(()) => committed += 1,
            Err(error) => break error.to_string(),
        }
        assert!(committed < 1000, "the limit has no effect");
    };
    assert!(error.contains("registry.db: database or disk is full; free some space"), "{error}");
    let (list, list_answer) = asked(Request::Clients);
    writer.commit(vec![list]);
    assert_eq!(list_answer.wait(), Ok(vec![]), "reading goes on");

    pages(&writer, 1_000_000);
    let (r1, r1_answer) = asked(|reply| Request::Login(login("r1", 1), reply));
    writer.commit(vec![r1]);
    assert!(r1_answer.wait().is_ok());
    assert_eq!(place.number("SELECT count(*) FROM events"), committed);
}

#[test]
fn a_transaction_that_fails_as_a_whole_acknowledges_nobody() {
    let place = Place::new();
    let mut writer = place.writer(Bounds::DEFAULT);
    // RAISE(ROLLBACK) gives up the transaction in the middle of the batch, as SQLite does on I/O errors.
    writer
        .db
        .execute_batch(
            "CREATE TRIGGER no BEFORE INSERT ON events WHEN new.detail = 'poison'
             BEGIN SELECT raise(ROLLBACK, 'poisoned'); END",
        )
        .unwrap();
    let (before, before_answer) = asked(|reply| Request::Login(login("r1", 1), reply));
    let (poison, poison_answer) = asked(|reply| Request::Event(event(1, "poison"), reply));
    let (after, after_answer) = asked(|reply| Request::Login(login("r2", 1), reply));
    writer.commit(vec![before, poison, after]);
    assert!(before_answer.wait().unwrap_err().to_string().contains("poisoned"));
    assert!(poison_answer.wait().is_err() && after_answer.wait().is_err());
    assert_eq!(place.number("SELECT count(*) FROM clients"), 0);

    let (next, next_answer) = asked(|reply| Request::Login(login("r1", 2), reply));
    writer.commit(vec![next]);
    assert!(next_answer.wait().is_ok());
}

#[test]
fn a_read_only_database_is_told_and_still_read() {
    let place = Place::new();
    let mut writer = place.writer(Bounds::DEFAULT);
    writer.db.pragma_update(None, "query_only", true).unwrap();
    let (r1, r1_answer) = asked(|reply| Request::Login(login("r1", 1), reply));
    writer.commit(vec![r1]);
    let message = r1_answer.wait().unwrap_err().to_string();
    assert!(message.contains("registry.db") && message.contains("make the file and its folder writable"), "{message}");
    let (list, list_answer) = asked(Request::Clients);
    writer.commit(vec![list]);
    assert_eq!(list_answer.wait(), Ok(vec![]));
}

#[test]
fn a_login_that_nobody_waits_for_leaves_no_open_session() {
    let place = Place::new();
    let mut writer = place.writer(Bounds::DEFAULT);
    let (early, answer) = asked(|reply| Request::Login(login("r1", 1), reply));
    drop(answer);
    writer.commit(vec![early]);
    assert!(place.endings().is_empty(), "given up before it was looked at");

    let (late, answer) = asked(|reply| Request::Login(login("r1", 2), reply));
    let acknowledgements = writer.carry_out(vec![late]);
    drop(answer);
    writer.acknowledge(acknowledgements);
    assert_eq!(place.endings(), [("r1".to_owned(), Some(2), ABANDONED.to_owned())], "given up after the commit");
}

#[test]
fn one_client_too_many_is_refused_with_a_cure_that_works() {
    let place = Place::new();
    let mut writer = place.writer(Bounds { clients: 2, ..Bounds::DEFAULT });
    let mut try_login = |client: &str, seconds: i64| {
        let (request, answer) = asked(|reply| Request::Login(login(client, seconds), reply));
        writer.commit(vec![request]);
        answer.wait()
    };
    let this_year = 100 * 365 * 24 * 3600;
    try_login("old", 0).unwrap();
    try_login("young", this_year).unwrap();
    let message = try_login("r3", this_year).unwrap_err().to_string();
    assert!(message.contains("knows 2 clients already and r3 would be one more"), "{message}");
    assert!(message.contains(&format!("sqlite3 registry.db \"{FORGET_OLD_CLIENTS}\"")), "{message}");
    try_login("young", this_year + 1).unwrap();

    // `old` was last seen on 2025-12-31; the cure counts 90 days back from the machine's clock.
    let db = place.look();
    db.execute("UPDATE clients SET last_seen = 0 WHERE id = 'old'", []).unwrap();
    db.execute_batch(FORGET_OLD_CLIENTS).unwrap();
    try_login("r3", this_year).unwrap();
    let clients: Vec<String> = place.endings().into_iter().map(|(client, ..)| client).collect();
    assert_eq!(clients, ["young", "young", "r3"], "sessions go with their client");
}

#[test]
fn the_oldest_ended_sessions_and_events_go_first_and_open_sessions_stay() {
    let place = Place::new();
    let mut writer = place.writer(Bounds { sessions: 5, events: 7, prune_every: 3, ..Bounds::DEFAULT });
    for n in 0..40 {
        // r0 logs in once and stays; r1 comes and goes.
        let (come, answer) = asked(|reply| Request::Login(login(if n == 0 { "r0" } else { "r1" }, n), reply));
        let (line, _) = asked(|reply| Request::Event(event(n, "x"), reply));
        writer.commit(vec![come, line]);
        let session = answer.wait().unwrap();
        if n > 0 {
            writer.commit(vec![asked(|reply| Request::Logout(logout(session, n, "gone"), reply)).0]);
        }
        assert!(place.number("SELECT count(*) FROM sessions WHERE disconnected_at IS NOT NULL") <= 5 + 3);
        assert!(place.number("SELECT count(*) FROM events") <= 7 + 3);
    }
    assert_eq!(place.number("SELECT id FROM sessions WHERE disconnected_at IS NULL"), 1);
    assert_eq!(place.number("SELECT max(id) FROM events"), 40);
    assert!(place.number("SELECT count(*) FROM events") >= 7);
}
