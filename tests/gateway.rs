//! What browsers do through a tracker's gateway: get a share, make one; and what the gateway refuses.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::io::Write;
use std::net::TcpStream;

use common::http::{Answer, bearer, get, json, owned, send, share_key};
use common::swarm::Swarm;
use common::{flip_a_bit, samples, wait_for};
use parcelry::clock;
use parcelry_core::api::{Blob, LookUpResponse};
use parcelry_core::geometry::{ChunkIndex, ChunkSize, Geometry};
use parcelry_core::holes::Holes;
use parcelry_core::id::{ChunkId, Secret, TrackerId};
use parcelry_core::link::{ShareLink, TrackerUrl};
use parcelry_core::manifest::{Draft, Manifest, ShareKey};
use parcelry_core::metadata::{FileEntry, Metadata};
use parcelry_core::name::SafePath;
use parcelry_core::owner::Act;
use parcelry_core::seal::{Header, ShareKeys, access_hash, access_token};
use parcelry_core::terms::{SignedTerms, Terms};
use serde_json::{Value, json};

const CHUNK: usize = 64 << 10;

/// The page as a program: it seals, sends and finishes as the one in a browser does.
struct Page {
    address: String,
    token: String,
    tracker: TrackerId,
    key: ShareKey,
    secret: Secret,
    keys: ShareKeys,
    geometry: Geometry,
    plain: Vec<u8>,
    ids: Vec<ChunkId>,
    grant: String,
}

impl Page {
    fn new(swarm: &Swarm, number: u8, plain: Vec<u8>) -> Self {
        let chunk_size = ChunkSize::from_bytes(CHUNK as u64).unwrap();
        let secret = Secret::from_bytes([number; 32]);
        Self {
            address: swarm.tracker.address(),
            token: swarm.bearer("sender"),
            tracker: TrackerId::from_bytes(swarm.tracker_pin()),
            key: ShareKey::from_seed(&Secret::from_bytes([number; 32])),
            keys: ShareKeys::derive(&secret, &[number; 32], Header { chunk_size }),
            secret,
            geometry: Geometry::new(plain.len() as u64, chunk_size).unwrap(),
            plain,
            ids: Vec::new(),
            grant: String::new(),
        }
    }

    fn path(&self, rest: &str) -> String {
        format!("/v1/shares/{}/{rest}", self.key.share_id())
    }

    fn begin(&mut self, replicas: u8) -> Answer {
        let size = json!({ "total_bytes": self.plain.len(), "chunk_bytes": CHUNK });
        let body = json!({ "size": size, "replicas": replicas });
        let headers = owned(&self.key, Act::Open, *self.tracker.as_bytes(), &self.token);
        let answer = json(&self.address, "POST", &self.path("upload"), &headers, &body);
        if answer.status != 200 {
            return answer;
        }
        let from = self.token.split("Authorization").next().unwrap();
        self.grant = format!("{from}{}", bearer(answer.json()["grant"].as_str().unwrap()));
        send(&self.address, "PUT", &self.path("delegation"), &self.delegation(&self.grant), b"")
    }

    /// Leaves the share to the tracker, as far as this grant goes.
    fn delegation(&self, grant: &str) -> String {
        owned(&self.key, Act::Delegate, *self.tracker.as_bytes(), grant)
    }

    fn sealed(&self, index: ChunkIndex) -> Vec<u8> {
        let range = self.geometry.plain_range(index);
        let range = usize::try_from(range.start).unwrap()..usize::try_from(range.end).unwrap();
        let mut bytes = self.plain[range].to_vec();
        self.keys.seal_chunk(&self.geometry, index, &mut bytes);
        bytes
    }

    fn put(&self, index: u32, sealed: &[u8]) -> Answer {
        send(&self.address, "PUT", &self.path(&format!("chunks/{index}")), &self.grant, sealed)
    }

    /// Sends these chunks.
    #[track_caller]
    fn put_all(&mut self, indices: impl Iterator<Item = ChunkIndex>) {
        for index in indices {
            let sealed = self.sealed(index);
            let answer = self.put(index.get(), &sealed);
            assert_eq!(answer.status, 200, "{}", answer.text());
            let id = answer.json()["id"].as_str().unwrap().parse::<ChunkId>().unwrap();
            assert_eq!(id, ChunkId::of(&sealed));
            self.ids.push(id);
        }
    }

    fn manifest(&self) -> Manifest {
        let name = SafePath::parse("from a browser.bin").unwrap();
        let size = self.plain.len() as u64;
        let created = time::OffsetDateTime::from_unix_timestamp(1_700_000_000).unwrap();
        let file = FileEntry {
            path: name.clone(),
            offset: 0,
            size,
            holes: Holes::default(),
            blake3: None,
            executable: false,
            mode: None,
            modified: created,
        };
        let metadata = Metadata {
            original_filename: name,
            extension: ".bin".into(),
            size,
            chunk_count: self.geometry.chunk_count(),
            created,
            files: vec![file],
            dirs: Vec::new(),
            dir_modes: Vec::new(),
            links: Vec::new(),
        };
        let draft =
            Draft::new(&self.key, &self.keys, &[self.secret.expose()[0]; 32], self.geometry, &self.ids);
        draft.finish(&self.key, &self.keys, &metadata.encode().unwrap())
    }

    fn finish_with(&self, manifest: &Manifest) -> Answer {
        let terms = Terms {
            share: self.key.share_id(),
            issued_ms: clock::now_ms(),
            expires_ms: clock::now_ms() + 3_600_000,
            replicas: 2,
            access_sha256: access_hash(&access_token(&self.secret)),
            deleted: false,
        };
        let terms = SignedTerms::sign(&self.key, terms).token;
        let body = json!({ "manifest": Blob(manifest.encoded().to_vec()), "terms": terms });
        json(&self.address, "PUT", &self.path("upload"), &self.grant, &body)
    }

    fn link(&self) -> String {
        let (host, port) = self.address.rsplit_once(':').unwrap();
        let tracker = TrackerUrl::new(host, port.parse().unwrap()).unwrap();
        let (share, secret) = (self.key.share_id(), self.secret.clone());
        ShareLink { tracker, share, secret, tracker_id: Some(self.tracker) }.expose_text()
    }
}

/// A share made by the command, with its link and manifest.
fn shared(swarm: &Swarm, bytes: &[u8]) -> (ShareLink, Manifest) {
    let alice = swarm.person();
    alice.write("file", bytes);
    let link: ShareLink = alice.share(&["file", "--chunk-size", "64KiB"]).parse().unwrap();
    let path = format!("/v1/shares/{}", link.share);
    let answer = send(&swarm.tracker.address(), "GET", &path, &access(&link), b"");
    let look_up: LookUpResponse = serde_json::from_value(answer.json()).unwrap();
    (link.clone(), Manifest::decode(look_up.manifest.0, link.share).unwrap())
}

fn access(link: &ShareLink) -> String {
    bearer(&access_token(&link.secret).expose_text())
}

fn get_chunk(swarm: &Swarm, link: &ShareLink, index: u32) -> Answer {
    let path = format!("/v1/shares/{}/chunks/{index}", link.share);
    send(&swarm.tracker.address(), "GET", &path, &access(link), b"")
}

#[track_caller]
fn assert_problem(answer: &Answer, status: u16, kind: &str) {
    assert_eq!(answer.status, status, "{}", answer.text());
    assert_eq!(answer.problem(), format!("urn:parcelry:problem:{kind}"));
}

#[test]
fn a_browser_gets_each_chunk_and_nothing_but_chunks_of_the_share_that_it_names() {
    let swarm = Swarm::start(2);
    let (link, manifest) = shared(&swarm, &samples::bytes("gateway", 3 * CHUNK + 5));
    for (index, id) in manifest.chunks() {
        let answer = get_chunk(&swarm, &link, index.get());
        assert_eq!(answer.status, 200);
        assert_eq!(ChunkId::of(&answer.body), id);
        assert!(answer.head.to_lowercase().contains(&format!("content-length: {}", answer.body.len())));
    }
    assert_problem(&get_chunk(&swarm, &link, 4), 404, "chunk-not-found");
    let (other, _) = shared(&swarm, b"another share");
    let mixed = ShareLink { share: other.share, ..link.clone() };
    assert_problem(&get_chunk(&swarm, &mixed, 0), 404, "share-not-found");
    for odd in ["-1", "4294967296", "x", "0x0", ""] {
        let path = format!("/v1/shares/{}/chunks/{odd}", link.share);
        let answer = send(&swarm.tracker.address(), "GET", &path, &access(&link), b"");
        assert!(matches!(answer.status, 400 | 404), "{odd}: {}", answer.text());
    }
}

#[test]
fn the_gateway_passes_on_no_wrong_byte_and_says_when_no_peer_has_a_chunk() {
    let swarm = Swarm::start_seldom_audited(2);
    let (link, manifest) = shared(&swarm, &samples::bytes("rot", 2 * CHUNK));
    swarm.wait_for_proofs();
    let spoil = |peer: usize, index: usize| {
        let (_, id) = manifest.chunks().nth(index).unwrap();
        let files = swarm.chunk_files(peer);
        flip_a_bit(files.iter().find(|file| file.ends_with(id.to_string())).unwrap());
    };
    spoil(0, 0);
    spoil(0, 1);
    for (index, id) in manifest.chunks() {
        assert_eq!(ChunkId::of(&get_chunk(&swarm, &link, index.get()).body), id);
    }
    spoil(1, 0);
    assert_problem(&get_chunk(&swarm, &link, 0), 422, "hash-mismatch");
    // Peers that were complained about look, and find what is wrong: then nobody has the chunk.
    wait_for("the peers to quarantine the chunk", || get_chunk(&swarm, &link, 0).status == 503);
    assert_problem(&get_chunk(&swarm, &link, 0), 503, "unavailable");
    assert_eq!(get_chunk(&swarm, &link, 1).status, 200);
}

#[test]
fn a_share_from_a_browser_is_what_a_receiver_gets() {
    let swarm = Swarm::start(3);
    for (number, len) in [(1, 0), (2, 1), (3, CHUNK), (4, 5 * CHUNK + 7)] {
        let mut page = Page::new(&swarm, number, samples::bytes("page", len));
        let begun = page.begin(2);
        assert_eq!(begun.status, 200, "{}", begun.text());
        assert_eq!(begun.json()["peers"].as_array().unwrap().len(), 2);
        let indices = page.geometry.indices();
        page.put_all(indices);
        let finished = page.finish_with(&page.manifest());
        assert_eq!(finished.status, 200, "{}", finished.text());
        assert_eq!(finished.json()["peers"].as_array().unwrap().len(), 2);
        let bob = swarm.person();
        bob.get(&page.link());
        assert_eq!(bob.read("from a browser.bin"), page.plain);
    }
}

#[test]
fn a_peer_that_fails_half_way_is_replaced_and_its_replacement_has_everything() {
    let mut swarm = Swarm::start(3);
    let mut page = Page::new(&swarm, 1, samples::bytes("half way", 4 * CHUNK));
    assert_eq!(page.begin(2).status, 200);
    let indices: Vec<_> = page.geometry.indices().collect();
    page.put_all(indices[..2].iter().copied());
    let first = swarm.holders();
    assert_eq!(first.len(), 2);
    swarm.peers[first[0]].kill();
    page.put_all(indices[2..].iter().copied());
    let finished = page.finish_with(&page.manifest());
    assert_eq!(finished.status, 200, "{}", finished.text());
    // The peer that was there from the start goes, too: the spare alone has it all.
    swarm.peers[first[1]].kill();
    let bob = swarm.person();
    bob.get(&page.link());
    assert_eq!(bob.read("from a browser.bin"), page.plain);
}

#[test]
fn a_peer_that_restarts_half_way_goes_on() {
    let mut swarm = Swarm::start(2);
    let mut page = Page::new(&swarm, 1, samples::bytes("restart", 3 * CHUNK));
    assert_eq!(page.begin(2).status, 200);
    let indices: Vec<_> = page.geometry.indices().collect();
    page.put_all(indices[..1].iter().copied());
    let address = swarm.peers[0].address();
    swarm.peers[0].kill();
    swarm.add_peer(0, &["--listen", &address]);
    page.put_all(indices[1..].iter().copied());
    let finished = page.finish_with(&page.manifest());
    assert_eq!(finished.status, 200, "{}", finished.text());
    assert_eq!(swarm.chunk_files(0).len(), 3);
}

#[test]
fn an_upload_that_is_not_sound_is_refused() {
    let swarm = Swarm::start(2);
    let mut page = Page::new(&swarm, 1, samples::bytes("unsound", 2 * CHUNK));
    assert_problem(&page.begin(3), 503, "not-enough-peers");
    assert_eq!(page.begin(2).status, 200);
    let indices: Vec<_> = page.geometry.indices().collect();
    let sealed = page.sealed(indices[0]);
    assert_problem(&page.put(0, &sealed[1..]), 400, "bad-request");
    assert_problem(&page.put(2, &sealed), 404, "chunk-not-found");
    page.put_all(indices[..1].iter().copied());
    assert_eq!(page.put(0, &sealed).status, 200, "the same again is no harm");
    let mut other = sealed;
    other[0] ^= 1;
    assert_problem(&page.put(0, &other), 409, "conflict");

    page.ids.push(ChunkId::of(b"not sent"));
    assert_problem(&page.finish_with(&page.manifest()), 422, "invalid-share");
    page.ids.pop();
    page.put_all(indices[1..].iter().copied());
    page.ids.swap(0, 1);
    assert_problem(&page.finish_with(&page.manifest()), 422, "invalid-share");
    page.ids.swap(0, 1);

    let given_up = send(&page.address, "DELETE", &page.path("upload"), &page.grant, b"");
    assert_eq!(given_up.status, 204);
    assert_problem(&page.put(0, &page.sealed(indices[0])), 404, "upload-not-found");
    assert_problem(&page.finish_with(&page.manifest()), 404, "upload-not-found");
    let bob = swarm.person();
    assert_ne!(bob.run(&["get", &page.link()]).code, 0);
}

#[test]
fn without_the_owners_delegation_the_gateway_takes_nothing_and_peers_refuse_it() {
    let swarm = Swarm::start(2);
    let page = Page::new(&swarm, 1, samples::bytes("delegated", CHUNK));
    let (size, tracker) = (json!({ "total_bytes": CHUNK, "chunk_bytes": CHUNK }), *page.tracker.as_bytes());
    let upload = json!({ "size": size, "replicas": 2 });
    let open = |key: &ShareKey| {
        let headers = owned(key, Act::Open, tracker, &page.token);
        json(&page.address, "POST", &page.path("upload"), &headers, &upload)
    };
    assert_problem(&open(&share_key(2)), 403, "access-denied");
    let answer = open(&page.key);
    let grant = bearer(answer.json()["grant"].as_str().unwrap());
    let put = || send(&page.address, "PUT", &page.path("chunks/0"), &grant, &page.sealed(index_of(&page, 0)));
    assert_problem(&put(), 409, "conflict");
    let delegate = |headers: &str| send(&page.address, "PUT", &page.path("delegation"), headers, b"");
    let other_grant = page.delegation(&bearer("v4.public.another"));
    let word_for_another = other_grant.lines().find(|line| line.starts_with("Owner-Token")).unwrap();
    for (key, act, at) in [
        (&share_key(2), Act::Delegate, tracker),
        (&page.key, Act::Publish, tracker),
        (&page.key, Act::Delegate, [1; 32]),
    ] {
        assert_problem(&delegate(&owned(key, act, at, &grant)), 403, "access-denied");
    }
    assert_problem(&delegate(&format!("{grant}{word_for_another}\r\n")), 403, "access-denied");
    assert_eq!(delegate(&page.delegation(&grant)).status, 200);
    assert_eq!(put().status, 200);

    // Whoever else has the delegation, as a peer has it, is not the tracker.
    let peer = swarm.peers[0].address();
    let body = json!({ "size": size, "chunks": "1.gA", "known": [] });
    let stolen = page.delegation(&grant);
    assert_problem(&json(&peer, "POST", &page.path("offer"), &stolen, &body), 403, "access-denied");
    let identity = common::tls::identity(9);
    let headers = format!("Content-Type: application/json\r\n{stolen}");
    let call = ("POST", page.path("offer"));
    let answer = common::tls::send(
        &peer,
        &swarm.peer_pin(0),
        Some(&identity),
        (call.0, &call.1),
        &headers,
        body.to_string().as_bytes(),
    );
    assert_problem(&answer, 403, "access-denied");
}

fn index_of(page: &Page, index: u32) -> ChunkIndex {
    page.geometry.index(index).unwrap()
}

#[test]
fn an_upload_goes_on_after_the_tracker_restarted() {
    let mut swarm = Swarm::start(2);
    let mut page = Page::new(&swarm, 1, samples::bytes("again", 2 * CHUNK));
    assert_eq!(page.begin(2).status, 200);
    let indices: Vec<_> = page.geometry.indices().collect();
    page.put_all(indices[..1].iter().copied());
    swarm.restart_tracker();
    swarm.wait_for_peers(2, "alive");
    assert_problem(&page.put(1, &page.sealed(indices[1])), 404, "upload-not-found");
    assert_eq!(page.begin(2).status, 200);
    page.ids.clear();
    page.put_all(indices.iter().copied());
    let finished = page.finish_with(&page.manifest());
    assert_eq!(finished.status, 200, "{}", finished.text());
}

#[test]
fn one_address_has_a_bounded_number_of_chunks_at_once_and_others_are_served() {
    let swarm =
        Swarm::start_with(2, &["--heartbeat", "200ms", "--dead-after", "3s", "--behind-proxy", "127.0.0.1"]);
    let (link, _) = shared(&swarm, b"one chunk");
    let address = swarm.tracker.address();
    let request = |from: &str, index: u32| {
        let access = access(&link);
        let path = format!("/v1/shares/{}/chunks/{index}", link.share);
        format!(
            "GET {path} HTTP/1.1\r\nHost: {address}\r\nX-Forwarded-For: {from}\r\nConnection: close\r\n{access}\r\n"
        )
    };
    // A chunk whose body never comes keeps its call.
    let mut page = Page::new(&swarm, 1, vec![7; CHUNK]);
    page.token = format!("X-Forwarded-For: 8.8.8.8\r\n{}", page.token);
    assert_eq!(page.begin(2).status, 200);
    let head = format!(
        "PUT {} HTTP/1.1\r\nHost: {address}\r\nX-Forwarded-For: 8.8.8.8\r\nContent-Length: {}\r\n{}\r\n",
        page.path("chunks/0"),
        CHUNK + 16,
        page.grant
    );
    let (mut stuck, mut last) = (Vec::new(), None);
    wait_for("one call too many to be refused", || {
        let mut stream = TcpStream::connect(&address).unwrap();
        stream.write_all(head.as_bytes()).unwrap();
        stuck.push(stream);
        let answer = common::http::raw(&address, request("8.8.8.8", 0).as_bytes());
        let refused = answer.status == 429;
        last = Some(answer);
        refused
    });
    let refused = last.unwrap();
    assert_problem(&refused, 429, "too-many-requests");
    assert!(refused.head.to_lowercase().contains("retry-after: "), "{}", refused.head);
    assert_eq!(common::http::raw(&address, request("9.9.9.9", 0).as_bytes()).status, 200);
    drop(stuck);
    wait_for("the calls to end", || {
        common::http::raw(&address, request("8.8.8.8", 0).as_bytes()).status == 200
    });
}

#[test]
fn a_closed_gateway_serves_no_browser_and_the_command_all_the_same() {
    let swarm = Swarm::start_with(2, &["--heartbeat", "200ms", "--dead-after", "3s", "--gateway-rate", "0B"]);
    let (link, _) = shared(&swarm, b"for the command line only");
    assert_problem(&get_chunk(&swarm, &link, 0), 403, "gateway-closed");
    swarm.person().get(&link.expose_text());
}

#[test]
fn w3_a_foreign_host_name_is_refused_by_tracker_and_peer_and_the_operators_names_are_not() {
    let names = ["--heartbeat", "200ms", "--dead-after", "3s", "--host-name", "drop.lan"];
    let swarm = Swarm::start_with(1, &names);
    let ask = |address: &str, host: &str| {
        let request = format!("GET /healthz HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        common::http::raw(address, request.as_bytes())
    };
    for address in [swarm.tracker.address(), swarm.peers[0].address()] {
        assert_problem(&ask(&address, "evil.example"), 421, "wrong-host");
        assert_problem(&ask(&address, "evil.example:9090"), 421, "wrong-host");
        assert_eq!(ask(&address, "localhost:1").status, 200);
        assert_eq!(ask(&address, "127.0.0.1").status, 200);
    }
    assert_eq!(ask(&swarm.tracker.address(), "Drop.lan").status, 200);
    assert_problem(&ask(&swarm.peers[0].address(), "drop.lan"), 421, "wrong-host");
}

#[test]
fn w4_every_response_forbids_framing_sniffing_storing_and_foreign_scripts() {
    let swarm = Swarm::start(1);
    let tracker = swarm.tracker.address();
    let pages =
        ["/", "/join", "/s/x", "/admin", "/sw.js", "/web/style.css", "/healthz", "/v1/peers", "/nowhere"];
    let answers = pages.iter().map(|path| (*path, get(&tracker, path)));
    let peer = [("peer", get(&swarm.peers[0].address(), "/healthz"))];
    for (path, answer) in answers.chain(peer) {
        let head = answer.head.to_lowercase();
        for line in [
            "x-content-type-options: nosniff",
            "x-frame-options: deny",
            "cache-control: no-store",
            "cross-origin-opener-policy: same-origin",
            "content-security-policy: default-src 'none'",
        ] {
            assert!(head.contains(line), "{path}: {line}: {head}");
        }
        assert!(!head.contains("access-control-allow-origin"), "{path}");
        assert!(!head.contains("unsafe"), "{path}");
    }
    let preflight = send(
        &tracker,
        "OPTIONS",
        "/v1/shares",
        "Origin: null\r\nAccess-Control-Request-Method: POST\r\n",
        b"",
    );
    assert_eq!(preflight.status, 405);
    for path in
        ["/web/../Cargo.toml", "/web/%2e%2e/Cargo.toml", "/web/", "/web/js/none.js", "/web//etc/passwd"]
    {
        assert_eq!(get(&tracker, path).status, 404, "{path}");
    }
    let page = get(&tracker, "/admin");
    assert!(page.head.to_lowercase().contains("require-trusted-types-for 'script'"), "{}", page.head);
    assert!(page.head.to_lowercase().contains("text/html; charset=utf-8"));
    assert_ne!(page.text(), Value::Null.to_string());
}
