//! What the simulated robot and the driver tell about themselves, for whoever started them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// What a simulated robot knows, told once a second.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct RobotReport {
    /// Its id.
    pub id: String,
    /// Where it is [m].
    pub x: f64,
    /// Where it is [m].
    pub y: f64,
    /// Which way it looks [rad].
    pub yaw: f64,
    /// Its speed [m/s].
    pub linear: f64,
    /// How fast it turns [rad/s].
    pub angular: f64,
    /// Whether somebody drives it.
    pub manual: bool,
    /// Commands that came since it started.
    pub commands: u64,
    /// What is left in its battery, from 0 to 1.
    pub battery: f64,
    /// What it heard from its peers, by their ids.
    pub peers: BTreeMap<String, PeerReport>,
}

/// What a simulated robot heard from a peer.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct PeerReport {
    /// Odometry messages that came since it started.
    pub messages: u64,
    /// Distance to the peer when the last one came [m].
    pub distance: Option<f64>,
}

/// What the driver knows, told twice a second.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct DriverReport {
    /// Which robot is driven.
    pub robot: String,
    /// Commands published since the driver started.
    pub commands: u64,
    /// Legs in which the robot's odometry was what was commanded.
    pub followed: u32,
    /// Legs in which it was not.
    pub missed: u32,
    /// What was wrong in the last leg that was missed; empty if none was.
    pub fault: String,
    /// What came from each robot, by their ids.
    pub robots: BTreeMap<String, SeenRobot>,
}

/// What the driver sees of a robot.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct SeenRobot {
    /// Odometry messages that came since the driver started.
    pub odometry: u64,
    /// Pictures that came since the driver started.
    pub pictures: u64,
    /// Where it was last seen [m].
    pub x: f64,
    /// Where it was last seen [m].
    pub y: f64,
    /// Age of the last odometry when it came [s]; both clocks are taken to agree, as they do on one machine.
    pub delay: f64,
}
