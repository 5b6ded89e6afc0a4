//! Grants: short-lived tokens by which the tracker lets their bearer use the disks of named peers.
//!
//! A PASETO v4.public token signed by the tracker's key. Peers check it themselves, without asking
//! anybody: they know the tracker by the fingerprint of that key. A grant is about resources only; what
//! is stored under it is protected by the share's own keys.

use std::fmt;
use std::time::Duration;

use data_encoding::BASE64URL_NOPAD;
use ed25519_dalek::SigningKey;
use serde::{Deserialize, Serialize};

use crate::duration::millis;
use crate::id::{PeerId, Secret, ShareId, TrackerId, key_fingerprint};
use crate::limits::{
    CLOCK_SKEW_MAX, GRANT_BYTES_MAX, GRANT_BYTES_PER_SECOND, GRANT_LIFE_MAX, GRANT_LIFE_MIN,
};
use crate::paseto;
use crate::token::TokenId;

/// Binds the token to its purpose (PASETO implicit assertion).
const PURPOSE: &[u8] = b"parcelry/1 grant";

/// What a grant lets its bearer do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Operation {
    /// Offer, put and commit chunks of the share at the named peers, and publish it at the tracker.
    Push,
    /// Read the share's manifest and list of chunks at the named peers, as another peer that copies it.
    Copy,
}

/// What the tracker lets somebody do with one share.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Grant {
    /// The share.
    pub share: ShareId,
    /// What may be done with it.
    pub operation: Operation,
    /// The peers that are to honour it.
    pub peers: Vec<PeerId>,
    /// The peer that may use it, proved by its certificate; `None`: whoever has it.
    pub bearer: Option<PeerId>,
    /// The token whose bearer it was given to, who is charged with what is done under it; `None`: nobody's, as that
    /// of a peer that copies by the tracker's order.
    pub token: Option<TokenId>,
    /// Bytes that each of the peers may be made to store.
    pub budget_bytes: u64,
    /// Bytes that all shares of the token may take, as its invite says; `None`: it does not. Each of the peers holds it to
    /// that by what it keeps itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quota_bytes: Option<u64>,
    /// When it was made: milliseconds since the Unix epoch.
    pub issued_ms: u64,
    /// When it ends: milliseconds since the Unix epoch.
    pub expires_ms: u64,
}

/// A use of a grant, as the peer or tracker that is asked sees it.
#[derive(Debug, Clone, Copy)]
pub struct Use {
    /// The share in question.
    pub share: ShareId,
    /// What is to be done with it.
    pub operation: Operation,
    /// The peer that is asked; `None`: the tracker.
    pub at: Option<PeerId>,
    /// The peer that asks, if it proved to be one.
    pub by: Option<PeerId>,
    /// The wall clock of who is asked.
    pub now_ms: u64,
}

/// Why a grant is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum GrantError {
    /// Not a grant that this tracker signed.
    #[error("not a grant of this swarm's tracker")]
    Invalid,
    /// For another share.
    #[error("the grant is for another share")]
    OtherShare,
    /// For another operation.
    #[error("the grant does not allow this operation")]
    OtherOperation,
    /// For other peers.
    #[error("the grant does not name this peer")]
    OtherPeer,
    /// For another bearer.
    #[error("the grant belongs to another peer")]
    OtherBearer,
    /// Before its time or after it, by the clock of who was asked.
    #[error("the grant is not valid at this moment")]
    Time,
}

paseto::token_text! {
    /// The text of a signed grant; [`GrantKey::verify`] tells whether it is one.
    GrantToken
}

/// It does not print: whoever has a grant may use it.
impl fmt::Debug for GrantToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("GrantToken(…)")
    }
}

/// The key of a tracker, which signs grants.
pub struct TrackerKey(SigningKey);

/// The public half of a [`TrackerKey`], in base64url text: what a peer needs to check grants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GrantKey([u8; 32]);

impl TrackerKey {
    /// The key pair with this seed (RFC 8032 private key).
    pub fn from_seed(seed: &Secret) -> Self {
        Self(SigningKey::from_bytes(seed.expose()))
    }

    /// The public half.
    pub fn public(&self) -> GrantKey {
        GrantKey(self.0.verifying_key().to_bytes())
    }

    /// Signs a grant.
    pub fn sign(&self, grant: &Grant) -> GrantToken {
        paseto::sign(&self.0, grant, PURPOSE).into()
    }
}

impl fmt::Debug for TrackerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TrackerKey({:?})", self.public())
    }
}

impl GrantKey {
    /// Reads the text form; `None` unless it is the key of this tracker.
    pub fn parse(text: &str, tracker: TrackerId) -> Option<Self> {
        let bytes: [u8; 32] = BASE64URL_NOPAD.decode(text.as_bytes()).ok()?.try_into().ok()?;
        (key_fingerprint(&bytes) == *tracker.as_bytes()).then_some(Self(bytes))
    }

    /// Reads a grant that the holder of the private half signed. Whether it fits a use is another question.
    pub fn verify(&self, token: &str) -> Result<Grant, GrantError> {
        paseto::verify(token, &self.0, PURPOSE, GRANT_BYTES_MAX).map_err(|_| GrantError::Invalid)
    }
}

impl fmt::Display for GrantKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&BASE64URL_NOPAD.encode(&self.0))
    }
}

impl Grant {
    /// Checks that the grant allows this use. The byte budget is for the peer to keep, which alone knows
    /// what was stored under the grant so far.
    pub fn check(&self, wanted: &Use) -> Result<(), GrantError> {
        if self.share != wanted.share {
            return Err(GrantError::OtherShare);
        }
        if self.operation != wanted.operation {
            return Err(GrantError::OtherOperation);
        }
        if wanted.at.is_some_and(|peer| !self.peers.contains(&peer)) {
            return Err(GrantError::OtherPeer);
        }
        if self.bearer.is_some() && self.bearer != wanted.by {
            return Err(GrantError::OtherBearer);
        }
        // The tracker's clock may be ahead of the one here by this much.
        let skew_ms = millis(CLOCK_SKEW_MAX);
        if self.issued_ms > wanted.now_ms.saturating_add(skew_ms) || self.expires_ms <= wanted.now_ms {
            return Err(GrantError::Time);
        }
        Ok(())
    }

    /// How long a grant for this many bytes lasts, in milliseconds: long enough for a slow line.
    pub fn life_ms(budget_bytes: u64) -> u64 {
        let sending = Duration::from_secs(budget_bytes / GRANT_BYTES_PER_SECOND);
        millis(GRANT_LIFE_MIN.saturating_add(sending).min(GRANT_LIFE_MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const HOUR_MS: u64 = 3_600_000;

    fn key() -> TrackerKey {
        TrackerKey::from_seed(&Secret::from_bytes([5; 32]))
    }

    fn peer(number: u8) -> PeerId {
        PeerId::from_bytes([number; 32])
    }

    fn grant() -> Grant {
        Grant {
            share: ShareId::from_bytes([1; 32]),
            operation: Operation::Push,
            peers: vec![peer(1), peer(2)],
            bearer: None,
            token: Some(TokenId::from_bytes([255; 8])),
            budget_bytes: 1000,
            quota_bytes: None,
            issued_ms: 10 * HOUR_MS,
            expires_ms: 11 * HOUR_MS,
        }
    }

    fn wanted() -> Use {
        Use {
            share: grant().share,
            operation: Operation::Push,
            at: Some(peer(2)),
            by: None,
            now_ms: 10 * HOUR_MS,
        }
    }

    #[test]
    fn a_grant_round_trips_under_its_trackers_key_only() {
        let token = key().sign(&grant());
        assert_eq!(key().public().verify(&token), Ok(grant()));
        let other = TrackerKey::from_seed(&Secret::from_bytes([6; 32]));
        assert_eq!(other.public().verify(&token), Err(GrantError::Invalid));
    }

    #[test]
    fn a_peer_takes_a_grant_key_only_if_it_is_the_one_of_its_tracker() {
        let public = key().public();
        let tracker = TrackerId::from_bytes(key_fingerprint(&public.0));
        assert_eq!(GrantKey::parse(&public.to_string(), tracker), Some(public));
        assert_eq!(GrantKey::parse(&public.to_string(), TrackerId::from_bytes([9; 32])), None);
        assert_eq!(GrantKey::parse("x", tracker), None);
    }

    #[test]
    fn another_version_purpose_or_shape_is_no_grant() {
        let token = key().sign(&grant());
        let body = token.strip_prefix("v4.public.").unwrap();
        let terms = paseto::sign(&key().0, &grant(), b"parcelry/1 terms");
        let extra = paseto::sign(&key().0, &serde_json::json!({ "share": "x", "extra": 1 }), PURPOSE);
        for wrong in [
            format!("v3.public.{body}"),
            format!("v2.public.{body}"),
            format!("v4.local.{body}"),
            format!("{token}.Zm9vdGVy"),
            token.to_uppercase(),
            "x".repeat(GRANT_BYTES_MAX + 1),
            String::new(),
            terms,
            extra,
        ] {
            assert_eq!(key().public().verify(&wrong), Err(GrantError::Invalid), "{wrong}");
        }
    }

    #[test]
    fn a_grant_is_good_for_its_share_operation_peers_bearer_and_time_only() {
        assert_eq!(grant().check(&wanted()), Ok(()));
        let share = ShareId::from_bytes([2; 32]);
        assert_eq!(grant().check(&Use { share, ..wanted() }), Err(GrantError::OtherShare));
        let operation = Operation::Copy;
        assert_eq!(grant().check(&Use { operation, ..wanted() }), Err(GrantError::OtherOperation));
        assert_eq!(grant().check(&Use { at: Some(peer(3)), ..wanted() }), Err(GrantError::OtherPeer));
        assert_eq!(grant().check(&Use { at: None, ..wanted() }), Ok(()), "the tracker honours its own");
        let bound = Grant { bearer: Some(peer(7)), ..grant() };
        assert_eq!(bound.check(&wanted()), Err(GrantError::OtherBearer));
        assert_eq!(bound.check(&Use { by: Some(peer(8)), ..wanted() }), Err(GrantError::OtherBearer));
        assert_eq!(bound.check(&Use { by: Some(peer(7)), ..wanted() }), Ok(()));
        for (now_ms, result) in [
            (10 * HOUR_MS - 300_000, Ok(())),
            (10 * HOUR_MS - 300_001, Err(GrantError::Time)),
            (11 * HOUR_MS - 1, Ok(())),
            (11 * HOUR_MS, Err(GrantError::Time)),
            (0, Err(GrantError::Time)),
        ] {
            assert_eq!(grant().check(&Use { now_ms, ..wanted() }), result, "{now_ms}");
        }
    }

    #[test]
    fn the_largest_placement_fits_into_a_grant() {
        let peers = vec![peer(255); crate::limits::PREFERRED_MAX * 2 + crate::limits::SPARES_MAX];
        let grant = Grant { peers, bearer: Some(peer(1)), budget_bytes: u64::MAX, ..grant() };
        assert_eq!(key().public().verify(&key().sign(&grant)), Ok(grant));
    }

    #[test]
    fn a_grant_lasts_as_long_as_a_slow_sender_needs() {
        assert_eq!(Grant::life_ms(0), HOUR_MS);
        assert_eq!(Grant::life_ms(3600 * GRANT_BYTES_PER_SECOND), 2 * HOUR_MS);
        assert_eq!(Grant::life_ms(u64::MAX), 7 * 24 * HOUR_MS);
    }

    proptest! {
        #[test]
        fn any_text_is_refused(text in "(v4\\.public\\.)?[A-Za-z0-9_.-]{0,300}") {
            prop_assert!(key().public().verify(&text).is_err());
        }

        #[test]
        fn a_changed_character_is_noticed(position in 0usize..1000, with in "[A-Za-z0-9]") {
            let token = key().sign(&grant());
            let position = position % token.len();
            let mut changed = token.to_string();
            changed.replace_range(position..=position, &with);
            prop_assume!(changed != *token);
            prop_assert!(key().public().verify(&changed).is_err());
        }
    }
}
