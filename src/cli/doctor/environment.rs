//! Checks of the ROS environment: what is sourced, and what decides who sees whom.

use super::check::Check;

/// Looks a variable of the environment up.
type Lookup<'a> = &'a dyn Fn(&str) -> Option<String>;

/// Interfaces of our own that have to be there: one of each sort.
const INTERFACES: [&str; 4] = [
    "switchboard/msg/ConnectionStatus",
    "switchboard/msg/Connection",
    "switchboard/srv/Open_Request",
    "switchboard/srv/ExportCsv_Response",
];
/// Domains above this one need UDP ports that Linux gives to clients; DDS has no more than the second.
const DOMAIN_SAFE_MAX: u32 = 101;
const DOMAIN_MAX: u32 = 232;

/// Checks of the variables, for a program that was built for `distro` and has loaded `middleware`.
pub(super) fn checks(lookup: Lookup<'_>, distro: &str, middleware: &str) -> Vec<Check> {
    let lookup = |name: &str| lookup(name).filter(|value| !value.is_empty());
    vec![
        installation(lookup("AMENT_PREFIX_PATH").as_deref(), lookup("ROS_DISTRO").as_deref(), distro),
        loaded_middleware(lookup("RMW_IMPLEMENTATION").as_deref(), middleware),
        domain(lookup("ROS_DOMAIN_ID").as_deref()),
        discovery(lookup("ROS_AUTOMATIC_DISCOVERY_RANGE").as_deref(), lookup("ROS_LOCALHOST_ONLY").as_deref(), distro),
    ]
}

/// Checks whether the type support of our interfaces can be loaded, with `load` as the one that does it.
pub(super) fn interfaces(load: &dyn Fn(&str) -> Result<String, String>) -> Vec<Check> {
    const WHAT: &str = "interfaces";
    let missing: Vec<String> = INTERFACES.iter().filter_map(|name| load(name).err()).collect();
    vec![match missing.first() {
        None => Check::ok(WHAT, "the type support of switchboard's messages and services can be loaded"),
        Some(first) => Check::fail(
            WHAT,
            format!("{} of {} interfaces cannot be loaded: {first}", missing.len(), INTERFACES.len()),
            "source the workspace that switchboard was built in (install/setup.bash), or use ./dev shell",
        ),
    }]
}

fn installation(prefixes: Option<&str>, sourced: Option<&str>, distro: &str) -> Check {
    const WHAT: &str = "ROS 2";
    let Some(prefixes) = prefixes else {
        return Check::fail(
            WHAT,
            "no ROS 2 is sourced (AMENT_PREFIX_PATH is empty)",
            format!("source /opt/ros/{distro}/setup.bash and the workspace, or use ./dev shell"),
        );
    };
    let prefixes = prefixes.split(':').filter(|prefix| !prefix.is_empty()).count();
    match sourced {
        Some(sourced) if sourced == distro => Check::ok(WHAT, format!("{distro}, with {prefixes} prefixes sourced")),
        Some(sourced) => Check::fail(
            WHAT,
            format!("{sourced} is sourced, but this program was built for {distro}"),
            format!("open a new shell and source {distro}, or build switchboard again with {sourced} sourced"),
        ),
        None => Check::warn(
            WHAT,
            format!("ROS_DISTRO is not set; this program was built for {distro}"),
            format!("source /opt/ros/{distro}/setup.bash instead of setting variables by hand"),
        ),
    }
}

fn loaded_middleware(wanted: Option<&str>, loaded: &str) -> Check {
    const WHAT: &str = "middleware";
    match wanted {
        Some(wanted) if wanted != loaded => Check::warn(
            WHAT,
            format!("RMW_IMPLEMENTATION is {wanted}, but {loaded} is loaded"),
            format!("install the package {wanted}, or set RMW_IMPLEMENTATION={loaded} in every shell"),
        ),
        _ => Check::ok(WHAT, format!("{loaded}; all nodes of a graph should use the same")),
    }
}

fn domain(given: Option<&str>) -> Check {
    const WHAT: &str = "domain";
    let Some(given) = given else { return Check::ok(WHAT, "0 (ROS_DOMAIN_ID is not set)") };
    match given.trim().parse::<u32>() {
        Ok(domain) if domain <= DOMAIN_SAFE_MAX => Check::ok(WHAT, format!("ROS_DOMAIN_ID is {domain}")),
        Ok(domain) if domain <= DOMAIN_MAX => Check::warn(
            WHAT,
            format!("ROS_DOMAIN_ID is {domain}; its ports are among those that Linux gives to any program"),
            format!("use 0 to {DOMAIN_SAFE_MAX}"),
        ),
        _ => Check::fail(
            WHAT,
            format!("ROS_DOMAIN_ID is {given:?}, which is no domain"),
            format!("use 0 to {DOMAIN_SAFE_MAX}"),
        ),
    }
}

fn discovery(range: Option<&str>, localhost_only: Option<&str>, distro: &str) -> Check {
    const WHAT: &str = "discovery";
    const HERE: &str = "nodes of this machine only";
    const NETWORK: &str = "nodes of the local network that are in the same domain";
    if distro == "humble" {
        return match (localhost_only, range) {
            (Some("1"), _) => Check::ok(WHAT, format!("{HERE} (ROS_LOCALHOST_ONLY=1)")),
            (_, Some(range)) => Check::warn(
                WHAT,
                format!("{NETWORK}; Humble does not know ROS_AUTOMATIC_DISCOVERY_RANGE={range}"),
                "use ROS_LOCALHOST_ONLY=1 to see this machine only",
            ),
            (_, None) => Check::ok(WHAT, NETWORK),
        };
    }
    if localhost_only == Some("1") {
        return Check::warn(
            WHAT,
            format!("{HERE}: ROS_LOCALHOST_ONLY=1, which is deprecated, wins over the discovery range"),
            "unset ROS_LOCALHOST_ONLY and use ROS_AUTOMATIC_DISCOVERY_RANGE=LOCALHOST",
        );
    }
    match range.map(str::to_ascii_uppercase).as_deref() {
        None | Some("SUBNET" | "SYSTEM_DEFAULT") => Check::ok(WHAT, NETWORK),
        Some("LOCALHOST") => Check::ok(WHAT, format!("{HERE} (ROS_AUTOMATIC_DISCOVERY_RANGE=LOCALHOST)")),
        Some("OFF") => Check::fail(
            WHAT,
            "ROS_AUTOMATIC_DISCOVERY_RANGE is OFF: no node sees another one",
            "use LOCALHOST or SUBNET, the same for every node",
        ),
        Some(other) => Check::fail(
            WHAT,
            format!("ROS_AUTOMATIC_DISCOVERY_RANGE is {other:?}, which ROS does not know"),
            "use LOCALHOST or SUBNET",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::{super::check::Verdict, *};

    fn verdicts(variables: &[(&str, &str)], distro: &str) -> Vec<(&'static str, Verdict)> {
        let lookup =
            |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
        checks(&lookup, distro, "rmw_fastrtps_cpp").iter().map(|check| (check.what, check.verdict)).collect()
    }

    fn verdict(variables: &[(&str, &str)], what: &str) -> Verdict {
        verdicts(variables, "jazzy").into_iter().find(|(name, _)| *name == what).unwrap().1
    }

    #[test]
    fn a_sourced_shell_is_well() {
        let sourced = [("AMENT_PREFIX_PATH", "/ws:/opt/ros/jazzy"), ("ROS_DISTRO", "jazzy")];
        assert!(verdicts(&sourced, "jazzy").iter().all(|(_, verdict)| *verdict == Verdict::Ok));
    }

    #[test]
    fn what_is_sourced_has_to_be_what_the_program_was_built_for() {
        assert_eq!(verdict(&[], "ROS 2"), Verdict::Fail);
        assert_eq!(verdict(&[("AMENT_PREFIX_PATH", "/a"), ("ROS_DISTRO", "humble")], "ROS 2"), Verdict::Fail);
        assert_eq!(verdict(&[("AMENT_PREFIX_PATH", "/a")], "ROS 2"), Verdict::Warn);
        assert_eq!(verdict(&[("RMW_IMPLEMENTATION", "rmw_cyclonedds_cpp")], "middleware"), Verdict::Warn);
    }

    #[test]
    fn domains_have_to_be_domains() {
        for (domain, expected) in [
            ("0", Verdict::Ok),
            ("101", Verdict::Ok),
            ("102", Verdict::Warn),
            ("233", Verdict::Fail),
            ("x", Verdict::Fail),
        ] {
            assert_eq!(verdict(&[("ROS_DOMAIN_ID", domain)], "domain"), expected, "{domain}");
        }
    }

    #[test]
    fn the_discovery_range_is_understood_as_ros_does() {
        for (variable, value, expected) in [
            ("ROS_AUTOMATIC_DISCOVERY_RANGE", "localhost", Verdict::Ok),
            ("ROS_AUTOMATIC_DISCOVERY_RANGE", "OFF", Verdict::Fail),
            ("ROS_AUTOMATIC_DISCOVERY_RANGE", "LAN", Verdict::Fail),
            ("ROS_LOCALHOST_ONLY", "1", Verdict::Warn),
        ] {
            assert_eq!(verdict(&[(variable, value)], "discovery"), expected, "{variable}={value}");
        }
        let humble = verdicts(&[("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")], "humble");
        assert!(humble.contains(&("discovery", Verdict::Warn)));
        let humble = verdicts(&[("ROS_LOCALHOST_ONLY", "1")], "humble");
        assert!(humble.contains(&("discovery", Verdict::Ok)));
    }

    #[test]
    fn an_interface_that_cannot_be_loaded_fails_with_its_reason() {
        let load = |name: &str| {
            if name.contains("/srv/") { Err(format!("{name} is not installed")) } else { Ok(String::new()) }
        };
        let check = &interfaces(&load)[0];
        assert_eq!(check.verdict, Verdict::Fail);
        assert!(
            check.finding.contains("2 of 4") && check.finding.contains("Open_Request is not installed"),
            "{check:?}"
        );
        assert_eq!(interfaces(&|_| Ok(String::new()))[0].verdict, Verdict::Ok);
    }
}
