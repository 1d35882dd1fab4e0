//! A process with rclpy at the other end, and interfaces that no program was compiled with.

use std::{
    ffi::{OsStr, OsString},
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::mpsc::{Receiver, channel},
    time::Duration,
};

/// Generous, since the machine may be busy.
const LIMIT: Duration = Duration::from_secs(60);

/// The process, which ends with this.
pub(crate) struct Peer {
    process: Child,
    lines: Receiver<String>,
}

impl Peer {
    pub(crate) fn start(role: &str, arguments: &[&str]) -> Peer {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/ros_services/peer.py");
        let mut process = Command::new("python3")
            .arg(script)
            .arg(role)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let stdout = BufReader::new(process.stdout.take().unwrap());
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in stdout.lines() {
                let line = line.unwrap();
                // Fast DDS complains there, too.
                if !line.starts_with('{') {
                    eprintln!("{line}");
                } else if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Peer { process, lines }
    }

    /// Waits for what it says next.
    pub(crate) fn next(&mut self) -> serde_json::Value {
        let line = self.lines.recv_timeout(LIMIT).expect("the peer says nothing");
        serde_json::from_str(&line).unwrap()
    }

    pub(crate) fn try_next(&mut self) -> Option<serde_json::Value> {
        self.lines.try_recv().ok().map(|line| serde_json::from_str(&line).unwrap())
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

/// Builds the package `switchboard_test_interfaces`, unless it is built, and says what has to be in the environment of a
/// process that uses it.
pub(crate) fn test_interfaces() -> Vec<(&'static str, OsString)> {
    static BUILD: std::sync::Mutex<()> = std::sync::Mutex::new(());
    // If the build fails for one test, the others say so too.
    let _guard = BUILD.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/ros/switchboard_test_interfaces");
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("test_interfaces");
    let (build, prefix) = (folder.join("build"), folder.join("install"));
    let prefixes = std::env::var("AMENT_PREFIX_PATH").unwrap_or_default().replace(':', ";");
    run(Command::new("cmake").arg("-S").arg(source).arg("-B").arg(&build).args([
        OsStr::new("-DCMAKE_BUILD_TYPE=Release"),
        OsStr::new("-DBUILD_TESTING=OFF"),
        &joined("-DCMAKE_PREFIX_PATH=", prefixes.as_ref()),
        &joined("-DCMAKE_INSTALL_PREFIX=", prefix.as_os_str()),
    ]));
    run(Command::new("cmake").arg("--build").arg(&build).args(["--parallel", "2", "--target", "install"]));
    let python = python_folder(&prefix).expect("the package has no Python folder");
    [("AMENT_PREFIX_PATH", prefix.clone()), ("LD_LIBRARY_PATH", prefix.join("lib")), ("PYTHONPATH", python)]
        .map(|(name, first)| {
            let others = std::env::var_os(name).unwrap_or_default();
            let paths = [first].into_iter().chain(std::env::split_paths(&others));
            (name, std::env::join_paths(paths).unwrap())
        })
        .into()
}

fn joined(option: &str, value: &OsStr) -> OsString {
    let mut joined = OsString::from(option);
    joined.push(value);
    joined
}

fn run(command: &mut Command) {
    // CMake goes by the logical path of its caller, which may lead to the same folder through a link.
    let output = command.env_remove("PWD").current_dir(env!("CARGO_TARGET_TMPDIR")).output().unwrap();
    let (told, complained) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{command:?}: {}\n{told}\n{complained}", output.status);
}

/// The folder below `at` that has the Python package: distributions name it in several ways.
fn python_folder(at: &Path) -> Option<PathBuf> {
    let mut folders: Vec<PathBuf> = std::fs::read_dir(at).ok()?.map(|entry| entry.unwrap().path()).collect();
    folders.retain(|path| path.is_dir());
    if folders.iter().any(|path| path.join("__init__.py").exists() && path.ends_with("switchboard_test_interfaces")) {
        return Some(at.to_owned());
    }
    folders.iter().find_map(|folder| python_folder(folder))
}
