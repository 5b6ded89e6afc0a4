//! Holes of files: runs of zeros that take no room on a disk, and are not in the share's stream. What is left of a file
//! is its data; this is the only place that knows where each byte of it belongs.

use std::ops::Range;

use serde::{Deserialize, Serialize, Serializer};

/// The holes of one file, in order. No two of them touch, and none is empty.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Vec<(u64, u64)>")]
pub struct Holes(Vec<Hole>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Hole {
    start: u64,
    end: u64,
    /// Bytes of the holes before it.
    before: u64,
}

impl Hole {
    /// Bytes of data before it.
    const fn data_before(&self) -> u64 {
        self.start - self.before
    }
}

/// Holes that are none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HolesError {
    /// One has no bytes.
    #[error("a hole of a file is empty")]
    Empty,
    /// One does not begin behind the end of the one before it.
    #[error("the holes of a file overlap, touch or are not in order")]
    Order,
    /// One ends where no file does.
    #[error("a hole of a file ends beyond any file")]
    Beyond,
}

/// A run of a file's data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DataRun {
    /// Where it is in the file.
    pub position: u64,
    /// Which bytes of the file's data it is.
    pub data: Range<u64>,
}

impl Holes {
    /// The holes with these first bytes and lengths.
    pub fn new(runs: impl IntoIterator<Item = (u64, u64)>) -> Result<Self, HolesError> {
        let (mut holes, mut before): (Vec<Hole>, u64) = (Vec::new(), 0);
        for (start, len) in runs {
            let end = start.checked_add(len).ok_or(HolesError::Beyond)?;
            if len == 0 {
                return Err(HolesError::Empty);
            }
            if holes.last().is_some_and(|last| start <= last.end) {
                return Err(HolesError::Order);
            }
            holes.push(Hole { start, end, before });
            before += len;
        }
        Ok(Self(holes))
    }

    /// Whether there is none.
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many there are.
    pub const fn count(&self) -> usize {
        self.0.len()
    }

    /// Where the last one ends; 0 if there is none.
    pub fn end(&self) -> u64 {
        self.0.last().map_or(0, |last| last.end)
    }

    /// Bytes of all of them.
    pub fn bytes(&self) -> u64 {
        self.bytes_of(self.0.len())
    }

    /// Where each of them is in the file.
    pub fn iter(&self) -> impl Iterator<Item = Range<u64>> + '_ {
        self.0.iter().map(|hole| hole.start..hole.end)
    }

    /// Where these bytes of the file's data are in the file. They must be some of it.
    pub fn runs(&self, data: Range<u64>) -> impl Iterator<Item = DataRun> + '_ {
        let (mut at, end) = (data.start, data.end);
        let mut holes = self.0.partition_point(|hole| hole.data_before() <= at);
        std::iter::from_fn(move || {
            let next = self.0.get(holes).map_or(end, |hole| hole.data_before().min(end));
            let run = (at < end).then(|| DataRun { position: at + self.bytes_of(holes), data: at..next });
            (at, holes) = (next, holes + 1);
            run
        })
    }

    /// Bytes of the hole that lies right before this byte of the data; 0 if none does. After all data it is what the file
    /// ends with.
    pub fn before(&self, data: u64) -> u64 {
        let found = self.0.binary_search_by_key(&data, Hole::data_before);
        found.map_or(0, |found| self.0[found].end - self.0[found].start)
    }

    /// Bytes of so many of them.
    fn bytes_of(&self, count: usize) -> u64 {
        let last = count.checked_sub(1).map(|last| self.0[last]);
        last.map_or(0, |last| last.before + (last.end - last.start))
    }
}

impl TryFrom<Vec<(u64, u64)>> for Holes {
    type Error = HolesError;

    fn try_from(runs: Vec<(u64, u64)>) -> Result<Self, HolesError> {
        Self::new(runs)
    }
}

impl Serialize for Holes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.iter().map(|hole| (hole.start, hole.end - hole.start)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn runs(holes: &Holes, data: Range<u64>) -> Vec<(u64, Range<u64>)> {
        holes.runs(data).map(|run| (run.position, run.data)).collect()
    }

    #[test]
    fn f29_what_are_no_holes_of_a_file_is_refused() {
        for (wrong, why) in [
            (&[(0, 0)][..], HolesError::Empty),
            (&[(5, 5), (10, 1)], HolesError::Order),
            (&[(5, 5), (9, 1)], HolesError::Order),
            (&[(5, 5), (0, 1)], HolesError::Order),
            (&[(5, 5), (5, 5)], HolesError::Order),
            (&[(1, u64::MAX)], HolesError::Beyond),
        ] {
            assert_eq!(Holes::new(wrong.iter().copied()), Err(why), "{wrong:?}");
            let json = serde_json::to_string(wrong).unwrap();
            assert!(serde_json::from_str::<Holes>(&json).unwrap_err().to_string().contains("hole"));
        }
        for other in ["null", "[[1]]", "[[1,2,3]]", "[1,2]", "[[-1,2]]", "[[0.5,2]]", "{}"] {
            assert!(serde_json::from_str::<Holes>(other).is_err(), "{other}");
        }
        let holes = Holes::new([(0, u64::MAX)]).unwrap();
        assert_eq!((holes.bytes(), holes.end(), holes.before(0)), (u64::MAX, u64::MAX, u64::MAX));
        assert_eq!(serde_json::to_string(&Holes::new([(0, 5), (7, 1)]).unwrap()).unwrap(), "[[0,5],[7,1]]");
    }

    #[test]
    fn f29_data_stands_around_the_holes() {
        let none = Holes::default();
        assert_eq!(runs(&none, 3..9), [(3, 3..9)]);
        assert!(runs(&none, 3..3).is_empty() && none.before(0) == 0);
        // A hole at the start, two within, one at the end: data at 10..20, 25..26, 30..35.
        let holes = Holes::new([(0, 10), (20, 5), (26, 4), (35, 100)]).unwrap();
        assert_eq!(runs(&holes, 0..16), [(10, 0..10), (25, 10..11), (30, 11..16)]);
        assert_eq!(runs(&holes, 9..11), [(19, 9..10), (25, 10..11)]);
        assert_eq!(runs(&holes, 10..12), [(25, 10..11), (30, 11..12)]);
        assert_eq!(runs(&holes, 12..14), [(31, 12..14)]);
        assert!(runs(&holes, 16..16).is_empty());
        assert_eq!([0, 1, 10, 11, 12, 16].map(|data| holes.before(data)), [10, 0, 5, 4, 0, 100]);
        assert_eq!((holes.bytes(), holes.end(), holes.count()), (119, 135, 4));
    }

    /// Lengths of data and holes in turn: a file.
    fn files() -> impl Strategy<Value = (Holes, u64)> {
        (any::<bool>(), proptest::collection::vec(1_u64..9, 0..12)).prop_map(|(is_first_hole, lens)| {
            let (mut at, mut runs) = (0, Vec::new());
            for (number, len) in lens.into_iter().enumerate() {
                if (number % 2 == 0) == is_first_hole {
                    runs.push((at, len));
                }
                at += len;
            }
            (Holes::new(runs).unwrap(), at)
        })
    }

    proptest! {
        #[test]
        fn f29_every_byte_of_data_has_one_place_and_no_hole_has_any(
            (holes, size) in files(), from in 0_u64..60, to in 0_u64..60,
        ) {
            let is_hole = |at: u64| holes.iter().any(|hole| hole.contains(&at));
            let places: Vec<u64> = (0..size).filter(|&at| !is_hole(at)).collect();
            prop_assert_eq!(places.len() as u64, size - holes.bytes());
            let to = to.min(places.len() as u64);
            let from = from.min(to);
            let mut found = Vec::new();
            for run in holes.runs(from..to) {
                prop_assert_eq!(run.data.start, from + found.len() as u64);
                found.extend((0..run.data.end - run.data.start).map(|byte| run.position + byte));
            }
            let wanted = &places[usize::try_from(from).unwrap()..usize::try_from(to).unwrap()];
            prop_assert_eq!(found, wanted);
            // Written in order, with the holes as zeros, it is as long as the file.
            let all: u64 = (0..=places.len() as u64).map(|data| holes.before(data)).sum();
            prop_assert_eq!(all, holes.bytes());
            let json = serde_json::to_string(&holes).unwrap();
            prop_assert_eq!(serde_json::from_str::<Holes>(&json).unwrap(), holes);
        }
    }
}
