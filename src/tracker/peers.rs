//! What the tracker does about peers: register, heartbeat, leave, list.

use std::net::{IpAddr, SocketAddr};

use swarmdrop_core::api::{
    HeartbeatRequest, HeartbeatResponse, PeerAddress, PeerInfo, PeerList, ProblemKind, RegisterRequest,
    RegisterResponse, Role, Task,
};
use swarmdrop_core::id::PeerId;
use swarmdrop_core::limits::{PEER_ADDRESSES_MAX, PEER_NAME_BYTES_MAX, TASKS_MAX};
use swarmdrop_core::name::printable;
use swarmdrop_core::registry::{Liveness, Peer, Registration};

use super::Tracker;
use crate::client::PeerClient;
use crate::server::Refusal;

impl Tracker {
    /// Registers a peer that answers under its own id at one of its addresses.
    pub(super) async fn register(
        &self,
        request: RegisterRequest,
        remote: IpAddr,
    ) -> Result<RegisterResponse, Refusal> {
        check_names(&request)?;
        let addresses = if request.addresses.is_empty() {
            vec![SocketAddr::new(remote, request.port).to_string()]
        } else {
            request.addresses
        };
        let registration = Registration {
            id: request.id,
            name: request.name,
            addresses: addresses.clone(),
            capacity_bytes: request.capacity_bytes,
            zone: request.zone,
            version: request.version,
        };
        self.dial_back(&registration).await?;
        self.store.put_peer(&registration).await.map_err(|error| Refusal::internal(&error))?;
        tracing::info!(peer = %registration.id, name = %registration.name, ?addresses, "peer registered");
        let mut registry = self.registry.lock();
        registry.register(registration, request.usage, self.now_ms());
        self.metrics.registrations.inc();
        Ok(RegisterResponse { heartbeat_ms: self.heartbeat_ms(&registry), addresses })
    }

    /// Takes a heartbeat and hands out what the peer is to do.
    pub(super) async fn heartbeat(
        &self,
        id: PeerId,
        request: HeartbeatRequest,
    ) -> Result<HeartbeatResponse, Refusal> {
        let beat = self.registry.lock().beat(id, request.usage, self.now_ms());
        beat.map_err(|unknown| Refusal::new(ProblemKind::UnknownPeer, unknown.to_string()))?;
        self.metrics.heartbeats.inc();
        let internal = |error| Refusal::internal(&error);
        for applied in request.applied.iter().take(TASKS_MAX) {
            self.store.confirm_terms(id, applied.share, applied.issued_ms).await.map_err(internal)?;
        }
        let terms = self.store.unconfirmed_terms(id, TASKS_MAX).await.map_err(internal)?;
        let tasks = terms.into_iter().map(|(share, terms)| Task::Terms { share, terms }).collect();
        Ok(HeartbeatResponse { tasks })
    }

    /// Forgets a peer's registration.
    pub(super) async fn leave(&self, id: PeerId) -> Result<(), Refusal> {
        if !self.registry.lock().leave(id) {
            return Err(Refusal::new(ProblemKind::UnknownPeer, "the peer is not registered"));
        }
        tracing::info!(peer = %id, "peer left");
        self.store.delete_peer(id).await.map_err(|error| Refusal::internal(&error))
    }

    /// All peers.
    pub(super) fn list(&self) -> PeerList {
        let now_ms = self.now_ms();
        let registry = self.registry.lock();
        PeerList { peers: registry.peers(now_ms).map(|(peer, state)| info(peer, state, now_ms)).collect() }
    }

    fn heartbeat_ms(&self, registry: &swarmdrop_core::registry::Registry) -> u64 {
        u64::try_from(registry.rules().heartbeat.as_millis()).unwrap_or(u64::MAX)
    }

    /// A peer is listed only if somebody with its id answers where it says that it serves.
    async fn dial_back(&self, registration: &Registration) -> Result<(), Refusal> {
        let peer = PeerClient::new(self.dialer.clone(), address(registration));
        let refuse = |why: String| Err(Refusal::new(ProblemKind::PeerUnreachable, why));
        match peer.health().await {
            Ok(health) if health.role == Role::Peer && health.id == registration.id.to_string() => Ok(()),
            Ok(_) => refuse(format!("somebody else answers at {}", registration.addresses.join(", "))),
            Err(error) => refuse(error.to_string()),
        }
    }
}

/// Where a registered peer is reached.
pub(super) fn address(registration: &Registration) -> PeerAddress {
    PeerAddress {
        id: registration.id,
        name: registration.name.clone(),
        addresses: registration.addresses.clone(),
    }
}

fn info(peer: &Peer, state: Liveness, now_ms: u64) -> PeerInfo {
    let Registration { id, name, addresses, capacity_bytes, zone, version } = peer.registration.clone();
    let silent_ms = now_ms.saturating_sub(peer.seen_ms);
    PeerInfo { id, name, state, addresses, capacity_bytes, usage: peer.usage, zone, version, silent_ms }
}

fn check_names(request: &RegisterRequest) -> Result<(), Refusal> {
    let refuse = |detail: &str| Err(Refusal::new(ProblemKind::BadRequest, detail));
    let sound = |text: &str| text.len() <= PEER_NAME_BYTES_MAX && printable(text) == text;
    if request.name.is_empty() || !sound(&request.name) || !request.zone.as_deref().is_none_or(sound) {
        return refuse("a name or zone has at most 64 bytes and no control characters");
    }
    if request.addresses.len() > PEER_ADDRESSES_MAX {
        return refuse("too many addresses");
    }
    // Literal addresses only: a name could point elsewhere by the time somebody is sent there.
    if request.addresses.iter().any(|address| address.parse::<SocketAddr>().is_err()) {
        return refuse("an address is written as IP:PORT");
    }
    Ok(())
}
