//! Peers that die, fill up or serve wrong bytes; trackers that restart; shares that end.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::fs;
use std::path::Path;

use common::person::Ran;
use common::swarm::Swarm;
use common::{flip_a_bit, http, samples, wait_for};
use parcelry_core::link::ShareLink;
use parcelry_core::terms::SignedTerms;

/// A person's file of ten chunks, shared.
fn share_ten_chunks(swarm: &Swarm) -> (Vec<u8>, String) {
    let alice = swarm.person();
    let bytes = samples::bytes("ten", 10 * 65_536 - 100);
    alice.write("file.bin", &bytes);
    (bytes, alice.share(&["file.bin", "--chunk-size", "64KiB"]))
}

#[test]
fn one_of_three_peers_killed_between_share_and_get() {
    for victim in 0..3 {
        let mut swarm = Swarm::start(3);
        let (bytes, link) = share_ten_chunks(&swarm);
        swarm.peers[victim].kill();
        let bob = swarm.person();
        bob.get(&link);
        assert!(bob.read("file.bin") == bytes);
    }
}

#[test]
fn one_of_three_peers_killed_during_the_share_is_replaced() {
    let mut swarm = Swarm::start(3);
    let alice = swarm.person();
    let bytes = samples::bytes("during share", 60 << 20);
    alice.write("file.bin", &bytes);
    let share = alice.start(&["share", "file.bin", "--chunk-size", "256KiB"]);
    wait_for("some chunks", || swarm.holders().iter().any(|&peer| swarm.chunk_files(peer).len() > 10));
    let victim = swarm.holders()[0];
    swarm.peers[victim].kill();
    let ran = Ran::of(share.wait_with_output().unwrap());
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let survivors: Vec<usize> = (0..3).filter(|&peer| peer != victim).collect();
    for &peer in &survivors {
        assert_eq!(swarm.chunk_files(peer).len(), 240, "every chunk has two replicas on peers that live");
    }
    let bob = swarm.person();
    bob.get(&ran.link());
    assert!(bob.read("file.bin") == bytes);
}

#[test]
fn one_of_three_peers_killed_during_the_get() {
    let mut swarm = Swarm::start(3);
    let alice = swarm.person();
    let bytes = samples::bytes("during get", 60 << 20);
    alice.write("file.bin", &bytes);
    let link = alice.share(&["file.bin", "--chunk-size", "256KiB"]);
    let victim = swarm.holders()[0];
    let bob = swarm.person();
    let get = bob.start(&["get", &link]);
    let address = swarm.peers[victim].address();
    wait_for("some chunks", || http::metric(&address, "parcelry_peer_chunks_served_total") > 5);
    swarm.peers[victim].kill();
    let ran = Ran::of(get.wait_with_output().unwrap());
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert!(bob.read("file.bin") == bytes);
}

/// Spoils every chunk file on one of the two holders, given another one; the get must deliver, and say who served wrong bytes.
#[track_caller]
fn spoiled_chunk_is_noticed(spoil: impl Fn(&Path, &Path)) {
    let swarm = Swarm::start_seldom_audited(2);
    let (bytes, link) = share_ten_chunks(&swarm);
    swarm.wait_for_proofs();
    swarm.spoil_chunks(0, &spoil);
    let bob = swarm.person();
    let said = bob.get(&link);
    assert!(bob.read("file.bin") == bytes);
    assert!(said.contains("peer p0 served wrong bytes"), "{said}");
    assert!(!said.contains("peer p1 served"), "{said}");

    // Another swarm: in the first one the complaint has had p0 mended by now, or soon.
    let swarm = Swarm::start_seldom_audited(2);
    let (_, link) = share_ten_chunks(&swarm);
    swarm.wait_for_proofs();
    swarm.spoil_chunks(0, &spoil);
    for pair in swarm.chunk_files(1).chunks_exact(2) {
        spoil(&pair[0], &pair[1]);
    }
    let carol = swarm.person();
    let ran = carol.run(&["get", &link]);
    assert_eq!(ran.code, 7, "{}", ran.stderr);
    assert!(!carol.path("file.bin").exists(), "nothing stands under the final name");
}

#[test]
fn a_flipped_bit_is_noticed() {
    spoiled_chunk_is_noticed(|file, _| flip_a_bit(file));
}

#[test]
fn a_truncated_chunk_is_noticed() {
    spoiled_chunk_is_noticed(|file, _| {
        let len = file.metadata().unwrap().len();
        fs::File::options().write(true).open(file).unwrap().set_len(len - 1).unwrap();
    });
}

#[test]
fn a_chunk_replaced_by_another_is_noticed() {
    spoiled_chunk_is_noticed(|file, other| fs::copy(other, file).map(drop).unwrap());
}

#[test]
fn a_longer_chunk_is_noticed() {
    spoiled_chunk_is_noticed(|file, _| {
        let mut bytes = fs::read(file).unwrap();
        bytes.push(0);
        fs::write(file, bytes).unwrap();
    });
}

#[test]
fn a_chunk_that_one_peer_lost_comes_from_the_other() {
    let swarm = Swarm::start(2);
    let (bytes, link) = share_ten_chunks(&swarm);
    fs::remove_file(&swarm.chunk_files(0)[3]).unwrap();
    let bob = swarm.person();
    bob.get(&link);
    assert!(bob.read("file.bin") == bytes);
}

#[test]
fn a_chunk_that_one_peer_cannot_read_comes_from_the_other() {
    let swarm = Swarm::start_seldom_audited(2);
    let (bytes, link) = share_ten_chunks(&swarm);
    swarm.wait_for_proofs();
    let chunk = &swarm.chunk_files(0)[3];
    fs::remove_file(chunk).unwrap();
    // It opens and has a length, and no byte of it can be read.
    fs::create_dir_all(chunk.join("within")).unwrap();
    let bob = swarm.person();
    bob.get(&link);
    assert!(bob.read("file.bin") == bytes);
}

#[test]
fn with_every_holder_gone_the_get_says_so_and_goes_on_when_one_returns() {
    let mut swarm = Swarm::start(2);
    let (bytes, link) = share_ten_chunks(&swarm);
    swarm.peers[0].kill();
    swarm.peers[1].kill();
    let bob = swarm.person();
    let ran = bob.run(&["get", &link]);
    assert_eq!(ran.code, 5, "{}", ran.stderr);
    assert!(ran.stderr.contains("Run the same command again"), "{}", ran.stderr);
    swarm.add_peer(1, &[]);
    bob.get(&link);
    assert!(bob.read("file.bin") == bytes);
}

#[test]
fn the_tracker_may_restart_at_any_time() {
    let mut swarm = Swarm::start(2);
    let (bytes, link) = share_ten_chunks(&swarm);
    swarm.restart_tracker();
    let bob = swarm.person();
    bob.get(&link);
    assert!(bob.read("file.bin") == bytes);
    swarm.wait_for_peers(2, "alive");
    share_ten_chunks(&swarm);
}

#[test]
fn a_tracker_that_lost_its_database_learns_everything_from_its_peers() {
    let mut swarm = Swarm::start(2);
    let (old_bytes, old_link) = share_ten_chunks(&swarm);
    let owner = swarm.person();
    owner.write("extended", b"x");
    let extended = owner.share(&["extended", "--expires", "1h"]);
    assert_eq!(owner.run(&["extend", &extended, "30d"]).code, 0);
    let days = |swarm: &Swarm| {
        let shown = swarm.person().run(&["inspect", &extended]).stdout;
        shown.contains("29 days") || shown.contains("30 days")
    };
    let share = extended.parse::<ShareLink>().unwrap().share;
    let terms = |peer: usize| {
        let path = swarm.peer_data(peer).join(format!("store/shares/{share}/terms"));
        SignedTerms::verify(&fs::read_to_string(path).unwrap_or_default(), share)
            .map(|signed| signed.expires_ms)
    };
    let in_a_week = parcelry::clock::now_ms() + 7 * 24 * 3_600_000;
    wait_for("the peers to know the newer terms", || {
        (0..2).all(|peer| terms(peer).is_ok_and(|expires_ms| expires_ms > in_a_week))
    });
    swarm.restart_tracker_after(|data| {
        fs::remove_file(data.join("tracker.db")).unwrap();
        for rest in ["tracker.db-wal", "tracker.db-shm"] {
            let _ = fs::remove_file(data.join(rest));
        }
    });
    swarm.wait_for_peers(2, "alive");
    let bob = swarm.person();
    wait_for("the old link to work", || bob.run(&["get", &old_link]).code == 0);
    assert!(bob.read("file.bin") == old_bytes);
    wait_for("both replicas to be known", || {
        bob.run(&["inspect", &old_link]).stdout.contains("at least 2 copies")
    });
    wait_for("the newer terms to be known", || days(&swarm));
    let (bytes, link) = share_ten_chunks(&swarm);
    bob.run(&["get", &link, "-o", "new"]);
    assert!(bob.read("new") == bytes);
}

#[test]
fn a_peer_that_was_away_when_a_share_was_deleted_drops_it_and_does_not_bring_it_back() {
    let mut swarm = Swarm::start(2);
    let alice = swarm.person();
    alice.write("file", b"x");
    let link = alice.share(&["file"]);
    swarm.peers[1].kill();
    assert_eq!(alice.run(&["rm", &link]).code, 0);
    wait_for("the peer that is there to drop it", || swarm.chunk_files(0).is_empty());
    assert_eq!(swarm.chunk_files(1).len(), 1);
    swarm.add_peer(1, &[]);
    wait_for("the peer that is back to drop it", || swarm.chunk_files(1).is_empty());
    assert_eq!(swarm.person().run(&["get", &link]).code, 4);
}

#[test]
fn a_silent_peer_becomes_suspect_then_dead_and_is_offered_no_more() {
    let mut swarm = Swarm::start(2);
    swarm.peers[0].kill();
    swarm.wait_for_peers(1, "suspect");
    let alice = swarm.person();
    alice.write("file", b"x");
    let ran = alice.run(&["share", "file", "--wait", "0s"]);
    assert_eq!(ran.code, 6, "{}", ran.stderr);
    swarm.wait_for_peers(1, "dead");
    swarm.add_peer(0, &[]);
    swarm.wait_for_peers(2, "alive");
    assert_eq!(alice.run(&["share", "file", "--wait", "0s"]).code, 0);
}

#[test]
fn a_peer_that_is_stopped_leaves_at_once_and_is_back_with_its_chunks() {
    let mut swarm = Swarm::start(2);
    let (bytes, link) = share_ten_chunks(&swarm);
    assert_eq!(swarm.peers[0].stop(), Some(0));
    let peers = swarm.peer_list();
    assert_eq!(peers.len(), 1);
    swarm.add_peer(0, &[]);
    swarm.peers[1].kill();
    let bob = swarm.person();
    bob.get(&link);
    assert!(bob.read("file.bin") == bytes);
}

#[test]
fn share_waits_until_enough_peers_are_there() {
    let mut swarm = Swarm::start(1);
    let alice = swarm.person();
    alice.write("file", b"x");
    let share = alice.start(&["share", "file"]);
    std::thread::sleep(std::time::Duration::from_millis(300));
    swarm.add_peer(1, &[]);
    let ran = Ran::of(share.wait_with_output().unwrap());
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert!(ran.stderr.contains("Waiting for enough peers"), "{}", ran.stderr);
}

#[test]
fn a_full_peer_is_passed_over_and_a_full_swarm_is_a_clear_error() {
    let mut swarm = Swarm::start(0);
    swarm.add_peer(0, &["--capacity", "100kB"]);
    swarm.add_peer(1, &[]);
    let alice = swarm.person();
    alice.write("file", &samples::bytes("full", 500_000));
    let ran = alice.run(&["share", "file", "--chunk-size", "64KiB"]);
    assert_eq!(ran.code, 8, "{}", ran.stderr);
    assert!(swarm.holders().is_empty(), "no chunk was sent");
    swarm.add_peer(2, &[]);
    alice.share(&["file", "--chunk-size", "64KiB"]);
    assert_eq!(swarm.holders(), [1, 2]);
}

#[test]
fn a_peer_that_fills_up_after_it_was_chosen_is_replaced() {
    let mut swarm = Swarm::start(0);
    for number in 0..3 {
        // The tracker hears of the space taken with the next heartbeat only: until then it chooses in vain.
        swarm.add_peer(number, &["--capacity", "1MB"]);
    }
    let alice = swarm.person();
    alice.write("first", &samples::bytes("first", 600_000));
    alice.write("second", &samples::bytes("second", 600_000));
    alice.share(&["first", "--replicas", "1"]);
    let ran = alice.run(&["share", "second", "--replicas", "2"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
}

#[test]
fn an_expired_share_is_gone_from_tracker_and_peers() {
    let swarm = Swarm::start(2);
    let alice = swarm.person();
    alice.write("file", b"x");
    let link = alice.share(&["file", "--expires", "2s"]);
    assert_eq!(swarm.holders(), [0, 1]);
    wait_for("the peers to drop it", || swarm.holders().is_empty());
    let bob = swarm.person();
    let ran = bob.run(&["get", &link]);
    assert_eq!(ran.code, 4, "{}", ran.stderr);
    assert!(ran.stderr.contains("expired"), "{}", ran.stderr);
    assert_eq!(bob.names(), [""; 0]);
}

#[test]
fn a_wrong_link_is_called_wrong() {
    let swarm = Swarm::start(2);
    let (_, link) = share_ten_chunks(&swarm);
    let bob = swarm.person();
    let secret_at = link.find("#1.").unwrap() + 3;
    let mut other_secret = link.clone();
    other_secret.replace_range(secret_at..secret_at + 4, "AAAA");
    let mut other_share = link.clone();
    let share_at = link.find("/s/").unwrap() + 3;
    other_share.replace_range(share_at..share_at + 4, "AAAA");
    for (wrong, code, why) in [
        (other_secret, 4, "knows no share of this link"),
        (other_share, 4, "knows no share of this link"),
        (link[..secret_at - 3].to_owned(), 2, "part after # is missing"),
        (link[..link.len() - 3].to_owned(), 2, "damaged"),
        (format!("{link}.x"), 2, "extra"),
        ("hello".to_owned(), 2, "neither a link nor a file"),
    ] {
        let ran = bob.run(&["get", &wrong]);
        assert_eq!(ran.code, code, "{wrong} {}", ran.stderr);
        assert!(ran.stderr.contains(why), "{}", ran.stderr);
    }
    assert_eq!(bob.names(), [""; 0]);
}

#[test]
fn without_a_tracker_the_commands_say_so() {
    let mut swarm = Swarm::start(2);
    let (_, link) = share_ten_chunks(&swarm);
    swarm.tracker.kill();
    let bob = swarm.person();
    bob.write("file", b"x");
    for args in [&["get", &link][..], &["share", "file"], &["status"], &["inspect", &link]] {
        let ran = bob.run(args);
        assert_eq!(ran.code, 5, "{args:?} {}", ran.stderr);
        assert!(ran.stderr.contains("cannot be reached"), "{}", ran.stderr);
    }
}
