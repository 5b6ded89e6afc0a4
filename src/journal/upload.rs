//! The sender's journal: keys, files, and the id of every chunk before it leaves.
//!
//! A chunk's nonce depends on its index only, so one index must never be sealed with two contents
//! under one key. That is why the ids are on stable storage before the chunks leave: a resumed share
//! seals each chunk again and compares; if one differs, the file changed, and a new share with a new
//! salt begins.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parcelry_core::geometry::ChunkIndex;
use parcelry_core::holes::Holes;
use parcelry_core::id::{ChunkId, PeerId, Secret, TrackerId};
use parcelry_core::links::Link;
use parcelry_core::modes::DirMode;
use parcelry_core::name::SafePath;
use parking_lot::Mutex;
use serde::ser::SerializeStruct;
use serde::{Deserialize, Serialize, Serializer};

use super::path_text::Written;
use super::records::Records;
use super::{key, lock, secret_text};
use crate::disk::durable;
use crate::failure::{Failure, Kind};

/// A version that knows of fewer fields would seal other bytes under the same keys.
const VERSION: u32 = 3;
const HEADER: &str = "upload.json";
/// The manifest, from before it leaves.
const MANIFEST: &str = "manifest";
/// The peers of the last placement.
const PEERS: &str = "peers";
/// The peers that were asked to commit, from before the first is.
const COMMITTED: &str = "committed";
/// Made when publishing was answered, before the link is out.
const PUBLISHED: &str = "published";
const MAGIC: &[u8] = b"PRCU\x01";
/// Bytes of the header that are written at once.
const WRITE_BYTES: usize = 64 << 10;

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
    /// The tracker that it goes through.
    pub through: Through,
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
    /// The directories that held nothing then.
    pub dirs: Vec<SafePath>,
    /// The directories whose permissions were not the usual ones.
    pub dir_modes: Vec<DirMode>,
    /// The symlinks as they were then.
    pub links: Vec<Link>,
}

/// A file of an upload, and how to notice that it changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceFile {
    /// Where its bytes are.
    #[serde(flatten)]
    pub origin: Origin,
    /// The path that the receiver sees.
    pub path: SafePath,
    /// Bytes of the file.
    pub size: u64,
    /// Its holes, which are not in the stream. They stay what they were when the share began, whatever the disk says
    /// later: with others, an index would stand for other bytes.
    #[serde(default, skip_serializing_if = "Holes::is_empty")]
    pub holes: Holes,
    /// When it was last changed: nanoseconds since the Unix epoch.
    pub modified_ns: i128,
    /// Its inode number.
    pub inode: u64,
    /// Its permissions.
    pub mode: u32,
}

/// Where the bytes of a shared file are.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(from = "StoredOrigin")]
pub enum Origin {
    /// In a file on this machine.
    Disk(PathBuf),
    /// Among what was read at the start, because it cannot be read again or does not tell its length.
    Spool {
        /// Where it begins there.
        at: u64,
    },
}

/// How an origin stands in the journal.
#[derive(Deserialize)]
struct StoredOrigin {
    #[serde(deserialize_with = "super::path_text::deserialize_optional")]
    disk: Option<PathBuf>,
    spooled_at: u64,
}

impl From<StoredOrigin> for Origin {
    fn from(StoredOrigin { disk, spooled_at }: StoredOrigin) -> Self {
        disk.map_or(Self::Spool { at: spooled_at }, Self::Disk)
    }
}

/// As a [`StoredOrigin`], without a copy of its path.
impl Serialize for Origin {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let (disk, spooled_at) = match self {
            Self::Disk(disk) => (Some(Written(disk)), 0),
            Self::Spool { at } => (None, *at),
        };
        let mut fields = serializer.serialize_struct("Origin", 2)?;
        fields.serialize_field("disk", &disk)?;
        fields.serialize_field("spooled_at", &spooled_at)?;
        fields.end()
    }
}

impl SourceFile {
    /// Where it is on this machine; none for what was read at the start.
    pub fn disk(&self) -> Option<&Path> {
        match &self.origin {
            Origin::Disk(disk) => Some(disk),
            Origin::Spool { .. } => None,
        }
    }

    /// Bytes of the file that are in the stream.
    pub fn data_bytes(&self) -> u64 {
        self.size.saturating_sub(self.holes.bytes())
    }
}

/// By what an upload is found again: the same command goes on with it.
#[derive(Debug, Clone, Copy)]
pub struct UploadKey<'a> {
    /// The tracker that it goes through.
    pub tracker: &'a str,
    /// How many peers are to hold each chunk.
    pub replicas: u8,
    /// The base-two logarithm of the chunk size that was asked for.
    pub chunk_log2: Option<u8>,
    /// The name that was asked for.
    pub name: Option<&'a str>,
    /// What is shared.
    pub source: UploadSource<'a>,
}

/// What an upload is of.
#[derive(Debug, Clone, Copy)]
pub enum UploadSource<'a> {
    /// These paths, which are absolute.
    Paths(&'a [PathBuf]),
    /// What cannot be read again: the upload is never gone on with, nor mistaken for another. The bytes are random.
    Once(&'a [u8; 32]),
}

/// The tracker that an upload goes through.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Through {
    /// Where it is reached.
    pub tracker: String,
    /// Its key.
    pub id: TrackerId,
}

impl UploadHeader {
    /// A new upload with these keys.
    pub fn new(
        seed: Secret,
        secret: Secret,
        through: Through,
        salt: [u8; 32],
        chunk_log2: u8,
        name: SafePath,
    ) -> Self {
        // Kept, so that the metadata that a resumed upload seals again is the same to the byte.
        let created_ms = crate::clock::now_ms();
        let (files, dirs, dir_modes, links) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        Self {
            version: VERSION,
            seed,
            secret,
            through,
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
    place: UploadPlace,
    header: Arc<UploadHeader>,
    records: Records<36>,
    ids: Mutex<BTreeMap<u32, ChunkId>>,
    /// Whether it was forgotten. Held while the manifest is written, for whoever forgets the upload does not wait until that
    /// is made.
    forgotten: Mutex<bool>,
}

/// The directory of a journal, locked. Nothing in it is looked at before: keys that are read while another process forgets
/// which chunks left under them would seal other bytes under the same nonces.
#[derive(Debug)]
pub struct UploadPlace {
    directory: PathBuf,
    _lock: File,
}

impl UploadPlace {
    /// Locks the directory, which is made if need be.
    pub fn lock(directory: &Path) -> Result<Self, Failure> {
        let failed = |error| Failure::io("open the journal in", directory, &error);
        let lock = lock::take(directory).map_err(failed)?.ok_or_else(|| {
            Failure::new(Kind::Other, "another parcelry is sharing the same files right now")
                .next("Wait for it to finish.")
        })?;
        Ok(Self { directory: directory.to_owned(), _lock: lock })
    }

    /// Opens the journal, if there is one that can be read and of which all is there; else gives the place back.
    pub fn resume(self) -> Result<Result<UploadJournal, Self>, Failure> {
        let header = match fs::read(self.directory.join(HEADER)) {
            Ok(bytes) => serde_json::from_slice::<UploadHeader>(&bytes).ok(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(Failure::io("read", &self.directory, &error)),
        };
        let Some(header) = header.filter(|header| header.version == VERSION) else { return Ok(Err(self)) };
        // Without what has left, nothing may leave under these keys.
        if !self.directory.join("chunks").exists() {
            return Ok(Err(self));
        }
        UploadJournal::open(self, header.into()).map(Ok)
    }

    /// Begins a new upload; an old one there is forgotten.
    pub fn begin(self, header: impl Into<Arc<UploadHeader>>) -> Result<UploadJournal, Failure> {
        let header = header.into();
        let failed = |error| Failure::io("write the journal in", &self.directory, &error);
        remove_contents(&self.directory).map_err(failed)?;
        let write = |file: &mut File| -> io::Result<()> {
            // It has all files, and is never in memory as a whole.
            let mut file = BufWriter::with_capacity(WRITE_BYTES, file);
            serde_json::to_writer(&mut file, &*header)?;
            file.flush()
        };
        durable::persist_with(&self.directory.join(HEADER), write).map_err(failed)?;
        UploadJournal::open(self, header)
    }
}

/// How far it may have come what an upload sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sent {
    /// No peer has committed it.
    Nowhere,
    /// These peers may have committed it; nobody has its link.
    To(Vec<PeerId>),
    /// It is published: others may have its link.
    Published,
}

/// How far it may have come what the journal in the directory sent. An error tells nothing of it: nobody was told yet.
pub(super) fn sent(directory: &Path) -> io::Result<Sent> {
    if directory.join(PUBLISHED).try_exists()? {
        return Ok(Sent::Published);
    }
    let asked = peers_in(directory, COMMITTED)?;
    Ok(if asked.is_empty() { Sent::Nowhere } else { Sent::To(asked) })
}

/// The peers that a file of a journal lists; none if it is not there. A list that makes no sense is an error, too: with
/// none, nobody would be told.
fn peers_in(directory: &Path, name: &str) -> io::Result<Vec<PeerId>> {
    match fs::read(directory.join(name)) {
        Ok(json) => Ok(serde_json::from_slice(&json)?),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

/// Removes everything in a journal's directory but its lock, an upload's keys first: whatever interrupts it, no keys are
/// left without the ids of what left under them.
fn remove_contents(directory: &Path) -> io::Result<()> {
    match fs::remove_file(directory.join(HEADER)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        result => {
            result?;
            durable::sync_directory(directory)?;
        }
    }
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if path.file_name() != Some("lock".as_ref()) {
            fs::remove_file(path)?;
        }
    }
    Ok(())
}

/// Removes a journal's directory, which is locked: an upload's keys first, the lock last.
pub(super) fn remove_journal(directory: &Path) -> io::Result<()> {
    remove_contents(directory)?;
    fs::remove_file(directory.join("lock"))?;
    match fs::remove_dir(directory) {
        // Somebody begins another one there.
        Err(error) if matches!(error.kind(), io::ErrorKind::DirectoryNotEmpty | io::ErrorKind::NotFound) => {
            Ok(())
        }
        result => result,
    }
}

impl UploadJournal {
    /// The directory of an upload's journal.
    pub fn directory(state: &Path, upload: &UploadKey<'_>) -> PathBuf {
        // Each part goes in with its length, so what is not said is told from what is empty.
        let replicas = std::slice::from_ref(&upload.replicas);
        let mut parts: Vec<&[u8]> = vec![upload.tracker.as_bytes(), replicas, upload.chunk_log2.as_slice()];
        match upload.name {
            Some(name) => parts.extend([&b"named"[..], name.as_bytes()]),
            None => parts.push(b"unnamed"),
        }
        match upload.source {
            UploadSource::Paths(paths) => {
                parts.push(b"paths");
                parts.extend(paths.iter().map(|path| path.as_os_str().as_bytes()));
            }
            UploadSource::Once(bytes) => parts.extend([&b"once"[..], &bytes[..]]),
        }
        state.join("uploads").join(key(&parts))
    }

    fn open(place: UploadPlace, header: Arc<UploadHeader>) -> Result<Self, Failure> {
        let failed = |error| Failure::io("open the journal in", &place.directory, &error);
        let (records, stored) = Records::open(&place.directory.join("chunks"), MAGIC).map_err(failed)?;
        let parse = |record: &[u8; 36]| {
            let (index, id) = record.split_at(4);
            let index = u32::from_be_bytes(index.try_into().unwrap_or_default());
            (index, ChunkId::from_bytes(id.try_into().unwrap_or_default()))
        };
        let ids = Mutex::new(stored.iter().map(parse).collect());
        Ok(Self { place, header, records, ids, forgotten: Mutex::new(false) })
    }

    /// Gives the journal up, for another in its place. It stays locked: whoever waits for it has not read its keys.
    pub fn give_up(self) -> UploadPlace {
        self.place
    }

    /// Keys and files.
    pub fn header(&self) -> &UploadHeader {
        &self.header
    }

    /// The id under which the chunk left before, if it did.
    pub fn id(&self, index: ChunkIndex) -> Option<ChunkId> {
        self.ids.lock().get(&index.get()).copied()
    }

    /// Whether each of so many chunks has its id; the last ones may not be on stable storage yet.
    pub fn has_all(&self, chunk_count: u32) -> bool {
        let (ids, all) = (self.ids.lock(), chunk_count as usize);
        // A damaged record may be of a chunk that is none.
        ids.len() >= all && ids.range(..chunk_count).count() == all
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

    /// Puts the manifest on stable storage: its metadata is sealed once and sent as it is ever after. Of an upload that was
    /// forgotten nothing is put there.
    pub fn put_manifest(&self, encoded: &[u8]) -> io::Result<()> {
        let forgotten = self.forgotten.lock();
        if *forgotten {
            return Ok(());
        }
        // The ids that it lists go first: a chunk without one is sealed anew, and compared with nothing.
        self.records.sync()?;
        durable::persist(&self.place.directory.join(MANIFEST), encoded)
    }

    /// The manifest, if it was made already.
    pub fn manifest(&self) -> Option<Vec<u8>> {
        fs::read(self.place.directory.join(MANIFEST)).ok()
    }

    /// Notes the peers that the share goes to, so that a resumed share goes to the same.
    pub fn put_peers(&self, peers: &[PeerId]) -> io::Result<()> {
        let json = serde_json::to_vec(peers).expect("ids are strings");
        durable::persist(&self.place.directory.join(PEERS), &json)
    }

    /// The peers that the share went to before, as far as that is known: others will do.
    pub fn peers(&self) -> Vec<PeerId> {
        peers_in(&self.place.directory, PEERS).unwrap_or_default()
    }

    /// Puts on stable storage that these peers are asked to commit, before they are.
    pub fn note_committing(&self, peers: &[PeerId]) -> io::Result<()> {
        let mut all = peers_in(&self.place.directory, COMMITTED)?;
        let known = all.len();
        all.extend(peers);
        let mut seen = BTreeSet::new();
        all.retain(|peer| seen.insert(*peer));
        if all.len() == known {
            return Ok(());
        }
        let json = serde_json::to_vec(&all).expect("ids are strings");
        durable::persist(&self.place.directory.join(COMMITTED), &json)
    }

    /// Puts on stable storage that the share is published, before its link is out.
    pub fn note_published(&self) -> io::Result<()> {
        durable::persist(&self.place.directory.join(PUBLISHED), b"")
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.place.directory
    }

    /// How far it may have come what was sent.
    pub fn sent(&self) -> io::Result<Sent> {
        sent(&self.place.directory)
    }

    /// Forgets the upload: it is published, or its files changed.
    pub fn forget(&self) -> io::Result<()> {
        *self.forgotten.lock() = true;
        remove_journal(&self.place.directory)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use parcelry_core::geometry::{ChunkSize, Geometry};

    fn header() -> UploadHeader {
        let [seed, secret] = [1, 2].map(|byte| Secret::from_bytes([byte; 32]));
        let through = Through { tracker: "https://t:1".into(), id: TrackerId::from_bytes([4; 32]) };
        UploadHeader::new(seed, secret, through, [3; 32], 20, SafePath::parse("a").unwrap())
    }

    fn index(index: u32) -> ChunkIndex {
        Geometry::new(1 << 30, ChunkSize::from_log2(20).unwrap()).unwrap().index(index).unwrap()
    }

    fn begun(directory: &Path) -> UploadJournal {
        UploadPlace::lock(directory).unwrap().begin(header()).unwrap()
    }

    fn resumed(directory: &Path) -> Option<UploadJournal> {
        UploadPlace::lock(directory).unwrap().resume().unwrap().ok()
    }

    #[test]
    fn f22_keys_are_never_there_without_what_left_under_them() {
        let state = tempfile::tempdir().unwrap();
        let directory = state.path().join("upload");
        let journal = begun(&directory);
        journal.record(index(0), ChunkId::of(b"left")).unwrap();
        // The journal is locked from before its keys were read.
        assert!(UploadPlace::lock(&directory).is_err());
        drop(journal);
        // Killed, or out of space, at any step of forgetting it.
        for left in [&["upload.json"][..], &["upload.json", "manifest"]] {
            let copy = state.path().join("copy");
            fs::create_dir(&copy).unwrap();
            left.iter().for_each(|name| drop(fs::copy(directory.join(name), copy.join(name))));
            assert!(resumed(&copy).is_none(), "{left:?}");
            fs::remove_dir_all(copy).unwrap();
        }
        // Whoever waited for the lock finds no keys of what was forgotten.
        let journal = resumed(&directory).unwrap();
        let waiting = durable::open_private(&directory.join("lock")).unwrap();
        journal.forget().unwrap();
        drop(journal);
        assert!(waiting.try_lock().is_ok() && resumed(&directory).is_none());
        fs::write(directory.join("upload.json"), serde_json::to_vec(&header()).unwrap()).unwrap();
        let place = UploadPlace::lock(&directory).unwrap();
        let failed = place.begin(header()).unwrap();
        assert_eq!(failed.id(index(0)), None);
    }

    #[test]
    fn files_are_read_as_they_were_written_whatever_their_names_are() {
        let latin = std::ffi::OsStr::from_bytes(b"/M\xfcller");
        for (origin, text) in [
            (Origin::Disk("/Müller".into()), r#""disk":"/Müller","spooled_at":0"#),
            (Origin::Disk(latin.into()), r#""disk":[47,77,252,108,108,101,114],"spooled_at":0"#),
            (Origin::Spool { at: 7 }, r#""disk":null,"spooled_at":7"#),
        ] {
            let (path, holes) = (SafePath::parse("a").unwrap(), Holes::default());
            let file = SourceFile { origin, path, size: 5, holes, modified_ns: -1, inode: 6, mode: 0o644 };
            let rest = r#""path":"a","size":5,"modified_ns":-1,"inode":6,"mode":420"#;
            let json = serde_json::to_string(&file).unwrap();
            assert_eq!(json, format!("{{{text},{rest}}}"));
            assert_eq!(serde_json::from_str::<SourceFile>(&json).unwrap(), file);
        }
    }

    #[test]
    fn an_upload_is_found_again_with_its_keys_and_ids() {
        let state = tempfile::tempdir().unwrap();
        let directory = directory_in(state.path(), |_| {});
        assert!(resumed(&directory).is_none());
        let journal = begun(&directory);
        journal.record(index(7), ChunkId::of(b"seven")).unwrap();
        journal.put_manifest(b"manifest").unwrap();
        drop(journal);
        let journal = resumed(&directory).unwrap();
        assert_eq!(journal.header().secret, header().secret);
        assert_eq!((journal.id(index(7)), journal.id(index(8))), (Some(ChunkId::of(b"seven")), None));
        assert_eq!(journal.manifest().as_deref(), Some(&b"manifest"[..]));
        journal.forget().unwrap();
        drop(journal);
        assert!(resumed(&directory).is_none());
    }

    #[test]
    fn all_ids_are_there_once_each_chunk_has_its_own() {
        let state = tempfile::tempdir().unwrap();
        let journal = begun(state.path());
        assert!(journal.has_all(0) && !journal.has_all(2));
        // Of two chunks, none has the number 2.
        for (number, has_all) in [(0, false), (2, false), (1, true)] {
            journal.record(index(number), ChunkId::of(b"chunk")).unwrap();
            assert_eq!(journal.has_all(2), has_all, "{number}");
        }
    }

    #[test]
    fn of_an_upload_that_was_forgotten_no_manifest_is_kept() {
        let state = tempfile::tempdir().unwrap();
        let directory = state.path().join("upload");
        let journal = begun(&directory);
        journal.forget().unwrap();
        // Somebody begins another one there.
        fs::create_dir(&directory).unwrap();
        journal.put_manifest(b"manifest").unwrap();
        assert_eq!(fs::read_dir(&directory).unwrap().count(), 0);
    }

    #[test]
    fn f30_every_peer_that_was_ever_asked_to_commit_is_noted() {
        let state = tempfile::tempdir().unwrap();
        let journal = begun(state.path());
        let peers = |numbers: &[u8]| -> Vec<PeerId> {
            numbers.iter().map(|&number| PeerId::from_bytes([number; 32])).collect()
        };
        journal.put_peers(&peers(&[1, 2])).unwrap();
        journal.put_manifest(b"manifest").unwrap();
        assert_eq!(journal.sent().unwrap(), Sent::Nowhere, "none was asked so far");
        // A spare steps in, and another placement follows.
        journal.note_committing(&peers(&[1, 2])).unwrap();
        journal.note_committing(&peers(&[3])).unwrap();
        journal.put_peers(&peers(&[4])).unwrap();
        journal.note_committing(&peers(&[4, 3])).unwrap();
        drop(journal);
        let journal = resumed(state.path()).unwrap();
        assert_eq!((journal.peers(), journal.sent().unwrap()), (peers(&[4]), Sent::To(peers(&[1, 2, 3, 4]))));
        journal.note_published().unwrap();
        drop(journal);
        let journal = resumed(state.path()).unwrap();
        assert_eq!(journal.sent().unwrap(), Sent::Published);
        drop(journal);
        assert_eq!(begun(state.path()).sent().unwrap(), Sent::Nowhere);
    }

    #[test]
    fn a_new_upload_forgets_the_old_ids() {
        let state = tempfile::tempdir().unwrap();
        let journal = begun(state.path());
        journal.record(index(0), ChunkId::of(b"old")).unwrap();
        drop(journal);
        let journal = begun(state.path());
        assert_eq!(journal.id(index(0)), None);
    }

    #[test]
    fn two_processes_do_not_share_a_journal() {
        let state = tempfile::tempdir().unwrap();
        let _journal = begun(state.path());
        assert!(UploadPlace::lock(state.path()).unwrap_err().what.contains("another parcelry"));
    }

    /// The directory of an upload of two paths, but for what is changed.
    fn directory_in(state: &Path, change: impl FnOnce(&mut UploadKey<'_>)) -> PathBuf {
        let paths: [PathBuf; 2] = ["/a/b".into(), "/c".into()];
        let mut key = UploadKey {
            tracker: "https://t:1",
            replicas: 2,
            chunk_log2: Some(20),
            name: Some("n"),
            source: UploadSource::Paths(&paths),
        };
        change(&mut key);
        UploadJournal::directory(state, &key)
    }

    #[test]
    fn uploads_of_other_paths_trackers_or_options_have_journals_of_their_own() {
        let directory = |change: fn(&mut UploadKey<'_>)| directory_in(Path::new("/s"), change);
        assert_eq!(directory(|_| {}), directory(|_| {}));
        let all = [
            directory(|_| {}),
            directory(|key| key.tracker = "https://t:2"),
            directory(|key| key.replicas = 3),
            directory(|key| key.chunk_log2 = Some(21)),
            directory(|key| key.chunk_log2 = None),
            directory(|key| key.name = Some("m")),
            directory(|key| key.name = Some("")),
            directory(|key| key.name = None),
            directory(|key| key.source = UploadSource::Paths(&[])),
            directory(|key| key.source = UploadSource::Once(&[7; 32])),
            directory(|key| key.source = UploadSource::Once(&[8; 32])),
        ];
        let distinct: std::collections::BTreeSet<_> = all.iter().collect();
        assert_eq!(distinct.len(), all.len());
    }

    /// With other names, nobody's half-done uploads would be found again.
    #[test]
    fn the_folder_of_an_upload_keeps_its_name() {
        let directory = directory_in(Path::new("/s"), |_| {});
        assert_eq!(directory, Path::new("/s/uploads/8ba0ed9f02d26dc8f3c42807b342daba"));
        let paths: [PathBuf; 1] = ["/a/b".into()];
        let source = UploadSource::Paths(&paths);
        let key = UploadKey { tracker: "https://t:1", replicas: 2, chunk_log2: None, name: None, source };
        let directory = UploadJournal::directory(Path::new("/s"), &key);
        assert_eq!(directory, Path::new("/s/uploads/026cd5f35b9702f28c50605893da9c6a"));
    }
}
