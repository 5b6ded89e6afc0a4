//! The requests, responses and problems of the two HTTP APIs, version 1.
//!
//! Bytes are counted in `*_bytes`, times in `*_ms` (milliseconds; since the Unix epoch unless the
//! field says otherwise). Errors are RFC 9457 problem documents.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::chunk_set::ChunkSet;
use crate::geometry::{ChunkIndex, ChunkSize, Geometry};
use crate::grant::GrantToken;
use crate::id::{ChunkId, PeerId, RunId, ShareId};
use crate::limits::RECEIPTS_MAX;
use crate::reach::Doubt;
use crate::registry::{Liveness, Usage};
use crate::tables::at_most;
use crate::terms::TermsToken;

pub use crate::blob::Blob;
pub use crate::evidence::{AuditRequest, AuditResponse, Proof, Question, Sample, Verdict, questions};
pub use crate::heartbeat::{
    AppliedTerms, CopyTask, DropTask, HeartbeatRequest, HeartbeatResponse, RestoreTask, ShareChunks, Task,
    Tasks, WrongChunks,
};
pub use crate::problem::{Problem, ProblemKind};

/// Answer to `GET /healthz` of a tracker or peer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Health {
    /// `tracker` or `peer`.
    pub role: Role,
    /// The id of the tracker or peer, base64url.
    pub id: String,
    /// Its wall clock.
    pub now_ms: u64,
}

/// What a server is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// It knows who is alive and who holds what.
    Tracker,
    /// It stores chunks.
    Peer,
}

/// `POST /v1/peers`: a peer registers or refreshes its registration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RegisterRequest {
    /// The peer's id.
    pub id: PeerId,
    /// Its run: random, drawn when its process started.
    pub run: RunId,
    /// What its operator calls it, at most 64 bytes.
    pub name: String,
    /// Where others reach it, as `IP:PORT`; empty: wherever its requests come from, at `port`.
    #[schema(value_type = Vec<String>)]
    pub addresses: Vec<SocketAddr>,
    /// The port that it listens on.
    pub port: u16,
    /// Bytes that it is willing to hold.
    pub capacity_bytes: u64,
    /// The usage of its disk.
    pub usage: Usage,
    /// Where it stands, to keep replicas apart; at most 64 bytes.
    pub zone: Option<String>,
    /// The version of parcelry that it runs.
    pub version: String,
}

/// Answer to a registration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RegisterResponse {
    /// How often to send a heartbeat.
    pub heartbeat_ms: u64,
    /// Where the tracker will send others.
    #[schema(value_type = Vec<String>)]
    pub addresses: Vec<SocketAddr>,
    /// The public key by which grants are checked; its fingerprint is the tracker's id.
    pub grant_key: String,
    /// After how long the peer is to tell its inventory; none: it was heard.
    pub inventory_after_ms: Option<u64>,
}

/// `POST /v1/peers/{id}/inventory`: a peer that registered tells what it holds, some shares at a time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct InventoryRequest {
    /// Shares and the chunks of them that the peer holds, in the order of their ids; at most 256.
    pub shares: Vec<ShareChunks>,
    /// The last share of the page before; none for the first page.
    pub after: Option<ShareId>,
    /// Whether no page follows. The peer holds no other share between `after` and the last of the page, or the
    /// end if this is the last page.
    pub last: bool,
    /// Shares that the peer knows to be deleted, whether it held them or not; at most 256. A page that tells of shares
    /// like these only, and is not the last, says nothing about what is held.
    #[serde(default)]
    pub gone: Vec<SignedDeletion>,
}

/// A share that its owner deleted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SignedDeletion {
    /// The share.
    pub share: ShareId,
    /// The signed terms that delete it.
    pub terms: TermsToken,
}

/// Answer to an inventory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct InventoryResponse {
    /// Shares that the tracker does not know, and wants to be told about.
    pub unknown: Vec<ShareId>,
    /// Shares of the page that their owners deleted: to be dropped, if the signature is the owner's.
    pub deleted: Vec<SignedDeletion>,
    /// Shares of the page that the operator took down: not to be served. The others of the page may be.
    #[serde(default)]
    pub withheld: Vec<ShareId>,
    /// Whether the tracker takes a manifest behind JSON when it is told about a share.
    #[serde(default)]
    pub takes_raw_manifests: bool,
}

/// `POST /v1/peers/{id}/shares`: a peer tells about a share that the tracker does not know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AnnounceRequest {
    /// The share.
    pub share: ShareId,
    /// Its manifest; not in JSON that it follows.
    #[serde(default, skip_serializing_if = "Blob::is_empty")]
    pub manifest: Blob,
    /// Its signed terms, as new as the peer has them.
    pub terms: TermsToken,
    /// The chunks that the peer holds.
    pub chunks: ChunkSet,
}

/// One peer in the answer to `GET /v1/peers`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PeerInfo {
    /// The peer's id.
    pub id: PeerId,
    /// What its operator calls it.
    pub name: String,
    /// Whether it is there.
    pub state: Liveness,
    /// Where it is reached, as `IP:PORT`.
    #[schema(value_type = Vec<String>)]
    pub addresses: Vec<SocketAddr>,
    /// Bytes that it is willing to hold.
    pub capacity_bytes: u64,
    /// The usage of its disk.
    pub usage: Usage,
    /// Where it stands.
    pub zone: Option<String>,
    /// The version of parcelry that it runs.
    pub version: String,
    /// Time since it was heard of last.
    pub silent_ms: u64,
    /// If it is being emptied: how many shares still need what it holds.
    pub draining: Option<u64>,
    /// Why it does not count although it beats, if so.
    pub doubt: Option<Doubt>,
    /// Chunks that it said to hold, and was found not to have, since the tracker started.
    pub refuted_chunks: u64,
}

/// `PUT /v1/peers/{id}/drain`: the operator has a peer emptied, or no longer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DrainRequest {
    /// Whether it is to be emptied.
    pub draining: bool,
}

/// The health of a swarm's shares.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
pub struct SwarmHealth {
    /// Shares known; none, in events only: the tracker could not tell yet.
    pub shares: Option<u64>,
    /// Shares with as many replicas as were asked for, of which some are to be proven yet.
    pub unproven: u64,
    /// Shares with the right number of replicas in the wrong places: further apart than they are they could be.
    pub misplaced: u64,
    /// Shares with fewer replicas than were asked for, but more than one.
    pub weakened: u64,
    /// Shares with one replica left of some chunk.
    pub endangered: u64,
    /// Shares of which some chunk is only at peers that are away.
    pub unavailable: u64,
    /// Shares of which some chunk is at no known peer.
    pub lost: u64,
    /// Copies under way.
    pub copies: u64,
    /// Whether no copies are ordered because too many peers vanished at once.
    pub paused: bool,
    /// Whether the tracker has looked at every share since it started.
    pub complete: bool,
}

/// Answer to `GET /v1/peers`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PeerList {
    /// What the token lets its bearer do that was shown.
    pub role: crate::token::TokenRole,
    /// All registered peers.
    pub peers: Vec<PeerInfo>,
    /// The health of the shares.
    pub health: SwarmHealth,
}

/// Where a peer is reached.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PeerAddress {
    /// The peer's id.
    pub id: PeerId,
    /// What its operator calls it.
    pub name: String,
    /// `IP:PORT`, best first.
    #[schema(value_type = Vec<String>)]
    pub addresses: Vec<SocketAddr>,
}

/// `POST /v1/shares`: a sender asks where to push a share.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct OpenRequest {
    /// The share.
    pub share: ShareId,
    /// How large it is.
    pub size: ShareSize,
    /// How many peers are to hold each chunk.
    #[schema(minimum = 1, maximum = 16)]
    pub replicas: u8,
    /// Peers that were named for the share before and hold a part of it already; at most 64.
    pub preferred: Vec<PeerId>,
}

/// The size of a share, as the tracker and peers may know it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ShareSize {
    /// Bytes of the stream before sealing.
    pub total_bytes: u64,
    /// Bytes of a chunk before sealing: a power of two.
    pub chunk_bytes: u64,
}

impl ShareSize {
    /// The geometry of a share of this size; `None` if the chunks are too many or of a wrong size.
    pub fn geometry(self) -> Option<Geometry> {
        Geometry::new(self.total_bytes, ChunkSize::from_bytes(self.chunk_bytes).ok()?)
    }
}

impl From<&Geometry> for ShareSize {
    fn from(geometry: &Geometry) -> Self {
        Self { total_bytes: geometry.total(), chunk_bytes: geometry.chunk_size().bytes() }
    }
}

/// Answer to [`OpenRequest`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct OpenResponse {
    /// The sets of peers that are to hold the share; together they cover every chunk once.
    pub sets: Vec<PeerSet>,
    /// Peers to turn to when one fails, best first.
    pub spares: Vec<PeerAddress>,
    /// The token that lets the sender use these peers, and publish the share.
    pub grant: GrantToken,
    /// Whether a browser warns before it opens a link of this tracker, whose certificate is its own.
    #[serde(default)]
    pub browsers_warn: bool,
    /// Whether the tracker takes a manifest behind JSON when the share is published.
    #[serde(default)]
    pub takes_raw_manifests: bool,
}

/// Peers that are each to hold the same run of chunks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PeerSet {
    /// Index of the first chunk of the run.
    pub first_chunk: u32,
    /// Number of chunks in the run.
    pub chunk_count: u32,
    /// The peers.
    pub peers: Vec<PeerAddress>,
}

/// `PUT /v1/shares/{id}`: a sender publishes a share that is on its peers' disks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PublishRequest {
    /// The manifest; not in JSON that it follows.
    #[serde(default, skip_serializing_if = "Blob::is_empty")]
    pub manifest: Blob,
    /// The signed terms.
    pub terms: TermsToken,
    /// The receipts of the peers that hold it, at most 136: for each chunk those of as many peers as the terms ask for.
    #[serde(deserialize_with = "at_most::<RECEIPTS_MAX, _, _>")]
    pub receipts: Vec<String>,
}

/// Answer to `GET /v1/shares/{id}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LookUpResponse {
    /// The manifest; not in JSON that it follows.
    #[serde(default, skip_serializing_if = "Blob::is_empty")]
    pub manifest: Blob,
    /// The signed terms.
    pub terms: TermsToken,
    /// Peers that hold chunks of it, the surest first.
    pub sources: Vec<SourceInfo>,
}

/// A peer that can serve chunks of a share.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SourceInfo {
    /// The peer and where it is reached.
    pub peer: PeerAddress,
    /// Whether it is there.
    pub state: Liveness,
    /// Why it is in doubt, if it is.
    pub why: Option<String>,
    /// The chunks that it holds.
    pub chunks: ChunkSet,
}

/// `PUT /v1/shares/{id}/terms`: newer terms of a share.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TermsRequest {
    /// The signed terms.
    pub terms: TermsToken,
    /// With a deletion and a sender's token: peers that may hold something of the share although it was never published.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sent_to: Vec<PeerId>,
}

/// `POST /v1/shares/{id}/complaints`: a receiver met wrong bytes, or nobody.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ComplaintRequest {
    /// The peer that served them, or could not be reached.
    pub peer: PeerId,
    /// Index of the chunk that was wrong; none: the peer could not be reached.
    pub chunk: Option<u32>,
}

/// `POST /v1/shares/{id}/offer` at a peer: is it ready for a share?
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct OfferRequest {
    /// How large the share is.
    pub size: ShareSize,
    /// The chunks that this peer is to hold.
    pub chunks: ChunkSet,
    /// Chunks that were sent before, to anybody: the peer says which of them it has.
    pub known: Vec<KnownChunks>,
}

/// The ids of a run of chunks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct KnownChunks {
    /// Index of the first chunk of the run.
    pub first_chunk: u32,
    /// The ids one after another, 32 bytes each.
    pub ids: Blob,
}

impl KnownChunks {
    /// The runs that hold the ids of these chunks, given in ascending order.
    pub fn runs(chunks: impl Iterator<Item = (ChunkIndex, ChunkId)>) -> Vec<Self> {
        let mut runs: Vec<Self> = Vec::new();
        let mut next = None;
        for (index, id) in chunks {
            match runs.last_mut().filter(|_| next == Some(index.get())) {
                Some(run) => run.ids.0.extend_from_slice(id.as_bytes()),
                None => {
                    runs.push(Self { first_chunk: index.get(), ids: Blob(id.as_bytes().to_vec()) });
                }
            }
            next = Some(index.get() + 1);
        }
        runs
    }

    /// The chunks of the run; `None` if one lies outside the share or the bytes are no ids.
    pub fn chunks(&self, geometry: &Geometry) -> Option<Vec<(ChunkIndex, ChunkId)>> {
        let (ids, rest) = self.ids.0.as_chunks::<32>();
        if !rest.is_empty() {
            return None;
        }
        let chunk = |(position, &id): (usize, &[u8; 32])| {
            let index = self.first_chunk.checked_add(u32::try_from(position).ok()?)?;
            Some((geometry.index(index)?, ChunkId::from_bytes(id)))
        };
        ids.iter().enumerate().map(chunk).collect()
    }
}

/// Answer to an offer: the peer is ready and holds these chunks already.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct OfferResponse {
    /// Chunks that need not be sent.
    pub held: ChunkSet,
    /// Whether the peer takes a manifest behind JSON when the share is committed.
    #[serde(default)]
    pub takes_raw_manifests: bool,
}

/// `PUT /v1/shares/{id}/manifest` at a peer: keep the share, confirm that it is on stable storage.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CommitRequest {
    /// The manifest; not in JSON that it follows.
    #[serde(default, skip_serializing_if = "Blob::is_empty")]
    pub manifest: Blob,
    /// The signed terms.
    pub terms: TermsToken,
    /// The chunks that this peer is to hold.
    pub chunks: ChunkSet,
}

/// Answer to a commit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CommitResponse {
    /// Chunks that are not there. Empty: the share is on stable storage.
    pub missing: ChunkSet,
    /// The peer's receipt, if nothing is missing.
    pub receipt: Option<String>,
}

/// Answer to `GET /v1/shares/{id}/chunks` at a peer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct HoldingResponse {
    /// The chunks of the share that the peer holds.
    pub chunks: ChunkSet,
}

/// Answer to `GET /v1/shares/{id}/manifest` at a peer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ManifestResponse {
    /// The manifest; not in JSON that it follows.
    #[serde(default, skip_serializing_if = "Blob::is_empty")]
    pub manifest: Blob,
    /// The signed terms.
    pub terms: TermsToken,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn known_chunks_outside_the_share_are_refused() {
        let geometry = ShareSize { total_bytes: 3 << 16, chunk_bytes: 1 << 16 }.geometry().unwrap();
        let run = |first_chunk, len| KnownChunks { first_chunk, ids: Blob(vec![1; len]) };
        assert_eq!(run(1, 64).chunks(&geometry).map(|c| c.len()), Some(2));
        assert_eq!(run(2, 64).chunks(&geometry), None);
        assert_eq!(run(0, 33).chunks(&geometry), None);
        assert_eq!(run(u32::MAX, 64).chunks(&geometry), None);
    }

    #[test]
    fn more_receipts_than_any_share_needs_are_refused_before_they_are_held() {
        let read = |count| {
            let receipts = vec![String::new(); count];
            let request = PublishRequest { manifest: Blob(vec![7]), terms: "t".into(), receipts };
            let mut json = serde_json::to_string(&request).unwrap();
            // What follows is not looked at any more.
            json.truncate(json.len() - "]}".len());
            serde_json::from_str::<PublishRequest>(&json).unwrap_err()
        };
        assert!(read(RECEIPTS_MAX).is_eof());
        assert!(read(RECEIPTS_MAX + 1).is_data());
        let most = vec![String::new(); RECEIPTS_MAX];
        let request = PublishRequest { manifest: Blob(vec![7]), terms: "t".into(), receipts: most };
        let json = serde_json::to_vec(&request).unwrap();
        assert_eq!(serde_json::from_slice::<PublishRequest>(&json).unwrap(), request);
    }

    proptest! {
        #[test]
        fn known_chunks_round_trip(members in proptest::collection::btree_set(0u32..50, 0..30)) {
            let geometry = ShareSize { total_bytes: 50 << 16, chunk_bytes: 1 << 16 }.geometry().unwrap();
            let chunks: Vec<_> = members.iter()
                .map(|&i| (geometry.index(i).unwrap(), ChunkId::of(&i.to_be_bytes()))).collect();
            let runs = KnownChunks::runs(chunks.iter().copied());
            let back: Vec<_> = runs.iter().flat_map(|run| run.chunks(&geometry).unwrap()).collect();
            prop_assert_eq!(back, chunks);
        }

        #[test]
        fn any_json_is_read_or_refused(json in "[\\[\\]{}\":,a-z0-9.]{0,120}") {
            let _ = serde_json::from_str::<RegisterRequest>(&json);
            let _ = serde_json::from_str::<OfferRequest>(&json);
            let _ = serde_json::from_str::<CommitRequest>(&json);
            let _ = serde_json::from_str::<PublishRequest>(&json);
            let _ = serde_json::from_str::<HeartbeatRequest>(&json);
            let _ = serde_json::from_str::<ComplaintRequest>(&json);
            let _ = serde_json::from_str::<InventoryRequest>(&json);
            let _ = serde_json::from_str::<AnnounceRequest>(&json);
        }
    }
}
