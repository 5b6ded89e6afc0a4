//! The tracker's rules about peers: registration, liveness, and who is offered to whom.
//!
//! Times are milliseconds of a clock that never goes back; the caller brings them along.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::chunk_set::ChunkSet;
use crate::duration::millis;
use crate::health::{Holder, Standing};
use crate::id::PeerId;
use crate::limits::PATIENCE_WINDOWS;
use crate::placement::Candidate;
use crate::traffic::{Meter, Traffic};

/// Heartbeats that a peer may miss before it is suspect.
const MISSED_BEATS: u32 = 3;

/// What a peer tells about itself when it registers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Registration {
    /// The peer.
    pub id: PeerId,
    /// What its operator calls it.
    pub name: String,
    /// Where it serves, as `host:port`, best first.
    pub addresses: Vec<String>,
    /// Bytes that it is willing to hold.
    pub capacity_bytes: u64,
    /// Where it stands, to keep replicas apart.
    pub zone: Option<String>,
    /// The version of swarmdrop that it runs.
    pub version: String,
}

/// How a peer's disk stands.
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

/// How sure the tracker is that a peer is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Liveness {
    /// It beats.
    Alive,
    /// It missed three heartbeats: no new share is placed on it.
    Suspect,
    /// It has been silent for too long: nobody is sent to it.
    Dead,
}

/// When silence means what.
#[derive(Debug, Clone, Copy)]
pub struct Rules {
    /// Time between two heartbeats.
    pub heartbeat: Duration,
    /// Silence after which a peer is dead.
    pub dead_after: Duration,
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
    /// How fast it takes and serves chunks.
    pub traffic: Meter,
    /// How far its scrub is, if it said so.
    pub scrub: Option<ScrubProgress>,
}

impl Peer {
    fn new(registration: Registration, usage: Usage, seen_ms: u64, confirmed: bool) -> Self {
        Self { registration, usage, seen_ms, confirmed, traffic: Meter::default(), scrub: None }
    }
}

/// A peer that beats without being registered: it must register first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the peer is not registered")]
pub struct UnknownPeer;

/// All peers of a swarm.
#[derive(Debug)]
pub struct Registry {
    rules: Rules,
    peers: BTreeMap<PeerId, Peer>,
    /// When peers went that said goodbye: they may just be restarting.
    left_ms: BTreeMap<PeerId, u64>,
    draining: BTreeSet<PeerId>,
}

impl Registry {
    /// A swarm without peers.
    pub const fn new(rules: Rules) -> Self {
        Self { rules, peers: BTreeMap::new(), left_ms: BTreeMap::new(), draining: BTreeSet::new() }
    }

    /// The rules of liveness.
    pub const fn rules(&self) -> Rules {
        self.rules
    }

    /// Takes in a peer that was registered before this tracker started. It is suspect until it beats.
    pub fn load(&mut self, registration: Registration, now_ms: u64) {
        let peer = Peer::new(registration, Usage::default(), now_ms, false);
        self.peers.entry(peer.registration.id).or_insert(peer);
    }

    /// Registers a peer or refreshes what is known of it.
    pub fn register(&mut self, registration: Registration, usage: Usage, now_ms: u64) {
        let peer = Peer::new(registration, usage, now_ms, true);
        self.left_ms.remove(&peer.registration.id);
        self.peers.insert(peer.registration.id, peer);
    }

    /// Notes that a peer is there.
    pub fn beat(&mut self, id: PeerId, usage: Usage, now_ms: u64) -> Result<(), UnknownPeer> {
        let peer = self.peers.get_mut(&id).ok_or(UnknownPeer)?;
        peer.usage = usage;
        peer.seen_ms = now_ms;
        peer.confirmed = true;
        Ok(())
    }

    /// Notes what a peer that has just beaten told about its work.
    pub fn note_work(&mut self, id: PeerId, traffic: Traffic, scrub: Option<ScrubProgress>, now_ms: u64) {
        if let Some(peer) = self.peers.get_mut(&id) {
            peer.traffic.read(traffic, now_ms);
            peer.scrub = scrub;
        }
    }

    /// Takes a peer off the list; whether it was there. Its replicas have the grace that they had.
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

    /// The peers on which a new share may be placed.
    pub fn candidates(&self, now_ms: u64) -> Vec<Candidate> {
        let alive = self.peers(now_ms).filter(|(_, liveness)| *liveness == Liveness::Alive);
        let staying = alive.filter(|(peer, _)| !self.is_draining(peer.registration.id));
        staying.map(|(peer, _)| candidate(peer)).collect()
    }

    /// How the replicas of a peer count. A peer that is not registered, for it left or this tracker knows it
    /// from its database only, has the same grace as a silent one.
    pub fn standing(&self, id: PeerId, now_ms: u64) -> Standing {
        let Some((_, liveness)) = self.get(id, now_ms) else {
            let since_ms = self.left_ms.get(&id).copied().unwrap_or(0);
            let gone = Duration::from_millis(now_ms.saturating_sub(since_ms)) >= self.rules.dead_after;
            return if gone { Standing::Gone } else { Standing::Unsure };
        };
        match liveness {
            Liveness::Dead => Standing::Gone,
            _ if self.is_draining(id) => Standing::Leaving,
            Liveness::Suspect => Standing::Unsure,
            Liveness::Alive => Standing::Sure,
        }
    }

    /// A holder of chunks, as repair sees it.
    pub fn holder(&self, id: PeerId, chunks: ChunkSet, now_ms: u64) -> Holder {
        let unknown = || Candidate { peer: id, free_bytes: 0, zone: None, host: String::new() };
        let peer = self.peers.get(&id).map_or_else(unknown, candidate);
        Holder { peer, standing: self.standing(id, now_ms), chunks }
    }

    /// Whether more than a third of the peers fell silent at once, and not long ago: then it is rather the
    /// tracker's own network that failed, and copying everything anew would be wrong.
    pub fn suspects_own_network(&self, now_ms: u64) -> bool {
        let window_ms = millis(self.grace());
        let patience_ms = millis(self.rules.dead_after * PATIENCE_WINDOWS);
        let alive = self.peers(now_ms).filter(|(_, liveness)| *liveness == Liveness::Alive).count();
        let silent = self.peers(now_ms).filter(|(_, liveness)| *liveness != Liveness::Alive);
        let mut since: Vec<u64> = silent.map(|(peer, _)| peer.seen_ms).collect();
        since.retain(|&seen_ms| now_ms.saturating_sub(seen_ms) < patience_ms);
        since.sort_unstable();
        let at_once =
            |first: &u64| since.iter().filter(|&ms| (*first..=first + window_ms).contains(ms)).count();
        let most = since.iter().map(at_once).max().unwrap_or(0);
        most > 1 && most * 3 > alive + most
    }

    /// Of the holders of a share, those to whom a receiver may be sent, the surest first.
    pub fn sources(&self, holders: Vec<(PeerId, ChunkSet)>, now_ms: u64) -> Vec<(&Peer, Liveness, ChunkSet)> {
        let known = holders.into_iter().filter_map(|(id, chunks)| {
            let (peer, liveness) = self.get(id, now_ms)?;
            (liveness != Liveness::Dead).then_some((peer, liveness, chunks))
        });
        let mut sources: Vec<_> = known.collect();
        sources.sort_by_key(|(_, liveness, _)| *liveness);
        sources
    }

    fn grace(&self) -> Duration {
        self.rules.heartbeat * MISSED_BEATS
    }

    fn liveness(&self, peer: &Peer, now_ms: u64) -> Liveness {
        let silent = Duration::from_millis(now_ms.saturating_sub(peer.seen_ms));
        if silent >= self.rules.dead_after {
            Liveness::Dead
        } else if silent >= self.grace() || !peer.confirmed {
            Liveness::Suspect
        } else {
            Liveness::Alive
        }
    }
}

fn candidate(peer: &Peer) -> Candidate {
    let address = peer.registration.addresses.first().map_or("", String::as_str);
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    Candidate {
        peer: peer.registration.id,
        free_bytes: peer.usage.free_bytes,
        zone: peer.registration.zone.clone(),
        host: host.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: Rules = Rules { heartbeat: Duration::from_secs(10), dead_after: Duration::from_secs(300) };

    fn registration(number: u8) -> Registration {
        Registration {
            id: PeerId::from_bytes([number; 32]),
            name: format!("peer{number}"),
            addresses: vec![format!("10.0.0.{number}:7000")],
            capacity_bytes: 100,
            zone: None,
            version: "1".into(),
        }
    }

    fn liveness(registry: &Registry, number: u8, now_ms: u64) -> Option<Liveness> {
        registry.get(PeerId::from_bytes([number; 32]), now_ms).map(|(_, liveness)| liveness)
    }

    #[test]
    fn silence_makes_a_peer_suspect_then_dead_and_a_beat_brings_it_back() {
        let mut registry = Registry::new(RULES);
        registry.register(registration(1), Usage::default(), 0);
        assert_eq!(liveness(&registry, 1, 29_999), Some(Liveness::Alive));
        assert_eq!(liveness(&registry, 1, 30_000), Some(Liveness::Suspect));
        assert_eq!(liveness(&registry, 1, 299_999), Some(Liveness::Suspect));
        assert_eq!(liveness(&registry, 1, 300_000), Some(Liveness::Dead));
        registry.beat(PeerId::from_bytes([1; 32]), Usage::default(), 300_001).unwrap();
        assert_eq!(liveness(&registry, 1, 300_001), Some(Liveness::Alive));
    }

    #[test]
    fn an_unregistered_peer_must_register() {
        let mut registry = Registry::new(RULES);
        assert_eq!(registry.beat(PeerId::from_bytes([1; 32]), Usage::default(), 0), Err(UnknownPeer));
    }

    #[test]
    fn registering_again_makes_no_duplicate() {
        let mut registry = Registry::new(RULES);
        registry.register(registration(1), Usage::default(), 0);
        registry.register(Registration { name: "new".into(), ..registration(1) }, Usage::default(), 1);
        let names: Vec<_> = registry.peers(1).map(|(peer, _)| peer.registration.name.clone()).collect();
        assert_eq!(names, ["new"]);
    }

    #[test]
    fn only_living_peers_are_offered_for_new_shares() {
        let mut registry = Registry::new(RULES);
        registry.register(registration(1), Usage::default(), 0);
        registry.register(registration(2), Usage::default(), 100_000);
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
    fn a_peer_counts_until_its_grace_is_over_whether_it_fell_silent_or_left() {
        let mut registry = Registry::new(RULES);
        let [silent, left, unknown] = [1, 2, 3].map(|n| PeerId::from_bytes([n; 32]));
        registry.register(registration(1), Usage::default(), 0);
        registry.register(registration(2), Usage::default(), 10_000);
        assert!(registry.leave(left) && !registry.leave(left));
        let standings = |now_ms| [silent, left, unknown].map(|id| registry.standing(id, now_ms));
        assert_eq!(standings(20_000), [Standing::Sure, Standing::Unsure, Standing::Unsure]);
        assert_eq!(standings(300_000), [Standing::Gone, Standing::Unsure, Standing::Gone]);
        assert_eq!(standings(310_000)[1], Standing::Gone);
    }

    #[test]
    fn a_draining_peer_gets_nothing_new_and_its_replicas_do_not_count() {
        let mut registry = Registry::new(RULES);
        registry.register(registration(1), Usage::default(), 0);
        let id = PeerId::from_bytes([1; 32]);
        registry.drain(id, true);
        assert!(registry.candidates(0).is_empty());
        assert_eq!(registry.standing(id, 0), Standing::Leaving);
        registry.drain(id, false);
        assert_eq!((registry.candidates(0).len(), registry.standing(id, 0)), (1, Standing::Sure));
    }

    #[test]
    fn n4_many_peers_that_vanish_at_once_put_the_own_network_under_suspicion() {
        let swarm = |silent_since: &[u64]| {
            let mut registry = Registry::new(RULES);
            for (number, &seen_ms) in (1..).zip(silent_since) {
                registry.register(registration(number), Usage::default(), seen_ms);
            }
            registry
        };
        let now = 1_000_000;
        assert!(!swarm(&[now, now, now, 600_000]).suspects_own_network(now), "one of four");
        assert!(swarm(&[now, now, 600_000, 610_000]).suspects_own_network(now), "two of four");
        assert!(!swarm(&[now, now, 200_000, 610_000]).suspects_own_network(now), "one after the other");
        assert!(!swarm(&[now, now, now, now, 600_000, 610_000]).suspects_own_network(now), "a third");
        let an_hour_later = 610_000 + 3_600_000;
        let mut registry = swarm(&[0, 0, 600_000, 610_000]);
        for number in [1, 2] {
            registry.register(registration(number), Usage::default(), an_hour_later);
        }
        assert!(!registry.suspects_own_network(an_hour_later), "they stay away");
    }

    #[test]
    fn living_sources_come_before_suspect_ones() {
        let mut registry = Registry::new(RULES);
        registry.register(registration(1), Usage::default(), 0);
        registry.register(registration(2), Usage::default(), 40_000);
        let holders = [1, 2].map(|n| (PeerId::from_bytes([n; 32]), ChunkSet::full(1))).to_vec();
        let order: Vec<_> = registry
            .sources(holders, 40_000)
            .iter()
            .map(|(p, l, _)| (p.registration.name.clone(), *l))
            .collect();
        assert_eq!(order, [("peer2".into(), Liveness::Alive), ("peer1".into(), Liveness::Suspect)]);
    }
}
