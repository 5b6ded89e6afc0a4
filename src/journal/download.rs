//! The receiver's journal: which chunks are already in the temporary.
//!
//! Nothing is synced while a download runs: what this process wrote survives its end, and only a
//! crash of the whole system can lose it. Each boot of a system has an id; if it is another one on
//! resume, the receiver checks the chunks again instead of trusting the journal.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use parcelry_core::chunk_set::ChunkSet;
use parcelry_core::geometry::{ChunkIndex, Geometry};
use parcelry_core::id::ShareId;
use parcelry_core::name::SafePath;
use serde::{Deserialize, Serialize};

use super::records::Records;
use super::{key, lock};
use crate::disk::durable;
use crate::failure::{Failure, Kind};

const VERSION: u32 = 2;
const MAGIC: &[u8] = b"PRCD\x01";

/// What identifies a download's temporary.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DownloadHeader {
    version: u32,
    /// The share.
    pub share: ShareId,
    /// Where the result will be.
    #[serde(with = "super::path_text")]
    pub target: PathBuf,
    /// Where the bytes are until then.
    #[serde(with = "super::path_text")]
    pub temporary: PathBuf,
    /// The inode number of the temporary, to notice another one in its place; 0 if it could not be this user's alone.
    pub inode: u64,
    /// The directory that it is in and those above it, up to the root, to notice that their disk is away; none if that is
    /// not known.
    #[serde(rename = "folders")]
    pub directories: Vec<DirInode>,
    /// What is not in the temporary, as the file system does not take its name.
    pub left_out: Vec<LeftOut>,
    boot_id: Option<String>,
}

/// A directory as the system knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct DirInode {
    /// The number of its disk, which some file systems choose anew at each start.
    pub device: u64,
    /// Its inode number, which some file systems choose anew at each mount.
    pub inode: u64,
}

impl DirInode {
    /// The directory at a path; `None` if there is none.
    pub fn of(path: &Path) -> Option<Self> {
        let metadata = fs::metadata(path).ok().filter(fs::Metadata::is_dir)?;
        Some(Self { device: metadata.dev(), inode: metadata.ino() })
    }
}

/// An entry of the share that is not saved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeftOut {
    /// Its path in the share.
    pub path: SafePath,
    /// Why.
    pub why: String,
}

impl DownloadHeader {
    /// The header of a download that begins now.
    pub fn new(share: ShareId, target: PathBuf, temporary: PathBuf, inode: u64) -> Self {
        let directories = temporary.ancestors().skip(1).map_while(DirInode::of).collect();
        let (left_out, boot_id) = (Vec::new(), boot_id());
        Self { version: VERSION, share, target, temporary, inode, directories, left_out, boot_id }
    }
}

/// The journal of one download, locked against a second process.
#[derive(Debug)]
pub struct DownloadJournal {
    key: String,
    directory: PathBuf,
    records: Records<4>,
    _lock: File,
}

/// A download that was begun before.
#[derive(Debug)]
pub struct Resumed {
    /// Its temporary.
    pub header: DownloadHeader,
    /// The chunks that are in the temporary.
    pub done: ChunkSet,
    /// Whether the system has not crashed or restarted since they were written.
    pub trusted: bool,
}

impl DownloadJournal {
    /// Opens the journal of this share's download to this target; what was done before, if anything.
    pub fn open(
        state: &Path,
        share: ShareId,
        target: &Path,
        geometry: &Geometry,
    ) -> Result<(Self, Option<Resumed>), Failure> {
        let target_bytes = target.as_os_str().as_encoded_bytes();
        let key = key(&[share.as_bytes(), target_bytes]);
        let directory = state.join("downloads").join(&key);
        let failed = |error| Failure::io("open the journal in", &directory, &error);
        let lock = lock::take(&directory).map_err(failed)?.ok_or_else(|| {
            Failure::new(Kind::Other, "another parcelry is fetching the same share to the same place")
                .next("Wait for it to finish, or choose another place with -o.")
        })?;
        let header = fs::read(directory.join("download.json")).ok();
        let header = header.and_then(|bytes| serde_json::from_slice::<DownloadHeader>(&bytes).ok());
        let header = header.filter(|header| header.version == VERSION && header.share == share);
        if header.is_none() {
            // A list of chunks without a header is of another temporary: it would call holes good.
            let _ = fs::remove_file(directory.join("chunks"));
        }
        let (records, stored) = Records::open(&directory.join("chunks"), MAGIC).map_err(failed)?;
        let done = chunks(&stored, geometry);
        let resumed = header.map(|header| {
            // Chunks are noted before they are synced: after a crash of the system the notes may say too much.
            let trusted = header.boot_id.is_some() && header.boot_id == boot_id();
            Resumed { header, done, trusted }
        });
        Ok((Self { key, directory, records, _lock: lock }, resumed))
    }

    /// Tells this share's download to this target apart from all others of this user.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// Begins anew with this temporary: what was recorded before is forgotten.
    pub fn begin(&mut self, header: &DownloadHeader) -> io::Result<()> {
        let json = serde_json::to_vec(header).expect("a header has string keys");
        let _ = fs::remove_file(self.directory.join("chunks"));
        self.records = Records::open(&self.directory.join("chunks"), MAGIC)?.0;
        durable::persist(&self.directory.join("download.json"), &json)
    }

    /// Forgets all chunks but these: what is not believed now must not be believed by a later attempt either.
    pub fn keep(&mut self, done: &ChunkSet) -> io::Result<()> {
        let path = self.directory.join("chunks");
        let records = done.iter().flat_map(|index| index.get().to_be_bytes());
        let bytes: Vec<u8> = MAGIC.iter().copied().chain(records).collect();
        durable::persist(&path, &bytes)?;
        self.records = Records::open(&path, MAGIC)?.0;
        Ok(())
    }

    /// Notes that the chunk's bytes were written to the temporary.
    pub fn record(&self, index: ChunkIndex) -> io::Result<()> {
        self.records.append(&index.get().to_be_bytes())
    }

    /// Forgets the download: it is complete.
    pub fn forget(&self) -> io::Result<()> {
        fs::remove_dir_all(&self.directory)
    }
}

/// The chunks that the journal in the directory says are in the temporary, for who only looks.
pub(super) fn noted(directory: &Path, geometry: &Geometry) -> ChunkSet {
    let bytes = fs::read(directory.join("chunks")).unwrap_or_default();
    chunks(bytes.strip_prefix(MAGIC).unwrap_or_default().as_chunks().0, geometry)
}

fn chunks(records: &[[u8; 4]], geometry: &Geometry) -> ChunkSet {
    let mut chunks = ChunkSet::empty(geometry.chunk_count());
    let indices = records.iter().filter_map(|&record| geometry.index(u32::from_be_bytes(record)));
    indices.for_each(|index| chunks.insert(index));
    chunks
}

/// The id of this boot of the system (random(4) of Linux); `None` where there is none, so that
/// nothing is trusted there.
fn boot_id() -> Option<String> {
    fs::read_to_string("/proc/sys/kernel/random/boot_id").ok().map(|id| id.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use parcelry_core::geometry::ChunkSize;

    fn geometry() -> Geometry {
        Geometry::new(10 << 16, ChunkSize::from_log2(16).unwrap()).unwrap()
    }

    fn open(state: &Path) -> (DownloadJournal, Option<Resumed>) {
        DownloadJournal::open(state, ShareId::from_bytes([1; 32]), Path::new("/t"), &geometry()).unwrap()
    }

    fn header() -> DownloadHeader {
        DownloadHeader::new(ShareId::from_bytes([1; 32]), "/t".into(), "/t.part".into(), 5)
    }

    #[test]
    fn what_was_written_is_known_again() {
        let state = tempfile::tempdir().unwrap();
        let (mut journal, resumed) = open(state.path());
        assert!(resumed.is_none());
        journal.begin(&header()).unwrap();
        journal.record(geometry().index(3).unwrap()).unwrap();
        drop(journal);
        let (journal, resumed) = open(state.path());
        let resumed = resumed.unwrap();
        assert_eq!(resumed.header, header());
        assert_eq!(resumed.done.iter().map(ChunkIndex::get).collect::<Vec<_>>(), [3]);
        assert_eq!(resumed.trusted, cfg!(target_os = "linux"));
        journal.forget().unwrap();
        assert!(open(state.path()).1.is_none());
    }

    #[test]
    fn after_another_boot_nothing_is_trusted() {
        let state = tempfile::tempdir().unwrap();
        let (mut journal, _) = open(state.path());
        journal.begin(&DownloadHeader { boot_id: Some("another".into()), ..header() }).unwrap();
        drop(journal);
        assert!(!open(state.path()).1.unwrap().trusted);
    }

    #[test]
    fn what_is_not_kept_is_forgotten_and_what_follows_is_added() {
        let state = tempfile::tempdir().unwrap();
        let (mut journal, _) = open(state.path());
        journal.begin(&header()).unwrap();
        let index = |number| geometry().index(number).unwrap();
        [3, 4, 5].iter().for_each(|&number| journal.record(index(number)).unwrap());
        let mut kept = ChunkSet::empty(10);
        kept.insert(index(4));
        journal.keep(&kept).unwrap();
        journal.record(index(7)).unwrap();
        drop(journal);
        let resumed = open(state.path()).1.unwrap();
        assert_eq!(resumed.done.iter().map(ChunkIndex::get).collect::<Vec<_>>(), [4, 7]);
        assert_eq!(resumed.header, header());
    }

    #[test]
    fn beginning_anew_forgets_what_was_done() {
        let state = tempfile::tempdir().unwrap();
        let (mut journal, _) = open(state.path());
        journal.begin(&header()).unwrap();
        journal.record(geometry().index(3).unwrap()).unwrap();
        journal.begin(&header()).unwrap();
        drop(journal);
        assert!(open(state.path()).1.unwrap().done.is_empty());
    }
}
