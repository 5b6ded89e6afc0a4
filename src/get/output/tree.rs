//! The directory of a share of several files: its files are opened as they are written, and it gets its modes and times at
//! the end.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::SystemTime;

use parcelry_core::metadata::{FileEntry, Metadata};
use parcelry_core::modes::{self, DirMode};
use parcelry_core::name::SafePath;
use parking_lot::Mutex;
use rustix::io::Errno;

use super::{Content, Output, PRIVATE_DIRECTORY, PRIVATE_FILE, finish_file};
use crate::disk::dir::Dir;
use crate::disk::file_system::{allocate, set_modified};
use crate::get::{entries, links};
use crate::journal::LeftOut;

/// The directory of a share of several files.
#[derive(Debug)]
pub(super) struct Tree {
    pub(super) root: Dir,
    /// For each file, whether it is whole and as it shall be: most are written in one go.
    finished: Vec<AtomicBool>,
    /// What is not there, as the file system does not take its name or kind.
    pub(super) left_out: Mutex<Vec<LeftOut>>,
    /// The numbers of the files among it.
    pub(super) skipped: HashSet<usize>,
    /// The numbers of the files that had to be made again, and are empty.
    pub(super) made_again: HashSet<usize>,
}

impl Tree {
    pub(super) fn new(root: Dir, metadata: &Metadata, left_out: Vec<LeftOut>) -> Self {
        let finished = metadata.files.iter().map(|_| AtomicBool::new(false)).collect();
        let paths: HashSet<&SafePath> = left_out.iter().map(|entry| &entry.path).collect();
        let files = metadata.files.iter().enumerate();
        let skipped =
            files.filter(|(_, file)| paths.contains(&file.path)).map(|(number, _)| number).collect();
        Self { root, finished, left_out: Mutex::new(left_out), skipped, made_again: HashSet::new() }
    }
}

impl Output {
    /// An earlier attempt may have been interrupted when it had given some entries their modes, or their places, already.
    pub(super) fn make_ready(&mut self) -> io::Result<()> {
        let tree = match &mut self.content {
            // Nothing may be behind its end, whoever wrote it.
            Content::Single(file) => return file.set_len(self.metadata.size),
            Content::Tree(tree) => tree,
        };
        let top = &self.metadata.original_filename;
        let mut directories: Vec<&DirMode> = self.metadata.dir_modes.iter().collect();
        directories.sort_by_key(|directory| &directory.path);
        for directory in directories {
            let path = directory.path.below(top).unwrap_or_default();
            if !path.is_empty() {
                unless_left_out(tree.root.unlock(Path::new(path), PRIVATE_DIRECTORY))?;
            }
        }
        for entry in self.metadata.files.iter().filter(|entry| !is_open_to_owner(entry)) {
            let path = Path::new(entry.path.below(top).unwrap_or_default());
            unless_left_out(tree.root.unlock(path, entry.permissions() | PRIVATE_FILE))?;
        }
        let left_out = tree.left_out.lock();
        let left_out = left_out.iter().map(|entry| &entry.path).collect();
        tree.made_again = entries::create_missing(&tree.root, &self.metadata, &left_out)?;
        Ok(())
    }

    /// Writes a part of a file; a file that is written as a whole needs no second visit.
    pub(super) fn write_part(&self, tree: &Tree, number: usize, within: u64, bytes: &[u8]) -> io::Result<()> {
        if tree.skipped.contains(&number) {
            return Ok(());
        }
        let entry = &self.metadata.files[number];
        let file = tree.root.open_file(self.path(entry))?;
        let len = file.metadata()?.len();
        if len > entry.size {
            file.set_len(entry.size)?;
        }
        if bytes.len() as u64 == entry.size {
            file.write_all_at(bytes, within)?;
            set_modified(&file, SystemTime::from(entry.modified))?;
            tree.finished[number].store(is_open_to_owner(entry), Ordering::Relaxed);
            return Ok(());
        }
        if len < entry.size {
            allocate(&file, entry.size, &entry.holes)?;
        }
        file.write_all_at(bytes, within)
    }

    /// Modes and times of all that is in the temporary, into which nobody else can look yet.
    pub(super) fn finish_tree(&self, tree: &Tree, umask: u32) -> io::Result<()> {
        let root = &tree.root;
        let mut directories: BTreeSet<&Path> = BTreeSet::new();
        let mut last = Path::new("");
        let top = &self.metadata.original_filename;
        let files = self.metadata.files.iter().zip(&tree.finished).enumerate();
        for (_, (entry, finished)) in files.filter(|(number, _)| !tree.skipped.contains(number)) {
            let path = self.path(entry);
            // Where one call syncs them all, what is whole need not be opened again.
            if !finished.load(Ordering::Relaxed) || !cfg!(target_os = "linux") {
                let file = root.open_file(path)?;
                if entry.data_bytes() == 0 && file.metadata()?.len() != entry.size {
                    // It was made again, or was being made when an attempt ended: nothing of it is fetched.
                    file.set_len(entry.size)?;
                }
                if file.metadata()?.len() != entry.size {
                    return Err(io::Error::other("a file of the temporary was changed by somebody else"));
                }
                finish_file(&file, entry, umask)?;
                if !cfg!(target_os = "linux") {
                    file.sync_all()?;
                }
            }
            let directory = path.parent().unwrap_or(path);
            if directory != last {
                directories.extend(directory.ancestors());
                last = directory;
            }
        }
        let (of_links, links_left_out) = links::make_all(root, &self.metadata)?;
        directories.extend(of_links.into_iter().flat_map(Path::ancestors));
        tree.left_out.lock().extend(links_left_out);
        let left_out = tree.left_out.lock();
        let left_out: HashSet<&SafePath> = left_out.iter().map(|entry| &entry.path).collect();
        let dirs = self.metadata.dirs.iter().filter(|dir| !left_out.contains(dir));
        let dirs = dirs.map(|dir| Path::new(dir.below(top).unwrap_or_default()));
        directories.extend(dirs.flat_map(Path::ancestors));
        let directory_modes = self.metadata.dir_modes.iter();
        let given: HashMap<&str, u32> = directory_modes
            .map(|directory| (directory.path.below(top).unwrap_or_default(), directory.mode))
            .collect();
        let mode = |path: &Path| {
            let mode = path.to_str().and_then(|path| given.get(path));
            mode.unwrap_or(&modes::DIRECTORY) & modes::PERMISSIONS & !umask
        };
        // The deepest first: a directory without the right to enter hides those below it.
        for directory in directories.into_iter().rev().filter(|directory| !directory.as_os_str().is_empty()) {
            root.set_dir_mode(directory, mode(directory))?;
        }
        #[cfg(target_os = "linux")]
        root.sync_file_system()?;
        Ok(())
    }
}

/// What is not there was left out, or moved. A symlink was put there by somebody else.
fn unless_left_out(result: io::Result<()>) -> io::Result<()> {
    let is_link = |error: &io::Error| error.raw_os_error() == Some(Errno::LOOP.raw_os_error());
    result.or_else(
        |error| if entries::is_about_the_name(&error) && !is_link(&error) { Ok(()) } else { Err(error) },
    )
}

/// Whether the file's owner can open it with the mode that it will have.
fn is_open_to_owner(entry: &FileEntry) -> bool {
    entry.permissions() & 0o600 == 0o600
}
