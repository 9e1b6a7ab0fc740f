//! Answers that must match a JSON schema.

use crate::{
    chat::{ChatRequest, ChatResponse, Message, OutputFormat, Role, StopKind},
    error::{LlmError, LlmErrorKind},
    json_schema::SchemaValidator,
};

/// Largest number of problems that the model is told.
const MAX_TOLD_PROBLEMS: usize = 10;
/// Largest description of a problem that the model is told, in bytes.
const MAX_TOLD_PROBLEM_BYTES: usize = 300;
/// Largest number of tokens of the user's message of the repair turn: the instruction and the problems.
const REPAIR_MESSAGE_TOKENS: u64 = 800;
/// The instruction to the model that comes before the problems.
const REPAIR_INSTRUCTIONS: &str =
    "The answer does not match the JSON schema. Answer again, with JSON that matches it and nothing else.";

/// Returns the validator of the schema that a request asks for, or the reason why the schema can't be used.
pub(super) fn validator(request: &ChatRequest) -> Result<Option<SchemaValidator>, String> {
    match &request.output {
        OutputFormat::JsonSchema { schema, .. } => SchemaValidator::new(schema).map(Some),
        OutputFormat::Text | OutputFormat::JsonObject => Ok(None),
    }
}

/// Returns the problems of an answer. An answer that does not end with the final text has none: it calls tools, it was
/// cut or refused.
pub(super) fn problems(validator: Option<&SchemaValidator>, response: &ChatResponse) -> Option<Vec<String>> {
    let validator = validator.filter(|_| response.stop.unified == StopKind::Stop)?;
    validator.validate(&response.text()).err()
}

/// Returns the request of the repair turn: the conversation, the answer, and its problems.
pub(super) fn repair_request(request: &ChatRequest, response: &ChatResponse, problems: &[String]) -> ChatRequest {
    let mut repair = request.clone();
    repair.messages.push(Message::new(Role::Assistant, response.parts.clone()));
    let mut text = REPAIR_INSTRUCTIONS.to_owned();
    for problem in problems.iter().take(MAX_TOLD_PROBLEMS) {
        text.push_str("\n- ");
        text.push_str(&problem[..problem.floor_char_boundary(MAX_TOLD_PROBLEM_BYTES)]);
    }
    repair.messages.push(Message::user(text));
    repair
}

/// Returns the largest number of tokens of the input of the repair turn: the conversation, an answer of so many tokens,
/// and its problems.
pub(super) const fn repair_input(input: u64, output: u64) -> u64 {
    input.saturating_add(output).saturating_add(REPAIR_MESSAGE_TOKENS)
}

/// Returns the error of an answer that does not match the schema after the repair turn.
pub(super) fn mismatch(provider: &str) -> LlmError {
    let message = "the answer does not match the JSON schema of the request; simplify the schema or use another model";
    LlmError::new(LlmErrorKind::SchemaMismatch, provider.to_owned(), message)
}
