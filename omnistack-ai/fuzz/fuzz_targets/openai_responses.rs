//! Responses of OpenAI, whole and in pieces.

#![no_main]

use libfuzzer_sys::fuzz_target;
use omnistack_ai::fuzzing;

fuzz_target!(|input: &[u8]| fuzzing::openai_responses(input));
