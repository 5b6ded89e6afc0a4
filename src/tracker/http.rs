//! The tracker's routes, and the handlers that turn requests into calls.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json, Router};
use parcelry_core::api::{
    AnnounceRequest, ComplaintRequest, DrainRequest, Health, HeartbeatRequest, HeartbeatResponse,
    InventoryRequest, InventoryResponse, LookUpResponse, ManifestResponse, OpenRequest, OpenResponse,
    PeerList, Problem, PublishRequest, RegisterRequest, RegisterResponse, Role, TermsRequest,
};
use parcelry_core::gateway::{
    DelegationResponse, FinishRequest, FinishResponse, StoredChunk, UploadRequest, UploadResponse,
};
use parcelry_core::id::{PeerId, ShareId};
use parcelry_core::limits::JSON_BODY_BYTES_MAX;
use parcelry_core::owner::Act;
use parcelry_core::token::TokenId;
use utoipa::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::auth::{
    Admin, Admitted, AnySender, Delegator, Granted, Joiner, Member, MemberOrAdmin, Observer, Publisher,
    Sender,
};
use super::store::StoreError;
use super::{Tracker, admin, metrics, web};
use crate::clock;
use crate::server::{
    Access, Asker, Client, Id, Index, JsonBody, Layout, ManifestBody, OfShare, OwnersWord, Refusal,
    with_openapi_json,
};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "parcelry tracker",
        description = "Who is alive and who holds what. Errors are RFC 9457 problem documents.",
        version = "1",
        license(name = "MIT OR Apache-2.0")
    ),
    components(schemas(PeerId, ShareId, TokenId))
)]
struct ApiDoc;

/// Every route of the tracker.
pub(super) fn router(tracker: Arc<Tracker>) -> Router {
    let routes = OpenApiRouter::with_openapi(ApiDoc::openapi())
        .routes(routes!(register, list_peers))
        .routes(routes!(heartbeat))
        .routes(routes!(inventory))
        .routes(routes!(announce))
        .routes(routes!(manifest_for_peer))
        .routes(routes!(leave))
        .routes(routes!(drain))
        .routes(routes!(open_share))
        .routes(routes!(publish, look_up, take_down))
        .routes(routes!(put_terms))
        .routes(routes!(complain))
        .routes(routes!(chunk_for_browser, take_chunk))
        .routes(routes!(begin_upload, finish_upload, give_up_upload))
        .routes(routes!(delegate))
        .merge(admin::routes())
        .routes(routes!(health))
        .routes(routes!(show_metrics));
    with_openapi_json(routes, tracker).merge(web::router())
}

/// Register a peer, or refresh its registration. Needs the peer's certificate and, the first time, a peer's
/// token. The tracker dials the peer back before it answers.
#[utoipa::path(post, path = "/v1/peers", request_body = RegisterRequest,
    responses((status = 200, body = RegisterResponse), (status = "default", body = Problem)), security(("certificate" = [], "token" = []), ("certificate" = [])))]
async fn register(
    State(tracker): State<Arc<Tracker>>,
    joiner: Joiner,
    Extension(client): Extension<Client>,
    JsonBody(request): JsonBody<RegisterRequest, JSON_BODY_BYTES_MAX>,
) -> Result<Json<RegisterResponse>, Refusal> {
    tracker.register(&joiner, request, client.ip).await.map(Json)
}

/// All registered peers, and the health of the shares. Needs a token.
#[utoipa::path(get, path = "/v1/peers",
    responses((status = 200, body = PeerList), (status = "default", body = Problem)), security(("token" = []), ("cookie" = [], "secret" = [])))]
async fn list_peers(
    State(tracker): State<Arc<Tracker>>,
    Admitted(role): Admitted,
) -> Result<Json<PeerList>, Refusal> {
    tracker.list(role).await.map(Json)
}

/// A peer says that it is there, and learns what to do. Needs its certificate.
#[utoipa::path(post, path = "/v1/peers/{id}/heartbeat", params(("id" = PeerId, Path, description = "peer id")),
    request_body = HeartbeatRequest,
    responses((status = 200, body = HeartbeatResponse), (status = "default", body = Problem)), security(("certificate" = [])))]
async fn heartbeat(
    State(tracker): State<Arc<Tracker>>,
    Member(id): Member,
    Extension(client): Extension<Client>,
    JsonBody(request): JsonBody<HeartbeatRequest, JSON_BODY_BYTES_MAX>,
) -> Result<Json<HeartbeatResponse>, Refusal> {
    tracker.heartbeat(id, request, client.ip).await.map(Json)
}

/// A peer tells some of the shares that it holds. Needs its certificate.
#[utoipa::path(post, path = "/v1/peers/{id}/inventory", params(("id" = PeerId, Path, description = "peer id")),
    request_body = InventoryRequest,
    responses((status = 200, body = InventoryResponse), (status = "default", body = Problem)), security(("certificate" = [])))]
async fn inventory(
    State(tracker): State<Arc<Tracker>>,
    Member(id): Member,
    JsonBody(request): JsonBody<InventoryRequest, JSON_BODY_BYTES_MAX>,
) -> Result<Json<InventoryResponse>, Refusal> {
    tracker.inventory(id, request).await.map(Json)
}

/// A peer tells about a share that the tracker does not know. Needs its certificate.
#[utoipa::path(post, path = "/v1/peers/{id}/shares", params(("id" = PeerId, Path, description = "peer id")),
    request_body(content((AnnounceRequest = "application/json"), (Vec<u8> = "application/vnd.parcelry.manifest"))), responses((status = 204), (status = "default", body = Problem)), security(("certificate" = [])))]
async fn announce(
    State(tracker): State<Arc<Tracker>>,
    Member(id): Member,
    ManifestBody(request, _permit): ManifestBody<AnnounceRequest>,
) -> Result<StatusCode, Refusal> {
    tracker.announce(id, request).await.map(|()| StatusCode::NO_CONTENT)
}

/// Manifest and terms of a share, for a peer that cannot read its own. Needs its certificate.
#[utoipa::path(get, path = "/v1/peers/{id}/shares/{share}",
    params(("id" = PeerId, Path, description = "peer id"), ("share" = ShareId, Path, description = "share id")),
    responses((status = 200, content((ManifestResponse = "application/json"), (Vec<u8> = "application/vnd.parcelry.manifest"))), (status = "default", body = Problem)), security(("certificate" = [])))]
async fn manifest_for_peer(
    State(tracker): State<Arc<Tracker>>,
    _: Member,
    OfShare(share): OfShare,
    asker: Asker,
    layout: Layout,
) -> Result<Response, Refusal> {
    tracker.manifest_for_peer(share, asker).await.map(|answer| answer.in_layout(layout))
}

/// A peer goes. What it holds is not forgotten: it may come back. Needs its certificate, or the admin's token.
#[utoipa::path(delete, path = "/v1/peers/{id}", params(("id" = PeerId, Path, description = "peer id")),
    responses((status = 204), (status = "default", body = Problem)), security(("certificate" = []), ("token" = []), ("cookie" = [], "secret" = [])))]
async fn leave(
    State(tracker): State<Arc<Tracker>>,
    MemberOrAdmin(id): MemberOrAdmin,
) -> Result<StatusCode, Refusal> {
    tracker.leave(id).await.map(|()| StatusCode::NO_CONTENT)
}

/// Empty a peer before it leaves, or let it fill again: it gets nothing new, and what it holds is copied to
/// others. Needs the admin's token.
#[utoipa::path(put, path = "/v1/peers/{id}/drain", params(("id" = PeerId, Path, description = "peer id")),
    request_body = DrainRequest, responses((status = 204), (status = "default", body = Problem)), security(("token" = []), ("cookie" = [], "secret" = [])))]
async fn drain(
    State(tracker): State<Arc<Tracker>>,
    _: Admin,
    Id(peer): Id<PeerId>,
    JsonBody(request): JsonBody<DrainRequest, JSON_BODY_BYTES_MAX>,
) -> Result<StatusCode, Refusal> {
    tracker.drain(peer, request.draining).await.map(|()| StatusCode::NO_CONTENT)
}

/// Ask where to push a new share, and for the grant to do it. Nothing is kept: asking again gives the peers
/// of that moment. Needs a sender's token, and the owner's token to open.
#[utoipa::path(post, path = "/v1/shares", request_body = OpenRequest,
    responses((status = 200, body = OpenResponse), (status = "default", body = Problem)), security(("token" = [], "owner" = [])))]
async fn open_share(
    State(tracker): State<Arc<Tracker>>,
    Sender(token): Sender,
    word: OwnersWord,
    JsonBody(request): JsonBody<OpenRequest, JSON_BODY_BYTES_MAX>,
) -> Result<Json<OpenResponse>, Refusal> {
    word.check(request.share, Act::Open, tracker.id, tracker.id)?;
    tracker.open(&token, &request).await.map(Json)
}

/// Publish a share that is on its peers' disks. The first manifest of a share is final. Needs the grant,
/// and the owner's token to publish.
#[utoipa::path(put, path = "/v1/shares/{id}", params(("id" = ShareId, Path, description = "share id")),
    request_body(content((PublishRequest = "application/json"), (Vec<u8> = "application/vnd.parcelry.manifest"))), responses((status = 204), (status = "default", body = Problem)), security(("grant" = [], "owner" = [])))]
async fn publish(
    State(tracker): State<Arc<Tracker>>,
    Publisher(granted): Publisher,
    ManifestBody(request, _permit): ManifestBody<PublishRequest>,
) -> Result<StatusCode, Refusal> {
    tracker.publish(&granted, request).await.map(|()| StatusCode::NO_CONTENT)
}

/// Look a share up: manifest, terms and sources. Needs `Authorization: Bearer ACCESS`.
#[utoipa::path(get, path = "/v1/shares/{id}", params(("id" = ShareId, Path, description = "share id")),
    responses((status = 200, content((LookUpResponse = "application/json"), (Vec<u8> = "application/vnd.parcelry.manifest"))), (status = "default", body = Problem)), security(("access" = [])))]
async fn look_up(
    State(tracker): State<Arc<Tracker>>,
    Id(share): Id<ShareId>,
    Access(access): Access,
    asker: Asker,
    layout: Layout,
) -> Result<Response, Refusal> {
    tracker.look_up(share, &access, asker).await.map(|answer| answer.in_layout(layout))
}

/// Replace the terms of a share by newer ones, signed by the share's key: extend it or delete it. With a sender's token a
/// share can be deleted that was never published.
#[utoipa::path(put, path = "/v1/shares/{id}/terms", params(("id" = ShareId, Path, description = "share id")),
    request_body = TermsRequest, responses((status = 204), (status = "default", body = Problem)), security((), ("token" = [])))]
async fn put_terms(
    State(tracker): State<Arc<Tracker>>,
    AnySender(token): AnySender,
    Id(share): Id<ShareId>,
    JsonBody(request): JsonBody<TermsRequest, JSON_BODY_BYTES_MAX>,
) -> Result<StatusCode, Refusal> {
    tracker.replace_terms(share, &request, token.as_ref()).await.map(|()| StatusCode::NO_CONTENT)
}

/// Take a share down, whoever owns it: it is not shown any more and cannot come back. Needs the admin's token.
#[utoipa::path(delete, path = "/v1/shares/{id}", params(("id" = ShareId, Path, description = "share id")),
    responses((status = 204), (status = "default", body = Problem)), security(("token" = []), ("cookie" = [], "secret" = [])))]
async fn take_down(
    State(tracker): State<Arc<Tracker>>,
    _: Admin,
    Id(share): Id<ShareId>,
) -> Result<StatusCode, Refusal> {
    tracker.take_down(share).await.map(|()| StatusCode::NO_CONTENT)
}

/// Tell that a peer served wrong bytes, or could not be reached: it is asked to look, or dialled. Needs `Authorization: Bearer ACCESS`.
#[utoipa::path(post, path = "/v1/shares/{id}/complaints", params(("id" = ShareId, Path, description = "share id")),
    request_body = ComplaintRequest, responses((status = 202), (status = "default", body = Problem)), security(("access" = [])))]
async fn complain(
    State(tracker): State<Arc<Tracker>>,
    Id(share): Id<ShareId>,
    Access(access): Access,
    Extension(client): Extension<Client>,
    JsonBody(request): JsonBody<ComplaintRequest, JSON_BODY_BYTES_MAX>,
) -> Result<StatusCode, Refusal> {
    tracker.complain(share, &access, request, client.ip).await.map(|()| StatusCode::ACCEPTED)
}

/// A sealed chunk of a share, fetched from a peer and verified, for browsers. Needs `Authorization: Bearer ACCESS`.
#[utoipa::path(get, path = "/v1/shares/{id}/chunks/{index}",
    params(("id" = ShareId, Path, description = "share id"), ("index" = u32, Path, description = "chunk index")),
    responses((status = 200, body = Vec<u8>, content_type = "application/octet-stream"),
        (status = "default", body = Problem)), security(("access" = [])))]
async fn chunk_for_browser(
    State(tracker): State<Arc<Tracker>>,
    Id(share): Id<ShareId>,
    Index(index): Index,
    Access(access): Access,
    Extension(client): Extension<Client>,
) -> Result<Response, Refusal> {
    let call = tracker.gateway.enter(client.ip)?;
    tracker.chunk_for_browser(share, &access, index, call).await
}

/// Begin the upload of a share that a browser seals: answers with the grant that a delegation is to name. Needs a
/// sender's token, and the owner's token to open.
#[utoipa::path(post, path = "/v1/shares/{id}/upload", params(("id" = ShareId, Path, description = "share id")),
    request_body = UploadRequest, responses((status = 200, body = UploadResponse), (status = "default", body = Problem)), security(("token" = [], "owner" = [])))]
async fn begin_upload(
    State(tracker): State<Arc<Tracker>>,
    Id(share): Id<ShareId>,
    Sender(token): Sender,
    word: OwnersWord,
    Extension(client): Extension<Client>,
    JsonBody(request): JsonBody<UploadRequest, JSON_BODY_BYTES_MAX>,
) -> Result<Json<UploadResponse>, Refusal> {
    word.check(share, Act::Open, tracker.id, tracker.id)?;
    let _call = tracker.gateway.enter(client.ip)?;
    tracker.begin_upload(&token, client.ip, share, request).await.map(Json)
}

/// Leave offering, committing and publishing a share to this tracker: answers when its peers are ready. Needs the
/// grant, and the owner's token to delegate.
#[utoipa::path(put, path = "/v1/shares/{id}/delegation", params(("id" = ShareId, Path, description = "share id")),
    responses((status = 200, body = DelegationResponse), (status = "default", body = Problem)), security(("grant" = [], "owner" = [])))]
async fn delegate(
    State(tracker): State<Arc<Tracker>>,
    Delegator { granted, delegation }: Delegator,
    Extension(client): Extension<Client>,
) -> Result<Json<DelegationResponse>, Refusal> {
    let _call = tracker.gateway.enter(client.ip)?;
    tracker.delegate(&granted, delegation).await.map(Json)
}

/// Send a sealed chunk: answers with its id when it is at all of its peers. Needs the grant.
#[utoipa::path(put, path = "/v1/shares/{id}/chunks/{index}",
    params(("id" = ShareId, Path, description = "share id"), ("index" = u32, Path, description = "chunk index")),
    request_body(content = Vec<u8>, content_type = "application/octet-stream"),
    responses((status = 200, body = StoredChunk), (status = "default", body = Problem)), security(("grant" = [])))]
async fn take_chunk(
    State(tracker): State<Arc<Tracker>>,
    granted: Granted,
    Index(index): Index,
    Extension(client): Extension<Client>,
    request: Request,
) -> Result<Json<StoredChunk>, Refusal> {
    let call = tracker.gateway.enter(client.ip)?;
    tracker.take_chunk(&granted, index, request.into_body(), call).await.map(Json)
}

/// Finish an upload: answers when the share is on stable storage at its peers, and published. Needs the grant.
#[utoipa::path(put, path = "/v1/shares/{id}/upload", params(("id" = ShareId, Path, description = "share id")),
    request_body(content((FinishRequest = "application/json"), (Vec<u8> = "application/vnd.parcelry.manifest"))), responses((status = 200, body = FinishResponse), (status = "default", body = Problem)), security(("grant" = [])))]
async fn finish_upload(
    State(tracker): State<Arc<Tracker>>,
    granted: Granted,
    ManifestBody(request, _permit): ManifestBody<FinishRequest>,
) -> Result<Json<FinishResponse>, Refusal> {
    tracker.finish_upload(&granted, request).await.map(Json)
}

/// Give an upload up. Needs the grant.
#[utoipa::path(delete, path = "/v1/shares/{id}/upload", params(("id" = ShareId, Path, description = "share id")),
    responses((status = 204), (status = "default", body = Problem)), security(("grant" = [])))]
async fn give_up_upload(State(tracker): State<Arc<Tracker>>, granted: Granted) -> StatusCode {
    tracker.gateway.abandon(granted.share);
    StatusCode::NO_CONTENT
}

/// Who answers here.
#[utoipa::path(get, path = "/healthz", responses((status = 200, body = Health)))]
async fn health(State(tracker): State<Arc<Tracker>>) -> Json<Health> {
    Json(Health { role: Role::Tracker, id: tracker.id.to_string(), now_ms: clock::now_ms() })
}

/// Counters and gauges in the OpenMetrics text format. From another machine it needs the admin's token.
#[utoipa::path(get, path = "/metrics",
    responses((status = 200, body = String, content_type = "application/openmetrics-text"), (status = "default", body = Problem)), security((), ("token" = []), ("cookie" = [], "secret" = [])))]
async fn show_metrics(State(tracker): State<Arc<Tracker>>, _: Observer) -> impl IntoResponse {
    let content_type = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(CONTENT_TYPE, content_type)], metrics::render(&tracker).await)
}

impl From<StoreError> for Refusal {
    /// What the database has is for the log; nobody who asks can do anything about it.
    fn from(error: StoreError) -> Self {
        Self::internal(&error)
    }
}
