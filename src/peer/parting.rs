//! Lets go of surplus chunks, once enough other holders have proved that they have them and promised to keep them.
//!
//! ```text
//! DATA/store/parted/<share id>.json      what was let go of and is in quarantine, and who has proved it
//!                   <share id>.manifest  the share's manifest, to take it back
//!                   <share id>.json.damaged, <share id>.manifest.damaged
//!                                        the same of a share of which one of them could not be read
//! ```
//! What was let go of stays in quarantine until the same holders prove it once more, a day later at least; if they do
//! not, it is taken back.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures_util::future::join_all;
use parcelry_core::api::{AuditRequest, DropTask, PeerAddress, Question, Sample, ShareChunks, Verdict};
use parcelry_core::chunk_set::ChunkSet;
use parcelry_core::duration::millis;
use parcelry_core::geometry::ChunkIndex;
use parcelry_core::id::{ChunkId, PeerId, ShareId};
use parcelry_core::limits::{
    AUDIT_BYTES_MAX, AUDIT_SAMPLES_MAX, ORDER_SOURCES_MAX, PARTING_PATIENCE, PROMISES_SPARE, QUARANTINE_KEPT,
};
use parcelry_core::manifest::Manifest;
use parcelry_core::parting::{Parting, proved_enough};
use parcelry_core::terms::{SignedTerms, TermsToken};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use super::Peer;
use super::orders::Orders;
use super::outbox::Report;
use super::promises::PromiseFile;
use super::storage::Storage;
use crate::client::{ClientError, PeerClient};
use crate::clock;
use crate::disk::durable;
use crate::failure::Failure;
use crate::task::blocking;
use crate::worker::Notes;

/// What this peer leaves, keeps for others, and has let go of.
#[derive(Debug)]
pub(super) struct Partings {
    root: PathBuf,
    state: Mutex<Parting>,
    /// Where promises are added; none after a write has failed, until they are written anew.
    promises: Mutex<Option<PromiseFile>>,
    pub(super) orders: Orders<DropTask>,
}

/// What was let go of and is in quarantine.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Parted {
    pub(super) share: ShareId,
    chunks: ChunkSet,
    terms: TermsToken,
    /// Who has proved it.
    pub(super) holders: Vec<PeerAddress>,
    /// When, by this machine's clock.
    parted_ms: u64,
}

impl Parted {
    /// How long ago it was let go of.
    const fn age_ms(&self, now_ms: u64) -> u64 {
        now_ms.saturating_sub(self.parted_ms)
    }
}

/// Chunks that are being left; they are served and proved again once this is dropped, if they are still here.
struct Leaving {
    peer: Arc<Peer>,
    chunks: Vec<ChunkId>,
}

impl Leaving {
    /// Lets go of those of the chunks that others have proved, and ends the leaving: not before, whatever becomes
    /// meanwhile of the caller.
    fn let_go(
        self,
        manifest: &Manifest,
        terms: &SignedTerms,
        proved: &ChunkSet,
        holders: &[PeerAddress],
    ) -> io::Result<()> {
        let Peer { partings, storage, .. } = &*self.peer;
        let_go(partings, storage, manifest, terms, proved, holders)
    }
}

impl Drop for Leaving {
    fn drop(&mut self) {
        self.peer.partings.stay(&self.chunks);
    }
}

impl Partings {
    /// Opens what is noted below the store's directory.
    pub(super) fn open(root: &Path) -> Result<Self, Failure> {
        let failed = |error| Failure::io("open the promises in", root, &error);
        durable::create_private_directory(&root.join("parted")).map_err(failed)?;
        let state = Parting::resume(PromiseFile::read(root).map_err(failed)?);
        // Written anew without what a crash has torn. Whether the clock may end any is not known yet.
        let promises = Mutex::new(PromiseFile::written(root, state.promises()));
        let (root, state) = (root.to_owned(), Mutex::new(state));
        Ok(Self { root, state, promises, orders: Orders::default() })
    }

    /// Whether the chunk is neither served nor proved at the moment.
    pub(super) fn is_leaving(&self, id: &ChunkId) -> bool {
        self.state.lock().is_leaving(id)
    }

    /// Begins to leave chunks that nobody was promised, at this time if it is to be trusted. Returns these.
    pub(super) fn leave(&self, chunks: &[ChunkId], now_ms: Option<u64>) -> Vec<ChunkId> {
        self.state.lock().leave(chunks, now_ms)
    }

    /// Ends the leaving of chunks.
    pub(super) fn stay(&self, chunks: &[ChunkId]) {
        self.state.lock().stay(chunks);
    }

    /// Promises to keep chunks of a peer that holds so many. Returns those whose promise is on stable storage.
    pub(super) fn promise(
        &self,
        chunks: &[ChunkId],
        held: usize,
        now_ms: Option<u64>,
    ) -> io::Result<BTreeSet<ChunkId>> {
        // One at a time: what one has put into the table, another must not give away before it is on the disk.
        let mut promises = self.promises.lock();
        let (promised, new) = self.state.lock().promise(chunks, now_ms, held + PROMISES_SPARE);
        let standing = self.state.lock().promise_count();
        *promises = Some(match promises.take() {
            Some(open) if open.has_room(new.len(), standing) => open.add(new)?,
            _ => self.write_promises()?,
        });
        Ok(promised.into_iter().collect())
    }

    /// Forgets promises that are over at this time, which is to be trusted.
    pub(super) fn end_promises(&self, now_ms: u64) -> io::Result<()> {
        let mut promises = self.promises.lock();
        self.state.lock().end_promises(now_ms);
        // A file that was replaced and could not be opened must not be written to.
        *promises = None;
        self.write_promises().map(|new| *promises = Some(new))
    }

    fn write_promises(&self) -> io::Result<PromiseFile> {
        let standing: Vec<_> = self.state.lock().promises().collect();
        PromiseFile::write(&self.root, standing.into_iter())
    }

    /// Notes what is about to be let go of, so that it can be taken back.
    pub(super) fn record(
        &self,
        manifest: &Manifest,
        terms: &SignedTerms,
        chunks: &ChunkSet,
        holders: &[PeerAddress],
    ) -> io::Result<()> {
        let share = manifest.share();
        let before = self.parted(share)?;
        let mut parted = Parted {
            share,
            chunks: chunks.clone(),
            terms: terms.token.clone(),
            holders: holders.to_vec(),
            parted_ms: clock::now_ms(),
        };
        if let Some(before) = before {
            parted.chunks = parted.chunks.plus(&before.chunks);
            let is_new = |holder: &PeerAddress| holders.iter().all(|other| other.id != holder.id);
            parted.holders.extend(before.holders.into_iter().filter(is_new));
        } else {
            // Before the record: one without a manifest would be taken for damaged.
            durable::persist(&self.path(share, "manifest"), manifest.encoded())?;
        }
        self.put(&parted)
    }

    fn put(&self, parted: &Parted) -> io::Result<()> {
        let json = serde_json::to_vec(parted).expect("a record has string keys");
        durable::persist(&self.path(parted.share, "json"), &json)
    }

    fn parted(&self, share: ShareId) -> io::Result<Option<Parted>> {
        let parse = |bytes: Vec<u8>| {
            let parted: Parted = serde_json::from_slice(&bytes).map_err(io::Error::other)?;
            SignedTerms::verify(&parted.terms, share).map_err(io::Error::other)?;
            Ok(parted)
        };
        match fs::read(self.path(share, "json")).and_then(parse) {
            Ok(parted) => Ok(Some(parted)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => self.rename_damaged(share, error).map(|()| None),
        }
    }

    /// Takes a record out of use that cannot be read, and keeps it for the operator: the chunks that it names leave the
    /// quarantine with all others. Another failure than that is passed on: it says nothing about the record.
    fn rename_damaged(&self, share: ShareId, error: io::Error) -> io::Result<()> {
        let is_unreadable = |code| code == rustix::io::Errno::IO.raw_os_error();
        if error.kind() != io::ErrorKind::NotFound && !error.raw_os_error().is_none_or(is_unreadable) {
            return Err(error);
        }
        let path = self.path(share, "json");
        tracing::error!(path = %path.display(), %error, "cannot read what was let go of: it is taken out of use");
        for extension in ["json", "manifest"] {
            let damaged = self.path(share, &format!("{extension}.damaged"));
            match durable::move_and_date(&self.path(share, extension), &damaged) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }

    /// All that is in quarantine.
    pub(super) fn all(&self) -> io::Result<Vec<Parted>> {
        let mut all = Vec::new();
        for entry in fs::read_dir(self.root.join("parted"))? {
            let path = entry?.path();
            let name = path.file_name().and_then(|name| name.to_str());
            let share = name.and_then(|name| name.strip_suffix(".json")?.parse().ok());
            if let Some(share) = share {
                all.extend(self.parted(share)?);
            }
        }
        Ok(all)
    }

    fn manifest(&self, parted: &Parted) -> io::Result<Manifest> {
        let (share, chunk_count) = (parted.share, parted.chunks.chunk_count());
        let read = fs::read(self.path(share, "manifest"))?;
        let manifest = Manifest::decode(read, share).map_err(io::Error::other)?;
        let is_of_it = manifest.geometry().chunk_count() == chunk_count;
        is_of_it.then_some(manifest).ok_or_else(|| io::Error::other("it is of another number of chunks"))
    }

    /// Forgets what was let go of: it is in use again, or can go for good.
    pub(super) fn forget(&self, share: ShareId) -> io::Result<()> {
        // The record goes first: without it the manifest means nothing.
        fs::remove_file(self.path(share, "json"))?;
        fs::remove_file(self.path(share, "manifest"))
    }

    /// The chunks that must stay in quarantine.
    pub(super) fn quarantined(&self) -> io::Result<BTreeSet<ChunkId>> {
        let mut chunks = BTreeSet::new();
        for parted in self.all()? {
            match self.manifest(&parted) {
                Ok(manifest) => chunks.extend(parted.chunks.iter().map(|index| manifest.chunk(index))),
                Err(error) => self.rename_damaged(parted.share, error)?,
            }
        }
        Ok(chunks)
    }

    fn path(&self, share: ShareId, extension: &str) -> PathBuf {
        self.root.join("parted").join(format!("{share}.{extension}"))
    }
}

/// A chunk of a share, or the manifest of one without chunks, with what is asked about it.
type Asked = (Option<ChunkIndex>, Question);

/// Lets go of chunks as far as enough others prove them. Returns whether all of them are gone.
pub(super) async fn part(peer: &Arc<Peer>, task: DropTask) -> io::Result<bool> {
    let DropTask { share, chunks, holders } = task;
    let Some(held) = peer.storage.held(share) else { return Ok(true) };
    if held.chunks.chunk_count() != chunks.chunk_count() {
        return Ok(true);
    }
    let manifest = Arc::new(peer.on_disk(move |storage| storage.manifest(share)).await?);
    let holders = others(peer.id, holders);
    let here = held.chunks.minus(&held.chunks.minus(&chunks));
    for batch in batches(&manifest, &here) {
        let left = peer.partings.leave(&ids(&batch), peer.clock.now_ms());
        // Until this is dropped, nobody can prove the chunks with what he fetches here.
        let leaving = Leaving { peer: Arc::clone(peer), chunks: left };
        let answers = ask(peer, &holders, &batch, true).await;
        let proved = proved_enough(held.terms.replicas, &leaving.chunks, &answers);
        let surplus = of_chunks(&manifest, &batch, &proved);
        if !proved.is_empty() {
            let (manifest, terms) = (Arc::clone(&manifest), held.terms.clone());
            let (chunks, by) = (surplus.clone(), holders.clone());
            // A stop drops this function, but not what blocks.
            blocking(move || leaving.let_go(&manifest, &terms, &chunks, &by)).await?;
            peer.outbox.push(Report::Dropped(ShareChunks { share, chunks: surplus }));
        }
        if proved.len() < batch.len() {
            tracing::info!(%share, "others did not prove enough of what is surplus here: it stays");
            return Ok(false);
        }
    }
    Ok(true)
}

/// Lets go of chunks of a share that others have proved, so that they can be taken back.
pub(super) fn let_go(
    partings: &Partings,
    storage: &Storage,
    manifest: &Manifest,
    terms: &SignedTerms,
    chunks: &ChunkSet,
    holders: &[PeerAddress],
) -> io::Result<()> {
    partings.record(manifest, terms, chunks, holders)?;
    storage.drop_surplus(manifest.share(), chunks)
}

/// Different peers other than this one.
fn others(own: PeerId, holders: Vec<PeerAddress>) -> Vec<PeerAddress> {
    let mut seen = BTreeSet::from([own]);
    holders.into_iter().filter(|holder| seen.insert(holder.id)).take(ORDER_SOURCES_MAX).collect()
}

/// What is asked about chunks of a share, as much at once as one audit takes.
pub(super) fn batches(manifest: &Manifest, chunks: &ChunkSet) -> Vec<Vec<Asked>> {
    let question = |root, share, len: u64| {
        // Drawn anew for each question: who keeps only what was asked for before does not pass.
        let offset = getrandom::u64().unwrap_or_default() % len.max(1);
        Question { sample: Sample { root, share, offset }, len }
    };
    let mut batches: Vec<Vec<Asked>> = Vec::new();
    let mut bytes = 0;
    for index in chunks.iter() {
        let len = manifest.geometry().sealed_len(index) as u64;
        bytes += len;
        let asked = (Some(index), question(manifest.chunk(index), None, len));
        match batches.last_mut().filter(|batch| batch.len() < AUDIT_SAMPLES_MAX && bytes <= AUDIT_BYTES_MAX) {
            Some(batch) => batch.push(asked),
            None => {
                bytes = len;
                batches.push(vec![asked]);
            }
        }
    }
    if manifest.geometry().chunk_count() == 0 {
        let len = manifest.encoded().len() as u64;
        batches.push(vec![(None, question(manifest.digest(), Some(manifest.share()), len))]);
    }
    batches
}

pub(super) fn ids(batch: &[Asked]) -> Vec<ChunkId> {
    batch.iter().map(|(_, question)| question.sample.root).collect()
}

/// The chunks of a batch whose ids these are.
pub(super) fn of_chunks(manifest: &Manifest, batch: &[Asked], ids: &[ChunkId]) -> ChunkSet {
    let ids: BTreeSet<&ChunkId> = ids.iter().collect();
    let wanted = batch.iter().filter(|(_, question)| ids.contains(&question.sample.root));
    ChunkSet::of(manifest.geometry().chunk_count(), wanted.filter_map(|(index, _)| *index))
}

/// Asks all holders at once. Returns what each that answered in time has proved.
async fn ask(
    peer: &Peer,
    holders: &[PeerAddress],
    batch: &[Asked],
    for_drop: bool,
) -> Vec<(PeerId, BTreeSet<ChunkId>)> {
    let samples = batch.iter().map(|(_, question)| question.sample).collect();
    let request = AuditRequest { samples, for_drop };
    let one = async |holder: &PeerAddress| {
        let client = PeerClient::new(peer.http.clone(), holder.clone());
        let answer = tokio::time::timeout(PARTING_PATIENCE, client.audit(&request)).await;
        let late = || ClientError::unreachable(client.name(), "no answer in time");
        match answer.unwrap_or_else(|_| Err(late())) {
            Ok(answer) => {
                let judged = batch.iter().zip(&answer.proofs);
                let proved = judged
                    .filter(|((_, asked), proof)| proof.judge(&asked.sample, asked.len) == Verdict::Proven);
                Some((holder.id, proved.map(|((_, asked), _)| asked.sample.root).collect()))
            }
            // Left out, and not an answer without proofs: silence does not refute.
            Err(error) => {
                tracing::info!(%error, "a holder did not prove what is surplus here");
                None
            }
        }
    };
    join_all(holders.iter().map(one)).await.into_iter().flatten().collect()
}

/// Has the holders prove once more what was let go of long enough ago.
pub(super) async fn look_at_quarantine(peer: &Arc<Peer>, notes: &Notes) {
    let Some(now_ms) = peer.clock.now_ms() else { return };
    let listing = Arc::clone(peer);
    let listed = blocking(move || listing.partings.all()).await;
    let Some(mut parted) = notes.note("cannot tell what is in quarantine", listed) else { return };
    parted.retain(|parted| parted.age_ms(now_ms) >= millis(QUARANTINE_KEPT));
    let mut pass = Ok(());
    for parted in parted {
        let share = parted.share;
        let proved = prove_again(peer, parted, now_ms).await;
        // One that cannot be looked after keeps the others from nothing.
        if let Err(error) = &proved {
            tracing::error!(%share, %error, "cannot look after what was let go of");
        }
        pass = pass.and(proved);
    }
    notes.note("cannot look after all that was let go of", pass);
}

/// Lets what others prove go for good, and takes the rest back.
async fn prove_again(peer: &Arc<Peer>, mut parted: Parted, now_ms: u64) -> io::Result<()> {
    let (share, is_late) = (parted.share, parted.age_ms(now_ms) >= 2 * millis(QUARANTINE_KEPT));
    let Ok(terms) = SignedTerms::verify(&parted.terms, share) else { return Ok(()) };
    if terms.is_over(now_ms) || peer.storage.is_gone(share) {
        let forgetting = Arc::clone(peer);
        return blocking(move || forgetting.partings.forget(share)).await;
    }
    let (reading, noted) = (Arc::clone(peer), parted.clone());
    let manifest = blocking(move || reading.partings.manifest(&noted)).await?;
    for batch in batches(&manifest, &parted.chunks) {
        let answers = ask(peer, &parted.holders, &batch, false).await;
        let proved = proved_enough(terms.replicas, &ids(&batch), &answers);
        parted.chunks = parted.chunks.minus(&of_chunks(&manifest, &batch, &proved));
        // Taken back at once if all have answered and too few have it; while some are silent, only after long.
        let is_certain = answers.len() == parted.holders.len() || is_late;
        if proved.len() < batch.len() {
            let noting = Arc::clone(peer);
            return blocking(move || {
                if is_certain {
                    noting.take_back(&manifest, terms, &parted)
                } else {
                    noting.partings.put(&parted)
                }
            })
            .await;
        }
    }
    let forgetting = Arc::clone(peer);
    blocking(move || forgetting.partings.forget(share)).await
}

impl Peer {
    /// Takes chunks back into use that others turned out not to have.
    fn take_back(&self, manifest: &Manifest, terms: SignedTerms, parted: &Parted) -> io::Result<()> {
        let share = parted.share;
        tracing::warn!(%share, chunks = parted.chunks.len(), "others do not have what was let go of here");
        if let Some(chunks) = take_back(&self.partings, &self.storage, manifest, terms, &parted.chunks)? {
            self.outbox.push(Report::Copied(ShareChunks { share, chunks }));
        }
        Ok(())
    }
}

/// Takes chunks back into use. Returns those that are here again; `None`: it cannot be done now.
pub(super) fn take_back(
    partings: &Partings,
    storage: &Storage,
    manifest: &Manifest,
    terms: SignedTerms,
    chunks: &ChunkSet,
) -> io::Result<Option<ChunkSet>> {
    let share = manifest.share();
    let missing = storage.begin_copy(manifest, chunks).map_err(io::Error::other)?;
    let here = chunks.minus(&missing);
    let kept = storage.keep_copied(manifest, terms, &here);
    storage.end_copy(share);
    if !kept.map_err(io::Error::other)?.is_empty() {
        return Ok(None);
    }
    partings.forget(share)?;
    Ok(Some(here))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, SystemTime};

    use parcelry_core::geometry::{ChunkSize, Geometry};
    use parcelry_core::id::Secret;
    use parcelry_core::manifest::{Draft, ShareKey};
    use parcelry_core::seal::{Header, ShareKeys};
    use parcelry_core::terms::Terms;

    use super::super::storage::Bounds;

    /// A peer's disk that holds the share of [`share`].
    struct Holder {
        directory: tempfile::TempDir,
        storage: Storage,
        partings: Partings,
    }

    const SEALED: usize = (1 << 16) + 16;

    fn share() -> (Manifest, SignedTerms) {
        let key = ShareKey::from_seed(&Secret::from_bytes([1; 32]));
        let chunk_size = ChunkSize::from_log2(16).unwrap();
        let geometry = Geometry::new(2 << 16, chunk_size).unwrap();
        let keys = ShareKeys::derive(&Secret::from_bytes([2; 32]), &[3; 32], Header { chunk_size });
        let ids = [1, 2].map(|byte| ChunkId::of(&[byte; SEALED]));
        let manifest = Draft::new(&key, &keys, &[3; 32], geometry, &ids).finish(&key, &keys, b"{}");
        let (share, expires_ms) = (key.share_id(), clock::now_ms() + 3_600_000);
        let terms =
            Terms { share, issued_ms: 1, expires_ms, replicas: 1, access_sha256: [0; 32], deleted: false };
        (manifest, SignedTerms::sign(&key, terms))
    }

    impl Holder {
        fn new() -> Self {
            let directory = tempfile::tempdir().unwrap();
            Storage::create(directory.path()).unwrap();
            let bounds = Bounds { capacity_bytes: None, keep_free_bytes: 0 };
            let storage = Storage::open(directory.path(), bounds).unwrap();
            let (manifest, terms) = share();
            let all = ChunkSet::full(2);
            assert_eq!(storage.begin_copy(&manifest, &all).unwrap(), all);
            for byte in [1, 2] {
                let sealed = [byte; SEALED];
                storage.put_whole(manifest.share(), ChunkId::of(&sealed), &sealed).unwrap();
            }
            assert!(storage.keep_copied(&manifest, terms, &all).unwrap().is_empty());
            storage.end_copy(manifest.share());
            let partings = Partings::open(directory.path()).unwrap();
            Self { directory, storage, partings }
        }

        /// What it proves to one that wants to let go of the chunks, as `audits.rs` does.
        fn prove_for_drop(&self, chunks: &[ChunkId]) -> BTreeSet<ChunkId> {
            if chunks.iter().any(|id| self.partings.is_leaving(id)) {
                return BTreeSet::new();
            }
            let held: Vec<ChunkId> =
                chunks.iter().filter(|id| self.storage.is_lasting(id)).copied().collect();
            self.partings.promise(&held, 2, Some(clock::now_ms())).unwrap()
        }

        /// Lets go of what was left, as far as another one has proved it.
        fn end(&self, left: &[ChunkId], proved: BTreeSet<ChunkId>) {
            let (manifest, terms) = share();
            let proved = proved_enough(1, left, &[(PeerId::from_bytes([9; 32]), proved)]);
            let batch = batches(&manifest, &ChunkSet::full(2)).concat();
            let chunks = of_chunks(&manifest, &batch, &proved);
            if !chunks.is_empty() {
                let_go(&self.partings, &self.storage, &manifest, &terms, &chunks, &[]).unwrap();
            }
            self.partings.stay(left);
        }

        fn holds(&self) -> u32 {
            self.storage.held(share().0.share()).map_or(0, |held| held.chunks.len())
        }
    }

    fn all() -> Vec<ChunkId> {
        share().0.chunks().map(|(_, id)| id).collect()
    }

    #[test]
    fn s3_of_two_holders_that_are_told_to_drop_in_one_instant_neither_does() {
        let (a, b) = (Holder::new(), Holder::new());
        let now_ms = Some(clock::now_ms());
        let (left_a, left_b) = (a.partings.leave(&all(), now_ms), b.partings.leave(&all(), now_ms));
        let (proved_b, proved_a) = (b.prove_for_drop(&left_a), a.prove_for_drop(&left_b));
        a.end(&left_a, proved_b);
        b.end(&left_b, proved_a);
        assert_eq!((a.holds(), b.holds()), (2, 2));
    }

    #[test]
    fn s9_whoever_is_told_to_drop_what_it_has_promised_keeps_it_even_after_a_restart() {
        let (a, mut b) = (Holder::new(), Holder::new());
        let left = a.partings.leave(&all(), Some(clock::now_ms()));
        let proved = b.prove_for_drop(&left);
        a.end(&left, proved);
        assert_eq!((a.holds(), b.holds()), (0, 2), "one of two may go");
        assert_eq!(b.partings.leave(&all(), Some(clock::now_ms())), []);
        b.partings = Partings::open(b.directory.path()).unwrap();
        assert_eq!(b.partings.leave(&all(), Some(clock::now_ms())), []);
        assert_eq!(a.prove_for_drop(&all()), BTreeSet::new(), "what was let go of is proved to nobody");
    }

    #[test]
    fn what_was_let_go_of_is_kept_aside_and_taken_back_if_others_turn_out_not_to_have_it() {
        let holder = Holder::new();
        let left = holder.partings.leave(&all(), Some(clock::now_ms()));
        holder.end(&left, left.iter().copied().collect());
        assert_eq!((holder.holds(), holder.storage.chunk_count()), (0, 0));
        let quarantined = holder.partings.quarantined().unwrap();
        assert_eq!(quarantined.len(), 2);
        let old =
            SystemTime::from(clock::moment(clock::now_ms())) - QUARANTINE_KEPT - Duration::from_secs(60);
        for file in fs::read_dir(holder.directory.path().join("aside")).unwrap() {
            let file = fs::File::options().write(true).open(file.unwrap().path()).unwrap();
            file.set_modified(old).unwrap();
        }
        holder.storage.empty_quarantine(&quarantined).unwrap();
        let again = Partings::open(holder.directory.path()).unwrap();
        let parted = again.all().unwrap();
        assert_eq!(parted.len(), 1, "it outlives a restart");
        let (manifest, terms) = (again.manifest(&parted[0]).unwrap(), share().1);
        let back = take_back(&again, &holder.storage, &manifest, terms, &parted[0].chunks).unwrap();
        assert!(back.unwrap().is_full());
        assert_eq!(holder.holds(), 2);
        assert_eq!(again.all().unwrap().len(), 0);
    }

    #[test]
    fn a_record_of_what_was_let_go_of_that_cannot_be_read_costs_only_itself() {
        let holder = Holder::new();
        let left = holder.partings.leave(&all(), Some(clock::now_ms()));
        holder.end(&left, left.iter().copied().collect());
        let parted = holder.directory.path().join("parted");
        let (bad, good) = (ShareId::from_bytes([9; 32]), share().0.share());
        fs::write(parted.join(format!("{bad}.json")), b"rot").unwrap();
        assert_eq!(holder.partings.quarantined().unwrap().len(), 2, "the other one is looked after");
        assert_eq!(holder.partings.all().unwrap().len(), 1);
        let is_there = |name: String| parted.join(name).exists();
        assert!(is_there(format!("{bad}.json.damaged")) && !is_there(format!("{bad}.json")));
        fs::write(parted.join(format!("{good}.manifest")), b"rot").unwrap();
        assert_eq!(holder.partings.quarantined().unwrap().len(), 0);
        assert!(is_there(format!("{good}.json.damaged")) && is_there(format!("{good}.manifest.damaged")));
        assert_eq!(holder.partings.all().unwrap().len(), 0);
    }

    #[test]
    fn promises_are_ended_while_the_peer_runs_and_only_by_a_clock_that_is_believed() {
        let directory = tempfile::tempdir().unwrap();
        let id = ChunkId::of(b"a");
        let now_ms = clock::now_ms();
        // Of a day long ago, as this machine's clock says, which is perhaps wrong.
        drop(PromiseFile::write(directory.path(), [(id, 1)].into_iter()).unwrap());
        fs::create_dir(directory.path().join("parted")).unwrap();
        let partings = Partings::open(directory.path()).unwrap();
        assert_eq!(partings.leave(&[id], None), [], "a start ends none");
        partings.end_promises(now_ms).unwrap();
        assert_eq!(PromiseFile::read(directory.path()).unwrap(), []);
        assert_eq!(partings.leave(&[id], None), [id]);
        partings.stay(&[id]);
    }
}
