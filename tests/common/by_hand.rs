//! Shares that are published by hand, whatever their metadata says.

use std::sync::Arc;

use parcelry::client::{Authority, Http, PeerClient, TrackerClient};
use parcelry_core::api::{KnownChunks, OfferRequest, OpenRequest, ShareSize};
use parcelry_core::chunk_set::ChunkSet;
use parcelry_core::geometry::Geometry;
use parcelry_core::id::{ChunkId, Secret};
use parcelry_core::link::{Invite, ShareLink};
use parcelry_core::manifest::{Draft, ShareKey};
use parcelry_core::owner::{self, Act};
use parcelry_core::seal::{Header, ShareKeys, access_hash, access_token};
use parcelry_core::terms::{SignedTerms, Terms};

use super::swarm::Swarm;

/// Publishes a share of this metadata in which one sealed chunk stands again and again, as `seal` makes it of the share's
/// keys; its link.
pub fn publish(
    swarm: &Swarm,
    geometry: Geometry,
    metadata: &str,
    seal: impl FnOnce(&ShareKeys) -> Vec<u8>,
) -> String {
    publish_from(swarm, geometry, metadata, seal, false)
}

/// Publishes such a share of which each spare has all, too, without being named in what is published.
pub fn publish_beside_spares(
    swarm: &Swarm,
    geometry: Geometry,
    metadata: &str,
    seal: impl FnOnce(&ShareKeys) -> Vec<u8>,
) -> String {
    publish_from(swarm, geometry, metadata, seal, true)
}

fn publish_from(
    swarm: &Swarm,
    geometry: Geometry,
    metadata: &str,
    seal: impl FnOnce(&ShareKeys) -> Vec<u8>,
    also_at_spares: bool,
) -> String {
    let (secret, salt) = (Secret::from_bytes([7; 32]), [8; 32]);
    let chunks = geometry.chunk_count();
    let key = ShareKey::from_seed(&Secret::from_bytes(*blake3::hash(metadata.as_bytes()).as_bytes()));
    let keys = ShareKeys::derive(&secret, &salt, Header { chunk_size: geometry.chunk_size() });
    let sealed = seal(&keys);
    let id = ChunkId::of(&sealed);
    let ids = vec![id; chunks as usize];
    let manifest = Draft::new(&key, &keys, &salt, geometry, &ids).finish(&key, &keys, metadata.as_bytes());
    let share = key.share_id();
    let terms = Terms {
        share,
        issued_ms: 1,
        expires_ms: parcelry::clock::now_ms() + 3_600_000,
        replicas: 1,
        access_sha256: access_hash(&access_token(&secret)),
        deleted: false,
    };
    let terms = SignedTerms::sign(&key, terms).token;
    let invite: Invite = swarm.invite().parse().unwrap();
    let (size, all) = (ShareSize::from(&geometry), ChunkSet::full(chunks));
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        let http = Http::new(None).unwrap();
        let tracker = TrackerClient::of_invite(http.clone(), &invite);
        let word = owner::sign(&key, Act::Open, invite.tracker_id, &invite.token.expose_text());
        let request = OpenRequest { share, size, replicas: 1, preferred: Vec::new() };
        let open = tracker.open(&request, &word).await.unwrap();
        let grant = &open.grant;
        let manifest = Arc::new(manifest);
        let mut receipts = Vec::new();
        let spares = open.spares.iter().filter(|_| also_at_spares);
        for peer in open.sets[0].peers.iter().take(1).chain(spares) {
            let peer = PeerClient::new(http.clone(), peer.clone());
            let word = owner::sign(&key, Act::Offer, peer.id(), grant);
            let shown = Authority { grant, owner: &word };
            let known = KnownChunks::runs(geometry.indices().map(|index| (index, id)));
            let first = OfferRequest { size, chunks: ChunkSet::range(chunks, 0..1), known: Vec::new() };
            peer.offer(share, shown, &first).await.unwrap();
            peer.put_chunk(grant, id, sealed.clone().into()).await.unwrap();
            if chunks > 1 {
                peer.offer(share, shown, &OfferRequest { size, chunks: all.clone(), known }).await.unwrap();
            }
            let word = owner::sign(&key, Act::Commit, peer.id(), grant);
            let shown = Authority { grant, owner: &word };
            let committed = peer.commit(shown, &manifest, &terms, &all).await.unwrap();
            receipts.push(committed.receipt.unwrap());
        }
        receipts.truncate(1);
        let word = owner::sign(&key, Act::Publish, invite.tracker_id, grant);
        let shown = Authority { grant, owner: &word };
        tracker.publish(shown, &manifest, terms, receipts).await.unwrap();
    });
    ShareLink { tracker: invite.tracker, share, secret, tracker_id: Some(invite.tracker_id) }.expose_text()
}
