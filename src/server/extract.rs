//! What handlers take from a request, parsed at the edge: ids, access tokens, bounded bodies of JSON and of manifests.

use std::str::FromStr;

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::{FromRequest, FromRequestParts, RawPathParams, Request};
use axum::http::header::{AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue};
use http_body_util::BodyExt;
use hyper::body::Frame;
use parcelry_core::api::ProblemKind;
use parcelry_core::enclosed::{ENCLOSED, EnclosedError, Encloses, disclose};
use parcelry_core::id::{Secret, ServerId, ShareId, TrackerId};
use parcelry_core::limits::{ENCLOSED_BODY_BYTES_MAX, ENCLOSED_JSON_BYTES_MAX, MANIFEST_BODY_BYTES_MAX};
use parcelry_core::owner::{Act, Asked, OWNER_TOKEN_FIELD};
use serde::de::DeserializeOwned;
use zeroize::Zeroizing;

use super::fair::Asker;
use super::memory::{MemoryPermit, body_timeout};
use super::{Client, Refusal};
use crate::pace::Pace;

const JSON: &str = "application/json";

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
        check_type(request.headers(), &[JSON])?;
        let (text, permit) = read_large(request, state, MAX).await?;
        Ok(Self(parse(&text)?, permit))
    }
}

/// A body with a manifest, behind the JSON or, from older clients and from pages, within it. The value keeps its permit.
///
/// Behind the JSON the manifest is in memory once: the bytes that were read become it. Within it, it is there as text,
/// which is a third longer, and for a moment as bytes, too. The permit allows for either, and for the one on a peer's disk
/// with which one that comes again is compared.
#[derive(Debug)]
pub struct ManifestBody<T>(pub T, pub MemoryPermit);

impl<T, S> FromRequest<S> for ManifestBody<T>
where
    T: Encloses,
    S: Send + Sync,
{
    type Rejection = Refusal;

    async fn from_request(request: Request, state: &S) -> Result<Self, Refusal> {
        let is_enclosed = check_type(request.headers(), &[ENCLOSED, JSON])? == ENCLOSED;
        let max = if is_enclosed { ENCLOSED_BODY_BYTES_MAX } else { MANIFEST_BODY_BYTES_MAX };
        let (bytes, permit) = read_large(request, state, max).await?;
        let bad = |error: EnclosedError| Refusal::new(ProblemKind::BadRequest, error.to_string());
        if is_enclosed {
            return Ok(Self(disclose(bytes, ENCLOSED_JSON_BYTES_MAX).map_err(bad)?, permit));
        }
        let mut value: T = parse(&bytes)?;
        if value.manifest().is_empty() {
            return Err(bad(EnclosedError::Missing));
        }
        Ok(Self(value, permit))
    }
}

async fn read_json<T: DeserializeOwned>(request: Request, max: usize) -> Result<T, Refusal> {
    check_type(request.headers(), &[JSON])?;
    parse(&collect(request.into_body(), max).await?)
}

/// Reads a large body of at most `max` bytes, once there is room for it; from then on there is also room for what is made
/// of it.
async fn read_large<S: Send + Sync>(
    request: Request,
    state: &S,
    max: usize,
) -> Result<(Vec<u8>, MemoryPermit), Refusal> {
    let (mut parts, body) = request.into_parts();
    check_length(&body, max)?;
    let asker = match Asker::from_request_parts(&mut parts, state).await {
        Ok(asker) => asker,
        Err(never) => match never {},
    };
    let bytes = body.size_hint().upper().unwrap_or(max as u64).min(max as u64);
    let mut permit = MemoryPermit::to_read(asker, bytes).await;
    let read = tokio::time::timeout(body_timeout(bytes), collect(body, max)).await;
    let slow = |_| Refusal::later(ProblemKind::Unavailable, "the body came too slowly", 1);
    let read = read.map_err(slow)??;
    permit.make_value().await;
    Ok((read, permit))
}

fn parse<T: DeserializeOwned>(text: &[u8]) -> Result<T, Refusal> {
    serde_json::from_slice(text).map_err(|error| Refusal::new(ProblemKind::BadRequest, error.to_string()))
}

/// Which of these media types the body has. A browser asks before it sends one of them to another site, so a page cannot
/// slip a request in. What is compressed is never unpacked: a small body cannot become a large one.
fn check_type(headers: &HeaderMap, taken: &[&'static str]) -> Result<&'static str, Refusal> {
    let said = headers.get(CONTENT_TYPE).map_or(&b""[..], HeaderValue::as_bytes);
    let said = said.split(|&byte| byte == b';').next().unwrap_or(said).trim_ascii();
    let known = taken.iter().find(|known| said.eq_ignore_ascii_case(known.as_bytes()));
    let known = known.filter(|_| !headers.contains_key(CONTENT_ENCODING)).copied();
    known.ok_or_else(|| {
        let detail = format!("send {}, uncompressed", taken.join(" or "));
        Refusal::new(ProblemKind::UnsupportedMediaType, detail)
    })
}

/// A length over what is taken is refused before anything is read, and before anybody waits for it.
fn check_length(body: &Body, max: usize) -> Result<(), Refusal> {
    let announced = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
    if announced > max { Err(too_large(max)) } else { Ok(()) }
}

fn too_large(max: usize) -> Refusal {
    Refusal::new(ProblemKind::TooLarge, format!("at most {max} bytes are taken"))
}

/// Reads a body of at most `max` bytes. Memory is taken as the bytes come.
async fn collect(body: Body, max: usize) -> Result<Vec<u8>, Refusal> {
    check_length(&body, max)?;
    let mut bytes = Vec::new();
    let mut frames = Frames::of(body);
    while let Some(frame) = frames.next().await? {
        if bytes.len() + frame.len() > max {
            return Err(too_large(max));
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

#[cfg(test)]
mod tests {
    use std::io;
    use std::pin::Pin;
    use std::task::{Context, Poll};
    use std::time::Duration;

    use futures_util::stream;
    use hyper::body::SizeHint;
    use parcelry_core::api::{Blob, CommitRequest};
    use parcelry_core::chunk_set::ChunkSet;
    use parcelry_core::enclosed::enclose;
    use tokio::time::Instant;

    use super::*;

    const SLOW: &str = "the body came too slowly";

    fn commit() -> CommitRequest {
        let manifest = Blob(b"PRCL, and what follows".to_vec());
        CommitRequest { manifest, terms: "t".into(), chunks: ChunkSet::full(3) }
    }

    fn enclosed() -> Vec<u8> {
        let (head, manifest) = enclose(commit());
        [head, manifest].concat()
    }

    /// A body that announces so many bytes. Below 256 KiB it needs no leave of the budgets, which are the process's.
    struct Announced {
        bytes: u64,
        inner: Body,
    }

    impl HttpBody for Announced {
        type Data = Bytes;
        type Error = axum::Error;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            cx: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
            Pin::new(&mut self.inner).poll_frame(cx)
        }

        fn size_hint(&self) -> SizeHint {
            SizeHint::with_exact(self.bytes)
        }
    }

    fn announced(bytes: u64, inner: Body) -> Body {
        Body::new(Announced { bytes, inner })
    }

    /// What comes of a body of this type; why it is refused.
    async fn taken(
        headers: &[(&str, &str)],
        body: impl Into<Body>,
    ) -> Result<CommitRequest, (ProblemKind, String)> {
        let body: Body = body.into();
        let mut request = Request::new(body);
        for (name, value) in headers {
            let name = axum::http::HeaderName::try_from(*name).unwrap();
            request.headers_mut().insert(name, HeaderValue::from_str(value).unwrap());
        }
        let taken = ManifestBody::<CommitRequest>::from_request(request, &()).await;
        let refused = |Refusal { problem, .. }| (problem.kind, problem.detail);
        taken.map(|ManifestBody(request, _)| request).map_err(refused)
    }

    async fn refused(media_type: &str, body: impl Into<Body>) -> (ProblemKind, String) {
        taken(&[("content-type", media_type)], body).await.unwrap_err()
    }

    #[tokio::test]
    async fn a_manifest_is_taken_behind_the_json_and_within_it_as_the_type_says() {
        let json = serde_json::to_vec(&commit()).unwrap();
        for media_type in [ENCLOSED, "Application/VND.parcelry.Manifest ; v=1"] {
            assert_eq!(taken(&[("content-type", media_type)], enclosed()).await, Ok(commit()));
        }
        let plain = [("content-type", "application/json; charset=utf-8")];
        assert_eq!(taken(&plain, json.clone()).await, Ok(commit()));
        assert_eq!(refused(ENCLOSED, json.clone()).await.0, ProblemKind::BadRequest);
        assert_eq!(refused(JSON, enclosed()).await.0, ProblemKind::BadRequest);
        for (media_type, coding) in [
            ("text/plain", "identity"),
            ("application/octet-stream", ""),
            (ENCLOSED, "gzip"),
            (ENCLOSED, "identity"),
            (JSON, "gzip"),
        ] {
            let mut headers = vec![("content-type", media_type)];
            headers.extend((!coding.is_empty()).then_some(("content-encoding", coding)));
            let (kind, detail) = taken(&headers, enclosed()).await.unwrap_err();
            assert_eq!(kind, ProblemKind::UnsupportedMediaType, "{media_type} {coding}");
            assert!(detail.contains(ENCLOSED) && detail.contains(JSON), "{detail}");
        }
        assert_eq!(taken(&[], enclosed()).await.unwrap_err().0, ProblemKind::UnsupportedMediaType);
    }

    #[tokio::test]
    async fn a_request_without_a_manifest_or_with_two_is_refused() {
        let (head, _) = enclose(commit());
        assert_eq!(refused(ENCLOSED, head.clone()).await.1, "there is no manifest");
        assert_eq!(refused(JSON, head[4..].to_vec()).await.1, "there is no manifest");
        let empty = r#"{"manifest":"","terms":"t","chunks":"3.4A"}"#;
        assert_eq!(refused(JSON, empty).await.1, "there is no manifest");
        let json = serde_json::to_vec(&commit()).unwrap();
        let both = [&u32::try_from(json.len()).unwrap().to_be_bytes()[..], &json, b"PRCL"].concat();
        let (kind, detail) = refused(ENCLOSED, both).await;
        assert!(kind == ProblemKind::BadRequest && detail.contains("another one behind it"), "{detail}");
    }

    #[tokio::test]
    async fn what_is_too_long_is_refused_before_it_is_read() {
        let never = || Body::from_stream(stream::pending::<io::Result<Bytes>>());
        let more = |max: usize| announced(max as u64 + 1, never());
        assert_eq!(refused(ENCLOSED, more(ENCLOSED_BODY_BYTES_MAX)).await.0, ProblemKind::TooLarge);
        assert_eq!(refused(JSON, more(MANIFEST_BODY_BYTES_MAX)).await.0, ProblemKind::TooLarge);
        // The JSON before a manifest has a bound of its own, however long the body may be.
        let mut long = enclosed();
        long[..4].copy_from_slice(&u32::try_from(ENCLOSED_JSON_BYTES_MAX + 1).unwrap().to_be_bytes());
        assert_eq!(refused(ENCLOSED, long).await.0, ProblemKind::BadRequest);
    }

    #[tokio::test]
    async fn what_is_cut_short_is_refused() {
        let whole = enclosed();
        for end in [0, 3, 4, 20, whole.len() - 1] {
            let pieces = [Ok(whole[..end].to_vec()), Err(io::Error::from(io::ErrorKind::ConnectionReset))];
            let body = announced(whole.len() as u64, Body::from_stream(stream::iter(pieces)));
            let (kind, detail) = refused(ENCLOSED, body).await;
            assert!(kind == ProblemKind::BadRequest && detail.starts_with("the body broke off"), "{detail}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_drips_or_stands_still_is_given_up() {
        let begun = Instant::now();
        // Faster than the pace that every body must keep, and too slow for so many.
        let drip = stream::unfold((), |()| async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            Some((Ok::<_, io::Error>(vec![0_u8; 2048]), ()))
        });
        let body = announced(250_000, Body::from_stream(drip));
        assert_eq!(refused(ENCLOSED, body).await, (ProblemKind::Unavailable, SLOW.to_owned()));
        assert!(begun.elapsed() < Duration::from_secs(40), "{:?}", begun.elapsed());
        let pieces = stream::iter([Ok(enclosed()[..9].to_vec())]);
        let still = futures_util::StreamExt::chain(pieces, stream::pending::<io::Result<Vec<u8>>>());
        let body = announced(1000, Body::from_stream(still));
        assert_eq!(refused(ENCLOSED, body).await, (ProblemKind::Unavailable, SLOW.to_owned()));
    }
}
