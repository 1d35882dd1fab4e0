//! The command line as a person uses it: real processes, real exit codes.
#![cfg(feature = "ros")]
#![allow(clippy::unwrap_used)]

use std::{
    fs,
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

const PROGRAM: &str = env!("CARGO_BIN_EXE_switchboard");
/// How long anything may take on a loaded machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// The program, seeing nobody but what runs in `domain` on this machine.
fn switchboard(domain: u16, arguments: &[&str]) -> Command {
    let mut command = Command::new(PROGRAM);
    command
        .args(arguments)
        .env("ROS_DOMAIN_ID", domain.to_string())
        .env("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
        .env_remove("ROS_LOCALHOST_ONLY");
    command
}

fn run(domain: u16, arguments: &[&str]) -> (Option<i32>, String, String) {
    let Output { status, stdout, stderr } = switchboard(domain, arguments).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (status.code(), text(stdout), text(stderr))
}

#[test]
fn mistakes_in_the_command_line_exit_with_2() {
    for arguments in [
        &["fly"] as &[&str],
        &["export", "planets"],
        &["export", "--from", "2026-11-23", "--to", "2026-11-22"],
        &["server", "--port", "70000"],
        &["robot", "--id", "r 1"],
        &["demo", "--domain-base", "101"],
    ] {
        let (code, _, errors) = run(96, arguments);
        assert_eq!(code, Some(2), "{arguments:?}: {errors}");
        assert!(errors.starts_with("error: "), "{arguments:?}: {errors}");
    }
}

#[test]
fn the_programs_are_the_verbs() {
    for (program, verb) in [
        (env!("CARGO_BIN_EXE_server"), "server"),
        (env!("CARGO_BIN_EXE_robot"), "robot"),
        (env!("CARGO_BIN_EXE_operator"), "operator"),
    ] {
        let flags = |output: Output| -> Vec<String> {
            assert!(output.status.success());
            let help = String::from_utf8(output.stdout).unwrap();
            help.split_whitespace().filter(|word| word.starts_with("--")).map(str::to_owned).collect()
        };
        let mut of_program = flags(Command::new(program).arg("--help").output().unwrap());
        // The verb's version is that of `switchboard` itself.
        of_program.retain(|flag| flag != "--version");
        assert_eq!(of_program, flags(switchboard(96, &[verb, "--help"]).output().unwrap()));
        assert!(of_program.len() > 4, "{of_program:?}");
    }
}

#[test]
fn a_domain_that_cannot_be_is_explained_and_ends_no_process() {
    for arguments in [&["status"] as &[&str], &["doctor"], &["server", "--port", "0"]] {
        let (code, output, errors) = run(300, arguments);
        assert!(matches!(code, Some(1 | 2)), "{arguments:?}: {code:?}");
        let said = format!("{output}{errors}");
        assert!(said.contains("300") && said.contains("232"), "{arguments:?}: {said}");
        assert!(!said.contains("RTPS"), "{arguments:?}: {said}");
    }
}

#[test]
fn without_a_server_the_administrator_is_told_where_was_looked() {
    for verb in [&["status"] as &[&str], &["open"], &["clients", "--json"]] {
        let (code, output, errors) = run(97, &[verb, &["--timeout", "1"]].concat());
        assert_eq!((code, output.as_str()), (Some(1), ""), "{errors}");
        assert!(errors.contains("ROS_DOMAIN_ID 97") && errors.contains("LOCALHOST"), "{errors}");
    }
}

#[test]
fn the_doctor_finds_this_environment_usable_and_a_dead_server_not() {
    let (code, output, errors) = run(97, &["doctor", "--timeout", "1"]);
    assert_eq!(code, Some(0), "{output}{errors}");
    assert!(output.contains("ok    interfaces"), "{output}");
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    drop(listener);
    let (code, output, _) = run(97, &["doctor", "--timeout", "1", "--server", &address]);
    assert_eq!(code, Some(1), "{output}");
    assert!(output.contains(&format!("FAIL  TCP               {address} cannot be reached")), "{output}");
}

#[test]
fn the_demo_works_and_ends_by_itself() {
    let folder = tempfile::tempdir().unwrap();
    let output = switchboard(96, &["demo", "--seconds", "25"]).env("TMPDIR", folder.path()).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{text}\n{}", String::from_utf8_lossy(&output.stderr));
    assert!(text.ends_with("everything worked\n"), "{text}");
    assert_eq!(processes_in(folder.path()), [0; 0]);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "the demo left files behind");
}

#[test]
fn when_the_demo_is_killed_its_processes_end_too() {
    let folder = tempfile::tempdir().unwrap();
    let mut demo = start_demo(folder.path());
    assert!(processes_in(folder.path()).len() >= 8, "{:?}", processes_in(folder.path()));
    demo.kill().unwrap();
    demo.wait().unwrap();
    wait_until("the processes of a killed demo end", || processes_in(folder.path()).is_empty());
}

/// Starts a demo and waits until one of its robots hears the other, so that all its processes run.
fn start_demo(folder: &Path) -> Child {
    let mut command = switchboard(96, &["demo"]);
    let mut demo = command.env("TMPDIR", folder).stdout(Stdio::piped()).spawn().unwrap();
    let (told, heard) = std::sync::mpsc::channel();
    let output = demo.stdout.take().unwrap();
    std::thread::spawn(move || {
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            let _ = told.send(line);
        }
    });
    let until = Instant::now() + PATIENCE;
    let mut lines = Vec::new();
    while !lines.iter().any(|line: &String| line.contains("hears the odometry")) {
        match heard.recv_timeout(until.saturating_duration_since(Instant::now())) {
            Ok(line) => lines.push(line),
            Err(_) => {
                let _ = demo.kill();
                panic!("the demo did not get under way: {lines:#?}");
            }
        }
    }
    demo
}

/// The processes that work in `folder`.
fn processes_in(folder: &Path) -> Vec<u32> {
    let folder = folder.canonicalize().unwrap();
    let processes = fs::read_dir("/proc").unwrap().flatten();
    processes
        .filter_map(|process| process.file_name().to_str()?.parse().ok())
        .filter(|id: &u32| fs::read_link(format!("/proc/{id}/cwd")).is_ok_and(|cwd| cwd.starts_with(&folder)))
        .collect()
}

fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < until, "{what}: not within {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(50));
    }
}
