//! A tracker without its HTTP server and its clock, for the simulation of a whole swarm. What it decides and what
//! it keeps is the real thing.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use parcelry_core::api::{
    AnnounceRequest, AuditRequest, AuditResponse, HeartbeatRequest, HeartbeatResponse, InventoryRequest,
    InventoryResponse, LookUpResponse, OpenRequest, OpenResponse, ProblemKind, PublishRequest,
    RegisterResponse, SwarmHealth, TermsRequest,
};
use parcelry_core::chunk_set::ChunkSet;
use parcelry_core::grant::{Operation, TrackerKey, Use};
use parcelry_core::id::{PeerId, Secret, ShareId, TrackerId};
use parcelry_core::limits::SETTLING_BEATS;
use parcelry_core::owner::{Act, Asked};
use parcelry_core::quota::Allowance;
use parcelry_core::registry::{Registration, Rules, Usage};
use parcelry_core::terms::TermsToken;
use parcelry_core::token::{TokenId, TokenRecord, TokenRole};

use super::audits::{Asking, Auditor};
use super::auth::Granted;
use super::complaints::Complaints;
use super::dashboard::Dashboard;
use super::gateway::Gateway;
use super::invites::Admission;
use super::quotas::Quotas;
use super::reach::Movers;
use super::sessions::Sessions;
use super::store::{Gone, SqliteStore};
use super::untold::Untold;
use super::{Tracker, metrics, remembered};
use crate::client::{Authority, Http};
use crate::clock::{self, ClockMonitor};
use crate::identity::Identity;
use crate::server::{Asker, Refusal};
use crate::worker::Workers;

/// A question of the tracker to a peer.
pub(crate) struct SimAudit(Asking);

impl SimAudit {
    pub(crate) fn peer(&self) -> PeerId {
        self.0.peer
    }

    pub(crate) fn request(&self) -> AuditRequest {
        self.0.request()
    }
}

/// A tracker that is called directly.
pub(crate) struct SimTracker(Tracker);

type Answer<T> = Result<T, ProblemKind>;

fn kind(refusal: Refusal) -> ProblemKind {
    refusal.problem.kind
}

impl SimTracker {
    /// Starts a tracker on what is in the directory.
    pub(crate) async fn start(data: &Path, id: TrackerId, rules: Rules) -> Self {
        let store = SqliteStore::open(&data.join("tracker.db")).await.unwrap();
        let (registry, repairer, lived_ms) = remembered(&store, rules).await.unwrap();
        let identity = Identity::from_seed(Secret::from_bytes([1; 32]));
        let admission =
            Admission::open(data, &identity, &"https://127.0.0.1:9090".parse().unwrap()).await.unwrap();
        Self(Tracker {
            browsers_warn: true,
            id,
            registry: parking_lot::Mutex::new(registry),
            store: Box::new(store),
            admission: admission.into(),
            sessions: Sessions::default(),
            dashboard: Dashboard::new(tokio_util::sync::CancellationToken::new()),
            key: TrackerKey::from_seed(&Secret::from_bytes([1; 32])),
            complaints: Complaints::default(),
            repairer,
            // Always the same seed, so that a run can be replayed.
            auditor: Auditor::new(rules, lived_ms, &[7; 32]),
            clock: ClockMonitor::default(),
            // No sockets: the gateway is closed, and nobody is dialled.
            gateway: Gateway::new(Http::new(None).unwrap(), 0),
            quotas: Quotas::default(),
            untold: Untold::default(),
            dialer: Http::new(None).unwrap(),
            dials: tokio::sync::Semaphore::new(1),
            movers: Movers::default(),
            started_ms: clock::monotonic_ms(),
            settled_after: rules.heartbeat * SETTLING_BEATS,
            // A wait would take real time, in which nothing can happen.
            expects_for: Duration::ZERO,
            published: parking_lot::Mutex::default(),
            metrics: metrics::Metrics::default(),
            workers: Workers::default(),
        })
    }

    pub(crate) async fn register(
        &self,
        registration: Registration,
        usage: Usage,
    ) -> Answer<RegisterResponse> {
        self.0.admit(registration.id, registration.run).map_err(kind)?;
        self.0.insert_peer(registration, usage).await.map_err(kind)
    }

    pub(crate) async fn heartbeat(
        &self,
        id: PeerId,
        request: HeartbeatRequest,
        remote: IpAddr,
    ) -> Answer<HeartbeatResponse> {
        self.0.heartbeat(id, request, remote).await.map_err(kind)
    }

    pub(crate) async fn inventory(&self, id: PeerId, request: InventoryRequest) -> Answer<InventoryResponse> {
        self.0.inventory(id, request).await.map_err(kind)
    }

    pub(crate) async fn announce(&self, id: PeerId, request: AnnounceRequest) -> Answer<()> {
        self.0.announce(id, request).await.map_err(kind)
    }

    pub(crate) async fn open(&self, request: &OpenRequest, shown: Authority<'_>) -> Answer<OpenResponse> {
        self.check_owner(request.share, Act::Open, shown)?;
        let token = Secret::from_bytes([1; 32]);
        let by = TokenRecord::new(&token, TokenRole::Sender, String::new(), 0, None);
        self.0.open(&by, request).await.map_err(kind)
    }

    pub(crate) async fn publish(
        &self,
        share: ShareId,
        shown: Authority<'_>,
        request: PublishRequest,
    ) -> Answer<()> {
        let grant = self.0.key.public().verify(shown.grant).map_err(|_| ProblemKind::AccessDenied)?;
        let wanted = Use { share, operation: Operation::Push, at: None, by: None, now_ms: clock::now_ms() };
        grant.check(&wanted).map_err(|_| ProblemKind::ClockSkew)?;
        self.check_owner(share, Act::Publish, shown)?;
        let granted = Granted { share, grant, credential: shown.grant.to_string() };
        self.0.publish(&granted, request).await.map_err(kind)
    }

    fn check_owner(&self, share: ShareId, act: Act, shown: Authority<'_>) -> Answer<()> {
        let (at, tracker) = (self.0.id.into(), self.0.id);
        let asked = Asked { share, act, at, credential: shown.grant, by: None, tracker };
        asked.check(shown.owner).map_err(|_| ProblemKind::AccessDenied)
    }

    pub(crate) async fn look_up(&self, share: ShareId, access: &Secret) -> Answer<LookUpResponse> {
        let asker = Asker::new(None, std::net::Ipv4Addr::LOCALHOST.into());
        self.0.look_up(share, access, asker).await.map(|answer| answer.0).map_err(kind)
    }

    pub(crate) async fn replace_terms(&self, share: ShareId, token: &TermsToken) -> Answer<()> {
        let request = TermsRequest { terms: token.clone(), sent_to: Vec::new() };
        self.0.replace_terms(share, &request, None).await.map_err(kind)
    }

    /// A sender deletes a share of his and says to which peers it went.
    pub(crate) async fn withdraw(
        &self,
        share: ShareId,
        token: &TermsToken,
        sent_to: Vec<PeerId>,
    ) -> Answer<()> {
        let request = TermsRequest { terms: token.clone(), sent_to };
        let by = TokenRecord::new(&Secret::from_bytes([1; 32]), TokenRole::Sender, String::new(), 0, None);
        self.0.replace_terms(share, &request, Some(&by)).await.map_err(kind)
    }

    /// Asks the peers that are due; `is_open` says whether one can be reached. Returns who they are.
    pub(crate) async fn ask(&self, is_open: impl Fn(PeerId) -> bool) -> Vec<PeerId> {
        let questions = self.0.registry.lock().questions(self.0.now_ms(), usize::MAX);
        let due = questions.iter().map(|asked| asked.id).collect();
        for asked in questions {
            let answer = if is_open(asked.id) { Ok(()) } else { Err("no answer in time".to_owned()) };
            self.0.take_answer(&asked, answer, &[]).await.unwrap();
        }
        due
    }

    /// Dials the peers that come from another address; `answers` says whether one is there.
    pub(crate) async fn follow(&self, answers: impl Fn(PeerId, SocketAddr) -> bool) {
        for (id, address) in self.0.movers.take() {
            let before =
                self.0.registry.lock().get(id, self.0.now_ms()).map(|(peer, _)| peer.registration.clone());
            let Some(before) = before.filter(|_| answers(id, address)) else { continue };
            let answering: Vec<SocketAddr> =
                before.addresses.iter().copied().filter(|&address| answers(id, address)).collect();
            if self.0.found(&before, address).await.unwrap() {
                self.0.left(before, &answering).await.unwrap();
            }
        }
    }

    /// Where it sends others to a peer; `None`: it does not know it.
    pub(crate) fn addresses(&self, id: PeerId) -> Option<Vec<SocketAddr>> {
        let registry = self.0.registry.lock();
        registry.get(id, self.0.now_ms()).map(|(peer, _)| peer.registration.addresses.clone())
    }

    /// What the tracker does by itself, once a heartbeat.
    pub(crate) async fn round(&self) {
        self.0.repair_round().await.unwrap();
        self.0.forget_ended().await.unwrap();
        self.0.save_proofs(false).await.unwrap();
    }

    /// Whom it asks now, and what.
    pub(crate) async fn audits(&self) -> Vec<SimAudit> {
        let mut audits = Vec::new();
        for turn in self.0.audit_turns(usize::MAX) {
            audits.extend(self.0.prepare(turn).await.unwrap().map(SimAudit));
        }
        audits
    }

    /// Takes in what a peer answered, or that it did not.
    pub(crate) async fn take_audit(&self, audit: SimAudit, answer: Option<AuditResponse>) {
        self.0.take_audit(audit.0, answer).await.unwrap();
    }

    pub(crate) async fn health(&self) -> SwarmHealth {
        self.0.list(TokenRole::Admin).await.unwrap().health
    }

    /// How many chunks a peer was found not to have.
    pub(crate) async fn refuted_chunks(&self, peer: PeerId) -> u64 {
        let peers = self.0.list(TokenRole::Admin).await.unwrap().peers;
        peers.iter().find(|info| info.id == peer).map_or(0, |info| info.refuted_chunks)
    }

    /// Admits a peer by an invite of its own. Returns the token.
    pub(crate) async fn let_in(&self, peer: PeerId) -> TokenId {
        let tokens = &self.0.admission.tokens;
        let token = tokens.issue(TokenRole::Peer, "peer", None, Allowance::default()).await.unwrap();
        let token = TokenId::of_token(&token);
        assert!(tokens.admit(peer, token, 1).await.unwrap());
        token
    }

    pub(crate) async fn take_down(&self, share: ShareId) -> Answer<()> {
        self.0.take_down(share).await.map_err(kind)
    }

    pub(crate) async fn is_taken_down(&self, share: ShareId) -> bool {
        matches!(self.0.store.gone(share).await.unwrap(), Some(Gone::TakenDown))
    }

    /// Whether a share is known to be deleted or taken down.
    pub(crate) async fn is_gone(&self, share: ShareId) -> bool {
        self.0.store.gone(share).await.unwrap().is_some()
    }

    pub(crate) async fn holders(&self, share: ShareId) -> Vec<(PeerId, ChunkSet)> {
        self.0.store.holders(share).await.unwrap()
    }
}
