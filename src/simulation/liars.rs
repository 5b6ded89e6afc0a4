//! Peers that hold nothing and say that they hold everything.

use std::net::SocketAddr;

use parcelry_core::api::{
    AuditRequest, AuditResponse, Blob, HeartbeatRequest, InventoryRequest, Proof, ShareChunks, WrongChunks,
};
use parcelry_core::chunk_set::ChunkSet;
use parcelry_core::id::{PeerId, RunId, Secret};
use parcelry_core::push;
use parcelry_core::receipt::PeerKey;
use parcelry_core::registry::{Registration, Usage};

use super::people::{Sending, Shared, SimUpload};
use super::world::{BEAT, Event, MINUTE, World};

const RUN: RunId = RunId::from_bytes([7; 16]);
/// So much room has nobody.
const USAGE: Usage = Usage { used_bytes: 0, free_bytes: 1 << 50 };

impl World {
    pub(super) fn add_liar(&mut self) {
        let seed = Secret::from_bytes(self.dice.bytes());
        let number = self.add_node(seed);
        let node = &mut self.peers[number];
        (node.lies, node.disk_lost) = (true, true);
        self.after(BEAT, Event::Lie(number));
    }

    /// What somebody who has nothing answers: that he has not, something else, or nothing at all.
    pub(super) fn lie(&mut self, request: &AuditRequest) -> Option<AuditResponse> {
        let slice = match self.dice.below(4) {
            0 => return None,
            1 => None,
            _ => Some(Blob(self.dice.bytes::<64>().to_vec())),
        };
        Some(AuditResponse { proofs: vec![Proof { slice }; request.samples.len()] })
    }

    /// What a sender is told by a liar: everything is taken and signed for.
    pub(super) fn lie_to_sender(&mut self, upload: &mut SimUpload, work: &Sending) -> push::Event {
        let shared = &self.shares[upload.share];
        match work.clone() {
            Sending::Offer(id) if self.dice.one_in(2) => {
                push::Event::Ready(id, ChunkSet::full(shared.chunk_count()))
            }
            Sending::Offer(id) => push::Event::Ready(id, ChunkSet::empty(shared.chunk_count())),
            Sending::Put(id, chunk) | Sending::Copy(id, chunk, _) => push::Event::Stored(id, chunk),
            Sending::Commit(id, chunks) => {
                let key = PeerKey::from_seed(&self.peers[self.index_of(id)].seed);
                let receipt = key.receipt(shared.id(), shared.manifest.digest(), &chunks, self.wall_ms());
                upload.confirmed.insert(id, (chunks, receipt.unwrap()));
                self.tally.lies_signed += 1;
                push::Event::Committed(id)
            }
            Sending::Audit(id, _) if self.dice.one_in(4) => push::Event::Lost(id),
            Sending::Audit(id, _) => push::Event::Refuted(id),
            Sending::Publish(_) => unreachable!("a publish is no message to a peer"),
        }
    }

    /// A liar comes again and again, with all that a peer can say: it has all shares, has copied them, has room without
    /// end in a zone of its own, and others serve wrong bytes.
    pub(super) fn keep_lying(&mut self, index: usize) {
        self.after(2 * BEAT, Event::Lie(index));
        let whole = |shared: &Shared| ShareChunks {
            share: shared.id(),
            chunks: ChunkSet::full(shared.chunk_count()),
        };
        let mut everything: Vec<ShareChunks> = self.shares.iter().map(whole).collect();
        // A tracker takes an inventory in the order of ids only.
        everything.sort_by_key(|all| all.share);
        let peer = self.peers[self.dice.index(self.peers.len())].id;
        let ill = everything.get(self.dice.index(everything.len())).cloned();
        let slander = |ShareChunks { share, chunks }| WrongChunks { peer, share, chunks };
        let beat = HeartbeatRequest {
            copied: everything.clone(),
            wrong: ill.map(slander).into_iter().collect(),
            ..HeartbeatRequest::new(RUN, USAGE)
        };
        self.tell_clock(self.tracker_skew_ms);
        let (id, address) = (self.peers[index].id, self.address(index));
        let Some(tracker) = &self.tracker else { return };
        // A tracker that is new, or lost its database, does not know it.
        if self.runtime.block_on(tracker.heartbeat(id, beat, address.ip())).is_err() {
            let registration = liars_registration(id, address);
            self.runtime.block_on(tracker.register(registration, USAGE)).unwrap();
        }
        let inventory = InventoryRequest { shares: everything, after: None, last: true, gone: Vec::new() };
        self.runtime.block_on(tracker.inventory(id, inventory)).unwrap();
    }

    /// A swarm of two peers without faults, which hold a share.
    fn with_two_peers(seed: u64) -> (Self, usize) {
        let mut world = Self::new(seed);
        world.trouble = false;
        world.peers.truncate(2);
        world.due.clear();
        (0..2).for_each(|peer| world.after(1, Event::Beat(peer)));
        world.after(1, Event::Round);
        world.run_until(world.now_ms + MINUTE);
        loop {
            world.begin_upload();
            world.run_until(world.now_ms + MINUTE);
            let share = world.shares.len().checked_sub(1);
            if let Some(share) = share.filter(|&share| {
                let shared = &world.shares[share];
                let lasts = shared.terms.expires_ms - shared.terms.issued_ms > 3_600_000 * 24;
                shared.acknowledged && shared.terms.replicas == 2 && shared.chunk_count() > 0 && lasts
            }) {
                return (world, share);
            }
        }
    }

    fn holds_all(&self, peer: usize, share: usize) -> bool {
        let held = self.peers[peer].running.as_ref().and_then(|peer| peer.holding(self.shares[share].id()));
        held.is_some_and(|held| held.is_full())
    }
}

fn liars_registration(id: PeerId, address: SocketAddr) -> Registration {
    Registration {
        id,
        run: RUN,
        port: None,
        token: None,
        name: "liar".into(),
        addresses: vec![address],
        capacity_bytes: USAGE.free_bytes,
        zone: Some(format!("zone of {id}")),
        zone_is_given: false,
        version: "1".into(),
    }
}

#[test]
fn s3_two_of_four_peers_that_invent_everything_have_no_honest_replica_dropped_and_hinder_no_repair() {
    for seed in 0..4 {
        let (mut world, share) = World::with_two_peers(seed);
        (0..2).for_each(|_| world.add_liar());
        // More than twelve dead times.
        world.run_until(world.now_ms + 30 * MINUTE);
        assert!((0..2).all(|peer| world.holds_all(peer, share)), "an honest replica was dropped");
        let tracker = world.tracker.as_ref().unwrap();
        let health = world.runtime.block_on(tracker.health());
        assert_eq!(
            (health.unproven, health.weakened + health.endangered + health.lost),
            (0, 0),
            "{health:?}"
        );
        for node in &world.peers {
            let refuted = world.runtime.block_on(tracker.refuted_chunks(node.id));
            assert_eq!(refuted > 0, node.lies, "the liars are named, and nobody else");
        }
        // One dies for good, another one comes: the copy is made there, whatever the liars say.
        world.peers[0].running = None;
        world.peers[0].disk_lost = true;
        world.add_peer();
        world.run_until(world.now_ms + 30 * MINUTE);
        let new = world.peers.len() - 1;
        assert!(world.holds_all(1, share) && world.holds_all(new, share), "repair came to nothing");
        let health = world.runtime.block_on(world.tracker.as_ref().unwrap().health());
        assert_eq!(
            (health.unproven, health.weakened + health.endangered + health.lost),
            (0, 0),
            "{health:?}"
        );
    }
}

#[test]
fn s3_silence_refutes_nothing_and_what_is_proven_is_kept() {
    let (mut world, share) = World::with_two_peers(9);
    world.mute = true;
    world.run_until(world.now_ms + 60 * MINUTE);
    world.tell_clock(0);
    let tracker = world.tracker.as_ref().unwrap();
    let health = world.runtime.block_on(tracker.health());
    assert_eq!((health.unproven, health.weakened + health.endangered + health.lost), (0, 0), "{health:?}");
    for peer in &world.peers {
        assert_eq!(world.runtime.block_on(tracker.refuted_chunks(peer.id)), 0);
    }
    let holders = world.runtime.block_on(tracker.holders(world.shares[share].id()));
    assert!(holders.len() == 2 && holders.iter().all(|(_, chunks)| chunks.is_full()));
}
