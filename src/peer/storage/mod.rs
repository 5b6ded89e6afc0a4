//! What a peer does with its disk: it keeps what it was sent (commit).
//!
//! The other methods of [`Storage`], in `src/peer/storage/`: what is offered and arrives in `arrivals.rs`, how much room there
//! is in `reservations.rs`, what others read in `reading.rs`, what is kept and not served in `withheld.rs`, what is made
//! whole again in `mend.rs`, and how chunks leave in `letting_go.rs`.
//!
//! Locks, always in this order:
//! 1. the share's (`src/peer/storage/share_locks.rs`), held around everything that changes what is held of it;
//! 2. `reserving`, held while room is looked for and reserved;
//! 3. a chunk's name (`src/peer/storage/chunk_store.rs`);
//! 4. that of the marks, then that of the chunks of several shares, each while its file is written;
//! 5. `wasteful`, then `uploads`;
//! 6. the index of the chunks, then their syncs; the table of shares, then that of damaged ones; those of withheld and of
//!    deleted shares, and of unfinished uploads; and the mutex of `src/peer/storage/share_locks.rs`, which is held while
//!    it is noted who has a share.
//!
//! From the fifth on none is held across I/O.

mod arrivals;
#[cfg(test)]
mod charges;
mod chunk_file;
mod chunk_refs;
mod chunk_removal;
mod chunk_store;
#[cfg(test)]
mod contention;
mod disk_look;
mod error;
mod gone;
mod letting_go;
mod marks;
mod mend;
mod reading;
mod records;
mod reservations;
mod several;
mod share_locks;
mod share_store;
mod syncs;
mod unfinished;
mod withheld;

use std::collections::{HashMap, HashSet};
use std::io;
use std::path::Path;
#[cfg(test)]
use std::path::PathBuf;

use parcelry_core::api::{CommitRequest, CommitResponse};
use parcelry_core::chunk_set::ChunkSet;
use parcelry_core::id::{ChunkId, ShareId};
use parcelry_core::manifest::Manifest;
use parcelry_core::receipt::PeerKey;
use parcelry_core::reservation::{Reservation, Wasteful};
use parcelry_core::terms::SignedTerms;
use parcelry_core::token::TokenId;
use parking_lot::Mutex;

use crate::clock;
use crate::crash::{self, Point};
use crate::failure::Failure;
use chunk_refs::Released;
use chunk_store::ChunkStore;
use disk_look::DiskLook;
use gone::GoneShares;
use marks::Marks;
use several::Several;
use share_locks::ShareLocks;
use share_store::ShareStore;
use syncs::SyncError;
use unfinished::Unfinished;

pub(super) use arrivals::Under;
pub(super) use chunk_file::read_piece;
pub(super) use error::StorageError;
pub(super) use mend::Sources;
pub(super) use reading::Provable;
#[cfg(test)]
pub(super) use records::are_readable;
pub(super) use share_store::Held;

/// Chunks, shares and reservations of one peer. Its methods block on the disk.
#[derive(Debug)]
pub(super) struct Storage {
    chunks: ChunkStore,
    shares: ShareStore,
    gone: GoneShares,
    marks: Marks,
    several: Several,
    disk: DiskLook,
    bounds: Bounds,
    uploads: Mutex<HashMap<ShareId, Upload>>,
    locks: ShareLocks,
    /// Held while room is looked for and reserved.
    reserving: Mutex<()>,
    wasteful: Mutex<Wasteful>,
    unfinished: Mutex<Unfinished>,
}

/// How much of the disk a peer may fill.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    /// Bytes of chunks; `None`: as many as the disk takes.
    pub(super) capacity_bytes: Option<u64>,
    /// Bytes to leave free on the disk.
    pub(super) keep_free_bytes: u64,
}

/// Space that is reserved for a share whose chunks are arriving.
#[derive(Debug)]
struct Upload {
    reservation: Reservation,
    arrived: HashSet<ChunkId>,
    /// Those of them that were here already, and may have come for another share.
    met: HashSet<ChunkId>,
    touched_ms: u64,
}

impl Storage {
    /// Makes an empty store below `root`, unless there is one.
    pub(super) fn create(root: &Path) -> Result<(), Failure> {
        ChunkStore::create(root)
    }

    /// Opens what the peer holds below `root`.
    pub(super) fn open(root: &Path, bounds: Bounds) -> Result<Self, Failure> {
        let chunks = ChunkStore::open(root)?;
        let failed = |error| Failure::io("open the uploads in", root, &error);
        let marks = Marks::open(root).map_err(failed)?;
        let several = Several::open(root).map_err(failed)?;
        let refer = |manifest: &Manifest, listed: Option<&ChunkSet>| {
            let (share, here) = (manifest.share(), chunks.here(manifest, listed));
            let gone = listed.map_or(0, |listed| listed.minus(&here).len());
            if gone > 0 {
                tracing::warn!(%share, gone, "chunks are gone");
            }
            chunks.add_committed_refs(share, here.iter().map(|at| manifest.chunk(at)), listed.is_some());
            here
        };
        // Every share refers to its chunks before anything is tidied up: what none refers to counts as left by an upload.
        let shares = ShareStore::open(root, |share| marks.has(share), refer)?;
        let (gone, disk) = (GoneShares::open(root)?, DiskLook::default());
        let (uploads, locks) = (Mutex::default(), ShareLocks::default());
        let (reserving, wasteful, unfinished) = (Mutex::default(), Mutex::default(), Mutex::default());
        let storage = Self {
            chunks,
            shares,
            gone,
            marks,
            several,
            disk,
            bounds,
            uploads,
            locks,
            reserving,
            wasteful,
            unfinished,
        };
        storage.tidy_at_start().map_err(failed)?;
        Ok(storage)
    }

    fn tidy_at_start(&self) -> io::Result<()> {
        // While a record cannot be read, nobody knows which chunks are of no share.
        if self.shares.is_whole() {
            let (is_here, marked) = (|id: &ChunkId| self.chunks.contains(id), || self.marks.chunks());
            self.several.renew(self.chunks.of_several(), is_here, marked)?;
            self.chunks.doubt(&self.marks.chunks()?);
        }
        self.finish_leaving()?;
        self.count_unfinished()?;
        self.look_at_disk()
    }

    /// Looks how the disk stands, for those who ask and do not wait for it; fails if the store is gone.
    pub(super) fn look_at_disk(&self) -> io::Result<()> {
        self.disk.again(&self.chunks)
    }

    /// Whether the store was there at the last look.
    pub(super) fn is_there(&self) -> bool {
        self.disk.is_there()
    }

    /// Whether the disk failed to write, and has not shown since that it can.
    pub(super) fn has_failed_to_write(&self) -> bool {
        self.chunks.syncs.have_failed()
    }

    /// Keeps chunks that were copied, beside those of the share that are held already. Returns what is missing,
    /// like [`Storage::commit_under`].
    pub(super) fn keep_copied(
        &self,
        manifest: &Manifest,
        terms: SignedTerms,
        chunks: &ChunkSet,
    ) -> Result<ChunkSet, StorageError> {
        let _alone = self.locks.lock(manifest.share());
        self.keep(manifest, terms, chunks, None)
    }

    /// Ends a copy, whatever came of it: its reservation is over.
    pub(super) fn end_copy(&self, share: ShareId) {
        self.uploads.lock().remove(&share);
        self.end_mark(share);
    }

    /// Ends the mark of an upload that is over, if all that came for it was committed.
    fn end_mark(&self, share: ShareId) {
        let ended = self.marks.end(share, |id| self.chunks.is_referenced(id));
        if let Err(error) = ended.and_then(|()| self.count_unfinished_of(share)) {
            tracing::warn!(%share, %error, "cannot end the mark of an upload");
        }
    }

    /// Whether a share may count on a chunk that it has not sent to this process. Ids are no secret to those
    /// who can read a share: what another share holds must be sent, to prove that it is there to be sent.
    fn may_use_unseen(&self, share: ShareId, id: &ChunkId) -> bool {
        self.chunks.is_free_for(share, id)
    }

    /// Whether anything of a share can be taken now: not if the owner deleted it, if what is known of it is to be made
    /// again, or if the disk failed to write.
    fn check_takes(&self, share: ShareId) -> Result<(), StorageError> {
        self.check_not_gone(share)?;
        let not_now = |detail: &str| Err(StorageError::NotNow(detail.to_owned()));
        if self.has_failed_to_write() {
            return not_now(
                "the disk failed to write; nothing is taken until it has shown that it can again",
            );
        }
        if self.shares.is_damaged(share) {
            return not_now("the share's records here were damaged, and are being made again");
        }
        Ok(())
    }

    /// What the owner of a share deleted is not taken again.
    fn check_not_gone(&self, share: ShareId) -> Result<(), StorageError> {
        if self.gone.contains(share) {
            return Err(StorageError::Gone("its owner deleted the share"));
        }
        Ok(())
    }

    /// Keeps a share under a grant of nobody.
    #[cfg(test)]
    fn commit(&self, share: ShareId, request: CommitRequest) -> Result<ChunkSet, StorageError> {
        self.commit_under(Under::NOBODY, share, request)
    }

    /// Keeps a share for good: every chunk that is to be here is verified and synced before this
    /// returns the empty set. Otherwise returns the chunks that are missing.
    fn commit_under(
        &self,
        grant: Under,
        share: ShareId,
        request: CommitRequest,
    ) -> Result<ChunkSet, StorageError> {
        let manifest = Manifest::decode(request.manifest.0, share).map_err(StorageError::invalid)?;
        let terms = SignedTerms::verify(&request.terms, share).map_err(StorageError::invalid)?;
        if request.chunks.chunk_count() != manifest.geometry().chunk_count() {
            return Err(StorageError::invalid("the chunks are those of another number of chunks"));
        }
        let alone = self.locks.lock_for_commit(share)?;
        self.check_served(share)?;
        let manifest_bytes = manifest.encoded().len() as u64;
        self.check_quota(grant, share, manifest.geometry(), &request.chunks, (0, manifest_bytes))?;
        let missing = self.keep(&manifest, terms, &request.chunks, grant.token)?;
        drop(alone);
        crash::at(Point::ShareKept);
        if missing.is_empty() {
            self.uploads.lock().remove(&share);
            self.end_mark(share);
        }
        Ok(missing)
    }

    /// Keeps a share, and signs for what is kept.
    pub(super) fn commit_for_receipt(
        &self,
        key: &PeerKey,
        grant: Under,
        share: ShareId,
        request: CommitRequest,
    ) -> Result<CommitResponse, StorageError> {
        let (digest, chunks) = (ChunkId::of(&request.manifest.0), request.chunks.clone());
        // That a receipt can be made is known before anything is kept; it is given away only when all is.
        let receipt = key
            .receipt(share, digest, &chunks, clock::now_ms())
            .ok_or(StorageError::BadOffer("the chunks are more runs than a receipt names"))?;
        let missing = self.commit_under(grant, share, request)?;
        let receipt = missing.is_empty().then_some(receipt);
        Ok(CommitResponse { missing, receipt })
    }

    /// The files that a crash may tear.
    #[cfg(test)]
    pub(super) fn unsynced(&self) -> Vec<(ChunkId, PathBuf)> {
        self.chunks.unsynced()
    }

    /// Has so many of the next syncs fail.
    #[cfg(test)]
    pub(super) fn fail_syncs(&self, count: u32) {
        self.chunks.failing.store(count, std::sync::atomic::Ordering::Relaxed);
    }

    /// Commits a share, which is locked, with `arrived` beside the chunks that are held already, provided that every
    /// chunk in `arrived` is on the disk and verifies. Returns the missing ones. What was held before is not read: the
    /// scrub reports what it finds there, and damage to it must not stand in a new chunk's way.
    fn keep(
        &self,
        manifest: &Manifest,
        terms: SignedTerms,
        arrived: &ChunkSet,
        token: Option<TokenId>,
    ) -> Result<ChunkSet, StorageError> {
        let share = manifest.share();
        self.check_takes(share)?;
        if terms.is_over(clock::now_ms()) {
            return Err(StorageError::Gone("the share's terms are over"));
        }
        let held = self.shares.get(share).map(|held| held.chunks);
        if held.is_some() {
            let known = self.shares.manifest(share)?;
            if known != *manifest {
                return Err(StorageError::OtherManifest);
            }
        } else {
            self.check_room(share, manifest.encoded().len() as u64)?;
            // A directory with a mark and without a manifest is an upload that was never confirmed.
            self.marks.add(share, &[])?;
        }
        let held = held.unwrap_or_else(|| ChunkSet::empty(arrived.chunk_count()));
        let mut refs = NewRefs { storage: self, share, ids: Vec::new() };
        let (present, missing) = self.add_refs_to_present(manifest, arrived, &mut refs)?;
        if missing.is_empty() {
            // All that the record speaks of is on the disk before the record is written.
            self.add_to_several(share, &refs.ids)?;
            self.sync(&present)?;
            crash::at(Point::ChunksSynced);
            // A commit only ever adds: what is held already was acknowledged, too.
            let commit = self.shares.commit(manifest, terms, held.plus(arrived), token);
            commit.map_err(|error| self.record_failure(error))?;
            // From here on the references stay. On every other way out `NewRefs` releases them.
            refs.ids.clear();
            tracing::info!(%share, chunks = present.len(), "share committed");
        }
        Ok(missing)
    }

    /// Notes of the chunks to which a share refers from now on those that came for another one.
    fn add_to_several(&self, share: ShareId, added: &[ChunkId]) -> io::Result<()> {
        let mut others: Vec<ChunkId> = {
            let uploads = self.uploads.lock();
            let upload = uploads.get(&share);
            let is_own =
                |id: &ChunkId| upload.is_some_and(|it| it.arrived.contains(id) && !it.met.contains(id));
            added.iter().filter(|id| !is_own(id)).copied().collect()
        };
        if others.is_empty() {
            return Ok(());
        }
        // What came for this share before a restart is known by its mark.
        let own: HashSet<ChunkId> = self.marks.of(share)?.into_iter().collect();
        others.retain(|id| !own.contains(id));
        self.several.add(&others)
    }

    /// Makes chunks survive a crash. If that fails, everything that came since it succeeded last is in doubt.
    fn sync(&self, chunks: &[ChunkId]) -> Result<(), StorageError> {
        self.chunks.sync(chunks).map_err(|error| {
            if let SyncError::Now(error) = &error {
                tracing::error!(%error, "the disk failed to write: nothing is taken until it works again");
            }
            StorageError::NotNow(error.to_string())
        })
    }

    /// Makes an error of a record that could not be written. If the disk failed, nothing is taken until it works again.
    fn record_failure(&self, error: io::Error) -> StorageError {
        let is_failure = error.raw_os_error() == Some(rustix::io::Errno::IO.raw_os_error());
        if is_failure && self.chunks.syncs.fail() {
            tracing::error!(%error, "the disk failed to write: nothing is taken until it works again");
        }
        error.into()
    }

    /// Has the share refer to the chunks that are here and right, to each before it is looked at: from then on no end of
    /// another share takes it away. Returns which these are, and which are missing.
    fn add_refs_to_present(
        &self,
        manifest: &Manifest,
        arrived: &ChunkSet,
        refs: &mut NewRefs<'_>,
    ) -> Result<(Vec<ChunkId>, ChunkSet), StorageError> {
        let share = manifest.share();
        let shown = self.uploads.lock().get(&share).map(|upload| upload.arrived.clone()).unwrap_or_default();
        let mut missing = ChunkSet::empty(arrived.chunk_count());
        let mut present = Vec::new();
        for index in arrived.iter() {
            let id = manifest.chunk(index);
            // Whoever only knows the id of another share's chunk has to send it.
            if !shown.contains(&id) && !self.may_use_unseen(share, &id) {
                missing.insert(index);
                continue;
            }
            if self.chunks.add_ref(share, id) {
                refs.ids.push(id);
            }
            if self.chunks.verify(&id, manifest.geometry().sealed_len(index))? {
                present.push(id);
            } else {
                missing.insert(index);
            }
        }
        Ok((present, missing))
    }
}

/// References that hold while a share is being committed, and are released unless the list is emptied before.
struct NewRefs<'a> {
    storage: &'a Storage,
    share: ShareId,
    ids: Vec<ChunkId>,
}

impl NewRefs<'_> {
    /// What nobody holds then is what an upload left behind, and is marked as such.
    fn give_up(&self) -> io::Result<()> {
        let Storage { chunks, marks, .. } = self.storage;
        let last = |id: &&ChunkId| chunks.release(self.share, id) == Released::Last && chunks.contains(id);
        let left: Vec<ChunkId> = self.ids.iter().filter(last).copied().collect();
        let marked: HashSet<ChunkId> = marks.of(self.share)?.into_iter().collect();
        let new: Vec<ChunkId> = left.into_iter().filter(|id| !marked.contains(id)).collect();
        if new.is_empty() { Ok(()) } else { marks.add(self.share, &new) }
    }
}

impl Drop for NewRefs<'_> {
    fn drop(&mut self) {
        if !self.ids.is_empty()
            && let Err(error) = self.give_up()
        {
            tracing::warn!(share = %self.share, %error, "cannot mark what a commit that failed left behind");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::SystemTime;

    use parcelry_core::api::{ProblemKind, ShareChunks};
    use parcelry_core::duration::millis;
    use parcelry_core::geometry::{ChunkSize, Geometry};
    use parcelry_core::id::Secret;
    use parcelry_core::limits::{ORPHAN_AGE, RESERVATION_GRACE, TOKEN_UPLOADS_MAX};
    use parcelry_core::manifest::{Draft, ShareKey};
    use parcelry_core::seal::{Header, ShareKeys};
    use parcelry_core::terms::Terms;

    fn put(storage: &Storage, bytes: &[u8]) -> ChunkId {
        let mut pending = storage.chunks.create_chunk().unwrap();
        pending.write(bytes).unwrap();
        storage.chunks.complete(ChunkId::of(bytes), pending, || Ok(())).unwrap();
        ChunkId::of(bytes)
    }

    /// Manifest and terms of a share of these chunks.
    fn share_of(ids: &[ChunkId], total: u64) -> (Manifest, SignedTerms) {
        let key = ShareKey::from_seed(&Secret::from_bytes([1; 32]));
        let chunk_size = ChunkSize::from_log2(16).unwrap();
        let geometry = Geometry::new(total, chunk_size).unwrap();
        let keys = ShareKeys::derive(&Secret::from_bytes([2; 32]), &[3; 32], Header { chunk_size });
        let manifest = Draft::new(&key, &keys, &[3; 32], geometry, ids).finish(&key, &keys, b"{}");
        let share = key.share_id();
        let expires_ms = clock::now_ms() + 3_600_000;
        let terms =
            Terms { share, issued_ms: 1, expires_ms, replicas: 1, access_sha256: [0; 32], deleted: false };
        (manifest, SignedTerms::sign(&key, terms))
    }

    /// Commits chunks of a share, which must all be here.
    fn commit(storage: &Storage, (manifest, terms): &(Manifest, SignedTerms), chunks: ChunkSet) {
        let request = CommitRequest {
            manifest: parcelry_core::api::Blob(manifest.encoded().to_vec()),
            terms: terms.token.clone(),
            chunks,
        };
        assert!(storage.commit(manifest.share(), request).unwrap().is_empty());
    }

    /// A chunk that is quarantined as damaged, by a scrub or a check, is off the share only a moment later.
    #[test]
    fn a_copy_is_kept_although_another_chunk_of_the_share_has_just_been_found_damaged() {
        let directory = tempfile::tempdir().unwrap();
        let bounds = Bounds { capacity_bytes: None, keep_free_bytes: 0 };
        ChunkStore::create(directory.path()).unwrap();
        let storage = Storage::open(directory.path(), bounds).unwrap();
        let sealed = [1, 2, 3].map(|byte| vec![byte; (1 << 16) + 16]);
        let ids = [&sealed[0], &sealed[1], &sealed[2]].map(|bytes| ChunkId::of(bytes));
        let share = share_of(&ids, 3 << 16);
        let set =
            |numbers: &[u32]| ChunkSet::of(3, numbers.iter().map(|&n| share.0.geometry().index(n).unwrap()));
        put(&storage, &sealed[0]);
        put(&storage, &sealed[1]);
        commit(&storage, &share, set(&[0, 1]));

        let name = ids[1].to_string();
        std::fs::write(directory.path().join("chunks").join(&name[..2]).join(&name), b"rot").unwrap();
        assert!(!storage.chunks.reverify(&ids[1], (1 << 16) + 16).unwrap());
        put(&storage, &sealed[2]);
        assert!(storage.keep_copied(&share.0, share.1.clone(), &set(&[2])).unwrap().is_empty());

        let lost = storage.mark_lost(&HashSet::from([ids[1]]));
        assert_eq!(lost, [ShareChunks { share: share.0.share(), chunks: set(&[1]) }], "and it is reported");
        assert_eq!(storage.shares.get(share.0.share()).unwrap().chunks, set(&[0, 2]));
    }

    #[test]
    fn s8_what_no_good_sync_covers_or_a_commit_may_give_up_is_promised_to_nobody() {
        let directory = tempfile::tempdir().unwrap();
        ChunkStore::create(directory.path()).unwrap();
        let storage =
            Storage::open(directory.path(), Bounds { capacity_bytes: None, keep_free_bytes: 0 }).unwrap();
        let id = put(&storage, &[1; 18]);
        let both = share_of(&[id], 2);
        {
            // As in a commit, which comes to nothing.
            let share = both.0.share();
            let _alone = storage.locks.lock(share);
            let mut refs = NewRefs { storage: &storage, share, ids: Vec::new() };
            let (present, _) = storage.add_refs_to_present(&both.0, &ChunkSet::full(1), &mut refs).unwrap();
            assert_eq!(present, [id]);
            assert!(!storage.is_lasting(&id), "it may not be on the disk");
            storage.sync(&present).unwrap();
            assert!(!storage.is_lasting(&id), "the share's record is not written");
        }
        assert!(!storage.is_lasting(&id), "no share holds it");
        commit(&storage, &both, ChunkSet::full(1));
        assert!(storage.is_lasting(&id));
        // It rots, and comes again: the share holds it still, and it may not be on the disk.
        std::fs::write(storage.chunks.path(&id), [2; 18]).unwrap();
        assert!(!storage.chunks.reverify(&id, 18).unwrap());
        assert_eq!(put(&storage, &[1; 18]), id);
        assert!(!storage.is_lasting(&id), "no sync covers it");
        storage.sync(&[id]).unwrap();
        assert!(storage.is_lasting(&id));
    }

    #[test]
    fn a_share_is_let_go_of_although_a_former_record_of_it_is_still_leaving() {
        let directory = tempfile::tempdir().unwrap();
        ChunkStore::create(directory.path()).unwrap();
        let bounds = Bounds { capacity_bytes: None, keep_free_bytes: 0 };
        let storage = Storage::open(directory.path(), bounds).unwrap();
        let id = put(&storage, &[1; 18]);
        let both = share_of(&[id], 2);
        commit(&storage, &both, ChunkSet::full(1));
        let share = both.0.share();
        let leaving = directory.path().join("leaving");
        let former = leaving.join(share.to_string());
        std::fs::create_dir(&former).unwrap();
        for name in ["manifest", "chunks"] {
            let record = directory.path().join("shares").join(share.to_string()).join(name);
            std::fs::copy(record, former.join(name)).unwrap();
        }
        let key = ShareKey::from_seed(&Secret::from_bytes([1; 32]));
        let deletion = SignedTerms::sign(&key, Terms { deleted: true, ..*both.1 });
        storage.put_terms(deletion).unwrap();
        assert!(storage.shares.get(share).is_none() && !storage.chunks.contains(&id));
        storage.finish_leaving().unwrap();
        assert_eq!(std::fs::read_dir(&leaving).unwrap().count(), 0);
    }

    #[test]
    fn s5_a_manifest_that_rots_while_the_peer_runs_is_noticed_by_whoever_reads_it_and_made_again() {
        let directory = tempfile::tempdir().unwrap();
        let bounds = Bounds { capacity_bytes: None, keep_free_bytes: 0 };
        ChunkStore::create(directory.path()).unwrap();
        let storage = Storage::open(directory.path(), bounds).unwrap();
        let (manifest, terms) = share_of(&[put(&storage, b"a chunk of a share")], 2);
        let share = manifest.share();
        commit(&storage, &(manifest.clone(), terms.clone()), ChunkSet::full(1));
        let wanted = (manifest.digest(), Some(share));
        let path = directory.path().join(format!("shares/{share}/manifest"));
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[40] ^= 1;
        std::fs::write(path, bytes).unwrap();
        assert!(storage.shares.damaged().is_empty());

        assert!(storage.read_whole(wanted).is_err(), "an audit refutes nothing");
        assert_eq!(storage.shares.damaged(), [share]);
        let known = || {
            let manifest = parcelry_core::api::Blob(manifest.encoded().to_vec());
            Sources::new(share, Some(manifest), Some(terms.token.clone()))
        };
        assert!(storage.mend(share, known()).unwrap());
        assert_eq!(storage.read_whole(wanted).unwrap().unwrap(), manifest.encoded());
        assert!(storage.shares.is_whole() && storage.shares.unsettled().is_empty());
        assert_eq!(storage.shares.get(share).unwrap().chunks, ChunkSet::full(1));
        // What is deleted while it is damaged is gone for good.
        std::fs::write(directory.path().join(format!("shares/{share}/manifest")), b"rot").unwrap();
        assert!(storage.shares.manifest(share).is_err());
        let deleted = Terms { deleted: true, issued_ms: 2, ..*terms };
        let key = ShareKey::from_seed(&Secret::from_bytes([1; 32]));
        storage.put_terms(SignedTerms::sign(&key, deleted)).unwrap();
        assert!(storage.shares.is_whole() && storage.shares.get(share).is_none());
        assert_eq!(storage.chunks.used_bytes(), 0);
    }

    #[test]
    fn of_all_terms_that_come_in_any_order_the_latest_count() {
        let directory = tempfile::tempdir().unwrap();
        let bounds = Bounds { capacity_bytes: None, keep_free_bytes: 0 };
        ChunkStore::create(directory.path()).unwrap();
        let storage = Storage::open(directory.path(), bounds).unwrap();
        let (manifest, first) = share_of(&[put(&storage, b"a chunk of a share")], 2);
        let issued = |issued_ms| {
            let key = ShareKey::from_seed(&Secret::from_bytes([1; 32]));
            let expires_ms = first.expires_ms + issued_ms;
            SignedTerms::sign(&key, Terms { issued_ms, expires_ms, ..*first })
        };
        let held = |storage: &Storage| storage.shares.get(manifest.share()).unwrap().terms.issued_ms;
        commit(&storage, &(manifest.clone(), issued(3)), ChunkSet::full(1));
        for (issued_ms, latest) in [(5, 5), (4, 5), (5, 5), (7, 7), (1, 7)] {
            storage.put_terms(issued(issued_ms)).unwrap();
            assert_eq!(held(&storage), latest, "after those of {issued_ms}");
        }
        commit(&storage, &(manifest.clone(), issued(6)), ChunkSet::full(1));
        assert_eq!(held(&storage), 7, "a commit brings none back");
        drop(storage);
        assert_eq!(held(&Storage::open(directory.path(), bounds).unwrap()), 7, "nor does a restart");
    }

    #[test]
    fn an_offer_that_is_made_again_keeps_what_arrives_meanwhile() {
        let directory = tempfile::tempdir().unwrap();
        ChunkStore::create(directory.path()).unwrap();
        let storage =
            Storage::open(directory.path(), Bounds { capacity_bytes: None, keep_free_bytes: 0 }).unwrap();
        let (share, ids) = (ShareId::from_bytes([9; 32]), [b"one", b"two"].map(|bytes| ChunkId::of(bytes)));
        let geometry = Geometry::new(2 << 16, ChunkSize::from_log2(16).unwrap()).unwrap();
        let full = ChunkSet::full(2);
        storage.reserve(Under::NOBODY, share, &geometry, &full, std::iter::empty()).unwrap();
        let arrives = || {
            assert!(
                storage.admit(share, ids[0], (1 << 16) + 16).unwrap(),
                "it is taken while others are read"
            );
            put(&storage, b"one");
            storage.uploads.lock().get_mut(&share).unwrap().arrived.insert(ids[0]);
            (geometry.index(1).unwrap(), ids[1])
        };
        storage.reserve(Under::NOBODY, share, &geometry, &full, std::iter::once_with(arrives)).unwrap();
        assert!(!storage.admit(share, ids[0], (1 << 16) + 16).unwrap(), "it has arrived");
    }

    #[test]
    fn s11_space_that_was_reserved_in_vain_is_there_for_others() {
        let directory = tempfile::tempdir().unwrap();
        ChunkStore::create(directory.path()).unwrap();
        let bounds = Bounds { capacity_bytes: Some(1_000_000), keep_free_bytes: 0 };
        let storage = Storage::open(directory.path(), bounds).unwrap();
        let size = |bytes| Geometry::new(bytes, ChunkSize::from_log2(16).unwrap()).unwrap();
        let (all, some) = (size(900_000), size(100_000));
        let offer = |token, share, geometry: &Geometry| {
            let token = Some(TokenId::from_bytes([token; 8]));
            let grant = Under { token, budget_bytes: 1_000_000, quota_bytes: None };
            let chunks = ChunkSet::full(geometry.chunk_count());
            let share = ShareId::from_bytes([share; 32]);
            storage.reserve(grant, share, geometry, &chunks, std::iter::empty()).map(drop)
        };
        let wait = |share| {
            let mut uploads = storage.uploads.lock();
            let reservation = &mut uploads.get_mut(&ShareId::from_bytes([share; 32])).unwrap().reservation;
            reservation.since_ms = reservation.since_ms.saturating_sub(2 * millis(RESERVATION_GRACE));
        };
        let is_reserved = |share| storage.uploads.lock().contains_key(&ShareId::from_bytes([share; 32]));
        offer(1, 1, &all).unwrap();
        assert_eq!(offer(2, 2, &some).unwrap_err().kind(), ProblemKind::NoSpace);
        wait(1);
        assert!(storage.usage().free_bytes > 990_000, "the tracker is told of it");
        offer(2, 2, &some).unwrap();
        assert!(!is_reserved(1), "there was not room for both");
        // Who wasted it may have what is left, and gives way at once.
        assert!(offer(1, 1, &all).is_err());
        offer(1, 3, &size(700_000)).unwrap();
        wait(3);
        offer(2, 4, &size(700_000)).unwrap();
        assert!(!is_reserved(3) && is_reserved(2));
        // Nobody takes more than the grant says.
        let grant = Under { budget_bytes: 100, ..Under::NOBODY };
        let refused = storage.reserve(
            grant,
            ShareId::from_bytes([7; 32]),
            &some,
            &ChunkSet::full(2),
            std::iter::empty(),
        );
        assert_eq!(refused.unwrap_err().kind(), ProblemKind::NoSpace);
    }

    #[test]
    fn s11_one_token_has_a_bounded_number_of_uploads_under_way() {
        let directory = tempfile::tempdir().unwrap();
        ChunkStore::create(directory.path()).unwrap();
        let storage =
            Storage::open(directory.path(), Bounds { capacity_bytes: None, keep_free_bytes: 0 }).unwrap();
        let geometry = Geometry::new(1, ChunkSize::from_log2(16).unwrap()).unwrap();
        let offer = |token: u8, number: u64| {
            let token = Some(TokenId::from_bytes([token; 8]));
            let mut share = [0; 32];
            share[..8].copy_from_slice(&number.to_le_bytes());
            let grant = Under { token, budget_bytes: 100, quota_bytes: None };
            storage.reserve(
                grant,
                ShareId::from_bytes(share),
                &geometry,
                &ChunkSet::full(1),
                std::iter::empty(),
            )
        };
        for number in 0..TOKEN_UPLOADS_MAX {
            offer(1, number).unwrap();
        }
        // A share that is offered again is not one more.
        offer(1, 0).unwrap();
        let refused = offer(1, TOKEN_UPLOADS_MAX).unwrap_err().kind();
        assert_eq!(refused, ProblemKind::QuotaExceeded);
        offer(2, TOKEN_UPLOADS_MAX).unwrap();
    }

    #[test]
    fn s5_only_what_a_mark_names_is_collected_and_it_is_set_aside_first() {
        let directory = tempfile::tempdir().unwrap();
        let bounds = Bounds { capacity_bytes: None, keep_free_bytes: 0 };
        ChunkStore::create(directory.path()).unwrap();
        let storage = Storage::open(directory.path(), bounds).unwrap();
        let [held, sent, left, unmarked, young] =
            [&b"a chunk of a share"[..], b"coming", b"left behind", b"of nobody", b"just came"]
                .map(|b| put(&storage, b));
        let [mine, going, gone, new] = [1, 7, 8, 9].map(|number| ShareId::from_bytes([number; 32]));
        storage.marks.add(going, &[sent]).unwrap();
        storage.marks.add(gone, &[left, held]).unwrap();
        storage.marks.add(mine, &[held]).unwrap();
        let share = share_of(&[held], 2);
        commit(&storage, &share, ChunkSet::full(1));
        let now_ms = clock::monotonic_ms();
        let reservation = Reservation { token: None, bytes: 0, arrived_bytes: 0, since_ms: now_ms };
        let (arrived, met) = (HashSet::from([sent]), HashSet::new());
        let upload = Upload { reservation, arrived, met, touched_ms: now_ms };
        storage.uploads.lock().insert(going, upload);
        let age = ORPHAN_AGE + std::time::Duration::from_secs(60);
        let old = SystemTime::from(clock::moment(clock::now_ms())) - age;
        for mark in std::fs::read_dir(directory.path().join("uploads")).unwrap() {
            let file = std::fs::File::options().write(true).open(mark.unwrap().path()).unwrap();
            file.set_modified(old).unwrap();
        }
        storage.marks.add(new, &[young]).unwrap();
        let manifest = directory.path().join(format!("shares/{}/manifest", share.0.share()));
        // While the share's record cannot be read, what the marks name may be its own.
        std::fs::write(&manifest, b"rot").unwrap();
        assert!(storage.shares.manifest(share.0.share()).is_err());
        assert_eq!(storage.collect_unfinished().unwrap(), 1, "what came for that upload alone");
        let known = parcelry_core::api::Blob(share.0.encoded().to_vec());
        storage.mend(share.0.share(), Sources::new(share.0.share(), Some(known), None)).unwrap();
        assert_eq!(storage.collect_unfinished().unwrap(), 0);
        let is_here = |id: ChunkId| storage.chunks.contains(&id);
        assert_eq!([held, sent, left, unmarked, young].map(is_here), [true, true, false, true, true]);
        let aside = directory.path().join("aside").join(format!("{left}.unfinished"));
        assert_eq!(std::fs::read(aside).unwrap(), b"left behind");
        assert!(storage.marks.has(going) && storage.marks.has(new) && !storage.marks.has(gone));
        assert_eq!(storage.strays().unwrap(), 1, "what nobody knows is counted, and kept");
        assert_eq!(storage.collect_unfinished().unwrap(), 0);
    }
}
