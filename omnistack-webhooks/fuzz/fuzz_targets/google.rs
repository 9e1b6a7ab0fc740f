//! Keys of Google, tokens of Pub/Sub and notifications of Google Play.

#![no_main]

use libfuzzer_sys::fuzz_target;
use omnistack_webhooks::fuzzing;

fuzz_target!(|input: &[u8]| fuzzing::google(input));
