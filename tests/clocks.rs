//! Clocks that are wrong, and lives that are short: whoever waits is told which clock it is, and no peer is blamed for it.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::fs;
use std::time::Duration;

use common::person::{Person, Ran};
use common::samples;
use common::swarm::Swarm;
use parcelry::clock::{OFFSET_VARIABLE, now_ms};
use parcelry::journal::OwnedShares;
use parcelry_core::link::ShareLink;

const DAY_MS: i64 = 86_400_000;

/// Runs a command on a machine whose clock is wrong by this many days.
fn run_with_clock(person: &Person, days: i64, args: &[&str]) -> Ran {
    let file = person.home.path().join("offset");
    fs::write(&file, (days * DAY_MS).to_string()).unwrap();
    Ran::of(person.command(args).env(OFFSET_VARIABLE, file).output().unwrap())
}

#[test]
fn f24_f34_a_senders_wrong_clock_is_named_before_anything_is_sent_and_no_peer_is_blamed() {
    let swarm = Swarm::start(2);
    let alice = swarm.person();
    alice.write("file", &samples::bytes("clock", 200_000));
    for (days, args, off) in [
        (-8, &["share", "file"][..], "8 days behind the tracker's: by that one the share would be over"),
        (100, &["share", "file"], "100 days ahead of the tracker's: by that one the share would live longer"),
    ] {
        let ran = run_with_clock(&alice, days, args);
        assert_eq!(ran.code, 1, "{}", ran.stderr);
        assert!(ran.stderr.contains(&format!("this machine's clock is {off}")), "{}", ran.stderr);
        assert!(!ran.stderr.contains("peer"), "{}", ran.stderr);
    }
    assert!(swarm.holders().is_empty(), "nothing was sent");
    let ran = run_with_clock(&alice, -2, &["share", "file"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let warned = "2 days behind the tracker's: by that one the share ends in 5 days";
    assert!(ran.stderr.contains(warned), "{}", ran.stderr);
    let link = ran.link();
    let ran = run_with_clock(&alice, -2, &["extend", &link, "1d"]);
    assert!(ran.code == 1 && ran.stderr.contains("would be over at once"), "{}", ran.stderr);
    swarm.person().get(&link);
    let ran = alice.run(&["share", "file", "--expires", "0s"]);
    assert!(ran.code == 2 && ran.stderr.contains("at least a second"), "{}", ran.stderr);
}

#[test]
fn f24_a_receiver_whose_clock_is_ahead_is_told_so() {
    let swarm = Swarm::start(2);
    let (alice, bob) = (swarm.person(), swarm.person());
    alice.write("file", b"x");
    let link = alice.share(&["file"]);
    let ran = run_with_clock(&bob, 8, &["get", &link]);
    assert_eq!(ran.code, 4, "{}", ran.stderr);
    assert!(ran.stderr.contains("this machine's clock is 8 days ahead of the tracker's"), "{}", ran.stderr);
    assert!(!ran.stderr.contains("Ask the sender"), "{}", ran.stderr);
    assert_eq!(run_with_clock(&bob, 3, &["get", &link]).code, 0);
}

#[test]
fn f24_peers_whose_clocks_are_wrong_are_named_with_by_how_much() {
    let mut swarm = Swarm::start(0);
    let offset = swarm.directory.path().join("offset");
    fs::write(&offset, (9 * DAY_MS).to_string()).unwrap();
    (0..2).for_each(|number| swarm.add_peer_with(number, OFFSET_VARIABLE, offset.to_str().unwrap()));
    let alice = swarm.person();
    alice.write("file", b"x");
    let ran = alice.run(&["share", "file"]);
    assert_eq!(ran.code, 1, "{}", ran.stderr);
    assert!(
        // Which of the two refuses first is theirs.
        ran.stderr.contains(" has another time: its clock is 9 days ahead of the tracker's"),
        "{}",
        ran.stderr
    );
    assert!(
        ran.stderr.contains("Set the clocks right") && !ran.stderr.contains("more peers"),
        "{}",
        ran.stderr
    );
}

#[test]
fn f48_a_shares_life_begins_when_everything_was_sent() {
    let swarm = Swarm::start(2);
    let alice = swarm.person();
    alice.write("file", &samples::bytes("life", 1 << 20));
    let signal = |signal| {
        for peer in &swarm.peers {
            let pid = rustix::process::Pid::from_raw(peer.process_id().try_into().unwrap()).unwrap();
            rustix::process::kill_process(pid, signal).unwrap();
        }
    };
    signal(rustix::process::Signal::STOP);
    let sharing = alice.start(&["share", "file", "--expires", "60s"]);
    let state = alice.home.path().join(".local/state/parcelry");
    common::wait_for("the upload to begin", || state.join("uploads").exists());
    std::thread::sleep(Duration::from_secs(1));
    let sent_after_ms = now_ms();
    signal(rustix::process::Signal::CONT);
    let ran = Ran::of(sharing.wait_with_output().unwrap());
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let link: ShareLink = ran.link().parse().unwrap();
    let terms = OwnedShares::new(&state).get(link.share).unwrap().unwrap().terms().unwrap();
    assert!(terms.expires_ms >= sent_after_ms + 60_000, "{terms:?} {sent_after_ms}");
}
