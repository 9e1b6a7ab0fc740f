//! JSON schemas: as each provider accepts them, and to validate answers.
//!
//! Providers accept different subsets of JSON Schema. What a provider does not accept becomes a remark for the model in
//! the description, as in the SDK of Anthropic; the answer is validated against the original, so nothing is lost.

#[cfg(feature = "providers")]
mod dialect;
#[cfg(feature = "providers")]
mod flatten;
mod structure;
#[cfg(feature = "providers")]
mod translator;
mod validator;

#[cfg(feature = "providers")]
pub(crate) use dialect::{SchemaDialect, instructions, translate};
pub(crate) use validator::SchemaValidator;

/// Cuts a text for a message.
fn cut(text: &str) -> String {
    text.chars().take(300).map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(feature = "providers")]
#[cfg(test)]
mod tests;
