//! Estimates of tokens, where no provider has counted them: four bytes are a token.

use crate::{chat::ChatRequest, guardrail::RequestSize};

/// Bytes of a token.
const BYTES_PER_TOKEN: u64 = 4;
/// Tokens around each message.
const TOKENS_PER_MESSAGE: u64 = 4;
/// Tokens of an image or a file whose contents are not known.
const TOKENS_PER_MEDIA: u64 = 1_000;

/// Returns the tokens of a request.
pub(crate) fn input_tokens(request: &ChatRequest) -> u64 {
    let size = RequestSize::of(request);
    let messages = u64::try_from(request.messages.len()).unwrap_or(u64::MAX);
    text_tokens(size.text)
        .saturating_add(messages.saturating_mul(TOKENS_PER_MESSAGE))
        .saturating_add(size.media_count.saturating_mul(TOKENS_PER_MEDIA))
}

/// Returns the tokens of an answer.
pub(crate) fn output_tokens(bytes: usize) -> u64 {
    text_tokens(u64::try_from(bytes).unwrap_or(u64::MAX))
}

/// Returns the tokens that a message with a text of so many bytes adds to a request.
pub(crate) fn message_tokens(bytes: usize) -> u64 {
    output_tokens(bytes).saturating_add(TOKENS_PER_MESSAGE)
}

/// Returns the largest number of bytes of a text that has so many tokens.
pub(crate) fn bytes_of(tokens: u64) -> usize {
    usize::try_from(tokens.saturating_mul(BYTES_PER_TOKEN)).unwrap_or(usize::MAX)
}

fn text_tokens(bytes: u64) -> u64 {
    bytes.div_ceil(BYTES_PER_TOKEN)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chat::{Media, Message, Part, Role};

    #[test]
    fn four_bytes_are_a_token() {
        assert_eq!((output_tokens(0), output_tokens(1), output_tokens(4), output_tokens(5)), (0, 1, 1, 2));
        assert_eq!(input_tokens(&ChatRequest::new("m", [])), 0);
        assert_eq!(input_tokens(&ChatRequest::new("m", [Message::user("12345678")])), 6);
        let image = Message::new(Role::User, vec![Part::Image(Media::url("abcd"))]);
        assert_eq!(input_tokens(&ChatRequest::new("m", [image])), 1_005);
    }
}
