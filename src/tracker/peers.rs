//! What the tracker does about peers: register, heartbeat, leave, list.

use std::net::{IpAddr, SocketAddr};

use futures_util::future::join_all;
use swarmdrop_core::address::may_announce;
use swarmdrop_core::api::{
    HeartbeatRequest, HeartbeatResponse, PeerAddress, PeerInfo, PeerList, ProblemKind, RegisterRequest,
    RegisterResponse, Role, Task, WrongChunks,
};
use swarmdrop_core::dashboard::LogKind;
use swarmdrop_core::duration::millis;
use swarmdrop_core::id::PeerId;
use swarmdrop_core::limits::{PEER_ADDRESSES_MAX, PEER_NAME_BYTES_MAX, TASKS_MAX};
use swarmdrop_core::name::printable;
use swarmdrop_core::registry::{Liveness, Peer, Registration, Registry, Usage};

use super::Tracker;
use super::auth::Joiner;
use super::store::StoreError;
use crate::client::{ClientError, PeerClient};
use crate::clock;
use crate::crash::{self, Point};
use crate::server::{Refusal, denied};

impl Tracker {
    /// Registers a peer that answers under its own id at one of its addresses. Only the addresses where it
    /// does are kept.
    pub(super) async fn register(
        &self,
        joiner: &Joiner,
        request: RegisterRequest,
        remote: IpAddr,
    ) -> Result<RegisterResponse, Refusal> {
        if request.id != joiner.peer {
            return Err(denied());
        }
        check_names(&request)?;
        let addresses = if request.addresses.is_empty() {
            vec![SocketAddr::new(remote, request.port).to_string()]
        } else {
            request.addresses
        };
        let addresses = self.dial_back(request.id, checked(&addresses, remote)?).await?;
        if let Some(token) = joiner.token {
            let admitted = self.gate.tokens.admit(joiner.peer, token).await;
            admitted.map_err(|error| Refusal::internal(&error))?;
        }
        let registration = Registration {
            id: request.id,
            name: request.name,
            addresses,
            capacity_bytes: request.capacity_bytes,
            zone: request.zone,
            version: request.version,
        };
        self.enlist(registration, request.usage).await
    }

    /// Puts a peer that proved itself on the list.
    pub(super) async fn enlist(
        &self,
        registration: Registration,
        usage: Usage,
    ) -> Result<RegisterResponse, Refusal> {
        let addresses = registration.addresses.clone();
        self.store.put_peer(&registration).await.map_err(|error| Refusal::internal(&error))?;
        crash::at(Point::PeerKept);
        tracing::info!(peer = %registration.id, name = %registration.name, ?addresses, "peer registered");
        let mut registry = self.registry.lock();
        if registry.get(registration.id, self.now_ms()).is_none() {
            self.dashboard.note(LogKind::PeerRegistered, |entry| {
                (entry.peer, entry.peer_name) = (Some(registration.id), Some(registration.name.clone()));
            });
        }
        registry.register(registration, usage, self.now_ms());
        self.metrics.registrations.inc();
        let grant_key = self.key.public().to_string();
        Ok(RegisterResponse { heartbeat_ms: self.heartbeat_ms(&registry), addresses, grant_key })
    }

    /// Takes a heartbeat and hands out what the peer is to do.
    pub(super) async fn heartbeat(
        &self,
        id: PeerId,
        request: HeartbeatRequest,
    ) -> Result<HeartbeatResponse, Refusal> {
        {
            let (mut registry, now_ms) = (self.registry.lock(), self.now_ms());
            let beat = registry.beat(id, request.usage, now_ms);
            beat.map_err(|unknown| Refusal::new(ProblemKind::UnknownPeer, unknown.to_string()))?;
            registry.note_work(id, request.traffic, request.scrub, now_ms);
        }
        self.metrics.heartbeats.inc();
        let internal = |error| Refusal::internal(&error);
        for applied in request.applied.iter().take(TASKS_MAX) {
            self.store.confirm_terms(id, applied.share, applied.issued_ms).await.map_err(internal)?;
        }
        self.take_findings(id, &request).await.map_err(internal)?;
        if !(request.copied.is_empty() && request.lost.is_empty()) {
            crash::at(Point::FindingsTaken);
        }
        let terms = self.store.unconfirmed_terms(id, TASKS_MAX).await.map_err(internal)?;
        let mut tasks: Vec<Task> =
            terms.into_iter().map(|(share, terms)| Task::Terms { share, terms }).collect();
        tasks.extend(self.complaints.tasks(id));
        tasks.extend(self.repair_tasks(id));
        Ok(HeartbeatResponse { tasks, now_ms: self.clock.is_steady().then(clock::now_ms) })
    }

    /// Takes in what a peer found out about chunks since its last heartbeat.
    async fn take_findings(&self, id: PeerId, request: &HeartbeatRequest) -> Result<(), StoreError> {
        for lost in request.lost.iter().take(TASKS_MAX) {
            tracing::warn!(peer = %id, share = %lost.share, chunks = lost.chunks.len(), "a peer lost chunks");
            self.store.remove_chunks(id, lost.share, &lost.chunks, false).await?;
            self.repairer.changed([lost.share]);
            let name = self.name_of(id);
            self.dashboard.note(LogKind::ChunksLost, |entry| {
                (entry.peer, entry.peer_name, entry.share) = (Some(id), name, Some(lost.share));
                entry.detail = Some(lost.chunks.len().to_string());
            });
        }
        for copied in request.copied.iter().take(TASKS_MAX) {
            let Some(stored) = self.store.share(copied.share).await? else { continue };
            if stored.geometry()?.chunk_count() == copied.chunks.chunk_count() {
                self.store.add_chunks(id, copied.share, &copied.chunks).await?;
                self.metrics.chunks_copied.inc_by(u64::from(copied.chunks.len()));
                self.repairer.copied(id, copied, self.now_ms());
            }
        }
        for share in request.failed.iter().take(TASKS_MAX) {
            tracing::info!(peer = %id, %share, "a peer could not copy what it was asked for");
            self.repairer.failed(id, *share, self.now_ms());
        }
        for dropped in request.dropped.iter().take(TASKS_MAX) {
            self.store.remove_chunks(id, dropped.share, &dropped.chunks, true).await?;
            self.repairer.dropped(id, dropped.share);
        }
        for WrongChunks { peer, share, chunks } in request.wrong.iter().take(TASKS_MAX) {
            self.suspect(*peer, *share, chunks).await?;
        }
        Ok(())
    }

    /// Empties a peer, or lets it fill again.
    pub(super) async fn drain(&self, id: PeerId, draining: bool) -> Result<(), Refusal> {
        if draining && self.registry.lock().get(id, self.now_ms()).is_none() {
            return Err(Refusal::new(ProblemKind::UnknownPeer, "the peer is not registered"));
        }
        self.store.set_draining(id, draining).await.map_err(|error| Refusal::internal(&error))?;
        self.registry.lock().drain(id, draining);
        tracing::info!(peer = %id, draining, "drain");
        let (name, kind) =
            (self.name_of(id), if draining { LogKind::PeerDraining } else { LogKind::PeerFilling });
        self.dashboard.note(kind, |entry| (entry.peer, entry.peer_name) = (Some(id), name));
        self.repairer.changed([]);
        Ok(())
    }

    /// Forgets a peer's registration.
    pub(super) async fn leave(&self, id: PeerId) -> Result<(), Refusal> {
        let name = self.name_of(id);
        if !self.registry.lock().leave(id) {
            return Err(Refusal::new(ProblemKind::UnknownPeer, "the peer is not registered"));
        }
        tracing::info!(peer = %id, "peer left");
        self.dashboard.note(LogKind::PeerLeft, |entry| (entry.peer, entry.peer_name) = (Some(id), name));
        self.store.delete_peer(id).await.map_err(|error| Refusal::internal(&error))
    }

    /// All peers, and how the shares stand.
    pub(super) async fn list(&self) -> Result<PeerList, Refusal> {
        let shares = self.store.share_count().await.map_err(|error| Refusal::internal(&error))?;
        let now_ms = self.now_ms();
        let registry = self.registry.lock();
        let info = |(peer, state): (&Peer, _)| {
            let id = peer.registration.id;
            let draining = registry.is_draining(id).then(|| self.repairer.still_needed(id));
            PeerInfo { draining, ..info(peer, state, now_ms) }
        };
        Ok(PeerList {
            peers: registry.peers(now_ms).map(info).collect(),
            health: self.repairer.health(shares),
        })
    }

    /// What the peer is called, if it is registered.
    fn name_of(&self, id: PeerId) -> Option<String> {
        let registry = self.registry.lock();
        registry.get(id, self.now_ms()).map(|(peer, _)| peer.registration.name.clone())
    }

    fn heartbeat_ms(&self, registry: &Registry) -> u64 {
        millis(registry.rules().heartbeat)
    }

    /// The addresses at which somebody with the peer's key answers. A peer is listed only with those.
    async fn dial_back(&self, id: PeerId, addresses: Vec<String>) -> Result<Vec<String>, Refusal> {
        let dial = async |address: &String| {
            let name = address.clone();
            let peer = PeerAddress { id, name, addresses: vec![address.clone()] };
            let health = PeerClient::new(self.dialer.clone(), peer).health().await?;
            // The key proves the id; the role tells a peer from a tracker that was given the same key.
            let is_peer = health.role == Role::Peer && health.id == id.to_string();
            let what = || "no peer answers there".to_owned();
            if is_peer {
                Ok(())
            } else {
                Err(ClientError::Protocol { server: address.clone(), what: what() })
            }
        };
        let _turn = self.dials.acquire().await.map_err(|error| Refusal::internal(&error))?;
        let results = join_all(addresses.iter().map(dial)).await;
        let (good, bad): (Vec<_>, Vec<_>) = addresses.into_iter().zip(results).partition(|(_, r)| r.is_ok());
        if let (true, Some((_, Err(error)))) = (good.is_empty(), bad.into_iter().next()) {
            return Err(Refusal::new(ProblemKind::PeerUnreachable, error.to_string()));
        }
        Ok(good.into_iter().map(|(address, _)| address).collect())
    }
}

/// Addresses that may be announced from `remote`. They are literal: a name could point elsewhere by the
/// time that somebody is sent there.
fn checked(addresses: &[String], remote: IpAddr) -> Result<Vec<String>, Refusal> {
    let refuse = |detail: String| Refusal::new(ProblemKind::BadRequest, detail);
    let parse = |address: &String| {
        let parsed = address.parse::<SocketAddr>();
        let parsed = parsed.map_err(|_| refuse("an address is written as IP:PORT".into()))?;
        if !may_announce(parsed, remote) {
            return Err(refuse(format!(
                "{parsed} may not be announced from {remote}: give a unicast address of the same kind of \
                 network or the internet, and a port from 1024 on or 443"
            )));
        }
        Ok(parsed.to_string())
    };
    addresses.iter().map(parse).collect()
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
    let (usage, draining) = (peer.usage, None);
    PeerInfo { id, name, state, addresses, capacity_bytes, usage, zone, version, silent_ms, draining }
}

fn check_names(request: &RegisterRequest) -> Result<(), Refusal> {
    let refuse = |detail: &str| Err(Refusal::new(ProblemKind::BadRequest, detail));
    let sound = |text: &str| text.len() <= PEER_NAME_BYTES_MAX && printable(text) == text;
    let others_are_sound = request.zone.as_deref().is_none_or(sound) && sound(&request.version);
    if request.name.is_empty() || !sound(&request.name) || !others_are_sound {
        return refuse("a name, zone or version has at most 64 bytes and no control characters");
    }
    if request.addresses.len() > PEER_ADDRESSES_MAX {
        return refuse("too many addresses");
    }
    Ok(())
}
