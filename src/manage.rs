//! The short commands about shares and swarms: `inspect`, `ls`, `rm`, `extend`, `status`.

use std::collections::BTreeMap;
use std::time::Duration;

use parcelry_core::api::{PeerInfo, ProblemKind, SwarmHealth};
use parcelry_core::link::{Invite, ShareLink};
use parcelry_core::metadata;
use parcelry_core::reach::Doubt;
use parcelry_core::receipt::{Receipt, ReceiptError};
use parcelry_core::registry::Liveness;
use parcelry_core::seal::access_token;
use parcelry_core::terms::{SignedTerms, Terms};

use crate::answers::{
    Extended, FileEntry, Holder, Inspected, ReceiptEntry, Removed, ShareEntry, ShareList, SwarmStatus,
};
use crate::client::{PeerClient, TrackerClient};
use crate::clock;
use crate::context::{Context, tracker_failure, tracker_skew};
use crate::failure::{Failure, Kind};
use crate::get::{Found, look_up};
use crate::journal::{OwnedShare, OwnedShares};
use crate::words;

/// Shows what a share is and how healthy, without fetching it; with what its peers signed for, if asked.
pub async fn inspect(context: &Context, link: &ShareLink, with_receipts: bool) -> Result<(), Failure> {
    let found = look_up(context, link).await?;
    let receipts = if with_receipts { receipts(context, &found)? } else { Vec::new() };
    let geometry = *found.manifest.geometry();
    let access = access_token(&link.secret);
    let mut holders = Vec::new();
    let mut copies: BTreeMap<u32, u32> = geometry.indices().map(|index| (index.get(), 0)).collect();
    for source in &found.sources {
        let peer = PeerClient::new(context.http.clone(), source.peer.clone());
        let held = peer.holding(link.share, &access).await.ok().map(|answer| answer.chunks);
        for index in held.iter().flat_map(|held| held.iter()) {
            *copies.entry(index.get()).or_default() += 1;
        }
        let chunks = held.map(|held| held.len());
        let why = source.why.as_ref().map(ToString::to_string);
        holders.push(Holder { name: source.peer.name.clone(), state: source.state, why, chunks });
    }
    let least = copies.values().min().copied().unwrap_or_else(|| u32::try_from(holders.len()).unwrap_or(0));
    let wanted = u32::from(found.terms.replicas);
    let short = copies.values().filter(|&&n| n < wanted).count() as u64;
    let metadata = &found.metadata;
    if context.progress.is_json() {
        let file =
            |file: &metadata::FileEntry| FileEntry { path: file.path.to_string(), size_bytes: file.size };
        context.progress.document(&Inspected {
            share: link.share,
            name: metadata.original_filename.to_string(),
            size_bytes: metadata.size,
            data_bytes: geometry.total(),
            chunk_count: geometry.chunk_count(),
            file_count: metadata.files.len(),
            files: metadata.files.iter().map(file).collect(),
            created: clock::rfc3339(u64::try_from(metadata.created.unix_timestamp()).unwrap_or(0) * 1000),
            expires: clock::rfc3339(found.terms.expires_ms),
            replicas_wanted: wanted,
            replicas_least: least,
            chunks_short: short,
            health: words::health(least, wanted, short),
            peers: holders,
            receipts,
        });
        return Ok(());
    }
    let out = &context.progress;
    out.result(&format!("name      {}", metadata.original_filename));
    let (files, chunks) = (metadata.files.len() as u64, u64::from(geometry.chunk_count()));
    let (files, chunks) = (words::count(files, "file"), words::count(chunks, "chunk"));
    let holes = match metadata.size > geometry.total() {
        true => format!(" ({} without holes)", words::bytes(geometry.total())),
        false => String::new(),
    };
    out.result(&format!("size      {}{holes} in {files}, {chunks}", words::bytes(metadata.size)));
    out.result(&format!("expires   in {}", words::until(found.terms.expires_ms, clock::now_ms())));
    out.result(&format!("health    {}", words::health(least, wanted, short)));
    for Holder { name, state, why, chunks } in holders {
        let held = chunks
            .map_or_else(|| "does not answer".into(), |n| format!("holds {n} of {}", geometry.chunk_count()));
        let why = why.map(|why| format!(" ({why})")).unwrap_or_default();
        out.result(&format!("peer      {name}: {}{why}, {held}", state_word(state)));
    }
    for ReceiptEntry { peer, chunks, given } in receipts {
        out.result(&format!("receipt   {peer}: {chunks} of {}, signed {given}", geometry.chunk_count()));
    }
    for file in metadata.files.iter().filter(|_| !metadata.is_single_file()) {
        out.result(&format!("file      {} ({})", file.path, words::bytes(file.size)));
    }
    Ok(())
}

/// What peers signed for when the share was made here, each checked against the manifest as it is now.
fn receipts(context: &Context, found: &Found) -> Result<Vec<ReceiptEntry>, Failure> {
    let manifest = &found.manifest;
    let owned = OwnedShares::new(&context.state).get(manifest.share())?.ok_or_else(not_ours)?;
    let row = |token: &String| {
        let receipt = Receipt::verify(token)?;
        let (digest, chunk_count) = (manifest.digest(), manifest.geometry().chunk_count());
        let chunks = receipt.confirms(manifest.share(), digest, chunk_count)?.len();
        let source = found.sources.iter().find(|source| source.peer.id == receipt.peer());
        let peer = source.map_or_else(|| receipt.peer().to_string(), |source| source.peer.name.clone());
        Ok(ReceiptEntry { peer, chunks, given: clock::rfc3339(receipt.issued_ms) })
    };
    let rows: Result<Vec<_>, ReceiptError> = owned.receipts.iter().map(row).collect();
    rows.map_err(|error| {
        Failure::new(Kind::Integrity, format!("a receipt that was kept here does not count: {error}"))
    })
}

/// Lists the shares that were made from here.
pub fn list(context: &Context) -> Result<(), Failure> {
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
        return Ok(());
    }
    if shares.is_empty() {
        context.progress.say("No shares were made from here.");
    }
    for (ShareEntry { name, size_bytes, link, expired, .. }, expires_ms) in rows {
        let left = match expired {
            true => "expired".into(),
            false => format!("expires in {}", words::until(expires_ms, now_ms)),
        };
        context.progress.result(&format!("{name}  {}  {left}", words::bytes(size_bytes)));
        context.progress.result(&format!("  {link}"));
    }
    Ok(())
}

/// Takes a share back: its peers drop it with their next heartbeats. Its key is kept until its time is over, to say so
/// again to a tracker that forgot.
pub async fn remove(context: &Context, link: &ShareLink) -> Result<(), Failure> {
    let (mut owned, terms) = replace_terms(context, link, |terms| Terms { deleted: true, ..terms }).await?;
    owned.set_terms(&terms);
    OwnedShares::new(&context.state).put(&owned)?;
    let text = format!("Deleted {}. Its peers drop it with their next heartbeats.", owned.name);
    context.progress.summary(&text, Removed { share: link.share, name: owned.name, deleted: true });
    Ok(())
}

/// Lets a share live for this long from now.
pub async fn extend(context: &Context, link: &ShareLink, by: Duration) -> Result<(), Failure> {
    let expires_ms = clock::ms_from_now(by);
    let tracker = TrackerClient::of_link(context.http.clone(), link);
    if let Some(off) = tracker_skew(&tracker).await?.check_end(expires_ms)? {
        context.progress.warn(&off);
    }
    let (mut owned, terms) = replace_terms(context, link, |terms| Terms { expires_ms, ..terms }).await?;
    owned.set_terms(&terms);
    OwnedShares::new(&context.state).put(&owned)?;
    let text =
        format!("{} expires in {} from now on.", owned.name, words::until(expires_ms, clock::now_ms()));
    let expires = clock::rfc3339(expires_ms);
    context.progress.summary(&text, Extended { share: link.share, name: owned.name, expires });
    Ok(())
}

/// Shows peers, space and health of a swarm.
pub async fn status(context: &Context, swarm: &Invite) -> Result<(), Failure> {
    let tracker = TrackerClient::of_invite(context.http.clone(), swarm);
    let list = tracker.peers().await.map_err(|error| tracker_failure(&error))?;
    if context.progress.is_json() {
        let tracker = swarm.tracker.to_string();
        context.progress.document(&SwarmStatus { tracker, peers: list.peers, health: list.health });
        return Ok(());
    }
    let alive = list.peers.iter().filter(|peer| peer.state == Liveness::Alive);
    let free: u64 = alive.clone().map(|peer| peer.usage.free_bytes).sum();
    let (count, free) = (words::count(alive.count() as u64, "peer"), words::bytes(free));
    context.progress.result(&format!("{}: {count} alive, {free} free", swarm.tracker));
    for line in health_lines(&list.health) {
        context.progress.result(&line);
    }
    for peer in &list.peers {
        context.progress.result(&peer_line(peer));
    }
    Ok(())
}

fn health_lines(health: &SwarmHealth) -> Vec<String> {
    let SwarmHealth { shares, weakened, endangered, unavailable, lost, copies, paused, complete, .. } =
        *health;
    // The worst first.
    let needs = [
        (lost, "lost: some chunk is on no known peer"),
        (unavailable, "not to be had now: some chunk is only on peers that are away"),
        (endangered, "endangered: one copy left of some chunk"),
        (weakened, "weakened: fewer copies than were asked for"),
    ];
    let shares = words::count(shares, "share");
    let mut lines = match weakened + endangered + unavailable + lost {
        // That nothing is known to be short means something only when every share was looked at.
        0 if complete => vec![format!("  {shares}, all with as many copies as were asked for")],
        0 => vec![format!("  {shares}; the tracker is still looking at them")],
        _ => vec![format!("  {shares}, of which")],
    };
    let beside = [
        (health.misplaced, "not far enough apart: copies in other zones or on other machines are to come"),
        (health.unproven, "with copies that are to be proven yet"),
    ];
    let needy = needs.iter().chain(&beside).filter(|(count, _)| *count > 0);
    lines.extend(needy.map(|(count, what)| format!("    {count} {what}")));
    if copies > 0 {
        lines.push(format!("  {} under way", words::count(copies, "copy order")));
    }
    if paused {
        let why =
            "more than a third of what is held was lost at once, which looks like a failure of the network";
        lines.push(format!("  repair is paused: {why}; it goes on when it is back, or stays away for long"));
    }
    lines
}

fn peer_line(peer: &PeerInfo) -> String {
    let (used, free) = (words::bytes(peer.usage.used_bytes), words::bytes(peer.usage.free_bytes));
    let zone = peer.zone.as_ref().map(|zone| format!(" in {zone}")).unwrap_or_default();
    let silent = match peer.state {
        Liveness::Alive => String::new(),
        Liveness::Unreachable | Liveness::Cloned => doubt_words(peer.doubt.as_ref()),
        _ => format!(", silent for {}", words::duration(Duration::from_millis(peer.silent_ms))),
    };
    let draining = match peer.draining {
        Some(0) => ", empty of all that is needed: it may leave".into(),
        Some(needed) => format!(", being emptied: {} still on it", words::count(needed, "share")),
        None => String::new(),
    };
    let refuted = match peer.refuted_chunks {
        0 => String::new(),
        n => format!(", does not have {} that it said to hold", words::count(n, "chunk")),
    };
    let addresses = peer.addresses.join(", ");
    format!(
        "  {}{zone}: {}{silent}{draining}{refuted}, {used} used, {free} free, at {addresses}",
        peer.name,
        state_word(peer.state)
    )
}

/// Why a peer that beats does not count.
fn doubt_words(doubt: Option<&Doubt>) -> String {
    let Some(Doubt { why, for_ms, is_gone }) = doubt else { return String::new() };
    let time = words::duration(Duration::from_millis(*for_ms));
    let counts = if *is_gone { ": what it holds is copied to others" } else { "" };
    format!(" for {time} ({why}){counts}")
}

/// Signs newer terms with the share's key and hands them to the tracker.
async fn replace_terms(
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

fn not_ours() -> Failure {
    Failure::new(Kind::Denied, "this share was not made from here: only its sender's machine has its key")
        .next("`parcelry ls` shows the shares that were made from here.")
}

const fn state_word(state: Liveness) -> &'static str {
    match state {
        Liveness::Alive => "alive",
        Liveness::Suspect => "suspect",
        Liveness::Unreachable => "unreachable",
        Liveness::Cloned => "cloned",
        Liveness::Dead => "dead",
    }
}
