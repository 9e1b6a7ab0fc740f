//! Registration of the gateway.

use std::sync::Arc;

use omnistack_core::{
    db::Db,
    identity::Authenticator,
    jobs::Cron,
    module::{Context, MissingDependency, Mount, Registry},
};

use super::{
    AiGateway,
    detached::Drains,
    engine::Engine,
    policy::MediaClient,
    prompt_log::{self, PromptLog, PurgePromptLog},
    settings::GatewaySettings,
    signatures::SignatureStore,
};
use crate::{
    accounting::Accounting,
    cache::{AnswerCache, PurgeAnswers},
    catalog::ModelCatalog,
    guardrail::{Guardrail, PiiRedactor, SizeLimits},
    provider::LlmProvider,
    router::AiRouter,
};

/// Registers the gateway with these providers and the app's own guardrails, its jobs, and the routes of the prompt log.
/// The catalog, the router and the accounting are registered by their rooms.
pub(crate) fn register(
    registry: &mut Registry,
    providers: Vec<Arc<dyn LlmProvider>>,
    guardrails: Vec<Arc<dyn Guardrail>>,
) {
    let Some(settings) = registry.config::<GatewaySettings>() else { return };
    let media_client = media_client(registry);
    let guardrails = all_guardrails(&settings, guardrails);
    let (clock, answers, log) = (registry.clock(), answers(registry, &settings), prompt_log(registry));
    let (of_gateway, log_of_gateway) = (answers.clone(), log.clone());
    let engine = move |ctx: &Context| -> Result<AiGateway, MissingDependency> {
        Ok(AiGateway(Arc::new(Engine {
            router: ctx.get::<AiRouter>()?,
            accounting: ctx.get::<Accounting>()?,
            catalog: ctx.get::<ModelCatalog>()?,
            providers: providers.clone(),
            guardrails: guardrails.clone(),
            entitlements: ctx.get()?,
            answers: of_gateway(ctx)?,
            signatures: SignatureStore { cache: ctx.get()? },
            prompt_log: log_of_gateway(ctx)?,
            media_client: media_client.clone(),
            drains: Drains::new(settings.max_drains),
            clock: clock.clone(),
            settings: settings.clone(),
        })))
    };
    registry
        .tenant_tables(["omni_ai_answers", "omni_ai_prompt_log", "omni_ai_prompt_log_settings"])
        .provide_from(engine)
        .job::<PurgeAnswers>(answers)
        .cron(Cron::new("19 * * * *", PurgeAnswers {}))
        .job::<PurgePromptLog>(log.clone())
        .cron(Cron::new("41 * * * *", PurgePromptLog {}))
        .after_modules(move |registry| {
            if registry.provides::<Authenticator>() {
                registry.routes(Mount::app("/ai/prompt-log"), prompt_log::api(), log);
            }
        });
}

/// Returns the guardrails in the order in which they check: size, redaction, the app's own.
fn all_guardrails(settings: &GatewaySettings, own: Vec<Arc<dyn Guardrail>>) -> Vec<Arc<dyn Guardrail>> {
    let size = SizeLimits {
        text_bytes: settings.max_text_bytes,
        media_bytes: settings.max_media_bytes,
        messages: usize::try_from(settings.max_messages).unwrap_or(usize::MAX),
    };
    let mut all: Vec<Arc<dyn Guardrail>> = vec![Arc::new(size)];
    if settings.redact_pii {
        all.push(Arc::new(PiiRedactor::default()));
    }
    all.extend(own);
    all
}

fn answers(
    registry: &Registry,
    settings: &GatewaySettings,
) -> impl Fn(&Context) -> Result<AnswerCache, MissingDependency> + Clone + Send + Sync + use<> {
    let clock = registry.clock();
    let max_answer_bytes = usize::try_from(settings.cache_max_answer_bytes).unwrap_or(usize::MAX);
    let (max_answers, similarity) = (settings.cache_max_answers, settings.cache_similarity);
    move |ctx| {
        // The tables are the app's, also if each tenant has a database.
        let db = ctx.get::<Db>()?.app_database();
        Ok(AnswerCache { db, clock: clock.clone(), max_answer_bytes, max_answers, similarity })
    }
}

fn prompt_log(
    registry: &Registry,
) -> impl Fn(&Context) -> Result<PromptLog, MissingDependency> + Clone + Send + Sync + use<> {
    let clock = registry.clock();
    move |ctx| {
        let db = ctx.get::<Db>()?.app_database();
        Ok(PromptLog { db, cache: ctx.get()?, clock: clock.clone(), audit: ctx.get()? })
    }
}

/// Returns the client for URLs of callers. It connects to public addresses only.
#[cfg(feature = "providers")]
fn media_client(registry: &mut Registry) -> Option<MediaClient> {
    registry.guarded_client().map(omnistack_core::http::client::GuardedClient)
}

#[cfg(not(feature = "providers"))]
fn media_client(_: &mut Registry) -> Option<MediaClient> {
    None
}
