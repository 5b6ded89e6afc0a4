//! Which token is charged with which shares, and with how much, in the SQLite store.

use parcelry_core::id::ShareId;
use parcelry_core::quota::Charged;
use parcelry_core::token::TokenId;
use sqlx::Row;
use sqlx::sqlite::SqlitePool;

use super::{StoreError, number};

pub(super) async fn charge(
    pool: &SqlitePool,
    share: ShareId,
    token: TokenId,
    bytes: u64,
) -> Result<(), StoreError> {
    sqlx::query("UPDATE shares SET token = $2, charged_bytes = $3 WHERE id = $1")
        .bind(share.as_bytes().to_vec())
        .bind(token.as_bytes().to_vec())
        .bind(number(bytes))
        .execute(pool)
        .await?;
    Ok(())
}

pub(super) async fn charged(
    pool: &SqlitePool,
    token: TokenId,
    except: Option<ShareId>,
    now_ms: u64,
) -> Result<Charged, StoreError> {
    // What is over or deleted takes no bytes of the swarm's disks any more; its manifest is here as long as its row.
    let row = sqlx::query(
        "SELECT count(*) AS shares, coalesce(sum(manifest_bytes), 0) AS manifest_bytes,
             coalesce(sum(charged_bytes) FILTER (
                 WHERE expires_ms > $3 AND NOT EXISTS (
                     SELECT 1 FROM gone WHERE gone.share = shares.id AND gone.terms <> '')), 0) AS bytes
         FROM shares WHERE token = $1 AND ($2 IS NULL OR id != $2)",
    )
    .bind(token.as_bytes().to_vec())
    .bind(except.map(|share| share.as_bytes().to_vec()))
    .bind(number(now_ms))
    .fetch_one(pool)
    .await?;
    let column = |name| Ok::<_, sqlx::Error>(u64::try_from(row.try_get::<i64, _>(name)?).unwrap_or(0));
    Ok(Charged {
        bytes: column("bytes")?,
        shares: column("shares")?,
        manifest_bytes: column("manifest_bytes")?,
        uploads: 0,
    })
}

pub(super) async fn charged_deletions(pool: &SqlitePool, token: TokenId) -> Result<u64, StoreError> {
    let select = sqlx::query("SELECT count(*) AS n FROM gone WHERE token = $1");
    let row = select.bind(token.as_bytes().to_vec()).fetch_one(pool).await?;
    Ok(u64::try_from(row.try_get::<i64, _>("n")?).unwrap_or(0))
}

pub(super) async fn charged_to(pool: &SqlitePool, share: ShareId) -> Result<Option<TokenId>, StoreError> {
    let select = sqlx::query("SELECT token FROM shares WHERE id = $1 AND token IS NOT NULL");
    let row = select.bind(share.as_bytes().to_vec()).fetch_optional(pool).await?;
    let Some(row) = row else { return Ok(None) };
    let token = row.try_get::<&[u8], _>("token")?.try_into();
    token.map(|bytes| Some(TokenId::from_bytes(bytes))).map_err(|_| StoreError::Damaged("a token's id"))
}
