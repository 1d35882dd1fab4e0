//! Kinematics of a differential drive in the plane.

use std::f64::consts::{PI, TAU};

/// Where something is and which way it looks, in the `odom` frame.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Pose {
    /// Along the x axis [m].
    pub x: f64,
    /// Along the y axis [m].
    pub y: f64,
    /// Counter-clockwise from the x axis [rad], from -π to π.
    pub yaw: f64,
}

/// How a base moves, in its own frame.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Velocity {
    /// Forwards [m/s].
    pub linear: f64,
    /// Counter-clockwise [rad/s].
    pub angular: f64,
}

/// Turns smaller than this are driven as straight lines: the exact arc would divide by nearly nothing.
const STRAIGHT: f64 = 1e-6;

impl Pose {
    /// Where a base is after moving with constant `velocity` for `seconds`: exactly on its arc, however long.
    pub fn moved(self, velocity: Velocity, seconds: f64) -> Pose {
        let turn = velocity.angular * seconds;
        if turn.abs() < STRAIGHT {
            let way = velocity.linear * seconds;
            let middle = self.yaw + turn / 2.0;
            return Pose {
                x: self.x + way * middle.cos(),
                y: self.y + way * middle.sin(),
                yaw: wrapped(self.yaw + turn),
            };
        }
        let radius = velocity.linear / velocity.angular;
        Pose {
            x: self.x + radius * ((self.yaw + turn).sin() - self.yaw.sin()),
            y: self.y - radius * ((self.yaw + turn).cos() - self.yaw.cos()),
            yaw: wrapped(self.yaw + turn),
        }
    }

    /// Distance to `other` [m].
    pub fn distance(self, other: Pose) -> f64 {
        (self.x - other.x).hypot(self.y - other.y)
    }

    /// The turn from `earlier` to `self` by the shorter way [rad].
    pub fn turned_since(self, earlier: Pose) -> f64 {
        wrapped(self.yaw - earlier.yaw)
    }

    /// The way from `earlier` to `self` along the direction in which `earlier` looked [m].
    pub fn advanced_since(self, earlier: Pose) -> f64 {
        (self.x - earlier.x) * earlier.yaw.cos() + (self.y - earlier.y) * earlier.yaw.sin()
    }

    /// The yaw of a rotation about z that is given as a quaternion.
    pub fn yaw_of(z: f64, w: f64) -> f64 {
        wrapped(2.0 * z.atan2(w))
    }

    /// The yaw as the z and w of a quaternion; x and y are 0.
    pub fn quaternion(self) -> (f64, f64) {
        (self.yaw / 2.0).sin_cos()
    }
}

impl Velocity {
    /// Whether both parts are numbers.
    pub fn is_finite(self) -> bool {
        self.linear.is_finite() && self.angular.is_finite()
    }

    /// The nearest velocity that a base with these limits can have.
    pub fn within(self, limit: Velocity) -> Velocity {
        Velocity {
            linear: self.linear.clamp(-limit.linear, limit.linear),
            angular: self.angular.clamp(-limit.angular, limit.angular),
        }
    }
}

/// The same angle, from -π to π.
pub(super) fn wrapped(angle: f64) -> f64 {
    (angle + PI).rem_euclid(TAU) - PI
}

#[cfg(test)]
mod tests {
    use std::f64::consts::FRAC_PI_2;

    use super::*;

    fn close(a: Pose, b: Pose) -> bool {
        a.distance(b) < 1e-9 && a.turned_since(b).abs() < 1e-9
    }

    #[test]
    fn straight_ahead_goes_where_it_looks() {
        let begin = Pose { x: 1.0, y: 2.0, yaw: FRAC_PI_2 };
        let end = begin.moved(Velocity { linear: 0.5, angular: 0.0 }, 4.0);
        assert!(close(end, Pose { x: 1.0, y: 4.0, yaw: FRAC_PI_2 }), "{end:?}");
        assert!((end.advanced_since(begin) - 2.0).abs() < 1e-9);
    }

    #[test]
    fn a_left_turn_is_positive_and_ends_to_the_left() {
        let end = Pose::default().moved(Velocity { linear: FRAC_PI_2, angular: FRAC_PI_2 }, 1.0);
        assert!(close(end, Pose { x: 1.0, y: 1.0, yaw: FRAC_PI_2 }), "{end:?}");
    }

    #[test]
    fn one_long_step_and_many_short_ones_end_at_the_same_place() {
        let velocity = Velocity { linear: 0.7, angular: -1.3 };
        let once = Pose::default().moved(velocity, 10.0);
        let often = (0..1_000).fold(Pose::default(), |pose, _| pose.moved(velocity, 0.01));
        assert!(once.distance(often) < 1e-9 && once.turned_since(often).abs() < 1e-9, "{once:?} {often:?}");
    }

    #[test]
    fn the_straight_line_and_the_arc_meet_where_one_takes_over() {
        let arc = Pose::default().moved(Velocity { linear: 1.0, angular: STRAIGHT * 1.01 }, 1.0);
        let line = Pose::default().moved(Velocity { linear: 1.0, angular: STRAIGHT * 0.99 }, 1.0);
        assert!(arc.distance(line) < 1e-7, "{arc:?} {line:?}");
    }

    #[test]
    fn turns_are_measured_by_the_shorter_way() {
        let (just_left, just_right) = (Pose { yaw: 3.1, ..Pose::default() }, Pose { yaw: -3.1, ..Pose::default() });
        assert!((just_right.turned_since(just_left) - (TAU - 6.2)).abs() < 1e-9);
    }

    #[test]
    fn a_yaw_survives_its_quaternion() {
        for yaw in [0.0, 0.1, FRAC_PI_2, 3.1, -3.1, -0.5] {
            let (z, w) = Pose { yaw, ..Pose::default() }.quaternion();
            assert!((Pose::yaw_of(z, w) - yaw).abs() < 1e-9);
            // The opposite quaternion is the same rotation.
            assert!((Pose::yaw_of(-z, -w) - yaw).abs() < 1e-9);
        }
    }
}
