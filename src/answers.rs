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

/// `ls --partial`: what was begun and not finished.
#[derive(Debug, Serialize)]
pub struct PartialList {
    /// What was touched last comes first.
    pub partial: Vec<PartialEntry>,
}

/// Something that was begun and not finished.
#[derive(Debug, Serialize)]
pub struct PartialEntry {
    /// What it is.
    pub kind: PartialKind,
    /// What the share is called, or is to be called here; empty if its journal cannot be read.
    pub name: String,
    /// Where it comes from, or goes to, on this machine; none for what came on standard input.
    pub path: Option<String>,
    /// Where the bytes are that were fetched.
    pub temporary: Option<String>,
    /// Bytes of the share, of an upload.
    pub size_bytes: Option<u64>,
    /// Bytes that it takes on this machine's disks.
    pub disk_bytes: u64,
    /// When it was last touched.
    pub touched: String,
    /// The same in milliseconds since the Unix epoch.
    #[serde(skip)]
    pub touched_ms: u64,
    /// Whether a command is at work on it.
    pub is_in_use: bool,
}

/// What was begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum PartialKind {
    /// A share that was to be sent.
    Upload,
    /// A share that was to be fetched.
    Download,
    /// Its journal cannot be read.
    Unreadable,
}

/// `clean`: what was removed.
#[derive(Debug, Serialize)]
pub struct Cleaned {
    /// As `ls --partial` listed it.
    pub removed: Vec<PartialEntry>,
    /// Bytes that it took on this machine's disks.
    pub freed_bytes: u64,
}

/// The event `error`, with which a command ends that failed.
#[derive(Debug, Serialize)]
pub struct ErrorEvent<'a> {
    /// Which kind it is, a word for each exit code.
    pub kind: &'a str,
    /// The exit code.
    pub exit_code: u8,
    /// What happened, and to what.
    pub message: &'a str,
    /// What to do next.
    pub next: Option<&'a str>,
}
