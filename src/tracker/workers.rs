//! What the tracker does by itself, beside serving: starts its workers, among them those that repair and keep house.

use std::sync::Arc;
use std::time::Duration;

use parcelry_core::registry::Rules;
use tokio::time::Interval;

use super::Tracker;
use super::audits::AuditWorker;
use super::reach::{FollowWorker, QuestionWorker};
use super::sampler::SampleWorker;
use crate::clock;
use crate::task::Tasks;
use crate::worker::{Notes, Stops, Worker};

/// Rounds of repair do not follow each other faster than this part of a heartbeat.
const ROUNDS_PER_HEARTBEAT: u32 = 10;
/// Time between two rounds of housekeeping.
const HOUSE_EVERY: Duration = Duration::from_secs(60);

/// Repairs in rounds, one with every heartbeat and sooner when something has changed.
struct RepairWorker {
    tracker: Arc<Tracker>,
    /// Time between two heartbeats of a peer.
    every: Duration,
    has_begun: bool,
}

/// Forgets what is over.
struct HousekeepingWorker {
    tracker: Arc<Tracker>,
    ticks: Interval,
    /// Up to when it was told which shares expired.
    looked_ms: u64,
}

/// Starts all of them.
pub(super) fn start(tracker: &Arc<Tracker>, rules: Rules, tasks: &Tasks) {
    let (all, every) = (&tracker.workers, rules.heartbeat);
    all.start(tasks, RepairWorker { tracker: Arc::clone(tracker), every, has_begun: false });
    all.start(tasks, FollowWorker(Arc::clone(tracker)));
    all.start(tasks, QuestionWorker::new(Arc::clone(tracker), rules));
    all.start(tasks, AuditWorker::new(Arc::clone(tracker), every));
    all.start(tasks, SampleWorker::new(Arc::clone(tracker)));
    let ticks = tokio::time::interval(HOUSE_EVERY);
    all.start(tasks, HousekeepingWorker { tracker: Arc::clone(tracker), ticks, looked_ms: clock::now_ms() });
}

impl Worker for RepairWorker {
    const STOPS: Stops = Stops::WithinSteps;
    type Due = ();

    fn name(&self) -> &'static str {
        "repair"
    }

    async fn wait(&mut self) {
        if !std::mem::replace(&mut self.has_begun, true) {
            return;
        }
        // A wake that comes during the pause is kept: then the wait after it ends at once.
        tokio::time::sleep(self.every / ROUNDS_PER_HEARTBEAT).await;
        let _ = tokio::time::timeout(self.every, self.tracker.repairer.wake.notified()).await;
    }

    async fn step(&mut self, (): (), notes: &Notes) {
        notes.note("cannot look after the shares", self.tracker.repair_round().await);
    }
}

impl Worker for HousekeepingWorker {
    const STOPS: Stops = Stops::BetweenSteps;
    type Due = ();

    fn name(&self) -> &'static str {
        "housekeeping"
    }

    async fn wait(&mut self) {
        self.ticks.tick().await;
    }

    async fn step(&mut self, (): (), notes: &Notes) {
        let tracker = &self.tracker;
        tracker.gateway.forget_idle();
        notes.note("cannot forget expired shares", tracker.forget_ended().await);
        let now_ms = clock::now_ms();
        let told = tracker.note_expired(self.looked_ms, now_ms).await;
        notes.note("cannot tell which shares expired", told);
        self.looked_ms = now_ms;
        tracker.sessions.forget_expired();
    }
}
