//! A test: many threads at one peer's store. They send, commit, copy, check, drop, expire and delete shares with chunks
//! in common, in the order that a seed and the scheduler make of it; then records, references and files must agree.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use parcelry_core::api::{Blob, CommitRequest, OfferRequest, ProblemKind, ShareSize};
use parcelry_core::chunk_set::ChunkSet;
use parcelry_core::geometry::{ChunkSize, Geometry};
use parcelry_core::id::{ChunkId, Secret, ShareId};
use parcelry_core::manifest::{Draft, Manifest, ShareKey};
use parcelry_core::seal::{Header, ShareKeys};
use parcelry_core::terms::{SignedTerms, Terms};

use super::chunk_store::ChunkStore;
use super::mend::Sources;
use super::{Bounds, Storage};
use crate::clock;

/// Numbers that a seed makes (SplitMix64).
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }
}

const SHARES: u8 = 6;
const CHUNKS: u8 = 12;
const CHUNKS_EACH: u8 = 6;

/// A store in memory, where the system has such a place: what is tried here is order, not disks.
pub(super) fn directory() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").unwrap_or_else(|_| tempfile::tempdir().unwrap())
}

pub(super) fn open(root: &Path) -> Storage {
    ChunkStore::create(root).unwrap();
    Storage::open(root, Bounds { capacity_bytes: None, keep_free_bytes: 0 }).unwrap()
}

pub(super) fn sealed(number: u8) -> Vec<u8> {
    vec![number; (1 << 16) + 16]
}

/// A share of which everything is known.
pub(super) struct Shared {
    key: ShareKey,
    pub(super) manifest: Manifest,
    chunks: Vec<u8>,
}

impl Shared {
    pub(super) fn new(number: u64, chunks: Vec<u8>) -> Self {
        let mut seed = [9; 32];
        seed[..8].copy_from_slice(&number.to_be_bytes());
        let key = ShareKey::from_seed(&Secret::from_bytes(seed));
        let chunk_size = ChunkSize::from_log2(16).unwrap();
        let geometry = Geometry::new((chunks.len() as u64) << 16, chunk_size).unwrap();
        let keys = ShareKeys::derive(&Secret::from_bytes([2; 32]), &[3; 32], Header { chunk_size });
        let ids: Vec<ChunkId> = chunks.iter().map(|&number| ChunkId::of(&sealed(number))).collect();
        let manifest = Draft::new(&key, &keys, &[3; 32], geometry, &ids).finish(&key, &keys, b"{}");
        Self { key, manifest, chunks }
    }

    pub(super) fn id(&self) -> ShareId {
        self.manifest.share()
    }

    pub(super) fn terms(&self, issued_ms: u64, life_ms: u64, deleted: bool) -> SignedTerms {
        let expires_ms = clock::now_ms() + life_ms;
        let share = self.id();
        let terms = Terms { share, issued_ms, expires_ms, replicas: 1, access_sha256: [0; 32], deleted };
        SignedTerms::sign(&self.key, terms)
    }

    pub(super) fn full(&self) -> ChunkSet {
        ChunkSet::full(self.manifest.geometry().chunk_count())
    }

    fn commit(&self, storage: &Storage, terms: &SignedTerms, chunks: ChunkSet) -> Option<ChunkSet> {
        let manifest = Blob(self.manifest.encoded().to_vec());
        let request = CommitRequest { manifest, terms: terms.token.clone(), chunks };
        storage.commit(self.id(), request).ok()
    }

    pub(super) fn offer(&self, storage: &Storage) {
        let geometry = self.manifest.geometry();
        let size = ShareSize { total_bytes: geometry.total(), chunk_bytes: geometry.chunk_size().bytes() };
        let _ = storage.offer(self.id(), &OfferRequest { size, chunks: self.full(), known: Vec::new() });
    }

    pub(super) fn send(&self, storage: &Storage, chunks: &ChunkSet) {
        for index in chunks.iter() {
            let bytes = sealed(self.chunks[index.get() as usize]);
            if matches!(storage.admit(self.id(), ChunkId::of(&bytes), bytes.len() as u64), Ok(true)) {
                self.put(storage, &bytes);
            }
        }
    }

    fn put(&self, storage: &Storage, bytes: &[u8]) {
        let put = storage.put_whole(self.id(), ChunkId::of(bytes), bytes);
        // Another thread may have ended the upload meanwhile.
        assert!(put.err().is_none_or(|refusal| refusal.kind() == ProblemKind::Conflict));
    }

    /// Sends and commits everything.
    fn keep(&self, storage: &Storage, terms: &SignedTerms) {
        self.offer(storage);
        self.send(storage, &self.full());
        assert!(self.commit(storage, terms, self.full()).unwrap().is_empty());
    }
}

fn files(root: &Path) -> BTreeMap<ChunkId, PathBuf> {
    let directories = fs::read_dir(root.join("chunks")).unwrap().map(|directory| directory.unwrap().path());
    let files =
        directories.flat_map(|directory| fs::read_dir(directory).unwrap()).map(|file| file.unwrap().path());
    files.map(|path| (path.file_name().unwrap().to_str().unwrap().parse().unwrap(), path)).collect()
}

/// What the shares hold is there and right, and referred to by those who hold it and nobody else.
fn assert_agreement(storage: &Storage, root: &Path, shares: &[&Shared]) {
    let files = files(root);
    let mut holders: BTreeMap<ChunkId, BTreeSet<ShareId>> = BTreeMap::new();
    for shared in shares {
        let Some(held) = storage.shares.get(shared.id()) else { continue };
        for index in held.chunks.iter() {
            let id = shared.manifest.chunk(index);
            let bytes = fs::read(files.get(&id).expect("a chunk of a held share is missing")).unwrap();
            assert_eq!(ChunkId::of(&bytes), id);
            holders.entry(id).or_default().insert(shared.id());
        }
    }
    for number in 0..CHUNKS {
        let id = ChunkId::of(&sealed(number));
        let refs: BTreeSet<ShareId> = storage.chunks.holders(&id).into_iter().collect();
        assert_eq!(refs, holders.remove(&id).unwrap_or_default());
        assert_eq!(storage.chunks.contains(&id), files.contains_key(&id), "the index is that of the files");
    }
}

#[test]
fn s1_a_commit_of_no_chunks_takes_nothing_away() {
    let directory = directory();
    let storage = open(directory.path());
    let shared = Shared::new(1, vec![1, 2, 3]);
    let terms = shared.terms(1, 3_600_000, false);
    shared.keep(&storage, &terms);
    assert!(shared.commit(&storage, &terms, ChunkSet::empty(3)).unwrap().is_empty());
    assert_eq!(storage.shares.get(shared.id()).unwrap().chunks, shared.full());
    assert_agreement(&storage, directory.path(), &[&shared]);
    drop(storage);
    assert_eq!(open(directory.path()).shares.get(shared.id()).unwrap().chunks, shared.full());
}

#[test]
fn s2_commits_and_drops_at_once_let_go_of_a_chunk_once() {
    let directory = directory();
    let storage = open(directory.path());
    let (alices, mallorys) = (Shared::new(1, vec![1, 2, 3]), Shared::new(2, vec![1, 2, 3]));
    let terms = [&alices, &mallorys].map(|shared| shared.terms(1, 3_600_000, false));
    alices.keep(&storage, &terms[0]);
    for _ in 0..20 {
        mallorys.keep(&storage, &terms[1]);
        std::thread::scope(|threads| {
            for _ in 0..6 {
                threads.spawn(|| mallorys.commit(&storage, &terms[1], ChunkSet::empty(3)));
                threads.spawn(|| storage.drop_surplus(mallorys.id(), &mallorys.full()).unwrap());
            }
        });
        assert_agreement(&storage, directory.path(), &[&alices, &mallorys]);
        assert_eq!(storage.shares.get(alices.id()).unwrap().chunks, alices.full());
    }
}

#[test]
fn p6_a_share_that_is_held_claims_nothing_that_it_did_not_send() {
    let directory = directory();
    let storage = open(directory.path());
    let (alices, mallorys) = (Shared::new(1, vec![1, 2, 3]), Shared::new(2, vec![1, 2, 3]));
    alices.keep(&storage, &alices.terms(1, 3_600_000, false));
    let terms = mallorys.terms(1, 3_600_000, false);
    assert!(mallorys.commit(&storage, &terms, ChunkSet::empty(3)).unwrap().is_empty());
    assert_eq!(mallorys.commit(&storage, &terms, mallorys.full()), Some(mallorys.full()), "all are missing");
}

#[test]
fn a_deleted_share_stays_deleted_at_the_peer() {
    let directory = directory();
    let storage = open(directory.path());
    let (held, never_held) = (Shared::new(1, vec![1, 2]), Shared::new(2, vec![1, 3]));
    held.keep(&storage, &held.terms(1, 3_600_000, false));
    held.offer(&storage);
    // Deletion wins whatever the clocks of the owner's machines say.
    storage.put_terms(held.terms(0, 0, true)).unwrap();
    storage.put_terms(never_held.terms(1, 0, true)).unwrap();
    let refuses = |storage: &Storage| {
        for shared in [&held, &never_held] {
            let newer = shared.terms(9, 3_600_000, false);
            let (id, size) = (shared.id(), shared.manifest.geometry());
            let gone = parcelry_core::api::ProblemKind::ShareGone;
            let kind = |error: super::error::StorageError| error.kind();
            let size = ShareSize { total_bytes: size.total(), chunk_bytes: 1 << 16 };
            let offer = OfferRequest { size, chunks: shared.full(), known: Vec::new() };
            assert_eq!(storage.offer(id, &offer).map_err(kind), Err(gone));
            let chunk = ChunkId::of(&sealed(shared.chunks[0]));
            assert_eq!(storage.admit(id, chunk, 10).map_err(kind), Err(gone));
            assert_eq!(storage.begin_copy(&shared.manifest, &shared.full()).map_err(kind), Err(gone));
            let kept = storage.keep_copied(&shared.manifest, newer.clone(), &shared.full());
            assert_eq!(kept.map_err(kind), Err(gone));
            assert_eq!(shared.commit(storage, &newer, ChunkSet::empty(2)), None);
            storage.put_terms(newer).unwrap();
            assert!(storage.shares.get(id).is_none());
        }
        assert_eq!(storage.gone().len(), 2);
        assert!(files(directory.path()).is_empty());
    };
    refuses(&storage);
    drop(storage);
    refuses(&open(directory.path()));
}

#[test]
fn a_deletion_that_a_crash_interrupted_is_finished_at_the_next_start() {
    let directory = directory();
    let (deleted, other) = (Shared::new(1, vec![1, 2]), Shared::new(2, vec![2, 3]));
    let storage = open(directory.path());
    for shared in [&deleted, &other] {
        shared.keep(&storage, &shared.terms(1, 3_600_000, false));
    }
    // It is known to be deleted, and nothing else has happened yet.
    storage.gone.put(&deleted.terms(2, 0, true), true, clock::now_ms()).unwrap();
    drop(storage);
    let storage = open(directory.path());
    assert_eq!(files(directory.path()).len(), 2);
    assert_agreement(&storage, directory.path(), &[&deleted, &other]);
    // The share is out of use, and its chunks are still there.
    storage.gone.put(&other.terms(2, 0, true), true, clock::now_ms()).unwrap();
    storage.shares.retire(other.id()).unwrap();
    drop(storage);
    let storage = open(directory.path());
    assert!(files(directory.path()).is_empty() && storage.shares.retired().unwrap().is_empty());
}

#[test]
fn s5_while_a_record_cannot_be_read_what_is_of_others_goes_and_what_may_be_its_own_stays() {
    let directory = directory();
    // Chunk 2 was sent by the one and then by the other; 5 came for the upload first.
    let (lost, other, upload) =
        (Shared::new(1, vec![1, 2, 5]), Shared::new(2, vec![2, 3]), Shared::new(3, vec![4, 5]));
    let storage = open(directory.path());
    upload.offer(&storage);
    upload.send(&storage, &upload.full());
    for shared in [&lost, &other] {
        shared.keep(&storage, &shared.terms(1, 3_600_000, false));
    }
    drop(storage);
    let mark =
        fs::File::options().write(true).open(directory.path().join("uploads").join(upload.id().to_string()));
    mark.unwrap().set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();
    let record = directory.path().join("shares").join(lost.id().to_string()).join("manifest");
    fs::write(record, b"rot").unwrap();

    let storage = open(directory.path());
    assert!(!storage.shares.is_whole());
    storage.put_terms(other.terms(2, 0, true)).unwrap();
    assert_eq!(storage.collect_unfinished().unwrap(), 1);
    let here = |storage: &Storage| {
        [1, 2, 3, 4, 5].map(|number| storage.chunks.contains(&ChunkId::of(&sealed(number))))
    };
    assert_eq!(here(&storage), [true, true, false, false, true]);
    assert!(storage.marks.has(upload.id()), "what it names is not settled");
    drop(storage);
    let storage = open(directory.path());
    assert_eq!(here(&storage), [true, true, false, false, true]);
    assert_eq!(storage.shares.retired().unwrap().len(), 1);

    let found = Sources { manifest: Some(lost.manifest.clone()), terms: Vec::new() };
    assert!(storage.mend(lost.id(), found).unwrap());
    assert_eq!(storage.shares.retired().unwrap().len(), 0, "now it is known what is whose");
    assert_agreement(&storage, directory.path(), &[&lost]);
    storage.put_terms(lost.terms(2, 0, true)).unwrap();
    assert_eq!(here(&storage), [false; 5]);
}

#[test]
fn s8_a_failed_sync_takes_back_what_came_since_the_last_good_one_and_nothing_else() {
    let directory = directory();
    let storage = open(directory.path());
    let (before, after) = (Shared::new(1, vec![1, 2]), Shared::new(2, vec![2, 3, 4]));
    before.keep(&storage, &before.terms(1, 3_600_000, false));
    after.offer(&storage);
    after.send(&storage, &after.full());
    storage.chunks.failing.store(1, std::sync::atomic::Ordering::Relaxed);
    let terms = after.terms(1, 3_600_000, false);
    assert_eq!(after.commit(&storage, &terms, after.full()), None);
    // The next sync would succeed, and prove nothing.
    assert_eq!(after.commit(&storage, &terms, after.full()), None);
    assert_eq!(storage.usage().free_bytes, 0, "nothing is taken");
    let (lost, result) = storage.recover();
    assert!(lost.is_empty() && result.is_ok());
    assert_agreement(&storage, directory.path(), &[&before, &after]);
    assert_eq!(files(directory.path()).len(), 2, "what was committed before is there, and nothing else");
    after.keep(&storage, &terms);
    assert_agreement(&storage, directory.path(), &[&before, &after]);
}

/// The shares that the threads are at: a deleted one is followed by another of the same chunks.
struct Table {
    shares: Mutex<Vec<Vec<&'static Shared>>>,
}

impl Table {
    fn new() -> Self {
        let shares = (0..SHARES).map(|number| vec![Self::make(u64::from(number), number)]).collect();
        Self { shares: Mutex::new(shares) }
    }

    fn make(seed: u64, number: u8) -> &'static Shared {
        let chunks = (0..CHUNKS_EACH).map(|chunk| (number * 2 + chunk) % CHUNKS).collect();
        Box::leak(Box::new(Shared::new(seed, chunks)))
    }

    fn pick(&self, dice: &mut Dice) -> (usize, &'static Shared) {
        let place = usize::try_from(dice.below(u64::from(SHARES))).unwrap();
        (place, self.shares.lock().unwrap()[place].last().unwrap())
    }

    fn replace(&self, place: usize, dice: &mut Dice) {
        let next = Self::make(dice.next(), u8::try_from(place).unwrap());
        self.shares.lock().unwrap()[place].push(next);
    }

    fn all(&self) -> Vec<&'static Shared> {
        self.shares.lock().unwrap().concat()
    }
}

fn act(storage: &Storage, root: &Path, table: &Table, dice: &mut Dice, step: u64) {
    let (place, shared) = table.pick(dice);
    let count = u32::from(CHUNKS_EACH);
    let some = ChunkSet::of(count, shared.manifest.geometry().indices().filter(|_| dice.one_in(2)));
    let long = shared.terms(step, 3_600_000, false);
    match dice.below(20) {
        0..=6 => {
            let terms = if dice.one_in(4) { shared.terms(step, dice.below(20), false) } else { long };
            shared.offer(storage);
            shared.send(storage, &some);
            shared.commit(storage, &terms, some);
        }
        7 => drop(shared.commit(storage, &long, ChunkSet::empty(count))),
        8..=10 => storage.drop_surplus(shared.id(), &some).unwrap(),
        11..=12 => {
            if let Ok(missing) = storage.begin_copy(&shared.manifest, &some) {
                for index in missing.iter() {
                    let bytes = sealed(shared.chunks[index.get() as usize]);
                    shared.put(storage, &bytes);
                }
                let _ = storage.keep_copied(&shared.manifest, long, &some);
            }
            storage.end_copy(shared.id());
        }
        13..=14 => storage.expire(Some(clock::now_ms())).unwrap(),
        15 => {
            storage.put_terms(shared.terms(step, dice.below(20), false)).unwrap();
        }
        16 => {
            storage.put_terms(shared.terms(step, 0, true)).unwrap();
            table.replace(place, dice);
        }
        17 => {
            let id = ChunkId::of(&sealed(shared.chunks[0]));
            let name = id.to_string();
            // In place: the file is not made if it is not there.
            let file = fs::File::options().write(true).open(root.join("chunks").join(&name[..2]).join(&name));
            if let Ok(file) = file {
                std::os::unix::fs::FileExt::write_all_at(&file, b"rot", 0).unwrap();
                storage.scrub(id, (1 << 16) + 16).unwrap();
            }
        }
        18 => drop(storage.reverify(shared.id(), &shared.full()).unwrap()),
        _ => {
            storage.collect_unfinished().unwrap();
        }
    }
}

#[test]
fn s2_whatever_many_threads_do_no_chunk_of_a_held_share_is_missing_and_none_leaks() {
    for seed in 0..4 {
        let directory = directory();
        let (storage, table) = (open(directory.path()), Table::new());
        std::thread::scope(|threads| {
            for thread in 0..6 {
                let (storage, table, root) = (&storage, &table, directory.path());
                threads.spawn(move || {
                    let mut dice = Dice(seed * 100 + thread);
                    (1..120).for_each(|step| act(storage, root, table, &mut dice, step));
                });
            }
        });
        // What rotted after it was looked at last is found now.
        for shared in table.all() {
            storage.reverify(shared.id(), &shared.full()).unwrap();
        }
        assert_agreement(&storage, directory.path(), &table.all());
        for (share, _) in storage.gone() {
            assert!(storage.shares.get(share).is_none(), "a deleted share came back");
        }
        let before: Vec<_> = table.all().iter().map(|shared| storage.shares.get(shared.id())).collect();
        drop(storage);
        let storage = open(directory.path());
        let after: Vec<_> = table.all().iter().map(|shared| storage.shares.get(shared.id())).collect();
        let chunks = |held: Vec<Option<super::share_store::Held>>| -> Vec<Option<ChunkSet>> {
            held.into_iter().map(|held| held.map(|held| held.chunks)).collect()
        };
        assert_eq!(chunks(before), chunks(after), "a restart changes nothing");
        let deleted: HashSet<ShareId> = storage.gone().into_iter().map(|(share, _)| share).collect();
        for shared in table.all().into_iter().filter(|shared| !deleted.contains(&shared.id())) {
            storage.put_terms(shared.terms(1000, 0, true)).unwrap();
        }
        let unfinished = |id: &ChunkId| storage.chunks.holders(id).is_empty();
        assert!(files(directory.path()).keys().all(unfinished), "only what was never committed is left");
    }
}
