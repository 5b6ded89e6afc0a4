//! The long-lived key of a tracker or peer, made at its first start.

use std::fs::{self, File};
use std::io;
use std::path::Path;

use swarmdrop_core::id::{PeerId, Secret, TrackerId, key_fingerprint};
use swarmdrop_core::manifest::ShareKey;

use crate::durable;
use crate::failure::{Failure, Kind};

const KEY_FILE: &str = "identity.key";
const LOCK_FILE: &str = "lock";

/// The key of a data folder, and the lock that keeps a second process out of the folder.
#[derive(Debug)]
pub struct Identity {
    public_key: [u8; 32],
    _lock: File,
}

impl Identity {
    /// Takes the data folder into use: creates it and its key at the first start.
    pub fn open(data: &Path) -> Result<Self, Failure> {
        durable::create_private_folder(data).map_err(|error| Failure::io("create", data, &error))?;
        let lock = lock(data)?;
        let path = data.join(KEY_FILE);
        let seed = match fs::read(&path) {
            Ok(bytes) => Secret::from_bytes(bytes.try_into().map_err(|_| {
                Failure::new(Kind::Other, format!("{} is damaged: a key has 32 bytes", path.display()))
            })?),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let seed = random_secret()?;
                durable::persist(&path, seed.expose()).map_err(|e| Failure::io("write", &path, &e))?;
                seed
            }
            Err(error) => return Err(Failure::io("read", &path, &error)),
        };
        // A share's id is its Ed25519 public key: the same derivation gives this key's public half.
        let public_key = *ShareKey::from_seed(&seed).share_id().as_bytes();
        Ok(Self { public_key, _lock: lock })
    }

    /// The id of the peer with this key.
    pub fn peer_id(&self) -> PeerId {
        PeerId::from_bytes(key_fingerprint(&self.public_key))
    }

    /// The id of the tracker with this key.
    pub fn tracker_id(&self) -> TrackerId {
        TrackerId::from_bytes(key_fingerprint(&self.public_key))
    }
}

/// 32 bytes from the system's random source.
pub fn random_secret() -> Result<Secret, Failure> {
    random_bytes().map(Secret::from_bytes)
}

/// 32 bytes from the system's random source, for values that are not secret.
pub fn random_bytes() -> Result<[u8; 32], Failure> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes)
        .map_err(|error| Failure::new(Kind::Other, format!("the system has no random bytes: {error}")))?;
    Ok(bytes)
}

fn lock(data: &Path) -> Result<File, Failure> {
    let path = data.join(LOCK_FILE);
    let file = File::create(&path).map_err(|error| Failure::io("create", &path, &error))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(fs::TryLockError::WouldBlock) => {
            Err(Failure::new(Kind::Other, format!("{} is in use by another swarmdrop", data.display()))
                .next("Stop that one first, or give another folder with --data."))
        }
        Err(fs::TryLockError::Error(error)) => Err(Failure::io("lock", &path, &error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_data_folder_keeps_its_id_and_admits_one_process() {
        let data = tempfile::tempdir().unwrap();
        let first = Identity::open(data.path()).unwrap();
        let id = first.peer_id();
        assert!(Identity::open(data.path()).unwrap_err().what.contains("in use"));
        drop(first);
        assert_eq!(Identity::open(data.path()).unwrap().peer_id(), id);
    }
}
