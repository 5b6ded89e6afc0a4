//! What commands answer with `--json`: one type for each document and summary. `docs/json.md` describes them.

use serde::Serialize;

/// `swarms`: those that are known here.
#[derive(Debug, Serialize)]
pub struct SwarmList {
    /// By name, those that run here first.
    pub swarms: Vec<SwarmEntry>,
}

/// A swarm that is known here.
#[derive(Debug, Serialize)]
pub struct SwarmEntry {
    /// What it is called here.
    pub name: String,
    /// Its tracker's address.
    pub tracker: String,
    /// Whether `swarmdrop up` runs it on this machine.
    pub is_up: bool,
    /// Whether commands use it that are told of no other.
    pub is_in_use: bool,
}

/// `join`, `swarms use`, `swarms forget`, `leave`: which swarm it was done to.
#[derive(Debug, Serialize)]
pub struct SwarmNamed {
    /// What it is called here.
    pub name: String,
    /// Its tracker's address.
    pub tracker: String,
}
