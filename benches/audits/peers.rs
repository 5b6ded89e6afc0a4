//! So many peers in one process, each with its own key and address: they register, beat, and prove what they are asked.

use std::collections::{BTreeSet, HashMap};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use axum::extract::State;
use axum::routing::{get, post};
use axum::{Json, Router};
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use parcelry::identity::{Identity, random_run};
use parcelry::server::{self, Frontend};
use parcelry::task::Tasks;
use parcelry::tls::{self, server::ServerTls};
use parcelry_core::api::{
    AuditRequest, AuditResponse, Blob, HeartbeatRequest, Proof, RegisterRequest, Sample,
};
use parcelry_core::id::{ChunkId, PeerId, RunId, Secret};
use parcelry_core::link::Invite;
use parcelry_core::proof::Prover;
use parcelry_core::registry::Usage;
use serde::Serialize;
use serde_json::{Value, json};
use tokio::net::TcpSocket;
use tokio_rustls::TlsConnector;

use crate::database::Manifests;
use crate::tracker::TrackerProcess;

/// Different chunks in the whole swarm. They are in memory with their hashes, so that a proof costs this process little.
const BLOBS: u8 = 64;
const BLOB_BYTES: usize = (1 << 20) + 16;
const HEARTBEAT: Duration = Duration::from_secs(10);
const USAGE: Usage = Usage { used_bytes: 1 << 40, free_bytes: 1 << 40 };

/// Chunks from which proofs are cut.
pub(crate) struct Blobs {
    ids: Vec<ChunkId>,
    provers: HashMap<ChunkId, Prover<'static>>,
}

impl Blobs {
    /// Makes them. They live as long as the process.
    pub(crate) fn new() -> Self {
        let prover = |number: u8| Prover::new(Box::leak(vec![number; BLOB_BYTES].into_boxed_slice()));
        let provers: HashMap<_, _> = (0..BLOBS).map(prover).map(|prover| (prover.root(), prover)).collect();
        Self { ids: provers.keys().copied().collect(), provers }
    }
}

/// What was asked since the last look.
#[derive(Default)]
pub(crate) struct Asked {
    pub(crate) requests: u64,
    pub(crate) samples: u64,
    pub(crate) bytes: u64,
    pub(crate) beats: u64,
}

/// What all peers have in common.
struct Common {
    blobs: Blobs,
    manifests: OnceLock<Manifests>,
    requests: AtomicU64,
    samples: AtomicU64,
    bytes: AtomicU64,
    beats: AtomicU64,
}

/// All peers.
pub(crate) struct Swarm {
    members: Vec<Arc<Member>>,
    common: Arc<Common>,
}

struct Member {
    identity: Identity,
    run: RunId,
    ip: IpAddr,
    invite: Invite,
}

impl Swarm {
    /// Makes peers that serve, and registers them.
    pub(crate) async fn register(count: u32, tracker: &TrackerProcess, blobs: Blobs, tasks: &Tasks) -> Self {
        let invite = tracker.invite(count);
        let common = Arc::new(Common {
            blobs,
            manifests: OnceLock::new(),
            requests: AtomicU64::new(0),
            samples: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            beats: AtomicU64::new(0),
        });
        let mut members = Vec::new();
        for number in 0..count {
            let seed = *blake3::hash(&(u64::from(number) << 32).to_be_bytes()).as_bytes();
            let [.., high, low] = number.to_be_bytes();
            let member = Arc::new(Member {
                identity: Identity::from_seed(Secret::from_bytes(seed)),
                run: random_run().unwrap(),
                ip: Ipv4Addr::new(127, 1, high, low).into(),
                invite: invite.clone(),
            });
            let port = member.serve(&common, tasks).await;
            let mut line = member.connect(tracker.address(), tasks).await;
            let id = member.identity.peer_id();
            let request = RegisterRequest {
                id,
                run: member.run,
                name: format!("peer {number}"),
                addresses: Vec::new(),
                port,
                capacity_bytes: 2 << 40,
                usage: USAGE,
                zone: None,
                version: env!("CARGO_PKG_VERSION").into(),
            };
            member.post(&mut line, "/v1/peers", &request).await.unwrap();
            members.push(member);
        }
        Self { members, common }
    }

    /// The peers' ids.
    pub(crate) fn ids(&self) -> Vec<PeerId> {
        self.members.iter().map(|member| member.identity.peer_id()).collect()
    }

    /// The ids of the chunks that they hold.
    pub(crate) fn blobs(&self) -> &[ChunkId] {
        &self.common.blobs.ids
    }

    /// Takes the manifests that are proved from now on.
    pub(crate) fn serve_manifests(&self, manifests: Manifests) {
        assert!(self.common.manifests.set(manifests).is_ok(), "they are set once");
    }

    /// Has all peers beat, spread over a heartbeat, each over a connection that stays.
    pub(crate) fn beat(&self, tracker: &TrackerProcess, tasks: &Tasks) {
        let count = u32::try_from(self.members.len()).unwrap();
        for (number, member) in (0..).zip(&self.members) {
            let (member, common) = (Arc::clone(member), Arc::clone(&self.common));
            let (address, tasks_of_line) = (tracker.address().to_owned(), tasks.clone());
            let beating = async move {
                tokio::time::sleep(HEARTBEAT * number / count).await;
                member.keep_beating(&address, &common, &tasks_of_line).await;
            };
            let stop = tasks.stop_token().clone();
            tasks.spawn("beats", async move { stop.run_until_cancelled(beating).await });
        }
    }

    /// What was asked since the last look.
    pub(crate) fn take_asked(&self) -> Asked {
        let Common { requests, samples, bytes, beats, .. } = &*self.common;
        let take = |counter: &AtomicU64| counter.swap(0, Relaxed);
        Asked { requests: take(requests), samples: take(samples), bytes: take(bytes), beats: take(beats) }
    }
}

type Line = SendRequest<Full<Bytes>>;

impl Member {
    /// Serves what a tracker asks of a peer; the port.
    async fn serve(&self, common: &Arc<Common>, tasks: &Tasks) -> u16 {
        let (listener, address) = server::listen(SocketAddr::new(self.ip, 0)).await.unwrap();
        let health = json!({ "role": "peer", "id": self.identity.peer_id().to_string(), "now_ms": 0 });
        let health = get(|| async move { Json(health) });
        let router = Router::new().route("/healthz", health).route("/v1/audits", post(prove));
        let frontend = Frontend {
            tls: ServerTls::new(&self.identity, None).unwrap(),
            secure_at: None,
            proxies: server::Proxies::default(),
            hosts: Arc::from([self.ip.to_string()]),
        };
        let serving = server::serve(listener, router.with_state(Arc::clone(common)), frontend, tasks.clone());
        tasks.spawn("peer", serving);
        address.port()
    }

    /// A connection to the tracker, from the peer's own address.
    async fn connect(&self, tracker: &str, tasks: &Tasks) -> Line {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(SocketAddr::new(self.ip, 0)).unwrap();
        let stream = socket.connect(tracker.parse().unwrap()).await.unwrap();
        let config = tls::pinning_client_config(Some(&self.identity)).unwrap();
        let name = tls::pinned_name(self.invite.tracker_id.as_bytes());
        let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await.unwrap();
        let (line, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
        tasks.spawn("line", async move { drop(connection.await) });
        line
    }

    async fn post(&self, line: &mut Line, path: &str, body: &(impl Serialize + Sync)) -> Option<Value> {
        let request = hyper::Request::post(path)
            .header("host", self.invite.tracker.authority())
            .header("content-type", "application/json")
            .header("authorization", format!("Bearer {}", self.invite.token.expose_text()))
            .body(Full::new(Bytes::from(serde_json::to_vec(body).unwrap())))
            .unwrap();
        line.ready().await.ok()?;
        let answer = line.send_request(request).await.ok()?;
        let is_right = answer.status().is_success();
        let body = answer.into_body().collect().await.ok()?.to_bytes();
        assert!(is_right, "{path}: {}", String::from_utf8_lossy(&body));
        Some(serde_json::from_slice(&body).unwrap_or_default())
    }

    async fn keep_beating(&self, tracker: &str, common: &Common, tasks: &Tasks) {
        let path = format!("/v1/peers/{}/heartbeat", self.identity.peer_id());
        let request = HeartbeatRequest::new(self.run, USAGE);
        let mut line = self.connect(tracker, tasks).await;
        let mut ticks = tokio::time::interval(HEARTBEAT);
        loop {
            ticks.tick().await;
            if self.post(&mut line, &path, &request).await.is_none() {
                line = self.connect(tracker, tasks).await;
            }
            common.beats.fetch_add(1, Relaxed);
        }
    }
}

/// Proves what is asked for.
async fn prove(State(common): State<Arc<Common>>, Json(request): Json<AuditRequest>) -> Json<AuditResponse> {
    let manifests = common.manifests.get().unwrap();
    let mut read = BTreeSet::new();
    let mut proof = |sample: &Sample| {
        let slice = match manifests.get(&sample.root) {
            Some(manifest) => {
                count(&common, &mut read, sample.root, manifest.len());
                Prover::new(manifest).prove(sample.offset)
            }
            None => {
                count(&common, &mut read, sample.root, BLOB_BYTES);
                common.blobs.provers.get(&sample.root).and_then(|prover| prover.prove(sample.offset))
            }
        };
        Proof { slice: slice.map(Blob) }
    };
    let proofs: Vec<Proof> = request.samples.iter().map(&mut proof).collect();
    common.requests.fetch_add(1, Relaxed);
    common.samples.fetch_add(proofs.len() as u64, Relaxed);
    Json(AuditResponse { proofs })
}

/// A chunk or manifest is read once for all samples of a request.
fn count(common: &Common, read: &mut BTreeSet<ChunkId>, root: ChunkId, bytes: usize) {
    if read.insert(root) {
        common.bytes.fetch_add(bytes as u64, Relaxed);
    }
}
