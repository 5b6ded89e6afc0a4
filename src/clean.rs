//! What was begun and not finished: `ls --partial` lists it, `clean` removes it.

use std::time::Duration;

use swarmdrop_core::duration::millis;

use crate::answers::{Cleaned, PartialEntry, PartialKind, PartialList};
use crate::clock;
use crate::context::Context;
use crate::failure::{Failure, Kind};
use crate::journal::{Begun, Work};
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

/// Removes what was begun, not finished, and not touched for so long; asks first unless it was told not to.
pub fn clean(context: &Context, untouched_for: Duration, is_sure: bool) -> Result<(), Failure> {
    let progress = &context.progress;
    let before_ms = clock::now_ms().saturating_sub(millis(untouched_for));
    let mut left = Begun::list(&context.state);
    left.retain(|begun| !begun.is_in_use && begun.touched_ms <= before_ms);
    if !left.is_empty() && !is_sure {
        left.iter().for_each(|begun| progress.explain(&line(&entry(begun))));
        let (things, bytes) = (words::count(left.len() as u64, "thing"), disk_bytes(&left));
        let question = format!("Remove {things}, which take {} here?", words::bytes(bytes));
        match progress.confirm(&question) {
            Some(true) => {}
            Some(false) => left.clear(),
            None => {
                return Err(Failure::new(Kind::Usage, "nothing was removed: there is nobody to ask here")
                    .next("See what there is with `swarmdrop ls --partial`, and remove it with --yes."));
            }
        }
    }
    let (mut removed, mut freed_bytes, mut failed) = (Vec::new(), 0, 0);
    for begun in left {
        // What is listed of it is gone afterwards.
        let entry = entry(&begun);
        match begun.remove() {
            // A command has gone on with it meanwhile.
            Ok(false) => {}
            Ok(true) => {
                removed.push(entry);
                freed_bytes += begun.disk_bytes;
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
