//! Repair: which peer is to copy chunks that have too few replicas, and which replicas are too many.
//!
//! [`Repairs`] keeps the orders that are under way. A peer is dead only
//! after its dead time; one that comes back counts again, and what was copied in the meantime is dropped only
//! when the surplus has lasted, so that a peer that comes and goes moves nothing twice.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::apart::{FailureDomains, Surplus, surplus};
use crate::chunk_set::ChunkSet;
use crate::duration::millis;
use crate::geometry::{ChunkIndex, Geometry};
use crate::health::{Holder, ReplicaStatus, ShareView, Tally};
use crate::id::{PeerId, ShareId};
use crate::limits::{ORDER_SOURCES_MAX, ORDERS_BYTES_MAX, ORDERS_MAX, TAG_BYTES};
use crate::placement::{Candidate, rank};

/// A copy that a peer is to make of chunks that others hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    /// The share.
    pub share: ShareId,
    /// The peer that copies.
    pub target: PeerId,
    /// The chunks that are still to be copied.
    pub chunks: ChunkSet,
    /// Peers to copy from, the least busy first.
    pub sources: Vec<PeerId>,
}

/// How long a tracker waits for its peers.
#[derive(Debug, Clone, Copy)]
pub struct RepairTimeouts {
    /// Time without progress after which an order is given to somebody else.
    pub order: Duration,
    /// Time for which a peer that could not carry out an order is not given the same again.
    pub refusal: Duration,
    /// Time that a surplus lasts before it is dropped.
    pub surplus: Duration,
}

/// The orders that are under way. It is soft state: after a restart the same needs lead to new orders.
#[derive(Debug)]
pub struct Repairs {
    timeouts: RepairTimeouts,
    running: BTreeMap<(PeerId, ShareId), Running>,
    refused: BTreeMap<(PeerId, ShareId), u64>,
    surplus_since: BTreeMap<ShareId, u64>,
    drops: BTreeMap<ShareId, Surplus>,
}

#[derive(Debug)]
struct Running {
    order: Order,
    bytes: u64,
    touched_ms: u64,
}

impl Repairs {
    /// Nothing is under way.
    pub const fn new(timeouts: RepairTimeouts) -> Self {
        Self {
            timeouts,
            running: BTreeMap::new(),
            refused: BTreeMap::new(),
            surplus_since: BTreeMap::new(),
            drops: BTreeMap::new(),
        }
    }

    /// Orders copies of what the share is short of, as far as `candidates` have room and are not busy. Returns whether
    /// any was ordered.
    pub fn plan(&mut self, view: &ShareView, candidates: &[Candidate], now_ms: u64) -> bool {
        let mut replicas = view.tally(Holder::counts);
        // What is being copied counts already, or each look would order it again.
        for running in self.running.values().filter(|running| running.order.share == view.share) {
            replicas.add(&running.order.chunks);
        }
        let readable = view.tally(Holder::can_be_read);
        // New replicas keep away from the zones, machines and tokens of those that count, not of the dead.
        let existing: Vec<&Candidate> =
            view.holders.iter().filter(|holder| holder.counts()).map(|h| &h.peer).collect();
        let mut ranked = rank(view.share, candidates, &existing);
        // Who holds a part of the share already comes first: a share stays on few peers.
        ranked.sort_by_key(|candidate| view.holder(candidate.id).is_none());
        let mut any = false;
        for candidate in ranked {
            let is_short = |index: ChunkIndex| {
                replicas.of_chunk(index) < u32::from(view.wanted) && readable.of_chunk(index) > 0
            };
            let Some(order) = self.order(view, candidate, is_short, &replicas, now_ms) else { continue };
            // The next candidate is asked only for what is still short.
            replicas.add(&order.chunks);
            self.add(order, &view.geometry, now_ms);
            any = true;
        }
        any
    }

    /// Orders a copy of what has the right number of replicas in the wrong places, with a peer that is in a better
    /// one. Returns whether any was ordered. The worst placed is surplus when the new one has proven itself.
    pub fn spread_out(&mut self, view: &ShareView, domains: &FailureDomains, now_ms: u64) -> bool {
        // One move at a time: a copy under way changes where the replicas are.
        if self.running.keys().any(|(_, share)| *share == view.share) {
            return false;
        }
        let Some((chunks, better)) = domains.better_for(view) else { return false };
        let replicas = view.tally(Holder::counts);
        let readable = view.tally(Holder::can_be_read);
        let is_meant = |index: ChunkIndex| chunks.contains(index) && readable.of_chunk(index) > 0;
        let order = better.into_iter().find_map(|candidate| {
            let order = self.order(view, candidate, is_meant, &replicas, now_ms);
            order.filter(|order| order.chunks == chunks)
        });
        let any = order.is_some();
        order.into_iter().for_each(|order| self.add(order, &view.geometry, now_ms));
        any
    }

    /// Adds an order to what the peer is to copy of the share already.
    fn add(&mut self, mut order: Order, geometry: &Geometry, now_ms: u64) {
        let key = (order.target, order.share);
        if let Some(running) = self.running.get(&key) {
            order.chunks = order.chunks.plus(&running.order.chunks);
        }
        let bytes = order.chunks.iter().map(|index| geometry.sealed_len(index) as u64).sum();
        self.running.insert(key, Running { order, bytes, touched_ms: now_ms });
    }

    /// What one peer could copy of a share, beside what it was asked for already.
    fn order(
        &self,
        view: &ShareView,
        candidate: &Candidate,
        is_short: impl Fn(ChunkIndex) -> bool,
        replicas: &Tally,
        now_ms: u64,
    ) -> Option<Order> {
        let (share, target) = (view.share, candidate.id);
        let is_refused = self.refused.get(&(target, share)).is_some_and(|&until| now_ms < until);
        // Nobody copies what it is being told to drop.
        let is_dropping = self.drops.get(&share).is_some_and(|surplus| surplus.peer == target);
        if is_refused || is_dropping {
            return None;
        }
        let (count, promised) =
            self.running_at(target).fold((0, 0), |(n, bytes), running| (n + 1, bytes + running.bytes));
        if count >= ORDERS_MAX || promised >= ORDERS_BYTES_MAX {
            return None;
        }
        let ordered = self.running.get(&(target, share)).map(|running| &running.order.chunks);
        let is_ordered = |index| ordered.is_some_and(|chunks| chunks.contains(index));
        let chunk_count = view.geometry.chunk_count();
        let held = view.holder(target).map(|holder| &holder.chunks);
        let chunk_bytes = view.geometry.chunk_size().bytes().min(view.geometry.total()) + TAG_BYTES as u64;
        // What was ordered before may not be off its free bytes yet: those are as old as its last heartbeat.
        let room = candidate.free_bytes.saturating_sub(promised) / chunk_bytes;
        let is_there = |index| held.is_some_and(|held| held.contains(index)) || is_ordered(index);
        let needed = view.geometry.indices().filter(|&index| is_short(index) && !is_there(index));
        let chunks = ChunkSet::of(chunk_count, needed.take(usize::try_from(room).unwrap_or(usize::MAX)));
        // Of a share without chunks the manifest alone is copied.
        let is_new = held.is_none() && !self.running.contains_key(&(target, share));
        let only_manifest = chunk_count == 0 && is_new && replicas.fewest() < u32::from(view.wanted);
        if chunks.is_empty() && !only_manifest {
            return None;
        }
        let sources = self.sources(view, target, &chunks);
        (!sources.is_empty()).then_some(Order { share, target, chunks, sources })
    }

    /// Peers to copy from, so that together they have as much as there is: sure ones first, then those that have
    /// proven it, then the least busy.
    fn sources(&self, view: &ShareView, target: PeerId, chunks: &ChunkSet) -> Vec<PeerId> {
        let busy = |peer: PeerId| self.running.values().filter(|r| r.order.sources.contains(&peer)).count();
        let has_some = |holder: &&Holder| {
            holder.status.can_be_read()
                && holder.peer.id != target
                && (chunks.is_empty() || chunks.first_common(&holder.chunks, 0).is_some())
        };
        let mut sources: Vec<&Holder> = view.holders.iter().filter(has_some).collect();
        sources.sort_by_key(|holder| {
            (holder.status == ReplicaStatus::Unsure, !holder.is_proven(), busy(holder.peer.id))
        });
        let mut missing = chunks.clone();
        let (mut chosen, mut others) = (Vec::new(), Vec::new());
        // A greedy cover: who adds chunks comes before who only repeats them, for the list is cut to a maximum.
        for holder in sources {
            let adds = chunks.is_empty() || missing.first_common(&holder.chunks, 0).is_some();
            missing = missing.minus(&holder.chunks);
            if adds { chosen.push(holder.peer.id) } else { others.push(holder.peer.id) }
        }
        chosen.extend(others);
        chosen.truncate(ORDER_SOURCES_MAX);
        chosen
    }

    /// What a peer is to copy, as far as it was not reported yet.
    pub fn orders_of(&self, target: PeerId) -> impl Iterator<Item = &Order> {
        self.running_at(target).map(|running| &running.order)
    }

    fn running_at(&self, target: PeerId) -> impl Iterator<Item = &Running> {
        let (first, last) = (ShareId::from_bytes([0; 32]), ShareId::from_bytes([255; 32]));
        self.running.range((target, first)..=(target, last)).map(|(_, running)| running)
    }

    /// Every order under way.
    pub fn orders(&self) -> impl Iterator<Item = &Order> {
        self.running.values().map(|running| &running.order)
    }

    /// Number of orders under way.
    pub fn len(&self) -> usize {
        self.running.len()
    }

    /// Whether nothing is under way.
    pub fn is_empty(&self) -> bool {
        self.running.is_empty()
    }

    /// Which of these chunks a peer was asked to copy; none of a share without any, if it was asked for the manifest.
    pub fn ordered(&self, target: PeerId, share: ShareId, chunks: &ChunkSet) -> Option<ChunkSet> {
        let ordered = &self.running.get(&(target, share))?.order.chunks;
        let ordered = chunks.minus(&chunks.minus(ordered));
        (ordered.chunk_count() == 0 || !ordered.is_empty()).then_some(ordered)
    }

    /// Notes that a peer was found not to have what it says to have copied: it is not asked again for long.
    pub fn deceived(&mut self, target: PeerId, share: ShareId, now_ms: u64) {
        self.running.remove(&(target, share));
        self.refused.insert((target, share), now_ms.saturating_add(millis(self.timeouts.surplus)));
    }

    /// Notes that a peer has copied these chunks.
    pub fn copied(&mut self, target: PeerId, share: ShareId, chunks: &ChunkSet, now_ms: u64) {
        if let Some(running) = self.running.get_mut(&(target, share)) {
            running.order.chunks = running.order.chunks.minus(chunks);
            running.touched_ms = now_ms;
            if running.order.chunks.is_empty() {
                self.running.remove(&(target, share));
            }
        }
    }

    /// Notes that a peer could not carry an order out: somebody else is asked for a while.
    pub fn failed(&mut self, target: PeerId, share: ShareId, now_ms: u64) {
        if self.running.remove(&(target, share)).is_some() {
            self.refused.insert((target, share), now_ms.saturating_add(millis(self.timeouts.refusal)));
        }
    }

    /// Takes orders back that make no progress, or whose peer is not there any more.
    pub fn expire_stalled(&mut self, is_there: impl Fn(PeerId) -> bool, now_ms: u64) {
        let timeout_ms = millis(self.timeouts.order);
        let stalled = self.running.iter().filter(|((target, _), running)| {
            !is_there(*target) || now_ms.saturating_sub(running.touched_ms) >= timeout_ms
        });
        let stalled: Vec<_> = stalled.map(|(key, _)| *key).collect();
        stalled.into_iter().for_each(|(target, share)| self.failed(target, share, now_ms));
        self.refused.retain(|_, until| now_ms < *until);
    }

    /// Forgets a share that is over.
    pub fn forget(&mut self, share: ShareId) {
        self.running.retain(|(_, other), _| *other != share);
        self.refused.retain(|(_, other), _| *other != share);
        self.surplus_since.remove(&share);
        self.drops.remove(&share);
    }

    /// Whether the share has more replicas than were asked for. When that has lasted, one peer at a time is
    /// told to drop its part of the surplus, as long as nothing changes about it.
    pub fn notice_surplus(&mut self, view: &ShareView, now_ms: u64) -> bool {
        let found = surplus(view);
        if let Some(told) = self.drops.get(&view.share) {
            // One drop at a time: nobody else is told before this one is done or no longer holds.
            if still_too_many(view, told) {
                return true;
            }
            self.drops.remove(&view.share);
            self.surplus_since.remove(&view.share);
        }
        let Some(found) = found else {
            self.surplus_since.remove(&view.share);
            return false;
        };
        let since = *self.surplus_since.entry(view.share).or_insert(now_ms);
        if now_ms.saturating_sub(since) >= millis(self.timeouts.surplus) {
            self.drops.insert(view.share, found);
        }
        true
    }

    /// What a peer is to drop, until it says that it did or tells its inventory anew.
    pub fn drops_of(&self, peer: PeerId) -> impl Iterator<Item = (ShareId, &Surplus)> {
        let drops = self.drops.iter().map(|(share, surplus)| (*share, surplus));
        drops.filter(move |(_, surplus)| surplus.peer == peer)
    }

    /// What somebody is told to drop of a share.
    pub fn drop_of(&self, share: ShareId) -> Option<&Surplus> {
        self.drops.get(&share)
    }

    /// Notes what a peer said about a drop, or that what it holds was heard anew.
    pub fn dropped(&mut self, peer: PeerId, share: ShareId) {
        if self.drops.get(&share).is_some_and(|surplus| surplus.peer == peer) {
            self.drops.remove(&share);
        }
    }
}

/// Whether what a peer was told to drop has enough proven replicas beside it, at peers that are surely there.
fn still_too_many(view: &ShareView, told: &Surplus) -> bool {
    let others = view.tally(|holder| {
        holder.status == ReplicaStatus::Sure && holder.is_proven() && holder.peer.id != told.peer
    });
    told.chunks.chunk_count() == view.geometry.chunk_count()
        && told.chunks.iter().all(|index| others.of_chunk(index) >= u32::from(view.wanted))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::Evidence;
    use crate::geometry::ChunkSize;
    use crate::health::{Condition, assess};
    use proptest::prelude::*;

    const SHARE: ShareId = ShareId::from_bytes([9; 32]);
    const TIMEOUTS: RepairTimeouts = RepairTimeouts {
        order: Duration::from_secs(600),
        refusal: Duration::from_secs(300),
        surplus: Duration::from_secs(3600),
    };
    const HOUR_MS: u64 = 3_600_000;

    fn candidate(number: u8, free_chunks: u64) -> Candidate {
        Candidate {
            id: PeerId::from_bytes([number; 32]),
            free_bytes: free_chunks * ((1 << 16) + 16),
            zone: None,
            zone_is_given: false,
            host: format!("10.0.0.{number}"),
            token: None,
        }
    }

    fn holder(number: u8, status: ReplicaStatus, chunks: ChunkSet) -> Holder {
        // The higher its number, the later it came.
        let evidence = Evidence::Proven { since_ms: u64::from(number), settled: false };
        Holder { peer: candidate(number, 100), status, chunks, evidence }
    }

    fn view(chunk_count: u64, wanted: u8, holders: Vec<Holder>) -> ShareView {
        let geometry = Geometry::new(chunk_count << 16, ChunkSize::from_log2(16).unwrap()).unwrap();
        ShareView { share: SHARE, wanted, geometry, holders, learnt_lately: false }
    }

    fn candidates(numbers: &[u8]) -> Vec<Candidate> {
        numbers.iter().map(|&number| candidate(number, 100)).collect()
    }

    fn only_order(repairs: &Repairs) -> Order {
        assert_eq!(repairs.len(), 1);
        repairs.running.values().next().unwrap().order.clone()
    }

    #[test]
    fn what_a_dead_peer_held_is_copied_from_the_survivor_to_a_third() {
        let full = ChunkSet::full(5);
        let holders =
            vec![holder(1, ReplicaStatus::Sure, full.clone()), holder(2, ReplicaStatus::Gone, full.clone())];
        let view = view(5, 2, holders);
        let health = assess(&view);
        assert_eq!((health.fewest, health.short, health.condition()), (1, 5, Condition::Endangered));
        let mut repairs = Repairs::new(TIMEOUTS);
        assert!(repairs.plan(&view, &candidates(&[1, 3]), 0));
        let order = only_order(&repairs);
        assert_eq!(
            (order.target, order.sources),
            (PeerId::from_bytes([3; 32]), vec![PeerId::from_bytes([1; 32])])
        );
        assert_eq!(order.chunks, full);
        assert!(!repairs.plan(&view, &candidates(&[1, 3]), 0), "what is ordered is not ordered again");
        repairs.copied(order.target, SHARE, &full, 1);
        assert!(repairs.is_empty());
    }

    #[test]
    fn a_holder_that_lost_a_chunk_gets_it_back_rather_than_a_stranger() {
        let mut rotted = ChunkSet::full(5);
        rotted.remove(ChunkIndex::new(3));
        let holders =
            vec![holder(1, ReplicaStatus::Sure, ChunkSet::full(5)), holder(2, ReplicaStatus::Sure, rotted)];
        let mut repairs = Repairs::new(TIMEOUTS);
        repairs.plan(&view(5, 2, holders), &candidates(&[1, 2, 3, 4]), 0);
        let order = only_order(&repairs);
        assert_eq!((order.target, order.chunks), (PeerId::from_bytes([2; 32]), ChunkSet::range(5, 3..4)));
    }

    #[test]
    fn what_a_peer_loses_while_it_copies_is_added_to_its_order() {
        let lacking = |range| {
            let rotted = ChunkSet::full(5).minus(&ChunkSet::range(5, range));
            let holders = vec![
                holder(1, ReplicaStatus::Sure, ChunkSet::full(5)),
                holder(2, ReplicaStatus::Sure, rotted),
            ];
            view(5, 2, holders)
        };
        let mut repairs = Repairs::new(TIMEOUTS);
        repairs.plan(&lacking(1..2), &candidates(&[1, 2, 3]), 0);
        repairs.plan(&lacking(1..4), &candidates(&[1, 2, 3]), 1);
        let order = only_order(&repairs);
        assert_eq!((order.target, order.chunks), (PeerId::from_bytes([2; 32]), ChunkSet::range(5, 1..4)));
    }

    #[test]
    fn a_share_without_chunks_is_repaired_by_its_manifest() {
        let none = ChunkSet::empty(0);
        let one = view(0, 2, vec![holder(1, ReplicaStatus::Sure, none.clone())]);
        assert_eq!(assess(&one).condition(), Condition::Endangered);
        let mut repairs = Repairs::new(TIMEOUTS);
        assert!(repairs.plan(&one, &candidates(&[1, 3]), 0));
        assert!(!repairs.plan(&one, &candidates(&[1, 3, 4]), 0));
        repairs.copied(PeerId::from_bytes([3; 32]), SHARE, &none, 0);
        assert!(repairs.is_empty());
    }

    #[test]
    fn a_peer_that_fails_is_not_asked_again_at_once() {
        let holders = vec![holder(1, ReplicaStatus::Sure, ChunkSet::full(5))];
        let (view, both) = (view(5, 2, holders), candidates(&[3, 4]));
        let mut repairs = Repairs::new(TIMEOUTS);
        repairs.plan(&view, &both, 0);
        let first = only_order(&repairs).target;
        repairs.failed(first, SHARE, 0);
        repairs.plan(&view, &both, 1);
        let second = only_order(&repairs).target;
        assert_ne!(first, second);
        repairs.expire_stalled(|_| true, 600_001);
        assert!(repairs.is_empty(), "it made no progress");
        repairs.plan(&view, &both, 600_001);
        assert_eq!(only_order(&repairs).target, first, "its refusal is over");
        repairs.expire_stalled(|peer| peer != first, 600_002);
        assert!(repairs.is_empty(), "it is not there any more");
    }

    #[test]
    fn a_surplus_is_dropped_when_it_has_lasted_and_by_one_peer_at_a_time() {
        let full = ChunkSet::full(5);
        let holders = [1, 2, 3, 4].map(|n| holder(n, ReplicaStatus::Sure, full.clone())).to_vec();
        let mut surplus = view(5, 2, holders);
        let mut repairs = Repairs::new(TIMEOUTS);
        assert!(repairs.notice_surplus(&surplus, 0));
        let ordered = |repairs: &Repairs| -> Vec<u8> {
            (1..=4).filter(|&n| repairs.drops_of(PeerId::from_bytes([n; 32])).count() > 0).collect()
        };
        assert!(ordered(&repairs).is_empty(), "it may not last");
        assert!(repairs.notice_surplus(&surplus, HOUR_MS));
        let first = ordered(&repairs)[0];
        assert!(repairs.notice_surplus(&surplus, 2 * HOUR_MS));
        assert_eq!(ordered(&repairs), [first]);
        repairs.dropped(PeerId::from_bytes([first; 32]), SHARE);
        surplus.holders.retain(|holder| holder.peer.id != PeerId::from_bytes([first; 32]));
        assert!(repairs.notice_surplus(&surplus, 2 * HOUR_MS));
        assert_eq!(ordered(&repairs).len(), 1, "the other surplus replica");
        surplus.holders.pop();
        repairs.forget(SHARE);
        assert!(!repairs.notice_surplus(&surplus, 4 * HOUR_MS), "two are wanted and two are there");
    }

    #[test]
    fn an_order_to_drop_is_taken_back_when_what_it_names_is_needed() {
        let holders = [1, 2, 3].map(|n| holder(n, ReplicaStatus::Sure, ChunkSet::full(5))).to_vec();
        let mut share = view(5, 2, holders);
        let mut repairs = Repairs::new(TIMEOUTS);
        repairs.notice_surplus(&share, 0);
        repairs.notice_surplus(&share, HOUR_MS);
        let youngest = PeerId::from_bytes([3; 32]);
        assert_eq!(repairs.drops_of(youngest).count(), 1);
        share.holders[0].evidence = Evidence::Claimed { counts: true };
        assert!(!repairs.notice_surplus(&share, HOUR_MS));
        assert_eq!(repairs.drops_of(youngest).count(), 0);
    }

    #[test]
    fn s3_only_who_was_asked_has_copied_and_who_deceives_is_not_asked_again_for_long() {
        let (share, full) =
            (view(5, 2, vec![holder(1, ReplicaStatus::Sure, ChunkSet::full(5))]), ChunkSet::full(5));
        let mut repairs = Repairs::new(TIMEOUTS);
        let liar = PeerId::from_bytes([3; 32]);
        assert_eq!(repairs.ordered(liar, SHARE, &full), None);
        repairs.plan(&share, &candidates(&[3]), 0);
        assert_eq!(repairs.ordered(liar, SHARE, &full), Some(full.clone()));
        assert_eq!(repairs.ordered(only_order(&repairs).sources[0], SHARE, &full), None);
        repairs.deceived(liar, SHARE, 0);
        assert!(!repairs.plan(&share, &candidates(&[3]), HOUR_MS - 1));
        assert!(repairs.plan(&share, &candidates(&[3, 4]), HOUR_MS - 1), "somebody else is");
    }

    #[test]
    fn an_unsure_replica_makes_no_other_one_too_many() {
        let full = ChunkSet::full(5);
        let mut holders = [1, 2].map(|n| holder(n, ReplicaStatus::Sure, full.clone())).to_vec();
        holders.push(holder(3, ReplicaStatus::Unsure, full));
        assert!(surplus(&view(5, 2, holders)).is_none());
    }

    fn status() -> impl Strategy<Value = ReplicaStatus> {
        prop_oneof![
            Just(ReplicaStatus::Sure),
            Just(ReplicaStatus::Unsure),
            Just(ReplicaStatus::Leaving),
            Just(ReplicaStatus::Gone)
        ]
    }

    proptest! {
        #[test]
        fn repair_converges_without_waste(
            chunk_count in 1_u32..40,
            wanted in 1_u8..4,
            parts in proptest::collection::vec((status(), any::<u64>()), 1..6),
            spares in proptest::collection::vec(0_u64..60, 0..5),
        ) {
            let all = ChunkSet::full(chunk_count);
            let set = |bits: u64| ChunkSet::of(chunk_count, all.iter().filter(|i| bits >> i.get() & 1 == 1));
            let holders: Vec<Holder> =
                (1..).zip(&parts).map(|(n, (status, bits))| holder(n, *status, set(*bits))).collect();
            let mut share = view(u64::from(chunk_count), wanted, holders);
            let mut free: BTreeMap<PeerId, Candidate> = share.holders.iter()
                .filter(|h| h.status == ReplicaStatus::Sure).map(|h| (h.peer.id, h.peer.clone())).collect();
            free.extend((100..).zip(&spares).map(|(n, &room)| (PeerId::from_bytes([n; 32]), candidate(n, room))));
            let mut repairs = Repairs::new(TIMEOUTS);
            let before = share.clone();
            // More rounds than any of these need: a planner that goes in circles does not get to its end.
            for _ in 0..100 {
                let able: Vec<Candidate> = free.values().cloned().collect();
                let planned = repairs.plan(&share, &able, 0);
                let Some(order) = repairs.running.values().next().map(|running| running.order.clone()) else {
                    prop_assert!(!planned);
                    break;
                };
                let readable = share.holders.iter().filter(|h| order.sources.contains(&h.peer.id));
                let readable = readable.fold(ChunkSet::empty(chunk_count), |all, h| all.plus(&h.chunks));
                prop_assert!(readable.contains_all(&order.chunks), "no source has it");
                let room = free.get_mut(&order.target).unwrap();
                let bytes = u64::from(order.chunks.len()) * ((1 << 16) + 16);
                prop_assert!(bytes <= room.free_bytes, "more than fits");
                room.free_bytes -= bytes;
                repairs.copied(order.target, SHARE, &order.chunks, 0);
                match share.holders.iter_mut().find(|h| h.peer.id == order.target) {
                    Some(holder) => {
                        prop_assert!(holder.chunks.first_common(&order.chunks, 0).is_none(), "copied twice");
                        holder.chunks = holder.chunks.plus(&order.chunks);
                    }
                    None => share.holders.push(Holder {
                        peer: free[&order.target].clone(), status: ReplicaStatus::Sure, chunks: order.chunks,
                        evidence: Evidence::Claimed { counts: true },
                    }),
                }
            }
            prop_assert!(repairs.is_empty(), "it does not end");
            let (was, is) = (assess(&before), assess(&share));
            prop_assert!(is.short <= was.short && is.fewest >= was.fewest && is.lost == was.lost);
            for index in ChunkSet::full(chunk_count).iter() {
                let holds = |h: &&Holder| h.chunks.contains(index);
                let copies = share.holders.iter().filter(holds).filter(|h| h.status.counts()).count();
                let was = before.holders.iter().filter(holds).filter(|h| h.status.counts()).count();
                prop_assert!(copies <= was.max(usize::from(wanted)), "more than were wanted");
                let readable = before.holders.iter().filter(holds).any(|h| h.status.can_be_read());
                let helper = free.values().any(|c| {
                    c.free_bytes > (1 << 16) + 16
                        && !share.holders.iter().any(|h| h.peer.id == c.id && h.chunks.contains(index))
                });
                prop_assert!(copies >= usize::from(wanted) || !readable || !helper, "somebody could have helped");
            }
        }
    }
}
