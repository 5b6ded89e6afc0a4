//! Who may read what arrives: permissions are the sender's, less the receiver's mask.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use common::person::{Person, Ran};
use common::swarm::Swarm;
use common::unprivileged;
use parcelry::crash::{self, Point};

/// What is shared: paths with their modes, directories first.
const MODES: [(&str, u32); 13] = [
    ("s/private", 0o700),
    ("s/read only", 0o555),
    ("s/open", 0o777),
    ("s/usual", 0o755),
    ("s/empty", 0o500),
    ("s/private/key", 0o600),
    ("s/private/readable", 0o644),
    ("s/read only/kept", 0o444),
    ("s/open/everybody", 0o666),
    ("s/usual/tool", 0o755),
    ("s/usual/group", 0o640),
    ("s/usual/setuid", 0o4755),
    ("s/none", 0o400),
];

fn make_directory(alice: &Person) {
    let directories = ["s/private", "s/read only", "s/open", "s/usual", "s/empty"];
    directories.iter().for_each(|directory| fs::create_dir_all(alice.path(directory)).unwrap());
    for (path, _) in MODES.iter().filter(|(path, _)| !directories.contains(path)) {
        alice.write(path, path.as_bytes());
    }
    // A change of owner takes setuid away.
    drop(unprivileged::command(alice, &[]));
    for (path, mode) in MODES.iter().rev() {
        set_mode(&alice.path(path), *mode);
    }
    set_mode(&alice.path("s"), 0o2770);
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().mode() & 0o7777
}

#[track_caller]
fn assert_modes(person: &Person, umask: u32) {
    for (path, given) in MODES {
        let arrived = mode(&person.path(path));
        assert_eq!(arrived, given & 0o777 & !umask, "{path} {arrived:o} with {umask:o}");
    }
    assert_eq!(mode(&person.path("s")), 0o770 & !umask);
    assert_eq!(person.read("s/private/key"), b"s/private/key");
}

#[test]
fn f09_modes_are_the_senders_less_the_receivers_mask_and_never_setuid_or_setgid() {
    let swarm = Swarm::start(2);
    let alice = swarm.person();
    make_directory(&alice);
    let shared = unprivileged::run(&alice, &["share", "s"]);
    assert_eq!(shared.code, 0, "{}", shared.stderr);
    for umask in ["000", "022", "077"] {
        let bob = swarm.person();
        let ran = unprivileged::run_with_umask(&bob, umask, &["get", &shared.link()]);
        assert_eq!(ran.code, 0, "{}", ran.stderr);
        assert_modes(&bob, u32::from_str_radix(umask, 8).unwrap());
    }
    for (name, given) in [("private/key", 0o600), ("read only/kept", 0o444), ("usual/setuid", 0o4755)] {
        let shared = unprivileged::run(&alice, &["share", &format!("s/{name}"), "--name", "one"]);
        let bob = swarm.person();
        let ran = unprivileged::run_with_umask(&bob, "002", &["get", &shared.link()]);
        assert_eq!(ran.code, 0, "{}", ran.stderr);
        assert_eq!(mode(&bob.path("one")), given & 0o775);
    }
}

#[test]
fn f09_what_its_owner_may_not_write_is_finished_after_a_crash() {
    let swarm = Swarm::start(2);
    let (alice, bob) = (swarm.person(), swarm.person());
    make_directory(&alice);
    let shared = unprivileged::run(&alice, &["share", "s"]);
    let get = ["get", &shared.link()];
    let mut dying = unprivileged::command(&bob, &get);
    let died = Ran::of(dying.env(crash::VARIABLE, format!("{:?}", Point::ModesGiven)).output().unwrap());
    assert_eq!(died.code, -1, "{}", died.stderr);
    let ran = unprivileged::run_with_umask(&bob, "022", &get);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert!(ran.stderr.contains("Resuming"), "{}", ran.stderr);
    assert_modes(&bob, 0o022);
    assert_eq!(bob.names(), ["s"], "and nothing is left");
}

/// The members of a group share a directory: what is saved in it stays the group's.
#[test]
fn f39_what_is_saved_in_a_setgid_folder_inherits_its_group() {
    let swarm = Swarm::start(2);
    let (alice, bob) = (swarm.person(), swarm.person());
    alice.write("s/d/file", b"x");
    set_mode(&alice.path("s"), 0o755);
    set_mode(&alice.path("s/d"), 0o750);
    set_mode(&bob.work(), 0o2775);
    let link = alice.share(&["s"]);
    // Also what was killed before and is gone on with.
    let mut dies = bob.command(&["get", &link]);
    let died = Ran::of(dies.env(crash::VARIABLE, format!("{:?}", Point::AllWritten)).output().unwrap());
    assert_eq!(died.code, -1, "{}", died.stderr);
    let ran = bob.run(&["get", &link]);
    assert!(ran.code == 0 && ran.stderr.contains("Resuming"), "{}", ran.stderr);
    let group = fs::metadata(bob.work()).unwrap().gid();
    for (directory, given) in [("s", 0o2755), ("s/d", 0o2750)] {
        assert_eq!(
            (mode(&bob.path(directory)), fs::metadata(bob.path(directory)).unwrap().gid()),
            (given, group)
        );
    }
}

#[test]
fn f39_a_folder_that_its_owner_may_not_write_to_goes_into_one_that_is_there() {
    let swarm = Swarm::start(2);
    let (alice, bob) = (swarm.person(), swarm.person());
    make_directory(&alice);
    set_mode(&alice.path("s"), 0o555);
    let shared = unprivileged::run(&alice, &["share", "s"]);
    assert_eq!(shared.code, 0, "{}", shared.stderr);
    bob.write("s/mine", b"kept");
    let get = ["get", &shared.link(), "--force"];
    let mut dies = unprivileged::command(&bob, &get);
    let died = Ran::of(dies.env(crash::VARIABLE, format!("{:?}", Point::EntryMoved)).output().unwrap());
    assert_eq!(died.code, -1, "{}", died.stderr);
    let ran = unprivileged::run_with_umask(&bob, "022", &get);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    for (path, given) in MODES {
        let arrived = mode(&bob.path(path));
        assert_eq!(arrived, given & 0o755, "{path} {arrived:o}");
    }
    assert_eq!(bob.read("s/mine"), b"kept");
    set_mode(&alice.path("s"), 0o755);
}
