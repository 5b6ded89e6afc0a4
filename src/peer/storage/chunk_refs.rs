//! Which shares hold which chunks: a set of pairs, never a count. A reference that is added or released twice is added or
//! released once, so no order of events takes away another share's.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use parcelry_core::id::{ChunkId, ShareId};

/// The pairs of chunk and share. Nearly every chunk is of one share: it takes the chunk's id and four bytes.
#[derive(Debug, Default)]
pub(super) struct ChunkRefs {
    /// A small number in the place of each share that holds anything.
    numbers: HashMap<ShareId, u32>,
    shares: HashMap<u32, Holder>,
    next: u32,
    /// One share of each chunk.
    first: HashMap<ChunkId, u32>,
    /// The others, of the few chunks that several shares hold.
    more: HashMap<ChunkId, Vec<u32>>,
}

#[derive(Debug)]
struct Holder {
    share: ShareId,
    /// Chunks that it holds: at none its number is free again.
    chunks: u32,
}

/// What was left when a share gave a chunk up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Released {
    /// The share did not hold it.
    NotHeld,
    /// Other shares hold it.
    Shared,
    /// Nobody holds it any more.
    Last,
}

impl ChunkRefs {
    /// Notes that a share holds a chunk. Returns whether it did not before.
    pub(super) fn add(&mut self, share: ShareId, id: ChunkId) -> bool {
        let number = self.number(share);
        let is_new = match self.first.entry(id) {
            Entry::Vacant(free) => {
                free.insert(number);
                true
            }
            Entry::Occupied(first) if *first.get() == number => false,
            Entry::Occupied(_) => {
                let others = self.more.entry(id).or_default();
                let is_new = !others.contains(&number);
                if is_new {
                    others.push(number);
                }
                is_new
            }
        };
        self.count(number, |chunks| chunks + u32::from(is_new));
        is_new
    }

    /// Notes that a share no longer holds a chunk.
    pub(super) fn release(&mut self, share: ShareId, id: &ChunkId) -> Released {
        let Some(&number) = self.numbers.get(&share) else { return Released::NotHeld };
        let released = self.take(number, id);
        if released != Released::NotHeld {
            self.count(number, |chunks| chunks - 1);
        }
        released
    }

    /// Whether any share holds the chunk.
    pub(super) fn is_referenced(&self, id: &ChunkId) -> bool {
        self.first.contains_key(id)
    }

    /// Whether this share holds the chunk.
    pub(super) fn holds(&self, share: ShareId, id: &ChunkId) -> bool {
        let Some(number) = self.numbers.get(&share) else { return false };
        self.of_chunk(id).any(|holder| holder == number)
    }

    /// The shares that hold the chunk.
    pub(super) fn holders(&self, id: &ChunkId) -> Vec<ShareId> {
        self.of_chunk(id).filter_map(|number| Some(self.shares.get(number)?.share)).collect()
    }

    /// The chunks that several shares hold.
    pub(super) fn of_several(&self) -> impl Iterator<Item = &ChunkId> {
        self.more.keys()
    }

    /// All that a share holds, in no order. It looks at every chunk: for when the share's own list is gone.
    pub(super) fn of_share(&self, share: ShareId) -> Vec<ChunkId> {
        self.first.keys().filter(|id| self.holds(share, id)).copied().collect()
    }

    fn of_chunk(&self, id: &ChunkId) -> impl Iterator<Item = &u32> {
        self.first.get(id).into_iter().chain(self.more.get(id).into_iter().flatten())
    }

    fn take(&mut self, number: u32, id: &ChunkId) -> Released {
        let Entry::Occupied(mut first) = self.first.entry(*id) else { return Released::NotHeld };
        let Entry::Occupied(mut others) = self.more.entry(*id) else {
            if *first.get() != number {
                return Released::NotHeld;
            }
            first.remove();
            return Released::Last;
        };
        if *first.get() == number {
            // Those that stand there are never none.
            first.insert(others.get_mut().swap_remove(0));
        } else if let Some(place) = others.get().iter().position(|other| *other == number) {
            others.get_mut().swap_remove(place);
        } else {
            return Released::NotHeld;
        }
        if others.get().is_empty() {
            others.remove();
        }
        Released::Shared
    }

    fn number(&mut self, share: ShareId) -> u32 {
        if let Some(&number) = self.numbers.get(&share) {
            return number;
        }
        // Numbers come round again after 2^32 shares: those in use are passed over.
        while self.shares.contains_key(&self.next) {
            self.next = self.next.wrapping_add(1);
        }
        let number = self.next;
        self.next = self.next.wrapping_add(1);
        self.numbers.insert(share, number);
        self.shares.insert(number, Holder { share, chunks: 0 });
        number
    }

    fn count(&mut self, number: u32, change: impl Fn(u32) -> u32) {
        let Some(holder) = self.shares.get_mut(&number) else { return };
        holder.chunks = change(holder.chunks);
        if holder.chunks == 0 {
            let share = holder.share;
            self.shares.remove(&number);
            self.numbers.remove(&share);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn share(number: u8) -> ShareId {
        ShareId::from_bytes([number; 32])
    }

    fn chunk(number: u8) -> ChunkId {
        ChunkId::from_bytes([number; 32])
    }

    #[test]
    fn s2_who_lets_go_twice_takes_nothing_from_another_share() {
        let mut refs = ChunkRefs::default();
        refs.add(share(1), chunk(1));
        refs.add(share(2), chunk(1));
        assert_eq!(refs.release(share(2), &chunk(1)), Released::Shared);
        assert_eq!(refs.release(share(2), &chunk(1)), Released::NotHeld);
        assert!(refs.holds(share(1), &chunk(1)));
        assert_eq!(refs.release(share(1), &chunk(1)), Released::Last);
    }

    proptest! {
        #[test]
        fn refs_are_a_set_of_pairs(steps in proptest::collection::vec((0u8..5, 0u8..6, any::<bool>()), 0..200)) {
            let (mut refs, mut model) = (ChunkRefs::default(), BTreeSet::new());
            for (s, c, adds) in steps {
                if adds {
                    prop_assert_eq!(refs.add(share(s), chunk(c)), model.insert((c, s)));
                } else {
                    let was = model.remove(&(c, s));
                    let left = model.iter().any(|(chunk, _)| *chunk == c);
                    let expected = match (was, left) {
                        (false, _) => Released::NotHeld,
                        (true, true) => Released::Shared,
                        (true, false) => Released::Last,
                    };
                    prop_assert_eq!(refs.release(share(s), &chunk(c)), expected);
                }
                for c in 0..6 {
                    let holders: BTreeSet<ShareId> = refs.holders(&chunk(c)).into_iter().collect();
                    let expected = model.iter().filter(|(of, _)| *of == c).map(|(_, s)| share(*s));
                    prop_assert_eq!(holders, expected.collect::<BTreeSet<_>>());
                }
                let holding: BTreeSet<u8> = model.iter().map(|(_, s)| *s).collect();
                prop_assert_eq!(refs.shares.len(), holding.len());
            }
        }
    }
}
