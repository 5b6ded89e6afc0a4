//! Which process speaks for a peer: its key may be on two machines, by a clone or a restored backup. Such are known
//! by their runs: a process that was replaced by another one and is there again has not been replaced.

use std::collections::VecDeque;
use std::time::Duration;

use crate::id::RunId;

/// Runs of one peer that are remembered: as many machines with one key as are told apart.
const FORMER_MAX: usize = 4;

/// Another machine has the peer's key, too, and both are there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("another machine runs with this peer's key: neither counts until one of them is gone")]
pub struct Cloned;

/// What a run that speaks for a peer is to be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Heard {
    /// It is the one that registered.
    Known,
    /// Another one registered: it has to register itself.
    Other,
    /// It is one of several.
    Cloned,
}

/// The runs of one peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Runs {
    /// The run that registered last.
    current: RunId,
    /// When it was heard of last.
    current_ms: u64,
    /// Runs that registered before, the latest last.
    former: VecDeque<RunId>,
    twin: Option<Twin>,
}

/// A run that is there beside the current one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Twin {
    since_ms: u64,
    heard_ms: u64,
}

impl Runs {
    /// A peer that has registered with this run.
    pub const fn new(run: RunId, now_ms: u64) -> Self {
        Self { current: run, current_ms: now_ms, former: VecDeque::new(), twin: None }
    }

    /// A run wants to register. One that was replaced before, while the one that replaced it is there, is a clone.
    pub fn register(&mut self, run: RunId, now_ms: u64, gone_after: Duration) -> Result<(), Cloned> {
        let is_gone = is_over(self.current_ms, now_ms, gone_after);
        if run != self.current {
            if self.former.contains(&run) && !is_gone {
                // Two machines have been there since the first time, however often one of them asks.
                let since_ms = self.cloned_since(now_ms, gone_after).unwrap_or(now_ms);
                self.twin = Some(Twin { since_ms, heard_ms: now_ms });
                return Err(Cloned);
            }
            self.former.retain(|former| *former != run);
            self.former.push_back(self.current);
            if self.former.len() > FORMER_MAX {
                self.former.pop_front();
            }
            self.current = run;
            // The run before has been silent for too long to be a second machine.
            if is_gone {
                self.twin = None;
            }
        }
        self.current_ms = now_ms;
        Ok(())
    }

    /// A run has beaten.
    pub fn beat(&mut self, run: RunId, now_ms: u64, gone_after: Duration) -> Heard {
        let is_cloned = self.cloned_since(now_ms, gone_after).is_some();
        if run == self.current {
            self.current_ms = now_ms;
            return if is_cloned { Heard::Cloned } else { Heard::Known };
        }
        match &mut self.twin {
            Some(twin)
                if is_cloned
                    && self.former.contains(&run)
                    && !is_over(self.current_ms, now_ms, gone_after) =>
            {
                twin.heard_ms = now_ms;
                Heard::Cloned
            }
            _ => Heard::Other,
        }
    }

    /// Since when two machines have been there with the key of this peer; `None`: as far as is known there is one.
    pub fn cloned_since(&self, now_ms: u64, gone_after: Duration) -> Option<u64> {
        self.twin.filter(|twin| !is_over(twin.heard_ms, now_ms, gone_after)).map(|twin| twin.since_ms)
    }
}

fn is_over(heard_ms: u64, now_ms: u64, gone_after: Duration) -> bool {
    Duration::from_millis(now_ms.saturating_sub(heard_ms)) >= gone_after
}

#[cfg(test)]
mod tests {
    use super::*;

    const GONE: Duration = Duration::from_secs(300);

    fn run(number: u8) -> RunId {
        RunId::from_bytes([number; 16])
    }

    #[test]
    fn a_peer_that_restarts_again_and_again_is_one_machine() {
        let mut runs = Runs::new(run(0), 0);
        for number in 1..9 {
            let now_ms = u64::from(number) * 1000;
            assert_eq!(runs.register(run(number), now_ms, GONE), Ok(()));
            assert_eq!(runs.beat(run(number - 1), now_ms, GONE), Heard::Other, "what was still under way");
            assert_eq!(runs.beat(run(number), now_ms, GONE), Heard::Known);
            assert_eq!(runs.cloned_since(now_ms, GONE), None);
        }
        assert!(runs.former.len() <= FORMER_MAX);
    }

    #[test]
    fn f35_a_run_that_registers_again_after_another_one_is_a_second_machine() {
        let mut runs = Runs::new(run(1), 0);
        assert_eq!(runs.register(run(2), 1000, GONE), Ok(()), "the clone");
        assert_eq!(runs.beat(run(1), 2000, GONE), Heard::Other);
        assert_eq!(runs.register(run(1), 2000, GONE), Err(Cloned));
        assert_eq!(runs.cloned_since(2000, GONE), Some(2000));
        for now_ms in [3000, 200_000, 400_000] {
            assert_eq!(runs.beat(run(2), now_ms, GONE), Heard::Cloned);
            assert_eq!(runs.beat(run(1), now_ms, GONE), Heard::Cloned);
            assert_eq!(runs.register(run(1), now_ms, GONE), Err(Cloned));
        }
        assert_eq!(runs.cloned_since(400_000, GONE), Some(2000));
    }

    #[test]
    fn f35_the_one_that_is_left_counts_when_the_other_was_gone_for_long_enough() {
        let cloned = || {
            let mut runs = Runs::new(run(1), 0);
            runs.register(run(2), 0, GONE).unwrap();
            runs.register(run(1), 1000, GONE).unwrap_err();
            runs
        };
        // The one that registered last stays.
        let mut runs = cloned();
        assert_eq!(runs.beat(run(2), 300_999, GONE), Heard::Cloned);
        assert_eq!(runs.beat(run(2), 301_000, GONE), Heard::Known);
        assert_eq!(runs.cloned_since(301_000, GONE), None);
        // The other one stays: what it holds and where it is has to be heard anew.
        let mut runs = cloned();
        assert_eq!(runs.beat(run(1), 299_999, GONE), Heard::Cloned);
        assert_eq!(runs.beat(run(1), 300_000, GONE), Heard::Other);
        assert_eq!(runs.register(run(1), 300_000, GONE), Ok(()));
        assert_eq!(runs.beat(run(1), 300_001, GONE), Heard::Known);
    }

    #[test]
    fn f35_three_machines_are_no_way_out() {
        let mut runs = Runs::new(run(1), 0);
        runs.register(run(2), 0, GONE).unwrap();
        runs.register(run(1), 0, GONE).unwrap_err();
        assert_eq!(runs.register(run(3), 1000, GONE), Ok(()), "it starts: nobody knows it yet");
        for number in [1, 2, 3] {
            assert_eq!(runs.beat(run(number), 2000, GONE), Heard::Cloned);
        }
    }
}
