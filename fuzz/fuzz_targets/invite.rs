//! Any text is refused, or is an invite whose canonical form reads the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use parcelry_core::link::Invite;

fuzz_target!(|text: &str| {
    if let Ok(invite) = text.parse::<Invite>() {
        assert_eq!(invite.expose_text().parse(), Ok(invite));
    }
});
