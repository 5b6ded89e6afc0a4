//! The tracker's part in repair: looks at shares whose health may have changed, orders copies of what is
//! short, and has surplus dropped. What is to be done is decided in [`parcelry_core::repair`].

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::time::Duration;

use parcelry_core::apart::{FailureDomains, Surplus};
use parcelry_core::api::{CopyTask, DropTask, ShareChunks, SwarmHealth, Task};
use parcelry_core::chunk_set::ChunkSet;
use parcelry_core::dashboard::{CopyNow, LogKind, Work};
use parcelry_core::duration::millis;
use parcelry_core::geometry::ChunkIndex;
use parcelry_core::grant::{Grant, GrantToken, Operation};
use parcelry_core::health::{Condition, Health, ReplicaStatus, ShareView, assess};
use parcelry_core::id::{PeerId, ShareId};
use parcelry_core::limits::{HOUR_WINDOWS, INVENTORY_BYTES_MAX, REPAIR_SHARES_MAX};
use parcelry_core::placement::Candidate;
use parcelry_core::registry::Rules;
use parcelry_core::repair::{Order, RepairTimeouts, Repairs};
use parcelry_core::terms::{SignedTerms, Terms};
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::Tracker;
use super::rotation::Rotation;
use super::store::{StoreError, StoredShare, unless_damaged};
use crate::clock;

/// What the tracker knows about the health of its shares. All of it is made anew after a restart.
pub(super) struct Repairer {
    state: Mutex<State>,
    /// Told when there is something to look at.
    pub(super) wake: Notify,
}

struct State {
    repairs: Repairs,
    /// Shares to look at: something about them has changed.
    dirty: Rotation,
    scan: Scan,
    /// Time between two scans.
    scan_every: Duration,
    /// Whether every share was looked at once.
    complete: bool,
    /// Shares that are not as they should be, and what was found.
    watched: BTreeMap<ShareId, Watched>,
    /// Shares that lack nothing but proofs.
    unproven: BTreeSet<ShareId>,
    /// How the replicas of each peer were counted in the last round.
    statuses: BTreeMap<PeerId, ReplicaStatus>,
    paused: bool,
    /// The share in need that was looked at last in its turn.
    turn: Option<ShareId>,
}

/// A scan over all shares. It finds what changes without being heard of: that terms have ended, or have not, as the
/// clock was set right.
#[derive(Clone, Copy)]
enum Scan {
    /// What comes after this share is still to be looked at; `None`: everything.
    After(Option<ShareId>),
    /// Everything was looked at; again at this moment.
    Done { again_ms: u64 },
}

struct Watched {
    health: Health,
    /// Peers that are being emptied and hold a part of the share.
    leaving: Vec<PeerId>,
    /// Whether it has the right number of replicas in the wrong places.
    misplaced: bool,
}

impl Repairer {
    /// Has not looked at anything yet. `holders` are the peers that hold chunks, registered or not.
    pub(super) fn new(rules: Rules, holders: Vec<PeerId>) -> Self {
        let timeouts = RepairTimeouts {
            order: rules.dead_after * 2,
            refusal: rules.dead_after,
            surplus: rules.dead_after * HOUR_WINDOWS,
        };
        let state = State {
            repairs: Repairs::new(timeouts),
            dirty: Rotation::default(),
            scan: Scan::After(None),
            scan_every: rules.dead_after * HOUR_WINDOWS,
            complete: false,
            watched: BTreeMap::new(),
            unproven: BTreeSet::new(),
            statuses: holders.into_iter().map(|peer| (peer, ReplicaStatus::Unsure)).collect(),
            paused: false,
            turn: None,
        };
        Self { state: Mutex::new(state), wake: Notify::new() }
    }

    /// Notes that something about these shares has changed.
    pub(super) fn changed(&self, shares: impl IntoIterator<Item = ShareId>) {
        self.state.lock().dirty.extend(shares);
        self.wake.notify_one();
    }

    /// Notes that a peer copied chunks of a share.
    pub(super) fn copied(&self, peer: PeerId, copied: &ShareChunks, now_ms: u64) {
        self.state.lock().repairs.copied(peer, copied.share, &copied.chunks, now_ms);
        self.changed([copied.share]);
    }

    /// What a peer was asked to copy of these chunks.
    pub(super) fn ordered(&self, peer: PeerId, copied: &ShareChunks) -> Option<ChunkSet> {
        self.state.lock().repairs.ordered(peer, copied.share, &copied.chunks)
    }

    /// Notes that a peer does not have what it says to have copied.
    pub(super) fn deceived(&self, peer: PeerId, share: ShareId, now_ms: u64) {
        self.state.lock().repairs.deceived(peer, share, now_ms);
    }

    /// What a peer is told to drop of a share.
    pub(super) fn dropping(&self, peer: PeerId, share: ShareId) -> Option<ChunkSet> {
        let state = self.state.lock();
        let dropping = state.repairs.drop_of(share).filter(|surplus| surplus.peer == peer);
        dropping.map(|surplus| surplus.chunks.clone())
    }

    /// Whether a peer is told to drop this chunk.
    pub(super) fn is_dropping(&self, peer: PeerId, share: ShareId, index: ChunkIndex) -> bool {
        let state = self.state.lock();
        state.repairs.drop_of(share).is_some_and(|s| s.peer == peer && s.chunks.contains(index))
    }

    /// Notes that a peer could not copy what it was asked for.
    pub(super) fn failed(&self, peer: PeerId, share: ShareId, now_ms: u64) {
        self.state.lock().repairs.failed(peer, share, now_ms);
        self.changed([share]);
    }

    /// Notes that a peer let go of surplus, or that what it holds was heard anew.
    pub(super) fn dropped(&self, peer: PeerId, share: ShareId) {
        self.state.lock().repairs.dropped(peer, share);
        self.changed([share]);
    }

    /// Notes that a peer has told all that it holds.
    pub(super) fn heard_inventory(&self, peer: PeerId) {
        let mut state = self.state.lock();
        let drops: Vec<ShareId> = state.repairs.drops_of(peer).map(|(share, _)| share).collect();
        drops.into_iter().for_each(|share| state.repairs.dropped(peer, share));
    }

    /// The health of all shares, of which there are so many, if that is known.
    pub(super) fn health(&self, shares: Option<u64>) -> SwarmHealth {
        let state = self.state.lock();
        let count = |condition| {
            state.watched.values().filter(|watched| watched.health.condition() == condition).count() as u64
        };
        SwarmHealth {
            shares,
            unproven: state.unproven.len() as u64,
            misplaced: state.watched.values().filter(|watched| watched.misplaced).count() as u64,
            weakened: count(Condition::Weakened),
            endangered: count(Condition::Endangered),
            unavailable: count(Condition::Unavailable),
            lost: count(Condition::Lost),
            copies: state.repairs.len() as u64,
            paused: state.paused,
            complete: state.complete && state.dirty.is_empty(),
        }
    }

    /// The copies under way, at most `limit` of them one by one.
    pub(super) fn work(&self, limit: usize) -> Work {
        let state = self.state.lock();
        let copy = |order: &Order| CopyNow {
            share: order.share,
            target: order.target,
            chunks_left: order.chunks.len(),
        };
        let copies = state.repairs.orders().take(limit).map(copy).collect();
        Work { copies, more: state.repairs.len().saturating_sub(limit) }
    }

    /// How many shares still need what a peer holds that is being emptied. What was not looked at yet counts.
    pub(super) fn still_needed(&self, peer: PeerId) -> u64 {
        let state = self.state.lock();
        let needs = |watched: &&Watched| watched.health.unproven > 0 && watched.leaving.contains(&peer);
        let unseen = state.dirty.len() + usize::from(!state.complete);
        // Until a round has noted that the peer is leaving, no share knows of it: zero would be too early.
        let unheard = usize::from(state.statuses.get(&peer).is_some_and(|s| *s != ReplicaStatus::Leaving));
        (state.watched.values().filter(needs).count() + unseen + unheard) as u64
    }
}

impl Tracker {
    /// Looks at the shares about which something has changed, then plans for those in need, the most endangered
    /// first.
    pub(super) async fn repair_round(&self) -> Result<(), StoreError> {
        let now_ms = self.now_ms();
        // The suspicion is judged first: it decides which peers are candidates, and whether claims get older.
        let (candidates, suspicion) = {
            let mut registry = self.registry.lock();
            let suspicion = self.suspect_own_network(&mut registry, now_ms);
            (registry.candidates(now_ms), suspicion)
        };
        self.note_suspicion(suspicion);
        let candidates: Vec<Candidate> =
            candidates.into_iter().filter(|candidate| !self.is_distrusted(candidate.id)).collect();
        let domains = FailureDomains::of(&candidates);
        {
            let (registry, mut state) = (self.registry.lock(), self.repairer.state.lock());
            let is_there =
                |peer| matches!(registry.status(peer, now_ms), ReplicaStatus::Sure | ReplicaStatus::Unsure);
            state.repairs.expire_stalled(is_there, now_ms);
        }
        // Both mark shares, so they come before the look at what is marked.
        self.note_statuses(now_ms).await?;
        self.scan_on(now_ms).await?;
        // Taken out before they are looked at: what changes meanwhile is marked again.
        let dirty: Vec<ShareId> = {
            let mut state = self.repairer.state.lock();
            std::iter::from_fn(|| state.dirty.pop()).take(REPAIR_SHARES_MAX).collect()
        };
        let mut dirty = dirty.into_iter();
        while let Some(share) = dirty.next() {
            if let Err(error) = self.look_at(share, &domains, now_ms).await {
                // They wait for their next turn, and not for the next scan of everything.
                self.repairer.state.lock().dirty.extend(dirty.chain([share]));
                return Err(error);
            }
        }
        // Planned when all are known, so that room goes to the most endangered. Under suspicion they are only looked at.
        for share in self.most_endangered() {
            if let Some(view) = self.look_at(share, &domains, now_ms).await?
                && !suspicion
            {
                self.plan(&view, &candidates, &domains, now_ms);
            }
        }
        Ok(())
    }

    fn note_suspicion(&self, suspicion: bool) {
        let mut state = self.repairer.state.lock();
        match (state.paused, suspicion) {
            (false, true) => {
                tracing::warn!(
                    "more than a third of what is held was lost at once: nothing is copied until it is back, or stays \
                     away for long"
                );
                self.dashboard.note(LogKind::RepairPaused, |_| {});
            }
            (true, false) => {
                tracing::info!("repair goes on");
                self.dashboard.note(LogKind::RepairResumed, |_| {});
            }
            _ => {}
        }
        state.paused = suspicion;
    }

    /// Marks the shares of every peer whose replicas count otherwise than before.
    async fn note_statuses(&self, now_ms: u64) -> Result<(), StoreError> {
        let changed: Vec<(PeerId, ReplicaStatus)> = {
            let (registry, mut state) = (self.registry.lock(), self.repairer.state.lock());
            for (peer, _) in registry.peers(now_ms) {
                // A new peer begins as unsure: that it is sure is a change, which has its shares looked at.
                state.statuses.entry(peer.registration.id).or_insert(ReplicaStatus::Unsure);
            }
            let now = state.statuses.iter().map(|(&peer, &was)| (peer, was, registry.status(peer, now_ms)));
            now.filter(|(_, was, is)| was != is).map(|(peer, _, is)| (peer, is)).collect()
        };
        for (peer, status) in changed {
            let shares = self.store.shares_of(peer).await?;
            // Noted together with the marks: if the store fails, the next round finds the same change.
            let mut state = self.repairer.state.lock();
            state.dirty.extend(shares);
            state.statuses.insert(peer, status);
        }
        Ok(())
    }

    /// Marks the next shares, until all were looked at, and begins anew when it is time.
    async fn scan_on(&self, now_ms: u64) -> Result<(), StoreError> {
        let scan = self.repairer.state.lock().scan;
        let after = match scan {
            Scan::Done { again_ms } if now_ms < again_ms => return Ok(()),
            Scan::Done { .. } => None,
            Scan::After(share) => share,
        };
        let shares = self.store.shares_after(after, REPAIR_SHARES_MAX).await?;
        let mut state = self.repairer.state.lock();
        // A page without shares comes after the last one: all were marked once.
        state.complete |= shares.is_empty();
        state.scan = match shares.last() {
            Some(&last) => Scan::After(Some(last)),
            None => Scan::Done { again_ms: now_ms.saturating_add(millis(state.scan_every)) },
        };
        state.dirty.extend(shares);
        Ok(())
    }

    /// The shares to plan for: half of them are the most endangered, half take turns, so that shares that
    /// cannot be helped now keep nobody waiting for ever.
    fn most_endangered(&self) -> Vec<ShareId> {
        let mut state = self.repairer.state.lock();
        let mut shares: Vec<_> = state.watched.iter().map(|(share, w)| (w.health, *share)).collect();
        shares.sort_by_key(|(health, share)| {
            // What nobody can copy from does not keep others waiting.
            let hopeless = health.fewest == 0 && health.short == health.away + health.lost;
            (hopeless, health.short == 0, health.fewest, *share)
        });
        let mut chosen: Vec<ShareId> =
            shares.iter().map(|(_, share)| *share).take(REPAIR_SHARES_MAX / 2).collect();
        if shares.len() > chosen.len() {
            let from = state.turn.map_or(Bound::Unbounded, Bound::Excluded);
            let turn = state.watched.range((from, Bound::Unbounded)).take(REPAIR_SHARES_MAX / 2);
            let turn: Vec<ShareId> = turn.map(|(share, _)| *share).collect();
            // Past the last share this is `None`, and the turn begins at the first again.
            state.turn = turn.last().copied();
            chosen.extend(turn);
        }
        chosen
    }

    /// Looks at a share and notes its health.
    async fn look_at(
        &self,
        share: ShareId,
        domains: &FailureDomains,
        now_ms: u64,
    ) -> Result<Option<ShareView>, StoreError> {
        let view = unless_damaged(share, self.view(share, now_ms).await)?.flatten();
        let misplaced = view.as_ref().is_some_and(|view| domains.better_for(view).is_some());
        // The store was asked before: the lock is not held across an `await`.
        let mut state = self.repairer.state.lock();
        let Some(view) = view else {
            state.watched.remove(&share);
            state.unproven.remove(&share);
            state.repairs.forget(share);
            return Ok(None);
        };
        let health = assess(&view);
        let before = state.watched.get(&share).map_or(Condition::Healthy, |before| before.health.condition());
        report(share, before, &health);
        // At every look: it notes since when there is a surplus.
        let has_surplus = state.repairs.notice_surplus(&view, now_ms);
        let leaving = view.holders.iter().filter(|holder| holder.status == ReplicaStatus::Leaving);
        let leaving: Vec<PeerId> = leaving.map(|holder| holder.peer.id).collect();
        let keeps_waiting = health.unproven > 0 && !leaving.is_empty();
        if health.condition() == Condition::Unproven {
            state.unproven.insert(share);
        } else {
            state.unproven.remove(&share);
        }
        // What is watched is looked at again although nothing is heard of it: orders fail, and a surplus gets old.
        if health.short > 0 || health.lost > 0 || has_surplus || misplaced || keeps_waiting {
            state.watched.insert(share, Watched { health, leaving, misplaced });
        } else {
            state.watched.remove(&share);
        }
        Ok(Some(view))
    }

    /// The share with its holders; `None` if it is over.
    async fn view(&self, share: ShareId, now_ms: u64) -> Result<Option<ShareView>, StoreError> {
        let Some((stored, terms)) = self.current(share).await? else { return Ok(None) };
        self.view_of(&stored, &terms, now_ms).await.map(Some)
    }

    /// The share with its terms, over or not.
    pub(super) async fn known(&self, share: ShareId) -> Result<Option<(StoredShare, Terms)>, StoreError> {
        let Some(stored) = self.store.share(share).await? else { return Ok(None) };
        let terms = SignedTerms::verify(&stored.terms, share);
        let terms = terms.map_err(|_| StoreError::Damaged("a share's terms"))?;
        Ok(Some((stored, terms.into_terms())))
    }

    /// The share with its terms; `None` if it is over.
    pub(super) async fn current(&self, share: ShareId) -> Result<Option<(StoredShare, Terms)>, StoreError> {
        let is_over =
            |stored: &StoredShare, terms: &Terms| stored.taken_down || terms.is_over(clock::now_ms());
        Ok(self.known(share).await?.filter(|(stored, terms)| !is_over(stored, terms)))
    }

    /// A share that is not over, with its holders.
    pub(super) async fn view_of(
        &self,
        stored: &StoredShare,
        terms: &Terms,
        now_ms: u64,
    ) -> Result<ShareView, StoreError> {
        let geometry = stored.geometry()?;
        let mut holders = self.store.holders(terms.share).await?;
        holders.retain(|(_, chunks)| chunks.chunk_count() == geometry.chunk_count());
        let evidence = self.evidence(terms.share, &holders).await?;
        let registry = self.registry.lock();
        let holders = holders.into_iter().zip(evidence);
        let holders =
            holders.map(|((peer, chunks), evidence)| registry.holder(peer, chunks, evidence, now_ms));
        let (holders, learnt_lately) = (holders.collect(), self.learnt_lately(stored));
        Ok(ShareView { share: terms.share, wanted: terms.replicas, geometry, holders, learnt_lately })
    }

    fn plan(&self, view: &ShareView, candidates: &[Candidate], domains: &FailureDomains, now_ms: u64) {
        let planned = {
            let repairs = &mut self.repairer.state.lock().repairs;
            // Nothing is moved as long as copies can be ordered that are needed.
            repairs.plan(view, candidates, now_ms) || repairs.spread_out(view, domains, now_ms)
        };
        if planned {
            tracing::info!(share = %view.share, "copies ordered");
            self.metrics.repairs.inc();
        }
    }

    /// What a peer that has just beaten is to copy and to drop.
    pub(super) fn repair_tasks(&self, peer: PeerId) -> Vec<Task> {
        // Copied out, for the registry is locked below, and it comes before this lock.
        let (orders, drops): (Vec<Order>, Vec<(ShareId, Surplus)>) = {
            let state = self.repairer.state.lock();
            let drops = state.repairs.drops_of(peer).map(|(share, surplus)| (share, surplus.clone()));
            (state.repairs.orders_of(peer).cloned().collect(), drops.collect())
        };
        let mut bytes = 0;
        let mut fits = |chunks: &ChunkSet| {
            // The first always fits: else a set that is too long by itself would never be told.
            let first = bytes == 0;
            bytes += chunks.text_len();
            first || bytes <= INVENTORY_BYTES_MAX
        };
        let copies = orders.into_iter().filter(|order| fits(&order.chunks)).collect::<Vec<_>>();
        let copies = copies.into_iter().map(|order| Task::Copy(self.copy_task(order)));
        let drops = drops.into_iter().filter(|(_, surplus)| fits(&surplus.chunks));
        let drop_task = |(share, Surplus { chunks, others, .. }): (ShareId, Surplus)| {
            let holders = self.addresses(&self.registry.lock(), &others);
            Task::Drop(DropTask { share, chunks, holders })
        };
        copies.chain(drops.map(drop_task)).collect()
    }

    fn copy_task(&self, order: Order) -> CopyTask {
        let sources = self.addresses(&self.registry.lock(), &order.sources);
        let grant = self.copy_grant(order.share, order.target, order.sources);
        CopyTask { share: order.share, chunks: order.chunks, sources, grant }
    }

    /// Lets a peer read manifest and terms of a share at others.
    pub(super) fn copy_grant(&self, share: ShareId, bearer: PeerId, peers: Vec<PeerId>) -> GrantToken {
        let issued_ms = clock::now_ms();
        self.key.sign(&Grant {
            share,
            operation: Operation::Copy,
            peers,
            bearer: Some(bearer),
            token: None,
            budget_bytes: 0,
            quota_bytes: None,
            issued_ms,
            expires_ms: issued_ms.saturating_add(Grant::life_ms(0)),
        })
    }
}

/// Tells the operator when a share gets worse or is whole again.
fn report(share: ShareId, before: Condition, health: &Health) {
    let Health { wanted, fewest, short, unproven, away, lost } = *health;
    match health.condition() {
        now if now == before => {}
        Condition::Healthy if before == Condition::Unproven => {}
        Condition::Healthy => tracing::info!(%share, wanted, "share is at full strength again"),
        Condition::Unproven => tracing::debug!(%share, unproven, "replicas of a share are to be proven"),
        Condition::Lost => tracing::error!(%share, lost, away, "chunks of a share are at no known peer"),
        Condition::Unavailable => tracing::error!(%share, away, "chunks of a share are only at absent peers"),
        condition => tracing::warn!(%share, ?condition, wanted, fewest, short, "share is short of replicas"),
    }
}
