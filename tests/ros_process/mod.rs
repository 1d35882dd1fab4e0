//! One process per test.

use std::{ffi::OsString, process::Command};

/// Runs `body` in a process of its own, which is this program once more with only the test of this name, and with these
/// ROS arguments.
///
/// Fast DDS gives the GUID of a participant that is gone to the next one of the same process; whoever still has to hear
/// of the end of the first then loses the second. Programs have one bridge and one node, only tests start many. Besides,
/// ROS arguments belong to the process.
pub(crate) fn alone(test: &str, ros_args: &[&str], body: impl FnOnce()) {
    alone_with(test, ros_args, Vec::new, body);
}

/// The same with these variables of the environment, which are only asked for outside the process.
pub(crate) fn alone_with(
    test: &str,
    ros_args: &[&str],
    environment: impl FnOnce() -> Vec<(&'static str, OsString)>,
    body: impl FnOnce(),
) {
    const ALONE: &str = "SWITCHBOARD_TEST_ALONE";
    const PASSED: &str = "the test passed in its own process";
    if std::env::var_os(ALONE).is_some() {
        body();
        println!("{PASSED}");
        switchboard::ros::exit(0);
    }
    let program = std::env::current_exe().unwrap();
    // What follows "--" are names of tests to libtest, of which there are none, and arguments to ROS.
    let output = Command::new(program)
        .args(["--exact", test, "--nocapture", "--"])
        .args(ros_args)
        .env(ALONE, "1")
        .envs(environment())
        .output()
        .unwrap();
    let (told, complained) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    // A name that is no test would run none, and succeed.
    let passed = output.status.success() && told.contains(PASSED);
    assert!(passed, "{test}: {}\n{told}\n{complained}", output.status);
}
