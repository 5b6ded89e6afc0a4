//! The manifest: the signed list of a share's chunks, with the sealed metadata inside.
//!
//! ```text
//! "PRCL" | header 4 | salt 32 | commitment 32 | share id 32 | total u64be | n u32be | n × chunk id 32
//! | length u32be | sealed metadata | Ed25519 signature 64
//! ```
//! The bytes are stored verbatim by peers and tracker; a value of type [`Manifest`] has a valid signature.

use std::fmt;
use std::sync::OnceLock;

use ed25519_dalek::ed25519::signature::MultipartSigner;
use ed25519_dalek::{Signature, SignatureError, SigningKey, VerifyingKey};

use crate::geometry::{ChunkIndex, Geometry};
use crate::id::{ChunkId, Secret, ShareId};
use crate::limits::{CHUNKS_MAX, METADATA_BYTES_MAX, TAG_BYTES};
use crate::metadata::{Metadata, MetadataError};
use crate::seal::{Header, HeaderError, ShareKeys};

const MAGIC: &[u8; 4] = b"PRCL";
const SIGNATURE_CONTEXT: &[u8] = b"parcelry/1 manifest\0";
const SALT_AT: usize = 8;
const COMMITMENT_AT: usize = SALT_AT + 32;
const SHARE_AT: usize = COMMITMENT_AT + 32;
const TOTAL_AT: usize = SHARE_AT + 32;
const COUNT_AT: usize = TOTAL_AT + 8;
const CHUNKS_AT: usize = COUNT_AT + 4;
/// Bytes of a manifest before its list of chunks.
pub const MANIFEST_HEAD_BYTES: usize = CHUNKS_AT;
const SIGNATURE_BYTES: usize = 64;

/// The private key of a share. Its holder owns the share: signs the manifest and the terms.
pub struct ShareKey(SigningKey);

impl ShareKey {
    /// The key pair with this seed (RFC 8032 private key).
    pub fn from_seed(seed: &Secret) -> Self {
        Self(SigningKey::from_bytes(seed.expose()))
    }

    /// The public half, which is the share's id.
    pub fn share_id(&self) -> ShareId {
        ShareId::from_bytes(self.0.verifying_key().to_bytes())
    }

    pub(crate) fn signing_key(&self) -> &SigningKey {
        &self.0
    }
}

impl fmt::Debug for ShareKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ShareKey({:?})", self.share_id())
    }
}

/// A manifest whose bytes are well-formed and carry the share's signature.
#[derive(Clone)]
pub struct Manifest {
    encoded: Vec<u8>,
    header: Header,
    geometry: Geometry,
    /// The hash of the bytes, once somebody has asked for it.
    digest: OnceLock<ChunkId>,
}

/// A manifest without its sealed part: what is kept of it once that is opened.
pub struct ChunkList {
    /// The manifest's bytes up to the last chunk id.
    prefix: Vec<u8>,
    geometry: Geometry,
    digest: ChunkId,
}

/// A manifest that was opened.
pub struct Opened {
    /// The keys of the share.
    pub keys: ShareKeys,
    /// What was sealed.
    pub metadata: Metadata,
    /// Everything else.
    pub manifest: ChunkList,
}

/// Bytes that are no manifest of the share.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// The first bytes are not `PRCL`.
    #[error("not a manifest: it does not start with PRCL")]
    Magic,
    /// The version, suite, chunk size or flags are not known here.
    #[error("unreadable manifest: {0}")]
    Header(#[from] HeaderError),
    /// Fewer or more bytes than its own numbers say.
    #[error("the manifest is cut off or has bytes to spare")]
    Length,
    /// The number of chunks does not follow from the total, or is beyond the limit.
    #[error("the manifest's chunk count does not fit its size")]
    ChunkCount,
    /// It belongs to another share.
    #[error("the manifest belongs to another share")]
    OtherShare,
    /// The signature is not the share key's.
    #[error("the manifest's signature is not valid")]
    Signature,
    /// The link's secret is not the one that the manifest commits to.
    #[error("the link is damaged: its secret does not fit this share")]
    Commitment,
    /// The metadata does not open although the key is the right one.
    #[error("the sealed metadata was changed")]
    Sealed,
    /// The metadata opens but is refused.
    #[error(transparent)]
    Metadata(#[from] MetadataError),
}

/// A manifest before its metadata is sealed and its signature made.
pub struct Draft {
    prefix: Vec<u8>,
    geometry: Geometry,
}

impl Draft {
    /// Starts the manifest of the share of `key`. `chunks` must hold one id for each chunk of `geometry`.
    pub fn new(
        key: &ShareKey,
        keys: &ShareKeys,
        salt: &[u8; 32],
        geometry: Geometry,
        chunks: &[ChunkId],
    ) -> Self {
        assert_eq!(chunks.len(), geometry.chunk_count() as usize, "one id for each chunk");
        let header = Header { chunk_size: geometry.chunk_size() };
        let mut prefix = Vec::with_capacity(CHUNKS_AT + 32 * chunks.len());
        prefix.extend_from_slice(MAGIC);
        prefix.extend_from_slice(&header.to_bytes());
        prefix.extend_from_slice(salt);
        prefix.extend_from_slice(keys.commitment());
        prefix.extend_from_slice(key.share_id().as_bytes());
        prefix.extend_from_slice(&geometry.total().to_be_bytes());
        prefix.extend_from_slice(&geometry.chunk_count().to_be_bytes());
        for chunk in chunks {
            prefix.extend_from_slice(chunk.as_bytes());
        }
        Self { prefix, geometry }
    }

    /// Seals the metadata's bytes into the manifest and signs it.
    pub fn finish(self, key: &ShareKey, keys: &ShareKeys, metadata: &[u8]) -> Manifest {
        let sealed = keys.seal_metadata(&self.prefix, metadata);
        let sealed_len = u32::try_from(sealed.len()).expect("metadata has at most 32 MiB");
        let mut encoded = self.prefix;
        encoded.extend_from_slice(&sealed_len.to_be_bytes());
        encoded.extend_from_slice(&sealed);
        // One after the other, without a copy of both.
        let signature: Signature = key.0.multipart_sign(&[SIGNATURE_CONTEXT, &encoded]);
        encoded.extend_from_slice(&signature.to_bytes());
        let header = Header { chunk_size: self.geometry.chunk_size() };
        Manifest { encoded, header, geometry: self.geometry, digest: OnceLock::new() }
    }
}

impl Manifest {
    /// Reads the manifest of `share` and checks its signature (RFC 8032, strict).
    pub fn decode(encoded: Vec<u8>, share: ShareId) -> Result<Self, ManifestError> {
        let (header, geometry) = parse(&encoded)?;
        if encoded[SHARE_AT..TOTAL_AT] != share.as_bytes()[..] {
            return Err(ManifestError::OtherShare);
        }
        let (signed, signature) = encoded.split_at(encoded.len() - SIGNATURE_BYTES);
        let signature = Signature::from_slice(signature).map_err(|_| ManifestError::Signature)?;
        verify_strictly(&share, signed, &signature).map_err(|_| ManifestError::Signature)?;
        Ok(Self { encoded, header, geometry, digest: OnceLock::new() })
    }

    /// The geometry that a manifest tells in its first [`MANIFEST_HEAD_BYTES`], which is all that is looked at.
    pub fn geometry_in(head: &[u8]) -> Option<Geometry> {
        let header = Header::parse(array(head, MAGIC.len())?).ok()?;
        Geometry::new(u64::from_be_bytes(array(head, TOTAL_AT)?), header.chunk_size)
    }

    /// The bytes, as they are stored and sent.
    pub fn encoded(&self) -> &[u8] {
        &self.encoded
    }

    /// The bytes, for whoever needs nothing else of it.
    pub fn into_encoded(self) -> Vec<u8> {
        self.encoded
    }

    /// The BLAKE3 hash of the bytes, by which receipts and audits name the manifest. It is made once: every peer of a share
    /// is asked about it.
    pub fn digest(&self) -> ChunkId {
        *self.digest.get_or_init(|| ChunkId::of(&self.encoded))
    }

    /// The share that the manifest belongs to.
    pub fn share(&self) -> ShareId {
        ShareId::from_bytes(self.array_at(SHARE_AT))
    }

    /// The salt of the encryption run.
    pub fn salt(&self) -> [u8; 32] {
        self.array_at(SALT_AT)
    }

    /// How the stream is cut into chunks.
    pub const fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    /// The id of a chunk.
    pub fn chunk(&self, index: ChunkIndex) -> ChunkId {
        chunk_in(&self.encoded, index)
    }

    /// The ids of all chunks, in order.
    pub fn chunks(&self) -> impl Iterator<Item = (ChunkIndex, ChunkId)> + '_ {
        self.geometry.indices().map(|index| (index, self.chunk(index)))
    }

    /// Derives the share's keys from the link's secret, checks that it is the right one, and opens the metadata where it
    /// stands: whoever sends the largest there may be takes no more memory than it has bytes.
    pub fn open(self, secret: &Secret) -> Result<Opened, ManifestError> {
        let keys = ShareKeys::derive(secret, &self.salt(), self.header);
        if *keys.commitment() != self.array_at(COMMITMENT_AT) {
            return Err(ManifestError::Commitment);
        }
        let digest = self.digest();
        let Self { encoded: mut bytes, geometry, .. } = self;
        let prefix_len = CHUNKS_AT + 32 * geometry.chunk_count() as usize;
        let signature_at = bytes.len() - SIGNATURE_BYTES;
        let (prefix, sealed) = bytes[..signature_at].split_at_mut(prefix_len);
        let json = keys.open_metadata(prefix, &mut sealed[4..]).map_err(|_| ManifestError::Sealed)?;
        let metadata = Metadata::decode(json, &geometry)?;
        bytes.truncate(prefix_len);
        bytes.shrink_to_fit();
        Ok(Opened { keys, metadata, manifest: ChunkList { prefix: bytes, geometry, digest } })
    }

    fn array_at(&self, at: usize) -> [u8; 32] {
        array(&self.encoded, at).expect("a decoded manifest is complete")
    }
}

impl ChunkList {
    /// The share that the manifest belongs to.
    pub fn share(&self) -> ShareId {
        ShareId::from_bytes(array(&self.prefix, SHARE_AT).expect("a list has all before its chunks"))
    }

    /// The BLAKE3 hash of the manifest's bytes, by which receipts name it.
    pub const fn digest(&self) -> ChunkId {
        self.digest
    }

    /// How the stream is cut into chunks.
    pub const fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    /// The id of a chunk.
    pub fn chunk(&self, index: ChunkIndex) -> ChunkId {
        chunk_in(&self.prefix, index)
    }
}

/// By their bytes, of which all else follows.
impl PartialEq for Manifest {
    fn eq(&self, other: &Self) -> bool {
        self.encoded == other.encoded
    }
}

impl Eq for Manifest {}

impl fmt::Debug for Manifest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Manifest({:?}, {} chunks)", self.share(), self.geometry.chunk_count())
    }
}

/// What `VerifyingKey::verify_strict` does with the context and the bytes one after the other, without a copy of both.
fn verify_strictly(share: &ShareId, signed: &[u8], signature: &Signature) -> Result<(), SignatureError> {
    let key = VerifyingKey::from_bytes(share.as_bytes())?;
    let point = VerifyingKey::from_bytes(signature.r_bytes())?;
    if key.is_weak() || point.is_weak() {
        return Err(SignatureError::new());
    }
    let mut verifier = key.verify_stream(signature)?;
    verifier.update(SIGNATURE_CONTEXT);
    verifier.update(signed);
    verifier.finalize_and_verify()
}

/// Checks everything about the bytes but their signature.
fn parse(encoded: &[u8]) -> Result<(Header, Geometry), ManifestError> {
    if !encoded.starts_with(MAGIC) {
        return Err(ManifestError::Magic);
    }
    let header = Header::parse(array(encoded, 4).ok_or(ManifestError::Length)?)?;
    let total = u64::from_be_bytes(array(encoded, TOTAL_AT).ok_or(ManifestError::Length)?);
    let count = u32::from_be_bytes(array(encoded, COUNT_AT).ok_or(ManifestError::Length)?);
    let geometry = Geometry::new(total, header.chunk_size)
        .filter(|geometry| geometry.chunk_count() == count && count <= CHUNKS_MAX)
        .ok_or(ManifestError::ChunkCount)?;
    let length_at = CHUNKS_AT + 32 * count as usize;
    let metadata_len = u32::from_be_bytes(array(encoded, length_at).ok_or(ManifestError::Length)?) as usize;
    let bounds = TAG_BYTES..=METADATA_BYTES_MAX + TAG_BYTES;
    if !bounds.contains(&metadata_len) || encoded.len() != length_at + 4 + metadata_len + SIGNATURE_BYTES {
        return Err(ManifestError::Length);
    }
    Ok((header, geometry))
}

/// The id of a chunk in the bytes of a manifest that has it.
fn chunk_in(manifest: &[u8], index: ChunkIndex) -> ChunkId {
    let id = array(manifest, CHUNKS_AT + 32 * index.get() as usize);
    ChunkId::from_bytes(id.expect("the geometry mints no other index"))
}

fn array<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at + N)?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::geometry::ChunkSize;
    use proptest::prelude::*;

    const METADATA: &str = r#"{"original_filename":"a.txt","extension":".txt","size":65537,"chunk_count":2,
        "created":"2026-01-01T00:00:00Z","files":[{"path":"a.txt","offset":0,"size":65537,
        "executable":false,"modified":"2026-01-01T00:00:00Z"}],"dirs":[]}"#;

    fn secret() -> Secret {
        Secret::from_bytes([3; 32])
    }

    fn manifest() -> Manifest {
        let key = ShareKey::from_seed(&Secret::from_bytes([5; 32]));
        let geometry = Geometry::new(65537, ChunkSize::from_log2(16).unwrap()).unwrap();
        let keys = ShareKeys::derive(&secret(), &[4; 32], Header { chunk_size: geometry.chunk_size() });
        let chunks = [ChunkId::of(b"one"), ChunkId::of(b"two")];
        Draft::new(&key, &keys, &[4; 32], geometry, &chunks).finish(&key, &keys, METADATA.as_bytes())
    }

    #[test]
    fn the_head_of_a_manifest_tells_its_geometry() {
        let manifest = manifest();
        let head = &manifest.encoded()[..MANIFEST_HEAD_BYTES];
        assert_eq!(Manifest::geometry_in(head), Some(*manifest.geometry()));
        assert_eq!(Manifest::geometry_in(&head[..20]), None);
    }

    #[test]
    fn a_manifest_round_trips_and_opens() {
        let manifest = manifest();
        let read = Manifest::decode(manifest.encoded().to_vec(), manifest.share()).unwrap();
        assert_eq!(read, manifest);
        let second = read.geometry().index(1).unwrap();
        assert_eq!(read.chunk(second), ChunkId::of(b"two"));
        let Opened { metadata, manifest: list, .. } = read.open(&secret()).unwrap();
        assert_eq!(metadata.original_filename.as_str(), "a.txt");
        assert_eq!((list.share(), list.digest()), (manifest.share(), manifest.digest()));
        assert_eq!((list.geometry(), list.chunk(second)), (manifest.geometry(), ChunkId::of(b"two")));
    }

    #[test]
    fn the_digest_is_that_of_the_bytes_and_whether_it_is_known_already_makes_no_difference() {
        let manifest = manifest();
        let unasked = manifest.clone();
        let digest = ChunkId::of(manifest.encoded());
        assert_eq!([manifest.digest(), manifest.digest(), manifest.clone().digest()], [digest; 3]);
        assert_eq!(manifest, unasked);
        assert_eq!(manifest.into_encoded(), unasked.encoded());
    }

    #[test]
    fn a_wrong_secret_is_a_damaged_link() {
        let error = manifest().open(&Secret::from_bytes([9; 32])).map(|_| ()).unwrap_err();
        assert!(matches!(error, ManifestError::Commitment), "{error}");
    }

    #[test]
    fn every_changed_bit_is_noticed() {
        let manifest = manifest();
        for bit in 0..manifest.encoded().len() * 8 {
            let mut changed = manifest.encoded().to_vec();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert!(Manifest::decode(changed, manifest.share()).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn what_is_wrong_is_named() {
        let manifest = manifest();
        let decode = |change: &dyn Fn(&mut Vec<u8>)| {
            let mut bytes = manifest.encoded().to_vec();
            change(&mut bytes);
            Manifest::decode(bytes, manifest.share()).unwrap_err()
        };
        assert!(matches!(decode(&|b| b[0] = b'X'), ManifestError::Magic));
        assert!(matches!(decode(&|b| b[4] = 2), ManifestError::Header(HeaderError::Version(2))));
        assert!(matches!(decode(&|b| b[SHARE_AT] ^= 1), ManifestError::OtherShare));
        assert!(matches!(decode(&|b| b[TOTAL_AT] = 0x7f), ManifestError::ChunkCount));
        assert!(matches!(decode(&|b| b[COUNT_AT + 3] = 3), ManifestError::ChunkCount));
        assert!(matches!(decode(&|b| b.truncate(100)), ManifestError::Length));
        assert!(matches!(decode(&|b| b.push(0)), ManifestError::Length));
        assert!(matches!(decode(&|b| *b.last_mut().unwrap() ^= 1), ManifestError::Signature));
        assert!(matches!(decode(&|b| b[CHUNKS_AT] ^= 1), ManifestError::Signature));
        let other = ShareId::from_bytes([1; 32]);
        let elsewhere = Manifest::decode(manifest.encoded().to_vec(), other);
        assert!(matches!(elsewhere, Err(ManifestError::OtherShare)));
    }

    /// Numbers that would ask for more memory than there is are refused before any is taken.
    #[test]
    fn s2_claims_beyond_the_limits_are_refused_by_their_numbers_alone() {
        let manifest = manifest();
        let with = |total: u64, count: u32, metadata: u32| {
            let mut bytes = manifest.encoded()[..CHUNKS_AT].to_vec();
            bytes[TOTAL_AT..COUNT_AT].copy_from_slice(&total.to_be_bytes());
            bytes[COUNT_AT..].copy_from_slice(&count.to_be_bytes());
            bytes.extend_from_slice(&metadata.to_be_bytes());
            bytes.resize(bytes.len() + 200, 0);
            Manifest::decode(bytes, manifest.share()).unwrap_err()
        };
        let chunk = 1_u64 << 16;
        for (total, count) in [
            (1 << 63, u32::MAX),
            (u64::MAX, u32::MAX),
            (u64::MAX, 0),
            (chunk * (u64::from(CHUNKS_MAX) + 1), CHUNKS_MAX + 1),
            (chunk, 2),
            (chunk + 1, 1),
            (0, 1),
            (1, 0),
        ] {
            assert!(matches!(with(total, count, 16), ManifestError::ChunkCount), "{total} {count}");
        }
        // The largest numbers that are taken: what is missing then are the bytes.
        assert!(matches!(with(chunk * u64::from(CHUNKS_MAX), CHUNKS_MAX, 16), ManifestError::Length));
        for metadata in [0, 15, u32::MAX, u32::try_from(METADATA_BYTES_MAX + TAG_BYTES).unwrap() + 1] {
            assert!(matches!(with(0, 0, metadata), ManifestError::Length), "{metadata}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_refused(mut bytes in proptest::collection::vec(any::<u8>(), 0..400), magic in any::<bool>()) {
            if magic {
                bytes.splice(0..bytes.len().min(8), *b"PRCL\x01\x01\x10\x00");
            }
            prop_assert!(Manifest::decode(bytes, ShareId::from_bytes([1; 32])).is_err());
        }
    }
}
