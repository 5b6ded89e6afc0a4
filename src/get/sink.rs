//! What takes the opened chunks: the temporary file or folder, or standard output in order.

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
    Stdout { next: watch::Sender<u32> },
}

impl Sink {
    /// Writes to standard output.
    pub(super) fn stdout() -> Self {
        Self::Stdout { next: watch::Sender::new(0) }
    }

    /// Whether chunks wait for those before them.
    pub(super) const fn is_ordered(&self) -> bool {
        matches!(self, Self::Stdout { .. })
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
        let Self::Stdout { next } = self else { return Ok(()) };
        let mut turn = next.subscribe();
        turn.wait_for(|&next| next == index.get()).await.map_err(io::Error::other)?;
        blocking(move || {
            let mut stdout = io::stdout().lock();
            stdout.write_all(&plain)?;
            stdout.flush()
        })
        .await?;
        next.send_replace(index.get() + 1);
        Ok(())
    }
}
