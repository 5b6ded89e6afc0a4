//! The file of one chunk: how it arrives, and how it is read.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;

use parcelry_core::id::ChunkId;
use tempfile::NamedTempFile;

use crate::disk::durable;

/// A chunk that is arriving. Dropping it leaves nothing behind.
#[derive(Debug)]
pub(in crate::peer) struct PendingChunk {
    file: NamedTempFile,
    hasher: Box<blake3::Hasher>,
    bytes: u64,
}

/// Why a chunk was not taken.
#[derive(Debug, thiserror::Error)]
pub(in crate::peer) enum PutError {
    /// The bytes are those of another chunk.
    #[error("the bytes hash to {0}")]
    HashMismatch(ChunkId),
    /// The disk failed or is full.
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl PendingChunk {
    /// Makes room for a chunk in a directory of the file system where it is to stay.
    pub(super) fn create(directory: &Path) -> io::Result<Self> {
        let file = durable::create_temporary(directory)?;
        Ok(Self { file, hasher: Box::default(), bytes: 0 })
    }

    /// Takes the next bytes.
    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.hasher.update(bytes);
        self.bytes += bytes.len() as u64;
        // The file's own: an error of `tempfile` has no error code.
        self.file.as_file_mut().write_all(bytes)
    }

    /// The chunk with the next bytes added.
    pub(super) fn append(mut self, bytes: &[u8]) -> io::Result<Self> {
        self.write(bytes)?;
        Ok(self)
    }

    /// The id that its bytes have.
    pub(super) fn id(&self) -> ChunkId {
        ChunkId::from_bytes(*self.hasher.finalize().as_bytes())
    }

    /// Gives the file its name, in the place of what has it. Returns its length.
    pub(super) fn name(self, path: &Path) -> io::Result<u64> {
        self.file.persist(path).map_err(|error| error.error)?;
        Ok(self.bytes)
    }
}

/// Reads a piece of a chunk's file: at most `bytes` bytes, and no more than the buffer has room for.
pub(in crate::peer) fn read_piece(
    file: &File,
    offset: u64,
    bytes: u64,
    piece: &mut Vec<u8>,
) -> io::Result<()> {
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

/// The id that a file's bytes have on the disk.
pub(super) fn hash_file(path: &Path) -> io::Result<ChunkId> {
    let (mut hasher, file) = (blake3::Hasher::new(), durable::open_read(path)?);
    durable::drop_cached(&file);
    hasher.update_reader(file)?;
    Ok(ChunkId::from_bytes(*hasher.finalize().as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::FileExt;
    use std::process::Command;

    /// A file system in a file, as long as it lives.
    struct Image {
        directory: tempfile::TempDir,
    }

    impl Image {
        /// None: this machine lets nobody mount one.
        fn mount() -> Option<Self> {
            let directory = tempfile::tempdir().unwrap();
            let (image, disk) = (directory.path().join("image"), directory.path().join("disk"));
            fs::File::create(&image).unwrap().set_len(64 << 20).unwrap();
            fs::create_dir(&disk).unwrap();
            let works = |command: &mut Command| command.output().is_ok_and(|output| output.status.success());
            let is_mounted = works(Command::new("mkfs.ext4").arg("-q").arg(&image))
                && works(Command::new("mount").args(["-o", "loop"]).args([&image, &disk]));
            is_mounted.then_some(Self { directory })
        }
    }

    impl Drop for Image {
        fn drop(&mut self) {
            let _ = Command::new("umount").arg(self.directory.path().join("disk")).status();
        }
    }

    #[test]
    fn s8_a_chunk_that_is_read_again_is_read_from_the_disk() {
        // Where nobody may mount one, nothing is to be seen.
        let Some(image) = Image::mount() else { return };
        let (chunk, disk) = (image.directory.path().join("disk/chunk"), image.directory.path().join("image"));
        let bytes = b"the bytes of a chunk ".repeat(1000);
        fs::write(&chunk, &bytes).unwrap();
        fs::File::open(&chunk).unwrap().sync_all().unwrap();
        // The disk loses a bit of it, and the system does not notice.
        let whole = fs::read(&disk).unwrap();
        let at = whole.windows(bytes.len()).position(|window| window == bytes).unwrap();
        let disk = fs::File::options().write(true).open(disk).unwrap();
        disk.write_all_at(b"T", at as u64).unwrap();
        disk.sync_all().unwrap();
        assert_eq!(fs::read(&chunk).unwrap(), bytes, "it is remembered as it was written");
        assert_ne!(hash_file(&chunk).unwrap(), ChunkId::of(&bytes));
    }
}
