//! Tool calls that arrive in pieces.

use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::fields::text;
use crate::chat::ChatEvent;

/// Maximum number of tool calls in an answer.
const MAX_CALLS_PER_ANSWER: usize = 512;

/// The tool calls of one answer. Pieces belong together by their index and their id, never by their order: providers
/// interleave them, give several calls the same index, or leave ids or indexes out.
#[derive(Debug, Default)]
pub(super) struct PartialCalls(Vec<PartialCall>);

#[derive(Debug)]
struct PartialCall {
    index: Option<u64>,
    /// The id that the provider sends, or an empty one.
    id: String,
    name: String,
    /// The part of the answer, once the call has begun.
    part: Option<usize>,
    /// Arguments that arrived before the name.
    waiting: String,
    has_arguments: bool,
    signature: Option<String>,
}

/// A piece of a call.
struct Piece<'a> {
    index: Option<u64>,
    id: &'a str,
    name: &'a str,
    arguments: String,
    signature: Option<&'a str>,
}

impl PartialCalls {
    /// Returns whether the model has called a tool.
    pub(super) fn is_empty(&self) -> bool {
        self.0.iter().all(|call| call.part.is_none())
    }

    /// Adds a piece. `position` is the index of a piece that has none, and `answer` identifies the answer. Fails if
    /// there are too many calls.
    pub(super) fn push(
        &mut self,
        piece: &Value,
        position: Option<u64>,
        answer: &str,
        next_part: &mut usize,
        events: &mut Vec<ChatEvent>,
    ) -> Result<(), &'static str> {
        let piece = Piece::read(piece, position);
        let at = match self.call_of(&piece) {
            Some(at) => at,
            None if self.0.len() == MAX_CALLS_PER_ANSWER => return Err("the answer has too many tool calls"),
            None => {
                self.0.push(PartialCall::new(piece.index));
                self.0.len() - 1
            }
        };
        let call = &mut self.0[at];
        if call.id.is_empty() {
            piece.id.clone_into(&mut call.id);
        }
        if call.name.is_empty() {
            piece.name.clone_into(&mut call.name);
        }
        call.add(piece.arguments, piece.signature, events);
        if call.part.is_none() && !call.name.is_empty() {
            call.begin(at, answer, next_part, events);
        }
        Ok(())
    }

    /// Ends all calls of a complete answer. Fails if a call has no name.
    pub(super) fn finish(&mut self, events: &mut Vec<ChatEvent>) -> Result<(), &'static str> {
        for call in &mut self.0 {
            match call.part {
                // A tool without parameters: some servers send no arguments, others an empty object.
                Some(index) if !call.has_arguments => {
                    call.has_arguments = true;
                    events.push(ChatEvent::ToolCallArguments { index, delta: "{}".to_owned() });
                }
                Some(_) => {}
                None if call.waiting.is_empty() => {}
                None => return Err("a tool call of the answer has no name"),
            }
        }
        Ok(())
    }

    /// Returns the call that a piece continues, or `None` if the piece begins one.
    fn call_of(&self, piece: &Piece<'_>) -> Option<usize> {
        let last = |matches: &dyn Fn(&PartialCall) -> bool| self.0.iter().rposition(matches);
        let has_index = |call: &PartialCall| piece.index.is_none() || call.index == piece.index;
        if !piece.id.is_empty()
            && let Some(exact) = last(&|call| call.id == piece.id && has_index(call))
        {
            return Some(exact);
        }
        let at = last(&has_index)?;
        let call = &self.0[at];
        if piece.name.is_empty() || call.name.is_empty() {
            return Some(at);
        }
        let has_other_id = !piece.id.is_empty() && !call.id.is_empty();
        let has_other_name = piece.id.is_empty() && piece.name != call.name;
        let has_no_key = piece.id.is_empty() && piece.index.is_none();
        (!(has_other_id || has_other_name || has_no_key)).then_some(at)
    }
}

impl<'a> Piece<'a> {
    fn read(piece: &'a Value, position: Option<u64>) -> Self {
        let function = piece.get("function").unwrap_or(piece);
        let arguments = match function.get("arguments") {
            None | Some(Value::Null) => String::new(),
            Some(Value::String(arguments)) => arguments.clone(),
            Some(arguments) => arguments.to_string(),
        };
        Self {
            index: piece.get("index").and_then(Value::as_u64).or(position),
            id: text(piece, "id"),
            name: text(function, "name"),
            arguments,
            signature: piece.pointer("/extra_content/google/thought_signature").and_then(Value::as_str),
        }
    }
}

impl PartialCall {
    fn new(index: Option<u64>) -> Self {
        Self {
            index,
            id: String::new(),
            name: String::new(),
            part: None,
            waiting: String::new(),
            has_arguments: false,
            signature: None,
        }
    }

    fn add(&mut self, arguments: String, signature: Option<&str>, events: &mut Vec<ChatEvent>) {
        let Some(index) = self.part else {
            self.waiting.push_str(&arguments);
            self.signature = signature.map(str::to_owned).or_else(|| self.signature.take());
            return;
        };
        if !arguments.is_empty() {
            self.has_arguments = true;
            events.push(ChatEvent::ToolCallArguments { index, delta: arguments });
        }
        let signature = signature.map(str::to_owned);
        events.extend(signature.map(|signature| ChatEvent::ToolCallSignature { index, signature }));
    }

    fn begin(&mut self, number: usize, answer: &str, next_part: &mut usize, events: &mut Vec<ChatEvent>) {
        let index = *next_part;
        *next_part += 1;
        self.part = Some(index);
        let id = if self.id.is_empty() { minted_id(answer, number, &self.name) } else { self.id.clone() };
        events.push(ChatEvent::ToolCallStart { index, id, name: self.name.clone() });
        let (arguments, signature) = (std::mem::take(&mut self.waiting), self.signature.take());
        self.add(arguments, signature.as_deref(), events);
    }
}

/// Returns the id of a call that has none. It is the same however the stream is cut, and differs from those of other
/// answers.
fn minted_id(answer: &str, number: usize, name: &str) -> String {
    let digest = Sha256::digest(format!("{answer}\n{number}\n{name}"));
    format!("call_{}", hex::encode(&digest[..12]))
}
