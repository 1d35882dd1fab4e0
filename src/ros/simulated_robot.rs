//! The simulated robot as an ordinary ROS node of its own. It knows nothing of Switchboard.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use futures::{FutureExt as _, Stream, StreamExt as _};
use r2r::{
    Clock, ClockType, Publisher, QosProfile,
    builtin_interfaces::msg::Time,
    geometry_msgs::msg::{Point, Quaternion, Transform, TransformStamped, Twist, Vector3},
    nav_msgs::msg::Odometry,
    sensor_msgs::msg::{BatteryState, CompressedImage},
    std_msgs::msg::{Float64, Header},
    tf2_msgs::msg::TFMessage,
};

use super::{
    error::RosError,
    rcl::{check_arguments, one_at_a_time},
    teardown::Leaving,
};
use crate::{
    ids::ClientId,
    simulation::{PeerReport, Picture, Pose, Robot, RobotReport, Velocity},
    time::Mono,
};

/// What the simulated robot is.
#[derive(Debug, Clone, PartialEq)]
pub struct SimulatedRobot {
    /// Written into its pictures and reports.
    pub id: ClientId,
    /// How often it publishes odometry and TF [Hz].
    pub rate: f64,
    /// Whose odometry it listens to.
    pub peers: Vec<ClientId>,
    /// Where it begins its path.
    pub start: Pose,
}

const ODOM: &str = "odom";
const BASE: &str = "base_link";
const CAMERA: &str = "camera_link";
/// Image messages are in the optical frame: z forward, x to the right, y down (REP 103).
const CAMERA_OPTICAL: &str = "camera_optical_frame";
/// Where the camera sits on the base: x, y, z [m].
const CAMERA_AT: [f64; 3] = [0.15, 0.0, 0.5];
const PICTURE_PERIOD: Duration = Duration::from_millis(200);
const BATTERY_PERIOD: Duration = Duration::from_secs(1);
const REPORT_PERIOD: Duration = Duration::from_secs(1);

/// Joins the ROS graph as node `simulated_robot` and drives until `stop` is set, which is noticed at the next tick.
/// Tells `report` once a second how it is.
///
/// # Errors
/// If ROS does not start or refuses to publish.
pub fn simulate(options: &SimulatedRobot, stop: &AtomicBool, report: impl FnMut(&RobotReport)) -> Result<(), RosError> {
    Simulation::start(options, report)?.run(stop)
}

struct Simulation<'a, R> {
    options: &'a SimulatedRobot,
    report: R,
    node: Leaving,
    clock: Clock,
    robot: Robot,
    begun: Instant,
    commands: Box<dyn Stream<Item = Twist> + Unpin>,
    commands_heard: u64,
    peers: BTreeMap<ClientId, Peer>,
    odometry: Publisher<Odometry>,
    transforms: Publisher<TFMessage>,
    /// Kept so that late joiners get the transform.
    _static_transforms: Publisher<TFMessage>,
    pictures: Publisher<CompressedImage>,
    battery: Publisher<BatteryState>,
}

struct Peer {
    odometry: Box<dyn Stream<Item = Odometry> + Unpin>,
    distances: Publisher<Float64>,
    heard: PeerReport,
}

impl<'a, R: FnMut(&RobotReport)> Simulation<'a, R> {
    fn start(options: &'a SimulatedRobot, report: R) -> Result<Self, RosError> {
        let (mut node, mut clock) = start_node("simulated_robot")?;
        let static_transforms =
            node.create_publisher("/tf_static", QosProfile::default().keep_last(1).transient_local());
        let static_transforms: Publisher<TFMessage> = static_transforms.map_err(cannot("publish /tf_static"))?;
        let stamp = time_of(&mut clock)?;
        static_transforms.publish(&camera_mount(stamp)).map_err(cannot("publish /tf_static"))?;
        let mut peers = BTreeMap::new();
        for id in &options.peers {
            peers.insert(id.clone(), Peer::meet(&mut node, id)?);
        }
        let commands =
            node.subscribe::<Twist>("cmd_vel", QosProfile::default()).map_err(cannot("subscribe cmd_vel"))?;
        Ok(Simulation {
            report,
            clock,
            robot: Robot::new(options.start, Mono::default()),
            begun: Instant::now(),
            commands: Box::new(commands),
            commands_heard: 0,
            peers,
            odometry: node.create_publisher("odom", QosProfile::default()).map_err(cannot("publish odom"))?,
            transforms: node
                .create_publisher("/tf", QosProfile::default().keep_last(100))
                .map_err(cannot("publish /tf"))?,
            _static_transforms: static_transforms,
            pictures: node
                .create_publisher("camera/image/compressed", QosProfile::sensor_data())
                .map_err(cannot("publish camera/image/compressed"))?,
            battery: node
                .create_publisher("battery_state", QosProfile::default())
                .map_err(cannot("publish battery_state"))?,
            node,
            options,
        })
    }

    fn run(mut self, stop: &AtomicBool) -> Result<(), RosError> {
        let tick = Duration::from_secs_f64(1.0 / self.options.rate);
        let mut ticks = Ticks::new(tick);
        let (mut pictures, mut batteries, mut reports) =
            (Due::every(PICTURE_PERIOD), Due::every(BATTERY_PERIOD), Due::every(REPORT_PERIOD));
        while !stop.load(Ordering::Relaxed) {
            ticks.wait(&mut self.node);
            let now = Mono(self.begun.elapsed());
            self.hear(now);
            self.robot.advance(now);
            let stamp = time_of(&mut self.clock)?;
            self.publish_motion(&stamp)?;
            if pictures.is_due(now) {
                self.publish_picture(stamp.clone(), now)?;
            }
            if batteries.is_due(now) {
                self.battery.publish(&battery_state(&self.robot, stamp)).map_err(cannot("publish battery_state"))?;
            }
            if reports.is_due(now) {
                let told = self.told();
                (self.report)(&told);
            }
        }
        Ok(())
    }

    /// Takes what came since the last tick.
    fn hear(&mut self, now: Mono) {
        while let Some(Some(twist)) = self.commands.next().now_or_never() {
            self.commands_heard += 1;
            let command = Velocity { linear: twist.linear.x, angular: twist.angular.z };
            if let Err(refusal) = self.robot.handle_command(command, now) {
                tracing::warn!("cmd_vel: {refusal}");
            }
        }
        for (id, peer) in &mut self.peers {
            peer.listen(id, self.robot.pose());
        }
    }

    fn publish_motion(&self, stamp: &Time) -> Result<(), RosError> {
        let (pose, velocity) = (self.robot.pose(), self.robot.velocity());
        self.odometry.publish(&odometry(pose, velocity, stamp.clone())).map_err(cannot("publish odom"))?;
        let place = transform(ODOM, BASE, [pose.x, pose.y, 0.0], rotation(pose), stamp.clone());
        self.transforms.publish(&TFMessage { transforms: vec![place] }).map_err(cannot("publish /tf"))
    }

    fn publish_picture(&self, stamp: Time, now: Mono) -> Result<(), RosError> {
        let picture = Picture::view(self.options.id.as_str(), self.robot.pose(), now);
        let data = picture.to_jpeg().map_err(cannot("encode a picture"))?;
        let message = CompressedImage {
            header: header(CAMERA_OPTICAL, stamp),
            // As compressed_image_transport writes it.
            format: "rgb8; jpeg compressed bgr8".to_owned(),
            data,
        };
        self.pictures.publish(&message).map_err(cannot("publish camera/image/compressed"))
    }

    fn told(&self) -> RobotReport {
        let (pose, velocity) = (self.robot.pose(), self.robot.velocity());
        RobotReport {
            id: self.options.id.to_string(),
            x: pose.x,
            y: pose.y,
            yaw: pose.yaw,
            linear: velocity.linear,
            angular: velocity.angular,
            manual: self.robot.is_manual(),
            commands: self.commands_heard,
            battery: self.robot.battery().percentage(),
            peers: self.peers.iter().map(|(id, peer)| (id.to_string(), peer.heard.clone())).collect(),
        }
    }
}

impl Peer {
    fn meet(node: &mut r2r::Node, id: &ClientId) -> Result<Self, RosError> {
        let topic = format!("/{id}/odom");
        // Best effort hears reliable and best-effort publishers alike.
        let odometry = node
            .subscribe::<Odometry>(&topic, QosProfile::sensor_data())
            .map_err(cannot(&format!("subscribe {topic}")))?;
        let topic = format!("/peers/{id}/distance");
        let distances =
            node.create_publisher(&topic, QosProfile::default()).map_err(cannot(&format!("publish {topic}")))?;
        Ok(Peer { odometry: Box::new(odometry), distances, heard: PeerReport::default() })
    }

    fn listen(&mut self, id: &ClientId, here: Pose) {
        while let Some(Some(odometry)) = self.odometry.next().now_or_never() {
            let there = pose_of(&odometry);
            let distance = here.distance(there);
            if self.heard.messages == 0 {
                tracing::info!("hears {id}, which is {distance:.1} m away");
            }
            self.heard.messages += 1;
            self.heard.distance = Some(distance);
            if let Err(error) = self.distances.publish(&Float64 { data: distance }) {
                tracing::warn!("the distance to {id} could not be published: {error}");
            }
        }
    }
}

/// Joins the ROS graph. The domain and the discovery range come from the environment, as for every ROS program.
pub(super) fn start_node(name: &str) -> Result<(Leaving, Clock), RosError> {
    check_arguments()?;
    one_at_a_time(|| {
        let context = r2r::Context::create().map_err(cannot("start ROS"))?;
        let node = r2r::Node::create(context, name, "").map_err(cannot(&format!("create the node {name}")))?;
        let clock = Clock::create(ClockType::SystemTime).map_err(cannot("make a clock"))?;
        Ok((Leaving::new(node), clock))
    })
}

pub(super) fn cannot<E: std::fmt::Display>(action: &str) -> impl FnOnce(E) -> RosError {
    let action = action.to_owned();
    move |error| RosError::Rcl { action, reason: error.to_string() }
}

pub(super) fn time_of(clock: &mut Clock) -> Result<Time, RosError> {
    let now = clock.get_now().map_err(cannot("read the clock"))?;
    Ok(Clock::to_builtin_time(&now))
}

pub(super) fn pose_of(odometry: &Odometry) -> Pose {
    let pose = &odometry.pose.pose;
    Pose { x: pose.position.x, y: pose.position.y, yaw: Pose::yaw_of(pose.orientation.z, pose.orientation.w) }
}

/// The ticks of a node: it is spun in between.
pub(super) struct Ticks {
    period: Duration,
    next: Instant,
}

impl Ticks {
    pub(super) fn new(period: Duration) -> Self {
        Ticks { period, next: Instant::now() + period }
    }

    /// Spins `node` until the next tick. Ticks that were missed are left out.
    pub(super) fn wait(&mut self, node: &mut r2r::Node) {
        loop {
            let left = self.next.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            node.spin_once(left);
        }
        self.next = (self.next + self.period).max(Instant::now());
    }
}

/// Something that is done every so often.
pub(super) struct Due {
    period: Duration,
    next: Mono,
}

impl Due {
    pub(super) fn every(period: Duration) -> Self {
        Due { period, next: Mono(period) }
    }

    pub(super) fn is_due(&mut self, now: Mono) -> bool {
        let due = now >= self.next;
        if due {
            self.next = (self.next + self.period).max(now);
        }
        due
    }
}

fn header(frame: &str, stamp: Time) -> Header {
    Header { stamp, frame_id: frame.to_owned() }
}

fn rotation(pose: Pose) -> Quaternion {
    let (z, w) = pose.quaternion();
    Quaternion { x: 0.0, y: 0.0, z, w }
}

fn transform(parent: &str, child: &str, [x, y, z]: [f64; 3], rotation: Quaternion, stamp: Time) -> TransformStamped {
    TransformStamped {
        header: header(parent, stamp),
        child_frame_id: child.to_owned(),
        transform: Transform { translation: Vector3 { x, y, z }, rotation },
    }
}

fn camera_mount(stamp: Time) -> TFMessage {
    let ahead = Quaternion { x: 0.0, y: 0.0, z: 0.0, w: 1.0 };
    // From x forward, y left, z up to z forward, x right, y down.
    let optical = Quaternion { x: -0.5, y: 0.5, z: -0.5, w: 0.5 };
    let mount = transform(BASE, CAMERA, CAMERA_AT, ahead, stamp.clone());
    TFMessage { transforms: vec![mount, transform(CAMERA, CAMERA_OPTICAL, [0.0; 3], optical, stamp)] }
}

fn odometry(pose: Pose, velocity: Velocity, stamp: Time) -> Odometry {
    let mut message = Odometry { header: header(ODOM, stamp), child_frame_id: BASE.to_owned(), ..Odometry::default() };
    message.pose.pose.position = Point { x: pose.x, y: pose.y, z: 0.0 };
    message.pose.pose.orientation = rotation(pose);
    message.pose.covariance = covariance();
    message.twist.twist.linear.x = velocity.linear;
    message.twist.twist.angular.z = velocity.angular;
    message.twist.covariance = covariance();
    message
}

/// A base in the plane: little doubt about what it measures, and all doubt about what it does not.
fn covariance() -> Vec<f64> {
    const SURE: f64 = 1e-3;
    const UNKNOWN: f64 = 1e6;
    let mut covariance = vec![0.0; 36];
    for (axis, doubt) in [SURE, SURE, UNKNOWN, UNKNOWN, UNKNOWN, SURE].into_iter().enumerate() {
        covariance[axis * 7] = doubt;
    }
    covariance
}

fn battery_state(robot: &Robot, stamp: Time) -> BatteryState {
    const CELLS: usize = 6;
    let battery = robot.battery();
    let voltage = battery.voltage() as f32;
    BatteryState {
        header: header("", stamp),
        voltage,
        temperature: f32::NAN,
        current: battery.current() as f32,
        charge: battery.charge() as f32,
        capacity: crate::simulation::Battery::DESIGN_CAPACITY as f32,
        design_capacity: crate::simulation::Battery::DESIGN_CAPACITY as f32,
        percentage: battery.percentage() as f32,
        power_supply_status: BatteryState::POWER_SUPPLY_STATUS_DISCHARGING as u8,
        power_supply_health: BatteryState::POWER_SUPPLY_HEALTH_GOOD as u8,
        power_supply_technology: BatteryState::POWER_SUPPLY_TECHNOLOGY_LION as u8,
        present: true,
        cell_voltage: vec![voltage / CELLS as f32; CELLS],
        cell_temperature: vec![f32::NAN; CELLS],
        location: BASE.to_owned(),
        serial_number: String::new(),
    }
}
