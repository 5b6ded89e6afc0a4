//! The swarmdrop command.
fn main() {}
