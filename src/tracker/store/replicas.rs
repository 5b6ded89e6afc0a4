//! Who holds what, in the SQLite store.

use std::collections::BTreeMap;

use parcelry_core::api::ShareChunks;
use parcelry_core::chunk_set::ChunkSet;
use parcelry_core::id::{PeerId, ShareId};
use sqlx::sqlite::SqliteRow;
use sqlx::{Row, Sqlite, SqliteConnection, Transaction};

use super::gone::{gone, taken_down};
use super::proofs::Replica;
use super::rows::{bytes, id, sound};
use super::{Gone, InventoryPage, Reconciled, StoreError};

type Writing = Transaction<'static, Sqlite>;

/// What a peer is known to hold of a share.
pub(super) async fn read(
    connection: &mut SqliteConnection,
    peer: PeerId,
    share: ShareId,
) -> Result<Option<Replica>, StoreError> {
    let select = sqlx::query("SELECT chunks, bare FROM replicas WHERE share = $1 AND peer = $2");
    let select = select.bind(bytes(share.as_bytes())).bind(bytes(peer.as_bytes()));
    select.fetch_optional(connection).await?.as_ref().map(parse).transpose()
}

fn parse(row: &SqliteRow) -> Result<Replica, StoreError> {
    let set = |text: &str| ChunkSet::parse(text).ok_or(StoreError::Damaged("a set of chunks"));
    let chunks = set(row.try_get("chunks")?)?;
    let bare = row.try_get::<Option<&str>, _>("bare")?.map(set).transpose()?;
    let bare = bare.unwrap_or_else(|| ChunkSet::empty(chunks.chunk_count()));
    Ok(Replica { chunks, bare })
}

/// A replica before it is changed. What is damaged is as good as unknown: what the peer tells takes its place.
async fn before(
    transaction: &mut Writing,
    peer: PeerId,
    share: ShareId,
) -> Result<Option<Replica>, StoreError> {
    match read(transaction, peer, share).await {
        Err(error) if error.is_damage() => Ok(None),
        known => known,
    }
}

/// It is not known which terms the peer has, nor whether it withholds the share: it is told anew.
async fn put(
    transaction: &mut Writing,
    peer: PeerId,
    share: ShareId,
    Replica { chunks, bare }: &Replica,
) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO replicas (share, peer, chunks, bare, terms_issued_ms) VALUES ($1, $2, $3, $4, -1)
         ON CONFLICT (share, peer)
         DO UPDATE SET chunks = excluded.chunks, bare = excluded.bare, terms_issued_ms = -1, withheld = 0",
    )
    .bind(bytes(share.as_bytes()))
    .bind(bytes(peer.as_bytes()))
    .bind(chunks.to_string())
    .bind(text(bare))
    .execute(&mut **transaction)
    .await?;
    Ok(())
}

fn text(bare: &ChunkSet) -> Option<String> {
    (!bare.is_empty()).then(|| bare.to_string())
}

async fn is_known(transaction: &mut Writing, share: ShareId) -> Result<bool, StoreError> {
    let known = sqlx::query("SELECT 1 FROM shares WHERE id = $1").bind(bytes(share.as_bytes()));
    Ok(known.fetch_optional(&mut **transaction).await?.is_some())
}

/// Notes that a peer has chunks of a share that was published with them. It has these terms, too.
pub(super) async fn place(
    transaction: &mut Writing,
    (peer, chunks): &(PeerId, ChunkSet),
    share: ShareId,
    issued_ms: i64,
) -> Result<(), StoreError> {
    // What is said here only ever adds: nobody's replica is taken away by it.
    let known = before(transaction, *peer, share).await?;
    let chunks = known.map_or_else(|| chunks.clone(), |known| known.chunks.plus(chunks));
    sqlx::query(
        "INSERT INTO replicas (share, peer, chunks, terms_issued_ms) VALUES ($1, $2, $3, $4)
         ON CONFLICT (share, peer) DO UPDATE SET chunks = excluded.chunks",
    )
    .bind(bytes(share.as_bytes()))
    .bind(bytes(peer.as_bytes()))
    .bind(chunks.to_string())
    .bind(issued_ms)
    .execute(&mut **transaction)
    .await?;
    Ok(())
}

/// Notes that a peer holds these chunks of a share, too.
pub(super) async fn add(
    transaction: &mut Writing,
    peer: PeerId,
    share: ShareId,
    chunks: &ChunkSet,
) -> Result<(), StoreError> {
    if !is_known(transaction, share).await? {
        return Ok(());
    }
    let known = before(transaction, peer, share).await?;
    let known = known.unwrap_or_else(|| Replica::of(ChunkSet::empty(chunks.chunk_count())));
    let added = Replica { chunks: known.chunks.plus(chunks), bare: known.bare.minus(chunks) };
    put(transaction, peer, share, &added).await
}

/// Notes that chunks which nobody ordered were proven, as far as the peer still holds them. Returns whether there are
/// any.
pub(super) async fn grow(
    transaction: &mut Writing,
    peer: PeerId,
    share: ShareId,
    proven: &ChunkSet,
) -> Result<bool, StoreError> {
    let Some(known) = before(transaction, peer, share).await? else { return Ok(false) };
    if known.bare.chunk_count() != proven.chunk_count() {
        return Ok(false);
    }
    let unproven = known.bare.minus(proven);
    let proven = known.bare.minus(&unproven);
    put(transaction, peer, share, &Replica { chunks: known.chunks.plus(&proven), bare: unproven }).await?;
    Ok(!proven.is_empty())
}

/// Notes that a peer says to hold these chunks, too, which nobody ordered. Returns whether some of them are new.
pub(super) async fn add_bare(
    transaction: &mut Writing,
    peer: PeerId,
    share: ShareId,
    chunks: &ChunkSet,
) -> Result<bool, StoreError> {
    if !is_known(transaction, share).await? {
        return Ok(false);
    }
    let known = before(transaction, peer, share).await?;
    let is_holder = known.is_some();
    let known = known.unwrap_or_else(|| Replica::of(ChunkSet::empty(chunks.chunk_count())));
    let new = chunks.minus(&known.chunks).minus(&known.bare);
    if is_holder && new.is_empty() {
        return Ok(false);
    }
    let bare = known.bare.plus(&new);
    put(transaction, peer, share, &Replica { chunks: known.chunks, bare }).await?;
    Ok(true)
}

/// Notes that a peer no longer holds these chunks of a share.
pub(super) async fn remove(
    transaction: &mut Writing,
    peer: PeerId,
    share: ShareId,
    chunks: &ChunkSet,
    left: bool,
) -> Result<(), StoreError> {
    let Some(known) = before(transaction, peer, share).await? else { return Ok(()) };
    if known.chunks.chunk_count() != chunks.chunk_count() {
        return Ok(());
    }
    let kept = Replica { chunks: known.chunks.minus(chunks), bare: known.bare.minus(chunks) };
    // Who lost all of its chunks has the records still, and must hear of newer terms: the row stays.
    let change = if left && kept.chunks.is_empty() && kept.bare.is_empty() {
        sqlx::query("DELETE FROM replicas WHERE share = $1 AND peer = $2")
            .bind(bytes(share.as_bytes()))
            .bind(bytes(peer.as_bytes()))
    } else {
        sqlx::query("UPDATE replicas SET chunks = $3, bare = $4 WHERE share = $1 AND peer = $2")
            .bind(bytes(share.as_bytes()))
            .bind(bytes(peer.as_bytes()))
            .bind(kept.chunks.to_string())
            .bind(text(&kept.bare))
    };
    change.execute(&mut **transaction).await?;
    Ok(())
}

/// What was known of a replica before an inventory.
struct Before {
    /// `None`: it is damaged.
    replica: Option<Replica>,
    is_proven: bool,
}

impl Before {
    /// What is known when the peer has told these. To what it has proven it adds nothing by telling more.
    fn told(&self, chunks: &ChunkSet) -> Replica {
        let proven = self
            .replica
            .as_ref()
            .filter(|known| self.is_proven && known.chunks.chunk_count() == chunks.chunk_count());
        let bare =
            proven.map_or_else(|| ChunkSet::empty(chunks.chunk_count()), |known| chunks.minus(&known.chunks));
        Replica { chunks: chunks.minus(&bare), bare }
    }
}

/// Takes over what a peer says it holds.
pub(super) async fn reconcile(
    transaction: &mut Writing,
    peer: PeerId,
    page: InventoryPage<'_>,
) -> Result<Reconciled, StoreError> {
    let withheld = taken_down(transaction, page.shares).await?;
    let mut outcome = Reconciled { withheld, ..Reconciled::default() };
    let mut before = within(transaction, peer, page).await?;
    for ShareChunks { share, chunks } in page.shares {
        let known = before.remove(share);
        let told = known.as_ref().map_or_else(|| Replica::of(chunks.clone()), |known| known.told(chunks));
        if known.is_some_and(|known| known.replica.as_ref() == Some(&told)) {
            continue;
        }
        match gone(transaction, *share).await? {
            Some(Gone::Deleted(terms)) => {
                outcome.deleted.push((*share, terms));
                continue;
            }
            // Its bytes go with the time of its terms.
            Some(Gone::TakenDown) => continue,
            None => {}
        }
        if !is_known(transaction, *share).await? {
            outcome.unknown.push(*share);
            continue;
        }
        put(transaction, peer, *share, &told).await?;
        outcome.changed.push(*share);
    }
    for share in before.into_keys() {
        let delete = sqlx::query("DELETE FROM replicas WHERE share = $1 AND peer = $2");
        let delete = delete.bind(bytes(share.as_bytes())).bind(bytes(peer.as_bytes()));
        delete.execute(&mut **transaction).await?;
        outcome.changed.push(share);
    }
    Ok(outcome)
}

/// What was known of a peer's replicas of the shares within a page.
async fn within(
    transaction: &mut Writing,
    peer: PeerId,
    page: InventoryPage<'_>,
) -> Result<BTreeMap<ShareId, Before>, StoreError> {
    let first = page.after.map_or(vec![], |share| bytes(share.as_bytes()));
    let last = page.shares.last().filter(|_| !page.last);
    let last = last.map_or(vec![255; 33], |page| bytes(page.share.as_bytes()));
    let select = sqlx::query(
        "SELECT share, chunks, bare, proven_ms IS NOT NULL AS is_proven FROM replicas
         WHERE peer = $1 AND share > $2 AND share <= $3",
    );
    let rows = select.bind(bytes(peer.as_bytes())).bind(first).bind(last);
    let rows = rows.fetch_all(&mut **transaction).await?;
    let known = |row: &SqliteRow| {
        let before = Before { replica: parse(row).ok(), is_proven: row.try_get("is_proven")? };
        Ok((ShareId::from_bytes(id(row, "share")?), before))
    };
    Ok(sound(&rows, format_args!("shares of {peer}"), known).into_iter().collect())
}
