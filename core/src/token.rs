//! Tokens: what an invite admits its bearer by. Servers keep only their hashes.

use std::fmt;
use std::str::FromStr;

use data_encoding::HEXLOWER;
use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::Schema;
use utoipa::{PartialSchema, ToSchema};

use crate::id::{Secret, sha256};
use crate::quota::Allowance;

/// What a token lets its bearer do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum TokenRole {
    /// Everything, and to take down shares and peers.
    Admin,
    /// To register peers.
    Peer,
    /// To open shares.
    Sender,
}

/// The public name of a token: the first 8 bytes of its hash. Its text is hexadecimal, which no command line
/// takes for a flag.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TokenId([u8; 8]);

impl PartialSchema for TokenId {
    fn schema() -> RefOr<Schema> {
        crate::schema::text("16 hexadecimal digits", "^[0-9a-f]{16}$")
    }
}

impl ToSchema for TokenId {}

/// What is kept of a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenRecord {
    /// Its public name.
    pub id: TokenId,
    /// SHA-256 of the token.
    pub sha256: [u8; 32],
    /// What it lets its bearer do.
    pub role: TokenRole,
    /// What its maker calls it.
    pub name: String,
    /// When it was made: milliseconds since the Unix epoch.
    pub created_ms: u64,
    /// When it ends, if it does: milliseconds since the Unix epoch.
    pub expires_ms: Option<u64>,
    /// Whether it was revoked.
    pub revoked: bool,
    /// What it allows.
    pub allowance: Allowance,
}

/// A text that names no role or token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected {0}")]
pub struct TokenError(&'static str);

impl TokenRecord {
    /// The record of a new token.
    pub fn new(
        token: &Secret,
        role: TokenRole,
        name: String,
        created_ms: u64,
        expires_ms: Option<u64>,
    ) -> Self {
        let sha256 = sha256(token.expose());
        let (id, allowance) = (TokenId::of(&sha256), Allowance::default());
        Self { id, sha256, role, name, created_ms, expires_ms, revoked: false, allowance }
    }

    /// The token with what its maker allows by it.
    #[must_use]
    pub fn allowing(self, allowance: Allowance) -> Self {
        Self { allowance, ..self }
    }

    /// Whether this is the record of `token`. Takes as long whatever differs.
    pub fn matches(&self, token: &Secret) -> bool {
        let shown = sha256(token.expose());
        aws_lc_rs::constant_time::verify_slices_are_equal(&shown, &self.sha256).is_ok()
    }

    /// Whether it admits anybody at this moment.
    pub fn is_active(&self, now_ms: u64) -> bool {
        !self.revoked && self.expires_ms.is_none_or(|expires_ms| now_ms < expires_ms)
    }
}

impl TokenId {
    /// The id of the token with this hash.
    pub fn of(sha256: &[u8; 32]) -> Self {
        let mut id = [0; 8];
        id.copy_from_slice(&sha256[..8]);
        Self(id)
    }

    /// The id of a token.
    pub fn of_token(token: &Secret) -> Self {
        Self::of(&sha256(token.expose()))
    }

    /// The id with these bytes.
    pub const fn from_bytes(bytes: [u8; 8]) -> Self {
        Self(bytes)
    }

    /// The id's 8 bytes.
    pub const fn as_bytes(&self) -> &[u8; 8] {
        &self.0
    }
}

impl fmt::Display for TokenId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&HEXLOWER.encode(&self.0))
    }
}

impl FromStr for TokenId {
    type Err = TokenError;

    fn from_str(text: &str) -> Result<Self, TokenError> {
        let bytes = HEXLOWER.decode(text.as_bytes()).ok();
        bytes
            .and_then(|bytes| bytes.try_into().ok())
            .map(Self)
            .ok_or(TokenError("16 lower-case hexadecimal digits"))
    }
}

impl Serialize for TokenId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for TokenId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

impl fmt::Display for TokenRole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Admin => "admin",
            Self::Peer => "peer",
            Self::Sender => "sender",
        })
    }
}

impl FromStr for TokenRole {
    type Err = TokenError;

    fn from_str(text: &str) -> Result<Self, TokenError> {
        let role = [Self::Admin, Self::Peer, Self::Sender].into_iter().find(|role| role.to_string() == text);
        role.ok_or(TokenError("admin, peer or sender"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(expires_ms: Option<u64>) -> TokenRecord {
        TokenRecord::new(&Secret::from_bytes([1; 32]), TokenRole::Sender, "laptop".into(), 10, expires_ms)
    }

    #[test]
    fn a_record_matches_its_own_token_and_does_not_hold_it() {
        let token = Secret::from_bytes([1; 32]);
        assert!(record(None).matches(&token));
        assert!(!record(None).matches(&Secret::from_bytes([2; 32])));
        assert_eq!(record(None).id, TokenId::of_token(&token));
        assert_ne!(&record(None).sha256, token.expose());
    }

    #[test]
    fn tokens_end_by_time_or_by_revocation() {
        assert!(record(None).is_active(u64::MAX));
        assert!(record(Some(20)).is_active(19));
        assert!(!record(Some(20)).is_active(20));
        assert!(!TokenRecord { revoked: true, ..record(None) }.is_active(0));
    }

    #[test]
    fn roles_and_ids_round_trip() {
        for role in [TokenRole::Admin, TokenRole::Peer, TokenRole::Sender] {
            assert_eq!(role.to_string().parse(), Ok(role));
        }
        assert!("root".parse::<TokenRole>().is_err());
        let id = record(None).id;
        assert_eq!(id.to_string().parse(), Ok(id));
        let json = serde_json::to_string(&id).unwrap();
        assert_eq!(serde_json::from_str::<TokenId>(&json).unwrap(), id);
        for wrong in ["", "x", "00112233445566778", "001122334455667", "00112233445566AA", "-0112233445566aa"]
        {
            assert!(wrong.parse::<TokenId>().is_err(), "{wrong}");
        }
    }
}
