//! `parcelry demo`: a whole swarm on this machine in one process. It shares, loses the sender and a
//! peer, gets, compares, and tells the story as it goes.

use std::fs::{self, File};
use std::io::{self, BufWriter, Read, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use parcelry_core::link::ShareLink;
use parcelry_core::registry::Rules;

use super::answers::DemoSummary;
use super::local::{LocalConfig, LocalSwarm};
use crate::cli::DemoArgs;
use crate::client::Http;
use crate::context::Context;
use crate::failure::{Failure, Kind};
use crate::get::{self, Destination, Manner};
use crate::human;
use crate::progress::Progress;
use crate::share::{ShareRequest, Shared, share};
use crate::task::{Tasks, blocking};

const PEERS: [&str; 3] = ["nas", "attic", "laptop"];
const SAMPLE_NAME: &str = "holiday-video.mp4";
const SAMPLE_BYTES: u64 = 64 << 20;

/// Runs the demonstration on what was named, or on a sample that it generates.
pub(super) async fn run(args: DemoArgs, progress: &Progress, tasks: &Tasks) -> Result<(), Failure> {
    let directory = tempfile::Builder::new().prefix("parcelry-demo-").tempdir();
    let directory = directory.map_err(|error| Failure::io("create", &std::env::temp_dir(), &error))?;
    let result = tell(args.path, directory.path(), progress, tasks).await;
    directory.close().map_err(|error| Failure::io("clear away", &std::env::temp_dir(), &error))?;
    result
}

async fn tell(
    path: Option<PathBuf>,
    directory: &Path,
    progress: &Progress,
    tasks: &Tasks,
) -> Result<(), Failure> {
    progress.say("1. A tracker and three peers start on this machine.");
    let mut swarm = start_swarm(directory, tasks).await?;
    let listing = swarm.peers.iter().map(|peer| format!("{} on {}", peer.name, peer.address));
    let listing: Vec<String> = listing.collect();
    progress.say(&format!("   Tracker on {}; peers: {}.", swarm.tracker.address, listing.join(", ")));

    let path = match path {
        Some(path) => path,
        None => sample(directory).await?,
    };
    progress.explain("");
    progress.say(&format!("2. Alice shares {}. Every chunk goes to two peers, encrypted.", path.display()));
    let shared = alice(&path, &directory.join("alice"), &swarm, progress).await?;
    progress.say("   Alice switches her machine off.");

    // One that holds a copy: to lose another would show nothing.
    let holder = swarm.peers.iter().position(|peer| shared.peers.contains(&peer.name));
    let gone = swarm.peers.remove(holder.unwrap_or(0));
    progress.explain("");
    progress.say(&format!("3. Peer {}, which holds one of the two copies, goes away, too.", gone.name));
    gone.stop().await;

    progress.explain("");
    progress.say("4. Bob has the link, and gets the file from the peers that are left.");
    let saved = bob(&shared.link, &directory.join("bob"), progress).await?;

    progress.explain("");
    progress.say("5. Are the two the same?");
    let (original, copy) = (path.clone(), saved.clone());
    let compared = blocking(move || compare(&original, &copy)).await;
    // Before the result is looked at: either way the directory is removed next.
    swarm.stop().await;
    match compared {
        Ok(bytes) => {
            let text = format!("   Yes: {} compared, every byte is equal.", human::bytes(bytes));
            progress.summary(&text, DemoSummary { equal: true, bytes });
            Ok(())
        }
        Err(difference) => Err(Failure::new(Kind::Integrity, format!("the copy differs: {difference}"))),
    }
}

async fn start_swarm(directory: &Path, tasks: &Tasks) -> Result<LocalSwarm, Failure> {
    let config = LocalConfig {
        data: directory,
        listen: SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 0),
        public_url: None,
        peers: &PEERS,
        keep_free_bytes: 0,
        rules: Rules { heartbeat: Duration::from_secs(1), dead_after: Duration::from_secs(30) },
    };
    LocalSwarm::start(config, tasks).await
}

async fn alice(
    path: &Path,
    state: &Path,
    swarm: &LocalSwarm,
    progress: &Progress,
) -> Result<Shared, Failure> {
    let context = Context { http: Http::new(None)?, progress: progress.clone(), state: state.to_owned() };
    let request = ShareRequest::for_an_hour(path.to_owned());
    let shared = share(&context, &swarm.invite, request).await?;
    progress.say(&format!("   {}", shared.sentence()));
    Ok(shared)
}

async fn bob(link: &ShareLink, home: &Path, progress: &Progress) -> Result<PathBuf, Failure> {
    let context = Context { http: Http::new(None)?, progress: progress.clone(), state: home.join("state") };
    let downloads = home.join("downloads");
    fs::create_dir_all(&downloads).map_err(|error| Failure::io("create", &downloads, &error))?;
    let got = get::get(&context, link, &Destination::Path(downloads), Manner::default()).await?;
    progress.say(&format!("   {}", got.sentence()));
    got.target.ok_or_else(|| Failure::new(Kind::Other, "nothing was saved"))
}

/// A file that looks like nothing: incompressible, and the same at each run.
async fn sample(directory: &Path) -> Result<PathBuf, Failure> {
    let path = directory.join(SAMPLE_NAME);
    let owned = path.clone();
    let written = blocking(move || {
        let mut bytes = blake3::Hasher::new().update(b"sample").finalize_xof().take(SAMPLE_BYTES);
        let mut file = BufWriter::new(File::create(owned)?);
        io::copy(&mut bytes, &mut file)?;
        file.flush()
    });
    written.await.map_err(|error| Failure::io("write", &path, &error))?;
    Ok(path)
}

/// Compares files, or directories with all that is in them. Returns how many bytes were compared.
fn compare(a: &Path, b: &Path) -> Result<u64, String> {
    let failed = |path: &Path, error: io::Error| format!("{}: {error}", path.display());
    if fs::symlink_metadata(a).map_err(|error| failed(a, error))?.is_dir() {
        let mut bytes = 0;
        for entry in fs::read_dir(a).map_err(|error| failed(a, error))? {
            let entry = entry.map_err(|error| failed(a, error))?;
            let kind = entry.file_type().map_err(|error| failed(a, error))?;
            // Others may not be in the share.
            if kind.is_dir() || kind.is_file() {
                bytes += compare(&entry.path(), &b.join(entry.file_name()))?;
            }
        }
        return Ok(bytes);
    }
    let (file_a, file_b) =
        (File::open(a).map_err(|e| failed(a, e))?, File::open(b).map_err(|e| failed(b, e))?);
    let (mut bytes, mut part_a, mut part_b) = (0, Vec::new(), Vec::new());
    loop {
        // Each part to its end: a single read of one file may give less than of the other.
        part_a.clear();
        part_b.clear();
        (&file_a).take(1 << 20).read_to_end(&mut part_a).map_err(|error| failed(a, error))?;
        (&file_b).take(1 << 20).read_to_end(&mut part_b).map_err(|error| failed(b, error))?;
        if part_a != part_b {
            return Err(format!("{} and {} differ after {bytes} bytes", a.display(), b.display()));
        }
        if part_a.is_empty() {
            return Ok(bytes);
        }
        bytes += part_a.len() as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_are_found() {
        let directory = tempfile::tempdir().unwrap();
        let (a, b) = (directory.path().join("a"), directory.path().join("b"));
        fs::create_dir_all(a.join("x")).unwrap();
        fs::create_dir_all(b.join("x")).unwrap();
        fs::write(a.join("x/f"), b"same").unwrap();
        assert!(compare(&a, &b).is_err(), "a missing file");
        fs::write(b.join("x/f"), b"same").unwrap();
        assert_eq!(compare(&a, &b), Ok(4));
        fs::write(b.join("x/f"), b"samE").unwrap();
        assert!(compare(&a, &b).is_err());
        fs::write(b.join("x/f"), b"same and more").unwrap();
        assert!(compare(&a, &b).is_err());
    }
}
