//! What was begun and not finished, on either side: it is listed, and removed by nobody's accident.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::fs;

use common::person::{Person, Ran};
use common::samples;
use common::swarm::Swarm;
use common::terminal::Terminal;
use common::wait_for;
use swarmdrop::crash::{self, Point};

/// Runs a command that dies at the point.
fn killed(person: &Person, args: &[&str], point: Point) {
    let ran = Ran::of(person.command(args).env(crash::VARIABLE, format!("{point:?}")).output().unwrap());
    assert_ne!(ran.code, 0, "{}", ran.stderr);
}

/// The kind and path of all that was begun.
fn begun(person: &Person) -> Vec<(String, String)> {
    let list = person.run(&["ls", "--partial", "--json"]).document();
    let text = |entry: &serde_json::Value, field: &str| entry[field].as_str().unwrap().to_owned();
    list["partial"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| (text(entry, "kind"), text(entry, "path")))
        .collect()
}

fn move_to(person: &Person, from: &str, to: &str) {
    assert!(
        std::process::Command::new("mv")
            .args([person.path(from), person.path(to)])
            .status()
            .unwrap()
            .success()
    );
}

#[test]
fn f30_f40_what_was_given_up_is_listed_and_cleaned_on_both_sides() {
    let swarm = Swarm::start(2);
    let (alice, bob) = (swarm.person(), swarm.person());
    alice.write("photos/a", &samples::bytes("a", 300_000));
    alice.write("photos/deep/b", b"b");
    killed(&alice, &["share", "photos"], Point::KeysKept);
    let photos = fs::canonicalize(alice.path("photos")).unwrap();
    assert_eq!(begun(&alice), [("upload".into(), photos.to_str().unwrap().to_owned())]);

    let folder = alice.share(&["photos", "--replicas", "1"]);
    alice.write("file", &samples::bytes("file", 200_000));
    let file = alice.share(&["file"]);
    killed(&bob, &["get", &folder], Point::AllWritten);
    killed(&bob, &["get", &file, "-o", "elsewhere"], Point::AllWritten);
    let work = fs::canonicalize(bob.work()).unwrap();
    let at = |name: &str| ("download".to_owned(), work.join(name).to_str().unwrap().to_owned());
    let mut all = begun(&bob);
    all.sort();
    assert_eq!(all, [at("elsewhere"), at("photos")]);
    assert!(bob.run(&["ls", "--partial"]).stdout.contains("download to "));

    let ran = bob.run(&["clean"]);
    assert_eq!(ran.code, 2, "{}", ran.stderr);
    assert!(ran.stderr.contains("--yes"), "{}", ran.stderr);
    assert_eq!(bob.run(&["clean", "--yes", "--older-than", "1d"]).code, 0);
    assert_eq!((begun(&bob).len(), bob.names().len()), (2, 2), "nothing was removed so far");

    assert_eq!(alice.run(&["rm", &file]).code, 0);
    let ran = bob.run(&["get", &file, "-o", "elsewhere"]);
    assert_eq!(ran.code, 4, "{}", ran.stderr);
    assert!(ran.stderr.contains("What was fetched of it before was removed."), "{}", ran.stderr);
    assert_eq!((begun(&bob), bob.names().len()), (vec![at("photos")], 1));
    let ran = swarm.person().run(&["get", &file]);
    assert!(!ran.stderr.contains("fetched"), "somebody else has no part of it: {}", ran.stderr);

    let events = bob.run(&["clean", "--yes", "--json"]).events();
    let summary = events.last().unwrap();
    assert_eq!(summary["removed"].as_array().unwrap().len(), 1);
    assert!(summary["freed_bytes"].as_u64().unwrap() >= 300_000, "{summary}");
    assert_eq!((begun(&bob).len(), bob.names().len()), (0, 0));
    bob.get(&folder);
}

#[test]
fn f30_clean_asks_on_a_terminal_and_takes_only_a_yes() {
    let swarm = Swarm::start(2);
    let (alice, bob) = (swarm.person(), swarm.person());
    alice.write("file", &samples::bytes("file", 200_000));
    let link = alice.share(&["file"]);
    killed(&bob, &["get", &link], Point::AllWritten);
    let clean = |typed: &str| {
        let terminal = Terminal::new().type_in(typed);
        let mut command = bob.command(&["clean"]);
        command.stdin(terminal.end());
        let ran = terminal.run(command);
        assert_eq!(ran.code, 0, "{}", ran.stderr);
        assert!(ran.stderr.contains("Remove 1 thing") && ran.stderr.contains("[y/N]"), "{}", ran.stderr);
    };
    for typed in ["\n", "n\n", "what?\n"] {
        clean(typed);
        assert_eq!(begun(&bob).len(), 1, "{typed:?}");
    }
    clean("y\n");
    assert_eq!((begun(&bob).len(), bob.names().len()), (0, 0));
}

#[test]
fn f30_clean_leaves_what_is_under_way_and_what_is_out_of_reach() {
    let swarm = Swarm::start(2);
    let (alice, bob) = (swarm.person(), swarm.person());
    alice.write("file", &samples::bytes("file", 200_000));
    let link = alice.share(&["file"]);
    fs::create_dir(bob.path("disk")).unwrap();
    killed(&bob, &["get", &link, "-o", "disk/file"], Point::AllWritten);
    bob.note_another_disk();
    move_to(&bob, "disk", "unmounted");
    let ran = bob.run(&["clean", "--yes"]);
    assert_eq!(ran.code, 3, "{}", ran.stderr);
    assert!(ran.stderr.contains("not mounted"), "{}", ran.stderr);
    move_to(&bob, "unmounted", "disk");

    let state = bob.home.path().join(".local/state/swarmdrop/downloads");
    let journal = fs::read_dir(state).unwrap().next().unwrap().unwrap().path();
    let lock = fs::File::open(journal.join("lock")).unwrap();
    lock.lock().unwrap();
    assert!(bob.run(&["ls", "--partial"]).stdout.contains("under way"));
    let ran = bob.run(&["clean", "--yes"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert_eq!(common::person::names_in(&bob.path("disk")).len(), 1);
    drop(lock);
    assert_eq!(bob.run(&["clean", "--yes"]).code, 0);
    assert!(common::person::names_in(&bob.path("disk")).is_empty());
}

/// Everything that the peers of a swarm have on their disks.
fn chunks_of(swarm: &Swarm) -> usize {
    (0..swarm.peers.len()).map(|peer| swarm.chunk_files(peer).len()).sum()
}

#[test]
fn f30_what_peers_committed_of_an_upload_that_is_given_up_is_deleted_there() {
    let mut swarm = Swarm::start(2);
    let alice = swarm.person();
    alice.write("file", &samples::bytes("file", 200_000));
    killed(&alice, &["share", "file", "--chunk-size", "64KiB"], Point::ShareConfirmed);
    assert_eq!(chunks_of(&swarm), 8, "both have it for good");
    swarm.tracker.kill();
    let ran = alice.run(&["clean", "--yes"]);
    assert_eq!(ran.code, 3, "{}", ran.stderr);
    assert!(ran.stderr.contains("--force") && ran.stderr.contains("file stays"), "{}", ran.stderr);
    assert_eq!(begun(&alice).len(), 1, "with the key nobody could delete it any more");
    swarm.restart_tracker();
    swarm.wait_for_peers(2, "alive");
    let ran = alice.run(&["clean", "--yes"]);
    assert_eq!((ran.code, begun(&alice).len()), (0, 0), "{}", ran.stderr);
    wait_for("both peers to drop it", || chunks_of(&swarm) == 0);

    // The tracker has never heard of this one, and no peer tells its inventory.
    killed(&alice, &["share", "file", "--chunk-size", "64KiB"], Point::ShareConfirmed);
    assert_eq!(chunks_of(&swarm), 8);
    let ran = alice.run(&["clean", "--yes"]);
    assert_eq!((ran.code, begun(&alice).len()), (0, 0), "{}", ran.stderr);
    wait_for("both peers to drop it", || chunks_of(&swarm) == 0);

    killed(&alice, &["share", "file", "--chunk-size", "64KiB"], Point::ShareConfirmed);
    swarm.tracker.kill();
    let ran = alice.run(&["clean", "--yes", "--force"]);
    assert_eq!((ran.code, begun(&alice).len()), (0, 0), "{}", ran.stderr);
    assert!(ran.stderr.contains("until its time is over"), "{}", ran.stderr);
}

#[test]
fn f30_to_clean_what_was_left_of_a_share_that_was_published_deletes_nothing() {
    let swarm = Swarm::start(2);
    let (alice, bob) = (swarm.person(), swarm.person());
    alice.write("file", b"shared");
    let ran = alice
        .command(&["share", "file"])
        .env(crash::VARIABLE, format!("{:?}", Point::LinkPrinted))
        .output()
        .unwrap();
    let link = String::from_utf8(ran.stdout).unwrap();
    assert_eq!(begun(&alice).len(), 1);
    assert_eq!(alice.run(&["clean", "--yes"]).code, 0);
    assert_eq!(begun(&alice).len(), 0);
    bob.get(link.trim());
    assert_eq!(bob.read("file"), b"shared");
}
