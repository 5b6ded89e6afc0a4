//! How fast bytes move: rates from counters that grow.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Shortest time over which a rate is taken: over less, one chunk more or less would decide it.
const WINDOW_MIN_MS: u64 = 1000;

/// Bytes that a peer has moved since it started. The counters only grow until it starts again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Traffic {
    /// Bytes of chunks that it took.
    pub received_bytes: u64,
    /// Bytes of chunks that it served.
    pub served_bytes: u64,
}

/// Bytes that are moved in a second.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, ToSchema)]
pub struct Rates {
    /// Bytes of chunks taken.
    pub received_bytes_per_s: u64,
    /// Bytes of chunks served.
    pub served_bytes_per_s: u64,
}

impl Rates {
    /// Both together.
    pub const fn plus(self, other: Self) -> Self {
        Self {
            received_bytes_per_s: self.received_bytes_per_s.saturating_add(other.received_bytes_per_s),
            served_bytes_per_s: self.served_bytes_per_s.saturating_add(other.served_bytes_per_s),
        }
    }
}

/// Reads counters now and then, and tells how fast they grow.
#[derive(Debug, Clone, Copy, Default)]
pub struct Meter {
    /// The reading from which the next rate is taken, and when it was.
    base: Option<(Traffic, u64)>,
    rates: Rates,
}

impl Meter {
    /// Takes a reading, at a moment of a clock that never goes back.
    pub const fn read(&mut self, now: Traffic, now_ms: u64) {
        let Some((before, before_ms)) = self.base else {
            self.base = Some((now, now_ms));
            return;
        };
        let elapsed_ms = now_ms.saturating_sub(before_ms);
        // A counter that fell was begun anew: what it shows has come since.
        let restarted = now.received_bytes < before.received_bytes || now.served_bytes < before.served_bytes;
        if elapsed_ms < WINDOW_MIN_MS && !restarted {
            return;
        }
        let before = if restarted { Traffic { received_bytes: 0, served_bytes: 0 } } else { before };
        self.rates = Rates {
            received_bytes_per_s: per_second(now.received_bytes - before.received_bytes, elapsed_ms),
            served_bytes_per_s: per_second(now.served_bytes - before.served_bytes, elapsed_ms),
        };
        self.base = Some((now, now_ms));
    }

    /// How fast they grew between the last readings.
    pub const fn rates(&self) -> Rates {
        self.rates
    }
}

/// Over a short time too many bytes are better said to be too few.
const fn per_second(bytes: u64, elapsed_ms: u64) -> u64 {
    let elapsed_ms = if elapsed_ms < WINDOW_MIN_MS { WINDOW_MIN_MS } else { elapsed_ms };
    bytes.saturating_mul(1000) / elapsed_ms
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn traffic(received_bytes: u64, served_bytes: u64) -> Traffic {
        Traffic { received_bytes, served_bytes }
    }

    fn after(readings: &[(u64, u64, u64)]) -> (u64, u64) {
        let mut meter = Meter::default();
        readings.iter().for_each(|&(received, served, ms)| meter.read(traffic(received, served), ms));
        (meter.rates.received_bytes_per_s, meter.rates.served_bytes_per_s)
    }

    #[test]
    fn a_rate_is_what_came_between_two_readings() {
        assert_eq!(after(&[(5000, 7000, 100)]), (0, 0), "one reading tells nothing");
        assert_eq!(after(&[(5000, 7000, 100), (25_000, 7000, 10_100)]), (2000, 0));
        assert_eq!(after(&[(0, 0, 0), (1000, 0, 1000), (1000, 0, 2000)]), (0, 0), "it has ended");
    }

    #[test]
    fn readings_that_follow_each_other_closely_are_taken_together() {
        assert_eq!(after(&[(0, 0, 0), (4000, 0, 2000), (5000, 0, 2001)]), (2000, 0));
        assert_eq!(after(&[(0, 0, 0), (4000, 0, 2000), (5000, 0, 2001), (6000, 0, 4000)]), (1000, 0));
    }

    #[test]
    fn a_restart_makes_no_rate_negative() {
        assert_eq!(after(&[(9000, 9000, 0), (10, 9000, 1000)]), (10, 9000));
        assert_eq!(after(&[(9000, 9000, 0), (0, 0, 1)]), (0, 0));
    }

    proptest! {
        #[test]
        fn no_rate_is_more_than_what_was_counted(
            readings in proptest::collection::vec((0_u64..1 << 40, 0_u64..1 << 40, 0_u64..5000), 0..20),
        ) {
            let mut meter = Meter::default();
            let mut now_ms = 0;
            for (received, served, passed_ms) in readings {
                now_ms += passed_ms;
                meter.read(traffic(received, served), now_ms);
                prop_assert!(meter.rates.received_bytes_per_s < 1 << 40);
                prop_assert!(meter.rates.served_bytes_per_s < 1 << 40);
            }
        }
    }
}
