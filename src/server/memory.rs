//! Large bodies, in and out: what is in memory at once is bounded in bytes, whatever the number of requests, and
//! nobody takes more of it than leaves some for the next one.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::io::{self, Write};
use std::pin::Pin;
use std::sync::LazyLock;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::FromRequestParts;
use axum::http::header::{ACCEPT, CONTENT_TYPE};
use axum::http::request::Parts;
use axum::http::{HeaderValue, Response};
use axum::response::IntoResponse;
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use parcelry_core::enclosed::{ENCLOSED, Encloses, enclose};
use parcelry_core::limits::{
    JSON_BODY_BYTES_MAX, LARGE_BODY_BYTES_PER_SECOND, LARGE_BODY_TIME, LARGE_VALUES_BYTES_MAX,
};
use serde::Serialize;
use tokio::time::Instant;

use super::Refusal;
use super::fair::{Asker, FairSemaphore, Held};

/// The budgets are kept in pieces of this size, and the text of an answer in memory as well.
const PIECE_BYTES: usize = 1 << 20;
/// So many times its bytes may be taken beside a body, while a value is made of it or it of one. JSON may take all of that; a
/// body with a manifest behind JSON, whose bytes become the manifest, takes less.
const COPIES: u64 = 2;
/// A response's body is handed over in pieces of this size.
const FRAME_BYTES: usize = 64 << 10;

/// Room for bodies, whether they are JSON or have a manifest behind it: how long one is held is up to whoever sends or
/// takes it.
static TEXTS: LazyLock<FairSemaphore> = LazyLock::new(half);
/// Room for values and what is made of them: how long it is held is up to this process.
static VALUES: LazyLock<FairSemaphore> = LazyLock::new(half);

fn half() -> FairSemaphore {
    FairSemaphore::new(pieces(LARGE_VALUES_BYTES_MAX / 2))
}

fn pieces(bytes: u64) -> u64 {
    bytes.div_ceil(PIECE_BYTES as u64)
}

/// How long a body of so many bytes may take between the other side and here.
pub(super) fn body_timeout(bytes: u64) -> Duration {
    LARGE_BODY_TIME + Duration::from_secs(bytes / LARGE_BODY_BYTES_PER_SECOND)
}

/// Leave to hold a large value in memory; small ones need none.
#[derive(Debug)]
pub struct MemoryPermit {
    asker: Asker,
    bytes: u64,
    text: Option<Held>,
    value: Option<Held>,
}

impl MemoryPermit {
    /// Waits until a value of this many bytes has room, and the text that is made of it: a third longer, in base64.
    pub async fn wait(asker: Asker, bytes: u64) -> Self {
        let mut permit = Self::to_read(asker, bytes.div_ceil(3).saturating_mul(4)).await;
        permit.make_value().await;
        permit
    }

    /// Waits until a body of this many bytes has room, of JSON or with a manifest behind it. Who waits for the room of its
    /// value has this one already, and never the other way round: nobody waits for somebody who waits for him.
    pub(super) async fn to_read(asker: Asker, bytes: u64) -> Self {
        let is_large = bytes > JSON_BODY_BYTES_MAX as u64;
        let text = if is_large { Some(TEXTS.wait(asker, pieces(bytes)).await) } else { None };
        Self { asker, bytes, text, value: None }
    }

    /// Waits until the value has room, too.
    pub(super) async fn make_value(&mut self) {
        if self.text.is_some() && self.value.is_none() {
            let bytes = self.bytes.saturating_mul(COPIES);
            self.value = Some(VALUES.wait(self.asker, pieces(bytes)).await);
        }
    }

    /// From now on there is a text of this many bytes, and no value any more.
    fn keep_text(&mut self, bytes: u64) {
        self.value = None;
        if let Some(text) = &mut self.text {
            text.shrink_to(pieces(bytes));
        }
    }
}

/// A JSON response that may be large. It keeps its permit until it is sent, and less of it the more is sent.
#[derive(Debug)]
pub struct LargeJson<T>(pub T, pub MemoryPermit);

impl<T: Serialize> IntoResponse for LargeJson<T> {
    fn into_response(self) -> axum::response::Response {
        let Self(value, permit) = self;
        let mut text = Text::default();
        let written = serde_json::to_writer(&mut text, &value);
        drop(value);
        match written {
            Ok(()) => text.respond(permit, "application/json"),
            Err(error) => Refusal::internal(&error).into_response(),
        }
    }
}

impl<T: Encloses> LargeJson<T> {
    /// The response in the layout that was asked for.
    pub fn in_layout(self, layout: Layout) -> axum::response::Response {
        match layout {
            Layout::Json => self.into_response(),
            Layout::Enclosed => {
                let Self(value, permit) = self;
                let (head, manifest) = enclose(value);
                let mut text = Text::default();
                let written = text.write_all(&head).and_then(|()| text.write_all(&manifest));
                drop(manifest);
                match written {
                    Ok(()) => text.respond(permit, ENCLOSED),
                    Err(error) => Refusal::internal(&error).into_response(),
                }
            }
        }
    }
}

/// How an answer with a manifest is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// All of it is JSON.
    Json,
    /// The manifest's bytes follow the JSON.
    Enclosed,
}

impl<S: Send + Sync> FromRequestParts<S> for Layout {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        let is_asked_for = parts.headers.get(ACCEPT).is_some_and(|types| types == ENCLOSED);
        Ok(if is_asked_for { Self::Enclosed } else { Self::Json })
    }
}

/// A text in pieces, each of which is let go of when it was sent.
#[derive(Debug, Default)]
struct Text {
    whole: VecDeque<Bytes>,
    last: Vec<u8>,
    bytes: u64,
}

impl Write for Text {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = bytes.len().min(PIECE_BYTES - self.last.len());
        self.last.extend_from_slice(&bytes[..taken]);
        self.bytes += taken as u64;
        if self.last.len() == PIECE_BYTES {
            self.whole.push_back(std::mem::take(&mut self.last).into());
        }
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Text {
    /// A response that keeps its permit until it is sent.
    fn respond(self, mut permit: MemoryPermit, media_type: &'static str) -> axum::response::Response {
        permit.keep_text(self.bytes);
        let until = Instant::now() + body_timeout(self.bytes);
        let mut response = Response::new(Body::new(LargeBody { left: self, permit, until }));
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
        response
    }

    /// Takes a part off its beginning; an empty one at the end.
    fn take(&mut self) -> Bytes {
        if self.whole.is_empty() {
            self.whole.push_back(std::mem::take(&mut self.last).into());
        }
        let Some(first) = self.whole.front_mut() else { return Bytes::new() };
        let part = first.split_to(first.len().min(FRAME_BYTES));
        if first.is_empty() {
            self.whole.pop_front();
        }
        self.bytes -= part.len() as u64;
        part
    }
}

struct LargeBody {
    left: Text,
    permit: MemoryPermit,
    /// When it must have been taken.
    until: Instant,
}

impl HttpBody for LargeBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        if Instant::now() > self.until {
            let slow = io::Error::new(io::ErrorKind::TimedOut, "the answer is taken too slowly");
            return Poll::Ready(Some(Err(slow)));
        }
        let part = self.left.take();
        let left = self.left.bytes;
        self.permit.keep_text(left);
        Poll::Ready((!part.is_empty()).then(|| Ok(Frame::data(part))))
    }

    fn is_end_stream(&self) -> bool {
        self.left.bytes == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left.bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::BodyExt;
    use std::net::IpAddr;

    fn asker(number: u8) -> Asker {
        Asker::new(None, IpAddr::from([10, 0, 0, number]))
    }

    /// One test, as the budgets are the process's.
    #[tokio::test(start_paused = true)]
    async fn s11_large_values_wait_for_room_and_small_ones_and_those_of_others_do_not() {
        let large = |number, bytes| MemoryPermit::wait(asker(number), bytes);
        let has_room = async |number, bytes| {
            let permit = MemoryPermit::to_read(asker(number), bytes);
            tokio::time::timeout(Duration::from_millis(20), permit).await.is_ok()
        };
        let most = LARGE_VALUES_BYTES_MAX / 2;
        let all = large(1, most).await;
        let _small = large(1, 1000).await;
        assert!(!has_room(1, JSON_BODY_BYTES_MAX as u64 + 1).await);
        let response = LargeJson("x".repeat(5_000_000), all).into_response();
        assert!(!has_room(1, most - (4 << 20)).await, "what is not sent is held");
        assert!(has_room(2, most - (5 << 20)).await, "and no more than that");
        let mut body = response.into_body();
        let mut read = 0;
        while read < 3_000_000 {
            read += body.frame().await.unwrap().unwrap().into_data().unwrap().len();
        }
        assert!(has_room(2, most - (3 << 20)).await, "what was sent is not");
        tokio::time::sleep(body_timeout(5_000_002)).await;
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert!(body.frame().await.unwrap().is_err(), "whoever takes it too slowly gets no more");
        drop(body);

        // Who has as many answers as he may, and takes none of them, leaves room for others.
        let mut slow = Vec::new();
        for _ in 0..30 {
            let permit = tokio::time::timeout(Duration::from_millis(1), large(3, 20 << 20)).await;
            slow.extend(permit.ok().map(|permit| LargeJson("x".repeat(20 << 20), permit).into_response()));
        }
        assert!((2..=6).contains(&slow.len()), "{}", slow.len());
        assert!(has_room(4, 60 << 20).await);
    }

    #[tokio::test]
    async fn a_text_in_pieces_is_what_was_written() {
        let value = "\u{fc}x".repeat(1_500_000);
        let permit = MemoryPermit::wait(asker(9), 1000).await;
        let response = LargeJson(&value, permit).into_response();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(serde_json::from_slice::<String>(&body).unwrap(), value);
    }
}
