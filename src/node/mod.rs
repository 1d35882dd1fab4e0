//! One loop per role: the composition of the rooms.

#[cfg(feature = "ros")]
pub mod client;
#[cfg(feature = "ros")]
mod endpoints;
pub mod exchange;
#[cfg(feature = "ros")]
mod parameters;
#[cfg(feature = "ros")]
pub mod server;
#[cfg(feature = "ros")]
pub(crate) mod signals;
