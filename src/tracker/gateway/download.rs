//! Chunks for browsers that get a share: fetched from a source, verified, passed on sealed.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::stream;
use parcelry_core::api::{PeerAddress, ProblemKind};
use parcelry_core::chunk_set::ChunkSet;
use parcelry_core::geometry::ChunkIndex;
use parcelry_core::id::{PeerId, Secret, ShareId};
use parcelry_core::limits::{
    GATEWAY_MANIFESTS_BYTES_MAX, GATEWAY_PIECE_BYTES, GATEWAY_SHARE_IDLE,
    GATEWAY_SOURCE_PACE_BYTES_PER_SECOND, GATEWAY_SOURCE_TIMEOUT, GATEWAY_SOURCES_AGE,
};
use parcelry_core::manifest::Manifest;
use parcelry_core::registry::Liveness;
use parking_lot::Mutex;
use tokio::time::Instant;

use super::{Call, chunk_timeout, shared};
use crate::client::{PeerClient, Verified, first_good};
use crate::server::{Asker, MemoryPermit, Refusal};
use crate::task::blocking;
use crate::tracker::Tracker;
use crate::tracker::peers::address;
use crate::tracker::store::StoreError;

/// Shares that browsers get at the moment, the last one used at the end. A manifest never changes; who holds
/// the share is asked again every few seconds.
#[derive(Default)]
pub(super) struct ShareCache(Vec<Arc<CachedShare>>);

/// A share of which browsers get chunks.
pub(super) struct CachedShare {
    manifest: Manifest,
    sources: Mutex<Sources>,
}

struct Sources {
    seen: Instant,
    list: Arc<Vec<Source>>,
}

struct Source {
    address: PeerAddress,
    client: PeerClient,
    state: Liveness,
    chunks: ChunkSet,
}

impl ShareCache {
    fn find(&mut self, share: ShareId) -> Option<Arc<CachedShare>> {
        let position = self.0.iter().position(|cached| cached.manifest.share() == share)?;
        let cached = self.0.remove(position);
        self.0.push(Arc::clone(&cached));
        Some(cached)
    }

    /// Takes a share in; those that were not used for longest make room.
    fn put(&mut self, cached: Arc<CachedShare>) {
        self.0.retain(|other| other.manifest.share() != cached.manifest.share());
        self.0.push(cached);
        let bytes =
            |cache: &Self| cache.0.iter().map(|cached| cached.manifest.encoded().len()).sum::<usize>();
        // The one that was just put stays, however large it is.
        while self.0.len() > 1 && bytes(self) > GATEWAY_MANIFESTS_BYTES_MAX {
            self.0.remove(0);
        }
    }

    /// Lets go of shares of which nobody gets anything, and of the connections to their sources.
    pub(super) fn forget_idle(&mut self) {
        self.0.retain(|cached| cached.sources.lock().seen.elapsed() < GATEWAY_SHARE_IDLE);
    }
}

impl Tracker {
    /// A chunk of a share, for whoever shows the share's access token.
    pub(in crate::tracker) async fn chunk_for_browser(
        &self,
        share: ShareId,
        access: &Secret,
        index: u32,
        mut call: Call,
    ) -> Result<Response, Refusal> {
        let stored = self.accessible(share, access).await?;
        let cached = self.opened(share, stored.manifest_bytes, call.asker()).await?;
        let none = || Refusal::new(ProblemKind::ChunkNotFound, "the share has no chunk of this number");
        let index = cached.manifest.geometry().index(index).ok_or_else(none)?;
        call.wait_for_permits(cached.manifest.geometry().chunk_size()).await;
        self.gateway.admit(cached.manifest.geometry().sealed_len(index)).await;
        let sealed = self.fetch(&cached, index).await?;
        self.metrics.gateway_bytes.inc_by(sealed.len() as u64);
        let length = sealed.len();
        let mut response = Body::from_stream(paced(shared(sealed.into_buffer()), call)).into_response();
        response.headers_mut().insert(CONTENT_LENGTH, length.into());
        let kind = axum::http::HeaderValue::from_static("application/octet-stream");
        response.headers_mut().insert(CONTENT_TYPE, kind);
        Ok(response)
    }

    async fn opened(
        &self,
        share: ShareId,
        manifest_bytes: u64,
        asker: Asker,
    ) -> Result<Arc<CachedShare>, StoreError> {
        let find = || self.gateway.cache.lock().find(share);
        let Some(cached) = find() else {
            let _permit = MemoryPermit::wait(asker, manifest_bytes).await;
            // Whoever had the permit before may have cached it.
            return if let Some(cached) = find() { Ok(cached) } else { self.open_anew(share).await };
        };
        let known = {
            let sources = cached.sources.lock();
            (sources.seen.elapsed() > GATEWAY_SOURCES_AGE).then(|| Arc::clone(&sources.list))
        };
        if let Some(known) = known {
            let sources = self.sources(share, &known).await?;
            *cached.sources.lock() = sources;
        }
        Ok(cached)
    }

    async fn open_anew(&self, share: ShareId) -> Result<Arc<CachedShare>, StoreError> {
        let encoded = self.store.manifest(share).await?.ok_or(StoreError::Damaged("a share"))?;
        let decoded = blocking(move || Manifest::decode(encoded, share)).await;
        let manifest = decoded.map_err(|_| StoreError::Damaged("a share's manifest"))?;
        let sources = self.sources(share, &[]).await?;
        let cached = Arc::new(CachedShare { manifest, sources: Mutex::new(sources) });
        self.gateway.cache.lock().put(Arc::clone(&cached));
        Ok(cached)
    }

    /// Who holds the share; the clients of those that are known already keep their connections.
    async fn sources(&self, share: ShareId, known: &[Source]) -> Result<Sources, StoreError> {
        let holders = self.store.holders(share).await?;
        let registry = self.registry.lock();
        let listed = registry.sources(holders, self.now_ms()).into_iter();
        let source = |(peer, state, chunks): (&parcelry_core::registry::Peer, _, _)| {
            let address = address(&peer.registration);
            let before = known.iter().find(|source| source.address == address);
            let client = before.map_or_else(
                || PeerClient::new(self.gateway.http.clone(), address.clone()),
                |source| source.client.clone(),
            );
            Source { address, client, state, chunks }
        };
        Ok(Sources { seen: Instant::now(), list: Arc::new(listed.map(source).collect()) })
    }

    /// The chunk from the first source that has it right.
    async fn fetch(&self, cached: &CachedShare, index: ChunkIndex) -> Result<Verified, Refusal> {
        // The list as it is now: it may be replaced while chunks are waited for.
        let list = Arc::clone(&cached.sources.lock().list);
        let (id, share) = (cached.manifest.chunk(index), cached.manifest.share());
        let geometry = cached.manifest.geometry();
        let sealed_len = geometry.sealed_len(index);
        // By the size, so that a slow uplink is not given up for a large chunk.
        let extra = Duration::from_secs(sealed_len as u64 / GATEWAY_SOURCE_PACE_BYTES_PER_SECOND);
        let limit = Some(GATEWAY_SOURCE_TIMEOUT + extra);
        let mut was_wrong = false;
        let note_wrong = |source| {
            was_wrong = true;
            self.note_wrong(source, share, geometry.chunk_count(), index)
        };
        let pool = self.gateway.pool(geometry.chunk_size());
        let sources = in_turn(&list, index);
        if let Some(sealed) = first_good(sources, id, sealed_len, pool, limit, note_wrong).await {
            return Ok(sealed);
        }
        // Wrong bytes do not get right by waiting; who is away may come back.
        if was_wrong {
            let what = format!("no good copy of chunk {index} is left at the peers that are there");
            return Err(Refusal::new(ProblemKind::HashMismatch, what));
        }
        let what = format!("no peer that is there has chunk {index}");
        Err(Refusal::later(ProblemKind::Unavailable, what, 2))
    }

    async fn note_wrong(&self, peer: PeerId, share: ShareId, chunk_count: u32, index: ChunkIndex) {
        let chunks = ChunkSet::of(chunk_count, [index]);
        if let Err(error) = self.suspect(peer, share, &chunks).await {
            tracing::error!(%error, "cannot note a wrong chunk");
        }
    }
}

/// Those that hold the chunk, the surest first; among equals each has its turn.
fn in_turn(sources: &[Source], index: ChunkIndex) -> Vec<&PeerClient> {
    let mut holding: Vec<&Source> = sources.iter().filter(|source| source.chunks.contains(index)).collect();
    let first = holding.first().map(|source| source.state);
    let equals = holding.iter().take_while(|source| Some(source.state) == first).count();
    if equals > 0 {
        holding[..equals].rotate_left(index.get() as usize % equals);
    }
    holding.into_iter().map(|source| &source.client).collect()
}

/// The bytes in pieces; whoever takes them too slowly gets no more.
fn paced(bytes: Bytes, call: Call) -> impl futures_util::Stream<Item = std::io::Result<Bytes>> {
    let until = Instant::now() + chunk_timeout(bytes.len());
    stream::try_unfold((bytes, call), move |(mut left, call)| async move {
        if left.is_empty() {
            return Ok(None);
        }
        if Instant::now() > until {
            return Err(std::io::Error::new(std::io::ErrorKind::TimedOut, "the chunk is taken too slowly"));
        }
        let piece = left.split_to(left.len().min(GATEWAY_PIECE_BYTES));
        Ok(Some((piece, (left, call))))
    })
}
