//! A file of fixed-size records that only grows. A record that a crash cut short is dropped.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;

use parking_lot::Mutex;

use crate::disk::durable;

/// The file, open for appending records of `N` bytes.
#[derive(Debug)]
pub(super) struct Records<const N: usize> {
    file: File,
    /// Bytes that were written.
    written: Mutex<u64>,
    /// Bytes that are on stable storage.
    synced: Mutex<u64>,
}

impl<const N: usize> Records<N> {
    /// Opens or creates the file, which starts with `magic`; the records that it holds.
    pub(super) fn open(path: &Path, magic: &[u8]) -> io::Result<(Self, Vec<[u8; N]>)> {
        let mut file = durable::open_private(path)?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        let records = match bytes.strip_prefix(magic) {
            Some(rest) => rest.as_chunks().0.to_vec(),
            None if bytes.len() < magic.len() => Vec::new(),
            None => return Err(io::Error::other("a journal of another version")),
        };
        if !bytes.starts_with(magic) {
            file.set_len(0)?;
            file.seek(SeekFrom::Start(0))?;
            file.write_all(magic)?;
        }
        let end = (magic.len() + records.len() * N) as u64;
        file.set_len(end)?;
        Ok((Self { file, written: Mutex::new(end), synced: Mutex::new(0) }, records))
    }

    /// Appends a record; it survives the end of this process, not that of the system.
    pub(super) fn append(&self, record: &[u8; N]) -> io::Result<()> {
        let mut written = self.written.lock();
        // Where it belongs: a part of one that a full disk cut short is written over by the next.
        self.file.write_all_at(record, *written)?;
        *written += N as u64;
        Ok(())
    }

    /// Makes what was appended so far survive a crash of the system. Callers that come while another
    /// syncs share the next sync.
    pub(super) fn sync(&self) -> io::Result<()> {
        let wanted = *self.written.lock();
        let mut synced = self.synced.lock();
        if *synced < wanted {
            let written = *self.written.lock();
            self.file.sync_data()?;
            *synced = written;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MAGIC: &[u8] = b"TEST\x01";

    #[test]
    fn records_come_back_and_a_torn_one_is_dropped() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("records");
        let (records, before) = Records::<4>::open(&path, MAGIC).unwrap();
        assert_eq!(before, [[0_u8; 4]; 0]);
        records.append(b"aaaa").unwrap();
        records.append(b"bbbb").unwrap();
        records.sync().unwrap();
        drop(records);
        let mut bytes = std::fs::read(&path).unwrap();
        bytes.extend_from_slice(b"cc");
        std::fs::write(&path, &bytes).unwrap();
        let (records, before) = Records::<4>::open(&path, MAGIC).unwrap();
        assert_eq!(before, [*b"aaaa", *b"bbbb"]);
        records.append(b"dddd").unwrap();
        drop(records);
        let (_, before) = Records::<4>::open(&path, MAGIC).unwrap();
        assert_eq!(before, [*b"aaaa", *b"bbbb", *b"dddd"]);
    }

    #[test]
    fn another_version_is_an_error() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("records");
        std::fs::write(&path, b"TEST\x02xxxx").unwrap();
        assert!(Records::<4>::open(&path, MAGIC).is_err());
    }

    proptest! {
        #[test]
        fn any_file_is_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..40), magic: bool) {
            let directory = tempfile::tempdir().unwrap();
            let path = directory.path().join("records");
            let bytes = if magic { [MAGIC, &bytes].concat() } else { bytes };
            std::fs::write(&path, &bytes).unwrap();
            let _ = Records::<4>::open(&path, MAGIC);
        }
    }
}
