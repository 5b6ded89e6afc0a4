//! `parcelry ls`: lists the shares that were made from here, or what was begun and not finished.

use super::answers::{PartialList, ShareEntry, ShareList};
use super::partial;
use crate::cli::LsArgs;
use crate::clock;
use crate::context::Context;
use crate::human;
use crate::journal::{Begun, OwnedShare, OwnedShares};

/// Lists what was begun with `--partial`, else the shares.
pub(super) fn run(context: &Context, args: &LsArgs) {
    if args.partial { list_partial(context) } else { list_shares(context) }
}

/// The shares that were made from here.
fn list_shares(context: &Context) {
    let shares = OwnedShares::new(&context.state).list();
    let now_ms = clock::now_ms();
    let row = |share: &OwnedShare| {
        // A record that is damaged in part is still listed.
        let expires_ms = share.terms().map_or(0, |signed| signed.expires_ms);
        let entry = ShareEntry {
            name: share.name.clone(),
            size_bytes: share.size_bytes,
            file_count: share.file_count,
            link: share.link().map_or_else(|_| "?".into(), |link| link.expose_text()),
            created: clock::rfc3339(share.created_ms),
            expires: clock::rfc3339(expires_ms),
            expired: expires_ms <= now_ms,
        };
        (entry, expires_ms)
    };
    let rows = shares.iter().map(row);
    if context.progress.is_json() {
        context.progress.document(&ShareList { shares: rows.map(|(entry, _)| entry).collect() });
        return;
    }
    if shares.is_empty() {
        context.progress.say("No shares were made from here.");
    }
    for (ShareEntry { name, size_bytes, link, expired, .. }, expires_ms) in rows {
        let left = match expired {
            true => "expired".into(),
            false => format!("expires in {}", human::until(expires_ms, now_ms)),
        };
        context.progress.result(&format!("{name}  {}  {left}", human::bytes(size_bytes)));
        context.progress.result(&format!("  {link}"));
    }
}

/// What was begun and not finished.
fn list_partial(context: &Context) {
    let entries: Vec<_> = Begun::list(&context.state).iter().map(partial::entry).collect();
    if context.progress.is_json() {
        context.progress.document(&PartialList { partial: entries });
        return;
    }
    if entries.is_empty() {
        context.progress.say("Everything that was begun from here was finished.");
    }
    entries.iter().for_each(|entry| context.progress.result(&partial::line(entry)));
}
