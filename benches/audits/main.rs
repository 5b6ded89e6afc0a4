//! What audits cost a tracker: see `benches/audits.sh`.
//!
//! Two measurements. The rules alone, in virtual time, tell how many requests a day takes and how much peers read for
//! them. A real tracker, started on a full database, asks a thousand identities in this process for proofs, over TLS:
//! that tells what a request costs it.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark prints, and fails by panicking")]

mod database;
mod peers;
mod plan;
mod tracker;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use parcelry::task::Tasks;

use tracker::{TrackerProcess, Usage};

/// Time between two looks at the tracker.
const LOOK_EVERY: Duration = Duration::from_secs(15);
/// Time for which it is watched when all is proven.
const QUIET: Duration = Duration::from_secs(60);

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|text| text != "--bench").collect();
    let [peers, pairs, directory] = &arguments[..] else {
        println!("see benches/audits.sh");
        return;
    };
    let (peers, pairs) = (peers.parse().unwrap(), pairs.parse().unwrap());
    plan::report(peers, pairs);
    let directory =
        tempfile::Builder::new().prefix("parcelry-bench.").tempdir_in(PathBuf::from(directory)).unwrap();
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        let tasks = Tasks::default();
        measure(directory.path(), peers, pairs, &tasks).await;
        tasks.stop(Duration::from_secs(5)).await;
    });
}

async fn measure(directory: &std::path::Path, peers: u32, pairs: u32, tasks: &Tasks) {
    let tracker = TrackerProcess::start(directory).await;
    let blobs = peers::Blobs::new();
    let swarm = peers::Swarm::register(peers, &tracker, blobs, tasks).await;
    tracker.stop();
    let begun = Instant::now();
    swarm.serve_manifests(database::fill(directory, &swarm.ids(), pairs, swarm.blobs()).await);
    println!("database: {pairs} pairs made in {:.0?}", begun.elapsed());

    let begun = Instant::now();
    let tracker = TrackerProcess::start(directory).await;
    println!("tracker: listens after {:.1?}", begun.elapsed());
    swarm.beat(&tracker, tasks);
    let (mut loaded, mut before) = (None, tracker.usage());
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        let (known, proven) = tracker.pairs().await;
        if known >= u64::from(pairs) && loaded.is_none() {
            loaded = Some(begun.elapsed());
            println!("all pairs are known after {:.0?}", begun.elapsed());
        }
        let now = tracker.usage();
        show(&format!("{known} known, {proven} proven"), now, before, &swarm);
        before = now;
        if proven >= u64::from(pairs) {
            break;
        }
    }
    let cost = tracker.usage();
    println!("all pairs are proven after {:.0?}, {:.0?} of CPU", begun.elapsed(), cost.cpu);
    tokio::time::sleep(QUIET).await;
    show("with nothing due", tracker.usage(), cost, &swarm);
    tracker.stop();
}

fn show(what: &str, now: Usage, before: Usage, swarm: &peers::Swarm) {
    let asked = swarm.take_asked();
    let seconds = now.at.duration_since(before.at).as_secs_f64();
    let cpu = now.cpu.checked_sub(before.cpu).unwrap();
    println!(
        "{what}: {:.1} requests/s, {:.0} samples/s, {:.1} MB/s read by peers, {:.0} beats/s; CPU {:.1} %, {} MiB, peak {} MiB",
        asked.requests as f64 / seconds,
        asked.samples as f64 / seconds,
        asked.bytes as f64 / seconds / 1e6,
        asked.beats as f64 / seconds,
        100.0 * cpu.as_secs_f64() / seconds,
        now.memory_mib,
        now.peak_mib,
    );
}
