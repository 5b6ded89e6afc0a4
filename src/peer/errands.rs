//! What the tracker asks for with a heartbeat and what waits for the disk: it is done beside the heartbeats, each kind
//! by itself, so that newer terms do not wait until chunks were read again.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use parcelry_core::api::Task;
use parcelry_core::limits::TASKS_MAX;
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::Peer;
use super::tasks::carry_out;
use crate::task::blocking;
use crate::worker::{Notes, Stops, Worker};

/// Kinds of tasks that are logged although they are not understood: a newer tracker has one or two.
const KINDS_TOLD_MAX: usize = 16;

/// Errands of the same kind, one after the other.
#[derive(Debug, Default)]
pub(super) struct Lane {
    tasks: Mutex<Tasks>,
    new: Notify,
}

#[derive(Debug, Default)]
struct Tasks {
    doing: Option<Task>,
    waiting: VecDeque<Task>,
}

/// All errands.
#[derive(Debug, Default)]
pub(super) struct Errands {
    /// Newer terms, and take-downs.
    pub(super) terms: Lane,
    /// Chunks to read again.
    pub(super) checks: Lane,
    /// Kinds of tasks that were passed over.
    passed_over: Mutex<BTreeSet<String>>,
}

impl Errands {
    /// Takes a task over; what needs other peers is given back: a copy, a drop, or what is to be made whole.
    pub(super) fn take(&self, task: Task) -> Option<Task> {
        match task {
            Task::Terms { .. } | Task::Withhold { .. } => self.terms.add(task),
            Task::Verify(_) => self.checks.add(task),
            other => return Some(other),
        }
        None
    }

    /// Says of tasks that are not understood that they are not done, once for each kind.
    pub(super) fn pass_over(&self, kinds: &[String]) {
        let mut known = self.passed_over.lock();
        for kind in kinds {
            if known.len() < KINDS_TOLD_MAX && known.insert(kind.clone()) {
                tracing::warn!(
                    ?kind,
                    "the tracker asks for what this version does not understand: passed over"
                );
            }
        }
    }
}

impl Lane {
    /// Adds a task, unless it was asked for before and is not done yet. What finds no room is asked for again.
    fn add(&self, task: Task) {
        let mut tasks = self.tasks.lock();
        let is_known = tasks.doing.as_ref() == Some(&task) || tasks.waiting.contains(&task);
        if !is_known && tasks.waiting.len() < TASKS_MAX {
            tasks.waiting.push_back(task);
            self.new.notify_one();
        }
    }

    async fn next(&self) -> Task {
        loop {
            {
                let mut tasks = self.tasks.lock();
                // Both under one lock: there is no moment in which a task is neither waiting nor being done.
                tasks.doing = tasks.waiting.pop_front();
                if let Some(task) = &tasks.doing {
                    return task.clone();
                }
            }
            self.new.notified().await;
        }
    }
}

/// Runs the errands of one kind.
pub(super) struct ErrandWorker {
    pub(super) peer: Arc<Peer>,
    /// What they are called.
    pub(super) kind: &'static str,
    pub(super) lane: fn(&Errands) -> &Lane,
}

impl Worker for ErrandWorker {
    const STOPS: Stops = Stops::WithinSteps;
    type Due = Task;

    fn name(&self) -> &'static str {
        self.kind
    }

    async fn wait(&mut self) -> Task {
        (self.lane)(&self.peer.errands).next().await
    }

    async fn step(&mut self, task: Task, notes: &Notes) {
        let doing = Arc::clone(&self.peer);
        if blocking(move || carry_out(&doing.storage, &doing.outbox, task)).await.is_err() {
            notes.count_failure();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use parcelry_core::id::ShareId;

    fn terms(number: u8) -> Task {
        Task::Terms { share: ShareId::from_bytes([number; 32]), terms: "".into() }
    }

    #[tokio::test]
    async fn an_errand_that_is_asked_for_again_is_run_once_and_their_number_is_bounded() {
        let errands = Errands::default();
        (0..3).for_each(|_| assert_eq!(errands.take(terms(1)), None));
        assert_eq!(errands.terms.next().await, terms(1));
        errands.take(terms(1));
        assert!(errands.terms.tasks.lock().waiting.is_empty(), "it is being done");
        for number in 0..2 * TASKS_MAX {
            let mut id = [0; 32];
            id[..8].copy_from_slice(&number.to_be_bytes());
            errands.take(Task::Terms { share: ShareId::from_bytes(id), terms: "".into() });
        }
        assert_eq!(errands.terms.tasks.lock().waiting.len(), TASKS_MAX);
    }
}
