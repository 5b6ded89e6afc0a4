//! `parcelry extend`: lets a share that was made from here live longer.

use parcelry_core::terms::Terms;

use super::answers::Extended;
use super::{owned, pasted};
use crate::cli::ExtendArgs;
use crate::client::{TrackerClient, tracker_skew};
use crate::clock;
use crate::context::Context;
use crate::failure::Failure;
use crate::human;
use crate::journal::OwnedShares;

/// Lets a share live for this long from now.
pub(super) async fn run(context: &Context, args: ExtendArgs) -> Result<(), Failure> {
    let link = pasted::link(Some(args.link)).await?;
    let expires_ms = clock::ms_from_now(args.duration);
    let tracker = TrackerClient::of_link(context.http.clone(), &link);
    if let Some(off) = tracker_skew(&tracker).await?.check_end(expires_ms)? {
        context.progress.warn(&off);
    }
    let (mut owned, terms) =
        owned::replace_terms(context, &link, |terms| Terms { expires_ms, ..terms }).await?;
    owned.set_terms(&terms);
    OwnedShares::new(&context.state).put(&owned)?;
    let text =
        format!("{} expires in {} from now on.", owned.name, human::until(expires_ms, clock::now_ms()));
    let expires = clock::rfc3339(expires_ms);
    context.progress.summary(&text, Extended { share: link.share, name: owned.name, expires });
    Ok(())
}
