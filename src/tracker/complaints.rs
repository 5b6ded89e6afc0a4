//! What receivers complain about. A complaint is never believed: the peer in question is asked to read the
//! chunk again, and at most once an hour for one chunk, so that lies cost little.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use parcelry_core::api::{ShareChunks, Task};
use parcelry_core::chunk_set::ChunkSet;
use parcelry_core::geometry::ChunkIndex;
use parcelry_core::id::{PeerId, ShareId};
use parcelry_core::limits::{COMPLAINT_AGAIN, COMPLAINTS_MAX};
use parking_lot::Mutex;

use crate::clock;

/// A chunk of a share.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Chunk {
    share: ShareId,
    chunk_count: u32,
    index: ChunkIndex,
}

/// Complaints by the peer that they are about.
#[derive(Debug, Default)]
pub(super) struct Complaints {
    /// When the peer was asked about each chunk, in milliseconds; `None`: with its next heartbeat.
    of_peer: Mutex<HashMap<PeerId, HashMap<Chunk, Option<u64>>>>,
}

impl Complaints {
    /// Takes a complaint about a chunk that the peer holds, unless there are too many.
    pub(super) fn note(&self, peer: PeerId, share: ShareId, chunk_count: u32, index: ChunkIndex) {
        let mut of_peer = self.of_peer.lock();
        let chunks = of_peer.entry(peer).or_default();
        if chunks.len() >= COMPLAINTS_MAX {
            chunks.retain(|_, asked| asked.is_none_or(lately));
        }
        let chunk = Chunk { share, chunk_count, index };
        let asked_lately = chunks.get(&chunk).is_some_and(|asked| asked.is_none_or(lately));
        if !asked_lately && chunks.len() < COMPLAINTS_MAX {
            chunks.insert(chunk, None);
        }
    }

    /// What to ask a peer that has just beaten.
    pub(super) fn tasks(&self, peer: PeerId) -> Vec<Task> {
        let mut of_peer = self.of_peer.lock();
        let Some(chunks) = of_peer.get_mut(&peer) else { return Vec::new() };
        let mut shares: BTreeMap<ShareId, ChunkSet> = BTreeMap::new();
        for (chunk, asked) in chunks.iter_mut().filter(|(_, asked)| asked.is_none()) {
            let set = shares.entry(chunk.share).or_insert_with(|| ChunkSet::empty(chunk.chunk_count));
            set.insert(chunk.index);
            *asked = Some(clock::monotonic_ms());
        }
        shares.into_iter().map(|(share, chunks)| Task::Verify(ShareChunks { share, chunks })).collect()
    }
}

fn lately(asked_ms: u64) -> bool {
    Duration::from_millis(clock::monotonic_ms().saturating_sub(asked_ms)) < COMPLAINT_AGAIN
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chunk_is_asked_about_once_however_often_somebody_complains() {
        let (complaints, peer) = (Complaints::default(), PeerId::from_bytes([1; 32]));
        let share = ShareId::from_bytes([2; 32]);
        let chunks = ChunkSet::range(9, 3..5);
        for index in (0..5).flat_map(|_| chunks.iter()) {
            complaints.note(peer, share, 9, index);
        }
        assert_eq!(complaints.tasks(peer), [Task::Verify(ShareChunks { share, chunks: chunks.clone() })]);
        complaints.note(peer, share, 9, chunks.iter().next().unwrap());
        assert_eq!(complaints.tasks(peer), []);
        assert_eq!(complaints.tasks(PeerId::from_bytes([9; 32])), []);
    }

    #[test]
    fn complaints_are_bounded() {
        let (complaints, peer) = (Complaints::default(), PeerId::from_bytes([1; 32]));
        for index in ChunkSet::full(10_000).iter() {
            complaints.note(peer, ShareId::from_bytes([2; 32]), 10_000, index);
        }
        let Task::Verify(asked) = &complaints.tasks(peer)[0] else { panic!("another task") };
        assert_eq!(asked.chunks.len() as usize, COMPLAINTS_MAX);
    }
}
