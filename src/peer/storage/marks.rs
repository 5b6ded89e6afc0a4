//! Which chunks came for which upload. Each is noted before its file gets its name, so that what an upload leaves
//! behind is known by name: nothing is removed for being of no share.
//!
//! ```text
//! DATA/store/uploads/<share id>         the chunks' ids, 32 bytes each, as they came
//!                    <share id>.token   the id of the token that is charged with them, 8 bytes; none: nobody's
//! ```
//! A mark is not synced when it is written: the sync of the chunks covers it. A crash of the system may take the end
//! of it away; chunks of which that is true are kept, and reported.

use std::collections::HashSet;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use parcelry_core::id::{ChunkId, ShareId};
use parcelry_core::token::TokenId;
use parking_lot::Mutex;

use crate::disk::durable;

const ID_BYTES: usize = 32;

/// The marks of one peer.
#[derive(Debug)]
pub(super) struct Marks {
    root: PathBuf,
    /// Held while a mark is written or ended: one that ends must not take a new id with it.
    writing: Mutex<()>,
}

impl Marks {
    /// Opens those below a store.
    pub(super) fn open(store: &Path) -> io::Result<Self> {
        let root = store.join("uploads");
        durable::create_private_directory(&root)?;
        Ok(Self { root, writing: Mutex::default() })
    }

    /// Notes that these chunks may be here for this share only.
    pub(super) fn add(&self, share: ShareId, ids: &[ChunkId]) -> io::Result<()> {
        let bytes: Vec<u8> = ids.iter().flat_map(|id| *id.as_bytes()).collect();
        let _writing = self.writing.lock();
        let mut options = OpenOptions::new();
        options.append(true).create(true).mode(0o600);
        let mut file = options.open(self.path(share))?;
        let torn = file.metadata()?.len() % ID_BYTES as u64;
        if torn > 0 {
            file.set_len(file.metadata()?.len() - torn)?;
        }
        file.write_all(&bytes)
    }

    /// Notes which token is charged with what comes for a share; the first one stays.
    pub(super) fn charge(&self, share: ShareId, token: TokenId) -> io::Result<()> {
        let _writing = self.writing.lock();
        let path = self.token_path(share);
        if fs::symlink_metadata(&path).is_ok_and(|found| found.len() == token.as_bytes().len() as u64) {
            return Ok(());
        }
        let mut options = OpenOptions::new();
        let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(path)?;
        file.write_all(token.as_bytes())
    }

    /// The token that is charged with what came for a share. A crash may have taken the note of it.
    pub(super) fn charged(&self, share: ShareId) -> Option<TokenId> {
        let bytes = fs::read(self.token_path(share)).ok()?;
        bytes.try_into().ok().map(TokenId::from_bytes)
    }

    /// Whether there is a mark for the share.
    pub(super) fn has(&self, share: ShareId) -> bool {
        fs::symlink_metadata(self.path(share)).is_ok()
    }

    /// The chunks that came for a share.
    pub(super) fn of(&self, share: ShareId) -> io::Result<Vec<ChunkId>> {
        let bytes = match fs::read(self.path(share)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            result => result?,
        };
        let ids = bytes.chunks_exact(ID_BYTES).filter_map(|id| id.try_into().ok());
        Ok(ids.map(ChunkId::from_bytes).collect())
    }

    /// Ends a mark if all its chunks are settled, one way or another.
    pub(super) fn end(&self, share: ShareId, is_settled: impl Fn(&ChunkId) -> bool) -> io::Result<()> {
        let _writing = self.writing.lock();
        if !self.of(share)?.iter().all(is_settled) {
            return Ok(());
        }
        // The token's note goes first: a mark is what tells that there is one.
        for path in [self.token_path(share), self.path(share)] {
            match fs::remove_file(path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }

    /// The shares whose marks were written last before this moment.
    pub(super) fn before(&self, moment: SystemTime) -> io::Result<Vec<ShareId>> {
        let mut found = Vec::new();
        for (share, modified) in self.all()? {
            found.extend((modified < moment).then_some(share));
        }
        Ok(found)
    }

    /// The chunks of all marks.
    pub(super) fn chunks(&self) -> io::Result<HashSet<ChunkId>> {
        let mut all = HashSet::new();
        for (share, _) in self.all()? {
            all.extend(self.of(share)?);
        }
        Ok(all)
    }

    /// The shares that have marks.
    pub(super) fn shares(&self) -> io::Result<Vec<ShareId>> {
        Ok(self.all()?.into_iter().map(|(share, _)| share).collect())
    }

    fn all(&self) -> io::Result<Vec<(ShareId, SystemTime)>> {
        let mut found = Vec::new();
        for file in fs::read_dir(&self.root)? {
            let file = file?;
            let Some(share) = file.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
            match file.metadata().and_then(|metadata| metadata.modified()) {
                Ok(modified) => found.push((share, modified)),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(found)
    }

    fn path(&self, share: ShareId) -> PathBuf {
        self.root.join(share.to_string())
    }

    fn token_path(&self, share: ShareId) -> PathBuf {
        self.root.join(format!("{share}.token"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_names_what_came_until_all_of_it_is_settled() {
        let directory = tempfile::tempdir().unwrap();
        let marks = Marks::open(directory.path()).unwrap();
        let share = ShareId::from_bytes([1; 32]);
        let [one, two, three] = [b"1", b"2", b"3"].map(|bytes| ChunkId::of(bytes));
        assert!(!marks.has(share));
        marks.add(share, &[one]).unwrap();
        marks.add(share, &[two]).unwrap();
        assert_eq!(marks.of(share).unwrap(), [one, two]);
        // A crash has torn the end off.
        let file = OpenOptions::new().write(true).open(marks.path(share)).unwrap();
        file.set_len(40).unwrap();
        assert_eq!(marks.of(share).unwrap(), [one]);
        marks.add(share, &[three]).unwrap();
        assert_eq!(marks.of(share).unwrap(), [one, three]);
        assert_eq!(marks.chunks().unwrap(), HashSet::from([one, three]));
        marks.end(share, |id| *id == one).unwrap();
        assert!(marks.has(share), "nobody has settled one of them");
        marks.end(share, |_| true).unwrap();
        marks.end(share, |_| true).unwrap();
        assert!(!marks.has(share) && marks.of(share).unwrap().is_empty());
    }
}
