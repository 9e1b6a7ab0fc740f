//! Usage events.

use std::borrow::Cow;

use rust_decimal::Decimal;

use super::meters;
use crate::{
    clock::Timestamp,
    data_environment::DataEnvironment,
    id::{ApiKeyId, TenantId, UserId},
};

/// An amount that a tenant has used.
///
/// ```
/// use omnistack_core::{clock::Clock, id::Id, usage::{UsageEvent, meters}};
///
/// let now = Clock::system().now();
/// let event = UsageEvent::new(Id::new(now), meters::AI_TOKENS, 1_284, now)
///     .category("gpt-5")
///     .once("ai", "completion/0197a1b0");
/// assert_eq!((event.source.as_ref(), event.id.as_deref()), ("ai", Some("completion/0197a1b0")));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct UsageEvent {
    /// The tenant that used it.
    pub tenant: TenantId,
    /// Whether it is real usage, or that of a test. Default: live.
    pub environment: DataEnvironment,
    /// The name of the meter, such as `storage_bytes`.
    pub meter: Cow<'static, str>,
    /// The amount; negative if it was given back.
    pub quantity: Decimal,
    /// The time of use.
    pub at: Timestamp,
    /// The part of the app, or the other system, that reports the event. Ids are unique within a source. Default:
    /// `app`.
    pub source: Cow<'static, str>,
    /// The id of the event. Of the events of a tenant and environment with the same source and id, one counts. Default:
    /// `None`, so that the event counts each time it is recorded.
    pub id: Option<String>,
    /// A category to group by, such as the endpoint, the model or the file type.
    pub category: Option<Cow<'static, str>>,
    /// The user.
    pub user: Option<UserId>,
    /// The API key of the request.
    pub api_key: Option<ApiKeyId>,
}

impl UsageEvent {
    /// Creates an event, which counts each time it is recorded.
    pub fn new(
        tenant: TenantId,
        meter: impl Into<Cow<'static, str>>,
        quantity: impl Into<Decimal>,
        at: Timestamp,
    ) -> Self {
        Self {
            tenant,
            environment: DataEnvironment::Live,
            meter: meter.into(),
            quantity: quantity.into(),
            at,
            source: Cow::Borrowed("app"),
            id: None,
            category: None,
            user: None,
            api_key: None,
        }
    }

    /// Sets the source and the id, so that the event counts once, however often it is recorded. The id names what
    /// happened, such as `file/0197a1b0/stored`, and not the attempt to record it.
    pub fn once(mut self, source: impl Into<Cow<'static, str>>, id: impl Into<String>) -> Self {
        self.source = source.into();
        self.id = Some(id.into());
        self
    }

    /// Creates an event of a request to the API, with its route as the category.
    pub fn request(tenant: TenantId, route: impl Into<Cow<'static, str>>, at: Timestamp) -> Self {
        Self::new(tenant, meters::API_REQUESTS, 1, at).category(route)
    }

    /// Creates an event of tokens of a language model, with the model as the category.
    pub fn tokens(tenant: TenantId, model: impl Into<Cow<'static, str>>, count: u64, at: Timestamp) -> Self {
        Self::new(tenant, meters::AI_TOKENS, count, at).category(model)
    }

    /// Creates an event of stored bytes, with their media type as the category. `bytes` is negative if they were deleted.
    pub fn storage(tenant: TenantId, media_type: impl Into<Cow<'static, str>>, bytes: i64, at: Timestamp) -> Self {
        Self::new(tenant, meters::STORAGE_BYTES, bytes, at).category(media_type)
    }

    /// Sets the environment.
    pub fn environment(mut self, environment: DataEnvironment) -> Self {
        self.environment = environment;
        self
    }

    /// Sets the category.
    pub fn category(mut self, category: impl Into<Cow<'static, str>>) -> Self {
        self.category = Some(category.into());
        self
    }

    /// Sets the user.
    pub fn user(mut self, user: UserId) -> Self {
        self.user = Some(user);
        self
    }

    /// Sets the API key.
    pub fn api_key(mut self, key: Option<ApiKeyId>) -> Self {
        self.api_key = key;
        self
    }
}
