//! Chooses the peers of a new share, and waits a moment for those that are expected back.

use std::time::Duration;

use parcelry_core::api::ProblemKind;
use parcelry_core::limits::REQUEST_TIMEOUT;
use parcelry_core::placement::{Placement, PlacementError, PlacementRequest, place};
use parcelry_core::registry::{Liveness, Registry};
use tokio::time::Instant;

use super::Tracker;
use crate::server::Refusal;

/// Time beyond a heartbeat for which a sender waits for peers that were heard of lately: after a restart of the tracker
/// they are there again with their next one.
const SLACK: Duration = Duration::from_secs(2);
/// Pause between two looks.
const LOOK_AGAIN: Duration = Duration::from_millis(500);

/// How long a sender waits for peers that are expected back, within what his request may take.
pub(super) fn patience(heartbeat: Duration) -> Duration {
    (heartbeat + SLACK).min(REQUEST_TIMEOUT / 2)
}

impl Tracker {
    /// The peers that are to hold a share.
    pub(super) async fn place(&self, request: &PlacementRequest) -> Result<Placement, Refusal> {
        let deadline = Instant::now() + self.expects_for;
        while Instant::now() < deadline && self.are_enough_expected(request.replicas) {
            tokio::time::sleep(LOOK_AGAIN).await;
        }
        let candidates = self.registry.lock().candidates(self.now_ms());
        place(request, &candidates).map_err(refusal)
    }

    /// Whether too few peers are there, and enough with those that may be there again at any moment.
    fn are_enough_expected(&self, replicas: usize) -> bool {
        let (there, back) = count(&self.registry.lock(), self.now_ms());
        there < replicas && replicas <= there + back
    }
}

/// How many peers can take a share, and how many more may be able to at any moment: those that are silent, but not for
/// long. One that is to be emptied is not waited for.
fn count(registry: &Registry, now_ms: u64) -> (usize, usize) {
    registry.peers(now_ms).fold((0, 0), |(there, back), (peer, state)| {
        let id = peer.registration.id;
        let is_back_soon = state == Liveness::Suspect && !registry.is_draining(id);
        (there + usize::from(registry.is_candidate(id, state)), back + usize::from(is_back_soon))
    })
}

fn refusal(error: PlacementError) -> Refusal {
    let kind = match error {
        PlacementError::TooFewPeers { .. } => ProblemKind::NotEnoughPeers,
        PlacementError::TooLittleSpace { .. } => ProblemKind::NoSpace,
    };
    Refusal::new(kind, error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use parcelry_core::id::{PeerId, RunId};
    use parcelry_core::registry::{Registration, Rules, Usage};

    #[test]
    fn peers_that_are_silent_for_a_moment_are_expected_and_those_that_are_emptied_are_not() {
        let (heartbeat, dead_after) = (Duration::from_secs(1), Duration::from_secs(10));
        let mut registry = Registry::new(Rules { heartbeat, dead_after });
        let id = |n| PeerId::from_bytes([n; 32]);
        for n in 1..=4 {
            let registration = Registration {
                id: id(n),
                run: RunId::from_bytes([n; 16]),
                name: "p".into(),
                addresses: vec!["127.0.0.1:1".parse().unwrap()],
                port: None,
                capacity_bytes: 1 << 30,
                zone: None,
                zone_is_given: false,
                version: String::new(),
                token: None,
            };
            // The first two are known from the store, and have not beaten yet.
            if n <= 2 {
                registry.load(registration, 0);
            } else {
                registry.register(registration, Usage::default(), 0).unwrap();
            }
        }
        assert_eq!(count(&registry, 0), (2, 2));
        registry.drain(id(1), true);
        registry.drain(id(3), true);
        assert_eq!(count(&registry, 0), (1, 1), "neither silent nor there");
        assert_eq!(count(&registry, 0).0, registry.candidates(0).len());
        assert_eq!(count(&registry, 5_000), (0, 2), "all are silent");
        assert_eq!(count(&registry, 60_000), (0, 0));
    }
}
