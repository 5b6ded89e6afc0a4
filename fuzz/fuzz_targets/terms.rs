//! Any text is refused: nobody without the share's key makes terms.
#![no_main]

use libfuzzer_sys::fuzz_target;
use parcelry_core::id::ShareId;
use parcelry_core::terms::SignedTerms;

fuzz_target!(|input: ([u8; 32], &str)| {
    let (share, token) = input;
    let _ = SignedTerms::verify(token, ShareId::from_bytes(share));
});
