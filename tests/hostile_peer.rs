//! Peers that lie: what a malicious peer can do to a receiver, a sender and the tracker.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::collections::HashMap;
use std::io::{self, BufRead, BufReader};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use common::fake::{Fake, FakePeer, Out, Proves, answer, answer_json};
use common::person::Ran;
use common::swarm::Swarm;
use common::{http, samples, tls, wait_for};
use parcelry::buffers::Buffers;
use parcelry::client::{Http, PeerClient, TrackerClient};
use parcelry::pace::WINDOW_VARIABLE;
use parcelry_core::api::{PeerAddress, Task};
use parcelry_core::id::{ChunkId, Secret, ShareId};
use parcelry_core::link::ShareLink;
use parcelry_core::seal::access_token;
use serde_json::json;

const CHUNKS: usize = 10;

/// A swarm of one honest peer and one that serves chunks in its own way, a shared file, and its link.
fn share_with(
    serve: impl Fn(&[u8], &HashMap<String, Vec<u8>>, Out<'_>) -> io::Result<()> + Send + Sync + 'static,
) -> (Swarm, FakePeer, Vec<u8>, String) {
    let swarm = Swarm::start(1);
    let fake = FakePeer::join(&swarm, 50, serve);
    let (bytes, link) = share_ten_chunks(&swarm);
    (swarm, fake, bytes, link)
}

fn share_ten_chunks(swarm: &Swarm) -> (Vec<u8>, String) {
    let alice = swarm.person();
    let bytes = samples::bytes("ten", CHUNKS * 65_536 - 100);
    alice.write("file.bin", &bytes);
    (bytes, alice.share(&["file.bin", "--chunk-size", "64KiB"]))
}

/// The receiver has the exact bytes, from the honest peer, and knows who lied; the tracker has the liar look.
#[track_caller]
fn wrong_bytes_are_noticed(
    serve: impl Fn(&[u8], &HashMap<String, Vec<u8>>, Out<'_>) -> io::Result<()> + Send + Sync + 'static,
) {
    let (swarm, fake, bytes, link) = share_with(serve);
    let bob = swarm.person();
    let mut get = bob.start(&["get", &link]);
    let mut says = BufReader::new(get.stderr.take().unwrap()).lines().map(Result::unwrap);
    // A liar that is late is not listened to: until it was found out, the honest peer gives no answer.
    let is_found = swarm.peers[0]
        .freeze_while(|| says.by_ref().any(|line| line.contains("peer fake served wrong bytes")));
    assert!(is_found, "the get ended and named nobody");
    let rest: Vec<_> = says.collect();
    assert!(get.wait().unwrap().success(), "{rest:?}");
    assert!(bob.read("file.bin") == bytes);
    wait_for("the tracker to have the peer look", || {
        fake.tasks
            .lock()
            .unwrap()
            .iter()
            .any(|task| matches!(task, Task::Verify(asked) if !asked.chunks.is_empty()))
    });
}

#[test]
fn r1_a_flipped_bit_is_noticed() {
    wrong_bytes_are_noticed(|chunk, _, out| {
        let mut chunk = chunk.to_vec();
        chunk[1000] ^= 1;
        answer(out, "200 X", &chunk)
    });
}

#[test]
fn r1_another_chunk_of_the_share_is_noticed() {
    wrong_bytes_are_noticed(|chunk, all, out| {
        let other = all.values().find(|other| other.len() == chunk.len() && *other != chunk);
        answer(out, "200 X", other.map_or(&[0; 65_552][..], Vec::as_slice))
    });
}

#[test]
fn r1_a_chunk_that_is_empty_short_or_long_is_noticed() {
    for cut in [0, -1, 1] {
        wrong_bytes_are_noticed(move |chunk, _, out| match cut {
            0 => answer(out, "200 X", b""),
            -1 => answer(out, "200 X", &chunk[1..]),
            _ => answer(out, "200 X", &[chunk, b"x"].concat()),
        });
    }
}

#[test]
fn r5_a_compressed_chunk_is_taken_as_the_bytes_that_it_is() {
    wrong_bytes_are_noticed(|_, _, out| {
        answer(out, "200 X\r\nContent-Encoding: gzip", &[&[0x1f, 0x8b, 8][..], &[0; 1000]].concat())
    });
}

#[test]
fn r2_a_body_without_end_is_cut_off_at_the_chunks_length() {
    wrong_bytes_are_noticed(|_, _, out| {
        out.write_all(b"HTTP/1.1 200 X\r\nConnection: close\r\n\r\n")?;
        loop {
            out.write_all(&[7; 65_536])?;
        }
    });
}

/// Whatever this peer answers, the receiver goes on with the other.
#[track_caller]
fn the_other_peer_is_used(
    serve: impl Fn(&[u8], &HashMap<String, Vec<u8>>, Out<'_>) -> io::Result<()> + Send + Sync + 'static,
) -> FakePeer {
    let (swarm, fake, bytes, link) = share_with(serve);
    let bob = swarm.person();
    bob.get(&link);
    assert!(bob.read("file.bin") == bytes);
    fake
}

#[test]
fn r2_redirects_are_not_followed() {
    let elsewhere = Fake::start(51, |_, out| answer(out, "200 X", b"caught"));
    let location = format!("302 X\r\nLocation: https://{}/caught", elsewhere.address);
    the_other_peer_is_used(move |_, _, out| answer(out, &location, b""));
    assert!(elsewhere.requests().is_empty());
}

#[test]
fn r2_endless_headers_refusals_and_broken_answers_are_survived() {
    the_other_peer_is_used(|_, _, out| {
        out.write_all(b"HTTP/1.1 200 X\r\n")?;
        loop {
            out.write_all(
                b"X-Padding: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\n",
            )?;
        }
    });
    the_other_peer_is_used(|_, _, out| answer(out, "401 X", b"who are you?"));
    the_other_peer_is_used(|_, _, out| out.write_all(b"\x00\x01\x02 nonsense\r\n\r\n"));
    the_other_peer_is_used(|chunk, _, out| {
        write!(out, "HTTP/1.1 200 X\r\nContent-Length: {}\r\n\r\n", chunk.len())?;
        out.write_all(&chunk[..500])
    });
}

#[test]
fn r4_when_every_peer_serves_a_chunk_wrongly_nothing_is_saved_and_what_was_right_is_kept() {
    let swarm = Swarm::start(0);
    let spoil_small = |chunk: &[u8], _: &HashMap<String, Vec<u8>>, out: Out<'_>| {
        let mut chunk = chunk.to_vec();
        if chunk.len() < 65_552 {
            chunk[0] ^= 1;
        }
        answer(out, "200 X", &chunk)
    };
    let _fakes = [FakePeer::join(&swarm, 60, spoil_small), FakePeer::join(&swarm, 61, spoil_small)];
    let (_, link) = share_ten_chunks(&swarm);
    let bob = swarm.person();
    let ran = bob.run(&["get", &link]);
    assert_eq!(ran.code, 7, "{}", ran.stderr);
    assert!(ran.stderr.contains("chunk 9"), "{}", ran.stderr);
    let names = bob.names();
    assert!(matches!(&names[..], [name] if name.ends_with(".part")), "{names:?}");
}

#[test]
fn r6_a_peer_that_records_its_requests_learns_neither_names_nor_secrets_nor_who_asks() {
    let fake = the_other_peer_is_used(|_, _, out| answer(out, "404 X", b""));
    let requests = fake.server.requests();
    assert!(requests.len() > CHUNKS);
    for request in &requests {
        let head = request.head.to_lowercase();
        assert!(
            !head.contains("file.bin") && !head.contains("user-agent") && !head.contains("cookie"),
            "{head}"
        );
        let body = String::from_utf8_lossy(&request.body);
        assert!(!body.contains("file.bin"), "{}", request.path);
    }
}

/// A machine with another key takes the place of peer 0, which held a part of the share.
fn impostor(swarm: &mut Swarm) -> Fake {
    let address = swarm.peers[0].address();
    swarm.peers[0].kill();
    Fake::start_at(&address, 52, |_, out| answer_json(out, 200, &json!({ "role": "peer" })))
}

#[test]
fn another_key_at_a_peers_address_is_refused_by_get() {
    let mut swarm = Swarm::start(2);
    let (bytes, link) = share_ten_chunks(&swarm);
    let impostor = impostor(&mut swarm);
    let bob = swarm.person();
    let said = bob.get(&link);
    assert!(bob.read("file.bin") == bytes);
    assert!(said.contains("peer p0 is not used") && said.contains("is not who it should be"), "{said}");
    assert!(impostor.requests().is_empty(), "nothing was sent to it");
}

#[test]
fn another_key_at_a_peers_address_is_refused_by_share() {
    // The tracker takes a silent peer for alive for a while, and names it for new shares.
    let mut swarm = Swarm::start_with(3, &["--heartbeat", "60s", "--dead-after", "5m"]);
    let impostor = impostor(&mut swarm);
    let alice = swarm.person();
    alice.write("file", b"content");
    let mut said = String::new();
    for _ in 0..40 {
        let ran = alice.run(&["share", "file"]);
        assert_eq!(ran.code, 0, "{}", ran.stderr);
        said += &ran.stderr;
        if said.contains("peer p0") {
            break;
        }
    }
    assert!(said.contains("peer p0 is of no use") && said.contains("is not who it should be"), "{said}");
    assert!(impostor.requests().is_empty(), "nothing was sent to it");
}

#[test]
fn another_key_at_a_peers_address_is_refused_by_other_peers() {
    use parcelry::client::{ClientError, Http, PeerClient};
    let mut swarm = Swarm::start(1);
    let (address, id) = (swarm.peers[0].address(), swarm.peer_pin(0));
    let impostor = impostor(&mut swarm);
    let peer = parcelry_core::api::PeerAddress {
        id: parcelry_core::id::PeerId::from_bytes(id),
        name: "p0".into(),
        addresses: vec![address.parse().unwrap()],
    };
    // What a peer speaks to others with: it shows its own certificate.
    let http = Http::new(Some(&tls::identity(53))).unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let error = runtime.block_on(PeerClient::new(http, peer).health()).unwrap_err();
    assert!(matches!(error, ClientError::WrongKey { .. }), "{error}");
    assert!(error.to_string().contains("is not who it should be"), "{error}");
    assert!(impostor.requests().is_empty(), "nothing was sent to it");
}

/// Shares with a peer in the swarm that signs for everything and proves what it has in this way, until it was chosen;
/// how the command ended.
fn share_with_one_that_proves(swarm: &Swarm, proves: Proves) -> common::person::Ran {
    let _fake = FakePeer::join_that(swarm, 54, proves, |chunk, _, out| answer(out, "200 X", chunk));
    let alice = swarm.person();
    alice.write("file", b"content");
    for _ in 0..40 {
        let ran = alice.run(&["share", "file"]);
        if ran.code != 0 || ran.stderr.contains("peer fake") {
            return ran;
        }
    }
    panic!("the peer was never chosen");
}

#[test]
fn s4_a_peer_that_signs_for_what_it_does_not_have_is_replaced_before_anything_is_called_safe() {
    for (proves, why) in
        [(Proves::Nothing, "it says so itself"), (Proves::Wrongly, "it shows something else")]
    {
        let swarm = Swarm::start(2);
        let ran = share_with_one_that_proves(&swarm, proves);
        assert_eq!(ran.code, 0, "{}", ran.stderr);
        let said = "peer fake is of no use for this share: fake does not have what it confirmed";
        assert!(ran.stderr.contains(said) && ran.stderr.contains(why), "{}", ran.stderr);
        let (_, safe) = ran.stderr.split_once("Safe on 2 peers").unwrap();
        assert!(safe.contains("p0") && safe.contains("p1"), "{safe}");
        swarm.person().get(&ran.link());
    }
}

#[test]
fn s4_without_another_peer_what_one_does_not_have_is_not_called_safe() {
    let swarm = Swarm::start(1);
    let ran = share_with_one_that_proves(&swarm, Proves::Nothing);
    assert_eq!(ran.code, 6, "{}", ran.stderr);
    assert!(ran.stderr.contains("does not have what it confirmed"), "{}", ran.stderr);
    assert!(ran.stdout.is_empty() && !ran.stderr.contains("Safe"), "{}{}", ran.stdout, ran.stderr);
}

/// Writes one byte of an answer's head each tenth of a second, without end.
fn drip_a_head(out: Out<'_>) -> io::Result<()> {
    out.write_all(b"HTTP/1.1 200 X\r\nx-endless: ")?;
    loop {
        out.flush()?;
        std::thread::sleep(Duration::from_millis(100));
        out.write_all(b"a")?;
    }
}

/// A peer whose answers' heads drip, and how often it was asked for a chunk.
fn dripping_peer(swarm: &Swarm, number: u8) -> (FakePeer, Arc<AtomicUsize>) {
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    let fake = FakePeer::join(swarm, number, move |_, _, out| {
        count.fetch_add(1, Ordering::Relaxed);
        drip_a_head(out)
    });
    (fake, asked)
}

#[test]
fn r2_a_head_that_drips_is_given_up_by_get() {
    const CHUNKS: usize = 40;
    let swarm = Swarm::start(0);
    let (_fake, asked) = dripping_peer(&swarm, 62);
    let alice = swarm.person();
    alice.write("file.bin", &samples::bytes("drips", CHUNKS * 65_536));
    let link = alice.share(&["file.bin", "--chunk-size", "64KiB", "--replicas", "1"]);
    let bob = swarm.person();
    let mut get = bob.command(&["get", &link]);
    // Whoever waits for such a head to end waits for half an hour.
    let ran = Ran::of(get.env(WINDOW_VARIABLE, "1000").output().unwrap());
    assert_eq!(ran.code, 5, "{}", ran.stderr);
    assert!(ran.stderr.contains("peer fake does not answer"), "{}", ran.stderr);
    let asked = asked.load(Ordering::Relaxed);
    assert!((1..CHUNKS).contains(&asked), "it was asked {asked} times");
}

#[test]
fn r2_a_head_that_drips_is_not_waited_for_again_with_every_chunk_that_a_browser_gets() {
    const CHUNKS: usize = 40;
    let swarm = Swarm::start(1);
    let (_fake, asked) = dripping_peer(&swarm, 63);
    let alice = swarm.person();
    alice.write("file.bin", &samples::bytes("drips", CHUNKS * 65_536));
    let link: ShareLink = alice.share(&["file.bin", "--chunk-size", "64KiB"]).parse().unwrap();
    for index in 0..CHUNKS {
        let path = format!("/v1/shares/{}/chunks/{index}", link.share);
        let headers = http::bearer(&access_token(&link.secret).expose_text());
        let answer = http::send(&swarm.tracker.address(), "GET", &path, &headers, b"");
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
    // Each second chunk would begin with the one that drips, were it not asked last once it was given up.
    let asked = asked.load(Ordering::Relaxed);
    assert!((1..CHUNKS / 4).contains(&asked), "it was asked {asked} times");
}

#[test]
fn r2_heads_that_drip_are_given_up_by_every_call() {
    let fake = Fake::start(64, |_, out| drip_a_head(out));
    let http = Http::new(None).unwrap();
    let id = fake.identity.peer_id();
    let peer = PeerAddress { id, name: "fake".into(), addresses: vec![fake.address] };
    let peer = PeerClient::new(http.clone(), peer);
    let (share, access) = (ShareId::from_bytes([1; 32]), Secret::from_bytes([2; 32]));
    let tracker = format!("https://{}", fake.address).parse().unwrap();
    let link =
        ShareLink { tracker, tracker_id: Some(fake.identity.tracker_id()), share, secret: access.clone() };
    let tracker = TrackerClient::of_link(http, &link);
    let buffers = Buffers::new(1, 100);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let calls = async {
        tokio::join!(
            async { peer.health().await.is_err() },
            async { peer.holding(share, &access).await.is_err() },
            async { peer.manifest_for_copy(share, &"grant".into()).await.is_err() },
            async { peer.get_chunk(ChunkId::of(b"x"), 100, &buffers).await.is_err() },
            async { tracker.look_up(share, &access).await.is_err() },
            async { tracker.leave(id).await.is_err() },
        )
    };
    let all = runtime.block_on(async { tokio::time::timeout(Duration::from_secs(120), calls).await });
    assert_eq!(all.expect("every call ends"), (true, true, true, true, true, true));
    assert!(peer.comes_last());
}
