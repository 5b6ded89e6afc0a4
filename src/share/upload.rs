//! One share on its way out: its keys, its stream of bytes, its journal.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use swarmdrop_core::api::KnownChunks;
use swarmdrop_core::geometry::{ChunkIndex, ChunkSize, Geometry};
use swarmdrop_core::id::{ChunkId, PeerId, ServerId, ShareId};
use swarmdrop_core::limits::PREFERRED_MAX;
use swarmdrop_core::link::{Invite, ShareLink};
use swarmdrop_core::manifest::{Draft, Manifest, ShareKey};
use swarmdrop_core::metadata::{FileEntry, Metadata, MetadataError};
use swarmdrop_core::modes;
use swarmdrop_core::owner::{self, Act};
use swarmdrop_core::seal::{Header, ShareKeys, access_hash, access_token};
use swarmdrop_core::terms::{SignedTerms, Terms};
use time::OffsetDateTime;

use super::ShareRequest;
use super::collect::{Collected, fingerprint};
use crate::buffers::Buffer;
use crate::clock;
use crate::crash::{self, Point};
use crate::durable;
use crate::failure::{Failure, Kind};
use crate::identity::{random_bytes, random_secret};
use crate::journal::{SourceFile, UploadHeader, UploadJournal};

/// Why an upload stops.
#[derive(Debug)]
pub(super) enum Halt {
    /// A file is not what it was when the share began. Going on could seal two contents under one
    /// nonce: the journal must be forgotten.
    Changed(String),
    /// Anything else; running again goes on from here.
    Failed(Failure),
}

impl From<Failure> for Halt {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

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
}

impl Upload {
    /// Goes on with an interrupted upload of the same, unchanged files, or begins a new one.
    pub(super) fn prepare(
        state: &Path,
        swarm: &Invite,
        request: &ShareRequest,
        collected: Collected,
    ) -> Result<Self, Failure> {
        let total = collected.files.iter().map(|file| file.size).sum();
        let size = ChunkSize::fitting(total, request.chunk_size);
        let size = size.ok_or_else(|| Failure::new(Kind::Usage, "a share has at most 16 TiB"))?;
        let folder = journal_folder(state, swarm, request)?;
        let before = UploadJournal::resume(&folder)?.filter(|journal| {
            let header = journal.header();
            header.chunk_log2 == size.log2()
                && header.files == collected.files
                && header.dirs == collected.dirs
                && header.dir_modes == collected.dir_modes
                && header.links == collected.links
                && header.name == collected.name
                && collected.spool.is_none()
        });
        let resumed = before.is_some();
        let journal = match before {
            Some(journal) => journal,
            None => {
                let (seed, secret, salt) = (random_secret()?, random_secret()?, random_bytes()?);
                let mut header = UploadHeader::new(seed, secret, salt, size.log2(), collected.name);
                (header.files, header.dirs) = (collected.files, collected.dirs);
                (header.dir_modes, header.links) = (collected.dir_modes, collected.links);
                UploadJournal::begin(&folder, header)?
            }
        };
        Self::from_journal(journal, total, size, collected.spool, resumed)
    }

    fn from_journal(
        journal: UploadJournal,
        total: u64,
        chunk_size: ChunkSize,
        spool: Option<File>,
        resumed: bool,
    ) -> Result<Self, Failure> {
        let header = journal.header();
        let geometry = Geometry::new(total, chunk_size).expect("the size was chosen to fit");
        let offsets: Vec<u64> = header
            .files
            .iter()
            .scan(0, |end, file| {
                let start = *end;
                *end += file.size;
                Some(start)
            })
            .collect();
        let metadata = metadata(header, &offsets, &geometry);
        let encoded = metadata.check(&geometry).and_then(|()| metadata.encode()).map_err(|error| {
            let next = match error {
                MetadataError::TooMany(_) => "Share parts of the folder, or pack it into an archive first.",
                _ => "Rename it, then share again.",
            };
            Failure::new(Kind::Usage, format!("cannot share: {error}")).next(next)
        })?;
        Ok(Self {
            geometry,
            key: ShareKey::from_seed(&header.seed),
            keys: ShareKeys::derive(&header.secret, &header.salt, Header { chunk_size }),
            metadata: encoded,
            offsets,
            spool,
            resumed,
            journal,
        })
    }

    /// The share's id.
    pub(super) fn share(&self) -> ShareId {
        self.key.share_id()
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
    pub(super) const fn header(&self) -> &UploadHeader {
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

    /// The ids of the chunks that left before.
    pub(super) fn known(&self) -> Vec<KnownChunks> {
        KnownChunks::runs(self.geometry.indices().filter_map(|index| Some((index, self.journal.id(index)?))))
    }

    /// Reads and seals a chunk, and puts its id on stable storage before it may leave. Blocks.
    pub(super) fn seal(&self, index: ChunkIndex, mut bytes: Buffer) -> Result<(ChunkId, Bytes), Halt> {
        self.read(index, &mut bytes)?;
        self.keys.seal_chunk(&self.geometry, index, &mut bytes);
        let id = ChunkId::of(&bytes);
        match self.journal.id(index) {
            Some(before) if before != id => Err(self.changed_at(index)),
            Some(_) => Ok((id, Bytes::from_owner(bytes))),
            None => {
                let recorded = self.journal.record(index, id);
                recorded.map_err(|error| journal_failure(&error))?;
                crash::at(Point::ChunkNoted);
                Ok((id, Bytes::from_owner(bytes)))
            }
        }
    }

    /// The signed manifest; made once, then sent as it is ever after. Blocks.
    pub(super) fn manifest(&self) -> Result<Manifest, Halt> {
        if let Some(encoded) = self.journal.manifest()
            && let Ok(manifest) = Manifest::decode(encoded, self.share())
        {
            return Ok(manifest);
        }
        self.check_unchanged()?;
        let ids: Option<Vec<ChunkId>> = self.geometry.indices().map(|index| self.journal.id(index)).collect();
        let ids = ids.expect("every chunk was sealed before it is listed");
        let salt = &self.header().salt;
        let draft = Draft::new(&self.key, &self.keys, salt, self.geometry, &ids);
        let manifest = draft.finish(&self.key, &self.keys, &self.metadata);
        let kept = self.journal.put_manifest(manifest.encoded());
        kept.map_err(|error| journal_failure(&error))?;
        Ok(manifest)
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

    /// Forgets the journal; a failure to do so only leaves a folder behind.
    pub(super) fn forget(&self) {
        if let Err(error) = self.journal.forget() {
            tracing::warn!(%error, "cannot remove the journal");
        }
    }

    /// Fills the buffer with a chunk before it is sealed.
    fn read(&self, index: ChunkIndex, bytes: &mut Buffer) -> Result<(), Halt> {
        let range = self.geometry.plain_range(index);
        bytes.truncate(self.geometry.plain_len(index));
        let mut filled = 0;
        let first = self.offsets.partition_point(|&offset| offset <= range.start).saturating_sub(1);
        for (file, &start) in self.header().files.iter().zip(&self.offsets).skip(first) {
            if start >= range.end {
                break;
            }
            let from = range.start.max(start) - start;
            let to = range.end.min(start + file.size).saturating_sub(start);
            if from < to {
                let part = filled..filled + usize::try_from(to - from).expect("a chunk has at most 16 MiB");
                filled = part.end;
                self.read_file(file, from, &mut bytes[part])?;
            }
        }
        assert_eq!(filled, bytes.len(), "a chunk is read whole before it is sealed");
        Ok(())
    }

    fn read_file(&self, file: &SourceFile, from: u64, bytes: &mut [u8]) -> Result<(), Halt> {
        let read = match (&file.disk, &self.spool) {
            (Some(disk), _) => durable::open_read(disk).and_then(|file| file.read_exact_at(bytes, from)),
            (None, Some(spool)) => spool.read_exact_at(bytes, file.spooled_at + from),
            (None, None) => Err(io::ErrorKind::NotFound.into()),
        };
        read.map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => Halt::Changed(file.path.to_string()),
            _ => Failure::io("read", file.disk.as_deref().unwrap_or(Path::new(file.path.as_str())), &error)
                .into(),
        })
    }

    fn check_unchanged(&self) -> Result<(), Halt> {
        for file in &self.header().files {
            let Some(disk) = &file.disk else { continue };
            let now = fs::symlink_metadata(disk).map(|metadata| fingerprint(&metadata));
            if !now.is_ok_and(|now| now == (file.size, file.modified_ns, file.inode)) {
                return Err(Halt::Changed(file.path.to_string()));
            }
        }
        Ok(())
    }

    fn changed_at(&self, index: ChunkIndex) -> Halt {
        let start = self.geometry.plain_range(index).start;
        let file = self.offsets.partition_point(|&offset| offset <= start).saturating_sub(1);
        Halt::Changed(self.header().files.get(file).map_or_else(String::new, |file| file.path.to_string()))
    }
}

fn journal_failure(error: &io::Error) -> Failure {
    Failure::new(Kind::Other, format!("cannot write the journal: {error}"))
}

fn journal_folder(state: &Path, swarm: &Invite, request: &ShareRequest) -> Result<PathBuf, Failure> {
    let absolute = |path: &PathBuf| std::path::absolute(path).map_err(|e| Failure::io("find", path, &e));
    let mut paths: Vec<PathBuf> = request.paths.iter().map(absolute).collect::<Result<_, _>>()?;
    if request.stdin {
        // Standard input cannot be read again: such an upload is never resumed, nor mistaken for another.
        paths.push(format!("stdin {}", random_secret()?.expose_text()).into());
    }
    let options = format!("{} {:?} {:?}", request.replicas, request.chunk_size, request.name);
    Ok(UploadJournal::folder(state, &swarm.tracker.to_string(), &paths, &options))
}

fn metadata(header: &UploadHeader, offsets: &[u64], geometry: &Geometry) -> Metadata {
    let entry = |(file, &offset): (&SourceFile, &u64)| FileEntry {
        path: file.path.clone(),
        offset,
        size: file.size,
        blake3: None,
        executable: modes::is_executable(file.mode),
        mode: Some(file.mode).filter(|&mode| mode != modes::of_file(modes::is_executable(mode))),
        modified: OffsetDateTime::from_unix_timestamp_nanos(file.modified_ns)
            .ok()
            .filter(|moment| (0..=9999).contains(&moment.year()))
            .unwrap_or(OffsetDateTime::UNIX_EPOCH),
    };
    let mut metadata = Metadata {
        original_filename: header.name.clone(),
        extension: String::new(),
        size: geometry.total(),
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
