//! Any text is refused, or is a link whose canonical form reads the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use parcelry_core::link::ShareLink;

fuzz_target!(|text: &str| {
    if let Ok(link) = text.parse::<ShareLink>() {
        assert!(
            link.expose_text().eq_ignore_ascii_case(text) || text.contains(":443/") || text.contains('[')
        );
        assert_eq!(link.expose_text().parse(), Ok(link));
    }
});
