//! The health of a share: what counts as a replica, and how endangered the chunk with the fewest is.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::audit::Evidence;
use crate::chunk_set::ChunkSet;
use crate::geometry::{ChunkIndex, Geometry};
use crate::id::{PeerId, ShareId};
use crate::placement::Candidate;

/// How a holder's replicas count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ReplicaStatus {
    /// It is there: they count.
    Sure,
    /// It has been silent, but not for long: they count, and others are copied from first.
    Unsure,
    /// It is being emptied: they can be copied, but do not count.
    Leaving,
    /// It is dead: they do not count until it comes back.
    Gone,
}

impl ReplicaStatus {
    pub(crate) const fn counts(self) -> bool {
        matches!(self, Self::Sure | Self::Unsure)
    }

    pub(crate) const fn can_be_read(self) -> bool {
        !matches!(self, Self::Gone)
    }
}

/// A peer that holds chunks of a share.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// The peer and where it is.
    pub peer: Candidate,
    /// How its replicas count.
    pub status: ReplicaStatus,
    /// The chunks that it holds.
    pub chunks: ChunkSet,
    /// How it is known that it holds them.
    pub evidence: Evidence,
}

impl Holder {
    /// Whether its replicas count for repair: they are proven, or it is too early to ask.
    pub(crate) const fn counts(&self) -> bool {
        self.status.counts()
            && matches!(self.evidence, Evidence::Proven { .. } | Evidence::Claimed { counts: true })
    }

    /// Whether its replicas are proven, and not at a dead peer.
    pub(crate) const fn is_proven(&self) -> bool {
        self.status.counts() && matches!(self.evidence, Evidence::Proven { .. })
    }

    /// Whether others may be sent to it.
    pub(crate) const fn can_be_read(&self) -> bool {
        self.status.can_be_read()
    }
}

/// A share as the planner sees it.
#[derive(Debug, Clone)]
pub struct ShareView {
    /// The share.
    pub share: ShareId,
    /// Replicas that its owner asked for.
    pub wanted: u8,
    /// Its chunks.
    pub geometry: Geometry,
    /// Who holds which of them.
    pub holders: Vec<Holder>,
    /// Whether the tracker learnt of it from peers, not from its sender, within the last week. Then it cannot tell
    /// which replicas are old: to it all are.
    pub learnt_lately: bool,
}

/// The condition of a share, in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Condition {
    /// Every chunk has as many proven replicas as were asked for.
    Healthy,
    /// Every chunk has as many replicas as were asked for; some are to be proven yet.
    Unproven,
    /// Some chunk has fewer, but more than one.
    Weakened,
    /// Some chunk has one replica left, and more were asked for.
    Endangered,
    /// Some chunk is only at peers that are away.
    Unavailable,
    /// Some chunk is at no peer that is known.
    Lost,
}

/// The health of a share, in numbers of chunks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Health {
    /// Replicas that were asked for.
    pub wanted: u8,
    /// The fewest replicas that a chunk has at peers that are not dead.
    pub fewest: u32,
    /// Chunks with fewer replicas than were asked for.
    pub short: u32,
    /// Chunks with fewer proven replicas than were asked for.
    pub unproven: u32,
    /// Chunks that only dead peers hold.
    pub away: u32,
    /// Chunks that nobody holds.
    pub lost: u32,
}

impl Health {
    /// The health in one word.
    pub const fn condition(&self) -> Condition {
        if self.lost > 0 {
            Condition::Lost
        } else if self.away > 0 {
            Condition::Unavailable
        } else if self.short == 0 && self.unproven == 0 {
            Condition::Healthy
        } else if self.short == 0 {
            Condition::Unproven
        } else if self.fewest <= 1 {
            Condition::Endangered
        } else {
            Condition::Weakened
        }
    }
}

/// How a share stands for somebody who asked its holders: without knowing who else holds something, and what is proven.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReplicaCount {
    /// Replicas that were asked for.
    pub wanted: u32,
    /// The fewest replicas that a chunk has.
    pub fewest: u32,
    /// Chunks with fewer replicas than were asked for.
    pub short: u32,
}

impl ReplicaCount {
    /// Counts what the holders of a share have, one set for each. A set of another share's size counts for nothing. Of a
    /// share without chunks every set is a replica.
    pub fn of<'a>(geometry: &Geometry, wanted: u8, held: impl Iterator<Item = &'a ChunkSet>) -> Self {
        let chunk_count = geometry.chunk_count();
        let tally = Tally::of(geometry, held.filter(|set| set.chunk_count() == chunk_count));
        let wanted = u32::from(wanted);
        let short = if chunk_count == 0 { 0 } else { tally.count(|n| n < wanted) };
        Self { wanted, fewest: tally.fewest(), short }
    }
}

/// Replicas of each chunk. A share without chunks has one place in it, for its manifest.
pub(crate) struct Tally(Vec<u32>);

impl Tally {
    fn of<'a>(geometry: &Geometry, sets: impl Iterator<Item = &'a ChunkSet>) -> Self {
        let mut tally = Self(vec![0; (geometry.chunk_count() as usize).max(1)]);
        sets.for_each(|set| tally.add(set));
        tally
    }

    pub(crate) fn add(&mut self, set: &ChunkSet) {
        if set.chunk_count() == 0 {
            self.0[0] += 1;
        }
        for index in set.iter() {
            self.0[index.get() as usize] += 1;
        }
    }

    pub(crate) fn fewest(&self) -> u32 {
        self.0.iter().copied().min().unwrap_or(0)
    }

    pub(crate) fn count(&self, is_counted: impl Fn(u32) -> bool) -> u32 {
        u32::try_from(self.0.iter().filter(|&&n| is_counted(n)).count()).unwrap_or(u32::MAX)
    }

    pub(crate) fn of_chunk(&self, index: ChunkIndex) -> u32 {
        self.0[index.get() as usize]
    }
}

impl ShareView {
    pub(crate) fn tally(&self, is_counted: impl Fn(&Holder) -> bool) -> Tally {
        let sets = self.holders.iter().filter(|holder| is_counted(holder));
        Tally::of(&self.geometry, sets.map(|holder| &holder.chunks))
    }

    pub(crate) fn holder(&self, peer: PeerId) -> Option<&Holder> {
        self.holders.iter().find(|holder| holder.peer.id == peer)
    }
}

/// The health of a share.
pub fn assess(view: &ShareView) -> Health {
    let readable = view.tally(Holder::can_be_read);
    let held = view.tally(|_| true);
    let lost = held.count(|n| n == 0);
    Health {
        wanted: view.wanted,
        fewest: readable.fewest(),
        short: view.tally(Holder::counts).count(|n| n < u32::from(view.wanted)),
        unproven: view.tally(Holder::is_proven).count(|n| n < u32::from(view.wanted)),
        // What nobody holds cannot be read either, and counts as lost only.
        away: readable.count(|n| n == 0) - lost,
        lost,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::geometry::ChunkSize;

    fn holder(number: u8, status: ReplicaStatus, chunks: ChunkSet) -> Holder {
        let peer = Candidate {
            id: PeerId::from_bytes([number; 32]),
            free_bytes: 0,
            zone: None,
            zone_is_given: false,
            host: number.to_string(),
            token: None,
        };
        Holder { peer, status, chunks, evidence: Evidence::Proven { since_ms: 0, settled: false } }
    }

    fn view(chunk_count: u64, wanted: u8, holders: Vec<Holder>) -> ShareView {
        let geometry = Geometry::new(chunk_count << 16, ChunkSize::from_log2(16).unwrap()).unwrap();
        ShareView { share: ShareId::from_bytes([9; 32]), wanted, geometry, holders, learnt_lately: false }
    }

    #[test]
    fn conditions_tell_what_is_away_from_what_is_lost() {
        let full = ChunkSet::full(2);
        let condition = |holders| assess(&view(2, 2, holders)).condition();
        assert_eq!(condition(vec![holder(1, ReplicaStatus::Gone, full.clone())]), Condition::Unavailable);
        assert_eq!(
            condition(vec![holder(1, ReplicaStatus::Sure, ChunkSet::range(2, 0..1))]),
            Condition::Lost
        );
        let leaving = vec![
            holder(1, ReplicaStatus::Sure, full.clone()),
            holder(2, ReplicaStatus::Leaving, full.clone()),
        ];
        assert_eq!(condition(leaving), Condition::Weakened);
        let unsure =
            vec![holder(1, ReplicaStatus::Sure, full.clone()), holder(2, ReplicaStatus::Unsure, full)];
        assert_eq!(condition(unsure), Condition::Healthy, "the dead time is not over");
    }

    #[test]
    fn s3_only_what_is_proven_is_healthy_and_words_alone_do_not_count() {
        let full = ChunkSet::full(2);
        let with = |evidence| {
            let second = Holder { evidence, ..holder(2, ReplicaStatus::Sure, full.clone()) };
            assess(&view(2, 2, vec![holder(1, ReplicaStatus::Sure, full.clone()), second]))
        };
        let claimed = with(Evidence::Claimed { counts: true });
        assert_eq!((claimed.condition(), claimed.short, claimed.unproven), (Condition::Unproven, 0, 2));
        let words = with(Evidence::Claimed { counts: false });
        assert_eq!((words.condition(), words.short, words.fewest), (Condition::Weakened, 2, 2));
    }

    #[test]
    fn who_asks_the_holders_learns_the_fewest_replicas_and_how_many_chunks_are_short() {
        let geometry = view(2, 2, Vec::new()).geometry;
        let count = |wanted, held: &[ChunkSet]| {
            let count = ReplicaCount::of(&geometry, wanted, held.iter());
            (count.fewest, count.short)
        };
        let (full, half) = (ChunkSet::full(2), ChunkSet::range(2, 0..1));
        assert_eq!(count(2, &[full.clone(), full.clone()]), (2, 0));
        assert_eq!(count(1, std::slice::from_ref(&full)), (1, 0));
        assert_eq!(count(2, &[full.clone(), half.clone()]), (1, 1));
        assert_eq!(count(3, &[full.clone(), full.clone()]), (2, 2));
        assert_eq!(count(2, &[half.clone(), half]), (0, 1));
        assert_eq!(count(2, &[full.clone(), ChunkSet::full(3)]), (1, 2));
        let empty = view(0, 2, Vec::new()).geometry;
        let count = ReplicaCount::of(&empty, 2, [ChunkSet::empty(0), full].iter());
        assert_eq!((count.fewest, count.short), (1, 0));
    }
}
