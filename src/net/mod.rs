//! TCP: the listener, the dialler, and the tasks of a connection.
