//! How fast bytes move just now: an average in which what is long ago counts little.

use std::time::{Duration, Instant};

/// After this time what was counts a third.
const MEMORY: Duration = Duration::from_secs(5);
/// Moments closer to each other say nothing.
const APART: Duration = Duration::from_millis(100);

/// An average of how fast bytes move.
#[derive(Debug)]
pub(super) struct Rate {
    bytes_per_second: f64,
    /// How much of an average it is by now: little time says little.
    weight: f64,
    seen_bytes: u64,
    at: Instant,
}

impl Rate {
    /// Nothing has moved yet.
    pub(super) const fn since(at: Instant) -> Self {
        Self { bytes_per_second: 0.0, weight: 0.0, seen_bytes: 0, at }
    }

    /// Bytes a second, when this many have moved since the start; 0 as long as that is not known.
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "shown to two digits; a rate is positive"
    )]
    pub(super) fn at(&mut self, moved_bytes: u64, now: Instant) -> u64 {
        let passed = now.saturating_duration_since(self.at);
        if passed >= APART {
            let lately = moved_bytes.saturating_sub(self.seen_bytes) as f64 / passed.as_secs_f64();
            let fades = (-passed.as_secs_f64() / MEMORY.as_secs_f64()).exp();
            self.bytes_per_second = self.bytes_per_second * fades + lately * (1.0 - fades);
            self.weight = self.weight * fades + (1.0 - fades);
            (self.seen_bytes, self.at) = (moved_bytes, now);
        }
        if self.weight > 0.0 { (self.bytes_per_second / self.weight) as u64 } else { 0 }
    }
}

/// The time for what is left at this rate, if there is one.
pub(super) fn time_left(left_bytes: u64, bytes_per_second: u64) -> Option<Duration> {
    left_bytes.checked_div(bytes_per_second).map(Duration::from_secs)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The rate after so many steps of a second, each with so many bytes more.
    fn after(rate: &mut Rate, from: Instant, steps: std::ops::Range<u64>, moved: impl Fn(u64) -> u64) -> u64 {
        steps.fold(0, |_, step| rate.at(moved(step + 1), from + Duration::from_secs(step + 1)))
    }

    #[test]
    fn f23_a_rate_is_right_from_the_start_follows_changes_and_falls_when_nothing_moves() {
        let from = Instant::now();
        let mut rate = Rate::since(from);
        assert_eq!(rate.at(0, from), 0);
        let close = |rate: u64, wanted: u64| rate.abs_diff(wanted) <= wanted / 10;
        assert!(close(after(&mut rate, from, 0..1, |step| step * 80), 80), "{rate:?}");
        assert!(close(after(&mut rate, from, 1..10, |step| step * 80), 80), "{rate:?}");
        assert!(close(after(&mut rate, from, 10..30, |step| 800 + (step - 10) * 1000), 1000), "{rate:?}");
        assert!(after(&mut rate, from, 30..60, |_| 20_800) < 10, "{rate:?}");
        // What has to be done again is no movement.
        assert!(rate.at(0, from + Duration::from_secs(61)) < 10);
        assert_eq!(time_left(1000, 0), None);
        assert_eq!(time_left(1000, 10), Some(Duration::from_secs(100)));
    }
}
