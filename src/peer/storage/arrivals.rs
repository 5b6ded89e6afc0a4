//! How chunks come to a peer: what is offered to it, and what arrives.

use std::collections::{BTreeMap, HashSet};
use std::io;

use parcelry_core::api::OfferRequest;
use parcelry_core::chunk_set::ChunkSet;
use parcelry_core::geometry::{ChunkIndex, Geometry};
use parcelry_core::id::{ChunkId, ShareId};
use parcelry_core::limits::{MANIFEST_RESERVE_BYTES, QUOTA_AT_PEER};
use parcelry_core::manifest::Manifest;
use parcelry_core::token::TokenId;

use super::chunk_file::PendingChunk;
use super::error::StorageError;
use super::{Storage, Upload};
use crate::clock;

/// What an offer's grant says.
#[derive(Debug, Clone, Copy)]
pub(in crate::peer) struct Under {
    /// The token that is charged; `None`: nobody's.
    pub(in crate::peer) token: Option<TokenId>,
    /// Bytes that may be stored.
    pub(in crate::peer) budget_bytes: u64,
    /// Bytes that all shares of the token may take.
    pub(in crate::peer) quota_bytes: Option<u64>,
}

impl Under {
    /// A grant of nobody, with no bound of its own.
    pub(in crate::peer) const NOBODY: Self = Self { token: None, budget_bytes: u64::MAX, quota_bytes: None };

    /// Checks that so many bytes may come, beside those that came before under whatever grant and are not offered
    /// again: a sender that has forgotten them all may begin once more.
    fn check_budget(&self, needed: u64, left_bytes: u64) -> Result<(), StorageError> {
        let once_more = self.budget_bytes.saturating_mul(QUOTA_AT_PEER);
        if needed > self.budget_bytes || needed.saturating_add(left_bytes) > once_more {
            return Err(StorageError::NoSpace("more bytes than the grant allows".to_owned()));
        }
        Ok(())
    }
}

impl Storage {
    /// Reserves space for a share under a grant of nobody, with no bound of its own.
    #[cfg(test)]
    pub(in crate::peer) fn offer(
        &self,
        share: ShareId,
        request: &OfferRequest,
    ) -> Result<ChunkSet, StorageError> {
        self.offer_under(Under::NOBODY, share, request)
    }

    /// Reserves space for a share. Returns the chunks of it that are here already.
    pub(in crate::peer) fn offer_under(
        &self,
        grant: Under,
        share: ShareId,
        request: &OfferRequest,
    ) -> Result<ChunkSet, StorageError> {
        self.check_takes(share)?;
        self.check_served(share)?;
        let geometry = request.size.geometry().ok_or(StorageError::BadOffer("no share has this size"))?;
        if request.chunks.chunk_count() != geometry.chunk_count() {
            return Err(StorageError::BadOffer("the chunks are those of another number of chunks"));
        }
        let mut known = Vec::new();
        for run in &request.known {
            let ids =
                run.chunks(&geometry).ok_or(StorageError::BadOffer("a known chunk is none of the share"))?;
            known.extend(ids);
        }
        self.reserve(grant, share, &geometry, &request.chunks, known.into_iter())
    }

    /// Reserves space for chunks of a share. Of those whose ids are known, the ones that are here already.
    pub(super) fn reserve(
        &self,
        grant: Under,
        share: ShareId,
        geometry: &Geometry,
        chunks: &ChunkSet,
        known: impl Iterator<Item = (ChunkIndex, ChunkId)>,
    ) -> Result<ChunkSet, StorageError> {
        let mut held = ChunkSet::empty(geometry.chunk_count());
        // Uploads for this share go on while chunks are read here: `insert_reservation` adds what arrives meanwhile.
        let mut arrived = self.uploads.lock().get(&share).map(|now| now.arrived.clone()).unwrap_or_default();
        let (mut met, mut shown) = (HashSet::new(), BTreeMap::new());
        for (index, id) in known {
            let may_have = arrived.contains(&id) || self.may_use_unseen(share, &id);
            let here = || self.chunks.verify(&id, geometry.sealed_len(index));
            if may_have && here()? {
                held.insert(index);
                shown.insert(id, geometry.sealed_len(index) as u64);
                if arrived.insert(id) {
                    met.insert(id);
                }
            }
        }
        let missing = chunks.minus(&held);
        let needed: u64 = missing.iter().map(|index| geometry.sealed_len(index) as u64).sum();
        let on_disk = self.chunks.disk_free_bytes()?;
        let shown_bytes = self.bytes_shown(share, &shown)?;
        // From here on alone: what is found free must still be free when it is reserved.
        let _one_by_one = self.reserving.lock();
        // What came for the share before and is not offered again takes room, too.
        let left_bytes = self.unfinished.lock().bytes(share).saturating_sub(shown_bytes);
        grant.check_budget(needed, left_bytes)?;
        self.check_quota(grant, share, geometry, chunks, (left_bytes, MANIFEST_RESERVE_BYTES))?;
        let needed = needed + 32 * u64::from(geometry.chunk_count()) + MANIFEST_RESERVE_BYTES;
        let free = self.check_room_of(share, needed, on_disk)?;
        self.insert_reservation(grant.token, share, needed, free, (arrived, met))?;
        Ok(held)
    }

    /// Makes room for chunks of a share that are to be copied from other peers. Returns those that are missing here.
    pub(in crate::peer) fn begin_copy(
        &self,
        manifest: &Manifest,
        chunks: &ChunkSet,
    ) -> Result<ChunkSet, StorageError> {
        let share = manifest.share();
        self.check_takes(share)?;
        let known = || chunks.iter().map(|index| (index, manifest.chunk(index)));
        // What was let go of and is still in quarantine need not be copied.
        for (_, id) in known().filter(|(_, id)| !self.chunks.contains(id)) {
            self.chunks.restore(&id, || self.marks.add(share, &[id]))?;
        }
        let held = self.reserve(Under::NOBODY, manifest.share(), manifest.geometry(), chunks, known())?;
        Ok(chunks.minus(&held))
    }

    /// Whether a chunk of this many bytes is still to arrive for the share; no more than is reserved.
    pub(in crate::peer) fn admit(
        &self,
        share: ShareId,
        id: ChunkId,
        bytes: u64,
    ) -> Result<bool, StorageError> {
        self.check_takes(share)?;
        let mut uploads = self.uploads.lock();
        let upload = uploads.get_mut(&share).ok_or(StorageError::NotOffered)?;
        upload.touched_ms = clock::monotonic_ms();
        if upload.arrived.contains(&id) && self.chunks.contains(&id) {
            return Ok(false);
        }
        if bytes > upload.reservation.bytes {
            return Err(StorageError::NoSpace("more bytes than were offered".to_owned()));
        }
        Ok(true)
    }

    /// Takes the next bytes of a chunk, or the first.
    pub(in crate::peer) fn append(
        &self,
        pending: Option<PendingChunk>,
        bytes: &[u8],
    ) -> io::Result<PendingChunk> {
        self.chunks.append(pending, bytes)
    }

    /// Takes a chunk that has arrived. Returns whether it had not arrived before.
    pub(in crate::peer) fn put(
        &self,
        share: ShareId,
        id: ChunkId,
        bytes: u64,
        pending: PendingChunk,
    ) -> Result<bool, StorageError> {
        let of_upload = |upload: &Upload| upload.reservation.token;
        let Some(token) = self.uploads.lock().get(&share).map(of_upload) else {
            return Err(StorageError::NotOffered);
        };
        let mut is_named = false;
        // Marked before the file has its name: a crash in between leaves a mark without a file, which is harmless,
        // but a file without a mark would stay for ever.
        self.chunks.complete(id, pending, || {
            is_named = true;
            self.marks.add(share, &[id])?;
            self.unfinished.lock().add(share, token, bytes);
            token.map_or(Ok(()), |token| self.marks.charge(share, token))
        })?;
        let mut uploads = self.uploads.lock();
        // The reservation may have ended while the chunk was written: the mark still tells whose it is.
        let Some(upload) = uploads.get_mut(&share) else { return Ok(true) };
        let is_new = upload.arrived.insert(id);
        // The file was here before, perhaps for another share.
        if !is_named {
            upload.met.insert(id);
        }
        if is_new {
            upload.reservation.bytes = upload.reservation.bytes.saturating_sub(bytes);
            upload.reservation.arrived_bytes = upload.reservation.arrived_bytes.saturating_add(bytes);
        }
        Ok(is_new)
    }

    /// Takes a chunk that is in memory as a whole; like [`Storage::put`].
    pub(in crate::peer) fn put_whole(
        &self,
        share: ShareId,
        id: ChunkId,
        sealed: &[u8],
    ) -> Result<bool, StorageError> {
        let mut pending = self.chunks.create_chunk()?;
        pending.write(sealed)?;
        self.put(share, id, sealed.len() as u64, pending)
    }
}
