//! A test: what the tokens of an invite are charged with at a peer's store.

use std::fs;
use std::sync::Barrier;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, UNIX_EPOCH};

use parcelry_core::api::{Blob, CommitRequest, KnownChunks, OfferRequest, ProblemKind, ShareSize};
use parcelry_core::id::{ChunkId, ShareId};
use parcelry_core::limits::{MANIFEST_RESERVE_BYTES, ORPHAN_AGE};
use parcelry_core::token::TokenId;

use super::Storage;
use super::arrivals::Under;
use super::contention::{Shared, directory, open, sealed};
use crate::clock;

#[test]
fn s11_what_a_token_has_at_a_peer_is_bounded_published_or_not_also_after_a_restart() {
    let directory = directory();
    let shares = [1, 2, 3].map(|number| Shared::new(u64::from(number), vec![number]));
    // Twice the quota are two chunks, and what is reserved beside them for their manifests.
    let quota_bytes = Some(sealed(1).len() as u64 + 2 * MANIFEST_RESERVE_BYTES);
    let under = |token| Under { token: Some(TokenId::from_bytes([token; 8])), quota_bytes, ..Under::NOBODY };
    let request = |shared: &Shared| CommitRequest {
        manifest: Blob(shared.manifest.encoded().to_vec()),
        terms: shared.terms(1, 3_600_000, false).token,
        chunks: shared.full(),
    };
    let commit = |storage: &Storage, shared: &Shared, token| {
        shared.offer(storage);
        shared.send(storage, &shared.full());
        storage.commit_under(under(token), shared.id(), request(shared)).map_err(|error| error.kind())
    };
    let offer = |storage: &Storage, shared: &Shared, token| {
        let geometry = shared.manifest.geometry();
        let size = ShareSize { total_bytes: geometry.total(), chunk_bytes: geometry.chunk_size().bytes() };
        let request = OfferRequest { size, chunks: shared.full(), known: Vec::new() };
        storage.offer_under(under(token), shared.id(), &request).map(drop).map_err(|error| error.kind())
    };
    let storage = open(directory.path());
    assert_eq!(offer(&storage, &shares[0], 1), Ok(()));
    assert_eq!(offer(&storage, &shares[1], 1), Ok(()));
    assert_eq!(offer(&storage, &shares[2], 1), Err(ProblemKind::QuotaExceeded), "room is reserved for two");
    for shared in &shares[..2] {
        assert!(commit(&storage, shared, 1).unwrap().is_empty());
        assert!(commit(&storage, shared, 1).unwrap().is_empty(), "again, it is the same");
    }
    for storage in [storage, open(directory.path())] {
        assert_eq!(offer(&storage, &shares[2], 1), Err(ProblemKind::QuotaExceeded));
        assert_eq!(commit(&storage, &shares[2], 1), Err(ProblemKind::QuotaExceeded));
        assert_eq!(offer(&storage, &shares[2], 2), Ok(()), "another invite has its own");
        storage.end_copy(shares[2].id());
    }
    let storage = open(directory.path());
    storage.put_terms(shares[0].terms(2, 0, true)).unwrap();
    assert!(commit(&storage, &shares[2], 1).unwrap().is_empty());
}

/// Who sends and never commits fills no more of a peer than who commits, however often he begins anew.
#[test]
fn s11_what_was_sent_and_never_committed_is_charged_until_it_is_collected() {
    let directory = directory();
    let shares = [1, 2, 3].map(|number| Shared::new(u64::from(number), vec![number]));
    let token = TokenId::from_bytes([1; 8]);
    let chunk_bytes = sealed(1).len() as u64;
    // Twice the quota are two chunks, and what is reserved beside them for their manifests.
    let quota_bytes = Some(chunk_bytes + 2 * MANIFEST_RESERVE_BYTES);
    let under = Under { token: Some(token), quota_bytes, budget_bytes: chunk_bytes };
    let offer = |storage: &Storage, shared: &Shared, known: Vec<KnownChunks>| {
        let geometry = shared.manifest.geometry();
        let size = ShareSize { total_bytes: geometry.total(), chunk_bytes: geometry.chunk_size().bytes() };
        let request = OfferRequest { size, chunks: shared.full(), known };
        storage.offer_under(under, shared.id(), &request).map(drop).map_err(|error| error.kind())
    };
    let send = |storage: &Storage, shared: &Shared, number: u8| {
        let bytes = sealed(number);
        let is_asked_for = storage.admit(shared.id(), ChunkId::of(&bytes), bytes.len() as u64);
        is_asked_for.is_ok() && storage.put_whole(shared.id(), ChunkId::of(&bytes), &bytes).is_ok()
    };
    let storage = open(directory.path());
    for (shared, number) in [(&shares[0], 1), (&shares[1], 2)] {
        assert_eq!(offer(&storage, shared, Vec::new()), Ok(()));
        assert!(send(&storage, shared, number));
    }
    assert_eq!(offer(&storage, &shares[2], Vec::new()), Err(ProblemKind::QuotaExceeded));
    // Nobody goes on with them.
    storage.uploads.lock().clear();
    for storage in [storage, open(directory.path())] {
        assert_eq!(offer(&storage, &shares[2], Vec::new()), Err(ProblemKind::QuotaExceeded));
        assert!(!send(&storage, &shares[0], 4), "without an offer nothing comes");
        // What is here already is no second time.
        let ids = Blob(ChunkId::of(&sealed(1)).as_bytes().to_vec());
        let known = vec![KnownChunks { first_chunk: 0, ids }];
        assert_eq!(offer(&storage, &shares[0], known), Ok(()));
        assert!(!send(&storage, &shares[0], 4), "all of it is here");
        assert_eq!(offer(&storage, &shares[0], Vec::new()), Err(ProblemKind::QuotaExceeded));
        storage.uploads.lock().clear();
    }
    let marks = directory.path().join("uploads");
    for file in fs::read_dir(&marks).unwrap() {
        let long_ago =
            UNIX_EPOCH + Duration::from_millis(clock::now_ms()) - ORPHAN_AGE - Duration::from_secs(60);
        let file = fs::File::options().write(true).open(file.unwrap().path()).unwrap();
        file.set_modified(long_ago).unwrap();
    }
    let storage = open(directory.path());
    assert_eq!(storage.collect_unfinished().unwrap(), 2);
    assert_eq!(fs::read_dir(&marks).unwrap().count(), 0);
    assert_eq!(offer(&storage, &shares[2], Vec::new()), Ok(()));
    assert!(send(&storage, &shares[2], 3));
}

/// Offers that come at once are weighed one after the other.
#[test]
fn s11_offers_at_once_reserve_no_more_than_one_after_the_other() {
    let directory = directory();
    let storage = open(directory.path());
    // Room for two of the eight offers.
    let quota_bytes = Some(sealed(1).len() as u64 + 2 * MANIFEST_RESERVE_BYTES);
    let under = Under { token: Some(TokenId::from_bytes([1; 8])), quota_bytes, ..Under::NOBODY };
    let shares: Vec<Shared> = (0..8).map(|number| Shared::new(number, vec![1])).collect();
    // Many times: a race is seldom lost.
    for _ in 0..200 {
        let (reserved, start) = (AtomicU32::new(0), Barrier::new(shares.len()));
        std::thread::scope(|scope| {
            for shared in &shares {
                let (storage, reserved, start) = (&storage, &reserved, &start);
                scope.spawn(move || {
                    let geometry = shared.manifest.geometry();
                    let size = ShareSize {
                        total_bytes: geometry.total(),
                        chunk_bytes: geometry.chunk_size().bytes(),
                    };
                    let request = OfferRequest { size, chunks: shared.full(), known: Vec::new() };
                    start.wait();
                    let is_reserved = storage.offer_under(under, shared.id(), &request).is_ok();
                    reserved.fetch_add(u32::from(is_reserved), Ordering::Relaxed);
                });
            }
        });
        assert_eq!(reserved.into_inner(), 2);
        storage.uploads.lock().clear();
    }
}

/// What is counted while a chunk comes is charged to who sends it, or is not seen yet.
#[test]
fn s11_who_looks_while_a_chunk_comes_sees_whom_it_is_charged_to() {
    let directory = directory();
    let storage = open(directory.path());
    let none = ShareId::from_bytes([0; 32]);
    // Chunks that are not here: with them the mark takes a while to go through.
    let others: Vec<ChunkId> = (0..300_u32).map(|number| ChunkId::of(&number.to_be_bytes())).collect();
    // Many times: a race is seldom lost.
    for number in 0..200_u64 {
        let (shared, token) = (Shared::new(number, vec![1]), TokenId::from_bytes(number.to_be_bytes()));
        let mut bytes = sealed(1);
        bytes[..8].copy_from_slice(&number.to_be_bytes());
        let geometry = shared.manifest.geometry();
        let size = ShareSize { total_bytes: geometry.total(), chunk_bytes: geometry.chunk_size().bytes() };
        let request = OfferRequest { size, chunks: shared.full(), known: Vec::new() };
        let under = Under { token: Some(token), ..Under::NOBODY };
        storage.offer_under(under, shared.id(), &request).unwrap();
        storage.marks.add(shared.id(), &others).unwrap();
        std::thread::scope(|scope| {
            let putting =
                scope.spawn(|| storage.put_whole(shared.id(), ChunkId::of(&bytes), &bytes).unwrap());
            while !putting.is_finished() {
                storage.count_unfinished_of(shared.id()).unwrap();
                let unfinished = storage.unfinished.lock();
                let charged: u64 = unfinished.of_token(token, none).map(|(_, bytes)| bytes).sum();
                assert_eq!(charged, unfinished.bytes(shared.id()));
            }
        });
        storage.uploads.lock().clear();
    }
}

/// Who names what he sent again and again, or what came for another share, may not send so much more.
#[test]
fn s11_what_is_named_twice_makes_no_room() {
    let directory = directory();
    let storage = open(directory.path());
    let (mine, other) = (Shared::new(1, vec![1, 2]), Shared::new(2, vec![100]));
    let chunk_bytes = sealed(1).len() as u64;
    let under = Under { budget_bytes: chunk_bytes, ..Under::NOBODY };
    other.offer(&storage);
    other.send(&storage, &other.full());
    // A chunk of his own, and one that came for another share.
    for named in [1, 100] {
        let mut taken = 0;
        for number in 1..=10 {
            let geometry = mine.manifest.geometry();
            let size =
                ShareSize { total_bytes: geometry.total(), chunk_bytes: geometry.chunk_size().bytes() };
            let ids = Blob(ChunkId::of(&sealed(named)).as_bytes().to_vec());
            let known = vec![KnownChunks { first_chunk: 0, ids }; 10];
            let request = OfferRequest { size, chunks: mine.full(), known };
            let bytes = sealed(number + named);
            taken += u32::from(
                storage.offer_under(under, mine.id(), &request).is_ok()
                    && storage.put_whole(mine.id(), ChunkId::of(&bytes), &bytes).is_ok(),
            );
        }
        assert!(taken <= 3, "{taken} chunks by naming {named}");
    }
}
