//! Whether this machine's clock is to be trusted when it says that a share's time is over: a clock that was set
//! wrong must not cost anybody a share.

use std::time::Duration;

use parcelry_core::limits::CLOCK_JUMP;
use parking_lot::Mutex;

use crate::clock::{self, ClockMonitor, Moment};
use crate::human;

/// What is known of the clock here and that of the tracker.
#[derive(Debug, Default)]
pub(super) struct ClockAgreement {
    /// What the tracker's clock showed when the two were compared last, if they agreed.
    there: Mutex<Option<Moment>>,
    here: ClockMonitor,
}

impl ClockAgreement {
    /// Compares with the tracker's clock, which may have reason to doubt its own.
    pub(super) fn compare(&self, tracker_ms: Option<u64>) {
        let apart = tracker_ms.map(|tracker_ms| Duration::from_millis(tracker_ms.abs_diff(clock::now_ms())));
        let agrees = apart.is_some_and(|apart| apart <= CLOCK_JUMP);
        if agrees {
            self.here.trust();
        }
        let there = tracker_ms.filter(|_| agrees).map(Moment::at);
        if std::mem::replace(&mut *self.there.lock(), there).is_some() && !agrees {
            let what = apart.map_or_else(
                || "doubts its own clock".into(),
                |apart| format!("has a clock that is {} away from the one here", human::duration(apart)),
            );
            tracing::warn!("the tracker {what}: no share expires here until the two agree");
        }
    }

    /// The time by which something may end here: the earlier of what both clocks show, if they agreed and the one here
    /// has not jumped since. So one clock alone, however little it is ahead, ends nothing too soon.
    pub(super) fn now_ms(&self) -> Option<u64> {
        let there = (*self.there.lock())?;
        self.here.is_steady().then(|| clock::now_ms().min(there.now_ms()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::simulated::{Reading, set_clocks};

    const MINUTE_MS: u64 = 60_000;

    #[test]
    fn c1_time_ends_nothing_while_the_clocks_disagree() {
        let agreement = ClockAgreement::default();
        assert_eq!(agreement.now_ms(), None, "before the first comparison");
        agreement.compare(Some(clock::now_ms()));
        assert!(agreement.now_ms().is_some());
        let day_ms = 24 * 60 * MINUTE_MS;
        for other in [None, Some(clock::now_ms() + day_ms), Some(clock::now_ms() - day_ms)] {
            agreement.compare(other);
            assert_eq!(agreement.now_ms(), None);
        }
        agreement.compare(Some(clock::now_ms() + MINUTE_MS));
        assert!(agreement.now_ms().is_some());
    }

    #[test]
    fn c1_a_clock_that_is_ahead_by_less_than_is_noticed_ends_nothing_too_soon() {
        let at = |minutes: u64, ahead: u64| {
            let (wall_ms, boottime_ms) = ((100_000 + minutes + ahead) * MINUTE_MS, minutes * MINUTE_MS);
            set_clocks(Reading { wall_ms, boottime_ms });
        };
        let tracker = |minutes: u64| Some((100_000 + minutes) * MINUTE_MS);
        let agreement = ClockAgreement::default();
        // The one here is ahead, and the one at the tracker.
        for (ahead, tracker_ahead) in [(50, 0), (0, 50)] {
            at(0, ahead);
            agreement.compare(tracker(tracker_ahead));
            at(7, ahead);
            assert_eq!(agreement.now_ms(), tracker(7));
        }
        // The one here is set after the two were compared.
        at(10, 0);
        agreement.compare(tracker(10));
        at(11, 50);
        assert_eq!(agreement.now_ms(), tracker(11));
    }
}
