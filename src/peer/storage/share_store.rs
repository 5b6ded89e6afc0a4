//! The shares that a peer has committed to: manifest, terms, and which of the chunks are its own.
//!
//! ```text
//! DATA/store/shares/<share id>/   its records (`src/peer/storage/records.rs`)
//!            leaving/<share id>/  the same of a share that is over, while its chunks are removed; `<share id>.1` and so
//!                                 on if one of it is there already
//! ```
//! What changes a share is done under the share's lock, which the caller holds; no lock here is held across I/O.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use parcelry_core::chunk_set::ChunkSet;
use parcelry_core::geometry::Geometry;
use parcelry_core::id::{ChunkId, ShareId};
use parcelry_core::manifest::Manifest;
use parcelry_core::quota::Charged;
use parcelry_core::terms::SignedTerms;
use parcelry_core::token::TokenId;
use parking_lot::Mutex;

use super::records::{
    Record, Records, is_withheld, read_manifest, write_chunks, write_manifest, write_terms, write_unsettled,
    write_withheld,
};
use crate::crash::{self, Point};
use crate::disk::durable;
use crate::failure::Failure;

/// The committed shares of one peer.
#[derive(Debug)]
pub(super) struct ShareStore {
    root: PathBuf,
    leaving: PathBuf,
    shares: Mutex<Table>,
    /// Those of which a record cannot be read.
    damaged: Mutex<BTreeSet<ShareId>>,
    /// Those that are kept and not served.
    withheld: Mutex<BTreeSet<ShareId>>,
}

/// The shares, and what they come to.
#[derive(Debug, Default)]
struct Table {
    shares: BTreeMap<ShareId, Held>,
    charged: HashMap<TokenId, Charged>,
    manifests_bytes: u64,
}

/// What is kept in memory of a share.
#[derive(Debug, Clone)]
pub(in crate::peer) struct Held {
    /// The newest terms.
    pub(in crate::peer) terms: SignedTerms,
    /// The chunks that are held here.
    pub(in crate::peer) chunks: ChunkSet,
    /// Bytes of its manifest.
    pub(in crate::peer) manifest_bytes: u64,
    /// Until when nothing of it expires: its terms were lost, and not two sources agreed on them since.
    pub(super) unsettled_until_ms: Option<u64>,
    /// How it is cut into chunks.
    geometry: Geometry,
    /// The token that is charged with it.
    token: Option<TokenId>,
}

/// A share that is out of use, and where its records are: one that came back and ended again has several.
#[derive(Debug)]
pub(super) struct Retired {
    pub(super) share: ShareId,
    path: PathBuf,
}

impl ShareStore {
    /// Opens the shares of a store and shows each to `visit` with the list of its chunks, if that could be read: it
    /// tells the chunks that are really here. A share of which a record cannot be read is reported and kept as it
    /// is. One that has no manifest is none yet if an upload of it was under way, as `is_upload` tells.
    pub(super) fn open(
        store: &Path,
        is_upload: impl Fn(ShareId) -> bool,
        visit: impl Fn(&Manifest, Option<&ChunkSet>) -> ChunkSet,
    ) -> Result<Self, Failure> {
        let (root, leaving) = (store.join("shares"), store.join("leaving"));
        let failed = |error| Failure::io("open the shares in", &root, &error);
        for directory in [&root, &leaving] {
            durable::create_private_directory(directory).map_err(failed)?;
        }
        let (mut shares, mut damaged, mut withheld) = (Table::default(), BTreeSet::new(), BTreeSet::new());
        for (share, path) in directories(&root).map_err(failed)? {
            let Records { manifest, terms, chunks, token, unsettled_until_ms } = Records::read(&path, share);
            // The manifest is written last: without it nothing was confirmed, unless it was lost beside good records.
            let is_empty = terms.is_absent() && chunks.is_absent();
            if manifest.is_absent() && (is_empty || is_upload(share)) {
                tracing::info!(%share, "a commit was not finished");
                continue;
            }
            if is_withheld(&path) {
                withheld.insert(share);
            }
            let manifest = manifest.good();
            let is_listed = matches!(chunks, Record::Good(_));
            // Also of a share that is damaged otherwise: its chunks are referred to all the same, and so not removed.
            let here = manifest.as_ref().map(|manifest| visit(manifest, chunks.good().as_ref()));
            let (Some(manifest), Some(terms), Some(chunks)) = (manifest, terms.good(), here) else {
                tracing::error!(path = %path.display(), "a share's record cannot be read; it is to be made again");
                damaged.insert(share);
                continue;
            };
            if !is_listed {
                tracing::warn!(%share, "the list of its chunks was damaged, and is made again from the files");
                write_chunks(&path, &chunks, token).map_err(failed)?;
            }
            shares.put(share, Held::new(&manifest, terms, chunks, unsettled_until_ms, token));
        }
        let (shares, damaged, withheld) = (Mutex::new(shares), Mutex::new(damaged), Mutex::new(withheld));
        Ok(Self { root, leaving, shares, damaged, withheld })
    }

    /// What is known of a share.
    pub(super) fn get(&self, share: ShareId) -> Option<Held> {
        self.shares.lock().shares.get(&share).cloned()
    }

    /// All shares, in the order of their ids.
    pub(super) fn ids(&self) -> Vec<ShareId> {
        self.shares.lock().shares.keys().copied().collect()
    }

    /// The shares whose terms are over at this time.
    pub(super) fn over(&self, now_ms: u64) -> Vec<ShareId> {
        let shares = &self.shares.lock().shares;
        shares.iter().filter(|(_, held)| held.is_over(now_ms)).map(|(share, _)| *share).collect()
    }

    /// The shares of which a record cannot be read.
    pub(super) fn damaged(&self) -> Vec<ShareId> {
        self.damaged.lock().iter().copied().collect()
    }

    /// Whether a record of this share cannot be read.
    pub(super) fn is_damaged(&self, share: ShareId) -> bool {
        self.damaged.lock().contains(&share)
    }

    /// The shares that are kept and not served.
    pub(super) fn withheld(&self) -> BTreeSet<ShareId> {
        self.withheld.lock().clone()
    }

    /// Whether this share is kept and not served.
    pub(super) fn is_withheld(&self, share: ShareId) -> bool {
        self.withheld.lock().contains(&share)
    }

    /// Notes whether a share that is held is not to be served, so that it survives a crash.
    pub(super) fn put_withheld(&self, share: ShareId, is_withheld: bool) -> io::Result<()> {
        write_withheld(&self.directory(share), is_withheld)?;
        let mut withheld = self.withheld.lock();
        if is_withheld {
            withheld.insert(share)
        } else {
            withheld.remove(&share)
        };
        Ok(())
    }

    /// The shares whose terms were lost, and not agreed on since.
    pub(super) fn unsettled(&self) -> Vec<ShareId> {
        let shares = &self.shares.lock().shares;
        let unsettled = shares.iter().filter(|(_, held)| held.unsettled_until_ms.is_some());
        unsettled.map(|(share, _)| *share).collect()
    }

    /// Whether every share could be read. If not, nobody knows which chunks are of no share.
    pub(super) fn is_whole(&self) -> bool {
        self.damaged.lock().is_empty()
    }

    /// Bytes of all manifests.
    pub(super) fn manifests_bytes(&self) -> u64 {
        self.shares.lock().manifests_bytes
    }

    /// What the shares of a token take here, but for one.
    pub(super) fn charged(&self, token: TokenId, excluding: ShareId) -> Charged {
        let table = self.shares.lock();
        let all = table.charged.get(&token).copied().unwrap_or_default();
        let own = table.shares.get(&excluding).filter(|held| held.token == Some(token));
        own.map_or(all, |held| all.without(&held.charge()))
    }

    /// The manifest of a share. One that turns out to be damaged is to be made again, as if it had been found so at the
    /// start.
    pub(super) fn manifest(&self, share: ShareId) -> io::Result<Manifest> {
        let read = read_manifest(&self.directory(share), share);
        if let Err(error) = &read
            && is_damage(error)
            && self.mark_damaged(share)
        {
            tracing::error!(%share, %error, "a share's manifest cannot be read any more; it is to be made again");
        }
        read
    }

    /// Notes that a record of a share that is held is damaged. Returns whether that is news.
    fn mark_damaged(&self, share: ShareId) -> bool {
        let shares = self.shares.lock();
        // What is retired meanwhile is nobody's worry any more.
        shares.shares.contains_key(&share) && self.damaged.lock().insert(share)
    }

    /// What can be read of a share's records.
    pub(super) fn records(&self, share: ShareId) -> Records {
        Records::read(&self.directory(share), share)
    }

    /// Keeps a share so that it survives a crash. Newer terms that are known already stay, and so does who is charged.
    pub(super) fn commit(
        &self,
        manifest: &Manifest,
        terms: SignedTerms,
        chunks: ChunkSet,
        token: Option<TokenId>,
    ) -> io::Result<()> {
        let known = self.get(manifest.share());
        let unsettled_until_ms = known.as_ref().and_then(|held| held.unsettled_until_ms);
        let token = known.as_ref().and_then(|held| held.token).or(token);
        let known = known.map(|held| held.terms);
        let terms = known.filter(|known| known.issued_ms > terms.issued_ms).unwrap_or(terms);
        self.keep(manifest, Held::new(manifest, terms, chunks, unsettled_until_ms, token))
    }

    /// Keeps a share of which a record was damaged.
    pub(super) fn make_whole(
        &self,
        manifest: &Manifest,
        terms: SignedTerms,
        chunks: ChunkSet,
        unsettled_until_ms: Option<u64>,
        token: Option<TokenId>,
    ) -> io::Result<()> {
        write_unsettled(&self.directory(manifest.share()), unsettled_until_ms)?;
        self.keep(manifest, Held::new(manifest, terms, chunks, unsettled_until_ms, token))?;
        self.damaged.lock().remove(&manifest.share());
        Ok(())
    }

    fn keep(&self, manifest: &Manifest, held: Held) -> io::Result<()> {
        let share = manifest.share();
        let directory = self.directory(share);
        durable::create_private_directory(&directory)?;
        write_chunks(&directory, &held.chunks, held.token)?;
        crash::at(Point::ChunksNoted);
        write_terms(&directory, &held.terms)?;
        crash::at(Point::TermsNoted);
        // The manifest comes last: a directory without it is an upload that was never confirmed.
        write_manifest(&directory, manifest)?;
        durable::sync_directory(&self.root)?;
        self.shares.lock().put(share, held);
        Ok(())
    }

    /// Notes that other chunks of a share are held than before.
    pub(super) fn put_chunks(&self, share: ShareId, chunks: ChunkSet) -> io::Result<()> {
        let token = self.get(share).and_then(|held| held.token);
        write_chunks(&self.directory(share), &chunks, token)?;
        self.shares.lock().change(share, |held| held.chunks = chunks);
        Ok(())
    }

    /// Takes over terms if they are newer. Returns whether they were.
    pub(super) fn put_terms(&self, terms: SignedTerms) -> io::Result<bool> {
        let share = terms.share;
        let known = self.get(share).map(|held| held.terms.issued_ms);
        if known.is_none_or(|issued_ms| issued_ms >= terms.issued_ms) {
            return Ok(false);
        }
        write_terms(&self.directory(share), &terms)?;
        self.shares.lock().change(share, |held| held.terms = terms);
        Ok(true)
    }

    /// Notes that two sources agree on the terms of a share.
    pub(super) fn settle(&self, share: ShareId) -> io::Result<()> {
        write_unsettled(&self.directory(share), None)?;
        self.shares.lock().change(share, |held| held.unsettled_until_ms = None);
        Ok(())
    }

    /// Takes a share out of use: from here on it is not held, and after a crash the rest of it is removed, too.
    pub(super) fn retire(&self, share: ShareId) -> io::Result<Retired> {
        let mut path = self.leaving.join(share.to_string());
        for number in 1.. {
            if fs::symlink_metadata(&path).is_err() {
                break;
            }
            path.set_file_name(format!("{share}.{number}"));
        }
        durable::move_and_date(&self.directory(share), &path)?;
        crash::at(Point::ShareForgotten);
        self.shares.lock().take(share);
        self.damaged.lock().remove(&share);
        self.withheld.lock().remove(&share);
        Ok(Retired { share, path })
    }

    /// The shares that are out of use and not removed yet.
    pub(super) fn retired(&self) -> io::Result<Vec<Retired>> {
        let mut found = Vec::new();
        for entry in fs::read_dir(&self.leaving)? {
            let path = entry?.path();
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            let share = name.split('.').next().and_then(|id| id.parse().ok());
            found.extend(share.map(|share| Retired { share, path }));
        }
        Ok(found)
    }

    /// The chunks that a share held when it was taken out of use.
    pub(super) fn retired_chunks(&self, retired: &Retired) -> io::Result<Vec<ChunkId>> {
        let records = Records::read(&retired.path, retired.share);
        let unreadable = || io::Error::other("its manifest cannot be read");
        let manifest = records.manifest.good().ok_or_else(unreadable)?;
        let held = records.chunks.good().unwrap_or_else(|| ChunkSet::full(manifest.geometry().chunk_count()));
        Ok(manifest.chunks().filter(|(index, _)| held.contains(*index)).map(|(_, id)| id).collect())
    }

    /// Forgets a share that is out of use, whose chunks are removed.
    pub(super) fn forget_retired(&self, retired: &Retired) -> io::Result<()> {
        match fs::remove_dir_all(&retired.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    fn directory(&self, share: ShareId) -> PathBuf {
        self.root.join(share.to_string())
    }
}

impl Table {
    fn put(&mut self, share: ShareId, held: Held) {
        self.take(share);
        if let Some(token) = held.token {
            let charged = self.charged.entry(token).or_default();
            *charged = charged.and(&held.charge());
        }
        self.manifests_bytes += held.manifest_bytes;
        self.shares.insert(share, held);
    }

    fn take(&mut self, share: ShareId) -> Option<Held> {
        let held = self.shares.remove(&share)?;
        if let Some(token) = held.token
            && let Entry::Occupied(mut charged) = self.charged.entry(token)
        {
            let left = charged.get().without(&held.charge());
            if left.shares == 0 {
                charged.remove();
            } else {
                charged.insert(left);
            }
        }
        self.manifests_bytes -= held.manifest_bytes;
        Some(held)
    }

    fn change(&mut self, share: ShareId, change: impl FnOnce(&mut Held)) {
        if let Some(mut held) = self.take(share) {
            change(&mut held);
            self.put(share, held);
        }
    }
}

impl Held {
    /// What is charged for it.
    fn charge(&self) -> Charged {
        let bytes = self.geometry.sealed_of(&self.chunks);
        Charged { bytes, shares: 1, manifest_bytes: self.manifest_bytes, uploads: 0 }
    }

    fn new(
        manifest: &Manifest,
        terms: SignedTerms,
        chunks: ChunkSet,
        unsettled_until_ms: Option<u64>,
        token: Option<TokenId>,
    ) -> Self {
        let (geometry, manifest_bytes) = (*manifest.geometry(), manifest.encoded().len() as u64);
        Self { terms, chunks, manifest_bytes, unsettled_until_ms, geometry, token }
    }

    /// Whether the share is over at this time, and not in doubt.
    pub(super) fn is_over(&self, now_ms: u64) -> bool {
        self.terms.is_over(now_ms) && self.unsettled_until_ms.is_none_or(|until_ms| until_ms <= now_ms)
    }
}

/// Whether what could not be read is damaged, and not only out of reach.
fn is_damage(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::InvalidData
        || error.raw_os_error() == Some(rustix::io::Errno::IO.raw_os_error())
}

/// The directories that have a share's name.
fn directories(root: &Path) -> io::Result<Vec<(ShareId, PathBuf)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(root)? {
        let path = entry?.path();
        let id = path.file_name().and_then(|name| name.to_str()).and_then(|name| name.parse().ok());
        found.extend(id.map(|share| (share, path)));
    }
    Ok(found)
}
