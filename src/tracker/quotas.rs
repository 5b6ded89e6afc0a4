//! Charges shares to the invites by which they came, and holds these to what they allow: when a share is opened,
//! when it is published, and when its terms change.

use std::collections::HashMap;
use std::time::Duration;

use parcelry_core::api::{OpenRequest, ProblemKind};
use parcelry_core::geometry::Geometry;
use parcelry_core::grant::Grant;
use parcelry_core::id::{PeerId, ShareId};
use parcelry_core::limits::{ANNOUNCED_GONE_MAX, ANNOUNCED_MANIFEST_BYTES_MAX, WITHDRAWN_MAX};
use parcelry_core::manifest::Manifest;
use parcelry_core::quota::{Allowance, Charged, OverQuota, Wanted};
use parcelry_core::terms::SignedTerms;
use parcelry_core::token::{TokenId, TokenRecord};
use parking_lot::Mutex;

use super::Tracker;
use super::store::StoreError;
use crate::clock;
use crate::human;
use crate::server::Refusal;

/// Difference of the clocks of sender and tracker that a bound of a share's life allows for.
const SLACK_MS: u64 = 24 * 3_600_000;

/// What is charged to tokens beside what the store knows.
#[derive(Debug, Default)]
pub(super) struct Quotas {
    /// The shares that are being sent, and what they will take.
    sending: Mutex<HashMap<TokenId, HashMap<ShareId, Sending>>>,
    /// Held from the look at what a token has to the charge: or two shares would take the same room.
    pub(super) charging: tokio::sync::Mutex<()>,
    /// Held from counting the deletions that an invite's peers told of to remembering more. It may take long, so it is
    /// not the one above.
    pub(super) remembering: tokio::sync::Mutex<()>,
}

#[derive(Debug, Clone, Copy)]
struct Sending {
    bytes: u64,
    /// When its grant ends.
    until_ms: u64,
}

impl Quotas {
    /// Notes that a share is being sent, if `check` allows it beside the others that are.
    fn begin<E>(
        &self,
        token: TokenId,
        share: ShareId,
        wanted: Sending,
        check: impl FnOnce(u64, u64) -> Result<(), E>,
    ) -> Result<(), E> {
        let now_ms = clock::now_ms();
        // Checked and noted under one lock: two shares that are opened at once do not take the same room.
        let mut sending = self.sending.lock();
        sending.retain(|_, shares| {
            shares.retain(|_, sending| sending.until_ms > now_ms);
            !shares.is_empty()
        });
        let (bytes, count) = of_token(&sending, token, Some(share), now_ms);
        check(bytes, count)?;
        sending.entry(token).or_default().insert(share, wanted);
        Ok(())
    }

    /// Bytes of the shares that are being sent with a token, and their number.
    fn sending(&self, token: TokenId) -> (u64, u64) {
        of_token(&self.sending.lock(), token, None, clock::now_ms())
    }

    /// A share is no longer being sent: it is kept.
    fn end(&self, token: TokenId, share: ShareId) {
        let mut sending = self.sending.lock();
        if let Some(shares) = sending.get_mut(&token) {
            shares.remove(&share);
            if shares.is_empty() {
                sending.remove(&token);
            }
        }
    }
}

fn of_token(
    sending: &HashMap<TokenId, HashMap<ShareId, Sending>>,
    token: TokenId,
    except: Option<ShareId>,
    now_ms: u64,
) -> (u64, u64) {
    let shares = sending.get(&token).into_iter().flatten();
    let others = shares.filter(|(share, sending)| Some(**share) != except && sending.until_ms > now_ms);
    others.fold((0, 0), |(bytes, count), (_, other)| (bytes.saturating_add(other.bytes), count + 1))
}

impl Tracker {
    /// What a token is charged with, shares that are being sent included.
    pub(super) async fn used(&self, token: TokenId) -> Result<Charged, StoreError> {
        let (bytes, uploads) = self.quotas.sending(token);
        let kept = self.store.charged(token, None, clock::now_ms()).await?;
        Ok(Charged { bytes: kept.bytes.saturating_add(bytes), uploads, ..kept })
    }

    /// Checks that the invite allows this share to be sent, beside all that it is charged with.
    pub(super) async fn charge_opening(
        &self,
        by: &TokenRecord,
        request: &OpenRequest,
        geometry: &Geometry,
    ) -> Result<(), Refusal> {
        let wanted = wanted(geometry, request.replicas);
        by.allowance.check_share(&wanted).map_err(|over| refusal(&over))?;
        // Without this share: an upload that goes on is opened again.
        let charged = self.store.charged(by.id, Some(request.share), clock::now_ms()).await;
        let charged = charged?;
        let life_ms = Grant::life_ms(geometry.sealed_total());
        let sending = Sending { bytes: wanted.bytes(), until_ms: clock::now_ms().saturating_add(life_ms) };
        let check = |bytes: u64, uploads| {
            let bytes = charged.bytes.saturating_add(bytes);
            let charged = Charged { bytes, uploads, ..charged };
            by.allowance.check_uploads(&charged)?;
            by.allowance.check_room(&charged, &wanted)
        };
        self.quotas.begin(by.id, request.share, sending, check).map_err(|over| refusal(&over))
    }

    /// Checks that the invite that a grant was given for allows this share to be kept.
    pub(super) async fn check_publishing(
        &self,
        grant: &Grant,
        manifest: &Manifest,
        terms: &SignedTerms,
    ) -> Result<(), Refusal> {
        let geometry = manifest.geometry();
        if geometry.sealed_total() > grant.budget_bytes {
            let what = "the share is larger than the one that the grant was given for";
            return Err(Refusal::new(ProblemKind::InvalidShare, what));
        }
        let Some(token) = grant.token else { return Ok(()) };
        let share = terms.share;
        let (allowance, charged) = self.allowed_and_charged(token, share).await?;
        let wanted = wanted(geometry, terms.replicas);
        let checks = || {
            allowance.check_share(&wanted)?;
            allowance.check_room(&charged, &wanted)?;
            allowance.check_manifest(&charged, manifest.encoded().len() as u64)?;
            allowance.check_life(terms.expires_ms, clock::now_ms(), SLACK_MS)
        };
        checks().map_err(|over| refusal(&over))
    }

    /// Charges a share that is kept now to the invite that its grant was given for.
    pub(super) async fn charge_published(
        &self,
        grant: &Grant,
        geometry: &Geometry,
        terms: &SignedTerms,
    ) -> Result<(), Refusal> {
        let Some(token) = grant.token else { return Ok(()) };
        let bytes = wanted(geometry, terms.replicas).bytes();
        let charged = self.store.charge(grant.share, token, bytes).await;
        charged?;
        self.quotas.end(token, grant.share);
        Ok(())
    }

    /// Checks that the invite that a share is charged to allows these terms, which are no deletion.
    pub(super) async fn charge_terms(&self, terms: &SignedTerms, geometry: &Geometry) -> Result<(), Refusal> {
        let share = terms.share;
        let Some(token) = self.store.charged_to(share).await? else { return Ok(()) };
        let (allowance, charged) = self.allowed_and_charged(token, share).await?;
        let wanted = wanted(geometry, terms.replicas);
        let checks = || {
            allowance.check_share(&wanted)?;
            allowance.check_room(&charged, &wanted)?;
            allowance.check_life(terms.expires_ms, clock::now_ms(), SLACK_MS)
        };
        checks().map_err(|over| refusal(&over))?;
        self.store.charge(share, token, wanted.bytes()).await.map_err(Refusal::from)
    }

    /// Checks that the peers of one invite may announce one more share that nobody published here. Returns the token
    /// that it is charged to.
    pub(super) async fn check_announcing(
        &self,
        peer: PeerId,
        share: ShareId,
        manifest_bytes: u64,
    ) -> Result<Option<TokenId>, Refusal> {
        if self.store.share(share).await?.is_some() {
            return Ok(None);
        }
        let Some(token) = self.admission.tokens.admitted_by(peer).await? else {
            return Ok(None);
        };
        let charged = self.store.charged(token.id, Some(share), clock::now_ms()).await?;
        if charged.manifest_bytes.saturating_add(manifest_bytes) > ANNOUNCED_MANIFEST_BYTES_MAX {
            return Err(refusal(&OverQuota::ManifestBytes { max: ANNOUNCED_MANIFEST_BYTES_MAX }));
        }
        Ok(Some(token.id))
    }

    /// How many deletions of shares that nothing is known of may still be remembered for the peers of a peer's invite, and
    /// the token that is charged with them.
    pub(super) async fn room_for_deletions(&self, peer: PeerId) -> Result<(Option<TokenId>, u64), Refusal> {
        let Some(token) = self.admission.tokens.admitted_by(peer).await? else {
            return Ok((None, ANNOUNCED_GONE_MAX));
        };
        let charged = self.store.charged_deletions(token.id).await?;
        Ok((Some(token.id), ANNOUNCED_GONE_MAX.saturating_sub(charged)))
    }

    /// Checks that one more deletion of a share that nothing is known of may be remembered for a sender's token.
    pub(super) async fn check_room_for_deletion(&self, token: TokenId) -> Result<(), Refusal> {
        let charged = self.store.charged_deletions(token).await?;
        if charged < WITHDRAWN_MAX {
            return Ok(());
        }
        let what =
            "the tracker remembers as many deletions of shares that it never knew as it does for one invite";
        Err(Refusal::new(ProblemKind::QuotaExceeded, what))
    }

    async fn allowed_and_charged(
        &self,
        token: TokenId,
        except: ShareId,
    ) -> Result<(Allowance, Charged), Refusal> {
        let record = self.admission.tokens.record(token).await?;
        let charged = self.store.charged(token, Some(except), clock::now_ms()).await?;
        Ok((record.map(|record| record.allowance).unwrap_or_default(), charged))
    }
}

fn wanted(geometry: &Geometry, replicas: u8) -> Wanted {
    Wanted { share_bytes: geometry.total(), sealed_bytes: geometry.sealed_total(), replicas }
}

/// What the invite does not allow, and what to do about it.
fn refusal(over: &OverQuota) -> Refusal {
    let operator = "ask the operator for another invite";
    let room = format!("delete a share with `parcelry rm`, wait until one ends, or {operator}");
    let what = match *over {
        OverQuota::Bytes { wanted, taken, quota } => format!(
            "the invite's quota is {} for all shares, copies counted: {} are taken, and this share needs {}. Ask for \
             fewer copies, {room}",
            human::bytes(quota),
            human::bytes(taken),
            human::bytes(wanted),
        ),
        OverQuota::ShareBytes { max } => {
            format!(
                "the invite allows {} for one share: share less at once, or {operator}",
                human::bytes(max)
            )
        }
        OverQuota::Life { max_ms } => format!(
            "with this invite a share lives at most {}: give a shorter --expires, or {operator}",
            human::duration(Duration::from_millis(max_ms))
        ),
        OverQuota::Replicas { max } => format!(
            "with this invite a share has at most {}: give --replicas {max}, or {operator}",
            match max {
                1 => "1 copy".to_owned(),
                more => format!("{more} copies"),
            }
        ),
        OverQuota::Shares { max } => format!("the invite has its {max} shares: {room}"),
        // One that was given up counts until its grant ends: an hour, and more if it is large.
        OverQuota::Uploads { max } => {
            format!("{max} shares are being sent with this invite: finish one of them, or wait an hour")
        }
        OverQuota::ManifestBytes { max } => format!(
            "the lists of chunks and files of all shares of this invite would take more than {} at the tracker: \
             share with a larger --chunk-size, {room}",
            human::bytes(max)
        ),
    };
    Refusal::new(ProblemKind::QuotaExceeded, what)
}

#[cfg(test)]
mod tests {
    use super::super::simulated::SimTracker;
    use super::*;
    use parcelry_core::api::{InventoryRequest, SignedDeletion};
    use parcelry_core::id::{Secret, TrackerId};
    use parcelry_core::manifest::ShareKey;
    use parcelry_core::registry::Rules;
    use parcelry_core::terms::Terms;

    #[test]
    fn every_refusal_says_what_is_allowed_and_what_to_do() {
        for (over, says) in [
            (OverQuota::Bytes { wanted: 2_000_000, taken: 9_000_000, quota: 10_000_000 }, "10.0 MB"),
            (OverQuota::ShareBytes { max: 5_000_000 }, "5.0 MB"),
            (OverQuota::Life { max_ms: 14 * 24 * 3_600_000 }, "14 days"),
            (OverQuota::Replicas { max: 3 }, "--replicas 3"),
            (OverQuota::Shares { max: 10 }, "10 shares"),
            (OverQuota::Uploads { max: 7 }, "7 shares"),
            (OverQuota::ManifestBytes { max: 1_000_000 }, "1.0 MB"),
        ] {
            let refusal = refusal(&over);
            assert_eq!(refusal.problem.kind, ProblemKind::QuotaExceeded);
            assert!(refusal.problem.detail.contains(says), "{}", refusal.problem.detail);
        }
    }

    #[tokio::test]
    async fn the_peers_of_one_invite_fill_the_memory_of_deletions_for_nobody_else() {
        let data = tempfile::tempdir().unwrap();
        let rules = Rules { heartbeat: Duration::from_secs(10), dead_after: Duration::from_secs(60) };
        let tracker = SimTracker::start(data.path(), TrackerId::from_bytes([1; 32]), rules).await;
        let [mallory, friend] = [1, 2].map(|number| PeerId::from_bytes([number; 32]));
        let full = tracker.let_in(mallory).await;
        tracker.let_in(friend).await;
        let pool = sqlx::SqlitePool::connect(data.path().join("tracker.db").to_str().unwrap()).await.unwrap();
        // Room for one more is left.
        let fill = "WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < $1)
             INSERT INTO gone (share, terms, until_ms, token) SELECT randomblob(32), 'signed', $2, $3 FROM numbers";
        let fill = sqlx::query(fill).bind(i64::try_from(ANNOUNCED_GONE_MAX - 1).unwrap()).bind(i64::MAX);
        fill.bind(full.as_bytes().to_vec()).execute(&pool).await.unwrap();
        let tell = async |peer, numbers: &[u8]| {
            let gone: Vec<SignedDeletion> = numbers.iter().map(|&number| deletion(number)).collect();
            let page = InventoryRequest { shares: Vec::new(), after: None, last: false, gone };
            tracker.inventory(peer, page).await.unwrap();
        };
        let mut remembered = Vec::new();
        tell(mallory, &[1, 2, 3]).await;
        tell(mallory, &[1, 2]).await;
        tell(friend, &[3, 4]).await;
        for number in 1..=4 {
            remembered.push(tracker.is_gone(deletion(number).share).await);
        }
        assert_eq!(remembered, [true, false, true, true]);
    }

    /// The word of somebody who deleted a share of his.
    fn deletion(number: u8) -> SignedDeletion {
        let key = ShareKey::from_seed(&Secret::from_bytes([number; 32]));
        let (share, access_sha256) = (key.share_id(), [0; 32]);
        let terms = Terms { share, issued_ms: 1, expires_ms: 2, replicas: 1, access_sha256, deleted: true };
        SignedDeletion { share, terms: SignedTerms::sign(&key, terms).token }
    }

    #[test]
    fn what_is_being_sent_counts_once_and_until_its_grant_ends() {
        let quotas = Quotas::default();
        let (token, share) = (TokenId::from_bytes([1; 8]), |number| ShareId::from_bytes([number; 32]));
        let far = clock::now_ms() + 1_000_000;
        let begin = |number, bytes, until_ms, others| {
            let check = |bytes, count| if (bytes, count) == others { Ok(()) } else { Err((bytes, count)) };
            quotas.begin(token, share(number), Sending { bytes, until_ms }, check)
        };
        begin(1, 10, far, (0, 0)).unwrap();
        begin(1, 20, far, (0, 0)).unwrap();
        begin(2, 1, 1, (20, 1)).unwrap();
        begin(3, 5, far, (20, 1)).unwrap();
        quotas.end(token, share(1));
        begin(4, 5, far, (5, 1)).unwrap();
        quotas.end(token, share(3));
        quotas.end(token, share(4));
        assert!(quotas.sending.lock().is_empty());
    }
}
