//! Hello, login, keep-alive, goodbye and back-off as state machines.
