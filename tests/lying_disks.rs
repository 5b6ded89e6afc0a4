//! Disks that lie, fail or hang: a flipped bit, a sync that fails, one that takes long.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use common::person::{Ran, bare_command, names_in};
use common::swarm::Swarm;
use common::{flip_a_bit, samples, wait_for};
use parcelry::crash;
use parcelry_core::id::ChunkId;
use parcelry_core::limits::RESTORE_MANIFESTS_BYTES_MAX;

const CHUNKS: usize = 5;

fn share(swarm: &Swarm, name: &str, replicas: &str) -> (Vec<u8>, String) {
    let alice = swarm.person();
    let bytes = samples::bytes(name, CHUNKS * 65_536 - 100);
    alice.write("file.bin", &bytes);
    (bytes, alice.share(&["file.bin", "--chunk-size", "64KiB", "--replicas", replicas]))
}

fn assert_chunks_are_good(swarm: &Swarm, peer: usize, count: usize) {
    let files = swarm.chunk_files(peer);
    assert_eq!(files.len(), count);
    for file in files {
        let name = file.file_name().unwrap().to_str().unwrap().to_owned();
        assert_eq!(ChunkId::of(&fs::read(file).unwrap()).to_string(), name);
    }
    let aside = names_in(&swarm.peer_data(peer).join("store/aside"));
    assert_eq!(aside, Vec::<String>::new(), "nothing was set aside");
}

/// The files of a peer's store that are no chunks, of those that matter.
fn records(store: &Path) -> Vec<std::path::PathBuf> {
    let shares: Vec<_> =
        fs::read_dir(store.join("shares")).unwrap().map(|entry| entry.unwrap().path()).collect();
    let mut files = vec![store.join("STORE")];
    files
        .extend(shares.iter().flat_map(|share| ["chunks", "terms", "manifest"].map(|name| share.join(name))));
    files
}

#[test]
fn s5_a_flipped_bit_in_any_record_of_a_peer_costs_no_good_chunk_and_is_mended() {
    let mut swarm = Swarm::start(2);
    let (bytes, link) = share(&swarm, "flipped", "2");
    let store = swarm.peer_data(0).join("store");
    for record in records(&store) {
        swarm.peers[0].stop();
        let good = fs::read(&record).unwrap();
        flip_a_bit(&record);
        swarm.add_peer(0, &[]);
        wait_for(&format!("{} to be whole again", record.display()), || {
            fs::read(&record).is_ok_and(|now| now == good)
        });
        wait_for("two replicas", || swarm.person().fewest_replicas(&link) == 2);
        assert_chunks_are_good(&swarm, 0, CHUNKS);
        let doubts = names_in(record.parent().unwrap()).into_iter().filter(|name| name == "unsettled");
        assert_eq!(doubts.count(), 0, "tracker and the other holder agree on the terms");
    }
    swarm.peers[1].kill();
    let bob = swarm.person();
    bob.get(&link);
    assert!(bob.read("file.bin") == bytes, "what was mended serves");
}

#[test]
fn s5_lost_terms_are_had_from_the_tracker_alone_and_then_nothing_expires_in_a_hurry() {
    let mut swarm = Swarm::start(1);
    let (_, link) = share(&swarm, "alone", "1");
    let store = swarm.peer_data(0).join("store");
    let terms = records(&store).into_iter().find(|file| file.ends_with("terms")).unwrap();
    swarm.peers[0].stop();
    fs::remove_file(&terms).unwrap();
    swarm.add_peer(0, &[]);
    wait_for("the terms to be there again", || terms.exists());
    wait_for("a replica", || swarm.person().fewest_replicas(&link) == 1);
    assert!(terms.parent().unwrap().join("unsettled").exists(), "only one source had any");
    assert_chunks_are_good(&swarm, 0, CHUNKS);
}

#[test]
fn s5_a_damaged_manifest_is_had_from_the_tracker_when_nobody_else_has_it() {
    let mut swarm = Swarm::start(1);
    let (bytes, link) = share(&swarm, "the only one", "1");
    let store = swarm.peer_data(0).join("store");
    let manifest = records(&store).into_iter().find(|file| file.ends_with("manifest")).unwrap();
    let good = fs::read(&manifest).unwrap();
    swarm.peers[0].stop();
    flip_a_bit(&manifest);
    swarm.add_peer(0, &[]);
    wait_for("the manifest to be whole again", || fs::read(&manifest).is_ok_and(|now| now == good));
    wait_for("a replica", || swarm.person().fewest_replicas(&link) == 1);
    assert_chunks_are_good(&swarm, 0, CHUNKS);
    let bob = swarm.person();
    bob.get(&link);
    assert!(bob.read("file.bin") == bytes);
}

#[test]
fn s5_a_damaged_manifest_that_is_too_large_for_a_heartbeat_is_had_from_the_tracker_too() {
    let mut swarm = Swarm::start(1);
    let alice = swarm.person();
    // The sealed table of files alone is larger than what an answer to a heartbeat carries.
    for number in 0..1500 {
        alice.write(&format!("folder/{number:0>240}"), b"");
    }
    let link = alice.share(&["folder", "--replicas", "1"]);
    let store = swarm.peer_data(0).join("store");
    let manifest = records(&store).into_iter().find(|file| file.ends_with("manifest")).unwrap();
    let good = fs::read(&manifest).unwrap();
    assert!(good.len() as u64 > RESTORE_MANIFESTS_BYTES_MAX, "{}", good.len());
    swarm.peers[0].stop();
    flip_a_bit(&manifest);
    swarm.add_peer(0, &[]);
    wait_for("the manifest to be whole again", || fs::read(&manifest).is_ok_and(|now| now == good));
    swarm.person().get(&link);
}

#[test]
fn s5_a_store_whose_records_are_all_gone_keeps_its_chunks() {
    let mut swarm = Swarm::start(1);
    share(&swarm, "gone", "1");
    let store = swarm.peer_data(0).join("store");
    swarm.peers[0].stop();
    fs::remove_dir_all(store.join("shares")).unwrap();
    swarm.add_peer(0, &[]);
    wait_for("the strays to be counted", || {
        common::http::metric(&swarm.peers[0].address(), "parcelry_peer_chunks_stray") == CHUNKS as u64
    });
    assert_chunks_are_good(&swarm, 0, CHUNKS);
}

#[test]
fn a_damaged_key_stops_the_peer_with_advice() {
    let mut swarm = Swarm::start(1);
    swarm.peers[0].stop();
    flip_a_bit(&swarm.peer_data(0).join("identity.key"));
    let mut command = bare_command(swarm.directory.path());
    command.args(["peer", "--invite", &swarm.peer_invite(), "--data"]).arg(swarm.peer_data(0));
    let ran = Ran::of(command.output().unwrap());
    assert_ne!(ran.code, 0);
    assert!(
        ran.stderr.contains("identity.key is damaged") && ran.stderr.contains("backup"),
        "{}",
        ran.stderr
    );
}

#[test]
fn s8_after_a_sync_failed_a_share_is_acknowledged_only_when_its_bytes_were_written_again() {
    let mut swarm = Swarm::start(0);
    swarm.add_peer_with(0, crash::FAILING_SYNC, "1");
    let alice = swarm.person();
    let bytes = samples::bytes("sync", CHUNKS * 65_536 - 100);
    alice.write("file.bin", &bytes);
    let args = ["file.bin", "--chunk-size", "64KiB", "--replicas", "1"];
    let command: Vec<&str> = std::iter::once("share").chain(args).collect();
    let failed = alice.run(&command);
    assert_ne!(failed.code, 0, "{}", failed.stdout);
    wait_for("what came since the last good sync to be gone", || swarm.chunk_files(0).is_empty());
    wait_for("the disk to be believed again", || swarm.peers[0].log().contains("the disk writes again"));
    let canary = swarm.peer_data(0).join("store/canary").metadata().unwrap();
    let link = alice.share(&args);
    assert_eq!(swarm.chunk_files(0).len(), CHUNKS);
    for file in swarm.chunk_files(0) {
        let written = file.metadata().unwrap();
        let moment = |metadata: &fs::Metadata| (metadata.ctime(), metadata.ctime_nsec());
        assert!(moment(&written) > moment(&canary), "every chunk was written after the failure");
    }
    let bob = swarm.person();
    bob.get(&link);
    assert!(bob.read("file.bin") == bytes);
}

#[test]
fn s10_a_peer_whose_disk_is_slow_beats_on() {
    let mut swarm = Swarm::start(0);
    swarm.add_peer_with(0, crash::SLOW_SYNC, "5000");
    let (_, link) = share(&swarm, "first", "1");
    let rotten = swarm.chunk_files(0).swap_remove(2);
    let alice = swarm.person();
    alice.write("other.bin", &samples::bytes("second", CHUNKS * 65_536));
    let mut sharing = alice.start(&["share", "other.bin", "--chunk-size", "64KiB", "--replicas", "1"]);
    wait_for("the commit to begin", || swarm.chunk_files(0).len() >= 2 * CHUNKS);
    // While a share is being committed, a chunk of another one rots, and the peer is asked to look at it.
    flip_a_bit(&rotten);
    assert_ne!(swarm.person().run(&["verify", &link]).code, 0);
    while sharing.try_wait().unwrap().is_none() {
        assert_ne!(swarm.peer_list()[0]["state"], "dead", "it waits for the disk");
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    wait_for("the rot to be known", || swarm.chunk_files(0).len() == 2 * CHUNKS - 1);
}
