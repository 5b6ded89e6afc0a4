//! The peer's API as typed calls. What a peer shows for what it says, a receipt or proofs, is checked in
//! `src/client/evidence.rs`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use bytes::Bytes;
use http::Method;
use parcelry_core::api::{
    AuditRequest, AuditResponse, Blob, CommitRequest, CommitResponse, Health, HoldingResponse,
    ManifestResponse, OfferRequest, OfferResponse, PeerAddress, ProblemKind,
};
use parcelry_core::chunk_set::ChunkSet;
use parcelry_core::geometry::ChunkSize;
use parcelry_core::grant::GrantToken;
use parcelry_core::id::{ChunkId, PeerId, Secret, ShareId};
use parcelry_core::limits::{ASKED_LAST, COMMIT_TIMEOUT, JSON_BODY_BYTES_MAX, PUT_TIMEOUT};
use parcelry_core::manifest::Manifest;
use parcelry_core::terms::TermsToken;
use parking_lot::Mutex;
use serde::de::DeserializeOwned;

use super::addresses::Addresses;
use super::connector::Server;
use super::error::ClientError;
use super::http::{Authority, Call, Http};
use super::payload::Payload;
use super::pipelined::ChunkAnswer;
use super::pool::ConnectionPool;
use super::retry::with_retries;
use super::verified::{Unverified, Verified};
use crate::buffers::Buffers;
use crate::task::blocking;

/// One peer. Its clones share its connections.
#[derive(Debug, Clone)]
pub struct PeerClient {
    id: PeerId,
    http: Http,
    addresses: Arc<Addresses>,
    pool: ConnectionPool,
    state: Arc<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Held while a share is offered again.
    offering: tokio::sync::Mutex<()>,
    /// When it failed to serve a chunk, if it has not served one since.
    failed: Mutex<Option<Instant>>,
    /// Whether it said, when a share was offered last, that it takes raw manifests.
    takes_raw_manifests: AtomicBool,
}

impl PeerClient {
    /// The peer at these addresses. Whoever answers there must have the key that makes the peer's id.
    pub fn new(http: Http, peer: PeerAddress) -> Self {
        let id = peer.id;
        let addresses = Arc::new(Addresses::new(http.clone(), peer));
        Self { id, http, pool: ConnectionPool::new(Arc::clone(&addresses)), addresses, state: Arc::default() }
    }

    /// This client, as that of one of so many sources that receive into the same buffers.
    #[must_use]
    pub fn as_one_of(self, sources: usize, buffers: usize) -> Self {
        Self { pool: self.pool.one_of(sources, buffers), ..self }
    }

    /// The peer's id.
    pub fn id(&self) -> PeerId {
        self.id
    }

    /// What the peer's operator calls it.
    pub fn name(&self) -> &str {
        self.addresses.name()
    }

    /// Who answers there.
    pub async fn health(&self) -> Result<Health, ClientError> {
        self.json(|server| Call::new(Method::GET, server, "/healthz")).await
    }

    /// Asks whether the peer is ready for a share.
    pub async fn offer(
        &self,
        share: ShareId,
        authority: Authority<'_>,
        request: &OfferRequest,
    ) -> Result<OfferResponse, ClientError> {
        let path = format!("/v1/shares/{share}/offer");
        let body = Payload::json(request);
        let call = |server| {
            let call = Call::new(Method::POST, server, path.clone()).authority(&authority);
            Call { body: body.clone(), ..call }
        };
        let answer: OfferResponse = self.json(call).await?;
        self.state.takes_raw_manifests.store(answer.takes_raw_manifests, Ordering::Relaxed);
        Ok(answer)
    }

    /// Puts a chunk of the grant's share, which was offered.
    pub async fn put_chunk(&self, grant: &GrantToken, id: ChunkId, sealed: Bytes) -> Result<(), ClientError> {
        let path = format!("/v1/chunks/{id}");
        let call = |server| {
            let call = Call::new(Method::PUT, server, path.clone()).bearer(grant);
            Call { body: sealed.clone().into(), timeout: PUT_TIMEOUT, ..call }
        };
        self.addresses.first_reachable(|server| self.http.send(call(server))).await.map(drop)
    }

    /// Puts a chunk like [`PeerClient::put_chunk`], with no more of them on their way than the distance makes sensible. A
    /// peer that has restarted has forgotten the share: it is offered again, once for all chunks that are on their way.
    pub async fn put_offered(
        &self,
        grant: &GrantToken,
        id: ChunkId,
        sealed: Bytes,
        offer: impl Future<Output = Result<(), ClientError>> + Send,
    ) -> Result<(), ClientError> {
        let is_forgotten = |result: &Result<(), ClientError>| {
            result.as_ref().is_err_and(|error| error.problem() == Some(ProblemKind::Conflict))
        };
        let _permit = self.pool.send_permit().await;
        let mut result = with_retries(|| self.put_chunk(grant, id, sealed.clone())).await;
        if is_forgotten(&result) {
            // Whoever has waited for this tries first: the one before may have offered it.
            let _turn = self.state.offering.lock().await;
            result = self.put_chunk(grant, id, sealed.clone()).await;
            if is_forgotten(&result) {
                offer.await?;
                result = self.put_chunk(grant, id, sealed).await;
            }
        }
        result
    }

    /// Gets a chunk of `sealed_len` bytes into one of the buffers, and hashes it. More is never read. Requests follow each
    /// other on as many connections as the distance makes sensible, without waiting for each other's answers.
    pub async fn get_chunk(
        &self,
        id: ChunkId,
        sealed_len: usize,
        buffers: &Arc<Buffers>,
    ) -> Result<ChunkAnswer<Verified>, ClientError> {
        Ok(match self.get_unverified_chunk(id, sealed_len, buffers).await? {
            ChunkAnswer::Found(sealed) => {
                blocking(move || sealed.verify()).await.map_or(ChunkAnswer::Wrong, ChunkAnswer::Found)
            }
            ChunkAnswer::Missing => ChunkAnswer::Missing,
            ChunkAnswer::Wrong => ChunkAnswer::Wrong,
        })
    }

    /// Gets a chunk like [`PeerClient::get_chunk`], for a caller that hashes it together with what it does next: work
    /// that goes from one thread to another costs more than it looks.
    pub async fn get_unverified_chunk(
        &self,
        id: ChunkId,
        sealed_len: usize,
        buffers: &Arc<Buffers>,
    ) -> Result<ChunkAnswer<Unverified>, ClientError> {
        let answer = self.pool.get(id, sealed_len, buffers).await;
        *self.state.failed.lock() = answer.is_err().then(Instant::now);
        answer.map(|answer| answer.map(|sealed| Unverified::new(id, sealed)))
    }

    /// Takes note of a chunk that was not waited for any longer.
    pub(super) fn note_failure(&self) {
        *self.state.failed.lock() = Some(Instant::now());
    }

    /// Whether others are to be asked first: it failed to serve a chunk a short while ago.
    pub fn comes_last(&self) -> bool {
        self.state.failed.lock().is_some_and(|failed| failed.elapsed() < ASKED_LAST)
    }

    /// How many connections chunks come over.
    pub fn connections(&self) -> usize {
        self.pool.connections()
    }

    /// How many chunks to ask the peer for at once.
    pub fn requests(&self, chunk_size: ChunkSize) -> usize {
        self.pool.requests(chunk_size)
    }

    /// Which chunks of a share the peer holds.
    pub async fn holding(&self, share: ShareId, access: &Secret) -> Result<HoldingResponse, ClientError> {
        let path = format!("/v1/shares/{share}/chunks");
        self.json(|server| Call::new(Method::GET, server, path.clone()).secret(access)).await
    }

    /// Which chunks of a share the peer holds, for a peer that is to copy them.
    pub async fn holding_for_copy(
        &self,
        share: ShareId,
        grant: &GrantToken,
    ) -> Result<HoldingResponse, ClientError> {
        let path = format!("/v1/shares/{share}/chunks");
        self.json(|server| Call::new(Method::GET, server, path.clone()).bearer(grant)).await
    }

    /// Manifest and terms of a share, for a peer that is to copy it.
    pub async fn manifest_for_copy(
        &self,
        share: ShareId,
        grant: &GrantToken,
    ) -> Result<ManifestResponse, ClientError> {
        let path = format!("/v1/shares/{share}/manifest");
        let call = |server| Call::new(Method::GET, server, path.clone()).bearer(grant);
        self.addresses.first_reachable(|server| self.http.enclosed(call(server))).await
    }

    /// Has the peer prove what it holds; one answer for each sample.
    pub async fn audit(&self, request: &AuditRequest) -> Result<AuditResponse, ClientError> {
        let body = Payload::json(request);
        let call = |server| Call { body: body.clone(), ..Call::new(Method::POST, server, "/v1/audits") };
        let answer: AuditResponse = self.json(call).await?;
        if answer.proofs.len() == request.samples.len() {
            return Ok(answer);
        }
        let what = format!("{} proofs for {} samples", answer.proofs.len(), request.samples.len());
        Err(ClientError::protocol(self.name(), what))
    }

    /// Hands over manifest and terms; the peer answers when its chunks are on stable storage. The manifest goes raw if the
    /// peer's answer to an offer has said that it takes it so.
    pub async fn commit(
        &self,
        authority: Authority<'_>,
        manifest: &Arc<Manifest>,
        terms: &TermsToken,
        chunks: &ChunkSet,
    ) -> Result<CommitResponse, ClientError> {
        let path = format!("/v1/shares/{}/manifest", manifest.share());
        let (terms, chunks) = (terms.clone(), chunks.clone());
        let request = CommitRequest { manifest: Blob::default(), terms, chunks };
        let takes_raw = self.state.takes_raw_manifests.load(Ordering::Relaxed);
        let body = Payload::with_manifest(request, manifest, takes_raw);
        let call = |server| {
            let call = Call::new(Method::PUT, server, path.clone()).authority(&authority);
            Call { body: body.clone(), timeout: COMMIT_TIMEOUT, ..call }
        };
        self.json(call).await
    }

    async fn json<'a, T: DeserializeOwned>(
        &'a self,
        call: impl Fn(&'a Server) -> Call<'a> + Send + Sync,
    ) -> Result<T, ClientError> {
        self.addresses.first_reachable(|server| self.http.json(call(server), JSON_BODY_BYTES_MAX)).await
    }
}
