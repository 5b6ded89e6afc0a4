//! How a connection is made. Everything above it speaks HTTP over whatever this returns, so that
//! transport security or a simulated network takes the place of plain TCP here and nowhere else.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use http::Uri;
use hyper_util::rt::TokioIo;
use swarmdrop_core::limits::CONNECT_TIMEOUT;
use tokio::net::TcpStream;
use tower::Service;

/// Plain TCP, with a time-out.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Connector;

impl Service<Uri> for Connector {
    type Response = TokioIo<TcpStream>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        Box::pin(async move {
            let host = uri.host().ok_or(io::ErrorKind::InvalidInput)?;
            let host = host.trim_start_matches('[').trim_end_matches(']');
            let port = uri.port_u16().unwrap_or(80);
            let connecting = TcpStream::connect((host, port));
            let stream = tokio::time::timeout(CONNECT_TIMEOUT, connecting).await??;
            stream.set_nodelay(true)?;
            Ok(TokioIo::new(stream))
        })
    }
}
