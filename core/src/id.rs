//! The ids of shares, chunks, peers and trackers: what each is, and its text form.

use std::fmt;
use std::str::FromStr;

use data_encoding::{BASE64URL_NOPAD, Encoding, HEXLOWER};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::Schema;
use utoipa::{PartialSchema, ToSchema};
use zeroize::{Zeroize, ZeroizeOnDrop};

/// An id's text is not the one canonical form of its bytes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a {what}: expected {expected}")]
pub struct IdError {
    what: &'static str,
    expected: &'static str,
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $bytes:literal, $what:literal, $encoding:expr, $expected:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name([u8; $bytes]);

        impl $name {
            const ENCODING: Encoding = $encoding;

            /// The id with these bytes.
            pub const fn from_bytes(bytes: [u8; $bytes]) -> Self {
                Self(bytes)
            }

            /// The id's bytes.
            pub const fn as_bytes(&self) -> &[u8; $bytes] {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&Self::ENCODING.encode(&self.0))
            }
        }

        /// The first eight characters: enough to tell ids apart in a log.
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({:.8})", stringify!($name), self.to_string())
            }
        }

        impl PartialSchema for $name {
            fn schema() -> RefOr<Schema> {
                let is_hex = Self::ENCODING == HEXLOWER;
                // 43 digits are two bits more than 32 bytes, and these are zero.
                let pattern = match (is_hex, $bytes * 2) {
                    (true, digits) => format!("^[0-9a-f]{{{digits}}}$"),
                    (false, _) => "^[A-Za-z0-9_-]{42}[AEIMQUYcgkosw048]$".to_owned(),
                };
                crate::schema::text($expected, &pattern)
            }
        }

        impl ToSchema for $name {}

        impl FromStr for $name {
            type Err = IdError;

            fn from_str(text: &str) -> Result<Self, IdError> {
                decode(&Self::ENCODING, text).map(Self).ok_or(IdError { what: $what, expected: $expected })
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

id! {
    /// A share: its Ed25519 public key. Whoever holds the private key owns the share.
    ShareId, 32, "share id", BASE64URL_NOPAD, "43 characters of base64url"
}
id! {
    /// A chunk: the BLAKE3 hash of its sealed bytes.
    ChunkId, 32, "chunk id", HEXLOWER, "64 lower-case hexadecimal digits"
}
id! {
    /// A peer: the SHA-256 of its key's SubjectPublicKeyInfo (RFC 5280).
    PeerId, 32, "peer id", BASE64URL_NOPAD, "43 characters of base64url"
}
id! {
    /// The Ed25519 public key of a peer or tracker, of which its id is the fingerprint.
    PublicKey, 32, "public key", BASE64URL_NOPAD, "43 characters of base64url"
}
id! {
    /// A tracker: the SHA-256 of its key's SubjectPublicKeyInfo (RFC 5280).
    TrackerId, 32, "tracker id", BASE64URL_NOPAD, "43 characters of base64url"
}

id! {
    /// A run of a peer: drawn at random whenever its process starts.
    RunId, 16, "run id", HEXLOWER, "32 lower-case hexadecimal digits"
}
id! {
    /// A server, peer or tracker, where it does not matter which: the id of either.
    ServerId, 32, "server id", BASE64URL_NOPAD, "43 characters of base64url"
}

impl PublicKey {
    /// The peer with this key.
    pub fn peer(&self) -> PeerId {
        PeerId(key_fingerprint(&self.0))
    }
}

impl ChunkId {
    /// The id of a chunk with these sealed bytes.
    pub fn of(sealed: &[u8]) -> Self {
        Self(*blake3::hash(sealed).as_bytes())
    }
}

/// The SHA-256 of the SubjectPublicKeyInfo of an Ed25519 public key (RFC 8410), which is the id of
/// the tracker or peer that holds the key.
pub fn key_fingerprint(public_key: &[u8; 32]) -> [u8; 32] {
    const SPKI_PREFIX: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];
    sha256(&[&SPKI_PREFIX[..], &public_key[..]].concat())
}

/// SHA-256 (FIPS 180-4) of `bytes`.
pub fn sha256(bytes: &[u8]) -> [u8; 32] {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes);
    let mut hash = [0; 32];
    hash.copy_from_slice(digest.as_ref());
    hash
}

/// 32 secret bytes: never printed, wiped when dropped.
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
pub struct Secret([u8; 32]);

impl Secret {
    /// The secret with these bytes.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The bytes, for use in a key derivation or a file only its owner reads.
    pub const fn expose(&self) -> &[u8; 32] {
        &self.0
    }

    /// The base64url text, for use in a link, an invite or an `Authorization` header.
    pub fn expose_text(&self) -> String {
        BASE64URL_NOPAD.encode(&self.0)
    }

    /// The secret whose base64url text is `text`.
    pub fn parse(text: &str) -> Result<Self, IdError> {
        decode(&BASE64URL_NOPAD, text)
            .map(Self)
            .ok_or(IdError { what: "secret", expected: "43 characters of base64url" })
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(***)")
    }
}

/// Only the canonical text of exactly so many bytes: no padding, no stray bits, no other alphabet.
fn decode<const BYTES: usize>(encoding: &Encoding, text: &str) -> Option<[u8; BYTES]> {
    let mut bytes = [0; BYTES];
    if text.len() != encoding.encode_len(BYTES) {
        return None;
    }
    let decoded = encoding.decode_mut(text.as_bytes(), &mut bytes).ok()?;
    (decoded == BYTES).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_forms_round_trip() {
        let bytes = [7; 32];
        assert_eq!(ShareId(bytes).to_string().parse(), Ok(ShareId(bytes)));
        assert_eq!(ChunkId(bytes).to_string().parse(), Ok(ChunkId(bytes)));
        assert_eq!(RunId([7; 16]).to_string().parse(), Ok(RunId([7; 16])));
        assert_eq!(Secret::parse(&Secret(bytes).expose_text()), Ok(Secret(bytes)));
    }

    #[test]
    fn only_the_canonical_text_is_taken() {
        let hex = ChunkId([0xab; 32]).to_string();
        for wrong in [hex.to_uppercase(), hex[1..].to_owned(), format!("{hex}0"), "../../etc/passwd".into()] {
            assert!(wrong.parse::<ChunkId>().is_err(), "{wrong}");
        }
        let text = ShareId([0; 32]).to_string();
        let stray_bits = format!("{}B", &text[..42]);
        for wrong in [stray_bits, format!("{text}="), text.replace('A', "+")] {
            assert!(wrong.parse::<ShareId>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn secrets_do_not_print() {
        assert_eq!(format!("{:?}", Secret([1; 32])), "Secret(***)");
    }
}
