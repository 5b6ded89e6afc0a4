//! Work that is bounded in bytes a second: who may have how much of it now, and how long others wait.

use std::collections::HashMap;
use std::net::IpAddr;

use crate::address::counted_as;
use crate::limits::{WORKLOAD_ADDRESSES_KEPT, WORKLOAD_BACKLOG, WORKLOAD_BYTES_MIN};

/// For whom work is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asker {
    /// The one that has a half of the rate to itself.
    Tracker,
    /// Anybody else, at this address; all of them have the other half, an address half of that.
    Address(IpAddr),
}

/// The work that was let in, by whom it is for.
///
/// Work is let in while what came before is done in a few seconds at its rate, however much it is itself: the
/// largest piece of work gets its turn like the smallest, and pays for it with the wait of the next one.
#[derive(Debug)]
pub struct Workload {
    bytes_per_second: u64,
    tracker: Backlog,
    others: Backlog,
    by_address: HashMap<IpAddr, Backlog>,
}

/// When all that was let in is done at its rate.
#[derive(Debug, Clone, Copy, Default)]
struct Backlog {
    done_ms: u64,
}

impl Backlog {
    /// How long until more may come in.
    fn wait_ms(self, now_ms: u64) -> u64 {
        let backlog_ms = u64::try_from(WORKLOAD_BACKLOG.as_millis()).unwrap_or(u64::MAX);
        self.done_ms.saturating_sub(now_ms).saturating_sub(backlog_ms)
    }

    fn add(&mut self, bytes: u64, bytes_per_second: u64, now_ms: u64) {
        let takes_ms = bytes.saturating_mul(1000).div_ceil(bytes_per_second.max(1));
        self.done_ms = self.done_ms.max(now_ms).saturating_add(takes_ms);
    }
}

impl Workload {
    /// At most this many bytes a second in the long run.
    pub fn new(bytes_per_second: u64) -> Self {
        Self {
            bytes_per_second,
            tracker: Backlog::default(),
            others: Backlog::default(),
            by_address: HashMap::new(),
        }
    }

    /// Lets work on this many bytes in, or says in how many milliseconds to ask again. `pieces` of it cost a
    /// look at the disk each, or some hashing of their own, however few bytes they are.
    pub fn admit(&mut self, asker: Asker, bytes: u64, pieces: u64, now_ms: u64) -> Result<(), u64> {
        let bytes = bytes.max(pieces.saturating_mul(WORKLOAD_BYTES_MIN));
        let half = self.bytes_per_second / 2;
        let refuse = |wait_ms: u64| if wait_ms == 0 { Ok(()) } else { Err(wait_ms) };
        match asker {
            Asker::Tracker => {
                refuse(self.tracker.wait_ms(now_ms))?;
                self.tracker.add(bytes, half, now_ms);
            }
            Asker::Address(ip) => {
                if self.by_address.len() >= WORKLOAD_ADDRESSES_KEPT {
                    self.by_address.retain(|_, backlog| backlog.done_ms > now_ms);
                }
                let address = self.by_address.get(&counted_as(ip)).copied().unwrap_or_default();
                refuse(address.wait_ms(now_ms).max(self.others.wait_ms(now_ms)))?;
                self.others.add(bytes, half, now_ms);
                // As long as an address is remembered it owes time; what the others take together bounds them.
                self.by_address.entry(counted_as(ip)).or_default().add(bytes, half / 2, now_ms);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    const MIB: u64 = 1 << 20;

    fn at(last: u32) -> Asker {
        Asker::Address(Ipv4Addr::from(0x0a00_0000 + last).into())
    }

    /// Bytes that get in within a minute, from askers that ask for a mebibyte all the time.
    fn let_in(workload: &mut Workload, askers: impl Fn(u64) -> Asker) -> u64 {
        (0..60_000).filter(|now_ms| workload.admit(askers(*now_ms), MIB, 1, *now_ms).is_ok()).count() as u64
    }

    #[test]
    fn nobody_gets_more_than_his_share_in_the_long_run() {
        let minute = |part: u64| 60 * 16 / part;
        for (askers, part) in [
            (&(|_| Asker::Tracker) as &dyn Fn(u64) -> Asker, 2),
            (&|_| at(1), 4),
            (&|now_ms| at(u32::try_from(now_ms).unwrap()), 2),
        ] {
            let got = let_in(&mut Workload::new(16 * MIB), askers);
            // A few seconds' worth come in at once.
            assert!((minute(part)..=minute(part) * 6 / 5).contains(&got), "{got} MiB of {}", minute(part));
        }
    }

    #[test]
    fn the_tracker_gets_its_share_whatever_the_others_do() {
        let mut workload = Workload::new(16 * MIB);
        for last in 0..2000 {
            let _ = workload.admit(at(last), 64 * MIB, 1, 0);
        }
        assert!(workload.admit(at(9999), 1, 1, 0).is_err());
        assert_eq!(workload.admit(Asker::Tracker, MIB, 1, 0), Ok(()));
        assert!(workload.by_address.len() < WORKLOAD_ADDRESSES_KEPT);
    }

    #[test]
    fn the_largest_work_gets_in_and_the_next_waits_as_long_as_it_is_told() {
        let mut workload = Workload::new(16 * MIB);
        assert_eq!(workload.admit(at(1), 64 * MIB, 1, 5), Ok(()));
        let wait_ms = workload.admit(at(1), 1, 1, 5).unwrap_err();
        assert_eq!(wait_ms, 12_000, "64 MiB at 4 MiB/s, less the backlog");
        assert!(workload.admit(at(1), 1, 1, 5 + wait_ms - 1).is_err());
        assert_eq!(workload.admit(at(1), 1, 1, 5 + wait_ms), Ok(()));
    }

    #[test]
    fn small_pieces_cost_a_look_at_the_disk() {
        let mut workload = Workload::new(16 * MIB);
        let asked = (0..10_000).filter(|_| workload.admit(at(1), 1, 1, 0).is_ok()).count() as u64;
        assert!(asked <= (4 * 4 * MIB).div_ceil(WORKLOAD_BYTES_MIN) + 1, "{asked}");
    }

    #[test]
    fn any_numbers_are_survived() {
        let mut workload = Workload::new(0);
        let _ = workload.admit(at(1), u64::MAX, u64::MAX, u64::MAX);
        assert!(workload.admit(at(1), 0, 0, 0).is_err());
    }
}
