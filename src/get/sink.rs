//! What takes the opened chunks: the temporary file or directory in any order, or a stream, in theirs.

use std::fs::File;
use std::io::{self, Write};
use std::sync::Arc;

use parcelry_core::geometry::{ChunkIndex, Geometry};
use parcelry_core::holes::Holes;
use tokio::sync::watch;

use super::output::Output;
use crate::buffers::Buffer;
use crate::crash::{self, Point};
use crate::disk::holes::ZEROS;
use crate::journal::DownloadJournal;
use crate::task::blocking;

/// Bytes of a hole that are written before anything else has a turn.
const ZEROS_AT_ONCE: u64 = 16 << 20;

/// Where opened chunks go.
#[derive(Debug)]
pub(super) enum Sink {
    /// Writes each at once.
    AnyOrder(AnyOrder),
    /// Writes each when all before it are written.
    InOrder(Arc<InOrder>),
}

/// The temporary, where each chunk is written at its offset, and noted in the journal.
#[derive(Debug)]
pub(super) struct AnyOrder {
    geometry: Geometry,
    output: Arc<Output>,
    journal: Arc<DownloadJournal>,
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
    fn sync(&self) -> io::Result<()> {
        let Self::Special(file) = self else { return Ok(()) };
        match file.sync_all() {
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => Ok(()),
            result => result,
        }
    }
}

/// A file that is written from its start to its end, with its holes as zeros: nothing else is known of what was there.
#[derive(Debug)]
pub(super) struct InOrder {
    stream: Arc<Stream>,
    geometry: Geometry,
    holes: Holes,
    /// The index of the chunk that is next.
    next: watch::Sender<u32>,
}

impl AnyOrder {
    /// Writes into the temporary of a share of this geometry.
    pub(super) const fn new(geometry: Geometry, output: Arc<Output>, journal: Arc<DownloadJournal>) -> Self {
        Self { geometry, output, journal }
    }

    /// Writes a chunk. Blocks.
    pub(super) fn put(&self, index: ChunkIndex, plain: &[u8]) -> io::Result<()> {
        self.output.write(self.geometry.plain_range(index).start, plain)?;
        crash::at(Point::PlainWritten);
        self.journal.record(index)
    }
}

impl InOrder {
    /// Writes the one file of a share of this geometry, with these holes.
    pub(super) fn new(stream: Stream, geometry: Geometry, holes: Holes) -> Self {
        Self { stream: Arc::new(stream), geometry, holes, next: watch::Sender::new(0) }
    }

    /// Writes a chunk behind the one before it, as soon as that is there.
    pub(super) async fn put(&self, index: ChunkIndex, plain: Buffer) -> io::Result<()> {
        let mut turn = self.next.subscribe();
        turn.wait_for(|&next| next == index.get()).await.map_err(io::Error::other)?;
        self.write(index, plain).await?;
        self.next.send_replace(index.get() + 1);
        Ok(())
    }

    /// Writes a chunk, with the holes before its bytes.
    async fn write(&self, index: ChunkIndex, plain: Buffer) -> io::Result<()> {
        let range = self.geometry.plain_range(index);
        let plain = Arc::new(plain);
        for run in self.holes.runs(range.clone()) {
            self.write_hole_before(run.data.start).await?;
            let [start, end] = [run.data.start, run.data.end].map(|at| usize::try_from(at - range.start));
            let part = start.map_err(io::Error::other)?..end.map_err(io::Error::other)?;
            let (stream, plain) = (Arc::clone(&self.stream), Arc::clone(&plain));
            blocking(move || stream.write(&plain[part])).await?;
        }
        Ok(())
    }

    /// Writes the hole that lies before this byte of the data. It may be longer than anybody waits: between its pieces this
    /// can be ended.
    async fn write_hole_before(&self, data: u64) -> io::Result<()> {
        let mut left = self.holes.before(data);
        while left > 0 {
            let now = left.min(ZEROS_AT_ONCE);
            let stream = Arc::clone(&self.stream);
            blocking(move || {
                let mut left = usize::try_from(now).map_err(io::Error::other)?;
                while left > 0 {
                    let piece = left.min(ZEROS.len());
                    stream.write(&ZEROS[..piece])?;
                    left -= piece;
                }
                Ok::<_, io::Error>(())
            })
            .await?;
            left -= now;
        }
        Ok(())
    }

    /// Writes the hole at the end, and makes all of it survive a crash.
    pub(super) async fn finish(&self) -> io::Result<()> {
        self.write_hole_before(self.geometry.total()).await?;
        let stream = Arc::clone(&self.stream);
        blocking(move || stream.sync()).await
    }
}

impl Sink {
    /// Whether chunks wait for those before them.
    pub(super) const fn is_ordered(&self) -> bool {
        matches!(self, Self::InOrder(_))
    }
}
