//! What a peer does with its disk: makes promises (offer) and keeps them (put, commit). How it lets go stands in
//! `src/peer/letting_go.rs`.
//!
//! Locks, always in this order: the share's (`src/peer/share_locks.rs`), held around everything that changes what is
//! held of it; a chunk's name, and the index (`src/peer/chunk_store.rs`). Those of uploads, shares and deleted shares
//! are taken last, one at a time, and never across I/O.

use std::collections::{HashMap, HashSet};
use std::io;
use std::path::Path;

use parking_lot::Mutex;
use swarmdrop_core::api::{CommitRequest, OfferRequest, ProblemKind};
use swarmdrop_core::chunk_set::ChunkSet;
use swarmdrop_core::geometry::{ChunkIndex, Geometry};
use swarmdrop_core::id::{ChunkId, ShareId};
use swarmdrop_core::limits::TOKEN_UPLOADS_MAX;
use swarmdrop_core::manifest::Manifest;
use swarmdrop_core::registry::Usage;
use swarmdrop_core::reservation::{Reservation, Wasteful};
use swarmdrop_core::terms::SignedTerms;
use swarmdrop_core::token::TokenId;

use super::chunk_file::{Arriving, PutError};
use super::chunk_store::ChunkStore;
use super::gone::GoneShares;
use super::share_locks::ShareLocks;
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
    pub(super) gone: GoneShares,
    bounds: Bounds,
    pub(super) uploads: Mutex<HashMap<ShareId, Upload>>,
    pub(super) locks: ShareLocks,
    /// Taken before `uploads`.
    wasteful: Mutex<Wasteful>,
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
pub(super) struct Upload {
    promise: Reservation,
    pub(super) arrived: HashSet<ChunkId>,
    pub(super) touched_ms: u64,
}

/// What an offer's grant says.
#[derive(Debug, Clone, Copy)]
pub(super) struct Under {
    /// The token that is charged; `None`: nobody's.
    pub(super) token: Option<TokenId>,
    /// Bytes that may be stored.
    pub(super) budget_bytes: u64,
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
            chunks.claim_committed(manifest.share(), here.iter().map(|index| manifest.chunk(index)));
            here
        };
        let (shares, gone) = (ShareStore::open(root, claim)?, GoneShares::open(root)?);
        let (uploads, locks) = (Mutex::default(), ShareLocks::default());
        let wasteful = Mutex::default();
        let storage = Self { chunks, shares, gone, bounds, uploads, locks, wasteful };
        let failed = |error| Failure::io("remove what is over from", root, &error);
        storage.finish_leaving().map_err(failed)?;
        Ok(storage)
    }

    /// Bytes used, and bytes that may still be promised. What was promised to somebody who makes no use of it is
    /// there for others.
    pub(super) fn usage(&self) -> io::Result<Usage> {
        self.usage_beside(None)
    }

    /// The same without what is promised to one share.
    fn usage_beside(&self, beside: Option<ShareId>) -> io::Result<Usage> {
        let used_bytes = self.chunks.used_bytes() + self.chunks.aside_bytes();
        let on_disk = self.chunks.disk_free_bytes()?.saturating_sub(self.bounds.keep_free_bytes);
        let in_capacity =
            self.bounds.capacity_bytes.map_or(u64::MAX, |bytes| bytes.saturating_sub(used_bytes));
        let (now_ms, wasteful, uploads) = (clock::awake_ms(), self.wasteful.lock(), self.uploads.lock());
        let others = uploads.iter().filter(|(share, _)| Some(**share) != beside);
        let promises = others.map(|(_, upload)| &upload.promise);
        let promised: u64 = promises.filter(|it| it.holds(&wasteful, now_ms)).map(|it| it.bytes).sum();
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

    /// Reserves space for a share under a grant of nobody, with no bound of its own.
    #[cfg(test)]
    pub(super) fn offer(&self, share: ShareId, request: &OfferRequest) -> Result<ChunkSet, Refusal> {
        self.offer_under(Under { token: None, budget_bytes: u64::MAX }, share, request)
    }

    /// Reserves space for a share; the chunks of it that are here already.
    pub(super) fn offer_under(
        &self,
        grant: Under,
        share: ShareId,
        request: &OfferRequest,
    ) -> Result<ChunkSet, Refusal> {
        let bad = |detail: &str| Refusal::new(ProblemKind::BadRequest, detail);
        self.check_not_gone(share)?;
        let geometry = request.size.geometry().ok_or_else(|| bad("no share has this size"))?;
        if request.chunks.chunk_count() != geometry.chunk_count() {
            return Err(bad("the chunks are those of another number of chunks"));
        }
        let mut known = Vec::new();
        for run in &request.known {
            known.extend(run.chunks(&geometry).ok_or_else(|| bad("a known chunk is none of the share"))?);
        }
        self.reserve(grant, share, &geometry, &request.chunks, known.into_iter())
    }

    /// Reserves space for chunks of a share. Of those whose ids are known, the ones that are here already.
    fn reserve(
        &self,
        grant: Under,
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
        if needed > grant.budget_bytes {
            return Err(Refusal::new(ProblemKind::NoSpace, "more bytes than the grant allows"));
        }
        let free = self.usage_beside(Some(share)).map_err(|error| Refusal::internal(&error))?.free_bytes;
        if needed > free {
            let detail = format!("{needed} bytes are needed, {free} are free");
            return Err(Refusal::new(ProblemKind::NoSpace, detail));
        }
        self.promise(grant.token, share, needed, free, arrived)?;
        Ok(held)
    }

    /// Promises space to a share of which these chunks have arrived; so many bytes are free, but for what others were
    /// promised and make no use of: if need be, those promises end.
    fn promise(
        &self,
        token: Option<TokenId>,
        share: ShareId,
        needed: u64,
        free: u64,
        mut arrived: HashSet<ChunkId>,
    ) -> Result<(), Refusal> {
        let (now_ms, mut wasteful, mut uploads) =
            (clock::awake_ms(), self.wasteful.lock(), self.uploads.lock());
        let of_token =
            uploads.iter().filter(|(other, upload)| **other != share && upload.promise.token == token);
        if token.is_some() && of_token.count() as u64 >= TOKEN_UPLOADS_MAX {
            let what =
                "too many shares are being sent here with this invite: finish one of them, or wait an hour";
            return Err(Refusal::new(ProblemKind::QuotaExceeded, what));
        }
        let mut since = (now_ms, 0);
        if let Some(now) = uploads.remove(&share) {
            // Asked for again, a promise is not younger than it was, unless it no longer held.
            if now.promise.holds(&wasteful, now_ms) {
                since = (now.promise.since_ms, now.promise.arrived_bytes);
            } else {
                wasteful.note(now.promise.token, now_ms);
            }
            arrived.extend(now.arrived);
        }
        let is_idle = |upload: &Upload| upload.promise.bytes > 0 && !upload.promise.holds(&wasteful, now_ms);
        let idle: Vec<_> = uploads.iter().filter(|(_, upload)| is_idle(upload)).map(|(id, _)| *id).collect();
        let idle_bytes: u64 = idle.iter().map(|id| uploads[id].promise.bytes).sum();
        if needed > free.saturating_sub(idle_bytes) {
            for upload in idle.iter().filter_map(|id| uploads.remove(id)) {
                wasteful.note(upload.promise.token, now_ms);
            }
        }
        let promise = Reservation { token, bytes: needed, arrived_bytes: since.1, since_ms: since.0 };
        uploads.insert(share, Upload { promise, arrived, touched_ms: now_ms });
        Ok(())
    }

    /// Makes room for chunks of a share that are to be copied from other peers; those that are missing here.
    pub(super) fn begin_copy(&self, manifest: &Manifest, chunks: &ChunkSet) -> Result<ChunkSet, Refusal> {
        self.check_not_gone(manifest.share())?;
        let known = || chunks.iter().map(|index| (index, manifest.chunk(index)));
        for (_, id) in known().filter(|(_, id)| !self.chunks.contains(id)) {
            self.chunks.restore(&id).map_err(|error| disk_refusal(&error))?;
        }
        let held = self.reserve(
            Under { token: None, budget_bytes: u64::MAX },
            manifest.share(),
            manifest.geometry(),
            chunks,
            known(),
        )?;
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
        let _alone = self.locks.lock(manifest.share());
        self.keep(manifest, terms, chunks)
    }

    /// Ends a copy, whatever came of it: its reservation is over.
    pub(super) fn end_copy(&self, share: ShareId) {
        self.uploads.lock().remove(&share);
    }

    /// Whether a share may count on a chunk that it has not sent to this process. Ids are no secret to those
    /// who can read a share: what another share holds must be sent, to prove that it is there to be sent.
    fn may_claim_unseen(&self, share: ShareId, id: &ChunkId) -> bool {
        self.chunks.is_free_for(share, id)
    }

    /// What the owner of a share deleted is not taken again.
    fn check_not_gone(&self, share: ShareId) -> Result<(), Refusal> {
        if self.gone.contains(share) {
            return Err(Refusal::new(ProblemKind::ShareGone, "its owner deleted the share"));
        }
        Ok(())
    }

    /// Whether a chunk of this many bytes is still to arrive for the share; no more than was promised.
    pub(super) fn admit(&self, share: ShareId, id: ChunkId, bytes: u64) -> Result<bool, Refusal> {
        self.check_not_gone(share)?;
        let mut uploads = self.uploads.lock();
        let upload = uploads
            .get_mut(&share)
            .ok_or_else(|| Refusal::new(ProblemKind::Conflict, "the share was not offered here first"))?;
        upload.touched_ms = clock::awake_ms();
        if upload.arrived.contains(&id) && self.chunks.contains(&id) {
            return Ok(false);
        }
        if bytes > upload.promise.bytes {
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
        arriving: Arriving,
    ) -> Result<bool, Refusal> {
        self.chunks.finish(id, arriving).map_err(|error| match error {
            PutError::HashMismatch(_) => Refusal::new(ProblemKind::HashMismatch, error.to_string()),
            PutError::Io(error) => disk_refusal(&error),
        })?;
        let mut uploads = self.uploads.lock();
        let Some(upload) = uploads.get_mut(&share) else { return Ok(true) };
        let is_new = upload.arrived.insert(id);
        if is_new {
            upload.promise.bytes = upload.promise.bytes.saturating_sub(bytes);
            upload.promise.arrived_bytes = upload.promise.arrived_bytes.saturating_add(bytes);
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
        let alone = self.locks.lock_for_commit(share)?;
        let missing = self.keep(&manifest, terms, &request.chunks)?;
        drop(alone);
        crash::at(Point::ShareKept);
        if missing.is_empty() {
            self.uploads.lock().remove(&share);
        }
        Ok(missing)
    }

    /// Keeps chunks of a share, which is locked, beside those that are held already, if all of them are here. What
    /// was held before is for the scrub to check: it reports what it finds, and must not stand in a new chunk's way.
    fn keep(&self, manifest: &Manifest, terms: SignedTerms, arrived: &ChunkSet) -> Result<ChunkSet, Refusal> {
        let share = manifest.share();
        self.check_not_gone(share)?;
        if terms.terms.is_over(clock::now_ms()) {
            return Err(Refusal::new(ProblemKind::ShareGone, "the share's terms are over"));
        }
        let held = self.shares.get(share).map(|held| held.chunks);
        if held.is_some() {
            let known = self.shares.manifest(share).map_err(|error| Refusal::internal(&error))?;
            if known != *manifest {
                return Err(Refusal::new(ProblemKind::Conflict, "the share has another manifest already"));
            }
        }
        let held = held.unwrap_or_else(|| ChunkSet::empty(arrived.chunk_count()));
        let mut claims = NewClaims { chunks: &self.chunks, share, ids: Vec::new() };
        let (present, missing) = self.claim_present(manifest, arrived, &mut claims)?;
        if missing.is_empty() {
            self.chunks.settle(&present).map_err(|error| disk_refusal(&error))?;
            crash::at(Point::ChunksSynced);
            // A commit only ever adds: what is held already was promised, too.
            let commit = self.shares.commit(manifest, terms, held.plus(arrived));
            commit.map_err(|error| disk_refusal(&error))?;
            claims.ids.clear();
            tracing::info!(%share, chunks = present.len(), "share committed");
        }
        Ok(missing)
    }

    /// Claims the chunks that are here and right, each before it is looked at: from then on no end of another share
    /// takes it away. Which these are, and which are missing.
    fn claim_present(
        &self,
        manifest: &Manifest,
        arrived: &ChunkSet,
        claims: &mut NewClaims<'_>,
    ) -> Result<(Vec<ChunkId>, ChunkSet), Refusal> {
        let share = manifest.share();
        let shown = self.uploads.lock().get(&share).map(|upload| upload.arrived.clone()).unwrap_or_default();
        let mut missing = ChunkSet::empty(arrived.chunk_count());
        let mut present = Vec::new();
        for index in arrived.iter() {
            let id = manifest.chunk(index);
            if !shown.contains(&id) && !self.may_claim_unseen(share, &id) {
                missing.insert(index);
                continue;
            }
            if self.chunks.claim(share, id) {
                claims.ids.push(id);
            }
            match self.chunks.verify(&id, manifest.geometry().sealed_len(index)) {
                Ok(true) => present.push(id),
                Ok(false) => missing.insert(index),
                Err(error) => return Err(disk_refusal(&error)),
            }
        }
        Ok((present, missing))
    }
}

/// Claims that hold while a share is being committed, and are given up unless the list is emptied before.
struct NewClaims<'a> {
    chunks: &'a ChunkStore,
    share: ShareId,
    ids: Vec<ChunkId>,
}

impl Drop for NewClaims<'_> {
    fn drop(&mut self) {
        self.ids.iter().for_each(|id| self.chunks.release(self.share, id));
    }
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

    use std::time::SystemTime;

    use swarmdrop_core::api::ShareChunks;
    use swarmdrop_core::duration::millis;
    use swarmdrop_core::geometry::ChunkSize;
    use swarmdrop_core::id::Secret;
    use swarmdrop_core::limits::{ORPHAN_AGE, RESERVATION_GRACE};
    use swarmdrop_core::manifest::{Draft, ShareKey};
    use swarmdrop_core::seal::{Header, ShareKeys};
    use swarmdrop_core::terms::Terms;

    const ANYBODY: Under = Under { token: None, budget_bytes: u64::MAX };

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
        storage.reserve(ANYBODY, share, &geometry, &full, std::iter::empty()).unwrap();
        let arrives = || {
            assert!(
                storage.admit(share, ids[0], (1 << 16) + 16).unwrap(),
                "it is taken while others are read"
            );
            put(&storage, b"one");
            storage.uploads.lock().get_mut(&share).unwrap().arrived.insert(ids[0]);
            (geometry.index(1).unwrap(), ids[1])
        };
        storage.reserve(ANYBODY, share, &geometry, &full, std::iter::once_with(arrives)).unwrap();
        assert!(!storage.admit(share, ids[0], (1 << 16) + 16).unwrap(), "it has arrived");
    }

    #[test]
    fn s11_space_that_was_promised_in_vain_is_there_for_others() {
        let folder = tempfile::tempdir().unwrap();
        ChunkStore::create(folder.path()).unwrap();
        let bounds = Bounds { capacity_bytes: Some(1_000_000), keep_free_bytes: 0 };
        let storage = Storage::open(folder.path(), bounds).unwrap();
        let size = |bytes| Geometry::new(bytes, ChunkSize::from_log2(16).unwrap()).unwrap();
        let (all, some) = (size(900_000), size(100_000));
        let offer = |token, share, geometry: &Geometry| {
            let grant = Under { token: Some(TokenId::from_bytes([token; 8])), budget_bytes: 1_000_000 };
            let chunks = ChunkSet::full(geometry.chunk_count());
            let share = ShareId::from_bytes([share; 32]);
            storage.reserve(grant, share, geometry, &chunks, std::iter::empty()).map(drop)
        };
        let wait = |share| {
            let mut uploads = storage.uploads.lock();
            let promise = &mut uploads.get_mut(&ShareId::from_bytes([share; 32])).unwrap().promise;
            promise.since_ms = promise.since_ms.saturating_sub(2 * millis(RESERVATION_GRACE));
        };
        let is_promised = |share| storage.uploads.lock().contains_key(&ShareId::from_bytes([share; 32]));
        offer(1, 1, &all).unwrap();
        assert_eq!(offer(2, 2, &some).unwrap_err().0.kind, ProblemKind::NoSpace);
        wait(1);
        assert!(storage.usage().unwrap().free_bytes > 990_000, "the tracker is told of it");
        offer(2, 2, &some).unwrap();
        assert!(!is_promised(1), "there was not room for both");
        // Who wasted it may have what is left, and gives way at once.
        assert!(offer(1, 1, &all).is_err());
        offer(1, 3, &size(700_000)).unwrap();
        wait(3);
        offer(2, 4, &size(700_000)).unwrap();
        assert!(!is_promised(3) && is_promised(2));
        // Nobody takes more than the grant says.
        let grant = Under { token: None, budget_bytes: 100 };
        let refused = storage.reserve(
            grant,
            ShareId::from_bytes([7; 32]),
            &some,
            &ChunkSet::full(2),
            std::iter::empty(),
        );
        assert_eq!(refused.unwrap_err().0.kind, ProblemKind::NoSpace);
    }

    #[test]
    fn s11_one_token_has_a_bounded_number_of_uploads_under_way() {
        let folder = tempfile::tempdir().unwrap();
        ChunkStore::create(folder.path()).unwrap();
        let storage =
            Storage::open(folder.path(), Bounds { capacity_bytes: None, keep_free_bytes: 0 }).unwrap();
        let geometry = Geometry::new(1, ChunkSize::from_log2(16).unwrap()).unwrap();
        let offer = |token: u8, number: u64| {
            let token = Some(TokenId::from_bytes([token; 8]));
            let mut share = [0; 32];
            share[..8].copy_from_slice(&number.to_le_bytes());
            let grant = Under { token, budget_bytes: 100 };
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
        offer(1, 0).unwrap();
        let refused = offer(1, TOKEN_UPLOADS_MAX).unwrap_err().0.kind;
        assert_eq!(refused, ProblemKind::QuotaExceeded);
        offer(2, TOKEN_UPLOADS_MAX).unwrap();
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
        let now_ms = clock::awake_ms();
        let promise = Reservation { token: None, bytes: 0, arrived_bytes: 0, since_ms: now_ms };
        let upload = Upload { promise, arrived: HashSet::from([sent]), touched_ms: now_ms };
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
