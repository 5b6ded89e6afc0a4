//! Runs the receiver's state machine: carries out its actions and tells it what came of them.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parcelry_core::api::{ComplaintRequest, SourceInfo};
use parcelry_core::chunk_set::ChunkSet;
use parcelry_core::connection_plan::{self, part_of};
use parcelry_core::fetch::{Action, Bounds, Event, Fetch, SourceState};
use parcelry_core::geometry::{ChunkIndex, ChunkSize};
use parcelry_core::id::{PeerId, Secret};
use parcelry_core::limits::{COMPLAINTS_MAX, REQUESTS_MAX};
use parcelry_core::manifest::ChunkList;
use parcelry_core::seal::ShareKeys;
use parking_lot::Mutex;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::sink::Sink;
use crate::buffers::{Buffer, Buffers};
use crate::client::{ChunkAnswer, ClientError, Http, PeerClient, TrackerClient, Unverified};
use crate::failure::{Failure, Kind};
use crate::human;
use crate::progress::{Progress, Stage};
use crate::task::{blocking, cpu_permits};

/// Pause before a failed request counts, so that a source that restarts is not given up at once.
const RETRY_AFTER: Duration = Duration::from_millis(500);

/// Time for all complaints at the end of a download.
const COMPLAIN: Duration = Duration::from_secs(3);

/// What a download needs to know.
pub(super) struct Download {
    pub(super) manifest: ChunkList,
    pub(super) keys: ShareKeys,
    pub(super) access: Secret,
    /// Where to complain about peers that serve wrong bytes.
    pub(super) tracker: TrackerClient,
    pub(super) sink: Sink,
    limits: Limits,
    /// Chunks that are where they belong, or on their way there. One that comes twice is used once.
    taken: Mutex<ChunkSet>,
}

/// What bounds how many chunks are in memory, and how many are opened at once.
struct Limits {
    buffers: Arc<Buffers>,
    /// For chunks that are being opened.
    cpu_permits: Semaphore,
}

/// What a piece of work came to.
enum Outcome {
    Asked(PeerId, Result<ChunkSet, ClientError>),
    Fetched(PeerId, ChunkIndex, Result<Placed, FetchError>),
}

/// What became of a chunk that is right.
enum Placed {
    /// It is where it belongs.
    First,
    /// Another request had brought it.
    Duplicate,
}

/// Why a request for a chunk came to nothing.
enum FetchError {
    Missing,
    /// The peer is at fault.
    Wrong,
    Failed(ClientError),
    /// The bytes are what the sender published, but do not open: the sender is at fault.
    Unopenable,
    /// This machine failed.
    Disk(io::Error),
}

/// Why a get ends without a result.
pub(super) enum Halt {
    /// Nothing can come of what was fetched any more.
    Final(Failure),
    /// When the command is run again, it goes on from here.
    Failed(Failure),
}

impl From<Failure> for Halt {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

impl From<Halt> for Failure {
    fn from(halt: Halt) -> Self {
        match halt {
            Halt::Final(failure) | Halt::Failed(failure) => failure,
        }
    }
}

struct Downloader<'a> {
    download: Arc<Download>,
    progress: &'a Progress,
    machine: Fetch,
    peers: HashMap<PeerId, PeerClient>,
    started: Instant,
    stage: Stage,
    work: JoinSet<Outcome>,
    last_error: Option<String>,
    complaints: Vec<ComplaintRequest>,
}

/// Fetches every chunk that is not in `done`. Returns the names of the peers that served some.
pub(super) async fn fetch(
    download: Arc<Download>,
    done: ChunkSet,
    sources: Vec<SourceInfo>,
    http: &Http,
    progress: &Progress,
) -> Result<Vec<String>, Halt> {
    let geometry = *download.manifest.geometry();
    let bytes_done = done.iter().map(|index| geometry.plain_len(index) as u64).sum();
    let stage = progress.stage("Getting", geometry.total());
    stage.skip(bytes_done);
    stage.note(format!("from {}", human::count(sources.len() as u64, "peer")));
    let mut machine = Fetch::new(done, bounds(&download, sources.len()));
    let (source_count, buffer_count) = (sources.len(), buffer_count(geometry.chunk_size()));
    let mut peers = HashMap::new();
    for source in sources {
        // What the tracker knows may be partial: such a source is asked itself.
        let holds = Some(source.chunks).filter(ChunkSet::is_full);
        machine.add_source(source.peer.id, holds);
        let client = PeerClient::new(http.clone(), source.peer).as_one_of(source_count, buffer_count);
        peers.insert(client.id(), client);
    }
    let (started, work) = (Instant::now(), JoinSet::new());
    let complaints = Vec::new();
    let mut downloader =
        Downloader { download, progress, machine, peers, started, stage, work, last_error: None, complaints };
    let result = downloader.run().await;
    // Ended first: what still waits for a source holds on to the sink, which the caller finishes right after this.
    downloader.work.shutdown().await;
    downloader.complain().await;
    result
}

impl Downloader<'_> {
    async fn run(&mut self) -> Result<Vec<String>, Halt> {
        loop {
            while let Some(action) = self.machine.next(self.started.elapsed()) {
                match action {
                    Action::Ask(peer) => self.ask(peer),
                    Action::Get(peer, index) => self.get(peer, index),
                    Action::Finish => return Ok(self.servers()),
                    Action::GiveUp => return Err(self.give_up().await),
                }
            }
            let outcome = match self.machine.next_deadline() {
                None => self.work.join_next().await,
                Some(deadline) => {
                    let left = deadline.saturating_sub(self.started.elapsed());
                    match tokio::time::timeout(left, self.work.join_next()).await {
                        Ok(outcome) => outcome,
                        // Nothing came in time: now the machine may ask another source.
                        Err(_) => continue,
                    }
                }
            };
            let Some(outcome) = outcome else {
                return Err(Failure::new(Kind::Other, "the download came to a standstill").into());
            };
            let outcome = outcome.map_err(|error| {
                Failure::new(Kind::Other, format!("a part of the download failed: {error}"))
            })?;
            self.take(outcome)?;
        }
    }

    fn ask(&mut self, peer: PeerId) {
        let (client, download) = (self.peers[&peer].clone(), Arc::clone(&self.download));
        self.work.spawn(async move {
            let answer = client.holding(download.manifest.share(), &download.access).await;
            Outcome::Asked(peer, answer.map(|response| response.chunks))
        });
    }

    fn get(&mut self, peer: PeerId, index: ChunkIndex) {
        let (client, download) = (self.peers[&peer].clone(), Arc::clone(&self.download));
        self.work.spawn(async move { Outcome::Fetched(peer, index, download.fetch(&client, index).await) });
    }

    fn take(&mut self, outcome: Outcome) -> Result<(), Halt> {
        match outcome {
            Outcome::Asked(peer, Ok(chunks)) => self.handle(Event::Holds(peer, chunks)),
            Outcome::Asked(peer, Err(error)) => {
                if matches!(error, ClientError::WrongKey { .. }) {
                    self.progress.warn(&format!("peer {} is not used: {error}", self.peers[&peer].name()));
                }
                self.note_unreachable(peer, &error);
                self.last_error = Some(error.to_string());
                self.handle(Event::Lost(peer));
            }
            Outcome::Fetched(peer, index, fetched) => self.take_chunk(peer, index, fetched)?,
        }
        Ok(())
    }

    fn take_chunk(
        &mut self,
        peer: PeerId,
        index: ChunkIndex,
        fetched: Result<Placed, FetchError>,
    ) -> Result<(), Halt> {
        let name = self.peers[&peer].name().to_owned();
        match fetched {
            Ok(Placed::First) => {
                self.stage.advance(self.download.manifest.geometry().plain_len(index) as u64);
                self.handle(Event::Got(peer, index));
                // Its connections tell by now how far it is, and so how much it is to be asked for at once.
                let chunk_size = self.download.manifest.geometry().chunk_size();
                self.machine.set_limit(peer, self.peers[&peer].requests(chunk_size));
            }
            Ok(Placed::Duplicate) => self.handle(Event::Duplicate(peer, index)),
            Err(FetchError::Missing) => self.handle(Event::Missing(peer, index)),
            Err(FetchError::Wrong) => {
                // Told once: its state changes with the event below.
                if self.state(peer) == Some(SourceState::Good) {
                    self.progress.warn(&format!(
                        "peer {name} served wrong bytes for chunk {index}: used only for what nobody else has"
                    ));
                }
                if self.complaints.len() < COMPLAINTS_MAX {
                    self.complaints.push(ComplaintRequest { peer, chunk: Some(index.get()) });
                }
                self.handle(Event::Wrong(peer, index));
            }
            Err(FetchError::Failed(error @ ClientError::WrongKey { .. })) => {
                if self.state(peer) == Some(SourceState::Good) {
                    self.progress.warn(&format!("peer {name} is not used: {error}"));
                }
                self.last_error = Some(error.to_string());
                // The request is over, and so is the source: who has not the key is not asked again.
                self.handle(Event::Failed(peer, index));
                self.handle(Event::Lost(peer));
            }
            Err(FetchError::Failed(error)) => {
                let before = self.state(peer);
                self.handle(Event::Failed(peer, index));
                // One failure is no reason to give it up: the machine counts them.
                if before == Some(SourceState::Good) && self.state(peer) != before {
                    self.note_unreachable(peer, &error);
                    self.progress.warn(&format!("peer {name} does not answer: not used any more"));
                }
                self.last_error = Some(error.to_string());
            }
            Err(FetchError::Unopenable) => {
                // The hash was right: other sources have the same bytes.
                let what =
                    format!("chunk {index} is not what its sender sealed: the share itself is damaged");
                let failure = Failure::new(Kind::Integrity, what);
                return Err(Halt::Final(failure.next("Ask the sender to share it again.")));
            }
            Err(FetchError::Disk(error)) => return Err(self.not_written(&error)),
        }
        Ok(())
    }

    fn not_written(&self, error: &io::Error) -> Halt {
        let (kind, next) = match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                (Kind::NoSpace, "Make room, then run the same command again: it goes on from here.")
            }
            _ => (Kind::Other, "Run the same command again: it goes on from here."),
        };
        let failure = Failure::new(kind, format!("cannot write the result: {error}"));
        // What went to a stream is not here any more to go on from.
        Halt::Failed(if self.download.sink.is_ordered() { failure } else { failure.next(next) })
    }

    fn handle(&mut self, event: Event) {
        self.machine.handle(event, self.started.elapsed());
    }

    /// Notes that a peer is not there; the tracker looks whether others reach it.
    fn note_unreachable(&mut self, peer: PeerId, error: &ClientError) {
        if matches!(error, ClientError::Unreachable { .. }) && self.complaints.len() < COMPLAINTS_MAX {
            self.complaints.push(ComplaintRequest { peer, chunk: None });
        }
    }

    /// Tells the tracker who served wrong bytes, or could not be reached: those peers are asked to look at their disks, or
    /// dialled.
    async fn complain(&self) {
        let Download { tracker, manifest, access, .. } = &*self.download;
        let all = async {
            for complaint in &self.complaints {
                if let Err(error) = tracker.complain(manifest.share(), access, complaint).await {
                    tracing::info!(%error, "the tracker did not take a complaint");
                }
            }
        };
        let _ = tokio::time::timeout(COMPLAIN, all).await;
    }

    fn state(&self, peer: PeerId) -> Option<SourceState> {
        self.machine.sources().find(|(id, ..)| *id == peer).map(|(_, state, _)| state)
    }

    fn servers(&self) -> Vec<String> {
        let served = self.machine.sources().filter(|(.., served)| *served > 0);
        served.map(|(peer, ..)| self.peers[&peer].name().to_owned()).collect()
    }

    /// Why it cannot go on. If no peer has it any more because it was deleted meanwhile, or its time is over, that is what
    /// to say; but who served wrong bytes is named whatever the tracker says.
    async fn give_up(&self) -> Halt {
        let stuck = self.stuck();
        if stuck.kind == Kind::Integrity {
            return Halt::Failed(stuck);
        }
        let Download { tracker, manifest, access, .. } = &*self.download;
        let answer = tracker.look_up(manifest.share(), access).await;
        let gone = answer.err().and_then(|error| super::gone(&error));
        gone.map_or(Halt::Failed(stuck), Halt::Final)
    }

    /// No source is left for some chunk: who is at fault decides what to do next.
    fn stuck(&self) -> Failure {
        let names = |wanted: SourceState| {
            let matching = self.machine.sources().filter(|(_, state, _)| *state == wanted);
            matching.map(|(peer, ..)| self.peers[&peer].name()).collect::<Vec<_>>().join(", ")
        };
        let wrong = names(SourceState::Wrong);
        let missing = self.machine.done().chunk_count() - self.machine.done().len();
        let missing = human::count(u64::from(missing), "chunk");
        if !wrong.is_empty() {
            let what = format!("no good copy of {missing} is left: {wrong} served wrong bytes");
            return Failure::new(Kind::Integrity, what).next(
                "Nothing was saved. Ask the sender to share it again, or try later if peers are away.",
            );
        }
        let why = self.last_error.as_ref().map(|error| format!(" ({error})")).unwrap_or_default();
        Failure::new(Kind::Network, format!("no reachable peer has {missing} of the share{why}"))
            .next("Run the same command again when more peers are there: it goes on from here.")
    }
}

impl Download {
    /// A download into `sink`.
    pub(super) fn new(
        manifest: ChunkList,
        keys: ShareKeys,
        access: Secret,
        tracker: TrackerClient,
        sink: Sink,
    ) -> Self {
        let size = manifest.geometry().chunk_size();
        let buffers = Buffers::for_chunks(buffer_count(size), size);
        let limits = Limits { buffers, cpu_permits: cpu_permits() };
        let taken = Mutex::new(ChunkSet::empty(manifest.geometry().chunk_count()));
        Self { manifest, keys, access, tracker, sink, limits, taken }
    }

    async fn fetch(self: Arc<Self>, client: &PeerClient, index: ChunkIndex) -> Result<Placed, FetchError> {
        let sealed_len = self.manifest.geometry().sealed_len(index);
        let id = self.manifest.chunk(index);
        match client.get_unverified_chunk(id, sealed_len, &self.limits.buffers).await {
            Ok(ChunkAnswer::Found(sealed)) => self.place(index, sealed).await,
            Ok(ChunkAnswer::Missing) => Err(FetchError::Missing),
            Ok(ChunkAnswer::Wrong) => Err(FetchError::Wrong),
            Err(error @ ClientError::WrongKey { .. }) => Err(FetchError::Failed(error)),
            Err(error) => {
                tokio::time::sleep(RETRY_AFTER).await;
                Err(FetchError::Failed(error))
            }
        }
    }

    /// Verifies and opens a chunk, and puts it where it belongs, unless another request has brought it.
    async fn place(self: Arc<Self>, index: ChunkIndex, sealed: Unverified) -> Result<Placed, FetchError> {
        let download = Arc::clone(&self);
        match &self.sink {
            // Opened and written in one go: work that goes from one thread to another costs more than it looks.
            Sink::AnyOrder(_) => {
                let work = move || match (download.open(index, sealed)?, &download.sink) {
                    (Some(plain), Sink::AnyOrder(sink)) => {
                        sink.put(index, &plain).map(|()| Placed::First).map_err(FetchError::Disk)
                    }
                    _ => Ok(Placed::Duplicate),
                };
                self.compute(work).await
            }
            Sink::InOrder(sink) => match self.compute(move || download.open(index, sealed)).await? {
                Some(plain) => sink.put(index, plain).await.map(|()| Placed::First).map_err(FetchError::Disk),
                None => Ok(Placed::Duplicate),
            },
        }
    }

    /// Runs work that computes on a thread where that is allowed: as much at once as there are processors.
    async fn compute<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> T {
        // The semaphore is never closed.
        let _permit = self.limits.cpu_permits.acquire().await.ok();
        blocking(work).await
    }

    /// Verifies and opens a chunk: the hash says whether the peer is at fault, the key whether the sender is. `None` if
    /// another request has brought it.
    fn open(&self, index: ChunkIndex, sealed: Unverified) -> Result<Option<Buffer>, FetchError> {
        let mut bytes = sealed.verify().ok_or(FetchError::Wrong)?.into_buffer();
        let opened = self.keys.open_chunk(self.manifest.geometry(), index, &mut bytes);
        opened.map_err(|_| FetchError::Unopenable)?;
        Ok(self.take_first(index).then_some(bytes))
    }

    /// Takes the chunk, unless another request has. Returns whether none had.
    fn take_first(&self, index: ChunkIndex) -> bool {
        let mut taken = self.taken.lock();
        let is_first = !taken.contains(index);
        taken.insert(index);
        is_first
    }
}

/// Chunks of this size that are in memory at once. Two at least: one source that does not go on leaves a way for
/// another.
fn buffer_count(size: ChunkSize) -> usize {
    size.window().max(2)
}

/// Where chunks must be used in order, the first missing one always has a buffer, even if it is asked for twice.
/// No source has more than its part of the buffers before it has shown that it serves.
fn bounds(download: &Download, sources: usize) -> Bounds {
    let chunk_size = download.manifest.geometry().chunk_size();
    let per_source = connection_plan::requests(connection_plan::connections(None), chunk_size);
    let per_source = per_source.min(part_of(buffer_count(chunk_size), sources));
    let ahead = buffer_count(chunk_size) - 1;
    let ahead = download.sink.is_ordered().then(|| u32::try_from(ahead).unwrap_or(1));
    Bounds { in_flight: REQUESTS_MAX, per_source, ahead }
}
