//! What the operator's page is told: the newest look at the swarm, the last ten minutes, and what happened lately.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use parcelry_core::dashboard::{History, LogEntry, LogKind, PeerRow, Sample, SwarmNow, Work};
use parcelry_core::id::PeerId;
use parcelry_core::limits::{EVENT_STREAMS_MAX, LOG_ENTRIES_MAX, SAMPLES_MAX};
use parking_lot::Mutex;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, watch};
use tokio_util::sync::CancellationToken;

use crate::clock;

/// The swarm at one moment, as the page shows it.
#[derive(Debug)]
pub(super) struct Snapshot {
    pub(super) swarm: SwarmNow,
    pub(super) peers: BTreeMap<PeerId, PeerRow>,
    pub(super) work: Work,
}

/// What the streams of events are fed from.
pub(super) struct Dashboard {
    news: watch::Sender<Option<Arc<Snapshot>>>,
    samples: Mutex<VecDeque<Sample>>,
    log: Mutex<Log>,
    streams: Arc<Semaphore>,
    /// Told when somebody begins to listen.
    pub(super) wake: Notify,
    /// Ends the streams, before the server waits for what is in flight.
    pub(super) stop: CancellationToken,
}

/// Somebody who listens: a permit to stream, and the news.
pub(super) struct Listener {
    pub(super) news: watch::Receiver<Option<Arc<Snapshot>>>,
    _permit: OwnedSemaphorePermit,
}

#[derive(Debug, Default)]
struct Log {
    /// How many entries there ever were.
    count: u64,
    entries: VecDeque<LogEntry>,
}

impl Dashboard {
    /// Knows nothing yet.
    pub(super) fn new(stop: CancellationToken) -> Self {
        Self {
            news: watch::Sender::new(None),
            samples: Mutex::default(),
            log: Mutex::default(),
            streams: Arc::new(Semaphore::new(EVENT_STREAMS_MAX)),
            wake: Notify::new(),
            stop,
        }
    }

    /// Notes that something happened.
    pub(super) fn note(&self, kind: LogKind, say: impl FnOnce(&mut LogEntry)) {
        let mut entry = LogEntry::new(kind, clock::now_ms());
        say(&mut entry);
        // `say` was called before, so nothing else is locked within this lock.
        let mut log = self.log.lock();
        log.count += 1;
        log.entries.push_back(entry);
        if log.entries.len() > LOG_ENTRIES_MAX {
            log.entries.pop_front();
        }
    }

    /// What happened after the first `known` entries, as far as it is remembered, and how many there are by now.
    pub(super) fn log_after(&self, known: u64) -> (Vec<LogEntry>, u64) {
        let log = self.log.lock();
        let new = usize::try_from(log.count.saturating_sub(known)).unwrap_or(usize::MAX);
        let skipped = log.entries.len().saturating_sub(new);
        (log.entries.iter().skip(skipped).cloned().collect(), log.count)
    }

    /// Remembers a sample.
    pub(super) fn remember(&self, sample: Sample) {
        let mut samples = self.samples.lock();
        if samples.len() >= SAMPLES_MAX {
            samples.pop_front();
        }
        samples.push_back(sample);
    }

    /// The samples that are remembered.
    pub(super) fn history(&self) -> History {
        History { samples: self.samples.lock().iter().copied().collect() }
    }

    /// Whether anybody listens.
    pub(super) fn is_watched(&self) -> bool {
        self.news.receiver_count() > 0
    }

    /// Tells everybody who listens.
    pub(super) fn show(&self, snapshot: Snapshot) {
        self.news.send_replace(Some(Arc::new(snapshot)));
    }

    /// Begins to listen; `None`: too many do. What is shown next is news.
    pub(super) fn listen(&self) -> Option<Listener> {
        let permit = Arc::clone(&self.streams).try_acquire_owned().ok()?;
        let news = self.news.subscribe();
        self.wake.notify_one();
        Some(Listener { news, _permit: permit })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dashboard() -> Dashboard {
        Dashboard::new(CancellationToken::new())
    }

    #[test]
    fn the_log_tells_what_is_new_and_forgets_what_is_old() {
        let dashboard = dashboard();
        let note = |n: usize| dashboard.note(LogKind::SignedIn, |entry| entry.detail = Some(n.to_string()));
        (0..3).for_each(note);
        let (entries, known) = dashboard.log_after(1);
        let details = |entries: &[LogEntry]| -> Vec<String> {
            entries.iter().map(|entry| entry.detail.clone().unwrap()).collect()
        };
        assert_eq!((details(&entries), known), (vec!["1".to_owned(), "2".to_owned()], 3));
        assert_eq!(dashboard.log_after(3).0, []);
        (3..1000).for_each(note);
        let (entries, known) = dashboard.log_after(3);
        assert_eq!((entries.len(), known), (LOG_ENTRIES_MAX, 1000));
        assert_eq!(details(&entries)[0], "800");
    }

    #[test]
    fn ten_minutes_are_remembered() {
        let dashboard = dashboard();
        for at_ms in 0..1000 {
            dashboard.remember(Sample { at_ms, used_bytes: 0, rates: Default::default() });
        }
        let samples = dashboard.history().samples;
        assert_eq!((samples.len(), samples[0].at_ms), (SAMPLES_MAX, 1000 - SAMPLES_MAX as u64));
    }

    #[test]
    fn a_seventeenth_stream_has_no_place_until_another_ends() {
        let dashboard = dashboard();
        let mut listeners: Vec<_> = (0..EVENT_STREAMS_MAX).map(|_| dashboard.listen().unwrap()).collect();
        assert!(dashboard.listen().is_none() && dashboard.is_watched());
        listeners.pop();
        assert!(dashboard.listen().is_some());
        drop(listeners);
        assert!(!dashboard.is_watched());
    }
}
