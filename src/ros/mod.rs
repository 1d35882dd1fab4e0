//! The only room that knows ROS: typed interfaces through r2r, any-type traffic through rcl.
