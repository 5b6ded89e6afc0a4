//! Peers that move, are cloned, or are told to a tracker that was restored from an old copy of its directory.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::fs;
use std::io;
use std::net::Ipv4Addr;
use std::thread::sleep;
use std::time::Duration;

use common::fake::{Fake, Out, Request, answer_json, register_request};
use common::swarm::Swarm;
use common::{copy_directory, http, samples, tls, wait_for};
use parcelry_core::id::PeerId;
use parcelry_core::link::ShareLink;
use parcelry_core::seal::access_token;
use serde_json::{Value, json};

fn share(swarm: &Swarm, name: &str) -> (Vec<u8>, String) {
    let alice = swarm.person();
    let bytes = samples::bytes(name, 300_000);
    alice.write("file.bin", &bytes);
    (bytes, alice.share(&["file.bin", "--chunk-size", "64KiB"]))
}

fn get(swarm: &Swarm, link: &str) -> Vec<u8> {
    let bob = swarm.person();
    bob.get(link);
    bob.read("file.bin")
}

fn states(swarm: &Swarm) -> Vec<String> {
    swarm.peer_list().iter().map(|peer| peer["state"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn f50_a_tracker_restored_from_an_old_copy_learns_what_came_later_and_no_peer_restarts() {
    let mut swarm = Swarm::start(2);
    let (_, old) = share(&swarm, "old");
    let owner = swarm.person();
    owner.write("doomed.bin", &samples::bytes("doomed", 100_000));
    let doomed = owner.share(&["doomed.bin", "--chunk-size", "64KiB"]);
    let copy = swarm.directory.path().join("copy");
    swarm.restart_tracker_after(|data| copy_directory(data, &copy));
    swarm.wait_for_peers(2, "alive");
    let (bytes, link) = share(&swarm, "new");
    let before = swarm.chunk_files(0).len();
    assert_eq!(owner.run(&["rm", &doomed]).code, 0);
    wait_for("the deletion at the peers", || swarm.chunk_files(0).len() == before - 2);
    swarm.restart_tracker_after(|data| {
        fs::remove_dir_all(data).unwrap();
        copy_directory(&copy, data);
    });
    wait_for("the new share", || swarm.person().fewest_replicas(&link) == 2);
    assert!(get(&swarm, &link) == bytes);
    assert_eq!(swarm.person().fewest_replicas(&old), 2);
    let gone = swarm.person().run(&["get", &doomed]);
    assert_eq!(gone.code, 4, "what was deleted stays deleted: {}", gone.stderr);
    let health = swarm.person().run(&["status", "--json"]).document()["health"].clone();
    assert!(
        ["weakened", "endangered", "unavailable", "lost"].iter().all(|word| health[word] == 0),
        "{health}"
    );
    for peer in &swarm.peers {
        assert!(!peer.log().contains("registering again"), "an inventory is all that it takes");
    }
}

#[test]
fn f50_a_tracker_that_has_just_started_shows_no_share_of_which_it_has_not_heard_a_holder() {
    let mut swarm = Swarm::start_with(2, &["--heartbeat", "2s", "--dead-after", "1m"]);
    let (bytes, link) = share(&swarm, "known");
    let known: ShareLink = link.parse().unwrap();
    let access = http::bearer(&access_token(&known.secret).expose_text());
    let look_up = |swarm: &Swarm, share: &str| {
        http::send(&swarm.tracker.address(), "GET", &format!("/v1/shares/{share}"), &access, b"")
    };
    let (known, unknown) = (known.share.to_string(), tls::identity(9).peer_id().to_string());
    swarm.peers.iter_mut().for_each(common::swarm::Server::kill);
    swarm.restart_tracker();
    for share in [&known, &unknown] {
        let answer = look_up(&swarm, share);
        assert_eq!((answer.status, answer.header("retry-after").is_some()), (503, true), "{}", answer.text());
    }
    wait_for("two heartbeats", || look_up(&swarm, &known).status == 200);
    assert_eq!(look_up(&swarm, &unknown).status, 404);
    swarm.restart_tracker();
    swarm.add_peer(0, &[]);
    assert!(get(&swarm, &link) == bytes, "a receiver waits for it");
}

#[test]
fn f35_two_machines_with_one_key_are_named_and_the_one_that_is_left_counts_for_what_it_holds() {
    let mut swarm = Swarm::start(2);
    let (before, old) = share(&swarm, "before");
    let data = swarm.directory.path().join("p2");
    fs::create_dir_all(&data).unwrap();
    copy_directory(&swarm.peer_data(0).join("store"), &data.join("store"));
    fs::copy(swarm.peer_data(0).join("identity.key"), data.join("identity.key")).unwrap();
    swarm.add_peer(2, &[]);
    wait_for("both to be named", || states(&swarm).contains(&"cloned".to_owned()));
    let status = swarm.person().run(&["status"]).stdout;
    assert!(status.contains("two machines run with its key: stop one of them"), "{status}");
    for machine in [0, 2] {
        let told = || swarm.peers[machine].log().contains("another machine runs with this peer's key");
        wait_for("each to be told", told);
    }
    let refused = swarm.person().run(&["share", "--replicas", "2", "--wait", "1s", "/etc/hostname"]);
    assert_ne!(refused.code, 0, "nothing new is placed on either");
    swarm.peers[2].kill();
    swarm.wait_for_peers(2, "alive");
    let (bytes, link) = share(&swarm, "after");
    assert!(get(&swarm, &link) == bytes && get(&swarm, &old) == before);
    assert_eq!(swarm.person().run(&["verify", &link]).code, 0);
}

/// What a peer answers that is asked who it is.
fn health(id: PeerId) -> impl Fn(&Request, Out<'_>) -> io::Result<()> + Send + Sync + 'static {
    move |_, out| answer_json(out, 200, &json!({ "role": "peer", "id": id, "now_ms": 0 }))
}

/// A peer without a process: it sends what it would send, from any address of this machine.
struct Mover<'a> {
    swarm: &'a Swarm,
    identity: parcelry::identity::Identity,
}

impl Mover<'_> {
    fn call(&self, source: Ipv4Addr, path: &str, body: &Value) -> common::http::Answer {
        let (address, body) = (self.swarm.tracker.address(), body.to_string());
        let request = format!(
            "POST {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/json\r\n{}\
             Content-Length: {}\r\n\r\n{body}",
            self.swarm.bearer("peer"),
            body.len()
        );
        let socket = tls::connect_from(source, &address).unwrap();
        let pin = self.swarm.tracker_pin();
        let answer = tls::exchange_over(socket, &pin, Some(&self.identity), request.as_bytes()).unwrap();
        common::http::Answer::parse(&answer)
    }

    fn register(&self, source: Ipv4Addr, port: u16) {
        let mut request = register_request(self.identity.clone(), &[]);
        request.port = port;
        let answer = self.call(source, "/v1/peers", &serde_json::to_value(request).unwrap());
        assert_eq!(answer.status, 200, "{}", answer.text());
    }

    fn beat(&self, source: Ipv4Addr) {
        let usage = json!({ "used_bytes": 0, "free_bytes": 1 });
        let run = register_request(self.identity.clone(), &[]).run;
        let body = json!({ "run": run, "usage": usage, "applied": [], "lost": [] });
        let path = format!("/v1/peers/{}/heartbeat", self.identity.peer_id());
        let answer = self.call(source, &path, &body);
        assert_eq!(answer.status, 200, "{}", answer.text());
    }

    fn addresses(&self) -> Value {
        self.swarm.peer_list()[0]["addresses"].clone()
    }
}

#[test]
fn f51_a_peer_that_beats_from_another_address_is_dialled_there_and_reached_there() {
    let swarm = Swarm::start_with(0, &["--heartbeat", "200ms", "--dead-after", "1h"]);
    let mover = Mover { swarm: &swarm, identity: tls::identity(7) };
    let id = mover.identity.peer_id();
    let [home, away, closed] = [1, 2, 3].map(|last| Ipv4Addr::new(127, 0, 0, last));
    let first = Fake::start_at("127.0.0.1:0", 7, health(id));
    let port = first.address.port();
    mover.register(home, port);
    mover.beat(home);
    assert_eq!(mover.addresses(), json!([format!("{home}:{port}")]));

    // Nobody answers there: all stays as it was.
    mover.beat(closed);
    sleep(Duration::from_millis(300));
    assert_eq!(mover.addresses(), json!([format!("{home}:{port}")]));

    drop(first);
    let second = Fake::start_at(&format!("{away}:{port}"), 7, health(id));
    wait_for("the move", || {
        mover.beat(away);
        mover.addresses() == json!([format!("{away}:{port}")])
    });
    let dialled = second.requests().len();
    (0..5).for_each(|_| mover.beat(away));
    sleep(Duration::from_millis(300));
    assert_eq!(second.requests().len(), dialled, "no dial without a move");
}

#[test]
fn f51_a_line_whose_address_alternates_is_not_dialled_with_every_beat() {
    // So slow that no peer is asked whether it can be reached meanwhile.
    let swarm = Swarm::start_with(0, &["--heartbeat", "200ms", "--dead-after", "1h"]);
    let mover = Mover { swarm: &swarm, identity: tls::identity(7) };
    let id = mover.identity.peer_id();
    let [one, two] = [1, 2].map(|last| Ipv4Addr::new(127, 0, 0, last));
    let first = Fake::start_at("127.0.0.1:0", 7, health(id));
    let port = first.address.port();
    let second = Fake::start_at(&format!("{two}:{port}"), 7, health(id));
    mover.register(one, port);
    mover.beat(two);
    wait_for("both addresses", || {
        mover.addresses() == json!([format!("{two}:{port}"), format!("{one}:{port}")])
    });
    for _ in 0..10 {
        mover.beat(one);
        mover.beat(two);
    }
    sleep(Duration::from_millis(300));
    assert_eq!((first.requests().len(), second.requests().len()), (2, 1), "each was dialled when it was new");
}
