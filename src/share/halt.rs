//! Why an upload stops, and whether its journal is of any use then.

use parcelry_core::api::ProblemKind;

use crate::client::{ClientError, tracker_failure};
use crate::failure::Failure;

/// Why an upload stops.
#[derive(Debug)]
pub(super) enum Halt {
    /// A file is not what it was when the share began. Going on could seal two contents under one
    /// nonce: the journal must be forgotten.
    Changed(String),
    /// The tracker knows that the share is over before its time: the journal is of no use.
    Gone(Failure),
    /// Anything else; running again goes on from here.
    Failed(Failure),
}

impl From<Failure> for Halt {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

impl Halt {
    /// The tracker refused.
    pub(super) fn of_tracker(error: &ClientError) -> Self {
        let failure = tracker_failure(error);
        match error.problem() {
            Some(ProblemKind::ShareGone) => Self::Gone(failure),
            _ => Self::Failed(failure),
        }
    }
}
