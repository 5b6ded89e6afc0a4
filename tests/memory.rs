//! Peak memory of every process at the limits of what a share may list. `benches/memory.sh` runs it, with room for shares
//! that claim to be large.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark fails by panicking, and prints")]

mod common;

use std::fs;
use std::process::Stdio;

use common::by_hand;
use common::peak::{peak_mib, run, watch};
use common::swarm::{Server, Swarm};
use parcelry_core::geometry::{ChunkSize, Geometry};

const FILES: usize = 100_000;
const CHUNKS: u32 = 1_000_000;

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
        let directory = alice.path(&format!("folder/{:02}/{:02}", number % 50, number / 50 % 40));
        fs::create_dir_all(&directory).unwrap();
        fs::write(directory.join(format!("file-{number:06}.txt")), format!("{number}\n")).unwrap();
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

/// Metadata that asks for more than it is: refused at once and in little more memory than its bytes, whatever it says.
#[test]
#[ignore = "a benchmark: benches/memory.sh"]
fn metadata_that_would_take_all_memory() {
    let swarm = Swarm::start_with(1, &[]);
    let bob = swarm.person();
    let listed = |paths: &dyn Fn(usize) -> String, count: usize| {
        (0..count).map(|number| format!("\"{}\"", paths(number))).collect::<Vec<_>>().join(",")
    };
    let deep = |components: usize, count| {
        let below = "x/".repeat(components);
        listed(&|number| format!("s/{number}/{below}x"), count)
    };
    let many =
        (0..100_001).map(|number| entry(&format!("s/{number}"), 65_536, 0)).collect::<Vec<_>>().join(",");
    let one = entry("s/f", 0, 65_536);
    let directories = |dirs: &str| metadata(65_536, 1, &one, dirs);
    let long = |part: &str, before: &str, after: &str| {
        let long = format!("{before}{}{after}", "x".repeat(31 << 20));
        directories("").replacen(part, &long, 1)
    };
    let slashes = format!(",\"links\":[{{\"path\":\"s/l\",\"target\":\"x{}\"}}]}}", "/x".repeat(15 << 20));
    let holes = (0..180_000).map(|number| format!("[{},1]", 2 * number)).collect::<Vec<_>>().join(",");
    let holes = format!("\"holes\":[{holes}],\"executable\"");
    let links = format!(",\"links\":[{}]}}", vec![r#"{"path":"a","target":"a"}"#; 77_000].join(","));
    let bombs = [
        ("50 paths of 2,000 components", directories(&deep(2_000, 50))),
        ("8,000 paths of 2,000 components", directories(&deep(2_000, 8_000))),
        ("100,000 folders of 120 components", directories(&deep(120, 100_000))),
        ("10,000 paths of 128 components, none shared", directories(&deep(125, 10_000))),
        ("100,001 folders", directories(&listed(&|number| format!("s/{number}"), 100_001))),
        ("100,001 files", metadata(65_536, 1, &format!("{one},{many}"), "")),
        ("lists in lists, a million deep", directories(&"[".repeat(1_000_000))),
        ("lists in lists, to the last byte", directories(&"[".repeat((32 << 20) - 300))),
        ("a path of 31 MiB", long("\"dirs\":[", "\"dirs\":[\"s/", "\"")),
        ("an extension of 31 MiB", long("\"\"", "\".", "\"")),
        ("a text of 31 MiB in the place of a table", long("[]", "\"", "\"")),
        ("a field whose name has 31 MiB", long("{", "{\"", "\":1,")),
        ("a symlink of 15 Mi components", format!("{}{slashes}", directories("").strip_suffix('}').unwrap())),
        // What is little enough to be read in one pass.
        ("500,000 folders", directories(&vec!["\"s\""; 500_000].join(","))),
        ("180,000 holes", directories("").replacen("\"executable\"", &holes, 1)),
        ("77,000 symlinks", format!("{}{links}", directories("").strip_suffix('}').unwrap())),
    ];
    for (what, bomb) in bombs {
        let bytes = bomb.len();
        assert!(bytes <= 32 << 20, "{what}: {bytes} bytes");
        let link = publish(&swarm, 1, |_| bomb.clone());
        let (code, get, took) = run(&bob, &["get", "-q", &link]);
        assert_eq!(code, 7, "{what}");
        assert_eq!(bob.names(), [""; 0], "{what}");
        let (mib, s) = (bytes as f64 / 1048576.0, took.as_secs_f64());
        show(&format!("{what} ({mib:.1} MiB), refused in {s:.2} s"), &[("get", get)]);
        assert!(get <= 50 && s <= 1.0, "{what}: {get} MiB, {s:.2} s");
    }
}
