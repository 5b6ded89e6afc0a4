//! The uploads of browsers that are under way, and slots for them: so many uploads, with so many chunks in all, for
//! the gateway remembers each id.

use std::sync::Arc;

use parcelry_core::api::ProblemKind;
use parcelry_core::id::ShareId;
use parcelry_core::limits::{BROWSER_UPLOADS_CHUNKS_MAX, BROWSER_UPLOADS_MAX};

use super::Gateway;
use super::upload::BrowserUpload;
use crate::server::{Asker, FairSemaphore, Held, Refusal};

/// All slots.
pub(super) struct UploadSlots {
    uploads: FairSemaphore,
    chunks: FairSemaphore,
}

/// What one upload takes of them, until it is dropped.
pub(super) struct UploadSlot {
    /// How many chunks it is for.
    pub(super) chunk_count: u32,
    _held: (Held, Held),
}

impl UploadSlots {
    pub(super) fn new() -> Self {
        let chunks = FairSemaphore::new(u64::from(BROWSER_UPLOADS_CHUNKS_MAX));
        Self { uploads: FairSemaphore::new(BROWSER_UPLOADS_MAX), chunks }
    }

    /// A slot for an upload of so many chunks, unless whoever asks has as many already as leave some to others.
    pub(super) fn take(&self, asker: Asker, chunk_count: u32) -> Result<UploadSlot, Refusal> {
        let held = self.uploads.take(asker, 1).zip(self.chunks.take(asker, u64::from(chunk_count)));
        let what = "too many browsers share at the moment, or too many with this invite";
        let held = held.ok_or_else(|| Refusal::later(ProblemKind::Unavailable, what, 60))?;
        Ok(UploadSlot { chunk_count, _held: held })
    }
}

impl Gateway {
    /// The upload of a share, if one is under way.
    pub(super) fn upload(&self, share: ShareId) -> Result<Arc<BrowserUpload>, Refusal> {
        let upload = self.uploads.lock().get(&share).map(Arc::clone);
        let upload = upload.ok_or_else(|| {
            Refusal::new(ProblemKind::UploadNotFound, "no upload of this share is under way here")
        })?;
        upload.touch();
        Ok(upload)
    }

    /// Keeps an upload, in the place of an earlier one of the same share.
    pub(super) fn keep(&self, upload: Arc<BrowserUpload>) {
        self.uploads.lock().insert(upload.share, upload);
    }

    /// Gives up the upload of a share. Returns the slot that it had.
    pub(super) fn end(&self, share: ShareId) -> Option<UploadSlot> {
        let upload = self.uploads.lock().remove(&share);
        upload.and_then(|upload| upload.slot.lock().take())
    }

    /// Gives up the upload of a share.
    pub(in crate::tracker) fn abandon(&self, share: ShareId) {
        drop(self.end(share));
    }

    /// Gives up uploads from which nothing was heard for long, and lets go of shares that nobody gets.
    pub(in crate::tracker) fn forget_idle(&self) {
        self.cache.lock().forget_idle();
        self.uploads.lock().retain(|_, upload| upload.is_live());
    }
}
