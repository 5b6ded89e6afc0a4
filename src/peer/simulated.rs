//! A peer without its HTTP server and its loops, for the simulation of a whole swarm. Its disk, and what it does
//! with it, is the real thing.

use std::collections::BTreeSet;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use parcelry_core::api::{
    AnnounceRequest, Blob, CommitRequest, CommitResponse, CopyTask, DropTask, HeartbeatRequest,
    HeartbeatResponse, ManifestResponse, OfferRequest, ProblemKind, Proof, RestoreTask, Sample, ShareChunks,
    SignedDeletion, Task, WrongChunks,
};
use parcelry_core::chunk_set::ChunkSet;
use parcelry_core::geometry::ChunkIndex;
use parcelry_core::id::{ChunkId, PeerId, RunId, Secret, ShareId, TrackerId};
use parcelry_core::manifest::Manifest;
use parcelry_core::owner::{Act, Asked};
use parcelry_core::parting::proved_enough;
use parcelry_core::proof::Prover;
use parcelry_core::receipt::PeerKey;
use parcelry_core::registry::Usage;
use parcelry_core::terms::SignedTerms;

use super::clock_agreement::ClockAgreement;
use super::mend::Mending;
use super::outbox::{Outbox, Report};
use super::parting::{Partings, batches, ids, let_go, of_chunks};
use super::storage::{Bounds, Sources, Storage, Under, are_readable};
use super::tasks::{carry_out, take_over};
use crate::client::Authority;

/// A share of which a peer is letting go, with the ids that it left and the answers of others.
struct Leaving {
    task: DropTask,
    manifest: Manifest,
    left: Vec<ChunkId>,
    answers: Vec<(PeerId, BTreeSet<ChunkId>)>,
}

/// Whether the records of a share below the root of a store can all be read.
pub(crate) fn has_records(root: &Path, share: ShareId) -> bool {
    are_readable(&records_directory(root, share), share)
}

/// Where the records of a share are.
pub(crate) fn records_directory(root: &Path, share: ShareId) -> PathBuf {
    root.join("shares").join(share.to_string())
}

/// A peer that is called directly.
pub(crate) struct SimPeer {
    key: PeerKey,
    tracker: TrackerId,
    pub(crate) run: RunId,
    storage: Storage,
    partings: Partings,
    outbox: Outbox,
    agreement: ClockAgreement,
    mending: Mending,
    /// What the tracker asked for last.
    pub(crate) copies: Vec<CopyTask>,
    pub(crate) drops: Vec<DropTask>,
    pub(crate) restores: Vec<RestoreTask>,
    /// What it is letting go of, and who has proved it.
    leaving: Vec<Leaving>,
    scrubbed: Option<ChunkId>,
}

impl SimPeer {
    /// Starts a peer on what is in the directory.
    pub(crate) fn start(
        root: &Path,
        seed: &Secret,
        tracker: TrackerId,
        capacity_bytes: u64,
        run: RunId,
    ) -> Self {
        // Makes nothing where there is a store: after a crash the peer opens what the crash left.
        Storage::create(root).unwrap();
        let bounds = Bounds { capacity_bytes: Some(capacity_bytes), keep_free_bytes: 0 };
        let storage = Storage::open(root, bounds).unwrap();
        let partings = Partings::open(root).unwrap();
        let (outbox, agreement) = (Outbox::default(), ClockAgreement::default());
        Self {
            key: PeerKey::from_seed(seed),
            tracker,
            run,
            storage,
            partings,
            outbox,
            agreement,
            mending: Mending::default(),
            copies: Vec::new(),
            drops: Vec::new(),
            restores: Vec::new(),
            leaving: Vec::new(),
            scrubbed: None,
        }
    }

    /// The files that a crash may tear.
    pub(crate) fn unsynced(&self) -> Vec<(ChunkId, PathBuf)> {
        self.storage.unsynced()
    }

    pub(crate) fn usage(&self) -> Usage {
        self.storage.look_at_disk().unwrap();
        self.storage.usage()
    }

    pub(crate) fn offer(
        &self,
        share: ShareId,
        shown: Authority<'_>,
        request: &OfferRequest,
    ) -> Result<ChunkSet, ProblemKind> {
        self.check_owner(share, Act::Offer, shown)?;
        self.storage.offer(share, request).map_err(|error| error.kind())
    }

    pub(crate) fn put(&self, share: ShareId, id: ChunkId, bytes: &[u8]) -> Result<(), ProblemKind> {
        if self.storage.admit(share, id, bytes.len() as u64).map_err(|error| error.kind())? {
            self.storage.put_whole(share, id, bytes).map_err(|error| error.kind())?;
        }
        Ok(())
    }

    pub(crate) fn commit(
        &self,
        share: ShareId,
        shown: Authority<'_>,
        request: CommitRequest,
    ) -> Result<CommitResponse, ProblemKind> {
        self.check_owner(share, Act::Commit, shown)?;
        self.storage
            .commit_for_receipt(&self.key, Under::NOBODY, share, request)
            .map_err(|error| error.kind())
    }

    /// The proof for a sample, if the peer can make one; it answers nothing about what it cannot read.
    pub(crate) fn prove(&self, sample: &Sample) -> io::Result<Proof> {
        let read = self.storage.read_whole((sample.root, sample.share))?;
        let prover = read.as_deref().map(Prover::new).filter(|prover| prover.root() == sample.root);
        Ok(Proof { slice: prover.and_then(|prover| prover.prove(sample.offset)).map(Blob) })
    }

    fn check_owner(&self, share: ShareId, act: Act, shown: Authority<'_>) -> Result<(), ProblemKind> {
        let (at, tracker) = (self.key.public().peer().into(), self.tracker);
        let asked = Asked { share, act, at, credential: shown.grant, by: None, tracker };
        asked.check(shown.owner).map_err(|_| ProblemKind::AccessDenied)
    }

    /// What the peer would serve for a chunk, right or wrong.
    pub(crate) fn chunk(&self, id: ChunkId) -> Option<Vec<u8>> {
        if self.partings.is_leaving(&id) || self.storage.check_chunk_served(&id).is_err() {
            return None;
        }
        let (mut file, _) = self.storage.open_chunk(&id).ok()?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).ok()?;
        Some(bytes)
    }

    pub(crate) fn holding(&self, share: ShareId) -> Option<ChunkSet> {
        self.storage.held(share).map(|held| held.chunks)
    }

    /// The shares that are kept and not served.
    pub(crate) fn withheld(&self) -> BTreeSet<ShareId> {
        self.storage.withheld()
    }

    pub(crate) fn withholds(&self, share: ShareId) -> bool {
        self.storage.check_served(share).is_err()
    }

    /// Takes over what the tracker says of shares, of which `before` were withheld when it was asked.
    pub(crate) fn withhold_only(&self, before: &BTreeSet<ShareId>, withheld: &[ShareId]) {
        self.storage.withhold_only(before, withheld).unwrap();
    }

    pub(crate) fn manifest(&self, share: ShareId) -> Option<ManifestResponse> {
        let held = self.storage.held(share)?;
        let manifest = Blob(self.storage.manifest(share).ok()?.into_encoded());
        Some(ManifestResponse { manifest, terms: held.terms.token })
    }

    pub(crate) fn inventory(&self) -> Vec<ShareChunks> {
        self.storage.inventory()
    }

    pub(crate) fn take_over_deletions(&self, deleted: Vec<SignedDeletion>) {
        for SignedDeletion { share, terms } in deleted {
            drop(take_over(&self.storage, &self.outbox, share, &terms));
        }
    }

    pub(crate) fn deletions(&self) -> Vec<SignedDeletion> {
        let gone = self.storage.gone().into_iter();
        gone.map(|(share, terms)| SignedDeletion { share, terms }).collect()
    }

    pub(crate) fn announcement(&self, share: ShareId) -> Option<AnnounceRequest> {
        let ManifestResponse { manifest, terms } = self.manifest(share)?;
        Some(AnnounceRequest { share, manifest, terms, chunks: self.holding(share)? })
    }

    pub(crate) fn heartbeat(&self) -> (HeartbeatRequest, usize) {
        let (request, told) = self.outbox.next(HeartbeatRequest::new(self.run, self.usage()));
        (HeartbeatRequest { damaged: self.mending.wanted(&self.storage), ..request }, told)
    }

    /// Takes the answer to a heartbeat, and does what it asks for.
    pub(crate) fn answered(&mut self, told: usize, response: HeartbeatResponse) {
        self.outbox.ack(told);
        self.agreement.compare(response.now_ms);
        (self.copies, self.drops, self.restores) = (Vec::new(), Vec::new(), Vec::new());
        for task in response.tasks.known {
            match task {
                Task::Copy(task) => self.copies.push(task),
                Task::Drop(task) => self.drops.push(task),
                Task::Restore(task) => self.restores.push(task),
                task => drop(carry_out(&self.storage, &self.outbox, task)),
            }
        }
        self.expire();
    }

    fn expire(&self) {
        self.storage.expire(self.agreement.now_ms()).unwrap();
    }

    /// Begins to let go of chunks: leaves them. Whom to ask for proof of what.
    pub(crate) fn begin_parting(&mut self, task: DropTask) -> Option<(Vec<PeerId>, Vec<ChunkId>)> {
        let held = self.storage.held(task.share)?;
        let manifest = self.storage.manifest(task.share).ok()?;
        let here = held.chunks.minus(&held.chunks.minus(&task.chunks));
        let ids: Vec<ChunkId> = batches(&manifest, &here).iter().flat_map(|batch| ids(batch)).collect();
        let left = self.partings.leave(&ids, self.agreement.now_ms());
        let asked = (task.holders.iter().map(|holder| holder.id).collect(), left.clone());
        self.leaving.push(Leaving { task, manifest, left, answers: Vec::new() });
        Some(asked)
    }

    /// Another peer has proved these chunks for the parting that was begun last.
    pub(crate) fn was_proved(&mut self, by: PeerId, proved: BTreeSet<ChunkId>) {
        if let Some(leaving) = self.leaving.last_mut() {
            leaving.answers.push((by, proved));
        }
    }

    /// Proves chunks to a peer that wants to let go of them, and promises to keep them.
    pub(crate) fn prove_for_drop(&self, chunks: &[ChunkId]) -> BTreeSet<ChunkId> {
        if chunks.iter().any(|id| self.partings.is_leaving(id)) {
            return BTreeSet::new();
        }
        let is_here = |id: &&ChunkId| {
            self.storage.is_lasting(id) && self.chunk(**id).is_some_and(|bytes| ChunkId::of(&bytes) == **id)
        };
        let proved: Vec<ChunkId> = chunks.iter().filter(is_here).copied().collect();
        self.partings.promise(&proved, self.storage.chunk_count(), self.agreement.now_ms()).unwrap()
    }

    /// Ends the partings that were begun: lets go of what enough others have proved.
    pub(crate) fn end_partings(&mut self) {
        for Leaving { task, manifest, left, answers } in std::mem::take(&mut self.leaving) {
            if let Some(held) = self.storage.held(task.share) {
                let proved = proved_enough(held.terms.replicas, &left, &answers);
                let here = held.chunks.minus(&held.chunks.minus(&task.chunks));
                let batch: Vec<_> = batches(&manifest, &here).into_iter().flatten().collect();
                let chunks = of_chunks(&manifest, &batch, &proved);
                if !proved.is_empty() {
                    let (partings, storage) = (&self.partings, &self.storage);
                    let_go(partings, storage, &manifest, &held.terms, &chunks, &task.holders).unwrap();
                    self.outbox.push(Report::Dropped(ShareChunks { share: task.share, chunks }));
                }
            }
            self.partings.stay(&left);
        }
    }

    pub(crate) fn begin_copy(&self, manifest: &Manifest, chunks: &ChunkSet) -> Result<ChunkSet, ProblemKind> {
        self.storage.begin_copy(manifest, chunks).map_err(|error| error.kind())
    }

    /// Takes a chunk that another peer served, if it is the right one.
    pub(crate) fn take_copy(
        &self,
        manifest: &Manifest,
        index: ChunkIndex,
        bytes: &[u8],
        from: PeerId,
    ) -> bool {
        let (share, id) = (manifest.share(), manifest.chunk(index));
        if ChunkId::of(bytes) != id {
            let chunks = ChunkSet::of(manifest.geometry().chunk_count(), [index]);
            self.outbox.push(Report::Wrong(WrongChunks { peer: from, share, chunks }));
            return false;
        }
        self.storage.put_whole(share, id, bytes).is_ok()
    }

    /// Ends a copy, of which these chunks arrived.
    pub(crate) fn end_copy(&self, manifest: &Manifest, terms: SignedTerms, arrived: ChunkSet, is_all: bool) {
        let share = manifest.share();
        let kept = self.storage.keep_copied(manifest, terms, &arrived);
        self.storage.end_copy(share);
        let kept = kept.is_ok_and(|missing| missing.is_empty());
        if kept {
            self.outbox.push(Report::Copied(ShareChunks { share, chunks: arrived }));
        }
        if !kept || !is_all {
            self.outbox.push(Report::Failed(share));
        }
    }

    /// Gives a copy up.
    pub(crate) fn fail_copy(&self, share: ShareId) {
        self.storage.end_copy(share);
        self.outbox.push(Report::Failed(share));
    }

    /// Reads the next chunk again, or begins anew after the last.
    pub(crate) fn scrub_one(&mut self) {
        let next = self.storage.next_chunk(self.scrubbed);
        self.scrubbed = next.map(|(id, _)| id);
        if let Some((id, bytes)) = next {
            let lost = self.storage.scrub(id, bytes).unwrap();
            lost.into_iter().for_each(|lost| self.outbox.push(Report::Lost(lost)));
        }
    }

    /// Makes records whole again with what the tracker and others have of a share. Returns whether they were not and
    /// are now.
    pub(crate) fn mend(&self, task: RestoreTask, answers: Vec<ManifestResponse>) -> bool {
        let known = Sources::new(task.share, task.manifest, task.terms);
        let sources = answers.into_iter().fold(known, |known, answer| known.and(task.share, answer));
        self.storage.mend(task.share, sources).unwrap()
    }

    /// Whether nothing of the share expires yet, because its terms were lost.
    pub(crate) fn is_unsettled(&self, share: ShareId) -> bool {
        self.storage.unsettled().contains(&share)
    }

    /// Has so many of the next syncs fail.
    pub(crate) fn fail_syncs(&self, count: u32) {
        self.storage.fail_syncs(count);
    }

    /// After a failed sync: sees whether the disk works again. Whether one had failed.
    pub(crate) fn recover(&self) -> bool {
        let have_failed = self.storage.has_failed_to_write();
        if have_failed {
            let (lost, _) = self.storage.recover();
            lost.into_iter().for_each(|lost| self.outbox.push(Report::Lost(lost)));
        }
        have_failed
    }

    /// What the peer does by itself now and then.
    pub(crate) fn keep_house(&self) {
        self.expire();
        if let Some(now_ms) = self.agreement.now_ms() {
            self.partings.end_promises(now_ms).unwrap();
            self.storage.empty_quarantine(&self.partings.quarantined().unwrap()).unwrap();
            self.storage.collect_unfinished().unwrap();
        }
    }
}
