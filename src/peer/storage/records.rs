//! The records of one share on disk. Each shows by itself whether it is whole: manifest and terms by the owner's
//! signature, the list of chunks by a checksum. What cannot be read is another thing than what is not there.
//!
//! ```text
//! manifest    the manifest, verbatim
//! terms       the newest signed terms
//! chunks      the text form of the set of chunks held here, a space and the id of the token that is charged with them
//!             unless there is none, a line feed, the BLAKE3 of all of it in hex, a line feed
//! unsettled   nothing of the share expires before this time (milliseconds since the Unix epoch): its terms were lost,
//!             and only one source had any
//! withheld    nothing: if it is there, the share is kept and not served, for the tracker's operator took it down
//! ```

use std::fs;
use std::io;
use std::path::Path;

use parcelry_core::chunk_set::ChunkSet;
use parcelry_core::id::ShareId;
use parcelry_core::manifest::Manifest;
use parcelry_core::terms::SignedTerms;
use parcelry_core::token::TokenId;

use crate::disk::durable;

const MANIFEST: &str = "manifest";
const TERMS: &str = "terms";
const CHUNKS: &str = "chunks";
const UNSETTLED: &str = "unsettled";
const WITHHELD: &str = "withheld";

/// What is at the place of a record.
#[derive(Debug)]
pub(super) enum Record<T> {
    /// The record.
    Good(T),
    /// Nothing.
    Absent,
    /// Something that cannot be read, or is not the record.
    Damaged,
}

/// The records of a share, as they were found.
#[derive(Debug)]
pub(super) struct Records {
    pub(super) manifest: Record<Manifest>,
    pub(super) terms: Record<SignedTerms>,
    pub(super) chunks: Record<ChunkSet>,
    /// Who is charged with them, as far as that can be read.
    pub(super) token: Option<TokenId>,
    pub(super) unsettled_until_ms: Option<u64>,
}

impl<T> Record<T> {
    fn of(read: io::Result<Vec<u8>>, parse: impl FnOnce(Vec<u8>) -> Option<T>) -> Self {
        match read {
            Ok(bytes) => parse(bytes).map_or(Self::Damaged, Self::Good),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Self::Absent,
            Err(_) => Self::Damaged,
        }
    }

    /// The record, if it is good.
    pub(super) fn good(self) -> Option<T> {
        match self {
            Self::Good(record) => Some(record),
            Self::Absent | Self::Damaged => None,
        }
    }

    /// Whether nothing is there.
    pub(super) fn is_absent(&self) -> bool {
        matches!(self, Self::Absent)
    }
}

impl Records {
    /// Reads what is in a share's directory.
    pub(super) fn read(directory: &Path, share: ShareId) -> Self {
        let read = |name| fs::read(directory.join(name));
        let text = |bytes| String::from_utf8(bytes).ok();
        let manifest: Record<Manifest> =
            Record::of(read(MANIFEST), |bytes| Manifest::decode(bytes, share).ok());
        let mut token = None;
        let mut chunks = Record::of(read(CHUNKS), |bytes| {
            let bytes = text(bytes)?;
            // A list that is made again is charged as it was.
            token = bytes.lines().next().and_then(|line| line.split_once(' ')?.1.parse().ok());
            parse_chunks(&bytes)
        });
        if let (Record::Good(manifest), Record::Good(set)) = (&manifest, &chunks)
            && manifest.geometry().chunk_count() != set.chunk_count()
        {
            chunks = Record::Damaged;
        }
        let unsettled = Record::of(read(UNSETTLED), |bytes| text(bytes)?.trim_end().parse().ok());
        Self {
            manifest,
            token,
            terms: Record::of(read(TERMS), |bytes| SignedTerms::verify(&text(bytes)?, share).ok()),
            chunks,
            unsettled_until_ms: match unsettled {
                Record::Absent => None,
                // A note that cannot be read may have named any time.
                found => Some(found.good().unwrap_or(u64::MAX)),
            },
        }
    }
}

/// Whether the records of a share in this directory can all be read.
#[cfg(test)]
pub(in crate::peer) fn are_readable(directory: &Path, share: ShareId) -> bool {
    let Records { manifest, terms, chunks, .. } = Records::read(directory, share);
    manifest.good().is_some() && terms.good().is_some() && chunks.good().is_some()
}

fn parse_chunks(text: &str) -> Option<ChunkSet> {
    let (line, checksum) = text.strip_suffix('\n')?.split_once('\n')?;
    if checksum_of(line) != checksum {
        return None;
    }
    ChunkSet::parse(line.split_once(' ').map_or(line, |(set, _)| set))
}

fn checksum_of(line: &str) -> String {
    blake3::hash(format!("{line}\n").as_bytes()).to_hex().to_string()
}

/// Writes which chunks of a share are held, and who is charged with them.
pub(super) fn write_chunks(directory: &Path, chunks: &ChunkSet, token: Option<TokenId>) -> io::Result<()> {
    let line = token.map_or_else(|| chunks.to_string(), |token| format!("{chunks} {token}"));
    durable::persist(&directory.join(CHUNKS), format!("{line}\n{}\n", checksum_of(&line)).as_bytes())
}

/// Writes the terms of a share.
pub(super) fn write_terms(directory: &Path, terms: &SignedTerms) -> io::Result<()> {
    durable::persist(&directory.join(TERMS), terms.token.as_bytes())
}

/// Writes the manifest of a share.
pub(super) fn write_manifest(directory: &Path, manifest: &Manifest) -> io::Result<()> {
    durable::persist(&directory.join(MANIFEST), manifest.encoded())
}

/// Reads the manifest of a share; [`io::ErrorKind::InvalidData`]: it is damaged.
pub(super) fn read_manifest(directory: &Path, share: ShareId) -> io::Result<Manifest> {
    let invalid = |error| io::Error::new(io::ErrorKind::InvalidData, error);
    Manifest::decode(fs::read(directory.join(MANIFEST))?, share).map_err(invalid)
}

/// Notes until when nothing of a share expires; none: its terms are settled.
pub(super) fn write_unsettled(directory: &Path, until_ms: Option<u64>) -> io::Result<()> {
    match until_ms {
        Some(until_ms) => durable::persist(&directory.join(UNSETTLED), format!("{until_ms}\n").as_bytes()),
        None => remove(directory, UNSETTLED),
    }
}

/// Whether a share is not to be served.
pub(super) fn is_withheld(directory: &Path) -> bool {
    fs::symlink_metadata(directory.join(WITHHELD)).is_ok()
}

/// Notes whether a share is not to be served.
pub(super) fn write_withheld(directory: &Path, is_withheld: bool) -> io::Result<()> {
    if is_withheld { durable::persist(&directory.join(WITHHELD), b"") } else { remove(directory, WITHHELD) }
}

fn remove(directory: &Path, name: &str) -> io::Result<()> {
    match fs::remove_file(directory.join(name)) {
        Ok(()) => durable::sync_directory(directory),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s5_every_flipped_bit_of_the_list_of_chunks_is_seen() {
        let directory = tempfile::tempdir().unwrap();
        let set = ChunkSet::range(77, 3..60);
        let token = TokenId::from_bytes([7; 8]);
        write_chunks(directory.path(), &set, Some(token)).unwrap();
        let path = directory.path().join(CHUNKS);
        let good = fs::read(&path).unwrap();
        assert_eq!(parse_chunks(std::str::from_utf8(&good).unwrap()), Some(set));
        assert_eq!(Records::read(directory.path(), ShareId::from_bytes([1; 32])).token, Some(token));
        for bit in 0..good.len() * 8 {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            fs::write(&path, bad).unwrap();
            let records = Records::read(directory.path(), ShareId::from_bytes([1; 32]));
            assert!(matches!(records.chunks, Record::Damaged), "bit {bit}");
            assert!(records.manifest.is_absent() && records.terms.is_absent());
        }
    }
}
