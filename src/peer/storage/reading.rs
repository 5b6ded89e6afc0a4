//! What others read of a peer's storage: what is held of a share, a chunk's bytes, and all of something that is to be
//! proved.

use std::fs::File;
use std::io::{self, Read};

use parcelry_core::api::ShareChunks;
use parcelry_core::id::{ChunkId, ShareId};
use parcelry_core::manifest::Manifest;

use super::Storage;
use super::share_store::Held;
use crate::disk::durable;

/// Something that is to be proved: a chunk, or a share's manifest.
pub(in crate::peer) type Provable = (ChunkId, Option<ShareId>);

impl Storage {
    /// What is known of a share that is held here.
    pub(in crate::peer) fn held(&self, share: ShareId) -> Option<Held> {
        self.shares.get(share)
    }

    /// All that is held here, in the order of the shares' ids.
    pub(in crate::peer) fn inventory(&self) -> Vec<ShareChunks> {
        let of_share = |share| self.held(share).map(|held| ShareChunks { share, chunks: held.chunks });
        self.shares.ids().into_iter().filter_map(of_share).collect()
    }

    /// The manifest of a share that is held here.
    pub(in crate::peer) fn manifest(&self, share: ShareId) -> io::Result<Manifest> {
        self.shares.manifest(share)
    }

    /// The shares of which a record cannot be read.
    pub(in crate::peer) fn damaged(&self) -> Vec<ShareId> {
        self.shares.damaged()
    }

    /// The shares whose terms were lost, and not agreed on since.
    pub(in crate::peer) fn unsettled(&self) -> Vec<ShareId> {
        self.shares.unsettled()
    }

    /// Whether its owner deleted the share.
    pub(in crate::peer) fn is_gone(&self, share: ShareId) -> bool {
        self.gone.contains(share)
    }

    /// Whether the chunk is here, as far as is known without reading it.
    pub(in crate::peer) fn has_chunk(&self, id: &ChunkId) -> bool {
        self.chunks.contains(id)
    }

    /// How many chunks are here.
    pub(in crate::peer) fn chunk_count(&self) -> usize {
        self.chunks.count()
    }

    /// The first chunk after this one, and its length.
    pub(in crate::peer) fn next_chunk(&self, after: Option<ChunkId>) -> Option<(ChunkId, u64)> {
        self.chunks.next_after(after)
    }

    /// Opens a chunk for reading. Returns it with its length as it stands on disk.
    pub(in crate::peer) fn open_chunk(&self, id: &ChunkId) -> io::Result<(File, u64)> {
        self.chunks.read(id)
    }

    /// Bytes of something, if it is here as far as is known without reading it.
    pub(in crate::peer) fn bytes_of(&self, (root, share): Provable) -> Option<u64> {
        match share {
            // One whose file is gone is found out when it is read.
            None => {
                self.chunks.contains(&root).then(|| self.chunks.read(&root).map_or(0, |(_, bytes)| bytes))
            }
            Some(share) => self.shares.get(share).map(|held| held.manifest_bytes),
        }
    }

    /// All bytes of something as they are on the disk; `None` if it is not here. A chunk that the disk cannot read is
    /// as bad as none.
    pub(in crate::peer) fn read_whole(&self, (root, share): Provable) -> io::Result<Option<Vec<u8>>> {
        let read = match share {
            None => self.chunks.read(&root).and_then(|(file, bytes)| {
                durable::drop_cached(&file);
                let mut whole = Vec::with_capacity(usize::try_from(bytes).unwrap_or_default());
                file.take(bytes).read_to_end(&mut whole).map(|_| whole)
            }),
            Some(share) => self.shares.manifest(share).map(Manifest::into_encoded),
        };
        match read {
            Ok(bytes) => Ok(Some(bytes)),
            // Without its store the peer knows nothing: it does not say that it has nothing.
            Err(error) if error.kind() == io::ErrorKind::NotFound => self.chunks.check_there().map(|()| None),
            Err(error) if error.raw_os_error() == Some(rustix::io::Errno::IO.raw_os_error()) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Whether the chunk is on stable storage, and so is the record of a share that holds it. A commit that is under way
    /// holds what it may yet give up; it has its share locked.
    pub(in crate::peer) fn is_lasting(&self, id: &ChunkId) -> bool {
        let is_committed =
            |share| self.locks.try_lock(share).is_some_and(|_alone| self.chunks.is_held_by(share, id));
        self.chunks.is_synced(id) && self.chunks.holders(id).into_iter().any(is_committed)
    }
}
