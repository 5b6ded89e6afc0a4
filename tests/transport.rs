//! Who is who: TLS with pinned keys, registrations, and the addresses that peers announce.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use common::fake::{Fake, answer, answer_json, register_request};
use common::http::get;
use common::swarm::Swarm;
use common::tls;
use parcelry::client::{ClientError, Http, PeerClient, TrackerClient};
use parcelry::identity::Identity;
use parcelry_core::api::{PeerAddress, ProblemKind, RegisterRequest};
use parcelry_core::id::PeerId;
use parcelry_core::link::ShareLink;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::ResolvesServerCert;
use rustls::sign::CertifiedKey;
use serde_json::json;

#[test]
fn t2_only_the_holder_of_the_pinned_key_is_spoken_to_whatever_certificate_he_shows() {
    #[derive(Debug)]
    struct Shows(Arc<CertifiedKey>);
    impl ResolvesServerCert for Shows {
        fn resolve(&self, _: rustls::server::ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
            Some(Arc::clone(&self.0))
        }
    }
    // A server that shows `shown`'s certificate and signs with `signer`'s key.
    let server = |shown: u8, signer: u8, host: &str, year: i32| {
        let pkcs8 = |number: u8| {
            let prefix = [0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];
            PrivatePkcs8KeyDer::from([&prefix[..], &[number; 32]].concat())
        };
        let mut params = rcgen::CertificateParams::new(vec![host.to_owned()]).unwrap();
        params.not_after = rcgen::date_time_ymd(year, 1, 1);
        let key = rcgen::KeyPair::try_from(&pkcs8(shown)).unwrap();
        let certificate: CertificateDer<'static> = params.self_signed(&key).unwrap().der().clone();
        let provider = rustls::crypto::aws_lc_rs::default_provider();
        let signing = provider.key_provider.load_private_key(PrivateKeyDer::Pkcs8(pkcs8(signer))).unwrap();
        let mut config = parcelry::tls::server::pinned_config(&tls::identity(shown)).unwrap();
        config.cert_resolver = Arc::new(Shows(Arc::new(CertifiedKey::new(vec![certificate], signing))));
        Fake::start_with("127.0.0.1:0", tls::identity(shown), config, |_, out| {
            answer_json(out, 200, &json!({ "role": "peer", "id": "x", "now_ms": 0 }))
        })
    };
    let ask = |fake: &Fake| {
        let addresses = vec![fake.address];
        let peer = PeerAddress { id: tls::identity(1).peer_id(), name: "pinned".into(), addresses };
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(PeerClient::new(Http::new(None).unwrap(), peer).health())
    };
    let honest = server(1, 1, "parcelry.invalid", 2999);
    assert!(ask(&honest).is_ok());
    let odd_but_right = server(1, 1, "another.example", 2001);
    assert!(ask(&odd_but_right).is_ok(), "names and dates do not matter, by design");
    let copied_certificate = server(1, 2, "parcelry.invalid", 2999);
    assert!(ask(&copied_certificate).is_err());
    assert!(copied_certificate.requests().is_empty(), "not one byte of a request");
    let other_key = server(2, 2, "parcelry.invalid", 2999);
    assert!(matches!(ask(&other_key), Err(ClientError::WrongKey { .. })));
    assert!(other_key.requests().is_empty());
}

/// A ClientHello of TLS 1.2 (RFC 5246): without the extension that offers TLS 1.3.
fn hello_of_tls_1_2() -> Vec<u8> {
    let mut body = vec![3, 3];
    body.extend([7; 32]);
    body.extend([0, 0, 4, 0xc0, 0x2f, 0xc0, 0x2b, 1, 0]);
    let extensions = [0, 10, 0, 4, 0, 2, 0, 0x1d, 0, 13, 0, 6, 0, 4, 8, 7, 4, 3];
    body.extend([0, u8::try_from(extensions.len()).unwrap()]);
    body.extend(extensions);
    let handshake = [&[1, 0, 0, u8::try_from(body.len()).unwrap()][..], &body].concat();
    [&[0x16, 3, 1, 0, u8::try_from(handshake.len()).unwrap()][..], &handshake].concat()
}

#[test]
fn t2_servers_refuse_tls_1_2_and_clients_do_not_offer_it() {
    let swarm = Swarm::start(1);
    for address in [swarm.tracker.address(), swarm.peers[0].address()] {
        let mut stream = TcpStream::connect(&address).unwrap();
        stream.write_all(&hello_of_tls_1_2()).unwrap();
        let mut reply = Vec::new();
        let _ = stream.read_to_end(&mut reply);
        // An alert record: fatal, protocol_version (RFC 8446 §6.2).
        assert_eq!((reply[0], &reply[5..7]), (0x15, &[2, 70][..]), "{reply:?}");
    }
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let client =
        std::thread::spawn(move || tls::exchange(&address, &[1; 32], None, b"GET / HTTP/1.1\r\n\r\n"));
    let (mut stream, _) = listener.accept().unwrap();
    let mut hello = [0; 4096];
    let read = stream.read(&mut hello).unwrap();
    let only_1_3 = [0, 0x2b, 0, 3, 2, 3, 4];
    assert!(hello[..read].windows(7).any(|window| window == only_1_3), "supported_versions is TLS 1.3 alone");
    assert!(!hello[..read].windows(7).any(|window| window == b"invalid"), "the pin is not sent");
    drop(stream);
    assert!(client.join().unwrap().is_err());
}

fn try_to_register(swarm: &Swarm, identity: &Identity, request: &RegisterRequest) -> ClientError {
    let http = Http::new(Some(identity)).unwrap();
    let tracker = TrackerClient::of_invite(http, &swarm.peer_invite().parse().unwrap());
    tokio::runtime::Runtime::new().unwrap().block_on(tracker.register(request)).unwrap_err()
}

fn at(address: &str) -> SocketAddr {
    address.parse().unwrap()
}

#[test]
fn t3_addresses_that_a_peer_must_not_announce_are_refused_and_nobody_is_called() {
    let swarm = Swarm::start(1);
    let identity = tls::identity(5);
    for address in [
        "169.254.169.254:5000",
        "0.0.0.0:5000",
        "[::]:5000",
        "224.0.0.1:5000",
        "255.255.255.255:5000",
        "127.0.0.1:22",
        "127.0.0.1:0",
        "[fe80::1]:5000",
    ] {
        let request = register_request(identity.clone(), &[at(address)]);
        let error = try_to_register(&swarm, &identity, &request);
        assert_eq!(error.problem(), Some(ProblemKind::BadRequest), "{address}: {error}");
    }
    let many = vec![at("127.0.0.1:5000"); 9];
    let error = try_to_register(&swarm, &identity, &register_request(identity.clone(), &many));
    assert_eq!(error.problem(), Some(ProblemKind::BadRequest));
    for name in ["", "a\u{1b}[31m", &"x".repeat(65)] {
        let request = register_request(identity.clone(), &[at("127.0.0.1:5000")]);
        let request = RegisterRequest { name: name.into(), ..request };
        assert_eq!(try_to_register(&swarm, &identity, &request).problem(), Some(ProblemKind::BadRequest));
    }
    // Names, numbers that are no addresses, and what is more than an address.
    let request = serde_json::to_value(register_request(identity, &[])).unwrap();
    let parses = |text: &str| {
        let mut request = request.clone();
        request["addresses"] = json!([text]);
        serde_json::from_value::<RegisterRequest>(request).is_ok()
    };
    for text in [
        "2130706433:5000",
        "localhost:5000",
        "example.org:5000",
        "user@127.0.0.1:5000",
        "127.0.0.1",
        "http://127.0.0.1:5000",
        "127.0.0.1:5000/x",
    ] {
        assert!(!parses(text), "{text}");
    }
    assert!(parses("127.0.0.1:5000"), "what was refused above was refused for its fault");
    assert_eq!(swarm.peer_list().len(), 1);
}

#[test]
fn t3_registering_an_address_that_somebody_else_answers_at_is_refused() {
    let swarm = Swarm::start(1);
    let identity = tls::identity(5);
    let elsewhere = Fake::start(6, |_, out| answer(out, "200 X", b"caught"));
    let location = format!("302 X\r\nLocation: https://{}/healthz", elsewhere.address);
    let redirecting = Fake::start(5, move |_, out| answer(out, &location, b""));
    let tracker_in_peers_clothes = Fake::start(5, |_, out| {
        answer_json(out, 200, &json!({ "role": "tracker", "id": tls::identity(5).tracker_id(), "now_ms": 0 }))
    });
    for address in [
        at(&swarm.tracker.address()),
        at(&swarm.peers[0].address()),
        elsewhere.address,
        redirecting.address,
        tracker_in_peers_clothes.address,
        at("127.0.0.1:1024"),
    ] {
        let error = try_to_register(&swarm, &identity, &register_request(identity.clone(), &[address]));
        assert_eq!(error.problem(), Some(ProblemKind::PeerUnreachable), "{address}: {error}");
    }
    assert!(elsewhere.requests().is_empty(), "no redirect is followed, nothing is sent to another key");
    assert_eq!(swarm.peer_list().len(), 1);
}

#[test]
fn t3_of_several_addresses_only_those_where_the_peer_answers_are_passed_on() {
    let swarm = Swarm::start(0);
    let fake = Fake::start(5, |_, out| {
        answer_json(out, 200, &json!({ "role": "peer", "id": tls::identity(5).peer_id(), "now_ms": 0 }))
    });
    let http = Http::new(Some(&fake.identity)).unwrap();
    let tracker = TrackerClient::of_invite(http, &swarm.peer_invite().parse().unwrap());
    let addresses = [at(&swarm.tracker.address()), fake.address, at("127.0.0.1:1024")];
    let request = register_request(fake.identity.clone(), &addresses);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    assert_eq!(runtime.block_on(tracker.register(&request)).unwrap().addresses, [fake.address]);
}

#[test]
fn t4_nobody_registers_under_an_id_whose_key_he_does_not_have() {
    let swarm = Swarm::start(1);
    let victim = PeerId::from_bytes(swarm.peer_pin(0));
    let request = register_request(tls::identity(5), &[at(&swarm.peers[0].address())]);
    let request = RegisterRequest { id: victim, ..request };
    let error = try_to_register(&swarm, &tls::identity(5), &request);
    assert_eq!(error.problem(), Some(ProblemKind::AccessDenied), "{error}");
    assert_eq!(swarm.peer_list()[0]["name"], "p0");
}

#[test]
fn whoever_does_not_speak_tls_from_afar_is_told_so() {
    // On this machine plain HTTP is answered; the text for others is checked where it is sent from.
    let swarm = Swarm::start(0);
    assert_eq!(get(&swarm.tracker.address(), "/healthz").status, 200);
    let Some(outward) = outward_address() else {
        return println!("skipped: this machine has no other address");
    };
    let mut command = common::person::bare_command(swarm.directory.path());
    command.args(["tracker", "--json", "--listen", &format!("{outward}:0"), "--data"]);
    command.arg(swarm.directory.path().join("second"));
    command.args(["--public-url", "https://drop.example:9090/"]);
    let tracker = common::swarm::Server::start(command);
    let asked = b"GET /s/abc?x=1 HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n";
    let answer = common::http::raw(&tracker.address(), asked);
    assert_eq!(answer.status, 307);
    let location = answer.header("location").unwrap();
    assert_eq!(location, "https://drop.example:9090/s/abc?x=1", "whatever the request calls it");
    let answer = common::http::send(&tracker.address(), "POST", "/v1/shares", "", b"{}");
    assert_eq!(answer.status, 400);
    assert!(answer.text().contains("use https://"), "{}", answer.text());
}

/// Takes whatever is shown, and remembers it.
#[derive(Debug, Default)]
struct TakesAny {
    schemes: Vec<rustls::SignatureScheme>,
    shown: std::sync::Mutex<Option<CertificateDer<'static>>>,
}

impl rustls::client::danger::ServerCertVerifier for TakesAny {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &rustls::pki_types::ServerName<'_>,
        _ocsp_response: &[u8],
        _now: rustls::pki_types::UnixTime,
    ) -> Result<rustls::client::danger::ServerCertVerified, rustls::Error> {
        *self.shown.lock().unwrap() = Some(end_entity.clone().into_owned());
        Ok(rustls::client::danger::ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        unreachable!("TLS 1.3 only")
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        let algorithms = rustls::crypto::aws_lc_rs::default_provider().signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, cert, dss, &algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        self.schemes.clone()
    }
}

/// Remembers whether a certificate was asked for.
#[derive(Debug, Default)]
struct WasAsked(std::sync::atomic::AtomicBool);

impl rustls::client::ResolvesClientCert for WasAsked {
    fn resolve(&self, _hints: &[&[u8]], _schemes: &[rustls::SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.0.store(true, std::sync::atomic::Ordering::Relaxed);
        None
    }

    fn has_certs(&self) -> bool {
        true
    }
}

/// What a client sees that offers these signatures and protocols: the certificate, whether it was asked for one, and the
/// answer to a request for the page; none if no handshake came about.
fn as_a_client(
    address: &str,
    schemes: &[rustls::SignatureScheme],
    protocols: &[&[u8]],
) -> Option<(CertificateDer<'static>, bool, String)> {
    let verifier = Arc::new(TakesAny { schemes: schemes.to_vec(), ..TakesAny::default() });
    let asked = Arc::new(WasAsked::default());
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::clone(&verifier) as _)
        .with_client_cert_resolver(Arc::clone(&asked) as _);
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
    let name = "localhost".try_into().unwrap();
    let connection = rustls::ClientConnection::new(Arc::new(config), name).unwrap();
    let mut stream = rustls::StreamOwned::new(connection, TcpStream::connect(address).unwrap());
    stream.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").ok()?;
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    let shown = verifier.shown.lock().unwrap().take()?;
    Some((
        shown,
        asked.0.load(std::sync::atomic::Ordering::Relaxed),
        String::from_utf8_lossy(&answer).into_owned(),
    ))
}

#[test]
fn a_browser_reads_the_trackers_certificate_and_is_asked_for_none() {
    use rustls::SignatureScheme::{ECDSA_NISTP256_SHA256, ED25519, RSA_PSS_SHA256};
    let mut swarm = Swarm::start(0);
    let as_browser = |swarm: &Swarm| {
        let schemes = [ECDSA_NISTP256_SHA256, RSA_PSS_SHA256];
        as_a_client(&swarm.tracker.address(), &schemes, &[b"h2", b"http/1.1"]).expect("a handshake")
    };
    let (shown, was_asked, page) = as_browser(&swarm);
    assert!(!was_asked, "some browsers end the handshake then, others ask their user");
    assert!(page.starts_with("HTTP/1.1 200") && page.contains("<!doctype html>"), "{page}");
    let verified = rustls::server::ParsedCertificate::try_from(&shown).unwrap();
    for name in ["localhost", "127.0.0.1", "::1"] {
        rustls::client::verify_server_name(&verified, &name.try_into().unwrap()).unwrap();
    }
    // Whoever pins has what he had.
    let (own, was_asked, _) = as_a_client(&swarm.tracker.address(), &[ED25519], &[b"parcelry/1"]).unwrap();
    assert!(was_asked && parcelry::tls::shown_fingerprint(Some(&[own])) == Some(swarm.tracker_pin()));
    // A browser remembers the very certificate that its user accepted.
    swarm.restart_tracker();
    assert_eq!(as_browser(&swarm).0, shown);
}

fn outward_address() -> Option<std::net::IpAddr> {
    let socket = std::net::UdpSocket::bind("0.0.0.0:0").ok()?;
    socket.connect("192.0.2.1:9").ok()?;
    let ip = socket.local_addr().ok()?.ip();
    (!ip.is_loopback() && !ip.is_unspecified()).then_some(ip)
}

#[test]
fn a_tracker_with_an_authoritys_certificate_shows_it_to_those_who_do_not_pin() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    let ca_key = rcgen::KeyPair::generate().unwrap();
    let mut ca = rcgen::CertificateParams::new(Vec::new()).unwrap();
    ca.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let ca_cert = ca.self_signed(&ca_key).unwrap();
    let issuer = rcgen::Issuer::from_params(&ca, &ca_key);
    let key = rcgen::KeyPair::generate().unwrap();
    let params = rcgen::CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    let pem = |label: &str, der: &[u8]| {
        format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", data_encoding::BASE64.encode(der))
    };
    std::fs::write(path("chain.pem"), pem("CERTIFICATE", params.signed_by(&key, &issuer).unwrap().der()))
        .unwrap();
    std::fs::write(path("key.pem"), pem("PRIVATE KEY", &key.serialize_der())).unwrap();
    std::fs::write(path("ca.pem"), pem("CERTIFICATE", ca_cert.der())).unwrap();
    let (chain, key) = (path("chain.pem"), path("key.pem"));
    let flags = [
        "--certificate",
        chain.to_str().unwrap(),
        "--certificate-key",
        key.to_str().unwrap(),
        "--heartbeat",
        "200ms",
        "--dead-after",
        "3s",
    ];
    let swarm = Swarm::start_with(2, &flags);
    let (alice, bob) = (swarm.person(), swarm.person());
    alice.write("file", b"x");
    let link: ShareLink = alice.share(&["file"]).parse().unwrap();
    bob.get(&link.expose_text());
    std::fs::remove_file(bob.path("file")).unwrap();
    // Without the tracker's id, the authority decides.
    let unpinned = ShareLink { tracker_id: None, ..link }.expose_text();
    let get = |authority: &str| {
        let mut command = bob.command(&["get", &unpinned]);
        command.env("SSL_CERT_FILE", path(authority));
        common::person::Ran::of(command.output().unwrap())
    };
    let own = rcgen::CertificateParams::new(vec!["other".to_owned()]).unwrap();
    std::fs::write(
        path("other.pem"),
        pem("CERTIFICATE", own.self_signed(&rcgen::KeyPair::generate().unwrap()).unwrap().der()),
    )
    .unwrap();
    let refused = get("other.pem");
    assert_eq!(refused.code, 10, "{}", refused.stderr);
    assert!(!bob.path("file").exists());
    let ran = get("ca.pem");
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert_eq!(bob.read("file"), b"x");
}

#[test]
fn sessions_are_resumed_so_that_many_short_connections_stay_cheap() {
    let swarm = Swarm::start(0);
    let config = Arc::new(parcelry::tls::pinning_client_config(None).unwrap());
    let mut kinds = Vec::new();
    for _ in 0..2 {
        let name = parcelry::tls::pinned_name(&swarm.tracker_pin());
        let connection = rustls::ClientConnection::new(Arc::clone(&config), name).unwrap();
        let socket = TcpStream::connect(swarm.tracker.address()).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        let mut stream = rustls::StreamOwned::new(connection, socket);
        stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
        let _ = stream.read_to_end(&mut Vec::new());
        kinds.push(stream.conn.handshake_kind().unwrap());
    }
    assert_eq!(kinds, [rustls::HandshakeKind::Full, rustls::HandshakeKind::Resumed]);
}
