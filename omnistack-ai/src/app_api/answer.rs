//! Answers with their account.

use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use crate::{
    call::CallSummary,
    chat::{StopReason, TokenUsage},
    gateway::GatewayAnswer,
    openai_api::message,
};

/// An answer, its usage and its cost.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct AiAnswer {
    /// The text.
    text: String,
    /// The whole message: with the calls of tools, it is the message to send back before their results.
    #[schema(value_type = Object)]
    message: Value,
    /// The reason for which the answer ended.
    stop: StopReason,
    /// The model that answered.
    model: String,
    /// The provider that answered.
    provider: String,
    /// The tokens.
    usage: TokenUsage,
    /// The account of the call.
    call: CallSummary,
    /// Remarks, such as a parameter that the provider does not have.
    warnings: Vec<String>,
}

impl From<GatewayAnswer> for AiAnswer {
    fn from(answer: GatewayAnswer) -> Self {
        let GatewayAnswer { response, call } = answer;
        Self {
            text: response.text(),
            message: message(&response),
            stop: response.stop,
            model: response.model,
            provider: call.provider.clone(),
            usage: call.usage,
            call,
            warnings: response.warnings,
        }
    }
}
