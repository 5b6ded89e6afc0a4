//! One peer's replicas of one share: when they are to be asked about, and what follows from the answer.

use std::time::Duration;

use crate::duration::millis;
use crate::limits::{AUDIT_SAMPLES_DENSE, AUDIT_SAMPLES_FIRST, DAY_WINDOWS, WEEK_WINDOWS};
use crate::registry::Rules;

/// A moment, in tenths of a second.
pub(crate) type Tick = u32;
const TICK_MS: u64 = 100;

/// Ages of a proof, in dead times, up to which a pair is asked again within as many: 10 minutes, an hour, six hours.
const YOUNG_WINDOWS: [u32; 3] = [2, 12, 72];
/// Classes of a peer's queue. What was claimed just now comes first; then what the tracker must ask anew, by how many
/// replicas of the share are proven; then what counts nowhere before it is proven; last what is proven.
pub(crate) const NEW: u8 = 0;
pub(crate) const RECLAIMED: u8 = 1;
pub(crate) const RECLAIMED_MOST: u8 = 13;
pub(crate) const BARE: u8 = 14;
pub(crate) const PROVEN: u8 = 15;
/// Refutations in a row after which a peer is believed to have nothing of a share.
pub(crate) const REFUTED_MOST: u8 = 3;

/// The times by which pairs are asked.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pace {
    pub(crate) beat: Tick,
    pub(crate) dead: Tick,
    pub(crate) day: Tick,
    pub(crate) week: Tick,
}

impl Pace {
    /// The pace of a swarm with these rules.
    pub(crate) fn of(rules: Rules) -> Self {
        Self {
            beat: ticks(rules.heartbeat),
            dead: ticks(rules.dead_after),
            day: ticks(rules.dead_after.saturating_mul(DAY_WINDOWS)),
            week: ticks(rules.dead_after.saturating_mul(WEEK_WINDOWS)),
        }
    }
}

/// What is known of one pair.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pair {
    /// First proof, first without a gap, and last; `None` before the first.
    pub(crate) proofs: Option<(Tick, Tick, Tick)>,
    /// When it is to be asked.
    pub(crate) due: Tick,
    /// Until when, by the claims' clock, repair counts the claim.
    pub(crate) counts_until: Tick,
    /// Where it stands in its peer's queue; [`PROVEN`] if it is.
    pub(crate) class: u8,
    /// Samples to ask for.
    pub(crate) samples: u8,
    /// Refutations since the last proof.
    pub(crate) refuted: u8,
}

impl Pair {
    /// It was proven.
    pub(crate) fn prove(&mut self, pace: Pace, now: Tick, random: u64) {
        let (since, steady, last) = self.proofs.unwrap_or((now, now, now));
        let steady = if now.saturating_sub(last) > 2 * pace.day { now } else { steady };
        self.proofs = Some((since, steady, now));
        let age = now.saturating_sub(since);
        let young = YOUNG_WINDOWS.map(|windows| pace.dead.saturating_mul(windows));
        let within = young.into_iter().find(|within| age < *within).unwrap_or(pace.day);
        let half = u64::from(within / 2);
        let wait = u64::from(within) - random % (half + 1);
        self.due = now.saturating_add(Tick::try_from(wait).unwrap_or(Tick::MAX));
        (self.class, self.samples, self.refuted) = (PROVEN, 1, 0);
    }

    /// Something was refuted: it begins anew, and the rest must be proven at once. One rotten chunk of a good peer is
    /// forgiven for a dead time, not a second in a row. `counted` is the time by the claims' clock.
    pub(crate) fn refute(&mut self, pace: Pace, now: Tick, counted: Tick) {
        (self.proofs, self.class) = (None, NEW);
        self.due = now.saturating_add(if self.refuted < REFUTED_MOST { 0 } else { pace.dead });
        self.counts_until = if self.refuted == 0 { counted.saturating_add(pace.dead) } else { counted };
        self.samples = self.samples.max(AUDIT_SAMPLES_FIRST).saturating_mul(2).min(AUDIT_SAMPLES_DENSE);
        self.refuted = self.refuted.saturating_add(1);
    }

    /// It was asked about, without an answer. `counted` is the time by the claims' clock.
    pub(crate) fn wait(&mut self, pace: Pace, now: Tick, counted: Tick) {
        if self.class != PROVEN {
            self.counts_until = self.counts_until.min(counted.saturating_add(pace.dead));
        }
        self.due = now.saturating_add(pace.beat);
    }
}

pub(crate) fn tick(ms: u64) -> Tick {
    Tick::try_from(ms / TICK_MS).unwrap_or(Tick::MAX)
}

fn ticks(time: Duration) -> Tick {
    tick(millis(time)).max(1)
}

pub(crate) fn ms(tick: Tick) -> u64 {
    u64::from(tick) * TICK_MS
}
