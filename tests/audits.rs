//! Proofs of what a peer holds: right ones, none for what is not there, and how much may be asked for.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::fs;
use std::path::Path;

use common::http::{self, Answer};
use common::swarm::Swarm;
use common::{samples, tls, wait_for};
use parcelry::identity::Identity;
use parcelry_core::api::{AuditResponse, Blob, ProblemKind, Proof, Sample, Verdict};
use parcelry_core::id::{ChunkId, ShareId};
use parcelry_core::link::ShareLink;
use parcelry_core::manifest::Manifest;
use parcelry_core::seal::access_token;
use serde_json::{Value, json};

fn ask(swarm: &Swarm, samples: &[Sample]) -> Answer {
    let body = json!({ "samples": samples });
    http::json(&swarm.peers[0].address(), "POST", "/v1/audits", "", &body)
}

fn proofs(swarm: &Swarm, samples: &[Sample]) -> Vec<Proof> {
    let answer = ask(swarm, samples);
    assert_eq!(answer.status, 200, "{}", answer.text());
    serde_json::from_slice::<AuditResponse>(&answer.body).unwrap().proofs
}

fn of_chunk(root: ChunkId, offset: u64) -> Sample {
    Sample { root, share: None, offset }
}

/// A share of some chunks on one peer, and its manifest.
fn share(swarm: &Swarm, chunks: usize) -> (String, Manifest) {
    let alice = swarm.person();
    alice.write("file.bin", &samples::bytes("audited", chunks * 65_536 - 100));
    let text = alice.share(&["file.bin", "--chunk-size", "64KiB", "--replicas", "1"]);
    let link: ShareLink = text.parse().unwrap();
    let access = http::bearer(&access_token(&link.secret).expose_text());
    let path = format!("/v1/shares/{}", link.share);
    let answer = http::send(&swarm.tracker.address(), "GET", &path, &access, b"").json();
    let manifest: Blob = serde_json::from_value(answer["manifest"].clone()).unwrap();
    (text, Manifest::decode(manifest.0, link.share).unwrap())
}

#[test]
fn a_peer_proves_what_it_holds_and_nothing_else() {
    let swarm = Swarm::start_seldom_audited(1);
    let (_, manifest) = share(&swarm, 3);
    swarm.wait_for_proofs();
    let (share, encoded) = (manifest.share(), manifest.encoded());
    let digest = ChunkId::of(encoded);
    let mut samples = Vec::new();
    let mut lengths = Vec::new();
    for (index, id) in manifest.chunks() {
        let len = manifest.geometry().sealed_len(index) as u64;
        for offset in [len - 1, 0, len / 2] {
            samples.push(of_chunk(id, offset));
            lengths.push(len);
        }
    }
    samples.push(Sample { root: digest, share: Some(share), offset: encoded.len() as u64 - 1 });
    lengths.push(encoded.len() as u64);
    // Mixed up: the answers come in the order of the samples, whatever the order in which chunks are read.
    for (a, b) in [(0, 5), (3, 9), (1, 8)] {
        samples.swap(a, b);
        lengths.swap(a, b);
    }
    // The sender has had some of it proved, and the tracker.
    let audited = || http::metric(&swarm.peers[0].address(), "parcelry_peer_audited_bytes_total");
    let before = audited();
    for (proof, (sample, len)) in proofs(&swarm, &samples).iter().zip(samples.iter().zip(&lengths)) {
        assert_eq!(proof.judge(sample, *len), Verdict::Proven, "{sample:?}");
    }
    let stored = http::metric(&swarm.peers[0].address(), "parcelry_peer_stored_bytes_total");
    assert_eq!(audited() - before, stored + encoded.len() as u64, "each was read once");

    let (_, chunk) = manifest.chunks().next().unwrap();
    let not_there = [
        of_chunk(ChunkId::of(b"unknown"), 0),
        of_chunk(digest, 0),
        of_chunk(chunk, 1 << 30),
        of_chunk(chunk, u64::MAX),
        Sample { root: chunk, share: Some(share), offset: 0 },
        Sample { root: digest, share: Some(ShareId::from_bytes([1; 32])), offset: 0 },
        Sample { root: digest, share: Some(share), offset: 1 << 40 },
    ];
    for (proof, sample) in proofs(&swarm, &not_there).iter().zip(&not_there) {
        assert_eq!(proof.judge(sample, 1 << 30), Verdict::NotHeld, "{sample:?}");
    }
    assert_eq!(proofs(&swarm, &[]), []);
}

#[test]
fn a_rotten_chunk_is_not_held_and_the_tracker_hears_of_it() {
    let swarm = Swarm::start(1);
    let (link, manifest) = share(&swarm, 2);
    let (index, rotten) = manifest.chunks().next().unwrap();
    let file = swarm.chunk_files(0).into_iter().find(|file| file.ends_with(rotten.to_string())).unwrap();
    let mut bytes = fs::read(&file).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    fs::write(&file, bytes).unwrap();
    let good = manifest.chunks().nth(1).unwrap();
    // The bit is in another piece than the one that is asked for.
    let asked = [of_chunk(rotten, 0), of_chunk(good.1, 0)];
    let answers = proofs(&swarm, &asked);
    let len = |index| manifest.geometry().sealed_len(index) as u64;
    assert_eq!(answers[0].judge(&asked[0], len(index)), Verdict::NotHeld);
    assert_eq!(answers[1].judge(&asked[1], len(good.0)), Verdict::Proven);
    wait_for("the tracker to know that a chunk is lost", || {
        swarm.person().run(&["status"]).stdout.contains("1 lost")
    });
    assert!(!file.exists(), "it was set aside");
    assert_ne!(swarm.person().run(&["get", &link]).code, 0);
}

/// Puts a chunk of so many bytes into the store of a peer that does not run.
fn put_chunk(store: &Path, number: u8, bytes: usize) -> ChunkId {
    let content = vec![number; bytes];
    let name = ChunkId::of(&content).to_string();
    fs::write(store.join("chunks").join(&name[..2]).join(&name), content).unwrap();
    ChunkId::of(&vec![number; bytes])
}

#[test]
fn what_is_read_for_audits_is_bounded_per_request_and_per_address_and_the_tracker_has_its_own_share() {
    const CHUNK: usize = (16 << 20) + 16;
    let mut swarm = Swarm::start(1);
    swarm.peers[0].kill();
    let store = swarm.peer_data(0).join("store");
    let large: Vec<ChunkId> = (1..=4).map(|number| put_chunk(&store, number, CHUNK)).collect();
    let small = put_chunk(&store, 5, 100);
    swarm.add_peer(0, &["--audit-rate", "4MiB"]);

    let many = vec![of_chunk(small, 0); 65];
    assert_eq!(ask(&swarm, &many).problem(), ProblemKind::BadRequest.urn());
    let all: Vec<Sample> = large.iter().map(|&id| of_chunk(id, 0)).collect();
    assert_eq!(ask(&swarm, &all).problem(), ProblemKind::TooLarge.urn());

    assert_eq!(proofs(&swarm, &all[..1])[0].judge(&all[0], CHUNK as u64), Verdict::Proven);
    let refused = ask(&swarm, &[of_chunk(small, 0)]);
    assert_eq!((refused.status, refused.problem()), (429, ProblemKind::TooManyRequests.urn().to_owned()));
    let seconds: u64 = refused.header("retry-after").unwrap().parse().unwrap();
    assert!((8..=12).contains(&seconds), "16 MiB at 1 MiB/s, less the backlog: {seconds}");
    assert_eq!(
        proofs(&swarm, &[of_chunk(ChunkId::of(b"unknown"), 0)])[0].slice,
        None,
        "nothing is read for it"
    );

    let tracker = Identity::read(&swarm.directory.path().join("tracker")).unwrap().unwrap();
    let ask_as = |identity: &Identity| {
        let (body, headers) =
            (json!({ "samples": [of_chunk(small, 99)] }), "Content-Type: application/json\r\n");
        let (address, pin) = (swarm.peers[0].address(), swarm.peer_pin(0));
        tls::send(
            &address,
            &pin,
            Some(identity),
            ("POST", "/v1/audits"),
            headers,
            body.to_string().as_bytes(),
        )
    };
    assert_eq!(ask_as(&tls::identity(60)).status, 429, "a certificate of another key changes nothing");
    let answer = ask_as(&tracker);
    assert_eq!(answer.status, 200, "{}", answer.text());
    let proof: Proof = serde_json::from_value(answer.json()["proofs"][0].clone()).unwrap();
    assert_eq!(proof.judge(&of_chunk(small, 99), 100), Verdict::Proven);
}

#[test]
fn what_is_no_audit_is_refused() {
    let swarm = Swarm::start(1);
    let root = ChunkId::of(b"x").to_string();
    let post = |body: &Value| http::json(&swarm.peers[0].address(), "POST", "/v1/audits", "", body).status;
    assert_eq!(post(&json!({ "samples": [{ "root": root, "share": null, "offset": 0 }] })), 200);
    for wrong in [
        json!({}),
        json!({ "samples": [{ "root": root, "share": null }] }),
        json!({ "samples": [{ "root": root, "share": null, "offset": -1 }] }),
        json!({ "samples": [{ "root": root.to_uppercase(), "share": null, "offset": 0 }] }),
        json!({ "samples": [{ "root": root, "share": "x", "offset": 0 }] }),
        json!({ "samples": [], "more": 1 }),
    ] {
        assert_eq!(post(&wrong), 400, "{wrong}");
    }
}

#[test]
fn each_proof_counts_however_small_the_chunk_is_that_all_are_about() {
    let mut swarm = Swarm::start(1);
    swarm.peers[0].kill();
    let small = put_chunk(&swarm.peer_data(0).join("store"), 5, 100);
    swarm.add_peer(0, &["--audit-rate", "256KiB"]);
    let many = vec![of_chunk(small, 0); 64];
    // At 64 KiB a second for an address they count as a minute's work.
    assert_eq!(ask(&swarm, &many).status, 200);
    assert_eq!(ask(&swarm, &[of_chunk(small, 0)]).status, 429);
}
