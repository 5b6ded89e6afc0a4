//! Where a download's bytes go: a temporary beside the target, which takes the target's name only
//! when it is whole.

mod holes;
mod name;
mod tree;

use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use parcelry_core::chunk_set::ChunkSet;
use parcelry_core::geometry::Geometry;
use parcelry_core::metadata::{FileEntry, Metadata};
use parcelry_core::modes;
use parking_lot::RwLock;

use super::entries::Created;
use super::leftovers::also;
use super::place::{Place, Wish};
use super::{Manner, entries, late, merge};
use crate::crash::{self, Point};
use crate::disk::dir::Dir;
use crate::disk::file_system::{has_loose_inodes, hold, private_inode, set_mode, set_modified, umask};
use crate::failure::Failure;
use crate::journal::LeftOut;
use tree::{Last, Tree};

/// The permissions of the temporary until it has its name, if it is a file, and if it is a directory.
const PRIVATE_FILE: u32 = 0o600;
const PRIVATE_DIRECTORY: u32 = 0o700;
/// The temporary of a download.
#[derive(Debug)]
pub(super) struct Output {
    /// The directory in which the temporary stands.
    beside: Dir,
    temporary: PathBuf,
    /// The directory in which the target stands.
    parent: Dir,
    target: PathBuf,
    metadata: Arc<Metadata>,
    content: Content,
    /// Its inode number, if nobody else can open it.
    private_inode: Option<u64>,
    /// Whether it is removed. Who writes holds it: nothing is created any more while it is removed.
    is_discarded: RwLock<bool>,
}

/// A temporary of an earlier attempt.
pub(super) struct Reopened {
    pub(super) output: Output,
    /// Whether it is surely the one that was left, and nobody else can have written to it.
    pub(super) is_trusted: bool,
}

/// What stands under the temporary's name.
#[derive(Debug)]
enum Content {
    /// The one file of the share.
    Single(File),
    /// A directory; its files are created, or opened, as they are written.
    Tree(Tree),
}

impl Output {
    /// Creates the temporary, and holds it as long as it is open: a file that has its full length from the start, so that a
    /// full disk shows before anything is fetched, or the directories with their files, which are empty at first unless they
    /// have holes; but for those that are created when their bytes come.
    pub(super) fn create(
        temporary: &Path,
        target: &Path,
        metadata: Arc<Metadata>,
        geometry: &Geometry,
    ) -> Result<Self, Failure> {
        let failed = |error: io::Error| Failure::io("prepare", target, &error);
        let beside = Dir::open(parent(temporary)).map_err(failed)?;
        let parent = Dir::open(parent(target)).map_err(failed)?;
        let name = file_name(temporary);
        let content = if metadata.is_single_file() {
            let file = beside.create_file(name).map_err(failed)?;
            hold(&file);
            Content::Single(file)
        } else {
            let root = beside.create_dir(name).map_err(failed)?;
            root.hold();
            let late = || late::files(&root, &metadata, geometry);
            let created = entries::create_all(&root, &metadata, late).map_err(failed)?;
            Content::Tree(Tree::new(root, &metadata, created))
        };
        let (temporary, target) = (temporary.to_owned(), target.to_owned());
        let private_inode = content.private_inode().map_err(failed)?;
        let is_discarded = RwLock::default();
        let output =
            Self { beside, temporary, parent, target, metadata, content, private_inode, is_discarded };
        output.allocate_at_once().map_err(failed)?;
        Ok(output)
    }

    /// Opens a temporary that was created before, and had this inode number if it was this user's alone. `None` if it
    /// cannot be the one: somebody may have put another in its place. Where nothing can be anybody's alone, or inode
    /// numbers say nothing, it may be another one. Nor may another get be at work on it. What was left out then is left
    /// out again. What was not created yet waits for its bytes as in a new one; all is created at once where no inode number
    /// is known, for there it may have to show which of its names are any.
    pub(super) fn reopen(
        temporary: &Path,
        target: &Path,
        metadata: Arc<Metadata>,
        geometry: &Geometry,
        before: Option<u64>,
        left_out: Vec<LeftOut>,
    ) -> io::Result<Option<Reopened>> {
        let beside = Dir::open(parent(temporary))?;
        let parent = Dir::open(parent(target))?;
        let name = file_name(temporary);
        let private = if metadata.is_single_file() { PRIVATE_FILE } else { PRIVATE_DIRECTORY };
        let was_open = before.is_some_and(|inode| beside.take_back(name, inode, private).unwrap_or(false));
        let content = if metadata.is_single_file() {
            Content::Single(beside.open_file(name)?)
        } else {
            // What waits is known when all that is there was looked at: see `make_ready`.
            let created = Created { left_out, late: Vec::new() };
            Content::Tree(Tree::new(beside.open_dir(name)?, &metadata, created))
        };
        let private_inode = content.private_inode()?;
        let is_named = || private_inode.is_none() || beside.inode_of(name).ok() == private_inode;
        // Who had it before may have given it another name before it was free to be held.
        if !content.hold() || !is_named() {
            return Ok(None);
        }
        let is_it = before.is_some() && private_inode == before;
        let may_be_it = match before {
            None => true,
            Some(_) => is_it || private_inode.is_some() && content.has_loose_inodes()?,
        };
        if !may_be_it || !content.has_one_name()? {
            return Ok(None);
        }
        let (temporary, target) = (temporary.to_owned(), target.to_owned());
        let is_discarded = RwLock::default();
        let mut output =
            Self { beside, temporary, parent, target, metadata, content, private_inode, is_discarded };
        output.make_ready(before.map(|_| geometry))?;
        Ok(Some(Reopened { output, is_trusted: is_it && !was_open }))
    }

    /// What is not saved, as the file system does not take its name.
    pub(super) fn left_out(&self) -> Vec<LeftOut> {
        match &self.content {
            Content::Single(_) => Vec::new(),
            Content::Tree(tree) => tree.left_out.lock().clone(),
        }
    }

    /// The inode number of the temporary, if nobody else can open it.
    pub(super) const fn private_inode(&self) -> Option<u64> {
        self.private_inode
    }

    /// The chunks of these whose files are there: some of an earlier attempt may be in place already.
    pub(super) fn present(&self, done: &ChunkSet, geometry: &Geometry) -> ChunkSet {
        let Content::Tree(tree) = &self.content else { return done.clone() };
        let is_there = |(number, file): (usize, &FileEntry)| {
            let is_whole = || tree.root.len_of(self.path(file)).ok() == Some(Some(file.size));
            tree.is_left_out(number) || !tree.made_again.contains(&number) && is_whole()
        };
        let there: Vec<bool> = self.metadata.files.iter().enumerate().map(is_there).collect();
        let mut present = ChunkSet::empty(done.chunk_count());
        for index in done.iter() {
            let mut all = true;
            let looked = self.for_each_part(
                geometry.plain_range(index).start,
                geometry.plain_len(index),
                |number, _, _| {
                    all &= there[number];
                    Ok(())
                },
            );
            if all && looked.is_ok() {
                present.insert(index);
            }
        }
        present
    }

    /// Writes bytes of the stream where they belong, unless the temporary was removed.
    pub(super) fn write(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let is_discarded = self.is_discarded.read();
        if *is_discarded {
            return Err(io::ErrorKind::NotFound.into());
        }
        let mut last = Last::default();
        self.for_each_part(offset, bytes.len(), |number, within, part| match &self.content {
            Content::Single(file) => file.write_all_at(&bytes[part], within),
            Content::Tree(tree) => self.write_part(tree, &mut last, (number, within), &bytes[part]),
        })
    }

    /// Reads bytes of the stream back.
    pub(super) fn read(&self, offset: u64, bytes: &mut [u8]) -> io::Result<()> {
        let mut last = Last::default();
        self.for_each_part(offset, bytes.len(), |number, within, part| match &self.content {
            Content::Single(file) => file.read_exact_at(&mut bytes[part], within),
            Content::Tree(tree) => {
                let path = self.path(&self.metadata.files[number]);
                let (directory, name) = last.directory_of(&tree.root, path)?;
                directory.open_file(name)?.read_exact_at(&mut bytes[part], within)
            }
        })
    }

    /// Gives what is in the temporary its modes and times, and the temporary its name, or its files their names in the
    /// directory that is there. Everything is on stable storage before a name changes.
    pub(super) fn finish(&self, wish: Wish) -> Result<(), Failure> {
        let failed = |error: io::Error| Failure::io("save", &self.target, &error);
        let umask = umask();
        match &self.content {
            // The bytes first: a name that survives a crash must never stand for less than all of them.
            Content::Single(file) => file.sync_all(),
            Content::Tree(tree) => self.finish_tree(tree, umask),
        }
        .map_err(failed)?;
        let (temporary, target) = (file_name(&self.temporary), file_name(&self.target));
        self.check_in_place(temporary)?;
        let place = wish.inside(&self.parent, &self.target).map_err(|refused| self.kept(refused))?;
        let named = match (place, &self.content) {
            (Place::File, Content::Single(_)) => {
                self.open_up(umask).and_then(|()| self.beside.rename(temporary, &self.parent, target))
            }
            (Place::Directory, Content::Tree(tree)) => {
                let into = self.parent.open_dir(target).map_err(failed)?;
                merge::check(&self.target, &self.metadata).map_err(|failure| self.kept(failure))?;
                merge::merge(&tree.root, &into, &self.target).map_err(|failure| self.kept(failure))?;
                self.beside.remove_dir(temporary)
            }
            _ => self.open_up(umask).and_then(|()| self.beside.rename_new(temporary, &self.parent, target)),
        };
        named.map_err(|error| {
            self.close_again();
            match error.kind() {
                io::ErrorKind::AlreadyExists => self.in_the_way(wish),
                _ => failed(error),
            }
        })?;
        self.parent.sync().map_err(failed)
    }

    /// Gives the temporary itself the mode of the result. It comes last: what others can open is not gone on with
    /// as it is.
    fn open_up(&self, umask: u32) -> io::Result<()> {
        match &self.content {
            Content::Single(file) => {
                let only = self.metadata.files.first().ok_or(io::ErrorKind::NotFound)?;
                finish_file(file, only, umask).and_then(|()| file.sync_all())
            }
            Content::Tree(tree) => {
                let top = &self.metadata.original_filename;
                let given =
                    self.metadata.dir_modes.iter().find(|directory| directory.path.below(top) == Some(""));
                let mode =
                    given.map_or(modes::DIRECTORY, |directory| directory.mode) & modes::PERMISSIONS & !umask;
                tree.root.set_mode(mode).and_then(|()| tree.root.sync())
            }
        }?;
        crash::at(Point::ModesGiven);
        Ok(())
    }

    /// Has the temporary be this user's alone again: that it has no name yet must not keep it from being gone on with.
    fn close_again(&self) {
        let closed = match &self.content {
            Content::Single(file) => set_mode(file, PRIVATE_FILE),
            Content::Tree(tree) => tree.root.set_mode(PRIVATE_DIRECTORY),
        };
        if let Err(error) = closed {
            tracing::warn!(%error, "cannot take back what was fetched");
        }
    }

    /// What to say about what appeared at the target just now.
    fn in_the_way(&self, wish: Wish) -> Failure {
        let refused = Wish { manner: Manner::default(), ..wish }.inside(&self.parent, &self.target).err();
        let refused = refused
            .unwrap_or_else(|| Failure::io("save", &self.target, &io::ErrorKind::AlreadyExists.into()));
        self.kept(refused)
    }

    fn kept(&self, failure: Failure) -> Failure {
        also(failure, format!("What was fetched is kept in {}.", self.temporary.display()))
    }

    /// Calls `act` for each run of a file's data that a run of the stream has: with the file's number, where the data is in
    /// the file, and the run's part.
    fn for_each_part(
        &self,
        offset: u64,
        len: usize,
        mut act: impl FnMut(usize, u64, std::ops::Range<usize>) -> io::Result<()>,
    ) -> io::Result<()> {
        let files = &self.metadata.files;
        let end = offset + len as u64;
        let first = files.partition_point(|file| file.offset <= offset).saturating_sub(1);
        let touched = files.iter().enumerate().skip(first).take_while(|(_, file)| file.offset < end);
        for (number, file) in touched {
            let from = offset.max(file.offset);
            let to = end.min(file.offset + file.data_bytes());
            let part = |at: u64| usize::try_from(file.offset + at - offset).map_err(io::Error::other);
            if from < to {
                for run in file.holes.runs(from - file.offset..to - file.offset) {
                    act(number, run.position, part(run.data.start)?..part(run.data.end)?)?;
                }
            }
        }
        Ok(())
    }

    /// Where a file stands in the directory of the share.
    fn path<'a>(&'a self, file: &'a FileEntry) -> &'a Path {
        Path::new(file.path.below(&self.metadata.original_filename).unwrap_or_default())
    }
}

impl Content {
    fn private_inode(&self) -> io::Result<Option<u64>> {
        match self {
            Self::Single(file) => private_inode(file),
            Self::Tree(tree) => tree.root.private_inode(),
        }
    }

    fn hold(&self) -> bool {
        match self {
            Self::Single(file) => hold(file),
            Self::Tree(tree) => tree.root.hold(),
        }
    }

    fn has_loose_inodes(&self) -> io::Result<bool> {
        match self {
            Self::Single(file) => has_loose_inodes(file),
            Self::Tree(tree) => tree.root.has_loose_inodes(),
        }
    }

    /// Whether it is a directory, or a file that has no other name: that would be somebody's file, and not the temporary.
    fn has_one_name(&self) -> io::Result<bool> {
        let Self::Single(file) = self else { return Ok(true) };
        let metadata = file.metadata()?;
        Ok(metadata.is_file() && metadata.nlink() <= 1)
    }
}

/// The directory that something stands in.
pub(super) fn parent(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// The last component of a path.
pub(super) fn file_name(path: &Path) -> &Path {
    path.file_name().map_or(path, Path::new)
}

fn finish_file(file: &File, entry: &FileEntry, umask: u32) -> io::Result<()> {
    set_mode(file, entry.permissions() & !umask)?;
    set_modified(file, SystemTime::from(entry.modified))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::dir::remove_any;
    use parcelry_core::geometry::ChunkSize;

    /// What the file system does not take has no mode either.
    #[test]
    fn f06_a_folder_that_could_not_be_made_keeps_nothing_from_being_gone_on_with() {
        let directory = tempfile::tempdir().unwrap();
        let part = directory.path().join("part");
        let metadata = serde_json::from_value(serde_json::json!({ "original_filename": "s",
            "extension": "", "size": 0, "chunk_count": 0, "created": "2026-01-01T00:00:00Z", "dirs": [],
            "files": [{ "path": "s/a/d/f", "offset": 0, "size": 0, "executable": false,
                "modified": "2026-01-01T00:00:00Z" }],
            "dir_modes": [{ "path": "s/a/d", "mode": 0o500 }] }));
        let metadata: Arc<Metadata> = Arc::new(metadata.unwrap());
        let beside = Dir::open(directory.path()).unwrap();
        let root = beside.create_dir(Path::new("part")).unwrap();
        root.create_file(Path::new("a")).unwrap();
        let left_out = vec![LeftOut { path: metadata.files[0].path.clone(), why: "no such name".to_owned() }];
        let inode = root.private_inode().unwrap();
        let target = directory.path().join("s");
        let reopened = Output::reopen(&part, &target, metadata, &empty(), inode, left_out).unwrap();
        assert!(reopened.is_some_and(|reopened| reopened.is_trusted));
    }

    /// The geometry of a share without data.
    fn empty() -> Geometry {
        Geometry::new(0, ChunkSize::from_log2(16).unwrap()).unwrap()
    }

    fn directory_of(files: &serde_json::Value) -> Arc<Metadata> {
        let files = files.as_array().unwrap().iter().map(|file| {
            let mut file = file.clone();
            let more =
                serde_json::json!({ "offset": 0, "executable": false, "modified": "2026-01-01T00:00:00Z" });
            file.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            file
        });
        let files: Vec<_> = files.collect();
        let metadata = serde_json::from_value(serde_json::json!({ "original_filename": "s", "extension": "",
            "size": 0, "chunk_count": 0, "created": "2026-01-01T00:00:00Z", "dirs": [], "files": files }));
        Arc::new(metadata.unwrap())
    }

    #[test]
    fn f30_files_in_no_chunk_get_their_lengths_whatever_was_in_them() {
        let directory = tempfile::tempdir().unwrap();
        let (part, target) = (directory.path().join("part"), directory.path().join("s"));
        let metadata = directory_of(&serde_json::json!([{ "path": "s/empty", "size": 0 },
            { "path": "s/hole", "size": 200_000, "holes": [[0, 200_000]] },
            { "path": "s/longer", "size": 200_000, "holes": [[0, 200_000]] }]));
        drop(Output::create(&part, &target, Arc::clone(&metadata), &empty()).unwrap());
        for (name, len) in [("empty", 4), ("hole", 1000), ("longer", 200_001)] {
            File::options().write(true).open(part.join(name)).unwrap().set_len(len).unwrap();
        }
        let inode = Dir::open(&part).unwrap().private_inode().unwrap();
        let reopened = Output::reopen(&part, &target, metadata, &empty(), inode, Vec::new()).unwrap();
        let output = reopened.unwrap().output;
        let wish = Wish { is_file: false, is_named: false, manner: Manner::default() };
        output.finish(wish).unwrap();
        let lens = ["empty", "hole", "longer"].map(|name| target.join(name).metadata().unwrap().len());
        assert_eq!(lens, [0, 200_000, 200_000]);
    }

    #[test]
    fn f30_a_temporary_is_held_by_one_get_at_a_time() {
        let directory = tempfile::tempdir().unwrap();
        let (part, target) = (directory.path().join("part"), directory.path().join("s"));
        let single = serde_json::json!({ "original_filename": "s", "extension": "", "size": 5, "chunk_count": 1,
            "created": "2026-01-01T00:00:00Z", "dirs": [], "files": [{ "path": "s", "offset": 0, "size": 5,
                "executable": false, "modified": "2026-01-01T00:00:00Z" }] });
        let tree = directory_of(&serde_json::json!([{ "path": "s/a", "size": 0 }]));
        for metadata in [Arc::new(serde_json::from_value(single).unwrap()), tree] {
            let reopen = || {
                let metadata = Arc::clone(&metadata);
                Output::reopen(&part, &target, metadata, &empty(), None, Vec::new()).unwrap()
            };
            let output = Output::create(&part, &target, Arc::clone(&metadata), &empty()).unwrap();
            assert!(reopen().is_none());
            drop(output);
            let first = reopen();
            assert!(first.is_some() && reopen().is_none());
            drop(first);
            remove_any(&part).unwrap();
        }
    }

    /// As where the file system takes both for one: what looks for the second finds the first.
    #[test]
    fn f06_entries_that_are_one_on_the_disk_do_not_stand_apart() {
        let directory = tempfile::tempdir().unwrap();
        let (part, target) = (directory.path().join("part"), directory.path().join("s"));
        let [one, both] = [
            serde_json::json!([{ "path": "s/d/Name", "size": 0 }]),
            serde_json::json!([{ "path": "s/d/Name", "size": 0 }, { "path": "s/d/name", "size": 0 }]),
        ]
        .map(|files| directory_of(&files));
        let output = Output::create(&part, &target, one, &empty()).unwrap();
        assert!(output.stands_apart().unwrap());
        let Content::Tree(tree) = &output.content else { panic!("it is a folder") };
        assert!(!entries::stand_apart(&tree.root, &both).unwrap());
        std::fs::hard_link(part.join("d/Name"), part.join("d/name")).unwrap();
        assert!(!entries::stand_apart(&tree.root, &both).unwrap());
        std::fs::remove_file(part.join("d/name")).unwrap();
        File::create(part.join("d/name")).unwrap();
        assert!(entries::stand_apart(&tree.root, &both).unwrap());
    }
}
