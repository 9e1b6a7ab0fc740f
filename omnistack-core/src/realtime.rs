//! The port for messages to connected clients.

use std::{
    fmt,
    sync::{Arc, Weak},
};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    BoxError,
    db::{self, Tx},
    http::Error,
    identity::{TenantId, UserId},
};

/// Maximum length of a channel's name in bytes.
pub const MAX_CHANNEL_NAME_BYTES: usize = 255;

/// The address of messages: a channel of a tenant, of a user, of the operators, or of all clients. Channels of two
/// tenants with the same name are two channels.
///
/// ```
/// use omnistack_core::realtime::RealtimeChannel;
/// # use omnistack_core::{clock::Clock, id::Id};
/// # let now = Clock::system().now();
/// # let (tenant, user) = (Id::new(now), Id::new(now));
/// let room = RealtimeChannel::of_tenant(tenant, "room:42")?;
/// assert_eq!(room.name(), "room:42");
/// assert_eq!(RealtimeChannel::user(user).name(), format!("user:{user}"));
/// assert!(RealtimeChannel::of_tenant(tenant, "no spaces").is_err());
/// # Ok::<_, omnistack_core::realtime::InvalidChannelName>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct RealtimeChannel {
    tenant: Option<TenantId>,
    name: String,
}

/// The error for a name that is no name of a channel.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no channel name: use 1 to 255 letters, digits and `:_-./`, such as `room:42`")]
pub struct InvalidChannelName(String);

impl RealtimeChannel {
    /// Returns the channel `user:ID` of a user, which only this user can subscribe to.
    pub fn user(user: UserId) -> Self {
        Self { tenant: None, name: format!("user:{user}") }
    }

    /// Returns the channel `tenant` of a tenant, which all its members can subscribe to.
    pub fn tenant(tenant: TenantId) -> Self {
        Self { tenant: Some(tenant), name: "tenant".to_owned() }
    }

    /// Returns the channel `broadcast` of all clients.
    pub fn broadcast() -> Self {
        Self { tenant: None, name: "broadcast".to_owned() }
    }

    /// Returns the channel `operators`, which only the operators of the app can subscribe to.
    pub fn operators() -> Self {
        Self { tenant: None, name: "operators".to_owned() }
    }

    /// Returns a channel of a tenant.
    ///
    /// # Errors
    /// [`InvalidChannelName`] for a name that is empty, longer than 255 bytes, or has other characters than ASCII
    /// letters, digits and `:_-./`.
    pub fn of_tenant(tenant: TenantId, name: impl Into<String>) -> Result<Self, InvalidChannelName> {
        let name = name.into();
        if is_channel_name(&name) { Ok(Self { tenant: Some(tenant), name }) } else { Err(InvalidChannelName(name)) }
    }

    /// Returns the name that clients use.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the tenant, or `None` for a channel of a user, of the operators, or of all clients.
    pub fn tenant_id(&self) -> Option<TenantId> {
        self.tenant
    }
}

/// Returns whether a text is a name of a channel.
pub fn is_channel_name(name: &str) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b":_-./".contains(&byte);
    (1..=MAX_CHANNEL_NAME_BYTES).contains(&name.len()) && name.bytes().all(is_allowed)
}

/// A message to the subscribers of a channel.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct RealtimeMessage {
    /// The channel.
    pub channel: RealtimeChannel,
    /// The content, as the clients get it.
    pub data: Value,
    /// The idempotency key: of the messages to a channel with the same key within 30 minutes, one is delivered.
    #[serde(default)]
    pub key: Option<String>,
}

impl RealtimeMessage {
    /// Creates a message.
    ///
    /// # Errors
    /// The error of serde, if the content can't be serialized as JSON.
    pub fn new(channel: RealtimeChannel, data: &impl Serialize) -> Result<Self, serde_json::Error> {
        Ok(Self { channel, data: serde_json::to_value(data)?, key: None })
    }

    /// Sets the idempotency key.
    #[must_use]
    pub fn with_key(mut self, key: impl Into<String>) -> Self {
        self.key = Some(key.into());
        self
    }
}

/// Delivery of messages to connected clients, as implemented by a module.
#[async_trait]
pub trait PublishRealtime: Send + Sync + 'static {
    /// Delivers a message now.
    ///
    /// # Errors
    /// 503 if the message can't be stored in the channel's history.
    async fn publish(&self, message: RealtimeMessage) -> Result<(), Error>;

    /// Delivers a message after the commit of the transaction.
    ///
    /// # Errors
    /// The errors of the database. The caller must roll back then.
    async fn publish_in(&self, tx: &mut Tx, message: RealtimeMessage) -> Result<(), db::Error>;

    /// Returns whether clients may get the messages of a channel. What makes messages need not make those of other
    /// channels. The default is true.
    fn has_channel(&self, _: &RealtimeChannel) -> bool {
        true
    }
}

/// The handle that publishes messages to connected clients. It is in the [`Context`](crate::module::Context) of every
/// app; without the module of `omnistack-realtime` it delivers nothing. Cheap to clone.
///
/// ```
/// use omnistack_core::{http::Error, identity::TenantId, realtime::{RealtimeChannel, RealtimePublisher}};
/// use serde_json::json;
///
/// async fn tell_room(realtime: &RealtimePublisher, tenant: TenantId) -> Result<(), Error> {
///     let room = RealtimeChannel::of_tenant(tenant, "room:42").map_err(Error::internal)?;
///     realtime.publish(room, &json!({ "text": "hello" })).await
/// }
/// ```
#[derive(Clone)]
pub struct RealtimePublisher(Option<Arc<dyn PublishRealtime>>);

impl RealtimePublisher {
    /// Creates a handle.
    pub fn new(publisher: impl PublishRealtime) -> Self {
        Self(Some(Arc::new(publisher)))
    }

    /// Creates a handle that delivers nothing.
    pub const fn disabled() -> Self {
        Self(None)
    }

    /// Returns a handle that does not keep the implementation of the port in memory.
    pub(crate) fn downgrade(&self) -> WeakRealtimePublisher {
        WeakRealtimePublisher(self.0.as_ref().map(Arc::downgrade))
    }

    /// Returns whether messages are delivered.
    pub const fn is_enabled(&self) -> bool {
        self.0.is_some()
    }

    /// Returns whether clients may get the messages of a channel: whether there is a module that delivers them, and it
    /// has a rule for the channel. Ask before work that only makes a message.
    pub fn has_channel(&self, channel: &RealtimeChannel) -> bool {
        self.0.as_ref().is_some_and(|publisher| publisher.has_channel(channel))
    }

    /// Delivers a message now, in the order of the calls for a channel.
    ///
    /// # Errors
    /// 500 if the content can't be serialized as JSON, 503 if the message can't be stored in the channel's history.
    pub async fn publish(&self, channel: RealtimeChannel, data: &impl Serialize) -> Result<(), Error> {
        if self.0.is_none() {
            return Ok(());
        }
        self.send(RealtimeMessage::new(channel, data).map_err(Error::internal)?).await
    }

    /// Delivers a message now, like [`publish`](Self::publish).
    ///
    /// # Errors
    /// 503 if the message can't be stored in the channel's history.
    pub async fn send(&self, message: RealtimeMessage) -> Result<(), Error> {
        match &self.0 {
            Some(publisher) => publisher.publish(message).await,
            None => Ok(()),
        }
    }

    /// Delivers a message after the commit of the transaction, once, in the order of the commits for a channel. If the
    /// transaction is rolled back, no client gets it.
    ///
    /// # Errors
    /// The errors of the database. Roll back the transaction then.
    pub async fn publish_in(
        &self,
        tx: &mut Tx,
        channel: RealtimeChannel,
        data: &impl Serialize,
    ) -> Result<(), db::Error> {
        let Some(publisher) = &self.0 else { return Ok(()) };
        let message = RealtimeMessage::new(channel, data).map_err(|error| {
            let error: BoxError = error.into();
            db::Error::new(db::ErrorKind::Other, error)
        })?;
        publisher.publish_in(tx, message).await
    }
}

/// A [`RealtimePublisher`] that does not keep the implementation of the port in memory.
pub(crate) struct WeakRealtimePublisher(Option<Weak<dyn PublishRealtime>>);

impl WeakRealtimePublisher {
    /// Returns a publisher. It delivers nothing if the implementation is gone, after the end of the app.
    pub(crate) fn upgrade(&self) -> RealtimePublisher {
        RealtimePublisher(self.0.as_ref().and_then(Weak::upgrade))
    }
}

impl fmt::Debug for RealtimePublisher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("RealtimePublisher").field(&self.is_enabled()).finish()
    }
}
