//! How much of what a peer holds a tracker has heard from it, since both started.

use crate::id::ShareId;

/// What was heard of an inventory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InventoryProgress {
    /// Nothing; it is to come at this moment, once one was chosen.
    Nothing {
        /// The moment.
        due_ms: Option<u64>,
    },
    /// All shares up to this one.
    Upto(ShareId),
    /// All.
    All,
}

impl Default for InventoryProgress {
    fn default() -> Self {
        Self::Nothing { due_ms: None }
    }
}

impl InventoryProgress {
    /// When the inventory is to come, for which a moment is chosen once; `None`: it was heard. What has begun goes on.
    pub fn due_ms(&mut self, choose: impl FnOnce() -> u64) -> Option<u64> {
        match self {
            Self::All => None,
            Self::Upto(_) => Some(0),
            Self::Nothing { due_ms } => Some(*due_ms.get_or_insert_with(choose)),
        }
    }

    /// Notes a page that goes from one share to another, or to the last of all. Only pages that follow each other make a
    /// whole: some may have been told to the tracker before it restarted.
    pub fn heard(&mut self, after: Option<ShareId>, upto: Option<ShareId>, last: bool) {
        let follows = after.is_none_or(|after| *self == Self::Upto(after));
        *self = match upto {
            _ if !follows => *self,
            _ if last => Self::All,
            Some(upto) => Self::Upto(upto),
            None => *self,
        };
    }

    /// Whether it was heard what the peer holds of a share.
    pub fn covers(self, share: ShareId) -> bool {
        match self {
            Self::Nothing { .. } => false,
            Self::Upto(upto) => share <= upto,
            Self::All => true,
        }
    }
}
