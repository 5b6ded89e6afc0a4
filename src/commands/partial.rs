//! How what was begun and not finished is told: by `ls --partial`, and by `clean` before it removes it.

use std::time::Duration;

use super::answers::{PartialEntry, PartialKind};
use crate::clock;
use crate::human;
use crate::journal::{Begun, Work};

/// What both tell of something that was begun. Blocks.
pub(super) fn entry(begun: &Begun) -> PartialEntry {
    let place = begun.place();
    let (kind, name, size_bytes) = match &begun.work {
        Work::Upload(header) => {
            let size_bytes = header.files.iter().map(|file| file.size).sum();
            (PartialKind::Upload, header.name.to_string(), Some(size_bytes))
        }
        Work::Download(header) => {
            // The share's own name is in metadata that a journal does not keep: the target is what its user knows.
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
        disk_bytes: begun.disk_bytes(),
        touched: clock::rfc3339(begun.touched_ms),
        is_in_use: begun.is_in_use,
        is_away: begun.out_of_reach().is_some(),
        touched_ms: begun.touched_ms,
    }
}

/// An entry as a line for people.
pub(super) fn line(entry: &PartialEntry) -> String {
    let path = entry.path.as_deref().unwrap_or("standard input");
    let what = match (entry.kind, entry.size_bytes) {
        (PartialKind::Upload, Some(size)) => format!("upload of {path}, {}", human::bytes(size)),
        (PartialKind::Upload, None) => format!("upload of {path}"),
        (PartialKind::Download, _) => format!("download to {path}"),
        (PartialKind::Unreadable, _) => "a journal that cannot be read".into(),
    };
    let since = Duration::from_millis(clock::now_ms().saturating_sub(entry.touched_ms));
    let (disk, since) = (human::bytes(entry.disk_bytes), human::duration(since));
    let in_use = if entry.is_in_use { ", under way now" } else { "" };
    let away = if entry.is_away { ", on a disk that is not there" } else { "" };
    format!("{what}: takes {disk} here, last touched {since} ago{in_use}{away}")
}
