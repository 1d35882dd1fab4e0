//! What becomes of everything that is offered, wanted and accepted, in words for people.

use std::collections::BTreeSet;

pub use crate::traffic::Direction;
use crate::{defaults, ids::ClientId, model::Qos};

/// What goes a way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum RouteKind {
    /// The messages of a topic.
    Topic,
    /// The calls of a service.
    Service,
}

/// Whether it goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum RouteState {
    /// Something is in the way.
    Closed,
    /// In order, and nobody wants it now.
    Idle,
    /// Messages flow, or it can be called.
    Open,
    /// Pushed back until a slow receiver has caught up.
    Held,
}

/// One way that something takes between the local graph and the exchange.
#[derive(Debug, Clone, PartialEq)]
pub struct RouteStatus {
    /// Topic or service.
    pub kind: RouteKind,
    /// Out of the local graph or into it.
    pub direction: Direction,
    /// Whether it goes.
    pub state: RouteState,
    /// Why it is closed or held; empty otherwise.
    pub reason: String,
    /// Its name in the local graph, such as `/odom`.
    pub local_name: String,
    /// Its name for everybody else, such as `/r1/odom`.
    pub exchange_name: String,
    /// Full type name.
    pub type_name: String,
    /// REP 2011 type hash, empty where the distribution has none.
    pub type_hash: String,
    /// Whose it is (in), whom it commands (out); `None`: anybody's.
    pub peer: Option<ClientId>,
    /// What the publishers (out) or subscriptions (in) of the local graph ask for.
    pub graph_qos: String,
    /// What our own reader (out) or writer (in) asks for.
    pub own_qos: String,
    /// The rule under which it goes, as it stands in a rules file; empty if it goes without one.
    pub rule: String,
    /// (topics) Messages that went on in the last second [1/s]. All commanders of a topic are counted together.
    /// [`super::Routes::add_figures`] puts in this and the next two.
    pub rate: f64,
    /// (topics) Messages that went on since the program started.
    pub messages: u64,
    /// (topics) Messages that were given up, whatever the cause.
    pub dropped: u64,
}

/// A route, and what is in its way or in that of some of those whom it serves.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Finding {
    pub(super) status: RouteStatus,
    pub(super) problems: Vec<String>,
}

impl Finding {
    /// A topic without anything in the way yet, that nobody wants.
    pub(super) fn topic(direction: Direction, local_name: &str, exchange_name: String, type_name: &str) -> Finding {
        Finding::new(RouteKind::Topic, RouteState::Idle, direction, local_name, exchange_name, type_name)
    }

    /// A service without anything in the way yet.
    pub(super) fn service(direction: Direction, local_name: &str, exchange_name: String, type_name: &str) -> Finding {
        Finding::new(RouteKind::Service, RouteState::Open, direction, local_name, exchange_name, type_name)
    }

    fn new(
        kind: RouteKind,
        state: RouteState,
        direction: Direction,
        local_name: &str,
        exchange_name: String,
        type_name: &str,
    ) -> Finding {
        Finding {
            status: RouteStatus {
                kind,
                direction,
                state,
                reason: String::new(),
                local_name: local_name.to_owned(),
                exchange_name,
                type_name: type_name.to_owned(),
                type_hash: String::new(),
                peer: None,
                graph_qos: String::new(),
                own_qos: String::new(),
                rule: String::new(),
                rate: 0.0,
                messages: 0,
                dropped: 0,
            },
            problems: Vec::new(),
        }
    }

    /// Nothing goes, for this reason.
    pub(super) fn close(&mut self, reason: impl Into<String>) {
        self.status.state = RouteState::Closed;
        self.status.reason = reason.into();
    }

    /// Nothing goes, for this reason, and somebody should do something about it.
    pub(super) fn close_with_problem(&mut self, reason: &str) {
        self.close(reason);
        self.problems.push(format!("{}: {reason}", self.status.local_name));
    }
}

/// The profiles of several publishers or subscriptions, each once.
pub(super) fn profiles<'a>(all: impl Iterator<Item = &'a Qos>) -> String {
    let different: BTreeSet<String> = all.map(Qos::to_string).collect();
    different.into_iter().collect::<Vec<_>>().join("; ")
}

/// The beginning of a type hash, enough to tell two apart: `RIHS01_df668c740482…`.
pub(super) fn short_hash(hash: &str) -> String {
    const SHOWN: usize = 19;
    match hash.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", &hash[..end]),
        None => hash.to_owned(),
    }
}

/// At most [`defaults::PROBLEMS_MAX`] lines of at most [`defaults::TEXT_MAX`] bytes, each once, in a stable order.
pub(super) fn problem_list<'a>(problems: impl Iterator<Item = &'a str>) -> Vec<String> {
    let different: BTreeSet<String> = problems.map(line).collect();
    let more = (different.len() + 1).saturating_sub(defaults::PROBLEMS_MAX);
    let mut list: Vec<String> = different.into_iter().collect();
    if more > 1 {
        list.truncate(defaults::PROBLEMS_MAX - 1);
        list.push(format!("and {more} more; \"switchboard routes\" shows them all"));
    }
    list
}

/// `text` as one line of the length that the exchange takes.
fn line(text: &str) -> String {
    let text: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    if text.len() <= defaults::TEXT_MAX {
        return text;
    }
    const CUT: &str = "…";
    let end = (0..=defaults::TEXT_MAX - CUT.len()).rev().find(|&end| text.is_char_boundary(end)).unwrap_or_default();
    format!("{}{CUT}", &text[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn problems_are_bounded_in_number_and_length() {
        let many: Vec<String> = (10..40).map(|n| format!("{n}\n{}", "ü".repeat(200))).collect();
        let list = problem_list(many.iter().chain(&many).map(String::as_str));
        assert_eq!(list.len(), defaults::PROBLEMS_MAX);
        assert!(list[..15].iter().all(|line| line.len() <= defaults::TEXT_MAX && line.ends_with('…')), "{list:#?}");
        assert!(list[0].starts_with("10 ü"));
        assert_eq!(list[15], "and 15 more; \"switchboard routes\" shows them all");
        let exactly: Vec<String> = (0..16).map(|n| n.to_string()).collect();
        assert_eq!(problem_list(exactly.iter().map(String::as_str)).len(), 16);
    }

    #[test]
    fn what_is_short_stays_as_it_is() {
        assert_eq!(short_hash("RIHS01_df668c740482bbd48fb3"), "RIHS01_df668c740482…");
        assert_eq!(short_hash("RIHS01_df66"), "RIHS01_df66");
        assert_eq!(profiles([Qos::default(), Qos::default()].iter()), "reliable, volatile, keep_last 10");
    }
}
