//! A tracker's database full of shares, as if it had run for a month.

use std::collections::HashMap;
use std::path::Path;
use std::str::FromStr;

use parcelry_core::chunk_set::ChunkSet;
use parcelry_core::geometry::{ChunkSize, Geometry};
use parcelry_core::id::{ChunkId, PeerId, Secret, ShareId};
use parcelry_core::manifest::{Draft, MANIFEST_HEAD_BYTES, ShareKey};
use parcelry_core::seal::{Header, ShareKeys};
use parcelry_core::terms::{SignedTerms, Terms};
use sqlx::Connection;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteSynchronous};

use crate::plan;

/// Of so many shares one is large, with a manifest of half a megabyte.
const ONE_LARGE_IN: u32 = 1000;
const CHUNKS: u32 = 8;
const CHUNKS_OF_LARGE: u32 = 16 << 10;
const CHUNK_LOG2: u8 = 20;
/// Bytes of sealed metadata: a name and some files.
const METADATA: [u8; 300] = [b' '; 300];
const DAY_MS: u64 = 24 * 3600 * 1000;
const MONTH_MS: u64 = 30 * DAY_MS;
/// A century from 1970: nothing ends while it is measured.
const NEVER_MS: u64 = 100 * 365 * DAY_MS;
/// Bytes of the parts into which the tracker's store cuts manifests.
const PART_BYTES: usize = 64 << 10;
/// Threads that make shares.
const MAKERS: u32 = 2;

/// A share as it stands in the database.
struct Made {
    share: ShareId,
    manifest: Vec<u8>,
    terms: String,
    chunks: String,
    holders: Vec<PeerId>,
}

/// What is proved of the shares: their manifests, by their digests.
pub(crate) type Manifests = HashMap<ChunkId, Box<[u8]>>;

/// Fills the database of a tracker that does not run.
pub(crate) async fn fill(directory: &Path, peers: &[PeerId], pairs: u32, blobs: &[ChunkId]) -> Manifests {
    let path = directory.join("tracker/tracker.db");
    let options = SqliteConnectOptions::from_str(path.to_str().unwrap()).unwrap();
    let options = options.synchronous(SqliteSynchronous::Off).foreign_keys(false);
    let mut connection = SqliteConnection::connect_with(&options).await.unwrap();
    let mut transaction = connection.begin().await.unwrap();
    sqlx::query("UPDATE lived SET ms = $1")
        .bind(i64::try_from(MONTH_MS).unwrap())
        .execute(&mut *transaction)
        .await
        .unwrap();
    let mut manifests = HashMap::new();
    let (shares, step) = (plan::shares(pairs), 10_000);
    for first in (0..shares).step_by(step) {
        let last = (first + u32::try_from(step).unwrap()).min(shares);
        for made in make(first..last, peers, blobs) {
            put(&mut transaction, &made).await;
            manifests.insert(ChunkId::of(&made.manifest), made.manifest.into_boxed_slice());
        }
    }
    transaction.commit().await.unwrap();
    connection.close().await.unwrap();
    manifests
}

fn make(numbers: std::ops::Range<u32>, peers: &[PeerId], blobs: &[ChunkId]) -> Vec<Made> {
    std::thread::scope(|scope| {
        let maker = |part| {
            let numbers = numbers.clone();
            scope.spawn(move || {
                let mine = numbers.filter(|number| number % MAKERS == part);
                mine.map(|number| share(number, peers, blobs)).collect::<Vec<_>>()
            })
        };
        let makers: Vec<_> = (0..MAKERS).map(maker).collect();
        makers.into_iter().flat_map(|maker| maker.join().unwrap()).collect()
    })
}

fn share(number: u32, peers: &[PeerId], blobs: &[ChunkId]) -> Made {
    let key = ShareKey::from_seed(&Secret::from_bytes(*blake3::hash(&number.to_be_bytes()).as_bytes()));
    let chunk_size = ChunkSize::from_log2(CHUNK_LOG2).unwrap();
    let chunk_count = if number.is_multiple_of(ONE_LARGE_IN) { CHUNKS_OF_LARGE } else { CHUNKS };
    let geometry = Geometry::new(u64::from(chunk_count) << CHUNK_LOG2, chunk_size).unwrap();
    let keys = ShareKeys::derive(&Secret::from_bytes([1; 32]), &[2; 32], Header { chunk_size });
    let ids: Vec<ChunkId> =
        (0..chunk_count).map(|index| blobs[(number as usize * 31 + index as usize) % blobs.len()]).collect();
    let manifest = Draft::new(&key, &keys, &[2; 32], geometry, &ids).finish(&key, &keys, &METADATA);
    let terms = Terms {
        share: key.share_id(),
        issued_ms: 1,
        expires_ms: NEVER_MS,
        replicas: 2,
        access_sha256: [7; 32],
        deleted: false,
    };
    Made {
        share: key.share_id(),
        manifest: manifest.encoded().to_vec(),
        terms: SignedTerms::sign(&key, terms).token.to_string(),
        chunks: ChunkSet::full(chunk_count).to_string(),
        holders: plan::holders(number, u32::try_from(peers.len()).unwrap())
            .map(|n| peers[n as usize])
            .to_vec(),
    }
}

async fn put(connection: &mut SqliteConnection, made: &Made) {
    let share = made.share.as_bytes().to_vec();
    let (head, rest) = made.manifest.split_at(MANIFEST_HEAD_BYTES);
    sqlx::query(
        "INSERT INTO shares (id, manifest_head, manifest_bytes, terms, terms_issued_ms, expires_ms)
         VALUES ($1, $2, $3, $4, 1, $5)",
    )
    .bind(share.clone())
    .bind(head)
    .bind(i64::try_from(made.manifest.len()).unwrap())
    .bind(&made.terms)
    .bind(i64::try_from(NEVER_MS).unwrap())
    .execute(&mut *connection)
    .await
    .unwrap();
    for (number, part) in (0_i64..).zip(rest.chunks(PART_BYTES)) {
        let insert = sqlx::query("INSERT INTO manifest_parts (share, part, bytes) VALUES ($1, $2, $3)");
        insert.bind(share.clone()).bind(number).bind(part).execute(&mut *connection).await.unwrap();
    }
    for holder in &made.holders {
        sqlx::query(
            "INSERT INTO replicas (share, peer, chunks, terms_issued_ms, proven_since_ms, proven_steady_ms, proven_ms)
             VALUES ($1, $2, $3, 1, 0, 0, $4)",
        )
        .bind(share.clone())
        .bind(holder.as_bytes().to_vec())
        .bind(&made.chunks)
        .bind(i64::try_from(MONTH_MS - 3_600_000).unwrap())
        .execute(&mut *connection)
        .await
        .unwrap();
    }
}
