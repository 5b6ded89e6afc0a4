//! The store on SQLite: one file in the tracker's data folder, no server to run.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use async_trait::async_trait;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqliteRow, SqliteSynchronous};
use sqlx::{Row, Sqlite, Transaction};
use swarmdrop_core::api::ShareChunks;
use swarmdrop_core::chunk_set::ChunkSet;
use swarmdrop_core::id::{PeerId, ShareId};
use swarmdrop_core::manifest::MANIFEST_HEAD_BYTES;
use swarmdrop_core::quota::Charged;
use swarmdrop_core::registry::Registration;
use swarmdrop_core::terms::SignedTerms;
use swarmdrop_core::token::TokenId;

use super::charges;
use super::gone::{bury, confirm_withheld, gone, parse_gone, select_gone, taken_down, to_withhold};
use super::rows::{bytes, id, moment, number, pool_options, private_database};
use super::{Gone, InventoryPage, Published, Reconciled, Store, StoreError, StoredShare};

const CONNECTIONS: u32 = 4;
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);

/// The store in one SQLite file.
#[derive(Debug)]
pub(in crate::tracker) struct SqliteStore {
    pub(super) pool: SqlitePool,
}

impl SqliteStore {
    /// Opens the database, and makes or updates it where needed.
    pub(in crate::tracker) async fn open(path: &Path) -> Result<Self, StoreError> {
        private_database(path).map_err(sqlx::Error::Io)?;
        let options = SqliteConnectOptions::new()
            .filename(path)
            .journal_mode(SqliteJournalMode::Wal)
            // What was answered "published" must survive a power cut.
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true)
            .busy_timeout(BUSY_TIMEOUT);
        let pool = pool_options(CONNECTIONS).connect_with(options).await?;
        sqlx::migrate!("src/tracker/migrations").run(&pool).await?;
        Ok(Self { pool })
    }

    /// A write transaction takes the lock at once: upgrading later could fail half-way.
    pub(super) async fn write(&self) -> Result<Transaction<'static, Sqlite>, StoreError> {
        Ok(self.pool.begin_with("BEGIN IMMEDIATE").await?)
    }
}

#[async_trait]
impl Store for SqliteStore {
    async fn put_peer(&self, registration: &Registration) -> Result<(), StoreError> {
        let json = serde_json::to_string(registration).expect("registrations have string keys");
        sqlx::query(
            "INSERT INTO peers (id, registration) VALUES ($1, $2)
             ON CONFLICT (id) DO UPDATE SET registration = excluded.registration",
        )
        .bind(bytes(registration.id.as_bytes()))
        .bind(json)
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    async fn delete_peer(&self, peer: PeerId) -> Result<(), StoreError> {
        let delete = sqlx::query("DELETE FROM peers WHERE id = $1").bind(bytes(peer.as_bytes()));
        delete.execute(&self.pool).await?;
        Ok(())
    }

    async fn peers(&self) -> Result<Vec<Registration>, StoreError> {
        let rows = sqlx::query("SELECT registration FROM peers ORDER BY id").fetch_all(&self.pool).await?;
        let parse = |row: &SqliteRow| {
            serde_json::from_str(row.try_get("registration")?)
                .map_err(|_| StoreError::Damaged("a peer's registration"))
        };
        rows.iter().map(parse).collect()
    }

    async fn publish(
        &self,
        manifest: &[u8],
        terms: &SignedTerms,
        placement: &[(PeerId, ChunkSet)],
    ) -> Result<Published, StoreError> {
        let share = bytes(terms.terms.share.as_bytes());
        let mut transaction = self.write().await?;
        if gone(&mut transaction, terms.terms.share).await?.is_some() {
            return Ok(Published::Gone);
        }
        let known = sqlx::query("SELECT manifest FROM shares WHERE id = $1").bind(share.clone());
        if let Some(row) = known.fetch_optional(&mut *transaction).await? {
            if row.try_get::<&[u8], _>("manifest")? != manifest {
                return Ok(Published::OtherManifest);
            }
        } else {
            sqlx::query(
                "INSERT INTO shares (id, manifest, terms, terms_issued_ms, expires_ms)
                 VALUES ($1, $2, '', -1, 0)",
            )
            .bind(share.clone())
            .bind(manifest.to_vec())
            .execute(&mut *transaction)
            .await?;
        }
        update_terms(&mut transaction, terms).await?;
        for (peer, chunks) in placement {
            let before = held(&mut transaction, *peer, terms.terms.share).await?;
            // What is said here only ever adds: nobody's replica is taken away by it.
            let chunks = before.map_or_else(|| chunks.clone(), |before| before.plus(chunks));
            sqlx::query(
                "INSERT INTO replicas (share, peer, chunks, terms_issued_ms) VALUES ($1, $2, $3, $4)
                 ON CONFLICT (share, peer) DO UPDATE SET chunks = excluded.chunks",
            )
            .bind(share.clone())
            .bind(bytes(peer.as_bytes()))
            .bind(chunks.to_string())
            .bind(number(terms.terms.issued_ms))
            .execute(&mut *transaction)
            .await?;
        }
        transaction.commit().await?;
        Ok(Published::Done)
    }

    async fn share(&self, share: ShareId) -> Result<Option<StoredShare>, StoreError> {
        let select =
            "SELECT length(manifest) AS bytes, substr(manifest, 1, $2) AS head, terms, taken_down, learnt_ms
             FROM shares WHERE id = $1";
        let select = sqlx::query(select).bind(bytes(share.as_bytes()));
        let head_bytes = i64::try_from(MANIFEST_HEAD_BYTES).unwrap_or(i64::MAX);
        let row = select.bind(head_bytes).fetch_optional(&self.pool).await?;
        let parse = |row: SqliteRow| {
            Ok(StoredShare {
                manifest_bytes: u64::try_from(row.try_get::<i64, _>("bytes")?).unwrap_or(0),
                manifest_head: row.try_get("head")?,
                terms: row.try_get("terms")?,
                taken_down: row.try_get("taken_down")?,
                learnt_ms: row.try_get::<Option<i64>, _>("learnt_ms")?.map(moment),
            })
        };
        row.map(parse).transpose()
    }

    async fn manifest(&self, share: ShareId) -> Result<Option<Vec<u8>>, StoreError> {
        let select = sqlx::query("SELECT manifest FROM shares WHERE id = $1").bind(bytes(share.as_bytes()));
        let row = select.fetch_optional(&self.pool).await?;
        Ok(row.map(|row| row.try_get("manifest")).transpose()?)
    }

    async fn holders(&self, share: ShareId) -> Result<Vec<(PeerId, ChunkSet)>, StoreError> {
        let select = sqlx::query("SELECT peer, chunks FROM replicas WHERE share = $1 ORDER BY peer");
        let rows = select.bind(bytes(share.as_bytes())).fetch_all(&self.pool).await?;
        let parse = |row: &SqliteRow| {
            let chunks = ChunkSet::parse(row.try_get("chunks")?);
            Ok((PeerId::from_bytes(id(row, "peer")?), chunks.ok_or(StoreError::Damaged("a set of chunks"))?))
        };
        rows.iter().map(parse).collect()
    }

    async fn reconcile(&self, peer: PeerId, page: InventoryPage<'_>) -> Result<Reconciled, StoreError> {
        let mut transaction = self.write().await?;
        let mut outcome = Reconciled::default();
        let first = page.after.map_or(vec![], |share| bytes(share.as_bytes()));
        let last = page.shares.last().filter(|_| !page.last);
        let last = last.map_or(vec![255; 33], |page| bytes(page.share.as_bytes()));
        let select =
            sqlx::query("SELECT share, chunks FROM replicas WHERE peer = $1 AND share > $2 AND share <= $3");
        let rows = select.bind(bytes(peer.as_bytes())).bind(first).bind(last);
        outcome.withheld = taken_down(&mut transaction, page.shares).await?;
        let mut before = BTreeMap::new();
        for row in rows.fetch_all(&mut *transaction).await? {
            before.insert(ShareId::from_bytes(id(&row, "share")?), row.try_get::<String, _>("chunks")?);
        }
        for ShareChunks { share, chunks } in page.shares {
            if before.remove(share).is_some_and(|known| known == chunks.to_string()) {
                continue;
            }
            match gone(&mut transaction, *share).await? {
                Some(Gone::Deleted(terms)) => {
                    outcome.deleted.push((*share, terms));
                    continue;
                }
                // Its bytes go with the time of its terms.
                Some(Gone::TakenDown) => continue,
                None => {}
            }
            let known = sqlx::query("SELECT 1 FROM shares WHERE id = $1").bind(bytes(share.as_bytes()));
            if known.fetch_optional(&mut *transaction).await?.is_none() {
                outcome.unknown.push(*share);
                continue;
            }
            put_replica(&mut transaction, peer, *share, chunks).await?;
            outcome.changed.push(*share);
        }
        for share in before.into_keys() {
            let delete = sqlx::query("DELETE FROM replicas WHERE share = $1 AND peer = $2");
            let delete = delete.bind(bytes(share.as_bytes())).bind(bytes(peer.as_bytes()));
            delete.execute(&mut *transaction).await?;
            outcome.changed.push(share);
        }
        transaction.commit().await?;
        Ok(outcome)
    }

    async fn add_chunks(&self, peer: PeerId, share: ShareId, chunks: &ChunkSet) -> Result<(), StoreError> {
        let mut transaction = self.write().await?;
        let known = sqlx::query("SELECT 1 FROM shares WHERE id = $1").bind(bytes(share.as_bytes()));
        if known.fetch_optional(&mut *transaction).await?.is_none() {
            return Ok(());
        }
        let held = held(&mut transaction, peer, share).await?;
        let all = held.map_or_else(|| chunks.clone(), |held| chunks.plus(&held));
        put_replica(&mut transaction, peer, share, &all).await?;
        transaction.commit().await?;
        Ok(())
    }

    async fn remove_chunks(
        &self,
        peer: PeerId,
        share: ShareId,
        chunks: &ChunkSet,
        left: bool,
    ) -> Result<(), StoreError> {
        let mut transaction = self.write().await?;
        let Some(held) = held(&mut transaction, peer, share).await? else { return Ok(()) };
        if held.chunk_count() != chunks.chunk_count() {
            return Ok(());
        }
        let kept = held.minus(chunks);
        let delete = left && kept.is_empty();
        let change = if delete {
            sqlx::query("DELETE FROM replicas WHERE share = $1 AND peer = $2")
        } else {
            sqlx::query("UPDATE replicas SET chunks = $3 WHERE share = $1 AND peer = $2")
        };
        let change = change.bind(bytes(share.as_bytes())).bind(bytes(peer.as_bytes()));
        let change = if delete { change } else { change.bind(kept.to_string()) };
        change.execute(&mut *transaction).await?;
        transaction.commit().await?;
        Ok(())
    }

    async fn take_down(&self, share: ShareId, until_ms: u64) -> Result<bool, StoreError> {
        let mut transaction = self.write().await?;
        let update = sqlx::query("UPDATE shares SET taken_down = 1 WHERE id = $1");
        let update = update.bind(bytes(share.as_bytes())).execute(&mut *transaction).await?;
        if update.rows_affected() == 0 {
            return Ok(false);
        }
        bury(&mut transaction, share, "", until_ms, None).await?;
        transaction.commit().await?;
        Ok(true)
    }

    async fn put_deletion(
        &self,
        terms: &SignedTerms,
        until_ms: u64,
        token: Option<TokenId>,
    ) -> Result<bool, StoreError> {
        let share = terms.terms.share;
        let mut transaction = self.write().await?;
        if matches!(gone(&mut transaction, share).await?, Some(Gone::Deleted(_))) {
            return Ok(false);
        }
        bury(&mut transaction, share, &terms.token, until_ms, token).await?;
        // Later than any terms that a peer may have confirmed: it is sent to all that hold something.
        sqlx::query("UPDATE shares SET terms = $2, terms_issued_ms = $3 WHERE id = $1")
            .bind(bytes(share.as_bytes()))
            .bind(terms.token.clone())
            .bind(i64::MAX)
            .execute(&mut *transaction)
            .await?;
        transaction.commit().await?;
        Ok(true)
    }

    async fn charged_deletions(&self, token: TokenId) -> Result<u64, StoreError> {
        charges::charged_deletions(&self.pool, token).await
    }

    async fn gone(&self, share: ShareId) -> Result<Option<Gone>, StoreError> {
        let row = select_gone(share).fetch_optional(&self.pool).await?;
        row.as_ref().map(parse_gone).transpose()
    }

    async fn put_terms(&self, terms: &SignedTerms) -> Result<bool, StoreError> {
        let mut transaction = self.write().await?;
        if gone(&mut transaction, terms.terms.share).await?.is_some() {
            return Ok(false);
        }
        let newer = update_terms(&mut transaction, terms).await?;
        transaction.commit().await?;
        Ok(newer)
    }

    async fn unconfirmed_terms(
        &self,
        peer: PeerId,
        limit: usize,
    ) -> Result<Vec<(ShareId, String)>, StoreError> {
        let rows = sqlx::query(
            "SELECT shares.id, shares.terms FROM replicas JOIN shares ON shares.id = replicas.share
             WHERE replicas.peer = $1 AND replicas.terms_issued_ms < shares.terms_issued_ms
             ORDER BY shares.id LIMIT $2",
        )
        .bind(bytes(peer.as_bytes()))
        .bind(i64::try_from(limit).unwrap_or(i64::MAX))
        .fetch_all(&self.pool)
        .await?;
        let parse = |row: &SqliteRow| Ok((ShareId::from_bytes(id(row, "id")?), row.try_get("terms")?));
        rows.iter().map(parse).collect()
    }

    async fn confirm_terms(&self, peer: PeerId, share: ShareId, issued_ms: u64) -> Result<(), StoreError> {
        let is_told = match self.gone(share).await? {
            // Of earlier terms it may have said so before the deletion was known.
            Some(Gone::Deleted(token)) => {
                SignedTerms::verify(&token, share).is_ok_and(|deletion| deletion.terms.issued_ms == issued_ms)
            }
            Some(Gone::TakenDown) | None => false,
        };
        if is_told {
            sqlx::query("DELETE FROM replicas WHERE share = $1 AND peer = $2")
                .bind(bytes(share.as_bytes()))
                .bind(bytes(peer.as_bytes()))
                .execute(&self.pool)
                .await?;
            return Ok(());
        }
        sqlx::query(
            "UPDATE replicas SET terms_issued_ms = $3
             WHERE share = $1 AND peer = $2 AND terms_issued_ms < $3",
        )
        .bind(bytes(share.as_bytes()))
        .bind(bytes(peer.as_bytes()))
        .bind(number(issued_ms))
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    async fn to_withhold(&self, peer: PeerId, limit: usize) -> Result<Vec<ShareId>, StoreError> {
        to_withhold(&self.pool, peer, limit).await
    }

    async fn confirm_withheld(&self, peer: PeerId, share: ShareId) -> Result<(), StoreError> {
        confirm_withheld(&self.pool, peer, share).await
    }

    async fn forget_expired(&self, ended_ms: u64, now_ms: u64) -> Result<u64, StoreError> {
        let gone = sqlx::query("DELETE FROM gone WHERE until_ms < $1").bind(number(now_ms));
        gone.execute(&self.pool).await?;
        let delete = sqlx::query("DELETE FROM shares WHERE expires_ms < $1").bind(number(ended_ms));
        Ok(delete.execute(&self.pool).await?.rows_affected())
    }

    async fn expired_between(
        &self,
        from_ms: u64,
        to_ms: u64,
        limit: usize,
    ) -> Result<Vec<ShareId>, StoreError> {
        let select = "SELECT id FROM shares
             WHERE expires_ms >= $1 AND expires_ms < $2 AND taken_down = 0 ORDER BY expires_ms, id LIMIT $3";
        let select = sqlx::query(select).bind(number(from_ms)).bind(number(to_ms));
        let rows = select.bind(i64::try_from(limit).unwrap_or(i64::MAX)).fetch_all(&self.pool).await?;
        rows.iter().map(|row| id(row, "id").map(ShareId::from_bytes)).collect()
    }

    async fn shares_after(&self, after: Option<ShareId>, limit: usize) -> Result<Vec<ShareId>, StoreError> {
        let after = after.map_or(vec![], |share| bytes(share.as_bytes()));
        let select = sqlx::query("SELECT id FROM shares WHERE id > $1 ORDER BY id LIMIT $2").bind(after);
        let rows = select.bind(i64::try_from(limit).unwrap_or(i64::MAX)).fetch_all(&self.pool).await?;
        rows.iter().map(|row| id(row, "id").map(ShareId::from_bytes)).collect()
    }

    async fn shares_of(&self, peer: PeerId) -> Result<Vec<ShareId>, StoreError> {
        let select = sqlx::query("SELECT share FROM replicas WHERE peer = $1 ORDER BY share");
        let rows = select.bind(bytes(peer.as_bytes())).fetch_all(&self.pool).await?;
        rows.iter().map(|row| id(row, "share").map(ShareId::from_bytes)).collect()
    }

    async fn replica_counts(&self) -> Result<Vec<(PeerId, u64)>, StoreError> {
        let select = "SELECT peer, count(*) AS n FROM replicas GROUP BY peer";
        let rows = sqlx::query(select).fetch_all(&self.pool).await?;
        let parse = |row: &SqliteRow| {
            let count = u64::try_from(row.try_get::<i64, _>("n")?).unwrap_or(0);
            Ok((PeerId::from_bytes(id(row, "peer")?), count))
        };
        rows.iter().map(parse).collect()
    }

    async fn all_holders(&self) -> Result<Vec<PeerId>, StoreError> {
        let rows = sqlx::query("SELECT DISTINCT peer FROM replicas").fetch_all(&self.pool).await?;
        rows.iter().map(|row| id(row, "peer").map(PeerId::from_bytes)).collect()
    }

    async fn set_draining(&self, peer: PeerId, draining: bool) -> Result<(), StoreError> {
        let change = if draining {
            sqlx::query("INSERT INTO draining (peer) VALUES ($1) ON CONFLICT (peer) DO NOTHING")
        } else {
            sqlx::query("DELETE FROM draining WHERE peer = $1")
        };
        change.bind(bytes(peer.as_bytes())).execute(&self.pool).await?;
        Ok(())
    }

    async fn draining(&self) -> Result<Vec<PeerId>, StoreError> {
        let rows = sqlx::query("SELECT peer FROM draining").fetch_all(&self.pool).await?;
        rows.iter().map(|row| id(row, "peer").map(PeerId::from_bytes)).collect()
    }

    async fn charge(&self, share: ShareId, token: TokenId, bytes: u64) -> Result<(), StoreError> {
        charges::charge(&self.pool, share, token, bytes).await
    }

    async fn charged(&self, token: TokenId, beside: ShareId, now_ms: u64) -> Result<Charged, StoreError> {
        charges::charged(&self.pool, token, beside, now_ms).await
    }

    async fn charged_to(&self, share: ShareId) -> Result<Option<TokenId>, StoreError> {
        charges::charged_to(&self.pool, share).await
    }

    async fn share_count(&self) -> Result<u64, StoreError> {
        let row = sqlx::query("SELECT count(*) AS n FROM shares").fetch_one(&self.pool).await?;
        Ok(u64::try_from(row.try_get::<i64, _>("n")?).unwrap_or(0))
    }
}

async fn held(
    transaction: &mut Transaction<'static, Sqlite>,
    peer: PeerId,
    share: ShareId,
) -> Result<Option<ChunkSet>, StoreError> {
    let select = sqlx::query("SELECT chunks FROM replicas WHERE share = $1 AND peer = $2");
    let select = select.bind(bytes(share.as_bytes())).bind(bytes(peer.as_bytes()));
    let Some(row) = select.fetch_optional(&mut **transaction).await? else { return Ok(None) };
    ChunkSet::parse(row.try_get("chunks")?).map(Some).ok_or(StoreError::Damaged("a set of chunks"))
}

async fn put_replica(
    transaction: &mut Transaction<'static, Sqlite>,
    peer: PeerId,
    share: ShareId,
    chunks: &ChunkSet,
) -> Result<(), StoreError> {
    // It is not known which terms the peer has, nor whether it withholds the share: it is told anew.
    let insert = sqlx::query(
        "INSERT INTO replicas (share, peer, chunks, terms_issued_ms) VALUES ($1, $2, $3, -1)
         ON CONFLICT (share, peer) DO UPDATE SET chunks = excluded.chunks, terms_issued_ms = -1, withheld = 0",
    );
    let insert = insert.bind(bytes(share.as_bytes())).bind(bytes(peer.as_bytes())).bind(chunks.to_string());
    insert.execute(&mut **transaction).await?;
    Ok(())
}

async fn update_terms(
    transaction: &mut Transaction<'static, Sqlite>,
    terms: &SignedTerms,
) -> Result<bool, StoreError> {
    let update = sqlx::query(
        "UPDATE shares SET terms = $2, terms_issued_ms = $3, expires_ms = $4
         WHERE id = $1 AND terms_issued_ms < $3",
    )
    .bind(bytes(terms.terms.share.as_bytes()))
    .bind(terms.token.clone())
    .bind(number(terms.terms.issued_ms))
    .bind(number(terms.terms.expires_ms));
    Ok(update.execute(&mut **transaction).await?.rows_affected() > 0)
}

#[cfg(test)]
mod tests {
    use super::super::conformance;
    use super::*;
    use sqlx::Connection;

    #[tokio::test]
    async fn sqlite_conforms() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tracker.db");
        conformance::run(&SqliteStore::open(&path).await.unwrap()).await;
    }

    #[tokio::test]
    async fn what_was_stored_survives_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tracker.db");
        let registration = conformance::registration(1);
        SqliteStore::open(&path).await.unwrap().put_peer(&registration).await.unwrap();
        let peers = SqliteStore::open(&path).await.unwrap().peers().await.unwrap();
        assert_eq!(peers, [registration]);
    }

    #[tokio::test]
    async fn b1_a_connection_whose_transaction_did_not_end_is_not_used_again() {
        let folder = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(&folder.path().join("tracker.db")).await.unwrap();
        for _ in 0..2 * CONNECTIONS {
            let mut connection = store.pool.acquire().await.unwrap();
            std::mem::forget(connection.begin_with("BEGIN IMMEDIATE").await.unwrap());
        }
        store.write().await.unwrap().commit().await.unwrap();
        store.put_peer(&conformance::registration(1)).await.unwrap();
    }

    #[tokio::test]
    async fn a_file_that_is_no_database_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tracker.db");
        std::fs::write(&path, [7; 4096]).unwrap();
        assert!(SqliteStore::open(&path).await.is_err());
    }
}
