//! Creates what a share holds, each entry exclusively. The receiver's own file system decides which names are any: what
//! it does not take, or takes for another of the same share, is left out and named, and overwrites nothing.

use std::collections::{HashMap, HashSet};
use std::ffi::OsStr;
use std::io;
use std::path::Path;

use parcelry_core::metadata::Metadata;
use parcelry_core::name::SafePath;
use parcelry_core::portability::{NotEverywhere, not_everywhere};
use rustix::io::Errno;

use crate::disk::dir::Dir;
use crate::journal::LeftOut;

/// Where entries are created: a directory, or one that tells names apart in another way.
pub(super) trait Place {
    /// Creates a directory with those above it, unless they are there.
    fn create_dirs(&self, path: &Path) -> io::Result<()>;
    /// Creates a directory that must not exist yet.
    fn create_dir(&self, path: &Path) -> io::Result<()>;
    /// Creates a file that must not exist yet, with this mode.
    fn create_file(&self, path: &Path, mode: u32) -> io::Result<()>;
    /// Whether all names are ordinary ones here: elsewhere some lead to devices and hidden streams.
    fn takes_all_names(&self) -> bool {
        !cfg!(windows)
    }
}

impl Place for Dir {
    fn create_dirs(&self, path: &Path) -> io::Result<()> {
        Self::create_dirs(self, path)
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        Self::create_dir(self, path).map(drop)
    }

    fn create_file(&self, path: &Path, mode: u32) -> io::Result<()> {
        self.create_file_with(path, mode).map(drop)
    }
}

/// What was created, and what was not.
#[derive(Debug)]
pub(super) struct Created {
    /// What the file system does not take.
    pub(super) left_out: Vec<LeftOut>,
    /// For each file, whether it is to be created when its bytes come; empty if none is.
    pub(super) late: Vec<bool>,
}

/// Creates all directories, and the files, empty, but for those of which `late` says, for each in its order, that they are
/// created when their bytes come. It is asked only if no directory was any trouble. Symlinks come last: see `links`.
pub(super) fn create_all(
    place: &impl Place,
    metadata: &Metadata,
    late: impl FnOnce() -> Vec<bool>,
) -> io::Result<Created> {
    let top = &metadata.original_filename;
    let mut entries = Entries { place, made: HashSet::new(), left_out: Vec::new(), has_trouble: false };
    let links = metadata.links.iter().map(|link| &link.path);
    for path in metadata.files.iter().map(|file| &file.path).chain(links) {
        if let Some((above, _)) = path.below(top).and_then(|path| path.rsplit_once('/')) {
            entries.directories(above)?;
        }
    }
    for dir in &metadata.dirs {
        entries.empty_directory(dir, dir.below(top).unwrap_or_default())?;
    }
    let is_sound = !entries.has_trouble && entries.left_out.is_empty();
    let late = if is_sound { late() } else { Vec::new() };
    let files = metadata.files.iter().enumerate();
    for (_, file) in files.filter(|(number, _)| late.get(*number) != Some(&true)) {
        let below = file.path.below(top).unwrap_or_default();
        // Never wider for others than it will be; its owner has to write it yet.
        let mode = file.permissions() | 0o600;
        entries.create(&file.path, below, |place| place.create_file(Path::new(below), mode))?;
    }
    Ok(Created { left_out: entries.left_out, late })
}

/// The files that are not in a temporary that is gone on with, by their numbers.
#[derive(Debug, Default)]
pub(super) struct Missing {
    /// Those that were made again, and are empty.
    pub(super) made_again: HashSet<usize>,
    /// Those that are to be created when their bytes come.
    pub(super) late: Vec<usize>,
}

/// Creates what is not there, but for what was left out: an earlier attempt has moved it to its place already, or had not
/// created it yet. Of files of which `late` says, for each in its order, that they are created when their bytes come, only
/// the directories are made. Nothing may be behind a file's end, whoever wrote it: many are in no chunk.
pub(super) fn create_missing(
    directory: &Dir,
    metadata: &Metadata,
    left_out: &HashSet<&SafePath>,
    late: &[bool],
) -> io::Result<Missing> {
    let (mut missing, mut last) = (Missing::default(), None);
    let top = &metadata.original_filename;
    for dir in metadata.dirs.iter().filter(|dir| !left_out.contains(dir)) {
        directory.create_dirs(Path::new(dir.below(top).unwrap_or_default()))?;
    }
    let files = metadata.files.iter().enumerate();
    for (number, file) in files.filter(|(_, file)| !left_out.contains(&file.path)) {
        let path = Path::new(file.path.below(top).unwrap_or_default());
        match directory.kind_and_len_of(path)? {
            None => {
                let above = path.parent().unwrap_or(path);
                // Most files stand in the same directory as the one before.
                if last.replace(above) != Some(above) {
                    directory.create_dirs(above)?;
                }
                if late.get(number) == Some(&true) {
                    missing.late.push(number);
                } else {
                    directory.create_file_with(path, file.permissions() | 0o600)?;
                    missing.made_again.insert(number);
                }
            }
            // What is beyond the end is somebody else's, and no chunk would overwrite it.
            Some((kind, len)) if kind.is_file() && len > file.size => {
                directory.open_file(path)?.set_len(file.size)?;
            }
            Some(_) => {}
        }
    }
    Ok(missing)
}

/// Whether all directories and files stand in the directory under exactly their names, and no file under two.
pub(super) fn stand_apart(directory: &Dir, metadata: &Metadata) -> io::Result<bool> {
    let below = |path: &'_ SafePath| path.below(&metadata.original_filename).unwrap_or_default().to_owned();
    let files: Vec<String> = metadata.files.iter().map(|file| below(&file.path)).collect();
    let dirs: Vec<String> = metadata.dirs.iter().map(below).collect();
    let mut expected: HashMap<&Path, HashSet<&OsStr>> = HashMap::new();
    for path in files.iter().chain(&dirs) {
        for path in Path::new(path).ancestors() {
            let (Some(above), Some(name)) = (path.parent(), path.file_name()) else { break };
            // The directories above it were gone through with an earlier path.
            if !expected.entry(above).or_default().insert(name) {
                break;
            }
        }
    }
    for (above, names) in expected {
        let opened = if above.as_os_str().is_empty() { None } else { Some(directory.open_dir(above)?) };
        let there = opened.as_ref().unwrap_or(directory).entries()?;
        let there: HashSet<&OsStr> = there.iter().map(|(name, _)| name.as_os_str()).collect();
        if !names.is_subset(&there) {
            return Ok(false);
        }
    }
    for path in &files {
        if directory.has_other_names(Path::new(path))? {
            return Ok(false);
        }
    }
    Ok(true)
}

struct Entries<'a, P> {
    place: &'a P,
    /// The directories that are there under exactly these names.
    made: HashSet<&'a str>,
    left_out: Vec<LeftOut>,
    /// Whether a directory on the way to an entry was refused.
    has_trouble: bool,
}

impl<'a, P: Place> Entries<'a, P> {
    /// Directories on the way to entries. Where a directory has the name of another, what is in both goes there; where there
    /// can be none, that shows at what is to be in it.
    fn directories(&mut self, path: &'a str) -> io::Result<()> {
        let mut left = Some(path).filter(|path| !self.made.contains(path));
        if left.is_none() || !self.takes(path) {
            return Ok(());
        }
        while let Some(directory) = left.filter(|directory| self.made.insert(directory)) {
            left = directory.rsplit_once('/').map(|(above, _)| above);
        }
        match self.place.create_dirs(Path::new(path)) {
            Err(error) if is_about_the_name(&error) => self.has_trouble = true,
            made => made?,
        }
        Ok(())
    }

    fn empty_directory(&mut self, path: &SafePath, below: &'a str) -> io::Result<()> {
        if let Some((above, _)) = below.rsplit_once('/') {
            self.directories(above)?;
        }
        if below.is_empty() || self.made.contains(below) {
            return Ok(());
        }
        self.create(path, below, |place| place.create_dir(Path::new(below)))
    }

    fn create(
        &mut self,
        path: &SafePath,
        below: &str,
        create: impl FnOnce(&P) -> io::Result<()>,
    ) -> io::Result<()> {
        let why = if self.takes(below) {
            match create(self.place) {
                Ok(()) => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                    "here its name is that of another entry of the share".to_owned()
                }
                Err(error) if is_about_the_name(&error) => format!("there can be no such name here: {error}"),
                Err(error) => return Err(error),
            }
        } else {
            "here its name is none of a file".to_owned()
        };
        self.left_out.push(LeftOut { path: path.clone(), why });
        Ok(())
    }

    fn takes(&self, path: &str) -> bool {
        let is_special = |component| {
            matches!(not_everywhere(component), Some(NotEverywhere::Device | NotEverywhere::Character))
        };
        self.place.takes_all_names() || !path.split('/').any(is_special)
    }
}

/// Whether a file system says by this that it does not take a name, and not that something is wrong with it.
pub(super) fn is_about_the_name(error: &io::Error) -> bool {
    let errno = error.raw_os_error().map(Errno::from_raw_os_error);
    matches!(
        errno,
        Some(
            Errno::EXIST
                | Errno::INVAL
                | Errno::ILSEQ
                | Errno::NAMETOOLONG
                | Errno::NOTDIR
                | Errno::ISDIR
                | Errno::NOENT
                | Errno::LOOP
        )
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use parking_lot::Mutex;

    /// Takes names that differ in case only for one, and no colons and devices.
    #[derive(Default)]
    struct Folding {
        there: Mutex<Vec<(String, bool)>>,
        has_devices: bool,
    }

    impl Folding {
        fn add(&self, path: &Path, is_directory: bool) -> io::Result<()> {
            let path = path.to_str().unwrap().to_lowercase();
            let mut there = self.there.lock();
            let kind =
                |path: &str| there.iter().find(|(known, _)| known == path).map(|(_, directory)| *directory);
            match path.rsplit_once('/').map(|(above, _)| kind(above)) {
                Some(None) => return Err(Errno::NOENT.into()),
                Some(Some(false)) => return Err(Errno::NOTDIR.into()),
                _ if kind(&path).is_some() => return Err(Errno::EXIST.into()),
                _ if path.contains(':') => return Err(Errno::INVAL.into()),
                _ => {}
            }
            there.push((path, is_directory));
            Ok(())
        }
    }

    impl Place for Folding {
        fn create_dirs(&self, path: &Path) -> io::Result<()> {
            let all: Vec<&Path> = path.ancestors().filter(|path| !path.as_os_str().is_empty()).collect();
            let made = |path: &&Path| match self.add(path, true) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
                other => other,
            };
            all.iter().rev().try_for_each(made)
        }

        fn create_dir(&self, path: &Path) -> io::Result<()> {
            self.add(path, true)
        }

        fn create_file(&self, path: &Path, _mode: u32) -> io::Result<()> {
            self.add(path, false)
        }

        fn takes_all_names(&self) -> bool {
            !self.has_devices
        }
    }

    fn metadata(files: &[&str], dirs: &[&str]) -> Metadata {
        let entry = |path: &&str| {
            serde_json::json!({ "path": path, "offset": 0, "size": 0, "executable": false,
            "modified": "2026-01-01T00:00:00Z" })
        };
        serde_json::from_value(serde_json::json!({ "original_filename": "s", "extension": "", "size": 0,
            "chunk_count": 0, "created": "2026-01-01T00:00:00Z", "files": files.iter().map(entry).collect::<Vec<_>>(),
            "dirs": dirs }))
        .unwrap()
    }

    fn left_out(place: &Folding, files: &[&str], dirs: &[&str]) -> Vec<String> {
        let created = create_all(place, &metadata(files, dirs), Vec::new).unwrap();
        created.left_out.iter().map(|entry| entry.path.to_string()).collect()
    }

    #[test]
    fn f06_what_a_file_system_takes_for_another_entry_is_named_and_overwrites_nothing() {
        for (files, dirs, expected) in [
            (&["s/A", "s/a", "s/b"][..], &[][..], &["s/a"][..]),
            (&["s/X/a", "s/x/b", "s/x/A"], &[], &["s/x/A"]),
            (&["s/a/b", "s/A"], &[], &["s/A"]),
            (&["s/a/b/c"], &["s/A", "s/A/B", "s/a/b", "s/d", "s/d/e", "s"], &["s/A", "s/A/B"]),
            (&["s/a:b", "s/c:/d", "s/e"], &["s/f:/g"], &["s/f:/g", "s/a:b", "s/c:/d"]),
            (&["s/a", "s/d/b"], &["s/c"], &[]),
        ] {
            assert_eq!(left_out(&Folding::default(), files, dirs), expected, "{files:?} {dirs:?}");
        }
    }

    #[test]
    fn f06_names_of_devices_are_tried_only_where_they_are_ordinary_names() {
        let place = Folding { has_devices: true, ..Folding::default() };
        let files = ["s/aux.c", "s/nul/file", "s/a?", "s/ok"];
        assert_eq!(left_out(&place, &files, &["s/com1"]), ["s/com1", "s/aux.c", "s/nul/file", "s/a?"]);
        assert_eq!(
            *place.there.lock(),
            [("s/ok".to_owned(), false)].map(|(path, kind)| (path[2..].to_owned(), kind))
        );
        assert!(left_out(&Folding::default(), &files, &["s/com1"]).is_empty());
    }

    #[test]
    fn f06_files_wait_for_their_bytes_only_where_every_folder_was_made() {
        let [sound, troubled] = [["s/a", "s/d/b", "s/c"], ["s/a", "s/d:/b", "s/c"]].map(|files| {
            let place = Folding::default();
            let created = create_all(&place, &metadata(&files, &[]), || vec![true, true, false]).unwrap();
            let there = place.there.into_inner();
            let there: Vec<String> = there.into_iter().map(|(path, _)| path).collect();
            (there.join(" "), created.late, created.left_out.len())
        });
        assert_eq!(sound, ("d c".to_owned(), vec![true, true, false], 0));
        assert_eq!(troubled, ("a c".to_owned(), vec![], 1));
        let place = Folding::default();
        let clash = create_all(&place, &metadata(&["s/a"], &["s/D", "s/d"]), || vec![true]).unwrap();
        assert_eq!((clash.late, clash.left_out.len()), (vec![], 1));
    }

    #[test]
    fn a_disk_that_fails_is_a_failure() {
        struct Full;
        impl Place for Full {
            fn create_dirs(&self, _: &Path) -> io::Result<()> {
                Err(Errno::NOSPC.into())
            }
            fn create_dir(&self, _: &Path) -> io::Result<()> {
                Err(Errno::NOSPC.into())
            }
            fn create_file(&self, _: &Path, _: u32) -> io::Result<()> {
                Err(Errno::NOSPC.into())
            }
        }
        for (files, dirs) in [(&["s/a"][..], &[][..]), (&[], &["s/a"]), (&["s/a/b"], &[])] {
            assert!(create_all(&Full, &metadata(files, dirs), Vec::new).is_err());
        }
    }
}
