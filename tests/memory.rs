//! Peak memory of every process at the limits of what a share may list. `benches/memory.sh` runs it, with room for shares
//! that claim to be large.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark fails by panicking, and prints")]

mod common;

use std::fs;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use common::by_hand;
use common::person::Person;
use common::swarm::{Server, Swarm};
use swarmdrop_core::geometry::{ChunkSize, Geometry};

const FILES: usize = 100_000;
const CHUNKS: u32 = 1_000_000;

/// Peak resident memory of a process so far, in MiB; 0 if it has ended.
fn peak_mib(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.trim().split(' ').next()?.parse::<u64>().ok()).unwrap_or(0) / 1024
}

/// Waits for a process; its exit code, its peak in MiB and how long it took.
fn watch(mut child: Child) -> (i32, u64, Duration) {
    let (started, mut peak) = (Instant::now(), 0);
    loop {
        peak = peak.max(peak_mib(child.id()));
        if let Some(status) = child.try_wait().unwrap() {
            return (status.code().unwrap_or(-1), peak, started.elapsed());
        }
        thread::sleep(Duration::from_millis(2));
    }
}

fn run(person: &Person, args: &[&str]) -> (i32, u64, Duration) {
    let mut command: Command = person.command(args);
    watch(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap())
}

fn show(what: &str, rows: &[(&str, u64)]) {
    let row = |(who, mib): &(&str, u64)| format!("{who} {mib}");
    println!("| {what} | {} |", rows.iter().map(row).collect::<Vec<_>>().join(", "));
}

fn peak_of(server: &Server) -> u64 {
    peak_mib(server.process_id())
}

#[test]
#[ignore = "a benchmark: benches/memory.sh"]
fn a_folder_of_as_many_files_as_a_share_may_have() {
    let swarm = Swarm::start_with(2, &[]);
    let (alice, bob) = (swarm.person(), swarm.person());
    for number in 0..FILES {
        let folder = alice.path(&format!("folder/{:02}/{:02}", number % 50, number / 50 % 40));
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join(format!("file-{number:06}.txt")), format!("{number}\n")).unwrap();
    }
    let link = alice.path("link");
    let mut command = alice.command(&["share", "-q", "folder"]);
    let output = fs::File::create(&link).unwrap();
    let (code, share, _) =
        watch(command.stdin(Stdio::null()).stdout(output).stderr(Stdio::null()).spawn().unwrap());
    assert_eq!(code, 0);
    let link = fs::read_to_string(&link).unwrap();
    let (code, inspect, _) = run(&bob, &["inspect", link.trim()]);
    assert_eq!(code, 0);
    let (code, get, _) = run(&bob, &["get", "-q", link.trim()]);
    assert_eq!(code, 0);
    let rows = [
        ("share", share),
        ("inspect", inspect),
        ("get", get),
        ("tracker", peak_of(&swarm.tracker)),
        ("peer", peak_of(&swarm.peers[0])),
    ];
    show(&format!("{FILES} small files"), &rows);
}

/// Publishes a share in which one sealed chunk stands again and again: its manifest is as long as one of so many chunks,
/// and so is what everybody notes of it. Nobody can read it to its end.
fn publish(swarm: &Swarm, chunks: u32, metadata: impl Fn(u64) -> String) -> String {
    let geometry = Geometry::new(u64::from(chunks) << 16, ChunkSize::from_log2(16).unwrap()).unwrap();
    by_hand::publish(swarm, geometry, &metadata(geometry.total()), |keys| {
        let mut sealed = vec![0; 1 << 16];
        keys.seal_chunk(&geometry, geometry.index(0).unwrap(), &mut sealed);
        sealed
    })
}

fn metadata(size: u64, chunks: u32, entries: &str, dirs: &str) -> String {
    format!(
        r#"{{"original_filename":"s","extension":"","size":{size},"chunk_count":{chunks},"created":"2026-01-01T00:00:00Z","files":[{entries}],"dirs":[{dirs}]}}"#
    )
}

fn entry(path: &str, offset: u64, size: u64) -> String {
    format!(
        r#"{{"path":"{path}","offset":{offset},"size":{size},"executable":false,"modified":"2026-01-01T00:00:00Z"}}"#
    )
}

#[test]
#[ignore = "a benchmark: benches/memory.sh"]
fn a_file_of_a_million_chunks() {
    let swarm = Swarm::start_with(1, &[]);
    let bob = swarm.person();
    let link = publish(&swarm, CHUNKS, |size| metadata(size, CHUNKS, &entry("s", 0, size), ""));
    let published = [("tracker", peak_of(&swarm.tracker)), ("peer", peak_of(&swarm.peers[0]))];
    show(&format!("{CHUNKS} chunks, published"), &published);
    let (code, inspect, _) = run(&bob, &["inspect", &link]);
    assert_eq!(code, 0);
    let (code, get, _) = run(&bob, &["get", "-q", &link]);
    assert_eq!(code, 7, "all chunks but the first are another's");
    let rows = [
        ("inspect", inspect),
        ("get", get),
        ("tracker", peak_of(&swarm.tracker)),
        ("peer", peak_of(&swarm.peers[0])),
    ];
    show(&format!("{CHUNKS} chunks, read"), &rows);
}

/// Metadata that asks for more than it is: refused at once, whatever it says.
#[test]
#[ignore = "a benchmark: benches/memory.sh"]
fn metadata_that_would_take_all_memory() {
    let swarm = Swarm::start_with(1, &[]);
    let bob = swarm.person();
    let deep = |components: usize, paths: usize| {
        let below = "x/".repeat(components);
        let paths = (0..paths).map(|number| format!("\"s/{number}/{below}x\""));
        paths.collect::<Vec<_>>().join(",")
    };
    let wide =
        |count: usize| (0..count).map(|number| format!("\"s/{number}\"")).collect::<Vec<_>>().join(",");
    let many =
        (0..100_001).map(|number| entry(&format!("s/{number}"), 65_536, 0)).collect::<Vec<_>>().join(",");
    let one = entry("s/f", 0, 65_536);
    let bombs = [
        ("50 paths of 2,000 components", metadata(65_536, 1, &one, &deep(2_000, 50))),
        ("8,000 paths of 2,000 components", metadata(65_536, 1, &one, &deep(2_000, 8_000))),
        ("100,000 folders of 120 components", metadata(65_536, 1, &one, &deep(120, 100_000))),
        ("10,000 paths of 128 components, none shared", metadata(65_536, 1, &one, &deep(125, 10_000))),
        ("100,001 folders", metadata(65_536, 1, &one, &wide(100_001))),
        ("100,001 files", metadata(65_536, 1, &format!("{one},{many}"), "")),
        ("lists in lists, a million deep", metadata(65_536, 1, &one, &"[".repeat(1_000_000))),
        ("one text of 31 MiB", metadata(65_536, 1, &one, &format!("\"s/{}\"", "x".repeat(31 << 20)))),
    ];
    for (what, bomb) in bombs {
        assert!(bomb.len() <= 32 << 20, "{what}: {} bytes", bomb.len());
        let bytes = bomb.len();
        let link = publish(&swarm, 1, |_| bomb.clone());
        let (code, get, took) = run(&bob, &["get", "-q", &link]);
        assert_eq!(code, 7, "{what}");
        assert_eq!(bob.names(), [""; 0], "{what}");
        show(
            &format!("{what} ({:.1} MiB), refused in {:.2} s", bytes as f64 / 1048576.0, took.as_secs_f64()),
            &[("get", get)],
        );
    }
}
