//! The local graph and the rules in, readers, writers, offers and subscriptions out.

mod engine;
mod failure;
mod feeds;
mod frames;
mod gate;
pub mod graph;
pub mod names;
mod offers;
mod output;
mod passage;
pub mod pattern;
mod proxies;
pub mod qos;
pub mod rename;
mod report;
mod request;
mod rule_text;
pub mod rules;
mod services;
#[cfg(test)]
mod tests;
mod turns;
mod waiting;
mod wanted;

pub use engine::{CallCounters, Routes};
pub use graph::{Endpoint, Gid, LocalGraph, LocalService, LocalTopic};
pub use offers::Outgoing;
pub use output::RouteCommand;
pub use passage::Passed;
pub use pattern::{InvalidPattern, Pattern};
pub use rename::Rename;
pub use report::{Direction, RouteKind, RouteState, RouteStatus};
pub use request::{RouteList, RouteReply, RouteRequest, RuleStatus};
pub use rules::{QosOverride, Rule, Rules, Section, Subject, Thing};
