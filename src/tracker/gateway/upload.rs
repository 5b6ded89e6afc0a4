//! Shares that come from browsers: the gateway hashes each sealed chunk, puts it to the peers of its set, replaces
//! peers that fail, and has all of it on stable storage before the share is published.

use std::collections::HashMap;
use std::future::ready;
use std::net::IpAddr;
use std::sync::{Arc, OnceLock};

use axum::body::Body;
use bytes::Bytes;
use futures_util::future::join_all;
use futures_util::{TryStreamExt, stream};
use parcelry_core::api::{
    Blob, KnownChunks, OfferRequest, OpenRequest, OpenResponse, ProblemKind, ShareSize,
};
use parcelry_core::gateway::{
    DelegationResponse, FinishRequest, FinishResponse, StoredChunk, UploadRequest, UploadResponse,
};
use parcelry_core::geometry::{ChunkIndex, Geometry};
use parcelry_core::grant::GrantToken;
use parcelry_core::id::{ChunkId, PeerId, ShareId};
use parcelry_core::limits::{BROWSER_UPLOAD_IDLE, COPY_CHUNKS_MAX};
use parcelry_core::manifest::Manifest;
use parcelry_core::placement::Placement;
use parcelry_core::replica_sets::{Loss, MemberState, ReplicaSets};
use parcelry_core::terms::TermsToken;
use parcelry_core::token::TokenRecord;
use parking_lot::Mutex;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::slots::UploadSlot;
use super::{Call, shared};
use crate::buffers::Buffers;
use crate::client::{Authority, ClientError, Http, Kept, PeerClient, first_good, with_retries};
use crate::server::{Asker, Refusal};
use crate::task::blocking;
use crate::tracker::Tracker;
use crate::tracker::auth::Granted;

/// Peers that commit a share at once.
const COMMITS_AT_ONCE: usize = 2;

/// One upload of a browser.
pub(super) struct BrowserUpload {
    pub(super) share: ShareId,
    geometry: Geometry,
    grant: GrantToken,
    /// The owner's word that this tracker may act in his place; until it comes, no peer is spoken to.
    delegation: OnceLock<String>,
    peers: HashMap<PeerId, PeerClient>,
    /// For chunks that are copied from one peer of a set to another.
    pool: Arc<Buffers>,
    state: Mutex<State>,
    /// Its slot among all uploads, until another of the same share takes it over.
    pub(super) slot: Mutex<Option<UploadSlot>>,
}

struct State {
    /// Who is to hold what, and has it.
    sets: ReplicaSets,
    /// The chunks that came, by their index.
    ids: Vec<Option<ChunkId>>,
    touched: Instant,
}

impl Tracker {
    /// Chooses the peers for a browser's share.
    pub(in crate::tracker) async fn begin_upload(
        &self,
        by: &TokenRecord,
        from: IpAddr,
        share: ShareId,
        request: UploadRequest,
    ) -> Result<UploadResponse, Refusal> {
        let UploadRequest { size, replicas } = request;
        let opened = self.open(by, &OpenRequest { share, size, replicas, preferred: Vec::new() }).await?;
        let grant = opened.grant.clone();
        let geometry =
            size.geometry().ok_or_else(|| Refusal::new(ProblemKind::BadRequest, "no such size"))?;
        // One that begins anew keeps its slot.
        let chunk_count = geometry.chunk_count();
        let kept = self.gateway.end(share).filter(|slot| slot.chunk_count == chunk_count);
        let new = || self.gateway.slots.take(Asker::new(Some(by.id), from), chunk_count);
        let slot = kept.map_or_else(new, Ok)?;
        let pool = Arc::clone(self.gateway.pool(geometry.chunk_size()));
        let upload = BrowserUpload::new(share, geometry, opened, &self.gateway.http, pool, slot);
        self.gateway.keep(Arc::new(upload));
        Ok(UploadResponse { grant })
    }

    /// Takes the owner's delegation for an upload, and sees that its peers are ready.
    pub(in crate::tracker) async fn delegate(
        &self,
        granted: &Granted,
        delegation: String,
    ) -> Result<DelegationResponse, Refusal> {
        let upload = self.gateway.upload(granted.share)?;
        // It names the hash of one grant: the owner's word for another upload is none for this one.
        if granted.credential != *upload.grant {
            return Err(Refusal::new(
                ProblemKind::UploadNotFound,
                "another upload of this share is under way",
            ));
        }
        // The same owner may have sent it twice; one is as good as the other.
        let _ = upload.delegation.set(delegation);
        if let Err(refusal) = upload.offer_to_all().await {
            self.gateway.abandon(granted.share);
            return Err(refusal);
        }
        Ok(DelegationResponse { peers: upload.names() })
    }

    /// Takes a chunk of an upload; answers when it is at all of its peers.
    pub(in crate::tracker) async fn take_chunk(
        &self,
        granted: &Granted,
        index: u32,
        body: Body,
        mut call: Call,
    ) -> Result<StoredChunk, Refusal> {
        let upload = self.gateway.upload(granted.share)?;
        upload.check_delegated()?;
        let none = || Refusal::new(ProblemKind::ChunkNotFound, "the share has no chunk of this number");
        let index = upload.geometry.index(index).ok_or_else(none)?;
        let sealed_len = upload.geometry.sealed_len(index);
        call.wait_for_permits(upload.geometry.chunk_size()).await;
        let sealed = self.gateway.read(upload.geometry.chunk_size(), sealed_len, body).await?;
        self.gateway.admit(sealed_len).await;
        self.metrics.gateway_bytes.inc_by(sealed_len as u64);
        let (id, sealed) = blocking(move || (ChunkId::of(&sealed), sealed)).await;
        // Noted before it leaves: no peer ever gets a second content of one index.
        upload.note(index, id)?;
        upload.store(index, id, shared(sealed)).await?;
        Ok(StoredChunk { id })
    }

    /// Has every peer keep its part on stable storage, then publishes.
    pub(in crate::tracker) async fn finish_upload(
        &self,
        granted: &Granted,
        request: FinishRequest,
    ) -> Result<FinishResponse, Refusal> {
        let upload = self.gateway.upload(granted.share)?;
        upload.check_delegated()?;
        let invalid = |what: String| Refusal::new(ProblemKind::InvalidShare, what);
        let (share, FinishRequest { manifest: Blob(encoded), terms }) = (granted.share, request);
        let decoded = blocking(move || Manifest::decode(encoded, share)).await;
        let manifest = Arc::new(decoded.map_err(|error| invalid(error.to_string()))?);
        upload.check(&manifest).map_err(invalid)?;
        let receipts = upload.commit(self, &manifest, &terms).await?;
        self.publish_decoded(granted, &manifest, &terms, &receipts).await?;
        self.gateway.abandon(share);
        Ok(FinishResponse { peers: upload.names() })
    }
}

impl BrowserUpload {
    /// Notes that somebody goes on with it.
    pub(super) fn touch(&self) {
        self.state.lock().touched = Instant::now();
    }

    /// Whether somebody went on with it not long ago.
    pub(super) fn is_live(&self) -> bool {
        self.state.lock().touched.elapsed() < BROWSER_UPLOAD_IDLE
    }

    fn new(
        share: ShareId,
        geometry: Geometry,
        opened: OpenResponse,
        http: &Http,
        pool: Arc<Buffers>,
        slot: UploadSlot,
    ) -> Self {
        let state = State {
            sets: ReplicaSets::new(geometry.chunk_count(), &Placement::from(&opened)),
            ids: vec![None; geometry.chunk_count() as usize],
            touched: Instant::now(),
        };
        // Spares, too: one that comes into a set is looked up like any other. Nobody is connected to yet.
        let addresses = opened.sets.into_iter().flat_map(|set| set.peers).chain(opened.spares);
        Self {
            share,
            geometry,
            grant: opened.grant,
            delegation: OnceLock::new(),
            peers: addresses.map(|peer| (peer.id, PeerClient::new(http.clone(), peer))).collect(),
            pool,
            state: Mutex::new(state),
            slot: Mutex::new(Some(slot)),
        }
    }

    /// Checks that the owner has left the share to this tracker: without his word peers refuse it.
    fn check_delegated(&self) -> Result<(), Refusal> {
        let missing = || Refusal::new(ProblemKind::Conflict, "the owner's delegation has not come yet");
        self.delegation.get().map(drop).ok_or_else(missing)
    }

    /// What is shown to peers.
    fn authority(&self) -> Authority<'_> {
        Authority { grant: &self.grant, owner: self.delegation.get().map_or("", String::as_str) }
    }

    /// What the peers in use are called.
    fn names(&self) -> Vec<String> {
        self.members().iter().map(|peer| self.peers[peer].name().to_owned()).collect()
    }

    fn members(&self) -> Vec<PeerId> {
        self.state.lock().sets.members().collect()
    }

    async fn offer_to_all(&self) -> Result<(), Refusal> {
        let members = self.members();
        let answers = join_all(members.iter().map(|&peer| self.offer(peer))).await;
        for (peer, answer) in members.into_iter().zip(answers) {
            if let Err(error) = answer {
                self.replace(peer, &error).await?;
            }
        }
        Ok(())
    }

    /// Asks a peer whether it is ready, and notes what it holds already.
    async fn offer(&self, peer: PeerId) -> Result<(), ClientError> {
        let (chunks, known, missing) = {
            let state = self.state.lock();
            let Some(chunks) = state.sets.chunks_of(peer).cloned() else { return Ok(()) };
            let Some(missing) = state.sets.missing_at(peer) else { return Ok(()) };
            let known = self.geometry.indices();
            let known = known.filter_map(|index| Some((index, state.ids[index.get() as usize]?)));
            (chunks, KnownChunks::runs(known), missing)
        };
        let request = OfferRequest { size: ShareSize::from(&self.geometry), chunks, known };
        let client = &self.peers[&peer];
        let answer = with_retries(|| client.offer(self.share, self.authority(), &request)).await?;
        let mut state = self.state.lock();
        // What it took while it was asked, it may not have counted.
        if let Some(now) = state.sets.missing_at(peer) {
            let taken = missing.minus(&now);
            state.sets.ready(peer, answer.held.plus(&taken));
        }
        Ok(())
    }

    /// Notes which chunk this is. One index has one content.
    fn note(&self, index: ChunkIndex, id: ChunkId) -> Result<(), Refusal> {
        let mut state = self.state.lock();
        let known = state.ids[index.get() as usize].get_or_insert(id);
        if *known == id {
            return Ok(());
        }
        Err(Refusal::new(
            ProblemKind::Conflict,
            format!("chunk {index} was sent with another content before"),
        ))
    }

    /// Puts a chunk to every peer of its set.
    async fn store(&self, index: ChunkIndex, id: ChunkId, sealed: Bytes) -> Result<(), Refusal> {
        loop {
            let lacking = self.state.lock().sets.lacking(index);
            if lacking.is_empty() {
                return Ok(());
            }
            let results =
                join_all(lacking.iter().map(|&peer| self.put(peer, index, id, sealed.clone()))).await;
            for (peer, result) in lacking.into_iter().zip(results) {
                if let Err(error) = result {
                    self.replace(peer, &error).await?;
                }
            }
        }
    }

    async fn put(
        &self,
        peer: PeerId,
        index: ChunkIndex,
        id: ChunkId,
        sealed: Bytes,
    ) -> Result<(), ClientError> {
        self.peers[&peer].put_offered(&self.grant, id, sealed, self.offer(peer)).await?;
        self.state.lock().sets.stored(peer, index);
        Ok(())
    }

    /// Puts a spare in the place of a peer that failed: what failed was tried a few times already, and a browser does not
    /// wait for long. What the others of the set hold is copied to it when the share is committed. Without a spare the
    /// peer may be of use again when the browser comes back.
    async fn replace(&self, peer: PeerId, error: &ClientError) -> Result<(), Refusal> {
        let (mut failed, mut last) = (peer, error.to_string());
        loop {
            let loss = self.state.lock().sets.lose(failed);
            let spare = match loss {
                Loss::None => return Ok(()),
                Loss::Replaced(spare) => spare,
                Loss::NoSpare => {
                    let name = self.peers[&failed].name();
                    let what =
                        format!("{name} failed ({last}), and no other peer is there to take its place");
                    return Err(Refusal::later(ProblemKind::NotEnoughPeers, what, 15));
                }
            };
            tracing::info!(share = %self.share, peer = %failed, error = last, "a peer failed a browser's share");
            match self.offer(spare).await {
                Ok(()) => return Ok(()),
                Err(error) => (failed, last) = (spare, error.to_string()),
            }
        }
    }

    /// Checks that the manifest lists the chunks that came, each of them.
    fn check(&self, manifest: &Manifest) -> Result<(), String> {
        if manifest.geometry() != &self.geometry {
            return Err("the manifest is that of a share of another size".into());
        }
        let state = self.state.lock();
        for (index, id) in manifest.chunks() {
            match state.ids[index.get() as usize] {
                Some(known) if known == id => {}
                Some(_) => {
                    return Err(format!("the manifest has another chunk {index} than the one that came"));
                }
                None => return Err(format!("chunk {index} has not come yet")),
            }
        }
        Ok(())
    }

    /// Returns when all peers have confirmed that their parts are on stable storage, and proved it: their receipts.
    async fn commit(
        &self,
        tracker: &Tracker,
        manifest: &Arc<Manifest>,
        terms: &TermsToken,
    ) -> Result<Vec<String>, Refusal> {
        // For this manifest: the browser may have asked before, with another one.
        let mut receipts = HashMap::<PeerId, String>::new();
        loop {
            if self.state.lock().sets.held_by_nobody().is_some() {
                let what = "the peers lost chunks that they had taken: begin the upload again";
                return Err(Refusal::new(ProblemKind::UploadNotFound, what));
            }
            let due = self.due(&receipts);
            // Each has chunks copied to it first, if it lacks any.
            let permits = Semaphore::new(COMMITS_AT_ONCE);
            let commit = async |peer: &PeerId| {
                let _permit = permits.acquire().await.ok();
                self.commit_at(tracker, *peer, manifest, terms).await
            };
            let results = join_all(due.iter().map(commit)).await;
            for (peer, result) in due.into_iter().zip(results) {
                match result {
                    Ok(Some(receipt)) => drop(receipts.insert(peer, receipt)),
                    Ok(None) => {}
                    Err(error) => self.replace(peer, &error).await?,
                }
            }
            // The browser may have asked twice, and the other request may have replaced a peer.
            if self.due(&receipts).is_empty() {
                return Ok(self.members().iter().filter_map(|peer| receipts.remove(peer)).collect());
            }
        }
    }

    /// The peers that have yet to give a receipt, and to prove what it says. It is empty only if all is safe.
    fn due(&self, receipts: &HashMap<PeerId, String>) -> Vec<PeerId> {
        let state = self.state.lock();
        let is_due = |peer: &PeerId| {
            !receipts.contains_key(peer) || state.sets.state_of(*peer) != Some(MemberState::Proven)
        };
        state.sets.members().filter(is_due).collect()
    }

    /// Completes a peer's part from the others of its set, and has the peer keep it and prove that it has it; its
    /// receipt, unless it still lacks some.
    async fn commit_at(
        &self,
        tracker: &Tracker,
        peer: PeerId,
        manifest: &Arc<Manifest>,
        terms: &TermsToken,
    ) -> Result<Option<String>, ClientError> {
        let member_state = self.state.lock().sets.state_of(peer);
        if member_state == Some(MemberState::Asked) {
            self.offer(peer).await?;
        }
        let part = {
            let state = self.state.lock();
            state.sets.missing_at(peer).zip(state.sets.chunks_of(peer).cloned())
        };
        // Another request has replaced it.
        let Some((missing, chunks)) = part else { return Ok(None) };
        let copies =
            missing.iter().map(|index| Ok(self.copy_to(tracker, peer, index, manifest.chunk(index))));
        stream::iter(copies).try_buffer_unordered(COPY_CHUNKS_MAX).try_for_each(async |()| Ok(())).await?;
        let client = &self.peers[&peer];
        let answer = with_retries(|| client.commit(self.authority(), manifest, terms, &chunks)).await?;
        match client.kept(answer, manifest, &chunks)? {
            Kept::All(receipt) => {
                self.state.lock().sets.kept(peer);
                client.prove(manifest, &chunks).await?;
                self.state.lock().sets.proven(peer);
                Ok(Some(receipt))
            }
            Kept::Missing(missing) => {
                if self.state.lock().sets.lacks(peer, &missing) {
                    let what = "it takes chunks and does not have them";
                    return Err(ClientError::protocol(client.name(), what));
                }
                Ok(None)
            }
        }
    }

    /// Copies a chunk to a peer from another one that has it; nothing happens if none does.
    async fn copy_to(
        &self,
        tracker: &Tracker,
        peer: PeerId,
        index: ChunkIndex,
        id: ChunkId,
    ) -> Result<(), ClientError> {
        let holders = self.state.lock().sets.sources(index, peer);
        let holders: Vec<_> = holders.iter().map(|holder| &self.peers[holder]).collect();
        if holders.is_empty() {
            return Ok(());
        }
        let sealed_len = self.geometry.sealed_len(index);
        tracker.gateway.admit(sealed_len).await;
        tracker.metrics.gateway_bytes.inc_by(sealed_len as u64);
        // One that has other bytes is found by audits: here it only lacks what is needed.
        match first_good(holders, id, sealed_len, &self.pool, None, |_| ready(())).await {
            Some(sealed) => self.put(peer, index, id, shared(sealed.into_buffer())).await,
            None => Ok(()),
        }
    }
}
