//! Proofs that somebody has a blob: a piece of it with the hashes that lead up to its BLAKE3 hash.
//!
//! BLAKE3 is a tree over pieces of 1 KiB, and a chunk's id is its root. A **sample** names a byte; the **proof** is
//! the piece in which the byte lies and, from the root downwards, the pair of hashes below each node on the way to it
//! (a *slice* of [Bao](https://github.com/oconnor663/bao/blob/master/docs/spec.md)). Nothing needs to be prepared or
//! kept for it, and whoever checks it needs the root and the length only. To make one takes reading the whole blob.

// Bytes in memory, no input: `bao` reads by it.
use std::io::Read as _;

use blake3::Hasher;
use blake3::hazmat::{
    ChainingValue, HasherExt as _, Mode, left_subtree_len, merge_subtrees_non_root, merge_subtrees_root,
};

use crate::id::ChunkId;
use crate::limits::{MANIFEST_BYTES_MAX, PROOF_PIECE_BYTES};

/// Bytes of the length that a proof begins with.
const HEADER_BYTES: usize = 8;
/// Bytes of the two hashes below a node.
const PARENT_BYTES: usize = 64;
/// Bytes of the subtrees that are hashed as a whole, several pieces at once, which takes a fraction of the time. The hashes
/// within one are made again for each proof.
const GROUP_BYTES: usize = 16 * PROOF_PIECE_BYTES;

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

/// The hashes of the two subtrees below a node.
type Pair = [ChainingValue; 2];

/// A blob in memory with its inner hashes, from which proofs are cut.
pub struct Prover<'a> {
    blob: &'a [u8],
    /// Those below the nodes that are larger than a group, each before those further down.
    pairs: Vec<Pair>,
    root: ChunkId,
}

impl<'a> Prover<'a> {
    /// Hashes the blob once, however many proofs are to be made of it.
    pub fn new(blob: &'a [u8]) -> Self {
        if blob.len() <= GROUP_BYTES {
            return Self { blob, pairs: Vec::new(), root: ChunkId::of(blob) };
        }
        let mut pairs = Vec::with_capacity(blob.len() / GROUP_BYTES);
        let [left, right] = hash_halves(blob, 0, &mut pairs);
        let root = merge_subtrees_root(&left, &right, Mode::Hash);
        Self { blob, pairs, root: ChunkId::from_bytes(*root.as_bytes()) }
    }

    /// The blob's BLAKE3 hash, as it is: proofs lead to this one.
    pub const fn root(&self) -> ChunkId {
        self.root
    }

    /// A proof that the blob is here, by the piece in which the byte at `offset` lies; `None` if there is no such
    /// byte, or the blob is longer than any that is kept.
    pub fn prove(&self, offset: u64) -> Option<Vec<u8>> {
        let len = self.blob.len() as u64;
        let start = usize::try_from(piece(len, offset)?.0).ok()?;
        let mut proof = Vec::with_capacity(proof_bytes_max(len));
        proof.extend_from_slice(&len.to_le_bytes());
        // The subtree with the piece, where it begins, and the place of the pair below it.
        let (mut subtree, mut begins, mut place) = (self.blob, 0, 0);
        while subtree.len() > PROOF_PIECE_BYTES {
            let (left, right) = halves(subtree);
            let middle = begins + left.len();
            let pair = if subtree.len() > GROUP_BYTES {
                self.pairs[place]
            } else {
                [hash_group(left, begins), hash_group(right, middle)]
            };
            proof.extend_from_slice(pair.as_flattened());
            (subtree, begins, place) = if start < middle {
                (left, begins, place + 1)
            } else {
                // The left half has a pair less than it has groups.
                (right, middle, place + left.len().div_ceil(GROUP_BYTES))
            };
        }
        proof.extend_from_slice(subtree);
        Some(proof)
    }
}

/// Hashes the two halves of a subtree that is larger than a group. All pairs that are to be kept of it go to `pairs`.
fn hash_halves(subtree: &[u8], begins: usize, pairs: &mut Vec<Pair>) -> Pair {
    let place = pairs.len();
    pairs.push(Pair::default());
    let (left, right) = halves(subtree);
    let pair = [hash_subtree(left, begins, pairs), hash_subtree(right, begins + left.len(), pairs)];
    pairs[place] = pair;
    pair
}

fn hash_subtree(subtree: &[u8], begins: usize, pairs: &mut Vec<Pair>) -> ChainingValue {
    if subtree.len() <= GROUP_BYTES {
        return hash_group(subtree, begins);
    }
    let [left, right] = hash_halves(subtree, begins, pairs);
    merge_subtrees_non_root(&left, &right, Mode::Hash)
}

/// The hash of a group or a subtree of one, which begins at this byte of the blob and is not all of it.
fn hash_group(subtree: &[u8], begins: usize) -> ChainingValue {
    Hasher::new().set_input_offset(begins as u64).update(subtree).finalize_non_root()
}

/// The halves of a subtree that is larger than a piece: the left one is complete, and has as much as the right one at
/// least.
fn halves(subtree: &[u8]) -> (&[u8], &[u8]) {
    let left = left_subtree_len(subtree.len() as u64);
    subtree.split_at(usize::try_from(left).expect("less than there are bytes in memory"))
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
    use bao::encode::{SliceExtractor, outboard};
    use proptest::prelude::*;
    use std::io::Cursor;

    /// Bytes of which no two pieces are alike.
    fn blob(len: usize) -> Vec<u8> {
        let words = (0..len as u64 / 8 + 1).flat_map(|n| n.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes());
        words.take(len).collect()
    }

    fn proved(blob: &[u8], offset: u64) -> (ChunkId, Vec<u8>) {
        let prover = Prover::new(blob);
        (prover.root(), prover.prove(offset).unwrap())
    }

    /// Compares root and proofs with what `bao` makes of the same blob.
    #[track_caller]
    fn are_as_bao_makes_them(blob: &[u8], offsets: impl IntoIterator<Item = u64>) {
        let (prover, (hashes, root)) = (Prover::new(blob), outboard(blob));
        assert_eq!(prover.root().as_bytes(), root.as_bytes(), "the root of {} bytes", blob.len());
        for offset in offsets {
            let (start, bytes) = piece(blob.len() as u64, offset).unwrap();
            let (input, hashes) = (Cursor::new(blob), Cursor::new(&hashes[..]));
            let mut slice = SliceExtractor::new_outboard(input, hashes, start, bytes);
            let mut expected = Vec::new();
            std::io::Read::read_to_end(&mut slice, &mut expected).unwrap();
            assert!(prover.prove(offset) == Some(expected), "byte {offset} of {}", blob.len());
        }
    }

    #[test]
    fn proofs_are_the_slices_that_bao_cuts() {
        let powers = (1..=7).map(|log2| PROOF_PIECE_BYTES << log2).chain([1 << 20]);
        let near = powers.chain([PROOF_PIECE_BYTES]).flat_map(|len| [len - 1, len, len + 1]);
        for len in near.chain([0, 1, 2, 3 * GROUP_BYTES, 5 * GROUP_BYTES + 1, (1 << 20) + 16]) {
            let pieces = (0..len as u64).step_by(PROOF_PIECE_BYTES);
            are_as_bao_makes_them(&blob(len), pieces.chain((len as u64).checked_sub(1)));
        }
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
        fn proofs_of_any_length_are_the_slices_that_bao_cuts(
            len in 1usize..300_000, offsets in proptest::collection::vec(any::<u64>(), 1..20),
        ) {
            are_as_bao_makes_them(&blob(len), offsets.into_iter().map(|offset| offset % len as u64));
        }

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
