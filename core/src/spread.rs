//! Moments for what many would do at once, and what may wait for a while.

use std::time::Duration;

use crate::duration::millis;

/// Moments one after the other, as far as they fit into a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Spread {
    step: Duration,
    within: Duration,
    next_ms: u64,
}

impl Spread {
    /// One in each `step`, but all within this time, however many there are.
    pub const fn new(step: Duration, within: Duration) -> Self {
        Self { step, within, next_ms: 0 }
    }

    /// The moment of the next one.
    pub fn next(&mut self, now_ms: u64) -> u64 {
        let last_ms = now_ms.saturating_add(millis(self.within));
        let at_ms = if (now_ms..=last_ms).contains(&self.next_ms) { self.next_ms } else { now_ms };
        self.next_ms = at_ms.saturating_add(millis(self.step));
        at_ms
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_spread_is_within_the_time_however_many_come() {
        let mut spread = Spread::new(Duration::from_millis(50), Duration::from_secs(60));
        let delays: Vec<u64> = (0..3000).map(|_| spread.next(1000) - 1000).collect();
        assert_eq!(delays[..3], [0, 50, 100]);
        assert!(delays.iter().all(|&delay| delay <= 60_000));
        let at_once = |delay| delays.iter().filter(|&&other| other == delay).count();
        assert!(delays.iter().all(|&delay| at_once(delay) <= 3), "evenly");
        assert_eq!(spread.next(500_000), 500_000, "who comes alone waits for nobody");
    }
}
