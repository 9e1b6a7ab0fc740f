//! Prompts: templates of requests that change without a release.
//!
//! A prompt has versions, which do not change, and labels that stand for versions: the app uses the label `production`,
//! and operators test a version before they set it, or return to the one before. A label can stand for several versions
//! by weight or by the variants of a feature flag, so that they can be compared: the [usage](usage) of each is in the
//! ledger of calls. Tenants can replace the
//! prompts that allow it.

mod admin;
mod changes;
mod choice;
mod handle;
mod model;
mod reads;
mod routes;
mod store;
mod template;
mod test_run;
mod usage;

use omnistack_core::{
    db::Db,
    identity::Authenticator,
    module::{Mount, Registry},
};

use crate::openai_api::ApiSettings;
pub use handle::{Prompts, RenderedPrompt};
pub use model::{
    PromptAccess, PromptContent, PromptMessage, PromptRole, PromptSelection, PromptVariable, WeightedVersion,
};

use handle::PromptsInner;
use test_run::PromptTests;

/// Registers the prompts, and their routes if the app authenticates callers.
pub(crate) fn register(registry: &mut Registry, settings: ApiSettings) {
    let (clock, default_model) = (registry.clock(), settings.default_model.clone());
    registry
        .tenant_tables(["omni_ai_prompt_overrides"])
        .provide_from(move |ctx| {
            Ok(Prompts::new(PromptsInner {
                // Prompts are the app's, also if each tenant has a database.
                db: ctx.get::<Db>()?.app_database(),
                clock: clock.clone(),
                log: ctx.get()?,
                flags: ctx.get()?,
                entitlements: ctx.get()?,
                default_model: default_model.clone(),
            }))
        })
        .after_modules(move |registry| {
            if !registry.provides::<Authenticator>() {
                return;
            }
            let timeouts = settings.timeouts;
            registry
                .routes(Mount::app("/ai/prompts").permissions("ai"), routes::api(), |ctx| ctx.get::<Prompts>())
                .routes(Mount::admin("/ai/prompts"), admin::api(), |ctx| ctx.get::<Prompts>())
                .routes(settings.limits(Mount::admin("/ai/prompts")), test_run::api(), move |ctx| {
                    Ok(PromptTests { prompts: ctx.get()?, gateway: ctx.get()?, timeouts })
                });
        });
}
