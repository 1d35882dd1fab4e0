//! The exchange itself: who is connected, who offers what, who gets it.
//!
//! [`Hub`] is pure. Contract: hand it what happens with the `handle_*` methods; after each call [`Hub::poll_command`]
//! until it says `None`, and carry the commands out in that order. Messages take the short way: [`Hub::route`] says who
//! gets one, without a command for each. At [`Hub::poll_timeout`] it wants [`Hub::handle_timeout`]. [`Hub::take_changed`] says whether the status is worth publishing.

mod calls;
mod exchange;
mod feeds;
mod floodgate;
mod history;
mod holds;
#[cfg(test)]
mod tests;

pub use exchange::{Command, Hub, Limits, LineFigures};
