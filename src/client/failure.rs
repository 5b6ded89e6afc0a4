//! What failed calls to a tracker mean for people.

use parcelry_core::api::ProblemKind;

use super::{ClientError, TrackerClient};
use crate::clock::Skew;
use crate::failure::{Failure, Kind};

/// How far the tracker's clock is off against this machine's. What answers there is told apart as at any other call.
pub async fn tracker_skew(tracker: &TrackerClient) -> Result<Skew, Failure> {
    match tracker.health().await {
        Ok(health) => Ok(Skew::of(health.now_ms)),
        // It has more to do than to tell the time.
        Err(ClientError::Refused { .. }) => Ok(Skew::default()),
        Err(error) => Err(tracker_failure(&error)),
    }
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
                ProblemKind::AccessDenied | ProblemKind::QuotaExceeded => Kind::Denied,
                ProblemKind::Unavailable => Kind::Network,
                _ => Kind::Other,
            };
            let failure = Failure::new(kind, format!("the tracker at {error}"));
            match problem.kind {
                ProblemKind::ShareGone => failure.next("What is over does not come back: share it again."),
                ProblemKind::AccessDenied => failure.next(
                    "The invite may be for another role, revoked or over. Ask the operator for a new one.",
                ),
                _ => failure,
            }
        }
        ClientError::WrongKey { .. } => Failure::new(Kind::Denied, format!("the tracker at {error}")).next(
            "Nothing was sent. Somebody may be in between, or the tracker was set up anew: ask for a new \
                 link or invite.",
        ),
        ClientError::OtherTime { .. } => Failure::new(Kind::Other, format!("the tracker at {error}"))
            .next("Set the clock that is wrong, then run the same command again."),
        ClientError::Unreachable { .. } => network(format!("the tracker at {error}"))
            .next("Check that it runs and that this machine reaches it, then run the same command again."),
        // What no tracker of ours says is most likely the answer of another program at that port.
        ClientError::Protocol { .. } | ClientError::Refuted { .. } => {
            network(format!("the tracker at {error}")).next("Is something else listening there?")
        }
    }
}
