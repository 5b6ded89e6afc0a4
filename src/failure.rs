//! The one error that people see: what happened, to what, and what to do next.

use std::fmt;
use std::io;
use std::path::Path;

/// Which kind of failure it is: what a script may decide on. The number is the exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// None of the others.
    Other = 1,
    /// The command line or configuration is wrong.
    Usage = 2,
    /// Some of it was done.
    Partial = 3,
    /// The share is not there: unknown, expired or deleted.
    NotFound = 4,
    /// The network or a server failed; a retry may help.
    Network = 5,
    /// Fewer peers than replicas.
    NotEnoughPeers = 6,
    /// Bytes are not what they should be.
    Integrity = 7,
    /// No space, here or on the peers.
    NoSpace = 8,
    /// The target exists.
    Exists = 9,
    /// Not allowed.
    Denied = 10,
    /// Interrupted from the keyboard; the state is kept.
    Interrupted = 130,
    /// Asked to end; the state is kept.
    Terminated = 143,
}

impl Kind {
    /// What the events of `--json` call it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Other => "other",
            Self::Usage => "usage",
            Self::Partial => "partial",
            Self::NotFound => "not_found",
            Self::Network => "network",
            Self::NotEnoughPeers => "not_enough_peers",
            Self::Integrity => "integrity",
            Self::NoSpace => "no_space",
            Self::Exists => "exists",
            Self::Denied => "denied",
            Self::Interrupted => "interrupted",
            Self::Terminated => "terminated",
        }
    }
}

/// A command that did not do what was asked of it.
#[derive(Debug, Clone)]
pub struct Failure {
    /// Which kind it is.
    pub kind: Kind,
    /// What happened, and to what.
    pub what: String,
    /// What to do next.
    pub next: Option<String>,
}

impl Failure {
    /// A failure of this kind.
    pub fn new(kind: Kind, what: impl Into<String>) -> Self {
        Self { kind, what: what.into(), next: None }
    }

    /// Adds what to do next.
    #[must_use]
    pub fn next(mut self, next: impl Into<String>) -> Self {
        self.next = Some(next.into());
        self
    }

    /// A file operation that failed.
    pub fn io(doing: &str, path: &Path, error: &io::Error) -> Self {
        let kind = match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Kind::NoSpace,
            io::ErrorKind::PermissionDenied => Kind::Denied,
            io::ErrorKind::AlreadyExists => Kind::Exists,
            _ => Kind::Other,
        };
        Self::new(kind, format!("cannot {doing} {}: {error}", path.display()))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)?;
        self.next.as_ref().map_or(Ok(()), |next| write!(f, "\n{next}"))
    }
}

impl std::error::Error for Failure {}
