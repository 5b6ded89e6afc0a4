//! Why a call to a tracker or peer fails.

use parcelry_core::api::{Problem, ProblemKind};

/// Why a call did not do what it should; each variant is something else to do about it.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ClientError {
    /// Nobody answers there, or not in time: another address, peer or moment may.
    #[error("{server} cannot be reached: {why}")]
    Unreachable {
        /// The address that was tried.
        server: String,
        /// What the system said.
        why: String,
    },
    /// Somebody else answers there: nothing was sent, and trying again will not help.
    #[error("{server} is not who it should be: {why}")]
    WrongKey {
        /// The address that was tried.
        server: String,
        /// What does not fit.
        why: String,
    },
    /// The server refused, and says why.
    #[error("{server} refused: {} ({})", .problem.title, .problem.detail)]
    Refused {
        /// Who refused.
        server: String,
        /// Why.
        problem: Problem,
    },
    /// The peer confirmed something and cannot prove it.
    #[error("{server} does not have what it confirmed ({what})")]
    Refuted {
        /// Which peer.
        server: String,
        /// What it does not have.
        what: String,
    },
    /// The server refused because of the time, and its clock shows another one.
    #[error("{server} has another time: its clock is {off}")]
    OtherTime {
        /// Who refused.
        server: String,
        /// By how much it is off, and against whose.
        off: String,
    },
    /// The answer is none that the protocol has.
    #[error("{server} answered with something else than parcelry does: {what}")]
    Protocol {
        /// Who answered.
        server: String,
        /// What was wrong with it.
        what: String,
    },
}

impl ClientError {
    /// The kind of problem, if the server named one.
    pub fn problem(&self) -> Option<ProblemKind> {
        match self {
            Self::Refused { problem, .. } => Some(problem.kind),
            _ => None,
        }
    }
}
