//! What the tracker is to hear with the next heartbeats. It is kept until a heartbeat that told it was answered.

use std::collections::VecDeque;

use parcelry_core::api::{AppliedTerms, HeartbeatRequest, ShareChunks, WrongChunks};
use parcelry_core::id::ShareId;
use parcelry_core::limits::{INVENTORY_BYTES_MAX, TASKS_MAX};
use parking_lot::Mutex;
use tokio::sync::Notify;

/// Something that the tracker is to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Finding {
    /// Newer terms are known here.
    Applied(AppliedTerms),
    /// Chunks are damaged or gone.
    Lost(ShareChunks),
    /// Chunks were copied and are on stable storage.
    Copied(ShareChunks),
    /// Of this share not all could be copied that was asked for.
    Failed(ShareId),
    /// Surplus chunks were dropped.
    Dropped(ShareChunks),
    /// Another peer served wrong chunks.
    Wrong(WrongChunks),
    /// A share that was taken down is not served any more.
    Withheld(ShareId),
}

/// The findings in the order in which they were made.
#[derive(Debug, Default)]
pub(super) struct Findings {
    queue: Mutex<VecDeque<Finding>>,
    new: Notify,
}

impl Finding {
    /// The place in the order in which a tracker takes in what one heartbeat tells.
    const fn rank(&self) -> u8 {
        match self {
            Self::Applied(_) => 0,
            Self::Lost(_) => 1,
            Self::Copied(_) => 2,
            Self::Failed(_) => 3,
            Self::Dropped(_) => 4,
            Self::Wrong(_) => 5,
            Self::Withheld(_) => 6,
        }
    }

    fn bytes(&self) -> usize {
        match self {
            Self::Lost(found) | Self::Copied(found) | Self::Dropped(found) => found.chunks.text_len(),
            Self::Wrong(found) => found.chunks.text_len(),
            Self::Applied(_) | Self::Failed(_) | Self::Withheld(_) => 0,
        }
    }
}

impl Findings {
    /// Notes a finding.
    pub(super) fn note(&self, finding: Finding) {
        self.queue.lock().push_back(finding);
        self.new.notify_one();
    }

    /// Waits for a new finding.
    pub(super) async fn wait(&self) {
        self.new.notified().await;
    }

    /// Adds findings to a heartbeat, and says how many: as many as fit, and as keep their order.
    pub(super) fn next(&self, mut request: HeartbeatRequest) -> (HeartbeatRequest, usize) {
        let queue = self.queue.lock();
        let (mut bytes, mut rank, mut told) = (0, 0, 0);
        for finding in queue.iter().take(TASKS_MAX) {
            bytes += finding.bytes();
            // A tracker goes by rank: what was found after something of a higher rank waits for the next heartbeat.
            if finding.rank() < rank || (told > 0 && bytes > INVENTORY_BYTES_MAX) {
                break;
            }
            rank = finding.rank();
            told += 1;
            match finding.clone() {
                Finding::Applied(applied) => request.applied.push(applied),
                Finding::Lost(lost) => request.lost.push(lost),
                Finding::Copied(copied) => request.copied.push(copied),
                Finding::Failed(share) => request.failed.push(share),
                Finding::Dropped(dropped) => request.dropped.push(dropped),
                Finding::Wrong(wrong) => request.wrong.push(wrong),
                Finding::Withheld(share) => request.withheld.push(share),
            }
        }
        (request, told)
    }

    /// Forgets the oldest findings: the tracker has heard them.
    pub(super) fn heard(&self, count: usize) {
        let mut queue = self.queue.lock();
        queue.drain(..count);
        // However many were noted, whoever waits was told once.
        if !queue.is_empty() {
            self.new.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use parcelry_core::chunk_set::ChunkSet;
    use parcelry_core::id::RunId;
    use parcelry_core::limits::{CHUNKS_MAX, JSON_BODY_BYTES_MAX};
    use parcelry_core::registry::Usage;

    fn found(chunk_count: u32) -> ShareChunks {
        ShareChunks { share: ShareId::from_bytes([1; 32]), chunks: ChunkSet::full(chunk_count) }
    }

    #[test]
    fn every_heartbeat_fits_and_tells_findings_in_their_order() {
        let findings = Findings::default();
        let told = [Finding::Copied(found(3)), Finding::Failed(found(1).share), Finding::Lost(found(3))];
        told.into_iter().for_each(|finding| findings.note(finding));
        (0..3).for_each(|_| findings.note(Finding::Lost(found(CHUNKS_MAX))));
        (0..TASKS_MAX).for_each(|_| findings.note(Finding::Copied(found(1))));
        let mut counts = Vec::new();
        let beat = || HeartbeatRequest::new(RunId::from_bytes([1; 16]), Usage::default());
        loop {
            let (request, count) = findings.next(beat());
            assert!(serde_json::to_vec(&request).unwrap().len() <= JSON_BODY_BYTES_MAX);
            assert_eq!(findings.next(beat()), (request, count), "unheard, it is told again");
            if count == 0 {
                break;
            }
            counts.push(count);
            findings.heard(count);
        }
        assert_eq!(counts[0], 2, "a loss after a copy is told after it");
        assert_eq!(counts.iter().sum::<usize>(), 6 + TASKS_MAX);
    }
}
