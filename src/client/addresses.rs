//! The addresses of one peer: the one that worked last is tried first, then the others.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use parcelry_core::api::PeerAddress;

use super::connector::{SecureStream, Server};
use super::error::ClientError;
use super::http::Http;
use crate::tls::Trust;

/// Where one peer may be reached, and what it is called.
#[derive(Debug)]
pub(super) struct Addresses {
    http: Http,
    name: String,
    servers: Vec<Server>,
    /// Which of them worked last.
    last: AtomicUsize,
}

impl Addresses {
    /// Those that the tracker gave. Whoever answers there must have the key that makes the peer's id.
    pub(super) fn new(http: Http, peer: PeerAddress) -> Self {
        let trust = Trust::Key(*peer.id.as_bytes());
        let server = |address: SocketAddr| Server { address: address.to_string(), trust };
        let servers = peer.addresses.into_iter().map(server).collect();
        Self { http, name: peer.name, servers, last: AtomicUsize::new(0) }
    }

    /// What the peer's operator calls it.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// The round trip to the address that worked last, if a connection was made to it.
    pub(super) fn round_trip(&self) -> Option<Duration> {
        self.http.round_trip(self.servers.get(self.last.load(Ordering::Relaxed))?)
    }

    /// Makes a connection that is nobody else's. Returns also where it leads.
    pub(super) async fn connect(&self) -> Result<(String, SecureStream), ClientError> {
        self.first_reachable(|server| async {
            let stream = self.http.connect(server).await?;
            Ok((server.address.clone(), stream))
        })
        .await
    }

    /// Attempts something at one address after another, until somebody answers who is the peer.
    pub(super) async fn first_reachable<'a, T, F>(
        &'a self,
        attempt: impl Fn(&'a Server) -> F + Send + Sync,
    ) -> Result<T, ClientError>
    where
        F: Future<Output = Result<T, ClientError>> + Send,
    {
        let mut failure = ClientError::unreachable(&self.name, "the tracker gave no address for it");
        let first = self.last.load(Ordering::Relaxed);
        for number in (first..self.servers.len()).chain(0..first.min(self.servers.len())) {
            match attempt(&self.servers[number]).await {
                Err(error @ (ClientError::Unreachable { .. } | ClientError::WrongKey { .. })) => {
                    failure = error;
                }
                answer => {
                    self.last.store(number, Ordering::Relaxed);
                    return answer;
                }
            }
        }
        Err(failure)
    }
}
