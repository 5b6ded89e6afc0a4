//! What `get` finds out about the place where it is to save before it fetches anything: names that are none there, disks
//! that are away, and what an earlier get left whose journal is gone.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::fs::{self, Permissions};
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use common::person::{Person, Ran, names_in};
use common::samples;
use common::swarm::Swarm;
use parcelry::crash::{self, Point};
use parcelry::disk::file_system;
use parcelry::human;

const SIZE: usize = 500_000;

type Spoil<'a> = &'a dyn Fn(&Path);

/// A get that dies when it has fetched everything.
#[track_caller]
fn all_but_the_name(bob: &Person, args: &[&str]) {
    let mut dies = bob.command(args);
    let ran = Ran::of(dies.env(crash::VARIABLE, format!("{:?}", Point::AllWritten)).output().unwrap());
    assert_eq!(ran.code, -1, "{}", ran.stderr);
}

fn downloads(bob: &Person) -> PathBuf {
    bob.home.path().join(".local/state/parcelry/downloads")
}

fn part_in(directory: &Path) -> Option<PathBuf> {
    names_in(directory).into_iter().find(|name| name.ends_with(".part")).map(|name| directory.join(name))
}

fn served(swarm: &Swarm) -> u64 {
    swarm.total("parcelry_peer_served_bytes_total")
}

fn move_to(person: &Person, from: &str, to: &str) {
    let paths = [person.path(from), person.path(to)];
    assert!(std::process::Command::new("mv").args(paths).status().unwrap().success());
}

#[test]
fn f06_a_name_that_is_none_where_it_is_saved_is_refused_before_anything_is_fetched() {
    let swarm = Swarm::start(2);
    let (alice, bob) = (swarm.person(), swarm.person());
    alice.write("a:b", &samples::bytes("a:b", SIZE));
    alice.write("c:d/file", b"in it");
    let links = ["a:b", "c:d"].map(|name| (name, alice.share(&[name])));
    fs::create_dir(bob.path("usb")).unwrap();
    let long = "x".repeat(300);
    let before = served(&swarm);
    let run = |lacks: &str, args: &[&str]| {
        Ran::of(bob.command(args).env(file_system::VARIABLE, lacks).output().unwrap())
    };
    for (name, link) in &links {
        for (lacks, args, named, helps) in [
            ("Colons", &["get", link][..], *name, "work/NAME"),
            ("Colons", &["get", link, "-o", "usb"], name, "work/usb/NAME"),
            ("Colons", &["get", link, "-o", "usb/x:y"], "x:y", "work/usb/NAME"),
            ("", &["get", link, "-o", &long], &long, " NAME"),
        ] {
            let ran = run(lacks, args);
            assert_eq!(ran.code, 1, "{args:?} {}", ran.stderr);
            assert!(ran.stderr.contains(&format!("can be called {named}: ")), "{args:?} {}", ran.stderr);
            let next = ran.stderr.lines().find(|line| line.contains("Give it another name: -o ")).unwrap();
            assert!(next.ends_with(helps), "{args:?} {next}");
        }
    }
    assert_eq!(served(&swarm), before, "nothing was fetched");
    assert_eq!((bob.names(), names_in(&bob.path("usb"))), (vec!["usb".to_owned()], vec![]));
    assert_eq!(names_in(&downloads(&bob)), Vec::<String>::new());
    for ((_, link), saved) in links.iter().zip(["usb/one", "usb/two"]) {
        assert_eq!(run("Colons", &["get", link, "-o", saved]).code, 0);
    }
    assert!(bob.read("usb/one") == samples::bytes("a:b", SIZE));
    assert_eq!(bob.read("usb/two/file"), b"in it");
    assert_eq!(names_in(&bob.path("usb")), ["one", "two"]);
}

#[test]
fn f30_a_get_whose_disk_is_away_says_so_and_goes_on_when_it_is_back() {
    let swarm = Swarm::start(2);
    let alice = swarm.person();
    alice.write("file", &samples::bytes("away", SIZE));
    let link = alice.share(&["file", "--chunk-size", "64KiB"]);
    let size = human::bytes(SIZE as u64);
    for output in ["disk", "disk/", "disk/other"] {
        let bob = swarm.person();
        fs::create_dir(bob.path("disk")).unwrap();
        let get = ["get", &link, "-o", output];
        all_but_the_name(&bob, &get);
        bob.note_another_disk();
        move_to(&bob, "disk", "unmounted");
        let refused = || {
            let ran = bob.run(&get);
            assert_eq!(ran.code, 1, "{}", ran.stderr);
            let done = format!("{size} of {size} were fetched before, and ");
            for said in [&done, ".part is not there", "Is its disk not mounted?", "--anew"] {
                assert!(ran.stderr.contains(said), "{said}: {}", ran.stderr);
            }
        };
        // Its mount point is gone, as where a desktop mounts it; or it is an empty directory on another disk.
        refused();
        assert_eq!(bob.names(), ["unmounted"]);
        fs::create_dir(bob.path("disk")).unwrap();
        refused();
        assert_eq!(names_in(&bob.path("disk")), Vec::<String>::new(), "nothing is put in its place");
        assert!(bob.run(&["ls", "--partial"]).stdout.contains("on a disk that is not there"));
        let list = bob.run(&["ls", "--partial", "--json"]).document();
        assert_eq!(list["partial"][0]["is_away"], true);
        assert_eq!(bob.run(&["get", &link, "-o", "elsewhere"]).code, 0, "it begins anew in another place");

        fs::remove_dir(bob.path("disk")).unwrap();
        move_to(&bob, "unmounted", "disk");
        let ran = bob.run(&get);
        assert_eq!(ran.code, 0, "{}", ran.stderr);
        assert!(ran.stderr.contains(&format!("Resuming: {size} of {size}")), "{}", ran.stderr);
        assert_eq!(names_in(&bob.path("disk")).len(), 1);
    }
}

#[test]
fn f30_a_get_begins_anew_where_a_disk_was_if_it_is_told_to() {
    let swarm = Swarm::start(2);
    let (alice, bob) = (swarm.person(), swarm.person());
    alice.write("file", &samples::bytes("anew", SIZE));
    let link = alice.share(&["file", "--chunk-size", "64KiB"]);
    fs::create_dir(bob.path("disk")).unwrap();
    let get = ["get", &link, "-o", "disk", "--anew"];
    all_but_the_name(&bob, &get);
    move_to(&bob, "disk", "unmounted");
    fs::create_dir(bob.path("disk")).unwrap();
    bob.note_another_disk();
    // The first one dies, too: what it fetched is there, and begun anew all the same.
    all_but_the_name(&bob, &get);
    let ran = bob.run(&get);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert!(!ran.stderr.contains("Resuming"), "{}", ran.stderr);
    assert!(bob.read("disk/file") == samples::bytes("anew", SIZE));
    assert_eq!(names_in(&bob.path("disk")), ["file"]);
    assert!(part_in(&bob.path("unmounted")).is_some(), "what is on the disk is out of reach");
    assert_eq!(names_in(&downloads(&bob)), Vec::<String>::new());
}

/// The links of a file and of a directory, and where the bytes of each are in what was fetched.
fn file_and_directory(swarm: &Swarm) -> [(String, &'static str); 2] {
    let alice = swarm.person();
    for name in ["file", "folder/a"] {
        alice.write(name, &samples::bytes("orphan", SIZE));
    }
    alice.write("folder/sub/b", b"b");
    [("file", ""), ("folder", "a")]
        .map(|(name, inside)| (alice.share(&[name, "--chunk-size", "64KiB"]), inside))
}

#[test]
fn f30_what_was_fetched_and_whose_journal_is_gone_is_checked_and_gone_on_with() {
    let swarm = Swarm::start(2);
    for (link, inside) in file_and_directory(&swarm) {
        let bob = swarm.person();
        all_but_the_name(&bob, &["get", &link]);
        fs::remove_dir_all(downloads(&bob)).unwrap();
        // One chunk is not as it was, and more stands behind the end of a file.
        let part = part_in(&bob.work()).unwrap();
        let [bytes, longer] = [inside, if inside.is_empty() { "" } else { "sub/b" }]
            .map(|name| if name.is_empty() { part.clone() } else { part.join(name) });
        common::flip_a_bit(&bytes);
        fs::OpenOptions::new().append(true).open(longer).unwrap().write_all(b"more").unwrap();
        let before = served(&swarm);
        let ran = bob.run(&["get", &link]);
        assert_eq!(ran.code, 0, "{}", ran.stderr);
        let name = part.file_name().unwrap().to_str().unwrap();
        let said = format!("{name} was left by an earlier get: what is in it is checked.");
        assert!(ran.stderr.contains(&said) && ran.stderr.contains("Resuming"), "{}", ran.stderr);
        assert!(served(&swarm) - before < 300_000, "what was spoiled is fetched, and no more");
        let saved = if inside.is_empty() { "file" } else { "folder/a" };
        assert!(bob.read(saved) == samples::bytes("orphan", SIZE));
        assert!(inside.is_empty() || bob.read("folder/sub/b") == b"b");
        assert_eq!(bob.names().len(), 1);
    }
}

#[test]
fn f30_that_there_is_no_room_to_go_on_costs_nothing_that_was_fetched() {
    let swarm = Swarm::start(2);
    let alice = swarm.person();
    let files: Vec<(String, Vec<u8>)> = (0..40)
        .map(|number| format!("folder/{}/{number}", number % 3))
        .map(|path| (path.clone(), samples::bytes(&path, 10_000)))
        .collect();
    files.iter().for_each(|(path, bytes)| drop(alice.write(path, bytes)));
    let link = alice.share(&["folder", "--chunk-size", "64KiB"]);
    // Where inode numbers say nothing, and where nothing is known of it, all that is missing is created at once.
    for (lacks, has_journal) in [("Room", true), ("Inodes Room", true), ("Room", false)] {
        let bob = swarm.person();
        all_but_the_name(&bob, &["get", &link]);
        let part = part_in(&bob.work()).unwrap();
        fs::remove_file(part.join("0/0")).unwrap();
        if !has_journal {
            fs::remove_dir_all(downloads(&bob)).unwrap();
        }
        for _ in 0..2 {
            let mut get = bob.command(&["get", &link]);
            let ran = Ran::of(get.env(file_system::VARIABLE, lacks).output().unwrap());
            assert_eq!(ran.code, 8, "{lacks}: {}", ran.stderr);
            assert!(ran.stderr.contains("goes on from here"), "{lacks}: {}", ran.stderr);
            assert!(part_in(&bob.work()).unwrap().join("2/2").exists(), "{lacks}");
        }
        let before = served(&swarm);
        let ran = bob.run(&["get", &link]);
        assert_eq!(ran.code, 0, "{lacks}: {}", ran.stderr);
        assert!(ran.stderr.contains("Resuming"), "{lacks}: {}", ran.stderr);
        assert!(served(&swarm) - before < 200_000, "what was gone is fetched, and no more");
        assert!(files.iter().all(|(path, bytes)| bob.read(path) == *bytes), "{lacks}");
        assert_eq!(bob.names(), ["folder"]);
    }
}

#[test]
fn f30_what_is_none_of_the_shares_or_may_be_somebody_elses_is_not_gone_on_with() {
    let swarm = Swarm::start(2);
    let [(link, _), (directory, _)] = file_and_directory(&swarm);
    let spoil: [(&str, Spoil<'_>); 4] = [
        ("other bytes", &|part| fs::write(part, vec![7; SIZE]).unwrap()),
        ("open to others", &|part| fs::set_permissions(part, Permissions::from_mode(0o644)).unwrap()),
        ("a folder", &|part| {
            fs::remove_file(part).unwrap();
            fs::create_dir(part).unwrap();
        }),
        ("a symlink", &|part| {
            let moved = std::process::Command::new("mv").arg(part).arg(part.with_file_name("own")).status();
            assert!(moved.unwrap().success());
            std::os::unix::fs::symlink("own", part).unwrap();
        }),
    ];
    for (what, spoil) in spoil {
        let bob = swarm.person();
        all_but_the_name(&bob, &["get", &link]);
        fs::remove_dir_all(downloads(&bob)).unwrap();
        spoil(&part_in(&bob.work()).unwrap());
        let ran = bob.run(&["get", &link]);
        assert_eq!(ran.code, 0, "{what}: {}", ran.stderr);
        let said = ".part was left by an earlier get, and nothing in it can be gone on with";
        assert!(ran.stderr.contains(said) && !ran.stderr.contains("Resuming"), "{what}: {}", ran.stderr);
        assert!(bob.read("file") == samples::bytes("orphan", SIZE), "{what}");
        assert_eq!(part_in(&bob.work()), None, "{what}");
        if what == "a symlink" {
            assert!(bob.read("own") == samples::bytes("orphan", SIZE), "what it led to is as it was");
        }
    }
    // What is another user's is neither written to nor removed.
    if rustix::process::geteuid().is_root() {
        for link in [&link, &directory] {
            let bob = swarm.person();
            all_but_the_name(&bob, &["get", link]);
            fs::remove_dir_all(downloads(&bob)).unwrap();
            let part = part_in(&bob.work()).unwrap();
            std::os::unix::fs::chown(&part, Some(65534), None).unwrap();
            let inode = part.metadata().unwrap().ino();
            let ran = bob.run(&["get", link]);
            assert_eq!(ran.code, 0, "{}", ran.stderr);
            assert_eq!((bob.names().len(), part.metadata().unwrap().ino()), (2, inode));
        }
    } else {
        eprintln!("SKIPPED: only root can make a file another user's");
    }
}

/// Runs a command with another state directory, as in another container that shares the disk.
fn elsewhere(bob: &Person, args: &[&str], dies_at: Option<Point>) -> Ran {
    let mut command = bob.command(args);
    command.env("XDG_STATE_HOME", bob.home.path().join("elsewhere"));
    if let Some(point) = dies_at {
        command.env(crash::VARIABLE, format!("{point:?}"));
    }
    Ran::of(command.output().unwrap())
}

#[test]
fn f30_what_another_get_is_at_work_on_is_left_alone() {
    let swarm = Swarm::start(2);
    for (link, inside) in file_and_directory(&swarm) {
        let bob = swarm.person();
        all_but_the_name(&bob, &["get", &link]);
        let part = part_in(&bob.work()).unwrap();
        let held = fs::File::open(&part).unwrap();
        held.try_lock().unwrap();
        let before = served(&swarm);
        let ran = elsewhere(&bob, &["get", &link], None);
        assert_eq!(ran.code, 0, "{}", ran.stderr);
        assert!(!ran.stderr.contains("Resuming"), "{}", ran.stderr);
        assert!(served(&swarm) - before >= SIZE as u64);
        assert!(part.exists());
        let [saved, other] = if inside.is_empty() { ["file", "other"] } else { ["folder", "other"] };
        move_to(&bob, saved, other);
        // Nor does one go on with its own while another has it.
        let ran = bob.run(&["get", &link]);
        assert_eq!(ran.code, 0, "{}", ran.stderr);
        assert!(!ran.stderr.contains("Resuming") && part.exists(), "{}", ran.stderr);
    }
}

#[test]
fn f30_what_another_get_has_gone_on_with_is_not_believed_to_be_as_it_was_left() {
    let swarm = Swarm::start(2);
    for (link, inside) in file_and_directory(&swarm) {
        let bob = swarm.person();
        all_but_the_name(&bob, &["get", &link]);
        let ran = elsewhere(&bob, &["get", &link], Some(Point::AllWritten));
        assert_eq!(ran.code, -1, "{}", ran.stderr);
        assert!(ran.stderr.contains("Resuming"), "{}", ran.stderr);
        // What the other one would have written next is not what this one has noted.
        let part = part_in(&bob.work()).unwrap();
        common::flip_a_bit(&if inside.is_empty() { part } else { part.join(inside) });
        let ran = bob.run(&["get", &link]);
        assert_eq!(ran.code, 0, "{}", ran.stderr);
        let saved = if inside.is_empty() { "file" } else { "folder/a" };
        assert!(bob.read(saved) == samples::bytes("orphan", SIZE), "{}", ran.stderr);
        assert_eq!(bob.names().len(), 1);
    }
}

#[test]
fn f30_a_folder_that_was_removed_with_what_was_fetched_into_it_keeps_no_get_from_beginning_anew() {
    let swarm = Swarm::start(2);
    let [_, (link, _)] = file_and_directory(&swarm);
    let bob = swarm.person();
    fs::create_dir(bob.path("folder")).unwrap();
    let get = ["get", &link, "--force"];
    all_but_the_name(&bob, &get);
    assert!(part_in(&bob.path("folder")).is_some());
    fs::remove_dir_all(bob.path("folder")).unwrap();
    let ran = bob.run(&get);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert!(bob.read("folder/a") == samples::bytes("orphan", SIZE));
}

#[test]
fn f30_what_is_begun_anew_leaves_alone_what_is_on_its_way_to_another_place() {
    let swarm = Swarm::start(2);
    let [_, (link, _)] = file_and_directory(&swarm);
    let bob = swarm.person();
    fs::create_dir(bob.path("folder")).unwrap();
    all_but_the_name(&bob, &["get", &link, "-o", "folder/"]);
    let part = part_in(&bob.path("folder")).unwrap();
    let ran = bob.run(&["get", &link, "--force", "--anew"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert!(part.exists());
    let ran = bob.run(&["get", &link, "-o", "folder/folder"]);
    assert!(ran.code == 0 && ran.stderr.contains("Resuming"), "{}", ran.stderr);
}
