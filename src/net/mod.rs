//! TCP: the listener, the dialler, and the tasks of a connection.
//!
//! Every connection has one [`Link`], which anybody may put packets into, and two tasks: one reads and drives the
//! [`Session`](crate::session::Session), one writes. What happens comes out as [`Event`]s on one bounded channel; when
//! its receiver is behind, the readers wait, and TCP makes the peers wait.

mod clock;
mod connection;
mod dialler;
mod link;
mod listener;

pub use clock::{instant, now};
pub use connection::{Event, Handle, What};
pub use dialler::{Dial, Dialler};
pub use link::Link;
pub use listener::{Listener, Numbers};

/// Why the network could not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum NetError {
    /// The host name could not be resolved.
    #[error("cannot resolve {host:?}: {source}; give an IP address, or a name that this machine can look up")]
    Resolve {
        /// As given.
        host: String,
        /// From the system.
        source: std::io::Error,
    },
    /// The port could not be opened.
    #[error("cannot listen on {address}:{port}: {source}; {}", cure_of_bind(source))]
    Bind {
        /// As given.
        address: String,
        /// As given.
        port: u16,
        /// From the system.
        source: std::io::Error,
    },
}

fn cure_of_bind(error: &std::io::Error) -> &'static str {
    match error.kind() {
        std::io::ErrorKind::AddrInUse => "another program has this port: choose another, or 0 for any free one",
        std::io::ErrorKind::AddrNotAvailable => {
            "no interface of this machine has that address: use 0.0.0.0 for all of them, or 127.0.0.1"
        }
        std::io::ErrorKind::PermissionDenied => "ports below 1024 need privileges: choose a higher one",
        _ => "check the address and the port",
    }
}
