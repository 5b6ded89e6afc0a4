//! The wall clock, read in one place.

mod skew;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use parcelry_core::duration::millis;
use parcelry_core::limits::{CLOCK_JUMP, CLOCK_SETTLES};
use parking_lot::Mutex;
use rustix::time::ClockId;
use time::OffsetDateTime;

pub use skew::Skew;

/// Milliseconds since the Unix epoch.
#[expect(clippy::disallowed_methods, reason = "this is the one place")]
pub fn now_ms() -> u64 {
    #[cfg(test)]
    if let Some(reading) = simulated::reading() {
        return reading.wall_ms;
    }
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    millis(since_epoch).saturating_add_signed(offset_ms())
}

/// The environment variable that names a file with the milliseconds by which a test sets this process's clock
/// wrong.
pub const OFFSET_VARIABLE: &str = "PARCELRY_CLOCK_OFFSET";

/// How wrong the clock is to be; never in a release build.
fn offset_ms() -> i64 {
    if !cfg!(debug_assertions) {
        return 0;
    }
    let read = |path| std::fs::read_to_string(path).ok()?.trim().parse().ok();
    std::env::var_os(OFFSET_VARIABLE).and_then(read).unwrap_or(0)
}

/// Milliseconds that have passed since some moment, whatever was done to the wall clock. Time that the
/// machine slept counts where the system tells it (`CLOCK_BOOTTIME`).
pub fn boottime_ms() -> u64 {
    #[cfg(test)]
    if let Some(reading) = simulated::reading() {
        return reading.boottime_ms;
    }
    #[cfg(target_os = "linux")]
    let clock = ClockId::Boottime;
    #[cfg(not(target_os = "linux"))]
    let clock = ClockId::Monotonic;
    read(clock)
}

/// Milliseconds for which this machine has been awake, counted from some moment (`CLOCK_MONOTONIC`): others cannot be
/// heard while it sleeps, so that silence is measured by it.
pub fn monotonic_ms() -> u64 {
    #[cfg(test)]
    if let Some(reading) = simulated::reading() {
        return reading.boottime_ms;
    }
    read(ClockId::Monotonic)
}

/// What a clock of the system shows, in milliseconds.
fn read(clock: ClockId) -> u64 {
    let now = rustix::time::clock_gettime(clock);
    u64::try_from(now.tv_sec).unwrap_or(0) * 1000 + u64::try_from(now.tv_nsec).unwrap_or(0) / 1_000_000
}

/// The clocks as a simulation tells them to the thread that it runs on.
#[cfg(test)]
pub(crate) mod simulated {
    use std::cell::Cell;

    /// What the clocks show.
    #[derive(Debug, Clone, Copy)]
    pub(crate) struct Reading {
        pub(crate) wall_ms: u64,
        pub(crate) boottime_ms: u64,
    }

    thread_local! {
        static READING: Cell<Option<Reading>> = const { Cell::new(None) };
    }

    pub(crate) fn reading() -> Option<Reading> {
        READING.get()
    }

    /// Sets the clocks of this thread.
    pub(crate) fn set_clocks(reading: Reading) {
        READING.set(Some(reading));
    }
}

/// Watches whether the wall clock goes as fast as time does. Somebody may set it, to the past or the future:
/// then what is over by it may not be over. A clock that is set right again is trusted at once, one that goes
/// on from another time after a day.
#[derive(Debug, Default)]
pub struct ClockMonitor {
    state: Mutex<Option<Line>>,
}

/// A moment by both clocks, from which the wall clock goes on as time does.
#[derive(Debug, Clone, Copy)]
pub struct Moment {
    wall_ms: u64,
    boottime_ms: u64,
}

#[derive(Debug, Clone, Copy)]
struct Line {
    good: Moment,
    /// Since when the wall clock goes on from another time.
    other: Option<Moment>,
}

impl Moment {
    /// Now, when some wall clock shows this.
    pub fn at(wall_ms: u64) -> Self {
        Self { wall_ms, boottime_ms: boottime_ms() }
    }

    /// What that wall clock shows by now.
    pub fn now_ms(self) -> u64 {
        self.wall_ms_at(boottime_ms())
    }

    fn wall_ms_at(self, boottime_ms: u64) -> u64 {
        self.wall_ms.saturating_add(boottime_ms.saturating_sub(self.boottime_ms))
    }

    fn leads_to(self, now: Self) -> bool {
        self.wall_ms_at(now.boottime_ms).abs_diff(now.wall_ms) <= millis(CLOCK_JUMP)
    }
}

impl ClockMonitor {
    /// Whether the wall clock has not jumped since the monitor was first asked, or has settled since.
    pub fn is_steady(&self) -> bool {
        self.is_steady_at(now_ms(), boottime_ms())
    }

    /// Trusts the wall clock as it is: somebody else says that it is right.
    pub fn trust(&self) {
        *self.state.lock() = Some(Line { good: Moment::at(now_ms()), other: None });
    }

    fn is_steady_at(&self, wall_ms: u64, boottime_ms: u64) -> bool {
        let now = Moment { wall_ms, boottime_ms };
        let mut state = self.state.lock();
        let line = state.unwrap_or(Line { good: now, other: None });
        let settled = |other: &Moment| boottime_ms.saturating_sub(other.boottime_ms) >= millis(CLOCK_SETTLES);
        let other = line.other.filter(|other| other.leads_to(now));
        let is_steady = line.good.leads_to(now) || other.is_some_and(|other| settled(&other));
        // A clock that is slewed is not compared with a moment long ago.
        *state = Some(if is_steady {
            Line { good: now, other: None }
        } else {
            Line { good: line.good, other: Some(other.unwrap_or(now)) }
        });
        is_steady
    }
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
            let monitor = ClockMonitor::default();
            assert!(monitor.is_steady_at(NOW_MS, 0));
            assert!(monitor.is_steady_at(NOW_MS + 10 * HOUR_MS, 10 * HOUR_MS));
            assert!(!monitor.is_steady_at(jump + 11 * HOUR_MS, 11 * HOUR_MS));
            assert!(!monitor.is_steady_at(jump + 12 * HOUR_MS, 12 * HOUR_MS));
            assert!(monitor.is_steady_at(jump + 35 * HOUR_MS, 35 * HOUR_MS), "a day later");
            assert!(!monitor.is_steady_at(NOW_MS + 36 * HOUR_MS, 36 * HOUR_MS));
            assert!(monitor.is_steady_at(jump + 37 * HOUR_MS, 37 * HOUR_MS), "set right again");
        }
    }

    #[test]
    fn a_clock_that_is_off_by_little_is_believed() {
        let monitor = ClockMonitor::default();
        assert!((0..100_u64).all(|step| monitor.is_steady_at(10_000_000 + step * 61_000, step * 60_000)));
    }

    #[test]
    fn times_are_written_in_rfc_3339() {
        assert_eq!(rfc3339(1_767_225_600_000), "2026-01-01T00:00:00Z");
        assert_eq!(rfc3339(u64::MAX), "9999-12-31T23:59:59Z");
    }
}
