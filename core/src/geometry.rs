//! Sizes to chunks: the only place with offset arithmetic, and the only one that mints indices.

use std::fmt;
use std::ops::Range;

use crate::chunk_set::ChunkSet;
use crate::limits::{
    CHUNK_LOG2_DEFAULT, CHUNK_LOG2_MAX, CHUNK_LOG2_MIN, CHUNKS_MAX, TAG_BYTES, WINDOW_BYTES,
    WINDOW_CHUNKS_MAX,
};

/// The position of a chunk in its share, known to exist.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChunkIndex(u32);

impl ChunkIndex {
    pub(crate) const fn new(index: u32) -> Self {
        Self(index)
    }

    /// The index as a number, counted from 0.
    pub const fn get(self) -> u32 {
        self.0
    }
}

impl fmt::Display for ChunkIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The size of a share's chunks before sealing: a power of two from 64 KiB to 16 MiB.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChunkSize {
    log2: u8,
}

/// A chunk size that is no power of two from 64 KiB to 16 MiB.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a chunk size must be a power of two from 64 KiB to 16 MiB")]
pub struct ChunkSizeError;

impl ChunkSize {
    /// The size of 2^`log2` bytes.
    pub fn from_log2(log2: u8) -> Result<Self, ChunkSizeError> {
        if (CHUNK_LOG2_MIN..=CHUNK_LOG2_MAX).contains(&log2) {
            Ok(Self { log2 })
        } else {
            Err(ChunkSizeError)
        }
    }

    /// The size of `bytes` bytes.
    pub fn from_bytes(bytes: u64) -> Result<Self, ChunkSizeError> {
        if !bytes.is_power_of_two() {
            return Err(ChunkSizeError);
        }
        u8::try_from(bytes.ilog2()).map_err(|_| ChunkSizeError).and_then(Self::from_log2)
    }

    /// The smallest size from `wanted` (1 MiB if none) on that cuts `total` bytes into at most 2^20 chunks;
    /// `None` if even the largest does not.
    pub fn fitting(total: u64, wanted: Option<Self>) -> Option<Self> {
        let from = wanted.map_or(CHUNK_LOG2_DEFAULT, |size| size.log2);
        (from..=CHUNK_LOG2_MAX)
            .map(|log2| Self { log2 })
            .find(|size| total.div_ceil(size.bytes()) <= u64::from(CHUNKS_MAX))
    }

    /// The base-two logarithm of the size, as formats carry it.
    pub const fn log2(self) -> u8 {
        self.log2
    }

    /// How many chunks of this size a sender or receiver may hold in memory at once: at least one.
    pub fn window(self) -> usize {
        let fitting = usize::try_from(WINDOW_BYTES / self.bytes()).unwrap_or(1);
        fitting.clamp(1, WINDOW_CHUNKS_MAX)
    }

    /// The size in bytes.
    pub const fn bytes(self) -> u64 {
        1 << self.log2
    }
}

/// How a stream of `total` bytes is cut into chunks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Geometry {
    total: u64,
    chunk_size: ChunkSize,
    chunk_count: u32,
}

impl Geometry {
    /// The cut of `total` bytes into chunks of `chunk_size`; `None` above 2^20 chunks.
    pub fn new(total: u64, chunk_size: ChunkSize) -> Option<Self> {
        let chunk_count = u32::try_from(total.div_ceil(chunk_size.bytes())).ok()?;
        (chunk_count <= CHUNKS_MAX).then_some(Self { total, chunk_size, chunk_count })
    }

    /// Bytes of the whole stream.
    pub const fn total(&self) -> u64 {
        self.total
    }

    /// The size of every chunk but the last.
    pub const fn chunk_size(&self) -> ChunkSize {
        self.chunk_size
    }

    /// Number of chunks; 0 for an empty stream.
    pub const fn chunk_count(&self) -> u32 {
        self.chunk_count
    }

    /// Bytes of all chunks after sealing.
    pub fn sealed_total(&self) -> u64 {
        self.total + u64::from(self.chunk_count) * TAG_BYTES as u64
    }

    /// Bytes of these chunks after sealing.
    pub fn sealed_of(&self, chunks: &ChunkSet) -> u64 {
        let Some(last) = self.index(self.chunk_count.saturating_sub(1)) else { return 0 };
        let full = self.chunk_size.bytes() + TAG_BYTES as u64;
        let short = if chunks.contains(last) { full - self.sealed_len(last) as u64 } else { 0 };
        u64::from(chunks.len()) * full - short
    }

    /// The index `index`, if the share has such a chunk.
    pub fn index(&self, index: u32) -> Option<ChunkIndex> {
        (index < self.chunk_count).then_some(ChunkIndex(index))
    }

    /// All indices in order.
    pub fn indices(&self) -> impl Iterator<Item = ChunkIndex> + use<> {
        (0..self.chunk_count).map(ChunkIndex)
    }

    /// Whether this is the share's last chunk.
    pub fn is_last(&self, index: ChunkIndex) -> bool {
        index.0 + 1 == self.chunk_count
    }

    /// The bytes of the stream that the chunk holds.
    pub fn plain_range(&self, index: ChunkIndex) -> Range<u64> {
        let start = u64::from(index.0) << self.chunk_size.log2;
        start..self.total.min(start + self.chunk_size.bytes())
    }

    /// Whether there are such bytes of the stream, and all of them lie in one chunk.
    pub fn are_in_one_chunk(&self, bytes: &Range<u64>) -> bool {
        let chunk = |at: u64| at >> self.chunk_size.log2;
        !bytes.is_empty() && bytes.end <= self.total && chunk(bytes.start) == chunk(bytes.end - 1)
    }

    /// Bytes of the chunk before sealing.
    pub fn plain_len(&self, index: ChunkIndex) -> usize {
        let range = self.plain_range(index);
        usize::try_from(range.end - range.start).expect("a chunk has at most 16 MiB")
    }

    /// Bytes of the chunk after sealing.
    pub fn sealed_len(&self, index: ChunkIndex) -> usize {
        self.plain_len(index) + TAG_BYTES
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn geometry(total: u64, log2: u8) -> Geometry {
        Geometry::new(total, ChunkSize::from_log2(log2).unwrap()).unwrap()
    }

    #[test]
    fn an_empty_stream_has_no_chunks() {
        let g = geometry(0, 20);
        assert_eq!((g.chunk_count(), g.sealed_total(), g.index(0)), (0, 0, None));
    }

    #[test]
    fn the_bytes_of_some_chunks_are_the_sum_of_theirs() {
        for total in [0, 1, 65_536, 65_537, 300_000] {
            let g = geometry(total, 16);
            for chunks in [ChunkSet::empty(g.chunk_count()), ChunkSet::full(g.chunk_count())] {
                let some = ChunkSet::of(g.chunk_count(), chunks.iter().skip(1));
                for chunks in [&chunks, &some] {
                    let sum: u64 = chunks.iter().map(|index| g.sealed_len(index) as u64).sum();
                    assert_eq!(g.sealed_of(chunks), sum);
                }
            }
            assert_eq!(g.sealed_of(&ChunkSet::full(g.chunk_count())), g.sealed_total());
        }
    }

    #[test]
    fn a_boundary_makes_no_empty_chunk() {
        for (total, count, last) in [(65535, 1, 65535), (65536, 1, 65536), (65537, 2, 1), (131072, 2, 65536)]
        {
            let g = geometry(total, 16);
            assert_eq!(g.chunk_count(), count);
            assert_eq!(g.plain_len(ChunkIndex(count - 1)), last);
        }
    }

    #[test]
    fn bytes_are_in_one_chunk_from_its_first_to_its_last() {
        let g = geometry(200_000, 16);
        for one in [0..1, 0..65_536, 65_535..65_536, 65_536..131_072, 196_608..200_000] {
            assert!(g.are_in_one_chunk(&one), "{one:?}");
        }
        for none_or_two in [0..0, 70_000..70_000, 0..65_537, 65_535..65_537, 196_608..200_001] {
            assert!(!g.are_in_one_chunk(&none_or_two), "{none_or_two:?}");
        }
    }

    #[test]
    fn very_large_shares_get_larger_chunks() {
        assert_eq!(ChunkSize::fitting(1 << 40, None).unwrap().log2(), 20);
        assert_eq!(ChunkSize::fitting((1 << 40) + 1, None).unwrap().log2(), 21);
        assert_eq!(ChunkSize::fitting(u64::MAX, None), None);
        assert!(Geometry::new(u64::MAX, ChunkSize { log2: 24 }).is_none());
    }

    proptest! {
        #[test]
        fn chunks_tile_the_stream(total in 0u64..(1 << 30), log2 in 16u8..=24) {
            let g = geometry(total, log2);
            let mut end = 0;
            for index in g.indices() {
                let range = g.plain_range(index);
                prop_assert_eq!(range.start, end);
                prop_assert!(range.end > range.start);
                prop_assert_eq!(g.is_last(index), range.end == total);
                end = range.end;
            }
            prop_assert_eq!(end, total);
        }
    }
}
