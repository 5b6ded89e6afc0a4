//! What the tracker hears of the shares that are held here, once from each run of the peer to each of the tracker:
//! one that lost its database, or was restored from an old copy, learns them anew, with manifest and terms.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use parcelry_core::api::{InventoryRequest, ShareChunks, SignedDeletion};
use parcelry_core::id::ShareId;
use parcelry_core::limits::{
    INVENTORY_BYTES_MAX, INVENTORY_GONE_MAX, INVENTORY_SHARES_MAX, INVENTORY_SPREAD,
};
use parcelry_core::terms::TermsToken;
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::{Peer, heartbeat, tasks};
use crate::client::{ClientError, TrackerClient};
use crate::task::blocking;
use crate::worker::{Notes, Stops, Worker};

/// Whether the tracker is to be told.
#[derive(Debug, Default)]
pub(super) struct Asked {
    /// When, from its first request until everything was told: it asks again and again.
    after: Mutex<Option<Duration>>,
    new: Notify,
}

impl Asked {
    /// Takes in what the tracker's answer says: after how many milliseconds it wants to be told, if it does.
    pub(super) fn ask(&self, after_ms: Option<u64>) {
        let (Some(after_ms), mut after) = (after_ms, self.after.lock()) else { return };
        if after.is_none() {
            *after = Some(Duration::from_millis(after_ms).min(INVENTORY_SPREAD));
            self.new.notify_one();
        }
    }

    async fn wait(&self) {
        self.new.notified().await;
        let after = *self.after.lock();
        tokio::time::sleep(after.unwrap_or_default()).await;
    }

    fn done(&self) {
        *self.after.lock() = None;
    }
}

/// Tells the tracker whenever it asks, until it has heard everything.
pub(super) struct InventoryWorker {
    peer: Arc<Peer>,
    /// Whether the tracker did not hear all of it yet.
    has_failed: bool,
}

impl InventoryWorker {
    /// Was not asked yet.
    pub(super) fn new(peer: Arc<Peer>) -> Self {
        Self { peer, has_failed: false }
    }
}

impl Worker for InventoryWorker {
    const STOPS: Stops = Stops::WithinSteps;
    /// How the tracker is reached.
    type Due = TrackerClient;

    fn name(&self) -> &'static str {
        "inventory"
    }

    async fn wait(&mut self) -> TrackerClient {
        if self.has_failed {
            tokio::time::sleep(heartbeat::RETRY).await;
            self.peer.tracker.afresh()
        } else {
            self.peer.inventory.wait().await;
            self.peer.tracker.clone()
        }
    }

    async fn step(&mut self, tracker: TrackerClient, notes: &Notes) {
        let told = tell(&self.peer, &tracker, notes).await;
        self.has_failed = told.is_err();
        if !self.has_failed {
            self.peer.inventory.done();
        }
        notes.note_warning("cannot tell the tracker what is held here", told);
    }
}

/// Tells everything, the deleted shares first, so that none of them is asked for; and again if something has changed
/// meanwhile: a tracker takes what is left out for lost.
async fn tell(peer: &Arc<Peer>, tracker: &TrackerClient, notes: &Notes) -> Result<(), ClientError> {
    for gone in deletions(peer.storage.gone()) {
        let request = InventoryRequest { shares: Vec::new(), after: None, last: false, gone };
        tracker.inventory(peer.id, &request).await?;
    }
    loop {
        let told = peer.storage.inventory();
        let mut after = None;
        let mut pages = pages(told.clone()).into_iter().peekable();
        while let Some(shares) = pages.next() {
            let last_of_page = shares.last().map(|held| held.share);
            let last = pages.peek().is_none();
            let request = InventoryRequest { shares, after, last, gone: Vec::new() };
            after = last_of_page;
            // What the tracker has withheld while it answers is not ended by its answer.
            let mut withheld = peer.storage.withheld();
            withheld.retain(|share| request.shares.iter().any(|held| held.share == *share));
            let answer = tracker.inventory(peer.id, &request).await?;
            take_over_deletions(peer, answer.deleted, notes).await;
            take_over_withheld(peer, withheld, answer.withheld, notes).await;
            for share in answer.unknown {
                match announce(peer, tracker, share).await {
                    // What this tracker does not want is no reason to keep the rest from it.
                    Err(error @ ClientError::Refused { .. }) => tracing::info!(%share, %error, "not taken"),
                    result => result?,
                }
            }
        }
        if peer.storage.inventory() == told {
            return Ok(());
        }
    }
}

/// Drops what the owners of shares deleted while this peer was away.
async fn take_over_deletions(peer: &Arc<Peer>, deleted: Vec<SignedDeletion>, notes: &Notes) {
    let (peer, notes) = (Arc::clone(peer), notes.clone());
    let take_over = move || {
        for SignedDeletion { share, terms } in deleted {
            if tasks::take_over(&peer.storage, &peer.outbox, share, &terms).is_err() {
                notes.count_failure();
            }
        }
    };
    blocking(take_over).await;
}

/// Serves what the operator took down no more, and what is not called so again.
async fn take_over_withheld(
    peer: &Arc<Peer>,
    before: BTreeSet<ShareId>,
    withheld: Vec<ShareId>,
    notes: &Notes,
) {
    if let Err(error) = peer.on_disk(move |storage| storage.withhold_only(&before, &withheld)).await {
        tracing::error!(%error, "cannot note which shares were taken down");
        notes.count_failure();
    }
}

async fn announce(peer: &Arc<Peer>, tracker: &TrackerClient, share: ShareId) -> Result<(), ClientError> {
    let manifest = peer.on_disk(move |storage| storage.manifest(share)).await;
    // It may have been dropped meanwhile.
    let (Some(held), Ok(manifest)) = (peer.storage.held(share), manifest) else { return Ok(()) };
    tracker.announce(peer.id, &Arc::new(manifest), held.terms.token, held.chunks).await
}

/// Cuts the deleted shares into pages that a tracker takes.
fn deletions(gone: Vec<(ShareId, TermsToken)>) -> Vec<Vec<SignedDeletion>> {
    let mut pages: Vec<Vec<SignedDeletion>> = Vec::new();
    let mut bytes = 0;
    for (share, terms) in gone {
        bytes += terms.len();
        let deletion = SignedDeletion { share, terms };
        match pages.last_mut() {
            Some(page) if page.len() < INVENTORY_GONE_MAX && bytes <= INVENTORY_BYTES_MAX => {
                page.push(deletion);
            }
            _ => {
                bytes = deletion.terms.len();
                pages.push(vec![deletion]);
            }
        }
    }
    pages
}

/// Cuts an inventory into pages that a tracker takes; one empty page if nothing is held.
fn pages(shares: Vec<ShareChunks>) -> Vec<Vec<ShareChunks>> {
    let mut pages: Vec<Vec<ShareChunks>> = vec![Vec::new()];
    let mut bytes = 0;
    for share in shares {
        // A share whose list is larger than a page has a page of its own.
        let size = share.chunks.text_len();
        bytes += size;
        match pages.last_mut() {
            Some(page)
                if page.is_empty() || (page.len() < INVENTORY_SHARES_MAX && bytes <= INVENTORY_BYTES_MAX) =>
            {
                page.push(share);
            }
            _ => {
                pages.push(vec![share]);
                bytes = size;
            }
        }
    }
    pages
}

#[cfg(test)]
mod tests {
    use super::*;
    use parcelry_core::chunk_set::ChunkSet;
    use parcelry_core::limits::{CHUNKS_MAX, JSON_BODY_BYTES_MAX};

    #[test]
    fn every_page_fits_and_there_is_always_one() {
        let share = |chunk_count| ShareChunks {
            share: ShareId::from_bytes([7; 32]),
            chunks: ChunkSet::full(chunk_count),
        };
        let mut shares: Vec<_> = (0..700).map(|_| share(1)).collect();
        shares.extend((0..3).map(|_| share(CHUNKS_MAX)));
        shares.extend((0..400).map(|_| share(10_000)));
        let pages = pages(shares.clone());
        for page in &pages {
            let json = serde_json::to_vec(&InventoryRequest {
                shares: page.clone(),
                after: Some(ShareId::from_bytes([1; 32])),
                last: false,
                gone: Vec::new(),
            })
            .unwrap();
            assert!(!page.is_empty() && json.len() <= JSON_BODY_BYTES_MAX, "{}", json.len());
        }
        assert_eq!(pages.concat(), shares);
        assert_eq!(super::pages(Vec::new()), [Vec::new()]);
    }

    #[test]
    fn every_page_of_deleted_shares_fits() {
        use parcelry_core::limits::TERMS_BYTES_MAX;
        let of_length = |length| (ShareId::from_bytes([7; 32]), "x".repeat(length).into());
        let mut gone: Vec<_> = (0..700).map(|_| of_length(600)).collect();
        gone.extend((0..400).map(|_| of_length(TERMS_BYTES_MAX)));
        let pages = deletions(gone.clone());
        for page in &pages {
            let request =
                InventoryRequest { shares: Vec::new(), after: None, last: false, gone: page.clone() };
            let bytes = serde_json::to_vec(&request).unwrap().len();
            assert!(!page.is_empty() && page.len() <= INVENTORY_GONE_MAX && bytes <= JSON_BODY_BYTES_MAX);
        }
        let told = pages.concat().into_iter().map(|deletion| (deletion.share, deletion.terms));
        assert_eq!(told.collect::<Vec<_>>(), gone);
        assert!(deletions(Vec::new()).is_empty());
    }
}
