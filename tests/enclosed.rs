//! Requests that carry a manifest behind their JSON: taken wherever one is taken within it, refused when they lie, and made
//! at servers only that have said that they take them.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::sync::Arc;

use common::fake::{Fake, FakePeer, Request, answer, answer_json};
use common::http::{self, Answer, owned, raw, send, share_key};
use common::swarm::Swarm;
use common::{samples, tls};
use parcelry::client::{Authority, Http, PeerClient, TrackerClient};
use parcelry::clock;
use parcelry::identity::Identity;
use parcelry_core::api::{
    AnnounceRequest, Blob, CommitRequest, InventoryRequest, OfferRequest, OpenRequest, PeerAddress,
    ProblemKind, PublishRequest, ShareSize,
};
use parcelry_core::chunk_set::ChunkSet;
use parcelry_core::enclosed::ENCLOSED;
use parcelry_core::geometry::{ChunkSize, Geometry};
use parcelry_core::grant::GrantToken;
use parcelry_core::id::{PeerId, Secret};
use parcelry_core::limits::{ENCLOSED_BODY_BYTES_MAX, ENCLOSED_JSON_BYTES_MAX};
use parcelry_core::link::{Invite, ShareLink};
use parcelry_core::manifest::{Draft, Manifest, ShareKey};
use parcelry_core::owner::Act;
use parcelry_core::seal::{Header, ShareKeys, access_hash, access_token};
use parcelry_core::terms::{SignedTerms, Terms};
use serde_json::{Value, json};

const JSON: &str = "application/json";

/// The bytes of a request: the JSON's length, the JSON, the manifest.
fn enclosed(json: &Value, manifest: &[u8]) -> Vec<u8> {
    let json = json.to_string();
    let length = u32::try_from(json.len()).unwrap();
    claiming(length, json.as_bytes(), manifest)
}

/// The same with any length.
fn claiming(length: u32, json: &[u8], manifest: &[u8]) -> Vec<u8> {
    [&length.to_be_bytes()[..], json, manifest].concat()
}

/// The same request as JSON.
fn as_json(json: &Value, manifest: &[u8]) -> Vec<u8> {
    let mut json = json.clone();
    json["manifest"] = serde_json::to_value(Blob(manifest.to_vec())).unwrap();
    json.to_string().into_bytes()
}

/// A share of three chunks on two peers, and what its owner needs to commit and to publish it again.
struct Shared {
    swarm: Swarm,
    key: ShareKey,
    manifest: Manifest,
    terms: Value,
    receipts: Vec<String>,
    grant: String,
    /// The header line that lets its reader in.
    access: String,
}

impl Shared {
    fn new() -> Self {
        let swarm = Swarm::start(2);
        let alice = swarm.person();
        let bytes = samples::bytes("enclosed", 3 * 65_536 - 100);
        alice.write("file.bin", &bytes);
        let link: ShareLink = alice.share(&["file.bin", "--chunk-size", "64KiB"]).parse().unwrap();
        let access = http::bearer(&access_token(&link.secret).expose_text());
        let path = format!("/v1/shares/{}", link.share);
        let told = send(&swarm.tracker.address(), "GET", &path, &access, b"").json();
        let encoded: Blob = serde_json::from_value(told["manifest"].clone()).unwrap();
        let manifest = Manifest::decode(encoded.0, link.share).unwrap();
        let owned = parcelry::journal::OwnedShares::new(&alice.home.path().join(".local/state/parcelry"));
        let owned = owned.get(link.share).unwrap().unwrap();
        let (key, receipts) = (owned.key(), owned.receipts);
        let grant = swarm.grant(&key, bytes.len() as u64);
        Self { swarm, key, manifest, terms: told["terms"].clone(), receipts, grant, access }
    }

    /// What tracker and peer tell of the share: manifest, terms, and who holds which chunks.
    fn told(&self) -> Vec<String> {
        let path = format!("/v1/shares/{}", self.manifest.share());
        let get = |address: &str, rest: &str| {
            let answer = send(address, "GET", &format!("{path}{rest}"), &self.access, b"");
            assert_eq!(answer.status, 200, "{}", answer.text());
            answer.json()
        };
        let (tracker, peer) = (self.swarm.tracker.address(), self.swarm.peers[0].address());
        let looked_up = get(&tracker, "");
        let held = |source: &Value| format!("{} {}", source["peer"]["id"], source["chunks"]);
        // Which of them is the surest may change by itself.
        let mut told: Vec<_> = looked_up["sources"].as_array().unwrap().iter().map(held).collect();
        told.sort();
        let rest = [&looked_up["manifest"], &looked_up["terms"]].map(Value::to_string);
        told.extend(rest);
        told.extend(["/manifest", "/chunks"].map(|rest| get(&peer, rest).to_string()));
        told
    }

    /// The calls that carry the manifest: what is said beside it, and how they are made.
    fn calls(&self) -> Vec<Call<'_>> {
        let (swarm, share) = (&self.swarm, self.manifest.share());
        let (tracker, peer) = (swarm.tracker.address(), swarm.peers[0].address());
        let (terms, chunks) = (&self.terms, ChunkSet::full(3).to_string());
        let commit = owned(&self.key, Act::Commit, swarm.peer_pin(0), &self.grant);
        let publish = owned(&self.key, Act::Publish, swarm.tracker_pin(), &self.grant);
        let identity = Identity::read(&swarm.peer_data(0)).unwrap().unwrap();
        let announced = format!("/v1/peers/{}/shares", identity.peer_id());
        let by_address = |address: String, path: String| -> Make<'static> {
            Box::new(move |headers, body| send(&address, "PUT", &path, headers, body))
        };
        let tls_address = tracker.clone();
        vec![
            Call {
                json: json!({ "terms": terms, "chunks": chunks }),
                credentials: commit,
                status: 200,
                make: by_address(peer, format!("/v1/shares/{share}/manifest")),
            },
            Call {
                json: json!({ "terms": terms, "receipts": self.receipts }),
                credentials: publish,
                status: 204,
                make: by_address(tracker, format!("/v1/shares/{share}")),
            },
            Call {
                json: json!({ "share": share, "terms": terms, "chunks": chunks }),
                credentials: String::new(),
                status: 204,
                make: Box::new(move |headers, body| {
                    let (pin, call) = (swarm.tracker_pin(), ("POST", &*announced));
                    tls::send(&tls_address, &pin, Some(&identity), call, headers, body)
                }),
            },
        ]
    }
}

type Make<'a> = Box<dyn Fn(&str, &[u8]) -> Answer + 'a>;

struct Call<'a> {
    json: Value,
    credentials: String,
    /// What comes of it if it is right.
    status: u16,
    make: Make<'a>,
}

impl Call<'_> {
    fn send(&self, media_type: &str, body: &[u8]) -> Answer {
        (self.make)(&format!("Content-Type: {media_type}\r\n{}", self.credentials), body)
    }

    #[track_caller]
    fn is_taken(&self, media_type: &str, body: &[u8]) -> Answer {
        let answer = self.send(media_type, body);
        assert_eq!(answer.status, self.status, "{} {}: {}", self.json, media_type, answer.text());
        answer
    }

    #[track_caller]
    fn is_refused(&self, kind: ProblemKind, body: &[u8], why: &str) {
        let answer = self.send(ENCLOSED, body);
        assert_eq!(answer.problem(), kind.urn(), "{} {why}: {}", self.json, answer.text());
    }
}

#[test]
fn a_manifest_is_taken_behind_the_json_and_from_older_clients_within_it() {
    let shared = Shared::new();
    let manifest = shared.manifest.encoded();
    for call in shared.calls() {
        let answers = [
            call.is_taken(JSON, &as_json(&call.json, manifest)),
            call.is_taken(ENCLOSED, &enclosed(&call.json, manifest)),
            call.is_taken(ENCLOSED, &enclosed(&call.json, manifest)),
        ];
        if call.status == 200 {
            for answer in answers {
                let told = answer.json();
                assert!(told["receipt"].is_string() && told["missing"] == "3.AA", "{told}");
            }
        }
    }
}

#[test]
fn s2_lengths_that_lie_manifests_that_are_cut_and_two_of_them_are_refused_and_change_nothing() {
    let shared = Shared::new();
    let manifest = shared.manifest.encoded();
    let mut flipped = manifest.to_vec();
    flipped[200] ^= 1;
    let before = shared.told();
    for call in shared.calls() {
        let json = call.json.to_string().into_bytes();
        let right = u32::try_from(json.len()).unwrap();
        let longest = u32::try_from(ENCLOSED_JSON_BYTES_MAX).unwrap();
        for length in [0, 1, right - 1, right + 1, right + 100, longest, longest + 1, u32::MAX] {
            let body = claiming(length, &json, manifest);
            call.is_refused(ProblemKind::BadRequest, &body, &format!("claims {length}"));
        }
        let whole = enclosed(&call.json, manifest);
        for end in [0, 3, 4, 10, whole.len() - manifest.len()] {
            call.is_refused(ProblemKind::BadRequest, &whole[..end], &format!("ends at {end}"));
        }
        let twice = as_json(&call.json, manifest);
        let twice = claiming(u32::try_from(twice.len()).unwrap(), &twice, manifest);
        call.is_refused(ProblemKind::BadRequest, &twice, "two manifests");
        let mut unknown = call.json.clone();
        unknown["more"] = 1.into();
        call.is_refused(ProblemKind::BadRequest, &enclosed(&unknown, manifest), "an unknown field");
        for (end, why) in [(manifest.len() - 1, "cut by a byte"), (1, "one byte of it")] {
            let cut = enclosed(&call.json, &manifest[..end]);
            call.is_refused(ProblemKind::InvalidShare, &cut, why);
        }
        let longer = enclosed(&call.json, &[manifest, b"x"].concat());
        call.is_refused(ProblemKind::InvalidShare, &longer, "a byte more");
        call.is_refused(ProblemKind::InvalidShare, &enclosed(&call.json, &flipped), "a flipped bit");
        let none = call.send(JSON, &json);
        assert_eq!(none.problem(), ProblemKind::BadRequest.urn());
        let other = call.send("application/octet-stream", &whole);
        assert_eq!(other.problem(), ProblemKind::UnsupportedMediaType.urn());
        assert_eq!(shared.told(), before, "{}", call.json);
        call.is_taken(ENCLOSED, &whole);
    }
}

/// Who has no credential, and who announces too much, is refused before anything is read: no byte of a body is sent here.
#[test]
fn who_may_not_send_a_manifest_or_announces_too_much_is_refused_before_it_is_read() {
    let shared = Shared::new();
    let share = shared.manifest.share();
    let (tracker, peer) = (shared.swarm.tracker.address(), shared.swarm.peers[0].address());
    let commit = owned(&shared.key, Act::Commit, shared.swarm.peer_pin(0), &shared.grant);
    let publish = owned(&shared.key, Act::Publish, shared.swarm.tracker_pin(), &shared.grant);
    for (address, path, credentials) in [
        (peer, format!("/v1/shares/{share}/manifest"), commit),
        (tracker.clone(), format!("/v1/shares/{share}"), publish.clone()),
        (tracker.clone(), format!("/v1/shares/{share}/upload"), publish),
    ] {
        let announcing = |bytes: usize, credentials: &str| {
            let head = format!("PUT {path} HTTP/1.1\r\nHost: {address}\r\nContent-Type: {ENCLOSED}\r\n");
            let request = format!("{head}Content-Length: {bytes}\r\n{credentials}\r\n");
            raw(&address, request.as_bytes()).problem()
        };
        assert_eq!(announcing(100_000, ""), ProblemKind::AccessDenied.urn(), "{path}");
        let too_much = announcing(ENCLOSED_BODY_BYTES_MAX + 1, &credentials);
        assert_eq!(too_much, ProblemKind::TooLarge.urn(), "{path}");
    }
    // Who announces a share shows a peer's certificate.
    let identity = Identity::read(&shared.swarm.peer_data(0)).unwrap().unwrap();
    let pin = shared.swarm.tracker_pin();
    let announcing = |bytes: usize, shown: Option<&Identity>| {
        let path = format!("/v1/peers/{}/shares", identity.peer_id());
        let head = format!("POST {path} HTTP/1.1\r\nHost: {tracker}\r\nContent-Type: {ENCLOSED}\r\n");
        let request = format!("{head}Content-Length: {bytes}\r\n\r\n");
        let answer = tls::exchange(&tracker, &pin, shown, request.as_bytes()).unwrap();
        Answer::parse(&answer).problem()
    };
    assert_eq!(announcing(100_000, None), ProblemKind::AccessDenied.urn());
    assert_eq!(announcing(ENCLOSED_BODY_BYTES_MAX + 1, Some(&identity)), ProblemKind::TooLarge.urn());
}

#[test]
fn an_upload_through_the_gateway_ends_with_a_manifest_in_either_layout() {
    let swarm = Swarm::start(2);
    for number in [1, 2] {
        let (key, secret) = (share_key(number), Secret::from_bytes([number; 32]));
        let size = ChunkSize::from_log2(16).unwrap();
        let keys = ShareKeys::derive(&secret, &[3; 32], Header { chunk_size: size });
        let draft = Draft::new(&key, &keys, &[3; 32], Geometry::new(0, size).unwrap(), &[]);
        let manifest = draft.finish(&key, &keys, b"{}");
        let terms = Terms {
            share: key.share_id(),
            issued_ms: clock::now_ms(),
            expires_ms: clock::now_ms() + 3_600_000,
            replicas: 2,
            access_sha256: access_hash(&access_token(&secret)),
            deleted: false,
        };
        let terms = json!({ "terms": SignedTerms::sign(&key, terms).token });
        let (tracker, pin) = (swarm.tracker.address(), swarm.tracker_pin());
        let path = |rest: &str| format!("/v1/shares/{}/{rest}", key.share_id());
        let headers = owned(&key, Act::Open, pin, &swarm.bearer("sender"));
        let body = json!({ "size": { "total_bytes": 0, "chunk_bytes": 65536 }, "replicas": 2 });
        let begun = http::json(&tracker, "POST", &path("upload"), &headers, &body);
        let grant = http::bearer(begun.json()["grant"].as_str().unwrap());
        let delegation = owned(&key, Act::Delegate, pin, &grant);
        assert_eq!(send(&tracker, "PUT", &path("delegation"), &delegation, b"").status, 200);
        let finish = |media_type: &str, body: &[u8]| {
            let headers = format!("Content-Type: {media_type}\r\n{grant}");
            send(&tracker, "PUT", &path("upload"), &headers, body)
        };
        let cut = enclosed(&terms, &manifest.encoded()[..100]);
        assert_eq!(finish(ENCLOSED, &cut).problem(), ProblemKind::InvalidShare.urn());
        let finished = match number {
            1 => finish(ENCLOSED, &enclosed(&terms, manifest.encoded())),
            _ => finish(JSON, &as_json(&terms, manifest.encoded())),
        };
        assert_eq!(finished.status, 200, "{}", finished.text());
        assert_eq!(finished.json()["peers"].as_array().unwrap().len(), 2);
    }
}

fn some_manifest() -> Arc<Manifest> {
    let (key, size) = (share_key(9), ChunkSize::from_log2(16).unwrap());
    let keys = ShareKeys::derive(&Secret::from_bytes([1; 32]), &[2; 32], Header { chunk_size: size });
    let draft = Draft::new(&key, &keys, &[2; 32], Geometry::new(0, size).unwrap(), &[]);
    // Of several pieces on its way, the last of them short.
    Arc::new(draft.finish(&key, &keys, samples::bytes("metadata", 300_001).as_slice()))
}

#[test]
fn servers_say_that_they_take_raw_manifests_in_an_answer_before_each_request_that_has_one() {
    let shared = Shared::new();
    let (swarm, share) = (&shared.swarm, shared.manifest.share());
    let (tracker, peer) = (swarm.tracker.address(), swarm.peers[0].address());
    let size = json!({ "total_bytes": 3 * 65_536 - 100, "chunk_bytes": 65_536 });
    let open = json!({ "share": share, "size": size, "replicas": 2, "preferred": [] });
    let opener = owned(&shared.key, Act::Open, swarm.tracker_pin(), &swarm.bearer("sender"));
    let offer = json!({ "size": size, "chunks": ChunkSet::full(3).to_string(), "known": [] });
    let offerer = owned(&shared.key, Act::Offer, swarm.peer_pin(0), &shared.grant);
    let identity = Identity::read(&swarm.peer_data(0)).unwrap().unwrap();
    let inventory = format!("/v1/peers/{}/inventory", identity.peer_id());
    // A page like this says nothing about what is held.
    let page = json!({ "shares": [], "after": null, "last": false, "gone": [] }).to_string();
    let (pin, json) = (swarm.tracker_pin(), format!("Content-Type: {JSON}\r\n"));
    for answer in [
        http::json(&tracker, "POST", "/v1/shares", &opener, &open),
        http::json(&peer, "POST", &format!("/v1/shares/{share}/offer"), &offerer, &offer),
        tls::send(&tracker, &pin, Some(&identity), ("POST", &inventory), &json, page.as_bytes()),
    ] {
        assert_eq!(answer.json()["takes_raw_manifests"], true, "{}", answer.text());
    }
}

/// A server that says this of itself in all its answers.
fn saying(takes_raw: Option<bool>) -> Fake {
    Fake::start(50, move |request, out| {
        let mut told = match &*request.path {
            "/v1/shares" => json!({ "sets": [], "spares": [], "grant": "v4.public.grant" }),
            path if path.ends_with("/inventory") => json!({ "unknown": [], "deleted": [] }),
            path if path.ends_with("/offer") => json!({ "held": "0." }),
            path if path.ends_with("/manifest") => json!({ "missing": "0.", "receipt": "v4.public.receipt" }),
            _ => return answer(out, "204 X", b""),
        };
        if let Some(takes_raw) = takes_raw {
            told["takes_raw_manifests"] = takes_raw.into();
        }
        answer_json(out, 200, &told)
    })
}

#[test]
fn who_has_said_that_it_takes_raw_manifests_is_sent_them_so_and_everybody_else_json() {
    let manifest = some_manifest();
    let (grant, chunks) = (GrantToken::from("v4.public.grant"), ChunkSet::full(0));
    let shown = Authority { grant: &grant, owner: "v4.public.owner" };
    let blob = || Blob(manifest.encoded().to_vec());
    let (share, terms, announcer) = (manifest.share(), "v4.public.terms", PeerId::from_bytes([7; 32]));
    let publish = PublishRequest { manifest: blob(), terms: terms.into(), receipts: vec!["r".into()] };
    let announce = AnnounceRequest { share, manifest: blob(), terms: terms.into(), chunks: chunks.clone() };
    let commit = CommitRequest { manifest: blob(), terms: terms.into(), chunks: chunks.clone() };
    let size = ShareSize { total_bytes: 0, chunk_bytes: 65_536 };
    let open = OpenRequest { share, size, replicas: 1, preferred: Vec::new() };
    let page = InventoryRequest { shares: Vec::new(), after: None, last: true, gone: Vec::new() };
    let offer = OfferRequest { size, chunks: chunks.clone(), known: Vec::new() };
    // One of an older version says nothing. Of one that was not asked nothing is known.
    for (says, is_asked) in [(Some(true), true), (Some(false), true), (None, true), (Some(true), false)] {
        let server = saying(says);
        let tracker = format!("https://{}", server.address).parse().unwrap();
        let (tracker_id, token) = (server.identity.tracker_id(), Secret::from_bytes([1; 32]));
        let http = Http::new(None).unwrap();
        let tracker = TrackerClient::of_invite(http.clone(), &Invite { tracker, tracker_id, token });
        let id = server.identity.peer_id();
        let peer = PeerAddress { id, name: "p0".into(), addresses: vec![server.address] };
        let peer = PeerClient::new(http, peer);
        tokio::runtime::Runtime::new().unwrap().block_on(async {
            if is_asked {
                tracker.open(&open, shown.owner).await.unwrap();
                tracker.inventory(announcer, &page).await.unwrap();
                peer.offer(share, shown, &offer).await.unwrap();
            }
            let receipts = publish.receipts.clone();
            tracker.publish(shown, &manifest, terms.into(), receipts).await.unwrap();
            tracker.announce(announcer, &manifest, terms.into(), chunks.clone()).await.unwrap();
            // What one client was told, its clones know.
            let committed = peer.clone().commit(shown, &manifest, &terms.into(), &chunks).await.unwrap();
            assert_eq!(committed.receipt.as_deref(), Some("v4.public.receipt"));
        });
        let requests = server.requests();
        let paths = [
            format!("/v1/shares/{share}"),
            format!("/v1/peers/{announcer}/shares"),
            format!("/v1/shares/{share}/manifest"),
        ];
        let [published, announced, committed] = paths.map(|path| {
            let made: Vec<_> = requests.iter().filter(|request| request.path == path).collect();
            let [request] = made[..] else { panic!("{} requests at {path}", made.len()) };
            request
        });
        let is_raw = is_asked && says == Some(true);
        for (request, is_granted) in [(published, true), (announced, false), (committed, true)] {
            let head = request.head.to_lowercase();
            assert_eq!((request.is_json(), head.contains(ENCLOSED)), (!is_raw, is_raw), "{says:?} {head}");
            assert_eq!(head.contains("authorization: bearer v4.public.grant"), is_granted, "{head}");
        }
        assert_eq!(published.with_manifest::<PublishRequest>(), publish);
        assert_eq!(announced.with_manifest::<AnnounceRequest>(), announce);
        assert_eq!(committed.with_manifest::<CommitRequest>(), commit);
    }
}

#[test]
fn a_manifest_goes_raw_to_a_peer_of_this_version_and_within_json_to_one_of_an_older_version() {
    let swarm = Swarm::start(1);
    let older = FakePeer::join_older(&swarm, 52, |chunk, _, out| answer(out, "200 X", chunk));
    let newer = FakePeer::join(&swarm, 53, |chunk, _, out| answer(out, "200 X", chunk));
    let (alice, bob) = (swarm.person(), swarm.person());
    let bytes = samples::bytes("both", 200_000);
    alice.write("file.bin", &bytes);
    bob.get(&alice.share(&["file.bin", "--replicas", "3"]));
    assert!(bob.read("file.bin") == bytes);
    for (peer, is_json) in [(older, true), (newer, false)] {
        let requests = peer.server.requests();
        let commits = requests.iter().filter(|request| request.path.ends_with("/manifest"));
        assert_eq!(commits.map(Request::is_json).collect::<Vec<_>>(), [is_json]);
    }
}
