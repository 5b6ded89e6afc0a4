//! The tracker's audits: asks peers for samples of what they are said to hold, and takes in what they prove. What is
//! asked of whom and when is decided in [`parcelry_core::audit`].

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use parcelry_core::api::{AuditRequest, AuditResponse, Question, Sample, Verdict};
use parcelry_core::audit::{
    Asked, Audits, Claim, Evidence, Outcome, Record, Target, Turn, draw_chunks, draw_samples,
};
use parcelry_core::chunk_set::ChunkSet;
use parcelry_core::dashboard::LogKind;
use parcelry_core::duration::millis;
use parcelry_core::geometry::{ChunkIndex, Geometry};
use parcelry_core::id::{ChunkId, PeerId, ShareId};
use parcelry_core::limits::{
    AUDIT_BYTES_MAX, AUDIT_SAMPLES_FIRST, AUDITS_AT_ONCE, PROOFS_SAVED_EVERY, PROOFS_SAVED_MAX, WEEK_WINDOWS,
};
use parcelry_core::registry::{Registration, Registry, Rules};
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::task::JoinSet;

use super::Tracker;
use super::peers::address;
use super::store::{Replica, StoreError, StoredShare, unless_damaged};
use crate::client::PeerClient;
use crate::worker::{Notes, Stops, Worker};

/// Looks at who is to be asked follow each other after this part of a heartbeat.
const LOOKS_PER_HEARTBEAT: u32 = 10;

/// What the tracker knows about what its peers have proven.
pub(super) struct Auditor {
    audits: Mutex<Audits>,
    random: Mutex<blake3::OutputReader>,
    /// For how long this tracker had run in its life when it started.
    lived_ms: u64,
    /// How long a share that was learnt from a peer has nothing dropped.
    week_ms: u64,
    saved_ms: Mutex<u64>,
    wake: Notify,
}

impl Auditor {
    /// Knows nothing yet. What is asked for is drawn from the seed.
    pub(super) fn new(rules: Rules, lived_ms: u64, seed: &[u8; 32]) -> Self {
        Self {
            audits: Mutex::new(Audits::new(rules)),
            random: Mutex::new(blake3::Hasher::new().update(seed).finalize_xof()),
            lived_ms,
            week_ms: millis(rules.dead_after.saturating_mul(WEEK_WINDOWS)),
            saved_ms: Mutex::new(lived_ms),
            wake: Notify::new(),
        }
    }

    fn draw(&self) -> u64 {
        let mut bytes = [0; 8];
        self.random.lock().fill(&mut bytes);
        u64::from_le_bytes(bytes)
    }
}

/// A peer whose turn it was, and what came of it.
type Answered = (PeerId, Result<(), StoreError>);

/// Asks whom it is time to ask.
pub(super) struct AuditWorker {
    tracker: Arc<Tracker>,
    /// Time between two heartbeats of a peer.
    every: Duration,
    running: JoinSet<Answered>,
    has_begun: bool,
}

/// What one peer is asked in one request.
pub(super) struct Asking {
    pub(super) peer: PeerId,
    /// Where it is asked, as what it was registered then.
    at: Option<Registration>,
    parts: Vec<Part>,
}

/// What it is asked about one share.
struct Part {
    share: ShareId,
    chunk_count: u32,
    questions: Vec<(Target, Question)>,
    /// What it says to hold although nobody ordered it, if all samples of that are among the questions.
    bare: Option<ChunkSet>,
}

impl Asking {
    /// The request.
    pub(super) fn request(&self) -> AuditRequest {
        let questions = self.parts.iter().flat_map(|part| &part.questions);
        AuditRequest { samples: questions.map(|(_, question)| question.sample).collect(), for_drop: false }
    }
}

impl AuditWorker {
    /// Has asked nobody yet.
    pub(super) fn new(tracker: Arc<Tracker>, every: Duration) -> Self {
        Self { tracker, every, running: JoinSet::new(), has_begun: false }
    }
}

impl Worker for AuditWorker {
    const STOPS: Stops = Stops::BetweenSteps; // proofs that are being saved are in no list any more
    /// What came of a turn that is over; `None`: it is time to look who is to be asked.
    type Due = Option<Answered>;

    fn name(&self) -> &'static str {
        "audits"
    }

    async fn wait(&mut self) -> Option<Answered> {
        if !std::mem::replace(&mut self.has_begun, true) {
            return None;
        }
        tokio::select! {
            () = tokio::time::sleep(self.every / LOOKS_PER_HEARTBEAT) => None,
            () = self.tracker.auditor.wake.notified() => None,
            Some(answered) = self.running.join_next() => match answered {
                Ok(answered) => Some(answered),
                Err(error) => std::panic::resume_unwind(error.into_panic()), // none is ever aborted
            },
        }
    }

    async fn step(&mut self, answered: Option<Answered>, notes: &Notes) {
        if let Some((peer, Err(error))) = answered {
            tracing::error!(%peer, %error, "cannot audit a peer");
            notes.count_failure();
        }
        let free = AUDITS_AT_ONCE.saturating_sub(self.running.len());
        for turn in self.tracker.audit_turns(free) {
            self.running.spawn(ask(Arc::clone(&self.tracker), turn));
        }
        save(&self.tracker, false, notes).await;
    }

    async fn end(&mut self, notes: &Notes) {
        save(&self.tracker, true, notes).await;
    }
}

async fn save(tracker: &Tracker, now: bool, notes: &Notes) {
    let saved = tracker.save_proofs(now).await;
    // What was not tried did not go well either.
    if !matches!(saved, Ok(false)) {
        notes.note("cannot keep what peers have proven", saved);
    }
}

async fn ask(tracker: Arc<Tracker>, turn: Turn) -> Answered {
    let peer = turn.peer;
    let asked = async {
        let Some(asking) = tracker.prepare(turn).await? else { return Ok(()) };
        let Some(at) = &asking.at else { return tracker.take_audit(asking, None).await };
        let client = PeerClient::new(tracker.dialer.clone(), address(at));
        let answer = client.audit(&asking.request()).await;
        if let Err(error) = &answer {
            tracing::debug!(%peer, %error, "a peer does not answer an audit");
        }
        tracker.take_audit(asking, answer.ok()).await
    };
    let result = asked.await;
    if result.is_err() {
        tracker.auditor.audits.lock().absent(peer);
    }
    (peer, result)
}

impl Tracker {
    /// For how long this tracker has run in its life.
    pub(super) fn lived_ms(&self) -> u64 {
        self.auditor.lived_ms.saturating_add(self.now_ms())
    }

    /// Notes what a peer is said to hold of a share: it is asked about it soon. Returns whether that was proven before.
    pub(super) fn claim(&self, peer: PeerId, share: ShareId, how: Claim) -> bool {
        let now_ms = self.lived_ms();
        let mut audits = self.auditor.audits.lock();
        let was_proven = is_proven(&audits, peer, share, now_ms);
        audits.claim(peer, share, how, now_ms);
        self.auditor.wake.notify_one();
        was_proven
    }

    /// Notes that a peer holds nothing of a share any more.
    pub(super) fn unclaim(&self, peer: PeerId, share: ShareId) {
        self.auditor.audits.lock().forget(peer, share);
    }

    /// What is known of each of these holders of a share, in their order.
    pub(super) async fn evidence(
        &self,
        share: ShareId,
        holders: &[(PeerId, ChunkSet)],
    ) -> Result<Vec<Evidence>, StoreError> {
        let now_ms = self.lived_ms();
        let knows_all = {
            let audits = self.auditor.audits.lock();
            holders.iter().all(|(peer, _)| audits.knows(*peer, share))
        };
        // The store is asked without the lock. Who was met meanwhile is not met again: that changes nothing.
        if !knows_all {
            let proofs = self.store.proofs(share).await?;
            let mut audits = self.auditor.audits.lock();
            for (peer, _) in holders {
                let record = proofs.iter().find(|(of, _)| of == peer).map(|(_, record)| *record);
                audits.meet(*peer, share, record, now_ms);
            }
            self.auditor.wake.notify_one();
        }
        let audits = self.auditor.audits.lock();
        Ok(holders.iter().map(|(peer, _)| audits.evidence(*peer, share, now_ms)).collect())
    }

    /// Whether a share was learnt from a peer, not from its sender, within the last week.
    pub(super) fn learnt_lately(&self, stored: &StoredShare) -> bool {
        stored.learnt_ms.is_some_and(|at| self.lived_ms().saturating_sub(at) < self.auditor.week_ms)
    }

    /// Whether nothing is to be copied to a peer, for it was caught with what it does not have.
    pub(super) fn is_distrusted(&self, peer: PeerId) -> bool {
        self.auditor.audits.lock().is_distrusted(peer, self.lived_ms())
    }

    /// How many chunks a peer was found not to have since the start.
    pub(super) fn refuted_chunks(&self, peer: PeerId) -> u64 {
        self.auditor.audits.lock().refuted_chunks(peer)
    }

    /// Judges whether it is rather this tracker's own network that failed: then claims get no older.
    pub(super) fn suspect_own_network(&self, registry: &mut Registry, now_ms: u64) -> bool {
        let mut audits = self.auditor.audits.lock();
        let suspicion = registry.suspect_own_network(|peer| audits.weight(peer), now_ms);
        audits.suspect_own_network(suspicion, self.lived_ms());
        suspicion
    }

    /// Pairs of peer and share that are known, and those that are proven.
    pub(super) fn audit_counts(&self) -> (u64, u64) {
        self.auditor.audits.lock().counts()
    }

    /// Whom to ask now; those that are not there are left for later.
    pub(super) fn audit_turns(&self, limit: usize) -> Vec<Turn> {
        // One lock at a time: the registry may not be taken within the audits.
        let turns = self.auditor.audits.lock().take(limit, self.lived_ms());
        let (there, away): (Vec<Turn>, Vec<Turn>) =
            turns.into_iter().partition(|turn| self.is_there(turn.peer));
        let mut audits = self.auditor.audits.lock();
        away.iter().for_each(|turn| audits.absent(turn.peer));
        there
    }

    /// Draws the samples for a peer's turn; `None` if there is nothing to ask any more.
    pub(super) async fn prepare(&self, turn: Turn) -> Result<Option<Asking>, StoreError> {
        let (mut parts, mut gone) = (Vec::new(), Vec::new());
        let mut read: BTreeSet<ChunkId> = BTreeSet::new();
        let mut bytes = 0_u64;
        for asked in &turn.questions {
            match unless_damaged(asked.share, self.part(turn.peer, asked).await)?.flatten() {
                Some(mut part) => {
                    // A part of a turn that is too much to be read at once waits for the next.
                    let drawn = part.questions.len();
                    part.questions.retain(|(_, Question { sample, len })| {
                        let more = if read.contains(&sample.root) { 0 } else { *len };
                        let fits = bytes == 0 || bytes + more <= AUDIT_BYTES_MAX;
                        if fits {
                            bytes += more;
                            read.insert(sample.root);
                        }
                        fits
                    });
                    part.bare = part.bare.filter(|_| part.questions.len() == drawn);
                    parts.extend((!part.questions.is_empty()).then_some(part));
                }
                None => gone.push((asked.share, Outcome::Gone)),
            }
        }
        if parts.is_empty() {
            self.auditor.audits.lock().done(turn.peer, &gone, self.lived_ms(), || self.auditor.draw());
            return Ok(None);
        }
        gone.iter().for_each(|(share, _)| self.unclaim(turn.peer, *share));
        let registry = self.registry.lock();
        let at = registry.get(turn.peer, self.now_ms()).map(|(peer, _)| peer.registration.clone());
        Ok(Some(Asking { peer: turn.peer, at, parts }))
    }

    /// The samples about one share; `None` if it is over, or the peer holds nothing of it.
    async fn part(&self, peer: PeerId, asked: &Asked) -> Result<Option<Part>, StoreError> {
        let share = asked.share;
        let Some((stored, _)) = self.current(share).await? else { return Ok(None) };
        let Some(Replica { chunks, bare }) = self.store.held(peer, share).await? else { return Ok(None) };
        let geometry = stored.geometry()?;
        if chunks.chunk_count() != geometry.chunk_count() {
            return Ok(None);
        }
        // What it is told to drop it does not prove.
        let dropping = self.repairer.dropping(peer, share);
        let chunks = dropping.map_or_else(|| chunks.clone(), |dropping| chunks.minus(&dropping));
        let bare = Some(bare).filter(|bare| !bare.is_empty());
        // What nobody ordered is proven by samples of its own, the rest beside it by one.
        let of_all = if bare.is_some() { 1 } else { asked.samples };
        let draw = || self.auditor.draw();
        let mut samples = draw_samples(&geometry, &chunks, stored.manifest_bytes, of_all, draw);
        let of_bare = |bare| draw_chunks(&geometry, bare, asked.samples.max(AUDIT_SAMPLES_FIRST), draw);
        samples.extend(bare.iter().flat_map(of_bare));
        let mut questions = Vec::with_capacity(samples.len());
        for (target, offset) in samples {
            let question = self.question(share, &stored, &geometry, target, offset).await?;
            questions.extend(question.map(|question| (target, question)));
        }
        let chunk_count = geometry.chunk_count();
        Ok((!questions.is_empty()).then_some(Part { share, chunk_count, questions, bare }))
    }

    async fn question(
        &self,
        share: ShareId,
        stored: &StoredShare,
        geometry: &Geometry,
        target: Target,
        offset: u64,
    ) -> Result<Option<Question>, StoreError> {
        let (root, of, len) = match target {
            Target::Chunk(index) => {
                let id = self.store.chunk_id(share, index).await?;
                (id, None, geometry.sealed_len(index) as u64)
            }
            Target::Manifest => (self.store.digest(share).await?, Some(share), stored.manifest_bytes),
        };
        Ok(root.map(|root| Question { sample: Sample { root, share: of, offset }, len }))
    }

    /// Takes in what a peer answered; `None`: it did not.
    pub(super) async fn take_audit(
        &self,
        asking: Asking,
        answer: Option<AuditResponse>,
    ) -> Result<(), StoreError> {
        let Asking { peer, at, parts } = asking;
        // Who answers where others are sent to it can be reached. With several addresses it is not known which it was.
        if let Some(at) = at.filter(|at| answer.is_some() && at.addresses.len() == 1)
            && let Err(error) = self.take_answer(&at, Ok(()), &[]).await
        {
            tracing::error!(%peer, %error, "cannot keep where a peer is");
        }
        let mut proofs = answer.map(|answer| answer.proofs.into_iter());
        let mut outcomes = Vec::with_capacity(parts.len());
        let mut empty_handed = BTreeSet::new();
        for part in &parts {
            self.metrics.audits.inc();
            let outcome = match &mut proofs {
                None => Outcome::Unanswered,
                Some(proofs) => {
                    let judge = |(target, question): &(Target, Question)| {
                        let proof = proofs.next();
                        let verdict = proof.map(|proof| proof.judge(&question.sample, question.len));
                        (*target, verdict == Some(Verdict::Proven))
                    };
                    let results: Vec<(Target, bool)> = part.questions.iter().map(judge).collect();
                    empty_handed.extend(results.iter().all(|(_, right)| !right).then_some(part.share));
                    self.judge(peer, part, &results).await?
                }
            };
            outcomes.push((part.share, outcome));
        }
        self.conclude(peer, &outcomes, &empty_handed).await
    }

    /// What follows from the answers about one share. What was refuted is lost at once.
    async fn judge(
        &self,
        peer: PeerId,
        part: &Part,
        results: &[(Target, bool)],
    ) -> Result<Outcome, StoreError> {
        let share = part.share;
        let is_right = |(_, right): &(Target, bool)| *right;
        if results.iter().all(is_right) {
            let Some(bare) = &part.bare else { return Ok(Outcome::Proven) };
            // It may have said itself meanwhile that it lost or dropped some.
            let is_grown = self.store.grow(peer, share, bare).await?;
            return Ok(if is_grown { Outcome::Grown } else { Outcome::Proven });
        }
        // It may have said itself meanwhile that it lost or dropped them.
        let held = unless_damaged(share, self.store.held(peer, share).await)?.flatten();
        let held = held.map(|replica| replica.all());
        let still_held = |index: ChunkIndex| {
            held.as_ref().is_some_and(|held| held.contains(index))
                && !self.repairer.is_dropping(peer, share, index)
        };
        let wrong = results.iter().filter(|result| !is_right(result));
        let chunks = wrong.clone().filter_map(|(target, _)| match target {
            Target::Chunk(index) if still_held(*index) => Some(*index),
            _ => None,
        });
        let chunks = ChunkSet::of(part.chunk_count, chunks);
        let is_manifest = |(target, _): &(Target, bool)| *target == Target::Manifest;
        if chunks.is_empty() && !(held.is_some() && wrong.clone().any(is_manifest)) {
            return Ok(if results.iter().any(is_right) { Outcome::Proven } else { Outcome::Unanswered });
        }
        self.metrics.audits_refuted.inc();
        let name = self.name_of(peer);
        let (named, count) = (name.as_deref().unwrap_or_default(), chunks.len());
        tracing::warn!(%peer, name = named, %share, chunks = count, "a peer does not have what it says to hold");
        self.dashboard.note(LogKind::ChunksRefuted, |entry| {
            (entry.peer, entry.peer_name, entry.share) = (Some(peer), name, Some(share));
            entry.detail = Some(count.to_string());
        });
        for index in chunks.iter() {
            self.complaints.note(peer, share, part.chunk_count, index);
        }
        self.store.remove_chunks(peer, share, &chunks, false).await?;
        Ok(Outcome::Refuted(count))
    }

    /// Notes what came of a peer's turn, and has looked at what changed.
    async fn conclude(
        &self,
        peer: PeerId,
        outcomes: &[(ShareId, Outcome)],
        empty_handed: &BTreeSet<ShareId>,
    ) -> Result<(), StoreError> {
        let now_ms = self.lived_ms();
        let (mut changed, mut hopeless, mut deceived) = (Vec::new(), Vec::new(), Vec::new());
        {
            let mut audits = self.auditor.audits.lock();
            let before: Vec<bool> =
                outcomes.iter().map(|(share, _)| is_proven(&audits, peer, *share, now_ms)).collect();
            for (share, outcome) in outcomes {
                let is_new = !audits.was_proven(peer, *share);
                deceived.extend((is_new && matches!(outcome, Outcome::Refuted(_))).then_some(*share));
            }
            audits.done(peer, outcomes, now_ms, || self.auditor.draw());
            for ((share, outcome), was) in outcomes.iter().zip(before) {
                let is = is_proven(&audits, peer, *share, now_ms);
                // A claim that is not proven stops counting with time.
                let has_grown = *outcome == Outcome::Grown;
                changed.extend((!is || !was || has_grown).then_some(*share));
                // A disk with some rot still has the rest, which may be all that there is.
                let is_hopeless = empty_handed.contains(share) && audits.is_hopeless(peer, *share);
                hopeless.extend(is_hopeless.then_some(*share));
            }
        }
        let unanswered = outcomes.iter().filter(|(_, outcome)| *outcome == Outcome::Unanswered).count();
        self.metrics.audits_unanswered.inc_by(unanswered as u64);
        for share in deceived {
            self.repairer.deceived(peer, share, self.now_ms());
        }
        for share in hopeless {
            if let Some(held) = unless_damaged(share, self.store.held(peer, share).await)?.flatten() {
                self.store.remove_chunks(peer, share, &held.all(), true).await?;
            }
            self.unclaim(peer, share);
        }
        self.repairer.changed(changed);
        self.auditor.wake.notify_one();
        Ok(())
    }

    /// Keeps what was proven, once a minute or when it is much: a proof by itself costs no synced write. Returns whether
    /// it was time.
    pub(super) async fn save_proofs(&self, now: bool) -> Result<bool, StoreError> {
        let lived_ms = self.lived_ms();
        let is_due = {
            let mut saved_ms = self.auditor.saved_ms.lock();
            let is_due = lived_ms.saturating_sub(*saved_ms) >= millis(PROOFS_SAVED_EVERY);
            // The only place that has both locks: `saved_ms` is the outer one.
            let is_much = self.auditor.audits.lock().unsaved_len() >= PROOFS_SAVED_MAX;
            if now || is_due || is_much {
                *saved_ms = lived_ms;
            }
            now || is_due || is_much
        };
        if !is_due {
            return Ok(false);
        }
        loop {
            let proofs: Vec<(PeerId, ShareId, Option<Record>)> =
                self.auditor.audits.lock().unsaved(PROOFS_SAVED_MAX);
            self.store.save_proofs(&proofs, lived_ms).await?;
            if proofs.len() < PROOFS_SAVED_MAX {
                return Ok(true);
            }
        }
    }
}

fn is_proven(audits: &Audits, peer: PeerId, share: ShareId, now_ms: u64) -> bool {
    matches!(audits.evidence(peer, share, now_ms), Evidence::Proven { .. })
}
