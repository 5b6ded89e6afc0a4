//! `parcelry rm`: deletes a share that was made from here.

use parcelry_core::terms::Terms;

use super::answers::Removed;
use super::{owned, pasted};
use crate::cli::LinkArgs;
use crate::context::Context;
use crate::failure::Failure;
use crate::journal::OwnedShares;

/// Takes a share back: its peers drop it with their next heartbeats. Its key is kept until its time is over, to say so
/// again to a tracker that forgot.
pub(super) async fn run(context: &Context, args: LinkArgs) -> Result<(), Failure> {
    let link = pasted::link(args.link).await?;
    let (mut owned, terms) =
        owned::replace_terms(context, &link, |terms| Terms { deleted: true, ..terms }).await?;
    owned.set_terms(&terms);
    OwnedShares::new(&context.state).put(&owned)?;
    let text = format!("Deleted {}. Its peers drop it with their next heartbeats.", owned.name);
    context.progress.summary(&text, Removed { share: link.share, name: owned.name, deleted: true });
    Ok(())
}
