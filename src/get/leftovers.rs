//! What earlier attempts left: temporaries of which nothing can become are removed, others are mentioned.

use std::path::{Path, PathBuf};

use parcelry_core::geometry::Geometry;
use parcelry_core::id::ShareId;

use super::Found;
use super::download::Halt;
use crate::failure::{Failure, Kind};
use crate::human;
use crate::journal::Begun;

/// What earlier attempts at the same share and place left.
pub(super) struct Before {
    share: ShareId,
    /// The target, and what it was if the directory that was named, and is not there, is one on a disk that is away.
    places: [PathBuf; 2],
    geometry: Geometry,
}

impl Before {
    /// Of a share on its way to this target.
    pub(super) fn of(found: &Found, target: &Path) -> Result<Self, Failure> {
        let target = std::path::absolute(target).map_err(|error| Failure::io("find", target, &error))?;
        let inside = target.join(found.metadata.original_filename.as_str());
        let (share, geometry) = (found.manifest.share(), *found.manifest.geometry());
        Ok(Self { share, places: [target, inside], geometry })
    }

    /// Refuses to begin anew, in the place where a disk is to be, what may come back with the disk. Blocks.
    pub(super) fn check_in_reach(&self, state: &Path) -> Result<(), Failure> {
        let away = self.begun(state).find_map(|begun| Some((begun.out_of_reach()?.to_owned(), begun)));
        let Some((temporary, begun)) = away else { return Ok(()) };
        let done = begun.fetched_bytes(&self.geometry);
        let (done, total) = (human::bytes(done), human::bytes(self.geometry.total()));
        let what = format!("{done} of {total} were fetched before, and {} is not there", temporary.display());
        Err(Failure::new(Kind::Other, what).next(
            "Is its disk not mounted? Bring it back and run the same command again: it goes on from there. If it is gone \
             for good, begin anew with --anew, or save to another place with -o.",
        ))
    }

    /// Removes what is on its way to the target, or at least forgets it where it is out of reach. What is in reach and on
    /// its way to the other place is another get's. Blocks.
    pub(super) fn forget(&self, state: &Path) -> Result<(), Failure> {
        let [target, _] = &self.places;
        let is_meant =
            |begun: &Begun| begun.place().as_ref() == Some(target) || begun.out_of_reach().is_some();
        self.begun(state).filter(is_meant).try_for_each(|begun| begun.forget().map(drop))
    }

    fn begun(&self, state: &Path) -> impl Iterator<Item = Begun> {
        left(state, self.share)
            .filter(|begun| begun.place().is_some_and(|place| self.places.contains(&place)))
    }
}

/// The failure of a get that found no share, with what became of all that was fetched of it before. Blocks.
pub(super) fn of_no_share(state: &Path, share: ShareId, halt: Halt) -> Failure {
    match halt {
        Halt::Failed(failure) => mention(state, share, failure),
        Halt::Final(failure) => left(state, share).filter_map(|begun| removed(&begun)).fold(failure, also),
    }
}

/// The failure, with where what was fetched of the share before is kept. Blocks.
pub(super) fn mention(state: &Path, share: ShareId, failure: Failure) -> Failure {
    left(state, share).fold(failure, |failure, begun| match begun.temporary() {
        None => failure,
        Some(temporary) => {
            let kept = temporary.display();
            let sentence =
                format!("What was fetched of it before is kept in {kept}: `parcelry clean` removes it.");
            also(failure, sentence)
        }
    })
}

/// Adds a sentence to what to do next.
pub(super) fn also(failure: Failure, sentence: String) -> Failure {
    let next = failure.next.as_ref().map_or_else(|| sentence.clone(), |next| format!("{next} {sentence}"));
    failure.next(next)
}

/// What was fetched of the share, to whatever target, and nobody works on.
fn left(state: &Path, share: ShareId) -> impl Iterator<Item = Begun> {
    let all = Begun::downloads(state).into_iter();
    all.filter(move |begun| begun.fetched() == Some(share) && !begun.is_in_use)
}

fn removed(begun: &Begun) -> Option<String> {
    let was_there = begun.temporary().is_some();
    match begun.remove() {
        Ok(removed) => {
            (removed && was_there).then(|| "What was fetched of it before was removed.".to_owned())
        }
        Err(failure) => {
            let next = failure.next.unwrap_or_default();
            let said = format!("What was fetched of it before was not removed: {}. {next}", failure.what);
            Some(said.trim_end().to_owned())
        }
    }
}
