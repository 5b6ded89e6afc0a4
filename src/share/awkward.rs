//! Entries of a directory that cannot be shared: the others are, and each of these is named once.

use std::io;
use std::path::{Path, PathBuf};

use parcelry_core::name::NameError;
use parcelry_core::portability;

use super::collect::Collected;
use crate::failure::{Failure, Kind};
use crate::human;
use crate::progress::Progress;

/// Names that do not work everywhere are told one by one up to this many.
const NOTES_MAX: usize = 10;

/// An entry that is not in the share.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct LeftOut {
    /// Where it is on this machine.
    pub(super) disk: PathBuf,
    /// Why, as in *it is a symlink*.
    pub(super) why: String,
}

/// Why something is not shared.
#[derive(Debug)]
pub(super) enum Refusal {
    /// For what it is itself; what was named on the command line is refused for it, an entry of a directory is left out.
    Entry {
        /// What kind of failure it is for somebody who named it.
        kind: Kind,
        /// Why, as in *it is a symlink*.
        why: String,
        /// What to do next.
        next: &'static str,
    },
    /// For what concerns the whole share.
    Share(Failure),
}

impl Refusal {
    /// It is of a kind that is not shared.
    pub(super) fn odd(why: impl Into<String>, next: &'static str) -> Self {
        Self::Entry { kind: Kind::Usage, why: why.into(), next }
    }

    /// It cannot be read.
    pub(super) fn unreadable(error: &io::Error) -> Self {
        let kind = Failure::io("read", Path::new(""), error).kind;
        Self::Entry { kind, why: format!("it cannot be read: {error}"), next: "" }
    }

    /// The failure of what was named on the command line.
    pub(super) fn of_named(self, disk: &Path) -> Failure {
        match self {
            Self::Share(failure) => failure,
            Self::Entry { kind, why, next } => {
                let failure = Failure::new(kind, format!("cannot share {}: {why}", disk.display()));
                if next.is_empty() { failure } else { failure.next(next) }
            }
        }
    }
}

impl From<NameError> for Refusal {
    fn from(error: NameError) -> Self {
        Self::odd(format!("its name {}", error.rule), "Rename it, then share again.")
    }
}

impl From<Failure> for Refusal {
    fn from(failure: Failure) -> Self {
        Self::Share(failure)
    }
}

/// Names what is left out, and names that do not work everywhere. If it is strict, the former is a failure.
pub(super) fn tell(collected: &Collected, strict: bool, progress: &Progress) -> Result<(), Failure> {
    for LeftOut { disk, why } in &collected.left_out {
        progress.left_out(&disk.display().to_string(), why);
    }
    let count = collected.left_out.len() as u64;
    if strict && count > 0 {
        let what = format!("{} cannot be shared", human::entries(count));
        return Err(Failure::new(Kind::Usage, what)
            .next("Nothing was sent. Without --strict, everything else is shared."));
    }
    let paths = collected.files.iter().map(|file| &file.path).chain(&collected.dirs);
    let paths = paths.chain(collected.links.iter().map(|link| &link.path));
    let notes = portability::notes(paths);
    for (path, why) in notes.iter().take(NOTES_MAX) {
        progress.say(&format!("\"{path}\" does not work on every system: its name {why}"));
    }
    if notes.len() > NOTES_MAX {
        progress.say(&format!("{} more names do not work on every system", notes.len() - NOTES_MAX));
    }
    Ok(())
}
