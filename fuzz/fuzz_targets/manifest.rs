//! Any bytes are refused, or are a manifest that is kept verbatim and opens without harm.
#![no_main]

use libfuzzer_sys::fuzz_target;
use parcelry_core::id::{Secret, ShareId};
use parcelry_core::manifest::Manifest;

/// Where a manifest names its share.
const SHARE_AT: usize = 4 + 4 + 32 + 32;

fuzz_target!(|bytes: &[u8]| {
    let named = bytes.get(SHARE_AT..SHARE_AT + 32).and_then(|id| id.try_into().ok()).unwrap_or([0; 32]);
    let share = ShareId::from_bytes(named);
    if let Ok(manifest) = Manifest::decode(bytes.to_vec(), share) {
        assert_eq!(manifest.encoded(), bytes);
        assert_eq!(manifest.chunks().count(), manifest.geometry().chunk_count() as usize);
        let _ = manifest.open(&Secret::from_bytes([0; 32]));
    }
});
