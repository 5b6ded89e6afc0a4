//! `parcelry inspect`: shows what a link is for and how healthy it is, without getting it.

use parcelry_core::chunk_set::ChunkSet;
use parcelry_core::health::ReplicaCount;
use parcelry_core::metadata;
use parcelry_core::receipt::{Receipt, ReceiptError};
use parcelry_core::seal::access_token;

use super::answers::{FileEntry, Holder, Inspected, ReceiptEntry};
use super::status::state_word;
use super::{owned, pasted};
use crate::cli::InspectArgs;
use crate::client::PeerClient;
use crate::clock;
use crate::context::Context;
use crate::failure::{Failure, Kind};
use crate::get::{Found, look_up};
use crate::human;
use crate::journal::OwnedShares;

/// Shows what a share is and how healthy, without fetching it; with what its peers signed for, if asked.
pub(super) async fn run(context: &Context, args: InspectArgs) -> Result<(), Failure> {
    let link = pasted::link(args.link).await?;
    let found = look_up(context, &link).await?;
    let receipts = if args.receipts { receipts(context, &found)? } else { Vec::new() };
    let geometry = *found.manifest.geometry();
    let access = access_token(&link.secret);
    let (mut holders, mut sets) = (Vec::new(), Vec::new());
    for source in &found.sources {
        let peer = PeerClient::new(context.http.clone(), source.peer.clone());
        let held = peer.holding(link.share, &access).await.ok().map(|answer| answer.chunks);
        let chunks = held.as_ref().map(ChunkSet::len);
        // Who does not answer counts with nothing: what cannot be asked for now helps no receiver.
        sets.push(held.unwrap_or_else(|| ChunkSet::empty(geometry.chunk_count())));
        let why = source.why.as_ref().map(ToString::to_string);
        holders.push(Holder { name: source.peer.name.clone(), state: source.state, why, chunks });
    }
    let replicas = ReplicaCount::of(&geometry, found.terms.replicas, sets.iter());
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
            replicas_wanted: replicas.wanted,
            replicas_least: replicas.fewest,
            chunks_short: replicas.short.into(),
            health: human::health(&replicas),
            peers: holders,
            receipts,
        });
        return Ok(());
    }
    let out = &context.progress;
    out.result(&format!("name      {}", metadata.original_filename));
    let (files, chunks) = (metadata.files.len() as u64, u64::from(geometry.chunk_count()));
    let (files, chunks) = (human::count(files, "file"), human::count(chunks, "chunk"));
    let holes = match metadata.size > geometry.total() {
        true => format!(" ({} without holes)", human::bytes(geometry.total())),
        false => String::new(),
    };
    out.result(&format!("size      {}{holes} in {files}, {chunks}", human::bytes(metadata.size)));
    out.result(&format!("expires   in {}", human::until(found.terms.expires_ms, clock::now_ms())));
    out.result(&format!("health    {}", human::health(&replicas)));
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
        out.result(&format!("file      {} ({})", file.path, human::bytes(file.size)));
    }
    Ok(())
}

/// What peers signed for when the share was made here, each checked against the manifest as it is now.
fn receipts(context: &Context, found: &Found) -> Result<Vec<ReceiptEntry>, Failure> {
    let manifest = &found.manifest;
    let owned = OwnedShares::new(&context.state).get(manifest.share())?.ok_or_else(owned::not_ours)?;
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
