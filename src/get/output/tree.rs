//! The directory of a share of several files: its files are created, or opened, as they are written, and it gets its modes and
//! times at the end.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::SystemTime;

use parcelry_core::geometry::Geometry;
use parcelry_core::metadata::{FileEntry, Metadata};
use parcelry_core::modes::{self, DirMode};
use parcelry_core::name::SafePath;
use parking_lot::Mutex;
use rustix::io::Errno;

use super::{Content, Output, PRIVATE_DIRECTORY, PRIVATE_FILE, finish_file};
use crate::crash::{self, Point};
use crate::disk::dir::Dir;
use crate::disk::file_system::{allocate, set_modified};
use crate::get::entries::{self, Created};
use crate::get::{late, links};
use crate::journal::LeftOut;

/// The directory of a share of several files.
#[derive(Debug)]
pub(super) struct Tree {
    pub(super) root: Dir,
    /// How far each file is.
    files: Vec<FileState>,
    /// What is not there, as the file system does not take its name or kind.
    pub(super) left_out: Mutex<Vec<LeftOut>>,
    /// The numbers of the files among it.
    skipped: HashSet<usize>,
    /// The numbers of the files that had to be made again, and are empty.
    pub(super) made_again: HashSet<usize>,
}

/// How far a file is.
#[derive(Debug)]
struct FileState {
    /// Whether it is to be created when its bytes come.
    is_late: AtomicBool,
    /// Whether it is whole and as it shall be: most are written in one go.
    is_finished: AtomicBool,
}

impl Tree {
    pub(super) fn new(root: Dir, metadata: &Metadata, created: Created) -> Self {
        let Created { left_out, late } = created;
        let paths: HashSet<&SafePath> = left_out.iter().map(|entry| &entry.path).collect();
        let files = metadata.files.iter().enumerate();
        let skipped =
            files.filter(|(_, file)| paths.contains(&file.path)).map(|(number, _)| number).collect();
        let state = |number: usize| FileState {
            is_late: AtomicBool::new(late.get(number) == Some(&true)),
            is_finished: AtomicBool::new(false),
        };
        let files = (0..metadata.files.len()).map(state).collect();
        Self { root, files, left_out: Mutex::new(left_out), skipped, made_again: HashSet::new() }
    }

    /// Whether the file with this number is not there, as the file system does not take its name.
    pub(super) fn is_left_out(&self, number: usize) -> bool {
        self.skipped.contains(&number)
    }
}

/// The directory of the file that was opened last. It stays open: most files follow others of the same one.
#[derive(Debug, Default)]
pub(super) struct Last<'a>(Option<(&'a Path, Dir)>);

impl<'a> Last<'a> {
    /// The directory in which a file stands, and its name there.
    pub(super) fn directory_of<'d>(
        &'d mut self,
        root: &'d Dir,
        path: &'a Path,
    ) -> io::Result<(&'d Dir, &'a Path)> {
        let (Some(above), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(io::ErrorKind::InvalidInput.into());
        };
        let name = Path::new(name);
        if above.as_os_str().is_empty() {
            return Ok((root, name));
        }
        if self.0.as_ref().is_none_or(|(last, _)| last.as_os_str() != above.as_os_str()) {
            self.0 = Some((above, root.enter_dir(above)?));
        }
        Ok((self.0.as_ref().map_or(root, |(_, directory)| directory), name))
    }
}

impl Output {
    /// An earlier attempt may have been interrupted when it had given some entries their modes, or their places, already, or
    /// had not created them yet. Files that wait for their bytes in a new temporary of this geometry do so here, for there may
    /// be no room for them now. Without a geometry, all are created at once.
    pub(super) fn make_ready(&mut self, geometry: Option<&Geometry>) -> io::Result<()> {
        let tree = match &mut self.content {
            // Nothing may be behind its end, whoever wrote it.
            Content::Single(file) => return file.set_len(self.metadata.size),
            Content::Tree(tree) => tree,
        };
        let top = &self.metadata.original_filename;
        let mut directories: Vec<&DirMode> = self.metadata.dir_modes.iter().collect();
        directories.sort_by_key(|directory| &directory.path);
        for directory in directories {
            let path = directory.path.below(top).unwrap_or_default();
            if !path.is_empty() {
                unless_left_out(tree.root.unlock(Path::new(path), PRIVATE_DIRECTORY))?;
            }
        }
        for entry in self.metadata.files.iter().filter(|entry| !is_open_to_owner(entry)) {
            let path = Path::new(entry.path.below(top).unwrap_or_default());
            unless_left_out(tree.root.unlock(path, entry.permissions() | PRIVATE_FILE))?;
        }
        let left_out = tree.left_out.lock();
        // As in a new one: nothing waits where a name was not taken.
        let late = match geometry {
            Some(geometry) if left_out.is_empty() => late::files(&tree.root, &self.metadata, geometry),
            _ => Vec::new(),
        };
        let left_out = left_out.iter().map(|entry| &entry.path).collect();
        let missing = entries::create_missing(&tree.root, &self.metadata, &left_out, &late)?;
        tree.made_again = missing.made_again;
        for number in missing.late {
            *tree.files[number].is_late.get_mut() = true;
        }
        Ok(())
    }

    /// Writes a part of a file; a file that is written as a whole needs no second visit.
    pub(super) fn write_part<'a>(
        &'a self,
        tree: &Tree,
        last: &mut Last<'a>,
        (number, within): (usize, u64),
        bytes: &[u8],
    ) -> io::Result<()> {
        if tree.is_left_out(number) {
            return Ok(());
        }
        let entry = &self.metadata.files[number];
        let (directory, name) = last.directory_of(&tree.root, self.path(entry))?;
        let is_whole = bytes.len() as u64 == entry.size;
        // Once: after the first write it is there, or the get has failed.
        if is_whole && tree.files[number].is_late.swap(false, Ordering::Relaxed) {
            return self.create_late(tree, number, (directory, name), bytes);
        }
        let file = directory.open_file(name)?;
        let len = file.metadata()?.len();
        if len > entry.size {
            file.set_len(entry.size)?;
        }
        if is_whole {
            return self.write_whole(tree, number, &file, bytes);
        }
        if len < entry.size {
            allocate(&file, entry.size, &entry.holes)?;
        }
        file.write_all_at(bytes, within)
    }

    /// Creates a file whose bytes have come. Its name is one that the file system takes, and no other entry's: what stands
    /// there is somebody else's, and not written to.
    fn create_late(
        &self,
        tree: &Tree,
        number: usize,
        (directory, name): (&Dir, &Path),
        bytes: &[u8],
    ) -> io::Result<()> {
        let entry = &self.metadata.files[number];
        // As where it is created beforehand.
        let created = directory.create_file_with(name, entry.permissions() | PRIVATE_FILE);
        let file = created.map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => changed_by_somebody_else(self.path(entry)),
            _ => error,
        })?;
        crash::at(Point::FileCreated);
        self.write_whole(tree, number, &file, bytes)
    }

    fn write_whole(&self, tree: &Tree, number: usize, file: &File, bytes: &[u8]) -> io::Result<()> {
        let entry = &self.metadata.files[number];
        file.write_all_at(bytes, 0)?;
        set_modified(file, SystemTime::from(entry.modified))?;
        tree.files[number].is_finished.store(is_open_to_owner(entry), Ordering::Relaxed);
        Ok(())
    }

    /// Modes and times of all that is in the temporary, into which nobody else can look yet.
    pub(super) fn finish_tree(&self, tree: &Tree, umask: u32) -> io::Result<()> {
        let root = &tree.root;
        let mut directories: BTreeSet<&Path> = BTreeSet::new();
        let mut last = Path::new("");
        let top = &self.metadata.original_filename;
        let files = self.metadata.files.iter().zip(&tree.files).enumerate();
        for (_, (entry, state)) in files.filter(|(number, _)| !tree.is_left_out(*number)) {
            let path = self.path(entry);
            // Where one call syncs them all, what is whole need not be opened again.
            if !state.is_finished.load(Ordering::Relaxed) || !cfg!(target_os = "linux") {
                let file = root.open_file(path)?;
                if file.metadata()?.len() != entry.size {
                    if entry.data_bytes() > 0 {
                        return Err(changed_by_somebody_else(path));
                    }
                    // It was made again, or was being made when an attempt ended: nothing of it is fetched.
                    file.set_len(entry.size)?;
                }
                finish_file(&file, entry, umask)?;
                if !cfg!(target_os = "linux") {
                    file.sync_all()?;
                }
            }
            let directory = path.parent().unwrap_or(path);
            if directory != last {
                directories.extend(directory.ancestors());
                last = directory;
            }
        }
        let (of_links, links_left_out) = links::make_all(root, &self.metadata)?;
        directories.extend(of_links.into_iter().flat_map(Path::ancestors));
        tree.left_out.lock().extend(links_left_out);
        let left_out = tree.left_out.lock();
        let left_out: HashSet<&SafePath> = left_out.iter().map(|entry| &entry.path).collect();
        let dirs = self.metadata.dirs.iter().filter(|dir| !left_out.contains(dir));
        let dirs = dirs.map(|dir| Path::new(dir.below(top).unwrap_or_default()));
        directories.extend(dirs.flat_map(Path::ancestors));
        let directory_modes = self.metadata.dir_modes.iter();
        let given: HashMap<&str, u32> = directory_modes
            .map(|directory| (directory.path.below(top).unwrap_or_default(), directory.mode))
            .collect();
        let mode = |path: &Path| {
            let mode = path.to_str().and_then(|path| given.get(path));
            mode.unwrap_or(&modes::DIRECTORY) & modes::PERMISSIONS & !umask
        };
        // The deepest first: a directory without the right to enter hides those below it.
        for directory in directories.into_iter().rev().filter(|directory| !directory.as_os_str().is_empty()) {
            root.set_dir_mode(directory, mode(directory))?;
        }
        #[cfg(target_os = "linux")]
        root.sync_file_system()?;
        Ok(())
    }
}

fn changed_by_somebody_else(path: &Path) -> io::Error {
    io::Error::other(format!("{} in the temporary was changed by somebody else", path.display()))
}

/// What is not there was left out, or moved. A symlink was put there by somebody else.
fn unless_left_out(result: io::Result<()>) -> io::Result<()> {
    let is_link = |error: &io::Error| error.raw_os_error() == Some(Errno::LOOP.raw_os_error());
    result.or_else(
        |error| if entries::is_about_the_name(&error) && !is_link(&error) { Ok(()) } else { Err(error) },
    )
}

/// Whether the file's owner can open it with the mode that it will have.
fn is_open_to_owner(entry: &FileEntry) -> bool {
    entry.permissions() & 0o600 == 0o600
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::file_system::umask;
    use crate::get::Manner;
    use crate::get::place::Wish;
    use parcelry_core::chunk_set::ChunkSet;
    use parcelry_core::geometry::{ChunkIndex, ChunkSize};
    use std::fs;
    use std::os::unix::fs::{MetadataExt, PermissionsExt};
    use std::path::PathBuf;
    use std::sync::Arc;

    const CHUNK: usize = 65_536;

    /// A share on its way.
    struct Case {
        directory: tempfile::TempDir,
        metadata: Arc<Metadata>,
        geometry: Geometry,
        stream: Vec<u8>,
    }

    impl Case {
        /// Of files with these paths, bytes and modes.
        fn of(files: &[(&str, usize, u32)]) -> Self {
            let mut stream = Vec::new();
            let entry = |&(path, size, mode): &(&str, usize, u32)| {
                let offset = stream.len();
                stream.extend((offset..offset + size).map(|at| u8::try_from(at % 251).unwrap()));
                serde_json::json!({ "path": path, "offset": offset, "size": size, "mode": mode,
                    "executable": mode & 0o100 != 0, "modified": "2020-01-01T00:00:00Z" })
            };
            let files: Vec<_> = files.iter().map(entry).collect();
            let geometry = Geometry::new(stream.len() as u64, ChunkSize::from_log2(16).unwrap()).unwrap();
            let metadata = serde_json::from_value(serde_json::json!({ "original_filename": "s",
                "extension": "", "size": stream.len(), "chunk_count": geometry.chunk_count(),
                "created": "2026-01-01T00:00:00Z", "dirs": [], "files": files }));
            let (directory, metadata) = (tempfile::tempdir().unwrap(), Arc::new(metadata.unwrap()));
            Self { directory, metadata, geometry, stream }
        }

        fn part(&self) -> PathBuf {
            self.directory.path().join("part")
        }

        fn target(&self) -> PathBuf {
            self.directory.path().join("s")
        }

        fn create(&self) -> Output {
            Output::create(&self.part(), &self.target(), Arc::clone(&self.metadata), &self.geometry).unwrap()
        }

        /// What was left, as its journal says: with this inode number, if it was this user's alone.
        fn reopen(&self, before: Option<u64>) -> Output {
            let (part, metadata) = (self.part(), Arc::clone(&self.metadata));
            let reopened =
                Output::reopen(&part, &self.target(), metadata, &self.geometry, before, Vec::new());
            reopened.unwrap().unwrap().output
        }

        fn index(&self, number: u32) -> ChunkIndex {
            self.geometry.index(number).unwrap()
        }

        fn plain(&self, number: u32) -> &[u8] {
            let range = self.geometry.plain_range(self.index(number));
            &self.stream[usize::try_from(range.start).unwrap()..usize::try_from(range.end).unwrap()]
        }

        fn write(&self, output: &Output, number: u32) -> io::Result<()> {
            output.write(self.geometry.plain_range(self.index(number)).start, self.plain(number))
        }

        fn finish(&self, output: &Output) {
            let wish = Wish { is_file: false, is_named: false, manner: Manner::default() };
            output.finish(wish).unwrap();
            for file in &self.metadata.files {
                let saved = self.target().join(file.path.below(&self.metadata.original_filename).unwrap());
                let start = usize::try_from(file.offset).unwrap();
                let bytes = &self.stream[start..start + usize::try_from(file.size).unwrap()];
                assert!(fs::read(&saved).unwrap() == bytes, "{}", file.path);
                let metadata = saved.metadata().unwrap();
                assert_eq!(metadata.mode() & 0o777, file.permissions() & !umask(), "{}", file.path);
                assert_eq!(metadata.mtime(), file.modified.unix_timestamp(), "{}", file.path);
            }
        }

        /// Which of these are in the temporary.
        fn there(&self, names: &[&str]) -> Vec<bool> {
            names.iter().map(|name| self.part().join(name).exists()).collect()
        }

        /// Whether nothing waits here: the file system has rules of its own for names.
        fn is_skipped(&self) -> bool {
            let skipped = Dir::open(self.directory.path()).unwrap().has_loose_inodes().unwrap();
            if skipped {
                eprintln!("SKIPPED: on this file system all files are created beforehand");
            }
            skipped
        }
    }

    #[test]
    fn f09_small_files_of_plain_names_are_created_when_their_bytes_come() {
        let case = Case::of(&[
            ("s/usual", 100, 0o644),
            ("s/read only", 100, 0o444),
            ("s/empty", 0, 0o600),
            ("s/of two chunks", CHUNK, 0o640),
            ("s/sub/TOOL", 100, 0o755),
            ("s/sub/to the end", CHUNK - 300, 0o400),
        ]);
        let names = ["usual", "read only", "empty", "of two chunks", "sub/TOOL", "sub/to the end"];
        let output = case.create();
        let waits = !case.is_skipped();
        assert_eq!(case.there(&names), [!waits, !waits, true, true, !waits, !waits]);
        case.write(&output, 1).unwrap();
        assert_eq!(case.there(&names), [!waits, !waits, true, true, true, true]);
        case.write(&output, 0).unwrap();
        // What comes twice is there already.
        case.write(&output, 1).unwrap();
        case.finish(&output);
    }

    #[test]
    fn f06_where_not_all_names_are_plain_every_file_is_created_beforehand() {
        for names in [["Name", "name"], ["a", "b~1"], ["a", "é"], ["a", "aux.c"]] {
            let paths = names.map(|name| format!("s/{name}"));
            let case = Case::of(&[(&*paths[0], 10, 0o644), (&*paths[1], 10, 0o644)]);
            let output = case.create();
            // Where two are one, or one is none, that is known by now.
            let there = case.there(&names).into_iter().filter(|is_there| *is_there).count();
            assert!(there + output.left_out().len() >= 2, "{names:?}");
        }
    }

    #[test]
    fn f36_what_stands_where_a_file_is_to_be_created_is_a_failure_and_stays_as_it_is() {
        let foreign: [&dyn Fn(&Path); 3] =
            [&|at| fs::write(at, b"theirs").unwrap(), &|at| fs::create_dir(at).unwrap(), &|at| {
                std::os::unix::fs::symlink("a", at).unwrap();
            }];
        for put in foreign {
            let case = Case::of(&[("s/a", 100, 0o644), ("s/b", 100, 0o644)]);
            if case.is_skipped() {
                return;
            }
            let (output, at) = (case.create(), case.part().join("b"));
            put(&at);
            let before = fs::symlink_metadata(&at).unwrap();
            let error = case.write(&output, 0).unwrap_err();
            assert!(error.to_string().contains("changed by somebody else"), "{error}");
            let after = fs::symlink_metadata(&at).unwrap();
            assert_eq!((after.ino(), after.len()), (before.ino(), before.len()));
            assert!(fs::read(case.part().join("a")).unwrap() == case.stream[..100]);
            assert!(output.left_out().is_empty());
        }
    }

    #[test]
    fn f36_a_folder_that_is_gone_when_a_file_is_to_be_created_in_it_is_a_failure() {
        for is_replaced in [false, true] {
            let case = Case::of(&[("s/a", 100, 0o644), ("s/sub/b", 100, 0o644)]);
            if case.is_skipped() {
                return;
            }
            let (output, sub) = (case.create(), case.part().join("sub"));
            fs::remove_dir(&sub).unwrap();
            if is_replaced {
                std::os::unix::fs::symlink(case.directory.path(), &sub).unwrap();
            }
            assert!(case.write(&output, 0).is_err());
            assert!(!case.directory.path().join("b").exists());
        }
    }

    /// As where a chunk is still on its way when the share turns out to be gone.
    #[test]
    fn f30_what_comes_while_a_folder_is_removed_creates_nothing_in_it() {
        let paths: Vec<String> = (0..2000).map(|number| format!("s/{}/{number}", number % 20)).collect();
        let files: Vec<(&str, usize, u32)> = paths.iter().map(|path| (&**path, 2000, 0o644)).collect();
        let case = Case::of(&files);
        let (output, written) = (case.create(), std::sync::Barrier::new(2));
        std::thread::scope(|scope| {
            let writes = scope.spawn(|| {
                let first = case.write(&output, 0);
                written.wait();
                let mut others = 1..case.geometry.chunk_count();
                first.and_then(|()| others.try_for_each(|number| case.write(&output, number)))
            });
            written.wait();
            output.discard().unwrap();
            drop(writes.join().unwrap());
        });
        assert!(!case.part().exists());
        assert!(case.write(&output, 0).is_err());
        assert!(!case.part().exists());
    }

    #[test]
    fn f1_a_file_goes_where_the_one_before_it_went_and_through_no_symlink() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        fs::create_dir_all(path("a/b")).unwrap();
        fs::create_dir_all(path("other/b")).unwrap();
        let (root, mut last) = (Dir::open(directory.path()).unwrap(), Last::default());
        let mut create = |file: &'static str| {
            let (directory, name) = last.directory_of(&root, Path::new(file))?;
            directory.create_file(name)
        };
        create("a/b/one").unwrap();
        root.rename_new(Path::new("a"), &root, Path::new("moved")).unwrap();
        std::os::unix::fs::symlink("other", path("a")).unwrap();
        create("a/b/two").unwrap();
        create("three").unwrap();
        create("a/b/four").unwrap();
        assert!(create("a/five").is_err() && create("a/b/c/six").is_err());
        create("moved/b/seven").unwrap();
        assert!(create("a/b/eight").is_err(), "it is not the one before it any more");
        for there in ["moved/b/one", "moved/b/two", "three", "moved/b/four", "moved/b/seven"] {
            assert!(path(there).exists(), "{there}");
        }
        assert_eq!(fs::read_dir(path("other/b")).unwrap().count(), 0);
    }

    #[test]
    fn f30_what_was_killed_between_the_files_of_a_folder_is_gone_on_with() {
        let case = Case::of(&[
            ("s/a", CHUNK / 2, 0o644),
            ("s/sub/b", CHUNK / 2, 0o444),
            ("s/c", 1000, 0o644),
            ("s/sub/d", CHUNK - 1000, 0o600),
            ("s/e", 1000, 0o755),
        ]);
        let output = case.create();
        let before = output.private_inode();
        case.write(&output, 0).unwrap();
        drop(output);
        let (names, waits) = (["a", "sub/b", "c", "sub/d", "e"], !case.is_skipped());
        assert_eq!(case.there(&names), [true, true, !waits, !waits, !waits]);
        // It was created, and not written.
        let c = fs::File::create(case.part().join("c")).unwrap();
        c.set_permissions(fs::Permissions::from_mode(0o644 & !umask())).unwrap();
        let output = case.reopen(before);
        // What was not there waits again, unless nothing says that this is the one that was left.
        let waits = waits && before.is_some();
        assert_eq!(case.there(&names), [true, true, true, !waits, !waits]);
        let there = output.present(&ChunkSet::full(case.geometry.chunk_count()), &case.geometry);
        assert_eq!(there.iter().map(ChunkIndex::get).collect::<Vec<_>>(), [0]);
        case.write(&output, 1).unwrap();
        case.write(&output, 2).unwrap();
        case.finish(&output);
    }
}
