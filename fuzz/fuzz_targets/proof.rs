//! Any bytes are refused, but for the one proof of a blob's piece; and that one is taken as it is only.
#![no_main]

use libfuzzer_sys::fuzz_target;
use parcelry_core::id::ChunkId;
use parcelry_core::proof::{Prover, verify};

fuzz_target!(|input: (u64, u64, bool, Vec<u8>)| {
    let (len, offset, right_length, bytes) = input;
    let root = ChunkId::of(&bytes);
    // As it comes: no piece of anything leads to this root, for the root is of all the bytes.
    let mut claim = bytes.clone();
    if right_length && claim.len() >= 8 {
        claim[..8].copy_from_slice(&len.to_le_bytes());
    }
    assert!(verify(root, len, offset, &claim).is_err());
    // The same bytes as a blob, of which there is a proof.
    let blob_len = bytes.len() as u64;
    let Some(proof) = Prover::new(&bytes).prove(offset) else { return };
    assert!(verify(root, blob_len, offset, &proof).is_ok());
    let mut changed = proof;
    let position = usize::try_from(len % changed.len() as u64).expect("a position in memory");
    changed[position] ^= 1;
    assert!(verify(root, blob_len, offset, &changed).is_err());
});
