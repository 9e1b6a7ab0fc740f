//! The tokens that a call used.

use serde_json::{Map, Value};

use crate::chat::TokenUsage;

/// Largest number of tokens that a provider is believed.
const MAX_TOKENS: u64 = 1_000_000_000_000;

/// The usage of one answer, of snapshots that arrive in a stream.
///
/// Each snapshot contains everything so far. A later one may lack fields of an earlier one, which remain; values are
/// never added.
#[derive(Debug, Default)]
pub(super) struct UsageSnapshot(Map<String, Value>);

impl UsageSnapshot {
    /// Adds a snapshot. Returns whether it says anything new.
    pub(super) fn update(&mut self, usage: Option<&Value>) -> bool {
        let mut is_new = false;
        for (name, value) in usage.and_then(Value::as_object).into_iter().flatten() {
            if !value.is_null() && self.0.get(name) != Some(value) {
                self.0.insert(name.clone(), value.clone());
                is_new = true;
            }
        }
        is_new
    }

    /// Returns the usage as the provider sent it.
    pub(super) fn raw(&self) -> Value {
        Value::Object(self.0.clone())
    }

    /// Returns the tokens, or `None` if the provider has not said them.
    pub(super) fn tokens(&self) -> Option<TokenUsage> {
        if self.count("input_tokens").is_none() && self.count("output_tokens").is_none() {
            return None;
        }
        let counted = |name: &str| self.count(name).unwrap_or(0);
        let written_to = |name: &str| self.nested("cache_creation", name).unwrap_or(0);
        let (short, long) = (written_to("ephemeral_5m_input_tokens"), written_to("ephemeral_1h_input_tokens"));
        let written = self.count("cache_creation_input_tokens").unwrap_or(short + long);
        let long = long.min(written);
        let cached = counted("cache_read_input_tokens");
        let output = counted("output_tokens");
        Some(TokenUsage {
            // `input_tokens` are those after the last cache breakpoint only.
            input: counted("input_tokens") + cached + written,
            cached,
            cache_write: written - long,
            cache_write_long: long,
            output,
            reasoning: self.nested("output_tokens_details", "thinking_tokens").unwrap_or(0).min(output),
        })
    }

    /// Returns the service tier, or the speed if the answer was a fast one, which has a price of its own.
    pub(super) fn service_tier(&self) -> Option<&str> {
        let text = |name: &str| self.0.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
        text("speed").filter(|speed| *speed != "standard").or_else(|| text("service_tier"))
    }

    fn count(&self, name: &str) -> Option<u64> {
        self.0.get(name).and_then(Value::as_u64).map(|count| count.min(MAX_TOKENS))
    }

    fn nested(&self, object: &str, name: &str) -> Option<u64> {
        self.0.get(object)?.get(name)?.as_u64().map(|count| count.min(MAX_TOKENS))
    }
}
