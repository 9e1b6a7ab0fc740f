//! Copies of thought signatures, for clients that drop them.
//!
//! Gemini signs the reasoning before a call of a tool, and refuses a next request without the signature. The form of
//! OpenAI has no field for it that all clients keep, so the gateway keeps a copy by the id of the call.

use std::time::Duration;

use futures_util::future::join_all;
use omnistack_core::{cache::Cache, crypto::Sha256, identity::TenantId};

use crate::chat::{ChatRequest, ChatResponse, Message, Part, ToolCall};

/// The time for which a signature is kept: conversations continue within it.
const SIGNATURE_TTL: Duration = Duration::from_secs(3_600);
/// Largest signature that is kept, in bytes.
const MAX_SIGNATURE_BYTES: usize = 64 * 1024;
/// Largest number of calls of a request whose signatures are looked up, the latest first.
const MAX_RESTORED_CALLS: usize = 128;

/// The signatures of all tenants.
#[derive(Clone, Debug)]
pub(super) struct SignatureStore {
    pub(super) cache: Cache,
}

impl SignatureStore {
    /// Keeps the signatures of an answer.
    pub(super) async fn remember(&self, tenant: TenantId, response: &ChatResponse) {
        for call in response.tool_calls() {
            let kept = call.signature.as_ref().filter(|signature| signature.len() <= MAX_SIGNATURE_BYTES);
            if let Some(signature) = kept {
                self.cache.set(&key(tenant, &call.id), signature, SIGNATURE_TTL).await;
            }
        }
    }

    /// Adds the signatures that calls of a request lack.
    pub(super) async fn restore(&self, tenant: TenantId, request: &mut ChatRequest) {
        let calls = request.messages.iter_mut().rev().flat_map(|message| message.parts.iter_mut().rev());
        let missing = calls.filter_map(|part| match part {
            Part::ToolCall(call) if call.signature.is_none() => Some(call),
            _ => None,
        });
        let restored = missing.take(MAX_RESTORED_CALLS).map(|call| self.restore_call(tenant, call));
        join_all(restored).await;
    }

    async fn restore_call(&self, tenant: TenantId, call: &mut ToolCall) {
        call.signature = self.cache.get::<String>(&key(tenant, &call.id)).await;
    }
}

fn key(tenant: TenantId, call: &str) -> String {
    // Models and clients choose ids of any length.
    format!("ai:signature:{tenant}:{}", Sha256::digest(call))
}

/// Adds the names of tools that results lack, by the calls before them.
pub(super) fn name_results(request: &mut ChatRequest) {
    let lacks_name = |part: &Part| matches!(part, Part::ToolResult(result) if result.name.is_none());
    if !request.messages.iter().any(|message| message.parts.iter().any(lacks_name)) {
        return;
    }
    let calls: Vec<(String, String)> = request.messages.iter().flat_map(calls_of).collect();
    for part in request.messages.iter_mut().flat_map(|message| &mut message.parts) {
        if let Part::ToolResult(result) = part
            && result.name.is_none()
        {
            let call = calls.iter().rev().find(|(id, _)| *id == result.call_id);
            result.name = call.map(|(_, name)| name.clone());
        }
    }
}

fn calls_of(message: &Message) -> impl Iterator<Item = (String, String)> {
    message.parts.iter().filter_map(|part| match part {
        Part::ToolCall(call) => Some((call.id.clone(), call.name.clone())),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use omnistack_core::{clock::Clock, id::Id};

    use super::*;
    use crate::chat::{Role, StopKind, StopReason, ToolResult};

    fn history(signature: Option<&str>) -> ChatRequest {
        let mut call = ToolCall::new("call_1", "weather", "{}");
        call.signature = signature.map(Into::into);
        ChatRequest::new(
            "m",
            [
                Message::user("?"),
                Message::new(Role::Assistant, vec![Part::ToolCall(call)]),
                Message::tool_results([ToolResult::text("call_1", "sunny"), ToolResult::text("call_2", "?")]),
            ],
        )
    }

    fn signature(request: &ChatRequest) -> Option<&str> {
        match &request.messages[1].parts[0] {
            Part::ToolCall(call) => call.signature.as_deref(),
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn a_dropped_signature_is_restored_for_its_tenant() {
        let now = Clock::system().now();
        let store = SignatureStore { cache: Cache::in_process(1 << 20, Clock::system()) };
        let (tenant, other) = (Id::new(now), Id::new(now));
        let mut call = ToolCall::new("call_1", "weather", "{}");
        call.signature = Some("signed".into());
        let stop = StopReason::new(StopKind::ToolCalls, None);
        store.remember(tenant, &ChatResponse::new("", "m", vec![Part::ToolCall(call)], stop)).await;
        let mut request = history(None);
        store.restore(other, &mut request).await;
        assert_eq!(signature(&request), None);
        store.restore(tenant, &mut request).await;
        assert_eq!(signature(&request), Some("signed"));
        let mut own = history(Some("own"));
        store.restore(tenant, &mut own).await;
        assert_eq!(signature(&own), Some("own"));
    }

    #[test]
    fn results_get_the_names_of_their_tools() {
        let mut request = history(None);
        name_results(&mut request);
        let names = request.messages[2].parts.iter().map(|part| match part {
            Part::ToolResult(result) => result.name.as_deref(),
            _ => None,
        });
        assert_eq!(names.collect::<Vec<_>>(), [Some("weather"), None]);
    }
}
