//! What the tracker asks for with a heartbeat, and how the peer answers it.

use swarmdrop_core::api::{AppliedTerms, CopyTask, DropTask, ShareChunks, Task};
use swarmdrop_core::id::ShareId;
use swarmdrop_core::terms::SignedTerms;

use super::findings::{Finding, Findings};
use super::storage::Storage;

/// What takes time, and needs other peers.
#[derive(Debug, Default)]
pub(super) struct Later {
    pub(super) copies: Vec<CopyTask>,
    pub(super) drops: Vec<DropTask>,
}

/// Does at once what takes little time, and notes what the tracker is to hear of it; what takes longer is given back. It
/// blocks on the disk.
pub(super) fn carry_out(storage: &Storage, findings: &Findings, tasks: Vec<Task>) -> Later {
    let mut later = Later::default();
    for task in tasks {
        match task {
            Task::Copy(task) => later.copies.push(task),
            Task::Drop(task) => later.drops.push(task),
            Task::Terms { share, terms } => take_over(storage, findings, share, &terms),
            Task::Verify(asked) => verify(storage, findings, &asked),
        }
    }
    later
}

fn verify(storage: &Storage, findings: &Findings, ShareChunks { share, chunks }: &ShareChunks) {
    match storage.check_again(*share, chunks) {
        Ok(lost) => lost.into_iter().for_each(|lost| findings.note(Finding::Lost(lost))),
        Err(error) => tracing::error!(%share, %error, "cannot read the share's chunks"),
    }
}

/// The owner's signature decides, not the tracker: a peer deletes nothing on a tracker's word.
pub(super) fn take_over(storage: &Storage, findings: &Findings, share: ShareId, terms: &str) {
    let Ok(terms) = SignedTerms::verify(terms, share) else {
        tracing::warn!(%share, "the tracker sent terms that the share's key did not sign");
        return;
    };
    let issued_ms = terms.terms.issued_ms;
    match storage.put_terms(terms) {
        Ok(()) => findings.note(Finding::Applied(AppliedTerms { share, issued_ms })),
        Err(error) => tracing::error!(%share, %error, "cannot take over the share's terms"),
    }
}
