//! Which peers are to hold which chunks of a share that is being pushed, what each of them has, and when that is enough.
//! A sender and a gateway push in different orders and use the same rules, and these are they.
//!
//! A set is a run of chunks and the peers that are each to hold all of it. A peer that fails is replaced by a spare,
//! which starts with nothing, and never comes back; without a spare it stays a member that has to begin anew. The
//! share is *kept* when every member of every set has confirmed its run, and *safe* when each has proved it as well;
//! both end when a member is replaced or turns out to lack a chunk.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;

use crate::chunk_set::ChunkSet;
use crate::geometry::ChunkIndex;
use crate::id::PeerId;
use crate::limits::FAILURES_MAX;
use crate::placement::Placement;

/// The sets of one share.
#[derive(Debug, Clone)]
pub struct ReplicaSets {
    sets: Vec<ReplicaSet>,
    spares: VecDeque<PeerId>,
    members: BTreeMap<PeerId, Member>,
}

#[derive(Debug, Clone)]
struct ReplicaSet {
    run: Range<u32>,
    chunks: ChunkSet,
    peers: Vec<PeerId>,
    /// How many peers are to hold it.
    wanted: usize,
}

#[derive(Debug, Clone)]
struct Member {
    set: usize,
    state: MemberState,
    held: ChunkSet,
    /// In a row, on the way to it.
    failures: u32,
    /// How often it turned out to lack what it had taken. Taking it again makes none of them good.
    setbacks: u32,
}

/// How far a member is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum MemberState {
    /// It has yet to say that it is ready.
    Asked,
    /// It takes chunks.
    Ready,
    /// It has confirmed that its run is on stable storage.
    Kept,
    /// It has proved that it has what it confirmed.
    Proven,
}

/// What became of a set that lost a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loss {
    /// The peer was no member: nothing changed.
    None,
    /// A spare has its place, and is to be asked whether it is ready.
    Replaced(PeerId),
    /// No spare is left. The peer is a member still, of which nothing is known.
    NoSpare,
}

impl ReplicaSets {
    /// The sets of a share of so many chunks, none of which was sent.
    pub fn new(chunk_count: u32, placement: &Placement) -> Self {
        let spares = placement.spares.iter().copied().collect();
        let mut sets = Self { sets: Vec::new(), spares, members: BTreeMap::new() };
        for (number, set) in placement.sets.iter().enumerate() {
            let run = set.first_chunk..set.first_chunk + set.chunk_count;
            let chunks = ChunkSet::range(chunk_count, run.clone());
            sets.sets.push(ReplicaSet { run, chunks, peers: Vec::new(), wanted: set.peers.len() });
            set.peers.iter().for_each(|&peer| sets.recruit(peer, number));
        }
        sets
    }

    /// The members, in the order of the sets.
    pub fn members(&self) -> impl Iterator<Item = PeerId> + '_ {
        self.sets.iter().flat_map(|set| set.peers.iter().copied())
    }

    /// The members with the chunks that each is to hold.
    pub fn holders(&self) -> Vec<(PeerId, ChunkSet)> {
        let of_set =
            |set: &ReplicaSet| set.peers.iter().map(|&peer| (peer, set.chunks.clone())).collect::<Vec<_>>();
        self.sets.iter().flat_map(of_set).collect()
    }

    /// How far a peer is, if it is a member.
    pub fn state_of(&self, peer: PeerId) -> Option<MemberState> {
        self.members.get(&peer).map(|member| member.state)
    }

    /// The chunks that a member is to hold.
    pub fn chunks_of(&self, peer: PeerId) -> Option<&ChunkSet> {
        self.members.get(&peer).map(|member| &self.sets[member.set].chunks)
    }

    /// The number of the set that a member belongs to.
    pub fn set_of(&self, peer: PeerId) -> Option<usize> {
        self.members.get(&peer).map(|member| member.set)
    }

    /// The runs of chunks, one for each set.
    pub fn runs(&self) -> impl Iterator<Item = Range<u32>> + '_ {
        self.sets.iter().map(|set| set.run.clone())
    }

    /// The chunks of its run that a member lacks.
    pub fn missing_at(&self, peer: PeerId) -> Option<ChunkSet> {
        self.members.get(&peer).map(|member| self.sets[member.set].chunks.minus(&member.held))
    }

    /// The members of a set that lack a chunk.
    pub fn lacking_in(&self, set: usize, index: ChunkIndex) -> impl Iterator<Item = PeerId> + '_ {
        let peers = self.sets[set].peers.iter().copied();
        peers.filter(move |peer| !self.members[peer].held.contains(index))
    }

    /// The members that are to hold a chunk and lack it.
    pub fn lacking(&self, index: ChunkIndex) -> Vec<PeerId> {
        let set = self.sets.iter().position(|set| set.run.contains(&index.get()));
        set.map_or_else(Vec::new, |set| self.lacking_in(set, index).collect())
    }

    /// Members that have a chunk, for one that lacks it.
    pub fn sources(&self, index: ChunkIndex, target: PeerId) -> Vec<PeerId> {
        let has = |(peer, member): &(&PeerId, &Member)| **peer != target && member.held.contains(index);
        self.members.iter().filter(has).map(|(&peer, _)| peer).collect()
    }

    /// A chunk that no member has: whoever has the file has to send it, or send it again.
    pub fn held_by_nobody(&self) -> Option<ChunkIndex> {
        let nobody_has = |set: &ReplicaSet| {
            let all = set.peers.iter().fold(ChunkSet::empty(set.chunks.chunk_count()), |all, peer| {
                all.plus(&self.members[peer].held)
            });
            set.chunks.minus(&all).iter().next()
        };
        self.sets.iter().find_map(nobody_has)
    }

    /// Whether every member has said that it is ready.
    pub fn are_ready(&self) -> bool {
        self.members.values().all(|member| member.state >= MemberState::Ready)
    }

    /// Whether every member is ready and has all of its run: the next step is to have it confirmed.
    pub fn is_stored(&self) -> bool {
        self.members.values().all(|member| {
            member.state >= MemberState::Ready && member.held.contains_all(&self.sets[member.set].chunks)
        })
    }

    /// Whether every chunk was confirmed by as many members as were asked for.
    pub fn is_kept(&self) -> bool {
        self.all_are(MemberState::Kept)
    }

    /// Whether every chunk was confirmed and proved by as many members as were asked for.
    pub fn is_safe(&self) -> bool {
        self.all_are(MemberState::Proven)
    }

    fn all_are(&self, least: MemberState) -> bool {
        let is_whole = |set: &ReplicaSet| {
            set.peers.len() == set.wanted && set.peers.iter().all(|peer| self.state_of(*peer) >= Some(least))
        };
        !self.members.is_empty() && self.sets.iter().all(is_whole)
    }

    /// A member says that it is ready, and what it has already.
    pub fn ready(&mut self, peer: PeerId, held: ChunkSet) {
        let Some(member) = self.members.get_mut(&peer) else { return };
        if held.chunk_count() == member.held.chunk_count() {
            member.held = held;
        }
        // Who says it again, after a restart say, has to confirm again.
        member.state = MemberState::Ready;
    }

    /// A member has taken a chunk.
    pub fn stored(&mut self, peer: PeerId, index: ChunkIndex) {
        if let Some(member) = self.members.get_mut(&peer) {
            member.held.insert(index);
            member.failures = 0;
        }
    }

    /// A member turns out to lack chunks that it had taken. Returns whether it is to be replaced.
    pub fn lacks(&mut self, peer: PeerId, missing: &ChunkSet) -> bool {
        let Some(member) = self.members.get_mut(&peer) else { return false };
        member.held = member.held.minus(missing);
        member.state = member.state.min(MemberState::Ready);
        member.setbacks += 1;
        member.setbacks >= FAILURES_MAX
    }

    /// A member confirms that its run is on stable storage. One that was never ready has nothing to confirm.
    pub fn kept(&mut self, peer: PeerId) {
        if let Some(member) = self.members.get_mut(&peer)
            && member.state == MemberState::Ready
        {
            member.held = member.held.plus(&self.sets[member.set].chunks);
            member.state = MemberState::Kept;
        }
    }

    /// A member proved what it confirmed.
    pub fn proven(&mut self, peer: PeerId) {
        if let Some(member) = self.members.get_mut(&peer)
            && member.state == MemberState::Kept
        {
            member.state = MemberState::Proven;
        }
    }

    /// A member failed once. Returns whether it is to be replaced.
    pub fn fails(&mut self, peer: PeerId) -> bool {
        let Some(member) = self.members.get_mut(&peer) else { return false };
        member.failures += 1;
        member.failures >= FAILURES_MAX
    }

    /// Puts a spare in the place of a member that is of no more use; a spare that is of none is not used.
    pub fn lose(&mut self, peer: PeerId) -> Loss {
        self.spares.retain(|&spare| spare != peer);
        let Some(member) = self.members.remove(&peer) else { return Loss::None };
        self.sets[member.set].peers.retain(|&other| other != peer);
        // One peer is one replica, however often it is named.
        let spare = loop {
            match self.spares.pop_front() {
                Some(spare) if self.members.contains_key(&spare) => {}
                spare => break spare,
            }
        };
        self.recruit(spare.unwrap_or(peer), member.set);
        spare.map_or(Loss::NoSpare, Loss::Replaced)
    }

    /// Makes a peer a member. A set that names a peer twice, or one that another set has, stays short of a member, and
    /// so is never kept.
    fn recruit(&mut self, peer: PeerId, set: usize) {
        if self.members.contains_key(&peer) {
            return;
        }
        let held = ChunkSet::empty(self.sets[set].chunks.chunk_count());
        let member = Member { set, state: MemberState::Asked, held, failures: 0, setbacks: 0 };
        self.members.insert(peer, member);
        self.sets[set].peers.push(peer);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;
    use crate::placement::PlacedSet;

    const CHUNKS: u32 = 5;

    fn peer(number: u8) -> PeerId {
        PeerId::from_bytes([number; 32])
    }

    fn set(first_chunk: u32, chunk_count: u32, peers: &[u8]) -> PlacedSet {
        PlacedSet { first_chunk, chunk_count, peers: peers.iter().map(|&number| peer(number)).collect() }
    }

    /// Two sets of two peers, and spares.
    fn sets(spares: &[u8]) -> ReplicaSets {
        let spares = spares.iter().map(|&number| peer(number)).collect();
        let sets = vec![set(0, 3, &[1, 2]), set(3, 2, &[3, 4])];
        ReplicaSets::new(CHUNKS, &Placement { sets, spares })
    }

    fn keep(sets: &mut ReplicaSets, number: u8) {
        sets.ready(peer(number), ChunkSet::empty(CHUNKS));
        sets.kept(peer(number));
        sets.proven(peer(number));
    }

    #[test]
    fn it_is_kept_when_all_have_confirmed_and_safe_when_all_have_proved() {
        let mut sets = sets(&[]);
        for number in 1..=4 {
            assert!(!sets.is_kept());
            sets.ready(peer(number), ChunkSet::full(CHUNKS));
            sets.kept(peer(number));
        }
        assert!(sets.is_stored() && sets.is_kept() && !sets.is_safe());
        for number in 1..=4 {
            assert!(!sets.is_safe());
            sets.proven(peer(number));
        }
        assert!(sets.is_safe());
        sets.lacks(peer(4), &ChunkSet::full(CHUNKS));
        assert!(!sets.is_kept() && !sets.is_safe());
    }

    #[test]
    fn a_spare_starts_with_nothing_and_who_was_replaced_does_not_come_back() {
        let mut sets = sets(&[5]);
        (1..=4).for_each(|number| keep(&mut sets, number));
        assert!(sets.is_safe());
        assert_eq!(sets.lose(peer(2)), Loss::Replaced(peer(5)));
        assert!(!sets.is_kept(), "the spare has yet to take its part");
        assert_eq!(sets.lacking(ChunkIndex::new(1)), [peer(5)]);
        assert_eq!(sets.sources(ChunkIndex::new(1), peer(5)), [peer(1)]);
        keep(&mut sets, 2);
        assert!(!sets.is_kept() && sets.state_of(peer(2)).is_none());
        assert_eq!(sets.lose(peer(2)), Loss::None);
        keep(&mut sets, 5);
        assert!(sets.is_safe());
    }

    #[test]
    fn without_a_spare_a_member_begins_anew() {
        let mut sets = sets(&[]);
        (1..=4).for_each(|number| keep(&mut sets, number));
        assert_eq!(sets.lose(peer(1)), Loss::NoSpare);
        assert!(!sets.is_kept() && sets.state_of(peer(1)) == Some(MemberState::Asked));
        assert_eq!(sets.lacking(ChunkIndex::new(0)), [peer(1)]);
        keep(&mut sets, 1);
        assert!(sets.is_safe());
    }

    #[test]
    fn a_chunk_that_nobody_has_any_more_is_named() {
        let mut sets = sets(&[]);
        assert_eq!(sets.held_by_nobody(), Some(ChunkIndex::new(0)));
        (1..=4).for_each(|number| sets.ready(peer(number), ChunkSet::full(CHUNKS)));
        assert_eq!(sets.held_by_nobody(), None);
        sets.lacks(peer(3), &ChunkSet::range(CHUNKS, 4..5));
        assert_eq!(sets.held_by_nobody(), None);
        sets.lacks(peer(4), &ChunkSet::range(CHUNKS, 4..5));
        assert_eq!(sets.held_by_nobody(), Some(ChunkIndex::new(4)));
    }

    #[test]
    fn who_takes_chunks_and_lacks_them_again_and_again_is_to_be_replaced() {
        let mut sets = sets(&[]);
        for _ in 1..FAILURES_MAX {
            sets.stored(peer(1), ChunkIndex::new(0));
            assert!(!sets.lacks(peer(1), &ChunkSet::full(CHUNKS)));
        }
        sets.stored(peer(1), ChunkIndex::new(0));
        assert!(sets.lacks(peer(1), &ChunkSet::full(CHUNKS)));
    }

    #[test]
    fn nobody_confirms_before_being_ready_nor_proves_before_confirming() {
        let mut sets = sets(&[]);
        sets.kept(peer(1));
        assert_eq!(sets.state_of(peer(1)), Some(MemberState::Asked));
        sets.ready(peer(1), ChunkSet::empty(CHUNKS));
        sets.proven(peer(1));
        assert_eq!(sets.state_of(peer(1)), Some(MemberState::Ready));
    }

    #[test]
    fn one_peer_is_one_replica_however_often_it_is_named() {
        let sets = vec![set(0, CHUNKS, &[1, 1])];
        let mut twice = ReplicaSets::new(CHUNKS, &Placement { sets, spares: vec![peer(1)] });
        keep(&mut twice, 1);
        assert!(!twice.is_kept());
    }

    #[test]
    fn who_fails_too_often_is_to_be_replaced_and_what_arrives_counts_as_a_new_beginning() {
        let mut sets = sets(&[]);
        for _ in 1..FAILURES_MAX {
            assert!(!sets.fails(peer(1)));
        }
        sets.stored(peer(1), ChunkIndex::new(0));
        for _ in 1..FAILURES_MAX {
            assert!(!sets.fails(peer(1)));
        }
        assert!(sets.fails(peer(1)));
    }

    /// An event about one of a handful of peers.
    #[derive(Debug, Clone)]
    enum Event {
        Ready(u8, Vec<bool>),
        Stored(u8, u32),
        Lacks(u8, Vec<bool>),
        Kept(u8),
        Proven(u8),
        Lost(u8),
    }

    fn event() -> impl Strategy<Value = Event> {
        let (number, chunks) = (1_u8..10, prop::collection::vec(any::<bool>(), CHUNKS as usize));
        prop_oneof![
            3 => (number.clone(), chunks.clone()).prop_map(|(number, held)| Event::Ready(number, held)),
            2 => (number.clone(), 0..CHUNKS).prop_map(|(number, index)| Event::Stored(number, index)),
            1 => (number.clone(), chunks).prop_map(|(number, missing)| Event::Lacks(number, missing)),
            6 => number.clone().prop_map(Event::Kept),
            6 => number.clone().prop_map(Event::Proven),
            1 => number.prop_map(Event::Lost),
        ]
    }

    fn chunks(bits: &[bool]) -> ChunkSet {
        ChunkSet::of(
            CHUNKS,
            (0..CHUNKS).zip(bits).filter(|(_, is_in)| **is_in).map(|(n, _)| ChunkIndex::new(n)),
        )
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(512))]

        /// What is asked at each step is answered from the events alone, by a model that knows nothing of sets'
        /// bookkeeping: who confirmed, and took nothing of it back since.
        #[test]
        fn it_is_safe_only_when_every_chunk_is_confirmed_and_proved_at_as_many_distinct_peers(
            events in prop::collection::vec(event(), 0..120),
        ) {
            let mut sets = sets(&[5, 6, 7]);
            let (mut confirmed, mut proven) = (BTreeMap::<u8, ChunkSet>::new(), BTreeSet::<u8>::new());
            let mut lost = BTreeSet::<u8>::new();
            for event in events {
                match event {
                    Event::Ready(n, held) => {
                        sets.ready(peer(n), chunks(&held));
                        confirmed.remove(&n);
                        proven.remove(&n);
                    }
                    Event::Stored(n, index) => sets.stored(peer(n), ChunkIndex::new(index)),
                    Event::Lacks(n, missing) => {
                        let _ = sets.lacks(peer(n), &chunks(&missing));
                        confirmed.remove(&n);
                        proven.remove(&n);
                    }
                    Event::Kept(n) => {
                        let run = sets.chunks_of(peer(n)).cloned();
                        sets.kept(peer(n));
                        if let Some(run) = run {
                            confirmed.insert(n, run);
                        }
                    }
                    Event::Proven(n) => {
                        if confirmed.contains_key(&n) {
                            proven.insert(n);
                        }
                        sets.proven(peer(n));
                    }
                    Event::Lost(n) => {
                        let was_member = sets.state_of(peer(n)).is_some();
                        let loss = sets.lose(peer(n));
                        prop_assert_eq!(loss == Loss::None, !was_member);
                        confirmed.remove(&n);
                        proven.remove(&n);
                        if loss != Loss::NoSpare {
                            lost.insert(n);
                        }
                    }
                }
                let members: Vec<PeerId> = sets.members().collect();
                let distinct: BTreeSet<PeerId> = members.iter().copied().collect();
                prop_assert_eq!(members.len(), distinct.len(), "no peer in two places");
                prop_assert!(lost.iter().all(|&n| !distinct.contains(&peer(n))), "nobody comes back");
                let at = |index: u32, is_proven: bool| {
                    let index = ChunkIndex::new(index);
                    confirmed.iter().filter(|(n, run)| run.contains(index) && (!is_proven || proven.contains(n))).count()
                };
                // Each set asks for two peers.
                prop_assert!(!sets.is_kept() || (0..CHUNKS).all(|index| at(index, false) >= 2));
                prop_assert!(!sets.is_safe() || (0..CHUNKS).all(|index| at(index, true) >= 2));
                prop_assert!(!sets.is_safe() || sets.is_kept());
            }
        }
    }
}
