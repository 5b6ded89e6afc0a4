//! Any bytes are refused, or are a request or an answer with a manifest that says the same once it is written again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use parcelry_core::api::{AnnounceRequest, CommitRequest, LookUpResponse, ManifestResponse, PublishRequest};
use parcelry_core::enclosed::{disclose, enclose};
use parcelry_core::gateway::FinishRequest;
use parcelry_core::limits::ENCLOSED_JSON_BYTES_MAX;

macro_rules! read {
    ($bytes:expr, $($message:ty),*) => {$(
        if let Ok(message) = disclose::<$message>($bytes.to_vec(), ENCLOSED_JSON_BYTES_MAX) {
            assert!($bytes.ends_with(&message.manifest.0) && !message.manifest.is_empty());
            let (head, manifest) = enclose(message.clone());
            let again = disclose::<$message>([head, manifest].concat(), ENCLOSED_JSON_BYTES_MAX);
            assert_eq!(again.ok(), Some(message));
        }
    )*};
}

fuzz_target!(|bytes: &[u8]| {
    read!(
        bytes,
        AnnounceRequest,
        CommitRequest,
        FinishRequest,
        LookUpResponse,
        ManifestResponse,
        PublishRequest
    );
});
