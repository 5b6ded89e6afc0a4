//! Reports that the tracker is to hear with the next heartbeats. Each is kept until a heartbeat that told it was
//! answered.

use std::collections::VecDeque;

use parcelry_core::api::{AppliedTerms, HeartbeatRequest, ShareChunks, WrongChunks};
use parcelry_core::id::ShareId;
use parcelry_core::limits::{INVENTORY_BYTES_MAX, TASKS_MAX};
use parking_lot::Mutex;
use tokio::sync::Notify;

/// Something that the tracker is to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Report {
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

/// The reports that no answer to a heartbeat has acknowledged, in the order in which they were made.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    queue: Mutex<VecDeque<Report>>,
    new: Notify,
}

impl Report {
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

impl Outbox {
    /// Adds a report.
    pub(super) fn push(&self, report: Report) {
        self.queue.lock().push_back(report);
        self.new.notify_one();
    }

    /// Waits for a new report.
    pub(super) async fn wait(&self) {
        self.new.notified().await;
    }

    /// Adds reports to a heartbeat, and says how many: as many as fit, and as keep their order.
    pub(super) fn next(&self, mut request: HeartbeatRequest) -> (HeartbeatRequest, usize) {
        let queue = self.queue.lock();
        let (mut bytes, mut rank, mut told) = (0, 0, 0);
        for report in queue.iter().take(TASKS_MAX) {
            bytes += report.bytes();
            // A tracker goes by rank: what was found after something of a higher rank waits for the next heartbeat.
            if report.rank() < rank || (told > 0 && bytes > INVENTORY_BYTES_MAX) {
                break;
            }
            rank = report.rank();
            told += 1;
            match report.clone() {
                Report::Applied(applied) => request.applied.push(applied),
                Report::Lost(lost) => request.lost.push(lost),
                Report::Copied(copied) => request.copied.push(copied),
                Report::Failed(share) => request.failed.push(share),
                Report::Dropped(dropped) => request.dropped.push(dropped),
                Report::Wrong(wrong) => request.wrong.push(wrong),
                Report::Withheld(share) => request.withheld.push(share),
            }
        }
        (request, told)
    }

    /// Forgets the oldest reports: the tracker has heard them.
    pub(super) fn ack(&self, count: usize) {
        let mut queue = self.queue.lock();
        queue.drain(..count);
        // However many were added, whoever waits was told once.
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
    fn every_heartbeat_fits_and_tells_reports_in_their_order() {
        let outbox = Outbox::default();
        let told = [Report::Copied(found(3)), Report::Failed(found(1).share), Report::Lost(found(3))];
        told.into_iter().for_each(|report| outbox.push(report));
        (0..3).for_each(|_| outbox.push(Report::Lost(found(CHUNKS_MAX))));
        (0..TASKS_MAX).for_each(|_| outbox.push(Report::Copied(found(1))));
        let mut counts = Vec::new();
        let beat = || HeartbeatRequest::new(RunId::from_bytes([1; 16]), Usage::default());
        loop {
            let (request, count) = outbox.next(beat());
            assert!(serde_json::to_vec(&request).unwrap().len() <= JSON_BODY_BYTES_MAX);
            assert_eq!(outbox.next(beat()), (request, count), "unheard, it is told again");
            if count == 0 {
                break;
            }
            counts.push(count);
            outbox.ack(count);
        }
        assert_eq!(counts[0], 2, "a loss after a copy is told after it");
        assert_eq!(counts.iter().sum::<usize>(), 6 + TASKS_MAX);
    }
}
