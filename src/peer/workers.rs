//! Starts what a peer does by itself, beside serving; and the worker that lets go of surplus.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use parcelry_core::api::DropTask;
use parcelry_core::id::ShareId;
use parcelry_core::limits::PARTING_AGAIN;
use tokio::time::{Instant, Interval};

use super::Peer;
use super::audits::DoubtWorker;
use super::copy::CopyWorker;
use super::errands::ErrandWorker;
use super::heartbeat::HeartbeatWorker;
use super::house::{ExpiryWorker, HousekeepingWorker};
use super::inventory::InventoryWorker;
use super::mend::MendWorker;
use super::parting::{look_at_quarantine, part};
use crate::task::Tasks;
use crate::worker::{Notes, Stops, Worker};

/// How often it is looked whether what is in quarantine can go for good.
const LOOK_EVERY: Duration = Duration::from_secs(3600);

/// Lets go of what the tracker asks for as far as others prove it, and looks after what is in quarantine.
struct PartingWorker {
    peer: Arc<Peer>,
    looks: Interval,
    /// Shares of which others did not prove enough, and when to ask again.
    later: BTreeMap<ShareId, Instant>,
}

/// Starts what a peer that has joined does beside its scrub. It beats as often as the tracker has said.
pub(super) fn start(peer: &Arc<Peer>, beat_every: Duration, tasks: &Tasks) {
    let (all, peer) = (&peer.workers, || Arc::clone(peer));
    all.start(tasks, HousekeepingWorker::new(peer()));
    all.start(tasks, ExpiryWorker(peer()));
    all.start(tasks, MendWorker(peer()));
    all.start(tasks, ErrandWorker { peer: peer(), kind: "terms", lane: |errands| &errands.terms });
    all.start(tasks, ErrandWorker { peer: peer(), kind: "checks", lane: |errands| &errands.checks });
    all.start(tasks, InventoryWorker::new(peer()));
    all.start(tasks, DoubtWorker(peer()));
    let looks = tokio::time::interval(LOOK_EVERY);
    all.start(tasks, PartingWorker { peer: peer(), looks, later: BTreeMap::new() });
    all.start(tasks, CopyWorker(peer()));
    all.start(tasks, HeartbeatWorker::new(peer(), beat_every));
}

impl Worker for PartingWorker {
    const STOPS: Stops = Stops::WithinSteps;
    /// What to let go of; `None`: it is time to look at what is in quarantine.
    type Due = Option<DropTask>;

    fn name(&self) -> &'static str {
        "partings"
    }

    async fn wait(&mut self) -> Option<DropTask> {
        tokio::select! {
            task = self.peer.partings.orders.next() => Some(task),
            _ = self.looks.tick() => None,
        }
    }

    async fn step(&mut self, task: Option<DropTask>, notes: &Notes) {
        let Some(task) = task else { return look_at_quarantine(&self.peer, notes).await };
        self.later.retain(|_, at| *at > Instant::now());
        let share = task.share;
        if self.later.contains_key(&share) {
            return;
        }
        match part(&self.peer, task).await {
            Ok(true) => {}
            Ok(false) => {
                self.later.insert(share, Instant::now() + PARTING_AGAIN);
            }
            Err(error) => {
                tracing::error!(%share, %error, "cannot let go of surplus");
                notes.count_failure();
                self.later.insert(share, Instant::now() + PARTING_AGAIN);
            }
        }
    }
}
