//! Has records made whole again that could not be read, with what the tracker and every holder that can be reached have
//! of them.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use parcelry_core::api::RestoreTask;
use parcelry_core::id::ShareId;
use parcelry_core::limits::{DAMAGED_TOLD_MAX, UNSETTLED_AGAIN};
use parcelry_core::manifest::Manifest;
use parking_lot::Mutex;

use super::Peer;
use super::orders::Orders;
use super::storage::{Sources, Storage};
use crate::client::PeerClient;
use crate::clock;
use crate::task::blocking;
use crate::worker::{Notes, Stops, Worker};

/// The shares that can be made whole, as the tracker told last.
#[derive(Debug, Default)]
pub(super) struct Mending {
    pub(super) orders: Orders<RestoreTask>,
    /// When the tracker was last told about shares whose terms are in doubt.
    told_ms: Mutex<Option<u64>>,
    /// Whose turn it is when there are more than can be told at once.
    turn: AtomicUsize,
}

impl Mending {
    /// The shares about which the tracker is to be asked now.
    pub(super) fn wanted(&self, storage: &Storage) -> Vec<ShareId> {
        let mut wanted = storage.damaged();
        let mut told_ms = self.told_ms.lock();
        let now_ms = clock::monotonic_ms();
        if told_ms
            .is_none_or(|told_ms| Duration::from_millis(now_ms.saturating_sub(told_ms)) >= UNSETTLED_AGAIN)
        {
            *told_ms = Some(now_ms);
            wanted.extend(storage.unsettled());
        }
        // Those that nobody can mend now do not keep others waiting.
        if wanted.len() > DAMAGED_TOLD_MAX {
            let turn = self.turn.fetch_add(DAMAGED_TOLD_MAX, Ordering::Relaxed);
            let count = wanted.len();
            wanted.rotate_left(turn % count);
        }
        wanted.truncate(DAMAGED_TOLD_MAX);
        wanted
    }
}

/// Makes whole what can be, one share after the other.
pub(super) struct MendWorker(pub(super) Arc<Peer>);

impl Worker for MendWorker {
    const STOPS: Stops = Stops::WithinSteps;
    type Due = RestoreTask;

    fn name(&self) -> &'static str {
        "mending"
    }

    async fn wait(&mut self) -> RestoreTask {
        self.0.mending.orders.next().await
    }

    async fn step(&mut self, task: RestoreTask, notes: &Notes) {
        let (peer, share) = (&self.0, task.share);
        let sources = ask(peer, task).await;
        match peer.on_disk(move |storage| storage.mend(share, sources)).await {
            Ok(true) => {
                tracing::info!(%share, "the share's records are whole again");
                // What is held here is more than the tracker was told.
                peer.inventory.ask(Some(0));
            }
            Ok(false) => {}
            Err(error) => {
                tracing::error!(%share, %error, "cannot make a share's records whole again");
                notes.count_failure();
            }
        }
    }
}

async fn ask(peer: &Peer, task: RestoreTask) -> Sources {
    let RestoreTask { share, sources, grant, terms, manifest } = task;
    let mut found = blocking(move || Sources::new(share, manifest, terms)).await;
    for source in sources {
        let source = PeerClient::new(peer.http.clone(), source);
        let Ok(answer) = source.manifest_for_copy(share, &grant).await else { continue };
        found = blocking(move || found.and(share, answer)).await;
    }
    // The tracker's own may be too large for the answer to a heartbeat.
    if found.manifest.is_none()
        && let Ok(answer) = peer.tracker.manifest(peer.id, share).await
    {
        found.manifest = blocking(move || Manifest::decode(answer.manifest.0, share)).await.ok();
    }
    found
}
