//! The webhooks of Twilio: the query of the URL, lines of headers, an empty line, and the body.

#![no_main]

use libfuzzer_sys::fuzz_target;
use omnistack_messaging::fuzzing;
use omnistack_webhooks_fuzz::{Head, split};

fuzz_target!(|input: &[u8]| {
    if let Some((Head { first, headers }, body)) = split(input) {
        fuzzing::sms(first, &headers, body);
    }
});
