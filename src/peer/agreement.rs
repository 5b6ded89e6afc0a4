//! Whether this machine's clock is to be believed when it says that a share's time is over: a clock that was set
//! wrong must not cost anybody a share.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use swarmdrop_core::limits::CLOCK_JUMP;

use crate::clock::{self, Watch};
use crate::words;

/// What is known of the clock here and that of the tracker.
#[derive(Debug, Default)]
pub(super) struct Agreement {
    /// Whether both told the same time when they were compared last.
    agreed: AtomicBool,
    here: Watch,
}

impl Agreement {
    /// Compares with the tracker's clock, which may have reason to doubt its own.
    pub(super) fn compare(&self, tracker_ms: Option<u64>) {
        let apart = tracker_ms.map(|tracker_ms| Duration::from_millis(tracker_ms.abs_diff(clock::now_ms())));
        let agrees = apart.is_some_and(|apart| apart <= CLOCK_JUMP);
        if agrees {
            self.here.believe();
        }
        if self.agreed.swap(agrees, Ordering::Relaxed) && !agrees {
            let what = apart.map_or_else(
                || "doubts its own clock".into(),
                |apart| format!("has a clock that is {} away from the one here", words::duration(apart)),
            );
            tracing::warn!("the tracker {what}: no share expires here until the two agree");
        }
    }

    /// Whether the time may end something: if both agreed, and the clock here has not jumped since.
    pub(super) fn is_good(&self) -> bool {
        self.agreed.load(Ordering::Relaxed) && self.here.is_steady()
    }

    /// The time, if it may end something.
    pub(super) fn now_ms(&self) -> Option<u64> {
        self.is_good().then(clock::now_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn c1_time_ends_nothing_while_the_clocks_disagree() {
        let agreement = Agreement::default();
        assert!(!agreement.is_good(), "before the first comparison");
        agreement.compare(Some(clock::now_ms()));
        assert!(agreement.is_good());
        let day_ms = 24 * 3_600_000;
        for other in [None, Some(clock::now_ms() + day_ms), Some(clock::now_ms() - day_ms)] {
            agreement.compare(other);
            assert!(!agreement.is_good());
        }
        agreement.compare(Some(clock::now_ms() + 60_000));
        assert!(agreement.is_good());
    }
}
