//! Tasks: every one has a name, an owner that waits for it, and a way to be told to stop.

use std::future::Future;
use std::io;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::Instrument;

use crate::failure::{Failure, Kind};

/// A group of tasks that stop together.
#[derive(Debug, Clone, Default)]
pub struct Tasks {
    tracker: TaskTracker,
    stop: CancellationToken,
}

impl Tasks {
    /// A group that stops when this one does, and may stop before it.
    pub fn child(&self) -> Self {
        Self { tracker: TaskTracker::new(), stop: self.stop.child_token() }
    }

    /// The token by which the group's tasks learn that they are to stop.
    pub const fn stop_token(&self) -> &CancellationToken {
        &self.stop
    }

    /// Starts a task of the group.
    pub fn spawn<F>(&self, name: &'static str, future: F) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send,
    {
        // Without a parent: every task would stand below that of the command.
        self.tracker.spawn(future.instrument(tracing::debug_span!(parent: None, "task", name)))
    }

    /// Tells the tasks to stop and waits until all have ended, at most `timeout` long.
    pub async fn stop(&self, timeout: Duration) {
        self.stop.cancel();
        self.tracker.close();
        if tokio::time::timeout(timeout, self.tracker.wait()).await.is_err() {
            tracing::warn!(left = self.tracker.len(), "some tasks did not stop in time");
        }
    }
}

/// Runs `work`, which blocks (file access, cryptography), on a thread where that is allowed.
/// A panic in it goes on here.
#[expect(clippy::disallowed_methods, reason = "this is the one place")]
pub async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(value) => value,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // The runtime is shutting down and took the work off its queue: nobody waits for it.
            Err(_) => std::future::pending().await,
        },
    }
}

/// Does two things that block at the same time, where that is allowed. A panic in either goes on here.
pub fn beside<A, B: Send>(here: impl FnOnce() -> A, there: impl FnOnce() -> B + Send) -> (A, B) {
    std::thread::scope(|scope| {
        let there = scope.spawn(there);
        let here = here();
        match there.join() {
            Ok(there) => (here, there),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}

/// As many permits for work that computes as there are processors: more would only take time from each other.
pub fn cpu_permits() -> Semaphore {
    Semaphore::new(std::thread::available_parallelism().map_or(1, usize::from))
}

/// The wishes of the user or the system that the process end. One that comes while nobody waits is kept: from
/// the first listener on, a signal has no other effect.
#[derive(Debug)]
pub struct EndRequests {
    interrupt: Signal,
    terminate: Signal,
}

impl EndRequests {
    /// Listens from now on.
    pub fn listen() -> Result<Self, Failure> {
        let failed =
            |error: io::Error| Failure::new(Kind::Other, format!("cannot listen for signals: {error}"));
        let interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
        let terminate = signal(SignalKind::terminate()).map_err(failed)?;
        Ok(Self { interrupt, terminate })
    }

    /// Waits for the next one. Returns which of the two it was.
    pub async fn next(&mut self) -> Kind {
        tokio::select! {
            _ = self.interrupt.recv() => Kind::Interrupted,
            _ = self.terminate.recv() => Kind::Terminated,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_things_are_done_at_the_same_time_and_a_panic_in_either_goes_on() {
        let both_are_there = std::sync::Barrier::new(2);
        let meet = || both_are_there.wait().is_leader();
        let (here, there) = beside(meet, meet);
        assert_ne!(here, there);
        let caught = std::panic::catch_unwind(|| beside(|| 1, || -> u8 { panic!("there") }));
        assert_eq!(caught.unwrap_err().downcast_ref::<&str>(), Some(&"there"));
        let caught = std::panic::catch_unwind(|| beside(|| -> u8 { panic!("here") }, || 1));
        assert_eq!(caught.unwrap_err().downcast_ref::<&str>(), Some(&"here"));
    }
}
