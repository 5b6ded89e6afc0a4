//! `verify`: reads every replica of every chunk of a share, and keeps nothing. It believes nobody: what a peer
//! says it holds counts only if the bytes come and are the right ones.

use std::sync::Arc;

use futures_util::StreamExt;
use futures_util::stream;
use parcelry_core::api::{ComplaintRequest, SourceInfo};
use parcelry_core::chunk_set::ChunkSet;
use parcelry_core::geometry::ChunkIndex;
use parcelry_core::health::ReplicaCount;
use parcelry_core::id::ChunkId;
use parcelry_core::limits::VERIFIED_AT_ONCE;
use parcelry_core::manifest::ChunkList;
use parcelry_core::seal::access_token;

use super::answers::{VerifiedPeer, VerifySummary};
use super::pasted;
use crate::buffers::Buffers;
use crate::cli::LinkArgs;
use crate::client::{ChunkAnswer, PeerClient, TrackerClient};
use crate::context::Context;
use crate::failure::{Failure, Kind};
use crate::get::look_up;
use crate::human;
use crate::progress::Stage;

/// What one peer served.
struct Report {
    name: String,
    good: ChunkSet,
    wrong: ChunkSet,
    /// Why the peer could not be asked, if it could not.
    failed: Option<String>,
}

/// What a peer served for a chunk.
enum Served {
    Good,
    Wrong,
    Missing,
    Failed(String),
}

/// Reads every replica of a share, tells what was found, and complains about what is wrong. Fails if the share
/// cannot be had whole, or has fewer replicas than were asked for.
pub(super) async fn run(context: &Context, args: LinkArgs) -> Result<(), Failure> {
    let link = pasted::link(args.link).await?;
    let found = look_up(context, &link).await?;
    let tracker = TrackerClient::of_link(context.http.clone(), &link);
    let access = access_token(&link.secret);
    let manifest = &found.manifest;
    let total: u64 = found.sources.iter().map(|source| bytes_of(manifest, &source.chunks)).sum();
    let stage = context.progress.stage("Verifying", total);
    let mut peers = Vec::new();
    for source in found.sources {
        let id = source.peer.id;
        let report = read_all(context, manifest, source, &stage).await;
        // At once: an interrupt later on loses none of them.
        for index in report.wrong.iter() {
            let complaint = ComplaintRequest { peer: id, chunk: Some(index.get()) };
            if let Err(error) = tracker.complain(link.share, &access, &complaint).await {
                tracing::info!(%error, "the tracker did not take a complaint");
            }
        }
        peers.push(report);
    }
    drop(stage);
    // A share without chunks counts as held by whoever was reached.
    let counts = |peer: &&Report| peer.failed.is_none() || manifest.geometry().chunk_count() > 0;
    let good = peers.iter().filter(counts).map(|peer| &peer.good);
    let replicas = ReplicaCount::of(manifest.geometry(), found.terms.replicas, good);
    tell(context, manifest, &peers, &replicas);
    let ReplicaCount { wanted, fewest, short } = replicas;
    if fewest == 0 {
        return Err(Failure::new(
            Kind::Integrity,
            "the share cannot be had whole now: some chunk has no good copy",
        )
        .next("Try again when more peers are there, or ask the sender to share it again."));
    }
    if fewest < wanted {
        let what = format!("{} short of {wanted} good copies", human::count(short.into(), "chunk"));
        return Err(Failure::new(Kind::Partial, what).next(
            "The swarm makes new copies when it finds out; \
            `parcelry inspect LINK` shows how far it is.",
        ));
    }
    Ok(())
}

fn bytes_of(manifest: &ChunkList, chunks: &ChunkSet) -> u64 {
    let held = chunks.iter().filter(|index| index.get() < manifest.geometry().chunk_count());
    held.map(|index| manifest.geometry().sealed_len(index) as u64).sum()
}

/// Reads what a peer is said to hold.
async fn read_all(context: &Context, manifest: &ChunkList, source: SourceInfo, stage: &Stage) -> Report {
    let chunk_count = manifest.geometry().chunk_count();
    let none = || ChunkSet::empty(chunk_count);
    let name = source.peer.name.clone();
    let mut report = Report { name, good: none(), wrong: none(), failed: None };
    if source.chunks.chunk_count() != chunk_count {
        report.failed = Some("it is said to hold chunks of another share".into());
        return report;
    }
    stage.note(format!("at {}", report.name));
    let peer = PeerClient::new(context.http.clone(), source.peer);
    // There is nothing to read: whether the peer is there has to be asked.
    if chunk_count == 0 {
        report.failed = peer.health().await.err().map(|error| error.to_string());
    }
    let chunk_size = manifest.geometry().chunk_size();
    // Large chunks are fewer at once, as in a get, to bound the memory.
    let at_once = VERIFIED_AT_ONCE.min(chunk_size.window());
    let buffers = Buffers::for_chunks(at_once, chunk_size);
    let wanted = source
        .chunks
        .iter()
        .map(|index| (index, manifest.chunk(index), manifest.geometry().sealed_len(index)));
    let mut reads = stream::iter(wanted.collect::<Vec<_>>())
        .map(|(index, id, sealed_len)| read(peer.clone(), Arc::clone(&buffers), index, id, sealed_len))
        .buffer_unordered(at_once);
    while let Some((index, served)) = reads.next().await {
        stage.advance(manifest.geometry().sealed_len(index) as u64);
        match served {
            Served::Good => report.good.insert(index),
            Served::Wrong => report.wrong.insert(index),
            Served::Missing => {}
            Served::Failed(why) => {
                // The others would fail as well, each after its time-out.
                report.failed = Some(why);
                break;
            }
        }
    }
    report
}

async fn read(
    peer: PeerClient,
    buffers: Arc<Buffers>,
    index: ChunkIndex,
    id: ChunkId,
    sealed_len: usize,
) -> (ChunkIndex, Served) {
    let served = match peer.get_chunk(id, sealed_len, &buffers).await {
        Ok(ChunkAnswer::Found(_)) => Served::Good,
        Ok(ChunkAnswer::Wrong) => Served::Wrong,
        Ok(ChunkAnswer::Missing) => Served::Missing,
        Err(error) => Served::Failed(error.to_string()),
    };
    (index, served)
}

fn tell(context: &Context, manifest: &ChunkList, peers: &[Report], replicas: &ReplicaCount) {
    let chunk_count = manifest.geometry().chunk_count();
    if context.progress.is_json() {
        let peer = |peer: &Report| VerifiedPeer {
            name: peer.name.clone(),
            good: peer.good.len(),
            wrong: peer.wrong.iter().map(ChunkIndex::get).collect(),
            failed: peer.failed.clone(),
        };
        let summary = VerifySummary {
            share: manifest.share(),
            chunk_count,
            replicas_wanted: replicas.wanted,
            replicas_least: replicas.fewest,
            chunks_short: replicas.short.into(),
            peers: peers.iter().map(peer).collect(),
        };
        context.progress.event("summary", summary);
        return;
    }
    for peer in peers {
        let wrong = match peer.wrong.len() {
            0 => String::new(),
            n => format!(", {} damaged", human::count(u64::from(n), "chunk")),
        };
        // What was read before it failed counts.
        let failed = peer.failed.as_ref().map(|why| format!(", then: {why}")).unwrap_or_default();
        let line = format!("{}: {} of {chunk_count} good{wrong}{failed}", peer.name, peer.good.len());
        context.progress.result(&line);
    }
    context.progress.result(&human::health(replicas));
}
