//! Copies chunks from other peers when the tracker asks for it. What arrives is believed only if it hashes to
//! its id, and is reported only when it is on stable storage.

use std::future::ready;
use std::sync::Arc;

use futures_util::StreamExt;
use futures_util::stream;
use parcelry_core::api::{CopyTask, ShareChunks, WrongChunks};
use parcelry_core::chunk_set::ChunkSet;
use parcelry_core::geometry::ChunkIndex;
use parcelry_core::grant::GrantToken;
use parcelry_core::id::{ChunkId, PeerId, ShareId};
use parcelry_core::limits::{COPY_BATCH_BYTES, COPY_CHUNKS_MAX};
use parcelry_core::manifest::Manifest;
use parcelry_core::terms::SignedTerms;

use super::Peer;
use super::outbox::Report;
use super::storage::StorageError;
use crate::buffers::Buffers;
use crate::client::{PeerClient, Verified, first_good};
use crate::crash::{self, Point};
use crate::task::blocking;
use crate::worker::{Notes, Stops, Worker};

/// Why a copy was given up. It is logged and counted; the tracker hears that it failed, and may ask somebody else.
#[derive(Debug, thiserror::Error)]
enum CopyError {
    #[error("no source has a manifest of the share")]
    NoManifest,
    #[error("the order is for another number of chunks")]
    OtherShare,
    #[error(transparent)]
    Storage(#[from] StorageError),
    #[error("{0} of the chunks could not be had")]
    Missing(u32),
}

/// A peer to copy from, and what it holds.
struct Source {
    peer: PeerClient,
    chunks: ChunkSet,
}

/// Where a copy comes from, and through what.
struct Sources {
    peers: Vec<Source>,
    buffers: Arc<Buffers>,
}

/// What one attempt to have a chunk came to.
struct Attempt {
    index: ChunkIndex,
    is_here: bool,
    /// Those who served other bytes.
    wrong: Vec<PeerId>,
}

/// Copies what is asked for, one share after the other.
pub(super) struct CopyWorker(pub(super) Arc<Peer>);

impl Worker for CopyWorker {
    const STOPS: Stops = Stops::WithinSteps;
    type Due = CopyTask;

    fn name(&self) -> &'static str {
        "copies"
    }

    async fn wait(&mut self) -> CopyTask {
        self.0.copies.next().await
    }

    async fn step(&mut self, task: CopyTask, notes: &Notes) {
        let (peer, share) = (&self.0, task.share);
        let result = copy(peer, task).await;
        peer.on_disk(move |storage| storage.end_copy(share)).await;
        if let Err(error) = result {
            tracing::warn!(%share, %error, "cannot copy a share");
            notes.count_failure();
            peer.outbox.push(Report::Failed(share));
        }
    }
}

async fn copy(peer: &Arc<Peer>, task: CopyTask) -> Result<(), CopyError> {
    let CopyTask { share, chunks, sources, grant } = task;
    let clients: Vec<_> = sources.into_iter().map(|s| PeerClient::new(peer.http.clone(), s)).collect();
    let (manifest, terms) = share_to_copy(peer, share, &clients, &grant).await?;
    if manifest.geometry().chunk_count() != chunks.chunk_count() {
        return Err(CopyError::OtherShare);
    }
    let manifest = Arc::new(manifest);
    let (known, asked) = (Arc::clone(&manifest), chunks.clone());
    let missing = peer.on_disk(move |storage| storage.begin_copy(&known, &asked)).await?;
    let sources = holdings(share, clients, &grant).await;
    let geometry = *manifest.geometry();
    // What is here already is reported with the first batch: the tracker counts only what it is told.
    let mut batch = chunks.minus(&missing);
    let mut batch_bytes = 0;
    let mut failed = 0;
    let at_once = COPY_CHUNKS_MAX.min(geometry.chunk_size().window());
    let sources =
        Arc::new(Sources { buffers: Buffers::for_chunks(at_once, geometry.chunk_size()), peers: sources });
    let mut attempts = stream::iter(missing.iter().collect::<Vec<_>>())
        .map(|index| fetch(Arc::clone(peer), Arc::clone(&manifest), Arc::clone(&sources), index))
        .buffer_unordered(at_once);
    while let Some(Attempt { index, is_here, wrong }) = attempts.next().await {
        for culprit in wrong {
            let chunks = ChunkSet::of(geometry.chunk_count(), [index]);
            peer.outbox.push(Report::Wrong(WrongChunks { peer: culprit, share, chunks }));
        }
        // The order fails in the end, but what can be had is kept and counts.
        if !is_here {
            failed += 1;
            continue;
        }
        batch.insert(index);
        batch_bytes += geometry.sealed_len(index) as u64;
        if batch_bytes >= COPY_BATCH_BYTES {
            keep(peer, &manifest, &terms, batch).await?;
            (batch, batch_bytes) = (ChunkSet::empty(geometry.chunk_count()), 0);
        }
    }
    // Of a share without chunks the manifest is all there is to keep.
    if !batch.is_empty() || geometry.chunk_count() == 0 {
        keep(peer, &manifest, &terms, batch).await?;
    }
    if failed > 0 { Err(CopyError::Missing(failed)) } else { Ok(()) }
}

/// Manifest and terms: those that are here, or the first that a source has and that the share's key signed.
async fn share_to_copy(
    peer: &Arc<Peer>,
    share: ShareId,
    sources: &[PeerClient],
    grant: &GrantToken,
) -> Result<(Manifest, SignedTerms), CopyError> {
    // Own records that cannot be read are had from others, like those that are not here.
    if let Some(held) = peer.storage.held(share)
        && let Ok(manifest) = peer.on_disk(move |storage| storage.manifest(share)).await
    {
        return Ok((manifest, held.terms));
    }
    for source in sources {
        let Ok(answer) = source.manifest_for_copy(share, grant).await else { continue };
        let terms = SignedTerms::verify(&answer.terms, share);
        let manifest = blocking(move || Manifest::decode(answer.manifest.0, share)).await;
        if let (Ok(manifest), Ok(terms)) = (manifest, terms) {
            return Ok((manifest, terms));
        }
        tracing::warn!(%share, source = source.name(), "a peer has a manifest that the share's key did not sign");
    }
    Err(CopyError::NoManifest)
}

async fn holdings(share: ShareId, clients: Vec<PeerClient>, grant: &GrantToken) -> Vec<Source> {
    let mut sources = Vec::new();
    for peer in clients {
        if let Ok(held) = peer.holding_for_copy(share, grant).await {
            sources.push(Source { peer, chunks: held.chunks });
        }
    }
    sources
}

/// Tries the sources in turn, each chunk beginning with another one.
async fn fetch(
    peer: Arc<Peer>,
    manifest: Arc<Manifest>,
    sources: Arc<Sources>,
    index: ChunkIndex,
) -> Attempt {
    let (id, sealed_len) = (manifest.chunk(index), manifest.geometry().sealed_len(index));
    let mut attempt = Attempt { index, is_here: false, wrong: Vec::new() };
    let bytes = sealed_len as u64;
    peer.copy_rate.admit(bytes).await;
    let holders = sources.peers.iter().filter(|source| source.chunks.contains(index));
    let mut holders: Vec<&PeerClient> = holders.map(|source| &source.peer).collect();
    let turn = index.get() as usize % holders.len().max(1);
    holders.rotate_left(turn);
    let note_wrong = |source| {
        attempt.wrong.push(source);
        ready(())
    };
    let Some(sealed) = first_good(holders, id, sealed_len, &sources.buffers, None, note_wrong).await else {
        return attempt;
    };
    // A fault from here on is this machine's: another source would not help.
    match store(&peer, manifest.share(), id, sealed).await {
        Ok(()) => {
            peer.metrics.chunks_copied.inc();
            peer.metrics.bytes_copied.inc_by(bytes);
            attempt.is_here = true;
        }
        Err(error) => tracing::error!(%id, %error, "cannot keep a copied chunk"),
    }
    attempt
}

/// Writes a chunk. The store hashes it once more: its files are named by what was written.
async fn store(peer: &Peer, share: ShareId, id: ChunkId, sealed: Verified) -> Result<(), StorageError> {
    peer.on_disk(move |storage| storage.put_whole(share, id, &sealed).map(drop)).await
}

/// Makes a part of a copy lasting, and reports it.
async fn keep(
    peer: &Arc<Peer>,
    manifest: &Arc<Manifest>,
    terms: &SignedTerms,
    chunks: ChunkSet,
) -> Result<(), CopyError> {
    let (manifest, terms, kept) = (Arc::clone(manifest), terms.clone(), chunks.clone());
    let share = manifest.share();
    crash::at(Point::CopyArrived);
    let missing = peer.on_disk(move |storage| storage.keep_copied(&manifest, terms, &kept)).await;
    crash::at(Point::CopyKept);
    let missing = missing?;
    if !missing.is_empty() {
        return Err(CopyError::Missing(missing.len()));
    }
    tracing::info!(%share, chunks = chunks.len(), "chunks copied");
    peer.outbox.push(Report::Copied(ShareChunks { share, chunks }));
    Ok(())
}
