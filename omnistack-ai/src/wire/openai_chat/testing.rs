//! Streams of bytes in tests.

use proptest::sample::Index;
use serde_json::Value;

use crate::{
    chat::{ChatEvent, ChatResponse, StreamAssembler},
    error::LlmError,
    wire::{Codec, SseParser},
};

/// Decodes chunks of a body until the answer is complete. Returns what has arrived, and the error if there is one.
pub(in crate::wire) fn read(codec: &dyn Codec, chunks: &[&[u8]]) -> (ChatResponse, Option<LlmError>) {
    let (mut parser, mut decoder) = (SseParser::new(1024 * 1024), codec.decoder());
    let mut assembler = StreamAssembler::default();
    for chunk in chunks {
        for event in parser.push(chunk).unwrap() {
            match decoder.push(&event) {
                Ok(events) => {
                    for event in &events {
                        assembler.push(event);
                    }
                    if matches!(events.last(), Some(ChatEvent::End(_))) {
                        return (assembler.finish(), None);
                    }
                }
                Err(error) => return (assembler.finish(), Some(error)),
            }
        }
    }
    parser.end();
    match decoder.end_of_body() {
        Ok(events) => {
            for event in &events {
                assembler.push(event);
            }
            (assembler.finish(), None)
        }
        Err(error) => (assembler.finish(), Some(error)),
    }
}

/// Decodes a body that is complete.
pub(in crate::wire) fn read_all(codec: &dyn Codec, body: &str) -> ChatResponse {
    let (answer, error) = read(codec, &[body.as_bytes()]);
    assert!(error.is_none(), "{error:?}\n{body}");
    answer
}

/// Returns the events that a body consists of.
pub(in crate::wire) fn body_of(events: &[Value]) -> String {
    events.iter().map(|event| format!("data: {event}\n\n")).collect::<Vec<_>>().concat()
}

/// Splits bytes at places that proptest chooses.
pub(in crate::wire) fn split<'a>(bytes: &'a [u8], cuts: &[Index]) -> Vec<&'a [u8]> {
    let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
    cuts.sort_unstable();
    let ends = cuts.iter().copied().chain([bytes.len()]);
    let starts = [0].into_iter().chain(cuts.iter().copied());
    starts.zip(ends).map(|(start, end)| &bytes[start..end]).collect()
}
