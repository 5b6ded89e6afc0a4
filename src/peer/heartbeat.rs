//! The peer's standing with the tracker: register, beat, do what the tracker asks, leave.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use parcelry_core::api::{HeartbeatRequest, ProblemKind, RegisterRequest, Task};
use parcelry_core::grant::GrantKey;
use parcelry_core::limits::{HEARTBEAT_PATIENCE_MAX, HEARTBEAT_PATIENCE_MIN};

use super::Peer;
use crate::client::{ClientError, TrackerClient};
use crate::worker::{Notes, Stops, Worker};

/// Pause between attempts to register.
pub(super) const RETRY: Duration = Duration::from_secs(1);
/// Time to say goodbye.
const LEAVE: Duration = Duration::from_secs(2);

/// Beats, and leaves in the end. It registers again whenever the tracker has forgotten the peer.
pub(super) struct HeartbeatWorker {
    peer: Arc<Peer>,
    every: Duration,
    tracker: TrackerClient,
    /// Whether the last heartbeat was answered.
    reachable: bool,
}

/// Registers the peer. Returns how often to beat, and where the tracker will send others.
pub(super) async fn register(
    peer: &Peer,
    tracker: &TrackerClient,
) -> Result<(Duration, Vec<SocketAddr>), ClientError> {
    let request = RegisterRequest {
        id: peer.id,
        run: peer.run,
        name: peer.name.clone(),
        addresses: peer.public_addr.into_iter().collect(),
        port: peer.port,
        capacity_bytes: peer.storage.capacity_bytes(),
        usage: peer.storage.usage(),
        zone: peer.zone.clone(),
        version: env!("CARGO_PKG_VERSION").into(),
    };
    let response = tracker.register(&request).await?;
    let foreign = || ClientError::protocol("the tracker", "another tracker's grant key");
    peer.grants.set_key(GrantKey::parse(&response.grant_key, peer.tracker_id).ok_or_else(foreign)?);
    peer.inventory.ask(response.inventory_after_ms);
    // Whatever a tracker says, there is a pause between two heartbeats.
    Ok((Duration::from_millis(response.heartbeat_ms.max(10)), response.addresses))
}

impl HeartbeatWorker {
    /// Heartbeats of a peer that has just registered.
    pub(super) fn new(peer: Arc<Peer>, every: Duration) -> Self {
        let tracker = peer.tracker.afresh();
        Self { peer, every, tracker, reachable: true }
    }
}

impl Worker for HeartbeatWorker {
    const STOPS: Stops = Stops::BetweenSteps;
    /// Whether something was found out before it was time.
    type Due = bool;

    fn name(&self) -> &'static str {
        "heartbeat"
    }

    async fn wait(&mut self) -> bool {
        let pause = if self.reachable { self.every } else { self.every.min(RETRY) };
        tokio::select! {
            () = tokio::time::sleep(pause) => false,
            // What was found out does not wait for its turn, unless nobody hears it.
            () = self.peer.outbox.wait(), if self.reachable => true,
        }
    }

    async fn step(&mut self, has_reports: bool, notes: &Notes) {
        if has_reports {
            tokio::time::sleep(self.every / 10).await;
        }
        if !self.peer.storage.is_there() {
            // Without its store the peer has nothing to say: it falls silent rather than report everything lost.
            self.reachable = false;
            return;
        }
        let result = match beat(&self.peer, &mut self.tracker, self.every).await {
            Err(error) if error.problem() == Some(ProblemKind::UnknownPeer) => {
                tracing::info!("the tracker has forgotten this peer: registering again");
                register(&self.peer, &self.tracker).await.map(|(interval, _)| self.every = interval)
            }
            other => other,
        };
        self.reachable = result.is_ok();
        notes.note_warning("the tracker does not answer", result);
    }

    async fn end(&mut self, _notes: &Notes) {
        let _ = tokio::time::timeout(LEAVE, self.peer.tracker.leave(self.peer.id)).await;
    }
}

/// One heartbeat. It waits for no disk, and for no lock that somebody holds who does: whatever the disk does, the tracker
/// hears that the peer lives.
async fn beat(peer: &Arc<Peer>, tracker: &mut TrackerClient, every: Duration) -> Result<(), ClientError> {
    let usage = peer.storage.usage();
    let (request, told) = peer.outbox.next(HeartbeatRequest::new(peer.run, usage));
    let (traffic, scrub) = (peer.metrics.traffic(), Some(peer.scrub_at.progress(usage.used_bytes)));
    let damaged = peer.mending.wanted(&peer.storage);
    let request = HeartbeatRequest { traffic, scrub, damaged, ..request };
    let soon = every.clamp(HEARTBEAT_PATIENCE_MIN, HEARTBEAT_PATIENCE_MAX);
    let response = match tracker.heartbeat(peer.id, &request, soon).await {
        Err(ClientError::Unreachable { .. }) => {
            // This machine's address may have gone away, and the connection with it, without a word.
            *tracker = peer.tracker.afresh();
            tracker.heartbeat(peer.id, &request, HEARTBEAT_PATIENCE_MAX).await?
        }
        answer => answer?,
    };
    peer.outbox.ack(told);
    peer.clock.compare(response.now_ms);
    peer.inventory.ask(response.inventory_after_ms);
    let (mut copies, mut restores, mut drops) = (Vec::new(), Vec::new(), Vec::new());
    peer.errands.pass_over(&response.tasks.unknown);
    for task in response.tasks.known {
        match peer.errands.take(task) {
            Some(Task::Copy(task)) => copies.push(task),
            Some(Task::Drop(task)) => drops.push(task),
            Some(Task::Restore(task)) => restores.push(task),
            _ => {}
        }
    }
    peer.copies.replace(copies);
    peer.partings.orders.replace(drops);
    peer.mending.orders.replace(restores);
    Ok(())
}
