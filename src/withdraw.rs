//! Takes back what peers may have committed of an upload that is given up. A peer deletes nothing but on the word of the
//! share's key, and that goes with the upload's journal.

use parcelry_core::api::ProblemKind;
use parcelry_core::id::{PeerId, ShareId};
use parcelry_core::limits::{EXPIRY_MAX, PREFERRED_MAX};
use parcelry_core::link::Invite;
use parcelry_core::manifest::ShareKey;
use parcelry_core::seal::{access_hash, access_token};
use parcelry_core::terms::{SignedTerms, Terms, TermsToken};

use crate::client::{ClientError, TrackerClient, tracker_failure};
use crate::clock;
use crate::context::Context;
use crate::failure::{Failure, Kind};
use crate::journal::{OwnedShares, Sent, UploadHeader};
use crate::known_swarms::KnownSwarms;

/// Has an upload deleted at the peers that may have committed it. What is published, or may be, is left alone: of what has
/// a record here, `rm` is the way to delete it. `named` is the swarm that the user names, if he does.
pub async fn withdraw(
    context: &Context,
    header: &UploadHeader,
    sent: &Sent,
    named: Option<&Result<Invite, Failure>>,
) -> Result<(), Failure> {
    let share = ShareKey::from_seed(&header.seed).share_id();
    if *sent == Sent::Nowhere || OwnedShares::new(&context.state).get(share)?.is_some() {
        return Ok(());
    }
    let Sent::To(peers) = sent else {
        let what = "it is published, others may have its link, and its record is not here any more";
        return Err(Failure::new(Kind::Other, what)
            .next("Run the same `share` again to have both. Forget it all the same with --force."));
    };
    let untold = |why: &str| {
        let what = format!("peers may keep what they have of it until its time is over, and {why}");
        Failure::new(Kind::Network, what).next("Forget it all the same with --force.")
    };
    let invite = invite(context, header, named).map_err(|why| untold(&why))?;
    let tracker = TrackerClient::of_invite(context.http.clone(), &invite);
    match delete(&tracker, share, &deletion(header).token, peers).await {
        // A share that is gone already is what was wanted.
        Err(error) if error.problem() != Some(ProblemKind::ShareGone) => {
            let failure = tracker_failure(&error);
            let next = failure.next.map(|next| format!("{next} "));
            let next = format!("{}Forget it all the same with --force.", next.unwrap_or_default());
            Err(untold(&failure.what).next(next))
        }
        _ => Ok(()),
    }
}

/// An invite for the tracker that the upload went through, or why there is none.
fn invite(
    context: &Context,
    header: &UploadHeader,
    named: Option<&Result<Invite, Failure>>,
) -> Result<Invite, String> {
    let through = &header.through;
    let joined = KnownSwarms::new(&context.state).list().into_iter().map(|known| known.invite);
    let named_invite = named.and_then(|named| named.as_ref().ok()).cloned();
    // By key alone: the address may have changed, or be another tracker's by now.
    let found = named_invite.into_iter().chain(joined).find(|invite| invite.tracker_id == through.id);
    found.ok_or_else(|| {
        let why = format!("no invite for the tracker at {} is known here", through.tracker);
        match named {
            Some(Err(failure)) => format!("{why}: {}", failure.what),
            _ => why,
        }
    })
}

/// The word of the share's key that it is deleted.
fn deletion(header: &UploadHeader) -> SignedTerms {
    let key = ShareKey::from_seed(&header.seed);
    let terms = Terms {
        share: key.share_id(),
        issued_ms: clock::now_ms(),
        expires_ms: clock::ms_from_now(EXPIRY_MAX),
        replicas: 1,
        access_sha256: access_hash(&access_token(&header.secret)),
        deleted: true,
    };
    SignedTerms::sign(&key, terms)
}

/// Has a tracker tell the peers, as many at once as it takes. The first word is final.
async fn delete(
    tracker: &TrackerClient,
    share: ShareId,
    deletion: &TermsToken,
    peers: &[PeerId],
) -> Result<(), ClientError> {
    let mut batches = peers.chunks(PREFERRED_MAX);
    let first = batches.next().unwrap_or_default();
    for batch in std::iter::once(first).chain(batches) {
        tracker.delete(share, deletion.clone(), batch.to_vec()).await?;
    }
    Ok(())
}
