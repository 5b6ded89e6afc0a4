//! Makes records whole again that could not be read: the manifest from any copy, the terms from the tracker and every
//! holder that can be reached, the list of chunks from the manifest and the files.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use parcelry_core::api::{Blob, ManifestResponse, RestoreTask};
use parcelry_core::id::ShareId;
use parcelry_core::limits::{DAMAGED_TOLD_MAX, GONE_KEPT, UNSETTLED_AGAIN};
use parcelry_core::manifest::Manifest;
use parcelry_core::terms::{SignedTerms, Terms};
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use super::Peer;
use super::orders::Orders;
use super::storage::Storage;
use crate::client::PeerClient;
use crate::clock;
use crate::task::blocking;

/// What others have of a share.
#[derive(Debug, Default)]
pub(super) struct Sources {
    /// The manifest.
    pub(super) manifest: Option<Manifest>,
    /// The terms, one of each source.
    pub(super) terms: Vec<SignedTerms>,
}

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
        let mut wanted = storage.shares.damaged();
        let mut told_ms = self.told_ms.lock();
        let now_ms = clock::awake_ms();
        if told_ms
            .is_none_or(|told_ms| Duration::from_millis(now_ms.saturating_sub(told_ms)) >= UNSETTLED_AGAIN)
        {
            *told_ms = Some(now_ms);
            wanted.extend(storage.shares.unsettled());
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

/// Makes whole what can be, until told to stop.
pub(super) async fn keep_mending(peer: Arc<Peer>, stop: CancellationToken) {
    let mending = async {
        loop {
            let task = peer.mending.orders.next().await;
            let share = task.share;
            let sources = ask(&peer, task).await;
            let storage = Arc::clone(&peer);
            match blocking(move || storage.storage.mend(share, sources)).await {
                Ok(true) => {
                    tracing::info!(%share, "the share's records are whole again");
                    // What is held here is more than the tracker was told.
                    peer.inventory.ask(Some(0));
                }
                Ok(false) => {}
                Err(error) => tracing::error!(%share, %error, "cannot make a share's records whole again"),
            }
        }
    };
    stop.run_until_cancelled(mending).await;
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

impl Sources {
    /// What the tracker has. Nothing is believed but what the share's key signed.
    pub(super) fn new(share: ShareId, manifest: Option<Blob>, terms: Option<String>) -> Self {
        let manifest = manifest.and_then(|manifest| Manifest::decode(manifest.0, share).ok());
        let terms = terms.and_then(|terms| SignedTerms::verify(&terms, share).ok());
        Self { manifest, terms: terms.into_iter().collect() }
    }

    /// Beside it what a holder has.
    pub(super) fn and(mut self, share: ShareId, answer: ManifestResponse) -> Self {
        self.terms.extend(SignedTerms::verify(&answer.terms, share));
        self.manifest = self.manifest.or_else(|| Manifest::decode(answer.manifest.0, share).ok());
        self
    }
}

impl Storage {
    /// Makes a share's records whole with what others have of it. Returns whether they were not and are now.
    pub(super) fn mend(&self, share: ShareId, sources: Sources) -> io::Result<bool> {
        if let Some(deletion) = sources.terms.iter().find(|terms| terms.deleted) {
            return self.put_terms(deletion.clone()).map(|_| false);
        }
        let alone = self.locks.lock(share);
        if !self.shares.is_damaged(share) {
            return self.agree(share, &sources.terms).map(|()| false);
        }
        // What could not be read at the start may be read now.
        let records = self.shares.records(share);
        let own = records.terms.good();
        let Some(manifest) = records.manifest.good().or(sources.manifest) else { return Ok(false) };
        let Some(terms) = newest(own.iter().chain(&sources.terms)) else { return Ok(false) };
        let is_sure = own.is_some() || agreeing(&terms, &sources.terms) >= 2;
        let unsettled_until_ms = (!is_sure).then(|| clock::ms_from_now(GONE_KEPT));
        let here = self.chunks.here(&manifest, records.chunks.good().as_ref());
        for index in here.iter() {
            self.chunks.claim(share, manifest.chunk(index));
        }
        self.shares.make_whole(&manifest, terms, here, unsettled_until_ms, records.token)?;
        drop(alone);
        // What waited for it to be known what is whose.
        self.finish_leaving().map(|()| true)
    }

    /// Takes over newer terms of a share whose own were lost, and settles them if two sources agree.
    fn agree(&self, share: ShareId, sources: &[SignedTerms]) -> io::Result<()> {
        let Some(held) = self.shares.get(share).filter(|held| held.unsettled_until_ms.is_some()) else {
            return Ok(());
        };
        let Some(terms) = newest(std::iter::once(&held.terms).chain(sources)) else { return Ok(()) };
        let is_sure = agreeing(&terms, sources) >= 2;
        self.shares.put_terms(terms)?;
        if is_sure { self.shares.settle(share) } else { Ok(()) }
    }
}

fn newest<'a>(terms: impl Iterator<Item = &'a SignedTerms>) -> Option<SignedTerms> {
    terms.max_by_key(|terms| terms.issued_ms).cloned()
}

fn agreeing(terms: &Terms, sources: &[SignedTerms]) -> usize {
    sources.iter().filter(|&source| **source == *terms).count()
}
