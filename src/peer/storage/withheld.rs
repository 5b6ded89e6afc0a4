//! Shares that the tracker's operator took down: they are kept until their terms end, for only their owners' signatures
//! take bytes away, and served to nobody but for the tracker's own audits.
//!
//! That is the tracker's word, and ends with it: whatever a tracker does not call withheld when it hears the inventory
//! is served again. So one that lies withholds only as long as the peer stays with it, and one that was restored from an
//! old copy, or another one, ends it.

use std::collections::BTreeSet;
use std::io;

use parcelry_core::id::{ChunkId, ShareId};

use super::Storage;
use super::error::StorageError;

const TAKEN_DOWN: StorageError = StorageError::Gone("the tracker's operator took the share down");

impl Storage {
    /// The shares that are kept and not served.
    pub(in crate::peer) fn withheld(&self) -> BTreeSet<ShareId> {
        self.shares.withheld()
    }

    /// Stops serving a share, if it is held.
    pub(in crate::peer) fn withhold(&self, share: ShareId) -> io::Result<()> {
        let _alone = self.locks.lock(share);
        let is_held = self.shares.get(share).is_some() || self.shares.is_damaged(share);
        if !is_held || self.shares.is_withheld(share) {
            return Ok(());
        }
        tracing::info!(%share, "the tracker's operator took the share down: it is kept, and not served");
        self.shares.put_withheld(share, true)
    }

    /// Takes over what the tracker says of shares, of which `before` were withheld when it was asked.
    pub(in crate::peer) fn withhold_only(
        &self,
        before: &BTreeSet<ShareId>,
        withheld: &[ShareId],
    ) -> io::Result<()> {
        for share in before.iter().filter(|share| !withheld.contains(share)) {
            let _alone = self.locks.lock(*share);
            if self.shares.is_withheld(*share) {
                tracing::info!(%share, "the tracker knows of no take-down of the share: it is served again");
                self.shares.put_withheld(*share, false)?;
            }
        }
        withheld.iter().try_for_each(|share| self.withhold(*share))
    }

    /// Refuses what is asked of a share that is not served.
    pub(in crate::peer) fn check_served(&self, share: ShareId) -> Result<(), StorageError> {
        if self.shares.is_withheld(share) { Err(TAKEN_DOWN) } else { Ok(()) }
    }

    /// Checks that a chunk may be served. One that another share holds, too, is served for that one.
    pub(in crate::peer) fn check_chunk_served(&self, id: &ChunkId) -> Result<(), StorageError> {
        let withheld = self.shares.withheld();
        if withheld.is_empty() {
            return Ok(());
        }
        let holders = self.chunks.holders(id);
        // Whose a chunk is that no share is known to hold cannot be told as long as a share's record cannot be read.
        let is_served = if holders.is_empty() {
            !withheld.iter().any(|share| self.shares.is_damaged(*share))
        } else {
            holders.iter().any(|holder| !withheld.contains(holder))
        };
        if is_served { Ok(()) } else { Err(TAKEN_DOWN) }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Bounds;
    use super::super::chunk_store::ChunkStore;
    use super::*;
    use parcelry_core::api::{Blob, CommitRequest, ProblemKind};
    use parcelry_core::chunk_set::ChunkSet;
    use parcelry_core::geometry::{ChunkSize, Geometry};
    use parcelry_core::id::Secret;
    use parcelry_core::manifest::{Draft, ShareKey};
    use parcelry_core::seal::{Header, ShareKeys};
    use parcelry_core::terms::{SignedTerms, Terms};
    use std::path::Path;

    use crate::clock;

    const SEALED: usize = (1 << 16) + 16;

    fn open(root: &Path) -> Storage {
        ChunkStore::create(root).unwrap();
        Storage::open(root, Bounds { capacity_bytes: None, keep_free_bytes: 0 }).unwrap()
    }

    fn chunk(byte: u8) -> ChunkId {
        ChunkId::of(&[byte; SEALED])
    }

    /// What the owner with this number commits, of chunks of which each is one byte over and over.
    fn share_of(owner: u8, bytes: &[u8]) -> (ShareId, CommitRequest) {
        let key = ShareKey::from_seed(&Secret::from_bytes([owner; 32]));
        let (share, chunk_size) = (key.share_id(), ChunkSize::from_log2(16).unwrap());
        let geometry = Geometry::new((bytes.len() as u64) << 16, chunk_size).unwrap();
        let keys = ShareKeys::derive(&Secret::from_bytes([2; 32]), &[3; 32], Header { chunk_size });
        let ids: Vec<ChunkId> = bytes.iter().map(|&byte| chunk(byte)).collect();
        let manifest = Draft::new(&key, &keys, &[3; 32], geometry, &ids).finish(&key, &keys, b"{}");
        let expires_ms = clock::now_ms() + 3_600_000;
        let terms =
            Terms { share, issued_ms: 1, expires_ms, replicas: 1, access_sha256: [0; 32], deleted: false };
        let terms = SignedTerms::sign(&key, terms).token;
        let manifest = Blob(manifest.encoded().to_vec());
        (share, CommitRequest { manifest, terms, chunks: ChunkSet::full(geometry.chunk_count()) })
    }

    fn commit(storage: &Storage, owner: u8, bytes: &[u8]) -> ShareId {
        let (share, request) = share_of(owner, bytes);
        for &byte in bytes {
            // Every share must have sent what it refers to.
            storage.marks.add(share, &[chunk(byte)]).unwrap();
            let mut pending = storage.chunks.create_chunk().unwrap();
            pending.write(&[byte; SEALED]).unwrap();
            storage.chunks.complete(chunk(byte), pending, || Ok(())).unwrap();
            storage.chunks.add_ref(share, chunk(byte));
        }
        assert!(storage.commit(share, request).unwrap().is_empty());
        share
    }

    fn is_served(storage: &Storage, byte: u8) -> bool {
        storage.check_chunk_served(&chunk(byte)).is_ok()
    }

    #[test]
    fn what_was_taken_down_is_kept_and_not_served_also_after_a_restart_until_a_tracker_does_not_say_so() {
        let directory = tempfile::tempdir().unwrap();
        let storage = open(directory.path());
        let (down, other) = (commit(&storage, 1, &[1, 2]), commit(&storage, 2, &[2, 3]));
        storage.withhold(ShareId::from_bytes([9; 32])).unwrap();
        storage.withhold(down).unwrap();
        // As it runs, and after a restart.
        for storage in [storage, open(directory.path())] {
            assert_eq!(storage.shares.withheld(), BTreeSet::from([down]), "and none that is not held");
            assert!(storage.check_served(other).is_ok());
            assert_eq!(storage.check_served(down).unwrap_err().kind(), ProblemKind::ShareGone);
            assert_eq!([1, 2, 3].map(|byte| is_served(&storage, byte)), [false, true, true]);
            assert!([1, 2, 3].iter().all(|&byte| storage.chunks.contains(&chunk(byte))), "it is kept");
            let request = share_of(1, &[1, 2]).1;
            assert_eq!(storage.commit(down, request).unwrap_err().kind(), ProblemKind::ShareGone);
        }
        let storage = open(directory.path());
        let before = storage.shares.withheld();
        storage.withhold(other).unwrap();
        storage.withhold_only(&before, &[down]).unwrap();
        assert!(
            !is_served(&storage, 1) && !is_served(&storage, 3),
            "what came after the question is no answer"
        );
        storage.withhold_only(&storage.shares.withheld(), &[other]).unwrap();
        assert_eq!(open(directory.path()).shares.withheld(), BTreeSet::from([other]));
        storage.withhold_only(&BTreeSet::from([other]), &[]).unwrap();
        assert!(open(directory.path()).shares.withheld().is_empty());
    }

    #[test]
    fn what_was_taken_down_is_not_served_while_its_record_is_damaged() {
        let directory = tempfile::tempdir().unwrap();
        let storage = open(directory.path());
        let (down, _) = (commit(&storage, 1, &[1]), commit(&storage, 2, &[2]));
        storage.withhold(down).unwrap();
        std::fs::write(directory.path().join("shares").join(down.to_string()).join("manifest"), b"rot")
            .unwrap();
        let storage = open(directory.path());
        assert!(storage.shares.is_damaged(down) && !is_served(&storage, 1) && is_served(&storage, 2));
    }
}
