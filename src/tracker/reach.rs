//! How peers are reached: where they say, or where they come from, and only where they answer.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::{BoxFuture, join_all};
use futures_util::stream::{self, FuturesUnordered};
use parcelry_core::address::may_announce;
use parcelry_core::api::{PeerAddress, ProblemKind, Role};
use parcelry_core::id::PeerId;
use parcelry_core::limits::{
    ASKING_PACE_MAX, ASKING_PACE_MIN, CONNECT_TIMEOUT, DIALS_MAX, QUESTION_TIMEOUT_MIN, QUESTIONS_MAX,
};
use parcelry_core::registry::{Registration, Registry, Rules};
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::Tracker;
use super::store::StoreError;
use crate::client::{ClientError, PeerClient};
use crate::server::Refusal;
use crate::worker::{Notes, Stops, Worker};

/// Peers that have come from addresses where they were not dialled back yet.
#[derive(Debug, Default)]
pub(super) struct Movers {
    waiting: Mutex<BTreeMap<PeerId, SocketAddr>>,
    new: Notify,
}

impl Movers {
    /// Those that are to be dialled now.
    pub(super) fn take(&self) -> BTreeMap<PeerId, SocketAddr> {
        std::mem::take(&mut *self.waiting.lock())
    }
}

/// A peer, and whether where it is could be kept, if that was news.
type Found = (PeerId, Result<(), StoreError>);

/// Dials peers that have moved.
pub(super) struct FollowWorker(pub(super) Arc<Tracker>);

impl Worker for FollowWorker {
    const STOPS: Stops = Stops::WithinSteps;
    type Due = ();

    fn name(&self) -> &'static str {
        "moved peers"
    }

    async fn wait(&mut self) {
        self.0.movers.new.notified().await;
    }

    async fn step(&mut self, (): (), notes: &Notes) {
        let (tracker, waiting) = (&self.0, self.0.movers.take());
        let follow = async |(peer, address)| (peer, tracker.dial_moved(peer, address).await);
        let found: Vec<Found> = stream::iter(waiting).map(follow).buffer_unordered(DIALS_MAX).collect().await;
        count_failed(notes, found);
    }
}

/// Asks peers whether they can be reached where others are sent to them.
pub(super) struct QuestionWorker {
    tracker: Arc<Tracker>,
    rules: Rules,
    /// The questions that are under way. They go on while the worker waits.
    asked: FuturesUnordered<BoxFuture<'static, Found>>,
}

impl QuestionWorker {
    /// Has asked nobody yet.
    pub(super) fn new(tracker: Arc<Tracker>, rules: Rules) -> Self {
        Self { tracker, rules, asked: FuturesUnordered::new() }
    }
}

impl Worker for QuestionWorker {
    const STOPS: Stops = Stops::BetweenSteps;
    /// What a question came to; `None`: it is time to ask.
    type Due = Option<Found>;

    fn name(&self) -> &'static str {
        "reachability"
    }

    async fn wait(&mut self) -> Option<Found> {
        let pace = (self.rules.heartbeat / 4).clamp(ASKING_PACE_MIN, ASKING_PACE_MAX);
        let count = self.asked.len();
        tokio::select! {
            Some(found) = self.asked.next(), if count > 0 => Some(found),
            () = tokio::time::sleep(pace), if count < QUESTIONS_MAX => None,
        }
    }

    async fn step(&mut self, found: Option<Found>, notes: &Notes) {
        let Some(found) = found else {
            let most = QUESTIONS_MAX - self.asked.len();
            let questions = self.tracker.registry.lock().questions(self.tracker.now_ms(), most);
            for question in questions {
                let (tracker, rules) = (Arc::clone(&self.tracker), self.rules);
                self.asked.push(Box::pin(async move { (question.id, tracker.ask(question, rules).await) }));
            }
            return;
        };
        count_failed(notes, [found]);
    }
}

fn count_failed(notes: &Notes, found: impl IntoIterator<Item = Found>) {
    for (peer, kept) in found {
        if let Err(error) = kept {
            tracing::error!(%peer, %error, "cannot keep where a peer is");
            notes.count_failure();
        }
    }
}

impl Tracker {
    /// Asks a peer, and notes whether it was reached.
    async fn ask(&self, asked: Registration, rules: Rules) -> Result<(), StoreError> {
        let (id, addresses) = (asked.id, asked.addresses.clone());
        let timeout = (rules.dead_after / 6).clamp(QUESTION_TIMEOUT_MIN, CONNECT_TIMEOUT);
        let results = join_all(addresses.iter().map(|&address| self.answers_at(id, address, timeout))).await;
        self.metrics.questions.inc();
        let failed = addresses.iter().zip(&results).filter(|(_, result)| result.is_err());
        let gone: Vec<SocketAddr> = failed.map(|(&address, _)| address).collect();
        let answer = if gone.len() < addresses.len() {
            Ok(())
        } else {
            Err(results.into_iter().find_map(Result::err).map_or_else(String::new, |error| error.to_string()))
        };
        self.take_answer(&asked, answer, &gone).await
    }

    /// Notes whether a peer was reached, and at which of its addresses it was not.
    pub(super) async fn take_answer(
        &self,
        asked: &Registration,
        answer: Result<(), String>,
        gone: &[SocketAddr],
    ) -> Result<(), StoreError> {
        let (id, is_there) = (asked.id, answer.is_ok());
        // Under one lock, so that only this answer lies between `before` and `after`.
        let (before, after, left) = {
            let (mut registry, now_ms) = (self.registry.lock(), self.now_ms());
            let before = registry.doubt(id, now_ms);
            registry.answered(id, asked.run, answer, now_ms);
            // Where its operator said that it is, it may be again; where it comes from, it is found again.
            let follows = is_there && asked.port.is_some();
            let left = if follows { registry.not_found_at(id, asked.run, gone) } else { None };
            (before, registry.doubt(id, now_ms), left)
        };
        match (before, after) {
            (None, Some(doubt)) => {
                tracing::warn!(peer = %id, name = %asked.name, why = %doubt.why, "a peer beats, but cannot be reached");
                self.repairer.changed([]);
            }
            (Some(_), None) => {
                tracing::info!(peer = %id, name = %asked.name, "a peer can be reached again");
                self.repairer.changed([]);
            }
            _ => {}
        }
        match left {
            Some(registration) => self.store.put_peer(&registration).await,
            None => Ok(()),
        }
    }

    /// Checks that somebody with the peer's key answers there.
    async fn answers_at(
        &self,
        id: PeerId,
        address: SocketAddr,
        timeout: Duration,
    ) -> Result<(), ClientError> {
        let peer = PeerAddress { id, name: address.to_string(), addresses: vec![address] };
        let asking = PeerClient::new(self.dialer.clone(), peer);
        match tokio::time::timeout(timeout, asking.health()).await {
            // Who refuses has shown the key, and is there.
            Ok(Ok(_) | Err(ClientError::Refused { .. })) => Ok(()),
            Ok(Err(error)) => Err(error),
            Err(_) => Err(ClientError::unreachable(address.to_string(), "no answer in time")),
        }
    }

    /// Has a peer dialled back if it comes from another address than those at which it was found.
    pub(super) fn follow(&self, registry: &mut Registry, id: PeerId, remote: IpAddr, now_ms: u64) {
        let port = registry.get(id, now_ms).and_then(|(peer, _)| peer.registration.port);
        let Some(address) = port.map(|port| SocketAddr::new(remote, port)) else { return };
        if registry.may_dial(id, address, now_ms) {
            self.movers.waiting.lock().insert(id, address);
            self.movers.new.notify_one();
        }
    }

    /// Dials a peer that came from a new address, there and then where it was. Who does not answer there stays where it was.
    async fn dial_moved(&self, id: PeerId, address: SocketAddr) -> Result<(), StoreError> {
        let known = self.registry.lock().get(id, self.now_ms()).map(|(peer, _)| peer.registration.clone());
        let Some(before) = known else { return Ok(()) };
        let Ok(new) = check_announced(vec![address], address.ip()) else { return Ok(()) };
        if let Err(refusal) = self.dial_back(id, new.clone()).await {
            let why = refusal.problem.detail;
            tracing::warn!(peer = %id, name = %before.name, %address, why, "a peer has moved, and does not answer there");
            return Ok(());
        }
        let Some(&address) = new.first() else { return Ok(()) };
        if !self.found(&before, address).await? {
            return Ok(());
        }
        let answering = self.dial_back(id, before.addresses.clone()).await.unwrap_or_default();
        self.left(before, &answering).await
    }

    /// Notes at which new address a peer was found. Returns whether that is news.
    pub(super) async fn found(&self, before: &Registration, address: SocketAddr) -> Result<bool, StoreError> {
        let found = self.registry.lock().found_at(before.id, before.run, address);
        let Some(found) = found else { return Ok(false) };
        tracing::info!(peer = %found.id, name = %found.name, %address, "a peer has moved");
        self.store.put_peer(&found).await.map(|()| true)
    }

    /// Forgets the addresses of a peer where it was before it moved, but for those where it answers still.
    pub(super) async fn left(
        &self,
        before: Registration,
        answering: &[SocketAddr],
    ) -> Result<(), StoreError> {
        let gone: Vec<_> = before.addresses.into_iter().filter(|old| !answering.contains(old)).collect();
        let left = self.registry.lock().not_found_at(before.id, before.run, &gone);
        match left {
            Some(registration) => self.store.put_peer(&registration).await,
            None => Ok(()),
        }
    }

    /// The addresses at which somebody with the peer's key answers. A peer is listed only with those.
    pub(super) async fn dial_back(
        &self,
        id: PeerId,
        addresses: Vec<SocketAddr>,
    ) -> Result<Vec<SocketAddr>, Refusal> {
        let dial = async |&address: &SocketAddr| {
            let name = address.to_string();
            let peer = PeerAddress { id, name, addresses: vec![address] };
            let health = PeerClient::new(self.dialer.clone(), peer).health().await?;
            // The key proves the id; the role tells a peer from a tracker that was given the same key.
            let is_peer = health.role == Role::Peer && health.id == id.to_string();
            if is_peer {
                Ok(())
            } else {
                Err(ClientError::protocol(address.to_string(), "no peer answers there"))
            }
        };
        let _permit = self.dials.acquire().await.map_err(|error| Refusal::internal(&error))?;
        let results = join_all(addresses.iter().map(dial)).await;
        let (good, bad): (Vec<_>, Vec<_>) = addresses.into_iter().zip(results).partition(|(_, r)| r.is_ok());
        if let (true, Some((_, Err(error)))) = (good.is_empty(), bad.into_iter().next()) {
            return Err(Refusal::new(ProblemKind::PeerUnreachable, error.to_string()));
        }
        Ok(good.into_iter().map(|(address, _)| address).collect())
    }
}

/// Checks that these addresses may be announced from `remote`. They are literal: a name could point elsewhere by the time
/// that somebody is sent there.
pub(super) fn check_announced(
    addresses: Vec<SocketAddr>,
    remote: IpAddr,
) -> Result<Vec<SocketAddr>, Refusal> {
    match addresses.iter().find(|address| !may_announce(**address, remote)) {
        None => Ok(addresses),
        Some(refused) => {
            let detail = format!(
                "{refused} may not be announced from {remote}: give that address, or a unicast one of the same kind of \
                 network or the internet, and a port from 1024 on or 443"
            );
            Err(Refusal::new(ProblemKind::BadRequest, detail))
        }
    }
}
