//! Tells a peer where it can have the records of shares that it cannot read any more.

use parcelry_core::api::{Blob, ManifestResponse, ProblemKind, RestoreTask, Task};
use parcelry_core::id::{PeerId, ShareId};
use parcelry_core::limits::{DAMAGED_TOLD_MAX, ORDER_SOURCES_MAX, RESTORE_MANIFESTS_BYTES_MAX};

use super::Tracker;
use super::store::{Gone, StoreError, unless_damaged};
use crate::server::{Asker, LargeJson, MemoryPermit, Refusal};

impl Tracker {
    /// Where a peer can have the records of shares that it cannot read any more.
    pub(super) async fn restore_tasks(
        &self,
        peer: PeerId,
        damaged: &[ShareId],
    ) -> Result<Vec<Task>, StoreError> {
        let mut tasks = Vec::new();
        let mut room = RESTORE_MANIFESTS_BYTES_MAX;
        for &share in damaged.iter().take(DAMAGED_TOLD_MAX) {
            // A deletion ends the trouble, too.
            if let Some(Gone::Deleted(terms)) = self.store.gone(share).await? {
                tasks.push(Task::Terms { share, terms });
                continue;
            }
            let known = unless_damaged(share, self.store.share(share).await)?.flatten();
            let Some(stored) = known else { continue };
            let fits = !stored.taken_down && stored.manifest_bytes <= room;
            let manifest = match fits {
                true => unless_damaged(share, self.store.manifest(share).await)?.flatten().map(Blob),
                false => None,
            };
            room -= manifest.as_ref().map_or(0, |_| stored.manifest_bytes);
            let holders = self.store.holders(share).await?.into_iter().map(|(holder, _)| holder);
            let holders: Vec<PeerId> =
                holders.filter(|holder| *holder != peer).take(ORDER_SOURCES_MAX).collect();
            let sources = self.addresses(&self.registry.lock(), &holders);
            let grant = self.copy_grant(share, peer, holders);
            let terms = Some(stored.terms);
            tasks.push(Task::Restore(RestoreTask { share, sources, grant, terms, manifest }));
        }
        Ok(tasks)
    }

    /// Manifest and terms of a share, for a peer whose own cannot be read: one that is too large for a heartbeat's answer.
    pub(super) async fn manifest_for_peer(
        &self,
        share: ShareId,
        asker: Asker,
    ) -> Result<LargeJson<ManifestResponse>, Refusal> {
        self.check_not_gone(share).await?;
        let unknown = || Refusal::new(ProblemKind::ShareNotFound, "no share has this id");
        let stored = self.store.share(share).await?.ok_or_else(unknown)?;
        let permit = MemoryPermit::wait(asker, stored.manifest_bytes).await;
        let manifest = self.store.manifest(share).await?.ok_or_else(unknown)?;
        Ok(LargeJson(ManifestResponse { manifest: Blob(manifest), terms: stored.terms }, permit))
    }
}
