//! The server's side of TLS: what it shows to whom, and of whom it asks a certificate.
//!
//! Clients that pin are shown the certificate of the server's own Ed25519 key and may show theirs. All others, browsers
//! above all, are shown one that they can read, with ECDSA: an authority's, where there is one, else the server's own. They
//! are asked for none: some end the handshake when they are, and some ask their users which one to show.

use std::io;
use std::sync::Arc;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::aws_lc_rs::Ticketer;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{Acceptor, NoServerSessionStorage};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::version::TLS13;
use rustls::{DigitallySignedStruct, Error, ServerConfig, SignatureScheme};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::LazyConfigAcceptor;
use tokio_rustls::server::TlsStream;

use super::{
    PINNED_PROTOCOL, WEB_PROTOCOL, failure, fingerprint, own_certificate, provider, verify_signature,
};
use crate::failure::Failure;
use crate::identity::Identity;

/// What a server shows to those who pin its key, and to those who do not.
#[derive(Debug, Clone)]
pub struct ServerTls {
    pinned: Arc<ServerConfig>,
    web: Arc<ServerConfig>,
}

impl ServerTls {
    /// Of a server with this identity; without a certificate for the web it shows its own key to all.
    pub fn new(identity: &Identity, web: Option<CertifiedKey>) -> Result<Self, Failure> {
        let web = web.map_or_else(|| own_certificate(identity), Ok)?;
        Ok(Self {
            pinned: Arc::new(pinned_config(identity)?),
            web: Arc::new(config(web, None, WEB_PROTOCOL)?),
        })
    }

    /// Shakes hands, by what the client's first message says of it.
    pub async fn accept<S>(&self, stream: S) -> io::Result<TlsStream<S>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let begun = LazyConfigAcceptor::new(Acceptor::default(), stream).await?;
        let pins =
            begun.client_hello().alpn().is_some_and(|mut offered| offered.any(|p| p == PINNED_PROTOCOL));
        begun.into_stream(Arc::clone(if pins { &self.pinned } else { &self.web })).await
    }
}

/// The configuration for those who pin the key of this identity.
pub fn pinned_config(identity: &Identity) -> Result<ServerConfig, Failure> {
    config(own_certificate(identity)?, Some(Arc::new(AnyClientKey)), PINNED_PROTOCOL)
}

fn config(
    shown: CertifiedKey,
    asks: Option<Arc<dyn ClientCertVerifier>>,
    protocol: &[u8],
) -> Result<ServerConfig, Failure> {
    let builder = ServerConfig::builder_with_provider(Arc::new(provider()))
        .with_protocol_versions(&[&TLS13])
        .map_err(|error| failure(&error))?;
    let builder = match asks {
        Some(verifier) => builder.with_client_cert_verifier(verifier),
        None => builder.with_no_client_auth(),
    };
    let mut config = builder.with_cert_resolver(Arc::new(SingleCertAndKey::from(shown)));
    config.alpn_protocols = vec![protocol.to_vec()];
    // Each has its own: a session that began without a client's certificate is not gone on with as one that had one.
    config.ticketer = Ticketer::new().map_err(|error| failure(&error))?;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    Ok(config)
}

/// Accepts any key of a client, or none: what it may do is decided request by request.
#[derive(Debug)]
struct AnyClientKey;

impl ClientCertVerifier for AnyClientKey {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[rustls::DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        fingerprint(end_entity).map(|_| ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::General("TLS 1.2 is not spoken".into()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }
}
