//! What a peer does by itself, beside the heartbeats: looks how the disk stands, drops what is over, tidies up.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::errands::{self, Errands, Lane};
use super::outbox::Report;
use super::storage::Storage;
use super::{Peer, mend};
use crate::task::{Tasks, blocking};

/// Time between two looks at the disk, and between two looks for what is over.
const OFTEN: Duration = Duration::from_secs(1);
/// Time between two rounds of tidying up.
const SELDOM: Duration = Duration::from_secs(3600);

/// Starts what a peer that has joined does beside its heartbeats and its scrub.
pub(super) fn keep(peer: &Arc<Peer>, tasks: &Tasks) {
    let stop = || tasks.stop_token().clone();
    tasks.spawn("peer housekeeping", keep_tidy(Arc::clone(peer), stop()));
    tasks.spawn("expiry", keep_expiring(Arc::clone(peer), stop()));
    tasks.spawn("mending", mend::keep_mending(Arc::clone(peer), stop()));
    let lanes: [fn(&Errands) -> &Lane; 2] = [|all| &all.terms, |all| &all.checks];
    for lane in lanes {
        tasks.spawn("errands", errands::keep_running(Arc::clone(peer), lane, stop()));
    }
}

/// Tidies up now and then, until told to stop.
async fn keep_tidy(peer: Arc<Peer>, stop: CancellationToken) {
    let mut ticks = tokio::time::interval(SELDOM);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = ticks.tick() => {}
        }
        tidy(&peer).await;
    }
}

async fn tidy(peer: &Arc<Peer>) {
    match peer.on_disk(Storage::strays).await {
        Ok(count) => {
            peer.metrics.chunks_stray.set(i64::try_from(count).unwrap_or(i64::MAX));
            if count > 0 {
                tracing::warn!(count, "chunks are kept of which neither a share nor an upload knows");
            }
        }
        Err(error) => tracing::error!(%error, "cannot tell whose the chunks are"),
    }
    // By a clock that may be wrong nothing that was promised or is in quarantine is removed.
    let Some(now_ms) = peer.clock.now_ms() else { return };
    let ending = Arc::clone(peer);
    if let Err(error) = blocking(move || ending.partings.end_promises(now_ms)).await {
        tracing::error!(%error, "cannot forget promises that are over");
    }
    let emptying = Arc::clone(peer);
    let empty = move || emptying.storage.empty_quarantine(&emptying.partings.quarantined()?);
    if let Err(error) = blocking(empty).await {
        tracing::error!(%error, "cannot remove what was set aside");
    }
    match peer.on_disk(Storage::collect_unfinished).await {
        Ok(0) => {}
        Ok(chunks) => tracing::info!(chunks, "set aside what unfinished uploads left behind"),
        Err(error) => tracing::error!(%error, "cannot set aside what unfinished uploads left behind"),
    }
}

/// Looks how the disk stands, and brings it back after it failed to write, until told to stop.
pub(super) async fn keep_looking(peer: Arc<Peer>, stop: CancellationToken) {
    let mut was_there = true;
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(OFTEN) => {}
        }
        let there = peer.on_disk(Storage::look_at_disk).await;
        if let (Err(error), true) = (&there, was_there) {
            tracing::error!(%error, "nothing can be served");
        }
        was_there = there.is_ok();
        if was_there && peer.storage.has_failed_to_write() {
            recover(&peer).await;
        }
    }
}

async fn recover(peer: &Arc<Peer>) {
    let (lost, result) = peer.on_disk(Storage::recover).await;
    lost.into_iter().for_each(|lost| peer.outbox.push(Report::Lost(lost)));
    match result {
        Ok(()) => {
            // What was taken and is gone is not held against those who send it again.
            peer.grants.forget();
            tracing::warn!("the disk writes again; what it had not written before has to be sent again");
        }
        Err(error) => tracing::error!(%error, "the disk still fails to write"),
    }
}

/// Drops what is over, until told to stop.
async fn keep_expiring(peer: Arc<Peer>, stop: CancellationToken) {
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(OFTEN) => {}
        }
        let now_ms = peer.clock.now_ms();
        if let Err(error) = peer.on_disk(move |storage| storage.expire(now_ms)).await {
            tracing::error!(%error, "cannot drop an expired share");
        }
    }
}
