//! ROS parameters, YAML and flags in, one validated value out.
