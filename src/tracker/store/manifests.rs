//! Manifests in the SQLite store. They are cut into parts: SQLite reads a value whole, however little of it is wanted, and
//! the largest manifest has 64 MiB.

use parcelry_core::geometry::ChunkIndex;
use parcelry_core::id::{ChunkId, ShareId};
use parcelry_core::manifest::MANIFEST_HEAD_BYTES;
use sqlx::{Row, Sqlite, SqliteConnection, SqlitePool, Transaction};

use super::StoreError;
use super::rows::bytes;

/// Bytes of a part. The first one begins behind the head, so that no chunk's id lies in two parts.
const PART_BYTES: usize = 64 << 10;

/// The part in which a chunk's id is, and where it begins there.
const fn place_of(index: ChunkIndex) -> (usize, usize) {
    let at = 32 * index.get() as usize;
    (at / PART_BYTES, at % PART_BYTES)
}

/// Keeps a share with its manifest, without terms yet.
pub(super) async fn insert(
    transaction: &mut Transaction<'static, Sqlite>,
    share: ShareId,
    manifest: &[u8],
) -> Result<(), StoreError> {
    let (head, rest) = manifest.split_at(manifest.len().min(MANIFEST_HEAD_BYTES));
    let insert = sqlx::query(
        "INSERT INTO shares (id, manifest_head, manifest_bytes, digest, terms, terms_issued_ms, expires_ms)
         VALUES ($1, $2, $3, $4, '', -1, 0)",
    );
    let insert = insert.bind(bytes(share.as_bytes())).bind(head.to_vec());
    let insert = insert.bind(i64::try_from(manifest.len()).unwrap_or(i64::MAX));
    let insert = insert.bind(bytes(ChunkId::of(manifest).as_bytes()));
    insert.execute(&mut **transaction).await?;
    for (number, part) in (0_i64..).zip(rest.chunks(PART_BYTES)) {
        let insert = sqlx::query("INSERT INTO manifest_parts (share, part, bytes) VALUES ($1, $2, $3)");
        let insert = insert.bind(bytes(share.as_bytes())).bind(number).bind(part.to_vec());
        insert.execute(&mut **transaction).await?;
    }
    Ok(())
}

/// A share's manifest.
pub(super) async fn read(
    connection: &mut SqliteConnection,
    share: ShareId,
) -> Result<Option<Vec<u8>>, StoreError> {
    let select = sqlx::query("SELECT manifest_head, manifest_bytes FROM shares WHERE id = $1");
    let row = select.bind(bytes(share.as_bytes())).fetch_optional(&mut *connection).await?;
    let Some(row) = row else { return Ok(None) };
    let len = usize::try_from(row.try_get::<i64, _>("manifest_bytes")?).unwrap_or(0);
    let mut manifest: Vec<u8> = row.try_get("manifest_head")?;
    let select = sqlx::query("SELECT bytes FROM manifest_parts WHERE share = $1 ORDER BY part");
    for row in select.bind(bytes(share.as_bytes())).fetch_all(connection).await? {
        manifest.extend_from_slice(row.try_get("bytes")?);
    }
    if manifest.len() != len {
        return Err(StoreError::Damaged("a share's manifest"));
    }
    Ok(Some(manifest))
}

/// The id of a chunk. No more than a part of the manifest is read.
pub(super) async fn chunk_id(
    pool: &SqlitePool,
    share: ShareId,
    index: ChunkIndex,
) -> Result<Option<ChunkId>, StoreError> {
    let (part, at) = place_of(index);
    let select =
        sqlx::query("SELECT substr(bytes, $3, 32) AS id FROM manifest_parts WHERE share = $1 AND part = $2");
    let select = select.bind(bytes(share.as_bytes())).bind(i64::try_from(part).unwrap_or(i64::MAX));
    // SQLite counts from 1.
    let row = select.bind(i64::try_from(at + 1).unwrap_or(i64::MAX)).fetch_optional(pool).await?;
    row.map(|row| super::rows::id(&row, "id").map(ChunkId::from_bytes)).transpose()
}

/// Frees what a share's manifest takes but for its head, which tells the share's size.
pub(super) async fn remove(
    transaction: &mut Transaction<'static, Sqlite>,
    share: ShareId,
) -> Result<(), StoreError> {
    let delete = sqlx::query("DELETE FROM manifest_parts WHERE share = $1").bind(bytes(share.as_bytes()));
    delete.execute(&mut **transaction).await?;
    let update = sqlx::query("UPDATE shares SET manifest_bytes = length(manifest_head) WHERE id = $1");
    update.bind(bytes(share.as_bytes())).execute(&mut **transaction).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use parcelry_core::chunk_set::ChunkSet;

    use super::super::{SqliteStore, Store};
    use super::*;
    use crate::tracker::store::proofs::ProofStore;

    /// A manifest of so many chunks, of which no two bytes in a row tell the same.
    fn manifest(chunks: usize) -> Vec<u8> {
        (0_u32..).flat_map(u32::to_le_bytes).take(MANIFEST_HEAD_BYTES + 32 * chunks + 100).collect()
    }

    fn share(number: u8) -> ShareId {
        ShareId::from_bytes([number; 32])
    }

    /// Manifests of no chunks, some, exactly a part of them with what follows, and several parts.
    const CHUNKS: [usize; 5] = [0, 3, PART_BYTES / 32 - 3, PART_BYTES / 32, 5000];

    #[tokio::test]
    async fn what_an_older_version_kept_is_read_part_by_part() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("tracker.db");
        let options = sqlx::sqlite::SqliteConnectOptions::new().filename(&path).create_if_missing(true);
        let pool = SqlitePool::connect_with(options).await.unwrap();
        // As it was when a manifest was one value.
        let mut older = sqlx::migrate!("src/tracker/migrations");
        older.migrations = Cow::Owned(older.iter().filter(|step| step.version < 10).cloned().collect());
        older.run(&pool).await.unwrap();
        for (number, chunks) in (0..).zip(CHUNKS) {
            let insert = sqlx::query(
                "INSERT INTO shares (id, manifest, terms, terms_issued_ms, expires_ms) VALUES ($1, $2, '', -1, 0)",
            );
            let insert = insert.bind(share(number).as_bytes().to_vec()).bind(manifest(chunks));
            insert.execute(&pool).await.unwrap();
            let insert = sqlx::query(
                "INSERT INTO replicas (share, peer, chunks, terms_issued_ms) VALUES ($1, $1, '', 0)",
            );
            insert.bind(share(number).as_bytes().to_vec()).execute(&pool).await.unwrap();
        }
        pool.close().await;
        let store = SqliteStore::open(&path).await.unwrap();
        for (number, chunks) in (0..).zip(CHUNKS) {
            let manifest = manifest(chunks);
            assert_eq!(store.manifest(share(number)).await.unwrap().unwrap(), manifest, "{chunks} chunks");
            let known = store.share(share(number)).await.unwrap().unwrap();
            assert_eq!(known.manifest_bytes, manifest.len() as u64);
            assert_eq!(known.manifest_head, manifest[..MANIFEST_HEAD_BYTES]);
            for (nth, id) in manifest[MANIFEST_HEAD_BYTES..].chunks_exact(32).take(chunks).enumerate() {
                let index = ChunkSet::full(u32::try_from(chunks).unwrap()).nth(u32::try_from(nth).unwrap());
                let found = store.chunk_id(share(number), index.unwrap()).await.unwrap().unwrap();
                assert_eq!(found.as_bytes()[..], *id, "chunk {nth} of {chunks}");
            }
        }
        let kept = sqlx::query("SELECT count(*) AS n FROM replicas").fetch_one(&store.pool).await.unwrap();
        assert_eq!(kept.get::<i64, _>("n"), 5, "who holds them is still known");
    }
}
