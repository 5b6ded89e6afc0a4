//! PASETO v4.public tokens: JSON signed with Ed25519, bound to one purpose. One version, one algorithm,
//! no footer: a token of any other kind is refused before its contents are looked at.

use ed25519_dalek::SigningKey;
use pasetors::Public;
use pasetors::keys::{AsymmetricPublicKey, AsymmetricSecretKey};
use pasetors::token::UntrustedToken;
use pasetors::version4::{PublicToken, V4};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Why a token is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TokenError {
    /// Not a v4.public token without a footer, or longer than any may be.
    Shape,
    /// The signature is not of this key for this purpose.
    Signature,
    /// Signed, but not the fields that were expected.
    Fields,
}

/// Makes a type for the text of one kind of signed token, as it is sent and kept. It says nothing about whether the text is
/// such a token.
macro_rules! token_text {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize, utoipa::ToSchema)]
        #[serde(transparent)]
        pub struct $name(String);

        impl From<String> for $name {
            fn from(text: String) -> Self {
                Self(text)
            }
        }

        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                Self(text.to_owned())
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl std::ops::Deref for $name {
            type Target = str;

            fn deref(&self) -> &str {
                &self.0
            }
        }
    };
}
pub(crate) use token_text;

/// Signs `claims` for `purpose` (PASETO implicit assertion).
pub(crate) fn sign(key: &SigningKey, claims: &impl Serialize, purpose: &[u8]) -> String {
    let payload = serde_json::to_vec(claims).expect("claims have string keys");
    let secret = AsymmetricSecretKey::<V4>::from(&key.to_keypair_bytes())
        .expect("an Ed25519 key pair is a PASETO v4 secret key");
    PublicToken::sign(&secret, &payload, None, Some(purpose)).expect("the payload is not empty")
}

/// Reads what somebody claims to have signed, unchecked: to find the key that is to be checked with.
pub(crate) fn peek<T: DeserializeOwned>(token: &str, bytes_max: usize) -> Result<T, TokenError> {
    let untrusted = parse(token, bytes_max)?;
    serde_json::from_slice(untrusted.untrusted_payload()).map_err(|_| TokenError::Fields)
}

/// Reads what `public_key` signed for `purpose`, from at most `bytes_max` bytes.
pub(crate) fn verify<T: DeserializeOwned>(
    token: &str,
    public_key: &[u8; 32],
    purpose: &[u8],
    bytes_max: usize,
) -> Result<T, TokenError> {
    let untrusted = parse(token, bytes_max)?;
    let key = AsymmetricPublicKey::<V4>::from(public_key).map_err(|_| TokenError::Signature)?;
    let trusted =
        PublicToken::verify(&key, &untrusted, None, Some(purpose)).map_err(|_| TokenError::Signature)?;
    serde_json::from_str(trusted.payload()).map_err(|_| TokenError::Fields)
}

fn parse(token: &str, bytes_max: usize) -> Result<UntrustedToken<Public, V4>, TokenError> {
    if token.len() > bytes_max {
        return Err(TokenError::Shape);
    }
    let untrusted = UntrustedToken::<Public, V4>::try_from(token).map_err(|_| TokenError::Shape)?;
    if !untrusted.untrusted_footer().is_empty() {
        return Err(TokenError::Shape);
    }
    Ok(untrusted)
}
