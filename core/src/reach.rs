//! Whether a peer that beats can be reached by others, at the addresses that they are given: it is asked now and then, and
//! complaints of several receivers hasten that.

use std::net::IpAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::address::counted_as;
use crate::duration::millis;
use crate::id::PeerId;
use crate::registry::Rules;

/// Questions in a row without an answer after which a peer counts as unreachable: one may be lost on its way.
const FAILURES: u32 = 2;
/// Receivers from different places that complain before a peer is asked out of turn: one may be cut off itself.
const COMPLAINANTS: usize = 2;
/// Complainants that are remembered for a peer.
const COMPLAINANTS_MAX: usize = 4;

/// Why a peer that beats does not count.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Doubt {
    /// In words.
    pub why: String,
    /// For how long it has been so.
    pub for_ms: u64,
    /// Whether it has been so for too long: what the peer holds is copied to others.
    pub is_gone: bool,
}

/// What is known of the ways to a peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reach {
    /// When it is to be asked next; `None`: a question is under way.
    next_ms: Option<u64>,
    /// When it answered last.
    found_ms: u64,
    /// Questions in a row without an answer.
    failures: u32,
    /// When the first of them failed.
    failed_ms: u64,
    why: String,
    complaints: Vec<(IpAddr, u64)>,
}

impl Reach {
    /// A peer that has just been reached, or has to be taken for one. Peers are asked at different moments, by their ids.
    pub fn new(id: PeerId, now_ms: u64, rules: Rules) -> Self {
        let [first, second, ..] = *id.as_bytes();
        let part = u64::from(u16::from_be_bytes([first, second]));
        let wait_ms = millis(period(rules)).saturating_mul(part) / u64::from(u16::MAX);
        Self {
            next_ms: Some(now_ms.saturating_add(wait_ms)),
            found_ms: now_ms,
            failures: 0,
            failed_ms: 0,
            why: String::new(),
            complaints: Vec::new(),
        }
    }

    /// Whether to ask the peer now; if so, the question is under way until [`Self::answered`].
    pub fn ask(&mut self, now_ms: u64) -> bool {
        let is_due = self.next_ms.is_some_and(|next_ms| next_ms <= now_ms);
        if is_due {
            self.next_ms = None;
        }
        is_due
    }

    /// Notes what came of a question: that the peer answered, or why it was not reached.
    pub fn answered(&mut self, answer: Result<(), String>, now_ms: u64, rules: Rules) {
        let wait = match answer {
            Ok(()) => {
                (self.failures, self.found_ms) = (0, now_ms);
                self.complaints.clear();
                period(rules)
            }
            Err(why) => {
                if self.failures == 0 {
                    self.failed_ms = now_ms;
                }
                self.failures = self.failures.saturating_add(1);
                self.why = why;
                // One question may be lost, so the second comes soon; then the peer counts as out of reach.
                let soon = if self.failures < FAILURES { rules.heartbeat } else { rules.suspect_after() };
                soon.min(period(rules))
            }
        };
        self.next_ms = Some(now_ms.saturating_add(millis(wait)));
    }

    /// Notes that a receiver could not reach the peer. If another one says so, too, the peer is asked at once.
    pub fn complain(&mut self, from: IpAddr, now_ms: u64, rules: Rules) {
        let lately = |at_ms: u64| Duration::from_millis(now_ms.saturating_sub(at_ms)) < rules.dead_after;
        let from = counted_as(from);
        self.complaints.retain(|&(other, at_ms)| lately(at_ms) && other != from);
        if self.complaints.len() < COMPLAINANTS_MAX {
            self.complaints.push((from, now_ms));
        }
        // Not right after it answered: complaints must not have the tracker dial all the time.
        let soon_ms = self.found_ms.saturating_add(millis(rules.suspect_after())).max(now_ms);
        if self.complaints.len() >= COMPLAINANTS {
            self.next_ms = self.next_ms.map(|next_ms| next_ms.min(soon_ms));
        }
    }

    /// Since when the peer has not been reached, and why; `None`: as far as is known it can be.
    pub fn unreachable(&self) -> Option<(u64, &str)> {
        (self.failures >= FAILURES).then_some((self.failed_ms, &*self.why))
    }

    /// The time within which the way to the peer was lost.
    pub const fn lost_within(&self) -> (u64, u64) {
        (self.found_ms, self.failed_ms)
    }
}

/// Time between two questions: less than half a dead time, so that a late one is in time.
fn period(rules: Rules) -> Duration {
    rules.dead_after * 9 / 20
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: Rules = Rules { heartbeat: Duration::from_secs(10), dead_after: Duration::from_secs(300) };
    const PERIOD_MS: u64 = 135_000;

    fn reach(first: u8) -> Reach {
        Reach::new(PeerId::from_bytes([first; 32]), 0, RULES)
    }

    fn failed() -> Result<(), String> {
        Err("connection refused".into())
    }

    #[test]
    fn every_peer_is_asked_within_half_a_dead_time_and_not_all_at_once() {
        let first: Vec<u64> =
            (0..=255).map(|number| (0..).find(|&ms| reach(number).ask(ms)).unwrap()).collect();
        assert!(first.iter().all(|&ms| ms <= PERIOD_MS), "{first:?}");
        let in_a_tenth = |part: u64| first.iter().filter(|&&ms| ms * 10 / PERIOD_MS == part).count();
        assert!((0..10).all(|part| (20..=30).contains(&in_a_tenth(part))), "{first:?}");
        let mut peer = reach(0);
        assert!(peer.ask(0) && !peer.ask(0), "one question at a time");
        peer.answered(Ok(()), 1000, RULES);
        assert!(!peer.ask(1000 + PERIOD_MS - 1) && peer.ask(1000 + PERIOD_MS));
    }

    #[test]
    fn a_peer_that_does_not_answer_twice_is_unreachable_until_it_does() {
        let mut peer = reach(0);
        assert!(peer.ask(0));
        peer.answered(failed(), 5000, RULES);
        assert_eq!(peer.unreachable(), None, "once may be bad luck");
        assert!(!peer.ask(14_999) && peer.ask(15_000), "it is asked again soon");
        peer.answered(failed(), 20_000, RULES);
        assert_eq!(peer.unreachable(), Some((5000, "connection refused")));
        assert!(!peer.ask(49_999) && peer.ask(50_000));
        peer.answered(Ok(()), 50_000, RULES);
        assert_eq!(peer.unreachable(), None);
        assert!(!peer.ask(50_000 + PERIOD_MS - 1) && peer.ask(50_000 + PERIOD_MS));
    }

    #[test]
    fn complaints_of_several_receivers_hasten_the_question_and_those_of_one_do_not() {
        let mut peer = reach(255);
        let [one, neighbour, other] =
            ["2001:db8::1", "2001:db8::2", "2001:db8:1::1"].map(|ip| ip.parse().unwrap());
        for _ in 0..9 {
            peer.complain(one, 40_000, RULES);
            peer.complain(neighbour, 40_000, RULES);
        }
        assert!(!peer.ask(40_000), "it is one place");
        peer.complain(other, 41_000, RULES);
        assert!(peer.ask(41_000));
        peer.answered(Ok(()), 41_000, RULES);
        for _ in 0..100 {
            peer.complain(one, 42_000, RULES);
            peer.complain(other, 42_000, RULES);
        }
        assert!(!peer.ask(70_999) && peer.ask(71_000), "lies cost a question in three heartbeats");
    }
}
