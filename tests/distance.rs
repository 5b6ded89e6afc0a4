//! Receivers that are far from the peers: chunks come in pieces over many connections.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use common::person::{Person, Ran};
use common::swarm::Swarm;
use common::{flip_a_bit, http, samples, wait_for};

/// The command as somebody far away runs it.
fn from_afar(person: &Person, args: &[&str]) -> Command {
    let mut command = person.command(args);
    command.env("PARCELRY_DISTANCE", "100").stdin(Stdio::null());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn shared(swarm: &Swarm, name: &str, bytes: usize, flags: &[&str]) -> (Vec<u8>, String) {
    let alice = swarm.person();
    let bytes = samples::bytes(name, bytes);
    alice.write("file.bin", &bytes);
    (bytes, alice.share(&[&["file.bin"], flags].concat()))
}

#[test]
fn chunks_come_in_pieces_to_a_file_and_to_standard_output() {
    let swarm = Swarm::start(2);
    let (bytes, link) = shared(&swarm, "afar", 20 * (1 << 20) + 77, &[]);
    let served = || swarm.total("parcelry_peer_chunks_served_total");
    let bob = swarm.person();
    let ran = Ran::of(from_afar(&bob, &["get", &link]).output().unwrap());
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert!(bob.read("file.bin") == bytes);
    assert!(served() >= 20 * 12, "only {} requests were served", served());
    let output = from_afar(&bob, &["get", &link, "-o", "-"]).output().unwrap();
    assert!(output.status.success() && output.stdout == bytes);
}

/// Spoils every chunk at one of the two holders, given another one; the get must deliver, and say who served wrong
/// bytes.
#[track_caller]
fn spoiled_chunks_are_noticed(is_wrong: bool, spoil: impl Fn(&Path, &Path)) {
    let swarm = Swarm::start_seldom_audited(2);
    let (bytes, link) = shared(&swarm, "spoiled", 40 << 20, &[]);
    swarm.wait_for_proofs();
    swarm.spoil_chunks(0, spoil);
    let bob = swarm.person();
    let ran = Ran::of(from_afar(&bob, &["get", &link]).output().unwrap());
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert!(bob.read("file.bin") == bytes);
    assert_eq!(ran.stderr.contains("peer p0 served wrong bytes"), is_wrong, "{}", ran.stderr);
    assert!(!ran.stderr.contains("peer p1 served"), "{}", ran.stderr);
}

#[test]
fn wrong_bytes_in_one_piece_are_noticed() {
    spoiled_chunks_are_noticed(true, |file, _| flip_a_bit(file));
}

#[test]
fn a_chunk_that_is_too_short_for_some_pieces_is_noticed() {
    spoiled_chunks_are_noticed(true, |file, _| {
        fs::File::options().write(true).open(file).unwrap().set_len(500_000).unwrap();
    });
}

#[test]
fn a_chunk_that_is_too_long_is_noticed_though_all_its_pieces_are_right() {
    spoiled_chunks_are_noticed(true, |file, _| {
        let len = file.metadata().unwrap().len();
        fs::File::options().write(true).open(file).unwrap().set_len(len + 1).unwrap();
    });
}

#[test]
fn another_chunk_under_the_name_is_noticed() {
    spoiled_chunks_are_noticed(true, |file, other| fs::copy(other, file).map(drop).unwrap());
}

#[test]
fn chunks_that_one_peer_lost_come_from_the_other() {
    spoiled_chunks_are_noticed(false, |file, _| fs::remove_file(file).unwrap());
}

#[test]
fn one_of_two_sources_dies_under_way() {
    let mut swarm = Swarm::start(2);
    let (bytes, link) = shared(&swarm, "dies", 60 << 20, &[]);
    let bob = swarm.person();
    let get = from_afar(&bob, &["get", &link]).spawn().unwrap();
    let address = swarm.peers[0].address();
    wait_for("some pieces", || http::metric(&address, "parcelry_peer_chunks_served_total") > 50);
    swarm.peers[0].kill();
    let ran = Ran::of(get.wait_with_output().unwrap());
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert!(bob.read("file.bin") == bytes);
}

#[test]
fn the_largest_chunks_of_which_only_two_have_room_come_as_well() {
    let swarm = Swarm::start(2);
    let (bytes, link) = shared(&swarm, "large", 70 << 20, &["--chunk-size", "16MiB"]);
    let bob = swarm.person();
    let ran = Ran::of(from_afar(&bob, &["get", &link]).output().unwrap());
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert!(bob.read("file.bin") == bytes);
}
