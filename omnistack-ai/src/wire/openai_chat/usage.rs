//! The tokens that a call used.

use serde_json::Value;

use super::fields::count;
use crate::{chat::TokenUsage, wire::Quirks};

/// Reads the usage of chat completions. Returns `None` if it contains no count.
pub(super) fn chat_usage(usage: &Value, quirks: &Quirks) -> Option<TokenUsage> {
    let input = count(usage, &["/prompt_tokens", "/input_tokens"]);
    let output = count(usage, &["/completion_tokens", "/output_tokens"]);
    if input.is_none() && output.is_none() {
        return None;
    }
    let (input, mut output) = (input.unwrap_or(0), output.unwrap_or(0));
    if quirks.total_may_exceed_sum {
        // Reasoning that is not in `completion_tokens` is paid as output too.
        output = output.max(count(usage, &["/total_tokens"]).unwrap_or(0).saturating_sub(input));
    }
    Some(bounded(TokenUsage {
        input,
        cached: count(
            usage,
            &[
                "/prompt_tokens_details/cached_tokens",
                "/cached_tokens",
                "/prompt_cache_hit_tokens",
                "/cache_read_input_tokens",
            ],
        )
        .unwrap_or(0),
        cache_write: count(usage, &["/prompt_tokens_details/cache_write_tokens", "/cache_creation_input_tokens"])
            .unwrap_or(0),
        cache_write_long: 0,
        output,
        reasoning: count(usage, &["/completion_tokens_details/reasoning_tokens"]).unwrap_or(0),
    }))
}

/// Reads the usage of responses and of embeddings. Returns `None` if it contains no count.
pub(crate) fn response_usage(usage: &Value) -> Option<TokenUsage> {
    let input = count(usage, &["/input_tokens", "/prompt_tokens"]);
    let output = count(usage, &["/output_tokens", "/completion_tokens"]);
    if input.is_none() && output.is_none() {
        return None;
    }
    let written = count(usage, &["/input_tokens_details/cache_write_tokens"]).unwrap_or(0);
    let long = [
        "/input_tokens_details/cache_write_tokens_details/ttl_12h_tokens",
        "/cache_write_tokens_details/ttl_12h_tokens",
    ];
    let long = count(usage, &long).unwrap_or(0).min(written);
    Some(bounded(TokenUsage {
        input: input.unwrap_or(0),
        cached: count(usage, &["/input_tokens_details/cached_tokens"]).unwrap_or(0),
        cache_write: written - long,
        cache_write_long: long,
        output: output.unwrap_or(0),
        reasoning: count(usage, &["/output_tokens_details/reasoning_tokens"]).unwrap_or(0),
    }))
}

/// Keeps the parts within the totals, so that no price is computed of a negative rest.
fn bounded(usage: TokenUsage) -> TokenUsage {
    let cached = usage.cached.min(usage.input);
    let cache_write = usage.cache_write.min(usage.input - cached);
    let cache_write_long = usage.cache_write_long.min(usage.input - cached - cache_write);
    TokenUsage { cached, cache_write, cache_write_long, reasoning: usage.reasoning.min(usage.output), ..usage }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn usage_is_read_in_the_forms_of_all_providers() {
        let usage = |input, cached, cache_write, output, reasoning| {
            Some(TokenUsage { input, cached, cache_write, cache_write_long: 0, output, reasoning })
        };
        for (raw, quirks, expected) in [
            (json!(null), Quirks::OPENAI, None),
            (json!({}), Quirks::OPENAI, None),
            (json!({"prompt_tokens": null}), Quirks::OPENAI, None),
            (json!({"prompt_tokens": 0, "completion_tokens": 0}), Quirks::OPENAI, usage(0, 0, 0, 0, 0)),
            (
                json!({
                    "prompt_tokens": 100, "completion_tokens": 20, "total_tokens": 120,
                    "prompt_tokens_details": {"cached_tokens": 60, "cache_write_tokens": 30},
                    "completion_tokens_details": {"reasoning_tokens": 15},
                }),
                Quirks::OPENAI,
                usage(100, 60, 30, 20, 15),
            ),
            (json!({"prompt_tokens": 9, "prompt_tokens_details": null}), Quirks::OPENAI, usage(9, 0, 0, 0, 0)),
            (
                json!({"prompt_tokens": 10, "completion_tokens": 5, "prompt_cache_hit_tokens": 4}),
                Quirks::COMPATIBLE,
                usage(10, 4, 0, 5, 0),
            ),
            (
                json!({"prompt_tokens": 10, "completion_tokens": 5, "cache_read_input_tokens": 4, "cache_creation_input_tokens": 3}),
                Quirks::COMPATIBLE,
                usage(10, 4, 3, 5, 0),
            ),
            // Reasoning outside of `completion_tokens`.
            (
                json!({"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 115}),
                Quirks::COMPATIBLE,
                usage(10, 0, 0, 105, 0),
            ),
            (
                json!({"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 115}),
                Quirks::OPENAI,
                usage(10, 0, 0, 5, 0),
            ),
            // Parts larger than the total, and numbers of other forms.
            (
                json!({"prompt_tokens": 10, "prompt_tokens_details": {"cached_tokens": 99, "cache_write_tokens": 99}}),
                Quirks::OPENAI,
                usage(10, 10, 0, 0, 0),
            ),
            (json!({"prompt_tokens": 7.0, "completion_tokens": -3}), Quirks::OPENAI, usage(7, 0, 0, 0, 0)),
            (json!({"prompt_tokens": u64::MAX}), Quirks::OPENAI, usage(1_000_000_000_000, 0, 0, 0, 0)),
            (json!({"prompt_tokens": "7"}), Quirks::OPENAI, None),
        ] {
            assert_eq!(chat_usage(&raw, &quirks), expected, "{raw}");
        }
        assert_eq!(
            response_usage(&json!({
                "input_tokens": 50, "output_tokens": 8, "output_tokens_details": {"reasoning_tokens": 3},
                "input_tokens_details": {
                    "cached_tokens": 10, "cache_write_tokens": 20, "cache_write_tokens_details": {"ttl_12h_tokens": 5},
                },
            })),
            Some(TokenUsage { input: 50, cached: 10, cache_write: 15, cache_write_long: 5, output: 8, reasoning: 3 })
        );
    }
}
