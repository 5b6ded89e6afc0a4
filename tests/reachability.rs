//! Peers that beat and cannot be reached, and a tracker that reaches nobody.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::sync::{Arc, Mutex};
use std::thread::sleep;
use std::time::Duration;

use common::proxy::{Proxy, Weather};
use common::swarm::Swarm;
use common::{http, samples, wait_for};
use serde_json::Value;

/// A swarm whose peers are reached through doors that a test can close; heartbeats go out beside them.
fn behind_doors(peers: usize) -> (Swarm, Vec<Proxy>) {
    let mut swarm = Swarm::start(0);
    let doors = (0..peers).map(|number| {
        let target = Arc::new(Mutex::new(String::new()));
        let door = Proxy::start(Arc::clone(&target));
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        *target.lock().unwrap() = port.to_string();
        swarm.add_peer(number, &["--listen", &port.to_string(), "--public-addr", &door.address]);
        door
    });
    let doors = doors.collect();
    (swarm, doors)
}

fn share(swarm: &Swarm) -> (Vec<u8>, String) {
    let alice = swarm.person();
    let bytes = samples::bytes("door", 300_000);
    alice.write("file.bin", &bytes);
    (bytes, alice.share(&["file.bin", "--chunk-size", "64KiB"]))
}

fn health(swarm: &Swarm) -> Value {
    swarm.person().run(&["status", "--json"]).document()["health"].clone()
}

/// The row of a peer in what the tracker tells.
fn row(swarm: &Swarm, number: usize) -> Value {
    let name = format!("p{number}");
    swarm.peer_list().into_iter().find(|peer| peer["name"] == *name).unwrap()
}

#[test]
fn a_peer_whose_door_is_closed_is_named_its_share_repaired_and_it_counts_again_when_it_is_open() {
    let (swarm, doors) = behind_doors(4);
    let (bytes, link) = share(&swarm);
    let [victim, _] = swarm.holders()[..] else { panic!("two holders") };
    doors[victim].set(Weather::Partition);
    wait_for("the closed door to be noticed", || row(&swarm, victim)["state"] == "unreachable");
    assert!(row(&swarm, victim)["silent_ms"].as_u64().unwrap() < 2000, "it beats on");
    let status = swarm.person().run(&["status"]).stdout;
    assert!(status.contains(&format!("p{victim}: unreachable for ")), "{status}");
    let metrics = http::get(&swarm.tracker.address(), "/metrics").text();
    assert!(metrics.contains("parcelry_tracker_peers{state=\"unreachable\"} 1"), "{metrics}");
    assert!(swarm.tracker.log().contains("cannot be reached"), "{}", swarm.tracker.log());
    wait_for("a copy at somebody else", || {
        let others = swarm.holders().into_iter().filter(|&peer| peer != victim);
        others.filter(|&peer| swarm.chunk_files(peer).len() == 5).count() == 2
    });
    wait_for("it not to count", || row(&swarm, victim)["doubt"]["is_gone"] == true);
    let bob = swarm.person();
    bob.get(&link);
    assert!(bob.read("file.bin") == bytes);
    doors[victim].set(Weather::Fair);
    wait_for("it to count again", || row(&swarm, victim)["state"] == "alive");
}

#[test]
fn n4_a_tracker_whose_way_out_is_closed_declares_nobody_dead() {
    let (swarm, doors) = behind_doors(3);
    let (bytes, link) = share(&swarm);
    let alice = swarm.person();
    alice.write("everywhere", b"x");
    alice.share(&["everywhere", "--replicas", "3"]);
    // What was only claimed stops counting by itself, after a dead time.
    let is_well =
        |health: Value| health["complete"] == true && health["unproven"] == 0 && health["weakened"] == 0;
    wait_for("all to be well, and proven", || is_well(health(&swarm)));
    doors.iter().for_each(|door| door.set(Weather::Partition));
    wait_for("nobody to be reached", || (0..3).all(|peer| row(&swarm, peer)["state"] == "unreachable"));
    wait_for("the tracker to suspect itself", || health(&swarm)["paused"] == true);
    // Two dead times.
    for _ in 0..12 {
        sleep(Duration::from_millis(500));
        let health = health(&swarm);
        let needy = ["weakened", "endangered", "unavailable", "lost"];
        assert!(needy.iter().all(|word| health[word] == 0), "{health}");
        assert!((0..3).all(|peer| row(&swarm, peer)["doubt"]["is_gone"] == false));
    }
    doors.iter().for_each(|door| door.set(Weather::Fair));
    wait_for("all to be reached", || (0..3).all(|peer| row(&swarm, peer)["state"] == "alive"));
    wait_for("repair to go on", || health(&swarm)["paused"] == false);
    let bob = swarm.person();
    bob.get(&link);
    assert!(bob.read("file.bin") == bytes);
}
