//! Any bytes are refused, or are a request of both APIs that says the same once it is written again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use parcelry_core::api::{
    AnnounceRequest, AuditRequest, CommitRequest, ComplaintRequest, HeartbeatRequest, InventoryRequest,
    OfferRequest, OpenRequest, PublishRequest, RegisterRequest, TermsRequest,
};

macro_rules! read {
    ($bytes:expr, $($request:ty),*) => {$(
        if let Ok(request) = serde_json::from_slice::<$request>($bytes) {
            let again = serde_json::to_vec(&request).expect("requests have string keys");
            assert_eq!(serde_json::from_slice::<$request>(&again).ok(), Some(request));
        }
    )*};
}

fuzz_target!(|bytes: &[u8]| {
    read!(
        bytes,
        RegisterRequest,
        InventoryRequest,
        AnnounceRequest,
        AuditRequest,
        HeartbeatRequest,
        OpenRequest,
        PublishRequest,
        TermsRequest,
        ComplaintRequest,
        OfferRequest,
        CommitRequest
    );
    if let Ok(offer) = serde_json::from_slice::<OfferRequest>(bytes)
        && let Some(geometry) = offer.size.geometry()
    {
        for run in &offer.known {
            let _ = run.chunks(&geometry);
        }
    }
    if let Ok(open) = serde_json::from_slice::<OpenRequest>(bytes) {
        let _ = open.size.geometry();
    }
});
