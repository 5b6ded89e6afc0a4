//! Lists the shares for the operator, each with its health.

use parcelry_core::api::ProblemKind;
use parcelry_core::dashboard::{ShareInfo, ShareList, SharePage};
use parcelry_core::health::{Health, assess};
use parcelry_core::id::ShareId;
use parcelry_core::limits::{SHARE_PAGE_DEFAULT, SHARE_PAGE_MAX};

use super::Tracker;
use super::store::{StoreError, unless_damaged};
use crate::server::Refusal;

impl Tracker {
    /// One page of the shares. Those that are over are left out, so a page may have fewer than were asked for.
    pub(super) async fn list_shares(&self, page: SharePage) -> Result<ShareList, Refusal> {
        let limit = page.limit.unwrap_or(SHARE_PAGE_DEFAULT);
        if !(1..=SHARE_PAGE_MAX).contains(&limit) {
            let what = format!("a page has 1 to {SHARE_PAGE_MAX} shares");
            return Err(Refusal::new(ProblemKind::BadRequest, what));
        }
        let ids = self.store.shares_after(page.after, limit).await?;
        // By the ids, not by what is shown of them: a page may show nothing and not be the last.
        let next = ids.last().filter(|_| ids.len() == limit).copied();
        let mut shares = Vec::new();
        for share in ids {
            let info = unless_damaged(share, self.share_info(share).await)?;
            shares.extend(info.flatten());
        }
        Ok(ShareList { shares, next })
    }

    async fn share_info(&self, share: ShareId) -> Result<Option<ShareInfo>, StoreError> {
        let Some((stored, terms)) = self.current(share).await? else { return Ok(None) };
        let view = self.view_of(&stored, &terms, self.now_ms()).await?;
        let health = assess(&view);
        let Health { wanted, fewest, short, .. } = health;
        let is_empty = view.geometry.chunk_count() == 0;
        let holders = view.holders.iter().filter(|holder| is_empty || !holder.chunks.is_empty());
        Ok(Some(ShareInfo {
            share,
            total_bytes: view.geometry.total(),
            chunk_count: view.geometry.chunk_count(),
            replicas: wanted,
            peers: holders.map(|holder| holder.peer.id).collect(),
            fewest_replicas: fewest,
            missing_chunks: short,
            expires_ms: terms.expires_ms,
            condition: health.condition(),
        }))
    }
}
