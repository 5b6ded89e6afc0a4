//! What the tracker does about shares: open, publish, look up, replace the terms.

use std::net::IpAddr;
use std::time::Duration;

use parcelry_core::api::{
    AnnounceRequest, Blob, ComplaintRequest, InventoryRequest, InventoryResponse, LookUpResponse,
    OpenRequest, OpenResponse, PeerAddress, PeerSet, ProblemKind, PublishRequest, SignedDeletion, SourceInfo,
};
use parcelry_core::audit::Claim;
use parcelry_core::chunk_set::ChunkSet;
use parcelry_core::dashboard::LogKind;
use parcelry_core::geometry::Geometry;
use parcelry_core::grant::{Grant, GrantToken, Operation};
use parcelry_core::id::{PeerId, Secret, ShareId};
use parcelry_core::limits::{
    COMPLAINTS_MAX, EXPIRY_MAX, INVENTORY_GONE_MAX, INVENTORY_SHARES_MAX, PREFERRED_MAX, PUBLISHED_NOTED_MAX,
    REPLICAS_MAX, TAG_BYTES,
};
use parcelry_core::manifest::Manifest;
use parcelry_core::placement::{Placement, PlacementRequest};
use parcelry_core::receipt;
use parcelry_core::registry::Registry;
use parcelry_core::seal::access_matches;
use parcelry_core::terms::{SignedTerms, TermsToken};
use parcelry_core::token::TokenRecord;

use super::Tracker;
use super::auth::Granted;
use super::ends::is_gone;
use super::peers::address;
use super::store::{InventoryPage, Published, StoreError, StoredShare};
use crate::clock;
use crate::crash::{self, Point};
use crate::server::{Asker, LargeJson, MemoryPermit, Refusal};

impl Tracker {
    /// Chooses the peers for a share whose owner wants to push it.
    pub(super) async fn open(
        &self,
        by: &TokenRecord,
        request: &OpenRequest,
    ) -> Result<OpenResponse, Refusal> {
        self.check_not_gone(request.share).await?;
        let bad = |detail: &str| Refusal::new(ProblemKind::BadRequest, detail);
        let geometry = request.size.geometry().ok_or_else(|| bad("no share has this size"))?;
        if !(1..=REPLICAS_MAX).contains(&request.replicas) {
            return Err(bad("replicas are 1 to 16"));
        }
        if request.preferred.len() > PREFERRED_MAX {
            return Err(bad("too many preferred peers"));
        }
        let placement_request = PlacementRequest {
            share: request.share,
            chunk_count: geometry.chunk_count(),
            chunk_bytes: geometry.chunk_size().bytes().min(geometry.total()) + TAG_BYTES as u64,
            replicas: usize::from(request.replicas),
            preferred: request.preferred.clone(),
        };
        // Charged before places are waited for: another share must not take the same room of the invite meanwhile.
        self.charge_opening(by, request, &geometry).await?;
        let placement = self.place(&placement_request).await?;
        // From here on nothing waits. `grant` takes the lock of `untold` within this one.
        let registry = self.registry.lock();
        self.metrics.opened.inc();
        let grant = self.grant(by, request, &geometry, &placement);
        let sets = placement.sets.iter().map(|set| PeerSet {
            first_chunk: set.first_chunk,
            chunk_count: set.chunk_count,
            peers: self.addresses(&registry, &set.peers),
        });
        let spares = self.addresses(&registry, &placement.spares);
        let (sets, browsers_warn) = (sets.collect(), self.browsers_warn);
        Ok(OpenResponse { sets, spares, grant, browsers_warn, takes_raw_manifests: true })
    }

    /// Lets whoever asked push the share to the peers of the placement: each at most all of it.
    fn grant(
        &self,
        by: &TokenRecord,
        request: &OpenRequest,
        geometry: &Geometry,
        placement: &Placement,
    ) -> GrantToken {
        let members = placement.sets.iter().flat_map(|set| &set.peers);
        let issued_ms = clock::now_ms();
        let budget_bytes = geometry.sealed_total();
        let peers: Vec<PeerId> = members.chain(&placement.spares).copied().collect();
        let expires_ms = issued_ms.saturating_add(Grant::life_ms(budget_bytes));
        // Noted before the grant is given out: should the share end, none of its peers is forgotten.
        self.untold.granted(request.share, by.id, &peers, expires_ms);
        self.key.sign(&Grant {
            share: request.share,
            operation: Operation::Push,
            peers,
            bearer: None,
            token: Some(by.id),
            budget_bytes,
            quota_bytes: by.allowance.quota_bytes,
            issued_ms,
            expires_ms,
        })
    }

    /// Keeps a share that is on the disks of peers that the grant names, by their receipts.
    pub(super) async fn publish(&self, granted: &Granted, request: PublishRequest) -> Result<(), Refusal> {
        let manifest = Manifest::decode(request.manifest.0, granted.share);
        let manifest = manifest.map_err(|error| invalid(&error))?;
        self.publish_decoded(granted, &manifest, &request.terms, &request.receipts).await
    }

    /// Keeps such a share, whose manifest was decoded before: a large one is neither checked nor held twice.
    pub(super) async fn publish_decoded(
        &self,
        granted: &Granted,
        manifest: &Manifest,
        terms: &TermsToken,
        receipts: &[String],
    ) -> Result<(), Refusal> {
        let share = granted.share;
        debug_assert_eq!(manifest.share(), share);
        let terms = SignedTerms::verify(terms, share).map_err(|error| invalid(&error))?;
        check_expiry(&terms)?;
        check_not_deleted(&terms)?;
        let chunk_count = manifest.geometry().chunk_count();
        let may_hold = |peer| granted.grant.peers.contains(&peer);
        let placement = receipt::holders(receipts, manifest, terms.replicas, may_hold);
        let placement = placement.map_err(|error| invalid(&error))?;
        // Held from the check to the charge.
        let _charging = self.quotas.charging.lock().await;
        self.check_publishing(&granted.grant, manifest, &terms).await?;
        // Before the store lists them: an unclaimed holder is taken for one that told it itself, and counts longer.
        for (peer, _) in &placement {
            self.claim(*peer, share, Claim::Expected);
        }
        let published = self.store.publish(manifest.encoded(), &terms, &placement).await;
        // Also if the store reports an error: that does not say that nothing was kept.
        self.repairer.changed([share]);
        match published? {
            Published::Done => {
                // The charge is kept in the share's row, so it can only come after it.
                self.charge_published(&granted.grant, manifest.geometry(), &terms).await?;
                crash::at(Point::SharePublished);
                self.note_published(share);
                self.metrics.published.inc();
                tracing::info!(%share, chunk_count, peers = placement.len(), "share published");
                self.dashboard.note(LogKind::SharePublished, |entry| entry.share = Some(share));
                Ok(())
            }
            Published::OtherManifest => {
                Err(Refusal::new(ProblemKind::Conflict, "the share has another manifest already"))
            }
            Published::Gone => self.check_not_gone(share).await,
        }
    }

    /// Takes in what a peer says it holds. Returns the shares that are not known here.
    pub(super) async fn inventory(
        &self,
        peer: PeerId,
        request: InventoryRequest,
    ) -> Result<InventoryResponse, Refusal> {
        if request.shares.len() > INVENTORY_SHARES_MAX || request.gone.len() > INVENTORY_GONE_MAX {
            return Err(Refusal::new(ProblemKind::BadRequest, "too many shares in one page"));
        }
        let shares: Vec<ShareId> = request.shares.iter().map(|held| held.share).collect();
        if !request.after.iter().chain(&shares).is_sorted_by(|a, b| a < b) {
            return Err(Refusal::new(
                ProblemKind::BadRequest,
                "the shares are not in the order of their ids",
            ));
        }
        self.take_deletions(peer, &request.gone).await?;
        if request.shares.is_empty() && !request.last {
            return Ok(told(Vec::new(), Vec::new(), Vec::new()));
        }
        let page = InventoryPage { shares: &request.shares, after: request.after, last: request.last };
        let outcome = self.store.reconcile(peer, page).await?;
        crash::at(Point::InventoryTaken);
        let upto = shares.last().copied();
        self.registry.lock().heard_inventory(peer, request.after, upto, request.last);
        // All of it is words until its turn comes.
        let known = shares.iter().filter(|share| outcome.unknown.binary_search(share).is_err());
        let proven: Vec<ShareId> =
            known.copied().filter(|share| self.claim(peer, *share, Claim::Inventory)).collect();
        let left_out = outcome.changed.iter().filter(|share| shares.binary_search(share).is_err());
        left_out.for_each(|share| self.unclaim(peer, *share));
        self.repairer.changed(outcome.changed.iter().copied().chain(proven));
        if request.last {
            self.repairer.heard_inventory(peer);
        }
        let deleted = outcome.deleted.into_iter().map(|(share, terms)| SignedDeletion { share, terms });
        Ok(told(outcome.unknown, deleted.collect(), outcome.withheld))
    }

    /// Takes in a share that a peer holds: so a tracker that lost its database is what it was before. The
    /// owner's signature on manifest and terms is all that it rests on.
    pub(super) async fn announce(&self, peer: PeerId, request: AnnounceRequest) -> Result<(), Refusal> {
        let share = request.share;
        let manifest = Manifest::decode(request.manifest.0, share).map_err(|error| invalid(&error))?;
        let terms = SignedTerms::verify(&request.terms, share).map_err(|error| invalid(&error))?;
        check_expiry(&terms)?;
        // By its time it may be over for a clock that is wrong: that is judged anew at each look-up.
        check_not_deleted(&terms)?;
        if request.chunks.chunk_count() != manifest.geometry().chunk_count() {
            return Err(invalid(&"the chunks are those of another number of chunks"));
        }
        let _charging = self.quotas.charging.lock().await;
        let token = self.check_announcing(peer, share, manifest.encoded().len() as u64).await?;
        let is_new = self.store.share(share).await?.is_none();
        self.claim(peer, share, Claim::Inventory);
        let published = self.store.publish(manifest.encoded(), &terms, &[(peer, request.chunks)]).await;
        self.repairer.changed([share]);
        match published? {
            Published::Done => {
                if let Some(token) = token {
                    let charged = self.store.charge(share, token, 0).await;
                    charged?;
                }
                if is_new {
                    let noted = self.store.note_learnt(share, self.lived_ms()).await;
                    noted?;
                }
                tracing::info!(%share, %peer, "learnt of a share from a peer");
                Ok(())
            }
            Published::OtherManifest => {
                Err(Refusal::new(ProblemKind::Conflict, "the share has another manifest already"))
            }
            Published::Gone => self.check_not_gone(share).await,
        }
    }

    /// A share, for whoever shows its access token. A wrong token learns no more than a wrong id: that there
    /// is no such share.
    pub(super) async fn accessible(&self, share: ShareId, access: &Secret) -> Result<StoredShare, Refusal> {
        // Asked before the store: should the settling end meanwhile, what is not found is still to be tried again.
        let settles = self.settles();
        let not_found = || {
            settles.clone().unwrap_or_else(|| {
                Refusal::new(ProblemKind::ShareNotFound, "no share has this id and access token")
            })
        };
        let Some(stored) = self.store.share(share).await? else {
            return Err(match self.store.gone(share).await? {
                Some(gone) if gone.opens_to(share, access) => is_gone(&gone),
                _ => not_found(),
            });
        };
        let terms =
            SignedTerms::verify(&stored.terms, share).map_err(|_| StoreError::Damaged("a share's terms"))?;
        // Before anything is told of the share, also that it was taken down or is over.
        if !access_matches(access, &terms.access_sha256) {
            return Err(not_found());
        }
        if stored.taken_down {
            return Err(Refusal::new(ProblemKind::ShareGone, "the tracker's operator took the share down"));
        }
        check_not_over(&terms)?;
        match settles {
            Some(settles) if !self.is_heard(share).await? => Err(settles),
            _ => Ok(stored),
        }
    }

    /// What whoever looks for a share is told as long as this tracker does not know whether its database is an old copy:
    /// until its peers had the time to tell what they hold. At its very first start there is nothing to know.
    pub(super) fn settles(&self) -> Option<Refusal> {
        let left = self.settled_after.saturating_sub(Duration::from_millis(self.now_ms()));
        let is_over = left.is_zero();
        let why = "the tracker has just started, and waits for its peers to tell what they hold";
        (!is_over).then(|| Refusal::later(ProblemKind::Unavailable, why, 1))
    }

    /// Notes that a share is published while this tracker settles: it is not to be waited for.
    fn note_published(&self, share: ShareId) {
        let mut published = self.published.lock();
        if self.settles().is_none() {
            published.clear();
        } else if published.len() < PUBLISHED_NOTED_MAX {
            published.insert(share);
        }
    }

    /// Whether one of its holders has told this tracker of the share, or its sender.
    async fn is_heard(&self, share: ShareId) -> Result<bool, Refusal> {
        if self.published.lock().contains(&share) {
            return Ok(true);
        }
        let holders = self.store.holders(share).await?;
        let registry = self.registry.lock();
        Ok(holders.iter().any(|(peer, _)| registry.has_told(*peer, share)))
    }

    /// Manifest, terms and sources.
    pub(super) async fn look_up(
        &self,
        share: ShareId,
        access: &Secret,
        asker: Asker,
    ) -> Result<LargeJson<LookUpResponse>, Refusal> {
        let stored = self.accessible(share, access).await?;
        let permit = MemoryPermit::wait(asker, stored.manifest_bytes).await;
        let manifest = self.store.manifest(share).await?;
        let manifest = Blob(manifest.ok_or(StoreError::Damaged("a share"))?);
        self.metrics.look_ups.inc();
        let holders = self.store.holders(share).await?;
        let (registry, now_ms) = (self.registry.lock(), self.now_ms());
        let sources = registry.sources(holders, now_ms).into_iter();
        let sources = sources.map(|(peer, state, chunks)| SourceInfo {
            peer: address(&peer.registration),
            state,
            why: registry.doubt(peer.registration.id, now_ms).map(|doubt| doubt.why),
            chunks,
        });
        Ok(LargeJson(LookUpResponse { manifest, terms: stored.terms, sources: sources.collect() }, permit))
    }

    /// Notes a complaint about a peer that is known to hold the chunk, or the share if it could not be reached. That there
    /// is nothing to note is no business of whoever complains.
    pub(super) async fn complain(
        &self,
        share: ShareId,
        access: &Secret,
        complaint: ComplaintRequest,
        from: IpAddr,
    ) -> Result<(), Refusal> {
        let stored = self.accessible(share, access).await?;
        let geometry = stored.geometry()?;
        let Some(chunk) = complaint.chunk else {
            let holders = self.store.holders(share).await?;
            if holders.iter().any(|(holder, _)| *holder == complaint.peer) {
                self.registry.lock().complain(complaint.peer, from, self.now_ms());
            }
            return Ok(());
        };
        let chunks = ChunkSet::of(geometry.chunk_count(), geometry.index(chunk));
        self.suspect(complaint.peer, share, &chunks).await.map_err(Refusal::from)
    }

    /// Has a peer look at chunks again, as far as it is known to hold them.
    pub(super) async fn suspect(
        &self,
        peer: PeerId,
        share: ShareId,
        chunks: &ChunkSet,
    ) -> Result<(), StoreError> {
        let holders = self.store.holders(share).await?;
        if let Some((_, held)) = holders.into_iter().find(|(holder, _)| *holder == peer) {
            for index in chunks.iter().filter(|&index| held.contains(index)).take(COMPLAINTS_MAX) {
                self.complaints.note(peer, share, held.chunk_count(), index);
            }
        }
        Ok(())
    }

    pub(super) fn addresses(&self, registry: &Registry, peers: &[PeerId]) -> Vec<PeerAddress> {
        let now_ms = self.now_ms();
        let known = peers.iter().filter_map(|&id| registry.get(id, now_ms));
        known.map(|(peer, _)| address(&peer.registration)).collect()
    }
}

/// The answer to a page of an inventory.
const fn told(
    unknown: Vec<ShareId>,
    deleted: Vec<SignedDeletion>,
    withheld: Vec<ShareId>,
) -> InventoryResponse {
    InventoryResponse { unknown, deleted, withheld, takes_raw_manifests: true }
}

fn invalid(error: &dyn std::fmt::Display) -> Refusal {
    Refusal::new(ProblemKind::InvalidShare, error.to_string())
}

fn check_not_deleted(terms: &SignedTerms) -> Result<(), Refusal> {
    if terms.deleted {
        return Err(Refusal::new(ProblemKind::ShareGone, "its owner deleted the share"));
    }
    Ok(())
}

pub(super) fn check_not_over(terms: &SignedTerms) -> Result<(), Refusal> {
    check_not_deleted(terms)?;
    if terms.is_over(clock::now_ms()) {
        let when = clock::rfc3339(terms.expires_ms);
        return Err(Refusal::new(ProblemKind::ShareGone, format!("the share expired at {when}")));
    }
    Ok(())
}

/// A share must not live longer than any may. A day of slack allows for clocks that differ.
pub(super) fn check_expiry(terms: &SignedTerms) -> Result<(), Refusal> {
    let latest = clock::ms_from_now(EXPIRY_MAX + std::time::Duration::from_secs(24 * 3600));
    if terms.expires_ms > latest {
        return Err(Refusal::new(ProblemKind::InvalidShare, "a share lives at most 90 days"));
    }
    Ok(())
}
