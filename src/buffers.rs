//! Buffers that are used again. A transfer that took fresh memory for every chunk would have the system map and
//! clear it every time, which costs as much as the cryptography.

use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use parcelry_core::geometry::ChunkSize;
use parcelry_core::limits::TAG_BYTES;
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// A pool of buffers of one size.
#[derive(Debug)]
pub struct Buffers {
    bytes: usize,
    /// How many are kept for the next use.
    keep: usize,
    free: Mutex<Vec<Vec<u8>>>,
    room: Arc<Semaphore>,
}

/// A buffer of a pool, to which it returns when dropped.
#[derive(Debug)]
pub struct Buffer {
    bytes: Vec<u8>,
    home: Arc<Buffers>,
    _permit: Option<OwnedSemaphorePermit>,
}

impl Buffers {
    /// A pool of at most `count` buffers with room for `bytes` bytes each; they are made when they are needed.
    pub fn new(count: usize, bytes: usize) -> Arc<Self> {
        let room = Arc::new(Semaphore::new(count));
        Arc::new(Self { bytes, keep: count, free: Mutex::default(), room })
    }

    /// A pool of at most `count` buffers with room for a sealed chunk of this size each.
    pub fn for_chunks(count: usize, size: ChunkSize) -> Arc<Self> {
        Self::new(count, usize::try_from(size.bytes()).unwrap_or(usize::MAX) + TAG_BYTES)
    }

    /// A buffer of full length, as soon as there is one. What it holds is left from its last use.
    pub async fn take(self: &Arc<Self>) -> Buffer {
        // The semaphore is never closed.
        let permit = Arc::clone(&self.room).acquire_owned().await.ok();
        self.hand_out(permit)
    }

    /// A buffer of the length that is given, as soon as there is one. What it holds is left from its last use.
    pub async fn take_of(self: &Arc<Self>, len: usize) -> Buffer {
        let mut buffer = self.take().await;
        buffer.resize(len, 0);
        buffer
    }

    /// A buffer at once, however many are in use; those beyond the pool's number do not return to it.
    pub fn take_now(self: &Arc<Self>) -> Buffer {
        self.hand_out(None)
    }

    fn hand_out(self: &Arc<Self>, permit: Option<OwnedSemaphorePermit>) -> Buffer {
        let used_before = self.free.lock().pop();
        let mut bytes = used_before.unwrap_or_else(|| vec![0; self.bytes]);
        bytes.resize(self.bytes, 0);
        Buffer { bytes, home: Arc::clone(self), _permit: permit }
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let mut free = self.home.free.lock();
        if free.len() < self.home.keep {
            free.push(std::mem::take(&mut self.bytes));
        }
    }
}

impl Deref for Buffer {
    type Target = Vec<u8>;

    fn deref(&self) -> &Vec<u8> {
        &self.bytes
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }
}

impl AsMut<[u8]> for Buffer {
    fn as_mut(&mut self) -> &mut [u8] {
        &mut self.bytes
    }
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[tokio::test]
    async fn no_more_are_in_use_than_there_are_and_the_same_ones_return() {
        let buffers = Buffers::new(2, 10);
        let (mut first, _second) = (buffers.take().await, buffers.take().await);
        first.fill(7);
        first.truncate(3);
        let place = first.as_ptr();
        let third = tokio::time::timeout(Duration::from_millis(20), buffers.take());
        assert!(third.await.is_err());
        drop(first);
        let again = buffers.take().await;
        assert_eq!((again.as_ptr(), again.as_slice()), (place, &[7, 7, 7, 0, 0, 0, 0, 0, 0, 0][..]));
    }

    #[test]
    fn those_taken_beyond_the_pool_are_not_kept() {
        let buffers = Buffers::new(1, 10);
        drop([buffers.take_now(), buffers.take_now()]);
        assert_eq!(buffers.free.lock().len(), 1);
    }
}
