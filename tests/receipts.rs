//! Receipts: what peers sign for, who needs them, and where they are kept.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use common::http::{self, Answer};
use common::person::Person;
use common::swarm::Swarm;
use common::tls;
use parcelry::journal::{OwnedShare, OwnedShares};
use parcelry_core::api::{Blob, ProblemKind};
use parcelry_core::id::PeerId;
use parcelry_core::link::ShareLink;
use parcelry_core::manifest::Manifest;
use parcelry_core::owner::Act;
use parcelry_core::receipt::Receipt;
use parcelry_core::seal::access_token;
use serde_json::{Value, json};

/// A share of three chunks on two peers: its link, manifest and terms, and the receipts that its sender kept.
fn share(swarm: &Swarm, alice: &Person) -> (ShareLink, Manifest, Value, OwnedShare) {
    alice.write("file.bin", &common::samples::bytes("receipts", 3 * 65_536 - 100));
    let link: ShareLink = alice.share(&["file.bin", "--chunk-size", "64KiB"]).parse().unwrap();
    let access = http::bearer(&access_token(&link.secret).expose_text());
    let path = format!("/v1/shares/{}", link.share);
    let answer = http::send(&swarm.tracker.address(), "GET", &path, &access, b"").json();
    let encoded: Blob = serde_json::from_value(answer["manifest"].clone()).unwrap();
    let manifest = Manifest::decode(encoded.0, link.share).unwrap();
    let owned =
        OwnedShares::new(&alice.home.path().join(".local/state/parcelry")).get(link.share).unwrap().unwrap();
    (link, manifest, answer["terms"].clone(), owned)
}

#[test]
fn the_sender_keeps_a_receipt_of_each_peer_and_shows_them() {
    let swarm = Swarm::start(2);
    let alice = swarm.person();
    let (link, manifest, _, owned) = share(&swarm, &alice);
    let mut peers = Vec::new();
    for token in &owned.receipts {
        let receipt = Receipt::verify(token).unwrap();
        let confirmed = receipt.confirms(link.share, manifest.digest(), 3).unwrap();
        assert!(confirmed.is_full());
        peers.push(receipt.peer());
    }
    peers.sort();
    let mut pins = [0, 1].map(|number| PeerId::from_bytes(swarm.peer_pin(number)));
    pins.sort();
    assert_eq!(peers, pins);
    let shown = alice.run(&["inspect", "--receipts", &link.expose_text()]).stdout;
    for name in ["p0", "p1"] {
        assert!(shown.contains(&format!("receipt   {name}: 3 of 3, signed ")), "{shown}");
    }
    let shown = alice.run(&["inspect", "--receipts", "--json", &link.expose_text()]).stdout;
    let shown: Value = serde_json::from_str(&shown).unwrap();
    assert_eq!(shown["receipts"].as_array().unwrap().len(), 2);
    let stranger = swarm.person().run(&["inspect", "--receipts", &link.expose_text()]);
    assert_eq!(stranger.code, 10, "{}", stranger.stderr);
}

#[test]
fn s4_who_says_that_others_hold_a_share_needs_their_receipts() {
    let swarm = Swarm::start(3);
    let alice = swarm.person();
    let (link, manifest, terms, owned) = share(&swarm, &alice);
    let (key, receipts) = (owned.key(), owned.receipts);
    let grant = swarm.grant(&key, 3 * 65_536 - 100);
    let headers = http::owned(&key, Act::Publish, swarm.tracker_pin(), &grant);
    let publish = |receipts: &[&String]| -> Answer {
        let manifest = Blob(manifest.encoded().to_vec());
        let body = json!({ "manifest": manifest, "terms": terms, "receipts": receipts });
        http::json(&swarm.tracker.address(), "PUT", &format!("/v1/shares/{}", link.share), &headers, &body)
    };
    let (first, second) = (&receipts[0], &receipts[1]);
    let full = parcelry_core::chunk_set::ChunkSet::full(3);
    let sign = |number: u8, manifest| {
        tls::identity(number).peer_key().receipt(link.share, manifest, &full, 1).unwrap()
    };
    let forged = sign(70, manifest.digest());
    let elsewhere = sign(70, parcelry_core::id::ChunkId::of(b"another manifest"));
    for too_little in [&[][..], &[first], &[first, first], &[first, &forged], &[first, &elsewhere]] {
        let answer = publish(too_little);
        assert_eq!(answer.problem(), ProblemKind::InvalidShare.urn(), "{}", answer.text());
    }
    assert_eq!(publish(&[first, second]).status, 204);
    // The third peer holds nothing, and nobody can say that it does.
    let access = http::bearer(&access_token(&link.secret).expose_text());
    let path = format!("/v1/shares/{}", link.share);
    let sources = http::send(&swarm.tracker.address(), "GET", &path, &access, b"").json()["sources"].clone();
    assert_eq!(sources.as_array().unwrap().len(), 2, "{sources}");
}
