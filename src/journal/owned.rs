//! The shares that were made from here, with the keys that extend and delete them.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use parcelry_core::id::{Secret, ShareId};
use parcelry_core::link::{LinkError, ShareLink};
use parcelry_core::manifest::ShareKey;
use parcelry_core::terms::{SignedTerms, TermsToken};
use serde::{Deserialize, Serialize};

use super::secret_text;
use crate::disk::durable;
use crate::failure::Failure;

const VERSION: u32 = 1;

/// A share that was made from here.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct OwnedShare {
    version: u32,
    link: String,
    #[serde(with = "secret_text")]
    seed: Secret,
    /// The name that the receiver sees.
    pub name: String,
    /// Bytes of all files.
    pub size_bytes: u64,
    /// Number of files.
    pub file_count: usize,
    /// When it was made, in milliseconds since the Unix epoch.
    pub created_ms: u64,
    terms: TermsToken,
    /// What its first peers signed for when they had it.
    pub receipts: Vec<String>,
}

impl OwnedShare {
    /// A share that was just published. Name and counts are for listings only.
    pub fn new(link: &ShareLink, seed: Secret, terms: &SignedTerms, name: String) -> Self {
        Self {
            version: VERSION,
            link: link.expose_text(),
            seed,
            name,
            size_bytes: 0,
            file_count: 0,
            created_ms: crate::clock::now_ms(),
            terms: terms.token.clone(),
            receipts: Vec::new(),
        }
    }

    /// The link, secret included.
    pub fn link(&self) -> Result<ShareLink, LinkError> {
        self.link.parse()
    }

    /// The key that owns the share.
    pub fn key(&self) -> ShareKey {
        ShareKey::from_seed(&self.seed)
    }

    /// The terms as they were set last from here.
    pub fn terms(&self) -> Option<SignedTerms> {
        SignedTerms::verify(&self.terms, self.key().share_id()).ok()
    }

    /// Notes newer terms.
    pub fn set_terms(&mut self, terms: &SignedTerms) {
        self.terms.clone_from(&terms.token);
    }
}

/// All shares that were made from here.
#[derive(Debug)]
pub struct OwnedShares {
    directory: PathBuf,
}

impl OwnedShares {
    /// Those below the state directory.
    pub fn new(state: &Path) -> Self {
        Self { directory: state.join("shares") }
    }

    /// Keeps a share.
    pub fn put(&self, share: &OwnedShare) -> Result<(), Failure> {
        let path = self.path(share.key().share_id());
        let json = serde_json::to_vec_pretty(share).expect("a share has string keys");
        durable::create_private_directory(&self.directory)
            .and_then(|()| durable::persist(&path, &json))
            .map_err(|error| Failure::io("write", &path, &error))
    }

    /// A share, if it was made from here. That its record cannot be read does not mean that there is none.
    pub fn get(&self, share: ShareId) -> Result<Option<OwnedShare>, Failure> {
        let path = self.path(share);
        match read(&path) {
            Ok(share) => Ok(Some(share)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Failure::io("read", &path, &error)),
        }
    }

    /// All shares that were not deleted, the newest first. Of those that were, what is over is forgotten.
    pub fn list(&self) -> Vec<OwnedShare> {
        let Ok(entries) = fs::read_dir(&self.directory) else { return Vec::new() };
        let mut shares: Vec<_> = entries.flatten().filter_map(|entry| read(&entry.path()).ok()).collect();
        shares.retain(|share: &OwnedShare| {
            let Some(terms) = share.terms().filter(|terms| terms.deleted) else {
                return true;
            };
            if terms.expires_ms <= crate::clock::now_ms()
                && let Err(error) = self.remove(terms.share)
            {
                tracing::warn!(%error, "cannot forget a share that was deleted");
            }
            false
        });
        shares.sort_by_key(|share: &OwnedShare| std::cmp::Reverse(share.created_ms));
        shares
    }

    /// Forgets a share.
    pub fn remove(&self, share: ShareId) -> io::Result<()> {
        fs::remove_file(self.path(share))
    }

    fn path(&self, share: ShareId) -> PathBuf {
        self.directory.join(format!("{share}.json"))
    }
}

fn read(path: &Path) -> io::Result<OwnedShare> {
    let damaged = |why: String| io::Error::new(io::ErrorKind::InvalidData, why);
    let json: serde_json::Value =
        serde_json::from_slice(&fs::read(path)?).map_err(|e| damaged(e.to_string()))?;
    if json["version"] != VERSION {
        return Err(damaged("another version of parcelry wrote it".into()));
    }
    serde_json::from_value(json).map_err(|error| damaged(error.to_string()))
}
