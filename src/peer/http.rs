//! The peer's routes, and the handlers that turn requests into calls.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::sync::Arc;

use axum::body::{Body, HttpBody};
use axum::extract::{Request, State};
use axum::http::header::{ACCEPT_RANGES, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, RANGE};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json, Router};
use bytes::Bytes;
use futures_util::stream;
use parcelry_core::api::{
    AuditRequest, AuditResponse, Blob, CommitRequest, CommitResponse, Health, HoldingResponse,
    ManifestResponse, OfferRequest, OfferResponse, Problem, ProblemKind, Role,
};
use parcelry_core::grant::Operation;
use parcelry_core::id::{ChunkId, PeerId, ShareId};
use parcelry_core::limits::{
    CHUNK_LOG2_MAX, JSON_BODY_BYTES_MAX, OFFER_BODY_BYTES_MAX, PIECE_BYTES, TAG_BYTES,
};
use parcelry_core::manifest::Manifest;
use parcelry_core::seal::access_matches;
use utoipa::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::grants::{Charge, Committing, KnownGrant, Offering};
use super::storage::{Held, Storage, StorageError, read_piece};
use super::{Peer, audits, metrics};
use crate::buffers::{Buffer, Buffers};
use crate::clock;
use crate::server::{
    Asker, Client, Credential, Frames, Id, JsonBody, LargeJson, LargeJsonBody, Layout, ManifestBody,
    MemoryPermit, Refusal, denied, with_openapi_json,
};
use crate::task::blocking;

#[derive(OpenApi)]
#[openapi(
    info(
        title = "parcelry peer",
        description = "Stores and serves sealed chunks. Errors are RFC 9457 problem documents.",
        version = "1",
        license(name = "MIT OR Apache-2.0")
    ),
    components(schemas(ChunkId, PeerId, ShareId))
)]
struct ApiDoc;

/// Every route of a peer.
pub(super) fn router(peer: Arc<Peer>) -> Router {
    let routes = OpenApiRouter::with_openapi(ApiDoc::openapi())
        .routes(routes!(offer))
        .routes(routes!(put_chunk, get_chunk))
        .routes(routes!(commit, manifest))
        .routes(routes!(holding))
        .routes(routes!(audit))
        .routes(routes!(health))
        .routes(routes!(show_metrics));
    with_openapi_json(routes, peer)
}

/// Is the peer ready for a share? It reserves space, and says which chunks it holds already. Needs the grant, and
/// the owner's token for the offer.
#[utoipa::path(post, path = "/v1/shares/{id}/offer", params(("id" = ShareId, Path, description = "share id")),
    request_body = OfferRequest, responses((status = 200, body = OfferResponse), (status = "default", body = Problem)), security(("grant" = [], "owner" = [])))]
async fn offer(
    State(peer): State<Arc<Peer>>,
    Offering(share, grant): Offering,
    LargeJsonBody(request, _permit): LargeJsonBody<OfferRequest, OFFER_BODY_BYTES_MAX>,
) -> Result<Json<OfferResponse>, Refusal> {
    let held = peer.on_disk(move |storage| storage.offer_under(grant, share, &request)).await?;
    Ok(Json(OfferResponse { held, takes_raw_manifests: true }))
}

/// Store a chunk of a share that was offered. The body must hash to the id. Needs the grant.
#[utoipa::path(put, path = "/v1/chunks/{id}", request_body(content = Vec<u8>, content_type = "application/octet-stream"),
    params(("id" = ChunkId, Path, description = "chunk id")),
    responses((status = 204), (status = "default", body = Problem)), security(("grant" = [])))]
async fn put_chunk(
    State(peer): State<Arc<Peer>>,
    Id(id): Id<ChunkId>,
    credential: Credential,
    Extension(client): Extension<Client>,
    request: Request,
) -> Result<StatusCode, Refusal> {
    let grant = peer.grants.find(credential.expose())?;
    let body = request.into_body();
    let length = || Refusal::new(ProblemKind::BadRequest, "Content-Length is needed");
    let bytes = body.size_hint().exact().ok_or_else(length)?;
    if bytes > (1 << CHUNK_LOG2_MAX) + TAG_BYTES as u64 {
        return Err(Refusal::new(ProblemKind::TooLarge, "a sealed chunk has at most 16 MiB and 16 bytes"));
    }
    peer.metrics.chunk_puts.inc();
    let charge = match admit(&peer, &grant, id, bytes) {
        Ok(Some(charge)) => charge,
        settled => {
            // An answer that comes before the end of the body can be lost when the connection closes.
            let mut frames = Frames::of(body);
            while frames.next().await?.is_some() {}
            return settled.map(|_| StatusCode::NO_CONTENT);
        }
    };
    let _permit = peer.uploads.wait(Asker::new(grant.token(), client.ip), 1).await;
    if receive(&peer, grant.share(), id, bytes, body).await? {
        charge.keep();
        peer.metrics.chunks_stored.inc();
        peer.metrics.bytes_stored.inc_by(bytes);
    }
    Ok(StatusCode::NO_CONTENT)
}

/// What the chunk costs, if it is to be taken; `None`: the share has sent it already. One that another share sent is
/// taken again: a share may count only on chunks whose bytes it has shown.
fn admit(peer: &Peer, grant: &Arc<KnownGrant>, id: ChunkId, bytes: u64) -> Result<Option<Charge>, Refusal> {
    grant.check(grant.share(), Operation::Push, peer.id, None)?;
    if !peer.storage.admit(grant.share(), id, bytes)? {
        return Ok(None);
    }
    grant.charge(bytes).map(Some)
}

/// Writes the body piece by piece, each while the next one arrives: the memory that an upload takes does not depend on
/// its chunk's size. Returns whether the chunk is new to the share.
async fn receive(
    peer: &Arc<Peer>,
    share: ShareId,
    id: ChunkId,
    bytes: u64,
    body: Body,
) -> Result<bool, Refusal> {
    let (mut frames, mut rest) = (Frames::of(body), Bytes::new());
    let mut pending = None;
    let mut piece = next_piece(&mut frames, &mut rest, peer.pieces.take_now()).await?;
    while piece.len() == PIECE_BYTES {
        let written = peer.on_disk(move |storage| storage.append(pending, &piece));
        let written = async { written.await.map_err(|error| Refusal::from(StorageError::from(error))) };
        // A body that breaks off waits for the write: only then is its place given up. A write that fails does not wait.
        let next = next_piece(&mut frames, &mut rest, peer.pieces.take_now());
        let arriving = async { Ok(next.await) };
        let (begun, next) = tokio::try_join!(biased; written, arriving)?;
        (pending, piece) = (Some(begun), next?);
    }
    // The last piece is written and the chunk named in one call: a small chunk takes one blocking task.
    let is_new = peer.on_disk(move |storage| {
        let arrived = storage.append(pending, &piece)?;
        storage.put(share, id, bytes, arrived)
    });
    Ok(is_new.await?)
}

/// Fills a piece with what comes; one that is not full is the last. `rest` is what came and had no room.
async fn next_piece(frames: &mut Frames, rest: &mut Bytes, mut piece: Buffer) -> Result<Buffer, Refusal> {
    piece.clear();
    loop {
        let part = rest.split_to(rest.len().min(PIECE_BYTES - piece.len()));
        piece.extend_from_slice(&part);
        if piece.len() == PIECE_BYTES {
            return Ok(piece);
        }
        match frames.next().await? {
            Some(frame) => *rest = frame,
            None => return Ok(piece),
        }
    }
}

/// Serve a chunk, or a range of it. `HEAD` tells its length.
#[utoipa::path(get, path = "/v1/chunks/{id}", params(("id" = ChunkId, Path, description = "chunk id")),
    responses((status = 200, body = Vec<u8>, content_type = "application/octet-stream"),
        (status = 206, body = Vec<u8>, content_type = "application/octet-stream"),
        (status = "default", body = Problem)))]
async fn get_chunk(
    State(peer): State<Arc<Peer>>,
    Id(id): Id<ChunkId>,
    method: Method,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    // While others prove that they have the chunk, nobody may fetch the proof from here.
    if peer.partings.is_leaving(&id) {
        return Err(not_held());
    }
    peer.storage.check_chunk_served(&id)?;
    let pieces = (method != Method::HEAD).then(|| Arc::clone(&peer.pieces));
    let opened = peer.on_disk(move |storage| open_to_serve(storage, &id, &headers, pieces.as_ref())).await;
    let Opened { file, bytes, range, first } = opened?;
    let wanted = range.clone().unwrap_or(0..bytes);
    let length = wanted.end - wanted.start;
    peer.metrics.chunks_served.inc();
    peer.metrics.bytes_served.inc_by(length);
    let file = Arc::new(file);
    let left = wanted.start + first.as_ref().map_or(0, |piece| piece.len() as u64)..wanted.end;
    // One piece in memory at a time, however slowly it is taken and however large the chunk is.
    let pieces = stream::try_unfold((first, left), move |(first, left)| {
        let (file, pieces) = (Arc::clone(&file), Arc::clone(&peer.pieces));
        async move {
            if let Some(piece) = first {
                return Ok(Some((Bytes::from_owner(piece), (None, left))));
            }
            if left.is_empty() {
                return Ok::<_, io::Error>(None);
            }
            let mut piece = pieces.take_now();
            let read = blocking(move || {
                read_piece(&file, left.start, left.end - left.start, &mut piece)?;
                let rest = left.start + piece.len() as u64..left.end;
                Ok::<_, io::Error>((piece, rest))
            })
            .await;
            if read.is_err() {
                // What came before goes out first: for a connection that ends without a head a receiver asks here again.
                tokio::task::yield_now().await;
            }
            let (piece, left) = read?;
            Ok(Some((Bytes::from_owner(piece), (None, left))))
        }
    });
    let mut response = Body::from_stream(pieces).into_response();
    let headers = response.headers_mut();
    headers.insert(CONTENT_LENGTH, length.into());
    headers.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    if let Some(range) = range {
        let content_range = format!("bytes {}-{}/{bytes}", range.start, range.end - 1);
        headers.insert(CONTENT_RANGE, HeaderValue::try_from(content_range).expect("digits are a header"));
        *response.status_mut() = StatusCode::PARTIAL_CONTENT;
    }
    Ok(response)
}

/// A chunk that is to be served.
struct Opened {
    file: File,
    /// Bytes of the whole chunk.
    bytes: u64,
    /// What is asked for, if that is a part.
    range: Option<Range<u64>>,
    /// The first piece of what is asked for. Where the disk does not read it there is none: it is tried once more when the
    /// head is on its way, and the answer breaks off there.
    first: Option<Buffer>,
}

/// Opens a chunk and reads the first piece of what is asked for into one of `pieces`, if there are any. In one call, so
/// that an answer takes one blocking task less.
fn open_to_serve(
    storage: &Storage,
    id: &ChunkId,
    headers: &HeaderMap,
    pieces: Option<&Arc<Buffers>>,
) -> Result<Opened, Refusal> {
    let (file, bytes) = storage.open_chunk(id).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => not_held(),
        _ => StorageError::from(error).into(),
    })?;
    let range = requested_range(headers, bytes)?;
    let wanted = range.clone().unwrap_or(0..bytes);
    let first = pieces.filter(|_| !wanted.is_empty()).and_then(|pieces| {
        let mut piece = pieces.take_now();
        read_piece(&file, wanted.start, wanted.end - wanted.start, &mut piece).ok()?;
        Some(piece)
    });
    Ok(Opened { file, bytes, range, first })
}

fn not_held() -> Refusal {
    Refusal::new(ProblemKind::ChunkNotFound, "the chunk is not held here")
}

/// One range of the form `bytes=A-B`, `bytes=A-` or `bytes=-N` (RFC 9110 §14); anything else is
/// ignored, as the standard allows.
fn requested_range(headers: &HeaderMap, bytes: u64) -> Result<Option<Range<u64>>, Refusal> {
    let header = headers.get(RANGE).and_then(|value| value.to_str().ok());
    let Some((from, to)) = header.and_then(|h| h.strip_prefix("bytes=")).and_then(|h| h.split_once('-'))
    else {
        return Ok(None);
    };
    let range = match (from.parse::<u64>(), to.parse::<u64>()) {
        (Ok(from), Ok(to)) => from..to.saturating_add(1).min(bytes),
        (Ok(from), Err(_)) if to.is_empty() => from..bytes,
        (Err(_), Ok(last)) if from.is_empty() => bytes.saturating_sub(last)..bytes,
        _ => return Ok(None),
    };
    if range.is_empty() {
        return Err(Refusal::new(ProblemKind::RangeNotSatisfiable, format!("the chunk has {bytes} bytes")));
    }
    Ok(Some(range))
}

/// Keep a share: answers with nothing missing, and with a receipt, only when its chunks are verified and on stable
/// storage. Needs the grant, and the owner's token for the commit.
#[utoipa::path(put, path = "/v1/shares/{id}/manifest", params(("id" = ShareId, Path, description = "share id")),
    request_body(content((CommitRequest = "application/json"), (Vec<u8> = "application/vnd.parcelry.manifest"))), responses((status = 200, body = CommitResponse), (status = "default", body = Problem)), security(("grant" = [], "owner" = [])))]
async fn commit(
    State(peer): State<Arc<Peer>>,
    Committing(share, grant): Committing,
    ManifestBody(request, _permit): ManifestBody<CommitRequest>,
) -> Result<Json<CommitResponse>, Refusal> {
    let answer = blocking(move || peer.storage.commit_for_receipt(&peer.key, grant, share, request)).await?;
    Ok(Json(answer))
}

impl From<StorageError> for Refusal {
    /// What the disk has is for the log; everything else is for whoever asked.
    fn from(error: StorageError) -> Self {
        match error {
            StorageError::Io(error) => Self::internal(&error),
            other => Self::new(other.kind(), other.to_string()),
        }
    }
}

/// Manifest and terms of a share. Needs `Authorization: Bearer ACCESS`, or
/// a grant to copy and the certificate of the peer that it belongs to.
#[utoipa::path(get, path = "/v1/shares/{id}/manifest", params(("id" = ShareId, Path, description = "share id")),
    responses((status = 200, content((ManifestResponse = "application/json"), (Vec<u8> = "application/vnd.parcelry.manifest"))), (status = "default", body = Problem)), security(("access" = []), ("grant" = [], "certificate" = [])))]
async fn manifest(
    State(peer): State<Arc<Peer>>,
    Id(share): Id<ShareId>,
    Extension(client): Extension<Client>,
    credential: Credential,
    asker: Asker,
    layout: Layout,
) -> Result<Response, Refusal> {
    let (held, manifest, permit) = read_share(&peer, share, &credential, client, asker).await?;
    let manifest = Blob(manifest.into_encoded());
    Ok(LargeJson(ManifestResponse { manifest, terms: held.terms.token }, permit).in_layout(layout))
}

/// Which chunks of a share are held here. Needs `Authorization: Bearer ACCESS`, or
/// a grant to copy and the certificate of the peer that it belongs to.
#[utoipa::path(get, path = "/v1/shares/{id}/chunks", params(("id" = ShareId, Path, description = "share id")),
    responses((status = 200, body = HoldingResponse), (status = "default", body = Problem)), security(("access" = []), ("grant" = [], "certificate" = [])))]
async fn holding(
    State(peer): State<Arc<Peer>>,
    Id(share): Id<ShareId>,
    Extension(client): Extension<Client>,
    credential: Credential,
    asker: Asker,
) -> Result<Json<HoldingResponse>, Refusal> {
    let (held, manifest, _permit) = read_share(&peer, share, &credential, client, asker).await?;
    let mut chunks = held.chunks;
    for (index, id) in manifest.chunks() {
        if !peer.storage.has_chunk(&id) {
            chunks.remove(index);
        }
    }
    Ok(Json(HoldingResponse { chunks }))
}

/// A share that is held here, for whoever shows its access token, or is a peer that the tracker has copy it.
async fn read_share(
    peer: &Arc<Peer>,
    share: ShareId,
    credential: &Credential,
    client: Client,
    asker: Asker,
) -> Result<(Held, Manifest, MemoryPermit), Refusal> {
    let held = peer.storage.held(share);
    let held = match credential.secret() {
        Ok(access) => held.filter(|held| access_matches(&access, &held.terms.access_sha256)),
        Err(_) => {
            let grant = peer.grants.find(credential.expose())?;
            grant.check(share, Operation::Copy, peer.id, client.peer)?;
            held
        }
    };
    // One answer for both: who has no token does not learn which shares are here.
    let held = held
        .ok_or_else(|| Refusal::new(ProblemKind::ShareNotFound, "no share has this id and access token"))?;
    peer.storage.check_served(share)?;
    // There must be room in memory before the manifest is read.
    let permit = MemoryPermit::wait(asker, held.manifest_bytes).await;
    let manifest = peer.on_disk(move |storage| storage.manifest(share)).await;
    Ok((held, manifest.map_err(StorageError::from)?, permit))
}

/// Prove that chunks and manifests are here. Too much at once, or too often from one address, is refused with 429.
#[utoipa::path(post, path = "/v1/audits", request_body = AuditRequest,
    responses((status = 200, body = AuditResponse), (status = "default", body = Problem)))]
async fn audit(
    State(peer): State<Arc<Peer>>,
    Extension(client): Extension<Client>,
    JsonBody(request): JsonBody<AuditRequest, JSON_BODY_BYTES_MAX>,
) -> Result<Json<AuditResponse>, Refusal> {
    audits::answer(&peer, client, request).await.map(Json)
}

/// Who answers here.
#[utoipa::path(get, path = "/healthz", responses((status = 200, body = Health)))]
async fn health(State(peer): State<Arc<Peer>>) -> Json<Health> {
    Json(Health { role: Role::Peer, id: peer.id.to_string(), now_ms: clock::now_ms() })
}

/// Counters and gauges in the OpenMetrics text format, for this machine only.
#[utoipa::path(get, path = "/metrics",
    responses((status = 200, body = String, content_type = "application/openmetrics-text"), (status = "default", body = Problem)))]
async fn show_metrics(
    State(peer): State<Arc<Peer>>,
    Extension(client): Extension<Client>,
) -> Result<impl IntoResponse, Refusal> {
    if !client.is_local {
        return Err(denied());
    }
    let content_type = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    Ok(([(CONTENT_TYPE, content_type)], metrics::render(&peer)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(header: &str) -> Result<Option<Range<u64>>, u16> {
        let headers = HeaderMap::from_iter([(RANGE, HeaderValue::from_str(header).unwrap())]);
        requested_range(&headers, 100).map_err(|refusal| refusal.problem.status)
    }

    #[test]
    fn ranges_stay_within_the_chunk() {
        assert_eq!(range("bytes=0-9"), Ok(Some(0..10)));
        assert_eq!(range("bytes=90-"), Ok(Some(90..100)));
        assert_eq!(range("bytes=90-1000"), Ok(Some(90..100)));
        assert_eq!(range("bytes=-10"), Ok(Some(90..100)));
        assert_eq!(range("bytes=-1000"), Ok(Some(0..100)));
        assert_eq!(range("bytes=0-18446744073709551615"), Ok(Some(0..100)));
        for outside in ["bytes=100-", "bytes=100-200", "bytes=-0", "bytes=9-3"] {
            assert_eq!(range(outside), Err(416), "{outside}");
        }
        for other in ["bytes=0-1,5-6", "bytes=-", "bytes=a-b", "items=0-1", "bytes=--1"] {
            assert_eq!(range(other), Ok(None), "{other}");
        }
    }
}
