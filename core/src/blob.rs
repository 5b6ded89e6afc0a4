//! Bytes within JSON.

use data_encoding::BASE64URL_NOPAD;
use serde::de::Visitor;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use utoipa::ToSchema;

/// Bytes that travel as base64url in JSON.
#[derive(Clone, PartialEq, Eq, Default, ToSchema)]
#[schema(value_type = String, content_encoding = "base64url", pattern = "^[A-Za-z0-9_-]*$")]
pub struct Blob(pub Vec<u8>);

impl Blob {
    /// Whether there are none.
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl std::fmt::Debug for Blob {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Blob({} bytes)", self.0.len())
    }
}

impl Serialize for Blob {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        // The text of a large one never stands in memory as a whole.
        serializer.collect_str(&BASE64URL_NOPAD.encode_display(&self.0))
    }
}

impl<'de> Deserialize<'de> for Blob {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(BlobText)
    }
}

/// Reads the text where it stands.
struct BlobText;

impl Visitor<'_> for BlobText {
    type Value = Blob;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("bytes in base64url")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Blob, E> {
        BASE64URL_NOPAD.decode(text.as_bytes()).map(Blob).map_err(E::custom)
    }
}
