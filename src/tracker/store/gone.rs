//! Shares that never come back, in the SQLite store: their owner deleted them, or the operator took them down.

use parcelry_core::api::ShareChunks;
use parcelry_core::id::{PeerId, Secret, ShareId};
use parcelry_core::seal::access_matches;
use parcelry_core::terms::SignedTerms;
use parcelry_core::token::TokenId;
use sqlx::query::Query;
use sqlx::sqlite::{SqliteArguments, SqlitePool, SqliteRow};
use sqlx::{Row, Sqlite, Transaction};

use super::rows::{bytes, id, sound};
use super::{Gone, StoreError, manifests, number};

impl Gone {
    /// Whether it is the owner's word, and that can be read.
    pub(in crate::tracker) fn is_sound_deletion(&self, share: ShareId) -> bool {
        let Self::Deleted(token) = self else { return false };
        SignedTerms::verify(token, share).is_ok_and(|signed| signed.deleted)
    }

    /// Whether a reader with this access token could have read the share.
    pub(in crate::tracker) fn opens_to(&self, share: ShareId, access: &Secret) -> bool {
        // Nothing is known any more of how a share was read that the operator took down.
        let Self::Deleted(token) = self else { return false };
        let terms = SignedTerms::verify(token, share);
        terms.is_ok_and(|signed| access_matches(access, &signed.access_sha256))
    }
}

/// In the place of terms that are damaged.
const UNREADABLE: &str = "?";

pub(super) fn select_gone(share: ShareId) -> Query<'static, Sqlite, SqliteArguments> {
    sqlx::query("SELECT terms FROM gone WHERE share = $1").bind(share.as_bytes().to_vec())
}

pub(super) fn parse_gone(row: &SqliteRow) -> Result<Gone, StoreError> {
    // What cannot be read was written by somebody's word all the same: the share stays gone.
    let terms: String = row.try_get("terms").unwrap_or_else(|_| UNREADABLE.to_owned());
    Ok(if terms.is_empty() { Gone::TakenDown } else { Gone::Deleted(terms.into()) })
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
    token: Option<TokenId>,
) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO gone (share, terms, until_ms, token) VALUES ($1, $2, $3, $4)
         ON CONFLICT (share) DO UPDATE SET terms = excluded.terms, until_ms = excluded.until_ms
         WHERE gone.terms = '' OR excluded.terms <> ''",
    )
    .bind(share.as_bytes().to_vec())
    .bind(terms.to_owned())
    .bind(number(until_ms))
    .bind(token.map(|token| token.as_bytes().to_vec()))
    .execute(&mut **transaction)
    .await?;
    manifests::remove(transaction, share).await
}

/// Those of the shares, which are in the order of their ids, that the operator took down.
pub(super) async fn taken_down(
    transaction: &mut Transaction<'static, Sqlite>,
    shares: &[ShareChunks],
) -> Result<Vec<ShareId>, StoreError> {
    let (Some(first), Some(last)) = (shares.first(), shares.last()) else { return Ok(Vec::new()) };
    let rows =
        sqlx::query("SELECT share FROM gone WHERE terms = '' AND share BETWEEN $1 AND $2 ORDER BY share")
            .bind(bytes(first.share.as_bytes()))
            .bind(bytes(last.share.as_bytes()))
            .fetch_all(&mut **transaction)
            .await?;
    let mut found = shares_in(&rows);
    found.retain(|share| shares.binary_search_by_key(share, |held| held.share).is_ok());
    Ok(found)
}

pub(super) async fn to_withhold(
    pool: &SqlitePool,
    peer: PeerId,
    limit: usize,
) -> Result<Vec<ShareId>, StoreError> {
    let rows = sqlx::query(
        "SELECT gone.share FROM gone CROSS JOIN replicas ON replicas.share = gone.share AND replicas.peer = $1
         WHERE gone.terms = '' AND replicas.withheld = 0 ORDER BY gone.share LIMIT $2",
    )
    .bind(bytes(peer.as_bytes()))
    .bind(i64::try_from(limit).unwrap_or(i64::MAX))
    .fetch_all(pool)
    .await?;
    Ok(shares_in(&rows))
}

pub(super) async fn confirm_withheld(
    pool: &SqlitePool,
    peer: PeerId,
    share: ShareId,
) -> Result<(), StoreError> {
    sqlx::query("UPDATE replicas SET withheld = 1 WHERE share = $1 AND peer = $2")
        .bind(bytes(share.as_bytes()))
        .bind(bytes(peer.as_bytes()))
        .execute(pool)
        .await?;
    Ok(())
}

fn shares_in(rows: &[SqliteRow]) -> Vec<ShareId> {
    sound(rows, "shares that are gone", |row| id(row, "share").map(ShareId::from_bytes))
}
