//! Looks at the swarm every two seconds: notices who fell silent and who is back, remembers the last ten minutes,
//! and shows everything to whoever listens.

use std::collections::BTreeMap;
use std::sync::Arc;

use parcelry_core::dashboard::{LogKind, PeerRow, Sample, SwarmNow};
use parcelry_core::id::PeerId;
use parcelry_core::limits::{COPIES_LISTED_MAX, SAMPLE_EVERY};
use parcelry_core::registry::{Liveness, Peer, Registration, Registry};
use parcelry_core::traffic::{Meter, Rates, Traffic};
use tokio::time::{Interval, MissedTickBehavior};

use super::Tracker;
use super::dashboard::Snapshot;
use super::store::StoreError;
use crate::clock;
use crate::worker::{Notes, Stops, Worker};

/// Difference of the clocks' courses from which on one was set.
const CLOCK_WAS_SET_MS: u64 = 1000;

/// Looks at the swarm.
pub(super) struct SampleWorker {
    tracker: Arc<Tracker>,
    sampler: Sampler,
    ticks: Interval,
}

/// What one look is compared with the next by.
#[derive(Default)]
struct Sampler {
    /// The liveness of each peer.
    known: BTreeMap<PeerId, Liveness>,
    /// The wall clock's moment at which the tracker's own clock began.
    began_ms: u64,
    gateway: Meter,
    /// How many shares there were, when the store last could tell; `None`: it could not yet.
    shares: Option<u64>,
}

/// The peers that are not dead, all together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Totals {
    used_bytes: u64,
    capacity_bytes: u64,
    rates: Rates,
}

impl SampleWorker {
    /// Has not looked yet.
    pub(super) fn new(tracker: Arc<Tracker>) -> Self {
        let mut ticks = tokio::time::interval(SAMPLE_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self { tracker, sampler: Sampler::default(), ticks }
    }
}

impl Worker for SampleWorker {
    const STOPS: Stops = Stops::BetweenSteps;
    /// Whether a sample is due; else somebody has begun to listen.
    type Due = bool;

    fn name(&self) -> &'static str {
        "sampler"
    }

    async fn wait(&mut self) -> bool {
        tokio::select! {
            _ = self.ticks.tick() => true,
            () = self.tracker.dashboard.wake.notified() => false,
        }
    }

    async fn step(&mut self, is_due: bool, notes: &Notes) {
        let sampled = self.tracker.sample(&mut self.sampler, is_due).await;
        notes.note("cannot tell how the swarm stands", sampled);
    }
}

impl Tracker {
    /// Looks once. What nobody listens to is not put together.
    async fn sample(&self, sampler: &mut Sampler, is_due: bool) -> Result<(), StoreError> {
        let (now_ms, wall_ms) = (self.now_ms(), clock::now_ms());
        let totals = {
            // Held while the log is written: the registry comes before the dashboard.
            let registry = self.registry.lock();
            for (kind, peer, name) in sampler.changes(&registry, now_ms) {
                let why = registry.doubt(peer, now_ms).map(|doubt| doubt.why);
                self.dashboard.note(kind, |entry| {
                    (entry.peer, entry.peer_name, entry.detail) = (Some(peer), Some(name), why);
                });
            }
            totals(&registry, now_ms)
        };
        sampler
            .gateway
            .read(Traffic { received_bytes: 0, served_bytes: self.metrics.gateway_bytes.get() }, now_ms);
        // Only at a tick: who begins to listen gets a picture at once, and the history keeps its pace.
        if is_due {
            let Totals { used_bytes, rates, .. } = totals;
            self.dashboard.remember(Sample { at_ms: wall_ms, used_bytes, rates });
        }
        if self.dashboard.is_watched() {
            let began_ms = sampler.began(now_ms, wall_ms);
            let counted = self.store.share_count().await;
            // Shown although the store fails: from the next look on, that it does is among what is shown.
            sampler.shares = counted.as_ref().ok().copied().or(sampler.shares);
            let failing = self.workers.failing();
            // The registry is locked to the end of the statement below: also while the work is listed and shown.
            let still_needed = |peer| self.repairer.still_needed(peer);
            self.dashboard.show(Snapshot {
                swarm: SwarmNow {
                    now_ms: wall_ms,
                    health: self.repairer.health(sampler.shares),
                    used_bytes: totals.used_bytes,
                    capacity_bytes: totals.capacity_bytes,
                    rates: totals.rates,
                    gateway_bytes_per_s: sampler.gateway.rates().served_bytes_per_s,
                    failing,
                },
                peers: rows(&self.registry.lock(), now_ms, began_ms, still_needed),
                work: self.repairer.work(COPIES_LISTED_MAX),
            });
            counted?;
        }
        Ok(())
    }
}

impl Sampler {
    /// Who fell silent and who is back since the last look. A peer that is seen for the first time is no news:
    /// after a restart of the tracker all are suspect for a moment.
    fn changes(&mut self, registry: &Registry, now_ms: u64) -> Vec<(LogKind, PeerId, String)> {
        let mut changes = Vec::new();
        let mut known = BTreeMap::new();
        for (peer, mut state) in registry.peers(now_ms) {
            let id = peer.registration.id;
            if state == Liveness::Suspect && !peer.confirmed {
                state = Liveness::Alive;
            }
            let kind = match (self.known.get(&id), state) {
                (before, Liveness::Dead) if before != Some(&state) => Some(LogKind::PeerDead),
                (Some(Liveness::Alive), Liveness::Suspect) => Some(LogKind::PeerSuspect),
                (before, Liveness::Unreachable) if before != Some(&state) => Some(LogKind::PeerUnreachable),
                (before, Liveness::Cloned) if before != Some(&state) => Some(LogKind::PeerCloned),
                (Some(before), Liveness::Alive) if *before != Liveness::Alive => Some(LogKind::PeerBack),
                _ => None,
            };
            changes.extend(kind.map(|kind| (kind, id, peer.registration.name.clone())));
            known.insert(id, state);
        }
        self.known = known;
        changes
    }

    /// The wall clock's moment at which the tracker's own clock began: the same at every look, although the two
    /// are never read at once, until the wall clock is set.
    fn began(&mut self, now_ms: u64, wall_ms: u64) -> u64 {
        let began_ms = wall_ms.saturating_sub(now_ms);
        if began_ms.abs_diff(self.began_ms) >= CLOCK_WAS_SET_MS {
            self.began_ms = began_ms;
        }
        self.began_ms
    }
}

/// A silent peer moves nothing, whatever its last heartbeat said.
fn rates(peer: &Peer, state: Liveness) -> Rates {
    if state == Liveness::Alive { peer.traffic.rates() } else { Rates::default() }
}

fn totals(registry: &Registry, now_ms: u64) -> Totals {
    let there = registry.peers(now_ms).filter(|(_, state)| *state != Liveness::Dead);
    there.fold(Totals::default(), |all, (peer, state)| Totals {
        used_bytes: all.used_bytes.saturating_add(peer.usage.used_bytes),
        capacity_bytes: all.capacity_bytes.saturating_add(peer.registration.capacity_bytes),
        rates: all.rates.plus(rates(peer, state)),
    })
}

/// A row for every peer. `began_ms` is the wall clock's moment at which the registry's clock began.
fn rows(
    registry: &Registry,
    now_ms: u64,
    began_ms: u64,
    still_needed: impl Fn(PeerId) -> u64,
) -> BTreeMap<PeerId, PeerRow> {
    let row = |(peer, state): (&Peer, Liveness)| {
        let Registration { id, name, addresses, capacity_bytes, zone, version, .. } =
            peer.registration.clone();
        let row = PeerRow {
            id,
            name,
            state,
            why: registry.doubt(id, now_ms).map(|doubt| doubt.why),
            zone,
            addresses,
            capacity_bytes,
            used_bytes: peer.usage.used_bytes,
            free_bytes: peer.usage.free_bytes,
            version,
            seen_ms: began_ms.saturating_add(peer.seen_ms),
            // Asked only of peers that are emptied: it goes through all shares in need.
            draining: registry.is_draining(id).then(|| still_needed(id)),
            rates: rates(peer, state),
            scrub: peer.scrub,
        };
        (id, row)
    };
    registry.peers(now_ms).map(row).collect()
}

#[cfg(test)]
pub(super) mod tests {
    use std::time::Duration;

    use super::*;
    use parcelry_core::id::RunId;
    use parcelry_core::registry::{Rules, Usage};

    const RULES: Rules = Rules { heartbeat: Duration::from_secs(10), dead_after: Duration::from_secs(300) };

    const RUN: RunId = RunId::from_bytes([1; 16]);

    fn id(number: u16) -> PeerId {
        let mut bytes = [0; 32];
        bytes[..2].copy_from_slice(&number.to_be_bytes());
        PeerId::from_bytes(bytes)
    }

    fn registration(number: u16) -> Registration {
        Registration {
            id: id(number),
            run: RUN,
            name: format!("peer{number}"),
            addresses: vec![format!("10.0.{}.{}:7000", number / 256, number % 256).parse().unwrap()],
            port: Some(7000),
            capacity_bytes: 1000,
            zone: Some("cellar".into()),
            zone_is_given: false,
            version: "1".into(),
            token: None,
        }
    }

    fn registry(peers: u16) -> Registry {
        let mut registry = Registry::new(RULES);
        for number in 0..peers {
            let usage = Usage { used_bytes: u64::from(number), free_bytes: 1 };
            registry.register(registration(number), usage, 0).unwrap();
        }
        registry
    }

    /// The rows of so many peers, of which the given ones beat later than the others.
    pub(in crate::tracker) fn rows_of(peers: u16, later: &[u16]) -> BTreeMap<PeerId, PeerRow> {
        let mut registry = registry(peers);
        for &number in later {
            registry.beat(id(number), RUN, Usage::default(), 5000).unwrap();
        }
        rows(&registry, 6000, 1_000_000, |_| 0)
    }

    #[test]
    fn a_thousand_peers_are_looked_at() {
        let mut registry = registry(1000);
        let beat = Traffic { received_bytes: 50_000, served_bytes: 20_000 };
        for number in 0..1000 {
            registry.note_work(id(number), Traffic::default(), None, 0);
            registry.note_work(id(number), beat, None, 10_000);
        }
        let mut sampler = Sampler::default();
        assert_eq!(sampler.changes(&registry, 10_000), []);
        let totals = totals(&registry, 10_000);
        let rows = rows(&registry, 10_000, 1_000_000, |_| 0);
        assert_eq!((totals.used_bytes, totals.capacity_bytes), (499_500, 1_000_000));
        assert_eq!(
            (totals.rates.received_bytes_per_s, totals.rates.served_bytes_per_s),
            (5_000_000, 2_000_000)
        );
        assert_eq!(rows.len(), 1000);
        let row = &rows[&id(999)];
        assert_eq!((row.seen_ms, row.used_bytes, row.draining), (1_000_000, 999, None));
    }

    #[test]
    fn silence_and_return_are_noticed_once() {
        let mut registry = registry(2);
        let mut sampler = Sampler::default();
        let mut kinds = |registry: &Registry, now_ms| -> Vec<LogKind> {
            sampler.changes(registry, now_ms).into_iter().map(|(kind, ..)| kind).collect()
        };
        assert_eq!(kinds(&registry, 0), []);
        registry.beat(id(1), RUN, Usage::default(), 30_000).unwrap();
        assert_eq!(kinds(&registry, 30_000), [LogKind::PeerSuspect]);
        assert_eq!(kinds(&registry, 31_000), []);
        registry.beat(id(1), RUN, Usage::default(), 300_000).unwrap();
        assert_eq!(kinds(&registry, 300_000), [LogKind::PeerDead]);
        registry.beat(id(0), RUN, Usage::default(), 301_000).unwrap();
        assert_eq!(kinds(&registry, 301_000), [LogKind::PeerBack]);
        registry.leave(id(0));
        assert_eq!(kinds(&registry, 301_000), []);
    }

    #[test]
    fn what_is_loaded_after_a_restart_is_news_only_if_it_stays_away() {
        let mut registry = Registry::new(RULES);
        registry.load(registration(0), 0);
        registry.load(registration(1), 0);
        let mut sampler = Sampler::default();
        assert_eq!(sampler.changes(&registry, 0), []);
        registry.beat(id(0), RUN, Usage::default(), 299_000).unwrap();
        assert_eq!(sampler.changes(&registry, 300_000), [(LogKind::PeerDead, id(1), "peer1".into())]);
    }

    #[test]
    fn a_silent_peer_moves_nothing_and_a_dead_one_has_no_room() {
        let mut registry = registry(1);
        registry.note_work(id(0), Traffic::default(), None, 0);
        registry.note_work(id(0), Traffic { received_bytes: 9000, served_bytes: 0 }, None, 1000);
        assert_eq!(totals(&registry, 1000).rates.received_bytes_per_s, 9000);
        let suspect = totals(&registry, 30_000);
        assert_eq!((suspect.rates, suspect.capacity_bytes), (Rates::default(), 1000));
        assert_eq!(totals(&registry, 300_000), Totals::default());
    }

    #[test]
    fn the_moment_of_a_heartbeat_does_not_change_between_looks() {
        let mut sampler = Sampler::default();
        assert_eq!(sampler.began(10, 1_000_010), 1_000_000);
        assert_eq!(sampler.began(20, 1_000_021), 1_000_000, "the clocks were not read at once");
        assert_eq!(sampler.began(30, 5_000_030), 5_000_000, "the clock was set");
    }
}
