//! The registry in SQLite, on a thread of its own.
