//! Exports through the handle.

use std::fs;

use super::*;

/// Two clients, three sessions (one of them open) and three events.
fn furnished(place: &Place) -> Store {
    let store = place.open();
    let handle = store.handle();
    let evil =
        LoginRecord { name: "=cmd|' /C calc'!A0".to_owned(), host_name: "a \"b\", c".to_owned(), ..login("r1", 10) };
    let first = handle.login(evil.clone()).wait().unwrap();
    handle.logout(logout(first, 20, "-1 timeout")).wait().unwrap();
    let alice = LoginRecord {
        kind: ClientKind::Operator,
        name: "Alice\nB".to_owned(),
        address: "[2001:db8::1]:50000".parse().unwrap(),
        ..login("alice", 30)
    };
    let second = handle.login(alice).wait().unwrap();
    handle.logout(logout(second, 40, "goodbye")).wait().unwrap();
    handle.login(LoginRecord { at: Wall(at(50).0 + 250_000_000), ..evil }).wait().unwrap();
    for (seconds, client, detail) in [(10, Some("r1"), "came"), (20, None, "+1"), (30, None, "  @x")] {
        handle
            .event(EventRecord {
                client: client.map(id),
                address: client.map(|_| "192.0.2.1:40000".parse().unwrap()),
                ..event(seconds, detail)
            })
            .wait()
            .unwrap();
    }
    store
}

#[test]
fn exported_tables_look_like_this() {
    let place = Place::new();
    let store = furnished(&place);
    let directory = place.folder.path().join("exports");
    let exported = |table: ExportTable| {
        let exported = store.handle().export(export(table), &directory).wait().unwrap();
        (exported.rows, fs::read_to_string(exported.path).unwrap())
    };
    assert_eq!(
        exported(ExportTable::Clients),
        (
            2,
            "id,kind,name,host_name,software_version,ros_distro,first_seen,last_seen,last_address,last_port,last_reason\r\n\
             alice,operator,\"Alice\nB\",host,0.1.0,jazzy,2025-12-31T12:00:30Z,2025-12-31T12:00:40Z,2001:db8::1,50000,goodbye\r\n\
             r1,robot,'=cmd|' /C calc'!A0,\"a \"\"b\"\", c\",0.1.0,jazzy,2025-12-31T12:00:10Z,2025-12-31T12:00:50.25Z,192.0.2.1,40000,\r\n"
                .to_owned()
        )
    );
    assert_eq!(
        exported(ExportTable::Sessions),
        (
            3,
            "id,client,connected_at,disconnected_at,address,port,reason\r\n\
             1,r1,2025-12-31T12:00:10Z,2025-12-31T12:00:20Z,192.0.2.1,40000,'-1 timeout\r\n\
             2,alice,2025-12-31T12:00:30Z,2025-12-31T12:00:40Z,2001:db8::1,50000,goodbye\r\n\
             3,r1,2025-12-31T12:00:50.25Z,,192.0.2.1,40000,\r\n"
                .to_owned()
        )
    );
    assert_eq!(
        exported(ExportTable::Events),
        (
            3,
            "id,at,kind,client,address,port,detail\r\n\
             1,2025-12-31T12:00:10Z,port,r1,192.0.2.1,40000,came\r\n\
             2,2025-12-31T12:00:20Z,port,,,,'+1\r\n\
             3,2025-12-31T12:00:30Z,port,,,,'  @x\r\n"
                .to_owned()
        )
    );
    let mut reader = csv::Reader::from_path(directory.join("clients.csv")).unwrap();
    assert!(reader.records().all(|record| record.unwrap().len() == 11), "an independent reader agrees");
}

#[test]
fn a_time_range_takes_the_rows_that_touch_it() {
    let place = Place::new();
    let store = furnished(&place);
    let rows = |table: ExportTable, start: Option<i64>, end: Option<i64>| {
        let request = ExportRequest { start: start.map(at), end: end.map(at), ..export(table) };
        let exported = store.handle().export(request, place.folder.path()).wait().unwrap();
        let mut reader = csv::Reader::from_path(&exported.path).unwrap();
        let ids: Vec<String> = reader.records().map(|record| record.unwrap()[0].to_owned()).collect();
        assert_eq!(ids.len() as u64, exported.rows);
        ids
    };
    for (table, start, end, expected) in [
        (ExportTable::Sessions, None, Some(9), &[][..]),
        (ExportTable::Sessions, None, Some(10), &["1"]),
        (ExportTable::Sessions, Some(15), Some(16), &["1"]),
        (ExportTable::Sessions, Some(20), Some(30), &["1", "2"]),
        (ExportTable::Sessions, Some(21), Some(29), &[]),
        (ExportTable::Sessions, Some(900), None, &["3"]), // open, so it lasts until the request
        (ExportTable::Sessions, Some(1001), None, &[]),
        (ExportTable::Clients, None, Some(29), &["r1"]),
        (ExportTable::Clients, Some(35), Some(36), &["alice", "r1"]),
        (ExportTable::Clients, Some(900), None, &["r1"]), // connected, so it is there
        (ExportTable::Clients, Some(1001), None, &[]),
        (ExportTable::Events, Some(20), Some(20), &["2"]),
        (ExportTable::Events, Some(11), None, &["2", "3"]),
        (ExportTable::Events, None, None, &["1", "2", "3"]),
    ] {
        assert_eq!(rows(table, start, end), expected, "{table:?} {start:?} {end:?}");
    }
    let backward = ExportRequest { start: Some(at(2)), end: Some(at(1)), ..export(ExportTable::Events) };
    let message = store.handle().export(backward, place.folder.path()).wait().unwrap_err().to_string();
    assert!(message.contains("ends at 2025-12-31T12:00:01Z, before it starts at 2025-12-31T12:00:02Z"), "{message}");
}

#[test]
fn bad_names_and_existing_files_are_refused_and_nothing_is_written() {
    let place = Place::new();
    let store = furnished(&place);
    let directory = place.folder.path().join("exports");
    let go = |file_name: &str, overwrite: bool| {
        let request = ExportRequest { file_name: file_name.to_owned(), overwrite, ..export(ExportTable::Events) };
        store.handle().export(request, &directory).wait()
    };
    for name in ["../x.csv", "/tmp/x.csv", "..", ".x"] {
        assert!(matches!(go(name, true), Err(StoreError::BadFileName { .. })), "{name}");
    }
    assert!(!directory.exists());
    let default = go("", false).unwrap().path;
    let name = default.file_name().unwrap().to_str().unwrap().to_owned();
    assert!(name.starts_with("events_202") && name.ends_with(".csv"), "{name}");
    assert_eq!(go("", false), Err(StoreError::Exists(default)));
    go("", true).unwrap();
    assert_eq!(fs::read_dir(&directory).unwrap().count(), 1);
}

#[test]
fn an_export_holds_what_was_asked_before_it_even_unanswered() {
    let place = Place::new();
    let store = place.open();
    for n in 0..300 {
        drop(store.handle().event(event(n, "x")));
    }
    assert_eq!(store.handle().export(export(ExportTable::Events), place.folder.path()).wait().unwrap().rows, 300);
}

#[test]
fn closing_ends_a_running_export_without_a_file() {
    let place = Place::new();
    let store = place.open();
    place
        .look()
        .execute_batch(
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 300000)
             INSERT INTO events (at, kind, detail) SELECT i, 'port', 'x' FROM n",
        )
        .unwrap();
    let directory = place.folder.path().join("exports");
    let answer = store.handle().export(export(ExportTable::Events), &directory);
    let begun = std::time::Instant::now();
    while !fs::read_dir(&directory).is_ok_and(|entries| entries.count() > 0) {
        assert!(begun.elapsed().as_secs() < 30, "the export does not begin");
        std::thread::yield_now();
    }
    // While it reads, others write.
    store.handle().login(login("r1", 1)).wait().unwrap();
    store.close().unwrap();
    assert_eq!(answer.wait(), Err(StoreError::Stopped));
    assert_eq!(fs::read_dir(&directory).unwrap().count(), 0);
}
