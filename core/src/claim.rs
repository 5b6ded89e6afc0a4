//! What is known of a holder's replicas of a share, and what is asked to find out.

use crate::chunk_set::ChunkSet;
use crate::geometry::{ChunkIndex, Geometry};
use crate::id::{PeerId, ShareId};

/// How a claim came about, which decides for how long repair counts it without a proof.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Claim {
    /// A receipt, or a copy that was ordered: for one dead time.
    Expected,
    /// The peer's inventory or announcement, or this tracker's own memory after a restart: until its turn comes, a day at
    /// most.
    Inventory,
    /// Anything else that a peer says: not at all. It changes nothing about what else the peer holds of the share.
    Bare,
}

/// What is known of a holder's replicas of a share.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Evidence {
    /// They are proven to this tracker.
    Proven {
        /// When the first proof was given.
        since_ms: u64,
        /// Whether proofs were given daily for a week until now.
        settled: bool,
    },
    /// They are claimed.
    Claimed {
        /// Whether repair counts them for the time being.
        counts: bool,
    },
}

/// What a tracker's store keeps of a pair's proofs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record {
    /// The first proof.
    pub since_ms: u64,
    /// The first of those that followed each other without a gap of more than two days.
    pub steady_ms: u64,
    /// The last proof.
    pub proven_ms: u64,
}

/// A share that a peer is to be asked about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Asked {
    /// The share.
    pub share: ShareId,
    /// How many samples to ask for.
    pub samples: u8,
}

/// What is to be asked of one peer, in one request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Turn {
    /// The peer.
    pub peer: PeerId,
    /// The shares.
    pub questions: Vec<Asked>,
}

/// What came of the samples of one pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Each was answered with a right slice.
    Proven,
    /// So were those of what nobody had ordered, which is a replica from now on.
    Grown,
    /// So many chunks are not there: the slice was wrong, or the peer said that it has none.
    Refuted(u32),
    /// Time-out, too busy, or an answer that is none.
    Unanswered,
    /// The peer is no holder of the share any more.
    Gone,
}

/// What is sampled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// A chunk.
    Chunk(ChunkIndex),
    /// The share's manifest.
    Manifest,
}

/// Draws the samples of a pair: what is sampled, and the byte there. Each chunk that the peer is to have and the
/// manifest are equally likely. `draw` gives random numbers.
pub fn draw_samples(
    geometry: &Geometry,
    held: &ChunkSet,
    manifest_bytes: u64,
    count: u8,
    mut draw: impl FnMut() -> u64,
) -> Vec<(Target, u64)> {
    let chunks = u64::from(held.len());
    let mut sample = || match u32::try_from(draw() % (chunks + 1)).ok().and_then(|nth| held.nth(nth)) {
        Some(index) => (Target::Chunk(index), draw() % geometry.sealed_len(index) as u64),
        None => (Target::Manifest, draw() % manifest_bytes.max(1)),
    };
    (0..count).map(|_| sample()).collect()
}

/// Draws samples of these chunks alone: what one more replica of them would have to show.
pub fn draw_chunks(
    geometry: &Geometry,
    chunks: &ChunkSet,
    count: u8,
    mut draw: impl FnMut() -> u64,
) -> Vec<(Target, u64)> {
    let mut sample = || {
        let nth = draw() % u64::from(chunks.len()).max(1);
        let index = u32::try_from(nth).ok().and_then(|nth| chunks.nth(nth))?;
        Some((Target::Chunk(index), draw() % geometry.sealed_len(index) as u64))
    };
    (0..count).filter_map(|_| sample()).collect()
}
