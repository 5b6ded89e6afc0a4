//! How the disk stands, as it was when somebody looked last: whoever only wants to tell it does not wait for the disk.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parcelry_core::duration::millis;
use parcelry_core::limits::DISK_LOOK_AGE_MAX;

use super::chunk_store::ChunkStore;
use crate::clock;

/// The last look at the disk below a store.
#[derive(Debug, Default)]
pub(super) struct DiskLook {
    free_bytes: AtomicU64,
    is_writable: AtomicBool,
    is_there: AtomicBool,
    at_ms: AtomicU64,
}

impl DiskLook {
    /// Looks again.
    pub(super) fn again(&self, chunks: &ChunkStore) -> io::Result<()> {
        let there = chunks.check_there();
        self.is_there.store(there.is_ok(), Ordering::Relaxed);
        self.is_writable.store(chunks.is_writable(), Ordering::Relaxed);
        self.free_bytes.store(chunks.disk_free_bytes().unwrap_or(0), Ordering::Relaxed);
        self.at_ms.store(clock::monotonic_ms(), Ordering::Relaxed);
        there
    }

    /// Bytes that the file system has free for us. A disk that cannot be written to, or does not answer, has none.
    pub(super) fn free_bytes(&self) -> u64 {
        let age_ms = clock::monotonic_ms().saturating_sub(self.at_ms.load(Ordering::Relaxed));
        let is_good = self.is_writable.load(Ordering::Relaxed) && age_ms < millis(DISK_LOOK_AGE_MAX);
        if is_good { self.free_bytes.load(Ordering::Relaxed) } else { 0 }
    }

    /// Whether the store was there.
    pub(super) fn is_there(&self) -> bool {
        self.is_there.load(Ordering::Relaxed)
    }
}
