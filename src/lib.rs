//! swarmdrop: hand over large files through a swarm of your own machines.
//!
//! The library around the one binary. [`swarmdrop_core`] holds the values and decisions; the modules
//! here carry them out. `ARCHITECTURE.md` maps them and says who may import whom.

// Layer 1: the ground.
pub mod clock;
pub mod durable;
pub mod failure;
pub mod identity;
pub mod progress;
pub mod task;
pub mod words;

// Layer 2: speaking and listening.
pub mod client;
pub mod journal;
pub mod server;
// Layer 3: the roles.
pub mod context;
pub mod get;
pub mod peer;
pub mod share;
pub mod tracker;
//L
