//! The grants that senders show: checked by the tracker's key, remembered, and charged.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use parcelry_core::api::ProblemKind;
use parcelry_core::grant::{Grant, GrantError, GrantKey, Operation, Use};
use parcelry_core::id::{PeerId, ShareId};
use parcelry_core::limits::GRANTS_REMEMBERED_MAX;
use parcelry_core::owner::Act;
use parcelry_core::token::TokenId;
use parking_lot::{Mutex, RwLock};

use super::Peer;
use super::storage::Under;
use crate::clock;
use crate::server::{ChargedTo, Credential, Id, OwnersWord, Refusal, denied};

/// The grants that one peer has met.
#[derive(Debug, Default)]
pub(super) struct Grants {
    key: RwLock<Option<GrantKey>>,
    /// By the hash of the token: checking a signature costs more than all else about a small chunk.
    known: Mutex<HashMap<blake3::Hash, Arc<KnownGrant>>>,
}

/// A grant that the tracker signed, and what was stored under it so far.
#[derive(Debug)]
pub(super) struct KnownGrant {
    grant: Grant,
    spent_bytes: AtomicU64,
}

impl Grants {
    /// Takes the key by which grants are checked from now on.
    pub(super) fn set_key(&self, key: GrantKey) {
        *self.key.write() = Some(key);
    }

    /// Forgets what was stored under the grants.
    pub(super) fn forget(&self) {
        self.known.lock().clear();
    }

    /// The grant behind a token that the tracker signed, whatever it is for.
    pub(super) fn find(&self, token: &str) -> Result<Arc<KnownGrant>, Refusal> {
        let hash = blake3::hash(token.as_bytes());
        if let Some(known) = self.known.lock().get(&hash) {
            return Ok(Arc::clone(known));
        }
        let key = *self.key.read();
        let key = key.ok_or_else(|| Refusal::new(ProblemKind::Unavailable, "still joining the swarm"))?;
        let grant = key.verify(token).map_err(|_| denied())?;
        let mut known = self.known.lock();
        if known.len() >= GRANTS_REMEMBERED_MAX {
            make_room(&mut known);
        }
        let new = || Arc::new(KnownGrant { grant, spent_bytes: AtomicU64::new(0) });
        // Another request may have been faster: what was spent under its entry must stay.
        Ok(Arc::clone(known.entry(hash).or_insert_with(new)))
    }
}

/// Forgets the grants that are over, or else the one that ends first.
fn make_room(known: &mut HashMap<blake3::Hash, Arc<KnownGrant>>) {
    let now_ms = clock::now_ms();
    known.retain(|_, known| known.grant.expires_ms > now_ms);
    if known.len() >= GRANTS_REMEMBERED_MAX
        && let Some(first) =
            known.iter().min_by_key(|(_, known)| known.grant.expires_ms).map(|(hash, _)| *hash)
    {
        known.remove(&first);
    }
}

impl KnownGrant {
    /// The share that the grant is for.
    pub(super) fn share(&self) -> ShareId {
        self.grant.share
    }

    /// The token that is charged with what is done under the grant.
    pub(super) fn token(&self) -> Option<TokenId> {
        self.grant.token
    }

    /// What it allows, and who is charged.
    fn under(&self) -> Under {
        let Grant { token, budget_bytes, quota_bytes, .. } = self.grant;
        Under { token, budget_bytes, quota_bytes }
    }

    /// Whether the grant allows this at this peer, for `by`.
    pub(super) fn check(
        &self,
        share: ShareId,
        operation: Operation,
        at: PeerId,
        by: Option<PeerId>,
    ) -> Result<(), Refusal> {
        let now_ms = clock::now_ms();
        self.grant.check(&Use { share, operation, at: Some(at), by, now_ms }).map_err(|error| match error {
            GrantError::Time => Refusal::new(
                ProblemKind::ClockSkew,
                format!("the grant is not valid at {}, the time at this peer", clock::rfc3339(now_ms)),
            ),
            _ => denied(),
        })
    }

    /// Takes `bytes` off the budget, if that much is left.
    pub(super) fn charge(self: &Arc<Self>, bytes: u64) -> Result<Charge, Refusal> {
        let fits = |spent: u64| spent.checked_add(bytes).filter(|total| *total <= self.grant.budget_bytes);
        let charged = self.spent_bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits);
        charged.map_err(|_| Refusal::new(ProblemKind::NoSpace, "more bytes than the grant allows"))?;
        Ok(Charge { grant: Arc::clone(self), bytes })
    }
}

/// What a chunk costs. It is given back unless the chunk stays, also when the sender hangs up half-way.
#[derive(Debug)]
pub(super) struct Charge {
    grant: Arc<KnownGrant>,
    bytes: u64,
}

impl Charge {
    /// The chunk stays, and so does its price.
    pub(super) fn keep(mut self) {
        self.bytes = 0;
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.grant.spent_bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// Whoever may have a share offered here: its owner, with a grant to push it.
pub(super) struct Offering(pub(super) ShareId, pub(super) Under);

/// Whoever may have a share kept here: its owner, with a grant to push it.
pub(super) struct Committing(pub(super) ShareId, pub(super) Under);

impl FromRequestParts<Arc<Peer>> for Offering {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, peer: &Arc<Peer>) -> Result<Self, Refusal> {
        let (share, grant) = pushed_share(parts, peer, Act::Offer).await?;
        Ok(Self(share, grant.under()))
    }
}

impl FromRequestParts<Arc<Peer>> for Committing {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, peer: &Arc<Peer>) -> Result<Self, Refusal> {
        pushed_share(parts, peer, Act::Commit).await.map(|(share, grant)| Self(share, grant.under()))
    }
}

/// The share that the path names, if the grant allows to push it here and its owner wants this act of this peer.
async fn pushed_share(
    parts: &mut Parts,
    peer: &Arc<Peer>,
    act: Act,
) -> Result<(ShareId, Arc<KnownGrant>), Refusal> {
    let Id(share) = Id::<ShareId>::from_request_parts(parts, peer).await?;
    let credential = Credential::from_request_parts(parts, &()).await?;
    let grant = peer.grants.find(credential.expose())?;
    grant.check(share, Operation::Push, peer.id, None)?;
    if let Some(token) = grant.token() {
        parts.extensions.insert(ChargedTo(token));
    }
    OwnersWord::from_request_parts(parts, &()).await?.check(share, act, peer.id, peer.tracker_id)?;
    Ok((share, grant))
}

#[cfg(test)]
mod tests {
    use super::*;
    use parcelry_core::grant::TrackerKey;
    use parcelry_core::id::{Secret, TrackerId, key_fingerprint};

    fn key() -> TrackerKey {
        TrackerKey::from_seed(&Secret::from_bytes([1; 32]))
    }

    fn grant() -> Grant {
        Grant {
            share: ShareId::from_bytes([1; 32]),
            operation: Operation::Push,
            peers: vec![PeerId::from_bytes([2; 32])],
            bearer: None,
            token: None,
            budget_bytes: 100,
            quota_bytes: None,
            issued_ms: clock::now_ms(),
            expires_ms: clock::now_ms() + 60_000,
        }
    }

    fn grants() -> Grants {
        let grants = Grants::default();
        let seed_key = parcelry_core::manifest::ShareKey::from_seed(&Secret::from_bytes([1; 32]));
        let tracker = TrackerId::from_bytes(key_fingerprint(seed_key.share_id().as_bytes()));
        grants.set_key(GrantKey::parse(&key().public().to_string(), tracker).unwrap());
        grants
    }

    #[test]
    fn a_budget_is_spent_once_however_often_its_grant_is_shown() {
        let (grants, token) = (grants(), key().sign(&grant()));
        let charge = |bytes| grants.find(&token).unwrap().charge(bytes);
        charge(60).unwrap().keep();
        assert_eq!(charge(60).unwrap_err().problem.kind, ProblemKind::NoSpace);
        drop(charge(40).unwrap());
        charge(40).unwrap().keep();
        assert!(charge(1).is_err() && charge(u64::MAX).is_err());
    }

    #[test]
    fn without_the_trackers_key_nothing_is_believed() {
        let token = key().sign(&grant());
        assert_eq!(Grants::default().find(&token).unwrap_err().problem.kind, ProblemKind::Unavailable);
        let other = TrackerKey::from_seed(&Secret::from_bytes([9; 32])).sign(&grant());
        assert_eq!(grants().find(&other).unwrap_err().problem.kind, ProblemKind::AccessDenied);
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let grants = grants();
        for number in 0..GRANTS_REMEMBERED_MAX as u64 + 10 {
            let token = key().sign(&Grant { budget_bytes: number, ..grant() });
            grants.find(&token).unwrap();
        }
        assert_eq!(grants.known.lock().len(), GRANTS_REMEMBERED_MAX);
    }
}
