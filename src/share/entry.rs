//! Entries of a directory as the system shows them, before anything is decided about them.

use std::ffi::OsString;
use std::fs::{self, Metadata};
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::Access;

use crate::task::beside;

/// Names from which on a directory is worth a second thread.
const LARGE: usize = 256;
/// Entries of a large directory that are looked at before the first of them is taken.
const PIECE: usize = 1024;

/// An entry as it was when it was looked at.
#[derive(Debug)]
pub(super) struct Entry {
    /// Where it is on this machine.
    pub(super) disk: PathBuf,
    /// What it is. Not followed: a symlink on the way is one in the share, or left out.
    pub(super) metadata: io::Result<Metadata>,
    /// Whether it can be read, if it is a file: found out now, and not when half of the share is sent.
    pub(super) access: io::Result<()>,
}

impl Entry {
    /// Looks at what is there.
    pub(super) fn at(disk: PathBuf) -> Self {
        let metadata = fs::symlink_metadata(&disk);
        let is_file = metadata.as_ref().is_ok_and(Metadata::is_file);
        let access = if is_file { rustix::fs::access(&disk, Access::READ_OK) } else { Ok(()) };
        Self { disk, metadata, access: access.map_err(io::Error::from) }
    }

    /// The entries of a directory that have these names, in their order. Each is looked at when it is taken, but for those
    /// of a large directory, where that takes long: many of them are looked at ahead, by two threads.
    pub(super) fn all_in<'a>(directory: &'a Path, names: &'a [OsString]) -> impl Iterator<Item = Self> + 'a {
        let piece = if names.len() < LARGE { 1 } else { PIECE };
        names.chunks(piece).flat_map(move |names| look(directory, names))
    }
}

fn look(directory: &Path, names: &[OsString]) -> Vec<Entry> {
    let each = |names: &[OsString]| -> Vec<Entry> {
        names.iter().map(|name| Entry::at(directory.join(name))).collect()
    };
    if names.len() < LARGE {
        return each(names);
    }
    let (first, rest) = names.split_at(names.len() / 2);
    let (mut entries, rest) = beside(|| each(first), || each(rest));
    entries.extend(rest);
    entries
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_come_in_the_order_of_their_names_however_many_there_are() {
        let directory = tempfile::tempdir().unwrap();
        let names: Vec<OsString> = (0..2500).map(|number| format!("{number}").into()).collect();
        // What is gone meanwhile has its turn, too.
        let is_there = |number: usize| !number.is_multiple_of(3);
        for (number, name) in names.iter().enumerate().filter(|(number, _)| is_there(*number)) {
            fs::write(directory.path().join(name), vec![0; number % 5]).unwrap();
        }
        for count in [0, 1, LARGE - 1, LARGE, PIECE, PIECE + 1, 2 * PIECE + LARGE] {
            let entries: Vec<Entry> = Entry::all_in(directory.path(), &names[..count]).collect();
            assert_eq!(entries.len(), count);
            for (number, Entry { disk, metadata, access }) in entries.into_iter().enumerate() {
                assert_eq!(disk, directory.path().join(&names[number]));
                let len = is_there(number).then_some(number % 5);
                assert_eq!(metadata.ok().map(|metadata| metadata.len()), len.map(|len| len as u64));
                assert!(access.is_ok());
            }
        }
    }

    #[test]
    fn an_entry_of_a_small_directory_is_looked_at_when_it_is_taken() {
        let directory = tempfile::tempdir().unwrap();
        let names = ["a", "b"].map(OsString::from);
        let mut entries = Entry::all_in(directory.path(), &names);
        assert!(entries.next().unwrap().metadata.is_err());
        fs::write(directory.path().join("b"), "x").unwrap();
        assert!(entries.next().unwrap().metadata.is_ok_and(|metadata| metadata.is_file()));
    }
}
