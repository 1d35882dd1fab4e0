//! The local graph and the rules in, readers, writers, offers and subscriptions out.

mod engine;
pub mod graph;
pub mod pattern;
pub mod qos;
pub mod rules;
#[cfg(test)]
mod tests;

pub use engine::{RouteCommand, Routes};
pub use graph::{Endpoint, Gid, LocalGraph, LocalTopic};
pub use pattern::{InvalidPattern, Pattern};
pub use rules::{AcceptRule, OfferRule, Rules, WantRule};
