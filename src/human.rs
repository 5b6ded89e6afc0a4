//! Numbers as people read them.

use std::time::Duration;

use bytesize::ByteSize;
use parcelry_core::health::ReplicaCount;

/// Bytes, as in `2.2 GB`.
pub fn bytes(bytes: u64) -> String {
    ByteSize::b(bytes).display().si().to_string()
}

/// A number of things, as in `1 peer` or `3 peers`.
pub fn count(number: u64, thing: &str) -> String {
    format!("{number} {thing}{}", if number == 1 { "" } else { "s" })
}

/// A number of entries of a directory.
pub fn entries(number: u64) -> String {
    if number == 1 { "1 entry".into() } else { format!("{number} entries") }
}

/// A duration in its largest unit or two, as in `7 days`, `1 hour 30 minutes` or `9 s`.
pub fn duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let (unit, size, rest_unit, rest_size) = match seconds {
        0 => return format!("{:.1} s", duration.as_secs_f64()),
        1..=119 => return format!("{seconds} s"),
        120..=7199 => return count((seconds + 30) / 60, "minute"),
        7200..=172_799 => ("hour", 3600, "minute", 60),
        _ => ("day", 86400, "hour", 3600),
    };
    let rest = seconds % size / rest_size;
    let whole = count(seconds / size, unit);
    if rest == 0 || seconds / size >= 4 { whole } else { format!("{whole} {}", count(rest, rest_unit)) }
}

/// The time from now until a moment in milliseconds since the Unix epoch.
pub fn until(moment_ms: u64, now_ms: u64) -> String {
    // Half a minute up, so that what was just set to seven days does not read as six.
    duration(Duration::from_millis(moment_ms.saturating_sub(now_ms).saturating_add(30_000)))
}

/// How endangered a share is, by the replicas that were counted.
pub fn health(replicas: &ReplicaCount) -> String {
    let ReplicaCount { wanted, fewest, short } = *replicas;
    let short = count(short.into(), "chunk");
    match fewest {
        0 => "incomplete: some chunk is on no peer that answers".into(),
        1 if wanted <= 1 => "good: 1 copy of every chunk, as was asked for".into(),
        1 => format!("endangered: 1 of {wanted} copies left of some chunk; {short} short of copies"),
        _ if fewest < wanted => {
            format!("weakened: {fewest} of {wanted} copies of some chunk; {short} short of copies")
        }
        _ => format!("good: at least {fewest} copies of every chunk"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_well() {
        for (seconds, words) in [
            (0, "0.0 s"),
            (9, "9 s"),
            (119, "119 s"),
            (150, "3 minutes"),
            (7200, "2 hours"),
            (9000, "2 hours 30 minutes"),
            (86400 * 7, "7 days"),
            (86400 * 2 + 3600, "2 days 1 hour"),
            (86400 * 9 + 3600, "9 days"),
        ] {
            assert_eq!(duration(Duration::from_secs(seconds)), words);
        }
        assert_eq!(until(86_400_000 * 7 - 5, 0), "7 days");
    }

    #[test]
    fn health_is_said_by_the_fewest_replicas_that_a_chunk_has() {
        for (wanted, fewest, word) in [
            (2, 0, "incomplete"),
            (1, 1, "good: 1 copy"),
            (2, 1, "endangered: 1 of 2"),
            (3, 2, "weakened: 2 of 3"),
            (2, 2, "good: at least 2"),
            (2, 3, "good: at least 3"),
        ] {
            let said = health(&ReplicaCount { wanted, fewest, short: 1 });
            assert!(said.starts_with(word), "{said}");
        }
    }

    #[test]
    fn things_are_counted() {
        assert_eq!((count(1, "peer"), count(2, "peer")), ("1 peer".into(), "2 peers".into()));
        assert_eq!(bytes(2_200_000_000), "2.2 GB");
    }
}
