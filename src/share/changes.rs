//! Whether a file changes while it is shared: how it is now, next to how it was when the share began.

use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::halt::Halt;
use crate::disk::durable;
use crate::disk::file_system::has_loose_inodes;
use crate::disk::holes::{reads_as_zeros, settle};
use crate::failure::Failure;
use crate::journal::SourceFile;

/// The facts by which a change of a file is noticed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Fingerprint {
    /// Bytes of the file.
    pub(super) size: u64,
    /// When it was last changed: nanoseconds since the Unix epoch.
    pub(super) modified_ns: i128,
    /// Its inode number.
    pub(super) inode: u64,
}

impl From<&Metadata> for Fingerprint {
    fn from(metadata: &Metadata) -> Self {
        let modified_ns = i128::from(metadata.mtime()) * 1_000_000_000 + i128::from(metadata.mtime_nsec());
        Self { size: metadata.len(), modified_ns, inode: metadata.ino() }
    }
}

impl From<&SourceFile> for Fingerprint {
    fn from(file: &SourceFile) -> Self {
        Self { size: file.size, modified_ns: file.modified_ns, inode: file.inode }
    }
}

/// How a file is, next to how it was when the share began.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Look {
    /// Nothing was written to it.
    Same,
    /// Something was written to it.
    Touched,
    /// It has grown.
    Longer,
}

/// Looks at a file; one that is gone, shorter, or another one has changed.
pub(super) fn look(file: &SourceFile) -> Result<Look, Halt> {
    let changed = || Halt::Changed(file.path.to_string());
    let Some(disk) = file.disk() else { return Ok(Look::Same) };
    let metadata = fs::symlink_metadata(disk).map_err(|_| changed())?;
    let (before, now) = (Fingerprint::from(file), Fingerprint::from(&metadata));
    let is_another = now.inode != before.inode
        && !durable::open_read(disk).and_then(|file| has_loose_inodes(&file)).unwrap_or(false);
    if !metadata.is_file() || now.size < before.size || is_another {
        return Err(changed());
    }
    Ok(match now == before {
        _ if now.size > before.size => Look::Longer,
        true => Look::Same,
        false => Look::Touched,
    })
}

/// Holes are not read when they are passed over, so they are looked at in the end: what was written there meanwhile is a
/// change, also one that the file's times do not show.
pub(super) fn check_holes(file: &SourceFile) -> Result<(), Halt> {
    let Some(disk) = file.disk() else { return Ok(()) };
    let opened = durable::open_read(disk).map_err(|error| unreadable(file, &error))?;
    settle(&opened).map_err(|error| unreadable(file, &error))?;
    for hole in file.holes.iter() {
        if !reads_as_zeros(&opened, hole).map_err(|error| unreadable(file, &error))? {
            return Err(Halt::Changed(file.path.to_string()));
        }
    }
    Ok(())
}

/// A file that has become shorter has changed.
pub(super) fn unreadable(file: &SourceFile, error: &io::Error) -> Halt {
    if error.kind() == io::ErrorKind::UnexpectedEof {
        return Halt::Changed(file.path.to_string());
    }
    Failure::io("read", file.disk().unwrap_or(Path::new(file.path.as_str())), error).into()
}
