//! Chunks that may be of several shares: so that what is one share's alone can go although the record of another one
//! cannot be read.
//!
//! ```text
//! DATA/store/several   the chunks' ids, 32 bytes each
//! ```
//! A chunk gets its name for one upload, whose mark names it (`src/peer/storage/marks.rs`). Any other share that
//! commits it does so without having a mark of its own on it, and notes that here first. So a chunk that a mark or a
//! share names, and this does not, is of nobody else.

use std::collections::HashSet;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use parcelry_core::id::ChunkId;
use parking_lot::Mutex;

use crate::disk::durable;

const ID_BYTES: usize = 32;

/// The chunks of one peer that may be of several shares.
#[derive(Debug)]
pub(super) struct Several {
    path: PathBuf,
    /// None if they could not be read: then any chunk may be.
    ids: Mutex<Option<HashSet<ChunkId>>>,
}

impl Several {
    /// Opens what is noted below a store.
    pub(super) fn open(store: &Path) -> io::Result<Self> {
        let path = store.join("several");
        let ids = match fs::read(&path) {
            Ok(bytes) => Some(parse(&bytes).collect()),
            // As good as unreadable: a store without a share has none to be careful about, and others had one.
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => {
                tracing::error!(path = %path.display(), %error, "cannot tell which chunks are of several shares");
                None
            }
        };
        Ok(Self { path, ids: Mutex::new(ids) })
    }

    /// Whether the chunk may be of several shares.
    pub(super) fn contains(&self, id: &ChunkId) -> bool {
        self.ids.lock().as_ref().is_none_or(|ids| ids.contains(id))
    }

    /// Notes, so that it survives a crash, that chunks may be of several shares.
    pub(super) fn add(&self, chunks: &[ChunkId]) -> io::Result<()> {
        // One at a time: what one has put into the set, another must not take for written.
        let mut ids = self.ids.lock();
        let Some(ids) = ids.as_mut() else { return Ok(()) };
        let new: Vec<ChunkId> = chunks.iter().filter(|id| !ids.contains(*id)).copied().collect();
        if new.is_empty() {
            return Ok(());
        }
        let mut file = OpenOptions::new().append(true).open(&self.path)?;
        // A crash may have torn the last one.
        let bytes = file.metadata()?.len();
        file.set_len(bytes - bytes % ID_BYTES as u64)?;
        file.write_all(&new.iter().flat_map(|id| *id.as_bytes()).collect::<Vec<u8>>())?;
        file.sync_data()?;
        ids.extend(new);
        Ok(())
    }

    /// Notes these and, of those that were noted, what is still here; `marked` are all that may be if that is not known.
    pub(super) fn renew(
        &self,
        mut chunks: HashSet<ChunkId>,
        is_here: impl Fn(&ChunkId) -> bool,
        marked: impl FnOnce() -> io::Result<HashSet<ChunkId>>,
    ) -> io::Result<()> {
        let mut ids = self.ids.lock();
        match ids.as_ref() {
            Some(noted) => chunks.extend(noted.iter().copied().filter(is_here)),
            None => chunks.extend(marked()?),
        }
        if ids.as_ref() != Some(&chunks) {
            let bytes: Vec<u8> = chunks.iter().flat_map(|id| *id.as_bytes()).collect();
            let written = durable::persist(&self.path, &bytes);
            // A disk that takes nothing is no reason not to serve what is on it.
            if let Err(error) = &written {
                tracing::error!(path = %self.path.display(), %error, "cannot note which chunks are of several shares");
            }
            *ids = written.is_ok().then_some(chunks);
        }
        Ok(())
    }
}

fn parse(bytes: &[u8]) -> impl Iterator<Item = ChunkId> + '_ {
    bytes.chunks_exact(ID_BYTES).filter_map(|id| id.try_into().ok()).map(ChunkId::from_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_noted_is_read_again_and_what_cannot_be_read_may_be_anything() {
        let store = tempfile::tempdir().unwrap();
        let [one, two, three] = [b"1", b"2", b"3"].map(|bytes| ChunkId::of(bytes));
        let open = || Several::open(store.path()).unwrap();
        let nothing = || Ok(HashSet::new());
        let several = open();
        assert!(several.contains(&one), "who knows what was noted before");
        several.renew(HashSet::new(), |_| false, nothing).unwrap();
        assert!(!several.contains(&one));
        several.add(&[one]).unwrap();
        several.add(&[one, two]).unwrap();
        let bytes = fs::read(&several.path).unwrap();
        assert_eq!(bytes.len(), 2 * ID_BYTES);
        fs::write(&several.path, &bytes[..40]).unwrap();
        let torn = open();
        assert!(torn.contains(&one) && !torn.contains(&two));
        torn.add(&[three]).unwrap();
        open().renew(HashSet::from([two]), |id| *id == three, nothing).unwrap();
        let [is_one, is_two, is_three] = [one, two, three].map(|id| open().contains(&id));
        assert!(!is_one && is_two && is_three);
        fs::remove_file(&several.path).unwrap();
        fs::create_dir(&several.path).unwrap();
        assert!(open().contains(&one));
    }
}
