//! What takes the opened chunks: the temporary file or folder, or standard output in order.

use std::io::{self, Write};
use std::sync::Arc;

use swarmdrop_core::geometry::{ChunkIndex, Geometry};
use tokio::sync::watch;

use super::output::Output;
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

    /// Puts a chunk where it belongs.
    pub(super) async fn put(&self, index: ChunkIndex, plain: Vec<u8>) -> io::Result<()> {
        match self {
            Self::File { geometry, output, journal } => {
                let offset = geometry.plain_range(index).start;
                let (output, journal) = (Arc::clone(output), Arc::clone(journal));
                blocking(move || {
                    output.write(offset, &plain)?;
                    crash::at(Point::PlainWritten);
                    journal.record(index)
                })
                .await
            }
            Self::Stdout { next } => {
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
    }
}
