//! Switchboard: every robot a line, one exchange, any operator on the call.
//!
//! The crate has three kinds of rooms (ARCHITECTURE.md). *Pure* modules hold the rules and the state machines: they know
//! no socket, no ROS, no database, no clock and no randomness, all of which come in as arguments. *IO siblings* ([`net`],
//! [`store`], `ros`) do one kind of input and output each and never import each other. *Composition* ([`config`],
//! `node`, `cli`) puts them together. `tests/layering.rs` holds the imports against this order.

// Pure.
pub mod admin;
pub mod defaults;
pub mod hub;
pub mod ids;
pub mod model;
pub mod outbox;
pub mod pace;
pub mod registry;
pub mod routes;
pub mod session;
pub mod simulation;
pub mod status;
pub mod time;
pub mod traffic;
pub mod wire;

// IO siblings.
pub mod net;
#[cfg(feature = "ros")]
#[allow(unsafe_code)]
pub mod ros;
pub mod store;

// Composition.
#[cfg(feature = "ros")]
pub mod cli;
pub mod config;
pub mod node;
