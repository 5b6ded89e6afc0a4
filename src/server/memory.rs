//! Large bodies, in and out: what is in memory at once is bounded in bytes, whatever the number of requests.

use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::{Body, Bytes};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderValue, Response};
use axum::response::IntoResponse;
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use serde::Serialize;
use swarmdrop_core::limits::{JSON_BODY_BYTES_MAX, LARGE_VALUES_BYTES_MAX};
use tokio::sync::{Semaphore, SemaphorePermit};

use super::Refusal;

/// The budget is kept in pieces of this size.
const PIECE_BYTES: u64 = 1 << 20;
/// What a JSON body takes beside itself: its text in base64, and the value that is made of it or it of.
const COPIES: u64 = 3;
/// A response's body is handed over in pieces of this size, so that its turn lasts until it is nearly sent.
const FRAME_BYTES: usize = 64 << 10;

static PIECES: Semaphore = Semaphore::const_new((LARGE_VALUES_BYTES_MAX / PIECE_BYTES) as usize);

/// Leave to hold a large value in memory; small ones need none.
#[derive(Debug)]
pub struct Turn {
    _permit: Option<SemaphorePermit<'static>>,
}

impl Turn {
    /// Waits until a value of this many bytes has room.
    pub async fn wait(bytes: u64) -> Self {
        if bytes <= JSON_BODY_BYTES_MAX as u64 {
            return Self { _permit: None };
        }
        let wanted = bytes.saturating_mul(COPIES).min(LARGE_VALUES_BYTES_MAX).div_ceil(PIECE_BYTES);
        let wanted = u32::try_from(wanted).unwrap_or(u32::MAX);
        // The budget is never closed.
        Self { _permit: PIECES.acquire_many(wanted).await.ok() }
    }
}

/// A JSON response that may be large. It keeps its turn until it is sent.
#[derive(Debug)]
pub struct LargeJson<T>(pub T, pub Turn);

impl<T: Serialize> IntoResponse for LargeJson<T> {
    fn into_response(self) -> axum::response::Response {
        match serde_json::to_vec(&self.0) {
            Ok(json) => {
                let mut response = Response::new(Body::new(TurnBody { left: json.into(), _turn: self.1 }));
                response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
                response
            }
            Err(error) => Refusal::internal(&error).into_response(),
        }
    }
}

struct TurnBody {
    left: Bytes,
    _turn: Turn,
}

impl HttpBody for TurnBody {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let bytes = self.left.len().min(FRAME_BYTES);
        let piece = self.left.split_to(bytes);
        Poll::Ready((!piece.is_empty()).then(|| Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.left.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left.len() as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::BodyExt;
    use std::time::Duration;

    #[tokio::test]
    async fn large_values_wait_for_room_and_small_ones_do_not() {
        let large = || Turn::wait(JSON_BODY_BYTES_MAX as u64 + 1);
        let has_room = async || tokio::time::timeout(Duration::from_millis(20), large()).await.is_ok();
        let all = Turn::wait(u64::MAX).await;
        let _small = Turn::wait(1000).await;
        assert!(!has_room().await);
        let response = LargeJson("x".repeat(200_000), all).into_response();
        assert!(!has_room().await, "a response keeps its turn");
        let body = response.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(body.len(), 200_002);
        large().await;
    }
}
