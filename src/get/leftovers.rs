//! What earlier attempts left: temporaries of which nothing can become are removed, others are mentioned.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use swarmdrop_core::id::ShareId;

use super::download::Halt;
use crate::failure::Failure;
use crate::folder::remove_any;
use crate::journal::{Abandoned, DownloadHeader};

/// The failure of a get that found no share, with what became of all that was fetched of it before. Blocks.
pub(super) fn of_no_share(state: &Path, share: ShareId, halt: Halt) -> Failure {
    match halt {
        Halt::Failed(failure) => mention(state, share, failure),
        Halt::Final(failure) => {
            let all = Abandoned::of(state, share).into_iter();
            all.filter_map(|abandoned| removed(&abandoned)).fold(failure, also)
        }
    }
}

/// The failure, with where what was fetched of the share before is kept. Blocks.
pub(super) fn mention(state: &Path, share: ShareId, failure: Failure) -> Failure {
    let all = Abandoned::of(state, share).into_iter().map(|abandoned| abandoned.header);
    all.filter(is_there).fold(failure, |failure, header| {
        let kept = header.temporary.display();
        also(
            failure,
            format!("What was fetched of it before is kept in {kept}: `swarmdrop clean` removes it."),
        )
    })
}

/// Adds a sentence to what to do next.
pub(super) fn also(failure: Failure, sentence: String) -> Failure {
    let next = failure.next.as_ref().map_or_else(|| sentence.clone(), |next| format!("{next} {sentence}"));
    failure.next(next)
}

fn removed(abandoned: &Abandoned) -> Option<String> {
    let temporary = &abandoned.header.temporary;
    let was_there = is_there(&abandoned.header);
    let removed = if was_there { remove_any(temporary) } else { Ok(()) };
    if let Err(error) = removed.and_then(|()| abandoned.forget()) {
        return Some(format!("{} cannot be removed: {error}.", temporary.display()));
    }
    was_there.then(|| "What was fetched of it before was removed.".to_owned())
}

/// Whether what stands under the temporary's name is what was left there.
fn is_there(header: &DownloadHeader) -> bool {
    let Ok(metadata) = fs::symlink_metadata(&header.temporary) else { return false };
    let is_it = header.inode == 0 || header.inode == metadata.ino();
    is_it && (metadata.is_file() || metadata.is_dir())
}
