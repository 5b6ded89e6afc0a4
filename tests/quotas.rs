//! What an invite allows: how much may be shared with it, and how many peers it admits.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use common::person::{Person, Ran};
use common::swarm::{Server, Swarm};
use common::{http, samples};
use serde_json::Value;

/// An invite made with these flags.
#[track_caller]
fn invite(swarm: &Swarm, flags: &[&str]) -> String {
    let ran = swarm.operator(&[&["invite"], flags].concat());
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    ran.stdout.trim().to_owned()
}

/// What `tokens ls` tells of the token with this name.
#[track_caller]
fn token(swarm: &Swarm, name: &str) -> Value {
    let tokens = swarm.operator(&["tokens", "ls", "--json"]).document();
    let named = tokens["tokens"].as_array().unwrap().iter().find(|token| token["name"] == name);
    named.unwrap_or_else(|| panic!("{tokens}")).clone()
}

#[track_caller]
fn assert_over_quota(ran: &Ran, says: &str) {
    assert_eq!(ran.code, 10, "{}", ran.stderr);
    assert!(ran.stderr.contains(says) && ran.stdout.is_empty(), "{}", ran.stderr);
}

#[test]
fn s11_a_senders_invite_allows_so_much_in_all_copies_counted() {
    let swarm = Swarm::start(2);
    let alice = Person::new(&invite(&swarm, &["--name", "alice", "--quota", "1MB"]));
    alice.write("file", &samples::bytes("quota", 300_000));
    let link = alice.share(&["file"]);
    for peer in [0, 1] {
        let shares = swarm.peer_data(peer).join("store/shares");
        let share = std::fs::read_dir(shares).unwrap().next().unwrap().unwrap().path();
        let record = std::fs::read_to_string(share.join("chunks")).unwrap();
        let id = token(&swarm, "alice")["id"].as_str().unwrap().to_owned();
        assert!(record.starts_with(&format!("1.gA {id}\n")), "charged at the peer, too: {record}");
    }
    assert_over_quota(&alice.run(&["share", "file"]), "the invite's quota is 1.0 MB");
    let single = alice.share(&["file", "--replicas", "1"]);
    assert_over_quota(&alice.run(&["share", "file", "--replicas", "1"]), "parcelry rm");
    assert_eq!(alice.run(&["rm", &link]).code, 0);
    alice.share(&["file"]);
    // Somebody else's shares are not counted, and what is there stays there.
    swarm.person().get(&single);
    let bob = swarm.person();
    bob.write("file", &samples::bytes("other", 2_000_000));
    bob.share(&["file"]);
    let alices = token(&swarm, "alice");
    assert_eq!(alices["allowance"]["quota_bytes"], 1_000_000);
    let used = alices["used"]["bytes"].as_u64().unwrap();
    assert!((900_000..901_000).contains(&used), "three replicas are there: {alices}");
    assert_eq!(alices["used"]["uploads"], 0);
    let listed = swarm.operator(&["tokens", "ls"]).stdout;
    assert!(listed.contains("alice  (900.0 kB of 1.0 MB in all"), "{listed}");
}

#[test]
fn s11_a_senders_invite_bounds_each_share() {
    let swarm = Swarm::start(2);
    let flags = ["--share-max", "100kB", "--expires-max", "3d", "--replicas-max", "1"];
    let alice = Person::new(&invite(&swarm, &flags));
    alice.write("large", &samples::bytes("large", 100_001));
    alice.write("small", &samples::bytes("small", 100_000));
    let share = |args: &[&str]| alice.run(&[&["share"], args].concat());
    assert_over_quota(&share(&["large", "--replicas", "1", "--expires", "1d"]), "100.0 kB for one share");
    assert_over_quota(&share(&["small", "--expires", "1d"]), "--replicas 1");
    assert_over_quota(&share(&["small", "--replicas", "1", "--expires", "7d"]), "at most 3 days");
    let link = alice.share(&["small", "--replicas", "1", "--expires", "2d"]);
    assert_eq!(alice.run(&["extend", &link, "3d"]).code, 0);
    assert_over_quota(&alice.run(&["extend", &link, "10d"]), "at most 3 days");
    swarm.person().get(&link);
    assert_eq!(alice.run(&["rm", &link]).code, 0, "a share may always be deleted");
}

#[test]
fn s13_an_invite_for_peers_admits_so_many_and_says_where_they_stand() {
    let mut swarm = Swarm::start(0);
    let flags = ["--role", "peer", "--name", "nas", "--count", "1", "--zone", "attic"];
    let invite = invite(&swarm, &flags);
    let flags = ["--invite", invite.as_str(), "--zone", "cellar"];
    swarm.add_peer(0, &flags);
    assert_eq!(swarm.peer_list()[0]["zone"], "attic", "the operator's word is the one that counts");
    let refused = |swarm: &Swarm| {
        let mut second = Server::spawn(swarm.command_of_peer(1, &flags));
        common::wait_for("the second peer to give up", || second.has_ended());
        let log = second.log();
        assert!(log.contains("admitted 1 peer") && log.contains("--count"), "{log}");
    };
    refused(&swarm);
    // It comes back as often as it likes; nobody takes its place when it is gone.
    swarm.peers[0].stop();
    refused(&swarm);
    swarm.add_peer(0, &flags);
    swarm.wait_for_peers(1, "alive");
    let listed = token(&swarm, "nas");
    assert_eq!((&listed["peers"], &listed["allowance"]["peers_max"]), (&1.into(), &1.into()));
    let listed = swarm.operator(&["tokens", "ls"]).stdout;
    assert!(listed.contains("nas  (1 of 1 peer, zone attic)"), "{listed}");
}

#[test]
fn what_does_not_go_with_the_role_is_refused() {
    let swarm = Swarm::start(0);
    for flags in [
        &["--role", "peer", "--quota", "1GB"][..],
        &["--role", "peer", "--replicas-max", "1"],
        &["--role", "sender", "--count", "3"],
        &["--role", "sender", "--zone", "attic"],
        &["--role", "peer", "--count", "0"],
        &["--role", "peer", "--zone", ""],
        &["--replicas-max", "17"],
    ] {
        let ran = swarm.operator(&[&["invite"], flags].concat());
        assert_eq!(ran.code, 2, "{flags:?}: {}", ran.stderr);
        let body = serde_json::json!({ "role": "peer", "name": "x", "expires_ms": null,
            "allowance": { "quota_bytes": 1 } });
        let made = http::json(&swarm.tracker.address(), "POST", "/v1/invites", &swarm.bearer("admin"), &body);
        assert_eq!(made.status, 400, "{}", made.text());
    }
}
