//! `switchboard simulate`: the simulated robot.

use std::{str::FromStr, time::Duration};

use clap::Args;

use super::{Outcome, stop::stop_flag, terminal};
use crate::{
    config::logging::{self, LogLevel, LogSources},
    ids::ClientId,
    ros::{SimulatedRobot, simulate},
    simulation::{Pose, RobotReport},
};

const EXAMPLES: &str = "\
Examples:
  switchboard simulate --id r1
  switchboard simulate --id r1 --peers r2,r3 --start 0,3,1.57
  ros2 topic pub -r 10 /cmd_vel geometry_msgs/msg/Twist '{linear: {x: 0.3}}'      drives it

It publishes /odom, /tf, /tf_static, /battery_state and /camera/image/compressed, and for each peer
/peers/ID/distance. Without commands it drives a figure eight; it stops 0.5 s after the last command, and takes up
its path again 3 s after it.";

#[derive(Debug, Clone, PartialEq, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Flags {
    /// The robot's id, written into its pictures
    #[arg(long, value_name = "ID")]
    id: ClientId,
    /// How often odometry and TF are published [Hz]
    #[arg(long, value_name = "HZ", default_value = "20", value_parser = parse_rate)]
    rate: f64,
    /// Robots whose odometry (/ID/odom) it listens to, separated by commas
    #[arg(long, value_name = "ID,…", value_delimiter = ',')]
    peers: Vec<ClientId>,
    /// Where it begins, in the odom frame [m, m, rad]
    #[arg(long, value_name = "X,Y,YAW", default_value = "0,0,0", allow_hyphen_values = true)]
    start: Start,
    /// End after so many seconds
    #[arg(long, value_name = "S", value_parser = parse_seconds)]
    seconds: Option<Duration>,
    /// Write what it knows to standard output once a second, as JSON
    #[arg(long)]
    json: bool,
    /// How much is logged: error, warn, info, debug or trace [default: info]
    #[arg(long, value_name = "LEVEL")]
    log_level: Option<LogLevel>,
}

pub(super) fn run(flags: &Flags, ros_level: Option<LogLevel>) -> anyhow::Result<Outcome> {
    logging::start(LogSources::of_this_process(flags.log_level, ros_level).filter()?);
    let robot = SimulatedRobot {
        id: flags.id.clone(),
        rate: flags.rate,
        peers: flags.peers.iter().filter(|peer| **peer != flags.id).cloned().collect(),
        start: flags.start.0,
    };
    let stop = stop_flag(flags.seconds)?;
    tracing::info!("robot {} drives; commands go to cmd_vel", robot.id);
    let mut manual = false;
    simulate(&robot, &stop, |report| {
        if report.manual != manual {
            manual = report.manual;
            tracing::info!("{}", if manual { "somebody drives" } else { "back on its path" });
        }
        if flags.json {
            tell(report, &stop);
        }
    })?;
    Ok(Outcome::Fine)
}

/// Without a reader there is nobody to run for.
fn tell(report: &RobotReport, stop: &std::sync::atomic::AtomicBool) {
    let told = serde_json::to_string(report).map_err(std::io::Error::from).and_then(|json| terminal::print_line(&json));
    if told.is_err() {
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
    }
}

fn parse_rate(text: &str) -> Result<f64, String> {
    text.parse()
        .ok()
        .filter(|rate| (1.0..=1_000.0).contains(rate))
        .ok_or_else(|| format!("{text:?} is not a rate; use 1 to 1000 Hz"))
}

/// A length of time that was given in seconds.
pub(super) fn parse_seconds(text: &str) -> Result<Duration, String> {
    text.parse()
        .ok()
        .filter(|seconds| (1.0..=1e6).contains(seconds))
        .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
        .ok_or_else(|| format!("{text:?} is not a number of seconds; use 1 to 1000000"))
}

/// A pose as `X,Y,YAW`.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Start(Pose);

impl FromStr for Start {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let numbers: Result<Vec<f64>, _> = text.split(',').map(|number| number.trim().parse()).collect();
        match numbers.as_deref() {
            Ok(&[x, y, yaw]) if [x, y, yaw].iter().all(|number| number.is_finite()) => Ok(Start(Pose { x, y, yaw })),
            _ => Err(format!("{text:?} is not a pose; use X,Y,YAW in metres and radians, such as 0,3,1.57")),
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Simulate {
        #[command(flatten)]
        flags: Flags,
    }

    fn parsed(line: &str) -> Result<Flags, clap::Error> {
        Simulate::try_parse_from(line.split(' ')).map(|parsed| parsed.flags)
    }

    #[test]
    fn every_flag_is_read() {
        let flags = parsed("simulate --id r1 --rate 5 --peers r2,r3 --start -1,2,0.5 --seconds 3 --json").unwrap();
        assert_eq!(flags.peers, [ClientId::new("r2").unwrap(), ClientId::new("r3").unwrap()]);
        assert_eq!(flags.start, Start(Pose { x: -1.0, y: 2.0, yaw: 0.5 }));
        assert_eq!((flags.rate, flags.seconds, flags.json), (5.0, Some(Duration::from_secs(3)), true));
    }

    #[test]
    fn what_is_no_pose_or_rate_or_id_is_named() {
        for (line, words) in [
            ("simulate --id r1 --start 1,2", r#""1,2" is not a pose; use X,Y,YAW"#),
            ("simulate --id r1 --start nan,0,0", "is not a pose"),
            ("simulate --id r1 --rate 1e9", "is not a rate; use 1 to 1000 Hz"),
            ("simulate --id r1 --seconds inf", "is not a number of seconds"),
            ("simulate --id r1 --peers r2,r-3", "has a character that ROS names do not allow"),
        ] {
            let message = parsed(line).unwrap_err().to_string();
            assert!(message.contains(words), "{message}");
        }
    }
}
