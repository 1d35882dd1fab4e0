//! How much is logged, and where: lines on standard error, as ROS nodes do.

use std::{fmt, io::IsTerminal as _, str::FromStr};

use tracing_subscriber::EnvFilter;

use super::{ConfigError, Origin};

/// Environment variable with a level or with filter directives such as `info,switchboard::net=trace`.
pub const VARIABLE: &str = "SWITCHBOARD_LOG";
/// The same of the Rust world, which counts if [`VARIABLE`] is not set.
pub const RUST_VARIABLE: &str = "RUST_LOG";

/// How much is logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogLevel {
    /// What failed.
    Error,
    /// And what is likely to fail.
    Warn,
    /// And what happened: connections, openings, exports.
    Info,
    /// And how.
    Debug,
    /// And every frame.
    Trace,
}

impl LogLevel {
    fn as_str(self) -> &'static str {
        match self {
            LogLevel::Error => "error",
            LogLevel::Warn => "warn",
            LogLevel::Info => "info",
            LogLevel::Debug => "debug",
            LogLevel::Trace => "trace",
        }
    }

    /// Directives for this level. Libraries stay at info, since their details say little about robots.
    fn directives(self) -> String {
        match self {
            LogLevel::Debug | LogLevel::Trace => format!("info,switchboard={}", self.as_str()),
            LogLevel::Error | LogLevel::Warn | LogLevel::Info => self.as_str().to_owned(),
        }
    }
}

impl fmt::Display for LogLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for LogLevel {
    type Err = UnknownLevel;

    /// Takes ROS's words and Rust's, in either case.
    fn from_str(word: &str) -> Result<Self, UnknownLevel> {
        match word.to_ascii_lowercase().as_str() {
            "fatal" | "error" => Ok(LogLevel::Error),
            "warn" | "warning" => Ok(LogLevel::Warn),
            "info" => Ok(LogLevel::Info),
            "debug" => Ok(LogLevel::Debug),
            "trace" => Ok(LogLevel::Trace),
            _ => Err(UnknownLevel(word.chars().take(40).collect())),
        }
    }
}

/// A word that is no [`LogLevel`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown log level {0:?}; use error, warn, info, debug or trace")]
pub struct UnknownLevel(String);

/// Everything that may say how much is logged; the first that is there counts.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LogSources {
    /// `--log-level` among our own flags.
    pub flag: Option<LogLevel>,
    /// `--log-level` among the ROS arguments ([`super::ros_args::SplitArgs::log_level`]).
    pub ros: Option<LogLevel>,
    /// The environment variable [`VARIABLE`].
    pub variable: Option<String>,
    /// The environment variable [`RUST_VARIABLE`].
    pub rust_variable: Option<String>,
}

impl LogSources {
    /// Adds the environment of this process to what the command line said.
    pub fn of_this_process(flag: Option<LogLevel>, ros: Option<LogLevel>) -> Self {
        let read = |name| std::env::var(name).ok().filter(|value| !value.trim().is_empty());
        LogSources { flag, ros, variable: read(VARIABLE), rust_variable: read(RUST_VARIABLE) }
    }

    /// The filter that follows from them; info if there is none.
    ///
    /// # Errors
    /// Names the environment variable that is neither a level nor a list of directives.
    pub fn filter(&self) -> Result<EnvFilter, ConfigError> {
        let (text, origin) = self.directives();
        EnvFilter::try_new(&text).map_err(|error| ConfigError::Value {
            key: "log_level",
            fault: format!(
                "{text:?} is not a log level ({error}); use error, warn, info, debug or trace, \
                 or directives such as info,switchboard::net=trace"
            ),
            origin,
        })
    }

    fn directives(&self) -> (String, Origin) {
        let of_text = |text: &str| text.parse::<LogLevel>().map_or_else(|_| text.to_owned(), LogLevel::directives);
        if let Some(level) = self.flag {
            (level.directives(), Origin::Flag("--log-level"))
        } else if let Some(level) = self.ros {
            (level.directives(), Origin::Flag("--ros-args --log-level"))
        } else if let Some(text) = &self.variable {
            (of_text(text), Origin::Variable(VARIABLE))
        } else if let Some(text) = &self.rust_variable {
            (of_text(text), Origin::Variable(RUST_VARIABLE))
        } else {
            (LogLevel::Info.directives(), Origin::Default)
        }
    }
}

/// Starts logging to standard error; what the process logs before is lost. A second call changes nothing.
pub fn start(filter: EnvFilter) {
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false)
        .finish();
    // Fails only if logging has been started before, which is what was asked for.
    let _ = tracing::subscriber::set_global_default(subscriber);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_counts_more_than_ros_more_than_the_environment() {
        let everything = LogSources {
            flag: Some(LogLevel::Trace),
            ros: Some(LogLevel::Warn),
            variable: Some("error".to_owned()),
            rust_variable: Some("debug".to_owned()),
        };
        let without_flag = LogSources { flag: None, ..everything.clone() };
        let without_ros = LogSources { ros: None, ..without_flag.clone() };
        let only_rust = LogSources { variable: None, ..without_ros.clone() };
        for (sources, directives) in [
            (everything, "info,switchboard=trace"),
            (without_flag, "warn"),
            (without_ros, "error"),
            (only_rust, "info,switchboard=debug"),
            (LogSources::default(), "info"),
        ] {
            assert_eq!(sources.directives().0, directives);
            sources.filter().unwrap();
        }
    }

    #[test]
    fn directives_are_taken_as_they_are() {
        let sources = LogSources { variable: Some("info,switchboard::net=trace".to_owned()), ..LogSources::default() };
        assert_eq!(sources.filter().unwrap().to_string(), "switchboard::net=trace,info");
    }

    #[test]
    fn a_wrong_variable_is_named() {
        let sources = LogSources { variable: Some("switchboard=loud".to_owned()), ..LogSources::default() };
        let message = sources.filter().unwrap_err().to_string();
        assert!(message.starts_with(r#"log_level: "switchboard=loud" is not a log level ("#), "{message}");
        assert!(
            message.ends_with(
                "use error, warn, info, debug or trace, or directives such as info,switchboard::net=trace \
                 (from the environment variable SWITCHBOARD_LOG)"
            ),
            "{message}"
        );
    }

    #[test]
    fn ros_words_and_rust_words_are_levels() {
        assert_eq!("FATAL".parse(), Ok(LogLevel::Error));
        assert_eq!("warning".parse(), Ok(LogLevel::Warn));
        assert_eq!(
            "loud".parse::<LogLevel>().unwrap_err().to_string(),
            r#"unknown log level "loud"; use error, warn, info, debug or trace"#
        );
    }
}
