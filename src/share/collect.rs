//! What there is to share: walks the paths and checks every name before anything is sent.

use std::fs::{self, File, Metadata};
use std::io::{self, Read, Write};
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::Access;
use swarmdrop_core::limits::{FILES_MAX, UNTOLD_BYTES_MAX};
use swarmdrop_core::name::{SafePath, normalise};

use super::own::Own;
use crate::failure::{Failure, Kind};
use crate::journal::SourceFile;
use crate::progress::Progress;

/// Files and empty folders, in the order of the stream.
#[derive(Debug)]
pub(super) struct Collected {
    /// The name under which the receiver saves it.
    pub(super) name: SafePath,
    /// The files.
    pub(super) files: Vec<SourceFile>,
    /// The folders that hold nothing.
    pub(super) dirs: Vec<SafePath>,
    /// What was read already: standard input, and files that do not tell their length.
    pub(super) spool: Option<File>,
}

/// Walks the paths. Symlinks and special files are not followed: each is named in a warning.
pub(super) fn collect(
    state: &Path,
    paths: &[PathBuf],
    name: Option<&str>,
    progress: &Progress,
) -> Result<Collected, Failure> {
    let mut walk =
        Walk { files: Vec::new(), dirs: Vec::new(), spool: Spool::new(state), own: Own::of(state), progress };
    let top = match paths {
        [path] => {
            let top = walk.top_name(name, &own_name(path)?)?;
            walk.visit(&absolute(path)?, &top)?;
            top
        }
        _ => {
            let first = paths.first().map(|path| own_name(path)).transpose()?.unwrap_or_default();
            let several = format!("{first} and {} more", paths.len().saturating_sub(1));
            let top = walk.top_name(name, &several)?;
            for path in paths {
                let below = format!("{top}/{}", normalise(&own_name(path)?));
                walk.visit(&absolute(path)?, &safe(&below)?)?;
            }
            top
        }
    };
    if walk.files.is_empty() && walk.dirs.is_empty() {
        let what = "there is nothing to share: only symlinks or special files were named";
        return Err(Failure::new(Kind::Usage, what));
    }
    Ok(Collected { name: top, files: walk.files, dirs: walk.dirs, spool: walk.spool.file })
}

/// Takes standard input to its end into a file that vanishes with this process. Its length must be
/// known before peers can be asked for space.
pub(super) fn collect_stdin(
    state: &Path,
    name: Option<&str>,
    progress: &Progress,
) -> Result<Collected, Failure> {
    let failed = |error: io::Error| Failure::io("keep standard input in", state, &error);
    let mut spool = Spool::new(state);
    progress.say("Reading standard input…");
    let (spooled_at, size) = spool.take(&mut io::stdin().lock(), u64::MAX).map_err(failed)?;
    let walk = Walk { files: Vec::new(), dirs: Vec::new(), spool, own: Own::of(state), progress };
    let path = walk.top_name(name, "stdin")?;
    let modified_ns = i128::from(crate::clock::now_ms()) * 1_000_000;
    let (inode, executable) = (0, false);
    let source =
        SourceFile { disk: None, spooled_at, path: path.clone(), size, modified_ns, inode, executable };
    Ok(Collected { name: path, files: vec![source], dirs: Vec::new(), spool: walk.spool.file })
}

/// The facts by which a change of the file is noticed.
pub(super) fn fingerprint(metadata: &Metadata) -> (u64, i128, u64) {
    let modified_ns = i128::from(metadata.mtime()) * 1_000_000_000 + i128::from(metadata.mtime_nsec());
    (metadata.len(), modified_ns, metadata.ino())
}

/// A file that vanishes with this process, with what cannot be read again, or not by its length, one after the other.
struct Spool<'a> {
    state: &'a Path,
    file: Option<File>,
    end: u64,
}

impl<'a> Spool<'a> {
    fn new(state: &'a Path) -> Self {
        Self { state, file: None, end: 0 }
    }

    /// Reads to the end, but no more than `limit`; where it begins, and how long it is.
    fn take(&mut self, input: &mut impl Read, limit: u64) -> io::Result<(u64, u64)> {
        if self.file.is_none() {
            crate::durable::create_private_folder(self.state)?;
            self.file = Some(tempfile::tempfile_in(self.state)?);
        }
        let (start, Some(file)) = (self.end, &mut self.file) else { unreachable!("it was just made") };
        let size = io::copy(&mut input.take(limit), file)?;
        file.flush()?;
        self.end += size;
        Ok((start, size))
    }
}

/// Whether a file without blocks on a disk holds something else than its length says: more than nothing, as what the
/// kernel makes up when it is read (`/proc`), or less than a page (`/sys`). Small files and holes end where they say.
fn hides_its_length(file: &File, len: u64) -> io::Result<bool> {
    let is_there = file.read_at(&mut [0], len.saturating_sub(1))? > 0;
    Ok(is_there == (len == 0))
}

struct Walk<'a> {
    files: Vec<SourceFile>,
    dirs: Vec<SafePath>,
    spool: Spool<'a>,
    own: Own,
    progress: &'a Progress,
}

impl Walk<'_> {
    /// The name at the receiver: in normal form and not hidden, and the user is told if that changed it.
    fn top_name(&self, asked: Option<&str>, own: &str) -> Result<SafePath, Failure> {
        let wanted = asked.unwrap_or(own);
        let name = normalise(wanted.trim_start_matches('.'));
        if name != wanted {
            self.progress.say(&format!("The receiver will see \"{name}\" instead of \"{wanted}\"."));
        }
        SafePath::parse_top(&name).map_err(|error| name_failure(&error))
    }

    fn visit(&mut self, disk: &Path, path: &SafePath) -> Result<(), Failure> {
        let metadata = fs::symlink_metadata(disk).map_err(|error| Failure::io("share", disk, &error))?;
        let kind = metadata.file_type();
        if kind.is_dir() {
            if self.own.has(disk, &metadata) {
                self.progress.warn(&format!(
                    "left out {}: swarmdrop's own keys and invites are there",
                    disk.display()
                ));
                return Ok(());
            }
            return self.visit_folder(disk, path);
        }
        if !kind.is_file() {
            let what = if kind.is_symlink() { "a symlink" } else { "a special file" };
            self.progress.warn(&format!("left out {}: it is {what}", disk.display()));
            return Ok(());
        }
        if self.files.len() >= FILES_MAX {
            return Err(Failure::new(Kind::Usage, format!("a share has at most {FILES_MAX} files"))
                .next("Share parts of the folder, or pack it into an archive first."));
        }
        rustix::fs::access(disk, Access::READ_OK)
            .map_err(|error| Failure::io("read", disk, &error.into()))?;
        let (size, modified_ns, inode) = fingerprint(&metadata);
        let mut source = SourceFile {
            disk: Some(disk.to_owned()),
            spooled_at: 0,
            path: path.clone(),
            size,
            modified_ns,
            inode,
            executable: metadata.permissions().mode() & 0o100 != 0,
        };
        if size == 0 || metadata.blocks() == 0 {
            self.spool_if_it_hides_its_length(disk, &mut source)?;
        }
        self.files.push(source);
        Ok(())
    }

    fn spool_if_it_hides_its_length(&mut self, disk: &Path, source: &mut SourceFile) -> Result<(), Failure> {
        let failed = |error: io::Error| Failure::io("read", disk, &error);
        let mut file = crate::durable::open_read(disk).map_err(failed)?;
        // One that has grown meanwhile tells its length.
        let is_as_it_was = file.metadata().map_err(failed)?.len() == source.size;
        if !is_as_it_was || !hides_its_length(&file, source.size).map_err(failed)? {
            return Ok(());
        }
        (source.spooled_at, source.size) = self
            .spool
            .take(&mut file, UNTOLD_BYTES_MAX + 1)
            .map_err(|error| Failure::io("keep what was read in", self.spool.state, &error))?;
        source.disk = None;
        if source.size > UNTOLD_BYTES_MAX {
            let most = crate::words::bytes(UNTOLD_BYTES_MAX);
            let what = format!("{} does not tell its length, and has no end within {most}", disk.display());
            return Err(
                Failure::new(Kind::Usage, what).next("Save what you need of it in a file, and share that.")
            );
        }
        Ok(())
    }

    fn visit_folder(&mut self, disk: &Path, path: &SafePath) -> Result<(), Failure> {
        let failed = |error| Failure::io("read the folder", disk, &error);
        let mut names = Vec::new();
        for entry in fs::read_dir(disk).map_err(failed)? {
            names.push(entry.map_err(failed)?.file_name());
        }
        if names.is_empty() {
            self.dirs.push(path.clone());
        }
        // A fixed order, so that a resumed share has the same stream.
        names.sort();
        for name in names {
            let below = disk.join(&name);
            let name = name.to_str().ok_or_else(|| not_unicode(&below))?;
            let normal = normalise(name);
            if normal != name {
                self.progress.say(&format!("\"{name}\" is shared in Unicode normal form"));
            }
            self.visit(&below, &safe(&format!("{path}/{normal}"))?)?;
        }
        Ok(())
    }
}

fn absolute(path: &Path) -> Result<PathBuf, Failure> {
    std::path::absolute(path).map_err(|error| Failure::io("find", path, &error))
}

/// The last component of a path, also for paths like `.` and `a/..`.
fn own_name(path: &Path) -> Result<String, Failure> {
    let resolved = match path.file_name() {
        Some(_) => path.to_owned(),
        None => path.canonicalize().map_err(|error| Failure::io("share", path, &error))?,
    };
    match resolved.file_name() {
        Some(name) => Ok(name.to_str().ok_or_else(|| not_unicode(path))?.to_owned()),
        None => Err(Failure::new(Kind::Usage, format!("{} has no name", path.display()))
            .next("Give it one with --name.")),
    }
}

fn safe(path: &str) -> Result<SafePath, Failure> {
    SafePath::parse(path).map_err(|error| name_failure(&error))
}

fn name_failure(error: &swarmdrop_core::name::NameError) -> Failure {
    Failure::new(Kind::Usage, format!("cannot share: {error}"))
        .next("Names must work on every receiver's system. Rename it, then share again.")
}

fn not_unicode(path: &Path) -> Failure {
    Failure::new(Kind::Usage, format!("cannot share {}: its name is not Unicode", path.display()))
        .next("Rename it first.")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn collect_in(folder: &Path, names: &[&str]) -> Result<(Collected, u64), Failure> {
        let progress = Progress::silent();
        let paths: Vec<PathBuf> = names.iter().map(|name| folder.join(name)).collect();
        collect(folder, &paths, None, &progress).map(|collected| (collected, progress.warnings()))
    }

    fn paths(collected: &Collected) -> Vec<&str> {
        collected.files.iter().map(|file| file.path.as_str()).collect()
    }

    #[test]
    fn a_folder_is_walked_in_order_without_symlinks_and_special_files() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join("s/b/empty")).unwrap();
        for name in ["s/z", "s/a", "s/b/c"] {
            fs::write(folder.path().join(name), name).unwrap();
        }
        std::os::unix::fs::symlink("/etc/passwd", folder.path().join("s/link")).unwrap();
        std::os::unix::fs::symlink(".", folder.path().join("s/loop")).unwrap();
        std::os::unix::net::UnixListener::bind(folder.path().join("s/socket")).unwrap();
        let (collected, warnings) = collect_in(folder.path(), &["s"]).unwrap();
        assert_eq!(paths(&collected), ["s/a", "s/b/c", "s/z"]);
        assert_eq!(collected.dirs.iter().map(SafePath::as_str).collect::<Vec<_>>(), ["s/b/empty"]);
        assert_eq!(warnings, 3);
    }

    #[test]
    fn several_paths_make_one_folder() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["a.txt", "b.txt"] {
            fs::write(folder.path().join(name), name).unwrap();
        }
        let (collected, _) = collect_in(folder.path(), &["a.txt", "b.txt"]).unwrap();
        assert_eq!(collected.name.as_str(), "a.txt and 1 more");
        assert_eq!(paths(&collected), ["a.txt and 1 more/a.txt", "a.txt and 1 more/b.txt"]);
    }

    #[test]
    fn a_hidden_name_is_shown() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(".bashrc"), "x").unwrap();
        assert_eq!(collect_in(folder.path(), &[".bashrc"]).unwrap().0.name.as_str(), "bashrc");
    }

    #[test]
    fn what_cannot_be_shared_is_refused_before_anything_is_sent() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("CON"), "x").unwrap();
        fs::write(folder.path().join("a\nb"), "x").unwrap();
        std::os::unix::fs::symlink("CON", folder.path().join("link")).unwrap();
        for (name, why) in
            [("CON", "device"), ("a\nb", "control"), ("link", "nothing to share"), ("none", "No such")]
        {
            let failure = collect_in(folder.path(), &[name]).unwrap_err();
            assert!(failure.what.contains(why), "{failure}");
            assert!(!failure.what.contains('\n') || name != "a\nb");
        }
    }
}
