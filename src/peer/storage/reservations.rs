//! How much room there is at a peer, and what of it is reserved for whom.

use std::collections::{BTreeMap, HashSet};
use std::io;

use parcelry_core::chunk_set::ChunkSet;
use parcelry_core::geometry::Geometry;
use parcelry_core::id::{ChunkId, ShareId};
use parcelry_core::limits::{QUOTA_AT_PEER, TOKEN_UPLOADS_MAX};
use parcelry_core::quota::{Allowance, Charged, Wanted};
use parcelry_core::registry::Usage;
use parcelry_core::reservation::Reservation;
use parcelry_core::token::TokenId;

use super::arrivals::Under;
use super::error::StorageError;
use super::{Storage, Upload};
use crate::clock;

impl Storage {
    /// Bytes used, and bytes that may still be reserved, as the disk stood at the last look: it waits for nothing. What
    /// is reserved for somebody who makes no use of it is there for others.
    pub(in crate::peer) fn usage(&self) -> Usage {
        self.usage_excluding(None, self.disk.free_bytes())
    }

    /// The usage without what is reserved for one share, of a disk with so many free bytes.
    fn usage_excluding(&self, excluding: Option<ShareId>, disk_free_bytes: u64) -> Usage {
        let manifests_bytes = self.shares.manifests_bytes();
        let used_bytes = self.chunks.used_bytes() + self.chunks.quarantine_bytes() + manifests_bytes;
        let on_disk = disk_free_bytes.saturating_sub(self.bounds.keep_free_bytes);
        let in_capacity =
            self.bounds.capacity_bytes.map_or(u64::MAX, |bytes| bytes.saturating_sub(used_bytes));
        let (now_ms, wasteful, uploads) = (clock::monotonic_ms(), self.wasteful.lock(), self.uploads.lock());
        let others = uploads.iter().filter(|(share, _)| Some(**share) != excluding);
        let reservations = others.map(|(_, upload)| &upload.reservation);
        let reserved: u64 = reservations.filter(|it| it.holds(&wasteful, now_ms)).map(|it| it.bytes).sum();
        let takes = !self.has_failed_to_write();
        let free_bytes = if takes { on_disk.min(in_capacity).saturating_sub(reserved) } else { 0 };
        Usage { used_bytes, free_bytes }
    }

    /// Checks that a share may take so many bytes more, beside what is reserved for others. Returns how many are free.
    pub(super) fn check_room(&self, share: ShareId, bytes: u64) -> Result<u64, StorageError> {
        let on_disk = self.chunks.disk_free_bytes()?;
        self.check_room_of(share, bytes, on_disk)
    }

    /// Like [`Self::check_room`], of a disk with so many free bytes.
    pub(super) fn check_room_of(
        &self,
        share: ShareId,
        bytes: u64,
        on_disk: u64,
    ) -> Result<u64, StorageError> {
        let free = self.usage_excluding(Some(share), on_disk).free_bytes;
        if bytes > free {
            let detail = format!("{bytes} bytes are needed, {free} are free");
            return Err(StorageError::NoSpace(detail));
        }
        Ok(free)
    }

    /// Checks that the token of a grant may have these chunks of a share here, beside so many bytes that came for it
    /// and are none of them, and a manifest of so many bytes, beside all else that is charged to it. The tracker holds
    /// it to its quota by what is published; what was sent here and never was published is known to its peers alone.
    pub(super) fn check_quota(
        &self,
        grant: Under,
        share: ShareId,
        geometry: &Geometry,
        chunks: &ChunkSet,
        (left_bytes, manifest_bytes): (u64, u64),
    ) -> Result<(), StorageError> {
        let Some(token) = grant.token else { return Ok(()) };
        let held = self.shares.get(share).map(|held| held.chunks);
        let held = held.filter(|held| held.chunk_count() == chunks.chunk_count());
        let bytes = geometry.sealed_of(&held.map_or_else(|| chunks.clone(), |held| held.plus(chunks)));
        let quota_bytes = grant.quota_bytes.map(|bytes| bytes.saturating_mul(QUOTA_AT_PEER));
        let allowance = Allowance { quota_bytes, ..Allowance::default() };
        let mut charged = self.charged(token, share);
        charged.bytes = charged.bytes.saturating_add(left_bytes);
        let wanted = Wanted { share_bytes: bytes, sealed_bytes: bytes, replicas: 1 };
        let checks = allowance.check_room(&charged, &wanted);
        checks.and_then(|()| allowance.check_manifest(&charged, manifest_bytes)).map_err(|_| {
            let what = "this peer holds as much for the invite as it allows, or more shares or manifests than any may have";
            StorageError::QuotaExceeded(what)
        })
    }

    /// What a token has here, kept, reserved, and left by uploads that were never committed, but for one share.
    fn charged(&self, token: TokenId, excluding: ShareId) -> Charged {
        let mut charged = self.shares.charged(token, excluding);
        let mut under_way = HashSet::new();
        for (share, upload) in self.uploads.lock().iter() {
            if *share != excluding && upload.reservation.token == Some(token) {
                charged.bytes = charged.bytes.saturating_add(upload.reservation.bytes);
                under_way.insert(*share);
            }
        }
        for (share, bytes) in self.unfinished.lock().of_token(token, excluding) {
            charged.bytes = charged.bytes.saturating_add(bytes);
            under_way.insert(share);
        }
        charged.uploads = under_way.len() as u64;
        charged
    }

    /// Bytes of those of these chunks that came for the share, each counted once: what came for another one is no part of
    /// what is left of this one.
    pub(super) fn bytes_shown(&self, share: ShareId, shown: &BTreeMap<ChunkId, u64>) -> io::Result<u64> {
        if shown.is_empty() {
            return Ok(0);
        }
        let marked: HashSet<ChunkId> = self.marks.of(share)?.into_iter().collect();
        Ok(shown.iter().filter(|(id, _)| marked.contains(id)).map(|(_, bytes)| bytes).sum())
    }

    /// Counts what the marks name that is of no share.
    pub(super) fn count_unfinished(&self) -> io::Result<()> {
        self.marks.shares()?.into_iter().try_for_each(|share| self.count_unfinished_of(share))
    }

    /// Counts what the mark of one share names that is of no share.
    pub(super) fn count_unfinished_of(&self, share: ShareId) -> io::Result<()> {
        let before = self.marks.charged(share);
        let bytes = self.chunks.unreferenced_bytes(self.marks.of(share)?);
        // Whoever sees the bytes sees whom they are charged to; mostly that was known, and the disk is not read again.
        let token = before.or_else(|| self.marks.charged(share));
        self.unfinished.lock().set(share, token, bytes);
        Ok(())
    }

    /// Bytes that the peer is willing to hold in all.
    pub(in crate::peer) fn capacity_bytes(&self) -> u64 {
        let usage = self.usage();
        self.bounds.capacity_bytes.unwrap_or(usage.used_bytes.saturating_add(usage.free_bytes))
    }

    /// Reserves space for a share of which these chunks have arrived, and these of them were here already; so many
    /// bytes are free, but for what is reserved for others who make no use of it: if need be, those reservations end.
    pub(super) fn insert_reservation(
        &self,
        token: Option<TokenId>,
        share: ShareId,
        needed: u64,
        free: u64,
        (mut arrived, mut met): (HashSet<ChunkId>, HashSet<ChunkId>),
    ) -> Result<(), StorageError> {
        let (now_ms, mut wasteful, mut uploads) =
            (clock::monotonic_ms(), self.wasteful.lock(), self.uploads.lock());
        let of_token =
            uploads.iter().filter(|(other, upload)| **other != share && upload.reservation.token == token);
        if token.is_some() && of_token.count() as u64 >= TOKEN_UPLOADS_MAX {
            let what =
                "too many shares are being sent here with this invite: finish one of them, or wait an hour";
            return Err(StorageError::QuotaExceeded(what));
        }
        let mut since = (now_ms, 0);
        if let Some(now) = uploads.remove(&share) {
            // Asked for again, a reservation is not younger than it was, unless it no longer held.
            if now.reservation.holds(&wasteful, now_ms) {
                since = (now.reservation.since_ms, now.reservation.arrived_bytes);
            } else {
                wasteful.note(now.reservation.token, now_ms);
            }
            arrived.extend(now.arrived);
            met.extend(now.met);
        }
        let is_idle =
            |upload: &Upload| upload.reservation.bytes > 0 && !upload.reservation.holds(&wasteful, now_ms);
        let idle: Vec<_> = uploads.iter().filter(|(_, upload)| is_idle(upload)).map(|(id, _)| *id).collect();
        let idle_bytes: u64 = idle.iter().map(|id| uploads[id].reservation.bytes).sum();
        if needed > free.saturating_sub(idle_bytes) {
            for upload in idle.iter().filter_map(|id| uploads.remove(id)) {
                wasteful.note(upload.reservation.token, now_ms);
            }
        }
        let reservation = Reservation { token, bytes: needed, arrived_bytes: since.1, since_ms: since.0 };
        uploads.insert(share, Upload { reservation, arrived, met, touched_ms: now_ms });
        Ok(())
    }
}
