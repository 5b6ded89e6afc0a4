//! What this peer has promised others to keep, on stable storage.
//!
//! ```text
//! DATA/store/promises   32 bytes of id and until when, u64be, one after another; of two of one chunk the later counts
//! ```
//! Promises are added at the end. The file is written anew before it holds twice as many as stand, and some.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;

use parcelry_core::id::ChunkId;
use parcelry_core::limits::PROMISES_SPARE;

use crate::disk::durable;

/// A chunk, and until when it is kept: milliseconds since the Unix epoch.
pub(super) type Promise = (ChunkId, u64);

/// The file, open for what is promised next.
#[derive(Debug)]
pub(super) struct PromiseFile {
    file: File,
    count: usize,
}

impl PromiseFile {
    /// What was promised below a store. Half a promise at the end, which a crash has left there, was given to nobody.
    pub(super) fn read(store: &Path) -> io::Result<Vec<Promise>> {
        match fs::read(store.join("promises")) {
            Ok(bytes) => Ok(parse(&bytes).collect()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }

    /// Writes all promises that stand, in the place of what was there.
    pub(super) fn write(store: &Path, standing: impl Iterator<Item = Promise>) -> io::Result<Self> {
        let path = store.join("promises");
        let bytes: Vec<u8> = standing.flat_map(encode).collect();
        durable::persist(&path, &bytes)?;
        let file = OpenOptions::new().append(true).open(&path)?;
        Ok(Self { file, count: bytes.len() / 40 })
    }

    /// Like [`Self::write`], but `None` on a disk that takes nothing: what is here is served nevertheless.
    pub(super) fn written(store: &Path, standing: impl Iterator<Item = Promise>) -> Option<Self> {
        let written = Self::write(store, standing);
        written.inspect_err(|error| tracing::error!(%error, "what was promised cannot be written down")).ok()
    }

    /// Whether so many more can be added while so many stand.
    pub(super) fn has_room(&self, more: usize, standing: usize) -> bool {
        self.count + more <= 2 * standing + PROMISES_SPARE
    }

    /// Adds promises. After a failure this is gone: a torn one would spoil those that come after it.
    pub(super) fn add(mut self, new: Vec<Promise>) -> io::Result<Self> {
        if !new.is_empty() {
            self.count += new.len();
            let bytes: Vec<u8> = new.into_iter().flat_map(encode).collect();
            self.file.write_all(&bytes)?;
            self.file.sync_data()?;
        }
        Ok(self)
    }
}

fn parse(bytes: &[u8]) -> impl Iterator<Item = Promise> + '_ {
    let (promises, _) = bytes.as_chunks::<40>();
    promises.iter().map(|promise| {
        let (mut id, mut until) = ([0; 32], [0; 8]);
        id.copy_from_slice(&promise[..32]);
        until.copy_from_slice(&promise[32..]);
        (ChunkId::from_bytes(id), u64::from_be_bytes(until))
    })
}

fn encode((id, until_ms): Promise) -> Vec<u8> {
    [&id.as_bytes()[..], &until_ms.to_be_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_promise_that_a_crash_has_torn_was_given_to_nobody() {
        let whole: Vec<u8> =
            [(ChunkId::of(b"a"), 7), (ChunkId::of(b"b"), 8)].into_iter().flat_map(encode).collect();
        assert_eq!(parse(&whole).count(), 2);
        assert_eq!(parse(&whole[..79]).collect::<Vec<_>>(), [(ChunkId::of(b"a"), 7)]);
    }

    #[test]
    fn what_is_added_is_read_again_and_the_file_is_bounded() {
        let store = tempfile::tempdir().unwrap();
        let of = |until_ms| (ChunkId::of(b"a"), until_ms);
        let mut promises = PromiseFile::write(store.path(), [of(1)].into_iter()).unwrap();
        promises = promises.add(vec![of(2)]).unwrap().add(Vec::new()).unwrap();
        assert_eq!(PromiseFile::read(store.path()).unwrap(), [of(1), of(2)]);
        assert!(promises.has_room(PROMISES_SPARE, 1) && !promises.has_room(PROMISES_SPARE + 1, 1));
        PromiseFile::write(store.path(), [of(2)].into_iter()).unwrap();
        assert_eq!(PromiseFile::read(store.path()).unwrap(), [of(2)]);
    }
}
