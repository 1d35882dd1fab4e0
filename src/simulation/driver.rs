//! Somebody who drives a robot in squares and looks at its odometry to see whether it obeys.

use std::{f64::consts::FRAC_PI_4, time::Duration};

use super::motion::{Pose, Velocity};
use crate::time::{Mono, Wall};

/// The legs of the square: a metre ahead, then a quarter turn on the spot. Nothing a robot does on its own path looks
/// like either.
const LEGS: [(Velocity, Duration); 2] = [
    (Velocity { linear: 0.4, angular: 0.0 }, Duration::from_millis(2_500)),
    (Velocity { linear: 0.0, angular: FRAC_PI_4 }, Duration::from_millis(2_000)),
];
/// How long after the begin of a leg its odometry is not looked at: the command has to get there, the odometry back.
const SETTLE: Duration = Duration::from_millis(500);
/// Shortest stretch of odometry from which a velocity is worked out.
const STRETCH_MIN: f64 = 0.5;
/// What a measured velocity may differ from the one commanded [m/s, rad/s].
const TOLERANCE: f64 = 0.06;

/// The driver. Hand in odometry with [`Driver::handle_odometry`] and publish what [`Driver::command`] says, some ten
/// times a second.
#[derive(Debug, Clone, Default)]
pub struct Driver {
    leg: usize,
    /// When the present leg began; `None` before there is odometry.
    since: Option<Mono>,
    /// The first and the last odometry of the present leg.
    stretch: Option<(Odometry, Odometry)>,
    score: Score,
}

/// How the robot did.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Score {
    /// Legs in which the odometry was what was commanded.
    pub followed: u32,
    /// Legs in which it was not.
    pub missed: u32,
    /// What was wrong in the last leg that was missed, in words.
    pub fault: String,
}

#[derive(Debug, Clone, Copy)]
struct Odometry {
    pose: Pose,
    stamp: Wall,
}

impl Driver {
    /// Takes an odometry of the robot that was true at `stamp` (the robot's clock) and arrived at `now`.
    pub fn handle_odometry(&mut self, pose: Pose, stamp: Wall, now: Mono) {
        let since = *self.since.get_or_insert(now);
        if now.since(since) < SETTLE {
            return;
        }
        let seen = Odometry { pose, stamp };
        self.stretch = Some(self.stretch.map_or((seen, seen), |(first, _)| (first, seen)));
    }

    /// What to command at `now`; `None` until there is odometry, since nobody drives without seeing.
    pub fn command(&mut self, now: Mono) -> Option<Velocity> {
        let since = self.since?;
        let (velocity, time) = LEGS[self.leg];
        if now.since(since) < time {
            return Some(velocity);
        }
        match judge(velocity, self.stretch.take()) {
            Ok(()) => self.score.followed += 1,
            Err(fault) => {
                self.score.missed += 1;
                self.score.fault = fault;
            }
        }
        self.leg = (self.leg + 1) % LEGS.len();
        self.since = Some(now);
        Some(LEGS[self.leg].0)
    }

    /// How the robot did so far.
    pub fn score(&self) -> &Score {
        &self.score
    }
}

fn judge(commanded: Velocity, stretch: Option<(Odometry, Odometry)>) -> Result<(), String> {
    let Some((first, last)) = stretch else {
        return Err("no odometry came during the leg".to_owned());
    };
    let seconds = last.stamp.nanos_since(first.stamp) as f64 / 1e9;
    if seconds < STRETCH_MIN {
        return Err(format!("only {seconds:.2} s of odometry came during the leg"));
    }
    let measured = Velocity {
        linear: last.pose.advanced_since(first.pose) / seconds,
        angular: last.pose.turned_since(first.pose) / seconds,
    };
    let sideways =
        (last.pose.distance(first.pose).powi(2) - last.pose.advanced_since(first.pose).powi(2)).max(0.0).sqrt();
    if (measured.linear - commanded.linear).abs() < TOLERANCE
        && (measured.angular - commanded.angular).abs() < TOLERANCE
        && sideways / seconds < TOLERANCE
    {
        return Ok(());
    }
    Err(format!(
        "commanded {:.2} m/s and {:.2} rad/s, but the odometry shows {:.2} m/s and {:.2} rad/s",
        commanded.linear, commanded.angular, measured.linear, measured.angular
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulation::Robot;

    const TICK: Duration = Duration::from_millis(50);
    /// Between publishing and arriving, each way.
    const DELAY_TICKS: u32 = 2;

    /// Drives `robot` for `seconds`, with or without its commands arriving.
    fn drive(seconds: u64, commands_arrive: bool) -> Driver {
        let mut now = Mono::default();
        let mut robot = Robot::new(Pose::default(), now);
        let mut driver = Driver::default();
        let (mut commands, mut odometry) = (Vec::new(), Vec::new());
        while now < Mono(Duration::from_secs(seconds)) {
            now = now + TICK;
            robot.advance(now);
            odometry.push((now + DELAY_TICKS * TICK, robot.pose(), Wall(now.0.as_nanos() as i64)));
            odometry.retain(|&(at, pose, stamp)| {
                if at == now {
                    driver.handle_odometry(pose, stamp, now);
                }
                at > now
            });
            if let Some(command) = driver.command(now) {
                commands.push((now + DELAY_TICKS * TICK, command));
            }
            commands.retain(|&(at, command)| {
                if at == now && commands_arrive {
                    robot.handle_command(command, now).unwrap();
                }
                at > now
            });
        }
        driver
    }

    #[test]
    fn a_robot_that_obeys_follows_every_leg() {
        let driver = drive(20, true);
        assert_eq!(driver.score().missed, 0, "{}", driver.score().fault);
        assert!(driver.score().followed >= 7, "{:?}", driver.score());
    }

    #[test]
    fn a_robot_that_goes_its_own_way_follows_none() {
        let driver = drive(40, false);
        assert_eq!(driver.score().followed, 0);
        assert!(driver.score().missed >= 16, "{:?}", driver.score());
        assert!(driver.score().fault.contains("but the odometry shows"), "{}", driver.score().fault);
    }

    #[test]
    fn nobody_drives_without_seeing() {
        assert_eq!(Driver::default().command(Mono(Duration::from_secs(9))), None);
    }

    #[test]
    fn odometry_that_stops_is_no_obedience() {
        let mut driver = Driver::default();
        driver.handle_odometry(Pose::default(), Wall(0), Mono::default());
        driver.command(Mono(Duration::from_secs(3)));
        assert_eq!((driver.score().followed, driver.score().missed), (0, 1));
        assert_eq!(driver.score().fault, "no odometry came during the leg");
    }
}
