//! The settings of providers, and the providers that they name.

use std::{sync::Arc, time::Duration};

use omnistack_core::module::Registry;
#[cfg(feature = "providers")]
use omnistack_core::{
    clock::Clock,
    http::client::{Client, ClientSettings},
};
#[cfg(feature = "providers")]
use secrecy::SecretString;

#[cfg(feature = "providers")]
use crate::http_provider::{HttpProvider, check_base_url};
use crate::{
    chat::CallTimeouts,
    fake::{FAKE_PROVIDER, FakeLlm},
    provider::LlmProvider,
};

omnistack_core::settings! {
    /// Calls to models.
    pub(crate) struct AiCallSettings {
        /// The provider that is preferred: `openai`, `anthropic`, `gemini`, `groq`, `azure`, the name in
        /// `AI_COMPATIBLE_NAME`, or `fake`. Default: the first of them with credentials in the settings. Without any,
        /// calls are answered by `fake`, which has no model; in production it must be named here, and is then the only
        /// provider.
        pub(crate) provider: Option<String> = "AI_PROVIDER";
        /// The time until the first part of a streamed answer arrives. An answer that is not streamed may take five
        /// times as long.
        pub(crate) first_byte_timeout: Duration = "AI_FIRST_BYTE_TIMEOUT", default "60s", range "10ms"..="1h";
        /// The time between two parts of an answer.
        pub(crate) idle_timeout: Duration = "AI_IDLE_TIMEOUT", default "30s", range "10ms"..="1h";
        /// The time of a whole call, all attempts included.
        pub(crate) total_timeout: Duration = "AI_TOTAL_TIMEOUT", default "10m", range "10ms"..="6h";
    }
}

omnistack_core::settings! {
    feature "providers" of "omnistack-ai";
    /// Providers of models.
    pub(crate) struct AiProviderSettings {
        /// The key of OpenAI.
        pub(crate) openai_api_key: Option<SecretString> = "OPENAI_API_KEY";
        /// The base URL of OpenAI's API, with its version.
        pub(crate) openai_base_url: String = "OPENAI_BASE_URL", default "https://api.openai.com/v1";
        /// The key of Anthropic.
        pub(crate) anthropic_api_key: Option<SecretString> = "ANTHROPIC_API_KEY";
        /// The base URL of Anthropic's API.
        pub(crate) anthropic_base_url: String = "ANTHROPIC_BASE_URL", default "https://api.anthropic.com";
        /// The key of Gemini.
        pub(crate) gemini_api_key: Option<SecretString> = "GEMINI_API_KEY";
        /// The base URL of Gemini's API.
        pub(crate) gemini_base_url: String = "GEMINI_BASE_URL", default "https://generativelanguage.googleapis.com";
        /// The key of Groq.
        pub(crate) groq_api_key: Option<SecretString> = "GROQ_API_KEY";
        /// The base URL of Groq's API, with its version.
        pub(crate) groq_base_url: String = "GROQ_BASE_URL", default "https://api.groq.com/openai/v1";
        /// The base URL of an API in the form of OpenAI's, with its version, such as `http://localhost:11434/v1` for
        /// Ollama.
        pub(crate) compatible_url: Option<String> = "AI_COMPATIBLE_URL";
        /// The key of that API, if it needs one.
        pub(crate) compatible_api_key: Option<SecretString> = "AI_COMPATIBLE_API_KEY";
        /// The name of that provider, in routes, prices and reports.
        pub(crate) compatible_name: String = "AI_COMPATIBLE_NAME", default "compatible";
        /// The endpoint of OpenAI's models at Azure, such as `https://NAME.openai.azure.com`.
        pub(crate) azure_endpoint: Option<String> = "AZURE_OPENAI_ENDPOINT";
        /// The key of that endpoint.
        pub(crate) azure_api_key: Option<SecretString> = "AZURE_OPENAI_API_KEY";
        /// The version of Azure's API, such as `2026-10-21`. Default: the API without versions.
        pub(crate) azure_api_version: Option<String> = "AZURE_OPENAI_API_VERSION";
    }
}

impl AiCallSettings {
    /// Returns the time limits of calls that state none.
    pub(crate) const fn timeouts(&self) -> CallTimeouts {
        CallTimeouts { first_byte: self.first_byte_timeout, idle: self.idle_timeout, total: self.total_timeout }
    }
}

/// Returns the providers that the settings name, the preferred one first. Without any, returns the fake, in production
/// only if `AI_PROVIDER` names it. Reports settings that are invalid.
pub(crate) fn providers(registry: &mut Registry, settings: &AiCallSettings) -> Vec<Arc<dyn LlmProvider>> {
    let preferred = settings.provider.as_deref();
    let mut providers = http_providers(registry);
    if preferred == Some(FAKE_PROVIDER) {
        registry.doctor_line("AI providers", "fake, which has no model");
        return vec![Arc::new(FakeLlm::new())];
    }
    if let Some(name) = preferred
        && !providers.iter().any(|provider| provider.name() == name)
    {
        let what = format!("AI_PROVIDER is `{}`, and the app has no such provider", name.escape_debug());
        registry.report_problem(what, fix_of_missing(name));
    }
    if providers.is_empty() {
        return without_credentials(registry);
    }
    // A stable sort: the others keep their order.
    providers.sort_by_key(|provider| Some(provider.name()) != preferred);
    let names: Vec<&str> = providers.iter().map(|provider| provider.name()).collect();
    registry.doctor_line("AI providers", names.join(", "));
    providers
}

/// Returns the fake, or no provider in production: answers of the fake would look like those of a model.
fn without_credentials(registry: &mut Registry) -> Vec<Arc<dyn LlmProvider>> {
    if registry.environment().is_production() {
        let text = "no provider is set up: set the credentials of one, such as OPENAI_API_KEY";
        tracing::warn!("AI calls fail: {text}");
        registry.doctor_line("AI providers", text).banner("AI", move || text.to_owned());
        return Vec::new();
    }
    registry
        .doctor_line("AI providers", "fake, which has no model, because no credentials are set")
        .banner("AI", || "built-in fake; set OPENAI_API_KEY or the key of another provider for a model".to_owned());
    vec![Arc::new(FakeLlm::new())]
}

#[cfg(feature = "providers")]
fn fix_of_missing(name: &str) -> String {
    let setting = match name {
        "openai" => "OPENAI_API_KEY",
        "anthropic" => "ANTHROPIC_API_KEY",
        "gemini" => "GEMINI_API_KEY",
        "groq" => "GROQ_API_KEY",
        "azure" => "AZURE_OPENAI_ENDPOINT and AZURE_OPENAI_API_KEY",
        _ => "AI_COMPATIBLE_URL, and AI_COMPATIBLE_NAME to this name",
    };
    format!("set {setting}, or set AI_PROVIDER to a provider with credentials or to `fake`")
}

#[cfg(not(feature = "providers"))]
fn fix_of_missing(_: &str) -> String {
    "set AI_PROVIDER=fake, or add the feature `providers` to `omnistack-ai` in Cargo.toml".to_owned()
}

#[cfg(not(feature = "providers"))]
fn http_providers(registry: &mut Registry) -> Vec<Arc<dyn LlmProvider>> {
    // Reports each of the settings that is set.
    registry.config::<AiProviderSettings>();
    Vec::new()
}

#[cfg(feature = "providers")]
fn http_providers(registry: &mut Registry) -> Vec<Arc<dyn LlmProvider>> {
    let Some(settings) = registry.config::<AiProviderSettings>() else { return Vec::new() };
    check_settings(registry, &settings);
    let (Some(client), Some(clients)) = (registry.http_client(), registry.config::<ClientSettings>()) else {
        return Vec::new();
    };
    let all = credentials(settings, &client, &registry.clock());
    let all = all.into_iter().map(|provider| provider.with_client_settings(clients.clone()));
    all.map(|provider| -> Arc<dyn LlmProvider> { Arc::new(provider) }).collect()
}

/// Returns the providers with credentials.
#[cfg(feature = "providers")]
fn credentials(settings: AiProviderSettings, client: &Client, clock: &Clock) -> Vec<HttpProvider> {
    let openai = settings
        .openai_api_key
        .map(|key| HttpProvider::openai(client.clone(), key).with_base_url(settings.openai_base_url));
    let anthropic = settings
        .anthropic_api_key
        .map(|key| HttpProvider::anthropic(client.clone(), key).with_base_url(settings.anthropic_base_url));
    let gemini = settings
        .gemini_api_key
        .map(|key| HttpProvider::gemini(client.clone(), key).with_base_url(settings.gemini_base_url));
    let groq =
        settings.groq_api_key.map(|key| HttpProvider::groq(client.clone(), key).with_base_url(settings.groq_base_url));
    let azure = settings
        .azure_endpoint
        .zip(settings.azure_api_key)
        .map(|(endpoint, key)| HttpProvider::azure(client.clone(), endpoint, key, settings.azure_api_version));
    let compatible = settings.compatible_url.map(|url| {
        let provider = HttpProvider::compatible(client.clone(), settings.compatible_name, url);
        match &settings.compatible_api_key {
            Some(key) => provider.with_key(key),
            None => provider,
        }
    });
    let all = [openai, anthropic, gemini, groq, azure, compatible].into_iter().flatten();
    all.map(|provider| provider.with_clock(clock.clone())).collect()
}

/// Reports settings that no provider can be made of.
#[cfg(feature = "providers")]
fn check_settings(registry: &mut Registry, settings: &AiProviderSettings) {
    let urls = [
        ("OPENAI_BASE_URL", Some(&settings.openai_base_url)),
        ("ANTHROPIC_BASE_URL", Some(&settings.anthropic_base_url)),
        ("GEMINI_BASE_URL", Some(&settings.gemini_base_url)),
        ("GROQ_BASE_URL", Some(&settings.groq_base_url)),
        ("AI_COMPATIBLE_URL", settings.compatible_url.as_ref()),
        ("AZURE_OPENAI_ENDPOINT", settings.azure_endpoint.as_ref()),
    ];
    for (name, url) in urls {
        if let Some(Err(error)) = url.map(|url| check_base_url(url)) {
            registry.report_problem(format!("{name} is not accepted: {error}"), format!("correct {name}, or unset it"));
        }
    }
    if settings.azure_endpoint.is_some() != settings.azure_api_key.is_some() {
        registry.report_problem(
            "only a part of the credentials of Azure is set",
            "set AZURE_OPENAI_ENDPOINT and AZURE_OPENAI_API_KEY, or neither",
        );
    }
    if settings.compatible_url.is_none() && settings.compatible_api_key.is_some() {
        registry.report_problem("AI_COMPATIBLE_API_KEY is set without its API", "set AI_COMPATIBLE_URL too");
    }
    let name = settings.compatible_name.as_str();
    let is_taken = ["openai", "anthropic", "gemini", "groq", "azure", FAKE_PROVIDER].contains(&name);
    if is_taken || !is_provider_name(name) {
        registry.report_problem(
            format!("AI_COMPATIBLE_NAME is `{}`, which can't be a provider's name", name.escape_debug()),
            "set it to 1 to 40 lowercase letters, digits, `-` and `_`, and to no name of another provider",
        );
    }
}

#[cfg(feature = "providers")]
fn is_provider_name(name: &str) -> bool {
    let known = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'_');
    (1..=40).contains(&name.len()) && name.bytes().all(known)
}
