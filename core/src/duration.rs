//! Durations as the numbers that formats and machines count in.

use std::time::Duration;

/// The duration in milliseconds; one beyond all numbers is as good as for ever.
pub fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
