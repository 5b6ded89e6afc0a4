//! What came for uploads that were never committed, and who is charged with it: it takes room on the disk until its mark
//! ends, whatever became of the reservation under which it came.

use std::collections::HashMap;

use parcelry_core::id::ShareId;
use parcelry_core::token::TokenId;

/// What marks name that is of no share, by the share for which it came.
#[derive(Debug, Default)]
pub(super) struct Unfinished(HashMap<ShareId, Left>);

#[derive(Debug, Clone, Copy)]
struct Left {
    token: Option<TokenId>,
    bytes: u64,
}

impl Unfinished {
    /// Notes that so many bytes more are here for a share. Who is charged with the first is charged with the rest.
    pub(super) fn add(&mut self, share: ShareId, token: Option<TokenId>, bytes: u64) {
        let left = self.0.entry(share).or_insert(Left { token, bytes: 0 });
        left.bytes = left.bytes.saturating_add(bytes);
    }

    /// Notes that so many bytes are left of what came for a share, and no more.
    pub(super) fn set(&mut self, share: ShareId, token: Option<TokenId>, bytes: u64) {
        if bytes == 0 {
            self.0.remove(&share);
        } else {
            self.0.insert(share, Left { token, bytes });
        }
    }

    /// Bytes that came for a share.
    pub(super) fn bytes(&self, share: ShareId) -> u64 {
        self.0.get(&share).map_or(0, |left| left.bytes)
    }

    /// The shares for which a token is charged, but for one, and with how many bytes.
    pub(super) fn of_token(
        &self,
        token: TokenId,
        excluding: ShareId,
    ) -> impl Iterator<Item = (ShareId, u64)> + use<'_> {
        let others =
            self.0.iter().filter(move |(share, left)| **share != excluding && left.token == Some(token));
        others.map(|(share, left)| (*share, left.bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_is_charged_to_who_sent_first() {
        let [one, two] = [1, 2].map(|number| ShareId::from_bytes([number; 32]));
        let [mine, other] = [1, 2].map(|number| TokenId::from_bytes([number; 8]));
        let mut unfinished = Unfinished::default();
        unfinished.add(one, Some(mine), 2);
        unfinished.add(one, Some(other), 3);
        unfinished.add(two, None, 7);
        assert_eq!(unfinished.bytes(one), 5);
        assert_eq!(unfinished.of_token(mine, two).collect::<Vec<_>>(), [(one, 5)]);
        assert_eq!(unfinished.of_token(mine, one).count() + unfinished.of_token(other, two).count(), 0);
        unfinished.set(one, Some(mine), 1);
        assert_eq!(unfinished.bytes(one), 1);
        unfinished.set(one, Some(mine), 0);
        assert_eq!((unfinished.bytes(one), unfinished.of_token(mine, two).count()), (0, 0));
    }
}
