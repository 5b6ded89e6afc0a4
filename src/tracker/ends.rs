//! What the tracker does when the terms of a share change, or it ends before its time.

use parcelry_core::api::{ProblemKind, SignedDeletion, TermsRequest};
use parcelry_core::dashboard::LogKind;
use parcelry_core::id::{PeerId, ShareId};
use parcelry_core::limits::{GONE_KEPT, PREFERRED_MAX};
use parcelry_core::terms::SignedTerms;
use parcelry_core::token::{TokenId, TokenRecord};

use super::Tracker;
use super::shares::{check_expiry, check_not_over};
use super::store::{Gone, StoreError};
use crate::clock;
use crate::crash::{self, Point};
use crate::server::Refusal;

impl Tracker {
    /// Checks that a share was neither deleted nor taken down.
    pub(super) async fn check_not_gone(&self, share: ShareId) -> Result<(), Refusal> {
        match self.store.gone(share).await? {
            Some(gone) => Err(is_gone(&gone)),
            None => Ok(()),
        }
    }

    /// Takes a share down.
    pub(super) async fn take_down(&self, share: ShareId) -> Result<(), Refusal> {
        let known = self.store.take_down(share, clock::ms_from_now(GONE_KEPT)).await;
        let known = known?;
        self.repairer.changed([share]);
        if !known {
            return Err(Refusal::new(ProblemKind::ShareNotFound, "no share has this id"));
        }
        self.tell_of_end(share, &[], true).await?;
        tracing::info!(%share, "share taken down");
        self.dashboard.note(LogKind::ShareTakenDown, |entry| entry.share = Some(share));
        Ok(())
    }

    /// Replaces the terms of a share by newer ones that its key signed.
    pub(super) async fn replace_terms(
        &self,
        share: ShareId,
        request: &TermsRequest,
        by: Option<&TokenRecord>,
    ) -> Result<(), Refusal> {
        let invalid =
            |error: &dyn std::fmt::Display| Refusal::new(ProblemKind::InvalidShare, error.to_string());
        let terms = SignedTerms::verify(&request.terms, share).map_err(|error| invalid(&error))?;
        check_expiry(&terms)?;
        let known = self.store.share(share).await?;
        if terms.deleted
            && let Some(by) = by
        {
            return self.remember_deletion(&terms, by, &request.sent_to, known.is_some()).await;
        }
        let Some(known) = known else {
            self.check_not_gone(share).await?;
            let unknown = || Refusal::new(ProblemKind::ShareNotFound, "no share has this id");
            return Err(self.settles().unwrap_or_else(unknown));
        };
        if terms.deleted {
            return self.take_over_deletion(&terms, None).await.map_err(Refusal::from);
        }
        self.check_not_gone(share).await?;
        let before =
            SignedTerms::verify(&known.terms, share).map_err(|_| StoreError::Damaged("a share's terms"))?;
        // Peers drop what is over: a longer life comes too late. The same terms again are an answer that got lost.
        if before != terms {
            check_not_over(&before)?;
        }
        let _charging = self.quotas.charging.lock().await;
        if before != terms {
            let geometry = known.geometry()?;
            self.charge_terms(&terms, &geometry).await?;
        }
        let newer = self.store.put_terms(&terms).await?;
        crash::at(Point::TermsReplaced);
        self.repairer.changed([share]);
        if newer || before == terms {
            return Ok(());
        }
        self.check_not_gone(share).await?;
        Err(Refusal::new(ProblemKind::Conflict, "newer terms are known"))
    }

    /// Takes over that somebody who may share here deletes a share of his, which may never have been published: the peers to
    /// which he says that it went hear of it. Of shares that nothing is known of only so many are remembered for a token.
    async fn remember_deletion(
        &self,
        terms: &SignedTerms,
        by: &TokenRecord,
        sent_to: &[PeerId],
        is_known: bool,
    ) -> Result<(), Refusal> {
        if sent_to.len() > PREFERRED_MAX {
            return Err(Refusal::new(ProblemKind::BadRequest, "too many peers"));
        }
        let _remembering = self.quotas.remembering.lock().await;
        let share = terms.share;
        let is_noted = is_known || self.store.gone(share).await?.is_some();
        if !is_noted {
            self.check_room_for_deletion(by.id).await?;
        }
        self.take_over_deletion(terms, Some(by.id).filter(|_| !is_noted)).await?;
        self.tell_of_end(share, sent_to, is_known).await.map_err(Refusal::from)
    }

    /// Takes over that the owner deleted a share. It is final, whichever terms were issued later. A token may be charged
    /// with remembering it.
    async fn take_over_deletion(
        &self,
        terms: &SignedTerms,
        token: Option<TokenId>,
    ) -> Result<(), StoreError> {
        let share = terms.share;
        let is_new = self.store.put_deletion(terms, clock::ms_from_now(GONE_KEPT), token).await?;
        crash::at(Point::TermsReplaced);
        self.repairer.changed([share]);
        if is_new {
            self.tell_of_end(share, &[], true).await?;
            tracing::info!(%share, "share deleted by its owner");
            self.dashboard.note(LogKind::ShareDeleted, |entry| entry.share = Some(share));
        }
        Ok(())
    }

    /// Takes over that owners deleted their shares, as peers know it: the owner's signature is all that it rests on.
    /// Of shares that nothing is known of only so many are remembered for the peers of one invite.
    pub(super) async fn take_deletions(&self, peer: PeerId, gone: &[SignedDeletion]) -> Result<(), Refusal> {
        if gone.is_empty() {
            return Ok(());
        }
        // Held until all are taken over: two peers of one invite must not both use its last room.
        let _remembering = self.quotas.remembering.lock().await;
        let (token, mut room) = self.room_for_deletions(peer).await?;
        let mut refused = 0;
        for SignedDeletion { share, terms } in gone {
            let known = self.store.gone(*share).await?;
            if known.as_ref().is_some_and(|known| known.is_sound_deletion(*share)) {
                continue;
            }
            let Some(terms) = SignedTerms::verify(terms, *share).ok().filter(|terms| terms.deleted) else {
                tracing::warn!(%share, "a peer calls a share deleted whose key did not sign that");
                continue;
            };
            let is_known = known.is_some() || self.store.share(*share).await?.is_some();
            if !is_known && room == 0 {
                refused += 1;
                continue;
            }
            room -= u64::from(!is_known);
            let token = token.filter(|_| !is_known);
            self.take_over_deletion(&terms, token).await?;
        }
        if refused > 0 {
            tracing::warn!(%peer, refused, "the peers of one invite tell of too many deleted shares");
        }
        Ok(())
    }
}

pub(super) fn is_gone(gone: &Gone) -> Refusal {
    let what = match gone {
        Gone::Deleted(_) => "its owner deleted the share",
        Gone::TakenDown => "the tracker's operator took the share down",
    };
    Refusal::new(ProblemKind::ShareGone, what)
}
