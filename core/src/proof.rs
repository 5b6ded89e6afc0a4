//! Proofs that somebody has a blob: a piece of it with the hashes that lead up to its BLAKE3 hash.
//!
//! BLAKE3 is a tree over pieces of 1 KiB, and a chunk's id is its root. A **sample** names a byte; the **proof** is
//! the piece in which the byte lies and, from the root downwards, the pair of hashes below each node on the way to it
//! (a *slice* of [Bao](https://github.com/oconnor663/bao/blob/master/docs/spec.md)). Nothing needs to be prepared or
//! kept for it, and whoever checks it needs the root and the length only. To make one takes reading the whole blob.

// Bytes in memory, no input: these are what `bao` reads from and hands a slice out by.
use std::io::{Cursor, Read as _};

use crate::id::ChunkId;
use crate::limits::{MANIFEST_BYTES_MAX, PROOF_PIECE_BYTES};

/// Bytes of the length that a proof begins with.
const HEADER_BYTES: usize = 8;
/// Bytes of the two hashes below a node.
const PARENT_BYTES: usize = 64;

/// Bytes of the longest proof: that of the largest manifest, which is larger than the largest chunk.
pub const PROOF_BYTES_MAX: usize = proof_bytes_max(MANIFEST_BYTES_MAX as u64);

/// Why a proof shows nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ProofError {
    /// No blob of this length has a byte there, so nothing can be shown of it.
    #[error("no blob of this length has a byte at this offset")]
    Outside,
    /// It begins with another length than the blob's.
    #[error("the proof is of a blob of another length")]
    Length,
    /// It is not the piece with this root and offset, or it is too short or too long.
    #[error("the proof does not lead to the blob's hash")]
    Wrong,
}

/// A blob in memory with its inner hashes, from which proofs are cut.
pub struct Prover<'a> {
    blob: &'a [u8],
    hashes: Vec<u8>,
    root: ChunkId,
}

impl<'a> Prover<'a> {
    /// Hashes the blob once, however many proofs are to be made of it.
    pub fn new(blob: &'a [u8]) -> Self {
        let (hashes, root) = bao::encode::outboard(blob);
        Self { blob, hashes, root: ChunkId::from_bytes(*root.as_bytes()) }
    }

    /// The blob's BLAKE3 hash, as it is: proofs lead to this one.
    pub const fn root(&self) -> ChunkId {
        self.root
    }

    /// A proof that the blob is here, by the piece in which the byte at `offset` lies; `None` if there is no such
    /// byte, or the blob is longer than any that is kept.
    pub fn prove(&self, offset: u64) -> Option<Vec<u8>> {
        let len = self.blob.len() as u64;
        let (start, bytes) = piece(len, offset)?;
        let (blob, hashes) = (Cursor::new(self.blob), Cursor::new(&self.hashes[..]));
        let mut proof = Vec::with_capacity(proof_bytes_max(len));
        let mut slice = bao::encode::SliceExtractor::new_outboard(blob, hashes, start, bytes);
        slice.read_to_end(&mut proof).ok()?;
        Some(proof)
    }
}

/// Checks a proof by somebody else: that he has the piece of the blob with this root and length in which the byte at
/// `offset` lies. Any bytes are taken; all but the one right proof are refused.
pub fn verify(root: ChunkId, len: u64, offset: u64, proof: &[u8]) -> Result<(), ProofError> {
    let (start, bytes) = piece(len, offset).ok_or(ProofError::Outside)?;
    if proof.len() > PROOF_BYTES_MAX {
        return Err(ProofError::Wrong);
    }
    // The length is part of no hash on the way to most pieces: it is compared before it decides anything.
    if proof.first_chunk::<HEADER_BYTES>().map(|header| u64::from_le_bytes(*header)) != Some(len) {
        return Err(ProofError::Length);
    }
    let mut left = proof;
    let mut shown = [0; PROOF_PIECE_BYTES];
    let shown = &mut shown[..usize::try_from(bytes).map_err(|_| ProofError::Outside)?];
    let root = bao::Hash::from_bytes(*root.as_bytes());
    let read = bao::decode::SliceDecoder::new(&mut left, &root, start, bytes).read_exact(shown);
    if read.is_err() || !left.is_empty() {
        return Err(ProofError::Wrong);
    }
    Ok(())
}

/// Where the piece begins in which the byte at `offset` lies, and how many bytes it has.
fn piece(len: u64, offset: u64) -> Option<(u64, u64)> {
    let start = offset - offset % PROOF_PIECE_BYTES as u64;
    (offset < len && len <= MANIFEST_BYTES_MAX as u64)
        .then(|| (start, (len - start).min(PROOF_PIECE_BYTES as u64)))
}

/// Bytes of the longest proof about a blob of `len` bytes.
const fn proof_bytes_max(len: u64) -> usize {
    let pieces = len.div_ceil(PROOF_PIECE_BYTES as u64);
    let depth = if pieces > 1 { (pieces - 1).ilog2() + 1 } else { 0 };
    HEADER_BYTES + PARENT_BYTES * depth as usize + PROOF_PIECE_BYTES
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Bytes of which no two pieces are alike.
    fn blob(len: usize) -> Vec<u8> {
        let words = (0..len as u64 / 8 + 1).flat_map(|n| n.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes());
        words.take(len).collect()
    }

    fn proved(blob: &[u8], offset: u64) -> (ChunkId, Vec<u8>) {
        let prover = Prover::new(blob);
        (prover.root(), prover.prove(offset).unwrap())
    }

    #[test]
    fn a_proof_of_a_chunk_is_short_and_leads_to_its_id() {
        for (len, bytes) in
            [(1, 9), (1024, 1032), (1025, 8 + 64 + 1024), ((1 << 20) + 16, 1736), ((16 << 20) + 16, 1992)]
        {
            let blob = blob(len);
            let (root, proof) = proved(&blob, 0);
            assert_eq!((root, proof.len()), (ChunkId::of(&blob), bytes));
            assert_eq!(verify(root, len as u64, 0, &proof), Ok(()));
            assert!(proof.len() <= proof_bytes_max(len as u64));
        }
        assert_eq!(PROOF_BYTES_MAX, 8 + 17 * 64 + 1024);
    }

    #[test]
    fn every_changed_bit_of_a_proof_is_noticed() {
        let blob = blob(5000);
        for offset in [0, 2047, 4999] {
            let (root, proof) = proved(&blob, offset);
            for bit in 0..proof.len() * 8 {
                let mut changed = proof.clone();
                changed[bit / 8] ^= 1 << (bit % 8);
                assert!(verify(root, 5000, offset, &changed).is_err(), "bit {bit} of the proof for {offset}");
            }
        }
    }

    #[test]
    fn a_proof_is_of_one_blob_one_length_and_one_piece() {
        let blob = blob(5000);
        let (root, proof) = proved(&blob, 1500);
        assert_eq!(verify(root, 5000, 1024, &proof), Ok(()), "it is the same piece");
        assert_eq!(verify(root, 5000, 1023, &proof), Err(ProofError::Wrong));
        assert_eq!(verify(root, 5000, 2048, &proof), Err(ProofError::Wrong));
        assert_eq!(verify(root, 5000, 5000, &proof), Err(ProofError::Outside));
        // The way to this piece is the same in a blob that is a byte longer: the length is compared by itself.
        assert_eq!(verify(root, 5001, 1500, &proof), Err(ProofError::Length));
        let longer = [&5001_u64.to_le_bytes()[..], &proof[8..]].concat();
        assert_eq!(verify(root, 5000, 1500, &longer), Err(ProofError::Length));
        let mut other = blob.clone();
        other[4000] ^= 1;
        assert_eq!(verify(ChunkId::of(&other), 5000, 1500, &proof), Err(ProofError::Wrong));
    }

    #[test]
    fn nothing_is_proved_of_what_is_not_there() {
        assert_eq!(Prover::new(b"").prove(0), None);
        assert_eq!(Prover::new(b"abc").prove(3), None);
        assert_eq!(Prover::new(b"abc").prove(u64::MAX), None);
        let root = ChunkId::of(b"");
        for (len, offset) in [(0, 0), (0, u64::MAX), (u64::MAX, 0), (u64::MAX, u64::MAX - 1)] {
            let claim = [&len.to_le_bytes()[..], &[0; 2000]].concat();
            assert_eq!(verify(root, len, offset, &claim), Err(ProofError::Outside));
        }
    }

    #[test]
    fn a_blob_that_rotted_leads_elsewhere() {
        let mut blob = blob(3000);
        let id = ChunkId::of(&blob);
        blob[2999] ^= 4;
        let (root, proof) = proved(&blob, 0);
        assert_ne!(root, id);
        assert_eq!(verify(id, 3000, 0, &proof), Err(ProofError::Wrong), "the rot lies in another piece");
    }

    proptest! {
        #[test]
        fn whatever_is_there_can_be_proved_and_nothing_shorter_or_longer(
            len in 1usize..20_000, offset in 0u64..20_000, cut in 1usize..2000,
        ) {
            let blob = blob(len);
            let offset = offset % len as u64;
            let (root, proof) = proved(&blob, offset);
            prop_assert_eq!(verify(root, len as u64, offset, &proof), Ok(()));
            let short = &proof[..proof.len().saturating_sub(cut)];
            prop_assert!(verify(root, len as u64, offset, short).is_err());
            let long = [&proof[..], &vec![0; cut][..]].concat();
            prop_assert_eq!(verify(root, len as u64, offset, &long), Err(ProofError::Wrong));
        }

        #[test]
        fn any_bytes_are_refused(
            root: [u8; 32], len in 0u64..100_000_000, offset in 0u64..100_000_000,
            mut bytes in proptest::collection::vec(any::<u8>(), 0..2500), right_length: bool,
        ) {
            if right_length && bytes.len() >= 8 {
                bytes[..8].copy_from_slice(&len.to_le_bytes());
            }
            prop_assert!(verify(ChunkId::from_bytes(root), len, offset, &bytes).is_err());
        }
    }
}
