//! The wall clock, read in one place.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use time::OffsetDateTime;

/// Milliseconds since the Unix epoch.
#[expect(clippy::disallowed_methods, reason = "this is the one place")]
pub fn now_ms() -> u64 {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX)
}

/// The time `after` from now, in milliseconds since the Unix epoch.
pub fn ms_from_now(after: Duration) -> u64 {
    now_ms().saturating_add(u64::try_from(after.as_millis()).unwrap_or(u64::MAX))
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
    fn times_are_written_in_rfc_3339() {
        assert_eq!(rfc3339(1_767_225_600_000), "2026-01-01T00:00:00Z");
        assert_eq!(rfc3339(u64::MAX), "9999-12-31T23:59:59Z");
    }
}
