//! What `get` does to what stands where it saves, and on file systems that can do less than others.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use common::person::{Person, Ran, names_in};
use common::swarm::Swarm;
use common::{samples, wait_for};
use parcelry::crash::{self, Point};
use parcelry::disk::file_system;
use parcelry::human;

/// What FAT, exFAT and NTFS lack behind FUSE, directories on other machines, and old kernels.
const LACKS: [&str; 5] =
    ["NoReplace", "NoReplace Links", "Inodes", "NoReplace Links Modes Inodes", "OneStep"];

fn symlink(to: &str, at: &Path) {
    std::os::unix::fs::symlink(to, at).unwrap();
}

fn fifo(at: &Path) {
    rustix::fs::mkfifoat(rustix::fs::CWD, at, rustix::fs::Mode::RWXU).unwrap();
}

/// A swarm, and the links of a file `file` and a directory `folder` with `a`, `sub/b` and an empty directory.
fn shares() -> (Swarm, String, String) {
    let swarm = Swarm::start(2);
    let alice = swarm.person();
    alice.write("file", b"new");
    alice.write("folder/a", b"new a");
    alice.write("folder/sub/b", b"new b");
    fs::create_dir(alice.path("folder/empty")).unwrap();
    let (file, directory) = (alice.share(&["file"]), alice.share(&["folder"]));
    (swarm, file, directory)
}

fn refused(bob: &Person, args: &[&str], words: &str) {
    let ran = bob.run(args);
    assert_eq!(ran.code, 9, "{args:?} {}", ran.stderr);
    assert!(ran.stderr.contains(words), "{args:?} {}", ran.stderr);
    assert!(!ran.stderr.contains("--force"), "it would be refused, too: {}", ran.stderr);
}

#[test]
fn f39_with_force_a_file_replaces_a_file_and_nothing_else() {
    let (swarm, link, _) = shares();
    let bob = swarm.person();
    bob.write("file/precious", b"kept");
    for args in [&["get", &link][..], &["get", &link, "--force"]] {
        refused(&bob, args, "file is a folder, and the share is a file");
    }
    assert_eq!(bob.read("file/precious"), b"kept");
    fs::remove_dir_all(bob.path("file")).unwrap();

    bob.write("other", b"kept");
    symlink("other", &bob.path("file"));
    for args in [&["get", &link][..], &["get", &link, "--force"], &["get", &link, "-o", "file", "--force"]] {
        refused(&bob, args, "file is a symlink, which is neither followed nor replaced");
    }
    assert_eq!(bob.read("other"), b"kept");
    fs::remove_file(bob.path("file")).unwrap();

    let _socket = std::os::unix::net::UnixListener::bind(bob.path("file")).unwrap();
    refused(&bob, &["get", &link, "-o", "file", "--force"], "file is a socket");
    fs::remove_file(bob.path("file")).unwrap();

    // One that was not named is not written into.
    fifo(&bob.path("file"));
    refused(&bob, &["get", &link, "--force"], "file is a fifo");
    fs::remove_file(bob.path("file")).unwrap();

    bob.write("file", b"old");
    let ran = bob.run(&["get", &link]);
    assert_eq!(ran.code, 9);
    assert!(ran.stderr.contains("or replace it with --force"), "{}", ran.stderr);
    assert_eq!(bob.run(&["get", &link, "--force"]).code, 0);
    assert_eq!(bob.read("file"), b"new");
    assert_eq!(bob.names(), ["file", "other"]);
}

#[test]
fn f39_with_force_a_folders_files_go_into_the_folder_that_is_there() {
    let (swarm, _, link) = shares();
    let bob = swarm.person();
    bob.write("folder/a", b"old a");
    bob.write("folder/sub/mine", b"kept");
    let ran = bob.run(&["get", &link]);
    assert_eq!(ran.code, 9);
    assert!(ran.stderr.contains("put the share's files into it with --force"), "{}", ran.stderr);
    assert_eq!(bob.read("folder/a"), b"old a");

    assert_eq!(bob.run(&["get", &link, "--force"]).code, 0);
    assert_eq!(names_in(&bob.path("folder")), ["a", "empty", "sub"]);
    assert_eq!(names_in(&bob.path("folder/sub")), ["b", "mine"]);
    assert_eq!((bob.read("folder/a"), bob.read("folder/sub/b")), (b"new a".to_vec(), b"new b".to_vec()));
    assert_eq!(bob.read("folder/sub/mine"), b"kept");
    assert_eq!(bob.names(), ["folder"]);
}

#[test]
fn f39_a_folder_in_which_something_else_stands_is_left_as_it_is() {
    let (swarm, _, link) = shares();
    let bob = swarm.person();
    let place = |what: &str, put: &dyn Fn(&Path), at: &str, words: &str| {
        bob.write("folder/mine", b"kept");
        put(&bob.path(at));
        refused(&bob, &["get", &link, "--force"], words);
        assert_eq!(names_in(&bob.path("folder")).len(), 2, "{what}: nothing was put beside it");
        assert_eq!(bob.read("folder/mine"), b"kept", "{what}");
        fs::remove_dir_all(bob.path("folder")).unwrap();
    };
    let file = |at: &Path| fs::write(at, b"x").unwrap();
    let directory = |at: &Path| fs::create_dir(at).unwrap();
    place(
        "a folder for a file",
        &directory,
        "folder/a",
        "folder/a is a folder, and the share has a file there",
    );
    place(
        "a file for a folder",
        &file,
        "folder/sub",
        "folder/sub is a file, and the share has a folder there",
    );
    place("a file for an empty folder", &file, "folder/empty", "folder/empty is a file");
    place("a symlink to a folder", &|at| symlink("/", at), "folder/sub", "folder/sub is a symlink");
    place("a symlink to a file", &|at| symlink("mine", at), "folder/a", "folder/a is a symlink");
    // The directory itself.
    bob.write("other/mine", b"kept");
    symlink("other", &bob.path("folder"));
    refused(&bob, &["get", &link, "--force"], "folder is a symlink");
    fs::remove_file(bob.path("folder")).unwrap();
    bob.write("folder", b"kept");
    refused(&bob, &["get", &link, "--force"], "folder is a file, and the share is a folder");
    fifo(&bob.path("fifo"));
    refused(&bob, &["get", &link, "-o", "fifo", "--force"], "fifo is a fifo, and the share is a folder");
    assert_eq!(bob.names(), ["fifo", "folder", "other"]);
}

#[test]
fn f39_what_was_killed_while_files_went_into_a_folder_is_gone_on_with() {
    let (swarm, _, link) = shares();
    let bob = swarm.person();
    bob.write("folder/a", b"old");
    let mut dies = bob.command(&["get", &link, "--force"]);
    dies.env(crash::VARIABLE, format!("{:?}", Point::AllWritten)).output().unwrap();
    let part = names_in(&bob.path("folder")).into_iter().find(|name| name.ends_with(".part")).unwrap();
    // One was in place already.
    let moved = bob.path("folder").join(part).join("a");
    fs::write(bob.path("folder/a"), fs::read(&moved).unwrap()).unwrap();
    fs::remove_file(moved).unwrap();
    let ran = bob.run(&["get", &link, "--force"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert_eq!((bob.read("folder/a"), bob.read("folder/sub/b")), (b"new a".to_vec(), b"new b".to_vec()));
    assert_eq!(names_in(&bob.path("folder")), ["a", "empty", "sub"]);
}

#[test]
fn f39_new_folders_in_a_folder_of_a_group_are_the_groups() {
    let (swarm, file, link) = shares();
    let bob = swarm.person();
    let mode = |name: &str| bob.path(name).metadata().unwrap().mode() & 0o7777;
    fs::set_permissions(bob.work(), fs::Permissions::from_mode(0o2775)).unwrap();
    bob.get(&link);
    bob.get(&file);
    for directory in ["folder", "folder/sub", "folder/empty"] {
        assert_eq!(mode(directory), 0o2755, "{directory}");
    }
    assert_eq!(mode("file"), 0o644, "a file is never more than readable");
    // Into a directory of a group below one that is of none.
    fs::remove_dir_all(bob.path("folder")).unwrap();
    fs::set_permissions(bob.work(), fs::Permissions::from_mode(0o755)).unwrap();
    fs::create_dir(bob.path("folder")).unwrap();
    fs::set_permissions(bob.path("folder"), fs::Permissions::from_mode(0o2775)).unwrap();
    assert_eq!(bob.run(&["get", &link, "--force"]).code, 0);
    assert_eq!((mode("folder"), mode("folder/sub")), (0o2775, 0o2755));
}

#[test]
fn f04_devices_and_fifos_that_are_named_are_written_into() {
    let swarm = Swarm::start(2);
    let (alice, bob) = (swarm.person(), swarm.person());
    let bytes = samples::bytes("through a fifo", 3_000_000);
    alice.write("file", &bytes);
    alice.write("folder/file", b"x");
    let link = alice.share(&["file", "--chunk-size", "64KiB"]);
    let before = Path::new("/dev/null").metadata().unwrap();
    for args in [&["get", &link, "-o", "/dev/null"][..], &["get", &link, "-o", "/dev/null", "--force"]] {
        let ran = bob.run(args);
        assert_eq!(ran.code, 0, "{}", ran.stderr);
    }
    let after = Path::new("/dev/null").metadata().unwrap();
    assert_eq!((before.ino(), before.rdev(), before.mode()), (after.ino(), after.rdev(), after.mode()));

    fifo(&bob.path("pipe"));
    let get = bob.start(&["get", &link, "-o", "pipe"]);
    assert!(fs::read(bob.path("pipe")).unwrap() == bytes);
    let ran = Ran::of(get.wait_with_output().unwrap());
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert_eq!(bob.names(), ["pipe"]);

    let ran = bob.run(&["get", &link, "-o", "/dev/full"]);
    assert_eq!(ran.code, 8, "{}", ran.stderr);
    let directory = alice.share(&["folder"]);
    refused(
        &bob,
        &["get", &directory, "-o", "/dev/null"],
        "/dev/null is a device, and the share is a folder",
    );
}

#[test]
fn f34_a_path_that_ends_with_a_slash_makes_a_folder_and_one_below_a_file_is_refused() {
    let (swarm, file, directory) = shares();
    let bob = swarm.person();
    for (link, saved) in [(&file, "new/file"), (&directory, "new/folder/sub/b")] {
        assert_eq!(bob.run(&["get", link, "-o", "new/"]).code, 0);
        assert!(bob.path(saved).is_file(), "{saved}");
    }
    refused(&bob, &["get", &file, "-o", "new/file/x"], "new/file is no folder");
    refused(&bob, &["get", &file, "-o", "new/file/"], "cannot make the folder new/file/");
    let ran = bob.run(&["get", &file, "-o", "none/x"]);
    assert_eq!(ran.code, 1);
    assert!(ran.stderr.contains("there is no folder none\n"), "{}", ran.stderr);
    assert_eq!(bob.names(), ["new"]);
}

fn run_lacking(bob: &Person, lacks: &str, args: &[&str]) -> Ran {
    Ran::of(bob.command(args).env(file_system::VARIABLE, lacks).output().unwrap())
}

#[test]
fn f05_what_a_file_system_lacks_keeps_nobody_from_saving_and_replacing() {
    let (swarm, file, directory) = shares();
    for lacks in LACKS {
        let bob = swarm.person();
        for (link, saved) in [(&file, "file"), (&directory, "folder/sub/b")] {
            let get = |args: &[&str]| run_lacking(&bob, lacks, &[&["get", link], args].concat());
            let ran = get(&[]);
            assert_eq!(ran.code, 0, "{lacks}: {}", ran.stderr);
            let bytes = bob.read(saved);
            bob.write(saved, b"old");
            assert_eq!(get(&[]).code, 9, "{lacks}");
            assert_eq!(bob.read(saved), b"old", "{lacks}");
            assert_eq!(get(&["--force"]).code, 0, "{lacks}");
            assert_eq!(bob.read(saved), bytes, "{lacks}");
        }
        assert_eq!(bob.names(), ["file", "folder"], "{lacks}");
    }
}

/// Somebody who died with all of the link's share in the temporary.
fn all_but_the_name(swarm: &Swarm, link: &str) -> (Person, String) {
    let bob = swarm.person();
    let mut dies = bob.command(&["get", link]);
    dies.env(crash::VARIABLE, format!("{:?}", Point::AllWritten)).output().unwrap();
    let part = bob.names().into_iter().find(|name| name.ends_with(".part")).unwrap();
    (bob, part)
}

#[test]
fn f30_what_was_fetched_of_a_share_that_is_over_is_removed_by_the_next_get() {
    let swarm = Swarm::start(2);
    let alice = swarm.person();
    alice.write("file", &samples::bytes("over", 500_000));
    alice.write("folder/a", b"a");
    for name in ["file", "folder"] {
        let link = alice.share(&[name, "--chunk-size", "64KiB"]);
        let other = alice.share(&[name, "--chunk-size", "64KiB"]);
        let (bob, _) = all_but_the_name(&swarm, &link);
        bob.run(&["get", &other, "-o", "another"]);
        let mut dies = bob.command(&["get", &other]);
        dies.env(crash::VARIABLE, format!("{:?}", Point::AllWritten)).output().unwrap();
        assert_eq!(bob.names().len(), 3, "two temporaries, and another");
        assert_eq!(alice.run(&["rm", &link]).code, 0);
        let ran = bob.run(&["get", &link]);
        assert_eq!(ran.code, 4, "{}", ran.stderr);
        assert!(ran.stderr.contains("What was fetched of it before was removed."), "{}", ran.stderr);
        assert_eq!(bob.names().len(), 2, "what is of another share stays");
        let again = bob.run(&["get", &link]);
        assert!(!again.stderr.contains("fetched"), "{}", again.stderr);
        bob.get(&other);
        assert_eq!(bob.names(), ["another", name]);
    }
}

#[test]
fn f18_who_finds_the_target_taken_in_the_end_is_told_where_it_is_kept() {
    let (swarm, link, _) = shares();
    let (bob, part) = all_but_the_name(&swarm, &link);
    bob.write("file", b"of another share");
    let ran = bob.run(&["get", &link]);
    assert_eq!(ran.code, 9);
    assert!(ran.stderr.contains("or replace it with --force"), "{}", ran.stderr);
    assert!(ran.stderr.contains("kept in ") && ran.stderr.contains(&part), "{}", ran.stderr);
    assert_eq!(bob.run(&["get", &link, "--force"]).code, 0);
    assert_eq!(bob.names(), ["file"]);
}

#[test]
fn f18_of_two_shares_that_come_to_one_target_the_later_one_is_told_where_it_is_kept() {
    let swarm = Swarm::start(2);
    let alice = swarm.person();
    let links = ["one", "two"].map(|name| {
        alice.write(name, &samples::bytes(name, 20_000_000));
        alice.share(&[name, "--chunk-size", "64KiB"])
    });
    let bob = swarm.person();
    let gets = links.each_ref().map(|link| bob.start(&["get", link, "-o", "file"]));
    let ran = gets.map(|get| Ran::of(get.wait_with_output().unwrap()));
    let loser = ran.iter().find(|ran| ran.code == 9).unwrap();
    assert!(ran.iter().any(|ran| ran.code == 0), "{ran:?}");
    let names = bob.names();
    let parts: Vec<_> = names.iter().filter(|name| name.ends_with(".part")).collect();
    assert!(parts.iter().all(|part| loser.stderr.contains(*part)), "{parts:?} {}", loser.stderr);
    assert!(names.contains(&"file".to_owned()) && names.len() <= 2, "{names:?}");
}

/// A get that was killed when some chunks were there.
fn half_a_get(swarm: &Swarm, lacks: &str, link: &str) -> Person {
    let bob = swarm.person();
    let served = || swarm.total("parcelry_peer_served_bytes_total");
    let enough = served() + 5_000_000;
    let mut get = bob.command(&["get", link]).env(file_system::VARIABLE, lacks).spawn().unwrap();
    wait_for("some chunks", || served() >= enough);
    get.kill().unwrap();
    get.wait().unwrap();
    assert!(bob.names()[0].ends_with(".part"), "killed too late to show anything");
    bob
}

/// Bytes of the chunks of 64 KiB that the journal says are there, of a share of so many bytes.
fn noted_bytes(bob: &Person, total: u64) -> u64 {
    let downloads = bob.home.path().join(".local/state/parcelry/downloads");
    let directory = fs::read_dir(downloads).unwrap().next().unwrap().unwrap().path();
    let records = fs::read(directory.join("chunks")).unwrap();
    let (records, _) = records[5..].as_chunks::<4>();
    let starts = records.iter().map(|record| u64::from(u32::from_be_bytes(*record)) * 65_536);
    starts.map(|start| (total - start).min(65_536)).sum()
}

#[test]
fn f36_what_a_file_system_lacks_keeps_nobody_from_going_on() {
    let swarm = Swarm::start(2);
    let alice = swarm.person();
    let bytes = samples::bytes("lacking", 40_000_000);
    alice.write("folder/file", &bytes);
    let links = ["folder", "folder/file"].map(|path| alice.share(&[path, "--chunk-size", "64KiB"]));
    for lacks in [LACKS[2], LACKS[3]] {
        for (link, (part, saved)) in links.iter().zip([("/file", "folder/file"), ("", "file")]) {
            let bob = half_a_get(&swarm, lacks, link);
            // Where nothing says that it is the one that was left, it is read again: a byte that changed is noticed.
            let part = format!("{}{part}", bob.names()[0]);
            let mut half = bob.read(&part);
            let at = half.iter().zip(&bytes).position(|(a, b)| a == b && *b != 0).unwrap();
            half[at] ^= 0xff;
            fs::write(bob.path(&part), &half).unwrap();
            let noted = noted_bytes(&bob, bytes.len() as u64);
            let ran = run_lacking(&bob, lacks, &["get", link]);
            assert_eq!(ran.code, 0, "{lacks}: {}", ran.stderr);
            // All of it but for the one chunk, unless that had been written and not yet noted.
            let kept = [noted, noted - 65_536].map(|bytes| format!("Resuming: {} of ", human::bytes(bytes)));
            assert!(kept.iter().any(|kept| ran.stderr.contains(kept)), "{lacks}: {kept:?} {}", ran.stderr);
            assert!(bob.read(saved) == bytes, "{lacks}");
        }
    }
}

#[test]
fn f36_a_file_of_the_users_in_the_temporarys_place_is_not_written_to() {
    let swarm = Swarm::start(2);
    let alice = swarm.person();
    alice.write("file", &samples::bytes("planted", 40_000_000));
    let link = alice.share(&["file", "--chunk-size", "64KiB"]);
    for lacks in ["", "Inodes", "Modes"] {
        let bob = half_a_get(&swarm, lacks, &link);
        let part = bob.path(&bob.names()[0]);
        let own = bob.write("own", b"precious");
        fs::remove_file(&part).unwrap();
        fs::hard_link(&own, &part).unwrap();
        let ran = run_lacking(&bob, lacks, &["get", &link]);
        assert_eq!(ran.code, 0, "{lacks}: {}", ran.stderr);
        assert!(ran.stderr.contains("beginning anew"), "{lacks}: {}", ran.stderr);
        assert_eq!(bob.read("own"), b"precious", "{lacks}");
        assert!(bob.read("file") == samples::bytes("planted", 40_000_000), "{lacks}");
    }
}
