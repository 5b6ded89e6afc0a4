//! Attackers that do just enough not to be cut off, with what one of them can hold: others have their turn.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::io::Write;
use std::net::{SocketAddrV4, TcpStream};
use std::time::{Duration, Instant};

use common::http;
use common::swarm::Swarm;
use swarmdrop_core::link::ShareLink;
use swarmdrop_core::seal::access_token;

/// A connection from another address of this machine.
fn connect_from(last: u8, to: &str) -> TcpStream {
    use rustix::net::{AddressFamily, SocketType, bind, connect, socket};
    let socket = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
    bind(&socket, &SocketAddrV4::new([127, 0, 0, last].into(), 0)).unwrap();
    connect(&socket, &to.parse::<SocketAddrV4>().unwrap()).unwrap();
    socket.into()
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
    let start = Instant::now();
    let ran = swarm.person().run(&["inspect", &link]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert!(start.elapsed() < Duration::from_secs(20), "{:?}", start.elapsed());
}
