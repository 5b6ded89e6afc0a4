//! One share on its way out: its keys, its stream of bytes, its journal.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use parcelry_core::api::KnownChunks;
use parcelry_core::geometry::{ChunkIndex, ChunkSize, Geometry};
use parcelry_core::id::{ChunkId, PeerId, ServerId, ShareId};
use parcelry_core::limits::{LENGTH_BYTES_MAX, PREFERRED_MAX};
use parcelry_core::link::{Invite, ShareLink};
use parcelry_core::manifest::{Draft, Manifest, ShareKey};
use parcelry_core::metadata::{FileEntry, Metadata, MetadataError};
use parcelry_core::modes;
use parcelry_core::owner::{self, Act};
use parcelry_core::seal::{Header, ShareKeys, access_hash, access_token};
use parcelry_core::terms::{SignedTerms, Terms};
use time::OffsetDateTime;

use super::ShareRequest;
use super::changes::{Look, check_holes, look, unreadable};
use super::collect::Collected;
use super::halt::Halt;
use crate::buffers::Buffer;
use crate::clock;
use crate::crash::{self, Point};
use crate::disk::durable;
use crate::failure::{Failure, Kind};
use crate::identity::{random_bytes, random_secret};
use crate::journal::{
    Origin, Sent, SourceFile, Through, UploadHeader, UploadJournal, UploadKey, UploadPlace, UploadSource,
};
use crate::progress::Progress;
use crate::task::beside;

/// A share that is being sent.
pub(super) struct Upload {
    journal: UploadJournal,
    geometry: Geometry,
    key: ShareKey,
    keys: ShareKeys,
    metadata: Vec<u8>,
    /// Where each file starts in the stream.
    offsets: Vec<u64>,
    spool: Option<File>,
    resumed: bool,
    /// The files that had grown when it was gone on with.
    grown_before: Vec<SourceFile>,
    /// The one that it is begun instead of, and how far that came.
    replaced: Option<(UploadHeader, Sent)>,
}

impl Upload {
    /// Goes on with an interrupted upload of the same files, if they are what they were or have only grown, or begins a
    /// new one.
    pub(super) fn prepare(
        state: &Path,
        swarm: &Invite,
        request: &ShareRequest,
        collected: Collected,
        progress: &Progress,
    ) -> Result<Self, Failure> {
        if length(&collected.files) > LENGTH_BYTES_MAX {
            return Err(Failure::new(Kind::Usage, "a share has at most 8 PiB, with the holes of its files"));
        }
        let size = ChunkSize::fitting(total(&collected.files), request.chunk_size);
        let size = size.ok_or_else(|| Failure::new(Kind::Usage, "a share has at most 16 TiB"))?;
        let directory = journal_directory(state, swarm, request, &collected)?;
        let mut replaced = None;
        let place = match UploadPlace::lock(&directory)?.resume()? {
            Err(place) => place,
            Ok(journal)
                if collected.spool.is_some() || !may_be_continued(journal.header(), &collected, request) =>
            {
                replaced = Some((journal.header().clone(), sent(&journal)?));
                journal.give_up()
            }
            // Keys of an upload are only used again for the same bytes: a nonce must never seal two.
            Ok(journal) => {
                // A journal that does not tell who was asked to commit takes no further peers.
                let sent = sent(&journal)?;
                let mut upload = Self::from_journal(journal, None, true)?;
                match upload.grown(progress).map(|grown| grown.into_iter().cloned().collect()) {
                    Ok(grown) => {
                        upload.grown_before = grown;
                        return Ok(upload);
                    }
                    Err(Halt::Failed(failure) | Halt::Gone(failure)) => return Err(failure),
                    Err(Halt::Changed(_)) => {
                        replaced = Some((upload.header().clone(), sent));
                        upload.journal.give_up()
                    }
                }
            }
        };
        let (seed, secret, salt) = (random_secret()?, random_secret()?, random_bytes()?);
        let through = Through { tracker: swarm.tracker.to_string(), id: swarm.tracker_id };
        let mut header = UploadHeader::new(seed, secret, through, salt, size.log2(), collected.name);
        (header.files, header.dirs) = (collected.files, collected.dirs);
        (header.dir_modes, header.links) = (collected.dir_modes, collected.links);
        let header = Arc::new(header);
        // At the same time, as both take long for many files.
        let (journal, layout) = beside(|| place.begin(Arc::clone(&header)), || Layout::of(&header));
        Ok(Self { replaced, ..Self::new(journal?, layout?, collected.spool, false) })
    }

    fn from_journal(journal: UploadJournal, spool: Option<File>, resumed: bool) -> Result<Self, Failure> {
        let layout = Layout::of(journal.header())?;
        Ok(Self::new(journal, layout, spool, resumed))
    }

    fn new(journal: UploadJournal, layout: Layout, spool: Option<File>, resumed: bool) -> Self {
        let (header, Layout { geometry, offsets, metadata }) = (journal.header(), layout);
        let sealed_by = Header { chunk_size: geometry.chunk_size() };
        Self {
            geometry,
            key: ShareKey::from_seed(&header.seed),
            keys: ShareKeys::derive(&header.secret, &header.salt, sealed_by),
            metadata,
            offsets,
            spool,
            resumed,
            grown_before: Vec::new(),
            replaced: None,
            journal,
        }
    }

    /// The share's id.
    pub(super) fn share(&self) -> ShareId {
        self.key.share_id()
    }

    /// Bytes of all files, with their holes.
    pub(super) fn length(&self) -> u64 {
        length(&self.header().files)
    }

    /// How the stream is cut.
    pub(super) const fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    /// Whether it goes on from an interrupted upload.
    pub(super) const fn resumed(&self) -> bool {
        self.resumed
    }

    /// Keys and files.
    pub(super) fn header(&self) -> &UploadHeader {
        self.journal.header()
    }

    /// The owner's word for an act at one server, to go with this credential.
    pub(super) fn owner_token(&self, act: Act, at: impl Into<ServerId>, credential: &str) -> String {
        owner::sign(&self.key, act, at, credential)
    }

    /// The link under which receivers get it.
    pub(super) fn link(&self, swarm: &Invite) -> ShareLink {
        ShareLink {
            tracker: swarm.tracker.clone(),
            share: self.share(),
            secret: self.header().secret.clone(),
            tracker_id: Some(swarm.tracker_id),
        }
    }

    /// The peers that it went to before it was interrupted.
    pub(super) fn peers(&self) -> Vec<PeerId> {
        let mut peers = self.journal.peers();
        peers.truncate(PREFERRED_MAX);
        peers
    }

    /// Notes the peers that it goes to now.
    pub(super) fn set_peers(&self, peers: &[PeerId]) -> Result<(), Failure> {
        let noted = self.journal.put_peers(peers);
        noted.map_err(|error| journal_failure(&error))
    }

    /// Notes that these peers are asked to commit it, before they are.
    pub(super) fn note_committing(&self, peers: &[PeerId]) -> Result<(), Failure> {
        self.journal.note_committing(peers).map_err(|error| journal_failure(&error))
    }

    /// Notes that it is published, before its link is out.
    pub(super) fn note_published(&self) -> Result<(), Failure> {
        self.journal.note_published().map_err(|error| journal_failure(&error))
    }

    /// How far it may have come what was sent.
    pub(super) fn sent(&self) -> Result<Sent, Failure> {
        sent(&self.journal)
    }

    /// The upload of the same files that this one is begun instead of, and how far that came.
    pub(super) const fn replaced(&self) -> Option<&(UploadHeader, Sent)> {
        self.replaced.as_ref()
    }

    /// The ids of the chunks that left before.
    pub(super) fn known(&self) -> Vec<KnownChunks> {
        KnownChunks::runs(self.geometry.indices().filter_map(|index| Some((index, self.journal.id(index)?))))
    }

    /// Reads and seals a chunk, and puts its id on stable storage before it may leave. Tells `computed` when only the disk
    /// is left to wait for. Blocks.
    pub(super) fn seal(
        &self,
        index: ChunkIndex,
        mut bytes: Buffer,
        computed: impl FnOnce(),
    ) -> Result<(ChunkId, Bytes), Halt> {
        self.read(index, &mut bytes)?;
        self.keys.seal_chunk(&self.geometry, index, &mut bytes);
        let id = ChunkId::of(&bytes);
        computed();
        let noted = self.journal.record(index, id).map_err(|error| journal_failure(&error))?;
        crash::at(Point::ChunkNoted);
        // Others may be sealing the same chunk: what was noted first leaves, and nothing else.
        if noted == id { Ok((id, Bytes::from_owner(bytes))) } else { Err(self.changed_at(index)) }
    }

    /// Whether every chunk was read and sealed, and has its id.
    pub(super) fn is_sealed(&self) -> bool {
        self.journal.has_all(self.geometry.chunk_count())
    }

    /// The signed manifest, and the files that have grown meanwhile. It is made once, then sent as it is ever after. Every
    /// chunk must be sealed: the files are watched until then. What is written to them later is in no chunk, for one that is
    /// sealed again must be the same. Blocks.
    pub(super) fn manifest(&self, progress: &Progress) -> Result<(Manifest, Vec<&SourceFile>), Halt> {
        if let Some(encoded) = self.journal.manifest()
            && let Ok(manifest) = Manifest::decode(encoded, self.share())
        {
            return Ok((manifest, self.grown_before.iter().collect()));
        }
        let grown = self.grown(progress)?;
        let ids: Option<Vec<ChunkId>> = self.geometry.indices().map(|index| self.journal.id(index)).collect();
        let ids = ids.expect("every chunk was sealed before it is listed");
        let salt = &self.header().salt;
        let draft = Draft::new(&self.key, &self.keys, salt, self.geometry, &ids);
        let manifest = draft.finish(&self.key, &self.keys, &self.metadata);
        let kept = self.journal.put_manifest(manifest.encoded());
        kept.map_err(|error| journal_failure(&error))?;
        crash::at(Point::ManifestKept);
        Ok((manifest, grown))
    }

    /// The terms of the share as they are issued now.
    pub(super) fn terms(&self, request: &ShareRequest) -> SignedTerms {
        let terms = Terms {
            share: self.share(),
            issued_ms: clock::now_ms(),
            expires_ms: clock::ms_from_now(request.expires),
            replicas: request.replicas,
            access_sha256: access_hash(&access_token(&self.header().secret)),
            deleted: false,
        };
        SignedTerms::sign(&self.key, terms)
    }

    /// Forgets the journal; a failure to do so only leaves a directory behind.
    pub(super) fn forget(&self) {
        if let Err(error) = self.journal.forget() {
            tracing::warn!(%error, "cannot remove the journal");
        }
    }

    /// Fills the buffer with a chunk before it is sealed.
    fn read(&self, index: ChunkIndex, bytes: &mut Vec<u8>) -> Result<(), Halt> {
        let range = self.geometry.plain_range(index);
        bytes.truncate(self.geometry.plain_len(index));
        let mut filled = 0;
        let first = self.offsets.partition_point(|&offset| offset <= range.start).saturating_sub(1);
        for (file, &start) in self.header().files.iter().zip(&self.offsets).skip(first) {
            if start >= range.end {
                break;
            }
            let from = range.start.max(start) - start;
            let to = range.end.min(start + file.data_bytes()).saturating_sub(start);
            if from < to {
                let part = filled..filled + usize::try_from(to - from).expect("a chunk has at most 16 MiB");
                filled = part.end;
                self.read_file(file, from..to, &mut bytes[part])?;
            }
        }
        assert_eq!(filled, bytes.len(), "a chunk is read whole before it is sealed");
        Ok(())
    }

    /// Reads some of a file's data.
    fn read_file(&self, file: &SourceFile, data: Range<u64>, bytes: &mut [u8]) -> Result<(), Halt> {
        let read = match &file.origin {
            Origin::Disk(disk) => durable::open_read(disk).and_then(|opened| {
                let mut left = bytes;
                for run in file.holes.runs(data) {
                    let len = usize::try_from(run.data.end - run.data.start).map_err(io::Error::other)?;
                    let (part, rest) = left.split_at_mut(len);
                    opened.read_exact_at(part, run.position)?;
                    left = rest;
                }
                Ok(())
            }),
            Origin::Spool { at } => match &self.spool {
                Some(spool) => spool.read_exact_at(bytes, at + data.start),
                None => Err(io::ErrorKind::NotFound.into()),
            },
        };
        read.map_err(|error| unreadable(file, &error))
    }

    /// The files that have grown since the share began, whose first bytes are what was shared. All others are what they
    /// were.
    fn grown(&self, progress: &Progress) -> Result<Vec<&SourceFile>, Halt> {
        let files = &self.header().files;
        let looks = files.iter().map(look).collect::<Result<Vec<Look>, Halt>>()?;
        for file in files.iter().filter(|file| !file.holes.is_empty()) {
            check_holes(file)?;
        }
        if looks.iter().any(|look| *look != Look::Same) {
            self.read_again(&looks, progress)?;
        }
        let grown = files.iter().zip(&looks).filter(|(_, look)| **look == Look::Longer);
        Ok(grown.map(|(file, _)| file).collect())
    }

    /// Seals the chunks of files that were written to again, and compares: appending changes no byte that was sealed.
    fn read_again(&self, looks: &[Look], progress: &Progress) -> Result<(), Halt> {
        let left_before = self.geometry.indices().filter_map(|index| Some((index, self.journal.id(index)?)));
        let touched = left_before.filter_map(|(index, before)| {
            let range = self.geometry.plain_range(index);
            let first = self.offsets.partition_point(|&offset| offset <= range.start).saturating_sub(1);
            let last = self.offsets.partition_point(|&offset| offset < range.end);
            // Only chunks of files that were touched: reading everything again would cost as much as sharing anew.
            let moved = (first..last).find(|&file| looks[file] != Look::Same)?;
            Some((index, before, moved))
        });
        let touched: Vec<_> = touched.collect();
        if touched.is_empty() {
            return Ok(());
        }
        let len = |index| self.geometry.plain_len(index);
        let total_bytes = touched.iter().map(|(index, ..)| len(*index) as u64).sum();
        let stage = progress.stage("Reading again", total_bytes);
        let mut bytes = Vec::new();
        for (index, before, moved) in touched {
            bytes.resize(len(index), 0);
            self.read(index, &mut bytes)?;
            self.keys.seal_chunk(&self.geometry, index, &mut bytes);
            if ChunkId::of(&bytes) != before {
                return Err(Halt::Changed(self.header().files[moved].path.to_string()));
            }
            stage.advance(len(index) as u64);
        }
        Ok(())
    }

    fn changed_at(&self, index: ChunkIndex) -> Halt {
        let start = self.geometry.plain_range(index).start;
        let file = self.offsets.partition_point(|&offset| offset <= start).saturating_sub(1);
        Halt::Changed(self.header().files.get(file).map_or_else(String::new, |file| file.path.to_string()))
    }
}

/// What follows from the files of an upload.
struct Layout {
    geometry: Geometry,
    offsets: Vec<u64>,
    metadata: Vec<u8>,
}

impl Layout {
    fn of(header: &UploadHeader) -> Result<Self, Failure> {
        let (total, size) = (total(&header.files), ChunkSize::from_log2(header.chunk_log2).ok());
        let geometry = size.and_then(|size| Geometry::new(total, size));
        let geometry = geometry.ok_or_else(|| Failure::new(Kind::Usage, "a share has at most 16 TiB"))?;
        let offsets: Vec<u64> = header
            .files
            .iter()
            .scan(0, |end, file| {
                let start = *end;
                *end += file.data_bytes();
                Some(start)
            })
            .collect();
        // Checked as a receiver will: what he would refuse is not sent.
        let metadata = metadata(header, &offsets, &geometry);
        let encoded = metadata.check(&geometry).and_then(|()| metadata.encode()).map_err(|error| {
            let next = match error {
                MetadataError::TooMany(_) => "Share parts of the folder, or pack it into an archive first.",
                _ => "Rename it, then share again.",
            };
            Failure::new(Kind::Usage, format!("cannot share: {error}")).next(next)
        })?;
        Ok(Self { geometry, offsets, metadata: encoded })
    }
}

/// Whether an upload that was begun before is one of what was collected now, by all that can be told without reading.
fn may_be_continued(header: &UploadHeader, collected: &Collected, request: &ShareRequest) -> bool {
    let size = ChunkSize::fitting(total(&header.files), request.chunk_size);
    let is_continued = |(before, now): (&SourceFile, &SourceFile)| {
        // Holes stay what they were when the share began: whether they still are is looked at where files are.
        let same = SourceFile {
            size: now.size,
            holes: now.holes.clone(),
            modified_ns: now.modified_ns,
            inode: now.inode,
            ..before.clone()
        };
        same == *now && before.size <= now.size
    };
    size.is_some_and(|size| size.log2() == header.chunk_log2)
        && header.name == collected.name
        && header.dirs == collected.dirs
        && header.dir_modes == collected.dir_modes
        && header.links == collected.links
        && header.files.len() == collected.files.len()
        && header.files.iter().zip(&collected.files).all(is_continued)
}

/// Bytes of the stream.
fn total(files: &[SourceFile]) -> u64 {
    files.iter().map(SourceFile::data_bytes).fold(0, u64::saturating_add)
}

/// Bytes of all files, with their holes.
fn length(files: &[SourceFile]) -> u64 {
    files.iter().map(|file| file.size).fold(0, u64::saturating_add)
}

/// How far it may have come what was sent from a journal.
fn sent(journal: &UploadJournal) -> Result<Sent, Failure> {
    journal.sent().map_err(|error| {
        let what = format!("cannot read in the journal which peers may have the upload: {error}");
        let next = format!("If its disk does not give it again, remove {}.", journal.path().display());
        Failure::new(Kind::Other, what).next(next)
    })
}

fn journal_failure(error: &io::Error) -> Failure {
    Failure::new(Kind::Other, format!("cannot write the journal: {error}"))
}

fn journal_directory(
    state: &Path,
    swarm: &Invite,
    request: &ShareRequest,
    collected: &Collected,
) -> Result<PathBuf, Failure> {
    let (tracker, once) = (swarm.tracker.to_string(), random_bytes()?);
    let key = UploadKey {
        tracker: &tracker,
        replicas: request.replicas,
        chunk_log2: request.chunk_size.map(ChunkSize::log2),
        name: request.name.as_deref(),
        source: collected.paths.as_deref().map_or(UploadSource::Once(&once), UploadSource::Paths),
    };
    Ok(UploadJournal::directory(state, &key))
}

fn metadata(header: &UploadHeader, offsets: &[u64], geometry: &Geometry) -> Metadata {
    let entry = |(file, &offset): (&SourceFile, &u64)| FileEntry {
        path: file.path.clone(),
        offset,
        size: file.size,
        holes: file.holes.clone(),
        blake3: None,
        executable: modes::is_executable(file.mode),
        // Left out where `executable` says it all, so that plain shares stay as the format was first described.
        mode: Some(file.mode).filter(|&mode| mode != modes::of_file(modes::is_executable(mode))),
        modified: OffsetDateTime::from_unix_timestamp_nanos(file.modified_ns)
            .ok()
            .filter(|moment| (0..=9999).contains(&moment.year()))
            .unwrap_or(OffsetDateTime::UNIX_EPOCH),
    };
    let mut metadata = Metadata {
        original_filename: header.name.clone(),
        extension: String::new(),
        size: length(&header.files),
        chunk_count: geometry.chunk_count(),
        created: clock::moment(header.created_ms),
        files: header.files.iter().zip(offsets).map(entry).collect(),
        dirs: header.dirs.clone(),
        dir_modes: header.dir_modes.clone(),
        links: header.links.clone(),
    };
    if metadata.is_single_file() {
        metadata.extension = header.name.extension().to_owned();
    }
    metadata
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::fs;
    use std::io::Write;

    use super::*;
    use crate::buffers::Buffers;
    use crate::disk::holes::Largest;
    use crate::share::changes::Fingerprint;
    use parcelry_core::holes::Holes;
    use parcelry_core::id::TrackerId;
    use parcelry_core::name::SafePath;

    const CHUNK: usize = 1 << 16;
    const LEN: usize = 4 * CHUNK + 1000;

    /// An upload of one file, and all that ever left, by the share's salt.
    struct Field {
        directory: tempfile::TempDir,
        buffers: std::sync::Arc<Buffers>,
        left: BTreeMap<([u8; 32], u32), ChunkId>,
    }

    impl Field {
        fn new() -> Self {
            let field = Self::empty();
            fs::write(field.log(), vec![1; LEN]).unwrap();
            field
        }

        /// The file has a hole of one chunk's size, and one of three.
        fn with_holes() -> Self {
            let field = Self::empty();
            let log = File::create(field.log()).unwrap();
            for (at, len) in [(0, CHUNK), (2 * CHUNK, 2 * CHUNK), (7 * CHUNK, CHUNK + 1000)] {
                log.write_all_at(&vec![1; len], at as u64).unwrap();
            }
            let holes = [(CHUNK, CHUNK), (4 * CHUNK, 3 * CHUNK)].map(|(at, len)| (at as u64, len as u64));
            assert_eq!(field.holes(), Holes::new(holes).unwrap(), "the tests need a disk that makes holes");
            field
        }

        /// The file's holes as they are now.
        fn holes(&self) -> Holes {
            let (file, mut largest) = (File::open(self.log()).unwrap(), Largest::default());
            largest.note(0, &file, file.metadata().unwrap().len());
            largest.of_files().pop().unwrap_or_default().1
        }

        fn empty() -> Self {
            let directory = tempfile::tempdir().unwrap();
            Self { directory, buffers: Buffers::new(4, CHUNK + 16), left: BTreeMap::new() }
        }

        fn log(&self) -> PathBuf {
            self.directory.path().join("log")
        }

        fn journal(&self) -> PathBuf {
            self.directory.path().join("journal")
        }

        /// What a new command begins with.
        fn begin(&self) -> Upload {
            let name = SafePath::parse("log").unwrap();
            let (seed, secret) = (random_secret().unwrap(), random_secret().unwrap());
            let through = Through { tracker: "https://t:1".into(), id: TrackerId::from_bytes([1; 32]) };
            let salt = random_bytes().unwrap();
            let mut header = UploadHeader::new(seed, secret, through, salt, 16, name.clone());
            let now = self.log().metadata().unwrap();
            let Fingerprint { size, modified_ns, inode } = Fingerprint::from(&now);
            let (origin, holes, mode) = (Origin::Disk(self.log()), self.holes(), 0o644);
            header.files = vec![SourceFile { origin, path: name, size, holes, modified_ns, inode, mode }];
            Upload::from_journal(
                UploadPlace::lock(&self.journal()).unwrap().begin(header).unwrap(),
                None,
                false,
            )
            .unwrap()
        }

        /// What the same command run again goes on with.
        fn resume(&self) -> Upload {
            let journal = UploadPlace::lock(&self.journal()).unwrap().resume().unwrap().ok();
            if let Some(journal) = journal {
                let upload = Upload::from_journal(journal, None, true).unwrap();
                if upload.grown(&Progress::silent()).is_ok() {
                    return upload;
                }
            }
            self.begin()
        }

        /// Whether the chunk left; it must be what left before under this key and index.
        fn send(&mut self, upload: &Upload, index: u32) -> bool {
            let Some(index) = upload.geometry.index(index) else { return true };
            let Ok((id, _)) = upload.seal(index, self.buffers.take_now(), || {}) else { return false };
            let before = self.left.insert((upload.header().salt, index.get()), id);
            assert!(before.is_none_or(|before| before == id), "two contents under one key and index");
            true
        }

        fn append(&self, bytes: &[u8]) {
            File::options().append(true).open(self.log()).unwrap().write_all(bytes).unwrap();
        }

        fn overwrite(&self, at: u64, byte: u8) {
            File::options().write(true).open(self.log()).unwrap().write_all_at(&[byte], at).unwrap();
        }
    }

    /// The bytes of the stream if a file is this, whose holes must be zeros.
    fn published(upload: &Upload, now: &[u8]) -> Vec<u8> {
        let file = &upload.header().files[0];
        let part =
            |start: u64, end: u64| &now[usize::try_from(start).unwrap()..usize::try_from(end).unwrap()];
        assert!(file.holes.iter().all(|hole| part(hole.start, hole.end).iter().all(|&byte| byte == 0)));
        let runs = file.holes.runs(0..file.data_bytes());
        runs.flat_map(|run| part(run.position, run.position + run.data.end - run.data.start).to_vec())
            .collect()
    }

    proptest::proptest! {
        #![proptest_config(proptest::prelude::ProptestConfig::with_cases(48))]
        /// Whatever happens to the file between the steps of uploads that are interrupted again and again.
        #[test]
        fn f22_no_two_contents_leave_under_one_key_and_what_is_published_is_one_moment_of_the_file(
            has_holes in proptest::bool::ANY,
            steps in proptest::collection::vec((0_u8..9, 0_u32..9, 2_u8..250), 1..40),
        ) {
            let mut field = if has_holes { Field::with_holes() } else { Field::new() };
            let mut upload = field.begin();
            for (step, number, byte) in steps {
                let mut is_over = false;
                match step {
                    0 => field.append(&[byte; 5000]),
                    1 => field.overwrite(u64::from(number) * 50_000, byte),
                    2 => {
                        // Rotation that copies, truncates and goes on.
                        File::create(field.log()).unwrap();
                        field.append(&vec![byte; usize::from(byte) * 2000]);
                    }
                    3 => {
                        drop(upload);
                        upload = field.resume();
                    }
                    4 => {
                        // Those that left before do not leave again, as when their peers have them.
                        let due: Vec<_> =
                            upload.geometry.indices().filter(|i| upload.journal.id(*i).is_none()).collect();
                        let all = due.iter().all(|index| field.send(&upload, index.get()));
                        match all.then(|| upload.manifest(&Progress::silent()).map(drop)) {
                            Some(Ok(())) => {
                                let now = published(&upload, &fs::read(field.log()).unwrap());
                                for index in upload.geometry.indices() {
                                    let range = upload.geometry.plain_range(index);
                                    let [start, end] =
                                        [range.start, range.end].map(|at| usize::try_from(at).unwrap());
                                    let mut bytes = now[start..end].to_vec();
                                    upload.keys.seal_chunk(&upload.geometry, index, &mut bytes);
                                    assert_eq!(Some(ChunkId::of(&bytes)), upload.journal.id(index));
                                }
                                upload.forget();
                                is_over = true;
                            }
                            _ => is_over = true,
                        }
                    }
                    _ => is_over = !field.send(&upload, number),
                }
                if is_over {
                    upload.forget();
                    drop(upload);
                    upload = field.resume();
                }
            }
        }
    }

    /// What the same command begins or goes on with, by all that it finds.
    fn prepare(field: &Field) -> Upload {
        let text = |byte: char| byte.to_string().repeat(43);
        let swarm = format!("https://127.0.0.1:1/join#1.{}.{}", text('A'), text('A')).parse().unwrap();
        let chunk_size = Some(ChunkSize::from_log2(16).unwrap());
        let request = ShareRequest { chunk_size, ..ShareRequest::for_an_hour(field.log()) };
        let state = field.directory.path().join("state");
        let progress = Progress::silent();
        let collected = super::super::collect::collect(&state, &[field.log()], None, &progress).unwrap();
        Upload::prepare(&state, &swarm, &request, collected, &progress).unwrap()
    }

    #[test]
    fn f29_an_upload_goes_on_with_the_holes_that_it_began_with_or_begins_anew() {
        let mut field = Field::with_holes();
        let upload = prepare(&field);
        let (holes, salt) = (field.holes(), upload.header().salt);
        assert_eq!((&upload.header().files[0].holes, upload.geometry().chunk_count()), (&holes, 5));
        assert_eq!(upload.length(), 8 * CHUNK as u64 + 1000);
        assert!((0..3).all(|index| field.send(&upload, index)));
        drop(upload);
        // Zeros where a hole was are the same file.
        let write = |at: usize, bytes: &[u8]| {
            let file = File::options().write(true).open(field.log()).unwrap();
            file.write_all_at(bytes, at as u64).unwrap();
        };
        write(4 * CHUNK, &vec![0; 3 * CHUNK]);
        assert_ne!(field.holes(), holes);
        let upload = prepare(&field);
        assert!(upload.resumed() && upload.header().salt == salt);
        assert_eq!(upload.header().files[0].holes, holes);
        assert!((0..5).all(|index| field.send(&upload, index)));
        // One that is filled before the manifest is signed is a change, whatever the file's times say.
        let before = field.log().metadata().unwrap().modified().unwrap();
        let write = |at: usize, bytes: &[u8]| {
            let file = File::options().write(true).open(field.log()).unwrap();
            file.write_all_at(bytes, at as u64).unwrap();
            file.set_modified(before).unwrap();
        };
        write(CHUNK + 77, b"x");
        assert!(matches!(upload.manifest(&Progress::silent()), Err(Halt::Changed(path)) if path == "log"));
        drop(upload);
        let upload = prepare(&field);
        assert!(!upload.resumed() && upload.header().salt != salt);
        assert_eq!(upload.geometry().chunk_count(), 9);
        assert!((0..9).all(|index| field.send(&upload, index)));
        assert!(upload.manifest(&Progress::silent()).is_ok());
    }

    #[test]
    fn who_waits_for_a_chunk_to_be_noted_takes_no_processor_from_others() {
        let field = Field::new();
        let upload = field.begin();
        let index = upload.geometry.index(1).unwrap();
        let mut noted = None;
        let sealed = upload.seal(index, field.buffers.take_now(), || noted = Some(upload.journal.id(index)));
        assert_eq!(noted, Some(None), "the processor is free before the chunk is noted");
        let (id, _) = sealed.ok().unwrap();
        assert_eq!(upload.journal.id(index), Some(id));
    }

    #[test]
    fn f22_what_is_written_after_the_manifest_was_made_is_in_nothing_that_leaves() {
        let mut field = Field::new();
        let upload = field.begin();
        for index in 0..5 {
            assert!(!upload.is_sealed());
            assert!(field.send(&upload, index));
        }
        assert!(upload.is_sealed());
        let made = upload.manifest(&Progress::silent()).unwrap().0;
        field.overwrite(CHUNK as u64 + 5, 9);
        // To a spare, say.
        assert!(field.send(&upload, 0) && !field.send(&upload, 1));
        assert_eq!(upload.manifest(&Progress::silent()).unwrap().0.encoded(), made.encoded());
    }

    #[test]
    fn f22_who_seals_a_chunk_twice_at_once_while_it_changes_sends_one_of_the_two() {
        let field = Field::new();
        let upload = field.begin();
        let index = upload.geometry.index(1).unwrap();
        let ids = std::thread::scope(|scope| {
            let seal = || upload.seal(index, field.buffers.take_now(), || {}).ok().map(|(id, _)| id);
            let sealers: Vec<_> = (0..8)
                .map(|byte| {
                    field.overwrite(CHUNK as u64 + 5, byte);
                    scope.spawn(seal)
                })
                .collect();
            sealers.into_iter().filter_map(|sealer| sealer.join().unwrap()).collect::<Vec<_>>()
        });
        assert!(!ids.is_empty());
        assert!(ids.iter().all(|id| Some(*id) == upload.journal.id(index)));
    }
}
