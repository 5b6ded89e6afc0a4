//! The shares that their owners have deleted, with the signed terms that say so: whatever comes later, they stay
//! deleted.
//!
//! ```text
//! DATA/store/gone/<share id>   the terms, and when they were taken, in milliseconds since the Unix epoch
//! ```

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use parcelry_core::duration::millis;
use parcelry_core::id::ShareId;
use parcelry_core::limits::{GONE_KEPT, GONE_MAX, GONE_NOT_HELD_MAX};
use parcelry_core::terms::{SignedTerms, TermsToken};
use parking_lot::Mutex;

use crate::disk::durable;
use crate::failure::Failure;

/// The deleted shares of which one peer knows.
#[derive(Debug)]
pub(super) struct GoneShares {
    root: PathBuf,
    shares: Mutex<BTreeMap<ShareId, Gone>>,
}

#[derive(Debug, Clone)]
struct Gone {
    token: TermsToken,
    /// When no earlier terms of the share can still run.
    until_ms: u64,
}

impl GoneShares {
    /// Reads what is below the store.
    pub(super) fn open(store: &Path) -> Result<Self, Failure> {
        let root = store.join("gone");
        let failed = |error| Failure::io("open the deleted shares in", &root, &error);
        durable::create_private_directory(&root).map_err(failed)?;
        let mut shares = BTreeMap::new();
        for entry in fs::read_dir(&root).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            let id = path.file_name().and_then(|name| name.to_str()).and_then(|name| name.parse().ok());
            let Some(share) = id else { continue };
            match fs::read_to_string(&path).ok().and_then(|text| read(&text, share)) {
                Some(gone) => drop(shares.insert(share, gone)),
                None => tracing::error!(path = %path.display(), "cannot read that a share was deleted"),
            }
        }
        Ok(Self { root, shares: Mutex::new(shares) })
    }

    /// Whether the share was deleted.
    pub(super) fn contains(&self, share: ShareId) -> bool {
        self.shares.lock().contains_key(&share)
    }

    /// All of them, with the terms that delete them, in the order of their ids.
    pub(super) fn all(&self) -> Vec<(ShareId, TermsToken)> {
        self.shares.lock().iter().map(|(share, gone)| (*share, gone.token.clone())).collect()
    }

    /// Keeps, so that it survives a crash, that a share was deleted. Of those that were never held here only so
    /// many are kept: a tracker could name any number. Returns whether it is kept.
    pub(super) fn put(&self, terms: &SignedTerms, was_held: bool, now_ms: u64) -> io::Result<bool> {
        let share = terms.share;
        {
            let shares = self.shares.lock();
            if shares.contains_key(&share) {
                return Ok(true);
            }
            if !was_held && shares.len() >= GONE_NOT_HELD_MAX {
                return Ok(false);
            }
        }
        // Not under the lock: who only asks whether a share is gone does not wait for the disk.
        durable::persist(
            &self.root.join(share.to_string()),
            format!("{}\n{now_ms}\n", terms.token).as_bytes(),
        )?;
        let mut shares = self.shares.lock();
        shares.insert(share, gone(terms, now_ms));
        if shares.len() <= GONE_MAX {
            return Ok(true);
        }
        let first = shares.iter().min_by_key(|(_, gone)| gone.until_ms).map(|(share, _)| *share);
        drop(shares);
        first.map_or(Ok(()), |share| self.forget(share)).map(|()| true)
    }

    /// Forgets those of which no earlier terms can still run.
    pub(super) fn expire(&self, now_ms: u64) -> io::Result<()> {
        let shares = self.shares.lock();
        let over = shares.iter().filter(|(_, gone)| gone.until_ms <= now_ms);
        let over: Vec<ShareId> = over.map(|(share, _)| *share).collect();
        drop(shares);
        over.into_iter().try_for_each(|share| self.forget(share))
    }

    fn forget(&self, share: ShareId) -> io::Result<()> {
        self.shares.lock().remove(&share);
        match fs::remove_file(self.root.join(share.to_string())) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

fn gone(terms: &SignedTerms, taken_ms: u64) -> Gone {
    let last_ms = terms.issued_ms.max(taken_ms);
    let until_ms = last_ms.saturating_add(millis(GONE_KEPT));
    Gone { token: terms.token.clone(), until_ms }
}

fn read(text: &str, share: ShareId) -> Option<Gone> {
    let (token, taken_ms) = text.strip_suffix('\n')?.split_once('\n')?;
    let terms = SignedTerms::verify(token, share).ok().filter(|terms| terms.deleted)?;
    Some(gone(&terms, taken_ms.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use parcelry_core::id::Secret;
    use parcelry_core::manifest::ShareKey;
    use parcelry_core::terms::Terms;

    fn deletion(number: u64) -> SignedTerms {
        let mut seed = [7; 32];
        seed[..8].copy_from_slice(&number.to_be_bytes());
        let key = ShareKey::from_seed(&Secret::from_bytes(seed));
        let terms = Terms {
            share: key.share_id(),
            issued_ms: 1,
            expires_ms: 2,
            replicas: 1,
            access_sha256: [0; 32],
            deleted: true,
        };
        SignedTerms::sign(&key, terms)
    }

    #[test]
    fn a_deletion_is_remembered_over_restarts_until_no_terms_can_run() {
        let directory = tempfile::tempdir().unwrap();
        let open = || GoneShares::open(directory.path()).unwrap();
        let (held, named) = (deletion(1), deletion(2));
        open().put(&held, true, 1000).unwrap();
        open().put(&named, false, 1000).unwrap();
        let gone = open();
        let mut expected = [&held, &named].map(|terms| (terms.share, terms.token.clone()));
        expected.sort_by_key(|(share, _)| *share);
        assert_eq!(gone.all(), expected);
        let longest_ms = millis(GONE_KEPT);
        gone.expire(1000 + longest_ms - 1).unwrap();
        assert!(gone.contains(held.share));
        gone.expire(1000 + longest_ms).unwrap();
        assert!(gone.all().is_empty() && open().all().is_empty());
    }

    #[test]
    fn what_is_remembered_of_shares_that_were_never_here_is_bounded() {
        let directory = tempfile::tempdir().unwrap();
        let gone = GoneShares::open(directory.path()).unwrap();
        let full = (0..GONE_NOT_HELD_MAX as u64).map(|number| {
            let mut id = [0; 32];
            id[..8].copy_from_slice(&number.to_be_bytes());
            (ShareId::from_bytes(id), Gone { token: "".into(), until_ms: 1 })
        });
        gone.shares.lock().extend(full);
        let (named, held) = (deletion(1), deletion(2));
        assert!(!gone.put(&named, false, 1000).unwrap());
        assert!(gone.put(&held, true, 1000).unwrap());
        assert!(!gone.contains(named.share) && gone.contains(held.share));
    }
}
