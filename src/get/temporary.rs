//! Temporaries in a directory: what they are called, and which of them are left.

use std::ffi::OsStr;
use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;

use crate::disk::dir::remove_any;
use crate::disk::file_system::hold;

const END: &str = ".part";

/// How the names of all temporaries of a download begin. The name depends on the target, too:
/// two gets of one share into one directory must not use one temporary.
fn start(key: &str) -> String {
    format!(".parcelry-{key:.16}")
}

/// A name that no temporary had before: what a journal says of one is true of no other.
pub(super) fn new_name(directory: &Path, key: &str) -> io::Result<PathBuf> {
    let random = getrandom::u64().map_err(io::Error::other)?;
    Ok(directory.join(format!("{}-{random:016x}{END}", start(key))))
}

/// The temporaries of a download that stand in the directory.
pub(super) fn left_in(directory: &Path, key: &str) -> io::Result<Vec<PathBuf>> {
    let start = start(key);
    let is_one = |name: &OsStr| {
        let name = name.as_encoded_bytes();
        name.starts_with(start.as_bytes()) && name.ends_with(END.as_bytes())
    };
    let mut left = Vec::new();
    for entry in fs::read_dir(directory)? {
        let name = entry?.file_name();
        if is_one(&name) {
            left.push(directory.join(name));
        }
    }
    Ok(left)
}

/// Whether what stands there is this user's, and none of these rights are given.
pub(super) fn is_ours(path: &Path, rights: u32) -> bool {
    fs::symlink_metadata(path).is_ok_and(|metadata| {
        metadata.uid() == rustix::process::geteuid().as_raw() && metadata.mode() & rights == 0
    })
}

/// Removes a temporary, unless a get is at work on it. Returns whether it did.
pub(super) fn clear(path: &Path) -> io::Result<bool> {
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY).bits().cast_signed();
    // What cannot be opened, as a symlink, nobody holds.
    let opened = OpenOptions::new().read(true).custom_flags(flags).open(path).ok();
    if opened.as_ref().is_some_and(|opened| !hold(opened)) {
        return Ok(false);
    }
    remove_any(path).map(|()| true)
}
