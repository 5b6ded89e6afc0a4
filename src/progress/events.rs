//! The events that every command may emit with `--json`.

use serde::Serialize;

/// The event `error`, with which a command ends that failed.
#[derive(Debug, Serialize)]
pub(super) struct ErrorEvent<'a> {
    /// Which kind it is, a word for each exit code.
    pub(super) kind: &'a str,
    /// The exit code.
    pub(super) exit_code: u8,
    /// What happened, and to what.
    pub(super) message: &'a str,
    /// What to do next.
    pub(super) next: Option<&'a str>,
}

/// The events `status` and `warning` that are said in words.
#[derive(Debug, Serialize)]
pub(super) struct Said<'a> {
    /// The words.
    pub(super) message: &'a str,
}

/// The event `status` of a stage of work.
#[derive(Debug, Serialize)]
pub(super) struct StageStatus<'a> {
    /// What is done.
    pub(super) stage: &'a str,
    /// Bytes that are done, those included that needed not be done.
    pub(super) done_bytes: u64,
    /// Bytes in all.
    pub(super) total_bytes: u64,
    /// Bytes that needed not be done: they were done before.
    pub(super) skipped_bytes: u64,
    /// What people are told beside it.
    pub(super) note: &'a str,
}
