//! What was begun and not finished, on either side: found by its journals.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use swarmdrop_core::duration::millis;
use swarmdrop_core::id::ShareId;

use super::{DownloadHeader, UploadHeader};
use crate::durable;
use crate::failure::Failure;
use crate::folder::remove_any;

/// A share that was being sent or fetched when its command ended, or is now.
#[derive(Debug)]
pub struct Begun {
    /// The folder of its journal.
    journal: PathBuf,
    /// When its journal was last written to, in milliseconds since the Unix epoch.
    pub touched_ms: u64,
    /// Bytes that it takes on this machine's disks.
    pub disk_bytes: u64,
    /// Whether a command is at work on it.
    pub is_in_use: bool,
    /// What its journal says.
    pub work: Work,
}

/// What was begun.
#[derive(Debug)]
pub enum Work {
    /// A share that was to be sent.
    Upload(UploadHeader),
    /// A share that was to be fetched.
    Download(DownloadHeader),
    /// Its journal cannot be read; nothing can go on with it.
    Unreadable,
}

/// The lock of a journal; there is nothing to lock if its command never came so far.
#[derive(Debug)]
struct Lock {
    _file: Option<File>,
}

impl Begun {
    /// All that was begun by this user, what was touched last first.
    pub fn list(state: &Path) -> Vec<Self> {
        let folders = |kind: &str| fs::read_dir(state.join(kind)).into_iter().flatten().flatten();
        let upload = |folder: &Path| {
            let header = fs::read(folder.join("upload.json")).ok();
            header.and_then(|json| serde_json::from_slice(&json).ok()).map(Work::Upload)
        };
        let download = |folder: &Path| {
            let header = fs::read(folder.join("download.json")).ok();
            header.and_then(|json| serde_json::from_slice(&json).ok()).map(Work::Download)
        };
        let uploads = folders("uploads").filter_map(|entry| Self::read(entry.path(), upload));
        let downloads = folders("downloads").filter_map(|entry| Self::read(entry.path(), download));
        let mut all: Vec<_> = uploads.chain(downloads).collect();
        all.sort_by_key(|begun| std::cmp::Reverse(begun.touched_ms));
        all
    }

    fn read(journal: PathBuf, work: impl Fn(&Path) -> Option<Work>) -> Option<Self> {
        if !journal.is_dir() {
            return None;
        }
        let is_in_use = lock(&journal).is_none();
        let work = work(&journal).unwrap_or(Work::Unreadable);
        let mut touched_ms = 0;
        for entry in fs::read_dir(&journal).into_iter().flatten().flatten() {
            let modified = entry.metadata().and_then(|metadata| metadata.modified()).unwrap_or(UNIX_EPOCH);
            touched_ms = touched_ms.max(modified.duration_since(UNIX_EPOCH).map_or(0, millis));
        }
        let mut begun = Self { journal, touched_ms, disk_bytes: 0, is_in_use, work };
        let temporary = begun.temporary().map_or(0, |path| disk_bytes(&path));
        begun.disk_bytes = disk_bytes(&begun.journal) + temporary;
        Some(begun)
    }

    /// The share that is fetched.
    pub const fn fetched(&self) -> Option<ShareId> {
        match &self.work {
            Work::Download(header) => Some(header.share),
            _ => None,
        }
    }

    /// Where it comes from or goes to on this machine.
    pub fn place(&self) -> Option<PathBuf> {
        match &self.work {
            Work::Upload(header) => {
                let file = header.files.iter().find(|file| file.disk.is_some())?;
                let depth = file.path.as_str().split('/').count() - 1;
                file.disk.as_ref()?.ancestors().nth(depth).map(Path::to_owned)
            }
            Work::Download(header) => Some(header.target.clone()),
            Work::Unreadable => None,
        }
    }

    /// The temporary with what was fetched so far, if it is there and is the one of this download.
    pub fn temporary(&self) -> Option<PathBuf> {
        let Work::Download(header) = &self.work else { return None };
        let name = header.temporary.file_name()?.to_str()?;
        let is_ours = name.starts_with(".swarmdrop-") && name.ends_with(".part");
        let inode = fs::symlink_metadata(&header.temporary).ok()?.ino();
        (is_ours && (header.inode == 0 || header.inode == inode)).then(|| header.temporary.clone())
    }

    /// Whether the folder in which the temporary stood is away, as on a disk that is not mounted.
    pub fn is_out_of_reach(&self) -> bool {
        let Work::Download(header) = &self.work else { return false };
        header.temporary.parent().is_some_and(|folder| !folder.is_dir())
    }

    /// Removes it, unless a command has begun to work on it. Its temporary goes first: killed in between, it is found
    /// again.
    pub fn remove(&self) -> Result<(), Failure> {
        let failed = |error: io::Error| Failure::io("remove", &self.journal, &error);
        let _lock = lock(&self.journal).ok_or_else(|| failed(io::ErrorKind::ResourceBusy.into()))?;
        if let Some(temporary) = self.temporary() {
            remove_any(&temporary).map_err(|error| Failure::io("remove", &temporary, &error))?;
        }
        fs::remove_dir_all(&self.journal).map_err(failed)?;
        durable::sync_folder(self.journal.parent().unwrap_or(&self.journal)).map_err(failed)
    }
}

fn lock(journal: &Path) -> Option<Lock> {
    match durable::open_read(&journal.join("lock")) {
        Ok(file) => file.try_lock().is_ok().then_some(Lock { _file: Some(file) }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Some(Lock { _file: None }),
        Err(_) => None,
    }
}

/// Bytes that a file, or all in a folder, take on the disk.
fn disk_bytes(path: &Path) -> u64 {
    const BLOCK_BYTES: u64 = 512;
    let Ok(metadata) = fs::symlink_metadata(path) else { return 0 };
    let own = metadata.blocks() * BLOCK_BYTES;
    if !metadata.is_dir() {
        return own;
    }
    let inside = fs::read_dir(path).into_iter().flatten().flatten();
    own + inside.map(|entry| disk_bytes(&entry.path())).sum::<u64>()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::{DownloadJournal, UploadJournal, UploadPlace};
    use swarmdrop_core::geometry::{ChunkSize, Geometry};
    use swarmdrop_core::id::Secret;
    use swarmdrop_core::name::SafePath;

    #[test]
    fn f30_what_is_in_use_is_told_from_what_was_left_and_a_strangers_file_is_not_taken_for_ours() {
        let state = tempfile::tempdir().unwrap();
        assert!(Begun::list(state.path()).is_empty());
        let name = SafePath::parse("photos").unwrap();
        let header =
            UploadHeader::new(Secret::from_bytes([1; 32]), Secret::from_bytes([2; 32]), [3; 32], 20, name);
        let folder = UploadJournal::folder(state.path(), "t", &["/photos".into()], "2");
        let upload = UploadPlace::lock(&folder).unwrap().begin(header).unwrap();
        let share = ShareId::from_bytes([1; 32]);
        let geometry = Geometry::new(10 << 16, ChunkSize::from_log2(16).unwrap()).unwrap();
        let temporary = state.path().join(".swarmdrop-0123.part");
        fs::write(&temporary, vec![7; 100_000]).unwrap();
        let target = state.path().join("got");
        let (mut journal, _) = DownloadJournal::open(state.path(), share, &target, &geometry).unwrap();
        let inode = fs::metadata(&temporary).unwrap().ino();
        journal.begin(&DownloadHeader::new(share, target.clone(), temporary.clone(), inode)).unwrap();

        assert_eq!(Begun::list(state.path()).iter().filter(|begun| begun.is_in_use).count(), 2);
        Begun::list(state.path()).iter().for_each(|begun| drop(begun.remove().unwrap_err()));
        drop((upload, journal));
        let all = Begun::list(state.path());
        assert!(all.iter().all(|begun| !begun.is_in_use));
        let download = all.iter().find(|begun| begun.fetched() == Some(share)).unwrap();
        assert_eq!((download.temporary(), download.place()), (Some(temporary.clone()), Some(target)));
        assert!(download.disk_bytes >= 100_000 && download.touched_ms > 0);

        // Another file under its name is not the one that was fetched to.
        let moved = state.path().join("moved");
        fs::hard_link(&temporary, moved).unwrap();
        fs::remove_file(&temporary).unwrap();
        fs::write(&temporary, b"a stranger's").unwrap();
        for begun in Begun::list(state.path()) {
            assert_eq!(begun.temporary(), None);
            begun.remove().unwrap();
        }
        assert!(Begun::list(state.path()).is_empty());
        assert_eq!(fs::read(&temporary).unwrap(), b"a stranger's");
    }
}
