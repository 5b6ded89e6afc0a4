//! Owner's tokens: the word of whoever holds a share's key, for one act at one server.
//!
//! A share's id is its owner's public key, so every server can check by itself that the owner wants what is asked
//! of it. A grant is the right to use resources; an owner's token is the authority over the share. Each is of
//! no use without the other: the token names the hash of the credential that it goes with, and so ends with it.
//! No clock of the sender takes part.

use serde::{Deserialize, Serialize};

use crate::id::{PeerId, ServerId, ShareId, TrackerId, sha256};
use crate::limits::OWNER_TOKEN_BYTES_MAX;
use crate::manifest::ShareKey;
use crate::paseto;
use crate::sha256_text;

/// The field of a request's head that carries the token.
pub const OWNER_TOKEN_FIELD: &str = "owner-token";

/// Binds the token to its purpose (PASETO implicit assertion).
const PURPOSE: &[u8] = b"parcelry/1 owner";

/// What the owner of a share wants done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Act {
    /// That a tracker names peers for the share, and grants the use of their disks.
    Open,
    /// That a peer makes room for chunks of the share.
    Offer,
    /// That a peer keeps the share.
    Commit,
    /// That a tracker makes the share known.
    Publish,
    /// That a tracker offers, commits and publishes the share in the owner's place, as its gateway does for browsers.
    Delegate,
}

/// What an owner's token says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Claims {
    share: ShareId,
    act: Act,
    /// The one server that the token is for.
    audience: ServerId,
    /// SHA-256 of the text of the credential that the token goes with: an invite's token to open, a grant for
    /// the rest.
    #[serde(with = "sha256_text")]
    credential_sha256: [u8; 32],
}

/// An act that is asked of a server.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// The share.
    pub share: ShareId,
    /// What is to be done with it.
    pub act: Act,
    /// The server that is asked.
    pub at: ServerId,
    /// The text of the credential that came with the token.
    pub credential: &'a str,
    /// Who asks, if it proved its key.
    pub by: Option<ServerId>,
    /// The tracker of the swarm.
    pub tracker: TrackerId,
}

/// A token that does not show that the share's owner wants what is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the share's owner did not ask for this")]
pub struct NotTheOwner;

/// Says with the share's key that this act is wanted of the server `audience`, together with this credential.
pub fn sign(key: &ShareKey, act: Act, audience: impl Into<ServerId>, credential: &str) -> String {
    let (share, audience) = (key.share_id(), audience.into());
    let claims = Claims { share, act, audience, credential_sha256: sha256(credential.as_bytes()) };
    paseto::sign(key.signing_key(), &claims, PURPOSE)
}

impl Asked<'_> {
    /// Checks that the token is the word of the share's owner for this act, or for leaving it to the tracker, if
    /// it is the tracker that asks.
    pub fn check(&self, token: &str) -> Result<(), NotTheOwner> {
        let claims: Claims = paseto::verify(token, self.share.as_bytes(), PURPOSE, OWNER_TOKEN_BYTES_MAX)
            .map_err(|_| NotTheOwner)?;
        let fits =
            claims.share == self.share && claims.credential_sha256 == sha256(self.credential.as_bytes());
        let is_own = claims.act == self.act && claims.audience == self.at;
        if fits && (is_own || self.is_delegated(&claims)) { Ok(()) } else { Err(NotTheOwner) }
    }

    /// Whether the owner left this to the tracker, and it is the tracker that asks.
    fn is_delegated(&self, claims: &Claims) -> bool {
        let tracker = ServerId::from(self.tracker);
        // Opening is never delegated: it is what a delegation is given for.
        let may_be = matches!(self.act, Act::Offer | Act::Commit | Act::Publish);
        claims.act == Act::Delegate && claims.audience == tracker && self.by == Some(tracker) && may_be
    }
}

impl From<PeerId> for ServerId {
    fn from(peer: PeerId) -> Self {
        Self::from_bytes(*peer.as_bytes())
    }
}

impl From<TrackerId> for ServerId {
    fn from(tracker: TrackerId) -> Self {
        Self::from_bytes(*tracker.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::Secret;
    use proptest::prelude::*;

    const PEER: PeerId = PeerId::from_bytes([1; 32]);
    const TRACKER: TrackerId = TrackerId::from_bytes([2; 32]);
    const GRANT: &str = "v4.public.grant";

    fn key() -> ShareKey {
        ShareKey::from_seed(&Secret::from_bytes([5; 32]))
    }

    fn asked(act: Act) -> Asked<'static> {
        let (at, share) = (PEER.into(), key().share_id());
        Asked { share, act, at, credential: GRANT, by: None, tracker: TRACKER }
    }

    #[test]
    fn s1_a_token_is_good_for_its_share_act_server_and_credential_only() {
        let token = sign(&key(), Act::Commit, PEER, GRANT);
        let commit = asked(Act::Commit);
        assert_eq!(commit.check(&token), Ok(()));
        let other_share = ShareKey::from_seed(&Secret::from_bytes([6; 32])).share_id();
        for other in [
            Asked { share: other_share, ..commit },
            Asked { act: Act::Offer, ..commit },
            Asked { act: Act::Publish, ..commit },
            Asked { act: Act::Delegate, ..commit },
            Asked { at: PeerId::from_bytes([9; 32]).into(), ..commit },
            Asked { at: TRACKER.into(), ..commit },
            Asked { credential: "v4.public.another", ..commit },
        ] {
            assert_eq!(other.check(&token), Err(NotTheOwner), "{other:?}");
        }
    }

    #[test]
    fn s1_only_the_shares_key_makes_tokens_and_no_other_token_of_it_will_do() {
        let other = ShareKey::from_seed(&Secret::from_bytes([6; 32]));
        let claims = Claims {
            share: key().share_id(),
            act: Act::Commit,
            audience: PEER.into(),
            credential_sha256: sha256(GRANT.as_bytes()),
        };
        let by_another = paseto::sign(other.signing_key(), &claims, PURPOSE);
        let terms = paseto::sign(key().signing_key(), &claims, b"parcelry/1 terms");
        for wrong in [by_another, terms, String::new(), "v4.public.x".into()] {
            assert_eq!(asked(Act::Commit).check(&wrong), Err(NotTheOwner), "{wrong}");
        }
    }

    #[test]
    fn a_delegation_serves_the_tracker_that_it_names_and_nobody_else() {
        let token = sign(&key(), Act::Delegate, TRACKER, GRANT);
        for act in [Act::Offer, Act::Commit, Act::Publish] {
            let by_the_tracker = Asked { by: Some(TRACKER.into()), ..asked(act) };
            assert_eq!(by_the_tracker.check(&token), Ok(()));
            assert_eq!(asked(act).check(&token), Err(NotTheOwner), "nobody proved to be the tracker");
            let stranger = Asked { by: Some(PeerId::from_bytes([7; 32]).into()), ..asked(act) };
            assert_eq!(stranger.check(&token), Err(NotTheOwner));
            let elsewhere = Asked { tracker: TrackerId::from_bytes([8; 32]), ..by_the_tracker };
            assert_eq!(elsewhere.check(&token), Err(NotTheOwner));
        }
        let open = Asked { by: Some(TRACKER.into()), ..asked(Act::Open) };
        assert_eq!(open.check(&token), Err(NotTheOwner));
    }

    proptest! {
        #[test]
        fn any_text_is_refused(text in "(v4\\.public\\.)?[A-Za-z0-9_.-]{0,400}") {
            prop_assert!(asked(Act::Offer).check(&text).is_err());
        }

        #[test]
        fn a_changed_character_is_noticed(position in 0usize..1000, with in "[A-Za-z0-9]") {
            let token = sign(&key(), Act::Offer, PEER, GRANT);
            let position = position % token.len();
            let mut changed = token.clone();
            changed.replace_range(position..=position, &with);
            prop_assume!(changed != token);
            prop_assert!(asked(Act::Offer).check(&changed).is_err());
        }
    }
}
