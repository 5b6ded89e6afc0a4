//! What the tracker asks for with a heartbeat, and how the peer answers it.

use parcelry_core::api::{AppliedTerms, ShareChunks, Task};
use parcelry_core::id::ShareId;
use parcelry_core::terms::SignedTerms;

use super::outbox::{Outbox, Report};
use super::storage::Storage;

/// Does what is asked for, and notes what the tracker is to hear of it; copies and drops, which need other peers, are made
/// elsewhere. It blocks on the disk.
pub(super) fn carry_out(storage: &Storage, outbox: &Outbox, task: Task) {
    match task {
        Task::Terms { share, terms } => take_over(storage, outbox, share, &terms),
        Task::Withhold { share } => match storage.withhold(share) {
            Ok(()) => outbox.push(Report::Withheld(share)),
            Err(error) => tracing::error!(%share, %error, "cannot note that a share was taken down"),
        },
        Task::Verify(ShareChunks { share, chunks }) => match storage.reverify(share, &chunks) {
            Ok(lost) => lost.into_iter().for_each(|lost| outbox.push(Report::Lost(lost))),
            Err(error) => tracing::error!(%share, %error, "cannot read the share's chunks"),
        },
        Task::Copy(_) | Task::Drop(_) | Task::Restore(_) => {}
    }
}

/// The owner's signature decides, not the tracker: a peer deletes nothing on a tracker's word.
pub(super) fn take_over(storage: &Storage, outbox: &Outbox, share: ShareId, terms: &str) {
    let Ok(terms) = SignedTerms::verify(terms, share) else {
        tracing::warn!(%share, "the tracker sent terms that the share's key did not sign");
        return;
    };
    let issued_ms = terms.issued_ms;
    match storage.put_terms(terms) {
        Ok(true) => outbox.push(Report::Applied(AppliedTerms { share, issued_ms })),
        // It is told again, and what is committed here meanwhile goes then.
        Ok(false) => tracing::warn!(%share, "no room to remember that a share was deleted"),
        Err(error) => tracing::error!(%share, %error, "cannot take over the share's terms"),
    }
}
