//! Chunks as a peer sent them: their bytes can be had only when they have been hashed against the chunk's id.

use std::ops::Deref;

use parcelry_core::id::ChunkId;

use crate::buffers::Buffer;

/// What a peer sent for a chunk: as many bytes as the chunk has, but maybe others.
#[derive(Debug)]
pub struct Unverified {
    id: ChunkId,
    bytes: Buffer,
}

/// The bytes of a chunk, sealed: they hash to its id.
#[derive(Debug)]
pub struct Verified(Buffer);

impl Unverified {
    pub(super) const fn new(id: ChunkId, bytes: Buffer) -> Self {
        Self { id, bytes }
    }

    /// Hashes the bytes. Returns them if they are the chunk's. Blocks.
    pub fn verify(self) -> Option<Verified> {
        (ChunkId::of(&self.bytes) == self.id).then(|| Verified(self.bytes))
    }
}

impl Verified {
    /// Returns the buffer that has the bytes.
    pub fn into_buffer(self) -> Buffer {
        self.0
    }
}

impl Deref for Verified {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::buffers::Buffers;

    #[test]
    fn only_bytes_that_hash_to_the_id_can_be_had() {
        let buffers = Buffers::new(2, 4);
        let sent = |bytes: &[u8]| {
            let mut buffer = buffers.take_now();
            buffer.copy_from_slice(bytes);
            Unverified::new(ChunkId::of(b"good"), buffer)
        };
        assert_eq!(sent(b"good").verify().as_deref(), Some(&b"good"[..]));
        assert!(sent(b"goot").verify().is_none());
    }
}
