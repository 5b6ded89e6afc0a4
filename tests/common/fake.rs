//! Scripted servers: a tracker or peer that says and does what a test wants, over real TLS, under a key of
//! its own. As a peer it joins a real swarm, is dialled back, beats, takes chunks, and serves them its way.

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use parcelry::client::{Http, TrackerClient};
use parcelry::identity::Identity;
use parcelry::tls;
use parcelry_core::api::{
    AuditRequest, Blob, CommitRequest, HeartbeatRequest, Problem, ProblemKind, Proof, RegisterRequest,
    Sample, Task,
};
use parcelry_core::chunk_set::ChunkSet;
use parcelry_core::enclosed::{Encloses, disclose};
use parcelry_core::id::{ChunkId, RunId};
use parcelry_core::limits::ENCLOSED_JSON_BYTES_MAX;
use parcelry_core::proof::Prover;
use parcelry_core::registry::Usage;
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::{Value, json};

use super::swarm::Swarm;
use super::tls::identity;

/// A request as it came.
#[derive(Debug, Clone)]
pub struct Request {
    pub method: String,
    pub path: String,
    pub head: String,
    pub body: Vec<u8>,
}

impl Request {
    /// Whether its body is said to be JSON.
    pub fn is_json(&self) -> bool {
        self.head.to_lowercase().contains("content-type: application/json")
    }

    /// What it says, in either layout.
    #[track_caller]
    pub fn with_manifest<T: Encloses>(&self) -> T {
        if self.is_json() {
            serde_json::from_slice(&self.body).unwrap()
        } else {
            disclose(self.body.clone(), ENCLOSED_JSON_BYTES_MAX).unwrap()
        }
    }
}

/// Where a script writes its answer.
pub type Out<'a> = &'a mut dyn Write;

/// A scripted server; it stops when dropped.
pub struct Fake {
    pub identity: Identity,
    pub address: SocketAddr,
    requests: Arc<Mutex<Vec<Request>>>,
    stop: Arc<AtomicBool>,
}

impl Fake {
    /// Starts a server under identity number `number` on any port.
    pub fn start(
        number: u8,
        script: impl Fn(&Request, Out<'_>) -> io::Result<()> + Send + Sync + 'static,
    ) -> Self {
        Self::start_at("127.0.0.1:0", number, script)
    }

    /// Starts a server at this address.
    pub fn start_at(
        address: &str,
        number: u8,
        script: impl Fn(&Request, Out<'_>) -> io::Result<()> + Send + Sync + 'static,
    ) -> Self {
        let identity = identity(number);
        let config = tls::server::pinned_config(&identity).unwrap();
        Self::start_with(address, identity, config, script)
    }

    /// Starts a server with this TLS configuration.
    pub fn start_with(
        address: &str,
        identity: Identity,
        config: ServerConfig,
        script: impl Fn(&Request, Out<'_>) -> io::Result<()> + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind(address).unwrap();
        let address = listener.local_addr().unwrap();
        let (requests, stop) = (Arc::<Mutex<Vec<Request>>>::default(), Arc::<AtomicBool>::default());
        let (config, script) = (Arc::new(config), Arc::new(script));
        let (log, stopped) = (Arc::clone(&requests), Arc::clone(&stop));
        thread::spawn(move || {
            for socket in listener.incoming().map_while(Result::ok) {
                if stopped.load(Ordering::Relaxed) {
                    return;
                }
                let (config, script, log) = (Arc::clone(&config), Arc::clone(&script), Arc::clone(&log));
                thread::spawn(move || serve(socket, config, &log, &*script));
            }
        });
        Self { identity, address, requests, stop }
    }

    /// The requests so far.
    pub fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let _ = TcpStream::connect(self.address);
    }
}

fn serve(
    socket: TcpStream,
    config: Arc<ServerConfig>,
    log: &Mutex<Vec<Request>>,
    script: &dyn Fn(&Request, Out<'_>) -> io::Result<()>,
) {
    let _ = socket.set_read_timeout(Some(Duration::from_secs(60)));
    let mut stream = StreamOwned::new(ServerConnection::new(config).unwrap(), socket);
    let Ok(request) = read_request(&mut stream) else { return };
    log.lock().unwrap().push(request.clone());
    let _ = script(&request, &mut stream);
    stream.conn.send_close_notify();
    let _ = stream.flush();
}

fn read_request(stream: &mut impl Read) -> io::Result<Request> {
    let mut bytes = Vec::new();
    let end = loop {
        if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            break end;
        }
        let mut piece = [0; 4096];
        match stream.read(&mut piece)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            read => bytes.extend_from_slice(&piece[..read]),
        }
    };
    let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse().unwrap())
    });
    let mut body = bytes.split_off(end + 4);
    // What follows are further requests, which a client may send ahead: this server answers one and closes.
    let read = body.len().min(length.unwrap_or(0));
    body.resize(length.unwrap_or(0), 0);
    stream.read_exact(&mut body[read..])?;
    let mut words = head.split(' ');
    let (method, path) = (words.next().unwrap().to_owned(), words.next().unwrap().to_owned());
    Ok(Request { method, path, head, body })
}

/// Answers with a JSON document.
pub fn answer_json(out: Out<'_>, status: u16, body: &Value) -> io::Result<()> {
    let kind = if status < 400 { "application/json" } else { "application/problem+json" };
    answer(out, &format!("{status} X\r\nContent-Type: {kind}"), body.to_string().as_bytes())
}

/// Answers with bytes; `head` is the status with further header lines.
pub fn answer(out: Out<'_>, head: &str, body: &[u8]) -> io::Result<()> {
    write!(out, "HTTP/1.1 {head}\r\nConnection: close\r\nContent-Length: {}\r\n\r\n", body.len())?;
    out.write_all(body)
}

/// A scripted peer in a real swarm.
pub struct FakePeer {
    pub server: Fake,
    /// What the tracker asked of it.
    pub tasks: Arc<Mutex<Vec<Task>>>,
    gone: Arc<AtomicBool>,
}

impl FakePeer {
    /// Joins the swarm. It takes all that it is sent; `serve` answers requests for chunks, given the bytes
    /// that were stored under the id and all that were stored.
    pub fn join(
        swarm: &Swarm,
        number: u8,
        serve: impl Fn(&[u8], &HashMap<String, Vec<u8>>, Out<'_>) -> io::Result<()> + Send + Sync + 'static,
    ) -> Self {
        Self::start(swarm, number, Version::This, Proves::Rightly, serve)
    }

    /// Joins the swarm like [`FakePeer::join`], as a peer of an older version.
    pub fn join_older(
        swarm: &Swarm,
        number: u8,
        serve: impl Fn(&[u8], &HashMap<String, Vec<u8>>, Out<'_>) -> io::Result<()> + Send + Sync + 'static,
    ) -> Self {
        Self::start(swarm, number, Version::Older, Proves::Rightly, serve)
    }

    /// Joins the swarm like [`FakePeer::join`], and proves what it holds in this way.
    pub fn join_that(
        swarm: &Swarm,
        number: u8,
        proves: Proves,
        serve: impl Fn(&[u8], &HashMap<String, Vec<u8>>, Out<'_>) -> io::Result<()> + Send + Sync + 'static,
    ) -> Self {
        Self::start(swarm, number, Version::This, proves, serve)
    }

    fn start(
        swarm: &Swarm,
        number: u8,
        version: Version,
        proves: Proves,
        serve: impl Fn(&[u8], &HashMap<String, Vec<u8>>, Out<'_>) -> io::Result<()> + Send + Sync + 'static,
    ) -> Self {
        let manifest = Mutex::<Vec<u8>>::default();
        let chunks = Mutex::new(HashMap::<String, Vec<u8>>::new());
        let id = identity(number).peer_id();
        let server = Fake::start(number, move |request, out| {
            let chunk = request.path.strip_prefix("/v1/chunks/").map(str::to_owned);
            let empty = |set: &Value| {
                let count = set.as_str().unwrap().split('.').next().unwrap().parse().unwrap();
                ChunkSet::empty(count).to_string()
            };
            match (request.method.as_str(), request.path.as_str(), chunk) {
                ("PUT", _, Some(chunk)) => {
                    chunks.lock().unwrap().insert(chunk, request.body.clone());
                    answer(out, "204 X", b"")
                }
                ("GET", _, Some(chunk)) => {
                    let chunks = chunks.lock().unwrap().clone();
                    let Some(range) = asked_range(&request.head) else {
                        return serve(&chunks[&chunk], &chunks, out);
                    };
                    let mut caught =
                        Caught { bytes: Vec::new(), len: chunks[&chunk].len(), passes: false, out };
                    let served = serve(&chunks[&chunk], &chunks, &mut caught);
                    caught.part(range)?;
                    served
                }
                (_, path, _) if path.ends_with("/offer") => {
                    let asked: Value = serde_json::from_slice(&request.body).unwrap();
                    let mut told = json!({ "held": empty(&asked["chunks"]) });
                    if version == Version::This {
                        told["takes_raw_manifests"] = true.into();
                    }
                    answer_json(out, 200, &told)
                }
                (_, path, _)
                    if path.ends_with("/manifest") && version == Version::Older && !request.is_json() =>
                {
                    let problem = Problem::new(ProblemKind::UnsupportedMediaType, "send application/json");
                    answer_json(out, problem.status, &serde_json::to_value(&problem).unwrap())
                }
                (_, path, _) if path.ends_with("/manifest") => {
                    let asked: CommitRequest = request.with_manifest();
                    let share = path.split('/').nth(3).unwrap().parse().unwrap();
                    let digest = ChunkId::of(&asked.manifest.0);
                    manifest.lock().unwrap().clone_from(&asked.manifest.0);
                    let receipt = identity(number).peer_key().receipt(share, digest, &asked.chunks, 0);
                    let missing = ChunkSet::empty(asked.chunks.chunk_count());
                    answer_json(out, 200, &json!({ "missing": missing, "receipt": receipt }))
                }
                (_, "/v1/audits", _) => {
                    let chunks = chunks.lock().unwrap();
                    let manifest = manifest.lock().unwrap();
                    answer_json(out, 200, &proofs(&request.body, proves, &chunks, &manifest))
                }
                _ => answer_json(out, 200, &json!({ "role": "peer", "id": id, "now_ms": 0 })),
            }
        });
        let (tasks, gone) = (Arc::default(), Arc::<AtomicBool>::default());
        beat(swarm, &server, Arc::clone(&tasks), Arc::clone(&gone));
        Self { server, tasks, gone }
    }
}

/// The bytes that a request for a part of a chunk asks for: a receiver on a busy machine takes a near peer for far away.
fn asked_range(head: &str) -> Option<std::ops::RangeInclusive<usize>> {
    let range = head.lines().find_map(|line| line.strip_prefix("range: bytes="))?;
    let (first, last) = range.trim().split_once('-')?;
    Some(first.parse().ok()?..=last.parse().ok()?)
}

/// An answer that is caught on its way, as long as it can be a whole chunk: what is longer goes on as it comes.
struct Caught<'a> {
    bytes: Vec<u8>,
    /// Bytes of the chunk.
    len: usize,
    passes: bool,
    out: Out<'a>,
}

impl Caught<'_> {
    /// More than any head in these tests.
    const HEAD_BYTES: usize = 1024;

    /// Passes a part of the answer on if it is a whole chunk, and otherwise the answer as it is.
    fn part(self, range: std::ops::RangeInclusive<usize>) -> io::Result<()> {
        if self.passes {
            return Ok(());
        }
        let end = self.bytes.windows(4).position(|window| window == b"\r\n\r\n").map_or(0, |end| end + 4);
        let (head, body) = self.bytes.split_at(end);
        if head.starts_with(b"HTTP/1.1 200 X") && body.len() == self.len {
            let head = format!("206 X\r\nContent-Range: bytes */{}", self.len);
            return answer(self.out, &head, &body[range]);
        }
        self.out.write_all(&self.bytes)
    }
}

impl Write for Caught<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.passes {
            return self.out.write(bytes);
        }
        self.bytes.extend_from_slice(bytes);
        if self.bytes.len() > self.len + Self::HEAD_BYTES {
            self.passes = true;
            self.out.write_all(&self.bytes)?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// Which version a scripted peer is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Version {
    /// It says that it takes raw manifests, and takes them within JSON as well.
    This,
    /// It takes manifests within JSON only, and knows of nothing else.
    Older,
}

/// How a scripted peer answers audits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Proves {
    /// As it should.
    Rightly,
    /// As if it had nothing.
    Nothing,
    /// With proofs of something else.
    Wrongly,
}

/// The answer of a peer that has these chunks and the manifest.
fn proofs(body: &[u8], proves: Proves, chunks: &HashMap<String, Vec<u8>>, manifest: &Vec<u8>) -> Value {
    let asked: AuditRequest = serde_json::from_slice(body).unwrap();
    let proof = |sample: &Sample| {
        let held = if sample.share.is_some() { Some(manifest) } else { chunks.get(&sample.root.to_string()) };
        let slice = match proves {
            Proves::Rightly => Prover::new(held?).prove(sample.offset)?,
            Proves::Nothing => return None,
            // Of the right length, and of other bytes.
            Proves::Wrongly => Prover::new(&vec![7; held?.len()]).prove(sample.offset)?,
        };
        Some(Blob(slice))
    };
    json!({ "proofs": asked.samples.iter().map(|sample| Proof { slice: proof(sample) }).collect::<Vec<_>>() })
}

impl Drop for FakePeer {
    fn drop(&mut self) {
        self.gone.store(true, Ordering::Relaxed);
    }
}

/// Registers now, and beats in a thread until the peer is gone.
fn beat(swarm: &Swarm, server: &Fake, tasks: Arc<Mutex<Vec<Task>>>, gone: Arc<AtomicBool>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let http = Http::new(Some(&server.identity)).unwrap();
    let tracker = TrackerClient::of_invite(http, &swarm.peer_invite().parse().unwrap());
    let id = server.identity.peer_id();
    let usage = Usage { used_bytes: 0, free_bytes: 1 << 40 };
    let registration = register_request(server.identity.clone(), &[server.address]);
    runtime.block_on(tracker.register(&registration)).unwrap();
    thread::spawn(move || {
        while !gone.load(Ordering::Relaxed) {
            let request = HeartbeatRequest::new(registration.run, usage);
            if let Ok(response) = runtime.block_on(tracker.heartbeat(id, &request, Duration::from_secs(10))) {
                tasks.lock().unwrap().extend(response.tasks.known);
            }
            thread::sleep(Duration::from_millis(100));
        }
    });
}

/// What a peer with this identity would register with.
pub fn register_request(identity: Identity, addresses: &[SocketAddr]) -> RegisterRequest {
    RegisterRequest {
        id: identity.peer_id(),
        run: RunId::from_bytes([1; 16]),
        name: "fake".into(),
        addresses: addresses.to_vec(),
        port: 1024,
        capacity_bytes: 1 << 40,
        usage: Usage { used_bytes: 0, free_bytes: 1 << 40 },
        zone: None,
        version: "1".into(),
    }
}
