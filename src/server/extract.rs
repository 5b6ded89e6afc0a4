//! What handlers take from a request, parsed at the edge: ids, access tokens, bounded JSON bodies.

use std::str::FromStr;

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::{FromRequest, FromRequestParts, RawPathParams, Request};
use axum::http::header::{AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE};
use axum::http::request::Parts;
use http_body_util::BodyExt;
use hyper::body::Frame;
use parcelry_core::api::ProblemKind;
use parcelry_core::id::{Secret, ServerId, ShareId, TrackerId};
use parcelry_core::owner::{Act, Asked, OWNER_TOKEN_FIELD};
use serde::de::DeserializeOwned;
use zeroize::Zeroizing;

use super::fair::Asker;
use super::memory::{MemoryPermit, body_timeout};
use super::{Client, Refusal};
use crate::pace::Pace;

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
        path_part(parts, state, "id").await.map(Self)
    }
}

/// The `{index}` of the path.
#[derive(Debug)]
pub struct Index(pub u32);

impl<S: Send + Sync> FromRequestParts<S> for Index {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refusal> {
        path_part(parts, state, "index").await.map(Self)
    }
}

/// The id of a share in the path, named `share` there: beside another id.
#[derive(Debug, Clone, Copy)]
pub struct OfShare(pub ShareId);

impl<S: Send + Sync> FromRequestParts<S> for OfShare {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refusal> {
        path_part(parts, state, "share").await.map(Self)
    }
}

async fn path_part<T, S>(parts: &mut Parts, state: &S, name: &str) -> Result<T, Refusal>
where
    T: FromStr<Err: std::fmt::Display>,
    S: Send + Sync,
{
    let refuse = |detail: String| Refusal::new(ProblemKind::BadRequest, detail);
    let params = RawPathParams::from_request_parts(parts, state).await;
    let params = params.map_err(|error| refuse(error.body_text()))?;
    let text = params.iter().find(|(key, _)| *key == name).map_or("", |(_, text)| text);
    text.parse().map_err(|error: T::Err| refuse(error.to_string()))
}

/// The credential of the `Authorization: Bearer` header: a token, a grant, or an access token.
#[derive(Debug)]
pub struct Credential(Zeroizing<String>);

impl Credential {
    /// The text, for a grant.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// The secret, for tokens and access tokens.
    pub fn secret(&self) -> Result<Secret, Refusal> {
        Secret::parse(&self.0).map_err(|_| denied())
    }
}

/// The one refusal of every credential: whoever guesses learns nothing from it.
pub fn denied() -> Refusal {
    Refusal::new(ProblemKind::AccessDenied, "the request needs a credential that allows it")
}

/// What follows the scheme, which is written in any case (RFC 9110, 11.1).
fn bearer(header: &str) -> Option<&str> {
    let (scheme, credential) = header.split_once(' ')?;
    scheme.eq_ignore_ascii_case("Bearer").then_some(credential)
}

impl<S: Send + Sync> FromRequestParts<S> for Credential {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Refusal> {
        let header = parts.headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
        let credential = header.and_then(bearer).ok_or_else(denied)?;
        Ok(Self(Zeroizing::new(credential.to_owned())))
    }
}

/// An owner's token, with the credential that it goes with. Whose it is, and for what, [`OwnersWord::check`] tells.
#[derive(Debug)]
pub struct OwnersWord {
    token: String,
    credential: Credential,
    by: Option<ServerId>,
}

impl OwnersWord {
    /// Checks that the share's owner wants this act of the server `at`, a tracker or peer of the swarm of `tracker`.
    pub fn check(
        &self,
        share: ShareId,
        act: Act,
        at: impl Into<ServerId>,
        tracker: TrackerId,
    ) -> Result<(), Refusal> {
        let asked =
            Asked { share, act, at: at.into(), credential: self.credential.expose(), by: self.by, tracker };
        asked.check(&self.token).map_err(|_| denied())
    }

    /// The token itself, to be shown on.
    pub fn into_token(self) -> String {
        self.token
    }
}

impl<S: Send + Sync> FromRequestParts<S> for OwnersWord {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refusal> {
        let credential = Credential::from_request_parts(parts, state).await?;
        let token = parts.headers.get(OWNER_TOKEN_FIELD).and_then(|value| value.to_str().ok());
        let token = token.ok_or_else(denied)?.to_owned();
        let by = parts.extensions.get::<Client>().and_then(|client| client.peer).map(ServerId::from);
        Ok(Self { token, credential, by })
    }
}

/// The access token of a share.
#[derive(Debug)]
pub struct Access(pub Secret);

impl<S: Send + Sync> FromRequestParts<S> for Access {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refusal> {
        Credential::from_request_parts(parts, state).await?.secret().map(Self)
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
        read_json(request, MAX).await.map(Self)
    }
}

/// A JSON body that may be large. The value keeps its permit.
#[derive(Debug)]
pub struct LargeJsonBody<T, const MAX: usize>(pub T, pub MemoryPermit);

impl<T, S, const MAX: usize> FromRequest<S> for LargeJsonBody<T, MAX>
where
    T: DeserializeOwned,
    S: Send + Sync,
{
    type Rejection = Refusal;

    async fn from_request(request: Request, state: &S) -> Result<Self, Refusal> {
        let (mut parts, body) = request.into_parts();
        let asker = match Asker::from_request_parts(&mut parts, state).await {
            Ok(asker) => asker,
            Err(never) => match never {},
        };
        let bytes = body.size_hint().upper().unwrap_or(MAX as u64).min(MAX as u64);
        let mut permit = MemoryPermit::to_read(asker, bytes).await;
        let reading = read_text(Request::from_parts(parts, body), MAX);
        let text = tokio::time::timeout(body_timeout(bytes), reading).await;
        let slow = |_| Refusal::later(ProblemKind::Unavailable, "the body came too slowly", 1);
        let text = text.map_err(slow)??;
        permit.make_value().await;
        Ok(Self(parse(&text)?, permit))
    }
}

async fn read_json<T: DeserializeOwned>(request: Request, max: usize) -> Result<T, Refusal> {
    parse(&read_text(request, max).await?)
}

fn parse<T: DeserializeOwned>(text: &[u8]) -> Result<T, Refusal> {
    serde_json::from_slice(text).map_err(|error| Refusal::new(ProblemKind::BadRequest, error.to_string()))
}

async fn read_text(request: Request, max: usize) -> Result<Vec<u8>, Refusal> {
    let headers = request.headers();
    let says = |name| headers.get(name).map(|value| value.as_bytes());
    let is_json = |value: &[u8]| {
        let kind = value.split(|&byte| byte == b';').next().unwrap_or(value);
        kind.trim_ascii().eq_ignore_ascii_case(b"application/json")
    };
    // A browser asks before it sends JSON to another site, so a page cannot slip a request in. What is
    // compressed is never unpacked: a small body cannot become a large one.
    if !says(CONTENT_TYPE).is_some_and(is_json) || says(CONTENT_ENCODING).is_some() {
        return Err(Refusal::new(ProblemKind::UnsupportedMediaType, "send application/json, uncompressed"));
    }
    collect(request.into_body(), max).await
}

/// Reads a body of at most `max` bytes; a length over it is refused before anything is read, and memory
/// is taken as the bytes come.
async fn collect(body: Body, max: usize) -> Result<Vec<u8>, Refusal> {
    let too_large = || Refusal::new(ProblemKind::TooLarge, format!("at most {max} bytes are taken"));
    let announced = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
    if announced > max {
        return Err(too_large());
    }
    let mut bytes = Vec::new();
    let mut frames = Frames::of(body);
    while let Some(frame) = frames.next().await? {
        if bytes.len() + frame.len() > max {
            return Err(too_large());
        }
        bytes.extend_from_slice(&frame);
    }
    Ok(bytes)
}

/// The pieces of a body; a sender that stalls or trickles is refused.
#[derive(Debug)]
pub struct Frames {
    body: Body,
    pace: Pace,
}

impl Frames {
    /// Reads this body.
    pub fn of(body: Body) -> Self {
        Self { body, pace: Pace::default() }
    }

    /// The next piece; `None` at the end.
    pub async fn next(&mut self) -> Result<Option<Bytes>, Refusal> {
        loop {
            let bytes = |frame: &Option<Result<Frame<Bytes>, axum::Error>>| match frame {
                Some(Ok(frame)) => frame.data_ref().map_or(0, Bytes::len),
                _ => 0,
            };
            let slow = |_| Refusal::later(ProblemKind::Unavailable, "the body came too slowly", 1);
            let data = match self.pace.keep(self.body.frame(), bytes).await.map_err(slow)? {
                None => return Ok(None),
                Some(Err(error)) => {
                    let what = format!("the body broke off: {error}");
                    return Err(Refusal::new(ProblemKind::BadRequest, what));
                }
                Some(Ok(frame)) => frame.into_data().unwrap_or_default(),
            };
            if !data.is_empty() {
                return Ok(Some(data));
            }
        }
    }
}
