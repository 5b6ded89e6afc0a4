//! How a connection is made: TCP, then TLS 1.3 with the one key that is expected there. Everything above
//! speaks HTTP over what this returns, so that a simulated network can take its place here and nowhere else.

use std::collections::HashMap;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use data_encoding::BASE64URL_NOPAD;
use http::Uri;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::TokioIo;
use parcelry_core::limits::{CONNECT_TIMEOUT, READ_AHEAD_BYTES, WRITE_BEHIND_BYTES};
use parking_lot::Mutex;
use rustls::pki_types::ServerName;
use rustls::{CertificateError, Error as TlsError};
use tokio::io::BufReader;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tower::Service;

use super::error::{BoxError, ClientError, Reworded};
use crate::failure::Failure;
use crate::identity::Identity;
use crate::tls::{self, Trust};

/// The environment variable with the milliseconds by which a test has this process take servers for farther away
/// than they are.
const DISTANCE_VARIABLE: &str = "PARCELRY_DISTANCE";

/// A server and how it is to be known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Server {
    /// `host:port`.
    pub(super) address: String,
    pub(super) trust: Trust,
}

/// Makes connections. Cloning it is cheap.
#[derive(Clone)]
pub(super) struct Connector {
    pinning: TlsConnector,
    /// Made when it is first needed: reading the system's authorities takes a while.
    web: Arc<OnceLock<Result<TlsConnector, Failure>>>,
    /// The shortest time that a connection to each address took to make.
    round_trips: Arc<Mutex<HashMap<String, Duration>>>,
}

/// An encrypted connection to a server that has shown its key. It is read in large pieces: the TLS library alone
/// would ask the system for four kilobytes at a time.
pub(super) type SecureStream = TlsStream<BufReader<TcpStream>>;

impl Connector {
    pub(super) fn new(identity: Option<&Identity>) -> Result<Self, Failure> {
        let pinning = TlsConnector::from(Arc::new(tls::pinning_client_config(identity)?));
        Ok(Self { pinning, web: Arc::default(), round_trips: Arc::default() })
    }

    /// The shortest time that a connection to the address took to make.
    pub(super) fn round_trip(&self, address: &str) -> Option<Duration> {
        self.round_trips.lock().get(address).copied()
    }

    /// Connects to the server, or finds that somebody else answers there.
    pub(super) async fn connect(&self, server: &Server) -> Result<SecureStream, ClientError> {
        let (host, _) = server.address.rsplit_once(':').ok_or_else(|| server.unreachable("no port"))?;
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let (connector, name) = match server.trust {
            Trust::Key(fingerprint) => (self.pinning.clone(), tls::pinned_name(&fingerprint)),
            Trust::Authorities => {
                let connector = || Ok(TlsConnector::from(Arc::new(tls::web_client_config()?)));
                let web = self.web.get_or_init(connector);
                let web = web.clone().map_err(|failure| ClientError::wrong_key(&server.address, failure))?;
                (web, ServerName::try_from(host.to_owned()).map_err(|error| server.unreachable(error))?)
            }
        };
        let connecting = async {
            let started = Instant::now();
            let stream = TcpStream::connect(&server.address).await?;
            // Before TLS: its work would count as distance.
            self.took(&server.address, started.elapsed());
            // A small request must not wait for the answer to an earlier one.
            stream.set_nodelay(true)?;
            let mut stream =
                connector.connect(name, BufReader::with_capacity(READ_AHEAD_BYTES, stream)).await?;
            stream.get_mut().1.set_buffer_limit(Some(WRITE_BEHIND_BYTES));
            Ok(stream)
        };
        // One time-out for TCP and TLS: who accepts and says nothing is as good as not there.
        match tokio::time::timeout(CONNECT_TIMEOUT, connecting).await {
            Err(_) => Err(server.unreachable("no answer in time")),
            Ok(Err(error)) => Err(because(server, error)),
            Ok(Ok(stream)) => Ok(stream),
        }
    }

    fn took(&self, address: &str, time: Duration) {
        let time = time + pretended_distance();
        let mut round_trips = self.round_trips.lock();
        let shortest = round_trips.entry(address.to_owned()).or_insert(time);
        *shortest = time.min(*shortest);
    }
}

/// How much farther away than they are this process is to take servers for; never in a release build.
fn pretended_distance() -> Duration {
    if !cfg!(debug_assertions) {
        return Duration::ZERO;
    }
    let told = std::env::var(DISTANCE_VARIABLE).ok().and_then(|text| text.parse().ok());
    Duration::from_millis(told.unwrap_or(0))
}

impl Server {
    /// The address under which the pool keeps connections apart. A pin goes where a user name would: two
    /// servers that were met at one address never share a connection.
    pub(super) fn uri(&self, path: &str) -> String {
        match self.trust {
            Trust::Key(pin) => format!("https://{}@{}{path}", BASE64URL_NOPAD.encode(&pin), self.address),
            Trust::Authorities => format!("https://{}{path}", self.address),
        }
    }

    fn of_uri(uri: &Uri) -> Result<Self, ClientError> {
        let authority = uri.authority().map_or("", |authority| authority.as_str());
        let key = |pin: &str| Some(Trust::Key(BASE64URL_NOPAD.decode(pin.as_bytes()).ok()?.try_into().ok()?));
        let (trust, address) = match authority.split_once('@') {
            None => ((!authority.is_empty()).then_some(Trust::Authorities), authority),
            Some((pin, address)) => (key(pin), address),
        };
        let trust = trust.ok_or_else(|| ClientError::unreachable(address, "no usable address"))?;
        Ok(Self { address: address.to_owned(), trust })
    }

    /// It cannot be reached, and why.
    pub(super) fn unreachable(&self, why: impl Into<BoxError>) -> ClientError {
        ClientError::unreachable(&self.address, why)
    }
}

/// What a failed connection means: a wrong key is no reason to try again.
fn because(server: &Server, error: io::Error) -> ClientError {
    match error.downcast::<TlsError>() {
        Ok(TlsError::InvalidCertificate(why)) => {
            let words = match &why {
                CertificateError::ApplicationVerificationFailure => {
                    "it has another key than the one expected there".to_owned()
                }
                why => format!("its certificate: {why:?}"),
            };
            let why = TlsError::InvalidCertificate(why);
            ClientError::wrong_key(&server.address, Reworded::new(words, why))
        }
        Ok(error) => server.unreachable(error),
        Err(error) => server.unreachable(error),
    }
}

impl Service<Uri> for Connector {
    type Response = TlsConnection;
    type Error = ClientError;
    type Future = Pin<Box<dyn Future<Output = Result<TlsConnection, ClientError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), ClientError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let connector = self.clone();
        Box::pin(async move {
            let server = Server::of_uri(&uri)?;
            Ok(TlsConnection(TokioIo::new(connector.connect(&server).await?)))
        })
    }
}

/// A connection as the pool wants it.
pub(super) struct TlsConnection(TokioIo<SecureStream>);

impl Connection for TlsConnection {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

impl Read for TlsConnection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl Write for TlsConnection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.0.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write_vectored(cx, bufs)
    }
}

#[cfg(test)]
mod tests {
    use std::error::Error;

    use super::*;

    #[test]
    fn a_server_is_told_by_its_uri() {
        for address in ["example.org:9090", "10.0.0.1:1", "[::1]:9090"] {
            for trust in [Trust::Key([7; 32]), Trust::Authorities] {
                let server = Server { address: address.into(), trust };
                let uri: Uri = server.uri("/healthz").parse().unwrap();
                assert_eq!(Server::of_uri(&uri).unwrap(), server);
                assert_eq!(uri.path(), "/healthz");
            }
        }
    }

    #[test]
    fn a_connection_that_fails_tells_what_it_means_and_keeps_the_error() {
        let server = Server { address: "peer.example:9091".into(), trust: Trust::Key([7; 32]) };
        let told = |error: io::Error, text: &str| {
            let error = because(&server, error);
            assert_eq!(error.to_string(), format!("peer.example:9091 {text}"));
            error
        };
        let error = told(io::ErrorKind::ConnectionRefused.into(), "cannot be reached: connection refused");
        assert!(error.source().is_some_and(|source| source.is::<io::Error>()));
        // As the TLS library's errors come.
        let wrapped = |error: TlsError| io::Error::new(io::ErrorKind::InvalidData, error);
        let text = "cannot be reached: cannot decrypt peer's message";
        let error = told(wrapped(TlsError::DecryptError), text);
        let source = error.source().and_then(|source| source.downcast_ref::<TlsError>());
        assert_eq!(source, Some(&TlsError::DecryptError));
        for (why, text) in [
            (
                CertificateError::ApplicationVerificationFailure,
                "is not who it should be: it has another key than the one expected there",
            ),
            (CertificateError::Expired, "is not who it should be: its certificate: Expired"),
        ] {
            let why = TlsError::InvalidCertificate(why);
            let error = told(wrapped(why.clone()), text);
            assert!(matches!(error, ClientError::WrongKey { .. }));
            let source = error.source().and_then(|words| words.source());
            assert_eq!(source.and_then(|source| source.downcast_ref::<TlsError>()), Some(&why));
        }
    }
}
