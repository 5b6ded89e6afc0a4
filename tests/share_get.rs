//! Sharing and getting through a swarm of real processes: every kind of content arrives as it was.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, SystemTime};

use common::person::{Person, Ran, names_in};
use common::samples;
use common::swarm::Swarm;

/// Shares bytes under a name and gets them as somebody else, after the sender is gone with all it had.
#[track_caller]
fn arrives(swarm: &Swarm, name: &str, bytes: &[u8]) {
    let alice = swarm.person();
    alice.write(name, bytes);
    let link = alice.share(&[&format!("./{name}")]);
    drop(alice);
    let bob = swarm.person();
    let said = bob.get(&link);
    assert!(bob.read(name) == bytes, "{name} differs");
    assert_eq!(bob.names(), [name], "nothing else is left in the folder");
    assert!(said.contains(&format!("Saved {name}")) && said.contains("verified"), "{said}");
}

#[test]
fn a_text_a_pdf_and_a_jpeg_arrive_under_their_own_names() {
    let swarm = Swarm::start(3);
    arrives(&swarm, "Testing.txt", &samples::text());
    arrives(&swarm, "Report 2026 (final).pdf", &samples::pdf());
    arrives(&swarm, "Foto – Zürich.JPG", &samples::jpeg());
    arrives(&swarm, "-rf", b"a name that looks like a flag".as_slice());
}

#[test]
fn sizes_around_chunk_boundaries_arrive() {
    let swarm = Swarm::start(2);
    for len in [0, 1, 65_535, 65_536, 65_537, 131_072, 12 * 65_536 + 5] {
        let alice = swarm.person();
        let bytes = samples::bytes("boundary", len);
        alice.write("file.bin", &bytes);
        let link = alice.share(&["file.bin", "--chunk-size", "64KiB"]);
        let bob = swarm.person();
        bob.get(&link);
        assert!(bob.read("file.bin") == bytes, "{len} bytes");
    }
}

#[test]
fn a_file_of_300_mib_arrives() {
    let swarm = Swarm::start(3);
    arrives(&swarm, "large.iso", &samples::bytes("large", 300 << 20));
}

#[test]
fn a_folder_of_a_thousand_files_arrives_with_modes_times_and_empty_folders() {
    let swarm = Swarm::start(2);
    let alice = swarm.person();
    for number in 0..1000 {
        alice.write(
            &format!("album/{:02}/photo {number}.jpg", number % 20),
            &samples::bytes("photo", number * 7),
        );
    }
    fs::create_dir_all(alice.path("album/empty/inside")).unwrap();
    let script = alice.write("album/run.sh", b"#!/bin/sh\n");
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    let time = SystemTime::UNIX_EPOCH + Duration::new(1_234_567_890, 123_456_789);
    fs::File::options().write(true).open(&script).unwrap().set_modified(time).unwrap();

    let link = alice.share(&["album"]);
    let bob = swarm.person();
    bob.get(&link);
    assert_eq!(bob.names(), ["album"]);
    for number in 0..1000 {
        let name = format!("album/{:02}/photo {number}.jpg", number % 20);
        assert!(bob.read(&name) == samples::bytes("photo", number * 7), "{name}");
    }
    assert!(bob.path("album/empty/inside").is_dir());
    let script = bob.path("album/run.sh").metadata().unwrap();
    assert_eq!(script.permissions().mode() & 0o111, 0o111);
    assert_eq!(script.modified().unwrap(), time);
    let photo = bob.path("album/00/photo 20.jpg").metadata().unwrap();
    assert_eq!(photo.permissions().mode() & 0o777, 0o666 & !0o022);
}

#[test]
fn symlinks_to_elsewhere_and_special_files_are_left_out_with_a_warning_each() {
    let swarm = Swarm::start(2);
    let alice = swarm.person();
    alice.write("folder/file", b"x");
    std::os::unix::fs::symlink("/etc/passwd", alice.path("folder/link")).unwrap();
    std::os::unix::fs::symlink("..", alice.path("folder/loop")).unwrap();
    let ran = alice.run(&["share", "folder"]);
    assert_eq!(ran.code, 3, "{}", ran.stderr);
    assert_eq!(ran.stderr.matches("it is a symlink").count(), 2, "{}", ran.stderr);
    let bob = swarm.person();
    bob.get(&ran.link());
    assert_eq!(names_in(&bob.path("folder")), ["file"]);
}

#[test]
fn several_paths_become_one_folder() {
    let swarm = Swarm::start(2);
    let alice = swarm.person();
    alice.write("a.txt", b"a");
    alice.write("b/c.txt", b"c");
    let link = alice.share(&["a.txt", "b", "--name", "both"]);
    let bob = swarm.person();
    bob.get(&link);
    assert_eq!((bob.read("both/a.txt"), bob.read("both/b/c.txt")), (b"a".to_vec(), b"c".to_vec()));
}

#[test]
fn standard_input_goes_in_and_standard_output_comes_out_in_order() {
    let swarm = Swarm::start(3);
    let alice = swarm.person();
    let bytes = samples::bytes("stdin", 5_000_001);
    let ran = alice.run_with_input(&["share", "-", "--name", "dump.tar", "--chunk-size", "64KiB"], &bytes);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let bob = swarm.person();
    let output = bob.command(&["get", &ran.link(), "-o", "-"]).output().unwrap();
    assert!(output.status.success());
    assert!(output.stdout == bytes);
    bob.get(&ran.link());
    assert!(bob.read("dump.tar") == bytes);
}

#[test]
fn nothing_is_overwritten_without_force() {
    let swarm = Swarm::start(2);
    let alice = swarm.person();
    alice.write("file", b"new");
    let link = alice.share(&["file"]);
    let bob = swarm.person();
    bob.write("file", b"old");
    let ran = bob.run(&["get", &link]);
    assert_eq!(ran.code, 9, "{}", ran.stderr);
    assert!(ran.stderr.contains("--force"), "{}", ran.stderr);
    assert_eq!(bob.read("file"), b"old");
    assert_eq!(bob.run(&["get", &link, "--force"]).code, 0);
    assert_eq!(bob.read("file"), b"new");
    assert_eq!(bob.names(), ["file"]);
}

#[test]
fn the_output_can_be_a_folder_or_another_name() {
    let swarm = Swarm::start(2);
    let alice = swarm.person();
    alice.write("file", b"x");
    let link = alice.share(&["file"]);
    let bob = swarm.person();
    fs::create_dir(bob.path("sub")).unwrap();
    assert_eq!(bob.run(&["get", &link, "-o", "sub"]).code, 0);
    assert_eq!(bob.run(&["get", &link, "-o", "other name"]).code, 0);
    assert_eq!((bob.read("sub/file"), bob.read("other name")), (b"x".to_vec(), b"x".to_vec()));
    assert_eq!(bob.run(&["get", &link, "-o", "missing/file"]).code, 1);
}

#[test]
fn two_senders_whose_chunks_had_the_same_names_do_not_meet() {
    let swarm = Swarm::start(3);
    let people: Vec<(Person, Vec<u8>)> = ["one", "two"]
        .map(|seed| {
            let person = swarm.person();
            let bytes = samples::bytes(seed, 3_000_000);
            person.write("file.bin", &bytes);
            (person, bytes)
        })
        .into();
    let children: Vec<_> = people.iter().map(|(person, _)| person.start(&["share", "file.bin"])).collect();
    for (child, (_, bytes)) in children.into_iter().zip(&people) {
        let ran = common::person::Ran::of(child.wait_with_output().unwrap());
        assert_eq!(ran.code, 0, "{}", ran.stderr);
        let bob = swarm.person();
        bob.get(&ran.link());
        assert!(bob.read("file.bin") == *bytes);
    }
}

#[test]
fn the_same_file_twice_makes_two_unrelated_shares() {
    let swarm = Swarm::start(2);
    let alice = swarm.person();
    alice.write("file", &samples::bytes("same", 70_000));
    let (first, second) = (alice.share(&["file"]), alice.share(&["file"]));
    assert_ne!(first, second);
    assert_eq!(swarm.chunk_files(0).len(), 2, "sealed under different keys");
}

#[test]
fn every_chunk_lies_on_as_many_peers_as_were_asked_for_and_no_plaintext_on_any() {
    let swarm = Swarm::start(4);
    let alice = swarm.person();
    let secret_text = b"the quick brown fox jumps over the lazy dog ".repeat(5000);
    alice.write("diary of alice.txt", &secret_text);
    alice.share(&["diary of alice.txt", "--replicas", "3", "--chunk-size", "64KiB"]);
    let counts: Vec<usize> = (0..4).map(|number| swarm.chunk_files(number).len()).collect();
    assert_eq!(counts.iter().filter(|&&n| n == 4).count(), 3, "{counts:?}");
    assert_eq!(counts.iter().filter(|&&n| n == 0).count(), 1, "{counts:?}");
    for_each_file(swarm.directory.path(), &mut |path| {
        let bytes = fs::read(path).unwrap();
        for secret in [&b"quick brown fox"[..], b"diary of alice"] {
            assert!(!bytes.windows(secret.len()).any(|window| window == secret), "{}", path.display());
        }
    });
}

fn for_each_file(directory: &std::path::Path, act: &mut dyn FnMut(&std::path::Path)) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { for_each_file(&path, act) } else { act(&path) }
    }
}

#[test]
fn one_share_comes_under_two_names_at_once() {
    let swarm = Swarm::start(2);
    let alice = swarm.person();
    let bytes = samples::bytes("two names", 40 << 20);
    alice.write("file.bin", &bytes);
    let link = alice.share(&["file.bin"]);
    let bob = swarm.person();
    let both = ["a.bin", "b.bin"].map(|name| bob.start(&["get", &link, "-o", name]));
    for get in both {
        let ran = Ran::of(get.wait_with_output().unwrap());
        assert_eq!(ran.code, 0, "{}", ran.stderr);
    }
    assert!(bob.read("a.bin") == bytes && bob.read("b.bin") == bytes);
    assert_eq!(bob.names(), ["a.bin", "b.bin"]);
}
