//! Hello, login, keep-alive, goodbye and back-off as state machines.
//!
//! One [`Session`] is one connection seen from one end. Contract: make it with [`Session::accept`] or
//! [`Session::dial`]; give it every [`Item`] that the decoder finds, every decoder error, every decision on a login, and
//! the time whenever [`Session::poll_timeout`] is reached; after each of these call [`Session::poll_output`] until it
//! says `None` and do what it says, in that order. [`Output::Ended`] is always the last one.

mod backoff;
mod clock;
mod machine;

pub use backoff::Backoff;
pub use clock::{ClockReading, PeerClock, to_local};
pub use machine::{End, Output, Session, Timing};
