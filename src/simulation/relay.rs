//! Uploads by way of the gateway: the real sets of replicas, in the gateway's order. The browser's chunks come one after
//! another, each goes to all of its peers; then every peer is completed from the others, confirms, and proves.

use std::collections::BTreeSet;

use parcelry_core::chunk_set::ChunkSet;
use parcelry_core::geometry::{ChunkIndex, Geometry};
use parcelry_core::id::PeerId;
use parcelry_core::placement::Placement;
use parcelry_core::push::{Action, Event, Push};
use parcelry_core::replica_sets::{Loss, MemberState, ReplicaSets};

/// Who pushes a share.
pub(super) enum Pusher {
    Sender(Push),
    Gateway(Relay),
}

impl Pusher {
    pub(super) fn next(&mut self) -> Option<Action> {
        match self {
            Self::Sender(push) => push.next(),
            Self::Gateway(relay) => relay.next(),
        }
    }

    pub(super) fn handle(&mut self, event: Event) {
        match self {
            Self::Sender(push) => push.handle(event),
            Self::Gateway(relay) => relay.handle(event),
        }
    }

    pub(super) fn holders(&self) -> Vec<(PeerId, ChunkSet)> {
        match self {
            Self::Sender(push) => push.holders(),
            Self::Gateway(relay) => relay.sets.holders(),
        }
    }

    pub(super) fn is_member(&self, peer: PeerId) -> bool {
        match self {
            Self::Sender(push) => push.is_member(peer),
            Self::Gateway(relay) => relay.sets.state_of(peer).is_some(),
        }
    }

    /// From which peer a chunk is copied; none: it comes from the sender.
    pub(super) fn source(&self, index: ChunkIndex, target: PeerId) -> Option<PeerId> {
        match self {
            Self::Gateway(relay) if relay.has_everything() => {
                relay.sets.sources(index, target).first().copied()
            }
            _ => None,
        }
    }
}

/// An upload at the gateway.
pub(super) struct Relay {
    sets: ReplicaSets,
    indices: Vec<ChunkIndex>,
    /// How many chunks are at all of their peers.
    placed: usize,
    /// Where the chunk that came last is on its way to.
    in_flight: BTreeSet<PeerId>,
    /// Who was asked for something and has not answered.
    busy: BTreeSet<PeerId>,
    /// Copies that were tried since their target was last asked to confirm.
    tried: BTreeSet<(PeerId, ChunkIndex)>,
    publishing: Publishing,
}

#[derive(PartialEq, Eq)]
enum Publishing {
    Due,
    Asked,
    Done,
    GivenUp,
}

impl Relay {
    pub(super) fn new(geometry: &Geometry, placement: &Placement) -> Self {
        Self {
            sets: ReplicaSets::new(geometry.chunk_count(), placement),
            indices: geometry.indices().collect(),
            placed: 0,
            in_flight: BTreeSet::new(),
            busy: BTreeSet::new(),
            tried: BTreeSet::new(),
            publishing: Publishing::Due,
        }
    }

    fn has_everything(&self) -> bool {
        self.placed == self.indices.len()
    }

    fn next(&mut self) -> Option<Action> {
        if self.publishing == Publishing::GivenUp {
            return Some(Action::GiveUp);
        }
        if let Some(peer) = self.idle(MemberState::Asked) {
            self.busy.insert(peer);
            return Some(Action::Offer(peer));
        }
        // One chunk at a time comes from the browser.
        if !self.in_flight.is_empty() {
            return None;
        }
        while let Some(&index) = self.indices.get(self.placed) {
            let to = self.sets.lacking(index);
            if !to.is_empty() {
                self.in_flight.extend(&to);
                return Some(Action::Send(index, to));
            }
            self.placed += 1;
        }
        // The browser has sent all it had: what no peer has now will not come again.
        if self.sets.held_by_nobody().is_some() {
            self.publishing = Publishing::GivenUp;
            return self.next();
        }
        self.complete().or_else(|| self.publish())
    }

    /// The next step of a peer towards its receipt and proof.
    fn complete(&mut self) -> Option<Action> {
        if let Some(peer) = self.idle(MemberState::Ready) {
            self.busy.insert(peer);
            let missing = self.sets.missing_at(peer)?;
            let is_untried = |index: &ChunkIndex| !self.tried.contains(&(peer, *index));
            if let Some(index) = missing.iter().find(is_untried) {
                self.tried.insert((peer, index));
                return Some(Action::Send(index, vec![peer]));
            }
            return Some(Action::Commit(peer, self.sets.chunks_of(peer)?.clone()));
        }
        let peer = self.idle(MemberState::Kept)?;
        self.busy.insert(peer);
        Some(Action::Audit(peer, self.sets.chunks_of(peer)?.clone()))
    }

    fn publish(&mut self) -> Option<Action> {
        if !self.sets.is_safe() {
            return None;
        }
        match self.publishing {
            Publishing::Due => {
                self.publishing = Publishing::Asked;
                Some(Action::Publish)
            }
            Publishing::Done => Some(Action::Finish),
            _ => None,
        }
    }

    fn idle(&self, state: MemberState) -> Option<PeerId> {
        let is_idle = |peer: &PeerId| self.sets.state_of(*peer) == Some(state) && !self.busy.contains(peer);
        self.sets.members().find(is_idle)
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Ready(peer, held) => {
                self.busy.remove(&peer);
                self.sets.ready(peer, held);
            }
            Event::Stored(peer, index) => {
                self.landed(peer);
                self.sets.stored(peer, index);
            }
            Event::Failed(peer, _) => {
                // A copy may have failed at its source: the target says what it lacks when it is to confirm.
                let was_put = self.in_flight.contains(&peer);
                self.landed(peer);
                if was_put {
                    self.lose(peer);
                }
            }
            Event::Committed(peer) => {
                self.busy.remove(&peer);
                self.sets.kept(peer);
            }
            Event::Incomplete(peer, missing) => {
                self.busy.remove(&peer);
                self.tried.retain(|(target, _)| *target != peer);
                if self.sets.lacks(peer, &missing) {
                    self.lose(peer);
                }
            }
            Event::Proven(peer) => {
                self.busy.remove(&peer);
                self.sets.proven(peer);
            }
            Event::Refuted(peer) | Event::Lost(peer) => self.lose(peer),
            Event::Published => self.publishing = Publishing::Done,
        }
    }

    fn landed(&mut self, peer: PeerId) {
        self.in_flight.remove(&peer);
        self.busy.remove(&peer);
    }

    fn lose(&mut self, peer: PeerId) {
        self.busy.remove(&peer);
        if self.sets.lose(peer) == Loss::NoSpare {
            self.publishing = Publishing::GivenUp;
        }
    }
}
