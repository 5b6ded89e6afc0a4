//! One lock for each share: whatever reads, changes and writes what is held of a share does so alone.

use std::collections::HashMap;

use parcelry_core::id::ShareId;
use parcelry_core::limits::COMMITS_WAITING_MAX;
use parking_lot::{Condvar, Mutex};

use super::error::StorageError;

/// The shares that somebody is at work on.
#[derive(Debug, Default)]
pub(super) struct ShareLocks {
    shares: Mutex<HashMap<ShareId, State>>,
    freed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    locked: bool,
    waiting: usize,
}

/// A share that is locked until this is dropped.
#[derive(Debug)]
pub(super) struct ShareLock<'a> {
    locks: &'a ShareLocks,
    share: ShareId,
}

impl ShareLocks {
    /// Locks a share, as soon as nobody else has it.
    pub(super) fn lock(&self, share: ShareId) -> ShareLock<'_> {
        self.take(share, &mut self.shares.lock());
        ShareLock { locks: self, share }
    }

    /// Locks a share for a caller from outside, unless so many wait for it that one thread more would be wasted.
    pub(super) fn lock_for_commit(&self, share: ShareId) -> Result<ShareLock<'_>, StorageError> {
        let mut shares = self.shares.lock();
        if shares.get(&share).is_some_and(|state| state.waiting >= COMMITS_WAITING_MAX) {
            return Err(StorageError::NotNow("the share is being committed already".to_owned()));
        }
        self.take(share, &mut shares);
        Ok(ShareLock { locks: self, share })
    }

    /// Locks a share that nobody has at the moment.
    pub(super) fn try_lock(&self, share: ShareId) -> Option<ShareLock<'_>> {
        let mut shares = self.shares.lock();
        if shares.contains_key(&share) {
            return None;
        }
        self.take(share, &mut shares);
        Some(ShareLock { locks: self, share })
    }

    fn take(&self, share: ShareId, shares: &mut parking_lot::MutexGuard<'_, HashMap<ShareId, State>>) {
        shares.entry(share).or_default().waiting += 1;
        while shares.entry(share).or_default().locked {
            self.freed.wait(shares);
        }
        let state = shares.entry(share).or_default();
        (state.locked, state.waiting) = (true, state.waiting - 1);
    }
}

impl Drop for ShareLock<'_> {
    fn drop(&mut self) {
        let mut shares = self.locks.shares.lock();
        // The entry stays as long as somebody waits for it.
        match shares.get_mut(&self.share) {
            Some(state) if state.waiting > 0 => state.locked = false,
            _ => drop(shares.remove(&self.share)),
        }
        drop(shares);
        // All of them: those who wait may wait for other shares.
        self.locks.freed.notify_all();
    }
}
