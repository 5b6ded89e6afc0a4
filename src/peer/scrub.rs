//! Reads everything that is held here again, a little at a time, and reports what has rotted.
//!
//! A pass goes through the chunks in the order of their ids, in 256 steps by the first byte. The next step, and
//! when it is due, are in `DATA/store/scrub`: a restart goes on where the pass was.

use std::io;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use parcelry_core::id::ChunkId;
use parcelry_core::registry::ScrubProgress;
use serde::{Deserialize, Serialize};

use super::Peer;
use super::outbox::Report;
use crate::clock;
use crate::disk::durable;
use crate::task::blocking;
use crate::worker::{Notes, Stops, Worker};

/// Steps of a pass, one for each first byte of an id.
const STEPS: u32 = 256;

/// What a scrub has found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Scrub {
    /// Chunks that were read.
    pub chunks: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Chunks that were damaged, and quarantined.
    pub damaged: u64,
}

/// Scrubs in passes.
pub(super) struct ScrubWorker {
    peer: Arc<Peer>,
    /// How long a pass takes.
    every: Duration,
    /// The file that names the next step.
    path: PathBuf,
    /// Whether it still names the one that was done last.
    is_behind: bool,
}

/// Where a pass is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Position {
    /// The first byte of the chunks that come next.
    step: u8,
    /// When they are due: milliseconds since the Unix epoch.
    due_ms: u64,
}

impl Position {
    fn read(path: &Path) -> Self {
        let read = || serde_json::from_slice(&std::fs::read(path).ok()?).ok();
        read().unwrap_or(Self { step: 0, due_ms: clock::now_ms() })
    }

    /// How long to wait; never longer than one step takes, whatever was done to the clock.
    fn wait(self, every: Duration) -> Duration {
        Duration::from_millis(self.due_ms.saturating_sub(clock::now_ms())).min(every / STEPS)
    }
}

/// The step that is being done, for those who ask how far the pass is.
#[derive(Debug, Default)]
pub(super) struct At(AtomicU8);

impl At {
    fn set(&self, step: u8) {
        self.0.store(step, Ordering::Relaxed);
    }

    /// How far the pass is through so many bytes. Ids are hashes, so every step has about as much to read.
    pub(super) fn progress(&self, total_bytes: u64) -> ScrubProgress {
        let step = u128::from(self.0.load(Ordering::Relaxed));
        let done_bytes = u128::from(total_bytes) * step / u128::from(STEPS);
        ScrubProgress { done_bytes: u64::try_from(done_bytes).unwrap_or(total_bytes), total_bytes }
    }
}

impl ScrubWorker {
    /// Passes that take `every` and go on where the file says.
    pub(super) fn new(peer: Arc<Peer>, every: Duration, path: PathBuf) -> Self {
        Self { peer, every, path, is_behind: false }
    }
}

impl Worker for ScrubWorker {
    const STOPS: Stops = Stops::WithinSteps;
    type Due = Position;

    fn name(&self) -> &'static str {
        "scrub"
    }

    async fn wait(&mut self) -> Position {
        if self.is_behind {
            // Without a pause the same step would be read again and again.
            tokio::time::sleep(self.every / STEPS).await;
        }
        let position = Position::read(&self.path);
        self.peer.scrub_at.set(position.step);
        tokio::time::sleep(position.wait(self.every)).await;
        position
    }

    async fn step(&mut self, position: Position, notes: &Notes) {
        let read = pass(&self.peer, position.step..=position.step).await;
        if let Some(scrub) = notes.note("cannot scrub", read)
            && scrub.damaged > 0
        {
            tracing::warn!(?scrub, "scrub found damaged chunks");
        }
        let due_ms = clock::ms_from_now(self.every / STEPS);
        let next = Position { step: position.step.wrapping_add(1), due_ms };
        let json = serde_json::to_vec(&next).expect("a position has string keys");
        let path = self.path.clone();
        let persisted = blocking(move || durable::persist(&path, &json)).await;
        self.is_behind = persisted.is_err();
        notes.note("cannot note where the scrub is", persisted);
    }
}

/// Reads everything again, now.
pub(super) async fn pass_now(peer: &Arc<Peer>) -> io::Result<Scrub> {
    pass(peer, 0..=u8::MAX).await
}

/// Reads the chunks of these steps again.
async fn pass(peer: &Arc<Peer>, steps: RangeInclusive<u8>) -> io::Result<Scrub> {
    let mut scrub = Scrub::default();
    // The last id before the first step, so that the search begins with it.
    let mut after = steps.start().checked_sub(1).map(|before| {
        let mut bytes = [255; 32];
        bytes[0] = before;
        ChunkId::from_bytes(bytes)
    });
    while let Some((id, bytes)) = peer.storage.next_chunk(after) {
        if id.as_bytes()[0] > *steps.end() {
            break;
        }
        peer.scrub_at.set(id.as_bytes()[0]);
        peer.scrub_rate.admit(bytes).await;
        let lost = peer.on_disk(move |storage| storage.scrub(id, bytes)).await?;
        after = Some(id);
        scrub.chunks += 1;
        scrub.bytes += bytes;
        peer.metrics.chunks_scrubbed.inc();
        if !lost.is_empty() {
            scrub.damaged += 1;
            peer.metrics.chunks_damaged.inc();
        }
        lost.into_iter().for_each(|lost| peer.outbox.push(Report::Lost(lost)));
    }
    Ok(scrub)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pass_goes_on_after_a_restart_and_never_waits_long() {
        let directory = tempfile::tempdir().unwrap();
        let (path, every) = (directory.path().join("scrub"), Duration::from_secs(256 * 60));
        let first = Position::read(&path);
        assert_eq!(
            (first.step, first.wait(every)),
            (0, Duration::ZERO),
            "a peer that restarts often scrubs, too"
        );
        let later = Position { step: 7, due_ms: clock::now_ms() + 999_999_999 };
        durable::persist(&path, &serde_json::to_vec(&later).unwrap()).unwrap();
        assert_eq!(Position::read(&path), later);
        assert_eq!(later.wait(every), Duration::from_secs(60), "the clock was set back");
        assert_eq!(Position { step: 7, due_ms: 0 }.wait(every), Duration::ZERO);
    }

    #[test]
    fn progress_is_told_in_bytes() {
        let at = At::default();
        assert_eq!(at.progress(1000), ScrubProgress { done_bytes: 0, total_bytes: 1000 });
        at.set(128);
        assert_eq!(at.progress(1000).done_bytes, 500);
        at.set(255);
        assert_eq!(at.progress(u64::MAX).done_bytes, u64::MAX / 256 * 255 + 254);
    }
}
