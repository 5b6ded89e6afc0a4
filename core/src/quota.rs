//! What an invite lets its bearers have of a swarm, and whether what they want still fits in it.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::limits::{
    PEERS_PER_INVITE, REPLICAS_MAX, TOKEN_MANIFEST_BYTES_MAX, TOKEN_SHARES_MAX, TOKEN_UPLOADS_MAX,
};

/// What the maker of an invite allows by it. What is left open has the bounds that everybody has.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Allowance {
    /// For senders: bytes of all their shares at once, each counted as often as it has replicas.
    pub quota_bytes: Option<u64>,
    /// For senders: bytes of one share.
    pub share_bytes_max: Option<u64>,
    /// For senders: how long a share may live from now on, in milliseconds.
    pub life_ms_max: Option<u64>,
    /// For senders: replicas of each chunk.
    pub replicas_max: Option<u8>,
    /// For peers: how many of them it admits, ever.
    pub peers_max: Option<u32>,
    /// For peers: where they stand, whatever they say themselves.
    pub zone: Option<String>,
}

/// What a token is charged with: what its bearers use of what it allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
pub struct Charged {
    /// Bytes of its shares that are not over, and of those that are being sent, times their replicas.
    pub bytes: u64,
    /// Shares that are kept.
    pub shares: u64,
    /// Bytes of their manifests.
    pub manifest_bytes: u64,
    /// Shares that are being sent.
    pub uploads: u64,
}

/// What is wanted for one share.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wanted {
    /// Bytes of what is shared.
    pub share_bytes: u64,
    /// Bytes of what is shared, after sealing.
    pub sealed_bytes: u64,
    /// Peers that are to hold each chunk.
    pub replicas: u8,
}

/// Why an invite does not allow what is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OverQuota {
    /// All shares together would be too large.
    Bytes {
        /// Bytes that this one takes, replicas counted.
        wanted: u64,
        /// Bytes that the others take.
        taken: u64,
        /// Bytes that are allowed.
        quota: u64,
    },
    /// This share is too large.
    ShareBytes {
        /// Bytes that are allowed.
        max: u64,
    },
    /// It would live too long.
    Life {
        /// Milliseconds that are allowed.
        max_ms: u64,
    },
    /// Too many replicas.
    Replicas {
        /// Those that are allowed.
        max: u8,
    },
    /// Too many shares.
    Shares {
        /// Those that are allowed.
        max: u64,
    },
    /// Too many shares are being sent.
    Uploads {
        /// Those that are allowed.
        max: u64,
    },
    /// The lists of chunks and the sealed tables of files of all shares would be too large.
    ManifestBytes {
        /// Bytes that are allowed.
        max: u64,
    },
}

impl Charged {
    /// Both together.
    pub fn and(&self, other: &Self) -> Self {
        self.each(other, u64::saturating_add)
    }

    /// What is left of it without the other.
    pub fn without(&self, other: &Self) -> Self {
        self.each(other, u64::saturating_sub)
    }

    fn each(&self, other: &Self, of: fn(u64, u64) -> u64) -> Self {
        Self {
            bytes: of(self.bytes, other.bytes),
            shares: of(self.shares, other.shares),
            manifest_bytes: of(self.manifest_bytes, other.manifest_bytes),
            uploads: of(self.uploads, other.uploads),
        }
    }
}

impl Wanted {
    /// Bytes that it takes of the swarm's disks.
    pub fn bytes(&self) -> u64 {
        self.sealed_bytes.saturating_mul(u64::from(self.replicas))
    }
}

impl Allowance {
    /// How many peers it admits.
    pub fn peers_max(&self) -> u32 {
        self.peers_max.unwrap_or(PEERS_PER_INVITE)
    }

    /// Checks that a share like this is allowed at all.
    pub fn check_share(&self, wanted: &Wanted) -> Result<(), OverQuota> {
        if let Some(max) = self.share_bytes_max.filter(|&max| wanted.share_bytes > max) {
            return Err(OverQuota::ShareBytes { max });
        }
        let max = self.replicas_max.unwrap_or(REPLICAS_MAX);
        if wanted.replicas > max { Err(OverQuota::Replicas { max }) } else { Ok(()) }
    }

    /// Whether the share still fits beside the others.
    pub fn check_room(&self, charged: &Charged, wanted: &Wanted) -> Result<(), OverQuota> {
        let (wanted, taken) = (wanted.bytes(), charged.bytes);
        if let Some(quota) = self.quota_bytes.filter(|&quota| taken.saturating_add(wanted) > quota) {
            return Err(OverQuota::Bytes { wanted, taken, quota });
        }
        if charged.shares.saturating_add(charged.uploads) >= TOKEN_SHARES_MAX {
            return Err(OverQuota::Shares { max: TOKEN_SHARES_MAX });
        }
        Ok(())
    }

    /// Whether one more share may be sent at once.
    pub fn check_uploads(&self, charged: &Charged) -> Result<(), OverQuota> {
        let max = TOKEN_UPLOADS_MAX;
        if charged.uploads >= max { Err(OverQuota::Uploads { max }) } else { Ok(()) }
    }

    /// Whether a manifest of so many bytes may be kept beside the others.
    pub fn check_manifest(&self, charged: &Charged, bytes: u64) -> Result<(), OverQuota> {
        let max = self.quota_bytes.unwrap_or(u64::MAX).min(TOKEN_MANIFEST_BYTES_MAX);
        let all = charged.manifest_bytes.saturating_add(bytes);
        if all > max { Err(OverQuota::ManifestBytes { max }) } else { Ok(()) }
    }

    /// Whether a share may live until then. `slack_ms` allows for clocks that differ.
    pub fn check_life(&self, expires_ms: u64, now_ms: u64, slack_ms: u64) -> Result<(), OverQuota> {
        let latest = |max_ms: &u64| now_ms.saturating_add(*max_ms).saturating_add(slack_ms);
        let over = self.life_ms_max.filter(|max_ms| expires_ms > latest(max_ms));
        over.map_or(Ok(()), |max_ms| Err(OverQuota::Life { max_ms }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const WANTED: Wanted = Wanted { share_bytes: 100, sealed_bytes: 116, replicas: 2 };

    fn allowance() -> Allowance {
        Allowance {
            quota_bytes: Some(1000),
            share_bytes_max: Some(100),
            life_ms_max: Some(50),
            replicas_max: Some(2),
            ..Allowance::default()
        }
    }

    #[test]
    fn a_share_is_allowed_up_to_each_bound_and_not_beyond() {
        let allowance = allowance();
        assert_eq!(allowance.check_share(&WANTED), Ok(()));
        let larger = Wanted { share_bytes: 101, ..WANTED };
        assert_eq!(allowance.check_share(&larger), Err(OverQuota::ShareBytes { max: 100 }));
        let more = Wanted { replicas: 3, ..WANTED };
        assert_eq!(allowance.check_share(&more), Err(OverQuota::Replicas { max: 2 }));
        assert_eq!(allowance.check_life(160, 100, 10), Ok(()));
        assert_eq!(allowance.check_life(161, 100, 10), Err(OverQuota::Life { max_ms: 50 }));
        let charged = |bytes| Charged { bytes, ..Charged::default() };
        assert_eq!(allowance.check_room(&charged(768), &WANTED), Ok(()));
        let over = OverQuota::Bytes { wanted: 232, taken: 769, quota: 1000 };
        assert_eq!(allowance.check_room(&charged(769), &WANTED), Err(over));
    }

    #[test]
    fn who_has_no_quota_has_the_bounds_of_everybody() {
        let anybody = Allowance::default();
        let huge = Wanted { share_bytes: u64::MAX, sealed_bytes: u64::MAX, replicas: REPLICAS_MAX };
        assert_eq!(anybody.check_share(&huge), Ok(()));
        assert_eq!(anybody.check_room(&Charged::default(), &huge), Ok(()));
        assert_eq!(anybody.check_life(u64::MAX, 0, 0), Ok(()));
        let many = Charged { shares: TOKEN_SHARES_MAX - 1, uploads: 1, ..Charged::default() };
        let over = OverQuota::Shares { max: TOKEN_SHARES_MAX };
        assert_eq!(anybody.check_room(&many, &WANTED), Err(over));
        let many = Charged { uploads: TOKEN_UPLOADS_MAX, ..Charged::default() };
        assert_eq!(anybody.check_uploads(&many), Err(OverQuota::Uploads { max: TOKEN_UPLOADS_MAX }));
        let full = Charged { manifest_bytes: TOKEN_MANIFEST_BYTES_MAX, ..Charged::default() };
        assert_eq!(anybody.check_manifest(&full, 0), Ok(()));
        let over = OverQuota::ManifestBytes { max: TOKEN_MANIFEST_BYTES_MAX };
        assert_eq!(anybody.check_manifest(&full, 1), Err(over));
        assert_eq!(anybody.peers_max(), PEERS_PER_INVITE);
    }

    proptest! {
        #[test]
        fn nothing_overflows(bytes: u64, shares: u64, manifest_bytes: u64, uploads: u64, share_bytes: u64, sealed_bytes: u64, replicas: u8) {
            let charged = Charged { bytes, shares, manifest_bytes, uploads };
            let wanted = Wanted { share_bytes, sealed_bytes, replicas };
            let fits = allowance().check_room(&charged, &wanted).is_ok();
            let sum = u128::from(bytes) + u128::from(sealed_bytes) * u128::from(replicas);
            prop_assert!(!fits || sum <= 1000);
            let _ = allowance().check_manifest(&charged, share_bytes);
            let _ = allowance().check_life(bytes, shares, uploads);
        }
    }
}
