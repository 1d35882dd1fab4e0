//! The server program: the exchange and its ROS side.
