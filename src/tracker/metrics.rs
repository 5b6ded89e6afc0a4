//! What `/metrics` shows, in the OpenMetrics text format.

use parcelry_core::registry::Liveness;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry as MetricRegistry;

use super::Tracker;

/// Counters of one tracker; each has its own registry, so that several can run in one process.
#[derive(Debug, Default)]
pub(super) struct Metrics {
    /// Registrations taken.
    pub(super) registrations: Counter,
    /// Heartbeats taken.
    pub(super) heartbeats: Counter,
    /// Times that a peer was asked whether it can be reached.
    pub(super) questions: Counter,
    /// Uploads opened.
    pub(super) opened: Counter,
    /// Shares published.
    pub(super) published: Counter,
    /// Shares looked up.
    pub(super) look_ups: Counter,
    /// Bytes of chunks that passed through the gateway for browsers.
    pub(super) gateway_bytes: Counter,
    /// Times that copies of a share were ordered.
    pub(super) repairs: Counter,
    /// Chunks that peers copied because they were asked to.
    pub(super) chunks_copied: Counter,
    /// Shares of peers that were audited.
    pub(super) audits: Counter,
    /// Those of which something was refuted.
    pub(super) audits_refuted: Counter,
    /// Those about which nothing was answered.
    pub(super) audits_unanswered: Counter,
}

/// The tracker's metrics as text.
pub(super) async fn render(tracker: &Tracker) -> String {
    let metrics = &tracker.metrics;
    // Made anew each time: the counters are shared with it, and the gauges hold what is so now.
    let mut registry = MetricRegistry::with_prefix("parcelry_tracker");
    registry.register("registrations", "Peer registrations taken", metrics.registrations.clone());
    registry.register("heartbeats", "Heartbeats taken", metrics.heartbeats.clone());
    registry.register(
        "questions",
        "Times that a peer was asked whether it can be reached",
        metrics.questions.clone(),
    );
    registry.register("uploads_opened", "Uploads opened", metrics.opened.clone());
    registry.register("shares_published", "Shares published", metrics.published.clone());
    registry.register("look_ups", "Shares looked up", metrics.look_ups.clone());
    let gateway_help = "Bytes of chunks that passed through the gateway for browsers";
    registry.register("gateway_bytes", gateway_help, metrics.gateway_bytes.clone());
    registry.register("repairs", "Times that copies of a share were ordered", metrics.repairs.clone());
    registry.register("chunks_copied", "Chunks that peers were asked to copy", metrics.chunks_copied.clone());

    register_audits(&mut registry, tracker);
    let peers = Family::<[(&str, &str); 1], Gauge>::default();
    for (state, word) in [
        (Liveness::Alive, "alive"),
        (Liveness::Suspect, "suspect"),
        (Liveness::Unreachable, "unreachable"),
        (Liveness::Cloned, "cloned"),
        (Liveness::Dead, "dead"),
    ] {
        let count = tracker.registry.lock().peers(tracker.now_ms()).filter(|(_, s)| *s == state).count();
        let gauge = peers.get_or_create_owned(&[("state", word)]);
        gauge.set(i64::try_from(count).unwrap_or(i64::MAX));
    }
    registry.register("peers", "Registered peers by state", peers);
    let shares = Gauge::<i64>::default();
    let count = tracker.store.share_count().await.unwrap_or(0);
    shares.set(i64::try_from(count).unwrap_or(i64::MAX));
    registry.register("shares", "Shares known", shares);
    let health = tracker.repairer.health(Some(count));
    let conditions = Family::<[(&str, &str); 1], Gauge>::default();
    for (condition, count) in [
        ("unproven", health.unproven),
        ("misplaced", health.misplaced),
        ("weakened", health.weakened),
        ("endangered", health.endangered),
        ("unavailable", health.unavailable),
        ("lost", health.lost),
    ] {
        let gauge = conditions.get_or_create_owned(&[("condition", condition)]);
        gauge.set(i64::try_from(count).unwrap_or(i64::MAX));
    }
    registry.register("shares_in_need", "Shares short of replicas by condition", conditions);
    let copies = Gauge::<i64>::default();
    copies.set(i64::try_from(health.copies).unwrap_or(i64::MAX));
    registry.register("copies", "Copies under way", copies);
    let paused = Gauge::<i64>::default();
    paused.set(i64::from(health.paused));
    registry.register("repair_paused", "Whether too many peers vanished at once", paused);

    tracker.workers.render(&registry)
}

fn register_audits(registry: &mut MetricRegistry, tracker: &Tracker) {
    let metrics = &tracker.metrics;
    let asked_help = "Samples of a share at a peer that were asked for";
    registry.register("audits", asked_help, metrics.audits.clone());
    registry.register("audits_refuted", "Audits that refuted something", metrics.audits_refuted.clone());
    let unanswered_help = "Audits that were not answered";
    registry.register("audits_unanswered", unanswered_help, metrics.audits_unanswered.clone());
    let (known, proven) = tracker.audit_counts();
    let pairs = Family::<[(&str, &str); 1], Gauge>::default();
    for (evidence, count) in [("claimed", known - proven), ("proven", proven)] {
        let gauge = pairs.get_or_create_owned(&[("evidence", evidence)]);
        gauge.set(i64::try_from(count).unwrap_or(i64::MAX));
    }
    registry.register("held_shares", "Shares at peers by what is known of them", pairs);
}
