//! The HTTP server under tracker and peer: listener, TLS, limits, problem documents, graceful stop.

mod connections;
mod description;
mod extract;
mod fair;
mod guard;
mod memory;
mod problem;
mod proxies;

use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::http::header::{FORWARDED, LOCATION};
use axum::http::uri::PathAndQuery;
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use hyper::body::{Body as HttpBody, Frame, Incoming, SizeHint};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use parcelry_core::address::canonical;
use parcelry_core::api::ProblemKind;
use parcelry_core::id::PeerId;
use parcelry_core::limits::{
    DRAIN_TIMEOUT, HANDSHAKE_TIMEOUT, HEAD_BYTES_MAX, HEADER_TIMEOUT, HEADERS_MAX, READ_AHEAD_BYTES,
    WRITE_BEHIND_BYTES,
};
use tokio::io::{AsyncRead, AsyncWrite, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tower::ServiceExt;
use tower_http::catch_panic::CatchPanicLayer;

use connections::{Busy, Connections, Slot};

pub use description::with_openapi_json;
pub use extract::{
    Access, Credential, Frames, Id, Index, JsonBody, LargeJsonBody, ManifestBody, OfShare, OwnersWord, denied,
};
pub use fair::{Asker, ChargedTo, FairSemaphore, Held};
pub use memory::{LargeJson, Layout, MemoryPermit};
pub use problem::Refusal;
pub use proxies::Proxies;

use crate::failure::{Failure, Kind};
use crate::pace::Paced;
use crate::task::Tasks;
use crate::tls;
use crate::tls::server::ServerTls;

/// Pause after a failed accept (out of descriptors, say), so that the loop does not spin.
const ACCEPT_BACKOFF: Duration = Duration::from_millis(50);
/// Time for which nobody is served while the proxies' names are looked up for the first time.
const FIRST_LOOK_UP_MAX: Duration = Duration::from_secs(5);
/// The first byte of a TLS connection: a handshake record (RFC 8446 §5.1).
const TLS_HANDSHAKE: u8 = 0x16;
/// What somebody from afar hears who does not speak TLS.
const SPEAK_TLS: &str = "This port speaks TLS: use https://. A proxy that speaks TLS for it is to be named with --behind-proxy.\r\n";
const X_FORWARDED_FOR: &str = "x-forwarded-for";

/// Where a request came from, and who sent it.
#[derive(Debug, Clone, Copy)]
pub struct Client {
    /// The client's address; behind a declared proxy, the one that the proxy names.
    pub ip: IpAddr,
    /// The peer that the client proved to be by its certificate.
    pub peer: Option<PeerId>,
    /// Whether it came from this machine, and from nobody behind a proxy.
    pub is_local: bool,
    /// Whether it goes by the server's key, as no browser does.
    pub is_pinned: bool,
    /// Whether it came over TLS, or from a declared proxy, which speaks TLS to the client.
    pub is_secure: bool,
}

/// What stands between the network and the routes.
#[derive(Debug, Clone)]
pub struct Frontend {
    /// Keys and certificates.
    pub tls: ServerTls,
    /// Where a page is to be asked for that was asked for without TLS, as in `https://example.org:9090`.
    pub secure_at: Option<Arc<str>>,
    /// Machines that speak plain HTTP for others, whose addresses they name in `X-Forwarded-For`.
    pub proxies: Proxies,
    /// Names by which browsers may call this server; its addresses need not be told.
    pub hosts: Arc<[String]>,
}

/// Starts to listen; says in words what to do if it cannot.
pub async fn listen(address: SocketAddr) -> Result<(TcpListener, SocketAddr), Failure> {
    let refuse = |error: std::io::Error| {
        Failure::new(Kind::Other, format!("cannot listen on {address}: {error}"))
            .next("Give another address with --listen, or port 0 for any free one.")
    };
    let listener = TcpListener::bind(address).await.map_err(refuse)?;
    let local = listener.local_addr().map_err(refuse)?;
    Ok((listener, local))
}

/// Serves until `tasks` is told to stop, then finishes what is in flight.
pub async fn serve(listener: TcpListener, router: Router, frontend: Frontend, tasks: Tasks) {
    let router = router
        .fallback(|| async { Refusal::new(ProblemKind::NoRoute, "no such path") })
        .method_not_allowed_fallback(|| async {
            Refusal::new(ProblemKind::MethodNotAllowed, "the path has no such method")
        })
        .layer(CatchPanicLayer::custom(problem::after_panic));
    let connections = Connections::new();
    let graceful = GracefulShutdown::new();
    let stop = tasks.stop_token().clone();
    let (first, looked_up) = oneshot::channel();
    tasks.spawn("proxies", frontend.proxies.clone().keep_looking_up(stop.clone(), first));
    if tokio::time::timeout(FIRST_LOOK_UP_MAX, looked_up).await.is_err() {
        tracing::warn!("the look-up of the proxies' names takes long: until it ends, they are not known");
    }
    loop {
        let (stream, remote) = tokio::select! {
            () = stop.cancelled() => break,
            accepted = listener.accept() => match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::warn!(%error, "accept failed");
                    // Most likely the process is out of descriptors: closing an idle connection gives one back.
                    connections.make_room();
                    tokio::time::sleep(ACCEPT_BACKOFF).await;
                    continue;
                }
            },
        };
        let remote = canonical(remote.ip());
        let Some(slot) = connections.admit(remote, frontend.proxies.contains(remote)) else {
            tracing::debug!(%remote, "too many connections at work: refused another");
            continue;
        };
        let close = slot.must_close();
        let connection = Connection {
            remote,
            frontend: frontend.clone(),
            router: router.clone(),
            slot: Arc::new(slot),
            watcher: graceful.watcher(),
        };
        tasks.spawn("connection", async move {
            tokio::select! {
                () = close.cancelled() => {}
                ended = connection.serve(stream) => if let Err(error) = ended {
                    tracing::debug!(%error, %remote, "connection ended");
                }
            }
        });
    }
    // Newcomers are refused at once, not left waiting for a server that is about to go.
    drop(listener);
    connections.close_all_idle();
    if tokio::time::timeout(DRAIN_TIMEOUT, graceful.shutdown()).await.is_err() {
        tracing::warn!("some requests did not finish in time");
    }
}

/// One connection, from its first byte on.
struct Connection {
    remote: IpAddr,
    frontend: Frontend,
    router: Router,
    slot: Arc<Slot>,
    watcher: Watcher,
}

impl Connection {
    async fn serve(self, stream: TcpStream) -> io::Result<()> {
        stream.set_nodelay(true)?;
        let mut first = [0];
        // Only looked at: the byte is the first one of the handshake, or of the request.
        if in_time(stream.peek(&mut first)).await? == 0 {
            return Ok(());
        }
        let stranger =
            Client { ip: self.remote, peer: None, is_local: false, is_pinned: false, is_secure: false };
        if first[0] == TLS_HANDSHAKE {
            let stream = Paced::new(BufReader::with_capacity(READ_AHEAD_BYTES, stream));
            let mut stream = in_time(self.frontend.tls.accept(stream)).await?;
            stream.get_mut().1.set_buffer_limit(Some(WRITE_BEHIND_BYTES));
            let session = stream.get_ref().1;
            let peer = tls::shown_fingerprint(session.peer_certificates()).map(PeerId::from_bytes);
            let is_pinned = session.alpn_protocol() == Some(tls::PINNED_PROTOCOL);
            return self.speak_http(stream, Client { peer, is_pinned, is_secure: true, ..stranger }).await;
        }
        if self.remote.is_loopback() || self.frontend.proxies.contains(self.remote) {
            return self.speak_http(Paced::new(stream), stranger).await;
        }
        self.send_to_tls(Paced::new(stream)).await
    }

    /// Answers who does not speak TLS, and shows a page's visitor the way: to the name that was set for this server,
    /// whatever the request calls it.
    async fn send_to_tls(self, stream: Paced<TcpStream>) -> io::Result<()> {
        let (slot, secure_at) = (self.slot, self.frontend.secure_at);
        let service = service_fn(move |request: Request<Incoming>| {
            let busy = slot.busy();
            let answer = to_tls(secure_at.as_deref(), request.method(), request.uri(), request.headers());
            async move {
                Ok::<Response, Infallible>(answer.map(|inner| Body::new(BusyBody { inner, _busy: busy })))
            }
        });
        let connection = http().keep_alive(false).serve_connection(TokioIo::new(stream), service);
        self.watcher.watch(connection).await.map_err(io::Error::other)
    }

    async fn speak_http<S>(self, stream: S, client: Client) -> io::Result<()>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let (router, slot, frontend) = (self.router, self.slot, self.frontend);
        let service = service_fn(move |request: Request<Incoming>| {
            let busy = slot.busy();
            let client = client_of(client, &frontend.proxies, request.headers());
            let is_for_us = client.is_pinned || guard::is_for_us(request.headers(), &frontend.hosts);
            let router = is_for_us.then(|| router.clone());
            async move { Ok::<Response, Infallible>(answer(router, client, request, busy).await) }
        });
        let connection = http().serve_connection(TokioIo::new(stream), service);
        self.watcher.watch(connection).await.map_err(io::Error::other)
    }
}

/// HTTP/1.1 within the limits.
fn http() -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .max_headers(HEADERS_MAX)
        .max_buf_size(HEAD_BYTES_MAX);
    builder
}

/// The answer to a request from afar without TLS. Only what a browser asks for by itself is led on: what was sent with
/// another method may hold secrets, and is better seen to fail. Whom a proxy asks for is led back to it for ever.
fn to_tls(secure_at: Option<&str>, method: &Method, uri: &Uri, headers: &HeaderMap) -> Response {
    let path = uri.path_and_query().map_or("/", PathAndQuery::as_str);
    let leads = matches!(*method, Method::GET | Method::HEAD) && !is_relayed(headers);
    let mut answer = match secure_at.filter(|_| leads) {
        Some(at) => (StatusCode::TEMPORARY_REDIRECT, [(LOCATION, format!("{at}{path}"))]).into_response(),
        None => (StatusCode::BAD_REQUEST, SPEAK_TLS).into_response(),
    };
    guard::protect(answer.headers_mut());
    answer
}

/// Whether a proxy says that it asks for somebody else.
fn is_relayed(headers: &HeaderMap) -> bool {
    headers.contains_key(X_FORWARDED_FOR) || headers.contains_key(FORWARDED)
}

async fn in_time<T>(step: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    tokio::time::timeout(HANDSHAKE_TIMEOUT, step).await?
}

/// Where a request on the client's connection comes from.
fn client_of(client: Client, proxies: &Proxies, headers: &HeaderMap) -> Client {
    let forwarded = headers.get_all(X_FORWARDED_FOR).iter().next_back();
    if proxies.contains(client.ip) {
        // The last entry is the proxy's own; those before it are whatever its client claimed.
        let named = forwarded.and_then(|value| value.to_str().ok()?.rsplit(',').next()?.trim().parse().ok());
        return Client { ip: named.map_or(client.ip, canonical), is_local: false, is_secure: true, ..client };
    }
    Client { is_local: client.ip.is_loopback() && !is_relayed(headers), ..client }
}

/// The router's answer; without one, the request is for another host.
async fn answer(router: Option<Router>, client: Client, request: Request<Incoming>, busy: Busy) -> Response {
    let mut request = request.map(Body::new);
    request.extensions_mut().insert(client);
    let mut response = match router.map(|router| router.oneshot(request)) {
        Some(answer) => match answer.await {
            Ok(response) => response,
            Err(never) => match never {},
        },
        None => {
            let what = "no site of this name is served here; the operator may add it";
            Refusal::new(ProblemKind::WrongHost, what).into_response()
        }
    };
    guard::protect(response.headers_mut());
    response.map(|inner| Body::new(BusyBody { inner, _busy: busy }))
}

/// A response's body: until it is sent, its connection is at work.
struct BusyBody {
    inner: Body,
    _busy: Busy,
}

impl HttpBody for BusyBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.inner).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    #[test]
    fn who_speaks_no_tls_is_led_to_the_name_that_was_set_and_no_other() {
        let answer = |at, method: Method, uri: &str| {
            let answer = to_tls(at, &method, &uri.parse().unwrap(), &HeaderMap::new());
            let location = answer.headers().get(LOCATION).map(|to| to.to_str().unwrap().to_owned());
            (answer.status().as_u16(), location)
        };
        let at = Some("https://drop.example:9090");
        let to = |path: &str| (307, Some(format!("https://drop.example:9090{path}")));
        assert_eq!(answer(at, Method::GET, "/s/abc?x=1"), to("/s/abc?x=1"));
        assert_eq!(answer(at, Method::HEAD, "/"), to("/"));
        assert_eq!(answer(at, Method::GET, "http://evil.example/s/abc"), to("/s/abc"));
        assert_eq!(answer(at, Method::GET, "//evil.example/x"), to("//evil.example/x"));
        assert_eq!(answer(at, Method::POST, "/v1/shares"), (400, None));
        assert_eq!(answer(None, Method::GET, "/"), (400, None));
        let relayed = HeaderMap::from_iter([(FORWARDED, HeaderValue::from_static("for=1.1.1.1"))]);
        assert_eq!(
            to_tls(at, &Method::GET, &"/".parse().unwrap(), &relayed).status(),
            StatusCode::BAD_REQUEST
        );
    }

    #[test]
    fn a_proxys_word_counts_only_if_the_proxy_was_declared() {
        let (proxy, home): (IpAddr, IpAddr) = ([10, 0, 0, 1].into(), [127, 0, 0, 1].into());
        let forwarded = HeaderValue::from_static("1.1.1.1, 8.8.8.8");
        let headers = HeaderMap::from_iter([(X_FORWARDED_FOR.parse().unwrap(), forwarded)]);
        let seen = |remote, proxies: &[IpAddr], headers| {
            let stranger =
                Client { ip: remote, peer: None, is_local: false, is_pinned: false, is_secure: false };
            let declared = proxies.iter().map(|&ip| ip.into()).collect();
            let client = client_of(stranger, &Proxies::new(declared), headers);
            (client.ip.to_string(), client.is_local, client.is_secure)
        };
        let none = HeaderMap::new();
        assert_eq!(seen(proxy, &[proxy], &headers), ("8.8.8.8".into(), false, true));
        assert_eq!(seen(proxy, &[], &headers), ("10.0.0.1".into(), false, false));
        assert_eq!(seen(home, &[home], &none), ("127.0.0.1".into(), false, true));
        assert_eq!(seen(home, &[], &headers), ("127.0.0.1".into(), false, false));
        assert_eq!(seen(home, &[], &none), ("127.0.0.1".into(), true, false));
    }
}
