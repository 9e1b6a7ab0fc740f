//! Tool calls: whole, or with arguments that arrive value by value.

use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::{MINTED_ID_PREFIX, partial_arguments::PartialArguments};
use crate::{
    chat::ChatEvent,
    wire::openai_chat::{list, text},
};

/// Maximum number of tool calls in an answer.
const MAX_CALLS_PER_ANSWER: usize = 512;

/// The tool calls of one answer.
#[derive(Debug, Default)]
pub(super) struct FunctionCalls {
    count: usize,
    /// The calls whose arguments go on, the latest last.
    open: Vec<OpenFunctionCall>,
}

/// A tool call whose arguments go on.
#[derive(Debug)]
struct OpenFunctionCall {
    part: usize,
    /// The id that the provider sends, or an empty one.
    id: String,
    name: String,
    arguments: PartialArguments,
}

impl FunctionCalls {
    /// Returns whether the model has called a tool.
    pub(super) fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Adds a part with a call. `answer` identifies the answer. Fails if the part is not in the form of the API.
    pub(super) fn push(
        &mut self,
        part: &Value,
        answer: &str,
        next_part: &mut usize,
        events: &mut Vec<ChatEvent>,
    ) -> Result<(), &'static str> {
        let Some(call) = part.get("functionCall") else { return Ok(()) };
        let at = match self.continued(text(call, "id"), text(call, "name")) {
            Some(at) => at,
            None if text(call, "name").is_empty() => {
                // The end of a call that has ended already.
                return if call.get("args").is_none() { Ok(()) } else { Err("a tool call of the answer has no name") };
            }
            None => self.begin(call, part, answer, next_part, events)?,
        };
        let open = &mut self.open[at];
        let signature = text(part, "thoughtSignature");
        if !signature.is_empty() {
            events.push(ChatEvent::ToolCallSignature { index: open.part, signature: signature.to_owned() });
        }
        if let Some(Value::Object(whole)) = call.get("args") {
            open.arguments.set_whole(whole);
        }
        for piece in list(call, "partialArgs") {
            open.arguments.push(piece).ok_or("arguments of the answer are not in the form of the API")?;
        }
        if call.get("willContinue").and_then(Value::as_bool) != Some(true) {
            let open = self.open.remove(at);
            open.end(events);
        }
        Ok(())
    }

    /// Ends all calls.
    pub(super) fn finish(&mut self, events: &mut Vec<ChatEvent>) {
        for call in self.open.drain(..) {
            call.end(events);
        }
    }

    /// Returns the open call that a piece continues. A piece without a name continues the latest one.
    fn continued(&self, id: &str, name: &str) -> Option<usize> {
        let by_id = self.open.iter().rposition(|call| !id.is_empty() && call.id == id);
        by_id.or_else(|| {
            let last = self.open.len().checked_sub(1)?;
            (id.is_empty() && (name.is_empty() || name == self.open[last].name)).then_some(last)
        })
    }

    fn begin(
        &mut self,
        call: &Value,
        part: &Value,
        answer: &str,
        next_part: &mut usize,
        events: &mut Vec<ChatEvent>,
    ) -> Result<usize, &'static str> {
        if self.count == MAX_CALLS_PER_ANSWER {
            return Err("the answer has too many tool calls");
        }
        let (id, name) = (text(call, "id").to_owned(), text(call, "name").to_owned());
        let index = *next_part;
        *next_part += 1;
        let known_id = if id.is_empty() {
            minted_id(answer, self.count, &name, text(part, "thoughtSignature"))
        } else {
            id.clone()
        };
        self.count += 1;
        events.push(ChatEvent::ToolCallStart { index, id: known_id, name: name.clone() });
        self.open.push(OpenFunctionCall { part: index, id, name, arguments: PartialArguments::new() });
        Ok(self.open.len() - 1)
    }
}

impl OpenFunctionCall {
    fn end(self, events: &mut Vec<ChatEvent>) {
        events.push(ChatEvent::ToolCallArguments { index: self.part, delta: self.arguments.finish() });
    }
}

/// Returns the id of a call that has none. It is the same however the stream is cut, and differs from those of other
/// answers.
fn minted_id(answer: &str, number: usize, name: &str, signature: &str) -> String {
    let digest = Sha256::digest(format!("{answer}\n{number}\n{name}\n{signature}"));
    format!("{MINTED_ID_PREFIX}{}", hex::encode(&digest[..12]))
}
