//! One process per test.

use std::process::Command;

/// Runs the test of this name in a process of its own, with these ROS arguments, and says so. In that process it says
/// no.
///
/// Fast DDS gives the GUID of a participant that is gone to the next one of the same process; whoever still has to hear
/// of the end of the first then loses the second. Programs have one bridge and one node, only tests start many. Besides,
/// ROS arguments belong to the process.
pub(crate) fn elsewhere(test: &str, ros_args: &[&str]) -> bool {
    const ALONE: &str = "SWITCHBOARD_TEST_ALONE";
    if std::env::var_os(ALONE).is_some() {
        return false;
    }
    let program = std::env::current_exe().unwrap();
    // What follows "--" are names of tests to libtest, of which there are none, and arguments to ROS.
    let output = Command::new(program)
        .args(["--exact", test, "--nocapture", "--"])
        .args(ros_args)
        .env(ALONE, "1")
        .output()
        .unwrap();
    let (told, complained) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    // A name that is no test would run none, and succeed.
    let passed = output.status.success() && told.contains("1 passed");
    assert!(passed, "{test}: {}\n{told}\n{complained}", output.status);
    true
}
