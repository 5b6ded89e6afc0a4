//! Files that are written to while they are shared.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::fs::{self, File};
use std::io::Write;
use std::net::TcpListener;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::person::{Person, Ran};
use common::proxy::{Proxy, Weather};
use common::swarm::Swarm;
use common::{samples, wait_for};

const MIB: usize = 1 << 20;
const SHARE: [&str; 4] = ["share", "app.log", "--chunk-size", "64KiB"];
const GREW: &str = "app.log grew while it was being shared";

type Change<'a> = &'a dyn Fn(&Path);

fn append(path: &Path, bytes: &[u8]) {
    File::options().append(true).open(path).unwrap().write_all(bytes).unwrap();
}

#[test]
fn f22_a_log_that_is_written_to_all_the_time_is_shared_as_it_was_at_the_start() {
    let swarm = Swarm::start(2);
    let (alice, bob) = (swarm.person(), swarm.person());
    let at_first = samples::bytes("log", 20 * MIB);
    let log = alice.write("logs/app.log", &at_first);
    alice.write("logs/other", b"still");
    let stop = AtomicBool::new(false);
    let ran = std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                append(&log, b"one more line\n");
                std::thread::sleep(Duration::from_millis(1));
            }
        });
        let ran = alice.run(&["share", "logs", "--chunk-size", "64KiB"]);
        stop.store(true, Ordering::Relaxed);
        ran
    });
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert!(
        ran.stderr.contains(&format!("logs/{GREW}: the share has what was there at the start.")),
        "{}",
        ran.stderr
    );
    bob.get(&ran.link());
    let (got, now) = (bob.read("logs/app.log"), fs::read(&log).unwrap());
    assert!(got.len() >= at_first.len() && got.len() < now.len(), "{} {}", got.len(), now.len());
    assert!(now.starts_with(&got));
    assert_eq!(bob.read("logs/other"), b"still");
}

/// A share that was killed when a few chunks were on their peers.
fn half_a_share(swarm: &Swarm, seed: &str) -> (Person, Vec<u8>) {
    let alice = swarm.person();
    let bytes = samples::bytes(seed, 40 * MIB);
    alice.write("app.log", &bytes);
    let before = swarm.chunk_files(0).len();
    let mut share = alice.start(&SHARE);
    wait_for("some chunks", || swarm.chunk_files(0).len() > before + 20);
    share.kill().unwrap();
    share.wait().unwrap();
    (alice, bytes)
}

#[test]
fn f22_a_share_of_a_log_that_has_grown_since_goes_on() {
    let swarm = Swarm::start(2);
    let (alice, bytes) = half_a_share(&swarm, "resumed log");
    append(&alice.path("app.log"), b"one more line\n");
    let ran = alice.run(&SHARE);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert!(ran.stderr.contains("Resuming: ") && ran.stderr.contains(GREW), "{}", ran.stderr);
    let bob = swarm.person();
    bob.get(&ran.link());
    assert!(bob.read("app.log") == bytes);
}

#[test]
fn f22_what_is_read_again_as_it_has_grown_is_a_stage_that_shows_how_far_it_is() {
    let swarm = Swarm::start(2);
    let (alice, bytes) = half_a_share(&swarm, "read again");
    append(&alice.path("app.log"), b"one more line\n");
    let ran = alice.run(&[&SHARE[..], &["--json"]].concat());
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let events = ran.events();
    let stages: Vec<_> = events.iter().filter(|event| event["stage"].is_string()).collect();
    // Before the first chunk is sent what left earlier is compared, before the manifest is made all of it.
    let again: Vec<_> = stages.iter().filter(|stage| stage["stage"] == "Reading again").collect();
    let (first, last) = (again[0], again[again.len() - 1]);
    assert_eq!(stages[0]["stage"], "Reading again");
    let number = |stage: &serde_json::Value, field: &str| stage[field].as_u64().unwrap();
    assert!(number(first, "total_bytes") > 0 && number(first, "total_bytes") <= bytes.len() as u64);
    assert_eq!(number(last, "total_bytes"), bytes.len() as u64);
    for stage in again {
        assert!(number(stage, "done_bytes") <= number(stage, "total_bytes"), "{stage}");
    }
    assert_eq!(number(last, "done_bytes"), bytes.len() as u64);
    assert_eq!(stages[stages.len() - 1]["stage"], "Sharing");
}

#[test]
fn f22_a_log_that_has_grown_since_and_changed_before_becomes_a_new_share() {
    let swarm = Swarm::start(2);
    let (alice, _) = half_a_share(&swarm, "changed log");
    let path = alice.path("app.log");
    File::options().write(true).open(&path).unwrap().write_all_at(b"another beginning", 0).unwrap();
    append(&path, b"one more line\n");
    let ran = alice.run(&SHARE);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert!(!ran.stderr.contains("Resuming: ") && !ran.stderr.contains(GREW), "{}", ran.stderr);
    let bob = swarm.person();
    bob.get(&ran.link());
    assert!(bob.read("app.log") == fs::read(path).unwrap());
}

#[test]
fn f22_what_changed_in_its_shared_part_or_is_another_file_is_named_with_what_helps() {
    let swarm = Swarm::start(2);
    let changes: [(&str, Change<'_>); 4] = [
        ("a byte at the start, and more at the end", &|path| {
            File::options().write(true).open(path).unwrap().write_all_at(b"x", 0).unwrap();
            append(path, b"more");
        }),
        ("truncated, and longer again", &|path| {
            File::create(path).unwrap();
            append(path, &samples::bytes("after the rotation", 31 * MIB));
        }),
        ("another file under its name", &|path| {
            let mut new = tempfile::NamedTempFile::new_in(path.parent().unwrap()).unwrap();
            new.write_all(&samples::bytes("new", 31 * MIB)).unwrap();
            new.persist(path).unwrap();
        }),
        ("gone", &|path| fs::remove_file(path).unwrap()),
    ];
    for (what, change) in changes {
        let alice = swarm.person();
        let path = alice.write("app.log", &samples::bytes(what, 30 * MIB));
        let before = swarm.chunk_files(0).len();
        let share = alice.start(&SHARE);
        wait_for("some chunks", || swarm.chunk_files(0).len() > before + 10);
        change(&path);
        let ran = Ran::of(share.wait_with_output().unwrap());
        assert_ne!(ran.code, 0, "{what}: {}", ran.stderr);
        assert_eq!(ran.stdout, "", "{what}: no link is printed");
        if what != "gone" {
            assert!(
                ran.stderr.contains("app.log changed while it was being shared"),
                "{what}: {}",
                ran.stderr
            );
            assert!(ran.stderr.contains("cat FILE | parcelry share - --name FILE"), "{what}: {}", ran.stderr);
        }
    }
}

#[test]
fn f22_a_file_is_watched_until_all_of_it_was_read_and_no_longer() {
    let mut swarm = Swarm::start(0);
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let line = Proxy::start(Arc::new(Mutex::new(port.clone())));
    swarm.add_peer(0, &["--listen", &port, "--public-addr", &line.address]);
    // What is read at once takes seconds until it is stored.
    line.set(Weather::Narrow { bytes_per_second: 40_000 });
    let alice = swarm.person();
    let bytes = samples::bytes("read", 3 << 16);
    let log = alice.write("app.log", &bytes);
    let share = alice.start(&[&SHARE[..], &["--replicas", "1"]].concat());
    let uploads = alice.home.path().join(".local/state/parcelry/uploads");
    wait_for("the manifest", || {
        let journals = fs::read_dir(&uploads).into_iter().flatten().flatten();
        journals.map(|journal| journal.path().join("manifest")).any(|manifest| manifest.exists())
    });
    assert!(swarm.chunk_files(0).len() < 3, "it is made beside the last puts");
    fs::remove_file(log).unwrap();
    line.set(Weather::Fair);
    let ran = Ran::of(share.wait_with_output().unwrap());
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let bob = swarm.person();
    bob.get(&ran.link());
    assert!(bob.read("app.log") == bytes);
}
