//! The local graph and the rules in, readers, writers, offers and subscriptions out.

pub mod graph;
pub mod pattern;
pub mod rules;
