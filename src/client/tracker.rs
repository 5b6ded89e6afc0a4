//! The tracker's API as typed calls.

use http::Method;
use swarmdrop_core::api::{
    Health, HeartbeatRequest, HeartbeatResponse, LookUpResponse, OpenRequest, OpenResponse, PeerList,
    PublishRequest, RegisterRequest, RegisterResponse, TermsRequest,
};
use swarmdrop_core::id::{PeerId, Secret, ShareId};
use swarmdrop_core::limits::{JSON_BODY_BYTES_MAX, MANIFEST_BODY_BYTES_MAX};
use swarmdrop_core::link::{Scheme, TrackerUrl};

use super::http::{Call, ClientError, Http};

/// A swarm's list of peers may be long.
const PEER_LIST_BYTES_MAX: usize = 16 << 20;

/// One tracker.
#[derive(Debug, Clone)]
pub struct TrackerClient {
    http: Http,
    server: String,
    secure: bool,
}

impl TrackerClient {
    /// The tracker at this address.
    pub fn new(http: Http, url: &TrackerUrl) -> Self {
        Self { http, server: url.authority(), secure: url.scheme() == Scheme::Https }
    }

    /// Who answers there.
    pub async fn health(&self) -> Result<Health, ClientError> {
        self.call(self.request(Method::GET, "/healthz")?).await
    }

    /// Registers a peer.
    pub async fn register(&self, request: &RegisterRequest) -> Result<RegisterResponse, ClientError> {
        self.call(self.request(Method::POST, "/v1/peers")?.json(request)).await
    }

    /// Says that a peer is there.
    pub async fn heartbeat(
        &self,
        peer: PeerId,
        request: &HeartbeatRequest,
    ) -> Result<HeartbeatResponse, ClientError> {
        let path = format!("/v1/peers/{peer}/heartbeat");
        self.call(self.request(Method::POST, path)?.json(request)).await
    }

    /// Says that a peer goes.
    pub async fn leave(&self, peer: PeerId) -> Result<(), ClientError> {
        self.http.send(self.request(Method::DELETE, format!("/v1/peers/{peer}"))?).await.map(drop)
    }

    /// All peers.
    pub async fn peers(&self) -> Result<PeerList, ClientError> {
        self.http.json(self.request(Method::GET, "/v1/peers")?, PEER_LIST_BYTES_MAX).await
    }

    /// Asks where to push a share.
    pub async fn open(&self, request: &OpenRequest) -> Result<OpenResponse, ClientError> {
        self.call(self.request(Method::POST, "/v1/shares")?.json(request)).await
    }

    /// Publishes a share.
    pub async fn publish(&self, share: ShareId, request: &PublishRequest) -> Result<(), ClientError> {
        let call = self.request(Method::PUT, format!("/v1/shares/{share}"))?.json(request);
        self.http.send(call).await.map(drop)
    }

    /// Looks a share up.
    pub async fn look_up(&self, share: ShareId, access: &Secret) -> Result<LookUpResponse, ClientError> {
        let call = self.request(Method::GET, format!("/v1/shares/{share}"))?.access(access);
        self.http.json(call, MANIFEST_BODY_BYTES_MAX).await
    }

    /// Replaces the terms of a share.
    pub async fn put_terms(&self, share: ShareId, terms: String) -> Result<(), ClientError> {
        let path = format!("/v1/shares/{share}/terms");
        self.http.send(self.request(Method::PUT, path)?.json(&TermsRequest { terms })).await.map(drop)
    }

    fn request(&self, method: Method, path: impl Into<String>) -> Result<Call<'_>, ClientError> {
        if self.secure {
            let why = "this version speaks plain HTTP only, and the address asks for TLS (https)".into();
            return Err(ClientError::Unreachable { server: self.server.clone(), why });
        }
        Ok(Call::new(method, &self.server, path))
    }

    async fn call<T: serde::de::DeserializeOwned>(&self, call: Call<'_>) -> Result<T, ClientError> {
        self.http.json(call, JSON_BODY_BYTES_MAX).await
    }
}
