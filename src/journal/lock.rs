//! The lock of a journal: one command at a time works on what it says.

use std::fs::{File, TryLockError};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use crate::disk::durable;

/// Who only looks whether a journal is in use has its lock for a moment.
const LOCK_TIMEOUT: Duration = Duration::from_millis(200);
const PAUSE: Duration = Duration::from_millis(10);

/// Locks the journal in the folder, which is created unless it is there; `None` if a command is at work on it. Blocks.
pub(super) fn take(folder: &Path) -> io::Result<Option<File>> {
    let until = Instant::now() + LOCK_TIMEOUT;
    loop {
        durable::create_private_folder(folder)?;
        match take_at_once(folder)? {
            None if Instant::now() < until => thread::sleep(PAUSE),
            taken => return Ok(taken),
        }
    }
}

/// Locks the journal in a folder that is there, without waiting; `None` if a command is at work on it.
pub(super) fn take_at_once(folder: &Path) -> io::Result<Option<File>> {
    let file = match durable::open_private(&folder.join("lock")) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened?,
    };
    match file.try_lock() {
        // Whoever had it before may have removed it with its folder.
        Ok(()) => Ok((file.metadata()?.nlink() > 0).then_some(file)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// Whether a command is at work on it. What has no lock never came so far.
pub(super) fn is_taken(folder: &Path) -> bool {
    match durable::open_read(&folder.join("lock")) {
        Ok(file) => file.try_lock().is_err(),
        Err(error) => error.kind() != io::ErrorKind::NotFound,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn f30_who_looks_keeps_nobody_from_working_and_who_works_does() {
        let folder = tempfile::tempdir().unwrap();
        let looking = take_at_once(folder.path()).unwrap().unwrap();
        assert!(is_taken(folder.path()));
        assert!(take(folder.path()).unwrap().is_none());
        thread::scope(|scope| {
            let waiting = scope.spawn(|| take(folder.path()).unwrap());
            drop(looking);
            assert!(waiting.join().unwrap().is_some());
        });
        assert!(!is_taken(folder.path()));
    }

    #[test]
    fn f30_a_lock_that_was_removed_with_its_journal_is_none() {
        let state = tempfile::tempdir().unwrap();
        let folder = state.path().join("journal");
        let first = take(&folder).unwrap().unwrap();
        std::fs::remove_dir_all(&folder).unwrap();
        assert!(take_at_once(&folder).unwrap().is_none());
        drop(first);
        assert!(take(&folder).unwrap().is_some());
    }
}
