//! The routes of the operator's page, and the handlers that turn requests into calls.

use std::sync::Arc;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::http::header::SET_COOKIE;
use axum::response::IntoResponse;
use axum::{Extension, Json};
use parcelry_core::api::{Problem, ProblemKind};
use parcelry_core::dashboard::{
    InviteList, InviteRequest, InviteResponse, ShareList, SharePage, SignInRequest, SignInResponse,
};
use parcelry_core::limits::JSON_BODY_BYTES_MAX;
use parcelry_core::token::TokenId;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::auth::{Admin, SignedIn};
use super::sessions::{cookie, no_cookie};
use super::{Tracker, events};
use crate::server::{Client, Id, JsonBody, Refusal};

/// The routes.
pub(super) fn routes() -> OpenApiRouter<Arc<Tracker>> {
    OpenApiRouter::new()
        .routes(routes!(sign_in, signed_in, sign_out))
        .routes(routes!(list_invites, make_invite))
        .routes(routes!(revoke_invite))
        .routes(routes!(list_shares))
        .routes(routes!(stream_events))
}

/// Sign in from a browser with the admin's token: it goes on with a cookie and a secret, for twelve hours at most.
#[utoipa::path(post, path = "/v1/session", request_body = SignInRequest,
    responses((status = 200, body = SignInResponse), (status = "default", body = Problem)))]
async fn sign_in(
    State(tracker): State<Arc<Tracker>>,
    Extension(client): Extension<Client>,
    JsonBody(request): JsonBody<SignInRequest, JSON_BODY_BYTES_MAX>,
) -> Result<impl IntoResponse, Refusal> {
    let opened = tracker.sign_in(&request.token, client.ip).await?;
    let response = SignInResponse { secret: opened.page.expose_text() };
    Ok(([(SET_COOKIE, cookie(&opened.browser, client.is_secure))], Json(response)))
}

/// Is this page signed in? Needs the cookie and the secret.
#[utoipa::path(get, path = "/v1/session", responses((status = 204), (status = "default", body = Problem)), security(("cookie" = [], "secret" = [])))]
async fn signed_in(_: SignedIn) -> StatusCode {
    StatusCode::NO_CONTENT
}

/// Sign out. Needs the cookie and the secret.
#[utoipa::path(delete, path = "/v1/session", responses((status = 204), (status = "default", body = Problem)), security(("cookie" = [], "secret" = [])))]
async fn sign_out(
    State(tracker): State<Arc<Tracker>>,
    SignedIn(session): SignedIn,
    Extension(client): Extension<Client>,
) -> impl IntoResponse {
    tracker.sessions.close(session);
    (StatusCode::NO_CONTENT, [(SET_COOKIE, no_cookie(client.is_secure))])
}

/// All invites, and the admin's own token, without their secrets. Needs the admin.
#[utoipa::path(get, path = "/v1/invites",
    responses((status = 200, body = InviteList), (status = "default", body = Problem)), security(("token" = []), ("cookie" = [], "secret" = [])))]
async fn list_invites(State(tracker): State<Arc<Tracker>>, _: Admin) -> Result<Json<InviteList>, Refusal> {
    tracker.list_invites().await.map(Json)
}

/// Make an invite for a peer or a sender. Needs the admin.
#[utoipa::path(post, path = "/v1/invites", request_body = InviteRequest,
    responses((status = 200, body = InviteResponse), (status = "default", body = Problem)), security(("token" = []), ("cookie" = [], "secret" = [])))]
async fn make_invite(
    State(tracker): State<Arc<Tracker>>,
    _: Admin,
    JsonBody(request): JsonBody<InviteRequest, JSON_BODY_BYTES_MAX>,
) -> Result<Json<InviteResponse>, Refusal> {
    tracker.make_invite(request).await.map(Json)
}

/// Revoke an invite: it admits nobody any more, and peers that it admitted are shut out. Needs the admin.
#[utoipa::path(delete, path = "/v1/invites/{id}", params(("id" = TokenId, Path, description = "invite id")),
    responses((status = 204), (status = "default", body = Problem)), security(("token" = []), ("cookie" = [], "secret" = [])))]
async fn revoke_invite(
    State(tracker): State<Arc<Tracker>>,
    _: Admin,
    Id(invite): Id<TokenId>,
) -> Result<StatusCode, Refusal> {
    tracker.revoke_invite(invite).await.map(|()| StatusCode::NO_CONTENT)
}

/// A page of the shares, with the health of each. Needs the admin.
#[utoipa::path(get, path = "/v1/shares", params(SharePage),
    responses((status = 200, body = ShareList), (status = "default", body = Problem)), security(("token" = []), ("cookie" = [], "secret" = [])))]
async fn list_shares(
    State(tracker): State<Arc<Tracker>>,
    _: Admin,
    page: Result<Query<SharePage>, QueryRejection>,
) -> Result<Json<ShareList>, Refusal> {
    let Query(page) = page.map_err(|error| Refusal::new(ProblemKind::BadRequest, error.body_text()))?;
    tracker.list_shares(page).await.map(Json)
}

/// What happens in the swarm, as server-sent events. Needs the admin.
#[utoipa::path(get, path = "/v1/events",
    responses((status = 200, body = String, content_type = "text/event-stream"), (status = "default", body = Problem)), security(("token" = []), ("cookie" = [], "secret" = [])))]
async fn stream_events(
    State(tracker): State<Arc<Tracker>>,
    admin: Admin,
) -> Result<impl IntoResponse, Refusal> {
    events::stream(tracker, admin)
}
