//! The receiver's state machine: what to ask of whom next.
//!
//! Events go in by [`Fetch::handle`], actions come out of [`Fetch::next`], both with the time that has passed
//! since the download began. Chunks are asked for in order, the source with the fewest failures and
//! requests under way first.
//! A source that has nothing left to do is asked for what another one is late with (a hedged request), so that one
//! slow source never holds up the end. A source that serves a wrong chunk is used last; one that keeps failing is
//! dropped after a few attempts.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::chunk_set::ChunkSet;
use crate::geometry::ChunkIndex;
use crate::id::PeerId;
use crate::limits::{FAILURES_MAX, HEDGE_AFTER_MIN, HEDGE_AFTER_UNKNOWN};

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
    /// The chunk arrived from this source while it was being put where it belongs already.
    Duplicate(PeerId, ChunkIndex),
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
    /// Requests to one source of which nothing more is known.
    pub per_source: usize,
    /// How far ahead of the first missing chunk to ask, where chunks must be used in order.
    pub ahead: Option<u32>,
}

/// What is known of a source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SourceState {
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
    /// Who was asked for each chunk that is under way: one source, or two of which one is late.
    in_flight: BTreeMap<ChunkIndex, Vec<Request>>,
    requests: usize,
    sources: BTreeMap<PeerId, Source>,
    bounds: Bounds,
    /// Every chunk below it is done.
    base: u32,
}

#[derive(Debug, Clone, Copy)]
struct Request {
    source: PeerId,
    since: Duration,
}

#[derive(Debug)]
struct Source {
    /// `None` until it has said what it holds.
    holds: Option<ChunkSet>,
    asked: bool,
    in_flight: usize,
    /// Requests that it may have under way.
    limit: usize,
    /// How long it takes for a chunk, waiting for others before it included; a moving average.
    latency: Option<Duration>,
    served: u32,
    failures: u32,
    state: SourceState,
}

impl Fetch {
    /// Starts a download that has the chunks `done` already.
    pub fn new(done: ChunkSet, bounds: Bounds) -> Self {
        let wanted = ChunkSet::full(done.chunk_count()).minus(&done);
        let (in_flight, sources) = (BTreeMap::new(), BTreeMap::new());
        let mut fetch = Self { done, wanted, in_flight, requests: 0, sources, bounds, base: 0 };
        fetch.advance();
        fetch
    }

    /// Adds a source; `holds` where it is known.
    pub fn add_source(&mut self, peer: PeerId, holds: Option<ChunkSet>) {
        let holds = holds.filter(|held| held.chunk_count() == self.done.chunk_count());
        let source = Source {
            holds,
            asked: false,
            in_flight: 0,
            limit: self.bounds.per_source,
            latency: None,
            served: 0,
            failures: 0,
            state: SourceState::Good,
        };
        // A source that is named again keeps its record.
        self.sources.entry(peer).or_insert(source);
    }

    /// Sets how many requests a source may have under way.
    pub fn set_limit(&mut self, peer: PeerId, requests: usize) {
        if let Some(source) = self.sources.get_mut(&peer) {
            source.limit = requests.max(1);
        }
    }

    /// The next thing to do; `None` until something happens, or [`Fetch::next_deadline`] is there.
    pub fn next(&mut self, now: Duration) -> Option<Action> {
        if self.base == self.done.chunk_count() {
            return Some(Action::Finish);
        }
        let unasked = self.sources.iter_mut().find(|(_, s)| s.is_good() && s.holds.is_none() && !s.asked);
        if let Some((&peer, source)) = unasked {
            source.asked = true;
            return Some(Action::Ask(peer));
        }
        // New chunks come first: hedged requests are for sources that have none left to get.
        if self.requests < self.bounds.in_flight {
            let hedge =
                || self.hedges().find(|hedge| hedge.due <= now).map(|hedge| (hedge.source, hedge.index));
            if let Some((peer, index)) = self.next_request().or_else(hedge) {
                self.request(peer, index, now);
                return Some(Action::Get(peer, index));
            }
        }
        // Some source may still say that it holds what is missing.
        let answers_to_come = self.sources.values().any(|s| s.is_good() && s.asked && s.holds.is_none());
        (self.in_flight.is_empty() && !answers_to_come).then_some(Action::GiveUp)
    }

    /// The time from which on [`Fetch::next`] has something to do even if nothing happens: a hedged request is due.
    /// `None`: never.
    pub fn next_deadline(&self) -> Option<Duration> {
        if self.requests >= self.bounds.in_flight {
            return None;
        }
        self.hedges().map(|hedge| hedge.due).min()
    }

    /// Takes in what happened. Late news of a dropped source changes nothing but frees its request.
    pub fn handle(&mut self, event: Event, now: Duration) {
        match event {
            Event::Holds(peer, holds) => {
                // A list for another number of chunks says nothing about this share.
                let fits = holds.chunk_count() == self.done.chunk_count();
                match self.sources.get_mut(&peer) {
                    Some(source) if fits => source.holds = Some(holds),
                    _ => self.drop_source(peer, SourceState::Unreachable),
                }
            }
            Event::Got(peer, index) => {
                let asked = self.landed(peer, index);
                // Of two sources that were asked for one chunk, only the first counts as having served it.
                let is_new = !self.done.contains(index);
                self.done.insert(index);
                // `landed` has just made it wanted again, for it was not done yet.
                self.wanted.remove(index);
                self.advance();
                if let Some(source) = self.sources.get_mut(&peer) {
                    source.served += u32::from(is_new);
                    source.failures = 0;
                    if let Some(since) = asked {
                        source.took(now.saturating_sub(since));
                    }
                }
            }
            Event::Duplicate(peer, index) => {
                // Neither a success nor a failure: it only came second.
                self.landed(peer, index);
            }
            Event::Missing(peer, index) => {
                // No failure: a source may have lost a chunk since it said what it holds.
                self.landed(peer, index);
                if let Some(holds) = self.sources.get_mut(&peer).and_then(|s| s.holds.as_mut()) {
                    holds.remove(index);
                }
            }
            Event::Wrong(peer, index) => {
                // Off the list as well: as a last resort the source must not be asked for the same chunk for ever.
                self.landed(peer, index);
                if let Some(holds) = self.sources.get_mut(&peer).and_then(|s| s.holds.as_mut()) {
                    holds.remove(index);
                }
                self.drop_source(peer, SourceState::Wrong);
            }
            Event::Failed(peer, index) => {
                self.landed(peer, index);
                self.count_failure(peer);
            }
            Event::Lost(peer) => self.drop_source(peer, SourceState::Unreachable),
        }
    }

    /// The chunks that are here.
    pub const fn done(&self) -> &ChunkSet {
        &self.done
    }

    /// How each source fared, with the number of chunks it served.
    pub fn sources(&self) -> impl Iterator<Item = (PeerId, SourceState, u32)> + '_ {
        self.sources.iter().map(|(&peer, source)| (peer, source.state, source.served))
    }

    /// The least loaded source that has a wanted chunk, and the first such chunk.
    fn next_request(&self) -> Option<(PeerId, ChunkIndex)> {
        let limit = self.limit();
        let may_have = |s: &Source| {
            let holds_some = |holds: &ChunkSet| {
                self.wanted.first_common(holds, self.base).is_some_and(|index| index.get() < limit)
            };
            s.is_good() && s.holds.as_ref().is_none_or(holds_some)
        };
        // Who served a wrong chunk is asked only when no good source has a wanted chunk, or may turn out to have one.
        let state = if self.sources.values().any(may_have) { SourceState::Good } else { SourceState::Wrong };
        let free = self.sources.iter().filter(|(_, s)| s.state == state && s.is_free());
        let with_chunk = free.filter_map(|(&peer, source)| {
            let index = self.wanted.first_common(source.holds.as_ref()?, self.base)?;
            (index.get() < limit).then_some((source.in_flight, source.failures, index, peer))
        });
        with_chunk
            // Failures weigh more than load: a source that fails is soon idle. Of equals the first chunk wins.
            .min_by_key(|&(in_flight, failures, index, _)| (failures, in_flight, index))
            .map(|(.., index, peer)| (peer, index))
    }

    /// For each good source that has nothing to do but for others: the chunk that another one was asked for first,
    /// and when that one counts as late. In order, only what everybody waits for is worth asking for twice.
    fn hedges(&self) -> impl Iterator<Item = Hedge> + '_ {
        let limit = self.limit();
        let has_other_work = move |source: &Source| {
            let first = source.holds.as_ref().and_then(|holds| self.wanted.first_common(holds, self.base));
            first.is_some_and(|index| index.get() < limit)
        };
        // The first request for a chunk is its source's own work; a second one only helps out.
        let is_busy = |peer| self.in_flight.values().any(|requests| requests[0].source == peer);
        let idle = self
            .sources
            .iter()
            .filter(move |(peer, s)| s.is_good() && s.is_free() && !has_other_work(s) && !is_busy(**peer));
        idle.filter_map(|(&peer, source)| {
            let holds = |index: ChunkIndex| source.holds.as_ref().is_some_and(|holds| holds.contains(index));
            let is_useful = |index: ChunkIndex| self.bounds.ahead.is_none() || index.get() == self.base;
            let can_serve = |index| holds(index) && !self.done.contains(index) && is_useful(index);
            // Two requests for one chunk are enough.
            let elsewhere = self.in_flight.iter().filter_map(|(&index, requests)| match requests[..] {
                [only] if only.source != peer && can_serve(index) => Some((only.since, index)),
                _ => None,
            });
            let (since, index) = elsewhere.min()?;
            Some(Hedge { source: peer, index, due: since + source.hedge_after() })
        })
    }

    /// Chunks from here on are too far ahead to be of use yet.
    fn limit(&self) -> u32 {
        self.bounds.ahead.map_or(u32::MAX, |ahead| self.base.saturating_add(ahead.max(1)))
    }

    fn request(&mut self, peer: PeerId, index: ChunkIndex, now: Duration) {
        self.wanted.remove(index);
        self.in_flight.entry(index).or_default().push(Request { source: peer, since: now });
        self.requests += 1;
        if let Some(source) = self.sources.get_mut(&peer) {
            source.in_flight += 1;
        }
    }

    /// Ends a request. Returns when it was made.
    fn landed(&mut self, peer: PeerId, index: ChunkIndex) -> Option<Duration> {
        let requests = self.in_flight.get_mut(&index)?;
        let position = requests.iter().position(|request| request.source == peer)?;
        let Request { since, .. } = requests.swap_remove(position);
        if requests.is_empty() {
            self.in_flight.remove(&index);
            if !self.done.contains(index) {
                self.wanted.insert(index);
            }
        }
        self.requests -= 1;
        if let Some(source) = self.sources.get_mut(&peer) {
            source.in_flight -= 1;
        }
        Some(since)
    }

    fn count_failure(&mut self, peer: PeerId) {
        if let Some(source) = self.sources.get_mut(&peer) {
            source.failures += 1;
            if source.failures >= FAILURES_MAX {
                self.drop_source(peer, SourceState::Unreachable);
            }
        }
    }

    fn drop_source(&mut self, peer: PeerId, state: SourceState) {
        let Some(source) = self.sources.get_mut(&peer) else { return };
        // Unreachable overrides wrong: from such a source not even the last resort can be had.
        if source.is_good() || state == SourceState::Unreachable {
            source.state = state;
        }
    }

    fn advance(&mut self) {
        self.base = self.done.first_missing(self.base).map_or(self.done.chunk_count(), ChunkIndex::get);
    }
}

/// A hedged request: a chunk is asked for a second time, of another source.
struct Hedge {
    source: PeerId,
    index: ChunkIndex,
    /// From when on it may be made.
    due: Duration,
}

impl Source {
    fn is_good(&self) -> bool {
        self.state == SourceState::Good
    }

    const fn is_free(&self) -> bool {
        self.in_flight < self.limit
    }

    fn took(&mut self, time: Duration) {
        self.latency = Some(self.latency.map_or(time, |average| (average * 7 + time) / 8));
    }

    /// How long after another source was asked this one is asked, too: in that time it could have served the chunk twice.
    fn hedge_after(&self) -> Duration {
        self.latency.map_or(HEDGE_AFTER_UNKNOWN, |latency| (latency * 2).max(HEDGE_AFTER_MIN))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: Bounds = Bounds { in_flight: 8, per_source: 4, ahead: None };
    const NOW: Duration = Duration::ZERO;

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
        let gets = std::iter::from_fn(|| match fetch.next(NOW) {
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
            match fetch.next(NOW) {
                Some(Action::Get(source, index)) => {
                    let spoiled = u32::from(source.as_bytes()[0]) - 1 == index.get();
                    served.push((source, index, spoiled));
                    let event = if spoiled { Event::Wrong } else { Event::Got };
                    fetch.handle(event(source, index), NOW);
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
            fetch.handle(Event::Got(source, index), NOW);
        }
        assert_eq!(fetch.next(NOW), Some(Action::Finish));
        assert_eq!(self::fetch(0, &[]).next(NOW), Some(Action::Finish), "an empty share needs no source");
    }

    #[test]
    fn a_wrong_source_is_dropped_and_its_chunks_come_from_another() {
        let mut fetch = fetch(2, &[1, 2]);
        let gets = drain(&mut fetch);
        for (source, index) in gets {
            let wrong = source == peer(1);
            fetch.handle(if wrong { Event::Wrong(source, index) } else { Event::Got(source, index) }, NOW);
        }
        for (source, index) in drain(&mut fetch) {
            assert_eq!(source, peer(2));
            fetch.handle(Event::Got(source, index), NOW);
        }
        assert_eq!(fetch.next(NOW), Some(Action::Finish));
        let states: Vec<_> = fetch.sources().map(|(_, state, served)| (state, served)).collect();
        assert_eq!(states, [(SourceState::Wrong, 0), (SourceState::Good, 2)]);
    }

    #[test]
    fn without_a_source_for_a_chunk_it_gives_up() {
        let mut fetch = Fetch::new(ChunkSet::empty(2), BOUNDS);
        fetch.add_source(peer(1), Some(ChunkSet::range(2, 0..1)));
        for (source, index) in drain(&mut fetch) {
            fetch.handle(Event::Got(source, index), NOW);
        }
        assert_eq!(fetch.next(NOW), Some(Action::GiveUp));
        assert_eq!(fetch.done().len(), 1);
    }

    #[test]
    fn a_failing_source_is_tried_a_few_times_only() {
        let mut fetch = fetch(1, &[1]);
        for _ in 0..FAILURES_MAX {
            let Some(Action::Get(source, index)) = fetch.next(NOW) else { panic!("an attempt is due") };
            fetch.handle(Event::Failed(source, index), NOW);
        }
        assert_eq!(fetch.next(NOW), Some(Action::GiveUp));
    }

    #[test]
    fn a_source_that_lacks_a_chunk_is_kept_for_others() {
        let mut fetch = fetch(2, &[1]);
        let gets = drain(&mut fetch);
        fetch.handle(Event::Missing(gets[0].0, gets[0].1), NOW);
        fetch.handle(Event::Got(gets[1].0, gets[1].1), NOW);
        assert_eq!(fetch.next(NOW), Some(Action::GiveUp));
        assert_eq!(fetch.sources().next().map(|(_, state, _)| state), Some(SourceState::Good));
    }

    #[test]
    fn sources_of_unknown_holdings_are_asked_first() {
        let mut fetch = Fetch::new(ChunkSet::empty(1), BOUNDS);
        fetch.add_source(peer(1), None);
        assert_eq!(fetch.next(NOW), Some(Action::Ask(peer(1))));
        assert_eq!(fetch.next(NOW), None, "the answer is awaited");
        fetch.handle(Event::Holds(peer(1), ChunkSet::full(1)), NOW);
        assert!(matches!(fetch.next(NOW), Some(Action::Get(..))));
    }

    #[test]
    fn in_order_use_bounds_how_far_ahead_it_asks() {
        let bounds = Bounds { ahead: Some(3), ..BOUNDS };
        let mut fetch = Fetch::new(ChunkSet::empty(20), bounds);
        fetch.add_source(peer(1), Some(ChunkSet::full(20)));
        let gets = drain(&mut fetch);
        assert_eq!(gets.len(), 3);
        fetch.handle(Event::Got(gets[2].0, gets[2].1), NOW);
        assert_eq!(drain(&mut fetch), [], "the first is still missing");
        fetch.handle(Event::Got(gets[0].0, gets[0].1), NOW);
        assert_eq!(drain(&mut fetch).len(), 1);
    }

    #[test]
    fn what_is_done_is_not_asked_for() {
        let mut fetch = Fetch::new(ChunkSet::range(4, 0..3), BOUNDS);
        fetch.add_source(peer(1), Some(ChunkSet::full(4)));
        assert_eq!(drain(&mut fetch).iter().map(|(_, i)| i.get()).collect::<Vec<_>>(), [3]);
    }

    #[test]
    fn a_late_source_does_not_hold_up_the_end() {
        let mut fetch = fetch(3, &[1, 2]);
        let gets = drain(&mut fetch);
        // What the good source takes for a chunk; the other one is late after twice as long.
        let fast = Duration::from_millis(100);
        let slow: Vec<ChunkIndex> = gets.iter().filter(|(p, _)| *p == peer(1)).map(|(_, i)| *i).collect();
        for &(source, index) in gets.iter().filter(|(source, _)| *source == peer(2)) {
            fetch.handle(Event::Got(source, index), fast);
        }
        assert_eq!(fetch.next(fast), None, "not late yet");
        assert_eq!(fetch.next_deadline(), Some(fast * 2), "late is who takes twice as long");
        for &index in &slow {
            assert_eq!(fetch.next(fast * 2), Some(Action::Get(peer(2), index)));
        }
        assert_eq!(
            (fetch.next(fast * 2), fetch.next_deadline()),
            (None, None),
            "nothing is asked a third time"
        );
        for &index in &slow {
            fetch.handle(Event::Got(peer(2), index), fast * 3);
        }
        assert_eq!(fetch.next(fast * 3), Some(Action::Finish));
        fetch.handle(Event::Got(peer(1), slow[0]), fast * 4);
        let served: Vec<u32> = fetch.sources().map(|(.., served)| served).collect();
        assert_eq!(served, [0, 3], "who comes second served nothing");
    }

    #[test]
    fn a_chunk_that_one_of_two_failed_to_serve_is_not_wanted_again_before_the_other_fails_too() {
        let mut fetch = fetch(1, &[1, 2]);
        let late = Duration::from_secs(100);
        assert_eq!(drain(&mut fetch).len(), 1);
        assert_eq!(fetch.next(late), Some(Action::Get(peer(2), ChunkIndex::new(0))));
        fetch.handle(Event::Failed(peer(1), ChunkIndex::new(0)), late);
        assert_eq!(fetch.next(late), None);
        fetch.handle(Event::Missing(peer(2), ChunkIndex::new(0)), late);
        assert_eq!(fetch.next(late), Some(Action::Get(peer(1), ChunkIndex::new(0))));
    }

    #[test]
    fn a_distant_source_may_have_more_requests_under_way() {
        let mut fetch = fetch(20, &[1]);
        assert_eq!(drain(&mut fetch).len(), 4);
        fetch.set_limit(peer(1), 6);
        assert_eq!(drain(&mut fetch).len(), 2);
    }
}
