//! The tracker: who is alive, who holds what. It never sees a key, a file name or a byte of content.
//!
//! # Lock order
//!
//! Requests and tasks share one `Tracker`. Each of its parts keeps its state behind a lock of its own, which is never
//! held across an `await`. Whoever takes a second one takes it in this order, from the outside in:
//!
//! 1. `Tracker::registry`;
//! 2. the state of the `Repairer`, or the audits of the `Auditor`, never both at once;
//! 3. the log or the news of the `Dashboard`, `Movers::waiting`, `Untold::granted`: nothing is locked within these.
//!
//! They nest in `repair_round` and `note_statuses` (registry, repairer), `suspect_own_network` (registry, auditor),
//! `list` (registry, then one of the two at a time), `sample` (registry, then repairer or dashboard), `note_suspicion`
//! (repairer, dashboard), `insert_peer` (registry, dashboard), `follow` (registry, movers) and `open` (registry, untold).
//! Whoever has the repairer's or the auditor's lock and needs the registry lets go first, as `repair_tasks` and
//! `audit_turns` do.
//!
//! Within one part: of the auditor `saved_ms`, then `audits`, then `random`; of the gateway `uploads`, then the state of
//! an upload or the semaphores of its slot, and `cache`, then the sources of a share. All other locks are taken alone.
//!
//! `Quotas::charging` and `Quotas::remembering` are held across `await`s, around all of these, and never both at once.

mod admin;
mod audits;
mod auth;
mod complaints;
mod dashboard;
mod ends;
mod events;
mod gateway;
mod http;
mod invites;
mod listing;
mod metrics;
mod peers;
mod placing;
mod quotas;
mod reach;
mod repair;
mod restore;
mod restored;
mod rotation;
mod sampler;
mod sessions;
mod shares;
#[cfg(test)]
pub(crate) mod simulated;
mod store;
mod tokens;
#[cfg(test)]
mod trials;
mod untold;
mod web;
mod workers;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use parcelry_core::dashboard::LogKind;
use parcelry_core::duration::millis;
use parcelry_core::grant::TrackerKey;
use parcelry_core::id::{ShareId, TrackerId};
use parcelry_core::limits::{DIALS_MAX, DRAIN_TIMEOUT, LOG_ENTRIES_MAX, SETTLING_BEATS, TOMBSTONE};
use parcelry_core::link::TrackerUrl;
use parcelry_core::proxy::Declared;
use parcelry_core::registry::{Registry, Rules};
use parking_lot::Mutex;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use crate::client::Http;
use crate::clock::{self, ClockMonitor};
use crate::failure::{Failure, Kind};
use crate::identity::{self, DirLock};
use crate::server::{self, Frontend, Proxies};
use crate::task::Tasks;
use crate::tls::server::ServerTls;
use crate::tls::web_certificate::{self, WebCertificate};
use crate::worker::Workers;
use audits::Auditor;
use complaints::Complaints;
use dashboard::Dashboard;
use gateway::Gateway;
use quotas::Quotas;
use reach::Movers;
use repair::Repairer;
use sessions::Sessions;
use store::{SqliteStore, Store, StoreError, unless_damaged};
use untold::Untold;

pub use invites::{Admission, FirstInvites, check_allowance};

const DATABASE_FILE: &str = "tracker.db";

/// How to run a tracker.
#[derive(Debug, Clone)]
pub struct TrackerConfig {
    /// Where to listen.
    pub listen: SocketAddr,
    /// The directory that holds its key and database.
    pub data: PathBuf,
    /// Where others reach it, if not where it listens.
    pub public_url: Option<TrackerUrl>,
    /// When silence of a peer means what.
    pub rules: Rules,
    /// A certificate for those who do not know its key, as browsers.
    pub certificate: Option<WebCertificate>,
    /// Machines that speak plain HTTP to it for others.
    pub proxies: Vec<Declared>,
    /// Names by which browsers may call it, beside the one of its address.
    pub hosts: Vec<String>,
    /// Bytes a second that pass through it for browsers; 0: it serves none.
    pub gateway_bytes_per_second: u64,
}

/// A tracker that listens.
#[derive(Debug)]
pub struct RunningTracker {
    /// Where it listens.
    pub address: SocketAddr,
    /// Where peers, senders and receivers reach it.
    pub url: TrackerUrl,
    /// Whether browsers warn before they open its links.
    pub browsers_warn: bool,
    /// Makes invites.
    pub admission: Arc<Admission>,
    /// What the first peers and senders need to join; made at the first start only.
    pub first: Option<FirstInvites>,
    tasks: Tasks,
}

/// What the handlers share.
struct Tracker {
    id: TrackerId,
    browsers_warn: bool,
    registry: Mutex<Registry>,
    store: Box<dyn Store>,
    admission: Arc<Admission>,
    sessions: Sessions,
    dashboard: Dashboard,
    key: TrackerKey,
    complaints: Complaints,
    repairer: Repairer,
    auditor: Auditor,
    clock: ClockMonitor,
    gateway: Gateway,
    quotas: Quotas,
    untold: Untold,
    /// To dial peers back: on a new connection each time, for an old one may outlive the way on which it came.
    dialer: Http,
    dials: Semaphore,
    movers: Movers,
    started_ms: u64,
    /// When, after its start, it takes its database for what is so.
    settled_after: Duration,
    /// How long a new share waits for peers that are expected back.
    expects_for: Duration,
    /// Shares that were published before that.
    published: Mutex<BTreeSet<ShareId>>,
    metrics: metrics::Metrics,
    workers: Workers,
}

/// Starts a tracker.
pub async fn start(config: TrackerConfig, tasks: &Tasks) -> Result<RunningTracker, Failure> {
    let (identity, lock) = identity::take(&config.data)?;
    let database = config.data.join(DATABASE_FILE);
    let store = SqliteStore::open(&database).await.map_err(|error| store_failure(&config, &error))?;
    let remembered = remembered(&store, config.rules).await;
    let (registry, repairer, lived_ms) = remembered.map_err(|error| store_failure(&config, &error))?;
    let seed = identity::random_bytes()?;
    let (listener, address) = server::listen(config.listen).await?;
    // An address that was guessed may be another machine's way, and no visitor's.
    let secure_at = config.public_url.as_ref().map(|url| url.to_string().into());
    let url = match config.public_url {
        Some(url) => url,
        None => guessed_url(address)?,
    };
    let hosts: Vec<String> = config.hosts.into_iter().chain([url.host().to_owned()]).collect();
    let browsers_warn = config.certificate.is_none();
    let web = match &config.certificate {
        Some(certificate) => certificate.read()?,
        None => web_certificate::own(&config.data, &certified_names(&hosts))?,
    };
    let frontend = Frontend {
        tls: ServerTls::new(&identity, Some(web))?,
        secure_at,
        proxies: Proxies::new(config.proxies),
        hosts: hosts.into(),
    };
    let admission = Arc::new(Admission::open(&config.data, &identity, &url).await?);
    let first = admission.first_invites().await?;
    let tasks = tasks.child();
    let tracker = Arc::new(Tracker {
        id: identity.tracker_id(),
        browsers_warn,
        registry: Mutex::new(registry),
        store: Box::new(store),
        admission: Arc::clone(&admission),
        sessions: Sessions::default(),
        dashboard: Dashboard::new(tasks.stop_token().clone()),
        key: identity.tracker_key(),
        complaints: Complaints::default(),
        repairer,
        auditor: Auditor::new(config.rules, lived_ms, &seed),
        clock: ClockMonitor::default(),
        gateway: Gateway::new(Http::new(Some(&identity))?, config.gateway_bytes_per_second),
        quotas: Quotas::default(),
        untold: Untold::default(),
        dialer: Http::new(Some(&identity))?.without_pool(),
        dials: Semaphore::new(DIALS_MAX),
        movers: Movers::default(),
        started_ms: clock::monotonic_ms(),
        // At the very first start there was nothing before.
        settled_after: if first.is_some() { Duration::ZERO } else { config.rules.heartbeat * SETTLING_BEATS },
        expects_for: placing::patience(config.rules.heartbeat),
        published: Mutex::default(),
        metrics: metrics::Metrics::default(),
        workers: Workers::default(),
    });
    tasks.spawn("tracker", run(Arc::clone(&tracker), listener, frontend, lock, tasks.clone()));
    workers::start(&tracker, config.rules, &tasks);
    Ok(RunningTracker { address, url, browsers_warn, admission, first, tasks })
}

/// The names and addresses for which a tracker vouches itself: those that it is called by, and this machine's own.
fn certified_names(hosts: &[String]) -> Vec<String> {
    let bare = hosts.iter().map(|host| host.trim_matches(['[', ']']));
    let names: BTreeSet<String> = bare.chain(["localhost", "127.0.0.1", "::1"]).map(str::to_owned).collect();
    names.into_iter().collect()
}

/// What a tracker that starts knows about its peers.
async fn remembered(store: &dyn Store, rules: Rules) -> Result<(Registry, Repairer, u64), StoreError> {
    let mut registry = Registry::new(rules);
    for registration in store.peers().await? {
        registry.load(registration, 0);
    }
    for peer in store.draining().await? {
        registry.drain(peer, true);
    }
    Ok((registry, Repairer::new(rules, store.all_holders().await?), store.lived_ms().await?))
}

impl RunningTracker {
    /// Finishes what is in flight and stops.
    pub async fn stop(self) {
        self.tasks.stop(DRAIN_TIMEOUT).await;
    }
}

impl Tracker {
    /// Milliseconds since the start, of a clock that never goes back.
    fn now_ms(&self) -> u64 {
        clock::monotonic_ms().saturating_sub(self.started_ms)
    }

    /// Forgets shares that ended long ago, unless the clock that says so may be wrong.
    async fn forget_ended(&self) -> Result<(), StoreError> {
        if !self.clock.is_steady() {
            tracing::warn!("this machine's clock has jumped: no share is forgotten until it has settled");
            return Ok(());
        }
        let now_ms = clock::now_ms();
        match self.store.forget_expired(now_ms.saturating_sub(millis(TOMBSTONE)), now_ms).await? {
            0 => {}
            shares => tracing::info!(shares, "forgot shares that ended"),
        }
        Ok(())
    }

    /// Tells the operator's page which shares' time was over between two moments.
    async fn note_expired(&self, from_ms: u64, to_ms: u64) -> Result<(), StoreError> {
        for share in self.store.expired_between(from_ms, to_ms, LOG_ENTRIES_MAX).await? {
            let known = unless_damaged(share, self.known(share).await)?.flatten();
            if known.is_some_and(|(_, terms)| !terms.deleted) {
                self.dashboard.note(LogKind::ShareExpired, |entry| entry.share = Some(share));
            }
        }
        Ok(())
    }
}

/// Holds the lock on the data directory for as long as it serves.
async fn run(tracker: Arc<Tracker>, listener: TcpListener, frontend: Frontend, lock: DirLock, tasks: Tasks) {
    let router = http::router(tracker);
    server::serve(listener, router, frontend, tasks).await;
    drop(lock);
}

fn store_failure(config: &TrackerConfig, error: &StoreError) -> Failure {
    Failure::new(Kind::Other, format!("{}: {error}", config.data.join(DATABASE_FILE).display()))
}

/// The address under which others most likely reach a listener on `address`.
pub fn guessed_url(address: SocketAddr) -> Result<TrackerUrl, Failure> {
    let ip = if address.ip().is_unspecified() { outward_ip() } else { address.ip() };
    format!("https://{}", SocketAddr::new(ip, address.port()))
        .parse()
        .map_err(|error| Failure::new(Kind::Other, format!("no usable address: {error}")))
}

/// The address that this machine uses towards others. Connecting a UDP socket sends nothing.
fn outward_ip() -> std::net::IpAddr {
    let loopback = std::net::Ipv4Addr::LOCALHOST.into();
    let Ok(socket) = std::net::UdpSocket::bind("0.0.0.0:0") else { return loopback };
    // An address reserved for documentation (RFC 5737): routed like any other, reached by nobody.
    match socket.connect("192.0.2.1:9").and_then(|()| socket.local_addr()) {
        Ok(local) if !local.ip().is_unspecified() => local.ip(),
        _ => loopback,
    }
}
