//! Keys of a share, and the sealing and opening of its chunks and metadata.
//!
//! HKDF-SHA-256 (RFC 5869) derives the keys; AES-256-GCM (NIST SP 800-38D) in the STREAM construction
//! (Hoang, Reyhanitabar, Rogaway, Vizár 2015) seals the chunks: the nonce carries the chunk's index and
//! whether it is the last, so chunks cannot be moved, dropped or cut off unnoticed. All of it is
//! library cryptography.

use aws_lc_rs::hkdf::{HKDF_SHA256, KeyType, Salt};

use crate::gcm::{Aes256Gcm, Library};
use crate::geometry::{ChunkIndex, ChunkSize, ChunkSizeError, Geometry};
use crate::id::{Secret, sha256};

const VERSION: u8 = 1;
const SUITE: u8 = 1;
const FLAGS: u8 = 0;
/// A constant nonce is sound: each run has a fresh key, which seals one metadata only.
const METADATA_NONCE: [u8; 12] = [0; 12];

/// The four bytes that open a manifest and enter every key: format version, cipher suite, chunk size, flags.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Size of the share's chunks.
    pub chunk_size: ChunkSize,
}

/// A header that this version cannot read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// The format's version is another one.
    #[error("format version {0}: made by a newer parcelry, this one reads version {VERSION}")]
    Version(u8),
    /// The cipher suite is unknown.
    #[error("cipher suite {0}: made by a newer parcelry, this one knows suite {SUITE}")]
    Suite(u8),
    /// A flag is set that has no meaning yet.
    #[error("flags {0:#04x}: made by a newer parcelry, this one knows none")]
    Flags(u8),
    /// The chunk size is out of bounds.
    #[error(transparent)]
    ChunkSize(#[from] ChunkSizeError),
}

impl Header {
    /// The header's bytes.
    pub const fn to_bytes(self) -> [u8; 4] {
        [VERSION, SUITE, self.chunk_size.log2(), FLAGS]
    }

    /// Reads a header.
    pub fn parse([version, suite, log2, flags]: [u8; 4]) -> Result<Self, HeaderError> {
        match (version, suite, flags) {
            (VERSION, SUITE, FLAGS) => Ok(Self { chunk_size: ChunkSize::from_log2(log2)? }),
            (VERSION, SUITE, _) => Err(HeaderError::Flags(flags)),
            (VERSION, _, _) => Err(HeaderError::Suite(suite)),
            _ => Err(HeaderError::Version(version)),
        }
    }
}

/// Sealed bytes that do not open: they are not what the sender sealed here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the sealed bytes do not open under the share's key")]
pub struct OpenError;

/// The keys of one encryption run of a share.
pub struct ShareKeys {
    chunk: Aes256Gcm,
    metadata: Aes256Gcm,
    commitment: [u8; 32],
}

impl ShareKeys {
    /// Derives the keys from the link's secret and the run's salt.
    pub fn derive(secret: &Secret, salt: &[u8; 32], header: Header) -> Self {
        let derive = |label: &str| hkdf(secret, salt, &[label.as_bytes(), &header.to_bytes()[..]]);
        Self {
            chunk: gcm_key(&derive("parcelry/1 chunk")),
            metadata: gcm_key(&derive("parcelry/1 metadata")),
            commitment: *derive("parcelry/1 commit").expose(),
        }
    }

    /// The key commitment: in clear in the manifest, it ties the manifest to one secret.
    pub const fn commitment(&self) -> &[u8; 32] {
        &self.commitment
    }

    /// Seals a chunk in place; the buffer grows by the 16 bytes of the tag.
    ///
    /// One index must only ever be sealed with one content: the nonce depends on nothing else.
    pub fn seal_chunk(&self, geometry: &Geometry, index: ChunkIndex, plain: &mut Vec<u8>) {
        self.chunk.seal(chunk_nonce(geometry, index), &[], plain);
    }

    /// Opens a chunk in place. On an error the buffer is emptied.
    pub fn open_chunk(
        &self,
        geometry: &Geometry,
        index: ChunkIndex,
        sealed: &mut Vec<u8>,
    ) -> Result<(), OpenError> {
        let opened = self.chunk.open(chunk_nonce(geometry, index), &[], sealed);
        let plain_len = opened.map(|plain| plain.len());
        sealed.truncate(plain_len.unwrap_or(0));
        plain_len.map(drop).ok_or(OpenError)
    }

    /// Seals the metadata, bound to the manifest's bytes before it.
    pub fn seal_metadata(&self, manifest_prefix: &[u8], metadata: &[u8]) -> Vec<u8> {
        let mut sealed = metadata.to_vec();
        self.metadata.seal(METADATA_NONCE, manifest_prefix, &mut sealed);
        sealed
    }

    /// Opens the metadata in place: what is returned is the beginning of `sealed`, of which nothing is left on an error.
    pub fn open_metadata<'a>(
        &self,
        manifest_prefix: &[u8],
        sealed: &'a mut [u8],
    ) -> Result<&'a [u8], OpenError> {
        self.metadata.open(METADATA_NONCE, manifest_prefix, sealed).map(|plain| &*plain).ok_or(OpenError)
    }
}

/// The token that reads a share, derived from the link's secret; servers keep only its hash.
pub fn access_token(secret: &Secret) -> Secret {
    hkdf(secret, b"", &[b"parcelry/1 access"])
}

/// What servers keep of an access token.
pub fn access_hash(access: &Secret) -> [u8; 32] {
    sha256(access.expose())
}

/// Whether `access` is the token behind `hash`, compared in constant time.
pub fn access_matches(access: &Secret, hash: &[u8; 32]) -> bool {
    aws_lc_rs::constant_time::verify_slices_are_equal(&access_hash(access), hash).is_ok()
}

struct Key32;

impl KeyType for Key32 {
    fn len(&self) -> usize {
        32
    }
}

fn hkdf(secret: &Secret, salt: &[u8], info: &[&[u8]]) -> Secret {
    let mut key = [0; 32];
    Salt::new(HKDF_SHA256, salt)
        .extract(secret.expose())
        .expand(info, Key32)
        .and_then(|okm| okm.fill(&mut key))
        .expect("32 bytes are within the output limit of HKDF");
    Secret::from_bytes(key)
}

fn gcm_key(key: &Secret) -> Aes256Gcm {
    Aes256Gcm::new(key.expose(), Library::fastest())
}

fn chunk_nonce(geometry: &Geometry, index: ChunkIndex) -> [u8; 12] {
    let mut nonce = [0; 12];
    nonce[7..11].copy_from_slice(&index.get().to_be_bytes());
    nonce[11] = u8::from(geometry.is_last(index));
    nonce
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys() -> (ShareKeys, Geometry) {
        let chunk_size = ChunkSize::from_log2(16).unwrap();
        let keys = ShareKeys::derive(&Secret::from_bytes([1; 32]), &[2; 32], Header { chunk_size });
        (keys, Geometry::new(3 * 65536, chunk_size).unwrap())
    }

    #[test]
    fn chunks_round_trip_and_grow_by_the_tag() {
        let (keys, geometry) = keys();
        let index = geometry.index(1).unwrap();
        let mut bytes = vec![9; 65536];
        keys.seal_chunk(&geometry, index, &mut bytes);
        assert_eq!(bytes.len(), geometry.sealed_len(index));
        assert_eq!(keys.open_chunk(&geometry, index, &mut bytes), Ok(()));
        assert_eq!(bytes, vec![9; 65536]);
    }

    #[test]
    fn a_changed_bit_another_index_or_another_end_does_not_open() {
        let (keys, geometry) = keys();
        let mut sealed = vec![9; 100];
        keys.seal_chunk(&geometry, geometry.index(1).unwrap(), &mut sealed);
        for position in [0, 50, 99, 115] {
            let mut changed = sealed.clone();
            changed[position] ^= 1;
            assert_eq!(keys.open_chunk(&geometry, geometry.index(1).unwrap(), &mut changed), Err(OpenError));
            assert!(changed.is_empty(), "no unauthenticated byte is left in the buffer");
        }
        assert!(keys.open_chunk(&geometry, geometry.index(0).unwrap(), &mut sealed.clone()).is_err());
        let cut = Geometry::new(2 * 65536, geometry.chunk_size()).unwrap();
        assert!(keys.open_chunk(&cut, cut.index(1).unwrap(), &mut sealed.clone()).is_err());
        assert!(keys.open_chunk(&geometry, geometry.index(1).unwrap(), &mut vec![1; 15]).is_err());
    }

    #[test]
    fn headers_of_the_future_are_named() {
        assert_eq!(Header::parse([2, 1, 20, 0]), Err(HeaderError::Version(2)));
        assert_eq!(Header::parse([1, 2, 20, 0]), Err(HeaderError::Suite(2)));
        assert_eq!(Header::parse([1, 1, 20, 1]), Err(HeaderError::Flags(1)));
        assert_eq!(Header::parse([1, 1, 25, 0]), Err(HeaderError::ChunkSize(ChunkSizeError)));
    }
}
