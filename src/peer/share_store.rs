//! The shares that a peer has committed to: manifest, terms, and which of the chunks are its own.
//!
//! ```text
//! DATA/store/shares/<share id>/manifest  the manifest, verbatim
//!                              terms     the newest signed terms
//!                              chunks    the text form of the set of chunks held here
//!            leaving/<share id>/         the same of a share that is over, while its chunks are removed
//! ```
//! What changes a share is done under the share's lock, which the caller holds; no lock here is held across I/O.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use parking_lot::Mutex;
use swarmdrop_core::chunk_set::ChunkSet;
use swarmdrop_core::id::{ChunkId, ShareId};
use swarmdrop_core::manifest::Manifest;
use swarmdrop_core::terms::SignedTerms;

use crate::crash::{self, Point};
use crate::durable;
use crate::failure::Failure;

/// The committed shares of one peer.
#[derive(Debug)]
pub(super) struct ShareStore {
    root: PathBuf,
    leaving: PathBuf,
    shares: Mutex<BTreeMap<ShareId, Held>>,
    /// Whether a share's files could not be read.
    is_whole: bool,
}

/// What is kept in memory of a share.
#[derive(Debug, Clone)]
pub(super) struct Held {
    /// The newest terms.
    pub(super) terms: SignedTerms,
    /// The chunks that are held here.
    pub(super) chunks: ChunkSet,
}

impl ShareStore {
    /// Opens the shares of a store and shows each to `visit`, which tells the chunks of it that are really
    /// here. A share whose files are damaged is reported and left alone.
    pub(super) fn open(
        store: &Path,
        visit: impl Fn(&Manifest, &ChunkSet) -> ChunkSet,
    ) -> Result<Self, Failure> {
        let (root, leaving) = (store.join("shares"), store.join("leaving"));
        let failed = |error| Failure::io("open the shares in", &root, &error);
        for folder in [&root, &leaving] {
            durable::create_private_folder(folder).map_err(failed)?;
        }
        let (mut shares, mut is_whole) = (BTreeMap::new(), true);
        for (share, path) in folders(&root).map_err(failed)? {
            // It comes last: without it, a commit was interrupted before it was confirmed.
            if !path.join("manifest").exists() {
                tracing::info!(%share, "a commit was not finished");
                continue;
            }
            match read_held(&path, share) {
                Some((held, manifest)) => {
                    let chunks = visit(&manifest, &held.chunks);
                    shares.insert(share, Held { chunks, ..held });
                }
                None => {
                    is_whole = false;
                    tracing::error!(path = %path.display(), "a share's files are damaged");
                }
            }
        }
        Ok(Self { root, leaving, shares: Mutex::new(shares), is_whole })
    }

    /// What is known of a share.
    pub(super) fn get(&self, share: ShareId) -> Option<Held> {
        self.shares.lock().get(&share).cloned()
    }

    /// All shares, in the order of their ids.
    pub(super) fn ids(&self) -> Vec<ShareId> {
        self.shares.lock().keys().copied().collect()
    }

    /// The shares whose terms are over at this time.
    pub(super) fn over(&self, now_ms: u64) -> Vec<ShareId> {
        let shares = self.shares.lock();
        let over = shares.iter().filter(|(_, held)| held.terms.terms.is_over(now_ms));
        over.map(|(share, _)| *share).collect()
    }

    /// Whether every share could be read. If not, nobody knows which chunks are of no share.
    pub(super) fn is_whole(&self) -> bool {
        self.is_whole
    }

    /// Bytes of a share's manifest.
    pub(super) fn manifest_bytes(&self, share: ShareId) -> io::Result<u64> {
        Ok(fs::metadata(self.folder(share).join("manifest"))?.len())
    }

    /// The manifest of a share.
    pub(super) fn manifest(&self, share: ShareId) -> io::Result<Manifest> {
        let encoded = fs::read(self.folder(share).join("manifest"))?;
        Manifest::decode(encoded, share).map_err(io::Error::other)
    }

    /// Keeps a share so that it survives a crash. Newer terms that are known already stay.
    pub(super) fn commit(&self, manifest: &Manifest, terms: SignedTerms, chunks: ChunkSet) -> io::Result<()> {
        let share = manifest.share();
        let folder = self.folder(share);
        durable::create_private_folder(&folder)?;
        durable::persist(&folder.join("chunks"), chunks.to_string().as_bytes())?;
        crash::at(Point::ChunksNoted);
        let known = self.get(share).map(|held| held.terms);
        let terms = known.filter(|known| known.terms.issued_ms > terms.terms.issued_ms).unwrap_or(terms);
        durable::persist(&folder.join("terms"), terms.token.as_bytes())?;
        crash::at(Point::TermsNoted);
        // The manifest comes last: a folder without it is an upload that was never confirmed.
        durable::persist(&folder.join("manifest"), manifest.encoded())?;
        durable::sync_folder(&self.root)?;
        self.shares.lock().insert(share, Held { terms, chunks });
        Ok(())
    }

    /// Notes that other chunks of a share are held than before.
    pub(super) fn put_chunks(&self, share: ShareId, chunks: ChunkSet) -> io::Result<()> {
        durable::persist(&self.folder(share).join("chunks"), chunks.to_string().as_bytes())?;
        if let Some(held) = self.shares.lock().get_mut(&share) {
            held.chunks = chunks;
        }
        Ok(())
    }

    /// Takes over terms if they are newer; whether they were.
    pub(super) fn put_terms(&self, terms: SignedTerms) -> io::Result<bool> {
        let share = terms.terms.share;
        let known = self.get(share).map(|held| held.terms.terms.issued_ms);
        if known.is_none_or(|issued_ms| issued_ms >= terms.terms.issued_ms) {
            return Ok(false);
        }
        durable::persist(&self.folder(share).join("terms"), terms.token.as_bytes())?;
        if let Some(held) = self.shares.lock().get_mut(&share) {
            held.terms = terms;
        }
        Ok(true)
    }

    /// Takes a share out of use: from here on it is not held, and after a crash the rest of it is removed, too.
    pub(super) fn retire(&self, share: ShareId) -> io::Result<()> {
        durable::set_aside(&self.folder(share), &self.leaving.join(share.to_string()))?;
        crash::at(Point::ShareForgotten);
        self.shares.lock().remove(&share);
        Ok(())
    }

    /// The shares that are out of use and not removed yet.
    pub(super) fn retired(&self) -> io::Result<Vec<ShareId>> {
        Ok(folders(&self.leaving)?.into_iter().map(|(share, _)| share).collect())
    }

    /// The chunks that a share held when it was taken out of use.
    pub(super) fn retired_chunks(&self, share: ShareId) -> io::Result<Vec<ChunkId>> {
        let folder = self.leaving.join(share.to_string());
        let manifest =
            Manifest::decode(fs::read(folder.join("manifest"))?, share).map_err(io::Error::other)?;
        let held = ChunkSet::parse(&fs::read_to_string(folder.join("chunks"))?);
        let held = held.ok_or_else(|| io::Error::other("the list of chunks is damaged"))?;
        Ok(manifest.chunks().filter(|(index, _)| held.contains(*index)).map(|(_, id)| id).collect())
    }

    /// Forgets a share that is out of use, whose chunks are removed.
    pub(super) fn forget_retired(&self, share: ShareId) -> io::Result<()> {
        match fs::remove_dir_all(self.leaving.join(share.to_string())) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    fn folder(&self, share: ShareId) -> PathBuf {
        self.root.join(share.to_string())
    }
}

/// The folders that have a share's name.
fn folders(root: &Path) -> io::Result<Vec<(ShareId, PathBuf)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(root)? {
        let path = entry?.path();
        let id = path.file_name().and_then(|name| name.to_str()).and_then(|name| name.parse().ok());
        found.extend(id.map(|share| (share, path)));
    }
    Ok(found)
}

fn read_held(folder: &Path, share: ShareId) -> Option<(Held, Manifest)> {
    let terms = fs::read_to_string(folder.join("terms")).ok()?;
    let terms = SignedTerms::verify(&terms, share).ok()?;
    let chunks = ChunkSet::parse(&fs::read_to_string(folder.join("chunks")).ok()?)?;
    let manifest = Manifest::decode(fs::read(folder.join("manifest")).ok()?, share).ok()?;
    (manifest.geometry().chunk_count() == chunks.chunk_count()).then_some((Held { terms, chunks }, manifest))
}
