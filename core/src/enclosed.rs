//! Requests and answers with a manifest, whose bytes follow the JSON as they are: a large one is neither made longer by a
//! third nor held in memory as a text and as bytes.
//!
//! ```text
//! u32be n | n bytes of JSON without `manifest` | the manifest
//! ```

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::api::{AnnounceRequest, Blob, CommitRequest, LookUpResponse, ManifestResponse, PublishRequest};
use crate::gateway::FinishRequest;

/// The media type: of such a request, which goes to who has said `takes_raw_manifests` in an answer before it and to nobody
/// else, and of such an answer, for which a client asks with `Accept`.
pub const ENCLOSED: &str = "application/vnd.parcelry.manifest";

/// A request or an answer that has a manifest.
pub trait Encloses: Serialize + DeserializeOwned {
    /// Its manifest.
    fn manifest(&mut self) -> &mut Blob;
}

macro_rules! encloses {
    ($($message:ty),*) => {$(
        impl Encloses for $message {
            fn manifest(&mut self) -> &mut Blob {
                &mut self.manifest
            }
        }
    )*};
}

encloses!(AnnounceRequest, CommitRequest, FinishRequest, LookUpResponse, ManifestResponse, PublishRequest);

/// Bytes that are no message with a manifest.
#[derive(Debug, thiserror::Error)]
pub enum EnclosedError {
    /// They end before the JSON does, or it is longer than it may be.
    #[error("they do not begin with JSON of at most {max} bytes and with its length before that")]
    Length {
        /// How long it may be.
        max: usize,
    },
    /// The JSON is not the message's.
    #[error(transparent)]
    Json(#[from] serde_json::Error),
    /// There are two manifests, and nobody can say which of them is meant.
    #[error("there is a manifest in the JSON and another one behind it")]
    Two,
    /// There is no manifest.
    #[error("there is no manifest")]
    Missing,
}

/// The message's JSON with its length, and the manifest that follows it.
pub fn enclose(mut message: impl Encloses) -> (Vec<u8>, Vec<u8>) {
    let manifest = std::mem::take(&mut message.manifest().0);
    let mut head = vec![0; 4];
    serde_json::to_writer(&mut head, &message).expect("messages have string keys");
    let len = u32::try_from(head.len() - 4).expect("without its manifest a message is small");
    head[..4].copy_from_slice(&len.to_be_bytes());
    (head, manifest)
}

/// What [`enclose`] has made, one after the other, if its JSON has at most `json_max` bytes. Whatever the length before it
/// says, no more memory is taken than there are bytes; these become the manifest, which so is in memory once.
pub fn disclose<T: Encloses>(mut bytes: Vec<u8>, json_max: usize) -> Result<T, EnclosedError> {
    let wrong = || EnclosedError::Length { max: json_max };
    let len = u32::from_be_bytes(*bytes.first_chunk().ok_or_else(wrong)?);
    let len = usize::try_from(len).ok().filter(|len| *len <= json_max).ok_or_else(wrong)?;
    let end = len.saturating_add(4);
    let mut message: T = serde_json::from_slice(bytes.get(4..end).ok_or_else(wrong)?)?;
    if !message.manifest().is_empty() {
        return Err(EnclosedError::Two);
    }
    bytes.drain(..end);
    if bytes.is_empty() {
        return Err(EnclosedError::Missing);
    }
    message.manifest().0 = bytes;
    Ok(message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chunk_set::ChunkSet;
    use crate::id::ShareId;
    use proptest::prelude::*;

    /// More than the JSON of the tests has.
    const MAX: usize = 1 << 10;

    fn answer() -> ManifestResponse {
        ManifestResponse { manifest: Blob(b"PRCL".to_vec()), terms: "t".into() }
    }

    fn read(bytes: Vec<u8>) -> Result<ManifestResponse, EnclosedError> {
        disclose(bytes, MAX)
    }

    /// These bytes with another length before the JSON.
    fn claiming(bytes: &[u8], len: u32) -> Vec<u8> {
        [&len.to_be_bytes()[..], &bytes[4..]].concat()
    }

    #[test]
    fn a_manifest_follows_its_message() {
        let (head, manifest) = enclose(answer());
        assert_eq!((&head[4..], &manifest[..]), (&br#"{"terms":"t"}"#[..], &b"PRCL"[..]));
        let (whole, bytes) = (head.len(), [head, manifest].concat());
        assert_eq!(read(bytes.clone()).unwrap(), answer());
        for end in 0..whole {
            assert!(matches!(read(bytes[..end].to_vec()), Err(EnclosedError::Length { .. })), "{end}");
        }
        assert!(matches!(read(bytes[..whole].to_vec()), Err(EnclosedError::Missing)));
    }

    #[test]
    fn a_manifest_is_not_in_memory_twice() {
        let request = PublishRequest {
            manifest: Blob(vec![7; 100_000]),
            terms: "t".into(),
            receipts: vec!["r".into()],
        };
        let at = request.manifest.0.as_ptr();
        let (head, manifest) = enclose(request);
        assert_eq!(manifest.as_ptr(), at);
        let bytes = [head, manifest].concat();
        let at = bytes.as_ptr();
        assert_eq!(disclose::<PublishRequest>(bytes, MAX).unwrap().manifest.0.as_ptr(), at);
    }

    #[test]
    fn lengths_that_lie_and_a_second_manifest_are_refused() {
        let (head, manifest) = enclose(answer());
        let (right, bytes) = (u32::try_from(head.len() - 4).unwrap(), [head, manifest].concat());
        for len in [0, 1, right - 1, right + 1, right + 4] {
            assert!(matches!(read(claiming(&bytes, len)), Err(EnclosedError::Json(_))), "{len}");
        }
        for len in [right + 5, 1 << 20, u32::MAX] {
            assert!(matches!(read(claiming(&bytes, len)), Err(EnclosedError::Length { .. })), "{len}");
        }
        let json_max = right as usize;
        assert!(disclose::<ManifestResponse>(bytes.clone(), json_max).is_ok());
        let too_long = disclose::<ManifestResponse>(bytes, json_max - 1);
        assert!(matches!(too_long, Err(EnclosedError::Length { max }) if max == json_max - 1));
        let twice = br#"    {"terms":"t","manifest":"AA"}PRCL"#;
        assert!(matches!(read(claiming(twice, 29)), Err(EnclosedError::Two)));
        let unknown = br#"    {"terms":"t","chunks":"0.","x":1}PRCL"#;
        let unknown = disclose::<CommitRequest>(claiming(unknown, 33), MAX);
        assert!(matches!(unknown, Err(EnclosedError::Json(_))));
    }

    proptest! {
        #[test]
        fn every_request_says_the_same_in_both_layouts(
            manifest in proptest::collection::vec(any::<u8>(), 1..200),
            terms in "[ -~]{0,40}",
            receipts in proptest::collection::vec("[ -~]{0,40}", 0..4),
            share in any::<[u8; 32]>(),
            chunks in 0u32..100,
        ) {
            let share = ShareId::from_bytes(share);
            let (manifest, terms, chunks) = (Blob(manifest), terms.into(), ChunkSet::full(chunks));
            let announce = AnnounceRequest { share, manifest, terms, chunks };
            let AnnounceRequest { manifest, terms, chunks, .. } = announce.clone();
            let commit = CommitRequest { manifest: manifest.clone(), terms: terms.clone(), chunks };
            let publish = PublishRequest { manifest: manifest.clone(), terms: terms.clone(), receipts };
            let finish = FinishRequest { manifest, terms };
            macro_rules! check {
                ($($request:ident: $of:ty),*) => {$(
                    let (head, manifest) = enclose($request.clone());
                    prop_assert_eq!(&disclose::<$of>([head, manifest].concat(), MAX).unwrap(), &$request);
                    let json = serde_json::to_vec(&$request).unwrap();
                    prop_assert_eq!(&serde_json::from_slice::<$of>(&json).unwrap(), &$request);
                )*};
            }
            check!(announce: AnnounceRequest, commit: CommitRequest);
            check!(publish: PublishRequest, finish: FinishRequest);
        }

        #[test]
        fn another_length_than_the_right_one_is_noticed(len in prop_oneof![0u32..64, any::<u32>()]) {
            let (head, manifest) = enclose(answer());
            let (right, bytes) = (u32::try_from(head.len() - 4).unwrap(), [head, manifest].concat());
            prop_assert_eq!(read(claiming(&bytes, len)).is_ok(), len == right);
        }

        #[test]
        fn whatever_bytes_come_nothing_panics(
            bytes in proptest::collection::vec(any::<u8>(), 0..64),
            len in 0u32..64,
        ) {
            let _ = disclose::<LookUpResponse>(bytes.clone(), MAX);
            if bytes.len() >= 4 {
                let _ = disclose::<PublishRequest>(claiming(&bytes, len), MAX);
            }
        }
    }
}
