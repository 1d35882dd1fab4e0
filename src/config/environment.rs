//! What the configuration needs to know of the machine, as a value, so that it can be tested on any.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
};

/// The surroundings of the process.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Environment {
    /// The user's home directory (`HOME`).
    pub home: Option<PathBuf>,
    /// Where ROS programs keep their files (`ROS_HOME`; `~/.ros` without it).
    pub ros_home: Option<PathBuf>,
    /// Name of the machine.
    pub host_name: String,
}

impl Environment {
    /// The surroundings of this process.
    pub fn of_this_process() -> Self {
        let path_of = |name: &str| -> Option<PathBuf> {
            std::env::var_os(name).filter(|value: &OsString| !value.is_empty()).map(PathBuf::from)
        };
        Environment {
            home: path_of("HOME"),
            ros_home: path_of("ROS_HOME"),
            host_name: gethostname::gethostname().to_string_lossy().into_owned(),
        }
    }

    /// Where Switchboard keeps its files: `$ROS_HOME/switchboard`, as a path that may begin with `~`.
    pub(super) fn data_directory(&self) -> PathBuf {
        self.ros_home.clone().unwrap_or_else(|| PathBuf::from("~/.ros")).join("switchboard")
    }

    /// `path` with a leading `~` written out; says what is wrong if that cannot be done.
    pub(super) fn expand(&self, path: &Path) -> Result<PathBuf, String> {
        let Ok(rest) = path.strip_prefix("~") else {
            return match path.to_str() {
                Some(text) if text.starts_with('~') => Err(format!(
                    "{} names another user's home directory; write the whole path, or ~/ for your own",
                    path.display()
                )),
                _ => Ok(path.to_owned()),
            };
        };
        match &self.home {
            Some(home) => Ok(home.join(rest)),
            None => Err(format!(
                "{} needs the home directory, and HOME is not set; set HOME or ROS_HOME, or give a path that begins with /",
                path.display()
            )),
        }
    }
}
