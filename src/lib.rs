//! parcelry: hand over large files through a swarm of your own machines.
//!
//! The library around the one binary. [`parcelry_core`] holds the values and decisions; the modules
//! here carry them out. `ARCHITECTURE.md` maps them and says who may import whom.

// Layer 1: the ground.
pub mod buffers;
pub mod cli;
pub mod clock;
pub mod config;
pub mod crash;
pub mod disk;
pub mod failure;
pub mod human;
pub mod identity;
pub mod log;
pub mod pace;
pub mod progress;
pub mod secrecy;
pub mod task;
pub mod throttle;
pub mod tls;

// Layer 2: speaking, listening, remembering.
pub mod client;
pub mod context;
pub mod journal;
pub mod known_swarms;
pub mod server;
pub mod withdraw;

// Layer 3: the roles.
pub mod get;
pub mod peer;
pub mod share;
pub mod tracker;

// Layer 4: the commands, over all of it.
pub mod commands;

#[cfg(test)]
mod simulation;
