//! Answers in pieces, as server-sent events of the app's own form.

use futures_util::{Stream, StreamExt as _, future::ready};
use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    call::CallSummary,
    chat::{ChatEvent, StopReason},
    error::LlmError,
    gateway::{GatewayEvent, GatewayStream},
    openai_api::{provider_error, public_message, sse_data},
};

/// An event of an answer. The pieces of one `index` belong to one part of the answer.
#[derive(Debug, Serialize, ToSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum AiAnswerEvent {
    /// The answer begins.
    Start {
        /// The model that answers.
        model: String,
    },
    /// Text.
    Text {
        /// The part.
        index: usize,
        /// The piece.
        delta: String,
    },
    /// Reasoning.
    Reasoning {
        /// The part.
        index: usize,
        /// The piece.
        delta: String,
    },
    /// A refusal.
    Refusal {
        /// The part.
        index: usize,
        /// The piece.
        delta: String,
    },
    /// The model begins a call of a tool.
    ToolCall {
        /// The part.
        index: usize,
        /// The id of the call.
        id: String,
        /// The name of the tool.
        name: String,
    },
    /// Arguments of a call.
    ToolCallArguments {
        /// The part.
        index: usize,
        /// The piece.
        delta: String,
    },
    /// A remark, such as a parameter that the provider does not have.
    Warning {
        /// The remark.
        message: String,
    },
    /// The answer is complete.
    End {
        /// The reason for which it ended.
        stop: StopReason,
    },
    /// The answer has failed. What arrived before is not complete.
    Error {
        /// Error code for programs.
        code: String,
        /// Message for people.
        message: String,
    },
    /// The account of the call, the last event.
    Settled {
        /// The account.
        call: Box<CallSummary>,
    },
}

/// Returns the frames of an answer. Dropping them ends the call.
pub(super) fn answer_frames(answer: GatewayStream) -> impl Stream<Item = String> + Send + 'static {
    answer.events.filter_map(|event| {
        let event = match event {
            Ok(GatewayEvent::Answer(event)) => answer_event(event),
            Ok(GatewayEvent::Settled(call)) => Some(AiAnswerEvent::Settled { call }),
            Err(error) => Some(error_event(&error)),
        };
        ready(event.map(|event| sse_data(&event)))
    })
}

fn error_event(error: &LlmError) -> AiAnswerEvent {
    let code = provider_error(error).code().to_owned();
    AiAnswerEvent::Error { code, message: public_message(error).into_owned() }
}

/// Returns the event for clients, if it is of use to them.
fn answer_event(event: ChatEvent) -> Option<AiAnswerEvent> {
    match event {
        ChatEvent::Start { model, .. } => Some(AiAnswerEvent::Start { model }),
        ChatEvent::Text { index, delta } => Some(AiAnswerEvent::Text { index, delta }),
        ChatEvent::Reasoning { index, delta } => Some(AiAnswerEvent::Reasoning { index, delta }),
        ChatEvent::Refusal { index, delta } => Some(AiAnswerEvent::Refusal { index, delta }),
        ChatEvent::ToolCallStart { index, id, name } => Some(AiAnswerEvent::ToolCall { index, id, name }),
        ChatEvent::ToolCallArguments { index, delta } => Some(AiAnswerEvent::ToolCallArguments { index, delta }),
        ChatEvent::Warning(message) => Some(AiAnswerEvent::Warning { message }),
        ChatEvent::End(stop) => Some(AiAnswerEvent::End { stop }),
        ChatEvent::ReasoningSignature { .. }
        | ChatEvent::ToolCallSignature { .. }
        | ChatEvent::Usage { .. }
        | ChatEvent::ServiceTier(_) => None,
    }
}
