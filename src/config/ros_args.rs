//! Splits the ROS arguments out of a command line.
//!
//! rcl reads `--ros-args … --` from the process's own arguments, so the programs only have to keep those words away from
//! their own flags. A ROS section ends at `--` or at the end of the line; there may be several.

use std::{
    ffi::{OsStr, OsString},
    iter::Peekable,
};

use super::logging::LogLevel;

/// A command line in two parts.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SplitArgs {
    /// The program's name and its own flags, in order.
    pub own: Vec<OsString>,
    /// What stood between `--ros-args` and `--`, without either.
    pub ros: Vec<OsString>,
}

/// Takes the ROS sections out of `args`, the whole command line.
pub fn split(args: impl IntoIterator<Item = OsString>) -> SplitArgs {
    let mut parts = SplitArgs::default();
    let mut in_ros = false;
    for arg in args {
        match (in_ros, arg.to_str()) {
            (false, Some("--ros-args")) => in_ros = true,
            // rcl ignores a second --ros-args inside a section.
            (true, Some("--ros-args")) => {}
            (true, Some("--")) => in_ros = false,
            (true, _) => parts.ros.push(arg),
            (false, _) => parts.own.push(arg),
        }
    }
    parts
}

impl SplitArgs {
    /// The level that `--log-level` sets for every logger or for one of ours; the last one counts, as in rcl.
    pub fn log_level(&self) -> Option<LogLevel> {
        let mut args = self.ros.iter().map(OsString::as_os_str).peekable();
        let mut level = None;
        while let Some(arg) = args.next() {
            if arg == "--log-level" {
                level = value_of(&mut args).and_then(level_of).or(level);
            }
        }
        level
    }
}

fn value_of<'a>(args: &mut Peekable<impl Iterator<Item = &'a OsStr>>) -> Option<&'a str> {
    args.next_if(|value| !value.as_encoded_bytes().starts_with(b"-"))?.to_str()
}

/// `debug`, or `switchboard_robot:=debug`; not `rcl:=debug`, which is about somebody else's logger.
fn level_of(value: &str) -> Option<LogLevel> {
    let word = match value.split_once(":=") {
        Some((logger, word)) => logger.starts_with("switchboard").then_some(word)?,
        None => value,
    };
    word.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split_line(line: &str) -> SplitArgs {
        split(line.split_whitespace().map(OsString::from))
    }

    fn words(line: &str) -> Vec<OsString> {
        line.split_whitespace().map(OsString::from).collect()
    }

    #[test]
    fn own_flags_and_ros_arguments_are_told_apart() {
        for (line, own, ros) in [
            ("server", "server", ""),
            ("server --port 1", "server --port 1", ""),
            ("server --ros-args -p port:=1", "server", "-p port:=1"),
            ("server --port 1 --ros-args -r __ns:=/a", "server --port 1", "-r __ns:=/a"),
            ("robot --ros-args -r a:=b -- --id r1", "robot --id r1", "-r a:=b"),
            ("robot --ros-args -r a:=b -- --id r1 --ros-args -p x:=1", "robot --id r1", "-r a:=b -p x:=1"),
            ("robot --ros-args --ros-args -p x:=1", "robot", "-p x:=1"),
            ("robot -- x", "robot -- x", ""),
            ("robot --ros-args", "robot", ""),
        ] {
            assert_eq!(split_line(line), SplitArgs { own: words(own), ros: words(ros) }, "{line}");
        }
    }

    #[test]
    fn the_log_level_for_us_is_found() {
        for (line, level) in [
            ("robot", None),
            ("robot --log-level debug", None),
            ("robot --ros-args --log-level debug", Some(LogLevel::Debug)),
            ("robot --ros-args --log-level WARN --log-level info", Some(LogLevel::Info)),
            ("robot --ros-args --log-level switchboard_robot:=debug", Some(LogLevel::Debug)),
            ("robot --ros-args --log-level rcl:=debug", None),
            ("robot --ros-args --log-level warn --log-level rcl:=debug", Some(LogLevel::Warn)),
            ("robot --ros-args --log-level", None),
            ("robot --ros-args --log-level -p x:=1", None),
            ("robot --ros-args --log-level loud", None),
        ] {
            assert_eq!(split_line(line).log_level(), level, "{line}");
        }
    }
}
