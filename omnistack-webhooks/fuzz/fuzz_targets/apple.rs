//! Notifications and transactions of the App Store. The chains of the seeds lead to the root.

#![no_main]

use libfuzzer_sys::fuzz_target;
use omnistack_webhooks::fuzzing;

const ROOT: &[u8] = include_bytes!("../../tests/data/apple/testCA.der");

fuzz_target!(|body: &[u8]| fuzzing::apple(ROOT, body));
