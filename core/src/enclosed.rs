//! Answers with a manifest, whose bytes follow the JSON as they are: a large one is neither made longer by a third nor held
//! in memory as a text and as bytes.
//!
//! ```text
//! u32be n | n bytes of JSON without `manifest` | the manifest
//! ```

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::api::{Blob, LookUpResponse, ManifestResponse};

/// The media type, for which a client asks with `Accept`.
pub const ENCLOSED: &str = "application/vnd.parcelry.manifest";

/// An answer that has a manifest.
pub trait Encloses: Serialize + DeserializeOwned {
    /// Its manifest.
    fn manifest(&mut self) -> &mut Blob;
}

impl Encloses for LookUpResponse {
    fn manifest(&mut self) -> &mut Blob {
        &mut self.manifest
    }
}

impl Encloses for ManifestResponse {
    fn manifest(&mut self) -> &mut Blob {
        &mut self.manifest
    }
}

/// The answer's JSON with its length, and the manifest that follows it.
pub fn enclose(mut answer: impl Encloses) -> (Vec<u8>, Vec<u8>) {
    let manifest = std::mem::take(&mut answer.manifest().0);
    let mut head = vec![0; 4];
    serde_json::to_writer(&mut head, &answer).expect("answers have string keys");
    let len = u32::try_from(head.len() - 4).expect("without its manifest an answer is small");
    head[..4].copy_from_slice(&len.to_be_bytes());
    (head, manifest)
}

/// What [`enclose`] has made, one after the other. `None`: it is not that.
pub fn disclose<T: Encloses>(mut bytes: Vec<u8>) -> Option<T> {
    let len = usize::try_from(u32::from_be_bytes(*bytes.first_chunk()?)).ok()?;
    let end = len.checked_add(4)?;
    let mut answer: T = serde_json::from_slice(bytes.get(4..end)?).ok()?;
    if !answer.manifest().0.is_empty() {
        return None;
    }
    bytes.drain(..end);
    answer.manifest().0 = bytes;
    Some(answer)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_manifest_follows_its_answer() {
        let answer = ManifestResponse { manifest: Blob(vec![1, 2, 3]), terms: "t".into() };
        let (head, manifest) = enclose(answer.clone());
        assert_eq!((&head[4..], &manifest[..]), (&br#"{"terms":"t"}"#[..], &[1, 2, 3][..]));
        let bytes = [head, manifest].concat();
        assert_eq!(disclose(bytes.clone()), Some(answer));
        for end in 0..bytes.len() - 3 {
            assert_eq!(disclose::<ManifestResponse>(bytes[..end].to_vec()), None, "{end}");
        }
        let twice = b"\0\0\0\x1d{\"terms\":\"t\",\"manifest\":\"AA\"}".to_vec();
        assert_eq!(usize::from(twice[3]), twice.len() - 4);
        assert_eq!(disclose::<ManifestResponse>(twice), None);
    }

    proptest! {
        #[test]
        fn whatever_bytes_come_nothing_panics(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = disclose::<LookUpResponse>(bytes);
        }
    }
}
