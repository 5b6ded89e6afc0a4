//! The long-lived key of a tracker or peer, made at its first start, and the lock on its data directory.

use std::fs::{self, File};
use std::io;
use std::path::Path;

use parcelry_core::grant::TrackerKey;
use parcelry_core::id::{PeerId, RunId, Secret, TrackerId, key_fingerprint};
use parcelry_core::manifest::ShareKey;
use parcelry_core::receipt::PeerKey;

use crate::disk::durable;
use crate::failure::{Failure, Kind};

const KEY_FILE: &str = "identity.key";
const LOCK_FILE: &str = "lock";
/// Bytes of the file with the key: its private and its public half.
const KEY_FILE_BYTES: u64 = 64;
/// DER of an Ed25519 private key (RFC 8410 §7) up to the 32 bytes of its seed.
const PKCS8_PREFIX: [u8; 16] =
    [0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20];

/// An Ed25519 key pair, known to others by the fingerprint of its public half.
#[derive(Clone)]
pub struct Identity {
    seed: Secret,
    public_key: [u8; 32],
}

/// Keeps a second process out of a data directory for as long as it lives.
#[derive(Debug)]
pub struct DirLock {
    _file: File,
}

/// Takes a data directory into use: locks it, and creates it and its key at the first start.
pub fn take(data: &Path) -> Result<(Identity, DirLock), Failure> {
    durable::own_directory(data)?;
    let lock = lock(data)?;
    if let Some(identity) = Identity::read(data)? {
        return Ok((identity, lock));
    }
    let (path, seed) = (data.join(KEY_FILE), random_secret()?);
    let identity = Identity::from_seed(seed);
    let both = [identity.seed.expose(), identity.public_key.as_slice()].concat();
    durable::persist(&path, &both).map_err(|error| Failure::io("write", &path, &error))?;
    Ok((identity, lock))
}

/// Whether a directory looks like the data directory of a tracker or peer, also of one whose key is damaged.
pub fn lives_in(directory: &Path) -> bool {
    let is_key = |file: fs::Metadata| file.is_file() && file.len() == KEY_FILE_BYTES;
    fs::symlink_metadata(directory.join(KEY_FILE)).is_ok_and(is_key) && directory.join(LOCK_FILE).is_file()
}

impl Identity {
    /// The identity with this seed (RFC 8032 private key).
    pub fn from_seed(seed: Secret) -> Self {
        // A share's id is its Ed25519 public key: the same derivation gives this key's public half.
        let public_key = *ShareKey::from_seed(&seed).share_id().as_bytes();
        Self { seed, public_key }
    }

    /// The identity that lives in a data directory, if one does.
    pub fn read(data: &Path) -> Result<Option<Self>, Failure> {
        let path = data.join(KEY_FILE);
        match fs::read(&path) {
            Ok(bytes) => Self::parse(&bytes).map(Some).ok_or_else(|| damaged(&path)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Failure::io("read", &path, &error)),
        }
    }

    /// The identity in a file: the seed, and the public key that it must have. Another seed would be somebody else.
    fn parse(bytes: &[u8]) -> Option<Self> {
        let (seed, public_key) = bytes.split_at_checked(32)?;
        let identity = Self::from_seed(Secret::from_bytes(seed.try_into().ok()?));
        (identity.public_key == public_key).then_some(identity)
    }

    /// The id of the peer with this key.
    pub fn peer_id(&self) -> PeerId {
        PeerId::from_bytes(key_fingerprint(&self.public_key))
    }

    /// The id of the tracker with this key.
    pub fn tracker_id(&self) -> TrackerId {
        TrackerId::from_bytes(key_fingerprint(&self.public_key))
    }

    /// The private key as a tracker signs grants with it.
    pub fn tracker_key(&self) -> TrackerKey {
        TrackerKey::from_seed(&self.seed)
    }

    /// The private key as a peer signs receipts with it.
    pub fn peer_key(&self) -> PeerKey {
        PeerKey::from_seed(&self.seed)
    }

    /// The private key in PKCS #8 (RFC 5958).
    pub(crate) fn expose_pkcs8(&self) -> Vec<u8> {
        [&PKCS8_PREFIX[..], self.seed.expose()].concat()
    }
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Identity({:?})", self.peer_id())
    }
}

fn damaged(path: &Path) -> Failure {
    Failure::new(Kind::Other, format!("{} is damaged", path.display())).next(
        "Put it back from a backup. A peer without one can move the file away and start again: it keeps its chunks \
         and gets another id. A tracker cannot: its links and invites lead to this key.",
    )
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

/// A run of a peer that begins now.
pub fn random_run() -> Result<RunId, Failure> {
    let bytes = random_bytes()?;
    Ok(RunId::from_bytes(*bytes.first_chunk().expect("32 bytes begin with 16")))
}

fn lock(data: &Path) -> Result<DirLock, Failure> {
    let path = data.join(LOCK_FILE);
    let file = durable::open_private(&path).map_err(|error| Failure::io("create", &path, &error))?;
    match file.try_lock() {
        Ok(()) => Ok(DirLock { _file: file }),
        Err(fs::TryLockError::WouldBlock) => {
            Err(Failure::new(Kind::Other, format!("{} is in use by another parcelry", data.display()))
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
        let (first, lock) = take(data.path()).unwrap();
        assert!(take(data.path()).unwrap_err().what.contains("in use"));
        drop(lock);
        assert_eq!(take(data.path()).unwrap().0.peer_id(), first.peer_id());
        assert_eq!(Identity::read(data.path()).unwrap().unwrap().peer_id(), first.peer_id());
    }

    #[test]
    fn a_flipped_bit_of_a_key_makes_nobody_somebody_else() {
        let data = tempfile::tempdir().unwrap();
        drop(take(data.path()).unwrap());
        let path = data.path().join(KEY_FILE);
        let good = fs::read(&path).unwrap();
        assert_eq!(good.len(), 64);
        for bit in (0..512).step_by(7) {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            fs::write(&path, bad).unwrap();
            let failure = Identity::read(data.path()).unwrap_err();
            assert!(failure.what.contains("is damaged"), "{}", failure.what);
        }
        for wrong in [&good[..63], &good[..32], &[]] {
            fs::write(&path, wrong).unwrap();
            assert!(take(data.path()).is_err());
        }
    }
}
