//! What takes the opened chunks: the temporary file or folder, or a stream in order.

use std::fs::File;
use std::io::{self, Write};
use std::sync::Arc;

use swarmdrop_core::geometry::{ChunkIndex, Geometry};
use tokio::sync::watch;

use super::output::Output;
use crate::buffers::Buffer;
use crate::crash::{self, Point};
use crate::journal::DownloadJournal;
use crate::task::blocking;

/// Takes chunks in any order.
#[derive(Debug)]
pub(super) enum Sink {
    /// Writes each at its offset and notes it in the journal.
    File { geometry: Geometry, output: Arc<Output>, journal: Arc<DownloadJournal> },
    /// Writes each when all before it are written; the channel carries the index that is next.
    Stream { next: watch::Sender<u32>, stream: Arc<Stream> },
}

/// What takes bytes in order only.
#[derive(Debug)]
pub(super) enum Stream {
    /// Standard output.
    Stdout,
    /// A device or fifo.
    Special(File),
}

impl Stream {
    fn write(&self, plain: &[u8]) -> io::Result<()> {
        match self {
            Self::Stdout => {
                let mut stdout = io::stdout().lock();
                stdout.write_all(plain)?;
                stdout.flush()
            }
            Self::Special(file) => (&*file).write_all(plain),
        }
    }

    /// Makes what was written survive a crash, where that has a meaning: on a disk.
    pub(super) fn sync(&self) -> io::Result<()> {
        let Self::Special(file) = self else { return Ok(()) };
        match file.sync_all() {
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => Ok(()),
            result => result,
        }
    }
}

impl Sink {
    /// Writes to a stream.
    pub(super) fn stream(stream: Arc<Stream>) -> Self {
        Self::Stream { next: watch::Sender::new(0), stream }
    }

    /// Whether chunks wait for those before them.
    pub(super) const fn is_ordered(&self) -> bool {
        matches!(self, Self::Stream { .. })
    }

    /// Puts a chunk where it belongs, if any time is the right one; whether it was. Blocks.
    pub(super) fn put(&self, index: ChunkIndex, plain: &[u8]) -> io::Result<bool> {
        let Self::File { geometry, output, journal } = self else { return Ok(false) };
        output.write(geometry.plain_range(index).start, plain)?;
        crash::at(Point::PlainWritten);
        journal.record(index)?;
        Ok(true)
    }

    /// Puts a chunk behind the one before it, as soon as that is there.
    pub(super) async fn put_in_turn(&self, index: ChunkIndex, plain: Buffer) -> io::Result<()> {
        let Self::Stream { next, stream } = self else { return Ok(()) };
        let mut turn = next.subscribe();
        turn.wait_for(|&next| next == index.get()).await.map_err(io::Error::other)?;
        let stream = Arc::clone(stream);
        blocking(move || stream.write(&plain)).await?;
        next.send_replace(index.get() + 1);
        Ok(())
    }
}
