//! What the tracker asks for with a heartbeat, and how the peer answers it.

use std::io;

use parcelry_core::api::{AppliedTerms, ShareChunks, Task};
use parcelry_core::id::ShareId;
use parcelry_core::terms::SignedTerms;

use super::outbox::{Outbox, Report};
use super::storage::Storage;

/// Does what is asked for, and notes what the tracker is to hear of it; copies and drops, which need other peers, are
/// made elsewhere. It blocks on the disk, and logs what fails.
pub(super) fn carry_out(storage: &Storage, outbox: &Outbox, task: Task) -> io::Result<()> {
    match task {
        Task::Terms { share, terms } => take_over(storage, outbox, share, &terms),
        Task::Withhold { share } => {
            storage.withhold(share).inspect_err(log(share, "cannot note that a share was taken down"))?;
            outbox.push(Report::Withheld(share));
            Ok(())
        }
        Task::Verify(ShareChunks { share, chunks }) => {
            let lost = storage.reverify(share, &chunks);
            let lost = lost.inspect_err(log(share, "cannot read the chunks of a share"))?;
            lost.into_iter().for_each(|lost| outbox.push(Report::Lost(lost)));
            Ok(())
        }
        Task::Copy(_) | Task::Drop(_) | Task::Restore(_) => Ok(()),
    }
}

/// Takes over terms, and logs if that fails. The owner's signature decides, not the tracker: a peer deletes nothing on a
/// tracker's word.
pub(super) fn take_over(storage: &Storage, outbox: &Outbox, share: ShareId, terms: &str) -> io::Result<()> {
    let Ok(terms) = SignedTerms::verify(terms, share) else {
        tracing::warn!(%share, "the tracker sent terms that the share's key did not sign");
        return Ok(());
    };
    let issued_ms = terms.issued_ms;
    if storage.put_terms(terms).inspect_err(log(share, "cannot take over the terms of a share"))? {
        outbox.push(Report::Applied(AppliedTerms { share, issued_ms }));
    } else {
        // It is told again, and what is committed here meanwhile goes then.
        tracing::warn!(%share, "no room to remember that a share was deleted");
    }
    Ok(())
}

/// Logs what cannot be done with a share.
fn log(share: ShareId, what: &'static str) -> impl FnOnce(&io::Error) {
    move |error: &io::Error| tracing::error!(%share, %error, "{what}")
}
