//! The peer's API as typed calls.

use std::future::ready;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use bytes::Bytes;
use futures_util::future::try_join_all;
use http::Method;
use parcelry_core::api::{
    AuditRequest, AuditResponse, CommitRequest, CommitResponse, Health, HoldingResponse, ManifestResponse,
    OfferRequest, OfferResponse, PeerAddress, ProblemKind,
};
use parcelry_core::distance;
use parcelry_core::geometry::ChunkSize;
use parcelry_core::id::{ChunkId, PeerId, Secret, ShareId};
use parcelry_core::limits::{
    ASKED_LAST, COMMIT_TIMEOUT, JSON_BODY_BYTES_MAX, PUT_TIMEOUT, RECEIVER_CONNECTIONS_MAX, REQUEST_TIMEOUT,
};
use parking_lot::Mutex;
use serde::de::DeserializeOwned;

use super::connector::{SecureStream, Server};
use super::http::{Authority, Call, ClientError, Http};
use super::lane::{ChunkAnswer, Lane, LaneError, Wanted};
use super::retry::with_retries;
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
    bounds: Bounds,
    /// Lanes that came about, where further ones did not.
    lanes_max: Arc<AtomicUsize>,
    /// Leave to send a chunk, as often as there are lanes; `opened` tells how many there are by now.
    sending: Arc<Semaphore>,
    opened: Arc<AtomicUsize>,
    /// Held while a share is offered again.
    offering: Arc<tokio::sync::Mutex<()>>,
    /// When it failed to serve a chunk, if it has not served one since.
    failed: Arc<Mutex<Option<Instant>>>,
}

/// What one of several sources may take of what they share.
#[derive(Debug, Clone, Copy)]
struct Bounds {
    /// Connections.
    lanes: usize,
    /// Buffers for chunks.
    buffers: usize,
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
        let server = |address: SocketAddr| Server { address: address.to_string(), trust };
        let servers = peer.addresses.into_iter().map(server).collect();
        let known = Known { id: peer.id, name: peer.name, servers };
        Self {
            http,
            peer: Arc::new(known),
            address: Arc::default(),
            lanes: Arc::default(),
            bounds: Bounds { lanes: usize::MAX, buffers: usize::MAX },
            lanes_max: Arc::new(AtomicUsize::new(usize::MAX)),
            sending: Arc::new(Semaphore::new(0)),
            opened: Arc::default(),
            offering: Arc::default(),
            failed: Arc::default(),
        }
    }

    /// This client, as that of one of so many sources that receive into the same buffers.
    #[must_use]
    pub fn as_one_of(self, sources: usize, buffers: usize) -> Self {
        let lanes = distance::part(RECEIVER_CONNECTIONS_MAX, sources);
        Self { bounds: Bounds { lanes, buffers: distance::part(buffers, sources) }, ..self }
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
        authority: Authority<'_>,
        request: &OfferRequest,
    ) -> Result<OfferResponse, ClientError> {
        let path = format!("/v1/shares/{share}/offer");
        let body = Bytes::from(serde_json::to_vec(request).expect("requests have string keys"));
        let call = |server| {
            let call = Call::new(Method::POST, server, path.clone()).authority(&authority);
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

    /// Puts a chunk like [`PeerClient::put_chunk`], on one of the peer's lanes. A peer that has restarted has forgotten
    /// the share: it is offered again, once for all chunks that are on their way.
    pub async fn put_offered(
        &self,
        grant: &str,
        id: ChunkId,
        sealed: Bytes,
        offer: impl Future<Output = Result<(), ClientError>> + Send,
    ) -> Result<(), ClientError> {
        let is_forgotten = |result: &Result<(), ClientError>| {
            result.as_ref().is_err_and(|error| error.problem() == Some(ProblemKind::Conflict))
        };
        let _lane = self.lane().await;
        let mut result = with_retries(|| self.put_chunk(grant, id, sealed.clone())).await;
        if is_forgotten(&result) {
            // Whoever has waited for this tries first: the one before may have offered it.
            let _turn = self.offering.lock().await;
            result = self.put_chunk(grant, id, sealed.clone()).await;
            if is_forgotten(&result) {
                offer.await?;
                result = self.put_chunk(grant, id, sealed).await;
            }
        }
        result
    }

    /// Gets a chunk of `sealed_len` bytes into one of the buffers. More is never read. Requests follow each other
    /// on as many connections as the distance makes sensible, without waiting for each other's answers.
    pub async fn get_chunk(
        &self,
        id: ChunkId,
        sealed_len: usize,
        buffers: &Arc<Buffers>,
    ) -> Result<ChunkAnswer, ClientError> {
        let answer = self.try_to_get_chunk(id, sealed_len, buffers).await;
        *self.failed.lock() = answer.is_err().then(Instant::now);
        answer
    }

    /// Takes note of a chunk that was not waited for any longer.
    pub fn note_failure(&self) {
        *self.failed.lock() = Some(Instant::now());
    }

    /// Whether others are to be asked first: it failed to serve a chunk a short while ago.
    pub fn comes_last(&self) -> bool {
        self.failed.lock().is_some_and(|failed| failed.elapsed() < ASKED_LAST)
    }

    async fn try_to_get_chunk(
        &self,
        id: ChunkId,
        sealed_len: usize,
        buffers: &Arc<Buffers>,
    ) -> Result<ChunkAnswer, ClientError> {
        // How far the peer is shows when there is a connection.
        if let Err(error) = self.least_loaded().connect(self.connect()).await {
            self.go_on_after(LaneError::NotConnected(error), Instant::now())?;
        }
        if distance::is_near(self.lanes()) {
            self.get_whole(id, sealed_len, buffers).await
        } else {
            self.get_in_pieces(id, sealed_len, buffers).await
        }
    }

    /// Gets a chunk over one connection. The buffer is taken only when the answer begins.
    async fn get_whole(
        &self,
        id: ChunkId,
        sealed_len: usize,
        buffers: &Arc<Buffers>,
    ) -> Result<ChunkAnswer, ClientError> {
        let (wanted, begun) = (Wanted { id, range: None }, Instant::now());
        loop {
            let buffer = buffers.take_of(sealed_len);
            match self.least_loaded().enter().get(&wanted, self.connect(), buffer).await {
                Ok(answer) => return Ok(answer),
                Err(error) => self.go_on_after(error, begun)?,
            }
        }
    }

    /// Gets a chunk over all connections. The buffer is taken first: were it taken when the first piece arrives,
    /// chunks that arrive on the fast connections could keep all buffers from one that the slow ones still owe.
    async fn get_in_pieces(
        &self,
        id: ChunkId,
        sealed_len: usize,
        buffers: &Arc<Buffers>,
    ) -> Result<ChunkAnswer, ClientError> {
        let mut buffer = buffers.take_of(sealed_len).await;
        let piece_len = distance::piece_len(self.lanes(), sealed_len);
        let starts = (0..sealed_len).step_by(piece_len);
        let pieces = starts.zip(buffer.chunks_mut(piece_len));
        let gets = pieces.map(|(start, piece)| self.get_piece(id, start, piece));
        // One that fails ends the others, with their connections: it is the peer that does not answer.
        for answer in try_join_all(gets).await? {
            match answer {
                ChunkAnswer::Sealed(()) => {}
                ChunkAnswer::Missing => return Ok(ChunkAnswer::Missing),
                ChunkAnswer::Wrong => return Ok(ChunkAnswer::Wrong),
            }
        }
        Ok(ChunkAnswer::Sealed(buffer))
    }

    /// Gets the bytes of a chunk from `start` on that fit the piece.
    async fn get_piece(
        &self,
        id: ChunkId,
        start: usize,
        piece: &mut [u8],
    ) -> Result<ChunkAnswer<()>, ClientError> {
        let (wanted, begun) = (Wanted { id, range: Some(start..start + piece.len()) }, Instant::now());
        loop {
            let into = ready(&mut *piece);
            match self.least_loaded().enter().get(&wanted, self.connect(), into).await {
                Err(error) => self.go_on_after(error, begun)?,
                Ok(ChunkAnswer::Sealed(_)) => return Ok(ChunkAnswer::Sealed(())),
                Ok(ChunkAnswer::Missing) => return Ok(ChunkAnswer::Missing),
                Ok(ChunkAnswer::Wrong) => return Ok(ChunkAnswer::Wrong),
            }
        }
    }

    /// Returns `Ok` if the request may be tried again on another connection, otherwise the error that it ends with.
    /// Where no further connection comes about, those that are there have to do.
    fn go_on_after(&self, error: LaneError, begun: Instant) -> Result<(), ClientError> {
        let error = match error {
            LaneError::Failed(error) => return Err(error),
            LaneError::NotConnected(error @ ClientError::Unreachable { .. }) => {
                let open = self.lanes.lock().iter().filter(|lane| lane.is_open()).count();
                if open == 0 {
                    return Err(error);
                }
                self.lanes_max.fetch_min(open, Ordering::Relaxed);
                error
            }
            LaneError::NotConnected(error) => return Err(error),
            LaneError::NotBegun => {
                let why = "it keeps closing connections".to_owned();
                ClientError::Unreachable { server: self.peer.name.clone(), why }
            }
        };
        // Lanes that end because others got wrong answers do so at once; those of a peer that hangs take their time.
        if begun.elapsed() < 2 * REQUEST_TIMEOUT { Ok(()) } else { Err(error) }
    }

    async fn connect(&self) -> Result<(String, SecureStream), ClientError> {
        self.first_reachable(|server| async {
            let stream = self.http.connect(server).await?;
            Ok((server.address.clone(), stream))
        })
        .await
    }

    /// How many connections chunks come over.
    pub fn lanes(&self) -> usize {
        let server = self.peer.servers.get(self.address.load(Ordering::Relaxed));
        let lanes = distance::lanes(server.and_then(|server| self.http.round_trip(server)));
        let lanes = lanes.min(self.bounds.lanes).min(self.lanes_max.load(Ordering::Relaxed));
        // A connection over which whole chunks come may need a buffer to itself.
        if distance::is_near(lanes) { lanes.min(self.bounds.buffers) } else { lanes }
    }

    /// How many chunks to ask the peer for at once.
    pub fn requests(&self, chunk_size: ChunkSize) -> usize {
        let lanes = self.lanes();
        if distance::is_near(lanes) { distance::requests(lanes, chunk_size) } else { self.bounds.buffers }
    }

    /// Waits until less than [`PeerClient::lanes`] chunks are on their way to the peer.
    pub async fn lane(&self) -> OwnedSemaphorePermit {
        let lanes = self.lanes();
        // Of several callers at once only one is told of the old number, and adds what is missing.
        let missing = lanes.saturating_sub(self.opened.fetch_max(lanes, Ordering::Relaxed));
        self.sending.add_permits(missing);
        Arc::clone(&self.sending).acquire_owned().await.expect("the semaphore is never closed")
    }

    fn least_loaded(&self) -> Arc<Lane> {
        let mut lanes = self.lanes.lock();
        lanes.retain(|lane| !lane.is_broken());
        // A further connection is made only when all are busy. `lanes()` locks the known round trips within this lock.
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
        self.first_reachable(|server| self.http.enclosed(call(server))).await
    }

    /// Has the peer prove what it holds; one answer for each sample.
    pub async fn audit(&self, request: &AuditRequest) -> Result<AuditResponse, ClientError> {
        let body = Bytes::from(serde_json::to_vec(request).expect("requests have string keys"));
        let call = |server| Call { body: body.clone(), ..Call::new(Method::POST, server, "/v1/audits") };
        let answer: AuditResponse = self.json(call).await?;
        if answer.proofs.len() == request.samples.len() {
            return Ok(answer);
        }
        let what = format!("{} proofs for {} samples", answer.proofs.len(), request.samples.len());
        Err(ClientError::Protocol { server: self.peer.name.clone(), what })
    }

    /// Hands over manifest and terms; the peer answers when its chunks are on stable storage.
    pub async fn commit(
        &self,
        share: ShareId,
        authority: Authority<'_>,
        request: &CommitRequest,
    ) -> Result<CommitResponse, ClientError> {
        let path = format!("/v1/shares/{share}/manifest");
        let body = Bytes::from(serde_json::to_vec(request).expect("requests have string keys"));
        let call = |server| Call {
            body: body.clone(),
            timeout: COMMIT_TIMEOUT,
            ..Call::new(Method::PUT, server, path.clone()).authority(&authority)
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
