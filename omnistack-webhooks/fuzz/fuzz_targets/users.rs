//! The webhooks of identity providers: a line that is not read, lines of headers, an empty line, and the body.

#![no_main]

use libfuzzer_sys::fuzz_target;
use omnistack_auth::fuzzing;
use omnistack_webhooks_fuzz::{Head, split};

fuzz_target!(|input: &[u8]| {
    if let Some((Head { headers, .. }, body)) = split(input) {
        fuzzing::users(&headers, body);
    }
});
