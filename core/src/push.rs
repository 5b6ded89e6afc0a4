//! The sender's state machine: what to send where next, and when it is safe to publish.
//!
//! Events go in by [`Push::handle`], actions come out of [`Push::next`]. The machine sends no chunk
//! before every peer of every set has said that it is ready, keeps at most `window` chunks in memory,
//! replaces a peer that fails by a spare (which then gets all of its set's chunks), and asks to publish
//! only when every peer of every set has confirmed that its chunks are on stable storage. It is finished when
//! each of them has proved that as well, which it is asked for while others still commit and while the share is published;
//! if one cannot, a spare takes its place and the share is published again.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::chunk_set::ChunkSet;
use crate::geometry::{ChunkIndex, Geometry};
use crate::id::PeerId;
use crate::placement::Placement;
use crate::replica_sets::{Loss, MemberState, ReplicaSets};

/// What the shell is to do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Ask the peer whether it is ready.
    Offer(PeerId),
    /// Read and seal the chunk once, and put it to each of the peers.
    Send(ChunkIndex, Vec<PeerId>),
    /// Hand the manifest to the peer, which answers once these chunks are on stable storage.
    Commit(PeerId, ChunkSet),
    /// Have the peer prove that it has what it confirmed.
    Audit(PeerId, ChunkSet),
    /// Publish: as many peers as were asked for have confirmed every chunk.
    Publish,
    /// It is done: the share is published, and every peer has proved what it confirmed.
    Finish,
    /// Stop: a set has a gap that no spare can fill.
    GiveUp,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The peer is ready and holds these chunks already.
    Ready(PeerId, ChunkSet),
    /// The peer confirmed the chunk.
    Stored(PeerId, ChunkIndex),
    /// The chunk did not arrive; it may be sent again.
    Failed(PeerId, ChunkIndex),
    /// The peer confirmed that its chunks are on stable storage.
    Committed(PeerId),
    /// The peer cannot confirm: it lacks these chunks.
    Incomplete(PeerId, ChunkSet),
    /// The peer proved that it has what it confirmed.
    Proven(PeerId),
    /// The peer cannot prove what it confirmed.
    Refuted(PeerId),
    /// The share is published, with the peers that had confirmed it when that was asked for.
    Published,
    /// The peer is of no more use: it refused, is full or cannot be reached. Each chunk that is under
    /// way to it must still be reported as stored or failed.
    Lost(PeerId),
}

/// The state of one upload.
#[derive(Debug)]
pub struct Push {
    sets: ReplicaSets,
    /// For each set: chunks of its run below this one were sent to every ready peer of the set, or are in flight.
    cursors: Vec<u32>,
    in_flight: BTreeMap<ChunkIndex, BTreeSet<PeerId>>,
    offers: VecDeque<PeerId>,
    /// Peers that were asked to confirm or to prove, and have not answered.
    asked: BTreeSet<PeerId>,
    window: usize,
    phase: Phase,
    publishing: Publishing,
}

#[derive(Debug, PartialEq, Eq)]
enum Phase {
    /// No chunk has been sent: some peer has yet to say that it is ready.
    Asking,
    Sending,
    Finished,
    /// This peer was lost, and there is no spare.
    GivenUp(PeerId),
}

/// How far the publishing is.
#[derive(Debug, PartialEq, Eq, Clone, Copy)]
enum Publishing {
    /// It was not asked for, or a peer was replaced since.
    Due,
    /// It was asked for.
    Asked,
    /// It was asked for, and a peer was replaced since.
    Outdated,
    Done,
}

impl Push {
    /// Starts an upload that keeps at most `window` chunks in memory.
    pub fn new(geometry: &Geometry, placement: &Placement, window: usize) -> Self {
        let sets = ReplicaSets::new(geometry.chunk_count(), placement);
        Self {
            cursors: sets.runs().map(|run| run.start).collect(),
            offers: sets.members().collect(),
            sets,
            in_flight: BTreeMap::new(),
            asked: BTreeSet::new(),
            window: window.max(1),
            phase: Phase::Asking,
            publishing: Publishing::Due,
        }
    }

    /// Sets how many chunks are kept in memory from now on.
    pub fn set_window(&mut self, window: usize) {
        self.window = window.max(1);
    }

    /// The next thing to do; `None` until something happens.
    #[expect(clippy::should_implement_trait, reason = "not an iterator: None means wait, not the end")]
    pub fn next(&mut self) -> Option<Action> {
        match self.phase {
            Phase::Finished => return None,
            Phase::GivenUp(_) => return Some(Action::GiveUp),
            Phase::Asking | Phase::Sending => {}
        }
        // Ahead of all else, for whatever a spare is to take waits for its answer.
        if let Some(peer) = self.offers.pop_front() {
            return Some(Action::Offer(peer));
        }
        if self.phase == Phase::Asking {
            if !self.sets.are_ready() {
                return None;
            }
            self.phase = Phase::Sending;
        }
        self.next_send()
            .or_else(|| self.next_commit())
            .or_else(|| self.next_audit())
            .or_else(|| self.publish())
            .or_else(|| self.finish())
    }

    /// Takes in what happened. Late news of a peer that was given up changes nothing.
    pub fn handle(&mut self, event: Event) {
        match event {
            Event::Ready(peer, held) => {
                self.sets.ready(peer, held);
                // A spare needs chunks that the cursor has passed already.
                self.rewind(peer);
            }
            Event::Stored(peer, index) => {
                self.landed(peer, index);
                self.sets.stored(peer, index);
            }
            Event::Failed(peer, index) => {
                self.landed(peer, index);
                let is_useless = self.sets.fails(peer);
                self.go_on_with(peer, is_useless);
            }
            Event::Committed(peer) => {
                self.asked.remove(&peer);
                self.sets.kept(peer);
            }
            Event::Incomplete(peer, missing) => {
                self.asked.remove(&peer);
                let is_useless = self.sets.lacks(peer, &missing);
                self.go_on_with(peer, is_useless);
            }
            Event::Proven(peer) => {
                self.asked.remove(&peer);
                self.sets.proven(peer);
            }
            Event::Published => {
                // If outdated, what was published names a peer that was replaced meanwhile: publish again.
                let is_outdated = self.publishing == Publishing::Outdated;
                self.publishing = if is_outdated { Publishing::Due } else { Publishing::Done };
            }
            // A peer that cannot prove what it signed for is worth no more than one that is gone.
            Event::Refuted(peer) | Event::Lost(peer) => self.lose(peer),
        }
    }

    /// Who holds what, in the order of the sets; complete once [`Action::Publish`] came out.
    pub fn holders(&self) -> Vec<(PeerId, ChunkSet)> {
        self.sets.holders()
    }

    /// Whether the peer is to hold a part of the share.
    pub fn is_member(&self, peer: PeerId) -> bool {
        self.sets.state_of(peer).is_some() && self.phase != Phase::GivenUp(peer)
    }

    /// The chunk's bytes are no longer in memory on behalf of this peer.
    fn landed(&mut self, peer: PeerId, index: ChunkIndex) {
        if let Some(waiting) = self.in_flight.get_mut(&index) {
            waiting.remove(&peer);
            if waiting.is_empty() {
                self.in_flight.remove(&index);
            }
        }
    }

    /// Sends a peer again what it lacks, or replaces it.
    fn go_on_with(&mut self, peer: PeerId, is_useless: bool) {
        if is_useless { self.lose(peer) } else { self.rewind(peer) }
    }

    fn lose(&mut self, peer: PeerId) {
        self.offers.retain(|&offer| offer != peer);
        self.asked.remove(&peer);
        // What is under way to it stays in memory, and so in `in_flight`, until its end is reported.
        match self.sets.lose(peer) {
            Loss::None => return,
            Loss::Replaced(spare) => self.offers.push_back(spare),
            Loss::NoSpare => self.phase = Phase::GivenUp(peer),
        }
        // A publish that was asked for cannot be taken back: it is repeated when its answer has come.
        self.publishing = match self.publishing {
            Publishing::Asked | Publishing::Outdated => Publishing::Outdated,
            Publishing::Due | Publishing::Done => Publishing::Due,
        };
    }

    /// Looks through the peer's set again for chunks to send.
    fn rewind(&mut self, peer: PeerId) {
        let Some(set) = self.sets.set_of(peer) else { return };
        self.cursors[set] = self.sets.runs().nth(set).map_or(0, |run| run.start);
    }

    fn next_send(&mut self) -> Option<Action> {
        if self.in_flight.len() >= self.window {
            return None;
        }
        for (set, run) in self.sets.runs().enumerate() {
            let cursor = &mut self.cursors[set];
            while *cursor < run.end {
                let index = ChunkIndex::new(*cursor);
                let mut lacking = ready_without(&self.sets, set, index);
                if let Some(waiting) = self.in_flight.get(&index) {
                    // The chunk is on its way to the set's other peers: come back when it has landed.
                    if lacking.any(|peer| !waiting.contains(&peer)) {
                        break;
                    }
                    *cursor += 1;
                    continue;
                }
                let to: Vec<PeerId> = lacking.collect();
                *cursor += 1;
                if !to.is_empty() {
                    self.in_flight.insert(index, to.iter().copied().collect());
                    return Some(Action::Send(index, to));
                }
            }
        }
        None
    }

    /// The manifest needs the id of every chunk, so nobody commits before everything is stored.
    fn next_commit(&mut self) -> Option<Action> {
        if !self.in_flight.is_empty() || !self.sets.is_stored() {
            return None;
        }
        self.ask_who_is(MemberState::Ready).map(|(peer, chunks)| Action::Commit(peer, chunks))
    }

    fn next_audit(&mut self) -> Option<Action> {
        self.ask_who_is(MemberState::Kept).map(|(peer, chunks)| Action::Audit(peer, chunks))
    }

    /// A peer that is so far and was not asked for the next step, which it is now.
    fn ask_who_is(&mut self, state: MemberState) -> Option<(PeerId, ChunkSet)> {
        let is_next = |peer: &PeerId| self.sets.state_of(*peer) == Some(state) && !self.asked.contains(peer);
        let peer = self.sets.members().find(is_next)?;
        self.asked.insert(peer);
        Some((peer, self.sets.chunks_of(peer)?.clone()))
    }

    fn publish(&mut self) -> Option<Action> {
        (self.publishing == Publishing::Due && self.sets.is_kept()).then(|| {
            self.publishing = Publishing::Asked;
            Action::Publish
        })
    }

    fn finish(&mut self) -> Option<Action> {
        (self.publishing == Publishing::Done && self.sets.is_safe()).then(|| {
            self.phase = Phase::Finished;
            Action::Finish
        })
    }
}

/// The ready peers of a set that lack the chunk.
fn ready_without(sets: &ReplicaSets, set: usize, index: ChunkIndex) -> impl Iterator<Item = PeerId> + '_ {
    sets.lacking_in(set, index).filter(|&peer| sets.state_of(peer) >= Some(MemberState::Ready))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::geometry::ChunkSize;
    use crate::limits::FAILURES_MAX;
    use crate::placement::PlacedSet;

    fn peer(number: u8) -> PeerId {
        PeerId::from_bytes([number; 32])
    }

    fn geometry(chunk_count: u64) -> Geometry {
        Geometry::new(chunk_count << 16, ChunkSize::from_log2(16).unwrap()).unwrap()
    }

    fn push(chunk_count: u32, spares: &[u8]) -> Push {
        let set = PlacedSet { first_chunk: 0, chunk_count, peers: vec![peer(1), peer(2)] };
        let spares = spares.iter().map(|&n| peer(n)).collect();
        Push::new(&geometry(chunk_count.into()), &Placement { sets: vec![set], spares }, 4)
    }

    fn drain(push: &mut Push) -> Vec<Action> {
        std::iter::from_fn(|| push.next()).take(100).collect()
    }

    fn make_ready(push: &mut Push, chunk_count: u32) {
        for number in [1, 2] {
            push.handle(Event::Ready(peer(number), ChunkSet::empty(chunk_count)));
        }
    }

    #[test]
    fn no_chunk_is_sent_before_every_peer_is_ready() {
        let mut push = push(3, &[]);
        assert_eq!(drain(&mut push), [Action::Offer(peer(1)), Action::Offer(peer(2))]);
        push.handle(Event::Ready(peer(1), ChunkSet::empty(3)));
        assert_eq!(drain(&mut push), []);
        push.handle(Event::Ready(peer(2), ChunkSet::empty(3)));
        assert!(matches!(push.next(), Some(Action::Send(_, to)) if to == [peer(1), peer(2)]));
    }

    #[test]
    fn the_window_bounds_what_is_in_memory() {
        let mut push = push(9, &[]);
        make_ready(&mut push, 9);
        let sends = drain(&mut push).into_iter().filter(|a| matches!(a, Action::Send(..))).count();
        assert_eq!(sends, 4);
        let first = geometry(9).index(0).unwrap();
        push.handle(Event::Stored(peer(1), first));
        assert_eq!(drain(&mut push), [], "the second peer still waits for the bytes");
        push.handle(Event::Stored(peer(2), first));
        assert_eq!(drain(&mut push).len(), 1);
    }

    #[test]
    fn what_a_peer_holds_already_is_not_sent_again() {
        let mut push = push(3, &[]);
        drain(&mut push);
        push.handle(Event::Ready(peer(1), ChunkSet::full(3)));
        push.handle(Event::Ready(peer(2), ChunkSet::range(3, 0..2)));
        let last = geometry(3).index(2).unwrap();
        assert_eq!(drain(&mut push), [Action::Send(last, vec![peer(2)])]);
    }

    #[test]
    fn it_publishes_only_after_every_peer_committed() {
        let mut push = push(1, &[]);
        make_ready(&mut push, 1);
        drain(&mut push);
        let only = geometry(1).index(0).unwrap();
        push.handle(Event::Stored(peer(1), only));
        assert_eq!(drain(&mut push), []);
        push.handle(Event::Stored(peer(2), only));
        assert_eq!(drain(&mut push).len(), 2, "two commits");
        push.handle(Event::Committed(peer(1)));
        assert_eq!(drain(&mut push), [Action::Audit(peer(1), ChunkSet::full(1))], "it need not wait");
        push.handle(Event::Committed(peer(2)));
        assert_eq!(drain(&mut push), [Action::Audit(peer(2), ChunkSet::full(1)), Action::Publish]);
        assert_eq!(push.holders().len(), 2);
    }

    /// A push of one chunk that two peers have confirmed, and that is to be published.
    fn committed(spares: &[u8]) -> Push {
        let mut push = push(1, spares);
        make_ready(&mut push, 1);
        drain(&mut push);
        for number in [1, 2] {
            push.handle(Event::Stored(peer(number), geometry(1).index(0).unwrap()));
        }
        drain(&mut push);
        for number in [1, 2] {
            push.handle(Event::Committed(peer(number)));
        }
        assert_eq!(drain(&mut push).last(), Some(&Action::Publish));
        push
    }

    #[test]
    fn it_finishes_only_when_it_is_published_and_every_peer_has_proved_what_it_confirmed() {
        let steps = [Event::Published, Event::Proven(peer(1)), Event::Proven(peer(2))];
        for order in [[0, 1, 2], [1, 0, 2], [1, 2, 0]] {
            let mut push = committed(&[]);
            for (done, step) in order.into_iter().enumerate() {
                assert_eq!(drain(&mut push), [], "after {done} of {order:?}");
                push.handle(steps[step].clone());
            }
            assert_eq!(drain(&mut push), [Action::Finish]);
        }
    }

    #[test]
    fn a_peer_that_cannot_prove_what_it_confirmed_is_replaced_and_the_share_published_again() {
        // The answer to the publish comes before the refutation, or after it.
        for published_before in [true, false] {
            let mut push = committed(&[3]);
            push.handle(Event::Proven(peer(1)));
            if published_before {
                push.handle(Event::Published);
            }
            push.handle(Event::Refuted(peer(2)));
            assert_eq!(drain(&mut push), [Action::Offer(peer(3))]);
            push.handle(Event::Ready(peer(3), ChunkSet::full(1)));
            assert_eq!(drain(&mut push), [Action::Commit(peer(3), ChunkSet::full(1))]);
            push.handle(Event::Committed(peer(3)));
            let audit = Action::Audit(peer(3), ChunkSet::full(1));
            if published_before {
                assert_eq!(drain(&mut push), [audit, Action::Publish]);
            } else {
                assert_eq!(drain(&mut push), [audit], "one publish at a time");
                push.handle(Event::Published);
                assert_eq!(
                    drain(&mut push),
                    [Action::Publish],
                    "the first one named the peer that was replaced"
                );
            }
            push.handle(Event::Published);
            assert_eq!(drain(&mut push), []);
            push.handle(Event::Proven(peer(2)));
            assert_eq!(drain(&mut push), [], "late news of a peer that was given up");
            push.handle(Event::Proven(peer(3)));
            assert_eq!(drain(&mut push), [Action::Finish]);
        }
        let mut push = committed(&[]);
        push.handle(Event::Published);
        push.handle(Event::Refuted(peer(2)));
        assert_eq!(push.next(), Some(Action::GiveUp));
    }

    #[test]
    fn a_spare_takes_the_place_of_a_lost_peer_and_gets_everything() {
        let mut push = push(2, &[3]);
        make_ready(&mut push, 2);
        drain(&mut push);
        for index in geometry(2).indices() {
            push.handle(Event::Stored(peer(1), index));
        }
        push.handle(Event::Lost(peer(2)));
        assert_eq!(drain(&mut push), [Action::Offer(peer(3))]);
        push.handle(Event::Ready(peer(3), ChunkSet::empty(2)));
        assert_eq!(drain(&mut push), [], "the chunks are still in memory on behalf of the lost peer");
        for index in geometry(2).indices() {
            push.handle(Event::Failed(peer(2), index));
        }
        let sends = drain(&mut push);
        assert_eq!(sends.len(), 2);
        assert!(sends.iter().all(|a| matches!(a, Action::Send(_, to) if to == &[peer(3)])), "{sends:?}");
    }

    #[test]
    fn without_a_spare_it_gives_up() {
        let mut push = push(2, &[]);
        drain(&mut push);
        push.handle(Event::Lost(peer(1)));
        assert_eq!(push.next(), Some(Action::GiveUp));
    }

    #[test]
    fn a_peer_that_keeps_failing_is_replaced() {
        let mut push = push(1, &[3]);
        make_ready(&mut push, 1);
        let only = geometry(1).index(0).unwrap();
        for _ in 0..FAILURES_MAX {
            assert!(drain(&mut push).iter().any(|a| matches!(a, Action::Send(..))));
            push.handle(Event::Failed(peer(1), only));
            push.handle(Event::Stored(peer(2), only));
        }
        assert_eq!(drain(&mut push), [Action::Offer(peer(3))]);
    }

    #[test]
    fn a_peer_that_cannot_commit_gets_the_missing_chunks_again() {
        let mut push = push(1, &[]);
        make_ready(&mut push, 1);
        drain(&mut push);
        let only = geometry(1).index(0).unwrap();
        for number in [1, 2] {
            push.handle(Event::Stored(peer(number), only));
        }
        drain(&mut push);
        push.handle(Event::Incomplete(peer(1), ChunkSet::full(1)));
        assert_eq!(drain(&mut push), [Action::Send(only, vec![peer(1)])]);
    }

    #[test]
    fn a_peer_that_takes_chunks_and_never_has_them_is_replaced() {
        let mut push = push(1, &[3]);
        make_ready(&mut push, 1);
        let only = geometry(1).index(0).unwrap();
        let mut offers = Vec::new();
        for _ in 0..FAILURES_MAX {
            drain(&mut push);
            push.handle(Event::Stored(peer(1), only));
            push.handle(Event::Stored(peer(2), only));
            drain(&mut push);
            push.handle(Event::Incomplete(peer(1), ChunkSet::full(1)));
            offers = drain(&mut push);
        }
        assert_eq!(offers, [Action::Offer(peer(3))], "taking them again makes up for nothing");
    }

    #[test]
    fn an_empty_share_is_committed_and_published() {
        let mut push = push(0, &[]);
        make_ready(&mut push, 0);
        let actions = drain(&mut push);
        assert_eq!(actions.iter().filter(|a| matches!(a, Action::Commit(..))).count(), 2);
        push.handle(Event::Committed(peer(1)));
        push.handle(Event::Committed(peer(2)));
        let actions = drain(&mut push);
        assert_eq!(actions.iter().filter(|a| matches!(a, Action::Audit(..))).count(), 2);
        assert_eq!(actions.last(), Some(&Action::Publish));
    }
}
