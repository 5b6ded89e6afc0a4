//! The certificate for those who do not know a server's key, browsers above all.
//!
//! An authority's is read from the operator's files. Without one the server makes its own, of an ECDSA key (no browser takes
//! Ed25519). It keeps it, because browsers remember the very certificate that their user accepted.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use rcgen::{
    CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, KeyPair, KeyUsagePurpose,
    PKCS_ECDSA_P256_SHA256,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use time::{Duration, OffsetDateTime};

use super::provider;
use crate::clock;
use crate::disk::durable;
use crate::failure::{Failure, Kind};

/// Where a tracker keeps its own certificate with its key.
const FILE: &str = "browsers.pem";
/// What stands before the certificate: what it is for, and until when it is used.
const HEAD: &str = "Made for";
/// How long a certificate of our own is valid: as long as Apple's systems allow.
const VALID: Duration = Duration::days(825);
/// How long it is used: a tracker that is started now and then has always one that is valid.
const USED: Duration = Duration::days(400);
/// How far a browser's clock may be behind.
const CLOCK_BEHIND: Duration = Duration::days(2);

/// A certificate signed by an authority, with its private key.
#[derive(Debug, Clone)]
pub struct WebCertificate {
    /// PEM file with the certificate, then those up to the authority.
    pub chain: PathBuf,
    /// PEM file with its private key.
    pub key: PathBuf,
}

impl WebCertificate {
    /// Reads both files.
    pub fn read(&self) -> Result<CertifiedKey, Failure> {
        let unreadable = |path: &Path, error: &dyn std::fmt::Display| {
            Failure::new(Kind::Usage, format!("{}: {error}", path.display())).next("Give PEM files.")
        };
        let chain =
            CertificateDer::pem_file_iter(&self.chain).and_then(Iterator::collect::<Result<Vec<_>, _>>);
        let chain = chain.map_err(|error| unreadable(&self.chain, &error))?;
        let key = PrivateKeyDer::from_pem_file(&self.key).map_err(|error| unreadable(&self.key, &error))?;
        CertifiedKey::from_der(chain, key, &provider()).map_err(|error| unreadable(&self.chain, &error))
    }
}

/// The server's own certificate for these names and addresses: the one in its directory, or a new one.
pub fn own(data: &Path, names: &[String]) -> Result<CertifiedKey, Failure> {
    let path = data.join(FILE);
    let now = OffsetDateTime::from_unix_timestamp(i64::try_from(clock::now_ms() / 1000).unwrap_or(0))
        .unwrap_or(OffsetDateTime::UNIX_EPOCH);
    let kept = match fs::read(&path) {
        Ok(kept) => kept,
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(Failure::io("read", &path, &error)),
    };
    if let Some(certificate) = still_good(&kept, names, now) {
        return Ok(certificate);
    }
    let made = make(names, now).map_err(|error| {
        Failure::new(Kind::Other, format!("cannot make a certificate for browsers: {error}"))
    })?;
    durable::persist(&path, made.as_bytes()).map_err(|error| Failure::io("write", &path, &error))?;
    let what = || Failure::new(Kind::Other, "the certificate for browsers that was just made cannot be read");
    still_good(made.as_bytes(), names, now).ok_or_else(what)
}

/// The certificate in a file, if it was made for these names and need not be renewed. One that is damaged is made anew: it
/// is nobody's identity.
fn still_good(kept: &[u8], names: &[String], now: OffsetDateTime) -> Option<CertifiedKey> {
    let head = std::str::from_utf8(kept).ok()?.lines().next()?;
    let until = head.strip_prefix(&format!("{HEAD} {}; used until ", names.join(" ")))?;
    // One that a clock made which was ahead is not valid yet.
    let used = now.unix_timestamp()..=(now + USED + CLOCK_BEHIND).unix_timestamp();
    if !used.contains(&until.parse().ok()?) {
        return None;
    }
    let chain = CertificateDer::pem_slice_iter(kept).collect::<Result<Vec<_>, _>>().ok()?;
    CertifiedKey::from_der(chain, PrivateKeyDer::from_pem_slice(kept).ok()?, &provider()).ok()
}

fn make(names: &[String], now: OffsetDateTime) -> Result<String, rcgen::Error> {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
    let mut params = CertificateParams::new(names)?;
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, "parcelry");
    params.not_before = now - CLOCK_BEHIND;
    params.not_after = now - CLOCK_BEHIND + VALID;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let certificate = params.self_signed(&key)?;
    let until = (now + USED).unix_timestamp();
    let head = format!("{HEAD} {}; used until {until}", names.join(" "));
    Ok(format!("{head}\n{}{}", certificate.pem(), key.serialize_pem()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|&name| name.to_owned()).collect()
    }

    #[test]
    fn it_is_kept_until_its_names_change_its_time_is_over_or_it_is_damaged() {
        let directory = tempfile::tempdir().unwrap();
        let (home, path) = (names(&["localhost", "127.0.0.1", "::1"]), directory.path().join(FILE));
        let shown = |names: &[String]| own(directory.path(), names).unwrap().cert[0].clone();
        let first = shown(&home);
        assert_eq!(shown(&home), first);
        let second = shown(&names(&["drop.example"]));
        assert_ne!(second, first);
        assert_ne!(shown(&home), first, "only the last one is kept");
        let kept = fs::read_to_string(&path).unwrap();
        let now = OffsetDateTime::now_utc();
        assert!(still_good(kept.as_bytes(), &home, now + USED - Duration::days(1)).is_some());
        assert!(still_good(kept.as_bytes(), &home, now + USED + Duration::days(1)).is_none());
        assert!(still_good(kept.as_bytes(), &home, now - Duration::days(9)).is_none(), "not valid yet");
        let third = shown(&home);
        fs::write(&path, &kept[..kept.len() / 2]).unwrap();
        assert_ne!(shown(&home), third);
        let mode = std::os::unix::fs::PermissionsExt::mode(&fs::metadata(&path).unwrap().permissions());
        assert_eq!(mode & 0o077, 0, "it holds a key");
    }
}
