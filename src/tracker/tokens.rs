//! The tokens of a swarm and the peers that they admitted, in a database of their own: it lies beside the
//! key, because losing it would lock everybody out, while the tracker's other database can be made anew.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use parcelry_core::id::{PeerId, Secret};
use parcelry_core::quota::Allowance;
use parcelry_core::token::{TokenId, TokenRecord, TokenRole};
use sqlx::Row;
use sqlx::sqlite::{SqliteConnectOptions, SqlitePool, SqliteRow, SqliteSynchronous};

use super::store::{StoreError, number, pool_options, private_database};
use crate::clock;
use crate::failure::{Failure, Kind};
use crate::identity::random_secret;

const DATABASE_FILE: &str = "tokens.db";
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);

/// The tokens of one tracker. A tracker and the commands beside it may have them open at once.
#[derive(Debug)]
pub(super) struct Tokens {
    pool: SqlitePool,
}

impl Tokens {
    /// Opens the tokens in a tracker's data directory.
    pub(super) async fn open(data: &Path) -> Result<Self, Failure> {
        let path = Self::file(data);
        private_database(&path).map_err(|error| Failure::io("create", &path, &error))?;
        let options = SqliteConnectOptions::new()
            .filename(&path)
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true)
            .busy_timeout(BUSY_TIMEOUT);
        let failed = |error: StoreError| Failure::new(Kind::Other, format!("{}: {error}", path.display()));
        let pool = pool_options(2).connect_with(options).await;
        let pool = pool.map_err(|error| failed(error.into()))?;
        let migrations = sqlx::migrate!("src/tracker/token_migrations");
        migrations.run(&pool).await.map_err(|error| failed(error.into()))?;
        Ok(Self { pool })
    }

    /// The file in a tracker's data directory that holds them.
    pub(super) fn file(data: &Path) -> PathBuf {
        data.join(DATABASE_FILE)
    }

    /// Makes a token.
    pub(super) async fn issue(
        &self,
        role: TokenRole,
        name: &str,
        expires_ms: Option<u64>,
        allowance: Allowance,
    ) -> Result<Secret, Failure> {
        let token = random_secret()?;
        let record = TokenRecord::new(&token, role, name.to_owned(), clock::now_ms(), expires_ms);
        self.put(&record.allowing(allowance)).await?;
        Ok(token)
    }

    /// Keeps a token that is known already; one that is kept stays as it is.
    pub(super) async fn put(&self, record: &TokenRecord) -> Result<(), StoreError> {
        sqlx::query(
            "INSERT INTO tokens (id, sha256, role, name, created_ms, expires_ms, revoked, allowance)
             VALUES ($1, $2, $3, $4, $5, $6, 0, $7) ON CONFLICT (id) DO NOTHING",
        )
        .bind(record.id.as_bytes().to_vec())
        .bind(record.sha256.to_vec())
        .bind(record.role.to_string())
        .bind(&record.name)
        .bind(number(record.created_ms))
        .bind(record.expires_ms.map(number))
        .bind(serde_json::to_string(&record.allowance).expect("allowances have string keys"))
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    /// The record of a token, if it admits anybody now.
    pub(super) async fn active(&self, token: &Secret) -> Result<Option<TokenRecord>, StoreError> {
        let record = self.record(TokenId::of_token(token)).await?;
        Ok(record.filter(|record| record.matches(token) && record.is_active(clock::now_ms())))
    }

    /// The record of the token with this id, whether it admits anybody or not.
    pub(super) async fn record(&self, id: TokenId) -> Result<Option<TokenRecord>, StoreError> {
        let select = sqlx::query("SELECT * FROM tokens WHERE id = $1").bind(id.as_bytes().to_vec());
        select.fetch_optional(&self.pool).await?.as_ref().map(record).transpose()
    }

    /// All tokens, the oldest first.
    pub(super) async fn list(&self) -> Result<Vec<TokenRecord>, StoreError> {
        let rows = sqlx::query("SELECT * FROM tokens ORDER BY created_ms, id").fetch_all(&self.pool).await?;
        rows.iter().map(record).collect()
    }

    /// Revokes a token, and with it the membership of the peers that it admitted. Returns whether there is one.
    pub(super) async fn revoke(&self, id: TokenId) -> Result<bool, StoreError> {
        let update = sqlx::query("UPDATE tokens SET revoked = 1 WHERE id = $1").bind(id.as_bytes().to_vec());
        Ok(update.execute(&self.pool).await?.rows_affected() > 0)
    }

    /// Forgets the revoked tokens of this name by which no peer was admitted.
    pub(super) async fn forget_revoked(&self, name: &str) -> Result<(), StoreError> {
        sqlx::query(
            "DELETE FROM tokens
             WHERE name = $1 AND revoked = 1 AND id NOT IN (SELECT token FROM members)",
        )
        .bind(name)
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    /// Admits a peer by a token, unless the token has admitted as many others as it may. One that it admitted before may
    /// come back. Returns whether it did.
    pub(super) async fn admit(&self, peer: PeerId, token: TokenId, max: u32) -> Result<bool, StoreError> {
        // The write lock at once: peers that join together are counted one after the other.
        let mut transaction = self.pool.begin_with("BEGIN IMMEDIATE").await?;
        let admitted = sqlx::query(
            "INSERT INTO admissions (token, peer)
             SELECT $1, $2 WHERE (SELECT count(*) FROM admissions WHERE token = $1 AND peer != $2) < $3
             ON CONFLICT (token, peer) DO NOTHING",
        )
        .bind(token.as_bytes().to_vec())
        .bind(peer.as_bytes().to_vec())
        .bind(i64::from(max))
        .execute(&mut *transaction)
        .await?;
        let known = sqlx::query("SELECT 1 FROM admissions WHERE token = $1 AND peer = $2")
            .bind(token.as_bytes().to_vec())
            .bind(peer.as_bytes().to_vec())
            .fetch_optional(&mut *transaction)
            .await?;
        // No new row: it has a place already, or there is none left. Whoever leaves gives none back.
        if admitted.rows_affected() == 0 && known.is_none() {
            return Ok(false);
        }
        sqlx::query(
            "INSERT INTO members (peer, token) VALUES ($1, $2)
             ON CONFLICT (peer) DO UPDATE SET token = excluded.token",
        )
        .bind(peer.as_bytes().to_vec())
        .bind(token.as_bytes().to_vec())
        .execute(&mut *transaction)
        .await?;
        transaction.commit().await?;
        Ok(true)
    }

    /// The token that admitted a peer, if any did.
    pub(super) async fn admitted_by(&self, peer: PeerId) -> Result<Option<TokenRecord>, StoreError> {
        let select = sqlx::query(
            "SELECT tokens.* FROM members JOIN tokens ON tokens.id = members.token WHERE members.peer = $1",
        );
        let row = select.bind(peer.as_bytes().to_vec()).fetch_optional(&self.pool).await?;
        row.as_ref().map(record).transpose()
    }

    /// How many peers each token has ever admitted.
    pub(super) async fn admissions(&self) -> Result<HashMap<TokenId, u64>, StoreError> {
        let select = sqlx::query("SELECT token, count(*) AS peers FROM admissions GROUP BY token");
        let count = |row: &SqliteRow| {
            let token = row.try_get::<&[u8], _>("token")?.try_into();
            let peers = u64::try_from(row.try_get::<i64, _>("peers")?).unwrap_or(0);
            Ok((TokenId::from_bytes(token.map_err(|_| StoreError::Damaged("a token"))?), peers))
        };
        select.fetch_all(&self.pool).await?.iter().map(count).collect()
    }

    /// Whether a peer was admitted by a token that has not been revoked. That the token's time is over
    /// does not matter: it was for joining.
    pub(super) async fn is_member(&self, peer: PeerId) -> Result<bool, StoreError> {
        let row = sqlx::query(
            "SELECT 1 FROM members JOIN tokens ON tokens.id = members.token
             WHERE members.peer = $1 AND tokens.revoked = 0",
        )
        .bind(peer.as_bytes().to_vec())
        .fetch_optional(&self.pool)
        .await?;
        Ok(row.is_some())
    }
}

fn record(row: &SqliteRow) -> Result<TokenRecord, StoreError> {
    let damaged = |_| StoreError::Damaged("a token");
    let time = |column| -> Result<Option<u64>, sqlx::Error> {
        Ok(row.try_get::<Option<i64>, _>(column)?.map(|ms| u64::try_from(ms).unwrap_or(0)))
    };
    Ok(TokenRecord {
        id: TokenId::from_bytes(row.try_get::<&[u8], _>("id")?.try_into().map_err(damaged)?),
        sha256: row.try_get::<&[u8], _>("sha256")?.try_into().map_err(damaged)?,
        role: row.try_get::<&str, _>("role")?.parse().map_err(|_| StoreError::Damaged("a token's role"))?,
        name: row.try_get("name")?,
        created_ms: time("created_ms")?.unwrap_or(0),
        expires_ms: time("expires_ms")?,
        revoked: row.try_get("revoked")?,
        allowance: serde_json::from_str(row.try_get("allowance")?)
            .map_err(|_| StoreError::Damaged("what a token allows"))?,
    })
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self::new(Kind::Other, error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn tokens_admit_until_they_are_revoked_or_over() {
        let data = tempfile::tempdir().unwrap();
        let tokens = Tokens::open(data.path()).await.unwrap();
        let sender = tokens.issue(TokenRole::Sender, "laptop", None, Allowance::default()).await.unwrap();
        let over = tokens.issue(TokenRole::Sender, "guest", Some(1), Allowance::default()).await.unwrap();
        assert_eq!(tokens.active(&sender).await.unwrap().unwrap().role, TokenRole::Sender);
        assert_eq!(tokens.active(&over).await.unwrap(), None);
        assert_eq!(tokens.active(&Secret::from_bytes([1; 32])).await.unwrap(), None);
        assert!(tokens.revoke(TokenId::of_token(&sender)).await.unwrap());
        assert_eq!(tokens.active(&sender).await.unwrap(), None);
        assert!(!tokens.revoke(TokenId::from_bytes([1; 8])).await.unwrap());
        assert_eq!(tokens.list().await.unwrap().len(), 2);
    }

    #[tokio::test]
    async fn a_peer_stays_a_member_until_its_token_is_revoked() {
        let data = tempfile::tempdir().unwrap();
        let tokens = Tokens::open(data.path()).await.unwrap();
        let token = tokens.issue(TokenRole::Peer, "nas", Some(1), Allowance::default()).await.unwrap();
        let (peer, id) = (PeerId::from_bytes([1; 32]), TokenId::of_token(&token));
        assert!(!tokens.is_member(peer).await.unwrap());
        assert!(tokens.admit(peer, id, 1).await.unwrap());
        assert!(tokens.is_member(peer).await.unwrap());
        tokens.revoke(id).await.unwrap();
        assert!(!tokens.is_member(peer).await.unwrap());
        let again = tokens.issue(TokenRole::Peer, "nas", None, Allowance::default()).await.unwrap();
        assert!(tokens.admit(peer, TokenId::of_token(&again), 1).await.unwrap());
        assert!(tokens.is_member(peer).await.unwrap());
    }

    #[tokio::test]
    async fn s13_a_token_admits_so_many_peers_and_no_more_whoever_leaves() {
        let data = tempfile::tempdir().unwrap();
        let tokens = Tokens::open(data.path()).await.unwrap();
        let allowance = Allowance { zone: Some("attic".into()), ..Allowance::default() };
        let token = tokens.issue(TokenRole::Peer, "nas", None, allowance.clone()).await.unwrap();
        let (token, other) =
            (TokenId::of_token(&token), tokens.issue(TokenRole::Peer, "x", None, Allowance::default()));
        let other = TokenId::of_token(&other.await.unwrap());
        let peer = |number| PeerId::from_bytes([number; 32]);
        for number in [1, 2, 1, 2] {
            assert!(tokens.admit(peer(number), token, 2).await.unwrap());
        }
        assert!(!tokens.admit(peer(3), token, 2).await.unwrap());
        assert!(!tokens.is_member(peer(3)).await.unwrap());
        assert_eq!(tokens.admitted_by(peer(1)).await.unwrap().unwrap().allowance, allowance);
        // One that goes over to another invite leaves no place behind, and may come back.
        assert!(tokens.admit(peer(1), other, 1).await.unwrap());
        assert!(!tokens.admit(peer(3), token, 2).await.unwrap());
        assert!(tokens.admit(peer(1), token, 2).await.unwrap());
        assert_eq!(tokens.admissions().await.unwrap(), HashMap::from([(token, 2), (other, 1)]));
    }

    #[tokio::test]
    async fn no_token_is_on_the_disk() {
        let data = tempfile::tempdir().unwrap();
        let tokens = Tokens::open(data.path()).await.unwrap();
        let token = tokens.issue(TokenRole::Admin, "admin", None, Allowance::default()).await.unwrap();
        tokens.pool.close().await;
        let bytes = std::fs::read(data.path().join(DATABASE_FILE)).unwrap();
        assert!(!bytes.windows(32).any(|window| window == token.expose()));
        let text = token.expose_text();
        assert!(!bytes.windows(text.len()).any(|window| window == text.as_bytes()));
    }
}
