//! What the command line shows of the routes of a client: as JSON for programs, as tables for people.

use serde::{Deserialize, Serialize};

use super::table::{Align, Cell, Column, Paint, Table, cut, harmless, wrapped};
use crate::routes::{Direction, RouteKind, RouteList, RouteState, RouteStatus, RuleStatus};

/// The routes of a client as `--json` shows them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct RoutesReport {
    node: String,
    routes: Vec<RouteReport>,
    rules: Vec<RuleReport>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct RouteReport {
    /// topic, service
    kind: String,
    /// out, in
    direction: String,
    /// closed, idle, open, held
    state: String,
    reason: String,
    local_name: String,
    exchange_name: String,
    type_name: String,
    type_hash: String,
    peer: Option<String>,
    graph_qos: String,
    own_qos: String,
    rule: String,
    rate: f64,
    messages: u64,
    dropped: u64,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct RuleReport {
    id: u32,
    section: String,
    rule: String,
}

impl RoutesReport {
    /// The routes and rules of the node of that name.
    pub(super) fn new(node: &str, list: &RouteList) -> Self {
        RoutesReport {
            node: node.to_owned(),
            routes: list.routes.iter().map(RouteReport::from).collect(),
            rules: list.rules.iter().map(RuleReport::from).collect(),
        }
    }

    /// A table of the routes, why some are closed, and the rules if they are wanted, for a terminal of `width` columns.
    pub(super) fn render(&self, with_rules: bool, width: usize, colour: bool) -> String {
        let mut text = if self.routes.is_empty() {
            format!("{} has no routes: nothing matches its rules; --rules shows them\n", self.node)
        } else {
            self.table(width).render(width, colour)
        };
        let closed = self.routes.iter().filter(|route| !route.reason.is_empty());
        for (index, route) in closed.enumerate() {
            if index == 0 {
                text.push('\n');
            }
            let line = format!("{} is {}: {}", route.exchange_name, route.state, route.reason);
            text.push_str(&wrapped(&harmless(&line), width));
        }
        if with_rules {
            text.push('\n');
            text.push_str(&self.rules_table().render(width, colour));
        }
        text
    }

    /// Names are cut only where nothing else is left to leave out; columns without content are left out anyway.
    fn table(&self, width: usize) -> Table {
        let columns = [
            Column::new("STATE", Align::Left, 0),
            Column::new("", Align::Left, 0),
            Column::new("EXCHANGE", Align::Left, 0),
            Column::new("HERE", Align::Left, 6).flexible(),
            Column::new("TYPE", Align::Left, 1).flexible(),
            Column::new("PEER", Align::Left, 5),
            Column::new("QOS", Align::Left, 4),
            Column::new("OWN", Align::Left, 3),
            Column::new("RATE", Align::Right, 7),
            Column::new("DROP", Align::Right, 2),
        ];
        let name_width = width.saturating_sub("closed  →  ".chars().count()).max(NAME_MIN);
        let rows: Vec<Vec<Cell>> = self.routes.iter().map(|route| route.cells(name_width)).collect();
        let used: Vec<bool> =
            (0..columns.len()).map(|index| rows.iter().any(|row| row[index] != Cell::default())).collect();
        let kept = |index: &usize| used[*index];
        let mut table = Table::new((0..columns.len()).filter(kept).map(|index| columns[index].clone()));
        for row in &rows {
            table.push((0..columns.len()).filter(kept).map(|index| row[index].clone()));
        }
        table
    }

    fn rules_table(&self) -> Table {
        let mut table = Table::new([
            Column::new("ID", Align::Right, 0),
            Column::new("SECTION", Align::Left, 0),
            Column::new("RULE", Align::Left, 0).flexible(),
        ]);
        for rule in &self.rules {
            table.push([rule.id.to_string(), rule.section.clone(), rule.rule.clone()].map(Cell::new));
        }
        table
    }
}

/// Narrowest that names are cut to.
const NAME_MIN: usize = 12;

impl RouteReport {
    fn cells(&self, name_width: usize) -> Vec<Cell> {
        let paint = match self.state.as_str() {
            "open" => Paint::Good,
            "closed" => Paint::Bad,
            "held" => Paint::Doubtful,
            _ => Paint::Faint,
        };
        // The name here is worth a column only where nobody would expect it.
        let here = if self.is_renamed() { self.local_name.as_str() } else { "" };
        let of = |text: &str, paint| if text.is_empty() { Cell::default() } else { Cell::painted(text, paint) };
        vec![
            Cell::painted(&self.state, paint),
            Cell::new(if self.direction == "out" { "→" } else { "←" }),
            Cell::new(cut(&self.exchange_name, name_width)),
            of(here, Paint::Faint),
            Cell::new(self.type_name.rsplit('/').next().unwrap_or_default()),
            Cell::new(self.peer.as_deref().unwrap_or_default()),
            Cell::new(short_qos(&self.graph_qos)),
            Cell::new(short_qos(&self.own_qos)),
            Cell::new(if self.rate > 0.0 { format!("{:.1}", self.rate) } else { String::new() }),
            of(&if self.dropped > 0 { self.dropped.to_string() } else { String::new() }, Paint::Bad),
        ]
    }
}

impl RouteReport {
    /// Whether its name here does not follow from that on the exchange: a topic of ours is there under our id, one of
    /// others has the same name here, and a command to us loses our id.
    fn is_renamed(&self) -> bool {
        let bare = self.exchange_name.strip_prefix('/').unwrap_or_default();
        let owner = bare.split('/').next().unwrap_or_default();
        let without_id = self.local_name == bare[owner.len()..];
        let comes_from_owner = self.direction == "in" && self.peer.as_deref() == Some(owner);
        self.local_name != self.exchange_name && (!without_id || comes_from_owner)
    }
}

/// `rel vol 10` of `reliable, volatile, keep_last 10`; of several profiles the first, and a plus sign.
fn short_qos(profiles: &str) -> String {
    let (first, more) = profiles.split_once("; ").map_or((profiles, ""), |(first, _)| (first, "+"));
    let words: Vec<&str> = first
        .split(", ")
        .filter_map(|word| match word {
            "reliable" => Some("rel"),
            "best_effort" => Some("be"),
            "volatile" => Some("vol"),
            "transient_local" => Some("tl"),
            // The rest is in the JSON.
            other => other.strip_prefix("keep_last "),
        })
        .collect();
    words.join(" ") + more
}

impl From<&RouteStatus> for RouteReport {
    fn from(route: &RouteStatus) -> Self {
        RouteReport {
            kind: match route.kind {
                RouteKind::Topic => "topic",
                RouteKind::Service => "service",
            }
            .to_owned(),
            direction: match route.direction {
                Direction::Out => "out",
                Direction::In => "in",
            }
            .to_owned(),
            state: match route.state {
                RouteState::Closed => "closed",
                RouteState::Idle => "idle",
                RouteState::Open => "open",
                RouteState::Held => "held",
            }
            .to_owned(),
            reason: route.reason.clone(),
            local_name: route.local_name.clone(),
            exchange_name: route.exchange_name.clone(),
            type_name: route.type_name.clone(),
            type_hash: route.type_hash.clone(),
            peer: route.peer.as_ref().map(|peer| peer.as_str().to_owned()),
            graph_qos: route.graph_qos.clone(),
            own_qos: route.own_qos.clone(),
            rule: route.rule.clone(),
            rate: route.rate,
            messages: route.messages,
            dropped: route.dropped,
        }
    }
}

impl From<&RuleStatus> for RuleReport {
    fn from(rule: &RuleStatus) -> Self {
        RuleReport { id: rule.id.0, section: rule.section.as_str().to_owned(), rule: rule.rule.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        ids::{ClientId, RuleId},
        routes::Section,
    };

    fn route(direction: Direction, state: RouteState, exchange_name: &str, local_name: &str) -> RouteStatus {
        RouteStatus {
            kind: RouteKind::Topic,
            direction,
            state,
            reason: String::new(),
            local_name: local_name.to_owned(),
            exchange_name: exchange_name.to_owned(),
            type_name: "nav_msgs/msg/Odometry".to_owned(),
            type_hash: "RIHS01_x".to_owned(),
            peer: None,
            graph_qos: "reliable, volatile, keep_last 10".to_owned(),
            own_qos: "best_effort, transient_local, deadline 0.5 s".to_owned(),
            rule: "{topic: /odom}".to_owned(),
            rate: 0.0,
            messages: 0,
            dropped: 0,
        }
    }

    fn report() -> RoutesReport {
        let closed = RouteStatus {
            reason: "/viewer gets nothing: the reliability that it asks for is not offered; it asks for reliable, \
                     volatile, keep_last 10, the publishers offer best_effort, volatile, keep_last 10"
                .to_owned(),
            peer: ClientId::new("r2").ok(),
            ..route(Direction::In, RouteState::Closed, "/r2/scan", "/r2/scan")
        };
        let open = RouteStatus { rate: 9.96, ..route(Direction::Out, RouteState::Open, "/r1/odom", "/odom") };
        let rule = RuleStatus { id: RuleId(0), section: Section::Offer, rule: "{topic: /odom}".to_owned() };
        RoutesReport::new("/switchboard_robot", &RouteList { routes: vec![open, closed], rules: vec![rule] })
    }

    #[test]
    fn the_routes_fit_eighty_columns() {
        let text = report().render(true, 80, false);
        assert_eq!(
            text,
            "STATE      EXCHANGE  TYPE      PEER  QOS         OWN    RATE\n\
             open    →  /r1/odom  Odometry        rel vol 10  be tl  10.0\n\
             closed  ←  /r2/scan  Odometry  r2    rel vol 10  be tl\n\
             \n\
             /r2/scan is closed: /viewer gets nothing: the reliability that it asks for is\n    \
                 not offered; it asks for reliable, volatile, keep_last 10, the publishers\n    \
                 offer best_effort, volatile, keep_last 10\n\
             \n\
             ID  SECTION  RULE\n \
              0  offer    {topic: /odom}\n"
        );
    }

    #[test]
    fn no_line_is_wider_than_the_terminal() {
        for width in 40..120 {
            for line in report().render(true, width, false).lines() {
                assert!(line.chars().count() <= width, "{width}: {line:?}");
            }
        }
    }

    #[test]
    fn the_name_here_is_shown_where_it_is_another_one() {
        let renamed = |direction, exchange_name, local_name, peer: Option<&str>| {
            let peer = peer.and_then(|id| ClientId::new(id).ok());
            let status = route(direction, RouteState::Idle, exchange_name, local_name);
            RouteReport::from(&RouteStatus { peer, ..status }).is_renamed()
        };
        use Direction::{In, Out};
        assert!(!renamed(Out, "/r1/odom", "/odom", None) && !renamed(Out, "/r2/cmd_vel", "/r2/cmd_vel", Some("r2")));
        assert!(
            !renamed(In, "/r2/odom", "/r2/odom", Some("r2")) && !renamed(In, "/r1/cmd_vel", "/cmd_vel", Some("r2"))
        );
        assert!(renamed(Out, "/r1/front/tf", "/tf", None) && renamed(In, "/r2/odom", "/odom", Some("r2")));
        assert!(renamed(In, "/r1/cmd_vel", "/base/cmd_vel", Some("r2")));
    }

    #[test]
    fn names_are_whole_as_long_as_anything_else_can_be_left_out() {
        let mut report = report();
        report.routes[0].exchange_name = format!("/r1/{}", "x".repeat(45));
        report.routes[0].local_name = "/odom".to_owned();
        let whole = report.routes[0].exchange_name.clone();
        for width in [62, 70, 80] {
            assert!(report.render(false, width, false).contains(&whole), "{width}");
        }
        // A name that is another one here is worth a column.
        assert!(report.render(false, 80, false).contains("  /odom"), "{}", report.render(false, 80, false));
    }

    #[test]
    fn a_client_without_routes_says_where_to_look() {
        let empty = RoutesReport::new("/r", &RouteList::default());
        assert_eq!(empty.render(false, 80, false), "/r has no routes: nothing matches its rules; --rules shows them\n");
    }

    #[test]
    fn several_profiles_are_one_and_more() {
        assert_eq!(short_qos("reliable, volatile, keep_last 1; best_effort, volatile"), "rel vol 1+");
        assert_eq!(short_qos(""), "");
    }

    #[test]
    fn json_says_it_in_words() {
        let json = serde_json::to_string(&report()).unwrap();
        assert!(json.contains(r#""state":"closed""#) && json.contains(r#""direction":"in""#), "{json}");
        assert_eq!(serde_json::from_str::<RoutesReport>(&json).unwrap(), report());
    }
}
