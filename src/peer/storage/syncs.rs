//! Syncs of the file system below a store. Each has a number, so that nothing is acknowledged but what one covered
//! that began after it was written; commits that wait at the same time share one.
//!
//! A system reports once that something could not be written, to whoever asks first, and forgets it. So a sync that
//! fails speaks for everything that was written since the last good one, and nothing is taken until the disk has
//! shown that it can write again.

use std::io;

use parking_lot::{Condvar, Mutex};

/// Whether one sync covers what everybody has written (Linux), or only the files of whoever asks for it.
const COVERS_ALL: bool = cfg!(target_os = "linux");

/// The syncs of one store.
#[derive(Debug)]
pub(super) struct Syncs {
    state: Mutex<State>,
    ended: Condvar,
}

#[derive(Debug)]
struct State {
    /// The number of the next sync: it covers what is written now.
    next: u32,
    /// The newest that succeeded.
    good: u32,
    running: bool,
    failed: bool,
    /// How often somebody has begun to wait for another's sync.
    #[cfg(test)]
    waits: u32,
}

/// Why something is not on stable storage.
#[derive(Debug, thiserror::Error)]
pub(super) enum SyncError {
    /// This sync failed, and nobody has dealt with it.
    #[error(transparent)]
    Now(io::Error),
    /// An earlier one failed.
    #[error("the disk failed to write, and has not shown that it can since")]
    Before,
}

impl Default for Syncs {
    fn default() -> Self {
        Self {
            state: Mutex::new(State {
                next: 1,
                good: 0,
                running: false,
                failed: false,
                #[cfg(test)]
                waits: 0,
            }),
            ended: Condvar::new(),
        }
    }
}

impl Syncs {
    /// The number of the sync that covers what was written up to now.
    pub(super) fn next(&self) -> u32 {
        self.state.lock().next
    }

    /// The newest sync that succeeded: what came after it may be gone if another one fails.
    pub(super) fn good(&self) -> u32 {
        self.state.lock().good
    }

    /// Whether a sync has failed, and the disk has not shown since that it can write.
    pub(super) fn have_failed(&self) -> bool {
        self.state.lock().failed
    }

    /// Notes that writing failed otherwise. Returns whether that is news.
    pub(super) fn fail(&self) -> bool {
        !std::mem::replace(&mut self.state.lock().failed, true)
    }

    /// Returns when a sync that began after this call has succeeded.
    pub(super) fn sync(&self, flush: impl FnOnce() -> io::Result<()>) -> Result<(), SyncError> {
        let mut state = self.state.lock();
        // A sync that runs now may have begun before the caller's bytes were written: only the next one covers them.
        let mine = state.next;
        while state.running && !state.failed {
            #[cfg(test)]
            {
                state.waits += 1;
            }
            self.ended.wait(&mut state);
            if COVERS_ALL && state.good >= mine {
                return Ok(());
            }
        }
        if state.failed {
            return Err(SyncError::Before);
        }
        let number = state.next;
        (state.running, state.next) = (true, number + 1);
        drop(state);
        // Not under the lock: others come meanwhile, and share the next sync.
        let result = flush();
        let mut state = self.state.lock();
        state.running = false;
        match &result {
            Ok(()) => state.good = number,
            Err(_) => state.failed = true,
        }
        drop(state);
        self.ended.notify_all();
        result.map_err(SyncError::Now)
    }

    /// Takes part again after a failure, if `prove` shows that the disk can write.
    pub(super) fn recover(&self, prove: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        let number = {
            let mut state = self.state.lock();
            // What is written from here on is covered by a later sync than the proof.
            state.next += 1;
            state.next - 1
        };
        prove()?;
        let mut state = self.state.lock();
        (state.good, state.failed) = (number, false);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU32, Ordering};

    #[test]
    fn s8_what_waits_for_a_sync_is_not_covered_by_one_that_began_before() {
        let syncs = Syncs::default();
        let (begun, go) = (std::sync::Barrier::new(2), std::sync::Barrier::new(2));
        let count = AtomicU32::new(0);
        std::thread::scope(|threads| {
            threads.spawn(|| {
                syncs.sync(|| {
                    begun.wait();
                    go.wait();
                    Ok(())
                })
            });
            begun.wait();
            let late: Vec<_> = (0..4)
                .map(|_| {
                    threads.spawn(|| {
                        syncs.sync(|| {
                            count.fetch_add(1, Ordering::Relaxed);
                            Ok(())
                        })
                    })
                })
                .collect();
            while syncs.state.lock().waits < 4 {
                std::thread::yield_now();
            }
            let written = syncs.next();
            assert_eq!(written, 2, "the next sync covers it, not the one under way");
            go.wait();
            late.into_iter().for_each(|thread| thread.join().unwrap().unwrap());
            assert!(syncs.good() >= written);
        });
        assert_eq!(
            count.load(Ordering::Relaxed),
            if COVERS_ALL { 1 } else { 4 },
            "they share a sync if they can"
        );
    }

    #[test]
    fn s8_after_a_failure_nothing_is_acknowledged_until_the_disk_has_written() {
        let syncs = Syncs::default();
        syncs.sync(|| Ok(())).unwrap();
        let good = syncs.good();
        assert!(matches!(syncs.sync(|| Err(io::Error::other("EIO"))), Err(SyncError::Now(_))));
        assert!(matches!(syncs.sync(|| Ok(())), Err(SyncError::Before)), "the error is reported once only");
        assert!(syncs.have_failed() && syncs.good() == good);
        assert!(syncs.recover(|| Err(io::Error::other("still"))).is_err() && syncs.have_failed());
        syncs.recover(|| Ok(())).unwrap();
        syncs.sync(|| Ok(())).unwrap();
        assert!(syncs.good() > good);
    }
}
