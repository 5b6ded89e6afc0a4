//! The tracker's rules about peers: registration, liveness, and who is offered to whom.
//!
//! Times are milliseconds of a clock that never goes back; the caller brings them along.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::audit::Evidence;
use crate::chunk_set::ChunkSet;
use crate::duration::millis;
use crate::health::{Holder, ReplicaStatus};
use crate::id::{PeerId, RunId, ShareId};
use crate::inventory::InventoryProgress;
use crate::limits::{HOUR_WINDOWS, INVENTORY_SPREAD, INVENTORY_STEP, PEER_ADDRESSES_MAX};
pub use crate::liveness::Liveness;
use crate::placement::Candidate;
use crate::reach::{Doubt, Reach};
use crate::runs::{Cloned, Heard, Runs};
use crate::spread::Spread;
use crate::suspicion::{Loss, is_own_network};
use crate::token::TokenId;
use crate::traffic::{Meter, Traffic};
use crate::ways::Moves;

/// Heartbeats that a peer may miss before it is suspect.
const MISSED_BEATS: u32 = 3;

/// What a peer tells about itself when it registers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Registration {
    /// The peer.
    pub id: PeerId,
    /// The run that registered.
    pub run: RunId,
    /// What its operator calls it.
    pub name: String,
    /// Where it serves, best first.
    pub addresses: Vec<SocketAddr>,
    /// The port at which it is reached wherever its requests come from; none: its operator said where it is.
    pub port: Option<u16>,
    /// Bytes that it is willing to hold.
    pub capacity_bytes: u64,
    /// Where it stands, to keep replicas apart.
    pub zone: Option<String>,
    /// Whether that was said by the swarm's operator, with the invite, and not by the peer itself.
    ///
    /// Registrations that earlier versions kept do not say so. Until such a peer registers again, with its next start, it
    /// only sets fewer replicas apart than it could: nothing counts as safer than it is, and a copy that goes as surplus
    /// meanwhile although it was the one in another zone is made again there as of a share that is misplaced.
    #[serde(default)]
    pub zone_is_given: bool,
    /// The version of parcelry that it runs.
    pub version: String,
    /// The token that admitted it: those of one token may all be one machine.
    pub token: Option<TokenId>,
}

/// The usage of a peer's disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
pub struct Usage {
    /// Bytes of chunks that it holds.
    pub used_bytes: u64,
    /// Bytes that it can still take.
    pub free_bytes: u64,
}

/// How far a peer is with reading everything that it holds again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ScrubProgress {
    /// Bytes that the pass has read.
    pub done_bytes: u64,
    /// Bytes that it has to read in all.
    pub total_bytes: u64,
}

/// When silence means what.
#[derive(Debug, Clone, Copy)]
pub struct Rules {
    /// Time between two heartbeats.
    pub heartbeat: Duration,
    /// Silence after which a peer is dead.
    pub dead_after: Duration,
}

impl Rules {
    /// Silence after which a peer is suspect.
    pub fn suspect_after(self) -> Duration {
        self.heartbeat * MISSED_BEATS
    }

    fn is_dead(self, seen_ms: u64, now_ms: u64) -> bool {
        Duration::from_millis(now_ms.saturating_sub(seen_ms)) >= self.dead_after
    }
}

/// What the tracker knows of a peer.
#[derive(Debug, Clone)]
pub struct Peer {
    /// What it said when it registered.
    pub registration: Registration,
    /// What it said last about its disk.
    pub usage: Usage,
    /// When it was heard of last; a peer loaded from disk counts as heard of at that moment.
    pub seen_ms: u64,
    /// Whether it was heard of since this tracker started.
    pub confirmed: bool,
    /// Which of its processes speaks for it.
    runs: Runs,
    /// How often it was dialled because it came from elsewhere.
    moves: Moves,
    inventory: InventoryProgress,
    /// Whether others can reach it.
    reach: Reach,
    /// How fast it takes and serves chunks.
    pub traffic: Meter,
    /// How far its scrub is, if it said so.
    pub scrub: Option<ScrubProgress>,
}

impl Peer {
    fn new(registration: Registration, usage: Usage, seen_ms: u64, reach: Reach) -> Self {
        Self {
            runs: Runs::new(registration.run, seen_ms),
            registration,
            usage,
            seen_ms,
            confirmed: true,
            moves: Moves::default(),
            inventory: InventoryProgress::default(),
            reach,
            traffic: Meter::default(),
            scrub: None,
        }
    }
}

/// Why a heartbeat is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BeatError {
    /// The peer, or this run of it, must register first.
    #[error("the peer is not registered")]
    Unknown,
    /// Two machines run with its key.
    #[error(transparent)]
    Cloned(#[from] Cloned),
}

/// All peers of a swarm.
#[derive(Debug)]
pub struct Registry {
    rules: Rules,
    peers: BTreeMap<PeerId, Peer>,
    /// When peers went that said goodbye: they may just be restarting.
    left_ms: BTreeMap<PeerId, u64>,
    draining: BTreeSet<PeerId>,
    /// Whether the tracker's own network is under suspicion: then nobody is dead for not being reached.
    suspicion: bool,
    /// When the next inventory may come.
    inventories: Spread,
}

impl Registry {
    /// A swarm without peers.
    pub const fn new(rules: Rules) -> Self {
        Self {
            rules,
            peers: BTreeMap::new(),
            left_ms: BTreeMap::new(),
            draining: BTreeSet::new(),
            suspicion: false,
            inventories: Spread::new(INVENTORY_STEP, INVENTORY_SPREAD),
        }
    }

    /// The rules of liveness.
    pub const fn rules(&self) -> Rules {
        self.rules
    }

    /// Takes in a peer that was registered before this tracker started. It is suspect until it beats.
    pub fn load(&mut self, registration: Registration, now_ms: u64) {
        let reach = Reach::new(registration.id, now_ms, self.rules);
        let peer = Peer::new(registration, Usage::default(), now_ms, reach);
        self.peers.entry(peer.registration.id).or_insert(Peer { confirmed: false, ..peer });
    }

    /// Checks that a run of a peer may register: not if another machine is there with the same key.
    pub fn admit(&mut self, id: PeerId, run: RunId, now_ms: u64) -> Result<(), Cloned> {
        let Some(peer) = self.peers.get_mut(&id) else { return Ok(()) };
        // Only a registration that was taken replaces a run: what is asked for here may still fail.
        peer.runs.clone().register(run, now_ms, self.rules.dead_after).inspect_err(|Cloned| {
            let _ = peer.runs.register(run, now_ms, self.rules.dead_after);
            peer.inventory = InventoryProgress::default();
        })
    }

    /// Registers a peer or refreshes what is known of it.
    pub fn register(&mut self, registration: Registration, usage: Usage, now_ms: u64) -> Result<(), Cloned> {
        let id = registration.id;
        self.admit(id, registration.run, now_ms)?;
        self.left_ms.remove(&id);
        let mut peer = Peer::new(registration, usage, now_ms, Reach::new(id, now_ms, self.rules));
        if let Some(before) = self.peers.remove(&id) {
            peer.runs = before.runs;
            peer.runs.register(peer.registration.run, now_ms, self.rules.dead_after)?;
            peer.moves = before.moves;
        }
        self.peers.insert(id, peer);
        Ok(())
    }

    /// Notes that a run of a peer is there.
    pub fn beat(&mut self, id: PeerId, run: RunId, usage: Usage, now_ms: u64) -> Result<(), BeatError> {
        let peer = self.peers.get_mut(&id).ok_or(BeatError::Unknown)?;
        let heard = peer.runs.beat(run, now_ms, self.rules.dead_after);
        // Of two machines with one key only the one that registered says how the peer is.
        if run == peer.registration.run {
            peer.usage = usage;
            peer.seen_ms = now_ms;
            peer.confirmed = true;
        }
        match heard {
            Heard::Known => Ok(()),
            Heard::Other => Err(BeatError::Unknown),
            Heard::Cloned => {
                peer.inventory = InventoryProgress::default();
                Err(BeatError::Cloned(Cloned))
            }
        }
    }

    /// Whether to dial a peer back that has just beaten from this address, at which it was not found yet.
    pub fn may_dial(&mut self, id: PeerId, address: SocketAddr, now_ms: u64) -> bool {
        let Some(peer) = self.peers.get_mut(&id) else { return false };
        let is_new = !peer.registration.addresses.contains(&address);
        is_new && peer.moves.may_dial(now_ms, self.rules.heartbeat, self.rules.dead_after)
    }

    /// Notes that a run of a peer was found at an address, where it is to be sought first from now on. Returns its
    /// registration if that is news.
    pub fn found_at(&mut self, id: PeerId, run: RunId, address: SocketAddr) -> Option<Registration> {
        let peer = self.peers.get_mut(&id).filter(|peer| peer.registration.run == run)?;
        let addresses = &mut peer.registration.addresses;
        if addresses.contains(&address) {
            return None;
        }
        addresses.insert(0, address);
        addresses.truncate(PEER_ADDRESSES_MAX);
        Some(peer.registration.clone())
    }

    /// Notes that a run of a peer was not found at these addresses, but at another one. Returns its registration if
    /// that is news.
    pub fn not_found_at(&mut self, id: PeerId, run: RunId, gone: &[SocketAddr]) -> Option<Registration> {
        let peer = self.peers.get_mut(&id).filter(|peer| peer.registration.run == run)?;
        let left: Vec<_> =
            peer.registration.addresses.iter().filter(|address| !gone.contains(address)).copied().collect();
        // The last address stays: without one the peer could not be sought at all.
        if left.is_empty() || left == peer.registration.addresses {
            return None;
        }
        peer.registration.addresses = left;
        Some(peer.registration.clone())
    }

    /// After how long a peer is to tell what it holds; `None`: it has told that to this tracker. What many are to
    /// tell at once is spread.
    pub fn inventory_after(&mut self, id: PeerId, now_ms: u64) -> Option<Duration> {
        let due_ms = self.peers.get_mut(&id)?.inventory.due_ms(|| self.inventories.next(now_ms))?;
        Some(Duration::from_millis(due_ms.saturating_sub(now_ms)))
    }

    /// Notes a page of a peer's inventory, which goes from one share to another, or to the last of all.
    pub fn heard_inventory(&mut self, id: PeerId, after: Option<ShareId>, upto: Option<ShareId>, last: bool) {
        if let Some(peer) = self.peers.get_mut(&id) {
            peer.inventory.heard(after, upto, last);
        }
    }

    /// Whether a peer has told this tracker what it holds of a share.
    pub fn has_told(&self, id: PeerId, share: ShareId) -> bool {
        self.peers.get(&id).is_some_and(|peer| peer.inventory.covers(share))
    }

    /// The peers that are to be asked whether they can be reached, at most so many; each question is under way until
    /// [`Self::answered`]. Those that are silent are not asked.
    pub fn questions(&mut self, now_ms: u64, most: usize) -> Vec<Registration> {
        let rules = self.rules;
        let there =
            self.peers.values_mut().filter(|peer| peer.confirmed && !rules.is_dead(peer.seen_ms, now_ms));
        let due = there.filter_map(|peer| peer.reach.ask(now_ms).then(|| peer.registration.clone()));
        due.take(most).collect()
    }

    /// Notes what came of a question to a run of a peer.
    pub fn answered(&mut self, id: PeerId, run: RunId, answer: Result<(), String>, now_ms: u64) {
        let rules = self.rules;
        if let Some(peer) = self.peers.get_mut(&id).filter(|peer| peer.registration.run == run) {
            peer.reach.answered(answer, now_ms, rules);
        }
    }

    /// Notes that a receiver could not reach a peer.
    pub fn complain(&mut self, id: PeerId, from: IpAddr, now_ms: u64) {
        let rules = self.rules;
        if let Some(peer) = self.peers.get_mut(&id) {
            peer.reach.complain(from, now_ms, rules);
        }
    }

    /// Why a peer that beats does not count, and since when.
    pub fn doubt(&self, id: PeerId, now_ms: u64) -> Option<Doubt> {
        let peer = self.peers.get(&id)?;
        let (since_ms, why) = match self.liveness(peer, now_ms) {
            Liveness::Cloned => {
                let since_ms = peer.runs.cloned_since(now_ms, self.rules.dead_after)?;
                (since_ms, "two machines run with its key: stop one of them".to_owned())
            }
            Liveness::Unreachable => {
                peer.reach.unreachable().map(|(since_ms, why)| (since_ms, why.to_owned()))?
            }
            Liveness::Alive | Liveness::Suspect | Liveness::Dead => return None,
        };
        let is_gone = self.status(id, now_ms) == ReplicaStatus::Gone;
        Some(Doubt { why, for_ms: now_ms.saturating_sub(since_ms), is_gone })
    }

    /// Notes what a peer that has just beaten told about its work.
    pub fn note_work(&mut self, id: PeerId, traffic: Traffic, scrub: Option<ScrubProgress>, now_ms: u64) {
        if let Some(peer) = self.peers.get_mut(&id) {
            peer.traffic.read(traffic, now_ms);
            peer.scrub = scrub;
        }
    }

    /// Takes a peer off the list. Returns whether it was there. Its dead time goes on.
    pub fn leave(&mut self, id: PeerId) -> bool {
        let peer = self.peers.remove(&id);
        if let Some(peer) = &peer {
            self.left_ms.insert(id, peer.seen_ms);
        }
        peer.is_some()
    }

    /// Says that a peer is to be emptied, or no longer.
    pub fn drain(&mut self, id: PeerId, draining: bool) {
        if draining {
            self.draining.insert(id);
        } else {
            self.draining.remove(&id);
        }
    }

    /// Whether the peer is to be emptied.
    pub fn is_draining(&self, id: PeerId) -> bool {
        self.draining.contains(&id)
    }

    /// The peer, with how sure it is to be there.
    pub fn get(&self, id: PeerId, now_ms: u64) -> Option<(&Peer, Liveness)> {
        self.peers.get(&id).map(|peer| (peer, self.liveness(peer, now_ms)))
    }

    /// All peers, in the order of their ids.
    pub fn peers(&self, now_ms: u64) -> impl Iterator<Item = (&Peer, Liveness)> {
        self.peers.values().map(move |peer| (peer, self.liveness(peer, now_ms)))
    }

    /// Whether a new share may be placed on a peer of which the tracker is this sure.
    pub fn is_candidate(&self, id: PeerId, liveness: Liveness) -> bool {
        let is_there = liveness == Liveness::Alive || (liveness == Liveness::Unreachable && self.suspicion);
        is_there && !self.is_draining(id)
    }

    /// The peers on which a new share may be placed.
    pub fn candidates(&self, now_ms: u64) -> Vec<Candidate> {
        let peers = self.peers(now_ms);
        let there = peers.filter(|(peer, liveness)| self.is_candidate(peer.registration.id, *liveness));
        there.map(|(peer, _)| candidate(peer)).collect()
    }

    /// How the replicas of a peer count. A peer that is not registered, for it left or this tracker knows it
    /// from its database only, has the same dead time as a silent one.
    pub fn status(&self, id: PeerId, now_ms: u64) -> ReplicaStatus {
        let Some((_, liveness)) = self.get(id, now_ms) else {
            let since_ms = self.left_ms.get(&id).copied().unwrap_or(0);
            let gone = Duration::from_millis(now_ms.saturating_sub(since_ms)) >= self.rules.dead_after;
            return if gone { ReplicaStatus::Gone } else { ReplicaStatus::Unsure };
        };
        match liveness {
            Liveness::Dead => ReplicaStatus::Gone,
            Liveness::Cloned | Liveness::Unreachable => self.status_in_doubt(id, now_ms),
            _ if self.is_draining(id) => ReplicaStatus::Leaving,
            Liveness::Suspect => ReplicaStatus::Unsure,
            Liveness::Alive => ReplicaStatus::Sure,
        }
    }

    /// A holder of chunks, as repair sees it.
    pub fn holder(&self, id: PeerId, chunks: ChunkSet, evidence: Evidence, now_ms: u64) -> Holder {
        let peer = self.peers.get(&id).map_or_else(|| Candidate::unknown(id), candidate);
        Holder { peer, status: self.status(id, now_ms), chunks, evidence }
    }

    /// Judges whether more than a third of what is held was lost at once, and not long ago, to silence or because peers
    /// cannot be reached any more: then it is rather the tracker's own network that failed, and copying everything anew would
    /// be wrong. `weight` says of how many shares a peer has proven to hold something.
    pub fn suspect_own_network(&mut self, weight: impl Fn(PeerId) -> u64, now_ms: u64) -> bool {
        let window_ms = millis(self.rules.dead_after * HOUR_WINDOWS);
        let suspect_after_ms = millis(self.rules.suspect_after());
        let (mut losses, mut alive_weight) = (Vec::new(), 0_u64);
        for (peer, liveness) in self.peers(now_ms) {
            let (from_ms, to_ms) = match liveness {
                // Both machines of a clone are heard: it is not the network that fails.
                Liveness::Alive | Liveness::Cloned => {
                    alive_weight = alive_weight.saturating_add(weight(peer.registration.id));
                    continue;
                }
                Liveness::Unreachable => peer.reach.lost_within(),
                Liveness::Suspect | Liveness::Dead => (peer.seen_ms, peer.seen_ms),
            };
            if now_ms.saturating_sub(to_ms) < window_ms {
                let to_ms = to_ms.saturating_add(suspect_after_ms);
                losses.push(Loss { from_ms, to_ms, weight: weight(peer.registration.id) });
            }
        }
        self.suspicion = is_own_network(&losses, alive_weight);
        self.suspicion
    }

    /// Of the holders of a share, those to whom a receiver may be sent, the surest first.
    pub fn sources(&self, holders: Vec<(PeerId, ChunkSet)>, now_ms: u64) -> Vec<(&Peer, Liveness, ChunkSet)> {
        let known = holders.into_iter().filter_map(|(id, chunks)| {
            let (peer, liveness) = self.get(id, now_ms)?;
            // Its status knows of a peer that beats in vain.
            (liveness != Liveness::Dead && self.status(id, now_ms) != ReplicaStatus::Gone)
                .then_some((peer, liveness, chunks))
        });
        let mut sources: Vec<_> = known.collect();
        sources.sort_by_key(|(_, liveness, _)| *liveness);
        sources
    }

    /// How the replicas of a peer count that beats, and yet does not count: as those of a silent one.
    fn status_in_doubt(&self, id: PeerId, now_ms: u64) -> ReplicaStatus {
        let Some(peer) = self.peers.get(&id) else { return ReplicaStatus::Unsure };
        let cloned = peer.runs.cloned_since(now_ms, self.rules.dead_after);
        let unreachable = peer.reach.unreachable().map(|(since_ms, _)| since_ms).filter(|_| !self.suspicion);
        // The earlier of the two, so that a second reason for doubt begins no new dead time.
        let since_ms = cloned.into_iter().chain(unreachable).min();
        let is_gone = since_ms.is_some_and(|since_ms| self.rules.is_dead(since_ms, now_ms));
        match is_gone {
            true => ReplicaStatus::Gone,
            false if self.is_draining(id) => ReplicaStatus::Leaving,
            false => ReplicaStatus::Unsure,
        }
    }

    fn liveness(&self, peer: &Peer, now_ms: u64) -> Liveness {
        let silent = Duration::from_millis(now_ms.saturating_sub(peer.seen_ms));
        if self.rules.is_dead(peer.seen_ms, now_ms) {
            Liveness::Dead
        } else if peer.runs.cloned_since(now_ms, self.rules.dead_after).is_some() {
            Liveness::Cloned
        } else if silent >= self.rules.suspect_after() || !peer.confirmed {
            Liveness::Suspect
        } else if peer.reach.unreachable().is_some() {
            Liveness::Unreachable
        } else {
            Liveness::Alive
        }
    }
}

fn candidate(peer: &Peer) -> Candidate {
    Candidate {
        id: peer.registration.id,
        free_bytes: peer.usage.free_bytes,
        zone: peer.registration.zone.clone(),
        zone_is_given: peer.registration.zone_is_given,
        host: peer.registration.addresses.first().map(|address| address.ip().to_string()).unwrap_or_default(),
        token: peer.registration.token,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: Rules = Rules { heartbeat: Duration::from_secs(10), dead_after: Duration::from_secs(300) };

    const RUN: RunId = RunId::from_bytes([1; 16]);

    fn at(number: u8) -> SocketAddr {
        SocketAddr::from(([10, 0, 0, number], 7000))
    }

    fn registration(number: u8) -> Registration {
        Registration {
            id: PeerId::from_bytes([number; 32]),
            run: RUN,
            name: format!("peer{number}"),
            addresses: vec![at(number)],
            port: Some(7000),
            capacity_bytes: 100,
            zone: None,
            zone_is_given: false,
            version: "1".into(),
            token: None,
        }
    }

    fn liveness(registry: &Registry, number: u8, now_ms: u64) -> Option<Liveness> {
        registry.get(PeerId::from_bytes([number; 32]), now_ms).map(|(_, liveness)| liveness)
    }

    #[test]
    fn silence_makes_a_peer_suspect_then_dead_and_a_beat_brings_it_back() {
        let mut registry = Registry::new(RULES);
        registry.register(registration(1), Usage::default(), 0).unwrap();
        assert_eq!(liveness(&registry, 1, 29_999), Some(Liveness::Alive));
        assert_eq!(liveness(&registry, 1, 30_000), Some(Liveness::Suspect));
        assert_eq!(liveness(&registry, 1, 299_999), Some(Liveness::Suspect));
        assert_eq!(liveness(&registry, 1, 300_000), Some(Liveness::Dead));
        registry.beat(PeerId::from_bytes([1; 32]), RUN, Usage::default(), 300_001).unwrap();
        assert_eq!(liveness(&registry, 1, 300_001), Some(Liveness::Alive));
    }

    #[test]
    fn an_unregistered_peer_must_register() {
        let mut registry = Registry::new(RULES);
        assert_eq!(
            registry.beat(PeerId::from_bytes([1; 32]), RUN, Usage::default(), 0),
            Err(BeatError::Unknown)
        );
    }

    #[test]
    fn registering_again_makes_no_duplicate() {
        let mut registry = Registry::new(RULES);
        registry.register(registration(1), Usage::default(), 0).unwrap();
        registry
            .register(Registration { name: "new".into(), ..registration(1) }, Usage::default(), 1)
            .unwrap();
        let names: Vec<_> = registry.peers(1).map(|(peer, _)| peer.registration.name.clone()).collect();
        assert_eq!(names, ["new"]);
    }

    #[test]
    fn only_living_peers_are_offered_for_new_shares() {
        let mut registry = Registry::new(RULES);
        registry.register(registration(1), Usage::default(), 0).unwrap();
        registry.register(registration(2), Usage::default(), 100_000).unwrap();
        let candidates = registry.candidates(100_000);
        assert_eq!(candidates.len(), 1);
        assert_eq!(candidates[0].host, "10.0.0.2");
    }

    #[test]
    fn after_a_restart_peers_are_sources_but_no_candidates_until_they_beat() {
        let mut registry = Registry::new(RULES);
        registry.load(registration(1), 5);
        assert_eq!(liveness(&registry, 1, 6), Some(Liveness::Suspect));
        let holders = vec![(PeerId::from_bytes([1; 32]), ChunkSet::full(1))];
        assert_eq!(registry.sources(holders.clone(), 6).len(), 1);
        assert!(registry.candidates(6).is_empty());
        assert!(registry.sources(holders, 300_005).is_empty(), "dead if it never beats");
    }

    #[test]
    fn a_peer_counts_until_its_dead_time_is_over_whether_it_fell_silent_or_left() {
        let mut registry = Registry::new(RULES);
        let [silent, left, unknown] = [1, 2, 3].map(|n| PeerId::from_bytes([n; 32]));
        registry.register(registration(1), Usage::default(), 0).unwrap();
        registry.register(registration(2), Usage::default(), 10_000).unwrap();
        assert!(registry.leave(left) && !registry.leave(left));
        let statuses = |now_ms| [silent, left, unknown].map(|id| registry.status(id, now_ms));
        assert_eq!(statuses(20_000), [ReplicaStatus::Sure, ReplicaStatus::Unsure, ReplicaStatus::Unsure]);
        assert_eq!(statuses(300_000), [ReplicaStatus::Gone, ReplicaStatus::Unsure, ReplicaStatus::Gone]);
        assert_eq!(statuses(310_000)[1], ReplicaStatus::Gone);
    }

    #[test]
    fn a_draining_peer_gets_nothing_new_and_its_replicas_do_not_count() {
        let mut registry = Registry::new(RULES);
        registry.register(registration(1), Usage::default(), 0).unwrap();
        let id = PeerId::from_bytes([1; 32]);
        registry.drain(id, true);
        assert!(registry.candidates(0).is_empty());
        assert_eq!(registry.status(id, 0), ReplicaStatus::Leaving);
        registry.drain(id, false);
        assert_eq!((registry.candidates(0).len(), registry.status(id, 0)), (1, ReplicaStatus::Sure));
    }

    #[test]
    fn n4_many_peers_that_vanish_at_once_put_the_own_network_under_suspicion() {
        let swarm = |silent_since: &[u64]| -> Registry {
            let mut registry = Registry::new(RULES);
            for (number, &seen_ms) in (1..).zip(silent_since) {
                registry.register(registration(number), Usage::default(), seen_ms).unwrap();
            }
            registry
        };
        let now = 1_000_000;
        assert!(!swarm(&[now, now, now, 600_000]).suspect_own_network(|_| 1, now), "one of four");
        assert!(swarm(&[now, now, 600_000, 610_000]).suspect_own_network(|_| 1, now), "two of four");
        assert!(!swarm(&[now, now, 200_000, 610_000]).suspect_own_network(|_| 1, now), "one after the other");
        assert!(!swarm(&[now, now, now, now, 600_000, 610_000]).suspect_own_network(|_| 1, now), "a third");
        let an_hour_later = 610_000 + 3_600_000;
        let mut registry = swarm(&[0, 0, 600_000, 610_000]);
        for number in [1, 2] {
            registry.register(registration(number), Usage::default(), an_hour_later).unwrap();
        }
        assert!(!registry.suspect_own_network(|_| 1, an_hour_later), "they stay away");
    }

    #[test]
    fn f35_a_cloned_peer_counts_as_a_silent_one_until_one_machine_is_left() {
        let [first, second] = [1, 2].map(|n| RunId::from_bytes([n; 16]));
        let id = PeerId::from_bytes([1; 32]);
        let mut registry = Registry::new(RULES);
        registry.register(registration(1), Usage::default(), 0).unwrap();
        registry.register(Registration { run: second, ..registration(1) }, Usage::default(), 1000).unwrap();
        assert_eq!(registry.beat(id, first, Usage::default(), 2000), Err(BeatError::Unknown));
        assert_eq!(registry.register(registration(1), Usage::default(), 2000), Err(Cloned));
        for now_ms in (10_000..400_000).step_by(10_000) {
            assert_eq!(registry.beat(id, first, Usage::default(), now_ms), Err(BeatError::Cloned(Cloned)));
            assert_eq!(registry.beat(id, second, Usage::default(), now_ms), Err(BeatError::Cloned(Cloned)));
            assert!(registry.candidates(now_ms).is_empty());
            // Cloned since 2 s, and gone a dead time of 300 s later.
            let status = if now_ms < 302_000 { ReplicaStatus::Unsure } else { ReplicaStatus::Gone };
            assert_eq!(
                (liveness(&registry, 1, now_ms), registry.status(id, now_ms)),
                (Some(Liveness::Cloned), status)
            );
        }
        // The first machine was heard last at 390 s: a dead time later only the second one is left.
        for now_ms in (400_000..690_000).step_by(10_000) {
            registry.beat(id, second, Usage::default(), now_ms).unwrap_err();
        }
        registry.beat(id, second, Usage::default(), 690_000).unwrap();
        assert_eq!(registry.status(id, 690_000), ReplicaStatus::Sure);
        assert!(registry.inventory_after(id, 690_000).is_some(), "what it holds is heard anew");
    }

    #[test]
    fn f50_only_pages_that_follow_each_other_make_an_inventory() {
        let id = PeerId::from_bytes([1; 32]);
        let [one, two, three] = [1, 2, 3].map(|n| Some(ShareId::from_bytes([n; 32])));
        let asks = |pages: &[(Option<ShareId>, Option<ShareId>, bool)]| {
            let mut registry = Registry::new(RULES);
            registry.register(registration(1), Usage::default(), 0).unwrap();
            for &(after, upto, last) in pages {
                registry.heard_inventory(id, after, upto, last);
            }
            registry.inventory_after(id, 0).is_some()
        };
        assert!(asks(&[]));
        assert!(!asks(&[(None, None, true)]), "it holds nothing");
        assert!(asks(&[(None, one, false)]));
        assert!(!asks(&[(None, one, false), (one, two, false), (two, three, true)]));
        assert!(asks(&[(one, two, false), (two, three, true)]), "the first page went to the tracker before");
        assert!(asks(&[(None, one, false), (two, three, true)]), "a gap");
        assert!(asks(&[(None, three, true), (None, one, false)]), "it begins anew");
    }

    #[test]
    fn inventories_are_asked_for_one_after_the_other_and_of_each_run_once() {
        let mut registry = Registry::new(RULES);
        let ids = [1, 2, 3].map(|n| PeerId::from_bytes([n; 32]));
        (1..=3).for_each(|number| registry.load(registration(number), 0));
        let asked = |registry: &mut Registry| ids.map(|id| registry.inventory_after(id, 0).map(millis));
        assert_eq!(asked(&mut registry), [Some(0), Some(50), Some(100)]);
        assert_eq!(asked(&mut registry), [Some(0), Some(50), Some(100)], "each keeps its moment");
        registry.heard_inventory(ids[0], None, None, true);
        assert_eq!(registry.inventory_after(ids[0], 0), None);
        let run = RunId::from_bytes([9; 16]);
        registry.register(Registration { run, ..registration(1) }, Usage::default(), 1).unwrap();
        assert!(registry.inventory_after(ids[0], 1).is_some(), "another run");
    }

    #[test]
    fn f51_a_peer_is_dialled_where_it_was_not_found_yet() {
        let mut registry = Registry::new(RULES);
        let id = PeerId::from_bytes([1; 32]);
        registry.register(registration(1), Usage::default(), 0).unwrap();
        assert!(!registry.may_dial(id, at(1), 0), "it is known there");
        assert!(registry.may_dial(id, at(9), 0));
        assert!(!registry.may_dial(id, at(9), 10_000), "not with every beat");
        let other = RunId::from_bytes([9; 16]);
        assert!(registry.found_at(id, other, at(9)).is_none(), "another run registered");
        let found = registry.found_at(id, RUN, at(9)).unwrap();
        assert_eq!(found.addresses, [at(9), at(1)]);
        assert!(registry.found_at(id, RUN, at(9)).is_none(), "no news");
        let left = registry.not_found_at(id, RUN, &[at(1)]).unwrap();
        assert_eq!(left.addresses, [at(9)]);
        assert!(registry.not_found_at(id, RUN, &left.addresses).is_none(), "one is always known");
        assert!(!registry.may_dial(id, at(9), 100_000));
    }

    /// Asks all peers, all day; those of the given numbers are not reached.
    fn ask_until(registry: &mut Registry, to_ms: u64, from_ms: u64, closed: &[u8]) {
        for now_ms in (from_ms..=to_ms).step_by(1000) {
            for number in 1..=4 {
                let _ = registry.beat(PeerId::from_bytes([number; 32]), RUN, Usage::default(), now_ms);
            }
            for asked in registry.questions(now_ms, 9) {
                let is_closed = closed.contains(&asked.id.as_bytes()[0]);
                let answer = if is_closed { Err("connection refused".to_owned()) } else { Ok(()) };
                registry.answered(asked.id, asked.run, answer, now_ms);
            }
            registry.suspect_own_network(|_| 1, now_ms);
        }
    }

    #[test]
    fn a_peer_whose_door_is_closed_is_named_within_a_dead_time_and_not_counted_after_the_next() {
        let mut registry = Registry::new(RULES);
        (1..=4).for_each(|number| registry.register(registration(number), Usage::default(), 0).unwrap());
        let id = PeerId::from_bytes([1; 32]);
        ask_until(&mut registry, 300_000, 0, &[1]);
        assert_eq!(liveness(&registry, 1, 300_000), Some(Liveness::Unreachable));
        assert_eq!(registry.doubt(id, 300_000).unwrap().why, "connection refused");
        assert_eq!(
            (registry.candidates(300_000).len(), registry.status(id, 300_000)),
            (3, ReplicaStatus::Unsure)
        );
        ask_until(&mut registry, 600_000, 301_000, &[1]);
        assert_eq!(registry.status(id, 600_000), ReplicaStatus::Gone);
        assert!(registry.sources(vec![(id, ChunkSet::full(1))], 600_000).is_empty());
        assert!(registry.doubt(id, 600_000).unwrap().is_gone);
        ask_until(&mut registry, 640_000, 601_000, &[]);
        assert_eq!(
            (liveness(&registry, 1, 640_000), registry.status(id, 640_000)),
            (Some(Liveness::Alive), ReplicaStatus::Sure)
        );
    }

    #[test]
    fn a_tracker_whose_way_out_fails_declares_nobody_dead() {
        let mut registry = Registry::new(RULES);
        (1..=4).for_each(|number| registry.register(registration(number), Usage::default(), 0).unwrap());
        ask_until(&mut registry, 1_200_000, 0, &[1, 2, 3, 4]);
        assert!(registry.suspect_own_network(|_| 1, 1_200_000));
        for number in 1..=4 {
            let id = PeerId::from_bytes([number; 32]);
            assert_eq!(
                (liveness(&registry, number, 1_200_000), registry.status(id, 1_200_000)),
                (Some(Liveness::Unreachable), ReplicaStatus::Unsure)
            );
        }
        assert_eq!(registry.candidates(1_200_000).len(), 4, "they beat: a sender may reach them");
        assert!(!registry.suspect_own_network(|_| 0, 1_200_000), "who holds nothing weighs nothing");
    }

    #[test]
    fn living_sources_come_before_suspect_ones() {
        let mut registry = Registry::new(RULES);
        registry.register(registration(1), Usage::default(), 0).unwrap();
        registry.register(registration(2), Usage::default(), 40_000).unwrap();
        let holders = [1, 2].map(|n| (PeerId::from_bytes([n; 32]), ChunkSet::full(1))).to_vec();
        let order: Vec<_> = registry
            .sources(holders, 40_000)
            .iter()
            .map(|(p, l, _)| (p.registration.name.clone(), *l))
            .collect();
        assert_eq!(order, [("peer2".into(), Liveness::Alive), ("peer1".into(), Liveness::Suspect)]);
    }
}
