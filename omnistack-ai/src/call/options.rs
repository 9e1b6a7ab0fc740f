//! The options of calls of the gateway.

use std::{sync::Arc, time::Duration};

use omnistack_core::{
    data_environment::DataEnvironment,
    identity::{ApiKeyId, TenantId, UserId},
};

use crate::chat::CallTimeouts;

/// The caller that a call is counted for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct AiCaller {
    /// The tenant that pays.
    pub tenant: TenantId,
    /// Whether the data is live or of a test.
    pub environment: DataEnvironment,
    /// The user.
    pub user: Option<UserId>,
    /// The API key.
    pub api_key: Option<ApiKeyId>,
}

impl AiCaller {
    /// Creates the caller of work that the app does for a tenant.
    pub fn of_tenant(tenant: TenantId) -> Self {
        Self { tenant, environment: DataEnvironment::default(), user: None, api_key: None }
    }
}

/// Whether equal requests of a tenant share an answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CachePolicy {
    /// Each request is answered by a model.
    #[default]
    Off,
    /// An equal request within this time returns the stored answer.
    Exact(Duration),
    /// A request with the same instructions and a user message that means the same returns the stored answer.
    Semantic(Duration),
}

/// The options of a call.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct CallOptions {
    /// The only provider that may be asked. `None`: those of the route.
    pub provider: Option<String>,
    /// Whether answers are cached.
    pub cache: CachePolicy,
    /// Calls with the same text prefer the same provider, whose cache then has their conversation.
    pub sticky: Option<String>,
    /// The time limits.
    pub timeouts: CallTimeouts,
    /// The prompt version that was rendered, which its usage is counted for.
    pub prompt: Option<String>,
    /// The id of the request.
    pub request_id: Option<Arc<str>>,
    /// A label under which the app finds the usage, such as `fixes`.
    pub purpose: Option<&'static str>,
}

impl Default for CallOptions {
    fn default() -> Self {
        Self {
            provider: None,
            cache: CachePolicy::Off,
            sticky: None,
            timeouts: CallTimeouts::default(),
            prompt: None,
            request_id: None,
            purpose: None,
        }
    }
}

impl CallOptions {
    /// Sets the only provider that may be asked.
    #[must_use]
    pub fn provider(mut self, name: impl Into<String>) -> Self {
        self.provider = Some(name.into());
        self
    }

    /// Sets whether answers are cached.
    #[must_use]
    pub fn cache(mut self, policy: CachePolicy) -> Self {
        self.cache = policy;
        self
    }

    /// Sets the text by which calls prefer the same provider.
    #[must_use]
    pub fn sticky(mut self, key: impl Into<String>) -> Self {
        self.sticky = Some(key.into());
        self
    }

    /// Sets the time limits.
    #[must_use]
    pub fn timeouts(mut self, timeouts: CallTimeouts) -> Self {
        self.timeouts = timeouts;
        self
    }

    /// Sets the prompt version that was rendered.
    #[must_use]
    pub fn prompt(mut self, reference: impl Into<String>) -> Self {
        self.prompt = Some(reference.into());
        self
    }

    /// Sets the label under which the app finds the usage.
    #[must_use]
    pub fn purpose(mut self, purpose: &'static str) -> Self {
        self.purpose = Some(purpose);
        self
    }
}
