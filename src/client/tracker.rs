//! The tracker's API as typed calls.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use http::Method;
use parcelry_core::api::{
    AnnounceRequest, Blob, ComplaintRequest, DrainRequest, Health, HeartbeatRequest, HeartbeatResponse,
    InventoryRequest, InventoryResponse, LookUpResponse, ManifestResponse, OpenRequest, OpenResponse,
    PeerList, PublishRequest, RegisterRequest, RegisterResponse, TermsRequest,
};
use parcelry_core::chunk_set::ChunkSet;
use parcelry_core::dashboard::{InviteList, ShareList};
use parcelry_core::enclosed::Encloses;
use parcelry_core::id::{PeerId, Secret, ShareId, TrackerId};
use parcelry_core::limits::{HEARTBEAT_ANSWER_BYTES_MAX, JSON_BODY_BYTES_MAX, PEER_LIST_BYTES_MAX};
use parcelry_core::link::{Invite, ShareLink, TrackerUrl};
use parcelry_core::manifest::Manifest;
use parcelry_core::terms::TermsToken;
use serde::de::DeserializeOwned;

use super::connector::Server;
use super::error::ClientError;
use super::http::{Authority, Call, Http};
use super::payload::Payload;
use crate::tls::Trust;

/// One tracker. Its clones share what it has said of itself.
#[derive(Debug, Clone)]
pub struct TrackerClient {
    http: Http,
    server: Server,
    /// The token of the invite by which the swarm was joined.
    token: Option<Secret>,
    /// Whether it said, when it was asked last, that it takes raw manifests.
    takes_raw_manifests: Arc<AtomicBool>,
}

impl TrackerClient {
    /// The tracker that an invite leads to, for whoever has the invite.
    pub fn of_invite(http: Http, invite: &Invite) -> Self {
        let server = server(&invite.tracker, Some(invite.tracker_id));
        Self { http, server, token: Some(invite.token.clone()), takes_raw_manifests: Arc::default() }
    }

    /// The tracker that a link leads to.
    pub fn of_link(http: Http, link: &ShareLink) -> Self {
        let server = server(&link.tracker, link.tracker_id);
        Self { http, server, token: None, takes_raw_manifests: Arc::default() }
    }

    /// A client of this tracker over new connections.
    #[must_use]
    pub fn afresh(&self) -> Self {
        Self { http: self.http.afresh(), ..self.clone() }
    }

    /// Who answers there.
    pub async fn health(&self) -> Result<Health, ClientError> {
        self.call(self.request(Method::GET, "/healthz")).await
    }

    /// Registers a peer.
    pub async fn register(&self, request: &RegisterRequest) -> Result<RegisterResponse, ClientError> {
        self.call(self.admitted(Method::POST, "/v1/peers").json(request)).await
    }

    /// Says that a peer is there, and waits for the answer no longer than this.
    pub async fn heartbeat(
        &self,
        peer: PeerId,
        request: &HeartbeatRequest,
        timeout: Duration,
    ) -> Result<HeartbeatResponse, ClientError> {
        let path = format!("/v1/peers/{peer}/heartbeat");
        let call = Call { timeout, ..self.request(Method::POST, path).json(request) };
        self.http.json(call, HEARTBEAT_ANSWER_BYTES_MAX).await
    }

    /// Tells some of the shares that a peer holds. Returns those that the tracker does not know.
    pub async fn inventory(
        &self,
        peer: PeerId,
        request: &InventoryRequest,
    ) -> Result<InventoryResponse, ClientError> {
        let path = format!("/v1/peers/{peer}/inventory");
        let answer: InventoryResponse = self.call(self.request(Method::POST, path).json(request)).await?;
        self.takes_raw_manifests.store(answer.takes_raw_manifests, Ordering::Relaxed);
        Ok(answer)
    }

    /// Tells about a share that the tracker does not know. The manifest goes raw if an answer of the tracker to an
    /// inventory has said that it takes it so.
    pub async fn announce(
        &self,
        peer: PeerId,
        manifest: &Arc<Manifest>,
        terms: TermsToken,
        chunks: ChunkSet,
    ) -> Result<(), ClientError> {
        let path = format!("/v1/peers/{peer}/shares");
        let request = AnnounceRequest { share: manifest.share(), manifest: Blob::default(), terms, chunks };
        let body = self.with_manifest(request, manifest);
        self.http.send(Call { body, ..self.request(Method::POST, path) }).await.map(drop)
    }

    /// Manifest and terms of a share of which a peer cannot read its own.
    pub async fn manifest(&self, peer: PeerId, share: ShareId) -> Result<ManifestResponse, ClientError> {
        let call = self.request(Method::GET, format!("/v1/peers/{peer}/shares/{share}"));
        self.http.enclosed(call).await
    }

    /// Says that a peer goes.
    pub async fn leave(&self, peer: PeerId) -> Result<(), ClientError> {
        self.http.send(self.request(Method::DELETE, format!("/v1/peers/{peer}"))).await.map(drop)
    }

    /// Takes a peer off the list, as the admin.
    pub async fn forget(&self, peer: PeerId) -> Result<(), ClientError> {
        self.http.send(self.admitted(Method::DELETE, format!("/v1/peers/{peer}"))).await.map(drop)
    }

    /// Has a peer emptied, or lets it fill again.
    pub async fn drain(&self, peer: PeerId, draining: bool) -> Result<(), ClientError> {
        let call = self.admitted(Method::PUT, format!("/v1/peers/{peer}/drain"));
        self.http.send(call.json(&DrainRequest { draining })).await.map(drop)
    }

    /// All peers.
    pub async fn peers(&self) -> Result<PeerList, ClientError> {
        self.http.json(self.admitted(Method::GET, "/v1/peers"), PEER_LIST_BYTES_MAX).await
    }

    /// Asks for all invites, and what is used of what they allow.
    pub async fn invites(&self) -> Result<InviteList, ClientError> {
        self.http.json(self.admitted(Method::GET, "/v1/invites"), PEER_LIST_BYTES_MAX).await
    }

    /// A page of all shares, as the admin.
    pub async fn shares(&self, after: Option<ShareId>) -> Result<ShareList, ClientError> {
        let after = after.map(|after| format!("?after={after}")).unwrap_or_default();
        let call = self.admitted(Method::GET, format!("/v1/shares{after}"));
        self.http.json(call, PEER_LIST_BYTES_MAX).await
    }

    /// Asks where to push a share, with the word of its owner.
    pub async fn open(&self, request: &OpenRequest, owner: &str) -> Result<OpenResponse, ClientError> {
        let call = self.admitted(Method::POST, "/v1/shares").owner(owner).json(request);
        let answer: OpenResponse = self.call(call).await?;
        self.takes_raw_manifests.store(answer.takes_raw_manifests, Ordering::Relaxed);
        Ok(answer)
    }

    /// Publishes a share. The manifest goes raw if the tracker said that it takes it so when the share was opened.
    pub async fn publish(
        &self,
        authority: Authority<'_>,
        manifest: &Arc<Manifest>,
        terms: TermsToken,
        receipts: Vec<String>,
    ) -> Result<(), ClientError> {
        let path = format!("/v1/shares/{}", manifest.share());
        let request = PublishRequest { manifest: Blob::default(), terms, receipts };
        let body = self.with_manifest(request, manifest);
        let call = self.request(Method::PUT, path).authority(&authority);
        self.http.send(Call { body, ..call }).await.map(drop)
    }

    /// Looks a share up.
    pub async fn look_up(&self, share: ShareId, access: &Secret) -> Result<LookUpResponse, ClientError> {
        let call = self.request(Method::GET, format!("/v1/shares/{share}")).secret(access);
        self.http.enclosed(call).await
    }

    /// Replaces the terms of a share.
    pub async fn put_terms(&self, share: ShareId, terms: TermsToken) -> Result<(), ClientError> {
        let path = format!("/v1/shares/{share}/terms");
        self.http
            .send(self.request(Method::PUT, path).json(&TermsRequest { terms, sent_to: Vec::new() }))
            .await
            .map(drop)
    }

    /// Deletes a share that may never have been published; these peers may hold something of it.
    pub async fn delete(
        &self,
        share: ShareId,
        terms: TermsToken,
        sent_to: Vec<PeerId>,
    ) -> Result<(), ClientError> {
        let call = self.admitted(Method::PUT, format!("/v1/shares/{share}/terms"));
        self.http.send(call.json(&TermsRequest { terms, sent_to })).await.map(drop)
    }

    /// Tells the tracker that a peer served wrong bytes. The tracker has the peer look, and believes nobody.
    pub async fn complain(
        &self,
        share: ShareId,
        access: &Secret,
        request: &ComplaintRequest,
    ) -> Result<(), ClientError> {
        let path = format!("/v1/shares/{share}/complaints");
        self.http.send(self.request(Method::POST, path).secret(access).json(request)).await.map(drop)
    }

    fn with_manifest(&self, request: impl Encloses, manifest: &Arc<Manifest>) -> Payload {
        Payload::with_manifest(request, manifest, self.takes_raw_manifests.load(Ordering::Relaxed))
    }

    fn request(&self, method: Method, path: impl Into<String>) -> Call<'_> {
        Call::new(method, &self.server, path)
    }

    /// A request that needs the invite's token.
    fn admitted(&self, method: Method, path: impl Into<String>) -> Call<'_> {
        let call = self.request(method, path);
        match &self.token {
            Some(token) => call.secret(token),
            None => call,
        }
    }

    async fn call<T: DeserializeOwned>(&self, call: Call<'_>) -> Result<T, ClientError> {
        self.http.json(call, JSON_BODY_BYTES_MAX).await
    }
}

fn server(url: &TrackerUrl, id: Option<TrackerId>) -> Server {
    let trust = id.map_or(Trust::Authorities, |id| Trust::Key(*id.as_bytes()));
    Server { address: url.authority(), trust }
}
