//! What a peer is letting go of, and what it promised others to keep: a drop is a promise between holders.
//!
//! A peer that is told to drop chunks first *leaves* them: it serves and proves them no more. Then it asks other holders
//! to prove them *for a drop*, and lets go of those that enough others have proved. Who proves a chunk for a drop keeps it
//! for a day, and refuses if it is leaving it itself. Of two holders that are told to drop at once, the one that leaves first
//! gets no promise from the other that leaves, too; and one that has nothing cannot fetch the proof from the one that
//! asks. So what everybody is told to drop, nobody drops.

use std::collections::{BTreeMap, BTreeSet};

use crate::duration::millis;
use crate::id::{ChunkId, PeerId};
use crate::limits::{PROMISE, PROMISE_RENEWED};

/// What one peer leaves, and what it keeps for others. The two never overlap.
#[derive(Debug, Default)]
pub struct Parting {
    leaving: BTreeSet<ChunkId>,
    /// Until when each chunk is kept: milliseconds since the Unix epoch.
    kept: BTreeMap<ChunkId, u64>,
}

impl Parting {
    /// What was promised before a restart. Nothing is being left: that was forgotten, and so nothing was dropped.
    pub fn resume(kept: impl IntoIterator<Item = (ChunkId, u64)>) -> Self {
        let mut parting = Self::default();
        for (id, until_ms) in kept {
            let known = parting.kept.entry(id).or_default();
            *known = (*known).max(until_ms);
        }
        parting
    }

    /// Begins to leave those of the chunks that nobody was promised. Returns which these are. While the clock is not to
    /// be trusted, no promise ends.
    pub fn leave(&mut self, chunks: &[ChunkId], now_ms: Option<u64>) -> Vec<ChunkId> {
        let is_kept = |id: &ChunkId| {
            self.kept.get(id).is_some_and(|until_ms| now_ms.is_none_or(|now_ms| now_ms < *until_ms))
        };
        let free: Vec<ChunkId> = chunks.iter().filter(|id| !is_kept(id)).copied().collect();
        self.leaving.extend(&free);
        free
    }

    /// Ends the leaving of chunks, whatever came of it.
    pub fn stay(&mut self, chunks: &[ChunkId]) {
        for id in chunks {
            self.leaving.remove(id);
        }
    }

    /// Whether the chunk is neither served nor proved.
    pub fn is_leaving(&self, id: &ChunkId) -> bool {
        self.leaving.contains(id)
    }

    /// Promises to keep those of the chunks that are not being left, while no more than `most` promises stand. Which these
    /// are, and what is to be noted before anybody is told: until when the chunks are kept whose promise is new or
    /// renewed. While the clock is not to be trusted they have no end: it is set when it is ([`Parting::end_promises`]).
    pub fn promise(
        &mut self,
        chunks: &[ChunkId],
        now_ms: Option<u64>,
        most: usize,
    ) -> (Vec<ChunkId>, Vec<(ChunkId, u64)>) {
        let after = |time| now_ms.map_or(u64::MAX, |now_ms| now_ms.saturating_add(millis(time)));
        let (enough_ms, until_ms) = (after(PROMISE), after(PROMISE_RENEWED));
        let (mut promised, mut new) = (Vec::new(), Vec::new());
        for id in chunks.iter().filter(|id| !self.leaving.contains(id)) {
            let known = self.kept.get(id).copied();
            // What is promised already takes no more room, and is renewed however many stand.
            if known.is_none() && self.kept.len() >= most {
                continue;
            }
            promised.push(*id);
            if known.is_none_or(|known_ms| known_ms < enough_ms) {
                self.kept.insert(*id, until_ms);
                new.push((*id, until_ms));
            }
        }
        (promised, new)
    }

    /// Forgets promises that are over by a clock that is to be trusted. None was given for longer than from now on: what
    /// says so was given by a clock that was wrong.
    pub fn end_promises(&mut self, now_ms: u64) {
        let longest_ms = now_ms.saturating_add(millis(PROMISE_RENEWED));
        self.kept.retain(|_, until_ms| {
            *until_ms = longest_ms.min(*until_ms);
            now_ms < *until_ms
        });
    }

    /// How many promises stand.
    pub fn promise_count(&self) -> usize {
        self.kept.len()
    }

    /// The promises that stand.
    pub fn promises(&self) -> impl Iterator<Item = (ChunkId, u64)> + '_ {
        self.kept.iter().map(|(id, until_ms)| (*id, *until_ms))
    }
}

/// The chunks that at least `wanted` different peers have proved. Each answer is of one peer.
pub fn proved_enough(
    wanted: u8,
    chunks: &[ChunkId],
    answers: &[(PeerId, BTreeSet<ChunkId>)],
) -> Vec<ChunkId> {
    let by = |id: &ChunkId| {
        let peers = answers.iter().filter(|(_, proved)| proved.contains(id)).map(|(peer, _)| peer);
        peers.collect::<BTreeSet<_>>().len()
    };
    chunks.iter().filter(|id| by(id) >= usize::from(wanted)).copied().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const DAY_MS: u64 = 24 * 3_600_000;

    fn chunk(number: u8) -> ChunkId {
        ChunkId::of(&[number])
    }

    fn peer(number: u8) -> PeerId {
        PeerId::from_bytes([number; 32])
    }

    #[test]
    fn what_is_being_left_is_promised_to_nobody_and_what_was_promised_is_not_left_for_a_day() {
        let mut parting = Parting::default();
        assert_eq!(parting.leave(&[chunk(1)], Some(0)), [chunk(1)]);
        assert!(parting.is_leaving(&chunk(1)));
        let (promised, noted) = parting.promise(&[chunk(1), chunk(2)], Some(0), 9);
        assert_eq!((promised, noted.len()), (vec![chunk(2)], 1));
        assert_eq!(parting.leave(&[chunk(2), chunk(3)], Some(DAY_MS)), [chunk(3)]);
        assert_eq!(parting.leave(&[chunk(2)], Some(2 * DAY_MS)), [chunk(2)]);
        parting.stay(&[chunk(1)]);
        assert!(!parting.is_leaving(&chunk(1)));
        assert_eq!(parting.promise(&[chunk(1)], Some(0), 9).0, [chunk(1)]);
    }

    #[test]
    fn promises_outlive_a_restart_and_a_clock_that_jumps() {
        let mut before = Parting::default();
        let (_, noted) = before.promise(&[chunk(1)], Some(1000), 9);
        let mut parting = Parting::resume(noted.iter().copied().chain([(chunk(1), 7)]));
        assert_eq!(parting.leave(&[chunk(1)], Some(1000 + DAY_MS)), []);
        assert_eq!(parting.leave(&[chunk(1)], None), [], "no promise ends while the clock is not trusted");
        parting.end_promises(1000 + DAY_MS);
        assert_eq!(parting.promise_count(), 1);
        parting.end_promises(1000 + 2 * DAY_MS);
        assert_eq!(parting.promises().count(), 0);
    }

    #[test]
    fn a_promise_by_a_clock_that_is_not_believed_lasts_a_day_from_when_it_is() {
        let mut parting = Parting::resume([(chunk(2), 1000 * DAY_MS)]);
        let (promised, noted) = parting.promise(&[chunk(1)], None, 9);
        assert_eq!((promised, noted), (vec![chunk(1)], vec![(chunk(1), u64::MAX)]));
        assert_eq!(parting.promise(&[chunk(1)], Some(0), 9).1, [], "what has no end is long enough");
        parting.end_promises(7 * DAY_MS);
        assert_eq!(parting.leave(&[chunk(1), chunk(2)], Some(8 * DAY_MS)), []);
        parting.end_promises(9 * DAY_MS);
        assert_eq!(parting.leave(&[chunk(1), chunk(2)], Some(9 * DAY_MS)), [chunk(1), chunk(2)]);
    }

    #[test]
    fn no_more_is_promised_than_there_is_room_for() {
        let mut parting = Parting::default();
        assert_eq!(parting.promise(&[chunk(1), chunk(2), chunk(3)], Some(0), 2).0, [chunk(1), chunk(2)]);
        assert_eq!(
            parting.promise(&[chunk(3), chunk(1)], Some(0), 2).0,
            [chunk(1)],
            "what stands is renewed"
        );
        assert_eq!(parting.promise_count(), 2);
    }

    #[test]
    fn a_promise_that_is_asked_for_again_and_again_is_noted_once_an_hour() {
        let mut parting = Parting::default();
        let notes = (0..60 * 24)
            .filter(|minute| !parting.promise(&[chunk(1)], Some(minute * 60_000), 9).1.is_empty());
        assert!(notes.count() <= 25);
    }

    #[test]
    fn only_different_peers_count() {
        let proved = |chunks: &[u8]| chunks.iter().map(|&number| chunk(number)).collect::<BTreeSet<_>>();
        let answers = [(peer(1), proved(&[1, 2])), (peer(1), proved(&[1, 2])), (peer(2), proved(&[2]))];
        assert_eq!(proved_enough(2, &[chunk(1), chunk(2)], &answers), [chunk(2)]);
        assert_eq!(proved_enough(1, &[chunk(1), chunk(2), chunk(3)], &answers), [chunk(1), chunk(2)]);
    }

    proptest! {
        /// Some peers hold a chunk, and all of them are told to drop it again and again, in any order of steps: as many
        /// as are wanted always keep it.
        #[test]
        fn whatever_the_order_enough_keep_it(
            wanted in 1u8..4, holders in 1usize..6, steps in proptest::collection::vec((0usize..6, 0usize..6), 0..200),
        ) {
            let id = chunk(1);
            let mut peers: Vec<Parting> = (0..holders).map(|_| Parting::default()).collect();
            let mut holds = vec![true; holders];
            // Whose proofs each has by now, while it leaves.
            let mut proofs: Vec<BTreeSet<usize>> = vec![BTreeSet::new(); holders];
            for (now_ms, (who, other)) in (0u64..).zip(steps) {
                let (who, other) = (who % holders, other % holders);
                if !holds[who] {
                    continue;
                }
                if !peers[who].is_leaving(&id) {
                    peers[who].leave(&[id], Some(now_ms));
                    proofs[who].clear();
                } else if who == other {
                    // It gives up asking.
                    let answers: Vec<_> = proofs[who].iter()
                        .map(|&other| (peer(u8::try_from(other).unwrap()), BTreeSet::from([id]))).collect();
                    holds[who] = proved_enough(wanted, &[id], &answers).is_empty();
                    peers[who].stay(&[id]);
                } else if holds[other] && !peers[other].promise(&[id], Some(now_ms), 9).0.is_empty() {
                    proofs[who].insert(other);
                }
                let left = holds.iter().filter(|holds| **holds).count();
                prop_assert!(left >= usize::from(wanted).min(holders), "{left} of {holders} hold it");
            }
        }
    }
}
