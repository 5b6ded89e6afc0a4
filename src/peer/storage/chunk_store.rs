//! Chunks on disk: one file each, named by its id, in place only when its bytes hash to that id.
//!
//! ```text
//! DATA/store/STORE           marks the directory as a store
//!            chunks/ab/<id>  the sealed bytes; `ab` are the first two digits of the id
//!            tmp/            chunks that are arriving; emptied at start
//!            aside/<id>.damaged, aside/<id>.surplus, aside/<id>.unfinished
//!                            chunks in quarantine; removed after a day
//!            canary          written and synced to see whether the disk works again after it failed
//! ```
//! A chunk that arrives is not synced at once: [`ChunkStore::sync`] makes all chunks of a share survive a crash in one
//! go; [`ChunkStore::verify`] has re-read before what a crash may have torn.

use std::collections::{BTreeMap, HashSet};
use std::fs::{self, File};
use std::io;
use std::ops::Bound;
use std::path::{Path, PathBuf};

use parcelry_core::chunk_set::ChunkSet;
use parcelry_core::id::{ChunkId, ShareId};
use parcelry_core::manifest::Manifest;
use parking_lot::Mutex;

use super::chunk_file::{PendingChunk, PutError, hash_file};
use super::chunk_refs::ChunkRefs;
use super::chunk_removal::Quarantined;
use super::syncs::{SyncError, Syncs};
use crate::crash::{self, Point};
use crate::disk::durable;
use crate::failure::{Failure, Kind};

const MARKER: &str = "STORE";
/// The directory of the quarantine.
pub(super) const QUARANTINE: &str = "aside";
const MARKER_TEXT: &[u8] = b"parcelry chunk store, version 1\n";
/// Locks for the names of chunks: two chunks seldom have the same one.
const NAME_LOCKS: usize = 256;

/// The chunks of one peer.
///
/// Two kinds of lock, always in this order: the lock of a chunk's *name*, under which its file is named, quarantined or
/// removed, and its entry in the index with it; and the *index*, which is held for bookkeeping only. Under the name a
/// file may be hashed, marked and moved; under the index nothing waits for the disk.
#[derive(Debug)]
pub(super) struct ChunkStore {
    pub(super) root: PathBuf,
    directory: File,
    pub(super) index: Mutex<Index>,
    names: Box<[Mutex<()>]>,
    pub(super) syncs: Syncs,
    /// How many of the next syncs fail.
    #[cfg(test)]
    pub(super) failing: std::sync::atomic::AtomicU32,
    /// What a crash would cost, and whether a sync of it has failed: then no later one helps.
    #[cfg(test)]
    pub(super) unsynced: Mutex<BTreeMap<ChunkId, bool>>,
}

#[derive(Debug, Default)]
pub(super) struct Index {
    pub(super) chunks: BTreeMap<ChunkId, Entry>,
    /// Which shares hold each chunk, whether it is here or was lost.
    pub(super) refs: ChunkRefs,
    used_bytes: u64,
    /// Bytes in quarantine.
    pub(super) quarantine_bytes: u64,
}

impl Index {
    /// Notes a chunk, in the place of what was known of it.
    pub(super) fn put(&mut self, id: ChunkId, entry: Entry) {
        self.take(&id);
        self.used_bytes += entry.bytes;
        self.chunks.insert(id, entry);
    }

    /// Forgets a chunk. Returns its length.
    pub(super) fn take(&mut self, id: &ChunkId) -> u64 {
        let bytes = self.chunks.remove(id).map_or(0, |entry| entry.bytes);
        self.used_bytes -= bytes;
        bytes
    }
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Entry {
    pub(super) bytes: u64,
    /// The first sync that covers it; 0: it was synced before this process began.
    pub(super) since: u32,
    /// Whether the file's bytes were seen to hash to its id, by this process or before a commit.
    pub(super) verified: bool,
}

impl ChunkStore {
    /// Makes an empty store below `root`, unless there is one.
    pub(super) fn create(root: &Path) -> Result<(), Failure> {
        let failed = |error| Failure::io("make the chunk store in", root, &error);
        let marker = root.join(MARKER);
        if marker.exists() || root.join("chunks").exists() {
            return Ok(());
        }
        durable::create_private_directory(root).map_err(failed)?;
        durable::persist(&marker, MARKER_TEXT).map_err(failed)
    }

    /// Opens the store below `root`. One that is not there is not made: its disk may be missing.
    pub(super) fn open(root: &Path) -> Result<Self, Failure> {
        let failed = |error| Failure::io("open the chunk store in", root, &error);
        let marker = fs::read(root.join(MARKER));
        if marker.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::NotFound) {
            let what = format!("{} is no chunk store: it has no file {MARKER}", root.display());
            return Err(Failure::new(Kind::Other, what).next(
                "Is the right disk mounted there? If its chunks are really gone, give this peer an empty folder \
                 with --data: the swarm makes new copies of what was here.",
            ));
        }
        // A damaged marker is still there: the disk is mounted, and it is our store.
        if marker.map_err(failed)? != MARKER_TEXT {
            tracing::warn!("the store's marker was damaged, and is written again");
            durable::persist(&root.join(MARKER), MARKER_TEXT).map_err(failed)?;
        }
        // Nothing in it was acknowledged to anybody.
        let _ = fs::remove_dir_all(root.join("tmp"));
        for directory in ["chunks", "tmp", QUARANTINE] {
            durable::create_private_directory(&root.join(directory)).map_err(failed)?;
        }
        for first in 0..=255_u8 {
            durable::create_private_directory(&root.join(format!("chunks/{first:02x}"))).map_err(failed)?;
        }
        let mut index = read_index(&root.join("chunks")).map_err(failed)?;
        for file in fs::read_dir(root.join(QUARANTINE)).map_err(failed)? {
            let file = file.map_err(failed)?;
            index.quarantine_bytes += file.metadata().map_err(failed)?.len();
        }
        let directory = File::open(root).map_err(failed)?;
        Ok(Self {
            root: root.to_owned(),
            directory,
            index: Mutex::new(index),
            names: (0..NAME_LOCKS).map(|_| Mutex::default()).collect(),
            syncs: Syncs::default(),
            #[cfg(test)]
            failing: std::sync::atomic::AtomicU32::default(),
            #[cfg(test)]
            unsynced: Mutex::default(),
        })
    }

    /// Fails if the store's directory is gone, as when its disk was unmounted. What is not found then is not lost.
    pub(super) fn check_there(&self) -> io::Result<()> {
        let gone = |_| io::Error::other(format!("{} is gone: is its disk mounted?", self.root.display()));
        fs::symlink_metadata(self.root.join(MARKER)).map(drop).map_err(gone)
    }

    /// Whether files can be created, as far as the system knows without a try.
    pub(super) fn is_writable(&self) -> bool {
        rustix::fs::access(self.root.join("tmp"), rustix::fs::Access::WRITE_OK).is_ok()
    }

    /// Bytes in quarantine.
    pub(super) fn quarantine_bytes(&self) -> u64 {
        self.index.lock().quarantine_bytes
    }

    /// How many chunks are here.
    pub(super) fn count(&self) -> usize {
        self.index.lock().chunks.len()
    }

    /// Bytes of all chunks.
    pub(super) fn used_bytes(&self) -> u64 {
        self.index.lock().used_bytes
    }

    /// Bytes that the file system below the store has free for us.
    pub(super) fn disk_free_bytes(&self) -> io::Result<u64> {
        durable::free_bytes(&self.root)
    }

    /// Whether the chunk is here, as far as is known without reading it.
    pub(super) fn contains(&self, id: &ChunkId) -> bool {
        self.index.lock().chunks.contains_key(id)
    }

    /// Whether the chunk is here with bytes that were seen to be right; reads it if need be. A chunk
    /// that a crash has torn is removed.
    pub(super) fn verify(&self, id: &ChunkId, sealed_len: usize) -> io::Result<bool> {
        let Some(entry) = self.index.lock().chunks.get(id).copied() else { return Ok(false) };
        if entry.verified && entry.bytes == sealed_len as u64 {
            return Ok(true);
        }
        if entry.bytes != sealed_len as u64 || !self.is_intact(id)? {
            return self.quarantine_damaged(id, sealed_len);
        }
        if let Some(entry) = self.index.lock().chunks.get_mut(id) {
            entry.verified = true;
        }
        Ok(true)
    }

    /// Reads a chunk. Returns whether its bytes hash to its id: what the disk cannot read is as bad as other bytes.
    pub(super) fn is_intact(&self, id: &ChunkId) -> io::Result<bool> {
        match hash_file(&self.path(id)) {
            Ok(hash) => Ok(hash == *id),
            // If the whole store is gone, this says nothing about the chunk.
            Err(error) if error.kind() == io::ErrorKind::NotFound => self.check_there().map(|()| false),
            Err(error) if error.raw_os_error() == Some(rustix::io::Errno::IO.raw_os_error()) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// The first chunk after this one, and its length.
    pub(super) fn next_after(&self, after: Option<ChunkId>) -> Option<(ChunkId, u64)> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let index = self.index.lock();
        index.chunks.range((from, Bound::Unbounded)).next().map(|(id, entry)| (*id, entry.bytes))
    }

    /// Reads a chunk again, whatever was known of it. Returns whether it is as it should be: one that is not is
    /// quarantined.
    pub(super) fn reverify(&self, id: &ChunkId, sealed_len: usize) -> io::Result<bool> {
        if let Some(entry) = self.index.lock().chunks.get_mut(id) {
            entry.verified = false;
        }
        self.verify(id, sealed_len)
    }

    /// Notes that a share holds a chunk. Returns whether it did not before. From here on nothing that happens to other
    /// shares takes the chunk away.
    pub(super) fn add_ref(&self, share: ShareId, id: ChunkId) -> bool {
        self.index.lock().refs.add(share, id)
    }

    /// Notes what a share has held since before this process. If its list says so, it was verified before the commit.
    pub(super) fn add_committed_refs(
        &self,
        share: ShareId,
        chunks: impl Iterator<Item = ChunkId>,
        is_listed: bool,
    ) {
        let mut index = self.index.lock();
        for id in chunks {
            index.refs.add(share, id);
            if let Some(entry) = index.chunks.get_mut(&id) {
                entry.verified |= is_listed;
            }
        }
    }

    /// Notes of chunks that no share holds that they may have come just before the last process ended: no sync need
    /// have covered them.
    pub(super) fn doubt(&self, chunks: &HashSet<ChunkId>) {
        let mut index = self.index.lock();
        let Index { chunks: entries, refs, .. } = &mut *index;
        for id in chunks.iter().filter(|id| !refs.is_referenced(id)) {
            if let Some(entry) = entries.get_mut(id) {
                entry.since = 1;
            }
        }
    }

    /// The chunks of a share that are here, of those that are listed or, without a list, of all.
    pub(super) fn here(&self, manifest: &Manifest, listed: Option<&ChunkSet>) -> ChunkSet {
        let count = manifest.geometry().chunk_count();
        let listed = |index| listed.is_none_or(|listed| listed.contains(index));
        let index = self.index.lock();
        let here = manifest.chunks().filter(|(at, id)| listed(*at) && index.chunks.contains_key(id));
        ChunkSet::of(count, here.map(|(at, _)| at))
    }

    /// The shares that hold a chunk.
    pub(super) fn holders(&self, id: &ChunkId) -> Vec<ShareId> {
        self.index.lock().refs.holders(id)
    }

    /// Whether this share holds the chunk, or nobody does.
    pub(super) fn is_free_for(&self, share: ShareId, id: &ChunkId) -> bool {
        let index = self.index.lock();
        !index.refs.is_referenced(id) || index.refs.holds(share, id)
    }

    /// The chunks that several shares hold.
    pub(super) fn of_several(&self) -> HashSet<ChunkId> {
        self.index.lock().refs.of_several().copied().collect()
    }

    /// All chunks that a share holds. It looks at every chunk.
    pub(super) fn refs_of(&self, share: ShareId) -> Vec<ChunkId> {
        self.index.lock().refs.of_share(share)
    }

    /// The chunks that no share holds.
    pub(super) fn unreferenced(&self) -> Vec<ChunkId> {
        let index = self.index.lock();
        index.chunks.keys().filter(|id| !index.refs.is_referenced(id)).copied().collect()
    }

    /// Bytes of those of these chunks that are here and of no share, each counted once.
    pub(super) fn unreferenced_bytes(&self, mut ids: Vec<ChunkId>) -> u64 {
        ids.sort_unstable();
        ids.dedup();
        let index = self.index.lock();
        let unreferenced = ids.iter().filter(|id| !index.refs.is_referenced(id));
        unreferenced.filter_map(|id| index.chunks.get(id)).map(|entry| entry.bytes).sum()
    }

    /// Whether a share holds the chunk.
    pub(super) fn is_referenced(&self, id: &ChunkId) -> bool {
        self.index.lock().refs.is_referenced(id)
    }

    /// Whether this share holds the chunk.
    pub(super) fn is_held_by(&self, share: ShareId, id: &ChunkId) -> bool {
        self.index.lock().refs.holds(share, id)
    }

    /// Whether the chunk is here, and a sync that succeeded covers it.
    pub(super) fn is_synced(&self, id: &ChunkId) -> bool {
        let good = self.syncs.good();
        self.index.lock().chunks.get(id).is_some_and(|entry| entry.since <= good)
    }

    /// Makes room for a chunk to arrive.
    pub(super) fn create_chunk(&self) -> io::Result<PendingChunk> {
        PendingChunk::create(&self.root.join("tmp"))
    }

    /// Takes the next bytes of a chunk, or the first.
    pub(super) fn append(&self, pending: Option<PendingChunk>, bytes: &[u8]) -> io::Result<PendingChunk> {
        pending.map_or_else(|| self.create_chunk(), Ok)?.append(bytes)
    }

    /// Takes a chunk that has arrived, if its bytes are the right ones. Before it gets its name, `mark` notes for whom.
    pub(super) fn complete(
        &self,
        id: ChunkId,
        pending: PendingChunk,
        mark: impl FnOnce() -> io::Result<()>,
    ) -> Result<(), PutError> {
        let hash = pending.id();
        if hash != id {
            return Err(PutError::HashMismatch(hash));
        }
        crash::at(Point::ChunkWritten);
        let _name = self.name(&id).lock();
        let known = self.index.lock().chunks.get(&id).copied();
        // What is here may be synced and acknowledged already. The file that came now is not.
        if known.is_some_and(|entry| entry.verified || self.is_intact(&id).unwrap_or(false)) {
            return Ok(());
        }
        mark()?;
        let bytes = pending.name(&self.path(&id))?;
        crash::at(Point::ChunkNamed);
        #[cfg(test)]
        self.unsynced.lock().insert(id, false);
        self.index.lock().put(id, Entry { bytes, since: self.syncs.next(), verified: true });
        Ok(())
    }

    /// Makes these chunks survive a crash.
    pub(super) fn sync(&self, chunks: &[ChunkId]) -> Result<(), SyncError> {
        self.syncs.sync(|| self.sync_files(chunks))
    }

    /// Finds out whether a disk that failed works again: writes and syncs something.
    pub(super) fn prove(&self) -> io::Result<()> {
        self.syncs.recover(|| {
            durable::persist(&self.root.join("canary"), &[0xca; 4096])?;
            self.sync_files(&[])
        })
    }

    #[cfg_attr(target_os = "linux", expect(unused_variables, reason = "one call syncs all"))]
    fn sync_files(&self, chunks: &[ChunkId]) -> io::Result<()> {
        crash::check_sync()?;
        #[cfg(test)]
        {
            use std::sync::atomic::Ordering::Relaxed;
            if self.failing.fetch_update(Relaxed, Relaxed, |left| left.checked_sub(1)).is_ok() {
                self.unsynced.lock().values_mut().for_each(|has_failed| *has_failed = true);
                return Err(io::Error::from(rustix::io::Errno::IO));
            }
            self.unsynced.lock().retain(|_, has_failed| *has_failed);
        }
        #[cfg(target_os = "linux")]
        {
            durable::sync_file_system(&self.directory)
        }
        #[cfg(not(target_os = "linux"))]
        {
            // Here a sync covers one file only, and the file's name lasts when its directory is synced, too.
            for id in chunks {
                File::open(self.path(id))?.sync_all()?;
            }
            chunks
                .iter()
                .try_for_each(|id| durable::sync_directory(self.path(id).parent().unwrap_or(&self.root)))
        }
    }

    /// The files that a crash of the system at this moment might leave torn, or take away.
    #[cfg(test)]
    pub(super) fn unsynced(&self) -> Vec<(ChunkId, PathBuf)> {
        self.unsynced.lock().keys().map(|id| (*id, self.path(id))).collect()
    }

    /// Opens a chunk for reading. Returns it with its length as it stands on disk.
    pub(super) fn read(&self, id: &ChunkId) -> io::Result<(File, u64)> {
        if !self.contains(id) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let file = durable::open_read(&self.path(id))?;
        let bytes = file.metadata()?.len();
        Ok((file, bytes))
    }

    pub(super) fn name(&self, id: &ChunkId) -> &Mutex<()> {
        &self.names[usize::from(id.as_bytes()[0])]
    }

    pub(super) fn path(&self, id: &ChunkId) -> PathBuf {
        let name = id.to_string();
        self.root.join("chunks").join(&name[..2]).join(name)
    }

    pub(super) fn quarantine_path(&self, id: &ChunkId, why: Quarantined) -> PathBuf {
        self.root.join(QUARANTINE).join(format!("{id}.{}", why.suffix()))
    }
}

/// Files with other names than chunk ids are left alone and never served.
fn read_index(chunks: &Path) -> io::Result<Index> {
    let mut index = Index::default();
    for directory in fs::read_dir(chunks)? {
        let directory = directory?;
        if !directory.file_type()?.is_dir() {
            continue;
        }
        for file in fs::read_dir(directory.path())? {
            let file = file?;
            let id = file.file_name().to_str().and_then(|name| name.parse::<ChunkId>().ok());
            let Some(id) = id.filter(|_| file.file_type().is_ok_and(|kind| kind.is_file())) else { continue };
            let bytes = file.metadata()?.len();
            index.put(id, Entry { bytes, since: 0, verified: false });
        }
    }
    Ok(index)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::time::SystemTime;

    use super::super::chunk_file::read_piece;
    use super::*;

    fn store() -> (tempfile::TempDir, ChunkStore) {
        let directory = tempfile::tempdir().unwrap();
        ChunkStore::create(&directory.path().join("store")).unwrap();
        let store = reopen(&directory);
        (directory, store)
    }

    fn put(store: &ChunkStore, id: ChunkId, bytes: &[u8]) -> Result<(), PutError> {
        let mut pending = store.create_chunk()?;
        pending.write(bytes)?;
        store.complete(id, pending, || Ok(()))
    }

    fn reopen(directory: &tempfile::TempDir) -> ChunkStore {
        ChunkStore::open(&directory.path().join("store")).unwrap()
    }

    #[test]
    fn a_chunk_is_kept_under_its_own_hash_only() {
        let (_directory, store) = store();
        let id = ChunkId::of(b"bytes");
        assert!(matches!(put(&store, id, b"other"), Err(PutError::HashMismatch(_))));
        assert!(!store.contains(&id));
        put(&store, id, b"bytes").unwrap();
        put(&store, id, b"bytes").unwrap();
        assert_eq!(store.used_bytes(), 5);
        let (file, len) = store.read(&id).unwrap();
        let mut piece = vec![0; 99];
        read_piece(&file, 0, len, &mut piece).unwrap();
        assert_eq!((&piece[..], len), (&b"bytes"[..], 5));
        assert_eq!(fs::read_dir(store.root.join("tmp")).unwrap().count(), 0);
    }

    #[test]
    fn chunks_survive_a_restart_and_half_arrived_ones_do_not() {
        let (directory, store) = store();
        let id = ChunkId::of(b"bytes");
        put(&store, id, b"bytes").unwrap();
        let pending = store.create_chunk().unwrap();
        std::mem::forget(pending);
        drop(store);
        let store = reopen(&directory);
        assert!(store.contains(&id));
        assert_eq!(store.used_bytes(), 5);
        assert_eq!(fs::read_dir(store.root.join("tmp")).unwrap().count(), 0);
    }

    #[test]
    fn after_a_restart_a_torn_chunk_is_noticed_and_removed() {
        let (directory, store) = store();
        let (good, torn, short) = (ChunkId::of(b"good"), ChunkId::of(b"torn"), ChunkId::of(b"short"));
        for (id, bytes) in [(good, &b"good"[..]), (torn, b"torn"), (short, b"short")] {
            put(&store, id, bytes).unwrap();
        }
        fs::write(store.path(&torn), b"tor\0").unwrap();
        fs::write(store.path(&short), b"sho").unwrap();
        let store = reopen(&directory);
        assert!(store.verify(&good, 4).unwrap());
        assert!(!store.verify(&torn, 4).unwrap());
        assert!(!store.verify(&short, 5).unwrap());
        assert!(!store.contains(&torn) && !store.contains(&short));
    }

    #[test]
    fn a_chunk_of_two_shares_stays_until_both_let_go() {
        let (_directory, store) = store();
        let id = ChunkId::of(b"bytes");
        put(&store, id, b"bytes").unwrap();
        let [one, two] = [1, 2].map(|number| ShareId::from_bytes([number; 32]));
        store.add_ref(one, id);
        store.add_ref(two, id);
        for _ in 0..2 {
            store.let_go(one, &id, |_| false).unwrap();
            assert!(store.contains(&id) && store.is_referenced(&id));
        }
        store.let_go(two, &id, |_| false).unwrap();
        assert!(!store.contains(&id));
    }

    #[test]
    fn b3_a_chunk_that_rotted_after_it_was_verified_is_found_by_checking_again() {
        let (_directory, store) = store();
        let id = ChunkId::of(b"bytes");
        put(&store, id, b"bytes").unwrap();
        assert!(store.reverify(&id, 5).unwrap());
        fs::write(store.path(&id), b"bytez").unwrap();
        assert!(store.verify(&id, 5).unwrap(), "what was verified is not read each time");
        assert!(!store.reverify(&id, 5).unwrap());
        assert!(!store.contains(&id));
    }

    #[test]
    fn stray_files_are_left_alone() {
        let (directory, store) = store();
        fs::write(store.root.join("chunks/ab/stray"), b"x").unwrap();
        fs::write(store.root.join("chunks/stray"), b"x").unwrap();
        std::os::unix::fs::symlink("/etc/passwd", store.path(&ChunkId::of(b"link"))).unwrap();
        let store = reopen(&directory);
        assert_eq!(store.used_bytes(), 0);
        assert!(store.read(&ChunkId::of(b"link")).is_err());
    }

    #[test]
    fn b5_a_store_without_its_marker_is_not_taken_for_an_empty_one() {
        let (directory, store) = store();
        fs::remove_file(store.root.join(MARKER)).unwrap();
        assert!(store.check_there().is_err());
        ChunkStore::create(&store.root).unwrap();
        let error = ChunkStore::open(&directory.path().join("store")).unwrap_err();
        assert!(error.to_string().contains("mounted"), "{error}");
    }

    #[test]
    fn s16_a_verified_chunk_is_not_replaced_by_a_new_arrival_of_itself() {
        use std::os::unix::fs::MetadataExt;
        let (_directory, store) = store();
        let id = ChunkId::of(b"bytes");
        put(&store, id, b"bytes").unwrap();
        let inode = || fs::metadata(store.path(&id)).unwrap().ino();
        let before = inode();
        put(&store, id, b"bytes").unwrap();
        assert_eq!(inode(), before, "a power cut could tear what was acknowledged");
        fs::write(store.path(&id), b"bytez").unwrap();
        store.index.lock().chunks.get_mut(&id).unwrap().verified = false;
        put(&store, id, b"bytes").unwrap();
        assert_eq!(fs::read(store.path(&id)).unwrap(), b"bytes", "what is not known to be good is");
    }

    #[test]
    fn what_was_dropped_as_surplus_can_be_taken_back_for_a_while() {
        let (directory, store) = store();
        let id = ChunkId::of(b"bytes");
        let share = ShareId::from_bytes([1; 32]);
        let drop_surplus = |store: &ChunkStore| {
            store.add_ref(share, id);
            store.drop_surplus(share, &id, |_| false).unwrap();
        };
        put(&store, id, b"bytes").unwrap();
        drop_surplus(&store);
        assert!(!store.contains(&id) && store.read(&id).is_err());
        assert_eq!((store.used_bytes(), store.quarantine_bytes()), (0, 5));
        assert_eq!(reopen(&directory).quarantine_bytes(), 5);
        // Nothing is as old as that.
        store.empty_quarantine(SystemTime::UNIX_EPOCH, &BTreeSet::new()).unwrap();
        store.restore(&id, || Ok(())).unwrap();
        assert!(store.verify(&id, 5).unwrap());
        assert_eq!((store.used_bytes(), store.quarantine_bytes()), (5, 0));
        drop_surplus(&store);
        let later =
            fs::metadata(store.quarantine_path(&id, Quarantined::Surplus)).unwrap().modified().unwrap()
                + std::time::Duration::from_secs(1);
        store.empty_quarantine(later, &BTreeSet::from([id])).unwrap();
        assert_eq!(store.quarantine_bytes(), 5, "it may have to be taken back");
        store.empty_quarantine(later, &BTreeSet::new()).unwrap();
        store.restore(&id, || Ok(())).unwrap();
        assert!(!store.contains(&id) && store.quarantine_bytes() == 0);
    }

    #[test]
    fn b3_a_damaged_chunk_of_a_share_is_set_aside_and_a_good_one_takes_its_place() {
        let (_directory, store) = store();
        let id = ChunkId::of(b"bytes");
        let share = ShareId::from_bytes([1; 32]);
        put(&store, id, b"bytes").unwrap();
        store.add_ref(share, id);
        fs::write(store.path(&id), b"bytez").unwrap();
        assert!(!store.reverify(&id, 5).unwrap());
        assert_eq!(fs::read(store.quarantine_path(&id, Quarantined::Damaged)).unwrap(), b"bytez");
        put(&store, id, b"bytes").unwrap();
        assert!(store.is_referenced(&id) && store.reverify(&id, 5).unwrap());
        assert_eq!(store.holders(&id), [share], "its reference outlived the damage");
    }
}
