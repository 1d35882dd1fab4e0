//! A small world for demonstrations and tests: a robot that drives, what its camera sees, and a driver who checks that it
//! obeys. No clock and no ROS in here: time and commands come in, states and pictures come out.
//!
//! Units and frames follow REP 103 and REP 105: metres, radians, seconds; x forward, y to the left, z up. The origin of
//! every robot's `odom` frame is the same place in this world, so that poses of different robots can be compared.

mod driver;
mod motion;
mod picture;
mod report;
mod robot;

pub use driver::{Driver, Score};
pub use motion::{Pose, Velocity};
pub use picture::{HEIGHT, JpegError, Picture, WIDTH};
pub use report::{DriverReport, PeerReport, RobotReport, SeenRobot};
pub use robot::{Battery, COMMAND_TIMEOUT, MANUAL_TIMEOUT, NotFinite, Robot};
