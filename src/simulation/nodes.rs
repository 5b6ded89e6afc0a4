//! What the tracker and the peers of the simulation do: start, crash, beat, copy.

use std::net::SocketAddr;

use parcelry_core::api::{AuditResponse, InventoryRequest, ProblemKind, ShareChunks};
use parcelry_core::chunk_set::ChunkSet;
use parcelry_core::id::{RunId, Secret};
use parcelry_core::manifest::Manifest;
use parcelry_core::receipt::PeerKey;
use parcelry_core::registry::Registration;
use parcelry_core::terms::SignedTerms;

use super::world::{BEAT, CAPACITY, Event, MINUTE, Node, RULES, SECOND, TRACKER, World, travel};
use crate::peer::simulated::SimPeer;
use crate::tracker::simulated::SimTracker;

/// Where peers serve.
const PORT: u16 = 7000;

impl World {
    pub(super) fn start_tracker(&mut self) {
        self.tell_clock(self.tracker_skew_ms);
        self.tracker = Some(self.runtime.block_on(SimTracker::start(self.directory.path(), TRACKER, RULES)));
    }

    pub(super) fn add_peer(&mut self) {
        let seed = Secret::from_bytes(self.dice.bytes());
        let number = self.add_node(seed);
        self.start_beating(number);
    }

    pub(super) fn start_beating(&mut self, number: usize) {
        self.start_peer(number, CAPACITY);
        let delay = self.dice.between(1, BEAT);
        self.after(delay, Event::Beat(number));
    }

    /// A machine with this key, which does nothing yet.
    pub(super) fn add_node(&mut self, seed: Secret) -> usize {
        let number = self.peers.len();
        let id = PeerKey::from_seed(&seed).public().peer();
        self.peers.push(Node {
            id,
            seed,
            name: format!("p{number}"),
            root: self.directory.path().join(format!("p{number}")),
            running: None,
            registered: false,
            inventory_ms: None,
            cut_off: false,
            closed: false,
            moves: 0,
            found: true,
            is_clone: false,
            lies: false,
            slow: false,
            skew_ms: 0,
            told_skew_ms: 0,
            disk_lost: false,
        });
        number
    }

    pub(super) fn start_peer(&mut self, index: usize, capacity: u64) {
        self.tell_clock(self.peers[index].skew_ms);
        let run = RunId::from_bytes(self.dice.bytes());
        let node = &mut self.peers[index];
        if node.running.is_none() && !node.disk_lost {
            node.running = Some(SimPeer::start(&node.root, &node.seed, TRACKER, capacity, run));
            (node.registered, node.inventory_ms) = (false, None);
        }
    }

    /// The power goes: what was not synced is there, torn, or gone.
    pub(super) fn crash_peer(&mut self, index: usize) {
        let Some(peer) = self.peers[index].running.take() else { return };
        let unsynced = peer.unsynced();
        drop(peer);
        self.tally.crashes += 1;
        for (_, path) in unsynced {
            let Ok(bytes) = std::fs::read(&path) else { continue };
            match self.dice.below(4) {
                0 => std::fs::remove_file(&path).unwrap(),
                1 => std::fs::write(&path, &bytes[..self.dice.index(bytes.len())]).unwrap(),
                2 => std::fs::write(&path, vec![0; bytes.len()]).unwrap(),
                _ => {}
            }
        }
    }

    /// Register, beat, tell the inventory: what `peer/heartbeat.rs` and `peer/inventory.rs` do.
    pub(super) fn beat(&mut self, index: usize) {
        let jitter = self.dice.below(SECOND);
        self.after(BEAT - SECOND / 2 + jitter, Event::Beat(index));
        if self.peers[index].cut_off || !self.arrives() {
            return;
        }
        let (skew, tracker_skew) = (self.peers[index].skew_ms, self.tracker_skew_ms);
        let answer_arrives = self.arrives();
        // Before anything is taken out of the world: what is taken must be put back below.
        if self.tracker.is_none() {
            return;
        }
        let Some(mut peer) = self.peers[index].running.take() else { return };
        let Some(tracker) = self.tracker.take() else { return };
        let id = self.peers[index].id;
        let known = self.exchange(index, &mut peer, &tracker, answer_arrives);
        if known && answer_arrives && self.peers[index].inventory_ms.is_some_and(|at_ms| at_ms <= self.now_ms)
        {
            loop {
                // Told again if it changed meanwhile: what is left out counts as lost.
                let shares = peer.inventory();
                let request = InventoryRequest {
                    shares: shares.clone(),
                    after: None,
                    last: true,
                    gone: peer.deletions(),
                };
                self.tell_clock(tracker_skew);
                let withheld = peer.withheld();
                let answer = self.runtime.block_on(tracker.inventory(id, travel(&request))).unwrap();
                self.tell_clock(skew);
                peer.withhold_only(&withheld, &answer.withheld);
                peer.take_over_deletions(answer.deleted);
                for share in answer.unknown {
                    self.tell_clock(skew);
                    let Some(announcement) = peer.announcement(share) else { continue };
                    self.tell_clock(tracker_skew);
                    let _ = self.runtime.block_on(tracker.announce(id, travel(&announcement)));
                }
                if peer.inventory() == shares {
                    break;
                }
            }
            self.peers[index].inventory_ms = None;
        }
        if !peer.copies.is_empty() {
            let delay = self.latency(Some(index));
            self.after(delay, Event::Copy(index));
        }
        if !peer.drops.is_empty() {
            let delay = self.latency(Some(index));
            self.after(delay, Event::Part(index));
        }
        if !peer.restores.is_empty() {
            let delay = self.latency(Some(index));
            self.after(delay, Event::Mend(index));
        }
        let usage = peer.usage();
        assert!(usage.used_bytes <= CAPACITY, "{} holds more than its capacity", self.peers[index].name);
        self.peers[index].running = Some(peer);
        self.tracker = Some(tracker);
    }

    /// One heartbeat. Returns whether the tracker knows the peer.
    pub(super) fn exchange(
        &mut self,
        index: usize,
        peer: &mut SimPeer,
        tracker: &SimTracker,
        answer_arrives: bool,
    ) -> bool {
        let (id, skew, tracker_skew) =
            (self.peers[index].id, self.peers[index].skew_ms, self.tracker_skew_ms);
        if !self.peers[index].registered {
            // It is dialled back before it is taken. At a clone's address its original answers, which has the same key.
            let place = self.index_of(id);
            let is_up = place == index || self.peers[place].running.is_some();
            if self.no_way_out || !self.answers(place) || !is_up {
                return false;
            }
            let registration = Registration {
                id,
                run: peer.run,
                name: self.peers[index].name.clone(),
                addresses: vec![self.address(place)],
                port: Some(PORT),
                capacity_bytes: CAPACITY,
                zone: None,
                zone_is_given: false,
                version: "1".into(),
                token: None,
            };
            self.tell_clock(tracker_skew);
            let answer = match self.runtime.block_on(tracker.register(registration, peer.usage())) {
                Ok(answer) => answer,
                Err(kind) => return self.refused(kind),
            };
            self.peers[index].registered = true;
            self.peers[place].found = true;
            self.ask(index, answer.inventory_after_ms);
        }
        self.tell_clock(skew);
        let (request, told) = peer.heartbeat();
        self.tell_clock(tracker_skew);
        let from = self.address(self.index_of(id)).ip();
        match self.runtime.block_on(tracker.heartbeat(id, travel(&request), from)) {
            Ok(response) if answer_arrives => {
                self.ask(index, response.inventory_after_ms);
                if response.now_ms.is_some() {
                    self.peers[index].told_skew_ms = tracker_skew;
                }
                self.note_ahead(index);
                self.tell_clock(skew);
                let held = peer.inventory();
                peer.answered(told, travel(&response));
                self.check_ends(held, peer);
                true
            }
            Ok(_) => true,
            Err(ProblemKind::UnknownPeer) => {
                self.peers[index].registered = false;
                false
            }
            Err(kind) => self.refused(kind),
        }
    }

    /// What a peer ended just now was deleted, or its time is over, by a clock that is right or by two that are wrong.
    fn check_ends(&self, held: Vec<ShareChunks>, peer: &SimPeer) {
        for ShareChunks { share, .. } in held.into_iter().filter(|held| peer.holding(held.share).is_none()) {
            let known = (0..self.shares.len()).find(|&known| self.shares[known].id() == share);
            let is_over = |share: usize| self.shares[share].terms.deleted || self.may_be_over(share, 0);
            assert!(known.is_none_or(is_over), "a share was ended before its time");
        }
    }

    /// Two machines have one key.
    fn refused(&mut self, kind: ProblemKind) -> bool {
        assert_eq!(kind, ProblemKind::Conflict);
        self.tally.clones_refused += 1;
        false
    }

    /// Where a machine is now.
    pub(super) fn address(&self, index: usize) -> SocketAddr {
        let host = [10, self.peers[index].moves, 0, u8::try_from(index).unwrap()];
        SocketAddr::from((host, PORT))
    }

    /// What the tracker does by itself: it asks who can be reached, follows those that moved, repairs.
    pub(super) fn look_after_peers(&mut self) {
        self.tell_clock(self.tracker_skew_ms);
        let Some(tracker) = self.tracker.take() else { return };
        let is_open = |id| !self.no_way_out && self.is_open(self.index_of(id));
        self.runtime.block_on(tracker.ask(is_open));
        let is_at = |peer, address| self.answers(peer) && self.address(peer) == address;
        let answers = |id, address| !self.no_way_out && is_at(self.index_of(id), address);
        self.runtime.block_on(tracker.follow(answers));
        self.runtime.block_on(tracker.round());
        for index in 0..self.peers.len() {
            let known = tracker.addresses(self.peers[index].id);
            let is_found = known.is_some_and(|known| known.contains(&self.address(index)));
            if is_found && !self.peers[index].found {
                self.peers[index].found = true;
                self.tally.followed += 1;
            }
        }
        self.tracker = Some(tracker);
    }

    /// The tracker wants to hear the inventory, or has heard it.
    fn ask(&mut self, index: usize, after_ms: Option<u64>) {
        let due = after_ms.map(|after_ms| self.now_ms + after_ms);
        let node = &mut self.peers[index];
        node.inventory_ms = node.inventory_ms.or(due);
    }

    /// The tracker asks whose turn it is, and hears what the disks say.
    pub(super) fn audit(&mut self) {
        self.tell_clock(self.tracker_skew_ms);
        let Some(tracker) = self.tracker.take() else { return };
        for audit in self.runtime.block_on(tracker.audits()) {
            let request = travel(&audit.request());
            let node = self.index_of(audit.peer());
            if self.peers[node].lies {
                let lie = self.lie(&request);
                self.tell_clock(self.tracker_skew_ms);
                self.runtime.block_on(tracker.take_audit(audit, lie));
                continue;
            }
            // Both the question and the answer may be lost.
            let up = !self.mute && !self.no_way_out && self.is_open(node) && self.arrives() && self.arrives();
            self.tell_clock(self.peers[node].skew_ms);
            let answer = self.peers[node].running.as_ref().filter(|_| up).and_then(|peer| {
                let proofs: std::io::Result<_> =
                    request.samples.iter().map(|sample| peer.prove(sample)).collect();
                proofs.ok().map(|proofs| travel(&AuditResponse { proofs }))
            });
            self.tell_clock(self.tracker_skew_ms);
            self.runtime.block_on(tracker.take_audit(audit, answer));
        }
        self.tracker = Some(tracker);
    }

    /// Copies what was asked for first: what `peer/copy.rs` does.
    pub(super) fn copy(&mut self, index: usize) {
        let Some(mut peer) = self.peers[index].running.take() else { return };
        self.tell_clock(self.peers[index].skew_ms);
        if !peer.copies.is_empty() && !self.peers[index].cut_off {
            let task = peer.copies.remove(0);
            let sources: Vec<usize> = task.sources.iter().map(|source| self.index_of(source.id)).collect();
            let own = peer.manifest(task.share);
            let manifest = own.or_else(|| {
                let reachable = sources.iter().filter(|&&source| self.is_open(source));
                reachable
                    .filter_map(|&source| self.peers[source].running.as_ref()?.manifest(task.share))
                    .next()
            });
            match manifest.map(|answer| travel(&answer)) {
                Some(answer) => {
                    let manifest = Manifest::decode(answer.manifest.0, task.share).unwrap();
                    let terms = SignedTerms::verify(&answer.terms, task.share).unwrap();
                    self.copy_from(index, &peer, &manifest, terms, &task.chunks, &sources);
                }
                None => peer.fail_copy(task.share),
            }
            if !peer.copies.is_empty() {
                let delay = self.latency(Some(index));
                self.after(delay, Event::Copy(index));
            }
        }
        self.peers[index].running = Some(peer);
        // Sometimes the power goes just then.
        if self.trouble && self.dice.one_in(50) {
            self.crash_peer(index);
            self.after(MINUTE, Event::StartPeer(index));
        }
    }

    /// Makes damaged records whole again: what `src/peer/mend.rs` does.
    pub(super) fn mend(&mut self, index: usize) {
        let Some(mut peer) = self.peers[index].running.take() else { return };
        for task in std::mem::take(&mut peer.restores) {
            let mut answers = Vec::new();
            for source in &task.sources {
                let source = self.index_of(source.id);
                let up = self.is_open(source) && self.arrives();
                let answer = self.peers[source].running.as_ref().filter(|_| up);
                answers.extend(answer.and_then(|other| other.manifest(task.share)));
            }
            self.tell_clock(self.peers[index].skew_ms);
            if peer.mend(travel(&task), travel(&answers)) {
                self.tally.mended += 1;
                self.peers[index].inventory_ms = Some(self.now_ms);
            }
        }
        self.peers[index].running = Some(peer);
    }

    /// Begins to let go of what is surplus, and asks others for proof: what `peer/parting.rs` does.
    pub(super) fn part(&mut self, index: usize) {
        let Some(mut peer) = self.peers[index].running.take() else { return };
        for task in std::mem::take(&mut peer.drops) {
            self.tell_clock(self.peers[index].skew_ms);
            let Some((holders, left)) = peer.begin_parting(task) else { continue };
            for id in holders {
                let holder = self.index_of(id);
                if self.peers[holder].cut_off || !self.arrives() {
                    continue;
                }
                self.tell_clock(self.peers[holder].skew_ms);
                let proved = self.peers[holder].running.as_ref().map(|other| other.prove_for_drop(&left));
                if let Some(proved) = proved.filter(|_| self.arrives()) {
                    peer.was_proved(id, proved);
                }
            }
        }
        self.peers[index].running = Some(peer);
        let delay = self.latency(Some(index));
        self.after(delay, Event::EndPartings(index));
    }

    /// Lets go of what others have proved.
    pub(super) fn end_partings(&mut self, index: usize) {
        self.tell_clock(self.peers[index].skew_ms);
        if let Some(peer) = &mut self.peers[index].running {
            peer.end_partings();
        }
    }

    pub(super) fn copy_from(
        &mut self,
        index: usize,
        peer: &SimPeer,
        manifest: &Manifest,
        terms: SignedTerms,
        chunks: &ChunkSet,
        sources: &[usize],
    ) {
        // A peer that cannot take it says so, and somebody else is asked.
        let Ok(missing) = peer.begin_copy(manifest, chunks) else { return peer.fail_copy(manifest.share()) };
        let mut arrived = chunks.minus(&missing);
        for chunk in missing.iter() {
            for &source in sources {
                let up = self.is_open(source) && self.arrives();
                let served = self.peers[source].running.as_ref().filter(|_| up);
                let served =
                    served.filter(|s| s.holding(manifest.share()).is_some_and(|held| held.contains(chunk)));
                let served = served.and_then(|source| source.chunk(manifest.chunk(chunk)));
                let served =
                    if self.peers[source].lies { Some(self.dice.bytes::<64>().to_vec()) } else { served };
                let from = self.peers[source].id;
                if served.is_some_and(|bytes| peer.take_copy(manifest, chunk, &bytes, from)) {
                    arrived.insert(chunk);
                    self.tally.copies += 1;
                    break;
                }
            }
        }
        let is_all = arrived == *chunks;
        self.tell_clock(self.peers[index].skew_ms);
        peer.end_copy(manifest, terms, arrived, is_all);
    }
}
