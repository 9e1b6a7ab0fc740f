//! Entry points of the fuzz targets in `fuzz/`: one for each decoder of bytes that a model provider sends. They are no
//! part of the API.
//!
//! They return nothing: a target looks for panics, endless loops and memory, and for answers that depend on how the
//! bytes are split.

use http::{HeaderMap, StatusCode};
use omnistack_core::clock::Timestamp;

use crate::{
    chat::{ChatEvent, ChatResponse, StopKind, StreamAssembler},
    embedding::EmbeddingRequest,
    error::{LlmError, LlmErrorKind},
    wire::{Anthropic, Codec, Gemini, OpenAiChat, OpenAiResponses, Quirks, SseEvent, SseParser},
};

/// Largest event of a stream, in bytes.
const MAX_EVENT_BYTES: usize = 4096;

/// Parses server-sent events. The first byte is the length of the pieces.
///
/// # Panics
/// Panics if the events depend on how the bytes are split.
pub fn sse(input: &[u8]) {
    let Some((whole, pieces)) = split(input) else { return };
    let (whole, pieces) = (parse(&[whole]), parse(&pieces));
    assert_eq!(whole.is_ok(), pieces.is_ok());
    if let (Ok(whole), Ok(pieces)) = (whole, pieces) {
        assert_eq!(whole, pieces);
    }
}

/// Decodes chat completions.
///
/// # Panics
/// Panics if the answer depends on how the bytes are split.
pub fn openai_chat(input: &[u8]) {
    for quirks in [Quirks::OPENAI, Quirks::COMPATIBLE] {
        decode(&OpenAiChat::new("fuzz".into(), quirks), input);
    }
}

/// Decodes Responses of OpenAI.
///
/// # Panics
/// Panics if the answer depends on how the bytes are split.
pub fn openai_responses(input: &[u8]) {
    decode(&OpenAiResponses::new("fuzz".into(), Quirks::OPENAI), input);
}

/// Decodes Messages of Anthropic.
///
/// # Panics
/// Panics if the answer depends on how the bytes are split.
pub fn anthropic(input: &[u8]) {
    decode(&Anthropic::new("fuzz".into()), input);
}

/// Decodes generated content of Gemini.
///
/// # Panics
/// Panics if the answer depends on how the bytes are split.
pub fn gemini(input: &[u8]) {
    decode(&Gemini::new("fuzz".into()), input);
}

/// Decodes the input as all that a provider sends: answers, embeddings, errors and streams. The first byte is the
/// length of the pieces of the stream.
fn decode(codec: &dyn Codec, input: &[u8]) {
    let Some((whole, pieces)) = split(input) else { return };
    _ = codec.decode(whole);
    _ = codec.decode_embeddings(&EmbeddingRequest::new("fuzz", ["a", "b"]), whole);
    // 2026-01-01.
    let now = Timestamp::from_micros(1_767_225_600_000_000);
    _ = codec.decode_error(StatusCode::TOO_MANY_REQUESTS, &HeaderMap::new(), whole, now);
    let (answer, kind) = read(codec, &[whole]);
    assert!(kind.is_none() || answer.stop.unified == StopKind::Interrupted, "an answer has failed, and is complete");
    let of_pieces = read(codec, &pieces);
    // An event that is too large is noticed before or after the one that precedes it.
    if kind != Some(LlmErrorKind::Protocol) {
        assert_eq!((answer, kind), of_pieces);
    }
}

/// Returns the bytes after the first, and their pieces, whose length is in the first.
fn split(input: &[u8]) -> Option<(&[u8], Vec<&[u8]>)> {
    let (length, bytes) = input.split_first()?;
    Some((bytes, bytes.chunks(usize::from(*length) + 1).collect()))
}

fn parse(chunks: &[&[u8]]) -> Result<Vec<SseEvent>, LlmError> {
    let mut parser = SseParser::new(MAX_EVENT_BYTES);
    let mut events = Vec::new();
    for chunk in chunks {
        events.extend(parser.push(chunk)?);
    }
    Ok(events)
}

fn read(codec: &dyn Codec, chunks: &[&[u8]]) -> (ChatResponse, Option<LlmErrorKind>) {
    let mut assembler = StreamAssembler::default();
    let result = read_into(codec, chunks, &mut assembler);
    (assembler.finish(), result.err().map(|error| error.kind))
}

fn read_into(codec: &dyn Codec, chunks: &[&[u8]], assembler: &mut StreamAssembler) -> Result<(), LlmError> {
    let (mut parser, mut decoder) = (SseParser::new(MAX_EVENT_BYTES), codec.decoder());
    for chunk in chunks {
        for event in parser.push(chunk)? {
            let events = decoder.push(&event)?;
            if add(assembler, &events) {
                return Ok(());
            }
        }
    }
    let events = decoder.end_of_body()?;
    assert!(add(assembler, &events), "the end of the body is neither an error nor the end of the answer");
    Ok(())
}

/// Adds events, and returns whether the answer is complete.
fn add(assembler: &mut StreamAssembler, events: &[ChatEvent]) -> bool {
    for event in events {
        assembler.push(event);
    }
    let ends = events.iter().filter(|event| matches!(event, ChatEvent::End(_))).count();
    let is_complete = matches!(events.last(), Some(ChatEvent::End(_)));
    assert_eq!(ends, usize::from(is_complete), "an event follows the end of the answer");
    is_complete
}
