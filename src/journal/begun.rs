//! What was begun and not finished, on either side: found by its journals.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use parcelry_core::duration::millis;
use parcelry_core::geometry::Geometry;
use parcelry_core::id::ShareId;
use serde::de::DeserializeOwned;

use super::download::DirInode;
use super::upload::{remove_journal, sent};
use super::{DownloadHeader, Sent, UploadHeader, download, lock};
use crate::disk::dir::{Dir, remove_any};
use crate::disk::durable;
use crate::failure::{Failure, Kind};

/// A share that was being sent or fetched when its command ended, or is now.
#[derive(Debug)]
pub struct Begun {
    /// The directory of its journal.
    journal: PathBuf,
    /// What was last written in its journal, if anything was.
    written: Option<Written>,
    /// When its journal was last written to, in milliseconds since the Unix epoch.
    pub touched_ms: u64,
    /// Whether a command is at work on it.
    pub is_in_use: bool,
    /// What its journal says.
    pub work: Work,
}

/// What tells whether a journal was written to. The time alone does not: clocks of file systems tick slowly.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Written {
    at: SystemTime,
    bytes: u64,
}

/// What was begun.
#[derive(Debug, PartialEq, Eq)]
pub enum Work {
    /// A share that was to be sent.
    Upload(UploadHeader),
    /// A share that was to be fetched.
    Download(DownloadHeader),
    /// Its journal makes no sense, or the disk does not give it now: then it stays.
    Unreadable,
}

/// Holds other commands off from what was begun.
#[derive(Debug)]
pub struct Taken(#[expect(dead_code, reason = "it is locked as long as the file is open")] File);

impl Begun {
    /// All that was begun by this user, what was touched last first.
    pub fn list(state: &Path) -> Vec<Self> {
        let mut all = Self::below(&state.join("uploads"));
        all.extend(Self::downloads(state));
        all.sort_by_key(|begun| std::cmp::Reverse(begun.touched_ms));
        all
    }

    /// What was to be fetched.
    pub fn downloads(state: &Path) -> Vec<Self> {
        Self::below(&state.join("downloads"))
    }

    fn below(directory: &Path) -> Vec<Self> {
        let journals = fs::read_dir(directory).into_iter().flatten().flatten();
        journals.filter_map(|entry| Self::read(entry.path())).collect()
    }

    fn read(journal: PathBuf) -> Option<Self> {
        let directory = fs::symlink_metadata(&journal).ok().filter(fs::Metadata::is_dir)?;
        let is_in_use = lock::is_taken(&journal);
        let (work, written) = (work(&journal).unwrap_or(Work::Unreadable), written(&journal));
        let touched = written.map(|written| written.at).or_else(|| directory.modified().ok());
        let touched = touched.unwrap_or(UNIX_EPOCH);
        let touched_ms = touched.duration_since(UNIX_EPOCH).map_or(0, millis);
        Some(Self { journal, written, touched_ms, is_in_use, work })
    }

    /// Bytes that it takes on this machine's disks: every file of it is looked at.
    pub fn disk_bytes(&self) -> u64 {
        disk_bytes(&self.journal) + self.temporary().map_or(0, disk_bytes)
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
                let (file, disk) = header.files.iter().find_map(|file| Some((file, file.disk()?)))?;
                let depth = file.path.as_str().split('/').count() - 1;
                disk.ancestors().nth(depth).map(Path::to_owned)
            }
            Work::Download(header) => Some(header.target.clone()),
            Work::Unreadable => None,
        }
    }

    /// The temporary with what was fetched so far, if it is there and is the one of this download.
    pub fn temporary(&self) -> Option<&Path> {
        let Work::Download(header) = &self.work else { return None };
        is_there(header).then_some(&header.temporary)
    }

    /// Where its temporary was, if it may come back with a disk.
    pub fn out_of_reach(&self) -> Option<&Path> {
        let Work::Download(header) = &self.work else { return None };
        (!is_there(header) && is_away(header)).then_some(&header.temporary)
    }

    /// Bytes of a share of this geometry that its journal says were fetched.
    pub fn fetched_bytes(&self, geometry: &Geometry) -> u64 {
        let fetched = download::noted(&self.journal, geometry);
        fetched.iter().map(|index| geometry.plain_len(index) as u64).sum()
    }

    /// Of an upload: how far it may have come what was sent.
    pub fn sent(&self) -> Result<Sent, Failure> {
        sent(&self.journal).map_err(|error| {
            Failure::io("read which peers may have it in", &self.journal, &error)
                .next("If its disk does not give it again, forget it all the same with --force.")
        })
    }

    /// Removes it, unless a command works on it, or did since it was found. Returns whether it was removed. A journal
    /// stays while its temporary may come back with a disk.
    pub fn remove(&self) -> Result<bool, Failure> {
        let Some(taken) = self.take()? else { return Ok(false) };
        self.remove_taken(&taken).map(|()| true)
    }

    /// Removes it, also if its temporary may come back.
    pub fn forget(&self) -> Result<bool, Failure> {
        let Some(taken) = self.take()? else { return Ok(false) };
        self.forget_taken(&taken).map(|()| true)
    }

    /// Keeps other commands from it, unless one works on it, or did since it was found.
    pub fn take(&self) -> Result<Option<Taken>, Failure> {
        let lock = lock::take_at_once(&self.journal).map_err(|error| self.failed(&error))?;
        // A disk that fails now does not make an upload one that nobody has to be told of.
        let now = work(&self.journal).map_err(|error| {
            let journal = self.journal.display();
            Failure::io("read", &self.journal, &error)
                .next(format!("If its disk does not give it again, remove {journal}."))
        })?;
        let is_same = now == self.work && written(&self.journal) == self.written;
        Ok(lock.filter(|_| is_same).map(Taken))
    }

    /// Removes it, unless its temporary may come back with a disk.
    pub fn remove_taken(&self, taken: &Taken) -> Result<(), Failure> {
        let Some(temporary) = self.out_of_reach() else { return self.forget_taken(taken) };
        let what = format!("the folder of {} is not there, or is on another disk", temporary.display());
        let journal = self.journal.display();
        Err(Failure::new(Kind::Other, what)
            .next(format!("Is its disk not mounted? If it is gone for good, remove {journal}.")))
    }

    /// Its temporary goes first: killed in between, it is found again.
    fn forget_taken(&self, _taken: &Taken) -> Result<(), Failure> {
        if let Some(temporary) = self.temporary() {
            remove_any(temporary).map_err(|error| Failure::io("remove", temporary, &error))?;
        }
        remove_journal(&self.journal).map_err(|error| self.failed(&error))?;
        let directory = self.journal.parent().unwrap_or(&self.journal);
        durable::sync_directory(directory).map_err(|error| self.failed(&error))
    }

    fn failed(&self, error: &io::Error) -> Failure {
        Failure::io("remove", &self.journal, error)
    }
}

/// What the journal in the directory says. An error tells nothing of it: it may be read the next time.
fn work(journal: &Path) -> io::Result<Work> {
    fn header<T: DeserializeOwned>(path: &Path) -> io::Result<Option<T>> {
        match fs::read(path) {
            Ok(bytes) => Ok(serde_json::from_slice(&bytes).ok()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }
    if let Some(upload) = header(&journal.join("upload.json"))? {
        return Ok(Work::Upload(upload));
    }
    let download = header(&journal.join("download.json"))?;
    Ok(download.map_or(Work::Unreadable, Work::Download))
}

/// When anything in a journal was last written, and how much there is. Its lock says nothing: it may be made only to remove
/// the journal.
fn written(journal: &Path) -> Option<Written> {
    let entries = fs::read_dir(journal).into_iter().flatten().flatten();
    let entries = entries.filter(|entry| entry.file_name() != "lock");
    let each = entries.filter_map(|entry| {
        let metadata = entry.metadata().ok()?;
        Some(Written { at: metadata.modified().ok()?, bytes: metadata.len() })
    });
    each.reduce(|a, b| Written { at: a.at.max(b.at), bytes: a.bytes + b.bytes })
}

/// Whether what stands under the temporary's name is what was left there.
fn is_there(header: &DownloadHeader) -> bool {
    let path = &header.temporary;
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let is_ours = name.starts_with(".parcelry-") && name.ends_with(".part");
    let Ok(metadata) = fs::symlink_metadata(path) else { return false };
    is_ours
        && (metadata.is_file() || metadata.is_dir())
        && (header.inode == 0 || header.inode == metadata.ino() || has_loose(path).unwrap_or(false))
}

fn has_loose(temporary: &Path) -> io::Result<bool> {
    Dir::open(temporary.parent().unwrap_or(temporary))?.has_loose_inodes()
}

/// Whether the disk on which the temporary stood is away: its directory is not the one that it was, or is not there, and
/// was on another disk than the one above it that is still there. Whoever removed a directory himself has removed what was
/// in it.
fn is_away(header: &DownloadHeader) -> bool {
    if fs::symlink_metadata(&header.temporary).is_ok() {
        return false;
    }
    let Some(own) = header.directories.first() else {
        return header.temporary.parent().and_then(DirInode::of).is_none();
    };
    let above = header.temporary.ancestors().skip(1);
    let nearest = above.zip(&header.directories).find_map(|(path, then)| Some((DirInode::of(path)?, then)));
    nearest.is_none_or(|(now, then)| {
        let is_another = now.device != then.device && now.inode != then.inode;
        is_another || then.device != own.device
    })
}

/// Bytes that a file, or all in a directory, take on the disk.
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
    use crate::journal::{DownloadJournal, Through, UploadJournal, UploadPlace};
    use parcelry_core::geometry::{ChunkSize, Geometry};
    use parcelry_core::id::{PeerId, Secret, TrackerId};
    use parcelry_core::name::SafePath;

    #[test]
    fn f30_what_is_in_use_is_told_from_what_was_left_and_a_strangers_file_is_not_taken_for_ours() {
        let state = tempfile::tempdir().unwrap();
        assert!(Begun::list(state.path()).is_empty());
        let upload = begin_upload(state.path());
        let share = ShareId::from_bytes([1; 32]);
        let geometry = Geometry::new(10 << 16, ChunkSize::from_log2(16).unwrap()).unwrap();
        let temporary = state.path().join(".parcelry-0123.part");
        fs::write(&temporary, vec![7; 100_000]).unwrap();
        let target = state.path().join("got");
        let (mut journal, _) = DownloadJournal::open(state.path(), share, &target, &geometry).unwrap();
        let inode = fs::metadata(&temporary).unwrap().ino();
        journal.begin(&DownloadHeader::new(share, target.clone(), temporary.clone(), inode)).unwrap();

        assert_eq!(Begun::list(state.path()).iter().filter(|begun| begun.is_in_use).count(), 2);
        assert!(Begun::list(state.path()).iter().all(|begun| !begun.remove().unwrap()));
        drop((upload, journal));
        let all = Begun::list(state.path());
        assert!(all.iter().all(|begun| !begun.is_in_use));
        let download = all.iter().find(|begun| begun.fetched() == Some(share)).unwrap();
        assert_eq!((download.temporary(), download.place()), (Some(&*temporary), Some(target)));
        assert!(download.disk_bytes() >= 100_000 && download.touched_ms > 0);

        // Another file under its name is not the one that was fetched to.
        let moved = state.path().join("moved");
        fs::hard_link(&temporary, moved).unwrap();
        fs::remove_file(&temporary).unwrap();
        fs::write(&temporary, b"a stranger's").unwrap();
        for begun in Begun::list(state.path()) {
            assert_eq!(begun.temporary(), None);
            assert!(begun.remove().unwrap());
        }
        assert!(Begun::list(state.path()).is_empty());
        assert_eq!(fs::read(&temporary).unwrap(), b"a stranger's");
    }

    /// Begins an upload of nothing.
    fn begin_upload(state: &Path) -> UploadJournal {
        let [seed, secret] = [1, 2].map(|byte| Secret::from_bytes([byte; 32]));
        let through = Through { tracker: "https://t:1".into(), id: TrackerId::from_bytes([4; 32]) };
        let name = SafePath::parse("photos").unwrap();
        let header = UploadHeader::new(seed, secret, through, [3; 32], 20, name);
        UploadPlace::lock(&state.join("uploads/0123")).unwrap().begin(header).unwrap()
    }

    /// A state in which one download was begun, and its temporary.
    fn one_download(change: impl Fn(&mut DownloadHeader)) -> (tempfile::TempDir, PathBuf) {
        let state = tempfile::tempdir().unwrap();
        let share = ShareId::from_bytes([1; 32]);
        let geometry = Geometry::new(10 << 16, ChunkSize::from_log2(16).unwrap()).unwrap();
        let (temporary, target) = (state.path().join(".parcelry-0123.part"), state.path().join("got"));
        fs::write(&temporary, b"some").unwrap();
        let (mut journal, _) = DownloadJournal::open(state.path(), share, &target, &geometry).unwrap();
        let inode = fs::metadata(&temporary).unwrap().ino();
        let mut header = DownloadHeader::new(share, target, temporary.clone(), inode);
        change(&mut header);
        journal.begin(&header).unwrap();
        (state, temporary)
    }

    fn only(state: &tempfile::TempDir) -> Begun {
        let mut all = Begun::list(state.path());
        assert_eq!(all.len(), 1);
        all.remove(0)
    }

    fn set(directory: &mut DirInode, device: u64, inode: u64) {
        (directory.device, directory.inode) = (directory.device + device, directory.inode + inode);
    }

    #[test]
    fn f30_of_a_disk_that_is_not_mounted_nothing_is_forgotten() {
        // Another directory is in the place of its own, or its own was on another disk than the one above it.
        let (state, temporary) = one_download(|header| set(&mut header.directories[0], 1, 1));
        fs::remove_file(&temporary).unwrap();
        let failure = only(&state).remove().unwrap_err();
        assert!(failure.next.unwrap().contains("not mounted"));
        assert_eq!(only(&state).temporary(), None);
        let (state, _) = one_download(|header| header.directories[0].device += 1);
        let begun = only(&state);
        let Work::Download(mut header) = begun.work else { panic!("it is a download") };
        header.temporary = state.path().join("disk/.parcelry-0123.part");
        header.directories.insert(0, header.directories[0]);
        set(&mut header.directories[0], 1, 1);
        assert!(is_away(&header));
        // A disk may have another number when it is back.
        let (state, temporary) = one_download(|header| set(&mut header.directories[0], 1, 1));
        assert!(only(&state).remove().unwrap());
        assert!(!temporary.exists());
    }

    #[test]
    fn f30_on_a_disk_that_is_there_what_is_gone_is_gone() {
        // Some file systems have another number after each start, and others give directories other ones at each mount.
        let changes: [fn(&mut DownloadHeader); 4] = [
            |_| {},
            |header| header.directories.clear(),
            |header| header.directories.iter_mut().for_each(|directory| directory.device += 1),
            |header| header.directories.iter_mut().for_each(|directory| directory.inode += 1),
        ];
        for change in changes {
            let (state, temporary) = one_download(change);
            fs::remove_file(&temporary).unwrap();
            assert_eq!(only(&state).out_of_reach(), None);
            assert!(only(&state).remove().unwrap());
        }
        // Its user removed the directory with what was in it.
        let state = tempfile::tempdir().unwrap();
        let directory = state.path().join("photos/new");
        fs::create_dir_all(&directory).unwrap();
        let share = ShareId::from_bytes([1; 32]);
        let mut header = DownloadHeader::new(share, directory.clone(), directory.join(".parcelry-0.part"), 1);
        fs::remove_dir_all(state.path().join("photos")).unwrap();
        assert!(!is_away(&header));
        header.directories.iter_mut().for_each(|directory| directory.device += 1);
        assert!(!is_away(&header), "the disk has another number");
        // What was copied to another disk stands there.
        let (state, temporary) = one_download(|header| {
            header.inode += 1;
            set(&mut header.directories[0], 1, 1);
        });
        assert_eq!((only(&state).temporary(), only(&state).out_of_reach()), (None, None));
        assert!(temporary.exists());
    }

    #[test]
    fn f30_what_was_worked_on_since_it_was_listed_stays() {
        let (state, temporary) = one_download(|_| {});
        let listed = only(&state);
        fs::write(listed.journal.join("chunks"), b"one more").unwrap();
        assert!(!listed.remove().unwrap());
        assert!(temporary.exists());
        assert!(only(&state).remove().unwrap());
        assert!(!listed.remove().unwrap(), "it is gone already");
        assert!(!temporary.exists());
    }

    #[test]
    fn f30_a_journal_that_the_disk_does_not_give_now_stays() {
        let (state, temporary) = one_download(|_| {});
        let path = only(&state).journal.join("download.json");
        let kept = fs::read(&path).unwrap();
        fs::remove_file(&path).unwrap();
        // What leads to itself cannot be opened, not even by root.
        std::os::unix::fs::symlink(&path, &path).unwrap();
        let unreadable = only(&state);
        assert_eq!(unreadable.work, Work::Unreadable);
        let failure = unreadable.remove().unwrap_err();
        assert!(failure.what.contains("read") && failure.next.unwrap().contains("remove /"));
        fs::remove_file(&path).unwrap();
        fs::write(&path, kept).unwrap();
        assert!(!unreadable.remove().unwrap(), "it is not what was listed");
        assert_eq!(only(&state).temporary(), Some(&*temporary));
    }

    #[test]
    fn f30_an_upload_whose_peers_cannot_be_read_is_not_one_that_went_nowhere() {
        let state = tempfile::tempdir().unwrap();
        let upload = begin_upload(state.path());
        let [one, other] = [1, 2].map(|byte| PeerId::from_bytes([byte; 32]));
        upload.note_committing(&[one]).unwrap();
        let list = only(&state).journal.join("committed");
        let kept = fs::read(&list).unwrap();
        let loop_to_itself = || std::os::unix::fs::symlink(&list, &list).unwrap();
        let damages: [&dyn Fn(); 2] = [&loop_to_itself, &|| fs::write(&list, b"[\"").unwrap()];
        for damage in damages {
            fs::remove_file(&list).unwrap();
            damage();
            assert!(upload.sent().is_err() && upload.note_committing(&[other]).is_err());
            assert!(only(&state).sent().unwrap_err().next.unwrap().contains("--force"));
        }
        // Nothing was written over it meanwhile.
        fs::write(&list, kept).unwrap();
        assert_eq!(only(&state).sent().unwrap(), Sent::To(vec![one]));
        upload.note_committing(&[other]).unwrap();
        assert_eq!(upload.sent().unwrap(), Sent::To(vec![one, other]));
    }

    #[test]
    fn f30_an_empty_journal_is_as_old_as_its_folder() {
        let state = tempfile::tempdir().unwrap();
        fs::create_dir_all(state.path().join("uploads/0123")).unwrap();
        let begun = only(&state);
        assert!(begun.work == Work::Unreadable && begun.touched_ms > 0);
        assert!(begun.remove().unwrap(), "to lock it changes nothing of it");
        assert!(Begun::list(state.path()).is_empty());
    }

    #[test]
    fn f30_what_is_neither_file_nor_folder_is_not_the_temporary() {
        let (state, temporary) = one_download(|header| header.inode = 0);
        fs::remove_file(&temporary).unwrap();
        std::os::unix::fs::symlink("/", &temporary).unwrap();
        assert_eq!(only(&state).temporary(), None);
    }
}
