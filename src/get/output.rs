//! Where a download's bytes go: a temporary beside the target, which takes the target's name only
//! when it is whole.

use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use rustix::fs::FallocateFlags;
use swarmdrop_core::metadata::{FileEntry, Metadata};

use crate::durable;
use crate::failure::{Failure, Kind};

/// The temporary of a download.
#[derive(Debug)]
pub(super) struct Output {
    temporary: PathBuf,
    target: PathBuf,
    metadata: Metadata,
    /// The open file of a share that is one file; the files of a folder are opened as they are written.
    single: Option<File>,
}

impl Output {
    /// Creates the temporary. The files have their full length from the start, so that a full disk
    /// shows before anything is fetched.
    pub(super) fn create(temporary: &Path, target: &Path, metadata: Metadata) -> Result<Self, Failure> {
        let failed = |error: io::Error| Failure::io("prepare", target, &error);
        if metadata.is_single_file() {
            let file = durable::create_private_file(temporary).map_err(failed)?;
            allocate(&file, metadata.size).map_err(failed)?;
        } else {
            durable::create_private_folder(temporary).map_err(failed)?;
            create_tree(temporary, &metadata).map_err(failed)?;
        }
        Self::reopen(temporary, target, metadata)
    }

    /// Opens a temporary that was created before.
    pub(super) fn reopen(temporary: &Path, target: &Path, metadata: Metadata) -> Result<Self, Failure> {
        let single = metadata.is_single_file().then(|| durable::open_write(temporary)).transpose();
        let single = single.map_err(|error| Failure::io("open", temporary, &error))?;
        Ok(Self { temporary: temporary.to_owned(), target: target.to_owned(), metadata, single })
    }

    /// The inode number of the temporary.
    pub(super) fn inode(&self) -> io::Result<u64> {
        Ok(fs::symlink_metadata(&self.temporary)?.ino())
    }

    /// Writes bytes of the stream where they belong.
    pub(super) fn write(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        if let Some(file) = &self.single {
            return file.write_all_at(bytes, offset);
        }
        self.for_each_part(offset, bytes.len(), |file, within, part| {
            durable::open_write(&self.path(file))?.write_all_at(&bytes[part], within)
        })
    }

    /// Reads bytes of the stream back.
    pub(super) fn read(&self, offset: u64, bytes: &mut [u8]) -> io::Result<()> {
        if let Some(file) = &self.single {
            return file.read_exact_at(bytes, offset);
        }
        self.for_each_part(offset, bytes.len(), |file, within, part| {
            durable::open_write(&self.path(file))?.read_exact_at(&mut bytes[part], within)
        })
    }

    /// Gives the temporary its modes, times and, last, its name. Everything is on stable storage
    /// before the name changes.
    pub(super) fn finish(self, replace: bool) -> Result<(), Failure> {
        let failed = |error: io::Error| Failure::io("save", &self.target, &error);
        let umask = umask();
        for file in &self.metadata.files {
            let handle = durable::open_write(&self.path(file)).map_err(failed)?;
            let mode = if file.executable { 0o777 } else { 0o666 };
            handle.set_permissions(Permissions::from_mode(mode & !umask)).map_err(failed)?;
            handle.set_modified(SystemTime::from(file.modified)).map_err(failed)?;
            if self.single.is_some() || !cfg!(target_os = "linux") {
                handle.sync_all().map_err(failed)?;
            }
        }
        if self.single.is_none() {
            self.finish_folders(umask).map_err(failed)?;
        }
        let renamed = if replace {
            let aside = self.temporary.with_extension("old");
            durable::replace(&self.temporary, &self.target, &aside).and_then(|()| remove_any(&aside))
        } else {
            durable::rename_new(&self.temporary, &self.target)
        };
        renamed.map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => exists(&self.target),
            _ => failed(error),
        })?;
        let parent = self.target.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        durable::sync_folder(parent).map_err(failed)
    }

    /// Folders open up only now: while files arrive, nobody else looks in.
    fn finish_folders(&self, umask: u32) -> io::Result<()> {
        let mut folders = vec![self.temporary.clone()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(&folder)? {
                let entry = entry?;
                if entry.file_type()?.is_dir() {
                    folders.push(entry.path());
                }
            }
            fs::set_permissions(&folder, Permissions::from_mode(0o777 & !umask))?;
        }
        #[cfg(target_os = "linux")]
        durable::sync_file_system(&File::open(&self.temporary)?)?;
        Ok(())
    }

    /// Calls `act` with each file that a run of the stream touches, the offset in it, and the run's part.
    fn for_each_part(
        &self,
        offset: u64,
        len: usize,
        mut act: impl FnMut(&FileEntry, u64, std::ops::Range<usize>) -> io::Result<()>,
    ) -> io::Result<()> {
        let files = &self.metadata.files;
        let end = offset + len as u64;
        let first = files.partition_point(|file| file.offset <= offset).saturating_sub(1);
        for file in files[first..].iter().take_while(|file| file.offset < end) {
            let from = offset.max(file.offset);
            let to = end.min(file.offset + file.size);
            if from < to {
                let part = |at: u64| usize::try_from(at - offset).map_err(io::Error::other);
                act(file, from - file.offset, part(from)?..part(to)?)?;
            }
        }
        Ok(())
    }

    fn path(&self, file: &FileEntry) -> PathBuf {
        below(&self.temporary, file.path.below(&self.metadata.original_filename))
    }
}

/// The failure for a target that is in the way.
pub(super) fn exists(target: &Path) -> Failure {
    Failure::new(Kind::Exists, format!("{} exists already", target.display()))
        .next("Nothing was overwritten. Give another place with -o, or replace it with --force.")
}

/// Removes a file or a folder with all that is in it; none there is no error.
pub(super) fn remove_any(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

fn create_tree(root: &Path, metadata: &Metadata) -> io::Result<()> {
    let top = &metadata.original_filename;
    for dir in &metadata.dirs {
        durable::create_private_folder(&below(root, dir.below(top)))?;
    }
    let mut last_parent = PathBuf::new();
    for file in &metadata.files {
        let path = below(root, file.path.below(top));
        let parent = path.parent().unwrap_or(root);
        if parent != last_parent {
            durable::create_private_folder(parent)?;
            parent.clone_into(&mut last_parent);
        }
        allocate(&durable::create_private_file(&path)?, file.size)?;
    }
    Ok(())
}

fn below(root: &Path, rest: Option<&str>) -> PathBuf {
    match rest {
        Some(rest) if !rest.is_empty() => root.join(rest),
        _ => root.to_owned(),
    }
}

/// Reserves the file's space where the file system can, else only sets its length.
fn allocate(file: &File, size: u64) -> io::Result<()> {
    if size == 0 {
        return Ok(());
    }
    match rustix::fs::fallocate(file, FallocateFlags::empty(), 0, size) {
        Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS) => file.set_len(size),
        result => Ok(result?),
    }
}

/// The process's file mode creation mask, which can only be read by setting it or, on Linux, here.
fn umask() -> u32 {
    const USUAL: u32 = 0o022;
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("Umask:"));
    line.and_then(|mask| u32::from_str_radix(mask.trim(), 8).ok()).unwrap_or(USUAL)
}
