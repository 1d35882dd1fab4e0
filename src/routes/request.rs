//! What can be asked of a client about its routes and rules, and what it answers.

use super::{RouteStatus, Section};
use crate::ids::{ClientId, RuleId};

/// A request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RouteRequest {
    /// Tell every route and every rule.
    List,
    /// Put a rule in force.
    AddRule {
        /// Of what.
        section: Section,
        /// As it stands in a rules file, on one line.
        rule: String,
        /// Whether it is tried before the others of its section.
        first: bool,
    },
    /// Take a rule out of force.
    RemoveRule(RuleId),
    /// Let go of this local topic, which one client commands alone.
    Release(String),
}

/// The answer to a [`RouteRequest`].
#[derive(Debug, Clone, PartialEq)]
pub enum RouteReply {
    /// The routes and rules.
    Listed(RouteList),
    /// The rule is in force under this number.
    Added(RuleId),
    /// The rule that was removed, as it stands in a rules file.
    Removed(String),
    /// Who held the topic that was let go.
    Released(ClientId),
}

/// Every route of a client, and the rules behind them.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct RouteList {
    /// Ordered by their names on the exchange.
    pub routes: Vec<RouteStatus>,
    /// In the order in which they are tried, section by section.
    pub rules: Vec<RuleStatus>,
}

/// A rule in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleStatus {
    /// Its number while the program runs.
    pub id: RuleId,
    /// What it decides about.
    pub section: Section,
    /// As it stands in a rules file, on one line.
    pub rule: String,
}
