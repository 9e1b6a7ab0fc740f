//! The differences between providers whose API has the form of OpenAI's.

use crate::chat::ReasoningEffort;

const ALL_EFFORTS: &[ReasoningEffort] = &[
    ReasoningEffort::None,
    ReasoningEffort::Minimal,
    ReasoningEffort::Low,
    ReasoningEffort::Medium,
    ReasoningEffort::High,
    ReasoningEffort::Highest,
];

/// The differences of a provider from OpenAI. They concern what is sent, and what its counts mean; answers are read in
/// all known forms from every provider.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "a list of independent differences")]
pub(crate) struct Quirks {
    /// The field of chat completions with the maximum number of tokens of the answer.
    pub(crate) max_tokens_field: &'static str,
    /// Whether the field `stream_options` is accepted, without which a stream has no usage.
    pub(crate) accepts_stream_options: bool,
    /// Whether a stream of chat completions always ends with `[DONE]`. Otherwise it may end after its finish reason.
    pub(crate) always_sends_done: bool,
    /// Whether JSON schemas are sent in the form that OpenAI's strict mode requires.
    pub(crate) strict_schemas: bool,
    /// Whether several texts of a message are sent as one, for servers that accept only a string.
    pub(crate) joins_texts: bool,
    /// Whether chat completions accept files and sounds.
    pub(crate) accepts_files: bool,
    /// Whether the provider fetches images from URLs.
    pub(crate) fetches_media: bool,
    /// Whether embeddings can be asked for in Base64, a quarter of the size.
    pub(crate) base64_embeddings: bool,
    /// Whether `completion_tokens` may lack the tokens of reasoning, which only `total_tokens` contains then.
    pub(crate) total_may_exceed_sum: bool,
    /// Whether the signature of the reasoning before a tool call is sent, in `extra_content.google.thought_signature`.
    pub(crate) sends_thought_signatures: bool,
    /// The field of a message in which the reasoning of earlier answers is sent.
    pub(crate) reasoning_field: Option<&'static str>,
    /// The efforts of reasoning that can be asked for.
    pub(crate) efforts: &'static [ReasoningEffort],
    /// Fields of chat completions that are not accepted.
    pub(crate) unsupported_fields: &'static [&'static str],
}

impl Quirks {
    /// OpenAI.
    pub(crate) const OPENAI: Self = Self {
        max_tokens_field: "max_completion_tokens",
        accepts_stream_options: true,
        always_sends_done: true,
        strict_schemas: true,
        joins_texts: false,
        accepts_files: true,
        fetches_media: true,
        base64_embeddings: true,
        total_may_exceed_sum: false,
        sends_thought_signatures: false,
        reasoning_field: None,
        efforts: ALL_EFFORTS,
        // The other options of reasoning are fields of Responses.
        unsupported_fields: &["reasoning"],
    };

    /// Groq.
    pub(crate) const GROQ: Self = Self {
        accepts_files: false,
        base64_embeddings: false,
        reasoning_field: Some("reasoning"),
        efforts: &[ReasoningEffort::None, ReasoningEffort::Low, ReasoningEffort::Medium, ReasoningEffort::High],
        unsupported_fields: &["logit_bias", "logprobs", "metadata", "reasoning", "store", "top_logprobs"],
        ..Self::OPENAI
    };

    /// Any other server with OpenAI's API, such as Ollama, vLLM or Gemini's compatible URL.
    pub(crate) const COMPATIBLE: Self = Self {
        max_tokens_field: "max_tokens",
        always_sends_done: false,
        strict_schemas: false,
        joins_texts: true,
        fetches_media: false,
        base64_embeddings: false,
        total_may_exceed_sum: true,
        sends_thought_signatures: true,
        unsupported_fields: &[],
        ..Self::OPENAI
    };

    /// Returns the accepted effort of reasoning that is nearest to `effort`. Of two, it is the lower one.
    pub(crate) fn nearest_effort(&self, effort: ReasoningEffort) -> ReasoningEffort {
        let rank = |effort: &ReasoningEffort| ALL_EFFORTS.iter().position(|known| known == effort).unwrap_or(0);
        let wanted = rank(&effort);
        let nearest = self.efforts.iter().min_by_key(|accepted| rank(accepted).abs_diff(wanted));
        nearest.copied().unwrap_or(effort)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_effort_that_is_not_offered_becomes_the_nearest() {
        use ReasoningEffort::{High, Highest, Low, Medium, Minimal, None};
        for (effort, expected) in [(None, None), (Minimal, None), (Low, Low), (Medium, Medium), (Highest, High)] {
            assert_eq!(Quirks::GROQ.nearest_effort(effort), expected);
            assert_eq!(Quirks::OPENAI.nearest_effort(effort), effort);
        }
    }
}
