//! How the demo looks: where to look further, and a picture that is drawn over itself.

use std::{net::SocketAddr, time::Duration};

use super::{plan::Plan, state::State};
use crate::cli::{
    table::{Align, Cell, Column, Paint, Table, cut},
    terminal::Terminal,
    units,
};

/// Where everything is, and how to look into each graph from another terminal.
pub(super) fn addresses(plan: &Plan, endpoint: SocketAddr, terminal: Terminal) -> String {
    let driven = plan.driven();
    let mut lines =
        vec![String::new(), format!("The exchange listens on {endpoint}. Each line is a ROS graph of its own:")];
    let mut row = |who: &str, domain: u16, look: String| {
        lines.push(format!("  {who:<9} ROS_DOMAIN_ID={domain:<4} {}", Paint::Faint.apply(&look, terminal.colour)));
    };
    row("server", plan.server_domain, "ros2 topic echo /switchboard/connection_status".to_owned());
    for robot in &plan.robots {
        let peer = plan.robots.iter().find(|other| other.id != robot.id);
        let look = peer
            .map_or_else(|| "ros2 topic echo /odom".to_owned(), |peer| format!("ros2 topic echo /{}/odom", peer.id));
        row(&robot.id, robot.domain, look);
    }
    row("operator", plan.operator_domain, format!("ros2 topic hz /{driven}/camera/image/compressed"));
    lines.push("Look into one from another terminal:".to_owned());
    lines.push("  export ROS_AUTOMATIC_DISCOVERY_RANGE=LOCALHOST".to_owned());
    lines.push(format!("  ROS_DOMAIN_ID={} ros2 topic list", plan.operator_domain));
    lines.push(format!("  ROS_DOMAIN_ID={} switchboard status --watch", plan.server_domain));
    lines.push(String::new());
    lines.join("\n") + "\n"
}

/// What goes on now. No line is wider than the terminal.
pub(super) fn picture(state: &State, left: Option<Duration>, terminal: Terminal) -> String {
    let mut text = match &state.latest {
        Some(latest) => latest.render(state.earlier.as_ref(), terminal.width, terminal.colour),
        None => "no status yet\n".to_owned(),
    };
    text.push('\n');
    text.push_str(&robots(state).render(terminal.width, terminal.colour));
    text.push('\n');
    let driver = state.driver.as_ref().map_or_else(
        || "the driver sees nothing yet".to_owned(),
        |driver| {
            let delay = driver.robots.get(&driver.robot).map_or(0.0, |seen| seen.delay);
            let delay = units::round_trip(Duration::try_from_secs_f64(delay).unwrap_or_default());
            format!(
                "the operator drives {}: {} legs followed, {} missed, odometry {delay} old",
                driver.robot, driver.followed, driver.missed
            )
        },
    );
    text.push_str(&cut(&driver, terminal.width));
    text.push('\n');
    let end = left
        .map_or_else(|| "Ctrl-C ends it".to_owned(), |left| format!("{} left; Ctrl-C ends it now", units::span(left)));
    text.push_str(&Paint::Faint.apply(&cut(&end, terminal.width), terminal.colour));
    text.push('\n');
    text
}

fn robots(state: &State) -> Table {
    let mut table = Table::new([
        Column::new("ROBOT", Align::Left, 0),
        Column::new("X", Align::Right, 3),
        Column::new("Y", Align::Right, 3),
        Column::new("HEADING", Align::Right, 4),
        Column::new("BATTERY", Align::Right, 2),
        Column::new("DRIVEN", Align::Left, 1),
        Column::new("HEARS", Align::Left, 5).flexible(),
    ]);
    for (id, robot) in &state.told {
        let heard: Vec<String> = robot
            .peers
            .iter()
            .map(|(peer, heard)| match heard.distance {
                Some(distance) => format!("{peer} {distance:.1} m away ({})", heard.messages),
                None => format!("{peer} not yet"),
            })
            .collect();
        table.push([
            Cell::painted(id, Paint::Strong),
            Cell::new(format!("{:.2} m", robot.x)),
            Cell::new(format!("{:.2} m", robot.y)),
            Cell::new(format!("{:.0}°", robot.yaw.to_degrees())),
            Cell::new(format!("{:.1} %", robot.battery * 100.0)),
            Cell::painted(
                if robot.manual { "by operator" } else { "itself" },
                if robot.manual { Paint::Good } else { Paint::Plain },
            ),
            Cell::new(heard.join(", ")),
        ]);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    fn terminal(width: usize) -> Terminal {
        Terminal { is_terminal: true, width, height: 40, colour: false }
    }

    #[test]
    fn every_graph_is_shown_with_a_way_to_look_into_it() {
        let plan = Plan::new(2, 0, None, |_| true, "jazzy").unwrap();
        let text = addresses(&plan, "127.0.0.1:40000".parse().unwrap(), terminal(80));
        for expected in [
            "listens on 127.0.0.1:40000",
            "  server    ROS_DOMAIN_ID=60   ros2 topic echo /switchboard/connection_status",
            "  r1        ROS_DOMAIN_ID=61   ros2 topic echo /r2/odom",
            "  r2        ROS_DOMAIN_ID=62   ros2 topic echo /r1/odom",
            "  operator  ROS_DOMAIN_ID=63   ros2 topic hz /r1/camera/image/compressed",
            "  ROS_DOMAIN_ID=60 switchboard status --watch",
        ] {
            assert!(text.contains(expected), "{expected}\nnot in\n{text}");
        }
        assert!(text.lines().all(|line| line.len() <= 80), "{text}");
    }

    #[test]
    fn the_picture_fits_the_terminal() {
        let mut state = State::new(["r1", "r2"].map(str::to_owned));
        let report = r#"{"id":"r1","x":1.0,"y":-0.5,"yaw":3.1,"linear":0.4,"angular":0.0,"manual":true,"commands":9,"battery":0.994,"peers":{"r2":{"messages":42,"distance":5.25}}}"#;
        state.handle_line("simulation-r1", report);
        let picture_80 = picture(&state, Some(Duration::from_secs(12)), terminal(80));
        assert!(
            picture_80.contains("r1     1.00 m  -0.50 m     178°   99.4 %  by operator  r2 5.2 m away (42)"),
            "{picture_80}"
        );
        assert!(picture_80.contains("12s left"), "{picture_80}");
        for width in [30, 50, 80] {
            let picture = picture(&state, None, terminal(width));
            assert!(picture.lines().all(|line| line.chars().count() <= width), "{width}\n{picture}");
        }
    }
}
