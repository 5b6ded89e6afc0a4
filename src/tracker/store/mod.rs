//! What a tracker keeps on disk, behind a trait. SQLite is the one back end that there is; another one would implement the
//! trait, and pass the conformance suite.

mod charges;
#[cfg(test)]
pub(super) mod conformance;
mod gone;
mod manifests;
mod proofs;
mod replicas;
mod rows;
mod sqlite;

use async_trait::async_trait;
use parcelry_core::api::ShareChunks;
use parcelry_core::chunk_set::ChunkSet;
use parcelry_core::geometry::Geometry;
use parcelry_core::id::{PeerId, ShareId};
use parcelry_core::manifest::Manifest;
use parcelry_core::quota::Charged;
use parcelry_core::registry::Registration;
use parcelry_core::terms::{SignedTerms, TermsToken};
use parcelry_core::token::TokenId;

use proofs::ProofStore;
pub(super) use proofs::Replica;
pub(super) use rows::{number, pool_options, private_database};
pub(super) use sqlite::SqliteStore;

/// A share as the tracker keeps it, but for its manifest, which may be large.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct StoredShare {
    /// Bytes of the manifest.
    pub(super) manifest_bytes: u64,
    /// The manifest up to its list of chunks.
    pub(super) manifest_head: Vec<u8>,
    /// The newest terms, as a signed token.
    pub(super) terms: TermsToken,
    /// Whether the operator took it down.
    pub(super) taken_down: bool,
    /// If it was learnt from a peer: when, in milliseconds that this tracker has run.
    pub(super) learnt_ms: Option<u64>,
}

impl StoredShare {
    /// How the share is cut into chunks.
    pub(super) fn geometry(&self) -> Result<Geometry, StoreError> {
        Manifest::geometry_in(&self.manifest_head).ok_or(StoreError::Damaged("a share's manifest"))
    }
}

/// A part of what a peer holds: all its shares after one id, up to another.
#[derive(Debug, Clone, Copy)]
pub(super) struct InventoryPage<'a> {
    /// The shares, in the order of their ids.
    pub(super) shares: &'a [ShareChunks],
    /// The share before the first one; `None`: the page starts at the first share of all.
    pub(super) after: Option<ShareId>,
    /// Whether the page goes to the last share of all.
    pub(super) last: bool,
}

/// What came of a part of an inventory.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Reconciled {
    /// Shares of the page that are not known.
    pub(super) unknown: Vec<ShareId>,
    /// Shares of which the peer holds something else than was known.
    pub(super) changed: Vec<ShareId>,
    /// Shares of the page that their owners deleted, with the signed terms that say so.
    pub(super) deleted: Vec<(ShareId, TermsToken)>,
    /// Shares of the page that the operator took down.
    pub(super) withheld: Vec<ShareId>,
}

/// A share that does not come back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Gone {
    /// Its owner deleted it by these signed terms.
    Deleted(TermsToken),
    /// The operator took it down.
    TakenDown,
}

/// What came of publishing a share.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Published {
    /// It is new, or the same as before with its placement renewed.
    Done,
    /// The share is known with another manifest, which stays.
    OtherManifest,
    /// The share was deleted or taken down, and does not come back.
    Gone,
}

/// A store that failed: the disk, or the database on it.
#[derive(Debug, thiserror::Error)]
pub(super) enum StoreError {
    /// The database failed.
    #[error("the tracker's database failed: {0}")]
    Database(#[from] sqlx::Error),
    /// The database's schema could not be brought up to date.
    #[error("the tracker's database cannot be brought up to date: {0}")]
    Migration(#[from] sqlx::migrate::MigrateError),
    /// A row does not hold what was put there.
    #[error("the tracker's database is damaged: {0}")]
    Damaged(&'static str),
}

impl StoreError {
    /// Whether it is a row that is damaged, and not the database that fails.
    const fn is_damage(&self) -> bool {
        matches!(
            self,
            Self::Damaged(_) | Self::Database(sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_))
        )
    }
}

/// What was done about one share; `None`, and a word in the log, if its rows are damaged, for that costs no other share.
pub(super) fn unless_damaged<T>(
    share: ShareId,
    done: Result<T, StoreError>,
) -> Result<Option<T>, StoreError> {
    match done {
        Err(error) if error.is_damage() => {
            tracing::error!(%share, %error, "what is known of a share cannot be read: it is passed over");
            Ok(None)
        }
        done => done.map(Some),
    }
}

/// Peers, shares, and who holds what. Every method is one transaction. Lists leave out what is damaged, and say so in the
/// log.
#[async_trait]
pub(super) trait Store: ProofStore + Send + Sync {
    /// Keeps a registration; a later one of the same peer replaces it.
    async fn put_peer(&self, registration: &Registration) -> Result<(), StoreError>;

    /// Forgets a registration. What the peer holds is not forgotten: it may come back.
    async fn delete_peer(&self, peer: PeerId) -> Result<(), StoreError>;

    /// All registrations.
    async fn peers(&self) -> Result<Vec<Registration>, StoreError>;

    /// Keeps a share, and adds to who holds which of its chunks. The first manifest of a share is final; the newest terms
    /// win.
    async fn publish(
        &self,
        manifest: &[u8],
        terms: &SignedTerms,
        placement: &[(PeerId, ChunkSet)],
    ) -> Result<Published, StoreError>;

    /// The share, if it is known.
    async fn share(&self, share: ShareId) -> Result<Option<StoredShare>, StoreError>;

    /// The share's manifest, verbatim.
    async fn manifest(&self, share: ShareId) -> Result<Option<Vec<u8>>, StoreError>;

    /// Who holds which chunks of the share.
    async fn holders(&self, share: ShareId) -> Result<Vec<(PeerId, ChunkSet)>, StoreError>;

    /// Takes over what a peer says it holds. What it held before of shares within the page, and does not name,
    /// it holds no longer.
    async fn reconcile(&self, peer: PeerId, page: InventoryPage<'_>) -> Result<Reconciled, StoreError>;

    /// Notes that a peer holds these chunks of a share, too.
    async fn add_chunks(&self, peer: PeerId, share: ShareId, chunks: &ChunkSet) -> Result<(), StoreError>;

    /// Notes that chunks which a peer held and nobody had ordered were proven, as far as it holds them still. Returns
    /// whether there are any.
    async fn grow(&self, peer: PeerId, share: ShareId, proven: &ChunkSet) -> Result<bool, StoreError>;

    /// Notes that a peer no longer holds these chunks of a share. It is still one of its holders, without any
    /// chunk perhaps, unless it `left` when it let go of the last one.
    async fn remove_chunks(
        &self,
        peer: PeerId,
        share: ShareId,
        chunks: &ChunkSet,
        left: bool,
    ) -> Result<(), StoreError>;

    /// Takes a share down: it is not shown any more, its manifest is gone, and it cannot come back before `until_ms`.
    /// Returns whether it was known.
    async fn take_down(&self, share: ShareId, until_ms: u64) -> Result<bool, StoreError>;

    /// Replaces the terms of a known share by newer ones. Returns whether they were newer, and the share not gone.
    async fn put_terms(&self, terms: &SignedTerms) -> Result<bool, StoreError>;

    /// Takes over that an owner deleted a share, known or not, whatever terms are known of it: its manifest is gone, and
    /// it cannot come back before `until_ms`. A token may be charged with remembering it. Returns whether that is new.
    async fn put_deletion(
        &self,
        terms: &SignedTerms,
        until_ms: u64,
        token: Option<TokenId>,
    ) -> Result<bool, StoreError>;

    /// How many deletions a token is charged with.
    async fn charged_deletions(&self, token: TokenId) -> Result<u64, StoreError>;

    /// Whether a share is gone for good.
    async fn gone(&self, share: ShareId) -> Result<Option<Gone>, StoreError>;

    /// Terms that the peer has not confirmed yet, of shares that it holds; at most `limit`.
    async fn unconfirmed_terms(
        &self,
        peer: PeerId,
        limit: usize,
    ) -> Result<Vec<(ShareId, TermsToken)>, StoreError>;

    /// Notes that the peer knows the share's terms of this moment. What knows of its deletion holds it no longer.
    async fn confirm_terms(&self, peer: PeerId, share: ShareId, issued_ms: u64) -> Result<(), StoreError>;

    /// Shares of which a peer holds something, which the operator took down, and of which the peer has not said yet that it
    /// serves them no more; at most `limit`.
    async fn to_withhold(&self, peer: PeerId, limit: usize) -> Result<Vec<ShareId>, StoreError>;

    /// Notes that a peer serves a share no more.
    async fn confirm_withheld(&self, peer: PeerId, share: ShareId) -> Result<(), StoreError>;

    /// Forgets the shares that ended before `ended_ms`, and of those that are gone what need not be known any more at
    /// `now_ms`. Returns how many shares ended.
    async fn forget_expired(&self, ended_ms: u64, now_ms: u64) -> Result<u64, StoreError>;

    /// Shares that end by their terms from one moment to another, but for those that were taken down; at most `limit`.
    async fn expired_between(
        &self,
        from_ms: u64,
        to_ms: u64,
        limit: usize,
    ) -> Result<Vec<ShareId>, StoreError>;

    /// The first shares after this one, in the order of their ids; at most `limit`.
    async fn shares_after(&self, after: Option<ShareId>, limit: usize) -> Result<Vec<ShareId>, StoreError>;

    /// The shares of which a peer holds chunks.
    async fn shares_of(&self, peer: PeerId) -> Result<Vec<ShareId>, StoreError>;

    /// Every peer that holds chunks, registered or not.
    async fn all_holders(&self) -> Result<Vec<PeerId>, StoreError>;

    /// Notes whether a peer is to be emptied.
    async fn set_draining(&self, peer: PeerId, draining: bool) -> Result<(), StoreError>;

    /// The peers that are to be emptied.
    async fn draining(&self) -> Result<Vec<PeerId>, StoreError>;

    /// Charges a share that is known to a token: so many bytes of the swarm's disks.
    async fn charge(&self, share: ShareId, token: TokenId, bytes: u64) -> Result<(), StoreError>;

    /// What a token is charged with at this moment, but for a share.
    async fn charged(
        &self,
        token: TokenId,
        except: Option<ShareId>,
        now_ms: u64,
    ) -> Result<Charged, StoreError>;

    /// The token that a share is charged to, if any is.
    async fn charged_to(&self, share: ShareId) -> Result<Option<TokenId>, StoreError>;

    /// How many shares there are.
    async fn share_count(&self) -> Result<u64, StoreError>;
}
