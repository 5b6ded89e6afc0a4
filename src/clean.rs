//! What was begun and not finished: `ls --partial` lists it, `clean` removes it.

use std::time::Duration;

use swarmdrop_core::api::ProblemKind;
use swarmdrop_core::duration::millis;
use swarmdrop_core::limits::EXPIRY_MAX;
use swarmdrop_core::link::Invite;
use swarmdrop_core::manifest::ShareKey;
use swarmdrop_core::seal::{access_hash, access_token};
use swarmdrop_core::terms::{SignedTerms, Terms};

use crate::answers::{Cleaned, PartialEntry, PartialKind, PartialList};
use crate::client::TrackerClient;
use crate::clock;
use crate::context::{Context, tracker_failure};
use crate::failure::{Failure, Kind};
use crate::journal::{Begun, OwnedShares, Work};
use crate::swarm::KnownSwarms;
use crate::task::blocking;
use crate::words;

/// Lists what was begun and not finished.
pub fn list(context: &Context) {
    let entries: Vec<_> = Begun::list(&context.state).iter().map(entry).collect();
    if context.progress.is_json() {
        context.progress.document(&PartialList { partial: entries });
        return;
    }
    if entries.is_empty() {
        context.progress.say("Everything that was begun from here was finished.");
    }
    entries.iter().for_each(|entry| context.progress.result(&line(entry)));
}

/// What to remove, and how.
#[derive(Debug, Clone)]
pub struct Wish {
    /// Leave what was touched within this time.
    pub untouched_for: Duration,
    /// Do not ask.
    pub is_sure: bool,
    /// Forget also what its peers could not be told of.
    pub even_untold: bool,
    /// The swarm that commands speak to, beside those that were joined.
    pub swarm: Option<Invite>,
}

/// Removes what was begun, not finished, and not touched for so long; asks first unless it was told not to. Peers that may
/// keep something of it are told to drop it before its key is forgotten.
pub async fn clean(context: &Context, wish: Wish) -> Result<(), Failure> {
    let (asking, wished) = (context.clone(), wish.clone());
    let left = blocking(move || chosen(&asking, &wished)).await?;
    let progress = &context.progress;
    let (mut removed, mut freed_bytes, mut failed) = (Vec::new(), 0, 0);
    for begun in left {
        // What is listed of it is gone afterwards.
        let (entry, disk_bytes) = (entry(&begun), begun.disk_bytes);
        match end(context, begun, &wish).await {
            // A command has gone on with it meanwhile.
            Ok(false) => {}
            Ok(true) => {
                removed.push(entry);
                freed_bytes += disk_bytes;
            }
            Err(failure) => {
                progress.warn(&failure.to_string());
                failed += 1;
            }
        }
    }
    let text = match removed.len() as u64 {
        0 => "Nothing was removed.".into(),
        n => format!("Removed {}: {} are free again.", words::count(n, "thing"), words::bytes(freed_bytes)),
    };
    progress.summary(&text, Cleaned { removed, freed_bytes });
    if failed == 0 {
        return Ok(());
    }
    Err(Failure::new(Kind::Partial, format!("{} could not be removed", words::count(failed, "thing")))
        .next("Mend what the warnings say, then run the same command again."))
}

/// What is to be removed, when whoever is there to ask has said so.
fn chosen(context: &Context, wish: &Wish) -> Result<Vec<Begun>, Failure> {
    let progress = &context.progress;
    let before_ms = clock::now_ms().saturating_sub(millis(wish.untouched_for));
    let mut left = Begun::list(&context.state);
    left.retain(|begun| !begun.is_in_use && begun.touched_ms <= before_ms);
    if left.is_empty() || wish.is_sure {
        return Ok(left);
    }
    left.iter().for_each(|begun| progress.explain(&line(&entry(begun))));
    let (things, bytes) = (words::count(left.len() as u64, "thing"), disk_bytes(&left));
    match progress.confirm(&format!("Remove {things}, which take {} here?", words::bytes(bytes))) {
        Some(true) => Ok(left),
        Some(false) => Ok(Vec::new()),
        None => Err(Failure::new(Kind::Usage, "nothing was removed: there is nobody to ask here")
            .next("See what there is with `swarmdrop ls --partial`, and remove it with --yes.")),
    }
}

/// Removes what was begun, once the peers of an upload are told; whether nobody has gone on with it meanwhile.
async fn end(context: &Context, begun: Begun, wish: &Wish) -> Result<bool, Failure> {
    let (begun, taken) = blocking(move || begun.take().map(|taken| (begun, taken))).await?;
    let Some(taken) = taken else { return Ok(false) };
    match delete(context, &begun, wish.swarm.as_ref()).await {
        Err(failure) if wish.even_untold => {
            context.progress.warn(&format!("{}: {}", entry(&begun).name, failure.what));
        }
        told => told?,
    }
    blocking(move || begun.remove_taken(&taken).map(|()| true)).await
}

/// Deletes an upload at the peers that may have committed it. A peer deletes nothing but on the word of the share's key,
/// and that goes with the journal.
async fn delete(context: &Context, begun: &Begun, swarm: Option<&Invite>) -> Result<(), Failure> {
    let Work::Upload(header) = &begun.work else { return Ok(()) };
    let Some(sent_to) = begun.sent_to() else { return Ok(()) };
    let key = ShareKey::from_seed(&header.seed);
    let share = key.share_id();
    // It was finished but for this journal: `rm` deletes it.
    if OwnedShares::new(&context.state).get(share).is_some() {
        return Ok(());
    }
    let untold = |why: &str| {
        let what = format!(
            "the upload of {} stays: peers may keep what they have of it until its time is over, and {why}",
            header.name
        );
        Failure::new(Kind::Network, what).next("Forget it all the same with --force.")
    };
    let Some(through) = &header.through else {
        return Err(untold("an earlier version did not note through which tracker it went"));
    };
    let is_meant = |invite: &&Invite| invite.tracker_id == through.id;
    let joined: Vec<Invite> =
        KnownSwarms::new(&context.state).list().into_iter().map(|known| known.invite).collect();
    let Some(invite) = swarm.into_iter().chain(&joined).find(is_meant) else {
        return Err(untold(&format!("no invite for the tracker at {} is known here", through.tracker)));
    };
    let terms = Terms {
        share,
        issued_ms: clock::now_ms(),
        expires_ms: clock::ms_from_now(EXPIRY_MAX),
        replicas: 1,
        access_sha256: access_hash(&access_token(&header.secret)),
        deleted: true,
    };
    let tracker = TrackerClient::of_invite(context.http.clone(), invite);
    match tracker.delete(share, SignedTerms::sign(&key, terms).token, sent_to).await {
        Err(error) if error.problem() != Some(ProblemKind::ShareGone) => {
            Err(untold(&tracker_failure(&error).what))
        }
        _ => Ok(()),
    }
}

fn disk_bytes(begun: &[Begun]) -> u64 {
    begun.iter().map(|begun| begun.disk_bytes).sum()
}

fn entry(begun: &Begun) -> PartialEntry {
    let place = begun.place();
    let (kind, name, size_bytes) = match &begun.work {
        Work::Upload(header) => {
            let size_bytes = header.files.iter().map(|file| file.size).sum();
            (PartialKind::Upload, header.name.to_string(), Some(size_bytes))
        }
        Work::Download(header) => {
            let name = header.target.file_name().unwrap_or_default();
            (PartialKind::Download, name.to_string_lossy().into_owned(), None)
        }
        Work::Unreadable => (PartialKind::Unreadable, String::new(), None),
    };
    PartialEntry {
        kind,
        name,
        path: place.map(|path| path.to_string_lossy().into_owned()),
        temporary: begun.temporary().map(|path| path.to_string_lossy().into_owned()),
        size_bytes,
        disk_bytes: begun.disk_bytes,
        touched: clock::rfc3339(begun.touched_ms),
        is_in_use: begun.is_in_use,
        is_away: begun.out_of_reach().is_some(),
        touched_ms: begun.touched_ms,
    }
}

fn line(entry: &PartialEntry) -> String {
    let path = entry.path.as_deref().unwrap_or("standard input");
    let what = match (entry.kind, entry.size_bytes) {
        (PartialKind::Upload, Some(size)) => format!("upload of {path}, {}", words::bytes(size)),
        (PartialKind::Upload, None) => format!("upload of {path}"),
        (PartialKind::Download, _) => format!("download to {path}"),
        (PartialKind::Unreadable, _) => "a journal that cannot be read".into(),
    };
    let since = Duration::from_millis(clock::now_ms().saturating_sub(entry.touched_ms));
    let (disk, since) = (words::bytes(entry.disk_bytes), words::duration(since));
    let in_use = if entry.is_in_use { ", under way now" } else { "" };
    let away = if entry.is_away { ", on a disk that is not there" } else { "" };
    format!("{what}: takes {disk} here, last touched {since} ago{in_use}{away}")
}
