//! The HTTP server under tracker and peer: listener, limits, problem documents, graceful stop.

mod extract;
mod problem;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::http::header::CONTENT_TYPE;
use axum::response::Response;
use axum::routing::get;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use swarmdrop_core::api::ProblemKind;
use swarmdrop_core::limits::{CONNECTIONS_MAX, DRAIN_TIMEOUT, HEADER_TIMEOUT};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tower::ServiceExt;
use tower_http::catch_panic::CatchPanicLayer;
use utoipa_axum::router::OpenApiRouter;

pub use extract::{Access, Id, JsonBody, next_frame};
pub use problem::Refusal;

use crate::failure::{Failure, Kind};
use crate::task::Tasks;

/// Largest request head: ids and tokens fit many times over.
const HEAD_BYTES_MAX: usize = 16 << 10;
/// Pause after a failed accept (out of descriptors, say), so that the loop does not spin.
const ACCEPT_BACKOFF: Duration = Duration::from_millis(100);

/// Where a request came from.
#[derive(Debug, Clone, Copy)]
pub struct RemoteAddr(pub SocketAddr);

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

/// The routes together with `/openapi.json`, which describes them (OpenAPI 3.1).
pub fn described<S: Clone + Send + Sync + 'static>(routes: OpenApiRouter<S>, state: S) -> Router {
    let (router, api) = routes.split_for_parts();
    let json = api.to_json().expect("the description is made of plain values");
    let openapi = get(|| async move { ([(CONTENT_TYPE, "application/json")], json) });
    router.route("/openapi.json", openapi).with_state(state)
}

/// Serves until `tasks` is told to stop, then finishes what is in flight.
pub async fn serve(listener: TcpListener, router: Router, tasks: Tasks) {
    let router = router
        .fallback(|| async { Refusal::new(ProblemKind::NoRoute, "no such path") })
        .method_not_allowed_fallback(|| async {
            Refusal::new(ProblemKind::MethodNotAllowed, "the path has no such method")
        })
        .layer(CatchPanicLayer::custom(problem::after_panic));
    let permits = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let graceful = GracefulShutdown::new();
    let stop = tasks.stop_token().clone();
    loop {
        // The permit comes first: connections over the limit wait in the backlog, not in memory.
        let accepted = async {
            let permit = Arc::clone(&permits).acquire_owned().await;
            (permit, listener.accept().await)
        };
        let (permit, stream) = tokio::select! {
            () = stop.cancelled() => break,
            (permit, accepted) = accepted => match accepted {
                Ok((stream, remote)) => (permit, (stream, remote)),
                Err(error) => {
                    tracing::warn!(%error, "accept failed");
                    tokio::time::sleep(ACCEPT_BACKOFF).await;
                    continue;
                }
            },
        };
        let connection = serve_connection(stream.0, RemoteAddr(stream.1), router.clone(), &graceful);
        tasks.spawn("connection", async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "connection ended");
            }
            drop(permit);
        });
    }
    drop(listener);
    if tokio::time::timeout(DRAIN_TIMEOUT, graceful.shutdown()).await.is_err() {
        tracing::warn!("some requests did not finish in time");
    }
}

fn serve_connection(
    stream: TcpStream,
    remote: RemoteAddr,
    router: Router,
    graceful: &GracefulShutdown,
) -> impl Future<Output = Result<(), hyper::Error>> + Send + use<> {
    let _ = stream.set_nodelay(true);
    let service = service_fn(move |request: Request<Incoming>| {
        let router = router.clone();
        async move { Ok::<Response, Infallible>(answer(router, remote, request).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .max_buf_size(HEAD_BYTES_MAX.max(512 << 10))
        .serve_connection(TokioIo::new(stream), service);
    graceful.watch(connection)
}

async fn answer(router: Router, remote: RemoteAddr, request: Request<Incoming>) -> Response {
    let mut request = request.map(Body::new);
    request.extensions_mut().insert(remote);
    match router.oneshot(request).await {
        Ok(response) => response,
        Err(never) => match never {},
    }
}
