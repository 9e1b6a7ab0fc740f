//! The other sources: lines of headers, an empty line, and the body. The first line is the name of the source; any
//! other first line tries all.

#![no_main]

use libfuzzer_sys::fuzz_target;
use omnistack_webhooks::fuzzing;
use omnistack_webhooks_fuzz::{Head, split};

fuzz_target!(|input: &[u8]| {
    let Some((Head { first, headers }, body)) = split(input) else { return };
    let known = fuzzing::names().any(|name| name == first);
    for name in fuzzing::names().filter(|name| !known || *name == first) {
        fuzzing::verify(name, &headers, body);
        fuzzing::describe(name, &headers, body);
    }
});
