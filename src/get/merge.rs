//! Puts the files of a share into a directory that is there, each by one rename; nothing else in it is touched.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};

use parcelry_core::metadata::Metadata;
use rustix::fs::FileType;

use super::place::{mounted, refuse, words};
use crate::crash::{self, Point};
use crate::disk::dir::Dir;
use crate::failure::Failure;

const NEXT: &str = "Nothing was overwritten. Move it away, or give another place with -o.";
/// Who may do what in a directory as long as entries are moved out of it or into it.
const WHILE_MOVING: u32 = 0o700;

/// Refuses a directory in which something else stands where the share has a file or a directory.
pub(super) fn check(target: &Path, metadata: &Metadata) -> Result<(), Failure> {
    let failed = |error: io::Error| Failure::io("look at", target, &error);
    let mut look =
        Look { target, directory: Dir::open(target).map_err(failed)?, directories: HashMap::new() };
    let below = |path| Path::new(path);
    let top = &metadata.original_filename;
    for dir in metadata.dirs.iter().filter_map(|dir| dir.below(top)) {
        look.has_directory(below(dir))?;
    }
    for file in metadata.files.iter().filter_map(|file| file.path.below(top)) {
        let path = below(file);
        // What is mounted on a file cannot be replaced by a rename.
        if look.has_directory(path.parent().unwrap_or(Path::new("")))?
            && look.expect(path, FileType::RegularFile)?
        {
            look.expect_not_mounted(path)?;
        }
    }
    for link in &metadata.links {
        let path = below(link.path.below(top).unwrap_or_default());
        if look.has_directory(path.parent().unwrap_or(Path::new("")))? {
            look.expect_link(path, &link.target)?;
        }
    }
    Ok(())
}

struct Look<'a> {
    target: &'a Path,
    directory: Dir,
    /// The directories that were looked at, and whether each is there.
    directories: HashMap<PathBuf, bool>,
}

impl Look<'_> {
    fn has_directory(&mut self, path: &Path) -> Result<bool, Failure> {
        let Some(above) = path.parent() else { return Ok(true) };
        if let Some(is_there) = self.directories.get(path) {
            return Ok(*is_there);
        }
        let is_there = self.has_directory(above)? && self.expect(path, FileType::Directory)?;
        if is_there {
            self.expect_same_disk(path)?;
        }
        self.directories.insert(path.to_owned(), is_there);
        Ok(is_there)
    }

    /// Whether something is there; what is no such thing is refused.
    fn expect(&self, path: &Path, kind: FileType) -> Result<bool, Failure> {
        let shown = self.target.join(path);
        match self.directory.kind_of(path).map_err(|error| Failure::io("look at", &shown, &error))? {
            Some(there) if there != kind => Err(clash(&shown, there, kind)),
            there => Ok(there.is_some()),
        }
    }

    /// What arrives comes by renaming, which leads to no other file system.
    fn expect_same_disk(&self, path: &Path) -> Result<(), Failure> {
        let shown = self.target.join(path);
        let failed = |error: io::Error| Failure::io("look at", &shown, &error);
        let there = self.directory.device_of(path).map_err(failed)?;
        if there == self.directory.device_of(Path::new(".")).map_err(failed)? {
            return self.expect_not_mounted(path);
        }
        let next = "Nothing was overwritten. Save to another place with -o, and copy it there.";
        Err(refuse(&shown, "is on another disk than the folder that it is in", next))
    }

    /// Nor does it lead to what is mounted by itself, be it of the same file system or a single file.
    fn expect_not_mounted(&self, path: &Path) -> Result<(), Failure> {
        let shown = self.target.join(path);
        match self.directory.is_mounted(path).map_err(|error| Failure::io("look at", &shown, &error))? {
            true => Err(mounted(&shown)),
            false => Ok(()),
        }
    }

    /// Nothing may be there but a symlink to the same: one is never replaced.
    fn expect_link(&self, path: &Path, target: &str) -> Result<(), Failure> {
        let is_there = self.expect(path, FileType::Symlink)?;
        if is_there && self.directory.target_of(path).ok().as_deref() != Some(Path::new(target)) {
            return Err(clash(&self.target.join(path), FileType::Symlink, FileType::Symlink));
        }
        Ok(())
    }
}

/// Moves all files and symlinks below `from` to the same place below `to`. Both are on one file system. Directories that are
/// new there get the permissions of those that they come from.
pub(super) fn merge(from: &Dir, to: &Dir, shown: &Path) -> Result<(), Failure> {
    let failed = |error: io::Error| Failure::io("save in", shown, &error);
    let group = to.group_handed_on().map_err(failed)?;
    for (name, kind) in from.entries().map_err(failed)? {
        let name = Path::new(&name);
        let shown = shown.join(name);
        let there = to.kind_of(name).map_err(failed)?;
        if let Some(there) = there.filter(|there| *there != kind) {
            return Err(clash(&shown, there, kind));
        }
        match kind {
            FileType::Directory => merge_directory(from, to, name, there.is_none(), &shown)?,
            // A link is never written over. The same one may be there, as after a merge that was killed.
            FileType::Symlink if there.is_some() => {
                if from.target_of(name).map_err(failed)? != to.target_of(name).map_err(failed)? {
                    return Err(clash(&shown, kind, kind));
                }
                from.remove_file(name).map_err(failed)?;
            }
            _ => {
                if let Some(group) = group {
                    from.set_group(name, group);
                }
                from.rename(name, to, name).map_err(|error| Failure::io("save", &shown, &error))?;
                crash::at(Point::EntryMoved);
            }
        }
    }
    to.sync().map_err(failed)
}

fn merge_directory(from: &Dir, to: &Dir, name: &Path, is_new: bool, shown: &Path) -> Result<(), Failure> {
    let failed = |error: io::Error| Failure::io("save in", shown, &error);
    let mode = from.mode_of(name).map_err(failed)?;
    from.unlock(name, mode | WHILE_MOVING).map_err(failed)?;
    let source = from.open_dir(name).map_err(failed)?;
    if is_new {
        if source.hands_on_like(to).map_err(failed)? {
            return move_directory(from, to, (name, &source, mode)).map_err(failed);
        }
        to.make_dir(name, WHILE_MOVING).map_err(failed)?;
    }
    let target = to.open_dir(name).map_err(failed)?;
    if is_new {
        // Killed from here on, the next attempt finds it there, and leaves its mode as it is.
        target.set_mode(mode | WHILE_MOVING).map_err(failed)?;
    }
    merge(&source, &target, shown)?;
    if is_new {
        target.set_mode(mode).map_err(failed)?;
    }
    from.remove_dir(name).map_err(failed)
}

/// Moves a directory with all that is in it in one step, so that none is there that is not as it shall be.
fn move_directory(from: &Dir, to: &Dir, (name, source, mode): (&Path, &Dir, u32)) -> io::Result<()> {
    from.rename_new(name, to, name)?;
    // A directory that its owner may not write to cannot be moved (rename(2)).
    if mode & WHILE_MOVING != WHILE_MOVING {
        source.set_mode(mode)?;
        source.sync()?;
    }
    crash::at(Point::EntryMoved);
    Ok(())
}

fn clash(path: &Path, there: FileType, wanted: FileType) -> Failure {
    let other = if there == wanted { " to something else" } else { "" };
    let what = format!("is {}, and the share has {}{other} there", words(there), words(wanted));
    refuse(path, &what, NEXT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(target_os = "linux")]
    #[test]
    fn f39_a_folder_on_another_disk_is_refused_before_anything_is_fetched() {
        let metadata: Metadata = serde_json::from_value(serde_json::json!({ "original_filename": "s",
            "extension": "", "size": 0, "chunk_count": 0, "created": "2026-01-01T00:00:00Z", "files": [],
            "dirs": ["s/proc/new"] }))
        .unwrap();
        let failure = check(Path::new("/"), &metadata).unwrap_err();
        assert!(failure.what.starts_with("/proc is on another disk"), "{}", failure.what);
    }
}
