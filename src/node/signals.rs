//! The signals that ask a program to stop.
