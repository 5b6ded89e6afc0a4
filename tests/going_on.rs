//! A `get` that was killed or disturbed at any step of saving goes on with what it has, and with nothing else.
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

/// A swarm, and the links of a file `file` and a directory `folder` with `a` and `sub/b`.
fn shares() -> (Swarm, String, String) {
    let swarm = Swarm::start(2);
    let alice = swarm.person();
    for (name, bytes) in [("file", "new"), ("folder/a", "new a"), ("folder/sub/b", "new b")] {
        alice.write(name, bytes.as_bytes());
    }
    let (file, directory) = (alice.share(&["file"]), alice.share(&["folder"]));
    (swarm, file, directory)
}

fn run_lacking(bob: &Person, lacks: &str, args: &[&str]) -> Ran {
    Ran::of(bob.command(args).env(file_system::VARIABLE, lacks).output().unwrap())
}

/// Somebody who died with all of the link's share in a temporary that others can write to; its name.
fn all_but_the_name_without_modes(swarm: &Swarm, link: &str) -> (Person, String) {
    let bob = swarm.person();
    let mut dies = bob.command(&["get", link]);
    dies.env(crash::VARIABLE, format!("{:?}", Point::AllWritten)).env(file_system::VARIABLE, "Modes");
    assert_eq!(Ran::of(dies.output().unwrap()).code, -1);
    let part = part_in(&bob.work());
    (bob, part)
}

/// A get that dies at the point.
#[track_caller]
fn die_at(bob: &Person, point: Point, args: &[&str]) {
    let ran = Ran::of(bob.command(args).env(crash::VARIABLE, format!("{point:?}")).output().unwrap());
    assert_eq!(ran.code, -1, "{point:?} is never reached: {}", ran.stderr);
}

/// The name of what was fetched so far, in this directory of the person.
#[track_caller]
fn part_in(directory: &Path) -> String {
    names_in(directory).into_iter().find(|name| name.ends_with(".part")).unwrap()
}

#[test]
fn f39_what_was_moved_and_is_made_again_is_not_taken_for_what_was_fetched() {
    let swarm = Swarm::start(2);
    let (alice, bob) = (swarm.person(), swarm.person());
    let files = ["one", "two"].map(|name| (format!("folder/{name}"), samples::bytes(name, 400_000)));
    files.iter().for_each(|(path, bytes)| drop(alice.write(path, bytes)));
    fs::set_permissions(alice.path("folder"), fs::Permissions::from_mode(0o700)).unwrap();
    let link = alice.share(&["folder", "--chunk-size", "64KiB"]);
    bob.write("folder/mine", b"kept");
    let get = ["get", &link, "--force"];
    // One file is in its place; the next get makes it again, and dies with its first chunk; the last knows nothing of it.
    for point in [Point::EntryMoved, Point::PlainWritten] {
        die_at(&bob, point, &get);
    }
    let ran = bob.run(&get);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    for (path, bytes) in &files {
        assert!(bob.read(path) == *bytes, "{path} is not what was shared");
    }
    assert_eq!(names_in(&bob.path("folder")), ["mine", "one", "two"]);
}

#[test]
fn f18_what_has_its_last_mode_already_is_gone_on_with() {
    let (swarm, file, directory) = shares();
    for link in [&file, &directory] {
        let bob = swarm.person();
        die_at(&bob, Point::ModesGiven, &["get", link]);
        let ran = bob.run(&["get", link]);
        assert_eq!(ran.code, 0, "{}", ran.stderr);
        assert!(ran.stderr.contains("Resuming"), "{}", ran.stderr);
        assert_eq!(bob.names().len(), 1, "nothing is left beside it");
    }
}

/// A get during which something appears where it saves.
fn disturbed(bob: &Person, args: &[&str], directory: &Path, disturb: impl FnOnce()) -> Ran {
    let get = bob.start(args);
    wait_for("the temporary", || names_in(directory).iter().any(|name| name.ends_with(".part")));
    disturb();
    Ran::of(get.wait_with_output().unwrap())
}

/// The links of a file `file` and of a directory `folder`, which take a while.
fn large_shares(swarm: &Swarm) -> (String, String) {
    let alice = swarm.person();
    for name in ["file", "folder/a", "folder/sub/b"] {
        alice.write(name, &samples::bytes(name, 20_000_000));
    }
    for name in ["c", "d", "e"] {
        alice.write(&format!("folder/{name}"), name.as_bytes());
    }
    let [file, directory] = ["file", "folder"].map(|name| alice.share(&[name, "--chunk-size", "64KiB"]));
    (file, directory)
}

#[test]
fn f18_what_is_kept_as_the_target_was_taken_is_gone_on_with() {
    let swarm = Swarm::start(2);
    let (file, directory) = large_shares(&swarm);
    for (link, saved) in [(&file, "file"), (&directory, "folder")] {
        let bob = swarm.person();
        let ran = disturbed(&bob, &["get", link], &bob.work(), || fs::create_dir(bob.path(saved)).unwrap());
        assert_eq!(ran.code, 9, "{}", ran.stderr);
        let part = part_in(&bob.work());
        assert!(ran.stderr.contains(&part), "{}", ran.stderr);
        assert_eq!(bob.path(&part).metadata().unwrap().mode() & 0o077, 0, "it is nobody else's");
        fs::remove_dir(bob.path(saved)).unwrap();
        let ran = bob.run(&["get", link]);
        assert_eq!(ran.code, 0, "{}", ran.stderr);
        assert!(ran.stderr.contains("Resuming"), "{}", ran.stderr);
        assert_eq!(bob.names(), [saved]);
    }
}

#[test]
fn f39_a_merge_that_was_killed_leaves_new_folders_with_their_modes() {
    let swarm = Swarm::start(2);
    let (alice, bob) = (swarm.person(), swarm.person());
    alice.write("folder/new/a", b"a");
    alice.write("folder/new/b", b"b");
    let link = alice.share(&["folder"]);
    bob.write("folder/mine", b"kept");
    die_at(&bob, Point::EntryMoved, &["get", &link, "--force"]);
    let ran = bob.run(&["get", &link, "--force"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert_eq!(bob.path("folder/new").metadata().unwrap().mode() & 0o777, 0o755);
    assert_eq!(names_in(&bob.path("folder/new")), ["a", "b"]);
    assert_eq!(names_in(&bob.path("folder")), ["mine", "new"]);
}

#[test]
fn f39_a_merge_into_a_folder_of_another_group_that_was_killed_leaves_new_folders_with_their_modes() {
    let swarm = Swarm::start(2);
    let (alice, bob) = (swarm.person(), swarm.person());
    alice.write("folder/sub/new/a", b"a");
    alice.write("folder/sub/new/b", b"b");
    let link = alice.share(&["folder"]);
    bob.write("folder/sub/mine", b"kept");
    fs::set_permissions(bob.path("folder/sub"), fs::Permissions::from_mode(0o2775)).unwrap();
    die_at(&bob, Point::EntryMoved, &["get", &link, "--force"]);
    assert_eq!(names_in(&bob.path("folder/sub/new")).len(), 1);
    let ran = bob.run(&["get", &link, "--force"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert_eq!(bob.path("folder/sub/new").metadata().unwrap().mode() & 0o7777, 0o2755);
    assert_eq!(names_in(&bob.path("folder/sub/new")), ["a", "b"]);
}

#[test]
fn f36_a_folder_that_somebody_replaced_by_a_symlink_is_not_followed() {
    let (swarm, _, link) = shares();
    for lacks in ["Modes", "Modes OneStep"] {
        let (bob, part) = all_but_the_name_without_modes(&swarm, &link);
        let sub = bob.path(&part).join("sub");
        fs::remove_dir_all(&sub).unwrap();
        bob.write("outside/b", b"mine");
        std::os::unix::fs::symlink("../outside", &sub).unwrap();
        fs::set_permissions(bob.path("outside"), fs::Permissions::from_mode(0o750)).unwrap();
        let ran = run_lacking(&bob, lacks, &["get", &link]);
        assert_eq!(ran.code, 0, "{lacks}: {}", ran.stderr);
        assert_eq!(bob.read("outside/b"), b"mine", "{lacks}");
        assert_eq!(names_in(&bob.path("outside")), ["b"], "{lacks}");
        assert_eq!(bob.path("outside").metadata().unwrap().mode() & 0o777, 0o750, "{lacks}");
        assert_eq!(bob.read("folder/sub/b"), b"new b", "{lacks}");
        assert!(!bob.path("folder/sub").is_symlink(), "{lacks}");
    }
}

#[test]
fn f39_what_appears_in_the_folder_meanwhile_is_refused_before_anything_is_moved() {
    let swarm = Swarm::start(2);
    let (_, link) = large_shares(&swarm);
    let bob = swarm.person();
    bob.write("folder/a", b"old");
    let directory = bob.path("folder");
    let ran = disturbed(&bob, &["get", &link, "--force"], &directory, || {
        bob.write("folder/sub", b"in the way");
    });
    assert_eq!(ran.code, 9, "{}", ran.stderr);
    assert!(ran.stderr.contains("folder/sub is a file, and the share has a folder there"), "{}", ran.stderr);
    assert_eq!((bob.read("folder/a"), bob.read("folder/sub")), (b"old".to_vec(), b"in the way".to_vec()));
    assert_eq!(names_in(&directory).len(), 3, "nothing was moved");
    fs::remove_file(bob.path("folder/sub")).unwrap();
    let ran = bob.run(&["get", &link, "--force"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert!(ran.stderr.contains("Resuming"), "{}", ran.stderr);
    assert_eq!(names_in(&directory), ["a", "c", "d", "e", "sub"]);
}

#[test]
fn f18_a_get_that_never_began_leaves_no_journal() {
    let (swarm, _, link) = shares();
    let bob = swarm.person();
    bob.write("folder/sub", b"in the way");
    let ran = bob.run(&["get", &link, "--force"]);
    assert_eq!(ran.code, 9, "{}", ran.stderr);
    assert!(ran.stderr.contains("folder/sub is a file"), "{}", ran.stderr);
    let downloads = bob.home.path().join(".local/state/parcelry/downloads");
    assert_eq!(names_in(&downloads), Vec::<String>::new());
}

#[test]
fn f36_what_holds_nothing_of_the_share_is_not_gone_on_with() {
    let (swarm, _, link) = shares();
    let (bob, part) = all_but_the_name_without_modes(&swarm, &link);
    bob.write(&format!("{part}/a"), b"bad a");
    bob.write(&format!("{part}/sub/planted"), b"of somebody else");
    let ran = run_lacking(&bob, "Modes", &["get", &link]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert!(ran.stderr.contains("beginning anew"), "{}", ran.stderr);
    assert_eq!(
        (bob.read("folder/a"), names_in(&bob.path("folder/sub"))),
        (b"new a".to_vec(), vec!["b".to_owned()])
    );
    assert_eq!(bob.names(), ["folder"]);
}
