//! The peer's API as typed calls.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use http::Method;
use parking_lot::Mutex;
use serde::de::DeserializeOwned;
use swarmdrop_core::api::{
    CommitRequest, CommitResponse, Health, HoldingResponse, ManifestResponse, OfferRequest, OfferResponse,
    PeerAddress,
};
use swarmdrop_core::distance;
use swarmdrop_core::id::{ChunkId, PeerId, Secret, ShareId};
use swarmdrop_core::limits::{COMMIT_TIMEOUT, JSON_BODY_BYTES_MAX, MANIFEST_BODY_BYTES_MAX, PUT_TIMEOUT};
use swarmdrop_core::name::printable;

use super::connector::Server;
use super::http::{Call, ClientError, Http};
use super::lane::{ChunkAnswer, Lane, LaneError};
use crate::buffers::Buffers;
use crate::tls::Trust;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// One peer.
#[derive(Debug, Clone)]
pub struct PeerClient {
    http: Http,
    peer: Arc<Known>,
    /// Which of the addresses worked last.
    address: Arc<AtomicUsize>,
    lanes: Arc<Mutex<Vec<Arc<Lane>>>>,
    lanes_max: usize,
    /// Leave to send a chunk, as often as there are lanes; `opened` tells how many there are by now.
    sending: Arc<Semaphore>,
    opened: Arc<AtomicUsize>,
}

#[derive(Debug)]
struct Known {
    id: PeerId,
    name: String,
    servers: Vec<Server>,
}

impl PeerClient {
    /// The peer at these addresses. Whoever answers there must have the key that makes the peer's id.
    pub fn new(http: Http, peer: PeerAddress) -> Self {
        let trust = Trust::Key(*peer.id.as_bytes());
        let servers = peer.addresses.into_iter().map(|address| Server { address, trust }).collect();
        // The tracker told the name, and it is shown to people.
        let known = Known { id: peer.id, name: printable(&peer.name), servers };
        Self {
            http,
            peer: Arc::new(known),
            address: Arc::default(),
            lanes: Arc::default(),
            lanes_max: usize::MAX,
            sending: Arc::new(Semaphore::new(0)),
            opened: Arc::default(),
        }
    }

    /// The same peer, spoken to over no more connections than this: each may need a buffer to itself.
    #[must_use]
    pub fn with_lanes_max(self, lanes_max: usize) -> Self {
        Self { lanes_max: lanes_max.max(1), ..self }
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
            Call { body: sealed.clone(), timeout: PUT_TIMEOUT, ..call }
        };
        self.first_reachable(|server| self.http.send(call(server))).await.map(drop)
    }

    /// Gets a chunk of `sealed_len` bytes into one of the buffers. More is never read. Requests follow each other
    /// on as many connections as the distance makes sensible, without waiting for each other's answers.
    pub async fn get_chunk(
        &self,
        id: ChunkId,
        sealed_len: usize,
        buffers: &Arc<Buffers>,
    ) -> Result<ChunkAnswer, ClientError> {
        loop {
            let lane = self.least_loaded();
            let connect = self.first_reachable(|server| async {
                let stream = self.http.connect(server).await?;
                Ok((server.address.clone(), stream))
            });
            match lane.enter().get(id, sealed_len, connect, buffers.take()).await {
                Ok(answer) => return Ok(answer),
                Err(LaneError::Failed(error)) => return Err(error),
                // The first request on a connection always ends in one of the other ways.
                Err(LaneError::NotBegun) => {}
            }
        }
    }

    /// How many connections chunks come over.
    pub fn lanes(&self) -> usize {
        let server = self.peer.servers.get(self.address.load(Ordering::Relaxed));
        let lanes = distance::lanes(server.and_then(|server| self.http.round_trip(server)));
        lanes.min(self.lanes_max)
    }

    /// Waits until less than [`PeerClient::lanes`] chunks are on their way to the peer.
    pub async fn lane(&self) -> OwnedSemaphorePermit {
        let lanes = self.lanes();
        let missing = lanes.saturating_sub(self.opened.fetch_max(lanes, Ordering::Relaxed));
        self.sending.add_permits(missing);
        Arc::clone(&self.sending).acquire_owned().await.expect("the semaphore is never closed")
    }

    fn least_loaded(&self) -> Arc<Lane> {
        let mut lanes = self.lanes.lock();
        lanes.retain(|lane| !lane.is_broken());
        let least = lanes.iter().min_by_key(|lane| lane.load());
        match least {
            Some(lane) if lane.load() == 0 || lanes.len() >= self.lanes() => Arc::clone(lane),
            _ => {
                let lane = Arc::<Lane>::default();
                lanes.push(Arc::clone(&lane));
                lane
            }
        }
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
