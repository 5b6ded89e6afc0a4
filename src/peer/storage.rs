//! What a peer does with its disk: makes promises (offer), keeps them (put, commit), and lets go.

use std::collections::{HashMap, HashSet};
use std::io;
use std::path::Path;
use std::time::{Duration, SystemTime};

use parking_lot::{Mutex, RwLock};
use swarmdrop_core::api::{CommitRequest, OfferRequest, ProblemKind, ShareChunks};
use swarmdrop_core::chunk_set::ChunkSet;
use swarmdrop_core::duration::millis;
use swarmdrop_core::geometry::{ChunkIndex, Geometry};
use swarmdrop_core::id::{ChunkId, ShareId};
use swarmdrop_core::limits::{ORPHAN_AGE, RESERVATION_IDLE, SET_ASIDE};
use swarmdrop_core::manifest::Manifest;
use swarmdrop_core::registry::Usage;
use swarmdrop_core::terms::SignedTerms;

use super::chunk_store::{ChunkStore, PutError};
use super::share_store::ShareStore;
use crate::clock;
use crate::crash::{self, Point};
use crate::failure::Failure;
use crate::server::Refusal;

/// Chunks, shares and promises of one peer. Its methods block on the disk.
#[derive(Debug)]
pub(super) struct Storage {
    pub(super) chunks: ChunkStore,
    pub(super) shares: ShareStore,
    bounds: Bounds,
    uploads: Mutex<HashMap<ShareId, Upload>>,
    /// Held for reading while a share is committed, for writing while what shares hold changes otherwise.
    commits: RwLock<()>,
}

/// How much of the disk a peer may fill.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    /// Bytes of chunks; `None`: as many as the disk takes.
    pub(super) capacity_bytes: Option<u64>,
    /// Bytes to leave free on the disk.
    pub(super) keep_free_bytes: u64,
}

/// Space that was promised to a share whose chunks are arriving.
#[derive(Debug)]
struct Upload {
    reserved_bytes: u64,
    arrived: HashSet<ChunkId>,
    touched_ms: u64,
}

impl Storage {
    /// Opens what the peer holds below `root`.
    pub(super) fn open(root: &Path, bounds: Bounds) -> Result<Self, Failure> {
        let chunks = ChunkStore::open(root)?;
        let claim = |manifest: &Manifest, held: &ChunkSet| {
            let mut here = held.clone();
            for index in held.iter().filter(|&index| !chunks.contains(&manifest.chunk(index))) {
                tracing::warn!(share = %manifest.share(), %index, "a chunk is gone");
                here.remove(index);
            }
            chunks.claim(here.iter().map(|index| manifest.chunk(index)));
            here
        };
        let shares = ShareStore::open(&root.join("shares"), claim)?;
        Ok(Self { chunks, shares, bounds, uploads: Mutex::default(), commits: RwLock::default() })
    }

    /// Bytes used, and bytes that may still be promised.
    pub(super) fn usage(&self) -> io::Result<Usage> {
        self.usage_beside(None)
    }

    /// The same without what is promised to one share.
    fn usage_beside(&self, beside: Option<ShareId>) -> io::Result<Usage> {
        let used_bytes = self.chunks.used_bytes() + self.chunks.aside_bytes();
        let on_disk = self.chunks.disk_free_bytes()?.saturating_sub(self.bounds.keep_free_bytes);
        let in_capacity =
            self.bounds.capacity_bytes.map_or(u64::MAX, |bytes| bytes.saturating_sub(used_bytes));
        let promised = self.uploads.lock();
        let others = promised.iter().filter(|(share, _)| Some(**share) != beside);
        let promised: u64 = others.map(|(_, upload)| upload.reserved_bytes).sum();
        Ok(Usage { used_bytes, free_bytes: on_disk.min(in_capacity).saturating_sub(promised) })
    }

    /// The same for a heartbeat: a disk that cannot be written to has no room.
    pub(super) fn usage_now(&self) -> Usage {
        let usage = self.usage().unwrap_or_default();
        if self.chunks.is_writable() { usage } else { Usage { free_bytes: 0, ..usage } }
    }

    /// Bytes that the peer is willing to hold in all.
    pub(super) fn capacity_bytes(&self) -> io::Result<u64> {
        let usage = self.usage()?;
        Ok(self.bounds.capacity_bytes.unwrap_or(usage.used_bytes.saturating_add(usage.free_bytes)))
    }

    /// Reserves space for a share; the chunks of it that are here already.
    pub(super) fn offer(&self, share: ShareId, request: &OfferRequest) -> Result<ChunkSet, Refusal> {
        let bad = |detail: &str| Refusal::new(ProblemKind::BadRequest, detail);
        let geometry = request.size.geometry().ok_or_else(|| bad("no share has this size"))?;
        if request.chunks.chunk_count() != geometry.chunk_count() {
            return Err(bad("the chunks are those of another number of chunks"));
        }
        let mut known = Vec::new();
        for run in &request.known {
            known.extend(run.chunks(&geometry).ok_or_else(|| bad("a known chunk is none of the share"))?);
        }
        self.reserve(share, &geometry, &request.chunks, known.into_iter())
    }

    /// Reserves space for chunks of a share. Of those whose ids are known, the ones that are here already.
    fn reserve(
        &self,
        share: ShareId,
        geometry: &Geometry,
        chunks: &ChunkSet,
        known: impl Iterator<Item = (ChunkIndex, ChunkId)>,
    ) -> Result<ChunkSet, Refusal> {
        let mut held = ChunkSet::empty(geometry.chunk_count());
        // Meanwhile the share's chunks are taken as before.
        let mut arrived = self.uploads.lock().get(&share).map(|now| now.arrived.clone()).unwrap_or_default();
        for (index, id) in known {
            let may_have = arrived.contains(&id) || self.may_claim_unseen(share, &id);
            let here = || self.chunks.verify(&id, geometry.sealed_len(index));
            if may_have && here().map_err(|error| Refusal::internal(&error))? {
                held.insert(index);
                arrived.insert(id);
            }
        }
        let missing = chunks.minus(&held);
        let needed: u64 = missing.iter().map(|index| geometry.sealed_len(index) as u64).sum();
        let free = self.usage_beside(Some(share)).map_err(|error| Refusal::internal(&error))?.free_bytes;
        if needed > free {
            let detail = format!("{needed} bytes are needed, {free} are free");
            return Err(Refusal::new(ProblemKind::NoSpace, detail));
        }
        let mut uploads = self.uploads.lock();
        if let Some(now) = uploads.remove(&share) {
            arrived.extend(now.arrived);
        }
        let upload = Upload { reserved_bytes: needed, arrived, touched_ms: clock::awake_ms() };
        uploads.insert(share, upload);
        drop(uploads);
        Ok(held)
    }

    /// Makes room for chunks of a share that are to be copied from other peers; those that are missing here.
    pub(super) fn begin_copy(&self, manifest: &Manifest, chunks: &ChunkSet) -> Result<ChunkSet, Refusal> {
        let known = || chunks.iter().map(|index| (index, manifest.chunk(index)));
        for (_, id) in known().filter(|(_, id)| !self.chunks.contains(id)) {
            self.chunks.restore(&id).map_err(|error| disk_refusal(&error))?;
        }
        let held = self.reserve(manifest.share(), manifest.geometry(), chunks, known())?;
        Ok(chunks.minus(&held))
    }

    /// Keeps chunks that were copied, beside those of the share that are held already. Returns what is missing,
    /// like [`Storage::commit`].
    pub(super) fn keep_copied(
        &self,
        manifest: &Manifest,
        terms: SignedTerms,
        chunks: &ChunkSet,
    ) -> Result<ChunkSet, Refusal> {
        self.keep(manifest, terms, chunks, |held| held.plus(chunks))
    }

    /// Ends a copy, whatever came of it: its reservation is over.
    pub(super) fn end_copy(&self, share: ShareId) {
        self.uploads.lock().remove(&share);
    }

    /// Whether a share may count on a chunk that it has not sent to this process. Ids are no secret to those
    /// who can read a share: what another share holds must be sent, to prove that it is there to be sent.
    fn may_claim_unseen(&self, share: ShareId, id: &ChunkId) -> bool {
        !self.chunks.is_claimed(id) || self.shares.get(share).is_some()
    }

    /// Whether a chunk of this many bytes is still to arrive for the share; no more than was promised.
    pub(super) fn admit(&self, share: ShareId, id: ChunkId, bytes: u64) -> Result<bool, Refusal> {
        let mut uploads = self.uploads.lock();
        let upload = uploads
            .get_mut(&share)
            .ok_or_else(|| Refusal::new(ProblemKind::Conflict, "the share was not offered here first"))?;
        upload.touched_ms = clock::awake_ms();
        if upload.arrived.contains(&id) {
            return Ok(false);
        }
        if bytes > upload.reserved_bytes {
            return Err(Refusal::new(ProblemKind::NoSpace, "more bytes than were offered"));
        }
        Ok(true)
    }

    /// Takes a chunk that has arrived; whether it had not arrived before.
    pub(super) fn put(
        &self,
        share: ShareId,
        id: ChunkId,
        bytes: u64,
        arriving: super::chunk_store::Arriving,
    ) -> Result<bool, Refusal> {
        self.chunks.finish(id, arriving).map_err(|error| match error {
            PutError::HashMismatch(_) => Refusal::new(ProblemKind::HashMismatch, error.to_string()),
            PutError::Io(error) => disk_refusal(&error),
        })?;
        let mut uploads = self.uploads.lock();
        let Some(upload) = uploads.get_mut(&share) else { return Ok(true) };
        let is_new = upload.arrived.insert(id);
        if is_new {
            upload.reserved_bytes = upload.reserved_bytes.saturating_sub(bytes);
        }
        Ok(is_new)
    }

    /// Takes a chunk that is in memory as a whole; like [`Storage::put`].
    pub(super) fn put_whole(&self, share: ShareId, id: ChunkId, sealed: &[u8]) -> Result<bool, Refusal> {
        let disk = |error: io::Error| disk_refusal(&error);
        let mut arriving = self.chunks.begin().map_err(disk)?;
        arriving.write(sealed).map_err(disk)?;
        self.put(share, id, sealed.len() as u64, arriving)
    }

    /// Keeps a share for good: every chunk that is to be here is verified and synced before this
    /// returns the empty set. Otherwise returns the chunks that are missing.
    pub(super) fn commit(&self, share: ShareId, request: CommitRequest) -> Result<ChunkSet, Refusal> {
        let invalid =
            |error: &dyn std::fmt::Display| Refusal::new(ProblemKind::InvalidShare, error.to_string());
        let manifest = Manifest::decode(request.manifest.0, share).map_err(|error| invalid(&error))?;
        let terms = SignedTerms::verify(&request.terms, share).map_err(|error| invalid(&error))?;
        if request.chunks.chunk_count() != manifest.geometry().chunk_count() {
            return Err(invalid(&"the chunks are those of another number of chunks"));
        }
        let chunks = request.chunks;
        let missing = self.keep(&manifest, terms, &chunks, |_| chunks.clone())?;
        crash::at(Point::ShareKept);
        if missing.is_empty() {
            self.uploads.lock().remove(&share);
        }
        Ok(missing)
    }

    /// Keeps of a share what `wanted` makes of what is held already, if all of `arrived` is here. What was held
    /// before is for the scrub to check: it reports what it finds, and must not stand in a new chunk's way.
    fn keep(
        &self,
        manifest: &Manifest,
        terms: SignedTerms,
        arrived: &ChunkSet,
        wanted: impl FnOnce(&ChunkSet) -> ChunkSet,
    ) -> Result<ChunkSet, Refusal> {
        let (share, geometry) = (manifest.share(), *manifest.geometry());
        if terms.terms.is_over(clock::now_ms()) {
            return Err(Refusal::new(ProblemKind::ShareGone, "the share's terms are over"));
        }
        if self.shares.get(share).is_some() {
            let known = self.shares.manifest(share).map_err(|error| Refusal::internal(&error))?;
            if known != *manifest {
                return Err(Refusal::new(ProblemKind::Conflict, "the share has another manifest already"));
            }
        }
        let _committing = self.commits.read();
        let before = self.shares.get(share).map(|held| held.chunks);
        let before = before.unwrap_or_else(|| ChunkSet::empty(geometry.chunk_count()));
        let chunks = wanted(&before);
        let mut missing = ChunkSet::empty(geometry.chunk_count());
        let mut present = Vec::new();
        let shown = self.uploads.lock().get(&share).map(|upload| upload.arrived.clone()).unwrap_or_default();
        for index in arrived.iter() {
            let id = manifest.chunk(index);
            if !shown.contains(&id) && !self.may_claim_unseen(share, &id) {
                missing.insert(index);
                continue;
            }
            match self.chunks.verify(&id, geometry.sealed_len(index)) {
                Ok(true) => present.push(id),
                Ok(false) => missing.insert(index),
                Err(error) => return Err(disk_refusal(&error)),
            }
        }
        if missing.is_empty() {
            self.chunks.settle(&present).map_err(|error| disk_refusal(&error))?;
            crash::at(Point::ChunksSynced);
            let (new, gone) = (chunks.minus(&before), before.minus(&chunks));
            let commit = self.shares.commit(manifest, terms, chunks);
            commit.map_err(|error| disk_refusal(&error))?;
            self.chunks.claim(new.iter().map(|index| manifest.chunk(index)));
            let gone = gone.iter().map(|index| manifest.chunk(index)).collect();
            self.release(gone).map_err(|error| disk_refusal(&error))?;
            tracing::info!(%share, chunks = present.len(), "share committed");
        }
        Ok(missing)
    }

    /// Reads chunks of a share again; what was lost with those that are damaged or gone, of this share and of
    /// others that held them, too.
    pub(super) fn check_again(&self, share: ShareId, chunks: &ChunkSet) -> io::Result<Vec<ShareChunks>> {
        let unknown = || vec![ShareChunks { share, chunks: chunks.clone() }];
        let Some(held) = self.shares.get(share) else { return Ok(unknown()) };
        let manifest = self.shares.manifest(share)?;
        if held.chunks.chunk_count() != chunks.chunk_count() {
            return Ok(Vec::new());
        }
        let mut bad = HashSet::new();
        for index in chunks.iter() {
            let id = manifest.chunk(index);
            if !self.chunks.check_again(&id, manifest.geometry().sealed_len(index))? {
                bad.insert(id);
            }
        }
        let not_held = chunks.minus(&held.chunks);
        let mut lost = self.lose(&bad)?;
        if !not_held.is_empty() {
            lost.push(ShareChunks { share, chunks: not_held });
        }
        Ok(lost)
    }

    /// Reads a chunk of this length again, as part of a scrub; what was lost if it is damaged.
    pub(super) fn scrub(&self, id: ChunkId, bytes: u64) -> io::Result<Vec<ShareChunks>> {
        let is_intact = self.chunks.check_again(&id, usize::try_from(bytes).unwrap_or(usize::MAX))?;
        // A chunk that was removed meanwhile is nobody's loss.
        if is_intact { Ok(Vec::new()) } else { self.lose(&HashSet::from([id])) }
    }

    /// Takes chunks off the shares that held them.
    fn lose(&self, ids: &HashSet<ChunkId>) -> io::Result<Vec<ShareChunks>> {
        let mut lost = Vec::new();
        if ids.is_empty() {
            return Ok(lost);
        }
        let _no_commit = self.commits.write();
        for share in self.shares.ids() {
            let Some(held) = self.shares.get(share) else { continue };
            let manifest = self.shares.manifest(share)?;
            let is_lost = |index: &ChunkIndex| ids.contains(&manifest.chunk(*index));
            let chunks = ChunkSet::of(held.chunks.chunk_count(), held.chunks.iter().filter(is_lost));
            if !chunks.is_empty() {
                tracing::warn!(%share, count = chunks.len(), "chunks were damaged or gone");
                self.shares.put_chunks(share, held.chunks.minus(&chunks))?;
                self.chunks.release(chunks.iter().map(|index| manifest.chunk(index)));
                lost.push(ShareChunks { share, chunks });
            }
        }
        Ok(lost)
    }

    /// Lets go of chunks of a share that enough other peers hold. They can be taken back for a day.
    pub(super) fn drop_surplus(&self, share: ShareId, chunks: &ChunkSet) -> io::Result<()> {
        let _no_commit = self.commits.write();
        let Some(held) = self.shares.get(share) else { return Ok(()) };
        if held.chunks.chunk_count() != chunks.chunk_count() {
            return Ok(());
        }
        let manifest = self.shares.manifest(share)?;
        let left = held.chunks.minus(chunks);
        let gone = held.chunks.minus(&left);
        if left.is_empty() {
            self.shares.remove(share)?;
        } else {
            self.shares.put_chunks(share, left)?;
        }
        tracing::info!(%share, chunks = gone.len(), "surplus dropped");
        let orphans = self.chunks.release(gone.iter().map(|index| manifest.chunk(index)));
        orphans.iter().try_for_each(|id| self.chunks.drop_surplus(id))
    }

    /// Takes over newer terms, and drops the share if they say so; whether the share is known.
    pub(super) fn put_terms(&self, terms: SignedTerms) -> io::Result<()> {
        let share = terms.terms.share;
        self.shares.put_terms(terms)?;
        // By their time terms are over when the clock says so, which is asked for elsewhere.
        self.drop_if_over(share, 0)
    }

    /// Drops what is over: promises that nobody took up and, if the clock is to be believed, shares by their
    /// terms.
    pub(super) fn expire(&self, clock_is_good: bool) -> io::Result<()> {
        let idle =
            |upload: &Upload| Duration::from_millis(clock::awake_ms().saturating_sub(upload.touched_ms));
        self.uploads.lock().retain(|_, upload| idle(upload) < RESERVATION_IDLE);
        let now_ms = if clock_is_good { clock::now_ms() } else { 0 };
        self.shares.ids().into_iter().try_for_each(|share| self.drop_if_over(share, now_ms))
    }

    /// Removes what was set aside long enough ago.
    pub(super) fn empty_aside(&self) -> io::Result<()> {
        self.chunks.empty_aside(long_ago(SET_ASIDE))
    }

    /// Removes what uploads that never ended have left behind: chunks of no share and no promise, long after
    /// the grant under which they came.
    pub(super) fn collect_orphans(&self) -> io::Result<usize> {
        // A commit that has seen a chunk here may count on it.
        let _no_commit = self.commits.write();
        let mut removed = 0;
        for id in self.chunks.unclaimed_before(long_ago(ORPHAN_AGE)) {
            let wanted = self.uploads.lock().values().any(|upload| upload.arrived.contains(&id));
            if !wanted {
                self.chunks.remove(&id)?;
                removed += 1;
            }
        }
        Ok(removed)
    }

    fn drop_if_over(&self, share: ShareId, now_ms: u64) -> io::Result<()> {
        if !self.shares.get(share).is_some_and(|held| held.terms.terms.is_over(now_ms)) {
            return Ok(());
        }
        let held = self.shares.remove(share)?;
        tracing::info!(%share, chunks = held.len(), "share dropped");
        self.release(held)
    }

    /// Lets go of a share's chunks: those that no other share holds or sends are removed.
    fn release(&self, chunks: Vec<ChunkId>) -> io::Result<()> {
        for id in self.chunks.release(chunks.into_iter()) {
            let arriving = self.uploads.lock().values().any(|upload| upload.arrived.contains(&id));
            if !arriving {
                self.chunks.remove(&id)?;
            }
        }
        Ok(())
    }
}

/// The moment so long ago, as files are dated.
fn long_ago(age: Duration) -> SystemTime {
    clock::moment(clock::now_ms().saturating_sub(millis(age))).into()
}

/// A full disk is the sender's business; any other failure is this peer's own.
pub(super) fn disk_refusal(error: &io::Error) -> Refusal {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            Refusal::new(ProblemKind::NoSpace, "the disk is full")
        }
        _ => Refusal::internal(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use swarmdrop_core::geometry::ChunkSize;
    use swarmdrop_core::id::Secret;
    use swarmdrop_core::manifest::{Draft, ShareKey};
    use swarmdrop_core::seal::{Header, ShareKeys};
    use swarmdrop_core::terms::Terms;

    fn put(storage: &Storage, bytes: &[u8]) -> ChunkId {
        let mut arriving = storage.chunks.begin().unwrap();
        arriving.write(bytes).unwrap();
        storage.chunks.finish(ChunkId::of(bytes), arriving).unwrap();
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
            manifest: swarmdrop_core::api::Blob(manifest.encoded().to_vec()),
            terms: terms.token.clone(),
            chunks,
        };
        assert!(storage.commit(manifest.share(), request).unwrap().is_empty());
    }

    /// A chunk that is set aside as damaged, by a scrub or a check, is off the share only a moment later.
    #[test]
    fn a_copy_is_kept_although_another_chunk_of_the_share_has_just_been_found_damaged() {
        let folder = tempfile::tempdir().unwrap();
        let bounds = Bounds { capacity_bytes: None, keep_free_bytes: 0 };
        ChunkStore::create(folder.path()).unwrap();
        let storage = Storage::open(folder.path(), bounds).unwrap();
        let sealed = [1, 2, 3].map(|byte| vec![byte; (1 << 16) + 16]);
        let ids = [&sealed[0], &sealed[1], &sealed[2]].map(|bytes| ChunkId::of(bytes));
        let share = share_of(&ids, 3 << 16);
        let set =
            |numbers: &[u32]| ChunkSet::of(3, numbers.iter().map(|&n| share.0.geometry().index(n).unwrap()));
        put(&storage, &sealed[0]);
        put(&storage, &sealed[1]);
        commit(&storage, &share, set(&[0, 1]));

        let name = ids[1].to_string();
        std::fs::write(folder.path().join("chunks").join(&name[..2]).join(&name), b"rot").unwrap();
        assert!(!storage.chunks.check_again(&ids[1], (1 << 16) + 16).unwrap());
        put(&storage, &sealed[2]);
        assert!(storage.keep_copied(&share.0, share.1.clone(), &set(&[2])).unwrap().is_empty());

        let lost = storage.lose(&HashSet::from([ids[1]])).unwrap();
        assert_eq!(lost, [ShareChunks { share: share.0.share(), chunks: set(&[1]) }], "and it is reported");
        assert_eq!(storage.shares.get(share.0.share()).unwrap().chunks, set(&[0, 2]));
    }

    #[test]
    fn an_offer_that_is_made_again_keeps_what_arrives_meanwhile() {
        let folder = tempfile::tempdir().unwrap();
        ChunkStore::create(folder.path()).unwrap();
        let storage =
            Storage::open(folder.path(), Bounds { capacity_bytes: None, keep_free_bytes: 0 }).unwrap();
        let (share, ids) = (ShareId::from_bytes([9; 32]), [b"one", b"two"].map(|bytes| ChunkId::of(bytes)));
        let geometry = Geometry::new(2 << 16, ChunkSize::from_log2(16).unwrap()).unwrap();
        let full = ChunkSet::full(2);
        storage.reserve(share, &geometry, &full, std::iter::empty()).unwrap();
        let arrives = || {
            assert!(
                storage.admit(share, ids[0], (1 << 16) + 16).unwrap(),
                "it is taken while others are read"
            );
            storage.uploads.lock().get_mut(&share).unwrap().arrived.insert(ids[0]);
            (geometry.index(1).unwrap(), ids[1])
        };
        storage.reserve(share, &geometry, &full, std::iter::once_with(arrives)).unwrap();
        assert!(!storage.admit(share, ids[0], (1 << 16) + 16).unwrap(), "it has arrived");
    }

    #[test]
    fn only_old_chunks_of_no_share_and_no_upload_are_collected() {
        let folder = tempfile::tempdir().unwrap();
        let bounds = Bounds { capacity_bytes: None, keep_free_bytes: 0 };
        ChunkStore::create(folder.path()).unwrap();
        let storage = Storage::open(folder.path(), bounds).unwrap();
        let [held, sent, orphan, young] =
            [b"a chunk of a share", b"one that is coming", b"one of nobody left", b"one that just came"]
                .map(|bytes| put(&storage, bytes));
        commit(&storage, &share_of(&[held], 2), ChunkSet::full(1));
        let upload =
            Upload { reserved_bytes: 0, arrived: HashSet::from([sent]), touched_ms: clock::awake_ms() };
        storage.uploads.lock().insert(ShareId::from_bytes([9; 32]), upload);
        let old = SystemTime::from(clock::moment(clock::now_ms()))
            - ORPHAN_AGE
            - std::time::Duration::from_secs(60);
        for id in [held, sent, orphan] {
            let name = id.to_string();
            let path = folder.path().join("chunks").join(&name[..2]).join(name);
            std::fs::File::options().write(true).open(path).unwrap().set_modified(old).unwrap();
        }
        assert_eq!(storage.collect_orphans().unwrap(), 1);
        assert_eq!(
            [held, sent, orphan, young].map(|id| storage.chunks.contains(&id)),
            [true, true, false, true]
        );
        assert_eq!(storage.collect_orphans().unwrap(), 0);
    }
}
