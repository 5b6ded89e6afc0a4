//! What is already done, so that an interrupted command run again moves only what is missing; and
//! the shares that were made from here.
//!
//! ```text
//! STATE/uploads/<key>/    a share that is being sent     (upload.rs)
//!       downloads/<key>/  a share that is being fetched  (download.rs)
//!       shares/<id>.json  a share that was published     (owned.rs)
//! ```
//! The directories are private to their owner: they hold the shares' secrets.

mod begun;
mod download;
mod lock;
mod owned;
mod records;
mod upload;

pub use begun::{Begun, Taken, Work};
pub use download::{DownloadHeader, DownloadJournal, LeftOut, Resumed};
pub use owned::{OwnedShare, OwnedShares};
pub use upload::{
    Origin, Sent, SourceFile, Through, UploadHeader, UploadJournal, UploadKey, UploadPlace, UploadSource,
};

use parcelry_core::id::Secret;
use serde::{Deserialize, Deserializer, Serializer};

/// The name of a journal's directory: a hash of what identifies the work.
fn key(parts: &[&[u8]]) -> String {
    let mut hasher = blake3::Hasher::new();
    for part in parts {
        hasher.update(&(part.len() as u64).to_le_bytes());
        hasher.update(part);
    }
    hasher.finalize().to_hex()[..32].to_owned()
}

/// How a secret stands in a private file.
mod secret_text {
    use super::{Deserialize, Deserializer, Secret, Serializer};

    pub(super) fn serialize<S: Serializer>(secret: &Secret, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&secret.expose_text())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Secret, D::Error> {
        let text = String::deserialize(deserializer)?;
        Secret::parse(&text).map_err(serde::de::Error::custom)
    }
}

/// How a path stands in a journal: as text, or as its bytes where they are no text. Old disks have names of other
/// encodings.
mod path_text {
    use std::ffi::OsString;
    use std::os::unix::ffi::{OsStrExt, OsStringExt};
    use std::path::{Path, PathBuf};

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    /// A path that is written.
    pub(super) struct Written<'a>(pub(super) &'a Path);

    impl Serialize for Written<'_> {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            match self.0.to_str() {
                Some(text) => text.serialize(serializer),
                None => self.0.as_os_str().as_bytes().serialize(serializer),
            }
        }
    }

    /// A path that is read.
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Text {
        Unicode(String),
        Bytes(Vec<u8>),
    }

    impl From<Text> for PathBuf {
        fn from(text: Text) -> Self {
            match text {
                Text::Unicode(text) => text.into(),
                Text::Bytes(bytes) => OsString::from_vec(bytes).into(),
            }
        }
    }

    pub(super) fn serialize<S: Serializer>(path: &Path, serializer: S) -> Result<S::Ok, S::Error> {
        Written(path).serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<PathBuf, D::Error> {
        Text::deserialize(deserializer).map(Into::into)
    }

    pub(super) fn deserialize_optional<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<PathBuf>, D::Error> {
        Option::<Text>::deserialize(deserializer).map(|text| text.map(Into::into))
    }
}
