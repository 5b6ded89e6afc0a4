//! Makes records whole again that could not be read: the manifest from any copy, the terms from the tracker and every
//! holder that can be reached, the list of chunks from the manifest and the files.

use std::io;

use parcelry_core::api::{Blob, ManifestResponse};
use parcelry_core::id::ShareId;
use parcelry_core::limits::GONE_KEPT;
use parcelry_core::manifest::Manifest;
use parcelry_core::terms::{SignedTerms, Terms, TermsToken};

use super::Storage;
use crate::clock;

/// What others have of a share.
#[derive(Debug, Default)]
pub(in crate::peer) struct Sources {
    /// The manifest.
    pub(in crate::peer) manifest: Option<Manifest>,
    /// The terms, one of each source.
    pub(in crate::peer) terms: Vec<SignedTerms>,
}

impl Sources {
    /// What the tracker has. Nothing is believed but what the share's key signed.
    pub(in crate::peer) fn new(share: ShareId, manifest: Option<Blob>, terms: Option<TermsToken>) -> Self {
        let manifest = manifest.and_then(|manifest| Manifest::decode(manifest.0, share).ok());
        let terms = terms.and_then(|terms| SignedTerms::verify(&terms, share).ok());
        Self { manifest, terms: terms.into_iter().collect() }
    }

    /// Beside it what a holder has.
    pub(in crate::peer) fn and(mut self, share: ShareId, answer: ManifestResponse) -> Self {
        self.terms.extend(SignedTerms::verify(&answer.terms, share));
        self.manifest = self.manifest.or_else(|| Manifest::decode(answer.manifest.0, share).ok());
        self
    }
}

impl Storage {
    /// Makes a share's records whole with what others have of it. Returns whether they were not and are now.
    pub(in crate::peer) fn mend(&self, share: ShareId, sources: Sources) -> io::Result<bool> {
        if let Some(deletion) = sources.terms.iter().find(|terms| terms.deleted) {
            return self.put_terms(deletion.clone()).map(|_| false);
        }
        let alone = self.locks.lock(share);
        if !self.shares.is_damaged(share) {
            return self.agree(share, &sources.terms).map(|()| false);
        }
        // What could not be read at the start may be read now.
        let records = self.shares.records(share);
        let own = records.terms.good();
        let Some(manifest) = records.manifest.good().or(sources.manifest) else { return Ok(false) };
        let Some(terms) = newest(own.iter().chain(&sources.terms)) else { return Ok(false) };
        let is_sure = own.is_some() || agreeing(&terms, &sources.terms) >= 2;
        let unsettled_until_ms = (!is_sure).then(|| clock::ms_from_now(GONE_KEPT));
        let here = self.chunks.here(&manifest, records.chunks.good().as_ref());
        for index in here.iter() {
            self.chunks.add_ref(share, manifest.chunk(index));
        }
        self.shares.make_whole(&manifest, terms, here, unsettled_until_ms, records.token)?;
        drop(alone);
        // What waited for it to be known what is whose.
        self.finish_leaving().map(|()| true)
    }

    /// Takes over newer terms of a share whose own were lost, and settles them if two sources agree.
    fn agree(&self, share: ShareId, sources: &[SignedTerms]) -> io::Result<()> {
        let Some(held) = self.shares.get(share).filter(|held| held.unsettled_until_ms.is_some()) else {
            return Ok(());
        };
        let Some(terms) = newest(std::iter::once(&held.terms).chain(sources)) else { return Ok(()) };
        let is_sure = agreeing(&terms, sources) >= 2;
        self.shares.put_terms(terms)?;
        if is_sure { self.shares.settle(share) } else { Ok(()) }
    }
}

fn newest<'a>(terms: impl Iterator<Item = &'a SignedTerms>) -> Option<SignedTerms> {
    terms.max_by_key(|terms| terms.issued_ms).cloned()
}

fn agreeing(terms: &Terms, sources: &[SignedTerms]) -> usize {
    sources.iter().filter(|&source| **source == *terms).count()
}
