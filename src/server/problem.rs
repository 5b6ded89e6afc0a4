//! Refusals: problem documents (RFC 9457) as responses.

use std::any::Any;

use axum::Json;
use axum::body::Body;
use axum::http::header::{CONTENT_TYPE, RETRY_AFTER};
use axum::http::{HeaderValue, Response, StatusCode};
use axum::response::IntoResponse;
use parcelry_core::api::{Problem, ProblemKind};

/// A request that is refused, with the reason.
#[derive(Debug, Clone)]
pub struct Refusal {
    /// What the caller is told.
    pub problem: Problem,
    /// Seconds after which to try again.
    after_seconds: Option<u32>,
}

impl Refusal {
    /// A refusal of this kind, with what happened.
    pub fn new(kind: ProblemKind, detail: impl Into<String>) -> Self {
        Self { problem: Problem::new(kind, detail), after_seconds: None }
    }

    /// A refusal that may be otherwise after so many seconds.
    pub fn later(kind: ProblemKind, detail: impl Into<String>, seconds: u32) -> Self {
        Self { problem: Problem::new(kind, detail), after_seconds: Some(seconds) }
    }

    /// A failure of ours: the log says what, the caller learns only that.
    pub fn internal(error: &dyn std::fmt::Display) -> Self {
        tracing::error!(%error, "a request failed");
        Self::new(ProblemKind::Internal, "the server's log says more")
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> axum::response::Response {
        let status = StatusCode::from_u16(self.problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (status, Json(self.problem)).into_response();
        if let Some(seconds) = self.after_seconds {
            response.headers_mut().insert(RETRY_AFTER, seconds.into());
        }
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        response
    }
}

/// A bug in a handler ends that request only.
pub(super) fn after_panic(_: Box<dyn Any + Send + 'static>) -> Response<Body> {
    Refusal::internal(&"a handler panicked").into_response()
}
