//! Receipts: what a peer signs when it has chunks of a share, verified, on stable storage.
//!
//! A PASETO v4.public token signed by the peer's identity key. The key stands in it, and its fingerprint is the
//! peer's id: nobody else can say that this peer has taken something. Whether it still has it is for audits to find
//! out.

use std::collections::BTreeMap;
use std::fmt;

use ed25519_dalek::SigningKey;
use serde::{Deserialize, Serialize};

use crate::chunk_set::ChunkSet;
use crate::id::{ChunkId, PeerId, PublicKey, Secret, ShareId};
use crate::limits::{RECEIPT_BYTES_MAX, RECEIPT_RUNS_MAX, RECEIPTS_MAX};
use crate::manifest::Manifest;
use crate::paseto;

/// Binds the token to its purpose (PASETO implicit assertion).
const PURPOSE: &[u8] = b"parcelry/1 receipt";

/// What a peer confirms.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Receipt {
    /// The peer's public key.
    pub key: PublicKey,
    /// The share.
    pub share: ShareId,
    /// The BLAKE3 hash of its encoded manifest.
    pub manifest: ChunkId,
    /// The chunks, as runs in ascending order: the index of the first, and how many there are.
    pub chunks: Vec<(u32, u32)>,
    /// When it was given: milliseconds since the Unix epoch, by the peer's clock.
    pub issued_ms: u64,
}

/// Why something is no receipt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ReceiptError {
    /// Not a token of this kind, or longer than any.
    #[error("it is not a receipt")]
    Token,
    /// The signature is not of the key that it names.
    #[error("its signature is not of the key that it names")]
    Signature,
    /// It is about another share, another manifest, or chunks that the share does not have.
    #[error("it is about something else")]
    Other,
}

/// Why receipts do not show that a share is where it is to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TooLittle {
    /// More than any share needs.
    #[error("there are more receipts than any share needs")]
    TooMany,
    /// One of them is none.
    #[error("receipt {number} does not count: {error}")]
    Receipt {
        /// Which of them, counted from 0.
        number: usize,
        /// Why it does not count.
        error: ReceiptError,
    },
    /// One is of a peer that was not to hold any of it.
    #[error("receipt {number} is of a peer that the grant does not name")]
    Stranger {
        /// Which of them, counted from 0.
        number: usize,
    },
    /// A chunk is at fewer peers than the terms ask for.
    #[error("chunk {chunk} has receipts of {peers} peers, and the terms ask for {wanted}")]
    Chunk {
        /// The chunk's index.
        chunk: u32,
        /// Different peers that have it.
        peers: usize,
        /// Peers that are to have it.
        wanted: usize,
    },
    /// The manifest is at fewer peers than the terms ask for.
    #[error("there are receipts of {peers} peers, and the terms ask for {wanted}")]
    Peers {
        /// Different peers that have it.
        peers: usize,
        /// Peers that are to have it.
        wanted: usize,
    },
}

/// The identity key of a peer, which signs receipts.
pub struct PeerKey(SigningKey);

impl PeerKey {
    /// The key pair with this seed (RFC 8032 private key).
    pub fn from_seed(seed: &Secret) -> Self {
        Self(SigningKey::from_bytes(seed.expose()))
    }

    /// The public half.
    pub fn public(&self) -> PublicKey {
        PublicKey::from_bytes(self.0.verifying_key().to_bytes())
    }

    /// A receipt for chunks of the share with this manifest; `None` if they are more runs than a receipt has.
    pub fn receipt(
        &self,
        share: ShareId,
        manifest: ChunkId,
        chunks: &ChunkSet,
        now_ms: u64,
    ) -> Option<String> {
        let receipt =
            Receipt { key: self.public(), share, manifest, chunks: runs(chunks)?, issued_ms: now_ms };
        Some(paseto::sign(&self.0, &receipt, PURPOSE))
    }
}

impl fmt::Debug for PeerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PeerKey({:?})", self.public())
    }
}

impl Receipt {
    /// Reads a receipt and checks that the key that it names has signed it.
    pub fn verify(token: &str) -> Result<Self, ReceiptError> {
        let claimed: Self = paseto::peek(token, RECEIPT_BYTES_MAX).map_err(|_| ReceiptError::Token)?;
        let verified = paseto::verify(token, claimed.key.as_bytes(), PURPOSE, RECEIPT_BYTES_MAX);
        verified.map_err(|_| ReceiptError::Signature)
    }

    /// The peer that gave it.
    pub fn peer(&self) -> PeerId {
        self.key.peer()
    }

    /// The chunks that it confirms, if it is about this share, manifest and number of chunks.
    pub fn confirms(
        &self,
        share: ShareId,
        manifest: ChunkId,
        chunk_count: u32,
    ) -> Result<ChunkSet, ReceiptError> {
        if self.share != share || self.manifest != manifest || self.chunks.len() > RECEIPT_RUNS_MAX {
            return Err(ReceiptError::Other);
        }
        let mut chunks = ChunkSet::empty(chunk_count);
        let mut end = 0;
        for &(first, count) in &self.chunks {
            let last =
                first.checked_add(count).filter(|last| *last <= chunk_count && first >= end && count > 0);
            end = last.ok_or(ReceiptError::Other)?;
            chunks = chunks.plus(&ChunkSet::range(chunk_count, first..end));
        }
        Ok(chunks)
    }
}

/// Who holds what of a share, by the receipts of different peers: at least `replicas` for each chunk, and for the
/// manifest.
pub fn holders(
    receipts: &[String],
    manifest: &Manifest,
    replicas: u8,
    may_hold: impl Fn(PeerId) -> bool,
) -> Result<Vec<(PeerId, ChunkSet)>, TooLittle> {
    if receipts.len() > RECEIPTS_MAX {
        return Err(TooLittle::TooMany);
    }
    let (digest, chunk_count) = (manifest.digest(), manifest.geometry().chunk_count());
    let mut holders = BTreeMap::<PeerId, ChunkSet>::new();
    for (number, token) in receipts.iter().enumerate() {
        let none = |error| TooLittle::Receipt { number, error };
        let receipt = Receipt::verify(token).map_err(none)?;
        let chunks = receipt.confirms(manifest.share(), digest, chunk_count).map_err(none)?;
        if !may_hold(receipt.peer()) {
            return Err(TooLittle::Stranger { number });
        }
        let held = holders.entry(receipt.peer()).or_insert_with(|| ChunkSet::empty(chunk_count));
        // Several receipts of one peer add up, and count as one holder.
        *held = held.plus(&chunks);
    }
    let wanted = usize::from(replicas);
    if holders.len() < wanted {
        return Err(TooLittle::Peers { peers: holders.len(), wanted });
    }
    let short = at_least(wanted, chunk_count, holders.values()).first_missing(0);
    if let Some(index) = short {
        let peers = holders.values().filter(|chunks| chunks.contains(index)).count();
        return Err(TooLittle::Chunk { chunk: index.get(), peers, wanted });
    }
    Ok(holders.into_iter().collect())
}

/// The chunks that are in at least `wanted` of the sets.
fn at_least<'a>(wanted: usize, chunk_count: u32, sets: impl Iterator<Item = &'a ChunkSet>) -> ChunkSet {
    // What is in one set at least, in two, and so on; each set adds to the first what is new there, and to the next
    // what is not. Sets are added as a whole: a share has up to a million chunks.
    let mut layers = vec![ChunkSet::empty(chunk_count); wanted];
    for set in sets {
        let mut rest = set.clone();
        for layer in &mut layers {
            let new = rest.minus(layer);
            rest = rest.minus(&new);
            *layer = layer.plus(&new);
            if rest.is_empty() {
                break;
            }
        }
    }
    layers.pop().unwrap_or_else(|| ChunkSet::full(chunk_count))
}

/// The set as runs; `None` if they are too many.
fn runs(chunks: &ChunkSet) -> Option<Vec<(u32, u32)>> {
    let mut runs: Vec<(u32, u32)> = Vec::new();
    for index in chunks.iter() {
        match runs.last_mut() {
            Some((first, count)) if *first + *count == index.get() => *count += 1,
            _ => runs.push((index.get(), 1)),
        }
        if runs.len() > RECEIPT_RUNS_MAX {
            return None;
        }
    }
    Some(runs)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::geometry::{ChunkSize, Geometry};
    use crate::manifest::{Draft, ShareKey};
    use crate::seal::{Header, ShareKeys};
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn key(number: u8) -> PeerKey {
        PeerKey::from_seed(&Secret::from_bytes([number; 32]))
    }

    fn manifest(chunk_count: u32) -> Manifest {
        let chunk_size = ChunkSize::from_log2(16).unwrap();
        let geometry = Geometry::new(u64::from(chunk_count) << 16, chunk_size).unwrap();
        let key = ShareKey::from_seed(&Secret::from_bytes([7; 32]));
        let keys = ShareKeys::derive(&Secret::from_bytes([1; 32]), &[2; 32], Header { chunk_size });
        let ids: Vec<ChunkId> =
            geometry.indices().map(|index| ChunkId::of(&index.get().to_be_bytes())).collect();
        Draft::new(&key, &keys, &[2; 32], geometry, &ids).finish(&key, &keys, b"{}")
    }

    fn receipt(number: u8, manifest: &Manifest, chunks: &ChunkSet) -> String {
        key(number).receipt(manifest.share(), manifest.digest(), chunks, 9).unwrap()
    }

    #[test]
    fn a_receipt_tells_who_has_what() {
        let manifest = manifest(9);
        let chunks = ChunkSet::range(9, 2..5).plus(&ChunkSet::range(9, 8..9));
        let read = Receipt::verify(&receipt(1, &manifest, &chunks)).unwrap();
        assert_eq!((read.chunks.as_slice(), read.issued_ms), (&[(2, 3), (8, 1)][..], 9));
        assert_eq!(*read.peer().as_bytes(), crate::id::key_fingerprint(key(1).public().as_bytes()));
        assert_eq!(read.confirms(manifest.share(), manifest.digest(), 9), Ok(chunks));
        let other = ChunkId::of(b"other");
        assert_eq!(read.confirms(manifest.share(), other, 9), Err(ReceiptError::Other));
        assert_eq!(
            read.confirms(ShareId::from_bytes([1; 32]), manifest.digest(), 9),
            Err(ReceiptError::Other)
        );
        assert_eq!(read.confirms(manifest.share(), manifest.digest(), 8), Err(ReceiptError::Other));
    }

    #[test]
    fn nobody_gives_a_receipt_in_the_name_of_another() {
        let manifest = manifest(1);
        let claims = Receipt {
            key: key(1).public(),
            share: manifest.share(),
            manifest: manifest.digest(),
            chunks: vec![(0, 1)],
            issued_ms: 9,
        };
        for (signer, purpose) in
            [(key(2), PURPOSE), (key(1), b"parcelry/1 grant"), (key(1), b"parcelry/1 terms")]
        {
            let token = paseto::sign(&signer.0, &claims, purpose);
            assert_eq!(Receipt::verify(&token), Err(ReceiptError::Signature));
        }
        let token = paseto::sign(&key(1).0, &claims, PURPOSE);
        assert_eq!(Receipt::verify(&token), Ok(claims));
        let body = token.strip_prefix("v4.public.").unwrap();
        for wrong in
            [format!("v3.public.{body}"), format!("{token}.Zm9vdGVy"), String::new(), "x".repeat(9999)]
        {
            assert!(Receipt::verify(&wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn runs_that_are_none_confirm_nothing() {
        let manifest = manifest(9);
        for chunks in [vec![(0, 10)], vec![(9, 1)], vec![(0, 0)], vec![(3, 2), (4, 1)], vec![(u32::MAX, 2)]] {
            let claims = Receipt {
                key: key(1).public(),
                share: manifest.share(),
                manifest: manifest.digest(),
                chunks: chunks.clone(),
                issued_ms: 9,
            };
            let confirmed = claims.confirms(manifest.share(), manifest.digest(), 9);
            assert_eq!(confirmed, Err(ReceiptError::Other), "{chunks:?}");
        }
    }

    #[test]
    fn every_chunk_needs_receipts_of_as_many_different_peers_as_the_terms_ask_for() {
        let manifest = manifest(4);
        let full = ChunkSet::full(4);
        let (first, second) = (ChunkSet::range(4, 0..2), ChunkSet::range(4, 2..4));
        let held = |tokens: &[String]| holders(tokens, &manifest, 2, |peer| peer != key(9).public().peer());
        let one = receipt(1, &manifest, &full);
        let found =
            held(&[one.clone(), receipt(2, &manifest, &first), receipt(3, &manifest, &second)]).unwrap();
        assert_eq!(found.len(), 3);
        let halves = [one.clone(), receipt(2, &manifest, &first), receipt(2, &manifest, &second)];
        assert_eq!(held(&halves).unwrap().len(), 2, "two receipts of one peer count together");
        let twice = [one.clone(), one.clone()];
        assert_eq!(held(&twice), Err(TooLittle::Peers { peers: 1, wanted: 2 }), "one peer is one");
        let gap = [one.clone(), receipt(2, &manifest, &first)];
        assert_eq!(held(&gap), Err(TooLittle::Chunk { chunk: 2, peers: 1, wanted: 2 }));
        assert_eq!(held(&[]), Err(TooLittle::Peers { peers: 0, wanted: 2 }));
        let stranger = [one.clone(), receipt(9, &manifest, &full)];
        assert_eq!(held(&stranger), Err(TooLittle::Stranger { number: 1 }));
        let elsewhere = key(2).receipt(manifest.share(), ChunkId::of(b"x"), &full, 9).unwrap();
        let error = ReceiptError::Other;
        assert_eq!(held(&[one.clone(), elsewhere]), Err(TooLittle::Receipt { number: 1, error }));
        assert_eq!(held(&vec![one; RECEIPTS_MAX + 1]), Err(TooLittle::TooMany));
    }

    #[test]
    fn an_empty_share_needs_them_for_its_manifest() {
        let manifest = manifest(0);
        let none = ChunkSet::empty(0);
        let held = |tokens: &[String]| holders(tokens, &manifest, 2, |_| true).map(|held| held.len());
        assert_eq!(held(&[receipt(1, &manifest, &none), receipt(2, &manifest, &none)]), Ok(2));
        assert_eq!(held(&[receipt(1, &manifest, &none)]), Err(TooLittle::Peers { peers: 1, wanted: 2 }));
    }

    #[test]
    fn a_receipt_is_short_whatever_it_confirms() {
        let every_other = |count: u32| {
            let geometry = Geometry::new(u64::from(count) << 16, ChunkSize::from_log2(16).unwrap()).unwrap();
            ChunkSet::of(count, geometry.indices().skip(count as usize - 1 - 2 * RECEIPT_RUNS_MAX).step_by(2))
        };
        let (share, digest) = (ShareId::from_bytes([255; 32]), ChunkId::from_bytes([255; 32]));
        assert_eq!(key(1).receipt(share, digest, &every_other(1 << 20), u64::MAX), None, "one run too many");
        let mut chunks = every_other(1 << 20);
        let last = chunks.iter().last().unwrap();
        chunks.remove(last);
        let token = key(1).receipt(share, digest, &chunks, u64::MAX).unwrap();
        assert!(token.len() <= RECEIPT_BYTES_MAX, "{}", token.len());
        assert!(Receipt::verify(&token).is_ok());
    }

    proptest! {
        #[test]
        fn any_set_is_told_in_runs(members in proptest::collection::btree_set(0u32..90, 0..40)) {
            let geometry = Geometry::new(90 << 16, ChunkSize::from_log2(16).unwrap()).unwrap();
            let chunks = ChunkSet::of(90, members.iter().filter_map(|&index| geometry.index(index)));
            let (share, digest) = (ShareId::from_bytes([1; 32]), ChunkId::of(b"x"));
            let receipt = Receipt::verify(&key(1).receipt(share, digest, &chunks, 1).unwrap()).unwrap();
            let told = receipt.confirms(share, digest, 90).unwrap();
            prop_assert_eq!(told.iter().map(|index| index.get()).collect::<BTreeSet<_>>(), members);
        }

        #[test]
        fn any_text_is_refused(text in "(v4\\.public\\.)?[A-Za-z0-9_.-]{0,300}") {
            prop_assert!(Receipt::verify(&text).is_err());
        }

        #[test]
        fn a_changed_character_is_noticed(position in 0usize..1000, with in "[A-Za-z0-9]") {
            let token = receipt(1, &manifest(3), &ChunkSet::full(3));
            let position = position % token.len();
            let mut changed = token.clone();
            changed.replace_range(position..=position, &with);
            prop_assume!(changed != token);
            prop_assert!(Receipt::verify(&changed).is_err());
        }
    }
}
