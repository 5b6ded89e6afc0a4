//! Peers that may hold something of a share that is gone although the store knows of no replica there: they are named in
//! a grant for it, or its owner says that it went to them. They hear of the end with their heartbeats, whatever they
//! hold.
//!
//! It is kept in memory only. A tracker that starts has every peer tell its inventory, and answers that with what is gone.

use std::collections::{BTreeMap, HashMap};

use parking_lot::Mutex;
use swarmdrop_core::api::Task;
use swarmdrop_core::duration::millis;
use swarmdrop_core::id::{PeerId, ShareId};
use swarmdrop_core::limits::{GRANTED_NOTED_MAX, TASKS_MAX, UNTOLD_KEPT, UNTOLD_MAX};

use super::Tracker;
use super::store::{Gone, StoreError};
use crate::clock;

/// Who is to hear of what.
#[derive(Debug, Default)]
pub(super) struct Untold {
    granted: Mutex<Granted>,
    due: Mutex<HashMap<PeerId, BTreeMap<ShareId, Due>>>,
}

/// The peers of grants that run.
#[derive(Debug, Default)]
struct Granted {
    shares: BTreeMap<ShareId, (Vec<PeerId>, u64)>,
    /// How many peers they name in all.
    count: usize,
}

/// A peer is to hear that a share is gone.
#[derive(Debug, Clone, Copy)]
struct Due {
    /// From when on.
    from_ms: u64,
    /// When nothing can be committed there any more.
    grant_ends_ms: u64,
    /// When its owner's deletion was issued; `None`: the operator took it down.
    issued_ms: Option<u64>,
}

impl Granted {
    fn drop_over(&mut self, now_ms: u64) {
        self.shares.retain(|_, (_, until_ms)| *until_ms > now_ms);
        self.count = self.shares.values().map(|(peers, _)| peers.len()).sum();
    }
}

impl Untold {
    /// Notes whom a grant names. Of what finds no room, peers hear when they tell their inventories.
    pub(super) fn granted(&self, share: ShareId, peers: &[PeerId], until_ms: u64) {
        let mut granted = self.granted.lock();
        if granted.count + peers.len() > GRANTED_NOTED_MAX {
            granted.drop_over(clock::now_ms());
        }
        let room = GRANTED_NOTED_MAX.saturating_sub(granted.count);
        let (known, ends_ms) = granted.shares.entry(share).or_default();
        let before = known.len();
        let new: Vec<PeerId> =
            peers.iter().filter(|peer| !known.contains(peer)).take(room).copied().collect();
        known.extend(new);
        *ends_ms = until_ms.max(*ends_ms);
        let more = known.len() - before;
        granted.count += more;
    }

    /// A share is gone, by a deletion that was issued then or the operator's word: the peers of its grants are to hear of it,
    /// and these.
    fn ended(&self, share: ShareId, issued_ms: Option<u64>, sent_to: &[PeerId]) {
        let now_ms = clock::now_ms();
        let granted = self.granted.lock().shares.get(&share).cloned().unwrap_or_default();
        let (peers, grant_ends_ms) = granted;
        let mut due = self.due.lock();
        for peer in peers.iter().chain(sent_to) {
            let shares = due.entry(*peer).or_default();
            shares.retain(|_, due| now_ms < until_ms(due));
            if shares.len() < UNTOLD_MAX {
                shares.insert(share, Due { from_ms: now_ms, grant_ends_ms, issued_ms });
            }
        }
    }

    /// What a peer is to hear now.
    fn due(&self, peer: PeerId) -> Vec<ShareId> {
        let now_ms = clock::now_ms();
        let due = self.due.lock();
        let shares = due.get(&peer).into_iter().flatten();
        let is_due = |due: &Due| due.from_ms <= now_ms && now_ms < until_ms(due);
        shares.filter(|(_, due)| is_due(due)).map(|(share, _)| *share).take(TASKS_MAX).collect()
    }

    /// A peer has terms of a share that were issued then. Once it has its deletion it takes nothing of it any more.
    pub(super) fn applied(&self, peer: PeerId, share: ShareId, issued_ms: u64) {
        self.forget(peer, share, |due, _| due.issued_ms == Some(issued_ms));
    }

    /// A peer withholds a share, if it holds something of it. What is committed there later it would serve: it hears of it
    /// again when nothing can be any more.
    pub(super) fn withholds(&self, peer: PeerId, share: ShareId) {
        self.forget(peer, share, |due, now_ms| {
            let is_last = due.issued_ms.is_none() && due.grant_ends_ms <= now_ms;
            due.from_ms = due.from_ms.max(due.grant_ends_ms);
            is_last
        });
    }

    fn forget(&self, peer: PeerId, share: ShareId, is_done: impl FnOnce(&mut Due, u64) -> bool) {
        let mut due = self.due.lock();
        let Some(shares) = due.get_mut(&peer) else { return };
        if shares.get_mut(&share).is_some_and(|due| is_done(due, clock::now_ms())) {
            shares.remove(&share);
        }
        if shares.is_empty() {
            due.remove(&peer);
        }
    }
}

/// Until when a peer is to hear of it.
fn until_ms(due: &Due) -> u64 {
    due.from_ms.saturating_add(millis(UNTOLD_KEPT))
}

impl Tracker {
    /// A share is gone: all who may hold something of it are to hear of it, those included to whom its owner says that it
    /// went.
    pub(super) fn tell_of_end(&self, share: ShareId, issued_ms: Option<u64>, sent_to: &[PeerId]) {
        let registered = {
            let (registry, now_ms) = (self.registry.lock(), self.now_ms());
            let is_registered = |peer: &&PeerId| registry.get(**peer, now_ms).is_some();
            sent_to.iter().filter(is_registered).copied().collect::<Vec<_>>()
        };
        self.untold.ended(share, issued_ms, &registered);
    }

    /// What a peer is told of shares that are gone and that it may hold, beside the tasks that it has anyway.
    pub(super) async fn end_tasks(&self, peer: PeerId, tasks: &[Task]) -> Result<Vec<Task>, StoreError> {
        let mut more = Vec::new();
        for share in self.untold.due(peer) {
            let task = match self.store.gone(share).await? {
                Some(Gone::Deleted(terms)) => Task::Terms { share, terms },
                Some(Gone::TakenDown) => Task::Withhold { share },
                None => continue,
            };
            if !tasks.contains(&task) {
                more.push(task);
            }
        }
        Ok(more)
    }
}
