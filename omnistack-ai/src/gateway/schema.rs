//! Answers that must match a JSON schema.

use super::estimate;
use crate::{
    chat::{ChatRequest, ChatResponse, Message, OutputFormat, StopKind},
    error::{LlmError, LlmErrorKind},
    json_schema::SchemaValidator,
};

/// Largest number of problems that the model is told.
const MAX_TOLD_PROBLEMS: usize = 10;
/// Largest description of a problem that the model is told, in bytes.
const MAX_TOLD_PROBLEM_BYTES: usize = 300;
/// The instruction to the model that comes before the problems.
const REPAIR_INSTRUCTIONS: &str =
    "The answer does not match the JSON schema. Answer again, with JSON that matches it and nothing else.";
/// The text before each problem.
const BULLET: &str = "\n- ";
/// Largest text of the user's message of the repair turn, in bytes: the instruction and the problems.
const MAX_REPAIR_MESSAGE_BYTES: usize =
    REPAIR_INSTRUCTIONS.len() + MAX_TOLD_PROBLEMS * (BULLET.len() + MAX_TOLD_PROBLEM_BYTES);

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

/// Returns the request of the repair turn: the conversation, the text of the answer, and its problems. Of a text with
/// more than `output` tokens, it has the beginning, so that it stays within [`repair_input`].
pub(super) fn repair_request(
    request: &ChatRequest,
    response: &ChatResponse,
    problems: &[String],
    output: u64,
) -> ChatRequest {
    let mut repair = request.clone();
    let answer = response.text();
    let answer = &answer[..answer.floor_char_boundary(estimate::bytes_of(output))];
    if !answer.is_empty() {
        repair.messages.push(Message::assistant(answer));
    }
    let mut text = REPAIR_INSTRUCTIONS.to_owned();
    for problem in problems.iter().take(MAX_TOLD_PROBLEMS) {
        text.push_str(BULLET);
        text.push_str(&problem[..problem.floor_char_boundary(MAX_TOLD_PROBLEM_BYTES)]);
    }
    repair.messages.push(Message::user(text));
    repair
}

/// Returns the largest number of tokens of the input of the repair turn: the conversation, an answer of so many tokens,
/// and its problems.
pub(super) fn repair_input(input: u64, output: u64) -> u64 {
    let answer = estimate::message_tokens(estimate::bytes_of(output));
    let problems = estimate::message_tokens(MAX_REPAIR_MESSAGE_BYTES);
    input.saturating_add(answer).saturating_add(problems)
}

/// Returns the error of an answer that does not match the schema after the repair turn.
pub(super) fn mismatch(provider: &str) -> LlmError {
    let message = "the answer does not match the JSON schema of the request; simplify the schema or use another model";
    LlmError::new(LlmErrorKind::SchemaMismatch, provider.to_owned(), message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chat::{Part, Role, StopReason};

    /// The reservation for the repair turn is the most that its request can have, by the same estimate.
    #[test]
    fn the_reservation_of_the_repair_turn_is_an_upper_limit() {
        let request = ChatRequest::new("m", [Message::system("Be brief."), Message::user("a number")]);
        let input = estimate::input_tokens(&request);
        let reasoning =
            Part::Reasoning { text: "hm".repeat(5_000), signature: Some("s".repeat(5_000)), redacted: None };
        let problem = "\u{1f30d}".repeat(200);
        for (text, problems, output) in [
            (String::new(), 0, 0),
            ("no".to_owned(), 1, 0),
            ("no".to_owned(), 1, 1),
            ("\u{1f30d}".repeat(10), 100, 10),
            ("x".repeat(41), 10, 10),
            (" ".repeat(100_000), 10, 300),
            ("x".to_owned(), 10, u64::MAX),
        ] {
            let parts = vec![reasoning.clone(), Part::text(&text)];
            let response = ChatResponse::new("id", "m", parts, StopReason::new(StopKind::Stop, None));
            let repair = repair_request(&request, &response, &vec![problem.clone(); problems], output);
            let (used, reserved) = (estimate::input_tokens(&repair), repair_input(input, output));
            assert!(used <= reserved, "{used} of {reserved}: {output}");
            let kept = text.len().min(estimate::bytes_of(output));
            let answer = repair.messages.iter().find(|message| message.role == Role::Assistant);
            let repeated = answer.map_or(0, |answer| answer.to_text().len());
            assert!(repeated + 3 >= kept, "no more than a character is lost");
        }
    }
}
