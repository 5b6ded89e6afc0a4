//! Peers that may hold something of a share that is gone although the store knows of no replica there: they are named in
//! a grant for it, or its owner says that it went to them. They hear of the end with their heartbeats, whatever they
//! hold.
//!
//! It is kept in memory only. A tracker that starts has every peer tell its inventory, and answers that with what is gone.

use std::collections::{BTreeMap, HashMap};

use parcelry_core::api::Task;
use parcelry_core::duration::millis;
use parcelry_core::id::{PeerId, ShareId};
use parcelry_core::limits::{
    GRANTED_NOTED_MAX, GRANTED_NOTED_TOKEN_MAX, GRANTED_SWEPT_EVERY, TASKS_MAX, UNTOLD_KEPT, UNTOLD_MAX,
    UNTOLD_WITHDRAWN_MAX,
};
use parcelry_core::terms::SignedTerms;
use parcelry_core::token::TokenId;
use parking_lot::Mutex;

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
    shares: BTreeMap<ShareId, Named>,
    /// How many peers they name, by the token that is charged with them.
    of_tokens: HashMap<TokenId, usize>,
    /// How many in all.
    count: usize,
    /// When those that are over were looked for.
    swept_ms: u64,
}

/// Whom the grants for a share name.
#[derive(Debug)]
struct Named {
    token: TokenId,
    peers: Vec<PeerId>,
    until_ms: u64,
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
    /// Whether its sender alone says that the peer may hold something of it, which this tracker never knew.
    is_hearsay: bool,
}

impl Granted {
    fn drop_over(&mut self, now_ms: u64) {
        self.swept_ms = now_ms;
        self.shares.retain(|_, named| named.until_ms > now_ms);
        self.count = 0;
        self.of_tokens.clear();
        for named in self.shares.values() {
            self.count += named.peers.len();
            *self.of_tokens.entry(named.token).or_default() += named.peers.len();
        }
    }

    /// How many more peers may be noted for a token.
    fn room(&self, token: TokenId) -> usize {
        let of_token = self.of_tokens.get(&token).copied().unwrap_or_default();
        let room = GRANTED_NOTED_MAX.saturating_sub(self.count);
        room.min(GRANTED_NOTED_TOKEN_MAX.saturating_sub(of_token))
    }

    fn note(&mut self, share: ShareId, token: TokenId, peers: &[PeerId], until_ms: u64) {
        // Who named the share first pays for it: his peers were counted for that token.
        let token = self.shares.get(&share).map_or(token, |named| named.token);
        let room = self.room(token);
        let new_to = |known: &[PeerId]| -> Vec<PeerId> {
            peers.iter().filter(|peer| !known.contains(peer)).take(room).copied().collect()
        };
        let more = match self.shares.get_mut(&share) {
            Some(named) => {
                let new = new_to(&named.peers);
                named.until_ms = named.until_ms.max(until_ms);
                named.peers.extend(&new);
                new.len()
            }
            None => {
                let peers = new_to(&[]);
                let more = peers.len();
                if more > 0 {
                    self.shares.insert(share, Named { token, peers, until_ms });
                }
                more
            }
        };
        if more > 0 {
            self.count += more;
            *self.of_tokens.entry(token).or_default() += more;
        }
    }
}

impl Untold {
    /// Notes whom a grant names, which is charged to a token. Of what finds no room, peers hear when they tell their
    /// inventories.
    pub(super) fn granted(&self, share: ShareId, token: TokenId, peers: &[PeerId], until_ms: u64) {
        let now_ms = clock::now_ms();
        let mut granted = self.granted.lock();
        let is_swept = now_ms.abs_diff(granted.swept_ms) < millis(GRANTED_SWEPT_EVERY);
        if granted.room(token) < peers.len() && !is_swept {
            granted.drop_over(now_ms);
        }
        granted.note(share, token, peers, until_ms);
    }

    /// A share is gone, by a deletion that was issued then or the operator's word: the peers of its grants are to hear of it,
    /// and these, whom its sender names. If nothing but that is known of it, it takes no other's room.
    fn ended(&self, share: ShareId, issued_ms: Option<u64>, sent_to: &[PeerId], is_known: bool) {
        let now_ms = clock::now_ms();
        let named = self.granted.lock().shares.get(&share).map(|named| (named.peers.clone(), named.until_ms));
        let (granted, grant_ends_ms) = named.unwrap_or_default();
        let mut due = self.due.lock();
        let mut note = |peers: &[PeerId], is_hearsay: bool| {
            let most = if is_hearsay { UNTOLD_WITHDRAWN_MAX } else { UNTOLD_MAX };
            for peer in peers {
                let shares = due.entry(*peer).or_default();
                shares.retain(|_, due| now_ms < until_ms(due));
                let alike = shares.values().filter(|due| !is_hearsay || due.is_hearsay).count();
                if shares.contains_key(&share) || (alike < most && shares.len() < UNTOLD_MAX) {
                    shares.insert(share, Due { from_ms: now_ms, grant_ends_ms, issued_ms, is_hearsay });
                }
            }
        };
        let others: Vec<PeerId> = sent_to.iter().filter(|peer| !granted.contains(peer)).copied().collect();
        note(&granted, false);
        note(&others, !is_known);
    }

    /// What a peer is to hear now.
    fn due(&self, peer: PeerId) -> Vec<ShareId> {
        let now_ms = clock::now_ms();
        let due = self.due.lock();
        let is_due = |due: &Due| due.from_ms <= now_ms && now_ms < until_ms(due);
        let shares = due.get(&peer).into_iter().flatten().filter(|(_, due)| is_due(due));
        let (hearsay, known): (Vec<_>, Vec<_>) = shares.partition(|(_, due)| due.is_hearsay);
        known.into_iter().chain(hearsay).map(|(share, _)| *share).take(TASKS_MAX).collect()
    }

    /// A peer has terms of a share that were issued then. Once it has its deletion it takes nothing of it any more.
    pub(super) fn applied(&self, peer: PeerId, share: ShareId, issued_ms: u64) {
        self.forget(peer, share, |due, _| due.issued_ms == Some(issued_ms));
    }

    /// A peer withholds a share, if it holds something of it. What is committed there later it would serve: it hears of it
    /// again when nothing can be any more.
    pub(super) fn withholds(&self, peer: PeerId, share: ShareId) {
        self.forget(peer, share, |due, now_ms| {
            // Of what was deleted meanwhile it is to hear all the same.
            if due.issued_ms.is_some() {
                return false;
            }
            let is_last = due.grant_ends_ms <= now_ms;
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
    /// Notes that a share is gone: all who may hold something of it are to hear of it, those included to whom its owner says
    /// that it went. Returns whether more than that was known of it.
    pub(super) async fn tell_of_end(
        &self,
        share: ShareId,
        sent_to: &[PeerId],
        is_known: bool,
    ) -> Result<(), StoreError> {
        // What peers are told, and confirm: the first word that was kept, whoever repeats it in other words.
        let deletion = match self.store.gone(share).await? {
            Some(Gone::Deleted(terms)) => SignedTerms::verify(&terms, share).ok(),
            _ => None,
        };
        let issued_ms = deletion.map(|deletion| deletion.issued_ms);
        let registered = {
            let (registry, now_ms) = (self.registry.lock(), self.now_ms());
            let is_registered = |peer: &&PeerId| registry.get(**peer, now_ms).is_some();
            sent_to.iter().filter(is_registered).copied().collect::<Vec<_>>()
        };
        self.untold.ended(share, issued_ms, &registered, is_known);
        Ok(())
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

#[cfg(test)]
mod tests {
    use super::*;

    fn share(number: usize) -> ShareId {
        let mut id = [0; 32];
        id[..8].copy_from_slice(&(number as u64).to_be_bytes());
        ShareId::from_bytes(id)
    }

    fn peers(from: u8, to: u8) -> Vec<PeerId> {
        (from..to).map(|number| PeerId::from_bytes([number; 32])).collect()
    }

    #[test]
    fn the_grants_of_one_token_take_no_others_room_and_what_finds_none_takes_no_memory() {
        let untold = Untold::default();
        let [mallory, friend] = [1, 2].map(|number| TokenId::from_bytes([number; 8]));
        let far = clock::now_ms() + 3_600_000;
        let each = 8;
        for number in 0..2 * GRANTED_NOTED_TOKEN_MAX / each {
            untold.granted(share(number), mallory, &peers(0, 8), far);
        }
        let noted = || {
            let granted = untold.granted.lock();
            let count: usize = granted.shares.values().map(|named| named.peers.len()).sum();
            assert_eq!(granted.count, count);
            (granted.shares.len(), granted.count)
        };
        let full = (GRANTED_NOTED_TOKEN_MAX / each, GRANTED_NOTED_TOKEN_MAX);
        assert_eq!(noted(), full);
        // A share that is known finds no room for more, either.
        untold.granted(share(0), mallory, &peers(0, 9), far);
        assert_eq!(noted(), full);
        untold.granted(share(usize::MAX), friend, &peers(0, 8), far);
        assert_eq!(noted(), (full.0 + 1, full.1 + 8));
    }

    #[test]
    fn grants_that_are_over_make_room_and_are_looked_for_once_in_a_while() {
        let untold = Untold::default();
        let token = TokenId::from_bytes([1; 8]);
        let now_ms = clock::now_ms();
        for number in 0..GRANTED_NOTED_TOKEN_MAX {
            untold.granted(share(number), token, &peers(0, 1), now_ms.saturating_sub(1));
        }
        untold.granted.lock().swept_ms = now_ms;
        untold.granted(share(usize::MAX), token, &peers(0, 2), now_ms + 3_600_000);
        assert_eq!(untold.granted.lock().count, GRANTED_NOTED_TOKEN_MAX);
        untold.granted.lock().swept_ms = now_ms.saturating_sub(millis(GRANTED_SWEPT_EVERY));
        untold.granted(share(usize::MAX), token, &peers(0, 2), now_ms + 3_600_000);
        let granted = untold.granted.lock();
        assert_eq!(
            (granted.count, granted.shares.len(), granted.room(token)),
            (2, 1, GRANTED_NOTED_TOKEN_MAX - 2)
        );
    }

    #[test]
    fn what_senders_alone_say_takes_no_room_from_what_the_tracker_knows_and_comes_after_it() {
        let untold = Untold::default();
        let peer = PeerId::from_bytes([7; 32]);
        for number in 0..2 * UNTOLD_WITHDRAWN_MAX {
            untold.ended(share(number), Some(1), &[peer], false);
        }
        let count = || untold.due.lock()[&peer].len();
        assert_eq!(count(), UNTOLD_WITHDRAWN_MAX);
        let taken_down = share(usize::MAX);
        untold.granted(taken_down, TokenId::from_bytes([1; 8]), &[peer], clock::now_ms() + 3_600_000);
        untold.ended(taken_down, None, &[], true);
        assert_eq!(count(), UNTOLD_WITHDRAWN_MAX + 1);
        assert_eq!(untold.due(peer).first(), Some(&taken_down));
        // The sender says once more what is known by now.
        untold.ended(share(0), Some(1), &[peer], true);
        assert_eq!(untold.due(peer)[..2], [share(0), taken_down]);
    }
}
