//! What every command works with: the network, the user, and the folder for its state.

use std::path::PathBuf;

use crate::client::{ClientError, Http};
use crate::failure::{Failure, Kind};
use crate::progress::Progress;
use swarmdrop_core::api::{Health, ProblemKind, Role};
use swarmdrop_core::link::Invite;

/// The surroundings of a command.
#[derive(Debug, Clone)]
pub struct Context {
    /// The pool of connections.
    pub http: Http,
    /// Where it reports.
    pub progress: Progress,
    /// The folder for journals and the keys of shares; private to its owner.
    pub state: PathBuf,
}

/// Checks that who answers is the tracker that the invite is for.
pub fn check_tracker(health: &Health, invite: &Invite) -> Result<(), Failure> {
    if health.role == Role::Tracker && health.id == invite.tracker_id.to_string() {
        return Ok(());
    }
    let what = format!("{} is not the tracker that the invite is for", invite.tracker);
    Err(Failure::new(Kind::Denied, what).next("Ask the operator for a new invite."))
}

/// What a failed call to the tracker means for the user.
pub fn tracker_failure(error: &ClientError) -> Failure {
    let network = |what: String| Failure::new(Kind::Network, what);
    match error {
        ClientError::Refused { problem, .. } => {
            let kind = match problem.kind {
                ProblemKind::ShareNotFound | ProblemKind::ShareGone => Kind::NotFound,
                ProblemKind::NotEnoughPeers => Kind::NotEnoughPeers,
                ProblemKind::NoSpace => Kind::NoSpace,
                ProblemKind::AccessDenied => Kind::Denied,
                ProblemKind::Unavailable => Kind::Network,
                _ => Kind::Other,
            };
            Failure::new(kind, format!("the tracker at {error}"))
        }
        ClientError::Unreachable { .. } => network(format!("the tracker at {error}"))
            .next("Check that it runs and that this machine reaches it, then run the same command again."),
        ClientError::Protocol { .. } => {
            network(format!("the tracker at {error}")).next("Is something else listening there?")
        }
    }
}
