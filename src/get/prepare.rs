//! What a get to disk begins with: the temporary of an earlier attempt, or a new one.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parcelry_core::chunk_set::ChunkSet;
use parcelry_core::geometry::Geometry;
use parcelry_core::id::ChunkId;
use parcelry_core::metadata::Metadata;

use super::output::{Output, Reopened, parent};
use super::place::{Place, check_name};
use super::{Found, Manner, merge, temporary};
use crate::context::Context;
use crate::crash::{self, Point};
use crate::disk::dir::remove_any;
use crate::disk::durable;
use crate::disk::file_system::keeps_modes;
use crate::disk::holes;
use crate::failure::{Failure, Kind};
use crate::human;
use crate::journal::{DownloadHeader, DownloadJournal, LeftOut, Resumed};
use crate::progress::Progress;

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
        // What goes into a directory that is there arrives in it: another disk may be mounted there.
        let directory = if self.place == Place::Directory { self.target } else { parent(self.target) };
        if self.place == Place::Directory {
            merge::check(directory, &self.found.metadata)?;
        }
        if let Some(before) = &before
            && let Some((output, done)) = self.reopen(before)?
        {
            // Before anything is written: what is made again may look whole to the next attempt.
            if done != before.done {
                journal.keep(&done).map_err(|error| self.failed(&error))?;
            }
            self.tell_if_lost(before, &done);
            return Ok((output, done));
        }
        if let Some((output, done)) = self.adopt_any(directory, journal.key())? {
            self.note(journal, &output)?;
            journal.keep(&done).map_err(|error| self.failed(&error))?;
            return Ok((output, done));
        }
        if let Some(before) = before {
            self.tell_if_lost(&before, &ChunkSet::empty(0));
        }
        self.create(journal, directory)
    }

    /// A new temporary, in which nothing is.
    fn create(&self, journal: &mut DownloadJournal, directory: &Path) -> Result<(Output, ChunkSet), Failure> {
        let (metadata, geometry) = (&self.found.metadata, self.found.manifest.geometry());
        let temporary = &self.new_name(directory, journal.key())?;
        check_space(directory, metadata, geometry)?;
        if self.place == Place::Free {
            check_name(temporary, self.target, metadata.is_single_file())?;
        }
        let output =
            Output::create(temporary, self.target, Arc::clone(metadata), geometry).inspect_err(|_| {
                let _ = remove_any(temporary);
            })?;
        crash::at(Point::TemporaryMade);
        self.note(journal, &output).inspect_err(|_| {
            let _ = output.discard();
        })?;
        Ok((output, ChunkSet::empty(geometry.chunk_count())))
    }

    /// Begins the journal of what is fetched to this temporary.
    fn note(&self, journal: &mut DownloadJournal, output: &Output) -> Result<(), Failure> {
        let inode = output.private_inode().unwrap_or(0);
        let (share, target) = (self.found.manifest.share(), self.target.to_owned());
        let mut header = DownloadHeader::new(share, target, output.temporary().to_owned(), inode);
        header.left_out = output.left_out();
        journal.begin(&header).map_err(|error| self.failed(&error))
    }

    /// The temporary of an earlier attempt with the chunks that are in it; `None` if it is not there, or if nothing says
    /// that it is the one.
    fn reopen(&self, before: &Resumed) -> Result<Option<(Output, ChunkSet)>, Failure> {
        let header = &before.header;
        let inode = (header.inode != 0).then_some(header.inode);
        let Some(reopened) = self.open(&header.temporary, inode, header.left_out.clone())? else {
            return Ok(None);
        };
        let Reopened { output, is_trusted } = reopened;
        let done = output.present(&before.done, self.found.manifest.geometry());
        if before.trusted && is_trusted {
            return Ok(Some((output, done)));
        }
        self.checked(output, &done)
    }

    /// What was fetched to a temporary of which no journal of this user's says anything that can be believed. All that
    /// stand there are removed if nothing can become of them; what is another user's, where files have owners, and what
    /// another get is at work on, stays.
    fn adopt_any(&self, directory: &Path, key: &str) -> Result<Option<(Output, ChunkSet)>, Failure> {
        let left = temporary::left_in(directory, key).map_err(|error| self.failed(&error))?;
        if left.is_empty() {
            return Ok(None);
        }
        let has_owners = keeps_modes(directory).map_err(|error| self.failed(&error))?;
        for left in left.iter().filter(|left| !has_owners || temporary::is_ours(left, 0)) {
            if let Some(adopted) = self.adopt(left, key, has_owners)? {
                return Ok(Some(adopted));
            }
            if temporary::clear(left).map_err(|error| Failure::io("clear away", left, &error))? {
                let text =
                    "was left by an earlier get, and nothing in it can be gone on with: it is removed.";
                self.progress.say(&format!("{} {text}", left.display()));
            }
        }
        Ok(None)
    }

    /// The temporary, if it is surely nobody else's where that can be told: all of it is checked. It gets another name,
    /// so that no other journal of this user's, as in another container, believes that it is as it says.
    fn adopt(&self, left: &Path, key: &str, has_owners: bool) -> Result<Option<(Output, ChunkSet)>, Failure> {
        if self.manner.anew || has_owners && !temporary::is_ours(left, 0o077) {
            return Ok(None);
        }
        let Some(Reopened { mut output, .. }) = self.open(left, None, Vec::new())? else { return Ok(None) };
        let is_alone = !has_owners || output.private_inode().is_some();
        if !is_alone || !output.stands_apart().map_err(|error| self.failed(&error))? {
            return Ok(None);
        }
        output.rename(&self.new_name(parent(left), key)?)?;
        let text = "was left by an earlier get: what is in it is checked.";
        self.progress.say(&format!("{} {text}", left.display()));
        let geometry = self.found.manifest.geometry();
        let mut all = ChunkSet::empty(geometry.chunk_count());
        geometry.indices().for_each(|index| all.insert(index));
        let there = output.present(&all, geometry);
        self.checked(output, &there)
    }

    /// Opens a temporary of an earlier attempt; `None` if it is not there, or cannot be the one. That there is no room for
    /// what is missing in it says nothing against it: all of it is kept.
    fn open(
        &self,
        temporary: &Path,
        inode: Option<u64>,
        left_out: Vec<LeftOut>,
    ) -> Result<Option<Reopened>, Failure> {
        let (metadata, geometry) = (Arc::clone(&self.found.metadata), self.found.manifest.geometry());
        let reopened = Output::reopen(temporary, self.target, metadata, geometry, inode, left_out);
        reopened.or_else(|error| match self.failed(&error) {
            failure if failure.kind == Kind::NoSpace => {
                Err(failure.next("Make room, then run the same command again: it goes on from here."))
            }
            _ => Ok(None),
        })
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

    fn tell_if_lost(&self, before: &Resumed, done: &ChunkSet) {
        if !before.done.is_empty() && done.is_empty() {
            self.progress
                .say("What was fetched before is not there any more, or not as it was: beginning anew.");
        }
    }

    fn new_name(&self, directory: &Path, key: &str) -> Result<PathBuf, Failure> {
        temporary::new_name(directory, key).map_err(|error| self.failed(&error))
    }

    fn failed(&self, error: &io::Error) -> Failure {
        Failure::io("prepare", self.target, error)
    }
}

/// Checks that there is room for all that is to be written.
fn check_space(directory: &Path, metadata: &Metadata, geometry: &Geometry) -> Result<(), Failure> {
    let failed = |error| Failure::io("save in", directory, &error);
    let free = durable::free_bytes(directory).map_err(failed)?;
    let needs =
        needs(free, (geometry.total(), metadata.size), || holes::can_be_in(directory)).map_err(failed)?;
    let Some((needed, why)) = needs else { return Ok(()) };
    let (needed, free) = (human::bytes(needed), human::bytes(free));
    let what = format!("{needed} are needed in {}{why}, {free} are free", directory.display());
    Err(Failure::new(Kind::NoSpace, what).next("Make room, or choose another place with -o."))
}

/// The bytes that are needed if that is more than are free, and why so many: holes take none where there can be some.
fn needs(
    free: u64,
    (total, size): (u64, u64),
    can_have_holes: impl FnOnce() -> io::Result<bool>,
) -> io::Result<Option<(u64, &'static str)>> {
    if free < total {
        return Ok(Some((total, "")));
    }
    let fills_holes = free < size && !can_have_holes()?;
    Ok(fills_holes.then_some((size, ", as files have no holes there")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn f29_room_is_needed_for_holes_only_where_there_are_none() {
        let needs = |free, can| needs(free, (10, 1000), || can).unwrap();
        let unasked = || Err(io::Error::other("it need not be known"));
        assert_eq!(needs(5, unasked()), Some((10, "")));
        assert_eq!(needs(1000, unasked()), None);
        assert_eq!(needs(10, Ok(true)), None);
        assert_eq!(needs(999, Ok(false)), Some((1000, ", as files have no holes there")));
    }
}
