//! When a peer that comes from another address than those at which it was found is dialled back there. Lines exist
//! whose address alternates, and peers that want to make work: a peer that moves on and on is dialled ever more rarely.

use std::time::Duration;

/// How often a peer that moves was dialled back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Moves {
    /// Dials that followed each other without a quiet time between.
    in_a_row: u32,
    last_ms: u64,
}

impl Moves {
    /// Whether to dial a peer that has come from a new address; if so, that is noted. The first move counts at once,
    /// each further one only after twice the time, up to the `quiet` time; after twice that without any, all is as at
    /// first.
    pub fn may_dial(&mut self, now_ms: u64, heartbeat: Duration, quiet: Duration) -> bool {
        let since = Duration::from_millis(now_ms.saturating_sub(self.last_ms));
        if since >= quiet * 2 {
            self.in_a_row = 0;
        }
        let wait = heartbeat.saturating_mul(1 << self.in_a_row.min(16)).min(quiet);
        if self.in_a_row > 0 && since < wait {
            return false;
        }
        *self = Self { in_a_row: self.in_a_row.saturating_add(1), last_ms: now_ms };
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn f51_a_move_is_followed_at_once_and_an_address_that_alternates_ever_more_rarely() {
        let (heartbeat, quiet) = (Duration::from_secs(10), Duration::from_secs(300));
        let mut moves = Moves::default();
        let dials: Vec<u64> =
            (0..360).map(|beat| beat * 10_000).filter(|&ms| moves.may_dial(ms, heartbeat, quiet)).collect();
        assert_eq!(dials[..6], [0, 20_000, 60_000, 140_000, 300_000, 600_000]);
        assert!(dials.len() < 20, "in an hour: {dials:?}");
        assert!(moves.may_dial(5_000_000, heartbeat, quiet));
        assert!(moves.may_dial(5_020_000, heartbeat, quiet), "after a quiet time all is as at first");
    }
}
