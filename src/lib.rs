//! The library around the one binary; its modules follow.
