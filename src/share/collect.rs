//! What there is to share: walks the paths and checks every name before anything is sent.

use std::borrow::Cow;
use std::collections::HashSet;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use parcelry_core::holes::Holes;
use parcelry_core::limits::{FILES_MAX, UNTOLD_BYTES_MAX};
use parcelry_core::links::{self, Link};
use parcelry_core::modes::{self, DirMode};
use parcelry_core::name::{SafePath, normalise};
use rustix::fs::Access;

use super::awkward::{LeftOut, Refusal};
use super::changes::Fingerprint;
use super::own::Own;
use crate::disk::holes::{self, Largest};
use crate::failure::{Failure, Kind};
use crate::journal::{Origin, SourceFile};
use crate::progress::Progress;

/// Files and empty directories, in the order of the stream.
#[derive(Debug)]
pub(super) struct Collected {
    /// The paths that were named, made absolute; none if it is standard input.
    pub(super) paths: Option<Vec<PathBuf>>,
    /// The name under which the receiver saves it.
    pub(super) name: SafePath,
    /// The files.
    pub(super) files: Vec<SourceFile>,
    /// The directories that hold nothing.
    pub(super) dirs: Vec<SafePath>,
    /// The directories whose permissions are not the usual ones.
    pub(super) dir_modes: Vec<DirMode>,
    /// The symlinks that lead to an entry of the share.
    pub(super) links: Vec<Link>,
    /// What was read already: standard input, and files that do not tell their length.
    pub(super) spool: Option<File>,
    /// What is not in the share, although it is in a directory that is.
    pub(super) left_out: Vec<LeftOut>,
}

/// Walks the paths. What was named must be there and sound; a symlink that was named is followed. What is awkward in a
/// directory is left out.
pub(super) fn collect(
    state: &Path,
    paths: &[PathBuf],
    name: Option<&str>,
    progress: &Progress,
) -> Result<Collected, Failure> {
    let mut walk = Walk::new(state, progress);
    let mut absolute = Vec::new();
    let top = match paths {
        [path] => {
            // With --name its own may be one that cannot be shared.
            let own = if name.is_some() { String::new() } else { own_name(path)? };
            let top = walk.top_name(name, &own)?;
            absolute.push(walk.visit_named(path, &top)?);
            top
        }
        _ => {
            let first = paths.first().map(|path| own_name(path)).transpose()?.unwrap_or_default();
            let several = format!("{first} and {} more", paths.len().saturating_sub(1));
            let top = walk.top_name(name, &several)?;
            for path in paths {
                let below = top.join(&normalise(&own_name(path)?));
                let below = below.map_err(|error| Refusal::from(error).of_named(path))?;
                absolute.push(walk.visit_named(path, &below)?);
            }
            top
        }
    };
    Ok(walk.collected(top, Some(absolute)))
}

/// Takes standard input to its end into a file that vanishes with this process. Its length must be
/// known before peers can be asked for space.
pub(super) fn collect_stdin(
    state: &Path,
    name: Option<&str>,
    progress: &Progress,
) -> Result<Collected, Failure> {
    let failed = |error: io::Error| Failure::io("keep standard input in", state, &error);
    let mut walk = Walk::new(state, progress);
    progress.say("Reading standard input…");
    let (at, size) = walk.spool.take(&mut io::stdin().lock(), u64::MAX).map_err(failed)?;
    let name = walk.top_name(name, "stdin")?;
    let modified_ns = i128::from(crate::clock::now_ms()) * 1_000_000;
    let (inode, mode) = (0, modes::of_file(false));
    let (origin, path, holes) = (Origin::Spool { at }, name.clone(), Holes::default());
    walk.files.push(SourceFile { origin, path, size, holes, modified_ns, inode, mode });
    Ok(walk.collected(name, None))
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

    /// Reads to the end, but no more than `limit`. Returns where it begins, and how long it is. What an attempt that
    /// failed has left is written over.
    fn take(&mut self, input: &mut impl Read, limit: u64) -> io::Result<(u64, u64)> {
        if self.file.is_none() {
            crate::disk::durable::create_private_directory(self.state)?;
            self.file = Some(tempfile::tempfile_in(self.state)?);
        }
        let (start, Some(file)) = (self.end, &mut self.file) else { unreachable!("it was just made") };
        file.seek(SeekFrom::Start(start))?;
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
    holes: Largest,
    dirs: Vec<SafePath>,
    dir_modes: Vec<DirMode>,
    /// The symlinks, and where they are on this machine.
    links: Vec<(Link, PathBuf)>,
    spool: Spool<'a>,
    left_out: Vec<LeftOut>,
    own: Own,
    progress: &'a Progress,
}

impl<'a> Walk<'a> {
    fn new(state: &'a Path, progress: &'a Progress) -> Self {
        let (files, dirs, dir_modes) = (Vec::new(), Vec::new(), Vec::new());
        let (links, left_out, holes) = (Vec::new(), Vec::new(), Largest::default());
        let (spool, own) = (Spool::new(state), Own::of(state));
        Self { files, holes, dirs, dir_modes, links, spool, left_out, own, progress }
    }

    fn collected(mut self, name: SafePath, paths: Option<Vec<PathBuf>>) -> Collected {
        let links = self.settle_links();
        let Self { mut files, holes, dirs, dir_modes, spool, left_out, .. } = self;
        for (number, holes) in holes.of_files() {
            files[number].holes = holes;
        }
        Collected { paths, name, files, dirs, dir_modes, links, spool: spool.file, left_out }
    }

    /// The symlinks that may be in the share; the others are left out.
    fn settle_links(&mut self) -> Vec<Link> {
        // Only links need the table of all paths.
        if self.links.is_empty() {
            return Vec::new();
        }
        let (mut links, mut disks): (Vec<Link>, Vec<PathBuf>) =
            std::mem::take(&mut self.links).into_iter().unzip();
        loop {
            let files = self.files.iter().map(|file| &file.path);
            let rules = links::broken_rules(files, self.dirs.iter(), &links);
            if rules.iter().all(Option::is_none) {
                return links;
            }
            // What leads through one that is left out is found the next time.
            let (all, mut kept) = (links.into_iter().zip(disks).zip(rules), (Vec::new(), Vec::new()));
            for ((link, disk), rule) in all {
                match rule {
                    None => {
                        kept.0.push(link);
                        kept.1.push(disk);
                    }
                    Some(rule) => self.left_out.push(LeftOut { disk, why: format!("it is {rule}") }),
                }
            }
            (links, disks) = kept;
        }
    }

    fn visit_link(&mut self, disk: PathBuf, path: SafePath) -> Result<(), Refusal> {
        let target = fs::read_link(&disk).map_err(|error| Refusal::unreadable(&error))?;
        let target =
            target.to_str().ok_or_else(|| Refusal::odd("the target of the symlink is not Unicode", ""))?;
        self.check_count()?;
        self.links.push((Link { path, target: target.to_owned() }, disk));
        Ok(())
    }

    fn check_count(&self) -> Result<(), Failure> {
        if self.files.len() + self.links.len() < FILES_MAX {
            return Ok(());
        }
        Err(Failure::new(Kind::Usage, format!("a share has at most {FILES_MAX} files"))
            .next("Share parts of the folder, or pack it into an archive first."))
    }

    /// The name at the receiver: in normal form and not hidden, and the user is told if that changed it.
    fn top_name(&self, asked: Option<&str>, own: &str) -> Result<SafePath, Failure> {
        let wanted = asked.unwrap_or(own);
        let name = normalise(wanted.trim_start_matches('.'));
        if name != wanted {
            self.progress.say(&format!("The receiver will see \"{name}\" instead of \"{wanted}\"."));
        }
        SafePath::parse_top(&name).map_err(|error| {
            Failure::new(Kind::Usage, format!("cannot share: {error}"))
                .next("Rename it or give it another name with --name, then share again.")
        })
    }

    /// Takes what was named on the command line, at the end of all symlinks. Returns its path, made absolute.
    fn visit_named(&mut self, named: &Path, path: &SafePath) -> Result<PathBuf, Failure> {
        let failed = |error: io::Error| Failure::io("share", named, &error);
        let absolute = std::path::absolute(named).map_err(failed)?;
        let mut disk = absolute.clone();
        if fs::symlink_metadata(&disk).map_err(failed)?.is_symlink() {
            let kind = fs::metadata(&disk).map_err(failed)?.file_type();
            if !kind.is_file() && !kind.is_dir() {
                // As the pipe of a shell (`<(…)`), which has no path of its own.
                return Err(special().of_named(named));
            }
            disk = disk.canonicalize().map_err(failed)?;
        }
        if self.own.holds(&disk).map_err(failed)? {
            return Err(own().of_named(named));
        }
        self.visit(disk, path.clone()).map_err(|refusal| refusal.of_named(named))?;
        Ok(absolute)
    }

    fn visit(&mut self, disk: PathBuf, path: SafePath) -> Result<(), Refusal> {
        // Not followed: a symlink on the way is one in the share, or left out.
        let metadata = fs::symlink_metadata(&disk).map_err(|error| Refusal::unreadable(&error))?;
        let kind = metadata.file_type();
        if kind.is_dir() {
            // At every directory on the way: somebody may share a home.
            if self.own.has(&disk, &metadata) {
                return Err(own());
            }
            self.visit_directory(&disk, &path)?;
            let mode = metadata.mode() & modes::PERMISSIONS;
            if mode != modes::DIRECTORY {
                self.dir_modes.push(DirMode { path, mode });
            }
            return Ok(());
        }
        if kind.is_symlink() {
            return self.visit_link(disk, path);
        }
        if !kind.is_file() {
            return Err(special());
        }
        self.check_count()?;
        // Found out now, and not when half of the share is sent.
        rustix::fs::access(&disk, Access::READ_OK).map_err(|error| Refusal::unreadable(&error.into()))?;
        let Fingerprint { size, modified_ns, inode } = Fingerprint::from(&metadata);
        let mut source = SourceFile {
            origin: Origin::Disk(disk),
            path,
            size,
            holes: Holes::default(),
            modified_ns,
            inode,
            mode: metadata.mode() & modes::PERMISSIONS,
        };
        // Only these may lie about their length, so only these are opened for it.
        if size == 0 || metadata.blocks() == 0 {
            self.spool_if_it_hides_its_length(&mut source)?;
        }
        if let Some(disk) = source.disk()
            && holes::may_be_in(&metadata)
            && let Ok(file) = crate::disk::durable::open_read(disk)
        {
            self.holes.note(self.files.len(), &file, size);
        }
        self.files.push(source);
        Ok(())
    }

    fn spool_if_it_hides_its_length(&mut self, source: &mut SourceFile) -> Result<(), Refusal> {
        let failed = |error: io::Error| Refusal::unreadable(&error);
        let Some(disk) = source.disk() else { return Ok(()) };
        let mut file = crate::disk::durable::open_read(disk).map_err(failed)?;
        // One that has grown meanwhile tells its length.
        let is_as_it_was = file.metadata().map_err(failed)?.len() == source.size;
        if !is_as_it_was || !hides_its_length(&file, source.size).map_err(failed)? {
            return Ok(());
        }
        let taken = self.spool.take(&mut file, UNTOLD_BYTES_MAX + 1);
        let (at, size) = taken.map_err(|error| match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                Failure::io("keep what was read in", self.spool.state, &error).into()
            }
            _ => failed(error),
        })?;
        if size > UNTOLD_BYTES_MAX {
            self.spool.end = at;
            let most = crate::human::bytes(UNTOLD_BYTES_MAX);
            let why = format!("it does not tell its length, and has no end within {most}");
            return Err(Refusal::odd(why, "Save what you need of it in a file, and share that."));
        }
        (source.origin, source.size) = (Origin::Spool { at }, size);
        Ok(())
    }

    fn visit_directory(&mut self, disk: &Path, path: &SafePath) -> Result<(), Refusal> {
        let failed = |error: io::Error| Refusal::unreadable(&error);
        let mut names = Vec::new();
        for entry in fs::read_dir(disk).map_err(failed)? {
            names.push(entry.map_err(failed)?.file_name());
        }
        // A fixed order, so that a resumed share has the same stream.
        names.sort();
        let before = (self.files.len(), self.dirs.len());
        for (name, shared) in names.iter().zip(shared_names(&names)) {
            let visited = match shared {
                None => Err(Refusal::odd("its name is not Unicode", "")),
                Some(shared) => {
                    if *name.as_os_str() != *shared {
                        let name = name.to_string_lossy();
                        self.progress.say(&format!("\"{name}\" is shared in Unicode normal form"));
                    }
                    let path = path.join(&shared);
                    path.map_err(Refusal::from).and_then(|path| self.visit(disk.join(name), path))
                }
            };
            match visited {
                Err(Refusal::Entry { why, .. }) => {
                    self.left_out.push(LeftOut { disk: disk.join(name), why });
                }
                other => other?,
            }
        }
        if (self.files.len(), self.dirs.len()) == before {
            self.dirs.push(path.clone());
        }
        Ok(())
    }
}

fn own() -> Refusal {
    Refusal::odd("parcelry's own keys and invites are there", "")
}

fn special() -> Refusal {
    let next = "To share what a command prints, run: COMMAND | parcelry share - --name NAME";
    Refusal::odd("it is a pipe or another special file", next)
}

/// The names that the entries of a directory have in the share, each in the place of its own: in normal form, unless another
/// has that already. `None`: it has none.
fn shared_names(names: &[OsString]) -> Vec<Option<Cow<'_, str>>> {
    // What is ASCII is in normal form, and takes it from nobody.
    if names.iter().all(|name| name.as_encoded_bytes().is_ascii()) {
        return names.iter().map(|name| name.to_str().map(Cow::Borrowed)).collect();
    }
    normal_names(names)
}

/// The names in the share, whatever they are made of.
fn normal_names(names: &[OsString]) -> Vec<Option<Cow<'_, str>>> {
    let texts = names.iter().filter_map(|name| name.to_str());
    let mut taken: HashSet<String> =
        texts.filter(|name| normalise(name) == *name).map(str::to_owned).collect();
    let mut shared = Vec::with_capacity(names.len());
    for name in names {
        shared.push(name.to_str().map(|name| {
            let normal = normalise(name);
            let is_free = normal == name || taken.insert(normal.to_string());
            if is_free { normal } else { Cow::Borrowed(name) }
        }));
    }
    shared
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

fn not_unicode(path: &Path) -> Failure {
    Failure::new(Kind::Usage, format!("cannot share {}: its name is not Unicode", path.display()))
        .next("Rename it first, or share it alone and give it a name with --name.")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn collect_in(directory: &Path, names: &[&str]) -> Result<(Collected, u64), Failure> {
        let progress = Progress::silent();
        let paths: Vec<PathBuf> = names.iter().map(|name| directory.join(name)).collect();
        collect(&directory.join("state"), &paths, None, &progress)
            .map(|collected| (collected, progress.warnings()))
    }

    fn paths(collected: &Collected) -> Vec<&str> {
        collected.files.iter().map(|file| file.path.as_str()).collect()
    }

    #[test]
    fn a_folder_is_walked_in_order_without_special_files_and_symlinks_to_elsewhere() {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir_all(directory.path().join("s/b/empty")).unwrap();
        for name in ["s/z", "s/a", "s/b/c"] {
            fs::write(directory.path().join(name), name).unwrap();
        }
        std::os::unix::fs::symlink("/etc/passwd", directory.path().join("s/link")).unwrap();
        std::os::unix::fs::symlink(".", directory.path().join("s/loop")).unwrap();
        std::os::unix::net::UnixListener::bind(directory.path().join("s/socket")).unwrap();
        let (collected, warnings) = collect_in(directory.path(), &["s"]).unwrap();
        assert_eq!(paths(&collected), ["s/a", "s/b/c", "s/z"]);
        assert_eq!(collected.dirs.iter().map(SafePath::as_str).collect::<Vec<_>>(), ["s/b/empty"]);
        assert_eq!(warnings, 0, "they are named later");
        let left_out: Vec<_> =
            collected.left_out.iter().map(|entry| entry.disk.file_name().unwrap()).collect();
        assert_eq!(left_out, ["socket", "link"]);
        assert_eq!(collected.links.iter().map(|link| link.path.as_str()).collect::<Vec<_>>(), ["s/loop"]);
    }

    #[test]
    fn several_paths_make_one_folder() {
        let directory = tempfile::tempdir().unwrap();
        for name in ["a.txt", "b.txt"] {
            fs::write(directory.path().join(name), name).unwrap();
        }
        let (collected, _) = collect_in(directory.path(), &["a.txt", "b.txt"]).unwrap();
        assert_eq!(collected.name.as_str(), "a.txt and 1 more");
        assert_eq!(paths(&collected), ["a.txt and 1 more/a.txt", "a.txt and 1 more/b.txt"]);
    }

    #[test]
    fn a_hidden_name_is_shown() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join(".bashrc"), "x").unwrap();
        assert_eq!(collect_in(directory.path(), &[".bashrc"]).unwrap().0.name.as_str(), "bashrc");
    }

    #[test]
    fn what_cannot_be_shared_is_refused_before_anything_is_sent() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("a\nb"), "x").unwrap();
        std::os::unix::fs::symlink("nowhere", directory.path().join("link")).unwrap();
        std::os::unix::net::UnixListener::bind(directory.path().join("socket")).unwrap();
        for (name, why) in
            [("a\nb", "control"), ("link", "No such"), ("none", "No such"), ("socket", "special file")]
        {
            let failure = collect_in(directory.path(), &[name]).unwrap_err();
            assert!(failure.what.contains(why), "{failure}");
            assert!(!failure.what.contains('\n'));
        }
    }

    #[test]
    fn f06_what_is_awkward_in_a_folder_is_left_out_and_its_reason_kept() {
        use std::os::unix::ffi::OsStrExt;
        let directory = tempfile::tempdir().unwrap();
        let inside = directory.path().join("s");
        fs::create_dir_all(inside.join("Icon\r").join("below")).unwrap();
        fs::create_dir(inside.join("only odd")).unwrap();
        let latin = std::ffi::OsStr::from_bytes(b"M\xfcller");
        for name in
            ["a\\b", "Notes.", "aux.c", "A", "a", "e\u{301}", "\u{e9}", "only odd/\u{202e}", "o\u{308}"]
        {
            fs::write(inside.join(name), name).unwrap();
        }
        fs::write(inside.join(latin), "x").unwrap();
        let (collected, _) = collect_in(directory.path(), &["s"]).unwrap();
        let shared = ["s/A", "s/Notes.", "s/a", "s/aux.c", "s/e\u{301}", "s/\u{f6}", "s/\u{e9}"];
        assert_eq!(paths(&collected), shared, "two names that differ in form only are two");
        assert_eq!(collected.dirs.iter().map(SafePath::as_str).collect::<Vec<_>>(), ["s/only odd"]);
        let why: Vec<&str> = collected.left_out.iter().map(|entry| entry.why.as_str()).collect();
        assert_eq!(why[..2], ["its name has a control character", "its name is not Unicode"]);
        assert!(why[2].contains("backslash") && why[3].contains("direction") && why.len() == 4, "{why:?}");
    }

    #[test]
    fn f09_permissions_are_shared_and_no_other_bits() {
        use std::os::unix::fs::PermissionsExt;
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir(directory.path().join("s")).unwrap();
        fs::write(directory.path().join("s/tool"), "x").unwrap();
        for (name, mode) in [("s/tool", 0o6750), ("s", 0o3770)] {
            fs::set_permissions(directory.path().join(name), fs::Permissions::from_mode(mode)).unwrap();
        }
        let (collected, _) = collect_in(directory.path(), &["s"]).unwrap();
        assert_eq!((collected.files[0].mode, collected.dir_modes[0].mode), (0o750, 0o770));
    }

    #[test]
    fn f06_names_are_shared_in_normal_form_unless_another_has_it_already() {
        let cases: serde_json::Value =
            serde_json::from_str(include_str!("../../tests/formats/names.json")).unwrap();
        for case in cases["shared"].as_array().unwrap() {
            let [names, expected]: [Vec<String>; 2] = serde_json::from_value(case.clone()).unwrap();
            let names: Vec<OsString> = names.into_iter().map(OsString::from).collect();
            let shared = shared_names(&names);
            assert_eq!(shared.into_iter().map(Option::unwrap).collect::<Vec<_>>(), expected);
        }
    }

    proptest::proptest! {
        #[test]
        fn f06_names_of_ascii_are_shared_as_they_are(
            names in proptest::collection::vec("[ -~\\x01-\\x1f]{1,8}|[aK;`e\u{212a}\u{37e}\u{301}\u{e9}]{1,3}", 0..6),
        ) {
            let names: Vec<OsString> = names.into_iter().map(OsString::from).collect();
            assert_eq!(shared_names(&names), normal_names(&names), "{names:?}");
        }
    }

    #[test]
    fn f37_this_programs_own_folders_are_left_out_by_name_and_refused_where_they_are_named() {
        let directory = tempfile::tempdir().unwrap();
        for data in ["s/peer", "s/other"] {
            fs::create_dir_all(directory.path().join(data)).unwrap();
            for name in ["identity.key", "lock"] {
                fs::write(directory.path().join(data).join(name), "of another program").unwrap();
            }
        }
        // `other` only has files of these names; `peer` becomes a data directory of this program.
        fs::remove_file(directory.path().join("s/peer/identity.key")).unwrap();
        drop(crate::identity::take(&directory.path().join("s/peer")).unwrap());
        let state = directory.path().join("state");
        let collect = |name: &str| collect(&state, &[directory.path().join(name)], None, &Progress::silent());
        let collected = collect("s").unwrap();
        assert_eq!(paths(&collected), ["s/other/identity.key", "s/other/lock"]);
        let left_out: Vec<_> = collected.left_out.iter().map(|entry| entry.disk.as_path()).collect();
        assert_eq!(left_out, [directory.path().join("s/peer")]);
        fs::create_dir_all(directory.path().join("s/peer/store/chunks")).unwrap();
        fs::create_dir_all(state.join("downloads/0123")).unwrap();
        for name in ["s/peer/store/chunks/aa", "state/swarm"] {
            fs::write(directory.path().join(name), "x").unwrap();
        }
        for (link, to) in [("peers", "s/peer/store"), ("invite", "state/swarm")] {
            std::os::unix::fs::symlink(directory.path().join(to), directory.path().join(link)).unwrap();
        }
        for named in [
            "s/peer",
            "s/peer/store",
            "s/peer/store/chunks/aa",
            "s/peer/identity.key",
            "peers/chunks",
            "state",
            "state/downloads/0123",
            "state/swarm",
            "invite",
            "s/../state/swarm",
        ] {
            let failure = collect(named).expect_err(named);
            assert!(failure.kind == Kind::Usage && failure.what.contains("parcelry's own"), "{failure}");
        }
    }

    #[test]
    fn f07_a_symlink_that_was_named_is_followed() {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir(directory.path().join("d")).unwrap();
        fs::write(directory.path().join("d/file"), "x").unwrap();
        std::os::unix::fs::symlink("d/file", directory.path().join("latest.iso")).unwrap();
        std::os::unix::fs::symlink("d", directory.path().join("current")).unwrap();
        assert_eq!(paths(&collect_in(directory.path(), &["latest.iso"]).unwrap().0), ["latest.iso"]);
        let (both, _) = collect_in(directory.path(), &["current", "latest.iso"]).unwrap();
        assert_eq!(paths(&both), ["current and 1 more/current/file", "current and 1 more/latest.iso"]);
    }
}
