//! Interrupted shares and gets, run again: only what is missing moves.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::fs;
use std::process::Child;

use common::person::{Person, Ran};
use common::swarm::Swarm;
use common::{samples, wait_for};

/// Chunks that a sender or receiver has under way at once, at 1 MiB each.
const WINDOW: u64 = 16;
const MIB: usize = 1 << 20;

fn kill_9(mut child: Child) {
    child.kill().unwrap();
    child.wait().unwrap();
}

fn interrupt(child: Child) -> Ran {
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    Ran::of(child.wait_with_output().unwrap())
}

fn stored(swarm: &Swarm) -> u64 {
    swarm.total("parcelry_peer_chunks_stored_total")
}

#[test]
fn a_share_killed_at_half_sends_at_most_one_window_twice() {
    let swarm = Swarm::start(2);
    let alice = swarm.person();
    let bytes = samples::bytes("resume share", 300 * MIB);
    alice.write("file.bin", &bytes);
    let share = alice.start(&["share", "file.bin"]);
    wait_for("half of it", || stored(&swarm) >= 300);
    kill_9(share);
    let before = swarm.total("parcelry_peer_chunk_puts_total");
    assert!(before < 550, "killed too late to show anything: {before}");

    let ran = alice.run(&["share", "file.bin"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert!(ran.stderr.contains("Resuming: "), "{}", ran.stderr);
    let puts = swarm.total("parcelry_peer_chunk_puts_total");
    assert!(puts <= 600 + 2 * WINDOW, "{puts} puts for 600 replicas");
    let bob = swarm.person();
    bob.get(&ran.link());
    assert!(bob.read("file.bin") == bytes);
}

#[test]
fn a_get_killed_at_half_fetches_at_most_one_window_twice() {
    let swarm = Swarm::start(2);
    let alice = swarm.person();
    let bytes = samples::bytes("resume get", 300 * MIB);
    alice.write("file.bin", &bytes);
    let link = alice.share(&["file.bin"]);
    let bob = swarm.person();
    // Bytes, as a receiver on a busy machine may take its peers for far away and ask for chunks in pieces.
    let served = || swarm.total("parcelry_peer_served_bytes_total") / MIB as u64;
    let get = bob.start(&["get", &link]);
    wait_for("half of it", || served() >= 150);
    kill_9(get);
    assert!(served() < 280, "killed too late to show anything");
    assert!(!bob.path("file.bin").exists());

    let said = bob.get(&link);
    assert!(said.contains("Resuming: "), "{said}");
    assert!(served() <= 300 + WINDOW, "{} MiB were served for 300", served());
    assert!(bob.read("file.bin") == bytes);
    assert_eq!(bob.names(), ["file.bin"]);
}

#[test]
fn a_resumed_get_does_not_read_again_what_it_verified() {
    let swarm = Swarm::start(2);
    let (bob, link, bytes) = half_a_get(&swarm);
    // Whatever is in the temporary now is trusted: were it read again, this would be noticed and mended.
    let (at, spoiled) = spoil_temporary(&bob, &bytes);
    bob.get(&link);
    assert_eq!(bob.read("file.bin")[at], spoiled);
}

#[test]
fn after_a_crash_of_the_system_a_resumed_get_checks_what_is_there() {
    let swarm = Swarm::start(2);
    let (bob, link, bytes) = half_a_get(&swarm);
    spoil_temporary(&bob, &bytes);
    // Another boot id is all that a crash leaves in the journal.
    let downloads = bob.home.path().join(".local/state/parcelry/downloads");
    let directory = fs::read_dir(&downloads).unwrap().next().unwrap().unwrap().path();
    let header = fs::read_to_string(directory.join("download.json")).unwrap();
    let mut header: serde_json::Value = serde_json::from_str(&header).unwrap();
    header["boot_id"] = "another boot".into();
    fs::write(directory.join("download.json"), header.to_string()).unwrap();
    bob.get(&link);
    assert!(bob.read("file.bin") == bytes);
}

/// Changes a byte that has arrived already; where, and to what.
fn spoil_temporary(bob: &Person, bytes: &[u8]) -> (usize, u8) {
    let part = bob.names().into_iter().find(|name| name.ends_with(".part")).unwrap();
    let mut half = bob.read(&part);
    let at = half.iter().zip(bytes).position(|(a, b)| a == b && *b != 0).unwrap();
    half[at] ^= 0xff;
    fs::write(bob.path(&part), &half).unwrap();
    (at, half[at])
}

/// A get that was killed while some chunks were there and some were not.
fn half_a_get(swarm: &Swarm) -> (Person, String, Vec<u8>) {
    let alice = swarm.person();
    let bytes = samples::bytes("half", 100 * MIB);
    alice.write("file.bin", &bytes);
    let link = alice.share(&["file.bin", "--chunk-size", "64KiB"]);
    let bob = swarm.person();
    let get = bob.start(&["get", &link]);
    wait_for("some chunks", || swarm.total("parcelry_peer_chunks_served_total") >= 200);
    kill_9(get);
    assert!(!bob.path("file.bin").exists(), "killed too late to show anything");
    (bob, link, bytes)
}

#[test]
fn an_interrupted_share_says_how_to_go_on() {
    let swarm = Swarm::start(2);
    let alice = swarm.person();
    alice.write("file.bin", &samples::bytes("interrupt", 100 * MIB));
    let share = alice.start(&["share", "file.bin", "--chunk-size", "64KiB"]);
    wait_for("some chunks", || stored(&swarm) >= 100);
    let ran = interrupt(share);
    assert_eq!(ran.code, 130, "{}", ran.stderr);
    assert!(ran.stderr.contains("Run the same command again"), "{}", ran.stderr);
    assert_eq!(ran.stdout, "", "no link, no share");
    let link = alice.share(&["file.bin", "--chunk-size", "64KiB"]);
    swarm.person().get(&link);
}

#[test]
fn a_file_that_changed_in_between_becomes_a_new_share() {
    let swarm = Swarm::start(2);
    let alice = swarm.person();
    alice.write("file.bin", &samples::bytes("before", 100 * MIB));
    let share = alice.start(&["share", "file.bin", "--chunk-size", "64KiB"]);
    wait_for("some chunks", || stored(&swarm) >= 100);
    kill_9(share);
    let bytes = samples::bytes("after", 100 * MIB);
    alice.write("file.bin", &bytes);
    let ran = alice.run(&["share", "file.bin", "--chunk-size", "64KiB"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert!(!ran.stderr.contains("Resuming"), "{}", ran.stderr);
    let bob = swarm.person();
    bob.get(&ran.link());
    assert!(bob.read("file.bin") == bytes);
}

#[test]
fn a_change_that_keeps_size_and_time_is_noticed_by_the_ids() {
    let swarm = Swarm::start(2);
    let alice = swarm.person();
    let path = alice.write("file.bin", &samples::bytes("before", 100 * MIB));
    let share = alice.start(&["share", "file.bin", "--chunk-size", "64KiB"]);
    wait_for("some chunks", || stored(&swarm) >= 100);
    kill_9(share);
    let modified = path.metadata().unwrap().modified().unwrap();
    // The same inode, size and time, other bytes; and a peer that lost what it had, so that chunk 0 is due again.
    let file = fs::File::options().write(true).open(&path).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, &samples::bytes("after", 100 * MIB), 0).unwrap();
    file.set_modified(modified).unwrap();
    let mut swarm = swarm;
    swarm.peers[0].kill();
    fs::remove_dir_all(swarm.peer_data(0).join("store/chunks")).unwrap();
    swarm.add_peer(0, &[]);
    swarm.wait_for_peers(2, "alive");

    let ran = alice.run(&["share", "file.bin", "--chunk-size", "64KiB"]);
    assert_eq!(ran.code, 1, "{}", ran.stderr);
    assert!(ran.stderr.contains("changed while it was being shared"), "{}", ran.stderr);
    let link = alice.share(&["file.bin", "--chunk-size", "64KiB"]);
    let bob = swarm.person();
    bob.get(&link);
    assert!(bob.read("file.bin") == samples::bytes("after", 100 * MIB));
}

#[test]
fn a_share_goes_on_after_one_of_its_peers_restarted() {
    let mut swarm = Swarm::start(2);
    let alice = swarm.person();
    let bytes = samples::bytes("peer restarts", 100 * MIB);
    alice.write("file.bin", &bytes);
    let share = alice.start(&["share", "file.bin", "--chunk-size", "64KiB"]);
    wait_for("some chunks", || stored(&swarm) >= 100);
    kill_9(share);
    swarm.peers[0].kill();
    swarm.add_peer(0, &[]);
    swarm.wait_for_peers(2, "alive");
    let ran = alice.run(&["share", "file.bin", "--chunk-size", "64KiB"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert!(ran.stderr.contains("Resuming"), "{}", ran.stderr);
    let bob = swarm.person();
    bob.get(&ran.link());
    assert!(bob.read("file.bin") == bytes);
}

#[test]
fn a_resumed_share_goes_to_the_peers_that_have_a_part_of_it_even_if_others_have_more_room() {
    let mut swarm = Swarm::start(0);
    for number in 0..2 {
        swarm.add_peer(number, &["--capacity", "120MB"]);
    }
    let alice = swarm.person();
    alice.write("file.bin", &samples::bytes("prefer", 100 * MIB));
    let share = alice.start(&["share", "file.bin", "--chunk-size", "64KiB"]);
    wait_for("some chunks", || stored(&swarm) >= 400);
    kill_9(share);
    // Roomier peers join, and the two are promised to the share to the brim.
    swarm.add_peer(2, &[]);
    swarm.add_peer(3, &[]);
    let ran = alice.run(&["share", "file.bin", "--chunk-size", "64KiB"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert_eq!(swarm.holders(), [0, 1]);
    swarm.person().get(&ran.link());
}

#[test]
fn a_finished_share_leaves_no_journal_and_no_secret_readable_by_others() {
    use std::os::unix::fs::PermissionsExt;
    let swarm = Swarm::start(2);
    let alice = swarm.person();
    alice.write("file", b"x");
    let link = alice.share(&["file"]);
    let bob = swarm.person();
    bob.get(&link);
    for (person, journals) in [(&alice, "uploads"), (&bob, "downloads")] {
        let state = person.home.path().join(".local/state/parcelry");
        assert_eq!(common::person::names_in(&state.join(journals)), [""; 0]);
        assert_eq!(state.metadata().unwrap().permissions().mode() & 0o077, 0);
    }
}

/// Changes a file while it is being shared; nothing may be published then.
#[track_caller]
fn a_change_during_the_share_is_noticed(change: impl Fn(&std::fs::File)) {
    let swarm = Swarm::start(2);
    let alice = swarm.person();
    let path = alice.write("file.bin", &samples::bytes("s6", 60 << 20));
    let share = alice.start(&["share", "file.bin", "--chunk-size", "256KiB"]);
    wait_for("some chunks", || swarm.chunk_files(0).len() > 10);
    change(&std::fs::OpenOptions::new().write(true).open(path).unwrap());
    let ran = Ran::of(share.wait_with_output().unwrap());
    assert_eq!(ran.code, 1, "{}", ran.stderr);
    assert!(ran.stderr.contains("changed while it was being shared"), "{}", ran.stderr);
    assert_eq!(ran.stdout, "", "no link is printed");
    let again = alice.run(&["share", "file.bin", "--chunk-size", "256KiB"]);
    assert_eq!(again.code, 0, "{}", again.stderr);
    let bob = swarm.person();
    bob.get(&again.link());
    assert!(bob.read("file.bin") == alice.read("file.bin"));
}

#[test]
fn s6_a_file_that_shrinks_while_it_is_shared_is_not_published() {
    a_change_during_the_share_is_noticed(|file| file.set_len(1 << 20).unwrap());
}
