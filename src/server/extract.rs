//! What handlers take from a request, parsed at the edge: ids, access tokens, bounded JSON bodies.

use std::str::FromStr;

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::{FromRequest, FromRequestParts, Path, Request};
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use http_body_util::BodyExt;
use serde::de::DeserializeOwned;
use swarmdrop_core::api::ProblemKind;
use swarmdrop_core::id::Secret;
use swarmdrop_core::limits::BODY_IDLE_TIMEOUT;

use super::Refusal;

/// The `{id}` of the path.
#[derive(Debug)]
pub struct Id<T>(pub T);

impl<T, S> FromRequestParts<S> for Id<T>
where
    T: FromStr<Err: std::fmt::Display>,
    S: Send + Sync,
{
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refusal> {
        let refuse = |detail: String| Refusal::new(ProblemKind::BadRequest, detail);
        let Path(text) =
            Path::<String>::from_request_parts(parts, state).await.map_err(|e| refuse(e.body_text()))?;
        text.parse().map(Self).map_err(|error: T::Err| refuse(error.to_string()))
    }
}

/// The access token of the `Authorization: Bearer` header.
#[derive(Debug)]
pub struct Access(pub Secret);

impl<S: Send + Sync> FromRequestParts<S> for Access {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Refusal> {
        let header = parts.headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
        header
            .and_then(|value| value.strip_prefix("Bearer "))
            .and_then(|token| Secret::parse(token).ok())
            .map(Self)
            .ok_or_else(|| Refusal::new(ProblemKind::AccessDenied, "the share's access token is needed"))
    }
}

/// A JSON body of at most `MAX` bytes.
#[derive(Debug)]
pub struct JsonBody<T, const MAX: usize>(pub T);

impl<T, S, const MAX: usize> FromRequest<S> for JsonBody<T, MAX>
where
    T: DeserializeOwned,
    S: Send + Sync,
{
    type Rejection = Refusal;

    async fn from_request(request: Request, _: &S) -> Result<Self, Refusal> {
        let bytes = collect(request.into_body(), MAX).await?;
        let parsed = serde_json::from_slice(&bytes);
        parsed.map(Self).map_err(|error| Refusal::new(ProblemKind::BadRequest, error.to_string()))
    }
}

/// Reads a body of at most `max` bytes; a length over it is refused before anything is read.
async fn collect(mut body: Body, max: usize) -> Result<Vec<u8>, Refusal> {
    let too_large = || Refusal::new(ProblemKind::TooLarge, format!("at most {max} bytes are taken"));
    let announced = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
    if announced > max {
        return Err(too_large());
    }
    let mut bytes = Vec::with_capacity(announced);
    while let Some(frame) = next_frame(&mut body).await? {
        if bytes.len() + frame.len() > max {
            return Err(too_large());
        }
        bytes.extend_from_slice(&frame);
    }
    Ok(bytes)
}

/// The next piece of a body; a sender that stalls is refused.
pub async fn next_frame(body: &mut Body) -> Result<Option<Bytes>, Refusal> {
    let refuse = |detail: String| Refusal::new(ProblemKind::BadRequest, detail);
    loop {
        match tokio::time::timeout(BODY_IDLE_TIMEOUT, body.frame()).await {
            Err(_) => return Err(refuse("the body stalled".into())),
            Ok(None) => return Ok(None),
            Ok(Some(Err(error))) => return Err(refuse(format!("the body broke off: {error}"))),
            Ok(Some(Ok(frame))) => {
                if let Ok(data) = frame.into_data() {
                    return Ok(Some(data));
                }
            }
        }
    }
}
