//! Requests and responses under the typed clients: one pool of connections, no redirects, no proxies,
//! no decompression; every wait has an end.

use std::error::Error;
use std::pin::pin;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Limited};
use hyper::body::{Body, Frame, Incoming};
use hyper_util::client::legacy::{self, Client};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use parcelry_core::api::Problem;
use parcelry_core::enclosed::{ENCLOSED, Encloses, disclose};
use parcelry_core::grant::GrantToken;
use parcelry_core::id::Secret;
use parcelry_core::limits::{
    JSON_BODY_BYTES_MAX, MANIFEST_BODY_BYTES_MAX, PROBLEM_CHARS_MAX, REQUEST_TIMEOUT,
};
use parcelry_core::owner::OWNER_TOKEN_FIELD;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::connector::{Connector, SecureStream, Server};
use super::error::{BoxError, ClientError, Reworded};
use super::payload::{Payload, SEND_BYTES, Sending};
use crate::failure::Failure;
use crate::identity::Identity;
use crate::pace::{Pace, TooSlow};

/// Idle connections are dropped before the server drops them, so that a request rarely meets a closed one.
const POOL_IDLE: Duration = Duration::from_secs(8);

/// The shared pool of connections. Cloning it is cheap.
#[derive(Clone)]
pub struct Http {
    client: Client<Connector, Sending>,
    connector: Connector,
}

impl std::fmt::Debug for Http {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Http")
    }
}

impl Http {
    /// A pool of connections on which servers prove who they are, and this side too if it has an identity.
    pub fn new(identity: Option<&Identity>) -> Result<Self, Failure> {
        Ok(Self::over(Connector::new(identity)?, usize::MAX))
    }

    /// A pool like this one without the connections that there are: one may have died without a word when this
    /// machine's address went away.
    #[must_use]
    pub fn afresh(&self) -> Self {
        Self::over(self.connector.clone(), usize::MAX)
    }

    /// A client like this one, of which each request goes over a connection of its own.
    #[must_use]
    pub fn without_pool(&self) -> Self {
        Self::over(self.connector.clone(), 0)
    }

    fn over(connector: Connector, idle_max: usize) -> Self {
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(POOL_IDLE)
            .pool_max_idle_per_host(idle_max)
            .http1_max_buf_size(SEND_BYTES)
            .build(connector.clone());
        Self { client, connector }
    }

    /// A connection that is nobody else's.
    pub(super) async fn connect(&self, server: &Server) -> Result<SecureStream, ClientError> {
        self.connector.connect(server).await
    }

    /// The shortest time that a connection to the server took to make: one round trip.
    pub(super) fn round_trip(&self, server: &Server) -> Option<Duration> {
        self.connector.round_trip(&server.address)
    }
}

/// What a sender shows at a peer or tracker: the right to use its resources, and the word of the share's owner.
#[derive(Debug, Clone, Copy)]
pub struct Authority<'a> {
    /// The grant.
    pub grant: &'a GrantToken,
    /// The owner's token that goes with it.
    pub owner: &'a str,
}

/// A request before it is sent.
pub(super) struct Call<'a> {
    pub(super) method: Method,
    pub(super) server: &'a Server,
    pub(super) path: String,
    pub(super) bearer: Option<String>,
    pub(super) owner: Option<String>,
    /// The media type of the answer, if it is not JSON.
    pub(super) accept: Option<&'static str>,
    pub(super) body: Payload,
    pub(super) timeout: Duration,
}

impl<'a> Call<'a> {
    pub(super) fn new(method: Method, server: &'a Server, path: impl Into<String>) -> Self {
        let timeout = REQUEST_TIMEOUT;
        Self {
            method,
            server,
            path: path.into(),
            bearer: None,
            owner: None,
            accept: None,
            body: Payload::default(),
            timeout,
        }
    }

    pub(super) fn json(mut self, body: &impl Serialize) -> Self {
        self.body = Payload::json(body);
        self
    }

    /// Shows a secret: an access token, or the token of an invite.
    pub(super) fn secret(self, secret: &Secret) -> Self {
        self.bearer(&secret.expose_text())
    }

    /// Shows a credential.
    pub(super) fn bearer(mut self, credential: &str) -> Self {
        self.bearer = Some(format!("Bearer {credential}"));
        self
    }

    /// Shows the word of a share's owner.
    pub(super) fn owner(mut self, token: &str) -> Self {
        self.owner = Some(token.to_owned());
        self
    }

    /// Shows a grant, and the word of a share's owner.
    pub(super) fn authority(self, authority: &Authority<'_>) -> Self {
        self.bearer(authority.grant).owner(authority.owner)
    }
}

impl Http {
    /// Sends a request and waits for the head of a successful response.
    pub(super) async fn send(&self, call: Call<'_>) -> Result<Response<Incoming>, ClientError> {
        let server = call.server;
        let mut request = Request::builder()
            .method(call.method)
            .uri(server.uri(&call.path))
            .header(CONTENT_TYPE, call.body.media_type());
        if let Some(bearer) = call.bearer {
            let mut bearer = HeaderValue::try_from(bearer).map_err(|error| server.unreachable(error))?;
            bearer.set_sensitive(true);
            request = request.header(AUTHORIZATION, bearer);
        }
        if let Some(owner) = call.owner {
            request = request.header(OWNER_TOKEN_FIELD, owner);
        }
        if let Some(accept) = call.accept {
            request = request.header(ACCEPT, accept);
        }
        let (body, left_bytes) = call.body.into_body();
        let request = request.body(body).map_err(|error| server.unreachable(error))?;
        let mut answer = pin!(self.client.request(request));
        let response = loop {
            let before = left_bytes.load(Ordering::Relaxed);
            match tokio::time::timeout(call.timeout, &mut answer).await {
                Ok(Ok(response)) => break response,
                Ok(Err(error)) => return Err(failed(server, error)),
                // However slow the line is: as long as the body goes out, the answer may still come.
                Err(_) if left_bytes.load(Ordering::Relaxed) < before => {}
                Err(_) => return Err(server.unreachable("no answer in time")),
            }
        };
        if response.status().is_success() {
            return Ok(response);
        }
        Err(refusal(&server.address, response).await)
    }

    /// Sends a request whose response is JSON of at most `max` bytes.
    pub(super) async fn json<T: DeserializeOwned>(
        &self,
        call: Call<'_>,
        max: usize,
    ) -> Result<T, ClientError> {
        let server = call.server;
        let (_, bytes) = self.read(call, max).await?;
        serde_json::from_slice(&bytes).map_err(|error| ClientError::protocol(&server.address, error))
    }

    /// Sends a request whose response has a manifest.
    pub(super) async fn enclosed<T: Encloses>(&self, mut call: Call<'_>) -> Result<T, ClientError> {
        call.accept = Some(ENCLOSED);
        let server = call.server;
        let (is_enclosed, bytes) = self.read(call, MANIFEST_BODY_BYTES_MAX).await?;
        let protocol = |what: BoxError| ClientError::protocol(&server.address, what);
        if is_enclosed {
            return disclose(bytes, MANIFEST_BODY_BYTES_MAX).map_err(|error| protocol(error.into()));
        }
        serde_json::from_slice(&bytes).map_err(|error| protocol(error.into()))
    }

    /// Sends a request and reads its response, of at most `max` bytes. Returns also whether a manifest follows JSON in it.
    async fn read(&self, call: Call<'_>, max: usize) -> Result<(bool, Vec<u8>), ClientError> {
        let (server, timeout) = (call.server, call.timeout);
        let response = self.send(call).await?;
        let is_enclosed =
            response.headers().get(CONTENT_TYPE).is_some_and(|media_type| media_type == ENCLOSED);
        let stalled = |slow: BoxError| server.unreachable(Reworded::new("the answer stalled", slow));
        let body = Limited::new(response.into_body(), max);
        // However slow the line is: a large answer has the time that it needs, as long as it moves.
        let bytes = if max > JSON_BODY_BYTES_MAX {
            collect(body).await
        } else {
            tokio::time::timeout(timeout, collect(body)).await.map_err(|late| stalled(late.into()))?
        };
        let bytes = bytes.map_err(|broken| match broken {
            Broken::Slow(slow) => stalled(slow.into()),
            Broken::Other(what) => ClientError::protocol(&server.address, what),
        })?;
        Ok((is_enclosed, bytes))
    }
}

/// Why a body was not read to its end.
enum Broken {
    /// It came too slowly.
    Slow(TooSlow),
    /// It broke off, or was too long.
    Other(BoxError),
}

/// Reads a body at the pace that it must keep.
async fn collect(mut body: Limited<Incoming>) -> Result<Vec<u8>, Broken> {
    // What is announced has room at once: growing takes half as much again.
    let announced = usize::try_from(body.size_hint().lower()).unwrap_or(0);
    let (mut pace, mut bytes) = (Pace::default(), Vec::with_capacity(announced.min(MANIFEST_BODY_BYTES_MAX)));
    let count = |frame: &Option<Result<Frame<Bytes>, _>>| match frame {
        Some(Ok(frame)) => frame.data_ref().map_or(0, Bytes::len),
        _ => 0,
    };
    while let Some(frame) = pace.keep(body.frame(), count).await.map_err(Broken::Slow)? {
        let frame = frame.map_err(Broken::Other)?;
        bytes.extend_from_slice(&frame.into_data().unwrap_or_default());
    }
    Ok(bytes)
}

/// What a failed request means. Why no connection came about, the connector has said.
fn failed(server: &Server, error: legacy::Error) -> ClientError {
    let mut cause: &(dyn Error + 'static) = &error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
        if let Some(not_connected) = cause.downcast_ref::<ClientError>() {
            return not_connected.clone();
        }
    }
    // The cause at the bottom says most: "connection reset" rather than "client error".
    let words = cause.to_string();
    server.unreachable(Reworded::new(words, error))
}

async fn refusal(server: &str, response: Response<Incoming>) -> ClientError {
    let status: StatusCode = response.status();
    let body = Limited::new(response.into_body(), JSON_BODY_BYTES_MAX).collect();
    let body = match tokio::time::timeout(REQUEST_TIMEOUT, body).await {
        Ok(Ok(body)) => body.to_bytes(),
        _ => Bytes::new(),
    };
    refused(server, status, &body)
}

/// What the body of a refusal says.
pub(super) fn refused(server: &str, status: StatusCode, body: &[u8]) -> ClientError {
    match serde_json::from_slice(body).map(shortened) {
        Ok(problem) => ClientError::Refused { server: server.to_owned(), problem },
        Err(error) => {
            let words = format!("status {status} without a problem document");
            ClientError::protocol(server, Reworded::new(words, error))
        }
    }
}

/// What a server says ends up in one line.
fn shortened(problem: Problem) -> Problem {
    let short = |text: &str| text.chars().take(PROBLEM_CHARS_MAX).collect();
    Problem { title: short(&problem.title), detail: short(&problem.detail), ..problem }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;
    use crate::tls::Trust;

    #[tokio::test]
    async fn who_is_not_there_is_told_as_the_system_tells_it_and_its_error_is_kept() {
        // No port that a system gives out, so that nobody comes to listen there meanwhile.
        let nobody = "127.0.0.1:1";
        let server = Server { address: nobody.into(), trust: Trust::Key([7; 32]) };
        let http = Http::new(None).unwrap();
        for error in [
            http.connect(&server).await.map(drop).unwrap_err(),
            http.send(Call::new(Method::GET, &server, "/healthz")).await.map(drop).unwrap_err(),
        ] {
            let source = error.source().and_then(|source| source.downcast_ref::<io::Error>()).unwrap();
            assert_eq!(source.kind(), io::ErrorKind::ConnectionRefused);
            assert_eq!(error.to_string(), format!("{nobody} cannot be reached: {source}"));
            assert!(matches!(error, ClientError::Unreachable { .. }));
        }
    }

    #[test]
    fn an_answer_without_a_problem_document_is_told_by_its_status() {
        let error = refused("server", StatusCode::BAD_GATEWAY, b"<html>");
        let text = "server answered with something else than parcelry does: status 502 Bad Gateway without a \
                    problem document";
        assert_eq!(error.to_string(), text);
        let source = error.source().and_then(|words| words.source());
        assert!(source.is_some_and(|source| source.is::<serde_json::Error>()));
    }
}
