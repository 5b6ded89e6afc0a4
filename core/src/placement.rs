//! Placement: which peers are to hold which chunks of a new share.
//!
//! A whole share lives on one small set of peers rather than scattered over all: the fewer peers a
//! share depends on, the likelier all of it can be read. The set is chosen by weighted rendezvous
//! hashing (Thaler and Ravishankar 1998; weights as in Schindelhauer and Schomaker 2005), so that
//! shares spread over the swarm in proportion to free space without anybody keeping a table.

use std::cmp::Ordering;
use std::collections::BTreeSet;

use crate::api::{OpenResponse, PeerAddress};
use crate::id::{PeerId, ShareId};
use crate::limits::SPARES_MAX;
use crate::token::TokenId;

/// A peer that could hold a share.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// The peer's id.
    pub id: PeerId,
    /// Bytes that it can still take.
    pub free_bytes: u64,
    /// Where it stands, if that is known.
    pub zone: Option<String>,
    /// Whether that is the word of the swarm's operator, not the peer's own.
    pub zone_is_given: bool,
    /// The machine that it runs on, as far as its address tells.
    pub host: String,
    /// The token that admitted it, if it is known: whoever has an invite can run as many peers as it admits.
    pub token: Option<TokenId>,
}

impl Candidate {
    /// A peer of which nothing is known, and which could hold nothing.
    pub const fn unknown(id: PeerId) -> Self {
        Self { id, free_bytes: 0, zone: None, zone_is_given: false, host: String::new(), token: None }
    }
}

/// What is to be placed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlacementRequest {
    /// The share.
    pub share: ShareId,
    /// Number of its chunks.
    pub chunk_count: u32,
    /// Bytes of its largest chunk after sealing.
    pub chunk_bytes: u64,
    /// How many peers are to hold each chunk.
    pub replicas: usize,
    /// Peers that hold a part of the share already: they come first, whatever space they have left,
    /// for what they hold is not sent again.
    pub preferred: Vec<PeerId>,
}

/// Which peers are to hold which chunks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placement {
    /// The sets of peers; together they cover every chunk once.
    pub sets: Vec<PlacedSet>,
    /// Peers to turn to when one of a set fails, best first.
    pub spares: Vec<PeerId>,
}

/// Peers that each hold the same run of chunks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlacedSet {
    /// Index of the first chunk of the run.
    pub first_chunk: u32,
    /// Number of chunks in the run; 0 only for a share without chunks.
    pub chunk_count: u32,
    /// The peers.
    pub peers: Vec<PeerId>,
}

impl From<&OpenResponse> for Placement {
    fn from(open: &OpenResponse) -> Self {
        let ids = |peers: &[PeerAddress]| peers.iter().map(|peer| peer.id).collect();
        let sets = open.sets.iter().map(|set| PlacedSet {
            first_chunk: set.first_chunk,
            chunk_count: set.chunk_count,
            peers: ids(&set.peers),
        });
        Self { sets: sets.collect(), spares: ids(&open.spares) }
    }
}

impl Placement {
    /// Whether it covers every chunk of a share exactly once, each run by this many distinct peers. A
    /// sender checks it, for it is the sender who promises the replicas.
    pub fn covers(&self, chunk_count: u32, replicas: usize) -> bool {
        let mut used = BTreeSet::new();
        let mut end = Some(0_u32);
        for set in &self.sets {
            let distinct = set.peers.iter().all(|peer| used.insert(*peer));
            if end != Some(set.first_chunk) || set.peers.len() != replicas || !distinct {
                return false;
            }
            end = set.first_chunk.checked_add(set.chunk_count);
        }
        !self.sets.is_empty()
            && end == Some(chunk_count)
            && self.spares.iter().all(|spare| used.insert(*spare))
    }
}

/// A share that cannot be placed now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PlacementError {
    /// Fewer peers than replicas.
    #[error("{needed} peers are needed, {alive} are alive")]
    TooFewPeers {
        /// Replicas that were asked for.
        needed: usize,
        /// Peers there are.
        alive: usize,
    },
    /// Enough peers, too little space on them.
    #[error("the peers have too little free space for {needed_bytes} bytes on {replicas} of them")]
    TooLittleSpace {
        /// Bytes of the share after sealing.
        needed_bytes: u64,
        /// Replicas that were asked for.
        replicas: usize,
    },
}

/// Chooses the peers for a share.
pub fn place(request: &PlacementRequest, candidates: &[Candidate]) -> Result<Placement, PlacementError> {
    if candidates.len() < request.replicas {
        return Err(PlacementError::TooFewPeers { needed: request.replicas, alive: candidates.len() });
    }
    let mut ranked: Vec<&Candidate> = candidates.iter().collect();
    ranked.sort_by(|a, b| by_score(request.share, a, b));
    let is_preferred = |c: &Candidate| request.preferred.contains(&c.id);
    // Stable: within both groups the order of the scores stays.
    ranked.sort_by_key(|c| !is_preferred(c));

    let share_bytes = u64::from(request.chunk_count) * request.chunk_bytes;
    let has_room = |c: &Candidate| c.free_bytes >= share_bytes || is_preferred(c);
    let roomy: Vec<&Candidate> = ranked.iter().copied().filter(|c| has_room(c)).collect();
    if roomy.len() >= request.replicas {
        let chosen = spread(&roomy, request.replicas, roomy.iter().filter(|c| is_preferred(c)).count());
        let peers = ids(&chosen);
        let spares = roomy.iter().map(|c| c.id).filter(|p| !peers.contains(p)).take(SPARES_MAX).collect();
        let set = PlacedSet { first_chunk: 0, chunk_count: request.chunk_count, peers };
        return Ok(Placement { sets: vec![set], spares });
    }
    place_across_sets(request, ranked)
        .ok_or(PlacementError::TooLittleSpace { needed_bytes: share_bytes, replicas: request.replicas })
}

/// Cuts a share too large for one set into as few runs as needed: the roomiest peers together.
fn place_across_sets(request: &PlacementRequest, mut ranked: Vec<&Candidate>) -> Option<Placement> {
    // A set has no more room than its fullest peer, so peers with about as much room go together.
    ranked.sort_by_key(|c| std::cmp::Reverse(c.free_bytes));
    let mut sets = Vec::new();
    let mut first_chunk = 0;
    let mut groups = ranked.chunks_exact(request.replicas);
    for group in groups.by_ref() {
        let room = group.iter().map(|c| c.free_bytes).min()? / request.chunk_bytes.max(1);
        let left = request.chunk_count - first_chunk;
        let chunk_count = u32::try_from(room).unwrap_or(u32::MAX).min(left);
        // Later groups have even less room.
        if chunk_count == 0 {
            break;
        }
        sets.push(PlacedSet { first_chunk, chunk_count, peers: ids(group) });
        first_chunk += chunk_count;
        if first_chunk == request.chunk_count {
            let used = sets.len() * request.replicas;
            let spares = ranked[used..].iter().map(|c| c.id).take(SPARES_MAX).collect();
            return Some(Placement { sets, spares });
        }
    }
    None
}

/// How much a candidate has in common with `others`: 0 nothing that is known, neither zone nor host nor token; 1 the
/// token; 2 the zone, too, perhaps; 3 the host.
fn tier(c: &Candidate, others: &[&Candidate]) -> u8 {
    let apart = |of: fn(&Candidate) -> Option<&str>| {
        of(c).is_none_or(|own| others.iter().all(|other| of(other) != Some(own)))
    };
    let new_token = c.token.is_none_or(|token| others.iter().all(|other| other.token != Some(token)));
    match (apart(|c| Some(c.host.as_str())), apart(|c| c.zone.as_deref()), new_token) {
        (true, true, true) => 0,
        (true, true, false) => 1,
        (true, false, _) => 2,
        (false, ..) => 3,
    }
}

/// Takes `count` of the ranked candidates: the preferred ones, which lead; then those that have least in common
/// with those taken, see [`tier`].
fn spread<'a>(ranked: &[&'a Candidate], count: usize, preferred: usize) -> Vec<&'a Candidate> {
    let mut chosen: Vec<&Candidate> = ranked[..preferred.min(count).min(ranked.len())].to_vec();
    let is_new = |c: &Candidate, chosen: &[&Candidate]| chosen.iter().all(|o| o.id != c.id);
    // Not sorted once: whoever is taken changes the tiers of the others.
    for round in 0..=3 {
        for &candidate in ranked {
            if chosen.len() < count && tier(candidate, &chosen) <= round && is_new(candidate, &chosen) {
                chosen.push(candidate);
            }
        }
    }
    chosen
}

/// The candidates for one more replica beside those at `existing`, best first: those that have least in common with
/// them, see [`tier`].
pub fn rank<'a>(share: ShareId, candidates: &'a [Candidate], existing: &[&Candidate]) -> Vec<&'a Candidate> {
    let mut ranked: Vec<&Candidate> = candidates.iter().collect();
    ranked.sort_by(|a, b| tier(a, existing).cmp(&tier(b, existing)).then_with(|| by_score(share, a, b)));
    ranked
}

fn ids(candidates: &[&Candidate]) -> Vec<PeerId> {
    candidates.iter().map(|c| c.id).collect()
}

fn by_score(share: ShareId, a: &Candidate, b: &Candidate) -> Ordering {
    // The id breaks ties, so that the order in which candidates are given never matters.
    score(share, b).total_cmp(&score(share, a)).then(a.id.cmp(&b.id))
}

/// `weight / -ln(u)` with `u` uniform in (0, 1) from the pair's hash: the highest wins with a
/// probability in proportion to its weight.
#[expect(clippy::cast_precision_loss, reason = "53 bits are plenty for a draw")]
fn score(share: ShareId, candidate: &Candidate) -> f64 {
    let hash = blake3::hash(&[share.as_bytes().as_slice(), candidate.id.as_bytes()].concat());
    let mut draw = [0; 8];
    draw.copy_from_slice(&hash.as_bytes()[..8]);
    let uniform = ((u64::from_le_bytes(draw) >> 11) as f64 + 0.5) / (1_u64 << 53) as f64;
    candidate.free_bytes as f64 / -uniform.ln()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn candidate(number: u8, free_bytes: u64) -> Candidate {
        Candidate {
            id: PeerId::from_bytes([number; 32]),
            free_bytes,
            zone: None,
            zone_is_given: false,
            host: format!("host{number}"),
            token: None,
        }
    }

    fn request(share: u8, chunk_count: u32, replicas: usize) -> PlacementRequest {
        PlacementRequest {
            share: ShareId::from_bytes([share; 32]),
            chunk_count,
            chunk_bytes: 100,
            replicas,
            preferred: Vec::new(),
        }
    }

    #[test]
    fn too_few_peers_and_too_little_space_are_told_apart() {
        let two = [candidate(1, 1000), candidate(2, 1000)];
        let error = place(&request(1, 1, 3), &two).unwrap_err();
        assert_eq!(error, PlacementError::TooFewPeers { needed: 3, alive: 2 });
        let error = place(&request(1, 11, 2), &two).unwrap_err();
        assert_eq!(error, PlacementError::TooLittleSpace { needed_bytes: 1100, replicas: 2 });
    }

    #[test]
    fn zones_and_hosts_are_spread_where_there_are_any() {
        for share in 0..50 {
            let mut peers: Vec<Candidate> = (1..=6).map(|n| candidate(n, 1000)).collect();
            for (position, peer) in peers.iter_mut().enumerate() {
                peer.zone = Some(if position < 4 { "attic" } else { "cellar" }.into());
                peer.host = format!("host{}", position / 2);
            }
            let placement = place(&request(share, 1, 2), &peers).unwrap();
            let zones: BTreeSet<_> = placement.sets[0]
                .peers
                .iter()
                .map(|id| peers.iter().find(|p| p.id == *id).unwrap().zone.clone())
                .collect();
            assert_eq!(zones.len(), 2);
            let placement = place(&request(share, 1, 3), &peers).unwrap();
            let hosts: BTreeSet<_> = placement.sets[0]
                .peers
                .iter()
                .map(|id| peers.iter().find(|p| p.id == *id).unwrap().host.clone())
                .collect();
            assert_eq!(hosts.len(), 3);
        }
    }

    #[test]
    fn s13_replicas_go_to_peers_of_different_tokens_where_they_can() {
        for share in 0..50 {
            // Nine peers of one token have most of the space, and another token has one.
            let mut peers: Vec<Candidate> = (1..=9).map(|n| candidate(n, 1 << 50)).collect();
            peers.push(candidate(10, 1 << 20));
            for (number, peer) in peers.iter_mut().enumerate() {
                peer.token = Some(TokenId::from_bytes([u8::from(number == 9); 8]));
            }
            let placement = place(&request(share, 1, 2), &peers).unwrap();
            assert!(placement.sets[0].peers.contains(&peers[9].id), "{share}");
            let first = peers[0].clone();
            let best = |peers: &[Candidate]| rank(request(share, 1, 1).share, peers, &[&first])[0].id;
            assert_eq!(best(&peers[1..]), peers[9].id);
            // A zone of its own is worth more than a token of its own.
            let first = Candidate { zone: Some("cellar".into()), ..first.clone() };
            let zoned = peers.iter().cloned().enumerate().map(|(number, peer)| Candidate {
                zone: Some(if number == 3 { "attic" } else { "cellar" }.into()),
                ..peer
            });
            let zoned: Vec<Candidate> = zoned.collect();
            assert_eq!(rank(request(share, 1, 1).share, &zoned[1..], &[&first])[0].id, peers[3].id);
        }
    }

    #[test]
    fn shares_spread_in_proportion_to_free_space() {
        let peers = [candidate(1, 1 << 40), candidate(2, 3 << 40)];
        let on_larger = (0..4000_u32).filter(|n| {
            let mut id = [0; 32];
            id[..4].copy_from_slice(&n.to_le_bytes());
            let request = PlacementRequest { share: ShareId::from_bytes(id), ..request(0, 1, 1) };
            place(&request, &peers).unwrap().sets[0].peers[0] == peers[1].id
        });
        let share = on_larger.count() as f64 / 4000.0;
        assert!((0.72..0.78).contains(&share), "{share}");
    }

    #[test]
    fn peers_that_hold_a_part_already_come_first_even_if_they_have_little_room_left() {
        let peers: Vec<Candidate> = (1..=6).map(|n| candidate(n, if n < 3 { 10 } else { 1 << 40 })).collect();
        let preferred = vec![peers[0].id, peers[1].id, PeerId::from_bytes([99; 32])];
        let placement = place(&PlacementRequest { preferred, ..request(1, 9, 2) }, &peers).unwrap();
        assert_eq!(
            placement.sets[0].peers.iter().collect::<BTreeSet<_>>(),
            BTreeSet::from([&peers[0].id, &peers[1].id])
        );
        assert_eq!(placement.spares.len(), 4);
    }

    #[test]
    fn a_placement_that_breaks_the_promise_of_replicas_is_noticed() {
        let id = |n| PeerId::from_bytes([n; 32]);
        let covers = |sets: &[(u32, u32, &[u8])], spares: &[u8]| {
            let set = |&(first_chunk, chunk_count, peers): &(u32, u32, &[u8])| PlacedSet {
                first_chunk,
                chunk_count,
                peers: peers.iter().map(|&n| id(n)).collect(),
            };
            let spares = spares.iter().map(|&n| id(n)).collect();
            Placement { sets: sets.iter().map(set).collect(), spares }.covers(9, 2)
        };
        assert!(covers(&[(0, 9, &[1, 2])], &[3]));
        assert!(covers(&[(0, 4, &[1, 2]), (4, 5, &[3, 4])], &[]));
        // No set; too few, equal or too many peers; chunks left out, twice or beyond the end; a peer in two places.
        for (sets, spares) in [
            (&[][..], &[][..]),
            (&[(0, 9, &[1][..])], &[]),
            (&[(0, 9, &[1, 1])], &[]),
            (&[(0, 9, &[1, 2, 3])], &[]),
            (&[(0, 8, &[1, 2])], &[]),
            (&[(0, 10, &[1, 2])], &[]),
            (&[(1, 8, &[1, 2])], &[]),
            (&[(0, 4, &[1, 2]), (5, 4, &[3, 4])], &[]),
            (&[(0, 4, &[1, 2]), (3, 6, &[3, 4])], &[]),
            (&[(0, 4, &[1, 2]), (4, 5, &[2, 3])], &[]),
            (&[(0, 4, &[1, 2]), (4, u32::MAX, &[3, 4])], &[]),
            (&[(0, 9, &[1, 2])], &[2]),
        ] {
            assert!(!covers(sets, spares), "{sets:?} {spares:?}");
        }
    }

    #[test]
    fn a_share_too_large_for_one_set_spans_as_few_as_needed() {
        let peers: Vec<Candidate> = (1..=5).map(|n| candidate(n, 600)).collect();
        let placement = place(&request(1, 10, 2), &peers).unwrap();
        let runs: Vec<_> = placement.sets.iter().map(|s| (s.first_chunk, s.chunk_count)).collect();
        assert_eq!(runs, [(0, 6), (6, 4)]);
        assert_eq!(placement.spares.len(), 1);
    }

    proptest! {
        #[test]
        fn every_chunk_is_covered_by_distinct_peers_with_room(
            frees in proptest::collection::vec(0u64..5000, 0..12), chunk_count in 0u32..60, replicas in 1usize..5, share: u8,
        ) {
            let peers: Vec<Candidate> =
                frees.iter().zip(0u8..).map(|(&free, n)| candidate(n, free)).collect();
            if let Ok(placement) = place(&request(share, chunk_count, replicas), &peers) {
                let mut end = 0;
                let mut used = BTreeSet::new();
                for set in &placement.sets {
                    prop_assert_eq!(set.first_chunk, end);
                    end += set.chunk_count;
                    prop_assert_eq!(set.peers.len(), replicas);
                    for id in &set.peers {
                        prop_assert!(used.insert(*id), "a peer is used once");
                        let free = peers.iter().find(|p| p.id == *id).unwrap().free_bytes;
                        prop_assert!(free >= u64::from(set.chunk_count) * 100);
                    }
                }
                prop_assert_eq!(end, chunk_count);
                prop_assert!(placement.covers(chunk_count, replicas));
                prop_assert!(placement.spares.iter().all(|spare| !used.contains(spare)));
            }
        }
    }
}
