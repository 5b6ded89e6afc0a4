//! Who may do what: every call of both APIs with every kind of credential.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use common::http::{Answer, bearer, get, owned, send, share_key};
use common::swarm::Swarm;
use common::{tls, wait_for};
use parcelry::identity::Identity;
use parcelry_core::api::ProblemKind;
use parcelry_core::grant::{Grant, Operation};
use parcelry_core::id::{ChunkId, PeerId, Secret, ShareId};
use parcelry_core::link::{Invite, ShareLink};
use parcelry_core::manifest::ShareKey;
use parcelry_core::owner::Act;
use parcelry_core::seal::access_token;
use parcelry_core::token::TokenId;
use serde_json::{Value, json};

/// A call as the matrix makes it: where, method, path, body.
struct Call {
    at_tracker: bool,
    method: &'static str,
    path: String,
    body: Value,
    /// The credentials with which it is not refused.
    allowed: &'static [&'static str],
    /// What the share's owner has to want, beside the credential.
    act: Option<Act>,
}

/// A swarm with a share, and one of each credential: header lines and certificate.
struct Matrix {
    swarm: Swarm,
    link: ShareLink,
    /// The key of the share's owner.
    key: ShareKey,
    credentials: BTreeMap<&'static str, (String, Option<Identity>)>,
}

const CREDENTIALS: &[&str] = &[
    "none",
    "sender",
    "admin",
    "own certificate",
    "another certificate",
    "session",
    "session of another site",
    "cookie",
    "nonsense",
    "peer",
    "revoked",
    "over",
    "grant",
    "grant for another share",
    "grant of another tracker",
    "grant to copy",
    "access",
    "access of another share",
    "owner",
    "owner of another share",
    "owner, for another act",
    "owner, for another server",
    "owner, with another grant",
];

/// Credentials that open what only the admin may look at: what another site sends along changes nothing.
const LOOKS: &[&str] = &["admin", "session", "session of another site"];

/// The credentials of the form that an access token has: one that does not fit learns what fits no share.
const SECRETS: &[&str] = &["access", "access of another share", "sender", "peer", "admin", "revoked", "over"];

/// Whoever shows a sender's token, or none: one that is no good is refused, for its bearer is to hear that.
const NO_WRONG_TOKEN: &[&str] = CREDENTIALS.split_at(8).0;

/// Everything that comes with a sound grant, whatever its owner says; the first one is for another share.
const ANY_GRANT: &[&str] = &[
    "grant for another share",
    "grant",
    "owner",
    "owner of another share",
    "owner, for another act",
    "owner, for another server",
    "owner, with another grant",
];
/// Those that come with a sound grant for the share.
const GRANTS: &[&str] = ANY_GRANT.split_at(1).1;

impl Matrix {
    /// A sound credential for the call, with the word of an owner that fits or differs in one thing.
    fn owners_word(&self, call: &Call, credential: &str, at: [u8; 32]) -> String {
        let act = call.act.unwrap_or(Act::Commit);
        let shown = if act == Act::Open { "sender" } else { "grant" };
        let sound = &self.credentials[shown].0;
        match credential {
            "owner" => owned(&self.key, act, at, sound),
            "owner of another share" => owned(&share_key(1), act, at, sound),
            "owner, for another act" => {
                let other = if act == Act::Commit { Act::Offer } else { Act::Commit };
                owned(&self.key, other, at, sound)
            }
            "owner, for another server" => owned(&self.key, act, [1; 32], sound),
            // The owner's word for one credential, beside another one.
            _ => {
                let other = if act == Act::Open { "admin" } else { "grant for another share" };
                let word = owned(&self.key, act, at, &self.credentials[other].0);
                format!("{sound}{}\r\n", word.lines().nth(1).unwrap())
            }
        }
    }

    fn new() -> Self {
        let swarm = Swarm::start(1);
        let alice = swarm.person();
        alice.write("file", b"x");
        let link: ShareLink = alice.share(&["file", "--replicas", "1"]).parse().unwrap();
        let own = Identity::read(&swarm.peer_data(0)).unwrap().unwrap();
        let key = Identity::read(&swarm.directory.path().join("tracker")).unwrap().unwrap().tracker_key();
        let other_key = tls::identity(99).tracker_key();
        let grant = swarm.sound_grant(link.share);
        let other_share = Grant { share: ShareId::from_bytes([1; 32]), ..grant.clone() };
        // It belongs to a peer: without that peer's certificate it opens nothing.
        let bearer_id = Some(tls::identity(98).peer_id());
        let copy = Grant { operation: Operation::Copy, bearer: bearer_id, ..grant.clone() };
        let cookie = common::http::sign_in(&swarm);
        let mut credentials = BTreeMap::new();
        for (name, headers, certificate) in [
            ("session", format!("{cookie}Sec-Fetch-Site: same-origin\r\n"), None),
            ("session of another site", format!("{cookie}Sec-Fetch-Site: cross-site\r\n"), None),
            (
                "cookie",
                format!("{}\r\nSec-Fetch-Site: same-origin\r\n", cookie.lines().next().unwrap()),
                None,
            ),
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
        let key = alice.owner_key(link.share);
        Self { swarm, link, key, credentials }
    }

    fn calls(&self) -> Vec<Call> {
        let (peer, share) = (PeerId::from_bytes(self.swarm.peer_pin(0)), self.link.share);
        let mut calls = tracker_calls(peer, share);
        calls.extend(admin_calls(self.swarm.token("admin")));
        calls.extend(peer_calls(share));
        // Last: they remove what the others need.
        calls.extend([
            tracker("DELETE", format!("/v1/shares/{share}"), Value::Null, &["admin", "session"]),
            tracker(
                "DELETE",
                format!("/v1/peers/{peer}"),
                Value::Null,
                &["admin", "session", "own certificate"],
            ),
            tracker("DELETE", "/v1/session".into(), Value::Null, &["session"]),
        ]);
        calls
    }

    /// Makes the call as somebody on another machine would.
    fn make(&self, call: &Call, credential: &str) -> Answer {
        let (address, pin) = if call.at_tracker {
            (self.swarm.tracker.address(), self.swarm.tracker_pin())
        } else {
            (self.swarm.peers[0].address(), self.swarm.peer_pin(0))
        };
        let (headers, certificate) = match credential.starts_with("owner") {
            true => (self.owners_word(call, credential, pin), None),
            false => {
                let (headers, certificate) = &self.credentials[credential];
                (headers.clone(), certificate.as_ref())
            }
        };
        let headers = format!("X-Forwarded-For: 8.8.8.8\r\nContent-Type: application/json\r\n{headers}");
        let body = call.body.to_string();
        // A stream has no end: its head tells enough.
        let is_stream = call.path == "/v1/events" && call.allowed.contains(&credential);
        let method = if is_stream { "HEAD" } else { call.method };
        tls::send(&address, &pin, certificate, (method, &call.path), &headers, body.as_bytes())
    }
}

fn tracker(method: &'static str, path: String, body: Value, allowed: &'static [&'static str]) -> Call {
    Call { at_tracker: true, method, path, body, allowed, act: None }
}

/// A call that the share's owner alone may make, with a credential of his.
fn owned_by(act: Act, call: Call) -> Call {
    Call { allowed: &["owner"], act: Some(act), ..call }
}

/// A run of a peer.
const RUN: &str = "01010101010101010101010101010101";

fn tracker_calls(peer: PeerId, share: ShareId) -> Vec<Call> {
    let usage = json!({ "used_bytes": 0, "free_bytes": 0 });
    let register = json!({ "id": peer, "run": RUN, "name": "p", "addresses": [], "port": 1, "capacity_bytes": 1,
        "usage": usage, "zone": null, "version": "1" });
    let beat = json!({ "run": RUN, "usage": usage, "applied": [], "lost": [] });
    let size = json!({ "total_bytes": 1, "chunk_bytes": 65536 });
    let upload = json!({ "size": size, "replicas": 1 });
    let finish = json!({ "manifest": "UFJDTA", "terms": "v4.public.x" });
    let open = json!({ "share": share, "size": size, "replicas": 1, "preferred": [] });
    let publish = json!({ "manifest": "UFJDTA", "terms": "v4.public.x", "receipts": [] });
    let announce = json!({ "share": share, "manifest": "UFJDTA", "terms": "v4.public.x", "chunks": "0." });
    let complaint = json!({ "peer": peer, "chunk": null });
    let nothing = json!({ "shares": [], "after": null, "last": false });
    vec![
        tracker("POST", "/v1/peers".into(), register, &["own certificate"]),
        tracker(
            "GET",
            "/v1/peers".into(),
            Value::Null,
            &["sender", "peer", "admin", "session", "session of another site"],
        ),
        tracker("POST", format!("/v1/peers/{peer}/heartbeat"), beat, &["own certificate"]),
        tracker("POST", format!("/v1/peers/{peer}/inventory"), nothing, &["own certificate"]),
        tracker(
            "PUT",
            format!("/v1/peers/{peer}/drain"),
            json!({ "draining": false }),
            &["admin", "session"],
        ),
        tracker("POST", format!("/v1/peers/{peer}/shares"), announce, &["own certificate"]),
        tracker("GET", format!("/v1/peers/{peer}/shares/{share}"), Value::Null, &["own certificate"]),
        owned_by(Act::Open, tracker("POST", "/v1/shares".into(), open, &[])),
        owned_by(Act::Publish, tracker("PUT", format!("/v1/shares/{share}"), publish, &[])),
        tracker("GET", format!("/v1/shares/{share}"), Value::Null, SECRETS),
        tracker("POST", format!("/v1/shares/{share}/complaints"), complaint, SECRETS),
        tracker("GET", format!("/v1/shares/{share}/chunks/0"), Value::Null, SECRETS),
        owned_by(Act::Open, tracker("POST", format!("/v1/shares/{share}/upload"), upload, &[])),
        owned_by(Act::Delegate, tracker("PUT", format!("/v1/shares/{share}/delegation"), Value::Null, &[])),
        tracker("PUT", format!("/v1/shares/{share}/chunks/0"), Value::Null, GRANTS),
        tracker("PUT", format!("/v1/shares/{share}/upload"), finish, GRANTS),
        tracker("DELETE", format!("/v1/shares/{share}/upload"), Value::Null, GRANTS),
        // Signed by the share's key: the body is the credential.
        tracker(
            "PUT",
            format!("/v1/shares/{share}/terms"),
            json!({ "terms": "v4.public.x" }),
            NO_WRONG_TOKEN,
        ),
        tracker("GET", "/metrics".into(), Value::Null, LOOKS),
        tracker("GET", "/healthz".into(), Value::Null, CREDENTIALS),
        tracker("GET", "/openapi.json".into(), Value::Null, CREDENTIALS),
    ]
}

/// The calls of the operator's page.
fn admin_calls(token: String) -> Vec<Call> {
    let invite = json!({ "role": "admin", "name": "x", "expires_ms": null });
    vec![
        // The body is the credential.
        tracker("POST", "/v1/session".into(), json!({ "token": token }), CREDENTIALS),
        tracker("GET", "/v1/session".into(), Value::Null, &["session", "session of another site"]),
        tracker("GET", "/v1/invites".into(), Value::Null, LOOKS),
        tracker("POST", "/v1/invites".into(), invite, &["admin", "session"]),
        tracker("DELETE", "/v1/invites/0011223344556677".into(), Value::Null, &["admin", "session"]),
        tracker("GET", "/v1/shares".into(), Value::Null, LOOKS),
        tracker("GET", "/v1/events".into(), Value::Null, LOOKS),
    ]
}

fn peer_calls(share: ShareId) -> Vec<Call> {
    let call =
        |method, path, body, allowed| Call { at_tracker: false, method, path, body, allowed, act: None };
    let size = json!({ "total_bytes": 1, "chunk_bytes": 65536 });
    let offer = json!({ "size": size, "chunks": "1.gA", "known": [] });
    let commit = json!({ "manifest": "UFJDTA", "terms": "v4.public.x", "chunks": "0." });
    let (stored, unknown) = (ChunkId::of(b"null"), ChunkId::of(b"unknown"));
    vec![
        owned_by(Act::Offer, call("POST", format!("/v1/shares/{share}/offer"), offer, &[])),
        // The grant says for which share the chunk is.
        call("PUT", format!("/v1/chunks/{stored}"), Value::Null, ANY_GRANT),
        owned_by(Act::Commit, call("PUT", format!("/v1/shares/{share}/manifest"), commit, &[])),
        call("GET", format!("/v1/shares/{share}/manifest"), Value::Null, SECRETS),
        call("GET", format!("/v1/shares/{share}/chunks"), Value::Null, SECRETS),
        call("GET", format!("/v1/chunks/{unknown}"), Value::Null, CREDENTIALS),
        call("POST", "/v1/audits".into(), json!({ "samples": [] }), CREDENTIALS),
        call("GET", "/metrics".into(), Value::Null, &[]),
        call("GET", "/healthz".into(), Value::Null, CREDENTIALS),
        call("GET", "/openapi.json".into(), Value::Null, CREDENTIALS),
    ]
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
    assert_eq!(alice.run(&["extend", &link, "2d"]).code, 4, "nor is it told that it lives longer");
    assert_eq!(swarm.person().run(&["get", &link]).code, 4);
}

#[test]
fn owner_operations_played_again_change_nothing() {
    let swarm = Swarm::start(2);
    let alice = swarm.person();
    alice.write("file", b"x");
    let link = alice.share(&["file"]);
    let parsed: ShareLink = link.parse().unwrap();
    let (tracker, path) = (swarm.tracker.address(), format!("/v1/shares/{}", parsed.share));
    let access = bearer(&access_token(&parsed.secret).expose_text());
    let terms = || send(&tracker, "GET", &path, &access, b"").json()["terms"].clone();
    let put = |terms: &Value| {
        common::http::json(&tracker, "PUT", &format!("{path}/terms"), "", &json!({ "terms": terms }))
    };
    let first = terms();
    assert_eq!(alice.run(&["extend", &link, "30d"]).code, 0);
    let extended = terms();
    assert_eq!(put(&first).problem(), ProblemKind::Conflict.urn());
    assert_eq!(terms(), extended, "old terms do not come back");
    assert_eq!(put(&extended).status, 204, "the same terms again are no error");
    assert_eq!(alice.run(&["rm", &link]).code, 0);
    assert_eq!(put(&extended).problem(), ProblemKind::ShareGone.urn(), "what was deleted stays deleted");
    assert_eq!(swarm.person().run(&["get", &link]).code, 4);
}

/// A copy of a tracker's directory knows nothing of what was revoked after it was made.
#[test]
fn a_tracker_that_was_restored_says_that_revoked_invites_are_good_again_and_one_command_ends_them() {
    let mut swarm = Swarm::start(0);
    let (directory, kept) = (swarm.directory.path().join("tracker"), swarm.directory.path().join("kept"));
    swarm.restart_tracker_after(|data| copy_directory(data, &kept));
    let lets_in = |swarm: &Swarm, role| {
        common::http::send(&swarm.tracker.address(), "GET", "/v1/peers", &swarm.bearer(role), b"").status
    };
    assert!(!swarm.tracker.log().contains("is a copy"), "{}", swarm.tracker.log());
    let ids: Vec<String> = ["sender", "peer"]
        .map(|role| TokenId::of_token(&Secret::parse(&swarm.token(role)).unwrap()).to_string())
        .into();
    let revoke = |swarm: &Swarm, ids: &[&str]| swarm.operator(&[&["tokens", "revoke"], ids].concat());
    let ran = revoke(&swarm, &[&ids[0], "0011223344556677", &ids[1]]);
    assert_eq!(ran.code, 3, "{}", ran.stderr);
    assert_eq!(revoke(&swarm, &["0011223344556677"]).code, 4);
    assert_eq!((lets_in(&swarm, "sender"), lets_in(&swarm, "peer")), (403, 403));
    let listed = swarm.operator(&["tokens", "ls", "--revoked"]).stdout;
    assert_eq!(listed.lines().count(), 2, "{listed}");

    swarm.restart_tracker_after(|data| {
        fs::remove_dir_all(data).unwrap();
        copy_directory(&kept, &directory);
    });
    assert!(swarm.tracker.log().contains("is a copy") && swarm.tracker.log().contains("tokens revoke"));
    assert_eq!((lets_in(&swarm, "sender"), lets_in(&swarm, "peer")), (200, 200), "as it says");
    let again: Vec<&str> = listed.lines().collect();
    assert_eq!(revoke(&swarm, &again).code, 0);
    assert_eq!((lets_in(&swarm, "sender"), lets_in(&swarm, "peer")), (403, 403));
    swarm.restart_tracker();
    assert!(!swarm.tracker.log().contains("is a copy"), "it is said once");
}

fn copy_directory(from: &std::path::Path, to: &std::path::Path) {
    fs::create_dir_all(to).unwrap();
    for file in fs::read_dir(from).unwrap().map(Result::unwrap).filter(|file| file.path().is_file()) {
        fs::copy(file.path(), to.join(file.file_name())).unwrap();
    }
}
