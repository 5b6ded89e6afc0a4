//! The receiver's state machine: what to ask of whom next.
//!
//! Events go in by [`Fetch::handle`], actions come out of [`Fetch::next`]. Chunks are asked for in
//! order, each of one source at a time, the source with the fewest requests under way first. A source
//! that serves a wrong chunk is dropped at once; one that keeps failing is dropped after a few attempts.

use std::collections::BTreeMap;

use crate::chunk_set::ChunkSet;
use crate::geometry::ChunkIndex;
use crate::id::PeerId;
use crate::limits::FAILURES_MAX;

/// What the shell is to do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Ask the source which chunks it holds.
    Ask(PeerId),
    /// Get the chunk from the source.
    Get(PeerId, ChunkIndex),
    /// Every chunk is here.
    Finish,
    /// No source is left for some chunk.
    GiveUp,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The source holds these chunks.
    Holds(PeerId, ChunkSet),
    /// The chunk arrived, is right, and is where it belongs.
    Got(PeerId, ChunkIndex),
    /// The source does not have the chunk.
    Missing(PeerId, ChunkIndex),
    /// The source served something else under the chunk's id.
    Wrong(PeerId, ChunkIndex),
    /// The request failed; another attempt may succeed.
    Failed(PeerId, ChunkIndex),
    /// The source cannot be used.
    Lost(PeerId),
}

/// How much may be under way at once.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// Requests over all sources.
    pub in_flight: usize,
    /// Requests to one source.
    pub per_source: usize,
    /// How far ahead of the first missing chunk to ask, where chunks must be used in order.
    pub ahead: Option<u32>,
}

/// What is known of a source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// In use.
    Good,
    /// Dropped: it kept failing or could not be reached.
    Unreachable,
    /// It served a wrong chunk: it is asked only for what no good source has, and for each such chunk until it
    /// serves that wrong, too.
    Wrong,
}

/// The state of one download.
#[derive(Debug)]
pub struct Fetch {
    done: ChunkSet,
    /// Neither done nor under way.
    wanted: ChunkSet,
    in_flight: BTreeMap<ChunkIndex, PeerId>,
    sources: BTreeMap<PeerId, Source>,
    bounds: Bounds,
    /// Every chunk below it is done.
    base: u32,
}

#[derive(Debug)]
struct Source {
    /// `None` until it has said what it holds.
    holds: Option<ChunkSet>,
    asked: bool,
    in_flight: usize,
    served: u32,
    failures: u32,
    standing: Standing,
}

impl Fetch {
    /// Starts a download that has the chunks `done` already.
    pub fn new(done: ChunkSet, bounds: Bounds) -> Self {
        let wanted = ChunkSet::full(done.chunk_count()).minus(&done);
        let mut fetch =
            Self { done, wanted, in_flight: BTreeMap::new(), sources: BTreeMap::new(), bounds, base: 0 };
        fetch.advance();
        fetch
    }

    /// Adds a source; `holds` where it is known.
    pub fn add_source(&mut self, peer: PeerId, holds: Option<ChunkSet>) {
        let holds = holds.filter(|held| held.chunk_count() == self.done.chunk_count());
        let source =
            Source { holds, asked: false, in_flight: 0, served: 0, failures: 0, standing: Standing::Good };
        self.sources.entry(peer).or_insert(source);
    }

    /// The next thing to do; `None` until something happens.
    #[expect(clippy::should_implement_trait, reason = "not an iterator: None means wait, not the end")]
    pub fn next(&mut self) -> Option<Action> {
        if self.base == self.done.chunk_count() {
            return Some(Action::Finish);
        }
        let unasked = self.sources.iter_mut().find(|(_, s)| s.is_good() && s.holds.is_none() && !s.asked);
        if let Some((&peer, source)) = unasked {
            source.asked = true;
            return Some(Action::Ask(peer));
        }
        if let Some((peer, index)) = self.next_request() {
            self.wanted.remove(index);
            self.in_flight.insert(index, peer);
            if let Some(source) = self.sources.get_mut(&peer) {
                source.in_flight += 1;
            }
            return Some(Action::Get(peer, index));
        }
        let answers_to_come = self.sources.values().any(|s| s.is_good() && s.asked && s.holds.is_none());
        (self.in_flight.is_empty() && !answers_to_come).then_some(Action::GiveUp)
    }

    /// Takes in what happened. Late news of a dropped source changes nothing but frees its request.
    pub fn handle(&mut self, event: Event) {
        match event {
            Event::Holds(peer, holds) => {
                let fits = holds.chunk_count() == self.done.chunk_count();
                match self.sources.get_mut(&peer) {
                    Some(source) if fits => source.holds = Some(holds),
                    _ => self.drop_source(peer, Standing::Unreachable),
                }
            }
            Event::Got(peer, index) => {
                self.landed(peer, index);
                self.done.insert(index);
                self.wanted.remove(index);
                self.advance();
                if let Some(source) = self.sources.get_mut(&peer) {
                    source.served += 1;
                    source.failures = 0;
                }
            }
            Event::Missing(peer, index) => {
                self.landed(peer, index);
                if let Some(holds) = self.sources.get_mut(&peer).and_then(|s| s.holds.as_mut()) {
                    holds.remove(index);
                }
            }
            Event::Wrong(peer, index) => {
                self.landed(peer, index);
                if let Some(holds) = self.sources.get_mut(&peer).and_then(|s| s.holds.as_mut()) {
                    holds.remove(index);
                }
                self.drop_source(peer, Standing::Wrong);
            }
            Event::Failed(peer, index) => {
                self.landed(peer, index);
                self.count_failure(peer);
            }
            Event::Lost(peer) => self.drop_source(peer, Standing::Unreachable),
        }
    }

    /// The chunks that are here.
    pub const fn done(&self) -> &ChunkSet {
        &self.done
    }

    /// How each source fared, with the number of chunks it served.
    pub fn sources(&self) -> impl Iterator<Item = (PeerId, Standing, u32)> + '_ {
        self.sources.iter().map(|(&peer, source)| (peer, source.standing, source.served))
    }

    /// The least loaded source that has a wanted chunk, and the first such chunk.
    fn next_request(&self) -> Option<(PeerId, ChunkIndex)> {
        if self.in_flight.len() >= self.bounds.in_flight {
            return None;
        }
        let limit = self.bounds.ahead.map_or(u32::MAX, |ahead| self.base.saturating_add(ahead.max(1)));
        let may_have = |s: &Source| {
            let holds_some = |holds: &ChunkSet| {
                self.wanted.first_common(holds, self.base).is_some_and(|index| index.get() < limit)
            };
            s.is_good() && s.holds.as_ref().is_none_or(holds_some)
        };
        let standing = if self.sources.values().any(may_have) { Standing::Good } else { Standing::Wrong };
        let free = self.sources.iter().filter(|(_, s)| s.standing == standing);
        let free = free.filter(|(_, s)| s.in_flight < self.bounds.per_source);
        let with_chunk = free.filter_map(|(&peer, source)| {
            let index = self.wanted.first_common(source.holds.as_ref()?, self.base)?;
            (index.get() < limit).then_some((source.in_flight, source.failures, index, peer))
        });
        with_chunk
            .min_by_key(|&(in_flight, failures, index, _)| (failures, in_flight, index))
            .map(|(.., index, peer)| (peer, index))
    }

    fn landed(&mut self, peer: PeerId, index: ChunkIndex) {
        if self.in_flight.get(&index) == Some(&peer) {
            self.in_flight.remove(&index);
            if !self.done.contains(index) {
                self.wanted.insert(index);
            }
            if let Some(source) = self.sources.get_mut(&peer) {
                source.in_flight -= 1;
            }
        }
    }

    fn count_failure(&mut self, peer: PeerId) {
        if let Some(source) = self.sources.get_mut(&peer) {
            source.failures += 1;
            if source.failures >= FAILURES_MAX {
                self.drop_source(peer, Standing::Unreachable);
            }
        }
    }

    fn drop_source(&mut self, peer: PeerId, standing: Standing) {
        let Some(source) = self.sources.get_mut(&peer) else { return };
        if source.is_good() || standing == Standing::Unreachable {
            source.standing = standing;
        }
    }

    fn advance(&mut self) {
        self.base = self.done.first_missing(self.base).map_or(self.done.chunk_count(), ChunkIndex::get);
    }
}

impl Source {
    fn is_good(&self) -> bool {
        self.standing == Standing::Good
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: Bounds = Bounds { in_flight: 8, per_source: 4, ahead: None };

    fn peer(number: u8) -> PeerId {
        PeerId::from_bytes([number; 32])
    }

    fn fetch(chunk_count: u32, sources: &[u8]) -> Fetch {
        let mut fetch = Fetch::new(ChunkSet::empty(chunk_count), BOUNDS);
        for &number in sources {
            fetch.add_source(peer(number), Some(ChunkSet::full(chunk_count)));
        }
        fetch
    }

    fn drain(fetch: &mut Fetch) -> Vec<(PeerId, ChunkIndex)> {
        let gets = std::iter::from_fn(|| match fetch.next() {
            Some(Action::Get(peer, index)) => Some((peer, index)),
            _ => None,
        });
        gets.collect()
    }

    #[test]
    fn two_sources_that_each_spoiled_another_chunk_still_have_it_all_between_them() {
        let mut fetch = fetch(4, &[1, 2]);
        let mut served = Vec::new();
        loop {
            match fetch.next() {
                Some(Action::Get(source, index)) => {
                    let spoiled = u32::from(source.as_bytes()[0]) - 1 == index.get();
                    served.push((source, index, spoiled));
                    let event = if spoiled { Event::Wrong } else { Event::Got };
                    fetch.handle(event(source, index));
                }
                Some(Action::Finish) => break,
                other => panic!("{other:?}"),
            }
        }
        let spoiled = served.iter().filter(|(.., spoiled)| *spoiled).count();
        assert!((1..=2).contains(&spoiled), "no chunk is asked of a source that spoiled it: {served:?}");
    }

    #[test]
    fn sources_share_the_work_evenly_and_no_chunk_is_asked_twice() {
        let mut fetch = fetch(20, &[1, 2]);
        let gets = drain(&mut fetch);
        assert_eq!(gets.len(), 8);
        assert_eq!(gets.iter().filter(|(p, _)| *p == peer(1)).count(), 4);
        let mut indices: Vec<u32> = gets.iter().map(|(_, i)| i.get()).collect();
        indices.sort_unstable();
        assert_eq!(indices, (0..8).collect::<Vec<_>>());
    }

    #[test]
    fn it_finishes_when_every_chunk_is_here() {
        let mut fetch = fetch(2, &[1]);
        for (source, index) in drain(&mut fetch) {
            fetch.handle(Event::Got(source, index));
        }
        assert_eq!(fetch.next(), Some(Action::Finish));
        assert_eq!(self::fetch(0, &[]).next(), Some(Action::Finish), "an empty share needs no source");
    }

    #[test]
    fn a_wrong_source_is_dropped_and_its_chunks_come_from_another() {
        let mut fetch = fetch(2, &[1, 2]);
        let gets = drain(&mut fetch);
        for (source, index) in gets {
            let wrong = source == peer(1);
            fetch.handle(if wrong { Event::Wrong(source, index) } else { Event::Got(source, index) });
        }
        for (source, index) in drain(&mut fetch) {
            assert_eq!(source, peer(2));
            fetch.handle(Event::Got(source, index));
        }
        assert_eq!(fetch.next(), Some(Action::Finish));
        let standings: Vec<_> = fetch.sources().map(|(_, standing, served)| (standing, served)).collect();
        assert_eq!(standings, [(Standing::Wrong, 0), (Standing::Good, 2)]);
    }

    #[test]
    fn without_a_source_for_a_chunk_it_gives_up() {
        let mut fetch = Fetch::new(ChunkSet::empty(2), BOUNDS);
        fetch.add_source(peer(1), Some(ChunkSet::range(2, 0..1)));
        for (source, index) in drain(&mut fetch) {
            fetch.handle(Event::Got(source, index));
        }
        assert_eq!(fetch.next(), Some(Action::GiveUp));
        assert_eq!(fetch.done().len(), 1);
    }

    #[test]
    fn a_failing_source_is_tried_a_few_times_only() {
        let mut fetch = fetch(1, &[1]);
        for _ in 0..FAILURES_MAX {
            let Some(Action::Get(source, index)) = fetch.next() else { panic!("an attempt is due") };
            fetch.handle(Event::Failed(source, index));
        }
        assert_eq!(fetch.next(), Some(Action::GiveUp));
    }

    #[test]
    fn a_source_that_lacks_a_chunk_is_kept_for_others() {
        let mut fetch = fetch(2, &[1]);
        let gets = drain(&mut fetch);
        fetch.handle(Event::Missing(gets[0].0, gets[0].1));
        fetch.handle(Event::Got(gets[1].0, gets[1].1));
        assert_eq!(fetch.next(), Some(Action::GiveUp));
        assert_eq!(fetch.sources().next().map(|(_, standing, _)| standing), Some(Standing::Good));
    }

    #[test]
    fn sources_of_unknown_holdings_are_asked_first() {
        let mut fetch = Fetch::new(ChunkSet::empty(1), BOUNDS);
        fetch.add_source(peer(1), None);
        assert_eq!(fetch.next(), Some(Action::Ask(peer(1))));
        assert_eq!(fetch.next(), None, "the answer is awaited");
        fetch.handle(Event::Holds(peer(1), ChunkSet::full(1)));
        assert!(matches!(fetch.next(), Some(Action::Get(..))));
    }

    #[test]
    fn in_order_use_bounds_how_far_ahead_it_asks() {
        let bounds = Bounds { ahead: Some(3), ..BOUNDS };
        let mut fetch = Fetch::new(ChunkSet::empty(20), bounds);
        fetch.add_source(peer(1), Some(ChunkSet::full(20)));
        let gets = drain(&mut fetch);
        assert_eq!(gets.len(), 3);
        fetch.handle(Event::Got(gets[2].0, gets[2].1));
        assert_eq!(drain(&mut fetch), [], "the first is still missing");
        fetch.handle(Event::Got(gets[0].0, gets[0].1));
        assert_eq!(drain(&mut fetch).len(), 1);
    }

    #[test]
    fn what_is_done_is_not_asked_for() {
        let mut fetch = Fetch::new(ChunkSet::range(4, 0..3), BOUNDS);
        fetch.add_source(peer(1), Some(ChunkSet::full(4)));
        assert_eq!(drain(&mut fetch).iter().map(|(_, i)| i.get()).collect::<Vec<_>>(), [3]);
    }
}
