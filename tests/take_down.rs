//! What the tracker's operator took down: every peer stops serving it, keeps its bytes until the terms end, and serves it
//! again when a tracker that does not know of it comes.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::fs;

use common::http::{self, Answer};
use common::swarm::{Server, Swarm};
use common::{samples, wait_for};
use serde_json::json;
use swarmdrop_core::api::{Blob, Sample};
use swarmdrop_core::link::ShareLink;
use swarmdrop_core::manifest::Manifest;
use swarmdrop_core::seal::access_token;

const CHUNKS: usize = 3;

/// A share on two peers, as its readers see it.
struct Shared {
    bytes: Vec<u8>,
    text: String,
    path: String,
    access: String,
    manifest: Manifest,
}

fn share(swarm: &Swarm) -> Shared {
    let alice = swarm.person();
    let bytes = samples::bytes("taken down", CHUNKS * 65_536 - 100);
    alice.write("file.bin", &bytes);
    let text = alice.share(&["file.bin", "--chunk-size", "64KiB"]);
    let link: ShareLink = text.parse().unwrap();
    let access = http::bearer(&access_token(&link.secret).expose_text());
    let path = format!("/v1/shares/{}", link.share);
    let answer = http::send(&swarm.tracker.address(), "GET", &path, &access, b"").json();
    let manifest: Blob = serde_json::from_value(answer["manifest"].clone()).unwrap();
    let manifest = Manifest::decode(manifest.0, link.share).unwrap();
    Shared { bytes, text, path, access, manifest }
}

impl Shared {
    /// What a peer answers to everything by which a reader could get something of the share.
    fn ask(&self, peer: &str) -> Vec<Answer> {
        let (index, id) = self.manifest.chunks().next().unwrap();
        let offset = self.manifest.geometry().sealed_len(index) as u64 / 2;
        let sample = Sample { root: id, share: None, offset };
        let read = |path: String| http::send(peer, "GET", &path, &self.access, b"");
        vec![
            read(format!("/v1/chunks/{id}")),
            read(format!("{}/manifest", self.path)),
            read(format!("{}/chunks", self.path)),
            http::json(peer, "POST", "/v1/audits", "", &json!({ "samples": [sample] })),
        ]
    }

    /// How the tracker answers a look-up.
    fn status(&self, swarm: &Swarm) -> u16 {
        http::send(&swarm.tracker.address(), "GET", &self.path, &self.access, b"").status
    }

    fn is_served(&self, peer: &str) -> bool {
        self.ask(peer).iter().all(|answer| answer.status == 200)
    }

    fn is_withheld(&self, peer: &str) -> bool {
        self.ask(peer).iter().all(|answer| answer.status == 410 && answer.problem().ends_with(":share-gone"))
    }
}

#[test]
fn what_the_operator_takes_down_no_peer_serves_even_after_a_restart_and_a_tracker_that_knows_nothing_of_it_ends_it()
 {
    let mut swarm = Swarm::start(2);
    let shared = share(&swarm);
    let addresses: Vec<String> = swarm.peers.iter().map(Server::address).collect();
    assert!(addresses.iter().all(|peer| shared.is_served(peer)));
    let before = tempfile::tempdir().unwrap();
    swarm.restart_tracker_after(|data| {
        for name in ["tracker.db", "tracker.db-wal"] {
            fs::copy(data.join(name), before.path().join(name)).unwrap();
        }
    });
    wait_for("the tracker to have heard of it", || shared.status(&swarm) == 200);

    let admin = swarm.bearer("admin");
    assert_eq!(http::send(&swarm.tracker.address(), "DELETE", &shared.path, &admin, b"").status, 204);
    wait_for("both peers to withhold it", || addresses.iter().all(|peer| shared.is_withheld(peer)));
    for peer in [0, 1] {
        assert_eq!(swarm.chunk_files(peer).len(), CHUNKS, "the tracker's word takes no byte away");
    }

    // A peer that starts while there is no tracker knows it by itself.
    swarm.tracker.kill();
    swarm.peers[0].kill();
    swarm.peers[0] = Server::spawn(swarm.command_of_peer(0, &["--listen", &addresses[0]]));
    wait_for("the peer to answer", || std::net::TcpStream::connect(&addresses[0]).is_ok());
    assert!(shared.is_withheld(&addresses[0]));

    swarm.restart_tracker();
    wait_for("both peers to have told what they hold", || shared.status(&swarm) == 410);
    swarm.wait_for_peers(2, "alive");
    assert!(addresses.iter().all(|peer| shared.is_withheld(peer)), "the tracker still says so");
    let list = http::send(&swarm.tracker.address(), "GET", "/v1/shares", &swarm.bearer("admin"), b"").json();
    assert_eq!(list["shares"], json!([]));

    // A tracker of before the take-down.
    swarm.restart_tracker_after(|data| {
        let _ = fs::remove_file(data.join("tracker.db-shm"));
        for name in ["tracker.db", "tracker.db-wal"] {
            fs::copy(before.path().join(name), data.join(name)).unwrap();
        }
    });
    wait_for("both peers to serve it again", || addresses.iter().all(|peer| shared.is_served(peer)));
    let bob = swarm.person();
    bob.get(&shared.text);
    assert!(bob.read("file.bin") == shared.bytes);
}
