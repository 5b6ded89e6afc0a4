//! An open folder. What is done in it is done in this very folder, whatever happens to its path meanwhile:
//! in a folder that others can write to, somebody may put a symlink where it was.

use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use rustix::fs::{
    AtFlags, CWD, Mode, OFlags, RenameFlags, mkdirat, openat, readlinkat, renameat, renameat_with, statat,
    symlinkat,
};
use rustix::io::Errno;

use crate::durable;

/// How files and folders are opened here: never through a symlink.
const NO_FOLLOW: OFlags = OFlags::NOFOLLOW.union(OFlags::CLOEXEC);
const PRIVATE_FILE: Mode = Mode::RUSR.union(Mode::WUSR);
const PRIVATE_FOLDER: Mode = Mode::RWXU;

/// An open folder. Paths given to its methods are relative to it.
#[derive(Debug)]
pub struct Folder(File);

impl Folder {
    /// Opens the folder at a path that the user chose.
    pub fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Self(openat(CWD, path, flags, Mode::empty())?.into()))
    }

    /// Opens a folder in this one.
    pub fn open_folder(&self, path: &Path) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | NO_FOLLOW;
        Ok(Self(openat(&self.0, path, flags, Mode::empty())?.into()))
    }

    /// Creates a folder that must not exist yet and that only its owner can enter.
    pub fn create_folder(&self, path: &Path) -> io::Result<Self> {
        mkdirat(&self.0, path, PRIVATE_FOLDER)?;
        self.open_folder(path)
    }

    /// Creates a folder with those above it, unless they are there.
    pub fn create_folders(&self, path: &Path) -> io::Result<()> {
        if path.as_os_str().is_empty() {
            return Ok(());
        }
        match (mkdirat(&self.0, path, PRIVATE_FOLDER), path.parent()) {
            (Ok(()) | Err(rustix::io::Errno::EXIST), _) => Ok(()),
            (Err(rustix::io::Errno::NOENT), Some(above)) if !above.as_os_str().is_empty() => {
                self.create_folders(above)?;
                Ok(mkdirat(&self.0, path, PRIVATE_FOLDER)?)
            }
            (Err(error), _) => Err(error.into()),
        }
    }

    /// Creates a file that must not exist yet and that only its owner can read.
    pub fn create_file(&self, path: &Path) -> io::Result<File> {
        self.create_file_with(path, PRIVATE_FILE.as_raw_mode())
    }

    /// Creates a file that must not exist yet, with this mode, of which the process's file mode creation mask takes
    /// away.
    pub fn create_file_with(&self, path: &Path, mode: u32) -> io::Result<File> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | NO_FOLLOW;
        Ok(openat(&self.0, path, flags, Mode::from_raw_mode(mode))?.into())
    }

    /// Opens a file for reading and writing.
    pub fn open_file(&self, path: &Path) -> io::Result<File> {
        let flags = OFlags::RDWR | OFlags::NONBLOCK | NO_FOLLOW;
        Ok(openat(&self.0, path, flags, Mode::empty())?.into())
    }

    /// Creates a symlink that must not exist yet, unless it leads there already.
    pub fn create_link(&self, path: &Path, target: &str) -> io::Result<()> {
        match symlinkat(target, &self.0, path) {
            Err(Errno::EXIST)
                if readlinkat(&self.0, path, Vec::new())
                    .is_ok_and(|is| is.as_bytes() == target.as_bytes()) =>
            {
                Ok(())
            }
            result => Ok(result?),
        }
    }

    /// The inode number of an entry, which may be a symlink.
    pub fn inode_of(&self, name: &Path) -> io::Result<u64> {
        Ok(statat(&self.0, name, AtFlags::SYMLINK_NOFOLLOW)?.st_ino)
    }

    /// The inode number of the folder, if it is this user's alone.
    pub fn private_inode(&self) -> io::Result<Option<u64>> {
        private_inode(&self.0)
    }

    /// Sets the mode of a folder in this one.
    pub fn set_folder_mode(&self, path: &Path, mode: u32) -> io::Result<()> {
        self.open_folder(path)?.set_mode(mode)
    }

    /// Sets the folder's own mode. The group of a setgid folder is inherited by what is made in it: that bit stays.
    pub fn set_mode(&self, mode: u32) -> io::Result<()> {
        let inherited = self.0.metadata()?.mode() & 0o2000;
        self.0.set_permissions(Permissions::from_mode(mode | inherited))
    }

    /// Gives the owner his rights to an entry that is no symlink, although he cannot open it.
    pub fn unlock(&self, path: &Path, mode: u32) -> io::Result<()> {
        Ok(rustix::fs::chmodat(&self.0, path, Mode::from_raw_mode(mode), AtFlags::empty())?)
    }

    /// Makes what was renamed or created in the folder survive a crash.
    pub fn sync(&self) -> io::Result<()> {
        self.0.sync_all()
    }

    /// Makes everything on the folder's file system survive a crash.
    #[cfg(target_os = "linux")]
    pub fn sync_file_system(&self) -> io::Result<()> {
        durable::sync_file_system(&self.0)
    }

    /// Renames an entry; an existing target is an error of kind `AlreadyExists`, even if it appeared this
    /// very moment.
    pub fn rename_new(&self, from: &Path, to: &Path) -> io::Result<()> {
        match renameat_with(&self.0, from, &self.0, to, RenameFlags::NOREPLACE) {
            Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS) => self.rename_new_by_link(from, to),
            result => Ok(result?),
        }
    }

    /// Swaps two entries in one step, where the file system can; otherwise moves `to` away first. What was
    /// there before is at `aside` then.
    pub fn replace(&self, from: &Path, to: &Path, aside: &Path) -> io::Result<()> {
        match renameat_with(&self.0, from, &self.0, to, RenameFlags::EXCHANGE) {
            Ok(()) => self.rename(from, aside),
            Err(rustix::io::Errno::NOENT) => self.rename(from, to),
            Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS) => {
                self.rename(to, aside)?;
                self.rename(from, to)
            }
            Err(error) => Err(error.into()),
        }
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        Ok(renameat(&self.0, from, &self.0, to)?)
    }

    /// For file systems without a rename that refuses to replace: a hard link refuses, too. Folders cannot be
    /// linked, so for them a short moment between check and rename remains.
    fn rename_new_by_link(&self, from: &Path, to: &Path) -> io::Result<()> {
        let kind =
            rustix::fs::FileType::from_raw_mode(statat(&self.0, from, AtFlags::SYMLINK_NOFOLLOW)?.st_mode);
        if kind.is_dir() {
            if statat(&self.0, to, AtFlags::SYMLINK_NOFOLLOW).is_ok() {
                return Err(io::ErrorKind::AlreadyExists.into());
            }
            return self.rename(from, to);
        }
        rustix::fs::linkat(&self.0, from, &self.0, to, AtFlags::empty())?;
        Ok(rustix::fs::unlinkat(&self.0, from, AtFlags::empty())?)
    }
}

/// The inode number of a file or folder, if it belongs to this user and nobody else can open it.
pub fn private_inode(file: &File) -> io::Result<Option<u64>> {
    let metadata = file.metadata()?;
    let is_ours = metadata.uid() == rustix::process::geteuid().as_raw() && metadata.mode() & 0o077 == 0;
    Ok(is_ours.then_some(metadata.ino()))
}

/// Removes a file, or a folder with all that is in it; none there is no error.
pub fn remove_any(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn here() -> (tempfile::TempDir, Folder) {
        let folder = tempfile::tempdir().unwrap();
        let open = Folder::open(folder.path()).unwrap();
        (folder, open)
    }

    fn name(name: &str) -> &Path {
        Path::new(name)
    }

    #[test]
    fn s4_a_rename_replaces_nothing() {
        let (folder, here) = here();
        let path = |name: &str| folder.path().join(name);
        for renaming in [Folder::rename_new, Folder::rename_new_by_link] {
            fs::write(path("from"), b"new").unwrap();
            fs::write(path("to"), b"old").unwrap();
            let error = renaming(&here, name("from"), name("to")).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
            assert_eq!(fs::read(path("to")).unwrap(), b"old");
            fs::remove_file(path("to")).unwrap();
            renaming(&here, name("from"), name("to")).unwrap();
            assert_eq!(fs::read(path("to")).unwrap(), b"new");
            fs::remove_file(path("to")).unwrap();
        }
    }

    /// Somebody creates and removes the target all the while: it is never replaced by accident.
    #[test]
    fn s4_a_target_that_appears_between_check_and_rename_is_not_replaced() {
        let (folder, here) = here();
        let target = folder.path().join("to");
        let stop = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                    if fs::OpenOptions::new().write(true).create_new(true).open(&target).is_ok() {
                        fs::write(&target, b"theirs").unwrap();
                        std::thread::yield_now();
                        assert_eq!(fs::read(&target).unwrap(), b"theirs");
                        fs::remove_file(&target).unwrap();
                    }
                }
            });
            for _ in 0..10_000 {
                fs::write(folder.path().join("from"), b"ours").unwrap();
                if here.rename_new(name("from"), name("to")).is_ok() {
                    fs::remove_file(&target).unwrap();
                }
            }
            stop.store(true, std::sync::atomic::Ordering::Relaxed);
        });
    }

    #[test]
    fn s4_a_symlink_counts_as_existing_and_is_not_followed() {
        let (folder, here) = here();
        fs::write(folder.path().join("from"), b"new").unwrap();
        std::os::unix::fs::symlink("nowhere", folder.path().join("to")).unwrap();
        assert!(here.rename_new(name("from"), name("to")).is_err());
        assert!(here.create_file(name("to")).is_err());
        assert!(here.open_file(name("to")).is_err());
        assert!(here.open_folder(name("to")).is_err());
        assert!(!folder.path().join("nowhere").exists());
    }

    #[test]
    fn f06_an_entry_is_created_where_nothing_is() {
        let (folder, here) = here();
        fs::write(folder.path().join("file"), b"mine").unwrap();
        fs::create_dir(folder.path().join("folder")).unwrap();
        for there in ["file", "folder"] {
            let errors = [here.create_file(name(there)).err(), here.create_folder(name(there)).err()];
            let kinds = errors.map(|error| error.map(|error| error.kind()));
            assert_eq!(kinds, [Some(io::ErrorKind::AlreadyExists); 2], "{there}");
        }
        assert_eq!(fs::read(folder.path().join("file")).unwrap(), b"mine");
    }

    #[test]
    fn f07_a_symlink_is_made_where_nothing_is_and_may_be_there_from_before() {
        let (folder, here) = here();
        here.create_link(name("link"), "target").unwrap();
        here.create_link(name("link"), "target").unwrap();
        assert_eq!(fs::read_link(folder.path().join("link")).unwrap(), name("target"));
        fs::write(folder.path().join("file"), b"x").unwrap();
        for there in ["link", "file"] {
            let error = here.create_link(name(there), "another").unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
        }
    }

    #[test]
    fn replacing_keeps_the_old_one_aside() {
        let (folder, here) = here();
        let path = |name: &str| folder.path().join(name);
        fs::create_dir(path("to")).unwrap();
        fs::write(path("to/old"), b"old").unwrap();
        fs::write(path("from"), b"new").unwrap();
        here.replace(name("from"), name("to"), name("aside")).unwrap();
        assert_eq!(fs::read(path("to")).unwrap(), b"new");
        assert_eq!(fs::read(path("aside/old")).unwrap(), b"old");
    }

    #[test]
    fn f1_a_folder_that_is_moved_and_replaced_by_a_symlink_is_still_the_one_that_was_opened() {
        let (folder, _) = here();
        let path = |name: &str| folder.path().join(name);
        fs::create_dir(path("mine")).unwrap();
        fs::create_dir(path("victim")).unwrap();
        let mine = Folder::open(&path("mine")).unwrap();
        Folder::open(folder.path()).unwrap().rename_new(name("mine"), name("moved")).unwrap();
        std::os::unix::fs::symlink("victim", path("mine")).unwrap();
        mine.create_file(name("file")).unwrap();
        mine.create_folders(name("a/b/c")).unwrap();
        mine.rename_new(name("file"), name("final")).unwrap();
        assert_eq!(fs::read_dir(path("victim")).unwrap().count(), 0);
        assert!(path("moved/final").exists() && path("moved/a/b/c").is_dir());
    }

    #[test]
    fn what_others_can_open_is_not_private() {
        let (folder, here) = here();
        let file = here.create_file(name("file")).unwrap();
        assert_eq!(private_inode(&file).unwrap(), Some(here.inode_of(name("file")).unwrap()));
        fs::set_permissions(folder.path().join("file"), Permissions::from_mode(0o640)).unwrap();
        assert_eq!(private_inode(&file).unwrap(), None);
    }
}
