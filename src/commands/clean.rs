//! `parcelry clean`: removes what was begun from here and not finished.

use std::time::Duration;

use parcelry_core::duration::millis;
use parcelry_core::link::Invite;

use super::answers::{Cleaned, PartialEntry};
use super::{partial, swarms};
use crate::cli::CleanArgs;
use crate::clock;
use crate::context::Context;
use crate::failure::{Failure, Kind};
use crate::human;
use crate::journal::{Begun, Sent, UploadHeader, Work};
use crate::task::blocking;
use crate::withdraw::withdraw;

/// How to remove what is chosen.
struct Wish {
    /// Forget also what its peers could not be told of.
    even_untold: bool,
    /// The swarm that the user names, if he does, or why there is no such swarm: it is needed only for an upload that
    /// peers may have.
    named: Option<Result<Invite, Failure>>,
}

/// Removes what was begun, not finished, and not touched for so long; asks first unless it was told not to. Peers that
/// may keep something of it are told to drop it before its key is forgotten.
pub(super) async fn run(context: &Context, args: CleanArgs) -> Result<(), Failure> {
    let is_named = args.swarm.invite.is_some() || args.swarm.swarm.is_some();
    let named = if is_named { Some(swarms::chosen(context, args.swarm).await) } else { None };
    let wish = Wish { even_untold: args.force, named };
    let (asking, untouched_for, is_sure) = (context.clone(), args.older_than, args.yes);
    let left = blocking(move || chosen(&asking, untouched_for, is_sure)).await?;
    let progress = &context.progress;
    let (mut removed, mut freed_bytes, mut failed) = (Vec::new(), 0, 0);
    for (begun, entry) in left {
        match end(context, begun, &wish).await {
            // A command has gone on with it meanwhile.
            Ok(false) => {}
            Ok(true) => {
                freed_bytes += entry.disk_bytes;
                removed.push(entry);
            }
            Err(failure) => {
                progress.warn(&failure.to_string());
                failed += 1;
            }
        }
    }
    let text = match removed.len() as u64 {
        0 => "Nothing was removed.".into(),
        n => format!("Removed {}: {} are free again.", human::count(n, "thing"), human::bytes(freed_bytes)),
    };
    progress.summary(&text, Cleaned { removed, freed_bytes });
    if failed == 0 {
        return Ok(());
    }
    Err(Failure::new(Kind::Partial, format!("{} could not be removed", human::count(failed, "thing")))
        .next("Mend what the warnings say, then run the same command again."))
}

/// What is to be removed, when whoever is there to ask has said so, and what is told of it: that is gone afterwards.
fn chosen(
    context: &Context,
    untouched_for: Duration,
    is_sure: bool,
) -> Result<Vec<(Begun, PartialEntry)>, Failure> {
    let progress = &context.progress;
    let before_ms = clock::now_ms().saturating_sub(millis(untouched_for));
    let mut left = Begun::list(&context.state);
    left.retain(|begun| !begun.is_in_use && begun.touched_ms <= before_ms);
    let with_entry = |begun: Begun| {
        let entry = partial::entry(&begun);
        (begun, entry)
    };
    let left: Vec<_> = left.into_iter().map(with_entry).collect();
    if left.is_empty() || is_sure {
        return Ok(left);
    }
    left.iter().for_each(|(_, entry)| progress.explain(&partial::line(entry)));
    let things = human::count(left.len() as u64, "thing");
    let bytes: u64 = left.iter().map(|(_, entry)| entry.disk_bytes).sum();
    let is_at_peers = |(begun, _): &&(Begun, PartialEntry)| {
        matches!(begun.work, Work::Upload(_)) && begun.sent().is_ok_and(|sent| matches!(sent, Sent::To(_)))
    };
    let at_peers = match left.iter().filter(is_at_peers).count() as u64 {
        0 => String::new(),
        n => format!(", and delete at its peers what may be there of {}", human::count(n, "upload")),
    };
    match progress.confirm(&format!("Remove {things}, which take {} here{at_peers}?", human::bytes(bytes))) {
        Some(true) => Ok(left),
        Some(false) => Ok(Vec::new()),
        None => Err(Failure::new(Kind::Usage, "nothing was removed: there is nobody to ask here")
            .next("See what there is with `parcelry ls --partial`, and remove it with --yes.")),
    }
}

/// Removes what was begun, once the peers of an upload are told. Returns whether nobody has gone on with it meanwhile.
async fn end(context: &Context, begun: Begun, wish: &Wish) -> Result<bool, Failure> {
    let (begun, taken) = blocking(move || begun.take().map(|taken| (begun, taken))).await?;
    let Some(taken) = taken else { return Ok(false) };
    if let Work::Upload(header) = &begun.work
        && let Err(failure) = delete(context, header, &begun, wish.named.as_ref()).await
    {
        if !wish.even_untold {
            let what = format!("the upload of {} stays: {}", header.name, failure.what);
            return Err(Failure { what, ..failure });
        }
        context.progress.warn(&failure.what);
    }
    blocking(move || begun.remove_taken(&taken).map(|()| true)).await
}

/// Deletes an upload at the peers that may have committed it.
async fn delete(
    context: &Context,
    header: &UploadHeader,
    begun: &Begun,
    named: Option<&Result<Invite, Failure>>,
) -> Result<(), Failure> {
    let sent = begun.sent()?;
    withdraw(context, header, &sent, named).await
}
