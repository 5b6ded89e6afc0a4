//! The peer's standing with the tracker: register, beat, do what the tracker asks, leave.

use std::sync::Arc;
use std::time::Duration;

use swarmdrop_core::api::{AppliedTerms, HeartbeatRequest, ProblemKind, RegisterRequest, ShareChunks, Task};
use swarmdrop_core::grant::GrantKey;
use swarmdrop_core::terms::SignedTerms;
use tokio_util::sync::CancellationToken;

use super::Peer;
use crate::client::ClientError;
use crate::task::blocking;

/// Pause between attempts to register.
pub(super) const RETRY: Duration = Duration::from_secs(1);
/// Time to say goodbye.
const LEAVE: Duration = Duration::from_secs(2);

/// Registers the peer; how often to beat, and where the tracker will send others.
pub(super) async fn register(peer: &Peer) -> Result<(Duration, Vec<String>), ClientError> {
    let io = |error: std::io::Error| ClientError::Protocol { server: "disk".into(), what: error.to_string() };
    let request = RegisterRequest {
        id: peer.id,
        name: peer.name.clone(),
        addresses: peer.public_addr.iter().map(ToString::to_string).collect(),
        port: peer.port,
        capacity_bytes: peer.storage.capacity_bytes().map_err(io)?,
        usage: peer.storage.usage().map_err(io)?,
        zone: peer.zone.clone(),
        version: env!("CARGO_PKG_VERSION").into(),
    };
    let response = peer.tracker.register(&request).await?;
    let what =
        || ClientError::Protocol { server: "the tracker".into(), what: "another tracker's grant key".into() };
    peer.grants.set_key(GrantKey::parse(&response.grant_key, peer.tracker_id).ok_or_else(what)?);
    peer.registered.notify_one();
    Ok((Duration::from_millis(response.heartbeat_ms.max(10)), response.addresses))
}

/// Beats until told to stop, and then leaves. Registers again whenever the tracker has forgotten the peer.
pub(super) async fn keep_beating(peer: Arc<Peer>, mut every: Duration, stop: CancellationToken) {
    let mut report = Report::default();
    let mut reachable = true;
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            () = tokio::time::sleep(if reachable { every } else { every.min(RETRY) }) => {}
        }
        expire(&peer).await;
        let result = beat(&peer, &mut report).await;
        let result = match result {
            Err(error) if error.problem() == Some(ProblemKind::UnknownPeer) => {
                tracing::info!("the tracker has forgotten this peer: registering again");
                register(&peer).await.map(|(interval, _)| every = interval)
            }
            other => other,
        };
        match (&result, reachable) {
            (Err(error), true) => tracing::warn!(%error, "the tracker does not answer; trying on"),
            (Ok(()), false) => tracing::info!("the tracker answers again"),
            _ => {}
        }
        reachable = result.is_ok();
    }
    let _ = tokio::time::timeout(LEAVE, peer.tracker.leave(peer.id)).await;
}

/// What the next heartbeat tells.
#[derive(Debug, Default)]
struct Report {
    applied: Vec<AppliedTerms>,
    lost: Vec<ShareChunks>,
}

async fn beat(peer: &Arc<Peer>, report: &mut Report) -> Result<(), ClientError> {
    let usage = peer.storage.usage().unwrap_or_default();
    let request = HeartbeatRequest { usage, applied: report.applied.clone(), lost: report.lost.clone() };
    let response = peer.tracker.heartbeat(peer.id, &request).await?;
    *report = Report::default();
    for task in response.tasks {
        let storage = Arc::clone(peer);
        match task {
            Task::Terms { share, terms } => {
                // The owner's signature decides, not the tracker: a peer drops nothing on a tracker's word.
                let Ok(terms) = SignedTerms::verify(&terms, share) else {
                    tracing::warn!(%share, "the tracker sent terms that the share's key did not sign");
                    continue;
                };
                let issued_ms = terms.terms.issued_ms;
                match blocking(move || storage.storage.put_terms(terms)).await {
                    Ok(()) => report.applied.push(AppliedTerms { share, issued_ms }),
                    Err(error) => tracing::error!(%share, %error, "cannot take over the share's terms"),
                }
            }
            Task::Verify(ShareChunks { share, chunks }) => {
                match blocking(move || storage.storage.check_again(share, &chunks)).await {
                    Ok(lost) if lost.is_empty() => {}
                    Ok(chunks) => report.lost.push(ShareChunks { share, chunks }),
                    Err(error) => tracing::error!(%share, %error, "cannot read the share's chunks"),
                }
            }
        }
    }
    Ok(())
}

async fn expire(peer: &Arc<Peer>) {
    let storage = Arc::clone(peer);
    if let Err(error) = blocking(move || storage.storage.expire()).await {
        tracing::error!(%error, "cannot drop an expired share");
    }
}
