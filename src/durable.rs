//! Files that survive a crash, and renames that replace nothing by accident.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::{CWD, OFlags, RenameFlags};

use crate::failure::{Failure, Kind};

const NO_FOLLOW: i32 = OFlags::NOFOLLOW.bits().cast_signed();

/// Writes a file as a whole: after a crash there is the old one or the new one. Only its owner can read it.
pub fn persist(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let folder = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
    let mut temporary = tempfile::Builder::new().prefix(".tmp-").tempfile_in(folder)?;
    temporary.write_all(bytes)?;
    temporary.as_file().sync_all()?;
    temporary.persist(path).map_err(|error| error.error)?;
    sync_folder(folder)
}

/// Makes what was renamed or created in the folder survive a crash.
pub fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// Makes everything that was written to the folder's file system survive a crash: one call for any
/// number of files where the system has one (Linux), nothing elsewhere, where files are synced one by one.
#[cfg(target_os = "linux")]
pub fn sync_file_system(folder: &File) -> io::Result<()> {
    Ok(rustix::fs::syncfs(folder)?)
}

/// Creates a folder, with those above it, that only its owner can enter.
pub fn create_private_folder(path: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Creates a folder like [`create_private_folder`], or takes one that is there if nobody else can have
/// put anything into it: it must belong to this user, and others must not be able to write to it.
pub fn own_folder(path: &Path) -> Result<(), Failure> {
    create_private_folder(path).map_err(|error| Failure::io("create", path, &error))?;
    let metadata = fs::metadata(path).map_err(|error| Failure::io("look at", path, &error))?;
    let refuse = |what: &str, next: &str| {
        Err(Failure::new(Kind::Denied, format!("{} {what}", path.display())).next(next))
    };
    if metadata.uid() != rustix::process::geteuid().as_raw() {
        return refuse(
            "belongs to another user",
            "Run this as that user, or give a folder of your own with --data.",
        );
    }
    if metadata.mode() & 0o022 != 0 {
        return refuse(
            "can be written to by other users",
            "Take their right away with `chmod go-w`, or give another folder with --data.",
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

/// Creates a file that must not exist yet and that only its owner can read; never through a symlink.
pub fn create_private_file(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(path)
}

/// Opens a file for reading; never through a symlink.
pub fn open_read(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).custom_flags(NO_FOLLOW).open(path)
}

/// Opens a file that is there for reading and writing; never through a symlink.
pub fn open_write(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).custom_flags(NO_FOLLOW).open(path)
}

/// Bytes that an ordinary user can still write to the file system below the path.
pub fn free_bytes(path: &Path) -> io::Result<u64> {
    let stat = rustix::fs::statvfs(path)?;
    Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
}

/// Renames a file or folder; an existing target is an error of kind `AlreadyExists`, even if it
/// appeared this very moment.
pub fn rename_new(from: &Path, to: &Path) -> io::Result<()> {
    match rustix::fs::renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS) => rename_new_by_link(from, to),
        result => Ok(result?),
    }
}

/// Swaps two files or folders in one step, where the file system can; otherwise moves `to` away first.
pub fn replace(from: &Path, to: &Path, aside: &Path) -> io::Result<()> {
    match rustix::fs::renameat_with(CWD, from, CWD, to, RenameFlags::EXCHANGE) {
        Ok(()) => rename(from, aside),
        Err(rustix::io::Errno::NOENT) => rename(from, to),
        Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS) => {
            rename(to, aside)?;
            rename(from, to)
        }
        Err(error) => Err(error.into()),
    }
}

/// Renames a file or folder, replacing a file of that name.
#[expect(clippy::disallowed_methods, reason = "this is the one place")]
pub fn rename(from: &Path, to: &Path) -> io::Result<()> {
    fs::rename(from, to)
}

/// For file systems without a rename that refuses to replace: a hard link refuses, too. Folders
/// cannot be linked, so for them a short moment between check and rename remains.
fn rename_new_by_link(from: &Path, to: &Path) -> io::Result<()> {
    if from.symlink_metadata()?.is_dir() {
        if to.symlink_metadata().is_ok() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        return rename(from, to);
    }
    fs::hard_link(from, to)?;
    fs::remove_file(from)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn persisted_files_are_whole_and_private() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state");
        persist(&path, b"one").unwrap();
        persist(&path, b"two").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert_eq!(path.metadata().unwrap().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "no temporary is left");
    }

    #[test]
    fn f2_a_folder_that_others_can_write_to_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("data");
        own_folder(&path).unwrap();
        assert_eq!(path.metadata().unwrap().mode() & 0o777, 0o700);
        for mode in [0o720, 0o702, 0o777] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            assert_eq!(own_folder(&path).unwrap_err().kind, Kind::Denied);
        }
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        own_folder(&path).unwrap();
    }

    #[test]
    fn a_rename_replaces_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let (from, to) = (folder.path().join("from"), folder.path().join("to"));
        for renaming in [rename_new, rename_new_by_link] {
            fs::write(&from, b"new").unwrap();
            fs::write(&to, b"old").unwrap();
            assert_eq!(renaming(&from, &to).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
            assert_eq!(fs::read(&to).unwrap(), b"old");
            fs::remove_file(&to).unwrap();
            renaming(&from, &to).unwrap();
            assert_eq!(fs::read(&to).unwrap(), b"new");
            fs::remove_file(&to).unwrap();
        }
    }

    #[test]
    fn a_symlink_counts_as_existing() {
        let folder = tempfile::tempdir().unwrap();
        let (from, to) = (folder.path().join("from"), folder.path().join("to"));
        fs::write(&from, b"new").unwrap();
        std::os::unix::fs::symlink("nowhere", &to).unwrap();
        assert!(rename_new(&from, &to).is_err());
        assert!(create_private_file(&to).is_err());
    }

    #[test]
    fn replacing_keeps_the_old_one_aside() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        fs::create_dir(path("to")).unwrap();
        fs::write(path("to/old"), b"old").unwrap();
        fs::write(path("from"), b"new").unwrap();
        replace(&path("from"), &path("to"), &path("aside")).unwrap();
        assert_eq!(fs::read(path("to")).unwrap(), b"new");
        assert_eq!(fs::read(path("aside/old")).unwrap(), b"old");
    }
}
