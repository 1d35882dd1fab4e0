//! Through the handle, with the thread.

use std::fs;

use super::*;
use crate::store::{open::CRASHED, writer::REPLACED};

#[test]
fn what_was_recorded_is_there_after_opening_again() {
    let place = Place::new();
    let store = place.open();
    let handle = store.handle();
    let session = handle.login(login("r1", 1)).wait().unwrap();
    handle.login(LoginRecord { kind: ClientKind::Operator, ..login("alice", 2) }).wait().unwrap();
    handle.logout(logout(session, 5, "goodbye")).wait().unwrap();
    let known = handle.clients().wait().unwrap();
    store.close().unwrap();

    let store = place.open();
    let again = store.handle().clients().wait().unwrap();
    assert_eq!(again[1], known[1]);
    assert_eq!(
        again[1],
        KnownClient {
            client: id("r1"),
            kind: ClientKind::Robot,
            name: "Robot r1".to_owned(),
            host_name: "host".to_owned(),
            software_version: "0.1.0".to_owned(),
            ros_distro: "jazzy".to_owned(),
            last_address: "192.0.2.1:40000".parse().unwrap(),
            first_seen: at(1),
            last_seen: at(5),
            last_reason: "goodbye".to_owned(),
        }
    );
    assert_eq!((again[0].client.as_str(), again[0].kind), ("alice", ClientKind::Operator));
}

#[test]
fn a_client_that_comes_again_keeps_its_first_seen_and_takes_its_new_facts() {
    let place = Place::new();
    let store = place.open();
    let handle = store.handle();
    let first = handle.login(login("r1", 1)).wait().unwrap();
    handle.logout(logout(first, 2, "cut")).wait().unwrap();
    let changed = LoginRecord { name: "New".to_owned(), address: "[2001:db8::1]:5".parse().unwrap(), ..login("r1", 9) };
    let second = handle.login(changed).wait().unwrap();
    assert!(second > first);
    let known = handle.clients().wait().unwrap().remove(0);
    assert_eq!((known.first_seen, known.last_seen), (at(1), at(9)));
    assert_eq!((known.name.as_str(), known.last_reason.as_str()), ("New", ""));
    assert_eq!(known.last_address, "[2001:db8::1]:5".parse().unwrap());
}

#[test]
fn a_second_server_on_the_same_database_is_refused_by_any_path() {
    let place = Place::new();
    let store = place.open();
    let link = place.folder.path().join("link.db");
    std::os::unix::fs::symlink(&place.database, &link).unwrap();
    let detour = place.database.parent().unwrap().join("../way/registry.db");
    for path in [&place.database, &link, &detour] {
        let message = Store::open(path, at(0)).unwrap_err().to_string();
        assert!(message.contains("in use by another server (process "), "{message}");
        assert!(message.contains("registry.db") && message.contains("another database file"), "{message}");
    }
    store.close().unwrap();
    Store::open(&link, at(0)).unwrap();
}

#[test]
fn sessions_left_open_end_at_the_last_sign_of_life() {
    let place = Place::new();
    let store = place.open();
    let handle = store.handle();
    handle.login(login("heard", 1)).wait().unwrap();
    handle.login(login("silent", 2)).wait().unwrap();
    let gone = handle.login(login("gone", 3)).wait().unwrap();
    handle.logout(logout(gone, 4, "goodbye")).wait().unwrap();
    handle.touch(vec![(id("heard"), at(30)), (id("nobody"), at(30))]).wait().unwrap();
    // Closing the store ends no session: whoever decides on sessions does that.
    store.close().unwrap();

    let store = place.open();
    assert_eq!(store.sessions_repaired(), 2);
    let ending = |client: &str, seconds, reason: &str| (client.to_owned(), Some(seconds), reason.to_owned());
    assert_eq!(
        place.endings(),
        [ending("heard", 30, CRASHED), ending("silent", 2, CRASHED), ending("gone", 4, "goodbye")]
    );
    let known = store.handle().clients().wait().unwrap();
    assert_eq!(
        known.iter().map(|client| client.last_reason.as_str()).collect::<Vec<_>>(),
        ["goodbye", CRASHED, CRASHED]
    );
    assert_eq!(place.number("SELECT count(*) FROM events WHERE kind = 'server' AND at / 1000000000 = 1767183400"), 1);
    store.close().unwrap();
    assert_eq!(place.open().sessions_repaired(), 0);
}

#[test]
fn a_login_ends_the_session_that_its_client_left_open() {
    let place = Place::new();
    let store = place.open();
    let first = store.handle().login(login("r1", 1)).wait().unwrap();
    store.handle().login(login("r1", 7)).wait().unwrap();
    assert_eq!(place.endings()[0], ("r1".to_owned(), Some(7), REPLACED.to_owned()));
    assert_eq!(place.endings()[1].1, None);
    let late = store.handle().logout(logout(first, 8, "late")).wait();
    assert_eq!(late, Err(StoreError::UnknownSession(first)));
}

#[test]
fn a_clock_that_is_set_back_makes_no_negative_session() {
    let place = Place::new();
    let store = place.open();
    let session = store.handle().login(login("r1", 100)).wait().unwrap();
    store.handle().logout(logout(session, 50, "goodbye")).wait().unwrap();
    store.handle().login(login("r1", 20)).wait().unwrap();
    assert_eq!(place.endings()[0].1, Some(100));
}

#[test]
fn a_full_queue_is_told_at_once_and_counted() {
    let place = Place::new();
    let store = place.open();
    let handle = store.handle();
    let other = place.look();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let answers: Vec<_> = (0..2 * defaults::STORE_QUEUE + 10).map(|n| handle.event(event(n as i64, "x"))).collect();
    other.execute_batch("ROLLBACK").unwrap();
    let busy = handle.counters().busy;
    assert!(busy >= 10, "{busy}");
    let refused = answers.into_iter().map(Answer::wait).filter(|answer| *answer == Err(StoreError::Busy)).count();
    assert_eq!(refused as u64, busy);
    assert_eq!(handle.event(event(0, "afterwards")).wait(), Ok(()));
}

#[test]
fn closing_carries_out_what_is_queued_and_leaves_one_file() {
    let place = Place::new();
    let store = place.open();
    let handle = store.handle();
    for n in 0..500 {
        drop(handle.event(event(n, "x")));
    }
    store.close().unwrap();
    assert!(!place.database.with_extension("db-wal").exists());
    assert_eq!(place.number("SELECT count(*) FROM events"), 500);
    assert_eq!(handle.event(event(0, "x")).wait(), Err(StoreError::Stopped));
    let export = handle.export(export(ExportTable::Events), place.folder.path());
    assert_eq!(export.wait(), Err(StoreError::Stopped));
}

#[test]
fn a_file_that_is_no_database_is_refused_and_left_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notes.txt");
    fs::write(&path, "not a database, ".repeat(100)).unwrap();
    let message = Store::open(&path, at(0)).unwrap_err().to_string();
    assert!(message.contains("notes.txt") && message.contains("move the file away"), "{message}");
    assert!(fs::read_to_string(&path).unwrap().starts_with("not a database"));
}

#[test]
fn a_path_that_cannot_be_a_database_is_named() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("file"), "").unwrap();
    for path in [folder.path().join("file/registry.db"), folder.path().to_owned(), PathBuf::from("/")] {
        let message = Store::open(&path, at(0)).unwrap_err().to_string();
        assert!(
            message.contains(folder.path().to_str().unwrap()) || message.contains("use as a database /"),
            "{message}"
        );
    }
}

#[test]
fn a_row_that_was_spoilt_by_hand_is_named() {
    let place = Place::new();
    let store = place.open();
    store.handle().login(login("r1", 1)).wait().unwrap();
    place.look().execute("UPDATE clients SET last_address = 'home'", []).unwrap();
    let message = store.handle().clients().wait().unwrap_err().to_string();
    assert!(message.contains("last_address of client \"r1\" is \"home\"; correct it"), "{message}");
}

#[test]
fn endless_texts_are_cut_between_characters() {
    let place = Place::new();
    let store = place.open();
    store.handle().event(event(1, &"ä".repeat(100_000))).wait().unwrap();
    let long = LoginRecord { name: format!("x{}", "ä".repeat(1000)), ..login("r1", 1) };
    store.handle().login(long).wait().unwrap();
    assert_eq!(place.number("SELECT length(CAST(detail AS BLOB)) FROM events"), defaults::REASON_MAX as i64);
    assert_eq!(place.number("SELECT length(CAST(name AS BLOB)) FROM clients"), defaults::TEXT_MAX as i64 - 1);
}

#[tokio::test]
async fn answers_are_futures() {
    let place = Place::new();
    let store = place.open();
    let handle = store.handle();
    let logins = (0..50).map(|n| handle.login(login(&format!("r{n}"), n)));
    let sessions = futures::future::try_join_all(logins).await.unwrap();
    assert_eq!(sessions.len(), 50);
    assert!(handle.counters().batches <= 50);
    assert_eq!(handle.export(export(ExportTable::Clients), place.folder.path()).await.unwrap().rows, 50);
}
