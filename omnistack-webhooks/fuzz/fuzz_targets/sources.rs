//! The other sources, and the unified events made of theirs: lines of headers, an empty line, and the body. The first
//! line is a header or a URL by itself.

#![no_main]

use libfuzzer_sys::fuzz_target;
use omnistack_webhooks::fuzzing;
use omnistack_webhooks_fuzz::{Head, split};

fuzz_target!(|input: &[u8]| {
    let Some((Head { first, headers }, body)) = split(input) else { return };
    fuzzing::headers(first);
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    fuzzing::bodies(header("id"), header("type"), body);
    fuzzing::bridge(header("type").unwrap_or_default(), body);
});
