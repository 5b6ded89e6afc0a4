//! How the file of a chunk leaves its place, together with its entry in the index and with the references to it.

use std::collections::{BTreeSet, HashSet};
use std::fs;
use std::io;
use std::time::SystemTime;

use parcelry_core::id::{ChunkId, ShareId};

use super::chunk_refs::Released;
use super::chunk_store::{ChunkStore, Entry, QUARANTINE};
use crate::crash::{self, Point};
use crate::disk::durable;

/// Why a chunk is in quarantine.
#[derive(Debug, Clone, Copy)]
pub(super) enum Quarantined {
    /// Its bytes are not those of its id.
    Damaged,
    /// Enough other peers hold it.
    Surplus,
    /// It came for an upload that never ended.
    Unfinished,
}

impl Quarantined {
    /// What stands after the chunk's id.
    pub(super) const fn suffix(self) -> &'static str {
        match self {
            Self::Damaged => "damaged",
            Self::Surplus => "surplus",
            Self::Unfinished => "unfinished",
        }
    }
}

impl ChunkStore {
    /// Notes that a share no longer holds a chunk, which stays where it is.
    pub(super) fn release(&self, share: ShareId, id: &ChunkId) -> Released {
        self.index.lock().refs.release(share, id)
    }

    /// Releases a share's reference and, if it was the last one, takes the chunk off the index in the same moment, so
    /// that no commit counts on it in between. Returns what stood there.
    fn release_and_take(&self, share: ShareId, id: &ChunkId, is_wanted: bool) -> Option<Option<Entry>> {
        let mut index = self.index.lock();
        if index.refs.release(share, id) != Released::Last || is_wanted {
            return None;
        }
        let entry = index.chunks.get(id).copied();
        index.take(id);
        Some(entry)
    }

    /// Notes that a share no longer holds a chunk, and does away with it if no other share holds it and nobody else wants
    /// it.
    fn release_and(
        &self,
        share: ShareId,
        id: &ChunkId,
        is_wanted: impl FnOnce(&ChunkId) -> bool,
        do_away: impl FnOnce(Option<Entry>) -> io::Result<()>,
    ) -> io::Result<()> {
        let _name = self.name(id).lock();
        match self.release_and_take(share, id, is_wanted(id)) {
            Some(entry) => do_away(entry),
            None => Ok(()),
        }
    }

    /// Notes that a share no longer holds a chunk, and removes it if no other share holds it and nobody else wants it.
    pub(super) fn let_go(
        &self,
        share: ShareId,
        id: &ChunkId,
        is_wanted: impl FnOnce(&ChunkId) -> bool,
    ) -> io::Result<()> {
        self.release_and(share, id, is_wanted, |_| self.unlink(id))
    }

    /// Notes that a share no longer holds a chunk, and quarantines it if no other share holds it and nobody else wants
    /// it: enough other peers have it.
    pub(super) fn drop_surplus(
        &self,
        share: ShareId,
        id: &ChunkId,
        is_wanted: impl FnOnce(&ChunkId) -> bool,
    ) -> io::Result<()> {
        self.release_and(share, id, is_wanted, |entry| self.quarantine(id, entry, Quarantined::Surplus))
    }

    /// Takes a chunk back into use that was dropped as surplus and is still here; `mark` notes for whom.
    pub(super) fn restore(&self, id: &ChunkId, mark: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        let _name = self.name(id).lock();
        let quarantined = self.quarantine_path(id, Quarantined::Surplus);
        let Ok(metadata) = fs::symlink_metadata(&quarantined) else { return Ok(()) };
        if self.contains(id) {
            return Ok(());
        }
        mark()?;
        durable::move_and_date(&quarantined, &self.path(id))?;
        let mut index = self.index.lock();
        index.quarantine_bytes = index.quarantine_bytes.saturating_sub(metadata.len());
        index.put(*id, Entry { bytes: metadata.len(), since: 0, verified: false });
        Ok(())
    }

    /// Removes what was quarantined before `moment`, but for these chunks that were let go of as surplus.
    pub(super) fn empty_quarantine(&self, moment: SystemTime, kept: &BTreeSet<ChunkId>) -> io::Result<()> {
        for file in fs::read_dir(self.root.join(QUARANTINE))? {
            let file = file?;
            let name = file.file_name();
            let id = name.to_str().and_then(|name| name.strip_suffix(".surplus")?.parse().ok());
            if id.is_some_and(|id| kept.contains(&id)) {
                continue;
            }
            let metadata = file.metadata()?;
            if metadata.modified()? < moment {
                fs::remove_file(file.path())?;
                let mut index = self.index.lock();
                index.quarantine_bytes = index.quarantine_bytes.saturating_sub(metadata.len());
            }
        }
        Ok(())
    }

    /// Removes a chunk unless a share holds it. Returns whether it was removed.
    pub(super) fn remove_unreferenced(&self, id: &ChunkId) -> io::Result<bool> {
        let _name = self.name(id).lock();
        {
            // One step under one lock: a reference that comes later finds the chunk gone.
            let mut index = self.index.lock();
            if index.refs.is_referenced(id) {
                return Ok(false);
            }
            index.take(id);
        }
        self.unlink(id).map(|()| true)
    }

    /// Quarantines a chunk that came for an upload which never ended, unless a share holds it. Returns whether it was
    /// quarantined.
    pub(super) fn quarantine_unfinished(&self, id: &ChunkId) -> io::Result<bool> {
        let _name = self.name(id).lock();
        let entry = {
            let mut index = self.index.lock();
            let Some(entry) = index.chunks.get(id).copied() else { return Ok(false) };
            if index.refs.is_referenced(id) {
                return Ok(false);
            }
            index.take(id);
            entry
        };
        self.quarantine(id, Some(entry), Quarantined::Unfinished).map(|()| true)
    }

    /// Removes everything that came since the last good sync: what the disk shows of it need not be on it. Returns
    /// what shares held of it.
    pub(super) fn remove_unsynced(&self) -> HashSet<ChunkId> {
        let good = self.syncs.good();
        let index = self.index.lock();
        let unsynced = index.chunks.iter().filter(|(_, entry)| entry.since > good);
        let unsynced: Vec<ChunkId> = unsynced.map(|(id, _)| *id).collect();
        // A name is locked before the index, never the other way round.
        drop(index);
        let mut referenced = HashSet::new();
        for id in unsynced {
            let _name = self.name(&id).lock();
            if self.take_entry(&id).0 {
                referenced.insert(id);
            }
            if let Err(error) = self.unlink(&id) {
                tracing::error!(%id, %error, "cannot remove a chunk that may not be on the disk");
            }
        }
        referenced
    }

    /// Quarantines a damaged chunk, unless a good one has come in its place meanwhile, or it was read wrongly.
    /// Returns whether it is good.
    pub(super) fn quarantine_damaged(&self, id: &ChunkId, sealed_len: usize) -> io::Result<bool> {
        let _name = self.name(id).lock();
        let Some(bytes) = self.index.lock().chunks.get(id).map(|entry| entry.bytes) else { return Ok(false) };
        if bytes == sealed_len as u64 && self.is_intact(id)? {
            return Ok(true);
        }
        let (is_referenced, entry) = self.take_entry(id);
        if is_referenced {
            self.quarantine(id, entry, Quarantined::Damaged)?;
        } else {
            self.unlink(id)?;
        }
        Ok(false)
    }

    /// Takes a chunk off the index. Returns whether any share holds it, and what stood there.
    fn take_entry(&self, id: &ChunkId) -> (bool, Option<Entry>) {
        let mut index = self.index.lock();
        let entry = index.chunks.get(id).copied();
        index.take(id);
        (index.refs.is_referenced(id), entry)
    }

    /// Moves a chunk into quarantine that is off the index, under the lock of its name; none there is no error.
    fn quarantine(&self, id: &ChunkId, entry: Option<Entry>, why: Quarantined) -> io::Result<()> {
        let to = self.quarantine_path(id, why);
        let replaced = fs::symlink_metadata(&to).map_or(0, |metadata| metadata.len());
        let moved = durable::move_and_date(&self.path(id), &to);
        crash::at(Point::ChunkQuarantined);
        let mut index = self.index.lock();
        match moved {
            Ok(()) => {
                let bytes = entry.map_or(0, |entry| entry.bytes);
                index.quarantine_bytes = index.quarantine_bytes.saturating_sub(replaced) + bytes;
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => {
                // The file is where it was, and so the chunk is still here.
                entry.into_iter().for_each(|entry| index.put(*id, entry));
                Err(error)
            }
        }
    }

    /// Removes the file of a chunk that is off the index, under the lock of its name; none there is no error.
    fn unlink(&self, id: &ChunkId) -> io::Result<()> {
        #[cfg(test)]
        self.unsynced.lock().remove(id);
        match fs::remove_file(self.path(id)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}
