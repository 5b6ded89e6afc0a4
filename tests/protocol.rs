//! The HTTP APIs as a stranger meets them: malformed, hostile and out-of-order requests.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use common::http::{self, Answer, get, owned, raw, send, share_key};
use common::samples;
use common::swarm::Swarm;
use parcelry_core::api::ProblemKind;
use parcelry_core::id::ChunkId;
use parcelry_core::link::ShareLink;
use parcelry_core::manifest::ShareKey;
use parcelry_core::owner::Act;
use parcelry_core::seal::access_token;
use serde_json::json;

const SHARE: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

#[track_caller]
fn refused(answer: &Answer, kind: ProblemKind) {
    assert_eq!(answer.status, kind.status(), "{}", answer.text());
    assert_eq!(answer.problem(), kind.urn(), "{}", answer.text());
}

/// Offers the share with this key, of one chunk, to the first peer.
fn offer(swarm: &Swarm, key: &ShareKey, total: u64) -> Answer {
    let body =
        json!({ "size": { "total_bytes": total, "chunk_bytes": 65536 }, "chunks": "1.gA", "known": [] });
    let (path, grant) = (format!("/v1/shares/{}/offer", key.share_id()), swarm.grant(key, total));
    let headers = owned(key, Act::Offer, swarm.peer_pin(0), &grant);
    http::json(&swarm.peers[0].address(), "POST", &path, &headers, &body)
}

#[test]
fn both_servers_describe_themselves() {
    let swarm = Swarm::start(1);
    for (address, role) in [(swarm.tracker.address(), "tracker"), (swarm.peers[0].address(), "peer")] {
        assert_eq!(get(&address, "/healthz").json()["role"], role);
        let api = get(&address, "/openapi.json").json();
        assert_eq!(api["openapi"], "3.1.0");
        assert!(api["paths"].as_object().unwrap().len() >= 5);
        let metrics = get(&address, "/metrics").text();
        assert!(metrics.ends_with("# EOF\n"), "{metrics}");
        let worker = if role == "peer" { "scrub" } else { "repair" };
        let is_well = format!("parcelry_worker_failing{{worker=\"{worker}\"}} 0\n");
        assert!(metrics.contains(&is_well), "{metrics}");
    }
}

#[test]
fn unknown_paths_methods_and_ids_are_problems() {
    let swarm = Swarm::start(1);
    let (tracker, peer) = (swarm.tracker.address(), swarm.peers[0].address());
    refused(&get(&tracker, "/nothing"), ProblemKind::NoRoute);
    refused(&send(&tracker, "DELETE", "/v1/shares", "", b""), ProblemKind::MethodNotAllowed);
    for id in
        ["x", "..%2f..%2fetc%2fpasswd", "%2e%2e", &"A".repeat(64), &"0".repeat(63), &"0".repeat(65), "%00"]
    {
        refused(&get(&peer, &format!("/v1/chunks/{id}")), ProblemKind::BadRequest);
    }
    refused(&get(&peer, &format!("/v1/chunks/{}", "0".repeat(64))), ProblemKind::ChunkNotFound);
}

#[test]
fn t5_malformed_bodies_are_refused_before_they_cost_anything() {
    let swarm = Swarm::start(1);
    let tracker = swarm.tracker.address();
    let key = share_key(1);
    let share = key.share_id();
    let credentials = owned(&key, Act::Open, swarm.tracker_pin(), &swarm.bearer("sender"));
    let headers = format!("Content-Type: application/json\r\n{credentials}");
    let post = |body: &[u8]| send(&tracker, "POST", "/v1/shares", &headers, body);
    let deep = "[".repeat(10_000);
    let open = |total: &str, replicas: &str| {
        let size = format!(r#"{{"total_bytes":{total},"chunk_bytes":65536}}"#);
        format!(r#"{{"share":"{share}","size":{size},"preferred":[],"replicas":{replicas}}}"#)
    };
    for body in [
        b"".as_slice(),
        b"{",
        b"null",
        b"\xff\xfe",
        deep.as_bytes(),
        open("-1", "2").as_bytes(),
        open("1e999", "2").as_bytes(),
        open("18446744073709551616", "2").as_bytes(),
        open("18446744073709551615", "2").as_bytes(),
        open("1", "0").as_bytes(),
        open("1", "17").as_bytes(),
        open("NaN", "2").as_bytes(),
        open("1", "2,\"extra\":1").as_bytes(),
        open("1", "2,\"replicas\":2").as_bytes(),
        open("1", "\"\\ud800\"").as_bytes(),
        format!("{{\"share\":\"\\udfff{share}\"}}").as_bytes(),
    ] {
        refused(&post(body), ProblemKind::BadRequest);
    }
    let announced = format!(
        "POST /v1/shares HTTP/1.1\r\nHost: {tracker}\r\nContent-Length: 99999999999\r\n{headers}\r\n"
    );
    refused(&raw(&tracker, announced.as_bytes()), ProblemKind::TooLarge);
    let good = open("1", "1");
    assert_eq!(post(good.as_bytes()).status, 200, "what was refused above was refused for its fault");
    for wrong in
        ["Content-Type: text/plain\r\n", "", "Content-Type: application/json\r\nContent-Encoding: gzip\r\n"]
    {
        let headers = format!("{wrong}{credentials}");
        refused(
            &send(&tracker, "POST", "/v1/shares", &headers, good.as_bytes()),
            ProblemKind::UnsupportedMediaType,
        );
    }
}

#[test]
fn a_chunk_needs_an_offer_the_right_hash_and_no_more_than_was_offered() {
    let swarm = Swarm::start(1);
    let peer = swarm.peers[0].address();
    let bytes = samples::bytes("chunk", 1016);
    let (path, grant) = (format!("/v1/chunks/{}", ChunkId::of(&bytes)), swarm.grant(&share_key(1), 1000));
    let put = |body: &[u8]| send(&peer, "PUT", &path, &grant, body);
    refused(&put(&bytes), ProblemKind::Conflict);
    assert_eq!(offer(&swarm, &share_key(1), 1000).status, 200);
    refused(&put(&samples::bytes("other", 1016)), ProblemKind::HashMismatch);
    refused(&put(&samples::bytes("longer", 1017)), ProblemKind::NoSpace);
    assert!(swarm.holders().is_empty());
    assert_eq!(put(&bytes).status, 204);
    assert_eq!(put(&bytes).status, 204, "the same again is no error");
    assert_eq!(swarm.chunk_files(0).len(), 1);
    assert_eq!(common::person::names_in(&swarm.peer_data(0).join("store/tmp")), [""; 0]);
    let huge = format!("PUT {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999\r\n{grant}\r\n");
    refused(&raw(&peer, huge.as_bytes()), ProblemKind::TooLarge);
    let unknown_length = format!(
        "PUT {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n{grant}\r\n0\r\n\r\n"
    );
    refused(&raw(&peer, unknown_length.as_bytes()), ProblemKind::BadRequest);
}

#[test]
fn the_refusal_of_a_large_chunk_reaches_a_sender_that_is_still_sending() {
    let swarm = Swarm::start(1);
    let peer = swarm.peers[0].address();
    let bytes = samples::bytes("large", 16 << 20);
    let (path, grant) = (format!("/v1/chunks/{}", ChunkId::of(&bytes)), swarm.grant(&share_key(1), 16 << 20));
    for _ in 0..5 {
        refused(&send(&peer, "PUT", &path, &grant, &bytes), ProblemKind::Conflict);
    }
}

#[test]
fn chunks_are_served_whole_or_in_ranges() {
    let swarm = Swarm::start(1);
    let peer = swarm.peers[0].address();
    let bytes = samples::bytes("range", 1016);
    let id = ChunkId::of(&bytes);
    offer(&swarm, &share_key(1), 1000);
    let path = format!("/v1/chunks/{id}");
    send(&peer, "PUT", &path, &swarm.grant(&share_key(1), 1000), &bytes);
    assert_eq!(get(&peer, &path).body, bytes);
    let part = send(&peer, "GET", &path, "Range: bytes=10-19\r\n", b"");
    assert_eq!((part.status, part.body.as_slice()), (206, &bytes[10..20]));
    assert!(part.head.to_lowercase().contains("content-range: bytes 10-19/1016"), "{}", part.head);
    refused(&send(&peer, "GET", &path, "Range: bytes=1016-\r\n", b""), ProblemKind::RangeNotSatisfiable);
    let head = send(&peer, "HEAD", &path, "", b"");
    assert!(head.status == 200 && head.body.is_empty());
    assert!(head.head.to_lowercase().contains("content-length: 1016"), "{}", head.head);
}

#[test]
fn an_offer_beyond_the_capacity_is_refused() {
    let mut swarm = Swarm::start(0);
    swarm.add_peer(0, &["--capacity", "100kB"]);
    let peer = swarm.peers[0].address();
    let full =
        json!({ "size": { "total_bytes": 131072, "chunk_bytes": 65536 }, "chunks": "2.wA", "known": [] });
    let key = share_key(1);
    let grant = owned(&key, Act::Offer, swarm.peer_pin(0), &swarm.grant(&key, 60_000));
    let path = format!("/v1/shares/{}/offer", key.share_id());
    refused(&http::json(&peer, "POST", &path, &grant, &full), ProblemKind::NoSpace);
    assert_eq!(offer(&swarm, &key, 60_000).status, 200);
}

#[test]
fn what_is_reserved_for_one_share_is_not_reserved_for_another() {
    let mut swarm = Swarm::start(0);
    swarm.add_peer(0, &["--capacity", "100kB"]);
    let (first, second) = (share_key(1), share_key(2));
    // The tracker learns of the space with the next heartbeat: ask for both grants before.
    let later = swarm.grant(&second, 60_000);
    assert_eq!(offer(&swarm, &first, 60_000).status, 200);
    let body =
        json!({ "size": { "total_bytes": 60_000, "chunk_bytes": 65536 }, "chunks": "1.gA", "known": [] });
    let peer = swarm.peers[0].address();
    let path = format!("/v1/shares/{}/offer", second.share_id());
    let headers = owned(&second, Act::Offer, swarm.peer_pin(0), &later);
    refused(&http::json(&peer, "POST", &path, &headers, &body), ProblemKind::NoSpace);
}

#[test]
fn a_share_is_read_with_its_access_token_only() {
    let swarm = Swarm::start(2);
    let alice = swarm.person();
    alice.write("file", b"x");
    let link: ShareLink = alice.share(&["file"]).parse().unwrap();
    let access = access_token(&link.secret).expose_text();
    let right = format!("Authorization: Bearer {access}\r\n");
    let wrong = format!("Authorization: Bearer {SHARE}\r\n");
    let share = link.share;
    for (address, path) in [
        (swarm.tracker.address(), format!("/v1/shares/{share}")),
        (swarm.peers[0].address(), format!("/v1/shares/{share}/chunks")),
        (swarm.peers[1].address(), format!("/v1/shares/{share}/manifest")),
    ] {
        refused(&get(&address, &path), ProblemKind::AccessDenied);
        refused(&send(&address, "GET", &path, &wrong, b""), ProblemKind::ShareNotFound);
        refused(
            &send(&address, "GET", &path, "Authorization: Basic eDp5\r\n", b""),
            ProblemKind::AccessDenied,
        );
        assert_eq!(send(&address, "GET", &path, &right, b"").status, 200, "{path}");
    }
}

#[test]
fn manifests_and_terms_need_the_share_keys_signature() {
    let swarm = Swarm::start(1);
    let (tracker, peer) = (swarm.tracker.address(), swarm.peers[0].address());
    let key = share_key(1);
    let (share, grant) = (key.share_id(), swarm.grant(&key, 1000));
    let publish = json!({ "manifest": "UFJDTA", "terms": "v4.public.x", "receipts": [] });
    let owner = owned(&key, Act::Publish, swarm.tracker_pin(), &grant);
    let answer = http::json(&tracker, "PUT", &format!("/v1/shares/{share}"), &owner, &publish);
    refused(&answer, ProblemKind::InvalidShare);
    let commit = json!({ "manifest": "UFJDTA", "terms": "v4.public.x", "chunks": "0." });
    let owner = owned(&key, Act::Commit, swarm.peer_pin(0), &grant);
    let answer = http::json(&peer, "PUT", &format!("/v1/shares/{share}/manifest"), &owner, &commit);
    refused(&answer, ProblemKind::InvalidShare);
    let terms = json!({ "terms": "v4.public.x" });
    let answer = http::json(&tracker, "PUT", &format!("/v1/shares/{share}/terms"), "", &terms);
    refused(&answer, ProblemKind::InvalidShare);
}

#[test]
fn what_cannot_be_read_breaks_off_after_its_head_and_its_length_is_told_without_reading() {
    let swarm = Swarm::start(1);
    let peer = swarm.peers[0].address();
    let bytes = samples::bytes("unreadable", 1016);
    offer(&swarm, &share_key(1), 1000);
    let path = format!("/v1/chunks/{}", ChunkId::of(&bytes));
    send(&peer, "PUT", &path, &swarm.grant(&share_key(1), 1000), &bytes);
    let chunk = &swarm.chunk_files(0)[0];
    std::fs::remove_file(chunk).unwrap();
    // Like a file on a disk that fails: it opens and has a length, and no byte of it can be read.
    std::fs::create_dir_all(chunk.join("within")).unwrap();
    let broken = get(&peer, &path);
    assert_eq!((broken.status, broken.body.len()), (200, 0), "{}", broken.head);
    assert_eq!(send(&peer, "HEAD", &path, "", b"").status, 200);
    let outside = format!("Range: bytes={}-\r\n", u64::MAX);
    refused(&send(&peer, "GET", &path, &outside, b""), ProblemKind::RangeNotSatisfiable);
}
