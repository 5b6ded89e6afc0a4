//! Why a peer's storage does not do what it was asked for. It knows nothing of HTTP: `http.rs` makes refusals of it.

use std::fmt::Display;
use std::io;

use parcelry_core::api::ProblemKind;

use super::chunk_file::PutError;

/// Why the storage does not do what it was asked for.
#[derive(Debug, thiserror::Error)]
pub(in crate::peer) enum StorageError {
    /// The share will never be taken or served here again.
    #[error("{0}")]
    Gone(&'static str),
    /// Something came for a share that nobody offered to this process.
    #[error("the share was not offered here first")]
    NotOffered,
    /// The share is held with another manifest.
    #[error("the share has another manifest already")]
    OtherManifest,
    /// Manifest or terms are none that the share's key signed, or do not fit each other.
    #[error("{0}")]
    InvalidShare(String),
    /// An offer that contradicts itself.
    #[error("{0}")]
    BadOffer(&'static str),
    /// Other bytes than those of the chunk's id.
    #[error("{0}")]
    HashMismatch(PutError),
    /// More than is free, or than is reserved.
    #[error("{0}")]
    NoSpace(String),
    /// More than the invite's bearers may have at one peer.
    #[error("{0}")]
    QuotaExceeded(&'static str),
    /// It may work later.
    #[error("{0}")]
    NotNow(String),
    /// The disk failed.
    #[error("the disk failed: {0}")]
    Io(io::Error),
}

impl StorageError {
    /// What a manifest or terms have wrong.
    pub(super) fn invalid(error: impl Display) -> Self {
        Self::InvalidShare(error.to_string())
    }

    /// What the protocol calls it.
    pub(in crate::peer) fn kind(&self) -> ProblemKind {
        match self {
            Self::Gone(_) => ProblemKind::ShareGone,
            Self::NotOffered | Self::OtherManifest => ProblemKind::Conflict,
            Self::InvalidShare(_) => ProblemKind::InvalidShare,
            Self::BadOffer(_) => ProblemKind::BadRequest,
            Self::HashMismatch(_) => ProblemKind::HashMismatch,
            Self::NoSpace(_) => ProblemKind::NoSpace,
            Self::QuotaExceeded(_) => ProblemKind::QuotaExceeded,
            Self::NotNow(_) => ProblemKind::Unavailable,
            Self::Io(_) => ProblemKind::Internal,
        }
    }
}

impl From<io::Error> for StorageError {
    /// A full disk is the sender's business; any other failure is this peer's own.
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                Self::NoSpace("the disk is full".to_owned())
            }
            _ => Self::Io(error),
        }
    }
}

impl From<PutError> for StorageError {
    fn from(error: PutError) -> Self {
        match error {
            PutError::HashMismatch(_) => Self::HashMismatch(error),
            PutError::Io(error) => error.into(),
        }
    }
}
