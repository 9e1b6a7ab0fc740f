//! The API of OpenAI, for its official clients and all others that speak it: `/v1/chat/completions`, `/v1/responses`,
//! `/v1/embeddings` and `/v1/models`, with API keys of the app.
//!
//! A client needs the address of the app with `/v1` as its base URL, and an API key with the permission `ai:write`
//! (`ai:read` for the models). Errors have OpenAI's form, also those of the app's layers. Fields of a request that this
//! crate does not know are sent to the providers whose API has them.

mod call_failures;
mod call_headers;
mod caller;
mod chat;
mod content;
mod embeddings;
mod error_form;
mod failure;
mod fields;
mod format;
mod messages;
mod models;
mod render;
mod request;
mod responses;
mod stream;

use omnistack_core::{
    clock::Clock,
    http::HeaderName,
    identity::{AccessLevel, Authenticator},
    module::{Context, MissingDependency, Mount, Registry},
};

use crate::{chat::CallTimeouts, gateway::AiGateway};
pub(crate) use caller::{ai_caller, call_options};
pub(crate) use failure::{http_error, provider_error, public_message};
pub(crate) use fields::{FieldProblem, ObjectFields};
pub(crate) use messages::parse_messages;
pub(crate) use models::is_available;
pub(crate) use render::message;
pub(crate) use request::{MAX_MODEL_BYTES, parse_common};
pub(crate) use stream::{event_stream, sse_data};

/// Largest body of a request, in bytes: images and documents are part of it, as base64.
pub(crate) const MAX_REQUEST_BYTES: u64 = 32 * 1024 * 1024;
/// Time that a request has besides the time limit of the call to the model.
const REQUEST_MARGIN: std::time::Duration = std::time::Duration::from_secs(30);

/// The settings of the routes that call models.
#[derive(Clone, Debug)]
pub(crate) struct ApiSettings {
    /// The time limits of calls.
    pub(crate) timeouts: CallTimeouts,
    /// The model of requests of the app's own API that name none: `AI_DEFAULT_MODEL`.
    pub(crate) default_model: String,
}

impl ApiSettings {
    /// Returns a mount with the limits of routes that call models. Their answers are not stored for
    /// `Idempotency-Key`, since they can be streams.
    pub(crate) fn limits(&self, mount: Mount) -> Mount {
        mount
            .body_limit(MAX_REQUEST_BYTES)
            .timeout(self.timeouts.total.saturating_add(REQUEST_MARGIN))
            .without_idempotency()
    }
}

/// State of the routes.
#[derive(Clone, Debug)]
pub(crate) struct OpenAiApi {
    pub(crate) gateway: AiGateway,
    pub(crate) clock: Clock,
    pub(crate) timeouts: CallTimeouts,
}

/// Registers the routes, if the app authenticates callers.
pub(crate) fn register(registry: &mut Registry, settings: ApiSettings) {
    registry
        .request_headers([HeaderName::from_static(caller::CACHE_HEADER)])
        .response_headers(call_headers::CALL_HEADERS)
        .response_headers([failure::SHOULD_RETRY]);
    registry.after_modules(move |registry| {
        if !registry.provides::<Authenticator>() {
            return;
        }
        // Each route has a mount of its own, so that other routes of the app below `/v1` keep the app's form of errors.
        let mount = |path: &str| {
            let mount = Mount::root(path, AccessLevel::Machine).permissions("ai").error_form(error_form::OPENAI_ERRORS);
            settings.limits(mount)
        };
        let (clock, timeouts) = (registry.clock(), settings.timeouts);
        let state = move |ctx: &Context| -> Result<OpenAiApi, MissingDependency> {
            Ok(OpenAiApi { gateway: ctx.get()?, clock: clock.clone(), timeouts })
        };
        registry
            .routes(mount("/v1/chat/completions"), chat::api(), state.clone())
            .routes(mount("/v1/responses"), responses::api(), state.clone())
            .routes(mount("/v1/embeddings"), embeddings::api(), state.clone())
            .routes(mount("/v1/models"), models::api(), state);
    });
}
