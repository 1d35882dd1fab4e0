//! A robot or an operator: its line, its routes and its ROS side, in one loop.
