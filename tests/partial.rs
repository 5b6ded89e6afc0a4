//! What was begun and not finished, on either side: it is listed, and removed by nobody's accident.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::fs;
use std::path::{Path, PathBuf};

use common::person::{Person, Ran};
use common::samples;
use common::swarm::Swarm;
use common::terminal::Terminal;
use common::wait_for;
use parcelry::crash::{self, Point};
use parcelry_core::id::PeerId;

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

    let directory = alice.share(&["photos", "--replicas", "1"]);
    alice.write("file", &samples::bytes("file", 200_000));
    let file = alice.share(&["file"]);
    killed(&bob, &["get", &directory], Point::AllWritten);
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
    bob.get(&directory);
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

    let state = bob.home.path().join(".local/state/parcelry/downloads");
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

/// The directory of the only upload that was begun.
fn upload_of(person: &Person) -> PathBuf {
    let uploads = person.home.path().join(".local/state/parcelry/uploads");
    fs::read_dir(uploads).unwrap().next().unwrap().unwrap().path()
}

/// The record of the only share that was made.
fn record_of(person: &Person) -> PathBuf {
    let shares = person.home.path().join(".local/state/parcelry/shares");
    fs::read_dir(shares).unwrap().next().unwrap().unwrap().path()
}

#[test]
fn f30_clean_deletes_nothing_that_was_published_whatever_became_of_its_record() {
    let swarm = Swarm::start(2);
    let alice = swarm.person();
    alice.write("file", b"shared");
    let at_link = format!("{:?}", Point::LinkPrinted);
    let ran = alice.command(&["share", "file"]).env(crash::VARIABLE, at_link).output().unwrap();
    let link = String::from_utf8(ran.stdout).unwrap();
    let record = record_of(&alice);
    let sound = fs::read(&record).unwrap();
    let newer = String::from_utf8(sound.clone()).unwrap().replace("\"version\": 1", "\"version\": 999");
    let unreadable: [&dyn Fn(); 4] = [
        &|| fs::write(&record, b"{").unwrap(),
        &|| fs::write(&record, &newer).unwrap(),
        &|| {
            fs::remove_file(&record).unwrap();
            fs::create_dir(&record).unwrap();
        },
        &|| fs::remove_dir(&record).unwrap(),
    ];
    for damage in unreadable {
        damage();
        let ran = alice.run(&["clean", "--yes"]);
        assert_eq!((ran.code, begun(&alice).len()), (3, 1), "{}", ran.stderr);
        assert!(ran.stderr.contains("file stays"), "{}", ran.stderr);
        let bob = swarm.person();
        bob.get(link.trim());
        assert_eq!(bob.read("file"), b"shared");
    }
    // What is left of it is enough to have link and record once more.
    assert_eq!(alice.share(&["file"]), link.trim());
    assert!(begun(&alice).is_empty() && record.is_file());
}

#[test]
fn f30_what_is_over_at_the_tracker_is_shared_anew_by_the_same_command() {
    let swarm = Swarm::start(2);
    let (alice, bob) = (swarm.person(), swarm.person());
    alice.write("file", b"shared");
    // A clean that is killed when the tracker has the deletion leaves the journal as it was.
    killed(&alice, &["share", "file"], Point::ShareConfirmed);
    let (journal, kept) = (upload_of(&alice), alice.path("kept"));
    let copy = |from: &Path, to: &Path| {
        fs::create_dir(to).unwrap();
        for entry in fs::read_dir(from).unwrap().flatten() {
            fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        }
    };
    copy(&journal, &kept);
    assert_eq!(alice.run(&["clean", "--yes"]).code, 0);
    copy(&kept, &journal);
    bob.get(&alice.share(&["file"]));
    assert_eq!(bob.read("file"), b"shared");
    assert!(begun(&alice).is_empty());

    // The link was out, and its share is deleted.
    let at_link = format!("{:?}", Point::LinkPrinted);
    let ran = alice.command(&["share", "file"]).env(crash::VARIABLE, at_link).output().unwrap();
    let link = String::from_utf8(ran.stdout).unwrap();
    assert_eq!(alice.run(&["rm", link.trim()]).code, 0);
    assert_ne!(alice.share(&["file"]), link.trim());
    assert!(begun(&alice).is_empty());
}

#[test]
fn f30_clean_says_that_something_is_deleted_at_peers_too() {
    let swarm = Swarm::start(2);
    let alice = swarm.person();
    alice.write("file", b"shared");
    killed(&alice, &["share", "file"], Point::ShareConfirmed);
    let terminal = Terminal::new().type_in("n\n");
    let mut command = alice.command(&["clean"]);
    command.stdin(terminal.end());
    let ran = terminal.run(command);
    assert!(ran.stderr.contains("delete at its peers"), "{}", ran.stderr);
    assert_eq!(begun(&alice).len(), 1);
}

#[test]
fn f30_clean_needs_a_swarm_only_for_what_peers_have() {
    let swarm = Swarm::start(2);
    let (alice, bob) = (swarm.person(), swarm.person());
    alice.write("file", &samples::bytes("file", 200_000));
    let link = alice.share(&["file"]);
    killed(&bob, &["get", &link], Point::AllWritten);
    let clean = |person: &Person| {
        let mut command = person.command(&["clean", "--yes"]);
        Ran::of(command.env_remove("PARCELRY_INVITE").env("PARCELRY_SWARM", "forgotten").output().unwrap())
    };
    let ran = clean(&bob);
    assert_eq!((ran.code, begun(&bob).len()), (0, 0), "{}", ran.stderr);

    alice.run(&["rm", &link]);
    wait_for("both peers to drop it", || chunks_of(&swarm) == 0);
    killed(&alice, &["share", "file"], Point::ShareConfirmed);
    let ran = clean(&alice);
    assert_eq!((ran.code, begun(&alice).len()), (3, 1), "{}", ran.stderr);
    assert!(ran.stderr.contains("no invite for the tracker"), "{}", ran.stderr);
    let invite = swarm.invite();
    let ran = alice.run(&["clean", "--yes", "--invite", &invite]);
    assert_eq!((ran.code, begun(&alice).len()), (0, 0), "{}", ran.stderr);
    wait_for("both peers to drop it", || chunks_of(&swarm) == 0);
}

#[test]
fn f30_an_upload_stays_while_the_disk_does_not_tell_who_has_it() {
    let swarm = Swarm::start(2);
    let alice = swarm.person();
    alice.write("file", &samples::bytes("before", 200_000));
    killed(&alice, &["share", "file"], Point::ShareConfirmed);
    let committed = upload_of(&alice).join("committed");
    let kept = fs::read(&committed).unwrap();
    fs::remove_file(&committed).unwrap();
    // What leads to itself cannot be opened, not even by root.
    std::os::unix::fs::symlink(&committed, &committed).unwrap();
    let ran = alice.run(&["clean", "--yes"]);
    assert_eq!((ran.code, begun(&alice).len()), (3, 1), "{}", ran.stderr);
    assert!(ran.stderr.contains("file stays") && ran.stderr.contains("--force"), "{}", ran.stderr);
    alice.write("file", &samples::bytes("after", 100_000));
    let ran = alice.run(&["share", "file"]);
    assert_eq!((ran.code, begun(&alice).len()), (1, 1), "{}", ran.stderr);
    assert!(ran.stderr.contains("If its disk does not give it again, remove "), "{}", ran.stderr);
    fs::remove_file(&committed).unwrap();
    fs::write(&committed, kept).unwrap();
    let ran = alice.run(&["clean", "--yes"]);
    assert_eq!((ran.code, begun(&alice).len()), (0, 0), "{}", ran.stderr);
    wait_for("both peers to drop it", || chunks_of(&swarm) == 0);
}

#[test]
fn f30_however_many_peers_an_upload_went_to_all_are_told() {
    let swarm = Swarm::start(2);
    let alice = swarm.person();
    alice.write("file", &samples::bytes("file", 200_000));
    killed(&alice, &["share", "file"], Point::ShareConfirmed);
    let committed = upload_of(&alice).join("committed");
    let real: Vec<PeerId> = serde_json::from_slice(&fs::read(&committed).unwrap()).unwrap();
    assert_eq!(real.len(), 2);
    let earlier = (0..150).map(|number| PeerId::from_bytes([number; 32]));
    let all: Vec<PeerId> = earlier.chain(real).collect();
    fs::write(&committed, serde_json::to_vec(&all).unwrap()).unwrap();
    let ran = alice.run(&["clean", "--yes"]);
    assert_eq!((ran.code, begun(&alice).len()), (0, 0), "{}", ran.stderr);
    wait_for("both peers to drop it", || chunks_of(&swarm) == 0);
}

#[test]
fn f30_what_peers_committed_of_files_that_changed_since_is_deleted_when_they_are_shared_anew() {
    let swarm = Swarm::start(2);
    let (alice, bob) = (swarm.person(), swarm.person());
    alice.write("file", &samples::bytes("before", 200_000));
    killed(&alice, &["share", "file", "--chunk-size", "64KiB"], Point::ShareConfirmed);
    alice.write("file", &samples::bytes("after", 100_000));
    let link = alice.share(&["file", "--chunk-size", "64KiB"]);
    wait_for("both peers to drop what was before", || chunks_of(&swarm) == 2 * 2);
    bob.get(&link);
}

#[test]
fn f30_clean_with_an_invite_that_is_revoked_says_so() {
    let swarm = Swarm::start(2);
    let alice = Person::new(swarm.operator(&["invite", "--name", "alice"]).stdout.trim());
    alice.write("file", b"shared");
    killed(&alice, &["share", "file"], Point::ShareConfirmed);
    let tokens = swarm.operator(&["tokens", "ls", "--json"]).document();
    let tokens = tokens["tokens"].as_array().unwrap();
    let id = tokens.iter().find(|token| token["name"] == "alice").unwrap()["id"].as_str().unwrap();
    assert_eq!(swarm.operator(&["tokens", "revoke", id]).code, 0);
    let ran = alice.run(&["clean", "--yes"]);
    assert_eq!((ran.code, begun(&alice).len()), (3, 1), "{}", ran.stderr);
    assert!(ran.stderr.contains("revoked"), "{}", ran.stderr);
}
