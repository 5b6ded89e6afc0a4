//! The terms of a share: what may change about it after it was published.
//!
//! A PASETO v4.public token signed by the share's key. Of two terms of one share the later issued
//! wins, so playing back old ones has no effect.

use std::ops::Deref;

use serde::{Deserialize, Serialize};

use crate::id::ShareId;
use crate::limits::{REPLICAS_MAX, TERMS_BYTES_MAX};
use crate::manifest::ShareKey;
use crate::paseto::{self, TokenError};
use crate::sha256_text;

/// Binds the token to its purpose (PASETO implicit assertion).
const PURPOSE: &[u8] = b"parcelry/1 terms";

/// The conditions of a share.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Terms {
    /// The share that they are about.
    pub share: ShareId,
    /// When they were made: milliseconds since the Unix epoch.
    pub issued_ms: u64,
    /// When the share ends: milliseconds since the Unix epoch.
    pub expires_ms: u64,
    /// How many peers are to hold each chunk.
    pub replicas: u8,
    /// SHA-256 of the access token, which readers must show.
    #[serde(with = "sha256_text")]
    pub access_sha256: [u8; 32],
    /// Whether the owner took the share back.
    pub deleted: bool,
}

paseto::token_text! {
    /// The text of signed terms; [`SignedTerms::verify`] tells whether they are.
    #[derive(Debug)]
    TermsToken
}

/// Terms together with the token that proves them: it is used like [`Terms`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedTerms {
    /// What the token says.
    terms: Terms,
    /// The token as it is stored and sent.
    pub token: TermsToken,
}

/// A token that is not terms of the share.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TermsError {
    /// Not a PASETO v4.public token, or longer than any terms.
    #[error("the terms are not a v4.public token")]
    Token,
    /// The signature is not the share key's.
    #[error("the terms' signature is not the share's")]
    Signature,
    /// Signed, but not the fields that terms have.
    #[error("the terms are not well-formed")]
    Fields,
}

impl From<TokenError> for TermsError {
    fn from(error: TokenError) -> Self {
        match error {
            TokenError::Shape => Self::Token,
            TokenError::Signature => Self::Signature,
            TokenError::Fields => Self::Fields,
        }
    }
}

impl SignedTerms {
    /// Signs terms with the share's key.
    pub fn sign(key: &ShareKey, terms: Terms) -> Self {
        assert_eq!(terms.share, key.share_id(), "only a share's own key signs its terms");
        let token = paseto::sign(key.signing_key(), &terms, PURPOSE).into();
        Self { terms, token }
    }

    /// Reads the terms of `share` and checks their signature.
    pub fn verify(token: &str, share: ShareId) -> Result<Self, TermsError> {
        let terms: Terms = paseto::verify(token, share.as_bytes(), PURPOSE, TERMS_BYTES_MAX)?;
        if terms.share != share || !(1..=REPLICAS_MAX).contains(&terms.replicas) {
            return Err(TermsError::Fields);
        }
        Ok(Self { terms, token: token.into() })
    }

    /// The terms without their token.
    pub fn into_terms(self) -> Terms {
        self.terms
    }
}

impl Deref for SignedTerms {
    type Target = Terms;

    fn deref(&self) -> &Terms {
        &self.terms
    }
}

impl Terms {
    /// Whether the share is over at `now_ms`, by its time or by its owner.
    pub const fn is_over(&self, now_ms: u64) -> bool {
        self.deleted || self.expires_ms <= now_ms
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::Secret;
    use proptest::prelude::*;

    fn key() -> ShareKey {
        ShareKey::from_seed(&Secret::from_bytes([5; 32]))
    }

    fn terms() -> Terms {
        Terms {
            share: key().share_id(),
            issued_ms: 1,
            expires_ms: 2,
            replicas: 2,
            access_sha256: [7; 32],
            deleted: false,
        }
    }

    #[test]
    fn terms_round_trip() {
        let signed = SignedTerms::sign(&key(), terms());
        assert!(signed.token.starts_with("v4.public."));
        assert_eq!(SignedTerms::verify(&signed.token, key().share_id()), Ok(signed));
    }

    #[test]
    fn other_keys_purposes_and_shares_are_refused() {
        let signed = SignedTerms::sign(&key(), terms());
        let other = ShareKey::from_seed(&Secret::from_bytes([6; 32]));
        assert_eq!(SignedTerms::verify(&signed.token, other.share_id()), Err(TermsError::Signature));
        let grant = paseto::sign(key().signing_key(), &terms(), b"parcelry/1 grant");
        assert_eq!(SignedTerms::verify(&grant, key().share_id()), Err(TermsError::Signature));
        let foreign = Terms { share: other.share_id(), ..terms() };
        let foreign = paseto::sign(key().signing_key(), &foreign, PURPOSE);
        assert_eq!(SignedTerms::verify(&foreign, key().share_id()), Err(TermsError::Fields));
    }

    #[test]
    fn terms_without_replicas_are_refused() {
        for replicas in [0, REPLICAS_MAX + 1] {
            let token = paseto::sign(key().signing_key(), &Terms { replicas, ..terms() }, PURPOSE);
            assert_eq!(SignedTerms::verify(&token, key().share_id()), Err(TermsError::Fields));
        }
    }

    #[test]
    fn terms_end_by_time_or_by_deletion() {
        assert!(!terms().is_over(1));
        assert!(terms().is_over(2));
        assert!(Terms { deleted: true, ..terms() }.is_over(0));
    }

    proptest! {
        #[test]
        fn any_text_is_refused(text in "(v4\\.public\\.)?[A-Za-z0-9_.-]{0,300}") {
            prop_assert!(SignedTerms::verify(&text, key().share_id()).is_err());
        }

        #[test]
        fn a_changed_character_is_noticed(position in 0usize..1000, with in "[A-Za-z0-9]") {
            let token = SignedTerms::sign(&key(), terms()).token;
            let position = position % token.len();
            let mut changed = token.to_string();
            changed.replace_range(position..=position, &with);
            prop_assume!(changed != *token);
            prop_assert!(SignedTerms::verify(&changed, key().share_id()).is_err());
        }
    }
}
