//! Directories with entries that cannot be shared, or not be saved everywhere: the others go through, and each of these is named.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::ffi::OsStr;
use std::fs::{self, Permissions};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};

use common::person::{Person, Ran};
use common::swarm::Swarm;
use common::unprivileged;
use serde_json::Value;

/// What is left out of `proj`, and a word of the reason.
const AWKWARD: [(&str, &str); 6] = [
    ("Icon\\r", "control character"),
    ("M\u{fffd}ller", "not Unicode"),
    ("a\\b", "backslash"),
    ("locked", "Permission denied"),
    ("secret", "Permission denied"),
    ("socket", "special file"),
];

fn make_awkward_directory(person: &Person) {
    for name in [
        "Notes.",
        "aux.c",
        "X/readme",
        "x/README",
        "a:b",
        "Übergröße",
        "Привет",
        "Icon\r",
        "a\\b",
        "locked/x",
    ] {
        person.write(&format!("proj/{name}"), name.as_bytes());
    }
    let latin = person.path("proj").join(OsStr::from_bytes(b"M\xfcller"));
    fs::write(latin, "x").unwrap();
    let socket = std::os::unix::net::UnixListener::bind(person.path("proj/socket")).unwrap();
    drop(socket);
    let secret = person.write("proj/secret", b"x");
    for path in [secret, person.path("proj/locked")] {
        fs::set_permissions(path, Permissions::from_mode(0o000)).unwrap();
    }
}

#[test]
fn f06_a_folder_with_awkward_entries_is_shared_without_them_and_each_is_named() {
    let swarm = Swarm::start(2);
    let (alice, bob) = (swarm.person(), swarm.person());
    make_awkward_directory(&alice);

    let strict = unprivileged::run(&alice, &["share", "proj", "--strict"]);
    assert_eq!((strict.code, strict.stdout.as_str()), (2, ""), "{}", strict.stderr);
    assert!(strict.stderr.contains("6 entries cannot be shared"), "{}", strict.stderr);
    assert!(swarm.holders().is_empty(), "nothing was sent");

    let shared = unprivileged::run(&alice, &["share", "proj"]);
    assert_eq!(shared.code, 3, "{}", shared.stderr);
    assert!(shared.stderr.contains("shared, but 6 entries were left out"), "{}", shared.stderr);
    for ran in [&strict, &shared] {
        for (name, why) in AWKWARD {
            let line = |line: &&str| line.contains(&format!("proj/{name}: ")) && line.contains(why);
            assert_eq!(ran.stderr.lines().filter(line).count(), 1, "{name} {}", ran.stderr);
        }
    }
    for note in ["aux.c\" does not work on every system", "Notes.\" does", "a:b\" does", "x/README\" does"] {
        assert!(shared.stderr.contains(note), "{note} {}", shared.stderr);
    }
    bob.get(&shared.link());
    for name in ["Notes.", "aux.c", "X/readme", "x/README", "a:b", "Übergröße", "Привет"] {
        assert_eq!(bob.read(&format!("proj/{name}")), name.as_bytes());
    }
    assert_eq!(fs::read_dir(bob.path("proj")).unwrap().count(), 7, "and nothing else");

    let ran = unprivileged::run(&alice, &["share", "proj", "--json"]);
    assert_eq!(ran.code, 3, "{}", ran.stderr);
    let events = ran.events();
    let named: Vec<&Value> = events.iter().filter(|event| event["type"] == "left_out").collect();
    assert_eq!(named.len(), AWKWARD.len());
    assert!(named[2]["path"].as_str().unwrap().ends_with("proj/a\\b"), "{}", named[2]);
    assert!(named[2]["why"].as_str().unwrap().contains("backslash"));
    let summary = events.iter().find(|event| event["type"] == "summary").unwrap();
    assert_eq!(summary["left_out"], 6);
    assert_eq!(events.last().unwrap()["exit_code"], 3);
}

#[test]
fn f06_what_was_named_and_cannot_be_shared_is_an_error() {
    let swarm = Swarm::start(2);
    let alice = swarm.person();
    make_awkward_directory(&alice);
    for (named, code, why) in [
        ("proj/secret", 10, "Permission denied"),
        ("proj/locked", 10, "Permission denied"),
        ("proj/socket", 2, "special file"),
        ("proj/Icon\r", 2, "control character"),
        ("proj/a\\b", 2, "backslash"),
    ] {
        for args in [&["share", named][..], &["share", "proj/Notes.", named]] {
            let ran = unprivileged::run(&alice, args);
            assert_eq!(ran.code, code, "{args:?} {}", ran.stderr);
            assert!(ran.stderr.contains(why), "{args:?} {}", ran.stderr);
        }
    }
    let renamed = unprivileged::run(&alice, &["share", "proj/a\\b", "--name", "a-b"]);
    assert_eq!(renamed.code, 0, "{}", renamed.stderr);
}

#[test]
fn f07_a_symlink_that_was_named_is_followed_and_a_pipe_is_told_how_it_goes() {
    let swarm = Swarm::start(2);
    let (alice, bob) = (swarm.person(), swarm.person());
    alice.write("disks/v2.iso", b"image");
    symlink("disks/v2.iso", alice.path("latest.iso")).unwrap();
    bob.get(&alice.share(&["latest.iso"]));
    assert_eq!(bob.read("latest.iso"), b"image");

    let (reader, _writer) = std::io::pipe().unwrap();
    let ran = Ran::of(alice.command(&["share", "/dev/fd/0"]).stdin(reader).output().unwrap());
    assert_eq!(ran.code, 2, "{}", ran.stderr);
    assert!(ran.stderr.contains("share - --name"), "{}", ran.stderr);
}
