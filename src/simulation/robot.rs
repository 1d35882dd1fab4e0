//! The simulated robot: a base on a path of its own that obeys whoever drives it, and its battery.

use std::{f64::consts::TAU, time::Duration};

use super::motion::{Pose, Velocity};
use crate::time::Mono;

/// How long a command is obeyed: without the next one the base stops, as real bases do.
pub const COMMAND_TIMEOUT: Duration = Duration::from_millis(500);
/// How long after the last command the robot stays under manual control before it takes up its path again.
pub const MANUAL_TIMEOUT: Duration = Duration::from_secs(3);
/// What the base can do, about as much as a small indoor robot.
pub(super) const LIMIT: Velocity = Velocity { linear: 1.0, angular: 2.0 };
/// Speed on the path [m/s].
const PATH_SPEED: f64 = 0.5;
/// Radius of the two circles of the figure eight [m].
const PATH_RADIUS: f64 = 1.0;
/// Longest time that one step simulates: a process that was suspended goes on where it was.
const STEP_MAX: Duration = Duration::from_secs(1);

/// A robot with a differential drive.
///
/// Call [`Robot::advance`] often, with a time that does not run backwards; hand in commands with
/// [`Robot::handle_command`] as they come. In between it answers for the last time it was advanced to.
#[derive(Debug, Clone, PartialEq)]
pub struct Robot {
    pose: Pose,
    velocity: Velocity,
    battery: Battery,
    /// The last command and when it came, while under manual control.
    manual: Option<(Velocity, Mono)>,
    path: FigureEight,
    now: Mono,
}

/// A command with an infinity or something that is not a number in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the command has an infinity or something that is not a number in it; it is not obeyed")]
pub struct NotFinite;

impl Robot {
    /// A robot that begins its path at `start`, at the time `now`.
    pub fn new(start: Pose, now: Mono) -> Self {
        Robot {
            pose: start,
            velocity: Velocity::default(),
            battery: Battery::full(),
            manual: None,
            path: FigureEight::default(),
            now,
        }
    }

    /// Takes a command that came at the time `now`. It is cut to what the base can do.
    ///
    /// # Errors
    /// [`NotFinite`] if it is no velocity; the robot goes on as before.
    pub fn handle_command(&mut self, command: Velocity, now: Mono) -> Result<(), NotFinite> {
        if !command.is_finite() {
            return Err(NotFinite);
        }
        self.manual = Some((command.within(LIMIT), now));
        Ok(())
    }

    /// Moves on to the time `now`.
    pub fn advance(&mut self, now: Mono) {
        let seconds = now.since(self.now).min(STEP_MAX).as_secs_f64();
        self.now = self.now.max(now);
        match self.manual {
            Some((_, at)) if now.since(at) >= MANUAL_TIMEOUT => self.manual = None,
            Some((command, at)) => {
                self.velocity = if now.since(at) < COMMAND_TIMEOUT { command } else { Velocity::default() };
                self.pose = self.pose.moved(self.velocity, seconds);
            }
            None => {}
        }
        if self.manual.is_none() {
            (self.pose, self.velocity) = self.path.follow(self.pose, seconds);
        }
        self.battery.drain(self.velocity, seconds);
    }

    /// Where it is.
    pub fn pose(&self) -> Pose {
        self.pose
    }

    /// How it moves.
    pub fn velocity(&self) -> Velocity {
        self.velocity
    }

    /// Its battery.
    pub fn battery(&self) -> Battery {
        self.battery
    }

    /// Whether somebody drives it.
    pub fn is_manual(&self) -> bool {
        self.manual.is_some()
    }
}

/// Two circles that touch, one to the left and one to the right, driven in turn.
#[derive(Debug, Clone, Copy, PartialEq)]
struct FigureEight {
    /// What is left of the present circle [rad].
    left_over: f64,
    /// 1 for the circle to the left, -1 for that to the right.
    side: f64,
}

impl Default for FigureEight {
    fn default() -> Self {
        FigureEight { left_over: TAU, side: 1.0 }
    }
}

impl FigureEight {
    /// Follows the path for `seconds` and says where that leads and how it moves then.
    fn follow(&mut self, mut pose: Pose, mut seconds: f64) -> (Pose, Velocity) {
        const TURN: f64 = PATH_SPEED / PATH_RADIUS;
        loop {
            let velocity = Velocity { linear: PATH_SPEED, angular: TURN * self.side };
            let to_the_end = self.left_over / TURN;
            if seconds < to_the_end {
                self.left_over -= TURN * seconds;
                return (pose.moved(velocity, seconds), velocity);
            }
            // Changes circles exactly where they touch, so that the eight does not drift away.
            pose = pose.moved(velocity, to_the_end);
            seconds -= to_the_end;
            *self = FigureEight { left_over: TAU, side: -self.side };
        }
    }
}

/// A lithium battery of six cells.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Battery {
    /// What is left [C].
    charge: f64,
    /// What flows out of it [A].
    drawn: f64,
}

impl Battery {
    /// What it was built to hold [Ah].
    pub const DESIGN_CAPACITY: f64 = 5.0;
    const COULOMBS: f64 = Self::DESIGN_CAPACITY * 3_600.0;
    const EMPTY_VOLTAGE: f64 = 19.8;
    const FULL_VOLTAGE: f64 = 25.2;
    /// Current of a robot that stands [A].
    const IDLE: f64 = 0.8;
    /// Current of the motors at 1 m/s [A], and at 1 rad/s [A].
    const DRIVING: f64 = 3.0;
    const TURNING: f64 = 0.6;

    fn full() -> Self {
        Battery { charge: Self::COULOMBS, drawn: Self::IDLE }
    }

    fn drain(&mut self, velocity: Velocity, seconds: f64) {
        self.drawn = Self::IDLE + Self::DRIVING * velocity.linear.abs() + Self::TURNING * velocity.angular.abs();
        self.charge = (self.charge - self.drawn * seconds).max(0.0);
    }

    /// What is left, from 0 to 1.
    pub fn percentage(self) -> f64 {
        self.charge / Self::COULOMBS
    }

    /// What is left [Ah].
    pub fn charge(self) -> f64 {
        self.charge / 3_600.0
    }

    /// At its terminals [V].
    pub fn voltage(self) -> f64 {
        Self::EMPTY_VOLTAGE + (Self::FULL_VOLTAGE - Self::EMPTY_VOLTAGE) * self.percentage()
    }

    /// Into the battery [A], so negative while it is discharged, as `sensor_msgs/BatteryState` has it.
    pub fn current(self) -> f64 {
        -self.drawn
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TICK: Duration = Duration::from_millis(50);

    fn robot() -> (Robot, Mono) {
        (Robot::new(Pose::default(), Mono::default()), Mono::default())
    }

    /// Advances in ticks for `time`, with a command at each tick if there is one.
    fn run(robot: &mut Robot, now: &mut Mono, time: Duration, command: Option<Velocity>) {
        let end = *now + time;
        while *now < end {
            if let Some(command) = command {
                robot.handle_command(command, *now).unwrap();
            }
            *now = *now + TICK;
            robot.advance(*now);
        }
    }

    #[test]
    fn left_alone_it_drives_an_eight_that_closes() {
        let (mut robot, mut now) = robot();
        let eight = Duration::from_secs_f64(2.0 * TAU * PATH_RADIUS / PATH_SPEED);
        let (mut highest, mut lowest) = (0.0_f64, 0.0_f64);
        for _ in 0..3 {
            let end = now + eight;
            while now < end {
                now = (now + Duration::from_millis(37)).min(end);
                robot.advance(now);
                (highest, lowest) = (highest.max(robot.pose().y), lowest.min(robot.pose().y));
            }
            assert!(robot.pose().distance(Pose::default()) < 1e-6, "{:?}", robot.pose());
        }
        assert!((highest - 2.0).abs() < 0.01 && (lowest + 2.0).abs() < 0.01, "{highest} {lowest}");
        assert!(!robot.is_manual());
    }

    #[test]
    fn it_obeys_and_goes_where_it_is_sent() {
        let (mut robot, mut now) = robot();
        let command = Velocity { linear: 0.4, angular: 0.0 };
        run(&mut robot, &mut now, Duration::from_secs(5), Some(command));
        assert_eq!(robot.velocity(), command);
        assert!(robot.pose().distance(Pose { x: 2.0, y: 0.0, yaw: 0.0 }) < 1e-9, "{:?}", robot.pose());
        assert!(robot.is_manual());
    }

    #[test]
    fn without_the_next_command_it_stops_and_later_takes_up_its_path() {
        let (mut robot, mut now) = robot();
        run(&mut robot, &mut now, TICK, Some(Velocity { linear: 0.4, angular: 0.0 }));
        run(&mut robot, &mut now, COMMAND_TIMEOUT, None);
        assert_eq!(robot.velocity(), Velocity::default());
        let stopped = robot.pose();
        run(&mut robot, &mut now, MANUAL_TIMEOUT - COMMAND_TIMEOUT - 2 * TICK, None);
        assert_eq!((robot.pose(), robot.is_manual()), (stopped, true));
        run(&mut robot, &mut now, 2 * TICK, None);
        assert!(!robot.is_manual());
        assert_eq!(robot.velocity().linear, PATH_SPEED);
    }

    #[test]
    fn commands_are_cut_to_what_the_base_can_do() {
        let (mut robot, mut now) = robot();
        run(&mut robot, &mut now, TICK, Some(Velocity { linear: -9.0, angular: 9.0 }));
        assert_eq!(robot.velocity(), Velocity { linear: -LIMIT.linear, angular: LIMIT.angular });
    }

    #[test]
    fn what_is_not_a_number_is_refused_and_changes_nothing() {
        let (mut robot, now) = robot();
        for bad in [f64::NAN, f64::INFINITY] {
            assert_eq!(robot.handle_command(Velocity { linear: bad, angular: 0.0 }, now), Err(NotFinite));
            assert_eq!(robot.handle_command(Velocity { linear: 0.0, angular: bad }, now), Err(NotFinite));
        }
        assert!(!robot.is_manual());
    }

    #[test]
    fn a_process_that_slept_does_not_leap() {
        let (mut robot, now) = robot();
        robot.advance(now + Duration::from_secs(3_600));
        assert!(robot.pose().distance(Pose::default()) <= PATH_SPEED * STEP_MAX.as_secs_f64());
        // Nor does time run backwards.
        let before = robot.clone();
        robot.advance(now);
        assert_eq!(robot.pose(), before.pose());
    }

    #[test]
    fn the_battery_discharges_faster_while_driving_and_never_below_empty() {
        let mut standing = Battery::full();
        let mut driving = Battery::full();
        standing.drain(Velocity::default(), 60.0);
        driving.drain(Velocity { linear: 1.0, angular: 0.0 }, 60.0);
        assert!(driving.percentage() < standing.percentage() && standing.percentage() < 1.0);
        assert!(driving.current() < standing.current() && standing.current() < 0.0);
        driving.drain(Velocity::default(), 1e9);
        assert_eq!(driving.percentage(), 0.0);
        assert_eq!(driving.voltage(), Battery::EMPTY_VOLTAGE);
    }
}
