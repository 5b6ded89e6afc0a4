//! Micro-benchmarks of what a transfer consists of: `cargo bench`.
//!
//! Sealing, opening and hashing of a chunk; a manifest of a gigabyte; the placement among a thousand peers; and a
//! look-up over HTTP and TLS at a real tracker.
#![allow(clippy::unwrap_used, reason = "a benchmark fails by panicking")]

use std::hint::black_box;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use parcelry::client::Http;
use parcelry::commands::local::{LocalConfig, LocalSwarm};
use parcelry::context::Context;
use parcelry::get::look_up;
use parcelry::progress::{Progress, Style};
use parcelry::share::{ShareRequest, share};
use parcelry::task::Tasks;
use parcelry_core::geometry::{ChunkSize, Geometry};
use parcelry_core::id::{ChunkId, PeerId, Secret, ShareId};
use parcelry_core::manifest::{Draft, Manifest, ShareKey};
use parcelry_core::placement::{Candidate, PlacementRequest, place};
use parcelry_core::registry::Rules;
use parcelry_core::seal::{Header, ShareKeys};

const GIB: u64 = 1 << 30;

fn chunk_size() -> ChunkSize {
    ChunkSize::fitting(GIB, None).unwrap()
}

fn geometry() -> Geometry {
    Geometry::new(GIB, chunk_size()).unwrap()
}

fn keys() -> ShareKeys {
    ShareKeys::derive(&Secret::from_bytes([1; 32]), &[2; 32], Header { chunk_size: chunk_size() })
}

fn chunks(criterion: &mut Criterion) {
    let (keys, geometry) = (keys(), geometry());
    let index = geometry.index(0).unwrap();
    let plain = vec![7; geometry.plain_len(index)];
    let mut sealed = plain.clone();
    keys.seal_chunk(&geometry, index, &mut sealed);
    let mut group = criterion.benchmark_group("chunk of 1 MiB");
    group.throughput(Throughput::Bytes(plain.len() as u64));
    let fresh = |bytes: &Vec<u8>| {
        let mut copy = Vec::with_capacity(sealed.len());
        copy.extend_from_slice(bytes);
        copy
    };
    group.bench_function("seal", |bencher| {
        let seal = |bytes: &mut Vec<u8>| keys.seal_chunk(&geometry, index, bytes);
        bencher.iter_batched_ref(|| fresh(&plain), seal, BatchSize::LargeInput);
    });
    group.bench_function("open", |bencher| {
        let open = |bytes: &mut Vec<u8>| keys.open_chunk(&geometry, index, bytes).unwrap();
        bencher.iter_batched_ref(|| fresh(&sealed), open, BatchSize::LargeInput);
    });
    group.bench_function("hash", |bencher| bencher.iter(|| ChunkId::of(black_box(&sealed))));
}

fn manifest(criterion: &mut Criterion) {
    let (keys, geometry) = (keys(), geometry());
    let key = ShareKey::from_seed(&Secret::from_bytes([3; 32]));
    let ids: Vec<ChunkId> = geometry.indices().map(|index| ChunkId::of(&index.get().to_be_bytes())).collect();
    let make = || Draft::new(&key, &keys, &[2; 32], geometry, &ids).finish(&key, &keys, b"{}");
    let encoded = make().encoded().to_vec();
    let mut group = criterion.benchmark_group("manifest of 1 GiB");
    group.bench_function("make and sign", |bencher| bencher.iter(make));
    group.bench_function("decode and verify", |bencher| {
        bencher.iter_batched(
            || encoded.clone(),
            |encoded| Manifest::decode(encoded, key.share_id()).unwrap(),
            BatchSize::SmallInput,
        );
    });
}

fn placement(criterion: &mut Criterion) {
    let candidate = |number: u32| {
        let mut id = [0; 32];
        id[..4].copy_from_slice(&number.to_be_bytes());
        Candidate {
            id: PeerId::from_bytes(id),
            free_bytes: 1 << 40,
            zone: Some(format!("zone {}", number % 5)),
            zone_is_given: true,
            host: format!("host {number}"),
            token: None,
        }
    };
    let candidates: Vec<Candidate> = (0..1000).map(candidate).collect();
    let request = PlacementRequest {
        share: ShareId::from_bytes([9; 32]),
        chunk_count: 1024,
        chunk_bytes: 1 << 20,
        replicas: 2,
        preferred: Vec::new(),
    };
    criterion.bench_function("place a share among 1,000 peers", |bencher| {
        bencher.iter(|| place(black_box(&request), black_box(&candidates)).unwrap());
    });
}

fn look_ups(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let directory = tempfile::tempdir().unwrap();
    let tasks = Tasks::default();
    let context = Context {
        http: Http::new(None).unwrap(),
        progress: Progress::new(Style::Json),
        state: directory.path().join("state"),
    };
    let file = directory.path().join("file");
    std::fs::write(&file, [7; 100]).unwrap();
    let (swarm, link) = runtime.block_on(async {
        let config = LocalConfig {
            data: &directory.path().join("swarm"),
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            public_url: None,
            peers: &["a", "b"],
            keep_free_bytes: 0,
            rules: Rules { heartbeat: Duration::from_secs(1), dead_after: Duration::from_secs(60) },
        };
        let swarm = LocalSwarm::start(config, &tasks).await.unwrap();
        let request = ShareRequest::for_an_hour(file);
        let shared = share(&context, &swarm.invite, request).await.unwrap();
        (swarm, shared.link)
    });
    criterion.bench_function("look a share up at a tracker", |bencher| {
        bencher.iter(|| runtime.block_on(look_up(&context, &link)).unwrap());
    });
    runtime.block_on(async {
        swarm.stop().await;
        tasks.stop(Duration::from_secs(5)).await;
    });
}

criterion_group!(benches, chunks, manifest, placement, look_ups);
criterion_main!(benches);
