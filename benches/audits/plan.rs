//! The rules alone, in virtual time.

use std::time::Instant;

use parcelry_core::audit::{Audits, Outcome, Record};
use parcelry_core::id::{PeerId, ShareId};
use parcelry_core::registry::Rules;

const DAY_MS: u64 = 24 * 3600 * 1000;
/// Bytes of a sealed chunk of the usual size.
const CHUNK_BYTES: u64 = (1 << 20) + 16;
const REPLICAS: u32 = 2;

fn id(number: u32) -> [u8; 32] {
    *blake3::hash(&number.to_be_bytes()).as_bytes()
}

/// Who holds each of so many shares.
pub(crate) fn holders(share: u32, peers: u32) -> [u32; REPLICAS as usize] {
    let first = share % peers;
    [first, (first + 1 + share / peers % (peers - 1)) % peers]
}

/// Number of shares that so many pairs are of.
pub(crate) const fn shares(pairs: u32) -> u32 {
    pairs / REPLICAS
}

/// Lets two days pass after a restart, and prints what the second one took.
pub(crate) fn report(peers: u32, pairs: u32) {
    let rules = Rules {
        heartbeat: std::time::Duration::from_secs(10),
        dead_after: std::time::Duration::from_secs(300),
    };
    let begun = Instant::now();
    let mut audits = Audits::new(rules);
    let born_ms = 30 * DAY_MS;
    let record = Some(Record { since_ms: 0, steady_ms: 0, proven_ms: born_ms - 1 });
    for share in 0..shares(pairs) {
        for holder in holders(share, peers) {
            audits.meet(PeerId::from_bytes(id(holder)), ShareId::from_bytes(id(share)), record, born_ms);
        }
    }
    println!("rules: {pairs} pairs met in {:.1?}", begun.elapsed());
    let begun = Instant::now();
    let mut random = blake3::Hasher::new().finalize_xof();
    let mut draw = || {
        let mut bytes = [0; 8];
        random.fill(&mut bytes);
        u64::from_le_bytes(bytes)
    };
    let (mut first, mut second) = ((0_u64, 0_u64), (0_u64, 0_u64));
    for now_ms in (born_ms..born_ms + 2 * DAY_MS).step_by(1000) {
        for turn in audits.take(usize::MAX, now_ms) {
            let samples: u64 = turn.questions.iter().map(|asked| u64::from(asked.samples)).sum();
            let day = if now_ms < born_ms + DAY_MS { &mut first } else { &mut second };
            *day = (day.0 + 1, day.1 + samples);
            let outcomes: Vec<_> =
                turn.questions.iter().map(|asked| (asked.share, Outcome::Proven)).collect();
            audits.done(turn.peer, &outcomes, now_ms, &mut draw);
        }
    }
    println!("rules: two days with {} requests took {:.1?}", first.0 + second.0, begun.elapsed());
    let (seconds, each) = ((DAY_MS / 1000) as f64, f64::from(peers));
    println!(
        "a day: {:.2} requests/s, {:.2} samples/s; at a peer {:.0} requests and {:.0} chunks of 1 MiB, {:.2} GB read",
        second.0 as f64 / seconds,
        second.1 as f64 / seconds,
        second.0 as f64 / each,
        second.1 as f64 / each,
        (second.1 * CHUNK_BYTES) as f64 / each / 1e9,
    );
}
