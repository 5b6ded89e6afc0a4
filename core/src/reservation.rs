//! Room that an upload reserves at a peer: how long it is held although no bytes follow.

use std::collections::HashMap;
use std::time::Duration;

use crate::duration::millis;
use crate::limits::{GRANT_BYTES_PER_SECOND, RESERVATION_GRACE, RESERVATION_IDLE};
use crate::token::TokenId;

/// Space that is reserved for a share whose chunks are to arrive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reservation {
    /// The token that it is charged to; `None`: nobody's, as for a copy that the tracker ordered.
    pub token: Option<TokenId>,
    /// Bytes that are still to arrive.
    pub bytes: u64,
    /// Bytes that have arrived since it was made.
    pub arrived_bytes: u64,
    /// When it was made.
    pub since_ms: u64,
}

/// Tokens that had space reserved and did not use it: their next reservations hold only as far as bytes follow at once.
#[derive(Debug, Default)]
pub struct Wasteful(HashMap<TokenId, u64>);

impl Reservation {
    /// Whether its sender makes use of it: for a while it need not, then bytes must have followed as fast as the
    /// slowest sender's. Otherwise the space is there for others who ask.
    pub fn holds(&self, wasteful: &Wasteful, now_ms: u64) -> bool {
        if self.token.is_none() {
            return true;
        }
        let grace = if wasteful.contains(self.token, now_ms) { Duration::ZERO } else { RESERVATION_GRACE };
        let late_ms = now_ms.saturating_sub(self.since_ms).saturating_sub(millis(grace));
        let expected = u128::from(late_ms) * u128::from(GRANT_BYTES_PER_SECOND) / 1000;
        late_ms == 0 || u128::from(self.arrived_bytes) >= expected
    }
}

impl Wasteful {
    /// Notes that a reservation of this token was not made use of.
    pub fn note(&mut self, token: Option<TokenId>, now_ms: u64) {
        self.0.retain(|_, until_ms| *until_ms > now_ms);
        if let Some(token) = token {
            self.0.insert(token, now_ms.saturating_add(millis(RESERVATION_IDLE)));
        }
    }

    fn contains(&self, token: Option<TokenId>, now_ms: u64) -> bool {
        token.and_then(|token| self.0.get(&token)).is_some_and(|until_ms| *until_ms > now_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: TokenId = TokenId::from_bytes([1; 8]);

    fn reservation(arrived_bytes: u64) -> Reservation {
        Reservation { token: Some(TOKEN), bytes: 1 << 40, arrived_bytes, since_ms: 1000 }
    }

    #[test]
    fn s11_a_reservation_that_no_bytes_follow_holds_for_a_while() {
        let (none, grace) = (Wasteful::default(), millis(RESERVATION_GRACE));
        assert!(reservation(0).holds(&none, 1000) && reservation(0).holds(&none, 1000 + grace));
        assert!(!reservation(0).holds(&none, 1001 + grace));
        let minute = 60_000;
        let slowest = 60 * GRANT_BYTES_PER_SECOND;
        assert!(reservation(slowest).holds(&none, 1000 + grace + minute));
        assert!(!reservation(slowest - 1).holds(&none, 1000 + grace + minute));
        assert!(!reservation(0).holds(&none, u64::MAX), "however late it is");
    }

    #[test]
    fn s11_who_wasted_a_reservation_is_given_no_time_by_the_next_one() {
        let mut wasteful = Wasteful::default();
        wasteful.note(None, 0);
        wasteful.note(Some(TOKEN), 1000);
        assert!(!reservation(0).holds(&wasteful, 2000));
        assert!(reservation(GRANT_BYTES_PER_SECOND).holds(&wasteful, 2000));
        assert!(Reservation { token: None, ..reservation(0) }.holds(&wasteful, u64::MAX));
        let other = Reservation { token: Some(TokenId::from_bytes([2; 8])), ..reservation(0) };
        assert!(other.holds(&wasteful, 2000));
        let later = 1000 + millis(RESERVATION_IDLE);
        let again = Reservation { since_ms: later, ..reservation(0) };
        assert!(again.holds(&wasteful, later + 1), "it is forgotten in time");
    }
}
