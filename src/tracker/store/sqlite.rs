//! The store on SQLite: one file in the tracker's data directory, no server to run.

use std::path::Path;
use std::time::Duration;

use async_trait::async_trait;
use parcelry_core::chunk_set::ChunkSet;
use parcelry_core::id::{PeerId, ShareId};
use parcelry_core::quota::Charged;
use parcelry_core::registry::Registration;
use parcelry_core::terms::{SignedTerms, TermsToken};
use parcelry_core::token::TokenId;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqliteRow, SqliteSynchronous};
use sqlx::{Row, Sqlite, Transaction};

use super::gone::{bury, confirm_withheld, gone, parse_gone, select_gone, to_withhold};
use super::rows::{bytes, id, moment, number, pool_options, private_database, sound};
use super::{Gone, InventoryPage, Published, Reconciled, Store, StoreError, StoredShare};
use super::{charges, manifests, replicas};

const CONNECTIONS: u32 = 4;
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);
/// The newest terms of shares of which a peer holds something and does not know them.
const UNCONFIRMED: &str =
    "SELECT shares.id, shares.terms FROM replicas JOIN shares ON shares.id = replicas.share
    WHERE replicas.peer = $1 AND replicas.untold = 1 ORDER BY replicas.share LIMIT $2";

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
        Ok(sound(&rows, "registered peers", parse))
    }

    async fn publish(
        &self,
        manifest: &[u8],
        terms: &SignedTerms,
        placement: &[(PeerId, ChunkSet)],
    ) -> Result<Published, StoreError> {
        let mut transaction = self.write().await?;
        if gone(&mut transaction, terms.share).await?.is_some() {
            return Ok(Published::Gone);
        }
        match manifests::read(&mut transaction, terms.share).await? {
            Some(known) if known != manifest => return Ok(Published::OtherManifest),
            Some(_) => {}
            None => manifests::insert(&mut transaction, terms.share, manifest).await?,
        }
        update_terms(&mut transaction, terms).await?;
        for placed in placement {
            replicas::place(&mut transaction, placed, terms.share, number(terms.issued_ms)).await?;
        }
        transaction.commit().await?;
        Ok(Published::Done)
    }

    async fn share(&self, share: ShareId) -> Result<Option<StoredShare>, StoreError> {
        let select =
            "SELECT manifest_bytes, manifest_head, terms, taken_down, learnt_ms FROM shares WHERE id = $1";
        let select = sqlx::query(select).bind(bytes(share.as_bytes()));
        let row = select.fetch_optional(&self.pool).await?;
        let parse = |row: SqliteRow| {
            Ok(StoredShare {
                manifest_bytes: moment(row.try_get("manifest_bytes")?),
                manifest_head: row.try_get("manifest_head")?,
                terms: row.try_get::<String, _>("terms")?.into(),
                taken_down: row.try_get("taken_down")?,
                learnt_ms: row.try_get::<Option<i64>, _>("learnt_ms")?.map(moment),
            })
        };
        row.map(parse).transpose()
    }

    async fn manifest(&self, share: ShareId) -> Result<Option<Vec<u8>>, StoreError> {
        manifests::read(&mut *self.pool.begin().await?, share).await
    }

    async fn holders(&self, share: ShareId) -> Result<Vec<(PeerId, ChunkSet)>, StoreError> {
        let select = sqlx::query("SELECT peer, chunks FROM replicas WHERE share = $1 ORDER BY peer");
        let rows = select.bind(bytes(share.as_bytes())).fetch_all(&self.pool).await?;
        let parse = |row: &SqliteRow| {
            let chunks = ChunkSet::parse(row.try_get("chunks")?);
            Ok((PeerId::from_bytes(id(row, "peer")?), chunks.ok_or(StoreError::Damaged("a set of chunks"))?))
        };
        Ok(sound(&rows, format_args!("holders of {share}"), parse))
    }

    async fn reconcile(&self, peer: PeerId, page: InventoryPage<'_>) -> Result<Reconciled, StoreError> {
        let mut transaction = self.write().await?;
        let outcome = replicas::reconcile(&mut transaction, peer, page).await?;
        transaction.commit().await?;
        Ok(outcome)
    }

    async fn add_chunks(&self, peer: PeerId, share: ShareId, chunks: &ChunkSet) -> Result<(), StoreError> {
        let mut transaction = self.write().await?;
        replicas::add(&mut transaction, peer, share, chunks).await?;
        transaction.commit().await?;
        Ok(())
    }

    async fn grow(&self, peer: PeerId, share: ShareId, proven: &ChunkSet) -> Result<bool, StoreError> {
        let mut transaction = self.write().await?;
        let is_grown = replicas::grow(&mut transaction, peer, share, proven).await?;
        transaction.commit().await?;
        Ok(is_grown)
    }

    async fn remove_chunks(
        &self,
        peer: PeerId,
        share: ShareId,
        chunks: &ChunkSet,
        left: bool,
    ) -> Result<(), StoreError> {
        let mut transaction = self.write().await?;
        replicas::remove(&mut transaction, peer, share, chunks, left).await?;
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
        let share = terms.share;
        let mut transaction = self.write().await?;
        if gone(&mut transaction, share).await?.is_some_and(|known| known.is_sound_deletion(share)) {
            return Ok(false);
        }
        bury(&mut transaction, share, &terms.token, until_ms, token).await?;
        // Later than any terms that a peer may have confirmed: it is sent to all that hold something.
        sqlx::query("UPDATE shares SET terms = $2, terms_issued_ms = $3 WHERE id = $1")
            .bind(bytes(share.as_bytes()))
            .bind(terms.token.to_string())
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
        if gone(&mut transaction, terms.share).await?.is_some() {
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
    ) -> Result<Vec<(ShareId, TermsToken)>, StoreError> {
        let rows = sqlx::query(UNCONFIRMED)
            .bind(bytes(peer.as_bytes()))
            .bind(i64::try_from(limit).unwrap_or(i64::MAX))
            .fetch_all(&self.pool)
            .await?;
        let parse = |row: &SqliteRow| {
            let terms = row.try_get::<String, _>("terms")?;
            Ok((ShareId::from_bytes(id(row, "id")?), terms.into()))
        };
        Ok(sound(&rows, format_args!("terms for {peer}"), parse))
    }

    async fn confirm_terms(&self, peer: PeerId, share: ShareId, issued_ms: u64) -> Result<(), StoreError> {
        let is_told = match self.gone(share).await? {
            // Of earlier terms it may have said so before the deletion was known.
            Some(Gone::Deleted(token)) => {
                SignedTerms::verify(&token, share).is_ok_and(|deletion| deletion.issued_ms == issued_ms)
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
        Ok(sound(&rows, "shares", |row| id(row, "id").map(ShareId::from_bytes)))
    }

    async fn shares_after(&self, after: Option<ShareId>, limit: usize) -> Result<Vec<ShareId>, StoreError> {
        let after = after.map_or(vec![], |share| bytes(share.as_bytes()));
        let select = sqlx::query("SELECT id FROM shares WHERE id > $1 ORDER BY id LIMIT $2").bind(after);
        let rows = select.bind(i64::try_from(limit).unwrap_or(i64::MAX)).fetch_all(&self.pool).await?;
        Ok(sound(&rows, "shares", |row| id(row, "id").map(ShareId::from_bytes)))
    }

    async fn shares_of(&self, peer: PeerId) -> Result<Vec<ShareId>, StoreError> {
        let select = sqlx::query("SELECT share FROM replicas WHERE peer = $1 ORDER BY share");
        let rows = select.bind(bytes(peer.as_bytes())).fetch_all(&self.pool).await?;
        Ok(sound(&rows, format_args!("shares of {peer}"), |row| id(row, "share").map(ShareId::from_bytes)))
    }

    async fn all_holders(&self) -> Result<Vec<PeerId>, StoreError> {
        let rows = sqlx::query("SELECT DISTINCT peer FROM replicas").fetch_all(&self.pool).await?;
        Ok(sound(&rows, "holders", |row| id(row, "peer").map(PeerId::from_bytes)))
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
        Ok(sound(&rows, "peers that are emptied", |row| id(row, "peer").map(PeerId::from_bytes)))
    }

    async fn charge(&self, share: ShareId, token: TokenId, bytes: u64) -> Result<(), StoreError> {
        charges::charge(&self.pool, share, token, bytes).await
    }

    async fn charged(
        &self,
        token: TokenId,
        except: Option<ShareId>,
        now_ms: u64,
    ) -> Result<Charged, StoreError> {
        charges::charged(&self.pool, token, except, now_ms).await
    }

    async fn charged_to(&self, share: ShareId) -> Result<Option<TokenId>, StoreError> {
        charges::charged_to(&self.pool, share).await
    }

    async fn share_count(&self) -> Result<u64, StoreError> {
        let row = sqlx::query("SELECT count(*) AS n FROM shares").fetch_one(&self.pool).await?;
        Ok(u64::try_from(row.try_get::<i64, _>("n")?).unwrap_or(0))
    }
}

async fn update_terms(
    transaction: &mut Transaction<'static, Sqlite>,
    terms: &SignedTerms,
) -> Result<bool, StoreError> {
    let update = sqlx::query(
        "UPDATE shares SET terms = $2, terms_issued_ms = $3, expires_ms = $4
         WHERE id = $1 AND terms_issued_ms < $3",
    )
    .bind(bytes(terms.share.as_bytes()))
    .bind(terms.token.to_string())
    .bind(number(terms.issued_ms))
    .bind(number(terms.expires_ms));
    Ok(update.execute(&mut **transaction).await?.rows_affected() > 0)
}

#[cfg(test)]
mod tests {
    use super::super::conformance;
    use super::*;
    use sqlx::Connection;

    #[tokio::test]
    async fn sqlite_conforms() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("tracker.db");
        conformance::run(&SqliteStore::open(&path).await.unwrap()).await;
    }

    #[tokio::test]
    async fn what_was_stored_survives_a_restart() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("tracker.db");
        let registration = conformance::registration(1);
        SqliteStore::open(&path).await.unwrap().put_peer(&registration).await.unwrap();
        let peers = SqliteStore::open(&path).await.unwrap().peers().await.unwrap();
        assert_eq!(peers, [registration]);
    }

    #[tokio::test]
    async fn a_heartbeat_costs_no_look_at_all_that_its_peer_holds() {
        let directory = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(&directory.path().join("tracker.db")).await.unwrap();
        let plan = format!("EXPLAIN QUERY PLAN {UNCONFIRMED}");
        let rows = sqlx::raw_sql(sqlx::AssertSqlSafe(plan)).fetch_all(&store.pool).await.unwrap();
        let steps: Vec<String> = rows.iter().map(|row| row.get("detail")).collect();
        assert!(steps[0].contains("replicas_untold"), "{steps:?}");
        assert!(!steps.iter().any(|step| step.contains("SCAN") || step.contains("B-TREE")), "{steps:?}");
    }

    #[tokio::test]
    async fn b1_a_connection_whose_transaction_did_not_end_is_not_used_again() {
        let directory = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(&directory.path().join("tracker.db")).await.unwrap();
        for _ in 0..2 * CONNECTIONS {
            let mut connection = store.pool.acquire().await.unwrap();
            std::mem::forget(connection.begin_with("BEGIN IMMEDIATE").await.unwrap());
        }
        store.write().await.unwrap().commit().await.unwrap();
        store.put_peer(&conformance::registration(1)).await.unwrap();
    }

    #[tokio::test]
    async fn a_file_that_is_no_database_is_an_error() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("tracker.db");
        std::fs::write(&path, [7; 4096]).unwrap();
        assert!(SqliteStore::open(&path).await.is_err());
    }
}
