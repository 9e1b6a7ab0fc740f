//! Certificates in DER.

#![no_main]

use libfuzzer_sys::fuzz_target;
use omnistack_webhooks::fuzzing;

fuzz_target!(|der: &[u8]| fuzzing::certificate(der));
