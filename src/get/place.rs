//! What stands where a share is to be saved, and what may become of it.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::{FileType, OFlags};

use super::Manner;
use super::entries::is_about_the_name;
use super::output::{file_name, parent};
use crate::disk::dir::Dir;
use crate::failure::{Failure, Kind};

/// What a share does to what stands at its target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// Nothing stands there.
    Free,
    /// It replaces the file there.
    File,
    /// Its files go into the directory there.
    Directory,
    /// It is written into the device or fifo there.
    Stream,
}

/// What is to be saved, and what the user allows.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wish {
    /// Whether the share is one file, and no directory.
    pub(super) is_file: bool,
    /// Whether the user named the target itself, not only the directory that it is in.
    pub(super) is_named: bool,
    /// What may become of what is there.
    pub(super) manner: Manner,
}

impl Wish {
    /// What the share does at this target, or why it does nothing there.
    pub(super) fn at(self, target: &Path) -> Result<Place, Failure> {
        let directory = parent(target);
        let opened = Dir::open(directory).map_err(|error| match error.kind() {
            io::ErrorKind::NotADirectory => {
                refuse(directory, "is no folder", "Choose another place with -o.")
            }
            io::ErrorKind::NotFound => {
                Failure::new(Kind::Other, format!("there is no folder {}", directory.display()))
                    .next("Make it first, or choose another place with -o.")
            }
            _ => Failure::io("save in", directory, &error),
        })?;
        self.inside(&opened, target)
    }

    /// What the share does at this target, whose directory is open, or why it does nothing there.
    pub(super) fn inside(self, directory: &Dir, target: &Path) -> Result<Place, Failure> {
        let failed = |error: io::Error| match is_about_the_name(&error) {
            true => no_such_name(target, &error),
            false => Failure::io("look at", target, &error),
        };
        match directory.kind_of(file_name(target)).map_err(failed)? {
            None => Ok(Place::Free),
            Some(FileType::RegularFile) if self.is_file && self.manner.force => {
                // A rename over a mount point fails at the end, when everything is fetched.
                let is_mounted = directory.is_mounted(file_name(target));
                if is_mounted.map_err(|error| Failure::io("look at", target, &error))? {
                    Err(mounted(target))
                } else {
                    Ok(Place::File)
                }
            }
            Some(FileType::Directory) if !self.is_file && self.manner.force => Ok(Place::Directory),
            Some(FileType::RegularFile) if self.is_file => Err(exists(target, "replace it with --force")),
            Some(FileType::Directory) if !self.is_file => Err(exists(
                target,
                "put the share's files into it with --force: they replace those of the same name",
            )),
            Some(kind) if self.is_file && self.is_named && is_stream(kind) => Ok(Place::Stream),
            Some(kind) => Err(self.in_the_way(target, kind)),
        }
    }

    fn in_the_way(self, target: &Path, kind: FileType) -> Failure {
        if kind.is_symlink() {
            let next = "Give the path that it leads to, or another place, with -o.";
            return refuse(target, "is a symlink, which is neither followed nor replaced", next);
        }
        let share = if self.is_file { "a file" } else { "a folder" };
        refuse(
            target,
            &format!("is {}, and the share is {share}", words(kind)),
            "Nothing was overwritten. Give another place with -o.",
        )
    }
}

/// Refuses a target whose name the file system does not take, before anything is fetched: tries it in a directory that is made
/// for that under the temporary's name, for nothing may have the target's own name before it is whole.
pub(super) fn check_name(temporary: &Path, target: &Path, is_file: bool) -> Result<(), Failure> {
    let failed = |error: io::Error| Failure::io("prepare", target, &error);
    let beside = Dir::open(parent(temporary)).map_err(failed)?;
    let (trial, name) = (file_name(temporary), file_name(target));
    let inside = beside.create_dir(trial).map_err(failed)?;
    let tried = if is_file {
        inside.create_file(name).and_then(|_| inside.remove_file(name))
    } else {
        inside.create_dir(name).and_then(|_| inside.remove_dir(name))
    };
    beside.remove_dir(trial).map_err(failed)?;
    tried
        .map_err(|error| if is_about_the_name(&error) { no_such_name(target, &error) } else { failed(error) })
}

fn no_such_name(target: &Path, error: &io::Error) -> Failure {
    let (name, directory) = (file_name(target).display(), parent(target));
    let what = format!(
        "nothing in {} can be called {name}: the file system does not take it ({error})",
        directory.display()
    );
    let other = if directory == Path::new(".") { "NAME".into() } else { directory.join("NAME") };
    Failure::new(Kind::Other, what)
        .next(format!("Nothing was fetched. Give it another name: -o {}", other.display()))
}

/// Opens the device or fifo at the target for writing; a fifo has to be opened for reading elsewhere. Blocks.
pub(super) fn open_stream(target: &Path) -> Result<File, Failure> {
    let failed = |error: io::Error| Failure::io("write to", target, &error);
    let flags = (OFlags::NOFOLLOW | OFlags::NOCTTY).bits().cast_signed();
    let file = OpenOptions::new().write(true).custom_flags(flags).open(target).map_err(failed)?;
    let kind = file.metadata().map_err(failed)?.file_type();
    if kind.is_fifo() || kind.is_char_device() || kind.is_block_device() {
        return Ok(file);
    }
    Err(failed(io::ErrorKind::AlreadyExists.into()))
}

/// What an entry is, for people.
pub(super) const fn words(kind: FileType) -> &'static str {
    match kind {
        FileType::RegularFile => "a file",
        FileType::Directory => "a folder",
        FileType::Symlink => "a symlink",
        FileType::Fifo => "a fifo",
        FileType::Socket => "a socket",
        FileType::CharacterDevice | FileType::BlockDevice => "a device",
        FileType::Unknown => "something unknown",
    }
}

const fn is_stream(kind: FileType) -> bool {
    matches!(kind, FileType::Fifo | FileType::CharacterDevice | FileType::BlockDevice)
}

fn exists(target: &Path, or: &str) -> Failure {
    let next = format!("Nothing was overwritten. Give another place with -o, or {or}.");
    refuse(target, "exists already", &next)
}

/// What is to be said of something that no rename replaces.
pub(super) fn mounted(path: &Path) -> Failure {
    let next = "Nothing was overwritten. Unmount it, or give another place with -o.";
    refuse(path, "is mounted there by itself, and cannot be replaced or moved into", next)
}

pub(super) fn refuse(what: &Path, why: &str, next: &str) -> Failure {
    Failure::new(Kind::Exists, format!("{} {why}", what.display())).next(next)
}
