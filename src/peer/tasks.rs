//! What the tracker asks for with a heartbeat, and how the peer answers it.

use parcelry_core::api::{AppliedTerms, ShareChunks, Task};
use parcelry_core::id::ShareId;
use parcelry_core::terms::SignedTerms;

use super::outbox::{Outbox, Report};
use super::storage::Storage;

/// Does what is asked for, and notes what the tracker is to hear of it; copies and drops, which need other peers, are made
/// elsewhere. It blocks on the disk. An error says what failed, and why.
pub(super) fn carry_out(storage: &Storage, outbox: &Outbox, task: Task) -> Result<(), String> {
    match task {
        Task::Terms { share, terms } => take_over(storage, outbox, share, &terms),
        Task::Withhold { share } => match storage.withhold(share) {
            Ok(()) => {
                outbox.push(Report::Withheld(share));
                Ok(())
            }
            Err(error) => Err(format!("cannot note that share {share} was taken down: {error}")),
        },
        Task::Verify(ShareChunks { share, chunks }) => match storage.reverify(share, &chunks) {
            Ok(lost) => {
                lost.into_iter().for_each(|lost| outbox.push(Report::Lost(lost)));
                Ok(())
            }
            Err(error) => Err(format!("cannot read the chunks of share {share}: {error}")),
        },
        Task::Copy(_) | Task::Drop(_) | Task::Restore(_) => Ok(()),
    }
}

/// The owner's signature decides, not the tracker: a peer deletes nothing on a tracker's word.
pub(super) fn take_over(
    storage: &Storage,
    outbox: &Outbox,
    share: ShareId,
    terms: &str,
) -> Result<(), String> {
    let Ok(terms) = SignedTerms::verify(terms, share) else {
        tracing::warn!(%share, "the tracker sent terms that the share's key did not sign");
        return Ok(());
    };
    let issued_ms = terms.issued_ms;
    match storage.put_terms(terms) {
        Ok(true) => outbox.push(Report::Applied(AppliedTerms { share, issued_ms })),
        // It is told again, and what is committed here meanwhile goes then.
        Ok(false) => tracing::warn!(%share, "no room to remember that a share was deleted"),
        Err(error) => return Err(format!("cannot take over the terms of share {share}: {error}")),
    }
    Ok(())
}
