//! Shares that wait to be looked at and take turns: none waits for others that are marked again and again.

use std::collections::BTreeSet;
use std::ops::Bound;

use parcelry_core::id::ShareId;

/// A set of shares that is emptied in the order of their ids, round and round.
#[derive(Default)]
pub(super) struct Rotation {
    waiting: BTreeSet<ShareId>,
    /// The share that was taken last.
    last: Option<ShareId>,
}

impl Rotation {
    /// Takes the next share out. Every share that is there now comes before any comes twice, whatever is added meanwhile.
    pub(super) fn pop(&mut self) -> Option<ShareId> {
        let after = self.last.map_or(Bound::Unbounded, Bound::Excluded);
        // Past the last share it begins at the first again.
        let next = self.waiting.range((after, Bound::Unbounded)).next().or_else(|| self.waiting.first());
        let next = *next?;
        self.waiting.remove(&next);
        self.last = Some(next);
        Some(next)
    }

    /// How many shares wait.
    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Whether no share waits.
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }
}

impl Extend<ShareId> for Rotation {
    fn extend<I: IntoIterator<Item = ShareId>>(&mut self, shares: I) {
        self.waiting.extend(shares);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn none_waits_for_shares_that_are_marked_again_and_again() {
        let share = |n: u8| ShareId::from_bytes([n; 32]);
        let mut rotation = Rotation::default();
        rotation.extend([1, 2, 3].map(share));
        let mut taken = Vec::new();
        for _ in 0..3 {
            taken.extend(rotation.pop());
            rotation.extend([share(1), share(2)]);
        }
        assert_eq!(taken, [1, 2, 3].map(share));
        assert_eq!(rotation.len(), 2);
        assert_eq!([rotation.pop(), rotation.pop(), rotation.pop()], [Some(share(1)), Some(share(2)), None]);
        assert!(rotation.is_empty());
    }
}
