//! What is known of the demo, and what that says about whether everything worked.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    path::PathBuf,
};

use super::plan::Part;
use crate::{
    cli::{report::StatusReport, table::harmless},
    simulation::{DriverReport, RobotReport},
    status::ClientState,
};

/// Messages of a peer that have to come before a robot counts as having heard it: more than could be left over from
/// somewhere else.
const HEARD_MIN: u64 = 10;
/// Pairs of robots that are listed one by one.
const PAIRS_SHOWN: usize = 6;
/// Legs that the driven robot has to follow: one straight ahead and one turn.
const LEGS_MIN: u32 = 2;
/// Statuses that have to be published: more than the first one.
const STATUSES_MIN: u64 = 3;

/// What is known.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct State {
    robots: Vec<String>,
    /// Clients that were ON.
    was_on: BTreeSet<String>,
    statuses: u64,
    pub(super) latest: Option<StatusReport>,
    /// About a second older than the latest.
    pub(super) earlier: Option<StatusReport>,
    pub(super) told: BTreeMap<String, RobotReport>,
    pub(super) driver: Option<DriverReport>,
    export: Option<Result<PathBuf, String>>,
    /// Pairs of robots of which the first has heard the second.
    heard: BTreeSet<(String, String)>,
}

/// A promise of the demo.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Check {
    pub(super) what: &'static str,
    pub(super) passed: bool,
    pub(super) finding: String,
    /// Whose logs may tell why, if it was not kept.
    pub(super) suspects: Vec<Part>,
}

impl State {
    pub(super) fn new(robots: impl IntoIterator<Item = String>) -> Self {
        State { robots: robots.into_iter().collect(), ..State::default() }
    }

    /// Takes a line that a process wrote, and says what it brings of news. Lines that mean nothing are left aside.
    pub(super) fn handle_line(&mut self, part: &str, text: &str) -> Vec<String> {
        if part == Part::Watcher.to_string() {
            return serde_json::from_str(text).map_or_else(|_| Vec::new(), |status| self.handle_status(status));
        }
        if part == Part::Driver.to_string() {
            return serde_json::from_str(text).map_or_else(|_| Vec::new(), |report| self.handle_driver(report));
        }
        serde_json::from_str(text).map_or_else(|_| Vec::new(), |report| self.handle_robot(report))
    }

    fn handle_status(&mut self, status: StatusReport) -> Vec<String> {
        let mut news = Vec::new();
        if let (None, Some(endpoint)) = (self.endpoint(), status.endpoint) {
            news.push(format!("the exchange is open on {endpoint}"));
        }
        for client in &status.clients {
            let before = self.latest.as_ref().and_then(|latest| latest.client(client.id.as_str()));
            let state = before.map_or(ClientState::Off, |before| before.state);
            if client.state != state {
                let reason = if client.reason.is_empty() { String::new() } else { format!(": {}", client.reason) };
                news.push(format!("{} is {}{reason}", client.id, client.state.as_str()));
            }
            if client.state == ClientState::On {
                self.was_on.insert(client.id.to_string());
            }
        }
        let nanos = match (&self.latest, &self.earlier) {
            (Some(latest), Some(earlier)) => latest.stamp.nanos_since(earlier.stamp),
            _ => i64::MAX,
        };
        let previous = self.latest.replace(status);
        if nanos >= 900_000_000 {
            self.earlier = previous;
        }
        self.statuses += 1;
        news
    }

    fn handle_robot(&mut self, report: RobotReport) -> Vec<String> {
        let mut news = Vec::new();
        for (peer, heard) in &report.peers {
            let pair = (report.id.clone(), peer.clone());
            if heard.messages > 0 && self.heard.insert(pair) {
                news.push(format!("{} hears the odometry of {peer}", report.id));
            }
        }
        self.told.insert(report.id.clone(), report);
        news
    }

    fn handle_driver(&mut self, report: DriverReport) -> Vec<String> {
        let mut news = Vec::new();
        let before = self.driver.as_ref().map_or((0, 0), |driver| (driver.followed, driver.missed));
        if report.followed > before.0 {
            news.push(format!("{} obeys: it followed {} legs", report.robot, report.followed));
        }
        if report.missed > before.1 {
            news.push(format!("{} missed a leg: {}", report.robot, report.fault));
        }
        self.driver = Some(report);
        news
    }

    /// Takes the outcome of an export.
    pub(super) fn handle_export(&mut self, outcome: Result<PathBuf, String>) {
        self.export = Some(outcome);
    }

    /// Where the exchange is open.
    pub(super) fn endpoint(&self) -> Option<SocketAddr> {
        self.latest.as_ref().and_then(|latest| latest.endpoint)
    }

    /// Why the exchange is closed, if it is.
    pub(super) fn closed_reason(&self) -> Option<&str> {
        let latest = self.latest.as_ref().filter(|latest| latest.endpoint.is_none())?;
        Some(&latest.closed_reason)
    }

    /// Whether every client of the demo was ON once.
    pub(super) fn everybody_was_on(&self) -> bool {
        self.ids().iter().all(|id| self.was_on.contains(id))
    }

    pub(super) fn is_exported(&self) -> bool {
        matches!(self.export, Some(Ok(_)))
    }

    /// The ids of all clients of the demo.
    pub(super) fn ids(&self) -> Vec<String> {
        self.robots.iter().cloned().chain(["operator".to_owned()]).collect()
    }

    /// What the demo promised, and whether it was kept.
    pub(super) fn checks(&self) -> Vec<Check> {
        vec![self.opened(), self.all_on(), self.all_heard(), self.driven(), self.published(), self.exported()]
    }

    fn opened(&self) -> Check {
        let finding = match (self.endpoint(), self.closed_reason()) {
            (Some(endpoint), _) => format!("on {endpoint}"),
            (None, Some(reason)) => harmless(reason),
            (None, None) => "nothing was heard of it".to_owned(),
        };
        let passed = self.endpoint().is_some();
        Check { what: "the exchange opened its port", passed, finding, suspects: vec![Part::Server] }
    }

    fn all_on(&self) -> Check {
        let missing: Vec<String> = self.ids().into_iter().filter(|id| !self.was_on.contains(id)).collect();
        let finding = match missing.as_slice() {
            [] => format!("{} and the operator", listed(&self.robots)),
            missing => format!("never ON: {}", listed(missing)),
        };
        let part = |id: &String| if id == "operator" { Part::Operator } else { Part::Robot(id.clone()) };
        let suspects = missing.iter().map(part).chain([Part::Server]).collect();
        Check { what: "every robot was ON", passed: missing.is_empty(), finding, suspects }
    }

    fn all_heard(&self) -> Check {
        let pairs: Vec<(&String, &String, u64)> = self
            .robots
            .iter()
            .flat_map(|here| self.robots.iter().filter(move |there| *there != here).map(move |there| (here, there)))
            .map(|(here, there)| {
                let peer = self.told.get(here).and_then(|report| report.peers.get(there));
                (here, there, peer.map_or(0, |peer| peer.messages))
            })
            .collect();
        let deaf: Vec<_> = pairs.iter().filter(|(_, _, count)| *count < HEARD_MIN).copied().collect();
        let words = |pairs: &[(&String, &String, u64)]| {
            let words: Vec<String> =
                pairs.iter().map(|(here, there, count)| format!("{here} heard {there} {count} times")).collect();
            words.join(", ")
        };
        let finding = match (pairs.len(), deaf.len()) {
            (0, _) => "there is only one".to_owned(),
            (0..=PAIRS_SHOWN, _) => words(&pairs),
            (all, 0) => {
                let least = pairs.iter().map(|(_, _, count)| count).min().copied().unwrap_or_default();
                format!("all {all} pairs, each at least {least} times")
            }
            (_, _) => words(&deaf[..deaf.len().min(PAIRS_SHOWN)]),
        };
        let suspects = deaf.iter().flat_map(|(here, there, _)| {
            [Part::Simulation(here.to_string()), Part::Robot(here.to_string()), Part::Robot(there.to_string())]
        });
        Check {
            what: "the robots received each other's odometry",
            passed: deaf.is_empty(),
            finding,
            suspects: suspects.collect(),
        }
    }

    fn driven(&self) -> Check {
        let what = "the drive command moved the driven robot";
        let suspects =
            vec![Part::Driver, Part::Operator, Part::Robot(self.robots.first().cloned().unwrap_or_default())];
        let Some(driver) = &self.driver else {
            return Check { what, passed: false, finding: "nothing was heard of the driver".to_owned(), suspects };
        };
        let missed = match driver.missed {
            0 => String::new(),
            missed => format!(", {missed} missed (the last: {})", driver.fault),
        };
        let finding = format!(
            "the operator saw {} follow {} legs{missed}; {} commands",
            driver.robot, driver.followed, driver.commands
        );
        Check { what, passed: driver.followed >= LEGS_MIN, finding, suspects }
    }

    fn published(&self) -> Check {
        Check {
            what: "the status was published",
            passed: self.statuses >= STATUSES_MIN,
            finding: format!("{} messages on /switchboard/connection_status", self.statuses),
            suspects: vec![Part::Server, Part::Watcher],
        }
    }

    fn exported(&self) -> Check {
        let (passed, finding) = match &self.export {
            Some(Ok(path)) => (true, path.display().to_string()),
            Some(Err(reason)) => (false, reason.clone()),
            None => (false, "there was no time for it; give more --seconds".to_owned()),
        };
        Check { what: "a CSV was exported", passed, finding, suspects: vec![Part::Server] }
    }
}

impl Check {
    /// Whether no process ended before it was asked to.
    pub(super) fn all_stayed(ended_alone: &[String]) -> Check {
        let finding = match ended_alone {
            [] => "none ended by itself".to_owned(),
            ended => format!("ended: {}", ended.join(", ")),
        };
        let names: Vec<&str> = ended_alone.iter().filter_map(|ended| ended.split(' ').next()).collect();
        let suspects = names.into_iter().filter_map(part_of).collect();
        Check { what: "every process ran to the end", passed: ended_alone.is_empty(), finding, suspects }
    }
}

fn part_of(name: &str) -> Option<Part> {
    match name.split_once('-') {
        Some(("robot", id)) => Some(Part::Robot(id.to_owned())),
        Some(("simulation", id)) => Some(Part::Simulation(id.to_owned())),
        _ => [Part::Server, Part::Watcher, Part::Operator, Part::Driver]
            .into_iter()
            .find(|part| part.to_string() == name),
    }
}

fn listed(ids: &[String]) -> String {
    ids.join(", ")
}

/// What is missing from an exported client table, in words; `None` if nothing is.
pub(super) fn missing_from_csv(text: &str, ids: &[String]) -> Option<String> {
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    let Ok(header) = reader.headers().cloned() else { return Some("the exported file is no CSV".to_owned()) };
    let rows: Result<Vec<csv::StringRecord>, _> = reader.records().collect();
    let Ok(rows) = rows else { return Some("the exported file is no CSV".to_owned()) };
    let absent: Vec<String> =
        ids.iter().filter(|id| !rows.iter().any(|row| row.iter().any(|cell| cell == *id))).cloned().collect();
    if header.len() < 2 {
        Some("the exported file has no columns".to_owned())
    } else if absent.is_empty() {
        None
    } else {
        Some(format!("the exported file has no row of {}", listed(&absent)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(states: &[(&str, &str)]) -> String {
        let clients: Vec<serde_json::Value> = states
            .iter()
            .map(|(id, state)| {
                serde_json::json!({
                    "id": id, "name": id, "kind": "robot", "state": state, "peer": null, "address": "127.0.0.1:1",
                    "host_name": "", "software_version": "", "ros_distro": "", "capabilities": [],
                    "first_seen": "2026-11-22T14:00:00Z", "last_seen": "2026-11-22T14:00:00Z", "connected_since": null,
                    "reason": "", "round_trip": null, "clock_offset": null, "messages_in": 0, "messages_out": 0,
                    "bytes_in": 0, "bytes_out": 0, "messages_dropped": 0, "messages_late": 0, "contested": [],
                    "problems": []
                })
            })
            .collect();
        serde_json::json!({
            "stamp": "2026-11-22T14:00:00Z", "open": true, "endpoint": "127.0.0.1:7420", "closed_reason": "",
            "refused": 0, "suppressed": 0, "clients": clients
        })
        .to_string()
    }

    fn robot(id: &str, peer: &str, messages: u64) -> String {
        let mut report = RobotReport { id: id.to_owned(), ..RobotReport::default() };
        report.peers.insert(peer.to_owned(), crate::simulation::PeerReport { messages, distance: Some(1.0) });
        serde_json::to_string(&report).unwrap()
    }

    fn driver(followed: u32, missed: u32) -> String {
        let report = DriverReport { robot: "r1".to_owned(), followed, missed, ..DriverReport::default() };
        serde_json::to_string(&report).unwrap()
    }

    /// A demo in which everything works.
    fn good() -> State {
        let mut state = State::new(["r1", "r2"].map(str::to_owned));
        for _ in 0..STATUSES_MIN {
            state.handle_line("watcher", &status(&[("r1", "ON"), ("r2", "ON"), ("operator", "ON")]));
        }
        state.handle_line("simulation-r1", &robot("r1", "r2", 100));
        state.handle_line("simulation-r2", &robot("r2", "r1", 100));
        state.handle_line("driver", &driver(4, 1));
        state.handle_export(Ok("clients.csv".into()));
        state
    }

    fn failed(state: &State) -> Vec<&'static str> {
        state.checks().into_iter().filter(|check| !check.passed).map(|check| check.what).collect()
    }

    #[test]
    fn when_everything_works_every_check_passes() {
        assert_eq!(failed(&good()), [""; 0]);
        assert!(good().everybody_was_on());
        assert!(Check::all_stayed(&[]).passed);
    }

    #[test]
    fn nothing_is_taken_for_granted() {
        assert_eq!(failed(&State::new(["r1", "r2"].map(str::to_owned))).len(), 6);
    }

    #[test]
    fn each_failure_is_named_with_its_suspects() {
        let mut off = State::new(["r1", "r2"].map(str::to_owned));
        off.handle_line("watcher", &status(&[("r1", "ON"), ("r2", "OFF"), ("operator", "ON")]));
        let check = off.all_on();
        assert_eq!((check.passed, check.finding.as_str()), (false, "never ON: r2"));
        assert_eq!(check.suspects, [Part::Robot("r2".to_owned()), Part::Server]);

        let mut closed = good();
        let line = status(&[])
            .replace(r#""127.0.0.1:7420""#, "null")
            .replace(r#""closed_reason":"""#, r#""closed_reason":"in use""#);
        closed.handle_line("watcher", &line);
        assert_eq!(closed.opened().finding, "in use");
        assert_eq!(failed(&closed), ["the exchange opened its port"]);

        let mut deaf = good();
        deaf.handle_line("simulation-r2", &robot("r2", "r1", HEARD_MIN - 1));
        assert_eq!(failed(&deaf), ["the robots received each other's odometry"]);
        assert!(deaf.all_heard().suspects.contains(&Part::Simulation("r2".to_owned())));

        let mut wild = good();
        wild.handle_line("driver", &driver(1, 7));
        assert_eq!(failed(&wild), ["the drive command moved the driven robot"]);

        let mut unwritten = good();
        unwritten.handle_export(Err("no space left".to_owned()));
        assert_eq!(failed(&unwritten), ["a CSV was exported"]);

        let check = Check::all_stayed(&["robot-r2 (exit status: 1)".to_owned()]);
        assert_eq!((check.passed, check.suspects), (false, vec![Part::Robot("r2".to_owned())]));
    }

    #[test]
    fn news_are_told_once() {
        let mut state = State::new(["r1", "r2"].map(str::to_owned));
        let line = status(&[("r1", "ON")]);
        assert_eq!(state.handle_line("watcher", &line), ["the exchange is open on 127.0.0.1:7420", "r1 is ON"]);
        assert!(state.handle_line("watcher", &line).is_empty());
        assert_eq!(state.handle_line("simulation-r1", &robot("r1", "r2", 1)), ["r1 hears the odometry of r2"]);
        assert!(state.handle_line("simulation-r1", &robot("r1", "r2", 2)).is_empty());
        assert!(state.handle_line("driver", "not json").is_empty());
    }

    #[test]
    fn an_exported_table_has_to_hold_everybody() {
        let ids = ["r1", "operator"].map(str::to_owned);
        assert_eq!(missing_from_csv("id,kind\nr1,robot\noperator,operator\n", &ids), None);
        let missing = missing_from_csv("id,kind\nr1,robot\n", &ids).unwrap();
        assert!(missing.contains("no row of operator"), "{missing}");
        assert!(missing_from_csv("", &ids).is_some());
    }
}
