//! Any text is refused, or is the one grant of the corpus: nobody without the tracker's key makes another.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use parcelry_core::grant::{Grant, TrackerKey};
use parcelry_core::id::Secret;

static GOOD: &str = include_str!("../corpus/grant/good");
static KEY: LazyLock<TrackerKey> = LazyLock::new(|| TrackerKey::from_seed(&Secret::from_bytes([5; 32])));
static GRANT: LazyLock<Grant> =
    LazyLock::new(|| KEY.public().verify(GOOD).expect("the corpus has a grant of this key"));

fuzz_target!(|token: &str| {
    if let Ok(grant) = KEY.public().verify(token) {
        assert_eq!(grant, *GRANT, "a grant that nobody signed");
    }
});
