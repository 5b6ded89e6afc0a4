//! Senders and receivers of the simulation: the real state machines, sealing and opening.

use std::collections::BTreeMap;

use parcelry_core::api::{KnownChunks, LookUpResponse, OpenResponse, ShareSize};
use parcelry_core::chunk_set::ChunkSet;
use parcelry_core::fetch::{self, Bounds, Fetch};
use parcelry_core::geometry::{ChunkIndex, ChunkSize, Geometry};
use parcelry_core::grant::GrantToken;
use parcelry_core::id::{ChunkId, PeerId, Secret, ServerId, ShareId};
use parcelry_core::manifest::{ChunkList, Draft, Manifest, Opened, ShareKey};
use parcelry_core::metadata::Metadata;
use parcelry_core::owner::{self, Act};
use parcelry_core::placement::Placement;
use parcelry_core::push::Push;
use parcelry_core::seal::{Header, ShareKeys, access_hash, access_token};
use parcelry_core::terms::{SignedTerms, Terms};

use super::dice::Dice;
use super::relay::{Pusher, Relay};

/// What a sender has shared, or is about to.
pub(super) struct Shared {
    pub(super) key: ShareKey,
    pub(super) secret: Secret,
    pub(super) plain: Vec<u8>,
    pub(super) sealed: Vec<Vec<u8>>,
    pub(super) manifest: Manifest,
    pub(super) terms: SignedTerms,
    /// Whether its sender was told that it is safe.
    pub(super) acknowledged: bool,
    /// Whether the operator took it down. A tracker that lost its database does not know of it any more.
    pub(super) taken_down: bool,
    /// Whether the tracker's database was lost between the deletion and the last peer's hearing of it.
    pub(super) deletion_forgotten: bool,
}

impl Shared {
    /// A new share of random bytes.
    pub(super) fn new(dice: &mut Dice, now_ms: u64) -> Self {
        let chunk_size = ChunkSize::from_log2(16).unwrap();
        // Less than a chunk or nothing, around the end of one, and several.
        let bytes = match dice.below(4) {
            0 => dice.below(300),
            1 => dice.between(65_535, 65_537),
            _ => dice.below(5 * 65_536),
        };
        let geometry = Geometry::new(bytes, chunk_size).unwrap();
        let plain: Vec<u8> = {
            let mut output = vec![0; usize::try_from(bytes).unwrap()];
            let mut reader = blake3::Hasher::new().update(&dice.bytes::<8>()).finalize_xof();
            reader.fill(&mut output);
            output
        };
        let (key, secret, salt) = (
            ShareKey::from_seed(&Secret::from_bytes(dice.bytes())),
            Secret::from_bytes(dice.bytes()),
            dice.bytes(),
        );
        let keys = ShareKeys::derive(&secret, &salt, Header { chunk_size });
        let mut sealed: Vec<Vec<u8>> = plain.chunks(65_536).map(<[u8]>::to_vec).collect();
        for (index, chunk) in geometry.indices().zip(&mut sealed) {
            keys.seal_chunk(&geometry, index, chunk);
        }
        let ids: Vec<ChunkId> = sealed.iter().map(|chunk| ChunkId::of(chunk)).collect();
        let when = "2026-01-01T00:00:00Z";
        let files = serde_json::json!([{ "path": "file", "offset": 0, "size": bytes, "executable": false, "modified": when }]);
        let metadata = serde_json::json!({ "original_filename": "file", "extension": "", "size": bytes,
            "chunk_count": geometry.chunk_count(), "created": when, "files": files, "dirs": [] });
        let metadata: Metadata = serde_json::from_value(metadata).unwrap();
        let manifest =
            Draft::new(&key, &keys, &salt, geometry, &ids).finish(&key, &keys, &metadata.encode().unwrap());
        // Some shares end while the faults go on or the swarm recovers.
        let life_ms = if dice.one_in(3) { dice.between(10, 60) * 60_000 } else { 7 * 24 * 3_600_000 };
        let terms = Terms {
            share: key.share_id(),
            issued_ms: now_ms,
            expires_ms: now_ms + life_ms,
            replicas: [2, 2, 2, 3, 1][dice.index(5)],
            access_sha256: access_hash(&access_token(&secret)),
            deleted: false,
        };
        let terms = SignedTerms::sign(&key, terms);
        Self::unsent(key, secret, plain, sealed, manifest, terms)
    }

    /// A share of somebody else who can read this one: it lists the same chunks under a key of his own.
    pub(super) fn copied_by_another(&self, dice: &mut Dice, now_ms: u64) -> Self {
        let (key, salt) = (ShareKey::from_seed(&Secret::from_bytes(dice.bytes())), dice.bytes());
        let geometry = *self.manifest.geometry();
        let keys = ShareKeys::derive(&self.secret, &salt, Header { chunk_size: geometry.chunk_size() });
        let ids: Vec<ChunkId> = self.manifest.chunks().map(|(_, id)| id).collect();
        let manifest = Draft::new(&key, &keys, &salt, geometry, &ids).finish(&key, &keys, b"{}");
        let terms = Terms { share: key.share_id(), issued_ms: now_ms, ..*self.terms };
        let terms = SignedTerms::sign(&key, terms);
        let (secret, plain, sealed) = (self.secret.clone(), self.plain.clone(), self.sealed.clone());
        Self::unsent(key, secret, plain, sealed, manifest, terms)
    }

    fn unsent(
        key: ShareKey,
        secret: Secret,
        plain: Vec<u8>,
        sealed: Vec<Vec<u8>>,
        manifest: Manifest,
        terms: SignedTerms,
    ) -> Self {
        let (acknowledged, taken_down, deletion_forgotten) = (false, false, false);
        Self { key, secret, plain, sealed, manifest, terms, acknowledged, taken_down, deletion_forgotten }
    }

    pub(super) fn id(&self) -> ShareId {
        self.manifest.share()
    }

    /// Its owner's word for an act, to go with this credential.
    pub(super) fn word(&self, act: Act, at: impl Into<ServerId>, credential: &str) -> String {
        owner::sign(&self.key, act, at, credential)
    }

    pub(super) fn size(&self) -> ShareSize {
        ShareSize::from(self.manifest.geometry())
    }

    pub(super) fn chunk_count(&self) -> u32 {
        self.manifest.geometry().chunk_count()
    }

    pub(super) fn known(&self, sent: &ChunkSet) -> Vec<KnownChunks> {
        KnownChunks::runs(sent.iter().map(|index| (index, self.manifest.chunk(index))))
    }
}

/// Work that a sender has under way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Sending {
    Offer(PeerId),
    Put(PeerId, ChunkIndex),
    /// From the second peer.
    Copy(PeerId, ChunkIndex, PeerId),
    Commit(PeerId, ChunkSet),
    Audit(PeerId, ChunkSet),
    /// With these receipts.
    Publish(Vec<String>),
}

/// An upload.
pub(super) struct SimUpload {
    /// Which of the world's shares.
    pub(super) share: usize,
    pub(super) grant: GrantToken,
    pub(super) machine: Pusher,
    pub(super) work: Vec<Sending>,
    pub(super) sent: ChunkSet,
    pub(super) confirmed: BTreeMap<PeerId, (ChunkSet, String)>,
}

impl SimUpload {
    /// What the peers in use have signed for.
    pub(super) fn receipts(&self) -> Vec<String> {
        let holders = self.machine.holders().into_iter();
        holders.filter_map(|(peer, _)| Some(self.confirmed.get(&peer)?.1.clone())).collect()
    }

    pub(super) fn new(share: usize, shared: &Shared, response: OpenResponse, by_gateway: bool) -> Self {
        let placement = Placement::from(&response);
        let replicas = usize::from(shared.terms.replicas);
        assert!(placement.covers(shared.chunk_count(), replicas), "a placement with gaps");
        let geometry = shared.manifest.geometry();
        let machine = if by_gateway {
            Pusher::Gateway(Relay::new(geometry, &placement))
        } else {
            Pusher::Sender(Push::new(geometry, &placement, 4))
        };
        let sent = ChunkSet::empty(shared.chunk_count());
        let confirmed = BTreeMap::new();
        Self { share, grant: response.grant, machine, work: Vec::new(), sent, confirmed }
    }
}

/// Work that a receiver has under way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Getting {
    Ask(PeerId),
    Get(PeerId, ChunkIndex),
}

/// A download.
pub(super) struct SimDownload {
    pub(super) share: usize,
    pub(super) machine: Fetch,
    pub(super) work: Vec<Getting>,
    pub(super) manifest: ChunkList,
    keys: ShareKeys,
    plain: BTreeMap<u32, Vec<u8>>,
}

impl SimDownload {
    /// Begins with what the tracker answered, which is believed as little as a receiver believes it.
    pub(super) fn new(share: usize, shared: &Shared, response: LookUpResponse) -> Self {
        let manifest = Manifest::decode(response.manifest.0, shared.id()).unwrap();
        let Opened { keys, metadata, manifest } = manifest.open(&shared.secret).unwrap();
        assert_eq!(metadata.size, shared.plain.len() as u64);
        let bounds = Bounds { in_flight: 6, per_source: 3, ahead: None };
        let mut machine = Fetch::new(ChunkSet::empty(manifest.geometry().chunk_count()), bounds);
        for source in response.sources {
            machine.add_source(source.peer.id, Some(source.chunks).filter(ChunkSet::is_full));
        }
        Self { share, machine, work: Vec::new(), manifest, keys, plain: BTreeMap::new() }
    }

    /// Takes what a peer served for a chunk.
    pub(super) fn take(&mut self, peer: PeerId, index: ChunkIndex, served: Option<Vec<u8>>) -> fetch::Event {
        let Some(mut sealed) = served else { return fetch::Event::Missing(peer, index) };
        let geometry = *self.manifest.geometry();
        let is_right = sealed.len() == geometry.sealed_len(index)
            && ChunkId::of(&sealed) == self.manifest.chunk(index)
            && self.keys.open_chunk(&geometry, index, &mut sealed).is_ok();
        if !is_right {
            return fetch::Event::Wrong(peer, index);
        }
        self.plain.insert(index.get(), sealed);
        fetch::Event::Got(peer, index)
    }

    /// What the receiver saves.
    pub(super) fn result(&self) -> Vec<u8> {
        self.plain.values().flatten().copied().collect()
    }
}
