//! The planners against a model swarm in virtual time: a sender pushes, a receiver fetches, and
//! peers crash, fill up, stall, lose or spoil chunks, as a seed decides.
//!
//! # Fault model
//! At each step one outstanding piece of work completes, in any order. A peer may be dead from some
//! step on (everything fails), full (offers are refused), forgetful (a commit finds chunks missing)
//! or spoiled (it serves wrong bytes). An answer may be lost although the peer did the work.
//!
//! # What is checked after each step
//! No chunk leaves before every peer has answered its offer; the window holds; a source that
//! served a wrong chunk is used only for what no good one has, and once for each chunk; nothing is asked of one
//! source twice at once, nor of three; a publish happens only when every
//! chunk is on as many peers as were asked for; a fetch finishes exactly if every chunk has a good,
//! living source.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use parcelry_core::chunk_set::ChunkSet;
use parcelry_core::fetch::{self, Bounds, Fetch};
use parcelry_core::geometry::{ChunkIndex, ChunkSize, Geometry};
use parcelry_core::id::PeerId;
use parcelry_core::placement::{PlacedSet, Placement};
use parcelry_core::push::{self, Push};
use proptest::prelude::*;

const WINDOW: usize = 4;

/// Choices that a seed makes: reproducible, and unlike a library's generator never another after an update.
struct Dice {
    state: u64,
    /// Whether things go wrong at all.
    faults: bool,
}

impl Dice {
    fn below(&mut self, bound: usize) -> usize {
        self.state =
            self.state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.state >> 33).unwrap() % bound.max(1)
    }

    fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    fn fault_one_in(&mut self, n: usize) -> bool {
        self.one_in(n) && self.faults
    }
}

#[derive(Default, Clone)]
struct ModelPeer {
    held: BTreeSet<u32>,
    committed: bool,
    dead: bool,
    full: bool,
    spoiled: bool,
}

fn id(number: usize) -> PeerId {
    PeerId::from_bytes([u8::try_from(number).unwrap(); 32])
}

fn geometry(chunk_count: u64) -> Geometry {
    Geometry::new(chunk_count << 16, ChunkSize::from_log2(16).unwrap()).unwrap()
}

fn set(geometry: &Geometry, members: &BTreeSet<u32>) -> ChunkSet {
    ChunkSet::of(geometry.chunk_count(), members.iter().filter_map(|&i| geometry.index(i)))
}

/// Work that the shell would have under way.
#[derive(Clone)]
enum Work {
    Offer(PeerId),
    Put(PeerId, ChunkIndex),
    Commit(PeerId, ChunkSet),
    Audit(PeerId, ChunkSet),
    Publish,
    Ask(PeerId),
    Get(PeerId, ChunkIndex),
}

/// Runs a push to its end. Returns whether it was published.
fn simulate_push(seed: u64, faults: bool) -> bool {
    let mut dice = Dice { state: seed, faults };
    let geometry = geometry(dice.below(30) as u64);
    let replicas = 1 + dice.below(3);
    let spare_count = dice.below(4);
    let mut peers: BTreeMap<PeerId, ModelPeer> = (0..replicas + spare_count)
        .map(|n| {
            let held = (0..geometry.chunk_count()).filter(|_| dice.one_in(6)).collect();
            (id(n), ModelPeer { held, full: dice.fault_one_in(8), ..ModelPeer::default() })
        })
        .collect();
    let sets = vec![PlacedSet {
        first_chunk: 0,
        chunk_count: geometry.chunk_count(),
        peers: (0..replicas).map(id).collect(),
    }];
    let spares = (replicas..replicas + spare_count).map(id).collect();
    let mut machine = Push::new(&geometry, &Placement { sets, spares }, WINDOW);
    let (mut work, mut answered) = (Vec::new(), BTreeSet::new());
    for _ in 0..20_000 {
        while let Some(action) = machine.next() {
            match action {
                push::Action::Offer(peer) => work.push(Work::Offer(peer)),
                push::Action::Send(index, to) => {
                    assert!(
                        to.iter().all(|peer| answered.contains(peer)),
                        "seed {seed}: sent before the offer"
                    );
                    work.extend(to.into_iter().map(|peer| Work::Put(peer, index)));
                }
                push::Action::Commit(peer, chunks) => work.push(Work::Commit(peer, chunks)),
                push::Action::Audit(peer, chunks) => work.push(Work::Audit(peer, chunks)),
                push::Action::GiveUp => return false,
                push::Action::Publish => {
                    check_published(seed, &machine, &peers, replicas);
                    work.push(Work::Publish);
                }
                push::Action::Finish => {
                    check_published(seed, &machine, &peers, replicas);
                    check_proven(seed, &geometry, &machine, &peers);
                    return true;
                }
            }
            let in_memory: BTreeSet<u32> = work
                .iter()
                .filter_map(|w| if let Work::Put(_, i) = w { Some(i.get()) } else { None })
                .collect();
            assert!(in_memory.len() <= WINDOW, "seed {seed}: {} chunks in memory", in_memory.len());
        }
        assert!(!work.is_empty(), "seed {seed}: nothing to do and nothing done");
        let piece = work.swap_remove(dice.below(work.len()));
        machine.handle(complete_push(piece, &geometry, &mut peers, &mut answered, &mut dice));
    }
    panic!("seed {seed}: the push does not end");
}

fn complete_push(
    piece: Work,
    geometry: &Geometry,
    peers: &mut BTreeMap<PeerId, ModelPeer>,
    answered: &mut BTreeSet<PeerId>,
    dice: &mut Dice,
) -> push::Event {
    let (Work::Offer(id) | Work::Put(id, _) | Work::Commit(id, _) | Work::Audit(id, _)) = piece.clone()
    else {
        return push::Event::Published;
    };
    let peer = peers.get_mut(&id).unwrap();
    peer.dead |= dice.fault_one_in(150);
    match piece {
        Work::Offer(_) if peer.dead || peer.full => push::Event::Lost(id),
        Work::Offer(_) => {
            answered.insert(id);
            push::Event::Ready(id, set(geometry, &peer.held))
        }
        Work::Put(_, index) if peer.dead => push::Event::Failed(id, index),
        Work::Put(_, index) => {
            peer.held.insert(index.get());
            // The answer may be lost although the chunk was stored.
            if dice.fault_one_in(20) {
                push::Event::Failed(id, index)
            } else {
                push::Event::Stored(id, index)
            }
        }
        Work::Commit(..) if peer.dead => push::Event::Lost(id),
        Work::Commit(_, chunks) => {
            if dice.fault_one_in(10)
                && let Some(&lost) = peer.held.first()
            {
                peer.held.remove(&lost);
            }
            let missing = chunks.minus(&set(geometry, &peer.held));
            peer.committed = missing.is_empty();
            // It loses some of what it has confirmed, or never had it.
            if peer.committed && dice.fault_one_in(10) {
                peer.held.pop_last();
            }
            if peer.committed { push::Event::Committed(id) } else { push::Event::Incomplete(id, missing) }
        }
        Work::Audit(..) if peer.dead => push::Event::Lost(id),
        Work::Audit(_, chunks) if set(geometry, &peer.held).contains_all(&chunks) => push::Event::Proven(id),
        Work::Audit(..) => push::Event::Refuted(id),
        Work::Publish | Work::Ask(_) | Work::Get(..) => unreachable!(),
    }
}

/// What every peer of a finished push has, it has proved.
fn check_proven(seed: u64, geometry: &Geometry, machine: &Push, peers: &BTreeMap<PeerId, ModelPeer>) {
    for (peer, chunks) in machine.holders() {
        assert!(set(geometry, &peers[&peer].held).contains_all(&chunks), "seed {seed}: a chunk is missing");
    }
}

fn check_published(seed: u64, machine: &Push, peers: &BTreeMap<PeerId, ModelPeer>, replicas: usize) {
    let holders = machine.holders();
    assert_eq!(holders.len(), replicas, "seed {seed}");
    let distinct: BTreeSet<PeerId> = holders.iter().map(|(peer, _)| *peer).collect();
    assert_eq!(distinct.len(), replicas, "seed {seed}: replicas on one peer");
    for (peer, _) in holders {
        assert!(peers[&peer].committed, "seed {seed}: published before the commit");
    }
}

/// Runs a fetch to its end: it must finish exactly if it can.
fn simulate_fetch(seed: u64) {
    let mut dice = Dice { state: seed, faults: true };
    let geometry = geometry(1 + dice.below(40) as u64);
    let done: BTreeSet<u32> = (0..geometry.chunk_count()).filter(|_| dice.one_in(4)).collect();
    let mut peers: BTreeMap<PeerId, ModelPeer> = (0..1 + dice.below(5))
        .map(|n| {
            let (sparse, dead, spoiled) = (2 + dice.below(8), dice.one_in(5), dice.one_in(5));
            let held = (0..geometry.chunk_count()).filter(|_| !dice.one_in(sparse)).collect();
            (id(n), ModelPeer { held, dead, spoiled, ..ModelPeer::default() })
        })
        .collect();
    let ahead = dice.one_in(2).then_some(6);
    let bounds = Bounds { in_flight: 6, per_source: if ahead.is_some() { 6 } else { 3 }, ahead };
    let mut machine = Fetch::new(set(&geometry, &done), bounds);
    for (&peer, model) in &peers {
        machine.add_source(peer, dice.one_in(2).then(|| set(&geometry, &model.held)));
    }
    let (mut work, mut wrong) = (Vec::new(), BTreeSet::new());
    let mut now = Duration::ZERO;
    for _ in 0..20_000 {
        now += Duration::from_millis(dice.below(300) as u64);
        loop {
            match machine.next(now) {
                None => break,
                Some(fetch::Action::Ask(peer)) => work.push(Work::Ask(peer)),
                Some(fetch::Action::Get(peer, index)) => {
                    assert!(!wrong.contains(&(peer, index)), "seed {seed}: asked again for what it spoiled");
                    if wrong.iter().any(|(other, _)| *other == peer) {
                        let good =
                            machine.sources().filter(|(_, state, _)| *state == fetch::SourceState::Good);
                        let has_it =
                            good.filter(|(other, ..)| peers[other].held.contains(&index.get())).count();
                        assert_eq!(has_it, 0, "seed {seed}: a wrong source is used in place of a good one");
                    }
                    assert!(!machine.done().contains(index), "seed {seed}: fetched again");
                    let asked = work.iter().filter_map(|w| match w {
                        Work::Get(other, i) if *i == index => Some(*other),
                        _ => None,
                    });
                    let asked: Vec<PeerId> = asked.collect();
                    assert!(
                        asked.len() < 2 && !asked.contains(&peer),
                        "seed {seed}: asked too often at once"
                    );
                    work.push(Work::Get(peer, index));
                    assert!(work.len() <= bounds.in_flight + peers.len(), "seed {seed}: too much at once");
                }
                Some(fetch::Action::Finish) => return assert!(machine.done().is_full(), "seed {seed}"),
                Some(fetch::Action::GiveUp) => return check_hopeless(seed, machine.done(), &peers, ahead),
            }
        }
        assert!(!work.is_empty(), "seed {seed}: nothing to do and nothing done");
        let piece = work.swap_remove(dice.below(work.len()));
        let event = complete_fetch(&piece, &geometry, &mut peers, &mut wrong, &mut dice);
        machine.handle(event, now);
    }
    panic!("seed {seed}: the fetch does not end");
}

fn complete_fetch(
    piece: &Work,
    geometry: &Geometry,
    peers: &mut BTreeMap<PeerId, ModelPeer>,
    wrong: &mut BTreeSet<(PeerId, ChunkIndex)>,
    dice: &mut Dice,
) -> fetch::Event {
    let (Work::Ask(id) | Work::Get(id, _)) = *piece else { unreachable!() };
    let peer = peers.get_mut(&id).unwrap();
    peer.dead |= dice.one_in(200);
    match *piece {
        Work::Ask(_) if peer.dead => fetch::Event::Lost(id),
        Work::Ask(_) => fetch::Event::Holds(id, set(geometry, &peer.held)),
        Work::Get(_, index) if peer.dead => fetch::Event::Failed(id, index),
        Work::Get(_, index) if !peer.held.contains(&index.get()) => fetch::Event::Missing(id, index),
        Work::Get(_, index) if peer.spoiled => {
            wrong.insert((id, index));
            fetch::Event::Wrong(id, index)
        }
        Work::Get(_, index) => fetch::Event::Got(id, index),
        _ => unreachable!(),
    }
}

/// Giving up is right only if no good source has a chunk that is missing. In order, the first missing
/// chunk decides: nothing after it could be used.
fn check_hopeless(seed: u64, done: &ChunkSet, peers: &BTreeMap<PeerId, ModelPeer>, ahead: Option<u32>) {
    let missing = ChunkSet::full(done.chunk_count()).minus(done);
    let decisive = missing.iter().take(if ahead.is_some() { 1 } else { usize::MAX });
    for index in decisive {
        for (id, peer) in peers.iter().filter(|(_, peer)| !peer.dead && !peer.spoiled) {
            let has_it = peer.held.contains(&index.get());
            assert!(!has_it, "seed {seed}: gave up although {id:?} has chunk {index}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn a_push_ends_and_publishes_only_what_is_safe(seed: u64) {
        simulate_push(seed, true);
        prop_assert!(simulate_push(seed, false), "seed {seed}: gave up without any fault");
    }

    #[test]
    fn a_fetch_finishes_exactly_if_it_can(seed: u64) {
        simulate_fetch(seed);
    }
}
