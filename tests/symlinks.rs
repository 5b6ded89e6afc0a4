//! Symlinks in directories: those that lead to an entry of their share go with it, all others are named.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use common::person::{Person, Ran};
use common::swarm::Swarm;
use parcelry::crash::{self, Point};

/// Links below `s`, with where they lead.
const INSIDE: [(&str, &str); 6] = [
    ("latest", "disks/v2.iso"),
    ("disks/current", "v2.iso"),
    ("all", "disks"),
    ("only links/up", "../disks/deep/file"),
    ("here", "."),
    ("chain", "all/current"),
];

fn make_directory(alice: &Person) {
    alice.write("s/disks/v2.iso", b"image");
    alice.write("s/disks/deep/file", b"deep");
    fs::create_dir(alice.path("s/only links")).unwrap();
    for (path, target) in INSIDE {
        symlink(target, alice.path("s").join(path)).unwrap();
    }
}

#[track_caller]
fn assert_arrived(bob: &Person) {
    for (path, target) in INSIDE {
        assert_eq!(fs::read_link(bob.path("s").join(path)).unwrap(), Path::new(target), "{path}");
    }
    for path in ["s/latest", "s/disks/current", "s/all/v2.iso", "s/chain", "s/here/latest"] {
        assert_eq!(bob.read(path), b"image", "{path}");
    }
    assert_eq!(bob.read("s/only links/up"), b"deep");
}

#[test]
fn f07_symlinks_that_lead_to_entries_of_their_share_go_with_it() {
    let swarm = Swarm::start(2);
    let (alice, bob) = (swarm.person(), swarm.person());
    make_directory(&alice);
    let link = alice.share(&["s"]);
    bob.get(&link);
    assert_arrived(&bob);
}

#[test]
fn f07_symlinks_that_lead_elsewhere_are_left_out_and_named() {
    let swarm = Swarm::start(2);
    let (alice, bob) = (swarm.person(), swarm.person());
    make_directory(&alice);
    fs::write(alice.path("secret"), b"outside").unwrap();
    let inside = fs::canonicalize(alice.path("s/disks")).unwrap();
    let elsewhere = [
        ("absolute", inside.to_str().unwrap(), "absolute"),
        ("out", "../secret", "leads to nothing in the share"),
        ("dangling", "disks/none", "leads to nothing in the share"),
        ("loop", "loop", "leads to nothing in the share"),
        ("through", "out", "leads to nothing in the share"),
        ("DISKS", "disks", "name of another entry"),
    ];
    for (path, target, _) in elsewhere {
        symlink(target, alice.path("s").join(path)).unwrap();
    }
    let strict = alice.run(&["share", "s", "--strict"]);
    assert_eq!(strict.code, 2, "{}", strict.stderr);
    let shared = alice.run(&["share", "s"]);
    assert_eq!(shared.code, 3, "{}", shared.stderr);
    for (path, _, why) in elsewhere {
        let is_told = |line: &&str| line.contains(&format!("s/{path}: ")) && line.contains(why);
        assert_eq!(shared.stderr.lines().filter(is_told).count(), 1, "{path} {}", shared.stderr);
    }
    bob.get(&shared.link());
    assert_arrived(&bob);
    assert!(elsewhere.iter().all(|(path, ..)| fs::symlink_metadata(bob.path("s").join(path)).is_err()));
}

#[test]
fn f07_symlinks_that_were_made_before_a_crash_are_no_obstacle() {
    let swarm = Swarm::start(2);
    let (alice, bob) = (swarm.person(), swarm.person());
    make_directory(&alice);
    let get = ["get", &alice.share(&["s"])];
    let mut dying = bob.command(&get);
    let died = Ran::of(dying.env(crash::VARIABLE, format!("{:?}", Point::ModesGiven)).output().unwrap());
    assert_eq!(died.code, -1, "{}", died.stderr);
    let ran = bob.run(&get);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert!(ran.stderr.contains("Resuming"), "{}", ran.stderr);
    assert_arrived(&bob);
}
