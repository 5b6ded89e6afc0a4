//! Chooses the peers of a new share, and waits a moment for those that are expected back.

use std::time::Duration;

use swarmdrop_core::api::ProblemKind;
use swarmdrop_core::limits::REQUEST_TIMEOUT;
use swarmdrop_core::placement::{Demand, Placement, PlacementError, place};
use swarmdrop_core::registry::Liveness;
use tokio::time::Instant;

use super::Tracker;
use crate::server::Refusal;

/// Time beyond a heartbeat for which a sender waits for peers that were heard of lately: after a restart of the tracker
/// they are there again with their next one.
const SLACK: Duration = Duration::from_secs(2);
/// Pause between two looks.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

impl Tracker {
    /// The peers that are to hold a share.
    pub(super) async fn place(&self, demand: &Demand) -> Result<Placement, Refusal> {
        let heartbeat = self.registry.lock().rules().heartbeat;
        let deadline = Instant::now() + (heartbeat + SLACK).min(REQUEST_TIMEOUT / 2);
        loop {
            match self.place_now(demand) {
                Err(PlacementError::TooFewPeers { .. })
                    if Instant::now() < deadline && self.expected() >= demand.replicas =>
                {
                    tokio::time::sleep(LOOK_AGAIN).await;
                }
                placed => return placed.map_err(refusal),
            }
        }
    }

    fn place_now(&self, demand: &Demand) -> Result<Placement, PlacementError> {
        place(demand, &self.registry.lock().candidates(self.now_ms()))
    }

    /// How many peers are there, or may be there again at any moment.
    fn expected(&self) -> usize {
        let registry = self.registry.lock();
        let peers = registry.peers(self.now_ms());
        peers.filter(|(_, state)| matches!(state, Liveness::Alive | Liveness::Suspect)).count()
    }
}

fn refusal(error: PlacementError) -> Refusal {
    let kind = match error {
        PlacementError::TooFewPeers { .. } => ProblemKind::NotEnoughPeers,
        PlacementError::TooLittleSpace { .. } => ProblemKind::NoSpace,
    };
    Refusal::new(kind, error.to_string())
}
