//! What the store keeps for audits: what was proven, and what samples are drawn from.

use async_trait::async_trait;
use parcelry_core::audit::Record;
use parcelry_core::chunk_set::ChunkSet;
use parcelry_core::geometry::ChunkIndex;
use parcelry_core::id::{ChunkId, PeerId, ShareId};
use sqlx::Row;
use sqlx::sqlite::SqliteRow;

use super::rows::{bytes, id, moment, number, sound};
use super::sqlite::SqliteStore;
use super::{Store, StoreError, manifests, replicas};

/// What a peer holds of a share, as far as is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::tracker) struct Replica {
    /// The chunks.
    pub(in crate::tracker) chunks: ChunkSet,
    /// Chunks beside them that it says to have copied although nobody ordered it.
    pub(in crate::tracker) bare: ChunkSet,
}

impl Replica {
    /// One of these chunks.
    pub(in crate::tracker) fn of(chunks: ChunkSet) -> Self {
        let bare = ChunkSet::empty(chunks.chunk_count());
        Self { chunks, bare }
    }

    /// All that it is said to have.
    pub(in crate::tracker) fn all(&self) -> ChunkSet {
        self.chunks.plus(&self.bare)
    }
}

/// The part of a store that audits need.
#[async_trait]
pub(in crate::tracker) trait ProofStore {
    /// Which chunks of a share a peer holds, if it is one of its holders.
    async fn held(&self, peer: PeerId, share: ShareId) -> Result<Option<Replica>, StoreError>;

    /// Notes that a peer says to hold these chunks of a share, too, which nobody ordered. Returns whether some are new.
    async fn add_bare(&self, peer: PeerId, share: ShareId, chunks: &ChunkSet) -> Result<bool, StoreError>;

    /// The id of a chunk. No more than a part of the manifest is read.
    async fn chunk_id(&self, share: ShareId, index: ChunkIndex) -> Result<Option<ChunkId>, StoreError>;

    /// The BLAKE3 hash of the share's manifest. What an older version kept has it when it was needed once.
    async fn digest(&self, share: ShareId) -> Result<Option<ChunkId>, StoreError>;

    /// What holders of the share have proven.
    async fn proofs(&self, share: ShareId) -> Result<Vec<(PeerId, Record)>, StoreError>;

    /// Keeps what holders have proven, or that they have nothing proven any more, and for how long the tracker has
    /// run.
    async fn save_proofs(
        &self,
        proofs: &[(PeerId, ShareId, Option<Record>)],
        lived_ms: u64,
    ) -> Result<(), StoreError>;

    /// For how long the tracker has run in its life.
    async fn lived_ms(&self) -> Result<u64, StoreError>;

    /// Notes that a share was learnt from a peer.
    async fn note_learnt(&self, share: ShareId, lived_ms: u64) -> Result<(), StoreError>;
}

#[async_trait]
impl ProofStore for SqliteStore {
    async fn held(&self, peer: PeerId, share: ShareId) -> Result<Option<Replica>, StoreError> {
        let mut connection = self.pool.acquire().await?;
        replicas::read(&mut connection, peer, share).await
    }

    async fn add_bare(&self, peer: PeerId, share: ShareId, chunks: &ChunkSet) -> Result<bool, StoreError> {
        let mut transaction = self.write().await?;
        let is_new = replicas::add_bare(&mut transaction, peer, share, chunks).await?;
        transaction.commit().await?;
        Ok(is_new)
    }

    async fn chunk_id(&self, share: ShareId, index: ChunkIndex) -> Result<Option<ChunkId>, StoreError> {
        manifests::chunk_id(&self.pool, share, index).await
    }

    async fn digest(&self, share: ShareId) -> Result<Option<ChunkId>, StoreError> {
        let select = sqlx::query("SELECT digest FROM shares WHERE id = $1 AND digest IS NOT NULL");
        let row = select.bind(bytes(share.as_bytes())).fetch_optional(&self.pool).await?;
        if let Some(row) = row {
            return id(&row, "digest").map(|digest| Some(ChunkId::from_bytes(digest)));
        }
        let Some(manifest) = self.manifest(share).await? else { return Ok(None) };
        let digest = ChunkId::of(&manifest);
        let update = sqlx::query("UPDATE shares SET digest = $2 WHERE id = $1");
        let update = update.bind(bytes(share.as_bytes())).bind(bytes(digest.as_bytes()));
        update.execute(&self.pool).await?;
        Ok(Some(digest))
    }

    async fn proofs(&self, share: ShareId) -> Result<Vec<(PeerId, Record)>, StoreError> {
        let select = sqlx::query(
            "SELECT peer, proven_since_ms, proven_steady_ms, proven_ms FROM replicas
             WHERE share = $1 AND proven_ms IS NOT NULL",
        );
        let rows = select.bind(bytes(share.as_bytes())).fetch_all(&self.pool).await?;
        let parse = |row: &SqliteRow| {
            let at = |column| row.try_get::<i64, _>(column).map(moment);
            let record = Record {
                since_ms: at("proven_since_ms")?,
                steady_ms: at("proven_steady_ms")?,
                proven_ms: at("proven_ms")?,
            };
            Ok((PeerId::from_bytes(id(row, "peer")?), record))
        };
        Ok(sound(&rows, format_args!("proofs of {share}"), parse))
    }

    async fn save_proofs(
        &self,
        proofs: &[(PeerId, ShareId, Option<Record>)],
        lived_ms: u64,
    ) -> Result<(), StoreError> {
        let mut transaction = self.write().await?;
        for (peer, share, record) in proofs {
            let update = sqlx::query(
                "UPDATE replicas SET proven_since_ms = $3, proven_steady_ms = $4, proven_ms = $5
                 WHERE share = $1 AND peer = $2",
            );
            let update = update.bind(bytes(share.as_bytes())).bind(bytes(peer.as_bytes()));
            let update = update.bind(record.map(|record| number(record.since_ms)));
            let update = update.bind(record.map(|record| number(record.steady_ms)));
            let update = update.bind(record.map(|record| number(record.proven_ms)));
            update.execute(&mut *transaction).await?;
        }
        let update = sqlx::query("UPDATE lived SET ms = $1 WHERE ms < $1").bind(number(lived_ms));
        update.execute(&mut *transaction).await?;
        transaction.commit().await?;
        Ok(())
    }

    async fn lived_ms(&self) -> Result<u64, StoreError> {
        let row = sqlx::query("SELECT max(ms) AS ms FROM lived").fetch_one(&self.pool).await?;
        Ok(row.try_get::<Option<i64>, _>("ms")?.map_or(0, moment))
    }

    async fn note_learnt(&self, share: ShareId, lived_ms: u64) -> Result<(), StoreError> {
        let update = sqlx::query("UPDATE shares SET learnt_ms = $2 WHERE id = $1 AND learnt_ms IS NULL");
        update.bind(bytes(share.as_bytes())).bind(number(lived_ms)).execute(&self.pool).await?;
        Ok(())
    }
}
