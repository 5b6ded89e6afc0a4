//! Clocks that disagree: which one is off against which, and by how much.

use std::time::Duration;

use parcelry_core::duration::millis;
use parcelry_core::limits::{CLOCK_SKEW_MAX, EXPIRY_MAX};

use crate::clock;
use crate::failure::{Failure, Kind};
use crate::human;

/// What a clock elsewhere shows, against this machine's.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Skew {
    /// Milliseconds by which the other clock is ahead.
    ahead_ms: i64,
}

impl Skew {
    /// The skew of a clock that showed this just now.
    pub fn of(now_ms: u64) -> Self {
        Self { ahead_ms: difference(now_ms, clock::now_ms()) }
    }

    /// What the other clock shows when this machine's shows `here_ms`.
    pub const fn there_ms(self, here_ms: u64) -> u64 {
        here_ms.saturating_add_signed(self.ahead_ms)
    }

    /// How far ahead this clock is of another one, if that is more than clocks that are kept right differ; as in
    /// *2 days ahead of*.
    pub fn against(self, other: Self) -> Option<String> {
        let off_ms = self.ahead_ms.saturating_sub(other.ahead_ms);
        let off = Duration::from_millis(off_ms.unsigned_abs());
        let side = if off_ms > 0 { "ahead of" } else { "behind" };
        // Half a minute up: the answer took some time.
        (off > CLOCK_SKEW_MAX).then(|| format!("{} {side}", human::duration(off + Duration::from_secs(30))))
    }

    /// What is wrong with this machine's clock against the tracker's, whose skew this is.
    pub fn of_this_machine(self) -> Option<String> {
        let off = Self::default().against(self)?;
        Some(format!("this machine's clock is {off} the tracker's"))
    }

    /// Refuses a time for a share's end that the tracker's clock, whose skew this is, makes none; else says what people
    /// should know about it.
    pub fn check_end(self, expires_ms: u64) -> Result<Option<String>, Failure> {
        let Some(off) = self.of_this_machine() else { return Ok(None) };
        let there_ms = self.there_ms(clock::now_ms());
        let refuse = |why: &str| {
            Err(Failure::new(Kind::Other, format!("{off}: by that one the share {why}"))
                .next("Set the clock that is wrong, then run the same command again."))
        };
        if expires_ms <= there_ms {
            return refuse("would be over at once");
        }
        if expires_ms - there_ms > millis(EXPIRY_MAX + CLOCK_SKEW_MAX) {
            return refuse("would live longer than any may, 90 days");
        }
        Ok(Some(format!("{off}: by that one the share ends in {}", human::until(expires_ms, there_ms))))
    }
}

fn difference(one_ms: u64, other_ms: u64) -> i64 {
    i64::try_from(i128::from(one_ms) - i128::from(other_ms)).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY_MS: i64 = 86_400_000;

    #[test]
    fn f24_a_clock_that_is_off_is_named_with_by_how_much_and_small_differences_are_none() {
        let words = |ahead_ms| Skew { ahead_ms }.of_this_machine();
        assert_eq!((words(0), words(299_000), words(-299_000)), (None, None, None));
        assert_eq!(words(2 * DAY_MS).unwrap(), "this machine's clock is 2 days behind the tracker's");
        assert_eq!(words(-2 * DAY_MS).unwrap(), "this machine's clock is 2 days ahead of the tracker's");
        let peer = Skew { ahead_ms: 3 * DAY_MS };
        assert_eq!(peer.against(Skew { ahead_ms: DAY_MS }).unwrap(), "2 days ahead of");
        assert_eq!(peer.against(peer), None);
        assert!(Skew::of(u64::MAX).of_this_machine().is_some() && Skew::of(0).of_this_machine().is_some());
    }

    #[test]
    fn f24_an_end_that_is_none_by_the_trackers_clock_is_refused() {
        let week_ms = clock::ms_from_now(Duration::from_secs(7 * 86_400));
        let check = |ahead_ms| Skew { ahead_ms }.check_end(week_ms);
        assert_eq!(check(0).unwrap(), None);
        assert!(check(2 * DAY_MS).unwrap().unwrap().ends_with("ends in 5 days"));
        assert!(check(8 * DAY_MS).unwrap_err().what.contains("over at once"));
        assert!(check(-84 * DAY_MS).unwrap_err().what.contains("longer than any may"));
    }
}
