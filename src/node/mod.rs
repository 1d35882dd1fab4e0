//! One loop per role: the composition of the rooms.
