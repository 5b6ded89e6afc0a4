//! The metadata of a share: what only its two ends may read. JSON, sealed inside the manifest.

use std::collections::HashSet;
use std::fmt;
use std::marker::PhantomData;

use serde::de::{Error as _, IgnoredAny, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::error::Category;
use time::OffsetDateTime;

use crate::geometry::Geometry;
use crate::holes::Holes;
use crate::limits::{
    DIRS_MAX, FILES_MAX, HOLES_MAX, LENGTH_BYTES_MAX, METADATA_AT_ONCE_BYTES_MAX, METADATA_BYTES_MAX,
    METADATA_TEXT_BYTES_MAX,
};
use crate::links::{self, Link, LinkRule};
use crate::modes::{self, DirMode};
use crate::name::{NameError, SafePath};
use crate::path_table::{PathTable, PathTableError};
use crate::tables::{Object, at_most, objects};

/// Bytes that a file takes in the JSON beside its path: as a rule no more.
const FILE_BYTES: usize = 112;
/// Bytes that all else takes there: as a rule no more.
const HEAD_BYTES: usize = 1 << 10;

/// Original name, extension, size, chunk count and file table of a share.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Metadata {
    /// The name under which the receiver saves the file or directory.
    pub original_filename: SafePath,
    /// The extension of `original_filename` with its dot; empty for a directory.
    pub extension: String,
    /// Bytes of all files, with their holes.
    pub size: u64,
    /// Number of the share's chunks.
    pub chunk_count: u32,
    /// When the share was made.
    #[serde(with = "time::serde::rfc3339")]
    pub created: OffsetDateTime,
    /// The files, in the order of the stream.
    #[serde(deserialize_with = "objects::<FILES_MAX, _, _>")]
    pub files: Vec<FileEntry>,
    /// The directories that hold nothing.
    #[serde(deserialize_with = "at_most::<DIRS_MAX, _, _>")]
    pub dirs: Vec<SafePath>,
    /// The directories whose permissions are not the usual ones; each once.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "objects::<DIRS_MAX, _, _>")]
    pub dir_modes: Vec<DirMode>,
    /// The symlinks, each of which leads to an entry of the share.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "objects::<FILES_MAX, _, _>")]
    pub links: Vec<Link>,
}

/// One file of a share.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileEntry {
    /// The path, which starts with the share's `original_filename`.
    pub path: SafePath,
    /// Where the file's data starts in the stream, in bytes.
    pub offset: u64,
    /// Bytes of the file, with its holes.
    pub size: u64,
    /// Runs of zeros that are not in the stream.
    #[serde(default, skip_serializing_if = "Holes::is_empty")]
    pub holes: Holes,
    /// BLAKE3 of the file's bytes, its holes as zeros, in hexadecimal, where the sender took the time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blake3: Option<String>,
    /// Whether the file may be executed.
    pub executable: bool,
    /// Its permissions, where they are not those that follow from `executable`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<u32>,
    /// When the file was last changed.
    #[serde(with = "time::serde::rfc3339")]
    pub modified: OffsetDateTime,
}

impl FileEntry {
    /// Bytes of the file that are in the stream: all but its holes.
    pub fn data_bytes(&self) -> u64 {
        self.size.saturating_sub(self.holes.bytes())
    }

    /// The file's permissions, before the receiver's file mode creation mask takes away from them.
    pub fn permissions(&self) -> u32 {
        self.mode.unwrap_or(modes::of_file(self.executable)) & modes::PERMISSIONS
    }
}

/// Metadata that the receiver refuses.
#[derive(Debug, thiserror::Error)]
pub enum MetadataError {
    /// Not the JSON it should be.
    #[error("{}", describe(.0))]
    Json(#[from] serde_json::Error),
    /// More than the limits allow.
    #[error("the metadata has more {0} than the limit")]
    TooMany(&'static str),
    /// A name breaks a rule.
    #[error(transparent)]
    Name(#[from] NameError),
    /// A symlink breaks a rule.
    #[error("the share has {0}")]
    Link(LinkRule),
    /// Its parts contradict each other or the manifest.
    #[error("the metadata contradicts itself: {0}")]
    Contradiction(&'static str),
}

impl Metadata {
    /// The JSON bytes.
    pub fn encode(&self) -> Result<Vec<u8>, MetadataError> {
        let mut json = Vec::with_capacity(self.usual_len().min(METADATA_BYTES_MAX));
        serde_json::to_writer(&mut json, self).expect("metadata has string keys and no failing serializer");
        if json.len() > METADATA_BYTES_MAX {
            return Err(MetadataError::TooMany("bytes"));
        }
        Ok(json)
    }

    /// As many bytes as the JSON has, or a few more, where all is as it is as a rule.
    fn usual_len(&self) -> usize {
        let files = self.files.iter().map(|file| file.path.as_str().len() + FILE_BYTES);
        HEAD_BYTES + files.sum::<usize>()
    }

    /// Reads and checks metadata that belongs to a stream of this geometry.
    pub fn decode(json: &[u8], geometry: &Geometry) -> Result<Self, MetadataError> {
        // Little metadata takes little memory whatever it says. The passes refuse nothing that the whole is not refused for:
        // what clashes in one table does so in all, and so many components as are too many take more bytes.
        let is_little =
            json.len() <= METADATA_AT_ONCE_BYTES_MAX && !has_text_beyond(METADATA_TEXT_BYTES_MAX, json);
        if is_little
            && let Ok(Object(metadata)) = serde_json::from_slice::<Object<Self>>(json)
            && metadata.check(geometry).is_ok()
        {
            return Ok(metadata);
        }
        // Why it is refused does not depend on how much there is.
        Self::decode_in_passes(json, geometry)
    }

    /// The same for metadata of any length, which takes longer.
    pub fn decode_in_passes(json: &[u8], geometry: &Geometry) -> Result<Self, MetadataError> {
        if json.len() > METADATA_BYTES_MAX {
            return Err(MetadataError::TooMany("bytes"));
        }
        // What bounds memory comes first, from passes that keep no text.
        if has_text_beyond(METADATA_TEXT_BYTES_MAX, json) {
            return Err(MetadataError::TooMany("bytes in one text"));
        }
        let _: Outline = serde_json::from_slice(json)?;
        let Object(metadata) = serde_json::from_slice::<Object<Self>>(json)?;
        metadata.check(geometry)?;
        Ok(metadata)
    }

    /// Whether the share is one file, saved under its own name, and no directory.
    pub fn is_single_file(&self) -> bool {
        self.dirs.is_empty()
            && self.links.is_empty()
            && matches!(&self.files[..], [file] if file.path == self.original_filename)
    }

    /// Checks every rule that a receiver relies on. A sender checks the same before it starts.
    pub fn check(&self, geometry: &Geometry) -> Result<(), MetadataError> {
        use MetadataError::{Contradiction, TooMany};
        // Numbers first: they bound what the other checks cost.
        if self.files.len() + self.links.len() > FILES_MAX {
            return Err(TooMany("files"));
        }
        if self.dirs.len() > DIRS_MAX {
            return Err(TooMany("folders"));
        }
        if self.files.iter().map(|file| file.holes.count()).sum::<usize>() > HOLES_MAX {
            return Err(TooMany("holes"));
        }
        let holes = self.files.iter().try_fold(0_u64, |sum, file| sum.checked_add(file.holes.bytes()));
        let data = holes.and_then(|holes| self.size.checked_sub(holes));
        if data != Some(geometry.total()) || self.chunk_count != geometry.chunk_count() {
            return Err(Contradiction("its size is not the manifest's"));
        }
        self.check_offsets(geometry)?;
        self.check_names()?;
        self.check_modes()?;
        let files = self.files.iter().map(|file| &file.path);
        // Links last: they are followed among paths that are known to stand side by side.
        let broken = match &self.links[..] {
            [] => None,
            links => links::broken_rules(files, self.dirs.iter(), links).into_iter().flatten().next(),
        };
        broken.map_or(Ok(()), |rule| Err(MetadataError::Link(rule)))
    }

    fn check_modes(&self) -> Result<(), MetadataError> {
        let fits = |file: &FileEntry| match file.mode {
            Some(mode) => mode <= modes::PERMISSIONS && modes::is_executable(mode) == file.executable,
            None => true,
        };
        let directories_fit = self.dir_modes.iter().all(|directory| directory.mode <= modes::PERMISSIONS);
        if !directories_fit || !self.files.iter().all(fits) {
            return Err(MetadataError::Contradiction("a mode is not one of permissions, or of another kind"));
        }
        if self.dir_modes.is_empty() {
            return Ok(());
        }
        if self.dir_modes.len() > DIRS_MAX {
            return Err(MetadataError::TooMany("folders"));
        }
        let mut unseen: HashSet<&str> =
            self.dir_modes.iter().map(|directory| directory.path.as_str()).collect();
        if unseen.len() < self.dir_modes.len() {
            return Err(MetadataError::Contradiction("a folder has two modes"));
        }
        // Directories need not be listed: those on the way to a file may have a mode, too.
        for path in self.directories() {
            unseen.remove(path);
        }
        if unseen.is_empty() {
            return Ok(());
        }
        Err(MetadataError::Contradiction("it has a mode of a folder that is not in it"))
    }

    /// The directories, named and on the way to what is named; some of them several times.
    fn directories(&self) -> impl Iterator<Item = &str> {
        let above = |path: &'_ SafePath| path.as_str().rfind('/').unwrap_or(0);
        let links = self.links.iter().map(|link| &link.path);
        let files = self.files.iter().map(|file| &file.path).chain(links);
        let of_files = files.map(move |path| &path.as_str()[..above(path)]);
        let all = of_files.chain(self.dirs.iter().map(SafePath::as_str));
        let mut last = "";
        // Most files are in the same directory as the one before.
        let all = all.filter(move |path| std::mem::replace(&mut last, path) != *path);
        all.flat_map(|path| {
            std::iter::successors(Some(path), |path| path.rfind('/').map(|slash| &path[..slash]))
        })
    }

    fn check_offsets(&self, geometry: &Geometry) -> Result<(), MetadataError> {
        use MetadataError::Contradiction;
        let (mut end, mut length) = (0_u64, 0_u64);
        for file in &self.files {
            if file.offset != end {
                return Err(Contradiction("the files do not follow one another"));
            }
            if file.holes.end() > file.size {
                return Err(Contradiction("a hole reaches beyond the end of its file"));
            }
            length = length
                .checked_add(file.size)
                .filter(|&length| length <= LENGTH_BYTES_MAX)
                .ok_or(Contradiction("the files are larger than any disk"))?;
            // It cannot overflow: a file has no more data than length, and the sum of the lengths is bounded.
            end += file.data_bytes();
            let well_formed = |hash: &String| hash.len() == 64 && hash.bytes().all(|b| b.is_ascii_hexdigit());
            if !file.blake3.as_ref().is_none_or(well_formed) {
                return Err(Contradiction("a file's hash is not well-formed"));
            }
        }
        if length != self.size || end != geometry.total() {
            return Err(Contradiction("the files do not add up to the size"));
        }
        Ok(())
    }

    fn check_names(&self) -> Result<(), MetadataError> {
        let top = SafePath::parse_top(self.original_filename.as_str())?;
        let extension = if self.is_single_file() { top.extension() } else { "" };
        if self.extension != extension {
            return Err(MetadataError::Contradiction("the extension is not that of the name"));
        }
        // All paths are below one directory, so that a receiver makes one new entry and touches nothing beside it.
        if !self.is_single_file() {
            let files_below =
                self.files.iter().all(|file| file.path.below(&top).is_some_and(|p| !p.is_empty()));
            let dirs_below = self.dirs.iter().all(|dir| dir.below(&top).is_some());
            let links_below =
                self.links.iter().all(|link| link.path.below(&top).is_some_and(|p| !p.is_empty()));
            if !files_below || !dirs_below || !links_below {
                return Err(MetadataError::Contradiction("a path lies outside the share's own folder"));
            }
            if self.files.is_empty() && self.dirs.is_empty() {
                return Err(MetadataError::Contradiction("it names neither a file nor a folder"));
            }
        }
        let links = self.links.iter().map(|link| &link.path);
        match PathTable::check(self.files.iter().map(|file| &file.path).chain(links), self.dirs.iter()) {
            Ok(()) => Ok(()),
            Err(PathTableError::Name(error)) => Err(error.into()),
            Err(PathTableError::TooMany(what)) => Err(MetadataError::TooMany(what)),
        }
    }
}

/// Whether a text in this JSON is longer than so many bytes, so that neither it nor an error that repeats it is held.
fn has_text_beyond(max: usize, json: &[u8]) -> bool {
    // Most JSON shows at a glance that none is. It would fill one of these blocks, and every quotation mark in there would
    // stand behind a backslash.
    let ends_texts = |block: &[u8]| block.windows(2).any(|pair| pair[0] != b'\\' && pair[1] == b'"');
    !json.chunks_exact(max / 2).all(ends_texts) && finds_text_beyond(max, json)
}

fn finds_text_beyond(max: usize, json: &[u8]) -> bool {
    let mut bytes = json.iter();
    while bytes.any(|&byte| byte == b'"') {
        let (before, mut escaped) = (bytes.len(), false);
        let is_end = |&byte: &u8| {
            let ends = byte == b'"' && !escaped;
            escaped = byte == b'\\' && !escaped;
            ends
        };
        let len = bytes.position(is_end).unwrap_or(before);
        if len > max {
            return true;
        }
    }
    false
}

/// What is wrong, without the place in a text that nobody sees.
fn describe(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let text = text.rsplit_once(" at line ").map_or(&*text, |(text, _)| text);
    let what = if error.classify() == Category::Data { "is refused" } else { "is not well-formed" };
    format!("the metadata {what}: {text}")
}

/// The tables of metadata, each gone through within the limits, of which nothing is kept.
#[derive(Deserialize)]
struct Outline {
    #[serde(rename = "files")]
    _files: Passed<PathOf>,
    #[serde(rename = "dirs")]
    _dirs: Passed<SafePath>,
    #[serde(default, rename = "dir_modes")]
    _dir_modes: Option<Passed<DirMode>>,
    #[serde(default, rename = "links")]
    _links: Option<Passed<PathOf>>,
}

struct Passed<E>(PhantomData<E>);

/// An entry of `files`, for its path and the number of its holes.
#[derive(Deserialize)]
struct PathOf {
    path: SafePath,
    #[serde(default)]
    holes: Count,
}

/// How many items a list has.
#[derive(Default)]
struct Count(usize);

trait Entry {
    const MAX: usize;
    fn hole_count(&self) -> usize {
        0
    }
    fn take(&self, table: &mut PathTable) -> Result<(), PathTableError>;
}

impl Entry for PathOf {
    const MAX: usize = FILES_MAX;
    fn hole_count(&self) -> usize {
        self.holes.0
    }
    fn take(&self, table: &mut PathTable) -> Result<(), PathTableError> {
        table.take_file(&self.path)
    }
}

impl Entry for SafePath {
    const MAX: usize = DIRS_MAX;
    fn take(&self, table: &mut PathTable) -> Result<(), PathTableError> {
        table.take_directory(self)
    }
}

impl Entry for DirMode {
    const MAX: usize = DIRS_MAX;
    fn take(&self, table: &mut PathTable) -> Result<(), PathTableError> {
        table.take_directory(&self.path)
    }
}

impl<'de> Deserialize<'de> for Count {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(Self(0))
    }
}

impl<'de> Visitor<'de> for Count {
    type Value = Self;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of holes")
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut items: A) -> Result<Self, A::Error> {
        while items.next_element::<IgnoredAny>()?.is_some() {
            self.0 += 1;
        }
        Ok(self)
    }
}

impl<'de, E: Entry + Deserialize<'de>> Deserialize<'de> for Passed<E> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(Self(PhantomData))
    }
}

impl<'de, E: Entry + Deserialize<'de>> Visitor<'de> for Passed<E> {
    type Value = Self;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a table of paths")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut entries: A) -> Result<Self, A::Error> {
        let (mut table, mut count, mut holes) = (PathTable::default(), 0, 0);
        while let Some(entry) = entries.next_element::<E>()? {
            count += 1;
            if count > E::MAX {
                return Err(A::Error::custom("more entries than the limit"));
            }
            holes += entry.hole_count();
            if holes > HOLES_MAX {
                return Err(A::Error::custom("more holes than the limit"));
            }
            entry.take(&mut table).map_err(A::Error::custom)?;
        }
        Ok(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::geometry::ChunkSize;
    use proptest::prelude::*;

    fn geometry(total: u64) -> Geometry {
        Geometry::new(total, ChunkSize::from_log2(16).unwrap()).unwrap()
    }

    fn file(path: &str, offset: u64, size: u64) -> FileEntry {
        FileEntry {
            path: SafePath::parse(path).unwrap(),
            offset,
            size,
            holes: Holes::default(),
            blake3: None,
            executable: false,
            mode: None,
            modified: OffsetDateTime::UNIX_EPOCH,
        }
    }

    fn directory(files: Vec<FileEntry>, dirs: &[&str]) -> Metadata {
        Metadata {
            original_filename: SafePath::parse("s").unwrap(),
            extension: String::new(),
            size: files.iter().map(|f| f.size).sum(),
            chunk_count: 1,
            created: OffsetDateTime::UNIX_EPOCH,
            files,
            dirs: dirs.iter().map(|d| SafePath::parse(d).unwrap()).collect(),
            dir_modes: Vec::new(),
            links: Vec::new(),
        }
    }

    fn refusal(metadata: &Metadata) -> String {
        metadata.check(&geometry(7)).map_or_else(|error| error.to_string(), |()| "none".into())
    }

    #[test]
    fn a_sound_folder_round_trips() {
        let metadata = directory(vec![file("s/a", 0, 3), file("s/b/c", 3, 4)], &["s/d"]);
        assert_eq!(Metadata::decode(&metadata.encode().unwrap(), &geometry(7)).unwrap(), metadata);
    }

    #[test]
    fn there_is_room_at_once_for_all_of_a_folder_of_usual_files() {
        let modified = OffsetDateTime::from_unix_timestamp_nanos(1_790_000_000_123_456_789).unwrap();
        let entry = |n: u64| FileEntry { modified, ..file(&format!("s/{n}.jpg"), n << 24, 1 << 24) };
        let usual = directory((0..1000).map(entry).collect(), &["s/d"]);
        let (len, room) = (usual.encode().unwrap().len(), usual.usual_len());
        assert!(len <= room && room < len * 5 / 4, "{len} {room}");
    }

    #[test]
    fn contradictions_are_refused() {
        for (files, dirs, why) in [
            (vec![file("s/a", 0, 3), file("s/b", 4, 4)], &[][..], "do not follow"),
            (vec![file("s/a", 0, 3), file("s/b", 2, 4)], &[], "do not follow"),
            (vec![file("t/a", 0, 7)], &[], "outside"),
            (vec![file("sa", 0, 7)], &[], "outside"),
            (vec![file("s/a", 0, 7)], &["t"], "outside"),
            (vec![file("s/a", 0, 3), file("s/a", 3, 4)], &[], "twice"),
            (vec![file("s/a", 0, 3), file("s/a/b", 3, 4)], &[], "both a file and a folder"),
        ] {
            let refused = refusal(&directory(files, dirs));
            assert!(refused.contains(why), "{refused}");
        }
        let mut wrong = directory(vec![file("s/a", 0, 7)], &[]);
        wrong.size = 8;
        assert!(refusal(&wrong).contains("not the manifest's"));
        let mut wrong = directory(vec![file("s/a", 0, 7)], &[]);
        wrong.extension = ".exe".into();
        assert!(refusal(&wrong).contains("extension"));
    }

    #[test]
    fn f09_modes_are_permissions_of_what_is_there_and_absent_where_they_are_the_usual_ones() {
        let plain = directory(vec![file("s/a", 0, 3), file("s/b/c", 3, 4)], &["s/d"]);
        let json = String::from_utf8(plain.encode().unwrap()).unwrap();
        assert!(!json.contains("mode"), "{json}");
        let with = |mode: Option<u32>, executable, directories: &[(&str, u32)]| {
            let mut metadata = plain.clone();
            (metadata.files[1].mode, metadata.files[1].executable) = (mode, executable);
            let directories = directories.iter();
            metadata.dir_modes = directories
                .map(|&(path, mode)| DirMode { path: SafePath::parse(path).unwrap(), mode })
                .collect();
            let read = Metadata::decode(&metadata.encode().unwrap(), &geometry(7));
            read.map(|read| assert_eq!(read, metadata)).map_err(|error| error.to_string())
        };
        for (mode, executable) in [(0, false), (0o600, false), (0o700, true), (0o777, true), (0o644, false)] {
            assert_eq!(with(Some(mode), executable, &[]), Ok(()));
        }
        assert_eq!(with(None, true, &[("s", 0o700), ("s/b", 0), ("s/d", 0o777)]), Ok(()));
        for (mode, executable) in
            [(0o4755, true), (0o1000, false), (0o100_644, false), (0o644, true), (0o755, false)]
        {
            assert!(with(Some(mode), executable, &[]).unwrap_err().contains("mode"));
        }
        for (directories, why) in [
            (&[("s/b", 0o2755)][..], "mode"),
            (&[("s/a", 0o700)], "not in it"),
            (&[("s/e", 0o700)], "not in it"),
            (&[("t", 0o700)], "not in it"),
            (&[("s/b", 0o700), ("s/b", 0o700)], "twice"),
        ] {
            let refused = with(None, false, directories).unwrap_err();
            assert!(refused.contains(why), "{refused}");
        }
        // A number that the type cannot hold.
        let negative = json.replacen("\"executable\":false", "\"executable\":false,\"mode\":-1", 1);
        assert!(Metadata::decode(negative.as_bytes(), &geometry(7)).is_err());
    }

    /// The web page's tests read the same text.
    #[test]
    fn f07_f09_a_folder_with_modes_and_links_reads_and_is_written_the_same() {
        let json = include_bytes!("../../fuzz/corpus/metadata/folder-with-links");
        let metadata = Metadata::decode(json, &geometry(0)).unwrap();
        assert_eq!((metadata.links.len(), metadata.dir_modes[0].mode), (2, 0o700));
        assert_eq!(metadata.files[0].permissions(), 0o600);
        assert_eq!(metadata.encode().unwrap(), json);
    }

    #[test]
    fn f07_links_stand_beside_the_others_and_are_checked_with_them() {
        let link =
            |path: &str, target: &str| Link { path: SafePath::parse(path).unwrap(), target: target.into() };
        let plain = directory(vec![file("s/a", 0, 3), file("s/b/c", 3, 4)], &["s/d"]);
        let with = |links: Vec<Link>| {
            let metadata = Metadata { links, ..plain.clone() };
            let read = Metadata::decode(&metadata.encode().unwrap(), &geometry(7));
            read.map(|read| assert_eq!(read, metadata)).map_err(|error| error.to_string())
        };
        assert_eq!(with(vec![link("s/l", "a"), link("s/only/l", "../b/c")]), Ok(()));
        for (links, why) in [
            (vec![link("s/l", "/etc")], "absolute"),
            (vec![link("s/l", "../..")], "leads to nothing"),
            (vec![link("s/A", "b")], "another entry"),
            (vec![link("s/b", "a")], "both a file and a folder"),
            (vec![link("s/a", "b")], "twice"),
            (vec![link("s/l", "a"), link("s/l", "b")], "twice"),
            (vec![link("t", "s/a")], "outside"),
            (vec![link("s", "s/a")], "outside"),
        ] {
            let refused = with(links).unwrap_err();
            assert!(refused.contains(why), "{refused}");
        }
        // A single file has no directory of its own in which a link could stand.
        let one = Metadata {
            original_filename: SafePath::parse("a").unwrap(),
            ..directory(vec![file("a", 0, 7)], &[])
        };
        assert!(one.check(&geometry(7)).is_ok());
        let beside = Metadata { links: vec![link("b", "a")], ..one };
        assert!(beside.check(&geometry(7)).is_err());
    }

    /// The web page's tests read the same cases.
    #[test]
    fn f29_holes_are_within_their_files_and_not_in_the_stream() {
        let cases: serde_json::Value =
            serde_json::from_str(include_str!("../../tests/formats/holes.json")).unwrap();
        let read = |case: &serde_json::Value| {
            let total = case["total"].as_u64().unwrap();
            let files = case["files"].as_array().unwrap().iter().enumerate().map(|(number, given)| {
                // The cases say only what matters to holes.
                let mut file = given.clone();
                file["path"] = format!("s/{number}").into();
                file["executable"] = false.into();
                file["modified"] = "1970-01-01T00:00:00Z".into();
                file
            });
            let json = serde_json::json!({ "original_filename": "s", "extension": "", "size": case["size"],
                "chunk_count": total.div_ceil(65536), "created": "1970-01-01T00:00:00Z",
                "files": files.collect::<Vec<_>>(), "dirs": [] });
            Metadata::decode(json.to_string().as_bytes(), &geometry(total))
        };
        for case in cases["sound"].as_array().unwrap() {
            let metadata = read(case).unwrap_or_else(|error| panic!("{case}: {error}"));
            for (file, expected) in metadata.files.iter().zip(case["data"].as_array().unwrap()) {
                let runs = file.holes.runs(0..file.data_bytes());
                let runs: Vec<_> = runs.map(|run| (run.position, run.data.end - run.data.start)).collect();
                assert_eq!(serde_json::json!(runs), *expected, "{case}");
            }
            let again =
                Metadata::decode(&metadata.encode().unwrap(), &geometry(case["total"].as_u64().unwrap()));
            assert_eq!(again.unwrap(), metadata);
        }
        for case in cases["refused"].as_array().unwrap() {
            assert!(read(case).is_err(), "{case}");
        }
    }

    #[test]
    fn f29_a_share_has_a_bounded_number_of_holes_and_says_nothing_where_it_has_none() {
        let none = directory(vec![file("s/a", 0, 7)], &[]);
        assert!(!String::from_utf8(none.encode().unwrap()).unwrap().contains("holes"));
        let with = |count: u64| {
            let holes = Holes::new((0..count).map(|hole| (2 * hole, 1))).unwrap();
            FileEntry { size: 2 * count, holes, ..file("s/a", 0, 0) }
        };
        let half = HOLES_MAX as u64 / 2;
        for (more, is_sound) in [(0, true), (1, false)] {
            let (first, second) = (with(half), with(half + more));
            let second = FileEntry { path: SafePath::parse("s/b").unwrap(), offset: half, ..second };
            let total = 2 * half + more;
            let metadata = Metadata { chunk_count: 2, ..directory(vec![first, second], &[]) };
            let read = Metadata::decode(&metadata.encode().unwrap(), &geometry(total));
            assert_eq!(read.is_ok(), is_sound, "{more}: {:?}", read.err());
            assert_eq!(metadata.check(&geometry(total)).is_ok(), is_sound);
        }
    }

    #[test]
    fn unknown_fields_and_hostile_names_are_refused() {
        let json = String::from_utf8(directory(vec![file("s/a", 0, 7)], &[]).encode().unwrap()).unwrap();
        let decode =
            |json: &str| Metadata::decode(json.as_bytes(), &geometry(7)).map(|_| ()).unwrap_err().to_string();
        assert!(decode(&json.replacen("\"size\"", "\"setuid\":true,\"size\"", 1)).contains("unknown field"));
        assert!(
            decode(&json.replace("s/a", "../a")).contains("\\\".\\\" or \\\"..\\\"")
                || decode(&json.replace("s/a", "../a")).contains("..")
        );
        assert!(decode(&json.replace("\"s\"", "\".ssh\"")).contains("hidden"));
        assert!(decode(&"[".repeat(1 << 20)).contains("is refused"));
        assert!(decode("{").contains("not well-formed"));
        let refused = decode(&json.replace("s/a", "../a"));
        assert!(!refused.contains(" at line ") && !refused.contains("well-formed"), "{refused}");
    }

    #[test]
    fn s2_numbers_and_tables_beyond_all_bounds_are_refused() {
        let sound = String::from_utf8(directory(vec![file("s/a", 0, 7)], &[]).encode().unwrap()).unwrap();
        let decode = |json: &str| Metadata::decode(json.as_bytes(), &geometry(7)).is_err();
        assert!(!decode(&sound), "the sound one is taken");
        for (field, value) in [
            ("\"size\":7", "\"size\":18446744073709551615"),
            ("\"size\":7", "\"size\":18446744073709551616"),
            ("\"size\":7", "\"size\":-1"),
            ("\"size\":7", "\"size\":7.0"),
            ("\"offset\":0", "\"offset\":18446744073709551615"),
            ("\"chunk_count\":1", "\"chunk_count\":4294967296"),
            ("\"chunk_count\":1", "\"chunk_count\":2"),
        ] {
            // Otherwise nothing would be replaced, and the sound one tested again.
            assert!(sound.contains(field), "{field}");
            assert!(decode(&sound.replace(field, value)), "{value}");
        }
        let mut sizes = directory(vec![file("s/a", 0, 3), file("s/b", 3, 4)], &[]);
        (sizes.files[0].size, sizes.files[1].offset, sizes.files[1].size) = (u64::MAX, u64::MAX, 8);
        assert!(sizes.check(&geometry(7)).is_err(), "sizes whose sum wraps around to the right one");
        let many = |n: usize| (0..n).map(|n| file(&format!("s/{n}"), 0, 0)).collect::<Vec<_>>();
        assert!(directory(many(FILES_MAX + 1), &[]).check(&geometry(0)).is_err());
        let wide = |n: usize| file(&format!("s/{n}{}", "x".repeat(249)), 0, 0);
        let wide = Metadata { chunk_count: 0, ..directory((0..FILES_MAX).map(wide).collect(), &[]) };
        assert!(wide.check(&geometry(0)).is_ok() && wide.encode().is_err(), "nobody could read it");
        let deep = |n: usize| file(&format!("s/{n}/{}f", "d/".repeat(100)), 0, 0);
        let deep = Metadata { chunk_count: 0, ..directory((0..2000).map(deep).collect(), &[]) };
        let refused = Metadata::decode(&deep.encode().unwrap(), &geometry(0)).unwrap_err().to_string();
        assert!(refused.contains("more folders than the limit"), "{refused}");
        assert!(decode(&"[".repeat(METADATA_BYTES_MAX)), "depth");
        assert!(decode(&" ".repeat(METADATA_BYTES_MAX + 1)), "length");
    }

    /// Reads it in one pass, and in several: the outcome is the same.
    #[track_caller]
    fn decode_both_ways(json: &[u8]) -> Result<Metadata, String> {
        let said = |error: MetadataError| error.to_string();
        let read = Metadata::decode(json, &geometry(7)).map_err(said);
        assert_eq!(read, Metadata::decode_in_passes(json, &geometry(7)).map_err(said));
        read
    }

    #[test]
    fn s2_metadata_is_taken_or_refused_for_the_same_reason_in_one_pass_and_in_several() {
        let metadata = directory(vec![file("s/a", 0, 3), file("s/b/c", 3, 4)], &["s/d"]);
        let sound = String::from_utf8(metadata.encode().unwrap()).unwrap();
        assert_eq!(decode_both_ways(sound.as_bytes()).unwrap(), metadata);
        let many = |count: usize, entry: &dyn Fn(usize) -> String| {
            (0..count).map(entry).collect::<Vec<_>>().join(",")
        };
        let holes = many(HOLES_MAX + 1, &|n| format!("[{},1]", 2 * n));
        let folders = many(DIRS_MAX + 1, &|n| format!("\"s/{n}\""));
        let one_folder = many(DIRS_MAX + 1, &|_| "\"s/d\"".to_owned());
        let modes = many(1000, &|n| format!("{{\"path\":\"s/{n}\",\"mode\":448}}"));
        let links = many(1000, &|n| format!("{{\"path\":\"s/{n}\",\"target\":\"x\"}}"));
        for (part, by) in [
            ("\"dirs\":[\"s/d\"]", format!("\"dirs\":[{folders}]")),
            ("\"dirs\":[\"s/d\"]", format!("\"dirs\":[{one_folder}]")),
            ("\"dirs\":[\"s/d\"]", format!("\"dirs\":[],\"dir_modes\":[{modes}]")),
            ("\"dirs\":[\"s/d\"]", format!("\"dirs\":[],\"links\":[{links}]")),
            ("\"dirs\":[\"s/d\"]", "\"dirs\":null".to_owned()),
            ("\"dirs\":[\"s/d\"]", "\"dirs\":[],\"links\":null".to_owned()),
            ("\"dirs\":[\"s/d\"]", "\"dirs\":[],\"dirs\":[]".to_owned()),
            (",\"dirs\":[\"s/d\"]", String::new()),
            ("\"dirs\":[\"s/d\"]", "\"dirs\":[],\"dir_modes\":[[\"s/b\",448]]".to_owned()),
            ("\"dirs\":[\"s/d\"]", "\"dirs\":[],\"links\":[[\"s/l\",\"a\"]]".to_owned()),
            ("\"executable\"", format!("\"holes\":[{holes}],\"executable\"")),
            ("\"executable\"", "\"setuid\":1,\"executable\"".to_owned()),
            ("s/b/c", "s/a".to_owned()),
            ("s/b/c", "s/a/c".to_owned()),
            ("s/b/c", "../c".to_owned()),
            ("\"offset\":3", "\"offset\":4".to_owned()),
        ] {
            assert!(sound.contains(part), "{part}");
            let json = sound.replacen(part, &by, 1);
            assert!(json.len() <= METADATA_AT_ONCE_BYTES_MAX, "{} bytes", json.len());
            assert!(decode_both_ways(json.as_bytes()).is_err(), "{part}");
        }
        for damaged in [&sound[..sound.len() - 1], &format!("{sound}x"), &sound.replacen("{", "{\"x\":", 1)] {
            assert!(decode_both_ways(damaged.as_bytes()).is_err(), "{damaged}");
        }
    }

    #[test]
    fn s2_a_list_of_its_values_is_no_object() {
        let when = r#""1970-01-01T00:00:00Z""#;
        let with = |files: &str, more: &str| {
            format!(
                r#"{{"original_filename":"s","extension":"","size":7,"chunk_count":1,"created":{when},"files":[{files}],"dirs":[]{more}}}"#
            )
        };
        let file = format!(r#"{{"path":"s/a","offset":0,"size":7,"executable":false,"modified":{when}}}"#);
        for sound in [
            with(&file, ""),
            with(&file, r#","dir_modes":[{"path":"s","mode":448}]"#),
            with(&file, r#","links":[{"path":"s/l","target":"a"}]"#),
        ] {
            decode_both_ways(sound.as_bytes()).unwrap();
        }
        for list in [
            format!(r#"["s","",7,1,{when},[{file}],[]]"#),
            format!(r#"["s","",7,1,{when},[{file}],[],[],[]]"#),
            format!("[[{file}],[],[],[]]"),
            with(&format!(r#"["s/a",0,7,[],null,false,null,{when}]"#), ""),
            with(&format!(r#"{file},["s/b",[]]"#), ""),
            with(&file, r#","dir_modes":[["s",448]]"#),
            with(&file, r#","links":[["s/l","a"]]"#),
        ] {
            assert!(decode_both_ways(list.as_bytes()).is_err(), "{list}");
        }
    }

    #[test]
    fn s2_a_text_longer_than_any_that_is_taken_is_refused_before_it_is_held() {
        let sound = String::from_utf8(directory(vec![file("s/a", 0, 7)], &[]).encode().unwrap()).unwrap();
        // An escaped quote does not end a text.
        let longest = "\\\"".repeat(METADATA_TEXT_BYTES_MAX / 2);
        for (part, by) in [("7", "\"%\""), ("\"\"", "\"%\""), ("{", "{\"%\":1,")] {
            let refusal = |text: &str| {
                let json = sound.replacen(part, &by.replace('%', text), 1);
                Metadata::decode(json.as_bytes(), &geometry(7)).unwrap_err().to_string()
            };
            assert!(!refusal(&longest).contains("in one text"), "{part}");
            assert!(refusal(&format!("{longest}a")).contains("in one text"), "{part}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(json in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = decode_both_ways(&json);
        }

        #[test]
        fn s2_a_long_text_is_found_whatever_stands_around_it_and_in_it(
            json in proptest::collection::vec(proptest::sample::select(b"aaaa\\\\\"".to_vec()), 0..100),
            max in 2usize..20,
        ) {
            prop_assert_eq!(has_text_beyond(max, &json), finds_text_beyond(max, &json));
        }

        #[test]
        fn any_change_of_sound_metadata_is_read_or_refused(position in 0usize..400, byte in any::<u8>()) {
            let mut json = directory(vec![file("s/a", 0, 3), file("s/b/c", 3, 4)], &["s/d"]).encode().unwrap();
            let position = position % json.len();
            json[position] = byte;
            if let Ok(read) = decode_both_ways(&json) {
                prop_assert!(read.check(&geometry(7)).is_ok());
            }
        }
    }
}
