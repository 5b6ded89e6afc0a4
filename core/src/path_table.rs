//! Whether paths can stand side by side, told at a bounded cost however many they are and however deep: a path and each
//! directory on the way to it are kept as hashes, not as text.

use std::collections::hash_map::Entry;

use crate::limits::{COMPONENTS_SUM_MAX, DIRS_MAX};
use crate::name::{NameError, NameRule, SafePath};
use crate::place::{ByPlace, Keys, Place};

/// The paths of a share, as they are taken one after another.
#[derive(Debug, Default)]
pub struct PathTable {
    seen: ByPlace<PathKind>,
    /// Directories that were named or stand on the way to a path.
    directories: usize,
    /// Components of all paths.
    components: usize,
    /// The directory of the last path, and what it hashes to: most paths stand in the same directory as the one before.
    above: (String, Option<Place>),
    keys: Keys,
}

/// Why a path cannot stand beside the others.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PathTableError {
    /// It clashes with another.
    #[error(transparent)]
    Name(#[from] NameError),
    /// There are too many of these.
    #[error("more {0} than the limit")]
    TooMany(&'static str),
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum PathKind {
    File,
    /// On the way to another path.
    Directory,
    EmptyDirectory,
}

impl PathTable {
    /// Checks that all paths can stand side by side: no file is a directory too, none stands there twice, and there are not
    /// too many directories, named or on the way.
    pub fn check<'a>(
        files: impl Iterator<Item = &'a SafePath>,
        directories: impl Iterator<Item = &'a SafePath>,
    ) -> Result<(), PathTableError> {
        let mut table = Self::default();
        for path in files {
            table.take_file(path)?;
        }
        for path in directories {
            table.take_directory(path)?;
        }
        Ok(())
    }

    /// Takes a file.
    pub fn take_file(&mut self, path: &SafePath) -> Result<(), PathTableError> {
        self.take(path.as_str(), PathKind::File)
    }

    /// Takes a directory that holds nothing.
    pub fn take_directory(&mut self, path: &SafePath) -> Result<(), PathTableError> {
        self.take(path.as_str(), PathKind::EmptyDirectory)
    }

    fn take(&mut self, path: &str, kind: PathKind) -> Result<(), PathTableError> {
        let start = path.rfind('/').map_or(0, |slash| slash + 1);
        let directory = &path[..start];
        let known = self.above.1.filter(|_| self.above.0 == directory);
        let place = known.map_or_else(|| self.walk(directory), Ok)?;
        if known.is_none() {
            self.above = (directory.to_owned(), Some(place));
        }
        self.put(place, path, start, kind).map(drop)
    }

    /// Takes the directories on the way; the last of them ends in a slash.
    fn walk(&mut self, directory: &str) -> Result<Place, PathTableError> {
        let (mut place, mut start) = (Place::default(), 0);
        for (slash, _) in directory.match_indices('/') {
            place = self.put(place, &directory[..slash], start, PathKind::Directory)?;
            start = slash + 1;
        }
        Ok(place)
    }

    /// Takes one component, which stands at `start` of the path, below a place.
    fn put(
        &mut self,
        above: Place,
        path: &str,
        start: usize,
        kind: PathKind,
    ) -> Result<Place, PathTableError> {
        self.components += 1;
        if self.components > COMPONENTS_SUM_MAX {
            return Err(PathTableError::TooMany("components of paths"));
        }
        let place = self.keys.below(above, &path[start..]);
        let refuse = |rule| Err(NameError { name: path.to_owned(), rule }.into());
        match self.seen.entry(place) {
            Entry::Vacant(vacant) => {
                vacant.insert(kind);
                self.directories += usize::from(kind != PathKind::File);
                if self.directories > DIRS_MAX {
                    return Err(PathTableError::TooMany("folders"));
                }
            }
            Entry::Occupied(mut other) => match *other.get() {
                known if known == kind && kind != PathKind::Directory => return refuse(NameRule::Twice),
                known if (known == PathKind::File) != (kind == PathKind::File) => {
                    return refuse(NameRule::FileAndDirectory);
                }
                // A directory that was named may stand on the way to others, but is named once.
                _ if kind == PathKind::EmptyDirectory => drop(other.insert(kind)),
                _ => {}
            },
        }
        Ok(place)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::COMPONENTS_MAX;

    #[derive(serde::Deserialize)]
    struct Cases {
        together: Vec<(Vec<String>, Vec<String>, Option<NameRule>)>,
    }

    #[test]
    fn clashes_are_found() {
        let cases: Cases = serde_json::from_str(include_str!("../../tests/formats/names.json")).unwrap();
        let parse = |names: &[String]| names.iter().map(|n| SafePath::parse(n).unwrap()).collect::<Vec<_>>();
        for (files, directories, expected) in cases.together {
            let broken = match PathTable::check(parse(&files).iter(), parse(&directories).iter()) {
                Err(PathTableError::Name(error)) => Some(error.rule),
                other => other.map(|()| None).unwrap(),
            };
            assert_eq!(broken, expected, "{files:?} {directories:?}");
        }
    }

    #[test]
    fn deep_paths_cost_no_more_than_their_number_of_folders() {
        let path = |n: usize| SafePath::parse(&format!("{n}/{}f", "d/".repeat(COMPONENTS_MAX - 2))).unwrap();
        let paths: Vec<SafePath> = (0..DIRS_MAX / 100).map(path).collect();
        let refused = PathTable::check(paths.iter(), [].iter());
        assert_eq!(refused, Err(PathTableError::TooMany("folders")));
        let again: Vec<&SafePath> = [&paths[0], &paths[1]].into_iter().cycle().take(50_000).collect();
        let directories = again.iter().enumerate().map(|(n, path)| {
            SafePath::parse(&format!("{}{n}", path.as_str().strip_suffix('f').unwrap())).unwrap()
        });
        let directories: Vec<SafePath> = directories.collect();
        let refused = PathTable::check(directories.iter(), [].iter());
        assert_eq!(refused, Err(PathTableError::TooMany("components of paths")));
    }
}
