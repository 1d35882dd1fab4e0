//! What goes next on a link, and what is dropped when it is too slow.
