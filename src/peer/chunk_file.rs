//! The file of one chunk: how it arrives, and how it is read.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;

use swarmdrop_core::id::ChunkId;
use tempfile::NamedTempFile;

use crate::durable;

/// A chunk that is arriving. Dropping it leaves nothing behind.
#[derive(Debug)]
pub(super) struct Arriving {
    file: NamedTempFile,
    hasher: Box<blake3::Hasher>,
    bytes: u64,
}

/// Why a chunk was not taken.
#[derive(Debug, thiserror::Error)]
pub(super) enum PutError {
    /// The bytes are those of another chunk.
    #[error("the bytes hash to {0}")]
    HashMismatch(ChunkId),
    /// The disk failed or is full.
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl Arriving {
    /// Makes room for a chunk in a folder of the file system where it is to stay.
    pub(super) fn begin(folder: &Path) -> io::Result<Self> {
        let file = tempfile::Builder::new().tempfile_in(folder)?;
        Ok(Self { file, hasher: Box::default(), bytes: 0 })
    }

    /// Takes the next bytes.
    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.hasher.update(bytes);
        self.bytes += bytes.len() as u64;
        self.file.write_all(bytes)
    }

    /// The same with the next bytes.
    pub(super) fn and(mut self, bytes: &[u8]) -> io::Result<Self> {
        self.write(bytes)?;
        Ok(self)
    }

    /// The id that its bytes have.
    pub(super) fn id(&self) -> ChunkId {
        ChunkId::from_bytes(*self.hasher.finalize().as_bytes())
    }

    /// Gives the file its name, in the place of what has it; its bytes.
    pub(super) fn name(self, path: &Path) -> io::Result<u64> {
        self.file.persist(path).map_err(|error| error.error)?;
        Ok(self.bytes)
    }
}

/// Reads a piece of a chunk's file: at most `bytes` bytes, and no more than the buffer has room for.
pub(super) fn read_piece(file: &File, offset: u64, bytes: u64, piece: &mut Vec<u8>) -> io::Result<()> {
    piece.truncate(usize::try_from(bytes).unwrap_or(usize::MAX));
    let mut filled = 0;
    while filled < piece.len() {
        match file.read_at(&mut piece[filled..], offset + filled as u64)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            read => filled += read,
        }
    }
    Ok(())
}

/// The id that a file's bytes have.
pub(super) fn hash_file(path: &Path) -> io::Result<ChunkId> {
    let mut hasher = blake3::Hasher::new();
    hasher.update_reader(durable::open_read(path)?)?;
    Ok(ChunkId::from_bytes(*hasher.finalize().as_bytes()))
}
