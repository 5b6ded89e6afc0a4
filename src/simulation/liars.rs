//! Peers that hold nothing and say that they hold everything.

use std::net::IpAddr;

use swarmdrop_core::api::{
    AuditRequest, AuditResponse, Blob, HeartbeatRequest, InventoryRequest, Proof, ShareChunks,
};
use swarmdrop_core::chunk_set::ChunkSet;
use swarmdrop_core::id::{PeerId, RunId};
use swarmdrop_core::registry::{Registration, Usage};

use super::world::{BEAT, Event, MINUTE, World};

const RUN: RunId = RunId::from_bytes([7; 16]);
const LIARS: [PeerId; 2] = [PeerId::from_bytes([254; 32]), PeerId::from_bytes([255; 32])];

impl World {
    /// What somebody who has nothing answers: that he has not, something else, or nothing at all.
    pub(super) fn lie(&mut self, request: &AuditRequest) -> Option<AuditResponse> {
        let slice = match self.dice.below(4) {
            0 => return None,
            1 => None,
            _ => Some(Blob(self.dice.bytes::<64>().to_vec())),
        };
        Some(AuditResponse { proofs: vec![Proof { slice }; request.samples.len()] })
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
                let lasts = shared.terms.terms.expires_ms - shared.terms.terms.issued_ms > 3_600_000 * 24;
                shared.acknowledged && shared.terms.terms.replicas == 2 && shared.chunk_count() > 0 && lasts
            }) {
                return (world, share);
            }
        }
    }

    /// They come again and again, with all that a peer can say.
    fn let_them_lie(&mut self, share: usize, beats: u64) {
        let shared = &self.shares[share];
        let all = ShareChunks { share: shared.id(), chunks: ChunkSet::full(shared.chunk_count()) };
        let usage = Usage { used_bytes: 0, free_bytes: 1 << 50 };
        for _ in 0..beats {
            self.run_until(self.now_ms + BEAT);
            self.tell_clock(0);
            let tracker = self.tracker.as_ref().unwrap();
            for liar in LIARS {
                let beat =
                    HeartbeatRequest { copied: vec![all.clone()], ..HeartbeatRequest::new(RUN, usage) };
                let from = IpAddr::from([10, 0, 1, liar.as_bytes()[0]]);
                if self.runtime.block_on(tracker.heartbeat(liar, beat, from)).is_err() {
                    let registration = liars_registration(liar);
                    self.runtime.block_on(tracker.register(registration, usage)).unwrap();
                }
                let shares = vec![all.clone()];
                let inventory = InventoryRequest { shares, after: None, last: true, gone: Vec::new() };
                self.runtime.block_on(tracker.inventory(liar, inventory)).unwrap();
            }
        }
    }

    fn holds_all(&self, peer: usize, share: usize) -> bool {
        let held = self.peers[peer].running.as_ref().and_then(|peer| peer.holding(self.shares[share].id()));
        held.is_some_and(|held| held.is_full())
    }
}

fn liars_registration(id: PeerId) -> Registration {
    Registration {
        id,
        run: RUN,
        port: None,
        token: None,
        name: "liar".into(),
        addresses: vec![format!("10.0.1.{}:7000", id.as_bytes()[0])],
        capacity_bytes: 1 << 50,
        zone: Some(format!("zone {}", id.as_bytes()[0])),
        version: "1".into(),
    }
}

#[test]
fn s3_two_of_four_peers_that_invent_everything_have_no_honest_replica_dropped_and_hinder_no_repair() {
    for seed in 0..4 {
        let (mut world, share) = World::with_two_peers(seed);
        // More than twelve dead times.
        world.let_them_lie(share, 6 * 30);
        assert!((0..2).all(|peer| world.holds_all(peer, share)), "an honest replica was dropped");
        let tracker = world.tracker.as_ref().unwrap();
        let health = world.runtime.block_on(tracker.health());
        assert_eq!(
            (health.unproven, health.weakened + health.endangered + health.lost),
            (0, 0),
            "{health:?}"
        );
        for liar in LIARS {
            assert!(world.runtime.block_on(tracker.refuted_chunks(liar)) > 0, "nobody names the liar");
        }
        for honest in 0..2 {
            assert_eq!(world.runtime.block_on(tracker.refuted_chunks(world.peers[honest].id)), 0);
        }
        // One dies for good, another one comes: the copy is made there, whatever the liars say.
        world.peers[0].running = None;
        world.peers[0].disk_lost = true;
        world.add_peer();
        world.let_them_lie(share, 6 * 30);
        assert!(world.holds_all(1, share) && world.holds_all(2, share), "repair came to nothing");
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
