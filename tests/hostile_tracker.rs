//! Trackers that lie: a malicious tracker can deny service, but neither read, forge nor fill.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::fs;
use std::io::Read;

use common::fake::{Fake, answer, answer_json};
use common::http;
use common::person::Person;
use common::samples;
use common::swarm::{Server, Swarm};
use common::wait_for;
use parcelry_core::link::{Invite, ShareLink};
use parcelry_core::seal::access_token;
use serde_json::{Value, json};

/// Two shares of a real swarm: their links, and what the real tracker answers to look-ups of them.
fn two_shares(swarm: &Swarm) -> [(ShareLink, Value); 2] {
    let alice = swarm.person();
    ["first", "second"].map(|name| {
        alice.write(name, name.as_bytes());
        let link: ShareLink = alice.share(&[name]).parse().unwrap();
        let headers = http::bearer(&access_token(&link.secret).expose_text());
        let path = format!("/v1/shares/{}", link.share);
        let answer = http::send(&swarm.tracker.address(), "GET", &path, &headers, b"");
        (link, answer.json())
    })
}

/// A link to the same share by way of another tracker.
fn through(fake: &Fake, link: &ShareLink) -> String {
    let tracker = format!("https://{}", fake.address).parse().unwrap();
    ShareLink { tracker, tracker_id: Some(fake.identity.tracker_id()), ..link.clone() }.expose_text()
}

#[test]
fn m1_another_manifest_other_terms_or_none_are_refused_and_nothing_is_saved() {
    let swarm = Swarm::start(2);
    let [(link, right), (_, other)] = two_shares(&swarm);
    let with = |field: &str, value: Value| {
        let mut answer = right.clone();
        answer[field] = value;
        answer
    };
    let flipped = right["manifest"].as_str().unwrap().replacen("AAA", "AAB", 1);
    for (reply, code) in [
        (other.clone(), 7),
        (with("manifest", other["manifest"].clone()), 7),
        (with("manifest", flipped.into()), 7),
        (with("manifest", "".into()), 7),
        (with("terms", other["terms"].clone()), 7),
        (with("terms", "v4.public.x".into()), 7),
        (with("sources", json!([])), 5),
        (json!({}), 5),
        (json!("[".repeat(10_000)), 5),
    ] {
        let shown = reply.to_string();
        let fake = Fake::start(70, move |_, out| answer_json(out, 200, &reply));
        let bob = swarm.person();
        let ran = bob.run(&["get", &through(&fake, &link)]);
        assert_eq!(ran.code, code, "{} {shown:.300}", ran.stderr);
        assert!(bob.names().iter().all(|name| name.ends_with(".part")), "{:?}", bob.names());
    }
    let fake = Fake::start(70, move |_, out| answer_json(out, 200, &right));
    let bob = swarm.person();
    bob.get(&through(&fake, &link));
    assert_eq!(bob.read("first"), b"first", "what was refused above was refused for its fault");
}

#[test]
fn m2_a_tracker_that_names_evil_peers_only_gets_nothing_written() {
    let swarm = Swarm::start(2);
    let [(link, right), _] = two_shares(&swarm);
    let evil = Fake::start(71, |_, out| answer(out, "200 X", &[7; 21]));
    let mut reply = right;
    for source in reply["sources"].as_array_mut().unwrap() {
        source["peer"]["id"] = evil.identity.peer_id().to_string().into();
        source["peer"]["addresses"] = json!([evil.address.to_string()]);
        source["peer"]["name"] = "\u{1b}[31mevil\u{202e}".into();
    }
    let fake = Fake::start(70, move |_, out| answer_json(out, 200, &reply));
    let bob = swarm.person();
    let ran = bob.run(&["get", &through(&fake, &link)]);
    assert_eq!(ran.code, 7, "{}", ran.stderr);
    assert!(!ran.stderr.contains(['\u{1b}', '\u{202e}']), "{:?}", ran.stderr);
    assert!(bob.names().iter().all(|name| name.ends_with(".part")), "{:?}", bob.names());
}

/// Runs `share` against a tracker that answers every request to open a share like this.
fn share_through(swarm: &Swarm, reply: Value) -> common::person::Ran {
    let health = json!({ "role": "tracker", "id": "x", "now_ms": parcelry::clock::now_ms() });
    let fake = Fake::start(70, move |request, out| {
        answer_json(out, 200, if request.path == "/healthz" { &health } else { &reply })
    });
    let real: Invite = swarm.invite().parse().unwrap();
    let tracker = format!("https://{}", fake.address).parse().unwrap();
    let invite = Invite { tracker, tracker_id: fake.identity.tracker_id(), ..real };
    let alice = Person::new(&invite.expose_text());
    alice.write("file", b"content");
    alice.run(&["share", "file", "--wait", "0s"])
}

#[test]
fn a_tracker_that_names_too_few_peers_cannot_have_a_share_called_safe() {
    let swarm = Swarm::start(2);
    let grant = swarm.grant(&http::share_key(1), 7);
    let peer = |number: usize| {
        let id = parcelry_core::id::PeerId::from_bytes(swarm.peer_pin(number)).to_string();
        json!({ "id": id, "name": "p", "addresses": [swarm.peers[number].address()] })
    };
    for peers in [json!([]), json!([peer(0)]), json!([peer(0), peer(0)])] {
        let sets = json!([{ "first_chunk": 0, "chunk_count": 1, "peers": peers }]);
        let ran = share_through(&swarm, json!({ "sets": sets, "spares": [], "grant": grant }));
        assert_eq!(ran.code, 5, "{}", ran.stderr);
        assert!(ran.stderr.contains("do not make up the replicas"), "{}", ran.stderr);
        assert_eq!(ran.stdout, "", "no link is printed");
    }
    assert!(swarm.holders().is_empty(), "nothing was sent");
}

#[test]
fn m3_a_grant_of_another_tracker_or_beyond_the_peers_own_bounds_fills_nothing() {
    let mut swarm = Swarm::start(0);
    swarm.add_peer(0, &["--capacity", "100kB"]);
    let own_key = http::share_key(1);
    let share = own_key.share_id();
    let grant = parcelry_core::grant::Grant {
        share,
        operation: parcelry_core::grant::Operation::Push,
        peers: vec![parcelry_core::id::PeerId::from_bytes(swarm.peer_pin(0))],
        bearer: None,
        token: None,
        budget_bytes: 10_000_000_000_000,
        quota_bytes: None,
        issued_ms: parcelry::clock::now_ms(),
        expires_ms: parcelry::clock::now_ms() + 600_000,
    };
    let size = json!({ "total_bytes": 10_u64 << 40, "chunk_bytes": 16 << 20 });
    let chunks = parcelry_core::chunk_set::ChunkSet::full(655_360).to_string();
    let body = json!({ "size": size, "chunks": chunks, "known": [] });
    let offer = |key: &parcelry_core::grant::TrackerKey| {
        let grant = http::bearer(&key.sign(&grant));
        let act = parcelry_core::owner::Act::Offer;
        let headers = http::owned(&own_key, act, swarm.peer_pin(0), &grant);
        http::json(&swarm.peers[0].address(), "POST", &format!("/v1/shares/{share}/offer"), &headers, &body)
    };
    assert_eq!(offer(&common::tls::identity(70).tracker_key()).status, 403);
    let own = parcelry::identity::Identity::read(&swarm.directory.path().join("tracker")).unwrap().unwrap();
    assert_eq!(offer(&own.tracker_key()).status, 507);
}

/// Everything that a tracker and its peers keep and say is searched for what they must not know.
#[test]
fn m4_no_disk_log_or_memory_of_tracker_and_peers_holds_a_secret_a_name_or_plaintext() {
    let swarm = Swarm::start(2);
    let alice = swarm.person();
    let content = [b"marker-of-the-plaintext ".as_slice(), &samples::bytes("m4", 200_000)].concat();
    alice.write("marker-of-the-name.txt", &content);
    let link: ShareLink = alice.share(&["marker-of-the-name.txt"]).parse().unwrap();
    swarm.person().get(&link.expose_text());
    let access = access_token(&link.secret);
    let seed = fs::read_dir(alice.home.path().join(".local/state/parcelry/shares")).unwrap().next().unwrap();
    let owned: Value = serde_json::from_slice(&fs::read(seed.unwrap().path()).unwrap()).unwrap();
    let hex = |bytes: &[u8; 32]| parcelry_core::id::ChunkId::from_bytes(*bytes).to_string().into_bytes();
    let mut needles: Vec<(&str, Vec<u8>)> = vec![
        ("the name", b"marker-of-the-name".to_vec()),
        ("plaintext", b"marker-of-the-plaintext".to_vec()),
        ("the owner's key", owned["seed"].as_str().unwrap().into()),
    ];
    for (what, secret) in [("the link's secret", &link.secret), ("ACCESS", &access)] {
        needles.push((what, secret.expose().to_vec()));
        needles.push((what, secret.expose_text().into_bytes()));
        needles.push((what, hex(secret.expose())));
    }
    let search = |place: &str, bytes: &[u8], needles: &[(&str, Vec<u8>)]| {
        for (what, needle) in needles {
            let found = bytes.windows(needle.len()).any(|window| window == needle);
            assert!(!found, "{what} is in {place}");
        }
    };
    let share_id = link.share.as_bytes().to_vec();
    let mut share_id_seen = 0;
    let mut directories = vec![swarm.directory.path().to_owned()];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                directories.push(path);
            } else {
                let bytes = fs::read(&path).unwrap();
                share_id_seen += usize::from(bytes.windows(32).any(|window| window == share_id));
                search(&path.display().to_string(), &bytes, &needles);
            }
        }
    }
    assert!(
        share_id_seen >= 3,
        "the search finds what is there: the share's id, at the tracker and both peers"
    );
    for server in swarm.peers.iter().chain([&swarm.tracker]) {
        search("a log", server.log().as_bytes(), &needles);
    }
    // ACCESS passes through memory when a share is read; the rest never reaches a server at all.
    needles.retain(|(what, _)| *what != "ACCESS");
    for server in swarm.peers.iter().chain([&swarm.tracker]) {
        match memory(server.process_id()) {
            Ok(bytes) => search("a memory", &bytes, &needles),
            Err(error) => println!("skipped: this user may not read a server's memory: {error}"),
        }
    }
}

/// What a process has in its writable memory.
fn memory(process: u32) -> std::io::Result<Vec<u8>> {
    use std::io::{Seek, SeekFrom};
    let mut memory = fs::File::open(format!("/proc/{process}/mem"))?;
    let mut all = Vec::new();
    for line in
        fs::read_to_string(format!("/proc/{process}/maps"))?.lines().filter(|line| line.contains(" rw"))
    {
        let (from, to) = line.split(' ').next().unwrap().split_once('-').unwrap();
        let (from, to) = (u64::from_str_radix(from, 16).unwrap(), u64::from_str_radix(to, 16).unwrap());
        memory.seek(SeekFrom::Start(from))?;
        let _ = (&mut memory).take((to - from).min(64 << 20)).read_to_end(&mut all);
    }
    Ok(all)
}

/// A tracker of a later version asks for more than this one knows of: the peer does the rest.
#[test]
fn a_peer_passes_over_what_only_a_newer_tracker_asks_for() {
    let swarm = Swarm::start(0);
    let key = http::share_key(9);
    let share = key.share_id();
    let fake = Fake::start(70, move |request, out| {
        if request.path == "/v1/peers" {
            let grant_key = common::tls::identity(70).tracker_key().public().to_string();
            let registered = json!({ "heartbeat_ms": 50, "addresses": [], "grant_key": grant_key });
            return answer_json(out, 200, &registered);
        }
        let tasks = json!([
            { "kind": "polish", "share": share, "until": { "shine": 3 } },
            { "kind": "verify", "share": share, "chunks": "3.", "only_if": "it rains" },
            { "kind": "withhold", "share": share },
        ]);
        answer_json(out, 200, &json!({ "tasks": tasks, "now_ms": null, "inventory_after_ms": null }))
    });
    let real: Invite = swarm.peer_invite().parse().unwrap();
    let tracker = format!("https://{}", fake.address).parse().unwrap();
    let invite = Invite { tracker, tracker_id: fake.identity.tracker_id(), ..real }.expose_text();
    let peer = Server::start(swarm.command_of_peer(0, &["--invite", &invite]));
    let told = |count: usize| {
        let beats = fake.requests().into_iter().filter(|request| request.path.ends_with("/heartbeat"));
        let bodies = beats.filter_map(|request| serde_json::from_slice::<Value>(&request.body).ok());
        bodies.filter(|beat| beat["withheld"] == json!([share])).count() >= count
    };
    wait_for("the peer to do what it knows of, again and again", || told(3));
    let log = peer.log();
    for kind in ["polish", "verify"] {
        let said = log.lines().filter(|line| line.contains("passed over") && line.contains(kind)).count();
        assert_eq!(said, 1, "{log}");
    }
}
