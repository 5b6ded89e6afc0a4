//! The wall clock, read in one place.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;
use swarmdrop_core::limits::{CLOCK_JUMP, CLOCK_SETTLES};
use time::OffsetDateTime;

/// Milliseconds since the Unix epoch.
#[expect(clippy::disallowed_methods, reason = "this is the one place")]
pub fn now_ms() -> u64 {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX)
}

/// Milliseconds that have passed since some moment, whatever was done to the wall clock. Time that the
/// machine slept counts where the system tells it.
pub fn uptime_ms() -> u64 {
    #[cfg(target_os = "linux")]
    let clock = rustix::time::ClockId::Boottime;
    #[cfg(not(target_os = "linux"))]
    let clock = rustix::time::ClockId::Monotonic;
    let now = rustix::time::clock_gettime(clock);
    u64::try_from(now.tv_sec).unwrap_or(0) * 1000 + u64::try_from(now.tv_nsec).unwrap_or(0) / 1_000_000
}

/// Watches whether the wall clock goes as fast as time does. Somebody may set it, to the past or the future:
/// then what is over by it may not be over.
#[derive(Debug, Default)]
pub struct Watch {
    state: Mutex<Option<Pace>>,
}

#[derive(Debug, Clone, Copy)]
struct Pace {
    wall_ms: u64,
    uptime_ms: u64,
    jumped_ms: Option<u64>,
}

impl Watch {
    /// Whether the wall clock has not jumped since the watch was first asked, or has settled since.
    pub fn is_steady(&self) -> bool {
        self.is_steady_at(now_ms(), uptime_ms())
    }

    fn is_steady_at(&self, wall_ms: u64, uptime_ms: u64) -> bool {
        let mut state = self.state.lock();
        let before = state.unwrap_or(Pace { wall_ms, uptime_ms, jumped_ms: None });
        let expected = before.wall_ms.saturating_add(uptime_ms.saturating_sub(before.uptime_ms));
        let jumped = expected.abs_diff(wall_ms) > millis(CLOCK_JUMP);
        let jumped_ms = if jumped { Some(uptime_ms) } else { before.jumped_ms };
        let jumped_ms = jumped_ms.filter(|at| uptime_ms.saturating_sub(*at) < millis(CLOCK_SETTLES));
        // A clock that is slewed is not compared with a moment long ago.
        *state = Some(Pace { wall_ms, uptime_ms, jumped_ms });
        jumped_ms.is_none()
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// The time `after` from now, in milliseconds since the Unix epoch.
pub fn ms_from_now(after: Duration) -> u64 {
    now_ms().saturating_add(millis(after))
}

/// The moment that is `ms` milliseconds after the Unix epoch.
pub fn moment(ms: u64) -> OffsetDateTime {
    let since_epoch = Duration::from_millis(ms.min(253_402_300_799_000));
    OffsetDateTime::UNIX_EPOCH + since_epoch
}

/// The moment in RFC 3339.
pub fn rfc3339(ms: u64) -> String {
    moment(ms).format(&time::format_description::well_known::Rfc3339).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn c1_a_clock_that_jumps_is_not_believed_until_it_has_settled() {
        const HOUR_MS: u64 = 3_600_000;
        const NOW_MS: u64 = 1_800_000_000_000;
        for jump in [NOW_MS + 24 * HOUR_MS, NOW_MS - 24 * HOUR_MS] {
            let watch = Watch::default();
            assert!(watch.is_steady_at(NOW_MS, 0));
            assert!(watch.is_steady_at(NOW_MS + 10 * HOUR_MS, 10 * HOUR_MS));
            assert!(!watch.is_steady_at(jump + 11 * HOUR_MS, 11 * HOUR_MS));
            assert!(!watch.is_steady_at(jump + 12 * HOUR_MS, 12 * HOUR_MS));
            assert!(watch.is_steady_at(jump + 35 * HOUR_MS, 35 * HOUR_MS), "a day later");
        }
    }

    #[test]
    fn a_clock_that_is_off_by_little_is_believed() {
        let watch = Watch::default();
        assert!((0..100_u64).all(|step| watch.is_steady_at(10_000_000 + step * 61_000, step * 60_000)));
    }

    #[test]
    fn times_are_written_in_rfc_3339() {
        assert_eq!(rfc3339(1_767_225_600_000), "2026-01-01T00:00:00Z");
        assert_eq!(rfc3339(u64::MAX), "9999-12-31T23:59:59Z");
    }
}
