//! A set of a share's chunks, as a bitmap: what a peer holds, what a receiver still misses.

use std::fmt;
use std::ops::Range;

use data_encoding::BASE64URL_NOPAD;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use utoipa::openapi::{RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

use crate::geometry::ChunkIndex;
use crate::limits::CHUNKS_MAX;

/// Some of the first `chunk_count` chunks of a share.
///
/// Its text form is `<chunk count>.<bitmap>`, the bitmap in base64url with the first chunk in the
/// highest bit of the first byte and every bit after the last chunk zero.
#[derive(Clone, PartialEq, Eq)]
pub struct ChunkSet {
    chunk_count: u32,
    words: Vec<u64>,
}

impl ChunkSet {
    /// None of `chunk_count` chunks.
    pub fn empty(chunk_count: u32) -> Self {
        let words = vec![0; (chunk_count as usize).div_ceil(64)];
        Self { chunk_count, words }
    }

    /// All of `chunk_count` chunks.
    pub fn full(chunk_count: u32) -> Self {
        Self::range(chunk_count, 0..chunk_count)
    }

    /// Those of `chunk_count` chunks whose index lies in `range`.
    pub fn range(chunk_count: u32, range: Range<u32>) -> Self {
        let mut set = Self::empty(chunk_count);
        for index in range.start..range.end.min(chunk_count) {
            set.insert(ChunkIndex::new(index));
        }
        set
    }

    /// These of `chunk_count` chunks.
    pub fn of(chunk_count: u32, chunks: impl IntoIterator<Item = ChunkIndex>) -> Self {
        let mut set = Self::empty(chunk_count);
        chunks.into_iter().for_each(|index| set.insert(index));
        set
    }

    /// Number of chunks that the share has, in the set or not.
    pub const fn chunk_count(&self) -> u32 {
        self.chunk_count
    }

    /// Number of chunks in the set.
    pub fn len(&self) -> u32 {
        self.words.iter().map(|word| word.count_ones()).sum()
    }

    /// Whether no chunk is in the set.
    pub fn is_empty(&self) -> bool {
        self.words.iter().all(|&word| word == 0)
    }

    /// Whether every chunk is in the set.
    pub fn is_full(&self) -> bool {
        self.len() == self.chunk_count
    }

    /// Whether the chunk is in the set.
    pub fn contains(&self, index: ChunkIndex) -> bool {
        let (word, bit) = position(index);
        self.words.get(word).is_some_and(|w| w & bit != 0)
    }

    /// Adds a chunk; an index that the share does not have changes nothing.
    pub fn insert(&mut self, index: ChunkIndex) {
        let (word, bit) = position(index);
        if index.get() < self.chunk_count {
            self.words[word] |= bit;
        }
    }

    /// Takes a chunk out.
    pub fn remove(&mut self, index: ChunkIndex) {
        let (word, bit) = position(index);
        if let Some(w) = self.words.get_mut(word) {
            *w &= !bit;
        }
    }

    /// Whether every chunk of `other` is in this set too.
    pub fn contains_all(&self, other: &Self) -> bool {
        other.minus(self).is_empty()
    }

    /// The chunks that are in this set or in `other`. A set of another number of chunks adds nothing.
    pub fn plus(&self, other: &Self) -> Self {
        let mut all = self.clone();
        if self.chunk_count == other.chunk_count {
            for (word, added) in all.words.iter_mut().zip(&other.words) {
                *word |= added;
            }
        }
        all
    }

    /// The chunks of this set that are not in `other`.
    pub fn minus(&self, other: &Self) -> Self {
        let mut left = self.clone();
        for (word, taken) in left.words.iter_mut().zip(&other.words) {
            *word &= !taken;
        }
        left
    }

    /// The lowest chunk from `from` on that is in both sets.
    pub fn first_common(&self, other: &Self, from: u32) -> Option<ChunkIndex> {
        let first_word = (from / 64) as usize;
        let words = self.words.iter().zip(&other.words).enumerate().skip(first_word);
        for (word_index, (a, b)) in words {
            let mut both = a & b;
            if word_index == first_word {
                both &= u64::MAX >> (from % 64);
            }
            if both != 0 {
                let index = u32::try_from(word_index).ok()? * 64 + both.leading_zeros();
                return Some(ChunkIndex::new(index));
            }
        }
        None
    }

    /// The lowest chunk from `from` on that is not in the set.
    pub fn first_missing(&self, from: u32) -> Option<ChunkIndex> {
        let first_word = (from / 64) as usize;
        for (word_index, word) in self.words.iter().enumerate().skip(first_word) {
            let mut missing = !word;
            if word_index == first_word {
                missing &= u64::MAX >> (from % 64);
            }
            if missing != 0 {
                let index = u32::try_from(word_index).ok()? * 64 + missing.leading_zeros();
                return (index < self.chunk_count).then(|| ChunkIndex::new(index));
            }
        }
        None
    }

    /// The chunk that so many chunks of the set precede.
    pub fn nth(&self, nth: u32) -> Option<ChunkIndex> {
        let mut left = nth;
        for (position, word) in (0_u32..).zip(&self.words) {
            if left < word.count_ones() {
                let mut word = *word;
                (0..left).for_each(|_| word &= !(1 << (63 - word.leading_zeros())));
                return Some(ChunkIndex::new(position * 64 + word.leading_zeros()));
            }
            left -= word.count_ones();
        }
        None
    }

    /// The chunks in the set, in order.
    pub fn iter(&self) -> impl Iterator<Item = ChunkIndex> + '_ {
        (0..self.chunk_count).map(ChunkIndex::new).filter(|&index| self.contains(index))
    }

    /// Bytes of the text form.
    pub fn text_len(&self) -> usize {
        let digits = self.chunk_count.checked_ilog10().unwrap_or(0) as usize + 1;
        digits + 1 + BASE64URL_NOPAD.encode_len((self.chunk_count as usize).div_ceil(8))
    }

    /// The set whose text form is `text`; `None` unless it is canonical.
    pub fn parse(text: &str) -> Option<Self> {
        let (count, bitmap) = text.split_once('.')?;
        let chunk_count: u32 = count.parse().ok().filter(|&n| n <= CHUNKS_MAX)?;
        let byte_count = (chunk_count as usize).div_ceil(8);
        if count != chunk_count.to_string() || bitmap.len() != BASE64URL_NOPAD.encode_len(byte_count) {
            return None;
        }
        let bytes = BASE64URL_NOPAD.decode(bitmap.as_bytes()).ok()?;
        let mut set = Self::empty(chunk_count);
        for (position, &byte) in bytes.iter().enumerate() {
            set.words[position / 8] |= u64::from(byte) << (56 - position % 8 * 8);
        }
        let stray_bits = set.words.last().is_some_and(|word| {
            let used = chunk_count % 64;
            used != 0 && word << used != 0
        });
        (!stray_bits).then_some(set)
    }
}

fn position(index: ChunkIndex) -> (usize, u64) {
    ((index.get() / 64) as usize, 1 << (63 - index.get() % 64))
}

impl fmt::Display for ChunkSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let byte_count = (self.chunk_count as usize).div_ceil(8);
        let bytes: Vec<u8> = self.words.iter().flat_map(|word| word.to_be_bytes()).take(byte_count).collect();
        write!(f, "{}.{}", self.chunk_count, BASE64URL_NOPAD.encode(&bytes))
    }
}

impl PartialSchema for ChunkSet {
    fn schema() -> RefOr<Schema> {
        let what = "A set of chunks: their number, a dot, and a bit for each in base64url.";
        crate::schema::text(what, "^(0|[1-9][0-9]{0,6})\\.[A-Za-z0-9_-]*$")
    }
}

impl ToSchema for ChunkSet {}

impl fmt::Debug for ChunkSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ChunkSet({} of {})", self.len(), self.chunk_count)
    }
}

impl Serialize for ChunkSet {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ChunkSet {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text)
            .ok_or_else(|| serde::de::Error::custom("not a set of chunks: expected <count>.<bitmap>"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn set_of(chunk_count: u32, members: &BTreeSet<u32>) -> ChunkSet {
        ChunkSet::of(chunk_count, members.iter().copied().map(ChunkIndex::new))
    }

    #[test]
    fn a_set_of_another_number_of_chunks_adds_nothing() {
        let set = set_of(9, &BTreeSet::from([0, 8]));
        assert_eq!(set.plus(&ChunkSet::full(10)), set);
    }

    #[test]
    fn the_first_chunk_is_the_highest_bit() {
        let set = set_of(9, &BTreeSet::from([0, 8]));
        assert_eq!(set.to_string(), "9.gIA");
    }

    #[test]
    fn stray_bits_and_other_forms_are_refused() {
        for wrong in
            ["9.gIB", "9.gP8", "09.gIA", "9.gIA=", "9", "9.", "1048577.", "-1.", "4294967296.gIA", "8.gIA"]
        {
            assert_eq!(ChunkSet::parse(wrong), None, "{wrong}");
        }
        assert_eq!(ChunkSet::parse("0."), Some(ChunkSet::empty(0)));
    }

    proptest! {
        #[test]
        fn text_round_trips(chunk_count in 0u32..300, seeds in proptest::collection::btree_set(0u32..300, 0..80)) {
            let members: BTreeSet<u32> = seeds.into_iter().filter(|&i| i < chunk_count).collect();
            let set = set_of(chunk_count, &members);
            prop_assert_eq!(ChunkSet::parse(&set.to_string()), Some(set.clone()));
            prop_assert_eq!(set.iter().map(ChunkIndex::get).collect::<BTreeSet<_>>(), members.clone());
            prop_assert_eq!(set.len() as usize, members.len());
            let nths = (0..=set.len()).filter_map(|nth| set.nth(nth));
            prop_assert_eq!(nths.collect::<Vec<_>>(), set.iter().collect::<Vec<_>>());
            prop_assert_eq!(set.text_len(), set.to_string().len());
            let (even, odd): (BTreeSet<u32>, BTreeSet<u32>) = members.iter().partition(|&i| i % 2 == 0);
            prop_assert_eq!(set_of(chunk_count, &even).plus(&set_of(chunk_count, &odd)), set);
        }

        #[test]
        fn first_common_is_the_least(a in proptest::collection::btree_set(0u32..200, 0..40),
                                     b in proptest::collection::btree_set(0u32..200, 0..40), from in 0u32..220) {
            let expected = a.intersection(&b).copied().find(|&i| i >= from);
            let found = set_of(200, &a).first_common(&set_of(200, &b), from).map(ChunkIndex::get);
            prop_assert_eq!(found, expected);
            let missing = (from..200).find(|i| !a.contains(i));
            prop_assert_eq!(set_of(200, &a).first_missing(from).map(ChunkIndex::get), missing);
        }

        #[test]
        fn any_text_is_parsed_or_refused(text in ".{0,80}") {
            if let Some(set) = ChunkSet::parse(&text) {
                prop_assert_eq!(set.to_string(), text);
            }
        }
    }
}
