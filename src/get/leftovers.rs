//! What earlier attempts left: temporaries of which nothing can become are removed, others are mentioned.

use std::path::Path;

use swarmdrop_core::id::ShareId;

use super::download::Halt;
use crate::failure::Failure;
use crate::journal::Begun;

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
                format!("What was fetched of it before is kept in {kept}: `swarmdrop clean` removes it.");
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
