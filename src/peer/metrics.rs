//! What `/metrics` shows, in the OpenMetrics text format.

use parcelry_core::traffic::Traffic;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

use super::Peer;

/// Counters of one peer; each has its own registry, so that several can run in one process.
#[derive(Debug, Default)]
pub(super) struct Metrics {
    /// Requests to store a chunk, also those for chunks that were here already.
    pub(super) chunk_puts: Counter,
    /// Chunks taken.
    pub(super) chunks_stored: Counter,
    /// Bytes of chunks taken.
    pub(super) bytes_stored: Counter,
    /// Requests for chunks answered.
    pub(super) chunks_served: Counter,
    /// Bytes of chunks served.
    pub(super) bytes_served: Counter,
    /// Chunks copied from other peers.
    pub(super) chunks_copied: Counter,
    /// Bytes of chunks copied from other peers.
    pub(super) bytes_copied: Counter,
    /// Bytes read to prove that they are here.
    pub(super) audited: Counter,
    /// Chunks read again by scrubs.
    pub(super) chunks_scrubbed: Counter,
    /// Chunks of them that were damaged.
    pub(super) chunks_damaged: Counter,
    /// Chunks of which neither a share nor an upload knows.
    pub(super) chunks_stray: Gauge<i64>,
}

impl Metrics {
    /// What the tracker is told with every heartbeat.
    pub(super) fn traffic(&self) -> Traffic {
        let received_bytes = self.bytes_stored.get() + self.bytes_copied.get();
        Traffic { received_bytes, served_bytes: self.bytes_served.get() }
    }
}

/// The peer's metrics as text.
pub(super) fn render(peer: &Peer) -> String {
    let metrics = &peer.metrics;
    let mut registry = Registry::with_prefix("parcelry_peer");
    registry.register("chunk_puts", "Requests to store a chunk", metrics.chunk_puts.clone());
    registry.register("chunks_stored", "Chunks taken", metrics.chunks_stored.clone());
    let stored = metrics.bytes_stored.clone();
    registry.register_with_unit("stored", "Bytes of chunks taken", Unit::Bytes, stored);
    registry.register("chunks_served", "Requests for chunks answered", metrics.chunks_served.clone());
    let copied = metrics.bytes_copied.clone();
    registry.register_with_unit("copied", "Bytes of chunks copied from other peers", Unit::Bytes, copied);
    let served = metrics.bytes_served.clone();
    registry.register_with_unit("served", "Bytes of chunks served", Unit::Bytes, served);
    let audited = metrics.audited.clone();
    registry.register_with_unit("audited", "Bytes read to prove that they are here", Unit::Bytes, audited);
    for (name, help, counter) in [
        ("chunks_copied", "Chunks copied from other peers", &metrics.chunks_copied),
        ("chunks_scrubbed", "Chunks read again by scrubs", &metrics.chunks_scrubbed),
        ("chunks_damaged", "Chunks that scrubs found damaged", &metrics.chunks_damaged),
    ] {
        registry.register(name, help, counter.clone());
    }
    let stray = "Chunks that are kept although neither a share nor an upload knows of them";
    registry.register("chunks_stray", stray, metrics.chunks_stray.clone());
    // What stands below is not counted as it happens, but looked up for this answer.
    let damaged = Gauge::<i64>::default();
    damaged.set(i64::try_from(peer.storage.damaged().len()).unwrap_or(i64::MAX));
    registry.register("shares_damaged", "Shares with a record that cannot be read", damaged);

    let usage = peer.storage.usage();
    for (name, help, bytes) in [
        ("used", "Bytes of chunks held", usage.used_bytes),
        ("free", "Bytes that can still be taken", usage.free_bytes),
    ] {
        let gauge = Gauge::<i64>::default();
        gauge.set(i64::try_from(bytes).unwrap_or(i64::MAX));
        registry.register_with_unit(name, help, Unit::Bytes, gauge);
    }
    let mut text = String::new();
    encode(&mut text, &registry).expect("writing to a string does not fail");
    text
}
