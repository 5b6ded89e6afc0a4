//! Background workers: each waits, does a step, and begins again until it is told to stop. What fails is kept for those
//! who look after the server.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::sync::Arc;

use parcelry_core::dashboard::FailingWorker;
use parking_lot::Mutex;
use prometheus_client::encoding::text::{encode, encode_registry};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use tokio_util::sync::CancellationToken;

use crate::clock;
use crate::task::Tasks;

/// What a server does by itself, again and again.
///
/// A stop is seen between two steps, and while the worker waits. What it may interrupt beside that is for each worker to
/// say, by [`Worker::STOPS`]. A panic ends the worker, which is failing from then on.
///
/// What fails is told in one of two ways:
/// - What it does again and again is *noted* ([`Notes::note`]), once a step when all of it was tried: it is failing until
///   it goes well.
/// - Of what is about something else each time, as orders and turns are, those that fail are logged by the worker with what they are
///   about, and *counted* ([`Notes::count_failure`]): whether the next one goes well says nothing about them.
pub trait Worker: Send {
    /// Whether a stop may interrupt a step.
    const STOPS: Stops;

    /// What the wait tells the step.
    type Due: Send;

    /// What it is called in logs and metrics. No two workers of a server have the same name.
    fn name(&self) -> &'static str;

    /// Waits until a step is due. A stop drops this at any `await`.
    fn wait(&mut self) -> impl Future<Output = Self::Due> + Send;

    /// Does a step, and notes what came of it. It notes nothing about what it did not try.
    fn step(&mut self, due: Self::Due, notes: &Notes) -> impl Future<Output = ()> + Send;

    /// What is still to be done after the last step. Nothing interrupts it, so it must be short.
    fn end(&mut self, _notes: &Notes) -> impl Future<Output = ()> + Send {
        async {}
    }
}

/// What a stop interrupts, beside a wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stops {
    /// Nothing: a step that was begun is done to its end.
    BetweenSteps,
    /// Also a step, which is dropped at any `await`: what it leaves half done is done again after the next start.
    WithinSteps,
}

/// The workers of a server, with what fails just now.
#[derive(Debug, Clone, Default)]
pub struct Workers(Arc<Mutex<BTreeMap<&'static str, Record>>>);

/// Where a worker notes how what it does goes.
#[derive(Debug, Clone)]
pub struct Notes {
    workers: Workers,
    worker: &'static str,
}

#[derive(Debug, Default)]
struct Record {
    /// How often something failed since the start.
    failures: u64,
    /// What failed when it was tried last.
    failing: BTreeMap<&'static str, Failing>,
}

#[derive(Debug)]
struct Failing {
    /// The last error.
    error: String,
    /// When it failed first in this row, and when last.
    since_ms: u64,
    failed_ms: u64,
    /// How often in a row.
    failures: u64,
}

impl Workers {
    /// Starts a worker. It is counted from now on, and stops with the group.
    pub fn start<W: Worker + 'static>(&self, tasks: &Tasks, worker: W) {
        let name = worker.name();
        let mut workers = self.0.lock();
        debug_assert!(!workers.contains_key(name), "two workers are called {name}");
        workers.entry(name).or_default();
        drop(workers);
        let notes = Notes { workers: self.clone(), worker: name };
        tasks.spawn(name, run(worker, notes, tasks.stop_token().clone()));
    }

    /// What fails just now.
    pub fn failing(&self) -> Vec<FailingWorker> {
        let workers = self.0.lock();
        let of_worker = |(&worker, record): (&&'static str, &Record)| -> Vec<FailingWorker> {
            let row = |(&what, failing): (&&'static str, &Failing)| FailingWorker {
                worker,
                what,
                error: failing.error.clone(),
                since_ms: failing.since_ms,
                failed_ms: failing.failed_ms,
                failures: failing.failures,
            };
            record.failing.iter().map(row).collect()
        };
        workers.iter().flat_map(of_worker).collect()
    }

    /// A server's metrics and those of its workers, in the OpenMetrics text format.
    pub fn render(&self, of_server: &Registry) -> String {
        let mut text = String::new();
        encode_registry(&mut text, of_server).expect("writing to a string does not fail");
        encode(&mut text, &self.metrics()).expect("writing to a string does not fail");
        text
    }

    /// They have the same names in a tracker and a peer: one rule watches both.
    fn metrics(&self) -> Registry {
        let failures = Family::<[(&'static str, &'static str); 1], Counter>::default();
        let failing = Family::<[(&'static str, &'static str); 1], Gauge>::default();
        for (&worker, record) in self.0.lock().iter() {
            failures.get_or_create_owned(&[("worker", worker)]).inc_by(record.failures);
            let is_failing = i64::from(!record.failing.is_empty());
            failing.get_or_create_owned(&[("worker", worker)]).set(is_failing);
        }
        let mut registry = Registry::with_prefix("parcelry");
        registry.register("worker_failures", "Failures of what the server does by itself", failures);
        registry.register(
            "worker_failing",
            "Whether what it does again and again failed the last time",
            failing,
        );
        registry
    }

    /// Notes a failure. Returns whether it is news: the first in a row, or for another reason than before.
    fn failed(&self, worker: &'static str, what: &'static str, error: &str) -> bool {
        let now_ms = clock::now_ms();
        let mut workers = self.0.lock();
        let record = workers.entry(worker).or_default();
        record.failures += 1;
        let failing = record.failing.entry(what).or_insert_with(|| Failing {
            error: String::new(),
            since_ms: now_ms,
            failed_ms: now_ms,
            failures: 0,
        });
        let is_news = failing.failures == 0 || failing.error != error;
        if is_news {
            failing.error = error.to_owned();
        }
        failing.failed_ms = now_ms;
        failing.failures += 1;
        is_news
    }

    /// Notes that something went well. Returns how often in a row it had failed before, if it had.
    fn went_well(&self, worker: &'static str, what: &'static str) -> Option<u64> {
        let mut workers = self.0.lock();
        workers.get_mut(worker)?.failing.remove(what).map(|failing| failing.failures)
    }
}

impl Notes {
    /// Notes what came of `what`, which is named by its failure, as "cannot scrub". Returns the value if it went well.
    ///
    /// It is logged when it fails for the first time or for another reason than before, and when it goes well again.
    pub fn note<T, E: Display>(&self, what: &'static str, result: Result<T, E>) -> Option<T> {
        let worker = self.worker;
        self.take(what, result, |error| tracing::error!(worker, %error, "{what}"))
    }

    /// Notes what came of something that others may have caused: its failure is logged as a warning.
    pub fn note_warning<T, E: Display>(&self, what: &'static str, result: Result<T, E>) -> Option<T> {
        let worker = self.worker;
        self.take(what, result, |error| tracing::warn!(worker, %error, "{what}"))
    }

    /// Counts an order that failed. The worker has logged it.
    pub fn count_failure(&self) {
        self.workers.0.lock().entry(self.worker).or_default().failures += 1;
    }

    fn take<T, E: Display>(
        &self,
        what: &'static str,
        result: Result<T, E>,
        log: impl FnOnce(&str),
    ) -> Option<T> {
        match result {
            Ok(value) => {
                if let Some(failures) = self.workers.went_well(self.worker, what) {
                    tracing::info!(worker = self.worker, failures, "over: {what}");
                }
                Some(value)
            }
            Err(error) => {
                let error = error.to_string();
                if self.workers.failed(self.worker, what, &error) {
                    log(&error);
                }
                None
            }
        }
    }
}

async fn run<W: Worker>(mut worker: W, notes: Notes, stop: CancellationToken) {
    let _alive = Alive(&notes);
    while let Some(due) = stop.run_until_cancelled(worker.wait()).await {
        let step = worker.step(due, &notes);
        match W::STOPS {
            Stops::BetweenSteps => step.await,
            Stops::WithinSteps => {
                if stop.run_until_cancelled(step).await.is_none() {
                    break;
                }
            }
        }
    }
    worker.end(&notes).await;
}

/// Notes it when its worker ends by a panic: nothing else would tell that it does not run any more.
struct Alive<'a>(&'a Notes);

impl Drop for Alive<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.workers.failed(self.0.worker, "does not run any more", "it panicked");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::time::Duration;

    use super::*;

    /// Waits for a second, and steps for ten.
    struct Slow<const IS_WHOLE: bool>(Arc<Counts>);

    #[derive(Default)]
    struct Counts {
        begun: AtomicU32,
        done: AtomicU32,
        ended: AtomicU32,
    }

    impl Counts {
        fn all(&self) -> [u32; 3] {
            [&self.begun, &self.done, &self.ended].map(|count| count.load(Ordering::Relaxed))
        }
    }

    impl<const IS_WHOLE: bool> Worker for Slow<IS_WHOLE> {
        const STOPS: Stops = if IS_WHOLE { Stops::BetweenSteps } else { Stops::WithinSteps };
        type Due = u32;

        fn name(&self) -> &'static str {
            "slow"
        }

        async fn wait(&mut self) -> u32 {
            tokio::time::sleep(Duration::from_secs(1)).await;
            1
        }

        async fn step(&mut self, due: u32, _notes: &Notes) {
            self.0.begun.fetch_add(due, Ordering::Relaxed);
            tokio::time::sleep(Duration::from_secs(10)).await;
            self.0.done.fetch_add(due, Ordering::Relaxed);
        }

        async fn end(&mut self, _notes: &Notes) {
            self.0.ended.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// What a slow worker has begun, done and ended if it is stopped after so many milliseconds.
    async fn stopped_after<const IS_WHOLE: bool>(ms: u64) -> [u32; 3] {
        let (tasks, counts) = (Tasks::default(), Arc::<Counts>::default());
        Workers::default().start(&tasks, Slow::<IS_WHOLE>(Arc::clone(&counts)));
        tokio::time::sleep(Duration::from_millis(ms)).await;
        tasks.stop(Duration::from_secs(60)).await;
        counts.all()
    }

    #[tokio::test(start_paused = true)]
    async fn a_stop_interrupts_a_wait_and_only_the_steps_that_may_be_interrupted() {
        // A second of each 11 is a wait: these are the fourth wait, and the fourth step.
        assert_eq!(stopped_after::<true>(33_500).await, [3, 3, 1]);
        assert_eq!(stopped_after::<false>(33_500).await, [3, 3, 1]);
        assert_eq!(stopped_after::<true>(38_500).await, [4, 4, 1]);
        assert_eq!(stopped_after::<false>(38_500).await, [4, 3, 1]);
    }

    fn notes(worker: &'static str, workers: &Workers) -> Notes {
        Notes { workers: workers.clone(), worker }
    }

    #[test]
    fn a_failure_is_kept_until_the_same_goes_well() {
        let workers = Workers::default();
        let notes = notes("scrub", &workers);
        let seen = || -> Vec<(&'static str, String, u64)> {
            workers.failing().into_iter().map(|row| (row.what, row.error, row.failures)).collect()
        };
        assert_eq!(notes.note("cannot scrub", Ok::<_, String>(7)), Some(7));
        assert_eq!(seen(), []);
        for error in ["full", "full", "gone"] {
            assert_eq!(notes.note("cannot scrub", Err::<(), _>(error)), None);
        }
        notes.note_warning("cannot note where it is", Err::<(), _>("read-only"));
        let both =
            [("cannot note where it is", "read-only".to_owned(), 1), ("cannot scrub", "gone".to_owned(), 3)];
        assert_eq!(seen(), both, "each by itself");
        notes.note("cannot scrub", Ok::<_, String>(()));
        assert_eq!(seen(), both[..1]);
        notes.note("cannot scrub", Err::<(), _>("gone"));
        assert_eq!(seen()[1].2, 1, "a new row");
    }

    #[tokio::test]
    async fn a_worker_that_panicked_is_failing() {
        struct Panics;
        impl Worker for Panics {
            const STOPS: Stops = Stops::BetweenSteps;
            type Due = ();

            fn name(&self) -> &'static str {
                "panics"
            }

            async fn wait(&mut self) {}

            async fn step(&mut self, (): (), _notes: &Notes) {
                panic!("it is meant to");
            }
        }
        let (workers, tasks) = (Workers::default(), Tasks::default());
        workers.start(&tasks, Panics);
        for _ in 0..1000 {
            tokio::task::yield_now().await;
        }
        let failing = workers.failing();
        assert_eq!((failing[0].worker, failing[0].what), ("panics", "does not run any more"));
    }

    #[test]
    fn an_order_that_failed_is_counted_and_makes_no_worker_failing() {
        let workers = Workers::default();
        let notes = notes("copies", &workers);
        notes.count_failure();
        notes.count_failure();
        let text = workers.render(&Registry::default());
        assert!(text.contains("parcelry_worker_failures_total{worker=\"copies\"} 2\n"), "{text}");
        assert!(text.contains("parcelry_worker_failing{worker=\"copies\"} 0\n"), "{text}");
        assert!(workers.failing().is_empty());
    }

    #[test]
    fn a_failure_is_news_at_first_and_when_its_reason_is_another() {
        let workers = Workers::default();
        let mut first_ms = 0;
        for (error, is_news) in [("full", true), ("full", false), ("gone", true), ("gone", false)] {
            assert_eq!(workers.failed("scrub", "cannot scrub", error), is_news);
            let row = workers.failing().remove(0);
            first_ms = if first_ms == 0 { row.since_ms } else { first_ms };
            assert_eq!(row.since_ms, first_ms, "since the first, whatever its reason");
        }
        assert_eq!(workers.went_well("scrub", "cannot scrub"), Some(4));
        assert_eq!(workers.went_well("scrub", "cannot scrub"), None);
        assert!(workers.failed("scrub", "cannot scrub", "gone"));
    }

    #[tokio::test(start_paused = true)]
    async fn the_metrics_name_every_worker_that_was_started() {
        let workers = Workers::default();
        let tasks = Tasks::default();
        workers.start(&tasks, Slow::<true>(Arc::default()));
        notes("scrub", &workers).note("cannot scrub", Err::<(), _>("full"));
        notes("scrub", &workers).note("cannot scrub", Err::<(), _>("full"));
        let text = workers.render(&Registry::default());
        for line in [
            "parcelry_worker_failures_total{worker=\"scrub\"} 2\n",
            "parcelry_worker_failing{worker=\"scrub\"} 1\n",
            "parcelry_worker_failures_total{worker=\"slow\"} 0\n",
            "parcelry_worker_failing{worker=\"slow\"} 0\n",
        ] {
            assert!(text.contains(line), "{text}");
        }
        assert!(text.ends_with("# EOF\n"), "{text}");
        notes("scrub", &workers).note("cannot scrub", Ok::<_, String>(()));
        let text = workers.render(&Registry::default());
        assert!(text.contains("parcelry_worker_failing{worker=\"scrub\"} 0\n"), "{text}");
        assert!(text.contains("parcelry_worker_failures_total{worker=\"scrub\"} 2\n"), "{text}");
        tasks.stop(Duration::from_secs(60)).await;
    }
}
