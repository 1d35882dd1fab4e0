//! The exchange itself: who is connected, who offers what, who gets it.
