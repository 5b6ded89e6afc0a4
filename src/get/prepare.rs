//! What a get to disk begins with: the temporary of an earlier attempt, or a new one.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use swarmdrop_core::chunk_set::ChunkSet;
use swarmdrop_core::geometry::Geometry;
use swarmdrop_core::id::ChunkId;
use swarmdrop_core::metadata::Metadata;

use super::output::{Output, Reopened, parent};
use super::place::{Place, check_name};
use super::{Found, Manner, merge};
use crate::context::Context;
use crate::crash::{self, Point};
use crate::durable;
use crate::failure::{Failure, Kind};
use crate::file_system::keeps_modes;
use crate::folder::remove_any;
use crate::holes;
use crate::journal::{DownloadHeader, DownloadJournal, LeftOut, Resumed};
use crate::progress::Progress;
use crate::words;

/// How many temporaries of other users may stand where one is to be made.
const OTHERS_MAX: u32 = 100;

/// A get that can begin.
pub(super) struct Prepared {
    pub(super) output: Output,
    pub(super) journal: DownloadJournal,
    /// The chunks that are there.
    pub(super) done: ChunkSet,
}

/// Opens the temporary of an earlier attempt, or makes a new one. What could not begin leaves no journal. Blocks.
pub(super) fn prepare(
    context: &Context,
    target: &Path,
    (place, manner): (Place, Manner),
    found: &Found,
) -> Result<Prepared, Failure> {
    let target = std::path::absolute(target).map_err(|error| Failure::io("find", target, &error))?;
    let (share, geometry) = (found.manifest.share(), found.manifest.geometry());
    let (mut journal, before) = DownloadJournal::open(&context.state, share, &target, geometry)?;
    let is_new = before.is_none();
    let start = Start { target: &target, place, manner, found, progress: &context.progress };
    match start.begin(&mut journal, before) {
        Ok((output, done)) => Ok(Prepared { output, journal, done }),
        Err(failure) => {
            if is_new && let Err(error) = journal.forget() {
                tracing::warn!(%error, "cannot remove the journal");
            }
            Err(failure)
        }
    }
}

/// What a get begins with.
struct Start<'a> {
    target: &'a Path,
    place: Place,
    manner: Manner,
    found: &'a Found,
    progress: &'a Progress,
}

impl Start<'_> {
    /// The temporary, and the chunks that are in it.
    fn begin(
        &self,
        journal: &mut DownloadJournal,
        before: Option<Resumed>,
    ) -> Result<(Output, ChunkSet), Failure> {
        // What goes into a folder that is there arrives in it: another disk may be mounted there.
        let folder = if self.place == Place::Folder { self.target } else { parent(self.target) };
        if self.place == Place::Folder {
            merge::check(folder, &self.found.metadata)?;
        }
        let has_journal = before.is_some();
        if let Some(before) = before {
            if let Some((output, done)) = self.reopen(&before)? {
                // Before anything is written: what is made again may look whole to the next attempt.
                if done != before.done {
                    journal.keep(&done).map_err(|error| self.failed(&error))?;
                }
                self.tell_if_lost(&before, &done);
                return Ok((output, done));
            }
            self.tell_if_lost(&before, &ChunkSet::empty(0));
        }
        let temporary = self.free_name(folder, journal.key())?;
        if !has_journal && temporary.symlink_metadata().is_ok() {
            if let Some((output, done)) = self.adopt(&temporary)? {
                self.note(journal, &temporary, &output)?;
                journal.keep(&done).map_err(|error| self.failed(&error))?;
                return Ok((output, done));
            }
            let text = "was left by an earlier get, whose notes are gone, and nothing in it can be gone on with: it is removed.";
            self.progress.say(&format!("{} {text}", temporary.display()));
        }
        self.create(journal, folder, &temporary)
    }

    /// A new temporary, in which nothing is.
    fn create(
        &self,
        journal: &mut DownloadJournal,
        folder: &Path,
        temporary: &Path,
    ) -> Result<(Output, ChunkSet), Failure> {
        let (metadata, geometry) = (&self.found.metadata, self.found.manifest.geometry());
        remove_any(temporary).map_err(|error| Failure::io("clear away", temporary, &error))?;
        check_space(folder, metadata, geometry)?;
        if self.place == Place::Free {
            check_name(temporary, self.target, metadata.is_single_file())?;
        }
        let output = Output::create(temporary, self.target, metadata.clone()).inspect_err(|_| {
            let _ = remove_any(temporary);
        })?;
        crash::at(Point::TemporaryMade);
        self.note(journal, temporary, &output).inspect_err(|_| {
            let _ = output.discard();
        })?;
        Ok((output, ChunkSet::empty(geometry.chunk_count())))
    }

    /// Begins the journal of what is fetched to this temporary.
    fn note(&self, journal: &mut DownloadJournal, temporary: &Path, output: &Output) -> Result<(), Failure> {
        let inode = output.private_inode().unwrap_or(0);
        let (share, target) = (self.found.manifest.share(), self.target.to_owned());
        let mut header = DownloadHeader::new(share, target, temporary.to_owned(), inode);
        header.left_out = output.left_out();
        journal.begin(&header).map_err(|error| self.failed(&error))
    }

    /// The temporary of an earlier attempt with the chunks that are in it; `None` if it is not there, or if nothing says
    /// that it is the one: then it is removed.
    fn reopen(&self, before: &Resumed) -> Result<Option<(Output, ChunkSet)>, Failure> {
        let header = &before.header;
        let inode = (header.inode != 0).then_some(header.inode);
        let Some(reopened) = self.open(&header.temporary, inode, header.left_out.clone()) else {
            return Ok(None);
        };
        let Reopened { output, is_trusted } = reopened;
        let done = output.present(&before.done, self.found.manifest.geometry());
        if before.trusted && is_trusted {
            return Ok(Some((output, done)));
        }
        self.checked(output, &done)
    }

    /// What was fetched to a temporary whose journal is gone, if it is surely nobody else's where that can be told: all of
    /// it is checked.
    fn adopt(&self, temporary: &Path) -> Result<Option<(Output, ChunkSet)>, Failure> {
        let has_modes = keeps_modes(parent(temporary)).map_err(|error| self.failed(&error))?;
        let is_private = || is_ours(temporary, 0o077).unwrap_or(false);
        if self.manner.anew || has_modes && !is_private() {
            return Ok(None);
        }
        let Some(Reopened { output, .. }) = self.open(temporary, None, Vec::new()) else { return Ok(None) };
        if has_modes && output.private_inode().is_none() {
            return Ok(None);
        }
        let text = "was left by an earlier get, whose notes are gone: what is in it is checked.";
        self.progress.say(&format!("{} {text}", temporary.display()));
        let geometry = self.found.manifest.geometry();
        let mut all = ChunkSet::empty(geometry.chunk_count());
        geometry.indices().for_each(|index| all.insert(index));
        let there = output.present(&all, geometry);
        self.checked(output, &there)
    }

    fn open(&self, temporary: &Path, inode: Option<u64>, left_out: Vec<LeftOut>) -> Option<Reopened> {
        Output::reopen(temporary, self.target, self.found.metadata.clone(), inode, left_out).ok().flatten()
    }

    /// The temporary with those of the chunks that are right; if none is, it is removed.
    fn checked(&self, output: Output, done: &ChunkSet) -> Result<Option<(Output, ChunkSet)>, Failure> {
        let done = if done.is_empty() { done.clone() } else { self.check_again(&output, done) };
        if done.is_empty() {
            output.discard()?;
            return Ok(None);
        }
        // Nobody checks what is in no chunk.
        output.clear_holes().map_err(|error| self.failed(&error))?;
        Ok(Some((output, done)))
    }

    /// After a crash of the system the temporary may have lost what was not synced: seals each chunk
    /// again, and keeps those that give the id in the manifest.
    fn check_again(&self, output: &Output, done: &ChunkSet) -> ChunkSet {
        let geometry = self.found.manifest.geometry();
        let total_bytes = done.iter().map(|index| geometry.plain_len(index) as u64).sum();
        let stage = self.progress.stage("Reading again", total_bytes);
        let mut good = ChunkSet::empty(geometry.chunk_count());
        let mut bytes = Vec::new();
        for index in done.iter() {
            bytes.resize(geometry.plain_len(index), 0);
            if output.read(geometry.plain_range(index).start, &mut bytes).is_ok() {
                self.found.keys.seal_chunk(geometry, index, &mut bytes);
                if ChunkId::of(&bytes) == self.found.manifest.chunk(index) {
                    good.insert(index);
                }
            }
            stage.advance(geometry.plain_len(index) as u64);
        }
        good
    }

    /// Where the temporary is to be. Not by the share alone: it may be on its way to another name in the same folder. What
    /// is another user's stays as it is, where files have owners.
    fn free_name(&self, folder: &Path, key: &str) -> Result<PathBuf, Failure> {
        let first = folder.join(format!(".swarmdrop-{key:.16}.part"));
        let is_free = |name: &PathBuf| is_ours(name, 0).unwrap_or(true);
        if is_free(&first) || !keeps_modes(folder).map_err(|error| self.failed(&error))? {
            return Ok(first);
        }
        let mut others =
            (2..OTHERS_MAX).map(|number| folder.join(format!(".swarmdrop-{key:.16}-{number}.part")));
        let free = others.find(is_free).ok_or_else(|| self.failed(&io::ErrorKind::AlreadyExists.into()))?;
        let shown = first.display();
        self.progress
            .say(&format!("{shown} belongs to somebody else: what is fetched goes to {}.", free.display()));
        Ok(free)
    }

    fn tell_if_lost(&self, before: &Resumed, done: &ChunkSet) {
        if !before.done.is_empty() && done.is_empty() {
            self.progress
                .say("What was fetched before is not there any more, or not as it was: beginning anew.");
        }
    }

    fn failed(&self, error: &io::Error) -> Failure {
        Failure::io("prepare", self.target, error)
    }
}

/// Whether what stands there is this user's, and none of these rights are given; an error if nothing does.
fn is_ours(path: &Path, rights: u32) -> io::Result<bool> {
    let metadata = fs::symlink_metadata(path)?;
    Ok(metadata.uid() == rustix::process::geteuid().as_raw() && metadata.mode() & rights == 0)
}

/// Whether there is room for all that is to be written: holes take none where there can be some.
fn check_space(folder: &Path, metadata: &Metadata, geometry: &Geometry) -> Result<(), Failure> {
    let failed = |error| Failure::io("save in", folder, &error);
    let free = durable::free_bytes(folder).map_err(failed)?;
    let has_holes = metadata.size > geometry.total();
    let leaves_holes = !has_holes || free >= geometry.total() && holes::can_be_in(folder).map_err(failed)?;
    let needed = if leaves_holes { geometry.total() } else { metadata.size };
    if free < needed {
        let (needed, free) = (words::bytes(needed), words::bytes(free));
        let why = if leaves_holes { "" } else { ", as files have no holes there" };
        let what = format!("{needed} are needed in {}{why}, {free} are free", folder.display());
        return Err(Failure::new(Kind::NoSpace, what).next("Make room, or choose another place with -o."));
    }
    Ok(())
}
