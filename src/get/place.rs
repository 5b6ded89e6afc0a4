//! What stands where a share is to be saved, and what may become of it.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::{FileType, OFlags};

use super::output::{file_name, parent};
use crate::failure::{Failure, Kind};
use crate::folder::Folder;

/// What a share does to what stands at its target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// Nothing stands there.
    Free,
    /// It replaces the file there.
    File,
    /// Its files go into the folder there.
    Folder,
    /// It is written into the device or fifo there.
    Stream,
}

/// What is to be saved, and what the user allows.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wish {
    /// Whether the share is one file, and no folder.
    pub(super) is_file: bool,
    /// Whether the user named the target itself, not only the folder that it is in.
    pub(super) is_named: bool,
    /// Whether a file may replace a file.
    pub(super) force: bool,
}

impl Wish {
    /// What the share does at this target, or why it does nothing there.
    pub(super) fn at(self, target: &Path) -> Result<Place, Failure> {
        let folder = parent(target);
        let opened = Folder::open(folder).map_err(|error| match error.kind() {
            io::ErrorKind::NotADirectory => refuse(folder, "is no folder", "Choose another place with -o."),
            io::ErrorKind::NotFound => {
                Failure::new(Kind::Other, format!("there is no folder {}", folder.display()))
                    .next("Make it first, or choose another place with -o.")
            }
            _ => Failure::io("save in", folder, &error),
        })?;
        self.inside(&opened, target)
    }

    /// The same for a target whose folder is open.
    pub(super) fn inside(self, folder: &Folder, target: &Path) -> Result<Place, Failure> {
        let kind =
            folder.kind_of(file_name(target)).map_err(|error| Failure::io("look at", target, &error))?;
        match kind {
            None => Ok(Place::Free),
            Some(FileType::RegularFile) if self.is_file && self.force => Ok(Place::File),
            Some(FileType::Directory) if !self.is_file && self.force => Ok(Place::Folder),
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

pub(super) fn refuse(what: &Path, why: &str, next: &str) -> Failure {
    Failure::new(Kind::Exists, format!("{} {why}", what.display())).next(next)
}
