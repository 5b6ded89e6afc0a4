//! A sender who has somebody else's link, an invite of the swarm, and even a grant for that share, but not its key.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use common::http::{bearer, json, owned, send, share_key};
use common::samples;
use common::swarm::Swarm;
use parcelry::identity::Identity;
use parcelry_core::chunk_set::ChunkSet;
use parcelry_core::grant::Grant;
use parcelry_core::id::PeerId;
use parcelry_core::link::ShareLink;
use parcelry_core::owner::Act;
use parcelry_core::seal::access_token;
use serde_json::{Value, json};

const CALLS: u64 = 400;

/// What everybody with the link sees of who holds the share.
fn look_up(swarm: &Swarm, link: &ShareLink) -> Value {
    let access = bearer(&access_token(&link.secret).expose_text());
    send(&swarm.tracker.address(), "GET", &format!("/v1/shares/{}", link.share), &access, b"").json()
}

/// A sequence of numbers that is the same in each run.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, bound: u64) -> u64 {
        let hash = blake3::hash(&self.0.to_le_bytes());
        self.0 += 1;
        u64::from_le_bytes(hash.as_bytes()[..8].try_into().unwrap()) % bound
    }

    fn one_of<'a, T>(&mut self, things: &'a [T]) -> &'a T {
        &things[usize::try_from(self.below(things.len() as u64)).unwrap()]
    }
}

#[test]
fn s1_s4_a_foreign_sender_takes_nothing_of_a_share_away_and_moves_nothing() {
    let swarm = Swarm::start(3);
    let alice = swarm.person();
    alice.write("file", &samples::bytes("foreign sender", 200_000));
    let link: ShareLink = alice.share(&["file", "--chunk-size", "64KiB"]).parse().unwrap();
    let chunks_of = || (0..3).map(|peer| swarm.chunk_files(peer)).collect::<Vec<_>>();
    let (before, files) = (look_up(&swarm, &link), chunks_of());

    let tracker_key = Identity::read(&swarm.directory.path().join("tracker")).unwrap().unwrap().tracker_key();
    let peers: Vec<PeerId> = (0..3).map(|number| PeerId::from_bytes(swarm.peer_pin(number))).collect();
    let mallory = share_key(66);
    let grant = |share| Grant { peers: peers.clone(), budget_bytes: 1 << 30, ..swarm.sound_grant(share) };
    let [stolen, own] =
        [link.share, mallory.share_id()].map(|share| bearer(&tracker_key.sign(&grant(share))));
    let access = bearer(&access_token(&link.secret).expose_text());
    let credentials = [stolen, own, swarm.bearer("sender"), access];
    let mut pins: Vec<[u8; 32]> = (0..3).map(|number| swarm.peer_pin(number)).collect();
    pins.push(swarm.tracker_pin());

    let mut numbers = Numbers(1);
    let size = json!({ "total_bytes": 200_000, "chunk_bytes": 65536 });
    for _ in 0..CALLS {
        let set =
            numbers.one_of(&[ChunkSet::empty(4), ChunkSet::full(4), ChunkSet::range(4, 1..3)]).to_string();
        let act = *numbers.one_of(&[Act::Open, Act::Offer, Act::Commit, Act::Publish, Act::Delegate]);
        let at = *numbers.one_of(&pins);
        let credential = numbers.one_of(&credentials).clone();
        // His own word for the other share, or none.
        let headers = match numbers.below(4) {
            0 => credential,
            _ => owned(&mallory, act, at, &credential),
        };
        let number = usize::try_from(numbers.below(3)).unwrap();
        let (peer, tracker) = (swarm.peers[number].address(), swarm.tracker.address());
        let (manifest, terms, share) = (&before["manifest"], &before["terms"], link.share);
        let path = format!("/v1/shares/{share}");
        let (address, method, path, body) = match numbers.below(7) {
            0 => (
                tracker,
                "POST",
                "/v1/shares".into(),
                json!({ "share": share, "size": size, "replicas": 2, "preferred": [] }),
            ),
            1 => (tracker, "PUT", path, json!({ "manifest": manifest, "terms": terms, "receipts": [] })),
            2 => (tracker, "POST", format!("{path}/upload"), json!({ "size": size, "replicas": 2 })),
            3 => (tracker, "PUT", format!("{path}/delegation"), Value::Null),
            4 => (peer, "POST", format!("{path}/offer"), json!({ "size": size, "chunks": set, "known": [] })),
            _ => (
                peer,
                "PUT",
                format!("{path}/manifest"),
                json!({ "manifest": manifest, "terms": terms, "chunks": set }),
            ),
        };
        let answer = json(&address, method, &path, &headers, &body);
        assert_eq!(answer.status, 403, "{method} {path}: {}", answer.text());
    }
    assert_eq!(look_up(&swarm, &link), before);
    assert_eq!(chunks_of(), files);
    let bob = swarm.person();
    bob.get(&link.expose_text());
    assert_eq!(bob.read("file"), samples::bytes("foreign sender", 200_000));
}
