//! How far apart the replicas of a share are, and which of them go when they are too many.
//!
//! Replicas in one zone, or on one machine, go together in a fire. So a share may have the right number of replicas in
//! the wrong places: then one more is made elsewhere, and the worst placed goes when the new one is as trustworthy.
//!
//! Who goes is decided by age, as the tracker has seen it: the youngest, for whoever is to push honest replicas out
//! must have proven to hold the same for longer than they. Nobody goes whose loss leaves fewer zones or machines
//! while another's leaves more. What a peer says about its free space decides nothing, and what it says about its zone
//! only against it: that it is where the operator knows others to be, never that it is in a place of its own.

use std::collections::{BTreeMap, BTreeSet};

use crate::audit::Evidence;
use crate::chunk_set::ChunkSet;
use crate::geometry::ChunkIndex;
use crate::health::{Holder, ReplicaStatus, ShareView};
use crate::id::PeerId;
use crate::limits::{DROP_HOLDERS_MAX, HOLDER_GROUPS_MAX, HOLDERS_COMPARED_MAX, TAG_BYTES};
use crate::placement::Candidate;

/// Chunks that a peer may let go of, and who holds them beside it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Surplus {
    /// The peer.
    pub peer: PeerId,
    /// The chunks.
    pub chunks: ChunkSet,
    /// Peers whose replicas of them are proven, the oldest first.
    pub others: Vec<PeerId>,
}

/// Different zones, then different machines, of some holders.
type Spread = (usize, usize);

fn spread<'a>(candidates: impl Iterator<Item = &'a Candidate> + Clone) -> Spread {
    let given: BTreeSet<&str> = candidates.clone().filter_map(given_zone).collect();
    // Those whose zone nobody but they themselves knows are taken to be in one.
    let is_elsewhere = |candidate: &Candidate| {
        given_zone(candidate).is_none() && candidate.zone.as_deref().is_none_or(|own| !given.contains(own))
    };
    let zones = given.len() + usize::from(candidates.clone().any(is_elsewhere));
    let hosts: BTreeSet<_> = candidates.map(|candidate| candidate.host.as_str()).collect();
    (zones, hosts.len())
}

/// The zone in which the operator knows a peer to be.
fn given_zone(candidate: &Candidate) -> Option<&str> {
    candidate.zone.as_deref().filter(|_| candidate.zone_is_given)
}

/// The spread of these holders without one of them.
fn without(holders: &[&Holder], left_out: usize) -> Spread {
    let rest = holders.iter().enumerate().filter(|(position, _)| *position != left_out);
    spread(rest.map(|(_, holder)| &holder.peer))
}

/// Since when a holder is proven, and whether it was daily for a week.
fn age(holder: &Holder) -> (u64, bool) {
    match holder.evidence {
        Evidence::Proven { since_ms, settled } => (since_ms, settled),
        Evidence::Claimed { .. } => (u64::MAX, false),
    }
}

/// Chunks that the same holders hold, with these holders. Bounded: what is left out is looked at when these are done.
fn groups<'a>(
    view: &ShareView,
    is_counted: impl Fn(&Holder) -> bool,
    holders: &'a [Holder],
    is_meant: impl Fn(u32) -> bool,
) -> Vec<(Vec<&'a Holder>, ChunkSet)> {
    let mut counted: Vec<&Holder> = holders.iter().filter(|holder| is_counted(holder)).collect();
    // The oldest proofs first: what the bound leaves out are the youngest replicas.
    counted.sort_by_key(|holder| (age(holder), holder.peer.id));
    counted.truncate(HOLDERS_COMPARED_MAX);
    // A bit for each of at most 128 holders: chunks with the same mask have the same holders.
    let mut by_mask: BTreeMap<u128, ChunkSet> = BTreeMap::new();
    for index in view.geometry.indices() {
        let bit =
            |(position, holder): (usize, &&Holder)| u128::from(holder.chunks.contains(index)) << position;
        let mask = counted.iter().enumerate().map(bit).fold(0, |mask, bit| mask | bit);
        if is_meant(mask.count_ones()) && (by_mask.len() < HOLDER_GROUPS_MAX || by_mask.contains_key(&mask)) {
            let chunk_count = view.geometry.chunk_count();
            by_mask.entry(mask).or_insert_with(|| ChunkSet::empty(chunk_count)).insert(index);
        }
    }
    let members = |mask: u128| {
        let is_in = |(position, _): &(usize, &&'a Holder)| mask >> position & 1 == 1;
        counted.iter().enumerate().filter(is_in).map(|(_, holder)| *holder).collect()
    };
    by_mask.into_iter().map(|(mask, chunks)| (members(mask), chunks)).collect()
}

/// The peer that is to let go of chunks of which there are more proven replicas than were asked for, at peers that are
/// surely there. Peers that are being emptied come first.
pub(crate) fn surplus(view: &ShareView) -> Option<Surplus> {
    if view.learnt_lately {
        return None;
    }
    let is_sure = |holder: &Holder| holder.status == ReplicaStatus::Sure && holder.is_proven();
    leaving(view, is_sure).or_else(|| {
        let wanted = u32::from(view.wanted);
        let mut victims: BTreeMap<PeerId, ((u64, bool), ChunkSet)> = BTreeMap::new();
        for (members, chunks) in groups(view, is_sure, &view.holders, |count| count > wanted) {
            let Some(victim) = victim(&members, usize::from(view.wanted)) else { continue };
            let entry = victims.entry(victim.peer.id);
            entry.and_modify(|(_, all)| *all = all.plus(&chunks)).or_insert((age(victim), chunks));
        }
        let most = victims.into_iter().max_by_key(|(peer, (age, chunks))| (chunks.len(), *age, *peer));
        most.map(|(peer, (_, chunks))| named(view, peer, chunks, is_sure))
    })
}

/// What a peer that is being emptied need not keep.
fn leaving(view: &ShareView, is_sure: impl Fn(&Holder) -> bool + Copy) -> Option<Surplus> {
    let proven = view.tally(is_sure);
    let enough = |index: &ChunkIndex| proven.of_chunk(*index) >= u32::from(view.wanted);
    let leaving = view.holders.iter().filter(|holder| holder.status == ReplicaStatus::Leaving);
    let chunks =
        |holder: &Holder| ChunkSet::of(view.geometry.chunk_count(), holder.chunks.iter().filter(enough));
    let offers = leaving.map(|holder| (holder.peer.id, chunks(holder))).filter(|(_, c)| !c.is_empty());
    let (peer, chunks) = offers.max_by_key(|(peer, chunks)| (chunks.len(), *peer))?;
    Some(named(view, peer, chunks, is_sure))
}

fn named(view: &ShareView, peer: PeerId, chunks: ChunkSet, is_sure: impl Fn(&Holder) -> bool) -> Surplus {
    let keeps = |holder: &&Holder| {
        is_sure(holder) && holder.peer.id != peer && holder.chunks.first_common(&chunks, 0).is_some()
    };
    let mut others: Vec<&Holder> = view.holders.iter().filter(keeps).collect();
    others.sort_by_key(|holder| (age(holder), holder.peer.id));
    let others = others.into_iter().map(|holder| holder.peer.id).take(DROP_HOLDERS_MAX).collect();
    Surplus { peer, chunks, others }
}

/// Who of these holders of the same chunks is to go. Nobody, if it would make room for one that was not proven for
/// long enough.
fn victim<'a>(holders: &[&'a Holder], wanted: usize) -> Option<&'a Holder> {
    // Failure domains decide before age: only those may go without whom the rest is spread as well as it can be.
    let best = (0..holders.len()).map(|position| without(holders, position)).max()?;
    let spared = (0..holders.len()).filter(|&position| without(holders, position) == best);
    let goes = spared.max_by_key(|&position| (age(holders[position]), holders[position].peer.id))?;
    let (since_ms, _) = age(holders[goes]);
    let rest = holders.iter().enumerate().filter(|(position, _)| *position != goes);
    let trusted = rest.filter(|(_, other)| {
        let (other_since_ms, settled) = age(other);
        settled || other_since_ms <= since_ms
    });
    (trusted.count() >= wanted).then(|| holders[goes])
}

/// The zones and machines where a further replica could be.
#[derive(Debug, Clone, Default)]
pub struct FailureDomains {
    candidates: Vec<Candidate>,
    zones: BTreeSet<Option<String>>,
    hosts: BTreeSet<String>,
}

impl FailureDomains {
    /// The failure domains of these candidates.
    pub fn of(candidates: &[Candidate]) -> Self {
        let zones = candidates.iter().map(|candidate| given_zone(candidate).map(str::to_owned)).collect();
        let hosts = candidates.iter().map(|candidate| candidate.host.clone()).collect();
        Self { candidates: candidates.to_vec(), zones, hosts }
    }

    /// No better spread than this can so many holders have, wherever some of them go: to know it costs no look at each
    /// candidate, of which there may be thousands.
    fn best_for(&self, holders: &[&Holder]) -> Spread {
        let own_zones = holders.iter().map(|holder| given_zone(&holder.peer).map(str::to_owned));
        let other_zones: BTreeSet<_> = own_zones.filter(|zone| !self.zones.contains(zone)).collect();
        let own_hosts = holders.iter().map(|holder| &holder.peer.host);
        let other_hosts: BTreeSet<_> = own_hosts.filter(|host| !self.hosts.contains(*host)).collect();
        let of = |domains: usize, others: usize| holders.len().min(domains + others);
        (of(self.zones.len(), other_zones.len()), of(self.hosts.len(), other_hosts.len()))
    }

    /// The chunks that have the right number of replicas in the wrong places, with whom a further one would be
    /// better placed than one of those, best first.
    pub fn better_for(&self, view: &ShareView) -> Option<(ChunkSet, Vec<&Candidate>)> {
        let wanted = u32::from(view.wanted);
        // A single replica has no other one to be apart from.
        if wanted < 2 {
            return None;
        }
        let right_number = groups(view, Holder::counts, &view.holders, |count| count == wanted);
        right_number.into_iter().find_map(|(members, chunks)| {
            let now = spread(members.iter().map(|holder| &holder.peer));
            if now >= self.best_for(&members) {
                return None;
            }
            let chunk_bytes = view.geometry.chunk_size().bytes() + TAG_BYTES as u64;
            let bytes = u64::from(chunks.len()) * chunk_bytes;
            // Who holds any of these chunks is no further place for them.
            let is_other = |candidate: &&Candidate| {
                let held =
                    view.holder(candidate.id).is_some_and(|h| h.chunks.first_common(&chunks, 0).is_some());
                !held && candidate.free_bytes >= bytes
            };
            // How well they would be spread with the candidate in place of whichever holder it is best to lose.
            let with = |candidate: &Candidate| {
                let instead_of = |position: usize| {
                    let rest = members.iter().enumerate().filter(move |(other, _)| *other != position);
                    spread(rest.map(|(_, holder)| &holder.peer).chain([candidate]))
                };
                (0..members.len()).map(instead_of).max().unwrap_or(now)
            };
            let others =
                self.candidates.iter().filter(is_other).map(|candidate| (with(candidate), candidate));
            let mut better: Vec<_> = others.filter(|(spread, _)| *spread > now).collect();
            better.sort_by_key(|(spread, candidate)| (std::cmp::Reverse(*spread), candidate.id));
            let better: Vec<&Candidate> = better.into_iter().map(|(_, candidate)| candidate).collect();
            (!better.is_empty()).then_some((chunks, better))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::geometry::{ChunkSize, Geometry};
    use crate::id::ShareId;
    use crate::limits::WEEK_WINDOWS;
    use crate::repair::{RepairTimeouts, Repairs};
    use proptest::prelude::*;
    use std::time::Duration;

    const DEAD_MS: u64 = 300_000;
    const WEEK_MS: u64 = DEAD_MS * WEEK_WINDOWS as u64;
    const TIMEOUTS: RepairTimeouts = RepairTimeouts {
        order: Duration::from_millis(2 * DEAD_MS),
        refusal: Duration::from_millis(DEAD_MS),
        surplus: Duration::from_millis(12 * DEAD_MS),
    };

    fn candidate(number: u8, zone: Option<&str>, host: u8) -> Candidate {
        Candidate {
            id: PeerId::from_bytes([number; 32]),
            free_bytes: 1 << 40,
            zone: zone.map(str::to_owned),
            zone_is_given: true,
            host: host.to_string(),
            token: None,
        }
    }

    fn proven(peer: Candidate, since_ms: u64, settled: bool) -> Holder {
        let evidence = Evidence::Proven { since_ms, settled };
        Holder { peer, status: ReplicaStatus::Sure, chunks: ChunkSet::full(3), evidence }
    }

    fn view(wanted: u8, holders: Vec<Holder>) -> ShareView {
        let geometry = Geometry::new(3 << 16, ChunkSize::from_log2(16).unwrap()).unwrap();
        ShareView { share: ShareId::from_bytes([9; 32]), wanted, geometry, holders, learnt_lately: false }
    }

    fn goes(view: &ShareView) -> Option<u8> {
        surplus(view).map(|surplus| surplus.peer.as_bytes()[0])
    }

    fn home(number: u8) -> Candidate {
        candidate(number, Some("home"), number)
    }

    fn office(number: u8) -> Candidate {
        candidate(number, Some("office"), number)
    }

    #[test]
    fn s6_the_replica_in_the_other_zone_stays_when_its_peer_was_away() {
        // Share on a1 and b1; b1 was away, so a2 has a copy; b1 is back, and has the least room.
        let b1 = Candidate { free_bytes: 1, ..office(3) };
        let three =
            view(2, vec![proven(home(1), 0, false), proven(home(2), DEAD_MS, false), proven(b1, 0, false)]);
        assert_eq!(goes(&three), Some(2));
        let found = surplus(&three).unwrap();
        assert_eq!(found.others, [1, 3].map(|n| PeerId::from_bytes([n; 32])));
        assert!(found.chunks.is_full());
    }

    #[test]
    fn s6_its_own_word_about_its_zone_only_makes_a_peer_less_distinct() {
        let says = |number, zone| Candidate { zone_is_given: false, ..candidate(number, Some(zone), number) };
        let none = |number| candidate(number, None, number);
        let zones = |of: &[Candidate]| spread(of.iter()).0;
        assert_eq!(zones(&[says(1, "moon"), says(2, "mars"), none(3)]), 1, "words make no zones");
        assert_eq!(zones(&[home(1), says(2, "moon")]), zones(&[home(1), none(2)]));
        assert_eq!(zones(&[home(1), says(2, "home")]), 1, "it is believed that it is where another one is");
        // The youngest goes, although it says to be far from the others, and is not offered as a better place.
        let holders = |liar| vec![proven(none(1), 0, true), proven(none(2), 5, true), proven(liar, 9, false)];
        assert_eq!(goes(&view(2, holders(says(3, "moon")))), Some(3));
        let pair = view(2, holders(none(3))[..2].to_vec());
        assert!(FailureDomains::of(&[says(3, "moon")]).better_for(&pair).is_none());
        assert!(FailureDomains::of(&[candidate(3, Some("moon"), 3)]).better_for(&pair).is_some());
    }

    #[test]
    fn s3_the_youngest_goes_whatever_it_says_about_its_room() {
        let liars = [4, 5].map(|n| proven(Candidate { free_bytes: 1 << 50, ..home(n) }, 9, false));
        let mut honest = [1, 2].map(|n| proven(Candidate { free_bytes: 0, ..home(n) }, 0, false)).to_vec();
        honest.extend(liars);
        assert_eq!(goes(&view(2, honest.clone())), Some(5));
        // Claims make nothing surplus, whatever number of them.
        for holder in &mut honest[2..] {
            holder.evidence = Evidence::Claimed { counts: true };
        }
        assert_eq!(goes(&view(2, honest)), None);
    }

    #[test]
    fn an_old_replica_gives_way_to_a_better_placed_one_after_a_week_of_proofs() {
        let moved = |settled| {
            view(2, vec![proven(home(1), 0, true), proven(home(2), 5, true), proven(office(3), 9, settled)])
        };
        assert_eq!((goes(&moved(false)), goes(&moved(true))), (None, Some(2)));
        // One that is not needed gives way to nobody.
        let mut four = moved(false);
        four.holders.push(proven(candidate(4, Some("cellar"), 4), 1, true));
        assert_eq!(goes(&four), Some(2), "1 and 4 are older and enough");
    }

    #[test]
    fn of_a_share_that_was_learnt_from_peers_nothing_is_dropped_for_a_week() {
        let holders = (1..=4).map(|n| proven(home(n), u64::from(n), false)).collect();
        let mut share = view(2, holders);
        share.learnt_lately = true;
        assert_eq!(goes(&share), None);
        share.learnt_lately = false;
        assert_eq!(goes(&share), Some(4));
    }

    #[test]
    fn a_peer_that_is_emptied_lets_go_first_of_what_is_proven_elsewhere() {
        let mut share =
            view(2, vec![proven(home(1), 3, false), proven(home(2), 2, false), proven(home(3), 0, true)]);
        share.holders[2].status = ReplicaStatus::Leaving;
        assert_eq!(goes(&share), Some(3));
        share.holders[1].evidence = Evidence::Claimed { counts: true };
        assert_eq!(goes(&share), None);
    }

    #[test]
    fn the_right_number_in_the_wrong_places_is_noticed_where_there_is_a_better_one() {
        let share = view(2, vec![proven(home(1), 0, true), proven(home(2), 0, true)]);
        let better = |candidates: &[Candidate]| {
            let domains = FailureDomains::of(candidates);
            let found = domains.better_for(&share);
            found.map(|(chunks, better)| (chunks.len(), better[0].id.as_bytes()[0]))
        };
        assert_eq!(better(&[home(1), home(2), home(3), office(4)]), Some((3, 4)));
        assert_eq!(better(&[home(1), home(2), home(3)]), None, "no other zone is there");
        assert_eq!(better(&[Candidate { free_bytes: 9, ..office(4) }]), None, "it has no room");
        let one = view(1, vec![proven(home(1), 0, true)]);
        assert!(FailureDomains::of(&[office(4)]).better_for(&one).is_none(), "one replica is in one place");
        let hosts = view(2, [1, 2].map(|n| proven(candidate(n, None, 1), 0, true)).to_vec());
        assert!(FailureDomains::of(&[candidate(3, None, 3)]).better_for(&hosts).is_some(), "another machine");
        let apart = view(2, vec![proven(home(1), 0, true), proven(office(2), 0, true)]);
        assert!(
            FailureDomains::of(&[candidate(3, Some("moon"), 3)]).better_for(&apart).is_none(),
            "two are in two places"
        );
    }

    fn count_of(view: &ShareView, index: ChunkIndex) -> usize {
        view.holders.iter().filter(|holder| holder.chunks.contains(index)).count()
    }

    /// One day: what is ordered is copied, what is told to be dropped is dropped. Returns whether anything moved.
    fn live_a_day(
        share: &mut ShareView,
        repairs: &mut Repairs,
        swarm: &[Candidate],
        began: &mut BTreeMap<PeerId, u64>,
        now_ms: u64,
    ) -> bool {
        for holder in &mut share.holders {
            let since_ms = began[&holder.peer.id];
            holder.evidence = Evidence::Proven { since_ms, settled: now_ms - since_ms >= WEEK_MS };
        }
        // As the tracker does it: places are bettered only when nothing is short.
        if !repairs.plan(share, swarm, now_ms) {
            repairs.spread_out(share, &FailureDomains::of(swarm), now_ms);
        }
        let orders: Vec<_> = repairs.orders().cloned().collect();
        let mut moved = !orders.is_empty();
        for order in orders {
            repairs.copied(order.target, share.share, &order.chunks, now_ms);
            if let Some(holder) = share.holders.iter_mut().find(|h| h.peer.id == order.target) {
                holder.chunks = holder.chunks.plus(&order.chunks);
            } else {
                let peer = swarm.iter().find(|c| c.id == order.target).unwrap().clone();
                began.entry(order.target).or_insert(now_ms);
                let (since_ms, chunks) = (began[&order.target], order.chunks);
                share.holders.push(Holder { chunks, ..proven(peer, since_ms, false) });
            }
        }
        repairs.notice_surplus(share, now_ms);
        if let Some(told) = repairs.drop_of(share.share).cloned() {
            moved = true;
            repairs.dropped(told.peer, share.share);
            for holder in share.holders.iter_mut().filter(|holder| holder.peer.id == told.peer) {
                holder.chunks = holder.chunks.minus(&told.chunks);
            }
            share.holders.retain(|holder| !holder.chunks.is_empty());
            // Who has let go of everything begins anew when it copies again.
            began.retain(|peer, _| share.holders.iter().any(|holder| holder.peer.id == *peer));
        }
        moved
    }

    proptest! {
        #[test]
        fn copies_and_drops_come_to_rest_in_the_best_places_there_are(
            peers in proptest::collection::vec((0_u8..7, 0_u8..4, 0_u8..8, 0_u64..1000), 1..7),
            wanted in 1_u8..4,
        ) {
            let zone = |n: u8| [None, Some("a"), Some("b"), Some("c")][usize::from(n)];
            // Some zones are given, the others the peers' own words.
            let place = |(n, (z, host, _, _)): (u8, &(u8, u8, u8, u64))| Candidate {
                zone_is_given: *z < 4,
                ..candidate(n, zone(if *z < 4 { *z } else { *z - 3 }), *host)
            };
            let swarm: Vec<Candidate> = (1..).zip(&peers).map(place).collect();
            let set = |bits: u8| ChunkSet::of(3, (0..3).filter(|i| bits >> i & 1 == 1).map(ChunkIndex::new));
            let holders = swarm.iter().zip(&peers).map(|(peer, (_, _, bits, since_ms))| {
                Holder { chunks: set(*bits), ..proven(peer.clone(), *since_ms, false) }
            });
            let mut share = view(wanted, holders.filter(|holder| !holder.chunks.is_empty()).collect());
            let mut began: BTreeMap<PeerId, u64> =
                share.holders.iter().map(|holder| (holder.peer.id, age(holder).0)).collect();
            let before = share.clone();
            let mut repairs = Repairs::new(TIMEOUTS);
            let mut quiet = 0;
            for day in 1..400 {
                let moved = live_a_day(&mut share, &mut repairs, &swarm, &mut began, day * 24 * 3_600_000);
                quiet = if moved { 0 } else { quiet + 1 };
                for index in before.geometry.indices() {
                    let least = count_of(&before, index).min(usize::from(wanted));
                    prop_assert!(count_of(&share, index) >= least, "a replica that is needed went");
                }
                if quiet > 20 {
                    break;
                }
            }
            prop_assert!(quiet > 20, "it goes on for ever: {share:?}");
            for index in before.geometry.indices().filter(|&index| count_of(&before, index) > 0) {
                let possible = usize::from(wanted).min(swarm.len());
                prop_assert_eq!(count_of(&share, index), possible);
                let holds = |holder: &&Holder| holder.chunks.contains(index);
                let (zones, _) = spread(share.holders.iter().filter(holds).map(|holder| &holder.peer));
                // Where a peer's word puts it depends on who else is looked at: then no single move may better the spread.
                if swarm.iter().any(|peer| !peer.zone_is_given) {
                    continue;
                }
                let (most, _) = spread(swarm.iter());
                prop_assert_eq!(zones, most.min(possible), "zones are left empty");
            }
        }
    }
}
