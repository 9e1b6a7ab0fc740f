//! Standard Webhooks: a secret in the first line, lines of headers, an empty line, and the body.

#![no_main]

use libfuzzer_sys::fuzz_target;
use omnistack_webhooks::fuzzing;
use omnistack_webhooks_fuzz::{Head, split};

fuzz_target!(|input: &[u8]| {
    if let Some((Head { first, headers }, body)) = split(input) {
        fuzzing::standard(&headers, first, body);
    }
});
