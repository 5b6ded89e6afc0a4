//! An open directory. What is done in it is done in this very directory, whatever happens to its path meanwhile:
//! in a directory that others can write to, somebody may put a symlink where it was.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{
    AtFlags, CWD, Dev, FileType, Gid, Mode, OFlags, RenameFlags, Stat, chownat, fstat, fstatvfs, linkat,
    mkdirat, openat, readlinkat, renameat, renameat_with, statat, symlinkat, unlinkat,
};
#[cfg(target_os = "linux")]
use rustix::fs::{ResolveFlags, StatxAttributes, StatxFlags, openat2, statx};
use rustix::io::Errno;

use super::durable;
use super::file_system::{
    Lack, has_loose_inodes, hold, is_said_to_lack, number, private_inode, refuse_name, set_mode,
    set_mode_unopened,
};

/// How files and directories are opened here: never through a symlink.
const NO_FOLLOW: OFlags = OFlags::NOFOLLOW.union(OFlags::CLOEXEC);
/// Enough to look at an entry, or to go on from it, which takes no rights to it where the system knows such a thing.
#[cfg(target_os = "linux")]
const LOOK: OFlags = OFlags::PATH;
#[cfg(not(target_os = "linux"))]
const LOOK: OFlags = OFlags::RDONLY.union(OFlags::NONBLOCK);
const PRIVATE_FILE: Mode = Mode::RUSR.union(Mode::WUSR);
const PRIVATE_DIR: Mode = Mode::RWXU;

/// An open directory. Paths given to its methods are relative to it.
#[derive(Debug)]
pub struct Dir(File);

impl Dir {
    /// Opens the directory at a path that the user chose.
    pub fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Self(openat(CWD, path, flags, Mode::empty())?.into()))
    }

    /// Opens a directory in this one.
    pub fn open_dir(&self, path: &Path) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | NO_FOLLOW;
        Ok(Self(self.open_below(path, flags, Mode::empty())?))
    }

    /// Opens a directory in this one only for what is done below it: that takes no right to list it.
    pub fn enter_dir(&self, path: &Path) -> io::Result<Self> {
        Ok(Self(self.open_below(path, LOOK | OFlags::DIRECTORY | NO_FOLLOW, Mode::empty())?))
    }

    /// Opens what is below the directory: no symlink is followed, wherever on the way it stands.
    fn open_below(&self, path: &Path, flags: OFlags, mode: Mode) -> io::Result<File> {
        // To one name there is only one step.
        let opened = if is_one_name(path) { None } else { self.open_in_one_step(path, flags, mode) };
        opened.unwrap_or_else(|| self.open_step_by_step(path, flags, mode))
    }

    /// Has the system see to it; `None` where it does not know how: kernels before Linux 5.6, and those who keep
    /// processes from calls that they do not know.
    #[cfg(target_os = "linux")]
    fn open_in_one_step(&self, path: &Path, flags: OFlags, mode: Mode) -> Option<io::Result<File>> {
        if is_said_to_lack(Lack::OneStep) {
            return None;
        }
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
        match openat2(&self.0, path, flags, mode, resolve) {
            Err(Errno::NOSYS | Errno::PERM | Errno::INVAL | Errno::OPNOTSUPP) => None,
            opened => Some(opened.map(File::from).map_err(io::Error::from)),
        }
    }

    /// Has the system see to it; `None`: it does not know how.
    #[cfg(not(target_os = "linux"))]
    fn open_in_one_step(&self, _: &Path, _: OFlags, _: Mode) -> Option<io::Result<File>> {
        None
    }

    /// Opens each directory on the way in the one above it, none of them through a symlink, and what the path names last.
    fn open_step_by_step(&self, path: &Path, flags: OFlags, mode: Mode) -> io::Result<File> {
        let mut above: Option<File> = None;
        let mut left = path.components().filter(|part| *part != Component::CurDir).peekable();
        while let Some(part) = left.next() {
            // What leads up or to the root leads out of the directory.
            let Component::Normal(name) = part else { return Err(Errno::XDEV.into()) };
            let directory = above.as_ref().unwrap_or(&self.0);
            let is_last = left.peek().is_none();
            let step = if is_last { flags } else { LOOK | OFlags::DIRECTORY };
            let opened = openat(directory, name, step | NO_FOLLOW, mode);
            if !is_last && matches!(opened, Err(Errno::NOTDIR)) && is_symlink(directory, Path::new(name)) {
                return Err(Errno::LOOP.into());
            }
            let opened = File::from(opened?);
            if is_last {
                return Ok(opened);
            }
            above = Some(opened);
        }
        Ok(openat(&self.0, path, flags, mode)?.into())
    }

    /// Does something to an entry, given by the directory that it stands in and its name there.
    fn at<T>(&self, path: &Path, act: impl FnOnce(&File, &Path) -> rustix::io::Result<T>) -> io::Result<T> {
        let above = path.parent().filter(|above| !above.as_os_str().is_empty());
        let (Some(above), Some(name)) = (above, path.file_name()) else { return Ok(act(&self.0, path)?) };
        Ok(act(&self.enter_dir(above)?.0, Path::new(name))?)
    }

    /// Creates a directory that must not exist yet and that only its owner can enter.
    pub fn create_dir(&self, path: &Path) -> io::Result<Self> {
        self.make_dir(path, PRIVATE_DIR.as_raw_mode())?;
        self.open_dir(path)
    }

    /// Creates a directory with those above it, unless they are there.
    pub fn create_dirs(&self, path: &Path) -> io::Result<()> {
        if path.as_os_str().is_empty() {
            return Ok(());
        }
        let make = || self.make_dir(path, PRIVATE_DIR.as_raw_mode());
        let Err(error) = make() else { return Ok(()) };
        match (error.kind(), path.parent()) {
            (io::ErrorKind::AlreadyExists, _) => Ok(()),
            (io::ErrorKind::NotFound, Some(above)) if !above.as_os_str().is_empty() => {
                self.create_dirs(above)?;
                make()
            }
            _ => Err(error),
        }
    }

    /// Creates a file that must not exist yet and that only its owner can read.
    pub fn create_file(&self, path: &Path) -> io::Result<File> {
        self.create_file_with(path, PRIVATE_FILE.as_raw_mode())
    }

    /// Creates a file that must not exist yet, with this mode, of which the process's file mode creation mask takes
    /// away.
    pub fn create_file_with(&self, path: &Path, mode: u32) -> io::Result<File> {
        refuse_name(path)?;
        if is_said_to_lack(Lack::Room) {
            return Err(Errno::NOSPC.into());
        }
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | NO_FOLLOW;
        self.open_below(path, flags, Mode::from_raw_mode(mode))
    }

    /// Opens a file for reading and writing.
    pub fn open_file(&self, path: &Path) -> io::Result<File> {
        let flags = OFlags::RDWR | OFlags::NONBLOCK | NO_FOLLOW;
        self.open_below(path, flags, Mode::empty())
    }

    /// Creates a directory with this mode, of which the process's file mode creation mask takes away.
    pub fn make_dir(&self, path: &Path, mode: u32) -> io::Result<()> {
        refuse_name(path)?;
        self.at(path, |above, name| mkdirat(above, name, Mode::from_raw_mode(mode)))
    }

    /// The names of all entries, and what each is.
    pub fn entries(&self) -> io::Result<Vec<(OsString, FileType)>> {
        let mut entries = Vec::new();
        for entry in rustix::fs::Dir::read_from(&self.0)? {
            let entry = entry?;
            let name = OsStr::from_bytes(entry.file_name().to_bytes());
            if name != "." && name != ".." {
                let kind = match entry.file_type() {
                    // Not every file system says it with the name. What is gone meanwhile is none.
                    FileType::Unknown => self.kind_of(Path::new(name))?,
                    kind => Some(kind),
                };
                entries.extend(kind.map(|kind| (name.to_owned(), kind)));
            }
        }
        Ok(entries)
    }

    /// What an entry is, which may be a symlink; `None` if there is none.
    pub fn kind_of(&self, name: &Path) -> io::Result<Option<FileType>> {
        Ok(self.look_at(name)?.map(|stat| FileType::from_raw_mode(stat.st_mode)))
    }

    /// Bytes of a file; `None` if there is none.
    pub fn len_of(&self, name: &Path) -> io::Result<Option<u64>> {
        Ok(self.kind_and_len_of(name)?.filter(|(kind, _)| kind.is_file()).map(|(_, len)| len))
    }

    /// What an entry is, which may be a symlink, and how many bytes it has if it is a file; `None` if there is none.
    pub fn kind_and_len_of(&self, name: &Path) -> io::Result<Option<(FileType, u64)>> {
        let kind_and_len =
            |stat: Stat| (FileType::from_raw_mode(stat.st_mode), u64::try_from(stat.st_size).unwrap_or(0));
        Ok(self.look_at(name)?.map(kind_and_len))
    }

    /// Whether what an entry leads to has other names, too.
    pub fn has_other_names(&self, path: &Path) -> io::Result<bool> {
        Ok(self.stat(path)?.st_nlink > 1)
    }

    /// Creates a symlink that must not exist yet, unless it leads there already.
    pub fn create_link(&self, path: &Path, target: &str) -> io::Result<()> {
        refuse_name(path)?;
        self.at(path, |above, name| match symlinkat(target, above, name) {
            Err(Errno::EXIST)
                if readlinkat(above, name, Vec::new()).is_ok_and(|is| is.as_bytes() == target.as_bytes()) =>
            {
                Ok(())
            }
            result => result,
        })
    }

    /// The inode number of an entry, which may be a symlink.
    pub fn inode_of(&self, name: &Path) -> io::Result<u64> {
        Ok(number(statat(&self.0, name, AtFlags::SYMLINK_NOFOLLOW)?.st_ino))
    }

    fn stat(&self, path: &Path) -> io::Result<Stat> {
        self.at(path, |above, name| statat(above, name, AtFlags::SYMLINK_NOFOLLOW))
    }

    fn look_at(&self, path: &Path) -> io::Result<Option<Stat>> {
        match self.stat(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            result => Ok(Some(result?)),
        }
    }

    /// The inode number of the directory, if it is this user's alone.
    pub fn private_inode(&self) -> io::Result<Option<u64>> {
        private_inode(&self.0)
    }

    /// Sets the mode of a directory in this one.
    pub fn set_dir_mode(&self, path: &Path, mode: u32) -> io::Result<()> {
        self.open_dir(path)?.set_mode(mode)
    }

    /// The permissions of an entry.
    pub fn mode_of(&self, path: &Path) -> io::Result<u32> {
        Ok(self.stat(path)?.st_mode & 0o777)
    }

    /// Where a symlink leads.
    pub fn target_of(&self, name: &Path) -> io::Result<PathBuf> {
        Ok(OsStr::from_bytes(readlinkat(&self.0, name, Vec::new())?.to_bytes()).into())
    }

    /// Removes an entry that is no directory.
    pub fn remove_file(&self, name: &Path) -> io::Result<()> {
        Ok(unlinkat(&self.0, name, AtFlags::empty())?)
    }

    /// Sets the directory's own mode. That it hands its group on to what is made in it, as it was itself handed on to it,
    /// stays.
    pub fn set_mode(&self, mode: u32) -> io::Result<()> {
        let handed_on = self.0.metadata()?.mode() & Mode::SGID.as_raw_mode();
        set_mode(&self.0, mode | handed_on)
    }

    /// Sets the permissions of an entry that is no symlink, although its owner may not be able to open it.
    pub fn unlock(&self, path: &Path, mode: u32) -> io::Result<()> {
        set_mode_unopened(&self.open_below(path, LOOK | NO_FOLLOW, Mode::empty())?, mode)
    }

    /// Takes an entry back from others, who may be able to open it by now, if it is this user's, and the one with this
    /// inode number. Returns whether they could.
    pub fn take_back(&self, name: &Path, inode: u64, mode: u32) -> io::Result<bool> {
        let Some(stat) = self.look_at(name)? else { return Ok(false) };
        let is_directory = FileType::from_raw_mode(stat.st_mode).is_dir();
        let is_it = number(stat.st_ino) == inode
            && stat.st_uid == rustix::process::geteuid().as_raw()
            && (is_directory || stat.st_nlink <= 1);
        if !is_it || stat.st_mode & 0o777 == mode {
            return Ok(false);
        }
        self.unlock(name, mode)?;
        Ok(stat.st_mode & 0o077 != 0)
    }

    /// The number of the file system that an entry is on.
    pub fn device_of(&self, path: &Path) -> io::Result<Dev> {
        Ok(self.stat(path)?.st_dev)
    }

    /// Whether an entry is where something is mounted, be it of the same file system or a single file: no rename leads
    /// there. A system that cannot tell says no, and refuses the rename.
    #[cfg(target_os = "linux")]
    pub fn is_mounted(&self, path: &Path) -> io::Result<bool> {
        let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT;
        let told = self.at(path, |above, name| match statx(above, name, flags, StatxFlags::empty()) {
            Err(Errno::NOSYS | Errno::PERM) => Ok(None),
            told => told.map(Some),
        })?;
        Ok(told.is_some_and(|told| told.stx_attributes.contains(StatxAttributes::MOUNT_ROOT)))
    }

    /// Whether an entry is where something is mounted: only Linux tells.
    #[cfg(not(target_os = "linux"))]
    pub fn is_mounted(&self, _: &Path) -> io::Result<bool> {
        Ok(false)
    }

    /// Whether what is made in this directory has the group that it has in the other.
    pub fn hands_on_like(&self, other: &Self) -> io::Result<bool> {
        Ok(self.group_handed_on()? == other.group_handed_on()?)
    }

    /// The group that the directory hands on to what is made in it, if it does.
    pub fn group_handed_on(&self) -> io::Result<Option<Gid>> {
        let stat = fstat(&self.0)?;
        let hands_on = stat.st_mode & Mode::SGID.as_raw_mode() != 0;
        Ok(hands_on.then(|| Gid::from_raw(stat.st_gid)))
    }

    /// Gives the owner, and nobody else, all rights to this directory and those in it. The one above goes first: nobody
    /// else can put a symlink in the place of one below meanwhile.
    fn unlock_all(&self) -> io::Result<()> {
        set_mode(&self.0, PRIVATE_DIR.as_raw_mode())?;
        for (name, kind) in self.entries()? {
            if kind == FileType::Directory {
                let name = Path::new(&name);
                match self.unlock(name, PRIVATE_DIR.as_raw_mode()) {
                    // What is gone meanwhile is none.
                    Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                    unlocked => unlocked?,
                }
                self.open_dir(name)?.unlock_all()?;
            }
        }
        Ok(())
    }

    /// Holds the directory as long as it is open; false if somebody else does.
    pub fn hold(&self) -> bool {
        hold(&self.0)
    }

    /// Whether what is in it may have another inode number when it is opened again.
    pub fn has_loose_inodes(&self) -> io::Result<bool> {
        has_loose_inodes(&self.0)
    }

    /// Whether the file system says that it takes names of so many bytes, and has room for so many more entries. One whose
    /// entries are bounded by nothing but their bytes does not say for how many.
    pub fn takes(&self, name_bytes: u64, entries: u64) -> io::Result<bool> {
        let says = fstatvfs(&self.0)?;
        Ok(name_bytes <= says.f_namemax && (says.f_files == 0 || entries <= says.f_favail))
    }

    /// Makes what was renamed or created in the directory survive a crash, where the file system has a way.
    pub fn sync(&self) -> io::Result<()> {
        durable::sync_open_directory(&self.0)
    }

    /// Makes everything on the directory's file system survive a crash.
    #[cfg(target_os = "linux")]
    pub fn sync_file_system(&self) -> io::Result<()> {
        durable::sync_file_system(&self.0)
    }

    /// Moves an entry into a directory of the same file system; an existing target is an error of kind `AlreadyExists`,
    /// even if it appeared this very moment, where the file system can tell.
    pub fn rename_new(&self, from: &Path, into: &Self, to: &Path) -> io::Result<()> {
        refuse_name(to)?;
        if is_said_to_lack(Lack::NoReplace) {
            return self.rename_new_by_link(from, into, to);
        }
        match renameat_with(&self.0, from, &into.0, to, RenameFlags::NOREPLACE) {
            Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => self.rename_new_by_link(from, into, to),
            result => Ok(result?),
        }
    }

    /// Moves an entry into a directory of the same file system. A file replaces a file there in one step.
    pub fn rename(&self, from: &Path, into: &Self, to: &Path) -> io::Result<()> {
        Ok(renameat(&self.0, from, &into.0, to)?)
    }

    /// Gives an entry a group, if this user may.
    pub fn set_group(&self, name: &Path, group: Gid) {
        let _ = chownat(&self.0, name, None, Some(group), AtFlags::SYMLINK_NOFOLLOW);
    }

    /// Removes a directory in this one, which must be empty.
    pub fn remove_dir(&self, name: &Path) -> io::Result<()> {
        Ok(unlinkat(&self.0, name, AtFlags::REMOVEDIR)?)
    }

    /// For file systems without a rename that refuses to replace: a hard link refuses, too.
    fn rename_new_by_link(&self, from: &Path, into: &Self, to: &Path) -> io::Result<()> {
        if is_said_to_lack(Lack::Links) || self.kind_of(from)? == Some(FileType::Directory) {
            return self.rename_new_by_look(from, into, to);
        }
        match linkat(&self.0, from, &into.0, to, AtFlags::empty()) {
            Err(Errno::PERM | Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL | Errno::MLINK) => {
                self.rename_new_by_look(from, into, to)
            }
            result => {
                result?;
                Ok(unlinkat(&self.0, from, AtFlags::empty())?)
            }
        }
    }

    /// For what cannot be linked, as directories: a short moment between look and rename remains, in which what appears
    /// is replaced if it is a file or an empty directory.
    fn rename_new_by_look(&self, from: &Path, into: &Self, to: &Path) -> io::Result<()> {
        if into.kind_of(to)?.is_some() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        self.rename(from, into, to)
    }
}

fn is_one_name(path: &Path) -> bool {
    let mut parts = path.components();
    matches!((parts.next(), parts.next()), (Some(Component::Normal(_)), None))
}

fn is_symlink(directory: &File, name: &Path) -> bool {
    let stat = statat(directory, name, AtFlags::SYMLINK_NOFOLLOW);
    stat.is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode).is_symlink())
}

/// Removes a file, or a directory with all that is in it, although its owner may not write to the directories; none there
/// is no error.
pub fn remove_any(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_dir() => match fs::remove_dir_all(path) {
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                let flags = OFlags::RDONLY | OFlags::DIRECTORY | NO_FOLLOW;
                Dir(openat(CWD, path, flags, Mode::empty())?.into()).unlock_all()?;
                fs::remove_dir_all(path)
            }
            result => result,
        },
        Ok(_) => fs::remove_file(path),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt;

    fn here() -> (tempfile::TempDir, Dir) {
        let directory = tempfile::tempdir().unwrap();
        let open = Dir::open(directory.path()).unwrap();
        (directory, open)
    }

    fn name(name: &str) -> &Path {
        Path::new(name)
    }

    #[test]
    fn s4_a_rename_replaces_nothing() {
        let (directory, here) = here();
        let path = |name: &str| directory.path().join(name);
        for renaming in [Dir::rename_new, Dir::rename_new_by_link, Dir::rename_new_by_look] {
            fs::write(path("from"), b"new").unwrap();
            fs::write(path("to"), b"old").unwrap();
            let error = renaming(&here, name("from"), &here, name("to")).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
            assert_eq!(fs::read(path("to")).unwrap(), b"old");
            fs::remove_file(path("to")).unwrap();
            renaming(&here, name("from"), &here, name("to")).unwrap();
            assert_eq!(fs::read(path("to")).unwrap(), b"new");
            fs::remove_file(path("to")).unwrap();
        }
    }

    /// Somebody creates and removes the target all the while: it is never replaced by accident.
    #[test]
    fn s4_a_target_that_appears_between_check_and_rename_is_not_replaced() {
        let (directory, here) = here();
        let target = directory.path().join("to");
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
                fs::write(directory.path().join("from"), b"ours").unwrap();
                if here.rename_new(name("from"), &here, name("to")).is_ok() {
                    fs::remove_file(&target).unwrap();
                }
            }
            stop.store(true, std::sync::atomic::Ordering::Relaxed);
        });
    }

    #[test]
    fn s4_a_symlink_counts_as_existing_and_is_not_followed() {
        let (directory, here) = here();
        fs::write(directory.path().join("from"), b"new").unwrap();
        std::os::unix::fs::symlink("nowhere", directory.path().join("to")).unwrap();
        assert!(here.rename_new(name("from"), &here, name("to")).is_err());
        assert!(here.create_file(name("to")).is_err());
        assert!(here.open_file(name("to")).is_err());
        assert!(here.open_dir(name("to")).is_err());
        assert!(!directory.path().join("nowhere").exists());
    }

    #[test]
    fn f06_an_entry_is_created_where_nothing_is() {
        let (directory, here) = here();
        fs::write(directory.path().join("file"), b"mine").unwrap();
        fs::create_dir(directory.path().join("folder")).unwrap();
        for there in ["file", "folder"] {
            let errors = [here.create_file(name(there)).err(), here.create_dir(name(there)).err()];
            let kinds = errors.map(|error| error.map(|error| error.kind()));
            assert_eq!(kinds, [Some(io::ErrorKind::AlreadyExists); 2], "{there}");
        }
        assert_eq!(fs::read(directory.path().join("file")).unwrap(), b"mine");
    }

    #[test]
    fn f07_a_symlink_is_made_where_nothing_is_and_may_be_there_from_before() {
        let (directory, here) = here();
        here.create_link(name("link"), "target").unwrap();
        here.create_link(name("link"), "target").unwrap();
        assert_eq!(fs::read_link(directory.path().join("link")).unwrap(), name("target"));
        fs::write(directory.path().join("file"), b"x").unwrap();
        for there in ["link", "file"] {
            let error = here.create_link(name(there), "another").unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
        }
    }

    #[test]
    fn a_file_system_says_how_long_its_names_are() {
        let (_directory, here) = here();
        assert!(here.takes(1, 1).unwrap());
        assert!(!here.takes(1 << 20, 1).unwrap());
    }

    #[test]
    fn f39_a_folder_that_hands_its_group_on_still_does_after_its_mode_was_set() {
        let (directory, here) = here();
        fs::set_permissions(directory.path(), Permissions::from_mode(0o2700)).unwrap();
        let made = here.create_dir(name("new")).unwrap();
        made.set_mode(0o755).unwrap();
        assert_eq!(directory.path().join("new").metadata().unwrap().mode() & 0o7777, 0o2755);
    }

    #[test]
    fn f30_what_its_owner_may_not_write_to_is_removed() {
        let (directory, here) = here();
        let path = |name: &str| directory.path().join(name);
        let set = |name: &str, mode| fs::set_permissions(path(name), Permissions::from_mode(mode)).unwrap();
        let mode = |name: &str| path(name).metadata().unwrap().mode() & 0o777;
        fs::create_dir_all(path("tree/below/deep")).unwrap();
        fs::create_dir(path("outside")).unwrap();
        fs::write(path("tree/below/file"), b"x").unwrap();
        std::os::unix::fs::symlink("../outside", path("tree/link")).unwrap();
        let all = [("outside", 0o555), ("tree/below/deep", 0), ("tree/below", 0o111), ("tree", 0o555)];
        all.iter().for_each(|(name, mode)| set(name, *mode));
        here.open_dir(name("tree")).unwrap().unlock_all().unwrap();
        assert_eq!(
            ["tree", "tree/below", "tree/below/deep", "outside"].map(mode),
            [0o700, 0o700, 0o700, 0o555]
        );
        all.iter().for_each(|(name, mode)| set(name, *mode));
        remove_any(&path("tree")).unwrap();
        assert!(!path("tree").exists() && path("outside").exists());
    }

    #[test]
    fn f39_what_is_unlocked_hands_its_group_on_as_before() {
        let (directory, here) = here();
        fs::create_dir(directory.path().join("locked")).unwrap();
        fs::set_permissions(directory.path().join("locked"), Permissions::from_mode(0o2050)).unwrap();
        here.unlock(name("locked"), 0o700).unwrap();
        assert_eq!(directory.path().join("locked").metadata().unwrap().mode() & 0o7777, 0o2700);
    }

    #[test]
    fn f1_what_is_taken_back_is_the_users_own_and_the_one_that_was_left() {
        let (directory, here) = here();
        let file = directory.path().join("file");
        let mode = || file.metadata().unwrap().mode() & 0o777;
        fs::write(&file, b"x").unwrap();
        fs::set_permissions(&file, Permissions::from_mode(0o644)).unwrap();
        let inode = here.inode_of(name("file")).unwrap();
        assert!(!here.take_back(name("none"), inode, 0o600).unwrap());
        assert!(!here.take_back(name("file"), inode + 1, 0o600).unwrap());
        fs::hard_link(&file, directory.path().join("own")).unwrap();
        assert!(!here.take_back(name("file"), inode, 0o600).unwrap());
        assert_eq!(mode(), 0o644, "what is or may be another is left as it is");
        fs::remove_file(directory.path().join("own")).unwrap();
        assert!(here.take_back(name("file"), inode, 0o600).unwrap());
        assert_eq!(mode(), 0o600);
        assert!(!here.take_back(name("file"), inode, 0o600).unwrap(), "nobody else could open it");
    }

    #[test]
    fn f1_a_symlink_on_the_way_is_not_followed() {
        let (directory, here) = here();
        let outside = tempfile::tempdir().unwrap();
        fs::write(outside.path().join("file"), b"mine").unwrap();
        fs::create_dir(outside.path().join("sub")).unwrap();
        fs::set_permissions(outside.path().join("sub"), Permissions::from_mode(0o750)).unwrap();
        std::os::unix::fs::symlink(outside.path(), directory.path().join("d")).unwrap();
        assert!(here.open_file(name("d/file")).is_err());
        assert!(here.create_file(name("d/new")).is_err());
        assert!(here.create_dir(name("d/new")).is_err());
        assert!(here.create_dirs(name("d/new/sub")).is_err());
        assert!(here.create_link(name("d/new"), "file").is_err());
        assert!(here.kind_of(name("d/file")).is_err());
        assert!(here.set_dir_mode(name("d/sub"), 0o700).is_err());
        assert!(here.unlock(name("d/sub"), 0o700).is_err());
        assert!(here.unlock(name("d"), 0o700).is_err());
        assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 2);
        assert_eq!(outside.path().join("sub").metadata().unwrap().mode() & 0o777, 0o750);
    }

    #[test]
    fn f1_step_by_step_a_path_leads_where_it_leads_in_one_step_and_through_no_symlink() {
        let (directory, here) = here();
        let outside = tempfile::tempdir().unwrap();
        fs::create_dir_all(directory.path().join("a/b/c")).unwrap();
        fs::create_dir(outside.path().join("sub")).unwrap();
        for path in
            [directory.path().join("a/b/file"), outside.path().join("file"), outside.path().join("sub/file")]
        {
            fs::write(path, b"x").unwrap();
        }
        for (link, to) in [
            ("out", outside.path()),
            ("a/out", outside.path()),
            ("in", name("a")),
            ("a/b/link", name("file")),
        ] {
            std::os::unix::fs::symlink(to, directory.path().join(link)).unwrap();
        }
        let new = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | NO_FOLLOW;
        let kinds = [
            ("folder", OFlags::RDONLY | OFlags::DIRECTORY | NO_FOLLOW),
            ("file", OFlags::RDWR | OFlags::NONBLOCK | NO_FOLLOW),
            ("look", LOOK | NO_FOLLOW),
            ("above", LOOK | OFlags::DIRECTORY | NO_FOLLOW),
            ("new", new),
        ];
        let paths = [
            "a",
            "a/b",
            "a/b/file",
            "a/./b/c",
            "a/b/link",
            "a/b/link/x",
            "a/b/file/x",
            "none",
            "none/x",
            "a/b/none",
            "out",
            "out/file",
            "out/sub",
            "out/sub/file",
            "a/out/file",
            "a/out/sub/file",
            "in",
            "in/b",
            "in/b/file",
            "..",
            "../x",
            "a/../../x",
            "/",
            "/etc",
            "",
            ".",
        ];
        let outcome = |opened: io::Result<File>| match opened {
            Ok(file) => Ok(file.metadata().unwrap().ino()),
            Err(error) => Err(error.raw_os_error()),
        };
        let has_one_step = here.open_in_one_step(name("."), kinds[0].1, Mode::empty()).is_some();
        for (kind, flags) in kinds {
            for path in paths.map(name) {
                let mode = if flags == new { PRIVATE_FILE } else { Mode::empty() };
                let in_one = here.open_in_one_step(path, flags, mode).map(outcome);
                assert_eq!(in_one.is_some(), has_one_step, "{kind} {path:?}");
                if in_one.as_ref().is_some_and(Result::is_ok) && flags == new {
                    fs::remove_file(directory.path().join(path)).unwrap();
                }
                let in_steps = outcome(here.open_step_by_step(path, flags, mode));
                if in_steps.is_ok() && flags == new {
                    fs::remove_file(directory.path().join(path)).unwrap();
                } else {
                    let is_same = in_one.is_none() || in_one.as_ref() == Some(&in_steps);
                    assert!(is_same, "{kind} {path:?}: {in_one:?} {in_steps:?}");
                }
            }
        }
        for path in
            ["out/file", "out/sub/file", "a/out/sub/file", "in/b/file", "a/b/link", "../x", "/etc/passwd"]
        {
            assert!(here.open_step_by_step(name(path), kinds[1].1, Mode::empty()).is_err(), "{path}");
            assert!(here.open_step_by_step(name(path), new, PRIVATE_FILE).is_err(), "{path}");
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn f39_what_is_mounted_is_told_from_what_stands_in_its_folder() {
        let root = Dir::open(name("/")).unwrap();
        assert!(root.is_mounted(name("proc")).unwrap());
        let (directory, here) = here();
        fs::create_dir(directory.path().join("own")).unwrap();
        fs::write(directory.path().join("own/file"), b"x").unwrap();
        assert!(!here.is_mounted(name("own")).unwrap() && !here.is_mounted(name("own/file")).unwrap());
        assert!(here.is_mounted(name("none")).is_err());
    }

    #[test]
    fn f1_a_folder_that_is_moved_and_replaced_by_a_symlink_is_still_the_one_that_was_opened() {
        let (directory, _) = here();
        let path = |name: &str| directory.path().join(name);
        fs::create_dir(path("mine")).unwrap();
        fs::create_dir(path("victim")).unwrap();
        let mine = Dir::open(&path("mine")).unwrap();
        let here = Dir::open(directory.path()).unwrap();
        here.rename_new(name("mine"), &here, name("moved")).unwrap();
        std::os::unix::fs::symlink("victim", path("mine")).unwrap();
        mine.create_file(name("file")).unwrap();
        mine.create_dirs(name("a/b/c")).unwrap();
        mine.rename_new(name("file"), &mine, name("final")).unwrap();
        assert_eq!(fs::read_dir(path("victim")).unwrap().count(), 0);
        assert!(path("moved/final").exists() && path("moved/a/b/c").is_dir());
    }

    #[test]
    fn what_others_can_open_is_not_private() {
        let (directory, here) = here();
        let file = here.create_file(name("file")).unwrap();
        assert_eq!(private_inode(&file).unwrap(), Some(here.inode_of(name("file")).unwrap()));
        fs::set_permissions(directory.path().join("file"), Permissions::from_mode(0o640)).unwrap();
        assert_eq!(private_inode(&file).unwrap(), None);
    }
}
