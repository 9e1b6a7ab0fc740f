//! The module [`Ai`].

use std::sync::Arc;

use async_trait::async_trait;
use omnistack_core::{
    BoxError, migrations,
    module::{Context, Module, Registry},
};

use crate::{
    accounting::{self, Accounting},
    app_api,
    catalog::{self, ModelCatalog},
    error::{LlmError, LlmErrorKind},
    export,
    fake::FAKE_PROVIDER,
    fix::{self, CodeHost},
    gateway::{self, AiGateway},
    guardrail::Guardrail,
    openai_api::{self, ApiSettings},
    prompt,
    provider::LlmProvider,
    provider_settings::{self, AiCallSettings},
    reports,
    router::{self, ModelRoutes},
    vector::{self, TextEmbedder, VectorIndex},
};

/// The module of the AI gateway: `.with(Ai::from_env())`. See the [crate's documentation](crate).
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct Ai {
    providers: Vec<Arc<dyn LlmProvider>>,
    guardrails: Vec<Arc<dyn Guardrail>>,
    catalog: Option<ModelCatalog>,
    routes: Option<ModelRoutes>,
    vector_index: Option<Arc<dyn VectorIndex>>,
    text_embedder: Option<Arc<dyn TextEmbedder>>,
    code_host: Option<Arc<dyn CodeHost>>,
}

impl Ai {
    /// Creates the module with the providers whose credentials are in the settings, or with the built-in fake.
    pub fn from_env() -> Self {
        Self::default()
    }

    /// Adds a provider. It replaces a provider of the settings with the same name.
    pub fn provider(mut self, provider: impl LlmProvider) -> Self {
        self.providers.push(Arc::new(provider));
        self
    }

    /// Adds a guardrail. Guardrails run in the order in which they are added.
    pub fn guardrail(mut self, guardrail: impl Guardrail) -> Self {
        self.guardrails.push(Arc::new(guardrail));
        self
    }

    /// Sets the models and their prices. Default: those of this release. `AI_MODELS_FILE` changes both.
    pub fn catalog(mut self, catalog: ModelCatalog) -> Self {
        self.catalog = Some(catalog);
        self
    }

    /// Sets the named routes. `AI_ROUTES_FILE` replaces them.
    pub fn model_routes(mut self, routes: ModelRoutes) -> Self {
        self.routes = Some(routes);
        self
    }

    /// Sets the engine of vectors. Default: that of `AI_VECTOR_ENGINE`.
    pub fn vector_index(mut self, index: impl VectorIndex) -> Self {
        self.vector_index = Some(Arc::new(index));
        self
    }

    /// Sets what turns texts into vectors. Default: the gateway, with `AI_VECTOR_MODEL`.
    pub fn text_embedder(mut self, embedder: impl TextEmbedder) -> Self {
        self.text_embedder = Some(Arc::new(embedder));
        self
    }

    /// Sets the host of the code that is fixed. Default: GitHub, if its token is in the settings.
    pub fn code_host(mut self, host: impl CodeHost) -> Self {
        self.code_host = Some(Arc::new(host));
        self
    }

    /// Returns the app's own providers, and those of the settings that they don't replace.
    fn all_providers(&self, registry: &mut Registry, calls: &AiCallSettings) -> Vec<Arc<dyn LlmProvider>> {
        let mut all = self.providers.clone();
        let of_settings = provider_settings::providers(registry, calls);
        let others: Vec<_> = of_settings
            .into_iter()
            .filter(|provider| !self.providers.iter().any(|own| own.name() == provider.name()))
            .collect();
        all.extend(others);
        all
    }
}

/// Adds a check of a provider, which lists its models. Costs nothing at any provider.
fn check_service(registry: &mut Registry, provider: Arc<dyn LlmProvider>) {
    // The names of services are static, and an app has few providers.
    let name: &'static str = provider.name().to_owned().leak();
    registry.service_check(name, move |_| {
        Ok(move || {
            let provider = Arc::clone(&provider);
            async move {
                match provider.models().await {
                    Err(error) if !offers_no_list(&error) => Err(BoxError::from(error)),
                    _ => Ok(()),
                }
            }
        })
    });
}

/// Returns whether a provider has responded that it has no list of models. Some servers in OpenAI's form have none.
fn offers_no_list(error: &LlmError) -> bool {
    error.kind == LlmErrorKind::NotSupported || matches!(error.status, Some(404 | 405 | 501))
}

#[async_trait]
impl Module for Ai {
    fn name(&self) -> &'static str {
        "ai"
    }

    fn register(&self, registry: &mut Registry) {
        registry.migrations(migrations!["0001_calls", "0002_cache", "0003_prompts", "0004_vectors", "0005_fixes"]);
        let Some(calls) = registry.config::<AiCallSettings>() else { return };
        let Some(catalog) = catalog::register(registry, self.catalog.clone()) else { return };
        let providers = self.all_providers(registry, &calls);
        for provider in providers.iter().filter(|provider| provider.name() != FAKE_PROVIDER) {
            check_service(registry, Arc::clone(provider));
        }
        let routes = self.routes.clone();
        let Some(default_model) = router::register(registry, &catalog, providers.clone(), routes) else { return };
        accounting::register(registry, catalog);
        gateway::register(registry, providers, self.guardrails.clone());
        reports::register(registry);
        let api = ApiSettings { timeouts: calls.timeouts(), default_model };
        openai_api::register(registry, api.clone());
        prompt::register(registry, api.clone());
        app_api::register(registry, api);
        vector::register(registry, self.vector_index.clone(), self.text_embedder.clone());
        fix::register(registry, self.code_host.clone());
        export::register(registry);
        #[cfg(feature = "mcp")]
        crate::mcp::register(registry);
        // Reports each of the settings that is set.
        #[cfg(not(feature = "mcp"))]
        registry.config::<crate::mcp::McpSettings>();
    }

    async fn stop(&self, ctx: &Context) {
        if let Ok(gateway) = ctx.get::<AiGateway>() {
            gateway.stop().await;
        }
        if let Ok(accounting) = ctx.get::<Accounting>() {
            accounting.stop().await;
        }
    }
}
