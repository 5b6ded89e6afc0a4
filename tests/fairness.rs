//! Attackers that do just enough not to be cut off, with what one of them can hold: others have their turn.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::io::Write;
use std::net::{SocketAddrV4, TcpStream};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use common::swarm::Swarm;
use common::{http, samples};
use parcelry::identity::Identity;
use parcelry_core::chunk_set::ChunkSet;
use parcelry_core::grant::Grant;
use parcelry_core::id::ChunkId;
use parcelry_core::link::{Invite, ShareLink};
use parcelry_core::owner::Act;
use parcelry_core::seal::access_token;
use parcelry_core::token::TokenId;
use serde_json::json;

/// A connection from another address of this machine.
fn connect_from(last: u8, to: &str) -> TcpStream {
    use rustix::net::{AddressFamily, SocketType, bind, connect, socket};
    let socket = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
    bind(&socket, &SocketAddrV4::new([127, 0, 0, last].into(), 0)).unwrap();
    connect(&socket, &to.parse::<SocketAddrV4>().unwrap()).unwrap();
    socket.into()
}

/// How many connections from that address neither side has closed, as the kernel tells (proc_pid_net(5)).
fn still_open(last: u8) -> usize {
    const ESTABLISHED: &str = "01";
    let own = format!("{last:02X}00007F:");
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let fields = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    fields.filter(|fields| fields[1].starts_with(&own) && fields[3] == ESTABLISHED).count()
}

#[test]
fn s11_look_ups_that_are_hardly_read_do_not_stop_those_of_others() {
    let swarm = Swarm::start(2);
    let alice = swarm.person();
    for number in 0..5000 {
        alice.write(&format!("folder/{number:0>240}"), b"");
    }
    let link = alice.share(&["folder"]);
    let parsed: ShareLink = link.parse().unwrap();
    let access = http::bearer(&access_token(&parsed.secret).expose_text());
    let tracker = swarm.tracker.address();
    // Each answer is some megabytes; together they are more than all that a process has for them.
    let mut streams: Vec<_> = (0..400).map(|_| connect_from(9, &tracker)).collect();
    for stream in &mut streams {
        let path = format!("/v1/shares/{}", parsed.share);
        write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\n{access}\r\n").unwrap();
    }
    std::thread::sleep(Duration::from_secs(2));
    let ran = swarm.person().run(&["inspect", &link]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    // Who came last was answered while they held on, and not because they were cut off.
    let open = still_open(9);
    assert!(open > 100, "{open} of 400 are still there");
    drop(streams);
}

/// A grant for a share with this key, charged to a token, which was offered to the first peer: as many chunks as a
/// peer has places for.
fn offered(swarm: &Swarm, number: u8, token: TokenId) -> String {
    let key = http::share_key(number);
    let size = 64_u64 << 24;
    let tracker = Identity::read(&swarm.directory.path().join("tracker")).unwrap().unwrap().tracker_key();
    let grant = Grant { token: Some(token), budget_bytes: 2 * size, ..swarm.sound_grant(key.share_id()) };
    let grant = http::bearer(&tracker.sign(&grant));
    let body = json!({ "size": { "total_bytes": size, "chunk_bytes": 16 << 20 },
        "chunks": ChunkSet::full(64).to_string(), "known": [] });
    let path = format!("/v1/shares/{}/offer", key.share_id());
    let headers = http::owned(&key, Act::Offer, swarm.peer_pin(0), &grant);
    let answer = http::json(&swarm.peers[0].address(), "POST", &path, &headers, &body);
    assert_eq!(answer.status, 200, "{}", answer.text());
    grant
}

#[test]
fn s11_uploads_that_hardly_move_do_not_stop_those_of_others() {
    let swarm = Swarm::start(1);
    let grant = offered(&swarm, 7, TokenId::from_bytes([7; 8]));
    let peer = swarm.peers[0].address();
    let mut streams = Vec::new();
    for number in 0..64_u8 {
        let mut stream = TcpStream::connect(&peer).unwrap();
        let head = format!("PUT /v1/chunks/{} HTTP/1.1\r\nHost: localhost\r\n", ChunkId::of(&[number]));
        write!(stream, "{head}Content-Length: {}\r\n{grant}\r\n", (16 << 20) + 16).unwrap();
        stream.write_all(&[0; 40_000]).unwrap();
        streams.push(stream);
    }
    let begun = || http::metric(&peer, "parcelry_peer_chunk_puts_total");
    common::wait_for("the uploads to begin", || begun() >= 64);
    let (going_on, ended) = mpsc::channel::<()>();
    std::thread::scope(move |scope| {
        // Those that do not move at all are cut off after half a minute: these move on, and have their places all the time.
        let cut_off = scope.spawn(move || {
            let mut cut_off = 0;
            while ended.recv_timeout(Duration::from_secs(2)) == Err(RecvTimeoutError::Timeout) {
                let trickle = |stream: &mut TcpStream| stream.write_all(&[0; 10_000]).is_err();
                cut_off += streams.iter_mut().map(trickle).filter(|is_cut_off| *is_cut_off).count();
            }
            cut_off
        });
        let alice = swarm.person();
        alice.write("file", &samples::bytes("slots", 3_000_000));
        alice.share(&["file", "--replicas", "1"]);
        drop(going_on);
        assert_eq!(cut_off.join().unwrap(), 0);
    });
}

#[test]
fn s11_uploads_of_one_invite_do_not_stop_browsers_with_another() {
    let swarm = Swarm::start(1);
    let tracker = swarm.tracker.address();
    let begin = |number: u8, token: &str| {
        let key = http::share_key(number);
        let headers = http::owned(&key, Act::Open, swarm.tracker_pin(), &http::bearer(token));
        let body = json!({ "size": { "total_bytes": 1, "chunk_bytes": 65536 }, "replicas": 1 });
        http::json(&tracker, "POST", &format!("/v1/shares/{}/upload", key.share_id()), &headers, &body).status
    };
    let mine = swarm.token("sender");
    let begun: Vec<u16> = (1..=64).map(|number| begin(number, &mine)).collect();
    assert_eq!(begun.iter().filter(|status| **status == 200).count(), 32, "{begun:?}");
    assert_eq!(begin(65, &mine), 503);
    let invite = swarm.operator(&["invite", "--name", "bob"]).stdout.trim().to_owned();
    let other = invite.parse::<Invite>().unwrap().token.expose_text();
    assert_eq!(begin(66, &other), 200);
    // Who begins one of his anew needs no further place.
    assert_eq!(begin(1, &mine), 200);
}
