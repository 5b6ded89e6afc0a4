//! What a peer takes from whoever has a grant: nothing but what the grant is for.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::io::{Read, Write};
use std::net::TcpStream;

use common::http::{Answer, bearer, owned, send, share_key};
use common::swarm::Swarm;
use common::{samples, tls, wait_for};
use parcelry::identity::Identity;
use parcelry_core::api::ProblemKind;
use parcelry_core::grant::{Grant, Operation, TrackerKey};
use parcelry_core::id::{ChunkId, PeerId, ShareId};
use parcelry_core::limits::{PIECE_BYTES, TAG_BYTES};
use parcelry_core::link::ShareLink;
use parcelry_core::owner::Act;
use serde_json::json;

/// A chunk that was offered to a peer, and a grant with room for it and no more.
struct Pushing {
    swarm: Swarm,
    key: TrackerKey,
    good: Grant,
    chunk: Vec<u8>,
    path: String,
}

impl Pushing {
    fn new() -> Self {
        Self::of(1000, 65_536)
    }

    /// The only chunk of a share of so many bytes.
    fn of(total_bytes: usize, chunk_bytes: usize) -> Self {
        let swarm = Swarm::start(1);
        let key = Identity::read(&swarm.directory.path().join("tracker")).unwrap().unwrap().tracker_key();
        let chunk = samples::bytes("p1", total_bytes + TAG_BYTES);
        let path = format!("/v1/chunks/{}", ChunkId::of(&chunk));
        let budget_bytes = chunk.len() as u64;
        let good = Grant { budget_bytes, ..swarm.sound_grant(share_key(1).share_id()) };
        let size = json!({ "total_bytes": total_bytes, "chunk_bytes": chunk_bytes });
        let body = json!({ "size": size, "chunks": "1.gA", "known": [] });
        let (peer, offer) = (swarm.peers[0].address(), format!("/v1/shares/{}/offer", good.share));
        let headers = owned(&share_key(1), Act::Offer, swarm.peer_pin(0), &bearer(&key.sign(&good)));
        assert_eq!(common::http::json(&peer, "POST", &offer, &headers, &body).status, 200);
        Self { swarm, key, good, chunk, path }
    }

    fn put(&self, token: &str, body: &[u8]) -> Answer {
        send(&self.swarm.peers[0].address(), "PUT", &self.path, &bearer(token), body)
    }

    /// Sends a head with this length, then these bytes, then hangs up; what was answered until then.
    fn break_off(&self, length: usize, bytes: &[u8]) -> String {
        let credential = bearer(&self.key.sign(&self.good));
        let head = format!(
            "PUT {} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n{credential}",
            self.path
        );
        let mut stream = TcpStream::connect(self.swarm.peers[0].address()).unwrap();
        stream.write_all(&[head.as_bytes(), b"Connection: close\r\n\r\n", bytes].concat()).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let mut answer = String::new();
        let _ = stream.read_to_string(&mut answer);
        answer
    }
}

/// Grants that differ from a good one in one thing each.
#[test]
fn p1_a_chunk_is_taken_under_a_sound_grant_only() {
    let pushing = Pushing::new();
    let Pushing { swarm, key, good, chunk, .. } = &pushing;
    let now = parcelry::clock::now_ms();
    for (wrong, kind) in [
        (Grant { peers: vec![tls::identity(9).peer_id()], ..good.clone() }, ProblemKind::AccessDenied),
        (Grant { operation: Operation::Copy, ..good.clone() }, ProblemKind::AccessDenied),
        (Grant { expires_ms: now - 1, ..good.clone() }, ProblemKind::ClockSkew),
        (Grant { issued_ms: now + 3_600_000, ..good.clone() }, ProblemKind::ClockSkew),
        (Grant { budget_bytes: 1015, ..good.clone() }, ProblemKind::NoSpace),
        (Grant { share: ShareId::from_bytes([2; 32]), ..good.clone() }, ProblemKind::Conflict),
    ] {
        let answer = pushing.put(&key.sign(&wrong), chunk);
        assert_eq!(answer.problem(), kind.urn(), "{wrong:?}");
    }
    let skewed = pushing.put(&key.sign(&Grant { expires_ms: now - 1, ..good.clone() }), chunk).text();
    assert!(skewed.contains("the time at this peer"), "{skewed}");
    let signed = key.sign(good);
    for token in [
        signed.replace("v4.public.", "v3.public."),
        signed.replace("v4.public.", "v4.local."),
        format!("{signed}.Zm9v"),
        signed[..signed.len() - 4].to_owned(),
        format!("{}AAAA", &signed[..signed.len() - 4]),
        tls::identity(9).tracker_key().sign(good).to_string(),
    ] {
        assert_eq!(pushing.put(&token, chunk).status, 403);
    }
    assert!(swarm.chunk_files(0).is_empty());
    assert_eq!(pushing.put(&signed, chunk).status, 204, "what was refused above was refused for its fault");
}

#[test]
fn p1_other_bytes_lying_lengths_and_uploads_that_break_off_leave_nothing_and_cost_nothing() {
    let pushing = Pushing::new();
    let Pushing { swarm, key, good, chunk, .. } = &pushing;
    let token = key.sign(good);
    let other = pushing.put(&token, &samples::bytes("another body", 1016));
    assert_eq!(other.problem(), ProblemKind::HashMismatch.urn());
    for (length, bytes) in
        [(5, &chunk[..]), (5000, chunk), (1016, &chunk[..500]), (1016, b""), (1016, &chunk[..1015])]
    {
        let answer = pushing.break_off(length, bytes);
        assert!(!answer.starts_with("HTTP/1.1 2"), "{answer}");
    }
    assert!(swarm.chunk_files(0).is_empty());
    wait_for("no temporary", || common::person::names_in(&swarm.peer_data(0).join("store/tmp")).is_empty());
    wait_for("the budget to be whole again", || pushing.put(&token, chunk).status == 204);
    for _ in 0..100 {
        assert_eq!(pushing.put(&token, chunk).status, 204, "playing it again changes nothing");
    }
    assert_eq!(swarm.chunk_files(0).len(), 1);
}

#[test]
fn p1_an_upload_that_breaks_off_between_pieces_leaves_nothing_and_costs_nothing() {
    let pushing = Pushing::of(1_000_000, 1 << 20);
    let Pushing { swarm, key, good, chunk, .. } = &pushing;
    for end in [PIECE_BYTES - 1, PIECE_BYTES, PIECE_BYTES + 1, 2 * PIECE_BYTES, 3 * PIECE_BYTES + 7] {
        let answer = pushing.break_off(chunk.len(), &chunk[..end]);
        assert!(!answer.starts_with("HTTP/1.1 2"), "{answer}");
    }
    assert!(swarm.chunk_files(0).is_empty());
    wait_for("no temporary", || common::person::names_in(&swarm.peer_data(0).join("store/tmp")).is_empty());
    let token = key.sign(good);
    wait_for("the budget to be whole again", || pushing.put(&token, chunk).status == 204);
    assert!(std::fs::read(&swarm.chunk_files(0)[0]).unwrap() == *chunk);
}

#[test]
fn p6_a_share_cannot_claim_chunks_that_another_one_sent_and_its_end_takes_nothing_from_the_other() {
    let swarm = Swarm::start(2);
    let (alice, mallory) = (swarm.person(), swarm.person());
    alice.write("file", b"of Alice");
    let link: ShareLink = alice.share(&["file"]).parse().unwrap();
    let id = swarm.chunk_files(0)[0].file_name().unwrap().to_str().unwrap().to_owned();
    // Mallory knows the id, as everybody with the link does, and names it as his own.
    let own = share_key(9);
    let bytes = data_encoding::BASE64URL_NOPAD.encode(id.parse::<ChunkId>().unwrap().as_bytes());
    let body = json!({ "size": { "total_bytes": 8, "chunk_bytes": 65536 }, "chunks": "1.gA",
        "known": [{ "first_chunk": 0, "ids": bytes }] });
    for (number, peer) in swarm.peers.iter().enumerate() {
        let path = format!("/v1/shares/{}/offer", own.share_id());
        let grant = {
            let key = Identity::read(&swarm.directory.path().join("tracker")).unwrap().unwrap().tracker_key();
            let peers = vec![PeerId::from_bytes(swarm.peer_pin(0)), PeerId::from_bytes(swarm.peer_pin(1))];
            bearer(&key.sign(&Grant { peers, ..swarm.sound_grant(own.share_id()) }))
        };
        let headers = owned(&own, Act::Offer, swarm.peer_pin(number), &grant);
        let answer = common::http::json(&peer.address(), "POST", &path, &headers, &body);
        assert_eq!(answer.json()["held"], "1.AA", "{}", answer.text());
    }
    mallory.write("file", b"of Mallory");
    let own = mallory.share(&["file"]);
    assert_eq!(mallory.run(&["rm", &own]).code, 0);
    assert_eq!(mallory.run(&["rm", &link.expose_text()]).code, 10, "only the owner's key deletes");
    wait_for("Mallory's share to be dropped", || swarm.chunk_files(0).len() == 1);
    swarm.person().get(&link.expose_text());
}
