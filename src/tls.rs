//! TLS 1.3 with identities in the place of authorities: who answers is who has the private key whose
//! fingerprint was expected. Names and dates in certificates mean nothing here.
//!
//! Clients that pin say so by the application protocol `parcelry/1`. What a server shows them and others is decided in
//! [`server`].

pub mod server;
pub mod web_certificate;

use std::sync::Arc;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use parcelry_core::gcm::Library;
use parcelry_core::id::sha256;
use parcelry_core::limits::SESSIONS_MAX;
use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::crypto::aws_lc_rs::{cipher_suite, default_provider, sign};
use rustls::crypto::{CryptoProvider, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::version::TLS13;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
    SupportedCipherSuite,
};

use crate::failure::{Failure, Kind};
use crate::identity::Identity;

/// The application protocol (RFC 7301) of clients that pin.
pub const PINNED_PROTOCOL: &[u8] = b"parcelry/1";
/// The application protocol of all others.
const WEB_PROTOCOL: &[u8] = b"http/1.1";
/// What stands behind an id where TLS wants a server's name. It is never sent, and resolves nowhere.
const PIN_DOMAIN: &str = "parcelry.invalid";

/// How a server is to be known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Trust {
    /// By the fingerprint of its key: the SHA-256 of its SubjectPublicKeyInfo.
    Key([u8; 32]),
    /// By a certificate that one of the system's authorities signed for its name.
    Authorities,
}

/// The configuration of a client that knows servers by their keys; with an identity it proves its own.
/// Servers are named by [`pinned_name`].
pub fn pinning_client_config(identity: Option<&Identity>) -> Result<ClientConfig, Failure> {
    let builder = ClientConfig::builder_with_provider(Arc::new(provider()))
        .with_protocol_versions(&[&TLS13])
        .map_err(|error| failure(&error))?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(PinnedKey));
    let mut config = match identity {
        Some(identity) => {
            let own = SingleCertAndKey::from(own_certificate(identity)?);
            builder.with_client_cert_resolver(Arc::new(own))
        }
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![PINNED_PROTOCOL.to_vec()];
    // The name is the pin, which is nobody else's business.
    config.enable_sni = false;
    // Sessions are remembered by name, and so by pin: resuming one needs no other proof.
    config.resumption = Resumption::in_memory_sessions(SESSIONS_MAX);
    Ok(config)
}

/// The configuration of a client that trusts the system's authorities.
pub fn web_client_config() -> Result<ClientConfig, Failure> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() {
        let what = "this system has no certificate authorities, and the link names no tracker id to go by";
        return Err(Failure::new(Kind::Other, what).next(
            "Install the package ca-certificates, or ask for a link that ends with the tracker's id.",
        ));
    }
    let provider = Arc::new(provider());
    let verifier =
        WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider)).build();
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13])
        .map_err(|error| failure(&error))?
        .with_webpki_verifier(verifier.map_err(|error| failure(&error))?)
        .with_no_client_auth();
    config.alpn_protocols = vec![WEB_PROTOCOL.to_vec()];
    Ok(config)
}

/// The algorithms of aws-lc, but for the cipher suites with AES-GCM, which are of the faster library.
fn provider() -> CryptoProvider {
    CryptoProvider { cipher_suites: cipher_suites(Library::fastest()), ..default_provider() }
}

/// AES-128 comes first: what travels is sealed with AES-256 already, and the shorter key saves a quarter of the
/// transport's share of the work.
fn cipher_suites(aes_gcm: Library) -> Vec<SupportedCipherSuite> {
    let [aes_128, aes_256] = match aes_gcm {
        Library::AwsLc => [cipher_suite::TLS13_AES_128_GCM_SHA256, cipher_suite::TLS13_AES_256_GCM_SHA384],
        #[cfg(target_arch = "x86_64")]
        Library::Ring => {
            use rustls::crypto::ring::cipher_suite;
            [cipher_suite::TLS13_AES_128_GCM_SHA256, cipher_suite::TLS13_AES_256_GCM_SHA384]
        }
    };
    vec![aes_128, aes_256, cipher_suite::TLS13_CHACHA20_POLY1305_SHA256]
}

/// The name under which a pinning client connects to the server whose key has this fingerprint.
pub fn pinned_name(fingerprint: &[u8; 32]) -> ServerName<'static> {
    let hex = blake3::Hash::from_bytes(*fingerprint).to_hex();
    let (first, second) = hex.split_at(32);
    ServerName::try_from(format!("{first}.{second}.{PIN_DOMAIN}")).expect("hexadecimal digits are a DNS name")
}

/// The fingerprint of the key in the first certificate that somebody showed.
pub fn shown_fingerprint(certificates: Option<&[CertificateDer<'_>]>) -> Option<[u8; 32]> {
    fingerprint(certificates?.first()?).ok()
}

fn expected_fingerprint(name: &ServerName<'_>) -> Option<[u8; 32]> {
    let name = name.to_str();
    let (first, rest) = name.split_once('.')?;
    let (second, domain) = rest.split_once('.')?;
    let hash = blake3::Hash::from_hex([first, second].concat()).ok()?;
    (domain == PIN_DOMAIN).then_some(*hash.as_bytes())
}

fn fingerprint(certificate: &CertificateDer<'_>) -> Result<[u8; 32], Error> {
    Ok(sha256(ParsedCertificate::try_from(certificate)?.subject_public_key_info().as_ref()))
}

/// The self-signed certificate of an identity. It is made anew at each start: only its key counts.
fn own_certificate(identity: &Identity) -> Result<CertifiedKey, Failure> {
    let pkcs8 = PrivatePkcs8KeyDer::from(identity.expose_pkcs8());
    let failed =
        |error: rcgen::Error| Failure::new(Kind::Other, format!("cannot make a certificate: {error}"));
    let key = KeyPair::try_from(&pkcs8).map_err(failed)?;
    let mut params = CertificateParams::new(vec![PIN_DOMAIN.to_owned()]).map_err(failed)?;
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, "parcelry");
    let certificate = params.self_signed(&key).map_err(failed)?;
    let signer = sign::any_eddsa_type(&pkcs8).map_err(|error| failure(&error))?;
    Ok(CertifiedKey::new(vec![certificate.der().clone()], signer))
}

fn failure(error: &dyn std::fmt::Display) -> Failure {
    Failure::new(Kind::Other, format!("cannot set up TLS: {error}"))
}

/// Accepts the one key whose fingerprint is in the name. The handshake's signature proves that the
/// server has its private half: without that check, a copied certificate would do.
#[derive(Debug)]
struct PinnedKey;

impl ServerCertVerifier for PinnedKey {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let expected = expected_fingerprint(server_name).ok_or(CertificateError::NotValidForName)?;
        verify_slices_are_equal(&fingerprint(end_entity)?, &expected)
            .map(|()| ServerCertVerified::assertion())
            .map_err(|_| CertificateError::ApplicationVerificationFailure.into())
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

fn verify_signature(
    message: &[u8],
    cert: &CertificateDer<'_>,
    dss: &DigitallySignedStruct,
) -> Result<HandshakeSignatureValid, Error> {
    verify_tls13_signature(message, cert, dss, &provider().signature_verification_algorithms)
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use parcelry_core::id::Secret;
    use rustls::{CipherSuite, ClientConnection, NamedGroup, ServerConfig, ServerConnection};

    use super::*;

    fn identity(number: u8) -> Identity {
        Identity::from_seed(Secret::from_bytes([number; 32]))
    }

    #[test]
    fn the_name_carries_the_pin_and_only_a_pin_name_does() {
        let name = pinned_name(&[0xab; 32]);
        assert_eq!(expected_fingerprint(&name), Some([0xab; 32]));
        for other in ["example.org", "parcelry.invalid", "10.0.0.1"] {
            assert_eq!(expected_fingerprint(&ServerName::try_from(other).unwrap()), None);
        }
        let foreign = name.to_str().replace("invalid", "example");
        assert_eq!(expected_fingerprint(&ServerName::try_from(foreign).unwrap()), None);
    }

    #[test]
    fn a_certificates_fingerprint_is_the_id_of_its_identity() {
        let own = own_certificate(&identity(1)).unwrap();
        assert_eq!(shown_fingerprint(Some(&own.cert)), Some(*identity(1).peer_id().as_bytes()));
        assert_eq!(shown_fingerprint(None), None);
    }

    #[test]
    fn only_the_pinned_key_is_accepted_whatever_name_and_dates_its_certificate_has() {
        let name = pinned_name(identity(1).peer_id().as_bytes());
        let verify = |cert: &CertificateDer<'_>| {
            PinnedKey.verify_server_cert(cert, &[], &name, &[], UnixTime::now()).is_ok()
        };
        assert!(verify(&own_certificate(&identity(1)).unwrap().cert[0]));
        assert!(!verify(&own_certificate(&identity(2)).unwrap().cert[0]));
        assert!(!verify(&CertificateDer::from(vec![0x30, 0x03, 1, 2, 3])));
        let pkcs8 = PrivatePkcs8KeyDer::from(identity(1).expose_pkcs8());
        let mut old = CertificateParams::new(vec!["another.example".to_owned()]).unwrap();
        old.not_after = rcgen::date_time_ymd(2001, 1, 1);
        let old = old.self_signed(&KeyPair::try_from(&pkcs8).unwrap()).unwrap();
        assert!(verify(old.der()));
    }

    fn by(library: Library) -> CryptoProvider {
        CryptoProvider { cipher_suites: cipher_suites(library), ..provider() }
    }

    /// What a server reads of a client, and how the two have agreed on a key.
    fn heard_from(client: CryptoProvider, server: CryptoProvider) -> (Vec<u8>, NamedGroup) {
        let own = own_certificate(&identity(1)).unwrap();
        let config = ServerConfig::builder_with_provider(Arc::new(server));
        let config = config.with_protocol_versions(&[&TLS13]).unwrap().with_no_client_auth();
        let config = config.with_cert_resolver(Arc::new(SingleCertAndKey::from(own)));
        let mut server = ServerConnection::new(Arc::new(config)).unwrap();
        let config = ClientConfig::builder_with_provider(Arc::new(client));
        let config = config.with_protocol_versions(&[&TLS13]).unwrap().dangerous();
        let config = config.with_custom_certificate_verifier(Arc::new(PinnedKey)).with_no_client_auth();
        let name = pinned_name(identity(1).peer_id().as_bytes());
        let mut client = ClientConnection::new(Arc::new(config), name).unwrap();
        client.writer().write_all(b"a chunk").unwrap();
        while client.wants_write() || server.wants_write() {
            let (mut sent, mut answered) = (Vec::new(), Vec::new());
            client.write_tls(&mut sent).unwrap();
            server.read_tls(&mut sent.as_slice()).unwrap();
            server.process_new_packets().unwrap();
            server.write_tls(&mut answered).unwrap();
            client.read_tls(&mut answered.as_slice()).unwrap();
            client.process_new_packets().unwrap();
        }
        let suite = client.negotiated_cipher_suite().map(|suite| suite.suite());
        assert_eq!(suite, Some(CipherSuite::TLS13_AES_128_GCM_SHA256));
        let mut heard = vec![0; 7];
        server.reader().read_exact(&mut heard).unwrap();
        (heard, client.negotiated_key_exchange_group().unwrap().name())
    }

    #[test]
    fn who_goes_by_one_library_understands_who_goes_by_the_other() {
        let libraries = [
            Library::AwsLc,
            #[cfg(target_arch = "x86_64")]
            Library::Ring,
        ];
        for client in libraries {
            for server in libraries {
                let expected = (b"a chunk".to_vec(), NamedGroup::X25519);
                assert_eq!(heard_from(by(client), by(server)), expected, "{client:?} to {server:?}");
            }
        }
    }

    #[test]
    fn who_wants_ml_kem_as_browsers_do_gets_it() {
        let mut browser = provider();
        browser.kx_groups.sort_by_key(|group| group.name() != NamedGroup::X25519MLKEM768);
        assert_eq!(heard_from(browser, provider()).1, NamedGroup::X25519MLKEM768);
    }
}
