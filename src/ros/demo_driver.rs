//! The driver of the demo as an ordinary ROS node in the operator's graph. It knows nothing of Switchboard either: it
//! publishes `/r1/cmd_vel` and looks at `/r1/odom`.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use futures::{FutureExt as _, Stream, StreamExt as _};
use r2r::{
    Publisher, QosProfile,
    geometry_msgs::msg::{Twist, Vector3},
    nav_msgs::msg::Odometry,
    sensor_msgs::msg::CompressedImage,
};

use super::{
    error::RosError,
    simulated_robot::{Due, Ticks, cannot, pose_of, start_node, time_of},
};
use crate::{
    ids::ClientId,
    simulation::{Driver, DriverReport, SeenRobot, Velocity},
    time::{Mono, Wall},
};

/// What the driver does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DemoDriver {
    /// The robot that it drives.
    pub robot: ClientId,
    /// The robots that it watches; the one that it drives is among them in any case.
    pub watch: Vec<ClientId>,
}

/// How often commands are published: well within the time-out of a base.
const COMMAND_PERIOD: Duration = Duration::from_millis(100);
const REPORT_PERIOD: Duration = Duration::from_millis(500);

/// Joins the ROS graph as node `demo_driver` and drives until `stop` is set, which is noticed at the next tick; then the
/// robot is told to stand. Tells `report` twice a second how it goes.
///
/// # Errors
/// If ROS does not start or refuses to publish.
pub fn drive(options: &DemoDriver, stop: &AtomicBool, mut report: impl FnMut(&DriverReport)) -> Result<(), RosError> {
    let (mut node, mut clock) = start_node("demo_driver")?;
    let topic = format!("/{}/cmd_vel", options.robot);
    let publishing = format!("publish {topic}");
    let commands: Publisher<Twist> =
        node.create_publisher(&topic, QosProfile::default()).map_err(cannot(&publishing))?;
    let mut watched = BTreeMap::new();
    for id in options.watch.iter().chain([&options.robot]) {
        if !watched.contains_key(id) {
            watched.insert(id.clone(), Watched::new(&mut node, id)?);
        }
    }
    let mut driver = Driver::default();
    let mut published = 0;
    let (mut ticks, mut reports) = (Ticks::new(COMMAND_PERIOD), Due::every(REPORT_PERIOD));
    let begun = Instant::now();
    while !stop.load(Ordering::Relaxed) {
        ticks.wait(&mut node);
        let now = Mono(begun.elapsed());
        let stamp = time_of(&mut clock)?;
        let wall = Wall::join(i64::from(stamp.sec), stamp.nanosec);
        for (id, robot) in &mut watched {
            robot.look(wall, |odometry, stamp| {
                if *id == options.robot {
                    driver.handle_odometry(pose_of(odometry), stamp, now);
                }
            });
        }
        if let Some(command) = driver.command(now) {
            commands.publish(&twist(command)).map_err(cannot(&publishing))?;
            published += 1;
        }
        if reports.is_due(now) {
            let score = driver.score();
            report(&DriverReport {
                robot: options.robot.to_string(),
                commands: published,
                followed: score.followed,
                missed: score.missed,
                fault: score.fault.clone(),
                robots: watched.iter().map(|(id, robot)| (id.to_string(), robot.seen.clone())).collect(),
            });
        }
    }
    commands.publish(&twist(Velocity::default())).map_err(cannot(&publishing))
}

struct Watched {
    odometry: Box<dyn Stream<Item = Odometry> + Unpin>,
    pictures: Box<dyn Stream<Item = CompressedImage> + Unpin>,
    seen: SeenRobot,
}

impl Watched {
    fn new(node: &mut r2r::Node, id: &ClientId) -> Result<Self, RosError> {
        // Best effort hears reliable and best-effort publishers alike.
        let (odometry, pictures) = (format!("/{id}/odom"), format!("/{id}/camera/image/compressed"));
        let odometry_stream = node
            .subscribe::<Odometry>(&odometry, QosProfile::sensor_data())
            .map_err(cannot(&format!("subscribe {odometry}")))?;
        let picture_stream = node
            .subscribe::<CompressedImage>(&pictures, QosProfile::sensor_data())
            .map_err(cannot(&format!("subscribe {pictures}")))?;
        Ok(Watched {
            odometry: Box::new(odometry_stream),
            pictures: Box::new(picture_stream),
            seen: SeenRobot::default(),
        })
    }

    /// Takes what came since the last tick.
    fn look(&mut self, now: Wall, mut handle_odometry: impl FnMut(&Odometry, Wall)) {
        while let Some(Some(odometry)) = self.odometry.next().now_or_never() {
            let stamp = Wall::join(i64::from(odometry.header.stamp.sec), odometry.header.stamp.nanosec);
            let pose = pose_of(&odometry);
            self.seen.odometry += 1;
            (self.seen.x, self.seen.y) = (pose.x, pose.y);
            self.seen.delay = now.nanos_since(stamp) as f64 / 1e9;
            handle_odometry(&odometry, stamp);
        }
        while let Some(Some(_)) = self.pictures.next().now_or_never() {
            self.seen.pictures += 1;
        }
    }
}

fn twist(command: Velocity) -> Twist {
    Twist {
        linear: Vector3 { x: command.linear, y: 0.0, z: 0.0 },
        angular: Vector3 { x: 0.0, y: 0.0, z: command.angular },
    }
}
