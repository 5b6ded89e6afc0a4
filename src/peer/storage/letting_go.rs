//! How chunks leave a peer. Those of a committed share that hash right leave by the owner's signed deletion, by the end
//! of the terms' time, and as surplus that others hold: by nothing else.

use std::collections::{BTreeSet, HashSet};
use std::io;
use std::time::{Duration, SystemTime};

use parcelry_core::api::ShareChunks;
use parcelry_core::chunk_set::ChunkSet;
use parcelry_core::duration::millis;
use parcelry_core::geometry::ChunkIndex;
use parcelry_core::id::{ChunkId, ShareId};
use parcelry_core::limits::{ORPHAN_AGE, QUARANTINE_KEPT, RESERVATION_IDLE};
use parcelry_core::manifest::Manifest;
use parcelry_core::terms::{SignedTerms, TermsToken};

use super::{Storage, Upload};
use crate::clock;

impl Storage {
    /// Reads chunks of a share again. Returns what was lost with those that are damaged or gone, of this share and of
    /// others that held them, too.
    pub(in crate::peer) fn reverify(
        &self,
        share: ShareId,
        chunks: &ChunkSet,
    ) -> io::Result<Vec<ShareChunks>> {
        let unknown = || vec![ShareChunks { share, chunks: chunks.clone() }];
        let known = {
            // Alone, for a share that is being let go of has no manifest any more and is not gone yet.
            let _alone = self.locks.lock(share);
            match self.shares.get(share) {
                Some(held) => Some((held, self.shares.manifest(share)?)),
                None => None,
            }
        };
        let Some((held, manifest)) = known else { return Ok(unknown()) };
        if held.chunks.chunk_count() != chunks.chunk_count() {
            return Ok(Vec::new());
        }
        let mut bad = HashSet::new();
        for index in chunks.iter() {
            let id = manifest.chunk(index);
            if !self.chunks.reverify(&id, manifest.geometry().sealed_len(index))? {
                bad.insert(id);
            }
        }
        let not_held = chunks.minus(&held.chunks);
        let mut lost = self.mark_lost(&bad);
        if !not_held.is_empty() {
            lost.push(ShareChunks { share, chunks: not_held });
        }
        Ok(lost)
    }

    /// Reads a chunk of this length again, as part of a scrub. Returns what was lost if it is damaged.
    pub(in crate::peer) fn scrub(&self, id: ChunkId, bytes: u64) -> io::Result<Vec<ShareChunks>> {
        let is_intact = self.chunks.reverify(&id, usize::try_from(bytes).unwrap_or(usize::MAX))?;
        // A chunk that was removed meanwhile is nobody's loss.
        Ok(if is_intact { Vec::new() } else { self.mark_lost(&HashSet::from([id])) })
    }

    /// Reads a chunk again, whatever was known of it. Returns what was lost if it is damaged.
    pub(in crate::peer) fn reverify_chunk(&self, id: ChunkId) -> io::Result<Vec<ShareChunks>> {
        match self.bytes_of((id, None)) {
            Some(bytes) => self.scrub(id, bytes),
            None => Ok(Vec::new()),
        }
    }

    /// Takes chunks that are no longer here off the shares that held them.
    pub(super) fn mark_lost(&self, ids: &HashSet<ChunkId>) -> Vec<ShareChunks> {
        let shares: BTreeSet<ShareId> = ids.iter().flat_map(|id| self.chunks.holders(id)).collect();
        let of_share = |share| Some(ShareChunks { share, chunks: self.mark_lost_of(share, ids)? });
        shares.into_iter().filter_map(of_share).collect()
    }

    fn mark_lost_of(&self, share: ShareId, ids: &HashSet<ChunkId>) -> Option<ChunkSet> {
        let _alone = self.locks.lock(share);
        let held = self.shares.get(share)?;
        let unreadable =
            |error| tracing::error!(%share, %error, "cannot tell which chunks of a share are lost");
        let manifest = self.shares.manifest(share).map_err(unreadable).ok()?;
        let is_lost = |index: &ChunkIndex| {
            let id = manifest.chunk(*index);
            // One may have come again meanwhile.
            ids.contains(&id) && !self.chunks.contains(&id)
        };
        let chunks = ChunkSet::of(held.chunks.chunk_count(), held.chunks.iter().filter(is_lost));
        if chunks.is_empty() {
            return None;
        }
        tracing::warn!(%share, count = chunks.len(), "chunks were damaged or gone");
        match self.shares.put_chunks(share, held.chunks.minus(&chunks)) {
            Ok(()) => {
                for index in chunks.iter() {
                    self.chunks.release(share, &manifest.chunk(index));
                }
            }
            // They are lost all the same; the next start finds them gone.
            Err(error) => tracing::error!(%share, %error, "cannot note that chunks of a share are lost"),
        }
        Some(chunks)
    }

    /// Lets go of chunks of a share that enough other peers hold. They can be taken back for a day.
    pub(in crate::peer) fn drop_surplus(&self, share: ShareId, chunks: &ChunkSet) -> io::Result<()> {
        let _alone = self.locks.lock(share);
        let Some(held) = self.shares.get(share) else { return Ok(()) };
        if held.chunks.chunk_count() != chunks.chunk_count() {
            return Ok(());
        }
        let manifest = self.shares.manifest(share)?;
        let left = held.chunks.minus(chunks);
        let kept: HashSet<ChunkId> = left.iter().map(|index| manifest.chunk(index)).collect();
        let gone = held.chunks.minus(&left);
        // What stays beside a record that cannot be read is known by a mark when the share's own record is gone.
        let stays: Vec<ChunkId> =
            ids(&manifest, &gone).filter(|id| !kept.contains(id) && self.may_be_of_unreadable(id)).collect();
        if !stays.is_empty() {
            self.marks.add(share, &stays)?;
        }
        // The chunks go first: if the record does not follow, they are found to be gone at the next start.
        for id in ids(&manifest, &gone).filter(|id| !kept.contains(id)) {
            self.chunks.drop_surplus(share, &id, |id| self.may_be_of_unreadable(id))?;
        }
        if left.is_empty() {
            let retired = self.shares.retire(share)?;
            self.shares.forget_retired(&retired)?;
        } else {
            self.shares.put_chunks(share, left)?;
        }
        tracing::info!(%share, chunks = gone.len(), "surplus dropped");
        Ok(())
    }

    /// Takes over newer terms. Those that delete the share are kept for as long as any terms of it can run; after
    /// them no others are taken. Returns whether it knows them from now on: of deletions of what it never held it keeps
    /// only so many.
    pub(in crate::peer) fn put_terms(&self, terms: SignedTerms) -> io::Result<bool> {
        let share = terms.share;
        let _alone = self.locks.lock(share);
        if !terms.deleted {
            // By their time terms are over when the clock says so, which is asked for elsewhere.
            if !self.gone.contains(share) {
                self.shares.put_terms(terms)?;
            }
            return Ok(true);
        }
        let is_held = self.shares.get(share).is_some() || self.shares.is_damaged(share);
        let is_kept = self.gone.put(&terms, is_held, clock::now_ms())?;
        self.uploads.lock().remove(&share);
        if is_held {
            self.drop_share(share)?;
        }
        Ok(is_kept)
    }

    /// The shares that their owners deleted, each with the signed terms that say so.
    pub(in crate::peer) fn gone(&self) -> Vec<(ShareId, TermsToken)> {
        self.gone.all()
    }

    /// Drops what is over: reservations that nobody took up and, if there is a time that is to be trusted, shares by
    /// their terms.
    pub(in crate::peer) fn expire(&self, now_ms: Option<u64>) -> io::Result<()> {
        let idle =
            |upload: &Upload| Duration::from_millis(clock::monotonic_ms().saturating_sub(upload.touched_ms));
        self.uploads.lock().retain(|_, upload| idle(upload) < RESERVATION_IDLE);
        let Some(now_ms) = now_ms else { return Ok(()) };
        self.gone.expire(now_ms)?;
        let ends = self.shares.over(now_ms).into_iter().map(|share| {
            let _alone = self.locks.lock(share);
            // Meanwhile it may have been extended.
            let is_over = self.shares.get(share).is_some_and(|held| held.is_over(now_ms));
            if is_over { self.drop_share(share) } else { Ok(()) }
        });
        // One that fails keeps the others from nothing.
        ends.fold(Ok(()), io::Result::and)
    }

    /// Removes what was quarantined long enough ago, but for chunks that may have to be taken back.
    pub(in crate::peer) fn empty_quarantine(&self, kept: &BTreeSet<ChunkId>) -> io::Result<()> {
        self.chunks.empty_quarantine(long_ago(QUARANTINE_KEPT), kept)
    }

    /// Quarantines what uploads that never ended have left behind, long after the grants under which it came: of what
    /// their marks name, the chunks of no share and no upload under way. How many there were.
    pub(in crate::peer) fn collect_unfinished(&self) -> io::Result<usize> {
        let mut count = 0;
        for share in self.marks.before(long_ago(ORPHAN_AGE))? {
            let _alone = self.locks.lock(share);
            // What a share's mark names may be its own, as long as it cannot be read.
            if self.uploads.lock().contains_key(&share) || self.shares.is_damaged(share) {
                continue;
            }
            let is_wanted = |id: &ChunkId| self.is_arriving(id) || self.may_be_of_unreadable(id);
            for id in self.marks.of(share)?.iter().filter(|id| !is_wanted(id)) {
                count += usize::from(self.chunks.quarantine_unfinished(id)?);
            }
            self.marks.end(share, |id| !self.may_be_of_unreadable(id))?;
            self.count_unfinished_of(share)?;
        }
        Ok(count)
    }

    /// How many chunks are here of which neither a share nor a mark tells. They are kept: a share may have been lost.
    pub(in crate::peer) fn strays(&self) -> io::Result<usize> {
        if !self.shares.is_whole() {
            return Ok(0);
        }
        let unreferenced = self.chunks.unreferenced();
        if unreferenced.is_empty() {
            return Ok(0);
        }
        let marked = self.marks.chunks()?;
        Ok(unreferenced.iter().filter(|id| !marked.contains(*id)).count())
    }

    /// After a disk failed to write: takes back everything that came since it wrote last, and sees whether it works
    /// again. What was lost with it, and whether it works now.
    pub(in crate::peer) fn recover(&self) -> (Vec<ShareChunks>, io::Result<()>) {
        // Senders offer again, and send again.
        self.uploads.lock().clear();
        let lost = self.mark_lost(&self.chunks.remove_unsynced());
        if let Err(error) = self.count_unfinished() {
            tracing::warn!(%error, "cannot tell what uploads have left behind");
        }
        (lost, self.chunks.prove())
    }

    /// Finishes what a crash interrupted: shares that are over, but whose chunks are still here.
    pub(super) fn finish_leaving(&self) -> io::Result<()> {
        let known: BTreeSet<ShareId> = self.shares.ids().into_iter().chain(self.shares.damaged()).collect();
        for share in known.into_iter().filter(|share| self.gone.contains(*share)) {
            let _alone = self.locks.lock(share);
            self.drop_share(share)?;
        }
        for retired in self.shares.retired()? {
            let share = retired.share;
            let _alone = self.locks.lock(share);
            match self.shares.retired_chunks(&retired) {
                Ok(chunks) => {
                    let is_wanted = |id: &ChunkId| self.is_arriving(id) || self.may_be_of_unreadable(id);
                    for id in chunks.iter().filter(|id| !is_wanted(id)) {
                        self.chunks.remove_unreferenced(id)?;
                    }
                    // The record stays as long as one of its chunks may be of a share that cannot be read.
                    if !chunks.iter().any(|id| self.may_be_of_unreadable(id)) {
                        self.shares.forget_retired(&retired)?;
                    }
                }
                Err(error) => tracing::error!(%share, %error, "cannot tell which chunks of a share are over"),
            }
        }
        Ok(())
    }

    /// Drops a share that is locked and over. Chunks that other shares hold or send stay.
    fn drop_share(&self, share: ShareId) -> io::Result<()> {
        let chunks = match (self.shares.get(share), self.shares.manifest(share)) {
            (Some(held), Ok(manifest)) => ids(&manifest, &held.chunks).collect(),
            _ => self.chunks.refs_of(share),
        };
        let retired = self.shares.retire(share)?;
        tracing::info!(%share, chunks = chunks.len(), "share dropped");
        let is_wanted = |id: &ChunkId| self.is_arriving(id) || self.may_be_of_unreadable(id);
        // One that cannot be removed must not keep the others here.
        let let_go = |id| self.chunks.let_go(share, id, is_wanted);
        chunks.iter().map(let_go).fold(Ok(()), io::Result::and)?;
        // The rest is removed when it is known whose it is.
        let all_gone = !chunks.iter().any(|id| self.may_be_of_unreadable(id));
        if all_gone { self.shares.forget_retired(&retired) } else { Ok(()) }
    }

    /// Whether a chunk may be of a share of which a record cannot be read, beside those that are known to name it.
    fn may_be_of_unreadable(&self, id: &ChunkId) -> bool {
        !self.shares.is_whole() && self.several.contains(id)
    }

    /// Whether an upload that is under way has sent the chunk.
    fn is_arriving(&self, id: &ChunkId) -> bool {
        self.uploads.lock().values().any(|upload| upload.arrived.contains(id))
    }
}

fn ids<'a>(manifest: &'a Manifest, chunks: &'a ChunkSet) -> impl Iterator<Item = ChunkId> + 'a {
    chunks.iter().map(|index| manifest.chunk(index))
}

/// The moment so long ago, as files are dated.
fn long_ago(age: Duration) -> SystemTime {
    clock::moment(clock::now_ms().saturating_sub(millis(age))).into()
}
