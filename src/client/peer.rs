//! The peer's API as typed calls.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use http::{Method, StatusCode};
use http_body_util::BodyExt;
use serde::de::DeserializeOwned;
use swarmdrop_core::api::{
    CommitRequest, CommitResponse, Health, HoldingResponse, ManifestResponse, OfferRequest, OfferResponse,
    PeerAddress, ProblemKind,
};
use swarmdrop_core::id::{ChunkId, PeerId, Secret, ShareId};
use swarmdrop_core::limits::{
    BODY_IDLE_TIMEOUT, COMMIT_TIMEOUT, JSON_BODY_BYTES_MAX, MANIFEST_BODY_BYTES_MAX,
};
use swarmdrop_core::name::printable;

use super::connector::Server;
use super::http::{Call, ClientError, Http, innermost};
use crate::tls::Trust;

/// One peer.
#[derive(Debug, Clone)]
pub struct PeerClient {
    http: Http,
    peer: Arc<Known>,
    /// Which of the addresses worked last.
    address: Arc<AtomicUsize>,
}

#[derive(Debug)]
struct Known {
    id: PeerId,
    name: String,
    servers: Vec<Server>,
}

/// What a peer served for a chunk id.
#[derive(Debug)]
pub enum ChunkAnswer {
    /// Bytes of the right length, not yet verified.
    Sealed(Vec<u8>),
    /// The peer does not have the chunk.
    Missing,
    /// Something of another length.
    Wrong,
}

impl PeerClient {
    /// The peer at these addresses. Whoever answers there must have the key that makes the peer's id.
    pub fn new(http: Http, peer: PeerAddress) -> Self {
        let trust = Trust::Key(*peer.id.as_bytes());
        let servers = peer.addresses.into_iter().map(|address| Server { address, trust }).collect();
        // The tracker told the name, and it is shown to people.
        let known = Known { id: peer.id, name: printable(&peer.name), servers };
        Self { http, peer: Arc::new(known), address: Arc::default() }
    }

    /// The peer's id.
    pub fn id(&self) -> PeerId {
        self.peer.id
    }

    /// What the peer's operator calls it.
    pub fn name(&self) -> &str {
        &self.peer.name
    }

    /// Who answers there.
    pub async fn health(&self) -> Result<Health, ClientError> {
        self.json(|server| Call::new(Method::GET, server, "/healthz")).await
    }

    /// Asks whether the peer is ready for a share.
    pub async fn offer(
        &self,
        share: ShareId,
        grant: &str,
        request: &OfferRequest,
    ) -> Result<OfferResponse, ClientError> {
        let path = format!("/v1/shares/{share}/offer");
        let body = Bytes::from(serde_json::to_vec(request).expect("requests have string keys"));
        let call = |server| {
            let call = Call::new(Method::POST, server, path.clone()).bearer(grant);
            Call { body: body.clone(), ..call }
        };
        self.json(call).await
    }

    /// Puts a chunk of the grant's share, which was offered.
    pub async fn put_chunk(&self, grant: &str, id: ChunkId, sealed: Bytes) -> Result<(), ClientError> {
        let path = format!("/v1/chunks/{id}");
        let call = |server| {
            let call = Call::new(Method::PUT, server, path.clone()).bearer(grant);
            Call { body: sealed.clone(), ..call }
        };
        self.first_reachable(|server| self.http.send(call(server))).await.map(drop)
    }

    /// Gets a chunk of `sealed_len` bytes. More is never read.
    pub async fn get_chunk(&self, id: ChunkId, sealed_len: usize) -> Result<ChunkAnswer, ClientError> {
        let call = |server| Call::new(Method::GET, server, format!("/v1/chunks/{id}"));
        let response = match self.first_reachable(|server| self.http.send(call(server))).await {
            Err(error) if error.problem() == Some(ProblemKind::ChunkNotFound) => {
                return Ok(ChunkAnswer::Missing);
            }
            response => response?,
        };
        if response.status() != StatusCode::OK {
            return Ok(ChunkAnswer::Wrong);
        }
        let mut body = response.into_body();
        let mut sealed = Vec::with_capacity(sealed_len);
        let unreachable = |why: String| ClientError::Unreachable { server: self.peer.name.clone(), why };
        loop {
            let frame = match tokio::time::timeout(BODY_IDLE_TIMEOUT, body.frame()).await {
                Err(_) => return Err(unreachable("the chunk stalled".into())),
                Ok(None) => break,
                Ok(Some(frame)) => frame.map_err(|error| unreachable(innermost(&error)))?,
            };
            let data = frame.into_data().unwrap_or_default();
            if sealed.len() + data.len() > sealed_len {
                return Ok(ChunkAnswer::Wrong);
            }
            sealed.extend_from_slice(&data);
        }
        Ok(if sealed.len() == sealed_len { ChunkAnswer::Sealed(sealed) } else { ChunkAnswer::Wrong })
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
        grant: &str,
    ) -> Result<HoldingResponse, ClientError> {
        let path = format!("/v1/shares/{share}/chunks");
        self.json(|server| Call::new(Method::GET, server, path.clone()).bearer(grant)).await
    }

    /// Manifest and terms of a share, for a peer that is to copy it.
    pub async fn manifest_for_copy(
        &self,
        share: ShareId,
        grant: &str,
    ) -> Result<ManifestResponse, ClientError> {
        let path = format!("/v1/shares/{share}/manifest");
        let call = |server| Call::new(Method::GET, server, path.clone()).bearer(grant);
        self.first_reachable(|server| self.http.json(call(server), MANIFEST_BODY_BYTES_MAX)).await
    }

    /// Hands over manifest and terms; the peer answers when its chunks are on stable storage.
    pub async fn commit(
        &self,
        share: ShareId,
        grant: &str,
        request: &CommitRequest,
    ) -> Result<CommitResponse, ClientError> {
        let path = format!("/v1/shares/{share}/manifest");
        let body = Bytes::from(serde_json::to_vec(request).expect("requests have string keys"));
        let call = |server| Call {
            body: body.clone(),
            timeout: COMMIT_TIMEOUT,
            ..Call::new(Method::PUT, server, path.clone()).bearer(grant)
        };
        self.json(call).await
    }

    async fn json<'a, T: DeserializeOwned>(
        &'a self,
        call: impl Fn(&'a Server) -> Call<'a> + Send + Sync,
    ) -> Result<T, ClientError> {
        self.first_reachable(|server| self.http.json(call(server), JSON_BODY_BYTES_MAX)).await
    }

    /// Tries the address that worked last, then the others.
    async fn first_reachable<'a, T, F>(
        &'a self,
        attempt: impl Fn(&'a Server) -> F + Send + Sync,
    ) -> Result<T, ClientError>
    where
        F: Future<Output = Result<T, ClientError>> + Send,
    {
        let servers = &self.peer.servers;
        let why = "the tracker gave no address for it".to_owned();
        let mut last = ClientError::Unreachable { server: self.peer.name.clone(), why };
        let first = self.address.load(Ordering::Relaxed);
        for number in (first..servers.len()).chain(0..first.min(servers.len())) {
            match attempt(&servers[number]).await {
                Err(error @ (ClientError::Unreachable { .. } | ClientError::WrongKey { .. })) => last = error,
                answer => {
                    self.address.store(number, Ordering::Relaxed);
                    return answer;
                }
            }
        }
        Err(last)
    }
}
