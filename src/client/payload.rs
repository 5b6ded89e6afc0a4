//! What requests carry: bytes, and manifests with what is said of them. A manifest is in memory once, however many
//! servers it goes to, and whether it goes out as it is or, to who has not said that it takes that, as text.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use data_encoding::BASE64URL_NOPAD;
use hyper::body::{Body, Frame, SizeHint};
use parcelry_core::enclosed::{ENCLOSED, Encloses, enclose};
use parcelry_core::limits::TAG_BYTES;
use parcelry_core::manifest::Manifest;
use serde::Serialize;

/// A body goes out in pieces of this size.
pub(super) const SEND_BYTES: usize = 128 << 10;
/// So many bytes make a piece of base64.
const ENCODED_BYTES: usize = SEND_BYTES / 4 * 3;

const JSON: &str = "application/json";

/// What a request carries. Its clones share its bytes.
#[derive(Clone)]
pub(super) struct Payload {
    media_type: &'static str,
    parts: VecDeque<Part>,
}

#[derive(Clone)]
enum Part {
    /// These bytes.
    Plain(Bytes),
    /// These bytes in base64url, of which no more is made than what goes out next.
    Base64(Bytes),
}

impl Part {
    /// How many bytes of it are left to go out.
    fn len(&self) -> usize {
        match self {
            Self::Plain(left) => left.len(),
            Self::Base64(left) => BASE64URL_NOPAD.encode_len(left.len()),
        }
    }

    /// Takes the next piece off; an empty one at the end.
    fn take(&mut self) -> Bytes {
        match self {
            // The tag at a chunk's end goes out with what is before it, not in a write of its own.
            Self::Plain(left) if left.len() <= SEND_BYTES + TAG_BYTES => std::mem::take(left),
            Self::Plain(left) => left.split_to(SEND_BYTES),
            // Of bytes in threes the text is that of the whole, cut.
            Self::Base64(left) => {
                BASE64URL_NOPAD.encode(&left.split_to(left.len().min(ENCODED_BYTES))).into()
            }
        }
    }
}

impl Default for Payload {
    fn default() -> Self {
        Self { media_type: JSON, parts: VecDeque::new() }
    }
}

impl From<Bytes> for Payload {
    fn from(bytes: Bytes) -> Self {
        Self { media_type: JSON, parts: [Part::Plain(bytes)].into() }
    }
}

impl Payload {
    /// A request as JSON.
    pub(super) fn json(request: &impl Serialize) -> Self {
        Bytes::from(serde_json::to_vec(request).expect("requests have string keys")).into()
    }

    /// A request with this manifest, whatever manifest of its own it has. To a server that `takes_raw` manifests it goes
    /// behind the JSON; to others it is one more field of it, behind the others: each request has some.
    pub(super) fn with_manifest(request: impl Encloses, manifest: &Arc<Manifest>, takes_raw: bool) -> Self {
        let (head, _) = enclose(request);
        let head = Bytes::from(head);
        let manifest = Bytes::from_owner(Encoded(Arc::clone(manifest)));
        if takes_raw {
            return Self { media_type: ENCLOSED, parts: [Part::Plain(head), Part::Plain(manifest)].into() };
        }
        let others = Part::Plain(head.slice(4..head.len() - 1));
        let name = Part::Plain(Bytes::from_static(b",\"manifest\":\""));
        let end = Part::Plain(Bytes::from_static(b"\"}"));
        Self { media_type: JSON, parts: [others, name, Part::Base64(manifest), end].into() }
    }

    /// What the request is to call it.
    pub(super) const fn media_type(&self) -> &'static str {
        self.media_type
    }

    /// The body, and how much of it is left to go out.
    pub(super) fn into_body(self) -> (Sending, Arc<AtomicUsize>) {
        let left_bytes = Arc::new(AtomicUsize::new(self.parts.iter().map(Part::len).sum()));
        (Sending { parts: self.parts, left_bytes: Arc::clone(&left_bytes) }, left_bytes)
    }
}

/// The body of a request, handed over piece by piece, so that it shows whether it moves.
pub(super) struct Sending {
    parts: VecDeque<Part>,
    left_bytes: Arc<AtomicUsize>,
}

impl Sending {
    fn left_bytes(&self) -> usize {
        self.left_bytes.load(Ordering::Relaxed)
    }
}

impl Body for Sending {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let this = self.get_mut();
        while let Some(part) = this.parts.front_mut() {
            let piece = part.take();
            if !piece.is_empty() {
                this.left_bytes.fetch_sub(piece.len(), Ordering::Relaxed);
                return Poll::Ready(Some(Ok(Frame::data(piece))));
            }
            this.parts.pop_front();
        }
        Poll::Ready(None)
    }

    fn is_end_stream(&self) -> bool {
        self.left_bytes() == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left_bytes() as u64)
    }
}

/// The bytes of a manifest that others use, too.
struct Encoded(Arc<Manifest>);

impl AsRef<[u8]> for Encoded {
    fn as_ref(&self) -> &[u8] {
        self.0.encoded()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::BodyExt;
    use parcelry_core::api::{Blob, CommitRequest};
    use parcelry_core::chunk_set::ChunkSet;
    use parcelry_core::enclosed::disclose;
    use parcelry_core::geometry::{ChunkSize, Geometry};
    use parcelry_core::id::{ChunkId, Secret};
    use parcelry_core::manifest::{Draft, ShareKey};
    use parcelry_core::seal::{Header, ShareKeys};

    /// A manifest of several pieces.
    fn manifest(metadata: &str) -> Arc<Manifest> {
        let chunk_size = ChunkSize::from_log2(16).unwrap();
        let geometry = Geometry::new(10_000 << 16, chunk_size).unwrap();
        let key = ShareKey::from_seed(&Secret::from_bytes([7; 32]));
        let keys = ShareKeys::derive(&Secret::from_bytes([1; 32]), &[2; 32], Header { chunk_size });
        let draft = Draft::new(&key, &keys, &[2; 32], geometry, &vec![ChunkId::of(b"x"); 10_000]);
        Arc::new(draft.finish(&key, &keys, metadata.as_bytes()))
    }

    fn commit(manifest: Vec<u8>) -> CommitRequest {
        CommitRequest { manifest: Blob(manifest), terms: "t".into(), chunks: ChunkSet::full(10_000) }
    }

    fn with(manifest: &Arc<Manifest>, takes_raw: bool) -> Payload {
        Payload::with_manifest(commit(Vec::new()), manifest, takes_raw)
    }

    /// The pieces in which it goes out.
    async fn pieces(payload: Payload) -> Vec<Bytes> {
        let (mut body, left_bytes) = payload.into_body();
        let announced = body.size_hint().exact();
        let mut pieces = Vec::<Bytes>::new();
        while let Some(frame) = body.frame().await {
            pieces.push(frame.unwrap().into_data().unwrap());
            assert_eq!(body.is_end_stream(), left_bytes.load(Ordering::Relaxed) == 0);
        }
        assert!(body.is_end_stream());
        assert_eq!(announced, Some(pieces.iter().map(|piece| piece.len() as u64).sum::<u64>()));
        pieces
    }

    fn joined(pieces: &[Bytes]) -> Vec<u8> {
        pieces.iter().flatten().copied().collect()
    }

    #[tokio::test]
    async fn the_tag_of_a_chunk_goes_with_what_is_before_it() {
        let whole = SEND_BYTES + TAG_BYTES;
        for (bytes, expected) in
            [(0, vec![]), (1, vec![1]), (whole, vec![whole]), (whole + 1, vec![SEND_BYTES, TAG_BYTES + 1])]
        {
            let pieces = pieces(Bytes::from(vec![7; bytes]).into()).await;
            assert_eq!(pieces.iter().map(Bytes::len).collect::<Vec<_>>(), expected);
        }
        assert!(pieces(Payload::default()).await.is_empty());
    }

    #[tokio::test]
    async fn a_manifest_goes_to_every_server_from_where_it_is() {
        let manifest = manifest("{}");
        let there = manifest.encoded().as_ptr_range();
        let there = there.start.addr()..there.end.addr();
        for payload in [with(&manifest, true), with(&manifest, true)] {
            assert_eq!(payload.media_type(), ENCLOSED);
            let pieces = pieces(payload).await;
            let are_there = pieces[1..].iter().all(|piece| there.contains(&piece.as_ptr().addr()));
            assert!(are_there && pieces.len() > 2);
            let read = disclose::<CommitRequest>(joined(&pieces), 1 << 20).unwrap();
            assert_eq!(read, commit(manifest.encoded().to_vec()));
        }
    }

    #[tokio::test]
    async fn as_json_it_says_the_same_in_pieces_of_text() {
        // The last piece ends in one, two or three bytes of a group.
        for metadata in ["{}", "{ }", "{  }"] {
            let manifest = manifest(metadata);
            let payload = with(&manifest, false);
            assert_eq!(payload.media_type(), JSON);
            let pieces = pieces(payload).await;
            assert!(pieces.iter().all(|piece| piece.len() <= SEND_BYTES));
            let read: CommitRequest = serde_json::from_slice(&joined(&pieces)).unwrap();
            assert_eq!(read, commit(manifest.encoded().to_vec()));
        }
    }
}
