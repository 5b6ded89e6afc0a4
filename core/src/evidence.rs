//! What peers are asked to prove, and how they answer.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::api::Blob;
use crate::chunk_set::ChunkSet;
use crate::geometry::ChunkIndex;
use crate::id::{ChunkId, ShareId};
use crate::limits::AUDIT_BYTES_MAX;
use crate::manifest::Manifest;
use crate::proof;

/// `POST /v1/audits` at a peer: prove that these are here.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AuditRequest {
    /// What is to be proved; at most 64.
    pub samples: Vec<Sample>,
    /// Whether whoever asks wants to let go of it: who proves it keeps it for a day.
    #[serde(default)]
    pub for_drop: bool,
}

/// A byte of a chunk or manifest, whose piece somebody is asked to show.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Sample {
    /// The chunk's id, or the BLAKE3 hash of an encoded manifest.
    pub root: ChunkId,
    /// If it is a manifest: the share's.
    pub share: Option<ShareId>,
    /// Where the byte is, counted from 0.
    pub offset: u64,
}

/// Answer to an audit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AuditResponse {
    /// One for each sample, in their order.
    pub proofs: Vec<Proof>,
}

/// What a peer shows for a sample.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Proof {
    /// The proof; none: the peer does not have what the sample is of.
    pub slice: Option<Blob>,
}

/// What an answer about one sample shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is there.
    Proven,
    /// The peer says that it is not there.
    NotHeld,
    /// What was shown is not the sample's piece: the peer does not have it, or other bytes.
    Wrong,
}

impl Proof {
    /// What the answer shows about a sample of something of `len` bytes.
    pub fn judge(&self, sample: &Sample, len: u64) -> Verdict {
        match &self.slice {
            None => Verdict::NotHeld,
            Some(slice) if proof::verify(sample.root, len, sample.offset, &slice.0).is_ok() => {
                Verdict::Proven
            }
            Some(_) => Verdict::Wrong,
        }
    }
}

/// A sample, and how many bytes what it is of has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Question {
    /// What the peer is asked.
    pub sample: Sample,
    /// Bytes of the chunk or manifest.
    pub len: u64,
}

/// What to ask a peer that says to hold these chunks of a share: some of them and the manifest, each at a byte by
/// chance. `below` gives a random number below the one that it is given.
pub fn questions(
    manifest: &Manifest,
    chunks: &ChunkSet,
    count: usize,
    mut below: impl FnMut(u64) -> u64,
) -> Vec<Question> {
    let (geometry, mut left) = (manifest.geometry(), AUDIT_BYTES_MAX);
    let mut asked = Vec::new();
    let mut ask = |root, share, len: u64, below: &mut dyn FnMut(u64) -> u64| {
        // A larger blob has room by itself.
        if len <= left || left == AUDIT_BYTES_MAX {
            left = left.saturating_sub(len);
            asked.push(Question { sample: Sample { root, share, offset: below(len) }, len });
        }
    };
    let held: Vec<ChunkIndex> = chunks.iter().collect();
    let mut chosen = BTreeSet::new();
    for _ in 0..count.min(held.len()) {
        let position = usize::try_from(below(held.len() as u64)).unwrap_or(0);
        // A few of few: those that come twice are asked once.
        if let Some(&index) = held.get(position)
            && chosen.insert(index)
        {
            ask(manifest.chunk(index), None, geometry.sealed_len(index) as u64, &mut below);
        }
    }
    ask(manifest.digest(), Some(manifest.share()), manifest.encoded().len() as u64, &mut below);
    asked
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::{AUDIT_SAMPLES_MAX, JSON_BODY_BYTES_MAX};
    use crate::proof::{PROOF_BYTES_MAX, Prover};

    #[test]
    fn only_the_samples_own_piece_proves_anything() {
        let blob = vec![7; 3000];
        let sample = Sample { root: ChunkId::of(&blob), share: None, offset: 2999 };
        let slice = Prover::new(&blob).prove(2999).map(Blob);
        let proof = Proof { slice };
        assert_eq!(proof.judge(&sample, 3000), Verdict::Proven);
        assert_eq!(proof.judge(&sample, 3001), Verdict::Wrong);
        assert_eq!(proof.judge(&Sample { offset: 0, ..sample }, 3000), Verdict::Wrong);
        assert_eq!(Proof { slice: None }.judge(&sample, 3000), Verdict::NotHeld);
        assert_eq!(Proof { slice: Some(Blob(Vec::new())) }.judge(&sample, 3000), Verdict::Wrong);
    }

    #[test]
    fn the_largest_audit_and_its_answer_are_ordinary_bodies() {
        let sample = Sample {
            root: ChunkId::from_bytes([255; 32]),
            share: Some(ShareId::from_bytes([255; 32])),
            offset: u64::MAX,
        };
        let request = AuditRequest { samples: vec![sample; AUDIT_SAMPLES_MAX], for_drop: true };
        let proof = Proof { slice: Some(Blob(vec![255; PROOF_BYTES_MAX])) };
        let response = AuditResponse { proofs: vec![proof; AUDIT_SAMPLES_MAX] };
        assert!(serde_json::to_vec(&request).unwrap().len() <= JSON_BODY_BYTES_MAX);
        assert!(serde_json::to_vec(&response).unwrap().len() <= JSON_BODY_BYTES_MAX);
    }
}
