//! Clients that hold what they do not use: tracker and peers go on serving others, and take it back.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::time::Duration;

use common::person::{Ran, bare_command};
use common::swarm::{Server, Swarm};
use common::{samples, wait_for};

/// What an attacker does with a connection.
#[derive(Debug, Clone, Copy)]
enum Attack {
    Nothing,
    HalfARequestHead,
    HalfAHandshake,
    IdleAfterARequest,
    HalfABody,
    NeverReading,
}

const ATTACKS: [Attack; 6] = [
    Attack::Nothing,
    Attack::HalfARequestHead,
    Attack::HalfAHandshake,
    Attack::IdleAfterARequest,
    Attack::HalfABody,
    Attack::NeverReading,
];

/// The test itself needs many descriptors.
fn raise_own_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }).unwrap();
}

fn attack(address: &str, kind: Attack, credential: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).unwrap();
    let head = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let _ = match kind {
        Attack::Nothing => Ok(()),
        Attack::HalfARequestHead => stream.write_all(b"GET / HTTP/1.1\r\nX: "),
        Attack::HalfAHandshake => stream.write_all(&[0x16, 3, 1, 2, 0, 1, 0, 1]),
        Attack::IdleAfterARequest => stream.write_all(head("/healthz").as_bytes()),
        Attack::HalfABody => {
            // Whose word it is shows when the body is there.
            let json = "Owner-Token: x\r\nContent-Type: application/json\r\nContent-Length: 100000";
            write!(stream, "POST /v1/shares HTTP/1.1\r\nHost: localhost\r\n{json}\r\n{credential}\r\n{{")
        }
        Attack::NeverReading => stream.write_all(head("/openapi.json").repeat(400).as_bytes()),
    };
    stream
}

/// Whether the server has closed the connection; reads what it sent before.
fn is_closed(stream: &mut TcpStream) -> bool {
    stream.set_nonblocking(true).unwrap();
    let mut bytes = [0; 4096];
    match stream.read(&mut bytes) {
        Ok(0) => true,
        Ok(_) => false,
        Err(error) => error.kind() != std::io::ErrorKind::WouldBlock,
    }
}

fn wait_until_closed(streams: &mut Vec<TcpStream>, leave: usize) {
    wait_for("the server to close the connections", || {
        streams.retain_mut(|stream| !is_closed(stream));
        streams.len() <= leave
    });
}

#[test]
fn e1_connections_that_hold_on_to_nothing_do_not_disturb_others_and_are_closed() {
    raise_own_limit();
    let swarm = Swarm::start(2);
    let alice = swarm.person();
    let bytes = samples::bytes("e1", 3 << 20);
    alice.write("file", &bytes);
    let link = alice.share(&["file"]);
    let mut streams = Vec::new();
    for address in [swarm.tracker.address(), swarm.peers[0].address(), swarm.peers[1].address()] {
        for kind in ATTACKS.into_iter().cycle().take(360) {
            streams.push(attack(&address, kind, &swarm.bearer("sender")));
        }
    }
    let bob = swarm.person();
    // A busy machine may need longer for a handshake than anybody waits for one: what is asked again goes on.
    wait_for("the file", || bob.run(&["get", &link]).code == 0);
    assert!(bob.read("file") == bytes);
    wait_for("a share", || alice.run(&["share", "file", "--name", "during the attack"]).code == 0);
    wait_until_closed(&mut streams, 0);
}

#[test]
fn e1_one_address_cannot_hold_all_connections_and_newcomers_do_not_wait() {
    raise_own_limit();
    let swarm = Swarm::start(2);
    let alice = swarm.person();
    alice.write("file", b"x");
    let link = alice.share(&["file"]);
    let address = swarm.peers[0].address();
    let mut streams: Vec<_> = (0..900).map(|_| attack(&address, Attack::Nothing, "")).collect();
    // Those beyond the bound pushed out the oldest, at once.
    wait_until_closed(&mut streams, 512);
    swarm.person().get(&link);
}

/// A server that may have few descriptors, for its files and its connections together.
fn start_with_few_descriptors(swarm: &Swarm, args: &[&str]) -> Server {
    let bare = bare_command(swarm.directory.path());
    let mut command = Command::new("sh");
    command.env_clear().envs(bare.get_envs().filter_map(|(name, value)| Some((name, value?))));
    command.args(["-c", "ulimit -n 200 && exec \"$0\" \"$@\""]).arg(bare.get_program()).args(args);
    Server::start(command)
}

#[test]
fn e2_a_server_out_of_descriptors_goes_on_and_recovers() {
    raise_own_limit();
    let mut swarm = Swarm::start(1);
    let data = swarm.directory.path().join("few");
    let invite = swarm.peer_invite();
    let args = ["peer", "--json", "--listen", "127.0.0.1:0", "--keep-free", "0B", "--name", "few"];
    let args = [&args[..], &["--invite", &invite, "--data", data.to_str().unwrap()]].concat();
    let few = start_with_few_descriptors(&swarm, &args);
    let (address, alice) = (few.address(), swarm.person());
    swarm.peers.push(few);
    alice.write("file", &samples::bytes("e2", 3 << 20));
    let link = alice.share(&["file"]);
    for _ in 0..2 {
        let mut streams: Vec<_> = (0..300).map(|_| attack(&address, Attack::Nothing, "")).collect();
        swarm.person().get(&link);
        alice.share(&["file", "--name", "meanwhile"]);
        wait_until_closed(&mut streams, 0);
    }
    assert!(!swarm.peers[1].log().contains("panicked"), "{}", swarm.peers[1].log());
}

#[test]
fn huge_heads_and_many_header_fields_are_refused() {
    let swarm = Swarm::start(1);
    for address in [swarm.tracker.address(), swarm.peers[0].address()] {
        for padding in [format!("X: {}\r\n", "a".repeat(1 << 20)), "X: a\r\n".repeat(100)] {
            let mut stream = TcpStream::connect(&address).unwrap();
            stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
            let _ = write!(stream, "GET /healthz HTTP/1.1\r\nHost: localhost\r\n{padding}\r\n");
            let mut answer = String::new();
            let _ = stream.read_to_string(&mut answer);
            assert!(!answer.starts_with("HTTP/1.1 2"), "{answer}");
        }
        assert_eq!(common::http::get(&address, "/healthz").status, 200);
    }
}

#[test]
fn t7_two_lengths_in_one_request_never_make_two_requests() {
    let swarm = Swarm::start(1);
    let address = swarm.tracker.address();
    let second = "GET /openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n";
    for head in [
        format!(
            "Content-Length: {}\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{second}",
            5 + second.len()
        ),
        format!("Content-Length: 0\r\nContent-Length: {}\r\n\r\n{second}", second.len()),
        format!("Content-Length: +{}\r\n\r\n{second}", second.len()),
        format!("Transfer-Encoding: chunked\r\n\r\n10000000000000000\r\n{second}"),
        format!("Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n{second}"),
        format!("X:\r\n folded\r\nContent-Length : 5\r\n\r\n{second}"),
    ] {
        let request = format!("POST /v1/shares HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{head}");
        let answer = common::http::raw(&address, request.as_bytes());
        assert!((400..500).contains(&answer.status), "{head:?}: {} {}", answer.status, answer.text());
        assert!(!answer.text().contains("\"openapi\""), "{head:?}");
    }
}

#[test]
fn a_stopping_server_does_not_wait_for_idlers() {
    let mut swarm = Swarm::start(1);
    let address = swarm.peers[0].address();
    let _streams: Vec<_> = ATTACKS.map(|kind| attack(&address, kind, "")).into();
    assert_eq!(swarm.peers[0].stop(), Some(0));
    let status = Ran::of(swarm.person().command(&["status"]).output().unwrap());
    assert!(status.stdout.contains("0 peers alive"), "{}", status.stdout);
}
