//! What can be done to a share from where it was made, because its key is there.

use parcelry_core::api::ProblemKind;
use parcelry_core::link::ShareLink;
use parcelry_core::terms::{SignedTerms, Terms};

use crate::client::{TrackerClient, tracker_failure};
use crate::clock;
use crate::context::Context;
use crate::failure::{Failure, Kind};
use crate::journal::{OwnedShare, OwnedShares};

/// Signs newer terms with the share's key and hands them to the tracker.
pub(super) async fn replace_terms(
    context: &Context,
    link: &ShareLink,
    change: impl FnOnce(Terms) -> Terms,
) -> Result<(OwnedShare, SignedTerms), Failure> {
    let owned = OwnedShares::new(&context.state).get(link.share)?;
    let owned = owned.ok_or_else(not_ours)?;
    let before = owned.terms().ok_or_else(not_ours)?.into_terms();
    let terms = change(before.clone());
    if before.deleted && terms.expires_ms != before.expires_ms {
        return Err(Failure::new(Kind::NotFound, format!("{} was deleted from here", owned.name))
            .next("What is over does not come back: share it again."));
    }
    // Later than the terms before also if this machine's clock went back, for the newest count.
    let issued_ms = clock::now_ms().max(before.issued_ms + 1);
    let terms = SignedTerms::sign(&owned.key(), Terms { issued_ms, ..terms });
    let tracker = TrackerClient::of_link(context.http.clone(), link);
    match tracker.put_terms(link.share, terms.token.clone()).await {
        Ok(()) => Ok((owned, terms)),
        Err(error) if terms.deleted && error.problem() == Some(ProblemKind::ShareGone) => Ok((owned, terms)),
        Err(error) if error.problem() == Some(ProblemKind::ShareNotFound) => {
            if terms.deleted && before.is_over(clock::now_ms()) {
                return Ok((owned, terms));
            }
            // It may have lost its database, and peers that are away may bring the share back.
            Err(tracker_failure(&error).next("Run the same command again when its peers are there."))
        }
        Err(error) => Err(tracker_failure(&error)),
    }
}

/// The failure where there is no record of a share.
pub(super) fn not_ours() -> Failure {
    Failure::new(Kind::Denied, "this share was not made from here: only its sender's machine has its key")
        .next("`parcelry ls` shows the shares that were made from here.")
}
