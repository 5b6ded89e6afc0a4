//! Trials of a tracker on databases that were made for them: what it makes of what its peers say, prove and do not.

use std::net::Ipv4Addr;
use std::path::Path;
use std::time::Duration;

use parcelry_core::api::{
    AppliedTerms, AuditRequest, AuditResponse, Blob, HeartbeatRequest, OpenRequest, ProblemKind, Proof,
    ShareChunks, ShareSize, SwarmHealth, Task,
};
use parcelry_core::chunk_set::ChunkSet;
use parcelry_core::duration::millis;
use parcelry_core::geometry::{ChunkSize, Geometry};
use parcelry_core::id::{ChunkId, PeerId, Secret, ShareId, TrackerId};
use parcelry_core::limits::{GRANT_LIFE_MAX, WITHDRAWN_MAX};
use parcelry_core::manifest::{Draft, ShareKey};
use parcelry_core::owner::{self, Act};
use parcelry_core::proof::Prover;
use parcelry_core::registry::{Rules, Usage};
use parcelry_core::seal::{Header, ShareKeys};
use parcelry_core::terms::{SignedTerms, Terms, TermsToken};
use sqlx::sqlite::{SqliteConnectOptions, SqlitePool};

use super::simulated::SimTracker;
use super::store::conformance::registration;
use super::store::{SqliteStore, Store};
use crate::client::Authority;
use crate::clock::simulated::{Reading, set_clocks};

const RULES: Rules = Rules { heartbeat: Duration::from_secs(10), dead_after: Duration::from_secs(300) };
const USAGE: Usage = Usage { used_bytes: 0, free_bytes: 1 << 40 };
/// The wall clock's moment at which a trial begins.
const BEGAN_MS: u64 = 1_000_000_000;

fn peer(number: u8) -> PeerId {
    PeerId::from_bytes([number; 32])
}

fn key(number: u8) -> ShareKey {
    ShareKey::from_seed(&Secret::from_bytes([number; 32]))
}

fn share(number: u8) -> ShareId {
    key(number).share_id()
}

/// The chunks of every share.
fn blobs() -> [Vec<u8>; 2] {
    [1, 2].map(|number| vec![number; (1 << 16) + 16])
}

fn manifest(number: u8) -> Vec<u8> {
    let chunk_size = ChunkSize::from_log2(16).unwrap();
    let geometry = Geometry::new(2 << 16, chunk_size).unwrap();
    let keys = ShareKeys::derive(&Secret::from_bytes([1; 32]), &[2; 32], Header { chunk_size });
    let ids = blobs().map(|blob| ChunkId::of(&blob));
    let draft = Draft::new(&key(number), &keys, &[2; 32], geometry, &ids);
    draft.finish(&key(number), &keys, b"{}").encoded().to_vec()
}

fn at(now_ms: u64) {
    set_clocks(Reading { wall_ms: BEGAN_MS + now_ms, boottime_ms: now_ms });
}

/// A share of two chunks, with who holds which of them.
async fn publish(store: &SqliteStore, number: u8, replicas: u8, placement: &[(u8, ChunkSet)]) {
    let terms = Terms {
        share: share(number),
        issued_ms: BEGAN_MS,
        expires_ms: BEGAN_MS + 24 * 3_600_000,
        replicas,
        access_sha256: [0; 32],
        deleted: false,
    };
    let placement: Vec<_> =
        placement.iter().map(|(number, chunks)| (peer(*number), chunks.clone())).collect();
    let terms = SignedTerms::sign(&key(number), terms);
    store.publish(&manifest(number), &terms, &placement).await.unwrap();
}

async fn store(directory: &Path) -> SqliteStore {
    at(0);
    SqliteStore::open(&directory.join("tracker.db")).await.unwrap()
}

/// A tracker on the database in a directory, with these peers.
async fn start(directory: &Path, peers: &[u8]) -> SimTracker {
    let tracker = SimTracker::start(directory, TrackerId::from_bytes([9; 32]), RULES).await;
    for &number in peers {
        tracker.register(registration(number), USAGE).await.unwrap();
    }
    tracker
}

async fn beat(tracker: &SimTracker, number: u8, copied: Vec<ShareChunks>) -> Vec<Task> {
    let run = registration(number).run;
    let request = HeartbeatRequest { copied, ..HeartbeatRequest::new(run, USAGE) };
    tracker.heartbeat(peer(number), request, Ipv4Addr::LOCALHOST.into()).await.unwrap().tasks.known
}

/// What a peer answers that has everything.
fn prove(request: &AuditRequest) -> AuditResponse {
    let known: Vec<Vec<u8>> = blobs().into_iter().chain((0..=9).map(manifest)).collect();
    let prove = |blob: &Vec<u8>, offset| Prover::new(blob).prove(offset).map(Blob);
    let proof = |sample: &parcelry_core::api::Sample| {
        let blob = known.iter().find(|blob| ChunkId::of(blob) == sample.root);
        Proof { slice: blob.and_then(|blob| prove(blob, sample.offset)) }
    };
    AuditResponse { proofs: request.samples.iter().map(proof).collect() }
}

/// Has whom it is time to ask asked; these peers prove what they are asked, the others do not answer. Returns who was asked.
async fn audit(tracker: &SimTracker, honest: &[u8]) -> Vec<PeerId> {
    let mut asked = Vec::new();
    for audit in tracker.audits().await {
        asked.push(audit.peer());
        let answers = honest.iter().any(|&number| peer(number) == audit.peer());
        let answer = answers.then(|| prove(&audit.request()));
        tracker.take_audit(audit, answer).await;
    }
    asked
}

async fn damage(directory: &Path, change: &'static str, id: &[u8; 32]) {
    let options = SqliteConnectOptions::new().filename(directory.join("tracker.db"));
    let pool = SqlitePool::connect_with(options).await.unwrap();
    let change = sqlx::query(change).bind(id.to_vec()).execute(&pool).await.unwrap();
    assert_eq!(change.rows_affected(), 1);
    pool.close().await;
}

#[tokio::test]
async fn a_damaged_row_costs_its_share_and_no_other() {
    let directory = tempfile::tempdir().unwrap();
    let store = store(directory.path()).await;
    for number in 1..=3 {
        store.put_peer(&registration(number)).await.unwrap();
    }
    let full = ChunkSet::full(2);
    for number in 1..=6 {
        publish(&store, number, 2, &[(1, full.clone())]).await;
    }
    publish(&store, 7, 2, &[(1, full.clone()), (2, full.clone())]).await;
    for (number, change) in [
        (2, "UPDATE shares SET terms = 'v4.public.' || terms WHERE id = $1"),
        (3, "UPDATE shares SET manifest_head = x'00' WHERE id = $1"),
        (4, "UPDATE shares SET terms = x'ff' WHERE id = $1"),
        (5, "UPDATE replicas SET chunks = '?' WHERE share = $1"),
        (7, "UPDATE replicas SET chunks = x'ff' WHERE share = $1 AND peer < x'02'"),
    ] {
        damage(directory.path(), change, share(number).as_bytes()).await;
    }
    damage(directory.path(), "UPDATE peers SET registration = '{' WHERE id = $1", peer(3).as_bytes()).await;

    let tracker = start(directory.path(), &[1, 2]).await;
    tracker.round().await;
    // What it says about a share that cannot be read is passed over, and not held against it.
    let copied = ShareChunks { share: share(3), chunks: full };
    let tasks = beat(&tracker, 2, vec![copied]).await;
    let copies = tasks.iter().filter_map(|task| match task {
        Task::Copy(copy) => Some(copy.share),
        _ => None,
    });
    let mut expected = [1, 6].map(share);
    expected.sort_unstable();
    assert_eq!(copies.collect::<Vec<_>>(), expected, "what is sound is copied");
    let mut asked = audit(&tracker, &[1, 2]).await;
    asked.sort_unstable();
    assert_eq!(asked, [peer(1), peer(2)]);
}

#[tokio::test]
async fn who_answers_an_audit_is_not_asked_as_well_whether_it_can_be_reached() {
    let directory = tempfile::tempdir().unwrap();
    publish(&store(directory.path()).await, 1, 2, &[(1, ChunkSet::full(2)), (3, ChunkSet::full(2))]).await;
    let tracker = start(directory.path(), &[1, 2, 3]).await;
    tracker.round().await;
    let asked = audit(&tracker, &[1]).await;
    assert_eq!(asked, [peer(1), peer(3)]);
    at(10_000);
    assert_eq!(tracker.ask(|_| true).await, [peer(2), peer(3)], "nothing was heard of them");
    at(134_000);
    assert!(!tracker.ask(|_| true).await.contains(&peer(1)));
    at(135_000);
    assert!(tracker.ask(|_| true).await.contains(&peer(1)), "its answer was half a dead time ago");
}

#[tokio::test]
async fn s3_what_nobody_ordered_is_no_replica_until_it_is_proven() {
    let directory = tempfile::tempdir().unwrap();
    let [first, second] = [ChunkSet::range(2, 0..1), ChunkSet::range(2, 1..2)];
    let placement = [(1, first.clone()), (2, second.clone())];
    publish(&store(directory.path()).await, 1, 1, &placement).await;
    let tracker = start(directory.path(), &[1, 2]).await;
    tracker.round().await;
    audit(&tracker, &[1, 2]).await;
    let told = || vec![ShareChunks { share: share(1), chunks: second.clone() }];
    for _ in 0..2 {
        beat(&tracker, 1, told()).await;
        assert_eq!(tracker.holders(share(1)).await, [(peer(1), first.clone()), (peer(2), second.clone())]);
    }
    at(300_000);
    for number in [1, 2] {
        beat(&tracker, number, Vec::new()).await;
    }
    assert!(audit(&tracker, &[1, 2]).await.contains(&peer(1)));
    let all = ChunkSet::full(2);
    assert_eq!(tracker.holders(share(1)).await, [(peer(1), all), (peer(2), second.clone())]);
}

#[tokio::test]
async fn s13_who_has_proven_nothing_puts_no_network_under_suspicion() {
    let directory = tempfile::tempdir().unwrap();
    let store = store(directory.path()).await;
    let full = || ChunkSet::full(2);
    for number in 1..=5 {
        publish(&store, number, 2, &[(3, full()), (4, full())]).await;
    }
    publish(&store, 6, 2, &[(1, full()), (2, full())]).await;
    let tracker = start(directory.path(), &[1, 2, 3, 4]).await;
    let paused = async |beating: &[u8]| {
        for &number in beating {
            beat(&tracker, number, Vec::new()).await;
        }
        tracker.round().await;
        let SwarmHealth { paused, .. } = tracker.health().await;
        paused
    };
    assert!(!paused(&[1, 2, 3, 4]).await);
    audit(&tracker, &[1, 2]).await;
    at(60_000);
    assert!(!paused(&[1, 2]).await, "two vanished that had said much and proven nothing");
    at(120_000);
    assert!(paused(&[]).await, "now those are gone that had proven what they hold");
}

#[tokio::test]
async fn peers_that_a_grant_names_hear_of_the_end_of_its_share_whatever_they_are_known_to_hold() {
    let directory = tempfile::tempdir().unwrap();
    let store = store(directory.path()).await;
    for number in [1, 2] {
        publish(&store, number, 1, &[(1, ChunkSet::full(2))]).await;
    }
    let tracker = start(directory.path(), &[1, 2, 3]).await;
    let size = ShareSize { total_bytes: 2 << 16, chunk_bytes: 1 << 16 };
    for number in [1, 2] {
        let open = OpenRequest { share: share(number), size, replicas: 1, preferred: vec![peer(1)] };
        let owner = owner::sign(&key(number), Act::Open, TrackerId::from_bytes([9; 32]), "token");
        tracker.open(&open, Authority { grant: &"token".into(), owner: &owner }).await.unwrap();
    }
    assert_eq!(beat(&tracker, 2, Vec::new()).await, []);
    tracker.take_down(share(1)).await.unwrap();
    let terms = Terms {
        share: share(2),
        issued_ms: BEGAN_MS + 1,
        expires_ms: BEGAN_MS + 1,
        replicas: 1,
        access_sha256: [0; 32],
        deleted: true,
    };
    let deletion = SignedTerms::sign(&key(2), terms).token;
    tracker.replace_terms(share(2), &deletion).await.unwrap();
    let both = [Task::Withhold { share: share(1) }, Task::Terms { share: share(2), terms: deletion }];
    let hears = async |number, withheld: &[ShareId], applied: &[AppliedTerms]| {
        let run = registration(number).run;
        let (withheld, applied) = (withheld.to_vec(), applied.to_vec());
        let request = HeartbeatRequest { withheld, applied, ..HeartbeatRequest::new(run, USAGE) };
        let answer = tracker.heartbeat(peer(number), request, Ipv4Addr::LOCALHOST.into()).await.unwrap();
        both.iter()
            .map(|task| answer.tasks.known.iter().filter(|told| *told == task).count())
            .collect::<Vec<_>>()
    };
    let applied = |issued_ms| AppliedTerms { share: share(2), issued_ms };
    for number in 1..=3 {
        assert_eq!(hears(number, &[], &[]).await, [1, 1], "{number}");
        assert_eq!(hears(number, &[], &[applied(BEGAN_MS)]).await, [1, 1], "that were other terms");
        assert_eq!(hears(number, &[share(1)], &[applied(BEGAN_MS + 1)]).await, [0, 0], "{number}");
    }
    // Until its grant ends, a sender could have committed after the peer had said that it withholds nothing.
    at(millis(GRANT_LIFE_MAX) + 1);
    assert_eq!(hears(2, &[], &[]).await, [1, 0]);
    assert_eq!(hears(2, &[share(1)], &[]).await, [0, 0]);
    at(millis(GRANT_LIFE_MAX) + 2);
    assert_eq!(hears(2, &[], &[]).await, [0, 0]);
}

fn deletion(number: u8, issued_ms: u64) -> TermsToken {
    let terms = Terms {
        share: share(number),
        issued_ms,
        expires_ms: issued_ms,
        replicas: 1,
        access_sha256: [0; 32],
        deleted: true,
    };
    SignedTerms::sign(&key(number), terms).token
}

#[tokio::test]
async fn peers_are_told_of_an_end_until_they_confirm_the_word_that_was_kept_of_it() {
    let directory = tempfile::tempdir().unwrap();
    let store = store(directory.path()).await;
    let full = ChunkSet::full(2);
    for number in [1, 2] {
        publish(&store, number, 1, &[(2, full.clone())]).await;
    }
    let tracker = start(directory.path(), &[1, 2]).await;
    let hears = async |withheld: &[ShareId], applied: &[AppliedTerms]| {
        let (withheld, applied) = (withheld.to_vec(), applied.to_vec());
        let request =
            HeartbeatRequest { withheld, applied, ..HeartbeatRequest::new(registration(1).run, USAGE) };
        tracker.heartbeat(peer(1), request, Ipv4Addr::LOCALHOST.into()).await.unwrap().tasks.known
    };
    let told = |number| [Task::Terms { share: share(number), terms: deletion(number, BEGAN_MS + 1) }];
    let applied = |number| [AppliedTerms { share: share(number), issued_ms: BEGAN_MS + 1 }];

    // An answer got lost, and the sender says it again in other words; once of a share that nobody knows.
    for number in [1, 3] {
        for issued_ms in [1, 2] {
            let deletion = deletion(number, BEGAN_MS + issued_ms);
            tracker.withdraw(share(number), &deletion, vec![peer(1)]).await.unwrap();
        }
        assert_eq!(hears(&[], &[]).await, told(number));
        assert_eq!(hears(&[], &applied(number)).await, []);
    }

    // A peer that withholds it does not wait for its owner's deletion until the grant ends.
    let size = ShareSize { total_bytes: 2 << 16, chunk_bytes: 1 << 16 };
    let open = OpenRequest { share: share(2), size, replicas: 1, preferred: vec![peer(1)] };
    let owner = owner::sign(&key(2), Act::Open, TrackerId::from_bytes([9; 32]), "token");
    tracker.open(&open, Authority { grant: &"token".into(), owner: &owner }).await.unwrap();
    tracker.replace_terms(share(2), &deletion(2, BEGAN_MS + 1)).await.unwrap();
    assert_eq!(hears(&[share(2)], &[]).await, told(2));
    // Nor is it told for ever if the operator takes down what its owner has deleted.
    tracker.take_down(share(2)).await.unwrap();
    assert_eq!(hears(&[], &[]).await, told(2));
    assert_eq!(hears(&[], &applied(2)).await, []);
}

#[tokio::test]
async fn a_sender_deletes_only_so_many_shares_that_nobody_knows() {
    let directory = tempfile::tempdir().unwrap();
    let tracker = start(directory.path(), &[1]).await;
    let options = SqliteConnectOptions::new().filename(directory.path().join("tracker.db"));
    let pool = SqlitePool::connect_with(options).await.unwrap();
    tracker.withdraw(share(1), &deletion(1, BEGAN_MS), Vec::new()).await.unwrap();
    let fill = "WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < $1)
         INSERT INTO gone (share, terms, until_ms, token)
         SELECT randomblob(32), 'signed', until_ms, token FROM numbers, gone WHERE gone.share = $2";
    let fill = sqlx::query(fill).bind(i64::try_from(WITHDRAWN_MAX - 1).unwrap());
    fill.bind(share(1).as_bytes().to_vec()).execute(&pool).await.unwrap();
    let refused = tracker.withdraw(share(2), &deletion(2, BEGAN_MS), Vec::new()).await;
    assert_eq!(refused, Err(ProblemKind::QuotaExceeded));
    tracker.withdraw(share(1), &deletion(1, BEGAN_MS + 1), vec![peer(1)]).await.unwrap();
    assert_eq!(beat(&tracker, 1, Vec::new()).await.len(), 1, "what is noted is told to more peers");
}
