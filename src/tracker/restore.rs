//! Tells a peer where it can have the records of shares that it cannot read any more.

use swarmdrop_core::api::{RestoreTask, Task};
use swarmdrop_core::id::{PeerId, ShareId};
use swarmdrop_core::limits::{DAMAGED_TOLD_MAX, ORDER_SOURCES_MAX};

use super::Tracker;
use super::store::StoreError;

impl Tracker {
    /// Where a peer can have the records of shares that it cannot read any more.
    pub(super) async fn restore_tasks(
        &self,
        peer: PeerId,
        damaged: &[ShareId],
    ) -> Result<Vec<Task>, StoreError> {
        let mut tasks = Vec::new();
        for &share in damaged.iter().take(DAMAGED_TOLD_MAX) {
            let Some(stored) = self.store.share(share).await? else { continue };
            let holders = self.store.holders(share).await?.into_iter().map(|(holder, _)| holder);
            let holders: Vec<PeerId> =
                holders.filter(|holder| *holder != peer).take(ORDER_SOURCES_MAX).collect();
            let sources = self.addresses(&self.registry.lock(), &holders);
            let grant = self.copy_grant(share, peer, holders);
            tasks.push(Task::Restore(RestoreTask { share, sources, grant, terms: Some(stored.terms) }));
        }
        Ok(tasks)
    }
}
