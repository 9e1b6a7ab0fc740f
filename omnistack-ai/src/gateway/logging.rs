//! Entries of the prompt log for the calls of tenants that want them.

use super::{
    call_run::CallPlan,
    engine::Engine,
    prompt_log::{LoggedCall, LoggedRequest},
};
use crate::{
    call::AiCaller,
    call::CallId,
    chat::{ChatRequest, ChatResponse},
};

/// An entry whose call has not ended.
pub(super) struct PendingLog {
    caller: AiCaller,
    asked_model: String,
    request: LoggedRequest,
    retention_days: i32,
}

impl Engine {
    /// Returns the entry of a call, or `None` if the tenant wants no log.
    pub(super) async fn begin_log(&self, plan: &CallPlan, request: &ChatRequest) -> Option<PendingLog> {
        let retention_days = self.prompt_log.retention(plan.caller.tenant).await?;
        let request = LoggedRequest::of(request);
        Some(PendingLog { caller: plan.caller, asked_model: plan.asked_model.clone(), request, retention_days })
    }

    /// Adds the entry of a call that has ended.
    pub(super) async fn write_log(
        &self,
        pending: Option<PendingLog>,
        id: CallId,
        provider: &str,
        error: Option<&'static str>,
        response: &ChatResponse,
    ) {
        let Some(PendingLog { caller, asked_model, request, retention_days }) = pending else { return };
        let call = LoggedCall {
            id,
            caller: &caller,
            asked_model: &asked_model,
            provider,
            error,
            request,
            response,
            retention_days,
        };
        Box::pin(self.prompt_log.record(call)).await;
    }
}
