//! Who takes part in the demo, in which domain, and with which command line.

use std::{
    fmt, fs, io,
    net::{Ipv4Addr, SocketAddr, UdpSocket},
    path::Path,
};

use super::processes::Start;

/// Robots that fit the domains that can be used.
pub(super) const ROBOTS_MAX: u16 = 30;
/// The first domain that is tried.
const DOMAIN_BASE: u16 = 60;
/// Domains above this one need UDP ports that Linux hands out to clients (ROS 2 documentation, "The ROS_DOMAIN_ID").
const DOMAIN_MAX: u16 = 101;
const ROBOT_RULES: &str = include_str!("../../../config/demo_robot_rules.yaml");
const OPERATOR_RULES: &str = include_str!("../../../config/demo_operator_rules.yaml");
const ROBOT_RULES_FILE: &str = "robot_rules.yaml";
const OPERATOR_RULES_FILE: &str = "operator_rules.yaml";
const EXPORT_FILE: &str = "clients.csv";
/// Distance between the places where two robots begin [m]: they do not meet.
const APART: f64 = 5.0;

/// A process of the demo.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Part {
    Server,
    /// Watches the status of the server.
    Watcher,
    /// The line of a robot.
    Robot(String),
    /// The robot itself.
    Simulation(String),
    Operator,
    Driver,
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Part::Server => f.write_str("server"),
            Part::Watcher => f.write_str("watcher"),
            Part::Robot(id) => write!(f, "robot-{id}"),
            Part::Simulation(id) => write!(f, "simulation-{id}"),
            Part::Operator => f.write_str("operator"),
            Part::Driver => f.write_str("driver"),
        }
    }
}

/// A robot of the demo.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PlannedRobot {
    pub(super) id: String,
    pub(super) domain: u16,
}

/// The whole cast.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Plan {
    pub(super) server_domain: u16,
    pub(super) robots: Vec<PlannedRobot>,
    pub(super) operator_domain: u16,
    /// Something about the plan that people should know.
    pub(super) warning: Option<String>,
    port: u16,
    is_humble: bool,
}

impl Plan {
    /// A plan for so many robots, in domains that `is_free` unless `base` says which.
    ///
    /// # Errors
    /// If the domains do not suffice, in words.
    pub(super) fn new(
        robots: u16,
        port: u16,
        base: Option<u16>,
        is_free: impl Fn(u16) -> bool,
        distro: &str,
    ) -> Result<Self, String> {
        let needed = robots + 2;
        let all_free = |base: u16| (base..base + needed).all(&is_free);
        let base_max = DOMAIN_MAX + 1 - needed;
        let (base, warning) = match base {
            Some(base) if base > base_max => {
                return Err(format!(
                    "--domain-base {base}: {robots} robots, the server and the operator need {needed} domains, and \
                     {DOMAIN_MAX} is the last that Linux leaves room for; use 0 to {base_max}"
                ));
            }
            Some(base) if !all_free(base) => (base, true),
            Some(base) => (base, false),
            None => match (DOMAIN_BASE..=base_max).chain(1..DOMAIN_BASE.min(base_max + 1)).find(|&base| all_free(base))
            {
                Some(base) => (base, false),
                None => (DOMAIN_BASE.min(base_max), true),
            },
        };
        let warning = warning.then(|| {
            format!(
                "other ROS nodes of this machine are in one of the domains {base} to {}; they will be seen in the demo. \
                 Choose other domains with --domain-base",
                base + needed - 1
            )
        });
        Ok(Plan {
            server_domain: base,
            robots: (1..=robots).map(|n| PlannedRobot { id: format!("r{n}"), domain: base + n }).collect(),
            operator_domain: base + robots + 1,
            warning,
            port,
            is_humble: distro == "humble",
        })
    }

    /// Writes what the processes read.
    pub(super) fn write_files(&self, folder: &Path) -> io::Result<()> {
        fs::create_dir(folder.join("logs"))?;
        fs::write(folder.join(ROBOT_RULES_FILE), ROBOT_RULES)?;
        fs::write(folder.join(OPERATOR_RULES_FILE), OPERATOR_RULES)
    }

    /// Every part that needs to know where the server is, or comes after it.
    pub(super) fn parts_with_line(&self) -> Vec<Part> {
        let robots = self.robots.iter();
        robots
            .flat_map(|robot| [Part::Simulation(robot.id.clone()), Part::Robot(robot.id.clone())])
            .chain([Part::Operator, Part::Driver])
            .collect()
    }

    /// How to start `part`; `endpoint` is where the server is, for those who need that. Files are relative to the demo's
    /// folder, which is the working directory of every process.
    pub(super) fn command(&self, part: &Part, endpoint: Option<SocketAddr>) -> Start {
        let server = endpoint.map(|endpoint| endpoint.to_string()).unwrap_or_default();
        let ids = |but: &str| {
            let others: Vec<&str> = self.robots.iter().map(|robot| robot.id.as_str()).filter(|id| *id != but).collect();
            others.join(",")
        };
        let (domain, words) = match part {
            Part::Server => {
                let port = self.port.to_string();
                let words = ["server", "--address", "127.0.0.1", "--port", &port];
                let files = ["--database", "registry.db", "--export-directory", "export"];
                (self.server_domain, words.iter().chain(&files).map(ToString::to_string).collect::<Vec<_>>())
            }
            Part::Watcher => {
                (self.server_domain, ["status", "--watch", "--json", "--timeout", "30"].map(str::to_owned).to_vec())
            }
            Part::Robot(id) => {
                let words = ["robot", "--id", id, "--server", &server, "--rules", ROBOT_RULES_FILE];
                (self.domain_of(id), words.map(str::to_owned).to_vec())
            }
            Part::Simulation(id) => {
                let place = self.robots.iter().position(|robot| robot.id == *id).unwrap_or_default();
                let start = format!("0,{},0", place as f64 * APART);
                let mut words = ["simulate", "--id", id, "--start", &start, "--json"].map(str::to_owned).to_vec();
                if self.robots.len() > 1 {
                    words.extend(["--peers".to_owned(), ids(id)]);
                }
                (self.domain_of(id), words)
            }
            Part::Operator => {
                let words = ["operator", "--id", "operator", "--server", &server, "--rules", OPERATOR_RULES_FILE];
                (self.operator_domain, words.map(str::to_owned).to_vec())
            }
            Part::Driver => {
                let driven = self.driven();
                (
                    self.operator_domain,
                    ["demo-driver", "--robot", driven, "--watch", &ids("")].map(str::to_owned).to_vec(),
                )
            }
        };
        self.start(part.to_string(), domain, words)
    }

    /// How to export the client table.
    pub(super) fn export_command(&self) -> Start {
        let words = ["export", "clients", "--file", EXPORT_FILE, "--overwrite", "--timeout", "10"];
        self.start("export".to_owned(), self.server_domain, words.map(str::to_owned).to_vec())
    }

    /// Where the exported table has to be.
    pub(super) fn export_file(&self, folder: &Path) -> std::path::PathBuf {
        folder.join("export").join(EXPORT_FILE)
    }

    /// The robot that the operator drives.
    pub(super) fn driven(&self) -> &str {
        self.robots.first().map_or("r1", |robot| robot.id.as_str())
    }

    fn domain_of(&self, id: &str) -> u16 {
        self.robots.iter().find(|robot| robot.id == id).map_or(self.server_domain, |robot| robot.domain)
    }

    fn start(&self, name: String, domain: u16, arguments: Vec<String>) -> Start {
        let mut set =
            vec![("ROS_DOMAIN_ID", domain.to_string()), ("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST".to_owned())];
        // ROS_LOCALHOST_ONLY wins over the discovery range where both are known, and Humble knows only the former.
        let mut removed = vec!["ROS_STATIC_PEERS"];
        if self.is_humble {
            set.push(("ROS_LOCALHOST_ONLY", "1".to_owned()));
        } else {
            removed.push("ROS_LOCALHOST_ONLY");
        }
        Start { name, arguments, set, removed }
    }
}

/// Whether no DDS participant of this machine seems to be in `domain`: the ports that RTPS gives to its first participants
/// are free. Another middleware than DDS has other ports, and then every domain seems free.
pub(super) fn domain_is_free(domain: u16) -> bool {
    // RTPS 2.5, section 9.6.1.3: 7400 + 250 × domain + 10 + 2 × participant.
    (0..3_u32).all(|participant| {
        let port = 7_400 + 250 * u32::from(domain) + 10 + 2 * participant;
        u16::try_from(port).is_ok_and(|port| UdpSocket::bind((Ipv4Addr::UNSPECIFIED, port)).is_ok())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(robots: u16, base: Option<u16>, is_free: impl Fn(u16) -> bool) -> Result<Plan, String> {
        Plan::new(robots, 0, base, is_free, "jazzy")
    }

    fn domains(plan: &Plan) -> Vec<u16> {
        let mut domains = vec![plan.server_domain];
        domains.extend(plan.robots.iter().map(|robot| robot.domain));
        domains.push(plan.operator_domain);
        domains
    }

    #[test]
    fn everybody_has_a_domain_of_their_own() {
        let plan = plan(2, None, |_| true).unwrap();
        assert_eq!(domains(&plan), [60, 61, 62, 63]);
        assert_eq!(plan.warning, None);
    }

    #[test]
    fn domains_in_use_are_avoided() {
        assert_eq!(domains(&plan(2, None, |domain| domain != 62).unwrap()), [63, 64, 65, 66]);
        // None left above: those below are taken.
        assert_eq!(domains(&plan(2, None, |domain| domain < 40).unwrap()), [1, 2, 3, 4]);
    }

    #[test]
    fn where_nothing_is_free_or_a_base_in_use_was_asked_for_there_is_a_warning() {
        let nothing = plan(2, None, |_| false).unwrap();
        assert!(nothing.warning.unwrap().contains("--domain-base"));
        let asked = plan(2, Some(10), |domain| domain != 12).unwrap();
        assert_eq!(domains(&asked), [10, 11, 12, 13]);
        assert!(asked.warning.unwrap().contains("domains 10 to 13"));
    }

    #[test]
    fn no_domain_is_beyond_the_last() {
        let most = plan(ROBOTS_MAX, None, |_| true).unwrap();
        assert!(domains(&most).iter().all(|&domain| domain <= DOMAIN_MAX), "{most:?}");
        assert_eq!(domains(&plan(2, Some(98), |_| true).unwrap()).last(), Some(&101));
        let message = plan(2, Some(99), |_| true).unwrap_err();
        assert!(message.contains("--domain-base 99") && message.contains("use 0 to 98"), "{message}");
        assert!(plan(2, Some(u16::MAX), |_| true).is_err());
    }

    #[test]
    fn a_domain_with_a_participant_is_not_free() {
        let domain = (200..230).find(|&domain| domain_is_free(domain)).unwrap();
        let port = 7_400 + 250 * domain + 10;
        let _participant = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, port)).unwrap();
        assert!(!domain_is_free(domain));
    }

    #[test]
    fn every_command_line_is_understood() {
        use clap::Parser as _;

        let plan = plan(3, None, |_| true).unwrap();
        let endpoint = Some("127.0.0.1:7420".parse().unwrap());
        let mut parts = plan.parts_with_line();
        parts.extend([Part::Server, Part::Watcher]);
        let mut starts: Vec<Start> = parts.iter().map(|part| plan.command(part, endpoint)).collect();
        starts.push(plan.export_command());
        for start in starts {
            let words = ["switchboard"].into_iter().chain(start.arguments.iter().map(String::as_str));
            crate::cli::Cli::try_parse_from(words.chain(["--exit-with-parent"]))
                .unwrap_or_else(|error| panic!("{start:?}: {error}"));
            assert!(start.set.contains(&("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST".to_owned())));
        }
        let second = plan.command(&Part::Simulation("r2".to_owned()), endpoint);
        assert!(second.arguments.contains(&"r1,r3".to_owned()), "{second:?}");
        assert!(second.set.contains(&("ROS_DOMAIN_ID", "62".to_owned())), "{second:?}");
    }
}
