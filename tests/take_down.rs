//! What the tracker's operator took down: every peer stops serving it, keeps its bytes until the terms end, and serves it
//! again when a tracker that does not know of it comes.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::fs;

use common::by_hand;
use common::http::{self, Answer};
use common::swarm::{Server, Swarm};
use common::{samples, wait_for};
use parcelry_core::api::{Blob, Sample};
use parcelry_core::geometry::{ChunkSize, Geometry};
use parcelry_core::link::ShareLink;
use parcelry_core::manifest::Manifest;
use parcelry_core::seal::access_token;
use serde_json::json;

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
    of_link(swarm, text, bytes)
}

fn of_link(swarm: &Swarm, text: String, bytes: Vec<u8>) -> Shared {
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

/// A peer that committed and was replaced before the share was published is in no tracker's list of those that hold it.
#[test]
fn a_peer_of_whose_replica_the_tracker_was_never_told_hears_of_the_take_down_with_its_heartbeats() {
    let swarm = Swarm::start(2);
    let geometry = Geometry::new(4, ChunkSize::from_log2(16).unwrap()).unwrap();
    let metadata = json!({
        "original_filename": "f", "extension": "", "size": 4, "chunk_count": 1, "created": "2026-01-01T00:00:00Z",
        "dirs": [],
        "files": [{ "path": "f", "offset": 0, "size": 4, "executable": false, "modified": "2026-01-01T00:00:00Z" }],
    });
    let text = by_hand::publish_beside_spares(&swarm, geometry, &metadata.to_string(), |keys| {
        let mut sealed = b"evil".to_vec();
        keys.seal_chunk(&geometry, geometry.index(0).unwrap(), &mut sealed);
        sealed
    });
    let shared = of_link(&swarm, text, b"evil".to_vec());
    let addresses: Vec<String> = swarm.peers.iter().map(Server::address).collect();
    assert!(addresses.iter().all(|peer| shared.is_served(peer)));
    let look_up = http::send(&swarm.tracker.address(), "GET", &shared.path, &shared.access, b"").json();
    assert_eq!(look_up["sources"].as_array().unwrap().len(), 1, "{look_up}");
    let admin = swarm.bearer("admin");
    assert_eq!(http::send(&swarm.tracker.address(), "DELETE", &shared.path, &admin, b"").status, 204);
    wait_for("both peers to withhold it", || addresses.iter().all(|peer| shared.is_withheld(peer)));
}
