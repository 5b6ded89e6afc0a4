//! Who may do what: every call of both APIs with every kind of credential, the transport, registrations.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use common::fake::{Fake, answer, answer_json, register_request};
use common::http::{Answer, bearer, get, send};
use common::swarm::Swarm;
use common::{samples, tls, wait_for};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::ResolvesServerCert;
use rustls::sign::CertifiedKey;
use serde_json::{Value, json};
use swarmdrop::client::{ClientError, Http, PeerClient, TrackerClient};
use swarmdrop::identity::Identity;
use swarmdrop_core::api::{PeerAddress, ProblemKind};
use swarmdrop_core::grant::{Grant, Operation};
use swarmdrop_core::id::{ChunkId, PeerId, ShareId};
use swarmdrop_core::link::{Invite, ShareLink};
use swarmdrop_core::seal::access_token;

/// A call as the matrix makes it: where, method, path, body.
struct Call {
    at_tracker: bool,
    method: &'static str,
    path: String,
    body: Value,
    /// The credentials with which it is not refused.
    allowed: &'static [&'static str],
}

/// A swarm with a share, and one of each credential: header lines and certificate.
struct Matrix {
    swarm: Swarm,
    link: ShareLink,
    credentials: BTreeMap<&'static str, (String, Option<Identity>)>,
}

const CREDENTIALS: &[&str] = &[
    "none",
    "nonsense",
    "sender",
    "peer",
    "admin",
    "revoked",
    "over",
    "grant",
    "grant for another share",
    "grant of another tracker",
    "grant to copy",
    "access",
    "access of another share",
    "own certificate",
    "another certificate",
];

impl Matrix {
    fn new() -> Self {
        let swarm = Swarm::start(1);
        let alice = swarm.person();
        alice.write("file", b"x");
        let link: ShareLink = alice.share(&["file", "--replicas", "1"]).parse().unwrap();
        let own = Identity::read(&swarm.peer_data(0)).unwrap().unwrap();
        let key = Identity::read(&swarm.folder.path().join("tracker")).unwrap().unwrap().tracker_key();
        let other_key = tls::identity(99).tracker_key();
        let grant = grant(&swarm, link.share);
        let other_share = Grant { share: ShareId::from_bytes([1; 32]), ..grant.clone() };
        // It belongs to a peer: without that peer's certificate it opens nothing.
        let bearer_id = Some(tls::identity(98).peer_id());
        let copy = Grant { operation: Operation::Copy, bearer: bearer_id, ..grant.clone() };
        let mut credentials = BTreeMap::new();
        for (name, headers, certificate) in [
            ("none", String::new(), None),
            ("nonsense", bearer("nonsense"), None),
            ("sender", swarm.bearer("sender"), None),
            ("peer", swarm.bearer("peer"), None),
            ("admin", swarm.bearer("admin"), None),
            ("revoked", revoked(&swarm), None),
            ("over", over(&swarm), None),
            ("grant", bearer(&key.sign(&grant)), None),
            ("grant for another share", bearer(&key.sign(&other_share)), None),
            ("grant of another tracker", bearer(&other_key.sign(&grant)), None),
            ("grant to copy", bearer(&key.sign(&copy)), None),
            ("access", bearer(&access_token(&link.secret).expose_text()), None),
            ("access of another share", bearer(&ShareId::from_bytes([3; 32]).to_string()), None),
            ("own certificate", String::new(), Some(own)),
            ("another certificate", String::new(), Some(tls::identity(97))),
        ] {
            credentials.insert(name, (headers, certificate));
        }
        Self { swarm, link, credentials }
    }

    fn calls(&self) -> Vec<Call> {
        let peer = PeerId::from_bytes(self.swarm.peer_pin(0));
        let share = self.link.share;
        let call = |at_tracker, method, path: String, body, allowed| Call {
            at_tracker,
            method,
            path,
            body,
            allowed,
        };
        let usage = json!({ "used_bytes": 0, "free_bytes": 0 });
        let register = json!({ "id": peer, "name": "p", "addresses": [], "port": 1, "capacity_bytes": 1,
            "usage": usage, "zone": null, "version": "1" });
        let size = json!({ "total_bytes": 1, "chunk_bytes": 65536 });
        let manifest = json!({ "manifest": "U1dETQ", "terms": "v4.public.x", "placement": [] });
        let commit = json!({ "manifest": "U1dETQ", "terms": "v4.public.x", "chunks": "0." });
        vec![
            call(true, "POST", "/v1/peers".into(), register, &["own certificate"]),
            call(true, "GET", "/v1/peers".into(), Value::Null, &["sender", "peer", "admin"]),
            call(
                true,
                "POST",
                format!("/v1/peers/{peer}/heartbeat"),
                json!({ "usage": usage, "applied": [], "lost": [] }),
                &["own certificate"],
            ),
            call(
                true,
                "POST",
                "/v1/shares".into(),
                json!({ "share": share, "size": size, "replicas": 1, "preferred": [] }),
                &["sender", "admin"],
            ),
            call(true, "PUT", format!("/v1/shares/{share}"), manifest, &["grant"]),
            // A secret that does not fit learns what one that fits no share learns.
            call(
                true,
                "GET",
                format!("/v1/shares/{share}"),
                Value::Null,
                &["access", "access of another share", "sender", "peer", "admin", "revoked", "over"],
            ),
            call(
                true,
                "POST",
                format!("/v1/shares/{share}/complaints"),
                json!({ "peer": peer, "chunk": 0 }),
                &["access", "access of another share", "sender", "peer", "admin", "revoked", "over"],
            ),
            // Signed by the share's key: the body is the credential.
            call(
                true,
                "PUT",
                format!("/v1/shares/{share}/terms"),
                json!({ "terms": "v4.public.x" }),
                CREDENTIALS,
            ),
            call(
                false,
                "POST",
                format!("/v1/shares/{share}/offer"),
                json!({ "size": size, "chunks": "1.gA", "known": [] }),
                &["grant"],
            ),
            call(
                false,
                "PUT",
                format!("/v1/chunks/{}", ChunkId::of(b"null")),
                Value::Null,
                &["grant", "grant for another share"],
            ),
            call(false, "PUT", format!("/v1/shares/{share}/manifest"), commit, &["grant"]),
            call(
                false,
                "GET",
                format!("/v1/shares/{share}/manifest"),
                Value::Null,
                &["access", "access of another share", "sender", "peer", "admin", "revoked", "over"],
            ),
            call(
                false,
                "GET",
                format!("/v1/shares/{share}/chunks"),
                Value::Null,
                &["access", "access of another share", "sender", "peer", "admin", "revoked", "over"],
            ),
            call(false, "GET", format!("/v1/chunks/{}", ChunkId::of(b"unknown")), Value::Null, CREDENTIALS),
            call(true, "GET", "/metrics".into(), Value::Null, &["admin"]),
            call(false, "GET", "/metrics".into(), Value::Null, &[]),
            call(true, "GET", "/healthz".into(), Value::Null, CREDENTIALS),
            call(false, "GET", "/healthz".into(), Value::Null, CREDENTIALS),
            call(true, "GET", "/openapi.json".into(), Value::Null, CREDENTIALS),
            call(false, "GET", "/openapi.json".into(), Value::Null, CREDENTIALS),
            // Last: they remove what the others need.
            call(true, "DELETE", format!("/v1/shares/{share}"), Value::Null, &["admin"]),
            call(true, "DELETE", format!("/v1/peers/{peer}"), Value::Null, &["admin", "own certificate"]),
        ]
    }

    /// Makes the call as somebody on another machine would.
    fn make(&self, call: &Call, credential: &str) -> Answer {
        let (headers, certificate) = &self.credentials[credential];
        let headers = format!("X-Forwarded-For: 8.8.8.8\r\nContent-Type: application/json\r\n{headers}");
        let (address, pin) = if call.at_tracker {
            (self.swarm.tracker.address(), self.swarm.tracker_pin())
        } else {
            (self.swarm.peers[0].address(), self.swarm.peer_pin(0))
        };
        let body = call.body.to_string();
        tls::send(&address, &pin, certificate.as_ref(), (call.method, &call.path), &headers, body.as_bytes())
    }
}

fn grant(swarm: &Swarm, share: ShareId) -> Grant {
    Grant {
        share,
        operation: Operation::Push,
        peers: vec![PeerId::from_bytes(swarm.peer_pin(0))],
        bearer: None,
        budget_bytes: 1000,
        issued_ms: swarmdrop::clock::now_ms(),
        expires_ms: swarmdrop::clock::now_ms() + 600_000,
    }
}

fn token_of(invite: &str) -> String {
    bearer(&invite.trim().parse::<Invite>().unwrap().token.expose_text())
}

fn revoked(swarm: &Swarm) -> String {
    let token = token_of(&swarm.operator(&["invite", "--name", "lost laptop"]).stdout);
    let list = swarm.operator(&["tokens", "ls"]).stdout;
    let line = list.lines().find(|line| line.ends_with("lost laptop")).unwrap().to_owned();
    let ran = swarm.operator(&["tokens", "revoke", line.split(' ').next().unwrap()]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    token
}

fn over(swarm: &Swarm) -> String {
    let token = token_of(&swarm.operator(&["invite", "--name", "guest", "--expires", "1ms"]).stdout);
    wait_for("the token to be over", || swarm.operator(&["tokens", "ls"]).stdout.contains("over"));
    token
}

#[test]
fn every_call_is_refused_without_its_credential() {
    let matrix = Matrix::new();
    let mut refusals = BTreeSet::new();
    for call in matrix.calls() {
        // Those that are refused come first: they must not have had an effect.
        let mut credentials = CREDENTIALS.to_vec();
        credentials.sort_by_key(|credential| call.allowed.contains(credential));
        for credential in credentials {
            let answer = matrix.make(&call, credential);
            let what = format!("{} {} with {credential}: {}", call.method, call.path, answer.text());
            if call.allowed.contains(&credential) {
                assert_ne!(answer.status, 403, "{what}");
            } else {
                assert_eq!(answer.status, 403, "{what}");
                assert_eq!(answer.problem(), ProblemKind::AccessDenied.urn(), "{what}");
                refusals.insert(answer.text());
            }
        }
    }
    assert_eq!(refusals.len(), 1, "all refusals read alike: {refusals:?}");
}

#[test]
fn t1_the_table_of_calls_has_every_route() {
    let matrix = Matrix::new();
    let calls = matrix.calls();
    for (at_tracker, address) in
        [(true, matrix.swarm.tracker.address()), (false, matrix.swarm.peers[0].address())]
    {
        let api = get(&address, "/openapi.json").json();
        for (path, methods) in api["paths"].as_object().unwrap() {
            for method in methods.as_object().unwrap().keys() {
                let fits = |call: &Call| {
                    let (a, b): (Vec<&str>, Vec<&str>) =
                        (path.split('/').collect(), call.path.split('/').collect());
                    let same = |(a, b): (&&str, &&str)| a == b || a.starts_with('{');
                    call.at_tracker == at_tracker
                        && call.method.eq_ignore_ascii_case(method)
                        && a.len() == b.len()
                        && a.iter().zip(&b).all(same)
                };
                assert!(calls.iter().any(fits), "{method} {path} is not in the table");
            }
        }
    }
}

#[test]
fn t1_what_is_open_tells_neither_version_nor_configuration() {
    let swarm = Swarm::start(1);
    for address in [swarm.tracker.address(), swarm.peers[0].address()] {
        let health = get(&address, "/healthz");
        let fields: Vec<&String> =
            health.json().as_object().unwrap().keys().cloned().collect::<Vec<_>>().leak().iter().collect();
        assert_eq!(fields, ["id", "now_ms", "role"]);
        assert!(!health.head.to_lowercase().contains("server:"), "{}", health.head);
        let answer = send(&address, "GET", "/metrics", "X-Forwarded-For: 8.8.8.8\r\n", b"");
        assert_eq!(answer.status, 403);
    }
}

#[test]
fn a_grant_to_copy_opens_manifest_and_list_for_the_peer_that_it_belongs_to() {
    let matrix = Matrix::new();
    let (headers, _) = &matrix.credentials["grant to copy"];
    let (address, pin) = (matrix.swarm.peers[0].address(), matrix.swarm.peer_pin(0));
    for path in ["chunks", "manifest"] {
        let path = format!("/v1/shares/{}/{path}", matrix.link.share);
        for (number, status) in [(98, 200), (97, 403)] {
            let identity = tls::identity(number);
            let answer = tls::send(&address, &pin, Some(&identity), ("GET", &path), headers, b"");
            assert_eq!(answer.status, status, "{}", answer.text());
        }
    }
}

/// Offers and puts a chunk under grants that differ from a good one in one thing each.
#[test]
fn p1_a_chunk_is_taken_under_a_sound_grant_only_and_within_its_budget() {
    let swarm = Swarm::start(1);
    let peer = swarm.peers[0].address();
    let key = Identity::read(&swarm.folder.path().join("tracker")).unwrap().unwrap().tracker_key();
    let share = ShareId::from_bytes([1; 32]);
    let chunk = samples::bytes("p1", 1016);
    let path = format!("/v1/chunks/{}", ChunkId::of(&chunk));
    let offer = |grant: &Grant| {
        let size = json!({ "total_bytes": 1000, "chunk_bytes": 65536 });
        let body = json!({ "size": size, "chunks": "1.gA", "known": [] });
        common::http::json(
            &peer,
            "POST",
            &format!("/v1/shares/{share}/offer"),
            &bearer(&key.sign(grant)),
            &body,
        )
    };
    let put = |grant: &Grant, body: &[u8]| send(&peer, "PUT", &path, &bearer(&key.sign(grant)), body);
    let good = Grant { budget_bytes: 2000, ..grant(&swarm, share) };
    assert_eq!(offer(&good).status, 200);
    let now = swarmdrop::clock::now_ms();
    for (wrong, kind) in [
        (Grant { peers: vec![tls::identity(9).peer_id()], ..good.clone() }, ProblemKind::AccessDenied),
        (Grant { operation: Operation::Copy, ..good.clone() }, ProblemKind::AccessDenied),
        (Grant { expires_ms: now - 1, ..good.clone() }, ProblemKind::ClockSkew),
        (Grant { issued_ms: now + 3_600_000, ..good.clone() }, ProblemKind::ClockSkew),
        (Grant { budget_bytes: 1015, ..good.clone() }, ProblemKind::NoSpace),
        (Grant { share: ShareId::from_bytes([2; 32]), ..good.clone() }, ProblemKind::Conflict),
    ] {
        let answer = put(&wrong, &chunk);
        assert_eq!(answer.problem(), kind.urn(), "{wrong:?}");
        assert!(swarm.chunk_files(0).is_empty());
    }
    let skewed = put(&Grant { expires_ms: now - 1, ..good.clone() }, &chunk).text();
    assert!(skewed.contains("the time at this peer"), "{skewed}");
    let signed = key.sign(&good);
    for token in [
        signed.replace("v4.public.", "v3.public."),
        signed.replace("v4.public.", "v4.local."),
        format!("{signed}.Zm9v"),
        signed[..signed.len() - 4].to_owned(),
        format!("{}AAAA", &signed[..signed.len() - 4]),
        tls::identity(9).tracker_key().sign(&good),
    ] {
        assert_eq!(send(&peer, "PUT", &path, &bearer(&token), &chunk).status, 403);
    }
    assert_eq!(put(&good, &samples::bytes("another body", 1016)).problem(), ProblemKind::HashMismatch.urn());
    for lie in ["Content-Length: 5\r\n", "Content-Length: 5000\r\n"] {
        let head =
            format!("PUT {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{lie}{}\r\n", bearer(&signed));
        let mut stream = TcpStream::connect(&peer).unwrap();
        stream.write_all(&[head.as_bytes(), &chunk].concat()).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let mut answer = String::new();
        let _ = stream.read_to_string(&mut answer);
        assert!(!answer.starts_with("HTTP/1.1 2"), "{answer}");
    }
    assert!(swarm.chunk_files(0).is_empty());
    wait_for("no temporary", || common::person::names_in(&swarm.peer_data(0).join("store/tmp")).is_empty());
    for _ in 0..100 {
        assert_eq!(put(&good, &chunk).status, 204, "playing it again changes nothing, and costs no budget");
    }
    assert_eq!(swarm.chunk_files(0).len(), 1);
}

#[test]
fn p6_a_share_cannot_claim_chunks_that_another_one_sent_and_its_end_takes_nothing_from_the_other() {
    let swarm = Swarm::start(2);
    let (alice, mallory) = (swarm.person(), swarm.person());
    alice.write("file", b"of Alice");
    let link: ShareLink = alice.share(&["file"]).parse().unwrap();
    let id = swarm.chunk_files(0)[0].file_name().unwrap().to_str().unwrap().to_owned();
    // Mallory knows the id, as everybody with the link does, and names it as his own.
    let share = ShareId::from_bytes([9; 32]).to_string();
    let bytes = data_encoding::BASE64URL_NOPAD.encode(id.parse::<ChunkId>().unwrap().as_bytes());
    let body = json!({ "size": { "total_bytes": 8, "chunk_bytes": 65536 }, "chunks": "1.gA",
        "known": [{ "first_chunk": 0, "ids": bytes }] });
    for peer in &swarm.peers {
        let path = format!("/v1/shares/{share}/offer");
        let grant = {
            let key = Identity::read(&swarm.folder.path().join("tracker")).unwrap().unwrap().tracker_key();
            let peers = vec![PeerId::from_bytes(swarm.peer_pin(0)), PeerId::from_bytes(swarm.peer_pin(1))];
            bearer(&key.sign(&Grant { peers, ..grant(&swarm, share.parse().unwrap()) }))
        };
        let answer = common::http::json(&peer.address(), "POST", &path, &grant, &body);
        assert_eq!(answer.json()["held"], "1.AA", "{}", answer.text());
    }
    mallory.write("file", b"of Mallory");
    let own = mallory.share(&["file"]);
    assert_eq!(mallory.run(&["rm", &own]).code, 0);
    assert_eq!(mallory.run(&["rm", &link.expose_text()]).code, 10, "only the owner's key deletes");
    wait_for("Mallory's share to be dropped", || swarm.chunk_files(0).len() == 1);
    swarm.person().get(&link.expose_text());
}

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
        let mut config = swarmdrop::tls::server_config(&tls::identity(shown), None).unwrap();
        config.cert_resolver = Arc::new(Shows(Arc::new(CertifiedKey::new(vec![certificate], signing))));
        Fake::start_with("127.0.0.1:0", tls::identity(shown), config, |_, out| {
            answer_json(out, 200, &json!({ "role": "peer", "id": "x", "now_ms": 0 }))
        })
    };
    let ask = |fake: &Fake| {
        let addresses = vec![fake.address.to_string()];
        let peer = PeerAddress { id: tls::identity(1).peer_id(), name: "pinned".into(), addresses };
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(PeerClient::new(Http::new(None).unwrap(), peer).health())
    };
    let honest = server(1, 1, "swarmdrop.invalid", 2999);
    assert!(ask(&honest).is_ok());
    let odd_but_right = server(1, 1, "another.example", 2001);
    assert!(ask(&odd_but_right).is_ok(), "names and dates do not matter, by design");
    let copied_certificate = server(1, 2, "swarmdrop.invalid", 2999);
    assert!(ask(&copied_certificate).is_err());
    assert!(copied_certificate.requests().is_empty(), "not one byte of a request");
    let other_key = server(2, 2, "swarmdrop.invalid", 2999);
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

fn try_to_register(
    swarm: &Swarm,
    identity: &Identity,
    request: &swarmdrop_core::api::RegisterRequest,
) -> ClientError {
    let http = Http::new(Some(identity)).unwrap();
    let tracker = TrackerClient::of_invite(http, &swarm.peer_invite().parse().unwrap());
    tokio::runtime::Runtime::new().unwrap().block_on(tracker.register(request)).unwrap_err()
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
        "2130706433:5000",
        "localhost:5000",
        "example.org:5000",
        "user@127.0.0.1:5000",
        "127.0.0.1",
        "127.0.0.1:22",
        "127.0.0.1:0",
        "http://127.0.0.1:5000",
        "[fe80::1]:5000",
        "127.0.0.1:5000/x",
    ] {
        let error = try_to_register(&swarm, &identity, &register_request(identity.clone(), &[address]));
        assert_eq!(error.problem(), Some(ProblemKind::BadRequest), "{address}: {error}");
    }
    let many = vec!["127.0.0.1:5000"; 9];
    let error = try_to_register(&swarm, &identity, &register_request(identity.clone(), &many));
    assert_eq!(error.problem(), Some(ProblemKind::BadRequest));
    for name in ["", "a\u{1b}[31m", &"x".repeat(65)] {
        let request = register_request(identity.clone(), &["127.0.0.1:5000"]);
        let request = swarmdrop_core::api::RegisterRequest { name: name.into(), ..request };
        assert_eq!(try_to_register(&swarm, &identity, &request).problem(), Some(ProblemKind::BadRequest));
    }
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
        swarm.tracker.address(),
        swarm.peers[0].address(),
        elsewhere.address.to_string(),
        redirecting.address.to_string(),
        tracker_in_peers_clothes.address.to_string(),
        "127.0.0.1:1024".into(),
    ] {
        let error = try_to_register(&swarm, &identity, &register_request(identity.clone(), &[&address]));
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
    let own = fake.address.to_string();
    let http = Http::new(Some(&fake.identity)).unwrap();
    let tracker = TrackerClient::of_invite(http, &swarm.peer_invite().parse().unwrap());
    let request =
        register_request(fake.identity.clone(), &[&swarm.tracker.address(), &own, "127.0.0.1:1024"]);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    assert_eq!(runtime.block_on(tracker.register(&request)).unwrap().addresses, [own]);
}

#[test]
fn t4_nobody_registers_under_an_id_whose_key_he_does_not_have() {
    let swarm = Swarm::start(1);
    let victim = PeerId::from_bytes(swarm.peer_pin(0));
    let request = register_request(tls::identity(5), &[&swarm.peers[0].address()]);
    let request = swarmdrop_core::api::RegisterRequest { id: victim, ..request };
    let error = try_to_register(&swarm, &tls::identity(5), &request);
    assert_eq!(error.problem(), Some(ProblemKind::AccessDenied), "{error}");
    assert_eq!(swarm.peer_list()[0]["name"], "p0");
}

#[test]
fn a_revoked_token_shuts_its_peers_out_and_an_expired_one_does_not() {
    let mut swarm = Swarm::start(0);
    let invite =
        |name: &str| swarm.operator(&["invite", "--role", "peer", "--name", name, "--expires", "20s"]).stdout;
    let (kept, lost) = (invite("kept"), invite("lost"));
    swarm.add_peer(0, &["--invite", kept.trim()]);
    swarm.add_peer(1, &["--invite", lost.trim()]);
    swarm.wait_for_peers(2, "alive");
    let list = swarm.operator(&["tokens", "ls", "--json"]).stdout;
    let list: Value = serde_json::from_str(&list).unwrap();
    let id = list["tokens"].as_array().unwrap().iter().find(|token| token["name"] == "lost").unwrap()["id"]
        .clone();
    assert_eq!(swarm.operator(&["tokens", "revoke", id.as_str().unwrap()]).code, 0);
    swarm.wait_for_peers(1, "dead");
    swarm.wait_for_peers(1, "alive");
}

#[test]
fn a_share_that_the_operator_takes_down_is_gone_and_does_not_come_back() {
    let swarm = Swarm::start(2);
    let alice = swarm.person();
    alice.write("file", b"x");
    let link = alice.share(&["file"]);
    let share = link.parse::<ShareLink>().unwrap().share;
    let path = format!("/v1/shares/{share}");
    assert_eq!(send(&swarm.tracker.address(), "DELETE", &path, &swarm.bearer("admin"), b"").status, 204);
    let ran = swarm.person().run(&["get", &link]);
    assert_eq!(ran.code, 4, "{}", ran.stderr);
    assert_eq!(alice.run(&["extend", &link, "2d"]).code, 0);
    assert_eq!(swarm.person().run(&["get", &link]).code, 4);
}

#[test]
fn whoever_does_not_speak_tls_from_afar_is_told_so() {
    // On this machine plain HTTP is answered; the text for others is checked where it is sent from.
    let swarm = Swarm::start(0);
    assert_eq!(get(&swarm.tracker.address(), "/healthz").status, 200);
    let Some(outward) = outward_address() else {
        return println!("skipped: this machine has no other address");
    };
    let mut command = common::person::bare_command(swarm.folder.path());
    command.args(["tracker", "--json", "--listen", &format!("{outward}:0"), "--data"]);
    command.arg(swarm.folder.path().join("second"));
    let tracker = common::swarm::Server::start(command);
    let answer = get(&tracker.address(), "/healthz");
    assert_eq!(answer.status, 400);
    assert!(answer.text().contains("use https://"), "{}", answer.text());
}

fn outward_address() -> Option<std::net::IpAddr> {
    let socket = std::net::UdpSocket::bind("0.0.0.0:0").ok()?;
    socket.connect("192.0.2.1:9").ok()?;
    let ip = socket.local_addr().ok()?.ip();
    (!ip.is_loopback() && !ip.is_unspecified()).then_some(ip)
}

#[test]
fn a_tracker_with_an_authoritys_certificate_shows_it_to_those_who_do_not_pin() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
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
    let config = Arc::new(swarmdrop::tls::pinning_client_config(None).unwrap());
    let mut kinds = Vec::new();
    for _ in 0..2 {
        let name = swarmdrop::tls::pinned_name(&swarm.tracker_pin());
        let connection = rustls::ClientConnection::new(Arc::clone(&config), name).unwrap();
        let socket = TcpStream::connect(swarm.tracker.address()).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        let mut stream = rustls::StreamOwned::new(connection, socket);
        stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
        let _ = stream.read_to_end(&mut Vec::new());
        kinds.push(stream.conn.handshake_kind().unwrap());
    }
    assert_eq!(kinds, [rustls::HandshakeKind::Full, rustls::HandshakeKind::Resumed]);
}
