//! The sender's journal: keys, files, and the id of every chunk before it leaves.
//!
//! A chunk's nonce depends on its index only, so one index must never be sealed with two contents
//! under one key. That is why the ids are on stable storage before the chunks leave: a resumed share
//! seals each chunk again and compares; if one differs, the file changed, and a new share with a new
//! salt begins.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use swarmdrop_core::geometry::ChunkIndex;
use swarmdrop_core::id::{ChunkId, PeerId, Secret};
use swarmdrop_core::links::Link;
use swarmdrop_core::modes::FolderMode;
use swarmdrop_core::name::SafePath;

use super::records::Records;
use super::{key, secret_text};
use crate::durable;
use crate::failure::{Failure, Kind};

const VERSION: u32 = 2;
const MAGIC: &[u8] = b"SWDU\x01";

/// What identifies an upload, and everything that is needed to go on with it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UploadHeader {
    version: u32,
    /// The seed of the share's key pair.
    #[serde(with = "secret_text")]
    pub seed: Secret,
    /// The secret of the link.
    #[serde(with = "secret_text")]
    pub secret: Secret,
    /// The salt of this encryption run.
    pub salt: [u8; 32],
    /// The base-two logarithm of the chunk size.
    pub chunk_log2: u8,
    /// The name that the receiver sees.
    pub name: SafePath,
    /// When the share was begun, in milliseconds since the Unix epoch.
    pub created_ms: u64,
    /// The files as they were then.
    pub files: Vec<SourceFile>,
    /// The folders that held nothing then.
    pub dirs: Vec<SafePath>,
    /// The folders whose permissions were not the usual ones.
    pub dir_modes: Vec<FolderMode>,
    /// The symlinks as they were then.
    pub links: Vec<Link>,
}

/// A file of an upload, and how to notice that it changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceFile {
    /// Where it is on this machine; `None` for what was read at the start: see `spooled_at`.
    #[serde(with = "super::path_text::optional")]
    pub disk: Option<PathBuf>,
    /// Where it begins among what was read at the start, because it cannot be read again or does not tell its length.
    #[serde(default)]
    pub spooled_at: u64,
    /// The path that the receiver sees.
    pub path: SafePath,
    /// Bytes of the file.
    pub size: u64,
    /// When it was last changed: nanoseconds since the Unix epoch.
    pub modified_ns: i128,
    /// Its inode number.
    pub inode: u64,
    /// Its permissions.
    pub mode: u32,
}

impl UploadHeader {
    /// A new upload with these keys.
    pub fn new(seed: Secret, secret: Secret, salt: [u8; 32], chunk_log2: u8, name: SafePath) -> Self {
        let created_ms = crate::clock::now_ms();
        let (files, dirs, dir_modes, links) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        Self {
            version: VERSION,
            seed,
            secret,
            salt,
            chunk_log2,
            name,
            created_ms,
            files,
            dirs,
            dir_modes,
            links,
        }
    }
}

/// The journal of one upload, locked against a second process.
#[derive(Debug)]
pub struct UploadJournal {
    folder: PathBuf,
    header: UploadHeader,
    records: Records<36>,
    ids: Mutex<BTreeMap<u32, ChunkId>>,
    _lock: File,
}

impl UploadJournal {
    /// The folder of the upload of these paths to this tracker with these options.
    pub fn folder(state: &Path, tracker: &str, paths: &[PathBuf], options: &str) -> PathBuf {
        let mut parts = vec![tracker.as_bytes(), options.as_bytes()];
        parts.extend(paths.iter().map(|path| path.as_os_str().as_encoded_bytes()));
        state.join("uploads").join(key(&parts))
    }

    /// Opens the journal in the folder, if there is one that can be read.
    pub fn resume(folder: &Path) -> Result<Option<Self>, Failure> {
        let header = match fs::read(folder.join("upload.json")) {
            Ok(bytes) => serde_json::from_slice::<UploadHeader>(&bytes).ok(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(Failure::io("read", folder, &error)),
        };
        let Some(header) = header.filter(|header| header.version == VERSION) else { return Ok(None) };
        Self::open(folder, header).map(Some)
    }

    /// Begins a new upload in the folder; an old one there is forgotten.
    pub fn begin(folder: &Path, header: UploadHeader) -> Result<Self, Failure> {
        let failed = |error| Failure::io("write the journal in", folder, &error);
        durable::create_private_folder(folder).map_err(failed)?;
        for old in ["chunks", "manifest", "peers"] {
            match fs::remove_file(folder.join(old)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
                _ => {}
            }
        }
        let json = serde_json::to_vec(&header).expect("a header has string keys");
        durable::persist(&folder.join("upload.json"), &json).map_err(failed)?;
        Self::open(folder, header)
    }

    fn open(folder: &Path, header: UploadHeader) -> Result<Self, Failure> {
        let failed = |error| Failure::io("open the journal in", folder, &error);
        let lock = durable::open_private(&folder.join("lock")).map_err(failed)?;
        lock.try_lock().map_err(|_| {
            Failure::new(Kind::Other, "another swarmdrop is sharing the same files right now")
                .next("Wait for it to finish.")
        })?;
        let (records, stored) = Records::open(&folder.join("chunks"), MAGIC).map_err(failed)?;
        let parse = |record: &[u8; 36]| {
            let (index, id) = record.split_at(4);
            let index = u32::from_be_bytes(index.try_into().unwrap_or_default());
            (index, ChunkId::from_bytes(id.try_into().unwrap_or_default()))
        };
        let ids = Mutex::new(stored.iter().map(parse).collect());
        Ok(Self { folder: folder.to_owned(), header, records, ids, _lock: lock })
    }

    /// Keys and files.
    pub const fn header(&self) -> &UploadHeader {
        &self.header
    }

    /// The id under which the chunk left before, if it did.
    pub fn id(&self, index: ChunkIndex) -> Option<ChunkId> {
        self.ids.lock().get(&index.get()).copied()
    }

    /// Puts the chunk's id on stable storage. It must happen before the chunk leaves, which it may under the id that is
    /// returned only: the first one that was noted for it.
    pub fn record(&self, index: ChunkIndex, id: ChunkId) -> io::Result<ChunkId> {
        let noted = {
            let mut ids = self.ids.lock();
            match ids.get(&index.get()) {
                Some(noted) => *noted,
                None => {
                    let mut record = [0; 36];
                    record[..4].copy_from_slice(&index.get().to_be_bytes());
                    record[4..].copy_from_slice(id.as_bytes());
                    self.records.append(&record)?;
                    ids.insert(index.get(), id);
                    id
                }
            }
        };
        self.records.sync()?;
        Ok(noted)
    }

    /// Puts the manifest on stable storage: its metadata is sealed once and sent as it is ever after.
    pub fn put_manifest(&self, encoded: &[u8]) -> io::Result<()> {
        durable::persist(&self.folder.join("manifest"), encoded)
    }

    /// The manifest, if it was made already.
    pub fn manifest(&self) -> Option<Vec<u8>> {
        fs::read(self.folder.join("manifest")).ok()
    }

    /// Notes the peers that the share goes to, so that a resumed share goes to the same.
    pub fn put_peers(&self, peers: &[PeerId]) -> io::Result<()> {
        let json = serde_json::to_vec(peers).expect("ids are strings");
        durable::persist(&self.folder.join("peers"), &json)
    }

    /// The peers that the share went to before.
    pub fn peers(&self) -> Vec<PeerId> {
        let json = fs::read(self.folder.join("peers")).unwrap_or_default();
        serde_json::from_slice(&json).unwrap_or_default()
    }

    /// Forgets the upload: it is published, or its files changed.
    pub fn forget(&self) -> io::Result<()> {
        fs::remove_dir_all(&self.folder)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use swarmdrop_core::geometry::{ChunkSize, Geometry};

    fn header() -> UploadHeader {
        let name = SafePath::parse("a").unwrap();
        UploadHeader::new(Secret::from_bytes([1; 32]), Secret::from_bytes([2; 32]), [3; 32], 20, name)
    }

    fn index(index: u32) -> ChunkIndex {
        Geometry::new(1 << 30, ChunkSize::from_log2(20).unwrap()).unwrap().index(index).unwrap()
    }

    #[test]
    fn an_upload_is_found_again_with_its_keys_and_ids() {
        let state = tempfile::tempdir().unwrap();
        let folder = UploadJournal::folder(state.path(), "t", &["/a".into()], "2");
        assert!(UploadJournal::resume(&folder).unwrap().is_none());
        let journal = UploadJournal::begin(&folder, header()).unwrap();
        journal.record(index(7), ChunkId::of(b"seven")).unwrap();
        journal.put_manifest(b"manifest").unwrap();
        drop(journal);
        let journal = UploadJournal::resume(&folder).unwrap().unwrap();
        assert_eq!(journal.header().secret, header().secret);
        assert_eq!((journal.id(index(7)), journal.id(index(8))), (Some(ChunkId::of(b"seven")), None));
        assert_eq!(journal.manifest().as_deref(), Some(&b"manifest"[..]));
        journal.forget().unwrap();
        drop(journal);
        assert!(UploadJournal::resume(&folder).unwrap().is_none());
    }

    #[test]
    fn a_new_upload_forgets_the_old_ids() {
        let state = tempfile::tempdir().unwrap();
        let journal = UploadJournal::begin(state.path(), header()).unwrap();
        journal.record(index(0), ChunkId::of(b"old")).unwrap();
        drop(journal);
        let journal = UploadJournal::begin(state.path(), header()).unwrap();
        assert_eq!(journal.id(index(0)), None);
    }

    #[test]
    fn two_processes_do_not_share_a_journal() {
        let state = tempfile::tempdir().unwrap();
        let _journal = UploadJournal::begin(state.path(), header()).unwrap();
        assert!(UploadJournal::resume(state.path()).unwrap_err().what.contains("another swarmdrop"));
    }

    #[test]
    fn uploads_of_other_paths_trackers_or_options_have_journals_of_their_own() {
        let folder = |tracker, path: &str, options| {
            UploadJournal::folder(Path::new("/s"), tracker, &[path.into()], options)
        };
        let all =
            [folder("t", "/a", "2"), folder("u", "/a", "2"), folder("t", "/b", "2"), folder("t", "/a", "3")];
        let distinct: std::collections::BTreeSet<_> = all.iter().collect();
        assert_eq!(distinct.len(), all.len());
    }
}
