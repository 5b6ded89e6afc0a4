//! Proves to whoever asks that chunks and manifests are here: each is read once for all its samples, and how much is
//! read is bounded for one request, for one address, and in all.
//!
//! What turns out to be other bytes than its id says is answered as not held, and looked at again by [`DoubtWorker`].

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use parcelry_core::api::{AuditRequest, AuditResponse, Blob, ProblemKind, Proof, Sample};
use parcelry_core::id::{ChunkId, PeerId};
use parcelry_core::limits::{AUDIT_BYTES_MAX, AUDIT_SAMPLES_MAX, DOUBTS_MAX};
use parcelry_core::proof::Prover;
use parcelry_core::workload::{Asker, Workload};
use parking_lot::Mutex;
use tokio::sync::{Notify, Semaphore};

use super::Peer;
use super::outbox::Report;
use super::storage::{Provable, Storage, StorageError};
use crate::clock;
use crate::server::{self, Client, MemoryPermit, Refusal, denied};
use crate::task::blocking;
use crate::worker::{Notes, Stops, Worker};

/// What the peer does about audits.
#[derive(Debug)]
pub(super) struct Audits {
    workload: Mutex<Workload>,
    /// Permits to have a chunk in memory: one for the tracker's questions, one for everybody else's.
    tracker: Semaphore,
    others: Semaphore,
    doubts: Doubts,
}

/// Chunks that turned out to be other bytes than they should be.
#[derive(Debug, Default)]
struct Doubts {
    chunks: Mutex<BTreeSet<ChunkId>>,
    new: Notify,
}

impl Doubts {
    /// Notes a chunk; beyond the bound it is left to the scrub.
    fn add(&self, id: ChunkId) {
        let mut chunks = self.chunks.lock();
        if chunks.len() < DOUBTS_MAX {
            chunks.insert(id);
            self.new.notify_one();
        }
    }
}

impl Audits {
    /// Reads at most this many bytes a second.
    pub(super) fn new(bytes_per_second: u64) -> Self {
        Self {
            workload: Mutex::new(Workload::new(bytes_per_second)),
            tracker: Semaphore::new(1),
            others: Semaphore::new(1),
            doubts: Doubts::default(),
        }
    }
}

/// Time after which it is decided whether a chunk that is being let go of stays.
const LEAVING_SECONDS: u32 = 10;

/// Where each sample of it stands in the request, and its offset.
type Samples = Vec<(usize, u64)>;

/// Answers an audit.
pub(super) async fn answer(
    peer: &Arc<Peer>,
    client: Client,
    request: AuditRequest,
) -> Result<AuditResponse, Refusal> {
    // A promise binds this peer for a day: it is given to peers alone, who prove that they are some.
    if request.for_drop && client.peer.is_none() {
        return Err(denied());
    }
    if request.samples.len() > AUDIT_SAMPLES_MAX {
        return Err(Refusal::new(ProblemKind::BadRequest, format!("at most {AUDIT_SAMPLES_MAX} samples")));
    }
    let is_tracker = client.peer == Some(PeerId::from_bytes(*peer.tracker_id.as_bytes()));
    if !is_tracker {
        // A proof shows a piece, and many pieces are the whole.
        request.samples.iter().try_for_each(|sample| match sample.share {
            Some(share) => peer.storage.check_served(share),
            None => peer.storage.check_chunk_served(&sample.root),
        })?;
    }
    let is_leaving = request.samples.iter().any(|sample| peer.partings.is_leaving(&sample.root));
    if is_leaving {
        // It shows nothing: whether the chunk stays is not decided yet.
        let what = "a chunk is being let go of at the moment";
        return Err(Refusal::later(ProblemKind::Unavailable, what, LEAVING_SECONDS));
    }
    let mut wanted = BTreeMap::<Provable, Samples>::new();
    for (position, sample) in request.samples.iter().enumerate() {
        wanted.entry((sample.root, sample.share)).or_default().push((position, sample.offset));
    }
    let measure = move |storage: &Storage| -> Vec<(Provable, Samples, u64)> {
        let measured = wanted.into_iter().filter_map(|(wanted, samples)| {
            let bytes = storage.bytes_of(wanted)?;
            Some((wanted, samples, bytes))
        });
        measured.collect()
    };
    let held = peer.on_disk(measure).await;
    admit(peer, &held, if is_tracker { Asker::Tracker } else { Asker::Address(client.ip) })?;
    let mut proofs = vec![Proof { slice: None }; request.samples.len()];
    for (wanted, samples, bytes) in held {
        let permits = if is_tracker { &peer.audits.tracker } else { &peer.audits.others };
        // The semaphore is never closed.
        let _permit = permits.acquire().await.ok();
        let _memory = MemoryPermit::wait(server::Asker::new(None, client.ip), bytes).await;
        let proving = Arc::clone(peer);
        for (position, slice) in blocking(move || prove(&proving, wanted, &samples)).await? {
            proofs[position] = Proof { slice };
        }
    }
    if request.for_drop {
        let promising = Arc::clone(peer);
        let samples = request.samples;
        proofs = blocking(move || promised(&promising, &samples, proofs)).await?;
    }
    Ok(AuditResponse { proofs })
}

/// Of proofs for a drop, those of what this peer promises to keep: chunks of shares that it has for good, none of which
/// it leaves itself.
fn promised(peer: &Peer, samples: &[Sample], mut proofs: Vec<Proof>) -> Result<Vec<Proof>, Refusal> {
    let is_kept = |sample: &Sample| sample.share.is_some() || peer.storage.is_lasting(&sample.root);
    let proved =
        samples.iter().zip(&proofs).filter(|(sample, proof)| proof.slice.is_some() && is_kept(sample));
    let proved: Vec<ChunkId> = proved.map(|(sample, _)| sample.root).collect();
    let promised = peer.partings.promise(&proved, peer.storage.chunk_count(), peer.clock.now_ms());
    let promised = promised.map_err(StorageError::from)?;
    for (sample, proof) in samples.iter().zip(&mut proofs) {
        if !promised.contains(&sample.root) {
            proof.slice = None;
        }
    }
    Ok(proofs)
}

/// Checks that so much may be read now.
fn admit(peer: &Peer, held: &[(Provable, Samples, u64)], asker: Asker) -> Result<(), Refusal> {
    if held.is_empty() {
        return Ok(());
    }
    let bytes = held.iter().fold(0_u64, |sum, (_, _, bytes)| sum.saturating_add(*bytes));
    if bytes > AUDIT_BYTES_MAX && held.len() > 1 {
        let what = format!("{bytes} bytes would have to be read, at most {AUDIT_BYTES_MAX} are at once");
        return Err(Refusal::new(ProblemKind::TooLarge, what));
    }
    let proofs = held.iter().map(|(_, samples, _)| samples.len() as u64).sum();
    let admitted = peer.audits.workload.lock().admit(asker, bytes, proofs, clock::boottime_ms());
    admitted.map_err(|wait_ms| {
        let seconds = u32::try_from(wait_ms.div_ceil(1000)).unwrap_or(u32::MAX).max(1);
        let what = format!("too much is to be proved: ask again in {seconds} s");
        Refusal::later(ProblemKind::TooManyRequests, what, seconds)
    })
}

/// The proofs of something that is here; none if it is not, or is other bytes than it should be.
fn prove(peer: &Peer, wanted: Provable, samples: &Samples) -> Result<Vec<(usize, Option<Blob>)>, Refusal> {
    let none = || Ok(Vec::new());
    let (root, share) = wanted;
    let read = peer.storage.read_whole(wanted).map_err(StorageError::from)?;
    let Some(bytes) = read else {
        if share.is_none() {
            peer.audits.doubts.add(root);
        }
        return none();
    };
    peer.metrics.audited.inc_by(bytes.len() as u64);
    let prover = Prover::new(&bytes);
    if prover.root() != root {
        match share {
            None => peer.audits.doubts.add(root),
            // Whoever asks may have another manifest in mind: that this one is right is seen at each use.
            Some(share) => tracing::debug!(%share, "an audit of another manifest"),
        }
        return none();
    }
    Ok(samples.iter().map(|&(position, offset)| (position, prover.prove(offset).map(Blob))).collect())
}

/// Looks at chunks that an audit found to be wrong, and has the tracker know what was lost.
pub(super) struct DoubtWorker(pub(super) Arc<Peer>);

impl Worker for DoubtWorker {
    const STOPS: Stops = Stops::BetweenSteps;
    type Due = ChunkId;

    fn name(&self) -> &'static str {
        "doubts"
    }

    async fn wait(&mut self) -> ChunkId {
        loop {
            let first = self.0.audits.doubts.chunks.lock().pop_first();
            match first {
                Some(id) => return id,
                None => self.0.audits.doubts.new.notified().await,
            }
        }
    }

    async fn step(&mut self, id: ChunkId, notes: &Notes) {
        match self.0.on_disk(move |storage| storage.reverify_chunk(id)).await {
            Ok(lost) => lost.into_iter().for_each(|lost| self.0.outbox.push(Report::Lost(lost))),
            Err(error) => {
                tracing::error!(%id, %error, "cannot read a chunk again");
                notes.count_failure();
            }
        }
    }
}
