//! The peer's standing with the tracker: register, beat, do what the tracker asks, leave.

use std::sync::Arc;
use std::time::Duration;

use swarmdrop_core::api::{HeartbeatRequest, ProblemKind, RegisterRequest};
use swarmdrop_core::grant::GrantKey;
use swarmdrop_core::limits::{HEARTBEAT_PATIENCE_MAX, HEARTBEAT_PATIENCE_MIN};
use tokio_util::sync::CancellationToken;

use super::Peer;
use super::tasks::carry_out;
use crate::client::{ClientError, TrackerClient};
use crate::task::blocking;

/// Pause between attempts to register.
pub(super) const RETRY: Duration = Duration::from_secs(1);
/// Time to say goodbye.
const LEAVE: Duration = Duration::from_secs(2);

/// Registers the peer; how often to beat, and where the tracker will send others.
pub(super) async fn register(
    peer: &Peer,
    tracker: &TrackerClient,
) -> Result<(Duration, Vec<String>), ClientError> {
    let io = |error: std::io::Error| ClientError::Protocol { server: "disk".into(), what: error.to_string() };
    let request = RegisterRequest {
        id: peer.id,
        run: peer.run,
        name: peer.name.clone(),
        addresses: peer.public_addr.iter().map(ToString::to_string).collect(),
        port: peer.port,
        capacity_bytes: peer.storage.capacity_bytes().map_err(io)?,
        usage: peer.storage.usage().map_err(io)?,
        zone: peer.zone.clone(),
        version: env!("CARGO_PKG_VERSION").into(),
    };
    let response = tracker.register(&request).await?;
    let what =
        || ClientError::Protocol { server: "the tracker".into(), what: "another tracker's grant key".into() };
    peer.grants.set_key(GrantKey::parse(&response.grant_key, peer.tracker_id).ok_or_else(what)?);
    peer.inventory.ask(response.inventory_after_ms);
    Ok((Duration::from_millis(response.heartbeat_ms.max(10)), response.addresses))
}

/// Beats until told to stop, and then leaves. Registers again whenever the tracker has forgotten the peer.
pub(super) async fn keep_beating(peer: Arc<Peer>, mut every: Duration, stop: CancellationToken) {
    let mut reachable = true;
    let mut tracker = peer.tracker.afresh();
    loop {
        let pause = if reachable { every } else { every.min(RETRY) };
        tokio::select! {
            () = stop.cancelled() => break,
            () = tokio::time::sleep(pause) => {}
            // What was found out does not wait for its turn, unless nobody hears it.
            () = peer.findings.wait(), if reachable => tokio::time::sleep(every / 10).await,
        }
        if let Err(error) = peer.storage.chunks.check_there() {
            // Without its store the peer has nothing to say: it falls silent rather than report everything lost.
            tracing::error!(%error, "nothing can be served");
            reachable = false;
            continue;
        }
        let result = match beat(&peer, &mut tracker, every).await {
            Err(error) if error.problem() == Some(ProblemKind::UnknownPeer) => {
                tracing::info!("the tracker has forgotten this peer: registering again");
                register(&peer, &tracker).await.map(|(interval, _)| every = interval)
            }
            other => other,
        };
        match (&result, reachable) {
            (Err(error), true) => tracing::warn!(%error, "the tracker does not answer; trying on"),
            (Ok(()), false) => tracing::info!("the tracker answers again"),
            _ => {}
        }
        reachable = result.is_ok();
        expire(&peer).await;
    }
    let _ = tokio::time::timeout(LEAVE, peer.tracker.leave(peer.id)).await;
}

async fn beat(peer: &Arc<Peer>, tracker: &mut TrackerClient, every: Duration) -> Result<(), ClientError> {
    let storage = Arc::clone(peer);
    let usage = blocking(move || storage.storage.usage_now()).await;
    let (request, told) = peer.findings.next(HeartbeatRequest::new(peer.run, usage));
    let (traffic, scrub) = (peer.metrics.traffic(), Some(peer.scrub_at.progress(usage.used_bytes)));
    let request = HeartbeatRequest { traffic, scrub, ..request };
    let soon = every.clamp(HEARTBEAT_PATIENCE_MIN, HEARTBEAT_PATIENCE_MAX);
    let response = match tracker.heartbeat(peer.id, &request, soon).await {
        Err(ClientError::Unreachable { .. }) => {
            // This machine's address may have gone away, and the connection with it, without a word.
            *tracker = peer.tracker.afresh();
            tracker.heartbeat(peer.id, &request, HEARTBEAT_PATIENCE_MAX).await?
        }
        answer => answer?,
    };
    peer.findings.heard(told);
    peer.clock.compare(response.now_ms);
    peer.inventory.ask(response.inventory_after_ms);
    let doing = Arc::clone(peer);
    let later = blocking(move || carry_out(&doing.storage, &doing.findings, response.tasks)).await;
    peer.copies.replace(later.copies);
    peer.partings.replace(later.drops);
    Ok(())
}

async fn expire(peer: &Arc<Peer>) {
    let (storage, clock_is_good) = (Arc::clone(peer), peer.clock.is_good());
    if let Err(error) = blocking(move || storage.storage.expire(clock_is_good)).await {
        tracing::error!(%error, "cannot drop an expired share");
    }
}
