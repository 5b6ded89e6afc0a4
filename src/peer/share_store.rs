//! The shares that a peer has committed to: manifest, terms, and which of the chunks are its own.
//!
//! ```text
//! DATA/store/shares/<share id>/manifest  the manifest, verbatim
//!                              terms     the newest signed terms
//!                              chunks    the text form of the set of chunks held here
//! ```

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
    shares: Mutex<BTreeMap<ShareId, Held>>,
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
    /// Opens the shares below `root` and shows each to `visit`, which tells the chunks of it that are really
    /// here. A share whose files are damaged is reported and left alone.
    pub(super) fn open(
        root: &Path,
        visit: impl Fn(&Manifest, &ChunkSet) -> ChunkSet,
    ) -> Result<Self, Failure> {
        let failed = |error| Failure::io("open the shares in", root, &error);
        durable::create_private_folder(root).map_err(failed)?;
        let mut shares = BTreeMap::new();
        for entry in fs::read_dir(root).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            let id = path.file_name().and_then(|name| name.to_str()).and_then(|name| name.parse().ok());
            let Some(share) = id else { continue };
            match read_held(&path, share) {
                Some((held, manifest)) => {
                    let chunks = visit(&manifest, &held.chunks);
                    shares.insert(share, Held { chunks, ..held });
                }
                None => tracing::error!(path = %path.display(), "a share's files are damaged"),
            }
        }
        Ok(Self { root: root.to_owned(), shares: Mutex::new(shares) })
    }

    /// What is known of a share.
    pub(super) fn get(&self, share: ShareId) -> Option<Held> {
        self.shares.lock().get(&share).cloned()
    }

    /// All shares, in the order of their ids.
    pub(super) fn ids(&self) -> Vec<ShareId> {
        self.shares.lock().keys().copied().collect()
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
        let mut shares = self.shares.lock();
        let Some(held) = shares.get_mut(&share) else { return Ok(false) };
        if held.terms.terms.issued_ms >= terms.terms.issued_ms {
            return Ok(false);
        }
        durable::persist(&self.folder(share).join("terms"), terms.token.as_bytes())?;
        held.terms = terms;
        Ok(true)
    }

    /// Forgets a share; the chunks that it held here.
    pub(super) fn remove(&self, share: ShareId) -> io::Result<Vec<ChunkId>> {
        let manifest = self.manifest(share)?;
        let held = self.get(share).map(|held| held.chunks);
        fs::remove_dir_all(self.folder(share))?;
        durable::sync_folder(&self.root)?;
        crash::at(Point::ShareForgotten);
        self.shares.lock().remove(&share);
        Ok(held.iter().flat_map(ChunkSet::iter).map(|index| manifest.chunk(index)).collect())
    }

    fn folder(&self, share: ShareId) -> PathBuf {
        self.root.join(share.to_string())
    }
}

fn read_held(folder: &Path, share: ShareId) -> Option<(Held, Manifest)> {
    let terms = fs::read_to_string(folder.join("terms")).ok()?;
    let terms = SignedTerms::verify(&terms, share).ok()?;
    let chunks = ChunkSet::parse(&fs::read_to_string(folder.join("chunks")).ok()?)?;
    let manifest = Manifest::decode(fs::read(folder.join("manifest")).ok()?, share).ok()?;
    (manifest.geometry().chunk_count() == chunks.chunk_count()).then_some((Held { terms, chunks }, manifest))
}
