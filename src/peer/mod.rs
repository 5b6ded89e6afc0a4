//! A peer: stores chunks and serves them. It cannot tell what it stores.

mod audits;
mod clock_agreement;
mod copy;
mod errands;
mod grants;
mod heartbeat;
mod house;
mod http;
mod inventory;
mod mend;
mod metrics;
mod orders;
mod outbox;
mod parting;
mod promises;
mod scrub;
#[cfg(test)]
pub(crate) mod simulated;
mod storage;
mod tasks;
mod workers;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use parcelry_core::api::{CopyTask, ProblemKind};
use parcelry_core::id::{PeerId, RunId, TrackerId};
use parcelry_core::limits::{
    AUDIT_BYTES_PER_SECOND, COPY_BYTES_PER_SECOND, PIECE_BYTES, PIECES_KEPT, SCRUB_BYTES_PER_SECOND,
    SCRUB_EVERY, UPLOADS_MAX,
};
use parcelry_core::link::Invite;
use parcelry_core::receipt::PeerKey;

use crate::buffers::Buffers;
use crate::client::{ClientError, Http, TrackerClient, tracker_failure};
use crate::disk::durable;
use crate::failure::{Failure, Kind};
use crate::identity::{self, Identity};
use crate::server::{self, FairSemaphore, Frontend};
use crate::task::{Tasks, blocking};
use crate::throttle::Throttle;
use crate::tls::server::ServerTls;
use crate::worker::Workers;
use audits::Audits;
use clock_agreement::ClockAgreement;
use errands::Errands;
use grants::Grants;
use mend::Mending;
use orders::Orders;
use outbox::Outbox;
use parting::Partings;
use storage::{Bounds, Storage};

pub use scrub::Scrub;

/// How to run a peer.
#[derive(Debug, Clone)]
pub struct PeerConfig {
    /// The swarm to join.
    pub invite: Invite,
    /// Where to listen.
    pub listen: SocketAddr,
    /// The directory that holds its key and chunks.
    pub data: PathBuf,
    /// What its operator calls it.
    pub name: String,
    /// Bytes of chunks to hold; `None`: as many as the disk takes.
    pub capacity_bytes: Option<u64>,
    /// Bytes to leave free on the disk.
    pub keep_free_bytes: u64,
    /// Where it stands, to keep replicas apart.
    pub zone: Option<String>,
    /// Where others reach it, if not where the tracker sees it.
    pub public_addr: Option<SocketAddr>,
    /// How it looks after what it holds.
    pub maintenance: Maintenance,
}

/// How a peer looks after what it and others hold.
#[derive(Debug, Clone, Copy)]
pub struct Maintenance {
    /// Bytes that it copies from others in a second, when replicas are missing.
    pub copy_bytes_per_second: u64,
    /// Bytes that it reads in a second to prove to others what it holds.
    pub audit_bytes_per_second: u64,
    /// Time in which it reads everything that it holds again.
    pub scrub_every: Duration,
}

impl Default for Maintenance {
    fn default() -> Self {
        Self {
            copy_bytes_per_second: COPY_BYTES_PER_SECOND,
            audit_bytes_per_second: AUDIT_BYTES_PER_SECOND,
            scrub_every: SCRUB_EVERY,
        }
    }
}

/// A peer that is registered and serves.
pub struct RunningPeer {
    /// Its id.
    pub id: PeerId,
    /// What its operator calls it.
    pub name: String,
    /// Where it listens.
    pub address: SocketAddr,
    /// Where the tracker sends others.
    pub announced: Vec<SocketAddr>,
    /// Bytes that it can take.
    pub free_bytes: u64,
    peer: Arc<Peer>,
    tasks: Tasks,
}

/// What the handlers and the workers share.
struct Peer {
    id: PeerId,
    run: RunId,
    /// Signs receipts.
    key: PeerKey,
    name: String,
    zone: Option<String>,
    public_addr: Option<SocketAddr>,
    port: u16,
    storage: Arc<Storage>,
    grants: Grants,
    tracker: TrackerClient,
    tracker_id: TrackerId,
    /// To speak to other peers.
    http: Http,
    inventory: inventory::Asked,
    outbox: Outbox,
    audits: Audits,
    partings: Partings,
    copies: Orders<CopyTask>,
    errands: Errands,
    mending: Mending,
    copy_rate: Throttle,
    scrub_rate: Throttle,
    scrub_at: scrub::At,
    clock: ClockAgreement,
    /// Permits for chunks that are being written.
    uploads: FairSemaphore,
    /// What chunks come and go through, piece by piece.
    pieces: Arc<Buffers>,
    metrics: metrics::Metrics,
    workers: Workers,
}

/// Opens what the peer stores. It reads every record: servers that run already in this process go on meanwhile.
async fn open_storage(store: PathBuf, bounds: Bounds) -> Result<Arc<Storage>, Failure> {
    blocking(move || Storage::open(&store, bounds)).await.map(Arc::new)
}

/// Starts a peer: serves, and registers with the tracker.
pub async fn start(config: PeerConfig, tasks: &Tasks) -> Result<RunningPeer, Failure> {
    let store = config.data.join("store");
    if Identity::read(&config.data)?.is_none() {
        // Before the key is made: a key without a store means that a disk is missing.
        durable::own_directory(&config.data)?;
        Storage::create(&store)?;
    }
    let (identity, lock) = identity::take(&config.data)?;
    let bounds = Bounds { capacity_bytes: config.capacity_bytes, keep_free_bytes: config.keep_free_bytes };
    let storage = open_storage(store.clone(), bounds).await?;
    let http = Http::new(Some(&identity))?;
    let tls = ServerTls::new(&identity, None)?;
    let frontend =
        Frontend { tls, secure_at: None, proxies: server::Proxies::default(), hosts: Arc::default() };
    let (listener, address) = server::listen(config.listen).await?;
    let peer = Arc::new(Peer {
        id: identity.peer_id(),
        run: identity::random_run()?,
        key: identity.peer_key(),
        name: config.name,
        zone: config.zone,
        public_addr: config.public_addr,
        port: address.port(),
        storage,
        grants: Grants::default(),
        tracker: TrackerClient::of_invite(http.clone(), &config.invite),
        tracker_id: config.invite.tracker_id,
        http,
        inventory: inventory::Asked::default(),
        outbox: Outbox::default(),
        audits: Audits::new(config.maintenance.audit_bytes_per_second),
        partings: Partings::open(&store)?,
        copies: Orders::default(),
        errands: Errands::default(),
        mending: Mending::default(),
        copy_rate: Throttle::new(config.maintenance.copy_bytes_per_second),
        scrub_rate: Throttle::new(SCRUB_BYTES_PER_SECOND),
        scrub_at: scrub::At::default(),
        clock: ClockAgreement::default(),
        uploads: FairSemaphore::new(UPLOADS_MAX),
        pieces: Buffers::new(PIECES_KEPT, PIECE_BYTES),
        metrics: metrics::Metrics::default(),
        workers: Workers::default(),
    });
    let tasks = tasks.child();
    // It serves before it registers: the tracker dials back before it answers.
    let router = http::router(Arc::clone(&peer));
    let serving = tasks.clone();
    tasks.spawn("peer", async move {
        server::serve(listener, router, frontend, serving).await;
        drop(lock);
    });
    peer.workers.start(&tasks, house::DiskWorker(Arc::clone(&peer)));
    match join(&peer).await {
        Ok((every, announced)) => {
            let (own, position) = (Arc::clone(&peer), store.join("scrub"));
            let scrub = scrub::ScrubWorker::new(own, config.maintenance.scrub_every, position);
            peer.workers.start(&tasks, scrub);
            workers::start(&peer, every, &tasks);
            let free_bytes = peer.storage.usage().free_bytes;
            let (id, name) = (peer.id, peer.name.clone());
            Ok(RunningPeer { id, name, address, announced, free_bytes, peer, tasks })
        }
        Err(failure) => {
            tasks.stop(parcelry_core::limits::DRAIN_TIMEOUT).await;
            Err(failure)
        }
    }
}

impl Peer {
    /// Does something with the storage, on a thread that may wait for the disk.
    async fn on_disk<T: Send + 'static>(&self, work: impl FnOnce(&Storage) -> T + Send + 'static) -> T {
        let storage = Arc::clone(&self.storage);
        blocking(move || work(&storage)).await
    }
}

impl std::fmt::Debug for RunningPeer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RunningPeer").field("id", &self.id).field("name", &self.name).finish_non_exhaustive()
    }
}

impl RunningPeer {
    /// Reads everything that it holds again, now. Returns what was found.
    pub async fn scrub(&self) -> Result<Scrub, Failure> {
        let failed = |error: std::io::Error| Failure::new(Kind::Other, format!("cannot scrub: {error}"));
        scrub::pass_now(&self.peer).await.map_err(failed)
    }

    /// Leaves the swarm, finishes what is in flight and stops.
    pub async fn stop(self) {
        self.tasks.stop(parcelry_core::limits::DRAIN_TIMEOUT).await;
    }
}

/// Registers with the tracker. While nobody answers it tries on: machines start in any order.
async fn join(peer: &Peer) -> Result<(Duration, Vec<SocketAddr>), Failure> {
    let mut told = false;
    loop {
        match heartbeat::register(peer, &peer.tracker).await {
            Ok(registered) => return Ok(registered),
            Err(error @ ClientError::Unreachable { .. }) => {
                if !told {
                    tracing::warn!("the tracker at {error}; trying until it answers");
                    told = true;
                }
                tokio::time::sleep(heartbeat::RETRY).await;
            }
            Err(error) => return Err(not_joined(&error)),
        }
    }
}

fn not_joined(error: &ClientError) -> Failure {
    match error.problem() {
        Some(ProblemKind::PeerUnreachable) => Failure::new(Kind::Network, error.to_string())
            .next("Open the port in the firewall, or say where others reach this peer with --public-addr."),
        _ => tracker_failure(error),
    }
}
