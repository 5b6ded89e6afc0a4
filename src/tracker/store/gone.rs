//! Shares that never come back, in the SQLite store: their owner deleted them, or the operator took them down.

use sqlx::query::Query;
use sqlx::sqlite::{SqliteArguments, SqliteRow};
use sqlx::{Row, Sqlite, Transaction};
use swarmdrop_core::id::ShareId;
use swarmdrop_core::manifest::MANIFEST_HEAD_BYTES;

use super::{Gone, StoreError, number};

pub(super) fn select_gone(share: ShareId) -> Query<'static, Sqlite, SqliteArguments> {
    sqlx::query("SELECT terms FROM gone WHERE share = $1").bind(share.as_bytes().to_vec())
}

pub(super) fn parse_gone(row: &SqliteRow) -> Result<Gone, StoreError> {
    let terms: String = row.try_get("terms")?;
    Ok(if terms.is_empty() { Gone::TakenDown } else { Gone::Deleted(terms) })
}

pub(super) async fn gone(
    transaction: &mut Transaction<'static, Sqlite>,
    share: ShareId,
) -> Result<Option<Gone>, StoreError> {
    let row = select_gone(share).fetch_optional(&mut **transaction).await?;
    row.as_ref().map(parse_gone).transpose()
}

/// Notes that a share is gone, and frees what its manifest takes but for the head, which tells its size. An owner's
/// deletion takes the place of the operator's word: it frees the peers' disks, too.
pub(super) async fn bury(
    transaction: &mut Transaction<'static, Sqlite>,
    share: ShareId,
    terms: &str,
    until_ms: u64,
) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO gone (share, terms, until_ms) VALUES ($1, $2, $3)
         ON CONFLICT (share) DO UPDATE SET terms = excluded.terms, until_ms = excluded.until_ms
         WHERE gone.terms = ''",
    )
    .bind(share.as_bytes().to_vec())
    .bind(terms.to_owned())
    .bind(number(until_ms))
    .execute(&mut **transaction)
    .await?;
    sqlx::query("UPDATE shares SET manifest = substr(manifest, 1, $2) WHERE id = $1")
        .bind(share.as_bytes().to_vec())
        .bind(i64::try_from(MANIFEST_HEAD_BYTES).unwrap_or(i64::MAX))
        .execute(&mut **transaction)
        .await?;
    Ok(())
}
