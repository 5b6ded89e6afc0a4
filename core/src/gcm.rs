//! AES-GCM (NIST SP 800-38D) by the library that is faster on this processor. Both do the same, bit for bit.
//!
//! aws-lc has code for processors with AVX-512, and none for those that have vector AES (VAES) without it, as AMD's Zen 3
//! and Intel's 12th to 14th generation: there *ring* is twice as fast. With AVX-512 it is the other way round.
//! `benches/primitives.sh` measures both.

use crate::limits::TAG_BYTES;

/// A library that has AES-GCM.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Library {
    /// aws-lc: all other cryptography is by it, and on most processors AES-GCM, too.
    AwsLc,
    /// *ring*, which knows VAES without AVX-512.
    #[cfg(target_arch = "x86_64")]
    Ring,
}

impl Library {
    /// The faster one on this processor.
    pub fn fastest() -> Self {
        #[cfg(target_arch = "x86_64")]
        {
            // What each library asks for before it takes its fastest way.
            let has_vaes = is_x86_feature_detected!("aes")
                && is_x86_feature_detected!("pclmulqdq")
                && is_x86_feature_detected!("vaes")
                && is_x86_feature_detected!("vpclmulqdq")
                && is_x86_feature_detected!("avx2");
            let has_avx512 = is_x86_feature_detected!("avx512f")
                && is_x86_feature_detected!("avx512dq")
                && is_x86_feature_detected!("avx512bw")
                && is_x86_feature_detected!("avx512vl");
            Self::for_processor(has_vaes, has_avx512)
        }
        #[cfg(not(target_arch = "x86_64"))]
        Self::AwsLc
    }

    #[cfg(target_arch = "x86_64")]
    const fn for_processor(has_vaes: bool, has_avx512: bool) -> Self {
        if has_vaes && !has_avx512 { Self::Ring } else { Self::AwsLc }
    }
}

/// A key of AES-256-GCM. aws-lc wipes its keys when they are dropped; *ring* does not.
pub(crate) enum Aes256Gcm {
    AwsLc(aws_lc_rs::aead::LessSafeKey),
    #[cfg(target_arch = "x86_64")]
    Ring(Box<ring::aead::LessSafeKey>),
}

impl Aes256Gcm {
    pub(crate) fn new(key: &[u8; 32], library: Library) -> Self {
        match library {
            Library::AwsLc => {
                use aws_lc_rs::aead::{AES_256_GCM, LessSafeKey, UnboundKey};
                let key = UnboundKey::new(&AES_256_GCM, key).expect("the key has 32 bytes");
                Self::AwsLc(LessSafeKey::new(key))
            }
            #[cfg(target_arch = "x86_64")]
            Library::Ring => {
                use ring::aead::{AES_256_GCM, LessSafeKey, UnboundKey};
                let key = UnboundKey::new(&AES_256_GCM, key).expect("the key has 32 bytes");
                Self::Ring(Box::new(LessSafeKey::new(key)))
            }
        }
    }

    /// Seals in place; the buffer grows by the 16 bytes of the tag.
    ///
    /// One nonce must only ever seal one content.
    pub(crate) fn seal(&self, nonce: [u8; 12], with: &[u8], bytes: &mut Vec<u8>) {
        bytes.reserve_exact(TAG_BYTES);
        match self {
            Self::AwsLc(key) => {
                use aws_lc_rs::aead::{Aad, Nonce};
                let nonce = Nonce::assume_unique_for_key(nonce);
                key.seal_in_place_append_tag(nonce, Aad::from(with), bytes)
                    .expect("all that is sealed is far below the length limit of GCM");
            }
            #[cfg(target_arch = "x86_64")]
            Self::Ring(key) => {
                use ring::aead::{Aad, Nonce};
                let nonce = Nonce::assume_unique_for_key(nonce);
                key.seal_in_place_append_tag(nonce, Aad::from(with), bytes)
                    .expect("all that is sealed is far below the length limit of GCM");
            }
        }
    }

    /// Opens in place: what is returned is the beginning of `sealed`. `None`: it was not sealed so, and nothing of it
    /// may be used.
    pub(crate) fn open<'a>(
        &self,
        nonce: [u8; 12],
        with: &[u8],
        sealed: &'a mut [u8],
    ) -> Option<&'a mut [u8]> {
        match self {
            Self::AwsLc(key) => {
                use aws_lc_rs::aead::{Aad, Nonce};
                let nonce = Nonce::assume_unique_for_key(nonce);
                key.open_in_place(nonce, Aad::from(with), sealed).ok()
            }
            #[cfg(target_arch = "x86_64")]
            Self::Ring(key) => {
                use ring::aead::{Aad, Nonce};
                let nonce = Nonce::assume_unique_for_key(nonce);
                key.open_in_place(nonce, Aad::from(with), sealed).ok()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use data_encoding::HEXLOWER;
    use proptest::prelude::*;

    use super::*;

    fn libraries() -> Vec<Library> {
        vec![
            Library::AwsLc,
            #[cfg(target_arch = "x86_64")]
            Library::Ring,
        ]
    }

    #[test]
    fn each_library_agrees_with_a_published_vector() {
        // Test case 14 of "The Galois/Counter Mode of Operation" (McGrew, Viega 2005).
        for library in libraries() {
            let mut bytes = vec![0; 16];
            Aes256Gcm::new(&[0; 32], library).seal([0; 12], &[], &mut bytes);
            let expected = "cea7403d4d606b6e074ec5d3baf39d18d0d1c8a799996bf0265b98b5d48ab919";
            assert_eq!(HEXLOWER.encode(&bytes), expected, "{library:?}");
        }
    }

    #[cfg(target_arch = "x86_64")]
    #[test]
    fn ring_is_taken_where_only_ring_knows_the_processor() {
        assert_eq!(Library::for_processor(true, false), Library::Ring);
        assert_eq!(Library::for_processor(true, true), Library::AwsLc);
        assert_eq!(Library::for_processor(false, false), Library::AwsLc);
    }

    proptest! {
        #[test]
        fn what_one_library_seals_the_other_opens(
            key: [u8; 32], nonce: [u8; 12], with: Vec<u8>, plain in prop::collection::vec(any::<u8>(), 0..5000),
            flipped: prop::sample::Index,
        ) {
            for (one, other) in libraries().into_iter().zip(libraries().into_iter().rev()) {
                let mut sealed = plain.clone();
                Aes256Gcm::new(&key, one).seal(nonce, &with, &mut sealed);
                let mut changed = sealed.clone();
                prop_assert_eq!(Aes256Gcm::new(&key, other).open(nonce, &with, &mut sealed), Some(&mut plain.clone()[..]));
                let position = flipped.index(changed.len());
                changed[position] ^= 1;
                prop_assert_eq!(Aes256Gcm::new(&key, other).open(nonce, &with, &mut changed), None);
            }
        }
    }
}
