//! Files with holes, as images of disks: what is sent is their data, and what arrives has the holes.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::fs::{self, File};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::process::Child;

use common::person::{Person, Ran, names_in};
use common::swarm::Swarm;
use common::{by_hand, samples, wait_for};
use parcelry::crash::{self, Point};
use parcelry::disk::file_system;
use parcelry_core::geometry::{ChunkSize, Geometry};

const MIB: u64 = 1 << 20;
const KIB: u64 = 1 << 10;
const CHUNK: [&str; 2] = ["--chunk-size", "64KiB"];

/// A file with data at these places and holes around it.
fn sparse(path: &Path, len: u64, data: &[(u64, u64)]) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let file = File::create_new(path).unwrap();
    file.set_len(len).unwrap();
    for &(at, len) in data {
        let bytes = samples::bytes(&format!("{at} of {}", path.display()), usize::try_from(len).unwrap());
        file.write_all_at(&bytes, at).unwrap();
    }
}

/// Bytes that a file takes on its disk.
fn taken(path: &Path) -> u64 {
    path.metadata().unwrap().blocks() * 512
}

/// Bytes of all chunks at a peer.
fn stored(swarm: &Swarm, peer: usize) -> u64 {
    swarm.chunk_files(peer).iter().map(|file| file.metadata().unwrap().len()).sum()
}

#[track_caller]
fn assert_same(one: &Path, other: &Path) {
    let files = [one, other].map(|path| File::open(path).unwrap());
    let [len, other_len] = [&files[0], &files[1]].map(|file| file.metadata().unwrap().len());
    assert_eq!(len, other_len, "{}", other.display());
    let mut pieces = [vec![0; 1 << 20], vec![0; 1 << 20]];
    for at in (0..len).step_by(1 << 20) {
        let piece = usize::try_from((len - at).min(MIB)).unwrap();
        for (file, bytes) in files.iter().zip(&mut pieces) {
            file.read_exact_at(&mut bytes[..piece], at).unwrap();
        }
        assert!(pieces[0][..piece] == pieces[1][..piece], "{} at {at}", other.display());
    }
}

fn kill_9(mut child: Child) {
    child.kill().unwrap();
    child.wait().unwrap();
}

#[track_caller]
fn die_at(person: &Person, point: Point, args: &[&str]) {
    let mut dying = person.command(args);
    let died = Ran::of(dying.env(crash::VARIABLE, format!("{point:?}")).output().unwrap());
    assert_eq!(died.code, -1, "{}", died.stderr);
}

#[test]
fn f29_an_image_of_a_disk_is_sent_without_its_holes_and_arrives_with_them() {
    let swarm = Swarm::start(2);
    let (alice, bob) = (swarm.person(), swarm.person());
    let image = alice.path("disk.img");
    let data = [(0, 300 * KIB), (100 * MIB, 300 * KIB), (200 * MIB + 777, 300 * KIB), (256 * MIB - 100, 100)];
    sparse(&image, 256 * MIB, &data);
    let ran = alice.run(&["share", "disk.img"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert!(ran.stderr.contains("Files have holes, which are not sent: "), "{}", ran.stderr);
    for peer in 0..2 {
        let stored = stored(&swarm, peer);
        assert!((900 * KIB..1300 * KIB).contains(&stored), "{stored}");
    }
    let link = ran.link();
    let said = bob.get(&link);
    assert!(said.contains("Saved disk.img (268"), "{said}");
    assert_same(&image, &bob.path("disk.img"));
    assert!(taken(&bob.path("disk.img")) < 2 * MIB, "{}", taken(&bob.path("disk.img")));
    assert_eq!(bob.names(), ["disk.img"]);
    let inspected = bob.run(&["inspect", &link, "--json"]).document();
    assert_eq!(inspected["size_bytes"], 256 * MIB);
    assert_eq!(inspected["files"][0]["size_bytes"], 256 * MIB);
    let data_bytes = inspected["data_bytes"].as_u64().unwrap();
    assert!((900 * KIB..1300 * KIB).contains(&data_bytes), "{data_bytes}");
    assert!(bob.run(&["inspect", &link]).stdout.contains(" without holes) in 1 file"));
    let verified = bob.run(&["verify", &link]);
    assert_eq!(verified.code, 0, "{}", verified.stderr);
    // In the place of another file.
    bob.write("disk.img", b"old");
    let summary = bob.run(&["get", &link, "--force", "--json"]).events().pop().unwrap();
    assert_eq!(summary["size_bytes"], 256 * MIB);
    assert_same(&image, &bob.path("disk.img"));
    assert!(taken(&bob.path("disk.img")) < 2 * MIB);
}

/// A directory with a hole wherever one can be.
fn make_directory(alice: &Person) {
    sparse(&alice.path("vm/at the start"), 5 * MIB, &[(4 * MIB, MIB)]);
    sparse(&alice.path("vm/sub/at the end"), 5 * MIB + 5, &[(0, MIB)]);
    sparse(&alice.path("vm/nothing but one"), 64 * MIB + 7, &[]);
    sparse(&alice.path("vm/several"), 9 * MIB, &[(MIB, 100 * KIB), (3 * MIB, 1), (9 * MIB - 1, 1)]);
    alice.write("vm/empty", b"");
    alice.write("vm/plain", &samples::bytes("plain", 100_000));
    alice.write("vm/zeros", &[0; 300_000]);
    alice.write("vm/z", b"the last");
}

const NAMES: [&str; 8] =
    ["at the start", "empty", "nothing but one", "plain", "several", "sub/at the end", "z", "zeros"];

#[track_caller]
fn assert_directory_arrived(alice: &Person, bob: &Person) {
    for name in NAMES {
        let [from, to] = [alice, bob].map(|person| person.path("vm").join(name));
        assert_same(&from, &to);
        assert!(taken(&to) <= taken(&from) + 256 * KIB, "{name}: {} of {}", taken(&to), taken(&from));
        assert_eq!(from.metadata().unwrap().mtime(), to.metadata().unwrap().mtime(), "{name}");
    }
}

#[test]
fn f29_holes_in_a_folders_files_are_kept_wherever_they_are() {
    let swarm = Swarm::start(2);
    let (alice, bob) = (swarm.person(), swarm.person());
    make_directory(&alice);
    let link = alice.share(&[&["vm"][..], &CHUNK].concat());
    assert!(stored(&swarm, 0) < 4 * MIB, "{}", stored(&swarm, 0));
    bob.get(&link);
    assert_directory_arrived(&alice, &bob);
    assert_eq!(bob.run(&["verify", &link]).code, 0);
    // Into a directory that is there, by a process that dies when some are in their places: these are made again.
    fs::remove_dir_all(bob.path("vm/sub")).unwrap();
    NAMES
        .iter()
        .filter(|name| !name.contains('/'))
        .for_each(|name| drop(bob.write(&format!("vm/{name}"), b"old")));
    die_at(&bob, Point::EntryMoved, &["get", &link, "--force"]);
    die_at(&bob, Point::AllWritten, &["get", &link, "--force"]);
    let part = names_in(&bob.path("vm")).into_iter().find(|name| name.ends_with(".part")).unwrap();
    for name in ["nothing but one", "several", "sub/at the end"] {
        fs::remove_file(bob.path("vm").join(&part).join(name)).unwrap();
    }
    die_at(&bob, Point::PlainWritten, &["get", &link, "--force"]);
    let ran = bob.run(&["get", &link, "--force"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert_directory_arrived(&alice, &bob);
    assert_eq!(fs::read_dir(bob.path("vm")).unwrap().count(), 8, "nothing is left behind");
}

#[test]
fn f29_a_file_that_is_nothing_but_a_hole_arrives() {
    let swarm = Swarm::start(2);
    let (alice, bob) = (swarm.person(), swarm.person());
    sparse(&alice.path("hole"), 3 * MIB + 1, &[]);
    let link = alice.share(&["hole"]);
    bob.get(&link);
    assert_same(&alice.path("hole"), &bob.path("hole"));
    assert!(taken(&bob.path("hole")) < 64 * KIB);
    let ran = bob.command(&["get", &link, "-o", "-"]).output().unwrap();
    assert!(ran.status.success() && ran.stdout == bob.read("hole"));
}

#[test]
fn f29_to_standard_output_and_into_a_fifo_holes_are_written_as_zeros() {
    let swarm = Swarm::start(2);
    let (alice, bob) = (swarm.person(), swarm.person());
    let image = alice.path("image");
    sparse(&image, 40 * MIB + 5, &[(MIB, 70 * KIB), (20 * MIB + 3, 300 * KIB), (30 * MIB, 1)]);
    let link = alice.share(&[&["image"][..], &CHUNK].concat());
    let mut get = bob.command(&["get", &link, "-o", "-"]);
    let got = get.stdout(File::create(bob.path("piped")).unwrap()).output().unwrap();
    assert!(got.status.success(), "{}", String::from_utf8_lossy(&got.stderr));
    assert_same(&image, &bob.path("piped"));
    let fifo = bob.path("fifo");
    rustix::fs::mkfifoat(rustix::fs::CWD, &fifo, rustix::fs::Mode::RWXU).unwrap();
    let get = bob.start(&["get", &link, "-o", "fifo"]);
    let bytes = fs::read(&fifo).unwrap();
    assert_eq!(Ran::of(get.wait_with_output().unwrap()).code, 0);
    assert!(bytes == fs::read(&image).unwrap());
}

/// Where the data of a large image is: some in every other half MiB.
fn large() -> Vec<(u64, u64)> {
    (0..60).map(|number| (number * MIB + 64 * KIB, 512 * KIB)).collect()
}

#[test]
fn f29_what_was_killed_on_either_side_goes_on_with_its_holes() {
    let swarm = Swarm::start(2);
    let (alice, bob) = (swarm.person(), swarm.person());
    let image = alice.path("image");
    sparse(&image, 61 * MIB, &large());
    let share = [&["share", "image"][..], &CHUNK].concat();
    let sharing = alice.start(&share);
    wait_for("some chunks", || swarm.chunk_files(0).len() > 20);
    kill_9(sharing);
    // What is written to the disk and reads the same moves no byte: the share goes on as it began.
    File::options()
        .write(true)
        .open(&image)
        .unwrap()
        .write_all_at(&[0; 100 << 10], 3 * MIB + 700 * KIB)
        .unwrap();
    let ran = alice.run(&share);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert!(ran.stderr.contains("Resuming: "), "{}", ran.stderr);
    let link = ran.link();
    let before = swarm.total("parcelry_peer_chunks_served_total");
    let getting = bob.start(&["get", &link]);
    wait_for("some chunks", || swarm.total("parcelry_peer_chunks_served_total") > before + 30);
    kill_9(getting);
    assert!(!bob.path("image").exists(), "killed too late to show anything");
    let said = bob.get(&link);
    assert!(said.contains("Resuming: "), "{said}");
    assert_same(&image, &bob.path("image"));
    assert!(taken(&bob.path("image")) < 32 * MIB, "{}", taken(&bob.path("image")));
}

#[test]
fn f29_a_hole_that_is_filled_meanwhile_or_between_two_attempts_is_a_change() {
    let swarm = Swarm::start(2);
    let alice = swarm.person();
    let image = alice.path("image");
    sparse(&image, 61 * MIB, &large());
    let share = [&["share", "image"][..], &CHUNK].concat();
    let fill = |at: u64| File::options().write(true).open(&image).unwrap().write_all_at(b"x", at).unwrap();
    let sharing = alice.start(&share);
    wait_for("some chunks", || swarm.chunk_files(0).len() > 20);
    fill(800 * KIB);
    let ran = Ran::of(sharing.wait_with_output().unwrap());
    assert_eq!((ran.code, ran.stdout.as_str()), (1, ""), "{}", ran.stderr);
    assert!(ran.stderr.contains("image changed while it was being shared"), "{}", ran.stderr);
    let before = swarm.chunk_files(0).len();
    let sharing = alice.start(&share);
    wait_for("some chunks", || swarm.chunk_files(0).len() > before + 20);
    kill_9(sharing);
    fill(61 * MIB - 1);
    let ran = alice.run(&share);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert!(!ran.stderr.contains("Resuming"), "{}", ran.stderr);
    let bob = swarm.person();
    bob.get(&ran.link());
    assert_same(&image, &bob.path("image"));
}

#[test]
fn f29_after_a_crash_of_the_system_holes_are_checked_like_chunks() {
    let swarm = Swarm::start(2);
    let (alice, bob) = (swarm.person(), swarm.person());
    let image = alice.path("image");
    sparse(&image, 61 * MIB, &large());
    let link = alice.share(&[&["image"][..], &CHUNK].concat());
    let before = swarm.total("parcelry_peer_chunks_served_total");
    let getting = bob.start(&["get", &link]);
    wait_for("some chunks", || swarm.total("parcelry_peer_chunks_served_total") > before + 30);
    kill_9(getting);
    let part = bob.names().into_iter().find(|name| name.ends_with(".part")).unwrap();
    let part = File::options().write(true).open(bob.path(&part)).unwrap();
    part.write_all_at(b"not of the share", 5 * MIB).unwrap();
    part.write_all_at(b"behind its end", 61 * MIB).unwrap();
    let downloads = bob.home.path().join(".local/state/parcelry/downloads");
    let header = fs::read_dir(&downloads).unwrap().next().unwrap().unwrap().path().join("download.json");
    let mut other: serde_json::Value = serde_json::from_slice(&fs::read(&header).unwrap()).unwrap();
    other["boot_id"] = "another boot".into();
    fs::write(header, other.to_string()).unwrap();
    let said = bob.get(&link);
    assert!(said.contains("Resuming: "), "{said}");
    assert_same(&image, &bob.path("image"));
}

#[test]
fn f29_where_files_have_no_holes_there_must_be_room_for_all_of_them_first() {
    let swarm = Swarm::start(2);
    let (alice, bob) = (swarm.person(), swarm.person());
    sparse(&alice.path("huge"), 1 << 40, &[(0, 5)]);
    sparse(&alice.path("vm/huge"), 1 << 40, &[(0, 5)]);
    for name in ["huge", "vm"] {
        let link = alice.share(&[name]);
        let mut get = bob.command(&["get", &link]);
        let ran = Ran::of(get.env(file_system::VARIABLE, "Holes").output().unwrap());
        assert_eq!(ran.code, 8, "{}", ran.stderr);
        assert!(ran.stderr.contains("as files have no holes there"), "{}", ran.stderr);
        assert_eq!(bob.names(), [""; 0]);
        bob.get(&link);
        let got = if name == "huge" { bob.path("huge") } else { bob.path("vm/huge") };
        assert_eq!(got.metadata().unwrap().len(), 1 << 40);
        assert!(taken(&got) < MIB);
        fs::remove_file(&got).unwrap();
        let _ = fs::remove_dir(bob.path("vm"));
    }
    // What fits is saved whole there, too.
    sparse(&alice.path("small"), 3 * MIB, &[(MIB, 5)]);
    let link = alice.share(&["small"]);
    let mut get = bob.command(&["get", &link]);
    let ran = Ran::of(get.env(file_system::VARIABLE, "Holes").output().unwrap());
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert_same(&alice.path("small"), &bob.path("small"));
}

#[test]
fn s2_hostile_holes_are_refused_and_nothing_is_saved() {
    let swarm = Swarm::start(1);
    let bob = swarm.person();
    let publish = |size: u64, holes: &str, more: &str| {
        let geometry = Geometry::new(4, ChunkSize::from_log2(16).unwrap()).unwrap();
        let metadata = format!(
            r#"{{"original_filename":"f","extension":"","size":{size},"chunk_count":1,"created":"2026-01-01T00:00:00Z",
            "files":[{{"path":"f","offset":0,"size":{size},"holes":{holes},"executable":false,
            "modified":"2026-01-01T00:00:00Z"{more}}}],"dirs":[]}}"#
        );
        by_hand::publish(&swarm, geometry, &metadata, |keys| {
            let mut sealed = b"evil".to_vec();
            keys.seal_chunk(&geometry, geometry.index(0).unwrap(), &mut sealed);
            sealed
        })
    };
    let many: Vec<[u64; 2]> = (0..100_001).map(|hole| [2 * hole + 4, 1]).collect();
    for (size, holes, why) in [
        (9, "[[0,0]]", "empty"),
        (9, "[[0,3],[3,2]]", "touch"),
        (9, "[[4,3],[0,2]]", "order"),
        (9, "[[7,5]]", "beyond the end of its file"),
        (9, "[[0,4]]", "not the manifest's"),
        (4, "[[0,5]]", "contradicts itself"),
        (200_006, &serde_json::to_string(&many).unwrap(), "more holes than the limit"),
        (u64::MAX, "[[4,18446744073709551611]]", "larger than any disk"),
        (9, "[[4,18446744073709551615]]", "beyond any file"),
        (9, "null", "null"),
    ] {
        let ran = bob.run(&["get", &publish(size, holes, "")]);
        assert_eq!(ran.code, 7, "{holes:.60} {}", ran.stderr);
        assert!(ran.stderr.contains(why), "{holes:.60} {}", ran.stderr);
    }
    // Sound, and larger than any file of this disk: it is said before anything is fetched, and nothing stays.
    let largest = (1_u64 << 53) - 1;
    let link = publish(largest, &format!("[[4,{}]]", largest - 4), "");
    let ran = bob.run(&["get", &link]);
    if ran.code == 0 {
        assert_eq!(bob.path("f").metadata().unwrap().len(), largest, "some disks have files of that length");
        fs::remove_file(bob.path("f")).unwrap();
    } else {
        assert!(ran.stderr.contains("cannot prepare "), "{}", ran.stderr);
    }
    // Whoever reads it as a stream ends it whenever he wants.
    let mut get = bob.command(&["get", &link, "-o", "-"]);
    let mut get =
        get.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped()).spawn().unwrap();
    let mut start = vec![1; 100_000];
    std::io::Read::read_exact(get.stdout.as_mut().unwrap(), &mut start).unwrap();
    assert!(start.starts_with(b"evil\0") && start[4..].iter().all(|&byte| byte == 0));
    let pid = rustix::process::Pid::from_child(&get);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    assert_eq!(Ran::of(get.wait_with_output().unwrap()).code, 130);
    assert_eq!(bob.names(), [""; 0]);
}
