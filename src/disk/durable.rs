//! Files that survive a crash, and that nobody else can read.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::{OFlags, Timestamps, UTIME_NOW};
use rustix::time::Timespec;
use tempfile::NamedTempFile;

use super::file_system;
use crate::failure::{Failure, Kind};

const NOW: Timestamps = {
    let now = Timespec { tv_sec: 0, tv_nsec: UTIME_NOW };
    Timestamps { last_access: now, last_modification: now }
};
const NO_FOLLOW: i32 = OFlags::NOFOLLOW.bits().cast_signed();

/// Writes a file as a whole: after a crash there is the old one or the new one. Only its owner can read it.
pub fn persist(path: &Path, bytes: &[u8]) -> io::Result<()> {
    persist_with(path, |file| file.write_all(bytes))
}

/// Writes a file as a whole, like [`persist`], with what `write` puts into it: it need never be in memory all at once.
pub fn persist_with(path: &Path, write: impl FnOnce(&mut File) -> io::Result<()>) -> io::Result<()> {
    let directory = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
    let mut temporary = create_temporary(directory)?;
    write(temporary.as_file_mut())?;
    temporary.as_file().sync_all()?;
    temporary.persist(path).map_err(|error| error.error)?;
    sync_directory(directory)
}

/// Creates a file that only its owner can read, under a name that no other in the directory has. It is removed when the
/// value is dropped.
///
/// An error is the system's own: that of `tempfile` has no error code, and a name in it that is another one each time.
pub fn create_temporary(directory: &Path) -> io::Result<NamedTempFile> {
    let create =
        |path: &Path| OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(path);
    tempfile::Builder::new().prefix(".tmp-").make_in(directory, create)
}

/// Moves a file into another directory of its file system under a name that replaces what has it there, and dates
/// it now, so that it can be told how long it has been there.
#[expect(clippy::disallowed_methods, reason = "it is synced below, and what it replaces has the same name")]
pub fn move_and_date(path: &Path, to: &Path) -> io::Result<()> {
    fs::rename(path, to)?;
    date_now(to)?;
    for directory in [path, to].map(Path::parent) {
        sync_directory(directory.ok_or(io::ErrorKind::InvalidInput)?)?;
    }
    Ok(())
}

/// Dates a file now.
pub fn date_now(path: &Path) -> io::Result<()> {
    Ok(rustix::fs::utimensat(rustix::fs::CWD, path, &NOW, rustix::fs::AtFlags::SYMLINK_NOFOLLOW)?)
}

/// Makes what was renamed or created in the directory survive a crash, where the file system has a way.
pub fn sync_directory(directory: &Path) -> io::Result<()> {
    sync_open_directory(&File::open(directory)?)
}

/// Makes what was renamed or created in an open directory survive a crash, where the file system has a way.
pub fn sync_open_directory(directory: &File) -> io::Result<()> {
    match directory.sync_all() {
        // Some file systems, on other machines above all, sync no directories (fsync(2)).
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => Ok(()),
        result => result,
    }
}

/// Makes everything that was written to the directory's file system survive a crash: one call for any
/// number of files where the system has one (Linux), nothing elsewhere, where files are synced one by one.
#[cfg(target_os = "linux")]
pub fn sync_file_system(directory: &File) -> io::Result<()> {
    Ok(rustix::fs::syncfs(directory)?)
}

/// Creates a directory, with those above it, that only its owner can enter.
pub fn create_private_directory(path: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Creates a directory like [`create_private_directory`], or takes one that is there if nobody else can have
/// put anything into it: it must belong to this user, and others must not be able to write to it.
pub fn own_directory(path: &Path) -> Result<(), Failure> {
    create_private_directory(path).map_err(|error| Failure::io("create", path, &error))?;
    let metadata = fs::metadata(path).map_err(|error| Failure::io("look at", path, &error))?;
    let refuse = |what: &str, next: &str| {
        Err(Failure::new(Kind::Denied, format!("{} {what}", path.display())).next(next))
    };
    let uid = rustix::process::geteuid().as_raw();
    // Asked first, as there `chmod` and `chown` would not help.
    if (metadata.uid() != uid || metadata.mode() & 0o022 != 0)
        && file_system::keeps_modes(path).is_ok_and(|keeps| !keeps)
    {
        return refuse(
            "is open to other users, as its file system keeps no owners and modes",
            &format!("Mount it with the options `uid={uid},umask=077`, or give another folder."),
        );
    }
    if metadata.uid() != uid {
        return refuse("belongs to another user", "Run this as that user, or give a folder of your own.");
    }
    if metadata.mode() & 0o022 != 0 {
        return refuse(
            "can be written to by other users",
            "Take their right away with `chmod go-w`, or give another folder.",
        );
    }
    Ok(())
}

/// Opens a file that only its owner can read, and creates it if it is not there; never through a symlink.
pub fn open_private(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).mode(0o600).custom_flags(NO_FOLLOW);
    options.open(path)
}

/// Opens a file for reading; never through a symlink.
pub fn open_read(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).custom_flags(NO_FOLLOW).open(path)
}

/// Has what is read of a file from here on come from the disk, and not from what the system remembers of it: after a
/// write that failed, or rot, the two differ. What was not written yet is read as it was written.
pub fn drop_cached(file: &File) {
    // It is a hint: where it is not taken, the file is read all the same.
    #[cfg(target_os = "linux")]
    let _ = rustix::fs::fadvise(file, 0, None, rustix::fs::Advice::DontNeed);
    #[cfg(not(target_os = "linux"))]
    let _ = file;
}

/// Bytes that an ordinary user can still write to the file system below the path.
pub fn free_bytes(path: &Path) -> io::Result<u64> {
    let stat = rustix::fs::statvfs(path)?;
    Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn persisted_files_are_whole_and_private() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("state");
        persist(&path, b"one").unwrap();
        persist(&path, b"two").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert_eq!(path.metadata().unwrap().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1, "no temporary is left");
    }

    #[test]
    fn a_file_that_cannot_be_written_to_its_end_leaves_the_old_one() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("state");
        persist(&path, b"one").unwrap();
        let failed = persist_with(&path, |file| {
            file.write_all(b"tw")?;
            Err(io::ErrorKind::StorageFull.into())
        });
        assert_eq!(failed.unwrap_err().kind(), io::ErrorKind::StorageFull);
        assert_eq!(fs::read(&path).unwrap(), b"one");
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1, "no temporary is left");
    }

    #[test]
    fn a_file_that_cannot_be_created_fails_with_the_systems_error_which_is_the_same_each_time() {
        let directory = tempfile::tempdir().unwrap();
        let fail = || persist(&directory.path().join("gone/state"), b"one").unwrap_err();
        assert_eq!(fail().raw_os_error(), Some(rustix::io::Errno::NOENT.raw_os_error()));
        assert_eq!(fail().to_string(), fail().to_string());
    }

    #[test]
    fn f2_a_folder_that_others_can_write_to_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("data");
        own_directory(&path).unwrap();
        assert_eq!(path.metadata().unwrap().mode() & 0o777, 0o700);
        for mode in [0o720, 0o702, 0o777] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            let failure = own_directory(&path).unwrap_err();
            assert_eq!(failure.kind, Kind::Denied);
            assert!(failure.what.ends_with("can be written to by other users"), "{}", failure.what);
            assert!(failure.next.unwrap().contains("chmod go-w"));
        }
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        own_directory(&path).unwrap();
    }
}
