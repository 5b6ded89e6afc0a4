//! A whole swarm in virtual time: one tracker, peers, senders and receivers, and the faults that a seed brings.
//!
//! What runs is the real code, called directly in place of over HTTP: the tracker's rules, repair and database, the
//! peers' disks, the sender's and the receiver's state machines, the gateway's sets of replicas, sealing, manifests,
//! terms, grants. Requests and answers pass through their JSON forms. Time, randomness, the network and power are the
//! simulation's.
//!
//! # Faults
//! Messages and answers are lost; peers are slow, cut off, crash and lose or tear what they had not synced, fill up,
//! rot, or lose their disk for good; syncs fail, and what they were for is on no disk; bits flip in records of
//! shares; the tracker crashes, loses its database, or is restored from an old copy of it; doors of peers are closed
//! to who comes, and the tracker's way out, while heartbeats go on; peers get other addresses; second machines start
//! with a peer's key and what it held; clocks are wrong by minutes or days, in both directions; senders die; the
//! operator takes shares down. Some peers hold nothing, and sign, tell and serve whatever makes others rely on them.
//! Rot, flipped bits and lost disks spare one good copy of each chunk and record: whatever follows must not destroy
//! it.
//!
//! # What is checked
//! When a peer confirms a share, its chunks are right and synced; when a share is acknowledged, as many peers as were
//! asked for have confirmed each chunk. No peer exceeds its capacity. None of them is one that lies. No receiver ever
//! takes a wrong byte. No good copy of an acknowledged chunk is the last one destroyed by the swarm itself. No share
//! is ended before its time but by two clocks that are both ahead. When the faults stop, every acknowledged share
//! comes back to as many replicas as were asked for, the tracker's view is what the disks hold, every such share can
//! be had, those that are over are on no disk, and what was taken down is kept and served by nobody, as long as the
//! tracker knows of it.
//!
//! `PARCELRY_SIM_SEEDS=1000 cargo test --release --lib simulation` runs that many seeds; `PARCELRY_SIM_SEED=7` one.

mod dice;
mod faults;
mod foreign;
mod jobs;
mod liars;
mod nodes;
mod people;
mod relay;
mod world;

use std::sync::atomic::{AtomicU64, Ordering};

use world::World;

/// Seeds that an ordinary run of the tests tries.
const SEEDS: u64 = 60;

fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|text| text.parse().ok())
}

/// Says which seed failed.
struct Seed(u64);

impl Drop for Seed {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("again: PARCELRY_SIM_SEED={} cargo test --lib simulation", self.0);
        }
    }
}

fn run(seed: u64) -> world::Tally {
    let named = Seed(seed);
    let mut world = World::new(seed);
    world.live();
    world.heal();
    world.account();
    drop(named);
    world.tally
}

#[test]
fn whatever_a_seed_brings_no_acknowledged_share_is_lost() {
    if let Some(seed) = setting("PARCELRY_SIM_SEED") {
        run(seed);
        return;
    }
    let seeds = setting("PARCELRY_SIM_SEEDS").unwrap_or(SEEDS);
    let next = AtomicU64::new(0);
    let total = parking_lot::Mutex::new(world::Tally::default());
    let work = || {
        loop {
            // One at a time: no thread is idle while another one has seeds left.
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds {
                return;
            }
            let tally = run(seed);
            total.lock().add(&tally);
        }
    };
    std::thread::scope(|scope| {
        // Each seed waits for the threads of its database for some of the time.
        for _ in 0..2 * std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(work);
        }
    });
    let total = total.into_inner();
    tell(&format!("{seeds} seeds: {total:?}"));
    assert!(total.acknowledged > seeds && total.delivered > seeds, "too little happened: {total:?}");
}

#[test]
fn a_seed_replays_exactly() {
    for seed in [3, 4] {
        let (first, second) = (run(seed), run(seed));
        assert_eq!(format!("{first:?}"), format!("{second:?}"));
    }
}

fn tell(text: &str) {
    println!("{text}");
}
