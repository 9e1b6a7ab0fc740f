//! The routes of models for the app's own clients: `/api/v1/app/ai`.
//!
//! Unlike the [API of OpenAI](crate::openai_api), each answer has its usage and its cost, errors have the app's form,
//! and requests can name a [prompt](crate::prompt) of the app, or let the app choose the model by the complexity of the
//! request.

mod answer;
mod body;
mod chat;
mod completions;
mod events;
mod models;
mod status;

use omnistack_core::{
    identity::Authenticator,
    module::{Context, MissingDependency, Mount, Registry},
};

use crate::{gateway::AiGateway, openai_api::ApiSettings, prompt::Prompts};

/// State of the routes.
#[derive(Clone, Debug)]
struct AppApi {
    gateway: AiGateway,
    prompts: Prompts,
    settings: ApiSettings,
}

/// Registers the routes, if the app authenticates callers.
pub(crate) fn register(registry: &mut Registry, settings: ApiSettings) {
    registry.after_modules(move |registry| {
        if !registry.provides::<Authenticator>() {
            return;
        }
        let mount = || Mount::app("/ai").permissions("ai");
        let calls = settings.limits(mount());
        let state = move |ctx: &Context| -> Result<AppApi, MissingDependency> {
            Ok(AppApi { gateway: ctx.get()?, prompts: ctx.get()?, settings: settings.clone() })
        };
        registry.routes(mount(), status::api().merge(models::api()), state.clone()).routes(
            calls,
            completions::api().merge(chat::api()),
            state,
        );
    });
}
