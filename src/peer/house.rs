//! What a peer does by itself, beside the heartbeats: looks how the disk stands, drops what is over, tidies up.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Interval;

use super::Peer;
use super::outbox::Report;
use super::storage::Storage;
use crate::task::blocking;
use crate::worker::{Notes, Stops, Worker};

/// Time between two looks at the disk, and between two looks for what is over.
const OFTEN: Duration = Duration::from_secs(1);
/// Time between two rounds of tidying up.
const SELDOM: Duration = Duration::from_secs(3600);

/// Tidies up now and then.
pub(super) struct HousekeepingWorker {
    peer: Arc<Peer>,
    ticks: Interval,
}

/// Looks how the disk stands, and brings it back after it failed to write.
pub(super) struct DiskWorker(pub(super) Arc<Peer>);

/// Drops what is over.
pub(super) struct ExpiryWorker(pub(super) Arc<Peer>);

impl HousekeepingWorker {
    /// Begins at once.
    pub(super) fn new(peer: Arc<Peer>) -> Self {
        Self { peer, ticks: tokio::time::interval(SELDOM) }
    }
}

impl Worker for HousekeepingWorker {
    const STOPS: Stops = Stops::BetweenSteps;
    type Due = ();

    fn name(&self) -> &'static str {
        "housekeeping"
    }

    async fn wait(&mut self) {
        self.ticks.tick().await;
    }

    async fn step(&mut self, (): (), notes: &Notes) {
        tidy(&self.peer, notes).await;
    }
}

async fn tidy(peer: &Arc<Peer>, notes: &Notes) {
    let strays = peer.on_disk(Storage::strays).await;
    if let Some(count) = notes.note("cannot tell whose the chunks are", strays) {
        peer.metrics.chunks_stray.set(i64::try_from(count).unwrap_or(i64::MAX));
        if count > 0 {
            tracing::warn!(count, "chunks are kept of which neither a share nor an upload knows");
        }
    }
    // By a clock that may be wrong nothing that was promised or is in quarantine is removed.
    let Some(now_ms) = peer.clock.now_ms() else { return };
    let ending = Arc::clone(peer);
    let ended = blocking(move || ending.partings.end_promises(now_ms)).await;
    notes.note("cannot forget promises that are over", ended);
    let emptying = Arc::clone(peer);
    let empty = move || emptying.storage.empty_quarantine(&emptying.partings.quarantined()?);
    notes.note("cannot empty the quarantine", blocking(empty).await);
    let collected = peer.on_disk(Storage::collect_unfinished).await;
    let chunks = notes.note("cannot quarantine what unfinished uploads left behind", collected);
    if let Some(chunks) = chunks.filter(|&chunks| chunks > 0) {
        tracing::info!(chunks, "quarantined what unfinished uploads left behind");
    }
}

impl Worker for DiskWorker {
    const STOPS: Stops = Stops::BetweenSteps;
    type Due = ();

    fn name(&self) -> &'static str {
        "disk"
    }

    async fn wait(&mut self) {
        tokio::time::sleep(OFTEN).await;
    }

    async fn step(&mut self, (): (), notes: &Notes) {
        let there = self.0.on_disk(Storage::look_at_disk).await;
        let is_there = notes.note("nothing can be served", there).is_some();
        if is_there && self.0.storage.has_failed_to_write() {
            notes.note("the disk still fails to write", recover(&self.0).await);
        }
    }
}

async fn recover(peer: &Arc<Peer>) -> io::Result<()> {
    let (lost, result) = peer.on_disk(Storage::recover).await;
    lost.into_iter().for_each(|lost| peer.outbox.push(Report::Lost(lost)));
    result?;
    // What was taken and is gone is not held against those who send it again.
    peer.grants.forget();
    tracing::warn!("the disk writes again; what it had not written before has to be sent again");
    Ok(())
}

impl Worker for ExpiryWorker {
    const STOPS: Stops = Stops::BetweenSteps;
    type Due = ();

    fn name(&self) -> &'static str {
        "expiry"
    }

    async fn wait(&mut self) {
        tokio::time::sleep(OFTEN).await;
    }

    async fn step(&mut self, (): (), notes: &Notes) {
        let now_ms = self.0.clock.now_ms();
        let expired = self.0.on_disk(move |storage| storage.expire(now_ms)).await;
        notes.note("cannot drop an expired share", expired);
    }
}
