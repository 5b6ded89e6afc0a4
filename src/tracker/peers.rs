//! What the tracker does about peers: register, heartbeat, leave, list.

use std::net::{IpAddr, SocketAddr};

use parcelry_core::api::{
    HeartbeatRequest, HeartbeatResponse, PeerAddress, PeerInfo, PeerList, ProblemKind, RegisterRequest,
    RegisterResponse, ShareChunks, Task, WrongChunks,
};
use parcelry_core::audit::Claim;
use parcelry_core::dashboard::LogKind;
use parcelry_core::duration::millis;
use parcelry_core::id::{PeerId, RunId};
use parcelry_core::limits::{PEER_ADDRESSES_MAX, PEER_NAME_BYTES_MAX, TASKS_MAX};
use parcelry_core::name::printable;
use parcelry_core::registry::{BeatError, Liveness, Peer, Registration, Registry, Usage};
use parcelry_core::runs::Cloned;
use parcelry_core::token::{TokenRecord, TokenRole};

use super::Tracker;
use super::auth::Joiner;
use super::reach::check_announced;
use super::store::{StoreError, unless_damaged};
use crate::clock;
use crate::crash::{self, Point};
use crate::human;
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
        self.admit(request.id, request.run)?;
        let follows = request.addresses.is_empty();
        let addresses = if follows { vec![SocketAddr::new(remote, request.port)] } else { request.addresses };
        let addresses = self.dial_back(request.id, check_announced(addresses, remote)?).await?;
        let token = self.admit_by_token(joiner).await?;
        let given_zone = token.as_ref().and_then(|token| token.allowance.zone.clone());
        let registration = Registration {
            id: request.id,
            run: request.run,
            name: request.name,
            addresses,
            port: follows.then_some(request.port),
            capacity_bytes: request.capacity_bytes,
            // Where a peer stands is the operator's word, if he gave it.
            zone_is_given: given_zone.is_some(),
            zone: given_zone.or(request.zone),
            version: request.version,
            token: token.map(|token| token.id),
        };
        self.insert_peer(registration, request.usage).await
    }

    /// Admits a peer by the token that it shows, or by the one that admitted it before. Returns that token.
    async fn admit_by_token(&self, joiner: &Joiner) -> Result<Option<TokenRecord>, Refusal> {
        let tokens = &self.admission.tokens;
        if let Some(token) = &joiner.token {
            let max = token.allowance.peers_max();
            if !tokens.admit(joiner.peer, token.id, max).await? {
                let peers = human::count(max.into(), "peer");
                let what = format!(
                    "the invite has admitted {peers}, which is all that it may: ask the operator for another \
                     one, made with `parcelry invite --role peer --count N`"
                );
                return Err(Refusal::new(ProblemKind::QuotaExceeded, what));
            }
        }
        tokens.admitted_by(joiner.peer).await.map_err(Refusal::from)
    }

    /// Puts a peer that proved itself on the list.
    pub(super) async fn insert_peer(
        &self,
        registration: Registration,
        usage: Usage,
    ) -> Result<RegisterResponse, Refusal> {
        let (id, addresses) = (registration.id, registration.addresses.clone());
        // Kept before it is listed: a peer that was answered is known after a restart, too.
        self.store.put_peer(&registration).await?;
        crash::at(Point::PeerKept);
        tracing::info!(peer = %id, name = %registration.name, ?addresses, "peer registered");
        let (mut registry, now_ms) = (self.registry.lock(), self.now_ms());
        if registry.get(id, now_ms).is_none() {
            self.dashboard.note(LogKind::PeerRegistered, |entry| {
                (entry.peer, entry.peer_name) = (Some(id), Some(registration.name.clone()));
            });
        }
        registry.register(registration, usage, now_ms).map_err(refuse_clone)?;
        self.metrics.registrations.inc();
        Ok(RegisterResponse {
            heartbeat_ms: self.heartbeat_ms(&registry),
            addresses,
            grant_key: self.key.public().to_string(),
            inventory_after_ms: registry.inventory_after(id, now_ms).map(millis),
        })
    }

    /// Checks that a run of a peer may register.
    pub(super) fn admit(&self, id: PeerId, run: RunId) -> Result<(), Refusal> {
        let (mut registry, now_ms) = (self.registry.lock(), self.now_ms());
        registry.admit(id, run, now_ms).map_err(|cloned| {
            let name = registry.get(id, now_ms).map_or("", |(peer, _)| &peer.registration.name);
            tracing::warn!(peer = %id, name, %run, "two machines run with this peer's key: neither counts");
            refuse_clone(cloned)
        })
    }

    /// Takes a heartbeat, which came from this address, and hands out what the peer is to do.
    pub(super) async fn heartbeat(
        &self,
        id: PeerId,
        request: HeartbeatRequest,
        remote: IpAddr,
    ) -> Result<HeartbeatResponse, Refusal> {
        let inventory_after_ms = {
            let (mut registry, now_ms) = (self.registry.lock(), self.now_ms());
            registry.beat(id, request.run, request.usage, now_ms).map_err(|error| match error {
                BeatError::Unknown => Refusal::new(ProblemKind::UnknownPeer, error.to_string()),
                BeatError::Cloned(cloned) => refuse_clone(cloned),
            })?;
            registry.note_work(id, request.traffic, request.scrub, now_ms);
            self.follow(&mut registry, id, remote, now_ms);
            registry.inventory_after(id, now_ms).map(millis)
        };
        self.metrics.heartbeats.inc();
        // What it has done is noted before its tasks are collected: or it would be told again what it just did.
        for applied in request.applied.iter().take(TASKS_MAX) {
            self.store.confirm_terms(id, applied.share, applied.issued_ms).await?;
            self.untold.applied(id, applied.share, applied.issued_ms);
        }
        for share in request.withheld.iter().take(TASKS_MAX) {
            self.store.confirm_withheld(id, *share).await?;
            self.untold.withholds(id, *share);
        }
        self.take_reports(id, &request).await?;
        if !(request.copied.is_empty() && request.lost.is_empty()) {
            crash::at(Point::ReportsTaken);
        }
        let terms = self.store.unconfirmed_terms(id, TASKS_MAX).await?;
        let mut tasks: Vec<Task> =
            terms.into_iter().map(|(share, terms)| Task::Terms { share, terms }).collect();
        let withheld = self.store.to_withhold(id, TASKS_MAX).await?;
        tasks.extend(withheld.into_iter().map(|share| Task::Withhold { share }));
        tasks.extend(self.end_tasks(id, &tasks).await?);
        tasks.extend(self.complaints.tasks(id));
        tasks.extend(self.repair_tasks(id));
        tasks.extend(self.restore_tasks(id, &request.damaged).await?);
        // A clock that has jumped is not told: peers would judge by it.
        let now_ms = self.clock.is_steady().then(clock::now_ms);
        Ok(HeartbeatResponse { tasks: tasks.into(), now_ms, inventory_after_ms })
    }

    /// Takes in what a peer found out about chunks since its last heartbeat.
    async fn take_reports(&self, id: PeerId, request: &HeartbeatRequest) -> Result<(), StoreError> {
        // Lost before copied, as the peer puts them: a chunk that rotted and was copied again is there.
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
            unless_damaged(copied.share, self.take_copied(id, copied).await)?;
        }
        for share in request.failed.iter().take(TASKS_MAX) {
            tracing::info!(peer = %id, %share, "a peer could not copy what it was asked for");
            self.repairer.failed(id, *share, self.now_ms());
        }
        for dropped in request.dropped.iter().take(TASKS_MAX) {
            // With the last chunk the peer lets go of the share. One that lost all of it, above, still has its records.
            self.store.remove_chunks(id, dropped.share, &dropped.chunks, true).await?;
            self.repairer.dropped(id, dropped.share);
        }
        for WrongChunks { peer, share, chunks } in request.wrong.iter().take(TASKS_MAX) {
            self.suspect(*peer, *share, chunks).await?;
        }
        Ok(())
    }

    /// Takes in that a peer copied chunks of a share.
    async fn take_copied(&self, id: PeerId, copied: &ShareChunks) -> Result<(), StoreError> {
        let Some(stored) = self.store.share(copied.share).await? else { return Ok(()) };
        if stored.geometry()?.chunk_count() != copied.chunks.chunk_count() {
            return Ok(());
        }
        let ordered = self.repairer.ordered(id, copied);
        if let Some(ordered) = &ordered {
            self.claim(id, copied.share, Claim::Expected);
            self.store.add_chunks(id, copied.share, ordered).await?;
            self.metrics.chunks_copied.inc_by(u64::from(ordered.len()));
            self.repairer.copied(id, copied, self.now_ms());
        }
        // What nobody asked for counts when it is proven.
        let bare = ordered.map_or_else(|| copied.chunks.clone(), |ordered| copied.chunks.minus(&ordered));
        if self.store.add_bare(id, copied.share, &bare).await? {
            self.claim(id, copied.share, Claim::Bare);
        }
        Ok(())
    }

    /// Empties a peer, or lets it fill again.
    pub(super) async fn drain(&self, id: PeerId, draining: bool) -> Result<(), Refusal> {
        if draining && self.registry.lock().get(id, self.now_ms()).is_none() {
            return Err(Refusal::new(ProblemKind::UnknownPeer, "the peer is not registered"));
        }
        self.store.set_draining(id, draining).await?;
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
        self.store.delete_peer(id).await.map_err(Refusal::from)
    }

    /// All peers, and the health of the shares, for whoever has a token of this role.
    pub(super) async fn list(&self, role: TokenRole) -> Result<PeerList, Refusal> {
        let shares = self.store.share_count().await?;
        let now_ms = self.now_ms();
        // Held for the whole list: repairer and auditor are asked within it.
        let registry = self.registry.lock();
        let info = |(peer, state): (&Peer, _)| {
            let id = peer.registration.id;
            let draining = registry.is_draining(id).then(|| self.repairer.still_needed(id));
            let (doubt, refuted_chunks) = (registry.doubt(id, now_ms), self.refuted_chunks(id));
            PeerInfo { draining, doubt, refuted_chunks, ..info(peer, state, now_ms) }
        };
        Ok(PeerList {
            role,
            peers: registry.peers(now_ms).map(info).collect(),
            health: self.repairer.health(Some(shares)),
        })
    }

    /// What the peer is called, if it is registered.
    pub(super) fn name_of(&self, id: PeerId) -> Option<String> {
        let registry = self.registry.lock();
        registry.get(id, self.now_ms()).map(|(peer, _)| peer.registration.name.clone())
    }

    /// Whether the peer is registered, and not dead.
    pub(super) fn is_there(&self, id: PeerId) -> bool {
        let registry = self.registry.lock();
        registry.get(id, self.now_ms()).is_some_and(|(_, liveness)| liveness != Liveness::Dead)
    }

    fn heartbeat_ms(&self, registry: &Registry) -> u64 {
        millis(registry.rules().heartbeat)
    }
}

fn refuse_clone(cloned: Cloned) -> Refusal {
    Refusal::new(ProblemKind::Conflict, cloned.to_string())
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
    let Registration { id, name, addresses, capacity_bytes, zone, version, .. } = peer.registration.clone();
    let silent_ms = now_ms.saturating_sub(peer.seen_ms);
    let (usage, draining, doubt) = (peer.usage, None, None);
    PeerInfo {
        id,
        name,
        state,
        addresses,
        capacity_bytes,
        usage,
        zone,
        version,
        silent_ms,
        draining,
        doubt,
        refuted_chunks: 0,
    }
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
