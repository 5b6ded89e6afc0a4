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

/// Locks the journal in the directory, which is created unless it is there; `None` if a command is at work on it. Blocks.
pub(super) fn take(directory: &Path) -> io::Result<Option<File>> {
    let until = Instant::now() + LOCK_TIMEOUT;
    loop {
        durable::create_private_directory(directory)?;
        match take_at_once(directory)? {
            None if Instant::now() < until => thread::sleep(PAUSE),
            taken => return Ok(taken),
        }
    }
}

/// Locks the journal in a directory that is there, without waiting; `None` if a command is at work on it.
pub(super) fn take_at_once(directory: &Path) -> io::Result<Option<File>> {
    let file = match durable::open_private(&directory.join("lock")) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened?,
    };
    match file.try_lock() {
        // Whoever had it before may have removed it with its directory.
        Ok(()) => Ok((file.metadata()?.nlink() > 0).then_some(file)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// Whether a command is at work on it. What has no lock never came so far.
pub(super) fn is_taken(directory: &Path) -> bool {
    match durable::open_read(&directory.join("lock")) {
        Ok(file) => file.try_lock().is_err(),
        Err(error) => error.kind() != io::ErrorKind::NotFound,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn f30_who_looks_keeps_nobody_from_working_and_who_works_does() {
        let directory = tempfile::tempdir().unwrap();
        let looking = take_at_once(directory.path()).unwrap().unwrap();
        assert!(is_taken(directory.path()));
        assert!(take(directory.path()).unwrap().is_none());
        thread::scope(|scope| {
            let waiting = scope.spawn(|| take(directory.path()).unwrap());
            drop(looking);
            assert!(waiting.join().unwrap().is_some());
        });
        assert!(!is_taken(directory.path()));
    }

    #[test]
    fn f30_a_lock_that_was_removed_with_its_journal_is_none() {
        let state = tempfile::tempdir().unwrap();
        let directory = state.path().join("journal");
        let first = take(&directory).unwrap().unwrap();
        std::fs::remove_dir_all(&directory).unwrap();
        assert!(take_at_once(&directory).unwrap().is_none());
        drop(first);
        assert!(take(&directory).unwrap().is_some());
    }
}
